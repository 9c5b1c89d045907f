//! The helper behind its socket: takes connections, starts one process for each conversation, and
//! keeps nobody from being served.
//!
//! Small on purpose: it reads no byte of any caller and no secret of any user.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use mfa_wire::Secret;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use crate::audit::{self, Level};
use crate::factor::totp::{Code, Parameters, Spent, Totp};
use crate::{caller, sys};

/// The most conversations of one uid at a time. Not of root: sudo and sshd speak for everybody.
const PER_UID: usize = 8;

/// The most conversations of all uids but root's.
const OF_USERS: usize = 64;

/// So many conversations of one uid in a row, and then one for each [`PAUSE`]. Each of them writes to the log, and a
/// log that is full of one user's lines drops those of everybody else's logins.
const IN_A_ROW: u32 = 30;
/// See [`IN_A_ROW`].
const PAUSE: Duration = Duration::from_secs(1);

/// The same for all uids but root's together. Whoever owns 65536 subordinate uids makes a process for each otherwise,
/// and root's callers would wait behind them.
const ALL_IN_A_ROW: u32 = 256;
/// See [`ALL_IN_A_ROW`].
const PAUSE_OF_ALL: Duration = Duration::from_millis(30);

/// So many uids are remembered at a time, at least.
const UIDS: usize = 1024;

/// How long to wait after the kernel has refused a connection (no descriptor, no memory): it would do so at once again.
const BREATH: u8 = 100;

/// Takes connections until SIGTERM. In the process of a conversation it returns that conversation; in the
/// listener it returns `None` at the end.
pub fn accept(listener: UnixListener) -> nix::Result<Option<UnixStream>> {
    warm_up();
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    let events = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    listener.set_nonblocking(true).map_err(|_| Errno::last())?;
    let mut conversations = Conversations::default();
    let mut rates = Rates::default();
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
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::ConnectionAborted, ErrorKind::Interrupted]
                    .contains(&e.kind()) =>
            {
                continue;
            }
            Err(_) => {
                let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], PollTimeout::from(BREATH));
                continue;
            }
        };
        let Ok(caller) = caller::of(&stream) else { continue };
        if !caller.is_root() {
            let admitted = conversations.admits(caller.uid) && rates.admits(caller.uid, Instant::now());
            if !admitted {
                // Closed before Hello: they are told to try again.
                continue;
            }
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

/// Has the libraries ask the CPU what it can, which takes long in a virtual machine, once for all conversations. They
/// inherit the answer, and nothing else: the key is of zeros.
fn warm_up() {
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&Secret::copy_of(b"000000"), 6)) {
        std::hint::black_box(nobody.find(&code, 1, 1, Spent::NOTHING));
    }
    std::hint::black_box(Sha256::digest(b""));
}

/// Whose conversations go on.
#[derive(Default)]
struct Conversations(HashMap<Pid, u32>);

impl Conversations {
    fn admits(&self, uid: u32) -> bool {
        let users = self.0.values().filter(|of| **of != 0);
        let own = self.0.values().filter(|of| **of == uid);
        own.count() < PER_UID && users.count() < OF_USERS
    }

    fn add(&mut self, child: Pid, uid: u32) {
        self.0.insert(child, uid);
    }

    /// Forgets those that have ended.
    fn collect(&mut self) {
        self.0.retain(|pid, _| waitpid(*pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive));
    }
}

/// Until when the last conversations count, one pause for each: of each uid, and of all together.
#[derive(Default)]
struct Rates {
    of: HashMap<u32, Instant>,
    of_all: Option<Instant>,
}

impl Rates {
    fn admits(&mut self, uid: u32, now: Instant) -> bool {
        if self.of.len() >= UIDS {
            self.of.retain(|_, until| *until > now);
        }
        let own = self.of.entry(uid).or_insert(now);
        let next = (*own).max(now) + PAUSE;
        let next_of_all = self.of_all.unwrap_or(now).max(now) + PAUSE_OF_ALL;
        let admitted = next <= now + IN_A_ROW * PAUSE && next_of_all <= now + ALL_IN_A_ROW * PAUSE_OF_ALL;
        if admitted {
            *own = next;
            self.of_all = Some(next_of_all);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uid_cannot_take_all() {
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
    }

    #[test]
    fn a_uid_that_comes_too_often_waits_and_no_other_does() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let in_a_row = (0..100).filter(|_| rates.admits(1000, start)).count();
        assert_eq!(in_a_row, IN_A_ROW as usize);
        assert!(rates.admits(1001, start));
        assert!(!rates.admits(1000, start + PAUSE - Duration::from_millis(1)));
        assert!(rates.admits(1000, start + PAUSE));
        assert!(!rates.admits(1000, start + PAUSE));
        let later = start + 2 * IN_A_ROW * PAUSE;
        assert_eq!((0..100).filter(|_| rates.admits(1000, later)).count(), IN_A_ROW as usize, "no more after a rest");
    }

    #[test]
    fn all_uids_together_come_no_more_often_than_that() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let in_a_row = (1..5000).filter(|uid| rates.admits(*uid, start)).count();
        assert_eq!(in_a_row, ALL_IN_A_ROW as usize);
        assert!(rates.admits(9999, start + PAUSE_OF_ALL));
        assert!(!rates.admits(9998, start + PAUSE_OF_ALL));
    }

    #[test]
    fn thousands_of_uids_are_not_remembered_for_ever() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for uid in 0..5 * UIDS as u32 {
            assert!(rates.admits(uid + 1, start + uid * PAUSE));
        }
        assert!(rates.of.len() <= UIDS);
    }
}
