//! Security keys: asking for one that is bound, and binding more.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use mfa_core::key::{self, Key, PublicKey, Refused, Signed};
use mfa_core::lockout::Way;
use mfa_core::record::{Amendment, Credentials, Device, Latest, State};
use mfa_core::{Id, Kind};
use mfa_ssh::{Hash, SkPublicKey, SkSignature};
use mfa_wire::{Login, NewKey, Outcome, Secret, printable};

use super::code::{self, Audience};
use super::device;
use super::proof::{Proof, Proved as ProvedBinding};
use super::revise::{RACES, Revision, revise};
use super::user::{already, known, not_bound};
use super::{Decision, below, openers, page, permission, place, recovery};
use crate::conversation::{Conversation, NoAnswer};
use crate::factor::agent::{self, Agent};
use crate::factor::{sshd, usb};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::policy::{Pin, Requirement, SkKey};
use crate::stack;
use crate::store::{Change, CommitError, Record, Store};

/// What is asked for, as the log says it.
pub const U2F: &str = "u2f";

/// An answer that was found to be good.
struct Proved {
    key: Id,
    counter: u32,
}

/// Why none was.
enum NotProved {
    /// No key could be asked: what is said, with which a recovery code is asked for instead; and the reason for the log.
    Unreachable(String, String),
    /// One was asked, and this is how it ended.
    Failed(Decision),
}

impl<T: Into<Decision>> From<T> for NotProved {
    fn from(failed: T) -> NotProved {
        NotProved::Failed(failed.into())
    }
}

/// Asks for one of the bound keys, and judges its answer against the record as it is at that moment. Where none can be
/// asked, a recovery code is.
pub fn ask(
    mut notice: Option<&str>,
    audience: Audience,
    login: Option<&Login>,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let keys = record.credentials.as_ref().map_or(&[][..], Credentials::keys);
    let about_oneself = |login: &Login| host.is_local(login) || agent_of(login, host).is_some();
    if !audience.first_factor_known && !login.is_some_and(about_oneself) {
        // From afar nobody learns here that there is a key: the question is the one that everybody is asked.
        return code::ask(notice, audience, record, store, host, conversation);
    }
    match prove(&mut notice, audience, login, keys, host, conversation) {
        Ok(proved) => accept(audience, &proved, record, store, host),
        Err(NotProved::Failed(decision)) => Err(Decision { factor: U2F, ..decision }),
        Err(NotProved::Unreachable(text, reason)) => {
            let notice = below(notice.take(), text);
            // A screen locker has room for the question alone.
            let notice = Some(notice.as_str()).filter(|_| audience.own_command || audience.way == Way::Login);
            let decision = code::ask(notice, audience, record, store, host, conversation);
            let because =
                |decision: Decision| Decision { reason: format!("{} ({reason})", decision.reason), ..decision };
            decision.map(because).map_err(because)
        }
    }
}

/// Where sudo's caller says that the agent is. What another program says of it is nobody's word.
fn agent_of<'a>(login: &'a Login, host: &Host) -> Option<&'a str> {
    login.ssh_auth_sock.as_deref().filter(|_| host.caller_is_root)
}

fn prove(
    notice: &mut Option<&str>,
    audience: Audience,
    login: Option<&Login>,
    keys: &[Key],
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Proved, NotProved> {
    let (of_ssh, plugged): (Vec<Key>, Vec<Key>) = keys.iter().cloned().partition(|key| key.of_ssh().is_some());
    let here = login.map_or_else(|| host.caller_is_here(), |login| host.is_local(login));
    let socket = login.and_then(|login| agent_of(login, host));
    // mfa-enroll asks the agent itself.
    let has_agent = socket.is_some() || audience.own_command;
    if here && !plugged.is_empty() {
        return by_usb(notice, audience, &plugged, host, conversation);
    }
    if has_agent && !of_ssh.is_empty() {
        return by_agent(notice, audience, &of_ssh, login.zip(socket), host, conversation);
    }
    Err(NotProved::Unreachable(
        String::from("Your security key cannot be asked from here."),
        String::from(if here { "no key of this kind can be asked here" } else { "not at this host's console" }),
    ))
}

/// Asks the keys that are plugged in here.
fn by_usb(
    notice: &mut Option<&str>,
    audience: Audience,
    keys: &[Key],
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Proved, NotProved> {
    let challenge = challenge(host)?;
    let u2f = &host.loaded.policy.u2f;
    let deadline = Duration::from_secs(u2f.timeout);
    let asked = usb::Asked { keys, challenge, pin: u2f.pin, spare_tries: !audience.own_command, deadline };
    let mut person = AtTheKey { notice, lang: audience.lang, binds: false, conversation };
    let (n, signed, _) = usb::assert(&asked, &mut person).map_err(not_proved)?;
    Ok(judge(&keys[n], &signed, &challenge, u2f.pin)?)
}

fn not_proved(failure: usb::Failure) -> NotProved {
    let reason = failure.reason();
    match failure {
        usb::Failure::Gone(none) => NotProved::Failed(none.into()),
        usb::Failure::Refused(refused) => NotProved::Failed(Decision::new(Outcome::Refused, said(refused), reason)),
        // Somebody has answered, and that was the answer.
        usb::Failure::NotTouched
        | usb::Failure::Denied
        | usb::Failure::WrongPin { .. }
        | usb::Failure::WrongFinger
        | usb::Failure::Unplugged => NotProved::Failed(Decision::new(Outcome::Refused, failure.to_string(), reason)),
        // Whatever is plugged in shall not take the recovery code away from who has lost the key, or its PIN.
        failure => NotProved::Unreachable(failure.to_string(), reason),
    }
}

/// Has the person's ssh agent ask: that of sudo's environment, or, where there is none, mfa-enroll's own.
fn by_agent(
    notice: &mut Option<&str>,
    audience: Audience,
    keys: &[Key],
    of_sudo: Option<(&Login, &str)>,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Proved, NotProved> {
    let challenge = challenge(host)?;
    let mut told =
        |conversation: &mut Conversation| conversation.notice(&below(notice.take(), audience.lang.say(Text::Touch)));
    let u2f = &host.loaded.policy.u2f;
    let (n, signed, hash) = match of_sudo {
        None => {
            told(conversation)?;
            by_front_end(keys, &challenge, conversation)?
        }
        Some((login, socket)) => {
            let gone = conversation.gone().try_clone_to_owned().map_err(Decision::unavailable)?;
            let agent = Agent::find(&login.user, Path::new(socket), keys, gone.as_fd()).map_err(no_agent)?;
            told(conversation)?;
            agent.sign(&challenge, Duration::from_secs(u2f.timeout)).map_err(no_agent)?
        }
    };
    Ok(judge(&keys[n], &signed, &hash, u2f.pin)?)
}

fn no_agent(failure: agent::Failure) -> NotProved {
    let (text, reason) = (failure.to_string(), failure.reason());
    match failure {
        agent::Failure::Gone => NotProved::Failed(Decision::new(Outcome::NoInteraction, "", reason)),
        agent::Failure::NotTouched => NotProved::Failed(Decision::new(Outcome::Refused, text, reason)),
        _ => NotProved::Unreachable(text, reason),
    }
}

/// Has mfa-enroll ask the agent of whoever calls it, key by key: it knows none that it does not hold.
fn by_front_end(
    keys: &[Key],
    challenge: &[u8; 32],
    conversation: &mut Conversation,
) -> Result<(usize, Signed, [u8; 32]), NotProved> {
    for (n, key) in keys.iter().enumerate() {
        let Some(ssh_key) = key.of_ssh() else { continue };
        match conversation.sign(ssh_key.to_blob(), challenge.to_vec()) {
            Ok(answer) => {
                let signed = signed(&ssh_key, answer.bytes()).ok_or_else(garbage)?;
                return Ok((n, signed, mfa_ssh::client_data_hash(challenge, Hash::Sha512)));
            }
            // It does not hold this one, or there is no agent.
            Err(NoAnswer::Cancelled(mfa_wire::Cancelled::NoConversation)) => {}
            Err(none) => return Err(none.into()),
        }
    }
    let text = "No ssh agent holds a security key that is bound: ssh -A, or plug one in.";
    Err(NotProved::Unreachable(text.into(), "the agent holds no bound key".into()))
}

fn garbage() -> Decision {
    Decision::new(Outcome::Refused, "That is not the signature of a security key.", "malformed ssh signature")
}

/// Whether that is the answer of `key`, with all that is demanded of it.
fn judge(key: &Key, signed: &Signed, hash: &[u8; 32], pin: Pin) -> Result<Proved, Decision> {
    match key::check(key, signed, hash, demands_pin(key, pin)) {
        Ok(counter) => Ok(Proved { key: key.id, counter }),
        Err(refused) => Err(Decision::new(Outcome::Refused, said(refused), refused.to_string())),
    }
}

/// Whether PIN or fingerprint is demanded of `key`. Of one that was bound with it always, but where the policy wants
/// none: who takes the key shall not get around it by a host that forgets to ask (CVE-2021-31924).
fn demands_pin(key: &Key, pin: Pin) -> bool {
    match pin {
        Pin::Require => true,
        Pin::IfSet => key.verified,
        Pin::Never => false,
    }
}

fn said(refused: Refused) -> &'static str {
    match refused {
        Refused::NotTouched => "The security key was not touched.",
        Refused::NotVerified => "The security key has checked neither a PIN nor a fingerprint.",
        Refused::CounterBack { .. } => {
            "The counter of this key went back: it may have been copied.\nTell an administrator, and replace it."
        }
        Refused::Malformed | Refused::WrongRpId | Refused::BadSignature => {
            "The answer of the security key is not good."
        }
    }
}

/// Keeps what the key has counted to, durably, before there is a verdict.
fn accept(
    audience: Audience,
    proved: &Proved,
    record: Record,
    store: &Store,
    host: &Host,
) -> Result<Decision, Decision> {
    let decision = revise(record, store, |record| {
        let now = (host.now)();
        let Some((bound, key)) = bound_key(record, proved.key) else {
            return Ok(Revision::AsIs(audience.refused("The key was unbound meanwhile.", "unbound meanwhile")));
        };
        let state = &record.state;
        let counter = match key::moved_on(state.keys_used.counter(key), proved.counter) {
            Ok(counter) => counter,
            Err(back) => {
                return Ok(Revision::AsIs(audience.refused(said(back), &format!("key {}: {back}", key.id))));
            }
        };
        let remembered = match audience.remember {
            Some(memory) => state.remembered.with(memory.ticket(now)),
            None => state.remembered.clone(),
        };
        let keys_used = state.keys_used.with(key, counter, now, bound.keys());
        let left = code::few_left(audience.lang, bound, state, host);
        let next = State { keys_used, last_used: code::used(audience, state, now), remembered, ..state.clone() };
        Ok(Revision::Keep(next, Decision::new(Outcome::Accepted, left, format!("key {}", key.id))))
    })?;
    Ok(Decision { factor: U2F, ..decision })
}

fn bound_key(record: &Record, id: Id) -> Option<(&Credentials, &Key)> {
    let bound = record.credentials.as_ref()?;
    bound.keys().iter().find(|key| key.id == id).map(|key| (bound, key))
}

/// Lets in by the key that this login has shown to sshd before, where the rule counts it as the second factor, it is
/// bound, and sshd demands of it what we would. Otherwise why a bound one does not count, for the log, and what is bound is
/// asked as ever. `news` is for the person, whom nothing is asked.
pub fn counted(
    news: Option<&str>,
    asked: &Requirement,
    user: &str,
    login: &Login,
    store: &Store,
    host: &Host,
) -> Result<Result<Decision, String>, Decision> {
    let Some(shown) = shown_to_sshd(login).filter(|_| asked.sk_key == SkKey::Counts && host.caller_is_root) else {
        return Ok(Err(String::new()));
    };
    let mut demands = None;
    revise(store.load(user)?, store, |record| {
        let keys = record.credentials.as_ref().map_or(&[][..], Credentials::keys);
        let Some(key) = keys.iter().find(|key| key.of_ssh().as_ref() == Some(&shown)) else {
            return Ok(Revision::AsIs(Err(String::new())));
        };
        // Asked once, and only about a key that is bound.
        let why = match demands.get_or_insert_with(|| touch_was_demanded(login, host)) {
            Ok(demands) if demands.verify || !demands_pin(key, host.loaded.policy.u2f.pin) => None,
            Ok(_) => Some("sshd does not demand verify-required"),
            Err(why) => Some(why.as_str()),
        };
        if let Some(why) = why {
            return Ok(Revision::AsIs(Err(format!("key {} does not count: {why}", key.id))));
        }
        // What it has counted to sshd does not say.
        let now = (host.now)();
        let keys_used = record.state.keys_used.with(key, record.state.keys_used.counter(key), now, keys);
        let state = State { keys_used, last_used: now, ..record.state.clone() };
        let reason = format!("key {}, checked by sshd", key.id);
        let accepted = Decision::new(Outcome::Accepted, news.unwrap_or_default(), reason);
        Ok(Revision::Keep(state, Ok(Decision { factor: U2F, ..accepted })))
    })
}

/// The security key that sshd has just accepted.
fn shown_to_sshd(login: &Login) -> Option<SkPublicKey> {
    let info = login.ssh_auth_info.as_deref().filter(|_| login.came_by_sshd())?;
    mfa_ssh::in_auth_info(info).pop()
}

/// What sshd has demanded of it: a touch at least; and PIN or fingerprint too, where nothing else is asked of this login.
/// Otherwise, why that is not enough.
fn touch_was_demanded(login: &Login, host: &Host) -> Result<sshd::Demands, String> {
    let demands = sshd::what_sshd_demands(host.caller_pid, &login.user, login.rhost.as_deref())?;
    if !demands.touch {
        return Err(String::from("sshd does not demand touch-required"));
    }
    if !demands.verify && !stack::asks_a_first_factor(&login.service, &stack::system_file) {
        return Err(String::from("nothing else is asked, and sshd does not demand verify-required"));
    }
    Ok(demands)
}

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

/// A signature in ssh's form, in that of security keys.
fn signed(key: &SkPublicKey, blob: &[u8]) -> Option<Signed> {
    agent::signed(&SkSignature::from_blob(blob, key).ok()?, &key.application)
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

/// 32 random bytes: in the place of the hash of a browser's client data, since there is none.
fn challenge(host: &Host) -> Result<[u8; 32], Decision> {
    let mut bytes = [0; 32];
    (host.random)(&mut bytes)?;
    Ok(bytes)
}

/// Whoever stands in front of the keys.
struct AtTheKey<'a, 'n, 'c> {
    /// What has to be said first.
    notice: &'a mut Option<&'n str>,
    lang: Lang,
    /// The key is to be bound.
    binds: bool,
    conversation: &'c mut Conversation,
}

impl usb::Person for AtTheKey<'_, '_, '_> {
    fn tell(&mut self, what: usb::Event) {
        let text = self.lang.say(match what {
            usb::Event::Touch => Text::Touch,
            usb::Event::TouchToChoose => Text::TouchToChoose,
            usb::Event::Insert if self.binds => Text::PlugInNew,
            usb::Event::Insert => Text::PlugIn,
            usb::Event::WrongKey if self.binds => Text::BoundAlready,
            usb::Event::WrongKey => Text::NotBound,
            usb::Event::Unusable => Text::KeyIsSilent,
        });
        // Whoever is gone is noticed by the silence that follows.
        let _ = self.conversation.notice(&below(self.notice.take(), text));
    }

    fn pin(&mut self, _: &str, tries_left: Option<u32>) -> Result<Secret, NoAnswer> {
        let text = below(self.notice.take(), self.lang.say(Text::Pin(tries_left)));
        self.conversation.ask_with(false, Secret::copy_of(text.as_bytes()))
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.conversation.gone()
    }
}
