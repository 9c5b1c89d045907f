//! One pass of auth: the lines of ours in a stack, from one `pam_authenticate` to the next.

use mfa_wire::{Login, Outcome};
use pam::module::{PamHandle, PamResult};

use crate::mark::{Mark, Word};
use crate::sys;

/// The result of the auth hook for exactly this user and service, if it was called.
pub(crate) fn of(pam: &PamHandle, login: &Login) -> Option<Word> {
    sys::pam::mark(pam)?.word_for(login)
}

/// Begins a line of auth. Until [`end`] says otherwise the mark is "refused", so neither an early return nor a panic
/// leaves an earlier, better mark in place.
///
/// Returns the mark of earlier lines in the same pass. The mark of an earlier pass is forgotten: sudo, login and
/// sshd's `password` method retry on the same handle, and a right code after two wrong ones must let in.
pub(crate) fn begin(pam: &mut PamHandle) -> PamResult<Option<Mark>> {
    let before = if sys::pam::is_pass_under_way(pam)? { sys::pam::mark(pam).cloned() } else { None };
    sys::pam::set_mark(pam, Some(Mark::REFUSED))?;
    sys::pam::note_pass(pam)?;
    Ok(before)
}

/// Ends a line of auth. The strictest result of a pass counts: two lines may use policies that disagree.
pub(crate) fn end(pam: &mut PamHandle, before: Option<Mark>, login: &Login, outcome: Outcome) -> PamResult<()> {
    let word = Word::from(outcome);
    let before = before.and_then(|before| before.word_for(login));
    let strictest = before.map_or(word, |before| before.max(word));
    sys::pam::set_mark(pam, Some(Mark::new(login, strictest)))
}

/// Notes that the account phase has done what auth left to it, so that a second line of ours does nothing.
pub(crate) fn settled(pam: &mut PamHandle, login: &Login) -> PamResult<()> {
    sys::pam::set_mark(pam, Some(Mark::new(login, Word::Accepted)))
}
