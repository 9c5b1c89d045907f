//! A process that will be known again.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process: its number, and when it was started, in ticks since the host was. No other one of the same boot has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub started: u64,
}

impl Process {
    /// This one.
    pub fn own() -> Option<Process> {
        Process::now(std::process::id().cast_signed())
    }

    /// The one that has this number now. `None` where that cannot be told.
    pub fn now(pid: i32) -> Option<Process> {
        Some(Process { pid, started: field(&stat(pid)?, 22)?.try_into().ok()? })
    }

    /// The one that has started it. `None` where that cannot be told, such as outside of a container.
    pub fn parent(self) -> Option<Process> {
        Process::now(field(&stat(self.pid)?, 4)?.try_into().ok()?)
    }

    /// Whether it is there no more, and whoever has its number is another. Where nothing can be seen, nothing is gone.
    pub fn is_gone(self) -> bool {
        match Process::now(self.pid) {
            Some(now) => now != self,
            None => Path::new("/proc/self/stat").exists() && !Path::new(&format!("/proc/{}", self.pid)).exists(),
        }
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

/// The id of this boot.
pub fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    is_boot(id.trim_end()).then(|| id.trim_end().to_owned())
}

/// Whether it is such an id in form.
pub fn is_boot(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

/// What proc_pid_stat(5) says of the process that has this number now.
pub fn stat(pid: i32) -> Option<String> {
    // The kernel says 0 of a process that this one cannot see.
    if pid > 0 { fs::read_to_string(format!("/proc/{pid}/stat")).ok() } else { None }
}

/// A field of it by its number there. The second, the program's name, may hold anything, and ends at the last bracket.
pub fn field(stat: &str, number: usize) -> Option<i64> {
    let (_, after_the_name) = stat.rsplit_once(") ")?;
    after_the_name.split(' ').nth(number - 3)?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_parent_are_told() {
        let own = Process::own().unwrap();
        assert_eq!(own.pid, std::process::id().cast_signed());
        assert_eq!(own.parent().unwrap().pid, nix::unistd::getppid().as_raw());
        assert_eq!(Process::parse(&own.to_string()), Some(own));
        assert!(Process::now(0).is_none() && Process::now(-1).is_none());
        for word in ["", "1", "1:", ":1", "+1:2", "01:2", "0:5", "1:-2", "1:2:3", " 1:2"] {
            assert_eq!(Process::parse(word), None, "{word}");
        }
    }
    #[test]
    fn a_process_is_gone_when_another_has_its_number_or_nobody() {
        let own = Process::own().unwrap();
        assert!(!own.is_gone() && Process { started: own.started + 1, ..own }.is_gone());
        assert!(Process { pid: 4_194_305, started: 1 }.is_gone(), "more than the kernel gives");
    }
}
