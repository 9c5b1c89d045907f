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
