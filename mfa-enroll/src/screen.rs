//! The screen during a binding: the QR code, the key, a few words; never more than the window can show. No I/O.

use mfa_wire::{Device, printable};
use zeroize::Zeroizing;

use crate::cli::Drawing;
use crate::texts::{Lang, Text};
use mfa_qr::{Glyphs, Ink, Lines, Quiet, Size, Symbol};

/// The window's size if it is not known.
pub(crate) const USUAL: Size = Size { rows: 24, cols: 80 };

/// Blank columns between the QR code and the words beside it.
const GAP: usize = 2;
/// The least number of columns for words beside a QR code.
const NARROWEST: usize = 20;
/// The columns after a question, for typing.
const ROOM_TO_TYPE: usize = 10;
/// The longest name or label that is shown, in characters.
const LONGEST: usize = 64;

/// How the QR code is drawn, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    glyphs: Option<Glyphs>,
    ink: Ink,
    /// Only plain characters, because the terminal cannot show others.
    only_ascii: bool,
}

impl Look {
    /// The requested look, as far as the terminal can show it.
    pub(crate) fn new(drawing: &Drawing, coloured: bool, utf8: bool) -> Look {
        Look {
            glyphs: match drawing {
                Drawing { key_only: true, .. } => None,
                Drawing { ascii: false, .. } if utf8 => Some(Glyphs::Blocks),
                _ => Some(Glyphs::Ascii),
            },
            ink: match (drawing.invert, coloured) {
                (true, _) => Ink::Dark,
                (false, true) => Ink::Coloured,
                (false, false) => Ink::Light,
            },
            only_ascii: !utf8 && !drawing.ascii,
        }
    }
}

/// A device to be bound, in the form for the screen.
pub(crate) struct Binding {
    symbol: Option<Symbol>,
    key: Zeroizing<String>,
    /// The fields that an app asks for besides the key, in the words that apps use.
    fields: Vec<(String, String)>,
    period: u32,
    lang: Lang,
}

impl Binding {
    pub(crate) fn of(device: &Device, lang: Lang) -> Binding {
        Binding {
            symbol: Symbol::of(device.uri.bytes()),
            key: Zeroizing::new(device.key.text().unwrap_or_default().to_owned()),
            fields: fields(device, lang),
            period: device.period,
            lang,
        }
    }

    /// The seconds until the app shows a new code, and the step of the present one.
    pub(crate) fn countdown(&self, now: std::time::Duration) -> Countdown {
        countdown(now.as_secs(), self.period)
    }

    /// The lines to show in a window that must leave `below` rows free: the widest quiet zone and the most words that
    /// fit. Without a QR code if none fits.
    pub(crate) fn lines(&self, look: Look, window: Size, below: usize) -> Lines {
        let room = Size { rows: window.rows.saturating_sub(below), cols: window.cols };
        let drawn = look.glyphs.zip(self.symbol.as_ref()).and_then(|(glyphs, symbol)| {
            [Quiet::WIDE, Quiet::NARROW].into_iter().find_map(|quiet| {
                let size = symbol.size(glyphs, quiet);
                let text = [Words::Many, Words::Few, Words::Key].into_iter().find_map(|words| {
                    [true, false].into_iter().find_map(|beside| self.text(words, beside, look, size, room))
                })?;
                Some(text.around(symbol.draw(glyphs, look.ink, quiet), size.cols))
            })
        });
        drawn.unwrap_or_else(|| self.without_picture(look, window, below))
    }

    /// The words beside or above a picture, if there is room for both.
    fn text(&self, words: Words, beside: bool, look: Look, picture: Size, room: Size) -> Option<Block> {
        let (rows, cols) = (room.rows.checked_sub(picture.rows)?, room.cols.checked_sub(picture.cols)?);
        let left = if beside {
            Size { cols: cols.checked_sub(GAP).filter(|cols| *cols >= NARROWEST)?, ..room }
        } else {
            Size { rows, ..room }
        };
        let lines = self.words(words, look, left.cols);
        (lines.len() <= left.rows && widest(&lines) <= left.cols).then_some(Block { lines, beside })
    }

    fn without_picture(&self, look: Look, window: Size, below: usize) -> Lines {
        let why = self.why_no_picture(look, window, below);
        let look = Look { glyphs: None, ..look };
        let mut lines = wrap(&why, window.cols);
        if !lines.is_empty() {
            lines.push(String::new());
        }
        for words in [Words::Many, Words::Few, Words::Key] {
            let text = self.words(words, look, window.cols);
            if lines.len() + text.len() + below <= window.rows || words == Words::Key {
                lines.extend(text.iter().cloned());
                break;
            }
        }
        Zeroizing::new(lines)
    }

    fn why_no_picture(&self, look: Look, window: Size, below: usize) -> String {
        let Some(glyphs) = look.glyphs else { return String::new() };
        let Some(symbol) = &self.symbol else {
            return self.lang.say(Text::TooLong);
        };
        let picture = symbol.size(glyphs, Quiet::NARROW);
        let beside = picture.cols + GAP + NARROWEST;
        let needs = if window.cols >= beside {
            format!("{beside}x{}", picture.rows + below)
        } else {
            let key = self.words(Words::Key, look, picture.cols).len();
            format!("{}x{}", picture.cols, picture.rows + key + below)
        };
        let has = format!("{}x{}", window.cols, window.rows);
        let why = if look.only_ascii {
            // Such a terminal cannot show Chinese.
            format!("This locale is not UTF-8, so the QR code would need a window of {needs}; this one has {has}.")
        } else {
            self.lang.say(Text::TooSmall(&needs, &has))
        };
        format!("{why} {}", self.lang.say(Text::Enlarge))
    }

    fn words(&self, words: Words, look: Look, cols: usize) -> Lines {
        let scan = look.glyphs.is_some();
        let mut lines = Vec::new();
        match words {
            Words::Many if scan => {
                lines.extend(wrap(&self.lang.say(Text::ScanOrType), cols));
            }
            Words::Many => lines.extend(wrap(&self.lang.say(Text::Type), cols)),
            Words::Few if scan => lines.extend(wrap(&self.lang.say(Text::ScanOrTypeShort), cols)),
            Words::Few => lines.extend(wrap(&self.lang.say(Text::TypeShort), cols)),
            Words::Key => return Zeroizing::new(self.key_lines("", cols)),
        }
        if words == Words::Many {
            lines.push(String::new());
        }
        for (name, value) in &self.fields {
            let value = wrap(value, cols.saturating_sub(10).max(8));
            let head = |n| padded(if n == 0 { name } else { "" }, 7);
            lines.extend(value.iter().enumerate().map(|(n, v)| format!("  {} {v}", head(n))));
        }
        lines.extend(self.key_lines(&format!("  {} ", padded(&self.lang.say(Text::Key), 7)), cols));
        if words == Words::Many {
            lines.push(String::new());
            lines.extend(wrap(&self.lang.say(Text::ThenTwoCodes), cols));
            lines.push(String::new());
            lines.extend(wrap(&self.lang.say(Text::CtrlC), cols));
            if scan && look.ink == Ink::Light {
                lines.push(String::new());
                lines.extend(wrap(&self.lang.say(Text::LightTerminal), cols));
            }
        }
        Zeroizing::new(lines)
    }

    /// The key in groups of four, with as many groups on a line as fit evenly.
    fn key_lines(&self, head: &str, cols: usize) -> Vec<String> {
        let groups: Vec<&str> = groups(&self.key).collect();
        let fit = (cols.saturating_sub(columns(head)) + 1) / 5;
        let per_line = [8, 4, 2].into_iter().find(|n| *n <= fit).unwrap_or(1);
        let indent = " ".repeat(columns(head));
        groups
            .chunks(per_line)
            .enumerate()
            .map(|(n, chunk)| {
                let mut line = String::with_capacity(head.len() + 5 * chunk.len());
                line.push_str(if n == 0 { head } else { &indent });
                for (n, group) in chunk.iter().enumerate() {
                    line.push_str(if n == 0 { "" } else { " " });
                    line.push_str(group);
                }
                line
            })
            .collect()
    }
}

/// The amount of words around the QR code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Many,
    Few,
    Key,
}

/// Words, and their position.
struct Block {
    lines: Lines,
    beside: bool,
}

impl Block {
    /// Joins these words with a picture of this many columns.
    fn around(mut self, picture: Lines, cols: usize) -> Lines {
        if !self.beside {
            self.lines.extend(picture.iter().cloned());
            return self.lines;
        }
        // Words with fewer lines than the picture start a little below its upper edge.
        let top = picture.len().saturating_sub(self.lines.len()).min(2);
        let rows = picture.len().max(self.lines.len());
        let (no_picture, blank) = (" ".repeat(cols), String::new());
        Zeroizing::new(
            (0..rows)
                .map(|row| {
                    let left = picture.get(row).unwrap_or(&no_picture);
                    let right = row.checked_sub(top).and_then(|n| self.lines.get(n)).unwrap_or(&blank);
                    let gap = if right.is_empty() { "" } else { &" ".repeat(GAP) };
                    [left, gap, right].concat()
                })
                .collect(),
        )
    }
}

/// The other fields that an app asks for: the name and the issuer, and parameters that differ from every app's
/// defaults.
fn fields(device: &Device, lang: Lang) -> Vec<(String, String)> {
    let differs = |value: String, habit: &str| if value == habit { String::new() } else { value };
    [
        (Text::Issuer, device.issuer.clone()),
        (Text::Account, device.user.clone()),
        (Text::Kind, lang.say(Text::TimeBased)),
        (Text::Digits, differs(device.digits.to_string(), "6")),
        (Text::Period, differs(device.period.to_string(), "30")),
        (Text::Hash, differs(device.algorithm.clone(), "SHA1")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (lang.say(name), printable(&value, LONGEST)))
    .collect()
}

/// `key` in groups of four.
fn groups(key: &str) -> impl Iterator<Item = &str> {
    (0..key.len()).step_by(4).filter_map(|at| key.get(at..key.len().min(at + 4)))
}

/// The position in the life of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Countdown {
    /// The step.
    pub(crate) step: u64,
    /// The seconds until the next step, from 1 to the period.
    pub(crate) left: u64,
}

fn countdown(now: u64, period: u32) -> Countdown {
    let period = u64::from(period.max(1));
    Countdown { step: now / period, left: period - now % period }
}

/// `question` with the remaining life of the code. For the second code, the person waits until the app has left the
/// step of the first.
pub(crate) fn prompt(lang: Lang, question: &str, clock: Countdown, first_given_in: Option<u64>, cols: usize) -> String {
    let stem = question.trim_end().trim_end_matches(':');
    let long = match first_given_in {
        Some(step) if step != clock.step => Text::ShowsItNow(clock.left),
        _ => Text::ShowsNewIn(clock.left),
    };
    let texts = [long, Text::SecondsLeft(clock.left)].map(|text| format!("{stem} {}: ", lang.say(text)));
    texts.into_iter().find(|p| columns(p) + ROOM_TO_TYPE <= cols).unwrap_or_else(|| question.to_owned())
}

/// `question` as lines to show above, and a last line to type after. A PAM module may ask long questions.
pub(crate) fn broken(question: &str, cols: usize) -> (Vec<String>, String) {
    if columns(question) + ROOM_TO_TYPE <= cols {
        return (Vec::new(), question.to_owned());
    }
    let mut lines = wrap(question, cols.saturating_sub(ROOM_TO_TYPE).max(1));
    let last = lines.pop().unwrap_or_default();
    (lines, last + " ")
}

/// All lines as one text, in one allocation, so that wiping it leaves no copy.
pub(crate) fn joined(lines: &Lines) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len() + 1).sum()));
    for line in lines.iter() {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Breaks `text` into lines of at most `cols` columns, between words where possible.
pub(crate) fn wrap(text: &str, cols: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= cols => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
        while let Some(rest) = lines.last_mut().and_then(|line| overflow(line, cols)) {
            lines.push(rest);
        }
    }
    lines
}

/// Cuts off the part of `line` beyond `cols` columns.
fn overflow(line: &mut String, cols: usize) -> Option<String> {
    let mut used = 0;
    let at = line.char_indices().find(|(at, c)| {
        used += char_columns(*c);
        used > cols && *at > 0
    })?;
    Some(line.split_off(at.0))
}

/// `text`, filled with blanks to this many columns.
pub(crate) fn padded(text: &str, cols: usize) -> String {
    format!("{text}{}", " ".repeat(cols.saturating_sub(columns(text))))
}

/// The width of the widest line, in columns.
pub(crate) fn widest(lines: &[String]) -> usize {
    lines.iter().map(|line| columns(line)).max().unwrap_or(0)
}

/// The columns that `text` needs at most: a block needs one, any other character beyond ASCII may need two.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    if c.is_ascii() || ('\u{2580}'..='\u{259f}').contains(&c) { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfa_wire::Secret;

    const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

    fn binding(issuer: &str) -> Binding {
        binding_in(Lang::English, issuer)
    }

    fn binding_in(lang: Lang, issuer: &str) -> Binding {
        let uri = format!("otpauth://totp/{issuer}:alice?secret={KEY}&issuer={issuer}");
        Binding::of(&Device { issuer: issuer.into(), uri: Secret::copy_of(uri.as_bytes()), ..device() }, lang)
    }

    fn device() -> Device {
        Device {
            user: "alice".into(),
            issuer: "web1".into(),
            key: Secret::copy_of(KEY.as_bytes()),
            uri: Secret::default(),
            algorithm: "SHA1".into(),
            digits: 6,
            period: 30,
            expires: None,
        }
    }

    /// Issuers that give symbols of versions 4 to 8.
    fn bindings() -> impl Iterator<Item = (usize, Binding)> {
        bindings_in(Lang::English)
    }

    fn bindings_in(lang: Lang) -> impl Iterator<Item = (usize, Binding)> {
        [(4, 4), (5, 14), (6, 26), (7, 44), (8, 56)].into_iter().map(move |(version, n)| {
            let name = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"[..n].to_owned();
            let binding = binding_in(lang, &name);
            let wide = binding.symbol.as_ref().unwrap().size(Glyphs::Blocks, Quiet { across: 0, down: 0 }).cols;
            assert_eq!(wide, 17 + 4 * version);
            (version, binding)
        })
    }

    fn coloured() -> Look {
        Look::new(&Drawing::default(), true, true)
    }

    /// The width of the widest line, without its colors.
    fn widest_shown(lines: &Lines) -> usize {
        fn plain(part: &str) -> &str {
            part.strip_prefix('[').and_then(|colour| colour.split_once('m')).map_or(part, |(_, plain)| plain)
        }
        lines.iter().map(|line| line.split('\x1b').map(plain).map(columns).sum()).max().unwrap_or(0)
    }

    fn has_picture(lines: &Lines) -> bool {
        lines.iter().any(|line| line.contains('\u{2588}'))
    }

    fn all_text(lines: &Lines) -> String {
        let blocks = |c: char| ('\u{2580}'..='\u{259f}').contains(&c);
        lines.join(" ").replace(blocks, " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether the key can be copied from the lines.
    fn key_is_readable(lines: &Lines) -> bool {
        let text = all_text(lines);
        let groups: Vec<&str> = text.split(' ').filter(|word| groups(KEY).any(|g| g == *word)).collect();
        groups.concat() == KEY
    }

    const WINDOWS: [(usize, usize); 8] =
        [(80, 24), (80, 25), (60, 20), (132, 50), (45, 40), (40, 15), (20, 10), (200, 12)];

    #[test]
    fn is_never_larger_than_the_window() {
        for (version, binding) in bindings().chain(bindings_in(Lang::Chinese)) {
            for (cols, rows) in WINDOWS {
                for below in 1..=3 {
                    for drawing in [
                        Drawing::default(),
                        Drawing { ascii: true, ..Drawing::default() },
                        Drawing { key_only: true, ..Drawing::default() },
                    ] {
                        let look = Look::new(&drawing, true, true);
                        let lines = binding.lines(look, Size { rows, cols }, below);
                        let case =
                            format!("version {version}, {cols}x{rows}, {below} below, {drawing:?}", drawing = look);
                        assert!(widest_shown(&lines) <= cols, "{case}: {} columns", widest_shown(&lines));
                        // Ten rows of twenty columns cannot hold the reason and the key.
                        assert!(lines.len() + below <= rows || rows == 10, "{case}: {} rows", lines.len());
                        assert!(key_is_readable(&lines), "{case}: {}", lines.join("\n"));
                    }
                }
            }
        }
    }

    #[test]
    fn shows_the_code_wherever_it_fits() {
        let largest = |cols, rows, below| {
            bindings()
                .filter(|(_, binding)| has_picture(&binding.lines(coloured(), Size { rows, cols }, below)))
                .map(|(version, _)| version)
                .max()
        };
        assert_eq!(largest(80, 24, 1), Some(6), "23 rows or 22, and the prompt");
        assert_eq!(largest(80, 24, 2), Some(6));
        assert_eq!(largest(80, 25, 1), Some(7));
        assert_eq!(largest(60, 20, 1), Some(4));
        assert_eq!(largest(60, 20, 2), Some(4));
        assert_eq!(largest(132, 50, 3), Some(8));
        assert_eq!(largest(40, 15, 1), None);
    }

    #[test]
    fn the_usual_window_holds_the_usual_code_with_a_wide_border_and_all_words() {
        let lines = binding("web1").lines(coloured(), USUAL, 2);
        assert_eq!(lines.len(), 19);
        let text = all_text(&lines);
        for words in ["Scan this code", "issuer web1", "account alice", "time-based", "two codes in a row", "Ctrl-C"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn the_words_beside_do_not_spoil_the_code() {
        for (cols, rows) in [(80, 24), (60, 20), (45, 40), (132, 50)] {
            let binding = binding("web1");
            let lines = binding.lines(Look::new(&Drawing::default(), false, true), Size { rows, cols }, 2);
            let cells: Vec<Vec<char>> = lines.iter().map(|l| l.chars().collect()).collect();
            let text = crate::reader::decode(cols, 2 * rows, |x, y| {
                let cell = cells.get(y / 2).and_then(|row| row.get(x)).unwrap_or(&' ');
                !matches!((cell, y % 2), ('\u{2588}', _) | ('\u{2580}', 0) | ('\u{2584}', 1))
            });
            assert_eq!(text, Some(format!("otpauth://totp/web1:alice?secret={KEY}&issuer=web1")), "{cols}x{rows}");
        }
    }

    #[test]
    fn says_what_a_small_window_lacks_and_tells_the_truth() {
        let binding = binding("web1");
        let small = binding.lines(coloured(), Size { rows: 18, cols: 36 }, 1);
        assert!(!has_picture(&small));
        assert!(all_text(&small).contains("too small for the QR code: it needs 37x21 and has 36x18"), "{small:?}");
        assert!(has_picture(&binding.lines(coloured(), Size { rows: 21, cols: 37 }, 1)));
        assert!(!has_picture(&binding.lines(coloured(), Size { rows: 20, cols: 37 }, 1)));
        assert!(!has_picture(&binding.lines(coloured(), Size { rows: 21, cols: 36 }, 1)));
        let low = binding.lines(coloured(), Size { rows: 18, cols: 80 }, 1);
        assert!(all_text(&low).contains("needs 59x19 and has 80x18"), "{low:?}");
        assert!(has_picture(&binding.lines(coloured(), Size { rows: 19, cols: 59 }, 1)));
    }

    #[test]
    fn without_utf8_draws_ascii_or_says_why_not() {
        let look = Look::new(&Drawing::default(), true, false);
        assert!(all_text(&binding("web1").lines(look, USUAL, 1)).starts_with("This locale is not UTF-8"));
        let large = binding("web1").lines(look, Size { rows: 60, cols: 120 }, 1);
        assert!(large.iter().all(|line| line.is_ascii()));
        assert!(large.len() > 35);
    }

    #[test]
    fn without_colours_a_light_terminal_is_thought_of() {
        let dark = Look::new(&Drawing::default(), false, true);
        let lines = binding("web1").lines(dark, USUAL, 1);
        assert!(lines.iter().all(|line| !line.contains('\x1b')));
        assert!(all_text(&lines).contains("--invert"));
        let light = Look::new(&Drawing { invert: true, ..Drawing::default() }, true, true);
        let lines = binding("web1").lines(light, USUAL, 1);
        assert!(lines.iter().all(|line| !line.contains('\x1b')));
        assert!(lines[0].starts_with("    "), "the border is ground");
    }

    #[test]
    fn a_key_stands_in_groups_of_four() {
        let grouped = |key: &'static str| groups(key).collect::<Vec<_>>().join(" ");
        assert_eq!(grouped("JBSWY3DPEHPK3PXP"), "JBSW Y3DP EHPK 3PXP");
        assert_eq!(grouped("JBSWY3"), "JBSW Y3");
        assert_eq!(grouped(""), "");
        let lines = binding("web1").key_lines("  key     ", 37);
        assert_eq!(lines, ["  key     JBSW Y3DP EHPK 3PXP", "          JBSW Y3DP EHPK 3PXP"]);
    }

    #[test]
    fn tells_what_is_typed_by_hand() {
        let pairs = |of: &[(&str, &str)]| -> Vec<(String, String)> {
            of.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let fields = |device| fields(&device, Lang::English);
        assert_eq!(fields(device()), pairs(&[("issuer", "web1"), ("account", "alice"), ("type", "time-based")]));
        let unusual = Device { digits: 8, period: 60, algorithm: "SHA256".into(), ..device() };
        assert_eq!(fields(unusual)[3..], pairs(&[("digits", "8"), ("period", "60"), ("hash", "SHA256")]));
        let nasty = Device { issuer: "Müller & Co \x1b[31m".into(), ..device() };
        assert_eq!(fields(nasty)[0].1, "Müller & Co \\u{1b}[31m");
    }

    #[test]
    fn counts_down_to_the_next_step() {
        assert_eq!(countdown(0, 30), Countdown { step: 0, left: 30 });
        assert_eq!(countdown(29, 30), Countdown { step: 0, left: 1 });
        assert_eq!(countdown(30, 30), Countdown { step: 1, left: 30 });
        assert_eq!(countdown(1_700_000_013, 60), Countdown { step: 28_333_333, left: 27 });
        assert_eq!(countdown(7, 0), Countdown { step: 7, left: 1 }, "no division by a period of zero");
    }

    #[test]
    fn the_prompt_says_when_the_second_code_is_there() {
        let at = |step, left| Countdown { step, left };
        assert_eq!(
            prompt(Lang::English, "First verification code: ", at(7, 17), None, 80),
            "First verification code (the app shows a new one in 17 s): "
        );
        assert_eq!(
            prompt(Lang::English, "Second verification code: ", at(7, 17), Some(7), 80),
            "Second verification code (the app shows a new one in 17 s): "
        );
        assert_eq!(
            prompt(Lang::English, "Second verification code: ", at(8, 25), Some(7), 80),
            "Second verification code (the app shows it now; 25 s left): "
        );
        assert_eq!(
            prompt(Lang::English, "Second verification code: ", at(8, 25), Some(7), 50),
            "Second verification code (25 s): "
        );
        assert_eq!(
            prompt(Lang::English, "Second verification code: ", at(8, 25), Some(7), 20),
            "Second verification code: "
        );
    }

    #[test]
    fn a_long_question_is_broken_and_leaves_room_to_type() {
        assert_eq!(broken("Password: ", 80), (vec![], "Password: ".into()));
        let (above, last) = broken("Enter the one-time value that was sent to your phone: ", 40);
        assert_eq!((above, last.as_str()), (vec!["Enter the one-time value that".into()], "was sent to your phone: "));
    }

    #[test]
    fn wraps_between_words_and_breaks_what_is_too_long() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), Vec::<String>::new());
        assert_eq!(wrap("日", 1), ["日"], "what cannot fit is not lost");
    }
}
