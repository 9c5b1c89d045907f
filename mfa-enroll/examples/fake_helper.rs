//! A helper that knows no secrets: what `mfa-enroll` is tried out and tested with. It speaks the
//! language of the real one, and the name it is called by says how it behaves:
//!
//! `helper` well; `wide` with an issuer that makes a large QR code; `quick` with a new code every 5
//! seconds; `crowd` with 100,000 users; `mute` closes without a word; `stranger` speaks another version; `half` closes after the
//! request; `config` refuses, naming its arguments.
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
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> Done<()> {
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
            Some("alice") | None => bind(talk, device(issuer, period, 0)),
            Some("bound") => talk.end(Outcome::Already, ""),
            Some(_) => talk.end(Outcome::NotFound, "no user \"\x1b[31m\""),
        },
        Verb::TotpPending { user, .. } if user == "alice" => {
            talk.say(device(issuer, period, 1_795_300_800))?;
            talk.end(Outcome::Accepted, "")
        }
        Verb::Confirm { user } if user == "alice" => {
            let Ok(first) = talk.ask("First code: ")? else { return talk.end(Outcome::NoInteraction, "") };
            let Ok(second) = talk.ask("Second code: ")? else { return talk.end(Outcome::NoInteraction, "") };
            match (first.bytes(), second.bytes()) {
                (b"492 039", b" 123456") => talk.end(Outcome::Accepted, ""),
                _ => talk.end(Outcome::Refused, "these codes are not right"),
            }
        }
        Verb::Disable { user } if user.as_deref() == Some("alice") => talk.end(Outcome::Accepted, ""),
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
        _ => talk.end(Outcome::NotFound, ""),
    }
}

/// Any two different codes bind, but 000000 is wrong.
fn bind(talk: &mut Talk, device: FromHelper) -> Done<()> {
    talk.say(device)?;
    let mut why = "";
    for attempt in 0..3 {
        if attempt > 0 {
            talk.say(FromHelper::Tell(why.into()))?;
        }
        let Ok(first) = talk.ask("First code: ")? else {
            return talk.end(Outcome::NoInteraction, "Nothing was bound.");
        };
        let Ok(second) = talk.ask("Second code: ")? else {
            return talk.end(Outcome::NoInteraction, "Nothing was bound.");
        };
        why = match (first.bytes(), second.bytes()) {
            (b"000000", _) | (_, b"000000") => "That is not the code of this key: did the app take it over?",
            (a, b) if a == b => "Both codes are from the same 30 seconds: wait for the next one.",
            _ => {
                talk.say(FromHelper::Tell("Your app's clock is 34 s behind this host's.".into()))?;
                return talk.end(Outcome::Accepted, "");
            }
        };
    }
    talk.end(Outcome::Refused, why)
}

fn device(issuer: &str, period: u32, expires: u64) -> FromHelper {
    let uri = format!("otpauth://totp/{issuer}:alice?secret={KEY}&issuer={issuer}");
    FromHelper::Device(Device {
        user: "alice".into(),
        key: Secret::copy_of(KEY.as_bytes()),
        uri: Secret::copy_of(uri.as_bytes()),
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

    fn end(&mut self, outcome: Outcome, text: &str) -> Done<()> {
        self.say(FromHelper::Verdict(Verdict { outcome, text: text.into() }))
    }
}
