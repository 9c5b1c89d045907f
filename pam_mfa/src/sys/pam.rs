//! What pam-bindings leaves out: the system log, the PAM environment, and a conversation whose message is wiped too.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use mfa_wire::Secret;
use pam::constants::{PamMessageStyle, PamResultCode};
use pam::conv::Conv;
use pam::items::{Item, ItemType};
use pam::module::{PamHandle, PamResult};
use zeroize::Zeroize;

use crate::mark::Mark;

unsafe extern "C" {
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_putenv(pamh: *mut PamHandle, variable: *const c_char) -> c_int;
    fn pam_getenv(pamh: *const PamHandle, name: *const c_char) -> *const c_char;
    fn pam_get_item(pamh: *const PamHandle, item: c_int, value: *mut *const c_void) -> c_int;
    fn pam_set_item(pamh: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
}

/// One line to the system log, under LOG_AUTHPRIV.
pub(crate) fn log(pam: &PamHandle, level: c_int, line: &str) {
    let Ok(line) = CString::new(line) else { return };
    // SAFETY: the handle is libpam's own; the format takes exactly one string, and what the line holds is never a format.
    unsafe { pam_syslog(pam, libc::LOG_AUTHPRIV | level, c"%s".as_ptr(), line.as_ptr()) }
}

/// A variable of the PAM environment.
pub(crate) fn getenv<'a>(pam: &'a PamHandle, name: &CStr) -> Option<&'a CStr> {
    // SAFETY: the handle is libpam's own, and the name is a C string.
    let value = unsafe { pam_getenv(pam, name.as_ptr()) };
    // SAFETY: libpam returns NULL or a C string of its own, which stays until the variable is changed; that takes the
    // handle mutably, and 'a holds it shared.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// Sets a variable of the PAM environment, by `NAME=VALUE`, or removes it, by `NAME`.
pub(crate) fn putenv(pam: &mut PamHandle, variable: &CStr) -> PamResult<()> {
    // SAFETY: the handle is libpam's own, and it copies the C string.
    success(unsafe { pam_putenv(pam, variable.as_ptr()) })
}

/// The name of our data in the handle. It holds an address in this very shared object, because the type behind it is
/// that of this build: another build of the module in the same stack must not read it.
fn mark_name() -> String {
    static HERE: u8 = 0;
    format!("pam_mfa mark {:p}", &raw const HERE)
}

pub(crate) fn mark(pam: &PamHandle) -> Option<&Mark> {
    // SAFETY: nobody but set_mark stores under this name, and it stores this type. libpam keeps a module loaded until
    // pam_end, so the name stays the same for a handle, and nobody else's can be like it.
    unsafe { pam.get_data::<Option<Mark>>(&mark_name()) }.ok()?.as_ref()
}

pub(crate) fn set_mark(pam: &mut PamHandle, mark: Option<Mark>) -> PamResult<()> {
    pam.set_data(&mark_name(), Box::new(mark))
}

/// `PAM_OLDAUTHTOK`, which only a change of the login secret uses. libpam wipes it at the beginning and at the end of each
/// `pam_authenticate` (`_pam_sanitize`), so what we find in it was put there in the pass that is under way.
const OLD_SECRET: c_int = ItemType::OldAuthTok as c_int;

/// Whether a line of ours has been called before in this pass of `pam_authenticate`.
pub(crate) fn is_pass_under_way(pam: &PamHandle) -> PamResult<bool> {
    let mut value = ptr::null();
    // SAFETY: the handle is libpam's own, and the place for a pointer lives across the call.
    success(unsafe { pam_get_item(pam, OLD_SECRET, &raw mut value) })?;
    // SAFETY: libpam sets it to NULL or to a C string of its own, which stays until the item is set again; that takes the
    // handle mutably.
    Ok(!value.is_null() && unsafe { CStr::from_ptr(value.cast()) }.to_bytes() == mark_name().as_bytes())
}

/// Notes that a line of ours has been called in this pass.
pub(crate) fn note_pass(pam: &mut PamHandle) -> PamResult<()> {
    let name = CString::new(mark_name()).map_err(|_| PamResultCode::PAM_BUF_ERR)?;
    // SAFETY: the handle is libpam's own, and it copies the C string.
    success(unsafe { pam_set_item(pam, OLD_SECRET, name.as_ptr().cast()) })
}

fn success(code: c_int) -> PamResult<()> {
    if code == PamResultCode::PAM_SUCCESS as c_int { Ok(()) } else { Err(PamResultCode::PAM_SYSTEM_ERR) }
}

#[repr(C)]
struct RawConversation {
    function: Option<unsafe extern "C" fn(c_int, *mut *const RawMessage, *mut *mut RawResponse, *mut c_void) -> c_int>,
    data: *mut c_void,
}

#[repr(C)]
struct RawMessage {
    style: PamMessageStyle,
    text: *const c_char,
}

#[repr(C)]
struct RawResponse {
    answer: *mut c_char,
    _unused: c_int,
}

/// The host's reply to one message: its memory, ours to wipe and to free.
pub(crate) struct Response(ptr::NonNull<RawResponse>);

/// Sends one message, NUL at its end, to the host. `None`: there is no conversation function, or it failed, or
/// it succeeded with no array, which is legal.
///
/// Not pam-bindings' `Conv::send`: that copies the message into memory which it does not wipe, and at binding the
/// message holds the new key.
pub(crate) fn send(pam: &PamHandle, style: PamMessageStyle, text: &Secret) -> Option<Response> {
    // Refuses a NUL inside: it would hide the rest of the text from the person.
    let text = CStr::from_bytes_with_nul(text.bytes()).ok()?;
    let conversation = pam.get_item::<Conv<'_>>().ok()??.into_raw().cast::<RawConversation>();
    // SAFETY: the item is libpam's `struct pam_conv`, which lives as long as the handle; the layout is that of pam_conv(3).
    let RawConversation { function, data } = unsafe { &*conversation };
    let message = RawMessage { style, text: text.as_ptr() };
    let mut message: *const RawMessage = &raw const message;
    // Reset first: an application may succeed without touching it.
    let mut response = ptr::null_mut();
    // SAFETY: one message and one place for a response, as pam_conv(3) wants; all of them outlive the call.
    let code = unsafe { (*function)?(1, &raw mut message, &raw mut response, *data) };
    // On failure the application has kept or freed what it made: the pointer may dangle and is not touched.
    if code != PamResultCode::PAM_SUCCESS as c_int {
        return None;
    }
    ptr::NonNull::new(response).map(Response)
}

impl Response {
    /// The answer; `None` when the host gave none.
    pub(crate) fn answer(&self) -> Option<&[u8]> {
        // SAFETY: after success the array holds one response for the one message, and it is ours until we free it.
        let answer = unsafe { self.0.as_ref() }.answer;
        // SAFETY: an answer is NULL or a C string.
        (!answer.is_null()).then(|| unsafe { CStr::from_ptr(answer) }.to_bytes())
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // SAFETY: as in `answer`. pam_conv(3) makes the caller free the string and the array, both made by malloc;
        // nobody else holds them, and this runs once.
        unsafe {
            let answer = self.0.as_ref().answer;
            if !answer.is_null() {
                std::slice::from_raw_parts_mut(answer.cast::<u8>(), libc::strlen(answer)).zeroize();
                libc::free(answer.cast());
            }
            libc::free(self.0.as_ptr().cast());
        }
    }
}
