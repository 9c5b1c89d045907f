//! What keeps records: files, or another store behind the same few functions.

use std::fmt;

use crate::record::{Credentials, Pending, Provisional, Record, State};

/// Keeps records as bytes, and knows nothing of what they mean.
pub trait Engine {
    /// Says which state of a record was read. Two are equal only if nothing was written in between.
    type Revision;

    /// Reads the record of `user`. A user of whom nothing is kept has an empty one.
    fn load(&self, user: &str) -> Result<(Record, Self::Revision), Unavailable>;

    /// Writes, durably, if the record is still the one that was read at that revision.
    fn commit(&self, user: &str, at: &Self::Revision, write: &Write) -> Result<(), CommitError>;

    /// Destroys whatever is kept of `user`, readable or not, and at whatever revision. A login that has read it before
    /// loses by its revision.
    fn destroy(&self, user: &str) -> Result<(), Unavailable>;

    /// Whether anything is kept of `user`.
    fn has(&self, user: &str) -> Result<bool, Unavailable>;

    /// The users of whom anything is kept, in order of their names: at most so many, from the first one behind `after`.
    fn list(&self, after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable>;
}

/// One change of a record, whole: what is to stand there afterwards.
#[allow(clippy::large_enum_variant, reason = "there is one, on the stack")]
pub enum Write {
    /// An attempt was judged.
    State(State),
    /// A device is bound, in place of any other (and any pending one is gone), with the state that belongs to it.
    Bind(Credentials, State),
    /// A device is bound on the condition that its login goes on, in place of any other such device and of a pending one.
    /// Nothing else changes until then: what is owed stays, and so does an invitation.
    BindProvisionally(Credentials, Provisional),
    /// The binding keeps its identity: it gets other recovery codes, one security key more or one less. The state first,
    /// where there is one, so that a power cut in between leaves too little and not too much.
    Amend(Credentials, Option<State>),
    /// A device waits for its two codes, in place of any other that did.
    Pend(Pending),
    /// No device waits any more for its two codes; nor for its login to go on, where there is such a one.
    Unpend {
        /// There is one.
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

/// Looks at the record of `user`, and writes what that comes to before the result is told. If the record was changed
/// meanwhile, it is read and looked at again: what was found before says nothing about it any more.
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
    let text = format!("lost {RACES} races in a row against other logins of this user");
    Err(Unavailable { kind: Trouble::NotDone, text }.into())
}
