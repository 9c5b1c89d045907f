//! The one program of others that is asked for something: sshd, for its settings.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What the program at a full path prints, with no environment, nothing to read, and no more than so many bytes and so
/// much time. Anything else than an exit with 0 is a failure.
pub fn output_of(program: &str, arguments: &[&str], most: usize, within: Duration) -> Result<Vec<u8>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{program}: {e}");
    #[allow(clippy::disallowed_methods, reason = "a program of the system's, by its absolute path")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| failed(&e))?;
    let said = match child.stdout.take() {
        Some(mut pipe) => read(&mut pipe, most, Instant::now() + within),
        None => Err("it has no output"),
    };
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| failed(&e))?;
    let said = said.map_err(|e| failed(&e))?;
    if status.success() { Ok(said) } else { Err(failed(&status)) }
}

fn read(pipe: &mut (impl Read + AsFd), most: usize, deadline: Instant) -> Result<Vec<u8>, &'static str> {
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err("it does not end"),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.desc()),
        }
        match pipe.read(&mut piece) {
            Ok(0) => return Ok(said),
            Ok(n) => said.extend(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err("its output cannot be read"),
        }
        if said.len() > most {
            return Err("it says too much");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(60);

    #[test]
    fn only_a_program_that_ends_well_in_time_has_said_something() {
        let echo = |text| output_of("/bin/sh", &["-c", text], 10, LATE);
        assert_eq!(echo("echo hello"), Ok(b"hello\n".to_vec()));
        assert_eq!(echo("echo hello; exit 3"), Err(String::from("/bin/sh: exit status: 3")));
        assert_eq!(echo("echo hello world"), Err(String::from("/bin/sh: it says too much")));
        assert_eq!(output_of("/bin/sleep", &["3600"], 10, SOON), Err(String::from("/bin/sleep: it does not end")));
        assert!(output_of("/no/such/program", &[], 10, LATE).is_err());
    }

    #[test]
    fn it_gets_no_environment() {
        assert_eq!(output_of("/usr/bin/env", &[], 1000, LATE), Ok(vec![]));
    }
}
