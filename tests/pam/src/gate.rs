use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where hosts wait at their first prompt ([`Host::gate`](crate::Host::gate)), to be let go all at the same moment.
///
/// ```no_run
/// # let stage = pam_tests::Stage::new("auth required {mfa}");
/// let gate = pam_tests::Gate::closed();
/// let hosts: Vec<_> = (0..64).map(|_| stage.host().gate(&gate).steps(&["auth"]).start()).collect();
/// gate.await_hosts(64);
/// gate.open();
/// ```
pub struct Gate {
    /// Locked as long as the gate is closed. The kernel wakes all who wait for a lock at once.
    path: PathBuf,
    lock: File,
    /// A host sends a datagram when it has come.
    arrivals: UnixDatagram,
}

/// Who has not come by then has died on the way.
const PATIENCE: Duration = Duration::from_secs(60);

impl Gate {
    /// A gate that nobody passes yet.
    pub fn closed() -> Gate {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("gate-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from("/tmp").join(name);
        let lock = File::create_new(&path).unwrap();
        lock.lock().unwrap();
        let arrivals = UnixDatagram::bind(path.with_extension("arrivals")).unwrap();
        arrivals.set_read_timeout(Some(PATIENCE)).unwrap();
        Gate { path, lock, arrivals }
    }

    /// What a host is told of it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until so many more hosts are there.
    pub fn await_hosts(&self, count: usize) {
        for come in 0..count {
            let arrival = self.arrivals.recv(&mut [0]);
            assert!(arrival.is_ok(), "of {count} hosts {come} came to their prompt: {arrival:?}");
        }
    }

    /// Lets everybody go, and whoever comes until it is dropped.
    pub fn open(&self) {
        // A program that another test starts just now may hold the file open too: closing it would not be enough.
        self.lock.unlock().unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.lock.unlock();
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.path.with_extension("arrivals"));
    }
}
