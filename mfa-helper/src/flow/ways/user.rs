//! A user, as sshd and sudo look at one.

use crate::policy::Answer;

/// A user of the name service.
pub struct User<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Whether the user belongs to a group of this name.
    pub member: &'a dyn Fn(&str) -> Answer,
}
