//! The kinds of second factor: a closed set.

pub mod agent;
pub mod key;
pub mod recovery;
pub mod sshd;
pub mod totp;
