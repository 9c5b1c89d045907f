//! The life of the package on a machine: nothing changes until it is switched on, and nothing is left
//! when it is switched off.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod common;

use std::{path::Path, process::Command, sync::LazyLock};

use common::{Door, Person};
use e2e::{Machine, Rootfs, built_package, suite};

const DOORS: [Door; 6] = [Door::Ssh, Door::Sudo, Door::SudoI, Door::Su, Door::SuDash, Door::Login];

fn stacks(machine: &Machine) -> String {
    machine.sh_ok("cd /etc/pam.d && sha256sum *")
}

/// What the shell script checks in a plain root: files, modes, stacks to the byte, upgrade, purge.
#[test]
fn life_of_the_package_in_a_plain_root() {
    let rootfs = Rootfs::debian(&suite());
    let script = r#"
        mount -t tmpfs tmpfs /mnt
        mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
        mount -t proc proc /mnt/root/proc
        mount --bind /dev /mnt/root/dev
        sh "$2" "$3" /mnt/root"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-euc", script, "sh", &rootfs.lowerdir()])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/test-install.sh"))
        .arg(built_package())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().count() > 30, "{said}");
}

/// Installed, and bound, but not switched on: every login is as it was without the package.
#[test]
fn installing_changes_nobodys_login() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
        let machine = Machine::build().package().boot();
        machine.user("visitor", "pw-visitor");
        machine
    });
    let without = Machine::build().boot();
    let theirs = MACHINE.sh_ok("cd /etc/pam.d && sha256sum $(ls | grep -v '^mfa-enroll$')");
    assert_eq!(theirs, stacks(&without));

    let unbound = Person::new(&MACHINE, "ulla");
    let (bound, _app) = Person::bound(&MACHINE, "bert");
    for door in DOORS {
        door.lets_in_without_code(&unbound);
        door.lets_in_without_code(&bound);
    }
    assert_eq!(bound.count_logged(&["event=verify"]) + bound.count_logged(&["event=account"]), 0);
    assert_eq!(unbound.count_logged(&[]), 0);
}

/// On, off, on, removed, installed again, purged: what is asked follows, and the binding stays until
/// it is purged. What was on when the package was removed is on when it is back.
#[test]
fn switching_on_and_off_and_removing() {
    static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
        let machine = Machine::build().package().boot();
        machine.user("visitor", "pw-visitor");
        machine
    });
    let (who, app) = Person::bound(&MACHINE, "carla");
    let off = stacks(&MACHINE);

    MACHINE.sh_ok("pam-auth-update --enable mfa");
    // The line of a file that starts so, and where it is among the lines that count.
    let line = |file: &str, start: &str| {
        let text = MACHINE.read(&format!("/etc/pam.d/{file}"));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines = text.lines().map(words).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.enumerate().find(|(_, line)| line.contains(start)).unwrap_or_else(|| panic!("{start}: {text}"))
    };
    let (permit, _) = line("common-auth", "pam_permit.so");
    assert_eq!(line("common-auth", "pam_mfa.so"), (permit + 1, "auth required pam_mfa.so stack=complete".into()));
    // pam_unix ends this stack when the password has expired, so ours is the first.
    assert_eq!(line("common-account", "pam_mfa.so"), (0, "account required pam_mfa.so".into()));
    assert_eq!(
        MACHINE.sh_ok("grep -rl '^[^#]*pam_mfa' /etc/pam.d | sort"),
        ["account", "auth", "session", "session-noninteractive"]
            .map(|file| format!("/etc/pam.d/common-{file}\n"))
            .concat()
    );
    for file in ["common-session", "common-session-noninteractive"] {
        assert_eq!(line(file, "pam_mfa.so").1, "session optional pam_mfa.so", "{file}");
    }
    let on = stacks(&MACHINE);
    Door::Ssh.lets_in(&who, &app.good);

    MACHINE.sh_ok("pam-auth-update --disable mfa");
    assert_eq!(stacks(&MACHINE), off);
    Door::Ssh.lets_in_without_code(&who);

    MACHINE.sh_ok("pam-auth-update --enable mfa");
    assert_eq!(stacks(&MACHINE), on);
    drop(Door::Su.up_to_the_code(&who));

    // A line of one's own would refuse everybody once the module is gone; until then it asks, as the profile does.
    MACHINE.sh_ok("sed -i '1i auth required pam_mfa.so' /etc/pam.d/su-l");
    let by_hand = stacks(&MACHINE);
    let refused = MACHINE.sh("dpkg --remove libpam-mfa 2>&1");
    assert_ne!(refused.code, 0);
    assert!(refused.stdout.contains("NOT removed") && refused.stdout.contains("\n/etc/pam.d/su-l\n"), "{refused:?}");
    assert_eq!(stacks(&MACHINE), by_hand, "nothing is changed");
    drop(Door::Su.up_to_the_code(&who));
    MACHINE.sh_ok("sed -i 1d /etc/pam.d/su-l");

    let removed = MACHINE.sh_ok("dpkg --remove libpam-mfa 2>&1");
    assert!(removed.contains("accounts that have bound a device: 1"), "{removed}");
    assert_eq!(stacks(&MACHINE), off);
    Door::Ssh.lets_in_without_code(&who);
    assert!(who.has_record(), "removing keeps the bindings");

    MACHINE.write("/root/mfa.deb", std::fs::read(built_package()).expect("the package"));
    MACHINE.sh_ok("dpkg --install /root/mfa.deb");
    assert_eq!(stacks(&MACHINE), on, "installing again puts back what removing took");
    let mut t = Door::Ssh.up_to_the_code(&who);
    t.type_line(&app.good);
    t.wait_for("That code was used already.");
    drop(t);

    let purged = MACHINE.sh_ok("dpkg --purge libpam-mfa 2>&1");
    assert!(purged.contains("destroying bound devices: 1 (accounts: 1)"), "{purged}");
    assert_eq!(
        stacks(&MACHINE),
        off.lines().filter(|l| !l.contains("mfa-enroll")).map(|l| format!("{l}\n")).collect::<String>()
    );
    assert_eq!(
        MACHINE
            .sh("ls -d /var/lib/mfa /var/lib/mfa-package /etc/mfa /usr/libexec/mfa-helper /usr/bin/mfa-enroll")
            .stdout,
        ""
    );
    Door::Ssh.lets_in_without_code(&who);
    MACHINE.sh_ok("dpkg --install /root/mfa.deb");
    assert_eq!(stacks(&MACHINE), off, "what was purged is forgotten");
    MACHINE.sh_ok("pam-auth-update --enable mfa");
    Door::Su.lets_in_without_code(&who);
}
