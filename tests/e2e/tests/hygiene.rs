//! Nothing of ours stays in the program that let somebody in, nor in the shell that it started.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{App, Door, Person};
use e2e::Machine;

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = Machine::build().package().boot();
    machine.user("visitor", "pw-visitor");
    machine
});

/// What a shell started by each door finds: its open files, its environment, its limits and the rest
/// that a process inherits. Before and after switching on, it is the same.
#[test]
fn the_shell_behind_a_door_is_the_same_with_us_as_without() {
    let (who, app) = Person::bound(&MACHINE, "sabine");
    MACHINE.write("/usr/bin/look", LOOK);
    MACHINE.sh_ok("chmod 755 /usr/bin/look");
    let doors = [Door::Sudo, Door::SudoI, Door::Su, Door::SuDash, Door::Ssh, Door::Login];
    let without: Vec<String> = doors.iter().map(|door| look(*door, &who, None)).collect();
    for (door, seen) in doors.iter().zip(&without) {
        assert!(
            seen.contains("\n0 -> /dev/pts/N\n") && seen.contains("\nPATH=") && seen.contains("umask "),
            "{door:?}: {seen}"
        );
    }

    MACHINE.sh_ok("pam-auth-update --enable mfa");
    let mut app = app;
    for (door, without) in doors.iter().zip(&without) {
        let with = look(*door, &who, Some(&app));
        assert_eq!(&with, without, "{door:?}");
        assert!(!with.to_lowercase().contains("mfa"), "{with}");
        app = who.rebind();
    }
    // The one that listens stays.
    let listener = MACHINE.sh_ok("systemctl show --property=MainPID --value mfa-helper.service");
    assert_eq!(MACHINE.sh_ok("pgrep mfa-helper"), listener, "a helper was left behind");
    let zombies = MACHINE.sh_ok("ps -e -o stat=,comm= | grep '^Z' || :");
    assert_eq!(zombies, "");
}

/// What differs from login to login by itself is left out or made alike: the numbers of terminals,
/// pipes, sessions and processes.
const LOOK: &str = r#"#!/bin/sh
ls -l /proc/self/fd | sed -n 's/.* \([0-9]* -> .*\)/\1/p' | sed 's,/[0-9]*\($\|/\),/N\1,; s,\[[0-9]*\],[N],'
env | grep -v -e ^SSH_ -e ^XDG_SESSION_ID= -e ^_= | sed 's,^\(SUDO_TTY=/dev/pts/\).*,\1N,' | sort
env | sed -n 's/^\(SSH_[A-Z]*\)=.*/\1/p' | sort
echo "umask $(umask)"
ulimit -a
grep -e ^Sig -e ^Shd -e ^Cap -e ^NoNewPrivs -e ^Seccomp: -e ^Groups /proc/self/status | grep -v ^SigQ
nice
cat /proc/self/oom_score_adj
echo looked
"#;

/// Goes in, looks around, and leaves.
fn look(door: Door, who: &Person, app: Option<&App>) -> String {
    let mut t = door.knock(who);
    t.wait_for(&door.password_prompt(who));
    t.type_line(&who.password);
    if let Some(app) = app {
        t.wait_for(common::CODE);
        t.type_line(&app.good);
    }
    t.wait_for(if matches!(door, Door::Sudo | Door::SudoI) { "# " } else { "$ " });
    t.type_line("clear; look");
    t.wait_for("look\n");
    let seen = t.wait_for("looked\n");
    t.type_line("exit");
    assert_eq!(t.exit_code(), 0);
    format!("\n{seen}")
}
