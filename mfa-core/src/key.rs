//! Security keys: what is kept of one that is bound, and whether an answer is that key's. No device is touched here.

use std::fmt;

use ed25519_dalek::VerifyingKey as Ed25519Key;
use mfa_ssh::{Point, SkPublicKey};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, Signature as Es256Signature, VerifyingKey as Es256Key};
use sha2::{Digest, Sha256};

use crate::Id;

/// The most keys of one user: their counters have to fit the state of a record.
pub const MOST: usize = 10;

/// The longest credential id, which is as long as the key makes it (CTAP 2.1 lets keys state a limit; none is known to
/// come near).
pub const MOST_CREDENTIAL: usize = 1024;

/// The longest name of a relying party. A domain name has at most 253 characters.
pub const MOST_RP_ID: usize = 255;

/// The authenticator data of an assertion without extensions: rpIdHash, flags, counter (WebAuthn 6.1).
const AUTH_DATA: usize = 32 + 1 + 4;

/// So much authenticator data is judged at most: that of an assertion, or of a new credential with its id and COSE key.
pub const MOST_AUTH_DATA: usize = 4096;

/// Flag UP: the user was present. By touch, or whatever the key takes for it.
pub const USER_PRESENT: u8 = 0x01;
/// Flag UV: the user was verified, by PIN or fingerprint.
pub const USER_VERIFIED: u8 = 0x04;

/// A public key that is known to be a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of NIST P-256: x, then y (COSE algorithm -7, and U2F).
    Es256([u8; 64]),
    /// RFC 8032 (COSE algorithm -8).
    Ed25519([u8; 32]),
}

/// Whether a security key asks for its PIN: `[u2f] pin` of mfa.toml.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Where it has one.
    #[default]
    IfSet,
    /// Always, so a key without one cannot be used.
    Require,
    /// Not at all: a touch is enough.
    Never,
}

impl Pin {
    /// Whether PIN or fingerprint is demanded of `key`. A key that was bound with one is always asked for it, unless the
    /// policy wants none: otherwise a thief of the key would look for a host that forgets to ask (CVE-2021-31924).
    pub fn is_demanded_of(self, key: &Key) -> bool {
        match self {
            Pin::Require => true,
            Pin::IfSet => key.verified,
            Pin::Never => false,
        }
    }
}

/// What is kept of one bound key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key's identity in its record.
    pub id: Id,
    /// What the user calls it.
    pub label: String,
    /// When it was bound, in seconds since 1970.
    pub created: u64,
    /// From where it was bound.
    pub created_from: String,
    /// What it was bound for: `pam://web1`; of an ssh key its application, `ssh:`.
    pub rp_id: String,
    /// By what the key finds its private key: credential id, or key handle of U2F. Empty: an ssh key, whose handle is in
    /// a file of the owner's.
    pub credential: Vec<u8>,
    /// Against what its answers are checked.
    pub public: PublicKey,
    /// It was bound with a PIN or a fingerprint.
    pub verified: bool,
    /// The sign counter at binding.
    pub counter: u32,
}

/// What a key has signed. The signature of an ssh key (PROTOCOL.u2f of OpenSSH) has the same form: SHA256(application),
/// flags, counter; then SHA256(message).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Authenticator data, not wrapped in CBOR.
    pub auth_data: Vec<u8>,
    /// ES256: DER, as [`der`] makes it. Ed25519: 64 bytes.
    pub signature: Vec<u8>,
}

/// Why an answer is not that of the key. Shown to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no authenticator data.
    Malformed,
    /// It was made for somebody else.
    WrongRpId,
    /// Nobody touched the key.
    NotTouched,
    /// Neither PIN nor fingerprint, where one is demanded.
    NotVerified,
    /// It was made by another key, or over something else.
    BadSignature,
    /// The counter did not move on: a copy of the key may be in use.
    CounterBack {
        /// What is kept.
        from: u32,
        /// What the key says.
        to: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Malformed => f.write_str("the authenticator data is malformed"),
            Refused::WrongRpId => f.write_str("the answer is for another relying party"),
            Refused::NotTouched => f.write_str("the answer says that the key was not touched"),
            Refused::NotVerified => f.write_str("the answer says that no PIN or fingerprint was given"),
            Refused::BadSignature => f.write_str("the signature is not that of the bound key"),
            Refused::CounterBack { from, to } => write!(f, "sign counter went back from {from} to {to}"),
        }
    }
}

impl Signed {
    /// Whether it says that PIN or fingerprint was given.
    pub fn is_verified(&self) -> bool {
        self.auth_data.get(32).is_some_and(|flags| flags & USER_VERIFIED != 0)
    }
}

impl Key {
    /// The same key as ssh says it. `None` when it was bound as it is plugged in: what that has signed for ssh was for
    /// something else.
    pub fn of_ssh(&self) -> Option<SkPublicKey> {
        let point = match self.public {
            PublicKey::Es256(xy) => Point::Ecdsa(xy),
            PublicKey::Ed25519(bytes) => Point::Ed25519(bytes),
        };
        self.credential.is_empty().then(|| SkPublicKey { point, application: self.rp_id.clone() })
    }
}

impl PublicKey {
    /// From an ssh key. `None` when it is none that can be used.
    pub fn of_ssh(point: &Point) -> Option<PublicKey> {
        match point {
            Point::Ed25519(bytes) => PublicKey::ed25519(bytes),
            Point::Ecdsa(xy) => PublicKey::es256(xy),
        }
    }

    /// From x and y. `None` when they are no point of the curve.
    pub fn es256(xy: &[u8]) -> Option<PublicKey> {
        let xy: [u8; 64] = xy.try_into().ok()?;
        es256_key(&xy)?;
        Some(PublicKey::Es256(xy))
    }

    /// `None` when it is no point of the curve, or one of the few for which anybody can sign.
    pub fn ed25519(bytes: &[u8]) -> Option<PublicKey> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        let key = Ed25519Key::from_bytes(&bytes).ok()?;
        (!key.is_weak()).then_some(PublicKey::Ed25519(bytes))
    }

    /// The coordinates, as the constructors take them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            PublicKey::Es256(xy) => xy,
            PublicKey::Ed25519(y) => y,
        }
    }

    /// Whether `signature` over `message` is this key's.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Es256(xy) => {
                let signature = DerSignature::from_bytes(signature).and_then(Es256Signature::try_from);
                es256_key(xy).zip(signature.ok()).is_some_and(|(key, s)| key.verify(message, &s).is_ok())
            }
            // Strict: a signature is good for one message and one key, whoever made them.
            PublicKey::Ed25519(bytes) => Ed25519Key::from_bytes(bytes)
                .and_then(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_slice(signature)?))
                .is_ok(),
        }
    }
}

fn es256_key(xy: &[u8; 64]) -> Option<Es256Key> {
    let mut sec1 = [4; 65];
    sec1[1..].copy_from_slice(xy);
    Es256Key::from_sec1_bytes(&sec1).ok()
}

/// An ES256 signature as keys give it, from r and s as ssh gives them: numbers of any length, the highest byte first.
pub fn der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let mut both = [0; 64];
    for (number, place) in [r, s].into_iter().zip(both.chunks_exact_mut(32)) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        place.get_mut(32usize.checked_sub(number.len())?..)?.copy_from_slice(number);
    }
    Some(Es256Signature::from_slice(&both).ok()?.to_der().as_bytes().to_vec())
}

/// Whether `key` has signed this, after a touch, and with PIN or fingerprint where `uv` demands it. Gives back the sign
/// counter, which the caller compares: [`moved_on`].
pub fn check(key: &Key, signed: &Signed, client_data_hash: &[u8; 32], uv: bool) -> Result<u32, Refused> {
    if signed.auth_data.len() > MOST_AUTH_DATA {
        return Err(Refused::Malformed);
    }
    let (head, _) = signed.auth_data.split_first_chunk::<AUTH_DATA>().ok_or(Refused::Malformed)?;
    let (rp_id_hash, flags, counter) = parts(head);
    if rp_id_hash[..] != Sha256::digest(key.rp_id.as_bytes())[..] {
        return Err(Refused::WrongRpId);
    }
    if flags & USER_PRESENT == 0 {
        return Err(Refused::NotTouched);
    }
    if uv && flags & USER_VERIFIED == 0 {
        return Err(Refused::NotVerified);
    }
    let message = [&signed.auth_data[..], client_data_hash].concat();
    if !key.public.has_signed(&message, &signed.signature) {
        return Err(Refused::BadSignature);
    }
    Ok(counter)
}

fn parts(head: &[u8; AUTH_DATA]) -> (&[u8], u8, u32) {
    let (rp_id_hash, rest) = head.split_at(32);
    (rp_id_hash, rest[0], u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]))
}

/// Whether the counter is a new one (WebAuthn 7.2, step 22). Keys that do not count say 0 for ever.
pub fn moved_on(kept: u32, counter: u32) -> Result<u32, Refused> {
    match (kept, counter) {
        (0, 0) => Ok(0),
        _ if counter > kept => Ok(counter),
        _ => Err(Refused::CounterBack { from: kept, to: counter }),
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use ed25519_dalek::Signer as _;
    use p256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;

    const HASH: [u8; 32] = [7; 32];

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn bound(rp_id: &str, public: PublicKey) -> Key {
        Key {
            id: Id([1; 16]),
            label: "blue".to_owned(),
            created: 0,
            created_from: String::new(),
            rp_id: rp_id.to_owned(),
            credential: vec![1, 2, 3],
            public,
            verified: false,
            counter: 0,
        }
    }

    fn auth_data(rp_id: &str, flags: u8, counter: u32) -> Vec<u8> {
        [&Sha256::digest(rp_id.as_bytes())[..], &[flags], &counter.to_be_bytes()].concat()
    }

    fn es256() -> (SigningKey, PublicKey) {
        let signer = SigningKey::from_slice(&[9; 32]).unwrap();
        let public = PublicKey::es256(&signer.verifying_key().to_sec1_point(false).as_bytes()[1..]).unwrap();
        (signer, public)
    }

    fn sign(signer: &SigningKey, auth_data: Vec<u8>, hash: &[u8]) -> Signed {
        let signature: DerSignature = signer.sign(&[&auth_data[..], hash].concat());
        Signed { auth_data, signature: signature.as_bytes().to_vec() }
    }

    #[test]
    fn an_answer_that_openssl_has_made_is_accepted() {
        let public = PublicKey::es256(&hex(concat!(
            "1c6833ebf7ac03baada6b4ae8b445afcf11e580b7fa05cac17555a2d01f1b99e",
            "10cf41f201c19af733bb05d45267e2d6177605390b206c9c3535919536e5bbb8"
        )));
        let signed = Signed {
            auth_data: auth_data("pam://web1", 5, 7),
            signature: hex(concat!(
                "3045022100e6d82695c40ab33fae1eb2e209d6180b2d2216d25524e0c9902d5df7e8aacb3f",
                "02204822e085dfe89915503e8de95af1c621aca8ecb567823cb9e707c2c8bce3a128"
            )),
        };
        let hash: [u8; 32] = Sha256::digest(b"client data").into();
        assert_eq!(check(&bound("pam://web1", public.unwrap()), &signed, &hash, true), Ok(7));
    }

    /// As PROTOCOL.u2f of OpenSSH has it, signed by openssl.
    #[test]
    fn an_answer_of_an_ssh_key_has_the_same_form() {
        let public = PublicKey::ed25519(&hex("c15ed75418ef85c954376890ffe2776714104e2fd61f743e638c585ec64d8c67"));
        let mut signed = Signed {
            auth_data: auth_data("ssh:", 1, 0x29),
            signature: hex(concat!(
                "9fd8171cba384ba7320e0bad6473abe745808f25c6951237d7892c5be60bc229",
                "6c9b3e5ab634c6c1fba8b55b56124289700cfd3d177991869ba482d1e5ef890c"
            )),
        };
        let key = Key { credential: vec![], ..bound("ssh:", public.unwrap()) };
        let hash: [u8; 32] = Sha256::digest(b"a message").into();
        assert_eq!(check(&key, &signed, &hash, false), Ok(0x29));
        assert_eq!(check(&key, &signed, &hash, true), Err(Refused::NotVerified));
        signed.signature.push(0);
        assert_eq!(check(&key, &signed, &hash, false), Err(Refused::BadSignature));
    }

    #[test]
    fn each_thing_that_is_not_as_it_was_asked_for_is_refused() {
        let (signer, public) = es256();
        let key = bound("pam://web1", public);
        let asked = |rp_id, flags, uv| check(&key, &sign(&signer, auth_data(rp_id, flags, 1), &HASH), &HASH, uv);
        assert_eq!(asked("pam://web1", 1, false), Ok(1));
        assert_eq!(asked("pam://web1", 5, true), Ok(1));
        assert_eq!(asked("pam://web2", 5, false), Err(Refused::WrongRpId));
        assert_eq!(asked("pam://web1", 0, false), Err(Refused::NotTouched));
        assert_eq!(asked("pam://web1", 4, false), Err(Refused::NotTouched));
        assert_eq!(asked("pam://web1", 1, true), Err(Refused::NotVerified));

        let good = sign(&signer, auth_data("pam://web1", 5, 1), &HASH);
        assert_eq!(check(&key, &good, &[8; 32], true), Err(Refused::BadSignature), "another challenge");
        let other = SigningKey::from_slice(&[10; 32]).unwrap();
        let of_other = sign(&other, good.auth_data.clone(), &HASH);
        assert_eq!(check(&key, &of_other, &HASH, true), Err(Refused::BadSignature), "another key");
        let mut more = good.clone();
        more.auth_data.push(0);
        assert_eq!(check(&key, &more, &HASH, true), Err(Refused::BadSignature), "appended");
        let longer = sign(&signer, more.auth_data, &HASH);
        assert_eq!(check(&key, &longer, &HASH, true), Ok(1), "extensions are signed too");
        for short in 0..AUTH_DATA {
            let cut = sign(&signer, good.auth_data[..short].to_vec(), &HASH);
            assert_eq!(check(&key, &cut, &HASH, true), Err(Refused::Malformed), "{short} bytes");
        }
    }

    #[test]
    fn a_public_key_that_is_no_point_or_a_weak_one_is_none() {
        assert_eq!(PublicKey::es256(&[0; 64]), None);
        assert_eq!(PublicKey::es256(&[1; 64]), None);
        assert_eq!(PublicKey::es256(&[1; 63]), None);
        assert_eq!(PublicKey::ed25519(&[0; 32]), None, "a point of order 4");
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(PublicKey::ed25519(&one), None, "the neutral point");
        assert_eq!(PublicKey::ed25519(&[2; 31]), None);
    }

    #[test]
    fn numbers_of_ssh_become_der() {
        let (signer, public) = es256();
        let signature: Es256Signature = signer.sign(b"message");
        let (r, s) = (signature.r().to_bytes(), signature.s().to_bytes());
        let padded = [&[0], &r[..]].concat();
        assert!(public.has_signed(b"message", &der(&padded, &s).unwrap()));
        assert!(!public.has_signed(b"message", &der(&s, &padded).unwrap()));
        assert!(!public.has_signed(b"message", &[&r[..], &s[..]].concat()), "not DER");
        assert_eq!(der(&[1; 33], &s), None);
        assert_eq!(der(&[0; 40], &s), None, "zero");
        assert_eq!(der(&[], &s), None);
        assert_eq!(der(&r, &[0xff; 32]), None, "beyond the order of the curve");
        assert!(der(&[5], &[6]).is_some());
    }

    #[test]
    fn a_counter_moves_on_or_was_never_there() {
        assert_eq!(moved_on(0, 0), Ok(0));
        assert_eq!(moved_on(0, 1), Ok(1));
        assert_eq!(moved_on(41, u32::MAX), Ok(u32::MAX));
        for (from, to) in [(1, 1), (1, 0), (u32::MAX, u32::MAX), (u32::MAX, 0), (9, 8)] {
            assert_eq!(moved_on(from, to), Err(Refused::CounterBack { from, to }));
        }
        let alarm = Refused::CounterBack { from: 9, to: 8 };
        assert_eq!(alarm.to_string(), "sign counter went back from 9 to 8");
    }

    proptest! {
        #[test]
        fn a_bit_that_differs_anywhere_is_refused(bit in 0usize..37 * 8, ed in any::<bool>()) {
            let (signer, public) = es256();
            let ed_signer = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
            let data = auth_data("pam://web1", 5, 77);
            let (key, mut signed) = if ed {
                let public = PublicKey::ed25519(ed_signer.verifying_key().as_bytes()).unwrap();
                let signature = ed_signer.sign(&[&data[..], &HASH].concat()).to_bytes().to_vec();
                (bound("pam://web1", public), Signed { auth_data: data, signature })
            } else {
                (bound("pam://web1", public), sign(&signer, data, &HASH))
            };
            prop_assert_eq!(check(&key, &signed, &HASH, true), Ok(77));
            signed.auth_data[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&key, &signed, &HASH, true).is_err());
        }

        #[test]
        fn any_bytes_are_no_answer(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            signature in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let signed = Signed { auth_data: data, signature };
            prop_assert!(check(&bound("pam://web1", es256().1), &signed, &HASH, false).is_err());
            let known = Signed { auth_data: auth_data("pam://web1", 1, 1), ..signed };
            prop_assert!(check(&bound("pam://web1", es256().1), &known, &HASH, false).is_err());
        }
    }
}
