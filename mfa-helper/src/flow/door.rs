//! Where a login comes from, and by which door it comes in.

use mfa_core::record::Owes;
use mfa_wire::Login;

use crate::host::Host;
use crate::policy::place;
use crate::session;

/// From where: a literal address, or a terminal. Never a name, because an attacker can choose it by reverse lookup.
pub fn origin(login: &Login) -> Option<&str> {
    match login.rhost.as_deref().filter(|host| !host.is_empty()) {
        Some(host) => Some(host).filter(|host| place::address(host).is_some()),
        None => login.tty.as_deref().filter(|tty| {
            (tty.starts_with("/dev/") || tty.starts_with("tty")) && tty.len() <= 64 && !tty.contains(char::is_control)
        }),
    }
}

/// The door that a login comes in by: its service, and for sudo, which remembers logins, the session too. The session
/// is not taken from `PAM_TTY`: sudo-rs takes that from its standard input, which its caller chooses.
pub fn door(login: &Login, host: &Host) -> Option<String> {
    match login.service.as_str() {
        _ if login.came_by_sshd() => Some(String::from("sshd")),
        // A login that one of them remembers is good for the other, too.
        "sudo" | "sudo-i" => {
            session::on_a_terminal(host.caller_pid).map(|leader| format!("{}{leader}", Owes::REMEMBERS))
        }
        other => Some(other.to_owned()),
    }
}
