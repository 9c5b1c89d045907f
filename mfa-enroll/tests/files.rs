//! The files that root names on the command line, in folders into which users can put anything.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test starts programs")]

mod fake;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use fake::{RootsFolder, SSH_KEY, mfa_enroll};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;

/// Two users that the name service does not know.
const ALICE: u32 = 412_001;
const BOB: u32 = 412_002;

fn run(arguments: &[&str]) -> (i32, String) {
    let command = mfa_enroll("helper", arguments);
    // A program that waits for a file is killed, and that is a failure.
    let mut patient = std::process::Command::new("timeout");
    patient.args(["--signal=KILL", "20"]).arg(command.get_program()).args(command.get_args()).env_clear();
    let output = patient.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// For each way to have a file read: whether it was read, and the exit code and the message if not.
fn read(path: &str) -> Vec<(bool, String)> {
    let ways: [&[&str]; 3] = [
        &["import", "pam-u2f", path, "--user", "wendy"],
        &["import", "authorized-keys", path, "--user", "wendy"],
        &["u2f", "--user", "alice", "--ssh-key", path],
    ];
    let all = ways.iter().map(|arguments| run(arguments));
    let is_read = |said: &str| {
        ["wendy: ", "Touch your", "there are no keys", "public key", "was expected"]
            .iter()
            .any(|word| said.contains(word))
    };
    all.map(|(code, said)| {
        assert!(code >= 0, "it waited for {path}: {said}");
        (is_read(&said), said)
    })
    .collect()
}

fn folder_of(uid: u32, mode: u32, path: &Path) {
    fs::create_dir(path).unwrap();
    chown(path, Some(uid), Some(uid)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn file_of(uid: u32, mode: u32, path: &Path) {
    fs::write(path, format!("{SSH_KEY}\n")).unwrap();
    chown(path, Some(uid), Some(uid)).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn link_of(uid: u32, to: &Path, path: &Path) {
    symlink(to, path).unwrap();
    lchown(path, Some(uid), Some(uid)).unwrap();
}

#[test]
#[ignore = "needs root: make unit"]
fn root_reads_what_a_user_owns_as_that_user_and_plain_files_only() {
    let world = RootsFolder::new();
    let at = |name: &str| world.join(name);
    folder_of(0, 0o755, &at("root"));
    folder_of(0, 0o700, &at("private"));
    folder_of(ALICE, 0o700, &at("alice"));
    folder_of(0, 0o1777, &at("tmp"));
    file_of(0, 0o600, &at("root/file"));
    file_of(0, 0o644, &at("private/open"));
    file_of(ALICE, 0o600, &at("alice/file"));
    file_of(ALICE, 0o600, &at("root/alices"));
    file_of(ALICE, 0o600, &at("tmp/alices"));
    file_of(0, 0o600, &at("alice/roots"));
    file_of(0, 0o644, &at("alice/shown"));
    file_of(BOB, 0o644, &at("alice/bobs"));
    fs::hard_link(at("root/file"), at("alice/hard")).unwrap();
    mkfifo(&at("alice/fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    mkfifo(&at("root/fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    mknod(&at("root/zero"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), nix::sys::stat::makedev(1, 5)).unwrap();
    let _socket = UnixListener::bind(at("alice/socket")).unwrap();
    File::create(at("alice/huge")).unwrap().set_len(64 << 20).unwrap();
    link_of(ALICE, &at("root/file"), &at("alice/to-root"));
    link_of(ALICE, &at("alice/file"), &at("alice/to-own"));
    link_of(ALICE, &at("root"), &at("alice/folder-of-root"));
    link_of(ALICE, &at("private"), &at("alice/private"));
    link_of(ALICE, &at("root"), &at("tmp/of-alice"));
    link_of(0, &at("alice"), &at("root/alice"));
    link_of(0, Path::new("../root"), &at("root/root"));
    link_of(0, &at("root/loop"), &at("root/loop"));
    for (path, is_read) in [
        ("root/file", true),
        ("alice/file", true),
        ("root/alices", true),
        ("tmp/alices", true),
        ("root/alice/file", true),
        ("root/root/file", true),
        ("alice/../root/file", false),
        ("root/../root/./file", true),
        ("alice/shown", true),
        ("private/open", true),
        // Files that she may not read.
        ("alice/roots", false),
        ("alice/hard", false),
        ("alice/to-root", false),
        ("alice/private/open", false),
        ("alice/folder-of-root/file", false),
        ("tmp/of-alice/file", false),
        ("alice/bobs", false),
        // Files that are not plain.
        ("alice/to-own", false),
        ("alice/fifo", false),
        ("alice/socket", false),
        ("alice/huge", false),
        ("alice", false),
        ("alice/file/", false),
        ("root/fifo", false),
        ("root/zero", false),
        ("root/loop", false),
        ("root/loop/file", false),
        ("root/gone", false),
    ] {
        for (was_read, said) in read(at(path).to_str().unwrap()) {
            assert_eq!(was_read, is_read, "{path}: {said}");
        }
    }
    // A private key of hers, with the public key beside it.
    fs::write(at("alice/key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    link_of(ALICE, &at("root/file"), &at("alice/key.pub"));
    let (code, said) = run(&["u2f", "--user", "alice", "--ssh-key", at("alice/key").to_str().unwrap()]);
    assert!(code == 2 && said.contains("key.pub cannot be read"), "{said}");
}

#[test]
#[ignore = "needs root: make unit"]
fn whose_keys_they_are_is_believed_of_a_file_that_is_roots_all_the_way() {
    let world = RootsFolder::new();
    let at = |name: &str| world.join(name);
    for (name, owner, mode) in [("root", 0, 0o755), ("alice", ALICE, 0o755), ("open", 0, 0o777), ("tmp", 0, 0o1777)] {
        folder_of(owner, mode, &at(name));
        let file = at(name).join("map");
        fs::write(&file, "alice:key\n").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let (code, said) = run(&["import", "pam-u2f", file.to_str().unwrap()]);
        let believed = ["root", "tmp"].contains(&name);
        assert_eq!(code, if believed { 0 } else { 2 }, "{name}: {said}");
        assert_eq!(said.contains("others than root can write to it"), !believed, "{name}: {said}");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn a_picture_is_made_where_nobody_else_has_a_hand_in_it() {
    let world = RootsFolder::new();
    let at = |name: &str| world.join(name);
    folder_of(0, 0o755, &at("root"));
    folder_of(0, 0o755, &at("root/below"));
    folder_of(ALICE, 0o755, &at("alice"));
    folder_of(0, 0o755, &at("alice/roots"));
    folder_of(0, 0o777, &at("open"));
    folder_of(0, 0o755, &at("open/below"));
    folder_of(0, 0o775, &at("group"));
    folder_of(0, 0o1777, &at("tmp"));
    folder_of(0, 0o700, &at("tmp/below"));
    link_of(ALICE, &at("root"), &at("alice/to-root"));
    link_of(ALICE, &at("root"), &at("tmp/to-root"));
    link_of(ALICE, &at("root"), &at("root/of-alice"));
    link_of(0, &at("root/below"), &at("root/to-below"));
    link_of(0, &at("alice"), &at("root/to-alice"));
    link_of(0, &at("root/elsewhere.svg"), &at("root/link.svg"));
    for (path, lands) in [
        ("root", Some("root")),
        ("root/below", Some("root/below")),
        ("root/to-below", Some("root/below")),
        ("root/below/..", Some("root")),
        ("tmp/below", Some("tmp/below")),
        ("alice", None),
        ("alice/roots", None),
        ("alice/to-root", None),
        ("alice/../root", None),
        ("tmp/to-root", None),
        ("root/of-alice", None),
        ("root/to-alice", None),
        ("open", None),
        ("open/below", None),
        ("group", None),
        ("tmp", None),
    ] {
        let (code, said) =
            run(&["totp", "--user", "alice", "--json", "--qr-svg", at(path).join("p.svg").to_str().unwrap()]);
        let everywhere =
            ["root", "root/below", "alice", "alice/roots", "open", "open/below", "group", "tmp", "tmp/below"];
        let made: Vec<&str> = everywhere.into_iter().filter(|folder| at(folder).join("p.svg").exists()).collect();
        assert_eq!(made, lands.into_iter().collect::<Vec<_>>(), "{path}: {said}");
        if let Some(folder) = lands {
            assert_eq!(code, 0, "{path}: {said}");
            let picture = at(folder).join("p.svg");
            assert_eq!(fs::metadata(&picture).unwrap().permissions().mode() & 0o7777, 0o600);
            fs::remove_file(picture).unwrap();
        } else {
            assert_eq!(code, 2, "{path}: {said}");
            assert!(said.contains("name a file in a folder of your own, as in /root"), "{path}: {said}");
        }
    }
    for path in ["root/link.svg", "root/p.svg/", "root/..", "root/gone/p.svg"] {
        assert_eq!(run(&["totp", "--user", "alice", "--json", "--qr-svg", at(path).to_str().unwrap()]).0, 2, "{path}");
    }
    assert!(!at("root/elsewhere.svg").exists());
    // A file that is not needed is removed where it was made.
    assert_eq!(run(&["totp", "--user", "nobody", "--qr-svg", at("root/to-below/p.svg").to_str().unwrap()]).0, 3);
    assert!(!at("root/below/p.svg").exists());
}
