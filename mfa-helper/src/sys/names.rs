//! What the name service says. Everybody who asks it for a user or a group comes here, as clippy.toml demands: the safe
//! wrapper of the nix crate gives up at an entry of one megabyte, and a group of 50,000 has more.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgrouplist};

/// What an entry usually fits in. Each time that it does not, the name service reads everything once more.
const FIRST: usize = 4 * 1024;

/// What no entry may need more than: a group of three million. Beyond it the look-up has failed.
const MOST: usize = 64 * 1024 * 1024;

/// Where this host's own users are.
const PASSWD: &str = "/etc/passwd";
/// Where their hashes are.
const SHADOW: &str = "/etc/shadow";

/// A user.
pub struct User {
    /// The name as the name service writes it.
    pub name: String,
    /// The uid.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
}

/// A group.
pub struct Group {
    /// The name as the name service writes it.
    pub name: String,
    /// The gid.
    pub gid: Gid,
    /// Those whom the entry lists; whose primary group it is, is not among them.
    pub members: Vec<String>,
}

/// What stands where pam_unix looks for a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// Nothing: with `nullok` pam_unix asks nothing and lets in.
    Empty,
    /// Something, or there is nothing that pam_unix could compare with: a directory's users have no entry in shadow.
    Set,
    /// The look-up has failed.
    NotKnown,
}

/// The user of that name.
pub fn user(name: &str) -> nix::Result<Option<User>> {
    // SAFETY: an entry that the C library has filled.
    passwd(name, |entry| unsafe { user_in(entry) })
}

/// The user of that uid.
pub fn user_of(uid: u32) -> nix::Result<Option<User>> {
    // SAFETY: as in `passwd`.
    let call = |entry, buffer, length, found| unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) };
    // SAFETY: an entry that the C library has filled.
    entry(call, |entry| unsafe { user_in(entry) })
}

/// The group of that name, with all whom it lists.
pub fn group(name: &str) -> nix::Result<Option<Group>> {
    let name = c_string(name)?;
    // SAFETY: as in `passwd`.
    let call = |entry, buffer, length, found| unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, length, found) };
    entry(call, |entry: &libc::group| Group {
        // SAFETY: a string of this entry.
        name: unsafe { text(entry, entry.gr_name) },
        gid: Gid::from_raw(entry.gr_gid),
        // SAFETY: an entry that the C library has filled.
        members: unsafe { members(entry) },
    })
}

/// The gid of the group of that name, and whether it lists `user`. What was found is kept for as long as this process
/// lasts, one conversation: a list asks this of each user, and a group of 50,000 takes a while to read.
pub fn group_lists(name: &str, user: &str) -> nix::Result<Option<(Gid, bool)>> {
    KEPT.with_borrow_mut(|kept| {
        if !kept.contains_key(name) {
            let Some(group) = group(name)? else { return Ok(None) };
            kept.insert(name.to_owned(), (group.gid, group.members.into_iter().collect()));
        }
        Ok(kept.get(name).map(|(gid, members)| (*gid, members.contains(user))))
    })
}

/// By its name the gid of a group, and whom it lists.
type Kept = HashMap<String, (Gid, HashSet<String>)>;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// The groups that a login of `user` gets.
pub fn groups_of(user: &str, primary: Gid) -> nix::Result<Vec<Gid>> {
    getgrouplist(&c_string(user)?, primary)
}

/// Users whose primary group it is, as far as the name service lists them: a directory may list nobody.
pub fn users_of_primary_group(group: Gid) -> Vec<String> {
    users().into_iter().filter(|user| user.group == group).map(|user| user.name).collect()
}

/// A user whom the name service lists.
pub struct Listed {
    /// The name.
    pub name: String,
    /// The primary group.
    pub group: Gid,
    /// The program that a login starts.
    pub shell: String,
}

/// All users whom the name service lists.
pub fn users() -> Vec<Listed> {
    let mut users = Vec::new();
    // SAFETY: this program has one thread; each entry is read before the next call, until which its strings live.
    unsafe {
        libc::setpwent();
        while let Some(entry) = libc::getpwent().as_ref() {
            let (name, shell) = (text(entry, entry.pw_name), text(entry, entry.pw_shell));
            users.push(Listed { name, group: Gid::from_raw(entry.pw_gid), shell });
        }
        libc::endpwent();
    }
    users.retain(|user| !user.name.is_empty());
    users
}

/// What pam_unix would find for `name` (get_account_info of Linux-PAM 1.1 to 1.7): in shadow, if passwd refers to it, and
/// in passwd otherwise. Reads the hash into this process: ask [`crate::identity::password_of`], which has it done in
/// another.
pub fn password(name: &str) -> Password {
    match stored(name) {
        Ok(Some(Stored::Empty)) => Password::Empty,
        Ok(Some(Stored::Something)) => Password::Set,
        Ok(Some(Stored::InShadow)) => match shadow_is_empty(name) {
            Ok(Some(true)) => Password::Empty,
            Ok(Some(false) | None) => Password::Set,
            Err(_) => Password::NotKnown,
        },
        Ok(None) | Err(_) => Password::NotKnown,
    }
}

/// Why shadow cannot be read, if that is where pam_unix would look for `name`, a user of this host's own. Where others
/// come from, shadow says nothing of them, whatever stands for them in passwd.
pub fn shadow_unreadable(name: &str) -> Option<Errno> {
    match stored(name) {
        Ok(Some(Stored::InShadow)) if is_local(name) => shadow_is_empty(name).err(),
        _ => None,
    }
}

/// Whether passwd of this host itself lists them.
fn is_local(name: &str) -> bool {
    let passwd = std::fs::read(PASSWD).unwrap_or_default();
    passwd
        .split(|byte| *byte == b'\n')
        .any(|line| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b':')))
}

/// What passwd holds in the place of a hash.
enum Stored {
    Empty,
    Something,
    /// A reference to shadow.
    InShadow,
}

fn stored(name: &str) -> nix::Result<Option<Stored>> {
    // SAFETY: two strings of this entry.
    passwd(name, |entry| unsafe { kind(bytes(entry, entry.pw_passwd), bytes(entry, entry.pw_name)) })
}

/// is_pwd_shadowed() of pam_unix, and what NIS+ writes.
fn kind(hash: &[u8], name: &[u8]) -> Stored {
    match hash {
        b"" => Stored::Empty,
        b"x" | b"*NP*" => Stored::InShadow,
        [b'#', b'#', rest @ ..] if rest == name => Stored::InShadow,
        _ => Stored::Something,
    }
}

/// Whether the entry in shadow is empty; `None` where there is no entry.
///
/// Where /etc/shadow cannot be read, getspnam(3) asks the next source of nsswitch.conf, which has not heard of the user:
/// a "not found" that is none. So the file has to be readable, where there is one.
fn shadow_is_empty(name: &str) -> nix::Result<Option<bool>> {
    let name = c_string(name)?;
    // SAFETY: as in `passwd`.
    let call = |entry, buffer, length, found| unsafe { libc::getspnam_r(name.as_ptr(), entry, buffer, length, found) };
    let found = entry(call, |entry: &libc::spwd| match entry.sp_pwdp.is_null() {
        true => Err(Errno::EINVAL),
        // SAFETY: a string of this entry.
        false => Ok(unsafe { bytes(entry, entry.sp_pwdp) }.is_empty()),
    })?;
    match (found, std::fs::File::open(SHADOW)) {
        (Some(empty), _) => empty.map(Some),
        (None, Err(e)) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
        }
        (None, _) => Ok(None),
    }
}

fn passwd<T>(name: &str, take: impl FnOnce(&libc::passwd) -> T) -> nix::Result<Option<T>> {
    let name = c_string(name)?;
    // SAFETY: a C string that outlives the call, a place for the entry, and a buffer of that length.
    let call = |entry, buffer, length, found| unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) };
    entry(call, take)
}

/// # Safety
///
/// The C library has filled the entry, and its buffer is still there.
unsafe fn user_in(entry: &libc::passwd) -> User {
    // SAFETY: a string of this entry.
    let name = unsafe { text(entry, entry.pw_name) };
    User { name, uid: Uid::from_raw(entry.pw_uid), gid: Gid::from_raw(entry.pw_gid) }
}

/// Calls one of the getXXnam_r(3) with a buffer that grows until the entry fits. They say "not found" by 0 and no entry;
/// every number is a failure, and never a "no".
fn entry<E, T>(
    call: impl Fn(*mut E, *mut c_char, usize, *mut *mut E) -> c_int,
    take: impl FnOnce(&E) -> T,
) -> nix::Result<Option<T>> {
    let mut buffer = vec![0u8; FIRST];
    loop {
        let mut place = std::mem::MaybeUninit::<E>::uninit();
        let mut found = std::ptr::null_mut();
        match call(place.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found) {
            // SAFETY: NULL, or `place`, filled, whose strings are in `buffer`: both live until `take` has returned.
            0 => return Ok(unsafe { found.as_ref() }.map(take)),
            libc::ERANGE if buffer.len() < MOST => buffer = vec![0; (buffer.len() * 4).min(MOST)],
            libc::EINTR => {}
            code => return Err(Errno::from_raw(code)),
        }
    }
}

/// A name that no C string can hold is nobody's.
fn c_string(name: &str) -> nix::Result<CString> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// The members that an entry lists.
///
/// # Safety
///
/// The C library has filled the entry, and its buffer is still there.
unsafe fn members(entry: &libc::group) -> Vec<String> {
    let mut members = Vec::new();
    let mut next = entry.gr_mem;
    // SAFETY: an array of C strings that ends with NULL.
    unsafe {
        while !next.is_null() && !(*next).is_null() {
            members.push(text(entry, *next));
            next = next.add(1);
        }
    }
    members
}

/// The same as [`bytes`], and under the same condition.
unsafe fn text<E>(entry: &E, string: *const c_char) -> String {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { bytes(entry, string) }).into_owned()
}

/// A string of an entry, for as long as that is there.
///
/// # Safety
///
/// It is NULL, or a C string that lives as long as the entry.
unsafe fn bytes<E>(_entry: &E, string: *const c_char) -> &[u8] {
    if string.is_null() {
        return b"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(string) }.to_bytes()
}

/// For tests: a thread to which files of /etc are others.
#[cfg(test)]
pub mod world {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    /// In place of a content: the thread cannot read the file.
    pub const UNREADABLE: &str = "\0unreadable";

    /// Runs `test` where these files are what is given for them. Only root can have it so.
    pub fn in_a_world(files: &[(&str, &str)], test: impl FnOnce() + Send) {
        assert!(nix::unistd::geteuid().is_root(), "needs root: make unit");
        std::thread::scope(|scope| {
            let world = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let none = None::<&Path>;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
                mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).unwrap();
                for (n, (path, content)) in files.iter().enumerate() {
                    let ours = format!("/mnt/{n}");
                    std::fs::write(&ours, content).unwrap();
                    let mode = if *content == UNREADABLE { 0o000 } else { 0o644 };
                    std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(mode)).unwrap();
                    mount(Some(ours.as_str()), *path, none, MsFlags::MS_BIND, none).unwrap();
                }
                if files.iter().any(|(_, content)| *content == UNREADABLE) {
                    // Without the rights by which root reads every file.
                    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                }
                test();
            });
            if let Err(panic) = world.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_to_any_size_below_the_limit_and_no_further() {
        for needed in [0, 1, FIRST, FIRST + 1, 900_008, 1 << 20, (1 << 20) + 1, 9_999_999, MOST, MOST + 1, 2 * MOST] {
            let call = |place: *mut usize, _: *mut c_char, length: usize, found: *mut *mut usize| {
                if length < needed {
                    return libc::ERANGE;
                }
                // SAFETY: the two places that `entry` gives.
                unsafe {
                    place.write(needed);
                    found.write(place);
                }
                0
            };
            let expected = if needed <= MOST { Ok(Some(needed)) } else { Err(Errno::ERANGE) };
            assert_eq!(entry(call, |needed| *needed), expected);
        }
    }

    #[test]
    fn a_failure_is_no_answer() {
        for code in 1..134 {
            if [libc::ERANGE, libc::EINTR].contains(&code) {
                continue;
            }
            let call = |_: *mut u8, _: *mut c_char, _: usize, _: *mut *mut u8| code;
            assert_eq!(entry(call, |_| ()), Err(Errno::from_raw(code)));
        }
        assert_eq!(entry(|_: *mut u8, _, _, _| 0, |_| ()), Ok(None));
    }

    #[test]
    fn what_passwd_holds_is_read_as_pam_unix_reads_it() {
        let kind = |hash: &[u8]| match kind(hash, b"eve") {
            Stored::Empty => "empty",
            Stored::Something => "something",
            Stored::InShadow => "shadow",
        };
        assert_eq!(kind(b""), "empty");
        assert_eq!([&b"x"[..], b"##eve", b"*NP*"].map(kind), ["shadow"; 3]);
        let others = [&b"*"[..], b"!", b"xx", b"##", b"##bob", b"##eve2", b"$y$j9T$x", b"X"];
        assert_eq!(others.map(kind), ["something"; 8]);
    }
}
