//! The process of one key, from the helper's side.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mfa_wire::Secret;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, Shutdown, SockType, recv, send, shutdown};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::wire::{Answer, Job, MOST, What};
use crate::sys::child;

/// The argument that starts this program as the process of a key.
pub const ARGUMENT: &CStr = c"--key";

/// How long a process may take to end after its socket is closed. A cancelled key needs a moment to give up.
const END: Duration = Duration::from_secs(1);

/// How long it may take to load the library and to find that there is no key, in milliseconds.
const LOADED: u16 = 5000;

/// The process of one key.
pub struct Process {
    pid: Pid,
    socket: OwnedFd,
    /// It has not answered yet, and may still be talking to its key.
    busy: Cell<bool>,
}

/// The state of the socket.
pub enum Heard {
    Nothing,
    Answer(Answer),
    /// The process has ended, or sent an invalid message.
    Broken,
}

impl Process {
    /// Starts the process for an open device.
    pub fn start(key: BorrowedFd) -> nix::Result<Process> {
        let (pid, socket) = child::start(ARGUMENT, SockType::SeqPacket, Some(key))?;
        Ok(Process { pid, socket, busy: Cell::new(true) })
    }

    /// Sends a job. If that fails, no answer will come.
    pub fn send(&self, job: &Job) {
        self.busy.set(true);
        let _ = send(self.socket.as_raw_fd(), job.encode().bytes(), MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
    }

    /// The message that has come so far. Does not wait.
    pub fn hear(&self) -> Heard {
        let mut packet = Secret::zeroed(MOST);
        // With MSG_TRUNC a longer packet reports its real length, which is then out of range.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        match recv(self.socket.as_raw_fd(), packet.bytes_mut(), flags) {
            Ok(length) => match packet.bytes().get(..length).and_then(Answer::decode) {
                Some(answer) => {
                    self.busy.set(matches!(answer, Answer::Now(_) | Answer::Frame(_)));
                    Heard::Answer(answer)
                }
                None => Heard::Broken,
            },
            Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
            Err(_) => Heard::Broken,
        }
    }

    /// The descriptor to wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Tells it to cancel the exchange with its key, and to end.
    pub fn call_off(&self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }
}

/// Starts a process with /dev/null in place of a key, and reads what it first reports about the library.
pub fn library_loads() -> Result<(), String> {
    let no_process = |e: Errno| format!("no process: {}", e.desc());
    let process = Process::start(child::null().map_err(no_process)?.as_fd()).map_err(no_process)?;
    process.send(&Job { milliseconds: LOADED.into(), debug: false, what: What::Open });
    let _ = poll(&mut [PollFd::new(process.socket(), PollFlags::POLLIN)], PollTimeout::from(LOADED));
    match process.hear() {
        Heard::Answer(Answer::NoLibrary(why)) => Err(why),
        Heard::Answer(_) => Ok(()),
        Heard::Nothing | Heard::Broken => Err(String::from("the process that would load it does not answer")),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.call_off();
        // A process that has answered has nothing left to do: a login does not wait until its libraries are unloaded.
        let end = Instant::now() + END;
        while self.busy.get() && !matches!(self.hear(), Heard::Broken) && Instant::now() < end {
            let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now()));
            let _ = poll(&mut [PollFd::new(self.socket(), PollFlags::POLLIN)], left.unwrap_or(PollTimeout::ZERO));
        }
        // A process that a hostile key has taken over would not end by itself.
        let _ = kill(self.pid, Signal::SIGKILL);
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}
