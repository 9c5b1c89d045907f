//! `pam_mfa.so`: asks for a second factor after the first.
//!
//! This code is loaded into sshd, sudo, su and login, so it does as little as it can: it tells `mfa-helper` the facts
//! of the login, relays the helper's questions to the PAM conversation and the answers back, and turns the helper's
//! verdict into a PAM code. It reads no file, decides nothing, and leaves nothing behind in its host.

#![deny(unsafe_code)]

mod arguments;
mod bound;
mod conversation;
mod guard;
mod helper;
mod login;
mod mark;
mod pass;
mod root_job;
mod sys;

use std::ffi::CStr;

use mfa_wire::{AuthHook, Login, Outcome, Request, Verdict, printable};
use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use crate::arguments::Arguments;
use crate::conversation::Conversation;
#[doc(hidden)]
pub use crate::guard::guarded;
use crate::mark::Word;
use crate::sys::pam::log;

struct Module;

/// The six symbols that libpam looks up.
#[allow(missing_docs)]
mod exported {
    use super::Module;
    pam::pam_hooks!(Module);
}

impl PamHooks for Module {
    /// The auth phase: verifies a bound device.
    fn sm_authenticate(pam: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(|| {
            // This comes first, and a failure is fatal: sshd's `password` method uses one handle for every attempt of
            // a connection, and the mark of an earlier attempt must not vouch for a later one.
            let Ok(before) = pass::begin(pam) else { return PamResultCode::PAM_AUTHINFO_UNAVAIL };
            let arguments = Arguments::read(pam, &args);
            let Some(login) = login::gather(pam, &arguments) else {
                return PamResultCode::PAM_AUTHINFO_UNAVAIL;
            };
            let outcome = consult(pam, &arguments, flags, &login, Request::Verify(login.clone()));
            if pass::end(pam, before, &login, outcome).is_err() {
                return PamResultCode::PAM_AUTHINFO_UNAVAIL;
            }
            code(outcome, PamResultCode::PAM_AUTH_ERR)
        })
    }

    /// The account phase. It also runs for logins that never reached our auth hook (a key login, cron, a cached sudo,
    /// su from root).
    fn acct_mgmt(pam: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(|| {
            let arguments = Arguments::read(pam, &args);
            let Some(login) = login::gather(pam, &arguments) else {
                return PamResultCode::PAM_AUTHINFO_UNAVAIL;
            };
            let auth = match pass::of(pam, &login) {
                None => AuthHook::NotRun,
                Some(Word::Ignored) => AuthHook::Ignored,
                Some(Word::Accepted) => return PamResultCode::PAM_SUCCESS,
                Some(Word::HandedOver) => AuthHook::HandedOver,
                // A stack that ignores the result of our auth line has let the user in all the same.
                Some(Word::Refused) => {
                    log(pam, libc::LOG_WARNING, "account refused: the auth phase of this login was refused");
                    let outcome = pronounce(Conversation::new(pam, &login, flags), Outcome::Refused, mfa_wire::REFUSED);
                    return code(outcome, PamResultCode::PAM_PERM_DENIED);
                }
            };
            let outcome = consult(pam, &arguments, flags, &login, Request::Account(login.clone(), auth));
            // No later phase could bind the device.
            let outcome = if outcome == Outcome::HandedOver { Outcome::Unavailable } else { outcome };
            // If our line is in the stack twice, the second one must not find a hand-over that the first has dealt
            // with.
            let noted = outcome != Outcome::Accepted
                || (pass::settled(pam, &login).is_ok() && bound::note(pam, &login.user).is_ok());
            if noted { code(outcome, PamResultCode::PAM_PERM_DENIED) } else { PamResultCode::PAM_AUTHINFO_UNAVAIL }
        })
    }

    /// The session phase. It confirms a device that the account phase bound: until now, the rest of the stack could
    /// still refuse the login. For all other sessions it does nothing and succeeds; `PAM_IGNORE` would fail if the
    /// module is alone in the stack.
    fn sm_open_session(pam: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        guarded(|| {
            let Some(user) = bound::take(pam) else { return PamResultCode::PAM_SUCCESS };
            let arguments = Arguments::read(pam, &args);
            let Some(login) = login::gather(pam, &arguments) else { return PamResultCode::PAM_SESSION_ERR };
            // sudo has set PAM_USER to the user whom the command will run as.
            let login = Login { user, ..login };
            match consult(pam, &arguments, flags, &login, Request::Session(login.clone())) {
                Outcome::Accepted | Outcome::Ignored => PamResultCode::PAM_SUCCESS,
                _ => PamResultCode::PAM_SESSION_ERR,
            }
        })
    }

    fn sm_close_session(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    /// Succeeds and does nothing. `PAM_IGNORE` would make pam_setcred fail if the module is alone in the stack. After
    /// a hand-over, an error here could not stop the login: libpam weighs our result by what auth returned, which was
    /// `PAM_IGNORE`.
    fn sm_setcred(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }
}

/// Holds one conversation with the helper. Every failure becomes "unavailable": without an explicit verdict of the
/// helper nobody is let past, except root's own jobs.
fn consult(pam: &PamHandle, arguments: &Arguments, flags: PamFlag, login: &Login, request: Request) -> Outcome {
    let debug = |line: &str| {
        if arguments.debug {
            log(pam, libc::LOG_INFO, line);
        }
    };
    debug(match request {
        Request::Verify(_) => "auth: asking the helper",
        Request::Account(_, AuthHook::HandedOver) => "account, after auth was handed over: asking the helper",
        Request::Account(_, AuthHook::Ignored) => "account, after auth was ignored: asking the helper",
        Request::Session(_) => "session, after a device was bound in account: asking the helper",
        _ => "account, auth was not run: asking the helper",
    });
    let mut conversation = Conversation::new(pam, login, flags);
    let verdict = match helper::reach(arguments, login, &request) {
        Ok(helper) => helper
            .converse(arguments, &request, &mut conversation)
            .map_err(|why| ("failed before its verdict", why.to_string())),
        Err(why) => Err(("is unreachable", why.to_string())),
    };
    match verdict {
        Ok(verdict) => {
            debug(&format!("verdict: {:?} \"{}\"", verdict.outcome, printable(&verdict.text, 200)));
            conversation.farewell(&verdict);
            verdict.outcome
        }
        // If somebody was asked, this is not one of root's jobs. The person could also wait at the prompt on purpose,
        // until the helper's time is over.
        Err((what, why)) if root_job::never_asks(login, &request) && !conversation.has_asked() => {
            log(pam, libc::LOG_WARNING, &format!("mfa-helper {what}, and not needed here: {why}"));
            Outcome::Ignored
        }
        Err((what, why)) => {
            log(pam, libc::LOG_ERR, &format!("mfa-helper {what}: {why}"));
            pronounce(conversation, Outcome::Unavailable, mfa_wire::UNAVAILABLE)
        }
    }
}

/// A verdict of the module's own, if the helper gives none. It shows the text that the helper would show: without a
/// text, the person would think that a right answer was wrong.
fn pronounce(conversation: Conversation<'_>, outcome: Outcome, text: &str) -> Outcome {
    conversation.farewell(&Verdict { outcome, text: text.to_owned() });
    outcome
}

/// The only place that turns an outcome into a PAM code; `refusal` is the phase's own code for "no".
fn code(outcome: Outcome, refusal: PamResultCode) -> PamResultCode {
    match outcome {
        Outcome::Accepted => PamResultCode::PAM_SUCCESS,
        Outcome::Ignored | Outcome::HandedOver => PamResultCode::PAM_IGNORE,
        Outcome::Refused => refusal,
        Outcome::Locked => PamResultCode::PAM_MAXTRIES,
        Outcome::NoInteraction => PamResultCode::PAM_CONV_ERR,
        // All except the first answer requests that a login never makes.
        Outcome::Unavailable
        | Outcome::NotFound
        | Outcome::Already
        | Outcome::Warnings
        | Outcome::Faults
        | Outcome::StartYourOwn => PamResultCode::PAM_AUTHINFO_UNAVAIL,
    }
}
