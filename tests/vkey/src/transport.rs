//! How reports travel: over a pty, which libfido2 opens like a hidraw node, or over the kernel's uhid.

use std::fs;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{ioctl_fionbio, ioctl_fionread, read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, SpecialCodeIndex, tcflush, tcgetattr, tcsetattr};

use crate::device::Device;
use crate::hid::Hid;

pub enum Transport {
    /// The symbolic link to the slave.
    Pty(PathBuf),
    Uhid {
        vendor: u32,
        product: u32,
    },
}

pub enum Port {
    /// The slave stays open here, so that its modes stay and the host may close and open it.
    Pty {
        master: OwnedFd,
        slave: OwnedFd,
        link: PathBuf,
        hosts: Hosts,
    },
    Uhid(OwnedFd),
}

/// How many have the terminal open beside the key itself. hidraw gives each opener a queue of its own; the queue of a
/// terminal outlives its reader, so nothing may go into it, nor stay, when nobody is there.
pub struct Hosts {
    inotify: OwnedFd,
    count: AtomicI32,
}

/// FIDO's report descriptor (CTAP 2.1 §11.2.8.1): usage page 0xf1d0, 64 bytes in and out.
pub const DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];

/// As the host writes it: the number of the report, the channel, the command.
const BROADCAST_INIT: [u8; 6] = [0, 0xff, 0xff, 0xff, 0xff, 0x86];

// linux/uhid.h; all its structures are packed
const UHID_EVENT: usize = 4 + 4372;
const UHID_DESTROY: u32 = 1;
const UHID_OUTPUT: u32 = 6;
const UHID_GET_REPORT: u32 = 9;
const UHID_GET_REPORT_REPLY: u32 = 10;
const UHID_CREATE2: u32 = 11;
const UHID_INPUT2: u32 = 12;
const UHID_SET_REPORT: u32 = 13;
const UHID_SET_REPORT_REPLY: u32 = 14;
const BUS_USB: u16 = 3;
const EIO: u16 = 5;

/// Plugs the key in and serves it, again and again.
pub fn run(device: &Arc<Device>, transport: &Transport) {
    loop {
        device.until(|state| state.plugged);
        let port = Arc::new(Port::open(transport));
        let mut hid = Hid::new(device.clone(), port.clone());
        let mut unread = Vec::new();
        device.state().present = true;
        device.changed.notify_all();
        while device.state().plugged {
            let mut fds = vec![PollFd::new(&device.wake, PollFlags::IN)];
            match &*port {
                Port::Pty { master, hosts, .. } => {
                    fds.extend([master, &hosts.inotify].map(|fd| PollFd::new(fd, PollFlags::IN)));
                }
                Port::Uhid(fd) => fds.push(PollFd::new(fd, PollFlags::IN)),
            }
            poll(&mut fds, None).unwrap();
            let _ = read(&device.wake, &mut [0; 8]);
            port.is_open();
            port.receive(&mut unread, &mut hid);
        }
        drop(hid);
        port.close();
        drop(port);
        device.state().present = false;
        device.changed.notify_all();
    }
}

impl Port {
    fn open(transport: &Transport) -> Self {
        match transport {
            Transport::Pty(link) => Self::pty(link),
            Transport::Uhid { vendor, product } => Self::uhid(*vendor, *product),
        }
    }

    fn pty(link: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut modes = tcgetattr(&slave).unwrap();
        modes.make_raw();
        // Nobody is told of a report before all of it is there, as of one of hidraw.
        modes.special_codes[SpecialCodeIndex::VMIN] = 64;
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        ioctl_fionbio(&master, true).unwrap();
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&inotify, &name, WatchFlags::OPEN | WatchFlags::CLOSE).unwrap();
        remove(link);
        symlink(name.to_str().unwrap(), link).unwrap();
        Self::Pty { master, slave, link: link.to_owned(), hosts: Hosts { inotify, count: AtomicI32::new(0) } }
    }

    fn uhid(vendor: u32, product: u32) -> Self {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd =
            open("/dev/uhid", flags, Mode::empty()).expect("/dev/uhid: is the module uhid loaded, and are you root?");
        let mut event = Event::new(UHID_CREATE2);
        event.put(0, b"Virtual security key");
        event.put(256, &(DESCRIPTOR.len() as u16).to_ne_bytes());
        event.put(258, &BUS_USB.to_ne_bytes());
        event.put(260, &vendor.to_ne_bytes());
        event.put(264, &product.to_ne_bytes());
        event.put(276, &DESCRIPTOR);
        write(&fd, &event.0).unwrap();
        Self::Uhid(fd)
    }

    fn close(&self) {
        match self {
            Self::Pty { link, .. } => remove(link),
            Self::Uhid(fd) => drop(write(fd, &Event::new(UHID_DESTROY).0)),
        }
    }

    /// Whether anybody reads what is sent.
    fn is_open(&self) -> bool {
        let Self::Pty { slave, hosts, .. } = self else { return true };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&hosts.inotify, &mut buffer);
        while let Ok(event) = events.next() {
            let change = if event.events().contains(ReadFlags::OPEN) { 1 } else { -1 };
            if hosts.count.fetch_add(change, Ordering::SeqCst) + change == 0 {
                // twice: the kernel moves what is written to where it can be flushed in its own time
                tcflush(slave, QueueSelector::IFlush).unwrap();
                pause();
                tcflush(slave, QueueSelector::IFlush).unwrap();
            }
        }
        hosts.count.load(Ordering::SeqCst) > 0
    }

    /// `unread`: the beginning of a report, for a pty keeps no bounds.
    fn receive(&self, unread: &mut Vec<u8>, hid: &mut Hid) {
        match self {
            Self::Pty { master, .. } => {
                let mut bytes = [0; 4096];
                let Ok(length) = read(master, &mut bytes) else { return };
                // Whoever begins anew does so after whatever another has left half written.
                if bytes.starts_with(&BROADCAST_INIT) {
                    unread.clear();
                }
                unread.extend(&bytes[..length]);
                let whole = unread.len() - unread.len() % 65;
                for report in unread.drain(..whole).collect::<Vec<_>>().chunks_exact(65) {
                    hid.report(report[1..].try_into().unwrap());
                }
            }
            Self::Uhid(fd) => {
                let mut event = Event([0; UHID_EVENT]);
                while read(fd, &mut event.0).is_ok_and(|length| length > 4) {
                    event.handle(fd, hid);
                }
            }
        }
    }

    /// Whoever begins anew does not find what was meant for another.
    pub fn drop_stale(&self) {
        if let Self::Pty { slave, .. } = self {
            tcflush(slave, QueueSelector::IFlush).unwrap();
        }
    }

    /// Sends a report, or loses it as a key does when nobody reads for a second.
    pub fn send(&self, report: &[u8]) -> bool {
        (0..1000).any(|_| {
            let sent = self.try_send(report);
            if !sent {
                pause();
            }
            sent
        })
    }

    /// False: too much lies unread.
    pub fn try_send(&self, report: &[u8]) -> bool {
        if !self.is_open() {
            return true;
        }
        match self {
            // A full pty takes a part of what is written, and all that follows would be out of step.
            Self::Pty { slave, .. } if ioctl_fionread(slave).unwrap() > 2048 => false,
            Self::Pty { master, .. } => write(master, report).is_ok(),
            Self::Uhid(fd) => {
                let mut event = Event::new(UHID_INPUT2);
                event.put(0, &(report.len() as u16).to_ne_bytes());
                event.put(2, report);
                write(fd, &event.0).is_ok()
            }
        }
    }
}

struct Event([u8; UHID_EVENT]);

impl Event {
    fn new(kind: u32) -> Self {
        let mut event = Self([0; UHID_EVENT]);
        event.0[..4].copy_from_slice(&kind.to_ne_bytes());
        event
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[4 + offset..][..bytes.len()].copy_from_slice(bytes);
    }

    fn handle(&self, fd: &OwnedFd, hid: &mut Hid) {
        let data = &self.0[4..];
        match u32::from_ne_bytes(self.0[..4].try_into().unwrap()) {
            UHID_OUTPUT => {
                let length = usize::from(u16::from_ne_bytes(data[4096..4098].try_into().unwrap()));
                // with a report number before it, as hidraw passes it on, or without
                let report = &data[length.saturating_sub(64)..length];
                if let Ok(report) = report.try_into() {
                    hid.report(report);
                }
            }
            kind @ (UHID_GET_REPORT | UHID_SET_REPORT) => {
                let reply = if kind == UHID_GET_REPORT { UHID_GET_REPORT_REPLY } else { UHID_SET_REPORT_REPLY };
                let mut event = Event::new(reply);
                event.put(0, &data[..4]);
                event.put(4, &EIO.to_ne_bytes());
                let _ = write(fd, &event.0);
            }
            _ => {}
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody what another has read, or what it has yet to move"
)]
fn pause() {
    thread::sleep(Duration::from_millis(1));
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => {}
    }
}
