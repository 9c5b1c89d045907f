//! Security keys as a second factor, by how they are reached: through an ssh agent, through sshd, at a USB port.

pub mod agent;
pub mod shown;
pub mod sshd;
pub mod usb;
