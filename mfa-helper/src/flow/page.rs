//! What a login shows where a device is bound inside it: one prompt, 24 rows of 80 columns.
//!
//! A short line of ASCII first, because ssh glues `(user@host) ` to it. No colours: sshd and ssh pass
//! none. Never the words by which programs recognise a question for the login secret.

use mfa_qr::{Glyphs, Ink, Lines, Quiet, Size, Symbol};
use mfa_wire::{Secret, printable};

use super::recovery::ACKNOWLEDGE;
use crate::factor::totp::{Parameters, Totp};
use crate::store::Pending;

/// The rows of the window that everybody has.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

/// How the key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As text only.
    Key,
    /// And as a picture of half blocks, for a dark terminal.
    Light,
    /// And as a picture of half blocks, for a light terminal.
    Dark,
    /// And as a picture of `#`.
    Ascii,
}

/// dropbear's client of 2026 drops the ends of lines: what follows must not read as a part of a key or a code.
const APART: &str = " ";

/// What may be typed in place of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To see it in another way.
    Look(Look),
    /// To have another key.
    New,
}

/// What `answer` wishes, if it is no code.
pub fn wish(answer: &Secret) -> Option<Wish> {
    match answer.bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"key" => Some(Wish::Look(Look::Key)),
        b"qr" => Some(Wish::Look(Look::Light)),
        b"invert" => Some(Wish::Look(Look::Dark)),
        b"ascii" => Some(Wish::Look(Look::Ascii)),
        b"new" => Some(Wish::New),
        _ => None,
    }
}

/// The page with the key, and the question for the first code.
pub fn binding(user: &str, pending: &Pending, look: Look, notice: &str, issuer: &str) -> Secret {
    let key = pending.totp.key_base32();
    let mut text = Secret::with_capacity(mfa_wire::MAX_TEXT);
    let mut line = |parts: &[&str]| {
        for part in parts.iter().chain([&"\n"]) {
            // What does not fit is left out; all of it is far below the limit.
            let _ = text.append(part.as_bytes());
        }
    };
    line(&["MFA is required: bind an authenticator app now."]);
    let picture = picture(&pending.totp, user, issuer, look, usize::from(!notice.is_empty()));
    if picture.is_none() {
        line(&["Type this into the app, as a time-based key:"]);
        line(&["  issuer  ", &printable(issuer, 64)]);
        line(&["  account ", &printable(user, 64)]);
        let Parameters { algorithm, digits, period } = pending.totp.parameters;
        if pending.totp.parameters != Parameters::DEFAULT {
            line(&["  codes   ", &format!("{algorithm}, {digits} digits, {period} s")]);
        }
    }
    let groups = key.text().unwrap_or_default().as_bytes().chunks(4);
    let mut words = vec![if picture.is_none() { "  key    " } else { "Key:" }];
    for group in groups {
        words.extend([" ", std::str::from_utf8(group).unwrap_or_default()]);
    }
    if picture.is_none() {
        words.push(APART);
    }
    line(&words);
    for row in picture.iter().flat_map(|rows| rows.iter()) {
        line(&[row]);
    }
    if !notice.is_empty() {
        line(&[notice]);
    }
    let _ = text.append(b"First code (or type key, qr, invert, ascii, new): ");
    text
}

/// The picture, if it is wanted and leaves room for two lines, the notice and the question.
fn picture(totp: &Totp, user: &str, issuer: &str, look: Look, notices: usize) -> Option<Lines> {
    let (glyphs, ink) = match look {
        Look::Key => return None,
        Look::Light => (Glyphs::Blocks, Ink::Light),
        Look::Dark => (Glyphs::Blocks, Ink::Dark),
        Look::Ascii => (Glyphs::Ascii, Ink::Light),
    };
    let symbol = Symbol::of(totp.uri(issuer, user).bytes())?;
    let quiet = [Quiet::WIDE, Quiet::NARROW].into_iter().find(|quiet| {
        let Size { rows, cols } = symbol.size(glyphs, *quiet);
        // Who asks for plain characters scrolls.
        cols <= COLUMNS && (look == Look::Ascii || rows + 3 + notices <= ROWS)
    })?;
    Some(symbol.draw(glyphs, ink, quiet))
}

/// The page with the recovery codes, and the question whether they are written down.
pub fn recovery_codes(codes: &[Secret]) -> Secret {
    let mut text = Secret::with_capacity(mfa_wire::MAX_TEXT);
    let mut append = |part: &str| {
        let _ = text.append(part.as_bytes());
    };
    append("It is bound. Recovery codes, shown only now:\n");
    for row in codes.chunks(3) {
        for code in row {
            append("   ");
            append(code.text().unwrap_or_default());
        }
        append(APART);
        append("\n");
    }
    append("Each lets you in once, when the device is lost.\n");
    append(ACKNOWLEDGE);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Id;

    fn pending() -> Pending {
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        Pending {
            id: Id([1; 16]),
            label: String::new(),
            expires: 0,
            from: String::new(),
            replaces: Id::default(),
            totp,
        }
    }

    fn shown(look: Look, issuer: &str, notice: &str) -> String {
        binding("alice", &pending(), look, notice, issuer).text().unwrap().to_owned()
    }

    const KEY: &str = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";

    #[test]
    fn every_page_but_ascii_fits_24_rows_of_80_columns_and_shows_the_key() {
        for issuer in ["web1", "a-host-of-16-chr", "a-host-with-a-name-of-32-letters", &"x".repeat(64)] {
            for notice in ["", "Both codes are right, but they do not follow each other: enter two in a row."] {
                for look in [Look::Key, Look::Light, Look::Dark, Look::Ascii] {
                    let text = shown(look, issuer, notice);
                    let rows: Vec<&str> = text.split('\n').collect();
                    assert!(look == Look::Ascii || rows.len() <= ROWS, "{issuer} {look:?}: {} rows", rows.len());
                    assert!(rows.iter().all(|row| row.chars().count() <= COLUMNS), "{issuer} {look:?}:\n{text}");
                    assert!(text.contains(KEY) && text.contains(notice), "{text}");
                    // ssh puts "(user@host) " before it.
                    assert!(rows[0].is_ascii() && rows[0].len() < 56);
                }
            }
        }
    }

    #[test]
    fn the_usual_picture_is_read_back_in_both_polarities() {
        for (look, ink_is_dark) in [(Look::Light, false), (Look::Dark, true)] {
            let text = shown(look, "web1", "");
            let rows: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
            let read = crate::reader::decode(COLUMNS, 2 * rows.len(), |x, y| {
                let inked = matches!((rows[y / 2].get(x).unwrap_or(&' '), y % 2), ('█', _) | ('▀', 0) | ('▄', 1));
                inked == ink_is_dark
            });
            let uri = "otpauth://totp/web1:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=web1";
            assert_eq!(read.as_deref(), Some(uri), "{look:?}");
        }
    }

    #[test]
    fn the_key_alone_and_plain_characters_are_ascii() {
        assert!(shown(Look::Key, "web1", "").is_ascii());
        let ascii = shown(Look::Ascii, "web1", "");
        assert!(ascii.is_ascii() && ascii.contains("##"));
    }

    #[test]
    fn keys_and_recovery_codes_are_words_even_without_the_ends_of_lines() {
        let codes = [Secret::copy_of(b"aaaa-bbbb-cccc-dddd")];
        let all = shown(Look::Key, "web1", "") + recovery_codes(&codes).text().unwrap();
        let run_together = all.replace('\n', "");
        let is_there = |word| run_together.split(' ').any(|other| other == word);
        assert!(KEY.split(' ').all(is_there) && is_there("aaaa-bbbb-cccc-dddd"), "{run_together}");
    }

    #[test]
    fn no_page_asks_for_the_login_secret_in_the_words_that_programs_look_for() {
        let codes = [Secret::copy_of(b"aaaa-bbbb-cccc-dddd")];
        let all = shown(Look::Light, "web1", "") + recovery_codes(&codes).text().unwrap();
        let all = all.to_lowercase();
        assert!(!all.contains("password") && !all.contains("passcode"), "{all}");
    }

    #[test]
    fn fifty_recovery_codes_fit() {
        let codes: Vec<Secret> = (0..50).map(|_| Secret::copy_of(b"aaaa-bbbb-cccc-dddd")).collect();
        let text = recovery_codes(&codes);
        let rows: Vec<&str> = text.text().unwrap().split('\n').collect();
        assert!(rows.len() <= ROWS && rows.iter().all(|row| row.len() <= COLUMNS), "{rows:#?}");
    }

    #[test]
    fn a_wish_is_a_word_and_no_code_is_one() {
        assert_eq!(wish(&Secret::copy_of(b" Key ")), Some(Wish::Look(Look::Key)));
        assert_eq!(wish(&Secret::copy_of(b"new")), Some(Wish::New));
        assert_eq!(wish(&Secret::copy_of(b"492039")), None);
    }
}
