//! What logins did at a host, kept in a file (`MFA_TEST_ANSWERS`): what is said can be compared with that again later, in
//! a moment and without any login.
//!
//! The file holds what this product lets in and asks for, not what it says: after a change of the latter alone it is as
//! good as before.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{ErrorKind, Write as _},
    sync::Mutex,
};

use crate::host::Host;

/// The lines of the tries at one host; `None` if sshd would not start with it.
pub type Lines = Option<Vec<String>>;

/// What is kept.
pub struct Answers {
    known: BTreeMap<String, Lines>,
    file: Option<Mutex<File>>,
}

impl Answers {
    /// Those of the file that `MFA_TEST_ANSWERS` names, which is made if it is missing. Without one nothing is kept.
    pub fn kept() -> Self {
        let Some(path) = std::env::var_os("MFA_TEST_ANSWERS") else {
            return Self { known: BTreeMap::new(), file: None };
        };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.expect("the file of answers is text"),
        };
        let mut known = BTreeMap::<_, Lines>::new();
        for host in text.split("\n\n").filter(|host| !host.trim().is_empty()) {
            let mut lines = host.trim().lines().map(str::to_owned);
            let name = lines.next().expect("it is not empty");
            match name.strip_suffix(" refused by sshd") {
                Some(name) => known.insert(name.to_owned(), None),
                None => known.insert(name, Some(lines.collect())),
            };
        }
        let file = File::options().append(true).create(true).open(path).expect("the file of answers can be written");
        Self { known, file: Some(Mutex::new(file)) }
    }

    pub fn of(&self, number: u64, host: &Host) -> Option<Lines> {
        self.known.get(&name(number, host)).cloned()
    }

    pub fn keep(&self, number: u64, host: &Host, lines: &Lines) {
        let Some(file) = &self.file else { return };
        let mut text = name(number, host);
        match lines {
            None => text += " refused by sshd\n",
            Some(lines) => lines.iter().for_each(|line| write!(text, "\n{line}").expect("memory")),
        }
        file.lock().expect("no poison").write_all((text + "\n\n").as_bytes()).expect("the answers can be written");
    }
}

/// A host that is made or tried in another way is another one.
fn name(number: u64, host: &Host) -> String {
    let mut hash = DefaultHasher::new();
    (e2e::suite(), host.script(), include_str!("tries.sh"), include_str!("askpass.sh")).hash(&mut hash);
    format!("host {number} {:016x}", hash.finish())
}
