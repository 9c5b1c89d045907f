//! All users and the members of all groups, as one pass over the name service gives them.
//!
//! Names and homes lie behind each other in one text: of 100,000 users that is a few megabytes.

use std::collections::HashMap;

use nix::unistd::{Gid, Uid};

use super::User;

/// All users whom the name service lists.
#[derive(Default)]
pub struct Everybody {
    /// Their names and homes.
    text: String,
    /// The few programs that logins start.
    shells: Vec<String>,
    shell_numbers: HashMap<String, u32>,
    /// Sorted by name.
    users: Vec<Entry>,
    /// Those that are listed, and may be no users.
    odd: Vec<User>,
    /// `None` before they were read; inside, `None` if the list does not tell them.
    groups: Option<Option<Groups>>,
}

/// A user. Places are in bytes.
struct Entry {
    at: u32,
    name: u32,
    home: u32,
    shell: u32,
    uid: Uid,
    gid: Gid,
}

impl Entry {
    fn name<'a>(&self, text: &'a str) -> &'a str {
        let at = self.at as usize;
        text.get(at..at + self.name as usize).unwrap_or_default()
    }

    fn home<'a>(&self, text: &'a str) -> &'a str {
        let at = self.at as usize + self.name as usize;
        text.get(at..at + self.home as usize).unwrap_or_default()
    }
}

impl Everybody {
    /// Adds a user. Whether a name is one that begins like the marks of compat (nsswitch.conf(5)), or that is no text, only
    /// a look-up tells.
    pub fn add(&mut self, user: User) {
        let is_odd = user.name.starts_with(['+', '-']) || user.name.contains(char::REPLACEMENT_CHARACTER);
        let number = |length: usize| u32::try_from(length).ok().filter(|_| !is_odd);
        let (Some(at), Some(name), Some(home), Some(next)) =
            (number(self.text.len()), number(user.name.len()), number(user.home.len()), number(self.shells.len()))
        else {
            self.odd.push(user);
            return;
        };
        self.text.push_str(&user.name);
        self.text.push_str(&user.home);
        let shell = *self.shell_numbers.entry(user.shell).or_insert_with_key(|shell| {
            self.shells.push(shell.clone());
            next
        });
        self.users.push(Entry { at, name, home, shell, uid: user.uid, gid: user.gid });
    }

    /// To be called when all are there. Of several users of one name the first counts, as in a look-up.
    pub fn sort(&mut self) {
        let Everybody { text, users, .. } = self;
        users.sort_by(|one, other| one.name(text).cmp(other.name(text)));
        users.dedup_by(|later, first| later.name(text) == first.name(text));
        users.shrink_to_fit();
        text.shrink_to_fit();
        self.shell_numbers = HashMap::new();
    }

    /// The user with exactly this name, if the list has one.
    pub fn user(&self, name: &str) -> Option<User> {
        self.users.get(self.number(name.as_bytes())? as usize).map(|entry| self.whole(entry))
    }

    /// The names of those who are wanted.
    pub fn names(&self, wanted: impl Fn(&User) -> bool) -> Vec<String> {
        let users = self.users.iter().map(|entry| self.whole(entry)).chain(self.odd.iter().cloned());
        users.filter(wanted).map(|user| user.name).collect()
    }

    /// Whether [`Everybody::set_groups`] was called.
    pub fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// Takes the members of all groups; `None` if each user has to be asked for.
    pub fn set_groups(&mut self, groups: Option<Groups>) {
        self.groups = Some(groups);
    }

    /// The groups that list this user; `None` if that is not known.
    pub fn groups_of(&self, name: &str) -> Option<Vec<Gid>> {
        let groups = self.groups.as_ref()?.as_ref()?;
        let user = self.number(name.as_bytes())?;
        let from = groups.members.partition_point(|(number, _)| *number < user);
        let of_user = groups.members.get(from..)?.iter().take_while(|(number, _)| *number == user);
        Some(of_user.map(|(_, gid)| Gid::from_raw(*gid)).collect())
    }

    fn number(&self, name: &[u8]) -> Option<u32> {
        let found = self.users.binary_search_by(|entry| entry.name(&self.text).as_bytes().cmp(name));
        found.ok().and_then(|at| u32::try_from(at).ok())
    }

    fn whole(&self, entry: &Entry) -> User {
        User {
            name: entry.name(&self.text).to_owned(),
            uid: entry.uid,
            gid: entry.gid,
            home: entry.home(&self.text).to_owned(),
            shell: self.shells.get(entry.shell as usize).cloned().unwrap_or_default(),
        }
    }
}

/// Who is a member of which group: the number of a user, and a gid.
#[derive(Default)]
pub struct Groups {
    members: Vec<(u32, u32)>,
}

impl Groups {
    /// Adds a member. One who is not among the users is asked for when the time comes.
    pub fn add(&mut self, everybody: &Everybody, name: &[u8], gid: Gid) {
        self.members.extend(everybody.number(name).map(|user| (user, gid.as_raw())));
    }

    /// To be called when all are there.
    pub fn sort(&mut self) {
        self.members.sort_unstable();
        self.members.dedup();
        self.members.shrink_to_fit();
    }
}

/// Whether a look-up finds the first user of a name that the list has, by the text of nsswitch.conf(5): not if it goes on
/// to another source after it has found one.
pub fn first_user_counts(nsswitch: &str) -> bool {
    !entries(nsswitch, "passwd").any(|sources| sources.to_ascii_lowercase().contains("success"))
}

/// The sources that are asked for the groups of a user; `None` if that is not as plain as a distribution has it.
pub fn sources_of_groups(nsswitch: &str) -> Option<Vec<&str>> {
    let mut named = entries(nsswitch, "group");
    let (Some(sources), None) = (named.next(), named.next()) else { return None };
    let by_its_own = entries(nsswitch, "initgroups").next().is_some();
    (!by_its_own && !sources.contains(['[', '\\'])).then(|| sources.split_whitespace().collect())
}

fn entries<'a>(nsswitch: &'a str, database: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = nsswitch.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| line.split_once(':'));
    entries.filter(move |(name, _)| name.trim().eq_ignore_ascii_case(database)).map(|(_, sources)| sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_stands_for_each_look_up_only_where_all_sources_are_plain() {
        let plain = |nsswitch: &str| sources_of_groups(nsswitch).map(|sources| sources.join(" "));
        for (nsswitch, expected) in [
            ("passwd: files\ngroup:\tfiles systemd # as shipped\n", Some("files systemd")),
            ("Group : files sss\n", Some("files sss")),
            ("group: files [SUCCESS=merge] systemd\n", None),
            ("group: files\ninitgroups: files sss\n", None),
            ("group: files\ngroup: sss\n", None),
            ("group: files \\\n", None),
            ("passwd: files\n#group: files\n", None),
            ("", None),
        ] {
            assert_eq!(plain(nsswitch).as_deref(), expected, "{nsswitch:?}");
        }
        assert!(first_user_counts("passwd: files systemd\ngroup: files [SUCCESS=merge] sss\n"));
        assert!(first_user_counts("passwd: files [NOTFOUND=return] sss\n") && first_user_counts(""));
        assert!(!first_user_counts("passwd: files [Success=continue] sss\n"));
    }
}
