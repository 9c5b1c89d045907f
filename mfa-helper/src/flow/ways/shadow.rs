//! What passwd(5) and shadow(5) of this host say about somebody's password: whether there is one that can be typed, and
//! whether the account has expired. The hashes themselves are wiped as soon as they have been looked at.

use std::collections::HashMap;
use std::path::Path;

use crate::rootfile::Dir;
use crate::sys::names::{Hash, hash};

/// The longest file that is read, in bytes.
const LIMIT: usize = 16 * 1024 * 1024;

const DAY: u64 = 86_400;

/// The password of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// There is one that can be typed.
    Typed,
    /// None can match ([`Hash::Locked`]), as for the accounts of a cloud image.
    Locked,
    /// It is empty: with `nullok`, pam_unix asks nothing.
    Empty,
    /// This host's files do not have the user: a directory may keep a password.
    Elsewhere,
    /// The files cannot be read.
    NotKnown(String),
}

/// What account management of pam_unix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// The account may be used.
    Good,
    /// The account has expired.
    Expired,
    /// So has the time to change its password.
    TooOld,
    /// The password has to be changed first.
    ToBeChanged,
    /// Passwd refers to shadow, which does not have the account.
    NotThere,
}

/// An entry, without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entry {
    hash: Hash,
    /// It begins with `!`: sshd without PAM takes such an account for locked.
    barred: bool,
    /// Last change, longest time, time after that, end: in days, as shadow(5) has them. `None` if shadow does not have
    /// the account.
    days: Option<Days>,
}

type Days = [Option<u64>; 4];

/// Both files, without hashes.
pub struct Shadow {
    passwd: Result<Entries, String>,
    shadow: Result<Entries, String>,
}

/// By name. Without its hash an entry is one of a few, which are kept once.
#[derive(Default)]
struct Entries {
    by_name: HashMap<Box<str>, usize>,
    kinds: Vec<Entry>,
}

impl Entries {
    fn get(&self, user: &str) -> Option<&Entry> {
        self.kinds.get(*self.by_name.get(user)?)
    }
}

impl Shadow {
    /// Reads them. Only root can.
    pub fn read() -> Shadow {
        Shadow { passwd: file("passwd", of_passwd), shadow: file("shadow", of_shadow) }
    }

    /// From the texts of the two files, or the reasons why they cannot be read.
    #[cfg(test)]
    pub fn of(passwd: &str, shadow: Result<&str, &str>) -> Shadow {
        let shadow = shadow.map(|text| entries(text.as_bytes(), of_shadow)).map_err(str::to_owned);
        Shadow { passwd: Ok(entries(passwd.as_bytes(), of_passwd)), shadow }
    }

    /// The password of `user`, for pam_unix.
    pub fn password(&self, user: &str) -> Password {
        Self::kind(self.entry(user))
    }

    /// The same for an sshd without PAM.
    pub fn password_without_pam(&self, user: &str) -> Password {
        Self::kind(self.entry_of_sshd(user))
    }

    fn kind(entry: Result<Option<Entry>, String>) -> Password {
        match entry {
            Ok(Some(Entry { hash: Hash::Empty, .. })) => Password::Empty,
            Ok(Some(Entry { hash: Hash::Typed, .. })) => Password::Typed,
            // Shadow refers to no other place: nothing can match.
            Ok(Some(Entry { hash: Hash::Locked | Hash::InShadow, .. })) => Password::Locked,
            Ok(None) => Password::Elsewhere,
            Err(why) => Password::NotKnown(why),
        }
    }

    /// Whether the account may be used, `None` if that is not known.
    pub fn age(&self, user: &str, now: u64) -> Option<Age> {
        Some(self.entry(user).ok()?.map_or(Age::Good, |entry| age(entry.days, now / DAY)))
    }

    /// Whether sshd without PAM refuses the account, because its hash begins with `!`.
    pub fn is_barred(&self, user: &str) -> bool {
        self.entry_of_sshd(user).ok().flatten().is_some_and(|entry| entry.barred)
    }

    /// The same for an sshd without PAM, which looks at the end of the account alone where a key is enough
    /// (`auth_shadow_acctexpired`). A password that is too old has to be changed, however old it is.
    pub fn age_without_pam(&self, user: &str, now: u64) -> Option<Age> {
        let today = now / DAY;
        let Some([changed, longest, _, end]) = self.entry_of_sshd(user).ok()?.and_then(|entry| entry.days) else {
            return Some(Age::Good);
        };
        if end.is_some_and(|end| today > end) {
            return Some(Age::Expired);
        }
        Some(age(Some([changed, longest, None, None]), today))
    }

    /// Where sshd looks without PAM: an entry in shadow counts, whatever passwd says (`shadow_pw`).
    fn entry_of_sshd(&self, user: &str) -> Result<Option<Entry>, String> {
        let Some(of_passwd) = self.passwd.as_ref().map_err(Clone::clone)?.get(user) else { return Ok(None) };
        let of_shadow = self.shadow.as_ref().map_err(Clone::clone)?.get(user);
        Ok(Some(of_shadow.unwrap_or(of_passwd).clone()))
    }

    /// The entry where pam_unix looks: in shadow if passwd refers to it, otherwise in passwd.
    fn entry(&self, user: &str) -> Result<Option<Entry>, String> {
        let Some(entry) = self.passwd.as_ref().map_err(Clone::clone)?.get(user) else { return Ok(None) };
        if entry.hash != Hash::InShadow {
            return Ok(Some(entry.clone()));
        }
        let entry = self.shadow.as_ref().map_err(Clone::clone)?.get(user).cloned();
        Ok(Some(entry.unwrap_or(Entry { hash: Hash::InShadow, barred: false, days: None })))
    }
}

fn file(name: &str, days: fn(&[Option<&str>]) -> Days) -> Result<Entries, String> {
    let content = Dir::open(Path::new("/etc")).and_then(|etc| etc.read_public(name, LIMIT));
    let content = content.map_err(|fault| fault.to_string())?.ok_or_else(|| format!("/etc/{name} is missing"))?;
    Ok(entries(content.bytes.bytes(), days))
}

/// The numbers of an entry in shadow, behind its hash.
fn of_shadow(fields: &[Option<&str>]) -> Days {
    [0, 2, 4, 5].map(|at| fields.get(at).copied().flatten()?.parse().ok())
}

/// Passwd has none.
fn of_passwd(_: &[Option<&str>]) -> Days {
    [None; 4]
}

/// Users may write any bytes into a field of theirs (chfn(1)), and must not hide the others by that.
fn entries(text: &[u8], days: fn(&[Option<&str>]) -> Days) -> Entries {
    let mut entries = Entries::default();
    let mut kinds: HashMap<Entry, usize> = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<Option<&str>> =
            line.split(|byte| *byte == b':').map(|field| std::str::from_utf8(field).ok()).collect();
        let [Some(name), Some(field), rest @ ..] = fields.as_slice() else { continue };
        let barred = field.starts_with('!');
        let entry = Entry { hash: hash(field.as_bytes(), name.as_bytes()), barred, days: Some(days(rest)) };
        let kind = *kinds.entry(entry).or_insert_with_key(|entry| {
            entries.kinds.push(entry.clone());
            entries.kinds.len() - 1
        });
        // The C library takes the first one.
        entries.by_name.entry((*name).into()).or_insert(kind);
    }
    entries
}

/// check_shadow_expiry() of pam_unix, in days since 1970.
fn age(days: Option<Days>, today: u64) -> Age {
    let Some([changed, longest, after, end]) = days else { return Age::NotThere };
    if end.is_some_and(|end| today >= end) {
        return Age::Expired;
    }
    let Some(changed) = changed else { return Age::Good };
    if changed == 0 {
        return Age::ToBeChanged;
    }
    let (Some(longest), Some(old)) = (longest, today.checked_sub(changed)) else { return Age::Good };
    match after {
        Some(after) if old > longest.saturating_add(after) => Age::TooOld,
        _ if old > longest => Age::ToBeChanged,
        _ => Age::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a login goes by, and what is said of it beforehand.
    #[test]
    #[ignore = "needs root: make unit"]
    fn a_login_and_the_model_say_the_same_of_each_password() {
        const FIELDS: [&str; 16] = [
            "",
            "x",
            "*NP*",
            "##eve",
            "!",
            "*",
            "!!",
            "!$y$j9T$a$b",
            "*LK*",
            "NP",
            "xx",
            "no-hash",
            "$y$j9T$abc$def",
            "_J9..K0AyUubqqqqqqqq",
            "abJnggxhB/yWI",
            "abJnggxhB/yWIx",
        ];
        let in_shadow = FIELDS.map(|field| format!("eve:{field}:20000:0:99999:7:::\n"));
        for field in FIELDS {
            for shadow in in_shadow.iter().map(String::as_str).chain([""]) {
                let passwd = format!("root:x:0:0::/:/bin/sh\neve:{field}:4000:4000::/:/bin/sh\n");
                let model = Shadow::of(&passwd, Ok(shadow)).password("eve");
                let files = [("/etc/passwd", passwd.as_str()), ("/etc/shadow", shadow)];
                crate::sys::names::world::in_a_world(&files, || {
                    let expected = match crate::identity::password_of("eve") {
                        crate::identity::Password::Set => Password::Typed,
                        crate::identity::Password::Locked => Password::Locked,
                        crate::identity::Password::Empty => Password::Empty,
                        crate::identity::Password::NotKnown => panic!("both files are there"),
                    };
                    assert_eq!(model, expected, "{field:?} in passwd, {shadow:?} in shadow");
                });
            }
        }
    }

    #[test]
    fn a_field_in_passwd_counts_if_it_refers_to_no_shadow() {
        let shadow = Shadow::of("a:*:1:1::/:/bin/sh\nb::2:2::/:/bin/sh\nc:x:3:3::/:/bin/sh\n", Ok("a:$6$x$y:::::::\n"));
        let named = Shadow::of("a:##a:1:1::/:/bin/sh\n", Ok("a:$6$x$y:::::::\n"));
        assert_eq!(named.password("a"), Password::Typed);
        let passwords = ["a", "b", "c", "nobody-here"].map(|user| shadow.password(user));
        assert_eq!(passwords, [Password::Locked, Password::Empty, Password::Locked, Password::Elsewhere]);
    }

    /// Anybody may put such bytes there, by chfn.
    #[test]
    fn without_pam_shadow_counts_whatever_passwd_says() {
        let shadow = |passwd: &str, shadow| Shadow::of(&format!("eve:{passwd}:4000:4000::/:/bin/sh\n"), shadow);
        let both = shadow("!$y$a", Ok("eve:$y$b:20000::::::\n"));
        assert_eq!((both.password("eve"), both.is_barred("eve")), (Password::Locked, false));
        assert_eq!(both.password_without_pam("eve"), Password::Typed);
        let barred = shadow("$y$a", Ok("eve:!:20000::::::\n"));
        assert_eq!((barred.password("eve"), barred.is_barred("eve")), (Password::Typed, true));
        let alone = shadow("!$y$a", Ok(""));
        assert_eq!((alone.password_without_pam("eve"), alone.is_barred("eve")), (Password::Locked, true));
        assert_eq!(alone.password_without_pam("kim"), Password::Elsewhere);
        assert_eq!(shadow("$y$a", Err("torn")).password_without_pam("eve"), Password::NotKnown("torn".into()));
    }

    #[test]
    fn without_pam_only_the_end_of_the_account_keeps_a_key_out() {
        let age = |days: &str| {
            let shadow = format!("eve:$y$a:{days}\n");
            Shadow::of("eve:x:4000:4000::/:/bin/sh\n", Ok(&shadow)).age_without_pam("eve", 20_000 * DAY)
        };
        assert_eq!(age("19000:0:9:7:5::"), Some(Age::ToBeChanged), "pam_unix takes it for over");
        assert_eq!(age("0:0:99999:7:::"), Some(Age::ToBeChanged));
        assert_eq!([age("19000:0:99999:7::20000:"), age("19000:0::7:::")], [Some(Age::Good), Some(Age::Good)]);
        assert_eq!(age("19000:0:99999:7::19999:"), Some(Age::Expired));
    }

    #[test]
    fn an_entry_is_kept_once_for_all_who_have_it() {
        let passwd: String = (0..1000).map(|n| format!("user{n}:x:{n}:{n}:{n}:/:/bin/sh\n")).collect();
        let kept = entries(passwd.as_bytes(), of_passwd);
        assert_eq!((kept.by_name.len(), kept.kinds.len()), (1000, 1));
    }

    #[test]
    fn bytes_that_are_no_text_hide_nobody() {
        let mut passwd = b"eve:x:1:1:\xff,\xfe::/bin/sh\n".to_vec();
        passwd.extend(b"kim:*:2:2::/:/bin/sh\n");
        let entries = entries(&passwd, of_passwd);
        assert_eq!(["eve", "kim"].map(|name| entries.get(name).unwrap().hash), [Hash::InShadow, Hash::Locked]);
    }

    #[test]
    fn a_shadow_that_cannot_be_read_says_nothing() {
        let shadow = Shadow::of("a:x:1:1::/:/bin/sh\nb:*:2:2::/:/bin/sh\n", Err("no permission"));
        assert_eq!(shadow.password("a"), Password::NotKnown(String::from("no permission")));
        assert_eq!(shadow.age("a", 0), None);
        assert_eq!(shadow.password("b"), Password::Locked, "its hash would be in passwd");
    }

    #[test]
    fn accounts_expire_as_for_pam_unix() {
        let of = |fields: &str| Shadow::of("a:x:1:1::/:/bin/sh\n", Ok(&format!("a:$6$x$y:{fields}\n")));
        let age = |fields: &str| of(fields).age("a", 20_000 * DAY + 5);
        assert_eq!(age("19990:0:99999:7:::"), Some(Age::Good));
        assert_eq!(age("19990:0:99999:7::0:"), Some(Age::Expired), "chage -E 0");
        assert_eq!(age("19990:0:99999:7::20001:"), Some(Age::Good));
        assert_eq!(age("19990:0:99999:7::20000:"), Some(Age::Expired), "on the day itself");
        assert_eq!(age("0:0:99999:7:::"), Some(Age::ToBeChanged));
        assert_eq!(age("19990:0:9:7:::"), Some(Age::ToBeChanged));
        assert_eq!(age("19990:0:9:7:0::"), Some(Age::TooOld));
        assert_eq!(age(":::::"), Some(Age::Good));
        assert_eq!(of("").age("b", 0), Some(Age::Good), "of another host");
        let in_passwd = Shadow::of("root:$6$x$y:0:0:5::/root\n", Ok(""));
        assert_eq!(in_passwd.age("root", 20_000 * DAY), Some(Age::Good), "its uid is no day");
        assert_eq!(Shadow::of("a:x:1:1::/:/bin/sh\n", Ok("")).age("a", 0), Some(Age::NotThere));
    }
}
