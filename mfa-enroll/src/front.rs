//! Between the helper and the caller of this program: takes answers from the command line or from a dialogue, writes
//! data to stdout, and turns the verdict into a sentence and an exit code.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mfa_ssh::Hash;
use mfa_wire::{
    Account, Cancelled, Device, MAX_ANSWER, Outcome, Prompter, Remembered, Secret, Status, Verdict, shell_word,
};
use nix::errno::Errno;

use crate::agent::{self, NoSignature};
use crate::caller::Caller;
use crate::cli::{Drawing, List, RecoveryCodes, Test, Tickets, Totp, Verb};
use crate::dialogue::Dialogue;
use crate::elsewhere;
use crate::exit::Exit;
use crate::helper::NoVerdict;
use crate::output::{Data, Form, Report, complain, pending_object, recovery_object, say};
use crate::picture::Picture;
use crate::progress::Progress;
use crate::terminal::language;
use crate::texts::Text;

/// The longest time for an ssh agent to get a PIN and a touch. The policy allows no longer wait either.
const TOUCH: Duration = Duration::from_secs(90);

/// Below a table with such an account.
const GONE: &str = "gone: no account has this name any more; a new one of that name would get the device.\n\
                    mfa-enroll disable --user NAME, or, if it has a new name: mfa-enroll rename NAME NEW";

/// The front end of one verb.
pub(crate) struct Front {
    verb: Verb,
    clock: fn() -> Duration,
    report: Report<Data>,
    /// Of a list, which may take a while.
    progress: Option<Progress>,
    /// All answers, if the command line gives them; then the person is not asked.
    given: Option<VecDeque<Secret>>,
    /// The dialogue with a person, once there is something to show or to ask.
    dialogue: Option<Dialogue>,
    /// Dropped after the dialogue, because both block signals.
    picture: Option<Picture>,
    /// The device or the codes that were made, as they will be printed if the helper accepts.
    made: Option<Secret>,
    /// The caller's name.
    name: String,
    /// Whether a status was shown in which nothing is bound.
    unbound: bool,
    /// Whether a status was shown of an account that is gone.
    gone: bool,
    /// A failure on our side. After it, no question is answered.
    trouble: Option<String>,
}

impl Front {
    /// Prepares for `verb`. The picture's file is made now, so that a bad name is found before anything is done.
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
        let report = Report::new(Data::new(), form, language());
        let progress = matches!(verb, Verb::List(_)).then(|| Progress::of("list"));
        let name = caller.name.clone().unwrap_or_default();
        Ok(Front {
            verb,
            clock,
            report,
            progress,
            given,
            dialogue: None,
            picture,
            made: None,
            name,
            unbound: false,
            gone: false,
            trouble: None,
        })
    }

    /// Whether a status was shown in which nothing is bound.
    pub(crate) fn has_shown_nothing_bound(&self) -> bool {
        self.unbound
    }

    /// Ends the front end: says the result, and returns the exit code. Blocked signals take effect then.
    pub(crate) fn finish(mut self, verdict: Result<Verdict, NoVerdict>) -> Exit {
        self.progress = None;
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
                // The reader of the pipe has read enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Exit::Unavailable,
                printed => self.trouble = printed.err().map(|e| format!("cannot write the answer: {e}")),
            }
        }
        if let (true, Some(trouble), Some(Totp { user: Some(user), json: true, .. })) =
            (accepted, &self.trouble, self.verb.totp())
        {
            let remains = "a pending device was made all the same, mfa-enroll cancel --user";
            return complain(&format!("{trouble}; {remains} {} drops it", shell_word(user)), Exit::Unavailable);
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

    /// Writes the data completely.
    fn print(&mut self) -> io::Result<()> {
        if let Some(made) = &self.made {
            self.report.write(made.text().unwrap_or_default());
        }
        let count = self.report.end()?;
        match &self.verb {
            Verb::List(List { json: false, .. }) if self.gone => say(GONE),
            Verb::List(List { json: false, .. }) if count > 0 => {}
            Verb::List(List { json: false, missing: true, .. }) => say("Nobody is required and without a device."),
            Verb::List(List { json: false, group: Some(_), .. }) => say("The group has no members."),
            Verb::List(List { json: false, .. }) => say("Nobody has a record."),
            _ => {}
        }
        Ok(())
    }

    /// Rows on the terminal show by themselves that it goes on.
    fn make_way_for_data(&self) {
        if self.report.is_on_terminal() {
            self.progress.iter().for_each(Progress::make_way);
        }
    }

    /// The dialogue; begins it at the first use.
    fn dialogue(&mut self) -> io::Result<&mut Dialogue> {
        let none = Drawing::default();
        let drawing = self.verb.totp().map_or(&none, |totp| &totp.drawing);
        match &mut self.dialogue {
            Some(dialogue) => Ok(dialogue),
            none => Ok(none.insert(Dialogue::open(drawing, self.clock)?)),
        }
    }

    /// Shows the remaining messages, and unblocks signals.
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
                // Nobody has to confirm that they are written down: they will be printed.
                self.given = Some([Secret::copy_of(b"ok")].into());
            }
            _ => self.on_the_terminal()?.show_codes(codes),
        }
        Ok(())
    }

    fn on_the_terminal(&mut self) -> Result<&mut Dialogue, String> {
        self.dialogue().map_err(|e| format!("cannot use the terminal: {e}"))
    }

    /// Whether only a terminal may answer: text that is piped into a script for JSON is not meant as an answer.
    fn asks_by_terminal_only(&self) -> bool {
        matches!(self.verb, Verb::RecoveryCodes(RecoveryCodes { json: true, .. }))
    }
}

/// The path of the ssh agent, from the environment. It is set by the caller of this program, for whom the agent
/// signs.
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
        self.progress.iter().for_each(Progress::make_way);
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
        self.gone |= status.account == Account::Gone;
        self.make_way_for_data();
        self.progress.iter().for_each(Progress::count);
        self.report.add(status);
    }

    fn report(&mut self, text: &str) {
        // In a list this is the line for people, which JSON replaces.
        if !matches!(self.verb, Verb::List(List { json: true, .. })) {
            self.make_way_for_data();
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

    /// Shown on the terminal, even if output is piped. Nothing is typed until the person has done it, so there is no
    /// dialogue meanwhile, and Ctrl-C ends the program at once.
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
        let new = self.verb.ssh_key().ok().flatten().filter(|new| new.key.to_blob() == key).cloned();
        let Some(new) = new else {
            // This is one of several bound keys. The next one may be in the agent; if none is, the helper says it.
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
