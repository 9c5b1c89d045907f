//! Why a user who is required to have a device, and has none, cannot bind one here.

use mfa_core::lockout::Way;
use mfa_core::view::View;
use mfa_wire::{Login, Outcome, printable, shell_word};

use super::enroll;
use crate::flow::Decision;
use crate::host::Host;
use crate::policy::{Enroll, Policy, Requirement};
use crate::program::is_sudo;

/// Why a user who is required to have a device, and has none, cannot bind one here.
#[derive(Debug, PartialEq, Eq)]
pub enum NoWay {
    /// Nothing says that the first factor succeeded.
    UnknownStack,
    /// The policy leaves it to root, or allows no kind of device that there is.
    ByAdmin,
    /// Only a security key is allowed, and none can be bound from here.
    NoKeyHere,
    /// An invitation is needed, and there is none.
    NotInvited,
    /// The service is not one of those that can hold the dialogue, or its caller is not root.
    NoDialogue,
    /// The calling program is not known to hold an account phase at all.
    Program(String),
    /// Our account phase, which would bind a device, or our session phase, which would confirm it, may be skipped.
    Account(String),
    /// Nothing was proved before: the login secret is empty.
    NoSecret(&'static str),
    /// Nobody was asked for a first factor, neither now nor before in this session.
    NotAsked,
}

impl NoWay {
    /// The refusal, with the remedy that the rule leaves to this user.
    pub fn decision(&self, user: &str, asked: &Requirement, policy: &Policy) -> Decision {
        let (name, user) = (printable(user, 64), shell_word(user));
        let (contact, verb) = (policy.contact(), asked.binding_verb());
        let remedy = match self {
            NoWay::NotInvited => format!("Ask {contact} to run: mfa-enroll invite --user {user}"),
            NoWay::NoKeyHere => String::from("Only a security key may be bound: log in at this machine's own console."),
            NoWay::NoDialogue | NoWay::Program(_) | NoWay::Account(_) | NoWay::NotAsked if policy.self_service => {
                format!("Bind one by mfa-enroll {verb}, or ask {contact} to run: mfa-enroll {verb} --user {user}")
            }
            _ => format!("Ask {contact} to run: mfa-enroll {verb} --user {user}"),
        };
        let reason = match self {
            NoWay::UnknownStack | NoWay::ByAdmin => String::from("required and not bound"),
            NoWay::NoKeyHere => String::from("required and not bound, and no key can be bound from here"),
            NoWay::NotInvited => String::from("required, not bound and not invited"),
            NoWay::NoDialogue => String::from("required and not bound, and not to be bound here"),
            NoWay::Program(why) => format!("required and not bound, and the program is not known: {why}"),
            NoWay::Account(why) => format!("required and not bound, and the account phase is not ours: {why}"),
            NoWay::NoSecret(why) => format!("required and not bound, and the first factor proves nothing: {why}"),
            NoWay::NotAsked => String::from("required and not bound, and no first factor was asked"),
        };
        let text = format!("MFA is required of {name} and no device is bound.\n{remedy}");
        Decision::new(Outcome::Refused, text, reason)
    }
}

/// Whether the policy, the place and the service allow this user to bind a device here.
pub fn way_to_a_device(asked: &Requirement, view: &View, login: &Login, way: Way, host: &Host) -> Result<(), NoWay> {
    if asked.enroll == Enroll::ByAdmin || asked.kinds.is_empty() {
        Err(NoWay::ByAdmin)
    } else if enroll::offers(asked, login, host).is_empty() {
        Err(NoWay::NoKeyHere)
    } else if asked.enroll == Enroll::Invited && !view.is_invited((host.now)()) {
        Err(NoWay::NotInvited)
    } else if asked.enroll == Enroll::Invited && is_sudo(login) {
        // sudo-rs keeps its ticket before the account phase: a thief of the first factor could wait with it until the
        // owner of the invitation has bound a device.
        Err(NoWay::NoDialogue)
    } else if way != Way::Login || !host.policy().enroll_services.contains(&login.service) {
        Err(NoWay::NoDialogue)
    } else {
        Ok(())
    }
}
