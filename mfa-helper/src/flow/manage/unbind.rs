//! Unbinding: all that is bound, or one device of several.

use mfa_core::Kind;
use mfa_core::change::Change;
use mfa_core::view::Bound;
use mfa_wire::{Outcome, printable, shell_word};

use super::keys;
use crate::flow::permission::is_required;
use crate::flow::proof::Proof;
use crate::flow::user::{known_or_kept, not_bound};
use crate::flow::{Decision, Desk};
use crate::host::Host;
use crate::lang::Text;

/// Destroys the binding, or the device with that id. For root also the way out of a record that cannot be read any more.
pub fn disable(user: &str, device: Option<&str>, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known_or_kept(user, desk)?;
    let Some(id) = device else { return disable_all(&user, proof, desk) };
    // Before a code is asked that would be used up.
    cannot_go(desk.bindings.look(&user)?.bound.as_ref(), &user, id, desk.host)?;
    let proven = proof.of_device(&user, desk)?;
    let with_factor = |decision: Decision| decision.by_factor(proven.factor);
    cannot_go(proven.view.bound.as_ref(), &user, id, desk.host).map_err(with_factor)?;
    let (change, reason) = match keys::named(id, proven.view.keys()) {
        Some(key) => (Change::RemoveKey(key.id, proof.from(&user).to_owned()), format!("key {} unbound", key.id)),
        None => (Change::Unbind, String::from("unbound")),
    };
    desk.bindings.change(&user, &proven.proved, change).map_err(|lost| with_factor(lost.into()))?;
    let but_this_one = proven.view.keys().len().saturating_sub(1);
    let left = desk.bindings.look(&user).map_or(but_this_one, |view| view.keys().len());
    Ok(with_factor(match left {
        0 => unbound(&user, proven.view.kind(), desk),
        keys => Decision::new(Outcome::Accepted, desk.lang().say(Text::KeyRemoved(keys)), reason),
    }))
}

fn disable_all(user: &str, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    if proof == Proof::Root {
        // A record that cannot be read is destroyed as well, and no login in progress can undo that.
        let kind = match desk.bindings.look(user) {
            Ok(view) if view.bound.is_none() => return Ok(not_bound(user)),
            Ok(view) => view.kind(),
            Err(_) => None,
        };
        desk.bindings.destroy(user)?;
        return Ok(unbound(user, kind, desk));
    }
    let proven = proof.of_device(user, desk)?;
    let with_factor = |decision: Decision| decision.by_factor(proven.factor);
    if proven.view.bound.is_none() {
        return Ok(not_bound(user));
    }
    desk.bindings.change(user, &proven.proved, Change::Unbind).map_err(|lost| with_factor(lost.into()))?;
    Ok(with_factor(unbound(user, proven.view.kind(), desk)))
}

fn unbound(user: &str, kind: Option<Kind>, desk: &Desk) -> Decision {
    let text = if kind == Some(Kind::U2f) { Text::KeysUnbound(user) } else { Text::Unbound(user) };
    Decision::new(Outcome::Accepted, desk.lang().say(text), "unbound")
}

/// Why this device cannot be unbound: there is none of that id, or it is the last key of a user who is required to have one.
fn cannot_go(bound: Option<&Bound>, user: &str, id: &str, host: &Host) -> Result<(), Decision> {
    match bound {
        None => Err(no_such_device(user, id)),
        Some(bound) if !has_device(bound, id) => Err(no_such_device(user, id)),
        Some(bound) if bound.keys.len() == 1 && is_required(user, host) => Err(last_key(user)),
        Some(_) => Ok(()),
    }
}

fn has_device(bound: &Bound, id: &str) -> bool {
    match bound.kind {
        Kind::Totp => bound.id.to_string() == id,
        Kind::U2f => keys::named(id, &bound.keys).is_some(),
    }
}

fn last_key(user: &str) -> Decision {
    let text = format!(
        "This is the last key, and MFA is required of {}.\nReplace it: mfa-enroll replace u2f --user {}",
        printable(user, 32),
        shell_word(user)
    );
    Decision::new(Outcome::Refused, text, "the last key of who is required to have one")
}

fn no_such_device(user: &str, id: &str) -> Decision {
    let text = format!("{} has no device with the id {}.", printable(user, 64), printable(id, 64));
    Decision::new(Outcome::NotFound, text, "no such device")
}
