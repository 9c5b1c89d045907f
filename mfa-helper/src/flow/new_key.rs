//! A security key that is to be bound, after its owner has shown to have it.

use std::time::Duration;

use mfa_core::Id;
use mfa_core::key::{self, Key, Pin, PublicKey};
use mfa_ssh::SkPublicKey;
use mfa_wire::{Login, Outcome, printable};

use super::code::said;
use super::key_asked::{Answered, AtTheKey, NotAnswered, by_front_end, no_pin};
use super::proof::Proof;
use super::{Decision, Desk};
use crate::conversation::NoAnswer;
use crate::factor::shown::Shown;
use crate::factor::usb;
use crate::host::Host;
use crate::lang::Text;

/// A key that somebody wants to bind by a verb.
pub struct Wanted<'a> {
    /// The line of an ssh key; none where it is plugged in here.
    pub ssh_key: Option<&'a str>,
    /// What it will be called.
    pub label: String,
    /// Whose it will be.
    pub user: &'a str,
    /// What they have proved.
    pub proof: Proof,
}

/// A new key beside those that are bound, after its owner has shown to have it.
pub fn make(wanted: &Wanted, bound: &[Key], desk: &mut Desk) -> Result<Key, Decision> {
    let host = desk.host;
    let Wanted { ssh_key, label, user, proof } = wanted;
    let (label, proof) = (label.as_str(), *proof);
    let from = proof.from(user).to_owned();
    let key = match ssh_key {
        Some(_) if proof != Proof::Root && !host.policy().u2f.aaguids.is_empty() => {
            let text = "Only keys of certain models may be bound here; an ssh key does not tell its own.";
            return Err(Decision::new(Outcome::Refused, text, "an ssh key, where [u2f] aaguids is set"));
        }
        Some(line) => by_signature(line, wanted, bound, desk)?,
        // Root may call from anywhere, and tells the person at this machine to plug the key in.
        None if proof != Proof::Root && !host.caller_is_here() => {
            let text = "A key is bound where it is plugged in, at this machine's own console.\n\
                        From elsewhere bind an ssh key of it: mfa-enroll u2f --ssh-key FILE.pub";
            return Err(Decision::new(Outcome::Refused, text, "not at this host's console"));
        }
        None => by_touch(user, label, bound, None, desk)?,
    };
    Ok(Key { created_from: from, ..key })
}

/// A key that is plugged in here: it makes a pair of keys for us. Inside a login, or by a verb.
pub fn by_touch(
    user: &str,
    label: &str,
    bound: &[Key],
    login: Option<&Login>,
    desk: &mut Desk,
) -> Result<Key, Decision> {
    let host = desk.host;
    let (challenge, user_id) = (desk.bindings.challenge(user)?, desk.bindings.challenge(user)?);
    let u2f = &host.policy().u2f;
    let lang = host.policy().lang;
    let lang = login.map_or(lang, |login| lang.everywhere(login));
    let rp_id = host.rp_id();
    let wanted = usb::Make {
        rp_id: &rp_id,
        user_name: user,
        user_id,
        exclude: bound,
        challenge,
        pin: u2f.pin,
        // The last tries of a PIN are its owner's to use at the command line.
        spare_tries: login.is_some(),
        aaguids: &u2f.aaguids,
        deadline: Duration::from_secs(u2f.timeout),
        debug: u2f.debug,
    };
    let conversation = &mut *desk.conversation;
    let (notice, asks_to_plug_in, several) = (&mut None, false, false);
    let mut person =
        AtTheKey { notice, lang, binds: true, asks_to_plug_in, several, user, shown: Shown::default(), conversation };
    let made = usb::make(&wanted, &mut person).map_err(|failure| {
        let reason = failure.reason();
        match failure {
            usb::Failure::Gone(NoAnswer::Cancelled(why)) => no_pin(why),
            usb::Failure::Gone(none) => none.into(),
            failure => Decision::new(Outcome::Refused, format!("{failure}\nNothing was bound."), reason),
        }
    })?;
    Ok(Key {
        id: Id::new(host.random)?,
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

/// An ssh key that lives on a security key: it signs, with a touch.
fn by_signature(line: &str, wanted: &Wanted, bound: &[Key], desk: &mut Desk) -> Result<Key, Decision> {
    let refused = |text: String, reason: &str| Decision::new(Outcome::Refused, text, reason);
    let line = match mfa_ssh::Line::parse(line) {
        Ok(Some(line)) => line,
        Ok(None) => return Err(refused("There is no key in that file.".into(), "no ssh key")),
        Err(error) => return Err(refused(error.to_string(), "no ssh key of a security key")),
    };
    let label = if wanted.label.is_empty() { printable(&line.label, 64) } else { wanted.label.clone() };
    let key = key_of(&line.key, &label, desk.host)?;
    if bound.iter().any(|other| other.public == key.public) {
        return Err(refused("This key is bound already.".into(), "bound already"));
    }
    let challenge = desk.bindings.challenge(wanted.user)?;
    desk.conversation.notice(&desk.host.policy().lang.say(Text::Touch))?;
    let one = std::slice::from_ref(&key);
    let Answered { signed, hash, .. } = by_front_end(one, &challenge, desk.conversation).map_err(|not| match not {
        NotAnswered::Failed(decision) => decision,
        NotAnswered::Unreachable(..) | NotAnswered::Typed(_) => {
            refused("No signature: nothing was bound.".into(), "no signature of the ssh key")
        }
    })?;
    let pin = desk.policy().u2f.pin;
    let counter = key::check(&key, &signed, &hash, pin.is_demanded_of(&key)).map_err(|why| {
        refused(format!("{}\nNothing was bound.", said(why, desk.policy().contact())), &why.to_string())
    })?;
    // Believe the signature only: the user can write anything into the file.
    Ok(Key { verified: pin != Pin::Never && signed.is_verified(), counter, ..key })
}

/// What is kept of an ssh key.
pub fn key_of(shown: &SkPublicKey, label: &str, host: &Host) -> Result<Key, Decision> {
    let not_good = || Decision::new(Outcome::Refused, "That is no good public key.", "a weak or impossible public key");
    Ok(Key {
        id: Id::new(host.random)?,
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
