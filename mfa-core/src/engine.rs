//! What keeps records: files, or another store behind the same few functions.

use std::fmt;

use crate::record::{Credentials, Pending, Provisional, Record, State};

/// Keeps records, and knows nothing of what they mean.
pub trait Engine {
    /// Identifies what a record held when it was read. Two are equal only if it held the same.
    type Revision;

    /// Reads the record of `user`. A user of whom nothing is kept has an empty one.
    fn load(&self, user: &str) -> Result<(Record, Self::Revision), Unavailable>;

    /// The record alone, for a caller that will not write: its revision takes work to make.
    fn look(&self, user: &str) -> Result<Record, Unavailable> {
        Ok(self.load(user)?.0)
    }

    /// Writes durably, but only if the record is still at the revision `at`.
    fn commit(&self, user: &str, at: &Self::Revision, write: &Write) -> Result<(), CommitError>;

    /// Destroys the record of `user`, readable or not, at any revision. The commit of a login that had read it before
    /// conflicts.
    fn destroy(&self, user: &str) -> Result<(), Unavailable>;

    /// Makes this binding the record of the user `to`, in place of whatever is kept of that user, and then destroys the
    /// record of the user `from`. Each of the two has to be at its revision still. Cut half-way, it leaves the binding
    /// under the old name, or under both.
    fn rename(
        &self,
        from: (&str, &Self::Revision),
        to: (&str, &Self::Revision),
        binding: &Credentials,
        state: &State,
    ) -> Result<(), CommitError>;

    /// Whether anything is kept of `user`.
    fn has(&self, user: &str) -> Result<bool, Unavailable>;

    /// The names of the users that have a record, sorted: at most `most` of them, all after `after`.
    fn list(&self, after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable>;
}

/// One change of a record. It holds the new content itself, not a difference.
#[allow(clippy::large_enum_variant, reason = "there is one, on the stack")]
pub enum Write {
    /// An attempt was judged.
    State(State),
    /// A device is bound, with the state that belongs to it. It replaces any other, and a pending one is dropped.
    Bind(Credentials, State),
    /// A device is bound on the condition that its login goes on, in place of any other such device and of a pending one.
    /// Nothing else changes until then: what is owed stays, and so does an invitation.
    BindProvisionally(Credentials, Provisional),
    /// The binding keeps its identity: it gets other recovery codes, one security key more or one less. The state, if
    /// any, is written first: a power cut in between leaves too few remembered logins, not too many.
    Amend(Credentials, Option<State>),
    /// A device waits for its two codes, in place of any other that did.
    Pend(Pending),
    /// No device waits any more, neither for its two codes nor for its login to go on.
    Unpend {
        /// A device waits for its login to go on.
        provisional: bool,
    },
    /// Nothing is bound any more, and nothing of it is kept.
    Unbind,
}

/// Why there is no answer. Never to be read as "not bound".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Of which kind it is.
    pub kind: Trouble,
    /// What has failed, and what to do, for the administrator.
    pub text: String,
}

/// The kinds of failure that a caller may have to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing was read or changed.
    NotDone,
    /// A change may have been made or not.
    Unknown,
    /// The record is damaged.
    Damaged,
    /// Another version of the software has written it.
    OtherVersion,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The record is no longer the one that was read: it has to be read and judged again.
    Conflict,
    /// The engine failed.
    Failed(Unavailable),
}

/// How often a change is tried again that lost a race against another login of the same user.
const RACES: usize = 8;

/// Reads the record of `user`, calls `look`, and writes durably what `look` returns; only then its result is returned.
/// If the record was changed meanwhile, all of that is repeated, because the result no longer applies.
pub fn revise<E: Engine, T, F: From<Unavailable>>(
    engine: &E,
    user: &str,
    mut look: impl FnMut(Record) -> Result<(T, Option<Write>), F>,
) -> Result<T, F> {
    for _ in 0..RACES {
        let (record, revision) = engine.load(user)?;
        let (result, write) = look(record)?;
        let Some(write) = write else { return Ok(result) };
        match engine.commit(user, &revision, &write) {
            Ok(()) => return Ok(result),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(unavailable)) => return Err(unavailable.into()),
        }
    }
    Err(lost().into())
}

/// Reads the records of two users, calls `look`, and makes the binding that `look` returns the one of the second user.
/// `None`: it is there already, and only the first record has to go.
pub fn rename<E: Engine, F: From<Unavailable>>(
    engine: &E,
    old: &str,
    new: &str,
    look: impl Fn(Record, &Record) -> Result<Option<(Credentials, State)>, F>,
) -> Result<(), F> {
    for _ in 0..RACES {
        let ((from, from_at), (to, to_at)) = (engine.load(old)?, engine.load(new)?);
        let Some((binding, state)) = look(from, &to)? else { return Ok(engine.destroy(old)?) };
        match engine.rename((old, &from_at), (new, &to_at), &binding, &state) {
            Ok(()) => return Ok(()),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Failed(unavailable)) => return Err(unavailable.into()),
        }
    }
    Err(lost().into())
}

fn lost() -> Unavailable {
    let text = format!("lost {RACES} races in a row against other logins of this user");
    Unavailable { kind: Trouble::NotDone, text }
}
