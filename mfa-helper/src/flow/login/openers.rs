//! Who opens the session in which a device that a login binds begins to hold.

use mfa_core::Process;
use mfa_core::change::Terms;
use mfa_core::record::{PENDING_LIFE, Provisional};
use mfa_wire::Login;

use crate::flow::Decision;
use crate::flow::door::origin;
use crate::host::Host;
use crate::process;

/// On which terms a device is bound in this login: it waits for the session.
pub fn terms(login: &Login, host: &Host) -> Result<Terms, Decision> {
    let waits = Provisional { expires: (host.now)() + PENDING_LIFE, openers: openers(login, host)? };
    let from = origin(login).unwrap_or("an unknown place").to_owned();
    Ok(Terms { from, codes: host.loaded.policy.recovery_codes, provisional: Some(waits) })
}

/// The processes that may open the session of this login: the one that asks, and behind sshd the one that has started it.
/// Of other programs the parent is whatever has called them: anybody's.
pub fn openers(login: &Login, host: &Host) -> Result<Vec<Process>, Decision> {
    let unseen = || Decision::unavailable("the calling process cannot be seen, so no session could confirm a device");
    let own = process::now(host.caller_pid).ok_or_else(unseen)?;
    let parent = if login.came_by_sshd() { process::parent(own) } else { None };
    Ok([own].into_iter().chain(parent).collect())
}
