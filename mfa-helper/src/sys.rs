//! The only room with unsafe code: what has no safe wrapper.

#![allow(unsafe_code)]

pub mod agent;
pub mod caps;
pub mod child;
pub mod fido;
pub mod names;
pub mod pam;
pub mod run;

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid};

use crate::conversation::BINDING;

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST_LISTEN_FD: u32 = 3;

/// The most sockets that are taken from systemd: there are two.
const MOST_LISTEN_FDS: u32 = 8;

/// How many sockets systemd says it has handed over to this very process.
#[allow(clippy::disallowed_methods, reason = "systemd's two words; they count for nothing but sockets that listen")]
pub fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0).min(MOST_LISTEN_FDS),
        false => 0,
    }
}

/// Takes those sockets. Called once, before this process has opened anything of its own at their numbers: that is why
/// [`reset_process`] is told of them.
pub fn take_listen_fds(count: u32) -> Vec<OwnedFd> {
    let numbers = FIRST_LISTEN_FD as libc::c_int..(FIRST_LISTEN_FD + count) as libc::c_int;
    // SAFETY: plain numbers; and where the descriptor is open, nobody else in this process owns it.
    numbers
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0)
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Puts off everything that was inherited from a login program or from the user in front of it
/// (su and sudo pass on the user's limits, priority, mask and descriptors), but for so many sockets of systemd's.
///
/// Called first in `main`, while there is one thread. Fails when we are not root.
pub fn reset_process(listen_fds: u32) -> nix::Result<()> {
    // SAFETY: there is no other thread that could be reading the environment.
    unsafe { libc::clearenv() };
    // SAFETY: closes descriptors that nobody in this process knows; 0 is our conversation.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST_LISTEN_FD + listen_fds, u32::MAX, 0u32) };
    null_output()?;
    // Those by number too, which nix has no names for.
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action is no code of ours. KILL, STOP and libc's own two refuse, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // A front end that closes, or a file size limit, is an error of one call and must not kill us.
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: as above.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn)? };
    }
    SigSet::empty().thread_set_mask()?;
    // Root's uid in all three places, and root's groups: su and sudo arrive with the user's real uid.
    nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
    nix::unistd::setgroups(&[Gid::from_raw(0)])?;
    nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
    // A process group and terminal of our own: a Ctrl-C meant for the login is not meant for us.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    nix::unistd::chdir("/")?;
    // No core, ever: it would hold the key.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    usual_priority();
    usual_attributes();
    lock_memory();
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    Ok(())
}

/// Keeps memory from being swapped out: it may hold keys. Only where it is unlimited, because a limit would then
/// hold for every mapping, and name service modules could not be loaded; a login is not refused for that.
fn lock_memory() {
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        // SAFETY: plain numbers.
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    }
}

/// A helper that a user has made slow would keep the lock of a record from everybody else.
fn usual_priority() {
    let every_cpu = [0xffu8; 128];
    let scheduling = libc::sched_param { sched_priority: 0 };
    // ioprio_set(2): IOPRIO_WHO_PROCESS, and 0 for "as the CPU priority says".
    const IO_OF_PROCESS: libc::c_int = 1;
    // SAFETY: plain numbers, and two buffers that live across the calls.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const scheduling);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::syscall(libc::SYS_sched_setaffinity, 0, every_cpu.len(), every_cpu.as_ptr());
        libc::syscall(libc::SYS_ioprio_set, IO_OF_PROCESS, 0, 0);
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// What the kernel passes on to every program besides, and could make one wait or see things that are not so. Whatever
/// refuses is no harm: a filter forbids it, or the kernel is too old to know it.
fn usual_attributes() {
    /// What Linux gives to the first process, and all others have from it (PR_SET_TIMERSLACK(2const)).
    const TIMER_SLACK_NS: libc::c_ulong = 50_000;
    // SAFETY: plain numbers, and a null pointer where MPOL_DEFAULT (0) wants one.
    unsafe {
        // A user may set years, and then no time-out of ours would come.
        libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
        libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        // With SECBIT_NOROOT root would be nobody in whatever this process executes.
        libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0);
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        libc::personality(0);
        libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<u8>(), 0);
    }
}

/// A limit of the kernel, what it is set to, and with how little a helper still works.
struct Limit(Resource, u64, u64);

const MEGABYTE: u64 = 1 << 20;

/// All limits that are not set elsewhere in here. The stack is what Linux gives by itself.
const LIMITS: [Limit; 9] = [
    Limit(Resource::RLIMIT_FSIZE, RLIM_INFINITY, MEGABYTE),
    Limit(Resource::RLIMIT_NOFILE, 256, 64),
    Limit(Resource::RLIMIT_STACK, 8 * MEGABYTE, MEGABYTE),
    Limit(Resource::RLIMIT_AS, RLIM_INFINITY, 128 * MEGABYTE),
    Limit(Resource::RLIMIT_DATA, RLIM_INFINITY, 64 * MEGABYTE),
    Limit(Resource::RLIMIT_CPU, RLIM_INFINITY, 60),
    Limit(Resource::RLIMIT_NPROC, RLIM_INFINITY, 0),
    Limit(Resource::RLIMIT_SIGPENDING, RLIM_INFINITY, 0),
    Limit(Resource::RLIMIT_LOCKS, RLIM_INFINITY, 0),
];

/// Puts off the limits that were inherited. In a container even root may not raise a hard one; where what is left is not
/// enough to do all that a conversation may come to, this is the reason for which there shall be none. Otherwise a user
/// could set a limit before su that fails the one write which counts a wrong code, and guess on.
pub fn lift_limits() -> Result<(), String> {
    for Limit(limit, wanted, least) in LIMITS {
        if setrlimit(limit, wanted, wanted).is_ok() {
            continue;
        }
        let (_, hard) = getrlimit(limit).map_err(|e| format!("{limit:?}: {}", e.desc()))?;
        let most = hard.min(wanted);
        if most < least {
            return Err(format!(
                "{limit:?} is {hard} for whoever called, less than {least}, and cannot be raised here"
            ));
        }
        setrlimit(limit, most, hard).map_err(|e| format!("{limit:?}: {}", e.desc()))?;
    }
    Ok(())
}

/// Standard output and error go nowhere: whatever they are, they belong to the host.
fn null_output() -> nix::Result<()> {
    let null = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, Mode::empty())?;
    for fd in [1, 2] {
        // SAFETY: dup2 onto 1 and 2, which no Rust object owns.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(nix::Error::last());
        }
    }
    if null.as_raw_fd() <= 2 {
        // It landed on a number that must stay open.
        std::mem::forget(null);
    }
    Ok(())
}

/// Standard input goes nowhere: in a conversation it would be the socket that listens.
pub fn null_input() -> nix::Result<()> {
    let null = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, Mode::empty())?;
    nix::unistd::dup2_stdin(null)
}

/// In a process that runs code of others: it keeps one descriptor, and ends with the process that started it.
pub fn leave_all_but(kept: &impl AsFd) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    null_input()?;
    // What modules make is for others to read as well: pam_faillock its folder.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let kept = kept.as_fd().as_raw_fd() as u32;
    // SAFETY: this process uses none of the objects that own these descriptors, and never returns to them.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, kept - 1, 0u32);
        libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0u32);
    }
    // The alarm of the conversation is not inherited.
    nix::unistd::alarm::set(BINDING.as_secs() as u32);
    Ok(())
}

/// Starts a process that goes on from here. `None` in the new one, its pid in the old one.
pub fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: this program has one thread, so the new process finds every lock free.
    match unsafe { nix::unistd::fork()? } {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => {
            // The one thing that is not inherited.
            lock_memory();
            Ok(None)
        }
    }
}

/// The process at the other end of a connection, as the kernel holds it (SO_PEERPIDFD, Linux 6.5): no other process is
/// meant by it, whatever number that has. ENOPROTOOPT where the kernel is older.
pub fn process_of_peer(stream: &UnixStream) -> nix::Result<OwnedFd> {
    // asm-generic/socket.h; the same on every platform that Debian's Rust is built for but MIPS and SPARC.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: a place for one int of that size, which lives across the call.
    let done = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut size)
    };
    Errno::result(done)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The process with this number, held so that no other is meant by it from here on.
pub fn process(pid: i32) -> Option<OwnedFd> {
    // SAFETY: plain numbers in, a new descriptor (always CLOEXEC) or -1 out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int;
    // SAFETY: the kernel has just made it for us.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the file system not to copy this file's blocks on write (btrfs), so that writing in place
/// needs no new block on a full disk. Must come before the first byte; others ignore it.
pub fn no_copy_on_write(file: &OwnedFd) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both requests read or write one int, which lives across the calls.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) == 0 {
            flags |= FS_NOCOW_FL;
            libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags);
        }
    }
}

/// Whether something keeps the clock right, as adjtimex(2) says. Where that cannot be asked, nobody is told that it is
/// not.
pub fn clock_is_synchronised() -> bool {
    // SAFETY: plain numbers, for all of which zero is a value; with `modes` 0 it changes nothing.
    unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut clock) < 0 || clock.status & libc::STA_UNSYNC == 0
    }
}
