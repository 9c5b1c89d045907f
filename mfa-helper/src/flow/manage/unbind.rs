//! Unbinding: all that is bound, or one device of several.

use mfa_core::record::{Credentials, Device};
use mfa_wire::{Outcome, printable};

use super::keys;
use crate::conversation::Conversation;
use crate::flow::Decision;
use crate::flow::proof::Proof;
use crate::flow::user::{find, known_or_kept, not_bound};
use crate::host::Host;
use crate::lang::Text;
use crate::policy::{Answer, Require};
use crate::store::{Change, Record, StoreError};

/// Destroys the binding, or the device with that id. For root also the way out of a record that cannot be read any more.
pub fn disable(
    user: &str,
    device: Option<&str>,
    proof: Proof,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let (mut factor, mut has_keys) = ("none", false);
    // Before a code is asked that would be used up.
    if let Some(id) = device {
        match store.load(&user)?.credentials {
            Some(bound) if !has_device(&bound, id) => return Ok(no_such_device(&user, id)),
            Some(bound) if bound.keys().len() == 1 && is_required(&user, host) => return Ok(last_key(&user)),
            Some(_) => {}
            None => return Ok(no_such_device(&user, id)),
        }
    }
    if proof == Proof::Root && device.is_none() {
        match store.load(&user) {
            Ok(Record { credentials: None, .. }) => return Ok(not_bound(&user)),
            Ok(Record { credentials: Some(bound), .. }) => {
                has_keys = !bound.keys().is_empty();
                store.unbind(&user)?
            }
            // A record that cannot be read is destroyed as well. Whatever a login does meanwhile comes too late.
            Err(StoreError::Damaged(..) | StoreError::Orphan(_) | StoreError::Fault(_)) => store.unbind(&user)?,
            Err(error) => return Err(error.into()),
        }
    } else {
        let (record, by) = proof.record_of(&user, &store, host, conversation)?;
        match (&record.credentials, device) {
            (None, _) => return Ok(not_bound(&user)),
            (Some(bound), Some(id)) if !has_device(bound, id) => return Ok(no_such_device(&user, id)),
            (Some(bound), Some(id)) if bound.keys().len() > 1 => {
                return keys::remove(id, proof, by, record, &store, host);
            }
            (Some(bound), Some(_)) if !bound.keys().is_empty() && is_required(&user, host) => {
                return Ok(Decision { factor: by, ..last_key(&user) });
            }
            (Some(bound), _) => {
                has_keys = !bound.keys().is_empty();
                factor = by;
            }
        }
        store.commit(&record, Change::Unbind).map_err(|lost| Decision { factor, ..lost.into() })?;
    }
    let text = host.loaded.policy.lang.say(if has_keys { Text::KeysUnbound(&user) } else { Text::Unbound(&user) });
    Ok(Decision { factor, ..Decision::new(Outcome::Accepted, text, "unbound") })
}

fn has_device(bound: &Credentials, id: &str) -> bool {
    match &bound.device {
        Device::App(_) => bound.id.to_string() == id,
        Device::Keys(keys) => keys.iter().any(|key| key.id.to_string() == id),
    }
}

fn is_required(user: &str, host: &Host) -> bool {
    let identity = find(user).ok().flatten();
    let mut member = |group: &str| identity.as_ref().map_or(Answer::Unknown, |identity| identity.member(group));
    host.loaded.policy.strictest_of(user, (host.now)(), &mut member).require == Require::Mfa
}

fn last_key(user: &str) -> Decision {
    let text = format!(
        "This is the last key, and MFA is required of {0}.\nReplace it: mfa-enroll replace u2f --user {0}",
        printable(user, 32)
    );
    Decision::new(Outcome::Refused, text, "the last key of who is required to have one")
}

fn no_such_device(user: &str, id: &str) -> Decision {
    let text = format!("{} has no device with the id {}.", printable(user, 64), printable(id, 64));
    Decision::new(Outcome::NotFound, text, "no such device")
}
