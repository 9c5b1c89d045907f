//! Recovery codes on the screen, for writing them down; never more than the window can show. No I/O.

use mfa_wire::{Secret, printable};
use zeroize::Zeroizing;

use crate::screen::{columns, widest, wrap};
use crate::texts::{Lang, Text};
use mfa_qr::{Lines, Size};

/// The longest code that is shown, in characters.
const LONGEST: usize = 64;
/// Blank columns between two codes, at most.
const GAP: usize = 4;

/// The codes of one set.
pub(crate) struct Codes(Zeroizing<Vec<String>>, Lang);

impl Codes {
    pub(crate) fn of(codes: &[Secret], lang: Lang) -> Codes {
        let codes = codes.iter().filter_map(Secret::text).map(|code| printable(code, LONGEST)).collect();
        Codes(Zeroizing::new(codes), lang)
    }

    fn sentences(&self) -> [String; 2] {
        [self.1.say(Text::EachOnce), self.1.say(Text::ShownOnlyNow)]
    }

    /// The lines to show in a window that must leave `below` rows free. Two columns if that is enough, otherwise
    /// more; if there is no room, first the blank lines are left out, then the words.
    pub(crate) fn lines(&self, window: Size, below: usize) -> Lines {
        let most = ((window.cols + 1) / (widest(&self.0) + 1)).max(1);
        let room = window.rows.saturating_sub(below);
        let words = self.sentences().map(|sentence| wrap(&sentence, window.cols)).concat();
        let aired = [words.clone(), vec![String::new()]].concat();
        [(aired, 1), (words, 0), (Vec::new(), 0)]
            .into_iter()
            .find_map(|(above, blank)| {
                let room = room.checked_sub(above.len() + blank)?;
                let per_row = (most.min(2)..=most).find(|per_row| self.0.len().div_ceil(*per_row) <= room)?;
                let mut lines = Zeroizing::new(above);
                lines.extend(self.rows(per_row, window.cols));
                lines.extend(vec![String::new(); blank]);
                Some(lines)
            })
            .unwrap_or_else(|| Zeroizing::new(wrap(&self.why_none(most, window, below), window.cols)))
    }

    /// The lines for an output where nothing can be removed later.
    pub(crate) fn plain(&self) -> Lines {
        Zeroizing::new(self.sentences().into_iter().chain(self.0.iter().cloned()).collect())
    }

    fn rows(&self, per_row: usize, cols: usize) -> Vec<String> {
        let wide = widest(&self.0);
        let gap = cols.saturating_sub(per_row * wide).checked_div(per_row - 1).unwrap_or(0).clamp(1, GAP);
        let row = |codes: &[String]| {
            let mut row = String::with_capacity(codes.iter().map(|code| code.len() + wide + gap).sum());
            for (n, code) in codes.iter().enumerate() {
                let at = n * (wide + gap);
                row.extend(std::iter::repeat_n(' ', at.saturating_sub(columns(&row))));
                row.push_str(code);
            }
            row
        };
        self.0.chunks(per_row).map(row).collect()
    }

    fn why_none(&self, per_row: usize, window: Size, below: usize) -> String {
        let needs = format!("{}x{}", window.cols.max(widest(&self.0)), self.0.len().div_ceil(per_row) + below);
        let has = format!("{}x{}", window.cols, window.rows);
        self.1.say(Text::TooSmallForCodes(self.0.len(), &needs, &has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(count: usize) -> Codes {
        codes_in(Lang::English, count)
    }

    fn codes_in(lang: Lang, count: usize) -> Codes {
        let code = |n: usize| Secret::copy_of(format!("ab{n:02}-efgh-ijkl-mnop").as_bytes());
        Codes::of(&(0..count).map(code).collect::<Vec<_>>(), lang)
    }

    /// The codes that can be read in these lines.
    fn read(lines: &Lines) -> Vec<&str> {
        lines.iter().flat_map(|line| line.split_whitespace()).filter(|word| word.matches('-').count() == 3).collect()
    }

    #[test]
    fn ten_stand_in_two_columns_below_two_sentences() {
        let codes = codes(10);
        let lines = codes.lines(Size { rows: 24, cols: 80 }, 1);
        assert_eq!(lines[..2], codes.sentences());
        assert_eq!(lines[2], "");
        assert_eq!(lines[3], "ab00-efgh-ijkl-mnop    ab01-efgh-ijkl-mnop");
        assert_eq!((lines.len(), lines[8].as_str()), (9, ""));
        assert_eq!(read(&lines), codes.0.iter().collect::<Vec<_>>());
    }

    #[test]
    fn up_to_64_fit_the_usual_window_with_their_sentences_and_a_message() {
        for (lang, count) in
            [Lang::English, Lang::Chinese].into_iter().flat_map(|lang| (1..=64).map(move |n| (lang, n)))
        {
            let codes = codes_in(lang, count);
            let lines = codes.lines(Size { rows: 24, cols: 80 }, 2);
            assert!(lines.len() + 2 <= 24 && widest(&lines) < 80, "{count}");
            assert_eq!(read(&lines), codes.0.iter().collect::<Vec<_>>(), "{count}");
            assert_eq!(lines[..2], codes.sentences(), "{count}");
        }
    }

    #[test]
    fn is_never_larger_than_the_window_and_shows_all_or_says_why_not() {
        for (cols, rows) in [(80, 24), (60, 20), (40, 15), (40, 12), (20, 12), (132, 50), (80, 8), (21, 60), (19, 20)] {
            for count in [1, 2, 10, 25, 50, 64] {
                let codes = codes(count);
                let lines = codes.lines(Size { rows, cols }, 1);
                assert!(lines.len() < rows && widest(&lines) <= cols, "{count} in {cols}x{rows}: {lines:?}");
                let all = read(&lines).len() == count;
                assert!(all || lines.join(" ").contains("too small for"), "{count} in {cols}x{rows}: {lines:?}");
            }
        }
        assert_eq!(read(&codes(10).lines(Size { rows: 12, cols: 40 }, 1)).len(), 10);
    }

    #[test]
    fn what_is_said_to_be_enough_is() {
        let codes = codes(64);
        let lines = codes.lines(Size { rows: 10, cols: 80 }, 1);
        assert!(lines.join(" ").contains("needs 80x17 and has 80x10"), "{lines:?}");
        assert_eq!(read(&codes.lines(Size { rows: 17, cols: 80 }, 1)).len(), 64);
        assert_eq!(read(&codes.lines(Size { rows: 16, cols: 80 }, 1)).len(), 0);
    }

    #[test]
    fn plainly_each_has_a_line() {
        let codes = codes(3);
        let lines = codes.plain();
        assert_eq!(lines[..2], codes.sentences());
        assert_eq!(lines[2], "ab00-efgh-ijkl-mnop");
        assert_eq!(lines.len(), 5);
    }
}
