//! What sshd demands.

use mfa_wire::Login;

/// Of a key.
#[derive(Clone, Copy)]
pub struct Demands {
    /// A touch.
    pub touch: bool,
    /// PIN or fingerprint.
    pub verify: bool,
}

/// Asks it.
pub fn demands(_: &Login, _: i32) -> Result<Demands, String> {
    Err(String::from("not there"))
}
