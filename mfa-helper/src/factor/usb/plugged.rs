//! The keys that are plugged in, from the kernel's list.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};

const CLASS: &str = "/sys/class/hidraw";

/// The usage page of security keys (CTAP 2.1, 11.2.8.2).
const FIDO: u32 = 0xf1d0;

/// HID_MAX_DESCRIPTOR_SIZE of Linux.
const DESCRIPTOR: usize = 4096;

/// A key that is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `hidraw0`
    pub name: String,
    /// Its device number. A different number under the same name is a different key.
    pub number: (u64, u64),
}

/// All plugged-in keys, ordered by name. A device that cannot be read is left out.
pub fn list() -> Vec<Node> {
    let Ok(entries) = std::fs::read_dir(CLASS) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut nodes: Vec<Node> = names.filter_map(node).collect();
    nodes.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    nodes
}

fn node(name: String) -> Option<Node> {
    let number = name.strip_prefix("hidraw")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let descriptor = std::fs::read(format!("{CLASS}/{name}/device/report_descriptor")).ok()?;
    if descriptor.len() > DESCRIPTOR || !is_fido(&descriptor) {
        return None;
    }
    let number = std::fs::read_to_string(format!("{CLASS}/{name}/dev")).ok()?;
    let (major, minor) = number.trim_end().split_once(':')?;
    Some(Node { name, number: (major.parse().ok()?, minor.parse().ok()?) })
}

impl Node {
    /// Opens the device. Fails unless it still has this device number.
    pub fn open(&self) -> Option<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
        let opened = open(format!("/dev/{}", self.name).as_str(), flags, Mode::empty()).ok()?;
        let status = fstat(opened.as_fd()).ok()?;
        let is_device = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
        (is_device && (major(status.st_rdev), minor(status.st_rdev)) == self.number).then_some(opened)
    }
}

/// Whether a report descriptor (HID 1.11, 6.2.2) has the usage page of security keys. It comes from the device, so it
/// is not trusted.
fn is_fido(mut items: &[u8]) -> bool {
    const LONG: u8 = 0xfe;
    const USAGE_PAGE: u8 = 0x04;
    while let Some((prefix, rest)) = items.split_first() {
        let length = match (*prefix, prefix & 3) {
            (LONG, _) => rest.first().map_or(0, |length| usize::from(*length) + 2),
            (_, 3) => 4,
            (_, length) => usize::from(length),
        };
        let Some((data, rest)) = rest.split_at_checked(length) else { return false };
        if prefix & 0xfc == USAGE_PAGE {
            let value = data.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
            if value == FIDO {
                return true;
            }
        }
        items = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification: usage page FIDO, usage U2F authenticator, two reports of 64 bytes.
    const KEY: [u8; 34] = [
        0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40,
        0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
    ];

    #[test]
    fn a_key_is_told_by_its_usage_page() {
        assert!(is_fido(&KEY));
        assert!(!is_fido(&KEY[1..]));
        let keyboard = [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0xc0];
        assert!(!is_fido(&keyboard));
        assert!(is_fido(&[&keyboard[..], &KEY].concat()), "a key that types as well");
        let long = [0xfe, 0x03, 0x00, 0x06, 0xd0, 0xf1];
        assert!(!is_fido(&long), "data of a long item");
        assert!(!is_fido(&[0x06, 0xd0]), "cut off");
        assert!(!is_fido(&[]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_descriptor_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_fido(&bytes);
        }
    }
}
