//! A process that will be known again.

use std::fmt;
use std::fs;

use crate::session::field;

/// A process: its number, and when it was started, in ticks since the host was. No other one has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub started: u64,
}

impl Process {
    /// The one that has this number now. `None` where that cannot be told.
    pub fn now(pid: i32) -> Option<Process> {
        Process::of(pid, &stat(pid)?)
    }

    /// The one that has started it. `None` where that cannot be told, such as outside of a container.
    pub fn parent(self) -> Option<Process> {
        Process::now(field(&stat(self.pid)?, 4)?.try_into().ok()?)
    }

    fn of(pid: i32, stat: &str) -> Option<Process> {
        Some(Process { pid, started: field(stat, 22)?.try_into().ok()? })
    }

    /// As [`Display`](fmt::Display) writes it.
    pub fn parse(word: &str) -> Option<Process> {
        let (pid, started) = word.split_once(':')?;
        let process = Process { pid: pid.parse().ok()?, started: started.parse().ok()? };
        (process.pid > 0 && process.to_string() == word).then_some(process)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.started)
    }
}

fn stat(pid: i32) -> Option<String> {
    // The kernel says 0 of a process that this one cannot see.
    if pid > 0 { fs::read_to_string(format!("/proc/{pid}/stat")).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_parent_are_told() {
        let pid = std::process::id().cast_signed();
        let own = Process::now(pid).unwrap();
        assert_eq!((own.pid, Process::now(pid)), (pid, Some(own)));
        assert_eq!(own.parent().unwrap().pid, nix::unistd::getppid().as_raw());
        assert_eq!(Process::parse(&own.to_string()), Some(own));
        assert!(Process::now(0).is_none() && Process::now(-1).is_none());
        for word in ["", "1", "1:", ":1", "+1:2", "01:2", "0:5", "1:-2", "1:2:3", " 1:2"] {
            assert_eq!(Process::parse(word), None, "{word}");
        }
    }
}
