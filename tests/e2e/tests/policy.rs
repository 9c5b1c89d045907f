//! Who must have a second factor, by user, group and service: everybody else is as before, and a
//! mistake in the policy neither opens nor locks out. Devices are root's to bind here; binding at the
//! login is in at_login.rs.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, policy_file, rule, shipped};
use e2e::Machine;

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

const DOORS: [Door; 6] = [Door::Ssh, Door::Sudo, Door::SudoI, Door::Su, Door::SuDash, Door::Login];

/// Gives the right password and is refused, with the remedy and without a question.
#[track_caller]
fn is_refused(door: Door, who: &Person) {
    let mut t = door.knock(who);
    t.wait_for(&door.password_prompt(who));
    t.type_line(&who.password);
    t.wait_for(&format!("MFA is required of {} and no device is bound.", who.name));
    t.wait_for(&format!("Ask an administrator to run: mfa-enroll totp --user {}", who.name));
    t.wait_for(&door.refusal(who));
    assert!(!t.text().contains(CODE), "{}", t.screen());
    // ssh shows a refusal in ASCII only, and where the locale has eight bits it gives up at anything else.
    assert!(t.raw().is_ascii(), "{}", t.screen());
}

#[track_caller]
fn refusal_is_logged(who: &Person, door: Door, rule: &str) {
    let rule = if rule.contains(' ') { format!("rule=\"{rule}\"") } else { format!("rule={rule}") };
    who.logged(&[
        "event=verify",
        &format!("service={} ", door.service()),
        &rule,
        "factor=none",
        "verdict=refused",
        "reason=\"required and not bound\"",
    ]);
}

#[test]
fn who_has_no_device_and_needs_none_comes_in_as_before() {
    let who = Person::new(&MACHINE, "ute");
    for door in DOORS {
        door.lets_in_without_code(&who);
        who.logged(&[
            "event=verify",
            &format!("service={} ", door.service()),
            "rule=none",
            "reason=\"not required and not bound\"",
        ]);
    }
    // The old way of ssh too: there is no second question, so it can be as blind as it is.
    let mut t =
        MACHINE.terminal().user("visitor").run("exec ssh -o PreferredAuthentications=password ute@localhost id -un");
    t.wait_for("password: ");
    t.type_line(&who.password);
    t.wait_for("ute");
    assert_eq!(t.exit_code(), 0);
    assert!(!who.has_record(), "a login left a record of somebody without a device");
}

#[test]
fn who_is_required_by_name_and_has_no_device_is_told_the_remedy() {
    let who = Person::new(&MACHINE, "rita");
    rule(&MACHINE, "50-rita", "name = \"by name\"\nusers = [\"rita\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    for door in DOORS {
        is_refused(door, &who);
        refusal_is_logged(&who, door, "50-rita.toml:1 by name");
    }
    assert!(!who.got_in() && !who.has_record());
    assert!(MACHINE.sh_ok("mfa-enroll status --user rita --json").contains("\"required\":true"));

    // The remedy is one.
    let app = who.bind();
    Door::Ssh.lets_in(&who, &app.good);
    who.logged(&["event=verify", "rule=\"50-rita.toml:1 by name\"", "verdict=accepted"]);
}

#[test]
fn who_is_required_by_group() {
    let (member, other) = (Person::new(&MACHINE, "gerd"), Person::new(&MACHINE, "gustav"));
    MACHINE.sh_ok("groupadd vault; usermod --append --groups vault gerd");
    rule(&MACHINE, "50-vault", "groups = [\"vault\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    for door in [Door::Ssh, Door::Sudo, Door::Su] {
        is_refused(door, &member);
        refusal_is_logged(&member, door, "50-vault.toml:1");
        door.lets_in_without_code(&other);
    }
    assert!(!member.got_in());
}

#[test]
fn who_is_required_in_one_service_only() {
    let who = Person::new(&MACHINE, "sonja");
    rule(&MACHINE, "50-sonja", "users = [\"sonja\"]\nservices = [\"sudo\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    for door in [Door::Ssh, Door::SudoI, Door::Su, Door::Login] {
        door.lets_in_without_code(&who);
    }
    is_refused(Door::Sudo, &who);
    refusal_is_logged(&who, Door::Sudo, "50-sonja.toml:1");
}

/// A blind program is refused as well; what it shows of the remedy is its own affair.
#[test]
fn who_is_required_is_refused_by_the_password_method() {
    let who = Person::new(&MACHINE, "petr");
    rule(&MACHINE, "50-petr", "users = [\"petr\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    let mut t = MACHINE
        .terminal()
        .user("visitor")
        .run("exec ssh -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 petr@localhost");
    t.wait_for("password: ");
    t.type_line(&who.password);
    t.wait_for("Permission denied");
    assert_eq!(t.exit_code(), 255);
    refusal_is_logged(&who, Door::Ssh, "50-petr.toml:1");
    assert!(!who.got_in());
}

#[test]
fn off_asks_nothing_even_of_who_has_a_device() {
    let (who, app) = Person::bound(&MACHINE, "olaf");
    rule(&MACHINE, "40-olaf", "users = [\"olaf\"]\nservices = [\"sshd\", \"sudo\"]\nrequire = \"off\"");
    for door in [Door::Ssh, Door::Sudo] {
        door.lets_in_without_code(&who);
        who.logged(&[
            &format!("service={} ", door.service()),
            "rule=40-olaf.toml:1",
            "verdict=ignored",
            "reason=\"off by rule\"",
        ]);
    }
    Door::Su.lets_in(&who, &app.good);
}

/// root is a user like any other, except that who is root already is not asked by `su`.
#[test]
fn root_is_a_user_like_any_other() {
    static ROOTS: LazyLock<Machine> = LazyLock::new(shipped);
    rule(&ROOTS, "50-root", "users = [\"root\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    ROOTS.sh_ok("echo 'root:Geheim-root-9!' | chpasswd");
    let log = ROOTS.journal_from_here();
    let su = || ROOTS.terminal().user("visitor").run("exec su -");
    let mut t = su();
    t.wait_for("Password: ");
    t.type_line("Geheim-root-9!");
    t.wait_for("MFA is required of root and no device is bound.");
    t.wait_for("Ask an administrator to run: mfa-enroll totp --user root");
    t.wait_for("Authentication failure");
    log.wait_for(|line| line.contains("user=root service=su-l") && line.contains("reason=\"required and not bound\""));

    // The way out needs no login: a root shell is open.
    let mut t = ROOTS.terminal().run("su visitor -c 'id -un'; su - root -c 'id -un'");
    t.wait_for("visitor\n");
    t.wait_for("root\n");
    assert_eq!(t.exit_code(), 0);

    let json: serde_json::Value =
        serde_json::from_str(&ROOTS.sh_ok("mfa-enroll totp --user root --json")).expect("JSON");
    let codes = e2e::oath::Codes::now(json["secret"].as_str().expect("a key"));
    ROOTS.sh_ok(&format!("mfa-enroll confirm --user root {} {}", codes.previous, codes.present));
    let mut t = su();
    t.wait_for("Password: ");
    t.type_line("Geheim-root-9!");
    t.wait_for(CODE);
    t.type_line(&codes.next);
    t.wait_for("root@web1:~# ");
    drop(t);

    // The last way back in of README.md.
    ROOTS.sh_ok(r#"printf '[[rule]]\nusers = ["root"]\nrequire = "off"\n' >/etc/mfa/mfa.d/00-rescue.toml"#);
    ROOTS.sh_ok("touch -d @1700000000 /etc/mfa/mfa.d/00-rescue.toml");
    let mut t = su();
    t.wait_for("Password: ");
    t.type_line("Geheim-root-9!");
    t.wait_for("root@web1:~# ");
    drop(t);

    // sudo asks whoever calls, not root.
    let caller = Person::new(&ROOTS, "karl");
    Door::Sudo.lets_in_without_code(&caller);
}

/// The last policy that loaded well stays in force, and the log names file and line.
#[test]
fn a_typo_in_the_policy_neither_opens_nor_locks_out() {
    static TYPO: LazyLock<Machine> = LazyLock::new(shipped);
    let (bound, app) = Person::bound(&TYPO, "bodo");
    let (required, free) = (Person::new(&TYPO, "rolf"), Person::new(&TYPO, "fritz"));
    let good = "[[rule]]\nname = \"rolf too\"\nusers = [\"rolf\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n";
    policy_file(&TYPO, "/etc/mfa/mfa.toml", good);
    is_refused(Door::Su, &required);

    let complaint = |line: &str| {
        line.contains("mfa-helper") && line.contains("event=policy") && line.contains("/etc/mfa/mfa.toml:3")
    };
    policy_file(&TYPO, "/etc/mfa/mfa.toml", &good.replace("users", "user"));
    is_refused(Door::Ssh, &required);
    let line = required.log.wait_for(complaint);
    assert!(line.contains("unknown field `user`") && line.contains("did you mean `users`?"), "{line}");
    assert!(!TYPO.sh_ok("journalctl --quiet --priority=err --grep=event=policy").is_empty(), "not loud enough");
    refusal_is_logged(&required, Door::Ssh, "mfa.toml:1 rolf too");
    Door::Ssh.lets_in_without_code(&free);
    Door::Sudo.lets_in(&bound, &app.good);

    let told = TYPO.sh("mfa-enroll status --user fritz").stderr;
    assert!(told.contains("not in force") && told.contains("/etc/mfa/mfa.toml:3: "), "{told}");

    TYPO.sh_ok("rm /etc/mfa/mfa.toml");
    is_refused(Door::Su, &required);
    required.log.wait_for(|line| line.contains("event=policy") && line.contains("/etc/mfa/mfa.toml is missing"));
    Door::Su.lets_in_without_code(&free);

    policy_file(&TYPO, "/etc/mfa/mfa.toml", "");
    is_refused(Door::Su, &required);
    required.log.wait_for(|line| line.contains("event=policy") && line.contains("/etc/mfa/mfa.toml is empty"));

    policy_file(&TYPO, "/etc/mfa/mfa.toml", "# no rules\n");
    Door::Su.lets_in_without_code(&required);
}

#[test]
fn without_an_earlier_policy_a_typo_requires_everybody() {
    static FIRST: LazyLock<Machine> = LazyLock::new(|| {
        common::enabled(Machine::build().package().setup("echo 'requires = 1' >>/etc/mfa/mfa.toml").boot())
    });
    let who = Person::new(&FIRST, "ewald");
    for door in [Door::Ssh, Door::Su] {
        is_refused(door, &who);
        refusal_is_logged(&who, door, "no readable policy");
    }
    who.log.wait_for(|line| line.contains("event=policy") && line.contains("unknown field `requires`"));
    // The remedy still works, and so does the way to mend the policy.
    let app = who.bind();
    Door::Su.lets_in(&who, &app.good);
    FIRST.sh_ok("sed -i /^requires/d /etc/mfa/mfa.toml; touch -d @1700000000 /etc/mfa/mfa.toml");
    let other = Person::new(&FIRST, "egon");
    Door::Ssh.lets_in_without_code(&other);
}

/// Nobody can tell who belongs to it: docs/gaps.md warns of the typo.
#[test]
fn a_group_that_does_not_exist_concerns_everybody() {
    static DEAD: LazyLock<Machine> = LazyLock::new(shipped);
    let who = Person::new(&DEAD, "gisela");
    rule(&DEAD, "50-dead", "groups = [\"wheeel\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"");
    is_refused(Door::Su, &who);
    refusal_is_logged(&who, Door::Su, "50-dead.toml:1 (undecided)");
}

/// A policy that others could have written is not believed.
#[test]
fn a_policy_that_others_can_write_is_not_believed() {
    static LOOSE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, app) = Person::bound(&LOOSE, "lutz");
    rule(&LOOSE, "50-lutz", "users = [\"lutz\"]\nrequire = \"mfa\"");
    drop(Door::Su.up_to_the_code(&who));
    LOOSE.sh_ok(
        "printf '[[rule]]\\nrequire = \"off\"\\n' >/etc/mfa/mfa.d/10-evil.toml; chmod 666 /etc/mfa/mfa.d/10-evil.toml",
    );
    Door::Su.lets_in(&who, &app.good);
    who.log.wait_for(|line| line.contains("event=policy") && line.contains("/etc/mfa/mfa.d/10-evil.toml"));
}
