//! A Debian in QEMU.

use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use e2e::{Output, built_package, oath};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

use crate::{DEADLINE, Dialogue, Key, Screen, image::Image, key::built_vkey, monitor::Monitor, tool};

const QEMU: &str = "qemu-system-x86_64";

/// Longer than any script may take, a boot included.
const LONGEST_SCRIPT: Duration = Duration::from_secs(150);

/// Keeps QEMU until standard input ends, which it does when the [`Machine`] is dropped and also when the test dies.
const KEEPER: &str = r#"
    dir=$1
    shift
    "$@" </dev/null >"$dir/log" 2>&1 &
    read -r _ || :
    kill -9 $! || :
    wait
    rm -r "$dir"
"#;

/// As the documentation says: README.md, "Install" and "Switch it on".
const INSTALL: &str = "
    dpkg -i /root/package.deb
    rm /root/package.deb
    cp /usr/share/doc/libpam-mfa/examples/10-mfa.conf /etc/ssh/sshd_config.d/
    sshd -t && systemctl reload ssh
    pam-auth-update --enable mfa
    grep pam_mfa /etc/pam.d/common-auth
    chmod 0755 /usr/local/bin/vkey
    udevadm settle
    sync
";

/// A Debian 12 with a kernel of its own, thrown away when dropped.
#[derive(Debug)]
pub struct Machine {
    control: Mutex<BufReader<UnixStream>>,
    monitor: Mutex<Monitor>,
    console: Mutex<Dialogue>,
    keeper: Child,
    lifeline: Option<ChildStdin>,
    _image: Option<Image>,
}

impl Machine {
    /// With the package installed and switched on as its documentation says, booted a while ago.
    #[must_use]
    pub fn shipped() -> Self {
        let (deb, vkey) = (built_package(), built_vkey());
        let image = Image::installed(&deb, &vkey, |machine| {
            machine.write("/root/package.deb", fs::read(&deb).expect("the package"));
            machine.write("/usr/local/bin/vkey", fs::read(&vkey).expect("the key"));
            machine.root(INSTALL);
        });
        let drive = format!("file={},snapshot=on", quoted(&image.folder.join("disk")));
        let mut machine = Self::start(&image, &drive, &["-incoming", "defer"]);
        let memory = format!("exec:cat '{}'", image.folder.join("memory").display());
        machine.monitor().execute("migrate-incoming", json!({ "uri": memory }));
        machine.monitor().await_migration();
        machine.monitor().execute("cont", json!({}));
        // Where it was asleep, time has stood still.
        machine.root(&format!("date --utc --set=@{}", oath::unix_now()));
        // Who comes to a terminal that has long been waiting presses Enter to see its prompt.
        machine.console().type_line("");
        machine._image = Some(image);
        machine
    }

    /// Booted from a copy of this image's disk, in that folder.
    pub(crate) fn cold(image: &Image, folder: &Path) -> Self {
        let disk = folder.join("disk");
        let copied = Command::new("cp").arg("--sparse=always").arg(image.folder.join("disk")).arg(&disk).status();
        assert!(copied.expect("cp").success(), "no copy of the disk");
        let machine = Self::start(image, &format!("file={}", quoted(&disk)), &[]);
        let state = machine.root_output("systemctl is-system-running --wait");
        if state.stdout.trim() != "running" {
            let why = machine.root_output("systemctl --failed; journalctl --boot --priority=warning --no-pager");
            panic!("the machine did not boot, systemd says: {state}\n{why}");
        }
        machine
    }

    /// Ends, leaving the memory in that folder beside the disk.
    pub(crate) fn freeze(self, folder: &Path) {
        // The getty is up before it has asked.
        self.console().wait_for("login: ");
        self.screen().wait_for_prompt("web1 login: ");
        let memory = format!("exec:cat >'{}'", folder.join("memory").display());
        self.monitor().execute("stop", json!({}));
        self.monitor().execute("migrate", json!({ "uri": memory }));
        self.monitor().await_migration();
        self.monitor().execute("quit", json!({}));
    }

    fn start(image: &Image, drive: &str, more: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mfa-vm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let socket = |name: &str| {
            let path = dir.join(name);
            let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (listener, format!("socket,id={name},path={}", quoted(&path)))
        };
        let (monitor, monitor_device) = socket("monitor");
        let (console, console_device) = socket("console");
        let (control, control_device) = socket("control");

        // Nothing that was not asked for, and never the host's hypervisor.
        let mut keeper = Command::new("sh")
            .args(["-euc", KEEPER, "sh"])
            .arg(&dir)
            .arg(tool(QEMU, "qemu-system-x86").get_program())
            .args(["-nodefaults", "-accel", "tcg", "-machine", "pc", "-cpu", "max", "-smp", "2", "-m", "512"])
            .args(["-display", "none", "-vga", "std", "-device", "virtio-rng-pci"])
            .args(["-chardev", &monitor_device, "-mon", "chardev=monitor,mode=control"])
            .args(["-chardev", &console_device, "-serial", "chardev:console"])
            .args(["-chardev", &control_device, "-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=control,name=mfa.control"])
            .args(["-nic", "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"])
            .args(["-drive", &format!("{drive},format=raw,if=virtio,cache=unsafe")])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initrd)
            .args(["-append", "root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet"])
            .args(more)
            // The terminal's ^C is for the test; the keeper is then told by the end of its input.
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        let lifeline = keeper.stdin.take();
        let connected = |listener| {
            connection(&listener).unwrap_or_else(|| {
                panic!("QEMU did not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default())
            })
        };
        let (monitor, console, control) = (connected(monitor), connected(console), connected(control));
        control.set_read_timeout(Some(LONGEST_SCRIPT)).expect("a socket has a timeout");
        Self {
            control: Mutex::new(BufReader::new(control)),
            monitor: Mutex::new(Monitor::new(monitor)),
            console: Mutex::new(Dialogue::new(console.into(), None)),
            keeper,
            lifeline,
            _image: None,
        }
    }

    /// Runs a shell script as root, up to the first command that fails; two minutes at most. One after another.
    #[must_use]
    pub fn root_output(&self, script: &str) -> Output {
        self.run(script, b"").unwrap_or_else(|error| panic!("`{script}`: no answer: {error}"))
    }

    /// Runs a shell script as root that must succeed, and gives what it printed.
    #[track_caller]
    pub fn root(&self, script: &str) -> String {
        let output = self.root_output(script);
        assert_eq!(output.code, 0, "`{script}` failed: {output}");
        output.stdout
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let output = self.run(&format!("cat >'{path}'"), content.as_ref()).expect("the machine answers");
        assert_eq!(output.code, 0, "cannot write {path}: {output}");
    }

    fn run(&self, script: &str, input: &[u8]) -> std::io::Result<Output> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        write!(control.get_mut(), "{} {}\n{script}", script.len(), input.len())?;
        control.get_mut().write_all(input)?;
        let mut header = String::new();
        control.read_line(&mut header)?;
        let numbers: Vec<usize> = header.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [code, stdout, stderr] = numbers[..] else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
        let mut text = |len| {
            let mut bytes = vec![0; len];
            control.read_exact(&mut bytes).map(|()| String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Output { code: code as i32, stdout: text(stdout)?, stderr: text(stderr)? })
    }

    /// Adds a user with a home and a password.
    pub fn user(&self, name: &str, password: &str) {
        self.root(&format!("useradd --create-home --shell /bin/bash {name}; echo '{name}:{password}' | chpasswd"));
    }

    /// The journal since the boot.
    #[must_use]
    pub fn journal(&self) -> String {
        self.root("journalctl --sync; journalctl --boot --quiet --no-pager")
    }

    /// The serial line, ttyS0, with a getty on it.
    pub fn console(&self) -> MutexGuard<'_, Dialogue> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Screen and keyboard: tty1, with a getty on it.
    #[must_use]
    pub fn screen(&self) -> Screen<'_> {
        Screen { machine: self }
    }

    /// A security key, plugged in, once udev is done with it. `options` are `vkey`'s.
    #[must_use]
    pub fn plug_in(&self, options: &str) -> Key<'_> {
        Key::new(self, options)
    }

    /// Somebody comes over the network.
    #[must_use]
    pub fn ssh(&self, user: &str) -> Dialogue {
        let usernet = self.monitor().execute("human-monitor-command", json!({ "command-line": "info usernet" }));
        let usernet = usernet.as_str().unwrap_or_default();
        // "TCP[HOST_FORWARD]  14       127.0.0.1 40213       10.0.2.15    22 ..."
        let forward = usernet.lines().find(|line| line.contains("HOST_FORWARD"));
        let port = forward.and_then(|line| line.split_whitespace().nth(3));
        let port = port.unwrap_or_else(|| panic!("no port leads to the machine:\n{usernet}"));

        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        unlockpt(&master).expect("TIOCSPTLCK");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let tty = File::from(ioctl_tiocgptpeer(&master, flags).expect("TIOCGPTPEER"));
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("TIOCSWINSZ");
        let dup = || tty.try_clone().expect("dup");
        let client = tool("setsid", "util-linux")
            .arg("--ctty")
            .arg(tool("ssh", "openssh-client").get_program())
            .args(["-F/dev/null", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"])
            .args(["-p", port, &format!("{user}@127.0.0.1")])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("TERM", "vt100")
            .stdin(dup())
            .stdout(dup())
            .stderr(dup())
            .spawn()
            .expect("setsid");
        Dialogue::new(master, Some(client))
    }

    pub(crate) fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.keeper.wait();
    }
}

/// What memory was kept by can only be read by the same.
pub(crate) fn qemu_version() -> String {
    let output = tool(QEMU, "qemu-system-x86").arg("--version").output().expect(QEMU);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A path in an option of QEMU.
fn quoted(path: &Path) -> String {
    path.to_str().expect("a path that is text").replace(',', ",,")
}

fn connection(listener: &UnixListener) -> Option<UnixStream> {
    let timeout = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout));
    (ready == Ok(1)).then(|| listener.accept().expect("accept").0)
}
