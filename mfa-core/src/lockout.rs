//! How guessing is kept hopeless: after a few wrong codes each further one costs a wait that doubles.
//!
//! Two numbers for each counter, both times. A right code changes neither: were it to forgive, who knows
//! the password would guess on after each login of the owner. What forgives is time, one wrong code per
//! `cap`. The test at the end computes what the rule leaves to an attacker.

/// The rule: `[lockout]` of mfa.toml. Durations in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// So many wrong codes lock.
    pub after: u64,
    /// For so long the first time; each further wrong code doubles it.
    pub first: u64,
    /// The longest lock, and the time after which one wrong code is forgotten.
    pub cap: u64,
}

impl Default for Lockout {
    fn default() -> Self {
        Lockout { after: 5, first: 60, cap: 4 * 3600 }
    }
}

/// Wrong codes of one user by one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// When the last of them will be forgotten, in seconds since 1970. They are forgotten one after
    /// the other, so this says how many there are.
    pub forgotten: u64,
    /// No code is judged before, in seconds since 1970.
    pub locked_until: u64,
}

/// The ways by which codes come, each with failures of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Root's callers: sshd, sudo, su, login.
    Login,
    /// Processes of the user's own, which must not be able to lock their user out of ssh.
    OwnProcess,
}

impl Way {
    /// The rule for this way. For the user's own processes all of it takes twice as long: they are
    /// another way to guess, and both together have to be hopeless.
    pub fn rule(self, lockout: Lockout) -> Lockout {
        match self {
            Way::Login => lockout,
            Way::OwnProcess => Lockout { first: lockout.first * 2, cap: lockout.cap * 2, ..lockout },
        }
    }
}

impl Lockout {
    /// The failures after one more at `now`, which must not be locked.
    pub fn failed(self, failures: Failures, now: u64) -> Failures {
        let left = (failures.forgotten.saturating_sub(now)).min(self.cap * (self.most() - 1));
        let forgotten = now + left + self.cap;
        Failures { forgotten, locked_until: now + self.wait((left + self.cap).div_ceil(self.cap)) }
    }

    /// The failures as they count at `now`. Those from before the clock was set back would lock until it
    /// gets there again.
    pub fn on_clock(self, failures: Failures, now: u64) -> Failures {
        Failures {
            forgotten: failures.forgotten.min(now + self.cap * self.most()),
            locked_until: failures.locked_until.min(now + self.cap),
        }
    }

    /// The wait after so many failures.
    fn wait(self, failures: u64) -> u64 {
        match failures.checked_sub(self.after) {
            None => 0,
            Some(doublings @ 0..32) => (self.first << doublings).min(self.cap),
            Some(_) => self.cap,
        }
    }

    /// The number of failures from which on the wait grows no more; no more are remembered, or who was
    /// under attack for a month would have to wait after every slip for another.
    fn most(self) -> u64 {
        self.after + u64::from(self.cap.div_ceil(self.first).next_power_of_two().trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Lockout = Lockout { after: 5, first: 60, cap: 14_400 };
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn the_default_is_the_documented_one() {
        assert_eq!(Lockout::default(), RULE);
    }

    #[test]
    fn five_lock_for_a_minute_and_each_further_doubles_up_to_four_hours() {
        let (mut failures, mut now, mut waits) = (Failures::default(), NOW, Vec::new());
        for _ in 0..15 {
            failures = RULE.failed(failures, now);
            waits.push((failures.locked_until - now) / 60);
            now = failures.locked_until;
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 128, 240, 240], "one is forgotten on the way");
    }

    #[test]
    fn one_is_forgotten_every_four_hours() {
        let mut failures = Failures::default();
        for _ in 0..5 {
            failures = RULE.failed(failures, NOW);
        }
        assert_eq!(failures.forgotten, NOW + 5 * RULE.cap);
        let later = RULE.failed(failures, NOW + RULE.cap);
        assert_eq!(later.locked_until, NOW + RULE.cap + 60, "four and one: locked again");
        let later = RULE.failed(failures, NOW + 2 * RULE.cap);
        assert_eq!(later.locked_until, NOW + 2 * RULE.cap, "three and one: not locked");
    }

    #[test]
    fn a_clock_set_back_locks_for_no_longer_than_the_longest_lock() {
        let far = Failures { forgotten: NOW + 1_000_000_000, locked_until: NOW + 1_000_000_000 };
        let counted = RULE.on_clock(far, NOW);
        assert_eq!(counted, Failures { forgotten: NOW + 13 * RULE.cap, locked_until: NOW + RULE.cap });
        let usual = Failures { forgotten: NOW + RULE.cap, locked_until: NOW + 60 };
        assert_eq!(RULE.on_clock(usual, NOW), usual);
    }

    #[test]
    fn no_setting_overflows() {
        let widest = Way::OwnProcess.rule(Lockout { after: 100, first: 1, cap: 365 * 86_400 });
        let mut failures = Failures { forgotten: u64::MAX, locked_until: u64::MAX };
        for _ in 0..200 {
            failures = widest.failed(widest.on_clock(failures, NOW), NOW);
        }
        assert_eq!(failures.locked_until, NOW + widest.cap);
        assert_eq!(Lockout { after: 1, first: 60, cap: 60 }.failed(Failures::default(), NOW).locked_until, NOW + 60);
    }

    /// The most guesses that `rule` leaves in `time` seconds to who may choose the moment of each. Exact: a search
    /// over every minute and every state, in which the waits are the rule's own. All times of the rule are whole
    /// minutes, so guessing between two minutes gains nothing.
    fn most_guesses(rule: Lockout, time: u64) -> u64 {
        let (minutes, states) = ((time / 60) as usize, (rule.cap * rule.most() / 60) as usize + 1);
        // From what the counter says, in minutes until it is forgotten: what it says when the next guess is due, and
        // how many minutes after this one that is.
        let guess: Vec<(usize, usize)> = (0..states)
            .map(|left| {
                let failures = rule.failed(Failures { forgotten: NOW + 60 * left as u64, locked_until: 0 }, NOW);
                let wait = failures.locked_until - NOW;
                (((failures.forgotten - NOW - wait) / 60) as usize, (wait / 60) as usize)
            })
            .collect();
        // best[t][left]: the most guesses in the last t minutes.
        let mut best: Vec<Vec<u64>> = vec![vec![0; states]];
        for t in 1..=minutes {
            let mut row = vec![0; states];
            // From the most failures down: a guess without a wait leads to more of them in the same minute.
            for left in (0..states).rev() {
                let idle = best[t - 1][left.saturating_sub(1)];
                let (after, wait) = guess[left];
                let go = match t.checked_sub(wait) {
                    Some(_) if wait == 0 => 1 + row[after],
                    Some(rest) => 1 + best[rest][after],
                    None => 1,
                };
                row[left] = idle.max(go);
            }
            best.push(row);
            // Nothing looks further back than the longest wait.
            if t > rule.cap as usize / 60 + 1 {
                best[t - rule.cap as usize / 60 - 2] = Vec::new();
            }
        }
        best[minutes][0]
    }

    /// An attacker who has the password and a process of the user, and tries without pause for 30 days.
    #[test]
    fn the_defaults_leave_less_than_a_thousandth_in_thirty_days() {
        const MONTH: u64 = 30 * 86_400;
        let rule = Lockout::default();
        let by_login = most_guesses(rule, MONTH);
        let by_own_processes = most_guesses(Way::OwnProcess.rule(rule), MONTH);
        // Each recovery code that the owner uses meanwhile ends one wait.
        let waits_ended = 10;
        let guesses = by_login + by_own_processes + waits_ended;
        // Three of a million codes are good at any moment: those of the present step and of one on each side.
        let in_a_million = 3 * guesses;
        assert_eq!((by_login, by_own_processes), (192, 102));
        assert!(in_a_million < 1000, "{guesses} guesses hit in {in_a_million} of a million months");
    }
}
