//! Security keys over ssh: ssh keys that live on one, with OpenSSH at both ends, its agent, and a virtual key in front of
//! whoever logs in.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::{cell::Cell, fs, sync::LazyLock, time::Duration};

use common::{BIND_NOW, CODE, Door, FIRST, Person, WRITTEN, enabled, rule};
use e2e::{Builder, Machine, Terminal, TerminalBuilder, suite};

const TOUCH: &str = "Touch your security key.";
const RECOVERY: &str = "Verification code (a recovery code): ";
const NOT_FROM_HERE: &str = "Your security key cannot be asked from here.";
const BY_AGENT: &str = "Your security key is asked through your ssh agent: log in by ssh -A.";

/// sshd as Debian has it: a plain key is enough to log in.
static MACHINE: LazyLock<Machine> = LazyLock::new(|| with_keys(Machine::build()));

/// A key and then PAM, which asks for the password; a touch is demanded of every security key, but for some users' sake.
static COUNTING: LazyLock<Machine> = LazyLock::new(|| {
    let sshd = "AuthenticationMethods publickey,keyboard-interactive:pam\nPubkeyAuthOptions touch-required";
    let some = "Match User nora,nils,nadia\nPubkeyAuthOptions none\nMatch User alma\nAuthenticationMethods publickey\n\
                Match User certa\nTrustedUserCAKeys /etc/ssh/ca.pub\n";
    let machine = with_keys(
        Machine::build().sshd(sshd).setup(&format!("printf '{}' >>/etc/ssh/sshd_config", some.replace('\n', "\\n"))),
    );
    machine.sh_ok("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ca");
    machine
});

/// The same without a password.
static KEY_ALONE: LazyLock<Machine> = LazyLock::new(|| {
    let sshd = "AuthenticationMethods publickey,keyboard-interactive:pam\nPubkeyAuthOptions touch-required";
    let some = "printf 'Match User vera\\nPubkeyAuthOptions touch-required verify-required\\n' >>/etc/ssh/sshd_config";
    let machine = with_keys(Machine::build().sshd(sshd).setup(some));
    machine.sh_ok(
        "cp /usr/share/doc/libpam-mfa/examples/mfa-sshd-key /etc/pam.d/
         sed -i 's/^@include common-auth$/@include mfa-sshd-key/' /etc/pam.d/sshd",
    );
    machine
});

/// With what people have where they sit: a plain ssh key, and the program that is a security key.
fn with_keys(machine: Builder) -> Machine {
    let machine = enabled(machine.package().boot());
    let program = vkey::program();
    let middleware = program.with_file_name("libvkey_sk.so");
    assert!(middleware.exists(), "{} is missing: cargo build -p vkey-sk", middleware.display());
    machine.write("/usr/local/bin/vkey", fs::read(program).expect("a virtual key"));
    // ssh-agent loads nothing from elsewhere.
    machine.write("/usr/local/lib/libvkey_sk.so", fs::read(middleware).expect("a library"));
    machine.sh_ok(
        "chmod 0755 /usr/local/bin/vkey
         echo 'Defaults passwd_tries=1' >/etc/sudoers.d/once
         runuser --user visitor -- ssh-keygen -q -t ed25519 -N '' -f /home/visitor/.ssh/id_ed25519",
    );
    machine
}

/// Where somebody sits: a security key is plugged in there, ssh keys live on it, and an agent can hold them.
struct Desk {
    machine: &'static Machine,
    home: String,
    /// The touches that made keys.
    making: Cell<u32>,
}

const ED25519: &str = ".ssh/id_ed25519_sk";
const ECDSA: &str = ".ssh/id_ecdsa_sk";

impl Desk {
    /// `options` are those of `vkey`.
    fn new(machine: &'static Machine, name: &str, options: &str) -> Self {
        let desk = Self { machine, home: format!("/home/visitor/{name}"), making: Cell::new(0) };
        machine
            .sh_ok(&format!("install --directory --owner=visitor --group=visitor --mode=700 {0} {0}/.ssh", desk.home));
        desk.sh(&format!(
            "mkfifo ready
             setsid vkey --control key --seed {name} {options} >ready 2>log &
             read -r _ <ready
             printf '#!/bin/sh\\necho 1234\\n' >askpass
             chmod 700 askpass
             ssh-agent -a agent >agent.sh"
        ));
        desk
    }

    /// With both kinds of ssh keys, in the agent.
    fn ready(machine: &'static Machine, name: &str) -> Self {
        let desk = Self::new(machine, name, "");
        desk.makes(ED25519, "");
        desk.makes(ECDSA, "");
        desk.adds(&format!("{ED25519} {ECDSA}"));
        desk
    }

    fn env(&self) -> [(&'static str, String); 6] {
        [
            ("HOME", self.home.clone()),
            ("VKEY_CONTROL", format!("{}/key", self.home)),
            ("SSH_SK_PROVIDER", "/usr/local/lib/libvkey_sk.so".into()),
            ("SSH_AUTH_SOCK", format!("{}/agent", self.home)),
            ("SSH_ASKPASS", format!("{}/askpass", self.home)),
            ("SSH_ASKPASS_REQUIRE", "never".into()),
        ]
    }

    /// Runs a script there.
    fn sh(&self, script: &str) -> String {
        let env: String = self.env().iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.machine.write(&format!("{}/script", self.home), script);
        self.machine.sh_ok(&format!("cd {}; runuser --user visitor -- env{env} sh -euc \"$(cat script)\"", self.home))
    }

    /// Makes an ssh key, with the PIN where one is asked for.
    fn makes(&self, file: &str, options: &str) {
        let kind = if file.contains("ecdsa") { "ecdsa-sk" } else { "ed25519-sk" };
        self.sh(&format!("SSH_ASKPASS_REQUIRE=force ssh-keygen -q -t {kind} -N '' -f {file} {options}"));
        self.making.set(self.making.get() + self.touches());
    }

    fn adds(&self, arguments: &str) {
        self.sh(&format!("ssh-add -q -S $SSH_SK_PROVIDER {arguments}"));
    }

    fn public(&self, file: &str) -> String {
        self.machine.read(&format!("{}/{file}.pub", self.home))
    }

    /// One command to the security key.
    #[track_caller]
    fn key(&self, command: &str) -> String {
        let control = self.machine.host_path(&format!("{}/key", self.home));
        vkey::ask(&control, command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// How often a touch was asked for since its keys were made.
    fn touches(&self) -> u32 {
        let counts = self.key("count");
        let touches = counts.split(' ').find_map(|count| count.strip_prefix("touches="));
        touches.and_then(|touches| touches.parse::<u32>().ok()).expect("a number") - self.making.get()
    }

    fn terminal(&self) -> TerminalBuilder<'static> {
        let terminal = self.machine.terminal().user("visitor");
        self.env().iter().fold(terminal, |terminal, (name, value)| terminal.env(name, value))
    }

    /// Logs in by the plain key, up to the prompt of the shell.
    #[track_caller]
    fn shell_of(&self, who: &Person, options: &str) -> Terminal {
        let key = "-i /home/visitor/.ssh/id_ed25519 -o IdentitiesOnly=yes";
        let mut t = self.terminal().run(&format!("exec ssh {key} {options} {}@localhost", who.name));
        t.wait_for("$ ");
        t
    }

    /// Begins a login by an ssh key that lives on the security key. ssh itself, unlike its other programs, takes the
    /// middleware from its settings alone.
    fn ssh(&self, who: &Person, file: &str, options: &str) -> Terminal {
        let key = format!(
            "-i {}/{file} -o IdentitiesOnly=yes -o IdentityAgent=none -o SecurityKeyProvider=$SSH_SK_PROVIDER",
            self.home
        );
        self.terminal().run(&format!("exec ssh {key} {options} {}@localhost", who.name))
    }
}

/// Lets in by these keys, a line each.
fn trusts(who: &Person, lines: &str) {
    who.machine.sh_ok(&format!("install --directory --owner={0} --mode=700 /home/{0}/.ssh", who.name));
    who.machine.write(&format!("/home/{}/.ssh/authorized_keys", who.name), lines);
}

fn plain_key(machine: &Machine) -> String {
    machine.read("/home/visitor/.ssh/id_ed25519.pub")
}

/// Binds, as root, the keys of these lines, and makes recovery codes.
fn bind(who: &Person, lines: &str) -> Vec<String> {
    let name = &who.name;
    who.machine.write(&format!("/root/{name}.keys"), lines);
    who.machine.sh_ok(&format!("mfa-enroll import authorized-keys --user {name} /root/{name}.keys"));
    let json = who.machine.sh_ok(&format!("mfa-enroll recovery-codes --user {name} --json"));
    let codes: Vec<String> =
        json.split('"').filter(|word| word.len() == 19 && word.matches('-').count() == 3).map(str::to_owned).collect();
    assert_eq!(codes.len(), 10, "{json}");
    codes.iter().for_each(|code| who.keep_secret(code));
    codes
}

/// Somebody whose keys, both of them, are bound, and who logs in by a plain one.
fn bound(machine: &'static Machine, name: &str) -> (Person, Desk, Vec<String>) {
    let (who, desk) = (Person::new(machine, name), Desk::ready(machine, name));
    let lines = desk.public(ED25519) + &desk.public(ECDSA);
    let codes = bind(&who, &lines);
    trusts(&who, &plain_key(machine));
    (who, desk, codes)
}

/// Types the command, and the password.
#[track_caller]
fn sudo(who: &Person, t: &mut Terminal, command: &str) {
    t.type_line(command);
    t.wait_for("assword");
    t.wait_for(": ");
    t.type_line(&who.password);
}

/// sudo asks for a recovery code, after these words; nothing else is asked.
#[track_caller]
fn asks_for_a_recovery_code(who: &Person, t: &mut Terminal, command: &str, words: &str) {
    sudo(who, t, command);
    let asked = t.wait_for(RECOVERY);
    assert!(asked.contains(words) && !asked.contains(TOUCH), "not {words:?}:\n{asked}");
    gives_up(t);
}

/// At a recovery prompt of sudo, which lets try once here: no code is asked for again, but not after the same answer.
#[track_caller]
fn gives_up(t: &mut Terminal) {
    for _ in 0..2 {
        t.type_line("no");
        t.wait_for("That is not a recovery code.");
    }
    t.wait_for("exit 1\n");
    t.wait_for("$ ");
}

const WHO: &str = "sudo -k; sudo id -un; echo \"exit $?\"";

/// The key is touched when it blinks, and not before it is said so.
#[track_caller]
fn touches(desk: &Desk, t: &mut Terminal) {
    t.wait_for(TOUCH);
    desk.key("await touch");
    desk.key("touch");
}

#[test]
fn sudo_over_ssh_has_the_key_touched_where_its_owner_sits() {
    let (who, desk, _) = bound(&MACHINE, "siri");
    desk.key("touch wait");
    let mut t = desk.shell_of(&who, "-A");
    for (command, file) in [("sudo id -un; echo \"exit $?\"", ED25519), ("sudo -i id -un; echo \"exit $?\"", ECDSA)] {
        desk.sh(&format!("ssh-add -q -D; ssh-add -q -S $SSH_SK_PROVIDER {file}"));
        let before = who.count_logged(&["event=verify", "verdict=accepted", "factor=u2f"]);
        t.type_line("sudo -k");
        t.wait_for("$ ");
        sudo(&who, &mut t, command);
        t.wait_for(TOUCH);
        desk.key("await touch");
        let ended = |t: &mut Terminal| t.screen().text().matches("\nexit ").count();
        assert_eq!(ended(&mut t), before, "let in without a touch:\n{}", t.screen());
        desk.key("touch");
        t.wait_for("root\n");
        t.wait_for("exit 0\n");
        assert_eq!(who.count_logged(&["event=verify", "verdict=accepted", "factor=u2f"]), before + 1);
        t.wait_for("$ ");
    }
    assert_eq!(desk.touches(), 2);
    // The ticket of sudo is its own affair.
    t.type_line("sudo -n id -un");
    t.wait_for("root\n");
    assert_eq!(desk.touches(), 2);
    who.logged(&["event=verify", "service=sudo ", "factor=u2f", "verdict=accepted", "reason=\"key "]);
    who.logged(&["event=verify", "service=sudo-i ", "factor=u2f", "verdict=accepted", "reason=\"key "]);
}

#[test]
fn sudo_without_an_agent_takes_a_recovery_code() {
    let (who, desk, codes) = bound(&MACHINE, "sina");
    let mut t = desk.shell_of(&who, "");
    asks_for_a_recovery_code(&who, &mut t, WHO, BY_AGENT);
    sudo(&who, &mut t, WHO);
    t.wait_for(RECOVERY);
    t.type_line(&codes[0]);
    t.wait_for("root\n");
    t.wait_for("exit 0\n");
    who.logged(&["event=verify", "service=sudo ", "factor=recovery-code", "verdict=accepted"]);
    // sudo itself asks again after a wrong one.
    sudo(&who, &mut t, WHO);
    t.wait_for(RECOVERY);
    t.type_line(&codes[0]);
    t.wait_for("That recovery code was used already.");
    assert_eq!(desk.touches(), 0);
}

/// A security key that is plugged in at the same desk, and trusted for logins, but not bound.
#[test]
fn an_agent_with_keys_that_are_not_bound_cannot_stand_in() {
    let (who, desk, _) = bound(&MACHINE, "sven");
    let other = Desk::ready(&MACHINE, "sven-other");
    trusts(&who, &(plain_key(&MACHINE) + &other.public(ED25519)));
    let mut t = other.shell_of(&who, "-A");
    asks_for_a_recovery_code(
        &who,
        &mut t,
        WHO,
        "Your ssh agent shows no key that is bound here: ssh-add FILE, without -h.",
    );
    assert_eq!((other.touches(), desk.touches()), (0, 0));
    // The same agent, once it holds a bound one beside: that one is asked.
    other.sh(&format!("cp ../sven/{ECDSA} ../sven/{ECDSA}.pub . && ssh-add -q -S $SSH_SK_PROVIDER id_ecdsa_sk"));
    asks_for_a_recovery_code_after(
        &who,
        &mut t,
        "Your ssh agent did not sign: is the key plugged in, and was it touched?",
    );
    assert_eq!(other.touches(), 0, "it knows nothing of that key");
}

/// The key was asked in vain, and a recovery code is.
#[track_caller]
fn asks_for_a_recovery_code_after(who: &Person, t: &mut Terminal, words: &str) {
    sudo(who, t, WHO);
    t.wait_for(TOUCH);
    t.wait_for(words);
    t.wait_for(RECOVERY);
    gives_up(t);
}

const SHOWS_NONE: &str = "Your ssh agent shows no key here: ssh-add FILE, without -h; if locked, -X.";

#[test]
fn a_locked_agent_and_one_that_asks_its_owner_first_are_told_how_to_be_helped() {
    let (who, desk, _) = bound(&MACHINE, "sara");
    let mut t = desk.shell_of(&who, "-A");
    desk.sh("SSH_ASKPASS_REQUIRE=force ssh-add -q -x");
    asks_for_a_recovery_code(&who, &mut t, WHO, SHOWS_NONE);
    desk.sh("SSH_ASKPASS_REQUIRE=force ssh-add -q -X");
    // Its agent has nothing to ask with, and so does not sign.
    desk.sh(&format!("ssh-add -q -D; ssh-add -q -c -S $SSH_SK_PROVIDER {ED25519}"));
    asks_for_a_recovery_code_after(
        &who,
        &mut t,
        "It asks where you sit for a PIN, or after ssh-add -c; ssh-add -h may forbid it.",
    );
    // For this host, not beyond it: the agent does not even show it here. Nor one whose time is over.
    desk.sh(&format!("ssh-add -q -D; ssh-add -q -h localhost -S $SSH_SK_PROVIDER {ED25519}"));
    asks_for_a_recovery_code(&who, &mut t, WHO, SHOWS_NONE);
    desk.sh(&format!("ssh-add -q -D; ssh-add -q -t 1 -S $SSH_SK_PROVIDER {ED25519}; sleep 2"));
    asks_for_a_recovery_code(&who, &mut t, WHO, SHOWS_NONE);
    // A key in a file; one of PKCS#11 is shown as such a one too.
    desk.sh("ssh-add -q /home/visitor/.ssh/id_ed25519");
    let others = "Your ssh agent shows only other keys, of files or PKCS#11: ssh-add FILE_sk.";
    asks_for_a_recovery_code(&who, &mut t, WHO, others);
    assert_eq!(desk.touches(), 0);
    desk.sh(&format!("ssh-add -q -D; ssh-add -q -S $SSH_SK_PROVIDER {ED25519}"));
    sudo(&who, &mut t, WHO);
    t.wait_for(TOUCH);
    t.wait_for("root\n");
}

/// Its agent asks for the PIN by a program, if it has one.
#[test]
fn a_key_that_wants_its_pin_is_asked_for_it_where_its_owner_sits() {
    let (who, desk) = (Person::new(&MACHINE, "salka"), Desk::new(&MACHINE, "salka", "--pin 1234"));
    desk.makes(ED25519, "-O verify-required");
    bind(&who, &format!("verify-required {}", desk.public(ED25519)));
    trusts(&who, &plain_key(&MACHINE));
    desk.adds(ED25519);
    let mut t = desk.shell_of(&who, "-A");
    asks_for_a_recovery_code_after(
        &who,
        &mut t,
        "It wants its PIN or a fingerprint where you sit: that agent needs SSH_ASKPASS.",
    );
    desk.sh(&format!(
        ". ./agent.sh >log; ssh-agent -k >log; rm -f agent
         SSH_ASKPASS_REQUIRE=force ssh-agent -a agent >agent.sh
         ssh-add -q -S $SSH_SK_PROVIDER {ED25519}"
    ));
    sudo(&who, &mut t, WHO);
    t.wait_for(TOUCH);
    t.wait_for("root\n");
}

#[test]
fn a_touch_that_is_refused_or_does_not_come_lets_nobody_in() {
    let (who, desk, _) = bound(&MACHINE, "saul");
    let mut t = desk.shell_of(&who, "-A");
    desk.key("touch deny");
    asks_for_a_recovery_code_after(&who, &mut t, "Your ssh agent did not sign");
    desk.key("touch wait");
    let mut late = desk
        .terminal()
        .patience(Duration::from_secs(60))
        .run(&format!("exec ssh -A -i /home/visitor/.ssh/id_ed25519 -o IdentitiesOnly=yes {}@localhost", who.name));
    late.wait_for("$ ");
    sudo(&who, &mut late, WHO);
    late.wait_for(TOUCH);
    late.wait_for("The key was not touched in time: try again.");
    late.wait_for("exit 1\n");
    who.logged(&["event=verify", "service=sudo ", "factor=u2f", "verdict=refused", "not touched in time"]);
    assert_eq!(who.count_logged(&["event=verify", "verdict=accepted"]), 0);
}

#[test]
fn an_agent_that_does_not_answer_is_not_waited_for() {
    let (who, desk, _) = bound(&MACHINE, "silas");
    // Here, not at the desk: there the ssh client itself waits for its agent, and shows nothing meanwhile.
    let mut t = desk.shell_of(&who, "");
    t.type_line("eval $(ssh-agent); kill -STOP $SSH_AGENT_PID");
    t.wait_for("Agent pid ");
    t.wait_for("$ ");
    asks_for_a_recovery_code(&who, &mut t, WHO, "Your ssh agent does not answer: log in again by ssh -A.");
    t.type_line("kill -CONT $SSH_AGENT_PID");
    t.wait_for("$ ");
    asks_for_a_recovery_code(&who, &mut t, WHO, SHOWS_NONE);
}

/// Whatever a user may write there.
#[test]
fn where_the_environment_names_no_agent_of_ones_own_nothing_is_asked_of_it() {
    let (who, desk, _) = bound(&MACHINE, "stella");
    let stranger = Desk::ready(&MACHINE, "stella-stranger");
    // Everybody gets at it, and it holds a key that is bound.
    stranger.sh(&format!(
        "cp ../stella/{ED25519} . && ssh-add -q -S $SSH_SK_PROVIDER id_ed25519_sk; chmod 755 . ; chmod 777 agent"
    ));
    MACHINE.sh_ok("chmod 711 /home/visitor; touch /tmp/stella; mkdir -p /tmp/stella.d; chown stella /tmp/stella /tmp/stella.d; ln -sf /home/visitor/stella/agent /tmp/stella.link");
    let mut t = desk.shell_of(&who, "");
    let not_yours = "The ssh agent here is not yours: log in again by ssh -A.";
    let (none, gone) = ("There is no ssh agent here", "Your ssh agent is gone: log in again by ssh -A.");
    for (socket, words) in [
        ("garbage", BY_AGENT),
        ("/tmp/gone", gone),
        ("/tmp/stella", gone),
        ("/tmp/stella.d", gone),
        ("/tmp/stella.link", not_yours),
        ("/home/visitor/stella/agent", not_yours),
        ("/home/visitor/stella-stranger/agent", not_yours),
        ("/run/dbus/system_bus_socket", "Your ssh agent does not answer: log in again by ssh -A."),
        (&format!("/{}", "x".repeat(200)), none),
    ] {
        t.type_line(&format!("export SSH_AUTH_SOCK={socket}"));
        t.wait_for("$ ");
        asks_for_a_recovery_code(&who, &mut t, WHO, words);
    }
    assert_eq!((stranger.touches(), desk.touches()), (0, 0));
}

#[test]
fn a_counter_that_went_back_is_refused_with_an_alarm() {
    let (who, desk, _) = bound(&MACHINE, "sonja");
    let mut t = desk.shell_of(&who, "-A");
    for (counter, goes) in [("100", true), ("101", true), ("5", false), ("101", false), ("102", true)] {
        desk.key(&format!("counter {counter}"));
        t.type_line("sudo -k");
        t.wait_for("$ ");
        sudo(&who, &mut t, "sudo id -un; echo \"exit $?\"");
        t.wait_for(TOUCH);
        if goes {
            t.wait_for("root\n");
        } else {
            t.wait_for("The counter of this key went back: it may have been copied.");
            t.wait_for("Tell an administrator, and replace it.");
            t.wait_for(RECOVERY);
            gives_up(&mut t);
            continue;
        }
        t.wait_for("$ ");
    }
    who.logged(&["event=verify", "verdict=refused", "sign counter went back from 101 to 5"]);
    who.logged(&["event=verify", "verdict=refused", "sign counter went back from 101 to 101"]);
}

#[test]
fn a_touch_is_remembered_where_the_rule_says_so() {
    let (who, desk) = (Person::new(&MACHINE, "sybil"), Desk::ready(&MACHINE, "sybil"));
    // Without recovery codes: word of new ones, in this very second, would have the next login asked.
    bind_more(&who, &desk.public(ED25519));
    trusts(&who, &plain_key(&MACHINE));
    rule(&MACHINE, "50-sybil", "users = [\"sybil\"]\nservices = [\"sudo\"]\nrequire = \"mfa\"\nremember = \"8h\"");
    let mut t = desk.shell_of(&who, "-A");
    sudo(&who, &mut t, WHO);
    t.wait_for(TOUCH);
    t.wait_for("root\n");
    t.wait_for("$ ");
    sudo(&who, &mut t, WHO);
    t.wait_for("root\n");
    t.wait_for("$ ");
    assert_eq!(desk.touches(), 1);
    who.logged(&["event=verify", "service=sudo ", "factor=remembered", "verdict=accepted"]);
    // In this session of the terminal, and in no other.
    let mut other = desk.shell_of(&who, "-A");
    sudo(&who, &mut other, WHO);
    other.wait_for(TOUCH);
    other.wait_for("root\n");
}

/// It runs PAM in a process of its own; bookworm has none.
#[test]
fn sudo_rs_over_ssh_has_the_key_touched_too() {
    static WITH_SUDO_RS: LazyLock<Machine> = LazyLock::new(|| {
        let machine = Machine::build().debian_packages("sudo-rs");
        with_keys(if suite() == "bookworm" { machine.suite("trixie") } else { machine })
    });
    let (who, desk, codes) = bound(&WITH_SUDO_RS, "runa");
    desk.key("touch wait");
    let mut t = desk.shell_of(&who, "-A");
    sudo(&who, &mut t, "sudo-rs id -un");
    touches(&desk, &mut t);
    t.wait_for("root\n");
    who.logged(&["event=verify", "service=sudo ", "factor=u2f", "verdict=accepted"]);
    let mut t = desk.shell_of(&who, "");
    sudo(&who, &mut t, "sudo-rs id -un");
    t.wait_for(BY_AGENT);
    t.wait_for(RECOVERY);
    t.type_line(&codes[0]);
    t.wait_for("root\n");
}

/// Puts the public key where its owner logs in to.
fn carries_over(desk: &Desk, who: &Person, file: &str) -> String {
    let path = format!("/home/{}/key.pub", who.name);
    who.machine.write(&path, desk.public(file));
    path
}

/// Runs `mfa-enroll u2f` and gives the password.
#[track_caller]
fn u2f(who: &Person, t: &mut Terminal, arguments: &str) {
    t.type_line(&format!("mfa-enroll u2f {arguments}; echo \"exit $?\""));
    t.wait_for("Password: ");
    t.type_line(&who.password);
}

#[test]
fn a_key_is_bound_in_a_login_by_ssh_with_a_touch_and_so_is_a_second_one() {
    let (who, desk) = (Person::new(&MACHINE, "bodo"), Desk::ready(&MACHINE, "bodo"));
    trusts(&who, &plain_key(&MACHINE));
    desk.key("touch wait");
    let mut t = desk.shell_of(&who, "-A");
    let file = carries_over(&desk, &who, ED25519);
    u2f(&who, &mut t, &format!("--label blue --ssh-key {file}"));
    t.wait_for(TOUCH);
    desk.key("await touch");
    assert!(!who.has_record(), "bound without a touch");
    desk.key("touch");
    t.wait_for("Type ok when you have written them down: ");
    t.type_line("ok");
    t.wait_for("exit 0\n");
    t.wait_for("$ ");
    let screen = t.text().to_owned();
    let codes: Vec<&str> =
        screen.split_whitespace().filter(|word| word.len() == 19 && word.matches('-').count() == 3).collect();
    assert_eq!(codes.len(), 10, "{screen}");
    codes.iter().for_each(|code| who.keep_secret(code));
    who.logged(&["event=u2f", "verdict=accepted", "reason=bound"]);
    let status = who.status();
    assert_eq!(
        (status["kind"].as_str(), status["devices"][0]["label"].as_str()),
        (Some("u2f"), Some("blue")),
        "{status}"
    );

    // One more: with the first as the proof.
    let file = carries_over(&desk, &who, ECDSA);
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    touches(&desk, &mut t);
    touches(&desk, &mut t);
    t.wait_for("exit 0\n");
    t.wait_for("$ ");
    assert_eq!(who.status()["devices"].as_array().map(Vec::len), Some(2), "{}", who.status());
    // The same once more.
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    touches(&desk, &mut t);
    t.wait_for("This key is bound already.");
    t.wait_for("$ ");

    sudo(&who, &mut t, WHO);
    touches(&desk, &mut t);
    t.wait_for("root\n");
}

#[test]
fn nothing_is_bound_without_a_touch() {
    let (who, desk) = (Person::new(&MACHINE, "berit"), Desk::ready(&MACHINE, "berit"));
    trusts(&who, &plain_key(&MACHINE));
    let mut t = desk.shell_of(&who, "-A");
    // A signature that needs none.
    desk.makes(".ssh/lazy", "-O no-touch-required");
    desk.adds(".ssh/lazy");
    let file = carries_over(&desk, &who, ".ssh/lazy");
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    t.wait_for("The security key was not touched.");
    t.wait_for("Nothing was bound.");
    t.wait_for("exit 1\n");
    t.wait_for("$ ");
    assert_eq!(desk.key("count").split(' ').nth(2), Some("silent=1"));
    // None at all.
    desk.key("touch deny");
    let file = carries_over(&desk, &who, ED25519);
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    t.wait_for("the ssh agent did not sign");
    t.wait_for("ssh-keygen -Y sign");
    t.send("\x03");
    t.wait_for("$ ");
    assert!(!who.has_record());
    assert_eq!(who.count_logged(&["event=u2f", "verdict=accepted"]), 0);
}

/// The machine where the key is signs what was carried there by hand.
#[test]
fn without_an_agent_the_signature_is_pasted_and_that_of_another_key_is_not_taken() {
    let (who, desk) = (Person::new(&MACHINE, "birte"), Desk::ready(&MACHINE, "birte"));
    let other = Desk::ready(&MACHINE, "birte-other");
    trusts(&who, &plain_key(&MACHINE));
    let mut t = desk.shell_of(&who, "");
    let file = carries_over(&desk, &who, ED25519);
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    t.wait_for("no ssh agent answers");
    t.wait_for("  echo ");
    let command =
        format!("echo {}~/{ED25519}", t.wait_for(&format!("~/{ED25519}")).trim_end_matches(&format!("~/{ED25519}")));
    let pasted = |t: &mut Terminal, at: &Desk| at.sh(&command).lines().for_each(|line| t.type_line(line));
    pasted(&mut t, &other);
    t.wait_for("That is the signature of another key.");
    assert!(!who.has_record());
    pasted(&mut t, &desk);
    t.wait_for("Type ok when you have written them down: ");
    t.type_line("ok");
    t.wait_for("exit 0\n");
    t.wait_for("$ ");
    let codes = |word: &&str| word.len() == 19 && word.matches('-').count() == 3;
    t.text().split_whitespace().filter(codes).for_each(|code| who.keep_secret(code));
    assert_eq!((desk.touches(), other.touches()), (1, 1));
    assert_eq!(who.status()["kind"], "u2f");
}

/// What an earlier binding was shown: the signature is over a challenge of that moment.
#[test]
fn a_signature_that_was_pasted_once_is_good_for_nothing_else() {
    let (who, desk) = (Person::new(&MACHINE, "britta"), Desk::ready(&MACHINE, "britta"));
    trusts(&who, &plain_key(&MACHINE));
    let mut t = desk.shell_of(&who, "");
    let file = carries_over(&desk, &who, ED25519);
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    t.wait_for("  echo ");
    let command = format!("echo {}", t.wait_for(&format!("~/{ED25519}")));
    let signature = desk.sh(&command);
    t.send("\x03");
    t.wait_for("$ ");
    u2f(&who, &mut t, &format!("--ssh-key {file}"));
    t.wait_for(&format!("~/{ED25519}"));
    signature.lines().for_each(|line| t.type_line(line));
    t.wait_for("The answer of the security key is not good.");
    t.wait_for("Nothing was bound.");
    t.wait_for("exit 1\n");
    assert!(!who.has_record());
}

/// Somebody whose security key is bound, and counts; logins are by that key, and by a plain one.
fn counted(machine: &'static Machine, name: &str, more: &str) -> (Person, Desk, Vec<String>) {
    let (who, desk) = (Person::new(machine, name), Desk::new(machine, name, ""));
    desk.makes(ED25519, "");
    let codes = bind(&who, &desk.public(ED25519));
    trusts(&who, &(desk.public(ED25519) + &plain_key(machine)));
    rule(machine, &format!("50-{name}"), &format!("users = [\"{name}\"]\nrequire = \"mfa\"\n{more}"));
    (who, desk, codes)
}

const COUNTS: &str = "sk_key = \"counts\"";

/// After the password a recovery code is asked, and lets in.
#[track_caller]
fn is_asked(who: &Person, t: &mut Terminal, code: &str) {
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(NOT_FROM_HERE);
    t.wait_for(RECOVERY);
    t.type_line(code);
    Door::Ssh.is_open(who, t);
    assert_eq!(who.count_logged(&["factor=u2f", "verdict=accepted"]), 0);
}

/// After the password nothing is asked.
#[track_caller]
fn is_not_asked(who: &Person, t: &mut Terminal) {
    t.wait_for("Password: ");
    t.type_line(&who.password);
    Door::Ssh.is_open(who, t);
    assert!(!t.text().contains(RECOVERY) && !t.text().contains(TOUCH), "{}", t.screen());
}

#[test]
fn a_bound_key_that_sshd_has_had_touched_is_the_second_factor() {
    let (who, desk, codes) = counted(&COUNTING, "cora", COUNTS);
    desk.makes(ECDSA, "");
    COUNTING.sh_ok("mfa-enroll disable --user cora");
    bind(&who, &(desk.public(ED25519) + &desk.public(ECDSA)));
    trusts(&who, &(desk.public(ED25519) + &desk.public(ECDSA)));
    drop(codes);
    desk.key("touch wait");
    for (file, first) in [(ED25519, true), (ECDSA, false)] {
        let mut t = desk.ssh(&who, file, "");
        desk.key("await touch");
        assert!(!t.screen().text().contains("assword"), "{}", t.screen());
        desk.key("touch");
        t.wait_for("Password: ");
        t.type_line(&who.password);
        if first {
            t.wait_for("This device was bound ");
        }
        Door::Ssh.is_open(&who, &mut t);
        assert!(!t.text().contains(RECOVERY) && !t.text().contains(TOUCH), "{}", t.screen());
        assert_eq!(t.text().contains("This device was bound "), first, "{}", t.screen());
    }
    let line = who.logged(&["event=verify", "service=sshd", "factor=u2f", "verdict=accepted", "checked by sshd"]);
    assert!(line.contains("rule=50-cora.toml:1 "), "{line}");
    assert_eq!(who.count_logged(&["event=verify", "factor=u2f", "verdict=accepted", "checked by sshd"]), 2);
    // Who has the key has not got the password.
    let mut t = desk.ssh(&who, ED25519, "");
    desk.key("touch");
    t.wait_for("Password: ");
    t.type_line("not that");
    t.wait_for("Password: ");
}

/// sshd trusts the signer of the certificate, and this user has no authorized_keys.
#[test]
fn a_certificate_of_a_bound_key_counts_as_the_key() {
    let (who, desk) = (Person::new(&COUNTING, "certa"), Desk::new(&COUNTING, "certa", ""));
    for file in [ED25519, ECDSA, ".ssh/another"] {
        desk.makes(file, "");
        COUNTING.sh_ok(&format!(
            "cd {0}; ssh-keygen -q -s /etc/ssh/ca -I certa -n certa {file}.pub; chmod 644 {file}-cert.pub; rm {file}.pub",
            desk.home
        ));
    }
    let public = |file: &str| desk.sh(&format!("ssh-keygen -y -f {file}"));
    let codes = bind(&who, &(public(ED25519) + &public(ECDSA)));
    rule(&COUNTING, "50-certa", &format!("users = [\"certa\"]\nrequire = \"mfa\"\n{COUNTS}"));
    desk.key("touch wait");
    for file in [ED25519, ECDSA] {
        let mut t = desk.ssh(&who, file, "");
        desk.key("await touch");
        assert!(!t.screen().text().contains("assword"), "{}", t.screen());
        desk.key("touch");
        is_not_asked(&who, &mut t);
    }
    assert_eq!(who.count_logged(&["event=verify", "factor=u2f", "verdict=accepted", "checked by sshd"]), 2);
    desk.key("touch auto");
    // Trusted as well, and bound by nobody.
    let mut t = desk.ssh(&who, ".ssh/another", "");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(RECOVERY);
    t.type_line(&codes[0]);
    Door::Ssh.is_open(&who, &mut t);
}

#[test]
fn any_other_key_does_not_count() {
    let (who, desk, codes) = counted(&COUNTING, "clara", COUNTS);
    // A security key too, and trusted; but nobody bound it.
    desk.makes(ECDSA, "");
    trusts(&who, &(desk.public(ECDSA) + &plain_key(&COUNTING)));
    is_asked(&who, &mut desk.ssh(&who, ECDSA, ""), &codes[0]);
    let mut t = desk.terminal().run("exec ssh -i /home/visitor/.ssh/id_ed25519 -o IdentitiesOnly=yes clara@localhost");
    is_asked(&who, &mut t, &codes[1]);
    trusts(&who, &desk.public(ED25519));
    is_not_asked(&who, &mut desk.ssh(&who, ED25519, ""));
}

#[test]
fn a_key_counts_only_where_the_rule_says_so() {
    let (who, desk, codes) = counted(&COUNTING, "carla", "");
    is_asked(&who, &mut desk.ssh(&who, ED25519, ""), &codes[0]);
    rule(&COUNTING, "50-carla", "users = [\"carla\"]\nrequire = \"mfa\"\nsk_key = \"ignored\"");
    is_asked(&who, &mut desk.ssh(&who, ED25519, ""), &codes[1]);
    rule(&COUNTING, "50-carla", &format!("users = [\"carla\"]\nrequire = \"mfa\"\n{COUNTS}"));
    is_not_asked(&who, &mut desk.ssh(&who, ED25519, ""));
}

/// Its `PubkeyAuthOptions` are `none` for these users.
#[test]
fn a_key_does_not_count_where_sshd_does_not_demand_the_touch() {
    let (who, desk, codes) = counted(&COUNTING, "nora", COUNTS);
    is_asked(&who, &mut desk.ssh(&who, ED25519, ""), &codes[0]);
    // Without a touch: the key was made so, and its owner waives it. It is bound all the same.
    let (who, desk) = (Person::new(&COUNTING, "nils"), Desk::new(&COUNTING, "nils", ""));
    desk.makes(".ssh/lazy", "-O no-touch-required");
    let codes = bind(&who, &desk.public(".ssh/lazy"));
    rule(&COUNTING, "50-nils", &format!("users = [\"nils\"]\nrequire = \"mfa\"\n{COUNTS}"));
    trusts(&who, &format!("no-touch-required {}", desk.public(".ssh/lazy")));
    desk.key("touch deny");
    is_asked(&who, &mut desk.ssh(&who, ".ssh/lazy", ""), &codes[0]);
}

/// sshd refuses such a signature by itself; we would not be asked.
#[test]
fn who_waives_the_touch_does_not_get_past_an_sshd_that_demands_it() {
    let (who, desk, _) = counted(&COUNTING, "cleo", COUNTS);
    desk.makes(".ssh/lazy", "-O no-touch-required");
    bind_more(&who, &desk.public(".ssh/lazy"));
    trusts(&who, &format!("no-touch-required {}", desk.public(".ssh/lazy")));
    let mut t = desk.ssh(&who, ".ssh/lazy", "");
    t.wait_for("Permission denied (publickey)");
    assert_eq!(t.exit_code(), 255);
    // By the agent of who may touch it is no other.
    trusts(&who, &format!("no-touch-required {}", desk.public(ED25519)));
    is_not_asked(&who, &mut desk.ssh(&who, ED25519, ""));
}

fn bind_more(who: &Person, lines: &str) {
    let name = &who.name;
    who.machine.write(&format!("/root/{name}.keys"), lines);
    who.machine.sh_ok(&format!("mfa-enroll import authorized-keys --user {name} /root/{name}.keys"));
}

/// sshd runs no auth phase of PAM for a key alone: nothing of ours says that the person knows a password.
#[test]
fn a_security_key_alone_is_a_key_alone() {
    let (who, desk, _) = counted(&COUNTING, "alma", COUNTS);
    let mut t = desk.ssh(&who, ED25519, "-o PreferredAuthentications=publickey");
    t.wait_for("MFA is required: a key alone is not enough.");
    assert_eq!(t.exit_code(), 255);
    who.logged(&["event=account", "service=sshd", "verdict=refused", "reason=\"a key alone\""]);
}

/// Then the key is both factors, and a touch is one: PIN or fingerprint is the other.
#[test]
fn without_a_password_a_key_counts_only_where_sshd_demands_its_pin() {
    let (who, desk, codes) = counted(&KEY_ALONE, "tove", COUNTS);
    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for(NOT_FROM_HERE);
    t.wait_for(RECOVERY);
    assert!(!t.text().contains("assword"), "{}", t.screen());
    t.type_line(&codes[0]);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.count_logged(&["factor=u2f", "verdict=accepted"]), 0);

    let (who, desk) = (Person::new(&KEY_ALONE, "vera"), Desk::new(&KEY_ALONE, "vera", "--pin 1234"));
    desk.makes(ED25519, "-O verify-required");
    bind(&who, &desk.public(ED25519));
    trusts(&who, &desk.public(ED25519));
    rule(&KEY_ALONE, "50-vera", &format!("users = [\"vera\"]\nrequire = \"mfa\"\n{COUNTS}"));
    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for("Enter PIN for ED25519-SK key");
    t.type_line("1234");
    Door::Ssh.is_open(&who, &mut t);
    assert!(!t.text().contains(RECOVERY) && !t.text().contains("assword"), "{}", t.screen());
    who.logged(&["event=verify", "service=sshd", "factor=u2f", "verdict=accepted", "checked by sshd"]);
    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for("Enter PIN for ED25519-SK key");
    t.type_line("4321");
    t.wait_for("Permission denied");
}

/// One that was bound with its PIN is worth no less at sshd.
#[test]
fn a_key_that_is_bound_with_its_pin_counts_only_where_sshd_demands_that() {
    let (who, desk) = (Person::new(&COUNTING, "petra"), Desk::new(&COUNTING, "petra", ""));
    desk.makes(ED25519, "");
    let codes = bind(&who, &format!("verify-required {}", desk.public(ED25519)));
    trusts(&who, &desk.public(ED25519));
    rule(&COUNTING, "50-petra", &format!("users = [\"petra\"]\nrequire = \"mfa\"\n{COUNTS}"));
    is_asked(&who, &mut desk.ssh(&who, ED25519, ""), &codes[0]);
}

#[test]
fn the_key_of_the_login_is_offered_to_who_is_required_to_have_a_device() {
    let (who, desk) = (Person::required(&COUNTING, "olga", COUNTS), Desk::new(&COUNTING, "olga", ""));
    desk.makes(ED25519, "");
    trusts(&who, &(desk.public(ED25519) + &plain_key(&COUNTING)));
    let fingerprint = desk.sh(&format!("ssh-keygen -l -f {ED25519}.pub"));
    let fingerprint = fingerprint.split(' ').nth(1).expect("SHA256:...");

    // By a key that is a file there is nothing to offer.
    let mut t = desk.terminal().run("exec ssh -i /home/visitor/.ssh/id_ed25519 -o IdentitiesOnly=yes olga@localhost");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    assert!(!t.text().contains(fingerprint), "{}", t.screen());
    drop(t);

    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("MFA is required. What do you bind?");
    t.wait_for("  ssh  the security key of your ssh login,");
    t.wait_for(fingerprint);
    t.wait_for("Type its name: ");
    assert_eq!(who.devices_of_keys(), 0);
    t.type_line("ssh");
    t.wait_for(WRITTEN);
    common::recovery_codes(&t.screen()).iter().for_each(|code| who.keep_secret(code));
    assert!(!t.text().contains(CODE), "{}", t.screen());
    t.type_line("ok");
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices_of_keys(), 1);
    who.logged(&["event=account", "service=sshd", "factor=u2f", "verdict=accepted", "bound inside the login"]);

    is_not_asked(&who, &mut desk.ssh(&who, ED25519, ""));
    assert_eq!(who.status()["devices"][0]["label"], "", "{}", who.status());
}

trait Keys {
    fn devices_of_keys(&self) -> usize;
}

impl Keys for Person {
    fn devices_of_keys(&self) -> usize {
        self.status()["devices"].as_array().map_or(0, Vec::len)
    }
}

/// Where sshd does not demand the touch, and where it would not count afterwards.
#[test]
fn a_key_that_would_not_count_is_not_offered() {
    let (who, desk) = (Person::required(&COUNTING, "nadia", COUNTS), Desk::new(&COUNTING, "nadia", ""));
    desk.makes(ED25519, "");
    trusts(&who, &desk.public(ED25519));
    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(BIND_NOW);
    drop(t);
    let (who, desk) = (Person::required(&COUNTING, "ida", ""), Desk::new(&COUNTING, "ida", ""));
    desk.makes(ED25519, "");
    trusts(&who, &desk.public(ED25519));
    let mut t = desk.ssh(&who, ED25519, "");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(BIND_NOW);
}
