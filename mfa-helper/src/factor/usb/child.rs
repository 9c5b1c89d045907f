//! The process of one key, in which libfido2 is confined. It holds the key's device and a socket to the helper, and
//! runs as nobody.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mfa_wire::Secret;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::alarm;

use super::made::{credential, unwrapped};
use super::wire::{Answer, Candidate, Cut, Frame, Job, MOST, Now, Verify, What};
use crate::sys::child::{confine, given, shut_off};
use crate::sys::fido::{self, Device, Error, Io, Library, Made, Making, Read};

/// How long a key may be silent where nobody has to touch it. If it is, it is asked again, on a new channel, and given
/// twice as long: so a slow key is waited for, and what was lost costs little time.
const QUIET: Duration = Duration::from_secs(2);

/// How long to wait before a key is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// So often a key may answer what no key answers.
const NONSENSE: u32 = 3;

/// The longest time for a key to give up after a cancel.
const GIVE_UP: Duration = Duration::from_millis(300);

/// The longest time for a new credential to be found again.
pub(super) const FOUND: Duration = Duration::from_secs(5);

/// Serves jobs until the helper closes the socket.
pub fn main() -> Option<()> {
    confine().ok()?;
    let key = given();
    let stdin = std::io::stdin();
    let helper = stdin.as_fd();
    let library = Library::load();
    shut_off().ok()?;
    let library = match library {
        Ok(library) => library,
        Err(why) => {
            answer(helper, &Answer::NoLibrary(why))?;
            // The end of a socket on which something was left unread takes away what was sent.
            return job(helper).map(drop);
        }
    };
    let line = Line::new(key, helper);
    let mut key = Key { library: &library, line: &line, device: None, quiet: QUIET };
    loop {
        alarm::cancel();
        let job = job(helper)?;
        line.debug.set(job.debug);
        line.begin(Duration::from_millis(job.milliseconds.into()));
        let done = key.work(&job.what).unwrap_or_else(|error| line.failed(error));
        // The helper may kill us once it has the answer, so the PIN must be wiped first.
        drop(job);
        answer(helper, &done)?;
    }
}

/// The next job. `None` if the helper has closed the socket.
fn job(helper: BorrowedFd) -> Option<Job> {
    let mut packet = Secret::zeroed(MOST);
    let length = recv(helper.as_raw_fd(), packet.bytes_mut(), MsgFlags::empty()).ok().filter(|length| *length > 0)?;
    Job::decode(packet.bytes().get(..length)?)
}

fn answer(helper: BorrowedFd, answer: &Answer) -> Option<()> {
    send(helper.as_raw_fd(), answer.encode().bytes(), MsgFlags::MSG_NOSIGNAL).ok().map(drop)
}

/// The key of this process.
struct Key<'a> {
    library: &'a Library,
    line: &'a Line<'a>,
    /// The key on its present channel.
    device: Option<Device<'a>>,
    /// How long it may be silent where nobody has to touch it.
    quiet: Duration,
}

impl<'a> Key<'a> {
    fn work(&mut self, what: &What) -> Result<Answer, Error> {
        match what {
            What::Open => self.until_clear(self.line.last.get(), |device| device.features()).map(Answer::Open),
            What::Probe(credentials) => self.probe(credentials),
            What::Touch => self.until_free(|device| device.touched().map(|()| Answer::Touched)),
            What::Assert { candidates, hash, verify } => {
                self.until_free(|device| assert(device, candidates, hash, verify))
            }
            What::Make { rp_id, user_id, user_name, hash, exclude, verify } => {
                let making = Making { rp_id, user_id, user_name, hash, exclude };
                let made = self.until_free(|device| device.make(&making, by(verify)))?;
                self.line.begin(FOUND);
                let found = match self.until_free(|device| is_found(device, rp_id, &made, verify)) {
                    Err(error) if self.line.is_gone() => return Err(error),
                    found => found.unwrap_or(true),
                };
                Ok(match found {
                    true => {
                        Answer::Made { auth_data: made.auth_data, signature: made.signature, attested: made.attested }
                    }
                    false => Answer::Forgotten,
                })
            }
        }
    }

    /// Asks for each credential. What the key does not understand of one, or is silent about, says nothing of the others;
    /// each gets its share of the time.
    fn probe(&mut self, credentials: &[(String, Vec<u8>)]) -> Result<Answer, Error> {
        let (mut held, mut unanswered) = (Vec::new(), None);
        for (n, (rp_id, credential)) in credentials.iter().enumerate() {
            let now = Instant::now();
            let left = self.line.last.get().saturating_duration_since(now);
            let share = left / u32::try_from(credentials.len() - n).unwrap_or(u32::MAX);
            let quiet = self.quiet;
            held.push(match self.until_clear(now + share, |device| device.holds(rp_id, credential, None)) {
                Err(error) if self.line.is_gone() => return Err(error),
                Err(error) => {
                    self.quiet = quiet;
                    unanswered = Some(error);
                    None
                }
                Ok(held) => Some(held),
            });
        }
        match unanswered {
            // It has answered nothing at all.
            Some(error) if held.iter().all(Option::is_none) => Err(error),
            _ => Ok(Answer::Probed(held.into_iter().map(Option::flatten).collect())),
        }
    }

    /// The key on its present channel, or on a new one.
    fn device(&mut self) -> Result<&Device<'a>, Error> {
        let device = match self.device.take() {
            Some(device) => device,
            None => Device::open(self.library, self.line)?,
        };
        Ok(self.device.insert(device))
    }

    /// Asks for what needs no touch, until the answer is clear: each time on a new channel. A key that is silent is asked
    /// until `end`, one that is busy or locked as long as the job may take.
    fn until_clear<T>(&mut self, end: Instant, ask: impl Fn(&Device) -> Result<T, Error>) -> Result<T, Error> {
        let mut nonsense = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(PAUSE);
            self.line.begin_try(Some(self.quiet.min(left)));
            let error = match self.device().and_then(&ask) {
                Ok(clear) => return Ok(clear),
                Err(error) => error,
            };
            self.device = None;
            match self.line.cut.get() {
                _ if self.line.was_busy(error) => {}
                Some(Cut::Late) if Instant::now() < end => self.quiet *= 2,
                Some(Cut::Late) if self.line.now.get() != Now::Works => {}
                Some(Cut::Late) => return Err(error),
                _ if error.passes() && Instant::now() < end => {}
                _ if self.line.is_gone() => return Err(error),
                _ => nonsense += 1,
            }
            if nonsense == NONSENSE || !self.line.pause(PAUSE) {
                return Err(error);
            }
        }
    }

    /// Asks until no other program uses the key. What a PIN was sent for is not begun again otherwise: the PIN may have
    /// been wrong, and each costs a try. A key that is busy has not looked at it.
    fn until_free<T>(&mut self, ask: impl Fn(&Device) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            self.line.begin_try(None);
            match self.device().and_then(&ask) {
                Err(error) if self.line.was_busy(error) && self.line.pause(PAUSE) => {}
                done => return done,
            }
        }
    }
}

/// Has the first of these that the key holds sign.
fn assert(device: &Device, candidates: &[Candidate], hash: &[u8; 32], verify: &Verify) -> Result<Answer, Error> {
    let held = match verify {
        // The PIN shows which, without a touch for each that it does not hold.
        Verify::Pin(pin) if candidates.len() > 1 => first_held(device, candidates, pin)?,
        _ => None,
    };
    let asked = candidates.iter().enumerate().filter(|(n, _)| held.is_none_or(|held| held == *n));
    for (n, one) in asked {
        match device.assert(&one.rp_id, &one.credential, &one.public, hash, by(verify)) {
            Err(Error::NO_CREDENTIALS) => {}
            signed => return signed.map(|(signed, good)| Answer::Signed(n, signed, good)),
        }
    }
    Err(Error::NO_CREDENTIALS)
}

/// `None` if the key does not tell; an error if it holds none of them.
fn first_held(device: &Device, candidates: &[Candidate], pin: &Secret) -> Result<Option<usize>, Error> {
    let mut tells = true;
    for (n, one) in candidates.iter().enumerate() {
        match device.holds(&one.rp_id, &one.credential, Some(pin))? {
            Some(true) => return Ok(Some(n)),
            Some(false) => {}
            None => tells = false,
        }
    }
    if tells { Err(Error::NO_CREDENTIALS) } else { Ok(None) }
}

/// Whether a login would find what was just made. What the key does not tell is no reason against it.
fn is_found(device: &Device, rp_id: &str, made: &Made, verify: &Verify) -> Result<bool, Error> {
    let Some(credential) = unwrapped(&made.auth_data).and_then(credential) else { return Ok(true) };
    match (device.holds(rp_id, credential, None)?, verify) {
        (Some(false), Verify::Pin(pin)) => Ok(device.holds(rp_id, credential, Some(pin))? == Some(true)),
        // A finger would have to be laid on it once more.
        (Some(false), Verify::BuiltIn) => Ok(true),
        (held, _) => Ok(held != Some(false)),
    }
}

fn by(verify: &Verify) -> fido::Verify<'_> {
    match verify {
        Verify::No => fido::Verify::No,
        Verify::BuiltIn => fido::Verify::BuiltIn,
        Verify::Pin(pin) => fido::Verify::Pin(pin),
    }
}

/// The connection to the key. Each exchange ends in time, whatever the key does.
struct Line<'a> {
    key: OwnedFd,
    helper: BorrowedFd<'a>,
    /// The end of the job.
    last: Cell<Instant>,
    /// The end of this try, and how long the key may be silent in it.
    end: Cell<Instant>,
    quiet: Cell<Option<Duration>>,
    cut: Cell<Option<Cut>>,
    /// The channel of what was last sent. hidraw shows each program what the key says to all of them.
    channel: Cell<[u8; 4]>,
    /// The key has said in this try that another program uses it.
    busy: Cell<bool>,
    now: Cell<Now>,
    /// Whether each exchange is reported; when this job began, and what the last keepalive said.
    debug: Cell<bool>,
    begun: Cell<Instant>,
    kept_alive: Cell<Option<u8>>,
}

/// Commands of CTAPHID as the first frame of a message has them (CTAP 2.1, 11.2.9).
const MESSAGE: u8 = 0x83;
const CBOR: u8 = 0x90;
const KEEPALIVE: u8 = 0xbb;
const ERROR: u8 = 0xbf;
/// Errors: another channel is served, or has locked the key.
const BUSY: [u8; 2] = [0x06, 0x0a];
/// The status of a keepalive: the key waits for its owner.
const WAITS: u8 = 2;

impl<'a> Line<'a> {
    fn new(key: OwnedFd, helper: BorrowedFd<'a>) -> Line<'a> {
        let now = Instant::now();
        Line {
            key,
            helper,
            last: Cell::new(now),
            end: Cell::new(now),
            quiet: Cell::new(None),
            cut: Cell::new(None),
            channel: Cell::new([0xff; 4]),
            busy: Cell::new(false),
            now: Cell::new(Now::Works),
            debug: Cell::new(false),
            begun: Cell::new(now),
            kept_alive: Cell::new(None),
        }
    }

    fn begin(&self, time: Duration) {
        self.begun.set(Instant::now());
        self.last.set(Instant::now() + time);
        self.now.set(Now::Works);
        // For code that computes or sleeps and does not come back to `read`.
        alarm::set(time.as_secs() as u32 + 2);
    }

    fn begin_try(&self, quiet: Option<Duration>) {
        self.quiet.set(quiet);
        self.cut.set(None);
        self.busy.set(false);
        self.end.set(self.last.get());
        self.prolong();
    }

    /// From now on the key may be silent again.
    fn prolong(&self) {
        if let Some(quiet) = self.quiet.get() {
            self.end.set(self.last.get().min(Instant::now() + quiet));
        }
    }

    fn failed(&self, error: Error) -> Answer {
        Answer::Failed(error.0, self.cut.get())
    }

    /// There is no key any more, or nobody who wants its answer.
    fn is_gone(&self) -> bool {
        matches!(self.cut.get(), Some(Cut::Unplugged | Cut::CalledOff))
    }

    fn was_busy(&self, error: Error) -> bool {
        // Some keys say it as an answer of CTAP2.
        if error == Error::CHANNEL_BUSY {
            self.say(Now::Busy);
        }
        (self.busy.get() || error == Error::CHANNEL_BUSY) && self.cut.get().is_none()
    }

    /// Waits, unless the helper calls it off or the job has no time left.
    fn pause(&self, time: Duration) -> bool {
        let left = self.last.get().saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(time.min(left)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(self.helper, PollFlags::POLLIN)], wait) {
            Ok(0) if left > time => true,
            Ok(0) => {
                self.cut.set(Some(Cut::Late));
                false
            }
            _ => {
                self.cut.set(Some(Cut::CalledOff));
                false
            }
        }
    }

    /// Tells the helper how it is going, where that has changed.
    fn say(&self, now: Now) {
        if self.now.replace(now) != now {
            let _ = answer(self.helper, &Answer::Now(now));
        }
    }

    /// Reports the beginning of a message, without what it is about. Keepalives come ten times a second.
    fn trace(&self, sent: bool, frame: &[u8]) {
        let Some([command, high, low, content @ ..]) = frame.get(4..) else { return };
        // Otherwise it goes on with a message.
        if !self.debug.get() || command & 0x80 == 0 {
            return;
        }
        let what = match *command {
            // CLA and INS of a request, or the first byte of an answer.
            MESSAGE if sent => content.get(1),
            MESSAGE | CBOR | KEEPALIVE | ERROR => content.first(),
            // A nonce, or nothing.
            _ => None,
        };
        let kept_alive = what.copied().filter(|_| *command == KEEPALIVE);
        if self.kept_alive.replace(kept_alive) == kept_alive && kept_alive.is_some() {
            return;
        }
        let frame = Frame {
            sent,
            command: *command,
            what: what.copied(),
            length: u16::from_be_bytes([*high, *low]),
            milliseconds: u32::try_from(self.begun.get().elapsed().as_millis()).unwrap_or(u32::MAX),
        };
        // It is no reason to wait that the helper does not listen.
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let _ = send(self.helper.as_raw_fd(), Answer::Frame(frame).encode().bytes(), flags);
    }

    /// Looks at what the key says, before the library does, which keeps it to itself.
    fn heard(&self, report: &[u8]) {
        let Some((channel, [command, _, _, first, ..])) = report.split_first_chunk::<4>() else { return };
        if *channel != self.channel.get() {
            return;
        }
        self.trace(false, report);
        match (*command, *first) {
            (KEEPALIVE, status) => {
                if self.cut.get().is_none() {
                    self.prolong();
                }
                match status {
                    WAITS => self.say(Now::Waits),
                    _ => self.say(Now::Works),
                }
            }
            (ERROR, why) if BUSY.contains(&why) => {
                self.busy.set(true);
                self.say(Now::Busy);
            }
            // U2F has no keepalives.
            (MESSAGE, _) => self.say(Now::Works),
            _ => {}
        }
    }

    /// Cancels: the key gets a little time to give up. A second cut ends the exchange at once.
    fn cut(&self, why: Cut) -> Read {
        if self.cut.replace(self.cut.get().or(Some(why))).is_some() || why == Cut::Unplugged {
            self.end.set(Instant::now());
            return Read::Over;
        }
        self.end.set(Instant::now() + GIVE_UP);
        Read::CalledOff
    }
}

impl Io for Line<'_> {
    fn read(&self, report: &mut [u8], wait: Option<Duration>) -> Read {
        let now = Instant::now();
        let until = wait.map_or(self.end.get(), |wait| self.end.get().min(now + wait));
        loop {
            // Checked before the key is read, because a key that never stops sending must not prevent the end.
            let now = Instant::now();
            if now >= self.end.get() {
                return self.cut(Cut::Late);
            }
            if now >= until {
                return Read::Over;
            }
            let mut fds =
                [PollFd::new(self.key.as_fd(), PollFlags::POLLIN), PollFd::new(self.helper, PollFlags::POLLIN)];
            let listened = if self.cut.get().is_some() { &mut fds[..1] } else { &mut fds[..] };
            let left = PollTimeout::try_from(until - now + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if !matches!(poll(listened, left), Ok(_) | Err(Errno::EINTR)) {
                return self.cut(Cut::Unplugged);
            }
            let happened = |n: usize| fds[n].revents().is_some_and(|events| !events.is_empty());
            // During an exchange the helper sends nothing; readable means that it calls the exchange off.
            if self.cut.get().is_none() && happened(1) {
                return self.cut(Cut::CalledOff);
            }
            if happened(0) {
                match nix::unistd::read(&self.key, report) {
                    Ok(0) => return self.cut(Cut::Unplugged),
                    Ok(length) => {
                        self.heard(report.get(..length).unwrap_or_default());
                        return Read::Got(length);
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => return self.cut(Cut::Unplugged),
                }
            }
        }
    }

    fn write(&self, report: &[u8]) -> Option<usize> {
        // Behind the number of the report.
        if let Some(channel) = report.get(1..).and_then(|report| report.first_chunk()) {
            self.channel.set(*channel);
            self.trace(true, &report[1..]);
        }
        loop {
            match nix::unistd::write(&self.key, report) {
                Ok(length) => return Some(length),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < self.end.get() => {
                    let left = self.end.get().saturating_duration_since(Instant::now());
                    let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                    let _ = poll(&mut [PollFd::new(self.key.as_fd(), PollFlags::POLLOUT)], left);
                }
                Err(Errno::EAGAIN) => return None,
                Err(_) => {
                    self.cut(Cut::Unplugged);
                    return None;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.cut.get().is_some()
    }
}
