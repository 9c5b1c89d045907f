//! A login, in its three phases: what is asked of it, and binding inside it.

pub mod account;
pub mod auth;
mod enroll;
mod enroll_key;
pub mod hand_over;
pub mod no_way;
mod openers;
mod owed;
mod page;
pub mod session;

pub use account::account;
pub use auth::{test, verify};
pub use session::session;

use mfa_wire::Login;

use super::Decision;
use super::user::find;
use crate::host::Host;
use crate::identity::Identity;
use crate::policy::place::Place;
use crate::policy::{Facts, Requirement};

fn requirement(login: &Login, user: &Identity, host: &Host) -> Requirement {
    host.policy().decide(&facts(login, &user.name, host), &mut |group| user.member(group))
}

/// What rules look at. If the host is a name or the place is unknown, the strictest matching rule applies.
fn facts<'a>(login: &'a Login, user: &'a str, host: &Host) -> Facts<'a> {
    let place = if host.is_local(login) { Place::Local } else { Place::Remote(login.rhost.as_deref()) };
    Facts { user, service: &login.service, place, now: (host.now)() }
}

/// The user of a login past its auth phase. That user has to exist; if not, fail.
fn known(login: &Login) -> Result<Identity, Decision> {
    find(&login.user)?.ok_or_else(|| Decision::unavailable("unknown to the name service"))
}
