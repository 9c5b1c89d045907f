//! What programs around a login see: the data of ssh, scp and sftp is theirs alone, and a program
//! that cannot answer fails.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{App, Door, Person, shipped};
use e2e::Machine;

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// Runs a command of the visitor that logs in once.
fn transfers(who: &Person, app: &App, command: &str) {
    let mut t = MACHINE.terminal().user("visitor").run(&format!("{command}; echo \"exit $?\""));
    t.wait_for(&Door::Ssh.password_prompt(who));
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.good);
    t.wait_for("exit 0\n");
}

#[test]
fn the_data_of_ssh_scp_and_sftp_is_clean() {
    let (who, app) = Person::bound(&MACHINE, "dana");
    MACHINE.sh_ok("head -c 300000 /dev/urandom >/home/dana/blob; chmod 644 /home/dana/blob");
    transfers(&who, &app, "ssh dana@localhost cat blob >ssh.out 2>ssh.err");
    transfers(&who, &who.rebind(), "scp -q dana@localhost:blob scp.out 2>scp.err");
    transfers(&who, &who.rebind(), "echo 'get blob sftp.out' | sftp -q dana@localhost 2>sftp.err >sftp.said");
    transfers(&who, &who.rebind(), "scp -q scp.out dana@localhost:sent 2>sent.err");
    let sums = MACHINE.sh_ok("cd /home/visitor; sha256sum <../dana/blob; cat ssh.out | sha256sum; sha256sum <scp.out; sha256sum <sftp.out; sha256sum <../dana/sent");
    let sums: Vec<_> = sums.lines().collect();
    assert!(sums.len() == 5 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    // The word of a new device goes to the person.
    assert_eq!(MACHINE.sh_ok("cd /home/visitor; cat ssh.err scp.err sftp.err sent.err"), "");
    assert_eq!(MACHINE.read("/home/visitor/sftp.said").lines().filter(|line| line.starts_with("sftp> ")).count(), 1);
}

/// sudo and su talk on the terminal, whatever their output is.
#[test]
fn the_output_of_sudo_and_su_is_clean() {
    let (who, app) = Person::bound(&MACHINE, "paula");
    let mut t = MACHINE.terminal().user("paula").run("sudo id -un >out; echo \"exit $?\"");
    t.wait_for("[sudo] password for paula: ");
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.good);
    t.wait_for("exit 0\n");
    assert_eq!(MACHINE.read("/home/paula/out"), "root\n");

    let app = who.rebind();
    let mut t = MACHINE.terminal().user("visitor").run("su paula -c 'id -un' >out; echo \"exit $?\"");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.good);
    t.wait_for("exit 0\n");
    assert_eq!(MACHINE.read("/home/visitor/out"), "paula\n");
}

/// sshpass knows one answer, and gives it once: it is still at the prompt for the code when sshd has
/// waited enough. (Its ssh then sits there until somebody types; no server can help that.)
#[test]
fn sshpass_gets_nowhere() {
    static PATIENT: LazyLock<Machine> =
        LazyLock::new(|| common::enabled(Machine::build().package().sshd("LoginGraceTime 5").boot()));
    let (who, app) = Person::bound(&PATIENT, "spass");
    let plain = Person::new(&PATIENT, "plain");
    let sshpass = |who: &Person, options: &str| {
        let command =
            format!("sshpass -p '{}' ssh {options} {}@localhost id -un; echo \"exit $?\"", who.password, who.name);
        PATIENT.terminal().user("visitor").run(&command)
    };
    let mut t = sshpass(&plain, "");
    t.wait_for("plain\n");
    t.wait_for("exit 0\n");

    let mut t = sshpass(&who, "-o PreferredAuthentications=password");
    t.wait_for("exit 5\n");
    who.logged(&["event=verify", "verdict=no-interaction", "reason=\"the program cannot ask\""]);

    let mut t = sshpass(&who, "-o PreferredAuthentications=keyboard-interactive");
    who.logged(&[
        "event=verify",
        "verdict=no-interaction",
        "reason=\"no answer: the other side closed the conversation\"",
    ]);
    assert!(!t.screen().text().contains("exit"), "{}", t.screen());
    drop(t);
    assert!(!who.got_in());
    assert_eq!(who.state().failures, 0);
    Door::Su.lets_in(&who, &app.good);
}

/// What ssh calls for each prompt, in VS Code's way: it knows prompts by their words, and fails at others.
const ASKPASS: &str = r#"#!/bin/sh
echo "asked:$1" >>asked
case $1 in
*"'s password: " | *"Password: ") cat password ;;
*"Verification code: ")
    head -n1 codes
    sed -i 1d codes
    ;;
*) exit 1 ;;
esac
"#;

/// An editor starts ssh without a terminal, and has each prompt shown in a window.
#[test]
fn an_askpass_program_knows_each_prompt_by_its_words() {
    let (who, app) = Person::bound(&MACHINE, "vera");
    MACHINE.write("/home/visitor/askpass", ASKPASS);
    MACHINE.write("/home/visitor/password", format!("{}\n", who.password));
    // The first one was used.
    MACHINE.write("/home/visitor/codes", format!("{}\n{}\n", app.burnt, app.good));
    MACHINE.sh_ok("cd /home/visitor; chmod 755 askpass; chown visitor password codes .");
    let output = MACHINE
        .sh("echo 'echo \"in as:$(id -un)\"' | runuser --user visitor -- sh -c 'cd; SSH_ASKPASS=./askpass \
         SSH_ASKPASS_REQUIRE=force timeout 30 setsid --wait ssh -T -o ConnectTimeout=15 vera@localhost bash'");
    assert_eq!((output.code, output.stdout.as_str()), (0, "in as:vera\n"), "{output}");
    let asked = MACHINE.read("/home/visitor/asked");
    assert_eq!(asked.matches("asked:").count(), 3, "{asked}");
    assert!(asked.ends_with("That code was used already. Wait for the next one.\nVerification code: \n"), "{asked}");
    assert_eq!(who.state().failures, 0);
    assert_eq!(who.count_logged(&["event=verify", "verdict=accepted", "reason=code"]), 1);
}

/// Without a terminal nobody can be asked: it fails at once instead of waiting.
#[test]
fn without_a_terminal_nobody_is_asked() {
    let (who, _app) = Person::bound(&MACHINE, "batch");
    for command in [
        "runuser --user visitor -- ssh -o BatchMode=yes batch@localhost true </dev/null",
        "runuser --user visitor -- setsid --wait ssh batch@localhost true </dev/null",
        "runuser --user batch -- setsid --wait sudo -n true </dev/null",
        "runuser --user batch -- setsid --wait sudo true </dev/null",
        &format!("echo '{}' | runuser --user batch -- setsid --wait sudo -S true", who.password),
        &format!("echo '{}' | runuser --user visitor -- setsid --wait su batch -c true", who.password),
    ] {
        let output = MACHINE.sh(&format!("timeout 30 sh -c \"{}\"", command.replace('"', "\\\"")));
        assert!(output.code != 0 && output.code != 124, "{command}: {output}");
    }
    assert!(!who.got_in());
    assert_eq!(who.state().failures, 0);
}

/// `sudo -S` can hold a dialogue on a pipe: the password and the code, a line each.
#[test]
fn sudo_reads_both_answers_from_a_pipe_when_told_to() {
    let (who, app) = Person::bound(&MACHINE, "piper");
    let output = MACHINE.sh(&format!(
        "printf '%s\\n%s\\n' '{}' '{}' | runuser --user piper -- setsid --wait sudo -S id -un",
        who.password, app.good
    ));
    assert_eq!((output.code, output.stdout.as_str()), (0, "root\n"), "{output}");
}
