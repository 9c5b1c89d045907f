//! Users who manage their own devices, by the service's socket: what they prove, what they may do, and what not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use pam_tests::code::{AUTH_ERR, SUCCESS};
use pam_tests::{Bound, Clock, Helper, Listener, Log, PASSWORD, add_user, artifact, run};

const SOCKET: &str = "/run/mfa/helper.sock";
const WRITTEN: &str = "Type ok when you have written them down: ";
const CODE: &str = "One-time code: ";

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
    talk.answer("First code: ", "");
    let end = talk.end();
    assert_eq!(end.code, 1, "who leaves has bound nothing: {}", end.said);
    assert!(status(&me).contains("\"kind\":null"));

    let mut talk = Talk::begin(&me, &["totp", "--key-only", "--label", "phone"]);
    talk.answer("Password: ", PASSWORD);
    // The question comes after the key; a wrong pair brings it again.
    talk.answer("First code: ", "000000");
    bound.set_key(talk.key());
    talk.answer("Second code: ", "111111");
    talk.answer("First code: ", &bound.code(-1));
    talk.answer("Second code: ", &bound.code(0));
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
    talk.answer("First code: ", "000000");
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
    let said = "One-time code: \nThe code is right: door would let you in.\nThis device was bound 0 s ago from root.\n";
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

    bound.system.config("[[rule]]\nservices = [\"open\"]\nrequire = \"off\"\n");
    let end = Talk::begin(&me, &["test", "--service", "open"]).end();
    assert_eq!((end.code, end.said.as_str()), (0, "open asks no second factor of you.\n"));
}

#[test]
fn where_the_policy_forbids_it_users_change_nothing() {
    let (bound, _service, me) = bound("managed");
    bound.system.config("self_service = false\n");
    let before = bound.saved();
    for verb in ["totp", "disable", "recovery-codes"] {
        let end = Talk::begin(&me, &[verb]).end();
        let said = "mfa-enroll: Devices are managed by the administrators here: ask one of them.\n";
        assert_eq!((end.code, end.said.as_str()), (1, said), "{verb}");
    }
    assert_eq!(bound.saved(), before);
    assert!(status(&me).contains("\"kind\":\"totp\""));
    assert_eq!(test(&me, &bound.code(1)).code, 0);
    assert_eq!(Talk::begin("0", &["disable", "--user", "managed"]).end().code, 0, "root is not a user here");
}

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
    let verbs: [(&[&str], bool); 8] = [
        (&["status"], false),
        (&["totp"], false),
        (&["disable"], false),
        (&["recovery-codes"], false),
        (&["totp", "--json"], true),
        (&["confirm", "000000", "111111"], true),
        (&["cancel"], true),
        (&["unlock"], true),
    ];
    for (verb, root_only) in verbs {
        // A listener that has not heard of them: so many conversations in a row are too many.
        drop(service);
        service = Service::start(&bound.clock);
        let of = |uid: &str, user: &str| Talk::begin(uid, &[verb, &["--user", user]].concat()).end();
        let own = of(&me, "owner");
        match (verb[0], root_only) {
            ("status", _) => assert_eq!((own.code, own.said.as_str()), (0, ""), "{verb:?}"),
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
    for who in [&me, &other] {
        for asked in [&["list"][..], &["list", "--missing"], &["list", "--group", "root", "--json"], &["doctor"]] {
            let end = Talk::begin(who, asked).end();
            assert_eq!((end.code, end.data.as_str(), end.said), (1, "", format!("mfa-enroll: {ROOT_ONLY}\n")));
        }
        let end = Talk::begin(who, &["status", "--config", "/etc/shadow"]).end();
        assert_eq!((end.code, end.data.as_str()), (2, ""), "{}", end.said);
        assert_eq!(Talk::begin(who, &[]).end(), Talk::begin(who, &["status"]).end(), "no verb, and nobody to ask");
    }
    assert_eq!(Talk::begin(&other, &["test"]).end().code, 0, "nothing is asked of who has nothing");
    assert_eq!(Talk::begin(&me, &["test"]).end().said, format!("{CODE}\nmfa-enroll: Cancelled.\n"));
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
    assert_eq!(verbs.map(|(verb, _)| verb).map(root), [0, 4, 0, 3, 0, 1, 0, 3], "the last four after disable");
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
