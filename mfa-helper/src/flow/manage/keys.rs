//! Binding security keys: the first, more beside it, others in its place.

use mfa_core::Kind;
use mfa_core::key::{self, Key};
use mfa_core::record::{Amendment, Credentials, Device, Latest};
use mfa_wire::{NewKey, Outcome, printable};

use super::device;
use crate::conversation::Conversation;
use crate::flow::new_key::{Wanted, make, of_keys};
use crate::flow::proof::{Proof, Proved as ProvedBinding};
use crate::flow::revise::RACES;
use crate::flow::user::{already, known, not_bound};
use crate::flow::{Decision, codes, permission};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::Text;
use crate::store::{Change, CommitError, Record, Store};

/// Binds a security key: the first device, or one more beside other keys.
pub fn bind(
    new: &NewKey,
    user: &str,
    proof: Proof,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let label = device::checked_label(new.label.as_deref())?;
    let identity = known(user)?;
    let user = &identity.name;
    let wanted = Wanted { ssh_key: new.ssh_key.as_deref(), label, user, proof };
    let store = host.store()?;
    let record = store.load(user)?;
    match record.credentials.as_ref().map(|bound| &bound.device) {
        Some(Device::App(_)) => Ok(already(user)),
        Some(Device::Keys(_)) => add(&wanted, &identity, &store, host, conversation),
        None => first(&wanted, &identity, record, &store, host, conversation),
    }
}

fn first(
    wanted: &Wanted,
    identity: &Identity,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let (user, proof) = (wanted.user, wanted.proof);
    if proof != Proof::Root {
        permission::may_bind(identity, Kind::U2f, proof, &record.state, host, conversation)?;
    }
    let factor = if proof == Proof::Invitation { permission::INVITATION } else { "none" };
    let proved = |decision: Decision| Decision { factor, ..decision };
    let key = make(wanted, &[], host, conversation).map_err(proved)?;
    let (recovery, codes) = codes::new_set(host)?;
    let credentials = Credentials { recovery, ..of_keys(key, host)? };
    store.commit(&record, Change::Bind(&credentials, &record.state.owes)).map_err(|lost| proved(lost.into()))?;
    let lines = [Some(Text::KeyBound(user)), codes::hand_out(codes, user, host, conversation)];
    Ok(proved(Decision::new(Outcome::Accepted, device::lines(lines, host), "bound")))
}

/// One more key takes the same proof as any other change.
fn add(
    wanted: &Wanted,
    identity: &Identity,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let (user, proof) = (wanted.user, wanted.proof);
    if proof == Proof::Invitation {
        return Ok(already(user));
    }
    if proof != Proof::Root {
        permission::may_replace(identity, Kind::U2f, host)?;
    }
    let (record, factor) = proof.record_of(user, store, host, conversation)?;
    let proved = |decision: Decision| Decision { factor, ..decision };
    let Some(bound) = &record.credentials else { return Ok(not_bound(user)) };
    if bound.keys().len() >= key::MOST {
        let text = format!("{} has {} keys already: unbind one before.", printable(user, 64), key::MOST);
        return Ok(proved(Decision::new(Outcome::Refused, text, "as many keys as there may be")));
    }
    let key = make(wanted, bound.keys(), host, conversation).map_err(proved)?;
    let added = |keys: &[Key]| {
        let room = keys.len() < key::MOST && !keys.iter().any(|other| other.public == key.public);
        room.then(|| [keys, std::slice::from_ref(&key)].concat())
    };
    let keys = amend(record, None, store, added).map_err(|lost| proved(lost.into()))?;
    let text = host.loaded.policy.lang.say(Text::KeyAdded(keys));
    Ok(proved(Decision::new(Outcome::Accepted, text, format!("key {} bound", key.id))))
}

/// Binds a security key in place of all that is bound, which works until then and never again.
pub fn replace(
    new: &NewKey,
    user: &str,
    proof: Proof,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let label = device::checked_label(new.label.as_deref())?;
    let identity = known(user)?;
    let user = &identity.name;
    let wanted = Wanted { ssh_key: new.ssh_key.as_deref(), label, user, proof };
    if proof != Proof::Root {
        permission::may_replace(&identity, Kind::U2f, host)?;
    }
    let store = host.store()?;
    let (record, factor) = proof.record_of(user, &store, host, conversation)?;
    let proved = |decision: Decision| Decision { factor, ..decision };
    // The proof was for this binding as it is.
    let Some(old) = ProvedBinding::by(&record) else { return Ok(not_bound(user)) };
    let key = make(&wanted, &[], host, conversation).map_err(proved)?;
    let (recovery, codes) = codes::new_set(host)?;
    let credentials = Credentials { recovery, latest: Latest::Replaced, ..of_keys(key, host)? };
    device::bind(record, &credentials, &store, |record| old.holds(record)).map_err(|lost| proved(lost.into()))?;
    let lines = [Some(Text::KeyReplaced(user)), codes::hand_out(codes, user, host, conversation)];
    Ok(proved(Decision::new(Outcome::Accepted, device::lines(lines, host), "replaced")))
}

/// Unbinds one of several keys. The last one goes with the whole binding.
pub fn remove(
    id: &str,
    proof: Proof,
    by: &'static str,
    record: Record,
    store: &Store,
    host: &Host,
) -> Result<Decision, Decision> {
    let user = record.user().to_owned();
    let proved = |decision: Decision| Decision { factor: by, ..decision };
    let latest =
        Latest::Changed { what: Amendment::KeyRemoved, when: (host.now)(), from: proof.from(&user).to_owned() };
    let removed = |keys: &[Key]| {
        let rest: Vec<Key> = keys.iter().filter(|key| key.id.to_string() != id).cloned().collect();
        (!rest.is_empty() && rest.len() < keys.len()).then_some(rest)
    };
    let keys = amend(record, Some(latest), store, removed).map_err(|lost| proved(lost.into()))?;
    let text = host.loaded.policy.lang.say(Text::KeyRemoved(keys));
    Ok(proved(Decision::new(Outcome::Accepted, text, format!("key {} unbound", printable(id, 64)))))
}

/// Changes the keys of the binding in `record`, whatever was tried to log in meanwhile, as long as it is this one with
/// these recovery codes and keys. Gives back how many there are then.
pub(super) fn amend(
    mut record: Record,
    latest: Option<Latest>,
    store: &Store,
    change: impl Fn(&[Key]) -> Option<Vec<Key>>,
) -> Result<usize, CommitError> {
    let Some(proved) = ProvedBinding::by(&record) else { return Err(CommitError::Conflict) };
    for _ in 0..RACES {
        let Some(bound) = record.credentials.take() else { break };
        let Some(keys) = change(bound.keys()) else { break };
        let count = keys.len();
        let latest = latest.clone().unwrap_or(bound.latest);
        let amended = Credentials { device: Device::Keys(keys), latest, ..bound };
        match store.commit(&record, Change::Amend(&amended)) {
            Err(CommitError::Conflict) => record = store.load(record.user())?,
            done => return done.map(|()| count),
        }
        if !proved.holds(&record) {
            break;
        }
    }
    Err(CommitError::Conflict)
}
