//! The device of a renamed account follows its new name.

#![allow(clippy::unwrap_used)]

use pam_tests::code::{AUTH_ERR, SUCCESS};
use pam_tests::{Bound, run};

/// Exit code and messages.
fn rename(bound: &Bound, old: &str, new: &str) -> (i32, String) {
    let output = bound.system.enroll(&["rename", old, new], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn login(bound: &Bound, user: &str, answer: &str) -> i32 {
    bound.system.host("door").user(user).answer(answer).steps(&["auth"]).run().code("auth")
}

/// Gives the account another name, in the sandbox's own files.
fn usermod(old: &str, new: &str) {
    run("usermod", &["--login", new, old]);
}

#[test]
fn the_device_follows_the_new_name_and_no_used_code_comes_back() {
    let mut bound = Bound::fresh("renbob");
    bound.system.config(
        "[[rule]]\nname = \"crew\"\nusers = [\"renbob\", \"root\"]\nservices = [\"cron\"]\nrequire = \"off\"\n",
    );
    bound.advance(1);
    let used = bound.code(0);
    assert_eq!(login(&bound, "renbob", &used), SUCCESS);

    let (code, said) = rename(&bound, "renbob", "root");
    assert_eq!(code, 1, "it is an account: {said}");
    assert!(said.contains("renbob is still an account"), "{said}");
    assert_eq!(rename(&bound, "renbob", "renbob").0, 4);

    usermod("renbob", "renrobert");
    assert_eq!(rename(&bound, "nobody-here", "renrobert").0, 3);
    assert_eq!(rename(&bound, "renbob", "nobody-here").0, 3);
    // A login before the command leaves something of its own.
    bound.bind_other("root");
    let (code, said) = rename(&bound, "renbob", "root");
    assert_eq!(code, 4, "root has a device: {said}");

    let (code, said) = rename(&bound, "renbob", "renrobert");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("The device of renbob is that of renrobert now"), "{said}");
    assert!(said.contains("mfa.toml:1 crew still names renbob"), "{said}");
    assert_eq!(login(&bound, "renrobert", &used), AUTH_ERR, "one code, one login");
    bound.advance(1);
    assert_eq!(login(&bound, "renrobert", &bound.code(0)), SUCCESS);
    assert_eq!(rename(&bound, "renbob", "renrobert").0, 3, "nothing is left of it");
    usermod("renrobert", "renbob");
    bound.system.enroll(&["disable", "--user", "root"], "");
}

/// A cut between the two moments leaves the device under both names; the same command once more finishes it.
#[test]
fn a_rename_that_was_cut_is_finished_by_the_same_command() {
    let mut bound = Bound::fresh("rencut");
    let users = bound.system.store().join("users");
    let before = bound.saved();
    usermod("rencut", "rendone");
    assert_eq!(rename(&bound, "rencut", "rendone").0, 0);
    bound.put_back(&before);
    assert!(users.join("rencut/credentials").exists() && users.join("rendone/credentials").exists());
    bound.advance(1);
    let used = bound.code(0);
    assert_eq!(login(&bound, "rendone", &used), SUCCESS);
    assert_eq!(rename(&bound, "rencut", "rendone").0, 0);
    assert!(!users.join("rencut/credentials").exists());
    assert_eq!(login(&bound, "rendone", &used), AUTH_ERR, "the state of the new name has gone on");
    usermod("rendone", "rencut");
}
