//! The files of PAM's configuration on a real file system: which are read, which are refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod base;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use mfa_helper::stack::system_file;

/// A folder of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = Place(base::folder().join(format!("mfa-stack-{}-{name}", std::process::id())));
        let _ = fs::remove_dir_all(&place.0);
        for folder in ["", "pam.d", "authselect"] {
            fs::create_dir(place.path(folder)).unwrap();
            place.mode(folder, 0o755);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn write(&self, name: &str, text: &[u8]) {
        fs::write(self.path(name), text).unwrap();
        self.mode(name, 0o644);
    }

    fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(name)).unwrap();
    }

    fn read(&self, name: &str) -> Result<Option<String>, String> {
        system_file(self.path(name).to_str().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

#[test]
fn a_file_of_roots_is_read_and_a_missing_one_is_missing() {
    let place = Place::new("plain");
    place.write("pam.d/sshd", b"auth required pam_unix.so\n");
    assert_eq!(place.read("pam.d/sshd"), text("auth required pam_unix.so\n"));
    assert_eq!(place.read("pam.d/../pam.d/./sshd"), text("auth required pam_unix.so\n"));
    assert_eq!(place.read("pam.d/login"), Ok(None));
    assert_eq!(place.read("no.d/login"), Ok(None));
}

#[test]
fn links_of_roots_are_followed() {
    let place = Place::new("links");
    place.write("authselect/system-auth", b"auth\n");
    place.link("pam.d/system-auth", place.path("authselect/system-auth"));
    place.link("pam.d/relative", "../authselect/system-auth");
    place.link("pam.d/twice", "relative");
    place.link("folder", "pam.d");
    for name in ["pam.d/system-auth", "pam.d/relative", "pam.d/twice", "folder/twice"] {
        assert_eq!(place.read(name), text("auth\n"), "{name}");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_not_a_missing_file() {
    let place = Place::new("nowhere");
    place.link("pam.d/sshd", "../authselect/sshd");
    assert!(place.read("pam.d/sshd").is_err());
    place.link("pam.d/circle", "circle");
    assert!(place.read("pam.d/circle").unwrap_err().contains("too many symbolic links"));
}

/// Of a folder that is not ours it is not said how it should be: others may need it as it is.
fn told<'a>(step: &str, of_a_file: &'a str) -> &'a str {
    if step.contains('/') { of_a_file } else { "may be changed by others" }
}

#[test]
fn what_others_can_write_is_refused_on_every_step() {
    let place = Place::new("writable");
    place.write("authselect/system-auth", b"auth\n");
    place.link("pam.d/system-auth", place.path("authselect/system-auth"));
    for step in ["authselect/system-auth", "authselect", "pam.d"] {
        let before = fs::metadata(place.path(step)).unwrap().permissions().mode() & 0o777;
        for bits in [0o002, 0o020] {
            place.mode(step, before | bits);
            let why = place.read("pam.d/system-auth").unwrap_err();
            assert!(why.contains(told(step, "is open to others")), "{step} {bits:o}: {why}");
        }
        place.mode(step, before);
    }
    assert_eq!(place.read("pam.d/system-auth"), text("auth\n"));
}

#[test]
#[ignore = "needs root: make unit"]
fn what_is_somebody_elses_is_refused_on_every_step() {
    let place = Place::new("owned");
    place.write("authselect/system-auth", b"auth\n");
    place.link("pam.d/system-auth", place.path("authselect/system-auth"));
    for step in ["authselect/system-auth", "authselect", "pam.d"] {
        chown(place.path(step), Some(65_534), None).unwrap();
        let why = place.read("pam.d/system-auth").unwrap_err();
        assert!(why.contains(told(step, "belongs to uid 65534")), "{step}: {why}");
        chown(place.path(step), Some(0), None).unwrap();
    }
    assert_eq!(place.read("pam.d/system-auth"), text("auth\n"));
}

#[test]
fn what_is_no_text_file_is_refused() {
    let place = Place::new("kinds");
    fs::create_dir(place.path("pam.d/folder")).unwrap();
    nix::unistd::mkfifo(&place.path("pam.d/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    place.write("pam.d/long", &vec![b'#'; (1 << 18) + 1]);
    place.write("pam.d/latin", b"# caf\xe9\n");
    for name in ["folder", "fifo", "long", "latin", "latin/deeper"] {
        assert!(place.read(&format!("pam.d/{name}")).is_err(), "{name}");
    }
    assert!(system_file("/").is_err());
}
