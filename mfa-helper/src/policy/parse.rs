//! From TOML to a [`Policy`]. Strict: an unknown name is an error, with the line and the nearest known name.

use std::fmt;

use data_encoding::HEXLOWER;
use mfa_core::Kind;
use mfa_core::key::Pin;
use mfa_core::lockout::Lockout;
use mfa_core::recovery::MOST;
use mfa_core::totp::{Algorithm, Parameters};
use mfa_wire::nearest;
use serde::Deserialize;
use toml::Spanned;
use toml::value::{Datetime, Offset};

use super::place::{From, Network};
use super::{Enroll, Mode, Policy, Require, Rule, SkKey, SshKey, U2f};
use crate::lang::Lang;
use crate::program;

/// 30 days, in seconds.
const LONGEST_LOCK: u64 = 720 * 3600;

/// 30 days, in seconds.
const LONGEST_MEMORY: u64 = 720 * 3600;

/// What is wrong with a policy. Only root may read it, because it quotes the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError(pub String);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's name and its text.
pub type Source = (String, String);

/// The main file. Everything in it is optional.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Main {
    issuer: Option<Spanned<String>>,
    contact: Option<Spanned<String>>,
    lang: Option<Lang>,
    self_service: Option<bool>,
    totp: TotpTable,
    u2f: U2fTable,
    recovery: RecoveryTable,
    lockout: LockoutTable,
    enroll: EnrollTable,
    store: StoreTable,
    rule: Vec<Spanned<RuleTable>>,
}

/// A drop-in: rules only, so that every setting has one place.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct DropIn {
    rule: Vec<Spanned<RuleTable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TotpTable {
    digits: Option<Spanned<u64>>,
    period: Option<Spanned<String>>,
    algorithm: Option<Spanned<String>>,
    window: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct U2fTable {
    rp_id: Option<Spanned<String>>,
    pin: Option<PinWord>,
    timeout: Option<Spanned<String>>,
    consoles: Option<Spanned<Vec<String>>>,
    aaguids: Option<Spanned<Vec<String>>>,
    debug: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RecoveryTable {
    codes: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LockoutTable {
    after: Option<Spanned<u64>>,
    first: Option<Spanned<String>>,
    cap: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct EnrollTable {
    services: Option<Spanned<Vec<String>>>,
    programs: Option<Spanned<Vec<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct StoreTable {
    backend: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
}

/// The word of a [`Pin`] in the file.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PinWord {
    IfSet,
    Require,
    Never,
}

impl PinWord {
    fn pin(self) -> Pin {
        match self {
            PinWord::IfSet => Pin::IfSet,
            PinWord::Require => Pin::Require,
            PinWord::Never => Pin::Never,
        }
    }
}

/// The word of a [`Kind`] in the file.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindWord {
    Totp,
    U2f,
}

impl KindWord {
    fn kind(self) -> Kind {
        match self {
            KindWord::Totp => Kind::Totp,
            KindWord::U2f => Kind::U2f,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: Option<Spanned<String>>,
    users: Option<Spanned<Vec<String>>>,
    groups: Option<Spanned<Vec<String>>>,
    services: Option<Spanned<Vec<String>>>,
    from: Option<Spanned<Vec<String>>>,
    require: Require,
    mode: Option<Mode>,
    kinds: Option<Spanned<Vec<KindWord>>>,
    enroll: Option<Enroll>,
    deadline: Option<Spanned<String>>,
    expires: Option<Spanned<String>>,
    ssh_key: Option<SshKey>,
    remember: Option<Spanned<String>>,
    sk_key: Option<SkKey>,
}

/// Reads drop-ins in the given order and then, last, the main file.
pub fn parse(sources: &[Source]) -> Result<Policy, PolicyError> {
    let Some((main, drop_ins)) = sources.split_last() else { return Ok(Policy::default()) };
    let mut policy = Policy::default();
    for source in drop_ins {
        let file = File(source);
        let DropIn { rule } = file.toml()?;
        file.rules(rule, &mut policy.rules)?;
    }
    File(main).main(&mut policy)?;
    Ok(policy)
}

struct File<'a>(&'a Source);

impl File<'_> {
    fn toml<T: for<'de> Deserialize<'de>>(&self) -> Result<T, PolicyError> {
        let (path, text) = self.0;
        toml::from_str(text).map_err(|e| {
            let place = e.span().map_or(String::new(), |span| format!(":{}", line_of(text, span.start)));
            let nearest = nearest_key(e.message()).map_or(String::new(), |known| format!("\ndid you mean `{known}`?"));
            PolicyError(format!("{path}{place}: {}{nearest}", e.to_string().trim_end()))
        })
    }

    fn main(&self, policy: &mut Policy) -> Result<(), PolicyError> {
        let Main { issuer, contact, lang, self_service, totp, u2f, recovery, lockout, enroll, store, rule } =
            self.toml()?;
        if let Some(issuer) = issuer {
            let name = issuer.get_ref();
            let fit =
                !name.is_empty() && name.len() <= 64 && !name.contains(':') && !name.chars().any(char::is_control);
            self.demand(fit, &issuer, "an issuer has 1 to 64 bytes, no colon and no control character")?;
            policy.issuer = Some(issuer.into_inner());
        }
        if let Some(contact) = contact {
            let rule = "a contact has 1 to 60 ASCII characters, and does not speak of passwords";
            self.demand(is_contact(contact.get_ref()), &contact, rule)?;
            policy.contact = Some(contact.into_inner());
        }
        policy.lang = lang.unwrap_or_default();
        policy.self_service = self_service.unwrap_or(policy.self_service);
        self.totp(totp, policy)?;
        self.u2f(u2f, &mut policy.u2f)?;
        if let Some(codes) = recovery.codes {
            self.demand(*codes.get_ref() <= MOST, &codes, "a set has 0 to 50 recovery codes")?;
            policy.recovery_codes = *codes.get_ref();
        }
        self.lockout(lockout, &mut policy.lockout)?;
        if let Some(services) = enroll.services {
            // An empty list has a meaning here: nobody binds a device inside a login.
            self.are_services(&services)?;
            policy.enroll_services = services.into_inner();
        }
        if let Some(programs) = enroll.programs {
            self.are_programs(&programs)?;
            policy.enroll_programs = programs.into_inner();
        }
        if let Some(backend) = store.backend {
            self.demand(backend.get_ref() == "files", &backend, "the only backend is \"files\"")?;
        }
        if let Some(path) = store.path {
            self.demand(path.get_ref().starts_with('/'), &path, "the path must be absolute")?;
            policy.store = path.into_inner();
        }
        self.rules(rule, &mut policy.rules)
    }

    fn totp(&self, table: TotpTable, policy: &mut Policy) -> Result<(), PolicyError> {
        let totp = &mut policy.totp;
        if let Some(digits) = table.digits {
            let known = Parameters::checked(totp.algorithm, *digits.get_ref(), totp.period);
            totp.digits = known.ok_or_else(|| self.wrong(&digits, "digits is 6, 7 or 8"))?.digits;
        }
        if let Some(period) = table.period {
            let known = seconds(period.get_ref()).and_then(|s| Parameters::checked(totp.algorithm, 6, s));
            totp.period = known.ok_or_else(|| self.wrong(&period, "a period is \"15s\" to \"5m\""))?.period;
        }
        if let Some(algorithm) = table.algorithm {
            let rule = "an algorithm is \"SHA1\", \"SHA256\" or \"SHA512\"";
            let known = Algorithm::from_name(algorithm.get_ref());
            totp.algorithm = known.ok_or_else(|| self.wrong(&algorithm, rule))?;
        }
        if let Some(window) = table.window {
            self.demand(*window.get_ref() <= 10, &window, "a window is 0 to 10 steps")?;
            policy.window = *window.get_ref();
        }
        Ok(())
    }

    fn u2f(&self, table: U2fTable, u2f: &mut U2f) -> Result<(), PolicyError> {
        if let Some(rp_id) = table.rp_id {
            let name = rp_id.get_ref();
            let fit = (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
            // An ssh key signs for its application. A signature for ssh must not be valid for a login, nor the
            // reverse.
            let rule = "a relying party has 1 to 128 letters without blanks, and does not begin with \"ssh:\"";
            self.demand(fit && !name.starts_with("ssh:"), &rp_id, rule)?;
            u2f.rp_id = Some(rp_id.into_inner());
        }
        u2f.debug = table.debug;
        u2f.pin = table.pin.map(PinWord::pin).unwrap_or_default();
        if let Some(timeout) = table.timeout {
            // A front end waits 120 s for the next message (mfa_wire::FRAME_TIMEOUT), and none is sent during a
            // touch.
            let known = seconds(timeout.get_ref()).filter(|s| (5..=90).contains(s));
            u2f.timeout = known.ok_or_else(|| self.wrong(&timeout, "a key is waited for \"5s\" to \"90s\""))?;
        }
        if let Some(consoles) = table.consoles {
            let fit = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
            let rule = "a console is a terminal of this host as /dev names it, such as \"ttyS0\"";
            self.demand(consoles.get_ref().iter().all(fit), &consoles, rule)?;
            u2f.consoles = consoles.into_inner();
        }
        if let Some(aaguids) = table.aaguids {
            let rule = "an AAGUID is 32 hexadecimal digits, with hyphens or without";
            let known: Option<Vec<[u8; 16]>> = aaguids.get_ref().iter().map(|text| aaguid(text)).collect();
            u2f.aaguids = known.ok_or_else(|| self.wrong(&aaguids, rule))?;
            // A list that allows nothing is more likely a mistake.
            self.demand(!u2f.aaguids.is_empty(), &aaguids, "an empty list can be satisfied by no key")?;
        }
        Ok(())
    }

    fn lockout(&self, table: LockoutTable, lockout: &mut Lockout) -> Result<(), PolicyError> {
        if let Some(after) = table.after {
            self.demand((1..=100).contains(after.get_ref()), &after, "after is 1 to 100 wrong codes")?;
            lockout.after = *after.get_ref();
        }
        let duration = |value: &Spanned<String>| {
            let known = seconds(value.get_ref()).filter(|s| (1..=LONGEST_LOCK).contains(s));
            known.ok_or_else(|| self.wrong(value, "a lock lasts \"1s\" to \"720h\""))
        };
        if let Some(first) = &table.first {
            lockout.first = duration(first)?;
        }
        if let Some(cap) = &table.cap {
            lockout.cap = duration(cap)?;
        }
        // The error points at the key that is there.
        if let Some(shown) = table.cap.or(table.first) {
            self.demand(lockout.first <= lockout.cap, &shown, "cap is not shorter than first")?;
        }
        Ok(())
    }

    fn rules(&self, tables: Vec<Spanned<RuleTable>>, rules: &mut Vec<Rule>) -> Result<(), PolicyError> {
        for table in tables {
            let line = line_of(&self.0.1, table.span().start);
            let table = table.into_inner();
            let name = match table.name {
                Some(name) => {
                    let fit = !name.get_ref().is_empty() && !name.get_ref().chars().any(char::is_control);
                    self.demand(fit, &name, "a rule's name is not empty and has no control character")?;
                    format!(" {}", name.get_ref())
                }
                None => String::new(),
            };
            let file = self.0.0.rsplit('/').next().unwrap_or_default();
            rules.push(Rule {
                origin: format!("{file}:{line}{name}"),
                users: self.list(table.users)?,
                groups: self.list(table.groups)?,
                services: self.services(table.services)?,
                from: self.from(table.from)?,
                require: table.require,
                mode: table.mode.unwrap_or_default(),
                kinds: self.kinds(table.kinds)?,
                enroll: table.enroll.unwrap_or(Enroll::AtLogin),
                deadline: self.time(table.deadline)?,
                expires: self.time(table.expires)?,
                ssh_key: table.ssh_key,
                remember: self.remember(table.remember)?,
                sk_key: table.sk_key.unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// An empty list would match nobody, while an absent list matches everybody: too easy to confuse.
    fn list(&self, list: Option<Spanned<Vec<String>>>) -> Result<Option<Vec<String>>, PolicyError> {
        let Some(list) = list else { return Ok(None) };
        let fit = !list.get_ref().is_empty() && list.get_ref().iter().all(|entry| !entry.is_empty());
        self.demand(fit, &list, "an empty list or name matches nobody: leave the key out to mean everybody")?;
        Ok(Some(list.into_inner()))
    }

    /// libpam writes service names in small letters, so a name with others would never match.
    fn services(&self, list: Option<Spanned<Vec<String>>>) -> Result<Option<Vec<String>>, PolicyError> {
        if let Some(list) = &list {
            self.are_services(list)?;
        }
        self.list(list)
    }

    fn are_services(&self, list: &Spanned<Vec<String>>) -> Result<(), PolicyError> {
        let fit = |name: &String| !name.is_empty() && !name.contains(|c: char| c.is_uppercase() || c == '/');
        let rule = "a service is the name of a file in /etc/pam.d, in small letters";
        self.demand(list.get_ref().iter().all(fit), list, rule)
    }

    fn are_programs(&self, list: &Spanned<Vec<String>>) -> Result<(), PolicyError> {
        let fit = |name: &String| !name.is_empty() && !name.contains('/') && !name.contains(char::is_control);
        self.demand(list.get_ref().iter().all(fit), list, "a program is the name of its file, without the folders")?;
        let interpreter = list.get_ref().iter().any(|name| program::is_interpreter(name));
        self.demand(!interpreter, list, "an interpreter is no program: whatever it executes would be believed")
    }

    fn from(&self, list: Option<Spanned<Vec<String>>>) -> Result<Option<Vec<From>>, PolicyError> {
        let Some(list) = list else { return Ok(None) };
        self.demand(
            !list.get_ref().is_empty(),
            &list,
            "an empty list is nowhere: leave the key out to mean everywhere",
        )?;
        let parse = |entry: &String| match entry.as_str() {
            "local" => Ok(From::Local),
            "remote" => Ok(From::Remote),
            network => Network::parse(network).map(From::Network),
        };
        let from: Result<Vec<From>, String> = list.get_ref().iter().map(parse).collect();
        from.map(Some).map_err(|rule| self.wrong(&list, &rule))
    }

    fn kinds(&self, list: Option<Spanned<Vec<KindWord>>>) -> Result<Vec<Kind>, PolicyError> {
        let Some(list) = list else { return Ok(Kind::ALL.to_vec()) };
        self.demand(!list.get_ref().is_empty(), &list, "an empty list can be satisfied by no device")?;
        Ok(list.into_inner().into_iter().map(KindWord::kind).collect())
    }

    fn remember(&self, value: Option<Spanned<String>>) -> Result<Option<u64>, PolicyError> {
        let Some(value) = value else { return Ok(None) };
        let known = seconds(value.get_ref()).filter(|s| (60..=LONGEST_MEMORY).contains(s));
        known.map(Some).ok_or_else(|| self.wrong(&value, "a login is remembered for \"1m\" to \"720h\""))
    }

    /// A day, or a moment in UTC, in seconds since 1970.
    fn time(&self, value: Option<Spanned<String>>) -> Result<Option<u64>, PolicyError> {
        let Some(value) = value else { return Ok(None) };
        let rule = "a time is a day, \"2027-01-31\", which begins at 00:00 UTC, or \"2027-01-31T10:00:00Z\"";
        moment(value.get_ref()).map(Some).ok_or_else(|| self.wrong(&value, rule))
    }

    fn demand<T>(&self, fit: bool, value: &Spanned<T>, rule: &str) -> Result<(), PolicyError> {
        if fit { Ok(()) } else { Err(self.wrong(value, rule)) }
    }

    /// The error that points at `value`.
    fn wrong<T>(&self, value: &Spanned<T>, rule: &str) -> PolicyError {
        let (path, text) = self.0;
        let start = value.span().start;
        let line = line_of(text, start);
        let begin = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let content = text[begin..].lines().next().unwrap_or_default();
        let caret = format!("{}{}", " ".repeat(text[begin..start].chars().count()), "^");
        PolicyError(format!("{path}:{line}: {rule}\n  | {content}\n  | {caret}"))
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// `"90s"`, `"5m"`, `"8h"` in seconds.
fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

/// `2fc0579f-8113-47ea-b116-bb5a8db9202a`.
fn aaguid(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "").to_ascii_lowercase();
    HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// A day or a moment in UTC, in seconds since 1970.
pub fn moment(text: &str) -> Option<u64> {
    let Datetime { date: Some(date), time, offset } = text.parse().ok()? else { return None };
    let time = match (time, offset) {
        (None, None) => 0,
        (Some(time), Some(Offset::Z)) => {
            3600 * u64::from(time.hour) + 60 * u64::from(time.minute) + u64::from(time.second.unwrap_or(0))
        }
        _ => return None,
    };
    // Days since 1 March of year 0, so that a leap day ends its year.
    let (year, month, day) = (u64::from(date.year), u64::from(date.month), u64::from(date.day));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(days.checked_sub(719_468)? * 86_400 + time)
}

/// Whether a refusal can name it: ssh escapes all characters beyond ASCII there, and clients answer a text that speaks
/// of a password by the password.
fn is_contact(text: &str) -> bool {
    let is_line = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim() == text;
    let lower = text.to_ascii_lowercase();
    (1..=60).contains(&text.len()) && is_line && !["passw", "passcode", "passphrase"].iter().any(|w| lower.contains(w))
}

/// The known name nearest to the unknown one, from serde's "unknown field `x`, expected one of `a`, `b`".
fn nearest_key(message: &str) -> Option<&str> {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().filter(|_| message.starts_with("unknown "))?;
    nearest(unknown, names)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn error(text: &str) -> String {
        parse(&[("/etc/mfa/mfa.toml".into(), text.into())]).unwrap_err().0
    }

    #[test]
    fn the_shipped_file_changes_nothing() {
        let shipped = include_str!("../../../config/mfa.toml");
        assert_eq!(parse(&[("mfa.toml".into(), shipped.into())]), Ok(Policy::default()));
    }

    #[test]
    fn every_value_arrives() {
        let text = "issuer = \"web1\"\nlang = \"zh_CN\"\n[totp]\ndigits = 8\nperiod = \"1m\"\nalgorithm = \"SHA256\"\nwindow = 2\n\
                    [u2f]\nrp_id = \"pam://fleet\"\npin = \"require\"\ntimeout = \"1m\"\nconsoles = [\"ttyS0\"]\n\
                    aaguids = [\"2fc0579f-8113-47ea-b116-bb5a8db9202a\"]\ndebug = true\n\
                    [recovery]\ncodes = 8\n[lockout]\nafter = 3\nfirst = \"30s\"\ncap = \"1h\"\n\
                    [enroll]\nservices = [\"sshd\"]\nprograms = [\"dropbear\"]\n\
                    [store]\nbackend = \"files\"\npath = \"/srv/mfa\"\n";
        let text = format!("self_service = false\ncontact = \"helpdesk 4711\"\n{text}");
        let policy = parse(&[("mfa.toml".into(), text)]).unwrap();
        let expected = Policy {
            issuer: Some("web1".into()),
            contact: Some("helpdesk 4711".into()),
            lang: Lang::ZhCn,
            totp: Parameters { algorithm: Algorithm::Sha256, digits: 8, period: 60 },
            window: 2,
            u2f: U2f {
                rp_id: Some("pam://fleet".into()),
                pin: Pin::Require,
                timeout: 60,
                consoles: vec!["ttyS0".into()],
                aaguids: vec![*b"\x2f\xc0\x57\x9f\x81\x13\x47\xea\xb1\x16\xbb\x5a\x8d\xb9\x20\x2a"],
                debug: true,
            },
            self_service: false,
            recovery_codes: 8,
            lockout: Lockout { after: 3, first: 30, cap: 3600 },
            enroll_services: vec![String::from("sshd")],
            enroll_programs: vec![String::from("dropbear")],
            store: "/srv/mfa".into(),
            rules: Vec::new(),
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn a_contact_is_a_short_line_that_every_login_program_can_show() {
        let contact = |text: &str| parse(&[("mfa.toml".into(), format!("contact = {text:?}"))]).map(|p| p.contact);
        for good in ["helpdesk 4711", "https://help.example/mfa", &"x".repeat(60)] {
            assert_eq!(contact(good), Ok(Some(good.to_owned())));
        }
        for bad in ["", " ", "a\nb", "a\u{1b}[2J", "\u{52a9}", " x", "Password desk", "passcodes", &"x".repeat(61)] {
            assert!(contact(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn drop_ins_come_first_and_hold_rules_only() {
        let rule = |user: &str| format!("[[rule]]\nusers = [\"{user}\"]\nrequire = \"off\"\n");
        let sources =
            [("10-a.toml".into(), rule("a")), ("20-b.toml".into(), rule("b")), ("mfa.toml".into(), rule("c"))];
        let policy = parse(&sources).unwrap();
        let origins: Vec<_> = policy.rules.iter().map(|r| r.origin.as_str()).collect();
        assert_eq!(origins, ["10-a.toml:1", "20-b.toml:1", "mfa.toml:1"]);
        let misplaced = parse(&[("10-a.toml".into(), "issuer = \"x\"".into()), ("mfa.toml".into(), String::new())]);
        assert!(misplaced.unwrap_err().0.contains("unknown field `issuer`"));
    }

    #[test]
    fn an_unknown_key_names_line_caret_and_nearest_key() {
        let said = error("issuer = \"web1\"\n\n[[rule]]\ngrups = [\"wheel\"]\nrequire = \"mfa\"\n");
        assert!(said.starts_with("/etc/mfa/mfa.toml:4: "), "{said}");
        assert!(said.contains("grups") && said.contains("^^^^^"), "{said}");
        assert!(said.ends_with("did you mean `groups`?"), "{said}");
        assert!(error("[totp]\ndigit = 6").ends_with("did you mean `digits`?"));
        assert!(error("[[rule]]\nrequire = \"mfaa\"").ends_with("did you mean `mfa`?"));
        assert!(error("lang = \"zh_cn\"").ends_with("did you mean `zh_CN`?"));
        assert!(!error("[[rule]]\nxyzzy = 1").contains("did you mean"));
    }

    #[test]
    fn a_rule_must_say_what_it_requires() {
        assert!(error("[[rule]]\nusers = [\"a\"]").contains("missing field `require`"));
    }

    #[test]
    fn a_value_out_of_range_names_the_range() {
        let said = error("[totp]\ndigits = 9\n");
        assert_eq!(said, "/etc/mfa/mfa.toml:2: digits is 6, 7 or 8\n  | digits = 9\n  |          ^");
        for wrong in [
            "issuer = \"a:b\"",
            "issuer = \"\"",
            "lang = \"de\"",
            "[totp]\nperiod = \"30\"",
            "[totp]\nperiod = \"1h\"",
            "[totp]\nalgorithm = \"MD5\"",
            "[totp]\nwindow = 11",
            "[recovery]\ncodes = 51",
            "[lockout]\nafter = 0",
            "[lockout]\nafter = 101",
            "[lockout]\nfirst = \"0s\"",
            "[lockout]\ncap = \"721h\"",
            "[lockout]\nfirst = \"2h\"\ncap = \"1h\"",
            "[lockout]\nfirst = \"5h\"",
            "[store]\nbackend = \"etcd\"",
            "[store]\npath = \"var/lib/mfa\"",
            "[[rule]]\nrequire = \"off\"\nname = \"a\\nb\"",
            "[[rule]]\nrequire = \"off\"\nfrom = []",
            "[[rule]]\nrequire = \"off\"\nfrom = [\"trusted.example\"]",
            "[[rule]]\nrequire = \"off\"\nfrom = [\"10.0.0.1/8\"]",
            "[[rule]]\nrequire = \"mfa\"\nkinds = []",
            "[[rule]]\nrequire = \"mfa\"\nkinds = [\"sms\"]",
            "[[rule]]\nrequire = \"mfa\"\nmode = \"observer\"",
            "[[rule]]\nrequire = \"mfa\"\nenroll = \"never\"",
            "[[rule]]\nrequire = \"mfa\"\ndeadline = \"31.1.2027\"",
            "[[rule]]\nrequire = \"mfa\"\nexpires = \"soon\"",
            "[enroll]\nservices = [\"SSHD\"]",
            "[enroll]\nprograms = [\"python3\"]",
            "[enroll]\nprograms = [\"/usr/sbin/dropbear\"]",
            "[enroll]\nprograms = [\"\"]",
            "[[rule]]\nrequire = \"mfa\"\nsk_key = \"count\"",
            "[u2f]\nrp_id = \"\"",
            "[u2f]\nrp_id = \"ssh:\"",
            "[u2f]\nrp_id = \"a b\"",
            "[u2f]\npin = \"maybe\"",
            "[u2f]\ntimeout = \"4s\"",
            "[u2f]\ntimeout = \"91s\"",
            "[u2f]\nconsoles = [\"/dev/ttyS0\"]",
            "[u2f]\naaguids = []",
            "[u2f]\naaguids = [\"2fc0\"]",
            "[[rule]]\nrequire = \"mfa\"\nremember = \"59s\"",
            "[[rule]]\nrequire = \"mfa\"\nremember = \"721h\"",
            "[[rule]]\nrequire = \"mfa\"\nremember = \"always\"",
        ] {
            assert!(error(wrong).contains('^'), "{wrong}");
        }
    }

    #[test]
    fn an_empty_list_is_refused_since_an_absent_one_means_everybody() {
        assert!(error("[[rule]]\nusers = []\nrequire = \"off\"").contains("leave the key out"));
        assert!(error("[[rule]]\ngroups = [\"\"]\nrequire = \"off\"").contains("leave the key out"));
    }

    #[test]
    fn a_service_that_could_never_match_is_refused() {
        assert!(error("[[rule]]\nservices = [\"SSHD\"]\nrequire = \"mfa\"").contains("small letters"));
        assert!(error("[[rule]]\nservices = [\"/etc/pam.d/sshd\"]\nrequire = \"mfa\"").contains("small letters"));
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("5m"), Some(300));
        for wrong in ["", "s", "5", "-5s", "5 s", "99999999999999999999s", "5ms", "é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_key_of_a_rule_arrives() {
        let text = "[[rule]]\nname = \"admins\"\nusers = [\"a\"]\ngroups = [\"wheel\"]\nservices = [\"sshd\"]\n\
                    from = [\"10.0.0.0/8\", \"local\", \"remote\"]\nrequire = \"mfa\"\nmode = \"observe\"\n\
                    kinds = [\"totp\"]\nenroll = \"by-admin\"\ndeadline = \"2027-01-31\"\n\
                    expires = \"2027-01-31T10:00:00Z\"\nssh_key = \"allow\"\nremember = \"8h\"\nsk_key = \"counts\"\n";
        let policy = parse(&[("/etc/mfa/mfa.toml".into(), text.into())]).unwrap();
        let list = |entry: &str| Some(vec![entry.to_owned()]);
        let network = From::Network(Network::parse("10.0.0.0/8").unwrap());
        let expected = Rule {
            origin: "mfa.toml:1 admins".into(),
            users: list("a"),
            groups: list("wheel"),
            services: list("sshd"),
            from: Some(vec![network, From::Local, From::Remote]),
            require: Require::Mfa,
            mode: Mode::Observe,
            kinds: vec![Kind::Totp],
            enroll: Enroll::ByAdmin,
            deadline: Some(1_801_353_600),
            expires: Some(1_801_389_600),
            ssh_key: Some(SshKey::Allow),
            remember: Some(8 * 3600),
            sk_key: SkKey::Counts,
        };
        assert_eq!(policy.rules, [expected]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(moment("1970-01-01"), Some(0));
        assert_eq!(moment("2000-02-29"), Some(951_782_400));
        assert_eq!(moment("2000-03-01"), Some(951_868_800));
        assert_eq!(moment("2024-12-31T23:59:59Z"), Some(1_735_689_599));
        assert_eq!(moment("2100-03-01"), Some(4_107_542_400));
        for wrong in [
            "",
            "2027-02-30",
            "2027-13-01",
            "31.1.2027",
            "2027-01-31T10:00:00",
            "2027-01-31T10:00:00+01:00",
            "10:00:00",
            "1969-12-31",
            "2027-1-1",
        ] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(!error(&"[".repeat(100_000)).is_empty());
    }

    /// A policy in random pieces, as an editor, a full disk or a merge may leave it.
    fn any_policy() -> impl Strategy<Value = String> {
        let piece = select(vec![
            "[[rule]]\n",
            "[rule]\n",
            "[totp]\n",
            "[lockout]\n",
            "[store]\n",
            "[enroll]\n",
            "require = \"mfa\"\n",
            "require",
            "users = [\"a\"]\n",
            "groups = [\"a\", ",
            "services = [\"sshd\"]\n",
            "from = [\"10.0.0.0/8\"]\n",
            "from = [\"::/129\"]\n",
            "digits = 6\n",
            "= ",
            "\"",
            "\"\"\"",
            "'",
            "[",
            "]",
            "{",
            "}",
            "#",
            "\n",
            "\r\n",
            "\\u{d800}",
            "\0",
            "é",
            "1e999",
            "9223372036854775808",
            "expires = \"2026-02-30\"\n",
            "deadline = 2026-01-01\n",
            "name = \"\\u001b\"\n",
        ]);
        let noise = "\\PC{0,8}".prop_map(String::from);
        vec(prop_oneof![4 => piece.prop_map(str::to_owned), 1 => noise], 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn any_text_is_a_policy_or_an_error_with_its_place(text in any_policy()) {
            if let Err(PolicyError(error)) = parse(&[("/etc/mfa/mfa.toml".into(), text.clone())]) {
                prop_assert!(error.starts_with("/etc/mfa/mfa.toml:"), "{error} of {text:?}");
                prop_assert!(!error.contains('\u{1b}'), "{error:?}");
            }
        }
    }
}
