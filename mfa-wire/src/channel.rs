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

/// As many bytes are read ahead: most frames come whole, and often two together.
const AHEAD: usize = 1024;
/// The bytes of the length that stands before each frame.
const LENGTH: usize = 4;

/// One end of a conversation.
pub struct Channel {
    stream: UnixStream,
    /// What was read of the stream, of which the bytes from `taken` to `read` belong to no frame yet.
    ahead: Secret,
    taken: usize,
    read: usize,
    /// The timeouts that the socket has: each call of setsockopt(2) that is not needed is left out.
    reads_within: Option<Duration>,
    writes_within: Option<Duration>,
}

impl Channel {
    /// Takes over a connected stream. Nothing else may read from it after the first frame was received.
    pub fn new(stream: UnixStream) -> Self {
        Channel { stream, ahead: Secret::zeroed(AHEAD), taken: 0, read: 0, reads_within: None, writes_within: None }
    }

    /// The stream itself: to ask the kernel who is at its other end, or to shut it down.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether more than the last frame has been read. Then the stream itself may stay silent, and nobody may wait for it
    /// to become readable.
    pub fn is_ahead(&self) -> bool {
        self.taken < self.read
    }

    /// Sends one frame, in one piece. If the peer does not read it within `timeout`, this fails.
    pub fn send(&mut self, frame: &Secret, timeout: Duration) -> Result<(), Broken> {
        let length = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
        if length == 0 || length as usize > MAX_FRAME {
            return Err(Broken::Length(length));
        }
        let mut whole = Secret::zeroed(LENGTH + frame.bytes().len());
        whole.bytes_mut()[..LENGTH].copy_from_slice(&length.to_be_bytes());
        whole.bytes_mut()[LENGTH..].copy_from_slice(frame.bytes());
        self.write_all(whole.bytes(), timeout)
    }

    /// Receives one frame: its type byte and its body. The whole frame must arrive within `timeout`, so a peer cannot
    /// hold us longer by sending one byte at a time.
    pub fn receive(&mut self, timeout: Duration) -> Result<Secret, Broken> {
        let mut patience = Patience::of(timeout);
        while self.read - self.taken < LENGTH {
            self.read_ahead(&mut patience)?;
        }
        let mut length = [0; LENGTH];
        self.take(&mut length);
        let length = u32::from_be_bytes(length);
        if length == 0 || length as usize > MAX_FRAME {
            return Err(Broken::Length(length));
        }
        let mut frame = Secret::zeroed(length as usize);
        let mut filled = 0;
        while filled < frame.bytes().len() {
            if !self.is_ahead() {
                self.read_ahead(&mut patience)?;
            }
            filled += self.take(&mut frame.bytes_mut()[filled..]);
        }
        Ok(frame)
    }

    /// Moves what was read ahead to `to`, as far as there is some, and wipes it here.
    fn take(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.read - self.taken);
        let ahead = &mut self.ahead.bytes_mut()[self.taken..self.taken + count];
        to[..count].copy_from_slice(ahead);
        ahead.fill(0);
        self.taken += count;
        count
    }

    /// Reads once, as much as there is and fits.
    fn read_ahead(&mut self, patience: &mut Patience) -> Result<(), Broken> {
        let rest = self.read - self.taken;
        self.ahead.bytes_mut().copy_within(self.taken..self.read, 0);
        self.ahead.bytes_mut()[rest..self.read].fill(0);
        (self.taken, self.read) = (0, rest);
        loop {
            let within = patience.left()?;
            if self.reads_within != Some(within) {
                self.stream.set_read_timeout(Some(within)).map_err(failed)?;
                self.reads_within = Some(within);
            }
            match self.stream.read(&mut self.ahead.bytes_mut()[self.read..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => {
                    self.read += count;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), Broken> {
        let mut patience = Patience::of(timeout);
        while !bytes.is_empty() {
            let within = patience.left()?;
            if self.writes_within != Some(within) {
                self.stream.set_write_timeout(Some(within)).map_err(failed)?;
                self.writes_within = Some(within);
            }
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }
}

/// The time for all calls of one frame.
struct Patience {
    /// The whole of it, for the first call: mostly the timeout that the socket has already.
    whole: Option<Duration>,
    end: Instant,
}

impl Patience {
    fn of(timeout: Duration) -> Self {
        Patience { whole: Some(timeout), end: Instant::now() + timeout }
    }

    /// The timeout for the next call. Never zero: to a socket that means "no timeout".
    fn left(&mut self) -> Result<Duration, Broken> {
        let left = self.whole.take().unwrap_or_else(|| self.end.saturating_duration_since(Instant::now()));
        if left.is_zero() { Err(Broken::TimedOut) } else { Ok(left.max(Duration::from_millis(1))) }
    }
}

fn failed(e: std::io::Error) -> Broken {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::TimedOut,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Broken::Closed,
        kind => Broken::Io(kind),
    }
}
