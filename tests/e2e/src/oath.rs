//! Codes as a foreign authenticator makes them.

use std::time::{Duration, SystemTime};

use crate::tool;

const STEP: u64 = 30;

/// How much of a step must be left, so that codes can be typed and judged before it ends.
const ROOM: u64 = 5;

/// The six digits that an authenticator app shows for this key at this time (RFC 6238, SHA-1).
#[must_use]
pub fn totp(base32_secret: &str, unix_time: u64) -> String {
    let output = tool("oathtool", "oathtool")
        .args(["--totp", "--base32", &format!("--now=@{unix_time}"), "--", base32_secret])
        .output()
        .expect("oathtool");
    assert!(output.status.success(), "oathtool: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Three codes in a row, all good now: a device accepts the step before the present one and the step
/// after it. So a test can bind with two and log in with the third, without waiting for half a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    pub previous: String,
    pub present: String,
    pub next: String,
}

impl Codes {
    /// For real time. When the present step has less than five seconds to go, it waits for the next.
    #[must_use]
    pub fn now(base32_secret: &str) -> Self {
        let left = STEP - unix_now() % STEP;
        if left < ROOM {
            #[expect(clippy::disallowed_methods, reason = "the event awaited is time itself")]
            std::thread::sleep(Duration::from_secs(left));
        }
        Self::at(base32_secret, unix_now())
    }

    /// For a clock that the test has set.
    #[must_use]
    pub fn at(base32_secret: &str, unix_time: u64) -> Self {
        let code = |time| totp(base32_secret, time);
        Self { previous: code(unix_time - STEP), present: code(unix_time), next: code(unix_time + STEP) }
    }
}

/// Real time, which machines share with the host.
#[must_use]
pub fn unix_now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a container has the clock of its host")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}
