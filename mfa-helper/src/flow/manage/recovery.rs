//! Recovery codes, bypass codes and invitation codes, made for the owner or for root.

use mfa_core::change::{Change, Note, Refusal};
use mfa_core::record::OneTime;
use mfa_core::recovery::Set;
use mfa_wire::{FromHelper, Outcome, Secret, printable, shell_word, utc};

use crate::flow::permission;
use crate::flow::proof::Proof;
use crate::flow::user::{already, known, known_or_kept, not_bound};
use crate::flow::{Decision, Desk, codes};
use crate::lang::Text;

/// Makes a new set in place of the old one, once the person has it.
pub fn renew(user: &str, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let count = desk.policy().recovery_codes;
    if count == 0 {
        let text = "No recovery codes are made here ([recovery] codes = 0 in mfa.toml).";
        return Ok(Decision::new(Outcome::Refused, text, "no recovery codes by policy"));
    }
    let user = known_or_kept(user, desk)?;
    let proven = proof.of_device(&user, desk)?;
    if proven.view.bound.is_none() {
        return Ok(not_bound(&user));
    }
    let (set, codes) = Set::make(count, desk.host.random)?;
    let void = |why: Decision| Decision { text: VOID.to_owned(), factor: proven.factor, ..why };
    // Stored only once the person has confirmed them: a person who leaves before keeps the old codes.
    codes::show(codes, desk).map_err(|none| void(none.into()))?;
    let renewed = Change::RecoveryCodes(set, proof.from(&user).to_owned());
    desk.bindings.change(&user, &proven.proved, renewed).map_err(|lost| void(lost.into()))?;
    let text = desk.lang().say(Text::CodesHold);
    Ok(Decision::new(Outcome::Accepted, text, "new recovery codes").by_factor(proven.factor))
}

/// What becomes of codes that are not kept.
const VOID: &str = "The codes shown are void; the ones before hold.";

/// How long an invitation is good, in seconds: a week.
const INVITATION_LIFE: u64 = 7 * 86_400;

/// Makes an invitation code by which a user may bind a device inside a login, in place of any other.
pub fn invite(user: &str, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known(user)?.name;
    if desk.bindings.look(&user)?.bound.is_some() {
        return Ok(already(&user));
    }
    let (set, code) = Set::make(1, desk.host.random)?;
    let expires = desk.now() + INVITATION_LIFE;
    desk.bindings.note(&user, Note::Invite(OneTime { set, expires }))?;
    let code = code.first().and_then(Secret::text).unwrap_or_default();
    desk.conversation.send(&FromHelper::Report(format!("{code}\n")))?;
    let text = format!("Good for {} until {}.", printable(&user, 64), utc(expires));
    Ok(Decision::new(Outcome::Accepted, text, "invited").noting("until", utc(expires)))
}

/// The longest life of a bypass code, in seconds: a week. A user who is without a device for longer gets another one.
const BYPASS_LIFE: u64 = 7 * 86_400;

/// Makes a code that lets `user` in once, and voids any other. For 0 seconds it makes none, and only voids.
pub fn bypass(user: &str, seconds: u64, desk: &mut Desk) -> Result<Decision, Decision> {
    if seconds > BYPASS_LIFE {
        let text = "A bypass code is good for a week (168h) at most.";
        return Ok(Decision::new(Outcome::Refused, text, "for longer than a week"));
    }
    let identity = known(user)?;
    let user = identity.name.clone();
    let (set, code) = Set::make(seconds.min(1), desk.host.random)?;
    let bypass = if seconds > 0 { OneTime { set, expires: desk.now() + seconds } } else { OneTime::default() };
    let expires = bypass.expires;
    match desk.bindings.note(&user, Note::Bypass(bypass)) {
        Ok(()) => {}
        Err(Refusal::NotBound) => {
            let (name, word) = (printable(&user, 64), shell_word(&user));
            let verb = permission::binding_verb(&identity, desk.host);
            let text = format!("No device is bound for {name}. To bind one: mfa-enroll {verb} --user {word}");
            return Ok(Decision::new(Outcome::NotFound, text, "not bound"));
        }
        Err(other) => return Err(other.into()),
    }
    let Some(code) = code.first().and_then(Secret::text) else {
        let text = format!("No bypass code is good for {} any more.", printable(&user, 64));
        return Ok(Decision::new(Outcome::Accepted, text, "bypass code void"));
    };
    desk.conversation.send(&FromHelper::Report(format!("{code}\n")))?;
    let text = format!("Good once for {} until {}.", printable(&user, 64), utc(expires));
    let reason = format!("bypass code made until {}", utc(expires));
    Ok(Decision::new(Outcome::Accepted, text, reason).noting("until", utc(expires)))
}
