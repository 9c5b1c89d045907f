//! The dialogue with the person: the new device or recovery codes on the screen, messages and questions
//! below them, and nothing left of any key or code at the end.

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

/// More is not kept of what is pasted: a signature has 500 bytes.
const LONGEST_BLOCK: usize = 8 * 1024;

/// One dialogue.
pub(crate) struct Dialogue {
    terminal: Terminal,
    look: Look,
    lang: Lang,
    clock: fn() -> Duration,
    /// What stands above every question, on a terminal that can take it away again.
    above: Above,
    /// Messages that stand above the next question.
    messages: Vec<String>,
    /// The step in which the person began to type the last code, while no message came after it.
    /// That is the step of the code itself, also when a new one appears before Enter.
    given_in: Option<u64>,
    /// Rows that we have drawn above the cursor's.
    drawn: usize,
}

/// What must not stay on the screen.
enum Above {
    Nothing,
    /// Until the dialogue is over, or recovery codes take its place.
    Device(Binding),
    /// Until the next question is answered: whether they have been written down.
    Codes(Codes),
}

/// What an empty line says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// Nothing: the Enter was too early.
    Nothing,
    /// That the person gives up. Who sees nothing of what is typed has no other way to see that it is nothing.
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

    /// Shows a device, until the dialogue is over where that can be done.
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
        // What is said along with recovery codes goes off the screen with them, and so is said again at the end.
        let again = matches!(self.above, Above::Codes(_));
        let answer = self.ask_either_way(echo, question, empty);
        if !again {
            self.messages.clear();
        }
        answer
    }

    /// Asks something of our own, if there is somebody to ask. Enter says yes; whoever leaves says no.
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

    /// Whether somebody sits at a terminal.
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

    /// The dialogue is over: takes keys and codes off the screen, and says what is still to be said.
    pub(crate) fn close(&mut self) {
        self.above = Above::Nothing;
        if self.terminal.has_cursor {
            self.erase();
        }
        self.say();
    }

    /// Asks where the cursor cannot be moved, or where there is no terminal: a line as it comes.
    fn ask_line(&mut self, echo: bool, question: &str, empty: Empty) -> Result<Secret, Cancelled> {
        self.say();
        // What is no terminal echoes nothing.
        let hidden = if echo || !self.terminal.is_tty {
            None
        } else {
            Some(self.terminal.hidden().map_err(|_| Cancelled::NoConversation)?)
        };
        self.terminal.write(&shown(question));
        let answer = self.read_line(empty);
        // Otherwise the Enter that ended the line has been shown.
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
                // A Ctrl-C says no, and there is nothing to be interrupted.
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

    /// Reads what is pasted, from its line "-----BEGIN ..." to its line "-----END ...": what ssh-keygen says before it is
    /// often copied along.
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

    /// Asks key by key, with what stands above, and with a countdown where that is a device.
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
                    // Who knows where our lines are now: only a clean screen is sure. It is cleared from its
                    // corner, because some terminals keep in their scrollback what is erased as a whole.
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
            // The next thing drawn takes the place of this question.
            Above::Device(_) => {}
            Above::Codes(_) => {
                self.erase();
                self.above = Above::Nothing;
            }
        }
        answer
    }

    /// Draws all that stands above the question, in place of what is drawn.
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

    /// Draws the question and what is typed so far, in place.
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

    /// Writes the messages as they are, with nothing to be erased later.
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

    /// The number of the code that the app shows now.
    fn step(&self) -> Option<u64> {
        let Above::Device(binding) = &self.above else { return None };
        Some(binding.countdown((self.clock)()).step)
    }

    /// Milliseconds until the countdown changes; none where there is no countdown.
    fn until_next_second(&self) -> Option<u16> {
        let Above::Device(_) = &self.above else { return None };
        Some((1000 - (self.clock)().subsec_millis().min(999)) as u16)
    }
}

impl Above {
    /// The lines of it, in a window that must hold `below` rows more.
    fn lines(&self, look: Look, window: Size, below: usize) -> Lines {
        match self {
            Above::Nothing => Lines::default(),
            Above::Device(binding) => binding.lines(look, window, below),
            Above::Codes(codes) => codes.lines(window, below),
        }
    }
}

/// The process ends by `signal`, but not yet: the key is still on the screen, and perhaps in a file.
fn ended_by(signal: Signal) -> Cancelled {
    put_back(signal);
    Cancelled::ByUser
}

/// Whatever happens, no key and no code stays on the screen.
impl Drop for Dialogue {
    fn drop(&mut self) {
        if !matches!(self.above, Above::Nothing) {
            self.close();
        }
    }
}
