//! Users who manage their own devices, by the service's socket: what they prove, what they may do, and what not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use mfa_wire::{Login, Outcome, Request};
use pam_tests::code::{AUTH_ERR, MAXTRIES, SUCCESS};
use pam_tests::{Bound, Clock, FrontEnd, Helper, Listener, Log, PASSWORD, add_user, artifact, run};

const SOCKET: &str = "/run/mfa/helper.sock";
const WRITTEN: &str = "Type ok when you have written them down: ";
const CODE: &str = "Verification code: ";

/// The service, and what belongs to it.
struct Service {
    _listener: Listener,
}

impl Service {
    fn start(clock: &Clock) -> Service {
        let stack = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/pam.d/mfa-enroll");
        fs::copy(stack, "/etc/pam.d/mfa-enroll").unwrap();
        // Where everybody can run it.
        run("install", &["-m", "755", artifact("mfa-enroll").to_str().unwrap(), "/usr/bin/mfa-enroll"]);
        Service { _listener: Listener::start(&Helper::real().clock(clock)) }
    }
}

/// A command as that uid, without a terminal and without what root could do. A hang is a failure.
fn as_uid(uid: &str) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--wait", "timeout", "--signal=KILL", "60", "setpriv", "--clear-groups", "--inh-caps=-all"]);
    command.args([format!("--reuid={uid}"), format!("--regid={uid}")]).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

fn uid(user: &str) -> String {
    run("id", &["-u", user]).trim().to_owned()
}

/// One run of `mfa-enroll` with a person who types on pipes.
struct Talk {
    child: Child,
    typed: Option<ChildStdin>,
    stderr: ChildStderr,
    said: String,
    /// How much of it was waited for.
    seen: usize,
}

/// How it ended: exit code, data, and all that was said.
#[derive(Debug, PartialEq, Eq)]
struct End {
    code: i32,
    data: String,
    said: String,
}

impl Talk {
    fn begin(uid: &str, arguments: &[&str]) -> Talk {
        let mut command = as_uid(uid);
        command.arg("/usr/bin/mfa-enroll").args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (typed, stderr) = (child.stdin.take(), child.stderr.take().unwrap());
        Talk { child, typed, stderr, said: String::new(), seen: 0 }
    }

    /// Waits for a question, and answers it.
    fn answer(&mut self, question: &str, answer: &str) {
        while !self.said[self.seen..].contains(question) {
            let mut bytes = [0; 4096];
            let n = self.stderr.read(&mut bytes).unwrap();
            assert!(n > 0, "it ended before it asked {question:?}:\n{}", self.said);
            self.said += &String::from_utf8_lossy(&bytes[..n]);
        }
        self.seen += self.said[self.seen..].find(question).unwrap() + question.len();
        writeln!(self.typed.as_mut().unwrap(), "{answer}").unwrap();
    }

    /// Types nothing more.
    fn end(mut self) -> End {
        drop(self.typed.take());
        self.stderr.read_to_string(&mut self.said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        End {
            code: output.status.code().unwrap_or(-1),
            data: String::from_utf8(output.stdout).unwrap(),
            said: self.said,
        }
    }

    /// The key that was shown, as a person types it: groups of four.
    fn key(&self) -> String {
        let (_, shown) = self.said.split_once("  key ").expect("a key");
        let is_group = |word: &&str| word.len() == 4 && word.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
        shown.split_whitespace().take_while(is_group).collect()
    }
}

/// The recovery codes in a text.
fn codes(text: &str) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 19 && word.matches('-').count() == 3;
    text.split_whitespace().filter(is_code).map(str::to_owned).collect()
}

/// A user with a device that root has bound, and the service.
fn bound(user: &str) -> (Bound, Service, String) {
    let bound = Bound::fresh(user);
    let service = Service::start(&bound.clock);
    (bound, service, uid(user))
}

/// Proves itself by these answers to the questions of `disable`.
fn disable(uid: &str, password: &str, code: Option<&str>) -> End {
    let mut talk = Talk::begin(uid, &["disable"]);
    talk.answer("Password: ", password);
    if let Some(code) = code {
        talk.answer(CODE, code);
    }
    talk.end()
}

/// Goes through `recovery-codes` up to the codes, and takes them or leaves.
fn renew(uid: &str, code: &str, take: bool) -> (Vec<String>, End) {
    let mut talk = Talk::begin(uid, &["recovery-codes"]);
    talk.answer("Password: ", PASSWORD);
    talk.answer(CODE, code);
    if take {
        talk.answer(WRITTEN, "ok");
    }
    let end = talk.end();
    (codes(&end.said), end)
}

fn status(uid: &str) -> String {
    let end = Talk::begin(uid, &["status", "--json"]).end();
    assert_eq!((end.code, end.said.as_str()), (0, ""));
    end.data
}

fn test(uid: &str, code: &str) -> End {
    let mut talk = Talk::begin(uid, &["test", "--service", "door"]);
    talk.answer(CODE, code);
    talk.end()
}

#[test]
fn a_user_binds_with_password_and_two_codes_and_gets_recovery_codes() {
    // The app and the clock are those of a bound user; this user has nothing yet.
    let (mut bound, _service, _) = bound("elsewho");
    add_user("selfbinder");
    let me = uid("selfbinder");
    let mut talk = Talk::begin(&me, &["totp", "--key-only", "--label", "phone"]);
    talk.answer("Password: ", PASSWORD);
    assert!(!talk.said.contains("  key "), "no key before the proof");
    talk.answer("First verification code: ", "");
    let end = talk.end();
    assert_eq!(end.code, 1, "who leaves has bound nothing: {}", end.said);
    assert!(status(&me).contains("\"kind\":null"));

    let mut talk = Talk::begin(&me, &["totp", "--key-only", "--label", "phone"]);
    talk.answer("Password: ", PASSWORD);
    // The question comes after the key; a wrong pair brings it again.
    talk.answer("First verification code: ", "000000");
    bound.set_key(talk.key());
    talk.answer("Second verification code: ", "111111");
    talk.answer("First verification code: ", &bound.code(-1));
    talk.answer("Second verification code: ", &bound.code(0));
    talk.answer(WRITTEN, "ok");
    let end = talk.end();
    assert_eq!((end.code, end.data.as_str()), (0, ""), "{}", end.said);
    assert!(end.said.ends_with("\nThe device of selfbinder is bound. From the next login on its code is asked.\n"));
    let codes = codes(&end.said);
    assert_eq!(codes.len(), 10, "{}", end.said);
    let standing = status(&me);
    for fact in [
        "\"user\":\"selfbinder\"",
        "\"kind\":\"totp\"",
        "\"label\":\"phone\"",
        "\"created_from\":\"selfbinder\"",
        "\"recovery_codes_left\":10,",
    ] {
        assert!(standing.contains(fact), "{fact}: {standing}");
    }
    assert_eq!(Talk::begin(&me, &["status"]).end().data.lines().filter(|l| l.ends_with(" 10 left")).count(), 1);

    let login =
        |answer: &str| bound.system.host("door").user("selfbinder").answer(answer).steps(&["auth"]).run().code("auth");
    assert_eq!(login(&bound.code(1)), SUCCESS);
    assert_eq!(login(&codes[7]), SUCCESS);
    assert_eq!(login(&codes[7]), AUTH_ERR);
    let again = {
        let mut talk = Talk::begin(&me, &["totp"]);
        talk.answer("Password: ", PASSWORD);
        talk.end()
    };
    assert_eq!(again.code, 4, "{}", again.said);
}

#[test]
fn who_does_not_prove_the_first_factor_sees_no_key_and_binds_nothing() {
    let (_bound, _service, _) = bound("elsewho");
    add_user("unproven");
    let me = uid("unproven");
    let log = Log::listen();
    let refused = |how: &str, password: &str, said: &str| {
        let mut talk = Talk::begin(&me, &["totp"]);
        talk.answer("Password: ", password);
        let end = talk.end();
        assert_eq!((end.code, end.data.as_str()), (1, ""), "{how}: {}", end.said);
        assert!(
            end.said.starts_with("Password: \n") && end.said.ends_with(&format!("mfa-enroll: {said}\n")),
            "{}",
            end.said
        );
        assert!(!end.said.contains("  key "), "{how}: {}", end.said);
        assert!(status(&me).contains("\"kind\":null"), "{how}");
        end.said
    };
    const NO: &str = "That does not prove who you are.";
    refused("a wrong password", "wrong horse", NO);
    assert_eq!(log.lines_with("event=totp user=unproven").len(), 1);
    refused("no password", "", "Cancelled.");
    refused(
        "a password of 300 bytes",
        &"x".repeat(300),
        "No code could be asked: use a terminal; with ssh, keyboard-interactive.",
    );

    run("chage", &["--expiredate", "1", "unproven"]);
    let said = refused("an account that has expired", PASSWORD, NO);
    assert!(said.contains("Your account has expired"), "the account phase is not asked: {said}");
    run("chage", &["--expiredate", "-1", "unproven"]);
    run("usermod", &["--lock", "unproven"]);
    refused("an account that is locked", PASSWORD, NO);
    run("usermod", &["--unlock", "unproven"]);

    // Debian's stack lets an empty password in; here it proves nothing, also when a front end of one's own sends it.
    run("passwd", &["--delete", "unproven"]);
    assert!(fs::read_to_string("/etc/pam.d/common-auth").unwrap().contains("nullok"), "nothing is tested otherwise");
    refused("an account without a password", "x", NO);
    let perl = r#"$| = 1; my $c = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock") or die; my $all;
                  syswrite $c, pack("H*", "00000006100103010000");
                  while (sysread $c, my $x, 9999) { $all .= unpack "H*", $x; syswrite $c, pack("H*", "00000003110000") if $x =~ /Password: $/ }
                  print $all"#;
    let output = as_uid(&me).args(["perl", "-MIO::Socket::UNIX", "-e", perl]).stdin(Stdio::null()).output().unwrap();
    let frames = String::from_utf8(output.stdout).unwrap();
    // Hello, possibly one question, Refused.
    assert!(frames.starts_with("00000003200101") && frames.contains("25a13c62e8"), "{frames}");
    assert!(!frames.contains("6f747061757468"), "a key was sent: {frames}");
    assert!(status(&me).contains("\"kind\":null"));
    run("userdel", &["unproven"]);
}

#[test]
fn without_its_pam_stack_nothing_is_proved() {
    let (_bound, _service, me) = bound("stackless");
    fs::remove_file("/etc/pam.d/mfa-enroll").unwrap();
    let end = Talk::begin(&me, &["disable"]).end();
    assert_eq!(end.code, 5, "not by the stack of other: {}", end.said);
    assert!(status(&me).contains("\"kind\":\"totp\""));
}

#[test]
fn disabling_takes_the_password_and_a_code() {
    let (mut bound, _service, me) = bound("leaver");
    let before = bound.saved();
    let credentials = |bound: &Bound| fs::read(bound.file("credentials")).unwrap();
    let kept = credentials(&bound);

    let end = disable(&me, "wrong horse", None);
    assert_eq!((end.code, end.said.contains(CODE)), (1, false), "the code alone is not enough: {}", end.said);
    let end = disable(&me, PASSWORD, Some(""));
    assert_eq!(end.code, 1, "the password alone is not enough: {}", end.said);
    let end = disable(&me, PASSWORD, Some(PASSWORD));
    assert_eq!(end.code, 1, "nor twice: {}", end.said);
    assert_eq!(bound.saved(), before, "nothing was guessed");
    let end = disable(&me, PASSWORD, Some("000000"));
    assert_eq!((end.code, end.said.contains("That code is wrong.")), (1, true), "{}", end.said);
    let end = disable(&me, PASSWORD, Some(&bound.code(0)));
    assert_eq!((end.code, end.said.contains("used already")), (1, true), "{}", end.said);
    assert_eq!(credentials(&bound), kept);
    assert!(status(&me).contains("\"kind\":\"totp\""));

    let code = bound.code(1);
    let end = disable(&me, PASSWORD, Some(&code));
    assert_eq!((end.code, end.data.as_str()), (0, ""), "{}", end.said);
    assert!(end.said.contains("The device of leaver is unbound and its key destroyed"), "{}", end.said);
    assert!(status(&me).contains("\"kind\":null,\"pending\":false"));
    assert!(!bound.file("credentials").exists());
    let end = disable(&me, PASSWORD, None);
    assert_eq!((end.code, end.said.contains("No device is bound for leaver.")), (3, true), "{}", end.said);

    // The same by a recovery code, without the device.
    bound.bind();
    let (codes, end) = renew_by_root("leaver");
    assert_eq!((codes.len(), end.code), (10, 0));
    let end = disable(&me, "wrong horse", None);
    assert_eq!(end.code, 1, "{}", end.said);
    let end = disable(&me, PASSWORD, Some("aaaa-aaaa-aaaa-aaaa"));
    assert_eq!((end.code, end.said.contains("That recovery code is wrong.")), (1, true), "{}", end.said);
    let end = disable(&me, PASSWORD, Some(&codes[0]));
    assert_eq!(end.code, 0, "{}", end.said);
    assert!(status(&me).contains("\"kind\":null"));
}

/// Root's way to the codes of somebody: nothing is asked.
fn renew_by_root(user: &str) -> (Vec<String>, End) {
    let end = Talk::begin("0", &["recovery-codes", "--user", user, "--json"]).end();
    assert_eq!(end.said, "These recovery codes hold; the ones before are void.\n");
    assert!(
        end.data.starts_with(&format!("{{\"user\":\"{user}\",\"recovery_codes\":[\"")) && end.data.ends_with("\"]}\n")
    );
    (codes(&end.data.replace(['"', ',', '[', ']', '}'], " ")), end)
}

#[test]
fn new_recovery_codes_void_the_old_ones_once_they_are_taken() {
    let (mut bound, _service, me) = bound("renewer");
    let login = |bound: &Bound, answer: &str| bound.auth(answer);
    let (first, end) = renew(&me, &bound.code(1), true);
    assert_eq!((end.code, end.data.as_str(), first.len()), (0, "", 10), "{}", end.said);
    assert_eq!(login(&bound, &first[0]), SUCCESS);
    assert!(status(&me).contains("\"recovery_codes_left\":9,"));

    bound.advance(3);
    let (never_held, end) = renew(&me, &bound.code(0), false);
    assert_eq!((end.code, never_held.len()), (1, 10), "{}", end.said);
    assert!(end.said.ends_with("mfa-enroll: The codes shown are void; the ones before hold.\n"), "{}", end.said);
    assert_eq!(login(&bound, &never_held[1]), AUTH_ERR);
    assert_eq!(login(&bound, &first[1]), SUCCESS);
    assert!(status(&me).contains("\"recovery_codes_left\":8,"));

    bound.advance(3);
    let mut talk = Talk::begin(&me, &["recovery-codes"]);
    talk.answer("Password: ", PASSWORD);
    talk.answer(CODE, &bound.code(0));
    for _ in 0..3 {
        talk.answer(WRITTEN, "no");
    }
    assert_eq!(talk.end().code, 1);
    assert_eq!(login(&bound, &first[9]), SUCCESS, "no is not ok");

    bound.advance(3);
    let mut talk = Talk::begin(&me, &["recovery-codes"]);
    talk.answer("Password: ", PASSWORD);
    talk.answer(CODE, &bound.code(0));
    // Somebody tries to log in while the codes are on the screen.
    talk.answer(WRITTEN, "not yet");
    assert_eq!(login(&bound, "000000"), AUTH_ERR);
    talk.answer(WRITTEN, "OK");
    let end = talk.end();
    assert_eq!(end.code, 0, "{}", end.said);
    let first = codes(&end.said);

    bound.advance(3);
    let (second, end) = renew(&me, &bound.code(0), true);
    assert_eq!(end.code, 0, "{}", end.said);
    assert!(first.iter().all(|code| !second.contains(code)));
    assert_eq!(login(&bound, &first[2]), AUTH_ERR);
    assert_eq!(login(&bound, &second[2]), SUCCESS);

    let end = Talk::begin(&me, &["recovery-codes", "--json"]).end();
    assert_eq!((end.code, end.data.as_str()), (1, ""), "a proof cannot be piped into a script's JSON");
    assert!(end.said.contains("No code could be asked"), "{}", end.said);
}

/// Proves itself by that code, up to the key of the device that is to replace the one that is bound.
fn replace(uid: &str, code: &str) -> Talk {
    let mut talk = Talk::begin(uid, &["replace", "totp", "--key-only", "--label", "new"]);
    talk.answer("Password: ", PASSWORD);
    talk.answer(CODE, code);
    talk
}

/// Gives the two codes of a new device.
fn give_two(talk: &mut Talk, bound: &Bound, key: &str) {
    talk.answer("First verification code: ", &bound.code_of(key, -1));
    talk.answer("Second verification code: ", &bound.code_of(key, 0));
}

/// The key that is shown once there is a question; one try is spent.
fn shown_key(talk: &mut Talk) -> String {
    talk.answer("First verification code: ", "000000");
    talk.answer("Second verification code: ", "111111");
    talk.key()
}

#[test]
fn a_device_works_until_the_one_that_replaces_it_is_confirmed_and_never_again() {
    let (mut bound, _service, me) = bound("replacer");
    let (before, _) = renew_by_root("replacer");
    for code in ["000000", "aaaa-aaaa-aaaa-aaaa"] {
        let end = replace(&me, code).end();
        assert_eq!((end.code, end.said.contains("  key ")), (1, false), "{}", end.said);
    }
    let kept = fs::read(bound.file("credentials")).unwrap();
    let mut talk = replace(&me, &bound.code(1));
    talk.answer("First verification code: ", "");
    assert_eq!(talk.end().code, 1);
    assert_eq!(fs::read(bound.file("credentials")).unwrap(), kept, "who leaves has changed nothing");

    bound.advance(3);
    let mut talk = replace(&me, &bound.code(0));
    let new = shown_key(&mut talk);
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "the old device still works, and a login is in nobody's way");
    assert_eq!(bound.auth(&bound.code_of(&new, 0)), AUTH_ERR);
    give_two(&mut talk, &bound, &new);
    talk.answer(WRITTEN, "ok");
    let end = talk.end();
    assert_eq!((end.code, end.data.as_str()), (0, ""), "{}", end.said);
    let said = "The new device of replacer is bound.\nThe one before, and its recovery codes, are void.\n\
                Tell whoever shares the account.\n";
    assert!(end.said.ends_with(said), "{}", end.said);
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "the old device");
    assert_eq!(bound.auth(&before[0]), AUTH_ERR, "its recovery codes");
    bound.set_key(new);
    let report = bound.login(&bound.code(0));
    assert_eq!(report.code("auth"), SUCCESS);
    let notice = "This device took the place of another 1 min ago from replacer.";
    assert!(report.said().iter().any(|said| said.text.contains(notice)), "{report:#?}");
    let report = bound.login(&bound.code(1));
    assert_eq!((report.code("auth"), report.said().iter().any(|said| said.text.contains("This device"))), (0, false));
    let codes = codes(&end.said);
    assert_eq!((bound.auth(&codes[0]), codes.len()), (SUCCESS, 10));
    let standing = status(&me);
    assert!(standing.contains("\"label\":\"new\"") && standing.contains("\"recovery_codes_left\":9,"), "{standing}");

    // The phone is lost: a recovery code in its place.
    let mut talk = replace(&me, &codes[1]);
    let newer = shown_key(&mut talk);
    give_two(&mut talk, &bound, &newer);
    talk.answer(WRITTEN, "ok");
    assert_eq!(talk.end().code, 0);
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR);
    assert_eq!(bound.auth(&bound.code_of(&newer, 0)), SUCCESS);

    assert_eq!(disable(&me, PASSWORD, Some(&bound.code_of(&newer, 1))).code, 0);
    let mut talk = Talk::begin(&me, &["replace", "totp"]);
    talk.answer("Password: ", PASSWORD);
    let end = talk.end();
    assert_eq!((end.code, end.said.contains("No device is bound for replacer.")), (3, true), "{}", end.said);
}

#[test]
fn who_may_not_bind_does_not_replace_and_a_device_is_worth_an_invitation() {
    let (bound, _service, me) = bound("governed");
    let rule = "[[rule]]\nusers = [\"governed\"]\nservices = [\"sudo\"]\nrequire = \"mfa\"\nenroll = ";
    bound.system.config(&format!("{rule}\"by-admin\"\n"));
    let mut talk = Talk::begin(&me, &["replace", "totp"]);
    talk.answer("Password: ", PASSWORD);
    let end = talk.end();
    assert_eq!((end.code, end.said.contains(CODE)), (1, false), "no code is used up for it: {}", end.said);
    assert!(end.said.contains("Devices are bound by the administrators here"), "{}", end.said);
    bound.system.config(&format!("{rule}\"invited\"\n"));
    let mut talk = replace(&me, &bound.code(1));
    shown_key(&mut talk);
}

#[test]
fn of_two_replacements_at_once_the_first_one_counts() {
    let (bound, _service, _) = bound("doubled");
    let begin = || Talk::begin("0", &["replace", "totp", "--user", "doubled", "--key-only"]);
    let (mut first, mut second) = (begin(), begin());
    let keys = [shown_key(&mut first), shown_key(&mut second)];
    give_two(&mut second, &bound, &keys[1]);
    second.answer(WRITTEN, "ok");
    assert_eq!(second.end().code, 0);
    give_two(&mut first, &bound, &keys[0]);
    let end = first.end();
    assert_eq!((end.code, codes(&end.said).len()), (1, 0), "{}", end.said);
    assert!(end.said.contains("The record was changed from elsewhere meanwhile"), "{}", end.said);
    assert_eq!([&keys[0], &keys[1]].map(|key| bound.auth(&bound.code_of(key, 1))), [AUTH_ERR, SUCCESS]);
}

/// Whoever has stolen a recovery code and is replacing the device is stopped by new codes.
#[test]
fn a_replacement_ends_with_the_recovery_codes_that_it_was_proved_by() {
    let (bound, _service, me) = bound("robbed");
    let (stolen, _) = renew_by_root("robbed");
    let mut thief = replace(&me, &stolen[0]);
    let key = shown_key(&mut thief);
    renew_by_root("robbed");
    give_two(&mut thief, &bound, &key);
    let end = thief.end();
    assert_eq!((end.code, codes(&end.said).len()), (1, 0), "{}", end.said);
    assert!(end.said.contains("The record was changed from elsewhere meanwhile"), "{}", end.said);
    assert_eq!([key, bound.key().to_owned()].map(|key| bound.auth(&bound.code_of(&key, 1))), [AUTH_ERR, SUCCESS]);
}

#[test]
fn scripts_replace_by_a_pending_device_which_goes_with_what_it_replaces() {
    let (mut bound, _service, _) = bound("scripted");
    let root = |arguments: &[&str]| Talk::begin("0", &[arguments, &["--user", "scripted"]].concat()).end();
    let end = root(&["totp", "--json"]);
    assert_eq!((end.code, end.said.contains("mfa-enroll replace totp --user scripted")), (4, true), "{}", end.said);
    let new = bound.pend_replacement();
    assert!(root(&["status", "--json"]).data.contains("\"kind\":\"totp\",\"pending\":true,"));
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
    let codes = |bound: &Bound, key: &str| [bound.code_of(key, -1), bound.code_of(key, 0)];
    let confirm = |codes: [String; 2]| root(&["confirm", &codes[0], &codes[1]]);
    let end = confirm(codes(&bound, &new));
    assert_eq!((end.code, end.said.contains("The new device of scripted is bound")), (0, true), "{}", end.said);
    assert!(end.said.contains("mfa-enroll recovery-codes --user scripted"), "{}", end.said);
    assert_eq!(bound.auth(&bound.code_of(&new, 1)), SUCCESS);

    bound.set_key(new);
    let voided = bound.pend_replacement();
    assert_eq!(root(&["disable"]).code, 0);
    assert_eq!(confirm(codes(&bound, &voided)).code, 3, "what it was to replace is gone");
    bound.bind();
    let dropped = bound.pend_replacement();
    assert_eq!(root(&["cancel"]).code, 0);
    assert_eq!(confirm(codes(&bound, &dropped)).code, 4);
    let late = bound.pend_replacement();
    bound.advance(30);
    let end = confirm(codes(&bound, &late));
    assert_eq!((end.code, end.said.contains("replace totp --json")), (3, true), "{}", end.said);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
}

#[test]
fn a_device_is_disabled_by_its_id_and_by_no_other() {
    let (bound, _service, me) = bound("named");
    let standing: String = status(&me);
    let (_, rest) = standing.split_once("\"id\":\"").unwrap();
    let id = rest.split('"').next().unwrap();
    let other = "0".repeat(32);
    for (who, user) in [(me.as_str(), None), ("0", Some("named"))] {
        let user: Vec<&str> = user.into_iter().flat_map(|user| ["--user", user]).collect();
        let mut talk = Talk::begin(who, &[&["disable", "--device", &other], user.as_slice()].concat());
        if who != "0" {
            talk.answer("Password: ", PASSWORD);
        }
        let end = talk.end();
        assert_eq!((end.code, end.said.contains(CODE)), (3, false), "no code is used up for it: {}", end.said);
    }
    assert!(status(&me).contains(id));
    let mut talk = Talk::begin(&me, &["disable", "--device", id]);
    talk.answer("Password: ", PASSWORD);
    talk.answer(CODE, &bound.code(1));
    let end = talk.end();
    assert_eq!((end.code, end.said.contains("Tell whoever shares the account.")), (0, true), "{}", end.said);
    assert!(status(&me).contains("\"kind\":null"));
}

/// Root's way to a bypass code.
fn bypass(user: &str, time: &str) -> String {
    let end = Talk::begin("0", &["bypass", "--user", user, "--for", time]).end();
    assert_eq!(end.code, 0, "{}", end.said);
    end.data.trim().to_owned()
}

#[test]
fn a_bypass_code_lets_in_once_until_it_runs_out_and_proves_nothing() {
    let (mut bound, _service, me) = bound("loser");
    let end = Talk::begin("0", &["bypass", "--user", "loser"]).end();
    assert_eq!((end.code, end.said.as_str()), (0, "Good once for loser until 2027-01-15T09:00:15Z.\n"));
    let code = end.data.trim().to_owned();
    assert_eq!(codes(&end.data), [code.as_str()]);
    let standing = status(&me);
    assert!(standing.contains("\"bypass_until\":\"2027-01-15T09:00:15Z\"") && !standing.contains(&code), "{standing}");
    let end = disable(&me, PASSWORD, Some(&code));
    assert_eq!((end.code, end.said.contains("That recovery code is wrong.")), (1, true), "{}", end.said);

    for _ in 0..5 {
        assert_eq!(bound.auth("000000"), AUTH_ERR);
    }
    assert_eq!(bound.auth(&bound.code(1)), MAXTRIES);
    let log = Log::listen();
    assert_eq!(bound.auth(&code), SUCCESS, "during a lock too");
    let line = log.lines_with("factor=bypass").pop().unwrap();
    assert!(line.contains("event=verify user=loser") && line.contains("verdict=accepted"), "{line}");
    assert_eq!(bound.auth(&code), AUTH_ERR, "once");
    assert!(status(&me).contains("\"bypass_until\":null"));

    let code = bypass("loser", "10m");
    bound.advance(20);
    assert_eq!(bound.auth(&code), AUTH_ERR, "it has run out");
    let (first, second) = (bypass("loser", "168h"), bypass("loser", "1h"));
    assert_eq!([first, second].map(|code| bound.auth(&code)), [AUTH_ERR, SUCCESS], "the last one counts");
    let code = bypass("loser", "1h");
    assert_eq!(bypass("loser", "0"), "");
    assert_eq!(bound.auth(&code), AUTH_ERR, "taken back");
    let end = Talk::begin("0", &["bypass", "--user", "loser", "--for", "169h"]).end();
    assert_eq!((end.code, end.data.as_str()), (1, ""), "{}", end.said);

    let code = bypass("loser", "1h");
    let root = |verb| Talk::begin("0", &[verb, "--user", "loser"]).end();
    assert_eq!(root("disable").code, 0);
    let end = root("bypass");
    assert_eq!((end.code, end.data.as_str()), (3, ""));
    assert!(end.said.contains("mfa-enroll totp --user loser"), "{}", end.said);
    bound.bind();
    assert_eq!(bound.auth(&code), AUTH_ERR, "it went with the binding");
}

#[test]
fn resync_learns_how_far_the_devices_clock_is_off_and_no_code_comes_back() {
    let (mut bound, _service, _) = bound("drifter");
    bound.advance(1000);
    let resync = |codes: [String; 2]| Talk::begin("0", &["resync", "--user", "drifter", &codes[0], &codes[1]]).end();
    // An hour behind; and then ahead.
    for hour in [-120, 120] {
        assert_eq!(bound.auth(&bound.code(hour)), AUTH_ERR);
        let end = resync([bound.code(hour - 1), bound.code(hour + 1)]);
        assert_eq!((end.code, end.said.contains("Nothing was learned.")), (1, true), "not in a row: {}", end.said);
        let end = resync([bound.code(hour - 1), bound.code(hour)]);
        let side = if hour < 0 { "behind" } else { "ahead of" };
        let said = format!(
            "The device's clock is about an hour {side} this host's.\nIts codes are accepted as they are from now on.\n"
        );
        assert_eq!((end.code, end.said), (0, said));
        assert_eq!(bound.auth(&bound.code(hour)), AUTH_ERR, "used up");
        assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "not where the clock is not");
        assert_eq!(bound.auth(&bound.code(hour + 1)), SUCCESS);
        bound.advance(3);
        assert_eq!(bound.auth(&bound.code(hour)), SUCCESS);
    }
    // The clock is right again. Every code of the next hour could have been used.
    let end = resync([bound.code(-1), bound.code(0)]);
    assert_eq!((end.code, end.said.contains("wait 1 h 1 min, or replace the device.")), (1, true), "{}", end.said);
    assert!(end.said.contains("The device's clock is right now. But a code as late as these was used"), "{}", end.said);
    bound.advance(122);
    let end = resync([bound.code(-1), bound.code(0)]);
    assert_eq!((end.code, end.said.as_str()), (0, "The device's clock agrees with this host's.\n"));
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
}

#[test]
fn the_next_login_tells_of_new_recovery_codes() {
    let (mut bound, _service, me) = bound("informed");
    let tells = |bound: &Bound, steps| {
        let report = bound.login(&bound.code(steps));
        assert_eq!(report.code("auth"), SUCCESS);
        report.said().iter().any(|said| said.text.contains("New recovery codes were made 2 min ago from root."))
    };
    assert!(!tells(&bound, 1));
    bound.advance(2);
    renew_by_root("informed");
    bound.advance(2);
    // What the user's own process asks is no login, and a screen locker tells nothing.
    assert_eq!(test(&me, &bound.code(0)).code, 0);
    bound.advance(2);
    assert!(tells(&bound, 0));
    assert!(!tells(&bound, 1));
}

#[test]
fn what_the_login_does_not_let_a_user_bind_they_do_not_bind_at_home() {
    let (bound, _service, _) = bound("elsewho");
    add_user("uninvited");
    let me = uid("uninvited");
    let rule = "[[rule]]\nusers = [\"uninvited\"]\nservices = [\"sudo\"]\nrequire = \"mfa\"\nenroll = ";
    bound.system.config(&format!("{rule}\"by-admin\"\n"));
    let begin = || {
        let mut talk = Talk::begin(&me, &["totp", "--key-only"]);
        talk.answer("Password: ", PASSWORD);
        talk
    };
    let end = begin().end();
    assert_eq!((end.code, end.said.contains("  key ")), (1, false), "{}", end.said);
    bound.system.config(&format!("{rule}\"invited\"\n"));
    let mut talk = begin();
    talk.answer("Invitation ticket: ", "aaaa-bbbb-cccc-dddd");
    let end = talk.end();
    assert_eq!((end.code, end.said.contains("  key ")), (1, false), "{}", end.said);
    let ticket = Talk::begin("0", &["invite", "--user", "uninvited"]).end().data;
    let mut talk = begin();
    talk.answer("Invitation ticket: ", ticket.trim());
    talk.answer("First verification code: ", "000000");
    assert!(talk.end().said.contains("  key "));
}

#[test]
fn who_hangs_up_at_the_first_factor_is_no_outage() {
    let (_bound, _service, me) = bound("hanger");
    let log = Log::listen();
    let mut talk = Talk::begin(&me, &["disable"]);
    talk.answer("Password: ", "");
    assert_eq!(talk.end().code, 1);
    let line = log.lines_with("event=disable user=hanger").pop().unwrap();
    assert!(line.contains("verdict=no-interaction"), "{line}");
}

#[test]
fn a_name_that_leads_to_another_uid_gives_no_right_to_its_record() {
    let (bound, _service, _) = bound("doppel");
    let before = bound.saved();
    let other = format!("{}doppel:x:61234:61234::/:/bin/sh\n", fs::read_to_string("/etc/passwd").unwrap());
    fs::write("/etc/passwd", other).unwrap();
    let end = Talk::begin("61234", &["status"]).end();
    assert_eq!((end.code, end.data.as_str()), (1, ""), "{}", end.said);
    assert!(end.said.contains("Only root may do this for another user."), "{}", end.said);
    assert_eq!(Talk::begin("61234", &["test"]).end().code, 1);
    assert_eq!(bound.saved(), before);
}

#[test]
fn a_test_uses_up_the_code_and_locks_nobody_out() {
    let (mut bound, _service, me) = bound("tester");
    let code = bound.code(1);
    let end = test(&me, &code);
    let said =
        "This device was bound just now from root.\nVerification code: \nThat is right: door would let you in.\n";
    assert_eq!((end.code, end.said.as_str()), (0, said));
    let end = test(&me, &code);
    assert_eq!((end.code, end.said.contains("used already")), (1, true), "{}", end.said);

    bound.advance(10);
    for n in 1..=5 {
        let end = test(&me, "000000");
        assert_eq!((end.code, end.said.contains("locked for 2 min")), (1, n == 5), "{}", end.said);
    }
    let end = test(&me, &bound.code(0));
    assert_eq!((end.code, end.said.contains("Too many wrong codes: locked")), (1, true), "{}", end.said);
    let locked = Talk::begin(&me, &["status"]).end().data;
    assert!(locked.contains("locked          until 20"), "{locked}");
    // The door is root's, and counts by itself.
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);

    let end = Talk::begin(&me, &["unlock", "--user", "tester"]).end();
    assert_eq!((end.code, end.said.as_str()), (1, "mfa-enroll: Only root may do this.\n"));
    let end = Talk::begin("0", &["unlock", "--user", "tester"]).end();
    assert_eq!((end.code, end.said.as_str()), (0, "tester is not locked; all wrong codes are forgotten.\n"));
    assert!(status(&me).ends_with("\"locked_until\":null}\n"));
    assert_eq!(test(&me, &bound.code(1)).code, 0);

    bound.system.service("open", "{first}\nauth required {module}");
    bound.system.config("[[rule]]\nservices = [\"open\"]\nrequire = \"off\"\n");
    let end = Talk::begin(&me, &["test", "--service", "open"]).end();
    assert_eq!((end.code, end.said.as_str()), (0, "open asks no second factor of you.\n"));
}

#[test]
fn a_test_of_who_would_be_led_through_binding_says_so_and_leaves_nothing_behind() {
    let (bound, _service, _) = bound("witness");
    add_user("unbound");
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    let stack = "{first}\nauth required {module} stack=complete\naccount required {module}\nsession optional {module}";
    bound.system.service("su", stack);
    bound.system.service("vsftpd", stack);
    let test = |service: &str| Talk::begin(&uid("unbound"), &["test", "--service", service]).end();
    let required = "mfa-enroll: MFA is required of unbound and no device is bound.\n";
    let end = test("su");
    assert_eq!(
        (end.code, end.said),
        (1, format!("{required}  su would lead you through binding one. Do it now: mfa-enroll totp\n"))
    );
    let end = test("vsftpd");
    assert_eq!((end.code, end.said.contains("would lead")), (1, false), "{}", end.said);
    assert!(!bound.system.store().join("users/unbound").exists(), "something is owed");

    // Root, whom a login would believe all of this.
    let end = Talk::begin("0", &["test", "--service", "su"]).end();
    let way = "  su would lead you through binding one. Do it now: mfa-enroll totp --user root\n";
    assert_eq!((end.code, end.said), (1, format!("{}{way}", required.replace("unbound", "root"))));
    assert_eq!(Talk::begin("0", &["test", "--service", "vsftpd"]).end().code, 1);
    assert!(!bound.system.store().join("users/root").exists(), "something is owed");
}

#[test]
fn a_test_pays_nothing_that_is_owed() {
    let (bound, _service, _) = bound("elsewho");
    add_user("debtor");
    let me = uid("debtor");
    bound.system.config("[[rule]]\nusers = [\"debtor\"]\nrequire = \"mfa\"\n");
    let stack = "{first}\nauth required {module} stack=complete\naccount required {module}\nsession optional {module}";
    bound.system.service("sudo", stack);
    // As su would ask, which is a program that is known.
    let login = Login {
        ruser: Some("debtor".into()),
        stack_complete: true,
        program: Some("/usr/bin/su".into()),
        ..Login::at("debtor", "sudo")
    };
    let state = bound.system.store().join("users/debtor/state");
    let owes = || {
        let text = String::from_utf8_lossy(&fs::read(&state).unwrap()).into_owned();
        let number = |slot: &&str| slot.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        let newest = text.split("mfa-state 1\n").skip(1).max_by_key(number).unwrap().to_owned();
        newest.lines().find_map(|line| line.strip_prefix("owes ")).unwrap().to_owned()
    };
    let helper = Helper::real().clock(&bound.clock).path();
    let handed_over = FrontEnd::request(&helper, Request::Verify(login), &mut |_| None).verdict;
    assert_eq!(handed_over.outcome, Outcome::HandedOver);
    assert_eq!(owes(), "anywhere", "there is no terminal");
    let key = bound.bind_other("debtor");
    let mut talk = Talk::begin(&me, &["test", "--service", "sudo"]);
    talk.answer(CODE, &bound.code_of(&key, 1));
    let end = talk.end();
    assert_eq!((end.code, owes().as_str()), (0, "anywhere"), "{}", end.said);
    let rebound = Talk::begin("0", &["disable", "--user", "debtor"]).end();
    assert_eq!(rebound.code, 0, "{}", rebound.said);
}

/// Gives that ticket in place of a proof.
fn with_ticket(uid: &str, ticket: &str) -> Talk {
    let mut talk = Talk::begin(uid, &["totp", "--invitation", "--key-only"]);
    talk.answer("Invitation ticket: ", ticket);
    talk
}

fn invite(user: &str) -> String {
    let end = Talk::begin("0", &["invite", "--user", user]).end();
    assert_eq!(end.code, 0, "{}", end.said);
    end.data.trim().to_owned()
}

#[test]
fn who_has_no_password_proves_themselves_by_the_ticket_of_an_invitation() {
    let (mut bound, _service, other) = bound("elsewho");
    add_user("keyholder");
    let me = uid("keyholder");
    run("usermod", &["--lock", "keyholder"]);
    let log = Log::listen();
    let no_ticket = |uid: &str, ticket: &str, why: &str| {
        let end = with_ticket(uid, ticket).end();
        let said = "Invitation ticket: \nmfa-enroll: That is not the ticket of a valid invitation.\n";
        assert_eq!((end.code, end.data.as_str(), end.said.as_str()), (1, "", said), "{why}");
        let line = log.lines_with("event=totp user=keyholder").pop().unwrap();
        assert!(line.contains("factor=invitation") && line.contains("verdict=refused"), "{line}");
        assert!(!line.contains(ticket), "{line}");
    };
    no_ticket(&me, "aaaa-bbbb-cccc-dddd", "nobody is invited");
    let ticket = invite("keyholder");
    no_ticket(&me, "aaaa-bbbb-cccc-dddd", "that of nobody");
    no_ticket(&me, &invite("root"), "that of somebody else");
    // Not for another user, whoever has the ticket.
    let end = Talk::begin(&other, &["totp", "--invitation", "--user", "keyholder"]).end();
    assert_eq!((end.code, end.said.as_str()), (1, "mfa-enroll: Only root may do this for another user.\n"));

    // Who leaves with the key has bound nothing and used up nothing.
    assert_eq!(with_ticket(&me, &ticket).end().code, 1);
    let mut talk = with_ticket(&me, &ticket);
    // Another process of this user with the same ticket.
    let mut late = with_ticket(&me, &ticket);
    let (key, late_key) = (shown_key(&mut talk), shown_key(&mut late));
    give_two(&mut talk, &bound, &key);
    talk.answer(WRITTEN, "ok");
    let end = talk.end();
    assert_eq!((end.code, end.said.contains("assword")), (0, false), "{}", end.said);
    let line = log.lines_with("event=totp user=keyholder").pop().unwrap();
    assert!(line.contains("factor=invitation") && line.contains("verdict=accepted"), "{line}");
    assert!(status(&me).contains("\"created_from\":\"keyholder\""));

    // Used up, also where it was given in time, and when the device is gone.
    let end = Talk::begin(&me, &["totp", "--invitation"]).end();
    assert_eq!((end.code, end.said.contains("Invitation ticket")), (4, false), "{}", end.said);
    assert_eq!(Talk::begin("0", &["disable", "--user", "keyholder"]).end().code, 0);
    give_two(&mut late, &bound, &late_key);
    let end = late.end();
    assert_eq!((end.code, end.said.contains("changed from elsewhere")), (1, true), "{}", end.said);
    no_ticket(&me, &ticket, "used up");
    assert!(status(&me).contains("\"kind\":null"));

    // Good for a week, and no longer than root wants.
    let ticket = invite("keyholder");
    assert_eq!(Talk::begin("0", &["cancel", "--user", "keyholder"]).end().code, 0);
    no_ticket(&me, &ticket, "taken back");
    let ticket = invite("keyholder");
    bound.advance(7 * 2880 - 1);
    assert!(with_ticket(&me, &ticket).end().said.contains("First verification code: "));
    bound.advance(1);
    no_ticket(&me, &ticket, "run out");
}

#[test]
fn an_invitation_is_no_way_around_the_policy() {
    let (bound, _service, _) = bound("elsewho");
    add_user("bypolicy");
    let me = uid("bypolicy");
    let ticket = invite("bypolicy");
    let rule = "[[rule]]\nusers = [\"bypolicy\"]\nrequire = \"mfa\"\n";
    for (policy, text) in [
        (
            String::from("self_service = false\n"),
            "Devices are managed by the administrators here: ask an administrator.",
        ),
        (
            format!("{rule}enroll = \"by-admin\"\n"),
            "Devices are bound by the administrators here: ask an administrator.",
        ),
        (
            format!("{rule}kinds = [\"u2f\"]\n"),
            "Only a security key may be bound here: mfa-enroll u2f (or replace u2f)",
        ),
    ] {
        bound.system.config(&policy);
        let end = Talk::begin(&me, &["totp", "--invitation"]).end();
        assert_eq!((end.code, end.said), (1, format!("mfa-enroll: {text}\n")), "{policy}");
    }
    for enroll in ["at-login", "invited"] {
        bound.system.config(&format!("{rule}enroll = \"{enroll}\"\n"));
        let end = with_ticket(&me, &ticket).end();
        assert_eq!(end.said.matches("Invitation ticket").count(), 1, "{enroll}: {}", end.said);
        assert!(end.said.contains("  key "), "{enroll}: {}", end.said);
    }
}

#[test]
fn where_the_policy_forbids_it_users_change_nothing() {
    let (bound, _service, me) = bound("managed");
    bound.system.config("self_service = false\n");
    let before = bound.saved();
    for verb in [&["totp"][..], &["replace", "totp"], &["disable"], &["recovery-codes"]] {
        let end = Talk::begin(&me, verb).end();
        let said = "mfa-enroll: Devices are managed by the administrators here: ask an administrator.\n";
        assert_eq!((end.code, end.said.as_str()), (1, said), "{verb:?}");
    }
    assert_eq!(bound.saved(), before);
    assert!(status(&me).contains("\"kind\":\"totp\""));
    assert_eq!(test(&me, &bound.code(1)).code, 0);
    assert_eq!(Talk::begin("0", &["disable", "--user", "managed"]).end().code, 0, "root is not a user here");
}

/// What stands in front of the first prompt after a binding.
const BOUND: &str = "This device was bound just now from root.\n";

/// A uid that no name service knows.
const NAMELESS: &str = "54321";

#[test]
fn every_verb_of_every_uid() {
    let (bound, mut service, me) = bound("owner");
    add_user("other");
    let other = uid("other");
    let before = bound.saved();
    const ROOT_ONLY: &str = "Only root may do this.";
    const NOT_YOURS: &str = "Only root may do this for another user.";

    // The verbs that take a user. What the owner is asked for a proof of ends as cancelled, since nobody types.
    let verbs: [(&[&str], bool); 18] = [
        (&["status"], false),
        (&["tickets"], false),
        (&["tickets", "--revoke", "all"], false),
        (&["totp"], false),
        (&["totp", "--invitation"], false),
        (&["u2f"], false),
        (&["u2f", "--invitation"], false),
        (&["disable"], false),
        (&["recovery-codes"], false),
        (&["totp", "--json"], true),
        (&["confirm", "000000", "111111"], true),
        (&["cancel"], true),
        (&["unlock"], true),
        (&["replace", "totp"], false),
        (&["replace", "totp", "--json"], true),
        (&["replace", "u2f"], false),
        (&["bypass"], true),
        (&["resync", "000000", "111111"], true),
    ];
    for (verb, root_only) in verbs {
        // A listener that has not heard of them: so many conversations in a row are too many.
        drop(service);
        service = Service::start(&bound.clock);
        let of = |uid: &str, user: &str| Talk::begin(uid, &[verb, &["--user", user]].concat()).end();
        let own = of(&me, "owner");
        match (verb[0], root_only) {
            ("status", _) => assert_eq!((own.code, own.said.as_str()), (0, ""), "{verb:?}"),
            ("tickets", _) => {
                let nothing = if verb.len() == 1 { (0, "") } else { (3, "mfa-enroll: ") };
                let said = format!("{}No login of owner is remembered.\n", nothing.1);
                assert_eq!((own.code, own.said), (nothing.0, said), "{verb:?}");
            }
            // No ticket is asked for where a device is bound already.
            _ if verb.contains(&"--invitation") => {
                let already = own.said.starts_with("mfa-enroll: owner has a device already.\n");
                assert!(own.code == 4 && already, "{verb:?}: {} {}", own.code, own.said);
            }
            (_, false) => {
                assert_eq!((own.code, own.said.as_str()), (1, "Password: \nmfa-enroll: Cancelled.\n"), "{verb:?}")
            }
            (_, true) => assert_eq!((own.code, own.said), (1, format!("mfa-enroll: {ROOT_ONLY}\n")), "{verb:?}"),
        }
        let theirs = of(&other, "owner");
        let why = if root_only { ROOT_ONLY } else { NOT_YOURS };
        let refused = End { code: 1, data: String::new(), said: format!("mfa-enroll: {why}\n") };
        assert_eq!(theirs, refused, "{verb:?}");
        for user in ["nobody-here", "root", "other\n"] {
            assert_eq!(of(&other, user), refused, "{verb:?} of {user:?}: the same as of somebody who is there");
        }
        let unknown = of(NAMELESS, "owner");
        assert_eq!((unknown.code, unknown.data.as_str()), (5, ""), "{verb:?}: {}", unknown.said);
        assert!(unknown.said.contains("does not know who you are"), "{}", unknown.said);
        assert_eq!(of("0", "nobody-here").code, 3, "{verb:?}");
    }
    const RENAME: [&str; 3] = ["rename", "owner", "other"];
    for who in [&me, &other] {
        for asked in
            [&["list"][..], &["list", "--missing"], &["list", "--group", "root", "--json"], &["doctor"], &RENAME]
        {
            let end = Talk::begin(who, asked).end();
            assert_eq!((end.code, end.data.as_str(), end.said), (1, "", format!("mfa-enroll: {ROOT_ONLY}\n")));
        }
        let end = Talk::begin(who, &["status", "--config", "/etc/shadow"]).end();
        assert_eq!((end.code, end.data.as_str()), (2, ""), "{}", end.said);
        assert_eq!(Talk::begin(who, &[]).end(), Talk::begin(who, &["status"]).end(), "no verb, and nobody to ask");
    }
    assert_eq!(Talk::begin(&other, &["test"]).end().code, 0, "nothing is asked of who has nothing");
    assert_eq!(Talk::begin(&me, &["test"]).end().said, format!("{BOUND}{CODE}\nmfa-enroll: Cancelled.\n"));
    for arguments in [&["test"][..], &["list"], &[]] {
        assert_eq!(Talk::begin(NAMELESS, arguments).end().code, 5);
    }
    assert_eq!(bound.saved(), before, "nobody but root has changed anything");

    for verb in ["totp", "disable", "recovery-codes"] {
        let end = Talk::begin("0", &[verb]).end();
        assert_eq!((end.code, end.said.contains(&format!("mfa-enroll {verb} --user NAME"))), (2, true), "{}", end.said);
    }
    assert_eq!(bound.saved(), before);
    let root = |arguments: &[&str]| Talk::begin("0", &[arguments, &["--user", "owner"]].concat()).end().code;
    assert_eq!(
        verbs.map(|(verb, _)| verb).map(root),
        [0, 0, 3, 4, 4, 4, 4, 0, 3, 0, 1, 0, 3, 3, 3, 3, 3, 3],
        "the last ones after disable"
    );
    assert_eq!(Talk::begin("0", &RENAME).end().code, 1, "that is an account");
    assert_eq!(Talk::begin("0", &["list"]).end().code, 0);
    assert_eq!(Talk::begin("0", &["test"]).end().code, 0);
}

#[test]
fn without_the_service_others_than_root_are_told_what_to_do() {
    let (bound, service, me) = bound("serverless");
    let perl = r#"my @held; for (1..8) { my $c = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock") or die; sysread $c, my $x, 7; push @held, $c }
                  $| = 1; print "held\n"; <STDIN>"#;
    let mut holder = as_uid(&me);
    holder.args(["perl", "-MIO::Socket::UNIX", "-e", perl]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let end = Talk::begin(&me, &["status"]).end();
    let said = "mfa-enroll: too many conversations at once: try again in a minute\n";
    assert_eq!((end.code, end.data.as_str(), end.said.as_str()), (5, "", said));
    drop(holder.stdin.take());
    holder.wait().unwrap();

    drop(service);
    for verb in [&["status"][..], &["totp"], &["test"], &[]] {
        let end = Talk::begin(&me, verb).end();
        let said = "mfa-enroll: the helper's service is not running; as root:\n  systemctl start mfa-helper.socket\n";
        assert_eq!((end.code, end.data.as_str(), end.said.as_str()), (5, "", said), "{verb:?}");
    }
    assert_eq!(Talk::begin("0", &["status", "--user", "serverless"]).end().code, 0, "root starts one of its own");
    drop(bound);
}

#[test]
fn a_socket_that_is_not_roots_learns_nothing() {
    let (_bound, service, me) = bound("deceived");
    drop(service);
    add_user("deceiver");
    // As if somebody had got hold of the folder.
    fs::set_permissions("/run/mfa", PermissionsExt::from_mode(0o777)).unwrap();
    let perl = r#"umask 0; $SIG{PIPE} = "IGNORE"; my $l = IO::Socket::UNIX->new(Local => "/run/mfa/helper.sock", Listen => 9) or die;
                  $| = 1; print "ready\n"; my $c = $l->accept; syswrite $c, pack("H*", "00000003200101");
                  print((sysread($c, my $x, 999) || 0), "\n")"#;
    let mut fake = as_uid(&uid("deceiver"));
    fake.args(["perl", "-MIO::Socket::UNIX", "-e", perl]).stdout(Stdio::piped());
    let mut fake = fake.spawn().unwrap();
    let mut lines = BufReader::new(fake.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let end = Talk::begin(&me, &["totp"]).end();
    assert_eq!((end.code, end.data.as_str()), (5, ""), "{}", end.said);
    assert!(end.said.contains("no program of root's listens at /run/mfa/helper.sock"), "{}", end.said);
    assert_eq!(lines.next().unwrap().unwrap(), "0", "it was sent something");
    fake.wait().unwrap();
    fs::remove_file(Path::new(SOCKET)).unwrap();
}
