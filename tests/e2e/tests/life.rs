//! The life of a binding, with the installed package: a device is replaced, is left at home, has a clock that is off.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, shipped};
use e2e::{Machine, Screen, Terminal, Theme, oath, oath::Codes};

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// The recovery codes in a text.
fn recovery_codes(text: &str) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 19 && word.split('-').all(|part| part.len() == 4);
    text.split(|c: char| c.is_whitespace() || "\"[],".contains(c)).filter(is_code).map(str::to_owned).collect()
}

/// The key in the picture on the screen.
fn scanned(who: &Person, screen: &Screen) -> String {
    let uri = screen.decode_qr(Theme::Dark).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    let head = format!("otpauth://totp/web1:{}?secret=", who.name);
    let key = uri.strip_prefix(&head).and_then(|rest| rest.strip_suffix("&issuer=web1"));
    let key = key.unwrap_or_else(|| panic!("{uri}")).to_owned();
    who.keep_secret(&key);
    key
}

#[track_caller]
fn refuses(door: Door, who: &Person, code: &str, said: &str) {
    let mut t = door.up_to_the_code(who);
    t.type_line(code);
    t.wait_for(said);
    if said.contains("used already") {
        t.wait_for(common::CODE);
        t.type_line(code);
    }
    t.wait_for(&door.refusal(who));
}

fn refuses_a_wrong_code(door: Door, who: &Person, code: &str) {
    let mut t = door.up_to_the_code(who);
    t.type_line(code);
    door.refuses_a_wrong_code(who, &mut t);
}

#[test]
fn a_user_replaces_the_device_and_the_old_one_never_lets_in_again() {
    let (who, old) = Person::bound(&MACHINE, "renate");
    let made = MACHINE.sh_ok("mfa-enroll recovery-codes --user renate --json");
    let old_codes = recovery_codes(&made);
    old_codes.iter().for_each(|code| who.keep_secret(code));

    let said = MACHINE.sh("mfa-enroll totp --user renate --key-only");
    assert_eq!((said.code, said.stderr.contains("mfa-enroll replace totp --user renate")), (4, true), "{said}");

    let mut t: Terminal =
        MACHINE.terminal().user("renate").run("mfa-enroll replace totp; echo \"exit $?\"; read go_on");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(&old_codes[0]);
    t.wait_for("First verification code (the app shows a new one in ");
    let key = scanned(&who, &t.screen());
    let codes = Codes::now(&key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code (");
    t.type_line(&codes.present);
    t.wait_for("Type ok when you have written them down: ");
    // Below the one that was typed.
    let text = t.screen().text();
    let new_codes = recovery_codes(text.rsplit_once("They are shown only now").map_or("", |(_, page)| page));
    assert_eq!(new_codes.len(), 10, "{}", t.screen());
    new_codes.iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("The new device of renate is bound");
    t.wait_for("Tell whoever shares the account.");
    t.wait_for("exit 0\n");
    drop(t);
    who.logged(&["event=replace", "factor=recovery-code", "verdict=accepted reason=replaced"]);

    refuses_a_wrong_code(Door::Ssh, &who, &old.good);
    refuses_a_wrong_code(Door::Ssh, &who, &old_codes[1]);
    let mut t = Door::Ssh.up_to_the_code(&who);
    assert!(t.text().contains("This device took the place of another "), "{}", t.text());
    t.type_line(&codes.next);
    Door::Ssh.is_open(&who, &mut t);
    drop(t);
    Door::Ssh.lets_in(&who, &new_codes[0]);
}

#[test]
fn who_left_the_device_at_home_gets_in_once_by_a_bypass_code() {
    let (who, app) = Person::bound(&MACHINE, "bodo");
    let code = MACHINE.sh_ok("mfa-enroll bypass --user bodo --for 10m").trim().to_owned();
    who.keep_secret(&code);
    assert_eq!(recovery_codes(&code), [code.as_str()]);
    assert!(who.status()["bypass_until"].is_string(), "{}", who.status());

    Door::Ssh.lets_in(&who, &code);
    who.logged(&["event=verify", "service=sshd", "factor=bypass", "verdict=accepted"]);
    refuses_a_wrong_code(Door::Ssh, &who, &code);
    assert!(who.status()["bypass_until"].is_null(), "{}", who.status());
    Door::Ssh.lets_in(&who, &app.good);
}

#[test]
fn a_device_whose_clock_is_off_works_again_once_that_is_learned() {
    let (who, app) = Person::bound(&MACHINE, "uhr");
    // With some seconds left in this step.
    who.keep_codes(&Codes::now(&app.key));
    let codes = Codes::at(&app.key, oath::unix_now() + 3600);
    who.keep_codes(&codes);
    refuses_a_wrong_code(Door::Ssh, &who, &codes.present);
    let said = MACHINE.sh(&format!("mfa-enroll resync --user uhr {} {}", codes.previous, codes.present));
    assert_eq!((said.code, said.stderr.contains("about an hour ahead of this host's")), (0, true), "{said}");
    refuses(Door::Ssh, &who, &codes.present, "That code was used already.");
    Door::Ssh.lets_in(&who, &codes.next);
    refuses_a_wrong_code(Door::Ssh, &who, &app.good);
}
