//! Users and groups of the name service. All code that asks for them comes here, as clippy.toml demands: the safe
//! wrapper of the nix crate gives up at an entry of one megabyte, and a group of 50,000 members is longer.
//!
//! The name service reads a file from its beginning for each name, so a command that looks at everybody reads everything
//! once beforehand ([`know_everybody`]). A login never does.

mod everybody;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgrouplist};

use everybody::Everybody;

/// The first size of the buffer, which usually fits. Each time it does not, the name service reads everything once
/// more.
const FIRST: usize = 4 * 1024;

/// The largest buffer: a group of three million members. If an entry needs more, the look-up fails.
const MOST: usize = 64 * 1024 * 1024;

/// The smallest buffer where all groups are read. It is larger, because a source other than files may not give an entry
/// a second time.
const FIRST_OF_ALL: usize = 1024 * 1024;

/// The file that names the sources.
const NSSWITCH: &str = "/etc/nsswitch.conf";
/// The file of this host's own users.
const PASSWD: &str = "/etc/passwd";
/// The file of their hashes.
const SHADOW: &str = "/etc/shadow";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name as the name service writes it.
    pub name: String,
    /// The uid.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
    /// The home folder.
    pub home: String,
    /// The program that a login starts; an empty one is /bin/sh.
    pub shell: String,
}

/// A group.
pub struct Group {
    /// The name as the name service writes it.
    pub name: String,
    /// The gid.
    pub gid: Gid,
    /// The members that the entry lists. Users who have it as their primary group are not among them.
    pub members: Vec<String>,
}

/// The entry in the place where pam_unix looks for a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// Empty: with `nullok`, pam_unix asks nothing and lets in.
    Empty,
    /// This host has the user, and no password fits: there is no hash ([`Hash::Locked`]), as in cloud images.
    Locked,
    /// A hash, or a user of another source, of whom a directory may keep a password.
    Set,
    /// The look-up has failed.
    NotKnown,
}

/// The user with this name.
pub fn user(name: &str) -> nix::Result<Option<User>> {
    if let Some(user) = known(|everybody| everybody.user(name)) {
        return Ok(Some(user));
    }
    // SAFETY: `entry` has been filled by the C library, and its buffer lives during this call.
    passwd(name, |entry| unsafe { user_in(entry) })
}

/// The user with this uid.
pub fn user_of(uid: u32) -> nix::Result<Option<User>> {
    // SAFETY: the pointers are those of `entry` below: a place for the entry and a buffer of `length` bytes.
    let call = |entry, buffer, length, found| unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) };
    // SAFETY: `entry` has been filled by the C library, and its buffer lives during this call.
    entry(call, |entry| unsafe { user_in(entry) })
}

/// The group with this name and all members that its entry lists.
pub fn group(name: &str) -> nix::Result<Option<Group>> {
    count(Question::Group);
    let name = c_string(name)?;
    // SAFETY: as in `user_of`; `name` is a C string that outlives the call.
    let call = |entry, buffer, length, found| unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, length, found) };
    entry(call, |entry: &libc::group| Group {
        // SAFETY: `gr_name` is a C string in the buffer of `entry`.
        name: unsafe { text(entry, entry.gr_name) },
        gid: Gid::from_raw(entry.gr_gid),
        // SAFETY: `entry` has been filled by the C library, and its buffer lives during this call.
        members: unsafe { members(entry) },
    })
}

/// The name of the group with this gid.
pub fn group_name(gid: Gid) -> nix::Result<Option<String>> {
    // SAFETY: as in `user_of`.
    let call = |entry, buffer, length, found| unsafe { libc::getgrgid_r(gid.as_raw(), entry, buffer, length, found) };
    // SAFETY: `gr_name` is a C string in the buffer of `entry`.
    entry(call, |entry: &libc::group| unsafe { text(entry, entry.gr_name) })
}

/// The gid of the group with this name, and whether it lists `user`. Results are kept for the life of this process,
/// which is one conversation: `mfa-enroll list` asks this for each user, and a group of 50,000 takes a while to read.
pub fn group_lists(name: &str, user: &str) -> nix::Result<Option<(Gid, bool)>> {
    KEPT.with_borrow_mut(|kept| {
        if !kept.contains_key(name) {
            let group = group(name)?.map(|group| (group.gid, group.members.into_iter().collect()));
            kept.insert(name.to_owned(), group);
        }
        let group = kept.get(name).and_then(Option::as_ref);
        Ok(group.map(|(gid, members)| (*gid, members.contains(user))))
    })
}

/// By group name: the gid, and the members that the entry lists; `None` if there is no such group.
type Kept = HashMap<String, Option<(Gid, HashSet<String>)>>;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
    static EVERYBODY: RefCell<Option<Everybody>> = const { RefCell::new(None) };
}

/// Reads all users whom the name service lists, so that a look-up of one of them asks nobody any more. Others, whom a
/// directory may know without listing them, are asked for as ever, and so is each name that is not found: nothing is
/// taken for missing because it was not listed.
pub fn know_everybody() {
    let nsswitch = std::fs::read_to_string(NSSWITCH).unwrap_or_default();
    if known(|_| Some(())).is_some() || !everybody::first_user_counts(&nsswitch) {
        return;
    }
    let mut everybody = Everybody::default();
    each_user(|user| everybody.add(user));
    everybody.sort();
    EVERYBODY.set(Some(everybody));
}

fn known<T>(look: impl FnOnce(&Everybody) -> Option<T>) -> Option<T> {
    EVERYBODY.with_borrow(|everybody| everybody.as_ref().and_then(look))
}

/// The groups that a login of `user` gets.
pub fn groups_of(user: &str, primary: Gid) -> nix::Result<Vec<Gid>> {
    EVERYBODY.with_borrow_mut(|everybody| {
        if let Some(everybody) = everybody.as_mut().filter(|everybody| !everybody.has_groups()) {
            everybody.set_groups(if lists_all_members() { all_members(everybody) } else { None });
        }
    });
    match known(|everybody| everybody.groups_of(user)) {
        Some(groups) => Ok([primary].into_iter().chain(groups).collect()),
        None => {
            count(Question::GroupsOfUser);
            getgrouplist(&c_string(user)?, primary)
        }
    }
}

/// Whether the list of all groups tells for each user what getgrouplist(3) tells: of files it does. A directory may leave
/// out members there, so that it has to be asked for each user.
fn lists_all_members() -> bool {
    let file = std::fs::read_to_string(NSSWITCH).unwrap_or_default();
    let sources = everybody::sources_of_groups(&file);
    match sources.as_deref() {
        Some(["files"]) => true,
        Some(["files", "systemd"]) => !systemd_may_add_members(),
        _ => false,
    }
}

/// Whether systemd may know members of groups beside the files: by a program that answers for users of its own, or by
/// files that say so (nss-systemd(8)).
fn systemd_may_add_members() -> bool {
    const WITHOUT_MEMBERS: [&str; 6] = [
        "io.systemd.DropIn",
        "io.systemd.DynamicUser",
        "io.systemd.Machine",
        "io.systemd.Multiplexer",
        "io.systemd.NameServiceSwitch",
        "io.systemd.NamespaceResource",
    ];
    const FILES: [&str; 5] =
        ["/etc/userdb", "/run/userdb", "/run/host/userdb", "/usr/local/lib/userdb", "/usr/lib/userdb"];
    let any = |folder: &str, foreign: &dyn Fn(&str) -> bool| match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.into_iter().any(|entry| entry.map_or(true, |entry| entry.file_name().to_str().is_none_or(foreign)))
        }
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    };
    any("/run/systemd/userdb", &|name| !WITHOUT_MEMBERS.contains(&name))
        || FILES.iter().any(|folder| any(folder, &|_| true))
}

/// The members of all groups, in one pass; `None` if it does not come to its end.
fn all_members(everybody: &Everybody) -> Option<everybody::Groups> {
    let mut groups = everybody::Groups::default();
    count(Question::AllGroups);
    let mut buffer = vec![0u8; FIRST_OF_ALL];
    // SAFETY: takes no argument. This program has one thread, so nothing else is in the midst of such a pass.
    unsafe { libc::setgrent() };
    let whole = loop {
        let mut place = std::mem::MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: a place for the entry, and a buffer of the length that is named.
        let code =
            unsafe { libc::getgrent_r(place.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found) };
        match code {
            // SAFETY: `found` points to `place`, which is filled; its strings are in `buffer`, and both live here.
            0 => match unsafe { found.as_ref() } {
                // SAFETY: as before.
                Some(entry) => unsafe {
                    each_member(entry, |name| groups.add(everybody, name, Gid::from_raw(entry.gr_gid)));
                },
                None => break false,
            },
            // The entry comes again.
            libc::ERANGE if buffer.len() < MOST => buffer = vec![0; (buffer.len() * 4).min(MOST)],
            libc::EINTR => {}
            libc::ENOENT => break true,
            _ => break false,
        }
    };
    // SAFETY: takes no argument.
    unsafe { libc::endgrent() };
    groups.sort();
    whole.then_some(groups)
}

/// The users with this primary group, as far as the name service lists users; a directory may list none.
pub fn users_of_primary_group(group: Gid) -> Vec<String> {
    users(|user| user.gid == group)
}

/// The names of the users that the name service lists and that are `wanted`.
pub fn users(wanted: impl Fn(&User) -> bool) -> Vec<String> {
    if let Some(names) = known(|everybody| Some(everybody.names(&wanted))) {
        return names;
    }
    let mut names = Vec::new();
    each_user(|user| {
        if wanted(&user) {
            names.push(user.name);
        }
    });
    names
}

/// Calls `take` for each user that the name service lists, in one pass.
fn each_user(mut take: impl FnMut(User)) {
    count(Question::AllUsers);
    // SAFETY: this program has one thread, so nothing else calls getpwent(3). Each entry is copied before the next
    // call overwrites it.
    unsafe {
        libc::setpwent();
        while let Some(entry) = libc::getpwent().as_ref() {
            let user = user_in(entry);
            if !user.name.is_empty() {
                take(user);
            }
        }
        libc::endpwent();
    }
}

/// What pam_unix would find for `name` (get_account_info of Linux-PAM 1.1 to 1.7): the field in shadow if passwd
/// refers to shadow, otherwise the field in passwd. This reads the hash into this process. Call
/// [`crate::identity::password_of`] instead: it uses another process.
pub fn password(name: &str) -> Password {
    let found = match stored(name) {
        Ok(Some(Hash::InShadow)) => in_shadow(name),
        Ok(Some(hash)) => Ok(hash),
        Ok(None) => return Password::NotKnown,
        Err(e) => Err(e),
    };
    match found {
        Ok(Hash::Empty) => Password::Empty,
        Ok(Hash::Typed) => Password::Set,
        Ok(Hash::Locked | Hash::InShadow) if is_local(name) => Password::Locked,
        // A directory answers with such a mark, or with none, where it checks the password itself.
        Ok(Hash::Locked | Hash::InShadow) => Password::Set,
        Err(_) => Password::NotKnown,
    }
}

/// The reason why shadow cannot be read, if pam_unix would look there for `name` and passwd of this host has `name`.
/// For users of other sources shadow has no entry, whatever their field in passwd says.
pub fn shadow_unreadable(name: &str) -> Option<Errno> {
    match stored(name) {
        Ok(Some(Hash::InShadow)) if is_local(name) => in_shadow(name).err(),
        _ => None,
    }
}

/// Whether the file passwd of this host lists the user.
fn is_local(name: &str) -> bool {
    let passwd = std::fs::read(PASSWD).unwrap_or_default();
    passwd
        .split(|byte| *byte == b'\n')
        .any(|line| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b':')))
}

/// What a field for a hash says, in passwd(5) or in shadow(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// It is empty.
    Empty,
    /// A hash, which some password may match.
    Typed,
    /// What crypt(3) never returns, such as `!`, `*` and `NP`: nothing that is typed can match.
    Locked,
    /// A reference to shadow. In shadow itself it refers to nothing.
    InShadow,
}

/// Reads the field of `user`: the only place that tells a hash from other text. References are as in is_pwd_shadowed() of
/// pam_unix, and the mark of NIS+.
pub fn hash(field: &[u8], user: &[u8]) -> Hash {
    match field {
        b"" => Hash::Empty,
        b"x" | b"*NP*" => Hash::InShadow,
        [b'#', b'#', rest @ ..] if rest == user => Hash::InShadow,
        // All methods of crypt(5) but the traditional one begin so. One that is not known may be known to another libcrypt.
        [b'$' | b'_', ..] => Hash::Typed,
        _ if is_traditional(field) => Hash::Typed,
        _ => Hash::Locked,
    }
}

/// A hash of the traditional crypt(3), or of bigcrypt(3), which has more of them behind each other, all but the first
/// without salt. pam_unix takes both, and cuts off at a comma if HP-UX has written the age of the password behind it.
fn is_traditional(field: &[u8]) -> bool {
    let of_crypt = |byte: &u8| byte.is_ascii_alphanumeric() || b"./".contains(byte);
    let hash = field.split(|byte| *byte == b',').next().unwrap_or_default();
    hash.iter().all(of_crypt) && hash.len().checked_sub(13).is_some_and(|more| more % 11 == 0)
}

fn stored(name: &str) -> nix::Result<Option<Hash>> {
    // SAFETY: `pw_passwd` and `pw_name` are C strings in the buffer of `entry`, which lives during this call.
    passwd(name, |entry| unsafe { hash(bytes(entry, entry.pw_passwd), bytes(entry, entry.pw_name)) })
}

/// The entry in shadow; [`Hash::InShadow`] if there is none.
///
/// If /etc/shadow cannot be read, getspnam(3) asks the next source of nsswitch.conf, which does not know the user:
/// its "not found" is wrong. So if the file exists, it must be readable.
fn in_shadow(name: &str) -> nix::Result<Hash> {
    let c_name = c_string(name)?;
    // SAFETY: the pointers are those of `entry` below; `c_name` is a C string that outlives the call.
    let call =
        |entry, buffer, length, found| unsafe { libc::getspnam_r(c_name.as_ptr(), entry, buffer, length, found) };
    let found = entry(call, |entry: &libc::spwd| match entry.sp_pwdp.is_null() {
        true => Err(Errno::EINVAL),
        // SAFETY: `sp_pwdp` is a C string in the buffer of `entry`.
        false => Ok(hash(unsafe { bytes(entry, entry.sp_pwdp) }, name.as_bytes())),
    })?;
    match (found, std::fs::File::open(SHADOW)) {
        (Some(hash), _) => hash,
        (None, Err(e)) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
        }
        (None, _) => Ok(Hash::InShadow),
    }
}

fn passwd<T>(name: &str, take: impl FnOnce(&libc::passwd) -> T) -> nix::Result<Option<T>> {
    count(Question::User);
    let name = c_string(name)?;
    // SAFETY: the pointers are those of `entry` below: a place for the entry and a buffer of `length` bytes. `name`
    // is a C string that outlives the call.
    let call = |entry, buffer, length, found| unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) };
    entry(call, take)
}

/// # Safety
///
/// The C library has filled `entry`, and its buffer still lives.
unsafe fn user_in(entry: &libc::passwd) -> User {
    // SAFETY: these are C strings in that buffer, which our caller keeps alive.
    let (name, home, shell) =
        unsafe { (text(entry, entry.pw_name), text(entry, entry.pw_dir), text(entry, entry.pw_shell)) };
    User { name, home, shell, uid: Uid::from_raw(entry.pw_uid), gid: Gid::from_raw(entry.pw_gid) }
}

/// Calls one of the getXXnam_r(3) with a buffer that grows until the entry fits. They report "not found" as 0 with no
/// entry; every error number is a failure and never means "not found".
fn entry<E, T>(
    call: impl Fn(*mut E, *mut c_char, usize, *mut *mut E) -> c_int,
    take: impl FnOnce(&E) -> T,
) -> nix::Result<Option<T>> {
    let mut buffer = vec![0u8; FIRST];
    loop {
        let mut place = std::mem::MaybeUninit::<E>::uninit();
        let mut found = std::ptr::null_mut();
        match call(place.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found) {
            // SAFETY: `found` is NULL or points to `place`, which is filled; its strings are in `buffer`. Both live
            // until `take` has returned.
            0 => return Ok(unsafe { found.as_ref() }.map(take)),
            libc::ERANGE if buffer.len() < MOST => buffer = vec![0; (buffer.len() * 4).min(MOST)],
            libc::EINTR => {}
            code => return Err(Errno::from_raw(code)),
        }
    }
}

/// A name that no C string can hold belongs to nobody.
fn c_string(name: &str) -> nix::Result<CString> {
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// The members that an entry lists.
///
/// # Safety
///
/// The C library has filled `entry`, and its buffer still lives.
unsafe fn members(entry: &libc::group) -> Vec<String> {
    let mut members = Vec::new();
    // SAFETY: our caller guarantees what `each_member` requires.
    unsafe { each_member(entry, |name| members.push(String::from_utf8_lossy(name).into_owned())) };
    members
}

/// Its safety condition is the one of [`members`].
unsafe fn each_member(entry: &libc::group, mut take: impl FnMut(&[u8])) {
    let mut next = entry.gr_mem;
    // SAFETY: `gr_mem` is an array of C strings that ends with NULL, in the buffer that our caller keeps alive.
    unsafe {
        while !next.is_null() && !(*next).is_null() {
            take(bytes(entry, *next));
            next = next.add(1);
        }
    }
}

/// What the name service is asked. Each of these reads a file from its beginning, or asks a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// A user by name.
    User,
    /// A group by name.
    Group,
    /// The groups of one user.
    GroupsOfUser,
    /// All users.
    AllUsers,
    /// All groups.
    AllGroups,
}

#[cfg(not(test))]
fn count(_: Question) {}

#[cfg(test)]
thread_local! {
    static ASKED: RefCell<Vec<Question>> = RefCell::default();
}

#[cfg(test)]
fn count(question: Question) {
    ASKED.with_borrow_mut(|asked| asked.push(question));
}

/// For tests: what this thread has asked the name service since the last call.
#[cfg(test)]
pub fn asked() -> Vec<Question> {
    ASKED.take()
}

/// [`bytes`], as text. Its safety condition is the one of [`bytes`].
unsafe fn text<E>(entry: &E, string: *const c_char) -> String {
    // SAFETY: our caller guarantees what `bytes` requires.
    String::from_utf8_lossy(unsafe { bytes(entry, string) }).into_owned()
}

/// A string of `entry`, borrowed for as long as the entry.
///
/// # Safety
///
/// `string` is NULL, or a C string that lives as long as `entry`.
unsafe fn bytes<E>(_entry: &E, string: *const c_char) -> &[u8] {
    if string.is_null() {
        return b"";
    }
    // SAFETY: our caller guarantees a C string that lives as long as `_entry`, and it is not NULL.
    unsafe { CStr::from_ptr(string) }.to_bytes()
}

/// For tests: a thread that sees other files in /etc.
#[cfg(test)]
pub mod world {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    /// In place of a content: the thread cannot read this file.
    pub const UNREADABLE: &str = "\0unreadable";

    /// Runs `test` with these contents in place of these files. Only root can set this up.
    pub fn in_a_world(files: &[(&str, &str)], test: impl FnOnce() + Send) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (*path, content.as_bytes())).collect();
        in_a_world_of_bytes(&files, test);
    }

    /// The same with bytes that need be no text.
    pub fn in_a_world_of_bytes(files: &[(&str, &[u8])], test: impl FnOnce() + Send) {
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
                    let mode = if *content == UNREADABLE.as_bytes() { 0o000 } else { 0o644 };
                    std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(mode)).unwrap();
                    mount(Some(ours.as_str()), *path, none, MsFlags::MS_BIND, none).unwrap();
                }
                if files.iter().any(|(_, content)| *content == UNREADABLE.as_bytes()) {
                    // Without root's right to read every file.
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
                // SAFETY: `entry` gives valid places for both.
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
    fn a_hash_is_told_from_what_nothing_can_match() {
        let cases: [(&[&str], Hash); 4] = [
            (&[""], Hash::Empty),
            (&["x", "##eve", "*NP*"], Hash::InShadow),
            (&["$y$j9T$abc$def", "$6$x$y", "$1$a$b", "_J9..K0AyUubqqqqqqqq", "abJnggxhB/yWI"], Hash::Typed),
            (
                &["!", "*", "!!", "!*", "!$y$j9T$abc$def", "*LK*", "NP", "X", "xx", "##", "##bob", "##eve2"],
                Hash::Locked,
            ),
        ];
        for (fields, expected) in cases {
            for field in fields {
                assert_eq!(hash(field.as_bytes(), b"eve"), expected, "{field:?}");
            }
        }
        // Of one character too few or too many, or with another one in it.
        for field in ["abJnggxhB/yW", "abJnggxhB/yWIx", "abJnggxhB/yW-", "no-hash", "accountdisabled", ",", "abc,M.z8"]
        {
            assert_eq!(hash(field.as_bytes(), b"eve"), Hash::Locked, "{field:?}");
        }
        for field in ["abJnggxhB/yWI,M.z8", "qiyh4XPJGsOZ2MEAyLkfWqeQ", "qiyh4XPJGsOZ2MEAyLkfWqeQ,.."] {
            assert_eq!(hash(field.as_bytes(), b"eve"), Hash::Typed, "{field:?}");
        }
    }

    const FILES_ALONE: (&str, &[u8]) = ("/etc/nsswitch.conf", b"passwd: files\ngroup: files\n");

    /// Numbers by chance, the same at each run.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    /// Names that occur twice, that are marks of compat, that are no text, and entries that are no entries.
    fn passwd(chance: &mut Chance) -> Vec<u8> {
        let mut file = Vec::new();
        for _ in 0..120 {
            let name = match chance.below(12) {
                0 => format!("+user{}", chance.below(40)),
                1 => String::from("-"),
                2 => format!("User{}", chance.below(40)),
                _ => format!("user{}", chance.below(80)),
            };
            let (uid, gid) = (1000 + chance.below(60), 100 + chance.below(12));
            let shell = ["/bin/sh", "/usr/sbin/nologin", ""][chance.below(3) as usize];
            file.extend(match chance.below(15) {
                0 => format!("{name}:x:{uid}\n").into_bytes(),
                1 => format!("# {name}:x:{uid}:{gid}:::\n\n").into_bytes(),
                2 => [b"caf\xe9:x:".as_slice(), format!("{uid}:{gid}::/:{shell}\n").as_bytes()].concat(),
                _ => format!("{name}:x:{uid}:{gid}:,,:/home/{name}:{shell}\n").into_bytes(),
            });
        }
        file
    }

    /// Gids and names of groups that occur twice, and members whom nobody knows.
    fn groups(chance: &mut Chance) -> String {
        let mut file = String::new();
        for _ in 0..40 {
            let (name, gid) = (format!("group{}", chance.below(30)), 100 + chance.below(25));
            let members: Vec<String> = (0..chance.below(20)).map(|_| format!("user{}", chance.below(100))).collect();
            file.push_str(&format!("{name}:x:{gid}:{}\n", members.join(",")));
        }
        file
    }

    fn everything_about(name: &str, primary: Gid) -> (nix::Result<Option<User>>, Vec<u32>) {
        let mut groups: Vec<u32> = groups_of(name, primary).unwrap().into_iter().map(Gid::as_raw).collect();
        groups.sort_unstable();
        groups.dedup();
        (user(name), groups)
    }

    /// What is read in one pass is what look-ups say of each name, in any files.
    #[test]
    #[ignore = "needs root: make unit"]
    fn one_pass_says_what_a_look_up_of_each_says() {
        for seed in 0..25 {
            let mut chance = Chance(seed);
            let (passwd, group) = (passwd(&mut chance), groups(&mut chance));
            // Bytes that are no text can be written only so.
            let files = [("/etc/passwd", passwd.as_slice()), ("/etc/group", group.as_bytes()), FILES_ALONE];
            world::in_a_world_of_bytes(&files, || {
                let names: Vec<String> = users(|_| true);
                let others = ["user3", "USER3", "nobody-here", "+", "caf\u{fffd}", ""].map(String::from);
                let all: Vec<String> = names.iter().cloned().chain(others).collect();
                let one_by_one: Vec<_> = all.iter().map(|name| everything_about(name, Gid::from_raw(104))).collect();
                know_everybody();
                let in_one_pass: Vec<_> = all.iter().map(|name| everything_about(name, Gid::from_raw(104))).collect();
                assert_eq!(in_one_pass, one_by_one, "{seed}");
                let sorted = |mut names: Vec<String>| {
                    names.sort_unstable();
                    names.dedup();
                    names
                };
                assert_eq!(sorted(users(|_| true)), sorted(names), "{seed}");
            });
        }
    }

    /// However many there are, each file is read once.
    #[test]
    #[ignore = "needs root: make unit"]
    fn everybody_is_known_by_one_pass_and_groups_by_another_if_they_are_asked_for() {
        let passwd: String = (0..500).map(|n| format!("user{n}:x:{n}:{n}::/:/bin/sh\n")).collect();
        let group = b"staff:x:9000:user3,user4\n".as_slice();
        world::in_a_world_of_bytes(&[("/etc/passwd", passwd.as_bytes()), ("/etc/group", group), FILES_ALONE], || {
            know_everybody();
            know_everybody();
            let _ = asked();
            for n in 0..500 {
                assert_eq!(user(&format!("user{n}")).unwrap().unwrap().uid.as_raw(), n);
            }
            assert_eq!((asked(), users(|_| true).len(), asked()), (vec![], 500, vec![]));
            let members = (0..500)
                .filter(|n| groups_of(&format!("user{n}"), Gid::from_raw(*n)).unwrap().contains(&Gid::from_raw(9000)));
            assert_eq!(members.collect::<Vec<_>>(), [3, 4]);
            assert_eq!(asked(), [Question::AllGroups]);
            // A user who is not listed may be in a directory.
            assert_eq!(user("eve"), Ok(None));
            assert_eq!(
                (groups_of("eve", Gid::from_raw(1)), asked()),
                (Ok(vec![Gid::from_raw(1)]), vec![Question::User, Question::GroupsOfUser])
            );
        });
    }
}
