//! The kinds of second factor: a closed set.

pub mod agent;
pub mod sshd;
pub mod usb;
