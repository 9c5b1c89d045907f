//! A virtual security key for tests: CTAPHID, CTAP2 and U2F, over a pty or over uhid, led by a control socket.
//!
//! ```text
//! vkey --pty /tmp/key --control /tmp/control --seed alice &
//! fido2-token -I $(readlink /tmp/key)
//! ```
//!
//! libfido2 opens a terminal like a hidraw node, so a pty needs neither the kernel's help nor a hook in what is tested;
//! it wants the path of the terminal itself. uhid makes a real `/dev/hidrawN` and needs the module and root.
//!
//! Nothing is stored. Credentials are derived from the seed, so another process with the same seed is the same key,
//! plugged in again; the counter, which all credentials share, and the PIN are new with each process.
//!
//! On the control socket each line is one command, and gets one line: `ok`, `ok ...` or `error ...`.
//!
//! | command | |
//! | --- | --- |
//! | `touch auto\|deny\|wait` | touched whenever asked (the default); "denied" at once; never touched |
//! | `touch` | under `wait`: touched once, now or when next asked |
//! | `await touch` | answers when the key is asking for a touch |
//! | `finger good\|bad\|blocked` | what the fingerprint reader of a key with `--uv` says |
//! | `count` | `touches=` asked for, `signatures=` made, `silent=` ones without a touch, `pins=` tried |
//! | `pin none\|DIGITS` | sets the PIN, with all retries |
//! | `retries [N]` | the PIN retries left |
//! | `counter [N\|frozen]` | the counter of the last signature; that of the next; it stays. 0: always 0 |
//! | `fault NAME [open\|info\|silent\|touch]` | from that stage on (else `touch`) the key does wrong, see below |
//! | `late MS` | plugged in the next time, it hears nothing for so long |
//! | `slow MS [STAGE]` | each command from that stage on (else `info`) takes so long, and no keepalive is sent |
//! | `busy once\|always\|never\|MS [STAGE]` | from that stage on (else `info`) each command is answered "channel busy": once, always, or for so long from the first on |
//! | `lose N [STAGE]` | so many answers of that stage (else `info`) are lost |
//! | `status HEX [STAGE]` | each command of that stage (else `silent`) is answered with this status of CTAP2; `none`: no more |
//! | `foreign HEX\|lost\|none` | the answer, or none, to the question for credentials that it does not hold; `none`: as usual |
//! | `locked`, `unlocked` | like a wallet: asks its owner to unlock it before it signs or says what it holds |
//! | `protect LEVEL` | new credentials have this level of credProtect; 3: they are hidden without the PIN or finger |
//! | `force-pin` | the PIN has to be changed before it is of use |
//! | `unplug`, `plug` | the pty ends, the next is another: the link is made anew |
//! | `ctap HEX` | one CTAP2 command and its CBOR, past the transport: the answer's status and CBOR |
//! | `quit` | |
//!
//! Stages: `open` is everything from CTAPHID_INIT on, `info` begins with getInfo and the PIN, `silent` with assertions
//! that need no touch, `touch` with what a touch is asked for. Faults: `none`; `bad-signature`, `no-up`, `no-uv`,
//! `wrong-rpid` (the last three well signed); `replay` (the answer before, without asking for a touch); `hang` (no
//! answer); `keepalive` (nothing else, without a pause, touched or not); `bad-cbor` (a string of 2^64-1 bytes), `huge-cbor` (7600 arrays in one
//! another); `garbage` (random reports), `wrong-channel`, `short-frame`, `oversize-length`, `error-frame`, and `die`
//! (unplugged after the first report of the answer).
//!
//! Tests use [`Key`]. `libvkey_sk.so` (package `vkey-sk`) is the same key as a SecurityKeyProvider of OpenSSH, which finds it by the
//! environment variable `VKEY_CONTROL`.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: the key stops where it does not understand"
)]

pub mod cbor;
mod client;
pub mod control;
mod credential;
mod ctap2;
pub mod device;
mod hid;
pub mod pin;
pub mod transport;
mod u2f;

pub use client::{Key, ask, program};

pub const USAGE: &str = "\
usage: vkey --pty LINK | --uhid [--vendor HEX] [--product HEX] [--control PATH] [--seed TEXT] [--aaguid UUID]
            [--pin PIN] [--u2f-only | --fido2-only] [--ctap20] [--uv] [--make-cred-uv-not-required] [--always-uv]
            [--eddsa-only] [--odd-attestation] [--keeps-channels]
            [--until-eof]
       vkey --control PATH ...   for `ctap` alone
Says `ready` when it is.
";

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    pairs.collect()
}
