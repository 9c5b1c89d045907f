//! The two consecutive codes of a binding, which prove that the app has the key and a clock.

use std::cmp::Ordering;

use mfa_wire::Secret;

use crate::totp::{Code, Parameters, Totp};

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
    /// The app has the key, and makes its codes by these parameters and not by those that it was given.
    Ignored {
        /// The app goes by these.
        made: Parameters,
        /// It was given these.
        given: Parameters,
    },
}

impl Pair {
    /// Looks for two consecutive steps with these codes. Only steps within the window are accepted; steps further
    /// away are searched only to say what is wrong.
    pub fn find(totp: &Totp, first: &Secret, second: &Secret, now: u64, window: u64) -> Result<Pair, PairError> {
        let parameters = totp.parameters;
        let present = parameters.step(now);
        let step = consecutive(totp, first, second, present, SEARCH).map_err(|error| match error {
            PairError::Wrong | PairError::Form(..) | PairError::FirstWrong | PairError::SecondWrong => {
                ignored(totp, first, second, now).unwrap_or(error)
            }
            error => error,
        })?;
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

/// What is wrong, if the app goes by the defaults in place of some of its parameters. Many apps read no other algorithm
/// from the picture, or no other number of digits or seconds, and say nothing.
///
/// Such an app is not bound by what it really does: the policy asks for more, and nobody would notice that its devices
/// are weaker. The person is told; root can choose parameters that every app obeys.
fn ignored(totp: &Totp, first: &Secret, second: &Secret, now: u64) -> Option<PairError> {
    let (given, default) = (totp.parameters, Parameters::DEFAULT);
    for algorithm in [given.algorithm, default.algorithm] {
        for digits in [given.digits, default.digits] {
            for period in [given.period, default.period] {
                let made = Parameters { algorithm, digits, period };
                if made == given {
                    continue;
                }
                let other = totp.with(made)?;
                if consecutive(&other, first, second, made.step(now), SEARCH).is_ok() {
                    return Some(PairError::Ignored { made, given });
                }
            }
        }
    }
    None
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

    /// Each parameter that an app may ignore, alone and together, and a key that is not this one.
    #[test]
    fn an_app_that_ignores_its_parameters_is_told_from_a_wrong_key() {
        let given = Parameters::checked(Algorithm::Sha256, 8, 60).unwrap();
        let host = app().with(given).unwrap();
        let key = || Secret::copy_of(b"12345678901234567890");
        let judged = |made: Parameters, key: Secret, host: &Totp| {
            let code = |step: u64| totp_rs_code(made, &key, step * made.period);
            let step = made.step(NOW);
            Pair::find(host, &code(step - 1), &code(step), NOW, 1)
        };
        for algorithm in [Algorithm::Sha256, Algorithm::Sha1] {
            for digits in [8, 6] {
                for period in [60, 30] {
                    let made = Parameters::checked(algorithm, digits, period).unwrap();
                    let expected = match made == given {
                        true => Ok(Pair { first: given.step(NOW) - 1, offset: 0 }),
                        false => Err(PairError::Ignored { made, given }),
                    };
                    assert_eq!(judged(made, key(), &host), expected, "{made:?}");
                }
            }
        }
        let other = Secret::copy_of(b"12345678901234567891");
        assert_eq!(judged(given, other, &host), Err(PairError::Wrong));
        let other = Secret::copy_of(b"12345678901234567891");
        assert_eq!(judged(Parameters::DEFAULT, other, &app()), Err(PairError::Wrong), "nothing to ignore");
    }

    /// The code of this key at `time`, by the library itself.
    fn totp_rs_code(parameters: Parameters, key: &Secret, time: u64) -> Secret {
        let algorithm = match parameters.algorithm {
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            _ => totp_rs::Algorithm::SHA1,
        };
        let totp = totp_rs::Builder::new()
            .with_secret(totp_rs::Secret::from(key.bytes()))
            .with_algorithm(algorithm)
            .with_digits(parameters.digits)
            .with_skew(0)
            .with_step_duration(parameters.period)
            .build()
            .unwrap();
        Secret::copy_of(totp.generate(time).to_string().as_bytes())
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
