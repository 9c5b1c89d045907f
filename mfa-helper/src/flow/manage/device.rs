//! Binding and replacing an authenticator app, and unbinding whatever is bound.

use mfa_core::lockout::Failures;
use mfa_core::pair::{self, Pair, PairError};
use mfa_core::record::{App, Credentials, Latest, OneTime, PENDING_LIFE, Pending, State};
use mfa_core::totp::{Parameters, Totp};
use mfa_core::{Id, Kind};
use mfa_wire::{FromHelper, Outcome, Secret, printable};

use crate::conversation::{Conversation, NoAnswer};
use crate::flow::proof::{Proof, Proved, ROOT};
use crate::flow::revise::{RACES, Revision, revise};
use crate::flow::user::{already, known, known_or_kept, not_bound};
use crate::flow::{Decision, TRIES, codes, new_app, permission};
use crate::host::Host;
use crate::lang::{Lang, Text, apart, duration};
use crate::store::{Change, CommitError, Record, Store};

/// How far off the clock of a device may be that is bound, in seconds: a wrong time zone, a wrong date. Two codes in a
/// row out of so many are found by chance once in a hundred million times.
const RESYNC: u64 = 86_400;

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
        permission::may_bind(&identity, Kind::Totp, proof, &record.state, host, conversation)?;
    }
    // The log says what was proved, however it ends.
    let factor = if proof == Proof::Invitation { permission::INVITATION } else { "none" };
    let proved = |decision: Decision| Decision { factor, ..decision };
    let totp = new_app::new_totp(host)?;
    conversation.send(&shown(user, &totp, host, None))?;
    let pair = two_codes(&totp, TRIES, host, conversation).map_err(proved)?;
    let (recovery, codes) = codes::new_set(host)?;
    let credentials =
        Credentials { recovery, ..new_app::bound(new_app::new_id(host)?, label, proof.from(user), totp, pair, host) };
    store.commit(&record, Change::Bind(&credentials, &record.state.owes)).map_err(|lost| proved(lost.into()))?;
    Ok(proved(done(user, codes::hand_out(codes, user, host, conversation), host)))
}

/// Binds an app in place of the one that is bound. That one works until the two codes are right, and never again.
pub fn replace(
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
    if proof != Proof::Root {
        permission::may_replace(&identity, Kind::Totp, host)?;
    }
    let store = host.store()?;
    let (record, factor) = proof.record_of(user, &store, host, conversation)?;
    let Some(old) = Proved::by(&record) else { return Ok(not_bound(user)) };
    // The log says what was proved, however it ends.
    let proved = |decision: Decision| Decision { factor, ..decision };
    let totp = new_app::new_totp(host)?;
    conversation.send(&shown(user, &totp, host, None))?;
    let pair = two_codes(&totp, TRIES, host, conversation).map_err(proved)?;
    let (recovery, codes) = codes::new_set(host)?;
    let new = new_app::bound(new_app::new_id(host)?, label, proof.from(user), totp, pair, host);
    let new = Credentials { recovery, latest: Latest::Replaced, ..new };
    bind(record, &new, &store, |record| old.holds(record)).map_err(|lost| proved(lost.into()))?;
    Ok(proved(replaced(user, codes::hand_out(codes, user, host, conversation), host)))
}

/// Binds `new`, whatever was tried to log in since `record` was loaded, if what it goes by is `still` there.
pub(super) fn bind(
    mut record: Record,
    new: &Credentials,
    store: &Store,
    still: impl Fn(&Record) -> bool,
) -> Result<(), CommitError> {
    for _ in 0..RACES {
        match store.commit(&record, Change::Bind(new, &record.state.owes)) {
            Err(CommitError::Conflict) => record = store.load(record.user())?,
            done => return done,
        }
        if !still(&record) {
            break;
        }
    }
    Err(CommitError::Conflict)
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
    pend(&record, label, Id::default(), &store, host, conversation)
}

/// The same for who has a device: the pending one will replace it.
pub fn replace_pending(
    user: &str,
    label: Option<&str>,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = known(user)?.name;
    let store = host.store()?;
    let record = store.load(&user)?;
    let Some(old) = &record.credentials else { return Ok(not_bound(&user)) };
    pend(&record, label, old.id, &store, host, conversation)
}

fn pend(
    record: &Record,
    label: Option<&str>,
    replaces: Id,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let expires = (host.now)() + PENDING_LIFE;
    let pending = Pending {
        id: new_app::new_id(host)?,
        label: checked_label(label)?,
        expires,
        from: ROOT.into(),
        replaces,
        totp: new_app::new_totp(host)?,
    };
    // Kept before it is shown: what is shown can be confirmed.
    store.commit(record, Change::Pend(&pending))?;
    conversation.send(&shown(record.user(), &pending.totp, host, Some(expires)))?;
    Ok(Decision::new(Outcome::Accepted, "", "pending device made"))
}

/// Binds the pending device by two codes.
pub fn confirm(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let mut record = store.load(&user)?;
    let Some(pending) = record.pending.take() else {
        return Ok(if record.credentials.is_some() { already(&user) } else { nothing_pending(&user) });
    };
    if pending.from != ROOT {
        // Whoever has seen that key is not known to root, and would be written down as root.
        let text = format!(
            "The device that is pending for {} was begun at a login, which confirms it itself.",
            printable(&user, 64)
        );
        return Ok(Decision::new(Outcome::NotFound, text, "begun at a login"));
    }
    let replaces = pending.replaces != Id::default();
    if pending.expires <= (host.now)() {
        store.commit(&record, Change::Unpend)?;
        let how = if replaces { "replace totp" } else { "totp" };
        let text = format!("The pending device of {0} has expired. {1}", printable(&user, 64), make_one(how, &user));
        return Ok(Decision::new(Outcome::NotFound, text, "the pending device has expired"));
    }
    let pair = two_codes(&pending.totp, 1, host, conversation)?;
    let latest = if replaces { Latest::Replaced } else { Latest::Bound };
    let new = Credentials { latest, ..new_app::bound(pending.id, pending.label, ROOT, pending.totp, pair, host) };
    // A pending device is there only as long as what it replaces is.
    let still = |record: &Record| record.pending.as_ref().is_some_and(|waits| waits.id == new.id);
    bind(record, &new, &store, still)?;
    let codes = (host.loaded.policy.recovery_codes > 0).then_some(Text::MakeCodesFor(&user));
    Ok(if replaces { replaced(&user, codes, host) } else { done(&user, codes, host) })
}

/// Drops the pending device, and voids the invitation.
pub fn cancel(user: &str, host: &Host) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let record = store.load(&user)?;
    // One that a login has bound, and that has not been confirmed, waits as well.
    let pending = record.pending.is_some() || record.provisional.is_some();
    let invited = record.state.invitation != OneTime::default();
    if !pending && !invited {
        let text = format!("{} has no pending device and no invitation.", printable(&user, 64));
        return Ok(Decision::new(Outcome::NotFound, text, "nothing pending"));
    }
    if invited {
        let state = State { invitation: OneTime::default(), ..record.state.clone() };
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

/// Learns by two codes in a row how far the device's clock is off.
pub fn resync(user: &str, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let record = store.load(&user)?;
    match &record.credentials {
        None => return Ok(not_bound(&user)),
        Some(bound) if bound.app().is_none() => return Ok(no_clock(&user)),
        Some(_) => {}
    }
    let codes = ask_two(host, conversation)?;
    revise(record, &store, |record| {
        let Some(bound) = record.credentials.as_ref().and_then(Credentials::app) else {
            return Ok(Revision::AsIs(not_bound(&user)));
        };
        Ok(match learn(bound, &record.state, &codes, (host.now)()) {
            Ok((state, text)) => {
                let reason = format!("clock offset learned: {} steps", state.clock_offset);
                Revision::Keep(state, Decision::new(Outcome::Accepted, text, reason))
            }
            Err(why) => Revision::AsIs(Decision::new(Outcome::Refused, format!("{why} Nothing was learned."), why)),
        })
    })
}

/// The state with the offset that these codes tell, and what to say of it; or why there is none.
fn learn(bound: &App, state: &State, codes: &[Secret; 2], now: u64) -> Result<(State, String), String> {
    let parameters = bound.totp.parameters;
    let present = parameters.step(now);
    let first = pair::consecutive(&bound.totp, &codes[0], &codes[1], present, RESYNC).map_err(|error| match error {
        PairError::Wrong => String::from("Neither code is this device's within a day of now: replace it."),
        other => Lang::En.say(Text::Pair(&other)),
    })?;
    let last_step = first + 1;
    if first <= state.last_step {
        // Going back would make codes good again that were used.
        let wait = duration((state.last_step - first + 1).saturating_mul(parameters.period));
        return Err(format!("A code as late as these was used already:\nwait {wait}, or replace the device."));
    }
    let clock_offset = last_step.cast_signed().saturating_sub(present.cast_signed());
    let off = clock_offset.saturating_mul(parameters.period.cast_signed());
    let text = match off {
        0 => String::from("The device's clock agrees with this host's."),
        off => format!("The device's clock is {}.\nIts codes are accepted as they are from now on.", apart(off)),
    };
    Ok((State { last_step, clock_offset, ..state.clone() }, text))
}

/// Forgets the wrong codes, and so ends a lock.
pub fn unlock(user: &str, host: &Host) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    revise(store.load(&user)?, &store, |record| {
        if record.credentials.is_none() {
            return Ok(Revision::AsIs(not_bound(&user)));
        }
        let (failures, own_failures) = (Failures::default(), Failures::default());
        let text = format!("{} is not locked; all wrong codes are forgotten.", printable(&user, 64));
        let state = State { failures, own_failures, ..record.state.clone() };
        Ok(Revision::Keep(state, Decision::new(Outcome::Accepted, text, "unlocked")))
    })
}

fn no_clock(user: &str) -> Decision {
    let text = format!("{} has security keys, which have no clock.", printable(user, 64));
    Decision::new(Outcome::Refused, text, "no app is bound")
}

fn nothing_pending(user: &str) -> Decision {
    let text = format!("No device is pending for {}. {}", printable(user, 64), make_one("totp", user));
    Decision::new(Outcome::NotFound, text, "nothing pending")
}

fn make_one(how: &str, user: &str) -> String {
    format!("Make one: mfa-enroll {how} --json --user {}", printable(user, 64))
}

fn done(user: &str, more: Option<Text>, host: &Host) -> Decision {
    Decision::new(Outcome::Accepted, lines([Some(Text::Bound(user)), more], host), "bound")
}

fn replaced(user: &str, more: Option<Text>, host: &Host) -> Decision {
    Decision::new(Outcome::Accepted, lines([Some(Text::Replaced(user)), more], host), "replaced")
}

pub(super) fn lines(texts: [Option<Text>; 2], host: &Host) -> String {
    let lines: Vec<String> = texts.into_iter().flatten().map(|text| host.loaded.policy.lang.say(text)).collect();
    lines.join("\n")
}

/// A label is kept as it is given, so it must be fit to be a line of the record and of a terminal.
pub(super) fn checked_label(label: Option<&str>) -> Result<String, Decision> {
    let label = label.unwrap_or_default();
    if label.chars().count() > 64 || label.chars().any(char::is_control) {
        let text = "A label has at most 64 characters, and no control characters.";
        return Err(Decision::new(Outcome::Refused, text, "label not accepted"));
    }
    Ok(label.to_owned())
}

fn shown(user: &str, totp: &Totp, host: &Host, expires: Option<u64>) -> FromHelper {
    let Parameters { algorithm, digits, period } = totp.parameters;
    let issuer = host.issuer();
    FromHelper::Device(mfa_wire::Device {
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

/// Asks for two consecutive codes, and says which rule a wrong pair broke.
fn two_codes(totp: &Totp, tries: usize, host: &Host, conversation: &mut Conversation) -> Result<Pair, Decision> {
    let mut last = PairError::Wrong;
    for attempt in 0..tries {
        if attempt > 0 {
            conversation.tell(&host.loaded.policy.lang.say(Text::Pair(&last)))?;
        }
        let [first, second] = ask_two(host, conversation)?;
        match Pair::find(totp, &first, &second, (host.now)(), host.loaded.policy.window) {
            Ok(pair) => {
                if let Some(remark) = new_app::remark(&pair, totp, host.loaded.policy.lang) {
                    conversation.tell(&remark)?;
                }
                return Ok(pair);
            }
            Err(error) => last = error,
        }
    }
    let why = Lang::En.say(Text::Pair(&last));
    Err(Decision::new(Outcome::Refused, format!("{why} Nothing was bound."), why))
}

fn ask_two(host: &Host, conversation: &mut Conversation) -> Result<[Secret; 2], NoAnswer> {
    let lang = host.loaded.policy.lang;
    Ok([conversation.ask(&lang.say(Text::First))?, conversation.ask(&lang.say(Text::Second))?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfa_core::totp::{Algorithm, Parameters};

    /// RFC 4226, appendix D: the codes of this key at steps 0 to 9.
    const CODES: [&str; 10] =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

    fn app() -> Totp {
        let parameters = Parameters::checked(Algorithm::Sha1, 6, 30).unwrap();
        Totp::new(parameters, Secret::copy_of(b"12345678901234567890")).unwrap()
    }

    /// What these codes teach at the step `present`, where `last` was the last that was accepted.
    fn learnt(codes: [&str; 2], present: u64, last: u64) -> Result<(u64, i64), String> {
        let bound = App { label: String::new(), totp: app(), burnt: [0, 0] };
        let state = State { last_step: last, ..State::fresh(Id([1; 16]), bound.burnt) };
        let codes = codes.map(|code| Secret::copy_of(code.as_bytes()));
        learn(&bound, &state, &codes, present * 30).map(|(state, _)| (state.last_step, state.clock_offset))
    }

    #[test]
    fn two_codes_in_a_row_tell_the_offset_up_to_a_day_and_are_used_up() {
        const DAY: u64 = 86_400 / 30;
        assert_eq!(learnt([CODES[4], CODES[5]], 5, 3), Ok((5, 0)));
        assert_eq!(learnt([CODES[4], CODES[5]], 125, 3), Ok((5, -120)));
        assert_eq!(learnt([CODES[8], CODES[9]], 1, 3), Ok((9, 8)));
        assert_eq!(learnt([CODES[4], CODES[5]], 4 + DAY, 3), Ok((5, 1 - DAY as i64)));
        assert!(learnt([CODES[4], CODES[5]], 6 + DAY, 3).is_err(), "too far");
        for codes in [[CODES[4], CODES[4]], [CODES[5], CODES[4]], [CODES[3], CODES[5]], [CODES[4], "000000"]] {
            assert!(learnt(codes, 5, 0).is_err(), "{codes:?}");
        }
    }

    #[test]
    fn no_code_comes_back_by_an_offset() {
        assert_eq!(learnt([CODES[4], CODES[5]], 5, 3), Ok((5, 0)));
        for last in [4, 5, 6, 125] {
            let why = learnt([CODES[4], CODES[5]], 5, last).unwrap_err();
            assert!(why.contains("was used already"), "{last}: {why}");
        }
        let why = learnt([CODES[4], CODES[5]], 5, 4 + 119).unwrap_err();
        assert!(why.contains("wait an hour, or replace the device."), "{why}");
    }
}
