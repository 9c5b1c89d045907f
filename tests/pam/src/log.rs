use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Condvar, Mutex, OnceLock};

use crate::require_sandbox;

const SOCKET: &str = "/dev/log";

/// The system log, from the moment of [`Log::listen`] on.
pub struct Log {
    from: usize,
}

struct Collector {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    /// Starts to listen. The sandbox has no other log, and one process's tests share this one: look for lines by the
    /// name of the service or the user.
    pub fn listen() -> Log {
        Log { from: collector().lines.lock().unwrap().len() }
    }

    /// The lines so far, priority and time included (`<86>Nov 21 ... pam-host: pam_mfa(sshd:auth): ...`). A line that was
    /// written before this call is among them: the call sends a line of its own and waits for it.
    pub fn lines(&self) -> Vec<String> {
        let collector = collector();
        let marker = format!("marker {:?} {}", std::thread::current().id(), self.from);
        UnixDatagram::unbound().unwrap().send_to(marker.as_bytes(), SOCKET).unwrap();
        let mut lines = collector.lines.lock().unwrap();
        let seen = loop {
            if let Some(at) = lines[self.from..].iter().rposition(|line| *line == marker) {
                break self.from + at;
            }
            lines = collector.more.wait(lines).unwrap();
        };
        let lines_of_others = |line: &&String| !line.starts_with("marker ");
        let taken: Vec<String> = lines[self.from..seen].iter().filter(lines_of_others).cloned().collect();
        // The next call must wait for a marker of its own.
        lines[seen].push_str(" seen");
        taken
    }

    /// The lines that hold `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }
}

/// Makes the log before the first host runs: one that found none, and one later, would have a descriptor more.
pub(crate) fn be_there() {
    collector();
}

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| {
        require_sandbox();
        let _ = fs::remove_file(SOCKET);
        let socket = UnixDatagram::bind(SOCKET).unwrap();
        // As the real one: who is not root may write to it.
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
        let collector: &'static Collector =
            Box::leak(Box::new(Collector { lines: Mutex::new(Vec::new()), more: Condvar::new() }));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer) {
                let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
                collector.lines.lock().unwrap().push(line);
                collector.more.notify_all();
            }
        });
        collector
    })
}
