//! Whether the logins of this host ask for a device at all, for the sentence with which a binding ends.

use crate::flow::permission::requirement_at;
use crate::flow::ways::left::Known;
use crate::flow::ways::{Facts, Rules, ways_in};
use crate::host::Host;
use crate::identity;
use crate::policy::Require;
use crate::policy::place::Place;
use crate::stack::{self, Unasked};

/// Services that give a shell or a session.
const LOGINS: [&str; 12] = [
    "sshd",
    "login",
    "su",
    "su-l",
    "sudo",
    "sudo-i",
    "gdm-password",
    "sddm",
    "lightdm",
    "greetd",
    "cockpit",
    "polkit-1",
];

/// The services whose logins are named one by one to root.
const DOORS: [&str; 4] = ["sshd", "login", "su", "sudo"];

/// Whether some service asks this user for a bound device: by its stack and by the rules. Looked at before the binding, behind
/// which nothing more should be done than has to be. No other program is asked,
/// because a user may be waiting, and may be anybody.
pub fn somewhere(user: &str, host: &Host) -> bool {
    // Nothing is promised about an account that the name service does not find, and nothing else either.
    let Ok(Some(user)) = identity::find(user) else { return true };
    // What a stack does that cannot be read is not known; then nothing else is promised than ever.
    let asks = |service: &&str| !matches!(stack::asks(service), Err(Unasked::NoLine(_) | Unasked::NoSuch { .. }));
    let mut asking = LOGINS.iter().copied().filter(asks);
    asking.any(|service| requirement_at(service, &user, host).require != Require::Off)
}

/// For root, each usual way in that does not ask for the device just bound, with the reason. Nothing in the service, which
/// reads neither shadow nor the settings of sshd.
pub fn not_at(user: &str, host: &Host) -> Vec<String> {
    if !host.caller_is_root || host.in_service {
        return Vec::new();
    }
    let known = host.bindings().ok().and_then(|bindings| Known::of(user, bindings.as_ref()));
    let Some(person) = known.as_ref().and_then(Known::person) else { return Vec::new() };
    let (facts, rules) = (Facts::of_this_machine(), Rules::of(host.policy(), host));
    let mut lines = Vec::new();
    for service in DOORS.into_iter().filter(|service| facts.has_file(service)) {
        let ways = ways_in(&person, service, Place::Remote(None), &rules, &facts);
        lines
            .extend(ways.iter().filter(|way| way.passes_unasked()).map(|way| format!("Not asked at {service}: {way}")));
    }
    lines
}
