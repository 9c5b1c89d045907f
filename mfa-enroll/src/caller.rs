//! The user who runs this program, as the helper will see it.

use nix::unistd::{Uid, User, geteuid};

/// The uid that decides, and its name.
pub(crate) struct Caller {
    uid: Uid,
    /// `None` if the name service does not know the uid. Root's name needs no name service.
    pub(crate) name: Option<String>,
}

impl Caller {
    /// The effective uid, because the kernel reports that to the other end of a socket.
    pub(crate) fn of_this_process() -> Caller {
        let uid = geteuid();
        let name = if uid.is_root() { Some("root".into()) } else { name_of(uid) };
        Caller { uid, name }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid.is_root()
    }
}

#[allow(clippy::disallowed_methods, reason = "no unsafe in here, and a failure is no name, and ends there")]
fn name_of(uid: Uid) -> Option<String> {
    User::from_uid(uid).ok().flatten().map(|user| user.name)
}
