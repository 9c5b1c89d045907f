//! Security keys that are programs, at a place where they can be plugged in.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{artifact, require_sandbox, run};

/// What the policy calls the terminal at which one sits here.
pub const CONSOLE: &str = "desk";

/// Usage page FIDO, usage U2F authenticator, as every key has it (CTAP 2.1, 11.2.8.2).
const DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];

/// A mount namespace whose /sys/class/hidraw and /dev/hidraw* are those of virtual keys. The product knows nothing of it.
pub struct Desk {
    folder: PathBuf,
    holder: Child,
    /// Of the terminal at which one sits here.
    _screen: OwnedFd,
    nodes: Cell<u32>,
}

impl Desk {
    pub fn new() -> Desk {
        require_sandbox();
        static DESKS: AtomicU32 = AtomicU32::new(0);
        let number = DESKS.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/run/desk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("class/hidraw")).unwrap();
        let (screen, terminal) = terminal();
        std::fs::File::options().create(true).append(true).open(format!("/dev/{CONSOLE}")).unwrap();
        let script = format!(
            "mount --bind \"$1/class\" /sys/class && mount --bind \"$2\" /dev/{CONSOLE} && echo ready && exec cat >/dev/null"
        );
        // A control group like that of a machine on which nobody has logged in yet.
        let mut holder = Command::new("unshare")
            .args(["--mount", "--cgroup", "--propagation", "private", "sh", "-c", &script, "sh"])
            .args([&folder, &terminal])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut BufReader::new(holder.stdout.take().unwrap())), "ready");
        Desk { folder, holder, _screen: screen, nodes: Cell::new(0) }
    }

    /// A key with these arguments, not plugged in yet.
    pub fn key(&self, arguments: &[&str]) -> Key {
        let number = self.nodes.replace(self.nodes.get() + 1);
        let (link, control) = (self.folder.join(format!("pty{number}")), self.folder.join(format!("control{number}")));
        let mut process = Command::new(artifact("vkey"))
            .arg("--pty")
            .arg(&link)
            .arg("--control")
            .arg(&control)
            .args(["--seed", &format!("{number}")])
            .args(arguments)
            .arg("--until-eof")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut BufReader::new(process.stdout.take().unwrap())), "ready");
        let key = Key { process, control, link, name: format!("hidraw{number}") };
        key.tell("touch auto");
        key
    }

    /// A key that is plugged in and touched as soon as it asks.
    pub fn plugged(&self, arguments: &[&str]) -> Key {
        let key = self.key(arguments);
        self.plug(&key);
        key
    }

    pub fn plug(&self, key: &Key) {
        let terminal = std::fs::read_link(&key.link).unwrap();
        let number: u32 = terminal.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let node = format!("/dev/{}", key.name);
        std::fs::File::options().create(true).append(true).open(&node).unwrap();
        self.inside(&["mount", "--bind", terminal.to_str().unwrap(), &node]);
        // All at once, as the kernel does it.
        let making = self.folder.join(&key.name);
        std::fs::create_dir_all(making.join("device")).unwrap();
        std::fs::write(making.join("device/report_descriptor"), DESCRIPTOR).unwrap();
        std::fs::write(making.join("dev"), format!("136:{number}\n")).unwrap();
        std::fs::rename(making, self.folder.join("class/hidraw").join(&key.name)).unwrap();
    }

    /// Out of the list first: the key itself is told by `Key::tell("unplug")`.
    pub fn unplug(&self, key: &Key) {
        std::fs::rename(self.folder.join("class/hidraw").join(&key.name), self.folder.join(&key.name)).unwrap();
        key.tell("unplug");
        self.inside(&["umount", "--lazy", &format!("/dev/{}", key.name)]);
    }

    /// Another program can have the key for itself; fails if somebody keeps it locked.
    pub fn lock(&self, key: &Key) {
        self.inside(&["flock", "--nonblock", &format!("/dev/{}", key.name), "true"]);
    }

    /// What the kernel says of the key's device is not so any more.
    pub fn change_number(&self, key: &Key, number: &str) {
        std::fs::write(self.folder.join("class/hidraw").join(&key.name).join("dev"), format!("{number}\n")).unwrap();
    }

    /// Nobody who sits here finds libfido2 any more.
    pub fn hide_library(&self) {
        let known = run("ldconfig", &["-p"]);
        let path = known.lines().find_map(|line| line.trim().strip_prefix("libfido2.so.1 ")?.rsplit("=> ").next());
        self.inside(&["mount", "--bind", "/dev/null", path.expect("libfido2-1 is not installed")]);
    }

    fn inside(&self, command: &[&str]) {
        run("nsenter", &[&["-t", &self.holder.id().to_string(), "-m"], command].concat());
    }

    /// Whoever sits here: the words before a command (see `Host::under`) with which it has this terminal.
    pub fn seated(&self) -> Vec<String> {
        self.seated_for(40)
    }

    /// The same, with so many seconds until it is killed.
    pub fn seated_for(&self, seconds: u32) -> Vec<String> {
        let sit_down = format!("exec setsid --ctty --wait \"$0\" \"$@\" </dev/{CONSOLE}");
        let holder = self.holder.id().to_string();
        let seconds = seconds.to_string();
        let words = ["timeout", "--foreground", "--signal=KILL", &seconds, "nsenter", "-t", &holder, "-m", "-C"];
        words.into_iter().chain(["sh", "-c", &sit_down]).map(str::to_owned).collect()
    }

    /// A program for root that runs the installed helper here.
    pub fn helper(&self) -> PathBuf {
        let path = self.folder.join("helper");
        let script = format!("#!/bin/sh\nexec nsenter -t {} -m -C /usr/libexec/mfa-helper\n", self.holder.id());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// Starts asking.
    pub fn ask(&self, arguments: &[&str]) -> Asking {
        let host = artifact("key-host");
        let mut process = Command::new("nsenter")
            .args(["-t", &self.holder.id().to_string(), "-m"])
            .arg(host)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Asking { process, stdin, stdout, lines: Vec::new() }
    }

    /// Binds, which must succeed: what `key=` takes.
    pub fn bind(&self, arguments: &[&str]) -> String {
        let lines = self.ask(&[&["make"], arguments].concat()).end();
        let made = lines.iter().find_map(|line| line.strip_prefix("made "));
        format!("key={}", made.unwrap_or_else(|| panic!("{lines:?}")))
    }
}

impl Default for Desk {
    fn default() -> Self {
        Desk::new()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A virtual key.
pub struct Key {
    process: Child,
    control: PathBuf,
    link: PathBuf,
    name: String,
}

impl Key {
    /// Tells it something, which it must understand. Gives back the rest of its answer.
    pub fn tell(&self, command: &str) -> String {
        let mut control = UnixStream::connect(&self.control).unwrap();
        writeln!(control, "{command}").unwrap();
        let answer = line(&mut BufReader::new(control));
        let rest = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{command}: {answer}"));
        rest.trim().to_owned()
    }

    /// Has another program lock it, as libfido2 does, until that is dropped.
    pub fn lock(&self) -> Locked {
        let terminal = std::fs::read_link(&self.link).unwrap();
        let mut process = Command::new("flock")
            .args([terminal.to_str().unwrap(), "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut BufReader::new(process.stdout.take().unwrap())), "ready");
        Locked(process)
    }

    /// How often it has been touched, has signed...
    pub fn count(&self, what: &str) -> u32 {
        let counts = self.tell("count");
        let mut counts = counts.split(' ').filter_map(|count| count.split_once('='));
        counts.find(|(name, _)| *name == what).expect(what).1.parse().unwrap()
    }

    /// Whether any process has it open. One that has died has nothing left to be open; `Asking::end` looks all the same.
    pub fn is_open(&self) -> bool {
        let Ok(terminal) = std::fs::read_link(&self.link) else { return false };
        open_files().iter().any(|(pid, file)| *pid != self.process.id() && *file == terminal)
    }
}

/// A program that has locked a key.
pub struct Locked(Child);

impl Drop for Locked {
    fn drop(&mut self) {
        // Its child ends with its standard input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every open file of every process.
fn open_files() -> Vec<(u32, PathBuf)> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?))
    });
    processes
        .flat_map(|(pid, files)| files.filter_map(move |file| Some((pid, std::fs::read_link(file.ok()?.path()).ok()?))))
        .collect()
}

/// Whether any process has this file open.
pub fn is_open(path: &Path) -> bool {
    open_files().iter().any(|(_, file)| file == path)
}

/// One run of `key-host`.
pub struct Asking {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    lines: Vec<String>,
}

impl Asking {
    /// Waits for a line that begins so.
    pub fn until(&mut self, begin: &str) -> String {
        while !self.lines.last().is_some_and(|line| line.starts_with(begin)) {
            let line = line(&mut self.stdout);
            assert!(!line.is_empty(), "no {begin:?} in {:?}", self.lines);
            self.lines.push(line);
        }
        self.lines.last().unwrap().clone()
    }

    /// Says by Enter that a key is plugged in, or that there is none.
    pub fn press_enter(&mut self) {
        writeln!(self.stdin.as_mut().unwrap()).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its children, zombies too.
    pub fn children(&self) -> Vec<u32> {
        let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap();
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Nobody is there any more. Gives back all that it has said in the end.
    pub fn leave(mut self) -> Vec<String> {
        self.stdin = None;
        self.until("done");
        assert!(self.process.wait().unwrap().success());
        std::mem::take(&mut self.lines)
    }

    /// All that it has said, in the end; nothing is left of it.
    pub fn end(mut self) -> Vec<String> {
        self.until("done");
        assert_eq!(self.children(), [] as [u32; 0], "{:?}", self.lines);
        let own = PathBuf::from(format!("/proc/{}/fd", self.pid()));
        for file in std::fs::read_dir(own).unwrap() {
            let target = std::fs::read_link(file.unwrap().path()).unwrap_or_default();
            assert!(!target.starts_with(Path::new("/dev/pts")), "{} is open: {:?}", target.display(), self.lines);
        }
        self.stdin = None;
        assert!(self.process.wait().unwrap().success());
        std::mem::take(&mut self.lines)
    }

    /// The line of the outcome: what was signed, or the failure.
    pub fn outcome(self) -> String {
        let lines = self.end();
        let outcome = lines.iter().find(|line| ["signed", "made", "failure"].iter().any(|word| line.starts_with(word)));
        outcome.unwrap_or_else(|| panic!("{lines:?}")).clone()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A new terminal: its master, and the path of the other side.
fn terminal() -> (OwnedFd, PathBuf) {
    let mut path = [0; 64];
    // SAFETY: plain calls; the path has room for its name.
    unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(master >= 0 && libc::unlockpt(master) == 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::ptsname_r(master, path.as_mut_ptr(), path.len()), 0);
        let path = std::ffi::CStr::from_ptr(path.as_ptr()).to_str().unwrap();
        (OwnedFd::from_raw_fd(master), path.into())
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
