//! The two consecutive codes of a binding, which prove that the app has the key and a clock.

use std::cmp::Ordering;

use mfa_wire::Secret;

use crate::totp::{Code, Totp};

/// How far from now codes are searched, in seconds. Only to say how old they are, not to accept them.
const SEARCH: u64 = 4 * 3600;

/// Two consecutive codes, both found.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    /// The step of the first code.
    pub first: u64,
    /// How far the app's clock is from ours, in seconds; a multiple of the period.
    pub offset: i64,
}

/// One of the two codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The code that was asked for first.
    First,
    /// The code that was asked for second.
    Second,
}

/// Which rule two codes broke.
#[derive(Debug, PartialEq, Eq)]
pub enum PairError {
    /// This one does not have the form of a code, which has this many digits.
    Form(Which, u8),
    /// Both are the same code; a code lasts this many seconds.
    Same(u64),
    /// The second code comes before the first.
    Order,
    /// Both are right, but not consecutive.
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

impl Pair {
    /// Looks for two consecutive steps with these codes. Only steps within the window are accepted; steps further
    /// away are searched only to say what is wrong.
    pub fn find(totp: &Totp, first: &Secret, second: &Secret, now: u64, window: u64) -> Result<Pair, PairError> {
        let parameters = totp.parameters;
        let present = parameters.step(now);
        let step = consecutive(totp, first, second, present, SEARCH)?;
        let away = (step + 1).abs_diff(present);
        match (step + 1).cmp(&present) {
            _ if away <= window => {
                let offset = (step + 1) as i64 - present as i64;
                Ok(Pair { first: step, offset: offset * parameters.period as i64 })
            }
            Ordering::Less => Err(PairError::Old(away * parameters.period)),
            _ => Err(PairError::Ahead(away * parameters.period)),
        }
    }
}

/// The step of the first of two consecutive codes: the pair nearest to `present`, at most `reach` steps away.
pub fn consecutive(totp: &Totp, first: &Secret, second: &Secret, present: u64, reach: u64) -> Result<u64, PairError> {
    let parameters = totp.parameters;
    let parse = |code, which| Code::parse(code, parameters.digits).ok_or(PairError::Form(which, parameters.digits));
    let (first, second) = (parse(first, Which::First)?, parse(second, Which::Second)?);
    if first.same(&second) {
        return Err(PairError::Same(parameters.period));
    }
    let reach = reach / parameters.period;
    let steps = present.saturating_sub(reach)..=present + reach;
    let firsts: Vec<u64> = steps.clone().filter(|step| totp.is(&first, *step)).collect();
    let seconds: Vec<u64> = steps.filter(|step| totp.is(&second, *step)).collect();
    let follow = |step: &&u64| seconds.contains(&(**step + 1));
    let nearest = firsts.iter().filter(follow).min_by_key(|step| (**step + 1).abs_diff(present));
    nearest.copied().ok_or(match (firsts.is_empty(), seconds.is_empty()) {
        (false, false) if seconds.iter().any(|step| firsts.contains(&(step + 1))) => PairError::Order,
        (false, false) => PairError::Gap,
        (false, true) => PairError::SecondWrong,
        (true, false) => PairError::FirstWrong,
        (true, true) => PairError::Wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::totp::{Algorithm, Parameters};

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
        Pair::find(&app(), &Secret::copy_of(a.as_bytes()), &Secret::copy_of(b.as_bytes()), present * 30, 1)
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
        assert_eq!(pair("12345", CODES[5], 5), Err(PairError::Form(Which::First, 6)));
        assert_eq!(pair(CODES[4], "abcdef", 5), Err(PairError::Form(Which::Second, 6)));
        assert_eq!(pair(CODES[0], CODES[1], NOW / 30), Err(PairError::Wrong), "far out of reach");
    }
}
