//! The session phase of a login.

use mfa_wire::{Login, Outcome};

use super::known;
use crate::flow::Decision;
use crate::flow::place::place;
use crate::flow::revise::{RACES, lost_races};
use crate::host::Host;
use crate::process;
use crate::store::{Change, CommitError};

/// The session phase of a login whose account phase has bound a device: from here on it holds.
///
/// By the process, whatever the login says of itself: the one that has bound, or of sshd, which holds the account phase in a
/// process of its own, the one that has started that.
pub fn session(login: &Login, host: &Host) -> Decision {
    confirm(login, host).unwrap_or_else(|failed| failed)
}

fn confirm(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = known(login)?;
    let store = host.store()?;
    let here = place(login, host);
    let opener = process::now(host.caller_pid);
    for _ in 0..RACES {
        let mut record = store.load(&user.name)?;
        let Some((bound, waits)) = record.provisional.take() else {
            return Ok(Decision::new(Outcome::Ignored, "", "no device waits for this session"));
        };
        if waits.expires <= (host.now)() {
            return Ok(Decision::new(Outcome::Refused, "", "the provisional device has expired"));
        }
        if !opener.is_some_and(|opener| waits.openers.contains(&opener)) {
            return Ok(Decision::new(Outcome::Refused, "", "another login has bound the provisional device"));
        }
        // Nothing is owed here any more; whoever was let past elsewhere gives its code there.
        let owes = record.state.owes.without(here.as_deref());
        match store.commit(&record, Change::Bind(&bound, &owes)) {
            Ok(()) => {
                return Ok(Decision { factor: bound.kind().word(), ..Decision::new(Outcome::Accepted, "", "bound") });
            }
            Err(CommitError::Conflict) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(lost_races())
}
