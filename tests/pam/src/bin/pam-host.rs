//! A PAM application that is everything an application may be: see [`Options`]. It prints nothing; what happened goes
//! line by line to the file named by `--report`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;

const PAM_SUCCESS: c_int = 0;
const PAM_CONV_ERR: c_int = 19;
const PAM_USER: c_int = 2;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    answer: *mut c_char,
    code: c_int,
}

type Converse = unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conversation {
    function: Option<Converse>,
    data: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conversation: *const Conversation,
        folder: *const c_char,
        pamh: *mut *mut c_void,
    ) -> c_int;
    fn pam_end(pamh: *mut c_void, status: c_int) -> c_int;
    fn pam_authenticate(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_acct_mgmt(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_setcred(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_open_session(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_close_session(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_chauthtok(pamh: *mut c_void, flags: c_int) -> c_int;
    fn pam_set_item(pamh: *mut c_void, item: c_int, value: *const c_void) -> c_int;
    fn pam_putenv(pamh: *mut c_void, assignment: *const c_char) -> c_int;
}

/// `--key=value` words; all others are steps.
#[derive(Default)]
struct Options {
    /// Where the report goes.
    report: String,
    /// The folder of service files, and the service.
    confdir: String,
    service: String,
    /// PAM_USER; absent: none is set.
    user: Option<Vec<u8>>,
    /// Answer to every ECHO_OFF prompt.
    password: Option<String>,
    /// Answers to the ECHO_ON prompts, in order; the last one stays.
    answers: Vec<String>,
    /// An answer XORed with 0x55, in hex; after pam_end the memory is searched for it.
    masked_answer: Option<Vec<u8>>,
    /// A part of the prompt, masked likewise; the memory is searched for it.
    masked_prompt: Option<Vec<u8>>,
    /// The answer to every ECHO_OFF prompt, masked likewise.
    masked_password: Option<Vec<u8>>,
    /// What else to search the memory for, at every step `scan` and after pam_end: names, and secrets masked likewise.
    canaries: Vec<(String, Vec<u8>)>,
    /// How ECHO_ON prompts are answered: "", null-function, null-array, null-answer, empty, error, error-poisoned,
    /// unknown-code, long-600, long-5000, newline, login-secret, user-name, exec (starts `ls` in the middle of it),
    /// use-standard-fds (says which of 0 to 2 are open), keep-copy (of the masked answer).
    conv: String,
    /// Where to wait at the first prompt of a transaction: see `Gate` in the library.
    gate: Option<String>,
    /// Flags of every call.
    flags: c_int,
    /// How often the whole transaction is done.
    loops: u32,
    /// How many threads do it at once, each with a handle of its own.
    threads: u32,
    /// A file with a line for each transaction: see [`Turn`]. They take the place of `user` and `answers`.
    plan: Option<String>,
    /// The clock that a plan sets.
    clock: String,
    /// What kind of process this is: sigchld-ignored, no-cld-wait, wait-thread, wait-all-thread, busy-threads,
    /// subreaper, closed-standard-fds, blocked-signals, careless (has a file open that is not CLOEXEC), odd-fsuid (works
    /// on files as nobody),
    /// signal-storm (its process group gets a signal all the time, and its handler wants to run in this process only).
    modes: Vec<String>,
    /// Soft RLIMIT_NOFILE during the transactions.
    nofile: Option<u64>,
    /// PAM items by number, and the PAM environment.
    items: Vec<(c_int, Vec<u8>)>,
    pamenv: Vec<Vec<u8>>,
    /// auth, account, setcred, open, close, chauthtok, user=NAME (a change of PAM_USER), scan.
    steps: Vec<String>,
}

fn main() {
    let mut options = Options::parse();
    let mut report = String::new();
    // A C program has the default action; Rust's start-up has set SIG_IGN, which would hide a write to a dead helper.
    // SAFETY: plain call.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // Neither what the test's own parent left open, nor the log that the first pam_syslog would open in our name.
    // SAFETY: nothing in this process knows a descriptor above 2 yet; the name is static.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        libc::openlog(c"pam-host".as_ptr(), libc::LOG_NDELAY, libc::LOG_AUTH);
    }
    let mode = Mode::enter(&options);

    let plan = options.plan.as_ref().map_or(String::new(), |plan| fs::read_to_string(plan).unwrap());
    let mut turns = plan.lines().map(Turn::read);

    if options.threads > 1 {
        // With the first one libc takes a signal for itself.
        std::thread::spawn(|| {}).join().unwrap();
    }
    let before = Snapshot::take();
    let early = options.loops / 10;
    let mut rss_early = 0;
    if let Some(limit) = options.nofile {
        set_nofile(limit);
    }
    for round in 0..options.loops {
        if round == early {
            rss_early = resident();
        }
        let turn = turns.next();
        if let Some(turn) = &turn {
            turn.set_up(&mut options);
        }
        let lines = at_once(&options);
        if let Some(turn) = turn {
            if !lines.starts_with(&format!("code auth {}\n", turn.code)) {
                let _ = writeln!(report, "round {round} differs, {turn:?}: {}", lines.replace('\n', "; "));
            }
        } else if round == 0 {
            report.push_str(&lines);
        } else if !report.starts_with(&lines) {
            let _ = writeln!(report, "round {round} differs: {}", lines.replace('\n', "; "));
        }
    }
    if options.nofile.is_some() {
        set_nofile(1024);
    }
    let rss_late = resident();
    let after = Snapshot::take();
    for (name, before, after) in before.compare(&after) {
        let _ = writeln!(report, "changed {name}: {before} -> {after}");
    }
    let _ = writeln!(report, "rss {rss_early} {rss_late}");
    let mapped = fs::read_to_string("/proc/self/maps").unwrap().contains("pam_mfa.so");
    let _ = writeln!(report, "mapped {mapped}");
    for pattern in [&options.masked_answer, &options.masked_prompt].into_iter().flatten() {
        let _ = writeln!(report, "copies {}", memory::copies(pattern));
    }
    mode.leave(&mut report);
    fs::write(&options.report, report).unwrap();
}

/// One transaction of a plan: `SECONDS USER ANSWER CODE`.
#[derive(Debug)]
struct Turn<'a> {
    /// What the clock is set to before it.
    seconds: i64,
    user: &'a str,
    answer: &'a str,
    /// What auth must come to.
    code: c_int,
}

impl<'a> Turn<'a> {
    fn read(line: &'a str) -> Turn<'a> {
        let words: Vec<&str> = line.split(' ').collect();
        let &[seconds, user, answer, code] = words.as_slice() else { panic!("{line}") };
        Turn { seconds: seconds.parse().unwrap(), user, answer, code: code.parse().unwrap() }
    }

    fn set_up(&self, options: &mut Options) {
        let clock = fs::File::options().write(true).open(&options.clock).unwrap();
        clock.write_at(&self.seconds.to_ne_bytes(), 0).unwrap();
        options.user = Some(self.user.into());
        options.answers = vec![self.answer.to_owned()];
    }
}

/// The transaction in every thread: what one of them saw, and who saw something else.
fn at_once(options: &Options) -> String {
    if options.threads == 1 {
        return transaction(options);
    }
    let start = Barrier::new(options.threads as usize);
    let seen: Vec<String> = std::thread::scope(|scope| {
        let one = || {
            start.wait();
            transaction(options)
        };
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let differs = |lines: &&String| **lines != seen[0];
    let others =
        seen.iter().filter(differs).map(|lines| format!("round differs in a thread: {}\n", lines.replace('\n', "; ")));
    seen[0].clone() + &others.collect::<String>()
}

fn transaction(options: &Options) -> String {
    let c = |bytes: &[u8]| CString::new(bytes).unwrap();
    let mut talk = Talk { options, asked: 0, said: Vec::new(), gate: options.gate.as_deref() };
    let conversation = Conversation {
        function: (options.conv != "null-function").then_some(converse as Converse),
        data: (&raw mut talk).cast(),
    };
    let (service, confdir) = (c(options.service.as_bytes()), c(options.confdir.as_bytes()));
    let user = options.user.as_ref().map(|user| c(user));
    let user_ptr = user.as_ref().map_or(ptr::null(), |user| user.as_ptr());
    let mut pamh = ptr::null_mut();
    let mut out = String::new();
    let mut last = PAM_SUCCESS;
    // SAFETY: the calls of pam(3) in their order, with C strings that outlive them; `talk` outlives the handle.
    unsafe {
        let code =
            pam_start_confdir(service.as_ptr(), user_ptr, &raw const conversation, confdir.as_ptr(), &raw mut pamh);
        if code != PAM_SUCCESS {
            return format!("code start {code}\n");
        }
        for (item, value) in &options.items {
            assert_eq!(pam_set_item(pamh, *item, c(value).as_ptr().cast()), 0, "pam_set_item {item}");
        }
        for assignment in &options.pamenv {
            assert_eq!(pam_putenv(pamh, c(assignment).as_ptr()), 0, "pam_putenv");
        }
        for step in &options.steps {
            if step == "scan" {
                out.push_str(&found(&options.canaries));
                continue;
            }
            last = match step.as_str() {
                "auth" => pam_authenticate(pamh, options.flags),
                "account" => pam_acct_mgmt(pamh, options.flags),
                "setcred" => pam_setcred(pamh, options.flags | 2),
                "open" => pam_open_session(pamh, options.flags),
                "close" => pam_close_session(pamh, options.flags),
                "chauthtok" => pam_chauthtok(pamh, options.flags),
                other => {
                    let name = c(other.strip_prefix("user=").expect("unknown step").as_bytes());
                    pam_set_item(pamh, PAM_USER, name.as_ptr().cast())
                }
            };
            let _ = writeln!(out, "code {step} {last}");
        }
        let code = pam_end(pamh, last);
        let _ = writeln!(out, "code end {code}");
    }
    out.push_str(&found(&options.canaries));
    for line in &talk.said {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// How often each canary is in memory.
fn found(canaries: &[(String, Vec<u8>)]) -> String {
    canaries.iter().map(|(name, masked)| format!("found {name} {}\n", memory::copies(masked))).collect()
}

/// The conversation's side of the application.
struct Talk<'a> {
    options: &'a Options,
    asked: usize,
    said: Vec<String>,
    /// Still to be passed.
    gate: Option<&'a str>,
}

/// Says that this process is at its prompt, and waits until all may go on.
fn pass(gate: &str) {
    let lock = fs::File::open(gate).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"!", format!("{gate}.arrivals")).unwrap();
    lock.lock_shared().unwrap();
}

/// # Safety
/// As pam_conv(3); `data` is a `Talk`.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    // SAFETY: by contract.
    let (talk, message) = unsafe { (&mut *data.cast::<Talk<'_>>(), &**messages) };
    assert_eq!(count, 1, "more than one message at a time");
    // SAFETY: libpam's modules send C strings.
    let text = unsafe { std::ffi::CStr::from_ptr(message.text) };
    let style = ["?", "ask-hidden", "ask", "error", "info"][message.style as usize];
    // A prompt whose copies are searched for leaves none here.
    if talk.options.masked_prompt.is_none() {
        talk.said.push(format!("said {style} {:?}", text.to_string_lossy()));
    }
    let options = talk.options;
    if matches!(message.style, 1 | 2)
        && let Some(gate) = talk.gate.take()
    {
        pass(gate);
    }
    // SAFETY: malloc and calloc, as pam_conv(3) wants; the array has room for one response.
    unsafe {
        let reply = |answer: *mut c_char| {
            let array = libc::calloc(1, size_of::<Response>()).cast::<Response>();
            (*array).answer = answer;
            *responses = array;
            PAM_SUCCESS
        };
        let string = |text: &str| {
            let text = CString::new(text).unwrap();
            libc::strdup(text.as_ptr())
        };
        match (message.style, options.conv.as_str()) {
            (1, _) if options.masked_password.is_some() => reply(unmasked(options.masked_password.as_ref().unwrap())),
            (1, _) if options.password.is_some() => reply(string(options.password.as_ref().unwrap())),
            // Messages: what misc_conv and sshd do, except where a mode has a say.
            (3 | 4, "null-array") => PAM_SUCCESS,
            (3 | 4, "error") => PAM_CONV_ERR,
            (3 | 4, _) => reply(ptr::null_mut()),
            (_, "null-array") => PAM_SUCCESS,
            (_, "null-answer") => reply(ptr::null_mut()),
            (_, "empty") => reply(string("")),
            (_, "error") => PAM_CONV_ERR,
            // What a module must not touch after an error: an address that kills.
            (_, "error-poisoned") => {
                *responses = ptr::without_provenance_mut(8);
                PAM_CONV_ERR
            }
            (_, "unknown-code") => {
                *responses = ptr::without_provenance_mut(8);
                c_int::MIN
            }
            (_, "long-600") => reply(string(&"7".repeat(600))),
            (_, "long-5000") => reply(string(&"7".repeat(5000))),
            (_, "newline") => reply(string("492\n039")),
            (_, "login-secret") => reply(string(options.password.as_deref().unwrap())),
            (_, "user-name") => reply(string(std::str::from_utf8(options.user.as_ref().unwrap()).unwrap())),
            (_, mode) => {
                if mode == "exec" {
                    talk.said.push(format!("exec {}", fds_of_an_executed_child()));
                }
                if mode == "use-standard-fds" {
                    let open = |fd| if libc::fcntl(fd, libc::F_GETFD) < 0 { "closed" } else { "open" };
                    talk.said.push(format!("standard-fds {} {} {}", open(0), open(1), open(2)));
                }
                if let Some(masked) = &options.masked_answer {
                    let answer = unmasked(masked);
                    if mode == "keep-copy" {
                        std::mem::forget(std::slice::from_raw_parts(answer.cast::<u8>(), masked.len()).to_vec());
                    }
                    return reply(answer);
                }
                let answer = &options.answers[talk.asked.min(options.answers.len() - 1)];
                talk.asked += 1;
                reply(string(answer))
            }
        }
    }
}

/// The one copy that this process makes of a masked secret: whoever takes the response wipes it.
fn unmasked(masked: &[u8]) -> *mut c_char {
    // SAFETY: room for all bytes and a NUL.
    unsafe {
        let text = libc::calloc(masked.len() + 1, 1).cast::<u8>();
        for (n, byte) in masked.iter().enumerate() {
            text.add(n).write_volatile(byte ^ 0x55);
        }
        text.cast()
    }
}

/// What a child of the host sees that inherits everything which is not CLOEXEC.
fn fds_of_an_executed_child() -> String {
    let output = std::process::Command::new("/bin/ls").arg("/proc/self/fd").output().unwrap();
    // ls itself opens the folder: the highest number.
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(",")
}

/// What must be the same after as before.
struct Snapshot(Vec<(String, String)>);

impl Snapshot {
    fn take() -> Snapshot {
        let mut facts = vec![("fds".to_owned(), fds()), ("cwd".to_owned(), format!("{:?}", std::env::current_dir()))];
        for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "Threads", "Umask", "Uid", "Gid"] {
            facts.push((field.to_owned(), status_text(field)));
        }
        // But for the one that the storm sends at any moment.
        let pending = u64::from_str_radix(status_text("ShdPnd").trim(), 16).unwrap();
        facts.push(("ShdPnd".to_owned(), format!("{:016x}", pending & !(1 << (libc::SIGWINCH - 1)))));
        for signal in 1..=64 {
            // SAFETY: zeros are a valid sigaction, and the call fills it.
            let action = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, ptr::null(), &raw mut action);
                (action.sa_sigaction, action.sa_flags)
            };
            facts.push((format!("action {signal}"), format!("{action:x?}")));
        }
        let environment: Vec<_> = std::env::vars_os().collect();
        facts.push(("environment".to_owned(), format!("{environment:?}")));
        Snapshot(facts)
    }

    fn compare<'a>(&'a self, other: &'a Snapshot) -> Vec<(&'a str, &'a str, &'a str)> {
        let pairs = self.0.iter().zip(&other.0);
        pairs.filter(|(a, b)| a != b).map(|(a, b)| (a.0.as_str(), a.1.as_str(), b.1.as_str())).collect()
    }
}

fn fds() -> String {
    let mut all: Vec<(c_int, String)> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let link = fs::read_link(&path).ok()?.display().to_string();
            let fd = path.file_name()?.to_str()?.parse().ok()?;
            // SAFETY: only asks.
            let flags = unsafe { (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL)) };
            (!link.starts_with("/proc/") && link != NOISE).then(|| (fd, format!("{fd}={link}{flags:?}")))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

fn status_text(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_default().split_once('\t').map_or(String::new(), |(_, value)| value.trim().to_owned())
}

/// KiB of this process that are in memory. Counted out: `status` has an estimate, which is off by up to a page for each
/// of 32 faults and each CPU.
fn resident() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn set_nofile(soft: u64) {
    // SAFETY: plain data.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

static SIGCHLD_SEEN: AtomicU32 = AtomicU32::new(0);
static STOLEN: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn count_sigchld(_: c_int) {
    SIGCHLD_SEEN.fetch_add(1, Ordering::Relaxed);
}

static OWN_PID: AtomicI32 = AtomicI32::new(0);
static HANDLED_ELSEWHERE: AtomicU32 = AtomicU32::new(0);

/// A clone that shares our memory would count here too.
extern "C" fn count_foreign(_: c_int) {
    // SAFETY: no preconditions.
    if unsafe { libc::getpid() } != OWN_PID.load(Ordering::Relaxed) {
        HANDLED_ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
}

/// What kind of process this is, and how it is undone.
struct Mode {
    threads: Vec<JoinHandle<()>>,
    own_child: libc::pid_t,
}

impl Mode {
    fn enter(options: &Options) -> Mode {
        let has = |name: &str| options.modes.iter().any(|mode| mode == name);
        for mode in &options.modes {
            assert!(KNOWN_MODES.contains(&mode.as_str()), "unknown mode {mode}");
        }
        let mut threads = Vec::new();
        let mut own_child = 0;
        // SAFETY: plain calls before any thread is started; the forked child only waits to be killed.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count_sigchld as *const () as usize;
            // SA_RESTART off: the handler interrupts, as a careless host's does.
            if has("no-cld-wait") {
                action.sa_flags = libc::SA_NOCLDWAIT;
            }
            if has("sigchld-ignored") {
                action.sa_sigaction = libc::SIG_IGN;
            }
            libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut());
            if has("blocked-signals") {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&raw mut set);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
            }
            if has("subreaper") {
                libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            }
            if has("wait-thread") || has("wait-all-thread") {
                // With a child of its own the host's wait() blocks, as that of a server does.
                own_child = libc::fork();
                if own_child == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
                let flags = if has("wait-all-thread") { libc::__WALL } else { 0 };
                threads.push(std::thread::spawn(move || {
                    loop {
                        match libc::waitpid(-1, ptr::null_mut(), flags) {
                            pid if pid == own_child => break,
                            pid if pid > 0 => {
                                STOLEN.fetch_add(1, Ordering::Relaxed);
                            }
                            _ => {}
                        }
                    }
                }));
            }
        }
        if has("signal-storm") {
            // SAFETY: as above. SIGWINCH, because its default action is to do nothing.
            unsafe {
                OWN_PID.store(libc::getpid(), Ordering::Relaxed);
                libc::setpgid(0, 0);
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = count_foreign as *const () as usize;
                libc::sigaction(libc::SIGWINCH, &raw const action, ptr::null_mut());
                own_child = libc::fork();
                if own_child == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::signal(libc::SIGWINCH, libc::SIG_IGN);
                    loop {
                        libc::kill(0, libc::SIGWINCH);
                    }
                }
            }
        }
        if has("busy-threads") {
            threads.extend((0..8).map(|_| std::thread::spawn(noise)));
        }
        if has("careless") {
            // SAFETY: plain call; it stays open to the end.
            unsafe { assert!(libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) >= 0) };
        }
        if has("odd-fsuid") {
            // SAFETY: plain numbers; for this thread only.
            unsafe {
                libc::setfsgid(65534);
                libc::setfsuid(65534);
            }
        }
        if has("closed-standard-fds") {
            // SAFETY: nothing of Rust's holds them.
            unsafe { (0..3).for_each(|fd| assert_eq!(libc::close(fd), 0)) };
        }
        Mode { threads, own_child }
    }

    fn leave(self, report: &mut String) {
        // Read before the end of our own child is seen.
        let _ = writeln!(report, "sigchld {}", SIGCHLD_SEEN.load(Ordering::Relaxed));
        STOP.store(true, Ordering::Relaxed);
        if self.own_child > 0 {
            // SAFETY: our own child, not yet collected.
            unsafe { libc::kill(self.own_child, libc::SIGKILL) };
        }
        if self.own_child > 0 && self.threads.is_empty() {
            // SAFETY: as above; no thread of ours waits for it.
            unsafe { while libc::waitpid(self.own_child, ptr::null_mut(), 0) < 0 {} };
        }
        for thread in self.threads {
            thread.join().unwrap();
        }
        let _ = writeln!(report, "handled-elsewhere {}", HANDLED_ELSEWHERE.load(Ordering::Relaxed));
        let _ = writeln!(report, "stolen {}", STOLEN.load(Ordering::Relaxed));
        // SAFETY: no status is asked for. 0: a child runs; positive: a zombie; ECHILD: none.
        let children = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
        let _ = writeln!(report, "children {}", ["none", "running", "zombie"][(children.signum() + 1) as usize]);
    }
}

const KNOWN_MODES: [&str; 11] = [
    "odd-fsuid",
    "signal-storm",
    "careless",
    "sigchld-ignored",
    "no-cld-wait",
    "wait-thread",
    "wait-all-thread",
    "busy-threads",
    "subreaper",
    "closed-standard-fds",
    "blocked-signals",
];

/// What the noise opens, so that it is not taken for something that we left.
const NOISE: &str = "/dev/full";

/// Holds the allocator's lock and makes descriptors, as often as it can.
fn noise() {
    let mut size = 1;
    while !STOP.load(Ordering::Relaxed) {
        size = size * 7 % 65_521 + 1;
        let block = vec![0u8; size];
        let file = fs::File::open(NOISE);
        std::hint::black_box((&block, &file));
    }
}

/// Looks for copies of a secret in this process.
mod memory {
    use std::fs;

    /// How often 16 bytes of the secret in a row, or a shorter one as a whole, occur (each byte XORed with 0x55 in
    /// `masked`, so that the pattern itself is no copy) in all writable memory: heap, stacks, what was freed. Pieces,
    /// because who reuses freed memory overwrites a part.
    pub(crate) fn copies(masked: &[u8]) -> usize {
        let size = masked.len().min(16);
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let ranges: Vec<(usize, usize)> = maps
            .lines()
            .filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw"))
            .map(|line| {
                let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
                (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap())
            })
            .collect();
        let mut found = 0;
        for (start, end) in ranges {
            for at in start..=end - size {
                // SAFETY: mapped, readable and this process's own; nothing else runs, and nothing is unmapped meanwhile.
                let byte = |n: usize| unsafe { std::ptr::with_exposed_provenance::<u8>(at + n).read_volatile() };
                let is_here = |piece: &[u8]| (0..size).all(|n| byte(n) == piece[n] ^ 0x55);
                found += masked.chunks_exact(size).filter(|piece| is_here(piece)).count();
            }
        }
        found
    }
}

impl Options {
    fn parse() -> Options {
        let mut options = Options { loops: 1, threads: 1, ..Options::default() };
        for word in std::env::args_os().skip(1) {
            let bytes = word.into_vec();
            let Some(rest) = bytes.strip_prefix(b"--") else {
                options.steps.push(String::from_utf8(bytes).unwrap());
                continue;
            };
            let end = rest.iter().position(|b| *b == b'=').expect("--key=value");
            let (key, value) = (&rest[..end], &rest[end + 1..]);
            let text = || OsStr::from_bytes(value).to_str().expect("UTF-8").to_owned();
            match key {
                b"report" => options.report = text(),
                b"confdir" => options.confdir = text(),
                b"service" => options.service = text(),
                b"user" => options.user = Some(value.to_vec()),
                b"password" => options.password = Some(text()),
                b"answer" => options.answers.push(text()),
                b"masked-answer" => options.masked_answer = Some(hex(&text())),
                b"masked-password" => options.masked_password = Some(hex(&text())),
                b"canary" => {
                    let text = text();
                    let (name, masked) = text.split_once(':').expect("--canary=NAME:HEX");
                    options.canaries.push((name.to_owned(), hex(masked)));
                }
                b"masked-prompt" => options.masked_prompt = Some(hex(&text())),
                b"conv" => options.conv = text(),
                b"gate" => options.gate = Some(text()),
                b"flags" => options.flags = text().parse().unwrap(),
                b"plan" => options.plan = Some(text()),
                b"clock" => options.clock = text(),
                b"loops" => options.loops = text().parse().unwrap(),
                b"threads" => options.threads = text().parse().unwrap(),
                b"mode" => options.modes.push(text()),
                b"nofile" => options.nofile = Some(text().parse().unwrap()),
                b"pamenv" => options.pamenv.push(value.to_vec()),
                b"item" => {
                    let end = value.iter().position(|b| *b == b':').expect("--item=NUMBER:VALUE");
                    let number = std::str::from_utf8(&value[..end]).unwrap().parse().unwrap();
                    options.items.push((number, value[end + 1..].to_vec()));
                }
                other => panic!("unknown option --{}", OsStr::from_bytes(other).display()),
            }
        }
        options
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect()
}
