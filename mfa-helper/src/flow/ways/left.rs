//! Who is left: whether somebody can log in at all, and whether anybody can who is able to mend the host.

use mfa_core::bindings::Bindings;
use mfa_core::view::View;

use super::facts::Facts;
use super::modules::PEOPLE;
use super::{End, First, Grant, Person, Rules, Way, granted, is_no_shell, ways_in};
use crate::identity::{self, Identity};
use crate::policy::place::Place;

/// Services by which people come in from elsewhere. Where there is no file, there is no such service.
const REMOTE: [&str; 2] = ["sshd", "cockpit"];

/// Services by which they come in at this host itself.
pub(super) const LOCAL: [&str; 7] = ["login", "gdm-password", "sddm", "lightdm", "lxdm", "greetd", "xdm"];

/// Services by which somebody who is in already becomes root with root's own password.
pub const SU: [&str; 2] = ["su", "su-l"];

/// From where somebody comes. One does not make up for the other: of most hosts nobody is at the console.
#[derive(Debug, Clone, Copy)]
enum From {
    Elsewhere,
    Here,
}

impl From {
    fn services(self, facts: &Facts) -> Vec<&'static str> {
        let all: &[&str] = match self {
            From::Elsewhere => &REMOTE,
            From::Here => &LOCAL,
        };
        all.iter().copied().filter(|service| facts.has_file(service)).collect()
    }

    fn place(self) -> Place<'static> {
        match self {
            From::Elsewhere => Place::Remote(None),
            From::Here => Place::Local,
        }
    }
}

/// Whether somebody can log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Can {
    No,
    /// That cannot be told.
    Perhaps,
    Yes,
}

/// The best of some ways. Whether somebody has a key is not known, and where it is root, not for certain.
fn by(ways: &[Way]) -> Can {
    let by = |way: &Way| match (way.end.lets_in(), &way.end, &way.unsure) {
        (true, _, None) if matches!(way.first, First::Password | First::Nothing) => Can::Yes,
        (true, ..) | (_, End::NotKnown(_), _) | (_, _, Some(_)) => Can::Perhaps,
        _ => Can::No,
    };
    ways.iter().map(by).max().unwrap_or(Can::No)
}

fn can_log_in(person: &Person, from: From, rules: &Rules, facts: &Facts) -> Can {
    let services = from.services(facts).into_iter();
    services.map(|service| by(&ways_in(person, service, from.place(), rules, facts))).max().unwrap_or(Can::No)
}

/// Whether an administrator can still mend the host: root by logging in or by su; others by logging in, and there by sudo
/// if they could before.
fn can_mend(person: &Person, before: &Rules, rules: &Rules, facts: &Facts) -> Can {
    let at = |service: &str, place, rules: &Rules| by(&ways_in(person, service, place, rules, facts));
    let from = |from: From| {
        let logs_in = can_log_in(person, from, rules, facts);
        match person.is_root() || at("sudo", from.place(), before) == Can::No {
            true => logs_in,
            false => logs_in.min(at("sudo", from.place(), rules)),
        }
    };
    let su = |service: &str| person.is_root() && at(service, Place::Remote(None), rules) != Can::No;
    let can = from(From::Elsewhere).max(from(From::Here));
    if SU.into_iter().any(su) { can.max(Can::Perhaps) } else { can }
}

/// Whether a person is root, or may become root by sudo with every command; `None` if that is not known.
fn is_admin(person: &Person, facts: &Facts) -> Option<bool> {
    match granted(person, facts) {
        _ if person.is_root() => Some(true),
        Grant::All { .. } => Some(true),
        Grant::Nothing | Grant::Some => Some(false),
        Grant::NotKnown(_) => None,
    }
}

/// Whether [`administrators_lost`] has to know of this person.
pub fn may_be_admin(person: &Person, facts: &Facts) -> bool {
    is_admin(person, facts) != Some(false)
}

/// Where a change of the rules takes the last way in from a person: `""` if nowhere. Accounts that are not of people are
/// not there to log in, although they may have a shell; but one with a shell that a rule names, itself or by a group, may be
/// a robot that does.
pub fn loses(person: &Person, before: &Rules, after: &Rules, facts: &Facts) -> &'static str {
    let of_people = person.is_root() || person.uid >= PEOPLE;
    if !of_people && (is_no_shell(&person.shell) || !after.names(person)) {
        return "";
    }
    let lost =
        |from| can_log_in(person, from, after, facts) == Can::No && can_log_in(person, from, before, facts) != Can::No;
    match (lost(From::Elsewhere), lost(From::Here)) {
        (true, true) => "anywhere",
        (true, false) => "by ssh",
        (false, true) => "at this host's own console",
        (false, false) => "",
    }
}

/// The administrators, if a change of the rules leaves none of them who can log in and become root, be it at the console.
/// Nobody if that cannot be told.
pub fn administrators_lost<'a>(
    people: &'a [Person<'a>],
    before: &Rules,
    after: &Rules,
    facts: &Facts,
) -> Vec<&'a Person<'a>> {
    let admins: Vec<&Person> = people.iter().filter(|person| is_admin(person, facts) == Some(true)).collect();
    let perhaps: Vec<&Person> = people.iter().filter(|person| is_admin(person, facts).is_none()).collect();
    let any = |rules| admins.iter().any(|admin| can_mend(admin, before, rules, facts) != Can::No);
    let another = |person: &&Person| can_mend(person, before, after, facts) != Can::No;
    if any(before) && !any(after) && !perhaps.iter().any(another) { admins } else { Vec::new() }
}

/// A user and what is bound.
pub struct Known {
    identity: Identity,
    view: View,
}

impl Known {
    /// `None` if there is no such user, or no record of that user that can be read.
    pub fn of(name: &str, bindings: &dyn Bindings) -> Option<Known> {
        Some(Known { identity: identity::find(name).ok()??, view: bindings.look(name).ok()? })
    }

    pub fn person(&self) -> Option<Person<'_>> {
        Person::of(&self.identity, &self.view)
    }
}
