//! The proof that a change by a user takes: the first factor again, and the device that is bound.

use std::ffi::{CStr, CString};
use std::os::unix::net::UnixStream;
use std::path::Path;

use mfa_wire::{Broken, Channel, FromHelper, Outcome, Secret, ToHelper, Verdict};

use super::Decision;
use super::code::{self, Asked};
use crate::conversation::{Conversation, NoAnswer};
use crate::host::Host;
use crate::lockout::Way;
use crate::store::{Record, Store};
use crate::sys::{self, pam};

/// The PAM service that asks for the first factor. In it pam_mfa answers `PAM_IGNORE`: the device is asked here.
pub const SERVICE: &str = "mfa-enroll";

/// Where its stack may stand. Without it libpam would take the one called "other".
const STACKS: [&str; 2] = ["/etc/pam.d/mfa-enroll", "/usr/lib/pam.d/mfa-enroll"];

/// What has been proved before a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, and nothing is asked: the caller is root.
    Root,
    /// The first factor.
    FirstFactor,
}

impl Proof {
    /// Asks for the first factor. Comes before the store is touched: the process that runs the PAM modules is a copy of
    /// this one.
    pub fn by(user: &str, conversation: &mut Conversation) -> Result<Proof, Decision> {
        conversation.allow_for_binding();
        let verdict = first_factor(user, conversation)?;
        match verdict.outcome {
            Outcome::Accepted => Ok(Proof::FirstFactor),
            outcome => {
                let text = if outcome == Outcome::Refused { "That does not prove who you are." } else { &verdict.text };
                Err(Decision::new(outcome, text, format!("first factor: {}", verdict.text)))
            }
        }
    }

    /// Loads the record of `user`, and asks for the device that is bound, unless the caller is root.
    pub fn of(
        self,
        user: &str,
        store: &Store,
        host: &Host,
        conversation: &mut Conversation,
    ) -> Result<Record, Decision> {
        let record = store.load(user)?;
        let Some(bound) = record.credentials.as_ref().map(|bound| bound.id).filter(|_| self != Proof::Root) else {
            return Ok(record);
        };
        let asked = Asked { way: Way::OwnProcess, truth: true };
        let decision = code::ask(asked, record, store, host, conversation)?;
        if decision.outcome != Outcome::Accepted {
            return Err(decision);
        }
        let record = store.load(user)?;
        // What was proved is the possession of this device and of no other.
        if record.credentials.as_ref().map(|bound| bound.id) == Some(bound) {
            Ok(record)
        } else {
            Err(crate::store::CommitError::Conflict.into())
        }
    }
}

/// Has libpam ask, in a process of its own that has read no secret, and passes on what it asks.
fn first_factor(user: &str, conversation: &mut Conversation) -> Result<Verdict, Decision> {
    if !STACKS.iter().any(|stack| Path::new(stack).exists()) {
        return Err(Decision::unavailable(format!("{} is missing", STACKS[0])));
    }
    let failed = |e: &dyn std::fmt::Display| Decision::unavailable(format!("the first factor cannot be asked: {e}"));
    let name = CString::new(user).map_err(|e| failed(&e))?;
    let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
    let Some(child) = sys::fork().map_err(|e| failed(&e.desc()))? else {
        serve(theirs, &name);
        std::process::exit(0);
    };
    let verdict = relay(Channel::new(ours), conversation);
    // It ends by itself: at its verdict, or when it finds its channel closed.
    let _ = nix::sys::wait::waitpid(child, None);
    verdict.map_err(|gone| match gone {
        NoAnswer::Cancelled(_) => gone.into(),
        NoAnswer::Gone(broken) => failed(&broken),
    })
}

/// The process that runs libpam. Only its verdict on the channel counts.
fn serve(channel: UnixStream, user: &CStr) {
    if sys::leave_all_but(&channel).is_err() {
        return;
    }
    let mut parent = Parent(Channel::new(channel));
    let verdict = match pam::authenticate(c"mfa-enroll", user, &mut parent) {
        Ok(()) => Verdict { outcome: Outcome::Accepted, text: String::new() },
        Err(reason) => Verdict { outcome: Outcome::Refused, text: reason },
    };
    let _ = parent.send(&FromHelper::Verdict(verdict));
}

/// Between the process that runs libpam and the person.
fn relay(mut child: Channel, conversation: &mut Conversation) -> Result<Verdict, NoAnswer> {
    loop {
        match FromHelper::decode(&child.receive(conversation.left())?).map_err(Broken::from)? {
            FromHelper::Ask { echo, text } => {
                let answer = conversation.ask_with(echo, text)?;
                child.send(&ToHelper::Answer(answer).encode().map_err(Broken::from)?, conversation.left())?;
            }
            FromHelper::Tell(text) => conversation.tell(&text)?,
            FromHelper::Verdict(verdict) => return Ok(verdict),
            _ => return Err(Broken::OutOfTurn.into()),
        }
    }
}

/// The other end of [`relay`].
struct Parent(Channel);

impl Parent {
    fn send(&mut self, message: &FromHelper) -> Result<(), Broken> {
        self.0.send(&message.encode()?, crate::conversation::BINDING)
    }
}

impl pam::Person for Parent {
    fn ask(&mut self, echo: bool, text: &str) -> Option<Secret> {
        let text = Secret::copy_of(text.as_bytes());
        self.send(&FromHelper::Ask { echo, text }).ok()?;
        match ToHelper::decode(&self.0.receive(crate::conversation::BINDING).ok()?).ok()? {
            ToHelper::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    fn tell(&mut self, text: &str) {
        let _ = self.send(&FromHelper::Tell(text.to_owned()));
    }
}
