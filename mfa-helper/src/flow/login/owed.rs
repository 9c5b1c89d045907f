//! What is owed: that a device is bound, at a door where a login was let past on that condition.

use mfa_core::change::{Note, Refusal};
use mfa_wire::Outcome;

use crate::flow::{Decision, Desk};

/// What is said where two logins bind at once.
pub const BOUND_MEANWHILE: &str = "A device was bound meanwhile: log in again, and its code is asked.";

/// Writes down that this user has been let past the auth phase on the condition that a device is bound. It holds where
/// a program remembers that phase and goes straight to the next one (sudo-rs keeps its ticket before the account phase).
pub fn owe(user: &str, here: Option<String>, desk: &Desk) -> Result<(), Decision> {
    desk.bindings.note(user, Note::Owe(here)).map_err(|refusal| match refusal {
        Refusal::Bound => Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"),
        other => other.into(),
    })
}

/// Writes down that a code was given where a device was owed. The login is let in only once that is on disk: if the
/// write is lost, a remembered login there is asked once too often, not once too little.
pub fn settle(user: &str, here: Option<String>, desk: &Desk) -> Result<(), Decision> {
    Ok(desk.bindings.note(user, Note::Settle(here))?)
}
