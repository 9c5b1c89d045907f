//! The helper killed at any system call of a login, a binding, a replacement and an unbinding: what was there before, or
//! what comes after, working; never a code that is good twice, never a record that cannot be read.
//!
//! Each of these makes some 450 system calls, all but the last 35 to 90 of them before anything is written to the store. A
//! kill there is much like a kill at the next call, so of several neighbours only one is tried. It is chosen by a seed that
//! is printed; `MFA_TEST_SEED` repeats it. From the first write on all are tried. `make kills` tries every call.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use pam_tests::Bound;
use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, SUCCESS};

const TRACE: &str = "/tmp/mfa-test-trace";

/// The (name, number) of system calls that the helper makes while `act` runs: of those before the first write to the store
/// one of so many `neighbours`, and all from there on.
fn calls(bound: &Bound, neighbours: usize, act: impl FnOnce()) -> Vec<(String, u32)> {
    bound.install_traced(&format!("-o {TRACE}"));
    act();
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(TRACE).unwrap().lines() {
        // "+++ exited with 0 +++" and signals are no calls.
        if let Some((name, _)) = line
            .split_once('(')
            .filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        {
            let number = counts.entry(name.to_owned()).or_insert(0);
            *number += 1;
            calls.push((name.to_owned(), *number));
        }
    }
    assert!(counts.contains_key("openat") && counts.contains_key("execve"), "a trace of a helper: {counts:?}");
    let written = calls.iter().position(|(name, _)| ["pwrite64", "unlinkat", "renameat"].contains(&name.as_str()));
    let written = written.unwrap();
    let late = calls.split_off(written);
    if std::env::var_os("MFA_TEST_EVERY_CALL").is_none() {
        let mut chance = Chance(seed().max(1));
        let count = calls.len();
        calls = calls.chunks(neighbours).map(|some| some[chance.below(some.len())].clone()).collect();
        println!("MFA_TEST_SEED={}: {} of the {count} calls before the first write", seed(), calls.len());
    }
    calls.extend(late);
    calls
}

/// `MFA_TEST_SEED`, or else another one in each run.
fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("MFA_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().build_hasher().finish(),
    });
    *SEED
}

/// Chance, the same for the same seed (xorshift, of which 0 makes nothing but 0).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        // Near seeds begin alike.
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        (self.0 % n as u64) as usize
    }
}

/// A call that fails instead of being made.
fn failing(name: &str, number: u32, errno: &str) -> String {
    format!("-o {TRACE} -e trace={name} -e inject={name}:error={errno}:when={number}")
}

fn killing(name: &str, number: u32) -> String {
    // `:when=N` is counted for each name.
    format!("-o {TRACE} -e trace={name} -e inject={name}:signal=KILL:when={number}")
}

/// A power cut between verdict and disk would make the code good again.
#[test]
fn the_state_is_on_the_disk_before_there_is_a_verdict() {
    let mut bound = Bound::fresh("durable");
    bound.advance(1);
    for (answer, expected) in [("000000".to_owned(), AUTH_ERR), (bound.code(0), SUCCESS)] {
        bound.install_traced(&format!("-o {TRACE} -e trace=pwrite64,fdatasync,fsync,sendto"));
        assert_eq!(bound.auth(&answer), expected);
        let trace = fs::read_to_string(TRACE).unwrap();
        let calls: Vec<&str> = trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name).collect();
        let last = |wanted: &str| calls.iter().rposition(|name| *name == wanted).expect(wanted);
        assert!(last("pwrite64") < last("fdatasync"), "{calls:?}");
        let sent_since = calls[last("pwrite64")..last("fdatasync")].contains(&"sendto");
        assert!(!sent_since && last("fdatasync") < last("sendto"), "{calls:?}");
    }
}

#[test]
fn a_login_killed_at_any_call_accepts_its_code_at_most_once() {
    let mut bound = Bound::fresh("killed");
    bound.advance(1);
    let saved = bound.saved();
    let code = bound.code(0);
    let calls = calls(&bound, 8, || assert_eq!(bound.auth(&code), SUCCESS));
    let (mut before, mut after) = (0, 0);
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&killing(name, *number));
        let killed = bound.auth(&code);
        bound.install();
        let again = bound.auth(&code);
        // The order is commit, then verdict: where there was a verdict the code is burnt.
        match (killed, again) {
            (AUTHINFO_UNAVAIL, SUCCESS) => before += 1,
            (AUTHINFO_UNAVAIL, AUTH_ERR) => after += 1,
            (SUCCESS, AUTH_ERR) => after += 1,
            other => panic!("killed at {name} {number}: {other:?}"),
        }
        bound.advance(1);
        assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "the next code, after a kill at {name} {number}");
        bound.advance(-1);
    }
    assert!(before > 30 && after > 3, "{before} kills before the commit, {after} after it");
}

/// CVE-2025-23013: an error that ends in PAM_IGNORE is a way in. The stack holds a pam_permit, so that it would show.
#[test]
fn no_call_that_fails_opens_anything() {
    let mut bound = Bound::fresh("failing");
    bound.advance(1);
    bound.system.service("door", "{first}\nauth required {module} stack=complete");
    let saved = bound.saved();
    let calls = calls(&bound, 8, || assert_eq!(bound.auth("000000"), AUTH_ERR));
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&failing_somehow(name, *number));
        let wrong = bound.auth("000000");
        assert!([AUTHINFO_UNAVAIL, AUTH_ERR, CONV_ERR].contains(&wrong), "{name} {number} fails: {wrong}");
        let right = bound.auth(&bound.code(0));
        assert!([SUCCESS, AUTHINFO_UNAVAIL, AUTH_ERR, CONV_ERR].contains(&right), "{name} {number} fails: {right}");
        bound.install();
        if right == SUCCESS {
            assert_eq!(bound.auth(&bound.code(0)), AUTH_ERR, "accepted, so used up, although {name} {number} failed");
        }
    }
}

#[test]
fn a_wrong_code_killed_at_any_call_opens_nothing() {
    let mut bound = Bound::fresh("guessing");
    bound.advance(1);
    let saved = bound.saved();
    let calls = calls(&bound, 8, || assert_eq!(bound.auth("000000"), AUTH_ERR));
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&killing(name, *number));
        assert!([AUTHINFO_UNAVAIL, AUTH_ERR].contains(&bound.auth("000000")), "killed at {name} {number}");
        bound.install();
        assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "the right code, after a kill at {name} {number}");
    }
}

#[test]
fn a_binding_killed_at_any_call_is_bound_or_can_be_confirmed_again() {
    let mut bound = Bound::fresh("binding");
    assert!(bound.system.enroll(&["disable", "--user", "binding"], "").status.success());
    bound.set_key(bound.pend());
    let saved = bound.saved();
    let (first, second) = (bound.code(-1), bound.code(0));
    let confirm = || bound.system.enroll(&["confirm", "--user", "binding", &first, &second], "").status.code();
    let calls = calls(&bound, 8, || assert_eq!(confirm(), Some(0)));
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&killing(name, *number));
        let killed = confirm();
        bound.install();
        // 0: it was not bound yet and is now; 4: it was.
        let again = confirm();
        assert!(
            matches!((killed, again), (Some(5), Some(0 | 4)) | (Some(0), Some(4))),
            "{name} {number}: {killed:?} {again:?}"
        );
        assert_eq!(bound.auth(&second), AUTH_ERR, "burnt at binding, killed at {name} {number}");
        assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "killed at {name} {number}");
    }
}

/// What is done to a system call.
type Trouble = fn(&str, u32) -> String;

/// Where a file or memory is asked for, as where there are too many; else as of a broken disk.
fn failing_somehow(name: &str, number: u32) -> String {
    failing(name, number, if name == "openat" || name == "mmap" { "EMFILE" } else { "EIO" })
}

#[test]
fn an_unbinding_killed_at_any_call_leaves_the_device_or_none() {
    unbinding_leaves_the_device_or_none("leaving", killing);
}

#[test]
fn an_unbinding_in_which_any_call_fails_leaves_the_device_or_none() {
    unbinding_leaves_the_device_or_none("parting", failing_somehow);
}

fn unbinding_leaves_the_device_or_none(user: &str, trouble: Trouble) {
    let bound = Bound::fresh(user);
    let saved = bound.saved();
    let disable = || bound.system.enroll(&["disable", "--user", user], "").status.code();
    // Many calls may fail without harm: with fewer tries too few would come before the moment.
    let calls = calls(&bound, 2, || assert_eq!(disable(), Some(0)));
    let free = |answer: &str| bound.auth(answer);
    bound.system.service("door", "{first}\nauth required {module} stack=complete");
    let (mut before, mut after) = (0, 0);
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&trouble(name, *number));
        let troubled = disable();
        bound.install();
        // Either nothing is asked any more, or the device still works.
        match (troubled, free("000000")) {
            (_, SUCCESS) => after += 1,
            (Some(1..), AUTH_ERR) => {
                before += 1;
                assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "the device still works, at {name} {number}");
                assert_eq!(disable(), Some(0));
            }
            other => panic!("at {name} {number}: {other:?}"),
        }
        assert_eq!(free("000000"), SUCCESS, "nothing is bound");
        let mut bound_again = bound.saved();
        bound_again.retain(|(path, _)| path.ends_with("credentials"));
        assert!(bound_again.len() <= 1);
    }
    assert!(before > 30 && after > 3, "{before} before the moment, {after} after it");
}

#[test]
fn a_replacement_killed_at_any_call_leaves_one_device_that_works() {
    replacing_leaves_one_device_that_works("replacing", killing);
}

#[test]
fn a_replacement_in_which_any_call_fails_leaves_one_device_that_works() {
    replacing_leaves_one_device_that_works("swapping", failing_somehow);
}

/// The old device or the new one: never both, never neither.
fn replacing_leaves_one_device_that_works(user: &str, trouble: Trouble) {
    let bound = Bound::fresh(user);
    let new = bound.pend_replacement();
    let saved = bound.saved();
    let (first, second) = (bound.code_of(&new, -1), bound.code_of(&new, 0));
    let confirm = || bound.system.enroll(&["confirm", "--user", user, &first, &second], "").status.code();
    let next = [bound.code(1), bound.code_of(&new, 1)];
    let calls = calls(&bound, 3, || assert_eq!(confirm(), Some(0)));
    let (mut before, mut after) = (0, 0);
    for (name, number) in &calls {
        bound.put_back(&saved);
        bound.install_traced(&trouble(name, *number));
        let troubled = confirm();
        bound.install();
        match (troubled, next.each_ref().map(|code| bound.auth(code))) {
            (_, [AUTH_ERR, SUCCESS]) => after += 1,
            (Some(1..), [SUCCESS, AUTH_ERR]) => {
                before += 1;
                assert_eq!(confirm(), Some(0), "it can be confirmed again, after {name} {number}");
                assert_eq!(bound.auth(&next[1]), SUCCESS, "after {name} {number}");
            }
            other => panic!("at {name} {number}: {other:?}"),
        }
        assert_eq!(confirm(), Some(4), "nothing is pending any more, after {name} {number}");
        let kept = fs::read_to_string(bound.file("credentials")).unwrap();
        assert!(kept.contains(&new) && !kept.contains(bound.key()), "after {name} {number}");
    }
    assert!(before > 30 && after > 3, "{before} before the moment, {after} after it");
}
