//! What the processes of the multi-factor login say to each other.
//!
//! A *front end* (`pam_mfa.so` inside sshd, sudo, su..., or `mfa-enroll`) sends one request to
//! `mfa-helper` and then relays what the helper asks until the helper
//! gives its verdict. The bytes are specified in `docs/wire.md`. This crate is loaded into login programs, so it uses
//! std only, allocates nothing whose size the peer can choose, does not recurse, and holds no unsafe code.

#![forbid(unsafe_code)]

mod channel;
mod codec;
mod front;
mod message;
mod nearest;
mod secret;
mod sshd;
mod text;

pub use channel::{Broken, Channel};
pub use codec::{MAX_FRAME, Malformed};
pub use front::{
    FRAME_TIMEOUT, HELLO_TIMEOUT, Prompter, QUEUE_TIMEOUT, SPAWN_TIMEOUT, converse, greet, greet_with, relay,
};
pub use message::{
    Account, AuthHook, Cancelled, Device, DeviceStatus, FromHelper, Hello, Login, MAX_ANSWER, MAX_NAME, MAX_PLACE,
    MAX_TEXT, NewKey, Outcome, Remembered, Request, Required, SERVICES, Status, ToHelper, VERSION, Verb, Verdict,
};
pub use nearest::{distance, nearest};
pub use secret::Secret;
pub use sshd::sshd_remedy;
pub use text::{REFUSED, UNAVAILABLE, printable, readable, shell_word, utc};
