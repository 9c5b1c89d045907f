//! Reads a new credential from a key's answer (WebAuthn 6.5).

use mfa_core::key::{MOST_AUTH_DATA, MOST_CREDENTIAL, PublicKey, USER_PRESENT, USER_VERIFIED};
use sha2::{Digest, Sha256};

/// A new credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// The handle by which the key finds it again.
    pub credential: Vec<u8>,
    /// The public key with which its signatures are checked.
    pub public: PublicKey,
    /// Whether a PIN or fingerprint was given.
    pub verified: bool,
    /// The sign counter.
    pub counter: u32,
    /// The model that the key claims; 16 zeros if it claims none, and for U2F.
    pub aaguid: [u8; 16],
}

/// Flag AT: a credential follows.
const CREDENTIAL_DATA: u8 = 0x40;

/// Canonical CBOR (CTAP 2.1, 8) allows one form of a COSE key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}
const ES256: [&[u8]; 2] = [&[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20], &[0x22, 0x58, 0x20]];
/// {1: 1, 3: -8, -1: 6, -2: x}
const EDDSA: &[u8] = &[0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];

/// The content of a single CBOR byte string: libfido2 wraps authenticator data in one.
pub fn unwrapped(cbor: &[u8]) -> Option<&[u8]> {
    let (head, rest) = cbor.split_first()?;
    let (length, rest) = match head {
        0x40..=0x57 => (usize::from(head - 0x40), rest),
        0x58 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x59 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    (rest.len() == length && length <= MOST_AUTH_DATA).then_some(rest)
}

/// The id of the credential in authenticator data, as it stands there.
pub fn credential(auth_data: &[u8]) -> Option<&[u8]> {
    // Hash of the relying party, flags, counter.
    attested(auth_data.get(32 + 1 + 4..)?).map(|(_, credential, _)| credential)
}

/// AAGUID, credential id, and the public key with what follows it.
fn attested(data: &[u8]) -> Option<([u8; 16], &[u8], &[u8])> {
    let (aaguid, rest) = data.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (credential, cose) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((*aaguid, credential, cose))
}

/// Reads authenticator data. The error is for the log.
pub fn read(auth_data: &[u8], rp_id: &str, uv: bool) -> Result<New, &'static str> {
    let short = "the new credential is malformed";
    let (rp_id_hash, rest) = auth_data.split_first_chunk::<32>().ok_or(short)?;
    let ([flags, counter @ ..], rest) = rest.split_first_chunk::<5>().ok_or(short)?;
    let (aaguid, credential, cose) = attested(rest).ok_or(short)?;
    if rp_id_hash[..] != Sha256::digest(rp_id.as_bytes())[..] {
        return Err("the new credential is for another relying party");
    }
    if flags & USER_PRESENT == 0 {
        return Err("the new credential was made without a touch");
    }
    if uv && flags & USER_VERIFIED == 0 {
        return Err("the new credential was made without PIN or fingerprint");
    }
    if flags & CREDENTIAL_DATA == 0 || credential.is_empty() || credential.len() > MOST_CREDENTIAL {
        return Err(short);
    }
    let public = cose_key(cose).ok_or("the new public key is none that can be used")?;
    Ok(New {
        credential: credential.to_vec(),
        public,
        verified: flags & USER_VERIFIED != 0,
        counter: u32::from_be_bytes(*counter),
        aaguid,
    })
}

/// Reads the public key. The extensions after it are ignored, because none was requested.
fn cose_key(cose: &[u8]) -> Option<PublicKey> {
    if let Some(rest) = cose.strip_prefix(EDDSA) {
        return PublicKey::ed25519(rest.get(..32)?);
    }
    let (x, rest) = cose.strip_prefix(ES256[0])?.split_first_chunk::<32>()?;
    let (y, _) = rest.strip_prefix(ES256[1])?.split_first_chunk::<32>()?;
    PublicKey::es256(&[*x, *y].concat())
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn made(rp_id: &str, flags: u8, credential: &[u8]) -> Vec<u8> {
        let point = SigningKey::from_slice(&[9; 32]).unwrap().verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let length = (credential.len() as u16).to_be_bytes();
        let head = [&Sha256::digest(rp_id.as_bytes())[..], &[flags], &[0, 0, 0, 9], &[3; 16], &length].concat();
        [&head[..], credential, ES256[0], x, ES256[1], y].concat()
    }

    #[test]
    fn a_credential_is_read_as_it_was_made() {
        let new = read(&made("pam://web1", 0x45, &[1, 2, 3]), "pam://web1", true).unwrap();
        assert_eq!((&new.credential[..], new.verified, new.counter, new.aaguid), (&[1, 2, 3][..], true, 9, [3; 16]));
        let unverified = read(&made("pam://web1", 0x41, &[1]), "pam://web1", false).unwrap();
        assert!(!unverified.verified);
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let refused =
            |rp_id, flags, credential: &[u8]| read(&made(rp_id, flags, credential), "pam://web1", true).is_err();
        assert!(!refused("pam://web1", 0x45, &[1]));
        assert!(refused("pam://web2", 0x45, &[1]));
        assert!(refused("pam://web1", 0x44, &[1]), "no touch");
        assert!(refused("pam://web1", 0x41, &[1]), "no PIN");
        assert!(refused("pam://web1", 0x05, &[1]), "no credential");
        assert!(refused("pam://web1", 0x45, &[]));
        assert!(refused("pam://web1", 0x45, &[1; MOST_CREDENTIAL + 1]));
        let good = made("pam://web1", 0x45, &[1]);
        for length in 0..good.len() {
            assert!(read(&good[..length], "pam://web1", true).is_err(), "{length} bytes");
        }
        let mut off_the_curve = good;
        *off_the_curve.last_mut().unwrap() ^= 1;
        assert!(read(&off_the_curve, "pam://web1", true).is_err());
    }

    #[test]
    fn a_byte_string_is_unwrapped_and_nothing_else() {
        assert_eq!(unwrapped(&[0x42, 1, 2]), Some(&[1, 2][..]));
        let long = [&[0x58, 37][..], &[7; 37]].concat();
        assert_eq!(unwrapped(&long), Some(&[7; 37][..]));
        let longer = [&[0x59, 1, 0][..], &[7; 256]].concat();
        assert_eq!(unwrapped(&longer), Some(&[7; 256][..]));
        for wrong in [&[][..], &[0x42, 1], &[0x42, 1, 2, 3], &[0x62, 1, 2], &[0x58], &[0x59, 1], &[0x5f, 0xff]] {
            assert_eq!(unwrapped(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_credential_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, "pam://web1", false);
            let _ = unwrapped(&bytes);
        }
    }
}
