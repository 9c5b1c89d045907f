//! A helper that is absent, dies, or talks nonsense is "unavailable", and its host lives.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, SUCCESS};
use pam_tests::{Log, Stage, artifact};

const STACK: &str = "auth required pam_permit.so\nauth required {mfa}";

fn code_of(script: &str) -> i32 {
    let stage = Stage::new(STACK);
    stage.script(script);
    let report = stage.host().answer("492039").steps(&["auth"]).run();
    assert_eq!(stage.runs(), 1, "there is no second helper after \"{script}\"");
    report.assert_undisturbed();
    report.code("auth")
}

#[test]
fn helper_that_dies_at_any_point_is_unavailable() {
    for death in ["exit", "exit 0", "exit 1", "abort", "kill", "panic", "close"] {
        for before in ["", "hello", "hello\nrequest", "hello\nrequest\nask Code: ", "hello\nrequest\ntell text"] {
            let script = format!("{before}\n{death}");
            assert_eq!(code_of(&script), AUTHINFO_UNAVAIL, "\"{script}\"");
        }
    }
}

/// A C host has not set SIGPIPE aside, as Rust programs do.
#[test]
fn request_to_a_helper_that_has_closed_does_not_kill_the_host() {
    for _ in 0..20 {
        assert_eq!(code_of("hello\nclose\nexit"), AUTHINFO_UNAVAIL);
    }
}

#[test]
fn nonsense_instead_of_a_greeting_is_unavailable() {
    for (what, raw) in [
        ("other protocol", "474554202f20485454502f312e310d0a0d0a"),
        ("empty frame", "00000000"),
        ("length beyond the limit", "ffffffff 20 01 01"),
        ("half a length", "0000"),
        ("half a frame", "00000003 20 01"),
        ("greeting with something behind it", "00000004 20 01 01 00"),
        ("unknown type", "00000001 7f"),
        ("verdict", "00000007 25 5ac39d17 0000"),
        ("question", "00000007 21 01 0003 414243"),
    ] {
        assert_eq!(code_of(&format!("raw {raw}\nexit")), AUTHINFO_UNAVAIL, "{what}");
    }
    assert_eq!(code_of("big-frame\nexit"), AUTHINFO_UNAVAIL, "frame over the limit");
    assert_eq!(code_of("hello-of-the-future\nrequest\nverdict Accepted"), AUTHINFO_UNAVAIL, "unknown version");
}

#[test]
fn nonsense_instead_of_a_verdict_is_unavailable() {
    for (what, raw) in [
        ("second greeting", "00000003 20 01 01"),
        ("verdict with an unknown number", "00000007 25 00000000 0000"),
        ("verdict that ends in its text", "00000007 25 5ac39d17 0005"),
        ("verdict with something behind it", "00000008 25 5ac39d17 0000 00"),
        ("verdict whose text is not UTF-8", "00000008 25 5ac39d17 0001 ff"),
        ("half a verdict", "00000007 25 5ac39d"),
        ("a front end's message", "00000003 11 0000"),
        ("empty frame", "00000000"),
        ("length beyond the limit", "00004001 25"),
        ("echo that is neither yes nor no", "00000004 21 02 0000"),
    ] {
        assert_eq!(code_of(&format!("hello\nrequest\nraw {raw}\nexit")), AUTHINFO_UNAVAIL, "{what}");
    }
    assert_eq!(code_of("hello\nrequest\nbig-frame\nexit"), AUTHINFO_UNAVAIL, "frame over the limit");
}

/// Takes the two seconds for which a greeting is awaited.
#[test]
fn silent_helper_is_given_up_and_let_go() {
    for script in ["wait-for-close", "raw 0000\nwait-for-close", "raw 00000003 20\nwait-for-close"] {
        assert_eq!(code_of(script), AUTHINFO_UNAVAIL, "\"{script}\"");
    }
}

#[test]
fn absent_helper_is_unavailable_and_logged() {
    for helper in ["/nonexistent/mfa-helper", "/etc/passwd", "/tmp"] {
        let log = Log::listen();
        let stage = Stage::new(&format!("auth required pam_permit.so\nauth required {{module}} helper={helper}"));
        let report = stage.host().steps(&["auth"]).run();
        assert_eq!(report.code("auth"), AUTHINFO_UNAVAIL, "{helper}");
        let lines = log.lines_with(&stage.service);
        assert!(
            lines.len() == 1 && lines[0].contains("unreachable: it ended before its first word"),
            "{helper}: {lines:#?}"
        );
        // LOG_AUTHPRIV (10 << 3) and LOG_ERR.
        assert!(lines[0].starts_with("<83>"), "{lines:#?}");
    }
}

#[test]
fn broken_helper_is_logged() {
    let log = Log::listen();
    let stage = Stage::new(STACK);
    stage.script("hello\nrequest\nkill");
    let _ = stage.host().steps(&["auth"]).run();
    let lines = log.lines_with(&stage.service);
    assert!(lines.len() == 1 && lines[0].contains("mfa-helper failed before its verdict"), "{lines:#?}");
}

/// A screen locker runs as its user: it must not even try.
#[test]
fn caller_without_root_is_unavailable_and_starts_nothing() {
    let log = Log::listen();
    let stage = Stage::new(STACK);
    stage.script("hello\nrequest\nverdict Accepted");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    assert_eq!(stage.host().under(&nobody).steps(&["auth"]).run().code("auth"), AUTHINFO_UNAVAIL);
    assert_eq!(stage.runs(), 0);
    let lines = log.lines_with(&stage.service);
    assert!(lines.len() == 1 && lines[0].contains("not root"), "{lines:#?}");
}

/// su and sudo: the real uid is the caller's.
#[test]
fn set_uid_root_host_reaches_the_helper() {
    let stage = Stage::new(STACK);
    stage.script("hello\nrequest\nverdict Accepted");
    let as_su = ["setpriv", "--ruid=65534", "--euid=0"];
    assert_eq!(stage.host().under(&as_su).steps(&["auth"]).run().code("auth"), SUCCESS);
}

#[test]
fn many_questions_are_relayed_one_by_one() {
    let stage = Stage::new(STACK);
    stage.script("hello\nrequest\nask-500-times\nverdict Refused");
    let report = stage.host().answer("492039").steps(&["auth"]).run();
    assert_eq!(report.code("auth"), AUTH_ERR);
    assert_eq!(report.said().len(), 500);
}

#[test]
fn unknown_argument_is_logged_once_and_ignored() {
    let log = Log::listen();
    let stage = Stage::new(&format!("{STACK} nullok helper=relative config=relative"));
    stage.script("hello\nrequest\nverdict Accepted");
    assert_eq!(stage.host().steps(&["auth"]).run().code("auth"), SUCCESS);
    let lines = log.lines_with(&stage.service);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("unknown argument \"nullok\" ignored"), "{lines:#?}");
    assert!(lines[1].contains("\"helper=relative\" ignored: the path must be absolute"), "{lines:#?}");
}

#[test]
fn debug_logs_phases_and_verdicts_but_never_an_answer() {
    let log = Log::listen();
    let stage = Stage::new(&format!("{STACK} debug"));
    stage.script("hello\nrequest\nask Code: \nverdict Refused Try again.");
    let _ = stage.host().answer("492039").steps(&["auth"]).run();
    let lines = log.lines_with(&stage.service);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("verdict: Refused \"Try again.\""), "{lines:#?}");
    assert!(!lines.concat().contains("492039"), "the answer reached the log: {lines:#?}");
}

/// Nothing of the host's environment, and nothing but a socket and /dev/null, reaches the only privileged process.
#[test]
fn helper_is_born_clean_in_every_host() {
    let modes: [&[&str]; 4] = [
        &["careless"],
        &["closed-standard-fds"],
        &["blocked-signals", "sigchld-ignored"],
        &["busy-threads", "closed-standard-fds"],
    ];
    for modes in modes {
        let stage = Stage::new(STACK);
        stage.script("birth\nhello\nrequest\nverdict Accepted");
        let mut host = stage.host().env("LD_LIBRARY_PATH", "/nonexistent").env("RUST_BACKTRACE", "full");
        for mode in modes {
            host = host.mode(mode);
        }
        assert_eq!(host.steps(&["auth"]).run().code("auth"), SUCCESS, "{modes:?}");
        let birth: Vec<String> = stage.noted().into_iter().filter(|line| line.starts_with("birth ")).collect();
        let expected = [
            "birth fds 0=socket 1=/dev/null 2=/dev/null",
            "birth blocked 0000000000000000",
            "birth ignored 0",
            "birth environment 0",
            "birth argv0 mfa-helper",
            "birth argc 2",
            "birth session-leader true",
        ];
        assert_eq!(birth, expected, "{modes:?}");
    }
}

/// Linux before 5.9 has no close_range.
#[test]
fn helper_is_born_clean_without_close_range() {
    let stage = Stage::new(STACK);
    stage.script("birth\nhello\nrequest\nverdict Accepted");
    let trace = stage.path("trace");
    let options = ["-f", "-o", trace.to_str().unwrap(), "-e", "trace=close_range"];
    let injection = ["-e", "inject=close_range:error=ENOSYS"];
    let strace: Vec<&str> = [&["strace"], &options[..], &injection[..]].concat();
    let report = stage.host().under(&strace).mode("careless").steps(&["auth"]).run();
    assert_eq!(report.code("auth"), SUCCESS);
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert!(traced.contains("INJECTED"), "nothing was injected: {traced}");
    assert!(
        stage.noted().contains(&"birth fds 0=socket 1=/dev/null 2=/dev/null".to_owned()),
        "a descriptor of the host's reached the helper: {:?}",
        stage.noted()
    );
}

/// Every system call of ours that can fail, failed.
#[test]
fn fault_on_the_way_to_the_helper_is_unavailable() {
    for (fault, path) in [
        ("socketpair:error=EMFILE:when=1", None),
        ("socketpair:error=ENFILE:when=1", None),
        ("clone:error=EAGAIN:when=1", None),
        ("clone:error=ENOMEM:when=1", None),
        ("dup2:error=EMFILE", None),
        ("openat:error=ENOENT", Some("/dev/null")),
        ("execve:error=ENOMEM", Some("bad-helper")),
        ("execve:error=EACCES", Some("bad-helper")),
        ("setsockopt:error=EINVAL", None),
        ("recvfrom:error=EIO:when=1", None),
        ("sendto:error=EPIPE:when=1", None),
    ] {
        let (code, traced) = with_fault(fault, path);
        assert_eq!(code, AUTHINFO_UNAVAIL, "{fault}: {traced}");
    }
}

#[test]
fn interrupted_or_forestalled_wait_changes_nothing() {
    for fault in ["wait4:error=EINTR:when=1", "wait4:error=ECHILD:when=1"] {
        let (code, traced) = with_fault(fault, None);
        assert_eq!(code, SUCCESS, "{fault}: {traced}");
    }
}

/// The code of a login with that injection of strace's, and the trace.
fn with_fault(fault: &str, path: Option<&str>) -> (i32, String) {
    let stage = Stage::new(STACK);
    stage.script("hello\nrequest\nask Code: \nverdict Accepted");
    let trace = stage.path("trace");
    let inject = format!("inject={fault}");
    let mut strace = vec!["strace", "-f", "-o", trace.to_str().unwrap(), "-e", &inject];
    let helper = artifact("bad-helper");
    match path {
        Some("bad-helper") => strace.extend(["-P", helper.to_str().unwrap()]),
        Some(path) => strace.extend(["-P", path]),
        None => {}
    }
    let report = stage.host().under(&strace).answer("492039").steps(&["auth"]).run();
    let traced = std::fs::read_to_string(&trace).unwrap();
    assert!(traced.contains("INJECTED"), "nothing was injected for {fault}: {traced}");
    (report.code("auth"), traced)
}
