//! Whether auth may leave a login to its account phase, in which a device is bound: auth says `PAM_IGNORE` then, and from
//! there on everything hangs on what comes behind it.

use mfa_wire::Login;

use super::no_way::NoWay;
use crate::host::Host;
use crate::identity::{self, Identity, Password};
use crate::program::is_sudo;
use crate::{program, stack, sudo};

/// Whether `stack=complete` is true of this service: on every path to our auth line a first factor has succeeded. The error
/// says why not.
pub fn is_true(service: &str) -> Result<(), String> {
    stack::truth(service, &stack::system_file)
}

/// Whether it is safe at this login's service, whoever logs in, and whether or not the program is known.
pub fn is_safe_at(login: &Login) -> Result<(), NoWay> {
    if is_sudo(login) {
        sudo::runs_account_and_session().map_err(NoWay::Account)?;
    }
    stack::hand_over(&login.service, &stack::system_file).map_err(NoWay::Account)
}

/// Whether it is safe for this very login.
pub fn is_safe(login: &Login, user: &Identity, host: &Host) -> Result<(), NoWay> {
    program::is_known(login.program.as_deref(), &host.loaded.policy.enroll_programs).map_err(NoWay::Program)?;
    is_safe_at(login)?;
    proves_something(login, user)
}

/// An empty password is no first factor: anybody knows it. Where the stack takes none, it has let nobody in by one.
pub fn proves_something(login: &Login, user: &Identity) -> Result<(), NoWay> {
    match identity::password_of(&user.name) {
        Password::Set => Ok(()),
        Password::Empty => Err(NoWay::NoSecret("it is empty")),
        Password::NotKnown if !stack::takes_empty(&login.service, &stack::system_file) => Ok(()),
        Password::NotKnown => {
            Err(NoWay::NoSecret("it may be empty, which cannot be told, and the stack takes an empty one (nullok)"))
        }
    }
}
