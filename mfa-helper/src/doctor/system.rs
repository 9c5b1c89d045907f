//! Settings of other programs that are plain files, and the clock.

use std::path::Path;

use super::people::{Person, listed};
use super::{Finding, edit, quoted};
use crate::flow::ways::{self, End, Rules, Way, ways_in};
use crate::host::Host;
use crate::identity::{self, Password};
use crate::policy::place::Place;
use crate::policy::{Facts, Require};
use crate::stack::{self, Files, Kind, Module, Stack, system_file};
use crate::sudo::{Setting, Waives};

/// The time for binding a device in a login, in seconds: finding the phone, scanning, two codes in a row.
const TO_BIND: u64 = 180;
/// The time for one code, if the clock shows the next one every 30 seconds.
const TO_TYPE: u64 = 40;
/// The time for a recovery code, which is asked for when the key that is plugged in has not answered in its own time.
const AFTER_A_KEY: u64 = 30;

/// The most people whose passwords are looked at: each look-up is a process.
const MOST: usize = 200;

/// Checks them.
pub fn check(people: &[Person], services: &[String], host: &Host, rules: &Rules, facts: &ways::Facts) -> Vec<Finding> {
    let is_exempt = |user: &str| is_exempt_in_sudo(user, people, host) || cannot_be_asked(user, people, rules, facts);
    let mut findings = Vec::new();
    findings.extend(clock((host.synchronised)(), Path::new("/run/systemd/container").exists()));
    findings.extend(match &facts.sudo_settings {
        Ok(settings) => sudo_waives(settings, &is_exempt),
        Err(why) => vec![Finding::grave(
            "sudoers-unreadable",
            "/etc/sudoers",
            why.clone(),
            super::remedy_in(why, || "visudo -c".into()),
        )],
    });
    let binds_in_time = std::fs::read(LOGIN).is_ok_and(|program| is_of_util_linux(&program));
    let needed = time_at_login(people, binds_in_time, host);
    findings.extend(needed.and_then(|needed| login_timeout(&system_file, needed)));
    findings.extend(first_factor(&system_file));
    let taken = ["login", "su", "sshd"]
        .iter()
        .any(|service| services.iter().any(|listed| listed == service) && stack::takes_empty(service, &system_file));
    let required = people.iter().filter(|person| {
        ["login", "su", "sshd"].iter().any(|service| person.asked(service, host).require == Require::Mfa)
    });
    let required: Vec<&str> = if taken { required.take(MOST).map(Person::name).collect() } else { Vec::new() };
    findings.extend(empty_password(&required, &identity::password_of));
    let asked = |service: &str| {
        people.iter().filter(|person| person.is_asked(service, host)).map(|person| person.name().to_owned()).collect()
    };
    findings.extend(jupyterhub(&system_file, &asked));
    findings
}

/// In a container the clock is the host's, and no program in the container can tell who sets it.
fn clock(synchronised: bool, container: bool) -> Option<Finding> {
    let what = "nothing keeps the clock right: when it is off by more than a step, right codes are refused";
    let keeps = |there: bool| match there {
        true => "timedatectl set-ntp true",
        // There is nothing that could be switched on.
        false => "apt-get install -y systemd-timesyncd  # or what keeps clocks right here",
    };
    let some = |folder: &str| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    let remedy = keeps(NTP_UNITS.iter().any(|folder| some(folder)));
    (!synchronised && !container).then(|| Finding::warning("clock-unsynchronized", "clock", what, remedy))
}

/// The programs among which `timedatectl set-ntp` chooses (systemd-timedated.service(8)).
const NTP_UNITS: [&str; 3] =
    ["/etc/systemd/ntp-units.d", "/usr/lib/systemd/ntp-units.d", "/usr/local/lib/systemd/ntp-units.d"];

/// Whether a rule exempts this user in sudo, as one does for a robot (`require --except` asks it if a device is bound).
/// Then sudo's settings waive nothing of ours.
fn is_exempt_in_sudo(user: &str, people: &[Person], host: &Host) -> bool {
    let Ok(Some(identity)) = identity::find(user) else { return false };
    let facts = Facts { user: &identity.name, service: "sudo", place: Place::Remote(None), now: (host.now)() };
    let asked = host.policy().decide(&facts, &mut |group| identity.member(group));
    let is_bound = || people.iter().any(|person| person.name() == identity.name && person.bound());
    match asked.require {
        Require::Off => true,
        Require::IfBound => {
            let decides = host.policy().rule_of(&asked);
            decides.is_some_and(|rule| rule.users.is_some() && rule.require == Require::IfBound) && !is_bound()
        }
        Require::Mfa => false,
    }
}

/// Whether NOPASSWD is all by which sudo could let this user in, because sudo asks for this user's password and there is
/// none, as in cloud images; and the code is asked where such a user comes in, by ssh.
fn cannot_be_asked(user: &str, people: &[Person], rules: &Rules, facts: &ways::Facts) -> bool {
    let stack = facts.stack("sudo", Kind::Auth);
    let asks_unix =
        stack.as_ref().as_ref().is_ok_and(|stack| stack.modules().any(|module| module.name() == "pam_unix.so"));
    let asks_another = match &facts.sudo_settings {
        Ok(settings) => settings.iter().any(|setting| setting.waives == Waives::Owner),
        Err(_) => true,
    };
    let person = || people.iter().find(|person| person.name() == user).and_then(Person::on_the_way);
    asks_unix
        && !asks_another
        && !stack::asks_elsewhere("sudo", &system_file)
        && identity::password_of(user) == Password::Locked
        && person().is_some_and(|person| is_asked(&ways_in(&person, "sshd", Place::Remote(None), rules, facts)))
}

/// Whether some way lets in, and each one that does asks for a device.
fn is_asked(ways: &[Way]) -> bool {
    let asks = |way: &Way| way.unsure.is_none() && !matches!(way.end, End::In(_) | End::NotKnown(_));
    ways.iter().all(asks) && ways.iter().any(|way| way.end.lets_in())
}

/// The steps of a login that sudo's settings remove, found by the function that hand-overs use.
fn sudo_waives(settings: &[Setting], is_exempt: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let concerns_us = |setting: &&Setting| match setting.waives {
        Waives::Auth | Waives::SomeAuth => !setting.user.as_deref().is_some_and(is_exempt),
        _ => true,
    };
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
            // That is no way round a code by itself.
            Waives::Owner => return None,
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
        Some(Finding { grave, ..Finding::grave(id, place, format!("{waives}{so}: {said}"), remedy) })
    };
    settings.iter().filter(concerns_us).filter_map(finding).collect()
}

/// Anybody knows an empty password, so a device is bound by a stranger, or is the only factor.
fn empty_password(required: &[&str], password_of: &dyn Fn(&str) -> Password) -> Option<Finding> {
    let empty: Vec<&str> = required.iter().copied().filter(|name| password_of(name) == Password::Empty).collect();
    let first = *empty.first()?;
    let what = format!("required to have a device, with an empty password, which anybody knows: {}", listed(&empty));
    let remedy = format!("passwd -- {}  # each of them", quoted(first));
    Some(Finding::grave("empty-password", first, what, remedy).naming(&empty))
}

/// JupyterHub asks for a password in a form of its own, once, and by default as the service `login`. An exemption for
/// that would open the console.
fn jupyterhub(files: &Files, asked: &dyn Fn(&str) -> Vec<String>) -> Option<Finding> {
    const FILES: [&str; 3] = [
        "/etc/jupyterhub/jupyterhub_config.py",
        "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py",
        "/srv/jupyterhub/jupyterhub_config.py",
    ];
    let (file, text) = FILES.iter().find_map(|file| Some((*file, files(file).ok().flatten()?)))?;
    let value = |name: &str| {
        // The last assignment counts.
        let lines = text.lines().rev().map(str::trim).filter(|line| !line.starts_with('#'));
        let mut set = lines.filter_map(|line| line.split_once('=')).filter(|(left, _)| left.trim_end().ends_with(name));
        set.next().map(|(_, right)| right.trim().trim_matches(['"', '\'']).to_owned())
    };
    let class = value(".authenticator_class").unwrap_or_default();
    if !class.is_empty() && !class.to_ascii_lowercase().contains("pam") {
        return None;
    }
    let service = value("PAMAuthenticator.service").unwrap_or(String::from("login"));
    let stack = Stack::read(&service, Kind::Auth, files).ok()?;
    if service == "jupyterhub" || !stack.modules().any(Module::is_ours) {
        return None;
    }
    let names = asked(&service);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let what =
        format!("JupyterHub asks as the service {service}, cannot ask for a code, and locks out: {}", listed(&names));
    let by_hand =
        "give it a service of its own: c.PAMAuthenticator.service = \"jupyterhub\", with a file in /etc/pam.d";
    Some(Finding::grave("service-asks-once", file, what, edit(file, by_hand)).naming(&names))
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
        let key = person.has_plugged_key().then_some(host.policy().u2f.timeout);
        time_needed(require, person.bound(), binds, key)
    };
    people.iter().filter_map(needs).max()
}

/// `key` is how long a key of this person is waited for.
fn time_needed(require: Require, bound: bool, binds: bool, key: Option<u64>) -> Option<u64> {
    match (require, bound) {
        (Require::Off, _) | (Require::IfBound, false) => None,
        (_, true) => Some(key.map_or(TO_TYPE, |key| TO_TYPE.max(key + AFTER_A_KEY))),
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
        TO_TYPE => format!("login gives {seconds} s, too few to find a device and type its code"),
        needed => {
            let key = needed - AFTER_A_KEY;
            format!("login gives {seconds} s: a security key that does not answer takes {key}, before a code is asked")
        }
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
    use crate::flow::ways::First;
    use crate::sudo;

    fn ids(findings: impl IntoIterator<Item = Finding>) -> Vec<&'static str> {
        findings.into_iter().map(|finding| finding.id).collect()
    }

    fn sudoers_say(text: &str) -> Vec<Finding> {
        sudo_waives(&sudo::of_words("/etc/sudoers", text), &|user| user == "robot")
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_found_but_not_in_a_container() {
        let found = clock(false, false).unwrap();
        let nothing = NTP_UNITS.iter().all(|folder| !Path::new(folder).exists());
        assert_eq!((found.id, found.remedy.starts_with("apt-get ")), ("clock-unsynchronized", nothing));
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
    fn an_empty_password_of_somebody_required_is_found() {
        let password = |name: &str| match name {
            "eve" => Password::Empty,
            "kim" => Password::NotKnown,
            _ => Password::Set,
        };
        let found = empty_password(&["bob", "eve", "kim"], &password).unwrap();
        assert_eq!(
            (found.id, found.place.as_str(), found.remedy.as_str()),
            ("empty-password", "eve", "passwd -- eve  # each of them")
        );
        assert!(found.grave && found.what.ends_with(": eve"), "{}", found.what);
        assert_eq!(found.names, ["eve"]);
        assert_eq!(empty_password(&["bob", "kim"], &password), None);
    }

    #[test]
    fn jupyterhub_is_found_by_the_service_that_it_names() {
        let on = |config: &str, ours: &str| {
            let config = config.to_owned();
            let auth = format!("auth requisite pam_unix.so\n{ours}");
            let files = move |path: &str| {
                Ok(match path {
                    "/etc/jupyterhub/jupyterhub_config.py" => Some(config.clone()),
                    "/etc/pam.d/login" | "/etc/pam.d/hub" | "/etc/pam.d/jupyterhub" => Some(auth.clone()),
                    _ => None,
                })
            };
            let found = jupyterhub(&files, &|service| vec![format!("bob-of-{service}")])?;
            assert!(found.what.ends_with(&format!(": {}", found.names[0])), "{found:?}");
            Some(found.what)
        };
        let ours = "auth required pam_mfa.so stack=complete\n";
        assert!(on("# c.PAMAuthenticator.service = 'hub'\n", ours).unwrap().ends_with(": bob-of-login"));
        assert!(on("c.PAMAuthenticator.service = 'hub'\n", ours).unwrap().ends_with(": bob-of-hub"));
        for (config, ours) in [
            ("", ""),
            ("c.PAMAuthenticator.service = \"jupyterhub\"\n", ours),
            ("c.JupyterHub.authenticator_class = 'oauthenticator.GitHubOAuthenticator'\n", ours),
        ] {
            assert_eq!(on(config, ours), None, "{config}");
        }
        assert_eq!(jupyterhub(&|_| Ok(None), &|_| vec![String::from("bob")]), None);
    }

    #[test]
    fn what_sudoers_waive_for_an_exempt_robot_is_none() {
        for line in
            ["robot ALL=(ALL) NOPASSWD: ALL", "robot\tALL = (root) NOPASSWD: ALL", "Defaults:robot !authenticate"]
        {
            assert_eq!(sudoers_say(line), [], "{line}");
            assert_eq!(sudoers_say(&line.replace("robot", "bob")).len(), 1, "{line}");
        }
        for line in [
            "robot, bob ALL=(ALL) NOPASSWD: ALL",
            "robot,bob ALL=(ALL) NOPASSWD: ALL",
            "robot , bob ALL=(ALL) NOPASSWD: ALL",
            "%robot ALL=(ALL) NOPASSWD: ALL",
            "Defaults:robot,bob !authenticate",
            "Defaults !authenticate",
            "Defaults:robot !pam_acct_mgmt",
        ] {
            assert_eq!(sudoers_say(line).len(), 1, "{line}");
        }
    }

    /// One way without a question is enough for a thief, and a user who comes in nowhere is not asked anywhere.
    #[test]
    fn somebody_is_asked_where_no_way_lets_in_unasked() {
        let way = |end: End| Way { first: First::Key, lines: Vec::new(), unsure: None, end };
        let asked = || way(End::Asked("let in after a code"));
        let (open, refused) = (way(End::In(String::new())), way(End::Refused(String::new())));
        let doubtful = Way { unsure: Some(String::from("it depends")), ..asked() };
        assert!(is_asked(&[asked()]) && is_asked(&[refused.clone(), asked()]) && is_asked(&[way(End::Led)]));
        for other in [open, doubtful, way(End::NotKnown(String::new()))] {
            assert!(!is_asked(&[asked(), other.clone()]), "{other:?}");
        }
        assert!(!is_asked(&[]) && !is_asked(&[refused]));
    }

    #[test]
    fn login_gives_time_for_what_is_to_be_done_there() {
        let within = |defs: &'static str, needed: u64| login_timeout(&move |_| Ok(Some(defs.to_owned())), needed);
        let login = |defs: &'static str, bind: bool| within(defs, if bind { TO_BIND } else { TO_TYPE });
        let what = within("LOGIN_TIMEOUT 60\n", 90 + AFTER_A_KEY).map(|finding| finding.what);
        let says = "login gives 60 s: a security key that does not answer takes 90, before a code is asked";
        assert_eq!(what.as_deref(), Some(says));
        assert_eq!(within("# nothing\n", 30 + AFTER_A_KEY), None, "as both are shipped");
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
            let time_needed = |require, bound, key| time_needed(require, bound, binds, key);
            assert_eq!(time_needed(Require::Off, true, Some(90)), None, "no rule asks there");
            assert_eq!(time_needed(Require::IfBound, false, None), None);
            assert_eq!(time_needed(Require::IfBound, true, None), Some(TO_TYPE));
            assert_eq!(time_needed(Require::Mfa, true, None), Some(TO_TYPE));
            assert_eq!(time_needed(Require::Mfa, true, Some(90)), Some(120), "a key that is silent, and a code");
            assert_eq!(time_needed(Require::Mfa, true, Some(5)), Some(TO_TYPE));
        }
        assert_eq!(time_needed(Require::Mfa, false, true, None), Some(TO_BIND));
        assert_eq!(
            time_needed(Require::Mfa, false, false, None),
            None,
            "nothing is bound there, or the clock is stopped"
        );
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
