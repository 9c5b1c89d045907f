//! Who may bind a device of their own, and of which kind.

use mfa_core::Kind;
use mfa_core::record::State;
use mfa_core::recovery::Code;
use mfa_wire::{Outcome, Secret};

use super::Decision;
use super::proof::Proof;
use crate::conversation::{Conversation, NoAnswer};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::policy::{Enroll, Require, Requirement};

/// Whether a rule that requires a device of this user leaves binding to them. Otherwise whoever has the first factor
/// alone could bind at home what an invitation is needed for at the login. Who proves nothing but an invitation is asked
/// for its code in any case.
pub fn may_bind(
    user: &Identity,
    kind: Kind,
    proof: Proof,
    state: &State,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<(), Decision> {
    let asked = host.loaded.policy.strictest_of(&user.name, (host.now)(), &mut |group| user.member(group));
    // Also before its deadline: the device is there when it comes.
    let free = asked.require != Require::Mfa && asked.deadline.is_none();
    if !free {
        allowed(&asked, kind)?;
    }
    if proof == Proof::Invitation || (!free && asked.enroll == Enroll::Invited) {
        return ask_for_invitation(state, host.loaded.policy.lang, host, conversation);
    }
    Ok(())
}

/// The same for who has a device already, which proves more than an invitation.
pub fn may_replace(user: &Identity, kind: Kind, host: &Host) -> Result<(), Decision> {
    let asked = host.loaded.policy.strictest_of(&user.name, (host.now)(), &mut |group| user.member(group));
    let free = asked.require != Require::Mfa && asked.deadline.is_none();
    if free { Ok(()) } else { allowed(&asked, kind) }
}

fn allowed(asked: &Requirement, kind: Kind) -> Result<(), Decision> {
    let text = match asked.kinds.as_slice() {
        kinds if asked.enroll != Enroll::ByAdmin && kinds.contains(&kind) => return Ok(()),
        [Kind::Totp] if asked.enroll != Enroll::ByAdmin => {
            "Only an authenticator app may be bound here: mfa-enroll totp (or replace totp)"
        }
        [Kind::U2f] if asked.enroll != Enroll::ByAdmin => {
            "Only a security key may be bound here: mfa-enroll u2f (or replace u2f)"
        }
        _ => "Devices are bound by the administrators here: ask one of them.",
    };
    Err(Decision::new(Outcome::Refused, text, "not to be bound by the user"))
}

/// An invitation code, as the log says it.
pub const INVITATION: &str = "invitation";

/// Asks for an invitation code. It has 80 bits, so no guess is counted; and it is used up by the binding, which
/// replaces the state that holds it.
pub fn ask_for_invitation(
    state: &State,
    lang: Lang,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<(), Decision> {
    let answer: Result<Secret, NoAnswer> = conversation.ask(&lang.say(Text::InvitationCode));
    let code = Code::parse(&answer?);
    let invitation = &state.invitation;
    if invitation.is_good((host.now)()) && code.is_some_and(|code| invitation.is(&code)) {
        Ok(())
    } else {
        let text = "That is not the ticket of a valid invitation.";
        Err(Decision { factor: INVITATION, ..Decision::new(Outcome::Refused, text, "no valid invitation") })
    }
}
