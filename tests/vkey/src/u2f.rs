//! The commands of U2F, that is CTAP1 (FIDO U2F Raw Message Formats 1.2).

use crate::credential::{ES256, PrivateKey};
use crate::device::{Device, Fault, Stage};

const OK: u16 = 0x9000;
const NOT_TOUCHED: u16 = 0x6985;
const WRONG_DATA: u16 = 0x6a80;
const WRONG_LENGTH: u16 = 0x6700;
const BAD_INS: u16 = 0x6d00;
const BAD_CLA: u16 = 0x6e00;

/// The data and the status word of the answer.
pub fn run(device: &Device, stage: Stage, request: &[u8]) -> Vec<u8> {
    let answer = match request {
        [0, ins, p1, _, rest @ ..] => match data(rest) {
            Some(data) => execute(device, stage, *ins, *p1, data),
            None => Err(WRONG_LENGTH),
        },
        _ => Err(BAD_CLA),
    };
    let (data, status) = answer.map_or_else(|status| (Vec::new(), status), |data| (data, OK));
    [data, status.to_be_bytes().to_vec()].concat()
}

/// The data of a short or an extended APDU, without the expected length that may follow.
fn data(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] | [_] | [0, _, _] => Some(&[]),
        [0, high, low, data @ ..] => data.get(..usize::from(u16::from_be_bytes([*high, *low]))),
        [length, data @ ..] => data.get(..usize::from(*length)),
    }
}

fn execute(device: &Device, stage: Stage, ins: u8, p1: u8, data: &[u8]) -> Result<Vec<u8>, u16> {
    match ins {
        1 => register(device, stage, data),
        2 => authenticate(device, stage, p1, data),
        3 => Ok(b"U2F_V2".to_vec()),
        _ => Err(BAD_INS),
    }
}

fn register(device: &Device, stage: Stage, data: &[u8]) -> Result<Vec<u8>, u16> {
    let (challenge, app) = data.split_at_checked(32).filter(|(_, app)| app.len() == 32).ok_or(WRONG_LENGTH)?;
    if !device.u2f_touch() {
        return Err(NOT_TOUCHED);
    }
    let credential = device.new_credential(app, ES256, 0);
    let public = public(&credential.key);
    let key = device.attestation_key();
    let signature = device.sign(stage, &key, &[&[0], app, challenge, &credential.id, &public].concat());
    let length = [credential.id.len() as u8];
    Ok([&[5], &public[..], &length, &credential.id, &certificate(&key), &signature].concat())
}

fn authenticate(device: &Device, stage: Stage, p1: u8, data: &[u8]) -> Result<Vec<u8>, u16> {
    let (challenge, rest) = data.split_at_checked(32).ok_or(WRONG_LENGTH)?;
    let (app, handle) = rest.split_at_checked(32).ok_or(WRONG_LENGTH)?;
    let handle = handle.split_first().filter(|(length, id)| usize::from(**length) == id.len()).ok_or(WRONG_LENGTH)?.1;
    let credential = device.credential(app, handle).filter(|found| found.protect < 3).ok_or(WRONG_DATA)?;
    let mut flags = match p1 {
        3 if device.u2f_touch() => 1,
        3 | 7 => return Err(NOT_TOUCHED),
        8 => 0,
        _ => return Err(WRONG_DATA),
    };
    let mut app: [u8; 32] = app.try_into().unwrap();
    match device.fault(stage) {
        Fault::NoUp => flags = 0,
        Fault::WrongRpId => app[0] ^= 1,
        _ => {}
    }
    let counter = device.next_counter().to_be_bytes();
    let signature = device.sign(stage, &credential.key, &[&app, &[flags][..], &counter, challenge].concat());
    Ok([&[flags][..], &counter, &signature].concat())
}

fn public(key: &PrivateKey) -> Vec<u8> {
    let PrivateKey::Es256(key) = key else { unreachable!("U2F knows ES256 alone") };
    key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

/// A certificate that signs itself. libfido2 takes it for one only if its length takes two bytes.
fn certificate(key: &PrivateKey) -> Vec<u8> {
    let ecdsa_with_sha256 = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let p256 = der(
        0x30,
        &[
            &der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]),
            &der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]]),
        ],
    );
    let common_name = der(0x06, &[&[0x55, 4, 3]]);
    let text = der(0x0c, &[b"A virtual security key, for tests alone"]);
    let name = der(0x30, &[&der(0x31, &[&der(0x30, &[&common_name, &text])])]);
    let validity = der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let public = der(0x30, &[&p256, &der(0x03, &[&[0], &public(key)])]);
    let version = der(0xa0, &[&der(0x02, &[&[2]])]);
    let serial = der(0x02, &[&[1]]);
    let body = der(0x30, &[&version, &serial, &ecdsa_with_sha256, &name, &validity, &name, &public]);
    let signature = der(0x03, &[&[0], &key.sign(&body)]);
    der(0x30, &[&body, &ecdsa_with_sha256, &signature])
}

fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len() as u16;
    let [high, low] = length.to_be_bytes();
    let header = match length {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, content].concat()
}
