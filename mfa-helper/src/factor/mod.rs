//! The kinds of second factor: a closed set.

pub mod totp;
