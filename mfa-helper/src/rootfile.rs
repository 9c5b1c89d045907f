//! Files that only root can have written.
//!
//! Every folder of a path, from `/` on, must belong to root and be writable by nobody else, because a user who can rename a
//! folder can replace its content (CVE-2024-47191, CVE-2019-12209). None may be a symbolic link. Each is looked at before
//! the next, so nobody but root can change what was looked at, and the last is opened by its path.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use mfa_wire::{Secret, shell_word};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{UnlinkatFlags, fdatasync, fsync, unlinkat};

/// The mode bits that let others write. They are forbidden for all our files.
const WRITE: u32 = 0o022;
/// The mode bits that let others read or execute. They are forbidden for secrets.
const READ: u32 = 0o055;

/// What to do about a folder that others may change by design.
pub const MOVE_IT: &str = "keep what is below it in a folder that only root may change";

/// How long a writer waits for another one in the same folder.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How often it tries.
const LOCK_POLL: Duration = Duration::from_millis(2);

/// Why a file or folder is not used. The sentence names the remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file or folder.
    pub path: String,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with a file or folder.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// The system call failed.
    Failed(Errno),
    /// It is a symbolic link, a FIFO, a device, a folder in a file's place...
    Kind,
    /// It belongs to this uid instead of root.
    Owner(u32),
    /// Its mode grants others a right that they must not have.
    Mode {
        /// Its mode.
        mode: u32,
        /// The bits that are forbidden.
        forbidden: u32,
    },
    /// It is a folder that others than root may change, and whose owner and mode are not ours to set.
    Open,
    /// It has this many hard links. The kernel's type is 64 bits wide on some processors and 32 on others.
    Links(libc::nlink_t),
    /// It is longer than this many bytes.
    Long(usize),
    /// Another process keeps it locked.
    Busy,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.what {
            What::Failed(Errno::ENOENT) => write!(f, "{path} is missing"),
            What::Failed(e) => write!(f, "{path}: {}", e.desc()),
            What::Kind => {
                write!(f, "{path} is a link, a FIFO, a device or a folder in a file's place, or a file in a folder's")
            }
            What::Owner(uid) => write!(f, "{path} belongs to uid {uid}: chown root {}", shell_word(path)),
            What::Mode { mode, forbidden } => {
                let remedy = if *forbidden == WRITE { "go-w" } else { "go-rwx" };
                write!(f, "{path} has mode {mode:04o} and is open to others: chmod {remedy} {}", shell_word(path))
            }
            What::Open => write!(f, "{path} may be changed by others: {MOVE_IT}"),
            What::Links(n) => write!(f, "{path} has {n} names, where one belongs: put a copy in its place"),
            What::Busy => write!(f, "{path} is locked by another process for too long"),
            What::Long(limit) => write!(f, "{path} is longer than {limit} bytes"),
        }
    }
}

impl Fault {
    /// Whether the only fault is that the file or folder does not exist.
    pub fn is_missing(&self) -> bool {
        self.what == What::Failed(Errno::ENOENT)
    }
}

/// The content of a file.
pub struct Content {
    /// All bytes of the file.
    pub bytes: Secret,
    /// When it was last written, in seconds since 1970.
    pub modified: u64,
}

/// A folder that only root can write.
pub struct Dir {
    fd: OwnedFd,
    path: String,
}

impl Dir {
    /// Opens the folder at an absolute path.
    pub fn open(path: &Path) -> Result<Dir, Fault> {
        let text = path.to_str().ok_or_else(|| fault(&path.to_string_lossy(), What::Failed(Errno::EILSEQ)))?;
        if !path.components().all(|step| matches!(step, Component::RootDir | Component::Normal(_))) {
            return Err(fault(text, What::Kind));
        }
        // Without a slash at the end, behind which a link would be followed.
        let path: PathBuf = path.components().collect();
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            check_folder(folder)?;
        }
        let fd = nix::fcntl::open(&path, FOLDER, Mode::empty()).map_err(|e| not_opened(text, e))?;
        Ok(Dir { fd, path: path.to_string_lossy().into_owned() })
    }

    /// Opens a folder of ours in this one.
    pub fn subdir(&self, name: &str) -> Result<Dir, Fault> {
        let path = self.path_of(name);
        let fd = openat(&self.fd, name, FOLDER, Mode::empty()).map_err(|e| not_opened(&path, e))?;
        let stat = fstat(&fd).map_err(|e| fault(&path, What::Failed(e)))?;
        check_owner_and_mode(&path, &stat, WRITE)?;
        Ok(Dir { fd, path })
    }

    /// Opens a folder in this one; makes it if it does not exist.
    pub fn make_subdir(&self, name: &str) -> Result<Dir, Fault> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) => fsync(&self.fd).map_err(|e| self.failed(name, e))?,
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(self.failed(name, e)),
        }
        self.subdir(name)
    }

    /// Keeps other writers out of this folder until the lock is dropped. The kernel drops it when this process dies,
    /// so a crash leaves no lock behind.
    pub fn lock(&self) -> Result<Flock<OwnedFd>, Fault> {
        let mut fd = self.fd.try_clone().map_err(|_| self.failed("", Errno::EMFILE))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => fd = back,
                Err((_, Errno::EWOULDBLOCK)) => return Err(fault(&self.path, What::Busy)),
                Err((_, e)) => return Err(self.failed("", e)),
            }
            #[allow(clippy::disallowed_methods, reason = "flock has no timeout, so its wait is made of short naps")]
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Opens a plain file that holds secrets: nobody but root may read or write it.
    pub fn open_private(&self, name: &str, flags: OFlag) -> Result<OwnedFd, Fault> {
        Ok(self.open_file(name, flags, WRITE | READ)?.0)
    }

    /// Opens a plain file without a secret, for writing; makes it if it does not exist.
    pub fn open_shown(&self, name: &str) -> Result<OwnedFd, Fault> {
        Ok(self.open_file(name, OFlag::O_WRONLY | OFlag::O_CREAT, WRITE)?.0)
    }

    /// Checks that `name` is a plain file that only root can write. Others may read it.
    pub fn is_roots_own(&self, name: &str) -> Result<(), Fault> {
        let path = self.path_of(name);
        let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|e| self.failed(name, e))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(fault(&path, What::Kind));
        }
        check_owner_and_mode(&path, &stat, WRITE)
    }

    fn open_file(&self, name: &str, flags: OFlag, forbidden: u32) -> Result<(OwnedFd, FileStat), Fault> {
        // If the file was replaced between opening and fstat, it has no name any more: open the new one.
        for _ in 0..100 {
            match self.try_open_file(name, flags, forbidden) {
                Err(Fault { what: What::Links(0), .. }) => {}
                result => return result,
            }
        }
        Err(fault(&self.path_of(name), What::Links(0)))
    }

    fn try_open_file(&self, name: &str, flags: OFlag, forbidden: u32) -> Result<(OwnedFd, FileStat), Fault> {
        let path = self.path_of(name);
        // O_NONBLOCK, so that a FIFO put in its place cannot block a login.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600)) {
            Ok(fd) => fd,
            Err(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO) => return Err(fault(&path, What::Kind)),
            Err(e) => return Err(fault(&path, What::Failed(e))),
        };
        let stat = fstat(&fd).map_err(|e| fault(&path, What::Failed(e)))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(fault(&path, What::Kind));
        }
        check_owner_and_mode(&path, &stat, forbidden)?;
        // A second hard link to a public file reveals and changes nothing, and where hard links are not protected
        // (sysctl fs.protected_hardlinks) any user can make one. So it is a fault only for secrets.
        let secret = forbidden & READ != 0;
        if stat.st_nlink == 0 || (stat.st_nlink > 1 && secret) {
            return Err(fault(&path, What::Links(stat.st_nlink)));
        }
        Ok((fd, stat))
    }

    /// Reads a file that holds secrets; `None` if it does not exist.
    pub fn read_private(&self, name: &str, limit: usize) -> Result<Option<Secret>, Fault> {
        Ok(self.read_file(name, limit, WRITE | READ)?.map(|content| content.bytes))
    }

    /// Reads a file that everybody may read; `None` if it does not exist.
    pub fn read_public(&self, name: &str, limit: usize) -> Result<Option<Content>, Fault> {
        self.read_file(name, limit, WRITE)
    }

    fn read_file(&self, name: &str, limit: usize, forbidden: u32) -> Result<Option<Content>, Fault> {
        match self.open_file(name, OFlag::O_RDONLY, forbidden) {
            Ok((fd, stat)) => self.read(name, &fd, &stat, limit).map(Some),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn read(&self, name: &str, fd: &OwnedFd, stat: &FileStat, limit: usize) -> Result<Content, Fault> {
        let size = usize::try_from(stat.st_size).ok().filter(|size| *size <= limit);
        let mut bytes = Secret::zeroed(size.ok_or_else(|| fault(&self.path_of(name), What::Long(limit)))?);
        let mut filled = 0;
        while filled < bytes.bytes().len() {
            match pread(fd, &mut bytes.bytes_mut()[filled..], filled as i64) {
                // It became shorter while it was read.
                Ok(0) => return Err(self.failed(name, Errno::EIO)),
                Ok(n) => filled += n,
                Err(Errno::EINTR) => {}
                Err(e) => return Err(self.failed(name, e)),
            }
        }
        Ok(Content { bytes, modified: u64::try_from(stat.st_mtime).unwrap_or(0) })
    }

    /// Replaces the file `name`, durably. It changes only at the rename; a failure before that changes nothing. The
    /// old content is overwritten afterwards, because it may hold a key.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), Fault> {
        let new = format!("{name}.new");
        let old = self.open_existing(name);
        // A leftover of a crash; it may hold a key.
        self.remove(&new)?;
        let file = self.open_private(&new, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        crate::sys::no_copy_on_write(&file);
        let written = write_at(&file, content, 0).and_then(|()| fsync(&file));
        let renamed = written.and_then(|()| renameat(&self.fd, new.as_str(), &self.fd, name));
        if let Err(e) = renamed {
            wipe(&file);
            let _ = unlinkat(&self.fd, new.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(self.failed(name, e));
        }
        fsync(&self.fd).map_err(|e| self.failed("", e))?;
        if let Some(old) = old {
            wipe(&old);
        }
        Ok(())
    }

    /// Removes `name` and then overwrites its content. Succeeds if it does not exist.
    ///
    /// In this order, because a crash between the two must not leave a file of zeros, which would be a damaged
    /// record.
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        let file = self.open_existing(name);
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => fsync(&self.fd).map_err(|e| self.failed("", e))?,
            Err(Errno::ENOENT) => return Ok(()),
            Err(e) => return Err(self.failed(name, e)),
        }
        if let Some(file) = file {
            wipe(&file);
        }
        Ok(())
    }

    /// Gives the folder `from` in this one the name `to`, durably. If there is a folder of that name, it has to be empty.
    pub fn rename_folder(&self, from: &str, to: &str) -> Result<(), Fault> {
        renameat(&self.fd, from, &self.fd, to).map_err(|e| self.failed(to, e))?;
        fsync(&self.fd).map_err(|e| self.failed("", e))
    }

    /// Opens `name` to overwrite it. If it cannot be opened as a plain file of ours, it holds no key of ours.
    fn open_existing(&self, name: &str) -> Option<OwnedFd> {
        self.open_private(name, OFlag::O_RDWR).ok()
    }

    /// The path of `name` in this folder, for a message.
    pub fn path_of(&self, name: &str) -> String {
        format!("{}/{}", self.path.trim_end_matches('/'), name)
    }

    /// The fault for a system call on `name` that failed.
    pub fn failed(&self, name: &str, errno: Errno) -> Fault {
        fault(&self.path_of(name), What::Failed(errno))
    }

    /// The names in this folder, without `.` and `..`, in no particular order.
    pub fn names(&self) -> Result<Vec<String>, Fault> {
        let failed = |e| fault(&self.path, What::Failed(e));
        let copy = self.fd.as_fd().try_clone_to_owned().map_err(|_| failed(Errno::EMFILE))?;
        let mut listing = nix::dir::Dir::from_fd(copy).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// To open a folder.
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn not_opened(path: &str, e: Errno) -> Fault {
    let what = if matches!(e, Errno::ENOTDIR | Errno::ELOOP) { What::Kind } else { What::Failed(e) };
    fault(path, what)
}

/// Checks one folder of a path whose parents have been checked.
pub fn check_folder(folder: &Path) -> Result<(), Fault> {
    let path = folder.to_string_lossy();
    let stat = fstatat(AT_FDCWD, folder, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|e| not_opened(&path, e))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        return Err(fault(&path, What::Kind));
    }
    // To take /tmp from everybody, or a home from its owner, would be worse than the fault.
    let is_to_be_mended = is_roots_everywhere(&path) && stat.st_mode & libc::S_ISVTX == 0;
    check_owner_and_mode(&path, &stat, WRITE).map_err(|fault| match is_to_be_mended {
        true => fault,
        false => Fault { what: What::Open, ..fault },
    })
}

/// Overwrites an open file with zeros, as far as the file system does so in place.
fn wipe(file: &OwnedFd) {
    let length = fstat(file).map_or(0, |stat| stat.st_size.clamp(0, 1 << 20) as usize);
    let _ = write_at(file, &vec![0; length], 0);
    let _ = fdatasync(file);
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> nix::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset as i64) {
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Folders that are root's alone on every host, so that a wrong owner or mode is a fault of the host. /usr/local is not
/// among them: Debian gave it to the group staff.
fn is_roots_everywhere(folder: &str) -> bool {
    let below = |parent: &str| folder.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/", "/var", "/var/lib"].contains(&folder)
        || (["/etc", "/usr", "/lib", "/var/lib/mfa"].into_iter().any(below) && !below("/usr/local"))
}

fn check_owner_and_mode(path: &str, stat: &FileStat, forbidden: u32) -> Result<(), Fault> {
    // The helper runs only as root, so "our own" is root's. Unit tests may run as another user.
    if stat.st_uid != 0 && stat.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(fault(path, What::Owner(stat.st_uid)));
    }
    if stat.st_mode & forbidden != 0 {
        return Err(fault(path, What::Mode { mode: stat.st_mode & 0o7777, forbidden }));
    }
    Ok(())
}

fn fault(path: &str, what: What) -> Fault {
    Fault { path: path.to_owned(), what }
}

/// A name as that of a file or folder: letters, digits, `-` and `_` as they are, every other byte as `%XX`.
/// Two names never share one, none is `.` or `..`, and none holds a slash.
pub fn encode_name(user: &str) -> Option<String> {
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
        return None;
    }
    Some(name)
}

/// The name that [`encode_name`] has made this of.
pub fn decode_name(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if c == '%' {
            bytes.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = &rest[3..];
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    let user = String::from_utf8(bytes).ok()?;
    // Only what we would write ourselves.
    (encode_name(&user)? == name).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_remedy_changes_a_folder_that_is_not_ours() {
        for folder in ["/", "/etc", "/etc/mfa", "/usr/libexec", "/var/lib", "/var/lib/mfa/users"] {
            assert!(is_roots_everywhere(folder), "{folder}");
        }
        for folder in ["/tmp", "/home", "/home/alice", "/srv", "/usr/local", "/usr/local/lib", "/var/tmp", "/etcetera"]
        {
            assert!(!is_roots_everywhere(folder), "{folder}");
        }
        let fault = Dir::open(Path::new("/tmp")).err().unwrap();
        assert_eq!(fault.what, What::Open, "as everybody needs it");
        let said = fault.to_string();
        assert!(said.contains(MOVE_IT) && !said.contains("chmod") && !said.contains("chown"), "{said}");
        let spaced = self::fault("/var/lib/mfa/users/dom al", What::Owner(7)).to_string();
        assert!(spaced.ends_with(": chown root '/var/lib/mfa/users/dom al'"), "{spaced}");
    }

    #[test]
    fn no_folder_of_a_path_is_a_link() {
        let dir = Path::new("/tmp").join(format!("mfa-links-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
        for path in ["link", "link/", "link/lib", "link/."] {
            // The folder itself lies below one that everybody may write to, so it is asked by name.
            let path: PathBuf = dir.join(path).components().collect();
            let found = path.ancestors().take_while(|at| *at != dir).map(check_folder).collect::<Vec<_>>();
            assert!(found.iter().any(|found| matches!(found, Err(Fault { what: What::Kind, .. }))), "{path:?}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
        for path in ["/proc/self/", "/proc/self", "/proc/self/fd/"] {
            assert_eq!(Dir::open(Path::new(path)).err().unwrap().what, What::Kind, "{path}");
        }
        assert_eq!(Dir::open(Path::new("/usr//lib/")).unwrap().path_of("x"), "/usr/lib/x");
        for path in ["/usr/../usr", "usr"] {
            assert!(Dir::open(Path::new(path)).is_err(), "{path}");
        }
        assert!(Dir::open(Path::new("/no/such")).err().unwrap().is_missing());
        assert_eq!(Dir::open(Path::new("/etc/passwd")).err().unwrap().what, What::Kind);
    }

    #[test]
    fn names_are_injective_and_harmless() {
        assert_eq!(encode_name("alice_1-x").unwrap(), "alice_1-x");
        assert_eq!(encode_name("..").unwrap(), "%2E%2E");
        assert_eq!(encode_name("a/b").unwrap(), "a%2Fb");
        assert_eq!(encode_name("a%2Fb").unwrap(), "a%252Fb");
        assert_eq!(encode_name("DOM\\müller").unwrap(), "DOM%5Cm%C3%BCller");
        assert!(encode_name("").is_none());
        assert!(encode_name("a\nkey X").is_none());
        assert!(encode_name(&"x".repeat(256)).is_none());
        for name in ["alice", "..", "a%2Fb", "DOM\\müller"] {
            assert_eq!(decode_name(&encode_name(name).unwrap()).as_deref(), Some(name));
        }
        assert_eq!(decode_name("a%2fb"), None, "we write capitals");
        assert_eq!(decode_name("%zz"), None);
        assert_eq!(decode_name("%é"), None);
    }
}
