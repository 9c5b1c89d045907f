//! The payer of a connection at the users' socket. The kernel tells the uid, but one person may have many uids.
//!
//! Without this, an owner of subordinate uids (subuid(5)) would be 65536 callers, each with its own quota. The name
//! service is not used here, because the listener must not wait for it. This uses two files of root's, the kernel,
//! and the uids that have completed a conversation before.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::caller::Caller;
use crate::session;

/// The holder of one quota and one rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    /// Root. Root's programs speak for other users.
    Root,
    /// This user.
    User(u32),
    /// An owner of subordinate uids who is not in /etc/passwd, or who is root, as with containers that root starts.
    Owner(String),
    /// All uids whose owner is not known, together.
    Strangers,
}

/// The payer, and whether the caller is known to have a name. Without a name it cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub struct Charge {
    /// The payer.
    pub payer: Payer,
    /// Whether this uid has a name.
    pub named: bool,
}

/// The known facts about uids.
pub struct Accounts {
    passwd: Watched<Users>,
    subuid: Watched<Vec<Range>>,
    /// Uids that have completed a conversation, which needs a name.
    served: HashSet<u32>,
}

/// The most such uids that are remembered: enough for the users of a large directory.
const SERVED: usize = 1 << 16;

/// The most that is read of either file.
const LIMIT: u64 = 32 << 20;

impl Accounts {
    /// Uses the files of this host.
    pub fn of_this_host() -> Accounts {
        Accounts::at("/etc/passwd", "/etc/subuid")
    }

    /// Uses these two files.
    pub fn at(passwd: &str, subuid: &str) -> Accounts {
        Accounts {
            passwd: Watched::new(passwd, read_passwd),
            subuid: Watched::new(subuid, read_subuid),
            served: HashSet::new(),
        }
    }

    /// Remembers that this uid has a name, because its conversation has completed.
    pub fn has_been_served(&mut self, uid: u32) {
        if self.served.len() >= SERVED {
            self.served.clear();
        }
        self.served.insert(uid);
    }

    /// The payer for a connection of this caller, who is not root.
    pub fn charge(&mut self, caller: Caller) -> Charge {
        let users = self.passwd.now();
        let known = |uid: u32| uid != 0 && users.uids.contains(&uid);
        // Before subordinate uids: some sites give users of a directory uids from the range that useradd uses for
        // those.
        if known(caller.uid) || self.served.contains(&caller.uid) {
            return Charge { payer: Payer::User(caller.uid), named: true };
        }
        if let Some(range) = self.subuid.now().iter().find(|range| range.holds(caller.uid)) {
            let owner = users.by_name.get(&range.owner).copied().or_else(|| range.owner.parse().ok());
            let payer = owner.filter(|uid| *uid != 0).map_or_else(|| Payer::Owner(range.owner.clone()), Payer::User);
            return Charge { payer, named: false };
        }
        // A container's uid, or a directory's user who connects for the first time; the latter has a session, and so a
        // slice.
        let owner = session::owner_of_namespace(caller.pid, known).or_else(|| session::owner_of_slice(caller.pid));
        Charge { payer: owner.filter(|uid| *uid != 0).map_or(Payer::Strangers, Payer::User), named: false }
    }
}

/// Subordinate uids.
struct Range {
    owner: String,
    first: u32,
    count: u32,
}

impl Range {
    fn holds(&self, uid: u32) -> bool {
        uid.checked_sub(self.first).is_some_and(|nth| nth < self.count)
    }
}

fn read_subuid(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.trim_end().split(':');
        let (owner, first, count) =
            (fields.next()?.to_owned(), fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Range { owner, first, count })
    };
    text.lines().filter_map(range).collect()
}

/// The users in /etc/passwd.
struct Users {
    by_name: HashMap<String, u32>,
    uids: HashSet<u32>,
}

fn read_passwd(text: &str) -> Users {
    let user = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    let by_name: HashMap<String, u32> = text.lines().filter_map(user).collect();
    let uids = by_name.values().copied().collect();
    Users { by_name, uids }
}

/// A file of root's that is read again after each change.
struct Watched<T> {
    path: PathBuf,
    read: fn(&str) -> T,
    stamp: Option<(u64, u64, u64, i64, i64)>,
    value: T,
}

impl<T> Watched<T> {
    fn new(path: &str, read: fn(&str) -> T) -> Watched<T> {
        Watched { path: path.into(), read, stamp: None, value: read("") }
    }

    /// The content now; empty if the file does not exist.
    fn now(&mut self) -> &T {
        let stamp = fs::metadata(&self.path).ok();
        let stamp = stamp.map(|file| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        if stamp != self.stamp {
            let mut bytes = Vec::new();
            // If it cannot be read to its end, the part that was read counts.
            let _ = File::open(&self.path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
            self.value = (self.read)(&String::from_utf8_lossy(&bytes));
            self.stamp = stamp;
        }
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Two files in a folder, which is removed when this is dropped.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn accounts(passwd: &str, subuid: &str) -> (Folder, Accounts) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = Folder(Path::new("/tmp").join(format!("mfa-payer-{}-{number}", std::process::id())));
        fs::create_dir_all(&dir.0).unwrap();
        let (at_passwd, at_subuid) = (dir.0.join("passwd"), dir.0.join("subuid"));
        fs::write(&at_passwd, passwd).unwrap();
        fs::write(&at_subuid, subuid).unwrap();
        let accounts = Accounts::at(at_passwd.to_str().unwrap(), at_subuid.to_str().unwrap());
        (dir, accounts)
    }

    /// With the pid of no process, so that only the uid counts.
    fn charged(accounts: &mut Accounts, uid: u32) -> (Payer, bool) {
        let charge = accounts.charge(Caller { uid, pid: 0 });
        (charge.payer, charge.named)
    }

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001:::\n";

    #[test]
    fn whoever_has_a_name_pays_for_themselves() {
        let (_dir, mut accounts) = accounts(PASSWD, "alice:1001:10\n");
        assert_eq!(charged(&mut accounts, 1000), (Payer::User(1000), true));
        assert_eq!(charged(&mut accounts, 1001), (Payer::User(1001), true), "though another may have this uid too");
    }

    #[test]
    fn a_subordinate_uid_is_paid_for_by_its_owner() {
        let subuid =
            "alice:100000:65536\n1001:200000:65536\nldap:300000:10\nroot:400000:10\nbob:4294967290:4294967295\n";
        let (_dir, mut accounts) = accounts(PASSWD, subuid);
        for (uid, payer) in [
            (99_999, Payer::Strangers),
            (100_000, Payer::User(1000)),
            (165_535, Payer::User(1000)),
            (165_536, Payer::Strangers),
            (200_001, Payer::User(1001)),
            (300_009, Payer::Owner("ldap".into())),
            (400_000, Payer::Owner("root".into())),
            (u32::MAX - 1, Payer::User(1001)),
        ] {
            assert_eq!(charged(&mut accounts, uid), (payer, false), "{uid}");
        }
        accounts.has_been_served(100_000);
        assert_eq!(charged(&mut accounts, 100_000), (Payer::User(100_000), true), "a directory's user in that range");
    }

    #[test]
    fn all_without_a_name_and_without_an_owner_pay_together_until_they_have_been_served() {
        let (_dir, mut accounts) = accounts(PASSWD, "alice:100000:65536\n");
        for uid in [5000, 5001, 4_000_000_000] {
            assert_eq!(charged(&mut accounts, uid), (Payer::Strangers, false));
        }
        accounts.has_been_served(5000);
        assert_eq!(charged(&mut accounts, 5000), (Payer::User(5000), true));
        assert_eq!(charged(&mut accounts, 5001), (Payer::Strangers, false));
        for uid in 0..2 * SERVED as u32 {
            accounts.has_been_served(10_000 + uid);
        }
        assert!(accounts.served.len() <= SERVED);
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_is_missing_says_nothing() {
        let (dir, mut accounts) = accounts(PASSWD, "");
        assert_eq!(charged(&mut accounts, 100_000), (Payer::Strangers, false));
        fs::write(dir.0.join("subuid"), "# of old\nnonsense\nalice:x:1\nalice:100000:65536\n").unwrap();
        assert_eq!(charged(&mut accounts, 100_000), (Payer::User(1000), false));
        fs::remove_file(dir.0.join("subuid")).unwrap();
        fs::remove_file(dir.0.join("passwd")).unwrap();
        assert_eq!(charged(&mut accounts, 100_000), (Payer::Strangers, false));
        assert_eq!(charged(&mut accounts, 1000), (Payer::Strangers, false));
    }
}
