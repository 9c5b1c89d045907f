//! The helper's engine for security keys, without a helper around it.
//!
//! ```text
//! key-host assert|make [rp=ID] [pin=if-set|require|never] [ms=N] [spare] [answer=PIN] [again] [asks]
//!     [debug] [aaguid=HEX] [key=BOUND]...
//! ```
//!
//! With `again`, the PIN is typed as often as it is asked for. With `asks`, a key that is to be plugged in is asked for,
//! and a line of standard input is the answer.
//!
//! BOUND is what `make` prints: rp,credential,public,verified. Everything that happens is a line of standard output. When
//! standard input ends, nobody is there any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

use mfa_core::Id;
use mfa_core::key::{Key, PublicKey};
use mfa_helper::factor::usb::{self, Asked, Event, Frame, Make, NoAnswer, NotAPin, Person, Pin, Waiting};
use mfa_wire::{Cancelled, Secret};

struct Tester {
    answer: Option<String>,
    again: bool,
    asks: bool,
    stdin: std::io::Stdin,
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

impl Person for Tester {
    fn tell(&mut self, what: Event) {
        say(&format!("tell {what:?}"));
    }

    fn plug_in(&mut self, what: Event) -> Result<Waiting, NotAPin> {
        if !self.asks {
            self.tell(what);
            return Ok(Waiting::On);
        }
        say(&format!("ask {what:?}"));
        self.stdin.read_line(&mut String::new()).unwrap();
        Ok(Waiting::Over)
    }

    fn pin(&mut self, label: &str, tries_left: Option<u32>) -> Result<Secret, NotAPin> {
        say(&format!("pin {label:?} {tries_left:?}"));
        let nobody = || NotAPin::Gone(NoAnswer::Cancelled(Cancelled::NoConversation));
        let answer = if self.again { self.answer.clone() } else { self.answer.take() };
        let answer = answer.ok_or_else(nobody)?;
        Ok(Secret::copy_of(answer.as_bytes()))
    }

    fn exchanged(&mut self, device: &str, frame: &Frame) {
        assert!(device.starts_with("hidraw"), "{device}");
        say(&format!("frame {frame}"));
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn bound(text: &str) -> Key {
    let parts: Vec<&str> = text.split(',').collect();
    let public = unhex(parts[2]);
    Key {
        id: Id::default(),
        label: "blue".to_owned(),
        created: 0,
        created_from: String::new(),
        rp_id: parts[0].to_owned(),
        credential: unhex(parts[1]),
        public: PublicKey::es256(&public).or(PublicKey::ed25519(&public)).unwrap(),
        verified: parts[3] == "true",
        counter: 0,
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == usb::ARGUMENT.to_str().ok() {
        return mfa_helper::main();
    }
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap();
    let (mut rp_id, mut pin, mut milliseconds, mut spare_tries) = ("pam://test".to_owned(), Pin::IfSet, 10_000, false);
    let mut debug = false;
    let (mut aaguids, mut keys, mut person) =
        (vec![], vec![], Tester { answer: None, again: false, asks: false, stdin: std::io::stdin() });
    for argument in arguments {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("rp", id) => rp_id = id.to_owned(),
            ("pin", "if-set") => pin = Pin::IfSet,
            ("pin", "require") => pin = Pin::Require,
            ("pin", "never") => pin = Pin::Never,
            ("ms", n) => milliseconds = n.parse().unwrap(),
            ("again", _) => person.again = true,
            ("asks", _) => person.asks = true,
            ("debug", _) => debug = true,
            ("spare", _) => spare_tries = true,
            ("answer", text) => person.answer = Some(text.to_owned()),
            ("aaguid", text) => aaguids.push(unhex(text).try_into().unwrap()),
            ("key", text) => keys.push(bound(text)),
            other => panic!("{other:?}"),
        }
    }
    let random: [u8; 32] = std::array::from_fn(|_| 0).map(|zero: u8| zero);
    let mut challenge = random;
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut challenge).unwrap();
    let deadline = Duration::from_millis(milliseconds);
    let failure = match verb.as_str() {
        "assert" => {
            let asked = Asked { keys: &keys, challenge, pin, spare_tries, deadline, debug };
            match usb::assert(&asked, &mut person) {
                Ok((n, signed, counter)) => {
                    say(&format!("signed {n} {counter} {:02x}", signed.auth_data[32]));
                    None
                }
                Err(failure) => Some(failure),
            }
        }
        "make" => {
            let user_id = challenge;
            let (exclude, aaguids) = (&keys[..], &aaguids[..]);
            let make = Make {
                rp_id: &rp_id,
                user_name: "alice",
                user_id,
                exclude,
                challenge,
                pin,
                spare_tries,
                aaguids,
                deadline,
                debug,
            };
            match usb::make(&make, &mut person) {
                Ok(new) => {
                    let (credential, public) = (hex(&new.credential), hex(new.public.bytes()));
                    say(&format!("made {rp_id},{credential},{public},{}", new.verified));
                    say(&format!("model {} {}", hex(&new.aaguid), new.counter));
                    None
                }
                Err(failure) => Some(failure),
            }
        }
        other => panic!("{other}"),
    };
    if let Some(failure) = &failure {
        assert!(failure.to_string().is_ascii() && failure.to_string().len() <= 80, "{failure}");
        say(&format!("failure {failure:?}"));
        say(&format!("reason {}", failure.reason()));
    }
    // What is left behind is looked at from outside, as long as this process is there.
    say("done");
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut rest);
    ExitCode::SUCCESS
}
