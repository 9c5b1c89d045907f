//! What applications do with a question, and what the person is shown.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, SUCCESS};
use pam_tests::{DISALLOW_NULL_AUTHTOK, Host, Log, PASSWORD, SILENT, Said, Stage, add_user, artifact};

/// With a real first factor, which leaves PAM_AUTHTOK behind.
const WITH_PASSWORD: &str = "auth requisite pam_unix.so nodelay\nauth required {mfa}";
const ALONE: &str = "auth required pam_permit.so\nauth required {mfa}";
const ASKS: &str = "hello\nrequest\nask Code: \nverdict NoInteraction";

/// What the helper received as the reply to its question, and the code of auth.
fn reply(stack: &str, script: &str, how: impl FnOnce(Host) -> Host) -> (String, i32) {
    add_user("alice");
    let stage = Stage::new(stack);
    stage.script(script);
    let host = stage.host().flags(DISALLOW_NULL_AUTHTOK).password(PASSWORD);
    let report = how(host).steps(&["auth"]).run();
    report.assert_undisturbed();
    (stage.noted().last().unwrap().clone(), report.code("auth"))
}

#[test]
fn answer_reaches_the_helper_as_it_was_typed() {
    for answer in ["492039", "492 039", " 492039 ", "４９２０３９", "abcdef", "%s%n"] {
        let (reply, _) = reply(WITH_PASSWORD, ASKS, |host| host.answer(answer));
        assert_eq!(reply, format!("answer Some({answer:?})"));
    }
    let (newline, _) = reply(WITH_PASSWORD, ASKS, |host| host.conv("newline"));
    assert_eq!(newline, "answer Some(\"492\\n039\")");
}

#[test]
fn answer_that_is_none_is_no_interaction_and_the_host_lives() {
    for (conv, why) in [
        ("null-function", "NoConversation"),
        ("null-array", "NoConversation"),
        ("null-answer", "NoConversation"),
        ("error", "NoConversation"),
        // A dangling pointer after an error: touched, it would kill the host.
        ("error-poisoned", "NoConversation"),
        ("unknown-code", "NoConversation"),
        ("long-600", "NoConversation"),
        ("long-5000", "NoConversation"),
        ("empty", "ByUser"),
    ] {
        let (reply, code) = reply(ALONE, ASKS, |host| host.conv(conv));
        assert_eq!((reply, code), (format!("cancel {why}"), CONV_ERR), "{conv}");
    }
}

/// sshd's `password` method, paramiko, samba: they answer whatever is asked with what they hold.
#[test]
fn blind_answer_is_recognised_and_is_no_guess() {
    let hidden = "hello\nrequest\nask-hidden Code: \nverdict NoInteraction";
    assert_eq!(reply(WITH_PASSWORD, ASKS, |host| host.conv("login-secret")), ("cancel LoginSecret".into(), CONV_ERR));
    assert_eq!(reply(WITH_PASSWORD, hidden, |host| host), ("cancel LoginSecret".into(), CONV_ERR));
    let with_newline = format!("{PASSWORD}\n");
    let answer = |host: Host| host.answer(&with_newline);
    assert_eq!(reply(WITH_PASSWORD, ASKS, answer), ("cancel LoginSecret".into(), CONV_ERR));
    assert_eq!(reply(WITH_PASSWORD, ASKS, |host| host.conv("user-name")), ("cancel UserName".into(), CONV_ERR));
    assert_eq!(reply(WITH_PASSWORD, ASKS, |host| host.answer(" alice ")), ("cancel UserName".into(), CONV_ERR));
}

/// PAM_AUTHTOK belongs to the modules after us as well.
#[test]
fn login_secret_is_left_as_it_was() {
    let script = "hello\nrequest\nask Code: \nverdict Accepted";
    let stack = format!("{WITH_PASSWORD}\nauth required pam_unix.so nodelay use_first_pass");
    assert_eq!(reply(&stack, script, |host| host.answer("492039")).1, SUCCESS);
}

fn said(script: &str, how: impl FnOnce(Host) -> Host) -> (Vec<Said>, i32) {
    let stage = Stage::new(ALONE);
    stage.script(script);
    let report = how(stage.host().answer("492039")).steps(&["auth"]).run();
    (report.said(), report.code("auth"))
}

fn one(style: &str, text: &str) -> Vec<Said> {
    vec![Said { style: style.into(), text: format!("{text:?}") }]
}

#[test]
fn told_text_is_part_of_the_next_question() {
    let script = "hello\nrequest\ntell Scan this:\\n▀▄█\ntell Or type it.\nask Code: \nverdict Accepted";
    assert_eq!(said(script, |host| host).0, one("ask", "Scan this:\n▀▄█\nOr type it.\nCode: "));
}

#[test]
fn told_text_is_shown_once() {
    let script = "hello\nrequest\ntell First.\nask One: \nask Two: \nverdict Accepted";
    let (said, _) = said(script, |host| host);
    assert_eq!(said[1], one("ask", "Two: ")[0]);
}

#[test]
fn text_at_the_end_is_one_error_message() {
    let script = "hello\nrequest\ntell A thing.\nverdict Refused Run mfa-enroll.";
    let expected = (one("error", "A thing.\nRun mfa-enroll."), AUTH_ERR);
    assert_eq!(said(script, |host| host), expected);
    // sudo is always silent, and the person must learn the remedy there too.
    assert_eq!(said(script, |host| host.flags(SILENT)), expected);
}

#[test]
fn nothing_to_say_is_not_said() {
    assert_eq!(said("hello\nrequest\nverdict Refused", |host| host).0, []);
    assert_eq!(said("hello\nrequest\nverdict Accepted", |host| host).0, []);
}

#[test]
fn chatter_on_success_obeys_pam_silent() {
    for outcome in ["Accepted", "Ignored"] {
        let script = format!("hello\nrequest\ntell Three codes left.\nverdict {outcome}");
        assert_eq!(said(&script, |host| host).0, one("error", "Three codes left."));
        assert_eq!(said(&script, |host| host.flags(SILENT)).0, [], "{outcome}");
    }
}

#[test]
fn fate_of_the_last_message_changes_no_verdict() {
    for conv in ["null-array", "error", "null-function"] {
        let accepted = said("hello\nrequest\nverdict Accepted text", |host| host.conv(conv));
        assert_eq!(accepted.1, SUCCESS, "{conv}");
        let refused = said("hello\nrequest\nverdict Refused text", |host| host.conv(conv));
        assert_eq!(refused.1, AUTH_ERR, "{conv}");
    }
}

#[test]
fn flood_of_text_is_cut_but_the_question_is_whole() {
    let (said, code) = said("hello\nrequest\ntell-much\nask Code: \nverdict Accepted", |host| host);
    assert_eq!((said.len(), code), (1, SUCCESS));
    assert!(said[0].text.ends_with("Code: \""), "the question was lost in the flood");
    assert!(said[0].text.len() < 20_000, "the helper sized the host's memory: {} bytes", said[0].text.len());
}

/// C would show the person half of it.
#[test]
fn question_with_a_nul_is_not_asked() {
    let stage = Stage::new(ALONE);
    stage.script("hello\nrequest\nask Code\\0: \nverdict NoInteraction");
    let report = stage.host().answer("492039").steps(&["auth"]).run();
    assert_eq!((report.said(), report.code("auth")), (vec![], CONV_ERR));
    assert_eq!(stage.noted().last().unwrap(), "cancel NoConversation");
}

#[test]
fn login_is_described_as_the_host_gives_it() {
    let stage = Stage::new("auth required {mfa} stack=complete");
    stage.script("hello\nrequest\nverdict Accepted");
    let host = stage.host().word("item", "4:10.0.0.1").word("item", "3:ssh").word("item", "8:bob");
    let host = host.word("pamenv", "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA\n");
    assert_eq!(host.steps(&["auth"]).run().code("auth"), SUCCESS);
    let service = &stage.service;
    let expected = format!(
        "Verify(Login {{ user: \"alice\", service: {service:?}, rhost: Some(\"10.0.0.1\"), tty: Some(\"ssh\"), \
         ruser: Some(\"bob\"), ssh_auth_info: Some(\"publickey ssh-ed25519 AAAA\\n\"), stack_complete: true, \
         ssh_auth_sock: None, program: Some({:?}) }})",
        artifact("pam-host").canonicalize().unwrap().display().to_string()
    );
    assert_eq!(stage.noted()[1], expected);
}

/// In sudo and su the environment is the attacker's.
#[test]
fn environment_of_the_process_says_nothing() {
    let stage = Stage::new("auth required {mfa}");
    stage.script("hello\nrequest\nverdict Accepted");
    let mut host = stage.host();
    for name in [
        "SSH_AUTH_INFO_0",
        "SSH_AUTH_SOCK",
        "SSH_CONNECTION",
        "PAM_USER",
        "PAM_RHOST",
        "MFA_HELPER",
        "HOME",
        "TMPDIR",
        "LANG",
    ] {
        host = host.env(name, OsStr::from_bytes(b"/tmp/\xff\xfe\x1b[31m"));
    }
    assert_eq!(host.env("RUST_BACKTRACE", "full").steps(&["auth"]).run().code("auth"), SUCCESS);
    let service = &stage.service;
    let expected = format!(
        "Verify(Login {{ user: \"alice\", service: {service:?}, rhost: None, tty: None, ruser: None, \
         ssh_auth_info: None, stack_complete: false, ssh_auth_sock: None, program: Some({:?}) }})",
        artifact("pam-host").canonicalize().unwrap().display().to_string()
    );
    assert_eq!(stage.noted()[1], expected);
}

#[test]
fn descriptions_beyond_the_limits_are_cut_and_methods_are_unknown() {
    let stage = Stage::new("auth required {mfa}");
    stage.script("hello\nrequest\nverdict Accepted");
    let host = stage.host().word("item", format!("4:{}", "h".repeat(5000)));
    let host = host.word("pamenv", format!("SSH_AUTH_INFO_0={}", "k".repeat(13_000)));
    assert_eq!(host.steps(&["auth"]).run().code("auth"), SUCCESS);
    let request = &stage.noted()[1];
    assert!(request.contains(&format!("rhost: Some(\"{}\")", "h".repeat(1024))), "{request}");
    assert!(request.contains("ssh_auth_info: Some(\"?\")"), "{request}");
}

/// A name that is cut or mended is the name of somebody else.
#[test]
fn name_that_cannot_be_passed_on_is_refused_without_a_helper() {
    for name in [&b"al\xffice"[..], &[b'a'; 257], b""] {
        let log = Log::listen();
        // Not behind pam_permit: that one calls a user without a name "nobody".
        let stage = Stage::new("auth required {mfa}");
        stage.script("hello\nrequest\nverdict Accepted");
        let host = stage.host().raw_word("user", OsStr::from_bytes(name));
        assert_eq!(host.steps(&["auth"]).run().code("auth"), AUTHINFO_UNAVAIL, "{name:?}");
        assert_eq!(stage.runs(), 0, "{name:?} was passed on");
        assert_eq!(log.lines_with(&stage.service).len(), 1);
    }
}
