//! One-time codes of an authenticator app (RFC 6238 over RFC 4226).

use std::fmt;

use data_encoding::BASE32_NOPAD;
use mfa_wire::Secret;

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The only hash that every app supports.
    Sha1,
    /// RFC 6238 section 1.2.
    Sha256,
    /// RFC 6238 section 1.2.
    Sha512,
}

impl Algorithm {
    /// The algorithm with this name in an `otpauth://` address.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|a| a.name() == name)
    }

    /// Its name in an `otpauth://` address and in `mfa.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
            Algorithm::Sha512 => "SHA512",
        }
    }

    /// The length of a new key in bytes: that of the hash (RFC 4226 section 4, RFC 6238 section 5.1).
    pub fn key_length(self) -> usize {
        match self {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What app and host must agree on besides the key. A binding keeps the parameters that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The hash.
    pub algorithm: Algorithm,
    /// Digits of a code: 6, 7 or 8.
    pub digits: u8,
    /// Seconds of a step: 15 to 300.
    pub period: u64,
}

impl Parameters {
    /// The parameters that nearly every app assumes.
    pub const DEFAULT: Parameters = Parameters { algorithm: Algorithm::Sha1, digits: 6, period: 30 };

    /// `None` when a number is out of its range (RFC 4226 section 5.3 for the digits).
    pub fn checked(algorithm: Algorithm, digits: u64, period: u64) -> Option<Parameters> {
        let digits = u8::try_from(digits).ok().filter(|d| (6..=8).contains(d))?;
        (15..=300).contains(&period).then_some(Parameters { algorithm, digits, period })
    }

    /// The step at `time`, in seconds since 1970.
    pub fn step(&self, time: u64) -> u64 {
        time / self.period
    }
}

/// An authenticator app's key with its parameters.
pub struct Totp {
    /// The parameters.
    pub parameters: Parameters,
    key: Secret,
    inner: totp_rs::Totp,
}

/// The steps whose code equals the one that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The lowest such step that is not spent.
    pub fresh: Option<u64>,
    /// Whether such a step is spent: this code or a later one was used, or the code was revealed.
    pub used: bool,
}

/// The steps whose codes are no longer accepted.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// This one and all before it.
    pub floor: u64,
    /// And this one.
    pub told: u64,
}

impl Spent {
    /// Nothing is spent. (No clock shows step 0.)
    pub const NOTHING: Spent = Spent { floor: 0, told: 0 };

    fn holds(self, step: u64) -> bool {
        // Both comparisons are always made, so that the time does not tell which one matched.
        (step <= self.floor) | (step == self.told)
    }
}

/// The last step that is looked at; beyond it the library's arithmetic would overflow.
const LAST_STEP: u64 = u32::MAX as u64;

impl Totp {
    /// `None` for a key shorter than the 128 bits of RFC 4226 section 4 R6, or longer than 1024.
    pub fn new(parameters: Parameters, key: Secret) -> Option<Totp> {
        if !(16..=128).contains(&key.bytes().len()) {
            return None;
        }
        let algorithm = match parameters.algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        };
        let inner = totp_rs::Builder::new()
            .with_secret(totp_rs::Secret::from(key.bytes()))
            .with_algorithm(algorithm)
            .with_digits(parameters.digits)
            .with_skew(0)
            .with_step_duration(parameters.period)
            .build()
            .ok()?;
        Some(Totp { parameters, key, inner })
    }

    /// A copy, of the same key.
    pub fn copy(&self) -> Totp {
        let key = Secret::copy_of(self.key.bytes());
        Totp { parameters: self.parameters, key, inner: self.inner.clone() }
    }

    /// The same key with other parameters.
    pub fn with(&self, parameters: Parameters) -> Option<Totp> {
        Totp::new(parameters, Secret::copy_of(self.key.bytes()))
    }

    /// The key in base32, for typing by hand.
    pub fn key_base32(&self) -> Secret {
        let mut text = Secret::zeroed(BASE32_NOPAD.encode_len(self.key.bytes().len()));
        BASE32_NOPAD.encode_mut(self.key.bytes(), text.bytes_mut());
        text
    }

    /// The address that an app scans:
    /// `otpauth://totp/ISSUER:ACCOUNT?secret=KEY&issuer=ISSUER`, and the parameters that are not the
    /// default (a shorter address makes a smaller picture).
    pub fn uri(&self, issuer: &str, account: &str) -> Secret {
        let (issuer, account) = (percent(issuer), percent(account));
        let Parameters { algorithm, digits, period } = self.parameters;
        let mut extra = String::new();
        if algorithm != Parameters::DEFAULT.algorithm {
            extra.push_str(&format!("&algorithm={algorithm}"));
        }
        if digits != Parameters::DEFAULT.digits {
            extra.push_str(&format!("&digits={digits}"));
        }
        if period != Parameters::DEFAULT.period {
            extra.push_str(&format!("&period={period}"));
        }
        let head = format!("otpauth://totp/{issuer}:{account}?secret=");
        let tail = format!("&issuer={issuer}{extra}");
        let key = self.key_base32();
        let mut uri = Secret::with_capacity(head.len() + key.bytes().len() + tail.len());
        let fits = uri.append(head.as_bytes()) && uri.append(key.bytes()) && uri.append(tail.as_bytes());
        debug_assert!(fits, "the capacity is the sum of the parts");
        uri
    }

    /// Whether `code` is the code of `step`. Compares in constant time.
    pub fn is(&self, code: &Code, step: u64) -> bool {
        step <= LAST_STEP && self.inner.check(code.text(), step * self.parameters.period).is_some()
    }

    /// Compares `code` with the codes of every step from `first` to `last`.
    ///
    /// Takes the same time whichever step matches, and also if none does.
    pub fn find(&self, code: &Code, first: u64, last: u64, spent: Spent) -> Match {
        let mut found = Match { fresh: None, used: false };
        for step in first..=last {
            // No early end: the time must not tell which step matched.
            let equal = self.is(code, step);
            found.used |= equal & spent.holds(step);
            if equal & !spent.holds(step) & found.fresh.is_none() {
                found.fresh = Some(step);
            }
        }
        found
    }

    /// The step nearest to `present` whose code this is, at most `reach` steps away.
    pub fn nearest(&self, code: &Code, present: u64, reach: u64) -> Option<u64> {
        let steps = present.saturating_sub(reach)..=present.saturating_add(reach);
        steps.filter(|step| self.is(code, *step)).min_by_key(|step| step.abs_diff(present))
    }
}

/// A code as the person entered it, in the right form.
pub struct Code(Secret);

impl Code {
    /// Spaces are dropped, because apps show `492 039`. `None` if the rest is not exactly `digits` ASCII digits; such
    /// an answer does not count as a guess.
    pub fn parse(answer: &Secret, digits: u8) -> Option<Code> {
        let mut code = Secret::with_capacity(usize::from(digits));
        for byte in answer.bytes().iter().filter(|b| !b" \t\r\n".contains(b)) {
            if !byte.is_ascii_digit() || !code.append(&[*byte]) {
                return None;
            }
        }
        (code.bytes().len() == usize::from(digits)).then_some(Code(code))
    }

    fn text(&self) -> &str {
        self.0.text().unwrap_or_default()
    }

    /// Whether both are the same digits.
    pub fn same(&self, other: &Code) -> bool {
        self.0.bytes() == other.0.bytes()
    }
}

/// RFC 3986 percent-encoding of everything but the unreserved characters.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(algorithm: Algorithm, digits: u64, key: &[u8]) -> Totp {
        let parameters = Parameters::checked(algorithm, digits, 30).unwrap();
        Totp::new(parameters, Secret::copy_of(key)).unwrap()
    }

    fn code(text: &str, digits: u8) -> Code {
        Code::parse(&Secret::copy_of(text.as_bytes()), digits).unwrap()
    }

    /// RFC 6238, appendix B.
    #[test]
    fn rfc_6238_vectors() {
        let seed = b"1234567890123456789012345678901234567890123456789012345678901234";
        let table = [
            (59, "94287082", "46119246", "90693936"),
            (1111111109, "07081804", "68084774", "25091201"),
            (1111111111, "14050471", "67062674", "99943326"),
            (1234567890, "89005924", "91819424", "93441116"),
            (2000000000, "69279037", "90698825", "38618901"),
            (20000000000, "65353130", "77737706", "47863826"),
        ];
        for (time, sha1, sha256, sha512) in table {
            for (algorithm, length, expected) in
                [(Algorithm::Sha1, 20, sha1), (Algorithm::Sha256, 32, sha256), (Algorithm::Sha512, 64, sha512)]
            {
                let app = app(algorithm, 8, &seed[..length]);
                let step = time / 30;
                let found = app.find(&code(expected, 8), step, step, Spent::NOTHING);
                assert_eq!(found.fresh, Some(step), "{algorithm} at {time}");
            }
        }
    }

    #[test]
    fn a_step_at_or_below_the_floor_is_used_not_fresh() {
        let app = app(Algorithm::Sha1, 8, b"12345678901234567890");
        let first = code("94287082", 8);
        let used_up_to = |floor| Spent { floor, told: 0 };
        assert_eq!(app.find(&first, 0, 2, Spent::NOTHING), Match { fresh: Some(1), used: false });
        assert_eq!(app.find(&first, 0, 2, used_up_to(1)), Match { fresh: None, used: true });
        assert_eq!(app.find(&first, 2, 4, Spent::NOTHING), Match { fresh: None, used: false });
    }

    #[test]
    fn a_step_that_was_told_is_used_and_no_other() {
        let app = app(Algorithm::Sha1, 8, b"12345678901234567890");
        let first = code("94287082", 8);
        let told = |told| Spent { floor: 0, told };
        assert_eq!(app.find(&first, 0, 2, told(1)), Match { fresh: None, used: true });
        assert_eq!(app.find(&first, 0, 2, told(2)), Match { fresh: Some(1), used: false });
    }

    #[test]
    fn the_nearest_step_is_found_within_reach_only() {
        let app = app(Algorithm::Sha1, 8, b"12345678901234567890");
        let first = code("94287082", 8);
        assert_eq!(app.nearest(&first, 21, 20), Some(1));
        assert_eq!(app.nearest(&first, 22, 20), None);
        assert_eq!(app.nearest(&first, 0, 20), Some(1));
        assert_eq!(app.nearest(&first, u64::MAX, 20), None);
    }

    #[test]
    fn the_form_of_a_code() {
        let parse = |text: &str| Code::parse(&Secret::copy_of(text.as_bytes()), 6).is_some();
        assert!(parse("492039"));
        assert!(parse(" 492 039 "));
        for wrong in ["", "49203", "4920391", "49203a", "+92039", "-92039", "４９２０３９", "492039\0", "٤٩٢٠٣٩"]
        {
            assert!(!parse(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn the_address_leaves_out_what_apps_assume() {
        let key = b"12345678901234567890";
        let address = |totp: &Totp, issuer, account| totp.uri(issuer, account).text().map(str::to_owned);
        assert_eq!(
            address(&app(Algorithm::Sha1, 6, key), "Müller & Söhne", "o'neil@x").as_deref(),
            Some(
                "otpauth://totp/M%C3%BCller%20%26%20S%C3%B6hne:o%27neil%40x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
                 &issuer=M%C3%BCller%20%26%20S%C3%B6hne"
            )
        );
        let other = Totp::new(
            Parameters::checked(Algorithm::Sha256, 8, 60).unwrap(),
            Secret::copy_of(b"12345678901234567890123456789012"),
        );
        assert_eq!(
            address(&other.unwrap(), "web1", "alice").as_deref(),
            Some(
                "otpauth://totp/web1:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA\
                 &issuer=web1&algorithm=SHA256&digits=8&period=60"
            )
        );
    }

    #[test]
    fn a_clock_gone_mad_finds_nothing_and_does_not_overflow() {
        let app = app(Algorithm::Sha1, 6, b"12345678901234567890");
        let found = app.find(&code("000000", 6), u64::MAX - 2, u64::MAX, Spent::NOTHING);
        assert_eq!(found, Match { fresh: None, used: false });
    }

    #[test]
    fn short_keys_are_refused() {
        assert!(Totp::new(Parameters::DEFAULT, Secret::copy_of(b"123456789012345")).is_none());
    }
}
