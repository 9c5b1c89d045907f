//! A message from our account hook to our session hook: that it has bound a device, and for which user.
//!
//! It is in the PAM environment and not in the handle, because sshd runs the account phase in a process of its own
//! and copies only the environment back. It is removed before the session's environment is made. If something else
//! sets it (pam_env, from files of the user's), the helper is asked in vain: it looks at the processes, not at this.

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

/// The user for whom a device was bound. Removes the message.
pub(crate) fn take(pam: &mut PamHandle) -> Option<String> {
    let user = getenv(pam, NAME)?.to_str().ok().filter(|user| user.len() <= MAX_NAME).map(str::to_owned);
    let _ = putenv(pam, NAME);
    user.filter(|user| !user.is_empty())
}
