//! Who has bound an app is asked for its code after the password, at every door, and let in with it.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, shipped};
use e2e::Machine;

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// The whole of it at one door: nobody comes in without the code, who has it does, and only once.
fn guarded(door: Door, name: &str) {
    let (who, app) = Person::bound(&MACHINE, name);
    let service = format!("service={}", door.service());

    // The password comes first: who does not know it learns nothing about a device.
    let mut t = door.knock(&who);
    t.wait_for(&door.password_prompt(&who));
    t.type_line("wrong password");
    t.wait_for(&door.refusal(&who));
    assert!(!t.text().contains(CODE), "a code is asked after a wrong password:\n{}", t.screen());
    drop(t);
    assert_eq!(who.count_logged(&["event=verify"]), 0);

    let mut t = door.up_to_the_code(&who);
    assert!(t.echoes(), "codes are shown: they are good once, and mistyping them costs a guess");
    t.type_line(&app.wrong());
    door.refuses_a_wrong_code(&who, &mut t);
    drop(t);
    who.logged(&["event=verify", &service, "factor=totp", "verdict=refused", "reason=\"wrong code\""]);
    assert!(!who.got_in());
    assert_eq!(who.state().failures, 1);

    door.lets_in(&who, &app.good);
    let line = who.logged(&["event=verify", &service, "verdict=accepted"]);
    assert!(line.contains("rule=none") && line.contains("caller=0"), "{line}");
    assert!(who.got_in());
    assert_eq!(who.state().failures, 1, "a right code forgives no wrong one");

    let mut t = door.up_to_the_code(&who);
    t.type_line(&app.good);
    t.wait_for("That code was used already. Wait for the next one.");
    t.wait_for(CODE);
    t.type_line(&app.good);
    t.wait_for(&door.refusal(&who));
    drop(t);
    who.logged(&["event=verify", &service, "verdict=refused", "reason=\"code used already\""]);
    assert_eq!(who.count_logged(&["verdict=accepted", "event=verify"]), 1);
}

#[test]
fn ssh_asks_for_the_code_after_the_password() {
    guarded(Door::Ssh, "anna");
}

#[test]
fn sudo_asks_for_the_code_of_who_calls() {
    guarded(Door::Sudo, "berta");
}

#[test]
fn sudo_i_asks_for_the_code_of_who_calls() {
    guarded(Door::SudoI, "clara");
}

#[test]
fn su_asks_for_the_code_of_who_it_becomes() {
    guarded(Door::Su, "doris");
}

#[test]
fn su_with_a_login_shell_asks_for_the_code_of_who_it_becomes() {
    guarded(Door::SuDash, "elsa");
}

#[test]
fn login_asks_for_the_code_on_the_console() {
    guarded(Door::Login, "frieda");
}
