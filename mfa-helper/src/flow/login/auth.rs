//! The auth phase of a login.

use mfa_core::judge::By;
use mfa_core::lockout::Way;
use mfa_core::totp::{Code, Parameters, Spent, Totp};
use mfa_core::view::View;
use mfa_wire::{Login, Outcome, REFUSED, Secret, printable, shell_word};

use super::no_way::{NoWay, way_to_a_device};
use super::owed::{owe, settle};
use super::{hand_over, requirement};
use crate::conversation::{Conversation, NoAnswer};
use crate::flow::code::{Audience, mere_no};
use crate::flow::door::door;
use crate::flow::key_asked::{self, Counted};
use crate::flow::user::{find, no_such_service};
use crate::flow::{Decision, Desk, ask_for_device, first_factor, news, remember};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::policy::{Require, Requirement};
use crate::program::is_sudo;
use crate::stack;

/// What the auth phase does about one login.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// Lets past.
    Pass(&'static str),
    /// Asks for the code.
    Ask,
    /// Leaves it to the account phase, in which a device is bound.
    HandOver,
    /// Refuses: a device is required, none is bound, and here is no way to one.
    Refuse(NoWay),
}

/// Decides the auth phase, by what policy asks and what is bound. `policy explain` says the same. `hand_over` says whether
/// it is safe to leave this login to its account phase.
pub fn auth(
    asked: &Requirement,
    view: &View,
    login: &Login,
    way: Way,
    host: &Host,
    hand_over: &dyn Fn() -> Result<(), NoWay>,
) -> Auth {
    match (asked.require, &view.bound) {
        (Require::Off, _) => Auth::Pass("off by rule"),
        (_, Some(_)) => Auth::Ask,
        (Require::IfBound, None) if asked.deadline.is_some() => Auth::Pass("not bound, before the deadline"),
        (Require::IfBound, None) => Auth::Pass("not required and not bound"),
        (Require::Mfa, None) if !login.stack_complete => Auth::Refuse(NoWay::UnknownStack),
        (Require::Mfa, None) => match way_to_a_device(asked, view, login, way, host).and_then(|()| hand_over()) {
            Ok(()) => Auth::HandOver,
            Err(no_way) => Auth::Refuse(no_way),
        },
    }
}

/// The auth phase: asks a user with a device for its code.
pub fn verify(login: &Login, host: &Host, conversation: &mut Conversation) -> Decision {
    auth_phase(login, false, host, conversation)
}

/// Tries out the auth phase. The answer is judged and counted as at a login, and uses up the code; but nobody is let
/// in, so nobody is led through binding, and what is owed stays as it is.
pub fn test(login: &Login, host: &Host, conversation: &mut Conversation) -> Decision {
    if let Err(unasked) = stack::is_there(&login.service) {
        return no_such_service(&unasked);
    }
    auth_phase(login, true, host, conversation)
}

fn auth_phase(login: &Login, trial: bool, host: &Host, conversation: &mut Conversation) -> Decision {
    if login.service == first_factor::SERVICE {
        return Decision::new(Outcome::Ignored, "", "the first factor alone is asked here");
    }
    let known = match find(&login.user).map(|user| user.map(|user| (requirement(login, &user, host), user))) {
        // Neither the stack nor the store is looked at.
        Ok(Some((asked, user))) if asked.require == Require::Off => {
            return Decision::new(Outcome::Ignored, "", "off by rule").about(&user.name).by(asked);
        }
        known => known,
    };
    // Before anything is asked, and for names that do not exist, too: if some names got an answer and others none, a
    // stranger could tell them apart. A trial comes from the command line, with no stack before it.
    let untrue = if login.stack_complete && !trial { hand_over::is_true(&login.service).err() } else { None };
    let first_factor_known = login.stack_complete && untrue.is_none();
    let attempt = Attempt { login, trial, first_factor_known, host };
    let decision = match known {
        Ok(Some((asked, user))) => {
            let decision = second_factor(attempt, &user, &asked, conversation).unwrap_or_else(|failed| failed);
            decision.about(&user.name).by(asked)
        }
        Ok(None) => ask_in_vain(attempt, conversation, "unknown to the name service"),
        Err(failed) => attempt.cannot_be_judged(failed, conversation),
    };
    match untrue {
        Some(why) => silent(decision, &why),
        None => decision,
    }
}

/// Leaves out the text. The line says `stack=complete`, but a stranger may reach it with a wrong first factor, for any
/// user. There users without a device are let past to bind one, and no text may tell them from users who have one.
fn silent(decision: Decision, why: &str) -> Decision {
    if !matches!(decision.outcome, Outcome::Refused | Outcome::NoInteraction) {
        return decision;
    }
    let reason = format!("{} (stack=complete is untrue: {why})", decision.reason);
    Decision { text: String::new(), reason, ..decision }
}

/// One pass of the auth phase.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    login: &'a Login,
    /// It is tried out by mfa-enroll, and lets nobody in.
    trial: bool,
    /// The first factor is known to have succeeded.
    first_factor_known: bool,
    host: &'a Host,
}

impl Attempt<'_> {
    /// Ends an attempt that cannot be judged, and of which nothing was asked yet. Where the first factor may be wrong the
    /// person is asked as ever: "unavailable" would tell a stranger which names there are.
    fn cannot_be_judged(self, failed: Decision, conversation: &mut Conversation) -> Decision {
        match self.first_factor_known {
            true => failed,
            false => ask_in_vain(self, conversation, &failed.reason),
        }
    }
}

fn second_factor(
    attempt: Attempt,
    identity: &Identity,
    asked: &Requirement,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let Attempt { login, trial, first_factor_known, host } = attempt;
    let user = identity.name.as_str();
    let found = host.bindings().and_then(|bindings| bindings.look(user).map(|view| (bindings, view)));
    let (bindings, view) = match found {
        Ok(found) => found,
        Err(failed) => return Ok(attempt.cannot_be_judged(failed.into(), conversation)),
    };
    let desk = &mut Desk { bindings, host, conversation };
    // A trial is asked as a login would be.
    let way = if trial { Way::Login } else { host.way() };
    // The service cannot read what this check needs, so it leaves the check to a helper that the login starts.
    let hand_over = || match host.in_service {
        true => Ok(()),
        false if trial => hand_over::is_safe_at(login),
        false => hand_over::is_safe(login, identity, host),
    };
    Ok(match auth(asked, &view, login, way, host, &hand_over) {
        Auth::Pass(reason) => {
            let lang = host.policy().lang.everywhere(login);
            Decision::new(Outcome::Ignored, reminder(lang, asked, (host.now)()), reason)
        }
        Auth::Ask => ask_unless_remembered(attempt, asked, &view, desk)?,
        Auth::HandOver if trial => would_lead_through_it(user, login, asked, host),
        Auth::HandOver if host.in_service => Decision::start_your_own(),
        Auth::HandOver => {
            if !first_factor_known {
                question_for_nobody(login, host, desk.conversation).or_else(NoAnswer::or_gone)?;
            }
            // Only sudo remembers auth, so elsewhere nothing is written down for a possible stranger: a device that is
            // owed makes a sudo without a first factor refuse its user.
            if first_factor_known || is_sudo(login) {
                owe(user, door(login, host), desk)?;
            }
            Decision::new(Outcome::HandedOver, "", "required and not bound: to be bound in the account phase")
        }
        Auth::Refuse(no_way) => {
            let refused = no_way.decision(user, asked, host.policy());
            match first_factor_known {
                true => refused,
                false => ask_in_vain(attempt, desk.conversation, &refused.reason),
            }
        }
    })
}

/// Asks for what is bound, unless this login is remembered, or its ssh key counts.
fn ask_unless_remembered(
    attempt: Attempt,
    asked: &Requirement,
    view: &View,
    desk: &mut Desk,
) -> Result<Decision, Decision> {
    let Attempt { login, trial, first_factor_known, host } = attempt;
    let (lang, way, now) = (desk.lang().everywhere(login), host.way(), desk.now());
    let first = news::since_the_last_login(view, now, lang);
    let memory = if trial || !first_factor_known { None } else { remember::memory(asked, login, host) };
    if let Some(accepted) = memory.as_ref().and_then(|memory| remember::lets_in(memory, view, now)) {
        return Ok(accepted);
    }
    let by = By { way, first_factor_known, bypass: way == Way::Login && !trial, remember: memory.as_ref() };
    let audience = Audience { by, own_command: trial, login: Some(login), lang };
    let not_counted = match key_asked::counted(first.as_deref(), asked, audience, view, desk)? {
        Counted::LetsIn(accepted) if !trial => return Ok(accepted),
        Counted::LetsIn(_) => String::new(),
        Counted::Not(why) => why,
    };
    // In the prompt every program shows it, once. After a success sudo would not show it, and sshd would show it twice.
    // A screen locker has room for the prompt alone.
    let (notice, first) = match (way, first_factor_known) {
        (Way::OwnProcess, _) if !trial => (None, None),
        (_, true) => (first, None),
        (_, false) => (None, first),
    };
    let owes = &view.owes;
    let here = if trial || owes.nothing() { None } else { door(login, host).filter(|here| owes.at(Some(here))) };
    let decision = match ask_for_device(notice.as_deref(), audience, view, desk) {
        Ok(passed) => passed.decision,
        Err(failed) => failed,
    };
    // A remembered login pays no debt, here as above.
    if decision.outcome == Outcome::Accepted && decision.factor != remember::REMEMBERED && here.is_some() {
        settle(&view.user, here, desk)?;
    }
    let text = match (decision.outcome, first) {
        (Outcome::Accepted, Some(first)) => format!("{first} {}", decision.text).trim_end().to_owned(),
        _ => decision.text,
    };
    let reason = match not_counted.as_str() {
        "" => decision.reason,
        why => format!("{} ({why})", decision.reason),
    };
    Ok(Decision { text, reason, ..decision })
}

fn would_lead_through_it(user: &str, login: &Login, asked: &Requirement, host: &Host) -> Decision {
    let (name, service, verb) = (printable(user, 64), printable(&login.service, 64), asked.binding_verb());
    let now = match host.way() {
        // Root has to name whose device it is.
        Way::Login => format!(" Do it now: mfa-enroll {verb} --user {}", shell_word(user)),
        Way::OwnProcess if host.policy().self_service => format!(" Do it now: mfa-enroll {verb}"),
        Way::OwnProcess => String::new(),
    };
    let text = format!(
        "MFA is required of {name} and no device is bound.\n{service} would lead you through binding one.{now}"
    );
    Decision::new(Outcome::Refused, text, "required and not bound: a login would lead through binding")
}

/// What a user without a device reads before the deadline.
fn reminder(lang: Lang, asked: &Requirement, now: u64) -> String {
    let Some(deadline) = asked.deadline else { return String::new() };
    lang.say(Text::Deadline(deadline.saturating_sub(now).div_ceil(86_400), asked.binding_verb()))
}

/// Asks a user who cannot succeed exactly as any other: the same prompt and the same work, so that nothing is revealed.
fn ask_in_vain(attempt: Attempt, conversation: &mut Conversation, reason: &str) -> Decision {
    let Attempt { login, trial, host, .. } = attempt;
    match question_for_nobody(login, host, conversation) {
        Ok(()) if trial => Decision::new(Outcome::Refused, REFUSED, reason),
        Ok(()) => Decision::new(Outcome::Refused, mere_no(Some(login), REFUSED), reason),
        Err(none) => none.into(),
    }
}

fn question_for_nobody(login: &Login, host: &Host, conversation: &mut Conversation) -> Result<(), NoAnswer> {
    let prompt = host.policy().lang.everywhere(login).say(Text::Code);
    let answer = conversation.ask(&prompt)?;
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&answer, Parameters::DEFAULT.digits)) {
        std::hint::black_box(nobody.find(&code, 1, 3, Spent::NOTHING));
    }
    Ok(())
}
