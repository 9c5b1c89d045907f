//! Files that the command line names. They are read with the rights of their owner, and written only into folders
//! that others cannot change.
//!
//! Root may name paths in users' folders, where the user can put anything at any moment: a FIFO, at which root would
//! wait for ever; a device; or a link to a file that only root may read or write.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, User, getegid, geteuid, getgrouplist, getgroups, setfsgid, setfsuid, setgroups, unlinkat,
};

/// The kernel follows this many links.
const LINKS: usize = 40;

/// The group of a uid that has no name.
const NO_GROUP: Gid = Gid::from_raw(65534);

/// The content of a plain file.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// Whether only root can have written it and put it there.
    pub(crate) is_roots: bool,
}

/// Reads a plain file of at most `most` bytes. Root reads it with the rights of the user who owns it or a folder on
/// the way. A link at the end of the path is not followed.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Content> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let (file, is_roots) = if geteuid().is_root() {
        as_its_owner(path, flags | OFlag::O_NOFOLLOW)?
    } else {
        (open(path, flags, Mode::empty())?, false)
    };
    if kind(&fstat(&file)?) != SFlag::S_IFREG {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Content { bytes, is_roots })
}

/// Opens the file, and returns whether it belongs to root alone.
fn as_its_owner(path: &Path, flags: OFlag) -> io::Result<(OwnedFd, bool)> {
    let mut owner = Uid::from_raw(0);
    let mut closed = true;
    let Way { folder, rest } = walk(path, |stat, _| {
        owner = Uid::from_raw(stat.st_uid);
        closed &= !others_can_put_into(stat);
        Ok(!owner.is_root())
    })?;
    if owner.is_root() {
        let itself =
            openat(&folder, rest.as_path(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        owner = Uid::from_raw(fstat(&itself)?.st_uid);
    }
    let file = {
        let _as_the_owner = if owner.is_root() { None } else { Some(Becoming::user(owner)?) };
        openat(&folder, rest.as_path(), flags, Mode::empty()).map_err(|e| match e {
            Errno::ELOOP => io::Error::other("it is a symbolic link: name the file that it leads to"),
            e => e.into(),
        })?
    };
    let stat = fstat(&file)?;
    if ![0, owner.as_raw()].contains(&stat.st_uid) {
        return Err(io::Error::other("it is in the folder of another user than whose it is"));
    }
    Ok((file, owner.is_root() && closed && stat.st_mode & 0o022 == 0))
}

/// Until this is dropped, this process accesses files with the rights of a user.
struct Becoming {
    groups: Vec<Gid>,
}

impl Becoming {
    #[allow(clippy::disallowed_methods, reason = "no unsafe in here; where the look-up fails, nothing is done")]
    fn user(uid: Uid) -> io::Result<Becoming> {
        let before = Becoming { groups: getgroups()? };
        let (gid, groups) = match User::from_uid(uid)? {
            Some(user) => {
                let name = CString::new(user.name).map_err(|_| Errno::EINVAL)?;
                (user.gid, getgrouplist(&name, user.gid)?)
            }
            None => (NO_GROUP, Vec::new()),
        };
        setgroups(&groups)?;
        setfsgid(gid);
        // This also drops root's right to access everything. Both calls return the previous id and never an error, so
        // the second pair checks the first.
        setfsuid(uid);
        if setfsuid(uid) != uid || setfsgid(gid) != gid {
            return Err(Errno::EPERM.into());
        }
        Ok(before)
    }
}

impl Drop for Becoming {
    fn drop(&mut self) {
        setfsuid(Uid::from_raw(0));
        setfsgid(getegid());
        if setgroups(&self.groups).is_err() {
            // A mixture of both identities must not continue.
            std::process::abort();
        }
    }
}

/// A new file that only its owner can read, in a folder into which nobody else can put anything.
pub(crate) struct New {
    folder: OwnedFd,
    name: PathBuf,
    /// For writing.
    pub(crate) file: File,
}

impl New {
    /// Makes the file. Never touches an existing one, and follows only links of root or the caller.
    pub(crate) fn create(path: &Path) -> io::Result<New> {
        let me = geteuid().as_raw();
        let Way { folder, rest: name } = walk(path, |stat, at| {
            let why = if ![0, me].contains(&stat.st_uid) {
                "belongs to another user"
            } else if others_can_put_into(stat) {
                "can be written to by others"
            } else {
                return Ok(false);
            };
            Err(not_here(at, why))
        })?;
        // On the way to a folder of the caller's, a folder such as /tmp does no harm: others cannot rename the
        // caller's folders in it.
        if fstat(&folder)?.st_mode & 0o022 != 0 {
            return Err(not_here(path.parent().unwrap_or(path), "can be written to by others"));
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&folder, name.as_path(), flags, Mode::from_bits_truncate(0o600))?;
        Ok(New { folder, name, file: file.into() })
    }

    /// Removes the file, if it is still the one that was made.
    pub(crate) fn remove(&self) {
        let there = fstatat(&self.folder, self.name.as_path(), AtFlags::AT_SYMLINK_NOFOLLOW);
        if let (Ok(there), Ok(made)) = (there, fstat(&self.file))
            && (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino)
        {
            let _ = unlinkat(&self.folder, self.name.as_path(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn not_here(folder: &Path, why: &str) -> io::Error {
    let own = if geteuid().is_root() { "/root" } else { "your home folder" };
    io::Error::other(format!("{} {why}: name a file in a folder of your own, as in {own}", folder.display()))
}

/// The position in a path, and the rest: the file name, or more if `stop` ended the walk early.
struct Way {
    folder: OwnedFd,
    rest: PathBuf,
}

/// Follows `path` folder by folder, with descriptors, so that no folder can be replaced on the way. `stop` sees each
/// folder and each link before it is entered or followed, with the path up to it.
fn walk(path: &Path, mut stop: impl FnMut(&FileStat, &Path) -> io::Result<bool>) -> io::Result<Way> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = || open("/", flags | OFlag::O_DIRECTORY, Mode::empty());
    let mut folder = root()?;
    let mut rest = names(&std::path::absolute(path)?);
    let mut links = 0;
    let mut at = PathBuf::from("/");
    if rest.is_empty() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    while rest.len() > 1 {
        let Some(name) = rest.pop_front() else { break };
        let next = at.join(&name);
        // O_DIRECTORY triggers automounts; a link is not a folder.
        let entered = match openat(&folder, name.as_os_str(), flags | OFlag::O_DIRECTORY, Mode::empty()) {
            Err(Errno::ENOTDIR) => openat(&folder, name.as_os_str(), flags, Mode::empty()),
            entered => entered,
        }?;
        let stat = fstat(&entered)?;
        if stop(&stat, &next)? {
            rest.push_front(name);
            break;
        }
        match kind(&stat) {
            SFlag::S_IFDIR => {
                folder = entered;
                at = next;
            }
            SFlag::S_IFLNK => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let target = PathBuf::from(readlinkat(&entered, OsStr::new(""))?);
                if target.is_absolute() {
                    folder = root()?;
                    at = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            _ => return Err(Errno::ENOTDIR.into()),
        }
    }
    Ok(Way { folder, rest: rest.into_iter().collect() })
}

/// The names in a path, in order; ".." is kept.
fn names(path: &Path) -> VecDeque<OsString> {
    let is_name = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether users other than its owner can replace what is in a folder. In a sticky folder each user can replace only
/// that user's own entries.
fn others_can_put_into(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFDIR && stat.st_mode & 0o022 != 0 && !(stat.st_mode & 0o1000 != 0 && stat.st_uid == 0)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes files")]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_removed() {
        // The caller must own all of it, or root.
        let base = if geteuid().is_root() { PathBuf::from("/run") } else { std::env::temp_dir() };
        let folder = base.join(format!("mfa-enroll-new-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let path = folder.join("p.svg");
        let new = New::create(&path).unwrap();
        assert_eq!(New::create(&path).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        new.remove();
        assert!(!path.exists());
        // Another file takes its place, or a link.
        let new = New::create(&path).unwrap();
        std::fs::write(folder.join("other"), "other").unwrap();
        std::fs::rename(folder.join("other"), &path).unwrap();
        new.remove();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "other");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        new.remove();
        assert!(path.is_symlink());
        // The folder is another one now, so the file in it is not the one made here.
        std::fs::remove_file(&path).unwrap();
        let new = New::create(&path).unwrap();
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&path, "other").unwrap();
        new.remove();
        assert!(path.exists() && !aside.join("p.svg").exists());
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::remove_dir_all(&aside).unwrap();
    }

    #[test]
    #[ignore = "needs root: make unit"]
    fn after_a_look_as_another_everything_is_as_before() {
        let status = || {
            let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let fields = ["Uid:", "Gid:", "Groups:", "CapEff:"];
            text.lines()
                .filter(|line| fields.iter().any(|field| line.starts_with(field)))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let before = status();
        let other = Becoming::user(Uid::from_raw(412_001)).unwrap();
        let meanwhile = status();
        drop(other);
        assert!(meanwhile[0].ends_with("\t412001") && meanwhile[1].ends_with("\t65534"), "{meanwhile:?}");
        assert!(meanwhile[2].trim_end() == "Groups:" && meanwhile[3] != before[3], "{meanwhile:?}");
        assert_eq!(status(), before);
    }
}
