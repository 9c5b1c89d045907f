//! An administrator binds, looks at and disables authenticator apps: on a real terminal with a person
//! in front of it, and by script.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{CODE, Door, Person, shipped};
use e2e::{Machine, Picture, Screen, Terminal, Theme, oath, oath::Codes};

static MACHINE: LazyLock<Machine> = LazyLock::new(shipped);

const NOTHING: &str = "{\"user\":\"NAME\",\"account\":\"there\",\"kind\":null,\"pending\":false,\"required\":false,\"devices\":[],\
                       \"recovery_codes_left\":0,\"bypass_until\":null,\"locked_until\":null}\n";

/// The address in the QR code, as a scanner reads it off the screen, and the key in it.
#[track_caller]
fn scanned(screen: &Screen, theme: Theme, who: &Person) -> String {
    let uri = screen.decode_qr(theme).unwrap_or_else(|| panic!("no QR code for a scanner ({theme:?}):\n{screen}"));
    let key = uri.strip_prefix(&format!("otpauth://totp/web1:{}?secret=", who.name));
    let key = key.and_then(|rest| rest.strip_suffix("&issuer=web1")).unwrap_or_else(|| panic!("{uri}"));
    assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{uri}");
    key.to_owned()
}

/// The key as a person would type it from the screen: its groups of four.
fn typed_off(screen: &Screen) -> String {
    let is_group =
        |word: &&str| word.len() == 4 && word.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b));
    screen.text().split_whitespace().filter(is_group).collect()
}

/// No part of the key and nothing of the picture is left to be photographed.
#[track_caller]
fn wiped(screen: &Screen, key: &str) {
    let text = screen.text();
    assert!(!text.contains(&key[..4]) && !text.contains(['█', '▀', '▄', '#']), "the key is still there:\n{screen}");
}

/// Starts a binding on a terminal that tells afterwards how it ended and whether it is as it was.
fn begin(who: &Person) -> Terminal {
    let name = &who.name;
    MACHINE.terminal().run(&format!(
        "stty --save >{name}; mfa-enroll totp --user {name}; echo \"exit $?\"; \
         stty --save | cmp {name} - && echo 'tty as before'; read go_on"
    ))
}

#[track_caller]
fn ended(t: &mut Terminal, code: i32) {
    t.wait_for(&format!("exit {code}\n"));
    t.wait_for("tty as before");
}

#[track_caller]
fn not_bound(who: &Person) {
    assert!(!who.has_record(), "something is kept of {}", who.name);
    assert_eq!(
        MACHINE.sh_ok(&format!("mfa-enroll status --user {} --json", who.name)),
        NOTHING.replace("NAME", &who.name)
    );
}

#[test]
fn binding_by_the_qr_code_on_the_screen() {
    let who = Person::new(&MACHINE, "alice");
    let mut t = begin(&who);
    t.wait_for("First verification code (the app shows a new one in ");
    let screen = t.screen();
    let key = scanned(&screen, Theme::Dark, &who);
    assert_eq!(scanned(&screen, Theme::Light, &who), key);
    assert_eq!(typed_off(&screen), key, "{screen}");
    let text = screen.text();
    for words in ["issuer  web1", "account alice", "time-based", "Ctrl-C leaves; nothing is bound then."] {
        assert!(text.contains(words), "{words} is not on the screen:\n{screen}");
    }
    assert!(!who.has_record(), "kept before the codes were given");
    who.keep_secret(&key);

    let codes = Codes::now(&key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code (");
    let screen = t.screen();
    assert_eq!(scanned(&screen, Theme::Dark, &who), key, "the picture stays while the app's next code is awaited");
    t.type_line(&codes.present);
    take_codes(&mut t);
    t.wait_for("The device of alice is bound. From the next login on its code is asked.");
    ended(&mut t, 0);
    wiped(&t.screen(), &key);

    let line = who.logged(&["event=totp "]);
    assert!(
        line.contains("event=totp user=alice caller=0 ") && line.ends_with("verdict=accepted reason=bound"),
        "{line}"
    );
    let status = MACHINE.sh_ok("mfa-enroll status --user alice");
    for words in ["user            alice\n", "device          totp (authenticator app)\n", "required        no\n"] {
        assert!(status.contains(words), "{status}");
    }
    assert!(status.contains("  last used     never\n"), "{status}");

    Door::Ssh.lets_in(&who, &codes.next);
    assert!(!MACHINE.sh_ok("mfa-enroll status --user alice").contains("never"));
    assert!(!status.contains(&key) && !MACHINE.sh_ok("mfa-enroll status --user alice --json").contains(&key));
}

/// What is wrong with two codes is said, and three times is enough.
#[test]
fn the_rule_that_a_pair_of_codes_broke_is_named() {
    let who = Person::new(&MACHINE, "bea");
    let mut t = begin(&who);
    t.wait_for("First verification code (");
    let key = typed_off(&t.screen());
    who.keep_secret(&key);
    let codes = Codes::now(&key);
    let hour_ago = Codes::at(&key, oath::unix_now() - 3600);
    enter(&mut t, &codes.present, &codes.present);
    t.wait_for("Both codes are from the same 30 seconds: wait for the next one.");
    t.wait_for("First verification code (");
    enter(&mut t, &hour_ago.previous, &hour_ago.present);
    t.wait_for("These codes are an hour old, or your clock is behind");
    t.wait_for("First verification code (");
    let screen = t.screen();
    assert_eq!(scanned(&screen, Theme::Dark, &who), key, "a message displaces the picture");
    enter(&mut t, "000000", "111111");
    t.wait_for("Neither code belongs to this key");
    ended(&mut t, 1);
    assert!(t.screen().text().contains("Nothing was bound."), "{}", t.screen());
    wiped(&t.screen(), &key);
    who.logged(&["event=totp", "verdict=refused", "reason=\"Neither code belongs to this key"]);
    not_bound(&who);

    let mut t = begin(&who);
    t.wait_for("First verification code (");
    let other = typed_off(&t.screen());
    assert_ne!(other, key, "a key is shown once");
    let codes = Codes::now(&other);
    enter(&mut t, &codes.present, &codes.previous);
    t.wait_for("The codes are in the wrong order: the older one comes first.");
    t.wait_for("First verification code (");
    enter(&mut t, &codes.previous, &codes.next);
    t.wait_for("Both codes are right, but they do not follow each other: enter two in a row.");
    t.wait_for("First verification code (");
    enter(&mut t, &codes.previous, "letters");
    t.wait_for("The second code is not 6 digits.");
    ended(&mut t, 1);
    not_bound(&who);
}

#[track_caller]
fn enter(t: &mut Terminal, first: &str, second: &str) {
    t.type_line(first);
    t.wait_for("Second verification code (");
    t.type_line(second);
}

#[test]
fn who_leaves_at_a_prompt_has_bound_nothing() {
    for (name, keys, at_second) in
        [("cc1", "\x03", false), ("cc2", "\x03", true), ("cd1", "\x04", false), ("cd2", "\x04", true)]
    {
        let who = Person::new(&MACHINE, name);
        let mut t = begin(&who);
        t.wait_for("First verification code (");
        let key = typed_off(&t.screen());
        who.keep_secret(&key);
        if at_second {
            t.type_line(&Codes::now(&key).previous);
            t.wait_for("Second verification code (");
        }
        t.send(keys);
        t.wait_for("Cancelled.");
        ended(&mut t, 1);
        wiped(&t.screen(), &key);
        not_bound(&who);
        who.logged(&["event=totp", "verdict=no-interaction", "reason=cancelled"]);
    }
}

#[test]
fn a_closed_window_has_bound_nothing() {
    for (name, at_second) in [("hup1", false), ("hup2", true)] {
        let who = Person::new(&MACHINE, name);
        let mut t = MACHINE.terminal().run(&format!("exec mfa-enroll totp --user {name}"));
        t.wait_for("First verification code (");
        if at_second {
            let key = typed_off(&t.screen());
            t.type_line(&Codes::now(&key).previous);
            t.wait_for("Second verification code (");
        }
        // By the signal, as any program without a terminal.
        assert_eq!(t.close(), 128 + 1);
        who.logged(&["event=totp", "verdict=no-interaction"]);
        not_bound(&who);
    }
}

#[test]
fn a_narrow_window_holds_the_picture_and_the_key() {
    let who = Person::new(&MACHINE, "nora");
    let mut t = MACHINE.terminal().size(60, 20).run("exec mfa-enroll totp --user nora");
    t.wait_for("First verification code (");
    let screen = t.screen();
    let key = scanned(&screen, Theme::Dark, &who);
    assert_eq!(scanned(&screen, Theme::Light, &who), key);
    assert_eq!(typed_off(&screen), key, "{screen}");
    bind_with(&mut t, &key);
    wiped(&t.screen(), &key);
}

/// A person who types the key in needs no picture.
#[test]
fn without_utf8_the_key_is_typed() {
    let who = Person::new(&MACHINE, "otto");
    let mut t = MACHINE.terminal().env("LC_ALL", "C").run("exec mfa-enroll totp --user otto");
    t.wait_for("This locale is not UTF-8");
    t.wait_for("First verification code (");
    assert!(t.raw().is_ascii(), "{}", t.screen());
    let key = typed_off(&t.screen());
    bind_with(&mut t, &key);
    wiped(&t.screen(), &key);
    drop(who);
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let who = Person::new(&MACHINE, "dora");
    let mut t = MACHINE.terminal().env("TERM", "dumb").run("exec mfa-enroll totp --user dora");
    t.wait_for("First verification code: ");
    assert!(!t.raw().contains(&0x1b), "{}", t.screen());
    let screen = t.screen();
    let key = scanned(&screen, Theme::Dark, &who);
    assert!(screen.text().contains("--invert"), "who has a light terminal is helped:\n{screen}");
    let codes = Codes::now(&key);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code: ");
    t.type_line(&codes.present);
    take_codes(&mut t);
    t.wait_for("The device of dora is bound.");
    assert_eq!(t.exit_code(), 0);
    assert!(!t.raw().contains(&0x1b));
}

/// Says that the recovery codes are written down.
#[track_caller]
fn take_codes(t: &mut Terminal) {
    t.wait_for("Type ok when you have written them down: ");
    t.type_line("ok");
}

fn bind_with(t: &mut Terminal, key: &str) {
    let codes = Codes::now(key);
    enter(t, &codes.previous, &codes.present);
    take_codes(t);
    t.wait_for("is bound.");
    assert_eq!(t.exit_code(), 0);
}

/// Runs `mfa-enroll`, and gives exit code, stdout and stderr.
fn enroll(arguments: &str) -> (i32, String, String) {
    let output = MACHINE.sh(&format!("mfa-enroll {arguments}"));
    (output.code, output.stdout, output.stderr)
}

fn pending(who: &Person) -> (String, serde_json::Value) {
    let (code, json, said) = enroll(&format!("totp --user {} --json", who.name));
    assert_eq!((code, said.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let key = json["secret"].as_str().expect("a key").to_owned();
    who.keep_secret(&key);
    (key, json)
}

#[test]
fn a_script_binds_in_two_steps() {
    let who = Person::new(&MACHINE, "sven");
    let (first_key, _) = pending(&who);
    let (key, json) = pending(&who);
    assert_ne!(first_key, key);
    let names: Vec<_> = json.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["expires", "secret", "uri", "user"]);
    assert_eq!(json["uri"], format!("otpauth://totp/web1:sven?secret={key}&issuer=web1"));
    let expires = json["expires"].as_str().expect("a time");
    let expires: u64 = MACHINE.sh_ok(&format!("date --date={expires} +%s")).trim().parse().expect("a time");
    assert!((890..=900).contains(&(expires - oath::unix_now())), "{json}");
    assert!(enroll("status --user sven --json").1.contains("\"kind\":null,\"pending\":true"));
    Door::Su.lets_in_without_code(&who);

    let codes = Codes::now(&first_key);
    let (code, _, said) = enroll(&format!("confirm --user sven {} {}", codes.previous, codes.present));
    assert_eq!(code, 1, "the pending device was replaced: {said}");
    assert!(said.contains("Neither code belongs to this key"), "{said}");

    let codes = Codes::now(&key);
    let (code, out, said) = enroll(&format!("confirm --user sven {} {}", codes.present, codes.present));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(said.contains("Both codes are from the same 30 seconds"), "{said}");
    let (code, out, said) = enroll(&format!("confirm --user sven {} '{}'", codes.previous, spaced(&codes.present)));
    assert_eq!((code, out.as_str()), (0, ""), "{said}");
    assert!(said.contains("The device of sven is bound."), "{said}");
    Door::Ssh.lets_in(&who, &codes.next);

    // It is bound now, whoever asks.
    for again in ["totp --user sven --json", "totp --user sven", "confirm --user sven 000000 111111"] {
        let (code, out, said) = enroll(again);
        assert_eq!((code, out.as_str()), (4, ""), "{again}: {said}");
        assert!(said.contains("has a device already"), "{said}");
    }
    assert!(enroll("list").1.contains("sven "));
    let list: serde_json::Value = serde_json::from_str(&enroll("list --json").1).expect("JSON");
    assert!(list.as_array().expect("an array").iter().any(|one| one["user"] == "sven" && one["kind"] == "totp"));
}

fn spaced(code: &str) -> String {
    format!("{} {}", &code[..3], &code[3..])
}

#[test]
fn a_pending_device_is_cancelled_or_expires() {
    let who = Person::new(&MACHINE, "petra");
    assert_eq!(enroll("cancel --user petra").0, 3);
    assert_eq!(enroll("confirm --user petra 000000 111111").0, 3);
    let (key, _) = pending(&who);
    assert_eq!(enroll("cancel --user petra").0, 0);
    assert_eq!(enroll("cancel --user petra").0, 3);
    let codes = Codes::now(&key);
    let both = format!("{} {}", codes.previous, codes.present);
    let (code, _, said) = enroll(&format!("confirm --user petra {both}"));
    assert_eq!(code, 3, "{said}");
    not_bound(&who);

    let (key, _) = pending(&who);
    // A quarter of an hour later, as docs/files.md says that it is kept.
    MACHINE.sh_ok(
        "cd /var/lib/mfa/users/petra
         head -n -1 pending | sed 's/^expires .*/expires 1000000000/' >late
         printf 'sha256 %s\\n' \"$(sha256sum late | cut -d' ' -f1)\" >>late
         chmod 600 late; mv late pending",
    );
    let codes = Codes::now(&key);
    let (code, _, said) = enroll(&format!("confirm --user petra {} {}", codes.previous, codes.present));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("The pending device of petra has expired."), "{said}");
    not_bound(&who);
}

#[test]
fn the_picture_as_a_file() {
    let who = Person::new(&MACHINE, "svea");
    let (code, json, said) = enroll("totp --user svea --json --qr-svg /root/svea.svg");
    assert_eq!(code, 0, "{said}");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    who.keep_secret(json["secret"].as_str().expect("a key"));
    assert_eq!(MACHINE.sh_ok("stat --format='%a %U' /root/svea.svg"), "600 root\n");
    let svg = MACHINE.read("/root/svea.svg");
    let (code, out, said) = enroll("totp --user svea --json --qr-svg /root/svea.svg");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(said.contains("/root/svea.svg is there already, and is not overwritten"), "{said}");
    assert_eq!(MACHINE.read("/root/svea.svg"), svg);

    assert_eq!(drawn(&svg).decode_qr().as_deref(), json["uri"].as_str());
}

/// The picture: a path of rows of dark modules, each a run `Mx,yhLENGTHv1h-LENGTHz`.
fn drawn(svg: &str) -> Picture {
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("{text:?} in {svg}"));
    let between =
        |begin: &str, end: &str| svg.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect(svg).0;
    let side = 8 * number(between("viewBox=\"0 0 ", " "));
    let mut picture = Picture { width: side, height: side, grey: vec![255; side * side] };
    for run in between(" d=\"", "\"").split('M').skip(1) {
        let (x, rest) = run.split_once(',').expect(run);
        let (y, rest) = rest.split_once('h').expect(run);
        let (length, rest) = rest.split_once("v1h-").expect(run);
        assert_eq!(rest, format!("{length}z"));
        for row in 8 * number(y)..8 * number(y) + 8 {
            let begin = row * side + 8 * number(x);
            picture.grey[begin..begin + 8 * number(length)].fill(0);
        }
    }
    picture
}

#[test]
fn nobody_is_bound_who_is_not_there() {
    for verb in ["totp", "totp --json", "status", "disable", "cancel", "confirm"] {
        let codes = if verb == "confirm" { "000000 111111" } else { "" };
        let (code, out, said) = enroll(&format!("{verb} --user nobody-here {codes}"));
        assert_eq!((code, out.as_str()), (3, ""), "{verb}: {said}");
        assert!(said.contains("No user is called nobody-here."), "{verb}: {said}");
    }
    assert_eq!(enroll("totp --nonsense").0, 2);
}

#[test]
fn disabling_takes_effect_at_once_and_destroys_the_key() {
    let (who, app) = Person::bound(&MACHINE, "dieter");
    drop(Door::Ssh.up_to_the_code(&who));
    let mut t = MACHINE.terminal().run("mfa-enroll disable --user dieter; echo \"exit $?\"");
    t.wait_for("The device of dieter is unbound and its key destroyed");
    t.wait_for("exit 0\n");
    drop(t);
    who.logged(&["event=disable", "verdict=accepted"]);
    assert_eq!(MACHINE.sh(&format!("grep -r {} /var/lib/mfa", app.key)).code, 1);
    not_bound(&who);
    for door in [Door::Ssh, Door::Sudo, Door::Su] {
        door.lets_in_without_code(&who);
    }
    let (code, out, said) = enroll("disable --user dieter");
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(said.contains("No device is bound for dieter."), "{said}");

    // Binding again is a new device: the old one's codes are good for nothing.
    let new = who.bind();
    let mut t = Door::Ssh.up_to_the_code(&who);
    t.type_line(&oath::totp(&app.key, oath::unix_now() + 30));
    Door::Ssh.refuses_a_wrong_code(&who, &mut t);
    drop(t);
    Door::Ssh.lets_in(&who, &new.good);
}

/// Disabled while somebody stands at the prompt: the old code is refused, and nothing else happens.
#[test]
fn disabled_while_the_code_is_asked() {
    let (who, app) = Person::bound(&MACHINE, "mitten");
    let mut t = Door::Ssh.up_to_the_code(&who);
    MACHINE.sh_ok("mfa-enroll disable --user mitten");
    t.type_line(&app.good);
    t.wait_for("The device was unbound meanwhile.");
    t.wait_for(&Door::Ssh.password_prompt(&who));
    t.type_line(&who.password);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(t.text().matches(CODE).count(), 1);
}
