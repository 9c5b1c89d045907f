//! Whatever kind of process the host is, it notices nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::code::{AUTHINFO_UNAVAIL, SUCCESS};
use pam_tests::{Host, Report, Stage};

const STACK: &str =
    "auth required pam_permit.so\nauth required {mfa}\naccount required pam_permit.so\naccount required {mfa}";
const ACCEPTS: &str = "hello\nrequest\ntell text\nask Code: \nverdict Accepted welcome";

fn logins(count: u32, script: &str, how: impl FnOnce(Host) -> Host) -> Report {
    let stage = Stage::new(STACK);
    stage.script(script);
    how(stage.host().answer("492039").loops(count)).steps(&["auth", "account"]).run()
}

fn assert_unnoticed(modes: &[&str]) {
    // A helper that accepts, and one that dies: both must leave nothing.
    for (script, code) in [(ACCEPTS, SUCCESS), ("hello\nrequest\nkill", AUTHINFO_UNAVAIL), ("exit", AUTHINFO_UNAVAIL)] {
        let report = logins(30, script, |host| modes.iter().fold(host, |host, mode| host.mode(mode)));
        assert_eq!(report.code("auth"), code, "{modes:?} \"{script}\"");
        report.assert_undisturbed();
        assert_eq!(report.fact("sigchld"), "0", "{modes:?} \"{script}\": the host was signalled");
    }
}

#[test]
fn host_with_a_sigchld_handler_is_undisturbed() {
    assert_unnoticed(&[]);
}

#[test]
fn host_that_ignores_sigchld_is_undisturbed() {
    assert_unnoticed(&["sigchld-ignored"]);
}

#[test]
fn host_with_no_cld_wait_is_undisturbed() {
    assert_unnoticed(&["no-cld-wait"]);
}

#[test]
fn host_with_a_thread_that_waits_for_any_child_is_undisturbed() {
    assert_unnoticed(&["wait-thread"]);
}

#[test]
fn host_with_busy_threads_is_undisturbed() {
    assert_unnoticed(&["busy-threads"]);
}

#[test]
fn host_with_closed_standard_descriptors_is_undisturbed() {
    assert_unnoticed(&["closed-standard-fds"]);
}

#[test]
fn host_that_blocks_every_signal_is_undisturbed() {
    assert_unnoticed(&["blocked-signals"]);
}

/// Ctrl-C and SIGWINCH go to a whole process group, so also to what the module starts. A handler of the host that ran
/// there would work on the host's memory in another process.
#[test]
fn handler_of_the_host_never_runs_in_another_process() {
    let report = logins(50, ACCEPTS, |host| host.mode("signal-storm"));
    assert_eq!(report.code("auth"), SUCCESS);
    assert_eq!(report.fact("handled-elsewhere"), "0");
    assert_eq!(report.all("round ").count(), 0, "{report:#?}");
    report.assert_undisturbed();
}

/// The helper comes back to a subreaper as its child: it is signalled, as for every orphan, but has no zombie to find.
#[test]
fn host_that_is_a_subreaper_keeps_no_zombie() {
    for script in [ACCEPTS, "hello\nrequest\nkill", "exit"] {
        logins(30, script, |host| host.mode("subreaper")).assert_undisturbed();
    }
}

/// Process 1 of a container.
#[test]
fn host_that_is_process_1_keeps_no_zombie() {
    let as_init = ["unshare", "--pid", "--fork", "--mount-proc"];
    let report = logins(30, ACCEPTS, |host| host.under(&as_init));
    assert_eq!(report.code("auth"), SUCCESS);
    report.assert_undisturbed();
}

/// A thread that waits with __WALL may find the short-lived process between us and the helper; the login stands.
#[test]
fn host_that_waits_for_clones_too_can_log_in() {
    let report = logins(100, ACCEPTS, |host| host.mode("wait-all-thread"));
    assert_eq!(report.code("auth"), SUCCESS);
    assert_eq!(report.all("round ").count(), 0, "{report:#?}");
    assert_eq!(report.fact("children"), "none");
}

#[test]
fn host_at_its_limit_of_open_files_can_log_in_with_two_left() {
    // 0 to 2, and the host's own for the system log.
    let report = logins(1, ACCEPTS, |host| host.word("nofile", 6));
    assert_eq!(report.code("auth"), SUCCESS);
    report.assert_undisturbed();
    let report = logins(1, ACCEPTS, |host| host.word("nofile", 5));
    // Then libpam itself cannot load a module.
    assert_ne!(report.code("auth"), SUCCESS);
    assert_eq!(report.fact("children"), "none");
}

#[test]
fn child_that_the_host_executes_meanwhile_inherits_nothing_of_ours() {
    for modes in [&[][..], &["closed-standard-fds"]] {
        let report = logins(1, ACCEPTS, |host| modes.iter().fold(host.conv("exec"), |host, mode| host.mode(mode)));
        assert_eq!(report.code("auth"), SUCCESS);
        assert_eq!(report.fact("exec"), "0,1,2,3", "{modes:?}: 3 is the folder that ls reads");
    }
}

/// With 0 to 2 closed, a new descriptor is one of them: what the host prints or reads then must not be our conversation.
#[test]
fn closed_standard_descriptors_stay_closed_meanwhile() {
    let report = logins(1, ACCEPTS, |host| host.mode("closed-standard-fds").conv("use-standard-fds"));
    assert_eq!(report.code("auth"), SUCCESS);
    assert_eq!(report.fact("standard-fds"), "closed closed closed");
}

#[test]
fn thousand_logins_leave_memory_and_descriptors_flat() {
    let report = logins(1000, ACCEPTS, |host| host);
    assert_eq!(report.code("auth"), SUCCESS);
    report.assert_undisturbed();
    let rss = report.fact("rss");
    let (early, late) = rss.split_once(' ').unwrap();
    let grown = late.parse::<i64>().unwrap() - early.parse::<i64>().unwrap();
    println!("resident after 100 logins {early} KiB, after 1000 {late} KiB");
    // One page per login would be 3,600 KiB.
    assert!(grown < 400, "900 logins grew the host by {grown} KiB");
}
