//! `make demo`: the package in a disposable Debian, from the login that binds an app to the next one,
//! which asks for its code. With a terminal it is yours; without one it plays both sides by itself and
//! ends with an error if anything is not as it should be.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{
    env,
    io::{BufRead, IsTerminal, stdin, stdout},
    process::ExitCode,
};

use e2e::{Machine, Terminal, Theme, oath, oath::Codes};

const PASSWORD: &str = "correct horse";

const POLICY: &str = "[[rule]]\nname = \"demo\"\nusers = [\"alice\"]\nrequire = \"mfa\"\n";

fn main() -> ExitCode {
    say("A Debian of its own, thrown away at the end, with the package installed and switched on");
    println!("(pam-auth-update --enable mfa). Its sshd listens inside it only.");
    println!("/etc/mfa/mfa.d/demo.toml requires a second factor of one user:\n");
    println!("{POLICY}");
    let machine = Machine::build().package().boot();
    machine.user("alice", PASSWORD);
    machine.sh_ok("usermod --append --groups sudo alice");
    machine.write("/etc/mfa/mfa.d/demo.toml", POLICY);
    machine.sh_ok("pam-auth-update --enable mfa");
    println!("alice's password is: {PASSWORD}");

    if stdin().is_terminal() && stdout().is_terminal() { by_hand(&machine) } else { by_itself(&machine) }
}

fn say(line: &str) {
    println!("\n== {line}");
}

fn show(t: &mut Terminal) {
    print!("{}", t.screen());
}

/// You are alice.
fn by_hand(machine: &Machine) -> ExitCode {
    println!("She has no device yet, so her first login leads her through binding one: have your phone ready.");
    println!("On a light terminal type invert in place of the first code.");
    loop {
        say("You are alice: ssh alice@localhost");
        println!("Her password is: {PASSWORD}. Inside, try: sudo id. A code is good once: take the next one.\n");
        on_your_terminal(machine, &["ssh", "alice@localhost"]);
        say("What the log says:");
        audit(machine);
        println!("\nEnter logs in again, Ctrl-D ends the demo.");
        if stdin().lock().read_line(&mut String::new()).unwrap_or(0) == 0 {
            break;
        }
    }
    say("Everything is removed.");
    ExitCode::SUCCESS
}

/// Runs a command of the machine where you sit. Ctrl-C is for it alone: tests/demo has us ignore it.
fn on_your_terminal(machine: &Machine, command: &[&str]) -> i32 {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default().to_ascii_uppercase();
    let utf8 = locale.is_empty() || locale.contains("UTF-8") || locale.contains("UTF8");
    let status = machine
        .command("env")
        .arg("--default-signal=INT")
        .args(command)
        .env("LANG", if utf8 { "C.UTF-8" } else { "C" })
        .env("TERM", variable("TERM").unwrap_or_else(|| "dumb".into()))
        .status();
    status.expect("a command of the machine").code().unwrap_or(255)
}

/// Nobody is there: an app that reads the screen, and hands that type.
fn by_itself(machine: &Machine) -> ExitCode {
    say("She has no device yet: after her password ssh leads her through binding one");
    let ssh = "ssh -o PreferredAuthentications=keyboard-interactive alice@localhost";
    let mut t = machine.terminal().run(ssh);
    t.wait_for("(alice@localhost) Password: ");
    t.type_line(PASSWORD);
    t.wait_for("First verification code (");
    let screen = t.screen();
    print!("{screen}");
    let uri = screen.decode_qr(Theme::Dark).expect("zbarimg reads the QR code off the screen");
    println!("zbarimg reads off this screen: {uri}");
    let key = uri.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).expect("an address with a key");
    let codes = Codes::now(key);
    println!("oathtool, as the app, shows {} and then {}.", codes.previous, codes.present);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code");
    t.type_line(&codes.present);
    t.wait_for("Type ok when you have written them down: ");
    t.type_line("ok");
    t.wait_for("alice@web1:~$ ");
    show(&mut t);
    t.type_line("exit");
    assert_eq!(t.exit_code(), 0);

    say("From now on it asks for the code");
    let mut t = machine.terminal().run(ssh);
    t.wait_for("(alice@localhost) Password: ");
    t.type_line(PASSWORD);
    t.wait_for("(alice@localhost) This device was bound ");
    t.wait_for("Verification code: ");
    t.type_line(&codes.next);
    t.wait_for("alice@web1:~$ ");
    show(&mut t);

    say("sudo asks as well, and takes no code twice");
    t.type_line("clear; sudo id");
    password_and_code(&mut t, &codes.next);
    t.wait_for("That code was used already. Wait for the next one.");
    t.wait_for("Verification code: ");
    t.type_line(&code_after(&codes.next, key));
    t.wait_for("uid=0(root)");
    t.wait_for("alice@web1:~$ ");
    show(&mut t);
    t.type_line("exit");
    assert_eq!(t.exit_code(), 0);

    say("What the log says");
    let log = audit(machine);
    assert!(accepted(&log, "sshd") && accepted(&log, "sudo"), "the log does not say so");
    println!("\ndemo: alice was led through binding, was asked for her code, and is in");
    ExitCode::SUCCESS
}

fn password_and_code(t: &mut Terminal, code: &str) {
    t.wait_for("[sudo] password for alice: ");
    t.type_line(PASSWORD);
    t.wait_for("Verification code: ");
    t.type_line(code);
}

/// The code that follows `used`, as soon as it is good: from the step before its own.
fn code_after(used: &str, key: &str) -> String {
    let step = |n: u64| oath::totp(key, oath::unix_now() + 30 * n);
    if step(1) == used {
        let wait = 30 - oath::unix_now() % 30;
        println!("(A code is good in its own half minute, the one before and the one after: {wait} s until the next.)");
        #[expect(clippy::disallowed_methods, reason = "the event awaited is time itself")]
        std::thread::sleep(std::time::Duration::from_secs(wait));
    }
    step(1)
}

/// Shows the helper's lines of the journal.
fn audit(machine: &Machine) -> String {
    let log = machine.sh_ok("journalctl --sync; journalctl --quiet --no-pager --output=cat --identifier=mfa-helper");
    print!("{log}");
    log
}

/// Has she come in there, by the log?
fn accepted(log: &str, service: &str) -> bool {
    let service = format!("service={service} ");
    log.lines().any(|line| line.contains(&service) && line.ends_with("verdict=accepted reason=code"))
}
