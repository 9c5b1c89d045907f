//! A helper that knows no secrets: what `mfa-enroll` is tried out and tested with. It speaks the
//! language of the real one, in its sentences, and the name it is called by says how it behaves:
//!
//! `helper` well; `wide` with an issuer that makes a large QR code; `quick` with a new code every 5
//! seconds; `slow` judges two codes when the fifo `judge` beside it ends; `crowd` with 100,000 users;
//! `mute` closes without a word; `stranger` speaks another version; `half` closes after the
//! request; `wordless` refuses without a reason; `config` refuses, naming its arguments.
//!
//! Its users: `alice` may do anything, `bound` is bound already, anybody else does not exist.

use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mfa_wire::{
    Cancelled, Channel, Device, DeviceStatus, FromHelper, Hello, Outcome, Request, Secret, Status, ToHelper, VERSION,
    Verb, Verdict,
};

type Done<T> = Result<T, Box<dyn Error>>;

const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const BOUND: &str = "The device of alice is bound. From the next login on its code is asked.";
const WRONG: &str = "Neither code belongs to this key: scan it, or type it, again.";
const CLOCK: &str = "Your device's clock is about 30 s behind this host's: set it to automatic time.";
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> Done<()> {
    // As the real one: what happens at the terminal is not for us.
    let _ = nix::unistd::setsid();
    let name = std::env::args().next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut talk = Talk(Channel::new(stream));
    if name == "mute" {
        return Ok(());
    }
    let version = if name == "stranger" { VERSION + 1 } else { VERSION };
    talk.say(FromHelper::Hello(Hello { oldest: version, newest: version }))?;
    let ToHelper::Request(Request::Verb(verb)) = talk.hear()? else { return Err("not a verb".into()) };
    match name {
        "half" => return Ok(()),
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
    match verb {
        Verb::Totp { user, .. } => match user.as_deref() {
            Some("alice") => bind(talk, device(issuer, period, None), name),
            Some("bound") => talk
                .end(Outcome::Already, "bound has a device already. Unbind it first: mfa-enroll disable --user bound"),
            _ => talk.end(Outcome::NotFound, "No user is called \x1b[31m."),
        },
        Verb::TotpPending { user, .. } if user == "alice" => {
            talk.say(device(issuer, period, Some(1_795_300_800)))?;
            talk.end(Outcome::Accepted, "")
        }
        Verb::Confirm { user } if user == "alice" => match talk.two_codes()? {
            Err(why) => talk.cancelled(why),
            Ok((first, second)) => match (first.bytes(), second.bytes()) {
                (b"492 039", b" 123456") => talk.end(Outcome::Accepted, BOUND),
                _ => talk.end(Outcome::Refused, &format!("{WRONG} Nothing was bound.")),
            },
        },
        Verb::Disable { user } if user.as_deref() == Some("alice") => talk.end(
            Outcome::Accepted,
            "The device of alice is unbound and its key destroyed; the entry in the app is of no use any more. \
             Tell whoever shares the account.",
        ),
        Verb::Status { .. } => {
            talk.say(status("alice"))?;
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
    })
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
        self.say(FromHelper::Ask { echo: true, text: Secret::copy_of(question.as_bytes()) })?;
        match self.hear()? {
            ToHelper::Answer(answer) => Ok(Ok(answer)),
            ToHelper::Cancel(why) => Ok(Err(why)),
            ToHelper::Request(_) => Err("a second request".into()),
        }
    }

    fn two_codes(&mut self) -> Done<Result<(Secret, Secret), Cancelled>> {
        let first = match self.ask("First code: ")? {
            Ok(first) => first,
            Err(why) => return Ok(Err(why)),
        };
        Ok(self.ask("Second code: ")?.map(|second| (first, second)))
    }

    fn cancelled(&mut self, why: Cancelled) -> Done<()> {
        let text = match why {
            Cancelled::ByUser => "Cancelled.",
            _ => "This program cannot ask for a code. With ssh, use keyboard-interactive authentication.",
        };
        self.end(Outcome::NoInteraction, text)
    }

    fn end(&mut self, outcome: Outcome, text: &str) -> Done<()> {
        self.say(FromHelper::Verdict(Verdict { outcome, text: text.into() }))
    }
}
