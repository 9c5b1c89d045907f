//! Recovery codes: making and showing them.

use mfa_wire::{FromHelper, Outcome, Secret, printable, utc};

use super::first_factor::Proof;
use super::{Decision, device};
use crate::conversation::{Conversation, NoAnswer};
use crate::factor::recovery::Set;
use crate::host::Host;
use crate::store::{Change, Invitation, State};

/// Makes a new set in place of the old one, once the person has it.
pub fn renew(user: &str, proof: Proof, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let store = host.store()?;
    let user = device::known_or_kept(user, &store)?;
    let mut record = proof.of(&user, &store, host, conversation)?;
    let Some(mut credentials) = record.credentials.take() else { return Ok(device::not_bound(&user)) };
    let (set, codes) = new_set(host)?;
    if codes.is_empty() {
        let text = "The policy makes no recovery codes: [recovery] codes is 0.";
        return Ok(Decision::new(Outcome::Refused, text, "no recovery codes by policy"));
    }
    // Kept only now: whoever leaves before keeps the codes that they have.
    show(codes, conversation).map_err(|none| Decision {
        text: String::from("The codes shown are void; the ones before hold."),
        ..none.into()
    })?;
    credentials.recovery = set;
    store.commit(&record, Change::Recovery(&credentials))?;
    Ok(Decision::new(Outcome::Accepted, "These recovery codes hold; the ones before are void.", "new recovery codes"))
}

/// How long an invitation is good, in seconds: a week.
const INVITATION_LIFE: u64 = 7 * 86_400;

/// Makes a ticket by which a user may bind a device inside a login, in place of any other.
pub fn invite(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = device::known(user)?;
    let record = store.load(&user)?;
    if record.credentials.is_some() {
        return Ok(device::already(&user));
    }
    let made = Set::make(1, host.random).map_err(|e| Decision::unavailable(format!("no randomness: {e}")))?;
    let (set, ticket) = made;
    let expires = (host.now)() + INVITATION_LIFE;
    let state = State { invitation: Invitation { set, expires }, ..record.state.clone() };
    store.commit(&record, Change::State(&state))?;
    let ticket = ticket.first().and_then(Secret::text).unwrap_or_default();
    conversation.send(&FromHelper::Report(format!("{ticket}\n")))?;
    let text = format!("Good for {} until {}.", printable(&user, 64), utc(expires));
    Ok(Decision::new(Outcome::Accepted, text, "invited"))
}

/// As many codes as the policy says.
pub fn new_set(host: &Host) -> Result<(Set, Vec<Secret>), Decision> {
    Set::make(host.loaded.policy.recovery_codes, host.random)
        .map_err(|e| Decision::unavailable(format!("no randomness: {e}")))
}

/// Shows the codes until the person says that they have them.
pub fn show(codes: Vec<Secret>, conversation: &mut Conversation) -> Result<(), NoAnswer> {
    conversation.send(&FromHelper::RecoveryCodes(codes))?;
    conversation.ask("Type ok when you have written them down: ").map(drop)
}
