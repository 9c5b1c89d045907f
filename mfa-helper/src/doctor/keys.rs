//! Security keys that cannot be asked, or do not count although the policy says they do.

use std::path::Path;
use std::time::{Duration, Instant};

use mfa_wire::sshd_remedy;

use super::people::{Person, listed};
use super::{Finding, edit, of_user, quoted, rule_file};
use crate::factor::sshd::{self, Demands};
use crate::factor::usb;
use crate::host::Host;
use crate::policy::{Require, SkKey};
use crate::stack::{self, system_file};

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

/// The most users, and the longest time: for each user a directory may have to be asked for groups.
const MOST: usize = 200;
const LONGEST: Duration = Duration::from_secs(30);

/// Checks them.
pub fn check(people: &[Person], config: &Path, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(without_library(people, &usb::library_loads));
    if Path::new("/usr/sbin/sshd").exists() {
        let password = stack::asks_a_first_factor("sshd", &system_file);
        findings.extend(not_demanded(people, password, &sshd::what_its_files_demand, host));
        findings.extend(not_over_ssh(people, config, host));
    }
    findings
}

/// Only libfido2 can ask a plugged-in key.
fn without_library(people: &[Person], loads: &dyn Fn() -> Result<(), String>) -> Option<Finding> {
    let names: Vec<&str> = people.iter().filter(|person| person.has_plugged_key()).map(Person::name).collect();
    if names.is_empty() {
        return None;
    }
    let why = loads().err()?;
    let what = format!("no security key can be asked here ({why}), so a recovery code is, of: {}", listed(&names));
    let remedy = match Path::new("/usr/bin/apt-get").exists() {
        true => "apt-get install -y --reinstall libfido2-1",
        false => "dnf install -y libfido2  # or what it is called here",
    };
    Some(Finding::grave("no-libfido2", "libfido2.so.1", what, remedy).naming(&names))
}

/// sshd accepts a key without the checks that the rule needs to count it; `key_asked::counted` then asks for a code.
fn not_demanded(
    people: &[Person],
    password: bool,
    demands: &dyn Fn(Option<&str>) -> Result<Demands, String>,
    host: &Host,
) -> Vec<Finding> {
    let missing = |user| match demands(user) {
        Ok(demands) if demands.touch && (demands.verify || password) => None,
        Ok(_) if password => Some(Ok("touch-required")),
        Ok(_) => Some(Ok("touch-required verify-required")),
        Err(why) => Some(Err(why)),
    };
    let counts = |person: &&Person| {
        let asked = person.asked("sshd", host);
        asked.sk_key == SkKey::Counts && asked.require != Require::Off
    };
    let mut found: Vec<(Result<&str, String>, Vec<&str>)> = Vec::new();
    let end = Instant::now() + LONGEST;
    for person in people.iter().filter(counts).take(MOST).take_while(|_| Instant::now() < end) {
        let Some(missing) = missing(Some(person.name())) else { continue };
        match found.iter_mut().find(|(other, _)| *other == missing) {
            Some((_, names)) => names.push(person.name()),
            None => found.push((missing, vec![person.name()])),
        }
    }
    // If only a `Match` block removes it for some users, the correction belongs into that block.
    let of_everybody = found.is_empty() || missing(None).is_some();
    let finding = |(missing, names): (Result<&str, String>, Vec<&str>)| {
        let (why, remedy) = match missing {
            Ok(options) => (format!("sshd does not demand {options}"), demand(options, of_everybody)),
            Err(why) => (why, edit(SSHD_CONFIG, "let sshd -T tell it: no such Match, no quotes in its line")),
        };
        let what = format!("sk_key counts by rule, and does not, because {why}: {}", listed(&names));
        Finding::warning("sk-key-does-not-count", SSHD_CONFIG, what, remedy).naming(&names)
    };
    found.into_iter().map(finding).collect()
}

/// If only some are concerned, it is a `Match` block that decides.
fn demand(options: &str, of_everybody: bool) -> String {
    match of_everybody {
        true => sshd_remedy(&[("PubkeyAuthOptions", options)]),
        false => {
            let line = format!("in the Match block that holds for them: PubkeyAuthOptions {options}");
            edit(SSHD_CONFIG, &format!("{line}; then: sshd -t, and reload it"))
        }
    }
}

/// In a remote login no key can be asked: either sshd has checked it, or a recovery code is the only way in.
fn not_over_ssh(people: &[Person], config: &Path, host: &Host) -> Vec<Finding> {
    let what = |why: &str, names: &[&str]| format!("asked by ssh for a recovery code, since {why}: {}", listed(names));
    let mut none = Vec::new();
    let mut ignored: Vec<(String, Vec<&str>)> = Vec::new();
    for person in people.iter().filter(|person| person.has_keys()) {
        let asked = person.asked("sshd", host);
        if asked.require == Require::Off {
            continue;
        }
        if !person.has_ssh_key() {
            none.push(person.name());
        } else if asked.sk_key != SkKey::Counts {
            match ignored.iter_mut().find(|(rule, _)| *rule == asked.rule) {
                Some((_, names)) => names.push(person.name()),
                None => ignored.push((asked.rule, vec![person.name()])),
            }
        }
    }
    let mut findings = Vec::new();
    if let Some(first) = none.first() {
        let (word, user) = (quoted(first), of_user(first));
        // A shell knows nobody's home by a name in quotes, and takes `~-` for the folder it was in before.
        let home = if word == *first && !word.starts_with('-') {
            format!("~{word}")
        } else {
            format!("\"$(getent passwd -- {word} | cut -d: -f6)\"")
        };
        let remedy = format!(
            "mfa-enroll import authorized-keys {user} {home}/.ssh/authorized_keys  # or they: mfa-enroll u2f --ssh-key FILE"
        );
        let what = what("no key of theirs is one of ssh", &none);
        findings.push(Finding::warning("keys-not-over-ssh", *first, what, remedy).naming(&none));
    }
    for (rule, names) in ignored {
        let place = rule.split(' ').next().unwrap_or_default().to_owned();
        // If no rule concerns them, a new rule is needed.
        let (path, to_do) = match place.contains(':') {
            true => (rule_file(config, &place), "add to the rule: sk_key = \"counts\""),
            false => (config.to_string_lossy().into_owned(), "a rule for sshd and for them, with sk_key = \"counts\""),
        };
        let what = what("the rule ignores that sshd has had one touched", &names);
        findings.push(Finding::warning("keys-not-over-ssh", names[0], what, edit(&path, to_do)).naming(&names));
    }
    findings
}
