//! The socket and the service of systemd: logins go by them, and go on without them.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, shipped};
use e2e::Machine;

#[test]
fn a_fresh_installation_serves_logins_by_the_socket() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);
    let active = MACHINE.sh_ok("systemctl is-active mfa-helper.socket; systemctl is-enabled mfa-helper.socket");
    assert_eq!(active, "active\nenabled\n");
    assert_eq!(MACHINE.sh_ok("stat -c '%a %U' /run/mfa /run/mfa/helper.sock"), "755 root\n666 root\n");
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
