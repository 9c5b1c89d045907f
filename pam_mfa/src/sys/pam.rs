//! What pam-bindings lacks: the system log, the PAM environment, and a conversation that also wipes its message.

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
    // SAFETY: `pam` is libpam's own handle, and both strings end with NUL. The format takes exactly one string, and
    // `line` is only ever that argument.
    unsafe { pam_syslog(pam, libc::LOG_AUTHPRIV | level, c"%s".as_ptr(), line.as_ptr()) }
}

/// A variable of the PAM environment.
pub(crate) fn getenv<'a>(pam: &'a PamHandle, name: &CStr) -> Option<&'a CStr> {
    // SAFETY: `pam` is libpam's own handle, and `name` ends with NUL.
    let value = unsafe { pam_getenv(pam, name.as_ptr()) };
    // SAFETY: libpam returned a C string of its own. It stays valid until the variable is changed, which needs `&mut`
    // of the handle, and 'a keeps a shared borrow of the handle.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// Sets a variable of the PAM environment, by `NAME=VALUE`, or removes it, by `NAME`.
pub(crate) fn putenv(pam: &mut PamHandle, variable: &CStr) -> PamResult<()> {
    // SAFETY: `pam` is libpam's own handle. libpam copies the C string, so it need not outlive the call.
    success(unsafe { pam_putenv(pam, variable.as_ptr()) })
}

/// The name of our data in the handle. It holds an address in this shared object, so that no other module uses it:
/// another build of the module in the same stack may have a different type for its mark and must not read ours.
fn mark_name() -> String {
    static HERE: u8 = 0;
    format!("pam_mfa mark {:p}", &raw const HERE)
}

pub(crate) fn mark(pam: &PamHandle) -> Option<&Mark> {
    // SAFETY: only set_mark stores under this name, and it stores exactly this type. The name holds an address in
    // this module, which libpam keeps loaded until pam_end, so no other module has the same name while the handle
    // lives.
    unsafe { pam.get_data::<Option<Mark>>(&mark_name()) }.ok()?.as_ref()
}

pub(crate) fn set_mark(pam: &mut PamHandle, mark: Option<Mark>) -> PamResult<()> {
    pam.set_data(&mark_name(), Box::new(mark))
}

/// `PAM_OLDAUTHTOK`, which is used only to change the login secret. libpam wipes it at the beginning and the end of
/// each `pam_authenticate` (`_pam_sanitize`), so a value in it was stored during the current pass.
const OLD_SECRET: c_int = ItemType::OldAuthTok as c_int;

/// Whether a line of ours has already been called in this pass of `pam_authenticate`.
pub(crate) fn is_pass_under_way(pam: &PamHandle) -> PamResult<bool> {
    let mut value = ptr::null();
    // SAFETY: `pam` is libpam's own handle, and `value` is a valid place for a pointer during the call.
    success(unsafe { pam_get_item(pam, OLD_SECRET, &raw mut value) })?;
    // SAFETY: on success libpam has set `value` to NULL or to a C string of its own. The string stays valid until the
    // item is set again, which needs `&mut` of the handle; we hold a shared borrow.
    Ok(!value.is_null() && unsafe { CStr::from_ptr(value.cast()) }.to_bytes() == mark_name().as_bytes())
}

/// Notes that a line of ours has been called in this pass.
pub(crate) fn note_pass(pam: &mut PamHandle) -> PamResult<()> {
    let name = CString::new(mark_name()).map_err(|_| PamResultCode::PAM_BUF_ERR)?;
    // SAFETY: `pam` is libpam's own handle. libpam copies the C string, so it need not outlive the call.
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

/// The host's reply to one message. We own its memory and must wipe and free it.
pub(crate) struct Response(ptr::NonNull<RawResponse>);

/// Sends one message, which ends with NUL, to the host. `None` if there is no conversation function, if it failed, or
/// if it succeeded without a reply, which is legal.
///
/// Not pam-bindings' `Conv::send`: it copies the message into memory that it does not wipe, and during a binding the
/// message holds the new key.
pub(crate) fn send(pam: &PamHandle, style: PamMessageStyle, text: &Secret) -> Option<Response> {
    // Refuses a NUL inside the text: the person would not see what follows it.
    let text = CStr::from_bytes_with_nul(text.bytes()).ok()?;
    let conversation = pam.get_item::<Conv<'_>>().ok()??.into_raw().cast::<RawConversation>();
    // SAFETY: the item is libpam's `struct pam_conv`, which lives as long as the handle and has the layout of
    // pam_conv(3).
    let RawConversation { function, data } = unsafe { &*conversation };
    let message = RawMessage { style, text: text.as_ptr() };
    let mut message: *const RawMessage = &raw const message;
    // Set to NULL first: an application may succeed without touching it.
    let mut response = ptr::null_mut();
    // SAFETY: pam_conv(3) wants `1` message and a place for one reply, and gets both; they all outlive the call.
    let code = unsafe { (*function)?(1, &raw mut message, &raw mut response, *data) };
    // After a failure the application has kept or freed the reply, so the pointer may dangle and is not used.
    if code != PamResultCode::PAM_SUCCESS as c_int {
        return None;
    }
    ptr::NonNull::new(response).map(Response)
}

impl Response {
    /// The answer; `None` if the host gave none.
    pub(crate) fn answer(&self) -> Option<&[u8]> {
        // SAFETY: after success the array holds one reply for the one message, and we own it until we free it.
        let answer = unsafe { self.0.as_ref() }.answer;
        // SAFETY: the host sets an answer to NULL or to a C string.
        (!answer.is_null()).then(|| unsafe { CStr::from_ptr(answer) }.to_bytes())
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // SAFETY: as in `answer`. By pam_conv(3) the caller frees the string and the array, which the host made with
        // malloc. We are their only owner, and drop runs once.
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
