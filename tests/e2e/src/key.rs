//! Security keys that are programs, plugged into a machine.
//!
//! A container has no USB. What the product looks at is there all the same: a list in `/sys/class/hidraw`, and a device
//! of that number in `/dev`, which is the terminal of a virtual key (`tests/vkey`). Both are mounts, in the machine's
//! own namespace, from which they reach those of its services.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Machine, machine::end};

const PROGRAM: &str = "/usr/local/bin/vkey";

/// Once in each machine. The other classes of devices are nothing that anybody asks for in a container.
const PREPARE: &str = "
    mkdir -p -m 755 /run/keys/class/hidraw
    mount --bind /run/keys/class /sys/class
";

/// `$1` is the name, as in hidraw0. Seen all at once, as the kernel does it.
const PLUG: &str = r#"
    cd /run/keys
    terminal=$(readlink "$name.pty")
    : >>"/dev/$name"
    mount --bind "$terminal" "/dev/$name"
    echo "136:${terminal##*/}" >"$name/dev"
    mv "$name" class/hidraw/
"#;

const UNPLUG: &str = r#"
    cd /run/keys
    mv "class/hidraw/$name" .
    umount --lazy "/dev/$name"
    rm "/dev/$name"
"#;

/// Who has it open, beside the key itself.
const USERS: &str = r#"
    terminal=$(readlink "/run/keys/$name.pty") || exit 0
    for process in /proc/[0-9]*; do
        [ "$(cat "$process/comm" 2>/dev/null)" != vkey ] || continue
        find -L "$process/fd" -samefile "$terminal" -exec cat "$process/comm" \; 2>/dev/null || :
    done
"#;

/// A virtual security key at a machine. Dropped, it is pulled out and gone.
pub struct Key<'m> {
    machine: &'m Machine,
    /// `hidraw0`: no two of a test program have the same.
    name: String,
    process: Child,
}

impl<'m> Key<'m> {
    /// A key that is plugged in, and touched as soon as it asks. The options are those of `vkey`, such as
    /// `["--pin", "1234"]`; another `seed` is another key.
    #[must_use]
    pub fn plugged(machine: &'m Machine, seed: &str, options: &[&str]) -> Self {
        let key = Self::in_the_drawer(machine, seed, options);
        key.plug();
        key
    }

    /// The same, not plugged in yet.
    #[must_use]
    pub fn in_the_drawer(machine: &'m Machine, seed: &str, options: &[&str]) -> Self {
        prepare(machine);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hidraw{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = "/run/keys";
        machine.write(&format!("{folder}/{name}/device/report_descriptor"), vkey::transport::DESCRIPTOR);
        let mut process = machine
            .command(PROGRAM)
            .args(["--pty", &format!("{folder}/{name}.pty"), "--control", &format!("{folder}/{name}.control")])
            .args(["--seed", seed, "--until-eof"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("vkey");
        let mut ready = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut ready).expect("the output of the virtual key");
        assert_eq!(ready, "ready\n", "the virtual key did not start");
        Self { machine, name, process }
    }

    /// Tells it something, see `tests/vkey`, and gives the rest of its answer.
    #[track_caller]
    pub fn tell(&self, command: &str) -> String {
        let control = self.machine.host_path(&format!("/run/keys/{}.control", self.name));
        vkey::ask(&control, command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// One number of `count`: `touches`, `signatures`, `silent`, `pins`.
    #[track_caller]
    pub fn count(&self, what: &str) -> u32 {
        let counts = self.tell("count");
        let mut counts = counts.split(' ').filter_map(|count| count.split_once('='));
        counts.find(|(name, _)| *name == what).expect("a number of that name").1.parse().expect("a number")
    }

    /// Plugs it in.
    pub fn plug(&self) {
        self.tell("plug");
        self.script(PLUG);
    }

    /// Pulls it out.
    pub fn unplug(&self) {
        self.script(UNPLUG);
        self.tell("unplug");
    }

    /// The processes that have it open.
    #[must_use]
    pub fn users(&self) -> String {
        self.script(USERS)
    }

    fn script(&self, script: &str) -> String {
        self.machine.sh_ok(&format!("name={}\n{script}", self.name))
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self.machine.sh(&format!("[ ! -e /run/keys/class/hidraw/{name} ] || {{ name={name}\n{UNPLUG}\n}}"));
        end(&mut self.process);
    }
}

fn prepare(machine: &Machine) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if machine.sh(&format!("[ -e {PROGRAM} ]")).code != 0 {
        let program = vkey::program();
        machine.write(PROGRAM, std::fs::read(&program).expect("a virtual key"));
        machine.sh_ok(&format!("chmod 755 {PROGRAM}{PREPARE}"));
    }
}
