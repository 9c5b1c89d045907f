//! The package in a machine of its own: who has an app is asked for its code where a container has no such place, and
//! sits at a real terminal.
#![allow(missing_docs, clippy::expect_used)]

use e2e::oath::Codes;
use vm::Machine;

const CODE: &str = "Verification code: ";

/// A user with an app bound by root; gives the code that is good at once.
fn bound(machine: &Machine, name: &str, password: &str) -> String {
    machine.user(name, password);
    let json = machine.root(&format!("mfa-enroll totp --user {name} --json"));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let codes = Codes::now(json["secret"].as_str().expect("a key"));
    machine.root(&format!("mfa-enroll confirm --user {name} {} {}", codes.previous, codes.present));
    codes.next
}

#[test]
fn the_serial_line_asks_for_the_code() {
    let machine = Machine::shipped();
    let code = bound(&machine, "anna", "Geheim-anna-9!");
    let mut console = machine.console();

    console.log_in("anna", "Geheim-anna-9!");
    console.wait_for(CODE);
    // It is no code, and asked for again, but not after the same answer.
    for _ in 0..2 {
        console.type_line("000000x");
        console.wait_for("That is not a code of 6 digits.");
    }
    console.wait_for("Login incorrect");

    console.log_in("anna", "Geheim-anna-9!");
    console.wait_for(CODE);
    console.type_line(&code);
    console.wait_for("anna@web1:~$");
    console.type_line("tty; loginctl --no-pager show-session --property=TTY --property=Remote \"$XDG_SESSION_ID\"");
    console.wait_for("/dev/ttyS0\n");
    console.wait_for("Remote=no");
    console.type_line("exit");
    console.wait_for("web1 login: ");
}

#[test]
fn the_screen_asks_for_the_code_and_has_a_seat() {
    let machine = Machine::shipped();
    let code = bound(&machine, "berta", "Geheim-berta-9!");
    let screen = machine.screen();

    screen.log_in("berta", "Geheim-berta-9!");
    screen.wait_for_prompt(CODE);
    screen.type_line(&code);
    screen.wait_for_prompt("berta@web1:~$ ");
    screen.type_line("loginctl --no-pager show-session --property=Seat --property=TTY \"$XDG_SESSION_ID\"");
    let shown = screen.wait_for("TTY=tty1");
    assert!(shown.contains("Seat=seat0"), "{shown}");
}

#[test]
fn ssh_asks_for_the_code_and_lets_in_with_it_only() {
    let machine = Machine::shipped();
    let code = bound(&machine, "clara", "Geheim-clara-9!");

    let mut wrong = machine.ssh("clara");
    wrong.wait_for("Password: ");
    wrong.type_line("Geheim-clara-9!");
    wrong.wait_for(CODE);
    wrong.type_line("000000x");
    wrong.wait_for("That is not a code of 6 digits.");
    wrong.wait_for(CODE);
    wrong.type_line("000000x");
    wrong.wait_for("Password: ");
    drop(wrong);

    let mut right = machine.ssh("clara");
    right.wait_for("Password: ");
    right.type_line("Geheim-clara-9!");
    right.wait_for(CODE);
    right.type_line(&code);
    right.wait_for("clara@web1:~$");
    right.type_line("exit");
    right.wait_for_end();

    let journal = machine.journal();
    let verified = |verdict: &str| {
        let words = ["event=verify", "service=sshd", "user=clara", verdict];
        journal.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    assert_eq!((verified("verdict=refused"), verified("verdict=accepted")), (1, 1), "{journal}");
}
