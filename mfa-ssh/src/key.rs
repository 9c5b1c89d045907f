//! Public keys, from blobs and from lines of text.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest, Sha256};

use crate::blob::{Malformed, Reader, put};

const ED25519: &str = "sk-ssh-ed25519@openssh.com";
const ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
const CERTIFICATES: [&str; 2] = ["sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"];
/// Kinds of keys that live in files. All other kinds are not known as keys at all.
const IN_FILES: [&str; 6] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa", "ssh-dss"];

/// The longest blob of a public key that lives on a security key.
const MAX_BLOB: usize = 1024;
/// The longest blob of a certificate. One with many principals, signed by a long RSA key, has about 3000 bytes.
const MAX_CERTIFICATE: usize = 8192;
/// The longest line in authorized_keys(5), by OpenSSH's own limit.
const MAX_LINE: usize = 8192;
/// OpenSSH accepts longer ones, but they do not occur.
const MAX_APPLICATION: usize = 255;

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// It does not begin as a public key does.
    NoKey,
    /// The private key lives in a file, so it can be copied.
    InFile,
    /// It is a certificate, not a key.
    Certificate,
    /// It is the key of a certificate authority.
    Authority,
    /// It was made for something other than ssh.
    Application,
    /// Its bytes are not valid.
    Malformed(Malformed),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NoKey => f.write_str("This is no ssh public key: give the file whose name ends in .pub."),
            KeyError::InFile => {
                f.write_str("This ssh key is a file. Make one on your security key: ssh-keygen -t ed25519-sk")
            }
            KeyError::Certificate => f.write_str("This is a certificate: give the public key that it is for."),
            KeyError::Authority => f.write_str("This key signs certificates: give a key that somebody logs in with."),
            KeyError::Application => f.write_str("The application of this key does not begin with \"ssh:\"."),
            KeyError::Malformed(_) => f.write_str("This ssh public key is damaged: copy it again."),
        }
    }
}

impl From<Malformed> for KeyError {
    fn from(what: Malformed) -> Self {
        KeyError::Malformed(what)
    }
}

/// What signatures are checked with. The checker of signatures also checks that an ECDSA point is on its curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// As RFC 8032 encodes it.
    Ed25519([u8; 32]),
    /// On NIST P-256: x, then y.
    Ecdsa([u8; 64]),
}

/// The public key of an ssh key that lives on a security key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkPublicKey {
    /// The key.
    pub point: Point,
    /// The application that the security key made it for: `ssh:` and any text. Printable ASCII.
    pub application: String,
}

impl SkPublicKey {
    /// Reads the blob of a key (PROTOCOL.u2f).
    pub fn from_blob(blob: &[u8]) -> Result<SkPublicKey, KeyError> {
        if blob.len() > MAX_BLOB {
            return Err(Malformed("it is too long").into());
        }
        let mut reader = Reader::new(blob);
        let algorithm = std::str::from_utf8(reader.string()?).map_err(|_| KeyError::NoKey)?;
        known(algorithm)?;
        let key = SkPublicKey::from_parts(algorithm, &mut reader)?;
        reader.end()?;
        Ok(key)
    }

    /// Reads the blob of a key, or of a certificate: the key that it is for. It is that key which signs.
    pub fn that_signs(blob: &[u8]) -> Result<SkPublicKey, KeyError> {
        match SkPublicKey::from_blob(blob) {
            Err(KeyError::Certificate) => SkPublicKey::in_certificate(blob),
            key => key,
        }
    }

    /// Reads the key that a certificate is for (PROTOCOL.certkeys). Nothing else of it is looked at.
    fn in_certificate(blob: &[u8]) -> Result<SkPublicKey, KeyError> {
        if blob.len() > MAX_CERTIFICATE {
            return Err(Malformed("it is too long").into());
        }
        let mut reader = Reader::new(blob);
        let named = reader.string()?;
        let certificate = CERTIFICATES.iter().position(|certificate| certificate.as_bytes() == named);
        let algorithm = certificate.map(|n| [ED25519, ECDSA][n]).ok_or(KeyError::NoKey)?;
        // The nonce.
        reader.string()?;
        SkPublicKey::from_parts(algorithm, &mut reader)
    }

    /// Reads what stands behind the name of the algorithm.
    fn from_parts(algorithm: &str, reader: &mut Reader) -> Result<SkPublicKey, KeyError> {
        let point = match algorithm {
            ED25519 => {
                let point = reader.string()?.try_into().map_err(|_| Malformed("a key of 32 bytes was expected"))?;
                Point::Ed25519(point)
            }
            _ => {
                if reader.string()? != b"nistp256" {
                    return Err(Malformed("another curve than its name says").into());
                }
                // SEC 1 section 2.3.3: OpenSSH accepts the uncompressed form only.
                match reader.string()? {
                    [4, point @ ..] => {
                        Point::Ecdsa(point.try_into().map_err(|_| Malformed("a point of 64 bytes was expected"))?)
                    }
                    _ => return Err(Malformed("a point in its long form was expected").into()),
                }
            }
        };
        let application = std::str::from_utf8(reader.string()?).unwrap_or_default();
        let printable = application.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !application.starts_with("ssh:") || !printable || application.len() > MAX_APPLICATION {
            return Err(KeyError::Application);
        }
        Ok(SkPublicKey { point, application: application.to_owned() })
    }

    /// Writes the blob of a key (PROTOCOL.u2f).
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, self.algorithm().as_bytes());
        match &self.point {
            Point::Ed25519(point) => put(&mut blob, point),
            Point::Ecdsa(point) => {
                put(&mut blob, b"nistp256");
                put(&mut blob, &[&[4], &point[..]].concat());
            }
        }
        put(&mut blob, self.application.as_bytes());
        blob
    }

    /// The name of its algorithm in ssh.
    pub fn algorithm(&self) -> &'static str {
        match self.point {
            Point::Ed25519(_) => ED25519,
            Point::Ecdsa(_) => ECDSA,
        }
    }

    /// As `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(self.to_blob())))
    }

    /// Reads the two words of a key in a line: its algorithm, and its blob in base64, which must be of that
    /// algorithm.
    fn from_words(algorithm: &str, base64: &str) -> Result<SkPublicKey, KeyError> {
        known(algorithm)?;
        let blob = BASE64.decode(base64.as_bytes()).map_err(|_| Malformed("its base64 is damaged"))?;
        let key = SkPublicKey::from_blob(&blob)?;
        if key.algorithm() == algorithm { Ok(key) } else { Err(Malformed("another kind than it says").into()) }
    }
}

/// Fails unless `algorithm` is one of the two that live on a security key.
fn known(algorithm: &str) -> Result<(), KeyError> {
    match algorithm {
        ED25519 | ECDSA => Ok(()),
        _ if algorithm.ends_with("-cert-v01@openssh.com") => Err(KeyError::Certificate),
        _ if IN_FILES.contains(&algorithm) => Err(KeyError::InFile),
        _ => Err(KeyError::NoKey),
    }
}

/// A line of a `.pub` file or of authorized_keys(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: SkPublicKey,
    /// The text after the key: a label by its maker. It is not trusted.
    pub label: String,
    /// The options before the key, unchanged.
    pub options: Vec<String>,
}

impl Line {
    /// Reads one line. `None` if it holds no key because it is empty or a comment.
    pub fn parse(line: &str) -> Result<Option<Line>, KeyError> {
        if line.len() > MAX_LINE {
            return Err(KeyError::NoKey);
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        // As sshd reads it: if the first word is not an algorithm, it is a list of options.
        let (word, rest) = cut(line);
        let (options, (algorithm, rest)) = match known(word) {
            Err(KeyError::NoKey) => {
                let (options, rest) = options(line)?;
                (options, cut(rest))
            }
            _ => (Vec::new(), (word, rest)),
        };
        if options.iter().any(|option| named(option, "cert-authority")) {
            return Err(KeyError::Authority);
        }
        let (base64, label) = cut(rest);
        let key = SkPublicKey::from_words(algorithm, base64)?;
        Ok(Some(Line { key, label: label.to_owned(), options }))
    }

    /// Whether sshd accepts this key without a touch, unless its own settings demand a touch.
    pub fn no_touch_required(&self) -> bool {
        self.options.iter().any(|option| named(option, "no-touch-required"))
    }

    /// Whether sshd demands a PIN or a fingerprint of this key.
    pub fn verify_required(&self) -> bool {
        self.options.iter().any(|option| named(option, "verify-required"))
    }
}

fn named(option: &str, name: &str) -> bool {
    option.eq_ignore_ascii_case(name)
}

/// The first word, and the rest without its leading blanks.
fn cut(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

/// Takes the options off a line: they end at the first blank outside quotes.
fn options(line: &str) -> Result<(Vec<String>, &str), KeyError> {
    let (mut options, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' | ' ' | '\t' if !quoted => {
                options.push(line[start..at].to_owned());
                start = at + 1;
                if c != ',' {
                    return Ok((options, line[start..].trim_start_matches([' ', '\t'])));
                }
            }
            _ => {}
        }
        escaped = c == '\\' && quoted;
    }
    Err(KeyError::NoKey)
}

/// The security keys that sshd has accepted in this connection, from `SSH_AUTH_INFO_0`: one line for each method,
/// `publickey KIND BASE64`. Of a certificate, whose signature sshd has checked, the key that it is for: that key has signed.
/// Lines of any other form are ignored.
pub fn in_auth_info(text: &str) -> Vec<SkPublicKey> {
    let key = |line: &str| {
        let (algorithm, base64) = line.strip_prefix("publickey ")?.split_once(' ')?;
        match SkPublicKey::from_words(algorithm, base64) {
            Err(KeyError::Certificate) => {
                let blob = BASE64.decode(base64.as_bytes()).ok()?;
                let key = SkPublicKey::in_certificate(&blob).ok()?;
                CERTIFICATES[usize::from(key.algorithm() == ECDSA)].eq(algorithm).then_some(key)
            }
            key => key.ok(),
        }
    };
    text.split('\n').filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ed25519() -> SkPublicKey {
        SkPublicKey { point: Point::Ed25519([7; 32]), application: String::from("ssh:") }
    }

    fn line(key: &SkPublicKey) -> String {
        format!("{} {}", key.algorithm(), BASE64.encode(&key.to_blob()))
    }

    /// A blob of this kind, followed by any parts.
    fn blob(kind: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, kind.as_bytes());
        parts.iter().for_each(|part| put(&mut blob, part));
        blob
    }

    #[test]
    fn a_line_has_a_key_a_label_and_options() {
        let key = ed25519();
        let plain = Line::parse(&format!("{} alice@laptop of work\n", line(&key))).unwrap().unwrap();
        assert_eq!(plain, Line { key: key.clone(), label: "alice@laptop of work".into(), options: vec![] });
        assert!(!plain.no_touch_required() && !plain.verify_required());
        let text = format!("No-Touch-Required,command=\"echo \\\"a, b\\\" #\",verify-required\t{}", line(&key));
        let with = Line::parse(&text).unwrap().unwrap();
        assert_eq!(with.options, ["No-Touch-Required", "command=\"echo \\\"a, b\\\" #\"", "verify-required"]);
        assert!(with.no_touch_required() && with.verify_required());
        assert_eq!((with.key, with.label.as_str()), (key.clone(), ""));
        let quoted = Line::parse(&format!("command=\"no-touch-required,no-touch-required\" {}", line(&key)));
        assert!(!quoted.unwrap().unwrap().no_touch_required(), "a command is no option");
    }

    #[test]
    fn lines_without_a_key_are_none_and_others_say_what_they_are() {
        for nothing in ["", "  \t", "# a comment", "\n"] {
            assert_eq!(Line::parse(nothing), Ok(None));
        }
        let key = ed25519();
        for (text, why) in [
            ("hello", KeyError::NoKey),
            ("hello world", KeyError::NoKey),
            ("command=\"unended sk-ssh-ed25519@openssh.com AAAA", KeyError::NoKey),
            ("ssh-ed25519 AAAA", KeyError::InFile),
            ("restrict ssh-rsa AAAA", KeyError::InFile),
            ("sk-ssh-ed25519-cert-v01@openssh.com AAAA", KeyError::Certificate),
            ("ssh-rsa-cert-v01@openssh.com AAAA", KeyError::Certificate),
            ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA", KeyError::Certificate),
            (&format!("cert-authority {}", line(&key)), KeyError::Authority),
            ("sk-ssh-ed25519@openssh.com", KeyError::Malformed(Malformed("it ends too early"))),
            ("sk-ssh-ed25519@openssh.com %%%", KeyError::Malformed(Malformed("its base64 is damaged"))),
            (&line(&key).replacen("sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256", 1), {
                KeyError::Malformed(Malformed("another kind than it says"))
            }),
            (&"x".repeat(MAX_LINE + 1), KeyError::NoKey),
        ] {
            assert_eq!(Line::parse(text), Err(why), "{text:.60}");
        }
    }

    #[test]
    fn a_blob_that_is_not_just_so_is_refused() {
        let point = [&[4], &[9; 64][..]].concat();
        assert!(SkPublicKey::from_blob(&blob(ECDSA, &[b"nistp256", &point, b"ssh:x"])).is_ok());
        for (bad, why) in [
            (blob(ED25519, &[&[7; 31], b"ssh:"]), "a key of 32 bytes was expected"),
            (blob(ED25519, &[&[7; 32], b"ssh:", b""]), "there is more behind its end"),
            (blob(ED25519, &[&[7; 32]]), "it ends too early"),
            (blob(ECDSA, &[b"nistp384", &point, b"ssh:"]), "another curve than its name says"),
            (blob(ECDSA, &[b"nistp256", &point[..33], b"ssh:"]), "a point of 64 bytes was expected"),
            (blob(ECDSA, &[b"nistp256", &[2; 33], b"ssh:"]), "a point in its long form was expected"),
            (vec![0; MAX_BLOB + 1], "it is too long"),
            (vec![0xff, 0xff, 0xff, 0xff], "it ends too early"),
        ] {
            assert_eq!(SkPublicKey::from_blob(&bad), Err(KeyError::Malformed(Malformed(why))));
        }
        for application in [&b"pam://web1"[..], b"", b"SSH:", b"ssh:\x1b[m", b"ssh:\xff", &[b's'; 300]] {
            assert_eq!(SkPublicKey::from_blob(&blob(ED25519, &[&[7; 32], application])), Err(KeyError::Application));
        }
        assert_eq!(SkPublicKey::from_blob(&blob(CERTIFICATES[0], &[])), Err(KeyError::Certificate));
    }

    #[test]
    fn a_certificate_that_sshd_has_accepted_is_the_key_that_it_is_for() {
        let point = [&[4][..], &[9; 64]].concat();
        let keys = [ed25519(), SkPublicKey { point: Point::Ecdsa([9; 64]), application: String::from("ssh:") }];
        let parts: [&[&[u8]]; 2] = [&[b"nonce", &[7; 32], b"ssh:"], &[b"nonce", b"nistp256", &point, b"ssh:"]];
        for (n, key) in keys.iter().enumerate() {
            // The serial number and whatever else follows.
            let certificate = [&blob(CERTIFICATES[n], parts[n])[..], &[0; 200]].concat();
            let said = |name: &str| format!("publickey {name} {}", BASE64.encode(&certificate));
            assert_eq!(in_auth_info(&said(CERTIFICATES[n])), std::slice::from_ref(key));
            assert_eq!(in_auth_info(&said(CERTIFICATES[1 - n])), [], "another name than it has inside");
            assert_eq!(in_auth_info(&said(key.algorithm())), [], "a certificate under the name of a key");
            let key_blob = format!("publickey {} {}", CERTIFICATES[n], BASE64.encode(&key.to_blob()));
            assert_eq!(in_auth_info(&key_blob), [], "a key under the name of a certificate");
            assert_eq!(Line::parse(&said(CERTIFICATES[n])["publickey ".len()..]), Err(KeyError::Certificate));
        }
    }

    #[test]
    fn of_what_sshd_says_only_whole_lines_of_security_keys_count() {
        let key = ed25519();
        let said = format!("publickey ssh-ed25519 AAAA\npublickey {}\nkeyboard-interactive/pam\n", line(&key));
        assert_eq!(in_auth_info(&said), std::slice::from_ref(&key));
        for other in [
            String::new(),
            line(&key),
            format!("hostbased {}", line(&key)),
            format!("publickey {} more", line(&key)),
            format!(" publickey {}", line(&key)),
            format!("publickey  {}", line(&key)),
        ] {
            assert_eq!(in_auth_info(&other), [], "{other}");
        }
    }

    #[test]
    fn every_line_for_the_person_fits_and_is_ascii() {
        for error in [
            KeyError::NoKey,
            KeyError::InFile,
            KeyError::Certificate,
            KeyError::Authority,
            KeyError::Application,
            KeyError::Malformed(Malformed("")),
        ] {
            let line = error.to_string();
            assert!(line.len() <= 80 && line.is_ascii(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ecdsa: bool, bytes: [u8; 64], rest in "[ -~]{0,251}") {
            let point = if ecdsa { Point::Ecdsa(bytes) } else { Point::Ed25519(std::array::from_fn(|n| bytes[n])) };
            let key = SkPublicKey { point, application: format!("ssh:{rest}") };
            prop_assert_eq!(SkPublicKey::from_blob(&key.to_blob()), Ok(key.clone()));
            prop_assert_eq!(Line::parse(&line(&key)).unwrap().unwrap().key, key.clone());
            prop_assert_eq!(in_auth_info(&format!("publickey {}", line(&key))), [key]);
        }

        #[test]
        fn no_bytes_and_no_text_bring_it_down(bytes: Vec<u8>, cut in 0..200usize, flip: (usize, u8), text: String) {
            let _ = SkPublicKey::from_blob(&bytes);
            let mut damaged = ed25519().to_blob();
            let at = flip.0 % damaged.len();
            damaged[at] ^= flip.1;
            damaged.truncate(cut);
            if let Ok(key) = SkPublicKey::from_blob(&damaged) {
                prop_assert_eq!(key.to_blob(), damaged, "one form only");
            }
            let _ = (Line::parse(&text), in_auth_info(&text));
        }
    }
}
