//! Connects to a helper that listens.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::spawn::lift;

/// Connects to the socket at `path`. Where its queue is full, it waits for so long, or not at all.
///
/// What is behind it must be root's, as the kernel says: whoever else could put a socket there would learn what is
/// typed, and say who may pass.
pub(crate) fn connect(path: &std::ffi::CStr, patience: Option<Duration>) -> Result<UnixStream> {
    let bytes = path.to_bytes_with_nul();
    // SAFETY: a structure of plain data.
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
    // SAFETY: plain numbers in, a new descriptor or -1 out.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else knows it.
    let socket = lift(unsafe { OwnedFd::from_raw_fd(fd) })?;
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let socket = UnixStream::from(socket);
    // It bounds the wait for a place in the queue too, which ends in EAGAIN then (unix(7), socket(7)).
    socket.set_write_timeout(patience)?;
    let begun = Instant::now();
    // SAFETY: an address of that size, which lives across the call.
    while unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) } != 0 {
        let error = Error::last_os_error();
        // A handler of the host's ran meanwhile.
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

/// The uid of the process that listens, when it began to.
fn listener(socket: &UnixStream) -> Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a place of that size for a ucred, which lives across the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut size)
    };
    if done == 0 { Ok(peer.uid) } else { Err(Error::last_os_error()) }
}
