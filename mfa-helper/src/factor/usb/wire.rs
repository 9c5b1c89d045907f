//! The messages between the helper and the process of one key: one packet each. A hostile key that takes that process
//! over can send anything, so the helper trusts nothing in them: lengths are checked here, and answers by the caller.

use std::fmt;

use mfa_core::key::{PublicKey, Signed};
use mfa_wire::Secret;

use crate::sys::fido::{Attested, Features};

/// The longest packet. Ten keys with the longest credentials and names need half of it.
pub const MOST: usize = 32 * 1024;

/// How to verify the person.
pub enum Verify {
    No,
    BuiltIn,
    Pin(Secret),
}

/// One credential that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub rp_id: String,
    pub credential: Vec<u8>,
    pub public: PublicKey,
}

/// A task for the process, and the most time for it.
pub struct Job {
    pub milliseconds: u32,
    /// Whether each exchange is reported.
    pub debug: bool,
    pub what: What,
}

/// The kinds of task, see [`Job`].
pub enum What {
    /// Say what the key is.
    Open,
    /// Say which of these the key holds.
    Probe(Vec<(String, Vec<u8>)>),
    /// Wait until the key is touched.
    Touch,
    /// Have the first of these that the key holds sign.
    Assert { candidates: Vec<Candidate>, hash: [u8; 32], verify: Verify },
    /// Make a credential.
    Make { rp_id: String, user_id: [u8; 32], user_name: String, hash: [u8; 32], exclude: Vec<Vec<u8>>, verify: Verify },
}

/// Why a key's exchange came to an end before the key's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Late,
    Unplugged,
    CalledOff,
}

/// How it is going with a key, as its frames say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Nothing stands in the way.
    Works,
    /// It waits for its owner: for a touch, or to be unlocked.
    Waits,
    /// Another program uses it.
    Busy,
}

/// The beginning of a message to a key or from it, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// To the key.
    pub sent: bool,
    /// That of CTAPHID (CTAP 2.1, 11.2.9).
    pub command: u8,
    /// The command of CTAP2 or U2F, its status, that of a keepalive, or the error.
    pub what: Option<u8>,
    /// That of the message, in bytes.
    pub length: u16,
    /// Since the job began.
    pub milliseconds: u32,
}

/// For the log.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.sent { "was sent " } else { "said " })?;
        match self.command {
            0x83 => f.write_str("MSG")?,
            0x86 => f.write_str("INIT")?,
            0x90 => f.write_str("CBOR")?,
            0x91 => f.write_str("CANCEL")?,
            0xbb => f.write_str("KEEPALIVE")?,
            0xbf => f.write_str("ERROR")?,
            other => write!(f, "0x{other:02x}")?,
        }
        if let Some(what) = self.what {
            write!(f, " 0x{what:02x}")?;
        }
        write!(f, ", length {}, at {} ms", self.length, self.milliseconds)
    }
}

/// The answers of the process.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    NoLibrary(String),
    /// No answer yet, but news.
    Now(Now),
    /// No answer either: what was just said, where that is to be logged.
    Frame(Frame),
    /// The key is open.
    Open(Features),
    /// For each credential whether the key holds it, if the key says.
    Probed(Vec<Option<bool>>),
    Touched,
    /// The index of the candidate, its signature, and whether libfido2 accepts it.
    Signed(usize, Signed, bool),
    Made {
        auth_data: Vec<u8>,
        signature: Vec<u8>,
        attested: Attested,
    },
    /// The key does not find the credential that it has just made.
    Forgotten,
    /// The error code of the library.
    Failed(i32, Option<Cut>),
}

/// A packet that is being written. It is never reallocated, because it may hold a PIN.
struct Out(Secret);

impl Out {
    fn new(kind: u8) -> Out {
        let mut out = Out(Secret::with_capacity(MOST));
        out.raw(&[kind]);
        out
    }

    /// If the bytes do not fit, the packet becomes empty and stays empty: a packet that `decode` does not accept.
    fn raw(&mut self, bytes: &[u8]) -> &mut Out {
        if !self.0.append(bytes) {
            self.0 = Secret::default();
        }
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Out {
        self.raw(&(bytes.len() as u32).to_be_bytes()).raw(bytes)
    }

    fn verify(&mut self, verify: &Verify) -> &mut Out {
        match verify {
            Verify::No => self.raw(&[0]),
            Verify::BuiltIn => self.raw(&[1]),
            Verify::Pin(pin) => self.raw(&[2]).bytes(pin.bytes()),
        }
    }

    fn public(&mut self, public: &PublicKey) -> &mut Out {
        self.raw(&[matches!(public, PublicKey::Ed25519(_)).into()]).bytes(public.bytes())
    }
}

/// A packet that is being read.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn raw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.raw().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        self.raw().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Each element takes at least one byte, so a count beyond the packet's length is refused before anything is
        // allocated.
        let count = self.number()? as usize;
        if count > self.0.len() {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    fn verify(&mut self) -> Option<Verify> {
        match self.byte()? {
            0 => Some(Verify::No),
            1 => Some(Verify::BuiltIn),
            2 => Some(Verify::Pin(Secret::copy_of(self.bytes()?))),
            _ => None,
        }
    }

    fn public(&mut self) -> Option<PublicKey> {
        if self.flag()? { PublicKey::ed25519(self.bytes()?) } else { PublicKey::es256(self.bytes()?) }
    }

    fn end<T>(self, message: T) -> Option<T> {
        self.0.is_empty().then_some(message)
    }
}

impl Job {
    pub fn encode(&self) -> Secret {
        let mut out;
        match &self.what {
            What::Probe(credentials) => {
                out = Out::new(1);
                out.raw(&(credentials.len() as u32).to_be_bytes());
                for (rp_id, credential) in credentials {
                    out.bytes(rp_id.as_bytes()).bytes(credential);
                }
            }
            What::Touch => out = Out::new(2),
            What::Assert { candidates, hash, verify } => {
                out = Out::new(3);
                out.raw(&(candidates.len() as u32).to_be_bytes());
                for one in candidates {
                    out.bytes(one.rp_id.as_bytes()).bytes(&one.credential).public(&one.public);
                }
                out.raw(hash).verify(verify);
            }
            What::Make { rp_id, user_id, user_name, hash, exclude, verify } => {
                out = Out::new(4);
                out.bytes(rp_id.as_bytes()).raw(user_id).bytes(user_name.as_bytes()).raw(hash);
                out.raw(&(exclude.len() as u32).to_be_bytes());
                for credential in exclude {
                    out.bytes(credential);
                }
                out.verify(verify);
            }
            What::Open => out = Out::new(5),
        }
        out.raw(&self.milliseconds.to_be_bytes()).raw(&[self.debug.into()]);
        out.0
    }

    pub fn decode(packet: &[u8]) -> Option<Job> {
        let mut packet = In(packet);
        let what = match packet.byte()? {
            1 => What::Probe(packet.list(|one| Some((one.text()?, one.bytes()?.to_vec())))?),
            2 => What::Touch,
            3 => What::Assert {
                candidates: packet.list(|one| {
                    let (rp_id, credential) = (one.text()?, one.bytes()?.to_vec());
                    Some(Candidate { rp_id, credential, public: one.public()? })
                })?,
                hash: packet.raw()?,
                verify: packet.verify()?,
            },
            4 => What::Make {
                rp_id: packet.text()?,
                user_id: packet.raw()?,
                user_name: packet.text()?,
                hash: packet.raw()?,
                exclude: packet.list(|one| Some(one.bytes()?.to_vec()))?,
                verify: packet.verify()?,
            },
            5 => What::Open,
            _ => return None,
        };
        let milliseconds = packet.number()?;
        let debug = packet.flag()?;
        packet.end(Job { milliseconds, debug, what })
    }
}

impl Answer {
    pub fn encode(&self) -> Secret {
        let mut out;
        match self {
            Answer::NoLibrary(why) => {
                out = Out::new(1);
                out.bytes(why.as_bytes());
            }
            Answer::Open(Features { fido2, pin, uv, always_uv, must_change, tries }) => {
                out = Out::new(2);
                out.raw(&[*fido2, *pin, *uv, *always_uv, *must_change, tries.is_some()].map(u8::from));
                out.raw(&[tries.unwrap_or(0)]);
            }
            Answer::Probed(held) => {
                out = Out::new(3);
                out.raw(&(held.len() as u32).to_be_bytes());
                for one in held {
                    out.raw(&[one.map_or(2, u8::from)]);
                }
            }
            Answer::Touched => out = Out::new(4),
            Answer::Signed(n, Signed { auth_data, signature }, good) => {
                out = Out::new(5);
                out.raw(&(*n as u32).to_be_bytes()).bytes(auth_data).bytes(signature).raw(&[u8::from(*good)]);
            }
            Answer::Made { auth_data, signature, attested } => {
                out = Out::new(6);
                out.bytes(auth_data).bytes(signature).raw(&[*attested as u8]);
            }
            Answer::Failed(code, cut) => {
                out = Out::new(7);
                out.raw(&code.to_be_bytes()).raw(&[cut.map_or(0, |cut| cut as u8 + 1)]);
            }
            Answer::Now(now) => {
                out = Out::new(8);
                out.raw(&[*now as u8]);
            }
            Answer::Forgotten => out = Out::new(9),
            Answer::Frame(Frame { sent, command, what, length, milliseconds }) => {
                out = Out::new(10);
                out.raw(&[u8::from(*sent), *command, what.is_some().into(), what.unwrap_or(0)]);
                out.raw(&length.to_be_bytes()).raw(&milliseconds.to_be_bytes());
            }
        }
        out.0
    }

    pub fn decode(packet: &[u8]) -> Option<Answer> {
        let mut packet = In(packet);
        let answer = match packet.byte()? {
            1 => Answer::NoLibrary(packet.text()?),
            2 => {
                let mut flag = || packet.flag();
                let (fido2, pin, uv) = (flag()?, flag()?, flag()?);
                let (always_uv, must_change, has_tries) = (flag()?, flag()?, flag()?);
                let tries = packet.byte().map(|tries| has_tries.then_some(tries))?;
                Answer::Open(Features { fido2, pin, uv, always_uv, must_change, tries })
            }
            3 => Answer::Probed(packet.list(|one| match one.byte()? {
                2 => Some(None),
                held => In(&[held]).flag().map(Some),
            })?),
            4 => Answer::Touched,
            5 => Answer::Signed(
                packet.number()? as usize,
                Signed { auth_data: packet.bytes()?.to_vec(), signature: packet.bytes()?.to_vec() },
                packet.flag()?,
            ),
            6 => Answer::Made {
                auth_data: packet.bytes()?.to_vec(),
                signature: packet.bytes()?.to_vec(),
                attested: match packet.byte()? {
                    0 => Attested::None,
                    1 => Attested::Itself,
                    2 => Attested::Certificate,
                    _ => return None,
                },
            },
            7 => {
                let code = i32::from_be_bytes(packet.raw()?);
                let cut = match packet.byte()? {
                    0 => None,
                    1 => Some(Cut::Late),
                    2 => Some(Cut::Unplugged),
                    3 => Some(Cut::CalledOff),
                    _ => return None,
                };
                Answer::Failed(code, cut)
            }
            8 => Answer::Now(match packet.byte()? {
                0 => Now::Works,
                1 => Now::Waits,
                2 => Now::Busy,
                _ => return None,
            }),
            9 => Answer::Forgotten,
            10 => {
                let (sent, command, known, what) = (packet.flag()?, packet.byte()?, packet.flag()?, packet.byte()?);
                let (length, milliseconds) = (u16::from_be_bytes(packet.raw()?), packet.number()?);
                Answer::Frame(Frame { sent, command, what: known.then_some(what), length, milliseconds })
            }
            _ => return None,
        };
        packet.end(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_arrives_as_it_was_sent() {
        let public = PublicKey::ed25519(&ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes());
        let candidate = Candidate { rp_id: "pam://web1".to_owned(), credential: vec![1; 64], public: public.unwrap() };
        let verify = Verify::Pin(Secret::copy_of(b"1234"));
        let what = What::Assert { candidates: vec![candidate.clone(); 16], hash: [7; 32], verify };
        let packet = Job { milliseconds: 30_000, debug: true, what }.encode();
        let Some(Job {
            milliseconds: 30_000,
            debug: true,
            what: What::Assert { candidates, hash, verify: Verify::Pin(pin) },
        }) = Job::decode(packet.bytes())
        else {
            panic!("another job")
        };
        assert_eq!((candidates, hash, pin.bytes()), (vec![candidate; 16], [7; 32], &b"1234"[..]));
        for cut in 0..packet.bytes().len() {
            assert!(Job::decode(&packet.bytes()[..cut]).is_none());
        }
    }

    #[test]
    fn what_is_answered_arrives_as_it_was_sent() {
        let features =
            Features { fido2: true, pin: true, uv: false, always_uv: true, must_change: false, tries: Some(8) };
        let answers = [
            Answer::NoLibrary("none".to_owned()),
            Answer::Open(features),
            Answer::Probed(vec![Some(true), Some(false), None]),
            Answer::Touched,
            Answer::Now(Now::Busy),
            Answer::Forgotten,
            Answer::Frame(Frame { sent: true, command: 0x90, what: Some(4), length: 1, milliseconds: 17 }),
            Answer::Frame(Frame { sent: false, command: 0x86, what: None, length: 17, milliseconds: 0 }),
            Answer::Signed(3, Signed { auth_data: vec![1; 37], signature: vec![2; 70] }, true),
            Answer::Made { auth_data: vec![1], signature: vec![], attested: Attested::Certificate },
            Answer::Failed(-2, Some(Cut::Unplugged)),
            Answer::Failed(0x27, None),
        ];
        for answer in answers {
            let packet = answer.encode();
            assert_eq!(Answer::decode(packet.bytes()).as_ref(), Some(&answer));
            assert_eq!(Answer::decode(&[packet.bytes(), &[0]].concat()), None, "more than {answer:?}");
        }
    }

    #[test]
    fn a_packet_that_would_be_too_long_is_none() {
        let what = What::Probe(vec![(String::new(), vec![0; 2048]); 16]);
        assert!(Job::decode(Job { milliseconds: 1, debug: false, what }.encode().bytes()).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(kind in 0u8..12, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let packet = [&[kind], &rest[..]].concat();
            if let Some(answer) = Answer::decode(&packet) {
                // An absent number of tries can be encoded in several ways, so this compares the second encoding.
                let canonical = answer.encode();
                prop_assert_eq!(Answer::decode(canonical.bytes()), Some(answer));
            }
            let _ = Job::decode(&packet);
        }
    }
}
