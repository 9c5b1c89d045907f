//! The policy's files: whether they load, and whether their rules make sense.

use std::path::Path;

use mfa_core::totp::Parameters;
use mfa_wire::utc;

use super::{Finding, edit, quoted, remedy_in, rule_file};
use crate::flow::manage::policy::findings;
use crate::host::Host;
use crate::policy::files::{self, Loaded, in_place as read};
use crate::policy::parse::{PolicyError, parse};
use crate::policy::{BY_COMMAND, Policy, Require, Rule};
use crate::rootfile::MOVE_IT;

/// The host with the policy in place, even if it was changed just now. If that cannot be loaded, the error, and the
/// host with the policy in force.
pub fn in_place(config: &Path, host: &Host) -> (Host, Vec<Finding>) {
    let loaded = |policy| Host { loaded: Loaded { policy, error: None, young: None }, ..host.clone() };
    match read(config).and_then(|sources| parse(&sources)) {
        Ok(policy) => (loaded(policy), Vec::new()),
        Err(error) => (loaded(host.policy().clone()), vec![not_loaded(&error, host.policy())]),
    }
}

/// The error begins with the path, or with the path and the line.
fn not_loaded(error: &PolicyError, in_force: &Policy) -> Finding {
    let what = &error.0;
    let place = what.split([' ', '\t']).next().unwrap_or_default().trim_end_matches(':');
    let file = place.split(':').next().unwrap_or_default();
    let id = match what {
        _ if what.contains("unknown field") => "policy-unknown-key",
        _ if [": chmod ", ": chown ", MOVE_IT].iter().any(|remedy| what.contains(remedy)) => "policy-file-unsafe",
        _ if what.ends_with(" is missing") => "policy-file-missing",
        _ => "policy-not-loaded",
    };
    let none = in_force.rules.iter().any(|rule| rule.origin == crate::policy::NO_POLICY);
    let remedy = match id {
        // In place of rules that are in force, an empty file or folder would exempt those whom they require.
        "policy-file-missing" if none || held(file, in_force) => {
            edit(file, "it is lost, with what it said: restore it, or write it again; then: mfa-enroll policy check")
        }
        "policy-file-missing" if file.ends_with("mfa.d") => format!("install -d -m 0755 {}", quoted(file)),
        "policy-file-missing" => format!("echo '# nothing but the defaults' >{}", quoted(file)),
        _ => remedy_in(what, || edit(file, "then: mfa-enroll policy check")),
    };
    let instead = if none {
        "there is no earlier one: everybody is required, and nobody can bind by themselves"
    } else {
        "the last one that loaded well is in force"
    };
    Finding::grave(id, place, format!("the policy in place does not load ({instead}): {what}"), remedy)
}

/// Whether this file or folder, which is gone, held anything of the policy in force.
fn held(path: &str, in_force: &Policy) -> bool {
    let main = |rule: &Rule| rule.origin.starts_with("mfa.toml:");
    if path.ends_with("mfa.d") {
        return !in_force.rules.iter().all(main);
    }
    in_force.rules.iter().any(main) || Policy { rules: Vec::new(), ..in_force.clone() } != Policy::default()
}

/// What many apps ignore, and show other codes than ours without a word.
pub fn unusual_codes(config: &Path, policy: &Policy) -> Option<Finding> {
    let Parameters { algorithm, digits, period } = policy.totp;
    let usual = Parameters::DEFAULT;
    let mut unusual = Vec::new();
    if algorithm != usual.algorithm {
        unusual.push(format!("algorithm = \"{}\"", algorithm.name()));
    }
    if digits != usual.digits {
        unusual.push(format!("digits = {digits}"));
    }
    if period != usual.period {
        unusual.push(format!("period = \"{period}s\""));
    }
    if unusual.is_empty() {
        return None;
    }
    let said = unusual.join(", ");
    let what = format!("many apps ignore this without a word, and then none of their codes is right: {said}");
    let remedy = edit(&config.to_string_lossy(), &format!("take out of [totp]: {said}; it holds for new devices"));
    Some(Finding::warning("totp-unusual", "[totp]", what, remedy))
}

/// Programs that are named as holding a service of `[enroll]`, and are nowhere on this host.
pub fn programs_that_are_gone(config: &Path, policy: &Policy, is_there: &dyn Fn(&str) -> bool) -> Option<Finding> {
    let gone: Vec<&str> = policy.enroll_programs.iter().map(String::as_str).filter(|name| !is_there(name)).collect();
    if gone.is_empty() {
        return None;
    }
    let what = format!("no program of this name is here, so nobody is led through binding by it: {}", gone.join(", "));
    let remedy = edit(&config.to_string_lossy(), "mend the names in [enroll] programs, or take them out");
    Some(Finding::warning("policy-program-missing", "[enroll] programs", what, remedy))
}

/// Whether a program of this file name is where packages put programs that run PAM.
pub fn is_installed(name: &str) -> bool {
    const FOLDERS: [&str; 8] = [
        "/usr/bin",
        "/usr/sbin",
        "/usr/libexec",
        "/usr/lib",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/usr/local/libexec",
        "/opt",
    ];
    let within = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| path.join(name).exists() || path.join("bin").join(name).exists())
    };
    FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists() || within(folder))
}

/// Services in which no device can be bound any more, because their programs now have to be named too.
pub fn without_programs(config: &Path, host: &Host) -> Option<Finding> {
    let policy = host.policy();
    let shipped = Policy::default().enroll_services;
    let added: Vec<&str> =
        policy.enroll_services.iter().filter(|service| !shipped.contains(service)).map(String::as_str).collect();
    if added.is_empty() || !policy.enroll_programs.is_empty() {
        return None;
    }
    let place = "[enroll] programs";
    let what = format!("added to [enroll] services, with no program named that holds them: {}", added.join(", "));
    let remedy = edit(&config.to_string_lossy(), "add to [enroll]: programs = [\"NAME OF THE PROGRAM'S FILE\"]");
    Some(Finding::warning("policy-no-program", place, what, remedy))
}

/// Files that look as if they were meant to be drop-ins, and are none by their names.
pub fn ignored(config: &Path) -> Vec<Finding> {
    // If the folder cannot be read, the policy does not load either.
    let files = files::ignored(config).unwrap_or_default();
    let finding = |file: files::Ignored| {
        // Not for the shell: root may have put the file aside by this name, and a rule in it may exempt.
        let (from, to) = (quoted(&file.path), quoted(&file.meant));
        let by_hand = format!("if its rules are to hold: mv -n {from} {to}; else take it out of the folder");
        let remedy = edit(&file.path, &by_hand);
        let what = "it is not read: its name does not end in .toml";
        Finding { grave: file.rules, ..Finding::warning("policy-file-ignored", file.path, what, remedy) }
    };
    files.into_iter().map(finding).collect()
}

/// Rules that will go away by themselves.
pub fn on_trial(config: &Path, host: &Host) -> Vec<Finding> {
    let now = (host.now)();
    let running = host.policy().rules.iter().filter(|rule| rule.is_on_trial());
    let finding = |rule: &Rule| {
        let end = rule.expires.filter(|end| *end > now && rule.require == Require::Mfa)?;
        let what = format!("{} is on trial: it goes away by itself at {}", rule.origin, utc(end));
        let place = rule_file(config, rule.file());
        Some(Finding::warning("rule-on-trial", place, what, "mfa-enroll require --confirm"))
    };
    running.filter_map(finding).collect()
}

/// Mistakes that the parser cannot find.
pub fn rules(config: &Path, host: &Host) -> Vec<Finding> {
    let policy = host.policy();
    let found = findings(policy, (host.now)());
    let finding = |found: crate::flow::manage::policy::Finding| {
        // Its text begins with the rule's file and line; or it is about a user, and ends with the exempting rule.
        let from_rule = if found.id == "rule-exempts" { found.text.rsplit(" by ").next() } else { Some(&*found.text) };
        let place = from_rule.unwrap_or_default().split([' ', ',']).next().unwrap_or_default().trim_end_matches(':');
        if found.id == "enroll-service-unknown" {
            let remedy = edit(&config.to_string_lossy(), "mend [enroll] services");
            return Finding::warning(found.id, "[enroll] services", found.text, remedy);
        }
        let path = rule_file(config, place);
        let remedy = match found.id {
            "rule-expired" if place.starts_with(BY_COMMAND) => format!("rm {}", quoted(&path)),
            _ => edit(&path, "mend the rule"),
        };
        Finding { grave: found.grave, ..Finding::grave(found.id, place, found.text.clone(), remedy) }
    };
    found.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        parse(&[(String::from("/etc/mfa/mfa.toml"), text.to_owned())]).unwrap()
    }

    #[test]
    fn a_lost_file_is_made_anew_only_if_nothing_was_in_it() {
        let remedy = |path: &str, in_force: &Policy| {
            let error = PolicyError(format!("{path} is missing"));
            let finding = not_loaded(&error, in_force);
            assert_eq!(finding.id, "policy-file-missing");
            finding.remedy
        };
        let (main, folder) = ("/etc/mfa/mfa.toml", "/etc/mfa/mfa.d");
        let empty = policy("# x\n");
        assert_eq!(remedy(main, &empty), "echo '# nothing but the defaults' >/etc/mfa/mfa.toml");
        assert_eq!(remedy(folder, &empty), "install -d -m 0755 /etc/mfa/mfa.d");
        // What it required would not be required any more.
        let rule = "[[rule]]\nusers = [\"bob\"]\nrequire = \"mfa\"\n";
        let in_folder = parse(&[("10-a.toml".into(), rule.into()), ("mfa.toml".into(), "# x\n".into())]).unwrap();
        for (path, in_force) in [
            (main, policy(rule)),
            (main, policy("[store]\npath = \"/srv/mfa\"\n")),
            (folder, in_folder),
            (main, crate::policy::without_files()),
        ] {
            assert!(remedy(path, &in_force).starts_with(&format!("editor {path}  # it is lost")), "{in_force:?}");
        }
        assert_eq!(remedy(folder, &policy(rule)), "install -d -m 0755 /etc/mfa/mfa.d");
    }

    #[test]
    #[ignore = "needs root: make unit"]
    fn a_file_that_is_not_read_is_moved_by_hand() {
        let folder = Path::new("/run").join(format!("mfa-test-doctor-policy-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("mfa.d")).unwrap();
        for name in ["10-a.conf", "10-a.conf.old", "10-b.off"] {
            std::fs::write(folder.join("mfa.d").join(name), "[[rule]]\n").unwrap();
        }
        let found = ignored(&folder.join("mfa.toml"));
        let path = folder.join("mfa.d/10-a").display().to_string();
        std::fs::remove_dir_all(folder).unwrap();
        let by_hand =
            format!("if its rules are to hold: mv -n {path}.conf {path}.toml; else take it out of the folder");
        let remedies: Vec<String> = found.into_iter().map(|finding| finding.remedy).collect();
        assert_eq!(remedies, [format!("editor {path}.conf  # {by_hand}")]);
    }

    #[test]
    fn codes_that_many_apps_do_not_show_are_found() {
        let config = Path::new("/etc/mfa/mfa.toml");
        let found = |text: &str| unusual_codes(config, &policy(text)).map(|finding| (finding.grave, finding.remedy));
        for text in ["", "[totp]\nalgorithm = \"SHA1\"\ndigits = 6\nperiod = \"30s\"\n"] {
            assert_eq!(found(text), None);
        }
        for (line, said) in [
            ("algorithm = \"SHA256\"", "algorithm = \"SHA256\""),
            ("algorithm = \"SHA512\"", "algorithm = \"SHA512\""),
            ("digits = 8", "digits = 8"),
            ("period = \"1m\"", "period = \"60s\""),
        ] {
            let (grave, remedy) = found(&format!("[totp]\n{line}\n")).unwrap();
            assert!(!grave);
            let wanted = format!("editor /etc/mfa/mfa.toml  # take out of [totp]: {said}; it holds for new devices");
            assert_eq!(remedy, wanted);
        }
    }

    #[test]
    fn a_program_that_is_named_and_is_nowhere_is_found() {
        let named = policy("[enroll]\nservices = [\"sshd\", \"cockpit\"]\nprograms = [\"cockpit-sesion\", \"ls\"]\n");
        let found = programs_that_are_gone(Path::new("/etc/mfa/mfa.toml"), &named, &is_installed).unwrap();
        assert_eq!((found.id, found.grave), ("policy-program-missing", false));
        assert!(found.what.ends_with(": cockpit-sesion"), "{}", found.what);
        assert_eq!(programs_that_are_gone(Path::new("/"), &named, &|_| true), None);
    }
}
