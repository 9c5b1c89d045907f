//! The helper behind its socket: takes connections, starts one process for each conversation, and
//! keeps nobody from being served.
//!
//! Small on purpose: it reads no byte of any caller and no secret of any user.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::audit::{self, Level};
use crate::{caller, sys};

/// The most conversations of one uid at a time. Not of root: sudo and sshd speak for everybody.
const PER_UID: usize = 8;

/// The most conversations of all uids but root's.
const OF_USERS: usize = 64;

/// Takes connections until SIGTERM. In the process of a conversation it returns that conversation; in the
/// listener it returns `None` at the end.
pub fn accept(listener: UnixListener) -> nix::Result<Option<UnixStream>> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    let events = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    listener.set_nonblocking(true).map_err(|_| Errno::last())?;
    let mut conversations = Conversations::default();
    loop {
        let mut fds =
            [PollFd::new(events.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
        while let Ok(Some(event)) = events.read_signal() {
            if event.ssi_signo == Signal::SIGTERM as u32 {
                // The conversations are processes of their own and end by themselves.
                return Ok(None);
            }
        }
        conversations.collect();
        // One for each look at the signals, so that a flood cannot keep the dead from being counted.
        let Ok((stream, _)) = listener.accept() else { continue };
        let Ok(caller) = caller::of(&stream) else { continue };
        if !conversations.admits(caller.uid) {
            // Closed before Hello: root's callers would start a helper of their own, others are told.
            continue;
        }
        match sys::fork() {
            Ok(None) => {
                signals.thread_unblock()?;
                sys::null_input()?;
                stream.set_nonblocking(false).map_err(|_| Errno::last())?;
                return Ok(Some(stream));
            }
            Ok(Some(child)) => conversations.add(child, caller.uid),
            Err(e) => audit::log(Level::Error, &[("event", "listener"), ("reason", e.desc())]),
        }
    }
}

/// Whose conversations go on.
#[derive(Default)]
struct Conversations(HashMap<Pid, u32>);

impl Conversations {
    fn admits(&self, uid: u32) -> bool {
        let users = self.0.values().filter(|of| **of != 0);
        let own = self.0.values().filter(|of| **of == uid);
        uid == 0 || (own.count() < PER_UID && users.count() < OF_USERS)
    }

    fn add(&mut self, child: Pid, uid: u32) {
        self.0.insert(child, uid);
    }

    /// Forgets those that have ended.
    fn collect(&mut self) {
        while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) =
            waitpid(None, Some(WaitPidFlag::WNOHANG))
        {
            self.0.remove(&pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uid_cannot_take_all_and_all_uids_cannot_take_roots() {
        let mut conversations = Conversations::default();
        for n in 0..PER_UID {
            assert!(conversations.admits(1000));
            conversations.add(Pid::from_raw(n as i32 + 1), 1000);
        }
        assert!(!conversations.admits(1000));
        assert!(conversations.admits(1001));
        for n in PER_UID..OF_USERS {
            assert!(conversations.admits(2000 + n as u32));
            conversations.add(Pid::from_raw(n as i32 + 1), 2000 + n as u32);
        }
        assert!(!conversations.admits(1001));
        assert!(conversations.admits(0));
    }
}
