//! Runs `mfa-enroll` with the helper of `examples/fake_helper.rs`: started by root, or behind the socket of a
//! service.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The program.
pub const MFA_ENROLL: &str = env!("CARGO_BIN_EXE_mfa-enroll");

/// The fake helper under the name that chooses its behavior. Only root starts a helper, and only root's service is
/// trusted; another helper or socket is accepted only in debug builds.
pub fn helper(behaviour: &str) -> PathBuf {
    assert!(nix::unistd::geteuid().is_root() && cfg!(debug_assertions), "needs root and a debug build: make unit");
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

/// A new empty folder that belongs to root up to `/`, until it is dropped: the build folder may be in a user's home.
pub struct RootsFolder(PathBuf);

impl RootsFolder {
    pub fn new() -> RootsFolder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mfa-enroll-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new("/run").join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        RootsFolder(folder)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for RootsFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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

/// A service of root's with the fake helper, for callers other than root.
pub struct Service {
    /// A folder from which everybody can use the socket and the program, until the service is dropped.
    folder: PathBuf,
}

impl Service {
    pub fn start(behaviour: &str) -> Service {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mfa-enroll-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let service = Service { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir(&service.folder).unwrap();
        std::fs::set_permissions(&service.folder, Permissions::from_mode(0o755)).unwrap();
        // Copied by another process: a child that another test's thread starts meanwhile would keep the file open.
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

    /// The command line of the user nobody, without a controlling terminal.
    pub fn mfa_enroll(&self, arguments: &[&str]) -> Command {
        self.mfa_enroll_at(&self.socket(), arguments)
    }

    /// As [`Service::mfa_enroll`], with another socket.
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

/// The public key of an ssh key on a security key.
pub const SSH_KEY: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcH\
                           BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo= blue";

/// A file with that key.
pub fn ssh_key_file() -> PathBuf {
    let file = folder().join("id.pub");
    std::fs::write(&file, SSH_KEY).unwrap();
    file
}

/// The blob of that key.
pub fn ssh_key_blob() -> Vec<u8> {
    mfa_ssh::Line::parse(SSH_KEY).unwrap().unwrap().key.to_blob()
}

/// How an ssh agent answers a request to sign.
#[derive(Clone, Copy)]
pub enum Signs {
    /// With the signature "signed".
    Yes,
    /// It refuses.
    No,
    /// It closes the connection.
    Never,
}

/// An ssh agent that holds these keys, at the returned socket. It signs only data in our namespace.
pub fn agent(keys: &[&[u8]], signs: Signs) -> PathBuf {
    let socket = folder().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut held = vec![12];
    held.extend((keys.len() as u32).to_be_bytes());
    for key in keys {
        put(&mut held, key);
        put(&mut held, b"a comment");
    }
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(request) = heard(&mut stream) {
                let ours = mfa_ssh::signed_data(&[0xff; 32], mfa_ssh::Hash::Sha512);
                let answer = match (request[0], signs) {
                    (11, _) => held.clone(),
                    (13, Signs::Yes) if request.windows(ours.len()).any(|part| part == ours) => {
                        let mut answer = vec![14];
                        put(&mut answer, b"signed");
                        answer
                    }
                    (13, Signs::Never) => break,
                    _ => vec![5],
                };
                let mut frame = Vec::new();
                put(&mut frame, &answer);
                stream.write_all(&frame).unwrap();
            }
        }
    });
    socket
}

fn heard(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn put(blob: &mut Vec<u8>, part: &[u8]) {
    blob.extend((part.len() as u32).to_be_bytes());
    blob.extend(part);
}
