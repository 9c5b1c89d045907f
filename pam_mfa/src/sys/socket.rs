//! Connects to a listening helper.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::spawn::lift;

/// Connects to the socket at `path`. If its queue is full, waits this long, or not at all.
///
/// The kernel must say that the listener is root: any other process that put a socket there would learn what is
/// typed, and could let anybody in.
pub(crate) fn connect(path: &std::ffi::CStr, patience: Option<Duration>) -> Result<UnixStream> {
    let bytes = path.to_bytes_with_nul();
    // SAFETY: a `sockaddr_un` may be all zeros.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() > address.sun_path.len() {
        return Err(ErrorKind::InvalidInput.into());
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let waiting = if patience.is_some() { 0 } else { libc::SOCK_NONBLOCK };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | waiting;
    // SAFETY: takes only numbers, and returns a new descriptor or -1.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: socket() has just made this descriptor, so nothing else owns it.
    let socket = lift(unsafe { OwnedFd::from_raw_fd(fd) })?;
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let socket = UnixStream::from(socket);
    // It also limits the wait for room in the queue, which then ends with EAGAIN (unix(7), socket(7)).
    socket.set_write_timeout(patience)?;
    let begun = Instant::now();
    // SAFETY: `address` is valid for `size` bytes and outlives the call.
    while unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) } != 0 {
        let error = Error::last_os_error();
        // EINTR means that a signal handler of the host ran meanwhile.
        if error.kind() != ErrorKind::Interrupted || patience.is_none_or(|patience| begun.elapsed() > patience) {
            return Err(error);
        }
    }
    if listener(&socket)? != 0 {
        return Err(ErrorKind::PermissionDenied.into());
    }
    socket.set_write_timeout(None)?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}

/// The uid that the listening process had when it called listen().
fn listener(socket: &UnixStream) -> Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is valid for `size` bytes, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut size)
    };
    if done == 0 { Ok(peer.uid) } else { Err(Error::last_os_error()) }
}
