//! Signals from elsewhere, held back while there is something to be put away first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those whose default would leave the terminal or a file as it is now, or that change what it shows.
const HELD: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// While this lives, signals wait: to be looked at, or to strike when it is dropped. Where several are
/// held, the last one made goes first, and signals strike when the first one goes.
pub(crate) struct Signals {
    waiting: SignalFd,
    before: SigSet,
}

impl Signals {
    pub(crate) fn hold() -> io::Result<Signals> {
        let held: SigSet = HELD.into_iter().collect();
        let waiting = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { waiting, before: held.thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
    }

    /// The next of those that wait.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        let signal = self.waiting.read_signal().ok()??;
        Signal::try_from(signal.ssi_signo.cast_signed()).ok()
    }

    /// Readable when a signal waits.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Raises `signal`, which waits like any other.
pub(crate) fn put_back(signal: Signal) {
    let _ = raise(signal);
}

/// Stops, as Ctrl-Z does, until continued.
pub(crate) fn stop() {
    // A SIGCONT that waited would be told of later, as if it were another one.
    let both: SigSet = [Signal::SIGTSTP, Signal::SIGCONT].into_iter().collect();
    put_back(Signal::SIGTSTP);
    let _ = both.thread_unblock();
    let _ = both.thread_block();
}
