//! Uses libfido2 with one key that is already open. Loaded only in the process that does nothing else.
//!
//! The library opens no device here: it reads and writes through [`Io`], which ends every exchange in time. The
//! library's own time limits do not suffice: a key could keep it listening for ever by sending keepalives.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use mfa_core::key::{PublicKey, Signed};
use mfa_wire::Secret;

use super::pam::function;

/// A code of `fido/err.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl Error {
    pub const TIMEOUT: Error = Error(0x05);
    pub const CHANNEL_BUSY: Error = Error(0x06);
    pub const LOCK_REQUIRED: Error = Error(0x0a);
    pub const CREDENTIAL_EXCLUDED: Error = Error(0x19);
    pub const PROCESSING: Error = Error(0x21);
    pub const OPERATION_PENDING: Error = Error(0x23);
    pub const NO_OPERATIONS: Error = Error(0x24);
    pub const UNSUPPORTED_ALGORITHM: Error = Error(0x26);
    pub const OPERATION_DENIED: Error = Error(0x27);
    pub const KEY_STORE_FULL: Error = Error(0x28);
    pub const UNSUPPORTED_OPTION: Error = Error(0x2b);
    pub const INVALID_OPTION: Error = Error(0x2c);
    pub const KEEPALIVE_CANCEL: Error = Error(0x2d);
    pub const NO_CREDENTIALS: Error = Error(0x2e);
    pub const USER_ACTION_TIMEOUT: Error = Error(0x2f);
    pub const NOT_ALLOWED: Error = Error(0x30);
    pub const PIN_INVALID: Error = Error(0x31);
    pub const PIN_BLOCKED: Error = Error(0x32);
    pub const PIN_AUTH_INVALID: Error = Error(0x33);
    pub const PIN_AUTH_BLOCKED: Error = Error(0x34);
    pub const PIN_NOT_SET: Error = Error(0x35);
    pub const PIN_REQUIRED: Error = Error(0x36);
    pub const PIN_POLICY_VIOLATION: Error = Error(0x37);
    pub const REQUEST_TOO_LARGE: Error = Error(0x39);
    pub const ACTION_TIMEOUT: Error = Error(0x3a);
    pub const UV_BLOCKED: Error = Error(0x3c);
    pub const UV_INVALID: Error = Error(0x3f);
    pub const OTHER: Error = Error(0x7f);
    pub const RX: Error = Error(-2);
    pub const INVALID_ARGUMENT: Error = Error(-7);
    pub const USER_PRESENCE_REQUIRED: Error = Error(-8);
    pub const INTERNAL: Error = Error(-9);

    /// Errors that do not tell whether the key holds a credential: it wants to be asked in another way first.
    fn leaves_it_open(self) -> bool {
        let errors = [
            Error::OPERATION_DENIED,
            Error::UNSUPPORTED_OPTION,
            Error::INVALID_OPTION,
            Error::KEEPALIVE_CANCEL,
            Error::NOT_ALLOWED,
            Error::PIN_INVALID,
            Error::PIN_BLOCKED,
            Error::PIN_AUTH_INVALID,
            Error::PIN_AUTH_BLOCKED,
            Error::PIN_NOT_SET,
            Error::PIN_REQUIRED,
            Error::REQUEST_TOO_LARGE,
            Error::UV_BLOCKED,
            Error::UV_INVALID,
        ];
        errors.contains(&self)
    }

    /// States of a key that pass: it may answer the same question otherwise a little later.
    pub fn passes(self) -> bool {
        let errors = [
            Error::TIMEOUT,
            Error::LOCK_REQUIRED,
            Error::PROCESSING,
            Error::OPERATION_PENDING,
            Error::NO_OPERATIONS,
            Error::OTHER,
        ];
        errors.contains(&self)
    }

    /// Errors that say something of a PIN: with it nothing more can be asked.
    fn is_of_a_pin(self) -> bool {
        let errors = [
            Error::PIN_INVALID,
            Error::PIN_BLOCKED,
            Error::PIN_AUTH_INVALID,
            Error::PIN_AUTH_BLOCKED,
            Error::PIN_REQUIRED,
            Error::PIN_POLICY_VIOLATION,
        ];
        errors.contains(&self)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The result of a read.
pub enum Read {
    /// This many bytes.
    Got(usize),
    /// No bytes: the exchange must be cancelled. Returned once.
    CalledOff,
    /// No bytes, and there will be none.
    Over,
}

/// The connection to the key, in reports (CTAP 2.1, 11.2).
pub trait Io {
    /// Waits for one report, at most for `wait` (`None`: as long as the exchange may take).
    fn read(&self, report: &mut [u8], wait: Option<Duration>) -> Read;
    /// Sends one report, with its report number as the first byte.
    fn write(&self, report: &[u8]) -> Option<usize>;
    /// Whether the exchange has ended.
    fn is_over(&self) -> bool;
}

/// The features that a key reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It speaks CTAP2; otherwise only U2F.
    pub fido2: bool,
    /// It has a PIN set.
    pub pin: bool,
    /// It has a verification method of its own set up: a fingerprint.
    pub uv: bool,
    /// It does nothing without verification.
    pub always_uv: bool,
    /// How many tries are left for the PIN, if it has one.
    pub tries: Option<u8>,
    /// Its PIN is of no use until it is changed.
    pub must_change: bool,
}

/// How to verify the person.
#[derive(Clone, Copy)]
pub enum Verify<'a> {
    /// Not at all.
    No,
    /// By the key itself.
    BuiltIn,
    /// By the PIN.
    Pin(&'a Secret),
}

/// What a new credential is attested by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    /// Nothing, or nothing that can be checked.
    None,
    /// The credential's own key (self attestation).
    Itself,
    /// A certificate of the manufacturer. It is not checked who issued it.
    Certificate,
}

/// The inputs of a new credential.
pub struct Making<'a> {
    pub rp_id: &'a str,
    pub user_id: &'a [u8],
    pub user_name: &'a str,
    pub hash: &'a [u8; 32],
    pub exclude: &'a [Vec<u8>],
}

/// A new credential as the key returned it.
pub struct Made {
    /// The authenticator data, which contains the credential.
    pub auth_data: Vec<u8>,
    pub signature: Vec<u8>,
    pub attested: Attested,
}

type Opaque = *mut c_void;

#[repr(C)]
struct IoFunctions {
    open: extern "C" fn(*const c_char) -> Opaque,
    close: extern "C" fn(Opaque),
    read: extern "C" fn(Opaque, *mut u8, usize, c_int) -> c_int,
    write: extern "C" fn(Opaque, *const u8, usize) -> c_int,
}

const OMIT: c_int = 0;
const FALSE: c_int = 1;
const TRUE: c_int = 2;
const ES256: c_int = -7;
const EDDSA: c_int = -8;

/// The functions of libfido2 by the names and types of `<fido.h>`. Finding them fails with the name of a missing one.
macro_rules! library {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        #[allow(non_snake_case)]
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Functions {
            /// # Safety
            /// `library` is the handle of libfido2, which is loaded.
            unsafe fn find(library: Opaque) -> std::result::Result<Functions, &'static str> {
                // SAFETY: our caller guarantees that `library` is libfido2; the types are those of its header.
                unsafe {
                    Ok(Functions { $($name: {
                        const NAME: &str = concat!(stringify!($name), "\0");
                        let name = CStr::from_bytes_with_nul(NAME.as_bytes()).map_err(|_| stringify!($name))?;
                        function(library, name).ok_or(stringify!($name))?
                    },)* })
                }
            }
        }
    };
}

library! {
    fido_init: fn(c_int);
    fido_dev_new: fn() -> Opaque;
    fido_dev_free: fn(*mut Opaque);
    fido_dev_set_io_functions: fn(Opaque, *const IoFunctions) -> c_int;
    fido_dev_open: fn(Opaque, *const c_char) -> c_int;
    fido_dev_close: fn(Opaque) -> c_int;
    fido_dev_cancel: fn(Opaque) -> c_int;
    fido_dev_is_fido2: fn(Opaque) -> bool;
    fido_dev_has_pin: fn(Opaque) -> bool;
    fido_dev_has_uv: fn(Opaque) -> bool;
    fido_dev_get_retry_count: fn(Opaque, *mut c_int) -> c_int;
    fido_dev_get_touch_begin: fn(Opaque) -> c_int;
    fido_dev_get_touch_status: fn(Opaque, *mut c_int, c_int) -> c_int;
    fido_dev_get_assert: fn(Opaque, Opaque, *const c_char) -> c_int;
    fido_dev_make_cred: fn(Opaque, Opaque, *const c_char) -> c_int;
    fido_dev_get_cbor_info: fn(Opaque, Opaque) -> c_int;
    fido_cbor_info_new: fn() -> Opaque;
    fido_cbor_info_free: fn(*mut Opaque);
    fido_cbor_info_new_pin_required: fn(Opaque) -> bool;
    fido_cbor_info_options_name_ptr: fn(Opaque) -> *const *const c_char;
    fido_cbor_info_options_value_ptr: fn(Opaque) -> *const bool;
    fido_cbor_info_options_len: fn(Opaque) -> usize;
    fido_assert_new: fn() -> Opaque;
    fido_assert_free: fn(*mut Opaque);
    fido_assert_set_rp: fn(Opaque, *const c_char) -> c_int;
    fido_assert_set_clientdata_hash: fn(Opaque, *const u8, usize) -> c_int;
    fido_assert_allow_cred: fn(Opaque, *const u8, usize) -> c_int;
    fido_assert_set_up: fn(Opaque, c_int) -> c_int;
    fido_assert_set_uv: fn(Opaque, c_int) -> c_int;
    fido_assert_count: fn(Opaque) -> usize;
    fido_assert_verify: fn(Opaque, usize, c_int, Opaque) -> c_int;
    fido_assert_authdata_ptr: fn(Opaque, usize) -> *const u8;
    fido_assert_authdata_len: fn(Opaque, usize) -> usize;
    fido_assert_sig_ptr: fn(Opaque, usize) -> *const u8;
    fido_assert_sig_len: fn(Opaque, usize) -> usize;
    fido_cred_new: fn() -> Opaque;
    fido_cred_free: fn(*mut Opaque);
    fido_cred_set_type: fn(Opaque, c_int) -> c_int;
    fido_cred_set_clientdata_hash: fn(Opaque, *const u8, usize) -> c_int;
    fido_cred_set_rp: fn(Opaque, *const c_char, *const c_char) -> c_int;
    fido_cred_set_user: fn(Opaque, *const u8, usize, *const c_char, *const c_char, *const c_char) -> c_int;
    fido_cred_set_rk: fn(Opaque, c_int) -> c_int;
    fido_cred_set_uv: fn(Opaque, c_int) -> c_int;
    fido_cred_exclude: fn(Opaque, *const u8, usize) -> c_int;
    fido_cred_fmt: fn(Opaque) -> *const c_char;
    fido_cred_verify: fn(Opaque) -> c_int;
    fido_cred_verify_self: fn(Opaque) -> c_int;
    fido_cred_authdata_ptr: fn(Opaque) -> *const u8;
    fido_cred_authdata_len: fn(Opaque) -> usize;
    fido_cred_sig_ptr: fn(Opaque) -> *const u8;
    fido_cred_sig_len: fn(Opaque) -> usize;
    fido_cred_x5c_len: fn(Opaque) -> usize;
    es256_pk_new: fn() -> Opaque;
    es256_pk_free: fn(*mut Opaque);
    es256_pk_from_ptr: fn(Opaque, *const c_void, usize) -> c_int;
    eddsa_pk_new: fn() -> Opaque;
    eddsa_pk_free: fn(*mut Opaque);
    eddsa_pk_from_ptr: fn(Opaque, *const c_void, usize) -> c_int;
}

/// libfido2, loaded.
pub struct Library(Functions);

impl Library {
    /// Loads it, and has its cryptography read its settings, because later this process may have no access to files.
    pub fn load() -> std::result::Result<Library, String> {
        // SAFETY: loading runs the library's constructors, which have no preconditions. The name is searched in the
        // linker's own folders only (there is no environment), so the library is the system's. It is never unloaded.
        #[allow(clippy::disallowed_methods, reason = "libfido2, in a process without an environment or privilege")]
        let library = unsafe { libc::dlopen(c"libfido2.so.1".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(String::from("libfido2.so.1 cannot be loaded"));
        }
        // SAFETY: `library` is the handle of libfido2, which was just loaded.
        let functions = unsafe { Functions::find(library) }.map_err(|name| format!("libfido2.so.1 has no {name}"))?;
        const LOAD_CONFIG: u64 = 0x40;
        // SAFETY: `OPENSSL_init_crypto` has this type in <openssl/crypto.h>; NULL is allowed and means "no settings".
        // libfido2 has loaded the library that it is in.
        unsafe {
            type Init = unsafe extern "C" fn(u64, *const c_void) -> c_int;
            if let Some(init) = function::<Init>(library, c"OPENSSL_init_crypto") {
                init(LOAD_CONFIG, std::ptr::null());
            }
            // Otherwise one lost answer of a FIDO2 key makes the library speak U2F with it, which knows no PIN.
            const DISABLE_U2F_FALLBACK: c_int = 2;
            (functions.fido_init)(DISABLE_U2F_FALLBACK);
        }
        Ok(Library(functions))
    }
}

/// The data of the callbacks.
struct Context<'a> {
    io: &'a dyn Io,
    device: Opaque,
    cancel: unsafe extern "C" fn(Opaque) -> c_int,
}

/// The one key of this process. A static, because libfido2 passes only a path to `open`.
static CONTEXT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn io_open(_path: *const c_char) -> Opaque {
    CONTEXT.load(Ordering::Relaxed)
}

extern "C" fn io_close(_context: Opaque) {}

extern "C" fn io_read(context: Opaque, report: *mut u8, length: usize, milliseconds: c_int) -> c_int {
    // SAFETY: `context` is the pointer that `io_open` returned, and the `Context` outlives the device. `report` is
    // libfido2's own buffer of `length` bytes.
    let (context, report) = unsafe { (&*context.cast::<Context>(), std::slice::from_raw_parts_mut(report, length)) };
    let wait = u64::try_from(milliseconds).ok().map(Duration::from_millis);
    loop {
        match context.io.read(report, wait) {
            Read::Got(length) => return length as c_int,
            // SAFETY: `device` is the device that is calling us, so it is open. The call only sends a cancel; the key
            // then ends the exchange.
            Read::CalledOff => unsafe { (context.cancel)(context.device) },
            Read::Over => return -1,
        };
    }
}

extern "C" fn io_write(context: Opaque, report: *const u8, length: usize) -> c_int {
    // SAFETY: as in `io_read`.
    let (context, report) = unsafe { (&*context.cast::<Context>(), std::slice::from_raw_parts(report, length)) };
    context.io.write(report).map_or(-1, |length| length as c_int)
}

/// An object of libfido2's, freed when dropped.
struct Object {
    pointer: Opaque,
    free: unsafe extern "C" fn(*mut Opaque),
}

impl Object {
    fn new(make: unsafe extern "C" fn() -> Opaque, free: unsafe extern "C" fn(*mut Opaque)) -> Result<Object> {
        // SAFETY: a constructor without arguments and preconditions.
        let pointer = unsafe { make() };
        if pointer.is_null() { Err(Error::INTERNAL) } else { Ok(Object { pointer, free }) }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: `pointer` was made by the constructor that belongs to `free`, and is freed only here.
        unsafe { (self.free)(&raw mut self.pointer) };
    }
}

fn ok(code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error(code)) }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::INVALID_ARGUMENT)
}

/// # Safety
/// `pointer` is NULL or points to `length` readable bytes.
unsafe fn copied(pointer: *const u8, length: usize) -> Vec<u8> {
    if pointer.is_null() {
        return Vec::new();
    }
    // SAFETY: our caller guarantees `length` bytes, and `pointer` is not NULL.
    unsafe { std::slice::from_raw_parts(pointer, length) }.to_vec()
}

/// The PIN as a C string, wiped when dropped.
fn c_pin(verify: Verify) -> Result<Option<Secret>> {
    let Verify::Pin(pin) = verify else { return Ok(None) };
    let mut copy = Secret::with_capacity(pin.bytes().len() + 1);
    if pin.bytes().contains(&0) || !copy.append(pin.bytes()) || !copy.append(&[0]) {
        return Err(Error::PIN_INVALID);
    }
    Ok(Some(copy))
}

/// An open key.
pub struct Device<'a> {
    library: &'a Functions,
    device: Object,
    /// Boxed, because libfido2 holds its address.
    context: Box<Context<'a>>,
}

impl<'a> Device<'a> {
    /// Opens the key, and asks for its protocol and versions.
    pub fn open(library: &'a Library, io: &'a dyn Io) -> Result<Device<'a>> {
        let library = &library.0;
        let device = Object::new(library.fido_dev_new, library.fido_dev_free)?;
        let context = Box::new(Context { io, device: device.pointer, cancel: library.fido_dev_cancel });
        CONTEXT.store((&raw const *context).cast_mut().cast(), Ordering::Relaxed);
        let functions = IoFunctions { open: io_open, close: io_close, read: io_read, write: io_write };
        // SAFETY: the device is new and not open. libfido2 copies the functions, and both strings outlive the calls.
        unsafe {
            ok((library.fido_dev_set_io_functions)(device.pointer, &raw const functions))?;
            ok((library.fido_dev_open)(device.pointer, c"key".as_ptr()))?;
        }
        Ok(Device { library, device, context })
    }

    /// The features that the key reports.
    pub fn features(&self) -> Result<Features> {
        let (library, device) = (self.library, self.device.pointer);
        // SAFETY: `device` is open as long as `self` lives, and `tries` outlives its call.
        unsafe {
            let mut features = Features { fido2: (library.fido_dev_is_fido2)(device), ..Features::default() };
            if !features.fido2 {
                return Ok(features);
            }
            features.pin = (library.fido_dev_has_pin)(device);
            features.uv = (library.fido_dev_has_uv)(device);
            // One more exchange. A key without a PIN and a fingerprint says in another way that it demands them
            // (PIN_REQUIRED).
            if features.pin || features.uv {
                let info = Object::new(library.fido_cbor_info_new, library.fido_cbor_info_free)?;
                ok((library.fido_dev_get_cbor_info)(device, info.pointer))?;
                features.always_uv = self.option(&info, "alwaysUv");
                features.must_change = (library.fido_cbor_info_new_pin_required)(info.pointer);
            }
            if features.pin {
                let mut tries = 0;
                ok((library.fido_dev_get_retry_count)(device, &raw mut tries))?;
                features.tries = u8::try_from(tries).ok();
            }
            Ok(features)
        }
    }

    /// Whether the answer of authenticatorGetInfo lists this option as true.
    fn option(&self, info: &Object, name: &str) -> bool {
        let library = self.library;
        // SAFETY: `info` was filled by libfido2, with two arrays of `length` entries, the first of C strings; both live
        // as long as `info`.
        unsafe {
            let names = (library.fido_cbor_info_options_name_ptr)(info.pointer);
            let values = (library.fido_cbor_info_options_value_ptr)(info.pointer);
            let length = (library.fido_cbor_info_options_len)(info.pointer);
            let has = |n| *values.add(n) && CStr::from_ptr(*names.add(n)).to_bytes() == name.as_bytes();
            !names.is_null() && !values.is_null() && (0..length).any(has)
        }
    }

    fn assertion(&self, rp_id: &str, credential: &[u8], hash: &[u8; 32]) -> Result<Object> {
        let library = self.library;
        let assertion = Object::new(library.fido_assert_new, library.fido_assert_free)?;
        let (object, rp_id) = (assertion.pointer, text(rp_id)?);
        // SAFETY: `object` is a new assertion. libfido2 copies everything that the pointers point to.
        unsafe {
            ok((library.fido_assert_set_rp)(object, rp_id.as_ptr()))?;
            ok((library.fido_assert_set_clientdata_hash)(object, hash.as_ptr(), hash.len()))?;
            ok((library.fido_assert_allow_cred)(object, credential.as_ptr(), credential.len()))?;
        }
        Ok(assertion)
    }

    /// Whether this key holds the credential, if it says. This needs no touch. `pin` shows it what is hidden without.
    pub fn holds(&self, rp_id: &str, credential: &[u8], pin: Option<&Secret>) -> Result<Option<bool>> {
        let library = self.library;
        let assertion = self.assertion(rp_id, credential, &[0; 32])?;
        let pin = c_pin(pin.map_or(Verify::No, Verify::Pin))?;
        let pin = pin.as_ref().map_or(std::ptr::null(), |pin| pin.bytes().as_ptr().cast());
        // SAFETY: the device is open, the assertion lives until the end of this function, and `pin` is a C string or
        // NULL.
        let asked = unsafe {
            ok((library.fido_assert_set_up)(assertion.pointer, FALSE))?;
            ok((library.fido_dev_get_assert)(self.device.pointer, assertion.pointer, pin))
        };
        match asked {
            // SAFETY: as above.
            Ok(()) => Ok(Some(unsafe { (library.fido_assert_count)(assertion.pointer) } == 1)),
            Err(Error::USER_PRESENCE_REQUIRED) => Ok(Some(true)),
            Err(Error::CHANNEL_BUSY) => Err(Error::CHANNEL_BUSY),
            // A wrong PIN has cost a try: it must not be sent again for the next credential.
            Err(error) if !pin.is_null() && error.is_of_a_pin() => Err(error),
            Err(error) if error.passes() && pin.is_null() => Err(error),
            // A PIN was sent once, and is not sent again because of what passes.
            Err(error) if error.passes() || error.leaves_it_open() => Ok(None),
            // Some keys report this for a credential of another key that is too long or too short for them.
            Err(Error(1..)) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// Waits until this key is touched.
    pub fn touched(&self) -> Result<()> {
        let library = self.library;
        // Milliseconds. `Io` decides when the whole wait ends.
        const STEP: c_int = 200;
        let mut touched = 0;
        // SAFETY: the device is open, and `touched` outlives the calls.
        unsafe {
            ok((library.fido_dev_get_touch_begin)(self.device.pointer))?;
            while touched == 0 {
                // The library takes silence for "not touched yet".
                if self.context.io.is_over() {
                    return Err(Error::RX);
                }
                ok((library.fido_dev_get_touch_status)(self.device.pointer, &raw mut touched, STEP))?;
            }
        }
        Ok(())
    }

    /// Has the key sign after a touch. Also returns whether the library accepts the signature.
    pub fn assert(
        &self,
        rp_id: &str,
        credential: &[u8],
        public: &PublicKey,
        hash: &[u8; 32],
        verify: Verify,
    ) -> Result<(Signed, bool)> {
        let library = self.library;
        let assertion = self.assertion(rp_id, credential, hash)?;
        let object = assertion.pointer;
        let pin = c_pin(verify)?;
        let pin = pin.as_ref().map_or(std::ptr::null(), |pin| pin.bytes().as_ptr().cast());
        // SAFETY: the device is open, the assertion lives until the end of this function, and `pin` is a C string or
        // NULL.
        unsafe {
            let built_in = matches!(verify, Verify::BuiltIn);
            ok((library.fido_assert_set_uv)(object, if built_in { TRUE } else { OMIT }))?;
            ok((library.fido_dev_get_assert)(self.device.pointer, object, pin))?;
            if (library.fido_assert_count)(object) != 1 {
                return Err(Error::NO_CREDENTIALS);
            }
            // Without these two, an answer without a touch or without verification would be accepted.
            ok((library.fido_assert_set_up)(object, TRUE))?;
            ok((library.fido_assert_set_uv)(object, if matches!(verify, Verify::No) { OMIT } else { TRUE }))?;
            let (algorithm, key) = self.public(public)?;
            let good = (library.fido_assert_verify)(object, 0, algorithm, key.pointer) == 0;
            let auth_data = (library.fido_assert_authdata_ptr)(object, 0);
            let signature = (library.fido_assert_sig_ptr)(object, 0);
            let signed = Signed {
                auth_data: copied(auth_data, (library.fido_assert_authdata_len)(object, 0)),
                signature: copied(signature, (library.fido_assert_sig_len)(object, 0)),
            };
            Ok((signed, good))
        }
    }

    fn public(&self, public: &PublicKey) -> Result<(c_int, Object)> {
        let library = self.library;
        let (algorithm, key, from) = match public {
            PublicKey::Es256(_) => {
                (ES256, Object::new(library.es256_pk_new, library.es256_pk_free)?, library.es256_pk_from_ptr)
            }
            PublicKey::Ed25519(_) => {
                (EDDSA, Object::new(library.eddsa_pk_new, library.eddsa_pk_free)?, library.eddsa_pk_from_ptr)
            }
        };
        // SAFETY: `public` is valid for its length, and the library copies the bytes.
        ok(unsafe { from(key.pointer, public.bytes().as_ptr().cast(), public.bytes().len()) })?;
        Ok((algorithm, key))
    }

    /// Makes a new credential after a touch: ES256, or EdDSA if the key does not support ES256.
    pub fn make(&self, making: &Making, verify: Verify) -> Result<Made> {
        match self.make_of(ES256, making, verify) {
            Err(Error::UNSUPPORTED_ALGORITHM) => self.make_of(EDDSA, making, verify),
            made => made,
        }
    }

    fn make_of(&self, algorithm: c_int, making: &Making, verify: Verify) -> Result<Made> {
        let library = self.library;
        let credential = Object::new(library.fido_cred_new, library.fido_cred_free)?;
        let object = credential.pointer;
        let (rp_id, user) = (text(making.rp_id)?, text(making.user_name)?);
        let pin = c_pin(verify)?;
        let pin = pin.as_ref().map_or(std::ptr::null(), |pin| pin.bytes().as_ptr().cast());
        let (id, hash) = (making.user_id, making.hash);
        // SAFETY: the device is open, and the credential lives until the end of this function. The library copies
        // everything that it is given.
        unsafe {
            ok((library.fido_cred_set_type)(object, algorithm))?;
            ok((library.fido_cred_set_clientdata_hash)(object, hash.as_ptr(), hash.len()))?;
            ok((library.fido_cred_set_rp)(object, rp_id.as_ptr(), rp_id.as_ptr()))?;
            let (display, icon) = (std::ptr::null(), std::ptr::null());
            ok((library.fido_cred_set_user)(object, id.as_ptr(), id.len(), user.as_ptr(), display, icon))?;
            ok((library.fido_cred_set_rk)(object, FALSE))?;
            let built_in = matches!(verify, Verify::BuiltIn);
            ok((library.fido_cred_set_uv)(object, if built_in { TRUE } else { OMIT }))?;
            for known in making.exclude {
                ok((library.fido_cred_exclude)(object, known.as_ptr(), known.len()))?;
            }
            ok((library.fido_dev_make_cred)(self.device.pointer, object, pin))?;
            let format = (library.fido_cred_fmt)(object);
            let format = if format.is_null() { c"" } else { CStr::from_ptr(format) };
            let attested = match (format, (library.fido_cred_x5c_len)(object)) {
                (format, _) if format == c"none" => Attested::None,
                (_, 0) => ok((library.fido_cred_verify_self)(object)).map(|()| Attested::Itself)?,
                // One that the library does not understand vouches for nothing. That is no harm: what it says would be
                // believed only where the policy lists models.
                _ => match ok((library.fido_cred_verify)(object)) {
                    Ok(()) => Attested::Certificate,
                    Err(_) => Attested::None,
                },
            };
            let auth_data = (library.fido_cred_authdata_ptr)(object);
            let signature = (library.fido_cred_sig_ptr)(object);
            Ok(Made {
                auth_data: copied(auth_data, (library.fido_cred_authdata_len)(object)),
                signature: copied(signature, (library.fido_cred_sig_len)(object)),
                attested,
            })
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // SAFETY: the device is open, and after this it is only freed.
        unsafe { (self.library.fido_dev_close)(self.device.pointer) };
    }
}
