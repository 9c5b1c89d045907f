//! A tty of a machine, and a person in front of it.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    num::NonZeroU16,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    },
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    process::{Pid, PidfdFlags, pidfd_open},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    Machine, Screen,
    machine::{DEADLINE, end},
};

/// Makes its standard input the controlling terminal and becomes the user, as login would have done,
/// but asks nobody (`su -c` would lose the tty again).
const SIT_DOWN: &str = r#"
    user=$1 script=$2
    shift 2
    chown "$user" "$(tty)"
    exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --reset-env \
        env -- "$@" sh -c 'cd; eval "$1"' sh "$script"
"#;

/// Who sits down, and how. See [`Machine::terminal`].
#[derive(Debug)]
pub struct TerminalBuilder<'m> {
    machine: &'m Machine,
    user: String,
    env: Vec<String>,
    size: Winsize,
    patience: Duration,
}

impl<'m> TerminalBuilder<'m> {
    pub(crate) fn new(machine: &'m Machine) -> Self {
        let env = ["LANG=C.UTF-8", "TERM=xterm-256color"].map(str::to_owned).to_vec();
        Self { machine, user: "root".into(), env, size: winsize(80, 24), patience: DEADLINE }
    }

    /// Somebody other than root.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        name.clone_into(&mut self.user);
        self
    }

    /// Sets a variable, besides `LANG=C.UTF-8` and `TERM=xterm-256color`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Another size than 80 by 24.
    #[must_use]
    pub fn size(mut self, columns: u16, rows: u16) -> Self {
        self.size = winsize(columns, rows);
        self
    }

    /// How long to wait for anything, instead of 20 seconds.
    #[must_use]
    pub fn patience(mut self, at_most: Duration) -> Self {
        self.patience = at_most;
        self
    }

    /// Runs a shell command there, in the user's home.
    #[must_use]
    pub fn run(self, command: &str) -> Terminal {
        // Opened through the machine's own devpts, so that it has a name in there.
        let master = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits() as i32)
            .open(self.machine.host_path("/dev/pts/ptmx"))
            .expect("the machine's pty multiplexer");
        unlockpt(&master).expect("TIOCSPTLCK");
        let tty = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("TIOCGPTPEER");
        tcsetwinsize(&master, self.size).expect("TIOCSWINSZ");
        let dup = || tty.try_clone().expect("dup");
        let child = self
            .machine
            .command("setsid")
            .args(["--ctty", "sh", "-euc", SIT_DOWN, "sh", &self.user, command])
            .args(&self.env)
            .stdin(dup())
            .stdout(dup())
            .stderr(dup())
            .spawn()
            .expect("sh");
        let pid = Pid::from_child(&child);
        Terminal {
            master,
            child,
            ended: pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open"),
            parser: vt100::Parser::new(rows(self.size), columns(self.size), 0),
            text: Text::default(),
            text_parser: vte::Parser::new(),
            matched: 0,
            raw: Vec::new(),
            patience: self.patience,
        }
    }
}

/// A real tty of a machine, with a command running on it.
///
/// Output is taken in whenever something is waited for, and before the screen is looked at.
pub struct Terminal {
    master: File,
    child: Child,
    ended: OwnedFd,
    parser: vt100::Parser,
    text: Text,
    text_parser: vte::Parser,
    /// How much of the text was waited for already.
    matched: usize,
    raw: Vec<u8>,
    patience: Duration,
}

impl Terminal {
    /// Waits until `wanted` is printed *after* what was last waited for, and gives all the text from
    /// there up to its end. Text is as printed: long lines are not broken, and no colours are in it.
    #[track_caller]
    pub fn wait_for(&mut self, wanted: &str) -> String {
        let start = self.matched;
        self.wait_for_any(&[wanted]);
        self.text.printed[start..self.matched].to_owned()
    }

    /// Waits for the first of these to be printed, and says which it was.
    #[track_caller]
    pub fn wait_for_any(&mut self, wanted: &[&str]) -> usize {
        let deadline = Instant::now() + self.patience;
        loop {
            let fresh = &self.text.printed[self.matched..];
            let found = wanted.iter().enumerate().filter_map(|(i, text)| Some((fresh.find(text)?, i, text.len())));
            if let Some((at, which, len)) = found.min() {
                self.matched += at + len;
                return which;
            }
            match self.take_in(deadline) {
                Event::Output => {}
                Event::Ended => panic!("ended before it showed {wanted:?}:\n{}", self.screen()),
                Event::Deadline => panic!("did not show {wanted:?}:\n{}", self.screen()),
            }
        }
    }

    /// Types a line and Enter.
    pub fn type_line(&mut self, line: &str) {
        self.send(format!("{line}\r"));
    }

    /// Types these bytes: `"\x03"` is Ctrl-C, `"\x04"` Ctrl-D.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.master.write_all(bytes.as_ref()).expect("the terminal takes input");
    }

    /// Does the terminal show what is typed? It does not at a password prompt.
    #[must_use]
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.master).expect("tcgetattr").local_modes.contains(LocalModes::ECHO)
    }

    /// The screen as it is now.
    #[must_use]
    pub fn screen(&mut self) -> Screen {
        let now = Instant::now();
        while matches!(self.take_in(now), Event::Output) {}
        Screen::new(self.parser.screen().clone())
    }

    /// All text printed so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text.printed
    }

    /// Every byte printed so far.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Drags the corner of the window.
    pub fn resize(&mut self, columns_now: u16, rows_now: u16) {
        let size = winsize(columns_now, rows_now);
        tcsetwinsize(&self.master, size).expect("TIOCSWINSZ");
        self.parser.screen_mut().set_size(rows(size), columns(size));
    }

    /// Waits for the command to end. Death by a signal is 128 and its number, as in a shell.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.take_in(deadline) {
                Event::Output => {}
                Event::Ended => break,
                Event::Deadline => panic!("still running:\n{}", self.screen()),
            }
        }
        let status = self.child.wait().expect("our child");
        status.code().unwrap_or_else(|| 128 + status.signal().expect("no code, so a signal"))
    }

    /// Closes the window, as when the network is gone: whatever runs on it is hung up. Gives the exit code.
    #[track_caller]
    pub fn close(mut self) -> i32 {
        // Nothing to read, and nothing is written any more.
        self.master = File::open("/dev/null").expect("it is there");
        self.exit_code()
    }

    /// Waits for output, and takes it in.
    fn take_in(&mut self, deadline: Instant) -> Event {
        let mut bytes = [0; 4096];
        loop {
            let (output, ended) = {
                let mut fds = [PollFd::new(&self.master, PollFlags::IN), PollFd::new(&self.ended, PollFlags::IN)];
                wait(&mut fds, deadline.saturating_duration_since(Instant::now()));
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            };
            match if output { self.master.read(&mut bytes).unwrap_or(0) } else { 0 } {
                0 if ended => return Event::Ended,
                0 if Instant::now() >= deadline => return Event::Deadline,
                // login(1) hangs up its tty and opens it again. No event tells of the opening.
                0 if output => {
                    wait(&mut [PollFd::new(&self.ended, PollFlags::IN)], Duration::from_millis(5));
                }
                0 => {}
                len => {
                    self.raw.extend(&bytes[..len]);
                    self.parser.process(&bytes[..len]);
                    self.text_parser.advance(&mut self.text, &bytes[..len]);
                    return Event::Output;
                }
            }
        }
    }
}

impl Drop for Terminal {
    #[expect(clippy::print_stderr, reason = "what a person saw last explains a red test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the screen was:\n{}", self.screen());
        }
        end(&mut self.child);
    }
}

enum Event {
    Output,
    Ended,
    Deadline,
}

/// What is printed, without what only moves the cursor or changes colours.
#[derive(Default)]
struct Text {
    printed: String,
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

fn wait(fds: &mut [PollFd<'_>], at_most: Duration) {
    let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
    match poll(fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => panic!("poll: {error}"),
    }
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn rows(size: Winsize) -> NonZeroU16 {
    NonZeroU16::new(size.ws_row).expect("a terminal has rows")
}

fn columns(size: Winsize) -> NonZeroU16 {
    NonZeroU16::new(size.ws_col).expect("a terminal has columns")
}
