//! Binding a security key inside a login.

use mfa_core::change::New;
use mfa_core::judge::Proved;
use mfa_core::key::{Key, Pin};
use mfa_ssh::SkPublicKey;
use mfa_wire::{Login, Outcome};

use super::{openers, page};
use crate::flow::code::U2F;
use crate::flow::door::origin;
use crate::flow::key_asked::{shown_to_sshd, touch_was_demanded};
use crate::flow::new_key::{by_touch, key_of};
use crate::flow::{Decision, Desk};
use crate::host::Host;
use crate::lang::Text;
use crate::policy::{Requirement, SkKey};

/// Inside a login: the key that is plugged in here, or that of the ssh connection.
pub fn at_login(
    login: &Login,
    of_ssh: Option<&Touched>,
    user: &str,
    proved: &Proved,
    desk: &mut Desk,
) -> Result<Decision, Decision> {
    let lang = desk.lang().everywhere(login);
    let from = origin(login).unwrap_or("an unknown place").to_owned();
    let key = match of_ssh {
        // sshd has asked for the touch that binds it, a moment ago.
        Some(Touched { key, verified }) => {
            Key { created_from: from, verified: *verified, ..key_of(key, "", desk.host)? }
        }
        None => Key { created_from: from, ..by_touch(user, "", &[], Some(login), desk)? },
    };
    let bound = desk.bindings.bind(user, proved, New::Keys(vec![key]), &openers::terms(login, desk.host)?)?;
    let text = page::show_codes(login, &bound.codes, Text::KeyBoundInLogin(user), lang, desk.conversation);
    Ok(Decision::new(Outcome::Accepted, text, "bound inside the login").by_factor(U2F))
}

/// A security key that sshd has just had touched, and whether sshd has demanded PIN or fingerprint too. sshd is asked
/// only once: if a second question failed, the key would be bound as one that needs neither.
#[derive(Clone)]
pub struct Touched {
    /// The key.
    pub key: SkPublicKey,
    verified: bool,
}

/// The security key that this login could bind, and that would be enough at later logins.
pub fn offered(asked: &Requirement, login: &Login, host: &Host) -> Option<Touched> {
    if asked.sk_key != SkKey::Counts {
        return None;
    }
    if !host.policy().u2f.aaguids.is_empty() {
        // An ssh key does not say which model it is.
        return None;
    }
    let key = shown_to_sshd(login)?;
    let verified = touch_was_demanded(login, host).ok()?.verify;
    (verified || host.policy().u2f.pin != Pin::Require).then_some(Touched { key, verified })
}
