//! Processes, from /proc.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use mfa_core::Process;

/// This process.
pub fn own() -> Option<Process> {
    now(std::process::id().cast_signed())
}

/// The process that has this number now. `None` if it cannot be determined.
pub fn now(pid: i32) -> Option<Process> {
    Some(Process { pid, started: field(&stat(pid)?, 22)?.try_into().ok()? })
}

/// The parent of the process. `None` if it cannot be determined, for example because it is outside our container.
pub fn parent(process: Process) -> Option<Process> {
    now(field(&stat(process.pid)?, 4)?.try_into().ok()?)
}

/// Whether it has ended (its number may already belong to another process). False if /proc cannot be read.
pub fn is_gone(process: Process) -> bool {
    match now(process.pid) {
        Some(now) => now != process,
        None => Path::new("/proc/self/stat").exists() && !Path::new(&format!("/proc/{}", process.pid)).exists(),
    }
}

/// The uid by which the process's login was made, which the kernel keeps over su and sudo. `None` if there was no login,
/// or the kernel keeps no such number.
pub fn login_uid(pid: i32) -> Option<u32> {
    let uid = at_once(&format!("/proc/{pid}/loginuid"))?.trim_end().parse().ok()?;
    // The kernel's value for "not set".
    if uid == u32::MAX { None } else { Some(uid) }
}

/// How much of an environment is read, in bytes.
const ENVIRONMENT: u64 = 128 * 1024;

/// A variable of the environment that the process was started with. Its parent could write into it anything it liked.
pub fn variable(pid: i32, name: &str) -> Option<String> {
    let mut environment = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRONMENT).read_to_end(&mut environment).ok()?;
    // Each variable ends with a zero. One that does not was cut off by the limit, and its value would be another one.
    let end = environment.iter().rposition(|byte| *byte == 0)?;
    let mut variables = environment[..end].split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The line of proc_pid_stat(5) for the process that has this number now.
pub fn stat(pid: i32) -> Option<String> {
    // The kernel gives 0 for a process that we cannot see, as a parent in /proc/PID/stat or as the peer of a socket.
    if pid > 0 { at_once(&format!("/proc/{pid}/stat")) } else { None }
}

/// The longest piece that is read at once.
const PIECE: usize = 4096;

/// The text of a file that the kernel makes whole when it is read: a number, or one of those that are `ONE` in its
/// fs/proc/base.c, such as stat and cgroup. A read that fills less than there is room for has got all of it; the standard
/// library would ask for its size, which is 0, and read it in small pieces. Files of several records, such as uid_map, may
/// come in pieces of any size, and are not for this function.
pub fn at_once(path: &str) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let mut text = vec![0; PIECE];
    let length = loop {
        match file.read(&mut text) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => break read.ok()?,
        }
    };
    text.truncate(length);
    if length == PIECE {
        file.read_to_end(&mut text).ok()?;
    }
    String::from_utf8(text).ok()
}

/// The field with this number. Field 2, the program's name, may contain anything, and ends at the last bracket.
pub fn field(stat: &str, number: usize) -> Option<i64> {
    let (_, after_the_name) = stat.rsplit_once(") ")?;
    after_the_name.split(' ').nth(number - 3)?.trim_end().parse().ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a process with an environment to look at")]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn this_process_and_its_parent_are_told() {
        let this = own().unwrap();
        assert_eq!(this.pid, std::process::id().cast_signed());
        assert_eq!(parent(this).unwrap().pid, nix::unistd::getppid().as_raw());
        assert!(now(0).is_none() && now(-1).is_none());
    }

    #[test]
    fn a_file_is_read_whole_however_long_it_is() {
        for name in ["cgroup", "loginuid"] {
            let path = format!("/proc/self/{name}");
            assert_eq!(at_once(&path), fs::read_to_string(&path).ok(), "{name}");
        }
        let file = std::env::temp_dir().join(format!("mfa-test-at-once-{}", std::process::id()));
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
            fs::write(&file, "x".repeat(length)).unwrap();
            assert_eq!(at_once(file.to_str().unwrap()).map(|text| text.len()), Some(length));
        }
        fs::write(&file, b"\xff").unwrap();
        assert_eq!((at_once(file.to_str().unwrap()), at_once("/proc/no-such")), (None, None));
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let this = std::process::id().cast_signed();
        assert!(variable(this, "PATH").is_some_and(|path| path.contains("/bin")));
        assert_eq!(variable(this, "PAT"), None);
        assert_eq!(variable(4_194_305, "PATH"), None);
        assert_eq!(login_uid(4_194_305), None);
    }

    #[test]
    fn no_more_than_the_limit_is_read_of_an_environment_and_no_value_is_cut() {
        let padding = "x".repeat(100_000);
        let found = |last: &str| {
            let variables = [("A", padding.as_str()), ("B", "b"), ("C", last), ("D", "d")];
            let mut command = Command::new("/bin/cat");
            command.env_clear().envs(variables).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut cat = command.spawn().unwrap();
            // What it gives back shows that it runs, and so that the kernel has its environment.
            cat.stdin.as_mut().unwrap().write_all(b".").unwrap();
            cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let found = ["B", "C", "D"].map(|name| variable(cat.id().cast_signed(), name).map(|value| value.len()));
            drop(cat.stdin.take());
            cat.wait().unwrap();
            found
        };
        assert_eq!(found("c"), [Some(1); 3]);
        assert_eq!(found(&padding), [Some(1), None, None]);
    }

    #[test]
    fn a_process_is_gone_when_another_has_its_number_or_nobody() {
        let this = own().unwrap();
        assert!(!is_gone(this) && is_gone(Process { started: this.started + 1, ..this }));
        assert!(is_gone(Process { pid: 4_194_305, started: 1 }), "more than the kernel gives");
    }
}
