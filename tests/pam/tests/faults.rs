//! The store damaged, closed, full or read-only: never in, never hanging, and the log names what is wrong.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, SUCCESS};
use pam_tests::{Bound, Log, System, add_user, run};

/// What the helper logged about its last refusal.
fn reason(log: &Log) -> String {
    log.lines_with("verdict=unavailable").pop().unwrap_or_default()
}

/// How the record is damaged.
type Damage = fn(&Bound);

#[test]
fn a_record_that_cannot_be_trusted_lets_nobody_in_and_is_named() {
    let bound = Bound::fresh("damaged");
    let saved = bound.saved();
    let table: &[(&str, Damage, &str)] = &[
        ("FORMAT missing", |b| fs::remove_file(b.system.store().join("FORMAT")).unwrap(), "FORMAT is missing"),
        (
            "FORMAT of another version",
            |b| fs::write(b.system.store().join("FORMAT"), "mfa-store 2\n").unwrap(),
            "FORMAT was made by another version",
        ),
        (
            "FORMAT a folder",
            |b| {
                fs::remove_file(b.system.store().join("FORMAT")).unwrap();
                fs::create_dir(b.system.store().join("FORMAT")).unwrap();
            },
            "FORMAT is a link, a FIFO, a device or a folder",
        ),
        ("store missing", |b| fs::remove_dir_all(b.system.store()).unwrap(), "/var/lib/mfa is missing"),
        (
            "users missing",
            |b| fs::remove_dir_all(b.system.store().join("users")).unwrap(),
            "/var/lib/mfa/users is missing",
        ),
        ("credentials garbage", |b| fs::write(b.file("credentials"), "garbage").unwrap(), "credentials is damaged"),
        ("credentials empty", |b| fs::write(b.file("credentials"), "").unwrap(), "credentials is damaged"),
        (
            "credentials cut off",
            |b| {
                let whole = fs::read(b.file("credentials")).unwrap();
                fs::write(b.file("credentials"), &whole[..whole.len() / 2]).unwrap();
            },
            "credentials is damaged",
        ),
        (
            "credentials gone",
            |b| fs::remove_file(b.file("credentials")).unwrap(),
            "credentials that belong to it are gone",
        ),
        (
            "credentials a symbolic link",
            |b| {
                fs::rename(b.file("credentials"), "/tmp/linked").unwrap();
                symlink("/tmp/linked", b.file("credentials")).unwrap();
            },
            "credentials is a link",
        ),
        (
            "credentials a FIFO",
            |b| {
                fs::remove_file(b.file("credentials")).unwrap();
                run("mkfifo", &["-m", "600", b.file("credentials").to_str().unwrap()]);
            },
            "credentials is a link, a FIFO",
        ),
        (
            "credentials a folder",
            |b| {
                fs::remove_file(b.file("credentials")).unwrap();
                fs::create_dir(b.file("credentials")).unwrap();
            },
            "credentials is a link, a FIFO, a device or a folder",
        ),
        (
            "credentials a device",
            |b| {
                fs::remove_file(b.file("credentials")).unwrap();
                run("mknod", &["-m", "600", b.file("credentials").to_str().unwrap(), "c", "1", "5"]);
            },
            "credentials",
        ),
        (
            "credentials of another owner",
            |b| chown(b.file("credentials"), Some(1), None).unwrap(),
            "credentials belongs to uid 1",
        ),
        (
            "credentials open to others",
            |b| fs::set_permissions(b.file("credentials"), PermissionsExt::from_mode(0o644)).unwrap(),
            "credentials has mode 0644",
        ),
        ("state garbage", |b| fs::write(b.file("state"), vec![0xa5; 8192]).unwrap(), "state is damaged"),
        ("state zeros", |b| fs::write(b.file("state"), vec![0; 8192]).unwrap(), "state is damaged"),
        ("state empty", |b| fs::write(b.file("state"), "").unwrap(), "state is damaged"),
        (
            "state cut off",
            |b| {
                let whole = fs::read(b.file("state")).unwrap();
                fs::write(b.file("state"), &whole[..4096]).unwrap();
            },
            "state is damaged",
        ),
        (
            "state a FIFO",
            |b| {
                fs::remove_file(b.file("state")).unwrap();
                run("mkfifo", &["-m", "600", b.file("state").to_str().unwrap()]);
            },
            "state is a link, a FIFO",
        ),
        (
            "the user's folder writable by others",
            |b| fs::set_permissions(b.file(""), PermissionsExt::from_mode(0o777)).unwrap(),
            "damaged",
        ),
        (
            "the user's folder a symbolic link",
            |b| {
                fs::rename(b.file(""), "/tmp/folder").unwrap();
                symlink("/tmp/folder", b.system.store().join("users/damaged")).unwrap();
            },
            "users/damaged is a link",
        ),
        (
            "the user's folder a file",
            |b| {
                fs::remove_dir_all(b.file("")).unwrap();
                fs::write(b.system.store().join("users/damaged"), "").unwrap();
            },
            "users/damaged is a link",
        ),
        (
            "the store's folder writable by others",
            |b| fs::set_permissions(b.system.store(), PermissionsExt::from_mode(0o770)).unwrap(),
            "/var/lib/mfa has mode 0770",
        ),
    ];
    for (name, damage, expected) in table {
        damage(&bound);
        let log = Log::listen();
        assert_eq!(bound.auth(&bound.code(1)), AUTHINFO_UNAVAIL, "{name}");
        let said = reason(&log);
        assert!(said.starts_with("<83>") && said.contains(expected), "{name}: {said}");
        // A damaged record stops nobody else, whatever it is.
        restore(&bound, &saved);
        assert_eq!(bound.auth("000000"), AUTH_ERR, "after {name}");
        bound.put_back(&saved);
    }
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
}

/// Rebuilds whatever a row destroyed.
fn restore(bound: &Bound, saved: &[(std::path::PathBuf, Vec<u8>)]) {
    let store = bound.system.store();
    let users = store.join("users");
    let _ = fs::remove_file("/tmp/linked");
    let _ = fs::remove_dir_all("/tmp/folder");
    let folder = users.join("damaged");
    let _ = fs::remove_file(&folder);
    let _ = fs::remove_dir_all(&folder);
    let _ = fs::remove_dir(store.join("FORMAT"));
    fs::create_dir_all(&folder).unwrap();
    for path in [store, &users, &folder] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
    }
    fs::write(store.join("FORMAT"), "mfa-store 1\n").unwrap();
    bound.put_back(saved);
}

#[test]
fn a_damaged_record_is_cleared_by_disabling_it() {
    let mut bound = Bound::fresh("cleared");
    fs::write(bound.file("credentials"), "garbage").unwrap();
    assert_eq!(bound.auth("000000"), AUTHINFO_UNAVAIL);
    assert!(bound.system.enroll(&["disable", "--user", "cleared"], "").status.success());
    bound.bind();
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
}

#[test]
fn a_damaged_record_is_its_users_alone() {
    let mut bound = Bound::fresh("neighbour");
    add_user("broken");
    let folder = bound.system.store().join("users/broken");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(folder.join("credentials"), "garbage").unwrap();
    fs::set_permissions(folder.join("credentials"), PermissionsExt::from_mode(0o600)).unwrap();
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
    let list = bound.system.enroll(&["list", "--json"], "");
    assert_eq!(list.status.code(), Some(5), "a list that is not whole says so");
    assert!(String::from_utf8_lossy(&list.stdout).contains("\"user\":\"neighbour\""));
    assert!(String::from_utf8_lossy(&list.stderr).contains("users/broken/credentials is damaged"));
}

/// One torn slot is what a power cut leaves; the login goes on from the other.
#[test]
fn a_login_goes_on_over_one_torn_slot() {
    for slot in [0, 1] {
        let mut bound = Bound::fresh("torn");
        bound.advance(1);
        assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
        let mut bytes = fs::read(bound.file("state")).unwrap();
        bytes[slot * 4096..slot * 4096 + 600].fill(0xff);
        fs::write(bound.file("state"), bytes).unwrap();
        bound.advance(2);
        let code = bound.code(0);
        assert_eq!(bound.auth(&code), SUCCESS, "slot {slot}");
        assert_eq!(bound.auth(&code), AUTH_ERR, "slot {slot}");
    }
}

#[test]
fn credentials_without_state_let_in_once_for_each_code() {
    let bound = Bound::fresh("stateless");
    fs::remove_file(bound.file("state")).unwrap();
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "burnt at binding");
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
    assert_eq!(bound.auth(&bound.code(1)), AUTH_ERR);
}

fn on_disk(kind: &str) -> Bound {
    let system = System::fresh();
    // The least that each mkfs takes.
    system.disk(
        kind,
        match kind {
            "xfs" => 320,
            "btrfs" => 128,
            _ => 16,
        },
    );
    Bound::on(system, "tenant")
}

fn a_full_disk(kind: &str) {
    let mut bound = on_disk(kind);
    add_user("late");
    bound.system.fill_disk();
    for _ in 0..40 {
        // By the next round the wrong code is forgotten: locks are another test's.
        bound.advance(500);
        let code = bound.code(0);
        assert_eq!(bound.auth("000000"), AUTH_ERR, "a wrong code is counted");
        assert_eq!(bound.auth(&code), SUCCESS, "a login needs no free block");
        assert_eq!(bound.auth(&code), AUTH_ERR, "and burns its code");
    }
    bound.user_cannot_be_bound("late");
    bound.remount();
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "burnt on the disk, not in a cache");
    bound.advance(1);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
}

#[test]
fn a_full_ext4_takes_logins_and_burns_their_codes() {
    a_full_disk("ext4");
}

#[test]
fn a_full_xfs_takes_logins_and_burns_their_codes() {
    a_full_disk("xfs");
}

#[test]
fn a_full_btrfs_takes_logins_and_burns_their_codes() {
    a_full_disk("btrfs");
}

#[test]
fn a_read_only_disk_lets_nobody_in_since_no_code_could_be_burnt() {
    let bound = on_disk("ext4");
    bound.system.make_disk_read_only();
    let log = Log::listen();
    assert_eq!(bound.auth(&bound.code(1)), AUTHINFO_UNAVAIL);
    assert_eq!(bound.auth(&bound.code(1)), AUTHINFO_UNAVAIL);
    assert!(reason(&log).contains("state: Read-only file system"), "{}", reason(&log));
}
