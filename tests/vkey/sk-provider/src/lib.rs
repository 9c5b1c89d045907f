//! The virtual security key as a SecurityKeyProvider of OpenSSH (sk-api.h, major version 10: OpenSSH 8.9 and later).
//!
//! Wherever ssh, ssh-keygen or ssh-agent load it (in ssh-sk-helper, which inherits their environment), it asks the key
//! whose control socket `VKEY_CONTROL` names; `ssh-keygen -O device=SOCKET` goes before.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, ptr, slice};

use sha2::{Digest, Sha256};
use vkey::cbor::{self, Value};
use vkey::pin::{self, Protocol, Shared};

const VERSION: u32 = 0x000a_0000;

const PRESENCE: u8 = 0x01;
const VERIFICATION: u8 = 0x04;
const RESIDENT: u8 = 0x20;

const ECDSA: u32 = 0;
const ED25519: u32 = 1;

const GENERAL: c_int = -1;
const UNSUPPORTED: c_int = -2;
const PIN_REQUIRED: c_int = -3;
const NOT_FOUND: c_int = -4;

/// All memory in responses is OpenSSH's to free.
#[repr(C)]
pub struct EnrollResponse {
    flags: u8,
    public_key: *mut u8,
    public_key_len: usize,
    key_handle: *mut u8,
    key_handle_len: usize,
    signature: *mut u8,
    signature_len: usize,
    attestation_cert: *mut u8,
    attestation_cert_len: usize,
    authdata: *mut u8,
    authdata_len: usize,
}

#[repr(C)]
pub struct SignResponse {
    flags: u8,
    counter: u32,
    sig_r: *mut u8,
    sig_r_len: usize,
    sig_s: *mut u8,
    sig_s_len: usize,
}

#[repr(C)]
pub struct SkOption {
    name: *const c_char,
    value: *const c_char,
    required: u8,
}

#[unsafe(no_mangle)]
pub extern "C" fn sk_api_version() -> u32 {
    VERSION
}

/// # Safety
/// As sk-api.h has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_enroll(
    alg: u32,
    challenge: *const u8,
    challenge_len: usize,
    application: *const c_char,
    flags: u8,
    pin: *const c_char,
    options: *const *const SkOption,
    response: *mut *mut EnrollResponse,
) -> c_int {
    // SAFETY: the caller's pointers are as sk-api.h has them.
    let (challenge, application, pin, key) =
        unsafe { (slice::from_raw_parts(challenge, challenge_len), text(application), text(pin), Key::of(options)) };
    let enrolled = key.and_then(|key| enroll(&key, alg, challenge, &application.unwrap_or_default(), flags, pin));
    let Enrolled { public, id, signature, auth_data } = match enrolled {
        Ok(enrolled) => enrolled,
        Err(code) => return code,
    };
    let enrolled = EnrollResponse {
        flags,
        public_key: given(&public),
        public_key_len: public.len(),
        key_handle: given(&id),
        key_handle_len: id.len(),
        signature: given(&signature),
        signature_len: signature.len(),
        attestation_cert: ptr::null_mut(),
        attestation_cert_len: 0,
        authdata: given(&auth_data),
        authdata_len: auth_data.len(),
    };
    // SAFETY: the caller's place for one pointer.
    unsafe { response.write(boxed(enrolled)) };
    0
}

/// # Safety
/// As sk-api.h has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_sign(
    alg: u32,
    data: *const u8,
    data_len: usize,
    application: *const c_char,
    key_handle: *const u8,
    key_handle_len: usize,
    flags: u8,
    pin: *const c_char,
    options: *const *const SkOption,
    response: *mut *mut SignResponse,
) -> c_int {
    // SAFETY: the caller's pointers are as sk-api.h has them.
    let (data, handle, application, pin, key) = unsafe {
        let handle = slice::from_raw_parts(key_handle, key_handle_len);
        (slice::from_raw_parts(data, data_len), handle, text(application), text(pin), Key::of(options))
    };
    let signed = key.and_then(|key| sign(&key, alg, data, &application.unwrap_or_default(), handle, flags, pin));
    let Signed { flags, counter, r, s } = match signed {
        Ok(signed) => signed,
        Err(code) => return code,
    };
    let signed = SignResponse {
        flags,
        counter,
        sig_r: given(&r),
        sig_r_len: r.len(),
        sig_s: if s.is_empty() { ptr::null_mut() } else { given(&s) },
        sig_s_len: s.len(),
    };
    // SAFETY: the caller's place for one pointer.
    unsafe { response.write(boxed(signed)) };
    0
}

/// None: the virtual key keeps nothing.
///
/// # Safety
/// As sk-api.h has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_load_resident_keys(
    _pin: *const c_char,
    _options: *const *const SkOption,
    keys: *mut *mut *mut u8,
    count: *mut usize,
) -> c_int {
    // SAFETY: the caller's places for a pointer and a number.
    unsafe {
        keys.write(ptr::null_mut());
        count.write(0);
    }
    0
}

struct Enrolled {
    public: Vec<u8>,
    id: Vec<u8>,
    signature: Vec<u8>,
    auth_data: Vec<u8>,
}

fn enroll(
    key: &Key,
    alg: u32,
    challenge: &[u8],
    application: &str,
    flags: u8,
    pin: Option<String>,
) -> Result<Enrolled, c_int> {
    let algorithm = match alg {
        ECDSA => -7,
        ED25519 => -8,
        _ => return Err(UNSUPPORTED),
    };
    let hash = Sha256::digest(challenge);
    let user = [("id", Value::Bytes(vec![0; 32])), ("name", "openssh".into()), ("displayName", "openssh".into())];
    let wanted = cbor::map([("alg", algorithm.into()), ("type", "public-key".into())]);
    let mut request = vec![
        (1, Value::Bytes(hash.to_vec())),
        (2, cbor::map([("id", application.into())])),
        (3, cbor::map(user)),
        (4, cbor::array([wanted])),
    ];
    if flags & (VERIFICATION | RESIDENT) != 0 {
        let level = if flags & VERIFICATION != 0 { 3 } else { 2 };
        request.push((6, cbor::map([("credProtect", level.into())])));
    }
    request.push((7, cbor::map([("rk", (flags & RESIDENT != 0).into())])));
    if let Some(proof) = key.proof(flags, pin, &hash)? {
        request.extend([(8, proof), (9, 2.into())]);
    }
    let answer = key.ctap(0x01, &cbor::map(request))?;
    let auth_data = cbor::bytes(&answer, 2).ok_or(GENERAL)?.to_vec();
    let signature = cbor::get(&answer, 3).and_then(|statement| cbor::bytes(statement, "sig")).ok_or(GENERAL)?.to_vec();
    // rpIdHash, flags, counter, aaguid; then the length of the id, the id and the public key
    let credential = auth_data.get(37 + 16..).ok_or(GENERAL)?;
    let (length, credential) = credential.split_first_chunk().ok_or(GENERAL)?;
    let (id, cose) = credential.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(GENERAL)?;
    let cose = cbor::decode(cose).ok_or(GENERAL)?;
    let public = match alg {
        ECDSA => pin::from_cose(&cose).ok_or(GENERAL)?.to_sec1_bytes().to_vec(),
        _ => cbor::bytes(&cose, -2).ok_or(GENERAL)?.to_vec(),
    };
    Ok(Enrolled { public, id: id.to_vec(), signature, auth_data })
}

struct Signed {
    flags: u8,
    counter: u32,
    r: Vec<u8>,
    s: Vec<u8>,
}

fn sign(
    key: &Key,
    alg: u32,
    data: &[u8],
    application: &str,
    handle: &[u8],
    flags: u8,
    pin: Option<String>,
) -> Result<Signed, c_int> {
    let hash = Sha256::digest(data);
    let descriptor = cbor::map([("id", Value::Bytes(handle.to_vec())), ("type", "public-key".into())]);
    let mut request = vec![
        (1, application.into()),
        (2, Value::Bytes(hash.to_vec())),
        (3, cbor::array([descriptor])),
        (5, cbor::map([("up", (flags & PRESENCE != 0).into())])),
    ];
    if let Some(proof) = key.proof(flags, pin, &hash)? {
        request.extend([(6, proof), (7, 2.into())]);
    }
    let answer = key.ctap(0x02, &cbor::map(request))?;
    let auth_data = cbor::bytes(&answer, 2).ok_or(GENERAL)?;
    let signature = cbor::bytes(&answer, 3).ok_or(GENERAL)?;
    let flags = *auth_data.get(32).ok_or(GENERAL)?;
    let counter = u32::from_be_bytes(auth_data.get(33..37).ok_or(GENERAL)?.try_into().unwrap());
    let (r, s) = match alg {
        ECDSA => {
            let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| GENERAL)?;
            (signature.r().to_bytes().to_vec(), signature.s().to_bytes().to_vec())
        }
        _ => (signature.to_vec(), Vec::new()),
    };
    Ok(Signed { flags, counter, r, s })
}

/// The control socket of a key.
struct Key(PathBuf);

impl Key {
    /// # Safety
    /// `options` is NULL or an array that NULL ends.
    unsafe fn of(options: *const *const SkOption) -> Result<Self, c_int> {
        let mut socket = env::var_os("VKEY_CONTROL").map(PathBuf::from);
        // SAFETY: the caller's array, up to its end.
        unsafe {
            let mut next = options;
            while !next.is_null() && !(*next).is_null() {
                let SkOption { name, value, required } = &**next;
                match CStr::from_ptr(*name).to_bytes() {
                    b"device" => socket = Some(Path::new(OsStr::from_bytes(CStr::from_ptr(*value).to_bytes())).into()),
                    _ if *required != 0 => return Err(UNSUPPORTED),
                    _ => {}
                }
                next = next.add(1);
            }
        }
        socket.map(Self).ok_or(NOT_FOUND)
    }

    fn ctap(&self, command: u8, request: &Value) -> Result<Value, c_int> {
        let request = [&[command], &cbor::encode(request)[..]].concat();
        let answer = vkey::ask(&self.0, &format!("ctap {}", vkey::hex(&request))).map_err(|_| NOT_FOUND)?;
        match vkey::unhex(&answer).as_deref() {
            Some([0]) => Ok(Value::Null),
            Some([0, answer @ ..]) => cbor::decode(answer).ok_or(GENERAL),
            // no such credential
            Some([0x2e]) => Err(NOT_FOUND),
            // PIN invalid, PIN authentication invalid, a token is required
            Some([0x31 | 0x33 | 0x36]) => Err(PIN_REQUIRED),
            _ => Err(GENERAL),
        }
    }

    /// The pinUvAuthParam, by PIN protocol 2, if there is a PIN or one is needed.
    fn proof(&self, flags: u8, pin: Option<String>, hash: &[u8]) -> Result<Option<Value>, c_int> {
        let pin = match pin {
            Some(pin) if !pin.is_empty() => pin,
            _ if flags & VERIFICATION != 0 => return Err(PIN_REQUIRED),
            _ => return Ok(None),
        };
        let agreement = self.ctap(0x06, &cbor::map([(1, 2.into()), (2, 2.into())]))?;
        let other = cbor::get(&agreement, 1).and_then(pin::from_cose).ok_or(GENERAL)?;
        let own = pin::new_secret();
        let shared = Shared::new(Protocol::Two, &own, &other);
        let request = cbor::map([
            (1, 2.into()),
            (2, 5.into()),
            (3, pin::to_cose(&own.public_key(), -25)),
            (6, Value::Bytes(shared.encrypt(&pin::hash(&pin)))),
        ]);
        let answer = self.ctap(0x06, &request)?;
        let token = cbor::bytes(&answer, 2).and_then(|token| shared.decrypt(token)).ok_or(GENERAL)?;
        Ok(Some(Value::Bytes(Protocol::Two.authenticate(&token, hash))))
    }
}

/// # Safety
/// `text` is NULL or a C string.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// A copy that free(3) takes.
fn given(bytes: &[u8]) -> *mut u8 {
    // SAFETY: as many bytes as are written.
    unsafe {
        let copy = libc::malloc(bytes.len().max(1)).cast::<u8>();
        assert!(!copy.is_null());
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        copy
    }
}

fn boxed<T>(value: T) -> *mut T {
    // SAFETY: malloc's memory is aligned for any type.
    unsafe {
        let place = libc::malloc(size_of::<T>()).cast::<T>();
        assert!(!place.is_null());
        place.write(value);
        place
    }
}
