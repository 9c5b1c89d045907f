//! Screen lockers: programs that run libpam as their user, and know one question, or two.
//!
//! vlock and i3lock are the real ones, i3lock on a screen that nobody sees. The others are stood in for
//! by a few lines that ask libpam what swaylock and kscreenlocker ask it, and answer as they do.
#![allow(missing_docs, clippy::expect_used)]

mod common;

use std::sync::LazyLock;

use common::{App, CODE, Door, Person, policy_file, rule};
use e2e::{Machine, Terminal};

static MACHINE: LazyLock<Machine> = LazyLock::new(lockers);

/// A Debian with vlock as it comes, with one that runs as its user, and with the lockers of [`LOCKER`].
fn lockers() -> Machine {
    let machine = common::enabled(Machine::build().debian_packages("vlock,python3").package().boot());
    for service in ["swaylock", "i3lock", "kde"] {
        machine.write(&format!("/etc/pam.d/{service}"), "@include common-auth\n@include common-account\n");
    }
    // A first factor that anybody passes, of anybody.
    machine.write("/etc/pam.d/open", "auth required pam_mfa.so stack=complete\n");
    machine.write("/usr/local/bin/locker", LOCKER);
    machine.sh_ok("chmod 755 /usr/local/bin/locker; install -m 755 /usr/sbin/vlock-main /usr/local/bin/vlock-own");
    machine
}

/// `locker SERVICE USER HOW` reads what the person types, a line for each question, and says what libpam said.
///
/// HOW is `asks`: every question is put to the person. `blind`: every question is answered with the first line, whatever
/// its style (swaylock, i3lock). `aborts`: the second question ends it (swaylock since 1.8).
const LOCKER: &str = r#"#!/usr/bin/python3
import ctypes, sys
service, user, how = (word.encode() for word in sys.argv[1:])
typed = [line.rstrip("\n").encode() for line in sys.stdin]
pam, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
libc.calloc.restype, libc.strdup.restype, libc.strdup.argtypes = ctypes.c_void_p, ctypes.c_void_p, [ctypes.c_char_p]
class Message(ctypes.Structure): _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]
class Response(ctypes.Structure): _fields_ = [("answer", ctypes.c_void_p), ("zero", ctypes.c_int)]
Function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)), ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
class Conversation(ctypes.Structure): _fields_ = [("function", Function), ("data", ctypes.c_void_p)]
asked = 0
@Function
def converse(count, messages, responses, _):
    global asked
    responses[0] = libc.calloc(count, ctypes.sizeof(Response))
    answers = ctypes.cast(responses[0], ctypes.POINTER(Response))
    for n in range(count):
        message = messages[n].contents
        style = {1: "hidden", 2: "shown", 3: "error", 4: "info"}[message.style]
        print(style, message.text.decode("ascii").replace("\n", "\\n"))
        if message.style > 2: continue
        asked += 1
        if how == b"aborts" and asked > 1: return 26
        answers[n].answer = libc.strdup(typed[asked - 1 if how == b"asks" else 0])
    return 0
handle = ctypes.c_void_p()
assert pam.pam_start(service, user, ctypes.byref(Conversation(converse, None)), ctypes.byref(handle)) == 0
code = pam.pam_authenticate(handle, 0)
# swaylock and i3lock have no account phase.
if how == b"asks" and code == 0: code = pam.pam_acct_mgmt(handle, 0)
pam.pam_end(handle, code)
print("PAM", {0: "unlocked", 7: "AUTH_ERR", 9: "AUTHINFO_UNAVAIL", 11: "MAXTRIES", 19: "CONV_ERR"}.get(code, code))
"#;

/// What a locker showed, and how it ended.
#[derive(Debug)]
struct Tried {
    /// The style of each message and its text.
    messages: Vec<(String, String)>,
    /// `unlocked`, or the name of PAM's code.
    ended: String,
}

impl Tried {
    /// What was said, beside the questions.
    fn said(&self) -> Vec<&str> {
        let said = self.messages.iter().filter(|(style, _)| style == "error" || style == "info");
        said.map(|(_, text)| text.as_str()).collect()
    }

    fn unlocked(&self) -> bool {
        self.ended == "unlocked"
    }
}

/// Runs a locker of the test as `process`, for `user`. What others than root see is a line that a locker has room for.
#[track_caller]
fn locker_of(machine: &Machine, process: &str, service: &str, user: &str, how: &str, typed: &[&str]) -> Tried {
    let typed = typed.iter().map(|line| format!(" '{line}'")).collect::<String>();
    let output =
        machine.sh_ok(&format!("printf '%s\\n'{typed} | setpriv --reuid={process} --regid=$(id -g {process}) --init-groups locker {service} {user} {how}"));
    let mut lines: Vec<_> = output.lines().map(|line| line.split_once(' ').expect("two words")).collect();
    let (_, ended) = lines.pop().expect("a last line");
    for (_, text) in lines.iter().filter(|_| process != "root") {
        let width = text.trim_end().len();
        assert!(
            text.is_ascii() && width <= 80 && !text.contains("\\n"),
            "{width} columns, or more than a line: {text:?}"
        );
    }
    let messages = lines.into_iter().map(|(style, text)| (style.to_owned(), text.to_owned())).collect();
    Tried { messages, ended: ended.to_owned() }
}

/// A locker that runs as its user.
#[track_caller]
fn unlock(who: &Person, service: &str, how: &str, typed: &[&str]) -> Tried {
    locker_of(who.machine, &who.name, service, &who.name, how, typed)
}

/// Locks the terminal with `vlock`, up to its question for the code.
#[track_caller]
fn locked_by_vlock(who: &Person, vlock: &str) -> Terminal {
    let mut t = who.machine.terminal().user(&who.name).run(vlock);
    // Without the script around it, it says nothing here.
    if vlock == "vlock" {
        t.wait_for("Please press [ENTER] to unlock.");
    }
    type_at_vlock(who, &mut t, "");
    t.wait_for(&format!("{}'s Password: ", who.name));
    type_at_vlock(who, &mut t, &who.password);
    t.wait_for(CODE);
    t
}

/// Types when vlock reads: what comes between its question and that it throws away.
fn type_at_vlock(who: &Person, t: &mut Terminal, line: &str) {
    let name = &who.name;
    who.machine
        .sh_ok(&format!("until p=$(pgrep -U {name} '^vlock-') && grep -qs 'State:.S' /proc/$p/status; do :; done"));
    t.type_line(line);
}

/// A wrong code and a used one leave it locked, the right one unlocks it.
fn vlock_asks_for_both(vlock: &str, name: &str, runs_as: &str, claim: &str) {
    let (who, app) = Person::bound(&MACHINE, name);
    let caller = format!("caller={} ", MACHINE.sh_ok(&format!("id -u {runs_as}")).trim());

    let mut t = locked_by_vlock(&who, vlock);
    type_at_vlock(&who, &mut t, &app.wrong());
    t.wait_for("That code is wrong.");
    // It tries root's next, and would go on for ever.
    t.wait_for("root's Password: ");
    drop(t);
    who.logged(&[claim, &caller, "verdict=refused", "reason=\"wrong code\""]);

    let mut t = locked_by_vlock(&who, vlock);
    type_at_vlock(&who, &mut t, &app.burnt);
    t.wait_for("That code was used already. Wait for the next one.");
    if runs_as == "root" {
        // It has room for another question; one that runs as its user is asked once.
        t.wait_for(CODE);
        type_at_vlock(&who, &mut t, &app.burnt);
    }
    t.wait_for("root's Password: ");
    drop(t);

    let mut t = locked_by_vlock(&who, vlock);
    type_at_vlock(&who, &mut t, &app.good);
    assert_eq!(t.exit_code(), 0);
    who.logged(&[claim, &caller, "verdict=accepted"]);
    assert_eq!(who.count_logged(&["verdict=accepted", "event=verify"]), 1);

    // Burnt for every door, and the other way round.
    let mut t = Door::Su.up_to_the_code(&who);
    t.type_line(&app.good);
    t.wait_for("That code was used already.");
    drop(t);
    let app = who.rebind();
    Door::Su.lets_in(&who, &app.good);
    let mut t = locked_by_vlock(&who, vlock);
    type_at_vlock(&who, &mut t, &app.good);
    t.wait_for("That code was used already.");
}

/// Debian's is set-user-ID: to the helper it is root, like su.
#[test]
fn vlock_unlocks_with_password_and_code() {
    vlock_asks_for_both("vlock", "vera", "root", "service=vlock");
}

/// The same program as lockers run: as its user, who can read no key and start no helper.
#[test]
fn vlock_without_privilege_unlocks_by_the_socket() {
    vlock_asks_for_both("vlock-own", "viktor", "viktor", "claimed-service=vlock");
}

/// The first code after a binding, used up ones, wrong ones, a lock: a line, and where there is nothing to say, none.
#[test]
fn a_locker_that_asks_twice_unlocks_and_says_one_line_at_most() {
    let (who, app) = Person::bound(&MACHINE, "klara");
    let tried = unlock(&who, "kde", "asks", &[&who.password, &app.good]);
    assert!(tried.unlocked(), "{tried:?}");
    let questions: Vec<_> = tried.messages.iter().filter(|(style, _)| style == "hidden" || style == "shown").collect();
    assert_eq!(questions.len(), 2, "{tried:?}");
    assert_eq!(*questions[1], ("shown".into(), CODE.into()), "{tried:?}");
    assert!(tried.said().len() <= 1, "{tried:?}");

    let tried = unlock(&who, "kde", "asks", &[&who.password, &app.good]);
    assert_eq!(
        (tried.ended.as_str(), tried.said()),
        ("AUTH_ERR", vec!["That code was used already. Wait for the next one."])
    );
    let tried = unlock(&who, "kde", "asks", &["not it", &app.good]);
    assert!(!tried.unlocked() && tried.messages.len() == 1, "{tried:?}");

    let unbound = Person::new(&MACHINE, "klaus");
    let tried = unlock(&unbound, "kde", "asks", &[&unbound.password]);
    assert!(tried.unlocked() && tried.messages.len() == 1, "{tried:?}");
    let required = Person::required(&MACHINE, "karl", "");
    let tried = unlock(&required, "kde", "asks", &[&required.password]);
    assert_eq!(
        (tried.ended.as_str(), tried.said()),
        ("AUTH_ERR", vec!["MFA is required of karl and no device is bound."])
    );
}

/// Five wrong codes: the fifth locks.
fn five_wrong_codes(who: &Person, app: &App, process: &str) {
    for n in 0..5 {
        let tried = locker_of(who.machine, process, "kde", &who.name, "asks", &[&who.password, &app.wrong()]);
        assert_eq!(tried.ended, "AUTH_ERR", "{n}: {tried:?}");
    }
}

#[test]
fn what_a_user_fails_at_the_own_locker_never_locks_ssh() {
    let (who, app) = Person::bound(&MACHINE, "lotte");
    five_wrong_codes(&who, &app, "lotte");
    let tried = unlock(&who, "kde", "asks", &[&who.password, &app.good]);
    assert_eq!(tried.ended, "MAXTRIES", "{tried:?}");
    assert!(tried.said()[0].starts_with("Too many wrong codes: locked for "), "{tried:?}");
    assert_eq!(who.state().failures, 0, "none of them is a login's");
    Door::Ssh.lets_in(&who, &app.good);
}

#[test]
fn a_lock_of_ssh_never_locks_a_user_out_of_the_own_screen() {
    let (who, app) = Person::bound(&MACHINE, "ludwig");
    // root's processes count as logins do, and are quicker.
    five_wrong_codes(&who, &app, "root");
    let mut t = Door::Ssh.up_to_the_code(&who);
    t.type_line(&app.good);
    t.wait_for("Too many wrong codes: locked for ");
    drop(t);
    let tried = unlock(&who, "kde", "asks", &[&who.password, &app.good]);
    assert!(tried.unlocked(), "{tried:?}");
}

/// It locks a bound user out, cleanly, until a rule for its service exempts it; and that rule is for lockers alone.
#[test]
fn a_locker_that_cannot_ask_twice_has_to_be_exempted_by_rule() {
    let (who, app) = Person::bound(&MACHINE, "swantje");
    let secret = "That is your login secret, not a code.";
    let nobody = "No code could be asked: use a terminal; with ssh, keyboard-interactive.";
    for (service, how, says) in
        [("swaylock", "blind", secret), ("swaylock", "aborts", nobody), ("i3lock", "blind", secret)]
    {
        let tried = unlock(&who, service, how, &[&who.password]);
        assert_eq!((tried.ended.as_str(), tried.said()), ("CONV_ERR", vec![says]), "{service} {how}: {tried:?}");
        who.logged(&["event=verify", &format!("claimed-service={service}"), "verdict=no-interaction"]);
    }
    rule(&MACHINE, "10-lockers", &uncommented(&MACHINE, "lockers"));
    for (service, how) in [("swaylock", "blind"), ("swaylock", "aborts"), ("i3lock", "blind")] {
        let tried = unlock(&who, service, how, &[&who.password]);
        assert!(tried.unlocked() && tried.messages.len() == 1, "{service} {how}: {tried:?}");
        let tried = unlock(&who, service, how, &["not it"]);
        assert_eq!(tried.ended, "AUTH_ERR", "the first factor is asked as before: {tried:?}");
    }
    who.logged(&["claimed-service=swaylock", "rule=\"10-lockers.toml:1 lockers\"", "verdict=ignored"]);
    // Who can be asked is asked.
    let tried = unlock(&who, "kde", "asks", &[&who.password, &app.wrong()]);
    assert_eq!(tried.ended, "AUTH_ERR", "{tried:?}");
    assert_eq!(who.state().failures, 0);
    Door::Ssh.lets_in(&who, &app.good);
}

/// The real one, by the stack that Debian gives it.
#[test]
fn i3lock_keeps_a_bound_user_out_until_the_rule_exempts_it() {
    static DISPLAY: LazyLock<Machine> = LazyLock::new(|| {
        let machine = common::enabled(Machine::build().debian_packages("i3lock,xvfb,xdotool").package().boot());
        machine.sh_ok("systemd-run --quiet Xvfb :7 -ac; until [ -e /tmp/.X11-unix/X7 ]; do :; done");
        machine
    });
    let (who, app) = Person::bound(&DISPLAY, "ines");
    let type_it = || DISPLAY.sh_ok(&format!("export DISPLAY=:7; xdotool type '{}'; xdotool key Return", who.password));
    // It goes into the background when it has locked.
    DISPLAY.sh_ok("setpriv --reuid=ines --regid=$(id -g ines) --init-groups env DISPLAY=:7 i3lock >/dev/null 2>&1");
    type_it();
    who.logged(&["claimed-service=i3lock", "verdict=no-interaction", "answered with the login secret"]);
    DISPLAY.sh_ok("pgrep --exact i3lock");
    rule(&DISPLAY, "10-lockers", &uncommented(&DISPLAY, "lockers"));
    type_it();
    who.logged(&["claimed-service=i3lock", "rule=\"10-lockers.toml:1 lockers\"", "verdict=ignored"]);
    DISPLAY.sh_ok("while pgrep --exact i3lock; do :; done");
    Door::Su.lets_in(&who, &app.good);
}

/// The rule of this name in the shipped mfa.toml, where it stands as a comment.
fn uncommented(machine: &Machine, name: &str) -> String {
    let shipped = machine.read("/etc/mfa/mfa.toml");
    let wanted = format!("#name = \"{name}\"");
    let lines = shipped.lines().skip_while(|line| *line != wanted).take_while(|line| line.starts_with('#'));
    lines.map(|line| format!("{}\n", &line[1..])).collect()
}

/// Neither as a locker whose stack asks for no first factor, nor with the code of whom it asks for.
#[test]
fn a_users_process_may_not_ask_for_another_user() {
    let (victim, app) = Person::bound(&MACHINE, "opfer");
    let before = victim.state();
    let other = Person::new(&MACHINE, "otto");
    for user in ["opfer", "root", "nobody-of-that-name"] {
        let tried = locker_of(&MACHINE, "otto", "open", user, "asks", &[&app.good]);
        assert_eq!((tried.ended.as_str(), tried.said()), ("AUTH_ERR", vec!["Only root may do this for another user."]));
        assert_eq!(tried.messages.len(), 1, "nothing was asked: {tried:?}");
    }
    let uid = MACHINE.sh_ok("id -u otto");
    let refused = format!("caller={} verdict=refused reason=\"not allowed: ", uid.trim());
    let line = victim.logged(&["event=verify", "claimed-service=open", &refused]);
    assert!(!line.contains(" service="), "a claim that reads as root's word: {line}");
    assert_eq!(victim.state(), before);
    assert_eq!(other.count_logged(&[]), 0);
    Door::Su.lets_in(&victim, &app.good);
}

#[test]
fn without_the_socket_lockers_say_so_and_roots_doors_go_on() {
    static WITHOUT: LazyLock<Machine> = LazyLock::new(lockers);
    let (who, app) = Person::bound(&WITHOUT, "uwe");
    policy_file(&WITHOUT, "/etc/mfa/mfa.d/10-lockers.toml", "[[rule]]\nservices = [\"swaylock\"]\nrequire = \"off\"\n");
    for trouble in [
        "systemctl stop mfa-helper.socket mfa-helper.service",
        "systemctl mask --now mfa-helper.socket mfa-helper.service",
    ] {
        WITHOUT.sh_ok(trouble);
        // Also where a rule says off: nobody is there who could know it.
        for (service, how) in [("kde", "asks"), ("swaylock", "blind")] {
            let tried = unlock(&who, service, how, &[&who.password, &app.good]);
            assert_eq!(
                (tried.ended.as_str(), tried.said()),
                ("AUTHINFO_UNAVAIL", vec!["MFA is unavailable; the system log says why."])
            );
        }
        let why = "mfa-helper is unreachable: its socket cannot be used (";
        who.log
            .wait_for(|line| line.contains("pam_mfa(kde:auth)") && line.contains(why) && line.contains("is not root"));
    }
    Door::Ssh.lets_in(&who, &app.good);
    let app = who.rebind();
    // vlock as Debian has it is one of root's.
    let mut t = locked_by_vlock(&who, "vlock");
    type_at_vlock(&who, &mut t, &app.good);
    assert_eq!(t.exit_code(), 0);
    WITHOUT.sh_ok("systemctl unmask mfa-helper.socket mfa-helper.service; systemctl start mfa-helper.socket");
    let app = who.rebind();
    assert!(unlock(&who, "kde", "asks", &[&who.password, &app.good]).unlocked());
}
