//! Security keys that are plugged in, behind real libpam: what a hostile one can do to a login, and both kinds at once.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;

use mfa_wire::{NewKey, Outcome, Request, Verb};
use pam_tests::code::{AUTH_ERR, SUCCESS};
use pam_tests::{
    Bound, CONSOLE, Desk, FrontEnd, Host, Key, Log, PASSWORD, Report, Running, System, add_user, artifact, run,
};

/// What a key may do wrong, and what the person is told where it does so when it is touched.
const FAULTS: [(&str, &str); 15] = [
    ("bad-signature", NOT_GOOD),
    ("replay", NOT_GOOD),
    ("wrong-rpid", NOT_GOOD),
    ("no-up", "The security key was not touched."),
    ("no-uv", "The security key has checked neither a PIN nor a fingerprint."),
    ("hang", LATE),
    ("keepalive", LATE),
    ("garbage", LATE),
    ("wrong-channel", LATE),
    ("bad-cbor", UNUSABLE),
    ("huge-cbor", UNUSABLE),
    ("short-frame", UNUSABLE),
    ("oversize-length", UNUSABLE),
    ("error-frame", UNUSABLE),
    ("die", "The security key was pulled out."),
];

const NOT_GOOD: &str = "The answer of the security key is not good.";
const LATE: &str = "The security key was not touched in time.";
const SILENT: &str = "The security key does not answer: pull it out and plug it in again.";
const LOCKED: &str = "The security key was not unlocked in time.";
const UNUSABLE: &str = "This security key cannot be used; the system log says why.";
const TOUCH: &str = "Touch your security key.";

/// One person with a key, at a desk of their own.
struct Person {
    user: String,
    desk: Desk,
    key: Key,
    fault: &'static str,
    says: &'static str,
}

fn fresh(policy: &str) -> System {
    let system = System::fresh();
    system.config(&format!("[u2f]\nconsoles = [\"{CONSOLE}\"]\n{policy}\n"));
    let module = "{module} stack=complete socket=/nowhere";
    // Before there is a session, only login(1) is at a console.
    system.service("login", &format!("{{first}}\nauth required {module}\naccount required {module}"));
    system
}

/// Root binds what is plugged in there.
fn bind(helper: &Path, user: &str, pin: &str) -> FrontEnd {
    bind_as("", helper, user, pin)
}

fn bind_as(label: &str, helper: &Path, user: &str, pin: &str) -> FrontEnd {
    let key = NewKey {
        user: Some(user.to_owned()),
        label: Some(label.to_owned()).filter(|label| !label.is_empty()),
        ..NewKey::default()
    };
    let request = Request::Verb(Verb::U2f { key, invited: false });
    let mut answer = |question: &str| if question.starts_with("PIN") { Some(pin.to_owned()) } else { None };
    FrontEnd::request(helper, request, &mut answer)
}

impl Person {
    fn new(n: usize, (fault, says): (&'static str, &'static str)) -> Person {
        let user = format!("hostile-{n}");
        add_user(&user);
        let desk = Desk::new();
        let key = desk.plugged(if fault == "no-uv" { &["--pin", "1234"] } else { &[] });
        let bound = bind(&desk.helper(), &user, "1234");
        assert_eq!(bound.verdict.outcome, Outcome::Accepted, "{user}: {}", bound.verdict.text);
        Person { user, desk, key, fault, says }
    }

    fn login(&self, system: &System) -> Host {
        let under = self.desk.seated();
        let under: Vec<&str> = under.iter().map(String::as_str).collect();
        // To the question for a recovery code.
        let host = system.host("login").user(&self.user).password("1234").answer("0000-0000-0000-0000");
        // As sudo, which holds Ctrl-C back.
        host.mode("blocked-signals").under(&under).steps(&["auth"])
    }

    fn state(&self, system: &System) -> Vec<u8> {
        fs::read(system.store().join("users").join(&self.user).join("state")).unwrap()
    }
}

fn all_at_once(people: &[Person], system: &System) -> Vec<Report> {
    let running: Vec<Running> = people.iter().map(|person| person.login(system).start()).collect();
    running.into_iter().map(Running::report).collect()
}

#[track_caller]
fn all_are_let_in(people: &[Person], system: &System, when: &str) {
    for (person, report) in people.iter().zip(all_at_once(people, system)) {
        assert_eq!(report.code("auth"), SUCCESS, "{when} {}: {report:?}", person.fault);
        let said = report.said();
        assert!(said.iter().any(|said| said.text.contains(TOUCH)), "{when} {}: {said:?}", person.fault);
        report.assert_undisturbed();
    }
}

/// All of them at the same time, each with a key of another kind of hostility; before and after it the very key lets in.
#[test]
fn a_hostile_key_lets_nobody_in_and_holds_nobody_up() {
    let system = fresh("timeout = \"5s\"");
    let mut people: Vec<Person> = FAULTS.into_iter().enumerate().map(|(n, fault)| Person::new(n, fault)).collect();
    for stage in ["touch", "silent", "info", "open"] {
        all_are_let_in(&people, &system, stage);
        for person in &people {
            person.key.tell(&format!("fault {} {stage}", person.fault));
        }
        let before: Vec<Vec<u8>> = people.iter().map(|person| person.state(&system)).collect();
        let reports = all_at_once(&people, &system);
        for ((person, report), before) in people.iter().zip(&reports).zip(before) {
            let (case, said) = (format!("{stage} {}", person.fault), report.said());
            assert_eq!(report.code("auth"), AUTH_ERR, "{case}: {said:?}");
            assert_eq!(person.state(&system), before, "{case}: the state has changed");
            let last = &said.last().unwrap().text;
            // Before the touch it is not the person who is late.
            let says = match (stage, person.says, person.fault) {
                ("touch", says, _) => says,
                // It says that it waits for its owner, though nothing that needs a touch was asked of it.
                (_, LATE, "keepalive") => LOCKED,
                (_, LATE, _) => SILENT,
                (_, says, _) => says,
            };
            // What no key does takes nobody the recovery code away.
            let is_asked = [UNUSABLE, SILENT, LOCKED].contains(&says);
            let told = if is_asked { &said[said.len() - 2].text } else { last };
            // A terminal keeps no bounds: it waits for the rest of a frame that was cut.
            let is_cut = stage != "touch" && person.fault == "short-frame" && told.contains(SILENT);
            assert!(told.contains(says) || is_cut, "{case}: {said:?}");
            report.assert_undisturbed();
        }
        nothing_runs(&people);
        people.iter().for_each(|person| drop(person.key.tell("fault none")));
        // A key that has died is plugged in again once, and does not die any more.
        if stage == "touch" {
            let died = people.pop().unwrap();
            died.desk.unplug(&died.key);
            died.key.tell("plug");
            died.desk.plug(&died.key);
            all_are_let_in(&[died], &system, "plugged in again");
        }
    }
    all_are_let_in(&people, &system, "in the end");
}

/// No process of ours, dead or alive, and no key that somebody still has open.
#[track_caller]
fn nothing_runs(people: &[Person]) {
    // A helper ends after its verdict, and the host does not wait for that. There may be none any more.
    let _ = Command::new("timeout").args(["30", "pidwait", "--exact", "mfa-helper"]).status();
    let left = run("ps", &["-e", "-o", "stat=,comm="]);
    let ours: Vec<&str> = left
        .lines()
        .filter(|line| line.contains("mfa-helper") || line.starts_with('Z') && line.contains("key"))
        .collect();
    assert_eq!(ours, [] as [&str; 0]);
    for person in people.iter().filter(|person| person.fault != "die") {
        assert!(!person.key.is_open(), "{}", person.fault);
    }
}

/// New recovery codes, made by root.
fn recovery_codes(system: &System, user: &str) -> Vec<String> {
    let shown = system.enroll(&["recovery-codes", "--user", user, "--json"], "");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let codes = shown.split('"').filter(|word| word.matches('-').count() == 3 && word.len() == 19);
    codes.map(str::to_owned).collect()
}

/// A login at this desk, where PIN prompts are answered by `pin` and a question for a recovery code by `code`.
fn at(desk: &Desk, system: &System, user: &str, pin: &str, code: &str) -> Report {
    let under = desk.seated();
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    system.host("login").user(user).password(pin).answer(code).under(&under).steps(&["auth"]).run()
}

#[track_caller]
fn asked(report: &Report, words: &str) -> bool {
    report.said().iter().any(|said| said.text.contains(words))
}

#[test]
fn a_recovery_code_helps_while_the_key_is_plugged_in() {
    const RECOVERY: &str = "Verification code (a recovery code): ";
    let system = fresh("timeout = \"5s\"");
    add_user("dora");
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    assert_eq!(bind(&desk.helper(), "dora", "1234").verdict.outcome, Outcome::Accepted);
    let codes = recovery_codes(&system, "dora");
    let pins = key.count("pins");

    // Typed where the PIN is asked for, it goes to no key.
    let report = at(&desk, &system, "dora", &codes[0], "");
    assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
    let report = at(&desk, &system, "dora", "abcd-efgh-ijkl-mnop", "");
    assert_eq!(report.code("auth"), AUTH_ERR, "{report:?}");
    assert_eq!(key.count("pins"), pins);
    // A user who has forgotten the PIN types nothing.
    for (nothing, code) in [("", &codes[1]), (" ", &codes[3])] {
        let report = at(&desk, &system, "dora", nothing, code);
        assert!(asked(&report, RECOVERY), "{report:?}");
        assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
    }
    assert_eq!(key.count("pins"), pins);
    let report = at(&desk, &system, "dora", "4321", "");
    assert_eq!(report.code("auth"), AUTH_ERR, "{report:?}");
    assert!(
        asked(&report, "Without the PIN: at the next try, type a recovery code in its place.")
            && !asked(&report, TOUCH),
        "{report:?}"
    );

    // After a counter that went back, which a copy of the key may have done, the key alone lets nobody in.
    key.tell("counter 100");
    assert_eq!(at(&desk, &system, "dora", "1234", "").code("auth"), SUCCESS);
    key.tell("counter 5");
    let report = at(&desk, &system, "dora", "1234", "abcd-efgh-ijkl-mnop");
    assert_eq!(report.code("auth"), AUTH_ERR, "{report:?}");
    assert!(asked(&report, "it may have been copied") && asked(&report, RECOVERY), "{report:?}");
    let report = at(&desk, &system, "dora", "1234", &codes[2]);
    assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
}

/// Without the key nobody waits for it: the question takes Enter, or the code.
#[test]
fn who_has_not_the_key_with_them_answers_at_once() {
    const PLUG_IN: &str = "Plug in your security key, and press Enter. Without it:";
    const TOLD: &str = "Plug in your security key, and touch it when it blinks.";
    let system = fresh("timeout = \"5s\"");
    add_user("nora");
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    assert_eq!(bind(&desk.helper(), "nora", "").verdict.outcome, Outcome::Accepted);
    let codes = recovery_codes(&system, "nora");
    desk.unplug(&key);

    let report = at(&desk, &system, "nora", &codes[0], "");
    assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
    assert!(asked(&report, PLUG_IN) && !asked(&report, TOLD), "{report:?}");
    for enter in ["", "nothing of use"] {
        let report = at(&desk, &system, "nora", enter, if enter.is_empty() { &codes[1] } else { &codes[2] });
        assert_eq!(report.code("auth"), SUCCESS, "{enter:?}: {report:?}");
        assert!(asked(&report, "No security key was plugged in.") && !asked(&report, TOLD), "{enter:?}: {report:?}");
    }
    // Programs that answer by themselves: the key is waited for, and what they say is no guess.
    let before = fs::read(system.store().join("users/nora/state")).unwrap();
    let report = at(&desk, &system, "nora", "nora", "nora");
    assert!(asked(&report, TOLD), "{report:?}");
    assert_ne!(report.code("auth"), SUCCESS, "{report:?}");
    assert_eq!(fs::read(system.store().join("users/nora/state")).unwrap(), before, "it was counted");
    // They show a key that comes meanwhile.
    let under = desk.seated();
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    let host = system.host("login").user("nora").password("nora").answer("nora").under(&under).steps(&["auth"]);
    let running = host.start();
    run("sleep", &["1"]);
    key.tell("plug");
    desk.plug(&key);
    assert_eq!(running.report().code("auth"), SUCCESS);
}

#[test]
fn a_sensor_that_fails_ends_at_a_recovery_code() {
    let system = fresh("timeout = \"5s\"");
    add_user("emma");
    let desk = Desk::new();
    let key = desk.plugged(&["--uv"]);
    assert_eq!(bind(&desk.helper(), "emma", "").verdict.outcome, Outcome::Accepted);
    let codes = recovery_codes(&system, "emma");
    for (finger, code) in [("bad", &codes[0]), ("blocked", &codes[1])] {
        key.tell(&format!("finger {finger}"));
        let report = at(&desk, &system, "emma", "", code);
        assert_eq!(report.code("auth"), SUCCESS, "{finger}: {report:?}");
        assert!(asked(&report, "does not know this fingerprint"), "{finger}: {report:?}");
    }
}

/// The last tries are named, with what helps there; what is no PIN goes to no key, and is told so.
#[test]
fn what_is_said_where_a_pin_is_asked_is_true_there() {
    let system = fresh("timeout = \"5s\"");
    add_user("gina");
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "71724"]);
    assert_eq!(bind(&desk.helper(), "gina", "71724").verdict.outcome, Outcome::Accepted);
    let codes = recovery_codes(&system, "gina");
    key.tell("retries 3");
    let report = at(&desk, &system, "gina", "71724", &codes[0]);
    assert!(asked(&report, "Only 3 tries are left for the PIN of this key: no login uses them."), "{report:?}");
    assert!(asked(&report, "Type a recovery code, and then, in a shell, run mfa-enroll test."), "{report:?}");
    assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
    key.tell("retries 8");
    let pins = key.count("pins");
    let report = at(&desk, &system, "gina", "gina", "");
    assert!(asked(&report, "That is your name, not the PIN of the key."), "{report:?}");
    // As with common-auth PAM has the login secret.
    let module = "{module} stack=complete socket=/nowhere";
    system.service("login", &format!("auth requisite pam_unix.so\nauth required {module}\naccount required {module}"));
    let report = at(&desk, &system, "gina", PASSWORD, "");
    assert!(asked(&report, "That is your login secret, and went to no key: "), "{report:?}");
    assert_eq!(key.count("pins"), pins);
    // A PIN that is taken for a recovery code at each login is not bound with.
    assert!(system.enroll(&["disable", "--user", "gina"], "").status.success());
    key.tell("pin abcd-efgh-ijkl-mnop");
    let bound = bind(&desk.helper(), "gina", "abcd-efgh-ijkl-mnop");
    let text = "That has the form of a recovery code: a PIN of that form is of no use here.\nNothing was bound.";
    assert_eq!((bound.verdict.outcome, bound.verdict.text.as_str()), (Outcome::Refused, text));
}

#[test]
fn the_exchanges_with_a_key_are_logged_where_the_policy_says_so() {
    let system = fresh("timeout = \"5s\"\ndebug = true");
    add_user("ines");
    let desk = Desk::new();
    let _key = desk.plugged(&["--pin", "71724"]);
    assert_eq!(bind(&desk.helper(), "ines", "71724").verdict.outcome, Outcome::Accepted);
    let log = Log::listen();
    assert_eq!(at(&desk, &system, "ines", "71724", "").code("auth"), SUCCESS);
    let lines = log.lines_with("event=key-exchange user=ines reason=\"hidraw0 was sent CBOR 0x02, length ");
    assert!(!lines.is_empty(), "{:?}", log.lines());
    assert!(log.lines_with("71724").is_empty(), "{:?}", log.lines());
    system.config(&format!("[u2f]\nconsoles = [\"{CONSOLE}\"]\n"));
    let log = Log::listen();
    assert_eq!(at(&desk, &system, "ines", "71724", "").code("auth"), SUCCESS);
    assert!(log.lines_with("key-exchange user=ines").is_empty(), "{:?}", log.lines());
}

/// A program of the desktop shows it. It is root's, so that nobody can have root open another file.
#[test]
fn a_file_is_open_while_a_touch_is_waited_for() {
    let system = fresh("timeout = \"5s\"");
    add_user("tina");
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    assert_eq!(bind(&desk.helper(), "tina", "1234").verdict.outcome, Outcome::Accepted);
    let login = || {
        let under = desk.seated();
        let under: Vec<&str> = under.iter().map(String::as_str).collect();
        system.host("login").user("tina").password("1234").answer("").under(&under).steps(&["auth"]).start()
    };
    let file = PathBuf::from(format!("/run/mfa/touch/{}", run("id", &["--user", "tina"]).trim()));
    let is_open = || pam_tests::is_open(&file);
    // Without the folder, and in one that others may write to, nothing is made.
    for folder in [None, Some("777")] {
        if let Some(mode) = folder {
            run("mkdir", &["--parents", "--mode", mode, "/run/mfa/touch"]);
        }
        assert_eq!(login().report().code("auth"), SUCCESS, "{folder:?}");
        assert!(!file.exists(), "{folder:?}");
    }
    run("chmod", &["711", "/run/mfa/touch"]);
    key.tell("touch wait");
    let running = login();
    key.tell("await touch");
    // It is told beside the touch.
    assert!((0..100).any(|_| is_open() || run("sleep", &["0.05"]) == "never"), "not shown");
    let shown = run("stat", &["--format", "%U %G %a %s", file.to_str().unwrap()]);
    assert_eq!(shown, "root tina 640 0\n");
    key.tell("touch");
    assert_eq!(running.report().code("auth"), SUCCESS);
    assert!(!is_open());
    // Nor is anything opened by a link that somebody else has made.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/mfa/mfa.toml", &file).unwrap();
    key.tell("touch auto");
    assert_eq!(login().report().code("auth"), SUCCESS);
    assert!(fs::symlink_metadata("/etc/mfa/mfa.toml").unwrap().permissions().mode() & 0o777 != 0o640);
}

#[test]
fn of_several_keys_the_question_names_the_one_whose_pin_it_wants() {
    let system = fresh("timeout = \"5s\"");
    add_user("finn");
    let desk = Desk::new();
    let blue = desk.plugged(&["--pin", "1234"]);
    assert_eq!(bind_as("blue", &desk.helper(), "finn", "1234").verdict.outcome, Outcome::Accepted);
    let report = at(&desk, &system, "finn", "1234", "");
    assert!(asked(&report, "PIN of the key (8 tries are left): "), "one has no name: {report:?}");
    desk.unplug(&blue);
    let _spare = desk.plugged(&["--pin", "5678"]);
    assert_eq!(bind_as("spare", &desk.helper(), "finn", "5678").verdict.outcome, Outcome::Accepted);
    let report = at(&desk, &system, "finn", "5678", "");
    assert_eq!(report.code("auth"), SUCCESS, "{report:?}");
    assert!(asked(&report, "PIN of the key \\\"spare\\\" (8 tries are left): "), "{report:?}");
}

/// Eight keys are touched at the moment at which an app is confirmed fifty-six times.
#[test]
fn keys_and_an_app_at_once_bind_one_kind() {
    const KEYS: usize = 8;
    const CONFIRMED: usize = 56;
    let bound = Bound::on(fresh(""), "torn");
    let desks: Vec<(Desk, Key)> = (0..KEYS)
        .map(|n| {
            let desk = Desk::new();
            let key = desk.plugged(&["--seed", &format!("torn {n}")]);
            key.tell("touch wait");
            (desk, key)
        })
        .collect();
    let helpers: Vec<PathBuf> = desks.iter().map(|(desk, _)| desk.helper()).collect();
    let mut kinds = [0, 0];
    for round in 0..8 {
        assert!(bound.system.enroll(&["disable", "--user", "torn"], "").status.success());
        let app = bound.pend();
        let (first, second) = (bound.code_of(&app, -1), bound.code_of(&app, 0));
        let enroll = artifact("mfa-enroll");
        let start = Barrier::new(KEYS + CONFIRMED);
        let confirm = || {
            start.wait();
            Command::new(&enroll)
                .args(["confirm", "--user", "torn", &first, &second])
                .output()
                .unwrap()
                .status
                .success()
        };
        let (by_key, by_app) = std::thread::scope(|scope| {
            let binding: Vec<_> = helpers.iter().map(|helper| scope.spawn(|| bind(helper, "torn", ""))).collect();
            for (_, key) in &desks {
                key.tell("await touch");
            }
            for (_, key) in &desks {
                scope.spawn(|| {
                    start.wait();
                    key.tell("touch");
                });
            }
            let confirming: Vec<_> = (0..CONFIRMED).map(|_| scope.spawn(confirm)).collect();
            let by_app = confirming.into_iter().map(|thread| thread.join().unwrap()).filter(|done| *done).count();
            let accepted = |done: FrontEnd| done.verdict.outcome == Outcome::Accepted;
            let by_key =
                binding.into_iter().map(|thread| accepted(thread.join().unwrap())).filter(|done| *done).count();
            (by_key, by_app)
        });
        let status = bound.system.enroll(&["status", "--user", "torn", "--json"], "");
        let status = String::from_utf8(status.stdout).unwrap();
        let (totp, u2f) = (status.contains("\"kind\":\"totp\""), status.contains("\"kind\":\"u2f\""));
        assert_eq!((by_key + by_app, totp, u2f), (1, by_app == 1, by_key == 1), "round {round}: {status}");
        kinds[by_key] += 1;
    }
    println!("an app was bound {} times, a key {} times", kinds[0], kinds[1]);
}
