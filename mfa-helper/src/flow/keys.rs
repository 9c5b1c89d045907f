//! Binding security keys: the first, more beside it, others in its place.

use std::time::Duration;

use mfa_core::Kind;
use mfa_core::key::{self, Key, PublicKey};
use mfa_core::record::{Amendment, Credentials, Device, Latest};
use mfa_ssh::SkPublicKey;
use mfa_wire::{Login, NewKey, Outcome, printable};

use super::device;
use super::key_asked::{
    AtTheKey, NotProved, Proved, U2F, by_front_end, challenge, judge, shown_to_sshd, touch_was_demanded,
};
use super::proof::{Proof, Proved as ProvedBinding};
use super::revise::RACES;
use super::user::{already, known, not_bound};
use super::{Decision, openers, page, permission, place, recovery};
use crate::conversation::Conversation;
use crate::factor::usb;
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::policy::{Pin, Requirement, SkKey};
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
    let store = host.store()?;
    let record = store.load(user)?;
    match record.credentials.as_ref().map(|bound| &bound.device) {
        Some(Device::App(_)) => Ok(already(user)),
        Some(Device::Keys(_)) => add(new, &label, &identity, proof, &store, host, conversation),
        None => first(new, &label, &identity, proof, record, &store, host, conversation),
    }
}

#[allow(clippy::too_many_arguments, reason = "all of them are of one binding")]
fn first(
    new: &NewKey,
    label: &str,
    identity: &Identity,
    proof: Proof,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = &identity.name;
    if proof != Proof::Root {
        permission::may_bind(identity, Kind::U2f, proof, &record.state, host, conversation)?;
    }
    let factor = if proof == Proof::Invitation { permission::INVITATION } else { "none" };
    let proved = |decision: Decision| Decision { factor, ..decision };
    let key = make(new, label, user, proof, &[], host, conversation).map_err(proved)?;
    let (recovery, codes) = recovery::new_set(host)?;
    let credentials = Credentials { recovery, ..of_keys(key, host)? };
    store.commit(&record, Change::Bind(&credentials, &record.state.owes)).map_err(|lost| proved(lost.into()))?;
    let lines = [Some(Text::KeyBound(user)), recovery::hand_out(codes, user, host, conversation)];
    Ok(proved(Decision::new(Outcome::Accepted, device::lines(lines, host), "bound")))
}

/// One more key takes the same proof as any other change.
fn add(
    new: &NewKey,
    label: &str,
    identity: &Identity,
    proof: Proof,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = &identity.name;
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
    let key = make(new, label, user, proof, bound.keys(), host, conversation).map_err(proved)?;
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
    if proof != Proof::Root {
        permission::may_replace(&identity, Kind::U2f, host)?;
    }
    let store = host.store()?;
    let (record, factor) = proof.record_of(user, &store, host, conversation)?;
    let proved = |decision: Decision| Decision { factor, ..decision };
    // The proof was for this binding as it is.
    let Some(old) = ProvedBinding::by(&record) else { return Ok(not_bound(user)) };
    let key = make(new, &label, user, proof, &[], host, conversation).map_err(proved)?;
    let (recovery, codes) = recovery::new_set(host)?;
    let credentials = Credentials { recovery, latest: Latest::Replaced, ..of_keys(key, host)? };
    device::bind(record, &credentials, &store, |record| old.holds(record)).map_err(|lost| proved(lost.into()))?;
    let lines = [Some(Text::KeyReplaced(user)), recovery::hand_out(codes, user, host, conversation)];
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

/// Inside a login: the key that is plugged in here, or that of the ssh connection.
pub fn at_login(
    login: &Login,
    of_ssh: Option<&Touched>,
    record: Record,
    lang: Lang,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = record.user().to_owned();
    let from = place::origin(login).unwrap_or("an unknown place").to_owned();
    let key = match of_ssh {
        // sshd has asked for the touch that binds it, a moment ago.
        Some(Touched { key, verified }) => Key { created_from: from, verified: *verified, ..key_of(key, "", host)? },
        None => Key { created_from: from, ..by_touch(&user, "", &[], false, lang, host, conversation)? },
    };
    let (recovery, codes) = recovery::new_set(host)?;
    let credentials = Credentials { recovery, ..of_keys(key, host)? };
    store.commit(&record, Change::BindProvisionally(&credentials, &openers::provisional(login, host)?))?;
    let text = page::show_codes(login, &codes, Text::KeyBoundInLogin(&user), lang, conversation);
    Ok(Decision { factor: U2F, ..Decision::new(Outcome::Accepted, text, "bound inside the login") })
}

/// A security key that sshd has just had touched, and whether it has demanded PIN or fingerprint too. Asked of sshd once: an
/// answer that fails to come later must not bind it as one that needs neither.
#[derive(Clone)]
pub struct Touched {
    /// The key.
    pub key: SkPublicKey,
    verified: bool,
}

/// The one that a login could bind, and that would be enough from then on.
pub fn offered(asked: &Requirement, login: &Login, host: &Host) -> Option<Touched> {
    if asked.sk_key != SkKey::Counts {
        return None;
    }
    if !host.loaded.policy.u2f.aaguids.is_empty() {
        // Which model it is, an ssh key does not say.
        return None;
    }
    let key = shown_to_sshd(login)?;
    let verified = touch_was_demanded(login, host).ok()?.verify;
    (verified || host.loaded.policy.u2f.pin != Pin::Require).then_some(Touched { key, verified })
}

/// A new key, after its owner has proved to have it.
fn make(
    new: &NewKey,
    label: &str,
    user: &str,
    proof: Proof,
    bound: &[Key],
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Key, Decision> {
    let from = proof.from(user).to_owned();
    let lang = host.loaded.policy.lang;
    let key = match &new.ssh_key {
        Some(_) if proof != Proof::Root && !host.loaded.policy.u2f.aaguids.is_empty() => {
            let text = "Only keys of certain models may be bound here; an ssh key does not tell its own.";
            return Err(Decision::new(Outcome::Refused, text, "an ssh key, where [u2f] aaguids is set"));
        }
        Some(line) => by_signature(line, label, bound, host, conversation)?,
        // Root may be anywhere: whoever is asked to plug the key in is told by root.
        None if proof != Proof::Root && !host.caller_is_here() => {
            let text = "A key is bound where it is plugged in, at this machine's own console.\n\
                        From elsewhere bind an ssh key of it: mfa-enroll u2f --ssh-key FILE.pub";
            return Err(Decision::new(Outcome::Refused, text, "not at this host's console"));
        }
        None => by_touch(user, label, bound, true, lang, host, conversation)?,
    };
    Ok(Key { created_from: from, ..key })
}

/// A key that is plugged in here: it makes a pair of keys for us.
fn by_touch(
    user: &str,
    label: &str,
    bound: &[Key],
    own_command: bool,
    lang: Lang,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Key, Decision> {
    let (challenge, user_id) = (challenge(host)?, challenge(host)?);
    let u2f = &host.loaded.policy.u2f;
    let rp_id = host.rp_id();
    let wanted = usb::Make {
        rp_id: &rp_id,
        user_name: user,
        user_id,
        exclude: bound,
        challenge,
        pin: u2f.pin,
        spare_tries: !own_command,
        aaguids: &u2f.aaguids,
        deadline: Duration::from_secs(u2f.timeout),
    };
    let mut person = AtTheKey { notice: &mut None, lang, binds: true, conversation };
    let made = usb::make(&wanted, &mut person).map_err(|failure| {
        let reason = failure.reason();
        match failure {
            usb::Failure::Gone(none) => none.into(),
            failure => Decision::new(Outcome::Refused, format!("{failure}\nNothing was bound."), reason),
        }
    })?;
    Ok(Key {
        id: device::new_id(host)?,
        label: label.to_owned(),
        created: (host.now)(),
        created_from: String::new(),
        rp_id,
        credential: made.credential,
        public: made.public,
        verified: made.verified,
        counter: made.counter,
    })
}

/// An ssh key of one: it signs, with a touch.
fn by_signature(
    line: &str,
    label: &str,
    bound: &[Key],
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Key, Decision> {
    let refused = |text: String, reason: &str| Decision::new(Outcome::Refused, text, reason);
    let line = match mfa_ssh::Line::parse(line) {
        Ok(Some(line)) => line,
        Ok(None) => return Err(refused("There is no key in that file.".into(), "no ssh key")),
        Err(error) => return Err(refused(error.to_string(), "no ssh key of a security key")),
    };
    let label = if label.is_empty() { printable(&line.label, 64) } else { label.to_owned() };
    let key = key_of(&line.key, &label, host)?;
    if bound.iter().any(|other| other.public == key.public) {
        return Err(refused("This key is bound already.".into(), "bound already"));
    }
    let challenge = challenge(host)?;
    conversation.notice(&host.loaded.policy.lang.say(Text::Touch))?;
    let one = std::slice::from_ref(&key);
    let (_, signed, hash) = by_front_end(one, &challenge, conversation).map_err(|not| match not {
        NotProved::Failed(decision) => decision,
        NotProved::Unreachable(..) => refused("No signature: nothing was bound.".into(), "no signature of the ssh key"),
    })?;
    let pin = host.loaded.policy.u2f.pin;
    let Proved { counter, .. } = judge(&key, &signed, &hash, pin)
        .map_err(|decision| Decision { text: format!("{}\nNothing was bound.", decision.text), ..decision })?;
    // Only what the signature says: the file says what its owner likes.
    Ok(Key { verified: pin != Pin::Never && signed.is_verified(), counter, ..key })
}

/// What is kept of an ssh key.
fn key_of(shown: &SkPublicKey, label: &str, host: &Host) -> Result<Key, Decision> {
    let not_good = || Decision::new(Outcome::Refused, "That is no good public key.", "a weak or impossible public key");
    Ok(Key {
        id: device::new_id(host)?,
        label: label.to_owned(),
        created: (host.now)(),
        created_from: String::new(),
        rp_id: shown.application.clone(),
        credential: Vec::new(),
        public: PublicKey::of_ssh(&shown.point).ok_or_else(not_good)?,
        verified: false,
        counter: 0,
    })
}

fn of_keys(key: Key, host: &Host) -> Result<Credentials, Decision> {
    Ok(Credentials {
        id: device::new_id(host)?,
        created: key.created,
        created_from: key.created_from.clone(),
        device: Device::Keys(vec![key]),
        recovery: Default::default(),
        latest: Latest::Bound,
    })
}
