//! Taking over the security keys that other programs' files list: those of pam_u2f, and of sshd.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use mfa_core::change::{Change, New, Terms, with_new_keys};
use mfa_core::judge::Proved;
use mfa_core::key::{self, Key, MOST_CREDENTIAL, MOST_RP_ID, PublicKey};
use mfa_core::{Id, Kind};
use mfa_wire::{Outcome, printable, shell_word};

use crate::flow::proof::ROOT;
use crate::flow::user::{already, known};
use crate::flow::{Decision, Desk};
use crate::host::{Host, host_name};

/// The origin that pam_u2f uses by default. It is made of the host's own name, not the policy's, because the keys exist
/// already.
fn usual_origin() -> String {
    format!("pam://{}", host_name())
}

/// A key as a file lists it.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    rp_id: String,
    credential: Vec<u8>,
    public: PublicKey,
    /// Only ever asked with PIN or fingerprint.
    verified: bool,
    label: String,
}

/// The keys that a file lists for one user.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    keys: Vec<Listed>,
    /// Lines with keys that are no security keys.
    others: usize,
    /// Keys that sign without a touch.
    untouched: usize,
}

/// Binds the keys that these lines list for `user`, all of them or none. Nobody has to touch them: root says whose they
/// are.
pub fn import(user: &str, format: &str, origin: Option<&str>, lines: &str, desk: &Desk) -> Result<Decision, Decision> {
    let user = &known(user)?.name;
    let found = match format {
        "pam-u2f" => pam_u2f(lines, &origin.map_or_else(usual_origin, str::to_owned)),
        "authorized-keys" => authorized_keys(lines),
        _ => return Err(Decision::not_allowed("Keys are taken over in no such form.")),
    };
    let found = found.map_err(|why| refused(user, &why))?;
    let rest = found.remark();
    if found.keys.is_empty() {
        let text = format!("{}: there is no security key{rest}.", printable(user, 64));
        return Ok(Decision::new(Outcome::NotFound, text, "no keys to import"));
    }
    let new: Vec<Key> = found.keys.into_iter().map(|listed| kept(listed, desk.host)).collect::<Result<_, _>>()?;
    let view = desk.bindings.look(user)?;
    if view.kind() == Some(Kind::Totp) {
        return Ok(already(user));
    }
    let (before, all) = (view.keys().len(), with_new_keys(view.keys(), &new));
    let (count, doubles) = (all.len() - before, new.len() + before - all.len());
    if all.len() > key::MOST {
        return Err(refused(user, &format!("at most {} keys can be bound, that would be {}", key::MOST, all.len())));
    }
    if count == 0 {
        let text = format!("{}: all of these keys are bound already{rest}.", printable(user, 64));
        return Ok(Decision::new(Outcome::Already, text, "imported already"));
    }
    let proved = Proved::by_root(view.seen());
    if before == 0 {
        // There are no recovery codes, because nobody is there to read them.
        let terms = Terms { from: ROOT.into(), codes: 0, provisional: None };
        desk.bindings.bind(user, &proved, New::Keys(all), &terms)?;
    } else {
        desk.bindings.change(user, &proved, Change::AddKeys(new))?;
    }
    let doubles = if doubles > 0 { format!(", {doubles} bound already") } else { String::new() };
    let mut text = format!("{}: {} taken over{doubles}{rest}.", printable(user, 64), counted(count, "security key"));
    if before == 0 && desk.policy().recovery_codes > 0 {
        text.push_str(&format!("\nRecovery codes: mfa-enroll recovery-codes --user {}", shell_word(user)));
    }
    Ok(Decision::new(Outcome::Accepted, text, format!("{} imported from {format}", counted(count, "key"))))
}

fn refused(user: &str, why: &str) -> Decision {
    let text = format!("{}: {why}.\nNothing was taken over.", printable(user, 64));
    Decision::new(Outcome::Refused, text, why)
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn kept(Listed { rp_id, credential, public, verified, label }: Listed, host: &Host) -> Result<Key, Decision> {
    let (id, created, created_from) = (Id::new(host.random)?, (host.now)(), ROOT.into());
    // The file does not hold the counter: the first use sets it.
    Ok(Key { id, label, created, created_from, rp_id, credential, public, verified, counter: 0 })
}

impl Found {
    /// What is to be said about the rest.
    fn remark(&self) -> String {
        let others = (self.others > 0).then(|| format!(", {} passed over", counted(self.others, "other line")));
        let untouched = (self.untouched > 0).then(|| format!(", {} without a touch refused", self.untouched));
        [others, untouched].into_iter().flatten().collect()
    }
}

/// The mapping of pam_u2f: `user:` and then keys, separated by colons. Of several lines the last one counts, as there.
fn pam_u2f(lines: &str, origin: &str) -> Result<Found, String> {
    let printable = origin.bytes().all(|b| b.is_ascii_graphic());
    // A signature that a key makes for ssh must not be valid for anything else.
    if !printable || origin.is_empty() || origin.len() > MOST_RP_ID || origin.starts_with("ssh:") {
        return Err(format!("an origin is like pam://web1: at most {MOST_RP_ID} letters, no blank, not ssh:"));
    }
    let line = lines.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let (_, entries) = line.split_once(':').unwrap_or_default();
    // As strtok(3) sees it: no entry is empty.
    let entries = entries.trim_end().split(':').filter(|entry| !entry.is_empty());
    let numbered = entries
        .enumerate()
        .map(|(n, entry)| pam_u2f_key(entry, origin).map_err(|why| format!("key {} of the line {why}", n + 1)));
    Ok(Found { keys: numbered.collect::<Result<_, _>>()?, ..Found::default() })
}

/// One of them: `key handle,public key,algorithm,options`. As long as there was only U2F: `key handle,public key`.
fn pam_u2f_key(entry: &str, origin: &str) -> Result<Listed, &'static str> {
    let mut fields = entry.split(',');
    let (handle, public) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let (algorithm, options) = (fields.next(), fields.next().unwrap_or_default());
    if handle == "*" {
        return Err("lives on the key itself (\"*\"): bind it by mfa-enroll u2f");
    }
    if fields.next().is_some() {
        return Err("has more than four fields");
    }
    let decoded = match algorithm {
        None => BASE64URL_NOPAD.decode(handle.trim_end_matches('=').as_bytes()),
        Some(_) => BASE64.decode(handle.as_bytes()),
    };
    let credential = decoded.map_err(|_| "has no key handle in base64")?;
    if !(1..=MOST_CREDENTIAL).contains(&credential.len()) {
        return Err("has a key handle of impossible length");
    }
    let point = match algorithm {
        None => HEXLOWER_PERMISSIVE.decode(public.as_bytes()).map_err(|_| "has no public key in hexadecimal digits")?,
        Some(_) => BASE64.decode(public.as_bytes()).map_err(|_| "has no public key in base64")?,
    };
    let public = match (algorithm, point.as_slice()) {
        (None | Some("es256"), [4, xy @ ..]) if xy.len() == 64 => PublicKey::es256(xy),
        (Some("es256"), xy) => PublicKey::es256(xy),
        (Some("eddsa"), point) => PublicKey::ed25519(point),
        (None, _) => None,
        (Some("rs256"), _) => return Err("is of RSA (rs256): bind that key by mfa-enroll u2f"),
        (Some(_), _) => return Err("is of a kind that is neither es256 nor eddsa"),
    };
    let verified = ["+pin", "+verification"].iter().any(|option| options.contains(option));
    let public = public.ok_or("has a public key that is none")?;
    Ok(Listed { rp_id: origin.to_owned(), credential, public, verified, label: "pam_u2f".into() })
}

/// The lines of authorized_keys(5) with keys that live on a security key.
fn authorized_keys(lines: &str) -> Result<Found, String> {
    let mut found = Found::default();
    for (n, line) in lines.lines().enumerate() {
        match mfa_ssh::Line::parse(line) {
            Ok(None) => {}
            // It may have been made to sign without a touch, and then never signs as we demand.
            Ok(Some(line)) if line.no_touch_required() => found.untouched += 1,
            Ok(Some(line)) => found.keys.push(of_ssh(&line).ok_or(format!("line {} has no good public key", n + 1))?),
            Err(mfa_ssh::KeyError::Malformed(_)) => return Err(format!("line {} is damaged", n + 1)),
            Err(_) => found.others += 1,
        }
    }
    Ok(found)
}

fn of_ssh(line: &mfa_ssh::Line) -> Option<Listed> {
    Some(Listed {
        rp_id: line.key.application.clone(),
        credential: Vec::new(),
        public: PublicKey::of_ssh(&line.key.point)?,
        verified: line.verify_required(),
        label: printable(&line.label, 64),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use mfa_core::Id;

    const ORIGIN: &str = "pam://web1";
    /// The base point of P-256: x, then y.
    const XY: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    /// The public key of RFC 8032, section 7.1, test 1.
    const ED: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn hex(digits: &str) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
    }

    fn es256() -> PublicKey {
        PublicKey::es256(&hex(XY)).unwrap()
    }

    fn entry(handle: &[u8], public: &str, rest: &str) -> String {
        format!("{},{},{rest}", BASE64.encode(handle), BASE64.encode(&hex(public)))
    }

    fn keys(lines: &str) -> Vec<Listed> {
        pam_u2f(lines, ORIGIN).unwrap().keys
    }

    fn why(line: &str) -> String {
        pam_u2f(&format!("alice:{line}"), ORIGIN).unwrap_err()
    }

    #[test]
    fn keys_of_pam_u2f_are_read_in_both_its_forms() {
        let made = |handle: &[u8], public, verified| Listed {
            rp_id: ORIGIN.into(),
            credential: handle.to_vec(),
            public,
            verified,
            label: "pam_u2f".into(),
        };
        let (es, long, ed) =
            (entry(b"\xff\xfe", XY, "es256,+presence"), format!("04{XY}"), entry(b"two", ED, "eddsa,+presence+pin"));
        let old = format!("{}==,{long}", BASE64URL_NOPAD.encode(b"\xff\xfe\xfd\xfc"));
        let line = format!("alice:{es}:{ed}:{old}\n");
        let ed25519 = PublicKey::ed25519(&hex(ED)).unwrap();
        let expected =
            [made(b"\xff\xfe", es256(), false), made(b"two", ed25519, true), made(b"\xff\xfe\xfd\xfc", es256(), false)];
        assert_eq!(keys(&line), expected);
        assert_eq!(keys(&format!("alice:{}", entry(b"\xff\xfe", &long, "es256,"))), expected[..1], "a long point");
        assert!(keys(&format!("alice:{}", entry(b"v", XY, "es256,+presence+verification")))[0].verified);
        assert_eq!(keys(&format!("alice:{ed}\n\nalice:{es}\n")), expected[..1], "the last line counts");
        assert_eq!(keys(&format!("alice::{es}:\r\n")), expected[..1], "as pamu2fcfg -n writes it");
        assert_eq!((keys("alice:"), keys("alice"), keys("")), (vec![], vec![], vec![]));
    }

    #[test]
    fn what_cannot_be_taken_over_is_named_and_takes_the_rest_of_the_line_with_it() {
        let good = entry(b"one", XY, "es256,+presence");
        for (bad, said) in [
            (format!("*,{},es256,+presence", BASE64.encode(&hex(XY))), "lives on the key itself"),
            (entry(b"rsa", XY, "rs256,+presence"), "is of RSA"),
            (entry(b"x", XY, "es384,+presence"), "neither es256 nor eddsa"),
            (entry(b"x", XY, "es256,+presence,more"), "more than four fields"),
            (entry(b"", XY, "es256,"), "impossible length"),
            (entry(&[7; 1025], XY, "es256,"), "impossible length"),
            (entry(b"x", ED, "es256,"), "a public key that is none"),
            (entry(b"x", XY, "eddsa,"), "a public key that is none"),
            (entry(b"x", &"00".repeat(64), "es256,"), "a public key that is none"),
            (entry(b"x", &"00".repeat(32), "eddsa,"), "a public key that is none"),
            (format!("!!!,{},es256,", BASE64.encode(&hex(XY))), "no key handle"),
            (String::from("AAAA,!!!,es256,"), "no public key in base64"),
            (String::from("AAAA,zz"), "no public key in hexadecimal"),
            (format!("AAAA,05{XY}"), "a public key that is none"),
            (format!("AAAA,{XY}"), "a public key that is none"),
            (String::from("AAAA"), "a public key that is none"),
        ] {
            let said_of_both = why(&format!("{good}:{bad}"));
            assert!(said_of_both.starts_with("key 2 of the line ") && said_of_both.contains(said), "{said_of_both}");
            assert!(why(&bad).starts_with("key 1 "), "{bad}");
        }
        for origin in ["", "pam://a b", "pam://ä", "a\nb", &"x".repeat(256)] {
            assert!(pam_u2f("alice:", origin).is_err(), "{origin:?}");
        }
    }

    fn ssh_line(key: &mfa_ssh::SkPublicKey) -> String {
        format!("{} {}", key.algorithm(), BASE64.encode(&key.to_blob()))
    }

    fn ssh_key(application: &str) -> mfa_ssh::SkPublicKey {
        let point = mfa_ssh::Point::Ed25519(hex(ED).try_into().unwrap());
        mfa_ssh::SkPublicKey { point, application: application.into() }
    }

    #[test]
    fn of_authorized_keys_only_security_keys_that_are_touched_are_taken() {
        let (plain, strict) = (ssh_line(&ssh_key("ssh:")), ssh_line(&ssh_key("ssh:work")));
        let file = format!(
            "# mine\n\nssh-ed25519 AAAA laptop\n{plain} alice \u{1b}[31m\nverify-required {strict}\n\
             no-touch-required {strict}\ncert-authority {strict}\n{}\n",
            ssh_line(&ssh_key("pam://web1"))
        );
        let found = authorized_keys(&file).unwrap();
        assert_eq!((found.others, found.untouched), (3, 1));
        assert_eq!(found.remark(), ", 3 other lines passed over, 1 without a touch refused");
        let [first, second] = &found.keys[..] else { panic!("{found:?}") };
        assert_eq!((first.rp_id.as_str(), first.verified, first.credential.len()), ("ssh:", false, 0));
        assert_eq!(first.label, "alice \\u{1b}[31m");
        assert_eq!((second.rp_id.as_str(), second.verified, second.label.as_str()), ("ssh:work", true, ""));

        let cut = &plain[..plain.len() - 4];
        assert_eq!(authorized_keys(&format!("{plain}\n{cut}\n")), Err("line 2 is damaged".into()));
        let weak = mfa_ssh::SkPublicKey { point: mfa_ssh::Point::Ed25519([0; 32]), application: "ssh:".into() };
        assert_eq!(authorized_keys(&ssh_line(&weak)), Err("line 1 has no good public key".into()));
        assert_eq!(authorized_keys("ssh-rsa AAAA\n").unwrap().remark(), ", 1 other line passed over");
    }

    #[test]
    fn a_key_is_bound_once_however_often_it_is_listed() {
        let key = |id, public| Key {
            id: Id([id; 16]),
            label: String::new(),
            created: 0,
            created_from: String::new(),
            rp_id: ORIGIN.into(),
            credential: vec![1],
            public,
            verified: false,
            counter: 7,
        };
        let (one, two) = (key(1, es256()), key(2, PublicKey::ed25519(&hex(ED)).unwrap()));
        let again = Key { counter: 0, ..key(3, es256()) };
        let bound = with_new_keys(&[], &[one.clone(), again.clone()]);
        assert_eq!(bound, std::slice::from_ref(&one));
        assert_eq!(with_new_keys(&bound, &[again, two.clone()]), [one, two], "what is bound stays as it is");
    }

    /// Fields that are nearly right.
    fn field() -> impl Strategy<Value = String> {
        let handle = proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| BASE64.encode(&bytes));
        prop_oneof![
            handle,
            Just(BASE64.encode(&hex(XY))),
            Just(format!("04{XY}")),
            Just(BASE64.encode(&hex(ED))),
            "es256|eddsa|rs256|\\*|[+]presence|[+]pin|",
            "\\PC{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn any_line_is_keys_that_can_be_kept_or_one_reason(
            entries in proptest::collection::vec(proptest::collection::vec(field(), 0..6), 0..4),
            text in "\\PC{0,200}",
        ) {
            let line = entries.iter().map(|fields| fields.join(",")).collect::<Vec<_>>().join(":");
            for lines in [format!("alice:{line}"), line, text] {
                match pam_u2f(&lines, ORIGIN) {
                    Ok(found) => for key in found.keys {
                        prop_assert!((1..=MOST_CREDENTIAL).contains(&key.credential.len()));
                        prop_assert!(PublicKey::es256(key.public.bytes()).or(PublicKey::ed25519(key.public.bytes())).is_some());
                    },
                    Err(why) => prop_assert!(why.starts_with("key ") && why.is_ascii(), "{why}"),
                }
                let _ = authorized_keys(&lines);
            }
        }

        #[test]
        fn what_pamu2fcfg_writes_comes_back(handles in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..5), pin: bool) {
            let options = if pin { "es256,+presence+pin" } else { "es256,+presence" };
            let line: String = handles.iter().map(|handle| format!(":{}", entry(handle, XY, options))).collect();
            let keys = keys(&format!("alice{line}\n"));
            prop_assert_eq!(keys.iter().map(|key| key.credential.clone()).collect::<Vec<_>>(), handles);
            prop_assert!(keys.iter().all(|key| key.verified == pin && key.public == es256()));
        }
    }
}
