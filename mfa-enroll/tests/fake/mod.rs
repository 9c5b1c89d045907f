//! `mfa-enroll` with the helper of `examples/fake_helper.rs`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The program.
pub const MFA_ENROLL: &str = env!("CARGO_BIN_EXE_mfa-enroll");

/// The fake helper under the name that makes it behave as wanted.
pub fn helper(behaviour: &str) -> PathBuf {
    let fake = Path::new(MFA_ENROLL).with_file_name("examples").join("fake_helper");
    assert!(fake.exists(), "{} is missing: cargo build -p mfa-enroll --examples", fake.display());
    let link = folder().join(behaviour);
    symlink(fake, &link).unwrap();
    link
}

/// A new empty folder.
pub fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A command line without a controlling terminal.
pub fn mfa_enroll(behaviour: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.args(["--wait", MFA_ENROLL]).args(arguments).arg("--helper").arg(helper(behaviour));
    command.env_clear().env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Whether this test can run: `mfa-enroll` serves root only, for now, and takes another helper in debug
/// builds only. Says so if it cannot.
#[allow(clippy::print_stderr, reason = "a skipped test is told")]
pub fn can_run(test: &str) -> bool {
    let can = nix::unistd::geteuid().is_root() && cfg!(debug_assertions);
    if !can {
        eprintln!("SKIPPED {test}: needs root and a debug build");
    }
    can
}
