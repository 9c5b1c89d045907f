//! Security keys that are plugged in here: what is asked of them, and what comes of it.
//!
//! The helper opens a key's device and hands it to a process that is nobody (`child`), one for each key; libfido2 runs
//! there and nowhere else. What comes back is judged here, by code that trusts neither.

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

/// The least tries that must be left for the PIN before one is sent at a login: whoever types it wrongly here shall
/// still be able to use the key elsewhere.
const SPARE_TRIES: u8 = 3;

/// What is said while a key is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No key is plugged in.
    Insert,
    /// A key, or one of several, waits for the touch that counts.
    Touch,
    /// Several keys wait: a touch chooses one of them.
    TouchToChoose,
    /// None of the keys that are plugged in will do: foreign ones, or at binding those that are bound already.
    WrongKey,
    /// The key that is plugged in does not answer, or not as keys do.
    Unusable,
}

/// Who sits at the keys.
pub trait Person {
    /// Shows what is to be done.
    fn tell(&mut self, what: Event);
    /// Asks for the PIN of a key: `label` as it was bound, empty for a new one. Not shown while it is typed.
    fn pin(&mut self, label: &str, tries_left: Option<u32>) -> Result<Secret, NoAnswer>;
    /// Readable, or hung up, when nobody is there any more.
    fn gone(&self) -> BorrowedFd<'_>;
}

/// What is asked of a bound key.
pub struct Asked<'a> {
    /// The keys that will do. Those without a credential are not asked.
    pub keys: &'a [Key],
    /// What is to be signed: fresh random bytes.
    pub challenge: [u8; 32],
    /// See [`Pin`].
    pub pin: Pin,
    /// No PIN is sent where it could be one of the last tries. For every place but `mfa-enroll`.
    pub spare_tries: bool,
    /// How long a touch is waited for. Typing a PIN does not count.
    pub deadline: Duration,
}

/// What a new key is made for.
pub struct Make<'a> {
    /// The relying party: `pam://web1`.
    pub rp_id: &'a str,
    /// What a key may show.
    pub user_name: &'a str,
    /// Random, so that it says nothing of the user.
    pub user_id: [u8; 32],
    /// The keys that are bound already, each under its own relying party.
    pub exclude: &'a [Key],
    /// Fresh random bytes.
    pub challenge: [u8; 32],
    /// See [`Pin`].
    pub pin: Pin,
    /// As in [`Asked`].
    pub spare_tries: bool,
    /// The models that are allowed; empty: all. Worth as much as the word of the key: without its maker's root
    /// certificate nobody can tell a model from a program that claims to be one.
    pub aaguids: &'a [[u8; 16]],
    /// As in [`Asked`].
    pub deadline: Duration,
}

/// Whether the process of a key would find libfido2; else why not. It is given no key.
pub fn library_loads() -> Result<(), String> {
    process::library_loads()
}

/// Has one of the bound keys sign. Gives back which one, and what it has signed; that has been checked but for the
/// counter, which is returned in the end.
pub fn assert(asked: &Asked, person: &mut dyn Person) -> Result<(usize, Signed, u32), Failure> {
    match engine::run(&engine::Task::Assert(asked), person)? {
        engine::Done::Signed(n, signed, counter) => Ok((n, signed, counter)),
        engine::Done::Made(_) => Err(Failure::Hostile(String::from("an answer out of turn"))),
    }
}

/// Has a key that is not bound yet make a credential.
pub fn make(make: &Make, person: &mut dyn Person) -> Result<New, Failure> {
    match engine::run(&engine::Task::Make(make), person)? {
        engine::Done::Made(new) => Ok(new),
        engine::Done::Signed(..) => Err(Failure::Hostile(String::from("an answer out of turn"))),
    }
}

/// Why no key has answered. Display is the line for the person.
#[derive(Debug)]
pub enum Failure {
    /// libfido2 is missing, or too old.
    NoLibrary(String),
    /// No key was plugged in.
    NoKey,
    /// Of the keys that were plugged in, none is bound.
    NoBoundKey,
    /// Nobody touched a key in time.
    NotTouched,
    /// The key says no.
    Denied,
    /// The PIN was wrong.
    WrongPin {
        /// So many tries are left, where the key says.
        left: Option<u32>,
    },
    /// The fingerprint was not known, and there is no PIN.
    WrongFinger,
    /// The key takes no PIN any more until it is reset, or plugged in again.
    PinBlocked {
        /// Plugging it in again helps.
        replug: bool,
    },
    /// So few tries are left that no PIN was sent.
    FewTries(u32),
    /// A PIN is demanded, and the key has none.
    NoPin,
    /// It was pulled out.
    Unplugged,
    /// There is nobody to ask.
    Gone(NoAnswer),
    /// The key, or the process that talks to it, does what no key does.
    Hostile(String),
    /// What the key has signed is not what it was to sign.
    Refused(key::Refused),
    /// This very key is bound to this user.
    AlreadyBound,
    /// The model is not in the list of those that are allowed.
    NotAllowedModel([u8; 16]),
    /// The process for the key could not be started.
    NoProcess(String),
}

impl Failure {
    /// For the log.
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
                return write!(f, "Only {tries} left for the PIN of this key: use mfa-enroll test.");
            }
            Failure::NoPin => "This key has no PIN, and one is needed: set it, or use another key.",
            Failure::Unplugged => "The security key was pulled out.",
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
            Failure::Unplugged,
            Failure::Gone(NoAnswer::Gone(Broken::Closed)),
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
