//! What a login shows where a device is bound inside it: one prompt, 24 rows of 80 columns.
//!
//! A short line that begins in ASCII first, because ssh glues `(user@host) ` to it. No colours: sshd and ssh pass
//! none. Never the words by which programs recognise a question for the login secret.

use mfa_core::change::NewApp;
use mfa_core::totp::Parameters;
use mfa_qr::{Glyphs, Ink, Lines, Quiet, Size, Symbol};
use mfa_wire::{Login, Secret, printable};

use crate::conversation::Conversation;
use crate::lang::{Lang, Text};

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

impl Look {
    /// Every terminal can show it.
    pub fn is_ascii(self) -> bool {
        matches!(self, Look::Key | Look::Ascii)
    }
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

/// The names of this host that a page shows.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The name that the app shows.
    pub issuer: &'a str,
    /// The person or place to ask for help, if the policy names one.
    pub contact: Option<&'a str>,
}

/// The page with the key, and the question for the first code. The contact is on the pages without a picture, which have
/// room for it.
pub fn binding(user: &str, app: &NewApp, look: Look, notice: &str, names: Names, lang: Lang) -> Secret {
    let issuer = names.issuer;
    let key = app.key_base32();
    let mut text = Secret::with_capacity(mfa_wire::MAX_TEXT);
    let mut line = |parts: &[&str]| {
        for part in parts.iter().chain([&"\n"]) {
            // What does not fit is left out; all of it is far below the limit.
            let _ = text.append(part.as_bytes());
        }
    };
    line(&[&lang.say(Text::BindNow)]);
    let picture = picture(app, user, issuer, look, usize::from(!notice.is_empty()));
    if picture.is_none() {
        line(&[&lang.say(Text::TypeThis)]);
        line(&[&lang.say(Text::Issuer), &printable(issuer, 64)]);
        line(&[&lang.say(Text::Account), &printable(user, 64)]);
        if app.parameters() != Parameters::DEFAULT {
            line(&[&lang.say(Text::Codes), &lang.say(Text::Form(app.parameters()))]);
        }
    }
    if let Some(contact) = names.contact.filter(|_| picture.is_none()) {
        line(&[&lang.say(Text::Help(contact))]);
    }
    let groups = key.text().unwrap_or_default().as_bytes().chunks(4);
    let label = lang.say(if picture.is_none() { Text::KeyField } else { Text::Key });
    let mut words = vec![label.as_str()];
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
    let _ = text.append(lang.say(Text::FirstOrWish).as_bytes());
    text
}

/// The picture, if it is wanted and leaves room for two lines, the notice and the question.
fn picture(app: &NewApp, user: &str, issuer: &str, look: Look, notices: usize) -> Option<Lines> {
    let (glyphs, ink) = match look {
        Look::Key => return None,
        Look::Light => (Glyphs::Blocks, Ink::Light),
        Look::Dark => (Glyphs::Blocks, Ink::Dark),
        Look::Ascii => (Glyphs::Ascii, Ink::Light),
    };
    let symbol = Symbol::of(app.uri(issuer, user).bytes())?;
    let quiet = [Quiet::WIDE, Quiet::NARROW].into_iter().find(|quiet| {
        let Size { rows, cols } = symbol.size(glyphs, *quiet);
        // A picture of plain characters may be too high: the person who asked for it can scroll.
        cols <= COLUMNS && (look == Look::Ascii || rows + 3 + notices <= ROWS)
    })?;
    Some(symbol.draw(glyphs, ink, quiet))
}

/// The page with the recovery codes, and the question whether they are written down.
pub fn recovery_codes(codes: &[Secret], lang: Lang) -> Secret {
    let mut text = Secret::with_capacity(mfa_wire::MAX_TEXT);
    let mut append = |part: &str| {
        let _ = text.append(part.as_bytes());
    };
    append(&lang.say(Text::HereAreCodes));
    append("\n");
    for row in codes.chunks(3) {
        for code in row {
            append("   ");
            append(code.text().unwrap_or_default());
        }
        append(APART);
        append("\n");
    }
    append(&lang.say(Text::EachOnce));
    append("\n");
    append(&lang.say(Text::WrittenDown));
    text
}

/// Shows the recovery codes of what was bound, or else what is said of it at the end.
pub fn show_codes(login: &Login, codes: &[Secret], bound: Text, lang: Lang, conversation: &mut Conversation) -> String {
    if codes.is_empty() {
        return lang.everywhere(login).say(bound);
    }
    // If the person is gone, the device stays bound, and new codes can be made. The page says that it is bound.
    let _ = conversation.ask_with(true, recovery_codes(codes, lang));
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfa_core::Id;
    use mfa_core::totp::Totp;

    fn app() -> NewApp {
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        NewApp::new(Id([1; 16]), String::new(), totp)
    }

    fn shown(look: Look, issuer: &str, notice: &str) -> String {
        shown_in(Lang::En, look, issuer, notice)
    }

    fn shown_in(lang: Lang, look: Look, issuer: &str, notice: &str) -> String {
        let names = Names { issuer, contact: Some("helpdesk 4711, or the desk on the second floor, from 8 to 17") };
        binding("alice", &app(), look, notice, names, lang).text().unwrap().to_owned()
    }

    /// Half blocks are one column, and any other character beyond ASCII may be two.
    fn columns(row: &str) -> usize {
        row.chars().map(|c| if c.is_ascii() || ('\u{2580}'..='\u{259f}').contains(&c) { 1 } else { 2 }).sum()
    }

    const KEY: &str = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";

    #[test]
    fn every_page_but_ascii_fits_24_rows_of_80_columns_and_shows_the_key() {
        for issuer in ["web1", "a-host-of-16-chr", "a-host-with-a-name-of-32-letters", &"x".repeat(64)] {
            for notice in ["", "Both codes are right, but they do not follow each other: enter two in a row."] {
                let looks = [Look::Key, Look::Light, Look::Dark, Look::Ascii];
                for (lang, look) in [Lang::En, Lang::ZhCn].iter().flat_map(|lang| looks.map(|look| (*lang, look))) {
                    let text = shown_in(lang, look, issuer, notice);
                    let rows: Vec<&str> = text.split('\n').collect();
                    assert!(look == Look::Ascii || rows.len() <= ROWS, "{issuer} {look:?}: {} rows", rows.len());
                    assert!(rows.iter().all(|row| columns(row) <= COLUMNS), "{issuer} {look:?}:\n{text}");
                    assert!(text.contains(KEY) && text.contains(notice), "{text}");
                    // ssh puts "(user@host) " before it.
                    assert!(columns(rows[0]) < 56);
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
    fn whom_to_ask_is_said_where_there_is_room() {
        for look in [Look::Key, Look::Light, Look::Dark, Look::Ascii] {
            assert_eq!(shown(look, "web1", "").contains("\n  help    helpdesk 4711"), look == Look::Key, "{look:?}");
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
        let all = shown(Look::Key, "web1", "") + recovery_codes(&codes, Lang::En).text().unwrap();
        let run_together = all.replace('\n', "");
        let is_there = |word| run_together.split(' ').any(|other| other == word);
        assert!(KEY.split(' ').all(is_there) && is_there("aaaa-bbbb-cccc-dddd"), "{run_together}");
    }

    #[test]
    fn no_page_asks_for_the_login_secret_in_the_words_that_programs_look_for() {
        let codes = [Secret::copy_of(b"aaaa-bbbb-cccc-dddd")];
        let all = shown(Look::Light, "web1", "") + recovery_codes(&codes, Lang::En).text().unwrap();
        let all = all.to_lowercase();
        assert!(!all.contains("password") && !all.contains("passcode"), "{all}");
    }

    #[test]
    fn fifty_recovery_codes_fit() {
        let codes: Vec<Secret> = (0..50).map(|_| Secret::copy_of(b"aaaa-bbbb-cccc-dddd")).collect();
        for lang in [Lang::En, Lang::ZhCn] {
            let text = recovery_codes(&codes, lang);
            let rows: Vec<&str> = text.text().unwrap().split('\n').collect();
            assert!(rows.len() <= ROWS && rows.iter().all(|row| columns(row) <= COLUMNS), "{rows:#?}");
        }
    }

    #[test]
    fn a_wish_is_a_word_and_no_code_is_one() {
        assert_eq!(wish(&Secret::copy_of(b" Key ")), Some(Wish::Look(Look::Key)));
        assert_eq!(wish(&Secret::copy_of(b"new")), Some(Wish::New));
        assert_eq!(wish(&Secret::copy_of(b"492039")), None);
    }
}
