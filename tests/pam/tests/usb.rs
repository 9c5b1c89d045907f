//! Security keys that are plugged in: the real libfido2, and keys that are programs.
//!
//! Whatever comes of it, no process of a key is left, and no device open: `Asking::end` looks.

#![allow(clippy::panic)]

use pam_tests::Desk;

/// What a key may do wrong once it is touched, and what the helper then says. A terminal in the place of a device may cut a
/// frame of a flood in two, which libfido2 refuses before the time is up.
const FAULTS: [(&str, &str); 14] = [
    ("bad-signature", "Refused(BadSignature)"),
    ("replay", "Refused(BadSignature)"),
    ("no-up", "Refused(NotTouched)"),
    ("wrong-rpid", "Refused(WrongRpId)"),
    ("hang", "NotTouched"),
    ("keepalive", "NotTouched"),
    ("garbage", "NotTouched"),
    ("wrong-channel", "NotTouched"),
    ("bad-cbor", "Hostile"),
    ("huge-cbor", "Hostile"),
    ("short-frame", "Hostile"),
    ("oversize-length", "Hostile"),
    ("error-frame", "Hostile"),
    ("die", "Unplugged"),
];

fn failure(outcome: &str) -> &str {
    outcome.strip_prefix("failure ").unwrap_or_else(|| panic!("{outcome}"))
}

#[test]
fn a_touch_binds_a_key_and_a_touch_lets_in() {
    for kind in [&[][..], &["--ctap20"], &["--fido2-only"], &["--u2f-only"]] {
        let desk = Desk::new();
        let key = desk.plugged(kind);
        let bound = desk.bind(&[]);
        let touches = key.count("touches");
        let lines = desk.ask(&["assert", &bound]).end();
        assert_eq!(lines[0], "tell Touch", "{kind:?}");
        assert!(lines[1].starts_with("signed 0 ") && lines[1].ends_with(" 01"), "{kind:?}: {lines:?}");
        assert_eq!(key.count("touches"), touches + 1, "{kind:?}: one touch");
        assert!(!key.is_open());
    }
}

#[test]
fn the_counter_that_a_key_signs_is_given_back() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    let counter = || desk.ask(&["assert", &bound]).outcome().split(' ').nth(2).unwrap().parse::<u32>().unwrap();
    key.tell("counter 100");
    let first = counter();
    assert!(counter() > first);
    key.tell("counter 5");
    assert!(counter() < first);
}

#[test]
fn who_refuses_or_does_nothing_is_not_let_in() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("touch deny");
    assert_eq!(failure(&desk.ask(&["assert", &bound]).outcome()), "Denied");
    key.tell("touch wait");
    assert_eq!(failure(&desk.ask(&["assert", &bound, "ms=2000"]).outcome()), "NotTouched");
    key.tell("touch auto");
    assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"), "the key is free again");
}

#[test]
fn a_hostile_key_is_refused_whatever_it_does_after_the_touch() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    for (fault, expected) in FAULTS {
        assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"), "before {fault}");
        key.tell(&format!("fault {fault}"));
        let outcome = desk.ask(&["assert", &bound, "ms=2000"]).outcome();
        let cut_in_two = fault == "keepalive" && failure(&outcome).starts_with("Hostile");
        assert!(failure(&outcome).starts_with(expected) || cut_in_two, "{fault}: {outcome}");
        assert!(!key.is_open(), "{fault}");
        if fault != "die" {
            key.tell("fault none");
        }
    }
}

#[test]
fn a_hostile_key_is_refused_whatever_it_does_before_the_touch() {
    for stage in ["open", "info", "silent"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        for (fault, why) in FAULTS.iter().filter(|(fault, _)| *fault != "die") {
            key.tell(&format!("fault {fault} {stage}"));
            let outcome = desk.ask(&["assert", &bound, "ms=500"]).outcome();
            // Before the touch it is not the person who is late; and the frames of a terminal have no bounds, so the rest
            // of a short one is waited for.
            let expected = match (stage, *fault, *why) {
                (_, "keepalive", _) => "Locked",
                (_, "hang" | "garbage" | "wrong-channel", _) | ("open", "short-frame", _) => "Silent",
                (_, _, why) => why,
            };
            assert!(failure(&outcome).starts_with(expected), "{stage} {fault}: {outcome}");
            assert!(!key.is_open(), "{stage} {fault}");
            key.tell("fault none");
        }
        assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"), "after {stage}");
    }
}

#[test]
fn a_hostile_key_is_not_bound() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    for fault in ["bad-signature", "no-up", "wrong-rpid", "bad-cbor", "huge-cbor", "garbage", "hang", "keepalive"] {
        key.tell(&format!("fault {fault}"));
        failure(&desk.ask(&["make", "ms=2000"]).outcome());
        key.tell("fault none");
    }
    desk.bind(&[]);
}

#[test]
fn the_key_of_another_user_and_a_strangers_are_told_apart_from_the_bound_one() {
    let desk = Desk::new();
    let first = desk.plugged(&[]);
    let of_alice = desk.bind(&[]);
    desk.unplug(&first);
    let _second = desk.plugged(&[]);
    let lines = desk.ask(&["assert", &of_alice, "ms=3000"]).end();
    assert_eq!(lines[..2], ["tell WrongKey", "failure NoBoundKey"]);
    let of_bob = desk.bind(&["rp=pam://other"]);
    let swapped = of_bob.replace("pam://other", "pam://test");
    assert_eq!(failure(&desk.ask(&["assert", &swapped, "ms=3000"]).outcome()), "NoBoundKey", "another relying party");
    let mixed = {
        let (alice, bob): (Vec<_>, Vec<_>) = (of_alice.split(',').collect(), of_bob.split(',').collect());
        format!("{},{},{},{}", bob[0], bob[1], alice[2], bob[3])
    };
    let outcome = desk.ask(&["assert", &mixed, "ms=3000"]).outcome();
    assert_eq!(failure(&outcome), "Refused(BadSignature)", "the public key of another");
}

#[test]
fn no_key_and_nobody_are_told_apart() {
    let desk = Desk::new();
    let lines = desk.ask(&["assert", "ms=300"]).end();
    assert_eq!(lines[..2], ["tell Insert", "failure NoKey"]);
}

#[test]
fn a_key_that_is_plugged_in_while_it_is_waited_for_is_asked() {
    let desk = Desk::new();
    let (right, wrong) = (desk.key(&[]), desk.key(&[]));
    desk.plug(&right);
    let bound = desk.bind(&[]);
    desk.unplug(&right);
    let mut asking = desk.ask(&["assert", &bound]);
    asking.until("tell Insert");
    desk.plug(&wrong);
    asking.until("tell WrongKey");
    right.tell("plug");
    desk.plug(&right);
    asking.until("tell Touch");
    assert!(asking.outcome().starts_with("signed 0"));
}

#[test]
fn a_key_that_is_pulled_out_at_the_touch_ends_it() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("touch wait");
    let mut asking = desk.ask(&["assert", &bound]);
    asking.until("tell Touch");
    key.tell("await touch");
    desk.unplug(&key);
    assert_eq!(failure(&asking.outcome()), "Unplugged");
}

#[test]
fn who_leaves_in_the_middle_leaves_no_key_that_waits() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("touch wait");
    let asking = desk.ask(&["assert", &bound]);
    key.tell("await touch");
    let lines = asking.leave();
    assert!(lines.iter().any(|line| line.starts_with("failure Gone")), "{lines:?}");
    let signatures = key.count("signatures");
    // A touch that comes too late finds nothing to sign: the key was told.
    key.tell("touch");
    key.tell("touch auto");
    assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"), "the key is free again");
    assert_eq!(key.count("signatures"), signatures + 1);
}

#[test]
fn the_process_of_a_key_is_nobody_and_dies_with_its_helper() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("touch wait");
    let mut asking = desk.ask(&["assert", &bound]);
    asking.until("tell Touch");
    key.tell("await touch");
    let [child] = asking.children()[..] else { panic!("{:?}", asking.children()) };
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("{name}: {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (name, expected) in [
        ("Uid", "65534 65534 65534 65534"),
        ("Gid", "65534 65534 65534 65534"),
        ("Groups", ""),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let mut open: Vec<_> = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap().collect();
    assert_eq!(open.len(), 4, "{open:?}");
    open.clear();
    assert_eq!(std::fs::read(format!("/proc/{child}/environ")).unwrap(), b"");
    let kill = |pid: u32| drop(pam_tests::run("kill", &["-KILL", &pid.to_string()]));
    kill(asking.pid());
    // It ends with its helper, and so lets go of the key: otherwise this one would wait for the touch.
    key.tell("touch auto");
    assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"));
}

#[test]
fn a_pin_is_asked_for_once_and_demanded() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    assert!(bound.ends_with(",true"), "{bound}");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert_eq!(lines[..2], ["pin \"blue\" Some(8)", "tell Touch"]);
    assert!(lines[2].ends_with(" 05"), "{lines:?}");

    let outcome = desk.ask(&["assert", &bound, "answer=4321"]).outcome();
    assert_eq!(failure(&outcome), "WrongPin { left: Some(7) }");
    assert_eq!(key.tell("retries"), "7", "one try for one answer");
    assert!(failure(&desk.ask(&["assert", &bound]).outcome()).starts_with("Gone"), "nobody answers");

    key.tell("fault no-uv");
    let outcome = desk.ask(&["assert", &bound, "answer=1234"]).outcome();
    assert_eq!(failure(&outcome), "Refused(NotVerified)");
    key.tell("fault none");

    let never = desk.ask(&["assert", &bound, "pin=never"]).end();
    assert!(never[1].starts_with("signed") && never[1].ends_with(" 01"), "{never:?}");

    key.tell("pin none");
    let outcome = desk.ask(&["assert", &bound, "ms=3000"]).outcome();
    assert!(["NoPin", "NoBoundKey"].contains(&failure(&outcome)), "{outcome}");
}

#[test]
fn the_last_tries_of_a_pin_are_spared_and_a_blocked_one_is_named() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    key.tell("retries 3");
    assert_eq!(failure(&desk.ask(&["assert", &bound, "spare", "answer=1234"]).outcome()), "FewTries(3)");
    assert_eq!(key.tell("retries"), "3");
    key.tell("retries 4");
    assert!(desk.ask(&["assert", &bound, "spare", "answer=1234"]).outcome().starts_with("signed"));
    key.tell("retries 1");
    assert!(failure(&desk.ask(&["assert", &bound, "answer=9999"]).outcome()).starts_with("PinBlocked"));
    assert!(failure(&desk.ask(&["assert", &bound, "answer=1234"]).outcome()).starts_with("PinBlocked"));
}

#[test]
fn a_pin_that_is_required_is_not_replaced_by_a_touch() {
    for kind in [&[][..], &["--u2f-only"]] {
        let desk = Desk::new();
        let _key = desk.plugged(kind);
        let why = if kind.is_empty() { "NoPin" } else { "NeverAPin" };
        assert_eq!(failure(&desk.ask(&["make", "pin=require"]).outcome()), why, "{kind:?}");
        let bound = desk.bind(&[]);
        assert!(bound.ends_with(",false"));
        assert_eq!(failure(&desk.ask(&["assert", &bound, "pin=require"]).outcome()), why, "{kind:?}");
        let verified = bound.replace(",false", ",true");
        assert_eq!(failure(&desk.ask(&["assert", &verified]).outcome()), why, "{kind:?}");
    }
}

#[test]
fn a_fingerprint_stands_in_for_the_pin() {
    let desk = Desk::new();
    let key = desk.plugged(&["--uv", "--pin", "1234"]);
    let bound = desk.bind(&["pin=require"]);
    assert!(bound.ends_with(",true"), "{bound}");
    let lines = desk.ask(&["assert", &bound, "pin=require"]).end();
    assert!(lines[1].starts_with("signed") && lines[1].ends_with(" 05"), "{lines:?}");
    key.tell("finger blocked");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert!(lines.iter().any(|line| line.starts_with("pin ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("signed")), "{lines:?}");
}

#[test]
fn of_ten_bound_keys_and_two_plugged_in_one_touch_is_asked() {
    let desk = Desk::new();
    let mut bound = Vec::new();
    let keys: Vec<_> = (0..2).map(|_| desk.key(&[])).collect();
    for key in &keys {
        desk.plug(key);
        bound.push(desk.bind(&[]));
        desk.unplug(key);
        key.tell("plug");
    }
    for _ in 0..8 {
        let other = desk.plugged(&[]);
        bound.push(desk.bind(&[]));
        desk.unplug(&other);
    }
    keys.iter().for_each(|key| {
        desk.plug(key);
        key.tell("touch wait");
    });
    let arguments: Vec<&str> = std::iter::once("assert").chain(bound.iter().map(String::as_str)).collect();
    let mut asking = desk.ask(&arguments);
    asking.until("tell Touch");
    keys.iter().for_each(|key| drop(key.tell("await touch")));
    keys[1].tell("touch");
    let lines = asking.end();
    assert_eq!(lines.iter().filter(|line| line.starts_with("tell")).count(), 1, "{lines:?}");
    assert!(lines[1].starts_with("signed 1 "), "{lines:?}");
}

#[test]
fn of_two_keys_with_pins_a_touch_chooses() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..2).map(|_| desk.key(&["--pin", "1234"])).collect();
    let mut bound = Vec::new();
    for key in &keys {
        desk.plug(key);
        bound.push(desk.bind(&["answer=1234"]));
        desk.unplug(key);
        key.tell("plug");
    }
    keys.iter().for_each(|key| {
        desk.plug(key);
        key.tell("touch wait");
    });
    let mut asking = desk.ask(&["assert", &bound[0], &bound[1], "answer=1234"]);
    asking.until("tell TouchToChoose");
    keys.iter().for_each(|key| drop(key.tell("await touch")));
    keys[1].tell("touch");
    asking.until("pin ");
    asking.until("tell Touch");
    keys[1].tell("await touch");
    keys[1].tell("touch");
    assert!(asking.outcome().starts_with("signed 1 "));
}

#[test]
fn once_a_key_is_chosen_no_other_is_asked() {
    let desk = Desk::new();
    let keys: Vec<_> = (0..2).map(|_| desk.key(&["--pin", "1234"])).collect();
    let mut bound = Vec::new();
    for key in &keys {
        desk.plug(key);
        bound.push(desk.bind(&["answer=1234"]));
        desk.unplug(key);
        key.tell("plug");
    }
    keys.iter().for_each(|key| {
        desk.plug(key);
        key.tell("touch wait");
    });
    let mut asking = desk.ask(&["assert", &bound[0], &bound[1], "answer=1234", "ms=2500"]);
    asking.until("tell TouchToChoose");
    keys.iter().for_each(|key| drop(key.tell("await touch")));
    keys[1].tell("touch");
    asking.until("pin ");
    let asked_so_far = keys[0].count("silent");
    assert_eq!(failure(&asking.outcome()), "NotTouched");
    assert_eq!(keys[0].count("silent"), asked_so_far);
}

#[test]
fn a_key_is_bound_once_and_a_second_one_beside_it() {
    for kind in [&[][..], &["--u2f-only"]] {
        let desk = Desk::new();
        let _first = desk.plugged(kind);
        let bound = desk.bind(&[]);
        assert_eq!(failure(&desk.ask(&["make", &bound]).outcome()), "AlreadyBound", "{kind:?}");
        let _second = desk.plugged(kind);
        let spare = desk.bind(&[&bound]);
        assert_ne!(bound, spare);
        assert!(desk.ask(&["assert", &bound, &spare]).outcome().starts_with("signed"), "{kind:?}");
    }
}

#[test]
fn a_model_that_is_not_in_the_list_is_not_bound() {
    let desk = Desk::new();
    let _key = desk.plugged(&["--aaguid", "00112233-4455-6677-8899-aabbccddeeff"]);
    let lines = desk.ask(&["make"]).end();
    let model = lines.iter().find(|line| line.starts_with("model")).unwrap();
    assert!(model.starts_with("model 00112233445566778899aabbccddeeff "), "{model}");
    let outcome = desk.ask(&["make", "aaguid=ffeeddccbbaa99887766554433221100"]).outcome();
    assert!(failure(&outcome).starts_with("NotAllowedModel"), "{outcome}");
    // The list asks for a maker's certificate: a key that vouches for itself may call itself anything.
    let outcome = desk.ask(&["make", "aaguid=00112233445566778899aabbccddeeff"]).outcome();
    assert!(failure(&outcome).starts_with("NotAllowedModel"), "{outcome}");
}

#[test]
fn an_attestation_that_cannot_be_checked_matters_only_where_models_are_listed() {
    let desk = Desk::new();
    let _key = desk.plugged(&["--odd-attestation", "--aaguid", "00112233-4455-6677-8899-aabbccddeeff"]);
    let outcome = desk.ask(&["make", "aaguid=00112233445566778899aabbccddeeff"]).outcome();
    assert!(failure(&outcome).starts_with("NotAllowedModel"), "{outcome}");
    let bound = desk.bind(&[]);
    assert!(desk.ask(&["assert", &bound]).outcome().starts_with("signed"));
}

#[test]
fn what_is_no_device_of_that_number_is_not_opened() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    desk.change_number(&key, "136:65000");
    assert_eq!(failure(&desk.ask(&["assert", &bound, "ms=300"]).outcome()), "NoKey");
}

#[test]
fn a_host_without_the_library_says_so() {
    let desk = Desk::new();
    let _key = desk.plugged(&[]);
    desk.hide_library();
    let outcome = desk.ask(&["make"]).outcome();
    assert!(failure(&outcome).starts_with("NoLibrary"), "{outcome}");
}
