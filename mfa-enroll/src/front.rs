//! Between the helper and whoever called us: answers from the command line or from a dialogue, data
//! to stdout, the verdict as a sentence and an exit code.

use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::time::Duration;

use mfa_wire::{Cancelled, Device, Outcome, Prompter, Secret, Status, Verdict};

use crate::cli::{Drawing, List, Totp, Verb};
use crate::dialogue::Dialogue;
use crate::exit::Exit;
use crate::helper::NoVerdict;
use crate::output::{Form, Report, complain, pending_object, say};
use crate::picture::Picture;

/// The front end of one verb.
pub(crate) struct Front {
    verb: Verb,
    clock: fn() -> Duration,
    report: Report<Stdout>,
    /// The answers, when the command line gives all of them: then nobody is asked.
    given: Option<VecDeque<Secret>>,
    /// The dialogue with a person, once there is something to show or to ask.
    dialogue: Option<Dialogue>,
    /// After the dialogue, because both hold signals back.
    picture: Option<Picture>,
    /// The device that was made, as it will be printed if the helper accepts.
    made: Option<Secret>,
    /// What went wrong on our side; there is no answer to any question from then on.
    trouble: Option<String>,
}

impl Front {
    /// Prepares for `verb`: the picture's file is made now, because a bad name must cost nothing.
    pub(crate) fn new(verb: Verb, clock: fn() -> Duration) -> Result<Front, String> {
        let given = match &verb {
            Verb::Totp(Totp { json: true, .. }) => Some(VecDeque::new()),
            Verb::Confirm(confirm) => {
                confirm.codes().map(|codes| codes.map(|code| Secret::copy_of(code.as_bytes())).into())
            }
            _ => None,
        };
        let form = match &verb {
            Verb::List(List { json: true }) => Form::Array,
            Verb::List(_) => Form::Table,
            Verb::Status(status) if status.json => Form::Object,
            _ => Form::Lines,
        };
        let picture = match &verb {
            Verb::Totp(Totp { qr_svg: Some(path), .. }) => Some(Picture::create(path)?),
            _ => None,
        };
        let report = Report::new(io::stdout(), form);
        Ok(Front { verb, clock, report, given, dialogue: None, picture, made: None, trouble: None })
    }

    /// Ends it: says how it ended, and returns the exit code. A signal that was held back strikes then.
    pub(crate) fn finish(mut self, verdict: Result<Verdict, NoVerdict>) -> Exit {
        if let Some(dialogue) = &mut self.dialogue {
            dialogue.close();
        }
        let Verdict { outcome, text } = match verdict {
            Ok(verdict) => verdict,
            Err(e) => return complain(&e.to_string(), Exit::from(&e)),
        };
        let accepted = outcome == Outcome::Accepted;
        if accepted && self.trouble.is_none() {
            match self.print() {
                // Whoever reads has read enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Exit::Unavailable,
                printed => self.trouble = printed.err().map(|e| format!("cannot write the answer: {e}")),
            }
        }
        match (&self.trouble, &self.verb) {
            (Some(trouble), Verb::Totp(Totp { user, json: true, .. })) if accepted => {
                let remains = "a pending device was made all the same, mfa-enroll cancel --user";
                complain(&format!("{trouble}; {remains} {user} drops it"), Exit::Unavailable)
            }
            (Some(trouble), _) => complain(trouble, Exit::Unavailable),
            (None, _) if accepted => {
                self.picture.iter_mut().for_each(Picture::keep);
                say(&text);
                Exit::Done
            }
            (None, _) if text.is_empty() => complain("refused; the system log says why", outcome.into()),
            (None, _) => complain(&text, outcome.into()),
        }
    }

    /// Writes the data, to its end.
    fn print(&mut self) -> io::Result<()> {
        if let Some(made) = &self.made {
            self.report.write(made.text().unwrap_or_default());
        }
        let count = self.report.end()?;
        if count == 0 && matches!(self.verb, Verb::List(List { json: false })) {
            say("Nobody has a record.");
        }
        Ok(())
    }

    /// The dialogue, which begins when it is first needed.
    fn dialogue(&mut self) -> io::Result<&mut Dialogue> {
        let drawing = match &self.verb {
            Verb::Totp(totp) => &totp.drawing,
            _ => &Drawing::default(),
        };
        match &mut self.dialogue {
            Some(dialogue) => Ok(dialogue),
            none => Ok(none.insert(Dialogue::open(drawing, self.clock)?)),
        }
    }

    fn show(&mut self, device: &Device) -> Result<(), String> {
        if let Some(picture) = &mut self.picture {
            picture.write(&device.uri)?;
        }
        if self.given.is_some() {
            self.made = Some(pending_object(device));
        } else {
            self.dialogue().map_err(|e| format!("cannot use the terminal: {e}"))?.show(device);
        }
        Ok(())
    }
}

impl Prompter for Front {
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        if self.trouble.is_some() {
            return Err(Cancelled::NoConversation);
        }
        match &mut self.given {
            Some(answers) => answers.pop_front().ok_or(Cancelled::NoConversation),
            None => self.dialogue().map_err(|_| Cancelled::NoConversation)?.ask(echo, text),
        }
    }

    fn tell(&mut self, text: &str) {
        match &mut self.dialogue {
            Some(dialogue) => dialogue.tell(text),
            None => say(text),
        }
    }

    fn device(&mut self, device: &Device) {
        self.trouble = self.show(device).err();
    }

    fn status(&mut self, status: &Status) {
        self.report.add(status);
    }

    fn report(&mut self, text: &str) {
        self.report.write(text);
    }

    fn recovery_codes(&mut self, codes: &[Secret]) {
        codes.iter().filter_map(Secret::text).for_each(|code| self.tell(code));
    }
}
