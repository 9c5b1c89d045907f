//! The virtual key as OpenSSH's middleware.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use vkey::Key;

struct Ssh<'a> {
    key: &'a Key,
    folder: PathBuf,
}

impl Ssh<'_> {
    fn new(key: &Key) -> Ssh<'_> {
        let folder = key.control().parent().unwrap().to_owned();
        let ask = folder.join("ask");
        fs::write(&ask, "#!/bin/sh\necho 1234\n").unwrap();
        fs::set_permissions(&ask, PermissionsExt::from_mode(0o700)).unwrap();
        Ssh { key, folder }
    }

    fn keygen(&self, args: &[&str]) -> bool {
        let provider = std::env::current_exe().unwrap();
        let provider = provider.ancestors().find(|folder| folder.ends_with("deps")).unwrap();
        let provider = provider.with_file_name("libvkey_sk.so");
        assert!(provider.exists(), "{} is missing: cargo build -p vkey-sk", provider.display());
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(args).current_dir(&self.folder).env("SSH_SK_PROVIDER", provider);
        keygen.env("VKEY_CONTROL", self.key.control());
        keygen.env("SSH_ASKPASS", self.folder.join("ask")).env("SSH_ASKPASS_REQUIRE", "force");
        let input = File::open(self.folder.join("data")).map_or(Stdio::null(), Stdio::from);
        keygen.stdin(input).status().unwrap().success()
    }

    fn make(&self, kind: &str, more: &[&str]) -> bool {
        let _ = fs::remove_file(self.folder.join("id"));
        self.keygen(&[&["-q", "-t", kind, "-N", "", "-f", "id"], more].concat())
    }

    fn signs(&self) -> bool {
        fs::write(self.folder.join("data"), "data").unwrap();
        let _ = fs::remove_file(self.folder.join("data.sig"));
        let public = fs::read_to_string(self.folder.join("id.pub")).unwrap();
        fs::write(self.folder.join("signers"), format!("alice {public}")).unwrap();
        self.keygen(&["-Y", "sign", "-n", "test", "-f", "id", "data"])
            && self.keygen(&["-Y", "verify", "-n", "test", "-f", "signers", "-I", "alice", "-s", "data.sig"])
    }
}

#[test]
fn makes_keys_and_signs() {
    let key = Key::start(&["--pin", "1234", "--make-cred-uv-not-required"]);
    let ssh = Ssh::new(&key);
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        assert!(ssh.make(kind, &[]) && ssh.signs(), "{kind}");
    }
    assert_eq!((key.count("signatures"), key.count("silent"), key.count("pins")), (4, 0, 0));
    key.command("touch deny");
    assert!(!ssh.signs());
}

#[test]
fn a_signature_without_a_touch() {
    let key = Key::start(&[]);
    let ssh = Ssh::new(&key);
    assert!(ssh.make("ed25519-sk", &["-O", "no-touch-required"]));
    key.command("touch deny");
    assert!(ssh.signs(), "ssh-keygen takes it; sshd would not");
    assert_eq!(key.count("silent"), 1);
}

#[test]
fn a_key_that_wants_the_pin() {
    let key = Key::start(&["--pin", "1234"]);
    let ssh = Ssh::new(&key);
    assert!(ssh.make("ed25519-sk", &["-O", "verify-required"]) && ssh.signs());
    assert_eq!(key.count("pins"), 2);
    key.command("pin 4321");
    assert!(!ssh.signs());
}
