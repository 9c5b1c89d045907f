//! The proving ground with a kernel of its own: what a container cannot have, uhid, hidraw, udev and virtual consoles.
//!
//! ```no_run
//! use vm::Machine;
//!
//! let machine = Machine::shipped();
//! machine.user("alice", "pw-alice");
//! let key = machine.plug_in("--pin 1234");
//!
//! let tty1 = machine.screen();
//! tty1.log_in("alice", "pw-alice");
//! tty1.wait_for("Touch your security key.");
//! key.say("touch");
//! tty1.wait_for("alice@web1:~$");
//! ```
//!
//! A [`Machine`] is a Debian in QEMU, always by software emulation: whether a hypervisor works here is not the question.
//! It has booted once for each build of the package, which was then installed by `dpkg` inside; every test resumes a copy
//! of that moment, with the clock of the host. A person sits down at its serial line ([`Machine::console`]) or its screen
//! and keyboard ([`Machine::screen`]), comes by [`Machine::ssh`], or plugs in a security key ([`Machine::plug_in`]);
//! [`Machine::root`] is the test's own way in, and none of these.
//!
//! All of this needs root, because root file systems do, and the packages named in `apt-packages`. What is missing fails
//! the test and says what to do; nothing is skipped. The machine reaches no network.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod dialogue;
mod image;
mod key;
mod machine;
mod monitor;
mod screen;

pub use dialogue::Dialogue;
pub use key::Key;
pub use machine::Machine;
pub use screen::Screen;

use std::{env, process::Command, time::Duration};

/// How long whatever is waited for may take. Emulated, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program `name`; if it is not installed, a panic that names the package to install.
fn tool(name: &str, package: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        installed,
        "{name} is missing: apt-get install {package} (all that these tests need: tests/setup installs it)"
    );
    Command::new(name)
}
