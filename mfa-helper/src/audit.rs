//! One line for each decision and each change, to the system log as `authpriv`.
//!
//! `name=value`. Values are quoted and escaped unless they consist of plain characters, so that no user name, host or
//! terminal can forge a line. Never holds an answer, a key or a code.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mfa_wire::printable;

/// The severity, by the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something does not work, and logins are affected.
    Error = 3,
    /// A refusal.
    Warning = 4,
    /// A change.
    Notice = 5,
    /// A login that was let through.
    Info = 6,
    /// An exchange with a security key.
    Debug = 7,
}

/// `LOG_AUTHPRIV` of syslog(3).
const AUTHPRIV: u8 = 10 << 3;

/// The most characters of one value: a report on a policy quotes a line of it.
const VALUE: usize = 1024;

/// The sockets of journald, which takes fields, and of every system log, which takes lines.
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// Writes one line. A failure to write it decides no login.
pub fn log(level: Level, fields: &[(&str, &str)]) {
    let line = line(fields);
    if !send(JOURNAL, &entry(level, fields, &line)) {
        send(SYSLOG, &format!("<{}>mfa-helper[{}]: {line}", AUTHPRIV | level as u8, std::process::id()));
    }
}

/// Whether a log accepts lines.
pub fn can_be_reached() -> bool {
    let taken = |address| UnixDatagram::unbound().is_ok_and(|socket| socket.connect(address).is_ok());
    taken(JOURNAL) || taken(SYSLOG)
}

fn send(address: &str, message: &str) -> bool {
    let Ok(socket) = UnixDatagram::unbound() else { return false };
    // A log daemon that hangs must not make logins hang.
    let _ = socket.set_write_timeout(Some(Duration::from_secs(1)));
    socket.send_to(message.as_bytes(), address).is_ok()
}

/// The line and its fields in journald's native protocol: one field on each line. No value can break a line, because
/// it is escaped as in the text.
fn entry(level: Level, fields: &[(&str, &str)], line: &str) -> String {
    let mut entry = format!(
        "MESSAGE={line}\nPRIORITY={}\nSYSLOG_FACILITY={}\nSYSLOG_IDENTIFIER=mfa-helper\nSYSLOG_PID={}\n",
        level as u8,
        AUTHPRIV >> 3,
        std::process::id()
    );
    for (name, value) in fields {
        let name = name.replace('-', "_").to_ascii_uppercase();
        entry.push_str(&format!("MFA_{name}={}\n", printable(value, VALUE)));
    }
    entry
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
    use super::{Level, entry, line};

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

    #[test]
    fn the_journal_gets_each_field_and_no_value_can_forge_one() {
        let fields = [("event", "verify"), ("user", "a\nMFA_VERDICT=accepted"), ("rhost", "2001:db8::1")];
        let entry = entry(Level::Warning, &fields, &line(&fields));
        let lines: Vec<&str> = entry.lines().collect();
        assert_eq!(lines[1..4], ["PRIORITY=4", "SYSLOG_FACILITY=10", "SYSLOG_IDENTIFIER=mfa-helper"]);
        assert_eq!(lines[5..], ["MFA_EVENT=verify", "MFA_USER=a\\u{a}MFA_VERDICT=accepted", "MFA_RHOST=2001:db8::1"]);
    }
}
