//! The dialogue with the person: the new device on the screen, messages and questions below it, and
//! nothing left of any key at the end.

use std::io;
use std::time::Duration;

use mfa_wire::{Cancelled, Device, Secret};
use nix::sys::signal::Signal;

use crate::cli::Drawing;
use crate::line::{Line, Press};
use crate::output::shown;
use crate::screen::{Binding, Look, columns, joined, prompt, wrap};
use crate::terminal::{Environment, Event, Keys, Terminal, let_through};

/// One dialogue.
pub(crate) struct Dialogue {
    terminal: Terminal,
    drawing: Drawing,
    clock: fn() -> Duration,
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
    pub(crate) fn open(environment: Environment, drawing: Drawing, clock: fn() -> Duration) -> io::Result<Dialogue> {
        let terminal = Terminal::open(environment)?;
        Ok(Dialogue { terminal, drawing, clock, binding: None, messages: Vec::new(), given_in: None, drawn: 0 })
    }

    /// Shows a device, until the dialogue is over.
    pub(crate) fn show(&mut self, device: &Device) {
        let binding = Binding::of(device);
        if !self.terminal.has_cursor() {
            let lines = binding.lines(self.look(), self.terminal.window(), 2);
            self.terminal.write(&joined(&lines));
        }
        self.binding = Some(binding);
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
        let keys = if self.terminal.is_tty() { self.terminal.keys().ok() } else { None };
        let answer = match keys {
            Some(keys) => self.ask_keys(keys, echo, question),
            None => self.ask_line(question),
        };
        self.messages.clear();
        answer
    }

    /// The dialogue is over: takes the key off the screen, and says what is still to be said.
    pub(crate) fn close(&mut self) {
        self.binding = None;
        self.erase();
        self.say();
    }

    fn ask_line(&mut self, question: &str) -> Result<Secret, Cancelled> {
        self.say();
        self.terminal.write(&shown(question));
        let answer = self.terminal.read_line();
        // The Enter that ended the line, if any, was not typed on this terminal.
        self.terminal.write("\n");
        answer
    }

    fn ask_keys(&mut self, mut keys: Keys, echo: bool, question: &str) -> Result<Secret, Cancelled> {
        let mut line = Line::new();
        let mut begun = None;
        self.paint();
        self.prompt(question, &line, echo, None);
        let answer = loop {
            match keys.next(self.until_next_second()) {
                Event::Key(byte) => match line.press(byte) {
                    Press::Done if line.is_empty() => {}
                    Press::Done => break Ok(line.into_answer()),
                    Press::GiveUp => break Err(Cancelled::ByUser),
                    Press::Suspend => let_through(Signal::SIGTSTP),
                    Press::Changed => {
                        begun = if line.is_empty() { None } else { begun.or_else(|| self.step()) };
                        self.prompt(question, &line, echo, Some(byte));
                    }
                    Press::Nothing => {}
                },
                Event::Quiet if self.terminal.has_cursor() => self.prompt(question, &line, echo, None),
                Event::Quiet => {}
                Event::Resized | Event::Continued => {
                    // Who knows where our lines are now: only a clean screen is sure.
                    self.clear();
                    self.repaint(question, &line, echo);
                }
                Event::Signal(signal) => {
                    self.erase();
                    drop(keys);
                    let_through(signal);
                    keys = self.terminal.keys().map_err(|_| Cancelled::NoConversation)?;
                    self.repaint(question, &line, echo);
                }
                Event::Gone => break Err(Cancelled::ByUser),
            }
        };
        drop(keys);
        self.given_in = begun;
        // With a cursor the next thing drawn takes the place of this question.
        if !self.terminal.has_cursor() || self.binding.is_none() {
            self.terminal.write("\n");
            self.drawn = 0;
        }
        answer
    }

    /// Draws all that stands above the question.
    fn paint(&mut self) {
        if !self.terminal.has_cursor() {
            return self.say();
        }
        let window = self.terminal.window();
        let messages: Vec<String> = self.messages.iter().flat_map(|text| wrap(text, window.cols)).collect();
        let mut lines = match &self.binding {
            Some(binding) => binding.lines(self.look(), window, messages.len() + 1),
            None => Default::default(),
        };
        lines.extend(messages);
        self.erase();
        self.drawn = lines.len();
        self.terminal.write(&joined(&lines));
    }

    fn repaint(&mut self, question: &str, line: &Line, echo: bool) {
        self.drawn = 0;
        self.paint();
        self.prompt(question, line, echo, None);
    }

    /// Draws the question and what is typed so far, in place. Without a cursor: the question when it
    /// is asked, and then what `key` adds.
    fn prompt(&mut self, question: &str, line: &Line, echo: bool, key: Option<u8>) {
        if !self.terminal.has_cursor() {
            return self.prompt_without_cursor(question, line, echo, key);
        }
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

    fn prompt_without_cursor(&mut self, question: &str, line: &Line, echo: bool, key: Option<u8>) {
        match key {
            None => self.terminal.write(&shown(question)),
            Some(_) if !echo => {}
            Some(key @ b' '..=b'~') => self.terminal.write(char::from(key).encode_utf8(&mut [0; 4])),
            // A correction: paper has no way back, so the line is written again.
            Some(0..0x80) => self.terminal.write(&format!("\n{}{}", shown(question), line.shown(USUAL_LINE))),
            Some(_) => {}
        }
    }

    /// Writes the messages as they are, with nothing to be erased later.
    fn say(&mut self) {
        for message in std::mem::take(&mut self.messages) {
            self.terminal.write(&format!("{message}\n"));
        }
    }

    fn erase(&mut self) {
        if self.terminal.has_cursor() {
            let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
            self.terminal.write(&format!("\r{up}\x1b[J"));
            self.drawn = 0;
        }
    }

    /// Empties the window, from its corner: some terminals keep in their scrollback what is erased
    /// as a whole.
    fn clear(&mut self) {
        if self.terminal.has_cursor() {
            self.terminal.write("\x1b[H\x1b[J");
        }
    }

    /// The number of the code that the app shows now.
    fn step(&self) -> Option<u64> {
        self.binding.as_ref().map(|binding| binding.countdown((self.clock)()).step)
    }

    fn look(&self) -> Look {
        Look::new(&self.drawing, self.terminal.has_colours(), self.terminal.shows_utf8())
    }

    /// Milliseconds until the countdown changes; none where there is no countdown.
    fn until_next_second(&self) -> Option<u16> {
        let counts = self.binding.is_some() && self.terminal.has_cursor();
        counts.then(|| (1000 - (self.clock)().subsec_millis().min(999)) as u16)
    }
}

/// The columns for what is typed on a terminal that tells us nothing.
const USUAL_LINE: usize = 40;

/// Whatever happens, the key does not stay on the screen.
impl Drop for Dialogue {
    fn drop(&mut self) {
        if self.binding.is_some() {
            self.close();
        }
    }
}
