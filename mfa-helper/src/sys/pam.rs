//! libpam as an application uses it, loaded only when a first factor is to be proved: no login pays for it.

use std::ffi::{CStr, c_char, c_int, c_void};

use mfa_wire::Secret;

/// Who answers what PAM modules ask.
pub trait Person {
    /// `None` when nobody answers.
    fn ask(&mut self, echo: bool, text: &str) -> Option<Secret>;
    /// Shows a line.
    fn tell(&mut self, text: &str);
}

const PAM_SUCCESS: c_int = 0;
const PAM_BUF_ERR: c_int = 5;
const PAM_CONV_ERR: c_int = 19;
const PAM_RUSER: c_int = 8;
/// Debian's common-auth says `nullok`; an empty password proves nothing.
const PAM_DISALLOW_NULL_AUTHTOK: c_int = 1;
/// `PAM_MAX_NUM_MSG`.
const MESSAGES: c_int = 32;

const ECHO_OFF: c_int = 1;
const ECHO_ON: c_int = 2;

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
    person: *mut c_void,
}

type Handle = *mut c_void;

/// The functions of libpam that are needed.
struct Libpam {
    start: unsafe extern "C" fn(*const c_char, *const c_char, *const Conv, *mut Handle) -> c_int,
    set_item: unsafe extern "C" fn(Handle, c_int, *const c_void) -> c_int,
    authenticate: unsafe extern "C" fn(Handle, c_int) -> c_int,
    acct_mgmt: unsafe extern "C" fn(Handle, c_int) -> c_int,
    strerror: unsafe extern "C" fn(Handle, c_int) -> *const c_char,
    end: unsafe extern "C" fn(Handle, c_int) -> c_int,
}

impl Libpam {
    fn load() -> Option<Libpam> {
        // SAFETY: a name that only the linker's own folders are searched for (the environment is empty by now); never
        // unloaded.
        let library = unsafe { libc::dlopen(c"libpam.so.0".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        // SAFETY: a library that is loaded.
        let symbol = |name: &CStr| Some(unsafe { libc::dlsym(library, name.as_ptr()) }).filter(|s| !s.is_null());
        // SAFETY: the types are those of <security/pam_appl.h>.
        unsafe {
            Some(Libpam {
                start: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _, _, _) -> _>(symbol(c"pam_start")?),
                set_item: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _, _) -> _>(symbol(
                    c"pam_set_item",
                )?),
                authenticate: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _) -> _>(symbol(
                    c"pam_authenticate",
                )?),
                acct_mgmt: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _) -> _>(symbol(
                    c"pam_acct_mgmt",
                )?),
                strerror: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _) -> _>(symbol(c"pam_strerror")?),
                end: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(_, _) -> _>(symbol(c"pam_end")?),
            })
        }
    }
}

/// Authenticates `user` in `service`, and asks whether the account may be used at all. If not, why, for the log.
pub fn authenticate(service: &CStr, user: &CStr, person: &mut dyn Person) -> Result<(), String> {
    let pam = Libpam::load().ok_or("libpam.so.0 cannot be loaded")?;
    let mut person: &mut dyn Person = person;
    let conv = Conv { converse, person: (&raw mut person).cast() };
    let mut handle: Handle = std::ptr::null_mut();
    // SAFETY: `conv` and `person` outlive the handle, which is ended below; strings are copied by libpam.
    unsafe {
        let mut code = (pam.start)(service.as_ptr(), user.as_ptr(), &raw const conv, &raw mut handle);
        if code != PAM_SUCCESS {
            return Err(format!("pam_start failed ({code})"));
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
        let why = (pam.strerror)(handle, code);
        let why = if why.is_null() { String::new() } else { CStr::from_ptr(why).to_string_lossy().into_owned() };
        (pam.end)(handle, code);
        if code == PAM_SUCCESS { Ok(()) } else { Err(format!("{at}: {why} ({code})")) }
    }
}

/// The conversation function. A panic in it ends this process, which is there for it alone.
extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    person: *mut c_void,
) -> c_int {
    if !(1..=MESSAGES).contains(&count) {
        return PAM_CONV_ERR;
    }
    // SAFETY: what `authenticate` above handed to libpam, and still there.
    let person = unsafe { &mut *person.cast::<&mut dyn Person>() };
    let count = count as usize;
    // SAFETY: plain memory, which libpam frees with free(3).
    let answers: *mut Response = unsafe { libc::calloc(count, size_of::<Response>()) }.cast();
    if answers.is_null() {
        return PAM_BUF_ERR;
    }
    for n in 0..count {
        // SAFETY: Linux-PAM passes an array of `count` pointers to messages.
        let message = unsafe { &**messages.add(n) };
        // SAFETY: NULL or a C string.
        let text = if message.text.is_null() { c"" } else { unsafe { CStr::from_ptr(message.text) } }.to_string_lossy();
        if ![ECHO_ON, ECHO_OFF].contains(&message.style) {
            person.tell(&text);
            continue;
        }
        let answer = person.ask(message.style == ECHO_ON, &text).and_then(|answer| copied(&answer));
        let Some(answer) = answer else {
            // SAFETY: as many answers as have been made.
            unsafe { free(answers, count) };
            return PAM_CONV_ERR;
        };
        // SAFETY: within the array.
        unsafe { (*answers.add(n)).text = answer };
    }
    // SAFETY: libpam's place for the array.
    unsafe { *responses = answers };
    PAM_SUCCESS
}

/// A copy that libpam or the module frees.
fn copied(answer: &Secret) -> Option<*mut c_char> {
    // What a C string cannot hold is no answer.
    let length = answer.bytes().len();
    if answer.bytes().contains(&0) {
        return None;
    }
    // SAFETY: `length` bytes and the end of the string, written before anybody reads.
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
/// `answers` is an array of `count` answers, each NULL or a C string of ours.
unsafe fn free(answers: *mut Response, count: usize) {
    // SAFETY: as the caller says. Wiped, because the first of them may be right.
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
