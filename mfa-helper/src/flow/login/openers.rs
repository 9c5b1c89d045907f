//! The processes that may open the session that confirms a device bound by a login.

use mfa_core::Process;
use mfa_core::change::Terms;
use mfa_core::record::{PENDING_LIFE, Provisional};
use mfa_wire::Login;

use crate::flow::Decision;
use crate::flow::door::origin;
use crate::host::Host;
use crate::process;

/// The terms on which this login binds a device: it waits for the session.
pub fn terms(login: &Login, host: &Host) -> Result<Terms, Decision> {
    let waits = Provisional { expires: (host.now)() + PENDING_LIFE, openers: openers(login, host)? };
    let from = origin(login).unwrap_or("an unknown place").to_owned();
    Ok(Terms { from, codes: host.policy().recovery_codes, provisional: Some(waits) })
}

/// The processes that may open the session of this login: the one that asks, and behind sshd the one that has started it.
/// The parent of any other program is its caller, so it may be anybody's.
pub fn openers(login: &Login, host: &Host) -> Result<Vec<Process>, Decision> {
    let unseen = || Decision::unavailable("the calling process cannot be seen, so no session could confirm a device");
    let own = process::now(host.caller_pid).ok_or_else(unseen)?;
    let parent = if login.came_by_sshd() { process::parent(own) } else { None };
    Ok([own].into_iter().chain(parent).collect())
}
