//! A login: its auth phase and its account phase.

use mfa_wire::{AuthHook, Login, Outcome, Secret, printable};

use super::Decision;
use super::code::{self, Asked, NEUTRAL, PROMPT};
use super::first_factor;
use crate::conversation::Conversation;
use crate::factor::totp::{Code, Parameters, Totp};
use crate::host::Host;
use crate::identity;
use crate::lockout::Way;
use crate::policy::place::Place;
use crate::policy::{Facts, Require, Requirement, SshKey};

/// The auth phase: asks for the code of who has a device.
pub fn verify(login: &Login, way: Way, host: &Host, conversation: &mut Conversation) -> Decision {
    if login.service == first_factor::SERVICE {
        return Decision::new(Outcome::Ignored, "", "the first factor alone is asked here");
    }
    let user = match identity::find(&login.user) {
        Ok(Some(user)) => user,
        Ok(None) => return ask_in_vain(conversation, "unknown to the name service"),
        Err(e) => return Decision::unavailable(format!("the name service failed: {}", e.desc())),
    };
    let asked = host.loaded.policy.decide(&facts(login, &user.name, host), &mut |group| user.member(group));
    let decision = if asked.require == Require::Off {
        Decision::new(Outcome::Ignored, "", "off by rule")
    } else {
        second_factor(login, way, &user.name, &asked, host, conversation).unwrap_or_else(|failed| failed)
    };
    Decision { rule: Some(asked.rule), ..decision }
}

fn second_factor(
    login: &Login,
    way: Way,
    user: &str,
    asked: &Requirement,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let store = host.store()?;
    let record = store.load(user)?;
    Ok(match (&record.credentials, asked.require) {
        (Some(_), _) => {
            let asked = Asked { way, truth: login.stack_complete };
            let decision = code::ask(asked, record, &store, host, conversation).unwrap_or_else(|failed| failed);
            let factor = if decision.factor == "none" { "totp" } else { decision.factor };
            Decision { factor, ..decision }
        }
        (None, Require::Mfa) if login.stack_complete => Decision::new(
            Outcome::Refused,
            format!(
                "MFA is required of {0} and no device is bound. Ask an administrator to run: mfa-enroll totp --user {0}",
                printable(user, 64)
            ),
            "required and not bound",
        ),
        (None, Require::Mfa) => ask_in_vain(conversation, "required and not bound"),
        (None, _) => Decision::new(Outcome::Ignored, "", "not required and not bound"),
    })
}

/// What rules look at. A host that is no literal address, and a place that nobody can tell, are taken strictly there.
fn facts<'a>(login: &'a Login, user: &'a str, host: &Host) -> Facts<'a> {
    let place = if host.caller_is_local { Place::Local } else { Place::Remote(login.rhost.as_deref()) };
    Facts { user, service: &login.service, place, now: (host.now)() }
}

/// Asks whoever cannot be right, as if they could be: the same prompt, the same work.
fn ask_in_vain(conversation: &mut Conversation, reason: &str) -> Decision {
    let answer = match conversation.ask(PROMPT) {
        Ok(answer) => answer,
        Err(none) => return none.into(),
    };
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&answer, Parameters::DEFAULT.digits)) {
        std::hint::black_box(nobody.find(&code, 1, 3, 0));
    }
    Decision::new(Outcome::Refused, NEUTRAL, reason)
}

/// The account phase. It has something to decide only where the auth phase was not ours: sshd skips
/// it for a key.
pub fn account(login: &Login, auth: AuthHook, host: &Host) -> Decision {
    if login.service == first_factor::SERVICE {
        return Decision::new(Outcome::Ignored, "", "the first factor alone is asked here");
    }
    if auth == AuthHook::Ignored {
        return Decision::new(Outcome::Ignored, "", "decided in auth");
    }
    if !came_by_sshd(login) {
        // cron, at, systemd-user, a cached sudo, su from root: nobody is there to ask.
        return Decision::new(Outcome::Ignored, "", "no auth phase");
    }
    key_alone(login, host).unwrap_or_else(|failed| failed)
}

/// sshd is recognised by what it does, since its service name can be chosen.
fn came_by_sshd(login: &Login) -> bool {
    login.tty.as_deref() == Some("ssh") || login.ssh_auth_info.is_some() || login.service == "sshd"
}

fn key_alone(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = match identity::find(&login.user) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(Decision::unavailable("unknown to the name service")),
        Err(e) => return Err(Decision::unavailable(format!("the name service failed: {}", e.desc()))),
    };
    let asked = host.loaded.policy.decide(&facts(login, &user.name, host), &mut |group| user.member(group));
    let enough = match (asked.require, asked.ssh_key) {
        (Require::Off, _) | (_, SshKey::Allow) => true,
        (Require::Mfa, SshKey::Deny) => false,
        (Require::IfBound, SshKey::Deny) => host.store()?.load(&user.name)?.credentials.is_none(),
    };
    let decision = if enough {
        Decision::new(Outcome::Ignored, "", "a key alone is enough by rule")
    } else {
        Decision::new(
            Outcome::Refused,
            "MFA is required: a key alone is not enough. Try: ssh -o PreferredAuthentications=keyboard-interactive",
            "a key alone",
        )
    };
    Ok(Decision { rule: Some(asked.rule), ..decision })
}
