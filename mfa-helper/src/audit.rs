//! One line for each decision and each change, to the system log as `authpriv`.
//!
//! `name=value`, values with anything but plain characters in quotes and escaped, so that no user
//! name, host or terminal can forge a line. Never an answer, a key or a code.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mfa_wire::printable;

/// syslog(3): how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something does not work and logins suffer.
    Error = 3,
    /// A refusal.
    Warning = 4,
    /// A change.
    Notice = 5,
    /// A login let through.
    Info = 6,
}

/// `LOG_AUTHPRIV` of syslog(3).
const AUTHPRIV: u8 = 10 << 3;

/// The most characters of one value: the report on a policy quotes a line of it.
const VALUE: usize = 1024;

/// Writes one line. A log that cannot be written to is no reason to let in or to keep out.
pub fn log(level: Level, fields: &[(&str, &str)]) {
    let message = format!("<{}>mfa-helper[{}]: {}", AUTHPRIV | level as u8, std::process::id(), line(fields));
    if let Ok(socket) = UnixDatagram::unbound() {
        // A log daemon that hangs must not hang logins.
        let _ = socket.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = socket.send_to(message.as_bytes(), "/dev/log");
    }
}

fn line(fields: &[(&str, &str)]) -> String {
    let words = fields.iter().map(|(name, value)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
        match value {
            value if !value.is_empty() && value.len() <= VALUE && value.chars().all(plain) => format!("{name}={value}"),
            value => format!("{name}=\"{}\"", printable(value, VALUE)),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn no_value_can_forge_a_field_or_a_line() {
        assert_eq!(
            line(&[("user", "alice"), ("rhost", "2001:db8::1"), ("tty", "")]),
            "user=alice rhost=2001:db8::1 tty=\"\""
        );
        assert_eq!(
            line(&[("user", "a verdict=accepted"), ("rhost", "x\"\ny\u{1b}[m")]),
            "user=\"a verdict=accepted\" rhost=\"x\\\"\\u{a}y\\u{1b}[m\""
        );
    }
}
