use std::fs;
use std::path::PathBuf;

use crate::{Clock, Helper, Report, System, add_user, run};

/// A system with one bound user, whose app is oathtool and whose clock stands until the test moves it.
///
/// Both codes of the binding are burnt, so the code of the next step is good at once.
pub struct Bound {
    pub system: System,
    pub clock: Clock,
    user: String,
    key: String,
    now: i64,
}

/// A time in the middle of a step.
const START: i64 = 1_800_000_015;

/// Seconds of a step.
const STEP: i64 = 30;

impl Bound {
    /// On a fresh system.
    pub fn fresh(user: &str) -> Bound {
        Bound::on(System::fresh(), user)
    }

    /// On this one.
    pub fn on(system: System, user: &str) -> Bound {
        add_user(user);
        let clock = Clock::at(START);
        system.install(&Helper::real().clock(&clock));
        system.service("door", "{first}\nauth required {module} stack=complete\naccount required {module}");
        let mut bound = Bound { system, clock, user: user.to_owned(), key: String::new(), now: START };
        bound.bind();
        bound
    }

    /// Makes a pending device and gives back its key.
    pub fn pend(&self) -> String {
        self.pend_by(&["totp"], &self.user)
    }

    /// Makes a pending device that will replace the one that is bound, and gives back its key.
    pub fn pend_replacement(&self) -> String {
        self.pend_by(&["replace", "totp"], &self.user)
    }

    fn pend_by(&self, verb: &[&str], user: &str) -> String {
        let made = self.system.enroll(&[verb, &["--user", user, "--json"]].concat(), "");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let json = String::from_utf8(made.stdout).unwrap();
        let (_, rest) = json.split_once("\"secret\":\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// Binds an app.
    pub fn bind(&mut self) {
        self.key = self.bind_other(&self.user);
    }

    /// Binds an app of this user and gives back its key.
    pub fn bind_other(&self, user: &str) -> String {
        let key = self.pend_by(&["totp"], user);
        let (first, second) = (self.code_of(&key, -1), self.code_of(&key, 0));
        let done = self.system.enroll(&["confirm", "--user", user, &first, &second], "");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        key
    }

    /// The app's key, in base32.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Takes this key for the app's.
    pub fn set_key(&mut self, key: String) {
        self.key = key;
    }

    /// The time, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// What the app shows so many steps from now.
    pub fn code(&self, steps: i64) -> String {
        self.code_of(&self.key, steps)
    }

    /// What the app with this key shows so many steps from now.
    pub fn code_of(&self, key: &str, steps: i64) -> String {
        let time = format!("--now=@{}", self.now + steps * STEP);
        run("oathtool", &["--totp", "--base32", &time, key]).trim().to_owned()
    }

    /// What the app shows now and in each of so many steps after that, with the time of each.
    pub fn codes(&self, steps: usize) -> Vec<(i64, String)> {
        let (time, count) = (format!("--now=@{}", self.now), format!("--window={steps}"));
        let codes = run("oathtool", &["--totp", "--base32", &time, &count, &self.key]);
        (self.now..).step_by(STEP as usize).zip(codes.lines().map(str::to_owned)).collect()
    }

    /// Moves the clock.
    pub fn advance(&mut self, steps: i64) {
        self.now += steps * STEP;
        self.clock.set(self.now);
    }

    /// Puts the helper in place with this clock and these options of strace.
    pub fn install_traced(&self, options: &str) {
        self.system.install(&Helper::real().clock(&self.clock).strace(options));
    }

    /// Puts the helper in place with this clock.
    pub fn install(&self) {
        self.system.install(&Helper::real().clock(&self.clock));
    }

    /// One auth phase with this answer. A hang is a failure.
    pub fn login(&self, answer: &str) -> Report {
        let host = self.system.host("door").user(&self.user).answer(answer).steps(&["auth"]);
        host.under(&["timeout", "--signal=KILL", "20"]).run()
    }

    /// Its code.
    pub fn auth(&self, answer: &str) -> i32 {
        self.login(answer).code("auth")
    }

    /// A file of the user's record.
    pub fn file(&self, name: &str) -> PathBuf {
        self.system.store().join("users").join(&self.user).join(name)
    }

    /// All files of the user's record, to be [put back](Bound::put_back).
    pub fn saved(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.file("")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// Makes the record what it was.
    pub fn put_back(&self, saved: &[(PathBuf, Vec<u8>)]) {
        for entry in fs::read_dir(self.file("")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (path, content) in saved {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    /// Fails unless a try to bind another user now leaves nothing behind and says why.
    pub fn user_cannot_be_bound(&self, user: &str) {
        let tried = self.system.enroll(&["totp", "--user", user, "--json"], "");
        assert_eq!(tried.status.code(), Some(5), "{}", String::from_utf8_lossy(&tried.stderr));
        assert_eq!(String::from_utf8_lossy(&tried.stdout), "", "no key is shown that was not kept");
        let status = self.system.enroll(&["status", "--user", user, "--json"], "");
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("\"kind\":null,\"pending\":false"), "{status}");
    }

    /// Takes the store's disk off and puts it back on.
    pub fn remount(&self) {
        self.system.remount();
    }
}
