//! What the tests on real libpam share.
//!
//! Run them under `tests/sandbox`, after a build of what they test:
//!
//! ```text
//! cargo build --release
//! tests/sandbox cargo test -p pam-tests
//! ```
//!
//! * [`Stage`]: a folder of one's own with a PAM service and a scripted helper. Tests on stages run side by side.
//! * [`System`]: the product's system folders, fresh; one test at a time. Take it for everything that runs the real
//!   helper, and compose that with [`Helper`] (a clock, strace).
//! * [`Bound`]: a system with one bound user, an app and a clock.
//! * [`Directory`]: a name service that gives other spellings, is slow, or dies.
//! * [`Listener`]: the helper behind its socket.
//! * [`Host`]: one run of `pam-host`, the PAM application; [`Report`]: what happened. [`Gate`]: many of them at once.
//! * [`FrontEnd`]: a conversation with the helper, without libpam.
//! * [`Desk`]: a place of its own where virtual security keys are plugged in; [`Asking`]: one that is asked there.
//! * [`on_a_terminal`]: the session in which sudo remembers.
//! * [`Log`]: what reached the system log.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod bound;
mod directory;
mod frontend;
mod gate;
mod host;
mod keys;
mod listener;
mod log;
mod stage;
mod system;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use bound::Bound;
pub use directory::Directory;
pub use frontend::FrontEnd;
pub use gate::Gate;
pub use host::{Host, Report, Running, Said};
pub use keys::{Asking, CONSOLE, Desk, Key, is_open};
pub use listener::Listener;
pub use log::Log;
pub use stage::Stage;
pub use system::{Clock, Helper, System};
pub use terminal::on_a_terminal;

/// PAM's return codes, by their names.
pub mod code {
    pub const SUCCESS: i32 = 0;
    pub const PERM_DENIED: i32 = 6;
    pub const AUTH_ERR: i32 = 7;
    pub const AUTHINFO_UNAVAIL: i32 = 9;
    pub const MAXTRIES: i32 = 11;
    pub const CONV_ERR: i32 = 19;
    pub const IGNORE: i32 = 25;
    pub const ABORT: i32 = 26;
}

/// `PAM_SILENT`.
pub const SILENT: i32 = 0x8000;
/// `PAM_DISALLOW_NULL_AUTHTOK`.
pub const DISALLOW_NULL_AUTHTOK: i32 = 1;

/// The password of every user that [`add_user`] makes.
pub const PASSWORD: &str = "correct horse";

/// A file that the build made: the module, a program.
///
/// The newest of the debug and the release build, in the build folder that the running test comes from; or that in the
/// folder which `MFA_TEST_ARTIFACTS` names. So `cargo build` and `cargo build --release` both test what was just built.
pub fn artifact(name: &str) -> PathBuf {
    let folders = match std::env::var_os("MFA_TEST_ARTIFACTS") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![target().join("debug"), target().join("release")],
    };
    let built = folders.iter().map(|folder| folder.join(name)).filter(|path| path.exists());
    let newest = built.max_by_key(|path| path.metadata().and_then(|file| file.modified()).unwrap());
    newest.unwrap_or_else(|| panic!("{name} is not in {folders:?}: run `cargo build --workspace` first"))
}

/// The same of the release build only.
pub fn release_artifact(name: &str) -> PathBuf {
    let path = target().join("release").join(name);
    assert!(path.exists(), "{} is not there: run `cargo build --release` first", path.display());
    path
}

/// The clock of `tests/clock`, built when it is first needed: no test depends on it in cargo's eyes.
pub(crate) fn clock_library() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        run(&cargo, &["build", "--quiet", "--package", "test-clock"]);
    });
    target().join("debug/libtest_clock.so")
}

/// The build folder: the test is DEBUG/deps/NAME in it, whatever it is called.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let deps = own.ancestors().find(|folder| folder.ends_with("deps")).expect("a test runs in cargo's build folder");
    deps.ancestors().nth(2).unwrap().to_owned()
}

/// Fails, and says what to do, unless this process may write to system folders without harm.
pub fn require_sandbox() {
    assert!(
        Path::new("/run/mfa-sandbox").exists(),
        "this test writes to system folders: run it as `tests/sandbox cargo test -p pam-tests`, as root"
    );
}

/// Adds a user with the password [`PASSWORD`], unless there is one.
pub fn add_user(name: &str) {
    require_sandbox();
    // One at a time: useradd does not wait for its lock.
    let _one = system::lock("/run/mfa-test-users");
    let known = Command::new("id").arg(name).output().unwrap();
    if !known.status.success() {
        run("useradd", &["--create-home", "--shell", "/bin/sh", name]);
        run("sh", &["-c", &format!("echo '{name}:{PASSWORD}' | chpasswd -c SHA256")]);
    }
}

/// In hex and XORed with 0x55, as `pam-host` and `bad-helper` take secrets: so a test's own words are no copies.
pub fn masked(secret: impl AsRef<[u8]>) -> String {
    secret.as_ref().iter().map(|byte| format!("{:02x}", byte ^ 0x55)).collect()
}

/// Runs a program that must succeed, and gives back its standard output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|why| panic!("{program}: {why} (is its package installed?)"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
