//! Text from outside on its way to a terminal or a log.

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

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

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
}
