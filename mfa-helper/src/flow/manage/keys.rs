//! Binding security keys: the first, more beside it, others in its place.

use mfa_core::Kind;
use mfa_core::change::{Change, New, Terms};
use mfa_core::judge::Proved;
use mfa_core::key::{self, Key};
use mfa_core::view::View;
use mfa_wire::{NewKey, Outcome, printable};

use super::{asked, device};
use crate::flow::new_key::{Wanted, make};
use crate::flow::proof::{Proof, Proven};
use crate::flow::user::{already, known, not_bound};
use crate::flow::{Decision, Desk, codes, permission};
use crate::identity::Identity;
use crate::lang::Text;

/// Binds a security key: the first device, or one more beside other keys.
pub fn bind(new: &NewKey, user: &str, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let label = device::checked_label(new.label.as_deref())?;
    let identity = known(user)?;
    let user = &identity.name;
    let wanted = Wanted { ssh_key: new.ssh_key.as_deref(), label, user, proof };
    let view = desk.bindings.look(user)?;
    match view.kind() {
        Some(Kind::Totp) => Ok(already(user)),
        Some(Kind::U2f) => add(&wanted, &identity, desk),
        None => first(&wanted, &identity, &view, desk),
    }
}

fn first(wanted: &Wanted, identity: &Identity, view: &View, desk: &mut Desk) -> Result<Decision, Decision> {
    let proved = permission::may_bind(identity, Kind::U2f, wanted.proof, view, desk)?;
    let factor = if wanted.proof == Proof::Invitation { permission::INVITATION } else { "none" };
    let with_factor = |decision: Decision| decision.by_factor(factor);
    let more = make_and_bind(wanted, &proved, desk).map_err(with_factor)?;
    let bound = Text::KeyBound(wanted.user, asked::somewhere(wanted.user, desk.host));
    let text = device::lines([Some(bound), more], desk.host);
    Ok(with_factor(device::bound_with(text, wanted.user, desk.host)))
}

/// One more key takes the same proof as any other change.
fn add(wanted: &Wanted, identity: &Identity, desk: &mut Desk) -> Result<Decision, Decision> {
    let (user, proof) = (wanted.user, wanted.proof);
    if proof == Proof::Invitation {
        return Ok(already(user));
    }
    permission::may_replace(identity, Kind::U2f, proof, desk.host)?;
    let Proven { view, proved, factor } = proof.of_device(user, desk)?;
    let with_factor = |decision: Decision| decision.by_factor(factor);
    if view.bound.is_none() {
        return Ok(not_bound(user));
    }
    if view.keys().len() >= key::MOST {
        let text = format!("{} has {} keys already: unbind one before.", printable(user, 64), key::MOST);
        return Ok(with_factor(Decision::new(Outcome::Refused, text, "as many keys as there may be")));
    }
    let key = make(wanted, view.keys(), desk).map_err(with_factor)?;
    let reason = format!("key {} bound", key.id);
    let added = Change::AddKeys(vec![key]);
    desk.bindings.change(user, &proved, added).map_err(|lost| with_factor(lost.into()))?;
    let text = desk.lang().say(Text::KeyAdded(view.keys().len() + 1));
    Ok(with_factor(Decision::new(Outcome::Accepted, text, reason)))
}

/// Replaces all that is bound by a security key. The old devices work until then, and never after that.
pub fn replace(new: &NewKey, user: &str, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let label = device::checked_label(new.label.as_deref())?;
    let identity = known(user)?;
    let user = &identity.name;
    let wanted = Wanted { ssh_key: new.ssh_key.as_deref(), label, user, proof };
    permission::may_replace(&identity, Kind::U2f, proof, desk.host)?;
    let Proven { view, proved, factor } = proof.of_device(user, desk)?;
    let with_factor = |decision: Decision| decision.by_factor(factor);
    if view.bound.is_none() {
        return Ok(not_bound(user));
    }
    let more = make_and_bind(&wanted, &proved, desk).map_err(with_factor)?;
    let lines = [Some(Text::KeyReplaced(user)), more];
    Ok(with_factor(Decision::new(Outcome::Accepted, device::lines(lines, desk.host), "replaced")))
}

/// Replaces all that is bound by a new key, and shows its recovery codes. Returns the text that is still to be said
/// about them.
fn make_and_bind<'a>(wanted: &Wanted<'a>, proved: &Proved, desk: &mut Desk) -> Result<Option<Text<'a>>, Decision> {
    let Wanted { user, proof, .. } = *wanted;
    let key = make(wanted, &[], desk)?;
    let terms = Terms { from: proof.from(user).to_owned(), codes: desk.policy().recovery_codes, provisional: None };
    let bound = desk.bindings.bind(user, proved, New::Keys(vec![key]), &terms)?;
    Ok(codes::hand_out(bound.codes, user, desk))
}

/// The key of that id, among these.
pub fn named<'a>(id: &str, keys: &'a [Key]) -> Option<&'a Key> {
    keys.iter().find(|key| key.id.to_string() == id)
}
