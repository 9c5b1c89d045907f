//! Text from outside on its way to a terminal or a log.

/// What a person reads where there is no decision, whether the helper says so or is not there to say it.
pub const UNAVAILABLE: &str = "MFA is unavailable; the system log says why.";

/// `text` with everything that could steer a terminal or forge a log line made visible, cut to
/// `limit` characters.
///
/// Control characters (C0, C1, DEL), the line and paragraph separators and the bidirectional
/// overrides become `\u{...}` escapes; a backslash and a double quote are escaped, so that the
/// result can stand between quotes.
pub fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == limit {
            out.push_str("...");
            break;
        }
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            c if steers(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// A time since 1970 as RFC 3339 writes it, in UTC: `2026-11-21T22:40:00Z`.
pub fn utc(seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that a leap day ends its year; 400 years repeat.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", 400 * era + year + next_year)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{printable, utc};

    #[test]
    fn escapes_what_steers_a_terminal_or_forges_a_line() {
        assert_eq!(printable("a\x1b[31m\nb\u{202e}", 99), "a\\u{1b}[31m\\u{a}b\\u{202e}");
        assert_eq!(printable("\u{9b}31m\u{2028}", 99), "\\u{9b}31m\\u{2028}");
        assert_eq!(printable("say \"hi\" \\", 99), "say \\\"hi\\\" \\\\");
        assert_eq!(printable("Müller 日", 99), "Müller 日");
    }

    #[test]
    fn cuts_long_text() {
        assert_eq!(printable("abcdef", 3), "abc...");
        assert_eq!(printable("abc", 3), "abc");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
        let _ = utc(u64::MAX);
    }
}
