//! `mfa-helper`: see `mfa-helper(8)` and the library of the same name.

#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    mfa_helper::main()
}

// The unwinder's own copy: as a shared object it is one more to find, map, relocate and initialise in each process, and
// its initialisation asks the CPU what it can, which in a virtual machine takes longer than all the rest.
#[allow(unsafe_code, reason = "it declares nothing")]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle,+whole-archive")]
unsafe extern "C" {}
