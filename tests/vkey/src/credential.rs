//! Credentials that are kept nowhere: the id is a nonce and a MAC, and the private key is derived from it, so the same
//! seed is the same key wherever it is plugged in.

use p256::ecdsa::signature::Signer;

use crate::cbor::{self, Value};
use crate::pin::{hmac, random, to_cose};

pub const ES256: i64 = -7;
pub const EDDSA: i64 = -8;

pub struct Credential {
    pub id: Vec<u8>,
    /// The level of credProtect; 0: not asked for.
    pub protect: u8,
    pub key: PrivateKey,
}

pub enum PrivateKey {
    Es256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Credential {
    pub fn new(secret: &[u8], rp_hash: &[u8], algorithm: i64, protect: u8) -> Self {
        let mut id = vec![protect << 4 | u8::from(algorithm == EDDSA)];
        id.extend(random::<31>());
        let mac = hmac(secret, &[b"id", &id, rp_hash]);
        id.extend(mac);
        Self::find(secret, rp_hash, &id).unwrap()
    }

    /// The credential of this id, if it was made with this secret for this relying party.
    pub fn find(secret: &[u8], rp_hash: &[u8], id: &[u8]) -> Option<Self> {
        let (nonce, mac) = id.split_at_checked(32)?;
        if hmac(secret, &[b"id", nonce, rp_hash]) != mac {
            return None;
        }
        let private = hmac(secret, &[b"key", nonce, rp_hash]);
        let key = if nonce[0] & 1 == 0 {
            PrivateKey::Es256(p256::ecdsa::SigningKey::from_slice(&private).unwrap())
        } else {
            PrivateKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(&private))
        };
        Some(Self { id: id.to_vec(), protect: nonce[0] >> 4, key })
    }
}

impl PrivateKey {
    pub fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::Ed25519(_) => EDDSA,
        }
    }

    /// ES256: in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }

    pub fn cose(&self) -> Value {
        match self {
            Self::Es256(key) => to_cose(&key.verifying_key().into(), -7),
            Self::Ed25519(key) => {
                let x = Value::Bytes(key.verifying_key().to_bytes().to_vec());
                cbor::map([(1, 1.into()), (3, EDDSA.into()), (-1, 6.into()), (-2, x)])
            }
        }
    }
}
