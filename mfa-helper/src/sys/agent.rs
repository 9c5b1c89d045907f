//! A process that becomes a user, so that it has the rights of that user and no others.

use std::ffi::CStr;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    sendmsg, socket,
};
use nix::unistd::{Gid, Uid, getgrouplist, getgroups, initgroups, setresgid, setresuid};

/// Makes this process the user's, irreversibly, and checks that it is.
pub fn become_user(name: &CStr, uid: Uid, gid: Gid) -> Result<(), String> {
    let failed = |what: &str, e: Errno| format!("{what}: {}", e.desc());
    prctl::set_no_new_privs().map_err(|e| failed("no_new_privs", e))?;
    setresgid(gid, gid, gid).map_err(|e| failed("setresgid", e))?;
    initgroups(name, gid).map_err(|e| failed("initgroups", e))?;
    setresuid(uid, uid, uid).map_err(|e| failed("setresuid", e))?;
    // A change of uid resets both.
    prctl::set_dumpable(false).map_err(|e| failed("dumpable", e))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| failed("pdeathsig", e))?;
    let mut expected = getgrouplist(name, gid).map_err(|e| failed("getgrouplist", e))?;
    let mut groups = getgroups().map_err(|e| failed("getgroups", e))?;
    for list in [&mut expected, &mut groups] {
        list.sort_unstable_by_key(|group| group.as_raw());
        list.dedup();
    }
    let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let is = is_of(&status, uid, gid) && groups == expected && prctl::get_dumpable() == Ok(false);
    if is { Ok(()) } else { Err(String::from("it is not the user's")) }
}

/// Whether the kernel reports these ids as real, effective, saved and file system ids, no_new_privs, and no
/// capability.
fn is_of(status: &str, uid: Uid, gid: Gid) -> bool {
    let says = |field: &str, expected: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
        value.is_some_and(|value| value.split_ascii_whitespace().all(|word| word == expected))
    };
    let none = "0000000000000000";
    let capable = uid.is_root() || ["CapPrm", "CapEff", "CapAmb"].into_iter().all(|set| says(set, none));
    says("Uid", &uid.to_string()) && says("Gid", &gid.to_string()) && says("NoNewPrivs", "1") && capable
}

/// Connects to a socket without waiting: a full queue is an error.
pub fn connected(path: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Sends a number and, if given, a descriptor.
pub fn pass(stream: &UnixStream, number: i32, descriptor: Option<BorrowedFd>) -> nix::Result<()> {
    let bytes = number.to_ne_bytes();
    let descriptors: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[][..] } else { &rights };
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives what [`pass`] sent. `None` if the other side has ended before it sent anything.
pub fn passed(stream: &UnixStream) -> nix::Result<Option<(i32, Option<OwnedFd>)>> {
    let mut bytes = [0; 4];
    let mut room = cmsg_space!([i32; 1]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(stream.as_fd().as_raw_fd(), &mut slices, Some(&mut room), flags)?;
    let whole = message.bytes == size_of::<i32>();
    let mut descriptor = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for number in descriptors {
                // SAFETY: the kernel has just opened this descriptor for us, so nothing else owns it.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok(whole.then_some((i32::from_ne_bytes(bytes), descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\nCapInh:\t0000000000000001\n\
        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn one_id_or_capability_that_stayed_is_found() {
        let of = |status: &str| is_of(status, Uid::from_raw(1000), Gid::from_raw(100));
        assert!(of(STATUS));
        for id in ["1000\t1000\t1000\t0", "1000\t1000\t0\t1000", "1000\t0\t1000\t1000", "0\t1000\t1000\t1000"] {
            assert!(!of(&STATUS.replace("1000\t1000\t1000\t1000", id)), "{id}");
        }
        assert!(!of(&STATUS.replace("100\t100\t100\t100\n", "100\t100\t100\t0\n")));
        for set in ["CapPrm:\t0000", "CapEff:\t0000", "CapAmb:\t0000"] {
            assert!(!of(&STATUS.replace(set, &set.replace("0000", "0002"))), "{set}");
        }
        assert!(!of(&STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")));
        assert!(!of("") && !of(&STATUS.replace("Uid", "Xid")));
    }

    #[test]
    fn a_descriptor_is_passed_and_none_is_made_up() {
        let (here, there) = UnixStream::pair().unwrap();
        pass(&there, 7, None).unwrap();
        assert!(matches!(passed(&here), Ok(Some((7, None)))));
        assert!(matches!(passed(&here), Err(Errno::EAGAIN)));
        let file = fs::File::open("/dev/null").unwrap();
        pass(&there, 0, Some(file.as_fd())).unwrap();
        let (number, descriptor) = passed(&here).unwrap().unwrap();
        let descriptor = descriptor.unwrap();
        let same = fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap();
        assert_eq!((number, same), (0, "/dev/null".into()));
        let flags = nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, nix::fcntl::FdFlag::FD_CLOEXEC.bits());
        drop(there);
        assert!(matches!(passed(&here), Ok(None)));
    }

    #[test]
    fn a_socket_whose_queue_is_full_is_busy_and_nobody_waits() {
        let path = Path::new("/tmp").join(format!("mfa-queue-{}", std::process::id()));
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        nix::sys::socket::bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert_eq!(connected(&path).err(), Some(Errno::ECONNREFUSED));
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let taken: Vec<_> = (0..64).map(|_| connected(&path)).take_while(Result::is_ok).collect();
        assert!(!taken.is_empty() && taken.len() < 64);
        assert_eq!(connected(&path).err(), Some(Errno::EAGAIN));
        fs::remove_file(&path).unwrap();
        assert_eq!(connected(&path).err(), Some(Errno::ENOENT));
    }
}
