//! The program that a login uses, and the programs that are known to run all phases of a login.
//!
//! This guards against a careless program of root's: one that names a service (`login`, the default of python-pam
//! 1.8.4) and calls no account phase, so that a hand-over from auth would let it in with the first factor alone. A
//! hostile program of root's needs no login. So a claim is enough here, but only root's claim.

use std::path::Path;

use mfa_wire::{Login, printable};

use crate::rootfile::Dir;

/// Programs that are known to call the account phase before they let a user in, and to open a session.
pub const KNOWN: [&str; 6] = ["sshd", "sshd-session", "login", "su", "sudo", "sudo-rs"];

/// Programs that execute other files: to trust one of them would be to trust all those files.
const INTERPRETERS: [&str; 25] = [
    "ash", "awk", "bash", "busybox", "dash", "env", "expect", "gawk", "guile", "java", "ksh", "lua", "luajit", "mawk",
    "mksh", "mono", "node", "nodejs", "perl", "php", "python", "ruby", "sh", "tclsh", "zsh",
];

/// Whether `name` is the name of an interpreter, in any version: python3, python3.11, perl5.36-x86_64-linux.
pub fn is_interpreter(name: &str) -> bool {
    let end = name.find(|c: char| c.is_ascii_digit() || c == '-' || c == '.').unwrap_or(name.len());
    INTERPRETERS.contains(&&name[..end]) || name.starts_with("ld-") || name.starts_with("ld.")
}

/// Whether the program at `path`, the calling process's executable file as the kernel names it, is a known one or one
/// of `more`. The error says why not.
pub fn is_known(path: Option<&str>, more: &[String]) -> Result<(), String> {
    let path = path.ok_or("the calling program is not known: is /proc mounted?")?;
    let path = without_mark(path);
    let shown = printable(path, 100);
    let (folder, name) = path.rsplit_once('/').ok_or_else(|| format!("{shown} is no path"))?;
    if !KNOWN.contains(&name) && !more.iter().any(|listed| listed == name) {
        return Err(format!("{shown} is none of [enroll] programs"));
    }
    let folder = if folder.is_empty() { "/" } else { folder };
    // If others could write the file, its known name would prove nothing.
    let dir = Dir::open(Path::new(folder)).map_err(|fault| fault.to_string())?;
    dir.is_roots_own(name).map_err(|fault| fault.to_string())
}

/// Whether the file at `path` has a name of sudo's. `sudo.ws` is the older sudo beside sudo-rs.
fn is_sudo_file(path: &str) -> bool {
    matches!(without_mark(path).rsplit('/').next(), Some("sudo" | "sudo-rs" | "sudo.ws"))
}

/// The path without the kernel's mark for a file that a package upgrade has replaced.
fn without_mark(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// Whether the login is sudo's, so that sudo's own settings apply. By the service, or by the program, because the
/// settings can name another service (`pam_service`).
pub fn is_sudo(login: &Login) -> bool {
    is_service_of_sudo(&login.service) || login.program.as_deref().is_some_and(is_sudo_file)
}

pub fn is_service_of_sudo(service: &str) -> bool {
    matches!(service, "sudo" | "sudo-i")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn interpreters_are_told_whatever_their_version() {
        for name in [
            "python",
            "python3",
            "python3.11",
            "perl5.36-x86_64-linux-gnu",
            "sh",
            "bash",
            "node",
            "php8.2",
            "ld-linux-x86-64.so.2",
            "busybox",
        ] {
            assert!(is_interpreter(name), "{name}");
        }
        for name in ["sshd", "dropbear", "cockpit-session", "doas", "shadow-login", "perlogin"] {
            assert!(!is_interpreter(name), "{name}");
        }
    }

    #[test]
    fn sudo_is_told_by_its_name_wherever_it_is() {
        for path in ["/usr/bin/sudo", "/usr/bin/sudo (deleted)", "/usr/lib/cargo/bin/sudo", "/usr/bin/sudo-rs", "sudo"]
        {
            assert!(is_sudo_file(path), "{path}");
        }
        for path in ["/usr/bin/su", "/opt/sudo/bin/login", "/usr/bin/sudoreplay", ""] {
            assert!(!is_sudo_file(path), "{path}");
        }
    }

    #[test]
    #[ignore = "needs root: make unit"]
    fn a_program_is_known_by_its_name_where_only_root_could_have_put_it() {
        let folder = Path::new("/run/mfa-test-program");
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).unwrap();
        for name in ["login", "dropbear", "python3"] {
            std::fs::write(folder.join(name), "").unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o4755)).unwrap();
        }
        symlink("login", folder.join("su")).unwrap();
        let more = [String::from("dropbear")];
        let known = |path: &str| is_known(Some(path), &more).is_ok();
        assert!(known("/run/mfa-test-program/login") && known("/run/mfa-test-program/dropbear"));
        assert!(known("/run/mfa-test-program/login (deleted)"), "an upgrade under a running login");
        for path in [
            "/run/mfa-test-program/python3",
            "/run/mfa-test-program/sudo",
            "/run/mfa-test-program/su",
            "login",
            "",
            "/",
        ] {
            assert!(!known(path), "{path}");
        }
        assert!(is_known(None, &more).is_err() && is_known(Some("/run/mfa-test-program/dropbear"), &[]).is_err());
        std::fs::set_permissions(folder.join("login"), std::fs::Permissions::from_mode(0o775)).unwrap();
        assert!(!known("/run/mfa-test-program/login"), "its group may write it");
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!known("/run/mfa-test-program/dropbear"), "anybody may replace it");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
