//! Keys and signatures that OpenSSH has made: tests/vectors/ssh.

#![allow(clippy::unwrap_used)]

use mfa_ssh::{Hash, KeyError, Line, Point, Rest, SignatureError, Sshsig};

const ED25519: &str = include_str!("../../tests/vectors/ssh/ed25519.pub");
const ECDSA: &str = include_str!("../../tests/vectors/ssh/ecdsa.pub");

fn line(text: &str) -> Line {
    Line::parse(text).unwrap().unwrap()
}

#[test]
fn keys_of_openssh_are_read_and_shown_as_it_shows_them() {
    let (ed25519, ecdsa) = (line(ED25519), line(ECDSA));
    assert!(matches!(ed25519.key.point, Point::Ed25519(_)) && matches!(ecdsa.key.point, Point::Ecdsa(_)));
    assert_eq!(ed25519.key.fingerprint(), "SHA256:MEZtFgkNgAH24WpTSHqisg2GvocpRaUTtZBFBUo/G6I");
    assert_eq!(ecdsa.key.fingerprint(), "SHA256:0SvwlvTnK2AxoRgUFdVjCx3HgBZ7D8w1i8sCOCGd1Nc");
    for line in [ed25519, ecdsa] {
        assert_eq!((line.key.application.as_str(), line.label.as_str()), ("ssh:vectors", "alice@laptop"));
    }
}

#[test]
fn signatures_of_openssh_are_read() {
    let (ed25519, ecdsa) = (line(ED25519).key, line(ECDSA).key);
    for (text, key, hash, counter) in [
        (include_str!("../../tests/vectors/ssh/ed25519.sha512.sig"), &ed25519, Hash::Sha512, 3),
        (include_str!("../../tests/vectors/ssh/ed25519.sha256.sig"), &ed25519, Hash::Sha256, 4),
        (include_str!("../../tests/vectors/ssh/ecdsa.sha512.sig"), &ecdsa, Hash::Sha512, 5),
        (include_str!("../../tests/vectors/ssh/ecdsa.sha256.sig"), &ecdsa, Hash::Sha256, 6),
    ] {
        let read = Sshsig::parse(text).unwrap();
        assert_eq!((&read.key, read.hash), (key, hash));
        assert_eq!((read.signature.flags, read.signature.counter), (1, counter));
        assert_eq!(matches!(read.signature.rest, Rest::Ed25519(_)), matches!(key.point, Point::Ed25519(_)));
    }
}

#[test]
fn keys_in_files_and_nonsense_are_no_security_keys() {
    let file = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILpCLTkVLD9xKO2BVRTqX2yHGeUgvQ3vRRhpkMqmzHnR alice@laptop";
    assert_eq!(Line::parse(file), Err(KeyError::InFile));
    assert_eq!(Line::parse("-----BEGIN OPENSSH PRIVATE KEY-----"), Err(KeyError::NoKey));
    assert_eq!(Sshsig::parse(ED25519), Err(SignatureError::NoSignature));
}
