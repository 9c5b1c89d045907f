//! Whatever a person or a program answers to the question for the code: it is handled cleanly, logged
//! for what it is, counted only if it is a guess, and the right code works afterwards.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{App, CODE, Door, Person, State, shipped};
use e2e::{Machine, Terminal, suite};

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// One answer that lets nobody in.
struct Case {
    /// What is typed, Enter included.
    typed: fn(&Person, &App) -> String,
    /// What the person reads then.
    says: &'static str,
    verdict: &'static str,
    reason: &'static str,
    /// It was a guess, and is counted as one.
    counted: bool,
}

const WRONG: Case = Case {
    typed: |_, app| app.wrong() + "\r",
    says: "That code is wrong.",
    verdict: "refused",
    reason: "wrong code",
    counted: true,
};

const NO_CODE: Case = Case {
    typed: |_, _| String::new(),
    says: "That is not a code of 6 digits.",
    verdict: "refused",
    reason: "not a code",
    counted: false,
};

const CANCELLED: Case = Case {
    typed: |_, _| String::new(),
    says: "Cancelled.",
    verdict: "no-interaction",
    reason: "cancelled",
    counted: false,
};

/// The same for each door at which a person types.
macro_rules! at_both_doors {
    ($($(#[$doc:meta])* $name:ident: $case:expr;)*) => {
        mod ssh {
            use super::*;
            $($(#[$doc])* #[test] fn $name() { refused(Door::Ssh, concat!("ssh_", stringify!($name)), $case); })*
        }
        mod sudo {
            use super::*;
            $($(#[$doc])* #[test] fn $name() { refused(Door::Sudo, concat!("sudo_", stringify!($name)), $case); })*
        }
    };
}

at_both_doors! {
    wrong_code: WRONG;
    yesterdays_code: Case { typed: |_, app| app.yesterdays() + "\r", ..WRONG };
    code_used_at_binding: Case {
        typed: |_, app| format!("{}\r", app.burnt),
        says: "That code was used already. Wait for the next one.",
        reason: "code used already",
        counted: false,
        ..WRONG
    };
    empty: Case { typed: |_, _| "\r".into(), ..CANCELLED };
    login_password: Case {
        typed: |who, _| format!("{}\r", who.password),
        says: "That is your login secret, not a code.",
        reason: "the program answered with the login secret",
        ..CANCELLED
    };
    name_of_the_user: Case {
        typed: |who, _| format!("{}\r", who.name),
        says: "That is your name, not a code.",
        reason: "the program answered with the user's name",
        ..CANCELLED
    };
    seven_digits: Case { typed: |_, app| format!("{}7\r", app.good), ..NO_CODE };
    five_digits: Case { typed: |_, app| format!("{}\r", &app.good[..5]), ..NO_CODE };
    letters: Case { typed: |_, _| "abcdef\r".into(), ..NO_CODE };
    full_width_digits: Case {
        typed: |_, app| {
            let wide = |digit: u8| char::from_u32(0xff10 + u32::from(digit - b'0')).expect("a digit");
            app.good.bytes().map(wide).chain(['\r']).collect()
        },
        ..NO_CODE
    };
    digits_with_a_sign: Case { typed: |_, app| format!("+{}\r", &app.good[1..]), ..NO_CODE };
    very_long_line: Case {
        typed: |_, _| "1".repeat(200) + "\r",
        ..NO_CODE
    };
}

fn refused(door: Door, name: &str, case: Case) {
    let (who, app) = Person::bound(&MACHINE, name);
    let before = who.state();

    let mut t = door.up_to_the_code(&who);
    t.send((case.typed)(&who, &app));
    if case.verdict == "refused" && !case.counted {
        // It is asked for again, but not after the same answer.
        t.wait_for(case.says);
        t.wait_for(CODE);
        t.send((case.typed)(&who, &app));
    }
    match (door, case.verdict) {
        _ if case.counted => door.refuses_a_wrong_code(&who, &mut t),
        // PAM_CONV_ERR: no second try for who will not talk.
        (Door::Sudo, "no-interaction") => {
            t.wait_for(case.says);
            t.wait_for("sudo: PAM authentication error: ");
            assert_eq!(t.exit_code(), 1);
        }
        _ => {
            t.wait_for(case.says);
            t.wait_for(&door.refusal(&who));
        }
    }
    drop(t);
    nobody_got_in(&who, door, case.verdict, case.reason);
    if case.counted {
        assert_eq!(who.state(), State { last_step: app.step, failures: before.failures + 1 });
    } else {
        assert_eq!(who.state(), before);
    }

    door.lets_in(&who, &app.good);
}

/// The program is gone, and the helper noticed at once.
const GONE: &str = "no answer: the other side closed the conversation";

fn nobody_got_in(who: &Person, door: Door, verdict: &str, reason: &str) {
    let service = format!("service={}", door.service());
    let reason = if reason.contains(' ') { format!("reason=\"{reason}\"") } else { format!("reason={reason}") };
    let line = who.logged(&["event=verify", &service]);
    assert!(line.contains(&format!("verdict={verdict}")) && line.ends_with(&reason), "{line}");
    assert_eq!(who.count_logged(&["event=verify"]), 1);
    assert!(!who.got_in());
}

/// Goes away at the prompt; the helper ends at once, nothing is counted, and the code still works.
fn gone(door: Door, name: &str, reason: &str, leave: impl FnOnce(&Person, Terminal)) {
    let (who, app) = Person::bound(&MACHINE, name);
    let before = who.state();
    let t = door.up_to_the_code(&who);
    leave(&who, t);
    nobody_got_in(&who, door, "no-interaction", reason);
    assert_eq!(who.state(), before);
    door.lets_in(&who, &app.good);
}

#[test]
fn ctrl_c_ends_ssh() {
    gone(Door::Ssh, "ssh_ctrl_c", GONE, |who, mut t| {
        // As with sudo below.
        let client = format!("$(pgrep --uid visitor --full '^ssh .* {}@localhost$')", who.name);
        who.machine.sh_ok(&format!("until grep -q 'State:.S' /proc/{client}/status; do :; done"));
        t.send("\x03");
        assert_ne!(t.exit_code(), 0);
    });
}

#[test]
fn ctrl_d_is_an_empty_answer_in_ssh() {
    gone(Door::Ssh, "ssh_ctrl_d", "cancelled", |who, mut t| {
        t.send("\x04");
        t.wait_for("Cancelled.");
        t.wait_for(&Door::Ssh.password_prompt(who));
    });
}

#[test]
fn killed_ssh_client() {
    gone(Door::Ssh, "ssh_killed", GONE, |who, _t| {
        who.machine.sh_ok(&format!("pkill --signal KILL --uid visitor --full '^ssh .* {}@localhost$'", who.name));
    });
}

#[test]
fn window_of_ssh_closed() {
    gone(Door::Ssh, "ssh_closed", GONE, |_, t| assert_ne!(t.close(), 0));
}

#[test]
fn ctrl_c_ends_sudo() {
    gone(Door::Sudo, "sudo_ctrl_c", "the program cannot ask", |who, mut t| {
        // sudo writes its prompt and then begins to read: a signal in between would be noticed at the next key only.
        on_each_sudo_of(who, "until grep -q 'State:.S' /proc/$p/status; do :; done");
        t.send("\x03");
        assert_eq!(t.exit_code(), 1);
    });
}

#[test]
fn ctrl_d_ends_sudo() {
    gone(Door::Sudo, "sudo_ctrl_d", "the program cannot ask", |_, mut t| {
        t.send("\x04");
        assert_eq!(t.exit_code(), 1);
    });
}

#[test]
fn killed_sudo() {
    gone(Door::Sudo, "sudo_killed", GONE, |who, _t| on_each_sudo_of(who, "kill -KILL $p"));
}

/// Runs a line of shell for each sudo `p` of that person. It runs as root; whose it is, its terminal says.
fn on_each_sudo_of(who: &Person, line: &str) {
    let theirs = format!("[ \"$(stat --dereference --format=%U /proc/$p/fd/0)\" = {} ]", who.name);
    who.machine.sh_ok(&format!("for p in $(pgrep --exact sudo); do ! {theirs} || {{ {line}; }}; done"));
}

#[test]
fn window_of_sudo_closed() {
    // To its conversation sudo reports a hang-up as it does Ctrl-C.
    gone(Door::Sudo, "sudo_closed", "the program cannot ask", |_, t| assert_ne!(t.close(), 0));
}

#[test]
fn ctrl_c_ends_su() {
    gone(Door::Su, "su_ctrl_c", GONE, |_, mut t| {
        t.send("\x03");
        assert_eq!(t.exit_code(), 130);
    });
}

#[test]
fn ctrl_c_ends_login() {
    if suite() == "bookworm" {
        return gone(Door::Login, "login_ctrl_c", GONE, |_, mut t| {
            t.send("\x03");
            assert_ne!(t.exit_code(), 0);
        });
    }
    // Later ones have the login of util-linux, which ignores the signal at all prompts: what was typed is dropped, and
    // the question stands.
    let (who, app) = Person::bound(&MACHINE, "login_ctrl_c");
    let mut t = Door::Login.up_to_the_code(&who);
    t.send("12\x03");
    t.type_line(&app.good);
    Door::Login.is_open(&who, &mut t);
}

/// A person who gives up is no error of ours: one line says it, as of every decision.
#[test]
fn a_client_that_is_gone_leaves_one_line() {
    let (who, _app) = Person::bound(&MACHINE, "one_line");
    assert_ne!(Door::Ssh.up_to_the_code(&who).close(), 0);
    let line = who.logged(&["event=verify", "verdict=no-interaction"]);
    let helper = line.split(' ').find(|word| word.starts_with("mfa-helper[")).expect("a line of the helper");
    // It ends after what it has to say.
    let pid = helper.trim_start_matches("mfa-helper[").trim_end_matches("]:");
    MACHINE.sh_ok(&format!("tail --pid={pid} --follow /dev/null"));
    let lines: Vec<_> = who.log.text().lines().filter(|line| line.contains(helper)).map(str::to_owned).collect();
    assert_eq!(lines, [line]);
}

/// Apps show the code in two groups.
#[test]
fn a_space_inside_the_code_is_accepted() {
    for (door, name) in [(Door::Ssh, "ssh_space"), (Door::Sudo, "sudo_space")] {
        let (who, app) = Person::bound(&MACHINE, name);
        door.lets_in(&who, &format!("{} {}", &app.good[..3], &app.good[3..]));
        who.logged(&["event=verify", "verdict=accepted", "reason=code"]);
    }
}

/// The code of one login is no good for another, of whatever service.
#[test]
fn a_code_is_good_once_over_all_services() {
    let (who, app) = Person::bound(&MACHINE, "once");
    Door::Ssh.lets_in(&who, &app.good);
    for door in [Door::Ssh, Door::Sudo] {
        let mut t = door.up_to_the_code(&who);
        let before = who.state();
        t.type_line(&app.good);
        t.wait_for("That code was used already. Wait for the next one.");
        t.wait_for(CODE);
        t.type_line(&app.good);
        t.wait_for(&door.refusal(&who));
        assert_eq!(who.state(), before, "a replay is no guess");
        who.logged(&[door.service(), "verdict=refused", "reason=\"code used already\""]);
    }
    assert_eq!(who.count_logged(&["event=verify", "verdict=accepted"]), 1);
}

/// Everybody with the same right code at the same moment: one comes in.
#[test]
fn one_code_lets_one_in_however_many_use_it_at_once() {
    let (who, app) = Person::bound(&MACHINE, "crowd");
    let doors = [Door::Ssh, Door::Su, Door::Ssh, Door::Su, Door::Ssh, Door::Su];
    let mut all: Vec<_> = doors.iter().map(|door| door.up_to_the_code(&who)).collect();
    for t in &mut all {
        t.send(format!("{}\r", app.good));
    }
    let inside = "crowd@web1:";
    let outcome = |t: &mut Terminal| t.wait_for_any(&[inside, "That code was used already. Wait for the next one."]);
    let mut came_in = 0;
    for t in &mut all {
        if outcome(t) == 0 {
            came_in += 1;
        } else {
            t.wait_for(CODE);
            t.type_line(&app.good);
            t.wait_for("That code was used already.");
        }
    }
    assert_eq!((came_in, who.count_logged(&["event=verify", "verdict=accepted"])), (1, 1));
    assert_eq!(who.count_logged(&["event=verify", "reason=\"code used already\""]), doors.len() - 1);
    assert_eq!(who.state().failures, 0);
}

/// sshd's `password` method answers by itself, and blindly.
#[test]
fn the_password_method_of_sshd_is_refused_and_not_counted() {
    let (who, app) = Person::bound(&MACHINE, "blind");
    let before = who.state();
    let mut t = MACHINE
        .terminal()
        .user("visitor")
        .run("exec ssh -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 blind@localhost");
    t.wait_for("blind@localhost's password: ");
    t.type_line(&who.password);
    t.wait_for("Permission denied");
    assert_eq!(t.exit_code(), 255);
    nobody_got_in(&who, Door::Ssh, "no-interaction", "the program cannot ask");
    assert_eq!(who.state(), before);
    Door::Ssh.lets_in(&who, &app.good);
}
