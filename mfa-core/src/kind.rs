//! The kinds of second factor: a closed set.

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An authenticator app.
    Totp,
    /// A security key.
    U2f,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Totp, Kind::U2f];

    /// Its name in mfa.toml, in the store and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Totp => "totp",
            Kind::U2f => "u2f",
        }
    }

    /// The kind with this name.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}
