//! Remembered logins: for a while, a login from the same origin is not asked for the device.

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

/// The origin of a login. A remembered login is valid only for a login in which all of this is equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    service: String,
    source: String,
    key: String,
}

/// Written in place of the key if the login used no ssh key.
const NO_KEY: &str = "-";

impl Origin {
    /// The longest service or source that is remembered, in bytes.
    pub(crate) const LONGEST: usize = 96;

    /// A login to this service, from this source, with the ssh key of this fingerprint. `None` if the service or source
    /// cannot be stored as a word; such a login is not remembered.
    pub fn new(service: &str, source: &str, key: Option<&[u8; 32]>) -> Option<Origin> {
        let key = key.map_or(NO_KEY.to_owned(), |key| BASE64_NOPAD.encode(key));
        let is_word =
            |text: &str| (1..=Origin::LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        (is_word(service) && is_word(source)).then(|| Origin { service: service.into(), source: source.into(), key })
    }

    /// The PAM service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The fingerprint of the ssh key, as `ssh-keygen -l` prints it.
    pub fn key(&self) -> Option<String> {
        (self.key != NO_KEY).then(|| format!("SHA256:{}", self.key))
    }
}

/// One remembered login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedLogin {
    /// The origin that it is valid for.
    pub origin: Origin,
    /// When the code was given, in seconds since 1970.
    pub made: u64,
    /// The time from which it is no longer valid, in seconds since 1970.
    pub expires: u64,
}

impl RememberedLogin {
    /// For revoking it. Not a secret. Two logins of a user share an id only by chance.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.words())[..4])
    }

    /// Whether it is valid. A login dated in the future predates a change of the clock: its age is unknown, so refuse
    /// it.
    pub fn is_good(&self, now: u64) -> bool {
        self.made <= now && now < self.expires
    }

    fn words(&self) -> String {
        let Origin { service, source, key } = &self.origin;
        format!("{service} {source} {key} {} {}", self.made, self.expires)
    }

    fn parse(words: &[&str]) -> Option<RememberedLogin> {
        let [service, source, key, made, expires] = words else { return None };
        let key = match *key {
            NO_KEY => None,
            key => Some(BASE64_NOPAD.decode(key.as_bytes()).ok()?.try_into().ok()?),
        };
        let origin = Origin::new(service, source, key.as_ref())?;
        Some(RememberedLogin { origin, made: made.parse().ok()?, expires: expires.parse().ok()? })
    }
}

/// The remembered logins of one user, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RememberedLogins(Vec<RememberedLogin>);

impl RememberedLogins {
    /// The most logins that are kept for a user.
    pub(crate) const MOST: usize = 8;

    /// Those that are valid.
    pub fn good(&self, now: u64) -> impl Iterator<Item = &RememberedLogin> {
        self.0.iter().filter(move |login| login.is_good(now))
    }

    /// A copy with this login added. It replaces a login of the same origin, or, if there is no room, the oldest.
    #[must_use]
    pub fn with(&self, login: RememberedLogin) -> RememberedLogins {
        let others = self.good(login.made).filter(|other| other.origin != login.origin).cloned();
        let mut logins: Vec<RememberedLogin> = others.collect();
        if logins.len() >= RememberedLogins::MOST {
            logins.remove(0);
        }
        logins.push(login);
        RememberedLogins(logins)
    }

    /// A copy without the logins that have this id.
    #[must_use]
    pub fn without(&self, id: &str) -> RememberedLogins {
        RememberedLogins(self.0.iter().filter(|login| login.id() != id).cloned().collect())
    }

    pub(crate) fn word(&self) -> String {
        if self.0.is_empty() {
            return String::from("none");
        }
        self.0.iter().map(RememberedLogin::words).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn parse(text: &str) -> Option<RememberedLogins> {
        if text == "none" {
            return Some(RememberedLogins::default());
        }
        let words: Vec<&str> = text.split(' ').collect();
        let logins = RememberedLogins(words.chunks(5).map(RememberedLogin::parse).collect::<Option<_>>()?);
        // Accept only what we would write ourselves.
        (logins.0.len() <= RememberedLogins::MOST && logins.word() == text).then_some(logins)
    }
}

/// A login that can be remembered.
#[derive(Clone, Debug)]
pub struct Memory {
    /// To what that is bound.
    pub origin: Origin,
    /// For how long, in seconds.
    pub seconds: u64,
}

impl Memory {
    /// What is remembered of a code that is given now.
    pub fn remembered(&self, now: u64) -> RememberedLogin {
        RememberedLogin { origin: self.origin.clone(), made: now, expires: now.saturating_add(self.seconds) }
    }

    /// The remembered login that lets this one in. Today's rule decides: a login that was remembered for longer is asked
    /// again.
    pub fn find<'a>(&self, logins: &'a RememberedLogins, now: u64) -> Option<&'a RememberedLogin> {
        let young = |login: &&RememberedLogin| now < login.made.saturating_add(self.seconds);
        logins.good(now).find(|login| login.origin == self.origin).filter(young)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn login(service: &str, source: &str, made: u64) -> RememberedLogin {
        RememberedLogin { origin: Origin::new(service, source, None).unwrap(), made, expires: made + 3600 }
    }

    #[test]
    fn what_has_no_plain_name_is_not_remembered() {
        let long = "x".repeat(Origin::LONGEST + 1);
        for odd in ["", "a b", "a\n", "\u{e9}", &long] {
            assert_eq!(Origin::new(odd, "192.0.2.7", None), None, "{odd:?}");
            assert_eq!(Origin::new("sshd", odd, None), None, "{odd:?}");
        }
        assert!(Origin::new(&long[1..], "192.0.2.7", None).is_some());
    }

    #[test]
    fn a_ticket_is_good_from_the_moment_it_was_made_until_it_expires() {
        let login = login("sshd", "192.0.2.7", NOW);
        let good = [NOW - 1, NOW, NOW + 3599, NOW + 3600].map(|now| login.is_good(now));
        assert_eq!(good, [false, true, true, false]);
    }

    #[test]
    fn a_further_ticket_drops_the_one_it_replaces_those_that_are_void_and_else_the_oldest() {
        let full = (0..8)
            .fold(RememberedLogins::default(), |all, n| all.with(login("sshd", &format!("192.0.2.{n}"), NOW + n)));
        assert_eq!(full.good(NOW + 8).count(), 8);
        let ids = |logins: &RememberedLogins| logins.0.iter().map(RememberedLogin::id).collect::<Vec<_>>();
        let more = full.with(login("sshd", "192.0.2.8", NOW + 8));
        assert_eq!(ids(&more)[..7], ids(&full)[1..]);
        let again = full.with(login("sshd", "192.0.2.3", NOW + 9));
        assert_eq!((again.0.len(), ids(&again).contains(&ids(&full)[3])), (8, false));
        assert_eq!(full.with(login("su", "192.0.2.0", NOW + 3600 + 6)).0.len(), 2, "seven have expired");
        assert_eq!(full.with(login("su", "192.0.2.0", NOW - 1)).0.len(), 1, "the clock was set back");
    }

    #[test]
    fn one_is_revoked_by_its_id() {
        let two = RememberedLogins::default().with(login("sshd", "192.0.2.7", NOW)).with(login("su", "192.0.2.7", NOW));
        let [first, second] = [0, 1].map(|n| two.0[n].id());
        assert_eq!(first.len(), 8);
        assert_eq!(two.without(&first).0[..], two.0[1..]);
        assert_eq!(two.without(&first).without(&second), RememberedLogins::default());
        assert_eq!(two.without("00000000"), two);
    }

    #[test]
    fn remembered_logins_have_one_spelling() {
        let key = Origin::new("sshd", "2001:db8::1", Some(&[7; 32])).unwrap();
        assert_eq!(key.key().as_deref(), Some("SHA256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"));
        let logins = RememberedLogins::default().with(login("sudo", "session:3:boot", NOW)).with(RememberedLogin {
            origin: key,
            made: NOW,
            expires: NOW + 60,
        });
        let text = logins.word();
        assert_eq!(RememberedLogins::parse(&text), Some(logins));
        assert_eq!(RememberedLogins::parse("none"), Some(RememberedLogins::default()));
        let nine = ["su 192.0.2.7 - 1 2"; 9].join(" ");
        for other in ["", " ", "none ", "su 192.0.2.7 - 1", "su 192.0.2.7 - 1 2 ", "su 192.0.2.7 - 01 2", &nine] {
            assert_eq!(RememberedLogins::parse(other), None, "{other:?}");
        }
        for key in ["--", "=", "BwcH", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd"] {
            assert_eq!(RememberedLogins::parse(&format!("su 192.0.2.7 {key} 1 2")), None, "{key}");
        }
    }
}
