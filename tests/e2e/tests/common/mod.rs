//! What the tests of the product share: people with devices, and the doors at which they are asked.
#![allow(dead_code, reason = "no test needs all of it")]
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::{
    cell::{Cell, RefCell},
    sync::Mutex,
};

use e2e::{Log, Machine, Screen, Terminal, oath, oath::Codes, suite};

/// A Debian with the package installed and switched on as its documentation says.
pub fn shipped() -> Machine {
    enabled(Machine::build().package().boot())
}

pub fn enabled(machine: Machine) -> Machine {
    machine.sh_ok("pam-auth-update --enable mfa");
    machine.user("visitor", "pw-visitor");
    machine
}

/// The clients of other makers. One choice of packages is one root file system.
pub const CLIENTS: &str = "dropbear-bin,putty-tools,locales,python3-paramiko,python3-asyncssh,xrdp";

/// Are these the programs of forky or later? Where they behave otherwise, the test says how.
pub fn newer_than_trixie() -> bool {
    !["bookworm", "trixie"].contains(&suite().as_str())
}

/// A user of their own for every scenario, with a password that occurs nowhere else.
///
/// When the scenario fails, the journal from its begin is printed; when it ends well, the journal
/// must hold no secret of this person.
pub struct Person {
    pub machine: &'static Machine,
    pub name: String,
    pub password: String,
    pub log: Log<'static>,
    /// Keys and passwords, and codes: what no log may hold.
    secrets: RefCell<Vec<String>>,
    codes: RefCell<Vec<String>>,
    checked: Cell<bool>,
}

impl Person {
    /// May use sudo. Has no device.
    pub fn new(machine: &'static Machine, name: &str) -> Self {
        // Two at once would wait a second for each other's lock of /etc/passwd.
        static PASSWD: Mutex<()> = Mutex::new(());
        let password = format!("Geheim-{name}-9!");
        {
            let _alone = PASSWD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            machine.user(name, &password);
            machine.sh_ok(&format!("usermod --append --groups sudo {name}"));
        }
        Self {
            machine,
            name: name.to_owned(),
            log: machine.journal_from_here(),
            secrets: RefCell::new(vec![password.clone()]),
            codes: RefCell::default(),
            password,
            checked: Cell::new(false),
        }
    }

    /// Required to have a device, and without one. `more` are further lines of the rule.
    pub fn required(machine: &'static Machine, name: &str, more: &str) -> Self {
        let person = Self::new(machine, name);
        rule(machine, &format!("50-{name}"), &format!("users = [\"{name}\"]\nrequire = \"mfa\"\n{more}"));
        person
    }

    /// With an app bound, without a word on any screen.
    pub fn bound(machine: &'static Machine, name: &str) -> (Self, App) {
        let person = Self::new(machine, name);
        let app = person.bind();
        (person, app)
    }

    /// Binds an app with the codes of the last step and the present one, so that the one of the next
    /// step is good at once.
    pub fn bind(&self) -> App {
        let json = self.machine.sh_ok(&format!("mfa-enroll totp --user {} --json", self.name));
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let key = json["secret"].as_str().expect("a key").to_owned();
        let codes = Codes::now(&key);
        self.machine.sh_ok(&format!("mfa-enroll confirm --user {} {} {}", self.name, codes.previous, codes.present));
        self.keep_secret(&key);
        self.keep_codes(&codes);
        App { step: self.burnt_step(), key, burnt: codes.present, good: codes.next }
    }

    /// Unbinds the app and binds another: the way to a second good code without waiting for it.
    pub fn rebind(&self) -> App {
        self.machine.sh_ok(&format!("mfa-enroll disable --user {}", self.name));
        self.bind()
    }

    pub fn keep_secret(&self, secret: &str) {
        // A few digits stand in some time stamp, now and then.
        assert!(secret.contains(|c: char| c.is_ascii_alphabetic()), "{secret} is looked for everywhere in the journal");
        self.secrets.borrow_mut().push(secret.to_owned());
    }

    pub fn keep_codes(&self, codes: &Codes) {
        self.codes.borrow_mut().extend([&codes.previous, &codes.present, &codes.next].map(String::clone));
    }

    /// The state of the binding as the store keeps it (docs/files.md).
    pub fn state(&self) -> State {
        let text = self.machine.read(&format!("/var/lib/mfa/users/{}/state", self.name));
        let newest = text.split("mfa-state 1\n").skip(1).max_by_key(|slot| number(slot, "sequence "));
        let newest = newest.unwrap_or_else(|| panic!("no slot in the state of {}: {text:?}", self.name));
        // Each wrong code is forgotten four hours after the one before.
        let remembered = number(newest, "failures ").saturating_sub(now());
        State { last_step: number(newest, "last-step "), failures: remembered.div_ceil(4 * 3600) }
    }

    /// The second of the steps that were burnt at binding.
    fn burnt_step(&self) -> u64 {
        let credentials = self.machine.read(&format!("/var/lib/mfa/users/{}/credentials", self.name));
        let line = credentials.lines().find(|line| line.starts_with("burnt ")).expect("docs/files.md");
        line.rsplit(' ').next().and_then(|step| step.parse().ok()).expect("a number")
    }

    /// What `mfa-enroll status` says.
    pub fn status(&self) -> serde_json::Value {
        let json = self.machine.sh_ok(&format!("mfa-enroll status --user {} --json", self.name));
        serde_json::from_str(&json).expect("JSON")
    }

    /// How many devices are bound; all of a device is there, or nothing of it.
    #[track_caller]
    pub fn devices(&self) -> usize {
        let status = self.status();
        let devices = status["devices"].as_array().expect("a list").len();
        assert_eq!(status["kind"].is_null(), devices == 0, "half a device: {status}");
        assert_eq!(status["recovery_codes_left"], 10 * devices, "half a device: {status}");
        devices
    }

    /// What `policy explain` expects of the next login here.
    pub fn outcome_explained(&self, service: &str) -> String {
        let text = self.machine.sh_ok(&format!("mfa-enroll policy explain --user {} --service {service}", self.name));
        let outcome = text.lines().find_map(|line| line.strip_prefix("outcome     "));
        outcome.unwrap_or_else(|| panic!("no outcome: {text}")).to_owned()
    }

    /// Is anything kept of this person?
    pub fn has_record(&self) -> bool {
        !self.machine.sh(&format!("ls -A /var/lib/mfa/users/{}", self.name)).stdout.trim().is_empty()
    }

    /// Waits for the helper's line about this person with all these words.
    pub fn logged(&self, words: &[&str]) -> String {
        let user = format!("user={}", self.name);
        self.log.wait_for(|line| {
            line.contains("mfa-helper")
                && line.split(' ').any(|word| word == user)
                && words.iter().all(|word| line.contains(word))
        })
    }

    /// How many of our lines about this person have all these words by now.
    pub fn count_logged(&self, words: &[&str]) -> usize {
        let user = format!("user={}", self.name);
        let text = self.log.text();
        let ours = text.lines().filter(|line| line.contains("mfa-helper") && line.split(' ').any(|w| w == user));
        ours.filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Was a session opened for this person, or by this person for root?
    pub fn got_in(&self) -> bool {
        let text = self.log.text();
        let named = [
            format!("session opened for user {}", self.name),
            format!("Accepted keyboard-interactive/pam for {}", self.name),
            format!("Accepted password for {}", self.name),
            format!("Accepted publickey for {}", self.name),
            format!(" {} : TTY=", self.name),
        ];
        // The tests themselves become somebody by runuser, which asks nobody.
        let mut lines = text.lines().filter(|line| !line.contains(" runuser["));
        lines.any(|line| named.iter().any(|n| line.contains(n.as_str())))
    }

    /// No password, no key and no code of this person is in the journal, in no field of it.
    pub fn nothing_secret_is_logged(&self) {
        self.checked.set(true);
        let everything = self.machine.sh_ok("journalctl --sync; journalctl --boot --all --output=verbose");
        for secret in self.secrets.borrow().iter() {
            assert!(!everything.contains(secret.as_str()), "the journal holds the password or key {secret}");
        }
        // Only messages: a time stamp of microseconds has six digits as well.
        let messages = self.machine.sh_ok("journalctl --boot --all --output=cat");
        let words: std::collections::HashSet<&str> = messages.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        for code in self.codes.borrow().iter() {
            assert!(!words.contains(code.as_str()), "the journal holds the code {code}");
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the journal of {}'s scenario:\n{}", self.name, self.log.text());
        } else if !self.checked.get() {
            self.nothing_secret_is_logged();
        }
    }
}

/// An authenticator app, bound a moment ago.
#[derive(Debug, Clone)]
pub struct App {
    pub key: String,
    /// The code of the step in which it was bound, and that step.
    pub burnt: String,
    pub step: u64,
    /// The only one that is good without waiting.
    pub good: String,
}

impl App {
    /// As good as a wrong code can be: six digits that this app shows at no time near now.
    pub fn wrong(&self) -> String {
        let now = oath::unix_now();
        let near: Vec<String> = (0..9).map(|n| oath::totp(&self.key, now + 30 * n - 120)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).expect("there are a million")
    }

    /// What it showed a day ago at this time.
    pub fn yesterdays(&self) -> String {
        oath::totp(&self.key, oath::unix_now() - 86_400)
    }
}

#[allow(clippy::disallowed_methods, reason = "the machine's clock is this one's")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub last_step: u64,
    pub failures: u64,
}

fn number(slot: &str, name: &str) -> u64 {
    let line = slot.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name}in {slot:?}"))
}

/// Where the password is asked, and then the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Ssh,
    Sudo,
    SudoI,
    Su,
    SuDash,
    Login,
}

pub const CODE: &str = "Verification code: ";

impl Door {
    /// The PAM service.
    pub fn service(self) -> &'static str {
        match self {
            Self::Ssh => "sshd",
            Self::Sudo => "sudo",
            Self::SudoI => "sudo-i",
            Self::Su => "su",
            Self::SuDash => "su-l",
            Self::Login => "login",
        }
    }

    /// Knocks, on a terminal of 80 by 24. Who comes in gets a shell.
    pub fn knock(self, who: &Person) -> Terminal {
        let name = &who.name;
        let terminal = who.machine.terminal();
        match self {
            Self::Ssh => terminal
                .user("visitor")
                .run(&format!("exec ssh -o PreferredAuthentications=keyboard-interactive {name}@localhost")),
            Self::Sudo => terminal.user(name).run("exec sudo bash --norc"),
            Self::SudoI => terminal.user(name).run("exec sudo -i"),
            Self::Su => terminal.user("visitor").run(&format!("exec su {name}")),
            Self::SuDash => terminal.user("visitor").run(&format!("exec su - {name}")),
            Self::Login => terminal.run(&format!("exec login {name}")),
        }
    }

    pub fn password_prompt(self, who: &Person) -> String {
        match self {
            Self::Ssh => format!("({}@localhost) Password: ", who.name),
            Self::Sudo | Self::SudoI => format!("[sudo] password for {}: ", who.name),
            Self::Su | Self::SuDash | Self::Login => "Password: ".to_owned(),
        }
    }

    /// What this program says when PAM says no, after our own words.
    pub fn refusal(self, who: &Person) -> String {
        match self {
            // Asked again from the start.
            Self::Ssh => self.password_prompt(who),
            Self::Sudo | Self::SudoI => "Sorry, try again.".to_owned(),
            Self::Su | Self::SuDash => "Authentication failure".to_owned(),
            Self::Login => "Login incorrect".to_owned(),
        }
    }

    /// Waits until a wrong code is refused. sshd is given no text for it, and so logs a line of its own.
    #[track_caller]
    pub fn refuses_a_wrong_code(self, who: &Person, t: &mut Terminal) {
        if self != Self::Ssh {
            t.wait_for("That code is wrong.");
        }
        t.wait_for(&self.refusal(who));
    }

    /// Knocks and gives the right password, up to the prompt for the code.
    #[track_caller]
    pub fn up_to_the_code(self, who: &Person) -> Terminal {
        let mut t = self.knock(who);
        t.wait_for(&self.password_prompt(who));
        t.type_line(&who.password);
        t.wait_for(CODE);
        t
    }

    /// Knocks and gives the right password, up to the page with the key of a new device.
    #[track_caller]
    pub fn up_to_the_key(self, who: &Person) -> Terminal {
        let mut t = self.knock(who);
        t.wait_for(&self.password_prompt(who));
        t.type_line(&who.password);
        t.wait_for(BIND_NOW);
        t.wait_for(FIRST);
        t
    }

    /// What this program says when the account phase says no, after our own words.
    pub fn turned_away(self) -> &'static str {
        match self {
            // Where the password is wrong, sshd lets the client try again.
            Self::Ssh => "Connection closed by ",
            Self::Sudo | Self::SudoI => "PAM account management error: Permission denied",
            Self::Su | Self::SuDash | Self::Login => "Permission denied",
        }
    }

    /// The shell behind this door is there, and belongs to whom it should. Leaves it again.
    #[track_caller]
    pub fn is_open(self, who: &Person, t: &mut Terminal) {
        let inside = if matches!(self, Self::Sudo | Self::SudoI) { "root" } else { &who.name };
        t.wait_for(if inside == "root" { "# " } else { "$ " });
        t.type_line("echo \"in as:$(id -un)\"");
        t.wait_for(&format!("in as:{inside}\n"));
        t.type_line("exit");
        assert_eq!(t.exit_code(), 0);
    }

    /// The whole way in, with password and code.
    #[track_caller]
    pub fn lets_in(self, who: &Person, code: &str) {
        let mut t = self.up_to_the_code(who);
        t.type_line(code);
        self.is_open(who, &mut t);
    }

    /// The whole way in, with the password alone.
    #[track_caller]
    pub fn lets_in_without_code(self, who: &Person) {
        let mut t = self.knock(who);
        t.wait_for(&self.password_prompt(who));
        t.type_line(&who.password);
        self.is_open(who, &mut t);
        assert!(!t.text().contains(CODE), "a code was asked:\n{}", t.screen());
    }
}

/// The page on which a login binds a device, and its questions.
pub const BIND_NOW: &str = "MFA is required: bind an authenticator app now.";
pub const FIRST: &str = "First verification code (or type key, qr, invert, ascii, new): ";
pub const SECOND: &str = "Second verification code, the next one that the app shows: ";
pub const WRITTEN: &str = "Type ok when you have written them down: ";

/// The key that stands last on the screen, as a person types it off.
#[track_caller]
pub fn typed_off(screen: &Screen) -> String {
    let text = screen.text();
    let line = text.lines().rev().find_map(|line| line.split_once("Key: ").or(line.split_once("  key     ")));
    let (_, groups) = line.unwrap_or_else(|| panic!("no key:\n{screen}"));
    // dropbear's client since 2026 leaves out the ends of lines: the question follows.
    let key: String = groups.split_whitespace().take(8).collect();
    assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{screen}");
    key
}

/// The recovery codes on the page of them.
pub fn recovery_codes(screen: &Screen) -> Vec<String> {
    let is_code = |word: &&str| word.len() == 19 && word.split('-').all(|part| part.len() == 4);
    let text = screen.text();
    let (_, page) =
        text.rsplit_once("Bound once this login opens. Recovery codes, shown only now:").unwrap_or_default();
    page.split_whitespace().filter(is_code).map(str::to_owned).collect()
}

/// Gives the codes of two steps in a row, up to the page of recovery codes. The code of the third step is good next.
#[track_caller]
pub fn give_two_codes(who: &Person, t: &mut Terminal, key: &str) -> Codes {
    who.keep_secret(key);
    let codes = Codes::now(key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for(SECOND);
    t.type_line(&codes.present);
    t.wait_for(WRITTEN);
    codes
}

/// Binds at the page on the screen, and gives the code that is good next.
#[track_caller]
pub fn bind_on(who: &Person, t: &mut Terminal) -> String {
    let key = typed_off(&t.screen());
    let codes = give_two_codes(who, t, &key);
    let screen = t.screen();
    let recovery = recovery_codes(&screen);
    assert_eq!(recovery.len(), 10, "{screen}");
    recovery.iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    codes.next
}

/// Puts a rule into force.
pub fn rule(machine: &Machine, file: &str, lines: &str) {
    policy_file(machine, &format!("/etc/mfa/mfa.d/{file}.toml"), &format!("[[rule]]\n{lines}\n"));
}

/// Writes a file of the policy, and lets it look as if that were a while ago: one that was changed in the last two
/// seconds may be half written and is not believed yet.
pub fn policy_file(machine: &Machine, path: &str, text: &str) {
    let new = format!("{path}.new");
    machine.write(&new, text);
    machine.sh_ok(&format!("touch -d @1700000000 {new}; mv {new} {path}"));
}
