//! What `policy explain` says of the ways in, and what that says of each try.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What somebody comes with before a code is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum First {
    Password,
    Key,
    Both,
    Nothing,
}

impl First {
    pub fn tried(word: &str) -> Self {
        match word {
            "password" => Self::Password,
            "key" => Self::Key,
            "both" => Self::Both,
            "nothing" => Self::Nothing,
            _ => panic!("nothing tries {word}"),
        }
    }
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    In,
    Asked,
    Led,
    Refused,
}

impl Class {
    pub fn seen(word: &str) -> Self {
        match word {
            "in" => Self::In,
            "asked" => Self::Asked,
            "led" => Self::Led,
            "refused" => Self::Refused,
            _ => panic!("nothing ends as {word}"),
        }
    }
}

/// The lines of one person at one service.
#[derive(Debug, Default)]
pub struct Said {
    text: String,
    /// None is "not known".
    ways: BTreeMap<First, BTreeSet<Option<Class>>>,
}

impl Said {
    /// A line, of which those of the ways in count: `way   FIRST (LINES): OUTCOME`.
    pub fn take_in(&mut self, line: &str) {
        self.text += &format!("    {line}\n");
        let Some(way) = line.strip_prefix("way ") else { return };
        let way = way.trim_start();
        let (first, outcome) = match way.find(" (").filter(|at| *at < way.find(": ").unwrap_or(0)) {
            Some(at) => (&way[..at], way[at..].split_once("): ").unwrap_or_else(|| panic!("no outcome: {line}")).1),
            None => way.split_once(": ").unwrap_or((way, "refused")),
        };
        let first = match first {
            "a password" => First::Password,
            "a key alone" => First::Key,
            "a key and a password" => First::Both,
            "nothing" => First::Nothing,
            // sshd puts all questions to root, and sudo to users whom it grants nothing, and both refuse then: a try ends
            // where the page is shown.
            "none" if outcome.contains("(PermitRootLogin") => {
                self.ways.insert(First::Key, [Some(Class::Refused), Some(Class::Led)].into());
                return;
            }
            "none" if outcome.contains("sudoers grants nothing") => {
                self.ways.insert(First::Password, [Some(Class::Refused), Some(Class::Led)].into());
                return;
            }
            "none" => return,
            _ => panic!("no such first factor: {line}"),
        };
        let outcomes = [
            ("let in", Some(Class::In)),
            ("asked for", Some(Class::Asked)),
            ("led through binding", Some(Class::Led)),
            // A try ends where the page is shown.
            ("refused: account refuses after a device was bound", Some(Class::Led)),
            ("refused", Some(Class::Refused)),
            ("not known", None),
        ];
        let known = outcomes.iter().find(|(word, _)| outcome.starts_with(word));
        let ends = self.ways.entry(first).or_default();
        ends.insert(known.unwrap_or_else(|| panic!("no such outcome: {line}")).1);
        // It asks before it refuses, and the tries answer rightly.
        if outcome == "let in although our line refuses" {
            ends.insert(Some(Class::Asked));
        }
    }

    /// Why that is not known, without the files and lines that it depends on.
    pub fn why_not(&self, first: First) -> String {
        let why = self.text.lines().filter_map(|line| line.split_once("not known: ")).map(|(_, why)| why);
        let why = why.map(|why| why.split("; perhaps").next().unwrap_or(why));
        let names = |why: &str| why.split(' ').filter(|word| !word.starts_with('/')).collect::<Vec<_>>().join(" ");
        why.map(names).next().unwrap_or_else(|| format!("{first:?}"))
    }

    /// What may come of this try, among others that were made. None is "not known".
    pub fn of(&self, first: First) -> Option<BTreeSet<Class>> {
        let refused = || Some([Some(Class::Refused)].into());
        let mut expected = self.ways.get(&first).cloned().or_else(refused)?;
        // A user who needs no password may type one, and a stack that takes none at all is content with any. Where sshd is
        // content with the key or with nothing, the try with both ends as that one does.
        let without_it = match (first, self.ways.contains_key(&first)) {
            (First::Password, false) => &[First::Nothing][..],
            (First::Both, false) => &[First::Key, First::Nothing],
            (First::Both, true) => &[First::Nothing],
            // Every client begins with the method none, and an sshd that takes an empty password may be content with it.
            (First::Key, false) => &[First::Nothing],
            _ => &[],
        };
        expected.extend(without_it.iter().filter_map(|first| self.ways.get(first)).flatten());
        // Where questions come first and then a key, a try without the key ends where the page is shown, too.
        let both = self.ways.get(&First::Both);
        if first == First::Password && both.is_some_and(|ends| ends.contains(&Some(Class::Led))) {
            expected.insert(Some(Class::Led));
        }
        // An empty password that is typed besides a key.
        if first == First::Key && both.is_some_and(|ends| ends.contains(&None)) {
            expected.insert(None);
        }
        expected.into_iter().collect()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
