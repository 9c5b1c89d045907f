//! Binding inside a login: the helper's side of it, spoken to as the module speaks to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use mfa_wire::{AuthHook, Login, Outcome, Request, Verdict};
use pam_tests::code::PERM_DENIED;
use pam_tests::{Clock, FrontEnd, Helper, Log, System, add_user, on_a_terminal, run};

const NOW: i64 = 1_800_000_015;

/// A system that requires a device of everybody, and one who has none.
struct Owing {
    system: System,
    clock: Clock,
    user: String,
}

impl Owing {
    fn fresh(user: &str, rule: &str) -> Owing {
        on_a_terminal();
        add_user(user);
        let system = System::fresh();
        let clock = Clock::at(NOW);
        system.install(&Helper::real().clock(&clock));
        system.config(&format!("issuer = \"web1\"\n[[rule]]\nrequire = \"mfa\"\n{rule}"));
        // What libpam would read, for the helper to see that the account phase is ours.
        for service in ["sudo", "login", "vsftpd", "polkit-1"] {
            let stack = "auth requisite pam_unix.so\nauth required {module} stack=complete\n\
                         account required {module}\nsession optional {module}";
            system.service(service, stack);
        }
        Owing { system, clock, user: user.to_owned() }
    }

    fn login(&self, service: &str, rhost: Option<&str>) -> Login {
        Login {
            rhost: rhost.map(str::to_owned),
            tty: Some("/dev/pts/7".into()),
            ruser: Some(self.user.clone()),
            stack_complete: true,
            program: Some("/usr/bin/su".into()),
            ..Login::at(&self.user, service)
        }
    }

    fn conversation(&self, request: Request, answer: &mut dyn FnMut(&str) -> Option<String>) -> (Verdict, Vec<String>) {
        let held = FrontEnd::request(&Helper::real().clock(&self.clock).path(), request, answer);
        (held.verdict, held.asked)
    }

    fn auth(&self, service: &str) -> Verdict {
        self.conversation(Request::Verify(self.login(service, None)), &mut |_| None).0
    }

    fn account(
        &self,
        hook: AuthHook,
        rhost: Option<&str>,
        answer: impl FnMut(&str) -> Option<String>,
    ) -> (Verdict, Vec<String>) {
        self.account_at("sudo", hook, rhost, answer)
    }

    fn account_at(
        &self,
        service: &str,
        hook: AuthHook,
        rhost: Option<&str>,
        mut answer: impl FnMut(&str) -> Option<String>,
    ) -> (Verdict, Vec<String>) {
        self.conversation(Request::Account(self.login(service, rhost), hook), &mut answer)
    }

    /// Opens the session, as the process that has bound.
    fn session(&self, service: &str) -> Outcome {
        self.conversation(Request::Session(self.login(service, None)), &mut |_| None).0.outcome
    }

    /// Whether a device is bound that holds.
    fn bound(&self) -> bool {
        let file = self.system.store().join("users").join(&self.user).join("credentials");
        fs::read_to_string(file).is_ok_and(|text| !text.contains("\nlatest provisional "))
    }
}

/// The key that a page shows, without its blanks.
fn key_in(page: &str) -> Option<String> {
    let line = page.lines().find_map(|line| line.strip_prefix("Key:").or(line.strip_prefix("  key    ")))?;
    Some(line.split(' ').collect())
}

/// What an app shows so many steps from now.
fn code(key: &str, steps: i64) -> String {
    let time = format!("--now=@{}", NOW + steps * 30);
    run("oathtool", &["--totp", "--base32", &time, key]).trim().to_owned()
}

/// Somebody who does what the page says.
fn diligent() -> impl FnMut(&str) -> Option<String> {
    let mut key = String::new();
    move |page: &str| {
        if let Some(shown) = key_in(page) {
            key = shown;
            return Some(code(&key, -1));
        }
        if page.starts_with("Second verification code") { Some(code(&key, 0)) } else { Some("ok".into()) }
    }
}

#[test]
fn who_is_required_is_led_through_it_and_asked_from_then_on() {
    let owing = Owing::fresh("newcomer", "");
    let log = Log::listen();
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let (verdict, asked) = owing.account(AuthHook::HandedOver, None, diligent());
    assert_eq!(verdict.outcome, Outcome::Accepted, "{}", verdict.text);
    assert_eq!(asked.len(), 3, "{asked:#?}");
    assert!(asked[0].starts_with("MFA is required") && asked[0].contains('█'), "{}", asked[0]);
    assert_eq!(asked[2].matches('-').count(), 30, "ten recovery codes:\n{}", asked[2]);
    assert!(!owing.bound());
    assert_eq!(owing.session("sudo"), Outcome::Accepted);
    assert!(owing.bound());
    let line = log.lines_with("event=account user=newcomer").pop().unwrap();
    assert!(line.contains("verdict=accepted reason=\"bound inside the login\""), "{line}");
    let (verdict, asked) = owing.conversation(Request::Verify(owing.login("sudo", None)), &mut |_| None);
    assert_eq!((verdict.outcome, asked.len()), (Outcome::NoInteraction, 1), "the code is asked");
    let status = owing.system.enroll(&["status", "--user", "newcomer", "--json"], "");
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("\"created_from\":\"/dev/pts/7\""), "{status}");
}

#[test]
fn nobody_gets_past_without_binding() {
    let owing = Owing::fresh("refuser", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let nobody = |_: &str| None;
    assert_eq!(owing.account(AuthHook::HandedOver, None, nobody).0.outcome, Outcome::NoInteraction);
    let wrong = |page: &str| Some(if page.starts_with("Second") { "000001" } else { "000000" }.to_owned());
    let (verdict, asked) = owing.account(AuthHook::HandedOver, None, wrong);
    assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 6), "three tries");
    let (verdict, asked) = owing.account(AuthHook::HandedOver, None, |_| Some("qr".into()));
    assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 20), "not for ever");
    assert!(!owing.bound());
    // A program that remembers the auth phase.
    assert_eq!(owing.account(AuthHook::NotRun, None, nobody).0.outcome, Outcome::NoInteraction, "it is still owed");
    assert_eq!(owing.account(AuthHook::NotRun, None, diligent()).0.outcome, Outcome::Accepted);
    assert_eq!(owing.session("sudo"), Outcome::Accepted);
    assert!(owing.bound());
}

/// Where nobody was asked for a first factor, whoever is there would bind a device of theirs: su with pam_wheel's `trust`,
/// `login -f`, a sudo without a password in a stack in which a stranger can have it noted that a device is owed.
#[test]
fn who_was_asked_for_no_first_factor_binds_nothing_whatever_is_owed() {
    let owing = Owing::fresh("trusted", "");
    assert_eq!(owing.auth("login").outcome, Outcome::HandedOver);
    let untrue = "auth required pam_unix.so\nauth required {module} stack=complete\n\
                  account required {module}\nsession optional {module}";
    for (service, stack) in [("login", None), ("su", None), ("sudo", Some(untrue))] {
        if let Some(stack) = stack {
            owing.system.service(service, stack);
        }
        let (verdict, asked) = owing.account_at(service, AuthHook::NotRun, None, diligent());
        assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 0), "{service}");
        assert!(verdict.text.contains("mfa-enroll totp"), "{}", verdict.text);
    }
    assert!(!owing.bound());
}

/// NOPASSWD lets by whatever runs as the user. In the terminal in which sudo has asked it goes by that; elsewhere, and without
/// one, whoever it is would bind a device of theirs.
#[test]
fn without_a_password_sudo_binds_nothing_but_where_it_has_asked() {
    let owing = Owing::fresh("sleeper", "");
    let run_as = |under: &[&str]| {
        let host = owing.system.host("sudo").user("sleeper").word("item", "8:sleeper").answer("key");
        let report = host.steps(&["account"]).under(under).run();
        (report.code("account"), report.said().iter().any(|said| said.text.contains("First verification code")))
    };
    // Owed at a login whose owner has left, then in this terminal.
    for service in ["login", "sudo"] {
        assert_eq!(owing.auth(service).outcome, Outcome::HandedOver);
        assert_eq!(run_as(&["setsid", "--wait"]), (PERM_DENIED, false), "without a terminal, owed at {service}");
    }
    assert!(run_as(&["env"]).1, "in this one");
    assert!(!owing.bound());
}

#[test]
fn a_ticket_of_sudo_from_before_and_su_by_root_owe_nothing() {
    let owing = Owing::fresh("debtless", "");
    assert_eq!(owing.account(AuthHook::NotRun, None, |_| None).0.outcome, Outcome::Ignored, "no login was let past");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let by_root = Login { ruser: Some("root".into()), ..owing.login("su", None) };
    let request = Request::Account(by_root, AuthHook::NotRun);
    assert_eq!(owing.conversation(request, &mut |_| None).0.outcome, Outcome::Ignored);
    let cron = Request::Account(owing.login("cron", None), AuthHook::NotRun);
    assert_eq!(owing.conversation(cron, &mut |_| None).0.outcome, Outcome::Ignored);
}

/// sudo-rs keeps its ticket before the account phase.
#[test]
fn who_was_let_past_before_the_owner_bound_elsewhere_gives_the_code_in_the_account_phase() {
    let owing = Owing::fresh("latecomer", "");
    let nobody = |_: &str| None;
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    assert_eq!(owing.account(AuthHook::HandedOver, None, nobody).0.outcome, Outcome::NoInteraction);
    let json = owing.system.enroll(&["totp", "--user", "latecomer", "--json"], "");
    let json = String::from_utf8(json.stdout).unwrap();
    let key = json.split("\"secret\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let confirmed = owing.system.enroll(&["confirm", "--user", "latecomer", &code(&key, -1), &code(&key, 0)], "");
    assert!(confirmed.status.success());

    let remembered = |answer: &str| {
        let (verdict, asked) = owing.account(AuthHook::NotRun, None, |_| Some(answer.to_owned()));
        assert_eq!(asked, ["Verification code: "]);
        verdict
    };
    let (verdict, asked) = owing.account(AuthHook::NotRun, None, nobody);
    assert_eq!((verdict.outcome, asked.len()), (Outcome::NoInteraction, 1));
    assert_eq!(remembered(&code(&key, 0)).outcome, Outcome::Refused, "burnt at binding");
    // The rule may be gone by then: the ticket is not.
    owing.system.config("");
    for _ in 0..5 {
        assert_eq!(remembered("000000").outcome, Outcome::Refused);
    }
    assert_eq!(remembered(&code(&key, 1)).outcome, Outcome::Refused, "locked");
    // Nobody need have proved the first factor there, so it locks no login.
    let wrong = owing.conversation(Request::Verify(owing.login("login", None)), &mut |_| Some("000000".into())).0;
    assert!(wrong.text.starts_with("That code is wrong"), "{}", wrong.text);
    assert!(owing.system.enroll(&["unlock", "--user", "latecomer"], "").status.success());
    let log = Log::listen();
    assert_eq!(remembered(&code(&key, 1)).outcome, Outcome::Accepted);
    let line = log.lines_with("event=account user=latecomer").pop().unwrap();
    assert!(line.contains("factor=totp") && line.contains("verdict=accepted reason=code"), "{line}");

    let by_root = Login { ruser: Some("root".into()), ..owing.login("su", None) };
    let request = Request::Account(by_root, AuthHook::NotRun);
    assert_eq!(owing.conversation(request, &mut |_| None).0.outcome, Outcome::Ignored);
    let cron = Request::Account(owing.login("cron", None), AuthHook::NotRun);
    assert_eq!(owing.conversation(cron, &mut |_| None).0.outcome, Outcome::Ignored);
}

/// Only sudo remembers: whoever was let past elsewhere and left is asked for the code there, as everybody is.
#[test]
fn what_was_owed_where_nothing_is_remembered_is_owed_no_more_once_a_device_is_bound() {
    let owing = Owing::fresh("passerby", "");
    assert_eq!(owing.auth("login").outcome, Outcome::HandedOver);
    let (verdict, asked) = owing.account(AuthHook::NotRun, None, |_| None);
    assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 0), "who has no device");
    let json = owing.system.enroll(&["totp", "--user", "passerby", "--json"], "");
    let json = String::from_utf8(json.stdout).unwrap();
    let key = json.split("\"secret\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let confirmed = owing.system.enroll(&["confirm", "--user", "passerby", &code(&key, -1), &code(&key, 0)], "");
    assert!(confirmed.status.success());
    let (verdict, asked) = owing.account(AuthHook::NotRun, None, |_| None);
    assert_eq!((verdict.outcome, asked.len()), (Outcome::Ignored, 0), "{}", verdict.text);
}

/// Root would vouch for whoever has seen that key.
#[test]
fn root_does_not_confirm_what_a_login_has_begun() {
    let owing = Owing::fresh("caller", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let (_, asked) = owing.account(AuthHook::HandedOver, Some("203.0.113.9"), |_| None);
    let key = key_in(&asked[0]).unwrap();
    let confirmed = owing.system.enroll(&["confirm", "--user", "caller", &code(&key, -1), &code(&key, 0)], "");
    let said = String::from_utf8_lossy(&confirmed.stderr).into_owned();
    assert_eq!((confirmed.status.code(), said.contains("begun at a login")), (Some(3), true), "{said}");
    assert!(!owing.bound());
}

#[test]
fn the_key_is_shown_again_to_the_same_place_only() {
    let owing = Owing::fresh("wanderer", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let look = |rhost| {
        let (_, asked) = owing.account(AuthHook::HandedOver, rhost, |_| None);
        (key_in(&asked[0]).unwrap(), asked[0].clone())
    };
    let (first, _) = look(Some("192.0.2.7"));
    let (again, page) = look(Some("192.0.2.7"));
    assert_eq!(first, again);
    assert!(page.contains("Begun just now from 192.0.2.7"), "{page}");
    assert!(page.is_ascii(), "the key comes first: the last client may have been unable to draw");
    let (elsewhere, page) = look(Some("192.0.2.8"));
    assert_ne!(first, elsewhere);
    assert!(page.contains('█'), "{page}");
    assert_ne!(look(Some("192.0.2.7")).0, first, "the one from elsewhere has cancelled it");
    let (unknown, _) = look(Some("host.example"));
    assert_ne!(look(Some("host.example")).0, unknown, "a name is no place");
    let (_, page) = look(None);
    let key = key_in(&page).unwrap();
    owing.clock.set(NOW + 15 * 60);
    assert_ne!(look(None).0, key, "a quarter of an hour is over");
}

#[test]
fn the_page_can_be_had_in_other_ways_and_the_key_anew() {
    // A short name: with a longer one the picture of # is wider than 80 columns, and the key is shown alone.
    let owing = Owing::fresh("lynx", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let wishes = ["key", "ascii", "invert", "new"];
    let mut n = 0;
    let (_, asked) = owing.account(AuthHook::HandedOver, None, |_| {
        n += 1;
        wishes.get(n - 1).map(|wish| (*wish).to_owned())
    });
    let keys: Vec<_> = asked.iter().map(|page| key_in(page).unwrap()).collect();
    assert!(asked[1].is_ascii() && !asked[1].contains("##"), "{}", asked[1]);
    assert!(asked[2].is_ascii() && asked[2].contains("##"), "{}", asked[2]);
    assert!(asked[3].contains('█') && asked[3] != asked[0], "{}", asked[3]);
    assert_eq!(keys[..4], vec![keys[0].clone(); 4]);
    assert_ne!(keys[4], keys[0]);
}

#[test]
fn two_at_once_bind_one_device() {
    let owing = Owing::fresh("twice", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let mut outer = diligent();
    let mut inner = None;
    let (verdict, _) = owing.account(AuthHook::HandedOver, Some("192.0.2.7"), |page| {
        if page.starts_with("Second") && inner.is_none() {
            inner = Some(owing.account(AuthHook::HandedOver, Some("192.0.2.8"), diligent()).0.outcome);
        }
        outer(page)
    });
    assert_eq!(inner, Some(Outcome::Accepted));
    assert_eq!(verdict.outcome, Outcome::Refused, "{}", verdict.text);
    assert_eq!(owing.session("sudo"), Outcome::Accepted);
    assert!(owing.bound());
    assert_eq!(
        owing.account(AuthHook::HandedOver, None, diligent()).0.text,
        "A device was bound meanwhile: log in again, and its code is asked."
    );
}

#[test]
fn of_sixty_four_who_bind_at_once_one_does() {
    let owing = Owing::fresh("crowd", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let helper = &Helper::real().clock(&owing.clock).path();
    let requests: Vec<_> = (0..64)
        .map(|n| Request::Account(owing.login("sudo", Some(&format!("192.0.2.{n}"))), AuthHook::HandedOver))
        .collect();
    let bound = std::thread::scope(|scope| {
        let all: Vec<_> = requests
            .into_iter()
            .map(|request| scope.spawn(move || FrontEnd::request(helper, request, &mut diligent()).verdict.outcome))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|o| *o == Outcome::Accepted).count()
    });
    // Each may have cancelled the one before, or displaced it; whoever comes next is not kept out by that.
    if bound == 0 {
        assert_eq!(owing.account(AuthHook::HandedOver, None, diligent()).0.outcome, Outcome::Accepted);
    }
    assert!(!owing.bound());
    let session = Request::Session(owing.login("sudo", None));
    let confirmed = std::thread::scope(|scope| {
        let all: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| FrontEnd::request(helper, session.clone(), &mut |_| None).verdict.outcome))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|o| *o == Outcome::Accepted).count()
    });
    assert_eq!(confirmed, 1, "one device, once");
    assert!(owing.bound());
}

#[test]
fn an_invitation_is_needed_where_the_rule_says_so_and_good_once() {
    let owing = Owing::fresh("guest", "enroll = \"invited\"\n");
    let verdict = owing.auth("sudo");
    assert_eq!(verdict.outcome, Outcome::Refused);
    assert!(verdict.text.ends_with("mfa-enroll invite --user guest"), "{}", verdict.text);
    let invited = owing.system.enroll(&["invite", "--user", "guest"], "");
    let ticket = String::from_utf8(invited.stdout).unwrap().trim().to_owned();
    assert_eq!(ticket.len(), 19, "{ticket}");
    assert_eq!(owing.auth("sudo").outcome, Outcome::Refused, "its ticket might outlive the binding");
    assert_eq!(owing.auth("login").outcome, Outcome::HandedOver);
    let (verdict, asked) =
        owing.account_at("login", AuthHook::HandedOver, None, |_| Some("aaaa-bbbb-cccc-dddd".into()));
    assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 1), "no key is shown to who has no ticket");
    let mut rest = diligent();
    let with_ticket = |page: &str| if page.starts_with("Invitation") { Some(ticket.clone()) } else { rest(page) };
    assert_eq!(owing.account_at("login", AuthHook::HandedOver, None, with_ticket).0.outcome, Outcome::Accepted);
    assert_eq!(owing.auth("login").outcome, Outcome::HandedOver, "until the session opens it is not used up");
    assert_eq!(owing.session("login"), Outcome::Accepted);
    owing.system.enroll(&["disable", "--user", "guest"], "");
    assert_eq!(owing.auth("login").outcome, Outcome::Refused, "the ticket is used up");
}

#[test]
fn an_invitation_can_be_taken_back() {
    let owing = Owing::fresh("uninvited", "enroll = \"invited\"\n");
    let enroll = |verb: &[&str]| {
        let done = owing.system.enroll(&[verb, &["--user", "uninvited"]].concat(), "");
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(enroll(&["cancel"]).0, Some(3));
    assert_eq!(enroll(&["invite"]).0, Some(0));
    assert_eq!(owing.auth("login").outcome, Outcome::HandedOver);
    assert_eq!(enroll(&["cancel"]), (Some(0), "The invitation is void.\n".into()));
    assert_eq!(owing.auth("login").outcome, Outcome::Refused);
    assert_eq!(enroll(&["cancel"]).0, Some(3));
    assert_eq!((enroll(&["invite"]).0, enroll(&["totp", "--json"]).0), (Some(0), Some(0)));
    let both = "The pending device is dropped and the invitation void.\n";
    assert_eq!(enroll(&["cancel"]), (Some(0), both.into()));
    assert_eq!(owing.auth("login").outcome, Outcome::Refused);
    assert_eq!(enroll(&["totp", "--json"]).0, Some(0));
    assert_eq!(enroll(&["cancel"]), (Some(0), "The pending device is dropped.\n".into()));
}

#[test]
fn where_it_is_not_to_be_bound_the_remedy_is_named_and_no_key() {
    let owing = Owing::fresh("stranger", "");
    for service in ["vsftpd", "polkit-1"] {
        let verdict = owing.auth(service);
        assert_eq!(verdict.outcome, Outcome::Refused, "{service}");
        assert!(verdict.text.contains("mfa-enroll totp --user stranger"), "{}", verdict.text);
    }
    owing.system.config("[[rule]]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n");
    assert_eq!(owing.auth("sudo").outcome, Outcome::Refused);
    owing.system.config("[[rule]]\nrequire = \"mfa\"\nkinds = [\"u2f\"]\n");
    assert_eq!(owing.auth("sudo").outcome, Outcome::Refused);
    owing.system.config("[enroll]\nservices = []\n[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(owing.auth("sudo").outcome, Outcome::Refused);
    assert!(!owing.system.store().join("users/stranger").exists(), "nothing is owed");
    owing.system.config("[[rule]]\nrequire = \"mfa\"\n");
    let blind = Login { stack_complete: false, ..owing.login("sudo", None) };
    let (verdict, asked) = owing.conversation(Request::Verify(blind), &mut |_| Some("000000".into()));
    assert_eq!((verdict.outcome, verdict.text.as_str()), (Outcome::Refused, "Second factor refused."));
    assert_eq!(asked, ["Verification code: "]);
}

#[test]
fn where_the_account_phase_could_be_passed_by_nobody_is_handed_over_to_it() {
    let owing = Owing::fresh("bystander", "");
    let ours = "/usr/lib/mfa-test/pam_mfa.so";
    let log = Log::listen();
    for account in [
        String::new(),
        String::from("account required pam_permit.so"),
        format!("account sufficient pam_unix.so\naccount required {ours}"),
        format!(
            "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount required pam_deny.so\naccount required {ours}"
        ),
        format!("account required pam_permit.so\naccount [default=ignore] {ours}"),
        format!("account include missing\naccount required {ours}"),
    ] {
        owing.system.service(
            "sudo",
            &format!(
                "auth requisite pam_unix.so\nauth required {ours} stack=complete\n{account}\nsession optional {ours}"
            ),
        );
        let verdict = owing.auth("sudo");
        assert_eq!(verdict.outcome, Outcome::Refused, "{account}");
        assert!(verdict.text.contains("mfa-enroll totp --user bystander"), "{}", verdict.text);
        let line = log.lines_with("event=verify user=bystander").pop().unwrap();
        assert!(line.contains("the account phase is not ours"), "{line}");
    }
    assert!(!owing.system.store().join("users/bystander").exists(), "nothing is owed");
}

#[test]
fn where_sudo_may_skip_its_account_phase_nobody_is_handed_over_to_it() {
    let owing = Owing::fresh("skipper", "");
    let file = "/etc/sudoers.d/mfa-test";
    fs::create_dir_all("/etc/sudoers.d").unwrap();
    for text in ["Defaults:skipper !pam_acct_mgmt\n", "@include /etc/elsewhere\n"] {
        fs::write(file, text).unwrap();
        assert_eq!(owing.auth("sudo").outcome, Outcome::Refused, "{text}");
    }
    fs::remove_file(file).unwrap();
    fs::rename("/etc/sudoers.d", "/etc/sudoers.d.away").unwrap();
    fs::write("/etc/sudoers.d", "not a folder").unwrap();
    assert_eq!(owing.auth("sudo").outcome, Outcome::Refused, "what cannot be read may say so");
    fs::remove_file("/etc/sudoers.d").unwrap();
    fs::rename("/etc/sudoers.d.away", "/etc/sudoers.d").unwrap();
    fs::write(file, "skipper ALL=(ALL) ALL\n").unwrap();
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    fs::remove_file(file).unwrap();
}

#[test]
fn a_sudo_that_names_another_service_is_a_sudo() {
    let owing = Owing::fresh("renamer", "");
    let (su, sudo) = ("/usr/bin/su", "/usr/lib/mfa-test/sudo");
    fs::copy(su, sudo).unwrap();
    let untrue = "auth required pam_unix.so\nauth required {module} stack=complete\n\
                  account required {module}\nsession optional {module}";
    owing.system.service("login", untrue);
    let by = |program: &str| {
        let login = Login { program: Some(program.to_owned()), ..owing.login("login", None) };
        owing.conversation(Request::Verify(login), &mut |_| Some("000000".into())).0.outcome
    };
    let owes = || owing.system.store().join("users/renamer").exists();

    fs::create_dir_all("/etc/sudoers.d").unwrap();
    let file = "/etc/sudoers.d/mfa-test-renamer";
    fs::write(file, "Defaults pam_service=login, !pam_session\n").unwrap();
    assert_eq!((by(sudo), owes()), (Outcome::Refused, false));
    assert_eq!((by(su), owes()), (Outcome::HandedOver, false), "sudo's settings are nothing to su");
    fs::remove_file(file).unwrap();
    assert_eq!((by(sudo), owes()), (Outcome::HandedOver, true), "it may remember whom auth has let past");

    owing.system.config("[[rule]]\nrequire = \"mfa\"\nenroll = \"invited\"\n");
    assert_eq!(owing.system.enroll(&["invite", "--user", "renamer"], "").status.code(), Some(0));
    assert_eq!((by(sudo), by(su)), (Outcome::Refused, Outcome::HandedOver), "its ticket might outlive the binding");
    fs::remove_file(sudo).unwrap();
}

#[test]
fn before_the_deadline_there_is_a_reminder() {
    let owing = Owing::fresh("early", "deadline = \"2027-01-31\"\n");
    let verdict = owing.auth("sudo");
    assert_eq!(verdict.outcome, Outcome::Ignored);
    assert_eq!(verdict.text, "MFA will be required of you in 16 days. Bind a device by then: mfa-enroll totp");
    let rule = |kind: &str| {
        let rule = format!("[[rule]]\nrequire = \"mfa\"\nkinds = [\"{kind}\"]\ndeadline = \"2027-01-31\"\n");
        owing.system.config(&rule);
    };
    rule("u2f");
    assert!(owing.auth("sudo").text.ends_with("Bind a device by then: mfa-enroll u2f"));
    rule("totp");
    owing.clock.set(1_801_353_600);
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
}

#[test]
fn a_rule_that_observes_is_seen_in_the_log() {
    let owing = Owing::fresh("observed", "mode = \"observe\"\n");
    let log = Log::listen();
    assert_eq!(owing.auth("sudo").outcome, Outcome::Ignored);
    let line = log.lines_with("event=verify user=observed").pop().unwrap();
    assert!(line.contains("rule=none observed=\"mfa.toml:2 mfa\""), "{line}");
}

#[test]
fn the_pending_file_is_there_before_the_key_is_shown() {
    let owing = Owing::fresh("pender", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let pending = owing.system.store().join("users/pender/pending");
    let mut seen = String::new();
    let _ = owing.account(AuthHook::HandedOver, None, |page| {
        let key = key_in(page)?;
        seen = fs::read_to_string(&pending).unwrap();
        assert!(seen.contains(&key));
        None
    });
    assert!(!seen.is_empty());
}

/// What the rest of the stack refuses, and what has no session (`sudo -v`), binds nothing.
#[test]
fn a_device_that_no_session_confirms_counts_as_none_and_is_spoken_of() {
    let owing = Owing::fresh("lapser", "");
    let key = |asked: &[String]| key_in(&asked[0]).unwrap();
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    let (verdict, asked) = owing.account(AuthHook::HandedOver, None, diligent());
    assert_eq!(verdict.outcome, Outcome::Accepted);
    let first = key(&asked);
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver, "nothing is bound");
    assert_eq!(owing.account(AuthHook::NotRun, None, |_| None).0.outcome, Outcome::NoInteraction, "it is still owed");
    let list = owing.system.enroll(&["list", "--missing"], "");
    assert!(String::from_utf8_lossy(&list.stdout).contains("lapser"), "{list:?}");
    // Displaced, and the next dialogue says so.
    let held = FrontEnd::request(
        &Helper::real().clock(&owing.clock).path(),
        Request::Account(owing.login("sudo", None), AuthHook::HandedOver),
        &mut diligent(),
    );
    let told = &held.told;
    assert!(told.iter().any(|line| line.contains("is void: that login did not open")), "{told:?}");
    assert_ne!(key(&held.asked), first);
    assert_eq!(owing.session("sudo"), Outcome::Accepted);
    let status = owing.system.enroll(&["status", "--user", "lapser", "--json"], "");
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"kind\":\"totp\""), "{status:?}");
}

#[test]
fn a_provisional_device_is_confirmed_by_its_own_login_in_time_and_by_no_other() {
    let owing = Owing::fresh("opener", "");
    assert_eq!(owing.session("sudo"), Outcome::Ignored, "nothing waits");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    assert_eq!(owing.account(AuthHook::HandedOver, None, diligent()).0.outcome, Outcome::Accepted);
    let file = owing.system.store().join("users/opener/credentials");
    let text = fs::read_to_string(&file).unwrap();
    let own = format!("{}:", std::process::id());
    let line = text.lines().find(|line| line.starts_with("latest provisional ")).unwrap();
    assert!(
        line.contains(&own) && line.split(' ').count() == 4,
        "the process itself, and not what has started it: {line}"
    );
    // A process of another login, whoever it says that it is.
    let log = Log::listen();
    let other = owing.system.host("sudo").user("opener").word("pamenv", "PAM_MFA_BOUND=opener");
    let _ = other.steps(&["open"]).run();
    let line = log.lines_with("event=session user=opener").pop().unwrap();
    assert!(line.contains("verdict=refused reason=\"another login has bound"), "{line}");
    assert!(!owing.bound());
    owing.clock.set(NOW + 15 * 60);
    assert_eq!(owing.session("sudo"), Outcome::Refused, "a quarter of an hour is over");
    owing.clock.set(NOW + 15 * 60 - 1);
    assert_eq!(owing.session("sudo"), Outcome::Accepted);
    assert!(owing.bound());
    assert_eq!(owing.session("sudo"), Outcome::Ignored, "once");
}

/// sshd holds the account phase in a process of its own: that one's parent opens the session.
#[test]
fn behind_sshd_the_parent_may_confirm_as_well() {
    let owing = Owing::fresh("parented", "");
    owing.system.service(
        "sshd",
        "auth requisite pam_unix.so\nauth required {module} stack=complete\n\
         account required {module}\nsession optional {module}",
    );
    assert_eq!(owing.auth("sshd").outcome, Outcome::HandedOver);
    assert_eq!(owing.account_at("sshd", AuthHook::HandedOver, None, diligent()).0.outcome, Outcome::Accepted);
    let text = fs::read_to_string(owing.system.store().join("users/parented/credentials")).unwrap();
    let line = text.lines().find(|line| line.starts_with("latest provisional ")).unwrap();
    // SAFETY: has no preconditions.
    let parent = format!(" {}:", unsafe { libc::getppid() });
    assert!(line.contains(&parent) && line.split(' ').count() == 5, "{line}");
}

#[test]
fn what_is_handed_over_ends_as_bound_or_refused_whatever_the_policy_says_by_then() {
    let owing = Owing::fresh("released", "");
    assert_eq!(owing.auth("sudo").outcome, Outcome::HandedOver);
    for policy in ["# nothing\n", "[[rule]]\nrequire = \"off\"\n", "[[rule]]\nrequire = \"if-bound\"\n"] {
        owing.system.config(policy);
        let (verdict, asked) = owing.account(AuthHook::HandedOver, None, diligent());
        assert_eq!((verdict.outcome, asked.len()), (Outcome::Refused, 0), "{policy}");
    }
}

#[test]
fn a_program_that_is_not_known_to_hold_an_account_phase_is_left_nothing() {
    let owing = Owing::fresh("careless", "");
    let by = |program: Option<&str>| {
        let login = Login { program: program.map(str::to_owned), ..owing.login("login", None) };
        owing.conversation(Request::Verify(login), &mut |_| None).0.outcome
    };
    fs::create_dir_all("/usr/lib/mfa-test/mine").unwrap();
    fs::copy("/usr/bin/su", "/usr/lib/mfa-test/mine/dropbear").unwrap();
    for program in
        [None, Some("/usr/bin/python3.11"), Some("/usr/lib/mfa-test/mine/dropbear"), Some("su"), Some("/nowhere/su")]
    {
        assert_eq!(by(program), Outcome::Refused, "{program:?}");
    }
    assert!(!owing.system.store().join("users/careless").exists(), "nothing is owed");
    assert_eq!(by(Some("/usr/bin/su (deleted)")), Outcome::HandedOver);
    owing.system.config("[enroll]\nprograms = [\"dropbear\"]\n[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(by(Some("/usr/lib/mfa-test/mine/dropbear")), Outcome::HandedOver);
    owing.system.config("[enroll]\nprograms = [\"python3.11\"]\n");
    let checked = owing.system.enroll(&["policy", "check"], "");
    assert_eq!(checked.status.code(), Some(7), "{checked:?}");
}
