//! A key that a test starts and leads.

use std::env;
use std::io::{BufRead, BufReader, Error, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::control::PATIENCE;

/// One virtual key, plugged in; dropped, it is unplugged and gone.
pub struct Key {
    process: Child,
    folder: PathBuf,
}

impl Key {
    /// A key on a pty. The options are those of `vkey`, such as `["--seed", "alice", "--pin", "1234"]`.
    pub fn start(options: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("vkey-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new(program());
        command.arg("--until-eof").arg("--control").arg(folder.join("control"));
        if !options.contains(&"--uhid") {
            command.arg("--pty").arg(folder.join("key"));
        }
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "the virtual key did not start");
        Self { process, folder }
    }

    /// The terminal that is the key at present.
    pub fn path(&self) -> PathBuf {
        std::fs::read_link(self.folder.join("key")).expect("it is plugged in")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.join("control")
    }

    /// Sends one command of the control socket and gives what follows `ok`.
    pub fn command(&self, command: &str) -> String {
        ask(&self.control(), command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// One number of `count`.
    pub fn count(&self, what: &str) -> u32 {
        let counts = self.command("count");
        let mut counts = counts.split(' ').filter_map(|count| count.split_once('='));
        counts.find(|(name, _)| *name == what).expect(what).1.parse().unwrap()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One command to a key's control socket.
pub fn ask(control: &Path, command: &str) -> Result<String, Error> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{command}")?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    match reply.trim_end().split_once(' ').unwrap_or((reply.trim_end(), "")) {
        ("ok", rest) => Ok(rest.to_owned()),
        (_, error) => Err(Error::other(error.to_owned())),
    }
}

/// `$VKEY`, or what `cargo build -p vkey` has left beside the test.
pub fn program() -> PathBuf {
    let built = || {
        let own = env::current_exe().unwrap();
        let deps =
            own.ancestors().find(|folder| folder.ends_with("deps")).expect("a test runs in cargo's build folder");
        deps.with_file_name("vkey")
    };
    let program = env::var_os("VKEY").map_or_else(built, PathBuf::from);
    assert!(program.exists(), "{} is missing: cargo build -p vkey", program.display());
    program
}
