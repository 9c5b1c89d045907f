//! What an answer is worth: codes, keys, recovery codes and lockout, and the record that they are judged against.
//!
//! No I/O, no clock and no randomness: time and random bytes are parameters, so that a judgement can be tested to the
//! second, and be made wherever the record is kept. No sentence for people either: what is said of a judgement is its
//! caller's business.

#![forbid(unsafe_code)]

pub mod bindings;
pub mod change;
pub mod engine;
mod id;
pub mod judge;
pub mod key;
mod kind;
pub mod lockout;
pub mod pair;
mod process;
pub mod record;
pub mod recovery;
pub mod remembered;
pub mod totp;
pub mod view;

pub use id::Id;
pub use kind::Kind;
pub use process::Process;
