//! Helper and socket are gone, or there is one that breaks off: what root has ordered goes on, and nothing else does.

#![allow(clippy::unwrap_used)]

use std::fs;

use pam_tests::code::{AUTHINFO_UNAVAIL, MAXTRIES, PERM_DENIED, SUCCESS};
use pam_tests::{Host, Log, Report, Stage, System, add_user};

const STACK: &str = "auth required pam_permit.so\nauth required {module} helper=/nowhere socket=/nowhere\n\
                     account required pam_permit.so\naccount required {module} helper=/nowhere socket=/nowhere\n\
                     session required pam_permit.so\nsession optional {module} helper=/nowhere socket=/nowhere";

/// By somebody who is not root: su keeps their uid.
const NOT_ROOT: &[&str] = &["setpriv", "--ruid=1"];

fn run(system: &System, service: &str, steps: &[&str], caller: impl Fn(Host) -> Host) -> Report {
    let own = fs::read_to_string(format!("/etc/pam.d/{service}")).ok();
    system.service(service, STACK);
    let report = caller(system.host(service).user("jobber")).steps(steps).run();
    match own {
        Some(text) => fs::write(format!("/etc/pam.d/{service}"), text).unwrap(),
        None => fs::remove_file(format!("/etc/pam.d/{service}")).unwrap(),
    }
    report
}

#[test]
fn without_a_helper_roots_jobs_go_on_and_nothing_else() {
    add_user("jobber");
    let system = System::fresh();
    system.config("[[rule]]\nrequire = \"mfa\"\n");
    for (service, under, goes_on) in [
        ("cron", &[][..], true),
        ("crond", &[], true),
        ("atd", &[], true),
        ("systemd-user", &[], true),
        ("su", &[], true),
        ("su-l", &[], true),
        ("su", NOT_ROOT, false),
        ("su-l", NOT_ROOT, false),
        ("sudo", &[], false),
        ("sshd", &[], false),
        ("login", &[], false),
        ("door", &[], false),
        ("cronie", &[], false),
    ] {
        let log = Log::listen();
        let report = run(&system, service, &["account", "open", "close"], |host| host.under(under));
        let expected = if goes_on { SUCCESS } else { AUTHINFO_UNAVAIL };
        assert_eq!(report.code("account"), expected, "{service} {under:?}");
        assert_eq!((report.code("open"), report.code("close")), (SUCCESS, SUCCESS), "{service} asks nothing there");
        let lines = log.lines_with("unreachable, and not needed here");
        assert_eq!(lines.is_empty(), !goes_on, "{service}: {lines:?}");
        // Who has been through our auth phase is a login: there is a mark.
        let report = run(&system, service, &["auth", "account"], |host| host.under(under));
        assert_eq!(report.code("auth"), AUTHINFO_UNAVAIL, "{service} {under:?}");
        assert_ne!(report.code("account"), SUCCESS, "{service} {under:?}");
    }
}

/// sshd may be told another name for its service (`PAMServiceName`), and a login by key has no auth phase.
#[test]
fn without_a_helper_no_name_of_a_service_makes_a_job_of_sshd() {
    add_user("jobber");
    let system = System::fresh();
    for service in ["cron", "su"] {
        // PAM_TTY is item 3.
        for (key, value) in [("item", "3:ssh"), ("pamenv", "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA\n")] {
            let report = run(&system, service, &["account"], |host| host.word(key, value));
            assert_eq!(report.code("account"), AUTHINFO_UNAVAIL, "{service}, {value}");
        }
    }
}

/// A helper that says Hello and then breaks off, in whatever way, has judged nothing.
#[test]
fn where_the_helper_breaks_off_roots_jobs_go_on_and_nothing_else() {
    // The log is one for all: no job of another test meanwhile.
    let _alone = System::fresh();
    for script in ["hello\nrequest\nkill", "hello\nexit", "hello\nrequest\nraw 00000003 250000\nexit"] {
        for service in ["cron", "crond", "atd", "systemd-user", "su", "su-l"] {
            assert_eq!(with_helper(script, service, &[]), (SUCCESS, true), "{service}, \"{script}\"");
        }
        for (service, under) in [("su", NOT_ROOT), ("su-l", NOT_ROOT), ("sudo", &[]), ("sshd", &[]), ("door", &[])] {
            assert_eq!(with_helper(script, service, under), (AUTHINFO_UNAVAIL, false), "{service}, \"{script}\"");
        }
    }
}

/// Whoever is asked could else wait until the helper's time is over.
#[test]
fn where_the_helper_breaks_off_after_a_question_nobody_goes_on() {
    // The log is one for all: no job of another test meanwhile.
    let _alone = System::fresh();
    for question in ["ask Code: ", "ask-hidden Code: ", "notice Touch it."] {
        for service in ["cron", "su"] {
            let script = format!("hello\nrequest\n{question}\nkill");
            assert_eq!(with_helper(&script, service, &[]), (AUTHINFO_UNAVAIL, false), "{service}, {question}");
        }
    }
}

/// "Unavailable" is a word too: of a store that is damaged.
#[test]
fn what_a_helper_says_of_a_job_holds() {
    // The log is one for all: no job of another test meanwhile.
    let _alone = System::fresh();
    for (verdict, expected) in [("Unavailable", AUTHINFO_UNAVAIL), ("Refused", PERM_DENIED), ("Locked", MAXTRIES)] {
        let script = format!("hello\nrequest\nverdict {verdict}");
        assert_eq!(with_helper(&script, "cron", &[]), (expected, false), "{verdict}");
    }
}

/// What the account phase of a service comes to with a helper that does as `script` says, and whether the log says that
/// none was needed.
fn with_helper(script: &str, service: &str, under: &[&str]) -> (i32, bool) {
    let log = Log::listen();
    let stage = Stage::new("account required pam_permit.so\naccount required {mfa}");
    stage.script(script);
    let stacks = stage.path("pam.d");
    fs::rename(stacks.join(&stage.service), stacks.join(service)).unwrap();
    let host = Host::new(&stacks, service).user("alice").answer("492039");
    let code = host.under(under).steps(&["account"]).run().code("account");
    assert_eq!(stage.runs(), 1, "there is no second helper after \"{script}\"");
    (code, !log.lines_with("failed before its verdict, and not needed here").is_empty())
}
