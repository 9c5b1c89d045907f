//! Whether a process sits at this host: logind's word about the session that it belongs to.

use std::fs;
use std::path::Path;

/// Where logind says what sessions there are.
const SESSIONS: &str = "/run/systemd/sessions";

/// The session of process `pid` that has a terminal, by its leader and when that was started: no other session has both,
/// until the next boot. This is what sudo-rs knows its tickets by.
pub fn on_a_terminal(pid: i32) -> Option<String> {
    let stat = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let (leader, terminal) = session_and_terminal(&stat(pid)?)?;
    let started = field(&stat(leader)?, 22)?;
    (leader > 0 && terminal != 0).then(|| format!("{leader}:{started}"))
}

/// Whether the leader of such a session is gone. sudo-rs finds none of its tickets then, and whoever has its pid next is
/// another.
pub fn is_over(session: &str) -> bool {
    let Some((leader, started)) = session.split_once(':') else { return false };
    match fs::read_to_string(format!("/proc/{leader}/stat")) {
        Ok(stat) => field(&stat, 22).is_some_and(|now| now.to_string() != started),
        // Where nothing can be seen, nothing is over.
        Err(_) => Path::new("/proc/self/stat").exists() && !Path::new("/proc").join(leader).exists(),
    }
}

/// The audit session of process `pid`, the boot that it belongs to, and the session of its terminal.
///
/// The audit session alone is not one login: all that a user's service manager starts is in one, for any process of that
/// user, and so is all of a container that was started from a shell. Nobody enters a session of the kernel that is there.
pub fn audited(pid: i32) -> Option<String> {
    let number = audit_session(&fs::read_to_string(format!("/proc/{pid}/sessionid")).ok()?)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{number}:{}:{}", boot.trim_end(), on_a_terminal(pid)?))
}

/// What no session has, as the kernel says it, is none.
fn audit_session(text: &str) -> Option<u32> {
    text.trim_end().parse().ok().filter(|number| *number != u32::MAX)
}

fn session_and_terminal(stat: &str) -> Option<(i32, i32)> {
    Some((field(stat, 6)?.try_into().ok()?, field(stat, 7)?.try_into().ok()?))
}

/// A field by its number in proc_pid_stat(5). The second, the program's name, may hold anything, and ends at the last
/// bracket.
fn field(stat: &str, number: usize) -> Option<i64> {
    let (_, after_the_name) = stat.rsplit_once(") ")?;
    after_the_name.split(' ').nth(number - 3)?.trim_end().parse().ok()
}

/// Whether whoever uses process `pid` sits at this host: it belongs to a session at a seat, with nobody remote behind it, or
/// to none yet (a login before its session is there) and its terminal is the host's own. Whatever cannot be told is not
/// local, and so is what runs under the user's own service manager: it serves all of the user's sessions.
///
/// `consoles` are terminals besides the virtual consoles at which one sits at this host.
pub fn is_local(pid: i32, consoles: &[String]) -> bool {
    let Ok(cgroup) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    if let Some(session) = session_of(&cgroup) {
        return read_session(session).is_some_and(|session| is_at_a_seat(&session, consoles));
    }
    if path_of(&cgroup).is_none_or(|path| path.starts_with("/user.slice/")) {
        return false;
    }
    // By the kernel's word: what a program says of its terminal may be what it was given.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    session_and_terminal(&stat).is_some_and(|(_, terminal)| is_console(terminal, consoles))
}

/// Whether all that `uid` has going on here is at a seat of this host, in some session at least. For who asks on behalf of
/// one of that user's sessions and does not say of which.
pub fn is_only_local(uid: u32, consoles: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(SESSIONS) else { return false };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // Beside each session with a number stands a pipe by which it is held.
    let sessions = names.filter(|name| !name.ends_with(".ref")).map(|name| read_session(&name));
    let mut found = false;
    for session in sessions {
        let Some(session) = session else { return false };
        let is = |name, value: &str| value_of(&session, name) == Some(value);
        if !is("UID", &uid.to_string()) || value_of(&session, "CLASS").is_some_and(|class| class.starts_with("manager"))
        {
            continue;
        }
        if is("REMOTE", "1") || !is_at_a_seat(&session, consoles) && !is("STATE", "closing") {
            return false;
        }
        found = true;
    }
    found
}

fn read_session(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(SESSIONS).join(name)).ok()
}

/// Whether this terminal, by its number, is a virtual console (major 4, minor 1 to 63, Documentation/admin-guide/devices.txt)
/// or one of `consoles`.
fn is_console(terminal: i32, consoles: &[String]) -> bool {
    // As proc_pid_stat(5) packs it.
    let (major, minor) = ((terminal >> 8) & 0xff, (terminal & 0xff) | ((terminal >> 12) & 0xfff00));
    let number = |name: &String| nix::sys::stat::stat(&Path::new("/dev").join(name)).ok().map(|stat| stat.st_rdev);
    let this = nix::sys::stat::makedev(major as u64, minor as u64);
    terminal != 0
        && ((major == 4 && (1..=63).contains(&minor)) || consoles.iter().any(|name| number(name) == Some(this)))
}

/// The session whose scope the process is in: `/user.slice/user-1000.slice/session-3.scope`, with nothing or anything
/// below it. A session's scope belongs to root, so nobody moves a process of theirs into another's.
fn session_of(cgroup: &str) -> Option<&str> {
    let mut parts = path_of(cgroup)?.strip_prefix("/user.slice/user-")?.split('/').skip(1);
    let session = parts.next()?.strip_prefix("session-")?.strip_suffix(".scope")?;
    // It becomes the name of a file.
    (!session.is_empty() && session.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(session)
}

fn path_of(cgroup: &str) -> Option<&str> {
    // The unified hierarchy, or systemd's own where there are several.
    cgroup.lines().find_map(|line| line.strip_prefix("0::").or(line.strip_prefix("1:name=systemd:")))
}

fn is_at_a_seat(session: &str, consoles: &[String]) -> bool {
    let value = |name| value_of(session, name);
    let given = |name| value(name).is_some_and(|value| !value.is_empty());
    let at_a_console = value("TTY").is_some_and(|tty| consoles.iter().any(|console| console == tty));
    // A session that is left but for what goes on in it, such as tmux, is at no seat any more.
    (given("SEAT") || at_a_console)
        && value("STATE") != Some("closing")
        && value("REMOTE") != Some("1")
        && !given("REMOTE_HOST")
}

fn value_of<'a>(session: &'a str, name: &str) -> Option<&'a str> {
    session.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_SEAT: &str =
        "# Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nSTATE=active\nREMOTE=0\nTYPE=tty\nSEAT=seat0\nTTY=tty1\n";

    #[test]
    fn a_session_is_told_by_its_scope() {
        assert_eq!(session_of("0::/user.slice/user-1000.slice/session-3.scope\n"), Some("3"));
        assert_eq!(
            session_of("12:pids:/x\n1:name=systemd:/user.slice/user-0.slice/session-c2.scope\n0::/\n"),
            Some("c2")
        );
        for other in [
            "",
            "0::/",
            "0::/system.slice/cron.service",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope",
            "0::/user.slice/user-1000.slice/user@1000.service/session-3.scope",
            "0::/system.slice/session-3.scope",
            "0::/user.slice/user-1000.slice/session-../x.scope",
            "0::/user.slice/user-1000.slice/session-.scope",
        ] {
            assert_eq!(session_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_seat_without_anybody_remote_is_local() {
        assert!(is_at_a_seat(AT_SEAT, &[]));
        assert!(!is_at_a_seat("", &[]));
        assert!(!is_at_a_seat("UID=1000\nREMOTE=0\nTYPE=tty\n", &[]), "no seat");
        let serial = "UID=1000\nREMOTE=0\nTYPE=tty\nTTY=ttyS0\nSTATE=active\n";
        assert!(!is_at_a_seat(serial, &[]) && is_at_a_seat(serial, &[String::from("ttyS0")]));
        assert!(!is_at_a_seat(&serial.replace("REMOTE=0", "REMOTE=1"), &[String::from("ttyS0")]));
        assert!(!is_at_a_seat("SEAT=\n", &[]));
        assert!(!is_at_a_seat(&AT_SEAT.replace("STATE=active", "STATE=closing"), &[]));
        assert!(!is_at_a_seat(&AT_SEAT.replace("REMOTE=0", "REMOTE=1"), &[]));
        assert!(!is_at_a_seat(&format!("{AT_SEAT}REMOTE_HOST=192.0.2.7\n"), &[]));
    }

    #[test]
    fn the_session_and_its_terminal_are_told_whatever_a_program_is_called() {
        let stat = "310 (a) 1 2 3 4) S 300 310 299 34819 310 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 98\n";
        assert_eq!(session_and_terminal(stat), Some((299, 34819)));
        assert_eq!(field(stat, 22), Some(4711));
        for other in ["", "310 (a", "310 (a) S 1 2", "310 (a) S 1 2 x 4"] {
            assert_eq!(session_and_terminal(other), None, "{other}");
        }
        let mine = std::process::id();
        let started = field(&fs::read_to_string("/proc/self/stat").unwrap(), 22).unwrap();
        assert!(!is_over(&format!("{mine}:{started}")) && is_over(&format!("{mine}:{}", started + 1)));
        assert!(is_over("4194305:1"), "more than the kernel gives");
        assert!(!is_over("nonsense"));
        assert_eq!(on_a_terminal(0), None);
        assert_eq!(on_a_terminal(-1), None);
    }

    #[test]
    fn a_virtual_console_is_told_by_its_number() {
        let number = |major: i32, minor: i32| (major << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12);
        assert!(is_console(number(4, 1), &[]) && is_console(number(4, 63), &[]));
        for (major, minor) in [(4, 0), (4, 64), (4, 257), (136, 1), (5, 1), (0, 0)] {
            assert!(!is_console(number(major, minor), &[]), "{major}:{minor}");
        }
        // /dev/null is 1:3.
        assert!(is_console(number(1, 3), &[String::from("null")]) && !is_console(number(1, 3), &[String::from("no")]));
    }

    #[test]
    fn what_is_in_no_audit_session_has_none() {
        assert_eq!(audit_session("3\n"), Some(3));
        for none in ["4294967295", "4294967295\n", "", "-1", "x"] {
            assert_eq!(audit_session(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_not_local() {
        assert!(!is_local(0, &[]));
        assert!(!is_local(-1, &[]));
        assert_eq!(audited(0), None);
    }
}
