//! The state of one key, and what is the same whichever way a command comes in: touches, faults, counters.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use p256::SecretKey;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::credential::{Credential, PrivateKey};
use crate::pin::{self, new_secret, random, sha256};
use crate::{ctap2, u2f};

/// What a key is, as opposed to what happens to it.
pub struct Settings {
    pub seed: String,
    pub aaguid: [u8; 16],
    pub u2f: bool,
    pub fido2: bool,
    /// CTAP 2.0: PIN protocol 1, tokens without permissions.
    pub ctap20: bool,
    /// Has a fingerprint reader.
    pub uv: bool,
    /// Makes credentials without the PIN though one is set (makeCredUvNotRqd).
    pub uv_not_required: bool,
    /// Signs nothing without PIN or fingerprint (alwaysUv).
    pub always_uv: bool,
    /// Knows EdDSA alone.
    pub eddsa_only: bool,
    /// Vouches for new credentials by a certificate that nobody understands.
    pub odd_attestation: bool,
    /// Goes on with what it does for one program while another opens a channel, as real keys do. A program that ends
    /// without a cancel leaves it at work.
    pub keeps_channels: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Touch {
    Auto,
    Deny,
    Wait,
}

/// What a finger on the reader of a key with one comes to.
#[derive(Clone, Copy, PartialEq)]
pub enum Finger {
    Good,
    Bad,
    Blocked,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    BadSignature,
    NoUp,
    NoUv,
    WrongRpId,
    Garbage,
    Hang,
    Keepalive,
    Replay,
    BadCbor,
    HugeCbor,
    WrongChannel,
    ShortFrame,
    OversizeLength,
    ErrorFrame,
    Die,
}

/// How far a conversation with the key has come: a fault shows from its stage on.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Stage {
    Open,
    Info,
    Silent,
    Touch,
}

/// For how long the key says that another uses it.
#[derive(Clone, Copy, PartialEq)]
pub enum Busy {
    Never,
    Once,
    Always,
    For(Duration),
    Until(Instant),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Msg,
    Cbor,
}

/// Who waits for an answer.
pub trait Line {
    /// Tells it that the key is at work (1) or waits for a touch (2). False: nobody waits any more.
    fn keepalive(&mut self, status: u8) -> bool;
}

pub struct Token {
    pub bytes: [u8; 32],
    pub protocol: pin::Protocol,
    pub permissions: u8,
    pub rp_id: Option<String>,
    pub verified: bool,
}

pub struct State {
    pub touch: Touch,
    /// Touched once, and nobody has asked yet.
    pub touched: bool,
    pub waiting: bool,
    /// A U2F key does not wait, it is asked again and again.
    pub u2f_asked: Option<Instant>,
    pub finger: Finger,
    pub fault: Fault,
    pub fault_from: Stage,
    /// So long it hears nothing, once it is plugged in.
    pub late: Duration,
    pub hears_from: Instant,
    pub slow: (Duration, Stage),
    pub busy: (Busy, Stage),
    /// How many answers of this stage are lost.
    pub lose: (u32, Stage),
    pub status: Option<(u8, Stage)>,
    /// The answer in place of "no credentials"; empty: none.
    pub foreign: Option<Vec<u8>>,
    pub locked: bool,
    /// credProtect of new credentials, if the request has none.
    pub protect: u8,
    pub force_pin: bool,
    pub pin: Option<String>,
    pub retries: u8,
    pub wrong_in_a_row: u8,
    pub agreement: SecretKey,
    pub token: Option<Token>,
    /// That of the last signature.
    pub counter: u32,
    pub frozen: bool,
    pub resets: u32,
    pub touches: u32,
    pub signatures: u32,
    pub silent: u32,
    pub pins: u32,
    /// What is wished, and what is.
    pub plugged: bool,
    pub present: bool,
    replies: HashMap<(u8, u8), Vec<u8>>,
}

pub struct Device {
    pub settings: Settings,
    state: Mutex<State>,
    pub changed: Condvar,
    /// Readable when `plugged` has changed.
    pub wake: OwnedFd,
    busy: Mutex<()>,
}

impl Device {
    pub fn new(settings: Settings, pin: Option<String>) -> Self {
        let state = State {
            touch: Touch::Auto,
            touched: false,
            waiting: false,
            u2f_asked: None,
            finger: Finger::Good,
            fault: Fault::None,
            fault_from: Stage::Touch,
            late: Duration::ZERO,
            hears_from: Instant::now(),
            slow: (Duration::ZERO, Stage::Info),
            busy: (Busy::Never, Stage::Info),
            lose: (0, Stage::Info),
            status: None,
            foreign: None,
            locked: false,
            protect: 0,
            force_pin: false,
            pin,
            retries: 8,
            wrong_in_a_row: 0,
            agreement: new_secret(),
            token: None,
            counter: 0,
            frozen: false,
            resets: 0,
            touches: 0,
            signatures: 0,
            silent: 0,
            pins: 0,
            plugged: true,
            present: false,
            replies: HashMap::new(),
        };
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        Self { settings, state: Mutex::new(state), changed: Condvar::new(), wake, busy: Mutex::new(()) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until `condition` holds.
    pub fn until(&self, mut condition: impl FnMut(&State) -> bool) {
        let _state = self.changed.wait_while(self.state(), |state| !condition(state)).unwrap();
    }

    /// Unplugging ends the power: what a key keeps in memory is gone.
    pub fn plug(&self, plugged: bool) {
        let mut state = self.state();
        state.plugged = plugged;
        if plugged {
            state.wrong_in_a_row = 0;
            state.agreement = new_secret();
            state.token = None;
            state.hears_from = Instant::now() + std::mem::take(&mut state.late);
        }
        self.changed.notify_all();
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).unwrap();
    }

    fn secret(&self) -> [u8; 32] {
        sha256(&[b"virtual security key", self.settings.seed.as_bytes(), &self.state().resets.to_be_bytes()])
    }

    pub fn new_credential(&self, rp_hash: &[u8], algorithm: i64, protect: u8) -> Credential {
        Credential::new(&self.secret(), rp_hash, algorithm, protect)
    }

    pub fn credential(&self, rp_hash: &[u8], id: &[u8]) -> Option<Credential> {
        Credential::find(&self.secret(), rp_hash, id)
    }

    pub fn attestation_key(&self) -> PrivateKey {
        let private = pin::hmac(&self.secret(), &[b"attestation"]);
        PrivateKey::Es256(p256::ecdsa::SigningKey::from_slice(&private).unwrap())
    }

    pub fn fault(&self, stage: Stage) -> Fault {
        let state = self.state();
        if stage >= state.fault_from { state.fault } else { Fault::None }
    }

    /// Whether it hears what is sent to it.
    pub fn hears(&self) -> bool {
        Instant::now() >= self.state().hears_from
    }

    /// Whether it answers this command by saying that another uses it.
    pub fn is_busy(&self, stage: Stage) -> bool {
        let mut state = self.state();
        let (busy, from) = state.busy;
        if stage < from {
            return false;
        }
        let now = Instant::now();
        let (is_busy, then) = match busy {
            Busy::Never => (false, busy),
            Busy::Once => (true, Busy::Never),
            Busy::Always => (true, busy),
            Busy::For(time) => (true, Busy::Until(now + time)),
            Busy::Until(end) => (now < end, busy),
        };
        state.busy = (then, from);
        is_busy
    }

    /// Whether this answer is lost.
    pub fn loses(&self, stage: Stage) -> bool {
        let (left, of) = &mut self.state().lose;
        let lost = *left > 0 && *of == stage;
        *left -= u32::from(lost);
        lost
    }

    pub fn next_counter(&self) -> u32 {
        let mut state = self.state();
        if !state.frozen {
            state.counter = state.counter.wrapping_add(1);
        }
        state.counter
    }

    pub fn sign(&self, stage: Stage, key: &PrivateKey, message: &[u8]) -> Vec<u8> {
        match stage {
            Stage::Silent => self.state().silent += 1,
            _ => self.state().signatures += 1,
        }
        match self.fault(stage) {
            // a good signature, of something else
            Fault::BadSignature => key.sign(&[message, b"!"].concat()),
            _ => key.sign(message),
        }
    }

    /// Waits for a touch; the error is a CTAP2 status.
    pub fn touch(&self, line: &mut dyn Line) -> Result<(), u8> {
        let mut state = self.state();
        state.touches += 1;
        state.waiting = true;
        self.changed.notify_all();
        drop(state);
        // Also where it is touched at once: the host is told that a touch is waited for (CTAP 2.1, 11.2.9.2.1).
        line.keepalive(2);
        state = self.state();
        let result = loop {
            match state.touch {
                Touch::Deny => break Err(ctap2::OPERATION_DENIED),
                Touch::Auto => break Ok(()),
                Touch::Wait if state.touched => break Ok(()),
                Touch::Wait => {}
            }
            drop(state);
            let wanted = line.keepalive(2);
            state = self.state();
            if !wanted {
                break Err(ctap2::KEEPALIVE_CANCEL);
            }
            if !(state.touched || state.touch != Touch::Wait) {
                state = self.changed.wait_timeout(state, Duration::from_millis(100)).unwrap().0;
            }
        };
        state.waiting = false;
        state.touched = false;
        result
    }

    /// U2F: whether it has been touched by now.
    pub fn u2f_touch(&self) -> bool {
        let mut state = self.state();
        if !state.is_asking() {
            state.touches += 1;
        }
        state.u2f_asked = Some(Instant::now());
        self.changed.notify_all();
        let touched = state.touch == Touch::Auto || state.touch == Touch::Wait && state.touched;
        if touched {
            state.touched = false;
            state.u2f_asked = None;
        }
        touched
    }

    /// One command after the other. None: nobody waits for the answer, or none is given.
    pub fn answer(&self, kind: Kind, request: &[u8], line: &mut dyn Line) -> Option<Vec<u8>> {
        let _one = loop {
            if let Ok(one) = self.busy.try_lock() {
                break one;
            }
            if !line.keepalive(1) {
                return None;
            }
            drop(self.changed.wait_timeout(self.state(), Duration::from_millis(10)));
        };
        let stage = stage(kind, request);
        let which = (kind as u8, request.get(usize::from(kind == Kind::Msg)).copied().unwrap_or(0));
        let fault = self.fault(stage);
        match fault {
            Fault::Hang => {
                self.wait_out(fault, stage, || line.keepalive(0));
                return None;
            }
            Fault::Keepalive => {
                self.wait_out(fault, stage, || line.keepalive(2));
                return None;
            }
            Fault::BadCbor => return Some([&[0, 0xa2, 1, 0x5b], &[0xff; 8][..], &[0; 40]].concat()),
            Fault::HugeCbor => return Some([&[0, 0xa1, 1][..], &[0x81; 7600]].concat()),
            Fault::Replay => {
                if let Some(reply) = self.state().replies.get(&which) {
                    return Some(reply.clone());
                }
            }
            _ => {}
        }
        if !self.takes_its_time(stage, line) || !self.is_unlocked(stage, line) {
            return None;
        }
        if let Some((status, _)) = self.state().status.filter(|(_, of)| *of == stage) {
            return Some(vec![status]);
        }
        let reply = match kind {
            Kind::Cbor => ctap2::run(self, stage, request, line),
            Kind::Msg => u2f::run(self, stage, request),
        };
        if reply == [ctap2::NO_CREDENTIALS]
            && let Some(foreign) = self.state().foreign.clone()
        {
            return Some(foreign).filter(|foreign| !foreign.is_empty());
        }
        if stage == Stage::Touch {
            self.state().replies.insert(which, reply.clone());
        }
        Some(reply)
    }

    /// Waits as long as each command takes. False: nobody waits any more.
    fn takes_its_time(&self, stage: Stage, line: &mut dyn Line) -> bool {
        let (time, from) = self.state().slow;
        let end = Instant::now() + if stage >= from { time } else { Duration::ZERO };
        while Instant::now() < end {
            if !line.keepalive(0) {
                return false;
            }
            let _state = self.changed.wait_timeout(self.state(), Duration::from_millis(10)).unwrap();
        }
        true
    }

    /// Waits for its owner to unlock it. False: nobody waits any more.
    fn is_unlocked(&self, stage: Stage, line: &mut dyn Line) -> bool {
        while stage >= Stage::Silent && self.state().locked {
            if !line.keepalive(2) {
                return false;
            }
            let _state = self.changed.wait_timeout(self.state(), Duration::from_millis(100)).unwrap();
        }
        true
    }

    fn wait_out(&self, fault: Fault, stage: Stage, mut wanted: impl FnMut() -> bool) {
        while wanted() && self.fault(stage) == fault {
            let _state = self.changed.wait_timeout(self.state(), Duration::from_millis(1)).unwrap();
        }
    }
}

impl State {
    pub fn is_asking(&self) -> bool {
        self.waiting || self.u2f_asked.is_some_and(|at| at.elapsed() < Duration::from_secs(2))
    }
}

pub fn stage(kind: Kind, request: &[u8]) -> Stage {
    match (kind, request) {
        (Kind::Msg, [_, 1, ..] | [_, 2, 3, ..]) => Stage::Touch,
        (Kind::Msg, [_, 2, ..]) => Stage::Silent,
        (Kind::Cbor, [ctap2::GET_ASSERTION, rest @ ..]) if ctap2::is_silent(rest) => Stage::Silent,
        (Kind::Cbor, [ctap2::MAKE_CREDENTIAL | ctap2::GET_ASSERTION | ctap2::RESET | ctap2::SELECTION, ..]) => {
            Stage::Touch
        }
        _ => Stage::Info,
    }
}

/// Random bytes, one report long.
pub fn garbage() -> [u8; 64] {
    random()
}
