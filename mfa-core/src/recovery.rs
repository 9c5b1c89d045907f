//! Recovery codes, for a user who has lost the device. Each has 80 bits, is good once, is shown once and is kept as a
//! hash.

use data_encoding::BASE32_NOPAD;
use mfa_wire::Secret;
use sha2::{Digest, Sha256};

use crate::Id;

/// The number of bytes of a code. 80 bits cannot be guessed, so recovery codes work during a lock, and a fast hash is
/// enough.
const BYTES: usize = 10;

/// The number of base32 symbols of a code (RFC 4648 section 6).
const SYMBOLS: usize = BYTES * 8 / 5;

/// The most codes of one set: 64 bits hold which ones are used.
pub const MOST: u64 = 50;

/// The set of codes that belongs to a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Identifies the set and salts its hashes. Nil if there is none.
    pub id: Id,
    /// The hashes of the codes.
    pub hashes: Vec<[u8; 32]>,
}

/// Which codes of which set are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The set that this is about.
    pub set: Id,
    /// One bit for each code.
    pub codes: u64,
}

/// A code as the person entered it, in the right form.
pub struct Code(Secret);

impl Set {
    /// Makes `count` codes from `random`. Returns the set to keep and the codes to show. Fails only if `random`
    /// fails.
    pub fn make<E>(count: u64, random: impl Fn(&mut [u8]) -> Result<(), E>) -> Result<(Set, Vec<Secret>), E> {
        let mut set = Set::default();
        if count == 0 {
            return Ok((set, Vec::new()));
        }
        random(&mut set.id.0)?;
        let mut shown = Vec::new();
        for _ in 0..count.min(MOST) {
            let mut code = Code(Secret::zeroed(BYTES));
            random(code.0.bytes_mut())?;
            set.hashes.push(set.hash(&code));
            shown.push(code.shown());
        }
        Ok((set, shown))
    }

    /// The number of the code in the set. Takes the same time for every code of the set, and if it is not in the set.
    pub fn find(&self, code: &Code) -> Option<usize> {
        let hash = self.hash(code);
        let mut found = None;
        for (n, kept) in self.hashes.iter().enumerate() {
            // No early end, neither here nor inside: the time must not tell which code matched, or how much of it.
            if std::hint::black_box(kept.iter().zip(hash).fold(0, |differing, (a, b)| differing | (a ^ b))) == 0 {
                found = Some(n);
            }
        }
        found
    }

    /// How many codes are left.
    pub fn left(&self, used: Used) -> u32 {
        let used = if used.set == self.id { used.codes.count_ones() } else { 0 };
        (self.hashes.len() as u32).saturating_sub(used)
    }

    fn hash(&self, code: &Code) -> [u8; 32] {
        Sha256::new().chain_update(self.id.0).chain_update(code.0.bytes()).finalize().into()
    }
}

impl Used {
    /// Whether code number `n` of `set` is used.
    pub fn holds(self, set: &Set, n: usize) -> bool {
        self.set == set.id && self.codes & (1 << n) != 0
    }

    /// A copy in which code number `n` of `set` is used too. Used codes of another set are forgotten.
    pub fn with(self, set: &Set, n: usize) -> Used {
        let before = if self.set == set.id { self.codes } else { 0 };
        Used { set: set.id, codes: before | (1 << n) }
    }
}

impl Code {
    /// Accepts small letters and capitals, with or without dashes and spaces. `0`, `1` and `8` are not base32
    /// symbols, so they are read as the letters that they look like.
    pub fn parse(answer: &Secret) -> Option<Code> {
        let mut symbols = Secret::with_capacity(SYMBOLS);
        for byte in answer.bytes().iter().filter(|b| !b" -\t\r\n".contains(b)) {
            let symbol = match byte.to_ascii_uppercase() {
                b'0' => b'O',
                b'1' => b'I',
                b'8' => b'B',
                other => other,
            };
            if !symbols.append(&[symbol]) {
                return None;
            }
        }
        if symbols.bytes().len() != SYMBOLS {
            return None;
        }
        let mut code = Secret::zeroed(BYTES);
        BASE32_NOPAD.decode_mut(symbols.bytes(), code.bytes_mut()).ok()?;
        Some(Code(code))
    }

    /// `abcd-efgh-ijkl-mnop`
    fn shown(&self) -> Secret {
        let mut symbols = Secret::zeroed(SYMBOLS);
        BASE32_NOPAD.encode_mut(self.0.bytes(), symbols.bytes_mut());
        symbols.bytes_mut().make_ascii_lowercase();
        let mut shown = Secret::with_capacity(SYMBOLS + 3);
        for (n, group) in symbols.bytes().chunks(4).enumerate() {
            let _ = (n == 0 || shown.append(b"-")) && shown.append(group);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn counted(buffer: &mut [u8]) -> Result<(), Infallible> {
        use std::sync::atomic::{AtomicU8, Ordering};
        static N: AtomicU8 = AtomicU8::new(0);
        buffer.fill(N.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }

    fn parse(text: &str) -> Option<Code> {
        Code::parse(&Secret::copy_of(text.as_bytes()))
    }

    #[test]
    fn each_code_that_was_shown_is_found_at_its_place_however_it_is_typed() {
        let (set, shown) = Set::make(10, counted).unwrap();
        assert_eq!((set.hashes.len(), shown.len()), (10, 10));
        for (n, code) in shown.iter().enumerate() {
            let code = code.text().unwrap();
            assert_eq!(code.len(), 19, "{code}");
            for typed in [code.to_owned(), code.to_uppercase(), code.replace('-', ""), code.replace('-', " ")] {
                assert_eq!(set.find(&parse(&typed).unwrap()), Some(n), "{typed}");
            }
        }
        assert_eq!(set.find(&parse("aaaa-bbbb-cccc-dddd").unwrap()), None);
    }

    #[test]
    fn the_salt_makes_the_same_code_another_hash() {
        let code = parse("aaaa-bbbb-cccc-dddd").unwrap();
        let one = Set { id: Id([1; 16]), hashes: vec![] };
        let other = Set { id: Id([2; 16]), hashes: vec![] };
        assert_ne!(one.hash(&code), other.hash(&code));
        let known = Sha256::digest([&[1; 16][..], code.0.bytes()].concat());
        assert_eq!(one.hash(&code)[..], known[..]);
    }

    #[test]
    fn digits_that_look_like_letters_are_those_letters() {
        assert_eq!(parse("0187-aaaa-aaaa-aaaa").map(|c| c.0.bytes().to_vec()), {
            parse("oib7-aaaa-aaaa-aaaa").map(|c| c.0.bytes().to_vec())
        });
    }

    #[test]
    fn nothing_else_is_a_recovery_code() {
        for other in
            ["", "492039", "49203912", "aaaa-bbbb-cccc-ddd", "aaaa-bbbb-cccc-dddde", "aaaa-bbbb-cccc-ddd9", "é"]
        {
            assert!(parse(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_was_used_of_another_set_does_not_count() {
        let set = Set { id: Id([1; 16]), hashes: vec![[0; 32]; 10] };
        let used = Used::default().with(&set, 0).with(&set, 9);
        assert!(used.holds(&set, 0) && used.holds(&set, 9) && !used.holds(&set, 1));
        assert_eq!(set.left(used), 8);
        let new = Set { id: Id([2; 16]), ..set };
        assert!(!used.holds(&new, 0));
        assert_eq!(new.left(used), 10);
        assert_eq!(used.with(&new, 3), Used { set: new.id, codes: 8 });
    }
}
