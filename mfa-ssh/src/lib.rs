//! ssh keys that live on a security key (`sk-ssh-ed25519@openssh.com`, `sk-ecdsa-sha2-nistp256@openssh.com`): their
//! public keys, the data that they sign, and how to ask an ssh agent for a signature. No I/O, except the exchange
//! with an agent over a stream that the caller supplies. It checks no signature: the helper does.
//!
//! The formats are those of OpenSSH's PROTOCOL.u2f and PROTOCOL.sshsig and of RFC 4251 section 5; the agent's
//! protocol is draft-miller-ssh-agent.

#![forbid(unsafe_code)]

pub mod agent;
mod blob;
mod key;
mod signature;

pub use blob::Malformed;
pub use key::{KeyError, Line, Point, SkPublicKey, in_auth_info};
pub use signature::{Hash, NAMESPACE, Rest, SignatureError, SkSignature, Sshsig, client_data_hash, signed_data};
