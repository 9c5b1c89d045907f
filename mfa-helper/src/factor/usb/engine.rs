//! Asks the keys that are plugged in, until there is one answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mfa_core::key::{self, Key, Signed};
use mfa_wire::Broken;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::FOUND;
use super::plugged::{Node, list};
use super::process::{Heard, Process};
use super::wire::{Answer, Candidate, Cut, Job, Now, Verify, What};
use super::{Asked, Event, Failure, Make, New, NoAnswer, NotAPin, Person, Pin, SPARE_TRIES, Waiting, made};
use crate::sys::fido::{Attested, Error, Features};

/// How often to look for newly plugged-in keys.
const LOOK: Duration = Duration::from_millis(250);

/// How long a key that was just plugged in is waited for, before the others go on without it and anything is said of it.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a login waits for a key to be plugged in, where nobody can say by Enter that it is there.
const INSERT: Duration = Duration::from_secs(15);

/// How long a key may think about a PIN before the person is told to touch it, though it does not say that it waits.
/// Where the PIN is wrong, no touch is asked for.
const CUE: Duration = Duration::from_secs(2);

/// How long a key that is gone in the middle may take to come back: a reset of the USB bus takes it away for a moment.
const BACK: Duration = Duration::from_millis(1500);

/// So much longer than it was given a process may take to say that the time is over.
const GRACE: Duration = Duration::from_secs(1);

/// A CTAP2 request lists at most so many credentials: more are too many for some keys.
const MOST_LISTED: usize = 8;

/// The most keys that are used. With more, the person must unplug one.
pub const MOST_PLUGGED: usize = 8;

/// So many exchanges with keys are logged in one conversation: a hostile one must not fill the log.
const MOST_LOGGED: u32 = 500;

/// A line that takes longer to be logged is the last.
const SLOW_LOG: Duration = Duration::from_millis(200);

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

/// The life of one key, from its insertion to its verdict.
#[derive(Debug)]
enum Stage {
    /// It is asked what it is.
    New,
    /// It is asked what it holds.
    Probed,
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

impl Device {
    fn unlocked(self) -> Device {
        match self {
            Device::Locked(lock) => lock.unlock().map_or_else(|(lock, _)| Device::Locked(lock), Device::Shared),
            shared => shared,
        }
    }
}

/// One plugged-in key.
struct Plugged {
    node: Node,
    process: Process,
    /// Kept open until its process has ended, so that no other key gets its number meanwhile.
    device: Option<Device>,
    features: Features,
    stage: Stage,
    /// When it was plugged in, or the prompt came.
    since: Instant,
    /// When its present stage began, and when that ends at the latest.
    begun: Instant,
    end: Instant,
    /// How it is going, as its frames say, and since when.
    now: Now,
    changed: Instant,
    /// The indices of the task's keys that it may hold.
    held: Vec<usize>,
    /// It says that it holds one of them, or is to hold a new one. All else may be said by anybody's key.
    sure: bool,
    /// It says that it holds none of them, but keys hide some credentials until they see a PIN (credProtect 3).
    hides: bool,
    /// It reported a built-in verification, but wants the PIN.
    wants_pin: bool,
    /// Whether a PIN or fingerprint was demanded.
    verified: bool,
    /// Whether it was given a PIN.
    by_pin: bool,
    /// Whether its exchanges are reported.
    debugs: bool,
}

/// All plugged-in keys.
#[derive(Default)]
struct Table {
    keys: Vec<Plugged>,
    /// Keys that another program has locked, and since when they are there.
    taken: Vec<(Node, Instant)>,
    /// There were such keys when the time was over.
    kept_from_us: bool,
    /// A key has been chosen, by a touch or to ask for its PIN, and no other key is used any more.
    closed: bool,
    /// Until when the key is waited for that was asked and is gone. That is done once.
    back_by: Option<Instant>,
    was_gone: bool,
    /// How many exchanges have been logged.
    logged: u32,
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

    fn debug(&self) -> bool {
        match self {
            Task::Assert(asked) => asked.debug,
            Task::Make(make) => make.debug,
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
        // What was made with a PIN or fingerprint may be hidden without.
        let verifies = plugged.features.pin || plugged.features.uv;
        let may_hide = |said: &Option<bool>, key: &Key| *said == Some(false) && key.verified && verifies;
        let maybe = all().filter(|(said, (_, key))| said.is_none() || may_hide(said, key)).map(|(_, (n, _))| *n);
        match self {
            Task::Make(_) if !surely.is_empty() => Err(Failure::AlreadyBound),
            // If the key does not tell what it holds without verification, the request itself lists what it must not
            // hold.
            Task::Make(_) => {
                plugged.held = maybe.take(MOST_LISTED).collect();
                plugged.sure = true;
                Ok(())
            }
            Task::Assert(_) => {
                plugged.sure = !surely.is_empty();
                plugged.hides = surely.is_empty() && !said.contains(&None);
                plugged.held = if surely.is_empty() { maybe.collect() } else { surely };
                if plugged.held.is_empty() { Err(Failure::NoBoundKey) } else { Ok(()) }
            }
        }
    }

    /// How this key must verify the person.
    fn need(&self, plugged: &Plugged) -> Result<Need, Failure> {
        let Features { fido2, pin, uv, always_uv, must_change, tries } = plugged.features;
        let bound_so = matches!(self, Task::Assert(asked) if plugged.held.iter().all(|n| asked.keys[*n].verified));
        let demanded = match self.pin() {
            Pin::Require => true,
            Pin::IfSet => pin || uv || bound_so,
            Pin::Never => always_uv || plugged.wants_pin || plugged.hides,
        };
        match demanded {
            false => Ok(Need::Nothing),
            true if uv && !plugged.wants_pin => Ok(Need::BuiltIn),
            true if pin && must_change => Err(Failure::MustChangePin(plugged.node.name.clone())),
            true if pin => match tries {
                Some(0) => Err(Failure::PinBlocked { replug: false }),
                Some(left) if left <= SPARE_TRIES && self.spares_tries() => Err(Failure::FewTries(left.into())),
                _ => Ok(Need::Pin),
            },
            true if fido2 => Err(Failure::NoPin),
            true => Err(Failure::NeverAPin),
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
            (Task::Make(_), Answer::Forgotten) => Err(Failure::Forgetful),
            _ => Err(Failure::Hostile(String::from("an answer out of turn"))),
        }
    }
}

/// Asks all keys that are plugged in now or later, until one has done the task. Each has its own time, from its insertion
/// on; after the time for one to be plugged in only those are waited for that may still do it.
pub fn run(task: &Task, person: &mut dyn Person) -> Result<Done, Failure> {
    let mut begun = Instant::now();
    let mut patience = task.patience();
    let mut table = Table::default();
    let mut told = None;
    let mut next_look = begun;
    loop {
        let now = Instant::now();
        if now >= next_look {
            match now < begun + task.deadline() || table.back_by.is_some() {
                true => table.look(task)?,
                false => table.wait_for_no_other(),
            }
            table.end_what_is_late(now)?;
            table.miss_what_is_gone(now)?;
            next_look = now + LOOK;
        }
        if table.back_by.is_some() {
            // Of a key that comes back everything is told again.
            told = None;
        }
        if table.is_settled(now)
            && let Some(chosen) = table.give_out(task)?
        {
            table.ask_pin(chosen, task, person)?;
            told = None;
        }
        if let Some(state) = table.state(now).filter(|state| told != Some(*state)) {
            told = Some(state);
            match table.is_alive() {
                true => person.tell(state),
                false if person.plug_in(state)? == Waiting::On => {}
                // The kernel takes a moment to show what was just plugged in.
                false => {
                    (begun, patience) = (Instant::now(), SETTLE);
                    next_look = begun;
                    continue;
                }
            }
        }
        if now >= begun + patience && !table.is_alive() {
            return Err(table.why_nothing());
        }
        for node in table.wait(next_look, person)? {
            // An earlier event in this loop may have removed it.
            let Some(n) = table.keys.iter().position(|plugged| plugged.node == node) else { continue };
            if let Some(done) = table.heard(n, task, person)? {
                return Ok(done);
            }
        }
    }
}

impl From<NotAPin> for Failure {
    fn from(none: NotAPin) -> Failure {
        match none {
            NotAPin::Gone(none) => Failure::Gone(none),
            NotAPin::Instead(typed) => Failure::NotAPin(typed),
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
    /// Looks for plugged-in keys. A key that another program has locked is left to it for a while.
    fn look(&mut self, task: &Task) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let (nodes, now) = (list(), Instant::now());
        // Keys that wait for nothing do not report that they were pulled out.
        self.keys.retain(|plugged| match plugged.stage {
            Stage::Useless(Failure::Unplugged) => false,
            Stage::Useless(_) => nodes.contains(&plugged.node),
            _ => true,
        });
        self.taken.retain(|(node, _)| nodes.contains(node));
        for node in nodes {
            if self.keys.len() >= MOST_PLUGGED || self.keys.iter().any(|plugged| plugged.node == node) {
                continue;
            }
            let Some(opened) = node.open() else { continue };
            let taken = self.taken.iter().position(|(taken, _)| *taken == node);
            let since = taken.map_or(now, |n| self.taken[n].1);
            let device = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => Device::Locked(locked),
                // A process that holds the lock for ever must not block a login. The channels of CTAPHID keep the two
                // apart.
                Err((opened, _)) if now >= since + SETTLE => Device::Shared(opened),
                Err(_) => {
                    if taken.is_none() {
                        self.taken.push((node, since));
                    }
                    continue;
                }
            };
            if let Some(n) = taken {
                self.taken.swap_remove(n);
            }
            let process = Process::start(device.as_fd()).map_err(|why| Failure::NoProcess(why.desc().to_owned()))?;
            let mut plugged = Plugged {
                node,
                process,
                device: Some(device),
                features: Features::default(),
                stage: Stage::New,
                since,
                begun: now,
                end: now,
                now: Now::Works,
                changed: now,
                held: Vec::new(),
                sure: false,
                hides: false,
                wants_pin: false,
                verified: false,
                by_pin: false,
                debugs: task.debug(),
            };
            plugged.give(Stage::New, What::Open, task.deadline());
            self.keys.push(plugged);
        }
        Ok(())
    }

    /// No key is looked for any more, and none is waited for that another program has locked.
    fn wait_for_no_other(&mut self) {
        self.kept_from_us |= !self.taken.is_empty();
        self.taken.clear();
    }

    /// A process that says nothing though its time is over gets no more.
    fn end_what_is_late(&mut self, now: Instant) -> Result<(), Failure> {
        for n in 0..self.keys.len() {
            let plugged = &mut self.keys[n];
            if plugged.is_at_work() && now >= plugged.end + GRACE {
                let failure = plugged.failure(0, Some(Cut::Late));
                self.fails(n, failure)?;
                break;
            }
        }
        Ok(())
    }

    /// The key that was asked has not come back, and no other may do the task.
    fn miss_what_is_gone(&mut self, now: Instant) -> Result<(), Failure> {
        if self.back_by.is_some_and(|end| now >= end) {
            self.back_by = None;
            if !self.is_alive() {
                return Err(Failure::Unplugged);
            }
        }
        Ok(())
    }

    /// Whether nobody is waited for any more before the keys that are ready get their work.
    fn is_settled(&self, now: Instant) -> bool {
        self.taken.is_empty() && !self.keys.iter().any(|plugged| plugged.is_unclear() && now < plugged.since + SETTLE)
    }

    /// Whether any key may still do the task.
    fn is_alive(&self) -> bool {
        let any_key = self.keys.iter().any(|plugged| !matches!(plugged.stage, Stage::Useless(_)));
        any_key || !self.taken.is_empty() || self.back_by.is_some()
    }

    fn is_waiting(&self) -> bool {
        self.keys.iter().any(|plugged| matches!(plugged.stage, Stage::Choosing | Stage::Asked))
    }

    /// Gives every ready key its work. Returns the number of the only key if that needs its PIN first.
    fn give_out(&mut self, task: &Task) -> Result<Option<usize>, Failure> {
        // A key that only may hold something, as anybody's may, stands back behind one that says so, and behind one that
        // has not spoken yet. What it has begun is called off; it is looked for again, and stands back.
        let says_so =
            |plugged: &Plugged| plugged.sure && matches!(plugged.stage, Stage::Ready | Stage::Choosing | Stage::Asked);
        let any_says_so = self.keys.iter().any(says_so);
        if any_says_so {
            self.keys.retain(|plugged| plugged.sure || !matches!(plugged.stage, Stage::Choosing | Stage::Asked));
        }
        let sure_ones_only = any_says_so || self.keys.iter().any(Plugged::is_unclear);
        let ready = |plugged: &Plugged| matches!(plugged.stage, Stage::Ready) && (plugged.sure || !sure_ones_only);
        let alone = !self.is_waiting() && self.keys.iter().filter(|plugged| ready(plugged)).count() == 1;
        // With two new keys, a touch says which one to bind.
        let choose_first = matches!(task, Task::Make(_)) && !alone;
        for n in 0..self.keys.len() {
            let plugged = &mut self.keys[n];
            if !ready(plugged) {
                continue;
            }
            match task.need(plugged) {
                Err(failure) => {
                    self.fails(n, failure)?;
                    return Ok(None);
                }
                Ok(Need::Pin) if alone && plugged.sure => return Ok(Some(n)),
                // While it waits for the touch, the bound one can still be plugged in.
                Ok(Need::Pin) if !plugged.sure => plugged.give(Stage::Choosing, What::Touch, task.patience()),
                Ok(need) if need == Need::Pin || choose_first => {
                    plugged.give(Stage::Choosing, What::Touch, task.deadline());
                }
                Ok(need) => plugged.give_work(task, if need == Need::BuiltIn { Verify::BuiltIn } else { Verify::No }),
            }
        }
        Ok(None)
    }

    /// Keeps key `n`, now number 0, and drops the others.
    fn choose(&mut self, n: usize) {
        let chosen = self.keys.swap_remove(n);
        let (was_gone, logged) = (self.was_gone, self.logged);
        drop(std::mem::take(self));
        (self.was_gone, self.logged) = (was_gone, logged);
        self.keys.push(chosen);
        self.closed = true;
    }

    /// Chooses key `n`, asks for its PIN, and gives it its work.
    fn ask_pin(&mut self, n: usize, task: &Task, person: &mut dyn Person) -> Result<(), Failure> {
        // The others must not blink while the PIN is typed.
        self.choose(n);
        let plugged = &mut self.keys[0];
        let left = plugged.features.tries;
        let label = match (task, &plugged.held[..]) {
            (Task::Assert(asked), [n, ..]) if plugged.sure => &asked.keys[*n].label,
            _ => "",
        };
        let pin = person.pin(label, left.map(u32::from))?;
        plugged.give_work(task, Verify::Pin(pin));
        Ok(())
    }

    /// What the person must know now; none as long as that may change at once.
    fn state(&self, now: Instant) -> Option<Event> {
        let any = |is: fn(&Plugged) -> bool| self.keys.iter().any(is);
        let asked = |plugged: &&Plugged| matches!(plugged.stage, Stage::Asked | Stage::Choosing);
        if self.back_by.is_some() && !any(|plugged| !matches!(plugged.stage, Stage::Useless(_))) {
            None
        } else if self.keys.iter().any(|plugged| plugged.now != Now::Busy && plugged.is_to_be_touched(now)) {
            Some(Event::Touch)
        } else if any(|plugged| matches!(plugged.stage, Stage::Choosing) && plugged.sure && plugged.now != Now::Busy) {
            Some(Event::TouchToChoose)
        } else if any(|plugged| matches!(plugged.stage, Stage::Choosing) && plugged.now != Now::Busy) {
            // It may be a strange one.
            Some(Event::Insert)
        } else if self.keys.iter().filter(asked).any(|plugged| plugged.now != Now::Busy) {
            None
        } else if any(|plugged| plugged.is_unclear() && plugged.now == Now::Waits) {
            Some(Event::Unlock)
        } else if !self.is_settled(now) {
            None
        } else if any(|plugged| plugged.is_at_work() && plugged.now == Now::Busy) {
            Some(Event::InUse)
        } else if self.keys.iter().any(|plugged| plugged.is_unclear() && now < plugged.changed + SETTLE) {
            None
        } else if any(Plugged::is_unclear) {
            Some(Event::Slow)
        } else if any(|plugged| matches!(plugged.stage, Stage::Useless(Failure::NoBoundKey | Failure::AlreadyBound))) {
            Some(Event::WrongKey)
        } else if any(|plugged| !plugged.lacks_a_pin()) {
            Some(Event::Unusable)
        } else {
            Some(Event::Insert)
        }
    }

    /// The reason to report when the time is over.
    fn why_nothing(&mut self) -> Failure {
        let useless = self.keys.drain(..).filter_map(|plugged| match plugged.stage {
            Stage::Useless(failure) => Some(failure),
            _ => None,
        });
        // A fault of a key tells more than the fact that another key is not bound.
        let none = if self.kept_from_us { Failure::Busy } else { Failure::NoKey };
        useless.min_by_key(|failure| matches!(failure, Failure::NoBoundKey)).unwrap_or(none)
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
    fn heard(&mut self, n: usize, task: &Task, person: &mut dyn Person) -> Result<Option<Done>, Failure> {
        let plugged = &mut self.keys[n];
        let answer = match plugged.process.hear() {
            Heard::Nothing => return Ok(None),
            Heard::Answer(Answer::NoLibrary(why)) if matches!(plugged.stage, Stage::New) => {
                return Err(Failure::NoLibrary(why));
            }
            Heard::Answer(answer) => answer,
            Heard::Broken => {
                let ended = Failure::Hostile(String::from("the process that talks to it has ended"));
                return self.fails(n, ended).map(|()| None);
            }
        };
        let failure = match (&plugged.stage, answer) {
            (_, Answer::Now(now)) => {
                plugged.now = now;
                plugged.changed = Instant::now();
                return Ok(None);
            }
            (_, Answer::Frame(frame)) if plugged.debugs => {
                if self.logged < MOST_LOGGED {
                    let begun = Instant::now();
                    person.exchanged(&plugged.node.name, &frame);
                    // A log that hangs must not hold up a login.
                    self.logged = if begun.elapsed() > SLOW_LOG { MOST_LOGGED } else { self.logged + 1 };
                }
                return Ok(None);
            }
            (Stage::New, Answer::Open(features)) => {
                plugged.features = features;
                let probes = task.probes();
                let wanted = probes.iter().map(|(_, key)| (key.rp_id.clone(), key.credential.clone()));
                // One deadline for both: whoever waits is told something in time.
                let left = task.deadline().saturating_sub(plugged.since.elapsed()).max(GRACE);
                plugged.give(Stage::Probed, What::Probe(wanted.collect()), left);
                return Ok(None);
            }
            (Stage::Probed, Answer::Probed(said)) => match task.note_held(plugged, said) {
                Ok(()) => {
                    plugged.stage = Stage::Ready;
                    return Ok(None);
                }
                Err(failure) => failure,
            },
            (Stage::Choosing, Answer::Touched) => {
                match task.need(plugged)? {
                    Need::Pin => self.ask_pin(n, task, person)?,
                    need => {
                        self.choose(n);
                        let verify = if need == Need::BuiltIn { Verify::BuiltIn } else { Verify::No };
                        self.keys[0].give_work(task, verify);
                    }
                }
                return Ok(None);
            }
            (Stage::Asked, Answer::Failed(code, None)) if plugged.wants_pin_after(code) => {
                plugged.wants_pin = true;
                plugged.stage = Stage::Ready;
                if Error(code) != Error::PIN_REQUIRED {
                    person.tell(Event::WrongFinger);
                }
                return Ok(None);
            }
            (_, Answer::Failed(code, cut)) => plugged.failure(code, cut),
            (Stage::Asked, answer) => match task.check_answer(&plugged.held, plugged.verified, answer) {
                Ok(done) => return Ok(Some(done)),
                Err(failure) => failure,
            },
            _ => Failure::Hostile(String::from("an answer out of turn")),
        };
        self.fails(n, failure)?;
        Ok(None)
    }

    /// Key `n` can do nothing any more. That is the outcome, unless another key may still do the task, or this one was not
    /// asked yet, or is a strange one: then the person may plug in another.
    fn fails(&mut self, n: usize, failure: Failure) -> Result<(), Failure> {
        let plugged = &mut self.keys[n];
        // What came of a PIN is an answer to the person, but for "not bound".
        let is_strange = !plugged.sure && (!plugged.by_pin || matches!(failure, Failure::NoBoundKey));
        let goes_on = plugged.is_unclear() || is_strange;
        let is_gone = matches!(failure, Failure::Unplugged);
        plugged.useless(failure);
        let bound = |plugged: &Plugged| matches!(plugged.stage, Stage::Useless(Failure::AlreadyBound));
        if self.is_alive() || goes_on && !self.keys.iter().all(bound) {
            self.closed = false;
            return Ok(());
        }
        if is_gone && !self.was_gone {
            self.back_by = Some(Instant::now() + BACK);
            (self.was_gone, self.closed) = (true, false);
            return Ok(());
        }
        match self.keys.swap_remove(n).stage {
            Stage::Useless(failure) => Err(failure),
            _ => Ok(()),
        }
    }
}

impl Plugged {
    /// Gives it no more work, and ends its process.
    fn useless(&mut self, why: Failure) {
        self.stage = Stage::Useless(why);
        self.process.call_off();
        // Somebody may leave a question standing, and other programs must not be kept from the key meanwhile.
        self.device = self.device.take().map(Device::unlocked);
    }

    /// A new stage of its life, with the time for it.
    fn give(&mut self, stage: Stage, what: What, time: Duration) {
        self.begun = Instant::now();
        self.end = self.begun + time;
        self.now = Now::Works;
        self.stage = stage;
        self.process.send(&Job { milliseconds: milliseconds(time), debug: self.debugs, what });
    }

    fn give_work(&mut self, task: &Task, verify: Verify) {
        self.verified = !matches!(verify, Verify::No);
        self.by_pin = matches!(verify, Verify::Pin(_));
        self.give(Stage::Asked, task.what(self, verify), task.deadline());
        // Its process looks whether the new credential is found.
        if matches!(task, Task::Make(_)) {
            self.end += FOUND;
        }
    }

    /// It has not said yet what it is and what it holds.
    fn is_unclear(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Probed)
    }

    /// It would do, but for its PIN.
    fn lacks_a_pin(&self) -> bool {
        use Failure::{FewTries, MustChangePin, PinBlocked};
        matches!(self.stage, Stage::Useless(FewTries(_) | MustChangePin(_) | PinBlocked { .. }))
    }

    /// It owes an answer.
    fn is_at_work(&self) -> bool {
        !matches!(self.stage, Stage::Ready | Stage::Useless(_))
    }

    /// It waits for the touch with which it signs or makes. With a PIN only once it says so: where that is wrong, no touch
    /// is asked for.
    fn is_to_be_touched(&self, now: Instant) -> bool {
        let says_so = self.now == Now::Waits || !self.by_pin || now >= self.begun + CUE;
        matches!(self.stage, Stage::Asked) && says_so
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
            // What was busy to the end has no answer of its own.
            (Some(_), _) if self.now == Now::Busy => Failure::Busy,
            (Some(Cut::Late | Cut::CalledOff), _) if self.is_unclear() => match self.now {
                Now::Waits => Failure::Locked,
                _ => Failure::Silent,
            },
            // A key that nobody chose, and that may be anybody's.
            (Some(Cut::Late | Cut::CalledOff), _) if !self.sure && matches!(self.stage, Stage::Choosing) => {
                Failure::NoBoundKey
            }
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
            (None, Error::KEY_STORE_FULL) => Failure::Full,
            (None, Error::PIN_POLICY_VIOLATION) => Failure::MustChangePin(self.node.name.clone()),
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
        let asked =
            Asked { keys: &keys, challenge: CHALLENGE, pin: Pin::IfSet, spare_tries: true, deadline, debug: false };
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
