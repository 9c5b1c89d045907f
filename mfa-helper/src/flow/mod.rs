//! What happens in each kind of conversation: functions that read like the man page.

mod code;
mod codes;
mod desk;
mod door;
pub mod first_factor;
mod key_asked;
pub mod login;
pub mod manage;
mod new_app;
mod new_key;
mod news;
mod permission;
pub mod proof;
pub mod remember;
mod user;
pub mod ways;

pub use desk::Desk;

use mfa_core::Kind;
use mfa_core::change::Refusal;
use mfa_core::engine::Unavailable;
use mfa_core::judge::Proved;
use mfa_core::view::View;
use mfa_wire::{Broken, Cancelled, Outcome, Verdict};
use nix::errno::Errno;

use crate::caller::NotAllowed;
use crate::conversation::NoAnswer;
use crate::lang::{Lang, Text};
use crate::policy::Requirement;

/// How often a person may enter two codes in one conversation.
pub const TRIES: usize = 3;

/// How a conversation ended, for the person and for the log.
#[must_use]
pub struct Decision {
    /// For the front end.
    pub outcome: Outcome,
    /// The line that the person reads.
    pub text: String,
    /// Why, for the log.
    pub reason: String,
    /// The kind of device that was asked, for the log.
    pub factor: &'static str,
    /// Further fields of the log: of a login, the rule that decided, and the one that only observes with what it would
    /// have asked; of a change, the file, and until when.
    pub noted: Vec<(&'static str, String)>,
}

impl Decision {
    /// By an outcome, the line to read, and the reason for the log.
    pub fn new(outcome: Outcome, text: impl Into<String>, reason: impl Into<String>) -> Decision {
        let (text, reason) = (text.into(), reason.into());
        Decision { outcome, text, reason, factor: "none", noted: Vec::new() }
    }

    /// No decision is possible. The reason is the administrator's to read, in the log.
    pub fn unavailable(reason: impl ToString) -> Decision {
        Decision::new(Outcome::Unavailable, mfa_wire::UNAVAILABLE, reason.to_string())
    }

    /// The name service failed, so it is unknown who the user is.
    pub fn name_service_failed(why: Errno) -> Decision {
        Decision::unavailable(format!("the name service failed: {}", why.desc()))
    }

    /// The service cannot reach what this needs, so the login has to start its own helper. Must come before anything is
    /// asked, judged or written.
    fn start_your_own() -> Decision {
        Decision::new(Outcome::StartYourOwn, "", "left to a helper that the login starts")
    }

    /// The caller may not ask this.
    pub fn not_allowed(text: &str) -> Decision {
        Decision::new(Outcome::Refused, text, format!("not allowed: {text}"))
    }

    /// The caller has no right to ask this.
    pub fn no_right(why: NotAllowed, contact: &str) -> Decision {
        match why {
            NotAllowed::RootOnly => Decision::not_allowed("Only root may do this."),
            NotAllowed::NotYours => Decision::not_allowed("Only root may do this for another user."),
            NotAllowed::NoSelfService => {
                Decision::not_allowed(&format!("Devices are managed by the administrators here: ask {contact}."))
            }
            NotAllowed::NotKnown(e) => Decision::name_service_failed(e),
        }
    }

    /// About a user by the one name that the name service has for the account, so that a log can be searched for it: a
    /// directory may know it by several spellings.
    pub fn about(self, user: &str) -> Decision {
        self.noting("user", user)
    }

    /// A copy that names the rule that decided, and the rule that only observes.
    fn by(self, asked: Requirement) -> Decision {
        let decision = self.noting("rule", asked.rule);
        match asked.observed {
            Some((rule, require)) => decision.noting("observed", format!("{rule} {}", require.word())),
            None => decision,
        }
    }

    /// With the kind of device that was asked.
    pub fn by_factor(self, factor: &'static str) -> Decision {
        Decision { factor, ..self }
    }

    /// With one more field for the log.
    pub fn noting(mut self, name: &'static str, value: impl Into<String>) -> Decision {
        self.noted.push((name, value.into()));
        self
    }

    /// The verdict to send.
    pub fn verdict(&self) -> Verdict {
        Verdict { outcome: self.outcome, text: self.text.clone() }
    }

    /// The word for the log.
    pub fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Accepted => "accepted",
            Outcome::Ignored => "ignored",
            Outcome::HandedOver => "handed-over",
            Outcome::Refused => "refused",
            Outcome::Locked => "locked",
            Outcome::NoInteraction => "no-interaction",
            Outcome::Unavailable => "unavailable",
            Outcome::NotFound => "not-found",
            Outcome::Already => "already",
            Outcome::Warnings => "warnings",
            Outcome::Faults => "faults",
            // Nothing is decided, and nothing logged.
            Outcome::StartYourOwn => "none",
        }
    }
}

/// A right answer: what is said of it, and what it proves.
struct Passed {
    decision: Decision,
    proved: Proved,
}

/// Asks for the bound device, below a notice, and has the answer judged.
fn ask_for_device(
    notice: Option<&str>,
    audience: code::Audience,
    view: &View,
    desk: &mut Desk,
) -> Result<Passed, Decision> {
    match view.kind() {
        Some(Kind::U2f) => key_asked::ask_key(notice, audience, view, desk),
        _ => code::ask_code(notice, audience, view, desk),
    }
}

/// A text, below the notice that has to be read first.
fn below(notice: Option<&str>, text: String) -> String {
    match notice {
        Some(notice) => format!("{notice}\n{text}"),
        None => text,
    }
}

impl From<Unavailable> for Decision {
    fn from(unavailable: Unavailable) -> Decision {
        Decision::unavailable(unavailable)
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Decision {
        match refusal {
            Refusal::Unavailable(unavailable) => unavailable.into(),
            Refusal::Pair(error) => {
                let why = Lang::En.say(Text::Pair(&error));
                Decision::new(Outcome::Refused, format!("{why} Nothing was bound."), why)
            }
            // Another conversation has changed the record first.
            _ => Decision::new(
                Outcome::Refused,
                "The record was changed from elsewhere meanwhile: try again.",
                "lost a race",
            ),
        }
    }
}

/// Not a guess, and not counted as one.
impl From<NoAnswer> for Decision {
    fn from(none: NoAnswer) -> Decision {
        let (text, reason) = match none {
            NoAnswer::Cancelled(Cancelled::ByUser) => ("Cancelled.", String::from("cancelled")),
            NoAnswer::Cancelled(Cancelled::NoConversation) => (
                "No code could be asked: use a terminal; with ssh, keyboard-interactive.",
                String::from("the program cannot ask"),
            ),
            NoAnswer::Cancelled(Cancelled::LoginSecret) => (
                "That is your login secret, not a code.\nIf a program has sent it: with ssh, use keyboard-interactive.",
                String::from("the program answered with the login secret"),
            ),
            NoAnswer::Cancelled(Cancelled::UserName) => {
                ("That is your name, not a code.", String::from("the program answered with the user's name"))
            }
            NoAnswer::Gone(broken) => return broken.into(),
        };
        Decision::new(Outcome::NoInteraction, text, reason)
    }
}

impl From<Broken> for Decision {
    fn from(broken: Broken) -> Decision {
        Decision::new(Outcome::NoInteraction, "", format!("no answer: {broken}"))
    }
}
