//! The PIN protocols 1 and 2 (CTAP 2.1 §6.5.6, 6.5.7): what both ends compute.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};

use crate::cbor::{self, Value};

#[derive(Clone, Copy, PartialEq)]
pub enum Protocol {
    One,
    Two,
}

impl Protocol {
    pub fn of(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// What proves that `message` comes from who knows `key`: a shared secret or a token.
    pub fn authenticate(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = hmac(key, &[message]).to_vec();
        if self == Self::One {
            mac.truncate(16);
        }
        mac
    }
}

/// The shared secret of one exchange.
pub struct Shared {
    protocol: Protocol,
    aes: [u8; 32],
    hmac: [u8; 32],
}

impl Shared {
    pub fn new(protocol: Protocol, own: &SecretKey, other: &PublicKey) -> Self {
        let z = own.diffie_hellman(other);
        let z = z.raw_secret_bytes();
        match protocol {
            Protocol::One => {
                let key = sha256(&[z]);
                Self { protocol, aes: key, hmac: key }
            }
            Protocol::Two => {
                // HKDF-SHA-256 with a salt of zeros; one block each
                let prk = hmac(&[0; 32], &[z]);
                let expand = |info: &[u8]| hmac(&prk, &[info, &[1]]);
                Self { protocol, aes: expand(b"CTAP2 AES key"), hmac: expand(b"CTAP2 HMAC key") }
            }
        }
    }

    /// `plain` is whole blocks.
    pub fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let iv: [u8; 16] = if self.protocol == Protocol::One { [0; 16] } else { random() };
        let encrypted = cbc::Encryptor::<aes::Aes256>::new(&self.aes.into(), &iv.into());
        let encrypted = encrypted.encrypt_padded_vec::<NoPadding>(plain);
        if self.protocol == Protocol::One { encrypted } else { [&iv[..], &encrypted].concat() }
    }

    pub fn decrypt(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        let (iv, encrypted) = match self.protocol {
            Protocol::One => ([0; 16], encrypted),
            Protocol::Two => (encrypted.get(..16)?.try_into().ok()?, &encrypted[16..]),
        };
        let plain = cbc::Decryptor::<aes::Aes256>::new(&self.aes.into(), &iv.into());
        plain.decrypt_padded_vec::<NoPadding>(encrypted).ok()
    }

    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        self.protocol.authenticate(&self.hmac, message)
    }
}

/// How a PIN is compared: the left half of its hash.
pub fn hash(pin: &str) -> [u8; 16] {
    sha256(&[pin.as_bytes()])[..16].try_into().unwrap()
}

pub fn new_secret() -> SecretKey {
    SecretKey::from_slice(&random::<32>()).unwrap()
}

/// A public key in COSE; `algorithm` is ES256 (-7) or ECDH-ES+HKDF-256 (-25).
pub fn to_cose(public: &PublicKey, algorithm: i32) -> Value {
    let point = public.to_sec1_point(false);
    let (x, y) = (point.x().unwrap().to_vec(), point.y().unwrap().to_vec());
    cbor::map([(1, 2.into()), (3, algorithm.into()), (-1, 1.into()), (-2, Value::Bytes(x)), (-3, Value::Bytes(y))])
}

pub fn from_cose(key: &Value) -> Option<PublicKey> {
    PublicKey::from_sec1_bytes(&[&[4], cbor::bytes(key, -2)?, cbor::bytes(key, -3)?].concat()).ok()
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&parts.concat());
    mac.finalize().into_bytes().into()
}
