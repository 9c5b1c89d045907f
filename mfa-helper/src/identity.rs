//! Who a name is, by the system's name service.

use std::cell::OnceCell;
use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};

use crate::policy::Answer;

/// A user whom the name service knows, under the name that it gives.
pub struct Identity {
    /// `pw_name`: the key of the record. Never the name as it was typed.
    pub name: String,
    gid: Gid,
    /// All groups, if they can be told. Asked for once, and only when a rule names a group.
    groups: OnceCell<Option<Vec<Gid>>>,
}

/// Looks `name` up; `None` when the name service says that there is no such user.
pub fn find(name: &str) -> Result<Option<Identity>, Errno> {
    match User::from_name(name) {
        // getpwnam(3): both are ways to say "not found".
        Ok(None) | Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Ok(Some(user)) => Ok(Some(Identity { name: user.name, gid: user.gid, groups: OnceCell::new() })),
        Err(e) => Err(e),
    }
}

impl Identity {
    /// Whether this user belongs to `group`.
    ///
    /// `getgrouplist` leaves out what a dead directory service would have said, and says nothing of
    /// it. So the group itself must resolve too; one that does not leaves the question open.
    pub fn member(&self, group: &str) -> Answer {
        let Ok(Some(group)) = Group::from_name(group) else { return Answer::Unknown };
        if group.gid == self.gid || group.mem.contains(&self.name) {
            return Answer::Yes;
        }
        match self.groups() {
            Some(groups) if groups.contains(&group.gid) => Answer::Yes,
            Some(_) => Answer::No,
            None => Answer::Unknown,
        }
    }

    fn groups(&self) -> &Option<Vec<Gid>> {
        let ask = || CString::new(self.name.as_str()).ok().and_then(|name| getgrouplist(&name, self.gid).ok());
        self.groups.get_or_init(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_unknown_user_is_none() {
        assert!(find("no-such-user").unwrap().is_none());
    }
}
