//! One pass of auth: the lines of ours in a stack, from one `pam_authenticate` to the next.

use mfa_wire::{Login, Outcome};
use pam::module::{PamHandle, PamResult};

use crate::mark::{Mark, Word};
use crate::sys;

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
