//! What our auth hook leaves in the PAM handle for our account hook.

use mfa_wire::{Login, Outcome};
use pam::module::{PamHandle, PamResult};

use crate::sys;

/// Accepted or ignored, and for whom: an application may change `PAM_USER` between the phases.
pub(crate) struct Mark {
    user: String,
    service: String,
    outcome: Outcome,
}

/// The outcome of the auth hook for this very user and service, if it left one.
pub(crate) fn of(pam: &PamHandle, login: &Login) -> Option<Outcome> {
    let mark = sys::pam::mark(pam)?;
    (mark.user == login.user && mark.service == login.service).then_some(mark.outcome)
}

pub(crate) fn set(pam: &mut PamHandle, login: &Login, outcome: Outcome) -> PamResult<()> {
    let (user, service) = (login.user.clone(), login.service.clone());
    sys::pam::set_mark(pam, Some(Mark { user, service, outcome }))
}

pub(crate) fn clear(pam: &mut PamHandle) -> PamResult<()> {
    sys::pam::set_mark(pam, None)
}
