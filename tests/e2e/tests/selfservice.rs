//! A user manages the own device, by the service of the installed package, without root.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{Door, Person, shipped};
use e2e::{Machine, Screen, Terminal, Theme, oath::Codes};

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// Sits down at a terminal of 80 by 24 and runs `mfa-enroll`.
fn begin(who: &Person, arguments: &str) -> Terminal {
    MACHINE.terminal().user(&who.name).run(&format!("mfa-enroll {arguments}; echo \"exit $?\"; read go_on"))
}

/// The recovery codes on the screen.
fn recovery_codes(screen: &Screen) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 19 && word.split('-').all(|part| part.len() == 4);
    screen.text().split_whitespace().filter(is_code).map(str::to_owned).collect()
}

/// Gives the password, which is not shown.
#[track_caller]
fn prove(t: &mut Terminal, password: &str) {
    t.wait_for("Password: ");
    assert!(!t.echoes());
    t.type_line(password);
}

/// Who comes by key has no password to prove anything with.
#[test]
fn who_has_a_key_alone_binds_by_an_invitation() {
    let who = Person::new(&MACHINE, "irma");
    MACHINE.sh_ok(
        "usermod --lock irma
         runuser --user visitor -- ssh-keygen -q -t ed25519 -N '' -f /home/visitor/.ssh/id_ed25519
         install --directory --owner=irma --mode=700 /home/irma/.ssh
         install --owner=irma /home/visitor/.ssh/id_ed25519.pub /home/irma/.ssh/authorized_keys",
    );
    let by_key = |command: &str| {
        let ssh = format!("exec ssh -t -o PreferredAuthentications=publickey irma@localhost {command}");
        MACHINE.terminal().user("visitor").run(&ssh)
    };
    // The password, if there were one.
    let mut t = by_key("mfa-enroll totp");
    prove(&mut t, &who.password);
    t.wait_for("That does not prove who you are.");
    assert_eq!(t.exit_code(), 1);
    drop(t);
    assert!(!who.has_record());

    let ticket = MACHINE.sh_ok("mfa-enroll invite --user irma").trim().to_owned();
    who.keep_secret(&ticket);
    let mut t = by_key("mfa-enroll totp --invitation --key-only");
    t.wait_for("Invitation ticket: ");
    assert!(!t.text().contains("  key ") && !t.text().contains("assword"), "{}", t.screen());
    t.type_line(&ticket);
    t.wait_for("First verification code (");
    let text = t.screen().text();
    let (_, shown) = text.split_once("  key ").unwrap_or_else(|| panic!("no key:\n{text}"));
    let is_group = |word: &&str| word.len() == 4 && word.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let key: String = shown.split_whitespace().take_while(is_group).collect();
    who.keep_secret(&key);
    let codes = Codes::now(&key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code (");
    t.type_line(&codes.present);
    t.wait_for("Type ok when you have written them down: ");
    recovery_codes(&t.screen()).iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("The device of irma is bound.");
    assert_eq!(t.exit_code(), 0);
    who.logged(&["event=totp", "factor=invitation", "verdict=accepted reason=bound"]);
    let status = MACHINE.sh_ok("mfa-enroll status --user irma");
    assert!(status.contains(" from irma\n"), "{status}");
}

#[test]
fn a_user_binds_and_unbinds_without_root() {
    let who = Person::new(&MACHINE, "ursel");
    let mut t = begin(&who, "totp");
    prove(&mut t, "not the password");
    t.wait_for("That does not prove who you are.");
    t.wait_for("exit 1\n");
    drop(t);
    assert!(!who.has_record());

    let mut t = begin(&who, "totp");
    prove(&mut t, &who.password);
    t.wait_for("First verification code (the app shows a new one in ");
    let screen = t.screen();
    let uri = screen.decode_qr(Theme::Dark).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    assert_eq!(screen.decode_qr(Theme::Light).as_ref(), Some(&uri));
    let key = uri.strip_prefix("otpauth://totp/web1:ursel?secret=").and_then(|rest| rest.strip_suffix("&issuer=web1"));
    let key = key.unwrap_or_else(|| panic!("{uri}"));
    who.keep_secret(key);
    let codes = Codes::now(key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code (");
    t.type_line(&codes.present);
    t.wait_for("Type ok when you have written them down: ");
    let screen = t.screen();
    let recovery = recovery_codes(&screen);
    assert_eq!(recovery.len(), 10, "{screen}");
    recovery.iter().for_each(|code| who.keep_secret(code));
    assert!(screen.text().contains("lets you in once, when the device is lost"), "{screen}");
    assert!(!screen.text().contains(&key[..4]) && screen.decode_qr(Theme::Dark).is_none(), "{screen}");
    t.type_line("ok");
    t.wait_for("The device of ursel is bound. From the next login on its code is asked.");
    t.wait_for("exit 0\n");
    let screen = t.screen();
    assert_eq!(recovery_codes(&screen).len(), 0, "they are still there:\n{screen}");
    assert!(!screen.text().contains(&who.password), "{screen}");
    drop(t);
    let caller = MACHINE.sh_ok("id -u ursel");
    who.logged(&["event=totp", &format!("caller={} verdict=accepted reason=bound", caller.trim())]);
    let status = MACHINE.sh_ok("mfa-enroll status --user ursel");
    assert!(status.contains(" from ursel\n") && status.contains("recovery codes  10 left\n"), "{status}");

    Door::Ssh.lets_in(&who, &codes.next);

    let mut t = begin(&who, "disable");
    prove(&mut t, &who.password);
    t.wait_for(common::CODE);
    // The code of the last login is used, and so are those of the binding.
    t.type_line(&codes.next);
    t.wait_for("That code was used already.");
    t.wait_for("exit 1\n");
    drop(t);
    let mut t = begin(&who, "disable");
    prove(&mut t, &who.password);
    t.wait_for(common::CODE);
    t.type_line(&recovery[3]);
    t.wait_for("The device of ursel is unbound and its key destroyed");
    t.wait_for("exit 0\n");
    drop(t);
    Door::Ssh.lets_in_without_code(&who);
    // The proof is asked by libpam, in the service: nothing was missing there.
    let complaints =
        MACHINE.sh("journalctl --boot --unit mfa-helper.service --grep 'System error|denied|cannot|fail(ed)? to'");
    assert_eq!(complaints.stdout, "-- No entries --\n", "{complaints}");
}
