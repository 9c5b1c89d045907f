//! Which arms of the model are needed: those without which something is said that logins do not do, or is no longer known.
//! `tests/arms` has made the program that says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use crate::{Done, Login, said::Said};

/// How it was seen that an arm is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caught {
    /// Something is said that is not done.
    Wrong,
    /// Something is "not known" that is known with it.
    NotKnown,
    /// There was no arm for what was found.
    BrokenOff,
}

/// What is seen of the arms.
pub struct Arms {
    /// The line of `tests/arms` about each.
    list: BTreeMap<usize, String>,
    come_to: BTreeSet<usize>,
    /// How often each was caught, and first at which host.
    caught: BTreeMap<usize, (u64, BTreeMap<Caught, u64>)>,
}

impl Arms {
    pub fn of(list: &Path) -> Self {
        let text = fs::read_to_string(list).expect("the list of arms");
        let list = text.lines().map(|line| {
            let (number, rest) = line.split_once('\t').expect("a number and a text");
            (number.parse().expect("a number"), rest.to_owned())
        });
        Self { list: list.collect(), come_to: BTreeSet::new(), caught: BTreeMap::new() }
    }

    /// Compares what is said at one host without each arm with what is done there.
    pub fn take_in(&mut self, host: u64, said: &str, done: &Done) {
        let mut without = BTreeMap::<usize, BTreeMap<Login, Said>>::new();
        for line in said.lines() {
            let [arm, service, person, text] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let Ok(arm) = arm.parse() else { panic!("{line}") };
            if arm == 0 && service == "come" {
                self.come_to.extend(text.split(' ').map(|arm| arm.parse::<usize>().expect("a number")));
                continue;
            }
            let login = (person.to_owned(), service.to_owned());
            if text == "broken off" {
                self.catch(arm, host, Caught::BrokenOff);
            }
            without.entry(arm).or_default().entry(login).or_default().take_in(text);
        }
        let whole = without.remove(&0).expect("what is said with all arms");
        for (arm, logins) in without {
            for (login, said) in &logins {
                for (first, class) in &done[login] {
                    let expected = whole[login].of(*first);
                    match said.of(*first) {
                        // Wrong with all arms already: not the arm's fault.
                        _ if expected.as_ref().is_some_and(|expected| !expected.contains(class)) => {}
                        Some(now) if !now.contains(class) => self.catch(arm, host, Caught::Wrong),
                        None if expected.is_some() => self.catch(arm, host, Caught::NotKnown),
                        _ => {}
                    }
                }
            }
        }
    }

    fn catch(&mut self, arm: usize, host: u64, how: Caught) {
        let (first, count) = self.caught.entry(arm).or_insert((host, BTreeMap::new()));
        *first = host.min(*first);
        *count.entry(how).or_default() += 1;
    }

    /// The lines of those that nothing has caught.
    pub fn missed(&self) -> String {
        let missed = self.list.iter().filter(|(arm, _)| !self.caught.contains_key(arm));
        missed
            .map(|(arm, text)| {
                let come_to = if self.come_to.contains(arm) { "come to" } else { "never" };
                format!("{arm}\t{come_to}\t{text}\n")
            })
            .collect()
    }
}

impl fmt::Display for Arms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (arm, text) in &self.list {
            let text: String = text.chars().take(110).collect();
            match self.caught.get(arm) {
                Some((host, count)) => writeln!(f, "{arm}\tcaught by host {host} {count:?}\t{text}")?,
                None if self.come_to.contains(arm) => writeln!(f, "{arm}\tmissed, and come to\t{text}")?,
                None => writeln!(f, "{arm}\tnever come to\t{text}")?,
            }
        }
        let by = |kind| self.caught.values().filter(|(_, count)| count.keys().next() == Some(&kind)).count();
        write!(
            f,
            "{} arms: without it {} are wrong, {} no longer known, {} break off; {} are missed",
            self.list.len(),
            by(Caught::Wrong),
            by(Caught::NotKnown),
            by(Caught::BrokenOff),
            self.list.len() - self.caught.len()
        )
    }
}
