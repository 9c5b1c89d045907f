//! What fail2ban makes of wrong codes, with its own filter for sshd and with ours.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Person};
use e2e::{Machine, Terminal};

/// The jails read the journal, and ban addresses of this host as well.
const JAILS: &str = "[DEFAULT]\nignoreself = false\nbanaction = nftables\nbanaction_allports = nftables[type=allports]\n\
                     [sshd]\nenabled = true\nbackend = systemd\nmaxretry = 50\n";

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let packages = "fail2ban,python3-systemd,nftables,pamtester";
    let setup = format!("cat >/etc/fail2ban/jail.d/zz-test.conf <<'.'\n{JAILS}\n.");
    common::enabled(Machine::build().debian_packages(packages).package().setup(&setup).boot())
});

/// From another machine, so to speak: an address of its own.
fn knock(who: &Person, address: &str) -> Terminal {
    let ssh = "exec ssh -o PreferredAuthentications=keyboard-interactive -o NumberOfPasswordPrompts=1";
    MACHINE.terminal().user("visitor").run(&format!("{ssh} {}@{address}", who.name))
}

#[track_caller]
fn gives(who: &Person, address: &str, code: &str) -> Terminal {
    let mut t = knock(who, address);
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(CODE);
    t.type_line(code);
    t
}

/// Gives the password and `code`, which is refused; what was shown.
#[track_caller]
fn refused(who: &Person, address: &str, code: &str) -> String {
    let mut t = gives(who, address, code);
    t.wait_for("Permission denied");
    t.text().to_string()
}

/// The same of a code that is asked for again, which is given once more.
#[track_caller]
fn refused_twice(who: &Person, address: &str, code: &str, says: &str) -> String {
    let mut t = gives(who, address, code);
    t.wait_for(says);
    t.wait_for(CODE);
    t.type_line(code);
    t.wait_for("Permission denied");
    t.text().to_string()
}

/// How often a filter finds an address in the journal.
fn found(filter: &str, address: &str) -> usize {
    MACHINE.sh_ok("journalctl --sync");
    let found = MACHINE.sh_ok(&format!("fail2ban-regex -o ip systemd-journal {filter}"));
    found.lines().filter(|ip| *ip == address).count()
}

fn banned() -> String {
    MACHINE.sh_ok("fail2ban-client get mfa banip")
}

/// sshd logs its line of a failed login only where no text is left to show; see decision 5.
#[test]
fn the_filter_for_sshd_counts_each_wrong_code_and_no_used_one() {
    let (who, app) = Person::bound(&MACHINE, "berta");
    let line = format!("error: PAM: Authentication failure for {} from 127.0.0.1", who.name);
    for wrong in 1..=3 {
        let shown = refused(&who, "127.0.0.1", &app.wrong());
        assert!(!shown.contains("wrong"), "{shown}");
        who.log.wait_for(|logged| logged.contains(&line));
        assert_eq!(found("sshd", "127.0.0.1"), wrong);
    }
    let _shown = refused_twice(&who, "127.0.0.1", &app.burnt, "That code was used already. Wait for the next one.");
    assert_eq!(found("sshd", "127.0.0.1"), 3);
}

#[test]
fn wrong_codes_ban_the_address_they_come_from_and_used_or_malformed_ones_do_not() {
    assert_eq!(MACHINE.sh("fail2ban-client status mfa").code, 255, "the jail is off as it is shipped");
    MACHINE.write("/etc/fail2ban/jail.d/mfa.local", "[mfa]\nenabled = true\nmaxretry = 3\nignoreip = 127.0.0.1\n");
    MACHINE.sh_ok("fail2ban-client reload");
    let (who, app) = Person::bound(&MACHINE, "clara");
    for (code, says) in [(app.burnt.as_str(), "was used already"), ("12345", "is not a code")] {
        for _ in 0..2 {
            let _shown = refused_twice(&who, "::1", code, says);
        }
    }
    for _ in 0..2 {
        let _shown = refused(&who, "::1", &app.wrong());
    }
    who.logged(&["rhost=::1", "reason=\"code used already\""]);
    who.logged(&["rhost=::1", "reason=\"not a code\""]);
    assert_eq!(banned().trim(), "", "two wrong codes, of three that are one too many");
    // The ban may be there before the answer is.
    let _cut = gives(&who, "::1", &app.wrong());
    let wait = "for i in $(seq 100); do fail2ban-client get mfa banip | grep -qxF ::1 && exit; sleep 0.2; done; exit 1";
    assert_eq!(MACHINE.sh(wait).code, 0, "{}", MACHINE.sh("fail2ban-client status mfa; tail /var/log/fail2ban.log"));
    assert!(MACHINE.sh_ok("nft list ruleset").contains("::1"));
    let mut t = knock(&who, "::1");
    t.wait_for("refused");
    MACHINE.sh_ok("fail2ban-client unban --all");
    let mut t = knock(&who, "::1");
    t.wait_for("Password: ");
}

/// The login program names the host and, after the person, the user.
#[test]
fn nobody_has_another_address_banned_by_a_name() {
    let forged =
        "eve service=sshd rhost=192.0.2.9 tty=ssh rule=none factor=totp caller=0 verdict=refused reason=\"wrong code\"";
    MACHINE.write("/etc/pam.d/open", "auth required pam_mfa.so\naccount required pam_permit.so\n");
    MACHINE.sh_ok(&format!("printf '%s\\n' '{forged}:x:4999:4999::/:/bin/sh' >>/etc/passwd"));
    MACHINE.sh_ok(&format!("getent passwd '{forged}'"));
    let pair = MACHINE.sh_ok(&format!("mfa-enroll totp --user '{forged}' --json"));
    let pair: serde_json::Value = serde_json::from_str(&pair).expect("JSON");
    let codes = e2e::oath::Codes::now(pair["secret"].as_str().expect("a key"));
    MACHINE.sh_ok(&format!("mfa-enroll confirm --user '{forged}' {} {}", codes.previous, codes.present));
    let log = MACHINE.journal_from_here();
    for (rhost, ruser) in [
        ("198.51.100.7", "x"),
        ("192.0.2.9 x", "x"),
        ("192.0.2.9.example", "x"),
        ("localhost", "x"),
        ("x", "x rhost=192.0.2.9 "),
    ] {
        let pamtester = format!("pamtester -I 'rhost={rhost}' -I 'ruser={ruser}' open '{forged}' authenticate");
        let mut t = MACHINE.terminal().run(&pamtester);
        t.wait_for(CODE);
        t.type_line("000000");
        t.wait_for("Second factor refused.");
        log.wait_for(|line| {
            line.contains("reason=\"wrong code") && line.contains(&format!("rhost={rhost}"))
                || line.contains(&format!("rhost=\"{rhost}\""))
        });
    }
    assert_eq!(found("mfa", "198.51.100.7"), 1, "{}", log.text());
    assert_eq!(found("mfa", "192.0.2.9"), 0, "{}", log.text());
    let names = MACHINE.sh_ok("fail2ban-regex -o ip systemd-journal mfa");
    assert!(names.lines().all(|ip| ["198.51.100.7", "127.0.0.1", "::1"].contains(&ip)), "{names}");
    // A line of a user's own, who can call himself as the helper does.
    MACHINE.sh_ok("journalctl --sync");
    let line = log.text().lines().find(|line| line.contains("rhost=198.51.100.7")).expect("seen").to_owned();
    let (_, line) = line.split_once("event=").expect("ours");
    MACHINE.write("/tmp/line", format!("event={line}"));
    MACHINE.sh_ok("runuser -u visitor -- logger -t mfa-helper -p authpriv.warning -f /tmp/line");
    assert_eq!(found("mfa", "198.51.100.7"), 1, "a user's word");
    MACHINE.sh_ok("logger -t mfa-helper -p authpriv.warning -f /tmp/line");
    assert_eq!(found("mfa", "198.51.100.7"), 2, "root's");
}
