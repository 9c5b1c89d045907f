//! ssh keys, and everything else that comes to the account phase without having been asked: cron, at,
//! systemd, sudo that asks nothing, root's su.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, enabled, rule, shipped};
use e2e::{Machine, Terminal};

static MACHINE: LazyLock<Machine> = LazyLock::new(|| with_a_key(shipped()));

/// The visitor has a key.
fn with_a_key(machine: Machine) -> Machine {
    machine.sh_ok("runuser --user visitor -- ssh-keygen -q -t ed25519 -N '' -f /home/visitor/.ssh/id_ed25519");
    machine
}

/// Lets the visitor in by key.
fn trusts_the_key(who: &Person) {
    who.machine.sh_ok(&format!(
        "install --directory --owner={0} --mode=700 /home/{0}/.ssh
         install --owner={0} /home/visitor/.ssh/id_ed25519.pub /home/{0}/.ssh/authorized_keys",
        who.name
    ));
}

/// ssh by the key alone.
fn by_key(who: &Person) -> Terminal {
    let ssh = format!("exec ssh -o PreferredAuthentications=publickey {}@localhost id -un", who.name);
    who.machine.terminal().user("visitor").run(&ssh)
}

#[track_caller]
fn key_lets_in(who: &Person, rule: &str) {
    let mut t = by_key(who);
    assert_eq!((t.exit_code(), t.screen().text()), (0, who.name.clone()));
    let rule = format!("rule={rule} ");
    who.logged(&[
        "event=account",
        "service=sshd",
        &rule,
        "verdict=ignored",
        "reason=\"a key alone is enough by rule\"",
    ]);
    assert_eq!(who.count_logged(&["event=verify"]), 0);
}

#[track_caller]
fn key_is_refused(who: &Person) {
    let mut t = by_key(who);
    assert_eq!(t.exit_code(), 255);
    assert!(t.raw().is_ascii(), "{}", t.screen());
    let lines: Vec<_> = t.text().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines[0],
        "MFA is required: a key alone is not enough. Try: ssh -o PreferredAuthentications=keyboard-interactive"
    );
    assert!(lines.len() == 2 && lines[1].starts_with("Connection closed by"), "{}", t.screen());
    who.logged(&["event=account", "service=sshd", "verdict=refused", "reason=\"a key alone\""]);
}

#[test]
fn a_key_of_who_has_no_device_is_as_before() {
    let who = Person::new(&MACHINE, "kurt");
    trusts_the_key(&who);
    key_lets_in(&who, "none");
}

#[test]
fn a_key_of_who_has_a_device_is_enough_unless_a_rule_says_otherwise() {
    let (who, app) = Person::bound(&MACHINE, "klara");
    trusts_the_key(&who);
    key_lets_in(&who, "none");
    rule(&MACHINE, "50-klara", "users = [\"klara\"]\nrequire = \"if-bound\"\nssh_key = \"deny\"");
    key_is_refused(&who);
    Door::Ssh.lets_in(&who, &app.good);
}

#[test]
fn a_key_of_who_is_required_is_not_enough() {
    let who = Person::new(&MACHINE, "konrad");
    trusts_the_key(&who);
    rule(&MACHINE, "50-konrad", "users = [\"konrad\"]\nrequire = \"mfa\"");
    key_is_refused(&who);
    let app = who.bind();
    key_is_refused(&who);
    assert_eq!(who.count_logged(&["verdict=refused"]), 2);

    // What the refusal proposes works.
    let mut t = Door::Ssh.up_to_the_code(&who);
    t.type_line(&app.good);
    Door::Ssh.is_open(&who, &mut t);
}

#[test]
fn a_rule_may_say_that_a_key_is_enough_for_who_is_required() {
    let who = Person::new(&MACHINE, "karin");
    trusts_the_key(&who);
    rule(&MACHINE, "50-karin", "users = [\"karin\"]\nrequire = \"mfa\"\nssh_key = \"allow\"");
    key_lets_in(&who, "50-karin.toml:1");
}

/// The settings that the package proposes, as its examples have them.
#[test]
fn the_recommended_settings_of_sshd() {
    static RECOMMENDED: LazyLock<Machine> = LazyLock::new(|| {
        let machine = with_a_key(shipped());
        machine.sh_ok(
            "cp /usr/share/doc/libpam-mfa/examples/10-mfa.conf /etc/ssh/sshd_config.d/
             sshd -t && systemctl reload ssh",
        );
        machine
    });
    let (who, app) = Person::bound(&RECOMMENDED, "rosa");
    trusts_the_key(&who);
    rule(&RECOMMENDED, "50-rosa", "users = [\"rosa\"]\nrequire = \"mfa\"");

    let knock =
        |options: &str| RECOMMENDED.terminal().user("visitor").run(&format!("exec ssh {options} rosa@localhost"));
    let mut t = knock("-o PreferredAuthentications=publickey");
    t.wait_for("Permission denied (keyboard-interactive).");
    assert_eq!(t.exit_code(), 255);
    let mut t = knock("-o PreferredAuthentications=password");
    t.wait_for("Permission denied (publickey,keyboard-interactive).");
    assert_eq!(t.exit_code(), 255);
    assert_eq!(who.count_logged(&[]), 2, "only the binding is logged so far");

    // Key, password and code.
    let mut t = knock("");
    t.wait_for("(rosa@localhost) Password: ");
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.good);
    Door::Ssh.is_open(&who, &mut t);
    who.log.wait_for(|line| line.contains("Accepted keyboard-interactive/pam for rosa"));

    // Password and code.
    let app = who.rebind();
    let mut t = knock("-o PubkeyAuthentication=no");
    t.wait_for("(rosa@localhost) Password: ");
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.wrong());
    t.wait_for("(rosa@localhost) Password: ");
    t.type_line(&who.password);
    t.wait_for(common::CODE);
    t.type_line(&app.good);
    Door::Ssh.is_open(&who, &mut t);

    // Who has no device is asked for the password even with a key, and no code.
    let plain = Person::new(&RECOMMENDED, "paul");
    trusts_the_key(&plain);
    Door::Ssh.lets_in_without_code(&plain);
}

/// Nobody is there to ask: these go on, of whomever. (A required user without a device, the strictest.)
#[test]
fn jobs_and_services_of_who_is_required_go_on() {
    static JOBS: LazyLock<Machine> = LazyLock::new(shipped);
    let who = Person::new(&JOBS, "jobst");
    rule(&JOBS, "50-jobst", "users = [\"jobst\"]\nrequire = \"mfa\"");
    let went_on = |service: &str| {
        who.logged(&["event=account", &format!("service={service} "), "verdict=ignored", "reason=\"no auth phase\""]);
    };

    JOBS.sh_ok(
        "echo '@reboot touch ran-by-cron' | crontab -u jobst -; rm -f /run/crond.reboot; systemctl restart cron",
    );
    went_on("cron");
    JOBS.sh_ok("cd /home/jobst; runuser --user jobst -- sh -c 'echo touch ran-by-at | at now'");
    went_on("atd");
    JOBS.sh_ok("loginctl enable-linger jobst");
    went_on("systemd-user");
    JOBS.sh_ok("systemctl start user@$(id -u jobst)");
    let mut t = JOBS.terminal().run("su jobst -c 'id -un'; su - jobst -c 'id -un'");
    assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "jobst\njobst"));
    went_on("su");
    went_on("su-l");
    let ran = "for n in $(seq 100); do [ -e ran-by-cron -a -e ran-by-at ] && exit; sleep 0.1; done; ls; exit 1";
    JOBS.sh_ok(&format!("cd /home/jobst; {ran}"));
    assert_eq!(who.count_logged(&["event=verify"]), 0);

    JOBS.write("/etc/sudoers.d/jobst", "jobst ALL=(ALL:ALL) NOPASSWD: ALL\n");
    let mut t = JOBS.terminal().user("jobst").run("sudo -n id -un");
    assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "root"));
    went_on("sudo");
}

/// sudo asks once, and keeps a ticket for a while; so does the code.
#[test]
fn a_ticket_of_sudo_needs_no_code() {
    let (who, app) = Person::bound(&MACHINE, "tina");
    rule(&MACHINE, "50-tina", "users = [\"tina\"]\nrequire = \"mfa\"");
    let mut t =
        MACHINE.terminal().user("tina").run("sudo true && sudo -n id -un && sudo id -un && sudo -k && sudo -n true");
    t.wait_for("[sudo] password for tina: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(&app.good);
    t.wait_for("root\n");
    t.wait_for("root\n");
    t.wait_for("a password is required");
    assert_eq!(t.exit_code(), 1);
    assert_eq!(who.count_logged(&["event=verify"]), 1);
    assert_eq!(who.count_logged(&["event=account", "reason=\"no auth phase\""]), 2);
}

/// pam_unix ends Debian's account stack when the password has expired: a line of ours after it would not be reached.
#[test]
fn an_expired_password_does_not_open_the_door_to_a_key_alone() {
    let who = Person::new(&MACHINE, "karola");
    trusts_the_key(&who);
    rule(&MACHINE, "50-karola", "users = [\"karola\"]\nrequire = \"mfa\"");
    key_is_refused(&who);
    MACHINE.sh_ok("chage --lastday 0 karola");
    let mut t = by_key(&who);
    assert_eq!(t.exit_code(), 255);
    assert!(t.text().contains("MFA is required: a key alone is not enough."), "{}", t.screen());
    assert!(t.text().contains("Connection closed by"), "{}", t.screen());
}

/// A host that vouches for its users: PAM is asked nothing before the account phase, as with a key, and the answer is
/// the same.
#[test]
fn a_login_that_another_host_vouches_for_is_as_one_by_key() {
    static TRUSTING: LazyLock<Machine> = LazyLock::new(|| {
        let machine = enabled(Machine::build().package().sshd("HostbasedAuthentication yes").boot());
        machine.sh_ok(
            "printf '%s visitor\n' localhost web1 127.0.0.1 ::1 >/etc/ssh/shosts.equiv
             printf 'EnableSSHKeysign yes\nHostbasedAuthentication yes\n' >/etc/ssh/ssh_config.d/10-test.conf",
        );
        machine
    });
    let knock = |who: &Person| {
        let ssh = format!("exec ssh -o PreferredAuthentications=hostbased {}@localhost id -un", who.name);
        TRUSTING.terminal().user("visitor").run(&ssh)
    };
    let who = Person::new(&TRUSTING, "horst");
    let mut t = knock(&who);
    assert_eq!((t.exit_code(), t.screen().text()), (0, who.name.clone()), "it works without a rule");
    who.log.wait_for(|line| line.contains("Accepted hostbased for horst"));
    rule(&TRUSTING, "50-horst", "users = [\"horst\"]\nrequire = \"mfa\"");
    for bound in [false, true] {
        if bound {
            let _ = who.bind();
        }
        let mut t = knock(&who);
        t.wait_for("MFA is required: a key alone is not enough.");
        assert_eq!(t.exit_code(), 255);
    }
    assert_eq!(who.count_logged(&["event=account", "service=sshd", "verdict=refused"]), 2);
    assert_eq!(who.count_logged(&["event=verify"]), 0);
}
