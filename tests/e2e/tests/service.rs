//! The socket and the service of systemd: logins go by them, and go on without them.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, shipped};
use e2e::Machine;

#[test]
fn a_fresh_installation_serves_logins_by_the_socket() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    assert_eq!(MACHINE.sh_ok(&format!("systemctl is-active {SOCKETS}; systemctl is-enabled {SOCKETS}")), BOTH_ARE_ON);
    let modes = MACHINE.sh_ok("stat -c '%a %U' /run/mfa /run/mfa/helper.sock /run/mfa/root.sock");
    assert_eq!(modes, "755 root\n666 root\n600 root\n");
    let doors = [("siggi", Door::Ssh), ("silke", Door::Sudo), ("simon", Door::Su), ("sonja", Door::Login)];
    let bound = doors.map(|(name, door)| (Person::bound(&MACHINE, name), door));
    // Nobody can start one now, so whoever judges these codes came with the listener that runs.
    MACHINE.sh_ok("systemctl start mfa-helper.service; mv /usr/libexec/mfa-helper /root");
    for ((who, app), door) in &bound {
        door.lets_in(who, &app.good);
    }
    // The listener is one small process, and no conversation is left.
    assert_eq!(MACHINE.sh_ok("systemctl show --property=NRestarts --value mfa-helper; pgrep -c mfa-helper"), "0\n1\n");
    assert_eq!(MACHINE.sh("systemctl --failed --no-legend").stdout, "");
}

const LIST: &str = "cd /run/mfa && ls -d *.sock 2>/dev/null || true";
const SOCKETS: &str = "mfa-helper.socket mfa-helper-root.socket";
const BOTH_ARE_ON: &str = "active\nactive\nenabled\nenabled\n";

/// What there was before root had a socket of its own: a service that runs, with one socket as its standard input.
#[test]
fn an_upgrade_from_one_socket_ends_with_two_and_breaks_no_login() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, app) = Person::bound(&MACHINE, "selma");
    MACHINE.sh_ok(
        "systemctl stop mfa-helper.socket mfa-helper.service; cd /usr/lib/systemd/system; \
         find /etc/systemd/system /var/lib/systemd/deb-systemd-helper-enabled -name '*mfa-helper-root*' -delete; \
         sed -i '/mfa-helper-root/d' /var/lib/systemd/deb-systemd-helper-enabled/mfa-helper.socket.dsh-also; \
         rm mfa-helper-root.socket; sed -i '/^Wants=mfa-helper-root/d; /^Also=/d' mfa-helper.socket; \
         sed -i 's/^StandardInput=.*/StandardInput=socket/; /^Sockets=/d; s/ mfa-helper-root.socket//' mfa-helper.service; \
         systemctl daemon-reload; systemctl enable --now mfa-helper.socket; systemctl start mfa-helper.service",
    );
    assert_eq!(MACHINE.sh(LIST).stdout, "helper.sock\n");
    MACHINE.write("/root/mfa.deb", std::fs::read(e2e::built_package()).expect("the package"));
    let mut waiting = Door::Su.up_to_the_code(&who);
    MACHINE.sh_ok("dpkg --install /root/mfa.deb");
    waiting.type_line(&app.good);
    Door::Su.is_open(&who, &mut waiting);
    assert_eq!(MACHINE.sh_ok(&format!("systemctl is-active {SOCKETS}; systemctl is-enabled {SOCKETS}")), BOTH_ARE_ON);
    // Nobody can start one now.
    let app = who.rebind();
    MACHINE.sh_ok("systemctl start mfa-helper.service; mv /usr/libexec/mfa-helper /root");
    Door::Su.lets_in(&who, &app.good);
}

/// The commands for the one that administrators know are for both.
#[test]
fn roots_socket_comes_and_goes_with_the_other() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let is = |what: &str| MACHINE.sh_ok(&format!("systemctl {what} {SOCKETS} || true; {LIST}"));
    MACHINE.sh_ok("systemctl stop mfa-helper.socket mfa-helper.service");
    assert_eq!(is("is-active"), "inactive\ninactive\n");
    MACHINE.sh_ok("systemctl start mfa-helper.socket");
    assert_eq!(is("is-active"), "active\nactive\nhelper.sock\nroot.sock\n");
    MACHINE.sh_ok("systemctl start mfa-helper.service; systemctl restart mfa-helper.socket");
    assert_eq!(is("is-active"), "active\nactive\nhelper.sock\nroot.sock\n");
    MACHINE.sh_ok("systemctl disable mfa-helper.socket");
    assert_eq!(is("is-enabled"), "disabled\ndisabled\nhelper.sock\nroot.sock\n");
    MACHINE.sh_ok("systemctl enable mfa-helper.socket");
    assert_eq!(is("is-enabled"), "enabled\nenabled\nhelper.sock\nroot.sock\n");
}

/// Where /proc hides the processes of others, the service would take everybody for elsewhere.
#[test]
fn the_service_sees_its_callers_whatever_proc_hides() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    MACHINE.user("seen", "pw-seen");
    // As sudo is: root, with all of root's capabilities, for a user; and as a locker is.
    MACHINE.sh_ok("systemd-run --unit roots sleep 600; systemd-run --unit users --uid seen sleep 600");
    let drop_in = "[Service]\nExecStartPost=/bin/sh -c 'for unit in roots users; do read pid <\"/var/lib/$$unit\"; \
                   for file in cgroup stat sessionid uid_map; do cat /proc/$$pid/$$file; done; done >/var/lib/seen 2>&1'\n";
    MACHINE.sh_ok(
        "mkdir /etc/systemd/system/mfa-helper.service.d; for unit in roots users; do \
                   systemctl show --property=MainPID --value $unit >/var/lib/$unit; done",
    );
    MACHINE.write("/etc/systemd/system/mfa-helper.service.d/probe.conf", drop_in);
    MACHINE.sh_ok("systemctl daemon-reload");
    for options in ["hidepid=0", "hidepid=2", "hidepid=2,gid=nogroup", "hidepid=1,gid=nogroup"] {
        let numeric = options.replace("nogroup", "65534");
        MACHINE.sh_ok(&format!("mount -o remount,{numeric} /proc; systemctl restart mfa-helper.service"));
        let hides = MACHINE.sh("runuser --user seen -- cat /proc/1/cgroup").code != 0;
        assert_eq!(hides, options != "hidepid=0", "{options}");
        let seen = MACHINE.read("/var/lib/seen");
        assert!(
            !seen.contains("cat:") && seen.contains("roots.service") && seen.contains("users.service"),
            "{options}: {seen}"
        );
    }
}

#[test]
fn logins_go_on_when_the_service_is_stopped_killed_masked_or_restarted() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, mut app) = Person::bound(&MACHINE, "sabina");
    for trouble in [
        "systemctl stop mfa-helper.service",
        "systemctl kill --kill-whom=main --signal=KILL mfa-helper.service",
        "for n in $(seq 20); do systemctl restart mfa-helper.service; done",
        "for n in $(seq 20); do systemctl restart mfa-helper.service mfa-helper.socket; done",
        "systemctl stop mfa-helper.socket mfa-helper.service",
        "systemctl mask --now mfa-helper.socket mfa-helper.service",
        "systemctl unmask mfa-helper.socket mfa-helper.service; systemctl start mfa-helper.socket; mv /usr/libexec/mfa-helper /root; \
         systemctl kill --signal=KILL mfa-helper.service; cp /root/mfa-helper /usr/libexec",
    ] {
        MACHINE.sh_ok(trouble);
        Door::Sudo.lets_in(&who, &app.good);
        MACHINE.sh_ok("runuser --user sabina -- sudo -k");
        app = who.rebind();
    }
    assert_eq!(MACHINE.sh_ok("systemctl is-active mfa-helper.socket"), "active\n");
}

#[test]
fn a_store_that_is_made_anew_is_seen_by_the_service_that_runs() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, _) = Person::bound(&MACHINE, "stefan");
    drop(Door::Su.up_to_the_code(&who));
    MACHINE
        .sh_ok("umask 077; rm -rf /var/lib/mfa; mkdir -p /var/lib/mfa/users; echo 'mfa-store 1' >/var/lib/mfa/FORMAT");
    let app = who.bind();
    MACHINE.sh_ok("mv /usr/libexec/mfa-helper /root");
    Door::Su.lets_in(&who, &app.good);
}

/// Sites that keep the store elsewhere have no drop-in for the service when they upgrade to it.
#[test]
fn a_store_that_the_service_cannot_write_to_is_left_to_helpers_that_logins_start() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, app) = Person::bound(&MACHINE, "stella");
    MACHINE.sh_ok(
        "cp -a /var/lib/mfa /srv/mfa; mv /var/lib/mfa/users /var/lib/mfa/before; mkdir -m 700 /var/lib/mfa/users",
    );
    common::policy_file(&MACHINE, "/etc/mfa/mfa.toml", "[store]\npath = \"/srv/mfa\"\n");
    let mut t = Door::Su.up_to_the_code(&who);
    t.type_line(&app.good);
    Door::Su.is_open(&who, &mut t);
    MACHINE.sh_ok("journalctl --quiet --grep='the service cannot write to /srv/mfa/users'");
    // It finds that out when it starts as well, before anybody has lost time.
    let log = MACHINE.journal_from_here();
    MACHINE.sh_ok("systemctl restart mfa-helper.service");
    log.wait_for(|text| {
        text.contains("event=listener reason=\"service-store: the service cannot write to /srv/mfa/users")
    });
}

#[test]
fn a_service_that_cannot_start_neither_loops_nor_leaves_the_socket_dead() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, app) = Person::bound(&MACHINE, "stine");
    MACHINE.sh_ok("systemctl stop mfa-helper.service; mv /usr/libexec/mfa-helper /root");
    // root's su asks in the account phase only; each of these knocks.
    MACHINE.sh_ok("for n in $(seq 30); do su stine -c true & done; wait");
    assert_eq!(MACHINE.sh_ok("systemctl is-active mfa-helper.socket"), "active\n");
    MACHINE.sh_ok("mv /root/mfa-helper /usr/libexec");
    Door::Su.lets_in(&who, &app.good);
}

#[test]
fn a_login_that_waits_at_its_prompt_outlives_an_upgrade() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let (who, app) = Person::bound(&MACHINE, "svenja");
    MACHINE.write("/root/mfa.deb", std::fs::read(e2e::built_package()).expect("the package"));
    let mut t = Door::Su.up_to_the_code(&who);
    MACHINE.sh_ok("dpkg --install /root/mfa.deb");
    assert!(t.text().contains(CODE));
    t.type_line(&app.good);
    Door::Su.is_open(&who, &mut t);
}

/// What the unit takes from the helper, it does not need: a login by it works, and systemd agrees that little is left.
#[test]
fn the_service_is_confined() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let exposure = MACHINE.sh_ok("systemd-analyze security --no-pager mfa-helper.service | tail -1");
    let points: f32 = exposure.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    assert!(points < 3.0, "{exposure}");
}
