//! Screen and keyboard of the machine: its first virtual console.

use serde_json::json;

use crate::{DEADLINE, Machine};

/// A person in front of the screen. See [`Machine::screen`].
#[derive(Debug)]
pub struct Screen<'m> {
    pub(crate) machine: &'m Machine,
}

impl Screen<'_> {
    /// Waits until the screen shows this anywhere, and gives all that it shows.
    #[track_caller]
    pub fn wait_for(&self, wanted: &str) -> String {
        self.wait_for_any(&[wanted]).1
    }

    /// Waits until this is all that stands left of the cursor: a prompt.
    #[track_caller]
    pub fn wait_for_prompt(&self, prompt: &str) -> String {
        self.wait_for_any(&[&format!("|{prompt}")]).1
    }

    /// Waits for the first of these; `"|..."` is a prompt. Says which it was, and gives the screen.
    #[track_caller]
    pub fn wait_for_any(&self, wanted: &[&str]) -> (usize, String) {
        let quoted: String = wanted.iter().map(|text| format!(" '{}'", text.replace('\'', r"'\''"))).collect();
        let output = self.machine.root_output(&format!("mfa-test-look {}{quoted}", DEADLINE.as_secs()));
        let (which, screen) = output.stdout.split_once('\n').unwrap_or_else(|| panic!("no screen: {output}"));
        assert_eq!(output.code, 0, "the screen did not show {wanted:?}:\n{screen}");
        (which.parse().expect("a number"), screen.to_owned())
    }

    /// Types a line and Enter.
    pub fn type_line(&self, line: &str) {
        for c in line.chars() {
            let (shift, name) = key(c);
            if shift {
                self.press(&["shift", &name]);
            } else {
                self.press(&[&name]);
            }
        }
        self.press(&["ret"]);
    }

    /// Presses these keys together (QEMU's names of keys: `["ctrl", "c"]`).
    pub fn press(&self, keys: &[&str]) {
        let keys: Vec<_> = keys.iter().map(|name| json!({ "type": "qcode", "data": name })).collect();
        // QEMU puts them in a row. Held for as short as a keyboard of 16 bytes of memory can follow.
        self.machine.monitor().execute("send-key", json!({ "keys": keys, "hold-time": 15 }));
    }

    /// User name and password, at the prompts of getty and login.
    #[track_caller]
    pub fn log_in(&self, user: &str, password: &str) {
        self.wait_for_prompt("web1 login: ");
        self.type_line(user);
        self.wait_for_prompt("Password: ");
        self.type_line(password);
    }
}

/// A character on a US keyboard: with shift?, and the key.
fn key(c: char) -> (bool, String) {
    let name = match c.to_ascii_lowercase() {
        ' ' => "spc",
        '-' | '_' => "minus",
        '=' | '+' => "equal",
        '/' | '?' => "slash",
        '.' | '>' => "dot",
        ',' | '<' => "comma",
        ';' | ':' => "semicolon",
        '\'' | '"' => "apostrophe",
        '\\' | '|' => "backslash",
        '!' => "1",
        '@' => "2",
        '#' => "3",
        '$' => "4",
        '%' => "5",
        '^' => "6",
        '&' => "7",
        '*' => "8",
        '(' => "9",
        ')' => "0",
        lower if lower.is_ascii_alphanumeric() => return (c.is_ascii_uppercase(), lower.to_string()),
        _ => panic!("no key for {c:?}"),
    };
    (!" -=/.,;'\\".contains(c), name.to_owned())
}
