//! The helper behind its socket: the same logins, whoever floods it, and without it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mfa_wire::{
    Broken, Channel, FromHelper, Hello, Login, Outcome, Request, Secret, ToHelper, VERSION, Verdict, greet,
};
use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, MAXTRIES, SUCCESS};
use pam_tests::{Bound, Helper, Listener, Log, System, add_user, run};

const SOCKET: &str = Listener::SOCKET;
const SOCKET_OF_ROOT: &str = Listener::SOCKET_OF_ROOT;
const SOON: Duration = Duration::from_secs(10);
const NOBODY: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];

fn listen(bound: &Bound) -> Listener {
    Listener::start(&Helper::real().clock(&bound.clock))
}

/// Logins that can only go by the socket: there is no helper to start.
fn by_socket_alone(bound: &Bound) {
    bound
        .system
        .service("door", "{first}\nauth required {module} stack=complete helper=/nowhere\naccount required {module}");
}

fn request(user: &str) -> Secret {
    let login = Login { stack_complete: true, ..Login::at(user, "door") };
    ToHelper::Request(Request::Verify(login)).encode().unwrap()
}

/// A conversation that waits at its prompt.
fn at_the_prompt(user: &str) -> Channel {
    let mut channel = Channel::new(UnixStream::connect(SOCKET).unwrap());
    greet(&mut channel, SOON).unwrap();
    channel.send(&request(user), SOON).unwrap();
    let asked = FromHelper::decode(&channel.receive(SOON).unwrap()).unwrap();
    assert!(matches!(asked, FromHelper::Ask { .. }));
    channel
}

fn answer(channel: &mut Channel, code: &str) -> Outcome {
    let frame = ToHelper::Answer(Secret::copy_of(code.as_bytes())).encode().unwrap();
    channel.send(&frame, SOON).unwrap();
    match FromHelper::decode(&channel.receive(SOON).unwrap()).unwrap() {
        FromHelper::Verdict(verdict) => verdict.outcome,
        _ => panic!("no verdict"),
    }
}

#[test]
fn a_code_is_good_once_over_socket_and_spawn_together() {
    let mut bound = Bound::fresh("socketed");
    let listener = listen(&bound);
    by_socket_alone(&bound);
    let code = bound.code(1);
    assert_eq!(bound.auth(&code), SUCCESS);
    assert_eq!(bound.auth(&code), AUTH_ERR);
    drop(listener);
    assert_eq!(bound.auth(&code), AUTHINFO_UNAVAIL, "there is no other helper, so this went by the socket");
    bound.system.service("door", "{first}\nauth required {module} stack=complete");
    assert_eq!(bound.auth(&code), AUTH_ERR, "used by the one way, refused by the other");
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
}

/// One auth phase by a process of `uid`.
fn auth_as(bound: &Bound, uid: &str, user: &str, answer: &str) -> i32 {
    let identity = [&format!("--reuid={uid}"), "--regid=65534", "--clear-groups"];
    let host = bound.system.host("door").user(user).answer(answer).steps(&["auth"]);
    host.under(&[&["setpriv"][..], &identity].concat()).run().code("auth")
}

fn uid_of(user: &str) -> String {
    run("id", &["-u", user]).trim().to_owned()
}

#[test]
fn a_users_own_process_may_verify_that_user_and_no_other() {
    let bound = Bound::fresh("locker");
    add_user("other");
    let _listener = listen(&bound);
    let (own, other) = (uid_of("locker"), uid_of("other"));
    let before = fs::read(bound.file("state")).unwrap();
    let log = Log::listen();
    assert_eq!(auth_as(&bound, &other, "locker", &bound.code(1)), AUTH_ERR);
    assert_eq!(auth_as(&bound, "65534", "locker", &bound.code(1)), AUTH_ERR);
    assert_eq!(before, fs::read(bound.file("state")).unwrap(), "another's code is not even looked at");
    let refused =
        format!("caller={other} verdict=refused reason=\"not allowed: Only root may do this for another user.\"");
    assert_eq!(log.lines_with(&refused).len(), 1, "{:?}", log.lines());
    assert_eq!(auth_as(&bound, &own, "locker", &bound.code(1)), SUCCESS);
    assert_eq!(auth_as(&bound, &own, "locker", &bound.code(1)), AUTH_ERR, "burnt");
    assert_eq!(bound.auth(&bound.code(1)), AUTH_ERR, "for everybody");
    let accepted = format!("caller={own} verdict=accepted reason=code");
    assert_eq!(log.lines_with(&accepted).len(), 1, "{:?}", log.lines());
}

#[test]
fn a_users_own_processes_cannot_lock_that_user_out() {
    let mut bound = Bound::fresh("hammered");
    let _listener = listen(&bound);
    let own = uid_of("hammered");
    for _ in 0..5 {
        assert_eq!(auth_as(&bound, &own, "hammered", "000000"), AUTH_ERR);
    }
    assert_eq!(auth_as(&bound, &own, "hammered", &bound.code(1)), MAXTRIES);
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "logins have a counter of their own");
    bound.advance(2);
    for _ in 0..5 {
        assert_eq!(bound.auth("000000"), AUTH_ERR);
    }
    assert_eq!(bound.auth(&bound.code(0)), MAXTRIES);
}

#[test]
fn a_uid_without_a_name_is_turned_away_before_hello_and_in_silence() {
    let bound = Bound::fresh("named");
    let _listener = listen(&bound);
    let log = Log::listen();
    assert_eq!(auth_as(&bound, "3999999999", "named", &bound.code(1)), AUTHINFO_UNAVAIL);
    assert_eq!(log.lines_with("mfa-helper[").len(), 0, "{:?}", log.lines());
}

#[test]
fn a_uid_that_comes_too_often_is_turned_away_and_fills_no_log() {
    let bound = Bound::fresh("often");
    let _listener = listen(&bound);
    let log = Log::listen();
    let script = r#"
        $SIG{PIPE} = "IGNORE";
        for (1..1000) {
            my $s = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock") or next;
            print $s "\0\0\0\1\x77";
            1 while sysread $s, my $byte, 1;
        }"#;
    assert!(as_nobody(script).wait().unwrap().success());
    let lines = log.lines_with("mfa-helper[").len();
    // 30 in a row, and one for each second that it took.
    assert!((30..100).contains(&lines), "{lines} lines");
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
}

/// Runs a few lines of Perl as somebody who is not root.
fn as_nobody(script: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(NOBODY).args(["perl", "-MIO::Socket::UNIX", "-e", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_helper_that_is_not_roots_is_not_believed() {
    let bound = Bound::fresh("fooled");
    let _ = fs::remove_file("/tmp/fake.sock");
    // Hello, and "accepted" to whatever is asked.
    let mut fake = as_nobody(
        r#"$| = 1; my $l = IO::Socket::UNIX->new(Local => "/tmp/fake.sock", Listen => 9) or die; print "ready\n";
           while (my $c = $l->accept) { syswrite $c, pack("H*", "00000003200101000000072" . "55ac39d170000"); sysread $c, my $x, 999 }"#,
    );
    let mut line = String::new();
    BufReader::new(fake.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let module = "{module} stack=complete socket=/tmp/fake.sock";
    bound.system.service("door", &format!("{{first}}\nauth required {module} helper=/nowhere"));
    assert_eq!(bound.auth("000000"), AUTHINFO_UNAVAIL);
    bound.system.service("door", &format!("{{first}}\nauth required {module}"));
    assert_eq!(bound.auth("000000"), AUTH_ERR, "root starts one of its own");
    fake.kill().unwrap();
    fake.wait().unwrap();
}

#[test]
fn who_floods_the_socket_keeps_nobody_else_out() {
    let mut bound = Bound::fresh("flooded");
    let _listener = listen(&bound);
    by_socket_alone(&bound);
    // Holds a thousand connections, some with garbage, some with half a frame.
    let mut flood = as_nobody(
        r#"$| = 1; $SIG{PIPE} = "IGNORE"; my @held; my $served = 0;
           for my $n (1..1000) {
               my $c = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock") or next;
               $served++ if sysread $c, my $x, 7;
               syswrite $c, ("\xff" x 40, "\0\0\1", "")[$n % 3];
               push @held, $c;
           }
           print "$served\n"; <STDIN>;"#,
    );
    let mut served = String::new();
    BufReader::new(flood.stdout.as_mut().unwrap()).read_line(&mut served).unwrap();
    // Garbage ends a conversation, so there is room again now and then; the quota is what is held at once.
    assert!(served.trim().parse::<u32>().unwrap() < 1000, "{served}");
    for _ in 0..10 {
        bound.advance(1);
        assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "root's callers have no quota");
    }
    flood.kill().unwrap();
    flood.wait().unwrap();
}

#[test]
fn one_uid_holds_eight_conversations_and_no_more() {
    let bound = Bound::fresh("quota");
    let _listener = listen(&bound);
    let mut holder = as_nobody(
        r#"$| = 1; $SIG{PIPE} = "IGNORE"; my @held; my $served = 0;
           for (1..20) { my $c = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock") or die; $served++ if sysread $c, my $x, 7; push @held, $c }
           print "$served\n"; <STDIN>;"#,
    );
    let mut served = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut served).unwrap();
    assert_eq!(served.trim(), "8");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_conversation_outlives_the_listener() {
    let bound = Bound::fresh("outlive");
    let mut listener = listen(&bound);
    let mut channel = at_the_prompt("outlive");
    listener.terminate();
    let refused = UnixStream::connect(SOCKET).err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "nobody listens any more");
    assert_eq!(answer(&mut channel, &bound.code(1)), Outcome::Accepted);
    assert_eq!(bound.auth(&bound.code(1)), AUTH_ERR, "burnt");
}

#[test]
fn a_conversation_that_dies_is_alone_in_that() {
    let mut bound = Bound::fresh("alone");
    let _listener = listen(&bound);
    by_socket_alone(&bound);
    for bytes in [&b""[..], b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01\x77", b"\0\0\0\x03\x10\x09\x01"] {
        let mut stream = UnixStream::connect(SOCKET).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0, 0, 0, 3, 0x20, 1, 1], "Hello, and nothing after it");
        bound.advance(1);
        assert_eq!(bound.auth(&bound.code(0)), SUCCESS);
    }
}

#[test]
fn a_socket_that_nobody_serves_does_not_keep_root_out() {
    let mut bound = Bound::fresh("unlistened");
    fs::create_dir_all("/run/mfa").unwrap();
    let _ = fs::remove_file(SOCKET_OF_ROOT);
    let socket = UnixListener::bind(SOCKET_OF_ROOT).unwrap();
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "accepted by nobody, so no Hello");
    // The request waits in it. A helper that accepts it now says Hello before it reads, and cannot any more.
    let mut late = Channel::new(socket.accept().unwrap().0);
    let hello = FromHelper::Hello(Hello { oldest: VERSION, newest: VERSION }).encode().unwrap();
    assert_eq!(late.send(&hello, SOON), Err(Broken::Closed));
    assert!(matches!(ToHelper::decode(&late.receive(SOON).unwrap()), Ok(ToHelper::Request(Request::Verify(_)))));
    assert_eq!(late.receive(SOON).err(), Some(Broken::Closed));
    let waiting = UnixStream::connect(SOCKET_OF_ROOT).unwrap();
    // That connection waits to be accepted, and there is room for one: connecting must not wait.
    // SAFETY: plain numbers; a socket that listens may be told so again.
    assert_eq!(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), 0) }, 0);
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "a full queue");
    drop((socket, waiting));
    bound.advance(1);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "a file that nobody listens at");
    fs::remove_file(SOCKET_OF_ROOT).unwrap();
    fs::write(SOCKET_OF_ROOT, "").unwrap();
    bound.advance(1);
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "no socket at all");
    fs::remove_file(SOCKET_OF_ROOT).unwrap();
}

/// No user can stand in front of root: what fills the users' queue, or takes their socket away, is nothing to root's
/// callers, and the users' socket is nothing that root goes to.
#[test]
fn root_is_served_at_its_own_socket_and_goes_to_no_other() {
    let mut bound = Bound::fresh("rooted");
    let _listener = listen(&bound);
    by_socket_alone(&bound);
    assert_eq!(fs::metadata(SOCKET_OF_ROOT).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(SOCKET, "/run/mfa/elsewhere").unwrap();
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS, "the users' socket is not needed");
    assert_eq!(
        auth_as(&bound, &uid_of("rooted"), "rooted", &bound.code(1)),
        AUTHINFO_UNAVAIL,
        "nor is this one theirs"
    );
    fs::rename("/run/mfa/elsewhere", SOCKET).unwrap();
    fs::rename(SOCKET_OF_ROOT, "/run/mfa/elsewhere").unwrap();
    bound.advance(2);
    assert_eq!(bound.auth(&bound.code(0)), AUTHINFO_UNAVAIL, "and theirs is not root's");
    let module = format!("{{module}} helper=/nowhere stack=complete socket={SOCKET}");
    bound.system.service("door", &format!("{{first}}\nauth required {module}"));
    assert_eq!(bound.auth(&bound.code(0)), SUCCESS, "unless its line says so");
    fs::rename("/run/mfa/elsewhere", SOCKET_OF_ROOT).unwrap();
}

/// By any init that knows nothing of systemd, and by what is left of a service from before there were two sockets.
#[test]
fn a_socket_as_standard_input_is_served() {
    let bound = Bound::fresh("plain");
    let _listener = Listener::start_by_standard_input(&Helper::real().clock(&bound.clock));
    assert_eq!(auth_as(&bound, &uid_of("plain"), "plain", &bound.code(1)), SUCCESS);
    assert_eq!(bound.auth(&bound.code(1)), AUTH_ERR, "root has started one of its own");
}

/// Whether a helper that finds this in its environment, and this socket as descriptor 3, serves who waits there.
fn serves(words: &str, socket: OwnedFd, mut waiting: Channel) -> bool {
    let script = format!("{words} exec \"$@\" 3<&0 </dev/null");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(Helper::real().path()).stdin(socket);
    let mut helper = command.spawn().unwrap();
    // What is left of the socket is the helper's: who waits in vain is hung up on when that ends.
    drop(command);
    let greeted = greet(&mut waiting, SOON).is_ok();
    let _ = helper.kill();
    helper.wait().unwrap();
    greeted
}

/// What systemd says it hands over counts for the process that it says it to, and for sockets that listen.
#[test]
fn words_of_systemd_that_are_for_others_or_about_nothing_are_no_sockets() {
    const PLACE: &str = "/tmp/mfa-handed-over.sock";
    let _system = System::fresh();
    for (words, served) in [
        ("LISTEN_PID=$$ LISTEN_FDS=1", true),
        ("LISTEN_PID=1 LISTEN_FDS=1", false),
        ("LISTEN_FDS=1", false),
        ("LISTEN_PID=$$ LISTEN_FDS=0", false),
        ("LISTEN_PID=$$ LISTEN_FDS=x", false),
        ("LISTEN_PID=$$", false),
    ] {
        let _ = fs::remove_file(PLACE);
        let listener = UnixListener::bind(PLACE).unwrap();
        let waiting = Channel::new(UnixStream::connect(PLACE).unwrap());
        assert_eq!(serves(words, listener.into(), waiting), served, "{words}");
    }
    // One end of a conversation listens to nobody.
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(!serves("LISTEN_PID=$$ LISTEN_FDS=1", theirs.into(), Channel::new(ours)));
}

/// Nobody but root has another way, so a queue that is full is one to stand in, for a while.
#[test]
fn who_is_not_root_stands_in_a_queue_that_is_full() {
    let bound = Bound::fresh("queued");
    fs::create_dir_all("/run/mfa").unwrap();
    let _ = fs::remove_file(SOCKET);
    let socket = UnixListener::bind(SOCKET).unwrap();
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
    // SAFETY: plain numbers; a socket that listens may be told so again.
    assert_eq!(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), 0) }, 0);
    let _first = UnixStream::connect(SOCKET).unwrap();
    assert_eq!(auth_as(&bound, &uid_of("queued"), "queued", "000000"), AUTHINFO_UNAVAIL, "but not for ever");

    let identity = [&format!("--reuid={}", uid_of("queued")), "--regid=65534", "--clear-groups"];
    let host = bound.system.host("door").user("queued").answer("000000").steps(&["auth"]);
    let host = host.under(&[&["setpriv"][..], &identity].concat()).start();
    let syscall = format!("/proc/{}/syscall", host.pid());
    // The first number is that of the call that it waits in.
    let waits_in = |call: libc::c_long| fs::read_to_string(&syscall).unwrap().starts_with(&format!("{call} "));
    while !waits_in(libc::SYS_connect) {
        std::thread::yield_now();
    }
    let (_first, _) = socket.accept().unwrap();
    let (stream, _) = socket.accept().unwrap();
    let mut channel = Channel::new(stream);
    let hello = FromHelper::Hello(Hello { oldest: VERSION, newest: VERSION });
    channel.send(&hello.encode().unwrap(), SOON).unwrap();
    channel.receive(SOON).unwrap();
    let verdict = FromHelper::Verdict(Verdict { outcome: Outcome::Accepted, text: String::new() });
    channel.send(&verdict.encode().unwrap(), SOON).unwrap();
    assert_eq!(host.report().code("auth"), SUCCESS);
    fs::remove_file(SOCKET).unwrap();
}

/// A process may be gone when it has heard a word, and another have its number: so everything that /proc says of it is
/// read before.
#[test]
fn nothing_is_read_of_a_caller_after_it_has_been_greeted() {
    const TRACE: &str = "/tmp/socket-trace";
    let bound = Bound::fresh("placed");
    let policy = "[[rule]]\nname = \"all\"\nrequire = \"if-bound\"\nremember = \"1h\"\n";
    bound.system.config(policy);
    let strace = ["strace", "-f", "-o", TRACE, "-e", "trace=openat,sendto,write"];
    let listener = Listener::start_under(&strace, &Helper::real().clock(&bound.clock));
    assert_eq!(auth_as(&bound, &uid_of("placed"), "placed", &bound.code(1)), SUCCESS);
    drop(listener);
    let trace = fs::read_to_string(TRACE).unwrap();
    let is_hello = |line: &&str| line.contains(r#"\3 \1\1", 7"#);
    // Of the process that has greeted: the listener's own trial reads about itself at the same time.
    let greeter =
        trace.lines().find(is_hello).and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("{trace}"));
    let lines: Vec<&str> = trace.lines().filter(|line| line.split(' ').next() == Some(greeter)).collect();
    let hello = lines.iter().position(is_hello).unwrap();
    let of_a_caller =
        |line: &&&str| line.split("/proc/").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    assert!(lines[..hello].iter().filter(of_a_caller).count() >= 2, "{trace}");
    assert_eq!(lines[hello..].iter().filter(of_a_caller).count(), 0, "{trace}");
}

/// Uids without a name, and those that a user may take by /etc/subuid, keep nobody from being served.
#[test]
fn thousands_of_uids_without_a_name_keep_nobody_out() {
    let mut bound = Bound::fresh("served");
    add_user("owner");
    fs::write("/etc/subuid", "owner:200000:65536\n").unwrap();
    let _listener = listen(&bound);
    for first in [200_000, 3_000_000_000_u32] {
        // As root, to take any uid.
        let script = r#"$SIG{PIPE} = "IGNORE"; $| = 1;
            for my $n (1..2000) {
                $> = $ARGV[0] + $n;
                my $s = IO::Socket::UNIX->new(Peer => "/run/mfa/helper.sock");
                $> = 0;
                print "go\n" if $n == 200;
                sysread $s, my $byte, 1 if $s;
            }"#;
        let mut flood = Command::new("perl");
        let flood = flood.args(["-MIO::Socket::UNIX", "-e", script, &first.to_string()]).stdout(Stdio::piped());
        let mut flood = flood.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(flood.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "go\n");
        for _ in 0..10 {
            bound.advance(1);
            assert_eq!(auth_as(&bound, &uid_of("served"), "served", &bound.code(0)), SUCCESS, "{first}");
        }
        assert!(flood.wait().unwrap().success());
    }
}
