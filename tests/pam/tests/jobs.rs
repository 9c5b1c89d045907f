//! Helper and socket are gone: what root has ordered goes on, and nothing else does.

#![allow(clippy::unwrap_used)]

use std::fs;

use pam_tests::code::{AUTHINFO_UNAVAIL, SUCCESS};
use pam_tests::{Host, Log, Report, System, add_user};

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
