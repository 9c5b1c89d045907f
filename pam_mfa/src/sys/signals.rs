//! Notices Ctrl-C in a host that blocks the signal.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::spawn::lift;

/// The signals that a terminal sends for Ctrl-C and Ctrl-\.
const TYPED: [libc::c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Waits until `stream` can be read, or until one of these signals arrives and this host has blocked it. True if it
/// was the signal.
///
/// The signal is not consumed: it stays pending, so that the host can handle it. If the host does not block it, the
/// signal works without our help.
pub(crate) fn interrupt_comes_before(stream: BorrowedFd, patience: Duration) -> bool {
    let Some(held) = held_back() else { return false };
    let deadline = Instant::now() + patience;
    loop {
        let mut fds =
            [stream.as_raw_fd(), held.as_raw_fd()].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        let left = deadline.saturating_duration_since(Instant::now());
        let left = libc::c_int::try_from(left.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `fds` has two entries, as the count says, and outlives the call.
        match unsafe { libc::poll(fds.as_mut_ptr(), 2, left) } {
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            // Nothing came, or poll failed: the next read has its own deadline.
            0 | -1 => return false,
            _ => return fds[0].revents == 0 && fds[1].revents & libc::POLLIN != 0,
        }
    }
}

/// A descriptor that is readable while one of the blocked signals is pending. `None` if this thread blocks none.
fn held_back() -> Option<OwnedFd> {
    // SAFETY: a `sigset_t` may be all zeros. All pointers are to these two local sets, except one null pointer, with
    // which pthread_sigmask changes nothing.
    let fd = unsafe {
        let (mut blocked, mut held) = (std::mem::zeroed(), std::mem::zeroed());
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut blocked);
        libc::sigemptyset(&raw mut held);
        let these = TYPED.into_iter().filter(|signal| libc::sigismember(&raw const blocked, *signal) == 1);
        if these.map(|signal| libc::sigaddset(&raw mut held, signal)).count() == 0 {
            return None;
        }
        libc::signalfd(-1, &raw const held, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    // SAFETY: signalfd has just made this descriptor, so nothing else owns it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }).and_then(|fd| lift(fd).ok())
}
