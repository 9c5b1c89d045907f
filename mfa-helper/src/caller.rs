//! Who is asking, and what they may ask.

use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The process at the other end, as the kernel says; nothing that it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its effective uid when the connection was made.
    pub uid: u32,
}

/// Asks the kernel who is at the other end.
pub fn of(stream: &UnixStream) -> nix::Result<Caller> {
    getsockopt(stream, PeerCredentials).map(|peer| Caller { uid: peer.uid() })
}

impl Caller {
    /// Root may ask anything for anyone. Nobody else is served yet.
    pub fn may_ask(self) -> bool {
        self.uid == 0
    }
}
