//! What the person types to end a program that holds it back.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::spawn::lift;

/// What a terminal sends: Ctrl-C and Ctrl-\.
const TYPED: [libc::c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Waits until `stream` can be read, or such a signal has come that this host has blocked. Whether it was the signal.
///
/// It is not taken: it stays pending for the host, whose own affair it is. A host that does not block it needs nothing of
/// us.
pub(crate) fn interrupt_comes_before(stream: BorrowedFd, patience: Duration) -> bool {
    let Some(held) = held_back() else { return false };
    let deadline = Instant::now() + patience;
    loop {
        let mut fds =
            [stream.as_raw_fd(), held.as_raw_fd()].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        let left = deadline.saturating_duration_since(Instant::now());
        let left = libc::c_int::try_from(left.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: two entries, which live across the call.
        match unsafe { libc::poll(fds.as_mut_ptr(), 2, left) } {
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            // Nothing, or no way to tell: whoever reads next has a deadline too.
            0 | -1 => return false,
            _ => return fds[0].revents == 0 && fds[1].revents & libc::POLLIN != 0,
        }
    }
}

/// Readable as long as one of them is pending that this thread blocks. None: it blocks none.
fn held_back() -> Option<OwnedFd> {
    // SAFETY: sets of signals are plain data, and the calls write to these two.
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
    // SAFETY: it is new, and nobody else knows it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }).and_then(|fd| lift(fd).ok())
}
