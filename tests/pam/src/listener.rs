use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::{Helper, run};

/// A helper that listens at the usual place, until it is dropped.
pub struct Listener(Child);

impl Listener {
    /// Where it listens.
    pub const SOCKET: &str = "/run/mfa/helper.sock";

    /// Starts it. From here on connections are taken, though they may wait.
    pub fn start(helper: &Helper) -> Listener {
        Listener::start_under(&[], helper)
    }

    /// Starts it as the last word of another command.
    pub fn start_under(command: &[&str], helper: &Helper) -> Listener {
        fs::create_dir_all("/run/mfa").unwrap();
        let _ = fs::remove_file(Self::SOCKET);
        let socket = UnixListener::bind(Self::SOCKET).unwrap();
        fs::set_permissions(Self::SOCKET, PermissionsExt::from_mode(0o666)).unwrap();
        let words: Vec<PathBuf> = command.iter().map(PathBuf::from).chain([helper.path()]).collect();
        let mut command = Command::new(&words[0]);
        let child = command.args(&words[1..]).env_clear().stdin(OwnedFd::from(socket)).spawn().unwrap();
        Listener(child)
    }

    /// Its process; of one that was started under another command, the process that this has become.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as systemd does. Its conversations go on.
    pub fn terminate(&mut self) {
        run("kill", &[&self.0.id().to_string()]);
        self.0.wait().unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(Self::SOCKET);
    }
}
