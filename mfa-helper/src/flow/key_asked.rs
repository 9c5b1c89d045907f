//! Asking for one of the security keys that are bound.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use mfa_core::judge::{Answer, Judged};
use mfa_core::key::{Key, Signed};
use mfa_core::view::View;
use mfa_core::{Id, recovery};
use mfa_ssh::{Hash, SignatureError, SkPublicKey, SkSignature};
use mfa_wire::{Cancelled, Login, Outcome, Secret};

use super::code::{self, Audience};
use super::{Decision, Desk, Passed, below};
use crate::audit::{self, Level};
use crate::conversation::{Conversation, NoAnswer};
use crate::factor::agent::{self, Agent};
use crate::factor::shown::Shown;
use crate::factor::{sshd, usb};
use crate::host::Host;
use crate::lang::{Lang, Text};
use crate::policy::{Requirement, SkKey};
use crate::program::is_service_of_sudo;
use crate::stack;

/// The answer of a key, which is not judged yet.
pub struct Answered {
    /// Which key.
    pub key: Id,
    /// What it has signed, and the signature.
    pub signed: Signed,
    /// The hash that is under the signature.
    pub hash: [u8; 32],
}

/// Why there is no answer of a key.
pub enum NotAnswered {
    /// No key could be asked, so a recovery code is: the text to show above that question, and the reason for the log.
    Unreachable(String, String),
    /// A recovery code was typed where the PIN was asked for.
    Typed(Secret),
    /// A key was asked, and this is how it ended.
    Failed(Decision),
}

impl<T: Into<Decision>> From<T> for NotAnswered {
    fn from(failed: T) -> NotAnswered {
        NotAnswered::Failed(failed.into())
    }
}

/// Asks for one of the bound keys, and has its answer judged. If no key can be asked, asks for a recovery code.
pub fn ask_key(mut notice: Option<&str>, audience: Audience, view: &View, desk: &mut Desk) -> Result<Passed, Decision> {
    let host = desk.host;
    let about_oneself = |login: &Login| host.is_local(login) || agent_of(login, host).is_some();
    if !audience.by.first_factor_known && !audience.login.is_some_and(about_oneself) {
        // A stranger from afar must not learn that there is a key, so everybody is asked the same question.
        return code::ask_code(notice, audience, view, desk);
    }
    let (text, reason, alarm) = match answer_of_a_key(&mut notice, audience, view, desk) {
        Ok(Answered { key, signed, hash }) => {
            let answer = Answer::Signed { key, signed: &signed, hash: &hash };
            match code::judge_key(audience, &view.user, &answer, desk) {
                Ok(passed) => return Ok(passed),
                Err((refused, false)) => return Err(refused),
                // Whatever is answered then, the log warns of it.
                Err((refused, true)) => (refused.text, refused.reason, Some(("alarm", String::from("counter")))),
            }
        }
        Err(NotAnswered::Failed(decision)) => return Err(decision.by_factor(code::U2F)),
        Err(NotAnswered::Typed(code)) => return code::judge_recovery_code(code, audience, view, desk),
        Err(NotAnswered::Unreachable(text, reason)) => (text, reason, None),
    };
    let notice = below(notice.take(), text);
    // A screen locker has room for the question alone.
    let notice = Some(notice.as_str()).filter(|_| audience.has_room());
    let because = |decision: Decision| {
        let noted = decision.noted.into_iter().chain(alarm).collect();
        Decision { reason: format!("{} ({reason})", decision.reason), noted, ..decision }
    };
    match code::ask_code(notice, audience, view, desk) {
        Ok(passed) => Ok(Passed { decision: because(passed.decision), ..passed }),
        Err(decision) => Err(because(decision)),
    }
}

/// The agent's socket, as sudo found it in its environment. Callers that are not root's are not believed.
fn agent_of<'a>(login: &'a Login, host: &Host) -> Option<&'a str> {
    login.ssh_auth_sock.as_deref().filter(|_| host.caller_is_root)
}

fn answer_of_a_key(
    notice: &mut Option<&str>,
    audience: Audience,
    view: &View,
    desk: &mut Desk,
) -> Result<Answered, NotAnswered> {
    let (login, host) = (audience.login, desk.host);
    let (of_ssh, plugged): (Vec<Key>, Vec<Key>) = view.keys().iter().cloned().partition(|key| key.of_ssh().is_some());
    let here = login.map_or_else(|| host.caller_is_here(), |login| host.is_local(login));
    let socket = login.and_then(|login| agent_of(login, host));
    // mfa-enroll asks the agent itself.
    let has_agent = socket.is_some() || audience.own_command;
    let by_touch_here = here && !plugged.is_empty();
    if !by_touch_here && (of_ssh.is_empty() || !has_agent) {
        // Of the programs that ask, sudo alone tells where the agent of its caller is.
        let by_sudo = login.is_some_and(|login| is_service_of_sudo(&login.service));
        return Err(NotAnswered::Unreachable(
            String::from(match by_sudo && !here && !of_ssh.is_empty() {
                true => "Your security key is asked through your ssh agent: log in by ssh -A.",
                false => "Your security key cannot be asked from here.",
            }),
            String::from(if here { "no key of this kind can be asked here" } else { "not at this host's console" }),
        ));
    }
    let challenge = desk.bindings.challenge(&view.user).map_err(Decision::from)?;
    match by_touch_here {
        true => by_usb(notice, audience, view, &plugged, &challenge, desk),
        false => by_agent(notice, audience, &of_ssh, &challenge, desk),
    }
}

/// Asks the keys that are plugged in here.
fn by_usb(
    notice: &mut Option<&str>,
    audience: Audience,
    view: &View,
    keys: &[Key],
    challenge: &[u8; 32],
    desk: &mut Desk,
) -> Result<Answered, NotAnswered> {
    let u2f = &desk.policy().u2f;
    let deadline = Duration::from_secs(u2f.timeout);
    let asked = usb::Asked {
        keys,
        challenge: *challenge,
        pin: u2f.pin,
        spare_tries: !audience.own_command,
        deadline,
        debug: u2f.debug,
    };
    let several = keys.len() > 1;
    // GNOME's dialogue of polkit takes no empty answer.
    let asks_to_plug_in = audience.has_room() && audience.login.is_none_or(|login| login.service != "polkit-1");
    let (lang, conversation) = (audience.lang, &mut *desk.conversation);
    let (user, shown) = (&view.user, Shown::default());
    let mut person = AtTheKey { notice, lang, binds: false, asks_to_plug_in, several, user, shown, conversation };
    let has_codes = view.bound.as_ref().is_some_and(|bound| bound.codes.left > 0);
    let (n, signed, _) =
        usb::assert(&asked, &mut person).map_err(|failure| no_key(failure, desk.host.policy().contact(), has_codes))?;
    Ok(Answered { key: keys[n].id, signed, hash: *challenge })
}

fn no_key(failure: usb::Failure, contact: &str, has_codes: bool) -> NotAnswered {
    let reason = failure.reason();
    match failure {
        usb::Failure::Gone(NoAnswer::Cancelled(why)) => NotAnswered::Failed(no_pin(why)),
        usb::Failure::Gone(none) => NotAnswered::Failed(none.into()),
        usb::Failure::Refused(refused) => {
            NotAnswered::Failed(Decision::new(Outcome::Refused, code::said(refused, contact), reason))
        }
        usb::Failure::NotAPin(typed) if !typed.0.bytes().is_empty() => NotAnswered::Typed(typed.0),
        usb::Failure::WrongPin { .. } => {
            let without = match has_codes {
                true => String::from("Without the PIN: at the next try, type a recovery code in its place."),
                false => format!("Without the PIN: ask {contact}."),
            };
            let text = format!("{failure}\n{without}");
            NotAnswered::Failed(Decision::new(Outcome::Refused, text, reason))
        }
        usb::Failure::FewTries(_) => {
            let then = match has_codes {
                true => String::from("Type a recovery code, and then, in a shell, run mfa-enroll test."),
                false => format!("In a shell, run mfa-enroll test, or ask {contact}."),
            };
            NotAnswered::Unreachable(format!("{failure}\n{then}"), reason)
        }
        // A key was asked, and this is its answer.
        usb::Failure::NotTouched | usb::Failure::Denied | usb::Failure::Unplugged => {
            NotAnswered::Failed(Decision::new(Outcome::Refused, failure.to_string(), reason))
        }
        // A user who has lost the key or its PIN can use a recovery code, whatever device is plugged in.
        failure => NotAnswered::Unreachable(failure.to_string(), reason),
    }
}

/// No PIN was typed, and no key was sent anything.
pub fn no_pin(why: Cancelled) -> Decision {
    let text = match why {
        Cancelled::LoginSecret => "That is your login secret, and went to no key: the PIN of a key must be another.",
        Cancelled::UserName => "That is your name, not the PIN of the key.",
        Cancelled::NoConversation => "No PIN could be asked: use a terminal.",
        Cancelled::ByUser => return NoAnswer::Cancelled(why).into(),
    };
    Decision { text: String::from(text), ..NoAnswer::Cancelled(why).into() }
}

/// Has the person's ssh agent ask: that of sudo's environment, or, where there is none, mfa-enroll's own.
fn by_agent(
    notice: &mut Option<&str>,
    audience: Audience,
    keys: &[Key],
    challenge: &[u8; 32],
    desk: &mut Desk,
) -> Result<Answered, NotAnswered> {
    let of_sudo = audience.login.and_then(|login| Some((login, agent_of(login, desk.host)?)));
    let timeout = Duration::from_secs(desk.policy().u2f.timeout);
    let conversation = &mut *desk.conversation;
    let mut told =
        |conversation: &mut Conversation| conversation.notice(&below(notice.take(), audience.lang.say(Text::Touch)));
    match of_sudo {
        None => {
            told(conversation)?;
            by_front_end(keys, challenge, conversation)
        }
        Some((login, socket)) => {
            let gone = conversation.gone().try_clone_to_owned().map_err(Decision::unavailable)?;
            let agent = Agent::find(&login.user, Path::new(socket), keys, gone.as_fd()).map_err(no_agent)?;
            told(conversation)?;
            let (n, signed, hash) = agent.sign(challenge, timeout).map_err(no_agent)?;
            Ok(Answered { key: keys[n].id, signed, hash })
        }
    }
}

fn no_agent(failure: agent::Failure) -> NotAnswered {
    let (text, reason) = (failure.to_string(), failure.reason());
    match failure {
        agent::Failure::Gone => NotAnswered::Failed(Decision::new(Outcome::NoInteraction, "", reason)),
        agent::Failure::NotTouched => NotAnswered::Failed(Decision::new(Outcome::Refused, text, reason)),
        _ => NotAnswered::Unreachable(text, reason),
    }
}

/// Has mfa-enroll ask the ssh agent of its user, key by key, until the agent holds one.
pub fn by_front_end(
    keys: &[Key],
    challenge: &[u8; 32],
    conversation: &mut Conversation,
) -> Result<Answered, NotAnswered> {
    for key in keys {
        let Some(ssh_key) = key.of_ssh() else { continue };
        match conversation.sign(ssh_key.to_blob(), challenge.to_vec()) {
            Ok(answer) => {
                let signed = signed(&ssh_key, answer.bytes())?;
                return Ok(Answered { key: key.id, signed, hash: mfa_ssh::client_data_hash(challenge, Hash::Sha512) });
            }
            // It does not hold this one, or there is no agent.
            Err(NoAnswer::Cancelled(mfa_wire::Cancelled::NoConversation)) => {}
            Err(none) => return Err(none.into()),
        }
    }
    let text = "No ssh agent holds a security key that is bound: ssh -A, or plug one in.";
    Err(NotAnswered::Unreachable(text.into(), "the agent holds no bound key".into()))
}

/// A signature in ssh's form, in that of security keys.
fn signed(key: &SkPublicKey, blob: &[u8]) -> Result<Signed, Decision> {
    let refused = |text: &str, why: &str| Decision::new(Outcome::Refused, text, why);
    let signature = match SkSignature::from_blob(blob, key) {
        Err(why @ SignatureError::WebAuthn) => return Err(refused(&why.to_string(), "a signature of webauthn-sk")),
        signature => signature.ok(),
    };
    let signed = signature.and_then(|signature| agent::signed(&signature, &key.application));
    signed.ok_or_else(|| refused("That is not the signature of a security key.", "malformed ssh signature"))
}

/// What an ssh key that sshd has accepted is worth.
pub enum Counted {
    /// It is the second factor.
    LetsIn(Decision),
    /// It is not, so the bound device is asked as usual. For the log, why a bound key does not count; else empty.
    Not(String),
}

/// Lets in by the key that this login has shown to sshd before, where the rule counts it as the second factor, it is
/// bound, and sshd demands of it what we would. `news` is for the person, who is asked nothing.
pub fn counted(
    news: Option<&str>,
    asked: &Requirement,
    audience: Audience,
    view: &View,
    desk: &Desk,
) -> Result<Counted, Decision> {
    let login = audience.login.filter(|_| asked.sk_key == SkKey::Counts && desk.host.caller_is_root);
    let Some((login, shown)) = login.and_then(|login| Some((login, shown_to_sshd(login)?))) else {
        return Ok(Counted::Not(String::new()));
    };
    let Some(key) = view.keys().iter().find(|key| key.of_ssh().as_ref() == Some(&shown)) else {
        return Ok(Counted::Not(String::new()));
    };
    // The log gives a reason only for a key that is bound.
    let why = match touch_was_demanded(login, desk.host) {
        Ok(demands) if demands.verify || !desk.policy().u2f.pin.is_demanded_of(key) => None,
        Ok(_) => Some(String::from("sshd does not demand verify-required")),
        Err(why) => Some(why),
    };
    if let Some(why) = why {
        return Ok(Counted::Not(format!("key {} does not count: {why}", key.id)));
    }
    Ok(match desk.bindings.judge(&view.user, audience.by, &Answer::BySshd(key.id))? {
        Judged::Accepted(_) => {
            let reason = format!("key {}, checked by sshd", key.id);
            let accepted = Decision::new(Outcome::Accepted, news.unwrap_or_default(), reason);
            Counted::LetsIn(accepted.by_factor(code::U2F))
        }
        // It was unbound meanwhile.
        Judged::Not(_) => Counted::Not(String::new()),
    })
}

/// The security key that sshd has just accepted.
pub fn shown_to_sshd(login: &Login) -> Option<SkPublicKey> {
    let info = login.ssh_auth_info.as_deref().filter(|_| login.came_by_sshd())?;
    mfa_ssh::in_auth_info(info).pop()
}

/// What sshd has demanded of the key: at least a touch, and PIN or fingerprint too if nothing else is asked of this
/// login. If that is not so, the error says why.
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

/// The person in front of the keys.
pub struct AtTheKey<'a, 'n, 'c, 's> {
    /// What has to be said first.
    pub notice: &'a mut Option<&'n str>,
    /// In which language.
    pub lang: Lang,
    /// The key is to be bound.
    pub binds: bool,
    /// Where no key is plugged in, this is a question, which Enter ends. A screen locker has no room for it, and may
    /// answer it by itself.
    pub asks_to_plug_in: bool,
    /// Several keys are bound, so that they are called by their names.
    pub several: bool,
    /// Who they are, for the log.
    pub user: &'s str,
    /// What shows their programs that a touch is waited for.
    pub shown: Shown,
    /// The conversation with the person.
    pub conversation: &'c mut Conversation,
}

impl AtTheKey<'_, '_, '_, '_> {
    fn say(&self, what: usb::Event) -> String {
        self.lang.say(match what {
            usb::Event::Touch => Text::Touch,
            usb::Event::TouchToChoose => Text::TouchToChoose,
            usb::Event::Insert if self.binds => Text::PlugInNew,
            usb::Event::Insert => Text::PlugIn,
            usb::Event::WrongKey if self.binds => Text::BoundAlready,
            usb::Event::WrongKey => Text::NotBound,
            usb::Event::Slow => Text::KeyIsSlow,
            usb::Event::Unlock => Text::UnlockKey,
            usb::Event::InUse => Text::KeyIsInUse,
            usb::Event::WrongFinger => Text::WrongFinger,
            usb::Event::Unusable => Text::KeyIsSilent,
        })
    }
}

impl usb::Person for AtTheKey<'_, '_, '_, '_> {
    fn tell(&mut self, what: usb::Event) {
        self.shown.show(self.user, matches!(what, usb::Event::Touch | usb::Event::TouchToChoose));
        let text = self.say(what);
        // If the front end is gone, its missing answer will tell.
        let _ = self.conversation.notice(&below(self.notice.take(), text));
    }

    fn plug_in(&mut self, what: usb::Event) -> Result<usb::Waiting, usb::NotAPin> {
        self.shown.show(self.user, false);
        if !self.asks_to_plug_in {
            self.tell(what);
            return Ok(usb::Waiting::On);
        }
        let why = Some(self.say(what)).filter(|_| what != usb::Event::Insert);
        let notice = self.notice.take();
        let question = below(why.as_deref(), self.lang.say(Text::PlugInOrCode));
        // Hidden, as mfa-enroll takes Enter for an answer there alone.
        let asked = self.conversation.ask_with(false, Secret::copy_of(below(notice, question).as_bytes()));
        match asked {
            Ok(typed) if recovery::Code::parse(&typed).is_some() => Err(usb::NotAPin::Instead(usb::Typed(typed))),
            Ok(_) | Err(NoAnswer::Cancelled(Cancelled::ByUser)) => Ok(usb::Waiting::Over),
            // A program that cannot ask, or answers by itself. Somebody may sit there all the same.
            Err(NoAnswer::Cancelled(_)) => {
                self.asks_to_plug_in = false;
                self.tell(what);
                Ok(usb::Waiting::On)
            }
            Err(gone) => Err(usb::NotAPin::Gone(gone)),
        }
    }

    fn pin(&mut self, label: &str, tries_left: Option<u32>) -> Result<Secret, usb::NotAPin> {
        self.shown.show(self.user, false);
        let label = if self.several { label } else { "" };
        let text = below(self.notice.take(), self.lang.say(Text::Pin(tries_left, label)));
        let asked = self.conversation.ask_with(false, Secret::copy_of(text.as_bytes()));
        let instead = |typed| Err(usb::NotAPin::Instead(usb::Typed(typed)));
        let typed = match asked {
            Err(NoAnswer::Cancelled(Cancelled::ByUser)) => return instead(Secret::default()),
            asked => asked.map_err(usb::NotAPin::Gone)?,
        };
        match recovery::Code::parse(&typed) {
            // The key would count it as a try, and might be anybody's.
            Some(_) => instead(typed),
            None if typed.bytes().trim_ascii().is_empty() => instead(Secret::default()),
            None => Ok(typed),
        }
    }

    fn exchanged(&mut self, device: &str, frame: &usb::Frame) {
        let said = format!("{device} {frame}");
        audit::log(Level::Debug, &[("event", "key-exchange"), ("user", self.user), ("reason", &said)]);
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.conversation.gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_mfa_enroll_has_from_elsewhere_is_refused_by_what_it_is() {
        let line = include_str!("../../../tests/vectors/ssh/ecdsa.pub");
        let key = mfa_ssh::Line::parse(line).unwrap().unwrap().key;
        let name = b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
        let by_a_browser = [&(name.len() as u32).to_be_bytes()[..], name].concat();
        for (blob, said) in
            [(&by_a_browser[..], "one of webauthn-sk"), (b"hello", "not the signature of a security key")]
        {
            let refused = signed(&key, blob).unwrap_err();
            assert_eq!(refused.outcome, Outcome::Refused);
            assert!(refused.text.contains(said), "{}", refused.text);
        }
    }
}
