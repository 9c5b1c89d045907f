//! Chance, the same for the same seed.

use std::hash::{BuildHasher, RandomState};

/// splitmix64, in which near seeds have nothing in common.
pub struct Chance {
    state: u64,
    /// Half of the hosts are nearly as their distribution ships them: where little is odd, more of it can be seen.
    calm: bool,
}

impl Chance {
    pub fn of(seed: u64) -> Self {
        let mut chance = Self { state: seed, calm: false };
        chance.calm = chance.is(50);
        chance
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// True in so many of a hundred cases.
    pub fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// The same of what is odd: in so many of a hundred cases, and in fewer in calm hosts.
    pub fn odd(&mut self, percent: usize) -> bool {
        let percent = if self.calm { percent / 4 } else { percent };
        self.is(percent)
    }

    /// Some of these, in their order.
    pub fn some<'a>(&mut self, of: &[&'a str], percent: usize) -> Vec<&'a str> {
        of.iter().copied().filter(|_| self.is(percent)).collect()
    }
}

/// The hosts of each change are always the same, so that a change is judged by itself; `make generated` looks at new ones.
const USUAL: u64 = 14;

/// `MFA_TEST_HOSTS`: `new`, or the seed that was printed.
pub fn seed() -> u64 {
    match std::env::var("MFA_TEST_HOSTS").as_deref() {
        Err(_) => USUAL,
        Ok("new") => RandomState::new().hash_one(0) >> 32,
        Ok(seed) => seed.parse().expect("MFA_TEST_HOSTS is a number, or new"),
    }
}
