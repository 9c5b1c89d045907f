//! The proving ground: the installed package in a fresh Debian, used as people use it.
//!
//! ```no_run
//! use e2e::Machine;
//!
//! let machine = Machine::build().package().boot();
//! machine.user("alice", "pw-alice");
//!
//! let mut t = machine.terminal().user("alice").run("ssh alice@localhost");
//! t.wait_for("Password: ");
//! t.type_line("pw-alice");
//! t.wait_for("$ ");
//! t.type_line("exit");
//! assert_eq!(t.exit_code(), 0);
//! ```
//!
//! A [`Machine`] is systemd as PID 1 with logind, journald, sshd, sudo, su and login, on a throwaway
//! overlay over a cached [`Rootfs`], of the Debian that [`suite`] names. A [`Terminal`] is a real tty of that machine with a person in
//! front of it; a [`Screen`] is what the person sees, down to a QR code that a foreign program reads.
//! Codes come from a foreign authenticator too ([`oath`]), and a [`Key`] is a security key that is plugged in.
//!
//! All of this needs root, and the packages named in `apt-packages`. What is missing fails the test
//! and says what to do; nothing is skipped. Commands in a machine can do neither the host's files
//! nor its clock any harm.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod key;
mod machine;
pub mod oath;
mod rootfs;
mod screen;
mod terminal;

pub use key::Key;
pub use machine::{Builder, Log, Machine, Output};
pub use rootfs::{Rootfs, built_package, cache, fingerprint, kept, remove_unused_layers, suite};
pub use screen::{Picture, Screen, Theme};
pub use terminal::{Terminal, TerminalBuilder};

use std::{env, process::Command};

/// The program `name`; if it is not installed, a panic that names the package to install.
fn tool(name: &str, package: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        installed,
        "{name} is missing: apt-get install {package} (all that these tests need: tests/e2e/apt-packages)"
    );
    Command::new(name)
}

fn need_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests boot containers: run them as root, as in `sudo make test`"
    );
}
