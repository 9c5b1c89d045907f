//! `mfa-helper`: see `mfa-helper(8)` and the library of the same name.

#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    mfa_helper::main()
}

// The unwinder is linked statically. As a shared object each process would have to find, map, relocate and initialize
// it; its initialization queries the CPU, which in a virtual machine takes longer than all the rest.
#[allow(unsafe_code, reason = "it declares nothing")]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle,+whole-archive")]
unsafe extern "C" {}
