//! What auth leaves to the account phase, and what the account phase binds: at real programs, in stacks that people write.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{BIND_NOW, CODE, Door, FIRST, Person, bind_on, shipped};
use e2e::{Machine, Terminal};

const LAPSED: &str = "is void: that login did not open.";

/// Whose stacks are the shipped ones.
static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// With programs that others have written: one calls the account phase if it is told to, one never.
static FOREIGN: LazyLock<Machine> = LazyLock::new(|| {
    common::enabled(Machine::build().debian_packages("pamtester python3-pampy python3-six").package().boot())
});

/// A machine of a test's own, which changes what all logins go by.
fn own() -> &'static Machine {
    Box::leak(Box::new(shipped()))
}

fn visitor(machine: &'static Machine, command: &str) -> Terminal {
    machine.terminal().user("visitor").run(command)
}

/// python-pam 1.8.4 names `login` unless it is told otherwise, and calls no account phase.
#[test]
fn a_program_without_an_account_phase_lets_nobody_in_unbound() {
    let who = Person::required(&FOREIGN, "paula", "");
    // su lets root by, whoever asks.
    for service in ["login", "sshd", "sudo"] {
        let python = format!(
            "python3 -c 'import pam; p = pam.pam(); print(p.authenticate(\"paula\", \"{}\", service=\"{service}\"))'",
            who.password
        );
        assert_eq!(FOREIGN.sh_ok(&python).trim(), "False", "{service}");
        let mut t = FOREIGN.terminal().run(&format!("exec pamtester {service} paula authenticate setcred"));
        t.wait_for("assword: ");
        t.type_line(&who.password);
        assert_ne!(t.exit_code(), 0, "{service}: {}", t.screen());
        assert!(t.text().contains("MFA is required of paula"), "{}", t.screen());
    }
    assert!(!who.has_record(), "nothing is owed");
    assert!(who.logged(&["event=verify", "verdict=refused"]).contains("is none of [enroll] programs"));
    // Somebody who is not required comes in by it, as ever.
    let free = Person::new(&FOREIGN, "petra");
    let python = format!("python3 -c 'import pam; print(pam.pam().authenticate(\"petra\", \"{}\"))'", free.password);
    assert_eq!(FOREIGN.sh_ok(&python).trim(), "True");
}

/// Named in `[enroll] programs`, it is believed to run all phases. It does, here.
#[test]
fn a_program_that_is_named_leads_through_binding() {
    let machine: &'static Machine =
        Box::leak(Box::new(common::enabled(Machine::build().debian_packages("pamtester").package().boot())));
    common::policy_file(machine, "/etc/mfa/mfa.toml", "issuer = \"web1\"\n[enroll]\nprograms = [\"pamtester\"]\n");
    let who = Person::required(machine, "pamela", "");
    let phases = "authenticate acct_mgmt open_session close_session";
    let mut t = machine.terminal().run(&format!("exec pamtester login pamela {phases}"));
    t.wait_for("assword: ");
    t.type_line(&who.password);
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    t.wait_for("successfully opened a session");
    assert_eq!(t.exit_code(), 0);
    assert_eq!(who.devices(), 1);
    // It leaves out the session: nothing is bound.
    machine.sh_ok("mfa-enroll disable --user pamela");
    let mut t = machine.terminal().run("exec pamtester login pamela authenticate acct_mgmt");
    t.wait_for("assword: ");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    assert_eq!(t.exit_code(), 0);
    assert_eq!(who.devices(), 0);
}

/// What the rest of the stack refuses after us binds nothing; and once it does not, the dialogue says what became of that.
fn refused_by_the_rest(door: Door, name: &str, close: &str, open: &str) {
    let machine = own();
    let who = Person::required(machine, name, "");
    machine.sh_ok(close);
    let mut t = door.up_to_the_key(&who);
    bind_on(&who, &mut t);
    assert_ne!(t.exit_code(), 0, "{}", t.screen());
    assert!(!who.got_in());
    assert_eq!(who.devices(), 0, "bound by a login that was refused");
    machine.sh_ok(open);
    let mut t = door.up_to_the_key(&who);
    assert!(t.text().contains(LAPSED), "{}", t.screen());
    bind_on(&who, &mut t);
    door.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
    who.logged(&["event=session", "verdict=accepted"]);
}

#[test]
fn a_login_that_an_expired_account_ends_binds_nothing() {
    refused_by_the_rest(Door::Ssh, "xenia", "chage -E 0 xenia", "chage -E -1 xenia");
    refused_by_the_rest(Door::Su, "xaver", "chage -E 0 xaver", "chage -E -1 xaver");
}

#[test]
fn a_login_that_pam_access_refuses_binds_nothing() {
    let close = "printf -- '-:yvonne:ALL EXCEPT 10.0.0.0/8\\n' >>/etc/security/access.conf; \
                 sed -i 's/^@include common-account/account required pam_access.so\\n&\\naccount required pam_access.so/' /etc/pam.d/login";
    // In front of ours it refuses nobody at once: libpam goes on, and its refusal stands.
    refused_by_the_rest(Door::Login, "yvonne", close, "sed -i /yvonne/d /etc/security/access.conf");
}

#[test]
fn a_login_that_nologin_refuses_binds_nothing() {
    let close = "echo closed >/run/nologin; sed -i 's/^account.*pam_nologin.so/account required pam_nologin.so/' /etc/pam.d/sshd";
    refused_by_the_rest(Door::Ssh, "nora", close, "rm /run/nologin");
}

/// `sudo -v` and `sudo -l` open no session, and keep a ticket.
#[test]
fn what_sudo_binds_without_a_session_lapses() {
    let who = Person::required(&MACHINE, "valerie", "");
    let mut t = MACHINE.terminal().user("valerie").run("exec bash --norc");
    t.wait_for("$ ");
    t.type_line("sudo -v; echo \"exit $?\"");
    t.wait_for("assword");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    t.wait_for("exit 0\n");
    assert_eq!(who.devices(), 0);
    t.wait_for("$ ");
    // The ticket is good, and what is owed is owed still.
    t.type_line("sudo id -un");
    t.wait_for(LAPSED);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    t.wait_for("root\n");
    assert_eq!(who.devices(), 1);
}

/// The word from account to session is gone before anybody's environment is made of it.
#[test]
fn no_word_of_ours_is_in_the_environment_of_who_has_bound() {
    for (door, name) in [(Door::Ssh, "erna"), (Door::Su, "erika"), (Door::Sudo, "elena")] {
        let who = Person::required(&MACHINE, name, "");
        let mut t = door.up_to_the_key(&who);
        bind_on(&who, &mut t);
        t.wait_for(if door == Door::Sudo { "# " } else { "$ " });
        t.type_line("env | grep -c MFA; echo \"end\"");
        t.wait_for("0\nend\n");
        drop(t);
        assert_eq!(who.devices(), 1, "{door:?}");
    }
}

/// Neither a policy that other lines ask nor a word that a later line says undoes what the first one has left to account.
#[test]
fn two_lines_that_disagree_let_nobody_in() {
    let machine = own();
    let who = Person::required(machine, "zoe", "");
    machine.sh_ok("mkdir -m 755 /etc/mfa-other && echo '# nothing' >/etc/mfa-other/mfa.toml");
    machine.sh_ok("touch -d @1700000000 /etc/mfa-other/mfa.toml; cp /etc/pam.d/su /etc/pam.d/su.shipped");
    let other = "pam_mfa.so stack=complete config=/etc/mfa-other/mfa.toml";
    for edit in [
        // Auth requires, and account would not.
        format!("sed -i 's|^@include common-account|account required {other}|' /etc/pam.d/su"),
        // A second line of auth says that nothing is asked.
        format!("sed -i 's|^@include common-auth|&\\nauth required {other}|' /etc/pam.d/su"),
        // A first one does.
        format!(
            "sed -i 's|^@include common-auth|auth requisite pam_unix.so\\nauth required {other}\\n&|' /etc/pam.d/su"
        ),
    ] {
        machine.sh_ok("cp /etc/pam.d/su.shipped /etc/pam.d/su");
        machine.sh_ok(&edit);
        let mut t = visitor(machine, "exec su zoe -c 'touch /tmp/in'");
        t.wait_for("assword: ");
        t.type_line(&who.password);
        t.wait_for_any(&["assword: ", FIRST, "MFA is required", "log in again", "denied", "failure"]);
        let text = t.text().to_owned();
        t.send("\x03\r");
        drop(t);
        machine.sh_ok("[ ! -e /tmp/in ]");
        assert!(!who.got_in(), "{edit}: {text}");
        assert_eq!(who.devices(), 0);
    }
}

/// A stack that does not care what our auth line says.
#[test]
fn what_auth_refused_is_refused_by_account_at_real_programs() {
    let machine = own();
    let (who, app) = Person::bound(machine, "olga");
    let lines = "auth requisite pam_unix.so\\nauth optional pam_mfa.so stack=complete";
    for service in ["sshd", "sudo", "su", "login"] {
        machine.sh_ok(&format!("sed -i 's/^@include common-auth/{lines}/' /etc/pam.d/{service}"));
    }
    for door in [Door::Ssh, Door::Sudo, Door::Su, Door::Login] {
        let mut t = door.up_to_the_code(&who);
        t.type_line(&app.wrong());
        t.wait_for(match door {
            Door::Sudo => "account management error",
            Door::Ssh => "closed",
            _ => "ermission denied",
        });
        drop(t);
        assert!(!who.got_in(), "{door:?}");
        machine.sh_ok("mfa-enroll unlock --user olga");
    }
    who.log.wait_for(|line| line.contains("account refused: the auth phase of this login was refused"));
    Door::Sudo.lets_in(&who, &app.good);
}

/// Each program calls auth again on the handle on which it failed.
#[test]
fn wrong_wrong_right_lets_in() {
    for (door, name) in [(Door::Sudo, "wanda"), (Door::Login, "wilma"), (Door::Ssh, "wiebke")] {
        let (who, app) = Person::bound(&MACHINE, name);
        let mut t = door.up_to_the_code(&who);
        for wrong in [true, true, false] {
            t.type_line(&if wrong { app.wrong() } else { app.good.clone() });
            if wrong {
                // login asks for the name again.
                if door == Door::Login {
                    t.wait_for("login: ");
                    t.type_line(name);
                }
                t.wait_for("assword");
                t.type_line(&who.password);
                t.wait_for(CODE);
            }
        }
        door.is_open(&who, &mut t);
    }
}

/// sshd's `password` method keeps one handle for all tries of a connection.
#[test]
fn two_wrong_tries_of_sshds_password_method_and_a_right_one_let_in_who_is_asked_nothing() {
    let who = Person::new(&MACHINE, "willa");
    let mut t = visitor(&MACHINE, "exec ssh -o PreferredAuthentications=password willa@localhost id -un");
    for tried in ["wrong", "wrong too", &who.password] {
        t.wait_for("password: ");
        t.type_line(tried);
    }
    t.wait_for("willa\n");
    assert_eq!(t.exit_code(), 0);
}

/// Anybody knows an empty one.
#[test]
fn an_empty_password_shows_no_key_and_binds_nothing() {
    let machine = own();
    let who = Person::required(machine, "eve", "");
    machine.sh_ok("passwd -d eve; grep -q nullok /etc/pam.d/common-auth");
    let mut t = visitor(machine, "exec su eve -c 'touch /tmp/in'");
    t.wait_for("MFA is required of eve");
    assert_ne!(t.exit_code(), 0);
    machine.sh_ok("echo PermitEmptyPasswords yes >/etc/ssh/sshd_config.d/empty.conf; systemctl restart ssh");
    let mut t = visitor(
        machine,
        "exec ssh -o PreferredAuthentications=keyboard-interactive,password -o NumberOfPasswordPrompts=1 eve@localhost id",
    );
    t.wait_for("password: ");
    t.type_line("");
    assert_eq!(t.exit_code(), 255, "{}", t.screen());
    assert!(!t.text().contains(BIND_NOW), "{}", t.screen());
    machine.sh_ok("[ ! -e /tmp/in ]");
    assert!(!who.got_in());
    assert_eq!(who.devices(), 0);
    who.logged(&["event=verify", "verdict=refused", "the first factor proves nothing: it is empty"]);
    // With a password of her own she is led through it.
    machine.sh_ok(&format!("echo 'eve:{}' | chpasswd", who.password));
    let mut t = Door::Su.up_to_the_key(&who);
    bind_on(&who, &mut t);
    Door::Su.is_open(&who, &mut t);
}

/// What roles and RHEL write: our line is reached with a wrong password as well, and the stack refuses all the same.
#[test]
fn where_a_stranger_reaches_our_line_he_learns_nothing_and_who_knows_the_password_is_led_through() {
    let machine = own();
    machine.sh_ok("sed -i 's/^@include common-auth/auth required pam_unix.so\\nauth required pam_mfa.so stack=complete/' /etc/pam.d/su");
    let (bound, app) = Person::bound(machine, "bianca");
    let unbound = Person::required(machine, "ulla", "");
    // Whoever it is, the same is asked and the same is said.
    let mut seen = Vec::new();
    for name in ["bianca", "ulla"] {
        let mut t = visitor(machine, &format!("exec su {name}"));
        t.wait_for("assword: ");
        t.type_line("wrong");
        t.wait_for(CODE);
        t.type_line("000000");
        assert_ne!(t.exit_code(), 0);
        seen.push(t.text().to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(bound.state().failures, 0, "a stranger locks nobody out of the logins behind a first factor");
    assert!(!unbound.got_in() && unbound.devices() == 0);
    let mut t = visitor(machine, "exec su bianca");
    t.wait_for("assword: ");
    t.type_line(&bound.password);
    t.wait_for(CODE);
    t.type_line(&app.good);
    Door::Su.is_open(&bound, &mut t);
    let mut t = visitor(machine, "exec su ulla");
    t.wait_for("assword: ");
    t.type_line(&unbound.password);
    t.wait_for(CODE);
    t.type_line("");
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    bind_on(&unbound, &mut t);
    Door::Su.is_open(&unbound, &mut t);
    assert_eq!(unbound.devices(), 1);
}

/// A host whose helper is broken is mended by root's su and root's jobs; nobody else comes in.
#[test]
fn without_a_helper_root_goes_on_and_nobody_else_comes_in() {
    let machine = own();
    let (who, _) = Person::bound(machine, "carla");
    machine.sh_ok("systemctl stop mfa-helper.socket mfa-helper.service; rm -rf /run/mfa; chmod 0 /usr/libexec/mfa-helper; mv /usr/libexec/mfa-helper /usr/libexec/gone");
    for su in ["su", "su -"] {
        assert_eq!(machine.sh_ok(&format!("{su} carla -c 'id -un'")).trim(), "carla");
    }
    who.log.wait_for(|line| line.contains("mfa-helper is unreachable, and not needed here"));
    for door in [Door::Su, Door::Sudo, Door::Ssh, Door::Login] {
        let mut t = door.knock(&who);
        t.wait_for(&door.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for("MFA is unavailable");
        drop(t);
    }
    // By a process of hers, su is no su of root's.
    let mut t = machine.terminal().user("carla").run("exec su carla");
    t.wait_for("assword: ");
    t.type_line(&who.password);
    t.wait_for("MFA is unavailable");
    machine.sh_ok("mv /usr/libexec/gone /usr/libexec/mfa-helper; chmod 755 /usr/libexec/mfa-helper");
}
