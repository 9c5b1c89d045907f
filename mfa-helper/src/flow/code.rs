//! Asking for the code of a bound device, and what is said of the answer.

use mfa_core::engine::Unavailable;
use mfa_core::judge::{Accepted, Answer, By, Factor, Judged, Lock, Proved, WayOut, Why};
use mfa_core::key::Refused;
use mfa_core::lockout::Way;
use mfa_core::view::{Codes, View};
use mfa_wire::{Login, Outcome, REFUSED, Secret};

use super::{Decision, Desk, Passed, below, remember};
use crate::conversation::NoAnswer;
use crate::host::Host;
use crate::lang::{Lang, Text, apart, duration, moment};

/// What is asked for, as the log says it.
const TOTP: &str = "totp";
const RECOVERY: &str = "recovery-code";
const BYPASS: &str = "bypass";
pub const U2F: &str = "u2f";

/// So few recovery codes are worth a warning.
const FEW: u32 = 3;

/// How a person comes in, and what they may be told.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// How their answers are judged. If the first factor is known to have succeeded, the truth helps nobody but the
    /// owner.
    pub by: By<'a>,
    /// mfa-enroll asks. It has room for every line, and its user may use up the last tries of a PIN.
    pub own_command: bool,
    /// The login that it is for; none where mfa-enroll asks, for a change.
    pub login: Option<&'a Login>,
    /// What they are asked in. A refusal is English.
    pub lang: Lang,
}

impl<'a> Audience<'a> {
    /// The owner of the device, who wants to change something by mfa-enroll.
    pub fn of_a_change(lang: Lang) -> Audience<'a> {
        let by = By { way: Way::OwnProcess, first_factor_known: true, bypass: false, remember: None };
        Audience { by, own_command: true, login: None, lang }
    }

    /// A login for which perhaps no first factor was asked (NOPASSWD). Its wrong codes are counted as those of the
    /// user's own processes, so they lock no login.
    pub fn without_first_factor(login: &'a Login, lang: Lang) -> Audience<'a> {
        let by = By { way: Way::OwnProcess, first_factor_known: false, bypass: true, remember: None };
        Audience { by, own_command: false, login: Some(login), lang }
    }
}

/// Has a recovery code judged that was typed where something else was asked for.
pub fn judge_recovery_code(
    typed: Secret,
    audience: Audience,
    view: &View,
    desk: &mut Desk,
) -> Result<Passed, Decision> {
    judge_typed(typed, &audience.lang.say(Text::RecoveryCode), audience, view, desk)
}

/// So often a question is asked again in one conversation.
const AGAIN: usize = 2;

/// Asks, with a notice in front, and has the answer judged. An answer that was used already, or that has not the form
/// of one, is asked for again: it is no guess, so this gives a guesser nothing. A wrong code is not, since a conversation
/// must hold one guess at most.
pub fn ask_code(notice: Option<&str>, audience: Audience, view: &View, desk: &mut Desk) -> Result<Passed, Decision> {
    let may_be_told = audience.by.first_factor_known || notice.is_some();
    let (text, factor) = match !view.keys().is_empty() && may_be_told {
        true => (Text::RecoveryCode, RECOVERY),
        false => (Text::Code, TOTP),
    };
    let question = audience.lang.say(text);
    let asked = desk.conversation.ask(&below(notice, question.clone()));
    let answer = asked.map_err(|none| Decision::from(none).by_factor(factor))?;
    judge_typed(answer, &question, audience, view, desk)
}

/// Has what was typed judged, and asks for it again by `question` where it was no guess.
fn judge_typed(
    mut answer: Secret,
    question: &str,
    audience: Audience,
    view: &View,
    desk: &mut Desk,
) -> Result<Passed, Decision> {
    let mut left = AGAIN;
    loop {
        let why = match desk.bindings.judge(&view.user, audience.by, &Answer::Typed(&answer))? {
            Judged::Accepted(accepted) => return Ok(audience.passed(accepted, desk.host)),
            Judged::Not(why) => why,
        };
        if why == Why::CodeUsed
            && let Some(passed) = remembered_meanwhile(audience, &view.user, desk)?
        {
            return Ok(passed);
        }
        let refused = audience.not_accepted(&why, desk.host);
        let Some(what) = no_guess(&why).filter(|_| left > 0 && audience.is_asked_again()) else { return Err(refused) };
        let other = match desk.conversation.ask(&below(Some(&audience.lang.say(what)), question.to_owned())) {
            Ok(other) => other,
            // A program with one answer only (`sudo -S`) is refused for that answer, as if it had not been asked again.
            Err(NoAnswer::Cancelled(_)) => return Err(refused),
            Err(gone) => return Err(Decision::from(gone).by_factor(refused.factor)),
        };
        // Programs that answer by themselves would do so again and again.
        if is_the_same(&answer, &other) {
            return Err(refused);
        }
        answer = other;
        left -= 1;
    }
}

/// Several logins may be asked at the same moment: a file manager opens six. The first of them has used up the code that
/// the person has typed into all of them, and is remembered. Now that lets the others in too, as it would if they began
/// now.
fn remembered_meanwhile(audience: Audience, user: &str, desk: &Desk) -> Result<Option<Passed>, Unavailable> {
    let Some(memory) = audience.by.remember else { return Ok(None) };
    let view = desk.bindings.look(user)?;
    let accepted = remember::lets_in(memory, &view, desk.now());
    // It proves no device.
    Ok(accepted.map(|decision| Passed { decision, proved: Proved::nothing_bound(view.seen()) }))
}

/// What is said above the next question, if the answer was no guess.
fn no_guess(why: &Why) -> Option<Text<'static>> {
    match why {
        Why::CodeUsed => Some(Text::CodeUsed),
        Why::NotACode(digits) => Some(Text::NotACode(*digits)),
        Why::RecoveryCodeUsed => Some(Text::RecoveryCodeUsed),
        Why::NoRecoveryCode => Some(Text::NoRecoveryCode),
        _ => None,
    }
}

/// But for blanks, as an app may show them in a code.
fn is_the_same(one: &Secret, other: &Secret) -> bool {
    let [one, other] = [one, other].map(|answer| answer.bytes().iter().filter(|byte| !byte.is_ascii_whitespace()));
    one.eq(other)
}

/// Has the answer of a key judged. If it is not accepted: the refusal, and whether the person may have another proof.
pub fn judge_key(audience: Audience, user: &str, answer: &Answer, desk: &Desk) -> Result<Passed, (Decision, bool)> {
    match desk.bindings.judge(user, audience.by, answer).map_err(|failed| (failed.into(), false))? {
        Judged::Accepted(accepted) => Ok(audience.passed(accepted, desk.host)),
        // It is the owner's key or a copy of it: whoever has a recovery code as well is the owner.
        Judged::Not(why) => Err((audience.not_accepted(&why, desk.host), matches!(why, Why::CounterBack(..)))),
    }
}

/// A text that says no more than "no": nothing of it for a login by sshd. Where a text of ours is left to be shown,
/// sshd sends that and does not log "Authentication failure for USER from ADDRESS" (auth-pam.c, `sshpam_query`), the
/// only line of such a failure that fail2ban's filter for sshd counts. Its client is asked again at once, which says
/// the same.
pub fn mere_no<'t>(login: Option<&Login>, text: &'t str) -> &'t str {
    if login.is_some_and(Login::came_by_sshd) { "" } else { text }
}

impl Audience<'_> {
    /// Whether a question may be asked again: at a login whose first factor is known to be right, so that a stranger
    /// learns nothing from it, and not in a screen locker, which has room for one question and no text.
    fn is_asked_again(self) -> bool {
        self.login.is_some() && self.by.first_factor_known && self.has_room()
    }

    /// Whether there is room for more than one question: a screen locker has none, and may answer by itself.
    pub fn has_room(self) -> bool {
        self.own_command || self.by.way == Way::Login
    }

    fn passed(self, accepted: Accepted, host: &Host) -> Passed {
        Passed { decision: self.accepted(&accepted, host), proved: accepted.proved }
    }

    fn accepted(self, accepted: &Accepted, host: &Host) -> Decision {
        let Accepted { by, codes, .. } = accepted;
        let (factor, text, reason) = match by {
            Factor::RecoveryCode => (RECOVERY, self.left(*codes, host), String::from("recovery code")),
            Factor::BypassCode => (BYPASS, self.lang.say(Text::BypassUsed), String::from("bypass code")),
            Factor::Key(id) => (U2F, self.few_left(*codes, host), format!("key {id}")),
            Factor::Code => (TOTP, self.few_left(*codes, host), String::from("code")),
        };
        Decision::new(Outcome::Accepted, text, reason).by_factor(factor)
    }

    fn not_accepted(self, why: &Why, host: &Host) -> Decision {
        let by_recovery_code = |decision: Decision| decision.by_factor(RECOVERY);
        let by_key = |decision: Decision| decision.by_factor(U2F);
        match why {
            Why::NotBound => self.refused("The device was unbound meanwhile.", "unbound meanwhile"),
            Why::NoRecoveryCode => {
                by_recovery_code(self.refused(&Lang::En.say(Text::NoRecoveryCode), "no recovery code"))
            }
            Why::WrongRecoveryCode => {
                by_recovery_code(self.refused(self.no("That recovery code is wrong."), "wrong recovery code"))
            }
            Why::RecoveryCodeUsed => {
                by_recovery_code(self.refused(&Lang::En.say(Text::RecoveryCodeUsed), "recovery code used already"))
            }
            Why::BypassOver => {
                let truth = format!("That bypass code has run out: ask {}.", host.policy().contact());
                self.refused(&truth, "bypass code run out").by_factor(BYPASS)
            }
            Why::Locked(lock) => self.locked(*lock),
            Why::NotACode(digits) => self.refused(&Lang::En.say(Text::NotACode(*digits)), "not a code"),
            Why::CodeUsed => self.refused(&Lang::En.say(Text::CodeUsed), "code used already"),
            Why::ClockWasAhead(seconds, way_out) => {
                let (again, way_out) = (duration(*seconds), meanwhile(*way_out));
                let truth = format!("This host's clock was ahead: codes are accepted again in {again}.{way_out}");
                self.refused(&truth, "the clock was ahead when a code was last accepted")
            }
            Why::WrongCode { offset, lock, way_out } => self.wrong(*offset, *lock, *way_out, host),
            Why::KeyGone => by_key(self.refused("The key was unbound meanwhile.", "unbound meanwhile")),
            Why::BadAnswer(refused) => {
                let text = said(*refused, host.policy().contact());
                by_key(Decision::new(Outcome::Refused, text, refused.to_string()))
            }
            Why::CounterBack(id, back) => {
                by_key(self.refused(&said(*back, host.policy().contact()), &format!("key {id}: {back}")))
            }
        }
    }

    /// A refusal that gives its reason only where that is safe.
    fn refused(self, truth: &str, reason: &str) -> Decision {
        // Without a known first factor this may be a stranger, who must not learn the reason.
        let text = if self.by.first_factor_known { truth } else { self.no(REFUSED) };
        Decision::new(Outcome::Refused, text, reason).by_factor(TOTP)
    }

    fn wrong(self, offset: Option<i64>, lock: Option<Lock>, way_out: WayOut, host: &Host) -> Decision {
        let contact = host.policy().contact();
        let off = match offset {
            None => String::new(),
            Some(0) => {
                format!(": the device's clock was off and is right again.\nAsk {contact} to run: mfa-enroll resync")
            }
            Some(offset) => format!(": the device's clock is {}", apart(offset)),
        };
        let unsynchronised = if (host.synchronised)() { "" } else { "\nThis host's clock is not synchronised." };
        let wrong = format!("That code is wrong{off}.{unsynchronised}");
        match (lock, way_out) {
            (Some(lock), _) => {
                self.refused(&format!("{wrong}\n{}", locked_for(lock)), "wrong code, locked from now on")
            }
            (None, way_out) => {
                let way_out = match way_out {
                    WayOut::RecoveryCode => String::from("Without the device: type a recovery code."),
                    WayOut::None => format!("Without the device: ask {contact}."),
                };
                let text = format!("{wrong}\n{way_out}");
                self.refused(if off.is_empty() { self.no(&text) } else { &text }, "wrong code")
            }
        }
    }

    /// A text that says no more than "no", where it is shown.
    fn no(self, text: &str) -> &str {
        mere_no(self.login.filter(|_| !self.own_command), text)
    }

    fn locked(self, lock: Lock) -> Decision {
        if !self.by.first_factor_known {
            // PAM_MAXTRIES would say that there is such an account, and that it has a device.
            return self.refused("", "locked");
        }
        Decision::new(Outcome::Locked, locked_for(lock), "locked").by_factor(TOTP)
    }

    /// The warning that few recovery codes are left, while new ones can still be made.
    fn few_left(self, codes: Codes, host: &Host) -> String {
        if codes.made > 0 && codes.left <= FEW { self.left(codes, host) } else { String::new() }
    }

    fn left(self, codes: Codes, host: &Host) -> String {
        let policy = host.policy();
        self.lang.say(Text::CodesLeft(codes.left, policy.self_service, policy.contact.as_deref()))
    }
}

fn locked_for(Lock { now, until, way_out }: Lock) -> String {
    let (time, way_out) = (duration(until - now), meanwhile(way_out));
    format!("Too many wrong codes: locked for {time} (until {} UTC).{way_out}", moment(until))
}

fn meanwhile(way_out: WayOut) -> &'static str {
    match way_out {
        WayOut::RecoveryCode => "\nA recovery code is accepted meanwhile.",
        WayOut::None => "",
    }
}

/// What is said of an answer of a key that is not valid.
pub fn said(refused: Refused, contact: &str) -> String {
    match refused {
        Refused::NotTouched => String::from("The security key was not touched."),
        Refused::NotVerified => String::from("The security key has checked neither a PIN nor a fingerprint."),
        Refused::CounterBack { .. } => {
            format!("The counter of this key went back: it may have been copied.\nTell {contact}, and replace it.")
        }
        Refused::Malformed | Refused::WrongRpId | Refused::BadSignature => {
            String::from("The answer of the security key is not good.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::random;
    use crate::policy::Policy;
    use crate::policy::files::Loaded;
    use mfa_core::judge::{Rules, judge};
    use mfa_core::lockout::Failures;
    use mfa_core::record::{App, Credentials, Device, Latest, OneTime, Record, State};
    use mfa_core::totp::{Parameters, Totp};
    use mfa_core::{Id, recovery};

    /// In step 5.
    const NOW: u64 = 165;
    const LOGIN: Audience<'static> = Audience {
        by: By { way: Way::Login, first_factor_known: true, bypass: true, remember: None },
        own_command: false,
        login: None,
        lang: Lang::En,
    };
    const BLIND: Audience<'static> = Audience { by: By { first_factor_known: false, ..LOGIN.by }, ..LOGIN };
    const OWN: Audience<'static> = Audience {
        by: By { way: Way::OwnProcess, first_factor_known: true, bypass: false, remember: None },
        own_command: true,
        ..LOGIN
    };

    fn host() -> Host {
        let loaded = Loaded { policy: Policy::default(), error: None, young: None };
        Host {
            now: || NOW,
            random,
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
        (with_codes(recovery), shown)
    }

    fn with_codes(recovery: recovery::Set) -> Credentials {
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        let (label, created_from) = (String::new(), String::new());
        let device = Device::App(App { label, totp, burnt: [0, 1] });
        Credentials { id: Id([1; 16]), created: 0, created_from, device, recovery, latest: Latest::Bound }
    }

    /// What `answer` gives, and the state after it.
    fn answer(audience: Audience, answer: &str, bound: &Credentials, state: &State) -> (Decision, State) {
        answer_on(&host(), audience, answer, bound, state)
    }

    fn answer_on(
        host: &Host,
        audience: Audience,
        answer: &str,
        bound: &Credentials,
        state: &State,
    ) -> (Decision, State) {
        let (credentials, state) = (Some(with_codes(bound.recovery.clone())), state.clone());
        let record = Record { user: String::from("alice"), credentials, provisional: None, state, pending: None };
        let policy = host.policy();
        let rules = Rules { window: policy.window, lockout: policy.lockout, pin: policy.u2f.pin };
        let typed = Secret::copy_of(answer.as_bytes());
        let (judged, after) = judge(&record, audience.by, &rules, (host.now)(), &Answer::Typed(&typed));
        let decision = match judged {
            Judged::Accepted(accepted) => audience.accepted(&accepted, host),
            Judged::Not(why) => audience.not_accepted(&why, host),
        };
        (decision, after.unwrap_or(record.state))
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

    /// Otherwise a stranger who is asked without a first factor could lock every user out of every login.
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
        let (decision, after) = answer_on(&host, LOGIN, WRONG, &bound, &state);
        assert_ne!(after, state, "counted");
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
        answer_on(&host, audience, answer, bound, state)
    }

    #[test]
    fn how_far_the_devices_clock_is_off_is_told_and_costs_what_a_wrong_code_costs() {
        let (bound, _) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        let (_, wrong) = answer(LOGIN, WRONG, &bound, &fresh);
        let (decision, after) = answer(LOGIN, EARLIER, &bound, &fresh);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "wrong code"));
        let words = |clock: &str| format!("That code is wrong{clock}.\nWithout the device: type a recovery code.");
        assert_eq!(decision.text, words(": the device's clock is about 1 min 30 s behind this host's"));
        assert_eq!(after, wrong);
        let (decision, after) = answer(LOGIN, LATER, &bound, &fresh);
        assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Refused, "wrong code"));
        assert_eq!(decision.text, words(": the device's clock is about 1 min 30 s ahead of this host's"));
        assert_eq!(after, State { told: 8, ..wrong });
        // Further away than ten minutes.
        let (decision, _) = in_step::<24>(LOGIN, EARLIER, &bound, &fresh);
        assert_eq!(decision.text, words(""));
    }

    /// Until it is learned anew, its codes are expected by the clock that it had.
    #[test]
    fn a_clock_that_was_learned_as_off_and_is_right_again_is_said_to_be_right() {
        let (bound, _) = bound();
        let state = State { clock_offset: 13, ..State::fresh(bound.id, bound.burnt()) };
        // In step 5; and of the step before, typed slowly.
        for code in [RIGHT, "338314"] {
            let (decision, _) = answer(LOGIN, code, &bound, &state);
            let right = "That code is wrong: the device's clock was off and is right again.\n\
                         Ask an administrator to run: mfa-enroll resync.\n";
            assert!(decision.text.starts_with(right), "{}", decision.text);
        }
        let (decision, _) = answer(LOGIN, LAST, &bound, &state);
        assert!(decision.text.contains("is about 2 min ahead of this host's"), "{}", decision.text);
    }

    #[test]
    fn a_wrong_code_is_told_what_helps_without_the_device() {
        let (with, _) = bound();
        let without = with_codes(recovery::Set::default());
        let host = Host {
            loaded: Loaded {
                policy: Policy { contact: Some("helpdesk 4711".into()), ..Policy::default() },
                error: None,
                young: None,
            },
            ..host()
        };
        for (bound, way) in [(&with, "type a recovery code."), (&without, "ask helpdesk 4711.")] {
            let (decision, _) = answer_on(&host, LOGIN, WRONG, bound, &State::fresh(bound.id, bound.burnt()));
            assert_eq!(decision.text, format!("That code is wrong.\nWithout the device: {way}"));
            let (decision, _) = answer_on(&host, BLIND, WRONG, bound, &State::fresh(bound.id, bound.burnt()));
            assert_eq!(decision.text, REFUSED);
        }
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
            assert!(decision.text.starts_with("That code is wrong.\n"), "{}", decision.text);
            assert_eq!(after.told, to_come);
        }
        let (decision, after) = answer(LOGIN, LATER, &bound, &state(3));
        assert!(decision.text.contains("ahead of"), "{}", decision.text);
        assert_eq!(after.told, 8);
        assert!(answer(LOGIN, EARLIER, &bound, &state(7)).0.text.contains("behind"), "the past is told at any time");
    }

    /// Each text at the end costs a line in sshd's log, so there is one only where it says more.
    #[test]
    fn a_mere_no_has_no_text_for_sshd() {
        let (bound, codes) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        let by_sshd = Login { tty: Some("ssh".into()), ..Login::at("alice", "ssh2") };
        let by_su = Login::at("alice", "su");
        let unsynchronised = Host { synchronised: || false, ..host() };
        let text = |host: &Host, audience: Audience<'_>, login, code: &str| {
            answer_on(host, Audience { login: Some(login), ..audience }, code, &bound, &fresh).0.text
        };
        let wrong_recovery_code = codes[0].text().unwrap().replace(|c: char| c.is_ascii_alphabetic(), "z");
        for code in [WRONG, &wrong_recovery_code] {
            for audience in [LOGIN, BLIND] {
                for host in [&host(), &unsynchronised] {
                    assert_eq!(text(host, audience, &by_sshd, code), "", "{code}");
                    assert_ne!(text(host, audience, &by_su, code), "", "{code}");
                }
            }
            assert_ne!(text(&host(), OWN, &by_sshd, code), "", "mfa-enroll asks");
        }
        for code in [EARLIER, "12345"] {
            assert_ne!(text(&host(), LOGIN, &by_sshd, code), "", "{code}");
            assert_eq!(text(&host(), BLIND, &by_sshd, code), "", "a stranger learns nothing from a silence either");
        }
        let lock = (0..4).fold(fresh.clone(), |state, _| answer(LOGIN, WRONG, &bound, &state).1);
        let fifth = answer(Audience { login: Some(&by_sshd), ..LOGIN }, WRONG, &bound, &lock).0;
        assert!(fifth.text.contains("locked for"), "{}", fifth.text);
    }

    #[test]
    fn no_clock_is_told_to_who_may_not_be_told_nor_during_a_lock() {
        let (bound, _) = bound();
        let fresh = State::fresh(bound.id, bound.burnt());
        for code in [EARLIER, LATER] {
            let (decision, after) = answer(BLIND, code, &bound, &fresh);
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
