//! CTAPHID (CTAP 2.1 §11.2): messages in reports of 64 bytes, channels, one transaction at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use crate::device::{Device, Fault, Kind, Line, Stage, garbage, stage};
use crate::transport::Port;

const BROADCAST: u32 = u32::MAX;

const PING: u8 = 0x01;
const MSG: u8 = 0x03;
const INIT: u8 = 0x06;
const WINK: u8 = 0x08;
const CBOR: u8 = 0x10;
const CANCEL: u8 = 0x11;
const KEEPALIVE: u8 = 0x3b;
const ERROR: u8 = 0x3f;

const ERR_INVALID_CMD: u8 = 0x01;
const ERR_INVALID_LEN: u8 = 0x03;
const ERR_INVALID_SEQ: u8 = 0x04;
const ERR_CHANNEL_BUSY: u8 = 0x06;
const ERR_INVALID_CHANNEL: u8 = 0x0b;
const ERR_OTHER: u8 = 0x7f;

const CAN_WINK: u8 = 0x01;
const CAN_CBOR: u8 = 0x04;
const CANNOT_MSG: u8 = 0x08;

const LONGEST: usize = 57 + 128 * 59;

/// One time of being plugged in.
pub struct Hid {
    device: Arc<Device>,
    port: Arc<Port>,
    channels: u32,
    message: Option<Message>,
    transaction: Option<(Arc<Transaction>, JoinHandle<()>)>,
}

/// A message of which parts have come.
struct Message {
    channel: u32,
    command: u8,
    length: usize,
    next: u8,
    data: Vec<u8>,
}

/// A command at work.
struct Transaction {
    channel: u32,
    cancelled: AtomicBool,
    /// Nobody waits for the answer any more.
    abandoned: AtomicBool,
    done: AtomicBool,
}

impl Hid {
    pub fn new(device: Arc<Device>, port: Arc<Port>) -> Self {
        Self { device, port, channels: 0, message: None, transaction: None }
    }

    pub fn report(&mut self, report: &[u8; 64]) {
        if !self.device.hears() {
            return;
        }
        let channel = u32::from_be_bytes(report[..4].try_into().unwrap());
        if report[4] & 0x80 == 0 {
            return self.continuation(channel, report);
        }
        let command = report[4] & 0x7f;
        let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
        if command != INIT && (channel == 0 || channel > self.channels) {
            return self.error(channel, ERR_INVALID_CHANNEL);
        }
        if length > LONGEST {
            return self.error(channel, ERR_INVALID_LEN);
        }
        if self.message.as_ref().is_some_and(|message| message.channel != channel) && command != INIT {
            return self.error(channel, ERR_CHANNEL_BUSY);
        }
        let data = report[7..].iter().copied().take(length).collect();
        self.message = Some(Message { channel, command, length, next: 0, data });
        self.complete();
    }

    fn continuation(&mut self, channel: u32, report: &[u8; 64]) {
        // the rest of something that was given up, or of another's message
        let Some(message) = self.message.as_mut().filter(|message| message.channel == channel) else { return };
        if report[4] != message.next {
            self.message = None;
            return self.error(channel, ERR_INVALID_SEQ);
        }
        message.next += 1;
        let missing = message.length - message.data.len();
        message.data.extend(report[5..].iter().take(missing));
        self.complete();
    }

    fn complete(&mut self) {
        let Some(Message { channel, command, data, .. }) =
            self.message.take_if(|message| message.data.len() == message.length)
        else {
            return;
        };
        let kind = match command {
            INIT => return self.init(channel, &data),
            CANCEL => {
                if let Some((transaction, _)) = self.transaction.as_ref().filter(|(own, _)| own.channel == channel) {
                    transaction.cancelled.store(true, Ordering::SeqCst);
                }
                return self.device.changed.notify_all();
            }
            PING | WINK => {
                let fault = self.device.fault(Stage::Open);
                return reply(&self.device, &self.port, channel, command, &data, fault, None);
            }
            MSG if self.device.settings.u2f => Kind::Msg,
            CBOR if self.device.settings.fido2 => Kind::Cbor,
            _ => return self.error(channel, ERR_INVALID_CMD),
        };
        if self.transaction.as_ref().is_some_and(|(transaction, _)| !transaction.done.load(Ordering::SeqCst)) {
            return self.error(channel, ERR_CHANNEL_BUSY);
        }
        if self.device.is_busy(stage(kind, &data)) {
            return self.error(channel, ERR_CHANNEL_BUSY);
        }
        self.abandon(); // which is done, but may still be sending
        let transaction = Arc::new(Transaction {
            channel,
            cancelled: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            done: AtomicBool::new(false),
        });
        let own = transaction.clone();
        let (device, port) = (self.device.clone(), Arc::downgrade(&self.port));
        let worker = thread::spawn(move || work(&device, &port, &own, command, kind, &data));
        self.transaction = Some((transaction, worker));
    }

    fn init(&mut self, channel: u32, nonce: &[u8]) {
        if nonce.len() != 8 {
            return self.error(channel, ERR_INVALID_LEN);
        }
        if self.device.is_busy(Stage::Open) {
            return self.error(channel, ERR_CHANNEL_BUSY);
        }
        // Whoever begins anew on all channels finds no leftovers, as if the program before had taken its key with it.
        if !(self.device.settings.keeps_channels && channel == BROADCAST) {
            self.abandon();
        }
        if channel == BROADCAST {
            self.port.drop_stale();
            self.channels += 1;
        }
        let given = if channel == BROADCAST { self.channels } else { channel };
        let mut can = CAN_WINK;
        if self.device.settings.fido2 {
            can |= CAN_CBOR;
        }
        if !self.device.settings.u2f {
            can |= CANNOT_MSG;
        }
        let answer = [nonce, &given.to_be_bytes(), &[2, 1, 0, 0, can]].concat();
        reply(&self.device, &self.port, channel, INIT, &answer, self.device.fault(Stage::Open), None);
    }

    fn error(&self, channel: u32, code: u8) {
        reply(&self.device, &self.port, channel, ERROR, &[code], Fault::None, None);
    }

    fn abandon(&mut self) {
        if let Some((transaction, worker)) = self.transaction.take() {
            transaction.abandoned.store(true, Ordering::SeqCst);
            self.device.changed.notify_all();
            worker.join().unwrap();
        }
    }
}

impl Drop for Hid {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn work(device: &Device, port: &Weak<Port>, transaction: &Transaction, command: u8, kind: Kind, request: &[u8]) {
    let mut line = HidLine { device, port, transaction };
    if kind == Kind::Cbor {
        line.keepalive(1);
    }
    let stage = stage(kind, request);
    let fault = device.fault(stage);
    let answer = device.answer(kind, request, &mut line);
    transaction.done.store(true, Ordering::SeqCst);
    let answer = answer.filter(|_| !device.loses(stage));
    if let (Some(answer), Some(port), false) = (answer, port.upgrade(), transaction.abandoned.load(Ordering::SeqCst)) {
        reply(device, &port, transaction.channel, command, &answer, fault, Some(transaction));
    }
}

struct HidLine<'a> {
    device: &'a Device,
    port: &'a Weak<Port>,
    transaction: &'a Transaction,
}

impl Line for HidLine<'_> {
    fn keepalive(&mut self, status: u8) -> bool {
        let abandoned = self.transaction.abandoned.load(Ordering::SeqCst);
        let Some(port) = self.port.upgrade().filter(|_| !abandoned) else { return false };
        let endless = self.device.fault(Stage::Touch) == Fault::Keepalive;
        if status != 0 {
            let [report] = &frames(self.transaction.channel, KEEPALIVE, &[status])[..] else { unreachable!() };
            // endless: a pile of them, so that the host's every read finds one at once
            for _ in 0..if endless { 8 } else { 1 } {
                port.try_send(report);
            }
        }
        endless || !self.transaction.cancelled.load(Ordering::SeqCst)
    }
}

fn reply(
    device: &Device,
    port: &Port,
    channel: u32,
    command: u8,
    data: &[u8],
    fault: Fault,
    transaction: Option<&Transaction>,
) {
    let mut frames = match fault {
        Fault::Hang => return,
        Fault::Garbage => (0..4).map(|_| garbage().to_vec()).collect(),
        Fault::WrongChannel => frames(channel ^ 1, command, data),
        Fault::ErrorFrame => frames(channel, ERROR, &[ERR_OTHER]),
        _ => frames(channel, command, data),
    };
    match fault {
        Fault::ShortFrame => frames[0].truncate(32),
        Fault::OversizeLength => frames[0][5..7].fill(0xff),
        Fault::Die => frames.truncate(1),
        _ => {}
    }
    for frame in &frames {
        let wanted = transaction.is_none_or(|transaction| !transaction.abandoned.load(Ordering::SeqCst));
        if !wanted || !port.send(frame) {
            return;
        }
    }
    if fault == Fault::Die {
        device.plug(false);
    }
}

fn frames(channel: u32, command: u8, data: &[u8]) -> Vec<Vec<u8>> {
    let (first, rest) = data.split_at(data.len().min(57));
    let length = (data.len() as u16).to_be_bytes();
    let first = [&channel.to_be_bytes()[..], &[command | 0x80], &length, first].concat();
    let rest = rest.chunks(59).enumerate();
    let rest = rest.map(|(number, part)| [&channel.to_be_bytes()[..], &[number as u8], part].concat());
    let mut frames: Vec<_> = [first].into_iter().chain(rest).collect();
    frames.iter_mut().for_each(|frame| frame.resize(64, 0));
    frames
}
