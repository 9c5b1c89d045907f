//! `mfa-enroll` with the helper of `examples/fake_helper.rs`: started by root, or behind the socket of a service.

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

/// The fake helper under the name that makes it behave as wanted. Only root starts a helper, and only root's service is
/// believed; a debug build alone takes another helper or socket than the installed one.
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

/// A new empty folder of root's all the way, until it is dropped: the build folder may be in somebody's home.
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

/// A service of root's whose helper is the fake one, for who is not root.
pub struct Service {
    /// Where everybody can get at the socket and the program, until the service is dropped.
    folder: PathBuf,
}

impl Service {
    pub fn start(behaviour: &str) -> Service {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mfa-enroll-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let service = Service { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir(&service.folder).unwrap();
        std::fs::set_permissions(&service.folder, Permissions::from_mode(0o755)).unwrap();
        // By a process of its own: a child that another test's thread starts meanwhile would hold the file open.
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

    /// The user nobody's command line, without a controlling terminal.
    pub fn mfa_enroll(&self, arguments: &[&str]) -> Command {
        self.mfa_enroll_at(&self.socket(), arguments)
    }

    /// The same, at another socket.
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

/// That key as an agent knows it.
pub fn ssh_key_blob() -> Vec<u8> {
    mfa_ssh::Line::parse(SSH_KEY).unwrap().unwrap().key.to_blob()
}

/// What an ssh agent answers when it is asked to sign.
#[derive(Clone, Copy)]
pub enum Signs {
    /// "signed".
    Yes,
    /// It refuses.
    No,
    /// It hangs up.
    Never,
}

/// An ssh agent that holds these keys, at the socket that is returned. It accepts data in our namespace only.
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
