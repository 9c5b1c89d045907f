//! What an answer is worth, by the record of its user: a judgement, and the state to be written before it is told.

use mfa_wire::Secret;

use crate::key::{self, Key, Pin, Refused, Signed};
use crate::lockout::{Failures, Lockout, Way};
use crate::record::{App, Credentials, OneTime, Record, State};
use crate::remembered::Memory;
use crate::view::{Codes, Seen};
use crate::{Id, recovery, totp};

/// How far from now a wrong code is looked for, in seconds: to say how far the device's clock is off, never to accept it.
const REACH: u64 = 10 * 60;

/// What the policy says of judging.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So many steps around the present one are accepted.
    pub window: u64,
    /// When wrong codes lock.
    pub lockout: Lockout,
    /// When a security key has to have asked for its PIN.
    pub pin: Pin,
}

/// By which way an answer comes.
#[derive(Clone, Copy)]
pub struct By<'a> {
    /// Which of the user's two failure counts is used.
    pub way: Way,
    /// The first factor is known to have succeeded.
    pub first_factor_known: bool,
    /// A bypass code is accepted. It lets in, but proves no device, so it is not accepted for a change of the binding.
    pub bypass: bool,
    /// If set, a right answer of the device creates a remembered login. Recovery and bypass codes never do: they are
    /// for a user without the device.
    pub remember: Option<&'a Memory>,
}

impl By<'_> {
    /// Which failures count. Without a known first factor the answer may be a stranger's: its failures count with those
    /// of the user's own processes, where waits are doubled, so that no stranger locks the user out of a login.
    fn counter(self) -> Way {
        if self.first_factor_known { self.way } else { Way::OwnProcess }
    }

    /// When the device was last used at a login. Only a login moves it on: the next login reports the changes since
    /// then, while a screen locker, or the proof of a change, reports none.
    fn last_used(self, state: &State, now: u64) -> u64 {
        if self.way == Way::Login { now } else { state.last_used }
    }
}

/// What was answered.
pub enum Answer<'a> {
    /// Typed where a code was asked: a code of the app, a recovery code or a bypass code.
    Typed(&'a Secret),
    /// A security key has signed.
    Signed {
        /// Which one.
        key: Id,
        /// What it has signed, and the signature.
        signed: &'a Signed,
        /// The hash under it: the challenge, or what ssh makes of it.
        hash: &'a [u8; 32],
    },
    /// sshd has checked the signature of this key, and has demanded as much as we would.
    BySshd(Id),
}

/// What an answer is worth.
pub enum Judged {
    /// It is right.
    Accepted(Accepted),
    /// It is not, for this reason.
    Not(Why),
}

/// A right answer.
pub struct Accepted {
    /// What kind of answer it was.
    pub by: Factor,
    /// The recovery codes after it.
    pub codes: Codes,
    /// What that proves.
    pub proved: Proved,
}

/// The kinds of right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A code of the app.
    Code,
    /// A recovery code.
    RecoveryCode,
    /// The bypass code.
    BypassCode,
    /// This security key.
    Key(Id),
}

/// Why an answer is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is bound, or not any more.
    NotBound,
    /// Security keys are bound, and this is no recovery code.
    NoRecoveryCode,
    /// It has the form of a recovery code and is none.
    WrongRecoveryCode,
    /// That recovery code was used.
    RecoveryCodeUsed,
    /// That bypass code has run out.
    BypassOver,
    /// No code is judged now.
    Locked(Lock),
    /// It does not have the form of a code, which has this many digits. It is not counted as a guess.
    NotACode(u8),
    /// That code was used, or one after it.
    CodeUsed,
    /// This host's clock was ahead when a code was accepted: codes are accepted again in so many seconds.
    ClockWasAhead(u64, WayOut),
    /// The code is wrong, and counted.
    WrongCode {
        /// How many seconds the device's clock seems to be ahead, if that was found and may be told. 0: it is right, but
        /// its codes are expected by the time that was learned when it was off.
        offset: Option<i64>,
        /// The lock that this wrong code has caused.
        lock: Option<Lock>,
        /// What is accepted in place of a code.
        way_out: WayOut,
    },
    /// That key is not bound any more.
    KeyGone,
    /// The answer of the key is not good.
    BadAnswer(Refused),
    /// The counter of this key went back.
    CounterBack(Id, Refused),
}

/// A lock that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The time at which this was judged, in seconds since 1970.
    pub now: u64,
    /// Until then, in seconds since 1970.
    pub until: u64,
    /// What is accepted meanwhile.
    pub way_out: WayOut,
}

/// Whether a recovery code is left. It is accepted during a lock, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// A recovery code is left.
    RecoveryCode,
    /// No recovery code is left.
    None,
}

/// What was proved before a change, and about which binding. It holds only as long as the record has all that was seen
/// then. For a user with a device, only a judgement or root's word makes one that is enough.
#[derive(Clone)]
pub struct Proved {
    pub(crate) seen: Seen,
    pub(crate) by: ProvedBy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProvedBy {
    /// The possession of the device, or a recovery code.
    Device,
    /// No device: enough only if none is bound.
    Nothing,
    /// root asks for it.
    Root,
}

impl Proved {
    /// root asks for a change of what it has seen.
    pub fn by_root(seen: &Seen) -> Proved {
        Proved { seen: seen.clone(), by: ProvedBy::Root }
    }

    /// Nothing was bound, so there was no device to prove.
    pub fn nothing_bound(seen: &Seen) -> Proved {
        Proved { seen: seen.clone(), by: ProvedBy::Nothing }
    }

    /// Whether an app that waits may be shown or bound by it. The record drops such an app with the device that it was
    /// begun over, so for root it is enough that it is there. A login must still have its proof, because the invitation
    /// may have been used up or withdrawn.
    pub(crate) fn holds_for_waiting(&self, now: &Seen) -> bool {
        self.by == ProvedBy::Root || self.holds(now)
    }

    /// Whether it still holds and is enough: if a device is bound, that device, or root, has to have proved it.
    pub fn holds(&self, now: &Seen) -> bool {
        self.seen.is_in(now) && (self.by != ProvedBy::Nothing || now.binding == Id::default())
    }
}

/// The judgement, and the state that must be on disk before it is told; otherwise a code could be used twice.
type Judgement = (Judged, Option<State>);

fn not(why: Why) -> Judgement {
    (Judged::Not(why), None)
}

/// Judges an answer.
pub fn judge(record: &Record, by: By, rules: &Rules, now: u64, answer: &Answer) -> Judgement {
    let judging = |bound| Judging { record, bound, by, rules, now };
    match (answer, &record.credentials) {
        (Answer::Signed { .. } | Answer::BySshd(_), None) => not(Why::KeyGone),
        (_, None) => not(Why::NotBound),
        (Answer::Typed(typed), Some(bound)) => judging(bound).typed(typed),
        (Answer::Signed { key, signed, hash }, Some(bound)) => judging(bound).signed(*key, signed, hash),
        (Answer::BySshd(key), Some(bound)) => judging(bound).by_sshd(*key),
    }
}

/// What an invitation proves, if this is its code and it is still good. A code has 80 bits, so no guess is counted. The
/// binding uses it up.
pub fn invited(record: &Record, typed: &Secret, now: u64) -> Option<Proved> {
    let invitation = &record.state.invitation;
    let is_right = invitation.is_good(now) && recovery::Code::parse(typed).is_some_and(|code| invitation.is(&code));
    is_right.then(|| Proved::nothing_bound(&Seen::of(record)))
}

/// What an answer is judged by.
#[derive(Clone, Copy)]
struct Judging<'a> {
    record: &'a Record,
    bound: &'a Credentials,
    by: By<'a>,
    rules: &'a Rules,
    now: u64,
}

impl Judging<'_> {
    fn typed(self, typed: &Secret) -> Judgement {
        // Also during a lock: nobody guesses 80 bits, and an attacker who keeps the lock up must not keep the owner out.
        if let Some(code) = recovery::Code::parse(typed) {
            return match self.by.bypass && self.record.state.bypass.is(&code) {
                true => self.bypass_code(),
                false => self.recovery_code(&code),
            };
        }
        match self.bound.app() {
            Some(app) => self.code(app, typed),
            None => not(Why::NoRecoveryCode),
        }
    }

    fn code(self, app: &App, typed: &Secret) -> Judgement {
        let Judging { record: Record { state, .. }, now, .. } = self;
        let counter = self.by.counter();
        let rule = counter.rule(self.rules.lockout);
        let failures = rule.on_clock(state.failures(counter), now);
        if failures.locked_until > now {
            let locked = Judged::Not(Why::Locked(self.lock(failures.locked_until)));
            // If the clock was set back during a lock, its end is computed anew from the present time.
            let adjusted = failures != state.failures(counter);
            return (locked, adjusted.then(|| state.with_failures(counter, failures)));
        }
        let parameters = app.totp.parameters;
        // By the device's clock, as far as it was learned.
        let now_there = now.saturating_add_signed(state.clock_offset.saturating_mul(parameters.period.cast_signed()));
        let Some(code) = totp::Code::parse(typed, parameters.digits) else {
            return not(Why::NotACode(parameters.digits));
        };
        let (step, window) = (parameters.step(now_there), self.rules.window);
        let spent = totp::Spent { floor: state.last_step, told: state.told };
        match app.totp.find(&code, step.saturating_sub(window), step + window, spent) {
            totp::Match { fresh: Some(step), .. } => {
                let after = State { last_step: step, ..state.clone() };
                self.accepted(Factor::Code, self.remembering(after))
            }
            totp::Match { used: true, .. } if state.last_step > step + window => {
                let again = state.last_step.saturating_add(1).saturating_mul(parameters.period);
                not(Why::ClockWasAhead(again.saturating_sub(now_there), self.way_out()))
            }
            totp::Match { used: true, .. } => not(Why::CodeUsed),
            totp::Match { .. } => {
                let failures = rule.failed(failures, now);
                let found = match self.by.first_factor_known {
                    true => app.totp.nearest(&code, step, REACH / parameters.period),
                    false => None,
                };
                let found = found.filter(|found| may_be_told(*found, step, window, state));
                let told = found.filter(|found| *found > step).unwrap_or(state.told);
                let here = parameters.step(now);
                let apart = |found: u64| match found.abs_diff(here) <= window {
                    true => 0,
                    false => (found as i64 - here as i64) * parameters.period as i64,
                };
                let wrong = Why::WrongCode {
                    offset: found.map(apart),
                    lock: (failures.locked_until > now).then(|| self.lock(failures.locked_until)),
                    way_out: self.way_out(),
                };
                (Judged::Not(wrong), Some(State { told, ..state.with_failures(counter, failures) }))
            }
        }
    }

    fn recovery_code(self, code: &recovery::Code) -> Judgement {
        let (set, state) = (&self.bound.recovery, &self.record.state);
        match set.find(code) {
            None => not(Why::WrongRecoveryCode),
            Some(n) if state.recovery.holds(set, n) => not(Why::RecoveryCodeUsed),
            Some(n) => {
                let after = State { recovery: state.recovery.with(set, n), ..self.unlocked() };
                self.accepted(Factor::RecoveryCode, after)
            }
        }
    }

    /// The code that root has made: good once, and until it runs out.
    fn bypass_code(self) -> Judgement {
        if !self.record.state.bypass.is_good(self.now) {
            return not(Why::BypassOver);
        }
        self.accepted(Factor::BypassCode, State { bypass: OneTime::default(), ..self.unlocked() })
    }

    fn signed(self, id: Id, signed: &Signed, hash: &[u8; 32]) -> Judgement {
        let Some(key) = self.key(id) else { return not(Why::KeyGone) };
        let counter = match key::check(key, signed, hash, self.rules.pin.is_demanded_of(key)) {
            Ok(counter) => counter,
            Err(refused) => return not(Why::BadAnswer(refused)),
        };
        match key::moved_on(self.record.state.keys_used.counter(key), counter) {
            Ok(counter) => self.accepted(Factor::Key(id), self.remembering(self.used(key, counter))),
            Err(back) => not(Why::CounterBack(id, back)),
        }
    }

    /// sshd does not say what the key has counted to.
    fn by_sshd(self, id: Id) -> Judgement {
        let Some(key) = self.key(id) else { return not(Why::KeyGone) };
        let after = State { last_used: self.now, ..self.used(key, self.record.state.keys_used.counter(key)) };
        self.accepted(Factor::Key(id), after)
    }

    fn accepted(self, by: Factor, after: State) -> Judgement {
        let codes = Codes::of(self.bound, &after.recovery);
        let by_device = match by {
            Factor::Code | Factor::RecoveryCode | Factor::Key(_) => ProvedBy::Device,
            // It is root's word for one login.
            Factor::BypassCode => ProvedBy::Nothing,
        };
        let proved = Proved { seen: Seen::of(self.record), by: by_device };
        (Judged::Accepted(Accepted { by, codes, proved }), Some(after))
    }

    /// The state after a right answer of the device: when it was used and, if wanted, a remembered login.
    fn remembering(self, after: State) -> State {
        let remembered = match self.by.remember {
            Some(memory) => after.remembered.with(memory.remembered(self.now)),
            None => after.remembered.clone(),
        };
        State { last_used: self.by.last_used(&after, self.now), remembered, ..after }
    }

    fn used(self, key: &Key, counter: u32) -> State {
        let state = &self.record.state;
        let keys_used = state.keys_used.with(key, counter, self.now, self.bound.keys());
        State { keys_used, ..state.clone() }
    }

    /// Ends the lock but keeps the count of wrong codes.
    fn unlocked(self) -> State {
        let counter = self.by.counter();
        let failures = Failures { locked_until: 0, ..self.record.state.failures(counter) };
        self.record.state.with_failures(counter, failures)
    }

    fn key(&self, id: Id) -> Option<&Key> {
        self.bound.keys().iter().find(|key| key.id == id)
    }

    fn lock(self, until: u64) -> Lock {
        Lock { now: self.now, until, way_out: self.way_out() }
    }

    fn way_out(self) -> WayOut {
        match self.bound.recovery.left(self.record.state.recovery) {
            0 => WayOut::None,
            _ => WayOut::RecoveryCode,
        }
    }
}

/// Whether it may be said that a wrong code is that of step `found`.
///
/// About a past step this gives nothing away: its code is never accepted again. About a future step it tells a guesser
/// which code will be right, and when. So a future step that was told is never accepted, and until it is over no other
/// is told: one number to keep, and the owner loses at most one code.
fn may_be_told(found: u64, present: u64, window: u64, state: &State) -> bool {
    found < present || state.told < present.saturating_sub(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::test_records::{SECRET, app_record, keys_record};
    use crate::record::{Device, Owes};
    use crate::totp::{Algorithm, Parameters, Totp};

    const RULES: Rules = Rules { window: 1, lockout: Lockout { after: 5, first: 60, cap: 14_400 }, pin: Pin::IfSet };
    const BY: By<'static> = By { way: Way::Login, first_factor_known: true, bypass: true, remember: None };

    /// RFC 4226, appendix D: the code of this key at step 5.
    const RIGHT: &[u8] = b"254676";

    /// Nothing that is wrong may be written as if it were right, for any answer to any record.
    #[test]
    fn a_refusal_writes_no_more_than_failures_and_a_told_step() {
        let typed =
            ["000000", "12345", "aaaa-bbbb-cccc-dddd", "", "\u{0}", "254676254676"].map(|typed| typed.as_bytes());
        for typed in typed {
            for record in [app_record(), keys_record(&[1, 2])] {
                let typed = Secret::copy_of(typed);
                assert!(invited(&record, &typed, 165).is_none());
                for answer in [Answer::Typed(&typed), Answer::BySshd(Id([9; 16]))] {
                    let (judged, after) = judge(&record, BY, &RULES, 165, &answer);
                    assert!(matches!(judged, Judged::Not(_)));
                    let after = after.unwrap_or(record.state.clone());
                    let State { failures, told, .. } = after;
                    assert_eq!(after, State { failures, told, ..record.state.clone() });
                }
            }
        }
    }

    #[test]
    fn a_right_code_moves_the_step_on_and_proves_the_device() {
        let record = app_record();
        let typed = Secret::copy_of(RIGHT);
        let (judged, after) = judge(&record, BY, &RULES, 165, &Answer::Typed(&typed));
        let Judged::Accepted(accepted) = judged else { panic!("refused") };
        assert_eq!((accepted.by, after.map(|after| after.last_step)), (Factor::Code, Some(5)));
        assert!(accepted.proved.holds(&Seen::of(&record)));
    }

    #[test]
    fn a_bypass_code_lets_in_and_proves_no_device() {
        let (set, shown) = recovery::Set::make(1, |bytes| -> Result<(), ()> {
            bytes.fill(7);
            Ok(())
        })
        .unwrap();
        let mut record = app_record();
        record.state.bypass = OneTime { set, expires: 166 };
        let (judged, _) = judge(&record, BY, &RULES, 165, &Answer::Typed(&shown[0]));
        let Judged::Accepted(accepted) = judged else { panic!("refused") };
        assert_eq!(accepted.by, Factor::BypassCode);
        assert!(!accepted.proved.holds(&Seen::of(&record)));
    }

    /// If the owner unbinds a key that a thief has used as a proof, that proof is void.
    #[test]
    fn a_proof_holds_as_long_as_all_keys_are_there_that_were() {
        let proved = |by| Proved { seen: Seen::of(&keys_record(&[1, 2])), by };
        let holds = |record: &Record| proved(ProvedBy::Device).holds(&Seen::of(record));
        assert!(holds(&keys_record(&[1, 2])) && holds(&keys_record(&[2, 1, 3])), "one more takes nothing back");
        assert!(!holds(&keys_record(&[1])) && !holds(&keys_record(&[2, 3])), "a key is gone");
        let changed = |change: fn(&mut Credentials)| {
            let mut record = keys_record(&[1, 2]);
            record.credentials.iter_mut().for_each(change);
            record
        };
        assert!(!holds(&changed(|bound| bound.id = Id([7; 16]))), "another binding");
        assert!(!holds(&changed(|bound| bound.recovery.id = Id([7; 16]))), "other recovery codes");
        assert!(!proved(ProvedBy::Nothing).holds(&Seen::of(&keys_record(&[1, 2]))), "a bound device has to be proved");
        assert!(proved(ProvedBy::Root).holds(&Seen::of(&keys_record(&[1, 2]))));
    }

    /// Where nothing is bound, an invitation that was used up or withdrawn, and a device that another login has bound, end
    /// what was begun before.
    #[test]
    fn a_permission_to_bind_ends_with_the_invitation_it_came_by() {
        let record = |invitation: u8| {
            let mut record = Record { credentials: None, ..app_record() };
            let set = recovery::Set { id: Id([invitation; 16]), hashes: vec![[1; 32]] };
            record.state.invitation = OneTime { set, expires: 1000 };
            record
        };
        let proved = Proved::nothing_bound(&Seen::of(&record(1)));
        assert!(proved.holds(&Seen::of(&record(1))));
        assert!(!proved.holds(&Seen::of(&record(2))) && !proved.holds(&Seen::of(&app_record())));
        let mut owes = record(1);
        owes.state.owes = Owes::Anywhere;
        owes.state.failures.forgotten = 1;
        assert!(proved.holds(&Seen::of(&owes)), "attempts change nothing");
    }

    #[test]
    fn a_code_is_looked_for_in_the_parameters_of_its_binding() {
        let mut record = app_record();
        let parameters = Parameters::checked(Algorithm::Sha256, 8, 60).unwrap();
        let totp = Totp::new(parameters, Secret::copy_of(SECRET)).unwrap();
        let device = Device::App(App { label: String::new(), totp, burnt: [0, 1] });
        record.credentials = record.credentials.map(|bound| Credentials { device, ..bound });
        let typed = Secret::copy_of(b"254676");
        let (judged, _) = judge(&record, BY, &RULES, 165, &Answer::Typed(&typed));
        assert!(matches!(judged, Judged::Not(Why::NotACode(8))));
    }
}
