//! The dialogue with the person: the new device on the screen, messages and questions below it, and
//! nothing left of any key at the end.

use std::io;
use std::time::Duration;

use mfa_wire::{Cancelled, Device, MAX_ANSWER, Secret};
use nix::sys::signal::Signal;

use crate::cli::Drawing;
use crate::line::{Line, Press};
use crate::output::shown;
use crate::screen::{Binding, Look, columns, joined, prompt, wrap};
use crate::signals::{put_back, stop};
use crate::terminal::{Event, Terminal};

/// One dialogue.
pub(crate) struct Dialogue {
    terminal: Terminal,
    look: Look,
    clock: fn() -> Duration,
    /// The device that stands above every question, on a terminal that can take it away again.
    binding: Option<Binding>,
    /// Messages that stand above the next question.
    messages: Vec<String>,
    /// The step in which the person began to type the last code, while no message came after it.
    /// That is the step of the code itself, also when a new one appears before Enter.
    given_in: Option<u64>,
    /// Rows that we have drawn above the cursor's.
    drawn: usize,
}

impl Dialogue {
    pub(crate) fn open(drawing: &Drawing, clock: fn() -> Duration) -> io::Result<Dialogue> {
        let terminal = Terminal::open()?;
        let look = Look::new(drawing, terminal.has_colours, terminal.shows_utf8);
        Ok(Dialogue { terminal, look, clock, binding: None, messages: Vec::new(), given_in: None, drawn: 0 })
    }

    /// Shows a device, until the dialogue is over where that can be done.
    pub(crate) fn show(&mut self, device: &Device) {
        let binding = Binding::of(device);
        if self.terminal.has_cursor {
            self.binding = Some(binding);
        } else {
            let lines = binding.lines(self.look, self.terminal.window(), 2);
            self.terminal.write(&joined(&lines));
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
        let answer =
            if self.terminal.has_cursor { self.ask_keys(echo, question) } else { self.ask_line(echo, question) };
        self.messages.clear();
        answer
    }

    /// The dialogue is over: takes the key off the screen, and says what is still to be said.
    pub(crate) fn close(&mut self) {
        self.binding = None;
        if self.terminal.has_cursor {
            self.erase();
        }
        self.say();
    }

    /// Asks where the cursor cannot be moved, or where there is no terminal: a line as it comes.
    fn ask_line(&mut self, echo: bool, question: &str) -> Result<Secret, Cancelled> {
        self.say();
        self.terminal.write(&shown(question));
        let hidden = if echo { None } else { self.terminal.hidden().ok() };
        let answer = self.read_line();
        // Otherwise the Enter that ended the line has been shown.
        if answer.is_err() || hidden.is_some() || !self.terminal.is_tty {
            self.terminal.write("\n");
        }
        answer
    }

    fn read_line(&mut self) -> Result<Secret, Cancelled> {
        let mut line = Secret::with_capacity(MAX_ANSWER);
        let mut fits = true;
        loop {
            match self.terminal.next(None) {
                Event::Byte(b'\n') | Event::Gone => break,
                Event::Byte(byte) => fits &= line.append(&[byte]),
                Event::Signal(Signal::SIGTSTP) => stop(),
                Event::Signal(Signal::SIGCONT | Signal::SIGWINCH) | Event::Quiet => {}
                Event::Signal(signal) => return Err(ended_by(signal)),
            }
        }
        match line.bytes() {
            [] => Err(Cancelled::ByUser),
            _ if fits => Ok(line),
            _ => Err(Cancelled::NoConversation),
        }
    }

    /// Asks key by key, with a countdown and the device above.
    fn ask_keys(&mut self, echo: bool, question: &str) -> Result<Secret, Cancelled> {
        let no_keys = |_| Cancelled::NoConversation;
        let mut keys = self.terminal.keys().map_err(no_keys)?;
        let mut line = Line::new();
        let mut begun = None;
        self.paint();
        let answer = loop {
            self.prompt(question, &line, echo);
            match self.terminal.next(self.until_next_second()) {
                Event::Byte(byte) => match line.press(byte) {
                    Press::Done if line.is_empty() => {}
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
                    self.paint();
                }
                Event::Signal(Signal::SIGCONT | Signal::SIGWINCH) => {
                    // Who knows where our lines are now: only a clean screen is sure. It is cleared from its
                    // corner, because some terminals keep in their scrollback what is erased as a whole.
                    self.terminal.write("\x1b[H");
                    self.drawn = 0;
                    self.paint();
                }
                Event::Signal(signal) => break Err(ended_by(signal)),
                Event::Quiet => {}
                Event::Gone => break Err(Cancelled::ByUser),
            }
        };
        drop(keys);
        self.given_in = begun;
        // With a device the next thing drawn takes the place of this question.
        if self.binding.is_none() {
            self.terminal.write("\n");
            self.drawn = 0;
        }
        answer
    }

    /// Draws all that stands above the question, in place of what is drawn.
    fn paint(&mut self) {
        let window = self.terminal.window();
        let messages: Vec<String> = self.messages.iter().flat_map(|text| wrap(text, window.cols)).collect();
        let mut lines = match &self.binding {
            Some(binding) => binding.lines(self.look, window, messages.len() + 1),
            None => Default::default(),
        };
        lines.extend(messages);
        self.erase();
        self.drawn = lines.len();
        self.terminal.write(&joined(&lines));
    }

    /// Draws the question and what is typed so far, in place.
    fn prompt(&mut self, question: &str, line: &Line, echo: bool) {
        let cols = self.terminal.window().cols;
        let question = match &self.binding {
            Some(binding) => prompt(question, binding.countdown((self.clock)()), self.given_in, cols),
            None => question.to_owned(),
        };
        let question = shown(&question);
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
        self.binding.as_ref().map(|binding| binding.countdown((self.clock)()).step)
    }

    /// Milliseconds until the countdown changes; none where there is no countdown.
    fn until_next_second(&self) -> Option<u16> {
        self.binding.as_ref().map(|_| (1000 - (self.clock)().subsec_millis().min(999)) as u16)
    }
}

/// The process ends by `signal`, but not yet: the key is still on the screen, and perhaps in a file.
fn ended_by(signal: Signal) -> Cancelled {
    put_back(signal);
    Cancelled::ByUser
}

/// Whatever happens, the key does not stay on the screen.
impl Drop for Dialogue {
    fn drop(&mut self) {
        if self.binding.is_some() {
            self.close();
        }
    }
}
