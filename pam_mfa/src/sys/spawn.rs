//! Starts the helper so that the host does not notice: no SIGCHLD, no zombie, nothing for its wait() to find.
//!
//! Two clones. The *middle* shares our memory, has no exit signal, starts the real child and ends at once; only a
//! waitpid with __WCLONE finds it, and that is ours. The child, now an orphan, belongs to init. A single clone without
//! an exit signal would not do: execve sets the signal back to SIGCHLD. What the helper has to say travels on the
//! socket alone; its exit status means nothing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

unsafe extern "C" {
    // Not in the libc crate for glibc.
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}
const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// Bytes of a signal set in the kernel's eyes: 64 signals.
const SIGSET: usize = 8;

/// Enough for the handful of system calls that a clone makes, in a debug build as well.
const STACK: usize = 64 * 1024;

pub(crate) fn are_we_root() -> bool {
    // SAFETY: has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Whether it is root who has called this program, as its real uid says: su and sudo keep their caller's.
pub(crate) fn did_root_call() -> bool {
    // SAFETY: has no preconditions.
    unsafe { libc::getuid() == 0 }
}

/// Starts `helper` with the other end of the returned socket as its standard input, with an empty environment, and with
/// no file of ours open. A helper that cannot be executed shows as a socket at its end.
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
    // SAFETY: the middle runs on a stack of its own and, because of CLONE_VFORK, while this thread is suspended, so the
    // memory that both see is used by one at a time. It does not return into our frames. No signal handler of the host
    // can run in it (they are blocked), and no cancellation strikes here.
    let pid =
        unsafe { libc::clone(run_middle, middle.top(), libc::CLONE_VM | libc::CLONE_VFORK, (&raw mut plan).cast()) };
    let failed = if pid < 0 { Some(Error::last_os_error()) } else { collect_middle(pid) };
    drop(quiet);

    // SAFETY: `plan` is ours again. Read as the clones left it, past what the compiler believes about it. Under valgrind,
    // which makes a fork of CLONE_VM, it is untouched: then there is no pid to collect, and that is all.
    let Plan { child, error, .. } = unsafe { ptr::read_volatile(&raw const plan) };
    match (failed, error) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok((UnixStream::from(ours), Orphan(child))),
        (None, error) => Err(Error::from_raw_os_error(error)),
    }
}

/// Memory for a clone to run on. Mapped, not allocated: where there is none, that is an error and not the end of the
/// host.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping, nowhere in particular.
        let base = unsafe { libc::mmap(ptr::null_mut(), STACK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(Stack(base)) }
    }

    /// Where it begins: stacks grow downwards. Aligned to a page, and so to all that an ABI of ours wants.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.0.byte_add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: ours alone; both clones have ended, or run on memory of their own since execve.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Waits for the end of the middle. A host that waits with __WALL may have been faster: that is no failure.
fn collect_middle(pid: c_int) -> Option<Error> {
    loop {
        // SAFETY: no status is asked for.
        let done = unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) };
        if done >= 0 || Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// A connected pair, both ends away from the standard descriptors, which the host may have closed: a host that then
/// prints would print into our conversation.
fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((lift(a.into())?, lift(b.into())?))
}

pub(crate) fn lift(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: fcntl on a descriptor that we own.
    let lifted = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    if lifted < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: fcntl has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// While it lives, no signal handler runs in this thread and no cancellation strikes it.
struct Quiet {
    signals: [u8; SIGSET],
    cancellation: c_int,
}

impl Quiet {
    fn new() -> Quiet {
        let mut quiet = Quiet { signals: [0; SIGSET], cancellation: 0 };
        let all = [0xff; SIGSET];
        // SAFETY: plain data of the sizes that the calls want. The raw call, because libc's keeps back the two signals by
        // which it makes every thread take part in setuid() and in cancellation: their handlers must not run in a clone.
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
/// `set` points to `SIGSET` bytes; `old` is NULL or does.
unsafe fn sigmask(set: *const u8, old: *mut u8) {
    // SAFETY: by the contract of this function.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, old, SIGSET) };
}

/// Everything that the clones need, made beforehand: they share our memory and must not allocate, because another
/// thread of the host may hold the allocator's lock.
struct Plan {
    path: *const c_char,
    argv: [*const c_char; 3],
    socket: c_int,
    child_stack: *mut c_void,
    /// Out: the child's pid.
    child: c_int,
    /// Out: why there is none.
    error: c_int,
}

extern "C" fn run_middle(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `plan` is start()'s, which is suspended. The child runs on the other stack while we are suspended.
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

/// Only system calls on plain data from here to execve. A failure is an exit, which closes the socket, which the host
/// reads as "unreachable".
extern "C" fn run_child(plan: *mut c_void) -> c_int {
    // SAFETY: `plan` is start()'s, and both it and the middle are suspended until execve or _exit. Descriptors, signal
    // actions and the mask are this process's own: neither CLONE_FILES nor CLONE_SIGHAND was given.
    unsafe {
        let plan = &*plan.cast::<Plan>();
        // First, so that a Ctrl-C meant for the host's terminal group does not end the helper.
        libc::setsid();
        // Ignored signals would be inherited, and a handler of the host must not run in here once the mask is empty.
        // The raw call reaches the two that libc keeps back; a `struct sigaction` of zeros means SIG_DFL.
        let default = [0u64; 8];
        let mut signal = 1;
        while signal <= 64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u8>(), SIGSET);
            signal += 1;
        }
        // The socket is never below 3, so this always makes a new descriptor, without CLOEXEC. Both others are closed
        // first: a host at its limit of open files has no room for /dev/null otherwise.
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
/// Only in the child: it closes descriptors that others own.
unsafe fn close_from_three() {
    // SAFETY: the table of descriptors is the child's own copy.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) == 0 {
            return;
        }
        // Linux before 5.9, or a filter. The bound keeps an unlimited host from costing minutes.
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

/// A helper that belongs to init, unless the host is init itself, or a subreaper: then it comes back to the host as a
/// child that the host knows nothing of, and would stay a zombie.
pub(crate) struct Orphan(libc::pid_t);

/// How long the end of a helper is awaited once its socket is closed.
const LINGER_MS: c_int = 1000;

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.0 <= 0 || !orphans_come_here() {
            return;
        }
        let collect = || {
            // SAFETY: no status is asked for. ECHILD means that it is not ours, or no more.
            unsafe { libc::waitpid(self.0, ptr::null_mut(), libc::WNOHANG | libc::__WALL) }
        };
        if collect() != 0 {
            return;
        }
        // Still running. Its pid cannot become somebody else's: as our child it keeps it until it is collected.
        // SAFETY: plain integers; the descriptor that pidfd_open makes (always CLOEXEC) is ours.
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
    // SAFETY: writes one int.
    unsafe {
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper);
        subreaper != 0 || libc::getpid() == 1
    }
}
