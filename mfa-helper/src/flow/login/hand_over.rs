//! Whether auth may leave a login to its account phase, in which a device is bound. Auth then returns `PAM_IGNORE`, so
//! all depends on the rest of the stack.

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

/// Whether a hand-over is safe at this login's service, for any user and any program.
pub fn is_safe_at(login: &Login) -> Result<(), NoWay> {
    if is_sudo(login) {
        sudo::runs_account_and_session().map_err(NoWay::Account)?;
    }
    stack::hand_over(&login.service, &stack::system_file).map_err(NoWay::Account)
}

/// Whether a hand-over is safe for this login, its user and its program.
pub fn is_safe(login: &Login, user: &Identity, host: &Host) -> Result<(), NoWay> {
    program::is_known(login.program.as_deref(), &host.policy().enroll_programs).map_err(NoWay::Program)?;
    is_safe_at(login)?;
    proves_something(login, user)
}

/// An empty password is no first factor: anybody knows it. If the stack accepts none, nobody has come in by one.
pub fn proves_something(login: &Login, user: &Identity) -> Result<(), NoWay> {
    match identity::password_of(&user.name) {
        Password::Set | Password::Locked => Ok(()),
        Password::Empty => Err(NoWay::NoSecret("it is empty")),
        Password::NotKnown if !stack::takes_empty(&login.service, &stack::system_file) => Ok(()),
        Password::NotKnown => {
            Err(NoWay::NoSecret("it may be empty, which cannot be told, and the stack takes an empty one (nullok)"))
        }
    }
}
