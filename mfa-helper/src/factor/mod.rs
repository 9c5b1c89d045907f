//! The kinds of second factor: a closed set.

pub mod recovery;
pub mod totp;
