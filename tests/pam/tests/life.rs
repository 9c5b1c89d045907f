//! Security keys as they come: late, slow, busy, locked, hidden. Each has a life of its own, from its insertion on.

#![allow(clippy::panic)]

use pam_tests::{Desk, run};

fn failure(lines: &[String]) -> &str {
    let failure = lines.iter().find_map(|line| line.strip_prefix("failure "));
    failure.unwrap_or_else(|| panic!("{lines:?}"))
}

fn told(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("tell ")).collect()
}

/// The flags of what was signed.
#[track_caller]
fn flags(lines: &[String]) -> &str {
    let signed = lines.iter().find(|line| line.starts_with("signed "));
    signed.unwrap_or_else(|| panic!("{lines:?}")).rsplit(' ').next().unwrap_or_default()
}

/// Longer than the others are waited for.
const SETTLED: &str = "2.3";

/// One that was bound before it had a PIN is let in without, if it is taken for one of U2F.
#[test]
fn no_answer_that_is_lost_or_late_makes_a_key_one_of_u2f() {
    for trouble in ["busy once", "busy once open", "busy once silent", "busy 1000", "lose 1", "lose 2", "slow 3500"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        assert!(bound.ends_with(",false"));
        key.tell("pin 1234");
        key.tell(trouble);
        let lines = desk.ask(&["assert", &bound, "answer=1234", "ms=30000"]).end();
        assert_eq!(flags(&lines), "05", "{trouble}: {lines:?}");
    }
}

#[test]
fn a_key_with_a_pin_is_bound_with_it_whatever_was_lost() {
    for trouble in ["busy once", "lose 1", "slow 3500"] {
        let desk = Desk::new();
        let key = desk.plugged(&["--pin", "1234"]);
        key.tell(trouble);
        assert!(desk.bind(&["answer=1234", "ms=30000"]).ends_with(",true"), "{trouble}");
    }
}

/// It says in CTAPHID_INIT that it speaks CTAP2, and then says nothing that could be understood.
#[test]
fn a_key_that_never_says_what_it_is_is_not_taken_for_one_of_u2f() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("pin 1234");
    for (trouble, why) in [("lose 1000", "Silent"), ("status 01 info", "Hostile"), ("fault bad-cbor info", "Hostile")] {
        key.tell(trouble);
        let lines = desk.ask(&["assert", &bound, "answer=1234", "ms=3000"]).end();
        assert!(failure(&lines).starts_with(why), "{trouble}: {lines:?}");
        assert_eq!(key.count("touches"), 1, "{trouble}");
        ["lose 0", "status none", "fault none"].iter().for_each(|command| drop(key.tell(command)));
    }
}

#[test]
fn nothing_bad_is_said_of_a_key_that_was_just_plugged_in() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    desk.unplug(&key);
    let mut asking = desk.ask(&["assert", &bound]);
    asking.until("tell Insert");
    run("sleep", &[SETTLED]);
    key.tell("plug");
    key.tell("slow 300");
    desk.plug(&key);
    let lines = asking.end();
    assert_eq!(told(&lines), ["Insert", "Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "01");
}

/// Where a question can be asked, nobody waits for a key that is at home.
#[test]
fn enter_ends_the_wait_for_a_key_that_is_not_here() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    desk.unplug(&key);
    let begun = std::time::Instant::now();
    let mut asking = desk.ask(&["assert", &bound, "asks"]);
    asking.until("ask Insert");
    asking.press_enter();
    assert_eq!(failure(&asking.end()), "NoKey");
    assert!(begun.elapsed().as_secs() < 8, "it waited as for somebody who could not be asked");

    // The time begins with the answer, not with the question.
    let mut asking = desk.ask(&["assert", &bound, "asks", "ms=1000"]);
    asking.until("ask Insert");
    run("sleep", &["1.2"]);
    key.tell("plug");
    desk.plug(&key);
    asking.press_enter();
    let lines = asking.end();
    assert_eq!(told(&lines), ["Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "01");

    desk.unplug(&key);
    let strange = desk.plugged(&[]);
    let mut asking = desk.ask(&["assert", &bound, "asks"]);
    asking.until("ask WrongKey");
    // Somebody may leave the question standing.
    desk.lock(&strange);
    key.tell("plug");
    desk.plug(&key);
    asking.press_enter();
    assert_eq!(flags(&asking.end()), "01");
}

/// The kernel takes it away and shows it again, as another device.
#[test]
fn a_reset_of_the_bus_is_not_the_end() {
    for kind in [&[][..], &["--pin", "1234"]] {
        let desk = Desk::new();
        let key = desk.plugged(kind);
        let bound = desk.bind(&["answer=1234"]);
        for resets in [1, 2] {
            key.tell("touch wait");
            let mut asking = desk.ask(&["assert", &bound, "answer=1234", "again", "debug"]);
            for reset in 1..=resets {
                // It has said that it waits for the touch.
                asking.until("frame said KEEPALIVE 0x02");
                // A device that comes and goes is waited for as long as one that comes back once.
                run("sleep", &[if reset == 1 { "0" } else { "1.6" }]);
                desk.unplug(&key);
                key.tell("plug");
                desk.plug(&key);
                if reset == 1 {
                    asking.until("frame was sent INIT");
                }
            }
            key.tell("touch auto");
            let lines = asking.end();
            match resets {
                1 => assert_eq!(flags(&lines), if kind.is_empty() { "01" } else { "05" }, "{lines:?}"),
                // Otherwise a hostile one could keep a login for ever.
                _ => assert_eq!(failure(&lines), "Unplugged", "{lines:?}"),
            }
            assert!(!told(&lines).contains(&"Insert"), "{lines:?}");
        }
    }
}

/// After 15 seconds a login waits for no key any more, but for this one.
#[test]
fn a_key_that_comes_late_has_its_own_time() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    desk.unplug(&key);
    let mut asking = desk.ask(&["assert", &bound, "ms=20000"]);
    asking.until("tell Insert");
    run("sleep", &["13"]);
    key.tell("late 5000");
    key.tell("plug");
    desk.plug(&key);
    let lines = asking.end();
    assert_eq!(told(&lines), ["Insert", "Slow", "Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "01");
}

#[test]
fn a_busy_key_is_asked_again_until_it_is_free() {
    for stage in ["open", "info", "silent", "touch"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        key.tell(&format!("busy 4000 {stage}"));
        let lines = desk.ask(&["assert", &bound]).end();
        assert_eq!(flags(&lines), "01", "{stage}: {lines:?}");
        let told = told(&lines);
        assert!(told.contains(&"InUse") && told.last() == Some(&"Touch"), "{stage}: {lines:?}");
        assert!(!told.contains(&"Unusable"), "{stage}: {lines:?}");
    }
}

#[test]
fn a_key_that_stays_busy_is_said_to_be_in_use() {
    for stage in ["open", "info", "touch"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        key.tell(&format!("busy always {stage}"));
        let lines = desk.ask(&["assert", &bound, "ms=3000"]).end();
        assert_eq!(failure(&lines), "Busy", "{stage}: {lines:?}");
        key.tell("busy never");
        assert_eq!(failure(&desk.ask(&["make", "ms=100", &bound]).end()), "AlreadyBound");
    }
}

/// A lock is another program's word only, and it may never give it up.
#[test]
fn a_key_that_another_program_has_locked_is_waited_for_and_then_used() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    let locked = key.lock();
    let lines = desk.ask(&["assert", &bound]).end();
    assert_eq!(told(&lines), ["Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "01");
    let lines = desk.ask(&["assert", &bound, "ms=1000"]).end();
    assert_eq!(failure(&lines), "Busy", "it was not waited for long enough: {lines:?}");
    drop(locked);
    assert_eq!(flags(&desk.ask(&["assert", &bound]).end()), "01");
}

/// A key that is busy between PIN and touch costs no try; the PIN is asked for once.
#[test]
fn a_pin_is_typed_once_though_the_key_is_busy() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    let pins = key.count("pins");
    key.tell("busy 1000 touch");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert_eq!(flags(&lines), "05", "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("pin ")).count(), 1, "{lines:?}");
    assert!(key.count("pins") > pins && key.tell("retries") == "8");
}

/// Each time that a wrong PIN is sent costs a try, so it is sent once, whatever becomes of the answer.
#[test]
fn a_wrong_pin_is_sent_once() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    for (trouble, why) in [("busy 1000 touch", "WrongPin"), ("lose 1 touch", "")] {
        assert_eq!(key.tell("retries"), "8");
        key.tell(trouble);
        let lines = desk.ask(&["assert", &bound, "answer=4321", "ms=5000"]).end();
        assert!(failure(&lines).starts_with(why), "{trouble}: {lines:?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("pin ")).count(), 1, "{trouble}: {lines:?}");
        assert_eq!(key.tell("retries"), "7", "{trouble}");
        key.tell("lose 0");
        assert_eq!(flags(&desk.ask(&["assert", &bound, "answer=1234"]).end()), "05", "the right one forgives it");
    }
}

#[test]
fn a_locked_key_is_waited_for() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    let bound = desk.bind(&[]);
    key.tell("locked");
    let mut asking = desk.ask(&["assert", &bound, "ms=20000"]);
    asking.until("tell Unlock");
    run("sleep", &["6"]);
    key.tell("unlocked");
    let lines = asking.end();
    assert_eq!(told(&lines), ["Unlock", "Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "01");

    key.tell("locked");
    let lines = desk.ask(&["assert", &bound, "ms=3000"]).end();
    assert_eq!(failure(&lines), "Locked");
}

#[test]
fn ten_bound_keys_and_a_slow_one_are_time_enough() {
    let desk = Desk::new();
    let mut bound = Vec::new();
    for _ in 0..9 {
        let other = desk.plugged(&[]);
        bound.push(desk.bind(&[]));
        desk.unplug(&other);
    }
    let key = desk.plugged(&[]);
    bound.push(desk.bind(&[]));
    key.tell("slow 600");
    let arguments: Vec<&str> = ["assert", "ms=30000"].into_iter().chain(bound.iter().map(String::as_str)).collect();
    let lines = desk.ask(&arguments).end();
    assert_eq!(told(&lines), ["Slow", "Touch"], "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("signed 9 ")), "{lines:?}");
}

/// credProtect 3: without the PIN it says that it does not hold what it holds.
#[test]
fn a_key_that_hides_what_it_holds_is_asked_with_its_pin() {
    for kind in [&["--pin", "1234"][..], &["--uv", "--pin", "1234"]] {
        let desk = Desk::new();
        let key = desk.plugged(kind);
        key.tell("protect 3");
        let bound = desk.bind(&["answer=1234"]);
        for pin in ["pin=if-set", "pin=require", "pin=never"] {
            let lines = desk.ask(&["assert", &bound, "answer=1234", pin]).end();
            assert_eq!(flags(&lines), "05", "{kind:?} {pin}: {lines:?}");
        }
        // Beside others, of which it holds none.
        key.tell("protect 0");
        let other = desk.key(&["--pin", "1234"]);
        desk.unplug(&key);
        desk.plug(&other);
        let of_other = desk.bind(&["answer=1234"]);
        desk.unplug(&other);
        key.tell("plug");
        desk.plug(&key);
        let touches = key.count("touches");
        let lines = desk.ask(&["assert", &of_other, &bound, "answer=1234"]).end();
        assert!(lines.iter().any(|line| line.starts_with("signed 1 ")), "{kind:?}: {lines:?}");
        // A touch chooses it, as it may be a strange one; or a finger is laid on it for each, and a touch follows.
        let most = if kind.contains(&"--uv") { 3 } else { 2 };
        assert!(key.count("touches") <= touches + most, "{kind:?}: a touch too many");
        let lines = desk.ask(&["make", &bound, "answer=1234"]).end();
        assert_eq!(failure(&lines), "AlreadyBound", "{kind:?}");
    }
}

/// Somebody else's key is not waited for, and of two keys that says it holds something comes first.
#[test]
fn a_key_that_may_hide_something_stands_back() {
    let desk = Desk::new();
    let (open, strange) = (desk.key(&["--pin", "1234"]), desk.key(&["--pin", "5678"]));
    desk.plug(&open);
    let bound = desk.bind(&["answer=1234"]);
    desk.plug(&strange);
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert_eq!(told(&lines), ["Touch"], "{lines:?}");
    assert_eq!(flags(&lines), "05");
    assert_eq!(strange.count("touches"), 0);
    desk.unplug(&open);
    let lines = desk.ask(&["assert", &bound, "answer=5678"]).end();
    assert_eq!(failure(&lines), "NoBoundKey", "{lines:?}");
}

/// A colleague's key stays in while the own one is fetched.
#[test]
fn a_strange_key_does_not_keep_the_own_one_out() {
    for status in ["none", "30"] {
        let desk = Desk::new();
        let (own, strange) = (desk.key(&["--pin", "1234"]), desk.key(&["--pin", "5678"]));
        desk.plug(&own);
        let bound = desk.bind(&["answer=1234"]);
        desk.unplug(&own);
        own.tell("plug");
        strange.tell("touch wait");
        strange.tell(&format!("status {status}{}", if status == "none" { "" } else { " silent" }));
        desk.plug(&strange);
        let mut asking = desk.ask(&["assert", &bound, "answer=1234"]);
        asking.until("tell Insert");
        run("sleep", &["3"]);
        desk.plug(&own);
        let lines = asking.end();
        assert_eq!(flags(&lines), "05", "{status}: {lines:?}");
        assert_eq!(told(&lines), ["Insert", "Touch"], "{status}: {lines:?}");
        assert_eq!((strange.count("pins"), strange.tell("retries").as_str()), (0, "8"), "{status}");
    }
}

/// Its owner must not pay for it, and it must not end the login.
#[test]
fn a_strange_key_whose_pin_cannot_be_used_is_passed_over() {
    for trouble in ["retries 3", "retries 0", "force-pin"] {
        let desk = Desk::new();
        let (own, strange) = (desk.key(&["--pin", "1234"]), desk.key(&["--pin", "5678"]));
        desk.plug(&own);
        let bound = desk.bind(&["answer=1234"]);
        desk.unplug(&own);
        own.tell("plug");
        strange.tell(trouble);
        desk.plug(&strange);
        let mut asking = desk.ask(&["assert", &bound, "answer=1234", "spare"]);
        asking.until("tell Insert");
        desk.plug(&own);
        assert_eq!(flags(&asking.end()), "05", "{trouble}");
        assert_eq!(strange.count("pins"), 0, "{trouble}");
    }
}

/// It cannot be told from a strange one, so no login asks for its last tries; its owner, in mfa-enroll, may use them.
#[test]
fn the_last_tries_of_a_key_that_hides_are_its_owners() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    key.tell("protect 3");
    let bound = desk.bind(&["answer=1234"]);
    key.tell("retries 3");
    let lines = desk.ask(&["assert", &bound, "answer=1234", "spare", "ms=1000"]).end();
    assert_eq!(failure(&lines), "FewTries(3)", "{lines:?}");
    assert_eq!(key.tell("retries"), "3");
    let touches = key.count("touches");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert_eq!(flags(&lines), "05", "{lines:?}");
    assert!(lines.contains(&String::from("pin \"\" Some(3)")), "{lines:?}");
    assert_eq!((key.tell("retries").as_str(), key.count("touches")), ("8", touches + 2), "a touch chooses it first");
}

/// The own key has not said yet what it holds when the strange one has.
#[test]
fn a_strange_key_waits_for_a_slow_one() {
    let desk = Desk::new();
    let (own, strange) = (desk.key(&["--pin", "1234"]), desk.key(&["--pin", "5678"]));
    desk.plug(&own);
    let bound = desk.bind(&["answer=1234"]);
    desk.plug(&strange);
    own.tell("slow 1500");
    let lines = desk.ask(&["assert", &bound, "answer=1234", "ms=20000"]).end();
    assert_eq!(flags(&lines), "05", "{lines:?}");
    assert_eq!((strange.count("pins"), strange.count("touches")), (0, 0));
}

/// After somebody else's key was touched and got a PIN, the own one may still come.
#[test]
fn a_strange_key_that_was_chosen_is_not_the_end() {
    let desk = Desk::new();
    let (own, strange) = (desk.key(&["--pin", "1234"]), desk.key(&["--pin", "1234"]));
    desk.plug(&own);
    let bound = desk.bind(&["answer=1234"]);
    desk.unplug(&own);
    own.tell("plug");
    desk.plug(&strange);
    let mut asking = desk.ask(&["assert", &bound, "answer=1234"]);
    asking.until("tell WrongKey");
    desk.plug(&own);
    // One question for a PIN is all that the tester answers.
    let lines = asking.end();
    let pins: Vec<&String> = lines.iter().filter(|line| line.starts_with("pin ")).collect();
    assert_eq!(pins, ["pin \"\" Some(8)", "pin \"blue\" Some(8)"], "{lines:?}");
}

/// Some answer the question for a credential of another maker's key by what no key answers, or not at all.
#[test]
fn a_bound_key_need_not_understand_the_credentials_of_another() {
    for foreign in ["lost", "00a1", "00"] {
        let desk = Desk::new();
        let other = desk.plugged(&[]);
        let of_other = desk.bind(&[]);
        desk.unplug(&other);
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        key.tell(&format!("foreign {foreign}"));
        for keys in [[&of_other, &bound], [&bound, &of_other]] {
            let lines = desk.ask(&["assert", keys[0], keys[1], "ms=20000"]).end();
            assert_eq!(flags(&lines), "01", "{foreign}: {lines:?}");
        }
    }
}

/// Behind the PIN too.
#[test]
fn an_odd_status_for_the_credential_of_another_key_is_a_no() {
    for foreign in ["03", "22", "2b"] {
        let desk = Desk::new();
        let other = desk.plugged(&["--pin", "5678"]);
        let of_other = desk.bind(&["answer=5678"]);
        desk.unplug(&other);
        let key = desk.plugged(&["--pin", "1234"]);
        key.tell("protect 3");
        let bound = desk.bind(&["answer=1234"]);
        key.tell(&format!("foreign {foreign}"));
        let lines = desk.ask(&["assert", &of_other, &bound, "answer=1234"]).end();
        assert!(lines.iter().any(|line| line.starts_with("signed 1 ")), "{foreign}: {lines:?}");
        assert_eq!(key.tell("retries"), "8", "{foreign}");
    }
}

#[test]
fn what_passes_is_not_a_no() {
    for status in ["05", "0a", "21", "23", "24", "7f"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        key.tell(&format!("status {status} silent"));
        let asking = desk.ask(&["assert", &bound]);
        run("sleep", &["1.5"]);
        key.tell("status none");
        let lines = asking.end();
        assert_eq!(flags(&lines), "01", "{status}: {lines:?}");
    }
}

#[test]
fn a_key_that_is_made_in_the_last_second_is_bound() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    key.tell("slow 2500 silent");
    let lines = desk.ask(&["make", "ms=3000"]).end();
    assert!(lines.iter().any(|line| line.starts_with("made ")), "{lines:?}");
}

#[test]
fn a_key_that_would_not_be_found_at_the_next_login_is_not_bound() {
    let desk = Desk::new();
    let key = desk.plugged(&[]);
    // Without a PIN nothing brings it out again.
    key.tell("protect 3");
    let lines = desk.ask(&["make"]).end();
    assert_eq!(failure(&lines), "Forgetful", "{lines:?}");
}

#[test]
fn what_a_key_refuses_to_say_is_not_a_no() {
    for status in ["2b", "2c", "30", "31", "32", "34", "35", "39"] {
        let desk = Desk::new();
        let key = desk.plugged(&[]);
        let bound = desk.bind(&[]);
        key.tell(&format!("status {status} silent"));
        let lines = desk.ask(&["assert", &bound]).end();
        assert_eq!(flags(&lines), "01", "{status}: {lines:?}");
        key.tell("status none");
    }
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    key.tell("status 2e silent");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert_eq!(flags(&lines), "05", "{lines:?}");
}

#[test]
fn strict_and_odd_keys_bind_and_let_in() {
    for (kind, expected) in [
        (&["--always-uv", "--pin", "1234"][..], "05"),
        (&["--always-uv", "--uv", "--pin", "1234"], "05"),
        (&["--eddsa-only"], "01"),
        (&["--eddsa-only", "--pin", "1234"], "05"),
    ] {
        let desk = Desk::new();
        let _key = desk.plugged(kind);
        let bound = desk.bind(&["answer=1234"]);
        for pin in ["pin=if-set", "pin=never"] {
            let lines = desk.ask(&["assert", &bound, "answer=1234", pin]).end();
            let without = pin == "pin=never" && !kind.contains(&"--always-uv");
            assert_eq!(flags(&lines), if without { "01" } else { expected }, "{kind:?} {pin}: {lines:?}");
        }
    }
}

#[test]
fn each_thing_that_stands_in_the_way_is_named() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    key.tell("force-pin");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert!(failure(&lines).starts_with("MustChangePin"), "{lines:?}");
    assert_eq!(key.tell("retries"), "8");

    let desk = Desk::new();
    let key = desk.plugged(&["--ctap20", "--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    key.tell("force-pin");
    let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
    assert!(failure(&lines).starts_with("MustChangePin"), "it does not say so beforehand: {lines:?}");

    let desk = Desk::new();
    let key = desk.plugged(&[]);
    key.tell("status 28 touch");
    assert_eq!(failure(&desk.ask(&["make"]).end()), "Full");

    let desk = Desk::new();
    let _key = desk.plugged(&["--u2f-only"]);
    assert_eq!(failure(&desk.ask(&["make", "pin=require"]).end()), "NeverAPin");
}

/// An administrator who looks for a fault sees each exchange, and nothing of its content.
#[test]
fn the_exchanges_with_a_key_are_shown_where_that_is_wanted() {
    let desk = Desk::new();
    let key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    key.tell("busy once silent");
    let shown = |lines: &[String]| {
        let frames = lines.iter().filter_map(|line| line.strip_prefix("frame "));
        frames.map(|frame| frame.split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let lines = desk.ask(&["assert", &bound, "answer=1234", "debug"]).end();
    assert_eq!(flags(&lines), "05", "{lines:?}");
    let frames: Vec<String> = shown(&lines).into_iter().filter(|frame| frame != "said KEEPALIVE 0x01").collect();
    assert_eq!(frames[..4], ["was sent INIT", "said INIT", "was sent CBOR 0x04", "said CBOR 0x00"], "{frames:?}");
    for frame in ["was sent CBOR 0x06", "was sent CBOR 0x02", "said ERROR 0x06", "said KEEPALIVE 0x02"] {
        assert!(frames.iter().any(|shown| shown == frame), "{frame}: {frames:?}");
    }
    assert!(shown(&desk.ask(&["assert", &bound, "answer=1234"]).end()).is_empty());
    // A key that never stops talking does not fill the log.
    key.tell("fault keepalive");
    let lines = desk.ask(&["assert", &bound, "answer=1234", "debug", "ms=2000"]).end();
    assert!(shown(&lines).len() < 60, "{}", lines.len());
}

#[test]
fn each_touch_has_its_cue_and_nothing_else_has() {
    let desk = Desk::new();
    let key = desk.plugged(&["--uv", "--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    for finger in ["bad", "blocked"] {
        key.tell(&format!("finger {finger}"));
        let lines = desk.ask(&["assert", &bound, "answer=1234"]).end();
        assert_eq!(lines[..3], ["tell Touch", "tell WrongFinger", "pin \"blue\" Some(8)"], "{lines:?}");
        assert_eq!(lines[3], "tell Touch", "{lines:?}");
        assert_eq!(flags(&lines), "05");
    }
    let desk = Desk::new();
    let _key = desk.plugged(&["--pin", "1234"]);
    let bound = desk.bind(&["answer=1234"]);
    let lines = desk.ask(&["assert", &bound, "answer=4321"]).end();
    assert!(failure(&lines).starts_with("WrongPin") && told(&lines).is_empty(), "{lines:?}");
}
