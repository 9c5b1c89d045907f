//! Signals, blocked while a secret on the screen or in a file must be removed first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals whose default would leave the terminal or a file as it is now, or that change the window.
const HELD: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// While this lives, signals are blocked: they can be read, or take effect when it is dropped. If several exist, they
/// must be dropped in reverse order, and signals take effect when the first one is dropped.
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

    /// The next blocked signal.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        let signal = self.waiting.read_signal().ok()??;
        Signal::try_from(signal.ssi_signo.cast_signed()).ok()
    }

    /// Readable when a blocked signal is pending.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Raises `signal`, which becomes pending like any other.
pub(crate) fn put_back(signal: Signal) {
    let _ = raise(signal);
}

/// Stops the process, as Ctrl-Z does, until it is continued.
pub(crate) fn stop() {
    // Otherwise the SIGCONT would stay pending and be reported later as a second one.
    let both: SigSet = [Signal::SIGTSTP, Signal::SIGCONT].into_iter().collect();
    put_back(Signal::SIGTSTP);
    let _ = both.thread_unblock();
    let _ = both.thread_block();
}
