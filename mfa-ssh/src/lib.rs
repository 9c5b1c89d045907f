//! ssh keys that live on a security key (`sk-ssh-ed25519@openssh.com`, `sk-ecdsa-sha2-nistp256@openssh.com`): their
//! public keys, what they sign, and how an ssh agent is asked for it. Pure, but for the one exchange with an agent, over
//! whatever stream it is given. It checks no signature: that is the helper's.
//!
//! By OpenSSH's PROTOCOL.u2f, PROTOCOL.sshsig and RFC 4251 section 5; the agent's language is that of
//! draft-miller-ssh-agent.

#![forbid(unsafe_code)]

pub mod agent;
mod blob;
mod key;
mod signature;

pub use blob::Malformed;
pub use key::{KeyError, Line, Point, SkPublicKey, in_auth_info};
pub use signature::{Hash, NAMESPACE, Rest, SignatureError, SkSignature, Sshsig, client_data_hash, signed_data};
