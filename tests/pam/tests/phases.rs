//! What the auth hook leaves for the account hook.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::Stage;
use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, PERM_DENIED, SUCCESS};

const STACK: &str =
    "auth required pam_permit.so\nauth required {mfa}\naccount required pam_permit.so\naccount required {mfa}";

fn stage(script: &str) -> Stage {
    let stage = Stage::new(STACK);
    stage.script(script);
    stage
}

/// What the helper was told in its last run.
fn last_request(stage: &Stage) -> String {
    stage.noted().last().unwrap().clone()
}

#[test]
fn verified_login_passes_account_without_a_second_helper() {
    let stage = stage("hello\nrequest\nverdict Accepted");
    let report = stage.host().steps(&["auth", "account"]).run();
    assert_eq!((report.code("auth"), report.code("account")), (SUCCESS, SUCCESS));
    assert_eq!(stage.runs(), 1, "account asked again");
}

#[test]
fn ignored_auth_is_told_to_the_helper_in_account() {
    let stage = stage("hello\nrequest\nverdict Ignored\n---\nhello\nrequest\nverdict Refused");
    let report = stage.host().steps(&["auth", "account"]).run();
    assert_eq!((report.code("auth"), report.code("account")), (SUCCESS, PERM_DENIED));
    assert!(last_request(&stage).starts_with("Account("), "{:?}", stage.noted());
    assert!(last_request(&stage).ends_with(", Ignored)"), "{:?}", stage.noted());
}

#[test]
fn what_was_handed_over_is_told_in_account() {
    for (account, expected) in [("Accepted", SUCCESS), ("Refused", PERM_DENIED), ("HandedOver", AUTHINFO_UNAVAIL)] {
        let stage = stage(&format!("hello\nrequest\nverdict HandedOver\n---\nhello\nrequest\nverdict {account}"));
        let report = stage.host().steps(&["auth", "account"]).run();
        assert_eq!(report.code("auth"), SUCCESS, "left to the others, who said yes");
        assert_eq!(report.code("account"), expected, "{account}");
        assert!(last_request(&stage).ends_with(", HandedOver)"), "{:?}", stage.noted());
    }
}

/// A stack that names our account line twice.
#[test]
fn what_was_bound_in_account_is_not_asked_for_again() {
    let stage = stage("hello\nrequest\nverdict HandedOver\n---\nhello\nrequest\nverdict Accepted");
    let report = stage.host().steps(&["auth", "account", "account"]).run();
    assert_eq!(report.codes("account"), [SUCCESS, SUCCESS]);
    assert_eq!(stage.runs(), 2, "account asked again");
}

#[test]
fn account_alone_says_that_auth_was_not_run() {
    let stage = stage("hello\nrequest\nverdict Refused");
    assert_eq!(stage.host().steps(&["account"]).run().code("account"), PERM_DENIED);
    assert!(last_request(&stage).ends_with(", NotRun)"), "{:?}", stage.noted());
}

/// Applications and modules change PAM_USER between the phases.
#[test]
fn success_of_one_user_does_not_pass_another_in_account() {
    let stage = stage("hello\nrequest\nverdict Accepted\n---\nhello\nrequest\nverdict Refused");
    let report = stage.host().steps(&["auth", "user=mallory", "account"]).run();
    assert_eq!(report.code("account"), PERM_DENIED, "alice's code let mallory in");
    assert!(last_request(&stage).ends_with(", NotRun)"), "{:?}", stage.noted());
    assert!(last_request(&stage).contains("user: \"mallory\""), "{:?}", stage.noted());
}

/// sshd's `password` method uses one handle for all attempts of a connection.
#[test]
fn success_of_an_earlier_attempt_does_not_outlive_a_refused_one() {
    for second in ["hello\nrequest\nverdict Refused", "exit", "hello\nrequest\nkill"] {
        let stage = stage(&format!("hello\nrequest\nverdict Accepted\n---\n{second}"));
        let report = stage.host().steps(&["auth", "auth", "account"]).run();
        let expected = if second.ends_with("Refused") { AUTH_ERR } else { AUTHINFO_UNAVAIL };
        assert_eq!(report.codes("auth"), [SUCCESS, expected]);
        assert_eq!(report.code("account"), PERM_DENIED, "an old success passed account after \"{second}\"");
    }
}

/// sudo, login and sshd try again on the handle that has failed.
#[test]
fn refusals_of_earlier_attempts_do_not_outlive_a_success() {
    let (wrong, right) = ("hello\nrequest\nverdict Refused", "hello\nrequest\nverdict Accepted");
    let stage = stage(&[wrong, wrong, right].join("\n---\n"));
    let report = stage.host().steps(&["auth", "auth", "auth", "account"]).run();
    assert_eq!((report.codes("auth"), report.code("account")), (vec![AUTH_ERR, AUTH_ERR, SUCCESS], SUCCESS));
}

/// What auth refused, account refuses: a stack that does not care what our auth line says lets nobody in. Without a
/// helper, so without a word from it.
#[test]
fn what_auth_refused_account_refuses() {
    let optional = STACK.replace("auth required {mfa}", "auth optional {mfa}");
    for verdict in ["Refused", "Locked", "NoInteraction", "Unavailable", "NotFound", "Already", "Warnings", "Faults"] {
        let stage = Stage::new(&optional);
        stage.script(&format!("hello\nrequest\nverdict {verdict}\n---\nhello\nrequest\nverdict Ignored"));
        let report = stage.host().steps(&["auth", "account", "user=mallory", "account"]).run();
        assert_eq!(report.code("auth"), SUCCESS, "the stack does not care");
        assert_eq!(report.codes("account"), [PERM_DENIED, PERM_DENIED], "account passed after auth was {verdict}");
        assert_eq!(stage.runs(), 1);
    }
}

/// Two lines that ask different policies: `config=`, or a line of one's own behind the profile's.
#[test]
fn the_strictest_word_of_one_pass_holds_in_whatever_order() {
    let lines = "auth required pam_permit.so\nauth optional {mfa}\nauth optional {mfa}\n\
                 account required pam_permit.so\naccount required {mfa}";
    let verdicts = ["Ignored", "Accepted", "HandedOver", "Refused"];
    for (n, first) in verdicts.iter().enumerate() {
        for (m, second) in verdicts.iter().enumerate() {
            let stage = Stage::new(lines);
            let verdict = |word: &str| format!("hello\nrequest\nverdict {word}");
            stage.script(&[verdict(first), verdict(second), verdict("Ignored")].join("\n---\n"));
            let account = stage.host().steps(&["auth", "account"]).run().code("account");
            let strictest = verdicts[n.max(m)];
            let asked = stage.runs() == 3;
            match strictest {
                "Refused" => assert_eq!((account, asked), (PERM_DENIED, false), "{first}, {second}"),
                "Accepted" => assert_eq!((account, asked), (SUCCESS, false), "{first}, {second}"),
                word => {
                    assert!(asked && account == SUCCESS, "{first}, {second}");
                    assert!(last_request(&stage).ends_with(&format!(", {word})")), "{:?}", stage.noted());
                }
            }
        }
    }
}
