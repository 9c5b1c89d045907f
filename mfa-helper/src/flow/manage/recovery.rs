//! Codes for who has lost the device, and invitation codes: what root and their owner ask for.

use mfa_core::record::{Amendment, Latest, OneTime, State};
use mfa_core::recovery::Set;
use mfa_wire::{FromHelper, Outcome, Secret, printable, utc};

use crate::conversation::Conversation;
use crate::flow::proof::{Proof, Proved};
use crate::flow::revise::{RACES, Revision, revise};
use crate::flow::user::{already, known, known_or_kept, not_bound};
use crate::flow::{Decision, codes};
use crate::host::Host;
use crate::lang::Text;
use crate::store::{Change, CommitError};

/// Makes a new set in place of the old one, once the person has it.
pub fn renew(user: &str, proof: Proof, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    if host.loaded.policy.recovery_codes == 0 {
        let text = "No recovery codes are made here ([recovery] codes = 0 in mfa.toml).";
        return Ok(Decision::new(Outcome::Refused, text, "no recovery codes by policy"));
    }
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let (mut record, factor) = proof.record_of(&user, &store, host, conversation)?;
    // The proof was for this binding with these codes and keys, whatever was tried to log in meanwhile.
    let Some(proved) = Proved::by(&record) else { return Ok(not_bound(&user)) };
    let (set, codes) = codes::new_set(host)?;
    let void = |why: Decision| Decision { text: VOID.to_owned(), factor, ..why };
    // Kept only now: whoever leaves before keeps the codes that they have.
    codes::show(codes, host, conversation).map_err(|none| void(none.into()))?;
    for _ in 0..RACES {
        if !proved.holds(&record) {
            break;
        }
        let Some(mut credentials) = record.credentials.take() else { break };
        credentials.recovery = set.clone();
        let from = proof.from(&user).to_owned();
        credentials.latest = Latest::Changed { what: Amendment::RecoveryCodes, when: (host.now)(), from };
        match store.commit(&record, Change::Amend(&credentials)) {
            Ok(()) => {
                let text = host.loaded.policy.lang.say(Text::CodesHold);
                return Ok(Decision { factor, ..Decision::new(Outcome::Accepted, text, "new recovery codes") });
            }
            Err(CommitError::Conflict) => record = store.load(&user)?,
            Err(CommitError::Store(error)) => return Err(void(error.into())),
        }
    }
    Err(void(CommitError::Conflict.into()))
}

/// What becomes of codes that are not kept.
const VOID: &str = "The codes shown are void; the ones before hold.";

/// How long an invitation is good, in seconds: a week.
const INVITATION_LIFE: u64 = 7 * 86_400;

/// Makes an invitation code by which a user may bind a device inside a login, in place of any other.
pub fn invite(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known(user)?.name;
    let record = store.load(&user)?;
    if record.credentials.is_some() {
        return Ok(already(&user));
    }
    let (set, code) = Set::make(1, host.random)?;
    let expires = (host.now)() + INVITATION_LIFE;
    let state = State { invitation: OneTime { set, expires }, ..record.state.clone() };
    store.commit(&record, Change::State(&state))?;
    let code = code.first().and_then(Secret::text).unwrap_or_default();
    conversation.send(&FromHelper::Report(format!("{code}\n")))?;
    let text = format!("Good for {} until {}.", printable(&user, 64), utc(expires));
    Ok(Decision::new(Outcome::Accepted, text, "invited"))
}

/// The longest life of a bypass code, in seconds: a week. Who is longer without a device gets a new one.
const BYPASS_LIFE: u64 = 7 * 86_400;

/// Makes a code that lets `user` in once, in place of any other such; or, for no time, none.
pub fn bypass(user: &str, seconds: u64, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    if seconds > BYPASS_LIFE {
        let text = "A bypass code is good for a week (168h) at most.";
        return Ok(Decision::new(Outcome::Refused, text, "for longer than a week"));
    }
    let store = host.store()?;
    let user = known(user)?.name;
    let record = store.load(&user)?;
    let (set, code) = Set::make(seconds.min(1), host.random)?;
    let bypass = if seconds > 0 { OneTime { set, expires: (host.now)() + seconds } } else { OneTime::default() };
    let expires = bypass.expires;
    let refused = revise(record, &store, |record| {
        Ok(match record.credentials {
            Some(_) => Revision::Keep(State { bypass: bypass.clone(), ..record.state.clone() }, None),
            None => {
                let text = format!(
                    "No device is bound for {0}. To bind one: mfa-enroll totp --user {0}",
                    printable(&user, 64)
                );
                Revision::AsIs(Some(Decision::new(Outcome::NotFound, text, "not bound")))
            }
        })
    })?;
    if let Some(refused) = refused {
        return Ok(refused);
    }
    let Some(code) = code.first().and_then(Secret::text) else {
        let text = format!("No bypass code is good for {} any more.", printable(&user, 64));
        return Ok(Decision::new(Outcome::Accepted, text, "bypass code void"));
    };
    conversation.send(&FromHelper::Report(format!("{code}\n")))?;
    let text = format!("Good once for {} until {}.", printable(&user, 64), utc(expires));
    Ok(Decision::new(Outcome::Accepted, text, format!("bypass code made until {}", utc(expires))))
}
