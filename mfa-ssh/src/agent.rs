//! The messages to and from an ssh agent: draft-miller-ssh-agent.
//!
//! An agent is a program of the user's: nothing that it says is trusted, and its answers have size limits.

use std::fmt;
use std::io::{ErrorKind, Read, Write};

use crate::blob::{Malformed, Reader, put};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Other failure codes, which old agents use.
const FAILURES: [u8; 3] = [FAILURE, 30, 102];

/// OpenSSH's own limit for the length of an answer.
const MAX_ANSWER: usize = 256 * 1024;
/// OpenSSH's own limit for the number of keys in an agent.
const MAX_IDENTITIES: u32 = 2048;

/// What a stream has to be ready for before an exchange can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// There is something to read, or the stream has ended.
    Readable,
    /// There is room to write.
    Writable,
}

/// Why an agent gives no answer; `E` is the caller's reason to stop waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer<E> {
    /// It refuses. The protocol gives no reason.
    Refused,
    /// It has closed the connection.
    Closed,
    /// Its answer is not valid.
    Malformed(Malformed),
    /// The stream has failed.
    Io(ErrorKind),
    /// The caller has stopped waiting.
    Stopped(E),
}

impl<E> From<Malformed> for NoAnswer<E> {
    fn from(what: Malformed) -> Self {
        NoAnswer::Malformed(what)
    }
}

/// For a log. The caller has its own sentence for the person.
impl<E: fmt::Display> fmt::Display for NoAnswer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Refused => f.write_str("the agent says no"),
            NoAnswer::Closed => f.write_str("the agent hung up"),
            NoAnswer::Malformed(what) => write!(f, "the agent's answer is {what}"),
            NoAnswer::Io(kind) => write!(f, "the agent cannot be reached: {kind}"),
            NoAnswer::Stopped(why) => why.fmt(f),
        }
    }
}

/// The blobs of the public keys that the agent behind `stream` holds. A locked agent shows none.
///
/// `stream` must be non-blocking; `wait` blocks until it is ready or there is a reason to stop.
pub fn list<E>(
    stream: &mut (impl Read + Write),
    wait: impl FnMut(Until) -> Result<(), E>,
) -> Result<Vec<Vec<u8>>, NoAnswer<E>> {
    let answer = exchange(stream, &[REQUEST_IDENTITIES], wait)?;
    let mut reader = expect(&answer, IDENTITIES_ANSWER)?;
    let count = reader.number()?;
    if count > MAX_IDENTITIES {
        return Err(Malformed("more keys than an agent holds").into());
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(reader.string()?.to_vec());
        // The comment: not trusted, because anybody could have written it.
        reader.string()?;
    }
    reader.end()?;
    Ok(keys)
}

/// Has the agent behind `stream` sign `data` with the key of this blob. Returns the blob of a signature.
pub fn sign<E>(
    stream: &mut (impl Read + Write),
    key: &[u8],
    data: &[u8],
    wait: impl FnMut(Until) -> Result<(), E>,
) -> Result<Vec<u8>, NoAnswer<E>> {
    let mut request = vec![SIGN_REQUEST];
    put(&mut request, key);
    put(&mut request, data);
    request.extend(0u32.to_be_bytes());
    let answer = exchange(stream, &request, wait)?;
    let mut reader = expect(&answer, SIGN_RESPONSE)?;
    let signature = reader.string()?.to_vec();
    reader.end()?;
    Ok(signature)
}

fn expect<E>(answer: &[u8], kind: u8) -> Result<Reader<'_>, NoAnswer<E>> {
    match answer {
        [first, body @ ..] if *first == kind => Ok(Reader::new(body)),
        [first, ..] if FAILURES.contains(first) => Err(NoAnswer::Refused),
        _ => Err(Malformed("an answer to something else").into()),
    }
}

fn exchange<E>(
    stream: &mut (impl Read + Write),
    request: &[u8],
    mut wait: impl FnMut(Until) -> Result<(), E>,
) -> Result<Vec<u8>, NoAnswer<E>> {
    let mut frame = Vec::new();
    put(&mut frame, request);
    let mut left = &frame[..];
    while !left.is_empty() {
        match stream.write(left) {
            Ok(n) => left = &left[n..],
            Err(e) => pause(e, Until::Writable, &mut wait)?,
        }
    }
    let mut length = [0; 4];
    fill(stream, &mut length, &mut wait)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(1..=MAX_ANSWER).contains(&length) {
        return Err(Malformed("an answer of impossible length").into());
    }
    let mut answer = vec![0; length];
    fill(stream, &mut answer, &mut wait)?;
    Ok(answer)
}

fn fill<E>(
    stream: &mut impl Read,
    mut buffer: &mut [u8],
    wait: &mut impl FnMut(Until) -> Result<(), E>,
) -> Result<(), NoAnswer<E>> {
    while !buffer.is_empty() {
        match stream.read(buffer) {
            Ok(0) => return Err(NoAnswer::Closed),
            Ok(n) => buffer = &mut buffer[n..],
            Err(e) => pause(e, Until::Readable, wait)?,
        }
    }
    Ok(())
}

/// Waits if that is all that the error asks for; otherwise fails.
fn pause<E>(
    error: std::io::Error,
    until: Until,
    wait: &mut impl FnMut(Until) -> Result<(), E>,
) -> Result<(), NoAnswer<E>> {
    match error.kind() {
        ErrorKind::WouldBlock => wait(until).map_err(NoAnswer::Stopped),
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Err(NoAnswer::Closed),
        kind => Err(NoAnswer::Io(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An agent whose answers are written beforehand, in pieces; after them, the stream ends.
    struct Scripted {
        pieces: Vec<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Scripted {
        fn says(bytes: &[u8], piece: usize) -> Self {
            let mut pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
            pieces.reverse();
            Scripted { pieces, heard: Vec::new() }
        }
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(mut piece) = self.pieces.pop() else { return Err(ErrorKind::WouldBlock.into()) };
            let n = piece.len().min(buffer.len());
            buffer[..n].copy_from_slice(&piece[..n]);
            if n < piece.len() {
                self.pieces.push(piece.split_off(n));
            }
            Ok(n)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let n = bytes.len().min(3);
            self.heard.extend(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Late;

    fn late(_: Until) -> Result<(), Late> {
        Err(Late)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put(&mut frame, body);
        frame
    }

    fn identities(keys: &[&[u8]]) -> Vec<u8> {
        let mut body = vec![IDENTITIES_ANSWER];
        body.extend((keys.len() as u32).to_be_bytes());
        for key in keys {
            put(&mut body, key);
            put(&mut body, b"a comment");
        }
        frame(&body)
    }

    fn listed(bytes: &[u8]) -> Result<Vec<Vec<u8>>, NoAnswer<Late>> {
        list(&mut Scripted::says(bytes, 5), late)
    }

    #[test]
    fn keys_are_listed_in_the_order_of_the_agent() {
        let mut agent = Scripted::says(&identities(&[b"one", b"two"]), 5);
        assert_eq!(list(&mut agent, late), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(agent.heard, [0, 0, 0, 1, 11]);
        assert_eq!(listed(&identities(&[])), Ok(vec![]));
    }

    #[test]
    fn a_signature_is_asked_for_by_key_and_data() {
        let mut answer = vec![SIGN_RESPONSE];
        put(&mut answer, b"signature");
        let mut agent = Scripted::says(&frame(&answer), 1);
        assert_eq!(sign(&mut agent, b"key", b"data", late), Ok(b"signature".to_vec()));
        assert_eq!(agent.heard, b"\0\0\0\x14\x0d\0\0\0\x03key\0\0\0\x04data\0\0\0\0");
    }

    #[test]
    fn what_is_no_answer_is_told_from_a_no() {
        for no in FAILURES {
            assert_eq!(listed(&frame(&[no])), Err(NoAnswer::Refused));
        }
        let malformed = |bytes: &[u8]| assert!(matches!(listed(bytes), Err(NoAnswer::Malformed(_))), "{bytes:?}");
        malformed(&frame(b""));
        malformed(&frame(&[SIGN_RESPONSE]));
        malformed(&frame(&[6]));
        malformed(&u32::MAX.to_be_bytes());
        malformed(&(MAX_ANSWER as u32 + 1).to_be_bytes());
        malformed(&frame(&[&[IDENTITIES_ANSWER][..], &u32::MAX.to_be_bytes()].concat()));
        malformed(&frame(&[&[IDENTITIES_ANSWER][..], &[0, 0, 0, 0, 9]].concat()));
        let whole = identities(&[b"one"]);
        malformed(&frame(&whole[4..whole.len() - 1]));
        assert_eq!(listed(&whole[..whole.len() - 1]), Err(NoAnswer::Stopped(Late)));
    }

    #[test]
    fn an_agent_that_hangs_up_has_hung_up() {
        let (mut here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(there);
        assert_eq!(list(&mut here, late), Err(NoAnswer::Closed));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes: Vec<u8>, piece in 1..9usize) {
            for said in [bytes.clone(), frame(&bytes), frame(&[&[IDENTITIES_ANSWER], &bytes[..]].concat())] {
                let _ = list(&mut Scripted::says(&said, piece), late);
                let _ = sign(&mut Scripted::says(&said, piece), b"", b"", late);
            }
        }
    }
}
