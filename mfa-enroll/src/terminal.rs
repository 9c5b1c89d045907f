//! The terminal: its features, and its input.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::screen::USUAL;
use crate::signals::Signals;
use crate::texts::Lang;
use mfa_qr::Size;

/// Where the dialogue with the person takes place.
pub(crate) struct Terminal {
    input: File,
    output: File,
    /// Blocks signals until they are asked for; the last of them take effect when the dialogue has ended.
    signals: Signals,
    /// Both ends are a terminal.
    pub(crate) is_tty: bool,
    /// The cursor can be moved, and text can be erased.
    pub(crate) has_cursor: bool,
    pub(crate) has_colours: bool,
    pub(crate) shows_utf8: bool,
}

impl Terminal {
    /// The controlling terminal; without one, stdin and stderr.
    pub(crate) fn open() -> io::Result<Terminal> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let (input, output) = match tty.and_then(|tty| Ok((tty.try_clone()?, tty))) {
            Ok(both) => both,
            Err(_) => {
                let duplicate = |fd: BorrowedFd| fd.try_clone_to_owned().map(File::from);
                (duplicate(io::stdin().as_fd())?, duplicate(io::stderr().as_fd())?)
            }
        };
        let is_tty = input.is_terminal() && output.is_terminal();
        let has_cursor = is_tty && variable("TERM").is_some_and(|term| term != "dumb");
        let has_colours = has_cursor && variable("NO_COLOR").is_none();
        let shows_utf8 = match ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable) {
            Some(locale) => is_utf8(&locale),
            // Without any locale, as under a bare init, the terminal's own setting decides.
            None => tcgetattr(&input).is_ok_and(|t| t.input_flags.contains(InputFlags::IUTF8)),
        };
        Ok(Terminal { input, output, signals: Signals::hold()?, is_tty, has_cursor, has_colours, shows_utf8 })
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

    /// Writes at once. A failure is ignored: a lost terminal is noticed at the next read.
    pub(crate) fn write(&mut self, text: &str) {
        let _ = self.output.write_all(text.as_bytes());
    }

    /// Until the guard is dropped, every key is delivered at once, is not echoed and makes no signal.
    pub(crate) fn keys(&self) -> io::Result<Mode> {
        self.without(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN)
    }

    /// Until the guard is dropped, typed text is not shown.
    pub(crate) fn hidden(&self) -> io::Result<Mode> {
        self.without(LocalFlags::ECHO)
    }

    fn without(&self, flags: LocalFlags) -> io::Result<Mode> {
        let mode = Mode { before: tcgetattr(&self.input)?, tty: self.input.try_clone()? };
        let mut other = mode.before.clone();
        other.local_flags.remove(flags);
        // TCSADRAIN keeps the text that was typed ahead.
        tcsetattr(&mode.tty, SetArg::TCSADRAIN, &other)?;
        Ok(mode)
    }

    /// Waits for the next event, at most `milliseconds`.
    pub(crate) fn next(&mut self, milliseconds: Option<u16>) -> Event {
        let timeout = milliseconds.map_or(PollTimeout::NONE, PollTimeout::from);
        let wait_for = |fd| PollFd::new(fd, PollFlags::POLLIN);
        match poll(&mut [wait_for(self.signals.as_fd()), wait_for(self.input.as_fd())], timeout) {
            Ok(0) | Err(Errno::EINTR) => return Event::Quiet,
            Ok(_) => {}
            Err(_) => return Event::Gone,
        }
        if let Some(signal) = self.signals.next() {
            return Event::Signal(signal);
        }
        let mut byte = [0];
        match self.input.read(&mut byte) {
            Ok(1) => Event::Byte(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Event::Quiet,
            _ => Event::Gone,
        }
    }
}

/// An event during the wait for input.
pub(crate) enum Event {
    /// One byte. Only one, because the next bytes may belong to the next question.
    Byte(u8),
    Signal(Signal),
    /// The time is over, and nothing happened.
    Quiet,
    /// The input has ended, or the terminal is gone.
    Gone,
}

/// A mode of the terminal's input. Dropping this restores the previous mode, on every way out.
pub(crate) struct Mode {
    tty: File,
    before: Termios,
}

impl Drop for Mode {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, SetArg::TCSADRAIN, &self.before);
    }
}

/// The language of the caller, from the locale.
pub(crate) fn language() -> Lang {
    let first = |names: [&str; 3]| names.into_iter().find_map(variable).unwrap_or_default();
    let shows_utf8 = is_utf8(&first(["LC_ALL", "LC_CTYPE", "LANG"]));
    Lang::of(&first(["LC_ALL", "LC_MESSAGES", "LANG"]), shows_utf8, &variable("TERM").unwrap_or_default())
}

#[allow(clippy::disallowed_methods, reason = "how to draw and in which language, and nothing else")]
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_utf8_or_not() {
        for (locale, utf8) in [("en_US.UTF-8", true), ("C.utf8", true), ("de_DE.ISO-8859-1", false), ("C", false)] {
            assert_eq!(is_utf8(locale), utf8, "{locale}");
        }
    }
}
