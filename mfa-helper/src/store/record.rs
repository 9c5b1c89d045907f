//! What a record says, and its bytes. `docs/files.md` is the specification.
//!
//! Every file is lines of `name value`, in a fixed order, closed by the SHA-256 of all before it.
//! The writer and the parser are one list of lines each, so what the parser accepts is exactly what
//! the writer writes.

use std::fmt::Write;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use mfa_wire::Secret;
use sha2::{Digest, Sha256};

use crate::factor::recovery::{self, MOST};
use crate::factor::totp::{Algorithm, Parameters, Totp};
use crate::lockout::{Failures, Way};

/// The length of a state slot, and of a device's block on most disks.
pub const SLOT: usize = 4096;

/// The longest file of credentials, in bytes.
pub const CREDENTIALS_LIMIT: usize = 64 * 1024;

/// The identity of one binding. Nil belongs to no binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Id(pub [u8; 16]);

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A bound authenticator app: written when the binding changes, never by a login.
pub struct Credentials {
    /// The binding's identity.
    pub id: Id,
    /// What the user calls it.
    pub label: String,
    /// When it was bound, in seconds since 1970.
    pub created: u64,
    /// From where it was bound.
    pub created_from: String,
    /// The device itself.
    pub totp: Totp,
    /// The steps of the two codes that bound it; they are used up.
    pub burnt: [u64; 2],
    /// The recovery codes.
    pub recovery: recovery::Set,
    /// What was changed last, for the next login to tell.
    pub latest: Latest,
}

/// The latest change of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    /// It was made, where nothing was bound.
    Bound,
    /// It was made, in place of another device.
    Replaced,
    /// It got other recovery codes.
    RecoveryCodes {
        /// When, in seconds since 1970.
        when: u64,
        /// From where.
        from: String,
    },
}

/// How long a pending device can be confirmed, in seconds.
pub const PENDING_LIFE: u64 = 15 * 60;

/// A device that waits for its two codes.
pub struct Pending {
    /// What will be its binding's identity.
    pub id: Id,
    /// What the user calls it.
    pub label: String,
    /// From then on it can no longer be confirmed, in seconds since 1970.
    pub expires: u64,
    /// Where it was begun: a literal address, a terminal, or "root"; empty where nobody can tell.
    pub from: String,
    /// The device that it will replace, and no other; nil where nothing is bound.
    pub replaces: Id,
    /// The device itself.
    pub totp: Totp,
}

/// What attempts change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The binding that it belongs to.
    pub id: Id,
    /// The highest step whose code was accepted: neither it nor any before it is accepted again.
    pub last_step: u64,
    /// How many steps the device's clock is ahead of ours, as far as that was learned.
    pub clock_offset: i64,
    /// When a code was last accepted, in seconds since 1970; 0 for never.
    pub last_used: u64,
    /// Which recovery codes are used.
    pub recovery: recovery::Used,
    /// The one-time code that root has made for who has lost the device.
    pub bypass: Bypass,
    /// Wrong codes by logins.
    pub failures: Failures,
    /// Wrong codes by processes of the user's own.
    pub own_failures: Failures,
    /// A login was let past its auth phase on the condition that a device is bound.
    pub owes: bool,
    /// The invitation to bind one.
    pub invitation: Invitation,
}

/// A ticket to bind a device, good until it is used or runs out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invitation {
    /// The ticket: a recovery code in form and strength.
    pub set: recovery::Set,
    /// From then on it is void, in seconds since 1970.
    pub expires: u64,
}

/// A code that lets in once, until it is used or runs out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    /// The code: a recovery code in form and strength.
    pub set: recovery::Set,
    /// From then on it is void, in seconds since 1970.
    pub expires: u64,
}

impl Bypass {
    /// Whether there is one that is still good.
    pub fn is_good(&self, now: u64) -> bool {
        !self.set.hashes.is_empty() && self.expires > now
    }
}

impl State {
    /// The state of a binding that nobody has used yet.
    pub fn fresh(id: Id, burnt: [u64; 2]) -> State {
        State {
            id,
            last_step: burnt[0].max(burnt[1]),
            clock_offset: 0,
            last_used: 0,
            recovery: recovery::Used::default(),
            bypass: Bypass::default(),
            failures: Failures::default(),
            own_failures: Failures::default(),
            owes: false,
            invitation: Invitation::default(),
        }
    }

    /// The state of the next binding of the same user, which nobody has used yet. A new device ends no lock.
    pub fn succeeded_by(&self, id: Id, burnt: [u64; 2]) -> State {
        State { failures: self.failures, own_failures: self.own_failures, ..State::fresh(id, burnt) }
    }

    /// The failures by one way.
    pub fn failures(&self, way: Way) -> Failures {
        match way {
            Way::Login => self.failures,
            Way::OwnProcess => self.own_failures,
        }
    }

    /// The same state with other failures by that way.
    pub fn with_failures(&self, way: Way, failures: Failures) -> State {
        match way {
            Way::Login => State { failures, ..self.clone() },
            Way::OwnProcess => State { own_failures: failures, ..self.clone() },
        }
    }
}

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
    /// A device.
    Bound(Box<Credentials>),
    /// None any more: what a change of binding leaves until the file is removed.
    Disabled,
}

const CREDENTIALS: &str = "mfa-credentials 1";
const PENDING: &str = "mfa-pending 1";
const STATE: &str = "mfa-state 1";

impl Credentials {
    /// The file.
    pub fn encode(&self, user: &str) -> Secret {
        let mut text = Text::new(CREDENTIALS_LIMIT, CREDENTIALS);
        text.line("user", format_args!("{user}"));
        text.line("kind", format_args!("totp"));
        text.line("id", format_args!("{}", self.id));
        text.line("label", format_args!("{}", self.label));
        text.line("created", format_args!("{}", self.created));
        text.line("created-from", format_args!("{}", self.created_from));
        text.totp(&self.totp);
        text.line("burnt", format_args!("{} {}", self.burnt[0], self.burnt[1]));
        text.set("recovery", &self.recovery);
        match &self.latest {
            Latest::Bound => text.line("latest", format_args!("bound")),
            Latest::Replaced => text.line("latest", format_args!("replaced")),
            Latest::RecoveryCodes { when, from } => {
                text.line("latest", format_args!("recovery-codes {when} {from}"));
            }
        }
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
    let binding = match lines.value("kind")? {
        "none" => Binding::Disabled,
        "totp" => Binding::Bound(Box::new(Credentials {
            id: lines.id()?,
            label: lines.value("label")?.to_owned(),
            created: lines.number("created")?,
            created_from: lines.value("created-from")?.to_owned(),
            totp: lines.totp()?,
            burnt: lines.two_numbers("burnt")?,
            recovery: lines.set("recovery")?,
            latest: lines.latest()?,
        })),
        _ => return Err(Damage::Line),
    };
    lines.end()?;
    Ok(binding)
}

impl Pending {
    /// When it was made, in seconds since 1970.
    pub fn begun(&self) -> u64 {
        self.expires.saturating_sub(PENDING_LIFE)
    }

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
        text.line("clock-offset", format_args!("{}", self.clock_offset));
        text.line("last-used", format_args!("{}", self.last_used));
        text.line("recovery", format_args!("{} {}", self.recovery.set, self.recovery.codes));
        text.set("bypass", &self.bypass.set);
        text.line("bypass-expires", format_args!("{}", self.bypass.expires));
        for (name, failures) in [("failures", self.failures), ("own-failures", self.own_failures)] {
            text.line(name, format_args!("{} {}", failures.forgotten, failures.locked_until));
        }
        text.line("owes", format_args!("{}", u8::from(self.owes)));
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
            clock_offset: number(lines.value("clock-offset")?)?,
            last_used: lines.number("last-used")?,
            recovery: {
                let (set, codes) = lines.value("recovery")?.split_once(' ').ok_or(Damage::Line)?;
                recovery::Used { set: id(set)?, codes: number(codes)? }
            },
            bypass: Bypass { set: lines.set("bypass")?, expires: lines.number("bypass-expires")? },
            failures: lines.failures("failures")?,
            own_failures: lines.failures("own-failures")?,
            owes: match lines.value("owes")? {
                "0" => false,
                "1" => true,
                _ => return Err(Damage::Line),
            },
            invitation: Invitation { set: lines.set("ticket")?, expires: lines.number("ticket-expires")? },
        };
        lines.end()?;
        Ok((sequence, state))
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
        // Every value has a limit (names 256 bytes, places 1 KiB, keys 64 bytes), so all of them fit.
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

    fn latest(&mut self) -> Result<Latest, Damage> {
        let value = self.value("latest")?;
        match value.split_once(' ') {
            None if value == "bound" => Ok(Latest::Bound),
            None if value == "replaced" => Ok(Latest::Replaced),
            Some(("recovery-codes", made)) => {
                let (when, from) = made.split_once(' ').ok_or(Damage::Line)?;
                Ok(Latest::RecoveryCodes { when: number(when)?, from: from.to_owned() })
            }
            _ => Err(Damage::Line),
        }
    }

    fn user(&mut self, user: &str) -> Result<(), Damage> {
        if self.value("user")? == user { Ok(()) } else { Err(Damage::OtherUser) }
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
