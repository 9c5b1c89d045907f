//! The account phase of a login.

use mfa_core::Process;
use mfa_core::record::Owes;
use mfa_core::view::View;
use mfa_wire::{AuthHook, Login, Outcome};

use super::no_way::{NoWay, way_to_a_device};
use super::owed::{BOUND_MEANWHILE, settle};
use super::{enroll, hand_over, known, requirement};
use crate::conversation::Conversation;
use crate::flow::code::Audience;
use crate::flow::door::door;
use crate::flow::{Decision, Desk, ask_for_device, first_factor};
use crate::host::Host;
use crate::identity::{self, Identity, Password};
use crate::policy::{Require, Requirement, SshKey};
use crate::process;
use crate::program::is_service_of_sudo;
use crate::stack;

/// The account phase. It binds a device if auth has left that to it, and decides about logins without our auth phase:
/// sshd skips that for a key, sudo while it remembers.
pub fn account(login: &Login, hook: AuthHook, host: &Host, conversation: &mut Conversation) -> Decision {
    let ignored = |reason| Decision::new(Outcome::Ignored, "", reason);
    if login.service == first_factor::SERVICE {
        return ignored("the first factor alone is asked here");
    }
    // sudo may remember a login from a time when devices were bound there, so it counts even if it is not listed now.
    let listed = host.policy().enroll_services.contains(&login.service);
    let may_owe = (listed || is_service_of_sudo(&login.service)) && !by_root(login);
    match hook {
        AuthHook::Ignored => return ignored("decided in auth"),
        // A device is to be bound: only a helper that the login has started can check that this is safe.
        AuthHook::HandedOver if host.in_service => return Decision::start_your_own(),
        AuthHook::HandedOver => {}
        AuthHook::NotRun if login.came_by_sshd() => return key_alone(login, host).unwrap_or_else(|failed| failed),
        AuthHook::NotRun if may_owe && host.caller_is_root => {}
        // cron, at, systemd-user, su from root: nobody is there to ask.
        AuthHook::NotRun => return ignored("no auth phase"),
    }
    let user = match known(login) {
        Ok(user) => user,
        Err(failed) => return failed,
    };
    let asked = requirement(login, &user, host);
    let decision = bind_what_is_owed(login, hook, &user, &asked, host, conversation);
    decision.unwrap_or_else(|failed| failed).about(&user.name).by(asked)
}

fn bind_what_is_owed(
    login: &Login,
    hook: AuthHook,
    identity: &Identity,
    asked: &Requirement,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = identity.name.as_str();
    // Auth let this login past on condition that a device is bound. So it ends as bound or refused, even if the policy
    // has been changed since.
    if hook == AuthHook::HandedOver && asked.require != Require::Mfa {
        let text = "The policy was changed meanwhile: log in again.";
        return Ok(Decision::new(
            Outcome::Refused,
            text,
            "handed over by auth, and not required by the policy of account",
        ));
    }
    let unasked = || Ok(Decision::new(Outcome::Ignored, "", "no auth phase"));
    if asked.require == Require::Off {
        return unasked();
    }
    let desk = &mut Desk::open(host, conversation)?;
    let view = desk.bindings.look(user)?;
    let here = door(login, host);
    let is_over = |session: &str| Process::parse(session).is_some_and(process::is_gone);
    let owes = view.owes.only(|door| !door.strip_prefix(Owes::REMEMBERS).is_some_and(is_over));
    match (&view.bound, hook) {
        // sudo remembers a login in which nothing was owed.
        (Some(_), AuthHook::NotRun) if !owes.at(here.as_deref()) => return unasked(),
        // sudo remembers a login that was let past when there was no device to ask for.
        (Some(_), AuthHook::NotRun) => {
            return code_that_is_owed(login, here, &view, desk);
        }
        (Some(_), _) => {
            return Ok(Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"));
        }
        (None, _) if asked.require != Require::Mfa => return unasked(),
        (None, AuthHook::NotRun) if owes.nothing() => return unasked(),
        (None, AuthHook::NotRun) if !is_remembered(login, &owes, here.as_deref()) => {
            return Ok(NoWay::NotAsked.decision(user, asked, host.policy()));
        }
        (None, _) => {}
    }
    if let Err(no_way) = way_to_a_device(asked, &view, login, host.way(), host) {
        return Ok(no_way.decision(user, asked, host.policy()));
    }
    if host.in_service {
        return Ok(Decision::start_your_own());
    }
    if let Err(no_way) = hand_over::proves_something(login, identity) {
        return Ok(no_way.decision(user, asked, host.policy()));
    }
    enroll::at_login(login, asked, &view, desk)
}

/// Whether a login without an auth phase may be one that sudo remembers, in which a first factor was proved. If not,
/// nobody was asked for one (NOPASSWD, `login -f`, pam_wheel's `trust`), and a stranger could bind a device. That a
/// device is owed says who is here only in the terminal session in which sudo has asked, and not even there if sudo's
/// line is untrue: then it may have been noted for a stranger.
fn is_remembered(login: &Login, owes: &Owes, here: Option<&str>) -> bool {
    is_service_of_sudo(&login.service) && owes.names(here) && hand_over::is_true(&login.service).is_ok()
}

/// A user who began to bind here and left has passed the first factor, and nothing else. Meanwhile the owner has bound at
/// another place: here its code is due, as in the auth phase.
fn code_that_is_owed(login: &Login, here: Option<String>, view: &View, desk: &mut Desk) -> Result<Decision, Decision> {
    let audience = Audience::without_first_factor(login, desk.lang().everywhere(login));
    let passed = ask_for_device(None, audience, view, desk)?;
    settle(&view.user, here, desk)?;
    Ok(passed.decision)
}

/// su and sudo by root skip the auth phase, because root could become anybody anyhow.
fn by_root(login: &Login) -> bool {
    matches!(login.service.as_str(), "su" | "su-l" | "sudo" | "sudo-i")
        && login.ruser.as_deref().is_some_and(|ruser| ruser == "root")
}

/// What a key alone is worth.
pub enum Account {
    /// It lets in.
    Enough,
    /// It does not.
    NotEnough,
}

/// Decides the account phase of a login by key alone.
pub fn key_alone_is(asked: &Requirement, view: &View) -> Account {
    match (asked.require, asked.ssh_key) {
        (Require::Off, _) | (_, SshKey::Allow) => Account::Enough,
        (Require::IfBound, SshKey::Deny) if view.bound.is_none() => Account::Enough,
        (Require::IfBound | Require::Mfa, SshKey::Deny) => Account::NotEnough,
    }
}

fn key_alone(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = known(login)?;
    let asked = requirement(login, &user, host);
    let enough = match (asked.require, asked.ssh_key) {
        // Not even the store is looked at.
        (Require::Off, _) | (_, SshKey::Allow) => Account::Enough,
        _ => key_alone_is(&asked, &host.bindings()?.look(&user.name)?),
    };
    let decision = match enough {
        Account::Enough => Decision::new(Outcome::Ignored, "", "a key alone is enough by rule"),
        Account::NotEnough => {
            // Where no password fits, nothing can be typed there.
            let files = &stack::system_file;
            let remedy = match identity::password_of(&user.name) {
                Password::Locked if !stack::asks_elsewhere(&login.service, files) => {
                    format!("Ask {}.", host.policy().contact())
                }
                _ => String::from("Try: ssh -o PreferredAuthentications=keyboard-interactive"),
            };
            let text = format!("MFA is required: a key alone is not enough. {remedy}");
            Decision::new(Outcome::Refused, text, "a key alone")
        }
    };
    Ok(decision.about(&user.name).by(asked))
}
