//! The store: one record for each user, on files under one folder. `docs/files.md` specifies them.
//!
//! A record is loaded without a lock, the person is asked, and the change is committed only if the
//! record is still the one that was loaded; otherwise the caller loads and judges again.

use std::fmt;
use std::path::Path;

use mfa_core::Id;
use mfa_core::record::{
    Binding, CREDENTIALS_LIMIT, Credentials, Damage, Owes, Pending, Provisional, SLOT, State, decode_credentials,
    encode_disabled,
};
use mfa_core::remembered::RememberedLogins;
use mfa_wire::Secret;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::fdatasync;
use sha2::{Digest, Sha256};

use crate::rootfile::{Dir, Fault, write_at};

/// What the file `FORMAT` holds. It exists from installation: without it "nobody is bound" could mean
/// that the disk with the bindings is not mounted.
pub const FORMAT: &str = "mfa-store 1\n";

const CREDENTIALS_FILE: &str = "credentials";
const PENDING_FILE: &str = "pending";
const STATE_FILE: &str = "state";

/// Why the store gives no answer. Never to be read as "not bound".
#[derive(Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A file or folder cannot be used.
    Fault(Fault),
    /// `FORMAT` says that another version of the software made this store.
    Format(String),
    /// A file of the record is damaged.
    Damaged(String, Damage),
    /// There is state, but the credentials that it belongs to are gone.
    Orphan(String),
    /// The name cannot be kept: it is empty, too long, or holds control characters.
    Name,
}

/// What to do about a record that cannot be read.
const DROP: &str = "restore it, or drop the record by mfa-enroll disable --user NAME";

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Fault(fault) => write!(f, "{fault}"),
            StoreError::Format(path) => {
                write!(f, "{path} was made by another version of the software: see mfa-helper(8)")
            }
            StoreError::Damaged(path, damage) => write!(f, "{path} {damage}: {DROP}"),
            StoreError::Orphan(path) => {
                write!(f, "{path} is there, but the credentials that belong to it are gone: {DROP}")
            }
            StoreError::Name => f.write_str("the user's name cannot be kept in the store"),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        StoreError::Fault(fault)
    }
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The record is no longer the one that was loaded: load it again and judge again.
    Conflict,
    /// The store failed.
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for CommitError {
    fn from(error: E) -> Self {
        CommitError::Store(error.into())
    }
}

/// Everything that is kept of one user, as it was at one moment.
pub struct Record {
    user: String,
    /// The bound device.
    pub credentials: Option<Credentials>,
    /// A device that a login's account phase has bound and whose session has not been opened yet, and what it waits for: as
    /// long as that is so, nothing is bound.
    pub provisional: Option<(Credentials, Provisional)>,
    /// What attempts have changed since it was bound.
    pub state: State,
    /// The device that waits for its two codes.
    pub pending: Option<Pending>,
    revision: [u8; 32],
}

impl Record {
    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// One change of a record.
pub enum Change<'a> {
    /// An attempt was judged.
    State(&'a State),
    /// A device is bound, in place of any other (and any pending one is gone), and this is owed still.
    Bind(&'a Credentials, &'a Owes),
    /// A device is bound on the condition that the login goes on, in place of any other such one and of one that is pending.
    /// Nothing else changes until then: what is owed stays, and so does an invitation.
    BindProvisionally(&'a Credentials, &'a Provisional),
    /// The binding stays the one it is: it gets other recovery codes, a security key more or one less.
    Amend(&'a Credentials),
    /// A device waits for its two codes, in place of any other that did.
    Pend(&'a Pending),
    /// No device waits any more, neither for its two codes nor for its login to go on.
    Unpend,
    /// Nothing is bound any more, and nothing of it is kept.
    Unbind,
}

/// The store.
pub struct Store {
    users: Dir,
}

impl Store {
    /// Opens the store below `path`.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let root = Dir::open(path)?;
        let format = root.read_public("FORMAT", 256)?.ok_or_else(|| root.failed("FORMAT", Errno::ENOENT))?;
        if format.bytes.bytes() != FORMAT.as_bytes() {
            return Err(StoreError::Format(root.path_of("FORMAT")));
        }
        Ok(Store { users: root.subdir("users")? })
    }

    /// Reads the record of `user`; one who has none has an empty one.
    pub fn load(&self, user: &str) -> Result<Record, StoreError> {
        let Some(dir) = self.user_dir(user)? else { return Files::default().record(user, "") };
        let path = dir.path_of("");
        match Files::read(&dir)?.record(user, &path) {
            // A slot may have been read while it was written: look again while nobody writes.
            Err(StoreError::Damaged(..) | StoreError::Orphan(_)) => {
                let _lock = dir.lock()?;
                Files::read(&dir)?.record(user, &path)
            }
            done => done,
        }
    }

    /// Makes `change`, durably, if the record is still the one in `record`.
    pub fn commit(&self, record: &Record, change: Change) -> Result<(), CommitError> {
        let user = record.user.as_str();
        let dir = match self.user_dir(user)? {
            Some(dir) => dir,
            None => self.users.make_subdir(&encode_name(user)?)?,
        };
        let _lock = dir.lock()?;
        let mut files = Files::read(&dir)?;
        if files.revision() != record.revision {
            return Err(CommitError::Conflict);
        }
        if let Some(bytes) = &files.credentials
            && matches!(decode_credentials(bytes.bytes(), user), Ok(Binding::Disabled))
        {
            // An unbinding that was cut: while it stands there, nothing else of the record would be read.
            destroy(&dir, user)?;
            files = Files::read(&dir)?;
        }
        match change {
            Change::State(state) => {
                let newest = files.newest_slot().map_err(|d| StoreError::Damaged(dir.path_of(STATE_FILE), d))?;
                write_state(&dir, newest, state)?;
            }
            Change::BindProvisionally(credentials, waits) => {
                make_room(&dir, &files)?;
                dir.replace(CREDENTIALS_FILE, credentials.encode_provisional(user, waits).bytes())?;
                let _ = dir.remove(PENDING_FILE);
            }
            Change::Bind(credentials, owes) => {
                make_room(&dir, &files)?;
                dir.replace(CREDENTIALS_FILE, credentials.encode(user).bytes())?;
                // Bound from here on. What follows makes later damage visible and tidies up; a failure of
                // it must not be reported as one of the binding.
                let newest = Files::read(&dir).ok().and_then(|files| files.newest_slot().ok().flatten());
                let next = record.state.succeeded_by(credentials.id, credentials.burnt());
                let _ = write_state(&dir, newest, &State { owes: owes.remembered(), ..next });
                let _ = dir.remove(PENDING_FILE);
            }
            // The state of recovery codes names their set, so it does not hold for others; that of keys names each. Which
            // key a login is remembered for is not known, and it may be the one that goes. First, so that a cut leaves
            // too little and not too much.
            Change::Amend(credentials) => {
                if record.state.remembered != RememberedLogins::default() {
                    let newest = files.newest_slot().map_err(|d| StoreError::Damaged(dir.path_of(STATE_FILE), d))?;
                    write_state(
                        &dir,
                        newest,
                        &State { remembered: RememberedLogins::default(), ..record.state.clone() },
                    )?;
                }
                dir.replace(CREDENTIALS_FILE, credentials.encode(user).bytes())?;
            }
            Change::Pend(pending) => dir.replace(PENDING_FILE, pending.encode(user).bytes())?,
            Change::Unpend => {
                dir.remove(PENDING_FILE)?;
                if record.provisional.is_some() {
                    dir.remove(CREDENTIALS_FILE)?;
                }
            }
            Change::Unbind => destroy(&dir, user)?,
        }
        Ok(())
    }

    /// Destroys whatever is kept of `user`, readable or not. No compare-and-swap: whoever loaded the
    /// record before loses by its revision.
    pub fn unbind(&self, user: &str) -> Result<(), StoreError> {
        let Some(dir) = self.user_dir(user)? else { return Ok(()) };
        let _lock = dir.lock()?;
        Ok(destroy(&dir, user)?)
    }

    /// Whether anything is kept of `user`.
    pub fn has(&self, user: &str) -> Result<bool, StoreError> {
        match self.user_dir(user)? {
            Some(dir) => Ok(!dir.names()?.is_empty()),
            None => Ok(false),
        }
    }

    /// Whose records there are, in order of their names.
    pub fn users(&self) -> Result<Vec<String>, StoreError> {
        let mut users: Vec<String> = self.users.names()?.iter().filter_map(|name| decode_name(name)).collect();
        users.sort_unstable();
        Ok(users)
    }

    fn user_dir(&self, user: &str) -> Result<Option<Dir>, StoreError> {
        match self.users.subdir(&encode_name(user)?) {
            Ok(dir) => Ok(Some(dir)),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }
}

/// The bytes of a record's files at one moment.
#[derive(Default)]
struct Files {
    credentials: Option<Secret>,
    state: Option<Secret>,
    pending: Option<Secret>,
}

impl Files {
    fn read(dir: &Dir) -> Result<Files, Fault> {
        Ok(Files {
            credentials: dir.read_private(CREDENTIALS_FILE, CREDENTIALS_LIMIT)?,
            state: dir.read_private(STATE_FILE, 2 * SLOT)?,
            pending: dir.read_private(PENDING_FILE, SLOT)?,
        })
    }

    /// Changes when any file does: what compare-and-swap compares.
    fn revision(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for file in [&self.credentials, &self.state, &self.pending] {
            let bytes = file.as_ref().map(Secret::bytes);
            hash.update(bytes.map_or(u64::MAX, |b| b.len() as u64).to_be_bytes());
            hash.update(bytes.unwrap_or_default());
        }
        hash.finalize().into()
    }

    fn record(&self, user: &str, path: &str) -> Result<Record, StoreError> {
        let damaged = |name: &str, damage| StoreError::Damaged(format!("{path}{name}"), damage);
        let binding = match &self.credentials {
            Some(bytes) => Some(decode_credentials(bytes.bytes(), user).map_err(|d| damaged(CREDENTIALS_FILE, d))?),
            None => None,
        };
        let pending = match &self.pending {
            Some(bytes) => Some(Pending::decode(bytes.bytes(), user).map_err(|d| damaged(PENDING_FILE, d))?),
            None => None,
        };
        let kept = match (&self.state, self.newest_slot().map_err(|d| damaged(STATE_FILE, d))?) {
            (None, _) => None,
            (Some(_), Some((_, state))) => Some(state),
            (Some(_), None) => return Err(damaged(STATE_FILE, Damage::Checksum)),
        };
        let (credentials, provisional, state) = match (binding, kept) {
            (Some(Binding::Bound(credentials)), kept) => {
                // State of another binding counts as absent; the codes burnt at binding then hold.
                let state = match kept {
                    Some(kept) if kept.id == credentials.id => kept,
                    Some(other) => other.succeeded_by(credentials.id, credentials.burnt()),
                    None => State::fresh(credentials.id, credentials.burnt()),
                };
                (Some(*credentials), None, state)
            }
            // A binding that was being removed. What is owed outlives that too.
            (Some(Binding::Disabled), kept) => {
                let owes = kept.map(|kept| kept.owes).unwrap_or_default();
                (None, None, State { owes, ..State::fresh(Id::default(), [0, 0]) })
            }
            (None | Some(Binding::Provisional(..)), Some(kept)) if kept.id != Id::default() => {
                return Err(StoreError::Orphan(format!("{path}{STATE_FILE}")));
            }
            // What is kept of who has no device: that one is owed, an invitation.
            (binding, kept) => {
                let provisional = match binding {
                    Some(Binding::Provisional(credentials, waits)) => Some((*credentials, waits)),
                    _ => None,
                };
                (None, provisional, kept.unwrap_or(State::fresh(Id::default(), [0, 0])))
            }
        };
        // It was begun over another binding, or a crash between binding and tidying up has left it.
        let pending = pending.filter(|p| p.replaces == credentials.as_ref().map_or(Id::default(), |c| c.id));
        Ok(Record { user: user.to_owned(), credentials, provisional, state, pending, revision: self.revision() })
    }

    /// The slot written last: its sequence and what it says. `None` when neither is whole. One that is whole and cannot be
    /// read was written by another version: the slot before it is out of date, and its codes would be good once more.
    fn newest_slot(&self) -> Result<Option<(u64, State)>, Damage> {
        let Some(bytes) = self.state.as_ref().map(Secret::bytes).filter(|bytes| bytes.len() == 2 * SLOT) else {
            return Ok(None);
        };
        let mut newest = None;
        for slot in bytes.chunks_exact(SLOT) {
            match State::decode(slot) {
                Ok(slot) => newest = newest.into_iter().chain([slot]).max_by_key(|(sequence, _)| *sequence),
                // Torn, or never written.
                Err(Damage::Checksum) => {}
                Err(damage) => return Err(damage),
            }
        }
        Ok(newest)
    }
}

/// Takes the room that logins will need when a device is bound, while failing harms nobody.
fn make_room(dir: &Dir, files: &Files) -> Result<(), StoreError> {
    match files.state {
        Some(_) => Ok(()),
        None => write_state(dir, None, &State::fresh(Id::default(), [0, 0])),
    }
}

fn destroy(dir: &Dir, user: &str) -> Result<(), Fault> {
    // From this rename on nothing is bound; what follows is tidying up, and may be cut anywhere.
    dir.replace(CREDENTIALS_FILE, encode_disabled(user).bytes())?;
    // All of it: a write that was cut may have left a file with a key.
    for name in dir.names()?.iter().filter(|name| *name != CREDENTIALS_FILE) {
        dir.remove(name)?;
    }
    dir.remove(CREDENTIALS_FILE)
}

/// Writes the slot that does not hold the newest state, in place: it needs no free block, and a cut
/// leaves the other slot.
fn write_state(dir: &Dir, newest: Option<(u64, State)>, state: &State) -> Result<(), StoreError> {
    let failed = |e| dir.failed(STATE_FILE, e);
    let Some((sequence, _)) = newest else { return create_state(dir, state) };
    let sequence = sequence.wrapping_add(1);
    let file = dir.open_private(STATE_FILE, OFlag::O_RDWR)?;
    let offset = (sequence % 2) * SLOT as u64;
    write_at(&file, &state.encode(sequence), offset).map_err(failed)?;
    fdatasync(&file).map_err(failed)?;
    Ok(())
}

/// Makes the state file at its full size, so that no later write needs a block.
fn create_state(dir: &Dir, state: &State) -> Result<(), StoreError> {
    let mut bytes = [0; 2 * SLOT];
    bytes[..SLOT].copy_from_slice(&state.encode(0));
    Ok(dir.replace(STATE_FILE, &bytes)?)
}

/// The folder's name of a user: letters, digits, `-` and `_` as they are, every other byte as `%XX`.
/// Two names never share one, none is `.` or `..`, and none holds a slash.
pub fn encode_name(user: &str) -> Result<String, StoreError> {
    let mut name = String::new();
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    // NAME_MAX; and a control character would forge a line of the record.
    if name.is_empty() || name.len() > 255 || user.chars().any(char::is_control) {
        return Err(StoreError::Name);
    }
    Ok(name)
}

fn decode_name(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if c == '%' {
            bytes.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = &rest[3..];
        } else {
            bytes.extend_from_slice(c.to_string().as_bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    let user = String::from_utf8(bytes).ok()?;
    // Only what we would write ourselves.
    (encode_name(&user).ok()? == name).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_injective_and_harmless() {
        assert_eq!(encode_name("alice_1-x").unwrap(), "alice_1-x");
        assert_eq!(encode_name("..").unwrap(), "%2E%2E");
        assert_eq!(encode_name("a/b").unwrap(), "a%2Fb");
        assert_eq!(encode_name("a%2Fb").unwrap(), "a%252Fb");
        assert_eq!(encode_name("DOM\\müller").unwrap(), "DOM%5Cm%C3%BCller");
        assert!(encode_name("").is_err());
        assert!(encode_name("a\nkey X").is_err());
        assert!(encode_name(&"x".repeat(256)).is_err());
        for name in ["alice", "..", "a%2Fb", "DOM\\müller"] {
            assert_eq!(decode_name(&encode_name(name).unwrap()).as_deref(), Some(name));
        }
        assert_eq!(decode_name("a%2fb"), None, "we write capitals");
        assert_eq!(decode_name("%zz"), None);
        assert_eq!(decode_name("%é"), None);
    }
}
