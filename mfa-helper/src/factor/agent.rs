//! ssh agents.

use std::fmt;

use mfa_wire::Broken;

use super::key::{Key, Signed};
use crate::conversation::Conversation;

/// What is asked.
pub struct Asked<'a> {
    /// Whose agent.
    pub user: &'a str,
    /// Where it says it is.
    pub socket: &'a str,
    /// Bound.
    pub keys: &'a [Key],
    /// Fresh.
    pub challenge: &'a [u8; 32],
    /// Seconds.
    pub timeout: u64,
}

/// Why not.
pub enum Failure {
    /// Gone.
    Gone(Broken),
    /// No agent.
    NoAgent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("No ssh agent.")
    }
}

impl Failure {
    /// For the log.
    pub fn reason(&self) -> String {
        String::from("no agent")
    }

    /// Whether no key could be asked at all: then a recovery code is.
    pub fn is_of_no_key(&self) -> bool {
        matches!(self, Failure::NoAgent)
    }
}

/// Asks.
pub fn ask(
    _: &Asked,
    _: &mut dyn FnMut(&mut Conversation) -> Result<(), Broken>,
    _: &mut Conversation,
) -> Result<(usize, Signed, [u8; 32]), Failure> {
    Err(Failure::NoAgent)
}
