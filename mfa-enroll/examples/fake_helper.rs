//! A helper without secrets, for testing `mfa-enroll` and for trying it out. It speaks the protocol of the real
//! helper, in its sentences. The name that it is called by chooses its behavior:
//!
//! * `helper`: the usual one
//! * `wide`: an issuer that makes a large QR code
//! * `quick`: a new code every 5 seconds
//! * `slow`: judges two codes only when the fifo `judge` beside it ends
//! * `crowd`: 100,000 users
//! * `proof`: asks for the first factor, "open sesame", before any change, and shows ten recovery codes
//! * `many`: shows 64 recovery codes
//! * `late`: shows some recovery codes, and cannot store them
//! * `none`: nothing is bound on the system
//! * `keys`: two security keys are bound on the system
//! * `mute`: closes without a word
//! * `silent`: says no word, and does not close
//! * `stranger`: speaks another version
//! * `half`: closes after the request
//! * `wordless`: refuses without a reason
//! * `hostile`: puts the content of the file `text` beside it into every kind of message, as a hostile name would
//! * `config`: refuses, and names its arguments
//!
//! Its users: `alice` may do anything and is the caller; `bound` already has a device; no other user exists.

use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mfa_wire::{
    Account, Cancelled, Channel, Device, DeviceStatus, FromHelper, Hello, Login, NewKey, Outcome, Remembered, Request,
    Secret, Status, ToHelper, VERSION, Verb, Verdict,
};

type Done<T> = Result<T, Box<dyn Error>>;

const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const BOUND: &str = "The device of alice is bound. From the next login on its code is asked.";
const KEY_BOUND: &str = "The security key of alice is bound.";
const TOUCH: &str = "Touch your security key.";
const CHALLENGE: &[u8] = &[0xff; 32];
const WRONG: &str = "Neither code belongs to this key: scan it, or type it, again.";
const CLOCK: &str = "Your device's clock is about 30 s behind this host's: set it to automatic time.";
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> Done<()> {
    // As the real one: signals from the terminal must not reach us.
    let _ = nix::unistd::setsid();
    let name = std::env::args().next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut talk = Talk(Channel::new(stream));
    match name {
        "mute" => return Ok(()),
        "silent" => return talk.hear().map(drop),
        _ => {}
    }
    let version = if name == "stranger" { VERSION + 1 } else { VERSION };
    talk.say(FromHelper::Hello(Hello { oldest: version, newest: version }))?;
    let verb = match talk.hear()? {
        ToHelper::Request(Request::Verb(verb)) => verb,
        ToHelper::Request(Request::Test(_)) if name == "hostile" => return hostile(&mut talk),
        ToHelper::Request(Request::Test(login)) => return judge_login(&mut talk, &login),
        _ => return Err("not a request of mfa-enroll".into()),
    };
    match name {
        "half" => return Ok(()),
        "hostile" => return hostile(&mut talk),
        "wordless" => return talk.end(Outcome::Refused, ""),
        "config" => {
            let arguments: Vec<String> = std::env::args().skip(1).collect();
            return talk.end(Outcome::Refused, &arguments.join(" "));
        }
        _ => {}
    }
    answer(&mut talk, verb, name)
}

fn answer(talk: &mut Talk, verb: Verb, name: &str) -> Done<()> {
    let (issuer, period) = match name {
        "wide" => ("a-rather-long-host-name-of-web", 30),
        "quick" => ("web1", 5),
        _ => ("web1", 30),
    };
    let changes = matches!(
        verb,
        Verb::Totp { invited: false, .. }
            | Verb::U2f { invited: false, .. }
            | Verb::Replace { .. }
            | Verb::Disable { .. }
            | Verb::RecoveryCodes { .. }
    );
    if changes && name == "proof" {
        talk.say(FromHelper::Tell("Hello from a PAM module.".into()))?;
        match talk.ask_with(false, "Password: ")? {
            Ok(answer) if answer.bytes() == b"open sesame" => {}
            Ok(_) => return talk.end(Outcome::Refused, "That does not prove who you are."),
            Err(why) => return talk.cancelled(why),
        }
    }
    match verb {
        Verb::U2f { key: NewKey { ssh_key: None, .. }, .. } => {
            talk.say(FromHelper::Notice(TOUCH.into()))?;
            if name == "proof" {
                // Nobody touches the key.
                return talk.hear().map(drop);
            }
            talk.end(Outcome::Accepted, KEY_BOUND)
        }
        Verb::U2f { key: NewKey { ssh_key: Some(line), .. }, .. }
        | Verb::ReplaceU2f(NewKey { ssh_key: Some(line), .. }) => {
            let key = mfa_ssh::Line::parse(&line).map_err(|e| e.to_string())?.ok_or("no key")?.key.to_blob();
            talk.say(FromHelper::Notice(TOUCH.into()))?;
            match talk.sign(&key)? {
                Ok(_) => talk.end(Outcome::Accepted, KEY_BOUND),
                Err(Cancelled::ByUser) => talk.cancelled(Cancelled::ByUser),
                Err(_) => talk.end(Outcome::Refused, "No signature: nothing was bound."),
            }
        }
        Verb::Disable { .. } if name == "keys" => {
            talk.say(FromHelper::Notice(TOUCH.into()))?;
            for key in [&b"one"[..], b"two"] {
                match talk.sign(key)? {
                    Ok(answer) => {
                        let text = format!("Unbound by {} and {}.", text_of(key), text_of(answer.bytes()));
                        return talk.end(Outcome::Accepted, &text);
                    }
                    Err(Cancelled::NoConversation) => {}
                    Err(why) => return talk.cancelled(why),
                }
            }
            match talk.ask("Verification code (a recovery code): ")? {
                Ok(_) => talk.end(Outcome::Accepted, "Unbound by a recovery code."),
                Err(why) => talk.cancelled(why),
            }
        }
        Verb::Import { user, .. } if user == "nobody" => talk.end(Outcome::NotFound, "No user is called nobody."),
        Verb::Import { user, .. } if user == "bound" => talk.end(Outcome::Already, "bound has a device already."),
        Verb::Import { user, .. } if user == "broken" => talk.end(Outcome::Refused, "broken: key 1 is damaged."),
        Verb::Import { user, format, origin, lines } => {
            talk.end(Outcome::Accepted, &format!("{user}: {format} {origin:?} {} lines.", lines.lines().count()))
        }
        Verb::Totp { user, .. } => match user.as_deref() {
            None | Some("alice") => bind(talk, device(issuer, period, None), name),
            Some("bound") => talk
                .end(Outcome::Already, "bound has a device already. Replace it: mfa-enroll replace totp --user bound"),
            _ => talk.end(Outcome::NotFound, "No user is called \x1b[31m."),
        },
        Verb::Replace { user, .. } if user.as_deref().is_none_or(|user| user == "alice") => {
            bind(talk, device(issuer, period, None), name)
        }
        Verb::Bypass { user, seconds } if user == "alice" => {
            talk.say(FromHelper::Report("abcd-efgh-ijkl-mnop\n".into()))?;
            talk.end(Outcome::Accepted, &format!("Good once for alice, for {seconds} s."))
        }
        Verb::TotpPending { user, .. } | Verb::ReplacePending { user, .. } if user == "alice" => {
            talk.say(device(issuer, period, Some(1_795_300_800)))?;
            talk.end(Outcome::Accepted, "")
        }
        Verb::Confirm { user } | Verb::Resync { user } if user == "alice" => match talk.two_codes()? {
            Err(why) => talk.cancelled(why),
            Ok((first, second)) => match (first.bytes(), second.bytes()) {
                (b"492 039", b" 123456") => talk.end(Outcome::Accepted, BOUND),
                _ => talk.end(Outcome::Refused, &format!("{WRONG} Nothing was bound.")),
            },
        },
        Verb::RecoveryCodes { .. } => match talk.show_codes(name)? {
            Ok(_) if name == "late" => {
                talk.end(Outcome::Refused, "The record was changed from elsewhere meanwhile: try again.")
            }
            Ok(_) => talk.end(Outcome::Accepted, "These recovery codes hold; the ones before are void."),
            Err(_) => talk.end(Outcome::NoInteraction, "The codes shown are void; the ones before hold."),
        },
        Verb::Unlock { user } if user == "alice" => {
            talk.end(Outcome::Accepted, "alice is not locked; all wrong codes are forgotten.")
        }
        Verb::Disable { user, .. } if user.as_deref() == Some("alice") => talk.end(
            Outcome::Accepted,
            "The device of alice is unbound and its key destroyed; the entry in the app is of no use any more. \
             Tell whoever shares the account.",
        ),
        Verb::Rename { old, new } if new == "robert" => talk.end(
            Outcome::Accepted,
            &format!("The device of {old} is that of robert now.\n10-admins.toml:3 still names {old}."),
        ),
        Verb::Status { .. } => {
            talk.say(if name == "none" { unbound() } else { status("alice") })?;
            talk.end(Outcome::Accepted, "")
        }
        Verb::List | Verb::ListOf { .. } if name == "slow" => {
            #[allow(clippy::disallowed_methods, reason = "it stands for work that takes as long")]
            std::thread::sleep(std::time::Duration::from_millis(3500));
            talk.say(status("alice"))?;
            talk.say(FromHelper::Report("late: required at sshd; binds at sshd\n".into()))?;
            talk.end(Outcome::Accepted, "")
        }
        Verb::List => {
            let users = if name == "crowd" { 100_000 } else { 3 };
            for n in 0..users {
                talk.say(status(&format!("user{n}")))?;
            }
            talk.end(Outcome::Accepted, "")
        }
        Verb::CancelPending { user } => talk.end(
            Outcome::NotFound,
            &format!("No device is pending for {user}. Make one: mfa-enroll totp --json --user {user}"),
        ),
        _ => talk.end(Outcome::NotFound, "No user is called \x1b[31m."),
    }
}

/// Text as a name, a label, a file or a PAM module could contain it, from the file beside this program's name.
fn hostile(talk: &mut Talk) -> Done<()> {
    let path = std::env::args().next().unwrap_or_default();
    let text = std::fs::read_to_string(std::path::Path::new(&path).with_file_name("text"))?;
    let some = || text.clone();
    talk.say(FromHelper::Tell(some()))?;
    talk.say(FromHelper::Notice(some()))?;
    talk.say(FromHelper::Report(format!("warning\n{text}\n{text}\n{text}\n{text}\n")))?;
    talk.say(FromHelper::Status(Status {
        user: some(),
        kind: Some(some()),
        pending: true,
        required: true,
        devices: vec![DeviceStatus { id: some(), label: some(), created: 1, created_from: some(), last_used: None }],
        recovery_codes_left: 9,
        locked_until: None,
        bypass_until: None,
        account: Account::There,
        required_at: Vec::new(),
        binds_at: Vec::new(),
        not_known: None,
    }))?;
    talk.say(FromHelper::Remembered(Remembered {
        id: some(),
        service: some(),
        place: some(),
        key: Some(some()),
        made: 1,
        expires: 2,
    }))?;
    talk.say(FromHelper::Device(Device {
        user: some(),
        issuer: some(),
        key: Secret::copy_of(KEY.as_bytes()),
        uri: Secret::copy_of(text.as_bytes()),
        algorithm: some(),
        digits: 6,
        period: 30,
        expires: Some(1),
    }))?;
    talk.say(FromHelper::RecoveryCodes(vec![Secret::copy_of(text.as_bytes())]))?;
    let _ = talk.ask(&format!("{text}\n{text}"))?;
    talk.end(Outcome::Accepted, &text)
}

/// A login: 123456 is right, 000000 locks; sudo asks nothing.
fn judge_login(talk: &mut Talk, login: &Login) -> Done<()> {
    if login.service == "sudo" {
        return talk.end(Outcome::Ignored, "");
    }
    match talk.ask("Verification code: ")? {
        Ok(code) if code.bytes() == b"123456" => {
            talk.end(Outcome::Accepted, "One recovery code is left. New ones: mfa-enroll recovery-codes")
        }
        Ok(code) if code.bytes() == b"000000" => talk.end(Outcome::Locked, "Too many wrong codes: locked for 2 min."),
        Ok(_) => talk.end(Outcome::Refused, &format!("That code of {} for {} is wrong.", login.user, login.service)),
        Err(why) => talk.cancelled(why),
    }
}

fn codes_of(name: &str) -> usize {
    match name {
        "proof" | "late" => 10,
        "many" => 64,
        _ => 0,
    }
}

/// Any two different codes bind, but 000000 is wrong.
fn bind(talk: &mut Talk, device: FromHelper, name: &str) -> Done<()> {
    talk.say(device)?;
    let mut why = "";
    for attempt in 0..3 {
        if attempt > 0 {
            talk.say(FromHelper::Tell(why.into()))?;
        }
        let (first, second) = match talk.two_codes()? {
            Ok(codes) => codes,
            Err(why) => return talk.cancelled(why),
        };
        if name == "slow" {
            let path = std::env::args().next().unwrap_or_default();
            std::fs::read(std::path::Path::new(&path).with_file_name("judge"))?;
        }
        why = match (first.bytes(), second.bytes()) {
            (b"000000", _) | (_, b"000000") => WRONG,
            (a, b) if a == b => "Both codes are from the same 30 seconds: wait for the next one.",
            _ => {
                talk.say(FromHelper::Tell(CLOCK.into()))?;
                if codes_of(name) > 0 {
                    let _ = talk.show_codes(name)?;
                }
                return talk.end(Outcome::Accepted, BOUND);
            }
        };
    }
    talk.end(Outcome::Refused, &format!("{why} Nothing was bound."))
}

fn device(issuer: &str, period: u32, expires: Option<u64>) -> FromHelper {
    let uri = format!("otpauth://totp/{issuer}:alice?secret={KEY}&issuer={issuer}");
    FromHelper::Device(Device {
        user: "alice".into(),
        issuer: issuer.into(),
        key: Secret::copy_of(KEY.as_bytes()),
        uri: Secret::copy_of(uri.as_bytes()),
        algorithm: "SHA1".into(),
        digits: 6,
        period,
        expires,
    })
}

fn status(user: &str) -> FromHelper {
    FromHelper::Status(Status {
        user: user.into(),
        kind: Some("totp".into()),
        pending: false,
        required: true,
        devices: vec![DeviceStatus {
            id: "7f3a".into(),
            label: "phone".into(),
            created: 1_795_300_800,
            created_from: "10.0.0.5".into(),
            last_used: None,
        }],
        recovery_codes_left: 9,
        locked_until: None,
        bypass_until: None,
        account: Account::There,
        required_at: Vec::new(),
        binds_at: Vec::new(),
        not_known: None,
    })
}

fn unbound() -> FromHelper {
    FromHelper::Status(Status {
        user: "alice".into(),
        kind: None,
        pending: false,
        required: false,
        devices: Vec::new(),
        recovery_codes_left: 0,
        locked_until: None,
        bypass_until: None,
        account: Account::There,
        required_at: Vec::new(),
        binds_at: Vec::new(),
        not_known: None,
    })
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Talk(Channel);

impl Talk {
    fn say(&mut self, message: FromHelper) -> Done<()> {
        let frame = message.encode().map_err(|e| e.to_string())?;
        self.0.send(&frame, PATIENCE).map_err(|e| e.to_string().into())
    }

    fn hear(&mut self) -> Done<ToHelper> {
        let frame = self.0.receive(PATIENCE).map_err(|e| e.to_string())?;
        ToHelper::decode(&frame).map_err(|e| e.to_string().into())
    }

    fn ask(&mut self, question: &str) -> Done<Result<Secret, Cancelled>> {
        self.ask_with(true, question)
    }

    fn sign(&mut self, key: &[u8]) -> Done<Result<Secret, Cancelled>> {
        self.say(FromHelper::Sign { key: key.to_vec(), message: CHALLENGE.to_vec() })?;
        self.reply()
    }

    fn show_codes(&mut self, name: &str) -> Done<Result<Secret, Cancelled>> {
        let code = |n| Secret::copy_of(format!("ab{n:02}-efgh-ijkl-mnop").as_bytes());
        self.say(FromHelper::RecoveryCodes((0..codes_of(name)).map(code).collect()))?;
        self.ask("Type ok when you have written them down: ")
    }

    fn ask_with(&mut self, echo: bool, question: &str) -> Done<Result<Secret, Cancelled>> {
        self.say(FromHelper::Ask { echo, text: Secret::copy_of(question.as_bytes()) })?;
        self.reply()
    }

    fn reply(&mut self) -> Done<Result<Secret, Cancelled>> {
        match self.hear()? {
            ToHelper::Answer(answer) => Ok(Ok(answer)),
            ToHelper::Cancel(why) => Ok(Err(why)),
            ToHelper::Request(_) => Err("a second request".into()),
        }
    }

    fn two_codes(&mut self) -> Done<Result<(Secret, Secret), Cancelled>> {
        let first = match self.ask("First verification code: ")? {
            Ok(first) => first,
            Err(why) => return Ok(Err(why)),
        };
        Ok(self.ask("Second verification code: ")?.map(|second| (first, second)))
    }

    fn cancelled(&mut self, why: Cancelled) -> Done<()> {
        let text = match why {
            Cancelled::ByUser => "Cancelled.",
            _ => "No code could be asked: use a terminal; with ssh, keyboard-interactive.",
        };
        self.end(Outcome::NoInteraction, text)
    }

    fn end(&mut self, outcome: Outcome, text: &str) -> Done<()> {
        self.say(FromHelper::Verdict(Verdict { outcome, text: text.into() }))
    }
}
