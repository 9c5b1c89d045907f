//! The one capability of the service that its conversations do not use: CAP_DAC_READ_SEARCH, by which the process that
//! runs libpam reads a shadow of mode 0000, as Fedora and RHEL have it.
//!
//! The service's processes have it *permitted* until it is known that nobody needs it, because a process cannot give to
//! its child what it does not have; in their *effective* set, by which the kernel decides, only that child has it. It
//! need not leave the bounding set, which would take CAP_SETPCAP: with no_new_privs an execve(2) gives nothing that was
//! not permitted before.

use nix::errno::Errno;

const CAP_DAC_READ_SEARCH: u32 = 2;

/// _LINUX_CAPABILITY_VERSION_3 of capget(2): two words for each set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Of this process and of those that it forks: it is not in force. It can be again.
pub fn set_aside() -> nix::Result<()> {
    change(|sets| sets.effective &= !(1 << CAP_DAC_READ_SEARCH))
}

/// It is in force again, if it is permitted: the unit may have been told otherwise.
pub fn take_up() -> nix::Result<()> {
    change(|sets| sets.effective |= sets.permitted & (1 << CAP_DAC_READ_SEARCH))
}

/// This process and those that it forks or executes do not have it any more.
pub fn give_up() -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    change(|sets| {
        for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
            *set &= !(1 << CAP_DAC_READ_SEARCH);
        }
    })
}

/// Changes the lower words, in which the capability is.
fn change(edit: impl FnOnce(&mut Sets)) -> nix::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: a header and room for the two words of version 3, which live across both calls.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()))?;
        edit(&mut sets[0]);
        Errno::result(libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Effective, permitted and bounding set of this thread.
    fn sets() -> [bool; 3] {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        ["CapEff:\t", "CapPrm:\t", "CapBnd:\t"].map(|field| {
            let word = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            u64::from_str_radix(word, 16).unwrap() & (1 << CAP_DAC_READ_SEARCH) != 0
        })
    }

    /// Each thread has sets of its own. Only root has something to give up.
    #[test]
    fn what_is_set_aside_can_be_taken_up_and_what_is_given_up_cannot() {
        let thread = || {
            let had = sets();
            set_aside().unwrap();
            assert_eq!(sets()[..2], [false, had[1]]);
            take_up().unwrap();
            assert_eq!(sets()[..2], [had[1], had[1]]);
            give_up().unwrap();
            assert_eq!(sets()[..2], [false, false]);
            take_up().unwrap();
            assert_eq!(sets()[..2], [false, false]);
        };
        std::thread::spawn(thread).join().unwrap();
    }
}
