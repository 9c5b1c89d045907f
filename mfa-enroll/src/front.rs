//! Between the helper and whoever called us: answers from the command line or from a dialogue, data
//! to stdout, the verdict as a sentence and an exit code.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Stdout};
use std::path::PathBuf;
use std::time::Duration;

use mfa_wire::{Cancelled, Device, Outcome, Prompter, Secret, Status, Verdict};

use crate::cli::{Confirm, Drawing, List, Totp, Verb, Whose};
use crate::dialogue::Dialogue;
use crate::exit::Exit;
use crate::helper::NoVerdict;
use crate::output::{Form, Report, complain, pending_object, say};
use crate::picture::Picture;
use crate::qr::Symbol;
use crate::terminal::Environment;

/// The front end of one verb.
pub(crate) struct Front {
    verb: Verb,
    how: How,
    report: Report<Stdout>,
    picture: Option<Picture>,
    /// The device that was made, as it will be printed if the helper accepts.
    made: Option<Secret>,
    /// What went wrong on our side; there is no answer to any question from then on.
    trouble: Option<String>,
}

/// Where answers come from.
enum How {
    /// From the command line: nobody is asked.
    Given(VecDeque<Secret>),
    /// From a person, if it comes to that.
    Ask(Box<Beginning>),
    /// From a person who has seen something already.
    Asking(Box<Dialogue>),
}

/// What a dialogue needs to begin.
struct Beginning {
    environment: Environment,
    drawing: Drawing,
    clock: fn() -> Duration,
}

/// Why the command line cannot be obeyed.
#[derive(Debug)]
pub(crate) struct NoPicture {
    path: PathBuf,
    why: io::Error,
}

impl fmt::Display for NoPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.why.kind() {
            io::ErrorKind::AlreadyExists => write!(f, "{path} is there already, and is not overwritten"),
            _ => write!(f, "cannot make {path}: {}", self.why),
        }
    }
}

impl Front {
    /// Prepares for `verb`: the picture's file is made now, because a bad name must cost nothing.
    pub(crate) fn new(verb: Verb, environment: Environment, clock: fn() -> Duration) -> Result<Front, NoPicture> {
        let ask = |drawing| How::Ask(Box::new(Beginning { environment, drawing, clock }));
        let how = match &verb {
            Verb::Totp(Totp { json: true, .. }) => How::Given(VecDeque::new()),
            Verb::Totp(totp) => ask(totp.drawing.clone()),
            Verb::Confirm(confirm) => match confirm.codes() {
                Some(codes) => How::Given(codes.map(|code| Secret::copy_of(code.as_bytes())).into()),
                None => ask(Drawing::default()),
            },
            _ => ask(Drawing::default()),
        };
        let form = match &verb {
            Verb::List(List { json: true }) => Form::Array,
            Verb::List(_) => Form::Table,
            Verb::Status(status) if status.json => Form::Object,
            _ => Form::Lines,
        };
        let picture = match &verb {
            Verb::Totp(Totp { qr_svg: Some(path), .. }) => {
                Some(Picture::create(path).map_err(|why| NoPicture { path: path.clone(), why })?)
            }
            _ => None,
        };
        Ok(Front { verb, how, report: Report::new(io::stdout(), form), picture, made: None, trouble: None })
    }

    /// Ends it: says how it ended, and returns the exit code.
    pub(crate) fn finish(mut self, verdict: Result<Verdict, NoVerdict>) -> Exit {
        if let How::Asking(dialogue) = &mut self.how {
            dialogue.close();
        }
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(e) => return complain(&e.to_string(), Exit::from(&e)),
        };
        if verdict.outcome == Outcome::Accepted {
            return self.accepted(&verdict.text);
        }
        match &self.trouble {
            Some(trouble) => complain(trouble, Exit::Unavailable),
            None => complain(text_or(&verdict.text, failure(verdict.outcome)), verdict.outcome.into()),
        }
    }

    fn accepted(mut self, text: &str) -> Exit {
        if let Some(made) = &self.made {
            self.report.write(made.text().unwrap_or_default());
        }
        match self.report.end() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Exit::Unavailable,
            Err(e) => self.trouble = Some(format!("cannot write the answer: {e}")),
            Ok(count) if self.came_empty(count) => self.trouble = Some("mfa-helper said nothing".into()),
            Ok(0) if matches!(self.verb, Verb::List(List { json: false })) => say("Nobody has a record."),
            Ok(_) => {}
        }
        if let Some(trouble) = &self.trouble {
            return complain(&format!("{trouble}{}", self.remains()), Exit::Unavailable);
        }
        if let Some(picture) = self.picture.take() {
            picture.keep();
        }
        say(text_or(text, &success(&self.verb)));
        Exit::Done
    }

    /// The helper accepted and did not send what was asked for.
    fn came_empty(&self, count: usize) -> bool {
        match &self.verb {
            Verb::Totp(totp) => totp.json && self.made.is_none(),
            Verb::Status(_) => count == 0,
            _ => false,
        }
    }

    /// What the helper did although we failed afterwards.
    fn remains(&self) -> String {
        match &self.verb {
            Verb::Totp(Totp { json: true, user, .. }) => {
                format!("; a pending device was made all the same, mfa-enroll cancel --user {user} drops it")
            }
            _ => String::new(),
        }
    }

    fn dialogue(&mut self) -> io::Result<Option<&mut Dialogue>> {
        if let How::Ask(begin) = &mut self.how {
            let environment = std::mem::take(&mut begin.environment);
            let dialogue = Dialogue::open(environment, begin.drawing.clone(), begin.clock)?;
            self.how = How::Asking(Box::new(dialogue));
        }
        Ok(match &mut self.how {
            How::Asking(dialogue) => Some(dialogue),
            How::Given(_) | How::Ask(_) => None,
        })
    }

    fn draw(&mut self, device: &Device) -> io::Result<()> {
        if let Some(picture) = &mut self.picture {
            let symbol = Symbol::of(device.uri.bytes()).ok_or(io::ErrorKind::FileTooLarge)?;
            picture.write(&symbol)?;
        }
        Ok(())
    }
}

impl Prompter for Front {
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        if self.trouble.is_some() {
            return Err(Cancelled::NoConversation);
        }
        if let How::Given(answers) = &mut self.how {
            return answers.pop_front().ok_or(Cancelled::NoConversation);
        }
        match self.dialogue() {
            Ok(Some(dialogue)) => dialogue.ask(echo, text),
            Ok(None) | Err(_) => Err(Cancelled::NoConversation),
        }
    }

    fn tell(&mut self, text: &str) {
        match &mut self.how {
            How::Asking(dialogue) => dialogue.tell(text),
            How::Given(_) | How::Ask(_) => say(text),
        }
    }

    fn device(&mut self, device: &Device) {
        if let Err(e) = self.draw(device) {
            let path = self.picture.as_ref().map(|p| p.path().display().to_string()).unwrap_or_default();
            self.trouble = Some(format!("cannot write {path}: {e}"));
            return;
        }
        match self.dialogue() {
            Ok(Some(dialogue)) => dialogue.show(device),
            Ok(None) => self.made = Some(pending_object(device)),
            Err(e) => self.trouble = Some(format!("cannot use the terminal: {e}")),
        }
    }

    fn status(&mut self, status: &Status) {
        self.report.add(status);
    }
}

fn text_or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The sentence for a success, when the helper has none of its own.
fn success(verb: &Verb) -> String {
    match verb {
        Verb::Totp(Totp { json: true, .. }) | Verb::Status(_) | Verb::List(_) => String::new(),
        Verb::Totp(Totp { user, .. }) | Verb::Confirm(Confirm { user, .. }) => {
            format!("The authenticator app of {user} is bound: the next login asks for its code.")
        }
        Verb::Cancel(Whose { user }) => format!("The pending device of {user} is dropped."),
        Verb::Disable(Whose { user }) => format!(
            "The binding of {user} is disabled and its secret destroyed: the device lets nobody in any more.\n\
             Whoever shares this account must be told."
        ),
    }
}

/// The sentence for a failure, when the helper has none of its own.
fn failure(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "",
        Outcome::Refused => "refused",
        Outcome::Locked => "too many wrong attempts; try again later",
        Outcome::NoInteraction => "cancelled; nothing was changed",
        Outcome::NotFound => "no such user, binding or pending device",
        Outcome::Already => "a device is bound already; disable it first",
        Outcome::Unavailable | Outcome::Ignored => "not possible now; the system log says why",
    }
}
