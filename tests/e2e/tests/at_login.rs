//! Whoever must have a device and has none binds one inside the login: nobody comes in without, and no
//! client is left outside.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::LazyLock, time::Duration};

use common::{
    BIND_NOW, CODE, Door, FIRST, Person, SECOND, bind_on, give_two_codes, newer_than_trixie, recovery_codes, shipped,
    typed_off,
};
use e2e::{Machine, Terminal, Theme, suite};

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// What `policy explain` says of who is led through it, and afterwards.
const LED: &str = "led through binding a device, and let in when it is bound";
const ASKED: &str = "asked for the code of the device, or a recovery code";

/// A login by ssh of the visitor, with options or another client.
fn ssh(who: &Person, command: &str) -> Terminal {
    who.machine.terminal().user("visitor").run(command)
}

/// The whole of it at one door: bound by what a scanner reads off the screen, let in, and asked from then on.
fn led_through(door: Door, who: &Person, from: &str) {
    let service = format!("service={} ", door.service());
    assert_eq!(who.outcome_explained(door.service()), LED);
    let mut t = door.up_to_the_key(who);
    assert!(t.echoes(), "codes are shown");
    let screen = t.screen();
    let uri = screen.decode_qr(Theme::Dark).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    let key = typed_off(&screen);
    assert_eq!(uri, format!("otpauth://totp/web1:{}?secret={key}&issuer=web1", who.name));
    assert!(screen.text().contains(BIND_NOW), "the first line has left the screen:\n{screen}");
    assert!(!t.raw().contains(&0x1b) || door != Door::Ssh, "{screen}");
    assert_eq!(who.devices(), 0);
    assert!(!who.got_in());

    let next = bind_on(who, &mut t);
    door.is_open(who, &mut t);
    who.logged(&["event=verify", &service, "verdict=handed-over"]);
    who.logged(&["event=account", &service, "verdict=accepted", "reason=\"bound inside the login\""]);
    assert_eq!(who.devices(), 1);
    let created_from = who.status()["devices"][0]["created_from"].as_str().map(str::to_owned).expect("a place");
    assert!(created_from.starts_with(from), "bound from {created_from}");

    assert_eq!(who.outcome_explained(door.service()), ASKED);
    let mut t = door.up_to_the_code(who);
    assert!(!t.text().contains(BIND_NOW));
    // In front of the prompt, because sudo is silent about what went well and sshd says it twice.
    assert!(t.text().contains(&format!(" from {created_from}.")), "{}", t.screen());
    t.type_line(&next);
    door.is_open(who, &mut t);
    assert_eq!(t.text().matches("This device was bound ").count(), 1, "{}", t.screen());
}

#[test]
fn ssh_leads_through_binding() {
    led_through(Door::Ssh, &Person::required(&MACHINE, "anna", ""), "::1");
}

#[test]
fn sudo_leads_through_binding_who_is_required_there_only() {
    let mut who = Person::required(&MACHINE, "berta", "services = [\"sudo\"]");
    Door::Ssh.lets_in_without_code(&who);
    who.log = MACHINE.journal_from_here();
    led_through(Door::Sudo, &who, "/dev/pts/");
}

#[test]
fn sudo_i_leads_through_binding() {
    led_through(Door::SudoI, &Person::required(&MACHINE, "clara", ""), "/dev/pts/");
}

#[test]
fn su_leads_through_binding_who_it_becomes() {
    led_through(Door::Su, &Person::required(&MACHINE, "doris", ""), "/dev/pts/");
}

#[test]
fn su_with_a_login_shell_leads_through_binding_who_it_becomes() {
    led_through(Door::SuDash, &Person::required(&MACHINE, "elsa", ""), "/dev/pts/");
}

#[test]
fn login_leads_through_binding_on_the_console() {
    led_through(Door::Login, &Person::required(&MACHINE, "frieda", ""), "/dev/pts/");
}

/// No program can tell whether a terminal is light: whoever sits there can.
#[test]
fn the_picture_can_be_had_for_a_light_terminal() {
    let who = Person::required(&MACHINE, "lucia", "");
    let mut t = Door::Ssh.up_to_the_key(&who);
    assert_eq!(t.screen().decode_qr(Theme::Light), None, "there would be no need to type invert");
    let key = typed_off(&t.screen());
    t.type_line("invert");
    t.wait_for(FIRST);
    let screen = t.screen();
    let uri = screen.decode_qr(Theme::Light).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    assert_eq!(uri, format!("otpauth://totp/web1:lucia?secret={key}&issuer=web1"));
    assert_eq!(typed_off(&screen), key);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
}

/// Programs read after they have asked, and lose a Ctrl-C of the moment between: Enter then says the same.
const CTRL_C: &str = "\x03\r";

/// How somebody leaves who does not want to bind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    CtrlC,
    CloseTheWindow,
    WrongCodes,
}

/// Gets out of the page that the terminal shows.
#[track_caller]
fn leave(how: Leave, door: Door, mut t: Terminal) {
    match how {
        Leave::CtrlC => {
            t.send(CTRL_C);
            assert_ne!(t.exit_code(), 0, "{}", t.screen());
        }
        Leave::CloseTheWindow => drop(t.close()),
        Leave::WrongCodes => {
            for n in 0..3 {
                if n > 0 {
                    t.wait_for(FIRST);
                }
                t.type_line("000000");
                t.wait_for(SECOND);
                t.type_line("111111");
            }
            t.wait_for("Nothing was bound: log in again to go on.");
            t.wait_for(door.turned_away());
        }
    }
}

/// Whoever leaves the page is outside, and the next login is at the same place.
fn nobody_comes_in_unbound(door: Door, name: &str) {
    let who = Person::required(&MACHINE, name, "");

    // The password comes first: who does not know it learns nothing about a device.
    let mut t = door.knock(&who);
    t.wait_for(&door.password_prompt(&who));
    t.type_line("wrong password");
    t.wait_for(&door.refusal(&who));
    assert!(!t.text().contains("MFA"), "{}", t.screen());
    drop(t);
    assert!(!who.has_record() && who.count_logged(&[]) == 0);

    // login(1) ignores Ctrl-C.
    let first = if door == Door::Login { Leave::CloseTheWindow } else { Leave::CtrlC };
    let mut key = String::new();
    for how in [first, Leave::CloseTheWindow, Leave::WrongCodes] {
        let mut t = door.up_to_the_key(&who);
        let screen = t.screen();
        let shown = typed_off(&screen);
        if door == Door::Ssh && !key.is_empty() {
            // From the same address: the key that may be in the app already, and as text, which any client can show.
            assert_eq!(shown, key, "{screen}");
            let text = screen.text();
            assert!(text.contains("Begun ") && text.contains(" from ::1; type new for a new key."), "{screen}");
            assert!(t.raw().is_ascii(), "{screen}");
        }
        who.keep_secret(&shown);
        key = shown;
        let log = MACHINE.journal_from_here();
        leave(how, door, t);
        let verdict = if how == Leave::WrongCodes { "verdict=refused" } else { "verdict=no-interaction" };
        log.wait_for(|line| line.contains(&format!("event=account user={name} ")) && line.contains(verdict));
        assert_eq!(who.devices(), 0);
        assert!(!who.got_in(), "came in without a device");
        assert_eq!(who.outcome_explained(door.service()), LED);
    }

    let mut t = door.up_to_the_key(&who);
    bind_on(&who, &mut t);
    door.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
}

#[test]
fn nobody_comes_in_unbound_by_ssh() {
    nobody_comes_in_unbound(Door::Ssh, "gerda");
}

#[test]
fn nobody_comes_in_unbound_by_sudo() {
    nobody_comes_in_unbound(Door::Sudo, "hanna");
}

#[test]
fn nobody_comes_in_unbound_by_su() {
    nobody_comes_in_unbound(Door::Su, "ida");
}

#[test]
fn nobody_comes_in_unbound_on_the_console() {
    nobody_comes_in_unbound(Door::Login, "jutta");
}

/// The other method of ssh cannot hold the dialogue, and says which one can.
#[test]
fn the_password_method_of_ssh_leads_nowhere() {
    let who = Person::required(&MACHINE, "petra", "");
    let mut t = ssh(&who, "exec ssh -o PreferredAuthentications=password petra@localhost id -un");
    t.wait_for("password: ");
    t.type_line(&who.password);
    t.wait_for("No code could be asked: use a terminal; with ssh, keyboard-interactive.");
    assert_eq!(t.exit_code(), 255);
    assert!(!t.text().contains(BIND_NOW), "{}", t.screen());
    assert!(!who.got_in());
    assert_eq!(who.devices(), 0);
    let mut t = Door::Ssh.up_to_the_key(&who);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
}

/// Runs `command` in a shell of `who`, where it asks for the password or not, and leads to the page; leaves that.
#[track_caller]
fn abandoned(t: &mut Terminal, who: &Person, command: &str, asks: bool) {
    t.wait_for("$ ");
    t.type_line(command);
    if asks {
        t.wait_for("assword");
        t.type_line(&who.password);
    }
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    t.send(CTRL_C);
}

/// Neither sudo's ticket nor another of its ways opens what the page has closed.
#[test]
fn sudo_in_any_form_lets_nobody_in_unbound() {
    let who = Person::required(&MACHINE, "klara", "");
    let mut t = MACHINE.terminal().user("klara").run("exec bash --norc");
    for command in ["sudo touch /in", "sudo touch /in", "sudo -v", "sudo -s touch /in", "EDITOR=touch sudoedit /in"] {
        abandoned(&mut t, &who, command, true);
        t.wait_for(": PAM account management error: Conversation error");
    }
    t.wait_for("$ ");
    t.type_line("sudo -n touch /in; echo \"exit $?\"");
    t.wait_for("a password is required\nexit 1\n");
    assert!(!who.got_in());
    MACHINE.sh_ok("[ ! -e /in ]");
    assert_eq!(who.count_logged(&["event=account", "verdict=no-interaction"]), 5);
    assert_eq!(who.devices(), 0);

    t.wait_for("$ ");
    t.type_line("sudo id -un");
    t.wait_for("[sudo] password for klara: ");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    let next = bind_on(&who, &mut t);
    t.wait_for("root\n");
    t.wait_for("$ ");
    // The ticket is good from now on, and the next one costs a code.
    t.type_line("sudo id -un; sudo -k; sudo id -un");
    t.wait_for("root\n");
    t.wait_for("[sudo] password for klara: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(&next);
    t.wait_for("root\n");
}

/// With sudo-rs, which keeps its ticket before the account phase. bookworm has none.
static WITH_SUDO_RS: LazyLock<Machine> = LazyLock::new(|| {
    let machine = Machine::build().debian_packages("sudo-rs").package();
    common::enabled(if suite() == "bookworm" { machine.suite("trixie") } else { machine }.boot())
});

/// The second call asks no password, and leads there all the same.
#[test]
fn the_ticket_of_sudo_rs_lets_nobody_in_unbound() {
    let who = Person::required(&WITH_SUDO_RS, "ruth", "");
    let mut t = WITH_SUDO_RS.terminal().user("ruth").run("exec bash --norc");
    abandoned(&mut t, &who, "sudo-rs touch /in", true);
    abandoned(&mut t, &who, "sudo-rs touch /in", false);
    if newer_than_trixie() {
        abandoned(&mut t, &who, "sudo-rs -v", false);
    } else {
        // This one only makes the ticket last longer.
        t.wait_for("$ ");
        t.type_line("sudo-rs -v");
    }
    for command in ["sudo-rs touch /in", "sudo-rs -s touch /in"] {
        abandoned(&mut t, &who, command, false);
    }
    t.wait_for("$ ");
    t.type_line("sudo-rs -n touch /in; echo \"exit $?\"");
    t.wait_for("exit 1\n");
    WITH_SUDO_RS.sh_ok("[ ! -e /in ]");
    assert_eq!(who.devices(), 0);
    assert_eq!(who.count_logged(&["event=verify"]), 1, "there was no ticket");

    t.wait_for("$ ");
    t.type_line("sudo-rs id -un");
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    t.wait_for("root\n");
    t.wait_for("$ ");
    t.type_line("sudo-rs -n id -un");
    t.wait_for("root\n");
    assert_eq!(who.devices(), 1);
}

/// Somebody who knows the password begins to bind, leaves, and keeps the ticket; the owner binds at another terminal. The
/// ticket is worth the password alone, whatever its holder's standard input is.
#[test]
fn a_ticket_of_sudo_rs_from_before_the_device_costs_its_code() {
    let who = Person::required(&WITH_SUDO_RS, "rita", "");
    let shell = || WITH_SUDO_RS.terminal().user("rita").run("exec bash --norc");
    let mut intruder = shell();
    abandoned(&mut intruder, &who, "sudo-rs touch /rita", true);

    let mut owner = shell();
    owner.wait_for("$ ");
    owner.type_line("sudo-rs id -un");
    owner.wait_for("assword");
    owner.type_line(&who.password);
    owner.wait_for(BIND_NOW);
    owner.wait_for(FIRST);
    let next = bind_on(&who, &mut owner);
    owner.wait_for("root\n");

    for command in ["sudo-rs touch /rita", "sudo-rs touch /rita </dev/null", "sudo-rs -s touch /rita"] {
        intruder.wait_for("$ ");
        intruder.type_line(command);
        intruder.wait_for(CODE);
        intruder.type_line("000000");
        intruder.wait_for("Second factor refused.");
    }
    intruder.wait_for("$ ");
    intruder.type_line("sudo-rs -n touch /rita; echo \"exit $?\"");
    intruder.wait_for("exit 1\n");
    WITH_SUDO_RS.sh_ok("[ ! -e /rita ]");
    assert_eq!(who.count_logged(&["event=verify"]), 2, "there was no ticket");

    // The owner's own is good, and the other one is once its holder has given the code.
    owner.wait_for("$ ");
    owner.type_line("sudo-rs -n id -un");
    owner.wait_for("root\n");
    intruder.wait_for("$ ");
    intruder.type_line("sudo-rs id -un");
    intruder.wait_for(CODE);
    intruder.type_line(&next);
    intruder.wait_for("root\n");
    intruder.wait_for("$ ");
    intruder.type_line("sudo-rs -n id -un");
    intruder.wait_for("root\n");
}

/// Makes a key for the visitor, and lets it in.
fn trusts_a_key_of_the_visitor(who: &Person) {
    who.machine.sh_ok(&format!(
        "runuser --user visitor -- ssh-keygen -q -t ed25519 -N '' -f /home/visitor/.ssh/id_ed25519
         install --directory --owner={0} --mode=700 /home/{0}/.ssh
         install --owner={0} /home/visitor/.ssh/id_ed25519.pub /home/{0}/.ssh/authorized_keys",
        who.name
    ));
}

/// The settings that the package proposes: a key, the password, and then the page.
#[test]
fn the_recommended_settings_of_sshd_lead_through_binding() {
    static RECOMMENDED: LazyLock<Machine> = LazyLock::new(|| {
        let copy = "cp /usr/share/doc/libpam-mfa/examples/10-mfa.conf /etc/ssh/sshd_config.d/00-mfa.conf";
        common::enabled(Machine::build().package().sshd("ExposeAuthInfo yes").setup(copy).boot())
    });
    let who = Person::required(&RECOMMENDED, "regina", "");
    trusts_a_key_of_the_visitor(&who);
    let mut t = ssh(&who, "exec ssh regina@localhost");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(FIRST);
    assert!(!who.got_in(), "the key alone was enough");
    assert_eq!(who.devices(), 0);
    let next = bind_on(&who, &mut t);
    t.wait_for("$ ");
    t.type_line("cut -d' ' -f1 $SSH_USER_AUTH");
    t.wait_for("publickey\nkeyboard-interactive/pam\n");
    Door::Ssh.is_open(&who, &mut t);
    let mut t = ssh(&who, "exec ssh regina@localhost");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
}

/// Where nobody is there to ask, and where the password was not asked, all is as it is without binding at login.
#[test]
fn who_owes_a_binding_is_refused_by_key_and_their_jobs_go_on() {
    let who = Person::required(&MACHINE, "lena", "");
    trusts_a_key_of_the_visitor(&who);
    let refused_by_key = || {
        let mut t = ssh(&who, "exec ssh -o PreferredAuthentications=publickey lena@localhost id -un");
        assert_eq!(t.exit_code(), 255);
        assert!(t.text().contains("MFA is required: a key alone is not enough."), "{}", t.screen());
    };
    refused_by_key();
    leave(Leave::CtrlC, Door::Ssh, Door::Ssh.up_to_the_key(&who));
    who.logged(&["event=account", "verdict=no-interaction"]);
    refused_by_key();
    assert!(!who.got_in());

    let went_on = |service: &str| {
        who.logged(&["event=account", &format!("service={service} "), "verdict=ignored", "reason=\"no auth phase\""]);
    };
    MACHINE.sh_ok("echo '@reboot touch cron' | crontab -u lena -; rm -f /run/crond.reboot; systemctl restart cron");
    went_on("cron");
    MACHINE.sh_ok("cd /home/lena; runuser --user lena -- sh -c 'echo touch at | at now'");
    went_on("atd");
    MACHINE.sh_ok("systemctl start user@$(id -u lena)");
    went_on("systemd-user");
    let mut t = MACHINE.terminal().run("su lena -c 'id -un'; su - lena -c 'id -un'");
    assert_eq!((t.exit_code(), t.screen().text().as_str()), (0, "lena\nlena"));
    went_on("su");
    went_on("su-l");
    MACHINE.sh_ok("cd /home/lena; for n in $(seq 100); do [ ! -e cron -o ! -e at ] || exit 0; sleep 0.1; done; exit 1");
}

/// The data is the program's alone, and what is sent at binding is on the terminal.
#[test]
fn the_data_of_scp_and_sftp_is_clean_while_a_device_is_bound() {
    let who = Person::required(&MACHINE, "mona", "");
    MACHINE.sh_ok("head -c 300000 /dev/urandom >/home/mona/blob; chmod 644 /home/mona/blob");
    let transfers = |command: &str| {
        let mut t = ssh(&who, &format!("{command}; echo \"exit $?\""));
        t.wait_for(&Door::Ssh.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for(FIRST);
        bind_on(&who, &mut t);
        t.wait_for("exit 0\n");
        assert_eq!(who.devices(), 1);
        MACHINE.sh_ok("mfa-enroll disable --user mona");
    };
    transfers("ssh mona@localhost cat blob >ssh.out 2>ssh.err");
    transfers("scp -q mona@localhost:blob scp.out 2>scp.err");
    transfers("echo 'get blob sftp.out' | sftp -q mona@localhost 2>sftp.err >sftp.said");
    let sums = MACHINE.sh_ok(
        "cd /home/visitor; sha256sum <../mona/blob; sha256sum <ssh.out; sha256sum <scp.out; sha256sum <sftp.out",
    );
    let sums: Vec<_> = sums.lines().collect();
    assert!(sums.len() == 4 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    assert_eq!(MACHINE.sh_ok("cd /home/visitor; cat ssh.err scp.err sftp.err"), "");
    assert_eq!(MACHINE.read("/home/visitor/sftp.said").lines().filter(|line| line.starts_with("sftp> ")).count(), 1);
}

/// Two windows of one person, or two people who know the password: one device, and its owner comes in.
#[test]
fn two_logins_at_once_bind_one_device() {
    // The same key twice, from one address; and two keys, from two.
    for (name, other) in [("nele", "localhost"), ("nina", "127.0.0.1")] {
        let who = Person::required(&MACHINE, name, "");
        let mut one = Door::Ssh.up_to_the_key(&who);
        let command = format!("exec ssh -o PreferredAuthentications=keyboard-interactive {name}@{other}");
        let mut two = ssh(&who, &command);
        two.wait_for("Password: ");
        two.type_line(&who.password);
        two.wait_for(FIRST);
        let (key, key_of_two) = (typed_off(&one.screen()), typed_off(&two.screen()));
        assert_eq!(key == key_of_two, other == "localhost");
        who.keep_secret(&key);
        let codes = e2e::oath::Codes::now(&key);
        one.type_line(&codes.previous);
        one.wait_for(SECOND);

        let next = bind_on(&who, &mut two);
        Door::Ssh.is_open(&who, &mut two);
        one.type_line(&codes.present);
        one.wait_for("The record was changed from elsewhere meanwhile: try again.");
        one.wait_for(Door::Ssh.turned_away());
        Door::Ssh.lets_in(&who, &next);
        assert_eq!(who.devices(), 1);
        assert_eq!(who.count_logged(&["event=account", "verdict=accepted"]), 1);
    }
}

/// The line is cut where it hurts: before both codes are judged there is no device, after that there is all of it.
#[test]
fn a_connection_cut_at_any_prompt_leaves_no_half_device() {
    let who = Person::required(&MACHINE, "olga", "");
    // Of the network, as ssh sees it: no farewell of the client.
    let cut = |t: Terminal| {
        let log = MACHINE.journal_from_here();
        MACHINE.sh_ok("pkill --signal KILL --full '^ssh .*olga@localhost$'");
        drop(t);
        log.wait_for(|line| line.contains("event=account user=olga "))
    };

    let mut t = Door::Ssh.up_to_the_key(&who);
    let key = typed_off(&t.screen());
    let line = cut(t);
    assert!(line.contains("verdict=no-interaction"), "{line}");
    assert_eq!((who.devices(), who.status()["pending"].as_bool()), (0, Some(true)));

    let mut t = Door::Ssh.up_to_the_key(&who);
    assert_eq!(typed_off(&t.screen()), key);
    t.type_line(&e2e::oath::Codes::now(&key).previous);
    t.wait_for(SECOND);
    let line = cut(t);
    assert!(line.contains("verdict=no-interaction"), "{line}");
    assert_eq!((who.devices(), who.status()["pending"].as_bool()), (0, Some(true)));
    assert_eq!(who.outcome_explained("sshd"), LED);

    let mut t = Door::Ssh.up_to_the_key(&who);
    assert_eq!(typed_off(&t.screen()), key);
    give_two_codes(&who, &mut t, &key);
    let line = cut(t);
    assert!(line.contains("verdict=accepted"), "{line}");
    // No session was opened, and so nothing is bound.
    assert_eq!((who.devices(), who.status()["pending"].as_bool()), (0, Some(false)));
    assert!(!who.got_in());
    let mut t = Door::Ssh.up_to_the_key(&who);
    assert!(t.text().contains("is void: that login did not open."), "{}", t.screen());
    let new = typed_off(&t.screen());
    assert_ne!(new, key);
    let codes = give_two_codes(&who, &mut t, &new);
    let recovery = recovery_codes(&t.screen());
    t.type_line("ok");
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
    Door::Ssh.lets_in(&who, &codes.next);
    // The page was complete.
    Door::Su.lets_in(&who, &recovery[9]);
}

#[test]
fn who_must_be_invited_gives_the_ticket_first() {
    let who = Person::required(&MACHINE, "paula", "enroll = \"invited\"");
    assert_eq!(who.outcome_explained("sshd"), "refused: an invitation is needed (mfa-enroll invite)");
    for door in [Door::Ssh, Door::Su, Door::Sudo] {
        let mut t = door.knock(&who);
        t.wait_for(&door.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for("MFA is required of paula and no device is bound.");
        t.wait_for("Ask an administrator to run: mfa-enroll invite --user paula");
        t.wait_for(&door.refusal(&who));
    }
    assert!(!who.has_record());

    let invited = MACHINE.sh_ok("mfa-enroll invite --user paula");
    let ticket = invited.trim();
    assert_eq!((ticket.len(), ticket.split('-').count()), (19, 4), "{invited}");
    who.keep_secret(ticket);
    assert_eq!(who.outcome_explained("sshd"), LED);
    let asked = || {
        let mut t = Door::Ssh.knock(&who);
        t.wait_for(&Door::Ssh.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for("Invitation ticket: ");
        t
    };
    let mut t = asked();
    t.type_line("aaaa-bbbb-cccc-dddd");
    t.wait_for("That is not the ticket of a valid invitation.");
    t.wait_for(Door::Ssh.turned_away());
    assert!(!t.text().contains(BIND_NOW), "{}", t.screen());
    drop(t);
    // Not used up by a binding that came to nothing.
    let mut t = asked();
    t.type_line(ticket);
    t.wait_for(FIRST);
    leave(Leave::CtrlC, Door::Ssh, t);
    let mut t = asked();
    t.type_line(ticket);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);

    MACHINE.sh_ok("mfa-enroll disable --user paula");
    assert_eq!(who.outcome_explained("sshd"), "refused: an invitation is needed (mfa-enroll invite)");
}

#[test]
fn where_root_binds_nobody_else_does() {
    let who = Person::required(&MACHINE, "renate", "enroll = \"by-admin\"");
    for door in [Door::Ssh, Door::SudoI, Door::SuDash, Door::Login] {
        assert_eq!(who.outcome_explained(door.service()), "refused: an administrator has to bind a device first");
        let mut t = door.knock(&who);
        t.wait_for(&door.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for("MFA is required of renate and no device is bound.");
        t.wait_for("Ask an administrator to run: mfa-enroll totp --user renate");
        t.wait_for(&door.refusal(&who));
        assert!(!t.text().contains(BIND_NOW) && !t.text().contains(CODE), "{}", t.screen());
    }
    assert!(!who.got_in() && !who.has_record());
    let app = who.bind();
    Door::Ssh.lets_in(&who, &app.good);
}

/// Commands that write rules: what they say of a login is what happens there.
#[test]
fn a_group_is_required_on_trial_for_good_and_no_more() {
    static RULED: LazyLock<Machine> = LazyLock::new(shipped);
    let enroll = |arguments: &str| {
        let output = RULED.sh(&format!("mfa-enroll {arguments}"));
        (output.code, (output.stdout + &output.stderr).replace("mfa-enroll: ", ""))
    };
    let (member, other) = (Person::new(&RULED, "sara"), Person::new(&RULED, "tilda"));
    // A file is believed when it was left alone for two seconds.
    let settled = || RULED.sh_ok("touch -d @1700000000 /etc/mfa/mfa.d/*.toml");
    let file = "/etc/mfa/mfa.d/50-require-group-vault.toml";

    assert_eq!(enroll("require --group vault"), (3, "No group is called vault.\n".into()));
    RULED.sh_ok("groupadd vault; usermod --append --groups vault sara");
    assert_eq!(member.outcome_explained("sshd"), "let in after the first factor: not required and not bound");
    let (code, said) = enroll("require --group vault --try 10m");
    assert_eq!(code, 0, "{said}");
    let start =
        format!("{file} is written, and that is in force.\nIt reaches 1: sara.\nWith a device: 0.\nOn trial until 20");
    assert!(said.starts_with(&start) && said.ends_with(". To keep it: mfa-enroll require --confirm\n"), "{said}");
    let text = RULED.read(file);
    assert!(text.contains("groups = [\"vault\"]\nrequire = \"mfa\"\nexpires = \""), "{text}");
    // No two seconds later.
    assert_eq!(member.outcome_explained("sshd"), LED);
    assert_eq!(enroll("policy check").0, 0);
    assert_eq!(other.outcome_explained("sshd"), "let in after the first factor: not required and not bound");
    leave(Leave::CtrlC, Door::Ssh, Door::Ssh.up_to_the_key(&member));
    Door::Ssh.lets_in_without_code(&other);

    // The trial ends by itself.
    RULED.sh_ok(&format!("sed -i 's/^expires = .*/expires = \"2026-01-01T00:00:00Z\"/' {file}"));
    settled();
    let (code, said) = enroll("policy check");
    assert!(code == 6 && said.contains("50-require-group-vault.toml:2 required has expired: remove it"), "{said}");
    assert_eq!(member.outcome_explained("sshd"), "let in after the first factor: not required and not bound");
    let (code, said) = enroll("require --confirm");
    assert!(code == 3 && said.contains("The trial is over"), "{said}");
    Door::Su.lets_in_without_code(&member);

    assert_eq!(enroll("require --group vault --try 10m").0, 0);
    assert_eq!(enroll("require --confirm"), (0, format!("Permanent: {file}\n")));
    assert!(!RULED.read(file).contains("expires"));
    assert_eq!(enroll("require --confirm"), (3, "No rule is on trial.\n".into()));
    settled();
    let mut t = Door::Ssh.up_to_the_key(&member);
    bind_on(&member, &mut t);
    Door::Ssh.is_open(&member, &mut t);
    assert_eq!(member.outcome_explained("sshd"), ASKED);

    // An earlier rule that keeps somebody from it is named.
    common::rule(&RULED, "10-sara", "users = [\"sara\"]\nrequire = \"if-bound\"");
    let (code, said) = enroll("require --group vault");
    assert!(code == 1 && said.contains("sara is kept from being required by 10-sara.toml:1"), "{said}");
    RULED.sh_ok("rm /etc/mfa/mfa.d/10-sara.toml");

    RULED.sh_ok("mfa-enroll disable --user sara");
    settled();
    assert_eq!(member.outcome_explained("sshd"), LED);
    assert_eq!(enroll("unrequire --group vault").0, 0);
    RULED.sh_ok(&format!("[ ! -e {file} ]"));
    assert_eq!(enroll("unrequire --group vault").0, 3);
    assert_eq!(member.outcome_explained("sshd"), "let in after the first factor: not required and not bound");
    Door::Ssh.lets_in_without_code(&member);
}

/// Clients that draw no picture, or draw it badly, or break at it.
static CLIENTS: LazyLock<Machine> = LazyLock::new(|| {
    let machine = common::enabled(Machine::build().debian_packages(common::CLIENTS).package().boot());
    machine.sh_ok("localedef -i en_US -f ISO-8859-1 en_US.ISO-8859-1");
    machine
});

/// In the C locale ssh writes every byte of the picture as four characters, and the key scrolls away.
#[test]
fn a_client_in_the_c_locale_shows_the_key_when_asked() {
    let who = Person::required(&CLIENTS, "ulla", "");
    let mut t = ssh(&who, "exec env LC_ALL=C ssh -o PreferredAuthentications=keyboard-interactive ulla@localhost");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("\\342\\226\\210");
    t.wait_for(FIRST);
    assert!(!t.screen().text().contains("Key:"), "not as bad as it is said to be:\n{}", t.screen());
    t.type_line("key");
    t.wait_for(FIRST);
    let screen = t.screen();
    let typed = typed_off(&screen);
    assert!(screen.text().contains("issuer  web1") && screen.text().contains("account ulla"), "{screen}");
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert!(t.text().contains(&typed[..4]));
    assert_eq!(who.devices(), 1);
}

/// In a locale of eight bits ssh dies of the picture: the second try shows the key as text.
#[test]
fn a_client_in_a_locale_of_eight_bits_comes_in_at_the_second_try() {
    let who = Person::required(&CLIENTS, "vera", "");
    let knock = || {
        let command = "exec ssh -o PreferredAuthentications=keyboard-interactive vera@localhost";
        let t = who.machine.terminal().user("visitor").env("LC_ALL", "en_US.ISO-8859-1");
        let mut t = t.run(command);
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t
    };
    let mut t = knock();
    t.wait_for("asmprintf failed");
    assert_eq!(t.exit_code(), 255);
    who.logged(&["event=account", "verdict=no-interaction"]);

    let mut t = knock();
    t.wait_for(FIRST);
    assert!(t.raw().is_ascii(), "{}", t.screen());
    let next = bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);

    // And from then on nothing is in its way.
    let mut t = knock();
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
}

/// dbclient drops all that is not ASCII, and so the picture, but not the key.
#[test]
fn dropbears_client_binds_by_the_typed_key() {
    let who = Person::required(&CLIENTS, "wanda", "");
    let mut t = ssh(&who, "exec dbclient -y -y wanda@localhost");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
}

/// plink puts a bar before each line, and breaks lines of more than 77 columns.
#[test]
fn plink_binds_by_the_typed_key() {
    let who = Person::required(&CLIENTS, "xenia", "");
    let fingerprint = CLIENTS.sh_ok("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2");
    let mut t = ssh(&who, &format!("exec plink -ssh -no-antispoof -hostkey {} xenia@localhost", fingerprint.trim()));
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(FIRST);
    let screen = t.screen();
    let key = typed_off(&screen);
    // The bars leave the picture whole, and no line of it is broken.
    assert_eq!(screen.decode_qr(Theme::Dark), Some(format!("otpauth://totp/web1:xenia?secret={key}&issuer=web1")));
    t.type_line("key");
    t.wait_for(FIRST);
    assert_eq!(typed_off(&t.screen()), key);
    bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);
}

/// What a program does that can hold a dialogue: the key is in the text of the question, and the answers are codes.
const DIALOGUE: &str = r#"
import base64, hashlib, hmac, re, struct, sys, time
user, password, shown = sys.argv[1], sys.argv[2], []
def code(steps):
    count = struct.pack(">Q", int(time.time()) // 30 + steps)
    mac = hmac.new(base64.b32decode(shown[-1]), count, hashlib.sha1).digest()
    return "%06d" % ((struct.unpack(">I", mac[mac[-1] & 15:][:4])[0] & 0x7fffffff) % 1000000)
def answer(text):
    key = re.search(r"Key:((?: [A-Z2-7]{4}){8})\n", text)
    if key:
        shown.append(key[1].replace(" ", ""))
        return code(-1)
    words = [("Password: ", password), ("Second verification code", code(0) if shown else ""), ("Type ok", "ok")]
    return next(reply for begin, reply in words if begin in text)
"#;

const PARAMIKO: &str = r#"
import paramiko
transport = paramiko.Transport(("localhost", 22))
transport.start_client(timeout=20)
transport.auth_interactive(user, lambda title, text, prompts: [answer(prompt) for prompt, _ in prompts])
channel = transport.open_session()
channel.exec_command("id -un")
print("in as:" + channel.makefile().read().decode())
transport.close()
"#;

const ASYNCSSH: &str = r#"
import asyncio, asyncssh
class Client(asyncssh.SSHClient):
    def kbdint_auth_requested(self):
        return ""
    def kbdint_challenge_received(self, name, text, lang, prompts):
        return [answer(prompt) for prompt, _ in prompts]
async def main():
    options = dict(username=user, known_hosts=None, client_keys=None, client_factory=Client)
    async with asyncssh.connect("localhost", **options) as connection:
        print("in as:" + (await connection.run("id -un")).stdout)
asyncio.run(main())
"#;

/// The two libraries for Python, with a handler that answers what it is asked.
#[test]
fn programs_that_answer_what_they_are_asked_bind_as_people_do() {
    for (name, library) in [("yvonne", PARAMIKO), ("zora", ASYNCSSH)] {
        let who = Person::required(&CLIENTS, name, "");
        // Codes are made inside: not at the last moment of a step.
        let _ = e2e::oath::Codes::now("JBSWY3DPEHPK3PXP");
        CLIENTS.write(&format!("/home/visitor/{name}.py"), format!("{DIALOGUE}{library}"));
        let t = CLIENTS.terminal().user("visitor").patience(Duration::from_secs(30));
        let mut t = t.run(&format!("exec python3 {name}.py {name} '{}'", who.password));
        t.wait_for(&format!("in as:{name}\n"));
        assert_eq!(t.exit_code(), 0);
        assert_eq!(who.devices(), 1);
        who.logged(&["event=account", "verdict=accepted", "reason=\"bound inside the login\""]);
    }
}
