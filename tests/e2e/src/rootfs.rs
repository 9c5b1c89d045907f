//! Debian root file systems, made once and kept.

use std::{
    env, fs,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{need_root, tool};

/// The Debian that the tests run on: `$MFA_TEST_SUITE`, or else bookworm.
#[must_use]
pub fn suite() -> String {
    env::var("MFA_TEST_SUITE").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "bookworm".into())
}

/// What a machine has besides the essential packages.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,libpam-runtime,libpam-modules,\
    openssh-server,openssh-client,sudo,login,passwd,procps,cron,at,sshpass,strace";

/// Run once in a new root file system: a name, a host key that its own clients know, and no network.
const PREPARE: &str = "
    echo web1 >/etc/hostname
    printf '%s\\n' '127.0.0.1 localhost web1' '::1 localhost web1' >/etc/hosts
    for key in /etc/ssh/ssh_host_*_key.pub; do
        echo \"127.0.0.1,::1,localhost,web1 $(cut -d' ' -f1,2 $key)\"
    done >/etc/ssh/ssh_known_hosts
    systemctl mask apt-daily.timer apt-daily-upgrade.timer
    rm -f /etc/resolv.conf /etc/apt/sources.list /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
";

/// A root file system, as overlay layers that nobody writes to.
///
/// They live in `$MFA_TEST_CACHE`, or else `/var/cache/mfa-tests`; remove that folder to have them
/// made again.
#[derive(Debug)]
pub struct Rootfs {
    /// The topmost first.
    layers: Vec<PathBuf>,
    /// Locked (shared) as long as we use the layers, so that nobody tidies them away.
    _in_use: Vec<File>,
}

impl Rootfs {
    /// Debian `suite`, from the mirror that this host uses.
    #[must_use]
    pub fn debian(suite: &str) -> Self {
        Self::made_of(suite, PACKAGES, PREPARE)
    }

    /// The same with more packages (names with commas between them).
    #[must_use]
    pub fn debian_with(suite: &str, packages: &str) -> Self {
        Self::made_of(suite, &format!("{PACKAGES},{packages}"), PREPARE)
    }

    /// Debian `suite` with other packages: the essential ones, `packages` (names with commas between them), and what
    /// the shell script `prepare` makes of that.
    #[must_use]
    pub fn made_of(suite: &str, packages: &str, prepare: &str) -> Self {
        let name = format!("{suite}-{:016x}", fingerprint((packages, prepare)));
        let (layer, in_use) = kept(&cache(), &name, |folder| {
            let made = tool("mmdebstrap", "mmdebstrap")
                .args(["--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"])
                // A mirror may be a snapshot, with signatures that are good but old.
                .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
                .args(["--aptopt=Acquire::Languages \"none\"", &format!("--include={packages}"), suite])
                .args([folder, Path::new(&mirror())])
                .output();
            done(&format!("mmdebstrap {suite}, from the mirror {}", mirror()), made);
            done("preparing the root file system", chroot(folder, prepare).output());
        });
        Self { layers: vec![layer], _in_use: vec![in_use] }
    }

    /// This root file system with a package installed, by `dpkg` alone: what the package depends on
    /// must be there already (see `PACKAGES`). Units that it enables start at the next boot.
    #[must_use]
    pub fn with_deb(mut self, deb: &Path) -> Self {
        let content = fs::read(deb).unwrap_or_else(|error| panic!("{}: {error}", deb.display()));
        let base = self.layers[0].file_name().expect("a layer has a name").to_str().expect("and it is text");
        let name = format!("{base}+{:016x}", fingerprint(content));
        let (layer, in_use) = kept(&cache(), &name, |folder| {
            remove_unused_layers(folder.parent().expect("a layer is in the cache"));
            let script = r#"
                mkdir upper work root
                mount -t overlay overlay -o "lowerdir=$1,upperdir=upper,workdir=work" root
                mount -t proc proc root/proc
                mount --bind /dev root/dev
                cp -- "$2" root/package.deb
                DEBIAN_FRONTEND=noninteractive chroot root dpkg -i /package.deb
                rm root/package.deb
                umount root/dev root/proc root"#;
            let deb = fs::canonicalize(deb).expect("the package was read");
            let installed = tool("unshare", "util-linux")
                .args(["--mount", "sh", "-euc", script, "sh", &self.lowerdir()])
                .arg(deb)
                .current_dir(folder)
                .output();
            done("dpkg -i", installed);
        });
        self.layers.insert(0, layer.join("upper"));
        self._in_use.push(in_use);
        self
    }

    /// The layers as overlayfs wants them named.
    #[must_use]
    pub fn lowerdir(&self) -> String {
        let layers: Vec<_> = self.layers.iter().map(|layer| layer.to_str().expect("cache paths are text")).collect();
        layers.join(":")
    }
}

/// The package under test: `$MFA_DEB`, or else the newest that `make deb` left in `target/deb`.
#[must_use]
pub fn built_package() -> PathBuf {
    if let Some(deb) = env::var_os("MFA_DEB") {
        return deb.into();
    }
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("deb");
    let debs = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    debs.filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
        .unwrap_or_else(|| panic!("no package in {}: run `make deb`, or name one in $MFA_DEB", folder.display()))
}

/// Where root file systems are kept.
#[must_use]
pub fn cache() -> PathBuf {
    env::var_os("MFA_TEST_CACHE").unwrap_or_else(|| "/var/cache/mfa-tests".into()).into()
}

/// The folder `name` of the cache, made by `make` if it is not there. However many ask at once, it
/// is made once, and seen only when complete. It stays as long as the lock that comes with it.
pub fn kept(cache: &Path, name: &str, make: impl Fn(&Path)) -> (PathBuf, File) {
    need_root();
    fs::create_dir_all(cache).unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
    let folder = cache.join(name);
    let in_use = File::create(cache.join(format!("{name}.lock"))).expect("a lock in the cache");
    in_use.lock_shared().expect("flock");
    if folder.exists() {
        return (folder, in_use);
    }
    // A lock of its own: the other one is kept by whoever has the folder, and so by a machine that lives as long as
    // its process, for whose end another thread would wait in vain.
    let making = File::create(cache.join(format!("{name}.making"))).expect("a lock in the cache");
    making.lock().expect("flock");
    if !folder.exists() {
        let unfinished = cache.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).expect("what an interrupted run left");
        }
        fs::create_dir(&unfinished).expect("a new folder in the cache");
        make(&unfinished);
        fs::rename(&unfinished, &folder).expect("rename within the cache");
    }
    (folder, in_use)
}

/// Each new build of the package leaves a layer: drop those that no running test holds.
pub fn remove_unused_layers(cache: &Path) {
    for entry in fs::read_dir(cache).expect("the cache").flatten() {
        let lock = entry.path();
        let name = entry.file_name();
        let Some(layer) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
        // Held until the layer is gone: nobody may find half of it.
        let Ok(lock) = File::open(&lock) else { continue };
        if layer.contains('+') && lock.try_lock().is_ok() {
            // The lock file stays: whoever waits on it must not wait on a name that is gone. An interrupted run leaves
            // nothing that looks complete.
            let unfinished = cache.join(format!("{layer}.unfinished"));
            let _ = fs::rename(cache.join(layer), &unfinished).and_then(|()| fs::remove_dir_all(&unfinished));
        }
    }
}

/// The first source that apt has on this host.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut more: Vec<_> =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    more.sort();
    files.extend(more.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "list" || ext == "sources")));
    let text: String = files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    text.lines()
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .find_map(|line| line.split_whitespace().find(|word| word.contains(":/") && !word.contains('=')))
        .expect("apt on this host has a source (a `URIs:` or `deb` line), the mirror to install from")
        .to_owned()
}

fn chroot(root: &Path, script: &str) -> Command {
    let mut chroot = tool("chroot", "coreutils");
    chroot.arg(root).args(["sh", "-euc", script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    chroot
}

fn done(what: &str, output: std::io::Result<std::process::Output>) {
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{what}: {}\n{}", output.status, String::from_utf8_lossy(&text));
}

/// The same for the same content; what is kept is named after it.
pub fn fingerprint(content: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Barrier, mpsc},
        time::Duration,
    };

    use super::*;

    /// Each thread of a test may keep what it got for good.
    #[test]
    fn who_asks_while_another_makes_it_waits_for_no_more_than_that() {
        const THREADS: usize = 6;
        let cache = env::temp_dir().join(format!("mfa-test-cache-{}", std::process::id()));
        for round in 0..500 {
            let name = format!("layer-{round}");
            let at_once = Arc::new(Barrier::new(THREADS));
            let (got_it, got) = mpsc::channel();
            for _ in 0..THREADS {
                let (cache, name, at_once, got_it) = (cache.clone(), name.clone(), at_once.clone(), got_it.clone());
                std::thread::spawn(move || {
                    at_once.wait();
                    let kept = kept(&cache, &name, |folder| fs::create_dir(folder.join("once")).expect("it is new"));
                    got_it.send(kept).expect("the test waits");
                });
            }
            let all: Vec<_> = (0..THREADS).map_while(|_| got.recv_timeout(Duration::from_secs(20)).ok()).collect();
            assert_eq!(all.len(), THREADS, "round {round}: the others wait for ever");
        }
        fs::remove_dir_all(&cache).expect("the cache");
    }
}
