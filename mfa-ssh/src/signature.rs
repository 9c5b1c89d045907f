//! The data that a security key signs for ssh, and the signature.

use std::fmt;

use data_encoding::BASE64;
use sha2::{Digest, Sha256, Sha512};

use crate::blob::{Malformed, Reader, put};
use crate::key::{KeyError, Point, SkPublicKey};

/// The namespace of our signatures. It keeps signatures apart: one that was made for a login, a file or a commit is
/// not valid here, and one of ours is not valid there.
pub const NAMESPACE: &str = "mfa@pam_mfa";

const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// PROTOCOL.u2f: over the JSON of a browser, which says for which web site the key was touched, in place of the message.
const BY_A_BROWSER: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
/// The longest armored signature by such a key.
const MAX_ARMOURED: usize = 4096;

/// The hash of the signed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Accepted, because the signer can choose it.
    Sha256,
    /// The hash that we ask for, and the default of `ssh-keygen -Y sign`.
    Sha512,
}

impl Hash {
    fn name(self) -> &'static str {
        match self {
            Hash::Sha256 => "sha256",
            Hash::Sha512 => "sha512",
        }
    }

    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// PROTOCOL.sshsig section 3: the data that an agent signs, for `message` in our namespace.
pub fn signed_data(message: &[u8], hash: Hash) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put(&mut data, NAMESPACE.as_bytes());
    put(&mut data, b"");
    put(&mut data, hash.name().as_bytes());
    put(&mut data, &hash.of(message));
    data
}

/// PROTOCOL.u2f: the hash of that data, which the security key gets in place of WebAuthn's hash of the client data.
pub fn client_data_hash(message: &[u8], hash: Hash) -> [u8; 32] {
    Sha256::digest(signed_data(message, hash)).into()
}

/// The signature of a security key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkSignature {
    /// What the key says that it checked: bit 0 a touch, bit 2 a PIN or fingerprint.
    pub flags: u8,
    /// How many signatures the key has made, or 0.
    pub counter: u32,
    /// The signature proper.
    pub rest: Rest,
}

/// A signature of 64 bytes, by its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// As RFC 8032 encodes it.
    Ed25519([u8; 64]),
    /// Over NIST P-256: r, then s.
    Ecdsa([u8; 64]),
}

impl SkSignature {
    /// Reads the blob of a signature, which must be of the algorithm of `key`.
    pub fn from_blob(blob: &[u8], key: &SkPublicKey) -> Result<SkSignature, SignatureError> {
        let mut reader = Reader::new(blob);
        match reader.string()? {
            algorithm if algorithm == key.algorithm().as_bytes() => {}
            algorithm if algorithm == BY_A_BROWSER.as_bytes() => return Err(SignatureError::WebAuthn),
            _ => return Err(Malformed("a signature of another kind than the key").into()),
        }
        let signature = reader.string()?;
        let rest = match key.point {
            Point::Ed25519(_) => {
                Rest::Ed25519(signature.try_into().map_err(|_| Malformed("a signature of 64 bytes was expected"))?)
            }
            Point::Ecdsa(_) => {
                let mut halves = Reader::new(signature);
                let (r, s) = (halves.scalar()?, halves.scalar()?);
                halves.end()?;
                let mut both = [0; 64];
                both[..32].copy_from_slice(&r);
                both[32..].copy_from_slice(&s);
                Rest::Ecdsa(both)
            }
        };
        let (flags, counter) = (reader.byte()?, reader.number()?);
        reader.end()?;
        Ok(SkSignature { flags, counter, rest })
    }

    /// Writes the blob of a signature by `key`.
    pub fn to_blob(&self, key: &SkPublicKey) -> Vec<u8> {
        let mut inner = Vec::new();
        match &self.rest {
            Rest::Ed25519(signature) => inner.extend(signature),
            Rest::Ecdsa(halves) => halves.chunks(32).for_each(|half| put(&mut inner, &mpint(half))),
        }
        let mut blob = Vec::new();
        put(&mut blob, key.algorithm().as_bytes());
        put(&mut blob, &inner);
        blob.push(self.flags);
        blob.extend(self.counter.to_be_bytes());
        blob
    }

    /// The authenticator data that is signed together with the [`client_data_hash`].
    pub fn authenticator_data(&self, application: &str) -> [u8; 37] {
        let mut data = [0; 37];
        data[..32].copy_from_slice(&Sha256::digest(application));
        data[32] = self.flags;
        data[33..].copy_from_slice(&self.counter.to_be_bytes());
        data
    }
}

/// A positive number as RFC 4251 section 5 writes it.
fn mpint(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().take_while(|digit| **digit == 0).count()..];
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    [sign, digits].concat()
}

/// Why something is not a signature that we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// It is not a block with the right first and last line.
    NoSignature,
    /// It is by a key that does not live on a security key, or that cannot be used.
    Key(KeyError),
    /// It was made for another purpose than ours.
    Namespace,
    /// It was made in the way of a browser, `webauthn-sk-ecdsa-sha2-nistp256@openssh.com`.
    WebAuthn,
    /// Its bytes are not valid.
    Malformed(Malformed),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::NoSignature => {
                f.write_str("This is no ssh signature: paste it with its BEGIN and END lines.")
            }
            SignatureError::Key(key) => key.fmt(f),
            SignatureError::Namespace => write!(f, "This signature is for something else: sign with -n {NAMESPACE}"),
            SignatureError::WebAuthn => {
                f.write_str("That signature is one of webauthn-sk, as browsers make them: it does not count.")
            }
            SignatureError::Malformed(_) => f.write_str("This ssh signature is damaged: copy it again."),
        }
    }
}

impl From<Malformed> for SignatureError {
    fn from(what: Malformed) -> Self {
        SignatureError::Malformed(what)
    }
}

/// What `ssh-keygen -Y sign -n mfa@pam_mfa` prints. Parsing does not check the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sshsig {
    /// The key that it claims to be made with.
    pub key: SkPublicKey,
    /// The hash of the message.
    pub hash: Hash,
    /// The signature.
    pub signature: SkSignature,
}

impl Sshsig {
    /// Reads the armored form.
    pub fn parse(text: &str) -> Result<Sshsig, SignatureError> {
        if text.len() > MAX_ARMOURED {
            return Err(SignatureError::NoSignature);
        }
        let inner = text.trim().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
        let base64: String = inner.ok_or(SignatureError::NoSignature)?.split_ascii_whitespace().collect();
        let blob = BASE64.decode(base64.as_bytes()).map_err(|_| Malformed("its base64 is damaged"))?;
        let mut reader = Reader::new(&blob);
        if &reader.bytes()? != MAGIC || reader.number()? != VERSION {
            return Err(Malformed("another version").into());
        }
        let key = SkPublicKey::from_blob(reader.string()?).map_err(SignatureError::Key)?;
        if reader.string()? != NAMESPACE.as_bytes() {
            return Err(SignatureError::Namespace);
        }
        // The field "reserved" must be ignored. If it is not empty, the signature will not match our data.
        reader.string()?;
        let hash = match reader.string()? {
            b"sha256" => Hash::Sha256,
            b"sha512" => Hash::Sha512,
            _ => return Err(Malformed("an unknown hash").into()),
        };
        let signature = SkSignature::from_blob(reader.string()?, &key)?;
        reader.end()?;
        Ok(Sshsig { key, hash, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(ecdsa: bool) -> SkPublicKey {
        let point = if ecdsa { Point::Ecdsa([9; 64]) } else { Point::Ed25519([9; 32]) };
        SkPublicKey { point, application: String::from("ssh:") }
    }

    fn armoured(key: &SkPublicKey, namespace: &str, hash: &str, signature: &[u8]) -> String {
        let mut all = MAGIC.to_vec();
        all.extend(VERSION.to_be_bytes());
        for part in [&key.to_blob()[..], namespace.as_bytes(), b"", hash.as_bytes(), signature] {
            put(&mut all, part);
        }
        let base64 = BASE64.encode(&all);
        let lines: Vec<&str> = base64.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    }

    fn signature(ecdsa: bool, bytes: [u8; 64]) -> SkSignature {
        let rest = if ecdsa { Rest::Ecdsa(bytes) } else { Rest::Ed25519(bytes) };
        SkSignature { flags: 5, counter: 0x0102_0304, rest }
    }

    #[test]
    fn what_is_signed_is_what_the_specification_says() {
        let data = signed_data(b"", Hash::Sha256);
        let mut expected = b"SSHSIG\0\0\0\x0bmfa@pam_mfa\0\0\0\0\0\0\0\x06sha256\0\0\0\x20".to_vec();
        expected
            .extend([0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24]);
        expected
            .extend([0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55]);
        assert_eq!(data, expected);
        assert_eq!(signed_data(b"x", Hash::Sha512).len(), 6 + 15 + 4 + 10 + 68);
        assert_ne!(client_data_hash(b"x", Hash::Sha256), client_data_hash(b"x", Hash::Sha512));
    }

    #[test]
    fn what_the_key_has_seen_goes_into_what_is_checked() {
        let data = signature(false, [1; 64]).authenticator_data("ssh:");
        assert_eq!(data[..32], Sha256::digest(b"ssh:")[..]);
        assert_eq!(data[32..], [5, 1, 2, 3, 4]);
    }

    #[test]
    fn a_signature_blob_that_is_not_just_so_is_refused() {
        for ecdsa in [false, true] {
            let good = signature(ecdsa, [3; 64]).to_blob(&key(ecdsa));
            assert!(SkSignature::from_blob(&good, &key(!ecdsa)).is_err(), "another kind");
            for length in 0..good.len() {
                assert!(SkSignature::from_blob(&good[..length], &key(ecdsa)).is_err());
            }
            assert!(SkSignature::from_blob(&[&good[..], &[0]].concat(), &key(ecdsa)).is_err());
        }
        let number = |digits: &[u8]| {
            let mut string = Vec::new();
            put(&mut string, digits);
            Reader::new(&string).scalar()
        };
        assert_eq!(number(&[1]).unwrap()[31], 1);
        for bad in [&b""[..], &[0], &[0, 0x7f], &[0x80], &[1; 33], &[&[0, 0x80][..], &[1; 32]].concat()] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_armoured_signature_is_whole_and_for_us() {
        let (key, signature) = (key(false), signature(false, [3; 64]));
        let blob = signature.to_blob(&key);
        let good = armoured(&key, NAMESPACE, "sha512", &blob);
        assert_eq!(Sshsig::parse(&good), Ok(Sshsig { key: key.clone(), hash: Hash::Sha512, signature }));
        let crlf = good.replace('\n', "\r\n");
        assert!(Sshsig::parse(&crlf).is_ok(), "pasted from another system");
        let parse = |text: &str| Sshsig::parse(text).unwrap_err();
        assert_eq!(parse(&armoured(&key, "file", "sha512", &blob)), SignatureError::Namespace);
        assert_eq!(
            parse(&armoured(&key, NAMESPACE, "sha1", &blob)),
            SignatureError::Malformed(Malformed("an unknown hash"))
        );
        assert_eq!(parse(&good.replace(END, "")), SignatureError::NoSignature);
        assert_eq!(parse(&good.replace(BEGIN, "")), SignatureError::NoSignature);
        assert_eq!(parse(&format!("{good}{}", " \n".repeat(MAX_ARMOURED))), SignatureError::NoSignature);
        assert!(matches!(parse(&good.replacen("\nU", "\n?", 1)), SignatureError::Malformed(_)));
        let foreign = SkPublicKey { application: String::from("pam://web1"), ..key };
        let of_a_site = armoured(&foreign, NAMESPACE, "sha512", &blob);
        assert_eq!(parse(&of_a_site), SignatureError::Key(KeyError::Application));
        for error in [
            SignatureError::NoSignature,
            SignatureError::Namespace,
            SignatureError::WebAuthn,
            SignatureError::Malformed(Malformed("")),
        ] {
            assert!(error.to_string().len() <= 80 && error.to_string().is_ascii(), "{error}");
        }
    }

    /// As PROTOCOL.u2f has it: the origin, the browser's JSON, extensions, then flags and counter of the same key.
    #[test]
    fn a_signature_of_a_browser_is_refused_by_its_name() {
        let key = key(true);
        let plain = signature(true, [3; 64]).to_blob(&key);
        let rest = &plain[4 + key.algorithm().len()..];
        let mut blob = Vec::new();
        put(&mut blob, BY_A_BROWSER.as_bytes());
        blob.extend(rest);
        [&b"https://web1"[..], br#"{"type":"webauthn.get"}"#, b""].iter().for_each(|part| put(&mut blob, part));
        assert_eq!(SkSignature::from_blob(&blob, &key), Err(SignatureError::WebAuthn));
        let pasted = armoured(&key, NAMESPACE, "sha512", &blob);
        assert_eq!(Sshsig::parse(&pasted), Err(SignatureError::WebAuthn));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ecdsa: bool, bytes: [u8; 64], first in 1u8.., zeros in 0..31usize) {
            let mut bytes = bytes;
            if ecdsa {
                // Neither half is zero, and some are short.
                bytes[..zeros].fill(0);
                (bytes[31], bytes[32]) = (first, first);
            }
            let (key, signature) = (key(ecdsa), signature(ecdsa, bytes));
            let blob = signature.to_blob(&key);
            prop_assert_eq!(SkSignature::from_blob(&blob, &key), Ok(signature));
            prop_assert_eq!(Sshsig::parse(&armoured(&key, NAMESPACE, "sha256", &blob)).unwrap().signature, signature);
        }

        #[test]
        fn no_bytes_and_no_text_bring_it_down(bytes: Vec<u8>, text: String, at in 0..400usize, by: char) {
            for ecdsa in [false, true] {
                let _ = SkSignature::from_blob(&bytes, &key(ecdsa));
                let good = armoured(&key(ecdsa), NAMESPACE, "sha512", &signature(ecdsa, [3; 64]).to_blob(&key(ecdsa)));
                let damaged: String = good.chars().enumerate().map(|(n, c)| if n == at { by } else { c }).collect();
                let _ = Sshsig::parse(&damaged);
                let _ = Sshsig::parse(&format!("{BEGIN}\n{}\n{END}", BASE64.encode(&bytes)));
            }
            let _ = Sshsig::parse(&text);
        }
    }
}
