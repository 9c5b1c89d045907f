//! A line that says that something still goes on, for commands that look at everybody.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// What takes no longer than this needs no line.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the line changes.
const TICK: Duration = Duration::from_secs(1);

/// The line, at the bottom of a terminal until this is dropped. Without a terminal there is none.
pub(crate) struct Progress {
    line: Arc<Mutex<Line>>,
    /// Ends the thread when it is dropped.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// To be shown after a while, if standard error is a terminal.
    pub(crate) fn of(command: &'static str) -> Progress {
        let now = Instant::now();
        let line = Line { command, begun: now, quiet_since: now, users: 0, width: 0 };
        let mut progress = Progress { line: Arc::new(Mutex::new(line)), end: None, thread: None };
        if stderr().is_terminal() {
            let (end, ended) = channel::<()>();
            let line = Arc::clone(&progress.line);
            progress.thread = Some(spawn(move || {
                while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    locked(&line).tick(Instant::now(), &mut stderr());
                }
            }));
            progress.end = Some(end);
        }
        progress
    }

    /// One more user was looked at.
    pub(crate) fn count(&self) {
        locked(&self.line).users += 1;
    }

    /// To be called before anything else is written to the terminal. That is a sign of life, so the line waits again.
    pub(crate) fn make_way(&self) {
        if self.thread.is_some() {
            locked(&self.line).make_way(Instant::now(), &mut stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            locked(&self.line).erase(&mut stderr());
        }
    }
}

/// A thread that panicked while it wrote has left nothing that matters.
fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Line {
    command: &'static str,
    begun: Instant,
    quiet_since: Instant,
    users: usize,
    /// The characters of it on the terminal.
    width: usize,
}

impl Line {
    fn tick(&mut self, now: Instant, out: &mut dyn Write) {
        if now.duration_since(self.quiet_since) < PATIENCE {
            return;
        }
        let seconds = now.duration_since(self.begun).as_secs();
        let users = if self.users > 0 { format!(", {} users", self.users) } else { String::new() };
        let text = format!("{}: {seconds} s{users}", self.command);
        self.erase(out);
        let _ = write!(out, "{text}");
        self.width = text.len();
    }

    fn make_way(&mut self, now: Instant, out: &mut dyn Write) {
        self.quiet_since = now;
        self.erase(out);
    }

    /// By spaces, which every terminal understands.
    fn erase(&mut self, out: &mut dyn Write) {
        if self.width > 0 {
            let _ = write!(out, "\r{:1$}\r", "", self.width);
            self.width = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_after_two_quiet_seconds_and_goes_before_anything_else() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut line = Line { command: "list", begun, quiet_since: begun, users: 0, width: 0 };
        let mut out = Vec::new();
        line.tick(at(1), &mut out);
        assert_eq!(out, b"");
        line.tick(at(2), &mut out);
        line.users = 1234;
        line.tick(at(3), &mut out);
        assert_eq!(out, b"list: 2 s\r         \rlist: 3 s, 1234 users");
        out.clear();
        line.make_way(at(4), &mut out);
        line.tick(at(5), &mut out);
        line.make_way(at(5), &mut out);
        assert_eq!(out, [b"\r", [b' '; 21].as_slice(), b"\r"].concat(), "once, and not again at once");
        out.clear();
        line.tick(at(7), &mut out);
        assert_eq!(out, b"list: 7 s, 1234 users");
    }
}
