//! Settings of other programs that are plain files, and the clock.

use std::path::Path;

use super::people::Person;
use super::{Finding, edit, quoted};
use crate::host::Host;
use crate::identity;
use crate::policy::place::Place;
use crate::policy::{Facts, Require};
use crate::stack::{Files, Kind, Stack, system_file};
use crate::sudo::{self, Setting, Waives};

/// The time for binding a device in a login, in seconds: finding the phone, scanning, two codes in a row.
const TO_BIND: u64 = 180;
/// The time for one code, if the clock shows the next one every 30 seconds.
const TO_TYPE: u64 = 40;

/// Checks them.
pub fn check(people: &[Person], host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(clock((host.synchronised)(), Path::new("/run/systemd/container").exists()));
    findings.extend(match sudo::settings() {
        Ok(settings) => sudo_waives(&settings),
        Err(why) => vec![Finding::grave(
            "sudoers-unreadable",
            "/etc/sudoers",
            why.clone(),
            super::remedy_in(&why, || "visudo -c".into()),
        )],
    });
    let binds_in_time = std::fs::read(LOGIN).is_ok_and(|program| is_of_util_linux(&program));
    let needed = time_at_login(people, binds_in_time, host);
    findings.extend(needed.and_then(|needed| login_timeout(&system_file, needed)));
    findings.extend(first_factor(&system_file));
    findings
}

/// In a container the clock is the host's, and no program in the container can tell who sets it.
fn clock(synchronised: bool, container: bool) -> Option<Finding> {
    let what = "nothing keeps the clock right: when it is off by more than a step, right codes are refused";
    let finding = || Finding::warning("clock-unsynchronized", "clock", what, "timedatectl set-ntp true");
    (!synchronised && !container).then(finding)
}

/// The steps of a login that sudo's settings remove, found by the function that hand-overs use.
fn sudo_waives(settings: &[Setting]) -> Vec<Finding> {
    let finding = |Setting { waives, said, at, .. }: &Setting| {
        let (id, grave) = match waives {
            Waives::Account => ("sudoers-no-account", true),
            Waives::Session => ("sudoers-no-session", true),
            Waives::Service => ("sudoers-other-service", true),
            Waives::Policy => ("sudoers-other-policy", true),
            Waives::Sight => ("sudoers-elsewhere", false),
            Waives::Auth => ("sudoers-no-auth", true),
            Waives::SomeAuth => ("sudoers-nopasswd", false),
            Waives::SecondAuth => ("sudoers-asks-once", false),
        };
        let so = if waives.breaks_a_hand_over() { ", so nobody can bind a device in sudo" } else { "" };
        let (place, remedy) = match at {
            Some((file, number)) => {
                let take_out = format!("take out line {number}, or what it says there");
                let by_visudo = file.starts_with("/etc/sudoers");
                let visudo = || format!("visudo -f {}  # {take_out}", quoted(file));
                (format!("{file}:{number}"), if by_visudo { visudo() } else { edit(file, &take_out) })
            }
            None => (String::from("/etc/sudoers"), format!("visudo  # take out {said}, in the file that it includes")),
        };
        Finding { grave, ..Finding::grave(id, place, format!("{waives}{so}: {said}"), remedy) }
    };
    settings.iter().map(finding).collect()
}

const LOGIN: &str = "/usr/bin/login";

/// Whether this is the login(1) of util-linux, whose clock runs until the account phase is over. That of shadow stops it
/// after auth, so that a device can be bound in any time.
fn is_of_util_linux(program: &[u8]) -> bool {
    const NAME: &[u8] = b"util-linux";
    program.windows(NAME.len()).any(|window| window == NAME)
}

/// The longest time that somebody needs at login(1); `None` if it asks nobody.
fn time_at_login(people: &[Person], binds_in_time: bool, host: &Host) -> Option<u64> {
    let binds = binds_in_time && host.policy().enroll_services.iter().any(|service| service == "login");
    let needs = |person: &Person| {
        let identity = identity::find(person.name()).ok()??;
        let facts = Facts { user: person.name(), service: "login", place: Place::Local, now: (host.now)() };
        let require = host.policy().decide(&facts, &mut |group| identity.member(group)).require;
        time_needed(require, person.bound(), binds)
    };
    people.iter().filter_map(needs).max()
}

fn time_needed(require: Require, bound: bool, binds: bool) -> Option<u64> {
    match (require, bound) {
        (Require::Off, _) | (Require::IfBound, false) => None,
        (_, true) => Some(TO_TYPE),
        (Require::Mfa, false) => binds.then_some(TO_BIND),
    }
}

/// login(1) ends after this time, even while something is being typed.
fn login_timeout(files: &Files, needed: u64) -> Option<Finding> {
    const FILE: &str = "/etc/login.defs";
    let text = files(FILE).ok().flatten()?;
    let setting = text.lines().find_map(|line| line.trim_start().strip_prefix("LOGIN_TIMEOUT")?.trim().parse().ok());
    let seconds: u64 = setting.unwrap_or(60);
    if seconds == 0 || seconds >= needed {
        return None;
    }
    let what = match needed {
        TO_BIND => format!("login gives {seconds} s, and somebody will have to bind a device in that time"),
        _ => format!("login gives {seconds} s to find the phone and type a code"),
    };
    let remedy = match setting {
        Some(_) => format!("sed -i 's/^[[:blank:]]*LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 300/' {FILE}"),
        None => format!("echo 'LOGIN_TIMEOUT 300' >>{FILE}"),
    };
    Some(Finding::warning("login-timeout", FILE, what, remedy))
}

/// The service with which users prove their first factor before they change a device. It must have that factor, and
/// nothing else.
fn first_factor(files: &Files) -> Option<Finding> {
    const FILE: &str = "/etc/pam.d/mfa-enroll";
    let by_hand = |what: &str| edit(FILE, what);
    let missing = "@include common-auth, @include common-account; or what stands for them here";
    if files(FILE) == Ok(None) {
        let what = "this file is missing, so mfa-enroll can ask nobody for the first factor";
        return Some(Finding::warning("first-factor-missing", FILE, what, by_hand(missing)));
    }
    let stack = match Stack::read("mfa-enroll", Kind::Auth, files) {
        Ok(stack) => stack,
        Err(error) => {
            let remedy = super::remedy_in(&error.to_string(), || by_hand("mend it"));
            return Some(Finding::warning("first-factor-unknown", FILE, error.to_string(), remedy));
        }
    };
    let lets_in_root = stack.modules().find(|module| module.path.ends_with("pam_rootok.so"));
    let what = "pam_rootok.so lets everybody past this proof: the helper that asks is root";
    lets_in_root.map(|module| {
        let place = format!("{}:{}", module.file, module.number);
        Finding::grave("first-factor-rootok", place, what, edit(&module.file, "take out the line of pam_rootok.so"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(findings: impl IntoIterator<Item = Finding>) -> Vec<&'static str> {
        findings.into_iter().map(|finding| finding.id).collect()
    }

    fn sudoers_say(text: &str) -> Vec<Finding> {
        sudo_waives(&sudo::of_words("/etc/sudoers", text))
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_found_but_not_in_a_container() {
        assert_eq!(ids(clock(false, false)), ["clock-unsynchronized"]);
        assert_eq!(clock(false, true), None);
        assert_eq!(clock(true, false), None);
    }

    #[test]
    fn what_sudoers_waive_is_found_with_its_line() {
        assert_eq!(sudoers_say("Defaults env_reset\n%sudo ALL=(ALL:ALL) ALL\n# NOPASSWD !authenticate\n"), []);
        let found = sudoers_say("\n bob ALL=(ALL) NOPASSWD: ALL\n");
        assert_eq!((ids(found.clone()), found[0].place.as_str()), (vec!["sudoers-nopasswd"], "/etc/sudoers:2"));
        assert_eq!(ids(sudoers_say("Defaults:bob !authenticate")), ["sudoers-no-auth"]);
        assert_eq!(ids(sudoers_say("Defaults env_reset, !pam_acct_mgmt")), ["sudoers-no-account"]);
    }

    #[test]
    fn login_gives_time_for_what_is_to_be_done_there() {
        let login = |defs: &'static str, bind: bool| {
            login_timeout(&move |_| Ok(Some(defs.to_owned())), if bind { TO_BIND } else { TO_TYPE })
        };
        assert_eq!(login("LOGIN_TIMEOUT\t\t60\n", false), None);
        assert_eq!(ids(login("LOGIN_TIMEOUT\t\t60\n", true)), ["login-timeout"]);
        assert_eq!(ids(login("LOGIN_TIMEOUT 20\n", false)), ["login-timeout"]);
        assert_eq!(login("LOGIN_TIMEOUT 0\n", true), None, "none at all");
        let remedy = login("# LOGIN_TIMEOUT 600\n", true).map(|finding| finding.remedy);
        assert_eq!(remedy.as_deref(), Some("echo 'LOGIN_TIMEOUT 300' >>/etc/login.defs"));
    }

    #[test]
    fn only_who_is_asked_at_login_needs_time_there() {
        for binds in [true, false] {
            assert_eq!(time_needed(Require::Off, true, binds), None, "no rule asks there");
            assert_eq!(time_needed(Require::IfBound, false, binds), None);
            assert_eq!(time_needed(Require::IfBound, true, binds), Some(TO_TYPE));
            assert_eq!(time_needed(Require::Mfa, true, binds), Some(TO_TYPE));
        }
        assert_eq!(time_needed(Require::Mfa, false, true), Some(TO_BIND));
        assert_eq!(time_needed(Require::Mfa, false, false), None, "nothing is bound there, or the clock is stopped");
        assert!(is_of_util_linux(b"\x7fELF\0login from util-linux 2.41\0"));
        assert!(!is_of_util_linux(b"\x7fELF\0libshadow\0"));
    }

    #[test]
    fn the_proof_of_the_first_factor_is_the_users_own() {
        let service = |text: &'static str| {
            let files = move |path: &str| Ok((path == "/etc/pam.d/mfa-enroll").then(|| text.to_owned()));
            ids(first_factor(&files))
        };
        assert!(service("auth required pam_unix.so\n").is_empty());
        assert_eq!(service("auth sufficient pam_rootok.so\nauth required pam_unix.so\n"), ["first-factor-rootok"]);
        assert_eq!(service("auth frequently pam_unix.so\n"), ["first-factor-unknown"]);
        assert_eq!(ids(first_factor(&|_| Ok(None))), ["first-factor-missing"]);
    }
}
