//! What our auth hook leaves in the PAM handle for our account hook.

use mfa_wire::{Login, Outcome};
use pam::module::{PamHandle, PamResult};

use crate::sys;

/// What one pass of auth has come to.
#[derive(Clone)]
pub(crate) struct Mark {
    /// For whom, and at which service: an application may change both between the phases. `None`: for everybody.
    login: Option<(String, String)>,
    word: Word,
}

/// What a line of auth has said, from the mildest to the strictest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    Ignored,
    Accepted,
    /// To the account phase.
    HandedOver,
    Refused,
}

impl From<Outcome> for Word {
    fn from(outcome: Outcome) -> Word {
        match outcome {
            Outcome::Ignored => Word::Ignored,
            Outcome::Accepted => Word::Accepted,
            Outcome::HandedOver => Word::HandedOver,
            // All that is not a way past.
            _ => Word::Refused,
        }
    }
}

impl Mark {
    /// Whoever it is: no other phase lets them in.
    const REFUSED: Mark = Mark { login: None, word: Word::Refused };

    fn new(login: &Login, word: Word) -> Mark {
        match word {
            Word::Refused => Mark::REFUSED,
            word => Mark { login: Some((login.user.clone(), login.service.clone())), word },
        }
    }

    /// What it says of this very user and service.
    fn word_for(&self, login: &Login) -> Option<Word> {
        let same = |(user, service): &(String, String)| *user == login.user && *service == login.service;
        self.login.as_ref().is_none_or(same).then_some(self.word)
    }
}

/// What the auth hook has come to for this very user and service, if it was called.
pub(crate) fn of(pam: &PamHandle, login: &Login) -> Option<Word> {
    sys::pam::mark(pam)?.word_for(login)
}

/// Begins a line of auth. Until [`end`] says otherwise it has refused, so that no way out of it leaves an earlier word.
///
/// Returns what the lines before it in the same pass have left. What an earlier pass has left is forgotten: sudo, login and
/// sshd's `password` method try again on the same handle, and a right code after two wrong ones has to let in.
pub(crate) fn begin(pam: &mut PamHandle) -> PamResult<Option<Mark>> {
    let before = if sys::pam::is_pass_under_way(pam)? { sys::pam::mark(pam).cloned() } else { None };
    sys::pam::set_mark(pam, Some(Mark::REFUSED))?;
    sys::pam::note_pass(pam)?;
    Ok(before)
}

/// Ends a line of auth. The strictest word of a pass holds: two lines may ask policies that disagree.
pub(crate) fn end(pam: &mut PamHandle, before: Option<Mark>, login: &Login, outcome: Outcome) -> PamResult<()> {
    let word = Word::from(outcome);
    let before = before.and_then(|before| before.word_for(login));
    let strictest = before.map_or(word, |before| before.max(word));
    sys::pam::set_mark(pam, Some(Mark::new(login, strictest)))
}

/// Notes that the account phase has dealt with what auth left to it: a second line of ours finds nothing to do.
pub(crate) fn settled(pam: &mut PamHandle, login: &Login) -> PamResult<()> {
    sys::pam::set_mark(pam, Some(Mark::new(login, Word::Accepted)))
}
