//! Binding and unbinding an authenticator app.

use std::fmt;

use mfa_wire::{Device, FromHelper, Outcome, Secret, printable};

use super::first_factor::Proof;
use super::{Decision, RACES, duration, enroll, find, recovery};
use crate::conversation::Conversation;
use crate::factor::recovery::Set;
use crate::factor::totp::{Code, Parameters, Totp};
use crate::host::Host;
use crate::identity::Identity;
use crate::lockout::Failures;
use crate::store::PENDING_LIFE;
use crate::store::{Change, CommitError, Credentials, Id, Invitation, Pending, State, Store, StoreError};

/// How often a person may enter two codes in one conversation.
pub(super) const TRIES: usize = 3;

/// How far from now codes are looked for, in seconds: to say how old they are, not to accept them.
const SEARCH: u64 = 4 * 3600;

/// Binds an app in this conversation. Until the two codes are right nothing is kept anywhere.
pub fn totp(
    user: &str,
    label: Option<&str>,
    proof: Proof,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let label = checked_label(label)?;
    let identity = known(user)?;
    let user = &identity.name;
    let store = host.store()?;
    let record = store.load(user)?;
    if record.credentials.is_some() {
        return Ok(already(user));
    }
    if proof != Proof::Root {
        enroll::may_bind(&identity, &record.state, host, conversation)?;
    }
    let totp = new_totp(host)?;
    conversation.send(&shown(user, &totp, host, None))?;
    let pair = two_codes(&totp, TRIES, host, conversation)?;
    let (recovery, codes) = recovery::new_set(host)?;
    let from = if proof == Proof::Root { "root" } else { user };
    let credentials = Credentials { recovery, ..bound(new_id(host)?, label, from, totp, pair, host) };
    store.commit(&record, Change::Bind(&credentials, &record.state.owes))?;
    // Bound all the same, should nobody be there to read them any more.
    let unread = !codes.is_empty() && recovery::show(codes, conversation).is_err();
    Ok(done(user, if unread { "\nNew recovery codes: mfa-enroll recovery-codes" } else { "" }))
}

/// Makes a pending device, in place of any other that waits, and shows it.
pub fn totp_pending(
    user: &str,
    label: Option<&str>,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = known(user)?.name;
    let store = host.store()?;
    let record = store.load(&user)?;
    if record.credentials.is_some() {
        return Ok(already(&user));
    }
    let expires = (host.now)() + PENDING_LIFE;
    let pending = Pending {
        id: new_id(host)?,
        label: checked_label(label)?,
        expires,
        from: "root".into(),
        totp: new_totp(host)?,
    };
    // Kept before it is shown: what is shown can be confirmed.
    store.commit(&record, Change::Pend(&pending))?;
    conversation.send(&shown(&user, &pending.totp, host, Some(expires)))?;
    Ok(Decision::new(Outcome::Accepted, "", "pending device made"))
}

/// Binds the pending device by two codes.
pub fn confirm(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let mut record = store.load(&user)?;
    if record.credentials.is_some() {
        return Ok(already(&user));
    }
    let Some(pending) = record.pending.take() else { return Ok(nothing_pending(&user)) };
    if pending.expires <= (host.now)() {
        store.commit(&record, Change::Unpend)?;
        let text = format!("The pending device of {0} has expired. {1}", printable(&user, 64), make_one(&user));
        return Ok(Decision::new(Outcome::NotFound, text, "the pending device has expired"));
    }
    let pair = two_codes(&pending.totp, 1, host, conversation)?;
    let credentials = bound(pending.id, pending.label, "root", pending.totp, pair, host);
    store.commit(&record, Change::Bind(&credentials, &record.state.owes))?;
    let codes = format!("\nRecovery codes: mfa-enroll recovery-codes --user {}", printable(&user, 64));
    Ok(done(&user, if host.loaded.policy.recovery_codes > 0 { &codes } else { "" }))
}

/// Drops the pending device, and voids the invitation.
pub fn cancel(user: &str, host: &Host) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let record = store.load(&user)?;
    let (pending, invited) = (record.pending.is_some(), record.state.invitation != Invitation::default());
    if !pending && !invited {
        return Ok(nothing_pending(&user));
    }
    if invited {
        let state = State { invitation: Invitation::default(), ..record.state.clone() };
        store.commit(&record, Change::State(&state))?;
    }
    if pending {
        store.commit(&store.load(&user)?, Change::Unpend)?;
    }
    let (text, reason) = match (pending, invited) {
        (true, true) => {
            ("The pending device is dropped and the invitation void.", "pending device and invitation dropped")
        }
        (true, false) => ("The pending device is dropped.", "pending device dropped"),
        (false, _) => ("The invitation is void.", "invitation dropped"),
    };
    Ok(Decision::new(Outcome::Accepted, text, reason))
}

/// Destroys the binding. For root also the way out of a record that cannot be read any more.
pub fn disable(user: &str, proof: Proof, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let mut factor = "none";
    if proof == Proof::Root {
        match store.load(&user) {
            Ok(record) if record.credentials.is_none() => return Ok(not_bound(&user)),
            // A record that cannot be read is destroyed as well. Whatever a login does meanwhile comes too late.
            Ok(_) | Err(StoreError::Damaged(..) | StoreError::Orphan(_) | StoreError::Fault(_)) => {
                store.unbind(&user)?
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        let (record, by) = proof.record_of(&user, &store, host, conversation)?;
        if record.credentials.is_none() {
            return Ok(not_bound(&user));
        }
        factor = by;
        store.commit(&record, Change::Unbind).map_err(|lost| Decision { factor, ..lost.into() })?;
    }
    let text = format!(
        "The device of {} is unbound and its key destroyed.\n\
         The entry in the app is of no use any more. Tell whoever shares the account.",
        printable(&user, 64)
    );
    Ok(Decision { factor, ..Decision::new(Outcome::Accepted, text, "unbound") })
}

/// Forgets the wrong codes, and so ends a lock.
pub fn unlock(user: &str, host: &Host) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    for _ in 0..RACES {
        let record = store.load(&user)?;
        if record.credentials.is_none() {
            return Ok(not_bound(&user));
        }
        let (failures, own_failures) = (Failures::default(), Failures::default());
        let state = State { failures, own_failures, ..record.state.clone() };
        match store.commit(&record, Change::State(&state)) {
            // Whoever goes on guessing changes the record meanwhile.
            Err(CommitError::Conflict) => {}
            done => {
                done?;
                let text = format!("{} is not locked; all wrong codes are forgotten.", printable(&user, 64));
                return Ok(Decision::new(Outcome::Accepted, text, "unlocked"));
            }
        }
    }
    Err(CommitError::Conflict.into())
}

/// Who `user` is.
pub(super) fn known(user: &str) -> Result<Identity, Decision> {
    find(user)?.ok_or_else(|| {
        let text = format!("No user is called {}.", printable(user, 64));
        Decision::new(Outcome::NotFound, text, "unknown to the name service")
    })
}

/// The name of `user`, or of one who is gone and whose record is not: that can still be cleaned up.
pub(super) fn known_or_kept(user: &str, store: &Store) -> Result<String, Decision> {
    match known(user) {
        Err(unknown) if unknown.outcome == Outcome::NotFound => {
            if store.has(user)? {
                Ok(user.to_owned())
            } else {
                Err(unknown)
            }
        }
        result => result.map(|identity| identity.name),
    }
}

pub(super) fn not_bound(user: &str) -> Decision {
    let text = format!("No device is bound for {}.", printable(user, 64));
    Decision::new(Outcome::NotFound, text, "not bound")
}

pub(super) fn already(user: &str) -> Decision {
    let text = format!("{} has a device already. Unbind it first: mfa-enroll disable --user {0}", printable(user, 64));
    Decision::new(Outcome::Already, text, "bound already")
}

fn nothing_pending(user: &str) -> Decision {
    let text = format!("No device is pending for {}. {}", printable(user, 64), make_one(user));
    Decision::new(Outcome::NotFound, text, "nothing pending")
}

fn make_one(user: &str) -> String {
    format!("Make one: mfa-enroll totp --json --user {}", printable(user, 64))
}

fn done(user: &str, more: &str) -> Decision {
    let text =
        format!("The device of {} is bound. From the next login on its code is asked.{more}", printable(user, 64));
    Decision::new(Outcome::Accepted, text, "bound")
}

/// A label is kept as it is given, so it must be fit to be a line of the record and of a terminal.
fn checked_label(label: Option<&str>) -> Result<String, Decision> {
    let label = label.unwrap_or_default();
    if label.chars().count() > 64 || label.chars().any(char::is_control) {
        let text = "A label has at most 64 characters, and no control characters.";
        return Err(Decision::new(Outcome::Refused, text, "label not accepted"));
    }
    Ok(label.to_owned())
}

pub(super) fn new_id(host: &Host) -> Result<Id, Decision> {
    let mut id = Id::default();
    (host.random)(&mut id.0)?;
    Ok(id)
}

pub(super) fn new_totp(host: &Host) -> Result<Totp, Decision> {
    let parameters = host.loaded.policy.totp;
    let mut key = Secret::zeroed(parameters.algorithm.key_length());
    (host.random)(key.bytes_mut())?;
    Totp::new(parameters, key).ok_or_else(|| Decision::unavailable("the TOTP parameters of the policy"))
}

fn shown(user: &str, totp: &Totp, host: &Host, expires: Option<u64>) -> FromHelper {
    let Parameters { algorithm, digits, period } = totp.parameters;
    let issuer = host.issuer();
    FromHelper::Device(Device {
        user: user.to_owned(),
        key: totp.key_base32(),
        uri: totp.uri(&issuer, user),
        issuer,
        algorithm: algorithm.to_string(),
        digits,
        period: period as u32,
        expires,
    })
}

pub(super) fn bound(id: Id, label: String, from: &str, totp: Totp, pair: Pair, host: &Host) -> Credentials {
    let (created, created_from) = ((host.now)(), from.to_owned());
    Credentials {
        id,
        label,
        created,
        created_from,
        totp,
        burnt: [pair.first, pair.first + 1],
        recovery: Set::default(),
    }
}

/// Asks for two consecutive codes, and says which rule a wrong pair broke.
fn two_codes(totp: &Totp, tries: usize, host: &Host, conversation: &mut Conversation) -> Result<Pair, Decision> {
    let mut last = PairError::Wrong;
    for attempt in 0..tries {
        if attempt > 0 {
            conversation.tell(&last.to_string())?;
        }
        let first = conversation.ask("First code: ")?;
        let second = conversation.ask("Second code: ")?;
        match judge(totp, &first, &second, (host.now)(), host.loaded.policy.window) {
            Ok(pair) => {
                if let Some(remark) = pair.remark(totp.parameters.period) {
                    conversation.tell(&remark)?;
                }
                return Ok(pair);
            }
            Err(error) => last = error,
        }
    }
    Err(Decision::new(Outcome::Refused, format!("{last} Nothing was bound."), last.to_string()))
}

/// Two consecutive codes that were found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    first: u64,
    /// How far the app's clock is from ours, in seconds; a multiple of the period.
    offset: i64,
}

impl Pair {
    /// What is to be said about the app's clock. A code that is one step old may simply have been typed slowly.
    pub(super) fn remark(&self, period: u64) -> Option<String> {
        let typed_slowly = (-(period as i64)..=0).contains(&self.offset);
        let remark = || format!("Your device's clock is {}: set it to automatic time.", apart(self.offset));
        (!typed_slowly).then(remark)
    }
}

/// How far the device's clock is from this host's, by the seconds between their steps.
pub(super) fn apart(offset: i64) -> String {
    let side = if offset > 0 { "ahead of" } else { "behind" };
    format!("about {} {side} this host's", duration(offset.unsigned_abs()))
}

/// Which rule two codes broke.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PairError {
    /// The first or the second is not of the form of a code, which has so many digits.
    Form(&'static str, u8),
    /// Both are the same.
    Same(u64),
    /// The second belongs before the first.
    Order,
    /// Both are right, with others in between.
    Gap,
    /// They are consecutive, but this many seconds old.
    Old(u64),
    /// They are consecutive, but this many seconds in the future.
    Ahead(u64),
    /// Only the first is right.
    SecondWrong,
    /// Only the second is right.
    FirstWrong,
    /// Neither is right.
    Wrong,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PairError::Form(which, digits) => write!(f, "The {which} code is not {digits} digits."),
            PairError::Same(period) => {
                write!(f, "Both codes are from the same {period} seconds: wait for the next one.")
            }
            PairError::Order => f.write_str("The codes are in the wrong order: the older one comes first."),
            PairError::Gap => {
                f.write_str("Both codes are right, but they do not follow each other: enter two in a row.")
            }
            PairError::Old(age) => write!(
                f,
                "These codes are {0} old, or your device's clock is {0} behind: set it to automatic time.",
                duration(*age)
            ),
            PairError::Ahead(by) => {
                write!(f, "Your device's clock is {} ahead of this host's: set it to automatic time.", duration(*by))
            }
            PairError::SecondWrong => f.write_str("The first code is right, the second is not."),
            PairError::FirstWrong => f.write_str("The second code is right, the first is not."),
            PairError::Wrong => f.write_str("Neither code belongs to this key: scan it, or type it, again."),
        }
    }
}

/// Looks for two consecutive steps whose codes these are. Only steps within the window are accepted;
/// those further away serve to say what is wrong.
pub(super) fn judge(totp: &Totp, first: &Secret, second: &Secret, now: u64, window: u64) -> Result<Pair, PairError> {
    let parameters = totp.parameters;
    let first = Code::parse(first, parameters.digits).ok_or(PairError::Form("first", parameters.digits))?;
    let second = Code::parse(second, parameters.digits).ok_or(PairError::Form("second", parameters.digits))?;
    if first.same(&second) {
        return Err(PairError::Same(parameters.period));
    }
    let present = parameters.step(now);
    let reach = SEARCH / parameters.period;
    let steps = present.saturating_sub(reach)..=present + reach;
    let firsts: Vec<u64> = steps.clone().filter(|step| totp.is(&first, *step)).collect();
    let seconds: Vec<u64> = steps.filter(|step| totp.is(&second, *step)).collect();
    let follow = |step: &&u64| seconds.contains(&(**step + 1));
    let Some(&step) = firsts.iter().filter(follow).min_by_key(|step| (**step + 1).abs_diff(present)) else {
        return Err(match (firsts.is_empty(), seconds.is_empty()) {
            (false, false) if seconds.iter().any(|step| firsts.contains(&(step + 1))) => PairError::Order,
            (false, false) => PairError::Gap,
            (false, true) => PairError::SecondWrong,
            (true, false) => PairError::FirstWrong,
            (true, true) => PairError::Wrong,
        });
    };
    let away = (step + 1).abs_diff(present);
    match (step + 1).cmp(&present) {
        _ if away <= window => {
            let offset = (step + 1) as i64 - present as i64;
            Ok(Pair { first: step, offset: offset * parameters.period as i64 })
        }
        std::cmp::Ordering::Less => Err(PairError::Old(away * parameters.period)),
        _ => Err(PairError::Ahead(away * parameters.period)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factor::totp::{Algorithm, Parameters};

    const NOW: u64 = 1_700_000_000;

    /// RFC 4226, appendix D: the codes of this key at steps 0 to 9.
    const CODES: [&str; 10] =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

    fn app() -> Totp {
        let parameters = Parameters::checked(Algorithm::Sha1, 6, 30).unwrap();
        Totp::new(parameters, Secret::copy_of(b"12345678901234567890")).unwrap()
    }

    /// Judges the codes at steps `a` and `b` when the present step is `present`.
    fn pair(a: &str, b: &str, present: u64) -> Result<Pair, PairError> {
        judge(&app(), &Secret::copy_of(a.as_bytes()), &Secret::copy_of(b.as_bytes()), present * 30, 1)
    }

    #[test]
    fn two_in_a_row_near_now_are_accepted_with_the_offset() {
        assert_eq!(pair(CODES[4], CODES[5], 5), Ok(Pair { first: 4, offset: 0 }));
        assert_eq!(pair(CODES[4], CODES[5], 6), Ok(Pair { first: 4, offset: -30 }));
        assert_eq!(pair(CODES[4], CODES[5], 4), Ok(Pair { first: 4, offset: 30 }));
        assert_eq!(pair("338 314", " 254676", 5), Ok(Pair { first: 4, offset: 0 }));
    }

    #[test]
    fn each_broken_rule_is_named() {
        assert_eq!(pair(CODES[4], CODES[4], 5), Err(PairError::Same(30)));
        assert_eq!(pair(CODES[5], CODES[4], 5), Err(PairError::Order));
        assert_eq!(pair(CODES[3], CODES[5], 5), Err(PairError::Gap));
        assert_eq!(pair(CODES[1], CODES[2], 4), Err(PairError::Old(60)));
        assert_eq!(pair(CODES[1], CODES[2], 122), Err(PairError::Old(3600)));
        assert_eq!(pair(CODES[7], CODES[8], 5), Err(PairError::Ahead(90)));
        assert_eq!(pair(CODES[4], "000000", 5), Err(PairError::SecondWrong));
        assert_eq!(pair("000000", CODES[5], 5), Err(PairError::FirstWrong));
        assert_eq!(pair("000000", "000001", 5), Err(PairError::Wrong));
        assert_eq!(pair("12345", CODES[5], 5), Err(PairError::Form("first", 6)));
        assert_eq!(pair(CODES[4], "abcdef", 5), Err(PairError::Form("second", 6)));
        assert_eq!(pair(CODES[0], CODES[1], NOW / 30), Err(PairError::Wrong), "far out of reach");
    }

    #[test]
    fn the_sentences() {
        assert_eq!(PairError::Same(30).to_string(), "Both codes are from the same 30 seconds: wait for the next one.");
        assert!(PairError::Old(3600).to_string().starts_with("These codes are an hour old"));
        let remark = |offset| Pair { first: 1, offset }.remark(30);
        assert_eq!(remark(0), None);
        assert_eq!(remark(-30), None, "typed slowly");
        let behind = "Your device's clock is about 1 min behind this host's: set it to automatic time.";
        assert_eq!(remark(-60).as_deref(), Some(behind));
        let ahead = "Your device's clock is about 30 s ahead of this host's: set it to automatic time.";
        assert_eq!(remark(30).as_deref(), Some(ahead));
        assert_eq!(duration(3660 + 3600), "2 h 1 min");
    }
}
