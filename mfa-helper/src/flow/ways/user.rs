//! A user, as sshd and sudo look at one.

use crate::policy::Answer;

/// A user of the name service.
pub struct User<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Whether the user belongs to a group of this name.
    pub member: &'a dyn Fn(&str) -> Answer,
    /// The gids and names of the user's groups; `None` if they cannot be determined. A group without a name has an empty one.
    pub groups: &'a dyn Fn() -> Option<Vec<(u32, String)>>,
}

impl User<'_> {
    /// Whether the user belongs to a group of which this holds.
    pub fn in_group(&self, holds: impl Fn(u32, &str) -> bool) -> Answer {
        match (self.groups)() {
            Some(groups) if groups.iter().any(|(gid, name)| holds(*gid, name)) => Answer::Yes,
            Some(_) => Answer::No,
            None => Answer::Unknown,
        }
    }
}
