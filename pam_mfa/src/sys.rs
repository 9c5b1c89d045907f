//! All the unsafe code of the module.

#![allow(unsafe_code)]

pub(crate) mod pam;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod spawn;

// The unwinder is linked statically. As a shared object each process would have to find, map, relocate and initialize
// it; its initialization queries the CPU, which in a virtual machine takes longer than all the rest.
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle,+whole-archive")]
unsafe extern "C" {}
