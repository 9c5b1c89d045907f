//! Keys that are plugged in.

use std::fmt;
use std::os::fd::BorrowedFd;

use mfa_wire::Secret;

use super::key::{Key, PublicKey, Signed};
use crate::conversation::NoAnswer;
use crate::policy::Pin;

/// What a person is told.
pub enum Event {
    /// To touch.
    Touch,
    /// To plug one in.
    PlugIn,
    /// At binding.
    PlugInNew,
    /// None of those plugged in is bound.
    NotBound,
}

/// Who stands there.
pub trait Person {
    /// Says it at once.
    fn tell(&mut self, event: Event) -> Result<(), NoAnswer>;
    /// Asks.
    fn pin(&mut self, tries_left: Option<u32>) -> Result<Secret, NoAnswer>;
    /// Readable when the front end is gone.
    fn gone(&self) -> BorrowedFd<'_>;
}

/// An assertion.
pub struct Asked<'a> {
    /// Bound.
    pub keys: &'a [Key],
    /// Fresh.
    pub challenge: &'a [u8; 32],
    /// Policy.
    pub pin: Pin,
    /// Whether the last three tries of a PIN may be used.
    pub last_tries: bool,
    /// Seconds.
    pub timeout: u64,
}

/// A new credential.
pub struct Wanted<'a> {
    /// Relying party.
    pub rp_id: &'a str,
    /// The name.
    pub user: &'a str,
    /// Random.
    pub user_id: &'a [u8; 32],
    /// Fresh.
    pub challenge: &'a [u8; 32],
    /// Not again.
    pub bound: &'a [Key],
    /// Policy.
    pub pin: Pin,
    /// Whether the last three tries of a PIN may be used.
    pub last_tries: bool,
    /// Models; empty: all.
    pub aaguids: &'a [[u8; 16]],
    /// Seconds.
    pub timeout: u64,
}

/// What was made.
pub struct Made {
    /// Its id.
    pub credential: Vec<u8>,
    /// Its key.
    pub public: PublicKey,
    /// With PIN or fingerprint.
    pub verified: bool,
    /// Its counter.
    pub counter: u32,
}

/// Why not.
pub enum Failure {
    /// Gone.
    Gone(NoAnswer),
    /// Not there.
    NoKey,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("No security key was plugged in.")
    }
}

impl Failure {
    /// For the log.
    pub fn reason(&self) -> String {
        String::from("no key")
    }

    /// Whether no key could be asked at all: then a recovery code is.
    pub fn is_of_no_key(&self) -> bool {
        matches!(self, Failure::NoKey)
    }
}

/// Asks.
pub fn assert(_: &Asked, _: &mut dyn Person) -> Result<(usize, Signed), Failure> {
    Err(Failure::NoKey)
}

/// Makes.
pub fn make(_: &Wanted, _: &mut dyn Person) -> Result<Made, Failure> {
    Err(Failure::NoKey)
}
