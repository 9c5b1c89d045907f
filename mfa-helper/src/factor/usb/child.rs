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

use super::wire::{Answer, Cut, Job, MOST, Verify, What};
use crate::sys::child::{confine, given, shut_off};
use crate::sys::fido::{self, Device, Error, Io, Library, Making, Read};

/// The longest time for a key to report its features. This needs no touch.
const HELLO: Duration = Duration::from_secs(3);

/// The longest time for a key to give up after a cancel.
const GIVE_UP: Duration = Duration::from_millis(300);

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
        Err(why) => return answer(helper, &Answer::NoLibrary(why)),
    };
    let line = Line { key, helper, end: Cell::new(Instant::now()), cut: Cell::new(None) };
    line.begin(HELLO);
    let opened = Device::open(&library, &line).and_then(|device| device.features().map(|features| (device, features)));
    let device = match opened {
        Ok((device, features)) => {
            answer(helper, &Answer::Open(features))?;
            device
        }
        Err(error) => return answer(helper, &line.failed(error)),
    };
    loop {
        alarm::cancel();
        let job = job(helper)?;
        line.begin(Duration::from_millis(job.milliseconds.into()));
        let done = work(&device, &line, &job.what).unwrap_or_else(|error| line.failed(error));
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

fn work(device: &Device, line: &Line, what: &What) -> Result<Answer, Error> {
    match what {
        What::Probe(credentials) => {
            let mut held = Vec::new();
            for (rp_id, credential) in credentials {
                held.push(match device.holds(rp_id, credential) {
                    Ok(holds) => Some(holds),
                    Err(error) if line.cut.get().is_some() => return Err(error),
                    Err(_) => None,
                });
            }
            Ok(Answer::Probed(held))
        }
        What::Touch => device.touched().map(|()| Answer::Touched),
        What::Assert { candidates, hash, verify } => {
            for (n, one) in candidates.iter().enumerate() {
                match device.assert(&one.rp_id, &one.credential, &one.public, hash, by(verify)) {
                    Err(Error::NO_CREDENTIALS) => {}
                    signed => return signed.map(|(signed, good)| Answer::Signed(n, signed, good)),
                }
            }
            Err(Error::NO_CREDENTIALS)
        }
        What::Make { rp_id, user_id, user_name, hash, exclude, verify } => {
            let making = Making { rp_id, user_id, user_name, hash, exclude };
            let made = device.make(&making, by(verify))?;
            Ok(Answer::Made { auth_data: made.auth_data, signature: made.signature, attested: made.attested })
        }
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
    end: Cell<Instant>,
    cut: Cell<Option<Cut>>,
}

impl Line<'_> {
    fn begin(&self, time: Duration) {
        self.end.set(Instant::now() + time);
        self.cut.set(None);
        // For code that computes or sleeps and does not come back to `read`.
        alarm::set(time.as_secs() as u32 + 2);
    }

    fn failed(&self, error: Error) -> Answer {
        Answer::Failed(error.0, self.cut.get())
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
                    Ok(length) => return Read::Got(length),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => return self.cut(Cut::Unplugged),
                }
            }
        }
    }

    fn write(&self, report: &[u8]) -> Option<usize> {
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
