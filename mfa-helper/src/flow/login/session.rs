//! The session phase of a login.

use mfa_core::change::{Note, Refusal};
use mfa_wire::{Login, Outcome};

use super::known;
use crate::flow::Decision;
use crate::flow::door::door;
use crate::host::Host;
use crate::process;

/// The session phase of a login whose account phase has bound a device: from here on it holds.
///
/// The calling process decides, not what the login says of itself: it has to be the process that has bound the device.
/// sshd runs the account phase in a child, so with sshd the parent of that process may confirm too.
pub fn session(login: &Login, host: &Host) -> Decision {
    confirm(login, host).unwrap_or_else(|failed| failed)
}

fn confirm(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = known(login)?;
    confirm_of(&user.name, login, host).map(|decision| decision.about(&user.name))
}

fn confirm_of(user: &str, login: &Login, host: &Host) -> Result<Decision, Decision> {
    let bindings = host.bindings()?;
    let nothing_waits = || Decision::new(Outcome::Ignored, "", "no device waits for this session");
    let Some(waiting) = bindings.look(user)?.provisional else { return Ok(nothing_waits()) };
    let (opener, here) = (process::now(host.caller_pid), door(login, host));
    match bindings.note(user, Note::Confirm(opener, here)) {
        Ok(()) => Ok(Decision::new(Outcome::Accepted, "", "bound").by_factor(waiting.kind.word())),
        Err(Refusal::NothingThere) => Ok(nothing_waits()),
        Err(Refusal::Expired) => Ok(Decision::new(Outcome::Refused, "", "the provisional device has expired")),
        Err(Refusal::AnotherLogin) => {
            Ok(Decision::new(Outcome::Refused, "", "another login has bound the provisional device"))
        }
        Err(other) => Err(other.into()),
    }
}
