//! A clock that tests set, preloaded into the helper: the product has no hook for it.
//!
//! `MFA_TEST_CLOCK` names a file of 8 bytes: seconds since 1970, signed, in native byte order. The file is mapped when the
//! library is loaded, so the time can be set while a process runs (write the 8 bytes in place), and a process that later
//! closes its files, empties its environment or shuts itself into a sandbox keeps the clock. Only the wall clock is
//! replaced; deadlines (CLOCK_MONOTONIC) run on. Wired in by a script that is named in `helper=` and executes the real
//! helper with LD_PRELOAD; `pam_tests::Helper::clock` writes it.

use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use libc::{clockid_t, time_t, timespec, timeval};

static SECONDS: AtomicPtr<AtomicI64> = AtomicPtr::new(std::ptr::null_mut());

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = map;

extern "C" fn map() {
    let name = c"MFA_TEST_CLOCK";
    // SAFETY: a C string in; a C string of the environment or NULL out; the mapping is never undone.
    unsafe {
        let path = libc::getenv(name.as_ptr());
        let fd = if path.is_null() { -1 } else { libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC) };
        let page = libc::mmap(std::ptr::null_mut(), 8, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
        if page == libc::MAP_FAILED {
            // Going on would mean the real time in a test that believes in its own.
            let complaint = b"libtest_clock: MFA_TEST_CLOCK does not name a readable file of 8 bytes\n";
            libc::write(2, complaint.as_ptr().cast(), complaint.len());
            libc::_exit(124);
        }
        libc::close(fd);
        SECONDS.store(page.cast(), Ordering::Release);
    }
}

fn seconds() -> i64 {
    let seconds = SECONDS.load(Ordering::Acquire);
    // Another library's constructor may ask before ours has run.
    // SAFETY: NULL, or the mapping of 8 aligned bytes, which stays for ever.
    unsafe { seconds.as_ref() }.map_or(0, |seconds| seconds.load(Ordering::Relaxed))
}

/// `clock_gettime(2)`.
///
/// # Safety
/// As that of libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
    if clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE {
        // SAFETY: the caller's place for a timespec.
        unsafe { out.write(timespec { tv_sec: seconds(), tv_nsec: 0 }) };
        return 0;
    }
    // SAFETY: passed on as it came.
    let result: c_long = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) };
    result as c_int
}

/// `time(2)`.
///
/// # Safety
/// As that of libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(out: *mut time_t) -> time_t {
    // SAFETY: NULL or the caller's place for a time_t.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = seconds();
    }
    seconds()
}

/// `gettimeofday(2)`.
///
/// # Safety
/// As that of libc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(out: *mut timeval, _zone: *mut c_void) -> c_int {
    // SAFETY: NULL or the caller's place for a timeval.
    if let Some(out) = unsafe { out.as_mut() } {
        *out = timeval { tv_sec: seconds(), tv_usec: 0 };
    }
    0
}
