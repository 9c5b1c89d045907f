//! `mfa-helper`: see `mfa-helper(8)` and the library of the same name.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    mfa_helper::main()
}
