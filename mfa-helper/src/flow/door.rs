//! Where a login comes from, and by which door it comes in.

use mfa_core::record::Owes;
use mfa_wire::Login;

use crate::host::Host;
use crate::policy::place;
use crate::session;

/// From where: a literal address, or a terminal. A name is whatever a reverse lookup says.
pub fn origin(login: &Login) -> Option<&str> {
    match login.rhost.as_deref().filter(|host| !host.is_empty()) {
        Some(host) => Some(host).filter(|host| place::address(host).is_some()),
        None => login.tty.as_deref().filter(|tty| {
            (tty.starts_with("/dev/") || tty.starts_with("tty")) && tty.len() <= 64 && !tty.contains(char::is_control)
        }),
    }
}

/// By which door a login comes in, so that a program which remembers it is known again. That is sudo, by the session: not
/// by `PAM_TTY`, which sudo-rs takes from its standard input, and so from its caller.
pub fn door(login: &Login, host: &Host) -> Option<String> {
    match login.service.as_str() {
        _ if login.came_by_sshd() => Some(String::from("sshd")),
        // What the one remembers is good for the other.
        "sudo" | "sudo-i" => {
            session::on_a_terminal(host.caller_pid).map(|leader| format!("{}{leader}", Owes::REMEMBERS))
        }
        other => Some(other.to_owned()),
    }
}
