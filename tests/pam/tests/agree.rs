//! What `policy explain` says and what a login does are the same.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use mfa_wire::{AuthHook, Login, Outcome, Request, Verb};
use pam_tests::{Bound, FrontEnd, Helper, add_user, run};

/// Rounds, unless MFA_TEST_ROUNDS says otherwise.
fn rounds() -> usize {
    std::env::var("MFA_TEST_ROUNDS").map_or(400, |rounds| rounds.parse().unwrap())
}

/// Chance, the same in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const SERVICES: [&str; 4] = ["sshd", "sudo", "vsftpd", "su"];
const USERS: [&str; 2] = ["agreebound", "agreefree"];
const HOSTS: [&str; 4] = ["10.1.2.3", "192.0.2.7", "2001:db8::1", "host.example"];

/// A policy of up to four rules, each line of each there or not.
fn policy(chance: &mut Chance) -> String {
    let mut text = String::from("# by chance\n");
    for _ in 0..chance.below(5) {
        text.push_str("[[rule]]\n");
        let require = chance.one(&["off", "if-bound", "mfa", "mfa"]);
        text.push_str(&format!("require = \"{require}\"\n"));
        for (key, values) in [
            ("users", &["[\"agreebound\"]", "[\"agreefree\"]", "[\"nobody\"]"][..]),
            ("groups", &["[\"agreegroup\"]", "[\"no-such-group\"]", "[\"nogroup\"]"]),
            ("services", &["[\"sshd\"]", "[\"sudo\", \"su\"]", "[\"vsftpd\"]"]),
            ("from", &["[\"10.0.0.0/8\"]", "[\"local\"]", "[\"remote\"]", "[\"2001:db8::/32\", \"local\"]"]),
            ("mode", &["\"observe\"", "\"enforce\""]),
            ("enroll", &["\"at-login\"", "\"invited\"", "\"by-admin\""]),
            ("kinds", &["[\"totp\"]", "[\"u2f\"]"]),
            ("deadline", &["\"2020-01-01\"", "\"2099-01-01\""]),
            ("expires", &["\"2020-01-01\"", "\"2099-01-01\""]),
            ("ssh_key", &["\"allow\"", "\"deny\""]),
        ] {
            if chance.below(3) == 0 {
                text.push_str(&format!("{key} = {}\n", chance.one(values)));
            }
        }
    }
    text
}

/// What a login by that service from there does, in the words of `policy explain`.
fn login(helper: &Path, user: &str, service: &str, rhost: &str, by_key: bool) -> &'static str {
    let login = Login {
        rhost: Some(rhost.into()),
        tty: Some(if by_key { "ssh" } else { "/dev/pts/3" }.into()),
        stack_complete: true,
        program: Some("/usr/bin/su".into()),
        ..Login::at(user, service)
    };
    let request = if by_key { Request::Account(login, AuthHook::NotRun) } else { Request::Verify(login) };
    let held = FrontEnd::request(helper, request, &mut |_| None);
    match (held.verdict.outcome, held.asked.len()) {
        (Outcome::Ignored, 0) => "let in",
        (Outcome::Refused, 0) => "refused",
        (Outcome::HandedOver, 0) => "led through",
        (Outcome::NoInteraction, 1) => "asked for",
        (outcome, asked) => panic!("{outcome:?} after {asked} questions: {user} at {service} from {rhost}"),
    }
}

#[test]
fn the_explanation_and_the_login_agree() {
    let bound = Bound::fresh(USERS[0]);
    add_user(USERS[1]);
    run("groupadd", &["--force", "agreegroup"]);
    run("usermod", &["--append", "--groups", "agreegroup", USERS[1]]);
    let auth = "{first}\nauth required {module} stack=complete\n";
    for service in ["sshd", "sudo", "vsftpd"] {
        let stack =
            format!("{auth}account required {{module}}\naccount required pam_permit.so\nsession optional {{module}}");
        bound.system.service(service, &stack);
    }
    bound.system.service("su", &format!("{auth}account required pam_permit.so"));
    let helper = Helper::real().clock(&bound.clock).path();
    let mut chance = Chance(0x6d66_612d_7465_7374);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..rounds() {
        let policy = policy(&mut chance);
        bound.system.config(&policy);
        let (user, service, rhost) = (chance.one(&USERS), chance.one(&SERVICES), chance.one(&HOSTS));
        let by_key = service == "sshd" && chance.below(3) == 0;
        let explain = Verb::PolicyExplain {
            user: user.into(),
            service: service.into(),
            rhost: Some(rhost.into()),
            ssh_key: by_key.then(|| "ssh-ed25519".into()),
        };
        let told = FrontEnd::request(&helper, Request::Verb(explain), &mut |_| None).reported;
        let done = login(&helper, user, service, rhost, by_key);
        let outcome = told.lines().last().unwrap().strip_prefix("outcome     ").unwrap();
        // The sandbox has no sshd that runs, no sudo, and a first factor that is not pam_unix.
        let outcome = outcome.split_once("; perhaps: ").map_or(outcome, |(_, end)| end);
        assert!(outcome.starts_with(done), "{user} at {service} from {rhost}: {done}\n{told}\n{policy}");
        *seen.entry((done, by_key)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 6, "by code: let in, refused, led, asked; by key: let in, refused. {seen:?}");
}
