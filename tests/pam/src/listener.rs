use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Helper, run};

/// A helper that listens at the usual places, until it is dropped.
pub struct Listener(Child);

impl Listener {
    /// Where it listens for everybody.
    pub const SOCKET: &str = "/run/mfa/helper.sock";
    /// Where it listens for root.
    pub const SOCKET_OF_ROOT: &str = "/run/mfa/root.sock";

    /// Starts it. From here on connections are taken, though they may wait.
    pub fn start(helper: &Helper) -> Listener {
        Listener::start_under(&[], helper)
    }

    /// Starts it as the last word of another command. It is given both sockets, as systemd does (sd_listen_fds(3)).
    pub fn start_under(command: &[&str], helper: &Helper) -> Listener {
        let doors = [listening(Self::SOCKET, 0o666), listening(Self::SOCKET_OF_ROOT, 0o600)];
        let named = ["/bin/sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"", "sh"];
        let words: Vec<PathBuf> = command.iter().chain(&named).map(PathBuf::from).chain([helper.path()]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().stdin(Stdio::null());
        let [users, roots] = doors.each_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: system calls only, on plain data.
        unsafe {
            command.pre_exec(move || {
                // Out of the way first: either may have the number of the other.
                let (users, roots) = (libc::fcntl(users, libc::F_DUPFD, 10), libc::fcntl(roots, libc::F_DUPFD, 10));
                assert!(libc::dup2(users, 3) == 3 && libc::dup2(roots, 4) == 4);
                assert!(libc::close(users) == 0 && libc::close(roots) == 0);
                Ok(())
            });
        }
        Listener(command.spawn().unwrap())
    }

    /// Starts one that serves the users' socket alone, as its standard input: what any init can do.
    pub fn start_by_standard_input(helper: &Helper) -> Listener {
        let socket = listening(Self::SOCKET, 0o666);
        Listener(Command::new(helper.path()).env_clear().stdin(OwnedFd::from(socket)).spawn().unwrap())
    }

    /// Waits until it has tried what its conversations will have to do. It does that in a process that has the rights of a
    /// conversation for a moment, and that could be taken for one.
    #[allow(clippy::disallowed_methods, reason = "no event tells another process that a child was waited for")]
    pub fn await_its_trial(&self) {
        let pid = self.pid();
        let is_over = || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // cminflt (proc_pid_stat(5)) is above 0 once a child was waited for.
            let faults = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(8)).unwrap();
            children.is_empty() && faults != "0"
        };
        let begin = Instant::now();
        while !is_over() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the trial of the listener does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
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

fn listening(path: &str, mode: u32) -> UnixListener {
    fs::create_dir_all("/run/mfa").unwrap();
    let _ = fs::remove_file(path);
    let socket = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    socket
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(Self::SOCKET);
        let _ = fs::remove_file(Self::SOCKET_OF_ROOT);
    }
}
