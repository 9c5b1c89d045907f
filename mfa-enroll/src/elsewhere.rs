//! A signature by a security key that is plugged in at another machine, if no agent of that machine is reachable: the
//! person runs a command there and pastes its output here.

use data_encoding::BASE64;
use mfa_ssh::{Hash, NAMESPACE, Sshsig};
use mfa_wire::{Cancelled, Secret};

use crate::dialogue::Dialogue;
use crate::sshkey::SshKey;
use crate::terminal::language;
use crate::texts::Text;

/// How many times the person may paste.
const TRIES: usize = 3;

/// Has the person sign `message` with `key` on the other machine.
pub(crate) fn signature(dialogue: &mut Dialogue, key: &SshKey, message: &[u8]) -> Result<Secret, Cancelled> {
    let lang = language();
    dialogue.tell(&lang.say(Text::SignElsewhere));
    dialogue.tell(&command(key, message));
    for _ in 0..TRIES {
        dialogue.tell(&lang.say(Text::PasteSignature));
        match of_key(key, &dialogue.block()?) {
            Ok(signature) => return Ok(signature),
            Err(why) => dialogue.tell(&why),
        }
    }
    Err(Cancelled::NoConversation)
}

/// The command works in any shell: a line that ends with `|` continues.
fn command(key: &SshKey, message: &[u8]) -> String {
    let file = key.usual_file();
    format!("  echo {} | base64 -d |\n    ssh-keygen -Y sign -n {NAMESPACE} -f {file}", BASE64.encode(message))
}

/// The signature in the pasted text, without the armor of ssh-keygen. The helper checks it.
fn of_key(key: &SshKey, pasted: &str) -> Result<Secret, String> {
    let Sshsig { key: by, hash, signature } = Sshsig::parse(pasted).map_err(|e| e.to_string())?;
    if by != key.key {
        return Err("That is the signature of another key.".into());
    }
    if hash != Hash::Sha512 {
        return Err("This signature is over another hash: sign without -O hashalg.".into());
    }
    Ok(Secret::copy_of(&signature.to_blob(&by)))
}

#[cfg(test)]
mod tests {
    use mfa_ssh::{Rest, SkSignature};

    use super::*;
    use crate::sshkey::tests::LINE;

    fn key() -> SshKey {
        SshKey { line: LINE.into(), key: mfa_ssh::Line::parse(LINE).unwrap().unwrap().key }
    }

    fn put(blob: &mut Vec<u8>, part: &[u8]) {
        blob.extend((part.len() as u32).to_be_bytes());
        blob.extend(part);
    }

    fn pasted(by: &SshKey, namespace: &str, hash: &str) -> String {
        let signature = SkSignature { flags: 1, counter: 7, rest: Rest::Ed25519([3; 64]) };
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        for part in [&by.key.to_blob(), namespace.as_bytes(), b"", hash.as_bytes(), &signature.to_blob(&by.key)] {
            put(&mut blob, part);
        }
        let (begin, end) = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----");
        format!("{begin}\n{}\n{end}\n", BASE64.encode(&blob))
    }

    #[test]
    fn the_command_fits_a_terminal_and_says_all_that_the_helper_checks() {
        let command = command(&key(), &[0xff; 32]);
        assert_eq!(
            command,
            "  echo //////////////////////////////////////////8= | base64 -d |\n    \
             ssh-keygen -Y sign -n mfa@pam_mfa -f ~/.ssh/id_ed25519_sk"
        );
        assert!(command.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn what_is_pasted_is_a_signature_by_that_key_over_that_hash_or_says_why_not() {
        let signature = of_key(&key(), &pasted(&key(), NAMESPACE, "sha512")).unwrap();
        assert_eq!(SkSignature::from_blob(signature.bytes(), &key().key).unwrap().counter, 7);
        assert!(signature.bytes().len() <= mfa_wire::MAX_ANSWER);
        let other = SshKey { key: mfa_ssh::SkPublicKey { application: "ssh:other".into(), ..key().key }, ..key() };
        for (text, said) in [
            (pasted(&other, NAMESPACE, "sha512"), "another key"),
            (pasted(&key(), NAMESPACE, "sha256"), "another hash"),
            (pasted(&key(), "file", "sha512"), "something else"),
            ("hello".into(), "no ssh signature"),
        ] {
            let why = of_key(&key(), &text).err().unwrap();
            assert!(why.contains(said) && why.len() <= 80 && why.is_ascii(), "{why}");
        }
    }
}
