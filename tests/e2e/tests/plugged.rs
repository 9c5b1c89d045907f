//! Security keys that are plugged into this host: whom they are asked of, where, and what comes of it.
//!
//! The keys are programs (`tests/vkey`) behind the real libfido2, in the installed helper. A test has its machine alone,
//! because all that sit at one machine see the same keys.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    ops::Deref,
    sync::{Condvar, LazyLock, Mutex, PoisonError},
};

use common::{CODE, Door, Person, policy_file, rule};
use e2e::{Key, Machine, Terminal};

const TOUCH: &str = "Touch your security key.";
const RECOVERY: &str = "Verification code (a recovery code): ";
const PLUG_IN: &str = "Plug in your security key, and press Enter. Without it:";
const FOREIGN: &str = "No key that is plugged in is bound to this account: plug in yours.";

static MACHINES: [LazyLock<Machine>; 3] = [const { LazyLock::new(boot) }; 3];
static FREE: Mutex<[bool; 3]> = Mutex::new([true; 3]);
static CHANGED: Condvar = Condvar::new();

/// A container has no consoles. logind has a seat all the same, and whoever says at it that they sit there is believed;
/// `console` is where a login begins, before there is a session.
fn boot() -> Machine {
    let machine = common::enabled(Machine::build().debian_packages("python3,tmux,vlock").package().boot());
    machine.write("/usr/local/bin/at-console", "#!/bin/sh\nln -sf \"$(tty)\" /dev/console9\nexec \"$@\"\n");
    machine.write("/usr/local/bin/locker", LOCKER);
    machine.write("/etc/pam.d/kde", "@include common-auth\n@include common-account\n");
    // Refused once, it ends: what is typed before it reads again is lost.
    machine.write("/etc/sudoers.d/once", "Defaults passwd_tries=1\n");
    machine.sh_ok("chmod 755 /usr/local/bin/at-console /usr/local/bin/locker");
    machine
}

/// `locker USER`: a screen locker's conversation. What it is told is printed at once.
const LOCKER: &str = r#"#!/usr/bin/python3
import ctypes, getpass, sys
pam, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
libc.calloc.restype, libc.strdup.restype, libc.strdup.argtypes = ctypes.c_void_p, ctypes.c_void_p, [ctypes.c_char_p]
class Message(ctypes.Structure): _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]
class Response(ctypes.Structure): _fields_ = [("answer", ctypes.c_void_p), ("zero", ctypes.c_int)]
Function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)), ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
class Conversation(ctypes.Structure): _fields_ = [("function", Function), ("data", ctypes.c_void_p)]
@Function
def converse(count, messages, responses, _):
    responses[0] = libc.calloc(count, ctypes.sizeof(Response))
    answers = ctypes.cast(responses[0], ctypes.POINTER(Response))
    for n in range(count):
        style, text = messages[n].contents.style, messages[n].contents.text.decode()
        print({1: "hidden", 2: "shown", 3: "error", 4: "info"}[style], repr(text), flush=True)
        if style < 3: answers[n].answer = libc.strdup(sys.stdin.readline().rstrip("\n").encode())
    return 0
handle = ctypes.c_void_p()
assert pam.pam_start(b"kde", sys.argv[1].encode(), ctypes.byref(Conversation(converse, None)), ctypes.byref(handle)) == 0
code = pam.pam_authenticate(handle, 0)
pam.pam_end(handle, code)
print("PAM", "unlocked" if code == 0 else code)
"#;

/// A machine for one test, with keys bound by nobody.
struct Place {
    machine: &'static Machine,
    number: usize,
}

/// Waits until one is free, and gives it this policy.
fn place(policy: &str) -> Place {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let number = loop {
        match free.iter().position(|free| *free) {
            Some(number) => break number,
            None => free = CHANGED.wait(free).unwrap_or_else(PoisonError::into_inner),
        }
    };
    free[number] = false;
    drop(free);
    let place = Place { machine: &MACHINES[number], number };
    place.policy(policy);
    place
}

impl Drop for Place {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner)[self.number] = true;
        CHANGED.notify_one();
    }
}

impl Deref for Place {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        self.machine
    }
}

impl Place {
    fn policy(&self, text: &str) {
        self.sh_ok("rm -f /etc/mfa/mfa.d/*.toml");
        policy_file(self, "/etc/mfa/mfa.toml", text);
    }

    fn key(&self, seed: &str, options: &[&str]) -> Key<'static> {
        Key::plugged(self.machine, seed, options)
    }

    /// A key that is not plugged in.
    fn spare(&self, seed: &str, options: &[&str]) -> Key<'static> {
        Key::in_the_drawer(self.machine, seed, options)
    }

    /// Somebody with the keys that are plugged in bound, by root, each with its touch.
    fn bound(&self, name: &str) -> Person {
        let who = Person::new(self.machine, name);
        self.bind(&who, "");
        who
    }

    fn bind(&self, who: &Person, more: &str) {
        self.sh_ok(&format!("mfa-enroll u2f --user {} {more}", who.name));
    }

    /// Nothing is left of any conversation: no process, no zombie, no device that is open.
    #[track_caller]
    fn is_quiet(&self, keys: &[&Key]) {
        // A probe that tmux was to collect is none of ours.
        self.sh_ok(
            "for n in $(seq 100); do
                 processes=$(pgrep --list-full --exact mfa-helper || :; ps -eo stat=,comm= | grep '^Z' | grep -v ' probe$' || :)
                 [ \"$(printf '%s\\n' \"$processes\" | wc -l)\" -gt 1 ] || exit 0
                 sleep 0.1
             done
             echo \"$processes\"; exit 1",
        );
        for key in keys {
            assert_eq!(key.users(), "", "a key is still in use");
        }
    }
}

/// Sits down at the seat: a real session of logind's.
fn seat(who: &Person) -> Terminal {
    let mut t = who.machine.terminal().run(&format!("XDG_SEAT=seat0 exec runuser -l {}", who.name));
    t.wait_for("$ ");
    t.type_line("PS1=; loginctl --no-pager show-session $XDG_SESSION_ID --property=Seat --property=Remote");
    t.wait_for("Seat=seat0\n");
    t.wait_for("Remote=no\n");
    t
}

/// To the session that was at the seat first. Whoever sits down at it has the seat.
fn switch_back(machine: &Machine) {
    let sessions = "loginctl show-seat seat0 --property=Sessions --value | tr ' ' '\\n' | sort --numeric-sort";
    drop(machine.sh_ok(&format!("loginctl activate $({sessions} | head --lines=1)")));
}

/// Comes by ssh, into a shell.
fn by_ssh(who: &Person) -> Terminal {
    let mut t = Door::Ssh.knock(who);
    t.wait_for(&Door::Ssh.password_prompt(who));
    t.type_line(&who.password);
    t
}

/// To the question for a key that is not plugged in, below this line.
#[track_caller]
fn press_enter(t: &mut Terminal, line: &str) {
    t.wait_for(line);
    t.wait_for(RECOVERY);
    t.type_line("");
}

/// Calls sudo there, up to its question for what comes after the password. No ticket of an earlier one counts.
#[track_caller]
fn sudo(t: &mut Terminal, who: &Person) {
    t.type_line("sudo -k id -un; echo \"exit $?\"");
    t.wait_for(&Door::Sudo.password_prompt(who));
    t.type_line(&who.password);
}

#[track_caller]
fn is_root(t: &mut Terminal) {
    t.wait_for("root\n");
    t.wait_for("exit 0\n");
}

#[track_caller]
fn is_refused(t: &mut Terminal, line: &str) {
    t.wait_for(line);
    t.wait_for("1 incorrect password attempt");
    t.wait_for("exit 1\n");
}

/// What is wrong with the key does not take the recovery code away; nobody has one here.
#[track_caller]
fn is_no_use(t: &mut Terminal, line: &str) {
    t.wait_for(line);
    t.wait_for(RECOVERY);
    t.type_line("0000-0000-0000-0000");
    t.wait_for("That recovery code is wrong.");
    t.wait_for("exit 1\n");
}

/// The good key lets in, so what is refused next is refused for what is wrong with it.
#[track_caller]
fn lets_in(t: &mut Terminal, who: &Person) {
    sudo(t, who);
    t.wait_for(TOUCH);
    is_root(t);
}

#[test]
fn the_touch_is_asked_on_the_screen_before_it_is_waited_for() {
    let place = place("# nothing\n");
    for (n, kind) in [&[][..], &["--u2f-only"], &["--fido2-only", "--ctap20"]].into_iter().enumerate() {
        let key = place.key(&format!("key {n}"), kind);
        let who = place.bound(&format!("anna{n}"));
        key.tell("touch wait");
        let mut t = seat(&who);

        // sudo sets PAM_SILENT.
        let before = key.count("touches");
        sudo(&mut t, &who);
        t.wait_for(TOUCH);
        key.tell("await touch");
        assert_ne!(key.users(), "", "{kind:?}");
        // What a program of the desktop may watch: the service can make it.
        let file = format!("/run/mfa/touch/$(id --user {})", who.name);
        let shown = place.sh_ok(&format!("stat --format '%U %G %a' {file}; ls -l /proc/[0-9]*/fd | grep -c {file}"));
        assert_eq!(shown, format!("root {} 640\n1\n", who.name), "{kind:?}");
        // By a watch on the folder everybody could see whose touch is waited for.
        let others = place.sh("setpriv --reuid=65534 --clear-groups ls /run/mfa/touch");
        assert!(others.code != 0 && others.stderr.contains("Permission denied"), "{kind:?}: {others}");
        key.tell("touch");
        is_root(&mut t);
        assert_eq!(key.count("touches"), before + 1, "one touch: {kind:?}");
        who.logged(&["event=verify", "service=sudo", "factor=u2f", "verdict=accepted", "reason=\"key "]);
        place.is_quiet(&[&key]);
    }
}

/// The helper that a root program starts itself is as good.
#[test]
fn without_the_service_the_touch_is_asked_all_the_same() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("agnes");
    let mut t = seat(&who);
    place.sh_ok("systemctl stop mfa-helper.socket mfa-helper.service");
    lets_in(&mut t, &who);
    key.tell("touch deny");
    sudo(&mut t, &who);
    is_refused(&mut t, "The security key has refused.");
    place.is_quiet(&[&key]);
    place.sh_ok("systemctl start mfa-helper.socket");
}

/// su writes what PAM tells to its standard output, which may be a file.
#[test]
fn su_asks_for_the_touch_on_the_screen_and_never_in_the_file() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("susi");
    lets_in(&mut seat(&who), &who);
    key.tell("touch wait");
    let mut t = seat(&who);
    t.type_line("su susi -c 'id -un' >out; echo \"exit $?\"");
    t.wait_for(&Door::Su.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(TOUCH);
    key.tell("await touch");
    key.tell("touch");
    t.wait_for("exit 0\n");
    assert_eq!(place.read("/home/susi/out"), "susi\n");
    who.logged(&["service=su ", "factor=u2f", "verdict=accepted"]);
    place.is_quiet(&[&key]);
}

/// login(1) at a terminal that the policy calls this host's own, and at any other.
#[test]
fn login_asks_for_the_touch_at_a_console_and_for_a_code_elsewhere() {
    let place = place("[u2f]\nconsoles = [\"console9\"]\n");
    let key = place.key("one", &[]);
    let who = place.bound("konrad");
    key.tell("touch wait");
    let mut t = place.terminal().run("exec at-console login konrad");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("This device was bound ");
    t.wait_for(TOUCH);
    key.tell("await touch");
    key.tell("touch");
    Door::Login.is_open(&who, &mut t);
    who.logged(&["service=login", "factor=u2f", "verdict=accepted"]);

    let silent = key.count("silent");
    let mut t = place.terminal().run("exec login konrad");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("Your security key cannot be asked from here.");
    t.wait_for(RECOVERY);
    drop(t);
    assert_eq!(key.count("silent"), silent, "the key was asked what it holds");
    place.is_quiet(&[&key]);
}

/// It runs as its user and speaks with the service: one line, and a lock with no room for more.
#[test]
fn a_screen_locker_shows_one_line_and_waits_for_the_touch() {
    let place = place("[u2f]\ntimeout = \"5s\"\n");
    let key = place.key("one", &[]);
    let who = place.bound("lore");
    let mut t = seat(&who);
    for (mode, says, ends) in [
        ("wait", "info 'Touch your security key.'\n", "PAM unlocked\n"),
        ("deny", "error 'The security key has refused.'\n", "PAM 7\n"),
    ] {
        key.tell(&format!("touch {mode}"));
        t.type_line("locker lore");
        t.wait_for("hidden 'Password: '\n");
        t.type_line(&who.password);
        t.wait_for(says);
        if mode == "wait" {
            key.tell("await touch");
            key.tell("touch");
        }
        let rest = t.wait_for(ends);
        assert_eq!(rest, ends, "more than a line");
    }
    key.unplug();
    t.type_line("locker lore");
    t.wait_for("hidden 'Password: '\n");
    t.type_line(&who.password);
    t.wait_for("shown 'Verification code (a recovery code): '\n");
    t.type_line("");
    t.wait_for("PAM 19\n");
    who.logged(&["claimed-service=kde", "factor=u2f", "verdict=accepted"]);
    place.is_quiet(&[]);
}

/// The real one, which is root's.
#[test]
fn vlock_shows_the_line_and_waits_for_the_touch() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("vera");
    key.tell("touch wait");
    let mut t = seat(&who);
    // What comes between its question and its reading it throws away.
    let answer = |t: &mut Terminal, line: &str| {
        place.sh_ok(
            "until p=$(pgrep -U vera '^vlock-'); do :; done; until grep -q 'State:.S' /proc/$p/status; do :; done",
        );
        t.type_line(line);
    };
    t.type_line("vlock; echo \"exit $?\"");
    t.wait_for("Please press [ENTER] to unlock.");
    answer(&mut t, "");
    t.wait_for("vera's Password: ");
    answer(&mut t, &who.password);
    t.wait_for(TOUCH);
    key.tell("await touch");
    key.tell("touch");
    t.wait_for("exit 0\n");
    who.logged(&["service=vlock", "factor=u2f", "verdict=accepted"]);
    place.is_quiet(&[&key]);
}

#[test]
fn a_user_binds_a_key_at_the_seat_by_first_factor_and_touch() {
    let place = place("# nothing\n");
    let who = Person::new(place.machine, "ulla");
    let mut away = place.terminal().user("ulla").run("mfa-enroll u2f; echo \"exit $?\"");
    away.wait_for("Password: ");
    away.type_line(&who.password);
    away.wait_for("A key is bound where it is plugged in, at this machine's own console.");
    away.wait_for("exit 1\n");

    let key = place.spare("one", &["--pin", "1234"]);
    key.tell("pin none");
    let mut t = seat(&who);
    t.type_line("mfa-enroll u2f --label blue; echo \"exit $?\"");
    t.wait_for("Password: ");
    t.type_line("not it");
    t.wait_for("That does not prove who you are.");
    t.wait_for("exit 1\n");
    t.type_line("mfa-enroll u2f --label blue; echo \"exit $?\"");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("Plug in the key that is to be bound, and touch it when it blinks.");
    key.tell("touch wait");
    key.plug();
    t.wait_for(TOUCH);
    key.tell("await touch");
    assert!(who.status()["kind"].is_null(), "bound before the touch");
    key.tell("touch");
    t.wait_for("Type ok when you have written them down: ");
    let codes = codes_on(&t);
    assert_eq!(codes.len(), 10, "{}", t.screen());
    codes.iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("The security key of ulla is bound. From the next login on it is asked.");
    t.wait_for("exit 0\n");

    let status = who.status();
    assert_eq!((status["kind"].as_str(), status["recovery_codes_left"].as_u64()), (Some("u2f"), Some(10)), "{status}");
    assert_eq!(status["devices"][0]["label"], "blue");
    assert_eq!(status["devices"][0]["created_from"], "ulla");
    let list = place.sh_ok("mfa-enroll list --json");
    assert!(list.contains("\"kind\":\"u2f\"") || list.contains("\"kind\": \"u2f\""), "{list}");
    let id = status["devices"][0]["id"].as_str().expect("an id").to_owned();

    key.tell("touch auto");
    sudo(&mut t, &who);
    t.wait_for("This device was bound ");
    t.wait_for(TOUCH);
    is_root(&mut t);
    who.logged(&["event=verify", "factor=u2f", &format!("reason=\"key {id}\"")]);
    assert!(who.status()["devices"][0]["last_used"].is_string(), "{}", who.status());
    place.is_quiet(&[&key]);
}

/// Wherever root is: whoever has the key is told by root to touch it.
#[test]
fn root_binds_a_key_for_somebody_and_is_shown_the_codes() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = Person::new(place.machine, "bodo");
    key.tell("fault bad-signature");
    let tried = place.sh("mfa-enroll u2f --user bodo");
    assert!(tried.code == 1 && tried.stderr.contains("Nothing was bound."), "{tried}");
    assert!(!who.has_record());
    key.tell("fault none");

    let mut t = place.terminal().run("mfa-enroll u2f --user bodo; echo \"exit $?\"");
    t.wait_for(TOUCH);
    t.wait_for("Type ok when you have written them down: ");
    let codes = codes_on(&t);
    assert_eq!(codes.len(), 10, "{}", t.screen());
    codes.iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("The security key of bodo is bound.");
    t.wait_for("exit 0\n");
    who.logged(&["event=u2f", "caller=0", "verdict=accepted", "reason=bound"]);
    assert_eq!(who.status()["devices"][0]["created_from"], "root");
    lets_in(&mut seat(&who), &who);
}

/// The recovery codes among all that was printed.
fn codes_on(t: &Terminal) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 19 && word.split('-').all(|part| part.len() == 4);
    let mut codes: Vec<String> = t.text().split_whitespace().filter(is_code).map(str::to_owned).collect();
    codes.dedup();
    codes
}

/// A set of recovery codes, made by root.
fn recovery_codes(who: &Person) -> Vec<String> {
    let json = who.machine.sh_ok(&format!("mfa-enroll recovery-codes --user {} --json", who.name));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let codes = json["recovery_codes"].as_array().expect("codes").iter();
    let codes: Vec<String> = codes.map(|code| code.as_str().expect("text").to_owned()).collect();
    codes.iter().for_each(|code| who.keep_secret(code));
    codes
}

const NOT_GOOD: &str = "The answer of the security key is not good.";
const TOO_LATE: &str = "The security key was not touched in time.";
const UNUSABLE: &str = "This security key cannot be used; the system log says why.";

/// Each by sudo, at the seat, and each after the same key has let in.
#[test]
fn whatever_is_wrong_with_the_touch_is_refused_and_named() {
    let place = place("[u2f]\ntimeout = \"5s\"\n");
    let key = place.key("one", &[]);
    let who = place.bound("frida");
    let mut t = seat(&who);
    for (wrong, line, reason) in [
        ("touch deny", "The security key has refused.", "refused"),
        ("touch wait", TOO_LATE, "not touched in time"),
        ("fault bad-signature", NOT_GOOD, "signature"),
        ("fault replay", NOT_GOOD, "signature"),
        ("fault wrong-rpid", NOT_GOOD, "relying party"),
        ("fault no-up", "The security key was not touched.", "touch"),
        ("fault garbage", TOO_LATE, "not touched in time"),
        ("fault hang", TOO_LATE, "not touched in time"),
        ("fault keepalive", TOO_LATE, "not touched in time"),
        ("fault bad-cbor", UNUSABLE, "misbehaves"),
        ("fault error-frame", UNUSABLE, "misbehaves"),
    ] {
        lets_in(&mut t, &who);
        let log = place.journal_from_here();
        key.tell(wrong);
        sudo(&mut t, &who);
        if line == UNUSABLE {
            is_no_use(&mut t, line)
        } else {
            is_refused(&mut t, line)
        }
        log.wait_for(|line| {
            line.contains("event=verify user=frida") && line.contains("verdict=refused") && line.contains(reason)
        });
        place.is_quiet(&[&key]);
        key.tell("fault none");
        key.tell("touch auto");
    }
    lets_in(&mut t, &who);
}

#[test]
fn a_counter_that_goes_back_is_an_alarm() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("carla");
    let mut t = seat(&who);
    key.tell("counter 100");
    lets_in(&mut t, &who);
    for back in ["counter 100", "counter 7"] {
        key.tell(back);
        sudo(&mut t, &who);
        is_no_use(&mut t, "The counter of this key went back: it may have been copied.");
    }
    who.logged(&["event=verify", "verdict=refused", "sign counter went back from "]);
    key.tell("counter 101");
    lets_in(&mut t, &who);
}

#[test]
fn a_key_that_is_pulled_out_at_the_touch_ends_the_login_and_one_that_is_plugged_in_late_is_asked() {
    let place = place("# nothing\n");
    let (key, others) = (place.key("one", &[]), place.spare("two", &[]));
    let who = place.bound("paula");
    key.unplug();
    others.plug();
    let other = place.bound("peter");
    others.unplug();

    let mut t = seat(&who);
    sudo(&mut t, &who);
    t.wait_for(PLUG_IN);
    // That of another user.
    others.plug();
    t.wait_for(RECOVERY);
    t.type_line("");
    t.wait_for(FOREIGN);
    key.plug();
    press_enter(&mut t, PLUG_IN);
    t.wait_for(TOUCH);
    is_root(&mut t);
    assert_eq!(others.count("touches"), 1, "its own binding");
    place.is_quiet(&[&key, &others]);

    others.unplug();
    key.tell("touch wait");
    sudo(&mut t, &who);
    t.wait_for(TOUCH);
    key.tell("await touch");
    key.unplug();
    is_refused(&mut t, "The security key was pulled out.");
    place.is_quiet(&[]);
    key.tell("touch auto");
    key.plug();
    lets_in(&mut t, &who);
    drop(other);
}

#[test]
fn who_has_no_key_at_hand_gives_a_recovery_code_once() {
    let place = place("[u2f]\ntimeout = \"5s\"\n");
    let key = place.key("one", &[]);
    let who = place.bound("rosi");
    let codes = recovery_codes(&who);
    let mut t = seat(&who);
    lets_in(&mut t, &who);
    key.unplug();
    for (first, line) in [(true, ""), (false, "That recovery code was used already.")] {
        sudo(&mut t, &who);
        // In place of the key, or after Enter.
        if !first {
            press_enter(&mut t, PLUG_IN);
            t.wait_for("No security key was plugged in.");
        }
        t.wait_for(RECOVERY);
        t.type_line(&codes[3]);
        if !first {
            t.wait_for(line);
            t.wait_for(RECOVERY);
            t.type_line(&codes[3]);
        }
        if first { is_root(&mut t) } else { is_refused(&mut t, line) }
    }
    // A stranger's key is no key.
    let foreign = place.key("two", &[]);
    sudo(&mut t, &who);
    press_enter(&mut t, FOREIGN);
    t.wait_for("None of the keys that are plugged in is bound to this account.");
    t.wait_for(RECOVERY);
    t.type_line(&codes[4]);
    is_root(&mut t);
    assert_eq!(foreign.count("touches"), 0);
    assert_eq!(who.status()["recovery_codes_left"], 8);
    who.logged(&["factor=recovery-code", "verdict=accepted"]);
}

#[test]
fn ctrl_c_at_sudo_gives_the_prompt_back_and_lets_go_of_the_key() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("cilly");
    let mut t = seat(&who);
    lets_in(&mut t, &who);
    key.tell("touch wait");
    sudo(&mut t, &who);
    t.wait_for(TOUCH);
    key.tell("await touch");
    t.send("\x03");
    t.wait_for("exit 1");
    place.is_quiet(&[&key]);
    key.tell("touch auto");
    lets_in(&mut t, &who);
}

const FEW_TRIES: &str = "Only 3 tries are left for the PIN of this key: no login uses them.";

/// Binds the key that is plugged in, at the seat, whatever PIN it wants; the codes are kept from the journal.
#[track_caller]
fn bind_at_the_seat(t: &mut Terminal, who: &Person, pin: &str) {
    t.type_line("mfa-enroll u2f; echo \"exit $?\"");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("PIN of the key (8 tries are left): ");
    assert!(!t.echoes(), "the PIN is shown");
    t.type_line(pin);
    t.wait_for(TOUCH);
    t.wait_for("Type ok when you have written them down: ");
    codes_on(t).iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("exit 0\n");
}

#[test]
fn the_pin_of_a_key_is_asked_hidden_and_demanded_from_then_on() {
    let place = place("# nothing\n");
    let key = place.key("one", &["--pin", "tulip-7"]);
    let who = Person::new(place.machine, "pia");
    who.keep_secret("tulip-7");
    let mut t = seat(&who);
    bind_at_the_seat(&mut t, &who, "tulip-7");
    let pin = |t: &mut Terminal, left: &str, pin: &str| {
        sudo(t, &who);
        t.wait_for(&format!("PIN of the key ({left} left): "));
        t.type_line(pin);
    };
    let right = |t: &mut Terminal| {
        pin(t, "8 tries are", "tulip-7");
        t.wait_for(TOUCH);
        is_root(t);
    };
    right(&mut t);
    pin(&mut t, "8 tries are", "99999");
    is_refused(&mut t, "The PIN was wrong; 7 tries are left.");
    assert_eq!(key.tell("retries"), "7", "one try for one answer");
    pin(&mut t, "7 tries are", "tulip-7");
    t.wait_for(TOUCH);
    is_root(&mut t);

    // It says that it has checked, and signs that it has not.
    key.tell("fault no-uv");
    pin(&mut t, "8 tries are", "tulip-7");
    is_refused(&mut t, "The security key has checked neither a PIN nor a fingerprint.");
    key.tell("fault none");
    right(&mut t);

    // The last tries are for its owner.
    key.tell("retries 3");
    sudo(&mut t, &who);
    is_no_use(&mut t, FEW_TRIES);
    assert_eq!(key.tell("retries"), "3");
    t.type_line("mfa-enroll test; echo \"exit $?\"");
    t.wait_for("PIN of the key (3 tries are left): ");
    t.type_line("tulip-7");
    t.wait_for(TOUCH);
    t.wait_for("exit 0\n");
    assert_eq!(key.tell("retries"), "8");
    right(&mut t);

    // Whoever takes the key and resets its PIN has another key; whoever finds it without one has no way around it.
    key.tell("pin none");
    sudo(&mut t, &who);
    is_no_use(&mut t, "This key has no PIN, and one is needed: set it, or use another key.");
    key.tell("pin tulip-7");
    right(&mut t);
    place.is_quiet(&[&key]);
}

#[test]
fn a_pin_that_was_set_after_the_binding_is_asked_and_one_that_is_required_has_to_be_there() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("paul");
    let mut t = seat(&who);
    lets_in(&mut t, &who);
    place.policy("[u2f]\npin = \"require\"\n");
    sudo(&mut t, &who);
    is_no_use(&mut t, "This key has no PIN, and one is needed: set it, or use another key.");
    key.tell("pin 52525");
    for policy in ["[u2f]\npin = \"require\"\n", "# nothing\n"] {
        place.policy(policy);
        sudo(&mut t, &who);
        t.wait_for("PIN of the key (8 tries are left): ");
        t.type_line("52525");
        t.wait_for(TOUCH);
        is_root(&mut t);
    }
    place.policy("[u2f]\npin = \"never\"\n");
    lets_in(&mut t, &who);
    assert!(!t.text().contains("52525"), "{}", t.screen());
}

#[test]
fn of_ten_bound_keys_two_are_plugged_in_and_one_is_touched() {
    let place = place("# nothing\n");
    let who = Person::new(place.machine, "zehra");
    let mut keys = Vec::new();
    for n in 0..10 {
        let key = place.key(&format!("key {n}"), &[]);
        place.bind(&who, &format!("--label key-{n}"));
        key.unplug();
        keys.push(key);
    }
    assert_eq!(who.status()["devices"].as_array().map(Vec::len), Some(10));
    let mut t = seat(&who);
    let two = [&keys[3], &keys[7]];
    for key in two {
        key.tell("touch wait");
        key.plug();
    }
    sudo(&mut t, &who);
    t.wait_for(TOUCH);
    two.iter().for_each(|key| drop(key.tell("await touch")));
    let touches = two.map(|key| key.count("touches"));
    two[1].tell("touch");
    let rest = t.wait_for("root\n");
    assert!(!rest.contains("key"), "asked again: {rest}");
    t.wait_for("exit 0\n");
    assert_eq!(two.map(|key| key.count("touches")), touches, "asked again");
    let id = who.status()["devices"]
        .as_array()
        .expect("ten")
        .iter()
        .find(|key| key["label"] == "key-7")
        .expect("bound")["id"]
        .clone();
    who.logged(&["event=verify", "verdict=accepted", &format!("reason=\"key {}\"", id.as_str().expect("an id"))]);
    place.is_quiet(&two);
}

/// Every change takes the first factor and a key that is bound.
#[test]
fn a_spare_key_is_bound_and_unbound_and_the_last_one_stays_where_it_is_required() {
    let place = place("# nothing\n");
    let (first, spare) = (place.key("one", &[]), place.spare("two", &[]));
    let who = place.bound("sven");
    let mut t = seat(&who);
    let begin = |t: &mut Terminal, verb: &str| {
        t.type_line(&format!("mfa-enroll {verb}; echo \"exit $?\""));
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t.wait_for(TOUCH);
    };
    // The key that proves it is no spare of itself.
    begin(&mut t, "u2f --label spare");
    t.wait_for("This key is bound already.");
    t.wait_for("exit 1\n");
    assert_eq!(who.status()["devices"].as_array().map(Vec::len), Some(1));

    // What is bound in one second is bound at once.
    place.sh_ok("second=$(date +%s); until [ $(date +%s) -gt $second ]; do :; done");
    begin_with_the_other(&mut t, &who, &first, &spare);
    t.wait_for("The security key is bound: any one of your 2 is enough.");
    t.wait_for("exit 0\n");
    let ids = |who: &Person| -> Vec<String> {
        let status = who.status();
        let devices = status["devices"].as_array().expect("a list").iter();
        devices.map(|key| key["id"].as_str().expect("an id").to_owned()).collect()
    };
    let two = ids(&who);
    assert_eq!(two.len(), 2);

    // Either of them, by itself; and the login says what has changed.
    first.unplug();
    sudo(&mut t, &who);
    t.wait_for("A security key was added ");
    t.wait_for(TOUCH);
    is_root(&mut t);
    spare.unplug();
    first.plug();
    lets_in(&mut t, &who);

    begin(&mut t, &format!("disable --device {}", two[1]));
    t.wait_for("The security key is unbound. One is left.");
    t.wait_for("exit 0\n");
    assert_eq!(ids(&who), two[..1]);
    first.unplug();
    spare.plug();
    sudo(&mut t, &who);
    t.wait_for(FOREIGN);
    first.plug();
    press_enter(&mut t, PLUG_IN);
    t.wait_for(TOUCH);
    is_root(&mut t);

    rule(&place, "50-sven", "users = [\"sven\"]\nrequire = \"mfa\"");
    t.type_line(&format!("mfa-enroll disable --device {}; echo \"exit $?\"", two[0]));
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("This is the last key, and MFA is required of sven.");
    t.wait_for("exit 1\n");
    assert_eq!(ids(&who), two[..1]);
    lets_in(&mut t, &who);
}

/// Proves by `first`, and binds `spare`.
#[track_caller]
fn begin_with_the_other(t: &mut Terminal, who: &Person, first: &Key, spare: &Key) {
    first.tell("touch wait");
    t.type_line("mfa-enroll u2f --label spare; echo \"exit $?\"");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for(TOUCH);
    first.tell("await touch");
    // It will be the only one that is not bound.
    spare.plug();
    first.tell("touch");
    t.wait_for(TOUCH);
    first.tell("touch auto");
}

#[test]
fn a_user_has_one_kind_and_changes_it_by_replacing() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    // An app first.
    let (who, app) = Person::bound(place.machine, "kim");
    let begin = |t: &mut Terminal, verb: &str| {
        t.type_line(&format!("mfa-enroll {verb}; echo \"exit $?\""));
        t.wait_for("Password: ");
        t.type_line(&who.password);
    };
    let mut t = seat(&who);
    begin(&mut t, "u2f");
    t.wait_for("exit 4\n");
    assert_eq!((who.status()["kind"].as_str(), key.count("touches")), (Some("totp"), 0));
    begin(&mut t, "replace u2f --label \"the blue one\"");
    t.wait_for(CODE);
    t.type_line(&app.good);
    t.wait_for(TOUCH);
    t.wait_for("Type ok when you have written them down: ");
    codes_on(&t).iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("What was bound before, and its recovery codes, are void.");
    t.wait_for("exit 0\n");
    let status = who.status();
    assert_eq!((status["kind"].as_str(), status["devices"][0]["label"].as_str()), (Some("u2f"), Some("the blue one")));
    lets_in(&mut t, &who);

    // And back.
    begin(&mut t, "totp");
    t.wait_for("exit 4\n");
    begin(&mut t, "replace totp --key-only");
    t.wait_for(TOUCH);
    t.wait_for("First verification code (");
    let text = t.screen().text();
    let (_, shown) = text.rsplit_once("  key ").unwrap_or_else(|| panic!("no key:\n{text}"));
    let is_group = |word: &&str| word.len() == 4 && word.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    let new: String = shown.split_whitespace().take_while(is_group).collect();
    who.keep_secret(&new);
    // Until it is confirmed, the key lets in.
    lets_in(&mut seat(&who), &who);
    switch_back(&place);
    let codes = e2e::oath::Codes::now(&new);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code (");
    t.type_line(&codes.present);
    t.wait_for("Type ok when you have written them down: ");
    codes_on(&t).iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    t.wait_for("exit 0\n");
    assert_eq!(who.status()["kind"], "totp");
    let touches = key.count("touches");
    sudo(&mut t, &who);
    t.wait_for(CODE);
    t.type_line(&codes.next);
    is_root(&mut t);
    assert_eq!(key.count("touches"), touches, "the key never again");
    place.is_quiet(&[&key]);
}

/// Required, and nothing bound: at the seat either kind, from elsewhere what can be bound from there.
#[test]
fn who_is_required_binds_a_key_inside_the_login_at_the_seat() {
    let place = place("[u2f]\nconsoles = [\"console9\"]\n");
    let key = place.key("one", &[]);
    for (name, door) in [("rita", Door::Sudo), ("ralf", Door::Su), ("rike", Door::Login)] {
        let who = Person::required(place.machine, name, "services = [\"sudo\", \"su\", \"login\"]");
        key.tell("touch wait");
        let mut t = match door {
            Door::Login => place.terminal().run(&format!("exec at-console login {name}")),
            _ => seat(&who),
        };
        match door {
            Door::Sudo => sudo(&mut t, &who),
            Door::Login => {
                t.wait_for(&door.password_prompt(&who));
                t.type_line(&who.password);
            }
            _ => {
                t.type_line(&format!("su {name} -c 'id -un; echo \"exit $?\"'"));
                t.wait_for(&door.password_prompt(&who));
                t.type_line(&who.password);
            }
        }
        t.wait_for("MFA is required. What do you bind?");
        t.wait_for("Type its name: ");
        t.type_line("key");
        t.wait_for(TOUCH);
        key.tell("await touch");
        key.tell("touch");
        t.wait_for(common::WRITTEN);
        let codes = codes_on(&t);
        assert_eq!(codes.len(), 10, "{}", t.screen());
        codes.iter().for_each(|code| who.keep_secret(code));
        t.type_line("ok");
        t.wait_for(if door == Door::Login { "$ " } else { "exit 0\n" });
        assert_eq!(who.status()["kind"], "u2f");
        assert!(who.status()["devices"][0]["created_from"].as_str().is_some_and(|from| from.contains("pts/")));
        who.logged(&["event=account", "factor=u2f", "verdict=accepted", "bound inside the login"]);
        key.tell("touch auto");
        lets_in(&mut seat(&who), &who);
    }

    // A key only: from afar there is no way, and the refusal names one.
    let who = Person::required(place.machine, "rolf", "services = [\"sudo\", \"sshd\"]\nkinds = [\"u2f\"]");
    let mut t = by_ssh(&who);
    t.wait_for("Only a security key may be bound: log in at this machine's own console.");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    drop(t);
    assert!(!who.has_record());
    let mut t = seat(&who);
    sudo(&mut t, &who);
    let asked = t.wait_for(TOUCH);
    assert!(!asked.contains("What do you bind?"), "{asked}");
    t.wait_for(common::WRITTEN);
    codes_on(&t).iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    is_root(&mut t);
    place.is_quiet(&[&key]);
}

/// Rows of docs/place.md. Where the key is not asked, it is not even looked at.
#[test]
fn a_key_is_asked_where_the_person_is() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("otto");
    place.write("/home/otto/pw", format!("{}\n", who.password));
    // Calls sudo without a person: says in a file what it asked for.
    place.write(
        "/usr/local/bin/probe",
        "#!/bin/sh\nsudo -S -k id -un <\"$HOME/pw\" >\"$HOME/$1.new\" 2>&1; mv \"$HOME/$1.new\" \"$HOME/$1\"\n",
    );
    place.sh_ok("chmod 755 /usr/local/bin/probe; chown otto /home/otto/pw; chmod 600 /home/otto/pw");
    let silent = std::cell::Cell::new(0);
    let here = |name: &str, local: bool| {
        place.sh_ok(&format!("for n in $(seq 100); do [ ! -e /home/otto/{name} ] || exit 0; sleep 0.1; done; exit 1"));
        let said = place.read(&format!("/home/otto/{name}"));
        let before = silent.replace(key.count("silent"));
        if local {
            assert!(said.contains(TOUCH) && said.contains("root\n"), "{name}: {said}");
        } else {
            assert!(
                said.contains("Your security key cannot be asked from here.") && said.contains(RECOVERY),
                "{name}: {said}"
            );
            assert!(!said.contains(TOUCH) && silent.get() == before, "{name}: {said}");
        }
    };
    let tmux = |session: &str, name: &str| {
        drop(place.sh_ok(&format!("runuser -u otto -- tmux -L {session} new-window 'probe {name}'")));
    };

    // At the seat, and in tmux that was started there; in a shell of another program's.
    let mut t = seat(&who);
    t.type_line("probe seat");
    here("seat", true);
    t.type_line("python3 -c 'import os; os.system(\"probe within\")'");
    here("within", true);
    t.type_line("tmux -L seat new-session -d; echo it\"\"runs");
    t.wait_for("itruns\n");
    tmux("seat", "tmux-of-the-seat");
    here("tmux-of-the-seat", true);
    t.type_line("systemd-run --user --quiet /usr/local/bin/probe manager");
    here("manager", true);

    // Somebody else sits down, and goes again.
    let guest = Person::new(place.machine, "gast");
    let other = seat(&guest);
    t.type_line("probe switched-away");
    here("switched-away", false);
    tmux("seat", "tmux-of-a-seat-that-is-switched-away");
    here("tmux-of-a-seat-that-is-switched-away", false);
    switch_back(&place);
    t.type_line("probe switched-back");
    here("switched-back", true);
    drop(other);

    // By ssh: the login itself, sudo in it, with a display that is said to be the seat's; and tmux.
    let codes = recovery_codes(&who);
    let mut away = by_ssh(&who);
    away.wait_for("Your security key cannot be asked from here.");
    away.wait_for(RECOVERY);
    away.type_line(&codes[0]);
    away.wait_for("$ ");
    away.type_line(
        "PS1=; probe ssh; DISPLAY=:0 XDG_SEAT=seat0 probe display; tmux -L ssh new-session -d; echo it\"\"runs",
    );
    away.wait_for("itruns\n");
    here("ssh", false);
    here("display", false);
    t.type_line("systemd-run --user --quiet /usr/local/bin/probe manager-of-both");
    here("manager-of-both", false);
    tmux("ssh", "tmux-of-ssh");
    here("tmux-of-ssh", false);
    // Shown at the seat it stays what it is.
    t.type_line("tmux -L ssh attach");
    place.sh_ok("for n in $(seq 100); do [ -z \"$(runuser -u otto -- tmux -L ssh list-clients)\" ] || exit 0; sleep 0.1; done; exit 1");
    tmux("ssh", "tmux-of-ssh-shown-at-the-seat");
    here("tmux-of-ssh-shown-at-the-seat", false);
    place
        .sh_ok("runuser -u otto -- tmux -L ssh detach-client -a -s 0 || :; runuser -u otto -- tmux -L ssh kill-server");
    drop(away);

    // From the seat to the seat, by ssh.
    t.type_line("echo; ssh -o PreferredAuthentications=keyboard-interactive localhost");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(RECOVERY);
    t.type_line(&codes[1]);
    t.wait_for("$ ");
    t.type_line("probe localhost; exit");
    here("localhost", false);

    // A session without a seat, as that of a VNC server; and root's programs in none at all.
    let mut none = place.terminal().run("exec runuser -l otto");
    none.wait_for("$ ");
    none.type_line("probe seatless");
    here("seatless", false);
    let greeter =
        place.sh_ok(&format!("printf '%s\\n' '{}' '' | systemd-run --quiet --pipe --wait locker otto", who.password));
    assert!(greeter.contains(RECOVERY) && !greeter.contains(TOUCH), "{greeter}");

    // tmux goes on when its seat is left.
    t.type_line("exit");
    t.exit_code();
    drop(t);
    place.sh_ok(
        "for n in $(seq 100); do ! grep --quiet --no-messages --devices=skip STATE=closing /run/systemd/sessions/[0-9c]* || exit 0; sleep 0.1; done
         for file in /run/systemd/sessions/*; do echo $file; [ -p $file ] || cat $file; done; ps axf -o pid,user,cgroup,cmd; exit 1",
    );
    tmux("seat", "tmux-of-a-seat-that-is-left");
    here("tmux-of-a-seat-that-is-left", false);
    assert_eq!(who.count_logged(&["event=verify", "verdict=accepted", "factor=u2f"]), 5);
    place.is_quiet(&[&key]);
}

/// A key is bound to a name, and keeps it.
#[test]
fn a_host_that_is_renamed_knows_its_keys() {
    let place = place("# nothing\n");
    let key = place.key("one", &[]);
    let who = place.bound("renate");
    let relying = |who: &Person| {
        let credentials = place.read(&format!("/var/lib/mfa/users/{}/credentials", who.name));
        credentials.split_whitespace().filter(|word| word.starts_with("pam://")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(relying(&who), ["pam://web1"]);
    let mut t = seat(&who);
    place.sh_ok("echo '127.0.0.1 web2' >>/etc/hosts; hostname web2");
    lets_in(&mut t, &who);
    place.sh_ok("hostname web1");

    place.policy("[u2f]\nrp_id = \"pam://fleet\"\n");
    lets_in(&mut t, &who);
    let new = place.bound("reiner");
    assert_eq!(relying(&new), ["pam://fleet"]);
    place.policy("# nothing\n");
    lets_in(&mut seat(&new), &new);
    place.is_quiet(&[&key]);
}

/// What a person at a key sees, in this order and nothing else, and does.
#[derive(Clone, Copy)]
enum Step {
    Reads(&'static str),
    Types(&'static str),
    Touches,
    /// Something else is done to the key.
    Tells(&'static str),
}
use Step::{Reads, Tells, Touches, Types};

/// A key that is not like others, with what is said of it at a binding and at each login.
struct Kind {
    name: &'static str,
    options: &'static [&'static str],
    /// What it is told before it is bound, and before each login.
    told: [&'static str; 2],
    binding: &'static [Step],
    login: &'static [Step],
    /// The login goes on by a recovery code.
    by_code: bool,
}

const PIN: Step = Reads("PIN of the key (8 tries are left): ");
const PLUG_IN_OR_TOUCH: &str = "Plug in your security key, and touch it when it blinks.";
const A_TOUCH: &[Step] = &[Reads(TOUCH), Touches];
const A_PIN: &[Step] = &[PIN, Types("1234"), Reads(TOUCH), Touches];
const A_BUSY_ONE: &[Step] =
    &[Reads("Your security key is in use by another program: waiting for it."), Reads(TOUCH), Touches];
const A_LOCKED_ONE: &[Step] = &[
    Reads("Your security key is locked: unlock it, and leave it plugged in."),
    Tells("unlocked"),
    Reads(TOUCH),
    Touches,
];
const A_FINGER: &[Step] = &[
    Reads(TOUCH),
    Touches,
    Reads("The key did not know this finger: type its PIN."),
    PIN,
    Types("1234"),
    Reads(TOUCH),
    Touches,
];

const KINDS: [Kind; 9] = [
    Kind {
        name: "slow",
        options: &[],
        told: ["slow 2500"; 2],
        binding: &[Reads("Your security key takes long to answer: leave it plugged in."), Reads(TOUCH), Touches],
        login: &[Reads("Your security key takes long to answer: leave it plugged in."), Reads(TOUCH), Touches],
        by_code: false,
    },
    Kind { name: "busy", options: &[], told: ["busy 4000"; 2], binding: A_BUSY_ONE, login: A_BUSY_ONE, by_code: false },
    Kind {
        name: "locked",
        options: &[],
        told: ["locked"; 2],
        // Nothing is asked of it before the touch, so it cannot be told from one that waits for that.
        binding: &[Reads(TOUCH), Tells("unlocked"), Touches],
        login: A_LOCKED_ONE,
        by_code: false,
    },
    Kind {
        name: "forced",
        options: &["--pin", "1234"],
        told: ["touch wait", "force-pin"],
        binding: A_PIN,
        login: &[Reads("The PIN of this key must be changed first: fido2-token -C /dev/"), Reads(RECOVERY)],
        by_code: true,
    },
    Kind {
        name: "eddsa",
        options: &["--eddsa-only"],
        told: ["touch wait"; 2],
        binding: A_TOUCH,
        login: A_TOUCH,
        by_code: false,
    },
    Kind {
        name: "always",
        options: &["--always-uv", "--pin", "1234"],
        told: ["touch wait"; 2],
        binding: A_PIN,
        login: A_PIN,
        by_code: false,
    },
    Kind {
        name: "hidden",
        options: &["--pin", "1234"],
        told: ["protect 3", "touch wait"],
        binding: A_PIN,
        // Until it is touched nobody can tell whose it is.
        login: &[Reads(PLUG_IN_OR_TOUCH), Touches, PIN, Types("1234"), Reads(TOUCH), Touches],
        by_code: false,
    },
    Kind {
        name: "copied",
        options: &[],
        told: ["counter 100", "counter 5"],
        binding: A_TOUCH,
        login: &[
            Reads(TOUCH),
            Touches,
            Reads("The counter of this key went back: it may have been copied."),
            Reads("Tell an administrator, and replace it."),
            Reads(RECOVERY),
        ],
        by_code: true,
    },
    Kind {
        name: "finger",
        options: &["--uv", "--pin", "1234"],
        told: ["finger bad"; 2],
        binding: A_FINGER,
        login: A_FINGER,
        by_code: false,
    },
];

#[track_caller]
fn go_through(t: &mut Terminal, kind: &str, key: &Key, steps: &[Step]) {
    for step in steps {
        match step {
            Reads(text) => {
                let seen = t.wait_for(text);
                // A question is printed anew with each character of its answer.
                let is_known = |line: &str| {
                    line.trim().is_empty()
                        || ["This device was bound ", "Password: ", "PIN of the key (", "hidraw"]
                            .iter()
                            .any(|word| line.starts_with(word))
                };
                let before = seen.strip_suffix(text).expect("it was waited for");
                assert_eq!(
                    before.lines().find(|line| !is_known(line)),
                    None,
                    "{kind}, before {text:?}:\n{}",
                    t.screen()
                );
            }
            Types(text) => t.type_line(text),
            Tells(word) => drop(key.tell(word)),
            Touches => {
                key.tell("await touch");
                key.tell("touch");
            }
        }
    }
}

#[test]
fn of_odd_keys_each_word_is_true_at_a_binding_at_sudo_and_at_login() {
    let place = place("[u2f]\nconsoles = [\"console9\"]\n");
    for kind in &KINDS {
        let Kind { name, options, told: [before_binding, before_login], .. } = *kind;
        let key = place.key(name, options);
        let who = Person::new(place.machine, name);
        let mut t = seat(&who);
        key.tell("touch wait");
        key.tell(before_binding);
        t.type_line("mfa-enroll u2f; echo \"exit $?\"");
        t.wait_for("Password: ");
        t.type_line(&who.password);
        go_through(&mut t, name, &key, kind.binding);
        t.wait_for("Type ok when you have written them down: ");
        let codes = codes_on(&t);
        codes.iter().for_each(|code| who.keep_secret(code));
        t.type_line("ok");
        t.wait_for("exit 0\n");

        key.tell(before_login);
        sudo(&mut t, &who);
        go_through(&mut t, name, &key, kind.login);
        if kind.by_code {
            t.type_line(&codes[0]);
        }
        is_root(&mut t);

        key.tell(before_login);
        let mut t = place.terminal().run(&format!("exec at-console login {name}"));
        t.wait_for("Password: ");
        t.type_line(&who.password);
        go_through(&mut t, name, &key, kind.login);
        if kind.by_code {
            t.type_line(&codes[1]);
        }
        Door::Login.is_open(&who, &mut t);
        let factor = if kind.by_code { "factor=recovery-code" } else { "factor=u2f" };
        for service in ["service=sudo", "service=login"] {
            who.logged(&["event=verify", service, factor, "verdict=accepted"]);
        }
        key.unplug();
    }
    place.is_quiet(&[]);
}
