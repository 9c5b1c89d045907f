//! A process of our own program that does one task, with a clean memory and without any rights.

use std::ffi::CStr;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Gid, Pid, Uid};

/// The number at which the child finds its second descriptor; its socket is 0.
pub const GIVEN: i32 = 3;

/// The uid and gid nobody: they own no files.
const NOBODY: u32 = 65534;

/// The program of this process, even if an upgrade has replaced its file meanwhile.
const OURSELVES: &CStr = c"/proc/self/exe";

/// Executes a program, by its path, in a process without an environment and with these descriptors only: the first of
/// `given` gets the number 0, and so on. If the program cannot be executed, the process ends with 127.
pub fn execute(program: &CStr, arguments: &[&CStr], given: &[BorrowedFd]) -> nix::Result<Pid> {
    let name = [program].into_iter().chain(arguments.iter().copied());
    let argv: Vec<*const libc::c_char> = name.map(CStr::as_ptr).chain([std::ptr::null()]).collect();
    let environment = [std::ptr::null()];
    let mut numbers: Vec<i32> = given.iter().map(AsRawFd::as_raw_fd).collect();
    let end = numbers.len() as i32;
    // SAFETY: this program has one thread, so no lock is held by a thread that the child lacks.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(child),
        // SAFETY: only system calls, on data from before the fork. This process ends here, by execve or _exit.
        ForkResult::Child => unsafe {
            // Move all out of the way first: one may have the number that another needs.
            numbers.iter_mut().for_each(|number| *number = libc::fcntl(*number, libc::F_DUPFD, end));
            if numbers.iter().zip(0..).all(|(from, to)| libc::dup2(*from, to) == to) {
                libc::syscall(libc::SYS_close_range, end as u32, u32::MAX, 0u32);
                #[allow(clippy::disallowed_methods, reason = "no shell, no search, no environment")]
                libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
            }
            libc::_exit(127)
        },
    }
}

/// Has a copy of this process answer a question with one byte, so that the data it reads for this never gets into our
/// memory. `None` if the copy dies or does not answer in time.
pub fn answer_of_a_copy(question: impl FnOnce() -> u8, within: Duration) -> Option<u8> {
    let (mut ours, mut theirs) = UnixStream::pair().ok()?;
    ours.set_read_timeout(Some(within)).ok()?;
    let Some(child) = super::fork().ok()? else {
        // A panic must not continue into the code of the original.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if super::leave_all_but(&theirs).is_ok() {
                let _ = theirs.write_all(&[question()]);
            }
        }));
        // SAFETY: _exit ends this process at once and runs no exit handlers, which are for the original to run.
        unsafe { libc::_exit(0) }
    };
    drop(theirs);
    let mut answer = [0];
    let answered = ours.read_exact(&mut answer).is_ok();
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    answered.then_some(answer[0])
}

/// A descriptor of /dev/null.
pub fn null() -> nix::Result<OwnedFd> {
    nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// Executes this program again with `argument`, so that the new process has nothing of our memory. Its descriptors
/// are a socket to us as 0, `given` as 3, and /dev/null.
pub fn start(argument: &CStr, socket: SockType, given: Option<BorrowedFd>) -> nix::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, socket, None, SockFlag::SOCK_CLOEXEC)?;
    let null = null()?;
    let all: Vec<BorrowedFd> = [theirs.as_fd(), null.as_fd(), null.as_fd()].into_iter().chain(given).collect();
    Ok((execute(OURSELVES, &[argument], &all)?, ours))
}

/// The first step of the child: it becomes nobody, irreversibly. It can still load libraries.
pub fn confine() -> nix::Result<()> {
    super::null_output()?;
    // A PIN passes through this process.
    super::lock_memory();
    become_nobody()?;
    nix::sys::prctl::set_no_new_privs()?;
    // After the change of uid, which resets both. Other processes of nobody must not read our memory.
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    const MEGABYTE: u64 = 1 << 20;
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_AS, 512 * MEGABYTE),
        (Resource::RLIMIT_NOFILE, 32),
    ];
    limits.into_iter().try_for_each(|(limit, most)| setrlimit(limit, most, most))
}

/// Changes to nobody, irreversibly.
pub fn become_nobody() -> nix::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY))?;
    // This also drops every capability.
    nix::unistd::setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY))
}

/// The second step of the child, after it has loaded its libraries and before it reads the first foreign byte: from
/// here on it can open no file, no socket and no process.
pub fn shut_off() -> nix::Result<()> {
    // Standard input, output, error and the given descriptor. poll(2) fails if it gets more entries than this limit.
    setrlimit(Resource::RLIMIT_NOFILE, GIVEN as u64 + 1, GIVEN as u64 + 1)?;
    filter()
}

/// The system calls that are still allowed: read, write, wait and the like. All others fail with EPERM and do not
/// kill the process, because a later release of the C library or OpenSSL may try calls that it can do without.
const CALLS: [libc::c_long; 27] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_setitimer,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Installs the list above as a seccomp filter.
fn filter() -> nix::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, answer) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_RET);
    // In struct seccomp_data the number is at offset 0 and the architecture at 4.
    let mut program = vec![step(load, 0, 0, 4), step(equal, 1, 0, ARCHITECTURE)];
    program.extend([step(answer, 0, 0, libc::SECCOMP_RET_KILL_PROCESS), step(load, 0, 0, 0)]);
    let extra: &[libc::c_long] = &[
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_alarm,
    ];
    for call in CALLS.iter().chain(extra) {
        program.extend([step(equal, 0, 1, *call as u32), step(answer, 0, 0, libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `program` has the length that is given and outlives the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    nix::errno::Errno::result(set).map(drop)
}

/// In the child: the given descriptor. Call it once.
pub fn given() -> OwnedFd {
    // SAFETY: `start` has put the descriptor there, and only this function, which is called once, takes it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(GIVEN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_answers_by_one_byte_and_leaves_nothing_behind() {
        let mut here = 1;
        let answer = answer_of_a_copy(
            || {
                here = 2;
                here
            },
            Duration::from_secs(60),
        );
        assert_eq!((answer, here), (Some(2), 1));
    }

    #[test]
    fn a_copy_that_dies_or_is_silent_has_not_answered() {
        let dies = || -> u8 { std::process::abort() };
        assert_eq!(answer_of_a_copy(dies, Duration::from_secs(60)), None);
        let is_silent = || -> u8 {
            loop {
                nix::unistd::pause();
            }
        };
        assert_eq!(answer_of_a_copy(is_silent, Duration::from_millis(10)), None);
    }

    #[test]
    fn a_copy_that_panics_does_not_go_on_as_this_process() {
        assert_eq!(answer_of_a_copy(|| panic!("on purpose"), Duration::from_secs(9)), None);
    }
}
