//! Identities of bindings.

use std::fmt;

use data_encoding::HEXLOWER;

/// The identity of one binding. Nil belongs to no binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Id(pub [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Id {
    /// A new identity, from `random`.
    pub fn new<E>(random: impl Fn(&mut [u8]) -> Result<(), E>) -> Result<Id, E> {
        let mut id = Id::default();
        random(&mut id.0)?;
        Ok(id)
    }
}
