//! Changing the state of a record that others change as well.

use mfa_core::record::State;

use super::Decision;
use crate::store::{Change, CommitError, Record, Store};

/// How often a change is tried again that lost a race against another login of the same user.
pub const RACES: usize = 8;

/// What a record comes to that was looked at.
#[allow(clippy::large_enum_variant, reason = "there is one, on the stack")]
pub enum Revision<T> {
    /// This is to be kept, durably, before the rest is told.
    Keep(State, T),
    /// Nothing changes.
    AsIs(T),
}

/// Looks at the record, and keeps what that comes to. If the record was changed meanwhile it is loaded and looked at again:
/// what was found then says nothing about it any more.
pub fn revise<T>(
    mut record: Record,
    store: &Store,
    mut look: impl FnMut(&Record) -> Result<Revision<T>, Decision>,
) -> Result<T, Decision> {
    for _ in 0..RACES {
        let (state, rest) = match look(&record)? {
            Revision::Keep(state, rest) => (state, rest),
            Revision::AsIs(rest) => return Ok(rest),
        };
        match store.commit(&record, Change::State(&state)) {
            Ok(()) => return Ok(rest),
            Err(CommitError::Conflict) => record = store.load(record.user())?,
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(lost_races())
}

/// What is said of the last of them.
pub fn lost_races() -> Decision {
    Decision::unavailable(format!("lost {RACES} races in a row against other logins of this user"))
}
