//! A process of our own program that does one thing for us, in a clean address space and with no right to anything.

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

/// The number under which the child finds what it was given; 0 is its socket.
pub const GIVEN: i32 = 3;

/// Nobody: owns no file, and is in no group that owns one.
const NOBODY: u32 = 65534;

/// This very program, also where an upgrade has put another in its place meanwhile.
const OURSELVES: &CStr = c"/proc/self/exe";

/// Executes a program, by its path, in a process that has no environment and no descriptor of ours but these: the first of
/// `given` under the number 0, and so on. A program that cannot be executed shows as a process that ends with 127.
pub fn execute(program: &CStr, arguments: &[&CStr], given: &[BorrowedFd]) -> nix::Result<Pid> {
    let name = [program].into_iter().chain(arguments.iter().copied());
    let argv: Vec<*const libc::c_char> = name.map(CStr::as_ptr).chain([std::ptr::null()]).collect();
    let environment = [std::ptr::null()];
    let mut numbers: Vec<i32> = given.iter().map(AsRawFd::as_raw_fd).collect();
    let end = numbers.len() as i32;
    // SAFETY: this program has one thread.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(child),
        // SAFETY: system calls on what was made before the fork; this process never returns from here.
        ForkResult::Child => unsafe {
            // Out of the way first: each may sit on the number of another.
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

/// Has a copy of this process answer a question by one byte, so that what it reads for it is never in the memory of this
/// one. `None` where the copy dies, or is silent for as long as that.
pub fn answer_of_a_copy(question: impl FnOnce() -> u8, within: Duration) -> Option<u8> {
    let (mut ours, mut theirs) = UnixStream::pair().ok()?;
    ours.set_read_timeout(Some(within)).ok()?;
    let Some(child) = super::fork().ok()? else {
        // A panic must not go on into what this process did before it was copied.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if super::leave_all_but(&theirs).is_ok() {
                let _ = theirs.write_all(&[question()]);
            }
        }));
        // SAFETY: ends this process at once; what would be done at an exit is the original's to do.
        unsafe { libc::_exit(0) }
    };
    drop(theirs);
    let mut answer = [0];
    let answered = ours.read_exact(&mut answer).is_ok();
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    answered.then_some(answer[0])
}

/// What reads as nothing and takes everything.
pub fn null() -> nix::Result<OwnedFd> {
    nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

/// Executes this program once more with `argument`, so that nothing of this process is in the memory of the other. The
/// child has a socket to us as 0, what it is `given` as 3, and nothing else but /dev/null.
pub fn start(argument: &CStr, socket: SockType, given: Option<BorrowedFd>) -> nix::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, socket, None, SockFlag::SOCK_CLOEXEC)?;
    let null = null()?;
    let all: Vec<BorrowedFd> = [theirs.as_fd(), null.as_fd(), null.as_fd()].into_iter().chain(given).collect();
    Ok((execute(OURSELVES, &[argument], &all)?, ours))
}

/// In the child, first of all: nobody, for good. Only what libraries need to be loaded is still there.
pub fn confine() -> nix::Result<()> {
    super::null_output()?;
    // A PIN passes through.
    super::lock_memory();
    become_nobody()?;
    nix::sys::prctl::set_no_new_privs()?;
    // After the change of uid, which undoes both. What else runs as nobody shall not look in here.
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

/// For good.
pub fn become_nobody() -> nix::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY))?;
    // Takes every capability with it.
    nix::unistd::setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY))
}

/// In the child, when its libraries are loaded and before it reads the first foreign byte: no file, no socket and no
/// process from here on.
pub fn shut_off() -> nix::Result<()> {
    // Standard input, output and error, and what was given. poll(2) fails where it is asked for more than this.
    setrlimit(Resource::RLIMIT_NOFILE, GIVEN as u64 + 1, GIVEN as u64 + 1)?;
    filter()
}

/// What may still be called: to read, to write, to wait, to compute. Everything else is refused by EPERM rather than by
/// death, because the C library and OpenSSL of the next release may try what they can do without.
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

/// The list above as a seccomp filter.
fn filter() -> nix::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, answer) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ, libc::BPF_RET);
    // struct seccomp_data: the number at 0, the architecture at 4.
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
    // SAFETY: a program that lives across the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    nix::errno::Errno::result(set).map(drop)
}

/// In the child: what it was given. Taken once.
pub fn given() -> OwnedFd {
    // SAFETY: `start` has put it there, and nothing else in this process knows of it.
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
