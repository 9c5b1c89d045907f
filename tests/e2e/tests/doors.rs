//! Doors of other kinds, and what goes on at the known ones when time runs out, and from where somebody comes.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{BIND_NOW, CODE, Door, FIRST, Person, SECOND, bind_on, policy_file, rule, typed_off};
use e2e::{Builder, Log, Machine, Terminal};

static MACHINE: LazyLock<Machine> = LazyLock::new(|| boot(with_more_clients()));

fn with_more_clients() -> Builder {
    Machine::build().debian_packages("pamtester,rsync").package()
}

/// Boots it; the visitor has a key.
fn boot(builder: Builder) -> Machine {
    let machine = common::enabled(builder.boot());
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

/// A login of the visitor by ssh with these options.
fn ssh(who: &Person, options: &str) -> Terminal {
    who.machine.terminal().user("visitor").run(&format!("exec ssh {options} {}@localhost", who.name))
}

const LED: &str = "led through binding a device, and let in when it is bound";

/// Shuts the window, and waits until the login is over.
fn leaves(t: Terminal, who: &Person) {
    let log = who.machine.journal_from_here();
    drop(t);
    ended(&log, who);
}

/// The binding of this login came to nothing.
fn ended(log: &Log<'_>, who: &Person) {
    let account = format!("event=account user={} ", who.name);
    log.wait_for(|line| line.contains(&account) && line.contains("verdict=no-interaction"));
}

/// A server that speaks to PAM under another name, at port 2222, is known by what it does; and where nobody has put the
/// name on the list, nobody is led anywhere.
fn sshd_under_another_name(machine: &'static Machine, program: &str) {
    machine.sh_ok(&format!(
        "cp /etc/pam.d/sshd /etc/pam.d/gate
         systemd-run --quiet --unit=gate --property=Type=notify {program} -D -p 2222 -o PidFile=none"
    ));
    let who = Person::required(machine, "gitta", "");
    trusts_the_key(&who);
    let knock =
        |method: &str| ssh(&who, &format!("-p 2222 -o HostKeyAlias=localhost -o PreferredAuthentications={method}"));

    let mut t = knock("publickey");
    t.wait_for("MFA is required: a key alone is not enough.");
    t.wait_for("Connection closed by");
    assert_eq!(t.exit_code(), 255);
    who.logged(&["event=account", "service=gate ", "verdict=refused", "reason=\"a key alone\""]);

    let mut t = knock("keyboard-interactive");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("MFA is required of gitta and no device is bound.");
    t.wait_for("Bind one by mfa-enroll totp, or ask an administrator to run: mfa-enroll totp --user gitta");
    t.wait_for("Password: ");
    drop(t);
    who.logged(&["event=verify", "service=gate ", "verdict=refused"]);
    assert!(!who.got_in() && !who.has_record());
    assert!(who.outcome_explained("gate").starts_with("refused: gate is not in [enroll] services"));

    // The service alone is not enough: its program has to be one that is known to hold an account phase.
    policy_file(machine, "/etc/mfa/mfa.toml", "[enroll]\nservices = [\"gate\"]\n");
    let path = program.split(' ').next().unwrap_or(program);
    let name = path.rsplit('/').next().unwrap_or(path);
    if name != "sshd" {
        let mut t = knock("keyboard-interactive");
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t.wait_for("MFA is required of gitta and no device is bound.");
        t.wait_for("Password: ");
    }
    policy_file(machine, "/etc/mfa/mfa.toml", &format!("[enroll]\nservices = [\"gate\"]\nprograms = [\"{name}\"]\n"));
    assert_eq!(who.outcome_explained("gate"), LED);
    let mut t = knock("keyboard-interactive");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    assert!(!who.got_in());
    let next = bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    who.logged(&["event=account", "service=gate ", "verdict=accepted", "reason=\"bound inside the login\""]);
    let mut t = knock("keyboard-interactive");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(knock("publickey").exit_code(), 255);
}

/// Up to OpenSSH 9.7 the service has the program's name.
#[test]
fn sshd_by_the_name_of_its_program() {
    static GATE: LazyLock<Machine> = LazyLock::new(|| boot(Machine::build().suite("bookworm").package()));
    GATE.sh_ok("cp /usr/sbin/sshd /usr/local/sbin/gate");
    sshd_under_another_name(&GATE, "/usr/local/sbin/gate");
}

/// From OpenSSH 9.8 on it is a setting.
#[test]
fn sshd_by_the_name_in_its_settings() {
    static GATE: LazyLock<Machine> = LazyLock::new(|| boot(Machine::build().suite("trixie").package()));
    sshd_under_another_name(&GATE, "/usr/sbin/sshd -o PAMServiceName=gate");
}

/// The documented way to a key and a code, without a password.
static KEY_AND_CODE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = boot(Machine::build().package());
    machine.sh_ok(
        "cd /usr/share/doc/libpam-mfa/examples
         cp 10-mfa-key.conf /etc/ssh/sshd_config.d/
         cp mfa-sshd-key /etc/pam.d/
         sed -i 's/^@include common-auth$/@include mfa-sshd-key/' /etc/pam.d/sshd
         # From OpenSSH 9.8 on sshd keeps out who is refused too often, and so would hide the answer.
         ! sshd -T | grep -q '^persourcepenalties' || echo 'PerSourcePenalties no' >/etc/ssh/sshd_config.d/20-test.conf
         sshd -t && systemctl reload ssh",
    );
    machine
});

/// Comes without a key: is asked nothing, and the module is not called.
#[track_caller]
fn is_asked_nothing_without_a_key(who: &mut Person) {
    who.log = who.machine.journal_from_here();
    for method in ["keyboard-interactive", "password", "keyboard-interactive,password"] {
        let mut t = ssh(who, &format!("-o PubkeyAuthentication=no -o PreferredAuthentications={method}"));
        t.wait_for("Permission denied (");
        assert_eq!(t.exit_code(), 255);
        let text = t.text();
        assert!(!text.contains(CODE) && !text.contains("assword: ") && !text.contains("MFA"), "{}", t.screen());
    }
    assert_eq!(who.count_logged(&[]), 0);
    assert!(!who.got_in());
}

#[test]
fn a_key_and_a_code_without_a_password() {
    let (mut bound, app) = Person::bound(&KEY_AND_CODE, "berta");
    let mut optional = Person::new(&KEY_AND_CODE, "otto");
    let mut required = Person::required(&KEY_AND_CODE, "rita", "");
    for who in [&mut bound, &mut optional, &mut required] {
        trusts_the_key(who);
        is_asked_nothing_without_a_key(who);
    }

    // Who has a device: the key, and the code.
    let mut t = ssh(&bound, "");
    t.wait_for("(berta@localhost) This device was bound ");
    t.wait_for(CODE);
    t.type_line(&app.wrong());
    t.wait_for(CODE);
    assert!(!bound.got_in());
    t.type_line(&app.good);
    Door::Ssh.is_open(&bound, &mut t);
    assert!(!t.text().contains("assword"), "{}", t.text());
    bound.log.wait_for(|line| line.contains("Accepted keyboard-interactive/pam for berta"));

    // Who has none and needs none: the key.
    let mut t = ssh(&optional, "");
    Door::Ssh.is_open(&optional, &mut t);
    assert!(!t.text().contains("assword") && !t.text().contains(CODE), "{}", t.text());
    optional.logged(&["event=verify", "verdict=ignored", "reason=\"not required and not bound\""]);

    // Who has none and needs one: the key, and the way to one.
    assert_eq!(required.outcome_explained("sshd"), LED);
    let mut t = ssh(&required, "");
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    leaves(t, &required);
    assert_eq!(required.devices(), 0);
    assert!(!required.got_in());
    let mut t = ssh(&required, "");
    t.wait_for(FIRST);
    let next = bind_on(&required, &mut t);
    Door::Ssh.is_open(&required, &mut t);
    assert_eq!(required.devices(), 1);
    let mut t = ssh(&required, "");
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&required, &mut t);
    // The other doors are as they were.
    Door::Su.lets_in_without_code(&optional);

    // Should sshd ask for no key any more, the stack still does.
    KEY_AND_CODE.sh_ok(
        "sed -i 's/^AuthenticationMethods.*//' /etc/ssh/sshd_config.d/10-mfa-key.conf; systemctl reload ssh
         ! sshd -T | grep '^authenticationmethods ' | grep -vx 'authenticationmethods any'",
    );
    for who in [&mut bound, &mut optional, &mut required] {
        is_asked_nothing_without_a_key(who);
    }
    let mut t = ssh(&required, "");
    t.wait_for("MFA is required: a key alone is not enough.");
    assert_eq!(t.exit_code(), 255);
}

/// What comes to the account phase alone, of whom a device is required.
#[track_caller]
fn goes_on(who: &Person, service: &str, what: impl FnOnce()) {
    let log = who.machine.journal_from_here();
    what();
    let (user, service) = (format!("event=account user={} ", who.name), format!("service={service} "));
    let line = log.wait_for(|line| line.contains(&user) && line.contains(&service));
    assert!(line.contains("verdict=ignored reason=\"no auth phase\""), "{line}");
}

/// Nobody is there to ask for the code, whoever it is.
#[test]
fn jobs_and_services_of_who_has_a_device_go_on() {
    let who = Person::required(&MACHINE, "jobst", "");
    let _app = who.bind();
    let now = |text: &str| {
        let mut t = MACHINE.terminal().run(text);
        assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "jobst"));
    };
    goes_on(&who, "cron", || {
        MACHINE.sh_ok("echo '@reboot true' | crontab -u jobst -; rm -f /run/crond.reboot; systemctl restart cron");
    });
    goes_on(&who, "atd", || drop(MACHINE.sh_ok("cd /home/jobst; runuser --user jobst -- sh -c 'echo true | at now'")));
    goes_on(&who, "systemd-user", || drop(MACHINE.sh_ok("systemctl start user@$(id -u jobst)")));
    goes_on(&who, "su", || now("su jobst -c 'id -un'"));
    goes_on(&who, "su-l", || now("su - jobst -c 'id -un'"));
    MACHINE.write("/etc/sudoers.d/jobst", "jobst ALL=(ALL:ALL) NOPASSWD: ALL\n");
    for (service, option) in [("sudo", "-n"), ("sudo-i", "-ni")] {
        goes_on(&who, service, || {
            let mut t = MACHINE.terminal().user("jobst").run(&format!("sudo {option} id -un"));
            assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "root"));
        });
    }
    goes_on(&who, "login", || {
        let mut t = MACHINE.terminal().run("exec login -f jobst");
        Door::Login.is_open(&who, &mut t);
        assert!(!t.text().contains(CODE), "{}", t.text());
    });
    assert_eq!(who.count_logged(&["event=verify"]), 0);
}

/// A ticket from before the rule owes nothing. Who was let past auth on a promise is reminded of it, also where no password
/// is asked; but whoever is there has proved nothing, and binds nothing.
#[test]
fn who_owes_a_device_is_not_let_in_and_binds_nothing_where_no_password_is_asked() {
    let who = Person::new(&MACHINE, "owen");
    let mut shell = MACHINE.terminal().user("owen").run("exec bash --norc");
    shell.wait_for("$ ");
    shell.type_line("sudo id -un");
    shell.wait_for("[sudo] password for owen: ");
    shell.type_line(&who.password);
    shell.wait_for("root\n");
    rule(&MACHINE, "50-owen", "users = [\"owen\"]\nrequire = \"mfa\"");
    goes_on(&who, "sudo", || {
        shell.wait_for("$ ");
        shell.type_line("sudo -n id -un");
        shell.wait_for("root\n");
    });

    leaves(Door::Ssh.up_to_the_key(&who), &who);
    MACHINE.write("/etc/sudoers.d/owen", "owen ALL=(ALL:ALL) NOPASSWD: ALL\n");
    MACHINE.user("trudy", "pw-trudy");
    MACHINE.sh_ok("groupadd owens; usermod --append --groups owens trudy");
    MACHINE.sh_ok("sed -i '1i auth sufficient pam_wheel.so trust group=owens' /etc/pam.d/su");
    for (user, command) in [
        ("root", "exec login -f owen"),
        ("owen", "exec sudo -n touch /owen"),
        ("owen", "exec sudo touch /owen"),
        ("trudy", "exec su owen -c 'touch /tmp/owen'"),
    ] {
        let mut t = MACHINE.terminal().user(user).run(command);
        assert_ne!(t.exit_code(), 0, "{command}");
        assert!(t.text().contains("mfa-enroll totp") && !t.text().contains(FIRST), "{}", t.screen());
    }
    MACHINE.sh_ok("sed -i 1d /etc/pam.d/su; [ ! -e /owen ] && [ ! -e /tmp/owen ]");
    // root becomes anybody.
    goes_on(&who, "su", || drop(MACHINE.sh_ok("su owen -c true")));
    assert_eq!(who.devices(), 0);

    let mut t = Door::Ssh.up_to_the_key(&who);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
    goes_on(&who, "sudo", || {
        let mut t = MACHINE.terminal().user("owen").run("exec sudo -n id -un");
        assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "root"));
    });
}

/// The login has ended: nothing of a device but the one that waits, no process of the conversation, no lock.
#[track_caller]
fn nothing_is_left_of(who: &Person) {
    let processes = "for n in $(seq 100); do [ $(pgrep --count --exact mfa-helper) -gt 1 ] || exit 0; sleep 0.1; done";
    who.machine.sh_ok(&format!("{processes}; pgrep --list-full mfa-helper; exit 1"));
    who.machine.sh_ok(&format!("flock --nonblock /var/lib/mfa/users/{} true", who.name));
    assert_eq!((who.devices(), who.status()["pending"].as_bool()), (0, Some(true)));
    assert!(!who.got_in());
}

/// The next login shows the same key, and binds.
#[track_caller]
fn goes_on_with(key: &str, door: Door, who: &Person) {
    let mut t = door.up_to_the_key(who);
    assert_eq!(typed_off(&t.screen()), key, "{}", t.screen());
    bind_on(who, &mut t);
    door.is_open(who, &mut t);
    assert_eq!(who.devices(), 1);
}

/// sshd ends the login of who is too slow, and of who is silent, in the middle of the page or between the two codes.
#[test]
fn a_login_that_takes_too_long_for_sshd_leaves_no_half_device() {
    static HASTY: LazyLock<Machine> = LazyLock::new(|| boot(Machine::build().package().sshd("LoginGraceTime 10")));
    let people = ["slow", "still", "between"].map(|name| Person::required(&HASTY, name, ""));
    let mut keys = Vec::new();
    for who in &people {
        let log = HASTY.journal_from_here();
        // Not the shell's own process: whoever runs that in the machine would stop with it, and for good.
        let command = "ssh -o PreferredAuthentications=keyboard-interactive";
        let mut t = HASTY.terminal().user("visitor").run(&format!("{command} {}@localhost; exit $?", who.name));
        t.wait_for(&Door::Ssh.password_prompt(who));
        t.type_line(&who.password);
        t.wait_for(FIRST);
        let key = typed_off(&t.screen());
        who.keep_secret(&key);
        if who.name == "between" {
            // Right or not, it is judged with the second.
            t.type_line("000000");
            t.wait_for(SECOND);
        }
        // As when the network is gone: nothing comes from there any more, and no farewell.
        let signal = |name| HASTY.sh_ok(&format!("pkill --signal {name} --full '^ssh .*{}@localhost$'", who.name));
        if who.name == "still" {
            signal("STOP");
        }
        ended(&log, who);
        nothing_is_left_of(who);
        if who.name == "still" {
            signal("CONT");
        }
        // Nobody told the client.
        t.type_line("");
        t.wait_for("Connection closed by");
        assert_eq!(t.exit_code(), 255);
        keys.push(key);
    }
    HASTY.sh_ok(
        "sed -i 's/^LoginGraceTime.*/LoginGraceTime 300/' /etc/ssh/sshd_config.d/00-test.conf; systemctl reload ssh",
    );
    for (who, key) in people.iter().zip(keys) {
        goes_on_with(&key, Door::Ssh, who);
    }
}

/// A Debian whose login(1) waits for `LIMIT` seconds.
fn impatient(suite: &str) -> Machine {
    let setup = format!(
        "sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT {LIMIT}/' /etc/login.defs; grep -x 'LOGIN_TIMEOUT {LIMIT}' /etc/login.defs"
    );
    boot(Machine::build().suite(suite).package().setup(&setup))
}

const LIMIT: u32 = 8;
const TIMED_OUT: &str = "timed out after 8 seconds";

/// That of shadow stops its clock after auth: the page has the helper's limit and no other.
#[test]
fn login_of_debian_12_does_not_limit_the_page() {
    static CONSOLE: LazyLock<Machine> = LazyLock::new(|| impatient("bookworm"));
    let who = Person::required(&CONSOLE, "slow", "");
    let mut t = Door::Login.up_to_the_key(&who);
    // Its time is over when that of a later one is.
    let mut later = Door::Login.knock(&who);
    later.wait_for(TIMED_OUT);
    bind_on(&who, &mut t);
    Door::Login.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
}

/// That of util-linux ends all of it.
#[test]
fn a_login_that_takes_too_long_for_login_leaves_no_half_device() {
    // Alone, so that the second terminal has the name of the first.
    static CONSOLE: LazyLock<Machine> = LazyLock::new(|| impatient("trixie"));
    let who = Person::required(&CONSOLE, "slow", "");
    let log = CONSOLE.journal_from_here();
    let mut t = Door::Login.up_to_the_key(&who);
    let key = typed_off(&t.screen());
    who.keep_secret(&key);
    t.wait_for(TIMED_OUT);
    t.exit_code();
    drop(t);
    ended(&log, &who);
    nothing_is_left_of(&who);
    CONSOLE.sh_ok("sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 60/' /etc/login.defs");
    goes_on_with(&key, Door::Login, &who);
}

/// Until the day people are reminded; from then on they are led through it.
#[test]
fn a_deadline_reminds_and_then_requires() {
    let who = Person::new(&MACHINE, "dora");
    let file = "/etc/mfa/mfa.d/50-require-user-dora.toml";
    let day = |when: &str| MACHINE.sh_ok(&format!("date --utc --date '{when}' +%F")).trim().to_owned();
    MACHINE.sh_ok(&format!("mfa-enroll require --user dora --deadline {}; touch -d @1700000000 {file}", day("5 days")));
    let mut t = Door::Ssh.knock(&who);
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for("MFA will be required of you in 5 days. Bind a device by then: mfa-enroll totp");
    Door::Ssh.is_open(&who, &mut t);
    assert!(!t.text().contains(BIND_NOW), "{}", t.text());
    who.logged(&["event=verify", "verdict=ignored", "reason=\"not bound, before the deadline\""]);
    for door in [Door::Sudo, Door::Su, Door::Login] {
        door.lets_in_without_code(&who);
    }

    MACHINE.sh_ok(&format!(
        "sed -i 's/^deadline.*/deadline = \"{}\"/' {file}; touch -d @1700000000 {file}",
        day("yesterday")
    ));
    assert_eq!(who.outcome_explained("sshd"), LED);
    let mut t = Door::Ssh.up_to_the_key(&who);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
}

#[test]
fn a_rule_that_observes_lets_in_and_says_what_it_would_ask() {
    let who = Person::required(&MACHINE, "olivia", "mode = \"observe\"");
    for door in [Door::Ssh, Door::Sudo, Door::Su, Door::Login] {
        door.lets_in_without_code(&who);
        let service = format!("service={} ", door.service());
        who.logged(&["event=verify", &service, "rule=none", "observed=\"50-olivia.toml:1 mfa\"", "verdict=ignored"]);
    }
    assert!(!who.has_record());
}

/// One rule for what is called at the screen of this host, and one for all else.
#[test]
fn what_is_local_and_what_is_remote_in_a_booted_system() {
    static SEAT: LazyLock<Machine> = LazyLock::new(|| {
        let machine = boot(Machine::build().package());
        // A container has no consoles; logind has a seat all the same, and login(1) says that it is there.
        machine.write("/etc/security/seat.conf", "XDG_SEAT DEFAULT=seat0\n");
        machine.sh_ok("sed -i '1i session required pam_env.so conffile=/etc/security/seat.conf' /etc/pam.d/login");
        machine
    });
    let here = Person::required(&SEAT, "here", "from = [\"local\"]");
    let away = Person::required(&SEAT, "away", "services = [\"sudo\", \"sshd\"]\nfrom = [\"remote\"]");

    let at_the_seat = |who: &Person| {
        let mut t = Door::Login.knock(who);
        t.wait_for(&Door::Login.password_prompt(who));
        t.type_line(&who.password);
        t.wait_for("$ ");
        t.type_line("loginctl --no-pager show-session $XDG_SESSION_ID --property=Seat --property=Remote");
        t.wait_for("Seat=seat0\n");
        t.wait_for("Remote=no\n");
        t.wait_for("$ ");
        t
    };
    let sudo = |t: &mut Terminal, who: &Person| {
        t.type_line("sudo id -un");
        t.wait_for(&Door::Sudo.password_prompt(who));
        t.type_line(&who.password);
    };
    let over_ssh = |t: &mut Terminal, who: &Person| {
        let name = &who.name;
        t.type_line(&format!("ssh -o PreferredAuthentications=keyboard-interactive {name}@localhost"));
        t.wait_for(&Door::Ssh.password_prompt(who));
        t.type_line(&who.password);
    };

    // At the seat.
    let mut t = at_the_seat(&here);
    sudo(&mut t, &here);
    // Here, and only here, a security key can be bound as well.
    t.wait_for("key  a security key that you plug in here");
    t.wait_for("Type its name: ");
    t.type_line("app");
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    t.send("\x03\r");
    t.wait_for("Conversation error");
    // ssh to the same host is not the seat any more, nor is what is called inside it.
    t.wait_for("$ ");
    over_ssh(&mut t, &here);
    t.wait_for("$ ");
    sudo(&mut t, &here);
    t.wait_for("root\n");
    assert_eq!(here.count_logged(&["event=verify", "rule=none"]), 3, "login, ssh, and sudo in it");
    assert_eq!(here.count_logged(&["event=verify", "verdict=handed-over"]), 1);
    drop(t);

    // And the other way round.
    let mut t = at_the_seat(&away);
    sudo(&mut t, &away);
    t.wait_for("root\n");
    t.wait_for("$ ");
    over_ssh(&mut t, &away);
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    leaves(t, &away);
    rule(&SEAT, "50-away", "users = [\"away\"]\nservices = [\"sudo\"]\nfrom = [\"remote\"]\nrequire = \"mfa\"");
    let mut t = Door::Ssh.knock(&away);
    t.wait_for(&Door::Ssh.password_prompt(&away));
    t.type_line(&away.password);
    t.wait_for("$ ");
    sudo(&mut t, &away);
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    leaves(t, &away);
    assert_eq!(away.devices(), 0);
}

/// A rule about a network, by the address that sshd has seen.
#[test]
fn a_network_is_told_by_the_address_of_the_client() {
    let who = Person::required(&MACHINE, "nora", "from = [\"127.0.0.2\", \"10.0.0.0/8\"]");
    let knock = |source: &str, to: &str| {
        let command = format!("exec ssh -b {source} -o PreferredAuthentications=keyboard-interactive nora@{to}");
        let mut t = MACHINE.terminal().user("visitor").run(&command);
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t
    };
    for (source, to) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.3", "127.0.0.1"), ("::1", "::1")] {
        Door::Ssh.is_open(&who, &mut knock(source, to));
        who.logged(&["event=verify", &format!("rhost={source} "), "rule=none", "verdict=ignored"]);
    }
    let mut t = knock("127.0.0.2", "127.0.0.1");
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.status()["devices"][0]["created_from"], "127.0.0.2");
}

/// Its data goes through the same pipe as the answers do not.
#[test]
fn the_data_of_rsync_is_clean_while_a_device_is_bound() {
    let who = Person::required(&MACHINE, "rosa", "");
    MACHINE.sh_ok("head -c 300000 /dev/urandom >/home/rosa/blob; chmod 644 /home/rosa/blob");
    let mut t = MACHINE.terminal().user("visitor").run("rsync rosa@localhost:blob copy 2>rsync.err; echo \"exit $?\"");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    t.wait_for("exit 0\n");
    assert_eq!(who.devices(), 1);
    MACHINE.sh_ok("cmp /home/rosa/blob /home/visitor/copy");
    assert_eq!(MACHINE.read("/home/visitor/rsync.err"), "");
}
