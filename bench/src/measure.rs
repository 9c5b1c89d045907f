//! Time: one transaction of each subject in turn, so that whatever else the machine does hits all of them alike.

use std::ffi::CString;
use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::subject::{SUBJECTS, Subject};
use crate::sys::{Counter, Event, terminate, transaction};
use crate::users::Users;
use crate::{People, now};

const SOCKET: &str = "/run/mfa/root.sock";

/// What one subject's transactions cost.
#[derive(Default)]
pub struct Times {
    /// Microseconds from `pam_start` to the return of `pam_end`.
    pub elapsed: Vec<f64>,
    /// Microseconds on a CPU, of all processes that take part, to the end of the last; none where the kernel does not tell.
    pub cpu: Vec<f64>,
    /// Instructions, likewise.
    pub instructions: Vec<f64>,
}

/// Steps by which one gets to every subject.
const STRIDES: [usize; 4] = [1, 5, 7, 11];
const _: () = assert!(SUBJECTS.len() == 12, "strides without a common divisor with the number of subjects");

/// `rounds` times: nobody has logged in yet; then every user does, once at each subject.
pub fn rounds(users: &Users, who: &People, rounds: usize) -> Vec<Times> {
    let listener = Listener::start(None);
    let calm = processes_at_rest();
    let meters = [Event::Cpu, Event::Instructions].map(|event| Meter::start(event, &listener));
    let mut times: Vec<Times> = SUBJECTS.iter().map(|_| Times::default()).collect();
    // The first one only warms up.
    for round in 0..=rounds {
        users.rewind(&who.by_socket);
        users.rewind(&who.by_spawn);
        let now = now();
        for n in 0..who.by_socket.len() {
            for turn in 0..SUBJECTS.len() {
                // Nobody always comes after the same one, which may have emptied the CPU's caches.
                let which = (turn * STRIDES[(round + n) % STRIDES.len()] + round) % SUBJECTS.len();
                let subject = &SUBJECTS[which];
                let service = CString::new(subject.service).expect("letters");
                let (user, answer) = subject.user_and_answer(n, who, now);
                let before = meters.each_ref().map(|meter| meter.as_ref().map(Meter::begin));
                let begin = Instant::now();
                let code = transaction(&service, &user, &answer, || {});
                let elapsed = begin.elapsed();
                let own = meters.each_ref().map(|meter| meter.as_ref().map(Meter::own));
                assert_eq!(code, subject.expected(), "{} of {user:?}", subject.title);
                // What still runs of this one must not be charged to the next.
                wait_for_calm(calm);
                if round == 0 {
                    continue;
                }
                let times = &mut times[which];
                times.elapsed.push(elapsed.as_secs_f64() * 1e6);
                let costs = [0, 1].map(|m| Some(meters[m].as_ref()?.cost(before[m].as_ref()?, own[m]?)));
                times.cpu.extend(costs[0].map(|nanoseconds| nanoseconds / 1e3));
                times.instructions.extend(costs[1]);
            }
        }
        assert_burnt(users, who, now);
    }
    times
}

/// Who was let in by a code has used it up, as the files say.
fn assert_burnt(users: &Users, who: &People, now: u64) {
    for (user, peers) in who.by_socket.iter().map(|u| (u, true)).chain(who.by_spawn.iter().map(|u| (u, false))) {
        let [ours, google, oath] = users.burnt(user, now / 30);
        assert!(ours && (google && oath || !peers), "{:?}: burnt {ours} {google} {oath}", user.name());
    }
}

/// The helper behind its socket, as the service starts it: the socket is its standard input.
pub struct Listener(Child);

impl Listener {
    /// `trace`: under strace, which writes what each of its processes does to files of this name.
    pub fn start(trace: Option<&Path>) -> Listener {
        let _ = fs::remove_file(SOCKET);
        let socket = UnixListener::bind(SOCKET).expect(SOCKET);
        let mut command = match trace {
            None => Command::new("/usr/libexec/mfa-helper"),
            Some(trace) => crate::count::strace(trace, &["/usr/libexec/mfa-helper"]),
        };
        Listener(command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket))).spawn().expect("the helper"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        terminate(self.0.id());
        let _ = self.0.wait();
    }
}

/// Counts for this process, for what it starts, and for the listener and what that starts.
struct Meter {
    own: Counter,
    started: Counter,
    listener: Counter,
}

impl Meter {
    fn start(event: Event, listener: &Listener) -> Option<Meter> {
        Some(Meter {
            own: Counter::start(event, 0, false)?,
            started: Counter::start(event, 0, true)?,
            listener: Counter::start(event, listener.0.id(), true)?,
        })
    }

    fn own(&self) -> u64 {
        self.own.read()
    }

    fn begin(&self) -> [u64; 3] {
        [self.listener.read(), self.started.read(), self.own.read()]
    }

    /// `own`: of this process when the transaction was over. What it has done since then is no part of it.
    fn cost(&self, before: &[u64; 3], own: u64) -> f64 {
        let [listener, started, own_now] = self.begin();
        let children = (started - before[1]).saturating_sub(own_now - before[2]);
        ((listener - before[0]) + children + (own - before[2])) as f64
    }
}

/// How many processes there are.
fn processes() -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()).count()
}

/// How many there are once nothing has come or gone for a moment: a listener that has just been started may start more.
pub fn processes_at_rest() -> usize {
    let (mut count, mut since) = (processes(), Instant::now());
    while since.elapsed() < Duration::from_millis(50) {
        let now = processes();
        if now != count {
            (count, since) = (now, Instant::now());
        }
        std::thread::yield_now();
    }
    count
}

/// Until there are no more processes than that.
pub fn wait_for_calm(calm: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while processes() > calm {
        assert!(Instant::now() < deadline, "a process of a transaction does not end");
        std::thread::yield_now();
    }
}

/// Something that takes the lines of the log, as a log daemon would: in a process of its own, which is charged to nobody.
pub fn log() -> Child {
    let log = Command::new("/proc/self/exe").arg("log").spawn().expect("this program");
    while !Path::new("/dev/log").exists() {
        std::thread::yield_now();
    }
    log
}

/// The process of [`log`].
pub fn read_log() -> ExitCode {
    let socket = UnixDatagram::bind("/dev/log").expect("/dev/log");
    let mut line = [0; 4096];
    while socket.recv(&mut line).is_ok() {}
    ExitCode::FAILURE
}

/// The words for [`crate::count::login`] of the first `n` users of a round.
pub fn words(subject: &Subject, n: usize, who: &People, now: u64) -> Vec<String> {
    let pairs = (0..n).map(|n| subject.user_and_answer(n, who, now));
    pairs.flat_map(|(user, answer)| [user, answer]).map(|word| word.into_string().expect("ASCII")).collect()
}
