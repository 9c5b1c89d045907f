//! Text from outside on its way to a terminal or a log.

use std::borrow::Cow;

/// What a person reads if there is no decision. The helper says it, or the front end if there is no helper.
pub const UNAVAILABLE: &str = "MFA is unavailable; the system log says why.";

/// A refusal without its reason: for a user who has not proved the first factor, and in account for a user whom auth
/// refused.
pub const REFUSED: &str = "Second factor refused.";

/// `text` with everything that could steer a terminal or forge a log line made visible, cut to
/// `limit` characters.
///
/// Control characters (C0, C1, DEL), line and paragraph separators, and all invisible characters except spaces become
/// `\u{...}` escapes; a backslash and a double quote are escaped, so that the result can stand between quotes.
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

/// `text` as one word of a command that a person copies to a shell. All commands of ours that name a user or a file are
/// made with it. What could steer a terminal is made visible: then the command does not work, but nobody is deceived.
pub fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-@+:,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut word = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => word.push_str(r"'\''"),
            c if steers(c) => word.extend(c.escape_unicode()),
            c => word.push(c),
        }
    }
    word.push('\'');
    word
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

/// Makes a `text` of several lines safe for a terminal: every character that could steer it is made visible, except
/// the line ends. Quotes and backslashes stay as they are, because these lines are for reading.
pub fn readable(text: &str) -> Cow<'_, str> {
    let passes = |c: char| c == '\n' || !steers(c);
    if text.chars().all(passes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for c in text.chars() {
        if passes(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    Cow::Owned(out)
}

/// Characters that move the cursor, change the direction of writing, or are invisible: Unicode's categories Cc, Cf,
/// Zl and Zp, and the "default ignorable" characters, such as fillers, variation selectors and tags. With these, one
/// name can be made to look like another, and a line can hold text that it does not show. The table is of Unicode
/// 16.0, and a test compares it. Unicode reserves whole blocks for ignorable characters, so future ones are in it
/// already.
const STEERING: [(char, char); 27] = [
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn steers(c: char) -> bool {
    // The first two ranges decide about almost all text.
    if c.is_ascii() { c.is_ascii_control() } else { STEERING.iter().any(|(first, last)| (*first..=*last).contains(&c)) }
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{Class, HirKind};

    use super::{printable, readable, shell_word, steers, utc};

    /// The categories of Unicode, as the regex-syntax crate knows them.
    fn is_in(set: &str) -> impl Fn(char) -> bool {
        let parsed = regex_syntax::Parser::new().parse(set).unwrap();
        let HirKind::Class(Class::Unicode(class)) = parsed.into_kind() else { panic!("{set} is no class") };
        move |c| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&c))
    }

    #[test]
    fn what_steers_is_what_unicode_says() {
        let expected = is_in(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]");
        for c in '\0'..=char::MAX {
            assert_eq!(steers(c), expected(c), "{}", c.escape_unicode());
        }
    }

    #[test]
    fn whatever_steers_is_made_visible_and_nothing_else_is_changed() {
        for c in '\0'..=char::MAX {
            let text = format!("a\nb{c}\"\\");
            let (shown, one_line) = (readable(&text), printable(&format!("b{c}"), 99));
            if steers(c) && c != '\n' {
                assert_eq!(shown, format!("a\nb{}\"\\", c.escape_unicode()));
            } else {
                assert_eq!(shown, text);
            }
            assert!(!one_line.chars().any(steers), "{one_line:?}");
        }
    }

    #[test]
    fn escapes_what_steers_a_terminal_or_forges_a_line() {
        assert_eq!(printable("a\x1b[31m\nb\u{202e}", 99), "a\\u{1b}[31m\\u{a}b\\u{202e}");
        assert_eq!(printable("\u{9b}31m\u{2028}", 99), "\\u{9b}31m\\u{2028}");
        assert_eq!(printable("say \"hi\" \\", 99), "say \\\"hi\\\" \\\\");
        assert_eq!(printable("Müller 日", 99), "Müller 日");
    }

    #[test]
    fn a_word_of_a_command_is_one_word_to_the_shell() {
        assert_eq!(shell_word("alice"), "alice");
        let file = "/etc/mfa/mfa.d/50-require-group-sudo@sshd.toml";
        assert_eq!(shell_word(file), file);
        assert_eq!(shell_word(r"dom\al ice"), r"'dom\al ice'");
        assert_eq!(shell_word(r"DOM\o'neill;"), r"'DOM\o'\''neill;'");
        assert_eq!(shell_word("$(reboot)"), "'$(reboot)'");
        assert_eq!(shell_word("Müller"), "'Müller'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("a\u{202e}\nb"), "'a\\u{202e}\\u{a}b'", "nothing in it steers a terminal");
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
