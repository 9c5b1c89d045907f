//! Other stacks than the shipped one, right ones and wrong ones: nobody reaches binding with a wrong first factor, and
//! nobody who is required gets in without a device. Where a stack by its nature never asks the module, that is said.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{BIND_NOW, CODE, Door, Person, bind_on};
use e2e::Machine;

/// One for each stack, because each row of a table is what is in /etc/pam.d.
fn machine() -> &'static Machine {
    let machine = common::enabled(Machine::build().debian_packages("pamtester,rsync").package().boot());
    // A wrong password need not be waited for.
    machine.sh_ok(
        "sed -i 's/^auth.*pam_unix.so nullok/& nodelay/' /etc/pam.d/common-auth
         sed -i 's/^FAIL_DELAY.*/FAIL_DELAY 0/' /etc/login.defs
         sed -i '/pam_faildelay/d' /etc/pam.d/login
         cp -a /etc/pam.d /etc/pam.d.shipped
         # From OpenSSH 9.8 on sshd keeps out who is refused too often.
         ! sshd -T | grep -q '^persourcepenalties' || echo 'PerSourcePenalties no' >/etc/ssh/sshd_config.d/20-test.conf
         systemctl reload ssh",
    );
    Box::leak(Box::new(machine))
}

const DOORS: [Door; 4] = [Door::Sudo, Door::Su, Door::Login, Door::Ssh];

const OURS: &str = "account required pam_mfa.so\n";

/// Where our account line stands among those of the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Right,
    Twice,
    Missing,
    BehindSufficient,
}

impl Line {
    const ALL: [Line; 4] = [Line::Right, Line::Twice, Line::Missing, Line::BehindSufficient];

    fn text(self) -> String {
        match self {
            Line::Right => OURS.into(),
            Line::Twice => OURS.repeat(2),
            Line::Missing => String::new(),
            // It is content with everybody who is in /etc/passwd.
            Line::BehindSufficient => format!("account sufficient pam_localuser.so\n{OURS}"),
        }
    }

    /// Whether the account phase is ours to refuse.
    fn decides(self) -> bool {
        matches!(self, Line::Right | Line::Twice)
    }
}

/// What meets somebody at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// By the page on which a device is bound.
    Led,
    /// By a question that nobody can answer, and then by that page.
    AskedAndLed,
    /// By the remedy.
    Remedy,
    /// By a question that nobody can answer, and a refusal that says nothing.
    Neutral,
    /// By the refusal of who comes by key alone: that is what a login without our auth phase is to sshd.
    KeyAlone,
    /// By nobody: the module is not called in auth, which no module can help.
    Open,
    /// By the program's own refusal.
    Refusal,
}

/// Gives a password, and meets what is expected.
#[track_caller]
fn gives(password: &str, door: Door, who: &mut Person, met: Met) {
    who.log = who.machine.journal_from_here();
    if met == Met::Open {
        return door.lets_in_without_code(who);
    }
    let mut t = door.knock(who);
    t.wait_for(&door.password_prompt(who));
    t.type_line(password);
    match met {
        Met::Led | Met::AskedAndLed => {
            if met == Met::AskedAndLed {
                t.wait_for(CODE);
                t.type_line("000000");
            }
            t.wait_for(BIND_NOW);
            t.wait_for(common::FIRST);
            who.keep_secret(&common::typed_off(&t.screen()));
        }
        Met::Remedy => {
            t.wait_for(&format!("MFA is required of {} and no device is bound.", who.name));
            t.wait_for(&format!("ask an administrator to run: mfa-enroll totp --user {}", who.name));
            t.wait_for(&door.refusal(who));
        }
        Met::Neutral => {
            t.wait_for(CODE);
            t.type_line("000000");
            t.wait_for(&door.refusal(who));
        }
        Met::KeyAlone => {
            t.wait_for("MFA is required: a key alone is not enough.");
            t.wait_for(door.turned_away());
        }
        _ => drop(t.wait_for(&door.refusal(who))),
    }
    let text = t.text();
    let led = matches!(met, Met::Led | Met::AskedAndLed);
    assert!(led || !(text.contains(BIND_NOW) || text.contains("Key:")), "{}", t.screen());
    assert!(matches!(met, Met::Neutral | Met::AskedAndLed) || !text.contains(CODE), "{}", t.screen());
    assert!(!matches!(met, Met::Neutral | Met::Refusal) || !text.contains("MFA"), "{}", t.screen());
    drop(t);
    assert!(!who.got_in(), "came in without a device");
}

/// Writes the four services' files, of which the lines of auth and account are given.
fn write_services(machine: &Machine, auth: &str, account: &str) {
    for (service, before) in [("sshd", ""), ("sudo", ""), ("su", "auth sufficient pam_rootok.so\n"), ("login", "")] {
        let text = format!(
            "{before}{auth}account required pam_nologin.so\n{account}\
             session required pam_unix.so\nsession optional pam_mfa.so\npassword required pam_deny.so\n"
        );
        machine.write(&format!("/etc/pam.d/{service}"), text);
    }
}

/// All doors of one stack, with each kind of account line: `write` puts it in place, `right` and `wrong` say what meets
/// a user who is required and has no device, by the password.
#[track_caller]
fn holds(stack: &str, write: impl Fn(&Machine, &str), right: impl Fn(Door, Line) -> Met, wrong: impl Fn(Line) -> Met) {
    let machine = machine();
    for line in Line::ALL {
        machine.sh_ok("cp -a /etc/pam.d.shipped/. /etc/pam.d");
        write(machine, &line.text());
        let name = format!("{stack}{}", line as u8);
        let mut who = Person::required(machine, &name, "");
        for door in DOORS {
            // What is explained is what the stack allows.
            let explained = who.outcome_explained(door.service());
            let as_said = match right(door, line) {
                Met::Led | Met::AskedAndLed => explained == "led through binding a device, and let in when it is bound",
                Met::Open => explained.starts_with("let in after the first factor: "),
                Met::Remedy | Met::Neutral | Met::KeyAlone | Met::Refusal => explained.starts_with("refused: "),
            };
            assert!(as_said, "{door:?} with the account line {line:?}: {explained}");

            let met = right(door, line);
            let password = who.password.clone();
            gives(&password, door, &mut who, met);
            let asked = who.count_logged(&["event=verify"]) > 0;
            assert_eq!(
                asked,
                !matches!(met, Met::Open | Met::KeyAlone),
                "{door:?} with the account line {line:?}: is the module called in auth?"
            );
            gives("wrong password", door, &mut who, wrong(line));
            assert_eq!(who.devices(), 0);
        }
        if right(Door::Ssh, line) == Met::Led {
            let mut t = Door::Ssh.up_to_the_key(&who);
            let next = bind_on(&who, &mut t);
            Door::Ssh.is_open(&who, &mut t);
            assert_eq!(who.devices(), 1);
            Door::Su.lets_in(&who, &next);
        }
    }
}

fn led_where_our_line_decides(_: Door, line: Line) -> Met {
    if line.decides() { Met::Led } else { Met::Remedy }
}

#[test]
fn nobody_is_bound_or_let_in_by_the_shipped_stack_without_the_first_factor() {
    let write = |machine: &Machine, ours: &str| {
        let shipped = machine.read("/etc/pam.d.shipped/common-account");
        let others = shipped.lines().filter(|line| !line.contains("pam_mfa.so")).collect::<Vec<_>>().join("\n");
        machine.write("/etc/pam.d/common-account", format!("{ours}{others}\n"));
    };
    holds("deb", write, led_where_our_line_decides, |_| Met::Refusal);
}

/// What authselect writes for local users, as in Fedora and RHEL; lines of ours in it or behind it.
const RHEL_AUTH: &str = "\
auth required pam_env.so
auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular
auth [default=1 ignore=ignore success=ok] pam_localuser.so
auth sufficient pam_unix.so nullok nodelay
auth required pam_deny.so
";
const RHEL_ACCOUNT: &str = "\
account required pam_unix.so
account sufficient pam_localuser.so
account sufficient pam_usertype.so issystem
account required pam_permit.so
";

/// As the manual page says: the block of the first factor ends in the shared file, and our line is behind it there.
/// pam_env ignores every login, so without pam_permit there would be nothing that says yes when the module ignores.
#[test]
fn nobody_is_bound_or_let_in_with_our_lines_in_rhels_shared_file() {
    for word in ["substack", "include"] {
        let write = |machine: &Machine, ours: &str| {
            let auth = "auth required pam_env.so\nauth [success=1 default=ignore] pam_unix.so nullok nodelay\n\
                        auth requisite pam_deny.so\nauth required pam_permit.so\n\
                        auth required pam_mfa.so stack=complete\n";
            machine.write("/etc/pam.d/password-auth", format!("{auth}{ours}{RHEL_ACCOUNT}"));
            write_services(
                machine,
                &format!("auth {word} password-auth\n"),
                &format!("account {word} password-auth\n"),
            );
        };
        holds(&format!("in{word}"), write, led_where_our_line_decides, |_| Met::Refusal);
    }
}

/// Our lines behind RHEL's shared file.
fn behind(word: &'static str, arguments: &'static str) -> impl Fn(&Machine, &str) {
    move |machine: &Machine, ours: &str| {
        machine.write("/etc/pam.d/password-auth", format!("{RHEL_AUTH}{RHEL_ACCOUNT}"));
        write_services(
            machine,
            &format!("auth {word} password-auth\nauth required pam_mfa.so {arguments}\n"),
            &format!("{ours}account include password-auth\n"),
        );
    }
}

/// A substack that fails ends nothing but itself: the module is called after a wrong password as well.
#[test]
fn behind_rhels_substack_everybody_is_asked_the_same_and_nobody_is_let_in() {
    holds("sub", behind("substack", ""), |_, _| Met::Neutral, |_| Met::Neutral);
}

/// Who writes stack=complete there says what is not so: everybody is asked the same, and told nothing. Who has the right
/// password is led through binding all the same, since the stack lets in nobody else.
#[test]
fn behind_rhels_substack_a_false_word_opens_nothing() {
    let right = |_, line: Line| if line.decides() { Met::AskedAndLed } else { Met::Neutral };
    holds("lie", behind("substack", "stack=complete"), right, |_| Met::Neutral);
}

/// A sufficient pam_unix ends an included file's stack and all behind it: the module is never called after the right
/// password, only after a wrong one. sshd's account phase then takes the login for one by key alone, and refuses where
/// our line is there; the other services cannot be told from a sudo that remembers, and let in. There is no help for
/// that but another stack.
#[test]
fn behind_rhels_include_the_module_is_passed_by() {
    let right = |door, line: Line| if door == Door::Ssh && line.decides() { Met::KeyAlone } else { Met::Open };
    holds("inc", behind("include", ""), right, |_| Met::Neutral);
}

/// Arch's system-auth, with our lines at its ends.
#[test]
fn nobody_is_bound_or_let_in_with_our_lines_at_the_ends_of_archs() {
    let write = |machine: &Machine, ours: &str| {
        let text = format!(
            "auth required pam_faillock.so preauth deny=99 nodelay
-auth [success=2 default=ignore] pam_systemd_home.so
auth [success=1 default=bad] pam_unix.so try_first_pass nullok nodelay
auth [default=die] pam_faillock.so authfail deny=99 nodelay
auth optional pam_permit.so
auth required pam_env.so
auth required pam_faillock.so authsucc deny=99 nodelay
auth required pam_mfa.so stack=complete
-account [success=1 default=ignore] pam_systemd_home.so
account required pam_unix.so
account optional pam_permit.so
account required pam_time.so
{ours}"
        );
        machine.write("/etc/pam.d/system-auth", text);
        machine.write("/etc/pam.d/system-login", "auth include system-auth\naccount include system-auth\n");
        write_services(machine, "auth include system-login\n", "account include system-login\n");
    };
    holds("arch", write, led_where_our_line_decides, |_| Met::Refusal);
}

/// A program that asks for the first factor and never enters the account phase: whatever it is called, it cannot be
/// where somebody is led to.
#[test]
fn a_service_that_skips_the_account_phase_refuses_who_is_required() {
    static LOCKED: LazyLock<Machine> =
        LazyLock::new(|| common::enabled(Machine::build().debian_packages("pamtester,rsync").package().boot()));
    LOCKED.write("/etc/pam.d/locker", "@include common-auth\naccount required pam_permit.so\n");
    let who = Person::required(&LOCKED, "skip", "");
    let is_refused_to = |caller: &str| {
        let mut t = LOCKED.terminal().user(caller).run("exec pamtester locker skip authenticate");
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t.wait_for("MFA is required of skip and no device is bound.\n");
        // A screen locker has room for the first line.
        if caller == "root" {
            t.wait_for("Bind one by mfa-enroll totp, or ask an administrator to run: mfa-enroll totp --user skip\n");
        }
        assert_eq!(t.exit_code(), 1);
    };
    // Root, as a display manager; and the user, as a screen locker.
    is_refused_to("root");
    who.logged(&["event=verify", "service=locker ", "caller=0", "verdict=refused"]);
    is_refused_to("skip");
    who.logged(&["event=verify", "claimed-service=locker ", "verdict=refused"]);
    // Who puts it on the list sends nobody past: the account phase has no line of ours.
    common::policy_file(&LOCKED, "/etc/mfa/mfa.toml", "[enroll]\nservices = [\"locker\"]\n");
    assert!(who.outcome_explained("locker").starts_with("refused: binding inside locker is not safe: "));
    is_refused_to("root");
    assert!(!who.has_record(), "something was owed");
}
