//! Asking for the code of a bound device, and judging the answer.

use mfa_core::lockout::{Failures, Way};
use mfa_core::record::{Credentials, OneTime, State};
use mfa_core::remembered::Memory;
use mfa_core::{recovery, totp};
use mfa_wire::{Login, Outcome, REFUSED, Secret};

use super::revise::{Revision, revise};
use super::{Decision, below};
use crate::conversation::Conversation;
use crate::host::Host;
use crate::lang::{Lang, Text, apart, duration, moment};
use crate::store::{Record, Store};

/// What is asked for, as the log says it.
const TOTP: &str = "totp";
const RECOVERY: &str = "recovery-code";

/// So few recovery codes are worth a warning.
const FEW: u32 = 3;

/// How far from now a wrong code is looked for, in seconds: to say how far the device's clock is off, never to accept it.
const REACH: u64 = 10 * 60;

/// By which way a person comes, and what they may be told.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// By whose word they come.
    pub way: Way,
    /// The first factor is known to have succeeded: the truth helps nobody but the owner.
    pub first_factor_known: bool,
    /// It is mfa-enroll that asks: it has room for every line, and the last tries of a PIN are its owner's to use there.
    pub own_command: bool,
    /// It is a login. A bypass code lets in; it proves nothing where the binding is changed.
    pub bypass: bool,
    /// The login that it is for; none where it is mfa-enroll that asks, for a change.
    pub login: Option<&'a Login>,
    /// What they are asked in. A refusal is English.
    pub lang: Lang,
    /// What is remembered of it when a code of the device is right. Nothing but that code: others are for who has not got
    /// the device.
    pub remember: Option<&'a Memory>,
}

/// Asks, with a notice in front, and judges the answer against the record as it is at that moment. The new state is durable
/// before there is a verdict: that order is what makes the code good once.
pub fn ask(
    notice: Option<&str>,
    audience: Audience,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let has_keys = record.credentials.as_ref().is_some_and(|bound| bound.app().is_none());
    // That there are keys is told to whom it may be, or was told before.
    let (text, factor) = match has_keys && (audience.first_factor_known || notice.is_some()) {
        true => (Text::RecoveryCode, RECOVERY),
        false => (Text::Code, TOTP),
    };
    let prompt = below(notice, audience.lang.say(text));
    let answer = conversation.ask(&prompt).map_err(|none| Decision { factor, ..none.into() })?;
    revise(record, store, |record| {
        Ok(match &record.credentials {
            Some(credentials) => judge(audience, &answer, credentials, &record.state, host),
            None => Revision::AsIs(audience.refused("The device was unbound meanwhile.", "unbound meanwhile")),
        })
    })
}

fn judge(audience: Audience, answer: &Secret, bound: &Credentials, state: &State, host: &Host) -> Revision<Decision> {
    // Also during a lock: nobody guesses 80 bits, and whoever keeps the lock up must not keep the owner out.
    if let Some(code) = recovery::Code::parse(answer) {
        if audience.bypass && state.bypass.is(&code) {
            return bypass_code(audience, state, (host.now)());
        }
        return recovery_code(audience, &code, bound, state, host);
    }
    let Some(app) = bound.app() else {
        return Revision::AsIs(by_recovery_code(audience.refused("That is not a recovery code.", "no recovery code")));
    };
    let now = (host.now)();
    let counter = audience.counter();
    let rule = counter.rule(host.loaded.policy.lockout);
    let failures = rule.on_clock(state.failures(counter), now);
    let counted = |failures| state.with_failures(counter, failures);
    let way_out = if bound.recovery.left(state.recovery) > 0 { "\nA recovery code is accepted meanwhile." } else { "" };
    if failures.locked_until > now {
        let decision = audience.locked(failures.locked_until, now, way_out);
        // A lock that the clock was set back under ends by the clock of now.
        let adjusted = failures != state.failures(counter);
        return if adjusted { Revision::Keep(counted(failures), decision) } else { Revision::AsIs(decision) };
    }
    let parameters = app.totp.parameters;
    // By the device's clock, as far as it was learned.
    let now_there = now.saturating_add_signed(state.clock_offset.saturating_mul(parameters.period.cast_signed()));
    let Some(code) = totp::Code::parse(answer, parameters.digits) else {
        let truth = format!("That is not a code of {} digits.", parameters.digits);
        return Revision::AsIs(audience.refused(&truth, "not a code"));
    };
    let step = parameters.step(now_there);
    let window = host.loaded.policy.window;
    let spent = totp::Spent { floor: state.last_step, told: state.told };
    match app.totp.find(&code, step.saturating_sub(window), step + window, spent) {
        totp::Match { fresh: Some(step), .. } => {
            let remembered = match audience.remember {
                Some(memory) => state.remembered.with(memory.remembered(now)),
                None => state.remembered.clone(),
            };
            let last_used = used(audience, state, now);
            let left = few_left(audience.lang, bound, state, host);
            Revision::Keep(
                State { last_step: step, last_used, remembered, ..state.clone() },
                Decision { factor: TOTP, ..Decision::new(Outcome::Accepted, left, "code") },
            )
        }
        totp::Match { used: true, .. } if state.last_step > step + window => {
            let ahead = state.last_step.saturating_add(1).saturating_mul(parameters.period).saturating_sub(now_there);
            let truth =
                format!("This host's clock was ahead: codes are accepted again in {}.{way_out}", duration(ahead));
            Revision::AsIs(audience.refused(&truth, "the clock was ahead when a code was last accepted"))
        }
        totp::Match { used: true, .. } => {
            Revision::AsIs(audience.refused("That code was used already. Wait for the next one.", "code used already"))
        }
        totp::Match { .. } => {
            let failures = rule.failed(failures, now);
            let found = if audience.first_factor_known {
                app.totp.nearest(&code, step, REACH / parameters.period)
            } else {
                None
            };
            let found = found.filter(|found| may_be_told(*found, step, window, state));
            let told = found.filter(|found| *found > step).unwrap_or(state.told);
            let here = parameters.step(now);
            let offset = found.map(|found| (found as i64 - here as i64) * parameters.period as i64);
            let decision = audience.wrong(failures, now, offset, (host.synchronised)(), way_out);
            Revision::Keep(State { told, ..counted(failures) }, decision)
        }
    }
}

/// When the device was last used at a login, if this is one: what the next one is told about goes by that, and a screen
/// locker, or the proof of a change, has told nothing.
pub fn used(audience: Audience, state: &State, now: u64) -> u64 {
    if audience.way == Way::Login { now } else { state.last_used }
}

/// Whether it may be said that a wrong code is that of step `found`.
///
/// Of a step that is over it gives nothing away: its code is never accepted any more. Of one to come it would tell a
/// guesser which code will be right, and when. So such a step is dead once it is told, and as long as that one could be
/// accepted but for this, no other is told: there is one number to keep, and an owner loses one code and no more.
fn may_be_told(found: u64, present: u64, window: u64, state: &State) -> bool {
    found < present || state.told < present.saturating_sub(window)
}

fn recovery_code(
    audience: Audience,
    code: &recovery::Code,
    bound: &Credentials,
    state: &State,
    host: &Host,
) -> Revision<Decision> {
    match bound.recovery.find(code) {
        None => {
            Revision::AsIs(by_recovery_code(audience.refused("That recovery code is wrong.", "wrong recovery code")))
        }
        Some(n) if state.recovery.holds(&bound.recovery, n) => {
            let truth = "That recovery code was used already.";
            Revision::AsIs(by_recovery_code(audience.refused(truth, "recovery code used already")))
        }
        Some(n) => {
            let recovery = state.recovery.with(&bound.recovery, n);
            // It ends the wait, but what was guessed was guessed.
            let counter = audience.counter();
            let failures = Failures { locked_until: 0, ..state.failures(counter) };
            let state = State { recovery, ..state.with_failures(counter, failures) };
            let left = left(audience.lang, &bound.recovery, &state, host);
            Revision::Keep(state, by_recovery_code(Decision::new(Outcome::Accepted, left, "recovery code")))
        }
    }
}

/// The code that root has made: good once, and until it runs out.
fn bypass_code(audience: Audience, state: &State, now: u64) -> Revision<Decision> {
    let by_bypass_code = |decision: Decision| Decision { factor: "bypass", ..decision };
    if !state.bypass.is_good(now) {
        return Revision::AsIs(by_bypass_code(
            audience.refused("That bypass code has run out: ask an administrator.", "bypass code run out"),
        ));
    }
    // It ends the wait as a recovery code does.
    let counter = audience.counter();
    let failures = Failures { locked_until: 0, ..state.failures(counter) };
    let state = State { bypass: OneTime::default(), ..state.with_failures(counter, failures) };
    let text = audience.lang.say(Text::BypassUsed);
    Revision::Keep(state, by_bypass_code(Decision::new(Outcome::Accepted, text, "bypass code")))
}

fn by_recovery_code(decision: Decision) -> Decision {
    Decision { factor: RECOVERY, ..decision }
}

/// The warning that belongs to a login while there is still time to do something.
pub fn few_left(lang: Lang, bound: &Credentials, state: &State, host: &Host) -> String {
    let few = !bound.recovery.hashes.is_empty() && bound.recovery.left(state.recovery) <= FEW;
    if few { left(lang, &bound.recovery, state, host) } else { String::new() }
}

fn left(lang: Lang, set: &recovery::Set, state: &State, host: &Host) -> String {
    lang.say(Text::CodesLeft(set.left(state.recovery), host.loaded.policy.self_service))
}

impl Audience<'_> {
    /// Whose failures count. Where a stranger may be asked without the first factor, they are counted with those of the
    /// user's own processes: with doubled waits, and so that no stranger locks the user out of the logins behind it.
    fn counter(self) -> Way {
        if self.first_factor_known { self.way } else { Way::OwnProcess }
    }

    /// A refusal that gives its reason to whom it may be given.
    pub fn refused(self, truth: &str, reason: &str) -> Decision {
        // Only a stack that is known to come after a good first factor may be told more.
        let text = if self.first_factor_known { truth } else { REFUSED };
        Decision { factor: TOTP, ..Decision::new(Outcome::Refused, text, reason) }
    }

    fn wrong(self, failures: Failures, now: u64, offset: Option<i64>, synchronised: bool, way_out: &str) -> Decision {
        let off = offset.map_or(String::new(), |offset| format!(": the device's clock is {}", apart(offset)));
        let host = if synchronised { "" } else { "\nThis host's clock is not synchronised." };
        if failures.locked_until > now {
            let lock = locked_for(failures.locked_until, now);
            return self.refused(
                &format!("That code is wrong{off}.{host}\n{lock}{way_out}"),
                "wrong code, locked from now on",
            );
        }
        self.refused(&format!("That code is wrong{off}.{host}"), "wrong code")
    }

    fn locked(self, until: u64, now: u64, way_out: &str) -> Decision {
        if !self.first_factor_known {
            // PAM_MAXTRIES would say that there is such an account, and that it has a device.
            return self.refused("", "locked");
        }
        let text = format!("{}{way_out}", locked_for(until, now));
        Decision { factor: TOTP, ..Decision::new(Outcome::Locked, text, "locked") }
    }
}

fn locked_for(until: u64, now: u64) -> String {
    format!("Too many wrong codes: locked for {} (until {} UTC).", duration(until - now), moment(until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::policy::files::Loaded;
    use mfa_core::Id;
    use mfa_core::record::{App, Device, Latest};
    use mfa_core::totp::{Parameters, Totp};

    /// In step 5.
    const NOW: u64 = 165;
    const LOGIN: Audience<'static> = Audience {
        way: Way::Login,
        first_factor_known: true,
        own_command: false,
        bypass: true,
        login: None,
        lang: Lang::En,
        remember: None,
    };
    const BLIND: Audience<'static> = Audience { first_factor_known: false, ..LOGIN };
    const OWN: Audience<'static> = Audience {
        way: Way::OwnProcess,
        first_factor_known: true,
        own_command: true,
        bypass: false,
        login: None,
        lang: Lang::En,
        remember: None,
    };

    fn host() -> Host {
        let loaded = Loaded { policy: Policy::default(), error: None };
        Host {
            now: || NOW,
            random: getrandom::fill,
            synchronised: || true,
            caller_pid: 0,
            caller_is_root: true,
            caller_is_at: crate::session::Whereabouts::Elsewhere,
            caller_audit_session: None,
            in_service: false,
            loaded,
        }
    }

    fn bound() -> (Credentials, Vec<Secret>) {
        let (recovery, shown) = recovery::Set::make(10, getrandom::fill).unwrap();
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        let label = String::new();
        let created_from = label.clone();
        let latest = Latest::Bound;
        let device = Device::App(App { label, totp, burnt: [0, 1] });
        (Credentials { id: Id([1; 16]), created: 0, created_from, device, recovery, latest }, shown)
    }

    /// What `answer` gives, and the state after it.
    fn answer(audience: Audience, answer: &str, bound: &Credentials, state: &State) -> (Decision, State) {
        match judge(audience, &Secret::copy_of(answer.as_bytes()), bound, state, &host()) {
            Revision::AsIs(decision) => (decision, state.clone()),
            Revision::Keep(after, decision) => (decision, after),
        }
    }

    /// RFC 4226, appendix D: the code of this key at step 5.
    const RIGHT: &str = "254676";
    const WRONG: &str = "000000";
    /// At steps 2 and 8.
    const EARLIER: &str = "359152";
    const LATER: &str = "399871";
    /// At step 9.
    const LAST: &str = "520489";

    fn locked(audience: Audience, bound: &Credentials) -> State {
        (0..5).fold(State::fresh(bound.id, bound.burnt()), |state, _| answer(audience, WRONG, bound, &state).1)
    }

    #[test]
    fn a_lock_says_the_same_to_a_right_code_as_to_a_wrong_one_and_changes_nothing() {
        let (bound, _) = bound();
        let state = locked(LOGIN, &bound);
        for code in [WRONG, RIGHT] {
            let (decision, after) = answer(LOGIN, code, &bound, &state);
            assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Locked, "locked"));
            assert!(
                decision
                    .text
                    .contains("locked for 1 min (until 00:03:45 UTC).\nA recovery code is accepted meanwhile."),
                "{}",
                decision.text
            );
            assert_eq!(after, state);
        }
        let state = locked(BLIND, &bound);
        let (decision, _) = answer(BLIND, RIGHT, &bound, &state);
        assert_eq!((decision.outcome, decision.text.as_str()), (Outcome::Refused, REFUSED));
    }

    /// Who needs no first factor to be asked could otherwise lock everybody out of everything.
    #[test]
    fn a_stranger_locks_no_login_that_lies_behind_a_first_factor() {
        let (bound, _) = bound();
        let state = locked(BLIND, &bound);
        assert_eq!(state.failures, Failures::default());
        assert_eq!(answer(LOGIN, RIGHT, &bound, &state).0.outcome, Outcome::Accepted);
        assert_eq!(answer(BLIND, RIGHT, &bound, &locked(LOGIN, &bound)).0.outcome, Outcome::Accepted);
        let waits = |audience| locked(audience, &bound).failures(Way::OwnProcess).locked_until;
        assert_eq!(waits(BLIND), waits(OWN), "the doubled waits, on the one counter");
    }

    #[test]
    fn a_users_own_processes_lock_themselves_and_no_login() {
        let (bound, _) = bound();
        let state = locked(OWN, &bound);
        assert_eq!(answer(OWN, RIGHT, &bound, &state).0.outcome, Outcome::Locked);
        assert_eq!(answer(LOGIN, RIGHT, &bound, &state).0.outcome, Outcome::Accepted);
        let state = locked(LOGIN, &bound);
        assert_eq!(answer(OWN, RIGHT, &bound, &state).0.outcome, Outcome::Accepted);
    }

    #[test]
    fn a_right_code_forgives_no_wrong_one() {
        let (bound, _) = bound();
        let mut state = State::fresh(bound.id, bound.burnt());
        for _ in 0..4 {
            state = answer(LOGIN, WRONG, &bound, &state).1;
        }
        let before = state.failures;
        let (decision, after) = answer(LOGIN, RIGHT, &bound, &state);
        assert_eq!((decision.outcome, after.failures), (Outcome::Accepted, before));
    }

    #[test]
    fn replays_and_nonsense_cost_nothing() {
        let (bound, _) = bound();
        let (_, used) = answer(LOGIN, RIGHT, &bound, &State::fresh(bound.id, bound.burnt()));
        for nothing in [RIGHT, "12345", "aaaa-bbbb-cccc-dddd"] {
            let (decision, after) = answer(LOGIN, nothing, &bound, &used);
            assert_eq!((decision.outcome, after), (Outcome::Refused, used.clone()), "{nothing}");
        }
    }

    #[test]
    fn a_recovery_code_is_good_once_during_a_lock_too_and_ends_the_wait_only() {
        let (bound, shown) = bound();
        let state = locked(LOGIN, &bound);
        let code = shown[3].text().unwrap();
        let (decision, after) = answer(LOGIN, code, &bound, &state);
        assert_eq!((decision.outcome, decision.factor), (Outcome::Accepted, "recovery-code"));
        assert_eq!(decision.text, "9 recovery codes are left. New ones: mfa-enroll recovery-codes");
        assert_eq!(after.failures, Failures { locked_until: 0, ..state.failures });
        assert_eq!(after.last_step, state.last_step);
        let (again, unchanged) = answer(LOGIN, code, &bound, &after);
        assert_eq!((again.outcome, again.reason.as_str()), (Outcome::Refused, "recovery code used already"));
        assert_eq!(unchanged, after);
        assert_eq!(answer(LOGIN, RIGHT, &bound, &after).0.outcome, Outcome::Accepted);
    }

    fn with_bypass(bound: &Credentials, expires: u64) -> (State, Secret) {
        let (set, mut shown) = recovery::Set::make(1, getrandom::fill).unwrap();
        (State { bypass: OneTime { set, expires }, ..locked(LOGIN, bound) }, shown.remove(0))
    }

    #[test]
    fn a_bypass_code_lets_in_once_during_a_lock_too_and_proves_nothing_for_a_change() {
        let (bound, _) = bound();
        let (state, code) = with_bypass(&bound, NOW + 1);
        let code = code.text().unwrap();
        let (decision, after) = answer(OWN, code, &bound, &state);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "wrong recovery code"));
        assert_eq!(after, state, "still good for a login");
        let (decision, after) = answer(LOGIN, code, &bound, &state);
        assert_eq!((decision.outcome, decision.factor), (Outcome::Accepted, "bypass"));
        assert_eq!(after.failures, Failures { locked_until: 0, ..state.failures }, "what was guessed was guessed");
        assert_eq!((after.last_step, after.last_used), (state.last_step, state.last_used));
        let (again, unchanged) = answer(LOGIN, code, &bound, &after);
        assert_eq!((again.outcome, unchanged), (Outcome::Refused, after));
    }

    #[test]
    fn a_bypass_code_runs_out() {
        let (bound, _) = bound();
        let (state, code) = with_bypass(&bound, NOW);
        let (decision, after) = answer(LOGIN, code.text().unwrap(), &bound, &state);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "bypass code run out"));
        assert_eq!(after, state, "and is no guess");
    }

    #[test]
    fn the_window_is_where_the_devices_clock_is() {
        let (bound, _) = bound();
        let state = |clock_offset| State { clock_offset, ..State::fresh(bound.id, bound.burnt()) };
        // RFC 4226, appendix D: steps 3 to 7; the window is one step to either side.
        let codes = ["969429", "338314", RIGHT, "287922", "162583"];
        for (offset, good) in [(0, 1..=3), (-1, 0..=2), (1, 2..=4)] {
            for (n, code) in codes.iter().enumerate() {
                let accepted = answer(LOGIN, code, &bound, &state(offset)).0.outcome == Outcome::Accepted;
                assert_eq!(accepted, good.contains(&n), "{code}, offset {offset}");
            }
        }
        let (decision, after) = answer(LOGIN, codes[4], &bound, &state(1));
        assert_eq!((decision.outcome, after.last_step, after.clock_offset), (Outcome::Accepted, 7, 1));
        for offset in [i64::MIN, i64::MAX] {
            assert_eq!(answer(LOGIN, RIGHT, &bound, &state(offset)).0.outcome, Outcome::Refused, "nor a panic");
        }
        // Back to right time: told when codes are good again.
        let ahead = State { last_step: 5 + 240, ..state(120) };
        let (decision, _) = answer(LOGIN, RIGHT, &bound, &State { clock_offset: 0, ..ahead });
        assert!(decision.text.contains("accepted again in 2 h"), "{}", decision.text);
    }

    #[test]
    fn the_last_three_recovery_codes_are_announced_at_every_login() {
        let (bound, _) = bound();
        let mut state = State::fresh(bound.id, bound.burnt());
        let mut texts = Vec::new();
        for n in 0..10 {
            state.recovery = state.recovery.with(&bound.recovery, n);
            texts.push(answer(LOGIN, RIGHT, &bound, &state).0.text);
        }
        assert!(texts[..6].iter().all(String::is_empty), "{texts:?}");
        let announced =
            ["3 recovery codes are left.", "2 recovery codes", "One recovery code is", "No recovery code is left."];
        for (text, start) in texts[6..].iter().zip(announced) {
            assert!(text.starts_with(start) && text.ends_with("mfa-enroll recovery-codes"), "{text}");
        }
    }

    #[test]
    fn after_the_clock_was_ahead_no_code_comes_back_and_the_reason_is_told() {
        let (bound, _) = bound();
        let ahead = State { last_step: 5 + 120, ..State::fresh(bound.id, bound.burnt()) };
        let (decision, after) = answer(LOGIN, RIGHT, &bound, &ahead);
        assert_eq!(decision.outcome, Outcome::Refused);
        assert!(decision.text.contains("accepted again in an hour.\nA recovery code is"), "{}", decision.text);
        assert_eq!(after, ahead);
    }

    #[test]
    fn a_lock_from_before_the_clock_was_set_back_ends_by_the_clock_of_now() {
        let (bound, _) = bound();
        let year = Failures { forgotten: NOW + 40_000_000, locked_until: NOW + 31_536_000 };
        let state = State { failures: year, ..State::fresh(bound.id, bound.burnt()) };
        let (decision, after) = answer(LOGIN, RIGHT, &bound, &state);
        assert_eq!(decision.outcome, Outcome::Locked);
        assert_eq!(after.failures.locked_until, NOW + 4 * 3600);
    }

    #[test]
    fn an_unsynchronised_clock_is_named_beside_a_wrong_code() {
        let (bound, _) = bound();
        let host = Host { synchronised: || false, ..host() };
        let state = State::fresh(bound.id, bound.burnt());
        let Revision::Keep(_, decision) = judge(LOGIN, &Secret::copy_of(WRONG.as_bytes()), &bound, &state, &host)
        else {
            panic!("not counted");
        };
        assert!(decision.text.contains("clock is not synchronised"), "{}", decision.text);
    }

    /// What `answer` gives in step `STEP`, and the state after it.
    fn in_step<const STEP: u64>(
        audience: Audience,
        answer: &str,
        bound: &Credentials,
        state: &State,
    ) -> (Decision, State) {
        let host = Host { now: || STEP * 30 + 15, ..host() };
        match judge(audience, &Secret::copy_of(answer.as_bytes()), bound, state, &host) {
            Revision::AsIs(decision) => (decision, state.clone()),
            Revision::Keep(after, decision) => (decision, after),
        }
    }

    #[test]
    fn how_far_the_devices_clock_is_off_is_told_and_costs_what_a_wrong_code_costs() {
        let (bound, _) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        let (_, wrong) = answer(LOGIN, WRONG, &bound, &fresh);
        let (decision, after) = answer(LOGIN, EARLIER, &bound, &fresh);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "wrong code"));
        assert_eq!(decision.text, "That code is wrong: the device's clock is about 1 min 30 s behind this host's.");
        assert_eq!(after, wrong);
        let (decision, after) = answer(LOGIN, LATER, &bound, &fresh);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "wrong code"));
        assert_eq!(decision.text, "That code is wrong: the device's clock is about 1 min 30 s ahead of this host's.");
        assert_eq!(after, State { told: 8, ..wrong });
        // Further away than ten minutes.
        let (decision, _) = in_step::<24>(LOGIN, EARLIER, &bound, &fresh);
        assert_eq!(decision.text, "That code is wrong.");
    }

    #[test]
    fn the_code_of_a_step_that_was_told_is_good_at_no_time() {
        let (bound, _) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        assert_eq!(in_step::<8>(LOGIN, LATER, &bound, &fresh).0.outcome, Outcome::Accepted);
        let (_, told) = answer(LOGIN, LATER, &bound, &fresh);
        for (decision, after) in [
            in_step::<7>(LOGIN, LATER, &bound, &told),
            in_step::<8>(OWN, LATER, &bound, &told),
            in_step::<9>(LOGIN, LATER, &bound, &told),
        ] {
            assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "code used already"));
            assert_eq!(after, told, "a replay is no guess");
        }
        // The next one is good, and it does not bring the other back.
        let (decision, after) = in_step::<8>(LOGIN, LAST, &bound, &told);
        assert_eq!((decision.outcome, after.told), (Outcome::Accepted, 8));
    }

    #[test]
    fn of_steps_to_come_one_at_a_time_is_told() {
        let (bound, _) = bound();
        let state = |told| State { told, ..State::fresh(bound.id, bound.burnt()) };
        for to_come in [4, 5, 7, 20] {
            let (decision, after) = answer(LOGIN, LATER, &bound, &state(to_come));
            assert_eq!((decision.text.as_str(), after.told), ("That code is wrong.", to_come));
        }
        let (decision, after) = answer(LOGIN, LATER, &bound, &state(3));
        assert!(decision.text.contains("ahead of"), "{}", decision.text);
        assert_eq!(after.told, 8);
        assert!(answer(LOGIN, EARLIER, &bound, &state(7)).0.text.contains("behind"), "the past is told at any time");
    }

    #[test]
    fn no_clock_is_told_to_who_may_not_be_told_nor_during_a_lock() {
        let (bound, _) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        let blind = Audience { first_factor_known: false, ..LOGIN };
        for code in [EARLIER, LATER] {
            let (decision, after) = answer(blind, code, &bound, &fresh);
            assert_eq!((decision.text.as_str(), after.told), (REFUSED, 0));
        }
        let locked = locked(LOGIN, &bound);
        let (wrong, _) = answer(LOGIN, WRONG, &bound, &locked);
        for code in [EARLIER, LATER] {
            let (decision, after) = answer(LOGIN, code, &bound, &locked);
            assert_eq!((decision.text, after), (wrong.text.clone(), locked.clone()));
        }
    }
}
