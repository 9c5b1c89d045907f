//! The facts that the host knows about the login.

use std::ffi::CStr;

use mfa_wire::{Login, MAX_NAME, MAX_PLACE, MAX_TEXT};
use pam::items::{RHost, RUser, Service, Tty, User};
use pam::module::PamHandle;

use crate::arguments::Arguments;
use crate::sys::pam::{getenv, log};
use crate::sys::spawn::are_we_root;

/// The login, or `None` if the host gives no user or service name that we can pass on unchanged.
///
/// `PAM_USER` is taken as it is; pam_get_user would ask for a name. A shortened or repaired name of a user or service
/// could be the name of another, so such a login is refused; rhost, tty and ruser only describe.
pub(crate) fn gather(pam: &PamHandle, arguments: &Arguments) -> Option<Login> {
    let user = pam.get_item::<User>().ok().flatten().and_then(|item| name(item.0));
    let service = pam.get_item::<Service>().ok().flatten().and_then(|item| name(item.0));
    let (Some(user), Some(service)) = (user, service) else {
        log(pam, libc::LOG_ERR, "refused: PAM_USER or PAM_SERVICE is missing, too long or not UTF-8");
        return None;
    };
    let ruser = pam.get_item::<RUser>().ok().flatten().map(|item| description(item.0, MAX_NAME));
    Some(Login {
        ssh_auth_sock: if is_own_sudo(&user, &service, ruser.as_deref()) { agent() } else { None },
        user,
        service,
        rhost: pam.get_item::<RHost>().ok().flatten().map(|item| description(item.0, MAX_PLACE)),
        tty: pam.get_item::<Tty>().ok().flatten().map(|item| description(item.0, MAX_PLACE)),
        ruser,
        // From the PAM environment, which sshd fills; never from the process's own.
        ssh_auth_info: getenv(pam, c"SSH_AUTH_INFO_0").map(methods),
        stack_complete: arguments.stack_complete,
        program: program(),
    })
}

/// The file that this process executes. Only the process itself can always read it: a service without CAP_SYS_PTRACE
/// may not read it of its peer. A path that does not fit is left out; the program then counts as unknown.
fn program() -> Option<String> {
    let path = std::fs::read_link("/proc/self/exe").ok()?.into_os_string().into_string().ok()?;
    (path.len() <= MAX_PLACE).then_some(path)
}

/// Whether sudo asks its own caller. With `targetpw` or `rootpw` it asks for another user: the caller's agent has
/// nothing to do with that user, and that user's helper must not connect to a socket that the caller has named.
fn is_own_sudo(user: &str, service: &str, ruser: Option<&str>) -> bool {
    are_we_root() && matches!(service, "sudo" | "sudo-i") && ruser == Some(user)
}

/// The one thing that is taken from the process's environment: where the ssh agent of sudo's caller may be. It is a
/// hint from the caller and never trusted: the helper connects as the user, and accepts only a signature by a bound
/// key.
///
/// Read with `vars_os`, not getenv(3): sudo replaces getenv(3) with its own, which looks into the environment of the
/// command; by default that has no agent.
#[allow(clippy::disallowed_methods, reason = "an untrusted hint, as said above")]
fn agent() -> Option<String> {
    let (_, path) = std::env::vars_os().find(|(name, _)| name == "SSH_AUTH_SOCK")?;
    let path = path.into_string().ok()?;
    (path.starts_with('/') && path.len() <= MAX_PLACE).then_some(path)
}

fn name(raw: &CStr) -> Option<String> {
    raw.to_str().ok().filter(|name| !name.is_empty() && name.len() <= MAX_NAME).map(str::to_owned)
}

fn description(raw: &CStr, limit: usize) -> String {
    let text = raw.to_string_lossy();
    let end = (0..=limit.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    text[..end].to_owned()
}

/// A list that is too long becomes "?": sshd, but methods unknown. A shortened list would be wrong about the accepted
/// methods, and an empty one would say that there were none.
fn methods(raw: &CStr) -> String {
    let text = raw.to_string_lossy();
    if text.len() > MAX_TEXT { String::from("?") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn c(bytes: impl Into<Vec<u8>>) -> CString {
        CString::new(bytes).unwrap()
    }

    #[test]
    fn name_is_never_cut_or_mended() {
        assert_eq!(name(c"alice").as_deref(), Some("alice"));
        assert_eq!(name(&c(vec![b'a'; MAX_NAME])).map(|n| n.len()), Some(MAX_NAME));
        assert_eq!(name(&c(vec![b'a'; MAX_NAME + 1])), None, "cut: the name of somebody else");
        assert_eq!(name(c"al\xffice"), None, "mended: the name of somebody else");
        assert_eq!(name(c""), None);
    }

    #[test]
    fn description_is_mended_and_cut_between_characters() {
        assert_eq!(description(c"10.0.0.1", 99), "10.0.0.1");
        assert_eq!(description(c"a\xffb", 99), "a\u{fffd}b");
        assert_eq!(description(&c("aé".repeat(9)), 2), "a", "cut inside a character");
    }

    #[test]
    fn overlong_list_of_methods_is_present_and_unknown() {
        assert_eq!(methods(&c(vec![b'a'; MAX_TEXT])).len(), MAX_TEXT);
        assert_eq!(methods(&c(vec![b'a'; MAX_TEXT + 1])), "?");
    }
}
