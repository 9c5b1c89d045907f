//! The messages and their bytes. `docs/wire.md` is the specification.
//!
//! The types come first; the tables of their fields are at the end. `codec` writes the fields.

use crate::codec::{Bytes, Field, Malformed, Many, Maybe, Reader, Text, Wiped, WipedText, Writer, choice, record};
use crate::secret::Secret;

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// The longest name (user, service, label), in bytes.
pub const MAX_NAME: usize = 256;
/// The longest remote host, terminal or address, in bytes.
pub const MAX_PLACE: usize = 1024;
/// The longest text to show, in bytes: a QR code drawn in half blocks has 5 KiB.
pub const MAX_TEXT: usize = 12 * 1024;
/// The longest answer that a front end passes on, in bytes. A recovery code has 19 bytes, a PIN at most 63; a longer
/// answer cannot be right.
pub const MAX_ANSWER: usize = 256;
/// The most devices that one status may list.
const DEVICES: usize = 32;
/// The most services that one status may list.
pub const SERVICES: usize = 32;
/// The most users whom one rule may except.
const EXCEPTED: usize = 64;
/// The most recovery codes of one set.
const CODES: usize = 64;

/// The helper's first message: the versions that it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it still accepts.
    pub oldest: u8,
    /// Its own version.
    pub newest: u8,
}

/// What our auth hook did in this PAM handle before the account hook was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthHook {
    /// It was not called: a key login, cron, a cached sudo, su from root.
    NotRun,
    /// It returned `PAM_IGNORE`.
    Ignored,
    /// It returned `PAM_IGNORE` on the condition that a device is bound now.
    HandedOver,
}

/// What a login program says about a login. These are claims: believed if the caller is root, only logged otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// `PAM_USER`.
    pub user: String,
    /// `PAM_SERVICE`.
    pub service: String,
    /// `PAM_RHOST`.
    pub rhost: Option<String>,
    /// `PAM_TTY`.
    pub tty: Option<String>,
    /// `PAM_RUSER`.
    pub ruser: Option<String>,
    /// `SSH_AUTH_INFO_0` of the PAM environment: the methods that sshd has already accepted.
    pub ssh_auth_info: Option<String>,
    /// `stack=complete` stands on the module's line.
    pub stack_complete: bool,
    /// `SSH_AUTH_SOCK` of sudo's environment. Supplied by the caller of sudo: a hint, never trusted.
    pub ssh_auth_sock: Option<String>,
    /// The executable file of the login program, as the kernel names it: `/proc/self/exe`.
    pub program: Option<String>,
}

impl Login {
    /// A login of which only the user and the service are known.
    pub fn at(user: &str, service: &str) -> Login {
        Login {
            user: user.to_owned(),
            service: service.to_owned(),
            rhost: None,
            tty: None,
            ruser: None,
            ssh_auth_info: None,
            stack_complete: false,
            ssh_auth_sock: None,
            program: None,
        }
    }

    /// sshd is recognized by what it sets, because an administrator can choose its service name.
    pub fn came_by_sshd(&self) -> bool {
        self.tty.as_deref() == Some("ssh") || self.ssh_auth_info.is_some() || self.service == "sshd"
    }
}

/// A security key to be bound. `None` as user means the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewKey {
    /// The user whose key it will be.
    pub user: Option<String>,
    /// What the user calls it.
    pub label: Option<String>,
    /// The line of an ssh public key, if the key is bound as an ssh key; otherwise a key that is plugged in here is
    /// bound.
    pub ssh_key: Option<String>,
}

/// What `mfa-enroll` can ask for. `None` as user means the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Bind an authenticator app now, in this conversation.
    Totp {
        /// Whose device it will be.
        user: Option<String>,
        /// What the user calls it.
        label: Option<String>,
        /// By the ticket of an invitation, in place of the first factor.
        invited: bool,
    },
    /// Make a pending authenticator app, to be confirmed in another conversation.
    TotpPending {
        /// Whose device it will be.
        user: String,
        /// What the user calls it.
        label: Option<String>,
    },
    /// Bind the pending device by two codes.
    Confirm {
        /// Whose device it is.
        user: String,
    },
    /// Drop the pending device.
    CancelPending {
        /// Whose device it is.
        user: String,
    },
    /// Destroy the binding.
    Disable {
        /// Whose binding it is.
        user: Option<String>,
        /// The device's id; `None` means all that is bound.
        device: Option<String>,
    },
    /// Say what is bound and required.
    Status {
        /// Whose standing is asked for.
        user: Option<String>,
    },
    /// Say it for everybody who has a record.
    List,
    /// Make new recovery codes; the ones before are void then.
    RecoveryCodes {
        /// Whose codes they are.
        user: Option<String>,
    },
    /// Write the rule that requires a second factor of somebody.
    Require(Required),
    /// Remove it again.
    Unrequire(Required),
    /// Make what is on trial permanent.
    ConfirmRequired,
    /// Make a ticket to bind a device.
    Invite {
        /// For whom.
        user: String,
    },
    /// Look for mistakes in the policy.
    PolicyCheck,
    /// Say which rule decides about a login, and what would happen.
    PolicyExplain {
        /// Who logs in.
        user: String,
        /// By which service.
        service: String,
        /// From where.
        rhost: Option<String>,
        /// By this kind of ssh key alone.
        ssh_key: Option<String>,
    },
    /// Forget the wrong codes, and end a lock.
    Unlock {
        /// Whose they are.
        user: String,
    },
    /// Bind an authenticator app now, in place of the one that is bound.
    Replace {
        /// Whose device it will be.
        user: Option<String>,
        /// What the user calls it.
        label: Option<String>,
    },
    /// Make a pending authenticator app that will take the place of the one that is bound.
    ReplacePending {
        /// Whose device it will be.
        user: String,
        /// What the user calls it.
        label: Option<String>,
    },
    /// Make a code that lets in once, in place of any other such.
    Bypass {
        /// Whom it lets in.
        user: String,
        /// For how many seconds it is good; 0 makes none.
        seconds: u64,
    },
    /// Learn by two codes how far the clock of the device is off.
    Resync {
        /// Whose device it is.
        user: String,
    },
    /// Look through the whole host.
    Doctor,
    /// Say the standing of some, whether they have a record or not.
    ListOf {
        /// The members of this group; absent: everybody.
        group: Option<String>,
        /// Of those, who is required to have a device and has none.
        missing: bool,
    },
    /// Say which logins are remembered, or forget them.
    Tickets {
        /// Whose logins they are.
        user: Option<String>,
        /// The id of one to forget, or "all".
        revoke: Option<String>,
    },
    /// Bind a security key now, as the first device or beside other keys.
    U2f {
        /// The key.
        key: NewKey,
        /// By the ticket of an invitation, in place of the first factor.
        invited: bool,
    },
    /// Bind a security key now, in place of all that is bound.
    ReplaceU2f(NewKey),
    /// Take over the security keys that another program's file lists for one user.
    Import {
        /// Whose keys they are.
        user: String,
        /// The form of the lines: `pam-u2f`, `authorized-keys`.
        format: String,
        /// The relying party (pam-u2f: origin, or appid) that they were made for; absent: the usual one.
        origin: Option<String>,
        /// The lines.
        lines: String,
    },
    /// Make the device of an account that has a new name that account's again.
    Rename {
        /// The name under which the device is kept.
        old: String,
        /// The name of the account now.
        new: String,
    },
}

/// A rule that requires a second factor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// The user that it is about; if absent, `group` is given.
    pub user: Option<String>,
    /// The group that it is about.
    pub group: Option<String>,
    /// Applies to this service only.
    pub service: Option<String>,
    /// Allows these kinds of device only, separated by commas.
    pub kinds: Option<String>,
    /// Applies from this day on.
    pub deadline: Option<String>,
    /// Applies for this many seconds, unless it is confirmed.
    pub on_trial: Option<u64>,
    /// The members of the group that it is not about.
    pub except: Vec<String>,
}

/// The one request of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The auth phase of a login.
    Verify(Login),
    /// The account phase of a login.
    Account(Login, AuthHook),
    /// Something for `mfa-enroll`.
    Verb(Verb),
    /// The auth phase of a login, as a test by `mfa-enroll`: the verdict lets nobody in.
    Test(Login),
    /// The session phase of a login whose account phase has bound a device.
    Session(Login),
}

/// Why there is no answer to an Ask. None of these counts as a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The login program cannot ask, or its answer is unusable (absent, too long).
    NoConversation,
    /// The person gave up: Ctrl-C, Ctrl-D or an empty line.
    ByUser,
    /// The answer was the login secret that the program holds: the program answers without asking the person.
    LoginSecret,
    /// The answer was the user's name: the program answers without asking the person.
    UserName,
}

/// What a front end sends.
pub enum ToHelper {
    /// The first message.
    Request(Request),
    /// The reply to an Ask.
    Answer(Secret),
    /// There is no reply to an Ask.
    Cancel(Cancelled),
}

/// How a conversation ended. The numbers on the wire differ in many bits, so that a single flipped bit cannot turn a
/// refusal into an acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[repr(u32)]
pub enum Outcome {
    /// The second factor is verified, or the verb is done.
    Accepted = 0x5ac3_9d17,
    /// The policy asks nothing of this login.
    Ignored = 0x2e94_61f8,
    /// The answer is wrong or already used, or the request is not allowed.
    Refused = 0xa13c_62e8,
    /// Too many wrong attempts.
    Locked = 0xd16b_9e07,
    /// There was nobody to ask, or the person gave up.
    NoInteraction = 0x866a_f735,
    /// No decision is possible: the store, the policy or the helper failed.
    Unavailable = 0x71d5_0a4b,
    /// No such user, binding or pending device.
    NotFound = 0x3b08_c5d6,
    /// Nothing was changed: what was requested, or a device in its place, exists already.
    Already = 0xe857_3aa9,
    /// In auth: let past on the condition that the account phase binds a device.
    HandedOver = 0x4fb1_d862,
    /// The check is complete: something should be corrected.
    Warnings = 0x9a0e_2735,
    /// The check is complete: something lets people past the second factor, or locks them out.
    Faults = 0x65f4_4c8e,
    /// This helper's sandbox keeps it from doing the request, and it has asked, judged and written nothing. Root's
    /// front end then starts its own helper and sends the request to that.
    StartYourOwn = 0x77af_3bd4,
}

impl Outcome {
    const ALL: [Outcome; 12] = [
        Outcome::Accepted,
        Outcome::Ignored,
        Outcome::Refused,
        Outcome::Locked,
        Outcome::NoInteraction,
        Outcome::Unavailable,
        Outcome::NotFound,
        Outcome::Already,
        Outcome::HandedOver,
        Outcome::Warnings,
        Outcome::Faults,
        Outcome::StartYourOwn,
    ];
}

/// The helper's last message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// The line that the person reads; empty if there is none.
    pub text: String,
}

/// A new authenticator app, shown once.
pub struct Device {
    /// Whose it is.
    pub user: String,
    /// The name under which the app shows it.
    pub issuer: String,
    /// The key in base32, for typing by hand.
    pub key: Secret,
    /// The `otpauth://` address, for a QR code. It holds all the other fields.
    pub uri: Secret,
    /// The hash, as apps name it: `SHA1`, `SHA256`, `SHA512`.
    pub algorithm: String,
    /// The number of digits of a code.
    pub digits: u8,
    /// The number of seconds for which a code is valid.
    pub period: u32,
    /// The time until which it can be confirmed, in seconds since 1970; absent if only this conversation can.
    pub expires: Option<u64>,
}

/// What is known of one bound device. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Its id.
    pub id: String,
    /// What the user calls it.
    pub label: String,
    /// When it was bound.
    pub created: u64,
    /// From where it was bound.
    pub created_from: String,
    /// When it last let its user in.
    pub last_used: Option<u64>,
}

/// What the name service says of the account of a user that has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// It is there.
    There,
    /// No account has this name any more.
    Gone,
    /// It gives no answer.
    Unknown,
}

/// The state of one user: what is bound, what is required, and what is locked or bypassed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The user.
    pub user: String,
    /// The kind of device that is bound: `totp`, `u2f`.
    pub kind: Option<String>,
    /// Whether a device waits for its confirmation.
    pub pending: bool,
    /// Whether a rule requires a second factor of this user.
    pub required: bool,
    /// The bound devices.
    pub devices: Vec<DeviceStatus>,
    /// The number of recovery codes that are left.
    pub recovery_codes_left: u32,
    /// The end of a lock, in seconds since 1970.
    pub locked_until: Option<u64>,
    /// The end of a bypass code's validity, in seconds since 1970.
    pub bypass_until: Option<u64>,
    /// Whether there is such an account.
    pub account: Account,
    /// Where a device is required, if that was asked: services that rules name, and `*` for all others.
    pub required_at: Vec<String>,
    /// Where the next login binds a device, if that was asked: services.
    pub binds_at: Vec<String>,
    /// Why it is not known where, or not of all services.
    pub not_known: Option<String>,
}

/// One remembered login. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its id, for revoking it.
    pub id: String,
    /// The PAM service.
    pub service: String,
    /// The client's address, or `session:` and the kernel's audit session.
    pub place: String,
    /// The fingerprint of the ssh key that was used.
    pub key: Option<String>,
    /// When the code that made it was given.
    pub made: u64,
    /// The latest time at which it is valid.
    pub expires: u64,
}

/// What the helper sends.
pub enum FromHelper {
    /// Sent at once, before any work.
    Hello(Hello),
    /// Ask the person. The text may hold a new key, so it is wiped like one.
    Ask {
        /// Whether the answer is shown while it is typed.
        echo: bool,
        /// The prompt, with all that must be read before it.
        text: Secret,
    },
    /// Show this text.
    Tell(String),
    /// Show this new device.
    Device(Device),
    /// Show what this user has bound.
    Status(Status),
    /// Show this as the data that was asked for.
    Report(String),
    /// Show these recovery codes now; they cannot be shown again.
    RecoveryCodes(Vec<Secret>),
    /// Show this remembered login.
    Remembered(Remembered),
    /// Show this text at once: the person must do something, and there is nothing to type.
    Notice(String),
    /// Have the person's ssh agent sign this with this key (in ssh's encoding); the answer is the signature.
    Sign {
        /// The public key.
        key: Vec<u8>,
        /// The data to sign, in our namespace. The front end builds from it the data that an agent signs
        /// (PROTOCOL.sshsig), so that it can also be given to `ssh-keygen -Y sign` on the machine where the key is
        /// plugged in.
        message: Vec<u8>,
    },
    /// The last message.
    Verdict(Verdict),
}

impl ToHelper {
    /// The frame of this message.
    pub fn encode(&self) -> Result<Secret, Malformed> {
        Writer::frame::<ToHelper>(self)
    }

    /// The message in a frame.
    pub fn decode(frame: &Secret) -> Result<ToHelper, Malformed> {
        Reader::whole::<ToHelper>(frame.bytes())
    }
}

impl FromHelper {
    /// The frame of this message.
    pub fn encode(&self) -> Result<Secret, Malformed> {
        Writer::frame::<FromHelper>(self)
    }

    /// The message in a frame.
    pub fn decode(frame: &Secret) -> Result<FromHelper, Malformed> {
        Reader::whole::<FromHelper>(frame.bytes())
    }
}

type Name = Text<MAX_NAME>;
type Place = Text<MAX_PLACE>;
type Long = Text<MAX_TEXT>;

choice! { ToHelper, unknown: Malformed::UnknownType,
    0x10 => Request(request: Versioned),
    0x11 => Answer(answer: Wiped<MAX_ANSWER>),
    0x12 => Cancel(why: Cancelled),
}

choice! { FromHelper, unknown: Malformed::UnknownType,
    0x20 => Hello(hello: Hello),
    0x21 => Ask { echo: bool, text: WipedText<MAX_TEXT> },
    0x22 => Tell(text: Long),
    0x23 => Device(device: Device),
    0x24 => Status(status: Status),
    0x25 => Verdict(verdict: Verdict),
    0x26 => RecoveryCodes(codes: Many<WipedText<MAX_ANSWER>, CODES>),
    0x27 => Report(text: Long),
    0x28 => Remembered(remembered: Remembered),
    0x29 => Notice(text: Long),
    0x2a => Sign { key: Bytes<MAX_PLACE>, message: Bytes<MAX_PLACE> },
}

choice! { Request, unknown: unknown_value,
    1 => Verify(login: Login),
    2 => Account(login: Login, auth: AuthHook),
    3 => Verb(verb: Verb),
    4 => Test(login: Login),
    5 => Session(login: Login),
}

choice! { AuthHook, unknown: unknown_value,
    1 => NotRun {},
    2 => Ignored {},
    3 => HandedOver {},
}

choice! { Account, unknown: unknown_value,
    1 => There {},
    2 => Gone {},
    3 => Unknown {},
}

choice! { Cancelled, unknown: unknown_value,
    1 => NoConversation {},
    2 => ByUser {},
    3 => LoginSecret {},
    4 => UserName {},
}

choice! { Verb, unknown: unknown_value,
    1 => Totp { user: Maybe<Name>, label: Maybe<Name>; invited: false },
    2 => TotpPending { user: Name, label: Maybe<Name> },
    3 => Confirm { user: Name },
    4 => CancelPending { user: Name },
    5 => Disable { user: Maybe<Name>, device: Maybe<Name> },
    6 => Status { user: Maybe<Name> },
    7 => List {},
    8 => RecoveryCodes { user: Maybe<Name> },
    9 => Unlock { user: Name },
    10 => Require(required: Required),
    11 => Unrequire(required: Required),
    12 => ConfirmRequired {},
    13 => Invite { user: Name },
    14 => PolicyCheck {},
    15 => PolicyExplain { user: Name, service: Name, rhost: Maybe<Place>, ssh_key: Maybe<Name> },
    16 => Replace { user: Maybe<Name>, label: Maybe<Name> },
    17 => ReplacePending { user: Name, label: Maybe<Name> },
    18 => Bypass { user: Name, seconds: u64 },
    19 => Resync { user: Name },
    20 => Doctor {},
    21 => ListOf { group: Maybe<Name>, missing: bool },
    22 => Totp { user: Maybe<Name>, label: Maybe<Name>; invited: true },
    23 => Tickets { user: Maybe<Name>, revoke: Maybe<Name> },
    24 => U2f { key: NewKey; invited: false },
    25 => ReplaceU2f(key: NewKey),
    26 => U2f { key: NewKey; invited: true },
    27 => Import { user: Name, format: Name, origin: Maybe<Place>, lines: Long },
    28 => Rename { old: Name, new: Name },
}

record! { Hello { oldest: u8, newest: u8 } }

record! { Login {
    user: Name,
    service: Name,
    rhost: Maybe<Place>,
    tty: Maybe<Place>,
    ruser: Maybe<Name>,
    ssh_auth_info: Maybe<Long>,
    stack_complete: bool,
    ssh_auth_sock: Maybe<Place>,
    program: Maybe<Place>,
} }

record! { NewKey { user: Maybe<Name>, label: Maybe<Name>, ssh_key: Maybe<Place> } }

record! { Required {
    user: Maybe<Name>,
    group: Maybe<Name>,
    service: Maybe<Name>,
    kinds: Maybe<Name>,
    deadline: Maybe<Name>,
    on_trial: Maybe<u64>,
    except: Many<Name, EXCEPTED>,
} }

record! { Device {
    user: Name,
    issuer: Name,
    key: WipedText<MAX_NAME>,
    uri: WipedText<MAX_TEXT>,
    algorithm: Name,
    digits: u8,
    period: u32,
    expires: Maybe<u64>,
} }

record! { Status {
    user: Name,
    kind: Maybe<Name>,
    pending: bool,
    required: bool,
    devices: Many<DeviceStatus, DEVICES>,
    recovery_codes_left: u32,
    locked_until: Maybe<u64>,
    bypass_until: Maybe<u64>,
    account: Account,
    required_at: Many<Name, SERVICES>,
    binds_at: Many<Name, SERVICES>,
    not_known: Maybe<Place>,
} }

record! { DeviceStatus { id: Name, label: Name, created: u64, created_from: Place, last_used: Maybe<u64> } }

record! { Remembered { id: Name, service: Name, place: Place, key: Maybe<Name>, made: u64, expires: u64 } }

record! { Verdict { outcome: Outcome, text: Long } }

fn unknown_value(_: u8) -> Malformed {
    Malformed::UnknownValue
}

/// A request, preceded by the version of the protocol that it uses.
struct Versioned;

impl Field for Versioned {
    type Value = Request;

    fn write(w: &mut Writer, request: &Request) -> Result<(), Malformed> {
        u8::write(w, &VERSION)?;
        Request::write(w, request)
    }

    fn read(r: &mut Reader) -> Result<Request, Malformed> {
        match u8::read(r)? {
            VERSION => Request::read(r),
            other => Err(Malformed::UnknownVersion(other)),
        }
    }
}

impl Field for Outcome {
    type Value = Outcome;

    fn write(w: &mut Writer, outcome: &Outcome) -> Result<(), Malformed> {
        u32::write(w, &(*outcome as u32))
    }

    fn read(r: &mut Reader) -> Result<Outcome, Malformed> {
        let number = u32::read(r)?;
        Outcome::ALL.into_iter().find(|outcome| *outcome as u32 == number).ok_or(Malformed::UnknownValue)
    }
}
