//! Users by name, from the system's name service.

use std::cell::OnceCell;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Gid;

use crate::policy::{Answer, Named};
use crate::sys::child::answer_of_a_copy;
use crate::sys::names;
pub use crate::sys::names::{Password, group};

/// The longest time that the name service may take to read the password field of shadow.
const LOOK_UP: Duration = Duration::from_secs(20);

/// A user that the name service knows, under the name that it returns.
pub struct Identity {
    /// `pw_name`: the key of the record. Never the name that was typed.
    pub name: String,
    gid: Gid,
    /// All groups; `None` inside if they cannot be determined. Asked for once, and only when a rule names a group.
    groups: OnceCell<Option<Vec<Gid>>>,
}

/// Looks `name` up; `None` if the name service says that there is no such user.
pub fn find(name: &str) -> Result<Option<Identity>, Errno> {
    // An error is never "not found", although getpwnam(3) lists such errors for other systems: with glibc, ENOENT
    // means that a source is missing, such as an sssd that is stopped.
    let found = names::user(name)?;
    Ok(found.map(|user| Identity { name: user.name, gid: user.gid, groups: OnceCell::new() }))
}

impl Identity {
    /// Whether a rule that has this name concerns this user.
    pub fn member<'a>(&self, name: impl Into<Named<'a>>) -> Answer {
        match name.into() {
            Named::Group(group) => self.belongs_to(group),
            Named::User(name) => match find(name) {
                Ok(Some(user)) if user.name == self.name => Answer::Yes,
                Ok(_) => Answer::No,
                Err(_) => Answer::Unknown,
            },
        }
    }

    /// Whether this user belongs to `group`.
    ///
    /// `getgrouplist` silently leaves out the groups of a directory service that does not answer. So the group itself
    /// must be found too; if it is not, the answer is "unknown".
    fn belongs_to(&self, group: &str) -> Answer {
        let Ok(Some((gid, listed))) = names::group_lists(group, &self.name) else { return Answer::Unknown };
        if listed || gid == self.gid {
            return Answer::Yes;
        }
        match self.groups() {
            Some(groups) if groups.contains(&gid) => Answer::Yes,
            Some(_) => Answer::No,
            None => Answer::Unknown,
        }
    }

    /// The gids of all groups of this user, in any order; `None` if they cannot be determined.
    pub fn gids(&self) -> Option<&[Gid]> {
        self.groups().as_deref()
    }

    fn groups(&self) -> &Option<Vec<Gid>> {
        self.groups.get_or_init(|| names::groups_of(&self.name, self.gid).ok())
    }
}

/// Whether pam_unix would find an empty password for `user`, which is no first factor: with `nullok` in the stack,
/// anybody can log in as that user without knowing anything.
///
/// A process of its own reads the hash and answers with one byte. So at a login the hash is never in our memory, and
/// every failure on the way becomes [`Password::NotKnown`]. Root's commands that work out ways in read all of shadow
/// themselves (`flow/ways/shadow.rs`).
pub fn password_of(user: &str) -> Password {
    let answer = answer_of_a_copy(|| names::password(user) as u8, LOOK_UP);
    let is_the_answer = |password: &Password| answer == Some(*password as u8);
    [Password::Empty, Password::Locked, Password::Set].into_iter().find(is_the_answer).unwrap_or(Password::NotKnown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::names::world::{UNREADABLE, in_a_world};

    #[test]
    fn root_is_known_and_in_its_group() {
        let root = find("root").unwrap().unwrap();
        assert_eq!(root.name, "root");
        assert_eq!(root.member("root"), Answer::Yes);
        assert_eq!(root.member("nogroup"), Answer::No);
    }

    #[test]
    fn a_group_that_does_not_exist_leaves_the_question_open() {
        let root = find("root").unwrap().unwrap();
        assert_eq!(root.member("no-such-group"), Answer::Unknown);
    }

    /// In groups of any size, and with the user at any position: members are members, and nobody else is.
    #[test]
    #[ignore = "needs root: make unit"]
    fn membership_is_told_in_a_group_of_any_size() {
        for size in [1, 50_000, 120_000] {
            let listed: Vec<String> = (0..size).map(|n| format!("user{n:05}")).collect();
            let (first, last) = (listed[0].clone(), listed[size - 1].clone());
            let passwd = ["outsider", &first, &last].map(|name| format!("{name}:x:4000:4000::/:/bin/sh\n")).concat();
            let group = format!("staffall:x:4711:{}\nother:x:4712:\n", listed.join(","));
            in_a_world(&[("/etc/passwd", &passwd), ("/etc/group", &group)], move || {
                let member = |user: &str, group: &str| find(user).unwrap().unwrap().member(group);
                assert_eq!([&first, &last].map(|user| member(user, "staffall")), [Answer::Yes, Answer::Yes], "{size}");
                assert_eq!(member("outsider", "staffall"), Answer::No, "{size}");
                assert_eq!(member(&last, "other"), Answer::No, "{size}");
                assert_eq!(member(&last, "nobody-here"), Answer::Unknown, "{size}");
                assert_eq!(names::group("staffall").unwrap().unwrap().members.len(), size);
            });
        }
    }

    /// An entry that is longer than any host's is an error, which must not count as "no member".
    #[test]
    #[ignore = "needs root: make unit"]
    fn a_group_beyond_all_bounds_leaves_the_question_open() {
        let group = format!("staffall:x:4711:{}\n", vec!["member"; 5_000_000].join(","));
        in_a_world(&[("/etc/passwd", "eve:x:4000:4000::/:/bin/sh\n"), ("/etc/group", &group)], || {
            assert_eq!(find("eve").unwrap().unwrap().member("staffall"), Answer::Unknown);
            assert_eq!(names::group("staffall").err(), Some(Errno::ERANGE));
        });
    }

    /// Every kind of entry in passwd, combined with every kind of entry in shadow.
    #[test]
    #[ignore = "needs root: make unit"]
    fn an_empty_password_is_told_from_one_that_is_set_and_from_one_that_is_not_known() {
        use Password::{Empty, Locked, NotKnown, Set};
        const HASH: &str = "$y$j9T$abc$def";
        let locked = [Some("!"), Some("*"), Some("NP"), Some("x"), None].map(|hash| (hash, Locked));
        let shadows: Vec<_> = [(Some(""), Empty), (Some(HASH), Set)].into_iter().chain(locked).collect();
        let in_passwd = [("", Empty), ("*", Locked), ("!", Locked), (HASH, Set), ("xx", Locked), ("##bob", Locked)];
        let mut cases = Vec::new();
        for (shadow, expected) in shadows {
            cases.extend(["x", "##eve", "*NP*"].map(|hash| (hash, shadow, expected)));
            // If passwd does not refer to shadow, the entry in shadow does not count.
            cases.extend(in_passwd.map(|(hash, expected)| (hash, shadow, expected)));
        }
        for (hash, shadow, expected) in cases {
            let passwd = format!("root:x:0:0::/:/bin/sh\neve:{hash}:4000:4000::/:/bin/sh\n");
            let entry = shadow.map(|hash| format!("eve:{hash}:20000:0:99999:7:::\n")).unwrap_or_default();
            let shadow_file = format!("root:{HASH}:20000::::::\n{entry}");
            in_a_world(&[("/etc/passwd", &passwd), ("/etc/shadow", &shadow_file)], move || {
                assert_eq!(names::password("eve"), expected, "{hash:?} in passwd, {shadow:?} in shadow");
                assert_eq!(names::password("no-such-user"), NotKnown);
                assert_eq!(names::shadow_unreadable("eve"), None);
            });
        }
    }

    /// The answer comes from another process, and the hash stays there.
    #[test]
    #[ignore = "needs root: make unit"]
    fn a_copy_of_this_process_reads_the_hash() {
        let passwd = "eve:x:4000:4000::/:/bin/sh\nbob:x:4001:4001::/:/bin/sh\nann:*:4002:4002::/:/bin/sh\nkim:x:4003:4003::/:/bin/sh\n";
        let files = [
            ("/etc/passwd", passwd),
            ("/etc/shadow", "eve::20000::::::\nbob:$y$j9T$x:20000::::::\nkim:!$y$j9T$x:1::::::\n"),
        ];
        in_a_world(&files, || {
            let words = ["eve", "bob", "ann", "kim", "no-such-user"].map(password_of);
            let locked = Password::Locked;
            assert_eq!(words, [Password::Empty, Password::Set, locked, locked, Password::NotKnown]);
        });
    }

    #[test]
    #[ignore = "needs root: make unit"]
    fn where_shadow_cannot_be_read_nothing_is_known_of_whom_it_holds() {
        let passwd = "eve:x:4000:4000::/:/bin/sh\nann:*:4001:4001::/:/bin/sh\nold::4002:4002::/:/bin/sh\n";
        in_a_world(&[("/etc/passwd", passwd), ("/etc/shadow", UNREADABLE)], || {
            assert_eq!(names::password("eve"), Password::NotKnown);
            assert_eq!(names::shadow_unreadable("eve"), Some(Errno::EACCES));
            assert_eq!([names::password("ann"), names::password("old")], [Password::Locked, Password::Empty]);
            assert_eq!([names::shadow_unreadable("ann"), names::shadow_unreadable("old")], [None, None]);
        });
    }

    /// As with a stopped sssd, whose socket is gone. For a user that does not exist, the C library returns success.
    #[test]
    #[ignore = "needs root: make unit"]
    fn a_source_that_is_not_there_does_not_say_that_there_is_no_such_user() {
        in_a_world(&[("/etc/nsswitch.conf", "passwd: files\n")], || {
            let is_told = || {
                let child = crate::sys::fork().unwrap().unwrap_or_else(|| {
                    loop {
                        nix::unistd::pause();
                    }
                });
                let (gone, none) = (format!("/proc/{child}/environ"), None::<&str>);
                nix::mount::mount(Some(gone.as_str()), "/etc/passwd", none, nix::mount::MsFlags::MS_BIND, none)
                    .unwrap();
                nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
                nix::sys::wait::waitpid(child, None).unwrap();
                match find("eve") {
                    Ok(_) => 0,
                    Err(e) => e as u8,
                }
            };
            // In a copy, because the C library reads nsswitch.conf once for all threads.
            assert_eq!(answer_of_a_copy(is_told, LOOK_UP), Some(Errno::ESRCH as u8));
        });
    }

    #[test]
    fn an_unknown_user_is_none() {
        assert!(find("no-such-user").unwrap().is_none());
    }
}
