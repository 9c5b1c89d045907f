//! Which users may bind a device of their own, and of which kind.

use mfa_core::Kind;
use mfa_core::judge::Proved;
use mfa_core::view::View;
use mfa_wire::Outcome;

use super::proof::Proof;
use super::{Decision, Desk};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::lang::{Lang, Text};
use crate::policy::place::Place;
use crate::policy::{Answer, Enroll, Facts, Named, Require, Requirement};

/// Whether this user, who has no device, may bind one, and the proof for it. A rule that requires a device may leave
/// binding to administrators or ask for an invitation. That applies here as at a login: otherwise a thief of the first
/// factor could bind a device here. A user who has proved nothing yet is asked for an invitation code in any case.
pub fn may_bind(user: &Identity, kind: Kind, proof: Proof, view: &View, desk: &mut Desk) -> Result<Proved, Decision> {
    if proof == Proof::Root {
        return Ok(Proved::by_root(view.seen()));
    }
    let rule = rule_for(user, desk.host);
    if let Some(rule) = &rule {
        allowed(rule, kind, desk.host)?;
    }
    if proof == Proof::Invitation || rule.is_some_and(|rule| rule.enroll == Enroll::Invited) {
        return ask_for_invitation(&view.user, desk.lang(), desk);
    }
    Ok(Proved::nothing_bound(view.seen()))
}

/// Whether this user, who has a device, may bind another of this kind. No invitation is asked, because the user proves
/// the bound device, which is more.
pub fn may_replace(user: &Identity, kind: Kind, proof: Proof, host: &Host) -> Result<(), Decision> {
    if proof == Proof::Root {
        return Ok(());
    }
    rule_for(user, host).map_or(Ok(()), |rule| allowed(&rule, kind, host))
}

/// The rule that a user's own binding has to obey; `None` if every kind may be bound freely.
fn rule_for(user: &Identity, host: &Host) -> Option<Requirement> {
    let asked = host.policy().strictest_of(&user.name, (host.now)(), &mut |group| user.member(group));
    // Before its deadline too: a device bound now is still there when the deadline comes.
    (asked.require == Require::Mfa || asked.deadline.is_some()).then_some(asked)
}

/// What the rules ask of a user at a service, wherever the user is.
pub fn requirement_at(service: &str, user: &Identity, host: &Host) -> Requirement {
    let facts = Facts { user: &user.name, service, place: Place::Unknown, now: (host.now)() };
    host.policy().decide(&facts, &mut |name| user.member(name))
}

/// The verb of mfa-enroll that binds a device of a kind that the rules accept.
pub fn binding_verb(user: &Identity, host: &Host) -> &'static str {
    rule_for(user, host).map_or("totp", |rule| rule.binding_verb())
}

/// Whether some rule requires a device of this user, at some service at least. A membership that cannot be told counts.
pub fn is_required(user: &str, host: &Host) -> bool {
    is_required_of(user, identity::find(user).ok().flatten().as_ref(), host)
}

/// The same, of a user that was looked up; `None`: nothing is known of the memberships.
pub fn is_required_of(user: &str, identity: Option<&Identity>, host: &Host) -> bool {
    let mut member = |name: Named| identity.map_or(Answer::Unknown, |identity| identity.member(name));
    host.policy().strictest_of(user, (host.now)(), &mut member).require == Require::Mfa
}

fn allowed(asked: &Requirement, kind: Kind, host: &Host) -> Result<(), Decision> {
    let text = match asked.kinds.as_slice() {
        kinds if asked.enroll != Enroll::ByAdmin && kinds.contains(&kind) => return Ok(()),
        [Kind::Totp] if asked.enroll != Enroll::ByAdmin => {
            String::from("Only an authenticator app may be bound here: mfa-enroll totp (or replace totp)")
        }
        [Kind::U2f] if asked.enroll != Enroll::ByAdmin => {
            String::from("Only a security key may be bound here: mfa-enroll u2f (or replace u2f)")
        }
        _ => format!("Devices are bound by the administrators here: ask {}.", host.policy().contact()),
    };
    Err(Decision::new(Outcome::Refused, text, "not to be bound by the user"))
}

/// An invitation code, as the log says it.
pub const INVITATION: &str = "invitation";

/// Asks for an invitation code.
pub fn ask_for_invitation(user: &str, lang: Lang, desk: &mut Desk) -> Result<Proved, Decision> {
    let answer = desk.conversation.ask(&lang.say(Text::InvitationCode))?;
    desk.bindings.invited(user, &answer)?.ok_or_else(|| {
        let text = "That is not the ticket of a valid invitation.";
        Decision::new(Outcome::Refused, text, "no valid invitation").by_factor(INVITATION)
    })
}
