//! What people and administrators ask for at the command line.

mod asked;
pub mod device;
pub mod import;
pub mod keys;
pub mod policy;
pub mod recovery;
pub mod rename;
pub mod require;
pub mod standing;
pub mod tickets;
pub mod unbind;
