//! The proof that a change by a user takes: the first factor again, and the device that is bound.

use std::ffi::{CStr, CString};
use std::os::unix::net::UnixStream;
use std::path::Path;

use mfa_wire::{Broken, Channel, FromHelper, Outcome, Secret, ToHelper, Verdict};
use nix::sys::wait::waitpid;

use super::Decision;
use super::proof::Proof;
use crate::conversation::{BINDING, Conversation};
use crate::sys::pam::{Line, NotProved};
use crate::sys::{self, caps, names, pam};

/// The PAM service that asks for the first factor. In it pam_mfa answers `PAM_IGNORE`: the device is asked here.
pub const SERVICE: &str = "mfa-enroll";

/// Where its stack may stand. Without it libpam would take the one called "other".
const STACKS: [&str; 2] = ["/etc/pam.d/mfa-enroll", "/usr/lib/pam.d/mfa-enroll"];

/// Asks for the first factor. Comes before the store is touched: the process that runs the PAM modules is a copy of
/// this one.
pub fn ask_secret(user: &str, conversation: &mut Conversation) -> Result<Proof, Decision> {
    conversation.allow_for_binding();
    let verdict = first_factor(user, conversation)?;
    let reason = format!("first factor: {}", verdict.text);
    match verdict.outcome {
        Outcome::Accepted => Ok(Proof::FirstFactor),
        Outcome::Refused => Err(Decision::new(Outcome::Refused, "That does not prove who you are.", reason)),
        _ => Err(Decision::unavailable(reason)),
    }
}

/// Has libpam ask, in a process of its own that has read no secret, and passes on what it asks.
fn first_factor(user: &str, conversation: &mut Conversation) -> Result<Verdict, Decision> {
    if !STACKS.iter().any(|stack| Path::new(stack).exists()) {
        return Err(Decision::unavailable(format!("{} is missing: install the package again", STACKS[0])));
    }
    let failed = |e: &dyn std::fmt::Display| Decision::unavailable(format!("the first factor cannot be asked: {e}"));
    let name = CString::new(user).map_err(|e| failed(&e))?;
    let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
    let Some(child) = sys::fork().map_err(|e| failed(&e.desc()))? else {
        serve(theirs, user, &name);
        std::process::exit(0);
    };
    // The capability was kept only for the process that runs libpam.
    caps::give_up().map_err(|e| failed(&e.desc()))?;
    let verdict = relay(Channel::new(ours), conversation);
    // It ends by itself: at its verdict, or when it finds its channel closed. It is not killed, because a module may be
    // about to count a wrong answer.
    let _ = waitpid(child, None);
    verdict
}

/// The process that runs libpam. Only its verdict on the channel counts.
fn serve(channel: UnixStream, user: &str, name: &CStr) {
    if sys::leave_all_but(&channel).and_then(|()| caps::take_up()).is_err() {
        return;
    }
    let mut channel = Channel::new(channel);
    // If pam_unix cannot read /etc/shadow, it refuses right answers as well, and pam_faillock counts them as wrong.
    let proved = match names::shadow_unreadable(user) {
        Some(e) => Err(NotProved::Unavailable(format!("/etc/shadow cannot be read: {}", e.desc()))),
        None => pam::authenticate(c"mfa-enroll", name, &mut |line| say(&mut channel, line)),
    };
    let verdict = match proved {
        Ok(()) => Verdict { outcome: Outcome::Accepted, text: String::new() },
        Err(NotProved::Refused(reason)) => Verdict { outcome: Outcome::Refused, text: reason },
        Err(NotProved::Unavailable(reason)) => Verdict { outcome: Outcome::Unavailable, text: reason },
    };
    if let Ok(frame) = FromHelper::Verdict(verdict).encode() {
        let _ = channel.send(&frame, BINDING);
    }
}

/// What a PAM module says, passed on to [`relay`]; the answer, where it asks.
fn say(channel: &mut Channel, line: Line) -> Option<Secret> {
    let (Line::Ask { text, .. } | Line::Tell(text)) = line;
    let message = match line {
        Line::Ask { echo, .. } => FromHelper::Ask { echo, text: Secret::copy_of(text.as_bytes()) },
        Line::Tell(_) => FromHelper::Tell(text.to_owned()),
    };
    channel.send(&message.encode().ok()?, BINDING).ok()?;
    if matches!(line, Line::Tell(_)) {
        return None;
    }
    match ToHelper::decode(&channel.receive(BINDING).ok()?).ok()? {
        ToHelper::Answer(answer) => Some(answer),
        _ => None,
    }
}

/// Between the process that runs libpam and the person.
fn relay(mut child: Channel, conversation: &mut Conversation) -> Result<Verdict, Decision> {
    let lost = |e: Broken| Decision::unavailable(format!("the first factor cannot be asked: {e}"));
    loop {
        let frame = child.receive(conversation.left()).map_err(lost)?;
        match FromHelper::decode(&frame).map_err(|e| lost(e.into()))? {
            FromHelper::Ask { echo, text } => {
                let answer = ToHelper::Answer(conversation.ask_with(echo, text)?);
                child.send(&answer.encode().map_err(|e| lost(e.into()))?, conversation.left()).map_err(lost)?;
            }
            FromHelper::Tell(text) => conversation.tell(&text)?,
            FromHelper::Verdict(verdict) => return Ok(verdict),
            _ => return Err(lost(Broken::OutOfTurn)),
        }
    }
}
