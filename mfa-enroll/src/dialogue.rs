//! The dialogue with the person: the new device or recovery codes on the screen, messages and questions below them.
//! At its end, no key or code stays on the screen.

use std::io::{self, IsTerminal};
use std::time::Duration;

use mfa_wire::{Cancelled, Device, MAX_ANSWER, Secret};
use nix::sys::signal::Signal;

use crate::cli::Drawing;
use crate::codes::Codes;
use crate::line::{Line, Press};
use crate::output::shown;
use crate::screen::{Binding, Look, broken, columns, joined, prompt, wrap};
use crate::signals::{put_back, stop};
use crate::terminal::{Event, Terminal, language};
use crate::texts::Lang;
use mfa_qr::{Lines, Size};

/// The most of a pasted text that is kept; a signature has 500 bytes.
const LONGEST_BLOCK: usize = 8 * 1024;

/// One dialogue.
pub(crate) struct Dialogue {
    terminal: Terminal,
    look: Look,
    lang: Lang,
    clock: fn() -> Duration,
    /// The secrets above every question, on a terminal that can remove them again.
    above: Above,
    /// Messages to show above the next question.
    messages: Vec<String>,
    /// The step in which the person began to type the last code, if no message came after it. The code belongs to
    /// this step even if a new code appears before Enter.
    given_in: Option<u64>,
    /// The number of rows that we have drawn above the cursor's row.
    drawn: usize,
}

/// Secrets that must not stay on the screen.
enum Above {
    Nothing,
    /// Shown until the dialogue ends, or recovery codes replace it.
    Device(Binding),
    /// Shown until the next question is answered, which asks whether they have been written down.
    Codes(Codes),
}

/// The meaning of an empty line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// None: the person pressed Enter too early.
    Nothing,
    /// The person gives up. While the typed text is hidden, the person could not see why an empty line has no effect.
    GiveUp,
    /// Yes.
    Yes,
}

impl Dialogue {
    pub(crate) fn open(drawing: &Drawing, clock: fn() -> Duration) -> io::Result<Dialogue> {
        let terminal = Terminal::open()?;
        let lang = language();
        let look = Look::new(drawing, terminal.has_colours, terminal.shows_utf8);
        Ok(Dialogue {
            terminal,
            look,
            lang,
            clock,
            above: Above::Nothing,
            messages: Vec::new(),
            given_in: None,
            drawn: 0,
        })
    }

    /// Shows a device, on a capable terminal until the dialogue ends.
    pub(crate) fn show(&mut self, device: &Device) {
        let binding = Binding::of(device, self.lang);
        if self.terminal.has_cursor {
            self.above = Above::Device(binding);
        } else {
            let lines = binding.lines(self.look, self.terminal.window(), 2);
            self.terminal.write(&joined(&lines));
        }
    }

    /// Shows recovery codes, in place of a device, until the next question is answered.
    pub(crate) fn show_codes(&mut self, codes: &[Secret]) {
        let codes = Codes::of(codes, self.lang);
        if self.terminal.has_cursor {
            self.above = Above::Codes(codes);
        } else {
            self.say();
            self.terminal.write(&joined(&codes.plain()));
        }
    }

    /// Shows a message: above the next question, or at the end.
    pub(crate) fn tell(&mut self, text: &str) {
        self.given_in = None;
        self.messages.extend(text.lines().map(shown));
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        let (before, question) = text.rsplit_once('\n').unwrap_or(("", text));
        self.messages.extend(before.lines().map(shown));
        let empty = if echo { Empty::Nothing } else { Empty::GiveUp };
        // Messages that come with recovery codes are removed from the screen with them, so they are repeated at the
        // end.
        let again = matches!(self.above, Above::Codes(_));
        let answer = self.ask_either_way(echo, question, empty);
        if !again {
            self.messages.clear();
        }
        answer
    }

    /// Asks a question of our own, if there is a person to ask. Enter means yes; leaving means no.
    pub(crate) fn agrees(question: &str, clock: fn() -> Duration) -> bool {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return false;
        }
        let Some(mut dialogue) = Dialogue::open(&Drawing::default(), clock).ok().filter(Dialogue::has_terminal) else {
            return false;
        };
        let (before, question) = question.rsplit_once('\n').unwrap_or(("", question));
        dialogue.tell(before);
        let answer = dialogue.ask_either_way(true, question, Empty::Yes);
        let is = |word: &str| {
            answer.as_ref().is_ok_and(|answer| answer.bytes().trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        is("") || is("y") || is("yes")
    }

    /// Whether both ends are a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_tty
    }

    fn ask_either_way(&mut self, echo: bool, question: &str, empty: Empty) -> Result<Secret, Cancelled> {
        if self.terminal.has_cursor {
            self.ask_keys(echo, question, empty)
        } else {
            self.ask_line(echo, question, empty)
        }
    }

    /// Ends the dialogue: removes keys and codes from the screen, and shows the remaining messages.
    pub(crate) fn close(&mut self) {
        self.above = Above::Nothing;
        if self.terminal.has_cursor {
            self.erase();
        }
        self.say();
    }

    /// Asks on a terminal whose cursor cannot be moved, or without a terminal: reads one plain line.
    fn ask_line(&mut self, echo: bool, question: &str, empty: Empty) -> Result<Secret, Cancelled> {
        self.say();
        // Input that is not a terminal is not echoed.
        let hidden = if echo || !self.terminal.is_tty {
            None
        } else {
            Some(self.terminal.hidden().map_err(|_| Cancelled::NoConversation)?)
        };
        self.terminal.write(&shown(question));
        let answer = self.read_line(empty);
        // In the other cases the terminal has already shown the Enter that ended the line.
        if answer.is_err() || hidden.is_some() || !self.terminal.is_tty {
            self.terminal.write("\n");
        }
        answer
    }

    fn read_line(&mut self, empty: Empty) -> Result<Secret, Cancelled> {
        let mut line = Secret::with_capacity(MAX_ANSWER);
        let mut fits = true;
        loop {
            match self.terminal.next(None) {
                Event::Byte(b'\n') if line.bytes().is_empty() && empty == Empty::Yes => return Ok(line),
                Event::Byte(b'\n') | Event::Gone => break,
                Event::Byte(byte) => fits &= line.append(&[byte]),
                Event::Signal(Signal::SIGTSTP) => stop(),
                Event::Signal(Signal::SIGCONT | Signal::SIGWINCH) | Event::Quiet => {}
                // Ctrl-C means no here; there is nothing to interrupt.
                Event::Signal(Signal::SIGINT) if empty == Empty::Yes => return Err(Cancelled::ByUser),
                Event::Signal(signal) => return Err(ended_by(signal)),
            }
        }
        match line.bytes() {
            [] => Err(Cancelled::ByUser),
            _ if fits => Ok(line),
            _ => Err(Cancelled::NoConversation),
        }
    }

    /// Reads a pasted text, from its line "-----BEGIN ..." to its line "-----END ...". ssh-keygen prints other lines
    /// before it, which are often copied too.
    pub(crate) fn block(&mut self) -> Result<String, Cancelled> {
        self.say();
        let (mut block, mut line) = (Vec::new(), Vec::new());
        loop {
            match self.terminal.next(None) {
                Event::Byte(b'\n') => {
                    let whole = line.trim_ascii();
                    if !block.is_empty() || whole.starts_with(b"-----BEGIN ") {
                        block.extend_from_slice(whole);
                        block.push(b'\n');
                    }
                    if !block.is_empty() && whole.starts_with(b"-----END ") {
                        return Ok(String::from_utf8_lossy(&block).into_owned());
                    }
                    line.clear();
                }
                Event::Byte(byte) if block.len() + line.len() < LONGEST_BLOCK => line.push(byte),
                Event::Byte(_) | Event::Signal(Signal::SIGCONT | Signal::SIGWINCH) | Event::Quiet => {}
                Event::Signal(Signal::SIGTSTP) => stop(),
                Event::Signal(signal) => return Err(ended_by(signal)),
                Event::Gone => return Err(Cancelled::ByUser),
            }
        }
    }

    /// Asks key by key, below the secrets, and with a countdown if they are a device.
    fn ask_keys(&mut self, echo: bool, question: &str, empty: Empty) -> Result<Secret, Cancelled> {
        let no_keys = |_| Cancelled::NoConversation;
        let mut keys = self.terminal.keys().map_err(no_keys)?;
        let mut line = Line::new();
        let mut begun = None;
        self.paint(question);
        let answer = loop {
            self.prompt(question, &line, echo);
            match self.terminal.next(self.until_next_second()) {
                Event::Byte(byte) => match line.press(byte) {
                    Press::Done if line.is_empty() && empty == Empty::Nothing => {}
                    Press::Done if line.is_empty() && empty == Empty::GiveUp => break Err(Cancelled::ByUser),
                    Press::Done => break Ok(line.into_answer()),
                    Press::GiveUp => break Err(Cancelled::ByUser),
                    Press::Suspend => put_back(Signal::SIGTSTP),
                    Press::Changed => begun = if line.is_empty() { None } else { begun.or_else(|| self.step()) },
                    Press::Nothing => {}
                },
                Event::Signal(Signal::SIGTSTP) => {
                    self.erase();
                    drop(keys);
                    stop();
                    keys = self.terminal.keys().map_err(no_keys)?;
                    self.paint(question);
                }
                Event::Signal(Signal::SIGCONT | Signal::SIGWINCH) => {
                    // The position of our lines is unknown now, so the whole screen is drawn anew. It is erased from
                    // the cursor at the top left, because some terminals keep a screen that is cleared as a whole in
                    // their scrollback.
                    self.terminal.write("\x1b[H");
                    self.drawn = 0;
                    self.paint(question);
                }
                Event::Signal(signal) => break Err(ended_by(signal)),
                Event::Quiet => {}
                Event::Gone => break Err(Cancelled::ByUser),
            }
        };
        drop(keys);
        self.given_in = begun;
        match self.above {
            Above::Nothing => {
                self.terminal.write("\n");
                self.drawn = 0;
            }
            // The next drawing replaces this question.
            Above::Device(_) => {}
            Above::Codes(_) => {
                self.erase();
                self.above = Above::Nothing;
            }
        }
        answer
    }

    /// Draws everything above the question, in place of the previous drawing.
    fn paint(&mut self, question: &str) {
        let window = self.terminal.window();
        let mut below: Vec<String> = self.messages.iter().flat_map(|text| wrap(text, window.cols)).collect();
        below.extend(broken(&shown(question), window.cols).0);
        let mut lines = self.above.lines(self.look, window, below.len() + 1);
        lines.extend(below);
        self.erase();
        self.drawn = lines.len();
        self.terminal.write(&joined(&lines));
    }

    /// Draws the question and the text typed so far, in place.
    fn prompt(&mut self, question: &str, line: &Line, echo: bool) {
        let cols = self.terminal.window().cols;
        let (_, last) = broken(&shown(question), cols);
        let question = match &self.above {
            Above::Device(binding) => prompt(self.lang, &last, binding.countdown((self.clock)()), self.given_in, cols),
            _ => last,
        };
        let room = cols.saturating_sub(columns(&question) + 1);
        let typed = if echo { line.shown(room) } else { String::new() };
        self.terminal.write(&format!("\r{question}{typed}\x1b[K"));
    }

    /// Writes the messages as plain lines, which are not erased later.
    fn say(&mut self) {
        for message in std::mem::take(&mut self.messages) {
            self.terminal.write(&format!("{message}\n"));
        }
    }

    fn erase(&mut self) {
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.terminal.write(&format!("\r{up}\x1b[J"));
        self.drawn = 0;
    }

    /// The step of the code that the app shows now.
    fn step(&self) -> Option<u64> {
        let Above::Device(binding) = &self.above else { return None };
        Some(binding.countdown((self.clock)()).step)
    }

    /// Milliseconds until the countdown changes; `None` if there is no countdown.
    fn until_next_second(&self) -> Option<u16> {
        let Above::Device(_) = &self.above else { return None };
        Some((1000 - (self.clock)().subsec_millis().min(999)) as u16)
    }
}

impl Above {
    /// The lines to show, in a window that must leave `below` rows free.
    fn lines(&self, look: Look, window: Size, below: usize) -> Lines {
        match self {
            Above::Nothing => Lines::default(),
            Above::Device(binding) => binding.lines(look, window, below),
            Above::Codes(codes) => codes.lines(window, below),
        }
    }
}

/// Lets the process end by `signal`, but later: the key is still on the screen, and perhaps in a file.
fn ended_by(signal: Signal) -> Cancelled {
    put_back(signal);
    Cancelled::ByUser
}

/// On every way out, no key and no code stays on the screen.
impl Drop for Dialogue {
    fn drop(&mut self) {
        if !matches!(self.above, Above::Nothing) {
            self.close();
        }
    }
}
