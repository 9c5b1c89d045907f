//! A login through the real helper: every answer, what becomes of it, and what the log says.

#![allow(clippy::unwrap_used)]

use std::fs;

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, IGNORE, PERM_DENIED, SUCCESS};
use pam_tests::{Bound, Log, SILENT, System, add_user, run};

/// `PAM_IGNORE` by all modules makes libpam say "permission denied"; a stack of ours alone shows it so.
const IGNORED_ALONE: i32 = PERM_DENIED;

/// The audit lines of the helper that hold `text`.
fn audit(log: &Log, text: &str) -> Vec<String> {
    let lines = log.lines_with("mfa-helper[").into_iter();
    lines.filter(|line| line.contains(text)).collect()
}

#[test]
fn a_code_is_good_once() {
    let mut bound = Bound::fresh("once");
    let log = Log::listen();
    let next = bound.code(1);
    assert_eq!(bound.auth(&next), SUCCESS, "an app whose clock is a step ahead");
    let again = bound.login(&next);
    assert_eq!(again.code("auth"), AUTH_ERR);
    assert!(again.said().last().unwrap().text.contains("That code was used already. Wait for the next one."));
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
    bound.advance(1);
    assert_eq!(bound.auth(&bound.code(-1)), AUTH_ERR, "used, a step later");
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
    let verdicts: Vec<_> = audit(&log, "event=verify user=once service=door").iter().map(|line| words(line)).collect();
    let expected =
        ["accepted code", "refused code used already", "accepted code", "refused code used already", "accepted code"];
    assert_eq!(verdicts, expected);
}

/// Verdict and reason of an audit line.
fn words(line: &str) -> String {
    let after = line.split(" verdict=").nth(1).unwrap();
    after.replace(" reason=", " ").replace('"', "").trim().to_owned()
}

#[test]
fn the_codes_of_the_binding_are_burnt() {
    let bound = Bound::fresh("burnt");
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR);
    assert_eq!(bound.auth(&bound.code(-1)), AUTH_ERR);
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
}

#[test]
fn a_code_before_one_that_was_used_is_used_up_too() {
    let mut bound = Bound::fresh("earlier");
    bound.advance(5);
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "the step before");
    bound.advance(-3);
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "a clock set back");
}

#[test]
fn each_answer_gets_its_code_and_only_a_guess_is_counted() {
    let mut bound = Bound::fresh("answers");
    bound.advance(3000);
    let good = bound.code(0);
    let spaced = format!(" {} {} ", &good[..3], &good[3..]);
    let full_width: String = good.chars().map(|c| char::from_u32(c as u32 - 0x30 + 0xff10).unwrap()).collect();
    let yesterday = bound.code(-2880);
    // Answer, code, whether it is a guess.
    let table = [
        (wrong(&good), AUTH_ERR, true),
        (yesterday, AUTH_ERR, true),
        (bound.code(2), AUTH_ERR, true),
        (bound.code(-2), AUTH_ERR, true),
        (String::new(), CONV_ERR, false),
        (good[..5].to_owned(), AUTH_ERR, false),
        (format!("{good}7"), AUTH_ERR, false),
        ("abcdef".to_owned(), AUTH_ERR, false),
        (full_width, AUTH_ERR, false),
        ("answers".to_owned(), CONV_ERR, false),
        ("x".repeat(600), CONV_ERR, false),
        (spaced, SUCCESS, false),
    ];
    let mut guesses = 0;
    for (answer, code, guess) in table {
        let before = fs::read(bound.file("state")).unwrap();
        assert_eq!(bound.auth(&answer), code, "{answer:?}");
        let after = fs::read(bound.file("state")).unwrap();
        assert_eq!(before != after, guess || code == SUCCESS, "{answer:?}");
        guesses += i64::from(guess);
        if code != SUCCESS {
            let state = String::from_utf8_lossy(&after).into_owned();
            // Each is forgotten four hours after the one before.
            let forgotten = bound.now() + guesses * 4 * 3600;
            assert!(guesses == 0 || state.contains(&format!("\nfailures {forgotten} ")), "{answer:?}");
        }
    }
}

const USED: &str = "That code was used already. Wait for the next one.";
const NO_CODE: &str = "That is not a code of 6 digits.";

/// What the person is asked if these are the answers to one question after the other, and what auth comes to.
fn asked(bound: &Bound, service: &str, answers: &[&str]) -> (Vec<String>, i32) {
    let host = bound.system.host(service).user("again").steps(&["auth"]);
    let report = answers.iter().fold(host, |host, answer| host.answer(answer)).run();
    let questions = report.said().into_iter().filter(|said| said.style == "ask").map(|said| said.text);
    (questions.collect(), report.code("auth"))
}

/// None of these answers is a guess, so a person gets another try without the first factor, and a guesser gets nothing.
#[test]
fn a_code_that_was_used_or_is_none_is_asked_for_again_twice_at_most() {
    let mut bound = Bound::fresh("again");
    bound.advance(100);
    let used = bound.code(0);
    assert_eq!(bound.auth(&used), SUCCESS);
    let good = bound.code(1);
    let before = fs::read(bound.file("state")).unwrap();
    let log = Log::listen();
    let (questions, code) = asked(&bound, "door", &[&used, "12345", "abcdef", &good]);
    assert_eq!((questions.len(), code), (3, AUTH_ERR), "{questions:?}");
    assert!(questions[1].starts_with(&format!("\"{USED}\\n")), "{questions:?}");
    assert!(questions[2].starts_with(&format!("\"{NO_CODE}\\n")), "{questions:?}");
    assert_eq!(words(&audit(&log, "user=again").pop().unwrap()), "refused not a code");
    // The same answer again comes from a program. With blanks in it, it is the same.
    let spaced = format!(" {} {}", &used[..3], &used[3..]);
    assert_eq!(asked(&bound, "door", &[&used, &spaced, &good]), (questions[..2].to_vec(), AUTH_ERR));
    // As before for a program with one answer.
    let (two, code) = asked(&bound, "door", &[&used, ""]);
    assert_eq!((two.len(), code), (2, AUTH_ERR), "{two:?}");
    assert_eq!(words(&audit(&log, "user=again").pop().unwrap()), "refused code used already");
    let secret = bound.system.host("door").user("again").password(pam_tests::PASSWORD).steps(&["auth"]);
    assert_eq!(secret.answer("12345").answer(pam_tests::PASSWORD).run().code("auth"), AUTH_ERR);
    assert_eq!(before, fs::read(bound.file("state")).unwrap(), "none of these is a guess");

    let wrong = wrong(&good);
    let (questions, code) = asked(&bound, "door", &["12345", &wrong, &good]);
    assert_eq!((questions.len(), code), (2, AUTH_ERR), "one guess in one conversation");
    let (questions, code) = asked(&bound, "door", &["12345", &used, &good]);
    assert_eq!((questions.len(), code), (3, SUCCESS));
}

/// A stranger learns nothing of a code, and a screen locker has no room for a second question.
#[test]
fn nobody_is_asked_again_whose_first_factor_may_be_wrong() {
    let mut bound = Bound::fresh("again");
    bound.advance(100);
    bound.system.service("gate", "{first}\nauth required {module}\naccount required {module}");
    bound.system.service("untrue", "auth required pam_permit.so\nauth required {module} stack=complete");
    for service in ["gate", "untrue"] {
        let (questions, code) = asked(&bound, service, &["12345", &bound.code(0)]);
        assert_eq!((questions.len(), code), (1, AUTH_ERR), "{service}");
    }
}

/// Another code of the same form.
fn wrong(code: &str) -> String {
    code.chars().map(|c| if c == '9' { '0' } else { char::from(c as u8 + 1) }).collect()
}

#[test]
fn how_far_the_clock_of_a_device_is_off_is_told_and_that_code_is_dead() {
    let mut bound = Bound::fresh("ahead");
    bound.advance(100);
    let says = |report: &pam_tests::Report| report.said().last().unwrap().text.clone();
    let behind = bound.login(&bound.code(-7));
    assert_eq!(behind.code("auth"), AUTH_ERR);
    let words = "That code is wrong: the device's clock is about 3 min 30 s behind this host's.";
    assert!(says(&behind).contains(words), "{}", says(&behind));
    let (told, untold) = (bound.code(4), bound.code(5));
    let ahead = bound.login(&told);
    assert_eq!(ahead.code("auth"), AUTH_ERR);
    assert!(says(&ahead).contains("is about 2 min ahead of this host's."), "{}", says(&ahead));
    let second = bound.login(&untold);
    assert_eq!((second.code("auth"), says(&second).contains("ahead")), (AUTH_ERR, false), "one at a time");
    bound.advance(4);
    let dead = bound.login(&told);
    assert_eq!((dead.code("auth"), says(&dead).contains("used already")), (AUTH_ERR, true), "{}", says(&dead));
    assert_eq!(bound.auth(&untold), SUCCESS, "nobody was told of this one");
}

#[test]
fn the_word_of_a_binding_stands_in_front_of_the_prompt_until_the_first_login() {
    let bound = Bound::fresh("noticed");
    let word = "This device was bound just now from root.\\nVerification code: ";
    let first = |answer: &str, flags| {
        let host = bound.system.host("door").user("noticed").flags(flags).answer(answer).steps(&["auth"]).run();
        host.said().iter().map(|said| said.text.clone()).collect::<Vec<_>>()
    };
    assert!(first("000000", 0)[0].contains(word), "also to who gives a wrong code");
    // As sudo does.
    let said = first(&bound.code(1), SILENT);
    assert!(said.len() == 1 && said[0].contains(word), "{said:?}");
    assert!(!first("000000", 0)[0].contains("bound"), "the first login is over");
}

#[test]
fn where_the_stack_is_not_known_the_word_of_a_binding_comes_with_the_success() {
    let bound = Bound::fresh("unnoticed");
    bound.system.service("door", "auth required {module}\naccount required {module}");
    let report = bound.login(&bound.code(1));
    let said: Vec<_> = report.said().iter().map(|said| said.text.clone()).collect();
    assert!(!said[0].contains("bound") && said[1].contains("This device was bound just now from root."), "{said:?}");
}

#[test]
fn a_program_that_answers_blindly_is_told_so_and_not_counted() {
    let bound = Bound::fresh("blind");
    bound.system.service("door", "auth requisite pam_unix.so\nauth required {module} stack=complete");
    let before = fs::read(bound.file("state")).unwrap();
    for (conv, reason) in [
        ("login-secret", "the program answered with the login secret"),
        ("user-name", "the program answered with the user's name"),
        ("null-answer", "the program cannot ask"),
        ("null-array", "the program cannot ask"),
        ("error", "the program cannot ask"),
    ] {
        let log = Log::listen();
        let host = bound.system.host("door").user("blind").password(pam_tests::PASSWORD);
        let report = host.conv(conv).steps(&["auth"]).run();
        assert_eq!(report.code("auth"), CONV_ERR, "{conv}");
        let line = audit(&log, "user=blind").pop().unwrap();
        assert_eq!(words(&line), format!("no-interaction {reason}"), "{conv}");
        assert!(!line.contains(pam_tests::PASSWORD));
    }
    assert_eq!(before, fs::read(bound.file("state")).unwrap(), "none of these is a guess");
}

#[test]
fn without_a_complete_stack_everybody_is_told_the_same() {
    let mut bound = Bound::fresh("neutral");
    bound.advance(100);
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    bound.system.service("door", "auth required {module}\naccount required {module}");
    add_user("unbound");
    let good = bound.code(0);
    assert_eq!(bound.auth(&good), SUCCESS);
    let said = |user: &str, answer: &str| {
        let report = bound.system.host("door").user(user).answer(answer).steps(&["auth"]).run();
        assert_eq!(report.code("auth"), AUTH_ERR, "{user} {answer}");
        report.said()
    };
    let used = said("neutral", &good);
    assert!(
        used[0].text.contains("Verification code: ") && used[1].text.contains("Second factor refused."),
        "{used:?}"
    );
    for (user, answer) in [("neutral", "000000"), ("neutral", "x"), ("unbound", "000000"), ("no-such-user", "000000")] {
        assert_eq!(said(user, answer), used, "{user} {answer}");
    }
}

#[test]
fn who_is_required_and_has_no_device_is_refused_with_the_remedy() {
    add_user("wanting");
    let bound = Bound::fresh("bystander");
    bound.system.config("[[rule]]\nname = \"all\"\nusers = [\"wanting\"]\nservices = [\"door\"]\nrequire = \"mfa\"\n");
    let log = Log::listen();
    let report = bound.system.host("door").user("wanting").answer("000000").flags(SILENT).steps(&["auth"]).run();
    assert_eq!(report.code("auth"), AUTH_ERR);
    let said = report.said();
    assert_eq!(said.len(), 1, "no prompt: there is nothing to ask for. {said:?}");
    assert!(said[0].text.contains("mfa-enroll totp --user wanting"), "{said:?}");
    assert!(said[0].text.is_ascii());
    let line = audit(&log, "user=wanting").pop().unwrap();
    assert!(line.contains(r#"rule="mfa.toml:1 all""#) && line.contains("factor=none"), "{line}");
    assert_eq!(words(&line), "refused required and not bound, and not to be bound here");
}

/// The verb that binds what the rule accepts, and the contact of the policy.
#[test]
fn a_refusal_names_what_this_user_can_do_and_whom_to_ask() {
    add_user("wanting");
    let bound = Bound::fresh("bystander");
    let rule = "[[rule]]\nusers = [\"wanting\"]\nrequire = \"mfa\"\n";
    for (contact, whom) in [("", "an administrator"), ("contact = \"helpdesk 4711\"\n", "helpdesk 4711")] {
        for (kinds, verb) in [("", "totp"), ("kinds = [\"u2f\"]\n", "u2f"), ("kinds = [\"totp\", \"u2f\"]\n", "totp")] {
            let refused = |more: &str| {
                bound.system.config(&format!("{contact}{rule}{kinds}{more}"));
                let report = bound.system.host("door").user("wanting").answer("000000").steps(&["auth"]).run();
                assert_eq!(report.code("auth"), AUTH_ERR);
                report.said().pop().unwrap().text
            };
            let said = refused("enroll = \"by-admin\"\n");
            assert!(said.contains(&format!("Ask {whom} to run: mfa-enroll {verb} --user wanting")), "{said}");
            let said = refused("enroll = \"invited\"\n");
            let key_alone = verb == "u2f";
            let invite = format!("Ask {whom} to run: mfa-enroll invite --user wanting");
            assert!(said.contains(if key_alone { "at this machine's own console." } else { &invite }), "{said}");
        }
    }
}

/// oathtool's codes are those of an app that reads nothing but the key. Bound by what it does, the device would be weaker
/// than the policy says.
#[test]
fn an_app_that_ignores_its_parameters_is_told_so_and_is_not_bound() {
    let bound = Bound::fresh("ignorer");
    let before = fs::read(bound.file("credentials")).unwrap();
    for (table, ignored) in [("algorithm = \"SHA256\"", "SHA256"), ("digits = 8\nperiod = \"1m\"", "8 digits, 60 s")] {
        bound.system.config(&format!("[totp]\n{table}\n"));
        let key = bound.pend_replacement();
        let codes = [-1, 0].map(|step| bound.code_of(&key, step));
        let done = bound.system.enroll(&["confirm", "--user", "ignorer", &codes[0], &codes[1]], "");
        let said = String::from_utf8(done.stderr).unwrap();
        let sentence = format!("This app ignores {ignored}: use another app. Nothing was bound.");
        assert_eq!((done.status.code(), said.contains(&sentence)), (Some(1), true), "{said}");
        assert!(said.contains("take digits, period and algorithm out of [totp] in mfa.toml."), "{said}");
    }
    assert_eq!(fs::read(bound.file("credentials")).unwrap(), before);
}

/// Where no password fits, as in cloud images, nobody can be asked for one. Who is known to another source than
/// this host's files may have one all the same.
#[test]
fn who_comes_by_a_key_alone_is_sent_to_the_password_only_if_one_may_fit() {
    add_user("keyed");
    let bound = Bound::fresh("other");
    bound.system.service("sshd", "account required pam_permit.so\naccount required {module}");
    bound.system.config("contact = \"helpdesk 4711\"\n[[rule]]\nrequire = \"mfa\"\n");
    let said = || {
        let report = bound.system.host("sshd").user("keyed").word("item", "3:ssh").steps(&["account"]).run();
        assert_eq!(report.code("account"), PERM_DENIED);
        report.said().pop().unwrap().text
    };
    let typed = "a key alone is not enough. Try: ssh -o PreferredAuthentications=keyboard-interactive";
    let asked = "a key alone is not enough. Ask helpdesk 4711.";
    assert!(said().contains(typed), "{}", said());
    let none = ["*", "!", "!$y$j9T$abc$def", "NP"].map(|entry| (entry, asked));
    for (entry, expected) in [("$y$j9T$abc$def", typed), ("abJnggxhB/yWI", typed)].into_iter().chain(none) {
        run("usermod", &["-p", entry, "keyed"]);
        assert!(said().contains(expected), "{entry}: {}", said());
    }
    // Kerberos may have one of this host's own user.
    let krb5 = "auth sufficient pam_unix.so\nauth required pam_krb5.so";
    bound.system.service("sshd", &format!("{krb5}\naccount required pam_permit.so\naccount required {{module}}"));
    assert!(said().contains(typed), "{}", said());
}

#[test]
fn what_policy_does_not_ask_is_ignored_and_logged() {
    add_user("free");
    let bound = Bound::fresh("exempt");
    bound.system.config("[[rule]]\nusers = [\"exempt\"]\nservices = [\"door\"]\nrequire = \"off\"\n");
    // A first factor that is not counted: what we say shows alone.
    let first = "auth [success=ignore default=die] /usr/lib/mfa-test/pam_first.so";
    bound
        .system
        .service("door", &format!("{first}\nauth required {{module}} stack=complete\naccount required {{module}}"));
    for (user, reason) in [("free", "not required and not bound"), ("exempt", "off by rule")] {
        let log = Log::listen();
        let report = bound.system.host("door").user(user).steps(&["auth", "account"]).run();
        assert_eq!((report.code("auth"), report.code("account")), (IGNORED_ALONE, IGNORED_ALONE), "{IGNORE}");
        assert_eq!(report.said(), [], "nobody is asked");
        assert_eq!(words(&audit(&log, &format!("event=verify user={user}"))[0]), format!("ignored {reason}"));
        assert_eq!(words(&audit(&log, &format!("event=account user={user}"))[0]), "ignored decided in auth");
    }
}

#[test]
fn the_service_of_the_re_proof_is_left_to_the_first_factor() {
    let bound = Bound::fresh("reproof");
    bound.system.service("mfa-enroll", "auth required pam_permit.so\nauth required {module}\naccount required pam_permit.so\naccount required {module}");
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    let report = bound.system.host("mfa-enroll").user("reproof").steps(&["auth", "account"]).run();
    assert_eq!((report.code("auth"), report.code("account")), (SUCCESS, SUCCESS));
}

#[test]
fn a_key_alone_is_judged_in_account_by_the_rule() {
    add_user("keyed");
    add_user("both");
    let bound = Bound::fresh("both");
    bound.system.service(
        "sshd",
        "{first}\nauth required {module} stack=complete\naccount required pam_permit.so\naccount required {module}",
    );
    let account = |user: &str, policy: &str| {
        bound.system.config(policy);
        let host = bound.system.host("sshd").user(user).word("item", "3:ssh").steps(&["account"]);
        (host.run().code("account"), user.to_owned())
    };
    let mfa = "[[rule]]\nrequire = \"mfa\"\n";
    let strict = "[[rule]]\nrequire = \"if-bound\"\nssh_key = \"deny\"\n";
    let lax = "[[rule]]\nrequire = \"mfa\"\nssh_key = \"allow\"\n";
    let off = "[[rule]]\nrequire = \"off\"\nssh_key = \"deny\"\n";
    let table = [
        ("keyed", "# nothing\n", SUCCESS),
        ("both", "# nothing\n", SUCCESS),
        ("keyed", mfa, PERM_DENIED),
        ("both", mfa, PERM_DENIED),
        ("keyed", strict, SUCCESS),
        ("both", strict, PERM_DENIED),
        ("both", lax, SUCCESS),
        ("both", off, SUCCESS),
    ];
    for (user, policy, expected) in table {
        assert_eq!(account(user, policy), (expected, user.to_owned()), "{user} under {policy:?}");
    }
    // The same sshd under another service name is known by its terminal.
    bound.system.config(mfa);
    bound.system.service("doorway", "account required pam_permit.so\naccount required {module}");
    let door = |tty: &str| {
        bound.system.host("doorway").user("keyed").word("item", format!("3:{tty}")).steps(&["account"]).run()
    };
    assert_eq!(door("ssh").code("account"), PERM_DENIED);
    assert_eq!(door("/dev/pts/3").code("account"), SUCCESS, "cron, at, a cached sudo, su from root go on");
}

#[test]
fn a_typo_in_the_policy_neither_opens_nor_locks_out() {
    add_user("typist");
    let system = System::fresh();
    system.service("door", "{first}\nauth required {module} stack=complete");
    let auth = || system.host("door").user("typist").answer("000000").steps(&["auth"]).run().code("auth");
    system.config("[[rule]]\nusers = [\"typist\"]\nrequire = \"off\"\n[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(auth(), SUCCESS);
    for broken in ["[[rule]]\nuser = [\"typist\"]\nrequire = \"mfa\"\n", "\u{0}", "[[", "[totp]\ndigits = 99\n"] {
        let log = Log::listen();
        system.config(broken);
        assert_eq!(auth(), SUCCESS, "the last policy that loaded holds after {broken:?}");
        let said = audit(&log, "event=policy").pop().unwrap();
        assert!(said.starts_with("<83>") && said.contains("/etc/mfa/mfa.toml:"), "loud, with file and line: {said}");
    }
    fs::remove_file("/etc/mfa/mfa.toml").unwrap();
    assert_eq!(auth(), SUCCESS, "a policy that is gone is one that cannot be read");
    fs::remove_dir_all(system.store().join("policy")).unwrap();
    assert_eq!(auth(), AUTH_ERR, "with no policy at all everybody is required");
    system.config("# nothing\n");
    assert_eq!(auth(), SUCCESS);
}

/// An editor that writes in place makes the file empty first. Whoever logs in at that moment must not profit.
#[test]
fn a_policy_that_is_being_written_or_was_emptied_is_not_believed() {
    add_user("early");
    let system = System::fresh();
    system.service("door", "{first}\nauth required {module} stack=complete");
    let auth = || system.host("door").user("early").steps(&["auth"]).run().code("auth");
    system.config("[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(auth(), AUTH_ERR);
    fs::write("/etc/mfa/mfa.toml", "").unwrap();
    assert_eq!(auth(), AUTH_ERR, "empty a moment ago");
    fs::write("/etc/mfa/mfa.toml", "# the rule is still to come\n").unwrap();
    assert_eq!(auth(), AUTH_ERR, "half of it, a moment ago");
    for _ in 0..2 {
        system.config("");
        assert_eq!(auth(), AUTH_ERR, "empty for good, and no copy to fall back to");
    }
    system.config("# no rules\n");
    assert_eq!(auth(), SUCCESS);
    system.drop_in("50-all.toml", "[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(auth(), AUTH_ERR);
    fs::rename("/etc/mfa/mfa.d", "/etc/mfa/elsewhere").unwrap();
    assert_eq!(auth(), AUTH_ERR, "the folder of drop-ins is gone, and their rules are not");
}

#[test]
fn a_policy_that_others_may_write_is_not_obeyed() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    add_user("worker");
    let system = System::fresh();
    system.service("door", "{first}\nauth required {module} stack=complete");
    let auth = || system.host("door").user("worker").steps(&["auth"]).run().code("auth");
    system.config("[[rule]]\nrequire = \"mfa\"\n");
    assert_eq!(auth(), AUTH_ERR);
    let opening = "[[rule]]\nrequire = \"off\"\n";
    system.config(opening);
    fs::set_permissions("/etc/mfa/mfa.toml", PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(auth(), AUTH_ERR, "writable by everybody");
    fs::set_permissions("/etc/mfa/mfa.toml", PermissionsExt::from_mode(0o644)).unwrap();
    chown("/etc/mfa/mfa.toml", Some(65534), None).unwrap();
    assert_eq!(auth(), AUTH_ERR, "of another owner");
    fs::rename("/etc/mfa/mfa.toml", "/etc/mfa/elsewhere").unwrap();
    symlink("/etc/mfa/elsewhere", "/etc/mfa/mfa.toml").unwrap();
    assert_eq!(auth(), AUTH_ERR, "a symbolic link");
    fs::remove_file("/etc/mfa/mfa.toml").unwrap();
    system.config("[[rule]]\nrequire = \"mfa\"\n");
    system.drop_in("10-open.toml", opening);
    fs::set_permissions("/etc/mfa/mfa.d", PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(auth(), AUTH_ERR, "a folder in which everybody may write");
    fs::set_permissions("/etc/mfa/mfa.d", PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(auth(), SUCCESS, "the drop-in comes first");
}

#[test]
fn hostile_surroundings_change_nothing() {
    let mut bound = Bound::fresh("hostile");
    let hostile = [
        ("LD_PRELOAD", "/nowhere.so"),
        ("RUST_BACKTRACE", "full"),
        ("HOME", "/tmp"),
        ("XDG_CONFIG_HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("MFA_CONFIG", "/tmp/mfa.toml"),
        ("PATH", "/tmp"),
    ];
    let with = |bound: &Bound, answer: &str, limits: &str| {
        let mut host = bound.system.host("door").user("hostile").answer(answer).steps(&["auth"]);
        for (name, value) in hostile.iter().skip(1) {
            host = host.env(name, value);
        }
        host.under(&["/bin/sh", "-c", &format!("{limits}; exec \"$@\""), "sh"]).run().code("auth")
    };
    // Soft limits, as a user would set them before su: 4 KiB is less than the state file.
    let limits = "ulimit -S -f 8; ulimit -S -t 60; ulimit -S -c unlimited; umask 000; cd /tmp";
    assert_eq!(with(&bound, "000000", limits), AUTH_ERR);
    assert_eq!(with(&bound, &bound.code(1), limits), SUCCESS, "the second slot is written in spite of the limit");
    bound.advance(3);
    assert_eq!(bound.auth(&bound.code(-3)), AUTH_ERR);
    assert_eq!(fs::metadata(bound.file("state")).unwrap().len(), 8192);
}

#[test]
fn a_user_who_is_not_root_gets_no_verdict_by_starting_the_helper() {
    let bound = Bound::fresh("caller");
    let host = bound.system.host("door").user("caller").answer(&bound.code(1)).steps(&["auth"]);
    let report = host.under(&["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    assert_eq!(report.run().code("auth"), AUTHINFO_UNAVAIL);
}

/// Where a stranger reaches our line although it says that the stack is complete, everybody is asked the same and told
/// nothing, and whoever guesses there locks no login that lies behind a first factor.
#[test]
fn in_a_stack_that_is_not_as_its_line_says_a_stranger_learns_nothing_and_locks_nobody_out() {
    let mut bound = Bound::fresh("believer");
    bound.advance(100);
    add_user("wanting");
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    let ours = "auth required {module} stack=complete\naccount required {module}\nsession optional {module}";
    bound.system.service("su", &format!("auth required pam_unix.so nodelay\n{ours}"));
    bound.system.service("door", &format!("{{first}}\n{ours}"));
    let log = Log::listen();
    let by_stranger = |bound: &Bound, user: &str, answer: &str| {
        let host = bound.system.host("su").user(user).password("wrong").answer(answer);
        let report = host.steps(&["auth"]).run();
        (report.code("auth"), report.said())
    };
    for answer in ["000000", "x", "", "wrong"] {
        let of_bound = by_stranger(&bound, "believer", answer);
        assert_ne!(of_bound.0, SUCCESS);
        assert_eq!(of_bound.1.len(), 2, "two questions and not a word: {:?}", of_bound.1);
        assert_eq!(by_stranger(&bound, "wanting", answer), of_bound, "{answer:?}");
        // pam_unix has a code of its own for them.
        assert_eq!(by_stranger(&bound, "no-such-user", answer).1, of_bound.1, "{answer:?}");
    }
    assert!(log.lines_with("user=believer").pop().unwrap().contains("stack=complete is untrue: su: "));
    bound.advance(100);
    for _ in 0..20 {
        let _ = by_stranger(&bound, "believer", "000000");
    }
    let code = bound.code(0);
    assert_eq!(bound.auth(&code), SUCCESS, "a stranger has locked the owner out");
}
