//! What a person reads and types at a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Child,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::DEADLINE;

/// A terminal, read at all times by a thread of its own: a serial line that nobody reads would stop the machine.
#[derive(Debug)]
pub struct Dialogue {
    input: File,
    output: Arc<Output>,
    /// How much of the text was waited for already.
    matched: usize,
    /// The program at this end, if it is not the machine itself.
    client: Option<Child>,
}

#[derive(Debug, Default)]
struct Output {
    text: Mutex<Text>,
    more: Condvar,
}

/// What is printed, without what only moves the cursor or changes colours.
#[derive(Debug, Default)]
struct Text {
    printed: String,
    ended: bool,
}

impl Dialogue {
    pub(crate) fn new(terminal: OwnedFd, client: Option<Child>) -> Self {
        let input = File::from(terminal);
        let mut reader = input.try_clone().expect("dup");
        let output = Arc::new(Output::default());
        let written = output.clone();
        std::thread::spawn(move || {
            let mut parser = vte::Parser::new();
            let mut bytes = [0; 4096];
            loop {
                let len = reader.read(&mut bytes).unwrap_or(0);
                let mut text = written.text();
                parser.advance(&mut *text, &bytes[..len]);
                text.ended = len == 0;
                written.more.notify_all();
                if text.ended {
                    return;
                }
            }
        });
        Self { input, output, matched: 0, client }
    }

    /// Waits until `wanted` is printed *after* what was last waited for, and gives all the text from there up to its end.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) -> String {
        let start = self.matched;
        self.wait_for_any(&[wanted]);
        self.text()[start..self.matched].to_owned()
    }

    /// Waits for the first of these to be printed, and says which it was.
    #[track_caller]
    pub fn wait_for_any(&mut self, wanted: &[&str]) -> usize {
        let deadline = Instant::now() + DEADLINE;
        let mut text = self.output.text();
        loop {
            let fresh = &text.printed[self.matched..];
            let found =
                wanted.iter().enumerate().filter_map(|(i, wanted)| Some((fresh.find(wanted)?, i, wanted.len())));
            if let Some((at, which, len)) = found.min() {
                self.matched += at + len;
                return which;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.ended || left.is_zero() {
                let why = if text.ended { "ended before it showed" } else { "did not show" };
                let seen = text.printed.clone();
                // No thread that reads on shall stumble over our panic.
                drop(text);
                panic!("{why} {wanted:?}:\n{seen}");
            }
            text = self.output.more.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types a line and Enter.
    pub fn type_line(&mut self, line: &str) {
        self.send(format!("{line}\r"));
    }

    /// Types these bytes: `"\x03"` is Ctrl-C, `"\x04"` Ctrl-D.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.write_all(bytes.as_ref()).expect("the terminal takes input");
    }

    /// User name and password, at the prompts of getty and login.
    #[track_caller]
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.wait_for("login: ");
        self.type_line(user);
        self.wait_for("Password: ");
        self.type_line(password);
    }

    /// All text printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.output.text().printed.clone()
    }

    /// Waits until the other side hangs up.
    #[track_caller]
    pub fn wait_for_end(&mut self) {
        let text = self.output.text();
        let running = |text: &mut Text| !text.ended;
        let waited = self.output.more.wait_timeout_while(text, DEADLINE, running);
        let (text, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let seen = text.printed.clone();
        drop(text);
        assert!(!timeout.timed_out(), "still there:\n{seen}");
    }
}

impl Drop for Dialogue {
    #[expect(clippy::print_stderr, reason = "what a person saw last explains a red test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal showed:\n{}", self.text());
        }
        if let Some(client) = &mut self.client {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

impl Output {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl vte::Perform for Text {
    fn print(&mut self, c: char) {
        self.printed.push(c);
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\t') {
            self.printed.push(byte.into());
        }
    }
}
