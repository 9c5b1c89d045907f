//! A booted Debian.

use std::{
    fmt, fs,
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Rootfs, TerminalBuilder, built_package, need_root, suite, tool};

/// How long a machine may take to boot, and whatever is waited for to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Boots the machine and keeps it until standard input ends, which it does when the [`Machine`] is
/// dropped and also when the test dies. `unshare` gave it mounts of its own, so nothing is left
/// mounted; a control group of its own, because nspawn puts every payload that shares a group into
/// the *same* one, where one systemd would kill the other's services.
const KEEPER: &str = r#"
    dir=$1 name=$2 lower=$3 setup=$4
    groups=$(for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
        if [ -e "$h/cgroup.procs" ]; then echo "$h/$name"; fi
    done)
    over=
    finish() {
        # PID 1 dies after all that it contains, and nspawn after PID 1: then the groups are empty.
        # When there is no PID 1 in its place yet, all die at once, and are empty soon.
        for g in $groups; do
            [ -e "$g/cgroup.kill" ] || continue
            ! grep -qs 'populated 1' "$g/payload/cgroup.events" || g=$g/payload
            echo 1 >"$g/cgroup.kill"
        done
        wait
        for g in $groups; do
            for try in 1 2 3 4 5 6 7 8 9; do
                [ -e "$g" ] || break
                find "$g" -depth -type d -exec rmdir {} \;
                [ ! -e "$g" ] || sleep 0.2
            done
        done
        systemd-notify --no-block X_ENDED=1 || :
        if [ "$over" ]; then
            umount --recursive "$dir/disk"
            rm -r "$dir"
        fi
    }
    trap finish EXIT

    mount -t tmpfs -o mode=755 tmpfs "$dir/disk"
    mkdir "$dir/disk/upper" "$dir/disk/work" "$dir/disk/root"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/disk/upper,workdir=$dir/disk/work" "$dir/disk/root"
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs tmpfs /run/systemd/nspawn
    env --unset=NOTIFY_SOCKET chroot "$dir/disk/root" sh -euc "$setup"

    mkdir $groups
    [ -n "$(find $groups -maxdepth 1 -name cgroup.kill)" ] || {
        echo 'no cgroup2 hierarchy here: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified (Linux 5.14 or later)'
        exit 1
    }
    boot() (
        for g in $groups; do echo 0 >"$g/cgroup.procs"; done
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --boot --directory="$dir/disk/root" --machine="$name" \
            --register=no --keep-unit --notify-ready=yes --console=read-only --private-network \
            --link-journal=no --resolv-conf=off --timezone=off --settings=no
    )
    # 133 is how nspawn says "reboot".
    ( while :; do boot && status=0 || status=$?; [ $status = 133 ] || break; done
      systemd-notify --no-block X_ENDED=1 ) </dev/null &
    read -r _ || over=yes
"#;

/// Runs a command inside, in the control group of PID 1 as a service would be, so that logind and
/// systemd can move it. `nsenter` brings the host's capabilities along: those that reach past the
/// namespaces are dropped, as nspawn drops them. Signals that whoever runs the tests ignores are not
/// ignored inside.
const ENTER: &str = r#"
    group=$1 leader=$2
    shift 2
    echo 0 >"$group"
    exec nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup -- \
        setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-mac_admin,-mac_override,-syslog -- "$@"
"#;

/// What a machine shall be like. See [`Machine::build`].
#[derive(Debug)]
pub struct Builder {
    suite: String,
    packages: String,
    deb: Option<PathBuf>,
    setup: String,
    sshd: String,
}

impl Builder {
    /// Another Debian than [`suite`](crate::suite()) says.
    #[must_use]
    pub fn suite(mut self, suite: &str) -> Self {
        suite.clone_into(&mut self.suite);
        self
    }

    /// With these Debian packages too (names with commas between them). Each choice is a root file system of its own.
    #[must_use]
    pub fn debian_packages(mut self, names: &str) -> Self {
        names.clone_into(&mut self.packages);
        self
    }

    /// With the package under test installed (see [`built_package`]).
    #[must_use]
    pub fn package(self) -> Self {
        self.deb(built_package())
    }

    /// With this package installed.
    #[must_use]
    pub fn deb(mut self, path: impl Into<PathBuf>) -> Self {
        self.deb = Some(path.into());
        self
    }

    /// Lines of `sshd_config`, before `KbdInteractiveAuthentication yes` and `UsePAM yes` (the first
    /// line about something wins).
    #[must_use]
    pub fn sshd(mut self, lines: &str) -> Self {
        self.sshd = format!("{}{lines}\n", self.sshd);
        self
    }

    /// A shell script to run in the file system before it boots.
    #[must_use]
    pub fn setup(mut self, script: &str) -> Self {
        self.setup = format!("{}{script}\n", self.setup);
        self
    }

    /// The machine, booted.
    #[must_use]
    pub fn boot(self) -> Machine {
        need_root();
        tool("systemd-nspawn", "systemd-container");
        let mut rootfs = match self.packages.as_str() {
            "" => Rootfs::debian(&self.suite),
            more => Rootfs::debian_with(&self.suite, more),
        };
        if let Some(deb) = &self.deb {
            rootfs = rootfs.with_deb(deb);
        }
        // All visitors have one address, and many of them fail: OpenSSH 9.8 and later would let none of them in.
        let penalties = if self.suite == "bookworm" { "" } else { "PerSourcePenalties no\n" };
        let setup = format!(
            "cat >/etc/ssh/sshd_config.d/00-test.conf <<'.'\n{}\n{penalties}\
             KbdInteractiveAuthentication yes\nUsePAM yes\n.\n{}",
            self.sshd, self.setup
        );

        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mfa-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("disk")).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let notices = heard(UnixDatagram::bind(dir.join("notify")).expect("a socket in the temporary folder"));
        let console = File::create(dir.join("console")).expect("a file in the temporary folder");
        let mut keeper = tool("unshare", "util-linux")
            .args(["--mount", "sh", "-euc", KEEPER, "sh"])
            .arg(&dir)
            .args([&name, &rootfs.lowerdir(), &setup])
            .env_clear()
            .env("PATH", PATH)
            .env("NOTIFY_SOCKET", dir.join("notify"))
            .stdin(Stdio::piped())
            .stdout(console.try_clone().expect("dup"))
            .stderr(console)
            // The terminal's ^C is for the test; the keeper is then told by the end of its input.
            .process_group(0)
            .spawn()
            .expect("unshare");
        let lifeline = keeper.stdin.take();
        let mut machine = Machine {
            leader: 0,
            group: PathBuf::new(),
            dir,
            notices: Mutex::new(notices),
            keeper,
            lifeline,
            _rootfs: rootfs,
        };
        machine.await_boot();
        machine
    }
}

/// A booted Debian, thrown away when dropped.
#[derive(Debug)]
pub struct Machine {
    /// Its PID 1, as the host numbers it.
    leader: u32,
    /// `cgroup.procs` of that process.
    group: PathBuf,
    dir: PathBuf,
    /// Behind a lock only because tests share their machine.
    notices: Mutex<mpsc::Receiver<String>>,
    keeper: Child,
    lifeline: Option<ChildStdin>,
    _rootfs: Rootfs,
}

impl Machine {
    /// A machine to be; [`Builder::boot`] makes it.
    #[must_use]
    pub fn build() -> Builder {
        Builder { suite: suite(), packages: String::new(), deb: None, setup: String::new(), sshd: String::new() }
    }

    /// A command to run inside, as root, with a clean environment.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("env");
        command
            .args(["--default-signal", "sh", "-euc", ENTER, "sh"])
            .arg(&self.group)
            .args([&self.leader.to_string(), program]);
        command.env_clear().env("LANG", "C.UTF-8").env("HOME", "/root");
        command.env("PATH", PATH);
        command
    }

    /// Runs a shell script as root, up to the first command that fails; two minutes at most.
    #[must_use]
    pub fn sh(&self, script: &str) -> Output {
        self.sh_with_input(script, b"")
    }

    /// Runs a shell script that must succeed, and gives what it printed.
    pub fn sh_ok(&self, script: &str) -> String {
        let output = self.sh(script);
        assert_eq!(output.code, 0, "`{script}` failed: {output}");
        output.stdout
    }

    fn sh_with_input(&self, script: &str, input: &[u8]) -> Output {
        let mut child = self
            .command("timeout")
            .args(["-k5", "120", "sh", "-ec", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::thread::scope(|scope| {
            // A script may well end without reading its input.
            scope.spawn(move || stdin.write_all(input).unwrap_or(()));
            let output = child.wait_with_output().expect("the output of a script");
            Output {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
    }

    /// Writes a file, and its folders if need be.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let script = format!("mkdir -p \"$(dirname '{path}')\"; cat >'{path}'");
        let output = self.sh_with_input(&script, content.as_ref());
        assert_eq!(output.code, 0, "cannot write {path}: {output}");
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        self.sh_ok(&format!("cat '{path}'"))
    }

    /// Adds a user with a home and a password.
    pub fn user(&self, name: &str, password: &str) {
        self.sh_ok(&format!("useradd --create-home --shell /bin/bash {name}; echo '{name}:{password}' | chpasswd"));
    }

    /// A terminal to sit down at.
    #[must_use]
    pub fn terminal(&self) -> TerminalBuilder<'_> {
        TerminalBuilder::new(self)
    }

    /// The journal since the boot.
    #[must_use]
    pub fn journal(&self) -> Log<'_> {
        Log { machine: self, from: "--boot".into() }
    }

    /// The journal from this moment on.
    #[must_use]
    pub fn journal_from_here(&self) -> Log<'_> {
        let last = self.sh_ok("journalctl --sync; journalctl --quiet --lines=0 --show-cursor");
        let cursor = last.trim().strip_prefix("-- cursor: ").expect("journalctl prints a cursor");
        Log { machine: self, from: format!("--after-cursor={cursor}") }
    }

    /// Boots again, with the disk as it is.
    pub fn reboot(&mut self) {
        // Each `systemctl daemon-reload` has said READY as well.
        while self.notices.get_mut().expect("no poison").try_recv().is_ok() {}
        self.sh_ok("systemctl --no-block reboot");
        self.await_boot();
    }

    /// The host's path of a file of the machine that is no symbolic link, nor in a folder that is.
    #[must_use]
    pub fn host_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    fn await_boot(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        let mut ready = false;
        while !ready {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let notice = match self.notices.get_mut().expect("no poison").recv_timeout(left) {
                Ok(notice) => notice,
                Err(error) => self.no_boot(&format!("no sign of life: {error}")),
            };
            for line in notice.lines() {
                match line.split_once('=') {
                    Some(("X_NSPAWN_LEADER_PID", pid)) => self.leader = pid.parse().expect("a pid"),
                    Some(("READY", "1")) => ready = true,
                    Some(("X_ENDED", _)) => self.no_boot("it ended"),
                    _ => {}
                }
            }
        }
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.leader)).expect("PID 1 is there");
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("cgroup2, as the keeper has seen");
        let unified = Path::new("/sys/fs/cgroup/unified");
        let mount = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        self.group = mount.join(group).join("cgroup.procs");
        let state = self.sh("systemctl is-system-running --wait").stdout;
        if !matches!(state.trim(), "running" | "degraded") {
            self.no_boot(&format!("systemd says: {state}"));
        }
    }

    fn no_boot(&self, why: &str) -> ! {
        let console = fs::read_to_string(self.dir.join("console")).unwrap_or_default();
        panic!("the machine did not boot, {why}\n{console}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.keeper.wait();
        // If it did not boot, the keeper left us the console to read.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What nspawn says, which is also what systemd inside says. It is read at all times: nspawn waits for whoever does not,
/// and with it the end of the machine.
fn heard(socket: UnixDatagram) -> mpsc::Receiver<String> {
    let (sender, notices) = mpsc::channel();
    std::thread::spawn(move || {
        let mut notice = [0; 4096];
        loop {
            match socket.recv(&mut notice) {
                Ok(len) => drop(sender.send(String::from_utf8_lossy(&notice[..len]).into_owned())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
    notices
}

/// Ends a [`Machine::command`] by killing its process inside. Killing `nsenter` would leave that one
/// running, and leave its remains to the host's PID 1, for which the end of the machine then waits.
pub(crate) fn end(command: &mut Child) {
    if matches!(command.try_wait(), Ok(None)) {
        let pid = command.id();
        let inside = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        match inside.trim().parse().ok().and_then(Pid::from_raw) {
            Some(pid) => drop(kill_process(pid, Signal::KILL)),
            None => drop(command.kill()),
        }
        let _ = command.wait();
    }
}

/// What a script did.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A stretch of a machine's journal, open at the end.
#[derive(Debug)]
pub struct Log<'m> {
    machine: &'m Machine,
    from: String,
}

impl Log<'_> {
    /// All that was logged so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.machine.sh_ok(&format!("journalctl --sync; journalctl --quiet --no-pager '{}'", self.from))
    }

    /// The first line like this, as soon as it is there.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut follow = self
            .machine
            .command("journalctl")
            .args(["--quiet", "--follow", "--no-tail", &self.from])
            .stdout(Stdio::piped())
            .spawn()
            .expect("journalctl");
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(follow.stdout.take().expect("it is piped"));
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let deadline = Instant::now() + DEADLINE;
        let found = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => break Some(line),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        end(&mut follow);
        found.unwrap_or_else(|| panic!("no such line in the journal:\n{}", self.text()))
    }
}
