//! Screen and keyboard of the machine: its first virtual console.

use crate::{DEADLINE, Machine};

/// Behind the keyboard's driver: QEMU's keyboard loses what a busy machine does not fetch in time (TIOCSTI, ioctl_tty(2)).
const TYPE: &str = r#"
    use Fcntl;
    sysopen(my $console, "/dev/tty1", O_RDWR | O_NOCTTY) or die "/dev/tty1: $!\n";
    for my $c (split(//, "$ARGV[0]\r")) { ioctl($console, 0x5412, $c) or die "TIOCSTI: $!\n" }
"#;

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
    #[track_caller]
    pub fn type_line(&self, line: &str) {
        self.machine.root(&format!("perl -e '{TYPE}' -- '{}'", line.replace('\'', r"'\''")));
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
