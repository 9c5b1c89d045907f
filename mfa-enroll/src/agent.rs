//! Asks the person's own ssh agent for a signature by a key that is to be bound.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use mfa_ssh::SkPublicKey;
use mfa_ssh::agent::{self, NoAnswer, Until};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::helper::connected;

/// For the list of keys. An agent behind a connection to another machine needs time.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Why there is no signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoSignature {
    /// Nothing listens at the socket.
    NoAgent(Errno),
    /// It holds no key, or shows none because it is locked.
    Empty,
    /// It does not hold this key.
    NotHeld,
    /// It refuses to sign. The protocol gives no reason.
    Refused,
    /// It does not answer.
    Silent,
    /// Nobody touched the key in time.
    NotTouched,
    /// Its answer is not valid.
    Nonsense(String),
}

impl fmt::Display for NoSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSignature::NoAgent(Errno::EAGAIN) => f.write_str("the ssh agent is busy: try again"),
            NoSignature::NoAgent(e) => write!(f, "no ssh agent answers: {}; start one, or log in by ssh -A", e.desc()),
            NoSignature::Empty => {
                f.write_str("the ssh agent shows no key here: ssh-add FILE, without -h; if locked, -X")
            }
            NoSignature::NotHeld => f.write_str("the ssh agent does not show this key: ssh-add FILE, without -h"),
            NoSignature::Refused => f.write_str(
                "the ssh agent did not sign: is the key plugged in, and was it touched?\n\
                 Does it want its PIN (SSH_ASKPASS), or was it added by ssh-add -c or -h?",
            ),
            NoSignature::Silent => f.write_str("the ssh agent does not answer: start it anew, or log in again"),
            NoSignature::NotTouched => f.write_str("the key was not touched in time: try again"),
            NoSignature::Nonsense(why) => write!(f, "what listens is no ssh agent: {why}"),
        }
    }
}

/// Has the agent at `socket` (`SSH_AUTH_SOCK`) sign `data` with the key of this blob; the person must touch the key
/// `within` this time. Returns the blob of the signature, unchecked.
pub(crate) fn sign(socket: &Path, key: &[u8], data: &[u8], within: Duration) -> Result<Vec<u8>, NoSignature> {
    let mut stream = connected(socket).map_err(NoSignature::NoAgent)?;
    stream.set_nonblocking(true).map_err(|e| NoSignature::Nonsense(e.to_string()))?;
    let waits = stream.try_clone().map_err(|e| NoSignature::Nonsense(e.to_string()))?;
    let end = Instant::now() + AT_ONCE;
    let held = match agent::list(&mut stream, |until| wait(&waits, until, end)) {
        Ok(held) => held,
        // A locked agent refuses or shows an empty list.
        Err(NoAnswer::Refused) => Vec::new(),
        Err(no) => return Err(failed(no, NoSignature::Silent)),
    };
    if held.is_empty() {
        return Err(NoSignature::Empty);
    }
    // Of a certificate, the key signs that it is for.
    let is_of = |held: &&Vec<u8>| SkPublicKey::that_signs(held).is_ok_and(|of| of.to_blob() == key);
    let shown = held.iter().find(|held| *held == key).or_else(|| held.iter().find(is_of));
    let shown = shown.ok_or(NoSignature::NotHeld)?;
    let end = Instant::now() + within;
    agent::sign(&mut stream, shown, data, |until| wait(&waits, until, end))
        .map_err(|no| failed(no, NoSignature::NotTouched))
}

fn failed(no: NoAnswer<Errno>, late: NoSignature) -> NoSignature {
    match no {
        NoAnswer::Refused => NoSignature::Refused,
        NoAnswer::Stopped(Errno::ETIMEDOUT) => late,
        no => NoSignature::Nonsense(no.to_string()),
    }
}

fn wait(stream: &UnixStream, until: Until, end: Instant) -> Result<(), Errno> {
    let event = match until {
        Until::Readable => PollFlags::POLLIN,
        Until::Writable => PollFlags::POLLOUT,
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stream.as_fd(), event)], left) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => return Ok(()),
            // A signal whose default action ends the program does so by itself.
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    const KEY: &[u8] = b"the key";
    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(100);

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes(), body].concat()
    }

    fn holding(keys: &[&[u8]]) -> Vec<u8> {
        let mut body = [&[12][..], &(keys.len() as u32).to_be_bytes()].concat();
        keys.iter().for_each(|key| body.extend([frame(key), frame(b"comment")].concat()));
        frame(&body)
    }

    /// The result with an agent that gives `answers`, one for each question, and then only listens.
    fn asked(answers: &[Vec<u8>], within: Duration) -> Result<Vec<u8>, NoSignature> {
        asked_for(KEY, answers, within)
    }

    fn asked_for(key: &[u8], answers: &[Vec<u8>], within: Duration) -> Result<Vec<u8>, NoSignature> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mfa-enroll-agent-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new("/tmp").join(name);
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            let agent = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut length = [0; 4];
                    stream.read_exact(&mut length).unwrap();
                    let mut question = vec![0; u32::from_be_bytes(length) as usize];
                    stream.read_exact(&mut question).unwrap();
                    stream.write_all(answer).unwrap();
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
            let signed = sign(&path, key, b"data", within);
            std::fs::remove_file(&path).unwrap();
            agent.join().unwrap();
            signed
        })
    }

    #[test]
    fn a_key_that_is_held_signs() {
        let answers = [holding(&[b"another", KEY]), frame(&[&[14][..], &frame(b"signature")].concat())];
        assert_eq!(asked(&answers, LONG), Ok(b"signature".to_vec()));
    }

    #[test]
    fn a_key_of_which_the_certificate_alone_is_held_signs() {
        let key = SkPublicKey { point: mfa_ssh::Point::Ed25519([7; 32]), application: "ssh:".into() };
        let parts = [&b"sk-ssh-ed25519-cert-v01@openssh.com"[..], b"nonce", &[7; 32], b"ssh:"];
        let certificate = parts.map(frame).concat();
        let answers = [holding(&[b"another", &certificate]), frame(&[&[14][..], &frame(b"signature")].concat())];
        assert_eq!(asked_for(&key.to_blob(), &answers, LONG), Ok(b"signature".to_vec()));
        let other = SkPublicKey { application: "ssh:other".into(), ..key };
        assert_eq!(asked_for(&other.to_blob(), &answers[..1], LONG), Err(NoSignature::NotHeld));
    }

    #[test]
    fn every_other_answer_says_what_to_do() {
        let held = holding(&[KEY]);
        let cases = [
            (vec![holding(&[])], LONG, NoSignature::Empty),
            (vec![frame(&[5])], LONG, NoSignature::Empty),
            (vec![holding(&[b"another"])], LONG, NoSignature::NotHeld),
            (vec![held.clone(), frame(&[5])], LONG, NoSignature::Refused),
            (vec![held], SHORT, NoSignature::NotTouched),
        ];
        for (answers, within, expected) in cases {
            assert_eq!(asked(&answers, within), Err(expected));
        }
        assert!(matches!(asked(&[b"HTTP/1.1 400 Bad".to_vec()], LONG), Err(NoSignature::Nonsense(_))));
        let nobody = sign(Path::new("/no/such/agent"), KEY, b"data", LONG);
        assert_eq!(nobody, Err(NoSignature::NoAgent(Errno::ENOENT)));
    }

    #[test]
    fn every_line_fits() {
        for line in [
            NoSignature::NoAgent(Errno::ENOENT),
            NoSignature::NoAgent(Errno::ECONNREFUSED),
            NoSignature::NoAgent(Errno::EAGAIN),
            NoSignature::Empty,
            NoSignature::NotHeld,
            NoSignature::Refused,
            NoSignature::Silent,
            NoSignature::NotTouched,
        ] {
            let text = line.to_string();
            assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
        }
    }
}
