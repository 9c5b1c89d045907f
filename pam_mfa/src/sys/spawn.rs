//! Starts the helper so that the host does not notice: no SIGCHLD, no zombie, nothing for its wait() to find.
//!
//! It takes two clones. The *middle* shares our memory, has no exit signal, starts the real child and ends at once;
//! only a waitpid with __WCLONE finds it, and we make that call. The child is now an orphan and belongs to init. A
//! single clone without an exit signal is not enough: execve sets the signal back to SIGCHLD. All messages of the
//! helper travel on the socket; its exit status means nothing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

unsafe extern "C" {
    // The libc crate has no binding for glibc.
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}
const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// The size of a signal set in the kernel, in bytes: 64 signals.
const SIGSET: usize = 8;

/// Enough for the handful of system calls that a clone makes, in a debug build as well.
const STACK: usize = 64 * 1024;

pub(crate) fn are_we_root() -> bool {
    // SAFETY: geteuid() has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Whether root has called this program, by the real uid: su and sudo keep their caller's.
pub(crate) fn did_root_call() -> bool {
    // SAFETY: getuid() has no preconditions.
    unsafe { libc::getuid() == 0 }
}

/// Starts `helper` with the other end of the returned socket as its standard input, with an empty environment, and
/// with no file of ours open. If the helper cannot be executed, the returned socket is at its end.
pub(crate) fn start(helper: &CStr, config: Option<&CStr>) -> Result<(UnixStream, Orphan)> {
    let (ours, theirs) = pair()?;
    let config = config.map(|file| [b"--config=", file.to_bytes_with_nul()].concat());
    let config = config.map(|bytes| CString::from_vec_with_nul(bytes).map_err(Error::other)).transpose()?;
    let config = config.as_ref().map_or(ptr::null(), |word| word.as_ptr());
    let (middle, child) = (Stack::new()?, Stack::new()?);
    let mut plan = Plan {
        path: helper.as_ptr(),
        argv: [c"mfa-helper".as_ptr(), config, ptr::null()],
        socket: theirs.as_raw_fd(),
        child_stack: child.top(),
        child: 0,
        error: 0,
    };

    let quiet = Quiet::new();
    // SAFETY: the middle has its own stack and does not return into our frames. CLONE_VFORK suspends this thread
    // while the middle runs, so only one of them uses the shared memory at a time. `quiet` keeps the host's signal
    // handlers from running in either, and this thread from being cancelled.
    let pid =
        unsafe { libc::clone(run_middle, middle.top(), libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut plan).cast()) };
    let failed = if pid < 0 { Some(Error::last_os_error()) } else { collect_middle(pid) };
    drop(quiet);

    // SAFETY: the clones have ended or called execve, so nothing else writes to `plan`. The read is volatile because
    // the compiler does not know that the clones wrote to it. Valgrind turns CLONE_VM into a fork; then `plan` is
    // unchanged, and there is no pid to collect.
    let Plan { child, error, .. } = unsafe { ptr::read_volatile(&raw const plan) };
    match (failed, error) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok((UnixStream::from(ours), Orphan(child))),
        (None, error) => Err(Error::from_raw_os_error(error)),
    }
}

/// Memory for a clone to run on. Mapped, not allocated: a failure is then an error and does not abort the host.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: makes a new mapping at an address of the kernel's choice, so it touches no other memory.
        let base = unsafe { libc::mmap(ptr::null_mut(), STACK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(Stack(base)) }
    }

    /// The top of the stack, where a clone begins: stacks grow downwards. It is aligned to a page, which satisfies
    /// every ABI.
    fn top(&self) -> *mut c_void {
        // SAFETY: the mapping has STACK bytes, so this is one past its end.
        unsafe { self.0.byte_add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: we own the mapping, and nothing runs on it: both clones have ended, or have called execve, which
        // gives them memory of their own.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Waits for the end of the middle. A host that waits with __WALL may have collected it first; that is not a failure.
fn collect_middle(pid: c_int) -> Option<Error> {
    loop {
        // SAFETY: a null pointer is allowed, and means that no status is wanted.
        let done = unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) };
        if done >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// A connected pair. Both ends are above the standard descriptors, which the host may have closed: a host that then
/// prints would write into our conversation.
fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((lift(a.into())?, lift(b.into())?))
}

pub(crate) fn lift(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: `fd` is open, because we own it.
    let lifted = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    if lifted < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: fcntl has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// While it lives, no signal handler runs in this thread and the thread cannot be cancelled.
struct Quiet {
    signals: [u8; SIGSET],
    cancellation: c_int,
}

impl Quiet {
    fn new() -> Quiet {
        let mut quiet = Quiet { signals: [0; SIGSET], cancellation: 0 };
        let all = [0xff; SIGSET];
        // SAFETY: the pointers are to local data of the sizes that the calls want. The raw system call is needed
        // because libc's wrapper leaves two signals unblocked, which it uses for setuid() in all threads and for
        // cancellation: their handlers must not run in a clone.
        unsafe {
            pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut quiet.cancellation);
            sigmask(all.as_ptr(), quiet.signals.as_mut_ptr());
        }
        quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe {
            sigmask(self.signals.as_ptr(), ptr::null_mut());
            pthread_setcancelstate(self.cancellation, ptr::null_mut());
        }
    }
}

/// # Safety
/// `set` points to `SIGSET` readable bytes; `old` is NULL or points to `SIGSET` writable bytes.
unsafe fn sigmask(set: *const u8, old: *mut u8) {
    // SAFETY: our caller guarantees what `set` and `old` point to.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, old, SIGSET) };
}

/// Everything that the clones need, prepared beforehand: they share our memory and must not allocate, because another
/// thread of the host may hold the allocator's lock.
struct Plan {
    path: *const c_char,
    argv: [*const c_char; 3],
    socket: c_int,
    child_stack: *mut c_void,
    /// Out: the child's pid.
    child: c_int,
    /// Out: the error, if there is no child.
    error: c_int,
}

extern "C" fn run_middle(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `plan` is a local of start(), which is suspended while we run. The child has its own stack, and we are
    // suspended while it runs, so only one of us uses `plan` at a time.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let pid = libc::clone(run_child, (*plan).child_stack, flags, plan.cast());
        if pid < 0 {
            (*plan).error = *libc::__errno_location();
        } else {
            (*plan).child = pid;
        }
        libc::_exit(0)
    }
}

/// Makes only system calls on prepared data until execve. On a failure it exits; that closes the socket, which the
/// host reads as "unreachable".
extern "C" fn run_child(plan: *mut c_void) -> c_int {
    // SAFETY: `plan` is a local of start(). start() and the middle are both suspended until execve or _exit.
    // Descriptors, signal actions and the mask are this process's own, because neither CLONE_FILES nor CLONE_SIGHAND
    // was given.
    unsafe {
        let plan = &*plan.cast::<Plan>();
        // First, so that a Ctrl-C meant for the host's terminal group does not end the helper.
        libc::setsid();
        // The helper would inherit ignored signals, and a handler of the host must not run in here once the mask is
        // empty. The raw system call also reaches the two signals that libc's wrapper refuses; a `struct sigaction`
        // of zeros means SIG_DFL.
        let default = [0u64; 8];
        let mut signal = 1;
        while signal <= 64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u8>(), SIGSET);
            signal += 1;
        }
        // The socket is never below 3, so this always makes a new descriptor, without CLOEXEC. The other two are
        // closed first: a host at its limit of open files would have no room for /dev/null otherwise.
        if libc::dup2(plan.socket, 0) != 0 {
            libc::_exit(127);
        }
        libc::close(1);
        libc::close(2);
        if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) != 1 || libc::dup2(1, 2) != 2 {
            libc::_exit(127);
        }
        close_from_three();
        sigmask([0; SIGSET].as_ptr(), ptr::null_mut());
        let environment = [ptr::null::<c_char>()];
        #[allow(clippy::disallowed_methods, reason = "the helper, by its absolute path")]
        libc::execve(plan.path, plan.argv.as_ptr(), environment.as_ptr());
        libc::_exit(127)
    }
}

/// # Safety
/// Only in the child: it closes descriptors whether or not something owns them.
unsafe fn close_from_three() {
    // SAFETY: the child has its own copy of the table of descriptors, and uses none from 3 on after this.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) == 0 {
            return;
        }
        // Linux before 5.9, or a seccomp filter. The bound keeps a host without a limit from spending minutes here.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let end = if limit.rlim_max < 65_536 { limit.rlim_max as c_int } else { 65_536 };
        let mut fd = 3;
        while fd < end {
            libc::close(fd);
            fd += 1;
        }
    }
}

/// A helper that belongs to init. But if the host is init or a subreaper, the helper becomes a child of the host,
/// which does not know it and would leave it a zombie. Then we collect it.
pub(crate) struct Orphan(libc::pid_t);

/// How long to wait for the end of a helper after its socket is closed, in milliseconds.
const LINGER_MS: c_int = 1000;

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.0 <= 0 || !orphans_come_here() {
            return;
        }
        let collect = || {
            // SAFETY: a null pointer is allowed, and means that no status is wanted. ECHILD means that it is not our
            // child (any more).
            unsafe { libc::waitpid(self.0, ptr::null_mut(), libc::WNOHANG | libc::__WALL) }
        };
        if collect() != 0 {
            return;
        }
        // Still running. It is our child, so its pid cannot be reused until we collect it.
        // SAFETY: pidfd_open has just made `fd` (always CLOEXEC), so nothing else owns it. `end` is one entry, as the
        // count says.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, self.0, 0) as c_int;
            if fd < 0 {
                return;
            }
            let fd = OwnedFd::from_raw_fd(fd);
            let mut end = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            while libc::poll(&raw mut end, 1, LINGER_MS) < 0 && *libc::__errno_location() == libc::EINTR {}
        }
        collect();
    }
}

fn orphans_come_here() -> bool {
    let mut subreaper: c_int = 0;
    // SAFETY: PR_GET_CHILD_SUBREAPER writes one int, and `subreaper` is one.
    unsafe {
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper);
        subreaper != 0 || libc::getpid() == 1
    }
}
