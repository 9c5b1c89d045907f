//! Shows a user's own programs that a touch is waited for: a file that is open as long as it is, as pam_u2f's
//! `authpending_file`. It is root's, in a folder of root's, so that no user can have root open anything else, and has
//! nothing in it. Its user's group may read it, which inotify(7) demands. The folder may not be listed, so that nobody is
//! told of others by it.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::setfsgid;

use crate::rootfile::Dir;
use crate::sys::names;

/// systemd makes it (`packaging/systemd/mfa-helper.service`). Where it is missing, nothing is shown.
const FOLDER: &str = "/run/mfa/touch";

/// The file, while it is open.
#[derive(Default)]
pub struct Shown(Option<OwnedFd>);

impl Shown {
    /// Shows whether a touch of this user is waited for. That it cannot be shown changes no login.
    pub fn show(&mut self, user: &str, waits: bool) {
        self.0 = match self.0.take() {
            _ if !waits => None,
            None => open(user),
            open => open,
        };
    }
}

fn open(user: &str) -> Option<OwnedFd> {
    let folder = Dir::open(Path::new(FOLDER)).ok()?;
    let user = names::user(user).ok()??;
    // The service may not give files away, but it may make them for a group.
    let ours = setfsgid(user.gid);
    let file = folder.open_shown(&user.uid.to_string());
    setfsgid(ours);
    let file = file.ok()?;
    // The time of a change is seen by everybody (stat(2)), so that is made once.
    if fstat(&file).ok()?.st_mode & 0o777 != 0o640 {
        fchmod(&file, Mode::from_bits_truncate(0o640)).ok()?;
    }
    Some(file)
}
