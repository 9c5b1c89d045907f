//! All the unsafe code of the module.

#![allow(unsafe_code)]

pub(crate) mod pam;
pub(crate) mod socket;
pub(crate) mod spawn;
