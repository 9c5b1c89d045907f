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
    /// All of them.
    pub const ALL: [Kind; 2] = [Kind::Totp, Kind::U2f];

    /// As mfa.toml, the store and the command line say it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Totp => "totp",
            Kind::U2f => "u2f",
        }
    }

    /// The kind that is called so.
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}
