//! What a machine starts from, made once and kept with the root file systems.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use e2e::{Rootfs, fingerprint, kept};

use crate::{Machine, machine::qemu_version, tool};

const SUITE: &str = "bookworm";

/// What the machine has besides the essential packages: what people log in by, what reads security keys, a kernel, and
/// an initramfs so small that emulated booting is no burden.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,libpam-systemd,libpam-runtime,libpam-modules,openssh-server,\
    openssh-client,sudo,login,passwd,util-linux,procps,libfido2-1,fido2-tools,libpam-u2f,\
    linux-image-cloud-amd64,tiny-initramfs,kmod";

/// Programs of ours in there, and their names.
const PROGRAMS: [(&str, &str); 4] = [
    ("/usr/local/sbin/mfa-test-agent", include_str!("guest/agent")),
    ("/usr/local/sbin/mfa-test-say", include_str!("guest/say")),
    ("/usr/local/sbin/mfa-test-look", include_str!("guest/look")),
    ("/etc/systemd/system/mfa-test-agent.service", include_str!("guest/agent.service")),
];

/// A disk, and where it is locked so that nobody tidies it away.
#[derive(Debug)]
pub(crate) struct Image {
    pub folder: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    _in_use: Vec<File>,
}

impl Image {
    /// Debian with a kernel; never booted.
    pub fn debian() -> Self {
        let mut prepare = String::new();
        for (path, text) in PROGRAMS {
            prepare += &format!("cat >{path} <<'.'\n{text}.\n");
        }
        prepare += "chmod 0755 /usr/local/sbin/*\n";
        prepare += include_str!("guest/prepare");
        let name = format!("{SUITE}-vm-{:016x}", fingerprint((PACKAGES, &prepare)));
        let (folder, in_use) = kept(&e2e::cache(), &name, |folder| {
            let root = Rootfs::made_of(SUITE, PACKAGES, &prepare);
            let root = Path::new(&root.lowerdir()).to_owned();
            for file in ["vmlinuz", "initrd"] {
                std::fs::copy(root.join("boot").join(file), folder.join(file)).expect("the kernel of a machine");
            }
            let disk = folder.join("disk");
            File::create(&disk).and_then(|file| file.set_len(2 << 30)).expect("a file in the cache");
            // No journal: a machine that is cut off is thrown away.
            let made = tool("mke2fs", "e2fsprogs")
                .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
                .arg(root)
                .arg(disk)
                .output();
            let made = made.expect("mke2fs");
            assert!(made.status.success(), "mke2fs: {}", String::from_utf8_lossy(&made.stderr));
        });
        Self { kernel: folder.join("vmlinuz"), initrd: folder.join("initrd"), folder, _in_use: vec![in_use] }
    }

    /// The same, booted, with the package and a virtual security key installed in it by `install`, at this moment.
    pub fn installed(deb: &Path, vkey: &Path, install: impl Fn(&Machine)) -> Self {
        let base = Self::debian();
        let content = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let what = (content(deb), content(vkey), qemu_version(), include_str!("machine.rs"));
        let base_name = base.folder.file_name().expect("it has a name").to_str().expect("and it is text");
        let name = format!("{base_name}+{:016x}", fingerprint(what));
        let (folder, in_use) = kept(&e2e::cache(), &name, |folder| {
            e2e::remove_unused_layers(&e2e::cache());
            let machine = Machine::cold(&base, folder);
            install(&machine);
            machine.freeze(folder);
        });
        let mut locks = base._in_use;
        locks.push(in_use);
        Self { folder, kernel: base.kernel, initrd: base.initrd, _in_use: locks }
    }
}
