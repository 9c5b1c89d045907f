//! The store: one record for each user, on files under one folder. `docs/files.md` specifies them.
//!
//! A record is read without a lock, and a change is committed under one, only if the record is still the one that was read.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use mfa_core::Id;
use mfa_core::engine::{CommitError, Engine, Trouble, Unavailable, Write};
use mfa_core::record::{
    Binding, CREDENTIALS_LIMIT, Credentials, Damage, Pending, Record, SLOT, State, decode_credentials, encode_disabled,
};
use mfa_wire::Secret;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access, fdatasync};
use sha2::{Digest, Sha256};

use crate::rootfile::{Dir, Fault, decode_name, encode_name, write_at};

/// What the file `FORMAT` holds. It exists from installation: without it "nobody is bound" could mean
/// that the disk with the bindings is not mounted.
pub const FORMAT: &str = "mfa-store 1\n";

/// The folder of the users' folders.
const USERS: &str = "users";
const CREDENTIALS_FILE: &str = "credentials";
const PENDING_FILE: &str = "pending";
const STATE_FILE: &str = "state";
/// The folder in which a record is made that gets another user's name. No user's folder is called so.
const RENAMED: &str = "rename.new";

/// Why the store gives no answer. Never to be read as "not bound".
#[derive(Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A file or folder cannot be used.
    Fault(Fault),
    /// A change failed on its way: it may have been made or not.
    Cut(Fault),
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
            StoreError::Fault(fault) | StoreError::Cut(fault) => write!(f, "{fault}"),
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

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Unavailable {
        let kind = match &error {
            StoreError::Fault(_) | StoreError::Name => Trouble::NotDone,
            StoreError::Cut(_) => Trouble::Unknown,
            // The file is whole, but has lines that this version does not know.
            StoreError::Format(_) | StoreError::Damaged(_, Damage::Version | Damage::Line) => Trouble::OtherVersion,
            StoreError::Damaged(..) | StoreError::Orphan(_) => Trouble::Damaged,
        };
        Unavailable { kind, text: error.to_string() }
    }
}

/// Whether this process could keep anything in the store below `path`; if not, why.
pub fn can_be_written(path: &Path) -> Result<(), String> {
    let users = path.join(USERS);
    let reached = access(&users, AccessFlags::W_OK);
    reached.map_err(|e| format!("the service cannot write to {}: {}", users.display(), e.desc()))
}

/// The hash of a record's files.
pub type Revision = [u8; 32];

/// The store.
pub struct Store {
    users: Dir,
}

impl Store {
    /// Opens the store below `path`.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        // Of the folders on the way, only the last one is the store's own.
        let root = match path.parent().zip(path.file_name().and_then(OsStr::to_str)) {
            Some((parent, name)) => Dir::open(parent)?.subdir(name)?,
            None => Dir::open(path)?,
        };
        let format = root.read_public("FORMAT", 256)?.ok_or_else(|| root.failed("FORMAT", Errno::ENOENT))?;
        if format.bytes.bytes() != FORMAT.as_bytes() {
            return Err(StoreError::Format(root.path_of("FORMAT")));
        }
        Ok(Store { users: root.subdir(USERS)? })
    }

    /// Reads the record of `user`. A user of whom nothing is kept has an empty one.
    pub fn read(&self, user: &str) -> Result<(Record, Revision), StoreError> {
        self.whole(user).map(|(record, files)| (record, files.revision()))
    }

    fn whole(&self, user: &str) -> Result<(Record, Files), StoreError> {
        let whole = |files: Files, path: &str| files.whole(user, path).map(|record| (record, files));
        let Some(dir) = self.user_dir(user)? else { return whole(Files::default(), "") };
        let path = dir.path_of("");
        match whole(Files::read(&dir)?, &path) {
            // A slot may have been read while it was written: look again while nobody writes.
            Err(StoreError::Damaged(..) | StoreError::Orphan(_)) => {
                let _lock = dir.lock()?;
                whole(Files::read(&dir)?, &path)
            }
            done => done,
        }
    }

    /// Writes durably if the record is still at the revision `at`. Returns whether it was.
    fn write(&self, user: &str, at: &Revision, write: &Write) -> Result<bool, StoreError> {
        if matches!(write, Write::Unbind) {
            self.empty_renamed_alone()?;
        }
        let dir = match self.user_dir(user)? {
            Some(dir) => dir,
            None => self.users.make_subdir(&folder_of(user)?)?,
        };
        let _lock = dir.lock()?;
        let mut files = Files::read(&dir)?;
        if files.revision() != *at {
            return Ok(false);
        }
        if let Some(bytes) = &files.credentials
            && matches!(decode_credentials(bytes.bytes(), user), Ok(Binding::Disabled))
        {
            // Finish an unbinding that was interrupted: while this file is there, the rest of the record is ignored.
            destroy(&dir, user)?;
            files = Files::read(&dir)?;
        }
        let cut = |error| match error {
            StoreError::Fault(fault) => StoreError::Cut(fault),
            other => other,
        };
        put(&dir, user, &files, write).map_err(cut)?;
        Ok(true)
    }

    /// Makes a binding the record of the second user, and then destroys that of the first, if both are still at these
    /// revisions. Returns whether they were.
    ///
    /// The new folder is made beside the others, and appears whole with its name. A credentials file before its state
    /// would make used codes valid again for a moment, and a state before its credentials would be damage.
    fn move_record(
        &self,
        old: (&str, &Revision),
        new: (&str, &Revision),
        binding: &Credentials,
        state: &State,
    ) -> Result<bool, StoreError> {
        // Two at once would make their records in the same folder, and one would destroy the other's.
        let _one_at_a_time = self.users.lock()?;
        let moved = self.move_alone(old, new, binding, state);
        if moved.is_err() {
            // By its name: if the folder has got the new user's, nothing of it may be removed.
            let _ = self.empty_renamed();
        }
        moved
    }

    fn move_alone(
        &self,
        (old, old_at): (&str, &Revision),
        (new, new_at): (&str, &Revision),
        binding: &Credentials,
        state: &State,
    ) -> Result<bool, StoreError> {
        let Some(from) = self.user_dir(old)? else { return Ok(false) };
        let folder = folder_of(new)?;
        let to = self.users.make_subdir(&folder)?;
        let _locks = [&from, &to].map(Dir::lock).into_iter().collect::<Result<Vec<_>, Fault>>()?;
        if Files::read(&from)?.revision() != *old_at || Files::read(&to)?.revision() != *new_at {
            return Ok(false);
        }
        self.empty_renamed()?;
        let made = self.users.make_subdir(RENAMED)?;
        create_state(&made, state)?;
        made.replace(CREDENTIALS_FILE, binding.encode(new).bytes())?;
        destroy(&to, new).map_err(StoreError::Cut)?;
        self.users.rename_folder(RENAMED, &folder).map_err(StoreError::Cut)?;
        destroy(&from, old).map_err(StoreError::Cut)?;
        Ok(true)
    }

    /// Destroys what a cut rename has left, which may hold a key. Needs the lock of the users' folder.
    fn empty_renamed(&self) -> Result<(), Fault> {
        let made = match self.users.subdir(RENAMED) {
            Err(fault) if fault.is_missing() => return Ok(()),
            made => made?,
        };
        made.names()?.iter().try_for_each(|name| made.remove(name))
    }

    /// [`Store::empty_renamed`] while nobody renames. Whose key it is, is not looked at: no rename goes on with it.
    fn empty_renamed_alone(&self) -> Result<(), Fault> {
        let _nobody_renames = self.users.lock()?;
        self.empty_renamed()
    }

    /// The names of the users that have a record, sorted.
    pub fn users(&self) -> Result<Vec<String>, StoreError> {
        let mut users: Vec<String> = self.users.names()?.into_iter().filter_map(|name| decode_name(&name)).collect();
        users.sort_unstable();
        Ok(users)
    }

    fn user_dir(&self, user: &str) -> Result<Option<Dir>, StoreError> {
        match self.users.subdir(&folder_of(user)?) {
            Ok(dir) => Ok(Some(dir)),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Engine for Store {
    type Revision = Revision;

    fn load(&self, user: &str) -> Result<(Record, Revision), Unavailable> {
        Ok(self.read(user)?)
    }

    fn look(&self, user: &str) -> Result<Record, Unavailable> {
        Ok(self.whole(user)?.0)
    }

    fn commit(&self, user: &str, at: &Revision, write: &Write) -> Result<(), CommitError> {
        committed(self.write(user, at, write))
    }

    fn rename(
        &self,
        from: (&str, &Revision),
        to: (&str, &Revision),
        binding: &Credentials,
        state: &State,
    ) -> Result<(), CommitError> {
        committed(self.move_record(from, to, binding, state))
    }

    fn destroy(&self, user: &str) -> Result<(), Unavailable> {
        self.empty_renamed_alone().map_err(StoreError::from)?;
        let Some(dir) = self.user_dir(user)? else { return Ok(()) };
        let _lock = dir.lock().map_err(StoreError::from)?;
        Ok(destroy(&dir, user).map_err(StoreError::from)?)
    }

    fn has(&self, user: &str) -> Result<bool, Unavailable> {
        match self.user_dir(user)? {
            Some(dir) => Ok(!dir.names().map_err(StoreError::from)?.is_empty()),
            None => Ok(false),
        }
    }

    fn list(&self, after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable> {
        let mut users = self.users()?;
        users.retain(|user| after.is_none_or(|after| user.as_str() > after));
        users.truncate(most);
        Ok(users)
    }
}

fn committed(written: Result<bool, StoreError>) -> Result<(), CommitError> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommitError::Conflict),
        Err(error) => Err(CommitError::Failed(error.into())),
    }
}

fn folder_of(user: &str) -> Result<String, StoreError> {
    encode_name(user).ok_or(StoreError::Name)
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
    fn revision(&self) -> Revision {
        let mut hash = Sha256::new();
        for file in [&self.credentials, &self.state, &self.pending] {
            let bytes = file.as_ref().map(Secret::bytes);
            hash.update(bytes.map_or(u64::MAX, |b| b.len() as u64).to_be_bytes());
            hash.update(bytes.unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// The record that they make.
    fn whole(&self, user: &str, path: &str) -> Result<Record, StoreError> {
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
            // No device is bound. The state may still hold what is owed, and an invitation.
            (binding, kept) => {
                let provisional = match binding {
                    Some(Binding::Provisional(credentials, waits)) => Some((*credentials, waits)),
                    _ => None,
                };
                (None, provisional, kept.unwrap_or(State::fresh(Id::default(), [0, 0])))
            }
        };
        // Ignore a pending device that was begun over another binding, or that a crash after binding has left.
        let pending = pending.filter(|p| p.replaces == credentials.as_ref().map_or(Id::default(), |c| c.id));
        Ok(Record { user: user.to_owned(), credentials, provisional, state, pending })
    }

    /// The newest slot: its sequence number and its state. `None` if neither is whole. A whole slot that cannot be
    /// decoded is an error: another version wrote it, and with the older slot used codes would become valid again.
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

/// Puts in these files what is to stand there.
fn put(dir: &Dir, user: &str, files: &Files, write: &Write) -> Result<(), StoreError> {
    let newest = || files.newest_slot().map_err(|d| StoreError::Damaged(dir.path_of(STATE_FILE), d));
    match write {
        Write::State(state) => write_state(dir, newest()?, state)?,
        Write::BindProvisionally(credentials, waits) => {
            make_room(dir, files)?;
            dir.replace(CREDENTIALS_FILE, credentials.encode_provisional(user, waits).bytes())?;
            let _ = dir.remove(PENDING_FILE);
        }
        Write::Bind(credentials, state) => {
            make_room(dir, files)?;
            dir.replace(CREDENTIALS_FILE, credentials.encode(user).bytes())?;
            // The device is bound from here on. The rest tidies up and makes later damage visible: if it fails, the
            // binding has not failed.
            let newest = Files::read(dir).ok().and_then(|files| files.newest_slot().ok().flatten());
            let _ = write_state(dir, newest, state);
            let _ = dir.remove(PENDING_FILE);
        }
        Write::Amend(credentials, state) => {
            if let Some(state) = state {
                write_state(dir, newest()?, state)?;
            }
            dir.replace(CREDENTIALS_FILE, credentials.encode(user).bytes())?;
        }
        Write::Pend(pending) => dir.replace(PENDING_FILE, pending.encode(user).bytes())?,
        Write::Unpend { provisional } => {
            dir.remove(PENDING_FILE)?;
            if *provisional {
                dir.remove(CREDENTIALS_FILE)?;
            }
        }
        Write::Unbind => destroy(dir, user)?,
    }
    Ok(())
}

/// Makes the state file before a device is bound: if the disk is full, the binding fails and not the logins after it.
fn make_room(dir: &Dir, files: &Files) -> Result<(), StoreError> {
    match files.state {
        Some(_) => Ok(()),
        None => write_state(dir, None, &State::fresh(Id::default(), [0, 0])),
    }
}

fn destroy(dir: &Dir, user: &str) -> Result<(), Fault> {
    // From this rename on nothing is bound; what follows is tidying up, and may be cut anywhere.
    dir.replace(CREDENTIALS_FILE, encode_disabled(user).bytes())?;
    // Every file, because an interrupted write may have left one that holds a key.
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
