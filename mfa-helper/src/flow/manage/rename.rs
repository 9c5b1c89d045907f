//! The device of an account that has a new name: it is kept by the name, so it has to follow.

use mfa_core::change::Refusal;
use mfa_wire::{Outcome, printable, shell_word};

use crate::flow::user::{find, known, not_bound};
use crate::flow::{Decision, Desk};
use crate::policy::Policy;

/// Makes the device that is kept for `old` that of the account `new`.
///
/// Nothing on the host says that the one account was once the other: root says so. What can be told is that `old` is
/// nobody else's name any more, so that nobody loses a device by it.
pub fn rename(old: &str, new: &str, desk: &Desk) -> Result<Decision, Decision> {
    let new = known(new)?.name;
    let (was, is) = (printable(old, 64), printable(&new, 64));
    if old == new {
        return Err(Decision::new(Outcome::Already, format!("{is} is the name of that account."), "the same name"));
    }
    // It may be found under the new name: a directory may know an account by several spellings.
    if find(old)?.is_some_and(|there| there.name != new) {
        let text =
            format!("{was} is still an account. Its device stays with it, until usermod --login has renamed it.");
        return Err(Decision::new(Outcome::Refused, text, "the old name is an account"));
    }
    match desk.bindings.rename(old, &new) {
        Ok(()) => {}
        Err(Refusal::NotBound) => return Err(not_bound(old)),
        Err(Refusal::Bound) => {
            let remedy = format!("mfa-enroll disable --user {}", shell_word(&new));
            let text = format!("{is} has a device already. If that of {was} is to take its place, first: {remedy}");
            return Err(Decision::new(Outcome::Already, text, "bound already"));
        }
        Err(other) => return Err(other.into()),
    }
    let mut text =
        format!("The device of {was} is that of {is} now, with its recovery codes. No login is remembered any more.");
    for rule in rules_that_name(old, desk.policy()) {
        text.push_str(&format!("\n{} still names {was}: it does not concern {is}.", printable(rule, 200)));
    }
    Ok(Decision::new(Outcome::Accepted, text, format!("the device of {old}")))
}

/// The file and line of each.
fn rules_that_name<'a>(user: &str, policy: &'a Policy) -> Vec<&'a str> {
    let names = |users: &Option<Vec<String>>| users.iter().flatten().any(|name| name == user);
    policy.rules.iter().filter(|rule| names(&rule.users)).map(|rule| rule.origin.as_str()).collect()
}
