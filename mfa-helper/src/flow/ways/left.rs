//! Who is left: whether somebody comes in at all, and whether anybody comes in who can mend the host.

use mfa_core::bindings::Bindings;
use mfa_core::view::View;

use super::facts::Facts;
use super::modules::PEOPLE;
use super::{End, First, Grant, Person, Rules, Way, granted, ways_in};
use crate::identity::{self, Identity};
use crate::policy::place::Place;

/// The services by which people come in from outside. Where there is no file, there is no such service.
const DOORS: [(&str, Place<'static>); 9] = [
    ("sshd", Place::Remote(None)),
    ("login", Place::Local),
    ("gdm-password", Place::Local),
    ("sddm", Place::Local),
    ("lightdm", Place::Local),
    ("lxdm", Place::Local),
    ("greetd", Place::Local),
    ("xdm", Place::Local),
    ("cockpit", Place::Remote(None)),
];

/// Services by which somebody who is in already becomes root with root's own password.
const SU: [&str; 2] = ["su", "su-l"];

/// Whether somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comes {
    /// Nowhere.
    Nowhere,
    /// That cannot be told.
    Perhaps,
    /// At one door at least.
    In,
}

/// Whether a person comes in at one of the doors.
pub fn comes(person: &Person, rules: &Rules, facts: &Facts) -> Comes {
    let doors = DOORS.iter().filter(|(service, _)| facts.has_file(service));
    doors.map(|(service, place)| by(&ways_in(person, service, *place, rules, facts))).max().unwrap_or(Comes::Nowhere)
}

/// The best of some ways. Whether somebody has a key is not known.
fn by(ways: &[Way]) -> Comes {
    let by = |way: &Way| match (way.end.lets_in(), &way.end, &way.unsure) {
        (true, _, None) if matches!(way.first, First::Password | First::Nothing) => Comes::In,
        (true, _, None) => Comes::Perhaps,
        (true, _, Some(_)) | (_, End::NotKnown(_), _) => Comes::Perhaps,
        _ => Comes::Nowhere,
    };
    ways.iter().map(by).max().unwrap_or(Comes::Nowhere)
}

/// Whether a person becomes root: root by coming in or by su, others by coming in and sudo.
pub fn becomes_root(person: &Person, rules: &Rules, facts: &Facts) -> Comes {
    let at = |service: &str| by(&ways_in(person, service, Place::Remote(None), rules, facts));
    match person.is_root() {
        true => SU.into_iter().map(at).max().unwrap_or(Comes::Nowhere).max(comes(person, rules, facts)),
        false => comes(person, rules, facts).min(at("sudo")),
    }
}

/// Whether an account is one of people, or root's: others are not there to come in, although they may have a shell.
pub fn is_of_people(person: &Person) -> bool {
    person.is_root() || person.uid >= PEOPLE
}

/// Whether a person is root, or may become root by sudo with every command.
pub fn is_admin(person: &Person, facts: &Facts) -> bool {
    person.is_root() || matches!(granted(person, facts), Grant::All { .. })
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

/// Who is left after a change of the policy.
pub struct Left {
    /// The users that came in before, and come in nowhere now.
    pub out: Vec<String>,
    /// The administrators, if none of them comes in and becomes root any more, and before, one did.
    pub admins: Vec<String>,
}

/// Compares two policies, for the users that the change concerns and for the administrators among all users.
pub fn left(before: &Rules, after: &Rules, concerned: &[String], all: &[Known]) -> Left {
    let facts = &Facts::of_this_machine();
    let people: Vec<Person> = all.iter().filter_map(Known::person).collect();
    let locked_out = |person: &&Person| {
        concerned.iter().any(|name| name == person.name())
            && is_of_people(person)
            && comes(person, after, facts) == Comes::Nowhere
            && comes(person, before, facts) != Comes::Nowhere
    };
    let out = people.iter().filter(locked_out).map(|person| person.name().to_owned()).collect();
    let admins: Vec<&Person> = people.iter().filter(|person| is_admin(person, facts)).collect();
    let any = |rules| admins.iter().any(|admin| becomes_root(admin, rules, facts) != Comes::Nowhere);
    let lost = any(before) && !any(after);
    Left { out, admins: admins.iter().filter(|_| lost).map(|admin| admin.name().to_owned()).collect() }
}
