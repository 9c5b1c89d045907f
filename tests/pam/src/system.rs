use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::{Host, artifact, clock_library, require_sandbox, run};

const HELPER: &str = "/usr/libexec/mfa-helper";
const STORE: &str = "/var/lib/mfa";

/// The product's folders, as a fresh installation has them, and the real helper at its place. Held by one test at a
/// time; the next one starts from fresh.
///
/// ```no_run
/// use pam_tests::{Clock, Helper, System, add_user};
///
/// add_user("alice");
/// let system = System::fresh();
/// let clock = Clock::at(1_800_000_000);
/// system.install(&Helper::real().clock(&clock));
/// system.config("[[rule]]\nname = \"all\"\nrequire = \"mfa\"\n");
/// system.service("door", "auth required {module}\naccount required {module}");
/// let report = system.host("door").user("alice").answer("492039").steps(&["auth", "account"]).run();
/// ```
///
/// Kill the helper at its third write: `Helper::real().strace("-e inject=write:signal=KILL:when=3")`. A full disk:
/// `system.disk("ext4", 16); ...bind...; system.fill_disk();`.
pub struct System {
    _lock: File,
    mounted: std::cell::Cell<bool>,
}

impl System {
    /// Empties and rebuilds the folders. Waits until no other test holds them.
    pub fn fresh() -> System {
        require_sandbox();
        crate::log::be_there();
        let system = System { _lock: lock("/run/mfa-test-system"), mounted: false.into() };
        for folder in ["/etc/mfa", STORE, "/run/mfa"] {
            let _ = fs::remove_dir_all(folder);
        }
        folder("/etc/mfa", 0o755);
        folder("/etc/mfa/mfa.d", 0o755);
        system.config("# nothing\n");
        system.make_store();
        system.install(&Helper::real());
        system
    }

    /// Writes `/etc/mfa/mfa.toml`.
    pub fn config(&self, toml: &str) {
        settled("/etc/mfa/mfa.toml", toml);
    }

    /// Writes a file in `/etc/mfa/mfa.d`.
    pub fn drop_in(&self, name: &str, toml: &str) {
        settled(&format!("/etc/mfa/mfa.d/{name}"), toml);
    }

    /// Puts a helper at its place, `/usr/libexec/mfa-helper`, for the module and for `mfa-enroll`.
    pub fn install(&self, helper: &Helper) {
        fs::create_dir_all("/usr/libexec").unwrap();
        // A rename, as a package does: the old one may be running.
        let new = format!("{HELPER}.new");
        make_program(&helper.path(), &new);
        fs::rename(new, HELPER).unwrap();
    }

    /// Writes `/etc/pam.d/NAME`; `{module}` stands for the built module, and `{first}` for the line of a first factor that succeeds.
    ///
    /// The helper reads that file: it knows the module by its name, pam_permit proves nothing, and any module but pam_unix
    /// might say PAM_IGNORE.
    pub fn service(&self, name: &str, stack: &str) {
        let stack = stack.replace("{module}", &module(artifact("libpam_mfa.so"), "pam_mfa.so"));
        let permit = run("sh", &["-c", "echo /usr/lib/*/security/pam_permit.so"]);
        let first = format!("auth [success=ok default=die] {}", module(permit.trim().into(), "pam_first.so"));
        let stack = stack.replace("{first}", &first);
        fs::write(Path::new("/etc/pam.d").join(name), stack + "\n").unwrap();
    }

    /// The PAM application for that service.
    pub fn host(&self, service: &str) -> Host {
        Host::new(Path::new("/etc/pam.d"), service)
    }

    /// Runs `mfa-enroll` to its end, with `input` on its standard input.
    pub fn enroll(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(artifact("mfa-enroll"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The store's folder.
    pub fn store(&self) -> &Path {
        Path::new(STORE)
    }

    /// Puts an empty store on a file system of its own (`ext4`, `xfs`, `btrfs`: whatever has a mkfs) of so many MiB.
    pub fn disk(&self, kind: &str, mib: u64) {
        let image = "/tmp/mfa-test-disk";
        let _ = fs::remove_file(image);
        File::create(image).unwrap().set_len(mib << 20).unwrap();
        let force = if kind == "ext4" { "-F" } else { "-f" };
        run(&format!("mkfs.{kind}"), &["-q", force, image]);
        let _ = fs::remove_dir_all(STORE);
        folder(STORE, 0o700);
        run("mount", &["-o", "loop", image, STORE]);
        self.mounted.set(true);
        self.make_store();
    }

    /// Writes to that file system until it takes no more.
    pub fn fill_disk(&self) {
        assert!(self.mounted.get(), "only a disk of its own is filled");
        // Smaller and smaller, so that no crumb is left.
        for size in [1 << 20, 4096, 1] {
            let file = OpenOptions::new().create(true).append(true).open(format!("{STORE}/fill-{size}"));
            // btrfs has no room for another name by then.
            let Ok(mut file) = file else { break };
            while file.write_all(&vec![b'x'; size]).and_then(|()| file.sync_data()).is_ok() {}
        }
        // Not empty files: where the inodes are used up too, no temporary file can be made.
        let mut n = 0;
        while n < 100_000 && File::create(format!("{STORE}/fill-inode-{n}")).is_ok() {
            n += 1;
        }
    }

    /// Mounts that file system again, read-only.
    pub fn make_disk_read_only(&self) {
        run("mount", &["-o", "remount,ro", STORE]);
    }

    /// Takes that file system off and mounts it again, so that only what reached the disk is left.
    pub fn remount(&self) {
        run("umount", &[STORE]);
        run("mount", &["-o", "loop", "/tmp/mfa-test-disk", STORE]);
    }

    fn make_store(&self) {
        folder(STORE, 0o700);
        folder(&format!("{STORE}/users"), 0o700);
        fs::write(format!("{STORE}/FORMAT"), "mfa-store 1\n").unwrap();
        fs::set_permissions(format!("{STORE}/FORMAT"), Permissions::from_mode(0o600)).unwrap();
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.mounted.get() {
            let _ = Command::new("umount").args(["--lazy", STORE]).status();
        }
    }
}

/// A clock for helpers: see `tests/clock`.
pub struct Clock(PathBuf);

impl Clock {
    /// A clock that stands at so many seconds since 1970.
    pub fn at(seconds: i64) -> Clock {
        let clock = Clock(numbered("/tmp/mfa-test-clock"));
        fs::write(&clock.0, seconds.to_ne_bytes()).unwrap();
        clock
    }

    /// Its file: 8 bytes, as `tests/clock` has them.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Sets it, for running helpers as well.
    pub fn set(&self, seconds: i64) {
        let mut file = OpenOptions::new().write(true).open(&self.0).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }
}

/// How the real helper is started.
#[derive(Clone, Default)]
#[must_use]
pub struct Helper {
    clock: Option<PathBuf>,
    strace: Option<String>,
}

impl Helper {
    /// As it is.
    pub fn real() -> Helper {
        Helper::default()
    }

    /// With a clock that the test sets.
    pub fn clock(mut self, clock: &Clock) -> Helper {
        self.clock = Some(clock.0.clone());
        self
    }

    /// Under strace with these options (`-o FILE -f`, `-e inject=fsync:error=EIO:when=1`). Without `-o` the trace is lost.
    pub fn strace(mut self, options: &str) -> Helper {
        self.strace = Some(options.to_owned());
        self
    }

    /// A file for `helper=`: the program itself, or a script that executes it with the same input and arguments.
    pub fn path(&self) -> PathBuf {
        let real = artifact("mfa-helper");
        if self.clock.is_none() && self.strace.is_none() {
            return real;
        }
        let mut line = String::from("exec ");
        if let Some(options) = &self.strace {
            line += &format!("/usr/bin/strace {options} ");
        }
        // Behind strace, so that only the helper has the clock.
        if let Some(clock) = &self.clock {
            let library = clock_library();
            let set = format!("LD_PRELOAD={} MFA_TEST_CLOCK={}", library.display(), clock.display());
            // strace sets them for its child itself: with env in between, env's system calls would be counted.
            if self.strace.is_some() {
                line += &set.split(' ').map(|assignment| format!("-E {assignment} ")).collect::<String>();
            } else {
                line = format!("{set} exec ");
            }
        }
        let script = numbered("/tmp/mfa-test-helper");
        let draft = script.with_extension("draft");
        fs::write(&draft, format!("#!/bin/sh\n{line}{} \"$@\"\n", real.display())).unwrap();
        make_program(&draft, script.to_str().unwrap());
        script
    }
}

/// A module under another name, where only root can have put it.
fn module(file: PathBuf, name: &str) -> String {
    let place = format!("/usr/lib/mfa-test/{name}");
    run("install", &["-D", "-m", "644", file.to_str().unwrap(), &place]);
    place
}

/// Copies a program, by a process of its own: a child that another test's thread starts meanwhile would hold a file open
/// for writing that we write, and executing it would fail as "text file busy".
fn make_program(from: &Path, to: &str) {
    run("install", &["-m", "755", from.to_str().unwrap(), to]);
}

/// Writes a policy file that nobody is just writing: one that was changed a moment ago is not believed yet.
fn settled(path: &str, text: &str) {
    fs::write(path, text).unwrap();
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

fn numbered(stem: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)).into()
}

fn folder(path: &str, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A lock between the tests, until it is dropped.
pub(crate) fn lock(path: &str) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    // SAFETY: plain call on a descriptor that lives.
    assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }, 0, "flock {path}");
    file
}
