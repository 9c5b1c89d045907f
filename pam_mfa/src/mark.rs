//! What our auth hook leaves in the PAM handle for our account hook.

use mfa_wire::{Login, Outcome};
use pam::module::{PamHandle, PamResult};

use crate::sys;

/// What one pass of auth has come to.
#[derive(Clone)]
pub(crate) struct Mark {
    /// For whom, and at which service: an application may change both between the phases. `None`: for everybody.
    login: Option<(String, String)>,
    outcome: Outcome,
}

impl Mark {
    /// Whoever it is: no other phase lets them in.
    const REFUSED: Mark = Mark { login: None, outcome: Outcome::Refused };
}

/// What the auth hook has come to for this very user and service, if it was called.
pub(crate) fn of(pam: &PamHandle, login: &Login) -> Option<Outcome> {
    let mark = sys::pam::mark(pam)?;
    let same = |(user, service): &(String, String)| *user == login.user && *service == login.service;
    mark.login.as_ref().is_none_or(same).then_some(mark.outcome)
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
    let login = Some((login.user.clone(), login.service.clone()));
    let mark = match before {
        Some(before) if strictness(before.outcome) == REFUSED => Mark::REFUSED,
        // Said of somebody else, it is no word about this one.
        Some(before) if before.login == login && strictness(before.outcome) > strictness(outcome) => before,
        _ if strictness(outcome) == REFUSED => Mark::REFUSED,
        _ => Mark { login, outcome },
    };
    sys::pam::set_mark(pam, Some(mark))
}

/// Notes that the account phase has dealt with what auth left to it: a second line of ours finds nothing to do.
pub(crate) fn settled(pam: &mut PamHandle, login: &Login) -> PamResult<()> {
    let login = Some((login.user.clone(), login.service.clone()));
    sys::pam::set_mark(pam, Some(Mark { login, outcome: Outcome::Accepted }))
}

const REFUSED: u8 = 3;

/// Refused, then handed over to the account phase, then accepted, then ignored. All that is not a way past is a refusal.
fn strictness(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Ignored => 0,
        Outcome::Accepted => 1,
        Outcome::HandedOver => 2,
        _ => REFUSED,
    }
}
