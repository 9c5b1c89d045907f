//! QR codes: a text in, the lines of a drawing out. No I/O. Used on the screen of `mfa-enroll` and in the prompt of a
//! login.

#![forbid(unsafe_code)]

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// The drawn lines. Anybody who has them can read the key, so they are wiped.
pub type Lines = Zeroizing<Vec<String>>;

/// A QR code: a square of dark and light modules.
pub struct Symbol {
    width: usize,
    dark: Zeroizing<Vec<bool>>,
}

/// The light border around a symbol, in modules. The standard says 4; readers accept less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// On the left and on the right.
    pub across: usize,
    /// Above and below.
    pub down: usize,
}

impl Quiet {
    /// Four modules at the sides; only two above and below, so that it fits a small window.
    pub const WIDE: Quiet = Quiet { across: 4, down: 2 };
    /// The narrowest border with which every decoder in our tests still read the symbol.
    pub const NARROW: Quiet = Quiet { across: 2, down: 1 };
}

/// What a module is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// Two modules in one character: a space, or the upper, lower or full block.
    Blocks,
    /// One module in two characters: spaces or `##`.
    Ascii,
}

/// Which of ink and ground appears light on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Ink is set to white and the ground to black: right on every theme.
    Coloured,
    /// Ink draws the light modules: right on a dark terminal.
    Light,
    /// Ink draws the dark modules: right on a light terminal.
    Dark,
}

/// A height and a width, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

/// White ink on black ground, from the part of the 256-color palette that no theme changes.
const WHITE_ON_BLACK: &str = "\x1b[38;5;231;48;5;16m";
const WHITE_GROUND: &str = "\x1b[48;5;231m";
const BLACK_GROUND: &str = "\x1b[48;5;16m";
const PLAIN: &str = "\x1b[0m";

impl Symbol {
    /// The smallest symbol that holds `text`; `None` if `text` is too long for every size. Error correction is at its
    /// lowest: a screen is not damaged, and every row counts.
    pub fn of(text: &[u8]) -> Option<Symbol> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let width = code.width();
        let dark = code.into_colors().into_iter().map(|colour| colour == Color::Dark).collect();
        Some(Symbol { width, dark: Zeroizing::new(dark) })
    }

    /// Whether a module is dark. Everything around the symbol is light.
    fn dark(&self, x: usize, y: usize, quiet: Quiet) -> bool {
        match (x.checked_sub(quiet.across), y.checked_sub(quiet.down)) {
            (Some(x), Some(y)) if x < self.width && y < self.width => self.dark[y * self.width + x],
            _ => false,
        }
    }

    /// The size of a drawing.
    pub fn size(&self, glyphs: Glyphs, quiet: Quiet) -> Size {
        let (wide, high) = (self.width + 2 * quiet.across, self.width + 2 * quiet.down);
        match glyphs {
            Glyphs::Blocks => Size { rows: high.div_ceil(2), cols: wide },
            Glyphs::Ascii => Size { rows: high, cols: 2 * wide },
        }
    }

    /// Draws the symbol.
    pub fn draw(&self, glyphs: Glyphs, ink: Ink, quiet: Quiet) -> Lines {
        let rows = self.size(glyphs, quiet).rows;
        Zeroizing::new(match glyphs {
            Glyphs::Blocks => (0..rows).map(|row| self.block_row(row, ink, quiet)).collect(),
            Glyphs::Ascii => (0..rows).map(|row| self.ascii_row(row, ink, quiet)).collect(),
        })
    }

    fn block_row(&self, row: usize, ink: Ink, quiet: Quiet) -> String {
        let wide = self.width + 2 * quiet.across;
        let inked = |x, y| self.dark(x, y, quiet) == (ink == Ink::Dark);
        let mut line = String::with_capacity(3 * wide + WHITE_ON_BLACK.len() + PLAIN.len());
        line.push_str(if ink == Ink::Coloured { WHITE_ON_BLACK } else { "" });
        line.extend((0..wide).map(|x| match (inked(x, 2 * row), inked(x, 2 * row + 1)) {
            (false, false) => ' ',
            (true, false) => '\u{2580}',
            (false, true) => '\u{2584}',
            (true, true) => '\u{2588}',
        }));
        line.push_str(if ink == Ink::Coloured { PLAIN } else { "" });
        line
    }

    fn ascii_row(&self, y: usize, ink: Ink, quiet: Quiet) -> String {
        let wide = self.width + 2 * quiet.across;
        let mut line = String::with_capacity(wide * (WHITE_GROUND.len() + 2) + PLAIN.len());
        for x in 0..wide {
            let dark = self.dark(x, y, quiet);
            line.push_str(match (ink, dark) {
                // Only the ground is visible; its color is written only where it changes.
                (Ink::Coloured, _) if x > 0 && self.dark(x - 1, y, quiet) == dark => "",
                (Ink::Coloured, true) => BLACK_GROUND,
                (Ink::Coloured, false) => WHITE_GROUND,
                _ => "",
            });
            line.push_str(match (ink, dark) {
                (Ink::Light, false) | (Ink::Dark, true) => "##",
                _ => "  ",
            });
        }
        line.push_str(if ink == Ink::Coloured { PLAIN } else { "" });
        line
    }

    /// The symbol as an SVG picture, which any browser shows and any printer prints.
    pub fn svg(&self) -> Zeroizing<String> {
        let quiet = Quiet { across: 4, down: 4 };
        let side = self.width + 8;
        let mut path = Zeroizing::new(String::with_capacity(16 * self.width * self.width + 512));
        let _ = write!(
            path,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{0}\" height=\"{0}\" \
             shape-rendering=\"crispEdges\">\n<rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\n<path d=\"",
            8 * side
        );
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.dark(*x, y, quiet)).count();
                if run > 0 {
                    let _ = write!(path, "M{x},{y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        path.push_str("\"/>\n</svg>\n");
        path
    }
}

#[cfg(test)]
mod reader;

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that needs the given version.
    fn uri(version: usize) -> String {
        let key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
        let name = |n| "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789"[..n].to_owned();
        match version {
            3 => format!("otpauth://totp/alice?secret={}", &key[..16]),
            4 => format!("otpauth://totp/web1:alice?secret={key}&issuer=web1"),
            5 => format!("otpauth://totp/{}:alice?secret={key}&issuer={}", name(14), name(14)),
            6 => format!("otpauth://totp/{}:alice?secret={key}&issuer={}", name(26), name(26)),
            7 => format!("otpauth://totp/{}:alice?secret={key}&issuer={}", name(44), name(44)),
            _ => unreachable!(),
        }
    }

    fn symbol(version: usize) -> Symbol {
        let symbol = Symbol::of(uri(version).as_bytes()).unwrap();
        assert_eq!(symbol.width, 17 + 4 * version);
        symbol
    }

    /// Reads a drawing back as a terminal with this polarity would show it.
    fn read_blocks(lines: &[String], ink: Ink) -> Option<String> {
        let rows: Vec<Vec<char>> = lines
            .iter()
            .map(|l| l.trim_start_matches(WHITE_ON_BLACK).trim_end_matches(PLAIN).chars().collect())
            .collect();
        reader::decode(rows[0].len(), 2 * rows.len(), |x, y| {
            let inked = matches!((rows[y / 2][x], y % 2), ('█', _) | ('▀', 0) | ('▄', 1));
            inked == (ink == Ink::Dark)
        })
    }

    #[test]
    fn half_blocks_are_read_back_in_every_version_border_and_polarity() {
        for version in 3..=7 {
            for quiet in [Quiet::WIDE, Quiet::NARROW] {
                for ink in [Ink::Coloured, Ink::Light, Ink::Dark] {
                    let lines = symbol(version).draw(Glyphs::Blocks, ink, quiet);
                    assert_eq!(read_blocks(&lines, ink), Some(uri(version)), "version {version}, {quiet:?}, {ink:?}");
                }
            }
        }
    }

    #[test]
    fn ascii_is_read_back_in_every_polarity() {
        for ink in [Ink::Light, Ink::Dark] {
            let lines = symbol(4).draw(Glyphs::Ascii, ink, Quiet::WIDE);
            let text = reader::decode(lines[0].len() / 2, lines.len(), |x, y| {
                (lines[y].as_bytes()[2 * x] == b'#') == (ink == Ink::Dark)
            });
            assert_eq!(text, Some(uri(4)), "{ink:?}");
        }
    }

    #[test]
    fn coloured_ascii_is_read_back_from_its_ground() {
        let lines = symbol(4).draw(Glyphs::Ascii, Ink::Coloured, Quiet::WIDE);
        let size = symbol(4).size(Glyphs::Ascii, Quiet::WIDE);
        let cells = |n| std::num::NonZero::new(n as u16).unwrap();
        let mut screen = vt100::Parser::new(cells(size.rows), cells(size.cols), 0);
        screen.process(lines.join("\r\n").as_bytes());
        let text = reader::decode(size.cols / 2, size.rows, |x, y| {
            screen.screen().cell(y as u16, 2 * x as u16).unwrap().bgcolor() == vt100::Color::Idx(16)
        });
        assert_eq!(text, Some(uri(4)));
    }

    #[test]
    fn a_drawing_has_the_size_that_was_announced() {
        for version in 3..=7 {
            for quiet in [Quiet::WIDE, Quiet::NARROW] {
                for glyphs in [Glyphs::Blocks, Glyphs::Ascii] {
                    let lines = symbol(version).draw(glyphs, Ink::Light, quiet);
                    let size = Size { rows: lines.len(), cols: lines[0].chars().count() };
                    assert_eq!(size, symbol(version).size(glyphs, quiet));
                    assert!(lines.iter().all(|l| l.chars().count() == size.cols));
                }
            }
        }
        assert_eq!(symbol(4).size(Glyphs::Blocks, Quiet::WIDE), Size { rows: 19, cols: 41 });
        assert_eq!(symbol(6).size(Glyphs::Blocks, Quiet::WIDE), Size { rows: 23, cols: 49 });
    }

    #[test]
    fn the_picture_is_read_back() {
        let svg = symbol(5).svg();
        let runs: Vec<(usize, usize, usize)> = svg
            .split('M')
            .skip(1)
            .map(|run| {
                let (x, rest) = run.split_once(',').unwrap();
                let (y, rest) = rest.split_once('h').unwrap();
                let (length, _) = rest.split_once('v').unwrap();
                (x.parse().unwrap(), y.parse().unwrap(), length.parse().unwrap())
            })
            .collect();
        let dark = |x: usize, y: usize| runs.iter().any(|(a, b, n)| *b == y && (*a..a + n).contains(&x));
        assert_eq!(reader::decode(45, 45, dark), Some(uri(5)));
    }

    #[test]
    fn a_text_that_fits_no_symbol_gives_none() {
        assert!(Symbol::of(&[b'a'; 3000]).is_none());
    }
}
