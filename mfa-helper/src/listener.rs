//! The helper behind its sockets: accepts connections, starts one process for each conversation, and makes sure that
//! no caller can keep others from being served.
//!
//! Root's callers have their own socket, which nobody else can reach, so no users are in their queue. This code is
//! small on purpose: it reads no byte from callers and no secret of a user, and does not use the name service.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use mfa_core::totp::{Code, Parameters, Spent, Totp};
use mfa_wire::Secret;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use crate::audit::{self, Level};
use crate::caller::Caller;
use crate::factor::usb::MOST_PLUGGED;
use crate::payer::{Accounts, Payer};
use crate::{caller, sys};

/// The most processes of the service: TasksMax= of packaging/systemd/mfa-helper.service.
const TASKS: usize = 2048;

/// The most processes of one conversation: itself, and one for each security key. The other cases need fewer: libpam
/// and a program of one of its modules, sshd -T, or the process that connects to an agent.
const OF_ONE: usize = 1 + MOST_PLUGGED;

/// The listener itself, and the conversation in which it tests itself.
const OWN: usize = 1 + OF_ONE;

/// The most conversations of one payer at a time. Root has no such limit: sudo and sshd speak for everybody.
const PER_PAYER: usize = 8;

/// The most conversations of all uids except root's.
const OF_USERS: usize = 64;

/// The most conversations of root's: what is left when all others use their limit, so that neither can use up the
/// processes of the other. Beyond this, root's callers start their own helper.
const OF_ROOT: usize = (TASKS - OWN - OF_USERS * OF_ONE) / OF_ONE;

/// The most conversations of one payer in a row; after that, one for each [`PAUSE`]. Each writes to the log, and a
/// log that is full of one user's lines drops the lines of all other logins.
const IN_A_ROW: u32 = 30;
/// See [`IN_A_ROW`].
const PAUSE: Duration = Duration::from_secs(1);

/// The most in a row for all uids that have a name, except root's, together.
const ALL_IN_A_ROW: u32 = 256;
/// See [`ALL_IN_A_ROW`].
const PAUSE_OF_ALL: Duration = Duration::from_millis(30);

/// At least this many payers are remembered at a time.
const PAYERS: usize = 1024;

/// How long to wait, in milliseconds, after the kernel has refused a connection (no descriptor, no memory). The next
/// try would fail at once too.
const BREATH: u8 = 100;

/// How often to log that conversations could not be started.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Accepts connections until SIGTERM. Returns the connection in the process of a conversation, and `None` in the
/// listener at the end. `trial` is the process in which the service tests itself; it is collected here.
pub fn accept(listeners: Vec<UnixListener>, trial: Option<Pid>) -> nix::Result<Option<UnixStream>> {
    warm_up();
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    let events = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    for listener in &listeners {
        listener.set_nonblocking(true).map_err(|_| Errno::last())?;
    }
    let mut admission = Admission::default();
    if let Some(trial) = trial {
        admission.conversations.add(trial, 0, Payer::Root);
    }
    loop {
        let doors = listeners.iter().map(AsFd::as_fd);
        let mut fds: Vec<PollFd> =
            [events.as_fd()].into_iter().chain(doors).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
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
        admission.collect();
        // One connection from each socket, then signals again: a flood at one socket delays neither the other socket
        // nor the collection of ended processes.
        for listener in &listeners {
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
            if admission.starts(&stream)? {
                signals.thread_unblock()?;
                sys::null_input()?;
                stream.set_nonblocking(false).map_err(|_| Errno::last())?;
                return Ok(Some(stream));
            }
        }
    }
}

/// Decides which callers are admitted.
struct Admission {
    conversations: Conversations,
    rates: Rates,
    accounts: Accounts,
    refused_forks: Seldom,
}

impl Default for Admission {
    fn default() -> Admission {
        Admission {
            conversations: Conversations::default(),
            rates: Rates::default(),
            accounts: Accounts::of_this_host(),
            refused_forks: Seldom::default(),
        }
    }
}

impl Admission {
    /// Starts the process of a conversation if this caller may have one now. Returns `true` in that process. If the
    /// caller may not have one, the connection is closed before Hello: root's callers then start their own helper, and
    /// others are told to try again.
    fn starts(&mut self, stream: &UnixStream) -> nix::Result<bool> {
        let Ok(caller) = caller::of(stream) else { return Ok(false) };
        let Some(payer) = self.admits(caller) else { return Ok(false) };
        match sys::fork() {
            Ok(None) => return Ok(true),
            Ok(Some(child)) => self.conversations.add(child, caller.uid, payer),
            Err(e) => {
                if let Some(count) = self.refused_forks.happened(Instant::now()) {
                    let reason = format!("no process for a conversation: {} ({count} since the last line)", e.desc());
                    audit::log(Level::Error, &[("event", "listener"), ("reason", &reason)]);
                }
            }
        }
        Ok(false)
    }

    /// The payer of a conversation with this caller, if it is admitted.
    fn admits(&mut self, caller: Caller) -> Option<Payer> {
        if caller.is_root() {
            return self.conversations.admits(&Payer::Root).then_some(Payer::Root);
        }
        let charge = self.accounts.charge(caller);
        let admitted = self.conversations.admits(&charge.payer)
            && self.rates.admits(charge.payer.clone(), charge.named, Instant::now());
        admitted.then_some(charge.payer)
    }

    /// Forgets ended conversations, and notes the uids that reached a verdict.
    fn collect(&mut self) {
        for uid in self.conversations.collect() {
            self.accounts.has_been_served(uid);
        }
    }
}

/// Has the libraries query the CPU once for all conversations, because this is slow in a virtual machine. They
/// inherit only the result: the key is all zeros.
fn warm_up() {
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&Secret::copy_of(b"000000"), 6)) {
        std::hint::black_box(nobody.find(&code, 1, 1, Spent::NOTHING));
    }
    std::hint::black_box(Sha256::digest(b""));
}

/// The running conversations: the uid and the payer of each.
#[derive(Default)]
struct Conversations(HashMap<Pid, (u32, Payer)>);

impl Conversations {
    fn admits(&self, payer: &Payer) -> bool {
        let of_root = self.of(&Payer::Root);
        match payer {
            Payer::Root => of_root < OF_ROOT,
            other => self.of(other) < PER_PAYER && self.0.len() - of_root < OF_USERS,
        }
    }

    fn of(&self, payer: &Payer) -> usize {
        self.0.values().filter(|(_, other)| other == payer).count()
    }

    fn add(&mut self, child: Pid, uid: u32, payer: Payer) {
        self.0.insert(child, (uid, payer));
    }

    /// Forgets ended conversations, and returns the uids that reached a verdict, which shows that they have a name.
    fn collect(&mut self) -> Vec<u32> {
        let mut served = Vec::new();
        self.0.retain(|pid, (uid, _)| match waitpid(*pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => true,
            Ok(WaitStatus::Exited(_, 0)) => {
                served.push(*uid);
                false
            }
            _ => false,
        });
        served
    }
}

/// For each payer, and for all together: the time until which recent conversations count, one pause for each.
#[derive(Default)]
struct Rates {
    of: HashMap<Payer, Instant>,
    of_all: Option<Instant>,
}

impl Rates {
    /// Whether one more is admitted. A refusal costs nothing, and only uids that can be served (`named`) use the
    /// shared rate.
    fn admits(&mut self, payer: Payer, named: bool, now: Instant) -> bool {
        if self.of.len() >= PAYERS {
            self.of.retain(|_, until| *until > now);
        }
        let own = self.of.entry(payer).or_insert(now);
        let next = (*own).max(now) + PAUSE;
        if next > now + IN_A_ROW * PAUSE {
            return false;
        }
        if named {
            let next_of_all = self.of_all.unwrap_or(now).max(now) + PAUSE_OF_ALL;
            if next_of_all > now + ALL_IN_A_ROW * PAUSE_OF_ALL {
                return false;
            }
            self.of_all = Some(next_of_all);
        }
        *own = next;
        true
    }
}

/// Limits how often a repeated failure is logged, and counts it.
#[derive(Default)]
struct Seldom {
    count: u32,
    told: Option<Instant>,
}

impl Seldom {
    /// Counts a failure. Returns the number of failures since the last log line if a line is due now.
    fn happened(&mut self, now: Instant) -> Option<u32> {
        self.count = self.count.saturating_add(1);
        if self.told.is_some_and(|told| now < told + TELL_AGAIN) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Payer {
        Payer::User(uid)
    }

    fn hold(conversations: &mut Conversations, payer: Payer) {
        let pid = Pid::from_raw(conversations.0.len() as i32 + 1);
        conversations.add(pid, 1, payer);
    }

    #[test]
    fn one_payer_cannot_take_all() {
        let mut conversations = Conversations::default();
        for _ in 0..PER_PAYER {
            assert!(conversations.admits(&user(1000)));
            hold(&mut conversations, user(1000));
        }
        assert!(!conversations.admits(&user(1000)));
        assert!(conversations.admits(&user(1001)));
        for n in PER_PAYER..OF_USERS {
            assert!(conversations.admits(&user(2000 + n as u32)));
            hold(&mut conversations, user(2000 + n as u32));
        }
        assert!(!conversations.admits(&user(1001)));
        assert!(conversations.admits(&Payer::Root), "nor can all users together");
    }

    #[test]
    fn root_takes_none_of_what_is_kept_for_users() {
        let mut conversations = Conversations::default();
        while conversations.admits(&Payer::Root) {
            hold(&mut conversations, Payer::Root);
        }
        for n in 0..OF_USERS {
            assert!(conversations.admits(&user(n as u32)));
            hold(&mut conversations, user(n as u32));
        }
        assert!(OWN + conversations.0.len() * OF_ONE <= TASKS);
        assert_eq!(OF_ROOT, 162, "which mfa-helper(8) says");
    }

    #[test]
    fn the_unit_gives_as_many_processes_as_are_reckoned_with() {
        let unit = include_str!("../../packaging/systemd/mfa-helper.service");
        let settings: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("TasksMax=")).collect();
        assert_eq!(settings, [TASKS.to_string()]);
    }

    #[test]
    fn a_payer_that_comes_too_often_waits_and_no_other_does() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let in_a_row = (0..100).filter(|_| rates.admits(user(1000), true, start)).count();
        assert_eq!(in_a_row, IN_A_ROW as usize);
        assert!(rates.admits(user(1001), true, start));
        assert!(!rates.admits(user(1000), true, start + PAUSE - Duration::from_millis(1)));
        assert!(rates.admits(user(1000), true, start + PAUSE));
        assert!(!rates.admits(user(1000), true, start + PAUSE));
        let later = start + 2 * IN_A_ROW * PAUSE;
        let again = (0..100).filter(|_| rates.admits(user(1000), true, later)).count();
        assert_eq!(again, IN_A_ROW as usize, "no more after a rest");
    }

    #[test]
    fn all_uids_together_come_no_more_often_than_that() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let in_a_row = (1..5000).filter(|uid| rates.admits(user(*uid), true, start)).count();
        assert_eq!(in_a_row, ALL_IN_A_ROW as usize);
        assert!(rates.admits(user(9999), true, start + PAUSE_OF_ALL));
        assert!(!rates.admits(user(9998), true, start + PAUSE_OF_ALL));
    }

    #[test]
    fn who_is_turned_away_takes_nothing_from_anybody() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let named = (0..100_000).filter(|_| rates.admits(user(1000), true, start)).count();
        let nameless = (0..100_000).filter(|_| rates.admits(Payer::Strangers, false, start)).count();
        assert_eq!((named, nameless), (IN_A_ROW as usize, IN_A_ROW as usize));
        let others = (2000..5000).filter(|uid| rates.admits(user(*uid), true, start)).count();
        assert_eq!(
            others,
            ALL_IN_A_ROW as usize - IN_A_ROW as usize,
            "only the named one that was let in has taken some"
        );
        assert_eq!(rates.of[&user(4999)], start, "and who is turned away at the common one has paid nothing either");
    }

    /// All parts together: an owner of many uids is one payer, and all uids without an owner are one payer too.
    #[test]
    fn many_uids_of_one_person_are_one_payer() {
        let file = |name: &str, text: &str| {
            let path = format!("/tmp/mfa-admission-{}-{name}", std::process::id());
            std::fs::write(&path, text).unwrap();
            path
        };
        let passwd = file("passwd", "alice:x:1000:1000:::\nbob:x:1001:1001:::\n");
        let subuid = file("subuid", "alice:100000:65536\n");
        let mut admission = Admission { accounts: Accounts::at(&passwd, &subuid), ..Admission::default() };
        let mut admits = |uid| admission.admits(Caller { uid, pid: 0 }).is_some();
        let subordinate = (100_000..165_536).filter(|uid| admits(*uid)).count();
        // Some seconds may pass meanwhile, and each adds one.
        assert!((IN_A_ROW as usize..IN_A_ROW as usize + 10).contains(&subordinate), "{subordinate}");
        let nameless = (3_000_000_000..3_000_065_536).filter(|uid| admits(*uid)).count();
        assert!((IN_A_ROW as usize..IN_A_ROW as usize + 10).contains(&nameless), "{nameless}");
        assert!((0..IN_A_ROW).all(|_| admits(1001)), "bob has all that is bob's");
        let alice = (0..IN_A_ROW).filter(|_| admits(1000)).count();
        assert!(alice < 10, "alice has spent what is hers: {alice}");
        assert!((0..1000).all(|_| admits(0)), "and root has no rate");
        for path in [passwd, subuid] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn thousands_of_payers_are_not_remembered_for_ever() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for uid in 0..5 * PAYERS as u32 {
            assert!(rates.admits(user(uid + 1), true, start + uid * PAUSE));
        }
        assert!(rates.of.len() <= PAYERS);
    }

    #[test]
    fn what_goes_wrong_a_thousand_times_is_one_line_a_minute() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.happened(start), Some(1));
        assert!((0..1000).all(|_| seldom.happened(start + TELL_AGAIN / 2).is_none()));
        assert_eq!(seldom.happened(start + TELL_AGAIN), Some(1001));
        assert_eq!(seldom.happened(start + TELL_AGAIN), None);
    }
}
