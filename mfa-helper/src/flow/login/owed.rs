//! What is owed: that a device is bound, at a place where a login was let past on that condition.

use mfa_core::record::{Owes, State};
use mfa_wire::Outcome;

use crate::flow::Decision;
use crate::flow::revise::{Revision, revise};
use crate::store::{Record, Store};

/// What is said where two logins bind at once.
pub const BOUND_MEANWHILE: &str = "A device was bound meanwhile: log in again, and its code is asked.";

/// Writes down that this user has been let past the auth phase on the condition that a device is bound. It holds where
/// a program remembers that phase and goes straight to the next one (sudo-rs keeps its ticket before the account phase).
pub fn owe(record: Record, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    revise(record, store, |record| {
        if record.credentials.is_some() {
            return Err(Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"));
        }
        Ok(owing(record, record.state.owes.with(here)))
    })
}

/// Writes down that a code was given where a device was owed. Until that is durable nobody is let in by it, so that what
/// is remembered there is asked for again and not less.
pub fn settle(user: &str, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    revise(store.load(user)?, store, |record| Ok(owing(record, record.state.owes.without(here))))
}

fn owing(record: &Record, owes: Owes) -> Revision<()> {
    match record.state.owes == owes {
        true => Revision::AsIs(()),
        false => Revision::Keep(State { owes, ..record.state.clone() }, ()),
    }
}
