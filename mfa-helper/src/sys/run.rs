//! Runs a program of the system and reads its output: sshd and cvtsudoers, for their settings.

use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::pipe2;

use super::child;

/// The output of the program at a full path, which runs without an environment and without input. Fails if it prints
/// more than `most` bytes, takes longer than `within`, or does not exit with 0.
pub fn output_of(program: &CStr, arguments: &[&CStr], most: usize, within: Duration) -> Result<Vec<u8>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", program.to_string_lossy());
    let system = |e: Errno| failed(&e.desc());
    let (null, (pipe, theirs)) = (child::null().map_err(system)?, pipe2(OFlag::O_CLOEXEC).map_err(system)?);
    let process = child::execute(program, arguments, &[null.as_fd(), theirs.as_fd(), null.as_fd()]).map_err(system)?;
    drop(theirs);
    let said = read(&mut File::from(pipe), most, Instant::now() + within);
    if said.is_err() {
        let _ = kill(process, Signal::SIGKILL);
    }
    let status = waitpid(process, None).map_err(system)?;
    match (said, status) {
        (Ok(said), WaitStatus::Exited(_, 0)) => Ok(said),
        (Err(e), _) => Err(failed(&e)),
        (_, WaitStatus::Exited(_, code)) => Err(failed(&format!("exit status: {code}"))),
        (_, status) => Err(failed(&format!("{status:?}"))),
    }
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
        let echo = |text: &CStr| output_of(c"/bin/sh", &[c"-c", text], 10, LATE);
        assert_eq!(echo(c"echo hello"), Ok(b"hello\n".to_vec()));
        assert_eq!(echo(c"echo hello; exit 3"), Err(String::from("/bin/sh: exit status: 3")));
        assert_eq!(echo(c"echo hello world"), Err(String::from("/bin/sh: it says too much")));
        assert_eq!(output_of(c"/bin/sleep", &[c"3600"], 10, SOON), Err(String::from("/bin/sleep: it does not end")));
        assert!(output_of(c"/no/such/program", &[], 10, LATE).is_err());
    }

    #[test]
    fn it_gets_no_environment() {
        assert_eq!(output_of(c"/usr/bin/env", &[], 1000, LATE), Ok(vec![]));
    }
}
