//! A panic of ours, in the worst environment: no word on the host's stderr, no memory lost, a refusal.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "a test starts programs")]

use std::process::Command;

use pam::constants::PamResultCode;

const CHILD: &str = "MFA_TEST_GUARD_CHILD";

#[test]
fn panic_is_silent_cheap_and_unavailable() {
    if std::env::var_os(CHILD).is_some() {
        return panic_often();
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own)
        .args(["--exact", "panic_is_silent_cheap_and_unavailable", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr, "", "a panic wrote to the host's stderr");
}

/// Runs in a process of its own, because the panic hook stays silent afterwards. It reports by its status and stdout.
fn panic_often() {
    let mut grown = 0;
    for round in 0..300 {
        let code = pam_mfa::guarded(|| panic!("a panic of ours, number {round}"));
        if code != PamResultCode::PAM_AUTHINFO_UNAVAIL {
            println!("a panic became {code:?}");
            std::process::exit(1);
        }
        // The first panics load what the unwinder needs; they do not count.
        if round == 10 {
            grown -= resident_kib();
        }
    }
    grown += resident_kib();
    // The usual hook leaks 35 MB each time.
    if grown > 1000 {
        println!("290 panics cost {grown} KiB");
        std::process::exit(1);
    }
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
