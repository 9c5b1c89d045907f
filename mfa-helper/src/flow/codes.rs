//! Recovery codes: making a set, and showing it once.

use mfa_core::recovery::Set;
use mfa_wire::{Cancelled, FromHelper, Secret};

use super::{Decision, TRIES};
use crate::conversation::{Conversation, NoAnswer};
use crate::host::Host;
use crate::lang::Text;

/// As many codes as the policy says.
pub fn new_set(host: &Host) -> Result<(Set, Vec<Secret>), Decision> {
    Ok(Set::make(host.loaded.policy.recovery_codes, host.random)?)
}

/// Shows the codes of what was just bound. Bound all the same, should nobody be there to read them any more: then it is
/// left to be said how to come to new ones.
pub fn hand_out<'a>(
    codes: Vec<Secret>,
    user: &'a str,
    host: &Host,
    conversation: &mut Conversation,
) -> Option<Text<'a>> {
    let unread = !codes.is_empty() && show(codes, host, conversation).is_err();
    unread.then_some(Text::MakeCodesFor(user))
}

/// Shows the codes until the person says that they have them.
pub fn show(codes: Vec<Secret>, host: &Host, conversation: &mut Conversation) -> Result<(), NoAnswer> {
    conversation.send(&FromHelper::RecoveryCodes(codes))?;
    let question = host.loaded.policy.lang.say(Text::WrittenDown);
    for _ in 0..TRIES {
        if conversation.ask(&question)?.bytes().trim_ascii().eq_ignore_ascii_case(b"ok") {
            return Ok(());
        }
    }
    Err(NoAnswer::Cancelled(Cancelled::ByUser))
}
