//! A bound ssh key, asked through an ssh agent: OpenSSH's own, with the virtual security key; and what is none.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use pam_tests::{add_user, artifact, run};

const ASK: &str = env!("CARGO_BIN_EXE_ask-agent");

/// A folder that everybody may enter, with the virtual key's provider in it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for user in ["alice", "bob"] {
            add_user(user);
        }
        let place = Path::new("/run").join(format!("mfa-agent-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&place).unwrap();
        fs::copy(artifact("libvkey_sk.so"), place.join("libvkey_sk.so")).unwrap();
        let place = Place(place);
        for user in ["alice", "bob"] {
            let own = place.path(user);
            fs::create_dir(&own).unwrap();
            chown(&own, Some(id_of(user)), Some(id_of(user))).unwrap();
            fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A command of `user`'s, with the virtual key plugged in and the user's agent.
    fn of(&self, user: &str, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--init-groups", program]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("VKEY_CONTROL", self.path("vkey"));
        command.env("SSH_AUTH_SOCK", self.path(user).join("agent")).current_dir(self.path(user));
        command.env("SSH_SK_PROVIDER", self.path("libvkey_sk.so")).stdin(Stdio::null());
        command
    }

    /// A key of alice's: the file of its private part. That of the public one ends in `.pub`.
    fn key(&self, kind: &str) -> String {
        let file = self.text(&format!("alice/id-{kind}"));
        succeed(self.of("alice", "ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f", &file]));
        file
    }

    fn ssh_add(&self, arguments: &[&str]) {
        succeed(self.of("alice", "ssh-add").args(arguments));
    }

    /// Asks alice's agent for one of these keys, as her login would.
    fn ask(&self, keys: &[&str]) -> String {
        self.ask_at(&self.path("alice/agent"), keys)
    }

    fn ask_at(&self, socket: &Path, keys: &[&str]) -> String {
        Asking::start(&[], socket, 20_000, keys).end()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id_of(user: &str) -> u32 {
    run("id", &["-u", user]).trim().parse().unwrap()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A process, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The virtual key.
fn vkey(place: &Place) -> Running {
    let mut command = Command::new(artifact("vkey"));
    let mut child = command.arg("--control").arg(place.path("vkey")).stdout(Stdio::piped()).spawn().unwrap();
    await_line(&mut child);
    fs::set_permissions(place.path("vkey"), PermissionsExt::from_mode(0o666)).unwrap();
    Running(child)
}

fn order(place: &Place, what: &str) -> String {
    let mut control = UnixStream::connect(place.path("vkey")).unwrap();
    writeln!(control, "{what}").unwrap();
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("ok"), "{what}: {answer}");
    answer
}

/// OpenSSH's agent, run by `user`.
fn agent(place: &Place, user: &str) -> Running {
    let provider = place.text("libvkey_sk.so");
    let mut command = place.of(user, "ssh-agent");
    command.args(["-D", "-P", &provider, "-a"]).arg(place.path(user).join("agent"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    await_line(&mut child);
    Running(child)
}

/// Both say one when they are ready.
fn await_line(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "it did not start");
}

/// `ask-agent`, with somebody in front.
struct Asking(Child, Option<ChildStdin>);

impl Asking {
    fn start(under: &[&str], socket: &Path, within: u32, keys: &[&str]) -> Asking {
        let words: Vec<&str> = under.iter().copied().chain([ASK, "alice"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(socket).arg(within.to_string());
        command.args(keys.iter().map(|key| format!("{key}.pub")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let front = child.stdin.take();
        Asking(child, front)
    }

    fn go(&mut self) {
        self.1 = None;
    }

    /// What it says in the end.
    fn end(self) -> String {
        let output = self.0.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

const EMPTY: &str = "Your ssh agent shows no key here: ssh-add FILE, without -h; if locked, -X.\n";
const REFUSED: &str = "Your ssh agent did not sign: is the key plugged in, and was it touched?\n";
const NOT_YOURS: &str = "The ssh agent here is not yours: log in again by ssh -A.\n";
const GONE: &str = "Your ssh agent is gone: log in again by ssh -A.\n";

fn says(answer: &str, line: &str) {
    assert!(answer.starts_with(line), "{answer:?} instead of {line:?}");
}

#[test]
fn a_bound_key_signs_through_openssh_s_agent() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let key = place.key(kind);
        place.ssh_add(&[&key]);
        assert_eq!(place.ask(&[&key]), "signed 0\n", "{kind}");
    }
    let other = place.text("alice/id-ecdsa-sk");
    place.ssh_add(&["-d", &other]);
    for none in [&[&other[..]][..], &[]] {
        says(&place.ask(none), "Your ssh agent shows no key that is bound here: ssh-add FILE, without -h.\n");
    }
    assert_eq!(place.ask(&[&other, &place.text("alice/id-ed25519-sk")]), "signed 1\n");
}

/// ssh-add adds both, and can take the key alone away.
#[test]
fn a_certificate_signs_as_its_key_and_no_key_is_asked_twice() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    for kind in ["ed25519-sk", "ecdsa-sk"] {
        let (key, ca) = (place.key(kind), place.key("ed25519"));
        let public = format!("{key}.pub");
        succeed(place.of("alice", "ssh-keygen").args(["-q", "-s", &ca, "-I", "alice", "-n", "alice", &public]));
        place.ssh_add(&[&key]);
        let held = place.of("alice", "ssh-add").arg("-L").output().unwrap().stdout;
        assert_eq!(String::from_utf8(held).unwrap().lines().count(), 2, "{kind}");
        order(&place, "touch deny");
        let before = touches(&place);
        says(&place.ask(&[&key]), REFUSED);
        assert_eq!(touches(&place), before + 1, "{kind}");
        order(&place, "touch auto");
        // By the file of its public key alone, which has no certificate beside it.
        fs::copy(&public, place.path("alice/plain.pub")).unwrap();
        place.ssh_add(&["-d", &place.text("alice/plain.pub")]);
        let held = place.of("alice", "ssh-add").arg("-L").output().unwrap().stdout;
        assert!(String::from_utf8(held).unwrap().contains("-cert-v01@"), "{kind}");
        assert_eq!(place.ask(&[&key]), "signed 0\n", "{kind}");
        place.ssh_add(&["-D"]);
        fs::remove_file(&ca).unwrap();
    }
}

fn touches(place: &Place) -> u32 {
    let counts = order(place, "count");
    let count = counts.split_whitespace().find_map(|count| count.strip_prefix("touches="));
    count.unwrap().parse().unwrap()
}

#[test]
fn a_key_that_nobody_touches_or_that_is_not_there_signs_nothing() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    let key = place.key("ed25519-sk");
    place.ssh_add(&[&key]);
    order(&place, "touch wait");
    let late = Asking::start(&[], &place.path("alice/agent"), 300, &[&key]);
    says(&late.end(), "The key was not touched in time: try again.\n");
    let mut left = Asking::start(&[], &place.path("alice/agent"), 600_000, &[&key]);
    order(&place, "await touch");
    left.go();
    says(&left.end(), "Nobody waits for the key any more.\n");
}

#[test]
fn a_key_that_refuses_is_told_and_may_be_asked_again() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    let key = place.key("ed25519-sk");
    place.ssh_add(&[&key]);
    order(&place, "touch deny");
    says(&place.ask(&[&key]), REFUSED);
    order(&place, "touch auto");
    assert_eq!(place.ask(&[&key]), "signed 0\n");
}

#[test]
fn a_signature_without_a_touch_is_refused() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    let file = place.text("alice/id");
    let options = ["-q", "-t", "ed25519-sk", "-O", "no-touch-required", "-N", "", "-f", &file];
    succeed(place.of("alice", "ssh-keygen").args(options));
    place.ssh_add(&[&file]);
    order(&place, "touch auto");
    let answer = place.ask(&[&file]);
    says(&answer, "refused 0: ");
    assert!(answer.contains("not touched"), "{answer}");
}

#[test]
fn a_locked_or_an_empty_agent_is_told_how_to_be_helped() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    says(&place.ask(&[]), EMPTY);
    let key = place.key("ed25519-sk");
    place.ssh_add(&[&key]);
    let askpass = place.path("askpass");
    fs::write(&askpass, "#!/bin/sh\necho lock\n").unwrap();
    fs::set_permissions(&askpass, PermissionsExt::from_mode(0o755)).unwrap();
    let lock = |flag: &str| {
        let mut command = place.of("alice", "ssh-add");
        succeed(command.arg(flag).env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force"));
    };
    lock("-x");
    says(&place.ask(&[&key]), EMPTY);
    lock("-X");
    assert_eq!(place.ask(&[&key]), "signed 0\n");
}

#[test]
fn a_key_that_is_for_certain_hosts_only_is_told_so() {
    let place = Place::new();
    let (_key, _agent) = (vkey(&place), agent(&place, "alice"));
    let (key, host) = (place.key("ed25519-sk"), place.key("ed25519"));
    let known_hosts = place.text("known_hosts");
    let public = fs::read_to_string(format!("{host}.pub")).unwrap();
    fs::write(&known_hosts, format!("web1.example {public}")).unwrap();
    fs::set_permissions(&known_hosts, PermissionsExt::from_mode(0o644)).unwrap();
    place.ssh_add(&["-H", &known_hosts, "-h", "web1.example", &key]);
    says(&place.ask(&[&key]), REFUSED);
}

#[test]
fn an_agent_that_is_gone_is_told_so() {
    let place = Place::new();
    says(&place.ask(&[]), GONE);
    drop(UnixListener::bind(place.path("dead")).unwrap());
    fs::set_permissions(place.path("dead"), PermissionsExt::from_mode(0o666)).unwrap();
    fs::write(place.path("file"), "").unwrap();
    fs::set_permissions(place.path("file"), PermissionsExt::from_mode(0o666)).unwrap();
    for path in ["dead", "file", "alice"] {
        says(&place.ask_at(&place.path(path), &[]), GONE);
    }
}

#[test]
fn another_user_s_agent_is_never_asked() {
    let place = Place::new();
    let (_key, _alices, _bobs) = (vkey(&place), agent(&place, "alice"), agent(&place, "bob"));
    let bobs = place.path("bob/agent");
    says(&place.ask_at(&bobs, &[]), NOT_YOURS);
    // Bob lets everybody in, and alice's hint leads there by a link of hers.
    fs::set_permissions(place.path("bob"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&bobs, PermissionsExt::from_mode(0o777)).unwrap();
    symlink(&bobs, place.path("alice/link")).unwrap();
    for path in [&bobs, &place.path("alice/link")] {
        let answer = place.ask_at(path, &[]);
        says(&answer, NOT_YOURS);
        let why = format!("uid {} listens at the socket of uid {}", id_of("bob"), id_of("alice"));
        assert!(answer.contains(&why), "{answer}");
    }
}

#[test]
fn the_process_that_connects_is_the_user_s_with_the_user_s_groups() {
    let place = Place::new();
    run("groupadd", &["--force", "mfa-agents"]);
    run("usermod", &["--append", "--groups", "mfa-agents", "alice"]);
    let group: u32 = run("sh", &["-c", "getent group mfa-agents | cut -d: -f3"]).trim().parse().unwrap();
    let listens = |folder: &str, group: u32, mode: u32| {
        let folder = place.path(folder);
        fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("agent")).unwrap();
        fs::set_permissions(folder.join("agent"), PermissionsExt::from_mode(0o666)).unwrap();
        chown(&folder, Some(0), Some(group)).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
        listener
    };
    let _roots = listens("roots", 0, 0o750);
    says(&place.ask_at(&place.path("roots/agent"), &[]), NOT_YOURS);
    let groups = listens("groups", group, 0o750);
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = groups.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"\0\0\0\x05\x0c\0\0\0\0").unwrap();
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&stream);
        // SAFETY: a buffer of the size that is given.
        let got = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut length)
        };
        assert_eq!(got, 0);
        (peer.uid, peer.gid)
    });
    says(&place.ask_at(&place.path("groups/agent"), &[]), EMPTY);
    assert_eq!(answers.join().unwrap(), (id_of("alice"), id_of("alice")));
}

#[test]
fn where_nobody_can_become_the_user_nothing_is_connected() {
    let place = Place::new();
    let _agent = agent(&place, "alice");
    let confined = ["setpriv", "--bounding-set", "-setuid", "--inh-caps", "-setuid"];
    let answer = Asking::start(&confined, &place.path("alice/agent"), 20_000, &[]).end();
    assert!(answer.contains("no process could become \"alice\""), "{answer}");
}

#[test]
fn what_is_no_agent_is_given_up() {
    let place = Place::new();
    for (name, said, line) in [
        (
            "web",
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "What answers here is no ssh agent: log in again by ssh -A.\n",
        ),
        ("mute", b"", "Your ssh agent does not answer: log in again by ssh -A.\n"),
    ] {
        let listener = UnixListener::bind(place.path(name)).unwrap();
        fs::set_permissions(place.path(name), PermissionsExt::from_mode(0o666)).unwrap();
        let asking = Asking::start(&[], &place.path(name), 20_000, &[]);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(said).unwrap();
        says(&asking.end(), line);
    }
}
