//! System calls without a safe wrapper. All unsafe code is here and below.

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

/// The first descriptor that systemd passes (sd_listen_fds(3)).
const FIRST_LISTEN_FD: u32 = 3;

/// The most sockets that are accepted from systemd; there are two.
const MOST_LISTEN_FDS: u32 = 8;

/// How many sockets systemd says it has passed to exactly this process.
#[allow(clippy::disallowed_methods, reason = "systemd's two words; they count for nothing but sockets that listen")]
pub fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    match number("LISTEN_PID") == Some(std::process::id()) {
        true => number("LISTEN_FDS").unwrap_or(0).min(MOST_LISTEN_FDS),
        false => 0,
    }
}

/// Takes these sockets. Call it once, before this process opens anything of its own at their numbers:
/// [`reset_process`] gets the count so that it leaves these numbers open.
pub fn take_listen_fds(count: u32) -> Vec<OwnedFd> {
    let numbers = FIRST_LISTEN_FD as libc::c_int..(FIRST_LISTEN_FD + count) as libc::c_int;
    // SAFETY: fcntl takes only numbers. It succeeds only for an open descriptor, and at this time nothing in this
    // process owns one of these numbers.
    numbers
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0)
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Drops everything that was inherited from a login program or from the user in front of it (su and sudo pass on the
/// user's limits, priority, signal mask and descriptors), except `listen_fds` sockets of systemd's.
///
/// Call it first in `main`, while there is one thread. Fails if we are not root.
pub fn reset_process(listen_fds: u32) -> nix::Result<()> {
    // SAFETY: there is only one thread, so none can be reading the environment.
    unsafe { libc::clearenv() };
    // SAFETY: nothing in this process owns the descriptors that this closes; 0 is our conversation, and stays.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST_LISTEN_FD + listen_fds, u32::MAX, 0u32) };
    null_output()?;
    // By number, because nix has no names for the real-time signals.
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no handler. For KILL, STOP and libc's own two signals the call fails and changes
        // nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // A write to a closed front end, or beyond a file size limit, must fail with an error and not kill us.
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: SIG_IGN installs no handler.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn)? };
    }
    SigSet::empty().thread_set_mask()?;
    // Root as real, effective and saved uid, and root's groups: su and sudo start us with the user's real uid.
    nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
    nix::unistd::setgroups(&[Gid::from_raw(0)])?;
    nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
    // Own session and process group: a Ctrl-C meant for the login must not end us.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    nix::unistd::chdir("/")?;
    // No core dump: it would hold the key.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    usual_priority();
    usual_attributes();
    lock_memory();
    // SAFETY: takes only numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    Ok(())
}

/// Keeps memory from being swapped out, because it may hold keys. Does so only if the limit can be lifted: otherwise
/// the limit would apply to every mapping, and modules of the name service could not be loaded. A login is not
/// refused for this.
fn lock_memory() {
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        // SAFETY: takes only numbers.
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    }
}

/// Resets the priority. A user who could make a helper slow could have it hold the lock of a record for long.
fn usual_priority() {
    let every_cpu = [0xffu8; 128];
    let scheduling = libc::sched_param { sched_priority: 0 };
    // ioprio_set(2): IOPRIO_WHO_PROCESS. Priority 0 means "follow the CPU priority".
    const IO_OF_PROCESS: libc::c_int = 1;
    // SAFETY: the two pointers are to local buffers, which outlive the calls; all other arguments are numbers.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const scheduling);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::syscall(libc::SYS_sched_setaffinity, 0, every_cpu.len(), every_cpu.as_ptr());
        libc::syscall(libc::SYS_ioprio_set, IO_OF_PROCESS, 0, 0);
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// Resets other attributes that every program inherits, and with which a user could delay us or change what we see. A
/// call may fail because a seccomp filter forbids it or the kernel is too old; that does no harm.
fn usual_attributes() {
    /// The value that Linux gives to the first process, and that all others inherit (PR_SET_TIMERSLACK(2const)).
    const TIMER_SLACK_NS: libc::c_ulong = 50_000;
    // SAFETY: all arguments are numbers, except one null pointer, which MPOL_DEFAULT (0) requires.
    unsafe {
        // A user could have set years; then no timeout of ours would end.
        libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
        libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        // With SECBIT_NOROOT a program that this process executes would have no rights as root.
        libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0);
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        libc::personality(0);
        libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<u8>(), 0);
    }
}

/// A limit of the kernel, the value that we set, and the least with which a helper still works.
struct Limit(Resource, u64, u64);

const MEGABYTE: u64 = 1 << 20;

/// All limits that are not set elsewhere in this file. The stack has Linux's default.
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

/// Replaces the inherited limits. In a container even root may not be allowed to raise a hard limit; if what is left
/// does not suffice for every conversation, this is an error, and there is none. Otherwise a user could set a limit
/// before su so that the write fails which counts a wrong code, and could guess without end.
pub fn lift_limits() -> Result<(), String> {
    for Limit(limit, wanted, least) in LIMITS {
        if setrlimit(limit, wanted, wanted).is_ok() {
            continue;
        }
        let (_, hard) = getrlimit(limit).map_err(|e| format!("{limit:?}: {}", e.desc()))?;
        let most = hard.min(wanted);
        if most < least {
            return Err(format!(
                "{limit:?} of the calling program is {hard}, less than {least}, and cannot be raised here"
            ));
        }
        setrlimit(limit, most, hard).map_err(|e| format!("{limit:?}: {}", e.desc()))?;
    }
    Ok(())
}

/// Redirects standard output and error to /dev/null: the inherited ones belong to the host.
fn null_output() -> nix::Result<()> {
    let null = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, Mode::empty())?;
    for fd in [1, 2] {
        // SAFETY: dup2 takes only numbers, and no Rust object owns 1 and 2, which it replaces.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(nix::Error::last());
        }
    }
    if null.as_raw_fd() <= 2 {
        // It got a number that must stay open.
        std::mem::forget(null);
    }
    Ok(())
}

/// Redirects standard input to /dev/null: in a conversation it would be the listening socket.
pub fn null_input() -> nix::Result<()> {
    let null = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, Mode::empty())?;
    nix::unistd::dup2_stdin(null)
}

/// For a process that runs foreign code: closes all descriptors but one, and has the kernel end this process together
/// with the one that started it.
pub fn leave_all_but(kept: &impl AsFd) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    null_input()?;
    // Others must be able to read what PAM modules create, such as the folder of pam_faillock.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    let kept = kept.as_fd().as_raw_fd() as u32;
    // SAFETY: this process never again uses the objects that own these descriptors.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, kept - 1, 0u32);
        libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0u32);
    }
    // The alarm of the conversation is not inherited.
    nix::unistd::alarm::set(BINDING.as_secs() as u32);
    Ok(())
}

/// Forks this process. `None` in the child, the child's pid in the parent.
pub fn fork() -> nix::Result<Option<Pid>> {
    // SAFETY: this program has one thread, so no lock is held by a thread that the child lacks.
    match unsafe { nix::unistd::fork()? } {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => {
            // Memory locks are not inherited.
            lock_memory();
            Ok(None)
        }
    }
}

/// The process at the other end of a connection, as a pidfd (SO_PEERPIDFD, Linux 6.5): it stays that process even if
/// the number is reused. ENOPROTOOPT if the kernel is older.
pub fn process_of_peer(stream: &UnixStream) -> nix::Result<OwnedFd> {
    // From asm-generic/socket.h; equal on every platform of Debian's Rust except MIPS and SPARC.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` is valid for `size` bytes, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut fd).cast(), &raw mut size)
    };
    Errno::result(done)?;
    // SAFETY: the kernel has just made this descriptor for us, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The process with this number, as a pidfd: it stays that process even if the number is reused.
pub fn process(pid: i32) -> Option<OwnedFd> {
    // SAFETY: takes only numbers, and returns a new descriptor (always CLOEXEC) or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int;
    // SAFETY: the kernel has just made this descriptor for us, so nothing else owns it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the file system not to copy this file's blocks on write (btrfs), so that writing in place needs no new block
/// on a full disk. Must come before the first byte. Other file systems ignore it.
pub fn no_copy_on_write(file: &OwnedFd) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both requests read or write one int, and `flags` is one.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) == 0 {
            flags |= FS_NOCOW_FL;
            libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags);
        }
    }
}

/// Whether something keeps the clock right, according to adjtimex(2). True if that cannot be asked: without knowing,
/// there is nothing to warn about.
pub fn clock_is_synchronised() -> bool {
    // SAFETY: `timex` has only integer fields, so it may be all zeros; with `modes` 0 the call only reads.
    unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut clock) < 0 || clock.status & libc::STA_UNSYNC == 0
    }
}

/// A time by the clock on this host's wall, with its zone: `2026-11-30 16:32:05 CET`.
pub fn local_time(seconds: u64) -> String {
    let time = seconds as libc::time_t;
    let mut text = [0u8; 64];
    // SAFETY: `tm` is written by localtime_r before it is read, and its zone points to memory of the C library.
    // strftime writes at most the length of `text`, and returns how much of it that was.
    let length = unsafe {
        let mut tm = std::mem::zeroed();
        if libc::localtime_r(&time, &mut tm).is_null() {
            return mfa_wire::utc(seconds);
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), c"%Y-%m-%d %H:%M:%S %Z".as_ptr(), &tm)
    };
    String::from_utf8_lossy(&text[..length.min(text.len())]).into_owned()
}
