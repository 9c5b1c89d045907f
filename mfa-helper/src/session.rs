//! Whether the user of a process sits at this host, according to logind's data on its session.

use std::fs;
use std::path::Path;

use mfa_core::Process;

use crate::process::{self, at_once, field, stat};

/// Where logind keeps the state of sessions.
const SESSIONS: &str = "/run/systemd/sessions";

/// The leader of the kernel session of process `pid`, if the session has a terminal. Until the next boot, no other
/// session has this leader. sudo-rs identifies its tickets in this way, and drops them when the leader has ended.
pub fn on_a_terminal(pid: i32) -> Option<Process> {
    let (leader, terminal) = session_and_terminal(&stat(pid)?)?;
    if terminal == 0 { None } else { process::now(leader) }
}

/// The audit session of process `pid`, the boot that it belongs to, and the kernel session of its terminal.
///
/// The audit session alone does not identify a login: everything that a user's service manager starts shares one, and
/// so does a container that was started from a shell. A kernel session is safe: no process can join an existing one.
pub fn audited(pid: i32) -> Option<String> {
    let number = audit_session(&at_once(&format!("/proc/{pid}/sessionid"))?)?;
    let boot = at_once("/proc/sys/kernel/random/boot_id")?;
    Some(format!("{number}:{}:{}", boot.trim_end(), on_a_terminal(pid)?))
}

/// The kernel's value for "no session" becomes `None`.
fn audit_session(text: &str) -> Option<u32> {
    text.trim_end().parse().ok().filter(|number| *number != u32::MAX)
}

fn session_and_terminal(stat: &str) -> Option<(i32, i32)> {
    Some((field(stat, 6)?.try_into().ok()?, field(stat, 7)?.try_into().ok()?))
}

/// Where the user of a process is, as far as the kernel and logind know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At this host.
    Here,
    /// At a terminal of this host, but in no session yet: login(1), before it opens one.
    AtAConsole,
    /// At this host, if polkit asks on behalf of a user.
    ByPolkit,
    /// Elsewhere, or not known.
    Elsewhere,
}

/// Where the user of process `pid` is. `consoles` lists terminals besides the virtual consoles that stand at this
/// host.
///
/// Decided by the control group, because only root can move a process into another user's. A session's group names
/// that session. A user's service manager, under which desktops start programs, serves all sessions of the user, so
/// all of them must be at this host. If systemd started polkit's helper, all sessions of the user that it asks for
/// must be.
pub fn whereabouts(pid: i32, consoles: &[String]) -> Whereabouts {
    let Some(cgroup) = at_once(&format!("/proc/{pid}/cgroup")) else { return Whereabouts::Elsewhere };
    let Some(path) = path_of(&cgroup) else { return Whereabouts::Elsewhere };
    let here = |is: bool, where_then| if is { where_then } else { Whereabouts::Elsewhere };
    if let Some(session) = session_of(path) {
        let is_here = read_session(session).is_some_and(|session| is_in_front(&session, consoles));
        return here(is_here, Whereabouts::Here);
    }
    if let Some(uid) = manager_of(path) {
        return here(is_only_here(uid, consoles), Whereabouts::Here);
    }
    if let Some(uid) = asked_by_polkit_for(path) {
        return here(is_only_here(uid, consoles), Whereabouts::ByPolkit);
    }
    if path.starts_with("/user.slice/") {
        return Whereabouts::Elsewhere;
    }
    // From the kernel: the login program's own claim about its terminal may come from the user.
    let terminal = stat(pid).and_then(|stat| session_and_terminal(&stat)).map(|(_, terminal)| terminal);
    here(terminal.is_some_and(|terminal| is_console(terminal, consoles)), Whereabouts::AtAConsole)
}

/// The user whose slice of control groups process `pid` is in. Only root can move a process into another user's.
pub fn owner_of_slice(pid: i32) -> Option<u32> {
    slice_of(path_of(&at_once(&format!("/proc/{pid}/cgroup"))?)?)
}

fn slice_of(path: &str) -> Option<u32> {
    let (uid, _) = path.strip_prefix("/user.slice/user-")?.split_once(".slice/")?;
    uid.parse().ok()
}

/// The owner of the user namespace of process `pid`, if it is not ours: the first uid in its map that is `known`. A
/// user without privilege can map no other user of ours into a namespace (user_namespaces(7)).
pub fn owner_of_namespace(pid: i32, known: impl Fn(u32) -> bool) -> Option<u32> {
    let map = |of: &str| fs::read_to_string(format!("/proc/{of}/uid_map")).ok();
    let map_of_peer = map(&pid.to_string())?;
    if map_of_peer == map("self")? {
        return None;
    }
    map_of_peer.lines().find_map(|line| first_outside(line).filter(|uid| known(*uid)))
}

/// The first uid of a line of a map, as seen from outside; a line has the uid inside, the uid outside, and a count.
fn first_outside(line: &str) -> Option<u32> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether `uid` has at least one session in front of this host, and none elsewhere.
fn is_only_here(uid: u32, consoles: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(SESSIONS) else { return false };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    // For each session there is also a pipe, which keeps it open.
    let sessions: Option<Vec<String>> =
        names.filter(|name| !name.ends_with(".ref")).map(|n| read_session(&n)).collect();
    sessions.is_some_and(|sessions| are_only_here(&sessions, uid, consoles))
}

fn are_only_here(sessions: &[String], uid: u32, consoles: &[String]) -> bool {
    let uid = uid.to_string();
    // The service manager itself, and jobs such as cron's: no person uses them.
    let is_nobodys = |session: &String| {
        let class = value_of(session, "CLASS").unwrap_or_default();
        (class.starts_with("manager") || class.starts_with("background")) && !is_remote(session)
    };
    let is_theirs = |session: &&String| value_of(session, "UID") == Some(uid.as_str()) && !is_nobodys(session);
    let theirs = || sessions.iter().filter(is_theirs);
    // A session that was left may still run something, at the place where its user was.
    theirs().all(|session| is_at_a_seat(session, consoles) && !is_remote(session))
        && theirs().any(|session| is_in_front(session, consoles))
}

fn read_session(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(SESSIONS).join(name)).ok()
}

/// Whether the terminal with this number is a virtual console (major 4, minor 1 to 63:
/// Documentation/admin-guide/devices.txt) or one of `consoles`.
fn is_console(terminal: i32, consoles: &[String]) -> bool {
    // Packed as described in proc_pid_stat(5).
    let (major, minor) = ((terminal >> 8) & 0xff, (terminal & 0xff) | ((terminal >> 12) & 0xfff00));
    let number = |name: &String| nix::sys::stat::stat(&Path::new("/dev").join(name)).ok().map(|stat| stat.st_rdev);
    let this = nix::sys::stat::makedev(major as u64, minor as u64);
    terminal != 0
        && ((major == 4 && (1..=63).contains(&minor)) || consoles.iter().any(|name| number(name) == Some(this)))
}

/// The session whose scope the process is in: `/user.slice/user-1000.slice/session-3.scope`, or a group below it.
/// Scopes of sessions belong to root, so no user can move a process into another's.
fn session_of(path: &str) -> Option<&str> {
    let mut parts = path.strip_prefix("/user.slice/user-")?.split('/').skip(1);
    let session = parts.next()?.strip_prefix("session-")?.strip_suffix(".scope")?;
    // It is used as the name of a file.
    (!session.is_empty() && session.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(session)
}

/// The user whose service manager the process is under: `/user.slice/user-1000.slice/user@1000.service/`, and below.
fn manager_of(path: &str) -> Option<u32> {
    let mut parts = path.strip_prefix("/user.slice/user-")?.split('/').skip(1);
    parts.next()?.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

/// The user for whom systemd started polkit's helper: the last part of the instance's name is the uid of the process
/// that connected (systemd.socket(5), Accept=). PAM_RUSER there is the user to be authenticated, not this one.
fn asked_by_polkit_for(path: &str) -> Option<u32> {
    let unit = path.strip_prefix("/system.slice/")?.rsplit('/').next()?;
    let instance = unit.strip_prefix("polkit-agent-helper@")?.strip_suffix(".service")?;
    instance.rsplit_once('-')?.1.parse().ok()
}

fn path_of(cgroup: &str) -> Option<&str> {
    // The unified hierarchy or, if there are several, systemd's own.
    cgroup.lines().find_map(|line| line.strip_prefix("0::").or(line.strip_prefix("1:name=systemd:")))
}

/// Whether a session is at a seat or one of `consoles`, is not remote, and is active: not one that was left and still
/// runs something such as tmux, and not one of another user that was switched away from.
fn is_in_front(session: &str, consoles: &[String]) -> bool {
    is_at_a_seat(session, consoles)
        && !is_remote(session)
        && value_of(session, "ACTIVE") == Some("1")
        && value_of(session, "STATE") != Some("closing")
}

fn is_at_a_seat(session: &str, consoles: &[String]) -> bool {
    let at_a_console = value_of(session, "TTY").is_some_and(|tty| consoles.iter().any(|console| console == tty));
    at_a_console || given(session, "SEAT")
}

fn is_remote(session: &str) -> bool {
    value_of(session, "REMOTE") == Some("1") || given(session, "REMOTE_HOST")
}

fn given(session: &str, name: &str) -> bool {
    value_of(session, name).is_some_and(|value| !value.is_empty())
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
        let of = |cgroup| path_of(cgroup).and_then(session_of);
        assert_eq!(of("0::/user.slice/user-1000.slice/session-3.scope\n"), Some("3"));
        assert_eq!(of("12:pids:/x\n1:name=systemd:/user.slice/user-0.slice/session-c2.scope\n0::/\n"), Some("c2"));
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
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_users_manager_and_polkits_helper_are_told_by_their_units() {
        assert_eq!(manager_of("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope"), Some(1000));
        assert_eq!(manager_of("/user.slice/user-1000.slice/session-3.scope"), None);
        assert_eq!(manager_of("/system.slice/user@1000.service"), None);
        let slice = "/system.slice/system-polkit\\x2dagent\\x2dhelper.slice";
        for instance in ["3-4711-1000", "3-9223372036854775807-4711_88-1000"] {
            let path = format!("{slice}/polkit-agent-helper@{instance}.service");
            assert_eq!(asked_by_polkit_for(&path), Some(1000), "{path}");
        }
        let path = "/user.slice/user-1000.slice/user@1000.service/app.slice/polkit-agent-helper@3-4711-1000.service";
        assert_eq!(asked_by_polkit_for(path), None, "a unit of one's own");
        assert_eq!(asked_by_polkit_for("/system.slice/polkit-agent-helper@.service"), None);
    }

    #[test]
    fn whose_a_process_is_is_told_by_its_slice_and_its_namespace() {
        assert_eq!(slice_of("/user.slice/user-1000.slice/session-3.scope"), Some(1000));
        assert_eq!(slice_of("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope"), Some(1000));
        for other in ["/", "/user.slice", "/user.slice/user-x.slice/y", "/system.slice/user-1000.slice/x"] {
            assert_eq!(slice_of(other), None, "{other}");
        }
        assert_eq!(first_outside("         0       1000          1"), Some(1000));
        assert_eq!(first_outside("nonsense"), None);
        let own = std::process::id().cast_signed();
        assert_eq!(owner_of_namespace(own, |_| true), None, "our own is nobody's");
    }

    /// As an unprivileged user makes one: with only that user in it.
    #[test]
    fn another_namespace_is_that_of_the_user_who_is_in_it() {
        let own = nix::unistd::geteuid().as_raw();
        let (at_its_end, end) = nix::unistd::pipe().unwrap();
        let Some(child) = crate::sys::fork().unwrap() else {
            let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_ok();
            let mapped = made && fs::write("/proc/self/uid_map", format!("7 {own} 1\n")).is_ok();
            let _ = nix::unistd::write(&end, if mapped { b"y" } else { b"n" });
            loop {
                nix::unistd::pause();
            }
        };
        let mut answer = [0];
        nix::unistd::read(&at_its_end, &mut answer).unwrap();
        let owner = owner_of_namespace(child.as_raw(), |uid| uid == own);
        let nobody = owner_of_namespace(child.as_raw(), |uid| uid != own);
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(&answer, b"y", "user namespaces are forbidden here: sysctl user.max_user_namespaces");
        assert_eq!((owner, nobody), (Some(own), None));
    }

    #[test]
    fn only_a_seat_that_is_shown_without_anybody_remote_is_here() {
        let here = |session: &str| is_in_front(session, &[]);
        assert!(here(AT_SEAT));
        assert!(!here(""));
        assert!(!here("UID=1000\nREMOTE=0\nACTIVE=1\nTYPE=tty\n"), "no seat");
        let serial = "UID=1000\nREMOTE=0\nACTIVE=1\nTYPE=tty\nTTY=ttyS0\nSTATE=active\n";
        let consoles = [String::from("ttyS0")];
        assert!(!here(serial) && is_in_front(serial, &consoles));
        assert!(!is_in_front(&serial.replace("REMOTE=0", "REMOTE=1"), &consoles));
        assert!(!here("SEAT=\nACTIVE=1\n"));
        assert!(!here(&AT_SEAT.replace("STATE=active", "STATE=closing")));
        assert!(!here(&AT_SEAT.replace("ACTIVE=1", "ACTIVE=0")));
        assert!(!here(&AT_SEAT.replace("REMOTE=0", "REMOTE=1")));
        assert!(!here(&format!("{AT_SEAT}REMOTE_HOST=192.0.2.7\n")));
    }

    #[test]
    fn who_has_a_session_elsewhere_may_be_there() {
        let switched = AT_SEAT.replace("ACTIVE=1", "ACTIVE=0");
        let ssh = "UID=1000\nACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\n".to_owned();
        let left = ssh.replace("STATE=active", "STATE=closing");
        let manager = "UID=1000\nACTIVE=1\nCLASS=manager\nREMOTE=0\n".to_owned();
        let only_here = |sessions: &[&String]| {
            let sessions: Vec<String> = sessions.iter().map(|session| (*session).clone()).collect();
            are_only_here(&sessions, 1000, &[])
        };
        let seat = AT_SEAT.to_owned();
        assert!(only_here(&[&seat]) && only_here(&[&seat, &switched]) && only_here(&[&seat, &manager]));
        assert!(!only_here(&[]) && !only_here(&[&switched]) && !only_here(&[&manager]));
        assert!(!only_here(&[&seat, &ssh]) && !only_here(&[&seat, &left]));
        let other = ssh.replace("UID=1000", "UID=1001");
        assert!(only_here(&[&seat, &other]), "somebody else's");
    }

    #[test]
    fn the_session_and_its_terminal_are_told_whatever_a_program_is_called() {
        let stat = "310 (a) 1 2 3 4) S 300 310 299 34819 310 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 98\n";
        assert_eq!(session_and_terminal(stat), Some((299, 34819)));
        assert_eq!(field(stat, 22), Some(4711));
        for other in ["", "310 (a", "310 (a) S 1 2", "310 (a) S 1 2 x 4"] {
            assert_eq!(session_and_terminal(other), None, "{other}");
        }
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
        assert_eq!(whereabouts(0, &[]), Whereabouts::Elsewhere);
        assert_eq!(whereabouts(-1, &[]), Whereabouts::Elsewhere);
        assert_eq!(audited(0), None);
    }
}
