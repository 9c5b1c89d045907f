//! Ten thousand logins in one process, as a server that never ends has them: they leave it as it was.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;

use pam_tests::code::{AUTH_ERR, SUCCESS};
use pam_tests::{Bound, Helper, Listener, Report, add_user};

const LOGINS: usize = 10_000;

#[test]
fn ten_thousand_logins_by_the_socket_leave_no_trace_in_the_host() {
    let bound = Bound::fresh("steady");
    let _listener = Listener::start(&Helper::real().clock(&bound.clock));
    leaves_no_trace(&bound, "helper=/nowhere");
}

#[test]
fn ten_thousand_logins_by_spawn_leave_no_trace_in_the_host() {
    leaves_no_trace(&Bound::fresh("steady"), "socket=/nowhere");
}

fn leaves_no_trace(bound: &Bound, argument: &str) {
    add_user("passing");
    let plan = plan(bound);
    let module = format!("{{module}} stack=complete {argument}");
    bound.system.service("permit", "auth required pam_permit.so\naccount required pam_permit.so");
    bound.system.service(
        "door",
        &format!("{{first}}\nauth required {module}\naccount required pam_permit.so\naccount required {module}"),
    );
    // The same process with the same plan, but for the module: what is left to say is how it ends.
    let ends = |plan: &str| plan.replace(&format!(" {AUTH_ERR}\n"), &format!(" {SUCCESS}\n"));
    let grown = grown_by(&run(bound, "door", &plan));
    let usual = grown_by(&run(bound, "permit", &ends(&plan)));
    println!("{argument}: {LOGINS} logins grew the host by {grown} KiB, as many of pam_permit by {usual} KiB");
    // A few pages, because an allocator may lay out the same memory in another way. 16 bytes for each login, the least
    // that can be lost, would be 280 KiB.
    assert!(grown <= usual + 64, "grown by {grown} KiB, where pam_permit takes {usual} KiB");
}

fn run(bound: &Bound, service: &str, plan: &str) -> Report {
    let file = format!("/tmp/plan-{service}");
    fs::write(&file, plan).unwrap();
    let host = bound.system.host(service).plan(file.as_ref(), &bound.clock).loops(LOGINS as u32);
    let report = host.steps(&["auth", "account"]).run();
    report.assert_undisturbed();
    assert_eq!(report.fact("sigchld"), "0");
    report
}

/// KiB that came between the thousandth login and the last.
fn grown_by(report: &Report) -> i64 {
    let rss = report.fact("rss");
    let (early, late) = rss.split_once(' ').unwrap();
    late.parse::<i64>().unwrap() - early.parse::<i64>().unwrap()
}

/// Of ten logins seven are accepted, one uses a code twice, one guesses, and one is of a user who has no device. Five
/// hours lie between these and the next ten, so that no guess counts when the next one comes.
fn plan(bound: &Bound) -> String {
    const FIVE_HOURS: usize = 600;
    let codes = bound.codes((LOGINS / 10 + 1) * FIVE_HOURS);
    let mut plan = String::new();
    for ten in 0..LOGINS / 10 {
        // Neighbours that are the same code by chance would be used up together.
        let differ =
            |codes: &[(i64, String)]| (1..codes.len()).all(|n| codes[..n].iter().all(|one| one.1 != codes[n].1));
        let first = (ten * FIVE_HOURS + 1..).find(|first| differ(&codes[first - 1..first + 8])).unwrap();
        for (time, code) in &codes[first..first + 7] {
            writeln!(plan, "{time} steady {code} {SUCCESS}").unwrap();
        }
        let (time, used) = &codes[first + 6];
        let near = &codes[first + 5..first + 8];
        let wrong = (0..).map(|n| format!("{n:06}")).find(|code| near.iter().all(|one| one.1 != *code)).unwrap();
        writeln!(plan, "{time} steady {used} {AUTH_ERR}").unwrap();
        writeln!(plan, "{time} steady {wrong} {AUTH_ERR}").unwrap();
        writeln!(plan, "{time} passing - {SUCCESS}").unwrap();
    }
    plan
}
