//! The only room with unsafe code: libpam, and the kernel's counters.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::ptr;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    answer: *mut c_char,
    code: c_int,
}

type Converse = unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conversation {
    function: Converse,
    data: *mut c_void,
}

// The unwinder's own copy. Loaded as a shared object it would be in this process already, as it is in no login program
// written in C, and whoever loads it would be let off.
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle,+whole-archive")]
unsafe extern "C" {}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        pamh: *mut *mut c_void,
    ) -> c_int;
    fn pam_authenticate(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_end(pamh: *mut c_void, status: c_int) -> c_int;
}

/// One whole transaction in which every question is answered by `answer`. `in_between` is called while the module is
/// still loaded. Gives the code of `pam_authenticate`.
pub fn transaction(service: &CStr, user: &CStr, answer: &CStr, in_between: impl FnOnce()) -> i32 {
    let conversation = Conversation { function: converse, data: answer.as_ptr().cast_mut().cast() };
    let mut pamh = ptr::null_mut();
    // SAFETY: the calls of pam(3) in their order, with C strings and a conversation that outlive them.
    unsafe {
        let started = pam_start(service.as_ptr(), user.as_ptr(), &raw const conversation, &raw mut pamh);
        assert_eq!(started, 0, "pam_start");
        let code = pam_authenticate(pamh, 0);
        in_between();
        pam_end(pamh, code);
        code
    }
}

/// # Safety
/// As pam_conv(3); `data` is the answer, a C string.
unsafe extern "C" fn converse(
    count: c_int,
    _: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    // SAFETY: malloc's memory, as pam_conv(3) wants, with room for one response; all three modules send one message.
    unsafe {
        assert_eq!(count, 1, "more than one message at a time");
        let array = libc::calloc(1, size_of::<Response>()).cast::<Response>();
        (*array).answer = libc::strdup(data.cast());
        *responses = array;
    }
    0
}

/// What the kernel counts for a process.
#[derive(Clone, Copy)]
pub enum Event {
    /// Nanoseconds on a CPU, of the process and of the kernel for it.
    Cpu,
    /// Instructions, likewise; not every virtual machine can tell.
    Instructions,
}

/// `PERF_ATTR_SIZE_VER0` of perf_event_open(2).
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u64,
    breakpoint: u64,
}

/// A running count.
pub struct Counter(File);

impl Counter {
    /// Counts for `pid` (0: the calling thread), and `with_children`, for all that it starts from now on. `None` where
    /// the machine cannot.
    pub fn start(event: Event, pid: u32, with_children: bool) -> Option<Counter> {
        let (kind, config) = match event {
            Event::Cpu => (1, 1),
            Event::Instructions => (0, 1),
        };
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            config,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: if with_children { 2 } else { 0 },
            wakeup: 0,
            breakpoint: 0,
        };
        const CLOEXEC: u64 = 8;
        // SAFETY: a structure of the size that it names; a new descriptor or -1 out.
        unsafe {
            let fd = libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, -1, -1, CLOEXEC);
            (fd >= 0).then(|| Counter(File::from_raw_fd(fd as c_int)))
        }
    }

    /// The count so far.
    pub fn read(&self) -> u64 {
        let mut count = [0; 8];
        let read = (&self.0).read(&mut count);
        assert_eq!(read.ok(), Some(8), "a counter");
        u64::from_ne_bytes(count)
    }
}

/// Tells a process to end.
pub fn terminate(pid: u32) {
    // SAFETY: plain numbers; whoever calls has started the process and not yet waited for it.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// Waits for a process that the caller has started and not yet waited for. Gives the seconds on a CPU of it and of those for
/// which it has waited, and the KiB of the largest of them.
pub fn ended(pid: u32) -> (f64, usize) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: a place for the numbers, which may be all zeros.
    let usage = unsafe {
        libc::wait4(pid as libc::pid_t, ptr::null_mut(), 0, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss as usize)
}
