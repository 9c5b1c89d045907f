//! All the unsafe code of the module.

#![allow(unsafe_code)]

pub(crate) mod pam;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod spawn;

// The unwinder's own copy: as a shared object it is one more to find, map, relocate and initialise in each process, and
// its initialisation asks the CPU what it can, which in a virtual machine takes longer than all the rest.
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle,+whole-archive")]
unsafe extern "C" {}
