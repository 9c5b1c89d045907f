//! Floods at the sockets, with figures: `make flood`. Each attacker goes on while others log in ten times, and is ended
//! then. What is asserted here depends on how fast the machine is; who is charged and what is kept for whom is asserted in
//! the listener's own tests, on any machine.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mfa_wire::{Channel, FromHelper, Login, Request, ToHelper, greet};
use pam_tests::code::SUCCESS;
use pam_tests::{Bound, Helper, Listener, add_user, run};

const SOON: Duration = Duration::from_secs(10);
const LOGINS: usize = 10;

/// A process that floods until it is dropped, and at the latest for two minutes.
struct Attacker(Child);

impl Attacker {
    /// Runs Perl as this user.
    fn start(user: &str, script: &str) -> Attacker {
        let id = |what: &str| run("id", &[what, user]).trim().to_owned();
        let identity = [format!("--reuid={}", id("-u")), format!("--regid={}", id("-g"))];
        let script = format!(
            r#"$SIG{{PIPE}} = "IGNORE"; $| = 1; alarm 120; my $at = pack_sockaddr_un("{}");
               sub knock {{ socket(my $s, PF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0); connect($s, $at); $s }}
               print "go\n"; {script}"#,
            Listener::SOCKET
        );
        let mut command = Command::new("setpriv");
        command.args(identity).args(["--clear-groups", "perl", "-MSocket=:DEFAULT,SOCK_NONBLOCK", "-e", &script]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "go\n");
        Attacker(child)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A user whose processes verify, and root's logins that can only go by root's socket.
fn place() -> Bound {
    let bound = Bound::fresh("bystander");
    for user in ["mallory", "marvin"] {
        add_user(user);
    }
    fs::write("/etc/subuid", "mallory:200000:65536\n").unwrap();
    bound
        .system
        .service("door", "{first}\nauth required {module} stack=complete helper=/nowhere\naccount required {module}");
    bound
}

/// A listener of its own for each flood: nobody has spent anything of theirs yet.
fn fresh(bound: &Bound) -> Listener {
    Listener::start(&Helper::real().clock(&bound.clock))
}

/// How many of ten logins each get in, and how long the slowest takes.
fn measured(what: &str, bound: &mut Bound) {
    let uid = run("id", &["-u", "bystander"]).trim().to_owned();
    let (mut let_in, mut slowest) = ([0; 2], [Duration::ZERO; 2]);
    for _ in 0..LOGINS {
        for (n, identity) in [format!("--reuid={uid}"), String::from("--reuid=0")].iter().enumerate() {
            bound.advance(1);
            let host = bound.system.host("door").user("bystander").answer(&bound.code(0)).steps(&["auth"]);
            let begun = Instant::now();
            let code = host.under(&["setpriv", identity, "--clear-groups"]).run().code("auth");
            slowest[n] = slowest[n].max(begun.elapsed());
            let_in[n] += usize::from(code == SUCCESS);
        }
    }
    println!(
        "{what}: a user by the users' socket {} of {LOGINS} (slowest {} ms), root by its own {} of {LOGINS} (slowest {} ms)",
        let_in[0],
        slowest[0].as_millis(),
        let_in[1],
        slowest[1].as_millis()
    );
    assert_eq!(let_in, [LOGINS; 2], "{what}");
}

fn waits_at_a_prompt(user: &str) -> Channel {
    let mut channel = Channel::new(UnixStream::connect(Listener::SOCKET_OF_ROOT).unwrap());
    greet(&mut channel, SOON).unwrap();
    let login = Login { stack_complete: true, ..Login::at(user, "door") };
    channel.send(&ToHelper::Request(Request::Verify(login)).encode().unwrap(), SOON).unwrap();
    assert!(matches!(FromHelper::decode(&channel.receive(SOON).unwrap()).unwrap(), FromHelper::Ask { .. }));
    channel
}

#[test]
#[ignore = "figures: make flood"]
fn others_log_in_while_somebody_floods() {
    let mut bound = place();
    let listener = fresh(&bound);
    measured("nobody", &mut bound);
    drop(listener);

    let listener = fresh(&bound);
    let held: Vec<Channel> = (0..150).map(|_| waits_at_a_prompt("bystander")).collect();
    measured("150 of root's conversations at their prompts", &mut bound);
    drop((held, listener));

    let connect = "while (1) { knock() }";
    let listener = fresh(&bound);
    let attackers = [Attacker::start("mallory", connect), Attacker::start("mallory", connect)];
    measured("two processes of one user that connect and hang up", &mut bound);
    drop((attackers, listener));
    let listener = fresh(&bound);
    let attackers = ["mallory", "marvin"].map(|user| Attacker::start(user, connect));
    measured("two users that connect and hang up", &mut bound);
    drop((attackers, listener));

    let hold = "my @held; while (1) { push @held, knock(); @held = () if @held > 900 }";
    let listener = fresh(&bound);
    let attackers = ["mallory", "marvin"].map(|user| Attacker::start(user, hold));
    measured("two users that hold what they get", &mut bound);
    drop((attackers, listener));

    for (what, first) in [("subordinate uids of one user", 200_000), ("uids that nobody knows", 3_000_000_000_u32)] {
        // As root, because it takes any uid.
        let script = format!("my $n = 0; while (1) {{ $> = {first} + $n++ % 65536; my $s = knock(); $> = 0 }}");
        let listener = fresh(&bound);
        let attacker = Attacker::start("root", &script);
        measured(what, &mut bound);
        drop((attacker, listener));
    }
}
