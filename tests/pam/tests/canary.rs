//! Where a secret must never be: the code that is typed, the key of the device, the password. They are looked for in the
//! memory of the host, in the log, in what is executed, in what the helper writes, and in what it leaves when it dies.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, SUCCESS};
use pam_tests::{Bound, Gate, Helper, Host, Listener, Log, PASSWORD, Report, Running, masked, run};

const TRACE: &str = "/tmp/canary-trace";

/// All that a strace writes to `TRACE`: the pipe ends when strace has.
struct Trace(JoinHandle<String>);

impl Trace {
    fn record() -> Trace {
        let _ = fs::remove_file(TRACE);
        run("mkfifo", &[TRACE]);
        Trace(std::thread::spawn(|| fs::read_to_string(TRACE).unwrap()))
    }

    fn end(self) -> String {
        self.0.join().unwrap()
    }
}

/// The stack of a login that asks for the password first.
fn password_then_code(bound: &Bound, arguments: &str) {
    let module = format!("{{module}} stack=complete debug {arguments}");
    let stack = format!("auth requisite pam_unix.so nodelay\nauth required {module}\naccount required {module}");
    bound.system.service("door", &stack);
}

/// Everything that somebody could want to find, as it could be found.
fn secrets(bound: &Bound, typed: &str) -> Vec<(&'static str, Vec<u8>)> {
    let key = run("sh", &["-c", &format!("echo {} | base32 --decode | od -An -v -tx1 | tr -d ' \\n'", bound.key())]);
    let raw = (0..key.len() / 2).map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).unwrap()).collect();
    vec![
        ("code", typed.trim().into()),
        ("password", PASSWORD.into()),
        ("key", raw),
        ("key-in-base32", bound.key().into()),
        ("key-in-hex", key.into()),
    ]
}

/// Answers, and what auth comes to: a right code, the same again, a guess, and the password in the code's place.
///
/// Spaces in front, because memory that is freed is overwritten at its beginning.
fn answers(bound: &Bound) -> Vec<(String, i32)> {
    let good = bound.code(0);
    let wrong: String = good.chars().map(|c| if c == '9' { '0' } else { char::from(c as u8 + 1) }).collect();
    let spaced = |code: &str| format!("{:>60}", code);
    vec![
        (spaced(&good), SUCCESS),
        (spaced(&good), AUTH_ERR),
        (spaced(&wrong), AUTH_ERR),
        (PASSWORD.to_owned(), CONV_ERR),
    ]
}

fn login(bound: &Bound, answer: &str) -> Host {
    let host = bound.system.host("door").user("canary");
    host.word("masked-password", masked(PASSWORD)).word("masked-answer", masked(answer))
}

#[test]
fn nothing_is_left_in_the_memory_of_the_host() {
    for arguments in ["helper=/nowhere", "socket=/nowhere"] {
        let mut bound = Bound::fresh("canary");
        let _listener = Listener::start(&Helper::real().clock(&bound.clock));
        password_then_code(&bound, arguments);
        bound.advance(2);
        for (answer, code) in answers(&bound) {
            let secrets = secrets(&bound, &answer);
            let report = searched(login(&bound, &answer), &secrets);
            assert_eq!(report.code("auth"), code, "{arguments} {answer:?}");
            let found: Vec<&str> = report.all("found ").collect();
            assert_eq!(found.len(), 2 * secrets.len(), "between auth and account, and after pam_end");
            assert!(found.iter().all(|line| line.ends_with(" 0")), "{arguments} {answer:?}: {found:?}");
        }
        // And the search does find what is there.
        let report = searched(login(&bound, "000000").conv("keep-copy"), &secrets(&bound, "000000"));
        let found: Vec<&str> = report.all("found code ").collect();
        assert!(!found.contains(&"0"), "the search finds nothing: {found:?}");
    }
}

fn searched(host: Host, secrets: &[(&str, Vec<u8>)]) -> Report {
    let host = secrets.iter().fold(host, |host, (name, secret)| host.canary(name, secret));
    host.steps(&["auth", "scan", "account"]).run()
}

#[test]
fn nothing_is_in_the_log_at_its_most_talkative() {
    for arguments in ["helper=/nowhere", "socket=/nowhere"] {
        let mut bound = Bound::fresh("canary");
        let _listener = Listener::start(&Helper::real().clock(&bound.clock));
        password_then_code(&bound, arguments);
        bound.advance(2);
        for (answer, code) in answers(&bound) {
            let log = Log::listen();
            assert_eq!(login(&bound, &answer).steps(&["auth"]).run().code("auth"), code);
            let lines = log.lines();
            let of = |whose: &str| lines.iter().filter(|line| line.contains(whose)).count();
            assert!(of("mfa-helper[") > 0 && of("pam_mfa(door:auth)") > 1, "who logs what: {lines:#?}");
            for (name, secret) in secrets(&bound, &answer) {
                let holds = |line: &&String| line.as_bytes().windows(secret.len()).any(|piece| piece == secret);
                assert_eq!(lines.iter().find(holds), None, "{name}");
            }
        }
    }
}

/// Of any process, with its environment: `ps` shows them to everybody.
#[test]
fn nothing_is_in_the_arguments_of_what_is_executed() {
    let mut bound = Bound::fresh("canary");
    password_then_code(&bound, "");
    bound.advance(2);
    let options = format!("-f -xx -v -s 4096 -e trace=execve,execveat -o {TRACE}");
    for (answer, code) in answers(&bound) {
        let trace = Trace::record();
        let strace = format!("strace {options}");
        let host = login(&bound, &answer).under(&strace.split(' ').collect::<Vec<_>>()).steps(&["auth", "account"]);
        assert_eq!(host.run().code("auth"), code);
        let trace = trace.end();
        assert!(holds(&trace, b"LD_PRELOAD=") && holds(&trace, b"mfa-helper"), "host and helper: {trace}");
        assert_holds_none(&trace, &secrets(&bound, &answer));
    }
    password_then_code(&bound, "helper=/nowhere socket=/run/mfa/helper.sock");
    bound.advance(2);
    let trace = Trace::record();
    let mut listener = traced_listener(&bound, &options);
    for (answer, code) in answers(&bound) {
        assert_eq!(login(&bound, &answer).steps(&["auth", "account"]).run().code("auth"), code);
    }
    listener.terminate();
    let trace = trace.end();
    assert_eq!(trace.matches("execve").count(), 1, "a listener executes nothing: {trace}");
    assert_holds_none(&trace, &secrets(&bound, "000000"));
}

/// Neither to the store, whose state has no need of them, nor to the log, nor to the module.
#[test]
fn nothing_is_in_what_the_helper_writes_at_a_login() {
    let mut bound = Bound::fresh("canary");
    let writes = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,sendfile";
    let options = format!("-f -xx -s 65536 -e trace={writes} -o {TRACE}");
    password_then_code(&bound, "");
    bound.install_traced(&options);
    bound.advance(2);
    for (answer, code) in answers(&bound) {
        let trace = Trace::record();
        assert_eq!(login(&bound, &answer).steps(&["auth"]).run().code("auth"), code);
        assert_tells_nothing(&trace.end(), &secrets(&bound, &answer));
    }
    password_then_code(&bound, "helper=/nowhere socket=/run/mfa/helper.sock");
    bound.advance(2);
    for (answer, code) in answers(&bound) {
        let trace = Trace::record();
        let mut listener = traced_listener(&bound, &options);
        assert_eq!(login(&bound, &answer).steps(&["auth"]).run().code("auth"), code);
        listener.terminate();
        assert_tells_nothing(&trace.end(), &secrets(&bound, &answer));
    }
    // And the search does find what is there: mfa-enroll is shown a new key, and the store keeps it.
    bound.install();
    assert!(bound.system.enroll(&["disable", "--user", "canary"], "").status.success());
    bound.install_traced(&options);
    let trace = Trace::record();
    let key = bound.pend();
    let trace = trace.end();
    let by = |call: &str| trace.lines().any(|line| line.contains(call) && holds(line, key.as_bytes()));
    assert!(by("sendto(") && by("write"), "the search finds nothing: {trace}");
}

fn assert_tells_nothing(trace: &str, secrets: &[(&str, Vec<u8>)]) {
    assert!(holds(trace, b"Verification code: ") && holds(trace, b"event=verify"), "question and audit line: {trace}");
    // Behind four bytes of its length.
    let is_verdict = |line: &str| line.split('"').nth(1).is_some_and(|bytes| bytes.get(16..20) == Some(r"\x25"));
    assert!(trace.lines().any(is_verdict), "verdict: {trace}");
    assert_holds_none(trace, secrets);
}

/// By its standard input, since strace is another process than the one that it starts. -I2: otherwise no signal would end
/// strace, and with it the listener.
fn traced_listener(bound: &Bound, options: &str) -> Listener {
    Listener::start_by_standard_input(&Helper::real().clock(&bound.clock).strace(&format!("-I2 {options}")))
}

fn assert_holds_none(trace: &str, secrets: &[(&str, Vec<u8>)]) {
    for (name, secret) in secrets {
        assert!(!holds(trace, secret), "{name}: {trace}");
    }
}

/// Whether a trace that was taken with -xx, and so is all in hex, shows these bytes.
fn holds(trace: &str, bytes: &[u8]) -> bool {
    trace.contains(&bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>())
}

/// A host that waits at its prompt, and the process of its helper.
/// A host whose auth phase waits for an answer, and the process that asks: which the listener has started, if there is one.
fn at_the_prompt(bound: &Bound, gate: &Gate, under: &[&str], listener: Option<&Listener>) -> (Running, String) {
    let host = bound.system.host("door").user("canary").answer(&bound.code(1)).steps(&["auth"]);
    let host = host.under(under).gate(gate).start();
    gate.await_hosts(1);
    // What a listener tries of itself takes a while, and the processes that this starts are younger: not children of its own.
    let parent = listener.map(|listener| format!("--parent={}", listener.pid()));
    let words = ["--newest", "--exact", "mfa-helper"].into_iter().chain(parent.as_deref());
    (host, run("pgrep", &words.collect::<Vec<&str>>()).trim().to_owned())
}

/// The core would hold the key. Two things stand against it, and each of them is enough: here it believes that it has
/// done the one or the other, and has not.
#[test]
fn a_helper_that_crashes_leaves_no_core() {
    const KILLED: &str = "+++ killed by SIGSEGV +++";
    const NO_LIMIT: &str = "-e inject=prlimit64:retval=0";
    const DUMPABLE: &str = "-e inject=prctl:retval=0";
    let bound = Bound::fresh("canary");
    for (undone, end) in [
        (String::new(), KILLED),
        (NO_LIMIT.to_owned(), KILLED),
        (DUMPABLE.to_owned(), KILLED),
        // And with neither there would be one.
        (format!("{NO_LIMIT} {DUMPABLE}"), "+++ killed by SIGSEGV (core dumped) +++"),
    ] {
        bound.install_traced(&format!("-o {TRACE} -e trace=prlimit64,prctl {undone}"));
        let trace = Trace::record();
        let gate = Gate::closed();
        let (host, helper) =
            at_the_prompt(&bound, &gate, &["sh", "-c", "ulimit -c unlimited; exec \"$@\"", "sh"], None);
        run("kill", &["-SEGV", &helper]);
        gate.open();
        assert_eq!(host.report().code("auth"), AUTHINFO_UNAVAIL);
        assert_eq!(trace.end().lines().last(), Some(end), "{undone:?} (is kernel.core_pattern \"core\"?)");
    }
}

/// Nobody else, and not even a root that is not all of root, as in a container or a service.
#[test]
fn the_memory_of_a_helper_is_not_readable() {
    const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const LESSER_ROOT: &[&str] = &["setpriv", "--bounding-set=-sys_ptrace,-sys_admin,-perfmon"];
    for (arguments, by_socket) in [("helper=/nowhere", true), ("socket=/nowhere", false)] {
        let bound = Bound::fresh("canary");
        let real = Helper::real().clock(&bound.clock);
        // With no more capabilities than its reader has: otherwise these alone would keep it out.
        let listener = by_socket.then(|| Listener::start_under(LESSER_ROOT, &real));
        bound.system.service("door", &format!("{{first}}\nauth required {{module}} stack=complete {arguments}"));
        let gate = Gate::closed();
        let (host, helper) = at_the_prompt(&bound, &gate, LESSER_ROOT, listener.as_ref());
        for file in ["mem", "maps", "environ", "auxv"] {
            assert!(!can_open(NOBODY, &helper, file), "{arguments}: {file}, by nobody");
            assert!(!can_open(LESSER_ROOT, &helper, file), "{arguments}: {file}, by a lesser root");
            assert!(can_open(LESSER_ROOT, &host.pid().to_string(), file), "but that of the host can be read");
        }
        assert!(can_open(NOBODY, &helper, "status"), "which is everybody's");
        gate.open();
        assert_eq!(host.report().code("auth"), SUCCESS);
    }
}

fn can_open(who: &[&str], pid: &str, file: &str) -> bool {
    let mut command = Command::new(who[0]);
    command.args(&who[1..]).args(["head", "--bytes=0", &format!("/proc/{pid}/{file}")]).stderr(Stdio::null());
    command.status().unwrap().success()
}
