//! The user that a verb is about, and what is said if that user has a device already, or none.

use mfa_wire::{Outcome, printable, shell_word};

use super::{Decision, Desk};
use crate::identity::{self, Identity};
use crate::stack::Unasked;

/// The user called `name`, by the name service.
pub fn find(name: &str) -> Result<Option<Identity>, Decision> {
    identity::find(name).map_err(Decision::name_service_failed)
}

/// The user called `user`. If there is none, the verb ends.
pub fn known(user: &str) -> Result<Identity, Decision> {
    find(user)?.ok_or_else(|| {
        let text = format!("No user is called {}.", printable(user, 64));
        Decision::new(Outcome::NotFound, text, "unknown to the name service")
    })
}

/// The verb is about a service that is not there, or asks nobody.
pub fn no_such_service(unasked: &Unasked) -> Decision {
    let text = unasked.to_string();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    let stop = if text.ends_with('?') { "" } else { "." };
    Decision::new(Outcome::NotFound, format!("{}{rest}{stop}", first.to_uppercase()), "no service that asks")
}

/// The name of `user`. If the name service does not find that user, or fails, having a record is enough: it can still
/// be cleaned up.
pub fn known_or_kept(user: &str, desk: &Desk) -> Result<String, Decision> {
    match known(user) {
        Ok(identity) => Ok(identity.name),
        Err(_) if desk.bindings.has(user)? => Ok(user.to_owned()),
        Err(unknown) => Err(unknown),
    }
}

pub fn not_bound(user: &str) -> Decision {
    let text = format!("No device is bound for {}.", printable(user, 64));
    Decision::new(Outcome::NotFound, text, "not bound")
}

pub fn already(user: &str) -> Decision {
    let text = format!(
        "{} has a device already.\nReplace it: mfa-enroll replace totp --user {} (or replace u2f)",
        printable(user, 64),
        shell_word(user)
    );
    Decision::new(Outcome::Already, text, "bound already")
}
