//! Uses libpam as an application. Loaded only to check a first factor, so that logins do not pay for it.

use std::ffi::{CStr, c_char, c_int, c_void};

use mfa_wire::Secret;

/// A message of a PAM module.
#[derive(Clone, Copy)]
pub enum Line<'a> {
    /// A question.
    Ask {
        /// Whether the answer may be shown.
        echo: bool,
        /// The question.
        text: &'a str,
    },
    /// A line to show.
    Tell(&'a str),
}

/// Passes a message on and returns the answer; `None` if there is no answer or the message is no question.
type Talk<'a> = &'a mut dyn FnMut(Line) -> Option<Secret>;

/// Why the first factor is not proved, for the log.
pub enum NotProved {
    /// The modules refuse.
    Refused(String),
    /// The modules cannot decide.
    Unavailable(String),
}

const PAM_SUCCESS: c_int = 0;
const PAM_SERVICE_ERR: c_int = 3;
const PAM_SYSTEM_ERR: c_int = 4;
const PAM_BUF_ERR: c_int = 5;
const PAM_AUTHINFO_UNAVAIL: c_int = 9;
const PAM_CONV_ERR: c_int = 19;
const PAM_USER: c_int = 2;
const PAM_RUSER: c_int = 8;
/// Needed because Debian's common-auth has `nullok`: an empty password proves nothing.
const PAM_DISALLOW_NULL_AUTHTOK: c_int = 1;
/// `PAM_MAX_NUM_MSG`.
const MESSAGES: c_int = 32;

const ECHO_OFF: c_int = 1;
const ECHO_ON: c_int = 2;
const ERROR_MSG: c_int = 3;
const TEXT_INFO: c_int = 4;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

type Converse = extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conv {
    converse: Converse,
    talk: *mut c_void,
}

type Handle = *mut c_void;

/// The functions of libpam that are needed.
struct Libpam {
    start: unsafe extern "C" fn(*const c_char, *const c_char, *const Conv, *mut Handle) -> c_int,
    set_item: unsafe extern "C" fn(Handle, c_int, *const c_void) -> c_int,
    get_item: unsafe extern "C" fn(Handle, c_int, *mut *const c_void) -> c_int,
    authenticate: unsafe extern "C" fn(Handle, c_int) -> c_int,
    acct_mgmt: unsafe extern "C" fn(Handle, c_int) -> c_int,
    strerror: unsafe extern "C" fn(Handle, c_int) -> *const c_char,
    end: unsafe extern "C" fn(Handle, c_int) -> c_int,
}

impl Libpam {
    fn load() -> Option<Libpam> {
        // SAFETY: loading runs the library's constructors, which have no preconditions. The name is searched in the
        // linker's own folders only (the environment is empty by now), so the library is the system's. It is never
        // unloaded.
        #[allow(clippy::disallowed_methods, reason = "libpam, in a process without an environment")]
        let library = unsafe { libc::dlopen(c"libpam.so.0".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        // SAFETY: the types of the fields are those of <security/pam_appl.h>.
        unsafe {
            Some(Libpam {
                start: function(library, c"pam_start")?,
                set_item: function(library, c"pam_set_item")?,
                get_item: function(library, c"pam_get_item")?,
                authenticate: function(library, c"pam_authenticate")?,
                acct_mgmt: function(library, c"pam_acct_mgmt")?,
                strerror: function(library, c"pam_strerror")?,
                end: function(library, c"pam_end")?,
            })
        }
    }
}

/// # Safety
/// `F` is the type of the C function `name` of `library`, which is loaded.
pub(super) unsafe fn function<F: Copy>(library: *mut c_void, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: our caller guarantees that `F` is the type of this symbol; it has the size of a pointer, as asserted.
    unsafe {
        let symbol = libc::dlsym(library, name.as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute_copy(&symbol))
    }
}

/// Authenticates `user` for `service`, and checks that the account may be used. The error is for the log.
pub fn authenticate(service: &CStr, user: &CStr, mut talk: Talk) -> Result<(), NotProved> {
    let pam = Libpam::load().ok_or(NotProved::Unavailable(String::from("libpam.so.0 cannot be loaded")))?;
    let conv = Conv { converse, talk: (&raw mut talk).cast() };
    let mut handle: Handle = std::ptr::null_mut();
    // SAFETY: `conv` and `talk` outlive the handle, which is ended below. libpam copies the strings.
    unsafe {
        let mut code = (pam.start)(service.as_ptr(), user.as_ptr(), &raw const conv, &raw mut handle);
        if code != PAM_SUCCESS {
            return Err(NotProved::Unavailable(format!("pam_start failed ({code})")));
        }
        let mut at = "start";
        let steps = [("auth", pam.authenticate), ("account", pam.acct_mgmt)];
        code = (pam.set_item)(handle, PAM_RUSER, user.as_ptr().cast());
        for (name, step) in steps {
            if code == PAM_SUCCESS {
                at = name;
                code = step(handle, PAM_DISALLOW_NULL_AUTHTOK);
            }
        }
        // A module may have changed the user.
        let mut answered_for: *const c_void = std::ptr::null();
        let same = (pam.get_item)(handle, PAM_USER, &raw mut answered_for) == PAM_SUCCESS
            && !answered_for.is_null()
            && CStr::from_ptr(answered_for.cast()) == user;
        let why = (pam.strerror)(handle, code);
        let why = if why.is_null() { String::new() } else { CStr::from_ptr(why).to_string_lossy().into_owned() };
        (pam.end)(handle, code);
        let why = format!("{at}: {why} ({code})");
        match code {
            PAM_SUCCESS if same => Ok(()),
            PAM_SUCCESS => Err(NotProved::Refused(String::from("the stack answered for another user"))),
            PAM_SERVICE_ERR | PAM_SYSTEM_ERR | PAM_BUF_ERR | PAM_AUTHINFO_UNAVAIL => Err(NotProved::Unavailable(why)),
            _ => Err(NotProved::Refused(why)),
        }
    }
}

/// The conversation function. A panic in it ends this process, which exists only for this.
extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    talk: *mut c_void,
) -> c_int {
    if !(1..=MESSAGES).contains(&count) {
        return PAM_CONV_ERR;
    }
    // SAFETY: `talk` is the pointer that `authenticate` gave to libpam, and its target outlives the handle.
    let talk = unsafe { &mut *talk.cast::<Talk>() };
    let count = count as usize;
    // SAFETY: calloc has no preconditions. libpam frees the array with free(3), as pam_conv(3) demands.
    let answers: *mut Response = unsafe { libc::calloc(count, size_of::<Response>()) }.cast();
    if answers.is_null() {
        return PAM_BUF_ERR;
    }
    for n in 0..count {
        // SAFETY: Linux-PAM passes an array of `count` pointers to messages.
        let message = unsafe { &**messages.add(n) };
        // In other styles, such as PAM_BINARY_PROMPT, the text is not a C string.
        if ![ECHO_OFF, ECHO_ON, ERROR_MSG, TEXT_INFO].contains(&message.style) {
            // SAFETY: `answers` is our array of `count` answers; each is NULL or a copy of ours.
            unsafe { free(answers, count) };
            return PAM_CONV_ERR;
        }
        // SAFETY: in these four styles the text is a C string; it is not NULL.
        let text = if message.text.is_null() { c"" } else { unsafe { CStr::from_ptr(message.text) } }.to_string_lossy();
        if ![ECHO_ON, ECHO_OFF].contains(&message.style) {
            talk(Line::Tell(&text));
            continue;
        }
        let question = Line::Ask { echo: message.style == ECHO_ON, text: &text };
        let answer = talk(question).and_then(|answer| copied(&answer));
        let Some(answer) = answer else {
            // SAFETY: `answers` is our array of `count` answers; each is NULL or a copy of ours.
            unsafe { free(answers, count) };
            return PAM_CONV_ERR;
        };
        // SAFETY: `n` is less than `count`, so this is inside the array.
        unsafe { (*answers.add(n)).text = answer };
    }
    // SAFETY: `responses` is libpam's place for the pointer to the array.
    unsafe { *responses = answers };
    PAM_SUCCESS
}

/// A copy of the answer, which libpam or the module frees.
fn copied(answer: &Secret) -> Option<*mut c_char> {
    // An answer with a NUL inside cannot be a C string.
    let length = answer.bytes().len();
    if answer.bytes().contains(&0) {
        return None;
    }
    // SAFETY: calloc returns NULL or `length + 1` zero bytes; `length` of them are written, so a NUL ends the string.
    unsafe {
        let copy: *mut u8 = libc::calloc(length + 1, 1).cast();
        if copy.is_null() {
            return None;
        }
        std::ptr::copy_nonoverlapping(answer.bytes().as_ptr(), copy, length);
        Some(copy.cast())
    }
}

/// # Safety
/// `answers` is an array of `count` answers, each NULL or a C string that `copied` made.
unsafe fn free(answers: *mut Response, count: usize) {
    // SAFETY: our caller guarantees the array. The strings are wiped, because one of them may be the right answer.
    unsafe {
        for n in 0..count {
            let text = (*answers.add(n)).text;
            if !text.is_null() {
                libc::explicit_bzero(text.cast(), libc::strlen(text));
                libc::free(text.cast());
            }
        }
        libc::free(answers.cast());
    }
}
