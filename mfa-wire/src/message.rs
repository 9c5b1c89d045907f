//! The messages, and their bytes. `docs/wire.md` is the specification.
//!
//! Integers are big-endian. A string is its length in two bytes and that many bytes of UTF-8. An
//! optional value is a byte 0 or 1 and, after 1, the value. Nothing may follow the last field.

use std::fmt;

use crate::channel::MAX_FRAME;
use crate::secret::Secret;

/// The version of the language that this crate speaks.
pub const VERSION: u8 = 1;

/// The longest name (user, service, label), in bytes.
pub const MAX_NAME: usize = 256;
/// The longest remote host, terminal or address, in bytes.
pub const MAX_PLACE: usize = 1024;
/// The longest text to show, in bytes: a QR code in half blocks has 5 KiB.
pub const MAX_TEXT: usize = 12 * 1024;
/// The longest answer that a front end passes on, in bytes. A recovery code has 19, a PIN at most 63; anything longer is
/// no answer to what we ask.
pub const MAX_ANSWER: usize = 256;
/// The most devices that one status may list.
const DEVICES: usize = 32;
/// The most recovery codes of one set.
const CODES: usize = 64;

/// What is wrong with a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends inside a field.
    Truncated,
    /// Something follows its last field.
    TrailingBytes,
    /// A string is not UTF-8.
    NotUtf8,
    /// A field is longer than its limit.
    TooLong,
    /// Its type byte is not known.
    UnknownType(u8),
    /// A field holds a value that has no meaning.
    UnknownValue,
    /// The request is in a version that we do not speak.
    UnknownVersion(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => f.write_str("it ends inside a field"),
            Malformed::TrailingBytes => f.write_str("something follows the last field"),
            Malformed::NotUtf8 => f.write_str("a string is not UTF-8"),
            Malformed::TooLong => f.write_str("a field is too long"),
            Malformed::UnknownType(t) => write!(f, "unknown type {t:#04x}"),
            Malformed::UnknownValue => f.write_str("a field holds an unknown value"),
            Malformed::UnknownVersion(v) => write!(f, "unknown version {v}"),
        }
    }
}

/// The helper's first message: the versions that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it still understands.
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

/// What a login program says about a login. Claims: root's are believed, other callers' are logged.
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
    /// `SSH_AUTH_SOCK` of sudo's environment: the word of whoever has called it, and nobody's proof.
    pub ssh_auth_sock: Option<String>,
    /// The executable file of the login program, as the kernel names it: `/proc/self/exe`.
    pub program: Option<String>,
}

/// A security key to be bound. `None` as user means the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewKey {
    /// Whose it will be.
    pub user: Option<String>,
    /// What the user calls it.
    pub label: Option<String>,
    /// The line of an ssh public key, where it is bound as that; else one that is plugged in here.
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
    /// Bind an authenticator app as Totp does, with the ticket of an invitation in place of the first factor.
    TotpInvited {
        /// Whose device it will be.
        user: Option<String>,
        /// What the user calls it.
        label: Option<String>,
    },
    /// Say which logins are remembered, or forget them.
    Tickets {
        /// Whose logins they are.
        user: Option<String>,
        /// The id of one to forget, or "all".
        revoke: Option<String>,
    },
    /// Bind a security key now, as the first device or beside other keys.
    U2f(NewKey),
    /// Bind a security key now, in place of all that is bound.
    ReplaceU2f(NewKey),
    /// Bind a security key as U2f does, with the ticket of an invitation in place of the first factor.
    U2fInvited(NewKey),
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
}

/// What is required of whom: one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// A user, or else a group.
    pub user: Option<String>,
    /// A group.
    pub group: Option<String>,
    /// For this service only.
    pub service: Option<String>,
    /// With these kinds of device only, separated by commas.
    pub kinds: Option<String>,
    /// From that day on.
    pub deadline: Option<String>,
    /// For so many seconds only, unless it is confirmed.
    pub on_trial: Option<u64>,
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
    /// The auth phase of a login, tried out by `mfa-enroll`: the answer lets nobody in.
    Test(Login),
    /// The session phase of a login whose account phase has bound a device.
    Session(Login),
}

/// Why there is no answer to an Ask. None of these is a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The login program cannot ask, or its answer is unusable (absent, too long).
    NoConversation,
    /// The person gave up: Ctrl-C, Ctrl-D or an empty line.
    ByUser,
    /// The answer was the login secret that the program holds: it answers blindly.
    LoginSecret,
    /// The answer was the user's name: it answers blindly.
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

/// How a conversation ended. The numbers on the wire lie far apart, so that no single flipped bit
/// turns a refusal into an acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[repr(u32)]
pub enum Outcome {
    /// The second factor is verified; the verb is done.
    Accepted = 0x5ac3_9d17,
    /// Policy asks nothing of this login.
    Ignored = 0x2e94_61f8,
    /// Wrong, used, not allowed.
    Refused = 0xa13c_62e8,
    /// Too many wrong attempts.
    Locked = 0xd16b_9e07,
    /// There was nobody to ask, or they gave up.
    NoInteraction = 0x866a_f735,
    /// No decision is possible: store, policy or helper failed.
    Unavailable = 0x71d5_0a4b,
    /// No such user, binding or pending device.
    NotFound = 0x3b08_c5d6,
    /// It is so already.
    Already = 0xe857_3aa9,
    /// In auth: let past on the condition that a device is bound in the account phase.
    HandedOver = 0x4fb1_d862,
    /// Looked through: something should be mended.
    Warnings = 0x9a0e_2735,
    /// Looked through: something lets past, or locks out.
    Faults = 0x65f4_4c8e,
    /// This helper is shut off from what the request needs, and has asked, judged and written nothing: root's front end
    /// starts one of its own and asks that.
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
    /// The line that the person reads; empty when there is nothing to say.
    pub text: String,
}

/// A new authenticator app, shown once.
pub struct Device {
    /// Whose it is.
    pub user: String,
    /// Under which name the app shows it.
    pub issuer: String,
    /// The key in base32, to be typed by hand.
    pub key: Secret,
    /// The `otpauth://` address, to be drawn as a QR code. It holds all the rest.
    pub uri: Secret,
    /// The hash, as apps name it: `SHA1`, `SHA256`, `SHA512`.
    pub algorithm: String,
    /// Digits of a code.
    pub digits: u8,
    /// Seconds for which a code is valid.
    pub period: u32,
    /// Until when it can be confirmed, in seconds since 1970; absent when only in this conversation.
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
    /// When it last let somebody in.
    pub last_used: Option<u64>,
}

/// One user's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The user.
    pub user: String,
    /// The kind of what is bound: `totp`, `u2f`.
    pub kind: Option<String>,
    /// A device waits for its confirmation.
    pub pending: bool,
    /// Some rule requires a second factor of this user.
    pub required: bool,
    /// The bound devices.
    pub devices: Vec<DeviceStatus>,
    /// Recovery codes that are left.
    pub recovery_codes_left: u32,
    /// Locked until then, in seconds since 1970.
    pub locked_until: Option<u64>,
    /// A bypass code is good until then, in seconds since 1970.
    pub bypass_until: Option<u64>,
}

/// One login that is remembered. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its id, by which it is revoked.
    pub id: String,
    /// The PAM service.
    pub service: String,
    /// The client's address, or `session:` and the kernel's audit session.
    pub place: String,
    /// The fingerprint of the ssh key that was used.
    pub key: Option<String>,
    /// When the code was given.
    pub made: u64,
    /// Until when it is good at the longest.
    pub expires: u64,
}

/// What the helper sends.
pub enum FromHelper {
    /// At once, before any work.
    Hello(Hello),
    /// Ask the person. The text may hold a new key, so it is wiped like one.
    Ask {
        /// Whether the answer is shown while it is typed.
        echo: bool,
        /// The prompt, with all that must be read before it.
        text: Secret,
    },
    /// Show this.
    Tell(String),
    /// Show this new device.
    Device(Device),
    /// Show this user's standing.
    Status(Status),
    /// Show this as the data that was asked for.
    Report(String),
    /// Show these recovery codes, now and never again.
    RecoveryCodes(Vec<Secret>),
    /// Show this login that is remembered.
    Remembered(Remembered),
    /// Show this at once: somebody has to do it, and there is nothing to type.
    Notice(String),
    /// Have the person's ssh agent sign this by this key (ssh's encoding); the answer is its signature.
    Sign {
        /// The public key.
        key: Vec<u8>,
        /// What is to be signed, in our namespace: the front end makes of it what an agent is given (PROTOCOL.sshsig), so
        /// that it can also be given to `ssh-keygen -Y sign` where the key is.
        message: Vec<u8>,
    },
    /// The end.
    Verdict(Verdict),
}

const REQUEST: u8 = 0x10;
const ANSWER_TYPE: u8 = 0x11;
const CANCEL: u8 = 0x12;
const HELLO: u8 = 0x20;
const ASK: u8 = 0x21;
const TELL: u8 = 0x22;
const DEVICE: u8 = 0x23;
const STATUS: u8 = 0x24;
const VERDICT: u8 = 0x25;
const RECOVERY_CODES: u8 = 0x26;
const REPORT: u8 = 0x27;
const REMEMBERED: u8 = 0x28;
const NOTICE: u8 = 0x29;
const SIGN: u8 = 0x2a;

impl ToHelper {
    /// The frame of this message.
    pub fn encode(&self) -> Result<Secret, Malformed> {
        let mut w = Writer::new();
        match self {
            ToHelper::Request(request) => {
                w.u8(REQUEST)?;
                w.u8(VERSION)?;
                write_request(&mut w, request)?;
            }
            ToHelper::Answer(answer) => {
                w.u8(ANSWER_TYPE)?;
                w.bytes(answer.bytes(), MAX_ANSWER)?;
            }
            ToHelper::Cancel(why) => {
                w.u8(CANCEL)?;
                w.u8(match why {
                    Cancelled::NoConversation => 1,
                    Cancelled::ByUser => 2,
                    Cancelled::LoginSecret => 3,
                    Cancelled::UserName => 4,
                })?;
            }
        }
        Ok(w.0)
    }

    /// The message in a frame.
    pub fn decode(frame: &Secret) -> Result<ToHelper, Malformed> {
        let mut r = Reader(frame.bytes());
        let message = match r.u8()? {
            REQUEST => match r.u8()? {
                VERSION => ToHelper::Request(read_request(&mut r)?),
                other => return Err(Malformed::UnknownVersion(other)),
            },
            ANSWER_TYPE => ToHelper::Answer(Secret::copy_of(r.bytes(MAX_ANSWER)?)),
            CANCEL => ToHelper::Cancel(match r.u8()? {
                1 => Cancelled::NoConversation,
                2 => Cancelled::ByUser,
                3 => Cancelled::LoginSecret,
                4 => Cancelled::UserName,
                _ => return Err(Malformed::UnknownValue),
            }),
            other => return Err(Malformed::UnknownType(other)),
        };
        r.end()?;
        Ok(message)
    }
}

impl FromHelper {
    /// The frame of this message.
    pub fn encode(&self) -> Result<Secret, Malformed> {
        let mut w = Writer::new();
        match self {
            FromHelper::Hello(hello) => {
                w.u8(HELLO)?;
                w.u8(hello.oldest)?;
                w.u8(hello.newest)?;
            }
            FromHelper::Ask { echo, text } => {
                w.u8(ASK)?;
                w.bool(*echo)?;
                w.bytes(text.bytes(), MAX_TEXT)?;
            }
            FromHelper::Tell(text) => {
                w.u8(TELL)?;
                w.str(text, MAX_TEXT)?;
            }
            FromHelper::Report(text) => {
                w.u8(REPORT)?;
                w.str(text, MAX_TEXT)?;
            }
            FromHelper::Device(device) => {
                w.u8(DEVICE)?;
                w.str(&device.user, MAX_NAME)?;
                w.str(&device.issuer, MAX_NAME)?;
                w.bytes(device.key.bytes(), MAX_NAME)?;
                w.bytes(device.uri.bytes(), MAX_TEXT)?;
                w.str(&device.algorithm, MAX_NAME)?;
                w.u8(device.digits)?;
                w.u32(device.period)?;
                w.option(device.expires, |w, t| w.u64(t))?;
            }
            FromHelper::Status(status) => {
                w.u8(STATUS)?;
                write_status(&mut w, status)?;
            }
            FromHelper::RecoveryCodes(codes) => {
                w.u8(RECOVERY_CODES)?;
                if codes.len() > CODES {
                    return Err(Malformed::TooLong);
                }
                w.u8(codes.len() as u8)?;
                for code in codes {
                    w.bytes(code.bytes(), MAX_ANSWER)?;
                }
            }
            FromHelper::Remembered(Remembered { id, service, place, key, made, expires }) => {
                w.u8(REMEMBERED)?;
                w.str(id, MAX_NAME)?;
                w.str(service, MAX_NAME)?;
                w.str(place, MAX_PLACE)?;
                w.option(key.as_ref(), |w, s| w.str(s, MAX_NAME))?;
                w.u64(*made)?;
                w.u64(*expires)?;
            }
            FromHelper::Notice(text) => {
                w.u8(NOTICE)?;
                w.str(text, MAX_TEXT)?;
            }
            FromHelper::Sign { key, message } => {
                w.u8(SIGN)?;
                w.bytes(key, MAX_PLACE)?;
                w.bytes(message, MAX_PLACE)?;
            }
            FromHelper::Verdict(verdict) => {
                w.u8(VERDICT)?;
                w.u32(verdict.outcome as u32)?;
                w.str(&verdict.text, MAX_TEXT)?;
            }
        }
        Ok(w.0)
    }

    /// The message in a frame.
    pub fn decode(frame: &Secret) -> Result<FromHelper, Malformed> {
        let mut r = Reader(frame.bytes());
        let message = match r.u8()? {
            HELLO => FromHelper::Hello(Hello { oldest: r.u8()?, newest: r.u8()? }),
            ASK => FromHelper::Ask { echo: r.bool()?, text: r.secret_text(MAX_TEXT)? },
            TELL => FromHelper::Tell(r.str(MAX_TEXT)?),
            REPORT => FromHelper::Report(r.str(MAX_TEXT)?),
            DEVICE => FromHelper::Device(Device {
                user: r.str(MAX_NAME)?,
                issuer: r.str(MAX_NAME)?,
                key: r.secret_text(MAX_NAME)?,
                uri: r.secret_text(MAX_TEXT)?,
                algorithm: r.str(MAX_NAME)?,
                digits: r.u8()?,
                period: r.u32()?,
                expires: r.option(Reader::u64)?,
            }),
            STATUS => FromHelper::Status(read_status(&mut r)?),
            RECOVERY_CODES => {
                let count = usize::from(r.u8()?);
                if count > CODES {
                    return Err(Malformed::TooLong);
                }
                let codes = (0..count).map(|_| r.secret_text(MAX_ANSWER)).collect::<Result<_, _>>()?;
                FromHelper::RecoveryCodes(codes)
            }
            REMEMBERED => FromHelper::Remembered(Remembered {
                id: r.str(MAX_NAME)?,
                service: r.str(MAX_NAME)?,
                place: r.str(MAX_PLACE)?,
                key: r.option(|r| r.str(MAX_NAME))?,
                made: r.u64()?,
                expires: r.u64()?,
            }),
            NOTICE => FromHelper::Notice(r.str(MAX_TEXT)?),
            SIGN => FromHelper::Sign { key: r.bytes(MAX_PLACE)?.to_vec(), message: r.bytes(MAX_PLACE)?.to_vec() },
            VERDICT => {
                let number = r.u32()?;
                let outcome = Outcome::ALL.into_iter().find(|o| *o as u32 == number);
                FromHelper::Verdict(Verdict {
                    outcome: outcome.ok_or(Malformed::UnknownValue)?,
                    text: r.str(MAX_TEXT)?,
                })
            }
            other => return Err(Malformed::UnknownType(other)),
        };
        r.end()?;
        Ok(message)
    }
}

fn write_request(w: &mut Writer, request: &Request) -> Result<(), Malformed> {
    match request {
        Request::Verify(login) => {
            w.u8(1)?;
            write_login(w, login)
        }
        Request::Account(login, auth) => {
            w.u8(2)?;
            write_login(w, login)?;
            w.u8(match auth {
                AuthHook::NotRun => 1,
                AuthHook::Ignored => 2,
                AuthHook::HandedOver => 3,
            })
        }
        Request::Verb(verb) => {
            w.u8(3)?;
            write_verb(w, verb)
        }
        Request::Test(login) => {
            w.u8(4)?;
            write_login(w, login)
        }
        Request::Session(login) => {
            w.u8(5)?;
            write_login(w, login)
        }
    }
}

fn read_request(r: &mut Reader) -> Result<Request, Malformed> {
    Ok(match r.u8()? {
        1 => Request::Verify(read_login(r)?),
        2 => {
            let login = read_login(r)?;
            let auth = match r.u8()? {
                1 => AuthHook::NotRun,
                2 => AuthHook::Ignored,
                3 => AuthHook::HandedOver,
                _ => return Err(Malformed::UnknownValue),
            };
            Request::Account(login, auth)
        }
        3 => Request::Verb(read_verb(r)?),
        4 => Request::Test(read_login(r)?),
        5 => Request::Session(read_login(r)?),
        _ => return Err(Malformed::UnknownValue),
    })
}

fn write_login(w: &mut Writer, login: &Login) -> Result<(), Malformed> {
    w.str(&login.user, MAX_NAME)?;
    w.str(&login.service, MAX_NAME)?;
    w.option(login.rhost.as_ref(), |w, s| w.str(s, MAX_PLACE))?;
    w.option(login.tty.as_ref(), |w, s| w.str(s, MAX_PLACE))?;
    w.option(login.ruser.as_ref(), |w, s| w.str(s, MAX_NAME))?;
    w.option(login.ssh_auth_info.as_ref(), |w, s| w.str(s, MAX_TEXT))?;
    w.bool(login.stack_complete)?;
    w.option(login.ssh_auth_sock.as_ref(), |w, s| w.str(s, MAX_PLACE))?;
    w.option(login.program.as_ref(), |w, s| w.str(s, MAX_PLACE))
}

fn read_login(r: &mut Reader) -> Result<Login, Malformed> {
    Ok(Login {
        user: r.str(MAX_NAME)?,
        service: r.str(MAX_NAME)?,
        rhost: r.option(|r| r.str(MAX_PLACE))?,
        tty: r.option(|r| r.str(MAX_PLACE))?,
        ruser: r.option(|r| r.str(MAX_NAME))?,
        ssh_auth_info: r.option(|r| r.str(MAX_TEXT))?,
        stack_complete: r.bool()?,
        ssh_auth_sock: r.option(|r| r.str(MAX_PLACE))?,
        program: r.option(|r| r.str(MAX_PLACE))?,
    })
}

fn write_new_key(w: &mut Writer, NewKey { user, label, ssh_key }: &NewKey) -> Result<(), Malformed> {
    w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
    w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))?;
    w.option(ssh_key.as_ref(), |w, s| w.str(s, MAX_PLACE))
}

fn read_new_key(r: &mut Reader) -> Result<NewKey, Malformed> {
    Ok(NewKey {
        user: r.option(|r| r.str(MAX_NAME))?,
        label: r.option(|r| r.str(MAX_NAME))?,
        ssh_key: r.option(|r| r.str(MAX_PLACE))?,
    })
}

fn write_verb(w: &mut Writer, verb: &Verb) -> Result<(), Malformed> {
    match verb {
        Verb::Totp { user, label } => {
            w.u8(1)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::TotpPending { user, label } => {
            w.u8(2)?;
            w.str(user, MAX_NAME)?;
            w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Confirm { user } => {
            w.u8(3)?;
            w.str(user, MAX_NAME)
        }
        Verb::CancelPending { user } => {
            w.u8(4)?;
            w.str(user, MAX_NAME)
        }
        Verb::Disable { user, device } => {
            w.u8(5)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.option(device.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Status { user } => {
            w.u8(6)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::List => w.u8(7),
        Verb::RecoveryCodes { user } => {
            w.u8(8)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Unlock { user } => {
            w.u8(9)?;
            w.str(user, MAX_NAME)
        }
        Verb::Require(required) => {
            w.u8(10)?;
            write_required(w, required)
        }
        Verb::Unrequire(required) => {
            w.u8(11)?;
            write_required(w, required)
        }
        Verb::ConfirmRequired => w.u8(12),
        Verb::Invite { user } => {
            w.u8(13)?;
            w.str(user, MAX_NAME)
        }
        Verb::PolicyCheck => w.u8(14),
        Verb::PolicyExplain { user, service, rhost, ssh_key } => {
            w.u8(15)?;
            w.str(user, MAX_NAME)?;
            w.str(service, MAX_NAME)?;
            w.option(rhost.as_ref(), |w, s| w.str(s, MAX_PLACE))?;
            w.option(ssh_key.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Replace { user, label } => {
            w.u8(16)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::ReplacePending { user, label } => {
            w.u8(17)?;
            w.str(user, MAX_NAME)?;
            w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Bypass { user, seconds } => {
            w.u8(18)?;
            w.str(user, MAX_NAME)?;
            w.u64(*seconds)
        }
        Verb::Resync { user } => {
            w.u8(19)?;
            w.str(user, MAX_NAME)
        }
        Verb::Doctor => w.u8(20),
        Verb::ListOf { group, missing } => {
            w.u8(21)?;
            w.option(group.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.bool(*missing)
        }
        Verb::TotpInvited { user, label } => {
            w.u8(22)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.option(label.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::Tickets { user, revoke } => {
            w.u8(23)?;
            w.option(user.as_ref(), |w, s| w.str(s, MAX_NAME))?;
            w.option(revoke.as_ref(), |w, s| w.str(s, MAX_NAME))
        }
        Verb::U2f(key) => {
            w.u8(24)?;
            write_new_key(w, key)
        }
        Verb::ReplaceU2f(key) => {
            w.u8(25)?;
            write_new_key(w, key)
        }
        Verb::U2fInvited(key) => {
            w.u8(26)?;
            write_new_key(w, key)
        }
        Verb::Import { user, format, origin, lines } => {
            w.u8(27)?;
            w.str(user, MAX_NAME)?;
            w.str(format, MAX_NAME)?;
            w.option(origin.as_ref(), |w, s| w.str(s, MAX_PLACE))?;
            w.str(lines, MAX_TEXT)
        }
    }
}

fn read_verb(r: &mut Reader) -> Result<Verb, Malformed> {
    Ok(match r.u8()? {
        1 => Verb::Totp { user: r.option(|r| r.str(MAX_NAME))?, label: r.option(|r| r.str(MAX_NAME))? },
        2 => Verb::TotpPending { user: r.str(MAX_NAME)?, label: r.option(|r| r.str(MAX_NAME))? },
        3 => Verb::Confirm { user: r.str(MAX_NAME)? },
        4 => Verb::CancelPending { user: r.str(MAX_NAME)? },
        5 => Verb::Disable { user: r.option(|r| r.str(MAX_NAME))?, device: r.option(|r| r.str(MAX_NAME))? },
        6 => Verb::Status { user: r.option(|r| r.str(MAX_NAME))? },
        7 => Verb::List,
        8 => Verb::RecoveryCodes { user: r.option(|r| r.str(MAX_NAME))? },
        9 => Verb::Unlock { user: r.str(MAX_NAME)? },
        10 => Verb::Require(read_required(r)?),
        11 => Verb::Unrequire(read_required(r)?),
        12 => Verb::ConfirmRequired,
        13 => Verb::Invite { user: r.str(MAX_NAME)? },
        14 => Verb::PolicyCheck,
        15 => Verb::PolicyExplain {
            user: r.str(MAX_NAME)?,
            service: r.str(MAX_NAME)?,
            rhost: r.option(|r| r.str(MAX_PLACE))?,
            ssh_key: r.option(|r| r.str(MAX_NAME))?,
        },
        16 => Verb::Replace { user: r.option(|r| r.str(MAX_NAME))?, label: r.option(|r| r.str(MAX_NAME))? },
        17 => Verb::ReplacePending { user: r.str(MAX_NAME)?, label: r.option(|r| r.str(MAX_NAME))? },
        18 => Verb::Bypass { user: r.str(MAX_NAME)?, seconds: r.u64()? },
        19 => Verb::Resync { user: r.str(MAX_NAME)? },
        20 => Verb::Doctor,
        21 => Verb::ListOf { group: r.option(|r| r.str(MAX_NAME))?, missing: r.bool()? },
        22 => Verb::TotpInvited { user: r.option(|r| r.str(MAX_NAME))?, label: r.option(|r| r.str(MAX_NAME))? },
        23 => Verb::Tickets { user: r.option(|r| r.str(MAX_NAME))?, revoke: r.option(|r| r.str(MAX_NAME))? },
        24 => Verb::U2f(read_new_key(r)?),
        25 => Verb::ReplaceU2f(read_new_key(r)?),
        26 => Verb::U2fInvited(read_new_key(r)?),
        27 => Verb::Import {
            user: r.str(MAX_NAME)?,
            format: r.str(MAX_NAME)?,
            origin: r.option(|r| r.str(MAX_PLACE))?,
            lines: r.str(MAX_TEXT)?,
        },
        _ => return Err(Malformed::UnknownValue),
    })
}

fn write_required(w: &mut Writer, required: &Required) -> Result<(), Malformed> {
    let Required { user, group, service, kinds, deadline, on_trial } = required;
    for name in [user, group, service, kinds, deadline] {
        w.option(name.as_ref(), |w, s| w.str(s, MAX_NAME))?;
    }
    w.option(on_trial.as_ref(), |w, t| w.u64(*t))
}

fn read_required(r: &mut Reader) -> Result<Required, Malformed> {
    Ok(Required {
        user: r.option(|r| r.str(MAX_NAME))?,
        group: r.option(|r| r.str(MAX_NAME))?,
        service: r.option(|r| r.str(MAX_NAME))?,
        kinds: r.option(|r| r.str(MAX_NAME))?,
        deadline: r.option(|r| r.str(MAX_NAME))?,
        on_trial: r.option(Reader::u64)?,
    })
}

fn write_status(w: &mut Writer, status: &Status) -> Result<(), Malformed> {
    w.str(&status.user, MAX_NAME)?;
    w.option(status.kind.as_ref(), |w, s| w.str(s, MAX_NAME))?;
    w.bool(status.pending)?;
    w.bool(status.required)?;
    if status.devices.len() > DEVICES {
        return Err(Malformed::TooLong);
    }
    w.u8(status.devices.len() as u8)?;
    for device in &status.devices {
        w.str(&device.id, MAX_NAME)?;
        w.str(&device.label, MAX_NAME)?;
        w.u64(device.created)?;
        w.str(&device.created_from, MAX_PLACE)?;
        w.option(device.last_used.as_ref(), |w, t| w.u64(*t))?;
    }
    w.u32(status.recovery_codes_left)?;
    w.option(status.locked_until.as_ref(), |w, t| w.u64(*t))?;
    w.option(status.bypass_until.as_ref(), |w, t| w.u64(*t))
}

fn read_status(r: &mut Reader) -> Result<Status, Malformed> {
    Ok(Status {
        user: r.str(MAX_NAME)?,
        kind: r.option(|r| r.str(MAX_NAME))?,
        pending: r.bool()?,
        required: r.bool()?,
        devices: {
            let count = usize::from(r.u8()?);
            if count > DEVICES {
                return Err(Malformed::TooLong);
            }
            (0..count)
                .map(|_| {
                    Ok(DeviceStatus {
                        id: r.str(MAX_NAME)?,
                        label: r.str(MAX_NAME)?,
                        created: r.u64()?,
                        created_from: r.str(MAX_PLACE)?,
                        last_used: r.option(Reader::u64)?,
                    })
                })
                .collect::<Result<_, _>>()?
        },
        recovery_codes_left: r.u32()?,
        locked_until: r.option(Reader::u64)?,
        bypass_until: r.option(Reader::u64)?,
    })
}

/// Writes into one buffer that never moves, so that wiping it wipes all.
struct Writer(Secret);

impl Writer {
    fn new() -> Self {
        Writer(Secret::with_capacity(MAX_FRAME))
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.0.append(bytes) { Ok(()) } else { Err(Malformed::TooLong) }
    }

    fn u8(&mut self, n: u8) -> Result<(), Malformed> {
        self.raw(&[n])
    }

    fn u32(&mut self, n: u32) -> Result<(), Malformed> {
        self.raw(&n.to_be_bytes())
    }

    fn u64(&mut self, n: u64) -> Result<(), Malformed> {
        self.raw(&n.to_be_bytes())
    }

    fn bool(&mut self, b: bool) -> Result<(), Malformed> {
        self.u8(u8::from(b))
    }

    fn bytes(&mut self, bytes: &[u8], limit: usize) -> Result<(), Malformed> {
        let length = u16::try_from(bytes.len()).map_err(|_| Malformed::TooLong)?;
        if bytes.len() > limit {
            return Err(Malformed::TooLong);
        }
        self.raw(&length.to_be_bytes())?;
        self.raw(bytes)
    }

    fn str(&mut self, s: &str, limit: usize) -> Result<(), Malformed> {
        self.bytes(s.as_bytes(), limit)
    }

    fn option<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1)?;
                write(self, value)
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn raw(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::UnknownValue),
        }
    }

    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        if length > limit {
            return Err(Malformed::TooLong);
        }
        self.raw(length)
    }

    fn utf8(&mut self, limit: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| Malformed::NotUtf8)
    }

    fn str(&mut self, limit: usize) -> Result<String, Malformed> {
        self.utf8(limit).map(str::to_owned)
    }

    fn secret_text(&mut self, limit: usize) -> Result<Secret, Malformed> {
        Ok(Secret::copy_of(self.utf8(limit)?.as_bytes()))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }
}
