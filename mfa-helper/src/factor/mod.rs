//! The kinds of second factor that are a device outside the helper.

pub mod agent;
pub mod sshd;
pub mod usb;
