//! Helper and socket are gone: what root has ordered goes on, and nothing else does.

#![allow(clippy::unwrap_used)]

use std::fs;

use pam_tests::code::{AUTHINFO_UNAVAIL, SUCCESS};
use pam_tests::{Log, Report, System, add_user};

const STACK: &str = "auth required pam_permit.so\nauth required {module} helper=/nowhere socket=/nowhere\n\
                     account required pam_permit.so\naccount required {module} helper=/nowhere socket=/nowhere\n\
                     session required pam_permit.so\nsession optional {module} helper=/nowhere socket=/nowhere";

fn run(system: &System, service: &str, under: &[&str], steps: &[&str]) -> Report {
    let own = fs::read_to_string(format!("/etc/pam.d/{service}")).ok();
    system.service(service, STACK);
    let report = system.host(service).user("jobber").under(under).steps(steps).run();
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
    const NOT_ROOT: &[&str] = &["setpriv", "--ruid=1"];
    for (service, under, goes_on) in [
        ("cron", &[][..], true),
        ("crond", &[], true),
        ("atd", &[], true),
        ("systemd-user", &[], true),
        ("su", &[], true),
        ("su-l", &[], true),
        // By somebody who is not root: su keeps their uid.
        ("su", NOT_ROOT, false),
        ("su-l", NOT_ROOT, false),
        ("sudo", &[], false),
        ("sshd", &[], false),
        ("login", &[], false),
        ("door", &[], false),
        ("cronie", &[], false),
    ] {
        let log = Log::listen();
        let report = run(&system, service, under, &["account", "open", "close"]);
        let expected = if goes_on { SUCCESS } else { AUTHINFO_UNAVAIL };
        assert_eq!(report.code("account"), expected, "{service} {under:?}");
        assert_eq!((report.code("open"), report.code("close")), (SUCCESS, SUCCESS), "{service} asks nothing there");
        let lines = log.lines_with("unreachable, and not needed here");
        assert_eq!(lines.is_empty(), !goes_on, "{service}: {lines:?}");
        // Who has been through our auth phase is a login: there is a mark.
        let report = run(&system, service, under, &["auth", "account"]);
        assert_eq!(report.code("auth"), AUTHINFO_UNAVAIL, "{service} {under:?}");
        assert_ne!(report.code("account"), SUCCESS, "{service} {under:?}");
    }
}
