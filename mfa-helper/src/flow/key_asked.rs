//! Asking for one of the security keys that are bound.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use mfa_core::Id;
use mfa_core::key::{self, Key, Pin, Refused, Signed};
use mfa_core::lockout::Way;
use mfa_core::record::{Credentials, State};
use mfa_ssh::{Hash, SkPublicKey, SkSignature};
use mfa_wire::{Login, Outcome, Secret};

use super::code::{self, Audience};
use super::revise::{Revision, revise};
use super::{Decision, below};
use crate::conversation::{Conversation, NoAnswer};
use crate::factor::agent::{self, Agent};
use crate::factor::{sshd, usb};
use crate::host::Host;
use crate::lang::{Lang, Text};
use crate::policy::{Requirement, SkKey};
use crate::stack;
use crate::store::{Record, Store};

/// What is asked for, as the log says it.
pub const U2F: &str = "u2f";

/// An answer that was found to be good.
pub struct Proved {
    key: Id,
    /// What it has counted to.
    pub counter: u32,
}

/// Why none was.
pub enum NotProved {
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
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let keys = record.credentials.as_ref().map_or(&[][..], Credentials::keys);
    let about_oneself = |login: &Login| host.is_local(login) || agent_of(login, host).is_some();
    if !audience.first_factor_known && !audience.login.is_some_and(about_oneself) {
        // From afar nobody learns here that there is a key: the question is the one that everybody is asked.
        return code::ask(notice, audience, record, store, host, conversation);
    }
    match prove(&mut notice, audience, keys, host, conversation) {
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
    keys: &[Key],
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Proved, NotProved> {
    let login = audience.login;
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
pub fn by_front_end(
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
pub fn judge(key: &Key, signed: &Signed, hash: &[u8; 32], pin: Pin) -> Result<Proved, Decision> {
    match key::check(key, signed, hash, pin.is_demanded_of(key)) {
        Ok(counter) => Ok(Proved { key: key.id, counter }),
        Err(refused) => Err(Decision::new(Outcome::Refused, said(refused), refused.to_string())),
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
            Some(memory) => state.remembered.with(memory.remembered(now)),
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

/// What the ssh key is worth that a login has shown to sshd.
pub enum Counted {
    /// It is the second factor.
    LetsIn(Decision),
    /// It is not, and what is bound is asked as ever. Why a bound one does not count, for the log.
    Not(String),
}

/// Lets in by the key that this login has shown to sshd before, where the rule counts it as the second factor, it is
/// bound, and sshd demands of it what we would. `news` is for the person, whom nothing is asked.
pub fn counted(
    news: Option<&str>,
    asked: &Requirement,
    user: &str,
    login: &Login,
    store: &Store,
    host: &Host,
) -> Result<Counted, Decision> {
    let Some(shown) = shown_to_sshd(login).filter(|_| asked.sk_key == SkKey::Counts && host.caller_is_root) else {
        return Ok(Counted::Not(String::new()));
    };
    let mut demands = None;
    revise(store.load(user)?, store, |record| {
        let keys = record.credentials.as_ref().map_or(&[][..], Credentials::keys);
        let Some(key) = keys.iter().find(|key| key.of_ssh().as_ref() == Some(&shown)) else {
            return Ok(Revision::AsIs(Counted::Not(String::new())));
        };
        // Asked once, and only about a key that is bound.
        let why = match demands.get_or_insert_with(|| touch_was_demanded(login, host)) {
            Ok(demands) if demands.verify || !host.loaded.policy.u2f.pin.is_demanded_of(key) => None,
            Ok(_) => Some("sshd does not demand verify-required"),
            Err(why) => Some(why.as_str()),
        };
        if let Some(why) = why {
            return Ok(Revision::AsIs(Counted::Not(format!("key {} does not count: {why}", key.id))));
        }
        // What it has counted to sshd does not say.
        let now = (host.now)();
        let keys_used = record.state.keys_used.with(key, record.state.keys_used.counter(key), now, keys);
        let state = State { keys_used, last_used: now, ..record.state.clone() };
        let reason = format!("key {}, checked by sshd", key.id);
        let accepted = Decision::new(Outcome::Accepted, news.unwrap_or_default(), reason);
        Ok(Revision::Keep(state, Counted::LetsIn(Decision { factor: U2F, ..accepted })))
    })
}

/// The security key that sshd has just accepted.
pub fn shown_to_sshd(login: &Login) -> Option<SkPublicKey> {
    let info = login.ssh_auth_info.as_deref().filter(|_| login.came_by_sshd())?;
    mfa_ssh::in_auth_info(info).pop()
}

/// What sshd has demanded of it: a touch at least; and PIN or fingerprint too, where nothing else is asked of this login.
/// Otherwise, why that is not enough.
pub fn touch_was_demanded(login: &Login, host: &Host) -> Result<sshd::Demands, String> {
    let demands = sshd::what_sshd_demands(host.caller_pid, &login.user, login.rhost.as_deref())?;
    if !demands.touch {
        return Err(String::from("sshd does not demand touch-required"));
    }
    if !demands.verify && !stack::asks_a_first_factor(&login.service, &stack::system_file) {
        return Err(String::from("nothing else is asked, and sshd does not demand verify-required"));
    }
    Ok(demands)
}

/// A signature in ssh's form, in that of security keys.
fn signed(key: &SkPublicKey, blob: &[u8]) -> Option<Signed> {
    agent::signed(&SkSignature::from_blob(blob, key).ok()?, &key.application)
}

/// 32 random bytes: in the place of the hash of a browser's client data, since there is none.
pub fn challenge(host: &Host) -> Result<[u8; 32], Decision> {
    let mut bytes = [0; 32];
    (host.random)(&mut bytes)?;
    Ok(bytes)
}

/// Whoever stands in front of the keys.
pub struct AtTheKey<'a, 'n, 'c> {
    /// What has to be said first.
    pub notice: &'a mut Option<&'n str>,
    /// In which language.
    pub lang: Lang,
    /// The key is to be bound.
    pub binds: bool,
    /// With the person.
    pub conversation: &'c mut Conversation,
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
