//! The one capability of the service that its conversations themselves do not use: CAP_DAC_READ_SEARCH. With it, the
//! process that runs libpam can read a shadow file of mode 0000, as on Fedora and RHEL.
//!
//! The service's processes keep it *permitted* until it is clear that nobody needs it, because a process can only
//! pass on what it has. It is *effective*, which is what the kernel checks, only in that child. It may stay in the
//! bounding set, whose change would need CAP_SETPCAP: with no_new_privs, execve(2) adds nothing that was not
//! permitted before.

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

/// Makes it not effective in this process and its future children. It can be taken up again.
pub fn set_aside() -> nix::Result<()> {
    change(|sets| sets.effective &= !(1 << CAP_DAC_READ_SEARCH))
}

/// Makes it effective again if it is permitted. (An administrator may have removed it from the unit.)
pub fn take_up() -> nix::Result<()> {
    change(|sets| sets.effective |= sets.permitted & (1 << CAP_DAC_READ_SEARCH))
}

/// Takes it from this process and its future children for good.
pub fn give_up() -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    change(|sets| {
        for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
            *set &= !(1 << CAP_DAC_READ_SEARCH);
        }
    })
}

/// Changes the lower words of the sets, where the capability is.
fn change(edit: impl FnOnce(&mut Sets)) -> nix::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: `header` is of version 3, for which the kernel reads and writes two `Sets`, and there are two.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()))?;
        edit(&mut sets[0]);
        Errno::result(libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is in the effective, permitted and bounding set of this thread.
    fn sets() -> [bool; 3] {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        ["CapEff:\t", "CapPrm:\t", "CapBnd:\t"].map(|field| {
            let word = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            u64::from_str_radix(word, 16).unwrap() & (1 << CAP_DAC_READ_SEARCH) != 0
        })
    }

    /// Each thread has its own sets. Only root has the capability at all.
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
