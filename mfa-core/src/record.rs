//! What is kept of one user. Its bytes are in [`format`](self::format).

mod format;

pub use format::{Binding, CREDENTIALS_LIMIT, Damage, SLOT, decode_credentials, encode_disabled};

use crate::key::Key;
use crate::lockout::{Failures, Way};
use crate::remembered::RememberedLogins;
use crate::totp::Totp;
use crate::{Id, Kind, Process, recovery};

/// All that is kept of one user.
pub struct Record {
    /// The user.
    pub user: String,
    /// What is bound.
    pub credentials: Option<Credentials>,
    /// A device bound by a login whose session has not opened yet. It does not count as bound.
    pub provisional: Option<(Credentials, Provisional)>,
    /// What attempts have left.
    pub state: State,
    /// A device that waits for its two codes.
    pub pending: Option<Pending>,
}

/// What is bound: written when the binding changes, never by a login.
pub struct Credentials {
    /// The binding's identity.
    pub id: Id,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From where it was made.
    pub created_from: String,
    /// What proves possession.
    pub device: Device,
    /// The recovery codes.
    pub recovery: recovery::Set,
    /// What was changed last, for the next login to tell.
    pub latest: Latest,
}

/// What is bound is of one kind: an app, or keys.
pub enum Device {
    /// An authenticator app.
    App(App),
    /// Security keys, at least one.
    Keys(Vec<Key>),
}

/// A bound authenticator app.
pub struct App {
    /// What the user calls it.
    pub label: String,
    /// The key and its parameters.
    pub totp: Totp,
    /// The steps of the two codes that bound it; they are used up.
    pub burnt: [u64; 2],
}

impl Credentials {
    /// The kind of what is bound.
    pub fn kind(&self) -> Kind {
        match self.device {
            Device::App(_) => Kind::Totp,
            Device::Keys(_) => Kind::U2f,
        }
    }

    /// The app, if that is what is bound.
    pub fn app(&self) -> Option<&App> {
        match &self.device {
            Device::App(app) => Some(app),
            Device::Keys(_) => None,
        }
    }

    /// The security keys; none where an app is bound.
    pub fn keys(&self) -> &[Key] {
        match &self.device {
            Device::App(_) => &[],
            Device::Keys(keys) => keys,
        }
    }

    /// The steps that the binding has used up.
    pub fn burnt(&self) -> [u64; 2] {
        self.app().map_or([0, 0], |app| app.burnt)
    }
}

/// The latest change of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    /// It was made, where nothing was bound.
    Bound,
    /// It was made, in place of another device.
    Replaced,
    /// It was made before, and changed.
    Changed {
        /// What was.
        what: Amendment,
        /// When, in seconds since 1970.
        when: u64,
        /// From where.
        from: String,
    },
}

/// Until when a provisional binding can be confirmed, and by which processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisional {
    /// From then on it is void, in seconds since 1970.
    pub expires: u64,
    /// One of these processes opens the session of that login.
    pub openers: Vec<Process>,
}

/// A change after which a binding keeps its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// It got other recovery codes.
    RecoveryCodes,
    /// It lost one of several security keys.
    KeyRemoved,
}

/// How long a device can be confirmed that is pending or provisional, in seconds.
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

impl Pending {
    /// When it was made, in seconds since 1970.
    pub fn begun(&self) -> u64 {
        self.expires.saturating_sub(PENDING_LIFE)
    }
}

/// What attempts change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The binding that it belongs to.
    pub id: Id,
    /// The highest step whose code was accepted: neither it nor any before it is accepted again.
    pub last_step: u64,
    /// The future step whose code was said to be early, and is therefore never accepted; 0 for none.
    pub told: u64,
    /// How many steps the device's clock is ahead of ours, as far as that was learned.
    pub clock_offset: i64,
    /// When the device was last accepted at a login, in seconds since 1970; 0 for never.
    pub last_used: u64,
    /// When which security keys were used, and what they have counted to.
    pub keys_used: KeysUsed,
    /// Which recovery codes are used.
    pub recovery: recovery::Used,
    /// A code that root has made for a user who has lost the device: it lets in once.
    pub bypass: OneTime,
    /// Wrong codes by logins.
    pub failures: Failures,
    /// Wrong codes by processes of the user's own.
    pub own_failures: Failures,
    /// Logins that are remembered.
    pub remembered: RememberedLogins,
    /// Where a login was let past its auth phase on the condition that a device is bound.
    pub owes: Owes,
    /// The invitation code: the permission to bind one.
    pub invitation: OneTime,
}

/// A code that is good once, until it is used or runs out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneTime {
    /// The code: a recovery code in form and strength. Empty for none.
    pub set: recovery::Set,
    /// From then on it is void, in seconds since 1970.
    pub expires: u64,
}

impl OneTime {
    /// Whether there is one that is still good.
    pub fn is_good(&self, now: u64) -> bool {
        !self.set.hashes.is_empty() && self.expires > now
    }

    /// Whether this is the code, good or not.
    pub fn is(&self, code: &recovery::Code) -> bool {
        self.set.find(code).is_some()
    }
}

/// What is known of the use of security keys. A key that has not signed here since it was bound has the counter of its
/// binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysUsed(Vec<Use>);

/// The latest use of one security key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    key: Id,
    counter: u32,
    at: u64,
}

impl KeysUsed {
    /// What `key` has counted to.
    pub fn counter(&self, key: &Key) -> u32 {
        self.find(key).map_or(key.counter, |last| last.counter)
    }

    /// When `key` was last accepted, in seconds since 1970.
    pub fn last(&self, key: &Key) -> Option<u64> {
        self.find(key).map(|last| last.at)
    }

    /// A copy in which `key` was accepted last, without keys that are not among `keys` any more.
    pub fn with(&self, key: &Key, counter: u32, at: u64, keys: &[Key]) -> KeysUsed {
        let others = self.0.iter().filter(|other| other.key != key.id && keys.iter().any(|key| key.id == other.key));
        KeysUsed(others.copied().chain([Use { key: key.id, counter, at }]).collect())
    }

    fn find(&self, key: &Key) -> Option<&Use> {
        self.0.iter().find(|last| last.key == key.id)
    }
}

/// The doors where a login was let past its auth phase on the condition that a device is bound, and no code was given
/// since. A program that remembers that phase may come from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owes {
    /// These; none in the end.
    At(Vec<String>),
    /// At an unknown door, or at too many.
    Anywhere,
}

impl Default for Owes {
    fn default() -> Owes {
        Owes::At(Vec::new())
    }
}

impl Owes {
    /// The most doors that are kept apart.
    const MOST: usize = 8;
    /// How the doors of sudo begin, which remembers logins: a session follows.
    pub const REMEMBERS: &str = "sudo:";
    /// The longest door, in bytes.
    const LONGEST: usize = 48;

    /// Whether nothing is owed at all.
    pub fn nothing(&self) -> bool {
        *self == Owes::default()
    }

    /// Whether something is owed at this door, or may be. `None`: the door is unknown.
    pub fn at(&self, door: Option<&str>) -> bool {
        match (self, door) {
            (Owes::Anywhere, _) => true,
            (Owes::At(doors), Some(door)) => doors.iter().any(|listed| listed == door),
            (Owes::At(doors), None) => !doors.is_empty(),
        }
    }

    /// Whether something is certainly owed at this door. [`at`](Owes::at) says yes if in doubt: strict where a yes
    /// leads to a question, but lax where it leads to a permission.
    pub fn names(&self, door: Option<&str>) -> bool {
        matches!((self, door), (Owes::At(doors), Some(door)) if doors.iter().any(|listed| listed == door))
    }

    /// A copy with this door added.
    pub fn with(&self, door: Option<&str>) -> Owes {
        match (self, door) {
            (Owes::At(_), Some(door)) if self.at(Some(door)) => self.clone(),
            (Owes::At(doors), Some(door)) if doors.len() < Owes::MOST && Owes::is_door(door) => {
                Owes::At([doors.as_slice(), &[door.to_owned()]].concat())
            }
            _ => Owes::Anywhere,
        }
    }

    /// What is owed by either.
    pub fn and(&self, other: &Owes) -> Owes {
        match other {
            Owes::At(doors) => doors.iter().fold(self.clone(), |owes, door| owes.with(Some(door))),
            Owes::Anywhere => Owes::Anywhere,
        }
    }

    /// A copy without this door. `Anywhere` stays, because something may be owed elsewhere.
    pub fn without(&self, door: Option<&str>) -> Owes {
        self.only(|listed| Some(listed) != door)
    }

    /// What is still owed once a device is bound. From then on every login is asked, except a session of sudo that
    /// remembers a login let past before: so only doors of sudo stay.
    pub fn remembered(&self) -> Owes {
        self.only(|door| door.starts_with(Owes::REMEMBERS))
    }

    /// A copy with only the doors for which `like` is true.
    pub fn only(&self, like: impl Fn(&str) -> bool) -> Owes {
        match self {
            Owes::At(doors) => Owes::At(doors.iter().filter(|door| like(door)).cloned().collect()),
            Owes::Anywhere => Owes::Anywhere,
        }
    }

    fn is_door(text: &str) -> bool {
        (1..=Owes::LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !["none", "anywhere"].contains(&text)
    }
}

impl State {
    /// The state of a binding that nobody has used yet.
    pub fn fresh(id: Id, burnt: [u64; 2]) -> State {
        State {
            id,
            last_step: burnt[0].max(burnt[1]),
            told: 0,
            clock_offset: 0,
            last_used: 0,
            keys_used: KeysUsed::default(),
            recovery: recovery::Used::default(),
            bypass: OneTime::default(),
            failures: Failures::default(),
            own_failures: Failures::default(),
            remembered: RememberedLogins::default(),
            owes: Owes::default(),
            invitation: OneTime::default(),
        }
    }

    /// The state of the next binding of the same user, which nobody has used yet. A new device ends no lock, and pays
    /// nothing that is owed.
    pub fn succeeded_by(&self, id: Id, burnt: [u64; 2]) -> State {
        let State { failures, own_failures, .. } = *self;
        State { failures, own_failures, owes: self.owes.remembered(), ..State::fresh(id, burnt) }
    }

    /// The failures by one way.
    pub fn failures(&self, way: Way) -> Failures {
        match way {
            Way::Login => self.failures,
            Way::OwnProcess => self.own_failures,
        }
    }

    /// A copy with these failures by that way.
    pub fn with_failures(&self, way: Way, failures: Failures) -> State {
        match way {
            Way::Login => State { failures, ..self.clone() },
            Way::OwnProcess => State { own_failures: failures, ..self.clone() },
        }
    }
}
