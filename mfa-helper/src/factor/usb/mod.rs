//! Security keys that are plugged in at this host: the requests to them, and the results.
//!
//! The helper opens a key's device and passes it to a process that runs as nobody (`child`), one for each key;
//! libfido2 runs only there. The answers are checked here, by code that trusts neither the key nor that process.

pub mod child;
mod engine;
mod made;
mod plugged;
mod process;
mod wire;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mfa_core::key::{self, Key, Signed};
use mfa_wire::Secret;

pub use crate::conversation::NoAnswer;
pub use engine::MOST_PLUGGED;
pub use made::New;
pub use mfa_core::key::Pin;
pub use process::ARGUMENT;
pub use wire::Frame;

/// The least number of PIN tries that must be left before a login sends a PIN: a person who types it wrongly here
/// must still be able to use the key elsewhere.
const SPARE_TRIES: u8 = 3;

/// What the person must know while we wait for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No key is plugged in.
    Insert,
    /// A key, or each of several, waits for the touch with which it signs or makes its credential.
    Touch,
    /// Several keys wait; a touch chooses one of them.
    TouchToChoose,
    /// No plugged-in key can be used: none is bound, or, while a new key is bound, all are.
    WrongKey,
    /// A key that is plugged in is at work, but takes long.
    Slow,
    /// A key wants its owner to unlock it before it says anything.
    Unlock,
    /// Another program uses the key.
    InUse,
    /// The key did not know the finger, so its PIN is asked for.
    WrongFinger,
    /// The plugged-in key does not answer, or its answers are not valid, and that is over.
    Unusable,
}

/// What somebody has typed. It is in no log.
pub struct Typed(pub Secret);

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed")
    }
}

/// What comes in place of a PIN, or of a key.
#[derive(Debug)]
pub enum NotAPin {
    /// There is no person to ask.
    Gone(NoAnswer),
    /// Something that is not sent to any key: nothing, or what has the form of a recovery code.
    Instead(Typed),
}

/// What comes of asking somebody to plug in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Enter: a key is plugged in now, or there is none.
    Over,
    /// It cannot be asked. The person was told, and a key may still come.
    On,
}

/// The person in front of the keys.
pub trait Person {
    /// Shows what the person must do.
    fn tell(&mut self, what: Event);
    /// Asks for a key to be plugged in, where none that is there may do the task; `what` says why.
    fn plug_in(&mut self, what: Event) -> Result<Waiting, NotAPin>;
    /// Asks for the PIN of a key; `label` is its name, empty for a new key. The PIN is not shown while it is typed.
    fn pin(&mut self, label: &str, tries_left: Option<u32>) -> Result<Secret, NotAPin>;
    /// What a key and we have said to each other, for the log; only where that is wanted.
    fn exchanged(&mut self, device: &str, frame: &Frame);
    /// Readable, or closed, when the person is gone.
    fn gone(&self) -> BorrowedFd<'_>;
}

/// A request for a signature by a bound key.
pub struct Asked<'a> {
    /// The keys that are accepted. Keys without a credential are not asked.
    pub keys: &'a [Key],
    /// The challenge: fresh random bytes.
    pub challenge: [u8; 32],
    /// See [`Pin`].
    pub pin: Pin,
    /// Send no PIN if it could be one of the last tries. Set everywhere except in `mfa-enroll`.
    pub spare_tries: bool,
    /// How long to wait for a touch, without the time for typing a PIN.
    pub deadline: Duration,
    /// Whether each exchange is reported, see [`Person::exchanged`].
    pub debug: bool,
}

/// A request to make a new credential.
pub struct Make<'a> {
    /// The relying party: `pam://web1`.
    pub rp_id: &'a str,
    /// The name that a key may show.
    pub user_name: &'a str,
    /// Random, so that it does not identify the user.
    pub user_id: [u8; 32],
    /// The keys that are already bound, each under its own relying party.
    pub exclude: &'a [Key],
    /// The challenge: fresh random bytes.
    pub challenge: [u8; 32],
    /// See [`Pin`].
    pub pin: Pin,
    /// As in [`Asked`].
    pub spare_tries: bool,
    /// The models that are allowed; empty: all. This trusts the key's claim: without its manufacturer's root
    /// certificate, a model cannot be told from a program that claims to be one.
    pub aaguids: &'a [[u8; 16]],
    /// As in [`Asked`].
    pub deadline: Duration,
    /// As in [`Asked`].
    pub debug: bool,
}

/// Checks that the process of a key would find libfido2. That process gets no key.
pub fn library_loads() -> Result<(), String> {
    process::library_loads()
}

/// Has one of the bound keys sign. Returns which key, its signature, and the new counter. The signature is checked;
/// the counter is not yet compared.
pub fn assert(asked: &Asked, person: &mut dyn Person) -> Result<(usize, Signed, u32), Failure> {
    match engine::run(&engine::Task::Assert(asked), person)? {
        engine::Done::Signed(n, signed, counter) => Ok((n, signed, counter)),
        engine::Done::Made(_) => Err(Failure::Hostile(String::from("an answer out of turn"))),
    }
}

/// Has a key that is not yet bound make a credential.
pub fn make(make: &Make, person: &mut dyn Person) -> Result<New, Failure> {
    match engine::run(&engine::Task::Make(make), person)? {
        engine::Done::Made(new) => Ok(new),
        engine::Done::Signed(..) => Err(Failure::Hostile(String::from("an answer out of turn"))),
    }
}

/// Why no key has answered. `Display` gives the text for the person.
#[derive(Debug)]
pub enum Failure {
    /// libfido2 is missing, or too old.
    NoLibrary(String),
    /// No key was plugged in.
    NoKey,
    /// None of the plugged-in keys is bound.
    NoBoundKey,
    /// Nobody touched a key in time.
    NotTouched,
    /// The key refuses.
    Denied,
    /// The PIN was wrong.
    WrongPin {
        /// How many tries are left, if the key says.
        left: Option<u32>,
    },
    /// The fingerprint was not recognized, and the key has no PIN.
    WrongFinger,
    /// The key accepts no PIN until it is plugged in again or reset.
    PinBlocked {
        /// Whether plugging it in again helps.
        replug: bool,
    },
    /// No PIN was sent, because only this many tries are left.
    FewTries(u32),
    /// A PIN is demanded, but the key has none.
    NoPin,
    /// A PIN is demanded, but a key of U2F can have none.
    NeverAPin,
    /// The PIN has to be changed before it is of use. The name of the device.
    MustChangePin(String),
    /// Another program has used the key all the time.
    Busy,
    /// The key has not said what it is.
    Silent,
    /// The key has waited for its owner to unlock it.
    Locked,
    /// The key has no room for a new credential.
    Full,
    /// The key does not find the credential that it has just made.
    Forgetful,
    /// The key was pulled out.
    Unplugged,
    /// There is no person to ask.
    Gone(NoAnswer),
    /// This was typed where a PIN or a key was asked for, and sent to no key.
    NotAPin(Typed),
    /// The key, or the process that talks to it, does something that no key does.
    Hostile(String),
    /// The signature is not the one that was asked for.
    Refused(key::Refused),
    /// This key is already bound to this user.
    AlreadyBound,
    /// The model is not in the list of allowed ones.
    NotAllowedModel([u8; 16]),
    /// The process for the key could not be started.
    NoProcess(String),
}

impl Failure {
    /// The reason for the log.
    pub fn reason(&self) -> String {
        match self {
            Failure::NoLibrary(why) => format!("no libfido2: {why}"),
            Failure::Gone(NoAnswer::Gone(why)) => why.to_string(),
            Failure::Gone(NoAnswer::Cancelled(why)) => format!("no answer to the question for the PIN: {why:?}"),
            Failure::Hostile(why) => format!("the security key misbehaves: {why}"),
            Failure::Refused(why) => why.to_string(),
            Failure::NotAllowedModel(aaguid) => {
                format!("the model of the key is not in [u2f] aaguids: {}", data_encoding::HEXLOWER.encode(aaguid))
            }
            Failure::NoProcess(why) => format!("no process for the security key: {why}"),
            Failure::WrongPin { left: Some(left) } => format!("the PIN was wrong, {left} tries are left"),
            Failure::NotAPin(typed) if typed.0.bytes().is_empty() => String::from("no PIN was typed"),
            Failure::NotAPin(_) => String::from("a recovery code in place of the key or its PIN"),
            Failure::FewTries(left) => format!("only {left} tries are left for the PIN of the key"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Failure::NoLibrary(_) => "This host has no libfido2: the administrator can install libfido2-1.",
            Failure::NoKey => "No security key was plugged in.",
            Failure::NoBoundKey => "None of the keys that are plugged in is bound to this account.",
            Failure::NotTouched => "The security key was not touched in time.",
            Failure::Denied => "The security key has refused.",
            Failure::WrongPin { left: Some(1) } => "The PIN was wrong; one try is left.",
            Failure::WrongPin { left: Some(left) } => return write!(f, "The PIN was wrong; {left} tries are left."),
            Failure::WrongPin { left: None } => "The PIN was wrong.",
            Failure::WrongFinger => "The security key does not know this fingerprint.",
            Failure::PinBlocked { replug: true } => "The PIN is blocked: pull the key out, plug it in, and try again.",
            Failure::PinBlocked { replug: false } => "The PIN of this key is blocked: the key must be reset.",
            Failure::FewTries(left) => {
                let tries = if *left == 1 { "1 try is" } else { &format!("{left} tries are") };
                return write!(f, "Only {tries} left for the PIN of this key: no login uses them.");
            }
            Failure::NoPin => "This key has no PIN, and one is needed: set it, or use another key.",
            Failure::NeverAPin => "This key can have no PIN, and one is needed: use another key.",
            Failure::MustChangePin(node) => {
                return write!(f, "The PIN of this key must be changed first: fido2-token -C /dev/{node}");
            }
            Failure::Busy => "The security key is in use by another program.",
            Failure::Silent => "The security key does not answer: pull it out and plug it in again.",
            Failure::Locked => "The security key was not unlocked in time.",
            Failure::Full => "This security key has no room for a new credential: use another one.",
            Failure::Forgetful => "This key does not find what it has just made: use another one.",
            Failure::Unplugged => "The security key was pulled out.",
            Failure::NotAPin(typed) if typed.0.bytes().is_empty() => "No PIN was typed.",
            Failure::NotAPin(_) => "That has the form of a recovery code: a PIN of that form is of no use here.",
            Failure::Gone(_) => "Nobody is there to be asked.",
            Failure::Hostile(_) => "This security key cannot be used; the system log says why.",
            Failure::Refused(key::Refused::CounterBack { .. }) => {
                "The counter of this key went back: it may have been copied."
            }
            Failure::Refused(_) => "The answer of the security key is not valid.",
            Failure::AlreadyBound => "This key is bound already.",
            Failure::NotAllowedModel(_) => "Keys of this model may not be bound here.",
            Failure::NoProcess(_) => mfa_wire::UNAVAILABLE,
        };
        f.write_str(line)
    }
}

#[cfg(test)]
mod tests {
    use mfa_wire::Broken;

    use super::*;

    #[test]
    fn every_line_fits_a_terminal_and_asks_for_no_login_secret() {
        let failures = [
            Failure::NoLibrary(String::new()),
            Failure::NoKey,
            Failure::NoBoundKey,
            Failure::NotTouched,
            Failure::Denied,
            Failure::WrongPin { left: None },
            Failure::WrongPin { left: Some(1) },
            Failure::WrongPin { left: Some(7) },
            Failure::WrongFinger,
            Failure::PinBlocked { replug: true },
            Failure::PinBlocked { replug: false },
            Failure::FewTries(1),
            Failure::FewTries(3),
            Failure::NoPin,
            Failure::NeverAPin,
            Failure::MustChangePin(String::from("hidraw12")),
            Failure::Busy,
            Failure::Silent,
            Failure::Locked,
            Failure::Full,
            Failure::Forgetful,
            Failure::Unplugged,
            Failure::Gone(NoAnswer::Gone(Broken::Closed)),
            Failure::NotAPin(Typed(Secret::default())),
            Failure::NotAPin(Typed(Secret::copy_of(b"abcd-efgh-ijkl-mnop"))),
            Failure::Hostile(String::new()),
            Failure::Refused(key::Refused::BadSignature),
            Failure::Refused(key::Refused::CounterBack { from: 2, to: 1 }),
            Failure::AlreadyBound,
            Failure::NotAllowedModel([0; 16]),
            Failure::NoProcess(String::new()),
        ];
        for line in failures.iter().map(ToString::to_string) {
            assert!(line.len() <= 80 && line.is_ascii(), "{line}");
            assert!(!line.contains("password") && !line.contains("passcode"), "{line}");
        }
    }
}
