//! What our account hook leaves for our session hook: that it has bound a device, and whose.
//!
//! In the PAM environment and not in the handle, because sshd holds the account phase in a process of its own and takes
//! nothing else over from it. It is gone before the session's environment is made of it. Whoever else sets it (pam_env, by
//! files of the user's) has the helper asked in vain: that goes by the processes.

use std::ffi::{CStr, CString};

use mfa_wire::MAX_NAME;
use pam::constants::PamResultCode;
use pam::module::{PamHandle, PamResult};

use crate::sys::pam::{getenv, putenv};

const NAME: &CStr = c"PAM_MFA_BOUND";

pub(crate) fn note(pam: &mut PamHandle, user: &str) -> PamResult<()> {
    let variable = format!("{}={user}", NAME.to_string_lossy());
    putenv(pam, &CString::new(variable).map_err(|_| PamResultCode::PAM_BUF_ERR)?)
}

/// Whose device has been bound, once.
pub(crate) fn take(pam: &mut PamHandle) -> Option<String> {
    let user = getenv(pam, NAME)?.to_str().ok().filter(|user| user.len() <= MAX_NAME).map(str::to_owned);
    let _ = putenv(pam, NAME);
    user.filter(|user| !user.is_empty())
}
