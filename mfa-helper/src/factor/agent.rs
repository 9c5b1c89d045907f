//! A bound ssh key, asked through the ssh agent of the person who logs in: `ssh -A`, then `sudo`.
//!
//! The path of the agent's socket comes from the person's environment, so it is a hint and never trusted. A process
//! that has become the user makes the connection, so it reaches only sockets that the user can reach. The agent's
//! answers are parsed here, with limits, and only a signature by a bound key over our challenge counts
//! (`key::check`).

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mfa_core::key::{self, Key, Signed};
use mfa_ssh::agent::{self, NoAnswer, Until};
use mfa_ssh::{Hash, Rest, SignatureError, SkPublicKey, SkSignature, client_data_hash, signed_data};
use mfa_wire::{Channel, Secret};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{SockType, getsockopt, sockopt::PeerCredentials};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid};

use crate::sys;
use crate::sys::names::{self, User};

/// The argument with which we, and never anything outside, start the connecting process.
pub const ARGUMENT: &CStr = c"--agent";

/// For the connection and the list of keys. An agent behind a connection to another machine needs time.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The length of `sun_path` without its final NUL.
const MAX_PATH: usize = 107;

/// The connecting process sends this in place of an errno if it could not become the user.
const NOT_THE_USER: i32 = -1;

/// Why no key has signed. `Display` gives the text for the person.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no hint, or it is not the path of a socket.
    NoAgent,
    /// Nothing listens at the path.
    NoSocket(Errno),
    /// The listener belongs to another user.
    NotYours(String),
    /// Its queue is full.
    Busy,
    /// It shows no key: it holds none, is locked, or none may be used over this connection (`ssh-add -h`).
    Empty,
    /// None of the keys that it shows lives on a security key. Those of PKCS#11 look like keys in files.
    NoneOfSk,
    /// It shows no bound key.
    NoneBound,
    /// It refuses to sign. The protocol gives no reason.
    Refused,
    /// It refuses to sign by a key that was bound with its PIN or fingerprint.
    NotVerified,
    /// It does not even list its keys in time.
    Silent,
    /// Nobody touched the key in time.
    NotTouched,
    /// It has signed as a browser does.
    WebAuthn,
    /// Its answer is not one of an agent's.
    Nonsense(String),
    /// The front end is gone, or sends something while it must wait.
    Gone,
    /// The attempt itself failed.
    Unable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NoAgent => "There is no ssh agent here: run ssh-add where you sit, and log in by ssh -A.",
            Failure::NoSocket(_) => "Your ssh agent is gone: log in again by ssh -A.",
            Failure::NotYours(_) => "The ssh agent here is not yours: log in again by ssh -A.",
            Failure::Busy => "Your ssh agent is busy: try again.",
            Failure::Empty => "Your ssh agent shows no key here: ssh-add FILE, without -h; if locked, -X.",
            Failure::NoneOfSk => "Your ssh agent shows only other keys, of files or PKCS#11: ssh-add FILE_sk.",
            Failure::NoneBound => "Your ssh agent shows no key that is bound here: ssh-add FILE, without -h.",
            Failure::Refused => {
                "Your ssh agent did not sign: is the key plugged in, and was it touched?\n\
                 It asks where you sit for a PIN, or after ssh-add -c; ssh-add -h may forbid it."
            }
            Failure::NotVerified => {
                "Your ssh agent did not sign: is the key plugged in, and was it touched?\n\
                 It wants its PIN or a fingerprint where you sit: that agent needs SSH_ASKPASS."
            }
            Failure::Silent => "Your ssh agent does not answer: log in again by ssh -A.",
            Failure::NotTouched => "The key was not touched in time: try again.",
            Failure::WebAuthn => "Your ssh agent signs by webauthn-sk, as browsers do: that does not count here.",
            Failure::Nonsense(_) => "What answers here is no ssh agent: log in again by ssh -A.",
            Failure::Gone => "Nobody waits for the key any more.",
            Failure::Unable(_) => "Your ssh agent cannot be asked: the system log says why.",
        })
    }
}

impl Failure {
    /// The reason for the log.
    pub fn reason(&self) -> String {
        let what = match self {
            Failure::NoAgent => "SSH_AUTH_SOCK is not set to the path of a socket",
            Failure::NoSocket(e) => &format!("the socket cannot be reached: {}", e.desc()),
            Failure::NotYours(why) | Failure::Nonsense(why) | Failure::Unable(why) => why,
            Failure::Busy => "the agent's queue is full",
            Failure::Empty => "the agent is locked, empty, or shows nothing here",
            Failure::NoneOfSk => "the agent shows no key of a security key",
            Failure::NoneBound => "the agent shows no bound key",
            Failure::Refused => "the agent did not sign",
            Failure::NotVerified => "the agent did not sign by a key that wants its PIN",
            Failure::WebAuthn => "the agent has signed by webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
            Failure::Silent => "the agent does not answer",
            Failure::NotTouched => "the key was not touched in time",
            Failure::Gone => "the front end is gone",
        };
        format!("ssh agent: {what}")
    }
}

/// An agent that holds bound keys.
pub struct Agent<'a> {
    stream: UnixStream,
    gone: BorrowedFd<'a>,
    /// The index among the bound keys, the key, and what the agent calls it; in the order of the agent.
    holds: Vec<(usize, SkPublicKey, Vec<u8>)>,
    /// All of them were bound with PIN or fingerprint.
    verifies: bool,
}

impl<'a> Agent<'a> {
    /// Connects to the agent of `user` (a name from the name service) at `hint`, and finds out which of the bound
    /// `keys` it holds. Ends early when `gone` becomes readable.
    pub fn find(user: &str, hint: &Path, keys: &[Key], gone: BorrowedFd<'a>) -> Result<Agent<'a>, Failure> {
        let user = match names::user(user) {
            Ok(Some(user)) => user,
            Ok(None) => return Err(Failure::Unable(format!("{user:?} is unknown"))),
            Err(e) => return Err(Failure::Unable(format!("the name service failed: {}", e.desc()))),
        };
        let hint = hint.as_os_str().as_bytes();
        if hint.first() != Some(&b'/') || hint.len() > MAX_PATH || hint.contains(&0) {
            return Err(Failure::NoAgent);
        }
        let end = Instant::now() + AT_ONCE;
        let stream = connection(&user, hint, gone, end)?;
        Agent::over(stream, keys, gone, end)
    }

    /// Finds the keys over an existing connection.
    fn over(mut stream: UnixStream, keys: &[Key], gone: BorrowedFd<'a>, end: Instant) -> Result<Agent<'a>, Failure> {
        stream.set_nonblocking(true).map_err(|e| Failure::Unable(e.to_string()))?;
        let waits = stream.try_clone().map_err(|e| Failure::Unable(e.to_string()))?;
        let listed = match agent::list(&mut stream, |until| wait(&waits, until, gone, end)) {
            Ok(listed) => listed,
            // A locked agent refuses or shows an empty list.
            Err(NoAnswer::Refused) => Vec::new(),
            Err(no) => return Err(failure(no, Failure::Silent)),
        };
        if listed.is_empty() {
            return Err(Failure::Empty);
        }
        let of_sk = listed.into_iter().filter_map(|blob| Some((SkPublicKey::that_signs(&blob).ok()?, blob)));
        let of_sk: Vec<(SkPublicKey, Vec<u8>)> = of_sk.collect();
        if of_sk.is_empty() {
            return Err(Failure::NoneOfSk);
        }
        let mut holds: Vec<(usize, SkPublicKey, Vec<u8>)> = Vec::new();
        for (held, blob) in of_sk {
            // ssh-add adds a key and its certificate, and no key is asked twice.
            let is_asked = holds.iter().any(|(_, other, _)| *other == held);
            let bound = keys.iter().position(|key| key.of_ssh().as_ref() == Some(&held));
            holds.extend(bound.filter(|_| !is_asked).map(|bound| (bound, held, blob)));
        }
        let verifies = holds.iter().all(|(bound, ..)| keys[*bound].verified);
        if holds.is_empty() { Err(Failure::NoneBound) } else { Ok(Agent { stream, gone, holds, verifies }) }
    }

    /// Has one of the bound keys sign `challenge`, which must be fresh; the person must touch that key. Returns the
    /// index of the key and the inputs of `key::check`.
    pub fn sign(mut self, challenge: &[u8; 32], within: Duration) -> Result<(usize, Signed, [u8; 32]), Failure> {
        let end = Instant::now() + within;
        let data = signed_data(challenge, Hash::Sha512);
        let waits = self.stream.try_clone().map_err(|e| Failure::Unable(e.to_string()))?;
        for (bound, held, blob) in &self.holds {
            let wait = |until| wait(&waits, until, self.gone, end);
            let blob = match agent::sign(&mut self.stream, blob, &data, wait) {
                Ok(blob) => blob,
                // This security key may not be plugged in, but the next one may be.
                Err(NoAnswer::Refused) => continue,
                Err(no) => return Err(failure(no, Failure::NotTouched)),
            };
            let nonsense =
                || Failure::Nonsense(String::from("the agent's answer is malformed: no signature of this key"));
            let signature = SkSignature::from_blob(&blob, held).map_err(|why| match why {
                SignatureError::WebAuthn => Failure::WebAuthn,
                _ => nonsense(),
            })?;
            let signed = signed(&signature, &held.application).ok_or_else(nonsense)?;
            return Ok((*bound, signed, client_data_hash(challenge, Hash::Sha512)));
        }
        Err(if self.verifies { Failure::NotVerified } else { Failure::Refused })
    }
}

/// The form in which `key::check` takes signatures of security keys.
pub fn signed(signature: &SkSignature, application: &str) -> Option<Signed> {
    let rest = match &signature.rest {
        Rest::Ed25519(signature) => signature.to_vec(),
        Rest::Ecdsa(halves) => key::der(&halves[..32], &halves[32..])?,
    };
    Some(Signed { auth_data: signature.authenticator_data(application).to_vec(), signature: rest })
}

/// Why we stopped waiting for an answer.
#[derive(Debug)]
enum Stopped {
    Late,
    Gone,
    Failed(Errno),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Late => f.write_str("too late"),
            Stopped::Gone => f.write_str("the front end is gone"),
            Stopped::Failed(e) => f.write_str(e.desc()),
        }
    }
}

fn failure(no: NoAnswer<Stopped>, late: Failure) -> Failure {
    match no {
        NoAnswer::Stopped(Stopped::Late) => late,
        NoAnswer::Stopped(Stopped::Gone) => Failure::Gone,
        NoAnswer::Stopped(Stopped::Failed(e)) => Failure::Unable(e.desc().to_owned()),
        NoAnswer::Refused => Failure::Refused,
        no => Failure::Nonsense(no.to_string()),
    }
}

/// Waits for `stream` until `end`. Stops if the front end sends something or is gone: it must be silent during this.
fn wait(stream: &impl AsFd, until: Until, gone: BorrowedFd, end: Instant) -> Result<(), Stopped> {
    let event = match until {
        Until::Readable => PollFlags::POLLIN,
        Until::Writable => PollFlags::POLLOUT,
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stopped::Late);
        }
        let mut fds = [PollFd::new(gone, PollFlags::POLLIN), PollFd::new(stream.as_fd(), event)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) if fds[0].any() == Some(true) => return Err(Stopped::Gone),
            Ok(_) if fds[1].any() == Some(true) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Stopped::Failed(e)),
        }
    }
}

/// Has a process that becomes the user connect, and checks that the user or root listens at the socket.
fn connection(user: &User, hint: &[u8], gone: BorrowedFd, end: Instant) -> Result<UnixStream, Failure> {
    let failed = Failure::Unable;
    let started = sys::child::start(ARGUMENT, SockType::Stream, None);
    let (process, stream) = started.map_err(|e| failed(format!("no process: {}", e.desc())))?;
    let answer = ask_process(UnixStream::from(stream), user, hint, gone, end, process)?;
    let agent = match answer {
        Some((0, Some(agent))) => agent,
        Some((NOT_THE_USER, None)) => return Err(failed(format!("no process could become {:?}", user.name))),
        Some((errno, None)) => {
            return Err(match Errno::from_raw(errno) {
                Errno::EAGAIN => Failure::Busy,
                e @ (Errno::EACCES | Errno::EPERM) => Failure::NotYours(e.desc().to_owned()),
                e => Failure::NoSocket(e),
            });
        }
        _ => return Err(failed(String::from("the process that connects ended"))),
    };
    is_trusted(&agent, user.uid)?;
    Ok(UnixStream::from(agent))
}

/// By the kernel's word, the listener is the process that called listen(2). Root may listen on behalf of the user.
fn is_trusted(agent: &OwnedFd, uid: Uid) -> Result<(), Failure> {
    match getsockopt(agent, PeerCredentials) {
        Ok(peer) if peer.uid() == uid.as_raw() || peer.uid() == 0 => Ok(()),
        Ok(peer) => Err(Failure::NotYours(format!("uid {} listens at the socket of uid {uid}", peer.uid()))),
        Err(e) => Err(Failure::NotYours(e.desc().to_owned())),
    }
}

type Passed = Option<(i32, Option<OwnedFd>)>;

fn ask_process(
    stream: UnixStream,
    user: &User,
    hint: &[u8],
    gone: BorrowedFd,
    end: Instant,
    process: Pid,
) -> Result<Passed, Failure> {
    let order = [format!("{}\0{}\0{}\0", user.uid, user.gid, user.name).as_bytes(), hint].concat();
    let mut channel = Channel::new(stream);
    let sent = channel.send(&Secret::copy_of(&order), AT_ONCE);
    let stream = channel.stream();
    let answer = match sent.map_err(|e| Failure::Unable(e.to_string())) {
        Ok(()) => match wait(stream, Until::Readable, gone, end) {
            Ok(()) => sys::agent::passed(stream).map_err(|e| Failure::Unable(e.desc().to_owned())),
            // The path may be on a file system that the user has made and that never answers.
            Err(stopped) => Err(failure(NoAnswer::Stopped(stopped), Failure::Silent)),
        },
        Err(e) => Err(e),
    };
    let _ = kill(process, Signal::SIGKILL);
    // The kernel may be waiting for a dead file server on behalf of the process. Then it is not waited for here, and
    // init or a subreaper collects it.
    let mut ended = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    if poll(&mut ended, PollTimeout::from(1000u16)) == Ok(1) {
        let _ = waitpid(process, None);
    }
    answer
}

/// The connecting process: it becomes the user, connects, passes the connection on, and ends. It runs as root only
/// until it has read its order, which comes from us.
pub fn connect() -> ExitCode {
    // So that it ends even if connect(2) never returns.
    nix::unistd::alarm::set(2 * AT_ONCE.as_secs() as u32);
    serve(std::io::stdin().as_fd()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn serve(stream: BorrowedFd) -> Option<()> {
    let mut channel = Channel::new(UnixStream::from(stream.try_clone_to_owned().ok()?));
    let order = channel.receive(AT_ONCE).ok()?;
    let mut parts = order.bytes().splitn(4, |byte| *byte == 0);
    let mut word = || parts.next().and_then(|word| std::str::from_utf8(word).ok());
    let (uid, gid) = (Uid::from_raw(word()?.parse().ok()?), Gid::from_raw(word()?.parse().ok()?));
    let name = CString::new(word()?).ok()?;
    let path = Path::new(OsStr::from_bytes(parts.next()?));
    let connected = match sys::agent::become_user(&name, uid, gid) {
        Ok(()) => sys::agent::connected(path).map_err(|e| e as i32),
        Err(_) => Err(NOT_THE_USER),
    };
    let (number, agent) = match &connected {
        Ok(agent) => (0, Some(agent.as_fd())),
        Err(errno) => (*errno, None),
    };
    sys::agent::pass(channel.stream(), number, agent).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use mfa_ssh::{Line, Sshsig};

    use super::*;
    use mfa_core::Id;
    use mfa_core::key::PublicKey;

    const MESSAGE: &[u8] = b"a challenge of thirty-two bytes..";
    const ED25519: &str = include_str!("../../../tests/vectors/ssh/ed25519.pub");
    const ECDSA: &str = include_str!("../../../tests/vectors/ssh/ecdsa.pub");

    fn ssh_key(line: &str) -> SkPublicKey {
        Line::parse(line).unwrap().unwrap().key
    }

    fn bound(held: &SkPublicKey) -> Key {
        Key {
            id: Id([1; 16]),
            label: String::from("laptop"),
            created: 0,
            created_from: String::new(),
            rp_id: held.application.clone(),
            credential: Vec::new(),
            public: PublicKey::of_ssh(&held.point).unwrap(),
            verified: false,
            counter: 0,
        }
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// An agent that sends `answers` whatever it is asked, and then nothing more.
    fn says(answers: &[u8]) -> (UnixStream, UnixStream) {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(answers).unwrap();
        (here, there)
    }

    fn holding(keys: &[&SkPublicKey]) -> Vec<u8> {
        let mut body = [&[12][..], &(keys.len() as u32).to_be_bytes()].concat();
        for key in keys {
            body.extend([string(&key.to_blob()), string(b"comment")].concat());
        }
        string(&body)
    }

    /// The result with an agent that sends `answers`, if we wait only for a moment.
    fn asked(answers: &[u8], keys: &[Key]) -> Result<(usize, Signed, [u8; 32]), Failure> {
        let (stream, agent) = says(answers);
        let (front, _end) = UnixStream::pair().unwrap();
        let agent_found = Agent::over(stream, keys, front.as_fd(), Instant::now() + Duration::from_millis(200))?;
        let signed = agent_found.sign(&[7; 32], Duration::from_millis(200));
        drop(agent);
        signed
    }

    #[test]
    fn signatures_of_openssh_are_good_for_their_key_and_message_only() {
        for (key, text) in [
            (ED25519, include_str!("../../../tests/vectors/ssh/ed25519.sha512.sig")),
            (ED25519, include_str!("../../../tests/vectors/ssh/ed25519.sha256.sig")),
            (ECDSA, include_str!("../../../tests/vectors/ssh/ecdsa.sha512.sig")),
            (ECDSA, include_str!("../../../tests/vectors/ssh/ecdsa.sha256.sig")),
        ] {
            let sig = Sshsig::parse(text).unwrap();
            assert_eq!(sig.key, ssh_key(key));
            let key = bound(&sig.key);
            let hash = client_data_hash(MESSAGE, sig.hash);
            let signed = |signature| signed(signature, &sig.key.application).unwrap();
            assert_eq!(key::check(&key, &signed(&sig.signature), &hash, false), Ok(sig.signature.counter));
            let judged = |signature, hash| key::check(&key, &signed(signature), hash, false).unwrap_err();
            let other = client_data_hash(b"another message", sig.hash);
            assert_eq!(judged(&sig.signature, &other), key::Refused::BadSignature);
            let counted = SkSignature { counter: sig.signature.counter + 1, ..sig.signature };
            assert_eq!(judged(&counted, &hash), key::Refused::BadSignature);
            let verified = SkSignature { flags: 5, ..sig.signature };
            assert_eq!(judged(&verified, &hash), key::Refused::BadSignature, "a flag that the key did not sign");
            let untouched = SkSignature { flags: 0, ..sig.signature };
            assert_eq!(judged(&untouched, &hash), key::Refused::NotTouched);
            assert_eq!(key::check(&key, &signed(&sig.signature), &hash, true), Err(key::Refused::NotVerified));
        }
    }

    #[test]
    fn only_a_bound_ssh_key_is_asked() {
        let (ed25519, ecdsa) = (ssh_key(ED25519), ssh_key(ECDSA));
        let plugged = Key { credential: vec![1], ..bound(&ed25519) };
        let elsewhere = Key { rp_id: String::from("ssh:other"), ..bound(&ed25519) };
        let held = holding(&[&ed25519]);
        for keys in [&[][..], &[plugged], &[elsewhere], &[bound(&ecdsa)]] {
            assert_eq!(asked(&held, keys).unwrap_err(), Failure::NoneBound);
        }
        let (stream, mut agent) = says(&holding(&[&ecdsa, &ed25519]));
        let (front, _end) = UnixStream::pair().unwrap();
        let keys = [bound(&ed25519), bound(&ecdsa)];
        let found = Agent::over(stream, &keys, front.as_fd(), Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(found.holds.iter().map(|(index, ..)| *index).collect::<Vec<_>>(), [1, 0], "in the agent's order");
        // The first key is not plugged in, so the second is asked. Its signature is over other data.
        let signature = Sshsig::parse(include_str!("../../../tests/vectors/ssh/ed25519.sha512.sig")).unwrap().signature;
        let Rest::Ed25519(bytes) = signature.rest else { panic!("another kind") };
        let blob = [string(b"sk-ssh-ed25519@openssh.com"), string(&bytes), vec![1], 3u32.to_be_bytes().into()].concat();
        agent.write_all(&[string(&[5]), string(&[&[14][..], &string(&blob)].concat())].concat()).unwrap();
        let (index, signed, hash) = found.sign(&[7; 32], Duration::from_secs(60)).unwrap();
        assert_eq!(index, 0);
        assert_eq!(key::check(&keys[0], &signed, &hash, false), Err(key::Refused::BadSignature), "a replay");
        agent.shutdown(std::net::Shutdown::Write).unwrap();
        let mut asked = Vec::new();
        agent.read_to_end(&mut asked).unwrap();
        let data = signed_data(&[7; 32], Hash::Sha512);
        assert_eq!(asked.windows(data.len()).filter(|window| *window == data).count(), 2);
    }

    #[test]
    fn whatever_an_agent_says_instead_ends_in_one_line() {
        let key = ssh_key(ED25519);
        let keys = [bound(&key)];
        let with = |answer: &[u8]| [holding(&[&key]), string(answer)].concat();
        let nonsense = |result: Result<_, Failure>| assert!(matches!(result, Err(Failure::Nonsense(_))), "{result:?}");
        assert_eq!(asked(&holding(&[]), &keys).unwrap_err(), Failure::Empty);
        assert_eq!(asked(&string(&[5]), &keys).unwrap_err(), Failure::Empty, "locked");
        assert_eq!(asked(b"", &keys).unwrap_err(), Failure::Silent);
        assert_eq!(asked(b"\0\0\0\x09\x0c", &keys).unwrap_err(), Failure::Silent);
        assert_eq!(asked(&with(&[5]), &keys).unwrap_err(), Failure::Refused);
        assert_eq!(asked(&holding(&[&key]), &keys).unwrap_err(), Failure::NotTouched);
        nonsense(asked(b"HTTP/1.1 400 Bad Request\r\n", &keys));
        nonsense(asked(&string(b"\x0c\xff\xff\xff\xff"), &keys));
        nonsense(asked(&with(b"\x0e\0\0\0\x03abc"), &keys));
        nonsense(asked(&with(&[6]), &keys));
    }

    /// The protocol says no more than "no".
    #[test]
    fn what_can_be_told_from_the_keys_and_the_signature_has_a_sentence_of_its_own() {
        let (key, ecdsa) = (ssh_key(ED25519), ssh_key(ECDSA));
        let of_pkcs11 = [&[12, 0, 0, 0, 1][..], &string(&string(b"ssh-rsa")), &string(b"card")].concat();
        assert_eq!(asked(&string(&of_pkcs11), &[bound(&key)]).unwrap_err(), Failure::NoneOfSk);
        let verified = Key { verified: true, ..bound(&key) };
        let refused = [holding(&[&key]), string(&[5])].concat();
        assert_eq!(asked(&refused, &[verified]).unwrap_err(), Failure::NotVerified);
        let signed = string(&string(b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"));
        let by_webauthn = [holding(&[&ecdsa]), string(&[&[14][..], &signed].concat())].concat();
        assert_eq!(asked(&by_webauthn, &[bound(&ecdsa)]).unwrap_err(), Failure::WebAuthn);
    }

    #[test]
    fn nobody_is_waited_for_when_the_front_end_is_gone() {
        let (stream, _agent) = says(b"");
        let (front, end) = UnixStream::pair().unwrap();
        drop(end);
        let later = Instant::now() + Duration::from_secs(600);
        assert_eq!(Agent::over(stream, &[], front.as_fd(), later).err(), Some(Failure::Gone));
    }

    #[test]
    fn an_agent_that_hangs_up_is_none() {
        let (stream, agent) = says(b"");
        let (front, _end) = UnixStream::pair().unwrap();
        drop(agent);
        let later = Instant::now() + Duration::from_secs(600);
        let found = Agent::over(stream, &[], front.as_fd(), later).err();
        assert_eq!(found, Some(Failure::Nonsense(String::from("the agent hung up"))));
    }

    #[test]
    fn a_hint_that_is_no_path_of_a_socket_is_not_followed() {
        let (front, _end) = UnixStream::pair().unwrap();
        let long = format!("/{}", "x".repeat(MAX_PATH));
        for hint in ["", "agent", "./agent", "@abstract", "\0abstract", "/tmp/a\0b", &long] {
            let found = Agent::find("root", Path::new(hint), &[], front.as_fd()).err();
            assert_eq!(found, Some(Failure::NoAgent), "{hint:?}");
        }
        let nobody = Agent::find("no-such-user", Path::new("/tmp/agent"), &[], front.as_fd()).err();
        assert!(matches!(nobody, Some(Failure::Unable(_))));
    }

    #[test]
    fn every_line_for_the_person_fits_and_is_ascii() {
        let why = || String::from("reason");
        for failure in [
            Failure::NoAgent,
            Failure::NoSocket(Errno::ENOENT),
            Failure::NotYours(why()),
            Failure::Busy,
            Failure::Empty,
            Failure::NoneOfSk,
            Failure::NoneBound,
            Failure::Refused,
            Failure::NotVerified,
            Failure::Silent,
            Failure::NotTouched,
            Failure::WebAuthn,
            Failure::Nonsense(why()),
            Failure::Gone,
            Failure::Unable(why()),
        ] {
            let text = failure.to_string();
            let fits = text.lines().all(|line| line.len() <= 80 && line.is_ascii());
            assert!(fits && text.lines().count() <= 2 && !failure.reason().is_empty(), "{text}");
        }
    }
}
