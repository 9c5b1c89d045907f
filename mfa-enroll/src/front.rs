//! Between the helper and whoever called us: answers from the command line or from a dialogue, data
//! to stdout, the verdict as a sentence and an exit code.

use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::path::PathBuf;
use std::time::Duration;

use mfa_ssh::Hash;
use mfa_wire::{Cancelled, Device, MAX_ANSWER, Outcome, Prompter, Remembered, Secret, Status, Verdict};
use nix::errno::Errno;

use crate::agent::{self, NoSignature};
use crate::caller::Caller;
use crate::cli::{Drawing, List, RecoveryCodes, Test, Tickets, Totp, Verb};
use crate::dialogue::Dialogue;
use crate::elsewhere;
use crate::exit::Exit;
use crate::helper::NoVerdict;
use crate::output::{Form, Report, complain, pending_object, recovery_object, say};
use crate::picture::Picture;
use crate::terminal::language;
use crate::texts::Text;

/// How long an ssh agent may take for a PIN and a touch: as long as the policy can have a key waited for.
const TOUCH: Duration = Duration::from_secs(90);

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
    /// The device or the codes that were made, as they will be printed if the helper accepts.
    made: Option<Secret>,
    /// The caller's name.
    name: String,
    /// A standing was shown in which nothing is bound.
    unbound: bool,
    /// What went wrong on our side; there is no answer to any question from then on.
    trouble: Option<String>,
}

impl Front {
    /// Prepares for `verb`: the picture's file is made now, because a bad name must cost nothing.
    pub(crate) fn new(verb: Verb, caller: &Caller, clock: fn() -> Duration) -> Result<Front, String> {
        let given = match &verb {
            _ if verb.totp().is_some_and(|totp| totp.json) => Some(VecDeque::new()),
            Verb::Confirm(codes) | Verb::Resync(codes) => {
                codes.codes().map(|codes| codes.map(|code| Secret::copy_of(code.as_bytes())).into())
            }
            _ => None,
        };
        let form = match &verb {
            Verb::List(List { json: true, .. }) | Verb::Tickets(Tickets { json: true, .. }) => Form::Array,
            Verb::List(List { missing: true, .. }) => Form::Nothing,
            Verb::List(_) | Verb::Tickets(_) => Form::Table,
            Verb::Status(status) if status.json => Form::Object,
            _ => Form::Lines,
        };
        let path = verb.totp().and_then(|totp| totp.qr_svg.as_ref());
        let picture = path.map(|path| Picture::create(path)).transpose()?;
        let report = Report::new(io::stdout(), form, language());
        let name = caller.name.clone().unwrap_or_default();
        Ok(Front {
            verb,
            clock,
            report,
            given,
            dialogue: None,
            picture,
            made: None,
            name,
            unbound: false,
            trouble: None,
        })
    }

    /// Whether somebody has been shown to have nothing bound.
    pub(crate) fn has_shown_nothing_bound(&self) -> bool {
        self.unbound
    }

    /// Ends it: says how it ended, and returns the exit code. A signal that was held back strikes then.
    pub(crate) fn finish(mut self, verdict: Result<Verdict, NoVerdict>) -> Exit {
        if let Some(dialogue) = &mut self.dialogue {
            dialogue.close();
        }
        let Verdict { outcome, text } = match verdict {
            Ok(verdict) => verdict,
            Err(e) => return complain(&e.to_string(), Exit::Unavailable),
        };
        let accepted = outcome == Outcome::Accepted;
        let looked_through = matches!(outcome, Outcome::Warnings | Outcome::Faults);
        if (accepted || looked_through) && self.trouble.is_none() {
            match self.print() {
                // Whoever reads has read enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Exit::Unavailable,
                printed => self.trouble = printed.err().map(|e| format!("cannot write the answer: {e}")),
            }
        }
        if let (true, Some(trouble), Some(Totp { user: Some(user), json: true, .. })) =
            (accepted, &self.trouble, self.verb.totp())
        {
            let remains = "a pending device was made all the same, mfa-enroll cancel --user";
            return complain(&format!("{trouble}; {remains} {user} drops it"), Exit::Unavailable);
        }
        match (&self.trouble, &self.verb) {
            (Some(trouble), Verb::RecoveryCodes(_)) if accepted => complain(
                &format!("{trouble}; the codes before are void all the same: make new ones once more"),
                Exit::Unavailable,
            ),
            (Some(trouble), _) => complain(trouble, Exit::Unavailable),
            (None, Verb::Test(Test { service })) if accepted => {
                say(&language().say(Text::WouldLetIn(service)));
                say(&text);
                Exit::Done
            }
            (None, Verb::Test(Test { service })) if outcome == Outcome::Ignored => {
                say(&language().say(Text::WouldNotAsk(service)));
                Exit::Done
            }
            (None, _) if accepted => {
                self.picture.iter_mut().for_each(Picture::keep);
                say(&text);
                Exit::Done
            }
            (None, _) if looked_through => {
                say(&text);
                outcome.into()
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
        match &self.verb {
            Verb::List(List { json: false, .. }) if count > 0 => {}
            Verb::List(List { json: false, missing: true, .. }) => say("Nobody is required and without a device."),
            Verb::List(List { json: false, group: Some(_), .. }) => say("The group has no members."),
            Verb::List(List { json: false, .. }) => say("Nobody has a record."),
            _ => {}
        }
        Ok(())
    }

    /// The dialogue, which begins when it is first needed.
    fn dialogue(&mut self) -> io::Result<&mut Dialogue> {
        let none = Drawing::default();
        let drawing = self.verb.totp().map_or(&none, |totp| &totp.drawing);
        match &mut self.dialogue {
            Some(dialogue) => Ok(dialogue),
            none => Ok(none.insert(Dialogue::open(drawing, self.clock)?)),
        }
    }

    /// Says what is still to be said, and lets signals strike again.
    fn leave_dialogue(&mut self) {
        if let Some(mut dialogue) = self.dialogue.take() {
            dialogue.close();
        }
    }

    fn show(&mut self, device: &Device) -> Result<(), String> {
        if let Some(picture) = &mut self.picture {
            picture.write(&device.uri)?;
        }
        if self.given.is_some() {
            self.made = Some(pending_object(device));
        } else {
            self.on_the_terminal()?.show(device);
        }
        Ok(())
    }

    fn show_codes(&mut self, codes: &[Secret]) -> Result<(), String> {
        match &self.verb {
            Verb::RecoveryCodes(RecoveryCodes { user, json: true }) => {
                self.made = Some(recovery_object(user.as_ref().unwrap_or(&self.name), codes));
                // Nobody has to say that they are written down: they will be printed.
                self.given = Some([Secret::copy_of(b"ok")].into());
            }
            _ => self.on_the_terminal()?.show_codes(codes),
        }
        Ok(())
    }

    fn on_the_terminal(&mut self) -> Result<&mut Dialogue, String> {
        self.dialogue().map_err(|e| format!("cannot use the terminal: {e}"))
    }

    /// Whether nobody is asked but by a terminal: what is piped into a script that wants JSON is not meant for us.
    fn asks_by_terminal_only(&self) -> bool {
        matches!(self.verb, Verb::RecoveryCodes(RecoveryCodes { json: true, .. }))
    }
}

/// Where the ssh agent is, by the environment: the word of whoever calls this program, for whom it signs.
#[allow(clippy::disallowed_methods, reason = "that is how an agent is found, and the helper checks what it signs")]
fn agent_socket() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl Prompter for Front {
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        if self.trouble.is_some() {
            return Err(Cancelled::NoConversation);
        }
        if let Some(answers) = &mut self.given {
            return answers.pop_front().ok_or(Cancelled::NoConversation);
        }
        let by_terminal_only = self.asks_by_terminal_only();
        let dialogue = self.dialogue().map_err(|_| Cancelled::NoConversation)?;
        if by_terminal_only && !dialogue.has_terminal() {
            return Err(Cancelled::NoConversation);
        }
        dialogue.ask(echo, text)
    }

    fn tell(&mut self, text: &str) {
        match &mut self.dialogue {
            Some(dialogue) => dialogue.tell(text),
            None => say(text),
        }
    }

    fn device(&mut self, device: &Device) {
        let trouble = self.show(device).err();
        self.trouble = self.trouble.take().or(trouble);
    }

    fn status(&mut self, status: &Status) {
        self.unbound = status.kind.is_none();
        self.report.add(status);
    }

    fn report(&mut self, text: &str) {
        // Of those who are listed it is the line to read in place of the object.
        if !matches!(self.verb, Verb::List(List { json: true, .. })) {
            self.report.write(text);
        }
    }

    fn recovery_codes(&mut self, codes: &[Secret]) {
        let trouble = self.show_codes(codes).err();
        self.trouble = self.trouble.take().or(trouble);
    }

    fn remembered(&mut self, login: &Remembered) {
        self.report.add_remembered(login);
    }

    /// Where the person looks, whatever is piped. Nothing is typed until it is done, so there is no dialogue meanwhile:
    /// Ctrl-C ends it at once.
    fn notice(&mut self, text: &str) {
        match self.dialogue() {
            Ok(dialogue) => dialogue.tell(text),
            Err(_) => say(text),
        }
        self.leave_dialogue();
    }

    fn sign(&mut self, key: &[u8], message: &[u8]) -> Result<Secret, Cancelled> {
        self.leave_dialogue();
        let data = mfa_ssh::signed_data(message, Hash::Sha512);
        let asked = agent_socket().ok_or(NoSignature::NoAgent(Errno::ENOENT));
        let none = match asked.and_then(|socket| agent::sign(&socket, key, &data, TOUCH)) {
            Ok(signature) if signature.len() <= MAX_ANSWER => return Ok(Secret::copy_of(&signature)),
            Ok(_) => NoSignature::Nonsense("its signature is too long".into()),
            Err(none) => none,
        };
        let new = self.verb.ssh_key().filter(|new| new.key.to_blob() == key).cloned();
        let Some(new) = new else {
            // One of several that are bound: the next may be there, and the helper says it where none is.
            if !matches!(none, NoSignature::NoAgent(_) | NoSignature::Empty | NoSignature::NotHeld) {
                self.tell(&none.to_string());
            }
            return Err(Cancelled::NoConversation);
        };
        self.tell(&none.to_string());
        match self.dialogue() {
            Ok(dialogue) if dialogue.has_terminal() => elsewhere::signature(dialogue, &new, message),
            _ => Err(Cancelled::NoConversation),
        }
    }
}
