//! The kinds of second factor: a closed set.

pub mod key;
pub mod recovery;
pub mod totp;
pub mod usb;
