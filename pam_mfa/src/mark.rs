//! What our auth hook leaves in the PAM handle for our account hook.

use mfa_wire::{Login, Outcome};

/// The result of one pass of auth.
#[derive(Clone)]
pub(crate) struct Mark {
    /// The user and the service: an application may change both between the phases. `None`: applies to every user.
    login: Option<(String, String)>,
    word: Word,
}

/// The result of one auth line, from the mildest to the strictest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    Ignored,
    Accepted,
    /// Left to the account phase.
    HandedOver,
    Refused,
}

impl From<Outcome> for Word {
    fn from(outcome: Outcome) -> Word {
        match outcome {
            Outcome::Ignored => Word::Ignored,
            Outcome::Accepted => Word::Accepted,
            Outcome::HandedOver => Word::HandedOver,
            // All other outcomes do not let past.
            _ => Word::Refused,
        }
    }
}

impl Mark {
    /// Refuses every user: no other phase lets them in.
    pub(crate) const REFUSED: Mark = Mark { login: None, word: Word::Refused };

    pub(crate) fn new(login: &Login, word: Word) -> Mark {
        match word {
            Word::Refused => Mark::REFUSED,
            word => Mark { login: Some((login.user.clone(), login.service.clone())), word },
        }
    }

    /// What it says about exactly this user and service.
    pub(crate) fn word_for(&self, login: &Login) -> Option<Word> {
        let same = |(user, service): &(String, String)| *user == login.user && *service == login.service;
        self.login.as_ref().is_none_or(same).then_some(self.word)
    }
}
