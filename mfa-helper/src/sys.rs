//! The only room with unsafe code: what has no safe wrapper.

#![allow(unsafe_code)]

pub mod agent;
pub mod caps;
pub mod child;
pub mod fido;
pub mod names;
pub mod pam;
pub mod run;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid};

use crate::conversation::BINDING;

/// Puts off everything that was inherited from a login program or from the user in front of it
/// (su and sudo pass on the user's limits, priority, mask and descriptors).
///
/// Called first in `main`, while there is one thread. Fails when we are not root.
pub fn reset_process() -> nix::Result<()> {
    // SAFETY: there is no other thread that could be reading the environment.
    unsafe { libc::clearenv() };
    // SAFETY: closes descriptors that nobody in this process knows; 0 is our conversation.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
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
    let unlimited = [Resource::RLIMIT_AS, Resource::RLIMIT_CPU, Resource::RLIMIT_DATA, Resource::RLIMIT_FSIZE];
    for limit in unlimited {
        lift(limit, RLIM_INFINITY);
    }
    lift(Resource::RLIMIT_NOFILE, 256);
    // No core, ever: it would hold the key.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    usual_priority();
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

/// Sets a limit to `wanted`, or, in a container where even root may not raise it, as near as may be. What
/// is too little then shows as an error of its own.
fn lift(limit: Resource, wanted: u64) {
    if setrlimit(limit, wanted, wanted).is_err()
        && let Ok((_, hard)) = getrlimit(limit)
    {
        let _ = setrlimit(limit, hard.min(wanted), hard);
    }
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

/// Users whose primary group it is, as far as the name service lists them: a directory may list nobody.
pub fn users_of_primary_group(group: Gid) -> Vec<String> {
    users().into_iter().filter(|user| user.group == group).map(|user| user.name).collect()
}

/// A user whom the name service lists.
pub struct Listed {
    /// The name.
    pub name: String,
    /// The primary group.
    pub group: Gid,
    /// The program that a login starts.
    pub shell: String,
}

/// All users whom the name service lists.
pub fn users() -> Vec<Listed> {
    let text = |pointer: *const libc::c_char| match pointer.is_null() {
        true => String::new(),
        // SAFETY: a string of the C library's, ended by a zero, that lives until its next call.
        false => unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy().into_owned(),
    };
    let mut users = Vec::new();
    // SAFETY: this program has one thread; each entry is read before the next call.
    unsafe {
        libc::setpwent();
        while let Some(entry) = libc::getpwent().as_ref() {
            let (name, shell) = (text(entry.pw_name), text(entry.pw_shell));
            users.push(Listed { name, group: Gid::from_raw(entry.pw_gid), shell });
        }
        libc::endpwent();
    }
    users.retain(|user| !user.name.is_empty());
    users
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
