//! Recovery codes, shown once.

use mfa_wire::{Cancelled, FromHelper, Secret};

use super::{Desk, TRIES};
use crate::conversation::NoAnswer;
use crate::lang::Text;

/// Shows the codes of a device that was just bound. If the person does not confirm them, the device stays bound, and
/// the result says how to get new ones.
pub fn hand_out<'a>(codes: Vec<Secret>, user: &'a str, desk: &mut Desk) -> Option<Text<'a>> {
    let unread = !codes.is_empty() && show(codes, desk).is_err();
    unread.then_some(Text::MakeCodesFor(user))
}

/// Shows the codes until the person says that they have them.
pub fn show(codes: Vec<Secret>, desk: &mut Desk) -> Result<(), NoAnswer> {
    desk.conversation.send(&FromHelper::RecoveryCodes(codes))?;
    let question = desk.lang().say(Text::WrittenDown);
    for _ in 0..TRIES {
        if desk.conversation.ask(&question)?.bytes().trim_ascii().eq_ignore_ascii_case(b"ok") {
            return Ok(());
        }
    }
    Err(NoAnswer::Cancelled(Cancelled::ByUser))
}
