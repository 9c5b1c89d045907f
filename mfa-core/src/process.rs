//! A process, identified so that a later process with the same number is not taken for it.

use std::fmt;

/// A process: its number, and its start time in ticks since the host booted. No two processes of one boot share both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub started: u64,
}

impl Process {
    /// Reads what [`Display`](fmt::Display) writes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_it_is_written_and_in_no_other_way() {
        let process = Process { pid: 4711, started: 361_877 };
        assert_eq!(Process::parse(&process.to_string()), Some(process));
        for word in ["", "1", "1:", ":1", "+1:2", "01:2", "0:5", "1:-2", "1:2:3", " 1:2"] {
            assert_eq!(Process::parse(word), None, "{word}");
        }
    }
}
