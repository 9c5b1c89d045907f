//! Many users with a device, in the files of all three: written in bulk, and put back after they have logged in.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use mfa_core::engine::{Engine, Write as Change};
use mfa_core::record::{App, Credentials, Device, Latest, State};
use mfa_core::totp::{Parameters, Totp};
use mfa_core::{Id, recovery};
use mfa_helper::store::{FORMAT, Store};
use mfa_wire::Secret;

const STORE: &str = "/var/lib/mfa";
/// Of google-authenticator, which refuses a code that was used, or does not.
const GA: [(&str, &str); 2] = [("/var/lib/ga", "\" DISALLOW_REUSE\n"), ("/var/lib/ga-reuse", "")];
const OATH: &str = "/etc/oath/users";

const STEP: u64 = Parameters::DEFAULT.period;

/// A user with an authenticator app.
pub struct User {
    name: String,
    key: [u8; 20],
    number: usize,
}

impl User {
    /// Names are equally long, so that no file's length depends on how many there are.
    pub fn number(number: usize) -> User {
        let mut key = [0; 20];
        let mut seed = number as u64;
        for byte in &mut key {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 56) as u8;
        }
        User { name: format!("u{number:07}"), key, number }
    }

    pub fn name(&self) -> CString {
        CString::new(self.name.as_str()).expect("letters and digits")
    }

    /// What the app shows.
    pub fn code(&self, now: u64) -> CString {
        CString::new(self.app().generate(now).to_string()).expect("digits")
    }

    /// What it shows at no time near.
    pub fn wrong_code(&self, now: u64) -> CString {
        let near: Vec<CString> = (0..5).map(|n| self.code(now + n * STEP - 2 * STEP)).collect();
        let mut guesses = (0..).map(|n| CString::new(format!("{n:06}")).expect("digits"));
        guesses.find(|guess| !near.contains(guess)).expect("there are a million")
    }

    fn app(&self) -> totp_rs::Totp {
        let builder = totp_rs::Builder::new().with_secret(totp_rs::Secret::from(&self.key[..]));
        builder.with_algorithm(totp_rs::Algorithm::SHA1).with_step_duration(STEP).build().expect("a key of 160 bits")
    }

    /// Bound an hour ago.
    fn credentials(&self, now: u64) -> Credentials {
        let mut id = [0xb0; 16];
        id[..8].copy_from_slice(&(self.number as u64 + 1).to_be_bytes());
        let bound = now - 3600;
        Credentials {
            id: Id(id),
            created: bound,
            created_from: "root".into(),
            device: Device::App(App {
                label: "phone".into(),
                totp: Totp::new(Parameters::DEFAULT, Secret::copy_of(&self.key)).expect("a key of 160 bits"),
                burnt: [bound / STEP - 1, bound / STEP],
            }),
            recovery: recovery::Set { id: Id(id), hashes: (0..10).map(|n| [n; 32]).collect() },
            latest: Latest::Bound,
        }
    }

    /// As a binding leaves it: the file as it was made, and the binding.
    fn state(&self, now: u64) -> Vec<u8> {
        let bound = self.credentials(now);
        let made = State::fresh(Id::default(), [0, 0]).encode(0);
        [made, State::fresh(bound.id, bound.burnt()).encode(1)].concat()
    }

    fn google(&self, option: &str) -> String {
        format!("{}\n{option}\" TOTP_AUTH\n", BASE32_NOPAD.encode(&self.key))
    }

    fn oath(&self) -> String {
        format!("HOTP/T{STEP}/6\t{}\t-\t{}\n", self.name, HEXLOWER.encode(&self.key))
    }
}

/// All who have a device.
pub struct Users {
    pub count: usize,
    now: u64,
    oath: String,
}

impl Users {
    /// The folders, and nobody in them.
    pub fn none(now: u64) -> Users {
        for folder in [STORE, "/var/lib/mfa/users"].into_iter().chain(GA.map(|(folder, _)| folder)) {
            fs::create_dir(folder).expect(folder);
        }
        fs::create_dir_all("/etc/oath").expect("/etc/oath");
        fs::write(format!("{STORE}/FORMAT"), FORMAT).expect("FORMAT");
        Users { count: 0, now, oath: String::new() }
    }

    /// Adds users until there are `count`, and waits until all are on the disk. One `sync` at the end instead of
    /// one for each file: that is the whole difference to binding them one by one (see [`Self::prove`]).
    pub fn grow(&mut self, count: usize) {
        for user in (self.count..count).map(User::number) {
            let folder = folder(&user);
            fs::create_dir(&folder).expect("a user's folder");
            private(&folder.join("credentials"), user.credentials(self.now).encode(&user.name).bytes());
            private(&folder.join("state"), &user.state(self.now));
            for (folder, option) in GA {
                private(&Path::new(folder).join(&user.name), user.google(option).as_bytes());
            }
            self.oath.push_str(&user.oath());
        }
        self.count = self.count.max(count);
        private(Path::new(OATH), self.oath.as_bytes());
        let synced = std::process::Command::new("sync").args(["--file-system", STORE, OATH]).status();
        assert!(synced.expect("sync").success(), "sync");
    }

    /// Makes what these users did undone: no code is used, no guess is counted.
    pub fn rewind(&self, users: &[User]) {
        for user in users {
            // In place, as the helper writes it.
            let mut state = File::options().write(true).open(folder(user).join("state")).expect("a state file");
            state.write_all(&user.state(self.now)).and_then(|()| state.sync_data()).expect("a state file");
            for (folder, option) in GA {
                private(&Path::new(folder).join(&user.name), user.google(option).as_bytes()).sync_all().expect("fsync");
            }
        }
        private(Path::new(OATH), self.oath.as_bytes()).sync_all().expect("fsync");
    }

    /// Whether each of the three has on disk that this user's present code is used.
    pub fn burnt(&self, user: &User, step: u64) -> [bool; 3] {
        let record = Store::open(Path::new(STORE)).and_then(|store| store.read(&user.name));
        let google = fs::read_to_string(Path::new(GA[0].0).join(&user.name)).expect("a secret file");
        let oath = fs::read_to_string(OATH).expect("the users file");
        let line = oath.lines().find(|line| line.contains(&user.name)).expect("a line of the user");
        [
            record.is_ok_and(|(record, _)| record.state.last_step == step),
            google.contains(&format!("DISALLOW_REUSE {step}")),
            line.split_whitespace().count() > 4,
        ]
    }

    /// Has the helper's own code bind a user in another store, and compares what it wrote with what is written here.
    pub fn prove(&self) {
        let user = User::number(3);
        let elsewhere = PathBuf::from("/var/lib/proof");
        fs::create_dir_all(elsewhere.join("users")).expect("a store");
        fs::write(elsewhere.join("FORMAT"), FORMAT).expect("FORMAT");
        let store = Store::open(&elsewhere).expect("a store");
        let (nothing, revision) = store.read(&user.name).expect("an empty record");
        let binding = Change::bind(&nothing.state, user.credentials(self.now));
        assert!(store.commit(&user.name, &revision, &binding).is_ok(), "binding");
        let bound = elsewhere.join("users").join(&user.name);
        let mut names: Vec<_> =
            fs::read_dir(&bound).expect("a record").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["credentials", "state"], "what binding leaves");
        for name in names {
            let of = |path: PathBuf| (fs::read(&path).expect("a file"), path.metadata().expect("a file").permissions());
            assert!(of(bound.join(&name)) == of(folder(&user).join(&name)), "{name:?} is not as the helper writes it");
        }
        fs::remove_dir_all(&elsewhere).expect("the other store");
    }
}

fn folder(user: &User) -> PathBuf {
    Path::new(STORE).join("users").join(&user.name)
}

/// Open to root alone, by the umask of this program.
fn private(path: &Path, content: &[u8]) -> File {
    let mut file = File::create(path).expect("a file");
    file.write_all(content).expect("a file");
    file
}
