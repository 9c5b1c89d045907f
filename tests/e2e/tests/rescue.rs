//! The last way back in, of README.md: a shell in the place of init, where nothing is mounted and nothing runs.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{Door, Person, shipped};
use e2e::Machine;

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

/// Runs it as such a shell would: no /proc, no socket of the helper or of the log, no environment.
fn in_the_place_of_init(script: &str) {
    let bare = "umount --lazy /proc; mount -t tmpfs none /run";
    let gone = "[ ! -e /proc/self ] && [ ! -e /run/mfa ] && [ ! -e /dev/log ]";
    MACHINE.sh_ok(&format!("env --ignore-environment unshare --mount sh -euc '{bare}; {gone}; {script}'"));
}

#[test]
fn a_shell_in_the_place_of_init_disables_a_device_and_then_the_module() {
    let (bound, _) = Person::bound(&MACHINE, "erik");
    let required = Person::required(&MACHINE, "fritz", "enroll = \"by-admin\"");
    drop(Door::Ssh.up_to_the_code(&bound));
    in_the_place_of_init("mfa-enroll disable --user erik");
    assert_eq!(bound.devices(), 0);
    Door::Ssh.lets_in_without_code(&bound);

    let mut t = Door::Login.knock(&required);
    t.wait_for(&Door::Login.password_prompt(&required));
    t.type_line(&required.password);
    t.wait_for("MFA is required of fritz and no device is bound.");
    drop(t);
    in_the_place_of_init("pam-auth-update --disable mfa");
    for door in [Door::Login, Door::Ssh] {
        door.lets_in_without_code(&required);
    }
}
