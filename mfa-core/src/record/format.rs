//! The bytes of a record. `docs/files.md` is the specification.
//!
//! Every file is lines of `name value`, in a fixed order, closed by the SHA-256 of all before it.
//! The writer and the parser are one list of lines each, so what the parser accepts is exactly what
//! the writer writes.

use std::fmt::Write;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use mfa_wire::Secret;
use sha2::{Digest, Sha256};

use super::{Amendment, App, Credentials, Device, KeysUsed, Latest, OneTime, Owes, Pending, Provisional, State, Use};
use crate::key::{self, Key, MOST_CREDENTIAL, PublicKey};
use crate::lockout::Failures;
use crate::recovery::{self, MOST};
use crate::remembered::RememberedLogins;
use crate::totp::{Algorithm, Parameters, Totp};
use crate::{Id, Kind, Process};

/// The length of a state slot, and of a device's block on most disks.
pub const SLOT: usize = 4096;

/// The longest file of credentials, in bytes.
pub const CREDENTIALS_LIMIT: usize = 64 * 1024;

/// What is wrong with the bytes of a record.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Damage {
    /// The checksum is missing or does not match: cut off or overwritten.
    Checksum,
    /// It was written by a version that we do not know.
    Version,
    /// It belongs to another user.
    OtherUser,
    /// A line is missing, out of order, or holds no legal value.
    Line,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Damage::Checksum => "is damaged: its checksum does not match",
            Damage::Version => "was written by a version of the software that this one does not know",
            Damage::OtherUser => "belongs to another user",
            Damage::Line => "is damaged: a line is missing or has no meaning",
        })
    }
}

/// What a file of credentials says.
pub enum Binding {
    /// A device that holds.
    Bound(Box<Credentials>),
    /// One that does not hold yet, as it will be when it does.
    Provisional(Box<Credentials>, Provisional),
    /// None any more: what a change of binding leaves until the file is removed.
    Disabled,
}

const CREDENTIALS: &str = "mfa-credentials 1";
const PENDING: &str = "mfa-pending 1";
const STATE: &str = "mfa-state 1";

impl Credentials {
    /// The file.
    pub fn encode(&self, user: &str) -> Secret {
        self.encode_with(user, &self.latest.words())
    }

    /// The file of those that do not hold yet: what they wait for stands in the place of `latest`, which will be "bound".
    pub fn encode_provisional(&self, user: &str, waits: &Provisional) -> Secret {
        self.encode_with(user, &waits.words())
    }

    fn encode_with(&self, user: &str, latest: &str) -> Secret {
        let mut text = Text::new(CREDENTIALS_LIMIT, CREDENTIALS);
        text.line("user", format_args!("{user}"));
        text.line("kind", format_args!("{}", self.kind().word()));
        text.line("id", format_args!("{}", self.id));
        text.line("created", format_args!("{}", self.created));
        text.line("created-from", format_args!("{}", self.created_from));
        match &self.device {
            Device::App(App { label, totp, burnt }) => {
                text.line("label", format_args!("{label}"));
                text.totp(totp);
                text.line("burnt", format_args!("{} {}", burnt[0], burnt[1]));
            }
            Device::Keys(keys) => {
                text.line("keys", format_args!("{}", keys.len()));
                for key in keys {
                    text.security_key(key);
                }
            }
        }
        text.set("recovery", &self.recovery);
        text.line("latest", format_args!("{latest}"));
        text.seal()
    }
}

/// The file that says that nothing is bound any more.
pub fn encode_disabled(user: &str) -> Secret {
    let mut text = Text::new(SLOT, CREDENTIALS);
    text.line("user", format_args!("{user}"));
    text.line("kind", format_args!("none"));
    text.seal()
}

/// Reads a file of credentials.
pub fn decode_credentials(bytes: &[u8], user: &str) -> Result<Binding, Damage> {
    let mut lines = Lines::open(bytes, CREDENTIALS)?;
    lines.user(user)?;
    let kind = match lines.value("kind")? {
        "none" => {
            lines.end()?;
            return Ok(Binding::Disabled);
        }
        kind => Kind::from_word(kind).ok_or(Damage::Line)?,
    };
    let mut credentials = Box::new(Credentials {
        id: lines.id()?,
        created: lines.number("created")?,
        created_from: lines.value("created-from")?.to_owned(),
        device: match kind {
            Kind::Totp => Device::App(App {
                label: lines.value("label")?.to_owned(),
                totp: lines.totp()?,
                burnt: lines.two_numbers("burnt")?,
            }),
            Kind::U2f => Device::Keys(lines.security_keys()?),
        },
        recovery: lines.set("recovery")?,
        latest: Latest::Bound,
    });
    let latest = lines.value("latest")?;
    lines.end()?;
    if let Some(waits) = latest.strip_prefix(Provisional::WORD) {
        return Ok(Binding::Provisional(credentials, Provisional::parse(waits)?));
    }
    credentials.latest = Latest::parse(latest)?;
    Ok(Binding::Bound(credentials))
}

impl Pending {
    /// The file.
    pub fn encode(&self, user: &str) -> Secret {
        let mut text = Text::new(SLOT, PENDING);
        text.line("user", format_args!("{user}"));
        text.line("id", format_args!("{}", self.id));
        text.line("label", format_args!("{}", self.label));
        text.line("expires", format_args!("{}", self.expires));
        text.line("from", format_args!("{}", self.from));
        text.line("replaces", format_args!("{}", self.replaces));
        text.totp(&self.totp);
        text.seal()
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8], user: &str) -> Result<Pending, Damage> {
        let mut lines = Lines::open(bytes, PENDING)?;
        lines.user(user)?;
        let pending = Pending {
            id: lines.id()?,
            label: lines.value("label")?.to_owned(),
            expires: lines.number("expires")?,
            from: lines.value("from")?.to_owned(),
            replaces: id(lines.value("replaces")?)?,
            totp: lines.totp()?,
        };
        lines.end()?;
        Ok(pending)
    }
}

impl State {
    /// One slot, [`SLOT`] bytes long. The slot with the higher `sequence` counts.
    pub fn encode(&self, sequence: u64) -> [u8; SLOT] {
        let mut text = Text::new(SLOT, STATE);
        text.line("sequence", format_args!("{sequence}"));
        text.line("id", format_args!("{}", self.id));
        text.line("last-step", format_args!("{}", self.last_step));
        text.line("told", format_args!("{}", self.told));
        text.line("clock-offset", format_args!("{}", self.clock_offset));
        text.line("last-used", format_args!("{}", self.last_used));
        text.line("keys-used", format_args!("{}", self.keys_used.word()));
        text.line("recovery", format_args!("{} {}", self.recovery.set, self.recovery.codes));
        text.set("bypass", &self.bypass.set);
        text.line("bypass-expires", format_args!("{}", self.bypass.expires));
        for (name, failures) in [("failures", self.failures), ("own-failures", self.own_failures)] {
            text.line(name, format_args!("{} {}", failures.forgotten, failures.locked_until));
        }
        text.line("remembered", format_args!("{}", self.remembered.word()));
        text.line("owes", format_args!("{}", self.owes.word()));
        text.set("ticket", &self.invitation.set);
        text.line("ticket-expires", format_args!("{}", self.invitation.expires));
        let sealed = text.seal();
        let mut slot = [0; SLOT];
        slot[..sealed.bytes().len()].copy_from_slice(sealed.bytes());
        slot
    }

    /// Reads one slot.
    pub fn decode(slot: &[u8]) -> Result<(u64, State), Damage> {
        let used = slot.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let mut lines = Lines::open(&slot[..used], STATE)?;
        let sequence = lines.number("sequence")?;
        let state = State {
            id: lines.id()?,
            last_step: lines.number("last-step")?,
            told: lines.number("told")?,
            clock_offset: number(lines.value("clock-offset")?)?,
            last_used: lines.number("last-used")?,
            keys_used: KeysUsed::parse(lines.value("keys-used")?)?,
            recovery: {
                let (set, codes) = lines.value("recovery")?.split_once(' ').ok_or(Damage::Line)?;
                recovery::Used { set: id(set)?, codes: number(codes)? }
            },
            bypass: OneTime { set: lines.set("bypass")?, expires: lines.number("bypass-expires")? },
            failures: lines.failures("failures")?,
            own_failures: lines.failures("own-failures")?,
            remembered: RememberedLogins::parse(lines.value("remembered")?).ok_or(Damage::Line)?,
            owes: Owes::parse(lines.value("owes")?).ok_or(Damage::Line)?,
            invitation: OneTime { set: lines.set("ticket")?, expires: lines.number("ticket-expires")? },
        };
        lines.end()?;
        Ok((sequence, state))
    }
}

impl Latest {
    fn words(&self) -> String {
        match self {
            Latest::Bound => String::from("bound"),
            Latest::Replaced => String::from("replaced"),
            Latest::Changed { what, when, from } => format!("{} {when} {from}", what.word()),
        }
    }

    fn parse(words: &str) -> Result<Latest, Damage> {
        match words.split_once(' ') {
            None if words == "bound" => Ok(Latest::Bound),
            None if words == "replaced" => Ok(Latest::Replaced),
            Some((what, made)) => {
                let what = Amendment::ALL.into_iter().find(|known| known.word() == what).ok_or(Damage::Line)?;
                let (when, from) = made.split_once(' ').ok_or(Damage::Line)?;
                Ok(Latest::Changed { what, when: number(when)?, from: from.to_owned() })
            }
            None => Err(Damage::Line),
        }
    }
}

impl Provisional {
    /// The most processes that may confirm it: the one that has bound, and its parent.
    const MOST: usize = 2;

    const WORD: &str = "provisional ";

    fn words(&self) -> String {
        let openers: Vec<String> = self.openers.iter().map(ToString::to_string).collect();
        format!("{}{} {}", Provisional::WORD, self.expires, openers.join(" "))
    }

    fn parse(words: &str) -> Result<Provisional, Damage> {
        let mut words = words.split(' ');
        let expires = number(words.next().unwrap_or_default())?;
        let openers: Option<Vec<Process>> = words.map(Process::parse).collect();
        let openers = openers.filter(|openers| (1..=Provisional::MOST).contains(&openers.len())).ok_or(Damage::Line)?;
        Ok(Provisional { expires, openers })
    }
}

impl Amendment {
    const ALL: [Amendment; 2] = [Amendment::RecoveryCodes, Amendment::KeyRemoved];

    fn word(self) -> &'static str {
        match self {
            Amendment::RecoveryCodes => "recovery-codes",
            Amendment::KeyRemoved => "key-removed",
        }
    }
}

impl KeysUsed {
    fn word(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|u| format!("{}:{}:{}", u.key, u.counter, u.at)).collect();
        if words.is_empty() { String::from("none") } else { words.join(" ") }
    }

    fn parse(word: &str) -> Result<KeysUsed, Damage> {
        if word == "none" {
            return Ok(KeysUsed::default());
        }
        let one = |word: &str| {
            let parts: Vec<&str> = word.split(':').collect();
            let [key, counter, at] = parts[..] else { return Err(Damage::Line) };
            Ok(Use { key: id(key)?, counter: number(counter)?, at: number(at)? })
        };
        let all: Vec<Use> = word.split(' ').map(one).collect::<Result<_, _>>()?;
        let twice = |n: usize| all[..n].iter().any(|other| other.key == all[n].key);
        if all.len() > key::MOST || (0..all.len()).any(twice) {
            return Err(Damage::Line);
        }
        Ok(KeysUsed(all))
    }
}

impl Owes {
    fn word(&self) -> String {
        match self {
            Owes::Anywhere => String::from("anywhere"),
            Owes::At(doors) if doors.is_empty() => String::from("none"),
            Owes::At(doors) => doors.join(" "),
        }
    }

    fn parse(word: &str) -> Option<Owes> {
        match word {
            "none" => Some(Owes::default()),
            "anywhere" => Some(Owes::Anywhere),
            // Only what we would write ourselves.
            doors => {
                let owes = doors.split(' ').fold(Owes::default(), |owes, door| owes.with(Some(door)));
                (owes.word() == doors).then_some(owes)
            }
        }
    }
}

/// Writes lines into one buffer that never moves.
struct Text(Secret);

impl Text {
    fn new(capacity: usize, first_line: &str) -> Text {
        let mut text = Text(Secret::with_capacity(capacity));
        text.raw(format_args!("{first_line}\n"));
        text
    }

    fn raw(&mut self, args: std::fmt::Arguments) {
        struct Bounded<'a>(&'a mut Secret);
        impl Write for Bounded<'_> {
            fn write_str(&mut self, s: &str) -> std::fmt::Result {
                if self.0.append(s.as_bytes()) { Ok(()) } else { Err(std::fmt::Error) }
            }
        }
        // Every value has a limit (names 256 bytes, doors 1 KiB, keys 64 bytes), so all of them fit.
        // Were it not so, the line would be cut and the reader would refuse the file.
        let _ = Bounded(&mut self.0).write_fmt(args);
    }

    fn line(&mut self, name: &str, value: std::fmt::Arguments) {
        self.raw(format_args!("{name} {value}\n"));
    }

    fn totp(&mut self, totp: &Totp) {
        let Parameters { algorithm, digits, period } = totp.parameters;
        self.line("totp", format_args!("{algorithm} {digits} {period}"));
        self.raw(format_args!("key "));
        let key = totp.key_base32();
        let _ = self.0.append(key.bytes());
        self.raw(format_args!("\n"));
    }

    fn security_key(&mut self, key: &Key) {
        let (algorithm, public): (_, &[u8]) = match &key.public {
            PublicKey::Es256(point) => (ES256, point),
            PublicKey::Ed25519(point) => (ED25519, point),
        };
        let verified = if key.verified { "verified" } else { "touched" };
        self.line("security-key", format_args!("{} {} {verified} {}", key.id, key.created, key.counter));
        self.line("key-label", format_args!("{}", key.label));
        self.line("key-from", format_args!("{}", key.created_from));
        self.line("rp-id", format_args!("{}", key.rp_id));
        self.line("public", format_args!("{algorithm} {}", HEXLOWER.encode(public)));
        self.line("credential", format_args!("{}", HEXLOWER.encode(&key.credential)));
    }

    fn set(&mut self, name: &str, set: &recovery::Set) {
        self.raw(format_args!("{name} {}", set.id));
        for hash in &set.hashes {
            self.raw(format_args!(" {}", HEXLOWER.encode(hash)));
        }
        self.raw(format_args!("\n"));
    }

    fn seal(mut self) -> Secret {
        let sum = HEXLOWER.encode(&Sha256::digest(self.0.bytes()));
        self.line("sha256", format_args!("{sum}"));
        self.0
    }
}

/// The algorithms of security keys, as WebAuthn and the JSON web algorithms call them.
const ES256: &str = "ES256";
const ED25519: &str = "EdDSA";

struct Lines<'a>(std::str::Split<'a, char>);

impl<'a> Lines<'a> {
    fn open(bytes: &'a [u8], first_line: &str) -> Result<Lines<'a>, Damage> {
        // "sha256 ", 64 digits, newline.
        let (body, seal) = bytes.split_at_checked(bytes.len().wrapping_sub(72)).ok_or(Damage::Checksum)?;
        let sum = HEXLOWER.encode(&Sha256::digest(body));
        if seal != format!("sha256 {sum}\n").as_bytes() {
            return Err(Damage::Checksum);
        }
        let body = std::str::from_utf8(body).map_err(|_| Damage::Line)?;
        let mut lines = body.strip_suffix('\n').ok_or(Damage::Line)?.split('\n');
        if lines.next() == Some(first_line) { Ok(Lines(lines)) } else { Err(Damage::Version) }
    }

    fn value(&mut self, name: &str) -> Result<&'a str, Damage> {
        let line = self.0.next().ok_or(Damage::Line)?;
        line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or(Damage::Line)
    }

    fn number(&mut self, name: &str) -> Result<u64, Damage> {
        number(self.value(name)?)
    }

    fn two_numbers(&mut self, name: &str) -> Result<[u64; 2], Damage> {
        let (first, second) = self.value(name)?.split_once(' ').ok_or(Damage::Line)?;
        Ok([number(first)?, number(second)?])
    }

    fn failures(&mut self, name: &str) -> Result<Failures, Damage> {
        let [forgotten, locked_until] = self.two_numbers(name)?;
        Ok(Failures { forgotten, locked_until })
    }

    fn id(&mut self) -> Result<Id, Damage> {
        id(self.value("id")?)
    }

    fn set(&mut self, name: &str) -> Result<recovery::Set, Damage> {
        let mut words = self.value(name)?.split(' ');
        let id = id(words.next().unwrap_or_default())?;
        let hashes: Vec<[u8; 32]> = words.map(hexadecimal).collect::<Result<_, _>>()?;
        // Codes without a salt, or a salt for none, nobody writes.
        let whole = hashes.is_empty() == (id == Id::default()) && hashes.len() as u64 <= MOST;
        if whole { Ok(recovery::Set { id, hashes }) } else { Err(Damage::Line) }
    }

    fn user(&mut self, user: &str) -> Result<(), Damage> {
        if self.value("user")? == user { Ok(()) } else { Err(Damage::OtherUser) }
    }

    fn security_keys(&mut self) -> Result<Vec<Key>, Damage> {
        let count: usize = number(self.value("keys")?)?;
        if !(1..=key::MOST).contains(&count) {
            return Err(Damage::Line);
        }
        (0..count).map(|_| self.security_key()).collect()
    }

    fn security_key(&mut self) -> Result<Key, Damage> {
        let words: Vec<&str> = self.value("security-key")?.split(' ').collect();
        let [key, created, verified, counter] = words[..] else { return Err(Damage::Line) };
        Ok(Key {
            id: id(key)?,
            created: number(created)?,
            verified: match verified {
                "verified" => true,
                "touched" => false,
                _ => return Err(Damage::Line),
            },
            counter: number(counter)?,
            label: self.value("key-label")?.to_owned(),
            created_from: self.value("key-from")?.to_owned(),
            rp_id: self.value("rp-id")?.to_owned(),
            public: match self.value("public")?.split_once(' ').ok_or(Damage::Line)? {
                (ES256, public) => PublicKey::Es256(hexadecimal(public)?),
                (ED25519, public) => PublicKey::Ed25519(hexadecimal(public)?),
                _ => return Err(Damage::Line),
            },
            credential: self.bytes("credential")?,
        })
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Damage> {
        let bytes = HEXLOWER.decode(self.value(name)?.as_bytes()).map_err(|_| Damage::Line)?;
        if bytes.len() <= MOST_CREDENTIAL { Ok(bytes) } else { Err(Damage::Line) }
    }

    fn totp(&mut self) -> Result<Totp, Damage> {
        let mut words = self.value("totp")?.split(' ');
        let algorithm = words.next().and_then(Algorithm::from_name).ok_or(Damage::Line)?;
        let digits = number(words.next().ok_or(Damage::Line)?)?;
        let period = number(words.next().ok_or(Damage::Line)?)?;
        if words.next().is_some() {
            return Err(Damage::Line);
        }
        let parameters = Parameters::checked(algorithm, digits, period).ok_or(Damage::Line)?;
        let key = self.value("key")?.as_bytes();
        let mut raw = Secret::zeroed(BASE32_NOPAD.decode_len(key.len()).map_err(|_| Damage::Line)?);
        BASE32_NOPAD.decode_mut(key, raw.bytes_mut()).map_err(|_| Damage::Line)?;
        Totp::new(parameters, raw).ok_or(Damage::Line)
    }

    fn end(mut self) -> Result<(), Damage> {
        if self.0.next().is_none() { Ok(()) } else { Err(Damage::Line) }
    }
}

fn id(text: &str) -> Result<Id, Damage> {
    hexadecimal(text).map(Id)
}

fn hexadecimal<const N: usize>(text: &str) -> Result<[u8; N], Damage> {
    let mut bytes = [0; N];
    match HEXLOWER.decode_len(text.len()) {
        Ok(n) if n == N => HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map(|_| bytes).map_err(|_| Damage::Line),
        _ => Err(Damage::Line),
    }
}

/// A number as the writer writes it: no plus, no leading zero, so that there is one spelling only.
fn number<N: FromStr + ToString>(text: &str) -> Result<N, Damage> {
    let n: N = text.parse().map_err(|_| Damage::Line)?;
    if n.to_string() == text { Ok(n) } else { Err(Damage::Line) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::remembered::{Origin, RememberedLogin};

    /// What writers and readers disagree about: other spellings of a number, line ends, blanks, comments, doubles, names
    /// that begin like another, what looks like a seal.
    const ODDITIES: [&str; 24] = [
        "\r",
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "#",
        "# comment\n",
        "\0",
        "0",
        "+",
        "-",
        "00",
        "18446744073709551616",
        "=",
        "A",
        "a",
        "\u{feff}",
        "é",
        "user alice\n",
        "user alice2\n",
        "kind none\n",
        "sha256 ",
        "mfa-state 1\n",
    ];

    /// One change of a file's text: where, at the edge of a word or anywhere; what is cut out; what comes there.
    #[derive(Clone, Debug)]
    struct Edit {
        at_a_word: bool,
        at: Index,
        cut: usize,
        put: String,
    }

    prop_compose! {
        fn any_edit()(at_a_word: bool, at: Index, cut in prop_oneof![3 => Just(0), 1 => 0..3usize, 1 => 0..80usize],
                put in prop_oneof![4 => select(&ODDITIES[..]).prop_map(str::to_owned), 1 => "\\PC{0,3}"]) -> Edit {
            Edit { at_a_word, at, cut, put }
        }
    }

    /// The text with those changes, and a seal that is right: whoever can write the file can make one.
    fn changed(sealed: &[u8], edits: &[Edit]) -> Vec<u8> {
        let mut body = sealed[..sealed.len() - 72].to_vec();
        for edit in edits {
            let blank = |at: usize| body.get(at).is_none_or(|byte| b" \n".contains(byte));
            let edge = |at: &usize| *at == 0 || blank(*at) || blank(at - 1);
            let places: Vec<usize> = (0..=body.len()).filter(|at| !edit.at_a_word || edge(at)).collect();
            let at = places[edit.at.index(places.len())];
            let end = (at + edit.cut).min(body.len());
            body.splice(at..end, edit.put.bytes());
        }
        let seal = format!("sha256 {}\n", HEXLOWER.encode(&Sha256::digest(&body)));
        [body, seal.into_bytes()].concat()
    }

    fn any_id() -> impl Strategy<Value = Id> {
        prop_oneof![Just(Id::default()), any::<[u8; 16]>().prop_map(Id)]
    }

    fn any_set(most: u64) -> impl Strategy<Value = recovery::Set> {
        let codes = prop_oneof![3 => vec(any::<[u8; 32]>(), 1..3), 1 => vec(any::<[u8; 32]>(), 1..=most as usize)];
        let some = (any::<[u8; 16]>(), codes)
            .prop_filter_map("a salt", |(id, hashes)| (id != [0; 16]).then_some(recovery::Set { id: Id(id), hashes }));
        prop_oneof![Just(recovery::Set::default()), some]
    }

    /// What an app is made of: nothing that holds a key can be printed.
    fn any_app() -> impl Strategy<Value = (Algorithm, u64, u64, Vec<u8>)> {
        let algorithm = select(vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]);
        (algorithm, 6..=8u64, 15..=300u64, vec(any::<u8>(), 16..=128))
    }

    fn app((algorithm, digits, period, key): (Algorithm, u64, u64, Vec<u8>)) -> Totp {
        Totp::new(Parameters::checked(algorithm, digits, period).unwrap(), Secret::copy_of(&key)).unwrap()
    }

    fn any_latest() -> impl Strategy<Value = Latest> {
        let codes = (select(&Amendment::ALL[..]), any::<u64>(), "\\PC{1,40}")
            .prop_map(|(what, when, from)| Latest::Changed { what, when, from });
        prop_oneof![Just(Latest::Bound), Just(Latest::Replaced), codes]
    }

    fn any_provisional() -> impl Strategy<Value = Provisional> {
        let process = (1..=i32::MAX, any::<u64>()).prop_map(|(pid, started)| Process { pid, started });
        (any::<u64>(), vec(process, 1..=Provisional::MOST))
            .prop_map(|(expires, openers)| Provisional { expires, openers })
    }

    prop_compose! {
        fn any_key()(id in any_id(), texts in vec("\\PC{0,40}", 3..4), created: u64, verified: bool, counter: u32,
                es256: bool, public in vec(any::<u8>(), 64..65), credential in vec(any::<u8>(), 0..80)) -> Key {
            let [label, created_from, rp_id] = texts.try_into().unwrap();
            let public = if es256 {
                PublicKey::Es256(public.try_into().unwrap())
            } else {
                PublicKey::Ed25519(public[..32].try_into().unwrap())
            };
            Key { id, label, created, created_from, rp_id, credential, public, verified, counter }
        }
    }

    prop_compose! {
        fn any_keys_used()(all in proptest::collection::btree_map(any::<[u8; 16]>(), any::<(u32, u64)>(), 0..4)) -> KeysUsed {
            KeysUsed(all.into_iter().map(|(key, (counter, at))| Use { key: Id(key), counter, at }).collect())
        }
    }

    prop_compose! {
        fn any_credentials()(id in any_id(), label in "\\PC{0,40}", created: u64, created_from in "\\PC{0,40}",
                latest in any_latest(), waits in proptest::option::of(any_provisional()), totp in any_app(), burnt: [u64; 2], keys in vec(any_key(), 0..4),
                recovery in any_set(MOST)) -> Vec<u8> {
            let device = match keys.len() {
                0 => Device::App(App { label, totp: app(totp), burnt }),
                _ => Device::Keys(keys),
            };
            let bound = Credentials { id, created, created_from, latest, device, recovery };
            match waits {
                Some(waits) => bound.encode_provisional("alice", &waits).bytes().to_vec(),
                None => bound.encode("alice").bytes().to_vec(),
            }
        }
    }

    prop_compose! {
        fn any_pending()(id in any_id(), replaces in any_id(), label in "\\PC{0,40}", expires: u64, from in "\\PC{0,40}",
                totp in any_app()) -> Vec<u8> {
            Pending { id, replaces, label, expires, from, totp: app(totp) }.encode("alice").bytes().to_vec()
        }
    }

    fn any_owes() -> impl Strategy<Value = Owes> {
        let door = prop_oneof![Just(None), "[a-z]{1,8}(:[0-9]{1,9}){0,2}".prop_map(Some)];
        vec(door, 0..10).prop_map(|doors| doors.iter().fold(Owes::default(), |owes, door| owes.with(door.as_deref())))
    }

    fn any_remembered() -> impl Strategy<Value = RememberedLogins> {
        let key = proptest::option::of(any::<[u8; 32]>());
        let login = ("[!-~]{1,64}", "[0-9a-f:.]{1,39}|session:[0-9]{1,10}:[0-9a-f-]{36}", key, any::<u32>()).prop_map(
            |(service, source, key, made)| {
                let origin = Origin::new(&service, &source, key.as_ref()).unwrap();
                RememberedLogin { origin, made: u64::from(made), expires: u64::MAX }
            },
        );
        vec(login, 0..10)
            .prop_map(|logins| logins.into_iter().fold(RememberedLogins::default(), |all, one| all.with(one)))
    }

    prop_compose! {
        fn any_state()(id in any_id(), numbers: [u64; 8], clock_offset: i64, set in any_id(), bypass in any_set(1),
                owes in any_owes(), invitation in any_set(1), remembered in any_remembered(),
                keys_used in any_keys_used()) -> State {
            let [last_step, told, last_used, codes, a, b, c, d] = numbers;
            State {
                id,
                last_step,
                told,
                clock_offset,
                last_used,
                keys_used,
                recovery: recovery::Used { set, codes },
                bypass: OneTime { set: bypass, expires: b ^ c },
                failures: Failures { forgotten: a, locked_until: b },
                own_failures: Failures { forgotten: c, locked_until: d },
                remembered,
                owes,
                invitation: OneTime { set: invitation, expires: a ^ d },
            }
        }
    }

    fn rewritten_credentials(bytes: &[u8], user: &str) -> Option<Vec<u8>> {
        match decode_credentials(bytes, user).ok()? {
            Binding::Bound(bound) => Some(bound.encode(user).bytes().to_vec()),
            Binding::Provisional(bound, waits) => Some(bound.encode_provisional(user, &waits).bytes().to_vec()),
            Binding::Disabled => Some(encode_disabled(user).bytes().to_vec()),
        }
    }

    fn rewritten_pending(bytes: &[u8], user: &str) -> Option<Vec<u8>> {
        Some(Pending::decode(bytes, user).ok()?.encode(user).bytes().to_vec())
    }

    /// A slot, filled up.
    fn slot(text: &[u8]) -> Option<Vec<u8>> {
        (text.len() <= SLOT).then(|| [text, &vec![0; SLOT - text.len()]].concat())
    }

    fn rewritten_state(slot: &[u8]) -> Option<Vec<u8>> {
        let (sequence, state) = State::decode(slot).ok()?;
        Some(state.encode(sequence).to_vec())
    }

    // CVE-2013-7322: the reader found another line than the writer. Whatever can be read is, byte for byte, what would
    // be written for it; so a file means one thing, and a change reaches what was read.
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn credentials_that_can_be_read_are_what_is_written(written in any_credentials(), edits in vec(any_edit(), 0..3)) {
            prop_assert_eq!(rewritten_credentials(&written, "alice"), Some(written.clone()));
            for sealed in [&written[..], encode_disabled("alice").bytes()] {
                let bytes = changed(sealed, &edits);
                for user in ["alice", "alice2", "alic", "alice\r", ""] {
                    if let Some(again) = rewritten_credentials(&bytes, user) {
                        prop_assert_eq!(again, &bytes[..], "{}", String::from_utf8_lossy(&bytes));
                    }
                }
            }
        }

        #[test]
        fn a_pending_device_that_can_be_read_is_what_is_written(written in any_pending(), edits in vec(any_edit(), 0..3)) {
            prop_assert_eq!(rewritten_pending(&written, "alice"), Some(written.clone()));
            let bytes = changed(&written, &edits);
            if let Some(again) = rewritten_pending(&bytes, "alice") {
                prop_assert_eq!(again, &bytes[..], "{}", String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn a_state_that_can_be_read_is_what_is_written(state in any_state(), sequence: u64, edits in vec(any_edit(), 0..3)) {
            let written = state.encode(sequence).to_vec();
            prop_assert_eq!(rewritten_state(&written), Some(written.clone()));
            let text = written.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            if let Some(bytes) = slot(&changed(&written[..text], &edits))
                && let Some(again) = rewritten_state(&bytes)
            {
                prop_assert_eq!(again, &bytes[..], "{}", String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn any_bytes_are_no_record(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert!(rewritten_credentials(&bytes, "alice").is_none());
            prop_assert!(rewritten_pending(&bytes, "alice").is_none() && rewritten_state(&bytes).is_none());
        }
    }

    #[test]
    fn what_is_owed_is_owed_at_its_place_until_a_code_is_given_there() {
        let owes = Owes::default().with(Some("sudo:7:1")).with(Some("su:9:1")).with(Some("sudo:7:1"));
        assert_eq!(owes.word(), "sudo:7:1 su:9:1");
        assert!(owes.at(Some("sudo:7:1")) && owes.at(None) && !owes.at(Some("sudo:9:1")) && !owes.nothing());
        assert!(owes.names(Some("sudo:7:1")) && !owes.names(None) && !owes.names(Some("sudo:9:1")));
        let rest = owes.without(Some("sudo:7:1"));
        assert!(!rest.at(Some("sudo:7:1")) && rest.at(Some("su:9:1")));
        assert!(rest.without(None).at(Some("su:9:1")), "where nobody can tell, nothing is settled");
        let nothing = rest.without(Some("su:9:1"));
        assert!(nothing.nothing() && !nothing.at(None) && nothing.word() == "none");
    }

    #[test]
    fn a_place_that_nobody_can_tell_and_one_too_many_are_owed_anywhere() {
        let all = (0..8).fold(Owes::default(), |owes, n| owes.with(Some(&format!("sudo:{n}:1"))));
        assert_ne!(all, Owes::Anywhere);
        let blank = "sudo 7";
        let long = "x".repeat(97);
        for other in [None, Some("sudo:8:1"), Some(blank), Some(""), Some("none"), Some("anywhere"), Some(&long)] {
            let owes = all.with(other);
            assert_eq!(owes, Owes::Anywhere);
            assert!(owes.at(Some("su:1:1")) && owes.without(Some("sudo:8:1")) == Owes::Anywhere);
            assert!(!owes.names(Some("sudo:1:1")) && !owes.names(other) && !owes.names(None));
        }
        assert_eq!(Owes::default().with(Some(blank)), Owes::Anywhere);
    }

    #[test]
    fn what_is_owed_has_one_spelling() {
        let full = (0..8).fold(Owes::default(), |owes, n| owes.with(Some(&format!("sudo:{n}:1"))));
        for owes in [Owes::default(), Owes::Anywhere, Owes::default().with(Some("sudo:7:1")), full] {
            assert_eq!(Owes::parse(&owes.word()), Some(owes));
        }
        for other in ["", " ", "none ", "a  b", "a a", "a anywhere", "1 2 3 4 5 6 7 8 9", "a\tb"] {
            assert_eq!(Owes::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_fullest_state_fits_its_slot() {
        let longest = |n: usize| format!("{n}{}", "x".repeat(Owes::LONGEST - 1));
        let owes = (0..Owes::MOST).fold(Owes::default(), |owes, n| owes.with(Some(&longest(n))));
        let set = recovery::Set { id: Id([1; 16]), hashes: vec![[7; 32]; 1] };
        let longest = |n: usize| format!("{n}{}", "x".repeat(Origin::LONGEST - 1));
        let login = |n| RememberedLogin {
            origin: Origin::new(&longest(n), &longest(n), Some(&[7; 32])).unwrap(),
            made: u64::MAX - 1,
            expires: u64::MAX,
        };
        let remembered = (0..RememberedLogins::MOST).fold(RememberedLogins::default(), |all, n| all.with(login(n)));
        assert_eq!(remembered.good(u64::MAX - 1).count(), RememberedLogins::MOST);
        let id = |n: usize| Id([n as u8; 16]);
        let state = State {
            remembered,
            owes,
            keys_used: KeysUsed((0..key::MOST).map(|n| Use { key: id(n), counter: u32::MAX, at: u64::MAX }).collect()),
            told: u64::MAX,
            clock_offset: i64::MIN,
            bypass: OneTime { set: set.clone(), expires: u64::MAX },
            last_used: u64::MAX,
            failures: Failures { forgotten: u64::MAX, locked_until: u64::MAX },
            own_failures: Failures { forgotten: u64::MAX, locked_until: u64::MAX },
            invitation: OneTime { set, expires: u64::MAX },
            ..State::fresh(Id([1; 16]), [u64::MAX, 0])
        };
        assert_eq!(State::decode(&state.encode(u64::MAX)), Ok((u64::MAX, state)));
    }
}
