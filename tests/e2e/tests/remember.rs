//! Remembered logins, with the installed package: by the client's address, and by the audit session.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, enabled, rule, shipped};
use e2e::{Machine, Terminal, oath::Codes};

static MACHINE: LazyLock<Machine> = LazyLock::new(|| addressed(shipped()));

/// With addresses by which clients can come: of loopback nothing is remembered.
fn addressed(machine: Machine) -> Machine {
    let addresses = ["1", "2", "9"].map(|n| format!("Address=192.0.2.{n}/32\n")).concat();
    machine.write("/etc/systemd/network/lo.network", format!("[Match]\nName=lo\n[Network]\n{addresses}"));
    machine.sh_ok("systemctl start systemd-networkd; for n in $(seq 100); do grep -q '192.0.2.9' /proc/net/fib_trie && exit; sleep 0.1; done; exit 1");
    machine
}

/// Clients have names here, as a reverse lookup gives them.
static NAMING: LazyLock<Machine> = LazyLock::new(|| {
    let hosts = "echo '192.0.2.9 trusted.example' >>/etc/hosts";
    addressed(enabled(Machine::build().package().sshd("UseDNS yes").setup(hosts).boot()))
});

/// Knocks at sshd from that address, and gives the password.
fn knock(who: &Person, from: &str) -> Terminal {
    let command = format!(
        "exec ssh -b {from} -o HostKeyAlias=localhost \
         -o PreferredAuthentications=keyboard-interactive {}@192.0.2.1",
        who.name
    );
    let mut t = who.machine.terminal().user("visitor").run(&command);
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t
}

#[track_caller]
fn is_asked(who: &Person, from: &str) {
    knock(who, from).wait_for(CODE);
}

#[track_caller]
fn is_not_asked(who: &Person, from: &str) {
    let mut t = knock(who, from);
    Door::Ssh.is_open(who, &mut t);
    assert!(!t.text().contains(CODE), "a code was asked:\n{}", t.screen());
}

fn remembered(machine: &Machine, name: &str) {
    rule(machine, &format!("50-{name}"), &format!("users = [\"{name}\"]\nrequire = \"mfa\"\nremember = \"8h\""));
}

#[track_caller]
fn gives_the_code(who: &Person, from: &str, code: &str) {
    let mut t = knock(who, from);
    t.wait_for(CODE);
    t.type_line(code);
    Door::Ssh.is_open(who, &mut t);
}

#[test]
fn from_the_same_address_the_code_is_not_asked_again_until_the_user_has_it_forgotten() {
    let (who, app) = Person::bound(&MACHINE, "heimo");
    remembered(&MACHINE, "heimo");
    gives_the_code(&who, "192.0.2.1", &app.good);
    is_not_asked(&who, "192.0.2.1");
    who.logged(&["event=verify", "service=sshd", "rhost=192.0.2.1 ", "factor=remembered", "verdict=accepted"]);
    is_asked(&who, "192.0.2.2");
    // Behind loopback may be a tunnel, and anybody at its other end.
    let mut t = MACHINE
        .terminal()
        .user("visitor")
        .run("exec ssh -o PreferredAuthentications=keyboard-interactive heimo@127.0.0.1");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    drop(t);
    // Another service; and runuser is in no audit session, so nothing is remembered of it at all.
    drop(Door::Sudo.up_to_the_code(&who));

    let by_user = |arguments: &str| MACHINE.sh(&format!("runuser --user heimo -- mfa-enroll tickets {arguments}"));
    let listed = by_user("--json");
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let ticket = &listed[0];
    assert_eq!((&ticket["service"], &ticket["from"]), (&"sshd".into(), &"192.0.2.1".into()), "{listed}");
    assert_eq!(by_user("--user visitor --revoke all").code, 1, "only one's own");
    let revoked = by_user(&format!("--revoke {}", ticket["id"]));
    assert_eq!(revoked.code, 0, "{revoked}");
    is_asked(&who, "192.0.2.1");
    who.logged(&["event=tickets", "verdict=accepted", "reason=\"revoked "]);
}

#[test]
fn what_was_remembered_dies_with_the_device() {
    let (who, app) = Person::bound(&MACHINE, "todo");
    remembered(&MACHINE, "todo");
    gives_the_code(&who, "192.0.2.1", &app.good);
    is_not_asked(&who, "192.0.2.1");
    who.rebind();
    is_asked(&who, "192.0.2.1");
}

/// Whoever holds an address says what its name is.
#[test]
fn of_a_client_with_a_name_nothing_is_remembered() {
    let (who, app) = Person::bound(&NAMING, "nomen");
    remembered(&NAMING, "nomen");
    gives_the_code(&who, "192.0.2.9", &app.good);
    who.logged(&["event=verify", "rhost=trusted.example ", "factor=totp", "verdict=accepted"]);
    is_asked(&who, "192.0.2.9");
    assert_eq!(NAMING.sh_ok("mfa-enroll tickets --user nomen --json"), "[]\n");
}

/// A shell behind sshd, which asks no code here.
fn shell(machine: &Machine) -> Terminal {
    let command = "exec ssh -o PreferredAuthentications=keyboard-interactive seppo@localhost";
    let mut t = machine.terminal().user("visitor").run(command);
    t.wait_for("Password: ");
    t.type_line("pw-seppo");
    t
}

/// Gives the password to sudo, which forgets it again. At the shell's prompt: what is typed before is thrown away where
/// sudo ends.
fn sudo(t: &mut Terminal) {
    t.wait_for("$ ");
    t.type_line("sudo -k; sudo sh -c 'echo \"as uid $(id -u).\"'");
    t.wait_for("password for seppo: ");
    t.type_line("pw-seppo");
}

#[test]
fn sudo_is_remembered_in_the_audit_session_of_the_login_and_not_after_a_reboot() {
    let mut machine = shipped();
    machine.user("seppo", "pw-seppo");
    machine.sh_ok("usermod --append --groups sudo seppo");
    rule(&machine, "40-ssh", "services = [\"sshd\"]\nrequire = \"off\"");
    remembered(&machine, "seppo");
    let json = machine.sh_ok("mfa-enroll totp --user seppo --json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let codes = Codes::now(json["secret"].as_str().expect("a key"));
    machine.sh_ok(&format!("mfa-enroll confirm --user seppo {} {}", codes.previous, codes.present));

    let mut t = shell(&machine);
    t.wait_for("$ ");
    t.type_line("grep --quiet 4294967295 /proc/self/sessionid || echo \"in a ses\"sion");
    t.wait_for("in a session");
    sudo(&mut t);
    t.wait_for(CODE);
    t.type_line(&codes.next);
    t.wait_for("as uid 0.");
    sudo(&mut t);
    t.wait_for("as uid 0.");
    let listed = machine.sh_ok("mfa-enroll tickets --user seppo");
    assert!(listed.contains("sudo        audit session "), "{listed}");

    let mut other = shell(&machine);
    sudo(&mut other);
    other.wait_for(CODE);
    drop((t, other));

    machine.reboot();
    let mut t = shell(&machine);
    sudo(&mut t);
    t.wait_for(CODE);
}
