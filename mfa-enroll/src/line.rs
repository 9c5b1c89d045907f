//! A line that is being typed: bytes from the terminal in, the answer out. No I/O.

use mfa_wire::{MAX_ANSWER, Secret, printable};

/// What a byte did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Press {
    /// The line did not change.
    Nothing,
    /// The line changed.
    Changed,
    /// Enter: the line is complete.
    Done,
    /// Ctrl-C or Ctrl-D: the person gives up.
    GiveUp,
    /// Ctrl-Z.
    Suspend,
}

/// The position inside an escape sequence, such as an arrow key's. Escape sequences have no effect here.
#[derive(Default)]
enum Escape {
    #[default]
    None,
    Begun,
    Csi,
    Ss3,
}

/// The line. Its buffer is never reallocated, and is wiped at the end.
pub(crate) struct Line {
    typed: Secret,
    escape: Escape,
}

impl Line {
    pub(crate) fn new() -> Self {
        Line { typed: Secret::with_capacity(MAX_ANSWER), escape: Escape::None }
    }

    /// Takes one byte from the terminal.
    pub(crate) fn press(&mut self, byte: u8) -> Press {
        match (&self.escape, byte) {
            (Escape::Begun, b'[') => self.swallow(Escape::Csi),
            (Escape::Begun, b'O') => self.swallow(Escape::Ss3),
            (Escape::Csi, 0x20..=0x3f) => Press::Nothing,
            (Escape::Csi | Escape::Ss3, 0x40..=0x7e) => self.swallow(Escape::None),
            // Esc alone and then another key: only the other key counts.
            _ => {
                self.escape = Escape::None;
                self.key(byte)
            }
        }
    }

    fn swallow(&mut self, next: Escape) -> Press {
        self.escape = next;
        Press::Nothing
    }

    fn key(&mut self, byte: u8) -> Press {
        match byte {
            b'\r' | b'\n' => Press::Done,
            0x03 | 0x04 => Press::GiveUp,
            0x1a => Press::Suspend,
            0x1b => self.swallow(Escape::Begun),
            0x08 | 0x7f => self.backspace(),
            0x15 | 0x17 => self.clear(),
            b' '..=b'~' | 0x80.. if self.typed.append(&[byte]) => Press::Changed,
            _ => Press::Nothing,
        }
    }

    /// Removes the last character, which may be several bytes.
    fn backspace(&mut self) -> Press {
        let before = self.typed.bytes().len();
        while self.typed.bytes().last().is_some_and(|b| b & 0xc0 == 0x80) {
            self.typed.pop();
        }
        self.typed.pop();
        if before > 0 { Press::Changed } else { Press::Nothing }
    }

    fn clear(&mut self) -> Press {
        while !self.typed.bytes().is_empty() {
            self.typed.pop();
        }
        Press::Changed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.typed.bytes().is_empty()
    }

    /// The visible part: the end, if there is no room for all.
    pub(crate) fn shown(&self, columns: usize) -> String {
        let all = printable(&String::from_utf8_lossy(self.typed.bytes()), MAX_ANSWER);
        let mut room = columns;
        let tail = all.chars().rev().take_while(|c| {
            let wide = if c.is_ascii() { 1 } else { 2 };
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        });
        tail.collect::<Vec<_>>().into_iter().rev().collect()
    }

    pub(crate) fn into_answer(self) -> Secret {
        self.typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Line {
        let mut line = Line::new();
        for byte in bytes {
            line.press(*byte);
        }
        line
    }

    #[test]
    fn takes_what_is_typed_spaces_included() {
        assert_eq!(typed(b" 492 039").into_answer().bytes(), b" 492 039");
        assert_eq!(typed("４９２".as_bytes()).into_answer().text(), Some("４９２"));
    }

    #[test]
    fn backspace_takes_back_one_character_however_long() {
        assert_eq!(typed(b"493\x7f2").into_answer().bytes(), b"492");
        assert_eq!(typed("4９\x7f".as_bytes()).into_answer().bytes(), b"4");
        assert_eq!(typed(b"\x7f\x08").into_answer().bytes(), b"");
    }

    #[test]
    fn ctrl_u_takes_back_all() {
        assert_eq!(typed(b"123456\x154").into_answer().bytes(), b"4");
    }

    #[test]
    fn ends_and_gives_up() {
        assert_eq!(Line::new().press(b'\r'), Press::Done);
        assert_eq!(Line::new().press(b'\n'), Press::Done);
        assert_eq!(Line::new().press(3), Press::GiveUp);
        assert_eq!(Line::new().press(4), Press::GiveUp);
        assert_eq!(Line::new().press(26), Press::Suspend);
    }

    #[test]
    fn arrow_and_function_keys_leave_no_trace() {
        assert_eq!(typed(b"4\x1b[A\x1b[1;5C\x1bOP9\x1b[3~").into_answer().bytes(), b"49");
        assert_eq!(typed(b"4\x1b2").into_answer().bytes(), b"42", "a lone Esc eats nothing");
    }

    #[test]
    fn a_cat_on_the_keyboard_fills_the_line_and_no_more() {
        let line = typed(&[b'1'; 9999]);
        assert_eq!(line.into_answer().bytes().len(), MAX_ANSWER);
    }

    #[test]
    fn shows_the_end_of_a_long_line_and_nothing_that_steers() {
        assert_eq!(typed(b"12345678").shown(4), "5678");
        assert_eq!(typed(b"12").shown(4), "12");
        assert_eq!(typed("12４５".as_bytes()).shown(5), "2４５");
        assert_eq!(typed("\u{9b}31m".as_bytes()).shown(20), "\\u{9b}31m");
    }
}
