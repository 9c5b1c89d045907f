//! The public key in a file that `--ssh-key` names.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use mfa_ssh::{Line, SkPublicKey};
use mfa_wire::MAX_PLACE;

use crate::files;

/// The most that is read of a file.
const LONGEST: u64 = 64 * 1024;

/// An ssh key that lives on a security key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshKey {
    /// The line in its file.
    pub(crate) line: String,
    pub(crate) key: SkPublicKey,
}

impl SshKey {
    /// Reads the file or, if it is a private key, the file of the public key beside it. Reads with the rights of the
    /// caller or, as root, of the file's owner.
    pub(crate) fn read(path: PathBuf) -> Result<SshKey, String> {
        let text = read(&path).map_err(|e| format!("it cannot be read: {e}"))?;
        if !text.contains("PRIVATE KEY-----") {
            return SshKey::of(&text);
        }
        let public = with_pub(&path);
        match read(&public) {
            Ok(text) => SshKey::of(&text).map_err(|why| format!("{}: {why}", public.display())),
            Err(_) => Err(format!("that is a private key, and {} cannot be read", public.display())),
        }
    }

    /// The only key in `text`.
    fn of(text: &str) -> Result<SshKey, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err("one line with one public key was expected".into());
        };
        let Line { key, .. } = Line::parse(line).map_err(|e| e.to_string())?.ok_or("there is no key in it")?;
        if line.len() > MAX_PLACE {
            return Err(format!("its line is longer than {MAX_PLACE} bytes: shorten what stands behind the key"));
        }
        Ok(SshKey { line: line.to_owned(), key })
    }

    /// The file in which `ssh-keygen` stores such a key by default.
    pub(crate) fn usual_file(&self) -> &'static str {
        match self.key.point {
            mfa_ssh::Point::Ed25519(_) => "~/.ssh/id_ed25519_sk",
            mfa_ssh::Point::Ecdsa(_) => "~/.ssh/id_ecdsa_sk",
        }
    }
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    name.into()
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&files::read(path, LONGEST)?.bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Built from OpenSSH's PROTOCOL.u2f: an Ed25519 key, application "ssh:".
    pub(crate) const LINE: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcH\
                                   BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo= blue";

    #[test]
    fn a_file_holds_one_key_that_lives_on_a_security_key() {
        let found = SshKey::of(&format!("\n# mine\n{LINE}\r\n")).unwrap();
        assert_eq!((found.line.as_str(), found.usual_file()), (LINE, "~/.ssh/id_ed25519_sk"));
        assert_eq!(found.key.application, "ssh:");
        let long = format!("{LINE}{}", "x".repeat(1024));
        for (text, said) in [
            ("", "one line"),
            (&format!("{LINE}\n{LINE}"), "one line"),
            (&long, "longer than 1024 bytes"),
            ("ssh-ed25519 AAAA me", "This ssh key is a file."),
            ("hello", "no ssh public key"),
        ] {
            let why = SshKey::of(text).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test makes files")]
    fn of_a_private_key_the_file_beside_it_is_read() {
        let folder = std::env::temp_dir().join(format!("mfa-enroll-sshkey-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let private = folder.join("id");
        std::fs::write(&private, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").unwrap();
        let why = SshKey::read(private.clone()).unwrap_err();
        assert!(why.starts_with("that is a private key, and ") && why.contains("id.pub"), "{why}");
        std::fs::write(folder.join("id.pub"), "hello\n").unwrap();
        assert!(SshKey::read(private.clone()).unwrap_err().contains("id.pub: This is no ssh public key"));
        std::fs::write(folder.join("id.pub"), LINE).unwrap();
        assert_eq!(SshKey::read(private).unwrap().line, LINE);
        assert!(SshKey::read(folder.join("gone")).unwrap_err().starts_with("it cannot be read: "));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
