//! Who has what.

use mfa_wire::{DeviceStatus, FromHelper, Outcome, Status};

use super::Decision;
use super::device::known_or_kept;
use crate::conversation::Conversation;
use crate::host::Host;
use crate::identity;
use crate::lockout::Way;
use crate::policy::{Answer, Require};
use crate::store::{Record, Store};

/// Shows one user's standing.
pub fn status(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let status = standing(&user, &store.load(&user)?, host);
    conversation.send(&FromHelper::Status(status))?;
    Ok(Decision::new(Outcome::Accepted, "", "shown"))
}

/// Shows it for everybody who has something bound or pending, in order of their names.
pub fn list(host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    let store: Store = host.store()?;
    let mut unreadable = 0;
    for user in store.users()? {
        match store.load(&user) {
            Ok(record) if record.credentials.is_none() && record.pending.is_none() => {}
            Ok(record) => conversation.send(&FromHelper::Status(standing(&user, &record, host)))?,
            Err(error) => {
                unreadable += 1;
                conversation.tell(&error.to_string())?;
            }
        }
    }
    if unreadable > 0 {
        let text = format!("Records that cannot be read: {unreadable}.");
        return Err(Decision::new(Outcome::Unavailable, text.clone(), text));
    }
    Ok(Decision::new(Outcome::Accepted, "", "shown"))
}

fn standing(user: &str, record: &Record, host: &Host) -> Status {
    let identity = identity::find(user).ok().flatten();
    let mut member = |group: &str| identity.as_ref().map_or(Answer::Unknown, |identity| identity.member(group));
    let now = (host.now)();
    let lockout = host.loaded.policy.lockout;
    let locked = [Way::Login, Way::OwnProcess]
        .map(|way| way.rule(lockout).on_clock(record.state.failures(way), now).locked_until);
    let device = record.credentials.as_ref().map(|bound| DeviceStatus {
        id: bound.id.to_string(),
        label: bound.label.clone(),
        created: bound.created,
        created_from: bound.created_from.clone(),
        last_used: (record.state.last_used > 0).then_some(record.state.last_used),
    });
    Status {
        user: user.to_owned(),
        kind: device.as_ref().map(|_| String::from("totp")),
        pending: record.pending.as_ref().is_some_and(|pending| pending.expires > now),
        required: host.loaded.policy.strictest_of(user, now, &mut member).require == Require::Mfa,
        devices: device.into_iter().collect(),
        recovery_codes_left: record.credentials.as_ref().map_or(0, |bound| bound.recovery.left(record.state.recovery)),
        locked_until: locked.into_iter().max().filter(|until| *until > now),
        bypass_until: record.state.bypass.is_good(now).then_some(record.state.bypass.expires),
    }
}
