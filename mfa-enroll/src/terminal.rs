//! The terminal: which one it is, what it can do, and its keys one by one.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use mfa_wire::{Cancelled, MAX_ANSWER, Secret};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::qr::Size;
use crate::screen::USUAL;

/// What the environment says about the terminal. Nothing else is taken from the environment.
#[derive(Default)]
pub(crate) struct Environment {
    /// `TERM`: absent and `dumb` mean that the cursor cannot be moved.
    term: Option<String>,
    /// `NO_COLOR` is set to something.
    no_colour: bool,
    /// The character set of the locale, if there is a locale at all.
    locale: Option<String>,
}

impl Environment {
    pub(crate) fn of_this_process() -> Environment {
        let variable =
            |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(|v| v.to_string_lossy().into_owned());
        Environment {
            term: variable("TERM"),
            no_colour: variable("NO_COLOR").is_some(),
            locale: ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable),
        }
    }

    /// Whether the locale is a UTF-8 one; nothing if there is none.
    fn utf8(&self) -> Option<bool> {
        let locale = self.locale.as_ref()?.to_ascii_lowercase();
        Some(locale.contains("utf-8") || locale.contains("utf8"))
    }
}

/// Where the dialogue with the person takes place.
pub(crate) struct Terminal {
    input: File,
    output: File,
    /// Both ends are a terminal: keys come one by one.
    is_tty: bool,
    environment: Environment,
}

impl Terminal {
    /// The controlling terminal; without one, stdin and stderr, whatever they are.
    pub(crate) fn open(environment: Environment) -> io::Result<Terminal> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let (input, output) = match tty.and_then(|tty| Ok((tty.try_clone()?, tty))) {
            Ok(both) => both,
            Err(_) => {
                let duplicate = |fd: BorrowedFd| fd.try_clone_to_owned().map(File::from);
                (duplicate(io::stdin().as_fd())?, duplicate(io::stderr().as_fd())?)
            }
        };
        let is_tty = input.is_terminal() && output.is_terminal();
        Ok(Terminal { input, output, is_tty, environment })
    }

    pub(crate) fn is_tty(&self) -> bool {
        self.is_tty
    }

    /// The cursor can be moved and what was written can be erased.
    pub(crate) fn has_cursor(&self) -> bool {
        self.is_tty && self.environment.term.as_deref().is_some_and(|term| term != "dumb")
    }

    pub(crate) fn has_colours(&self) -> bool {
        self.has_cursor() && !self.environment.no_colour
    }

    /// It shows UTF-8: the locale says so, or there is none and the terminal itself says so.
    pub(crate) fn shows_utf8(&self) -> bool {
        let says_so = || tcgetattr(&self.input).is_ok_and(|t| t.input_flags.contains(InputFlags::IUTF8));
        self.environment.utf8().unwrap_or_else(says_so)
    }

    /// The size of the window.
    pub(crate) fn window(&self) -> Size {
        match terminal_size::terminal_size_of(&self.output) {
            Some((terminal_size::Width(cols @ 1..), terminal_size::Height(rows @ 1..))) => {
                Size { rows: rows.into(), cols: cols.into() }
            }
            _ => USUAL,
        }
    }

    /// Writes at once. A terminal that is gone is noticed when it is read.
    pub(crate) fn write(&mut self, text: &str) {
        let _ = self.output.write_all(text.as_bytes());
    }

    /// The keys, until they are dropped.
    pub(crate) fn keys(&self) -> io::Result<Keys> {
        Keys::of(self.input.try_clone()?)
    }

    /// One line from what is no terminal, byte by byte: what follows belongs to the next question.
    pub(crate) fn read_line(&mut self) -> Result<Secret, Cancelled> {
        let mut line = Secret::with_capacity(MAX_ANSWER);
        let mut fits = true;
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(1) if byte == *b"\n" => break,
                Ok(1) => fits &= line.append(&byte),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) if !line.bytes().is_empty() => break,
                Ok(_) | Err(_) => return Err(Cancelled::NoConversation),
            }
        }
        match line.bytes() {
            [] => Err(Cancelled::ByUser),
            _ if fits => Ok(line),
            _ => Err(Cancelled::NoConversation),
        }
    }
}

/// Something that happened while waiting for a key.
pub(crate) enum Event {
    Key(u8),
    /// Nothing, for as long as was asked.
    Quiet,
    /// The window has another size.
    Resized,
    /// Continued, after a stop that could not be seen coming.
    Continued,
    /// A signal that ends or stops the process, once it is let through.
    Signal(Signal),
    /// The terminal is gone.
    Gone,
}

/// The terminal gives every key at once, echoes none and makes no signal of any; and signals from
/// elsewhere wait until they are asked for. Dropping this restores all of it, on every way out.
pub(crate) struct Keys {
    tty: File,
    before: Termios,
    mask: SigSet,
    signals: SignalFd,
}

/// Signals whose default would leave the terminal as it is now, or that change what it shows.
const SIGNALS: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

impl Keys {
    fn of(tty: File) -> io::Result<Keys> {
        let ours: SigSet = SIGNALS.into_iter().collect();
        let signals = SignalFd::with_flags(&ours, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = tcgetattr(&tty)?;
        let mask = ours.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let keys = Keys { tty, before, mask, signals };
        let mut raw = keys.before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
        // What was typed ahead is kept.
        tcsetattr(&keys.tty, SetArg::TCSADRAIN, &raw)?;
        Ok(keys)
    }

    /// Waits for the next event, at most `milliseconds`.
    pub(crate) fn next(&mut self, milliseconds: Option<u16>) -> Event {
        let timeout = milliseconds.map_or(PollTimeout::NONE, PollTimeout::from);
        let mut fds =
            [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.tty.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Event::Quiet,
            Ok(_) => {}
            Err(_) => return Event::Gone,
        }
        if let Ok(Some(signal)) = self.signals.read_signal() {
            return match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGWINCH) => Event::Resized,
                Ok(Signal::SIGCONT) => Event::Continued,
                Ok(signal) => Event::Signal(signal),
                Err(_) => Event::Quiet,
            };
        }
        let mut byte = [0];
        match self.tty.read(&mut byte) {
            Ok(1) => Event::Key(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Event::Quiet,
            _ => Event::Gone,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, SetArg::TCSADRAIN, &self.before);
        let _ = self.mask.thread_set_mask();
    }
}

/// Lets a signal act on this process, now that the terminal is as it was. Returns if it was a stop,
/// once we are continued.
pub(crate) fn let_through(signal: Signal) {
    let _ = nix::sys::signal::raise(signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_utf8_or_not_or_there_is_none() {
        let utf8 =
            |locale: Option<&str>| Environment { locale: locale.map(str::to_owned), ..Default::default() }.utf8();
        assert_eq!(utf8(Some("en_US.UTF-8")), Some(true));
        assert_eq!(utf8(Some("C.utf8")), Some(true));
        assert_eq!(utf8(Some("de_DE.ISO-8859-1")), Some(false));
        assert_eq!(utf8(Some("C")), Some(false));
        assert_eq!(utf8(None), None);
    }
}
