//! What sshd demands of security keys, asked of the real one.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mfa_helper::factor::sshd::{Demands, what_sshd_demands};
use pam_tests::{add_user, require_sandbox, run};

/// `/etc/ssh`, of one test at a time.
static SETTINGS: Mutex<()> = Mutex::new(());

/// An sshd that listens, with one connection.
struct Sshd {
    listener: Child,
    _connection: BufReader<TcpStream>,
    _settings: MutexGuard<'static, ()>,
}

impl Sshd {
    fn start(settings: &str, arguments: &[&str]) -> Sshd {
        require_sandbox();
        let held = SETTINGS.lock().unwrap_or_else(PoisonError::into_inner);
        add_user("alice");
        fs::create_dir_all("/run/sshd").unwrap();
        run("ssh-keygen", &["-A"]);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        set(&format!("ListenAddress 127.0.0.1:{port}\n{settings}"));
        let listener = Command::new("/usr/sbin/sshd").arg("-D").args(arguments).spawn().unwrap();
        let mut sshd = Sshd { listener, _connection: connection(port), _settings: held };
        assert!(sshd.listener.try_wait().unwrap().is_none(), "sshd has ended");
        sshd
    }

    /// The process that serves the connection: it has said its first word.
    fn pid(&self) -> i32 {
        let listener = self.listener.id();
        let children = fs::read_to_string(format!("/proc/{listener}/task/{listener}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn demands(&self, user: &str, rhost: &str) -> Result<Demands, String> {
        what_sshd_demands(self.pid(), user, Some(rhost))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

fn set(settings: &str) {
    fs::write("/etc/ssh/sshd_config", settings).unwrap();
}

fn connection(port: u16) -> BufReader<TcpStream> {
    loop {
        // Until it listens; there is no event of that.
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut stream = BufReader::new(stream);
            let mut banner = String::new();
            stream.read_line(&mut banner).unwrap();
            assert!(banner.starts_with("SSH-2.0-"), "{banner}");
            return stream;
        }
        std::thread::yield_now();
    }
}

const NOTHING: Demands = Demands { touch: false, verify: false };
const TOUCH: Demands = Demands { touch: true, verify: false };
const BOTH: Demands = Demands { touch: true, verify: true };

#[test]
fn a_touch_is_demanded_where_sshd_says_so() {
    let sshd = Sshd::start("", &[]);
    assert_eq!(sshd.demands("alice", "192.0.2.7"), Ok(NOTHING));
    set("PubkeyAuthOptions touch-required\n");
    assert_eq!(sshd.demands("alice", "192.0.2.7"), Ok(TOUCH));
    set("PubkeyAuthOptions touch-required verify-required\n");
    assert_eq!(sshd.demands("alice", "2001:db8::7"), Ok(BOTH));
}

#[test]
fn a_match_is_judged_by_the_connection() {
    let sshd = Sshd::start("", &[]);
    set("PubkeyAuthOptions touch-required\nMatch User bob\n PubkeyAuthOptions none\n\
        Match Address 10.0.0.0/8\n PubkeyAuthOptions none\nMatch Group alice Host 192.0.2.8\n PubkeyAuthOptions verify-required\n");
    assert_eq!(sshd.demands("alice", "192.0.2.7"), Ok(TOUCH));
    assert_eq!(sshd.demands("bob", "192.0.2.7"), Ok(NOTHING));
    assert_eq!(sshd.demands("alice", "10.1.2.3"), Ok(NOTHING));
    assert_eq!(sshd.demands("alice", "192.0.2.8"), Ok(Demands { touch: false, verify: true }));
}

#[test]
fn whatever_is_unclear_about_sshd_is_an_error() {
    let sshd = Sshd::start("", &[]);
    let unclear = |why: &str, said: Result<Demands, String>| {
        assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{said:?} without {why:?}");
    };
    // sshd itself says nothing of this one.
    set("PubkeyAuthOptions touch-required\nMatch LocalAddress 127.0.0.1\n PubkeyAuthOptions none\n");
    unclear("sshd_config:2: Match depends on what is not known", sshd.demands("alice", "192.0.2.7"));
    set("PubkeyAuthOptions touch-requirred\n");
    unclear("exit status: 255", sshd.demands("alice", "192.0.2.7"));
    set("PubkeyAuthOptions touch-required\n");
    unclear("address of the client", sshd.demands("alice", "laptop.example"));
    unclear("cannot be told", what_sshd_demands(std::process::id() as i32, "alice", Some("192.0.2.7")));
    fs::remove_file("/etc/ssh/sshd_config").unwrap();
    unclear("sshd_config", sshd.demands("alice", "192.0.2.7"));
}

#[test]
fn an_sshd_with_settings_on_its_command_line_is_unclear() {
    let sshd = Sshd::start("PubkeyAuthOptions touch-required\n", &["-oPubkeyAuthOptions=none"]);
    let said = sshd.demands("alice", "192.0.2.7");
    assert!(said.as_ref().is_err_and(|said| said.contains("settings of its files alone")), "{said:?}");
}
