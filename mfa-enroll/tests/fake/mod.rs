//! `mfa-enroll` with the helper of `examples/fake_helper.rs`: started by root, or behind the socket of a service.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
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
    with_usual_environment(command)
}

fn with_usual_environment(mut command: Command) -> Command {
    command.env_clear().env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A service of root's whose helper is the fake one, for who is not root.
pub struct Service {
    /// Where everybody can get at the socket and the program, until the service is dropped.
    folder: PathBuf,
}

impl Service {
    pub fn start(behaviour: &str) -> Service {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mfa-enroll-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let service = Service { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir(&service.folder).unwrap();
        std::fs::set_permissions(&service.folder, Permissions::from_mode(0o755)).unwrap();
        // By a process of its own: a child that another test's thread starts meanwhile would hold the file open.
        let copied = Command::new("install").args(["-m", "755", MFA_ENROLL]).arg(&service.folder).status();
        assert!(copied.unwrap().success());
        let listener = UnixListener::bind(service.socket()).unwrap();
        std::fs::set_permissions(service.socket(), Permissions::from_mode(0o666)).unwrap();
        let helper = helper(behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut child = Command::new(&helper).stdin(OwnedFd::from(stream.unwrap())).spawn().unwrap();
                std::thread::spawn(move || child.wait());
            }
        });
        service
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("helper.sock")
    }

    /// The user nobody's command line, without a controlling terminal.
    pub fn mfa_enroll(&self, arguments: &[&str]) -> Command {
        self.mfa_enroll_at(&self.socket(), arguments)
    }

    /// The same, at another socket.
    pub fn mfa_enroll_at(&self, socket: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.folder.join("mfa-enroll")).args(arguments).arg("--socket").arg(socket);
        with_usual_environment(command)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether this test can run: only root's service is believed, and another helper or socket is taken in
/// debug builds only. Says so if it cannot.
#[allow(clippy::print_stderr, reason = "a skipped test is told")]
pub fn can_run(test: &str) -> bool {
    let can = nix::unistd::geteuid().is_root() && cfg!(debug_assertions);
    if !can {
        eprintln!("SKIPPED {test}: needs root and a debug build");
    }
    can
}
