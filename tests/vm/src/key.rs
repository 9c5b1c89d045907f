//! A security key to plug in.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::Machine;

/// The program `vkey` of this tree: `$MFA_VKEY`, or else what cargo has built.
#[must_use]
pub fn built_vkey() -> PathBuf {
    if let Some(path) = env::var_os("MFA_VKEY") {
        return path.into();
    }
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let path = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("debug/vkey");
    assert!(path.exists(), "no {}: run `cargo build -p vkey`, or name it in $MFA_VKEY", path.display());
    path
}

/// A key that the kernel takes for one at its USB; out of the machine when dropped.
#[derive(Debug)]
pub struct Key<'m> {
    machine: &'m Machine,
    socket: String,
    /// Where it is found as long as it is plugged in, or was last.
    pub node: String,
}

/// The kernel gives a key the lowest number that is free.
const NEXT_NODE: &str = "n=0; while [ -e /dev/hidraw$n ]; do n=$((n + 1)); done";

/// Starts a key and waits for its `ready`.
const PLUG_IN: &str = r#"
    socket=$(mktemp --dry-run /run/mfa-test/key.XXXXXX)
    mkfifo $socket.ready
    setsid vkey --uhid --control $socket $options >$socket.ready 2>$socket.log &
    read -r ready <$socket.ready || { cat $socket.log; exit 1; }
    udevadm wait --timeout=60 --settle /dev/hidraw$n
    echo /dev/hidraw$n $socket
"#;

impl<'m> Key<'m> {
    pub(crate) fn new(machine: &'m Machine, options: &str) -> Self {
        let answer = machine.root(&format!("options='{options}'\n{NEXT_NODE}\n{PLUG_IN}"));
        let (node, socket) = answer.trim().split_once(' ').expect("a node and a socket");
        Self { machine, node: node.into(), socket: socket.into() }
    }

    /// One command of its control socket (`vkey`'s own list): `touch`, `await touch`, `pin 1234`, `fault hang`. Gives the
    /// answer.
    #[track_caller]
    pub fn say(&self, command: &str) -> String {
        self.machine.root(&format!("mfa-test-say {} {command}", self.socket)).trim_end().to_owned()
    }

    /// Pulls it out, and waits until its node is gone.
    #[track_caller]
    pub fn unplug(&self) {
        self.say("unplug");
        self.machine.root(&format!("udevadm wait --timeout=60 --removed {}", self.node));
    }

    /// Plugs it in again, and waits until udev is done with it.
    #[track_caller]
    pub fn plug(&mut self) {
        let plug = format!("mfa-test-say {} plug", self.socket);
        let wait = "udevadm wait --timeout=60 --settle /dev/hidraw$n >&2; echo /dev/hidraw$n";
        self.node = self.machine.root(&format!("{NEXT_NODE}\n{plug} >&2\n{wait}")).trim().to_owned();
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // In a machine that is about to go, nobody may answer any more.
        if !std::thread::panicking() {
            self.say("quit");
            self.machine.root(&format!("udevadm wait --timeout=60 --removed {}", self.node));
        }
    }
}
