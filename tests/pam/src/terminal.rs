//! A terminal for this process: sudo is remembered in the session of one, and nowhere else.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// Both ends, for as long as the process lives: without the first the terminal hangs up.
static ENDS: OnceLock<[OwnedFd; 2]> = OnceLock::new();

/// Makes this process the leader of a session with a terminal of its own, if it is not yet. Nobody types there.
pub fn on_a_terminal() {
    ENDS.get_or_init(|| {
        let (mut near, mut far) = (0, 0);
        // SAFETY: writes two numbers; the rest is left to the system.
        let opened = unsafe {
            libc::openpty(&raw mut near, &raw mut far, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
        };
        assert_eq!(opened, 0, "openpty");
        // SAFETY: both were opened just now, and nobody else has them.
        let ends = unsafe { [OwnedFd::from_raw_fd(near), OwnedFd::from_raw_fd(far)] };
        // SAFETY: system calls without pointers.
        let ours = unsafe { libc::setsid() >= 0 && libc::ioctl(ends[1].as_raw_fd(), libc::TIOCSCTTY, 0) == 0 };
        assert!(ours, "a session with that terminal: {}", std::io::Error::last_os_error());
        ends
    });
}
