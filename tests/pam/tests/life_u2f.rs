//! The cases of `life.rs`, at logins by pam_u2f and by us with the same credential of the same key: that the key behaves, and
//! where one of the two lets in and the other does not. The table is in docs/keys.md.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::thread;

use mfa_wire::{NewKey, Outcome, Request, Verb};
use pam_tests::code::SUCCESS;
use pam_tests::{CONSOLE, Desk, FrontEnd, Gate, Host, Key, Report, System, add_user, run};

/// How a login ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    LetsIn,
    Refuses,
    /// Is not over after [`PATIENCE`].
    Hangs,
}
use End::{Hangs, LetsIn, Refuses};

/// Seconds. pam_u2f gives a key no time at all, so whatever is not over by then never is.
const PATIENCE: u32 = 14;

struct Case {
    name: &'static str,
    key: &'static [&'static str],
    /// What the key is told before it is bound.
    bound: &'static str,
    /// And before each login. `unplug` and `plug` are its owner's deeds.
    before: &'static str,
    /// And while a login waits.
    during: &'static [&'static str],
    /// And after it, so that it is as before.
    after: &'static str,
    u2f: End,
    ours: End,
    /// What we have said in the course of it.
    said: &'static str,
}

const PLAIN: Case = Case {
    name: "as it should be",
    key: &[],
    bound: "touch auto",
    before: "touch auto",
    during: &[],
    after: "touch auto",
    u2f: LetsIn,
    ours: LetsIn,
    said: "Touch your security key.",
};

const PIN: &[&str] = &["--pin", "1234"];

const CASES: &[Case] = &[
    PLAIN,
    Case { name: "with a PIN", key: PIN, said: "PIN of the key", ..PLAIN },
    Case {
        name: "plugged in after the question",
        before: "unplug",
        during: &["plug"],
        u2f: Refuses,
        said: "Plug in your security key",
        ..PLAIN
    },
    Case {
        name: "the same, and deaf for the first 3 s",
        before: "unplug",
        during: &["late 3000", "plug"],
        u2f: Refuses,
        said: "takes long to answer",
        ..PLAIN
    },
    Case { name: "600 ms for each command", before: "slow 600", after: "slow 0", ..PLAIN },
    Case {
        name: "2.5 s for each command",
        before: "slow 2500",
        after: "slow 0",
        said: "takes long to answer",
        ..PLAIN
    },
    Case { name: "busy once", before: "busy once", ..PLAIN },
    Case { name: "busy once, and has no U2F", key: &["--fido2-only"], before: "busy once", u2f: Refuses, ..PLAIN },
    Case { name: "busy once, with a PIN", key: PIN, before: "busy once", u2f: Refuses, ..PLAIN },
    Case {
        name: "busy for 4 s",
        before: "busy 4000",
        after: "busy never",
        said: "in use by another program",
        u2f: Refuses,
        ..PLAIN
    },
    Case {
        name: "busy for ever",
        before: "busy always open",
        after: "busy never",
        ours: Refuses,
        said: "in use by another program",
        u2f: Refuses,
        ..PLAIN
    },
    Case { name: "one answer is lost", before: "lose 1", after: "lose 0", u2f: Hangs, ..PLAIN },
    Case {
        name: "never answers",
        before: "lose 1000",
        after: "lose 0",
        ours: Refuses,
        said: "does not answer",
        u2f: Hangs,
        ..PLAIN
    },
    Case {
        name: "hangs at the touch",
        before: "fault hang touch",
        after: "fault none",
        ours: Refuses,
        u2f: Hangs,
        ..PLAIN
    },
    Case { name: "hides what it holds", key: PIN, bound: "protect 3", said: "PIN of the key", u2f: Refuses, ..PLAIN },
    Case { name: "locked, and unlocked soon", before: "locked", during: &["unlocked"], said: "is locked", ..PLAIN },
    Case {
        name: "locked for ever",
        before: "locked",
        after: "unlocked",
        ours: Refuses,
        said: "not unlocked",
        u2f: Hangs,
        ..PLAIN
    },
    Case {
        name: "its PIN has to be changed",
        key: PIN,
        before: "force-pin",
        ours: Refuses,
        said: "fido2-token -C",
        u2f: Refuses,
        ..PLAIN
    },
    Case { name: "EdDSA only", key: &["--eddsa-only"], u2f: Refuses, ..PLAIN },
    Case { name: "alwaysUv", key: &["--always-uv", "--pin", "1234"], said: "PIN of the key", ..PLAIN },
    Case {
        name: "a counter that went back",
        bound: "counter 100",
        before: "counter 5",
        ours: Refuses,
        said: "it may have been copied",
        ..PLAIN
    },
    Case {
        name: "a wrong finger",
        key: &["--uv", "--pin", "1234"],
        before: "finger bad",
        after: "finger good",
        said: "did not know this finger: type its PIN.",
        u2f: Refuses,
        ..PLAIN
    },
];

/// One person with a key of this kind, at a desk of their own.
struct Person {
    case: &'static Case,
    user: String,
    desk: Desk,
    key: Key,
}

impl Person {
    fn new(n: usize, case: &'static Case) -> Person {
        let user = format!("twice-{n}");
        add_user(&user);
        let desk = Desk::new();
        let key = desk.plugged(case.key);
        key.tell(case.bound);
        let new = NewKey { user: Some(user.clone()), ..NewKey::default() };
        let request = Request::Verb(Verb::U2f { key: new, invited: false });
        let bound = FrontEnd::request(&desk.helper(), request, &mut |_| Some(String::from("1234")));
        assert_eq!(bound.verdict.outcome, Outcome::Accepted, "{}: {}", case.name, bound.verdict.text);
        Person { case, user, desk, key }
    }

    /// The line of pam_u2f's file for the key that we have bound.
    fn mapping(&self, system: &System) -> String {
        let record = fs::read_to_string(system.store().join("users").join(&self.user).join("credentials")).unwrap();
        let value = |name: &str| record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        let (kind, point) = value("public").split_once(' ').unwrap();
        // As pamu2fcfg is told by -N and -V.
        let checks = match self.case.key {
            ["--uv", ..] => "+presence+verification",
            kind if kind.contains(&"--pin") => "+presence+pin",
            _ => "+presence",
        };
        let (credential, point) = (base64(value("credential")), base64(point));
        format!("{}:{credential},{point},{},{checks}\n", self.user, kind.to_lowercase())
    }

    /// A login with a key that was told what to do before it, and is during it.
    fn login(&self, service: &str) -> (End, Vec<String>) {
        self.tell(self.case.before);
        let under = self.desk.seated_for(if service == "u2f" { PATIENCE } else { 40 });
        let under: Vec<&str> = under.iter().map(String::as_str).collect();
        let host =
            Host::new(Path::new("/etc/pam.d"), service).user(&self.user).password("1234").answer("0000-0000-0000-0000");
        let host = if service == "u2f" { host.finds_keys() } else { host };
        // Where a question stands until the key is there, it is answered after that.
        let gate = Gate::closed();
        let host = host.gate(&gate).under(&under).steps(&["auth"]).start();
        if !self.case.during.is_empty() {
            run("sleep", &["2"]);
            self.case.during.iter().for_each(|command| self.tell(command));
        }
        gate.open();
        let report = host.report_in_time();
        self.tell(self.case.after);
        let said = |report: &Report| report.said().into_iter().map(|said| said.text).collect();
        match report {
            None => (Hangs, Vec::new()),
            Some(report) => (if report.code("auth") == SUCCESS { LetsIn } else { Refuses }, said(&report)),
        }
    }

    fn tell(&self, command: &str) {
        match command {
            "unplug" => self.desk.unplug(&self.key),
            "plug" => {
                self.key.tell("plug");
                self.desk.plug(&self.key);
            }
            command => drop(self.key.tell(command)),
        }
    }
}

fn base64(hex: &str) -> String {
    run("sh", &["-c", &format!("echo {} | basenc -d --base16 | base64 -w0", hex.to_uppercase())])
}

#[test]
fn of_pam_u2f_and_us_each_lets_in_with_the_keys_that_it_is_said_to() {
    let system = System::fresh();
    system.config(&format!("[u2f]\nconsoles = [\"{CONSOLE}\"]\ntimeout = \"8s\"\n"));
    system.service("login", "{first}\nauth required {module} stack=complete socket=/nowhere");
    let origin = format!("pam://{}", run("hostname", &[]).trim());
    let options = format!("authfile=/run/twice origin={origin} appid={origin} cue");
    system.service("u2f", &format!("{{first}}\nauth required pam_u2f.so {options}"));
    let people: Vec<Person> = CASES.iter().enumerate().map(|(n, case)| Person::new(n, case)).collect();
    fs::write("/run/twice", people.iter().map(|person| person.mapping(&system)).collect::<String>()).unwrap();
    let both = |person: Person| thread::spawn(move || ["u2f", "login"].map(|service| person.login(service)));
    let threads: Vec<_> = people.into_iter().map(both).collect();
    let ends = threads.into_iter().map(|thread| thread.join().unwrap());
    let mut wrong = Vec::new();
    for (case, [(u2f, by_u2f), (ours, by_us)]) in CASES.iter().zip(ends) {
        let said = by_us.iter().any(|text| text.contains(case.said));
        if (u2f, ours) != (case.u2f, case.ours) || !said {
            wrong.push(format!("{}: {u2f:?} {by_u2f:?}, {ours:?} {by_us:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
