//! The command line from outside: exit codes, data, messages, help texts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fake;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use fake::{MFA_ENROLL, can_run, folder, mfa_enroll};

/// Exit code, stdout, stderr.
fn run(behaviour: &str, arguments: &[&str]) -> (i32, String, String) {
    finish(mfa_enroll(behaviour, arguments).stdin(Stdio::null()))
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Compares with a file in `tests/golden`; with UPDATE_GOLDEN=1 writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == wanted, "{name} is now\n{text}\nand was\n{wanted}\nUPDATE_GOLDEN=1 accepts it");
}

#[test]
fn every_help_text_is_the_reviewed_one() {
    for verb in ["", "totp", "confirm", "cancel", "disable", "status", "list"] {
        let mut command = Command::new(MFA_ENROLL);
        let (code, help, _) = finish(command.args(verb.split_terminator(' ')).arg("--help"));
        assert_eq!(code, 0);
        assert!(help.is_ascii() && help.lines().all(|line| line.len() <= 80), "{help}");
        let lower = help.to_lowercase();
        assert!(!lower.contains("password") && !lower.contains("passcode"), "{help}");
        golden(&format!("help-{}.txt", if verb.is_empty() { "mfa-enroll" } else { verb }), &help);
    }
}

#[test]
fn nonsense_on_the_command_line_is_usage() {
    for line in [
        "frobnicate",
        "totp --json",
        "confirm",
        "confirm --user alice 492039",
        "cancel",
        "list --user alice",
        "totp --user alice --json --ascii",
        "status --user=",
    ] {
        let (code, stdout, stderr) = finish(Command::new(MFA_ENROLL).args(line.split(' ')));
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}");
        assert!(!stderr.is_empty(), "{line}");
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test is told")]
fn others_than_root_are_told_so() {
    if !can_run("others_than_root_are_told_so") {
        return;
    }
    let mut command = Command::new(MFA_ENROLL);
    match command.arg("status").uid(65534).output() {
        Ok(output) => {
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                String::from_utf8_lossy(&output.stderr),
                "mfa-enroll: only root may do this; try again with sudo\n"
            );
        }
        Err(e) => eprintln!("SKIPPED others_than_root_are_told_so: nobody cannot start {MFA_ENROLL}: {e}"),
    }
}

#[test]
fn a_pending_device_is_printed_as_json_and_as_a_picture() {
    if !can_run("a_pending_device_is_printed_as_json_and_as_a_picture") {
        return;
    }
    let picture = folder().join("qr.svg");
    let (code, stdout, stderr) =
        run("helper", &["totp", "--user", "alice", "--json", "--qr-svg", picture.to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["user"], "alice");
    assert_eq!(value["expires"], "2026-11-21T22:40:00Z");
    assert!(value["uri"].as_str().unwrap().contains(value["secret"].as_str().unwrap()));
    assert_eq!(fs::metadata(&picture).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
}

#[test]
fn a_picture_never_takes_the_place_of_a_file_or_follows_a_link() {
    if !can_run("a_picture_never_takes_the_place_of_a_file_or_follows_a_link") {
        return;
    }
    let folder = folder();
    let (there, link, gone) = (folder.join("there"), folder.join("link"), folder.join("gone/qr.svg"));
    fs::write(&there, "mine").unwrap();
    symlink(folder.join("elsewhere"), &link).unwrap();
    for path in [&there, &link, &gone] {
        let (code, stdout, stderr) =
            run("helper", &["totp", "--user", "alice", "--json", "--qr-svg", path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    }
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    assert!(!folder.join("elsewhere").exists());
}

#[test]
fn a_picture_of_nothing_is_not_left_behind() {
    if !can_run("a_picture_of_nothing_is_not_left_behind") {
        return;
    }
    for (behaviour, user, code) in [("helper", "nobody", 3), ("helper", "bound", 4), ("mute", "alice", 5)] {
        let picture = folder().join("qr.svg");
        let outcome = run(behaviour, &["totp", "--user", user, "--qr-svg", picture.to_str().unwrap()]);
        assert_eq!(outcome.0, code, "{outcome:?}");
        assert!(!picture.exists());
    }
}

#[test]
fn codes_from_the_command_line_arrive_as_they_are() {
    if !can_run("codes_from_the_command_line_arrive_as_they_are") {
        return;
    }
    let (code, stdout, stderr) = run("helper", &["confirm", "--user", "alice", "492 039", " 123456"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(stderr, "The device of alice is bound. From the next login on its code is asked.\n");
    let (code, stdout, stderr) = run("helper", &["confirm", "--user", "alice", "492039", "123456"]);
    let wrong = "mfa-enroll: Neither code belongs to this key: scan it, or type it, again. Nothing was bound.\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, "", wrong));
}

#[test]
fn codes_from_a_pipe_arrive_one_by_one() {
    if !can_run("codes_from_a_pipe_arrive_one_by_one") {
        return;
    }
    let codes = folder().join("codes");
    fs::write(&codes, "492 039\n 123456\n").unwrap();
    let (code, _, stderr) =
        finish(mfa_enroll("helper", &["confirm", "--user", "alice"]).stdin(File::open(&codes).unwrap()));
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run("helper", &["confirm", "--user", "alice"]);
    assert_eq!((code, stderr.as_str()), (1, "First code: \nmfa-enroll: Cancelled.\n"), "an empty stdin");
    fs::write(&codes, [b'4'; 300]).unwrap();
    let (code, _, stderr) =
        finish(mfa_enroll("helper", &["confirm", "--user", "alice"]).stdin(File::open(&codes).unwrap()));
    assert_eq!(code, 1);
    assert!(stderr.contains("This program cannot ask for a code."), "{stderr}");
}

#[test]
fn what_is_not_there_and_what_is_so_already_have_codes_of_their_own() {
    if !can_run("what_is_not_there_and_what_is_so_already_have_codes_of_their_own") {
        return;
    }
    let (code, _, stderr) = run("helper", &["cancel", "--user", "alice"]);
    assert_eq!(code, 3);
    assert!(stderr.starts_with("mfa-enroll: No device is pending for alice."), "{stderr}");
    let (code, _, stderr) = run("helper", &["totp", "--user", "nobody"]);
    assert_eq!(
        (code, stderr.as_str()),
        (3, "mfa-enroll: No user is called \\u{1b}[31m.\n"),
        "and nothing steers a terminal"
    );
    let (code, _, stderr) = run("helper", &["totp", "--user", "bound"]);
    assert_eq!(code, 4);
    assert!(stderr.starts_with("mfa-enroll: bound has a device already."), "{stderr}");
}

#[test]
fn disabling_says_what_happened_and_asks_nothing() {
    if !can_run("disabling_says_what_happened_and_asks_nothing") {
        return;
    }
    let (code, stdout, stderr) = run("helper", &["disable", "--user", "alice"]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.starts_with("The device of alice is unbound and its key destroyed"), "{stderr}");
}

#[test]
fn a_refusal_without_a_reason_points_to_the_log() {
    if !can_run("a_refusal_without_a_reason_points_to_the_log") {
        return;
    }
    let (code, _, stderr) = run("wordless", &["cancel", "--user", "alice"]);
    assert_eq!((code, stderr.as_str()), (1, "mfa-enroll: refused; the system log says why\n"));
}

#[test]
fn a_helper_that_makes_no_sense_is_unavailable() {
    if !can_run("a_helper_that_makes_no_sense_is_unavailable") {
        return;
    }
    for behaviour in ["mute", "stranger", "half"] {
        let (code, stdout, stderr) = run(behaviour, &["status", "--user", "alice", "--json"]);
        assert_eq!((code, stdout.as_str()), (5, ""), "{behaviour}");
        assert!(stderr.starts_with("mfa-enroll: mfa-helper "), "{behaviour}: {stderr}");
    }
    let missing = folder().join("missing");
    let (code, _, stderr) = finish(Command::new(MFA_ENROLL).arg("status").arg("--helper").arg(&missing));
    assert_eq!(code, 5);
    assert!(stderr.starts_with("mfa-enroll: cannot start mfa-helper: "), "{stderr}");
}

#[test]
fn the_configuration_is_named_to_the_helper_by_its_full_path() {
    if !can_run("the_configuration_is_named_to_the_helper_by_its_full_path") {
        return;
    }
    let folder = folder();
    let mut command = mfa_enroll("config", &["status", "--config", "mfa.toml"]);
    let (code, _, stderr) = finish(command.current_dir(&folder).stdin(Stdio::null()));
    assert_eq!((code, stderr), (1, format!("mfa-enroll: --config={}/mfa.toml\n", folder.display())));
}

#[test]
fn a_hundred_thousand_users_are_listed() {
    if !can_run("a_hundred_thousand_users_are_listed") {
        return;
    }
    let (code, stdout, stderr) = run("crowd", &["list", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 100_000);
    assert_eq!(value[99_999]["user"], "user99999");
    let (code, stdout, _) = run("helper", &["list"]);
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}");
}

#[test]
fn an_answer_that_cannot_be_written_is_not_done() {
    if !can_run("an_answer_that_cannot_be_written_is_not_done") {
        return;
    }
    for arguments in [&["list", "--json"][..], &["status"], &["totp", "--user", "alice", "--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = mfa_enroll("helper", arguments);
        let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the answer"), "{stderr}");
        assert_eq!(stderr.contains("mfa-enroll cancel --user alice"), arguments[0] == "totp", "{stderr}");
    }
}
