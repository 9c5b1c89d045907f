//! What a person sees.

use std::{fmt, io::Write, process::Stdio};

use crate::tool;

/// The colours of a terminal where nobody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Light grey on black.
    Dark,
    /// Black on white.
    Light,
}

/// The screen of a [`Terminal`](crate::Terminal) at one moment.
#[derive(Debug, Clone)]
pub struct Screen(vt100::Screen);

impl Screen {
    pub(crate) fn new(screen: vt100::Screen) -> Self {
        Self(screen)
    }

    /// The text, row by row.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.contents()
    }

    /// The screen as pixels: 8 to 16 for a cell. Block elements are exact; any other glyph is a box
    /// of about its size.
    #[must_use]
    pub fn picture(&self, theme: Theme) -> Picture {
        let (rows, columns) = self.0.size();
        let (rows, columns) = (usize::from(rows.get()), usize::from(columns.get()));
        let (width, height) = (columns * 8, rows * 16);
        let mut grey = vec![0; width * height];
        for (at, pixel) in grey.iter_mut().enumerate() {
            let (x, y) = (at % width, at / width);
            let cell = self.0.cell((y / 16) as u16, (x / 8) as u16).expect("within the screen");
            let (mut ink, mut paper) = theme.inks();
            ink = luminance(cell.fgcolor(), ink);
            paper = luminance(cell.bgcolor(), paper);
            if cell.inverse() {
                (ink, paper) = (paper, ink);
            }
            *pixel = if is_inked(cell.contents(), x % 8, y % 16) { ink } else { paper };
        }
        Picture { width, height, grey }
    }

    /// What a scanner that tries no tricks reads: the QR code on the screen, as `zbarimg` sees it.
    #[must_use]
    pub fn decode_qr(&self, theme: Theme) -> Option<String> {
        self.picture(theme).decode_qr()
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = "-".repeat(usize::from(self.0.size().1.get()));
        writeln!(f, "{line}\n{}\n{line}", self.text())
    }
}

impl Theme {
    fn inks(self) -> (u8, u8) {
        match self {
            Self::Dark => (229, 0),
            Self::Light => (0, 255),
        }
    }
}

/// A grey picture.
#[derive(Debug, Clone)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub grey: Vec<u8>,
}

impl Picture {
    /// As a file in PGM format.
    #[must_use]
    pub fn pgm(&self) -> Vec<u8> {
        [format!("P5\n{} {}\n255\n", self.width, self.height).as_bytes(), &self.grey].concat()
    }

    /// The QR code in it, as `zbarimg` sees it.
    #[must_use]
    pub fn decode_qr(&self) -> Option<String> {
        let mut zbarimg = tool("zbarimg", "zbar-tools")
            .args(["--quiet", "--nodbus", "--raw", "-Sdisable", "-Sqrcode.enable", "pgm:-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("zbarimg");
        zbarimg.stdin.take().expect("it is piped").write_all(&self.pgm()).expect("zbarimg reads its input");
        let output = zbarimg.wait_with_output().expect("zbarimg");
        match output.status.code() {
            Some(0) => Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            Some(4) => None,
            _ => panic!("zbarimg: {}", output.status),
        }
    }
}

/// Is there ink at this place of an 8 by 16 cell?
fn is_inked(glyph: &str, x: usize, y: usize) -> bool {
    let (left, top) = (x < 4, y < 8);
    match glyph {
        "" | " " | "\u{a0}" => false,
        "█" => true,
        "▀" => top,
        "▄" => !top,
        "▌" => left,
        "▐" => !left,
        "▘" => top && left,
        "▝" => top && !left,
        "▖" => !top && left,
        "▗" => !top && !left,
        "▛" => top || left,
        "▜" => top || !left,
        "▙" => !top || left,
        "▟" => !top || !left,
        "▚" => top == left,
        "▞" => top != left,
        _ => (1..7).contains(&x) && (3..13).contains(&y),
    }
}

fn luminance(color: vt100::Color, default: u8) -> u8 {
    let (r, g, b) = match color {
        vt100::Color::Default => return default,
        vt100::Color::Rgb(r, g, b) => (r, g, b),
        vt100::Color::Idx(index) => palette(index),
    };
    ((u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1000) as u8
}

/// The 256 colours of xterm.
fn palette(index: u8) -> (u8, u8, u8) {
    match index {
        7 => (229, 229, 229),
        8 => (127, 127, 127),
        0..16 => {
            let strong = if index < 8 { 205 } else { 255 };
            let part = |bit: u8| if index & bit == 0 { 0 } else { strong };
            (part(1), part(2), part(4))
        }
        16..232 => {
            let part = |level: u8| if level == 0 { 0 } else { 55 + 40 * level };
            (part((index - 16) / 36), part((index - 16) / 6 % 6), part((index - 16) % 6))
        }
        232.. => {
            let level = 8 + 10 * (index - 232);
            (level, level, level)
        }
    }
}
