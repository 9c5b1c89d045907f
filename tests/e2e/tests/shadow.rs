//! A host whose shadow has the mode 0000, as Fedora's and RHEL's: the service of the package proves the first factor all
//! the same, and nothing else of it can read what no mode lets read.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{Door, Person, shipped};
use e2e::{Machine, Terminal};

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = shipped();
    machine.write(
        "/etc/pam.d/mfa-enroll",
        "auth required pam_faillock.so preauth deny=3
auth [success=1 default=bad] pam_unix.so try_first_pass nodelay
auth [default=die] pam_faillock.so authfail deny=3
auth required pam_faillock.so authsucc deny=3
account required pam_faillock.so
account required pam_unix.so
",
    );
    machine
});

fn begin(who: &Person, verb: &str) -> Terminal {
    MACHINE.sh_ok("chmod 0000 /etc/shadow");
    MACHINE.terminal().user(&who.name).run(&format!("exec mfa-enroll {verb}"))
}

/// The tally of pam_faillock: a line for each wrong answer, below two of a table's head.
fn tally(who: &Person) -> usize {
    MACHINE.sh_ok(&format!("faillock --user {}", who.name)).lines().filter(|line| line.ends_with(" V")).count()
}

/// CapEff and CapPrm of all processes of the service, in the order of their pids.
fn rights() -> Vec<[bool; 2]> {
    let group = "/sys/fs/cgroup/system.slice/mfa-helper.service/cgroup.procs";
    let text =
        MACHINE.sh_ok(&format!("for pid in $(sort -n {group}); do grep -E '^Cap(Eff|Prm)' /proc/$pid/status; done"));
    let set = |line: &str| {
        let word = line.split_whitespace().nth(1).unwrap_or_default();
        u64::from_str_radix(word, 16).expect("a set of capabilities") & (1 << 2) != 0
    };
    let (mut permitted, mut effective) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if line.starts_with("CapPrm") { permitted.push(set(line)) } else { effective.push(set(line)) }
    }
    effective.into_iter().zip(permitted).map(|(effective, permitted)| [effective, permitted]).collect()
}

#[test]
fn a_first_factor_is_proved_by_a_shadow_of_mode_0000_or_nothing_is_counted() {
    let who = Person::new(&MACHINE, "sheila");
    let (other, _) = Person::bound(&MACHINE, "sigrid");
    let mut t = begin(&who, "totp --key-only");
    t.wait_for("Password: ");
    assert_eq!(rights(), [[false, true], [false, false], [true, true]]);
    t.type_line("not the right one");
    t.wait_for("That does not prove who you are.");
    assert_eq!(t.exit_code(), 1);
    drop(t);
    assert_eq!(tally(&who), 1);

    let mut t = begin(&who, "totp --key-only");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("First verification code (");
    assert_eq!(tally(&who), 0, "a right answer clears it");
    // A login at its prompt, and what waits for a device to be bound: neither can read it.
    let login = Door::Sudo.up_to_the_code(&other);
    assert_eq!(rights(), [[false, true], [false, false], [false, false]]);
    drop(login);
    t.send("\x03");
    assert_eq!(t.exit_code(), 1);
    drop(t);

    // Where somebody takes the capability away, nobody is asked, and nothing is counted.
    let unit = MACHINE
        .sh_ok("sed -n 's/^CapabilityBoundingSet=CAP_DAC_READ_SEARCH //p' /usr/lib/systemd/system/mfa-helper.service");
    MACHINE.sh_ok("mkdir /etc/systemd/system/mfa-helper.service.d");
    MACHINE.write(
        "/etc/systemd/system/mfa-helper.service.d/less.conf",
        format!("[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet={unit}"),
    );
    MACHINE.sh_ok("systemctl daemon-reload; systemctl restart mfa-helper.service");
    for _ in 0..4 {
        let mut t = begin(&who, "totp --key-only");
        t.wait_for("MFA is unavailable; the system log says why.");
        assert!(!t.text().contains("assword: "), "{}", t.screen());
        assert_eq!(t.exit_code(), 5);
    }
    assert_eq!(tally(&who), 0);
    who.logged(&["event=totp", "verdict=unavailable", "/etc/shadow cannot be read"]);
}
