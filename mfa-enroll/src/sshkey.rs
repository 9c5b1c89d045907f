//! The public key in a file that `--ssh-key` names.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use mfa_ssh::{Line, SkPublicKey};
use mfa_wire::{MAX_PLACE, shell_word};

use crate::exit::Exit;
use crate::files;

/// The most that is read of a file.
const LONGEST: u64 = 64 * 1024;

/// How a public key of RFC 4716 begins, as PuTTY writes it.
const OF_OTHERS: &str = "---- BEGIN SSH2 PUBLIC KEY";

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
    ///
    /// An error is a sentence, and the exit code that goes with it.
    pub(crate) fn read(path: PathBuf) -> Result<SshKey, (String, Exit)> {
        let text = read(&path).map_err(|e| (format!("{}: it cannot be read: {e}", path.display()), Exit::Usage))?;
        if !text.contains("PRIVATE KEY-----") {
            return SshKey::of(&text).map_err(|why| (format!("{}: {why}", path.display()), Exit::Refused));
        }
        let public = with_pub(&path);
        let text = read(&public).map_err(|_| {
            let [from, to] = [&path, &public].map(|path| shell_word(&path.to_string_lossy()));
            let text = format!(
                "{}: This is a private key, and {} cannot be read.\n\
                 Make that of it: ssh-keygen -y -f {from} >{to}",
                path.display(),
                public.display(),
            );
            (text, Exit::Usage)
        })?;
        SshKey::of(&text).map_err(|why| (format!("{}: {why}", public.display()), Exit::Refused))
    }

    /// The only key in `text`.
    fn of(text: &str) -> Result<SshKey, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            (None, _) => return Err("There is no key in this file: give that of ssh-keygen, ending in .pub.".into()),
            (Some(first), _) if first.starts_with(OF_OTHERS) => {
                return Err("This is the form of other programs: ssh-keygen -i -f FILE shows that of OpenSSH.".into());
            }
            _ => return Err("There are several lines in this file: give one with one public key.".into()),
        };
        let Line { key, .. } = Line::parse(line).map_err(|e| e.to_string())?.ok_or("There is no key in this file.")?;
        if line.len() > MAX_PLACE {
            return Err(format!("Its line is longer than {MAX_PLACE} bytes: shorten what stands behind the key."));
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
            ("", "There is no key in this file"),
            (" \n# nothing\n", "There is no key in this file"),
            (&format!("{LINE}\n{LINE}"), "several lines"),
            (&long, "longer than 1024 bytes"),
            ("ssh-ed25519 AAAA me", "ssh-keygen -t ed25519-sk"),
            ("ssh-rsa AAAA me", "ssh-keygen -t ed25519-sk"),
            ("ecdsa-sha2-nistp256 AAAA me", "ssh-keygen -t ed25519-sk"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA me", "This is a certificate"),
            ("sk-ssh-ed25519-cert-v01@openssh.com AAAA me", "This is a certificate"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "ssh-keygen -i -f FILE"),
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
        let (why, exit) = SshKey::read(private.clone()).unwrap_err();
        assert_eq!(exit, Exit::Usage);
        assert!(why.contains(": This is a private key, and ") && why.contains("ssh-keygen -y -f "), "{why}");
        std::fs::write(folder.join("id.pub"), "hello\n").unwrap();
        assert!(SshKey::read(private.clone()).unwrap_err().0.contains("id.pub: This is no ssh public key"));
        std::fs::write(folder.join("id.pub"), LINE).unwrap();
        assert_eq!(SshKey::read(private).unwrap().line, LINE);
        assert!(SshKey::read(folder.join("gone")).unwrap_err().0.contains("gone: it cannot be read: "));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
