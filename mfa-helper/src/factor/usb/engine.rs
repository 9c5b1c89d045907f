//! Asks the keys that are plugged in, until there is one answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mfa_core::key::{self, Key, Signed};
use mfa_wire::{Broken, Secret};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::plugged::{Node, list};
use super::process::{Heard, Process};
use super::wire::{Answer, Candidate, Cut, Job, Verify, What};
use super::{Asked, Event, Failure, Make, New, NoAnswer, Person, Pin, SPARE_TRIES, made};
use crate::sys::fido::{Attested, Error, Features};

/// How often to look for newly plugged-in keys.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait for new keys to report what they hold, before the others go on without them.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a login waits for a key to be plugged in.
const INSERT: Duration = Duration::from_secs(15);

/// The longest time for a key to say which credentials it holds.
const PROBE: Duration = Duration::from_secs(5);

/// The most keys that are used. With more, the person must unplug one.
pub const MOST_PLUGGED: usize = 8;

/// The fault of a key that does not report its features.
const SILENT: &str = "it does not say in time what it is";

/// The task of this module.
pub enum Task<'a> {
    Assert(&'a Asked<'a>),
    Make(&'a Make<'a>),
}

/// The result of a task.
pub enum Done {
    Signed(usize, Signed, u32),
    Made(New),
}

/// The progress with one key.
#[derive(Debug)]
enum Stage {
    /// It is asked for its features and what it holds.
    New,
    /// It can be used, and waits for its turn.
    Ready,
    /// It waits for a touch that chooses it.
    Choosing,
    /// It has to sign or make.
    Asked,
    /// It cannot be used, for this reason.
    Useless(Failure),
}

/// The open device of a key. Programs that use keys lock it, as libfido2 does, so that they do not disturb each
/// other.
enum Device {
    Locked(Flock<OwnedFd>),
    Shared(OwnedFd),
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Device::Locked(device) => device.as_fd(),
            Device::Shared(device) => device.as_fd(),
        }
    }
}

/// One plugged-in key.
struct Plugged {
    node: Node,
    process: Process,
    /// Kept open until its process has ended.
    _device: Device,
    features: Features,
    stage: Stage,
    /// The indices of the task's keys that it may hold.
    held: Vec<usize>,
    /// It reported a built-in verification, but wants the PIN.
    wants_pin: bool,
    /// Whether a PIN or fingerprint was demanded.
    verified: bool,
}

/// All plugged-in keys.
#[derive(Default)]
struct Table {
    keys: Vec<Plugged>,
    /// A key has been chosen, by a touch or to ask for its PIN, and no other key is used any more.
    closed: bool,
}

impl Drop for Table {
    fn drop(&mut self) {
        // All at once, so that they end in parallel.
        self.keys.iter().for_each(|plugged| plugged.process.call_off());
    }
}

/// How the person must be verified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    BuiltIn,
    Pin,
}

impl Task<'_> {
    fn deadline(&self) -> Duration {
        match self {
            Task::Assert(asked) => asked.deadline,
            Task::Make(make) => make.deadline,
        }
    }

    /// How long to wait for a key to be plugged in. At a login, this leaves time for a recovery code: login(1) may
    /// end after a minute.
    fn patience(&self) -> Duration {
        match self {
            Task::Assert(asked) => asked.deadline.min(INSERT),
            Task::Make(make) => make.deadline,
        }
    }

    fn pin(&self) -> Pin {
        match self {
            Task::Assert(asked) => asked.pin,
            Task::Make(make) => make.pin,
        }
    }

    fn spares_tries(&self) -> bool {
        match self {
            Task::Assert(asked) => asked.spare_tries,
            Task::Make(make) => make.spare_tries,
        }
    }

    fn keys(&self) -> &[Key] {
        match self {
            Task::Assert(asked) => asked.keys,
            Task::Make(make) => make.exclude,
        }
    }

    /// The keys that can be searched by credential. The credential of an ssh key is stored elsewhere.
    fn probes(&self) -> Vec<(usize, &Key)> {
        self.keys().iter().enumerate().filter(|(_, key)| !key.credential.is_empty()).collect()
    }

    /// Sets the keys that `plugged` may hold, from what it said; fails if it is of no use.
    fn note_held(&self, plugged: &mut Plugged, said: Vec<Option<bool>>) -> Result<(), Failure> {
        let probes = self.probes();
        if said.len() != probes.len() {
            return Err(Failure::Hostile(String::from("an answer of the wrong length")));
        }
        let all = || said.iter().zip(&probes);
        let surely: Vec<usize> = all().filter(|(said, _)| **said == Some(true)).map(|(_, (n, _))| *n).collect();
        let maybe = || all().filter(|(said, _)| said.is_none()).map(|(_, (n, _))| *n).collect();
        match self {
            Task::Make(_) if !surely.is_empty() => Err(Failure::AlreadyBound),
            // If the key does not tell what it holds without verification, the request itself lists what it must not
            // hold.
            Task::Make(_) => {
                plugged.held = maybe();
                Ok(())
            }
            Task::Assert(_) => {
                plugged.held = if surely.is_empty() { maybe() } else { surely };
                if plugged.held.is_empty() { Err(Failure::NoBoundKey) } else { Ok(()) }
            }
        }
    }

    /// How this key must verify the person.
    fn need(&self, plugged: &Plugged) -> Result<Need, Failure> {
        let Features { pin, uv, always_uv, .. } = plugged.features;
        let bound_so = matches!(self, Task::Assert(asked) if plugged.held.iter().all(|n| asked.keys[*n].verified));
        let demanded = match self.pin() {
            Pin::Require => true,
            Pin::IfSet => pin || uv || bound_so,
            Pin::Never => always_uv || plugged.wants_pin,
        };
        match demanded {
            false => Ok(Need::Nothing),
            true if uv && !plugged.wants_pin => Ok(Need::BuiltIn),
            true if pin => Ok(Need::Pin),
            true => Err(Failure::NoPin),
        }
    }

    fn what(&self, plugged: &Plugged, verify: Verify) -> What {
        match self {
            Task::Assert(asked) => {
                let candidates = plugged.held.iter().map(|n| &asked.keys[*n]).map(|key| Candidate {
                    rp_id: key.rp_id.clone(),
                    credential: key.credential.clone(),
                    public: key.public,
                });
                What::Assert { candidates: candidates.collect(), hash: asked.challenge, verify }
            }
            Task::Make(make) => What::Make {
                rp_id: make.rp_id.to_owned(),
                user_id: make.user_id,
                user_name: make.user_name.to_owned(),
                hash: make.challenge,
                exclude: plugged.held.iter().map(|n| make.exclude[*n].credential.clone()).collect(),
                verify,
            },
        }
    }

    /// Checks a key's answer.
    fn check_answer(&self, held: &[usize], verified: bool, answer: Answer) -> Result<Done, Failure> {
        let malformed = || Failure::Hostile(String::from("malformed authenticator data"));
        match (self, answer) {
            (Task::Assert(asked), Answer::Signed(n, signed, good)) => {
                let n = *held.get(n).ok_or_else(malformed)?;
                let auth_data = made::unwrapped(&signed.auth_data).ok_or_else(malformed)?.to_vec();
                let signed = Signed { auth_data, ..signed };
                let counter = key::check(&asked.keys[n], &signed, &asked.challenge, verified);
                let counter = counter.map_err(Failure::Refused)?;
                if !good {
                    return Err(Failure::Hostile(String::from("libfido2 does not accept its signature")));
                }
                Ok(Done::Signed(n, signed, counter))
            }
            (Task::Make(make), Answer::Made { auth_data, signature, attested }) => {
                let auth_data = made::unwrapped(&auth_data).ok_or_else(malformed)?;
                let new = made::read(auth_data, make.rp_id, verified);
                let new = new.map_err(|why| Failure::Hostile(why.to_owned()))?;
                let message = [auth_data, &make.challenge].concat();
                if attested == Attested::Itself && !new.public.has_signed(&message, &signature) {
                    return Err(Failure::Hostile(String::from(
                        "the self attestation of the new credential is not valid",
                    )));
                }
                // Only the manufacturer's certificate vouches for a model, so there must be one.
                let known = attested == Attested::Certificate && make.aaguids.contains(&new.aaguid);
                if !make.aaguids.is_empty() && !known {
                    return Err(Failure::NotAllowedModel(new.aaguid));
                }
                if make.exclude.iter().any(|bound| bound.credential == new.credential) {
                    return Err(Failure::AlreadyBound);
                }
                Ok(Done::Made(new))
            }
            _ => Err(Failure::Hostile(String::from("an answer out of turn"))),
        }
    }
}

/// Asks all keys that are plugged in now or later, until one has done the task.
pub fn run(task: &Task, person: &mut dyn Person) -> Result<Done, Failure> {
    let begun = Instant::now();
    let mut end = begun + task.deadline();
    let mut table = Table::default();
    let mut told = None;
    let mut next_look = begun;
    loop {
        let now = Instant::now();
        if now >= next_look {
            table.look(now >= begun + SETTLE)?;
            next_look = now + LOOK;
        }
        if table.is_settled() || now >= begun + SETTLE {
            if let Some(chosen) = table.give_out(task, end)? {
                end = table.ask_pin(chosen, task, person)?;
            }
            let state = table.state();
            if told != Some(state) {
                person.tell(state);
                told = Some(state);
            }
        }
        let nothing_comes = now >= begun + task.patience() && !table.is_waiting();
        if now >= end || nothing_comes {
            return Err(table.why_nothing());
        }
        for node in table.wait(end.min(next_look), person)? {
            // An earlier event in this loop may have removed it.
            let Some(n) = table.keys.iter().position(|plugged| plugged.node == node) else { continue };
            if let Some(done) = table.heard(n, task, person, &mut end)? {
                return Ok(done);
            }
        }
    }
}

fn gone() -> Failure {
    Failure::Gone(NoAnswer::Gone(Broken::Closed))
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Table {
    /// Looks for plugged-in keys. A key that another process uses is left to that process for a while.
    fn look(&mut self, patience_is_over: bool) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let nodes = list();
        // Keys that wait for nothing do not report that they were pulled out.
        self.keys.retain(|plugged| match plugged.stage {
            Stage::Useless(Failure::Unplugged) => false,
            Stage::Useless(_) => nodes.contains(&plugged.node),
            _ => true,
        });
        for node in nodes {
            if self.keys.len() >= MOST_PLUGGED || self.keys.iter().any(|plugged| plugged.node == node) {
                continue;
            }
            let Some(opened) = node.open() else { continue };
            let device = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => Device::Locked(locked),
                // A process that holds the lock for ever must not block a login. The channels of CTAPHID keep the two
                // apart.
                Err((opened, _)) if patience_is_over => Device::Shared(opened),
                Err(_) => continue,
            };
            let process = Process::start(device.as_fd()).map_err(|why| Failure::NoProcess(why.desc().to_owned()))?;
            self.keys.push(Plugged {
                node,
                process,
                _device: device,
                features: Features::default(),
                stage: Stage::New,
                held: Vec::new(),
                wants_pin: false,
                verified: false,
            });
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        !self.keys.iter().any(|plugged| matches!(plugged.stage, Stage::New))
    }

    fn is_waiting(&self) -> bool {
        self.keys.iter().any(|plugged| matches!(plugged.stage, Stage::Choosing | Stage::Asked))
    }

    /// Gives every ready key its work. Returns the number of the only key if that needs its PIN first.
    fn give_out(&mut self, task: &Task, end: Instant) -> Result<Option<usize>, Failure> {
        let ready = |plugged: &&Plugged| matches!(plugged.stage, Stage::Ready);
        let alone = !self.is_waiting() && self.keys.iter().filter(ready).count() == 1;
        // With two new keys, a touch says which one to bind.
        let choose_first = matches!(task, Task::Make(_)) && !alone;
        for n in 0..self.keys.len() {
            let plugged = &mut self.keys[n];
            if !matches!(plugged.stage, Stage::Ready) {
                continue;
            }
            let milliseconds = milliseconds(end.saturating_duration_since(Instant::now()));
            match task.need(plugged) {
                Err(failure) => {
                    plugged.useless(failure);
                    self.give_up_unless_waiting(n)?;
                }
                Ok(Need::Pin) if alone => return Ok(Some(n)),
                Ok(need) if need == Need::Pin || choose_first => {
                    plugged.process.send(&Job { milliseconds, what: What::Touch });
                    plugged.stage = Stage::Choosing;
                }
                Ok(need) => {
                    plugged.give_work(task, if need == Need::BuiltIn { Verify::BuiltIn } else { Verify::No }, end)
                }
            }
        }
        Ok(None)
    }

    /// Keeps key `n`, now number 0, and drops the others.
    fn choose(&mut self, n: usize) {
        let chosen = self.keys.swap_remove(n);
        drop(std::mem::take(self));
        self.keys.push(chosen);
        self.closed = true;
    }

    /// Chooses key `n`, asks for its PIN, and gives it its work. Returns until when to wait for it.
    fn ask_pin(&mut self, n: usize, task: &Task, person: &mut dyn Person) -> Result<Instant, Failure> {
        // The others must not blink while the PIN is typed.
        self.choose(n);
        let plugged = &mut self.keys[0];
        let left = plugged.features.tries;
        match (left, task) {
            (Some(0), _) => return Err(Failure::PinBlocked { replug: false }),
            (Some(left), _) if task.spares_tries() && left <= SPARE_TRIES => {
                return Err(Failure::FewTries(left.into()));
            }
            _ => {}
        }
        let label = match (task, plugged.held.first()) {
            (Task::Assert(asked), Some(n)) => &asked.keys[*n].label,
            _ => "",
        };
        let pin: Secret = person.pin(label, left.map(u32::from)).map_err(Failure::Gone)?;
        let end = Instant::now() + task.deadline();
        plugged.give_work(task, Verify::Pin(pin), end);
        Ok(end)
    }

    /// What the person must do now.
    fn state(&self) -> Event {
        let any = |stage: fn(&Stage) -> bool| self.keys.iter().any(|plugged| stage(&plugged.stage));
        if any(|stage| matches!(stage, Stage::Asked)) {
            Event::Touch
        } else if any(|stage| matches!(stage, Stage::Choosing)) {
            Event::TouchToChoose
        } else if any(|stage| matches!(stage, Stage::Useless(Failure::NoBoundKey | Failure::AlreadyBound))) {
            Event::WrongKey
        } else if !self.keys.is_empty() {
            Event::Unusable
        } else {
            Event::Insert
        }
    }

    /// The reason to report when the time is over.
    fn why_nothing(&mut self) -> Failure {
        if self.is_waiting() {
            return Failure::NotTouched;
        }
        let useless = self.keys.drain(..).map(|plugged| match plugged.stage {
            Stage::Useless(failure) => failure,
            _ => Failure::Hostile(String::from(SILENT)),
        });
        // A fault of a key tells more than the fact that another key is not bound.
        useless.min_by_key(|failure| matches!(failure, Failure::NoBoundKey)).unwrap_or(Failure::NoKey)
    }

    /// Waits for events. Returns the keys that have something to say.
    fn wait(&self, until: Instant, person: &mut dyn Person) -> Result<Vec<Node>, Failure> {
        let heard = |plugged: &&Plugged| !matches!(plugged.stage, Stage::Useless(_));
        let mut fds = vec![PollFd::new(person.gone(), PollFlags::POLLIN)];
        let sockets = self.keys.iter().filter(heard).map(|plugged| plugged.process.socket());
        fds.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(why) => return Err(Failure::NoProcess(why.desc().to_owned())),
        }
        let happened = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        if happened(&fds[0]) {
            return Err(gone());
        }
        let nodes = self.keys.iter().filter(heard).map(|plugged| &plugged.node);
        Ok(nodes.zip(&fds[1..]).filter(|(_, fd)| happened(fd)).map(|(node, _)| node.clone()).collect())
    }

    /// Handles the message of key `n`.
    fn heard(
        &mut self,
        n: usize,
        task: &Task,
        person: &mut dyn Person,
        end: &mut Instant,
    ) -> Result<Option<Done>, Failure> {
        let plugged = &mut self.keys[n];
        let answer = match plugged.process.hear() {
            Heard::Nothing => return Ok(None),
            Heard::Answer(Answer::NoLibrary(why)) if matches!(plugged.stage, Stage::New) => {
                return Err(Failure::NoLibrary(why));
            }
            Heard::Answer(answer) => Some(answer),
            Heard::Broken => None,
        };
        let Some(answer) = answer else {
            let was_new = matches!(plugged.stage, Stage::New);
            plugged.useless(Failure::Hostile(String::from("the process that talks to it has ended")));
            return if was_new { Ok(None) } else { self.give_up_unless_waiting(n).map(|()| None) };
        };
        let failure = match (&plugged.stage, answer) {
            (Stage::New, Answer::Open(features)) => {
                plugged.features = features;
                let probes = task.probes();
                let wanted = probes.iter().map(|(_, key)| (key.rp_id.clone(), key.credential.clone()));
                let what = What::Probe(wanted.collect());
                plugged.process.send(&Job { milliseconds: milliseconds(PROBE), what });
                return Ok(None);
            }
            (Stage::New, Answer::Probed(said)) => {
                match task.note_held(plugged, said) {
                    Ok(()) => plugged.stage = Stage::Ready,
                    Err(failure) => plugged.useless(failure),
                }
                return self.give_up_if(task);
            }
            (Stage::New, Answer::Failed(code, cut)) => {
                let late = || Failure::Hostile(String::from(SILENT));
                plugged.useless(if cut == Some(Cut::Late) { late() } else { plugged.failure(code, cut) });
                return Ok(None);
            }
            (Stage::Choosing, Answer::Touched) => {
                match task.need(plugged)? {
                    Need::Pin => *end = self.ask_pin(n, task, person)?,
                    need => {
                        self.choose(n);
                        *end = Instant::now() + task.deadline();
                        let verify = if need == Need::BuiltIn { Verify::BuiltIn } else { Verify::No };
                        self.keys[0].give_work(task, verify, *end);
                    }
                }
                return Ok(None);
            }
            (Stage::Asked, Answer::Failed(code, None)) if plugged.wants_pin_after(code) => {
                plugged.wants_pin = true;
                plugged.stage = Stage::Ready;
                return Ok(None);
            }
            (Stage::Choosing | Stage::Asked, Answer::Failed(code, cut)) => plugged.failure(code, cut),
            (Stage::Asked, answer) => match task.check_answer(&plugged.held, plugged.verified, answer) {
                Ok(done) => return Ok(Some(done)),
                Err(failure) => failure,
            },
            _ => Failure::Hostile(String::from("an answer out of turn")),
        };
        // Another key may still do the task.
        plugged.useless(failure);
        self.give_up_unless_waiting(n).map(|()| None)
    }

    /// Key `n` has failed. Its failure is the outcome, unless another key may still do the task.
    fn give_up_unless_waiting(&mut self, n: usize) -> Result<(), Failure> {
        if self.keys.iter().any(|plugged| !matches!(plugged.stage, Stage::Useless(_))) {
            return Ok(());
        }
        match self.keys.swap_remove(n).stage {
            Stage::Useless(failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// While a new key is bound: if every plugged-in key is already bound, there is nothing to wait for.
    fn give_up_if(&mut self, task: &Task) -> Result<Option<Done>, Failure> {
        let bound = |plugged: &Plugged| matches!(plugged.stage, Stage::Useless(Failure::AlreadyBound));
        if matches!(task, Task::Make(_)) && self.keys.iter().all(bound) {
            return Err(Failure::AlreadyBound);
        }
        Ok(None)
    }
}

impl Plugged {
    /// Gives it no more work, and ends its process.
    fn useless(&mut self, why: Failure) {
        self.stage = Stage::Useless(why);
        self.process.call_off();
    }

    fn give_work(&mut self, task: &Task, verify: Verify, end: Instant) {
        self.verified = !matches!(verify, Verify::No);
        let milliseconds = milliseconds(end.saturating_duration_since(Instant::now()));
        self.process.send(&Job { milliseconds, what: task.what(self, verify) });
        self.stage = Stage::Asked;
    }

    /// Whether the key wants its PIN after all: the fingerprint was not recognized, or the key demands verification.
    fn wants_pin_after(&self, code: i32) -> bool {
        let wants = [Error::PIN_REQUIRED, Error::UV_BLOCKED, Error::UV_INVALID];
        wants.contains(&Error(code)) && self.features.pin && !self.wants_pin
    }

    /// The failure for an error code of the library.
    fn failure(&self, code: i32, cut: Option<Cut>) -> Failure {
        match (cut, Error(code)) {
            (Some(Cut::Unplugged), _) => Failure::Unplugged,
            (Some(Cut::Late | Cut::CalledOff), _) => Failure::NotTouched,
            (None, Error::USER_ACTION_TIMEOUT | Error::ACTION_TIMEOUT) => Failure::NotTouched,
            (None, Error::OPERATION_DENIED | Error::NOT_ALLOWED | Error::KEEPALIVE_CANCEL) => Failure::Denied,
            (None, Error::PIN_INVALID | Error::PIN_AUTH_INVALID) => {
                Failure::WrongPin { left: self.features.tries.map(|tries| u32::from(tries).saturating_sub(1)) }
            }
            (None, Error::PIN_BLOCKED) => Failure::PinBlocked { replug: false },
            (None, Error::PIN_AUTH_BLOCKED) => Failure::PinBlocked { replug: true },
            (None, Error::UV_BLOCKED | Error::UV_INVALID) => Failure::WrongFinger,
            (None, Error::PIN_NOT_SET | Error::PIN_REQUIRED) => Failure::NoPin,
            (None, Error::NO_CREDENTIALS) => Failure::NoBoundKey,
            (None, Error::CREDENTIAL_EXCLUDED) => Failure::AlreadyBound,
            (None, Error::KEY_STORE_FULL) => Failure::Denied,
            (None, Error(code)) => Failure::Hostile(format!("libfido2 says {code}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{DerSignature, SigningKey};
    use sha2::{Digest, Sha256};

    use super::*;
    use mfa_core::Id;
    use mfa_core::key::PublicKey;

    const CHALLENGE: [u8; 32] = [7; 32];

    fn signer() -> SigningKey {
        SigningKey::from_slice(&[9; 32]).unwrap()
    }

    fn bound() -> Key {
        let point = signer().verifying_key().to_sec1_point(false);
        Key {
            id: Id([1; 16]),
            label: String::new(),
            created: 0,
            created_from: String::new(),
            rp_id: "pam://web1".to_owned(),
            credential: vec![1, 2, 3],
            public: PublicKey::es256(&point.as_bytes()[1..]).unwrap(),
            verified: false,
            counter: 0,
        }
    }

    /// An answer as a process sends it, wrapped as libfido2 does.
    fn said(signer: &SigningKey, flags: u8, good: bool) -> Answer {
        let auth_data = [&Sha256::digest(b"pam://web1")[..], &[flags, 0, 0, 0, 5]].concat();
        let signature: DerSignature = signer.sign(&[&auth_data[..], &CHALLENGE].concat());
        let auth_data = [&[0x58, 37][..], &auth_data].concat();
        Answer::Signed(0, Signed { auth_data, signature: signature.as_bytes().to_vec() }, good)
    }

    fn judged(held: &[usize], verified: bool, answer: Answer) -> Result<u32, String> {
        let keys = [bound()];
        let deadline = Duration::ZERO;
        let asked = Asked { keys: &keys, challenge: CHALLENGE, pin: Pin::IfSet, spare_tries: true, deadline };
        match Task::Assert(&asked).check_answer(held, verified, answer) {
            Ok(Done::Signed(0, _, counter)) => Ok(counter),
            Ok(_) => panic!("something else"),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn the_word_of_the_process_for_a_signature_is_not_enough() {
        assert_eq!(judged(&[0], false, said(&signer(), 1, true)), Ok(5));
        let refused = |why: &str| Err(format!("Refused({why})"));
        let other = SigningKey::from_slice(&[10; 32]).unwrap();
        assert_eq!(judged(&[0], false, said(&other, 1, true)), refused("BadSignature"));
        assert_eq!(judged(&[0], false, said(&signer(), 0, true)), refused("NotTouched"));
        assert_eq!(judged(&[0], true, said(&signer(), 1, true)), refused("NotVerified"));
        assert!(judged(&[0], false, said(&signer(), 1, false)).unwrap_err().starts_with("Hostile"), "libfido2's no");
        assert!(
            judged(&[], false, said(&signer(), 1, true)).unwrap_err().starts_with("Hostile"),
            "nobody asked for it"
        );
        assert!(judged(&[0], false, Answer::Touched).unwrap_err().starts_with("Hostile"), "out of turn");
    }
}
