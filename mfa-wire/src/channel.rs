//! Frames over a connected stream, with a deadline.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::codec::{MAX_FRAME, Malformed};
use crate::secret::Secret;

/// Why a conversation cannot go on. The caller treats all of these as "no verdict".
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer is gone.
    Closed,
    /// The peer said nothing, or not all, in time.
    TimedOut,
    /// The peer announced a frame longer than [`MAX_FRAME`], or an empty one.
    Length(u32),
    /// The peer sent bytes that `docs/wire.md` does not allow.
    Malformed(Malformed),
    /// The peer sent a valid message at a moment when it is not allowed.
    OutOfTurn,
    /// The peer and we have no version of the protocol in common.
    Version,
    /// Any other failure of the stream.
    Io(ErrorKind),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Closed => f.write_str("the other side closed the conversation"),
            Broken::TimedOut => f.write_str("the other side did not answer in time"),
            Broken::Length(n) => write!(f, "a frame of {n} bytes was announced"),
            Broken::Malformed(what) => write!(f, "malformed frame: {what}"),
            Broken::OutOfTurn => f.write_str("a message came out of turn"),
            Broken::Version => f.write_str("the other side speaks another version"),
            Broken::Io(kind) => write!(f, "{kind}"),
        }
    }
}

impl From<Malformed> for Broken {
    fn from(what: Malformed) -> Self {
        Broken::Malformed(what)
    }
}

/// One end of a conversation.
pub struct Channel(UnixStream);

impl Channel {
    /// Takes over a connected stream.
    pub fn new(stream: UnixStream) -> Self {
        Channel(stream)
    }

    /// The stream itself: to ask the kernel who is at its other end, or to shut it down.
    pub fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// Sends one frame. If the peer does not read it within `timeout`, this fails.
    pub fn send(&mut self, frame: &Secret, timeout: Duration) -> Result<(), Broken> {
        let length = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        if length == 0 || length as usize > MAX_FRAME {
            return Err(Broken::Length(length));
        }
        let deadline = Instant::now() + timeout;
        self.write_all(&length.to_be_bytes(), deadline)?;
        self.write_all(frame.bytes(), deadline)
    }

    /// Receives one frame: its type byte and its body. The whole frame must arrive within `timeout`, so a peer cannot
    /// hold us longer by sending one byte at a time.
    pub fn receive(&mut self, timeout: Duration) -> Result<Secret, Broken> {
        let deadline = Instant::now() + timeout;
        let mut length = [0; 4];
        self.read_exact(&mut length, deadline)?;
        let length = u32::from_be_bytes(length);
        if length == 0 || length as usize > MAX_FRAME {
            return Err(Broken::Length(length));
        }
        let mut frame = Secret::zeroed(length as usize);
        self.read_exact(frame.bytes_mut(), deadline)?;
        Ok(frame)
    }

    fn read_exact(&mut self, mut buf: &mut [u8], deadline: Instant) -> Result<(), Broken> {
        while !buf.is_empty() {
            self.0.set_read_timeout(Some(left(deadline)?)).map_err(failed)?;
            match self.0.read(buf) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => buf = &mut buf[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    fn write_all(&mut self, mut buf: &[u8], deadline: Instant) -> Result<(), Broken> {
        while !buf.is_empty() {
            self.0.set_write_timeout(Some(left(deadline)?)).map_err(failed)?;
            match self.0.write(buf) {
                Ok(n) => buf = &buf[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }
}

/// The time left until `deadline`. Never zero: a socket timeout of zero means "no timeout".
fn left(deadline: Instant) -> Result<Duration, Broken> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Broken::TimedOut) } else { Ok(left.max(Duration::from_millis(1))) }
}

fn failed(e: std::io::Error) -> Broken {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::TimedOut,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Broken::Closed,
        kind => Broken::Io(kind),
    }
}
