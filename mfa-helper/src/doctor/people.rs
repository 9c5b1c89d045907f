//! Who is required and has no device, who would be locked out by that, and who gets past.

use std::path::Path;

use mfa_core::key::Key;
use mfa_core::view::View;

use super::stacks::ours;
use super::{Finding, edit, quoted, rule_file};
use crate::flow::manage::standing::{everybody, standing};
use crate::flow::ways;
use crate::flow::ways::left::{administrators_lost, loses, may_be_admin};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::policy::place::Place;
use crate::policy::{BY_COMMAND, Enroll, Facts, Require, Requirement};
use crate::stack::{Files, Kind, Stack};

/// Services whose clients send one secret and are never asked again, or answer each question with the same.
const ASK_ONCE: &[&str] = &[
    "apache2",
    "courier",
    "cups",
    "cyrus",
    "dovecot",
    "ejabberd",
    "exim",
    "ftp",
    "guacd",
    "httpd",
    "i3lock",
    "imap",
    "jupyterhub",
    "mariadb",
    "mysql",
    "netatalk",
    "nginx",
    "openvpn",
    "physlock",
    "pop",
    "pop3",
    "postgresql",
    "proftpd",
    "prosody",
    "pure-ftpd",
    "radiusd",
    "rstudio",
    "samba",
    "sieve",
    "smtp",
    "squid",
    "swaylock",
    "vsftpd",
    "webmin",
    "xlock",
    "xrdp-sesman",
];

/// Those of them that open a session in which commands are run.
const OPEN_SESSIONS: &[&str] = &["guacd", "jupyterhub", "rstudio", "webmin", "xrdp-sesman"];

/// The most names in one sentence.
const NAMES: usize = 10;

/// Somebody who may log in.
pub struct Person {
    identity: Identity,
    view: View,
    /// Of some service at least.
    required: bool,
}

impl Person {
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    pub fn bound(&self) -> bool {
        self.view.bound.is_some()
    }

    /// Who will have to bind a device at a login.
    pub fn must_bind(&self) -> bool {
        self.required && !self.bound()
    }

    /// Whether security keys are bound.
    pub fn has_keys(&self) -> bool {
        !self.keys().is_empty()
    }

    /// One of ssh, whose handle its owner keeps.
    pub fn has_ssh_key(&self) -> bool {
        self.keys().iter().any(|key| key.credential.is_empty())
    }

    /// One that is asked where it is plugged in.
    pub fn has_plugged_key(&self) -> bool {
        self.keys().iter().any(|key| !key.credential.is_empty())
    }

    fn keys(&self) -> &[Key] {
        self.view.keys()
    }

    /// As ways in are looked at. `None` if the name service does not find the user any more.
    pub fn on_the_way(&self) -> Option<ways::Person<'_>> {
        ways::Person::of(&self.identity, &self.view)
    }

    /// Whether a device is asked for at this service of somebody who comes from afar.
    pub fn is_asked(&self, service: &str, host: &Host) -> bool {
        match self.asked(service, host).require {
            Require::Off => false,
            Require::IfBound => self.bound(),
            Require::Mfa => true,
        }
    }

    /// What is asked of somebody who comes from afar.
    pub fn asked(&self, service: &str, host: &Host) -> Requirement {
        let place = Place::Remote(None);
        let facts = Facts { user: self.name(), service, place, now: (host.now)() };
        host.policy().decide(&facts, &mut |group| self.identity.member(group))
    }
}

/// Everybody who is listed, named or has a record. Records that cannot be read are the store's findings.
pub fn all(host: &Host) -> Vec<Person> {
    let Ok(bindings) = host.bindings() else { return Vec::new() };
    let names = everybody(bindings.as_ref(), host.policy()).unwrap_or_default();
    let person = |name: String| {
        let (identity, view) = (identity::find(&name).ok()??, bindings.look(&name).ok()?);
        let required = standing(&view, host).required;
        Some(Person { identity, view, required })
    };
    names.into_iter().filter_map(person).collect()
}

/// Looks at them, and at their ways in.
pub fn check(people: &[Person], config: &Path, host: &Host, rules: &ways::Rules, facts: &ways::Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(without_device(people));
    findings.extend(anybody_may_bind(people, config, rules, host, facts));
    let nothing_asked = &rules.asking_nothing();
    findings.extend(admins_locked_out(people, nothing_asked, rules, facts));
    findings.extend(locked_out(people, nothing_asked, rules, facts, host));
    findings.extend(root_by_su(people, rules, facts));
    findings
}

fn without_device(people: &[Person]) -> Option<Finding> {
    let names: Vec<&str> = people.iter().filter(|person| person.must_bind()).map(Person::name).collect();
    let first = *names.first()?;
    let what = format!("required to have a device and without one: {}", listed(&names));
    let remedy = format!("mfa-enroll totp --user {}  # each of them: mfa-enroll list --missing", quoted(first));
    Some(Finding::warning("required-without-device", first, what, remedy).naming(&names))
}

/// Whoever has the first factor of somebody without a device can bind one of theirs, from anywhere.
fn anybody_may_bind(
    people: &[Person],
    config: &Path,
    rules: &ways::Rules,
    host: &Host,
    facts: &ways::Facts,
) -> Vec<Finding> {
    let mut deciding: Vec<(String, Vec<&str>)> = Vec::new();
    for person in people.iter().filter(|person| person.must_bind()) {
        let asked = person.asked("sshd", host);
        let is_led = |way: ways::Way| way.end == ways::End::Led;
        let led = |known: ways::Person| {
            ways::ways_in(&known, "sshd", Place::Remote(None), rules, facts).into_iter().any(is_led)
        };
        if asked.enroll != Enroll::AtLogin || !person.on_the_way().is_some_and(led) {
            continue;
        }
        match deciding.iter_mut().find(|(rule, _)| *rule == asked.rule) {
            Some((_, names)) => names.push(person.name()),
            None => deciding.push((asked.rule, vec![person.name()])),
        }
    }
    let finding = |(rule, names): (String, Vec<&str>)| {
        let place = rule.split(' ').next().unwrap_or_default().to_owned();
        let path = rule_file(config, &place);
        let what =
            format!("anybody who knows their password can bind a device by ssh, from any network: {}", listed(&names));
        let remedy = edit(&path, "add to the rule: enroll = \"invited\"");
        Finding::warning("bind-from-anywhere", place, what, remedy).naming(&names)
    };
    deciding.into_iter().map(finding).collect()
}

/// With the second factor nobody who could mend the host can log in: neither root nor anybody to whom sudoers grants every
/// command.
fn admins_locked_out(
    people: &[Person],
    nothing_asked: &ways::Rules,
    rules: &ways::Rules,
    facts: &ways::Facts,
) -> Option<Finding> {
    let known = people.iter().filter_map(Person::on_the_way).filter(|person| may_be_admin(person, facts));
    let known: Vec<ways::Person> = known.collect();
    let admins = administrators_lost(&known, nothing_asked, rules, facts);
    let names: Vec<&str> = admins.iter().map(|admin| admin.name()).collect();
    let first = *names.first()?;
    let what = format!("no administrator can log in and become root: {}", listed(&names));
    let remedy = match admins.first() {
        Some(admin) if admin.could_use_a_device(facts) => format!("mfa-enroll totp --user {}", quoted(first)),
        _ => format!("mfa-enroll policy explain --service sshd --user {}  # and mend what it names", quoted(first)),
    };
    Some(Finding::grave("admins-locked-out", first, what, remedy).naming(&names))
}

/// Users that could log in without the second factor, and cannot with it: most often a key alone is not enough, and there is
/// no password that could be typed, or sshd cannot ask. So are robots in a group that is required.
fn locked_out(
    people: &[Person],
    nothing_asked: &ways::Rules,
    rules: &ways::Rules,
    facts: &ways::Facts,
    host: &Host,
) -> Vec<Finding> {
    let mut lost: Vec<(&str, Vec<&Person>)> = Vec::new();
    for person in people.iter().filter(|person| person.required || person.bound()) {
        let at = person.on_the_way().map_or("", |known| loses(&known, nothing_asked, rules, facts));
        match lost.iter_mut().find(|(known, _)| *known == at) {
            Some((_, all)) => all.push(person),
            None => lost.push((at, vec![person])),
        }
    }
    let finding = |(at, all): (&str, Vec<&Person>)| {
        let names: Vec<&str> = all.iter().map(|person| person.name()).collect();
        let what = format!("cannot log in {at}, and could without the second factor: {}", listed(&names));
        let remedy = format!(
            "mfa-enroll policy explain --service {} --user {}  # and mend what it names; without a password: passwd, or \
             for a key and a code pam_mfa(8){}",
            if at.ends_with("console") { "login" } else { "sshd" },
            quoted(names[0]),
            exemption(&all, host)
        );
        Finding::grave("locked-out", names[0], what, remedy).naming(&names)
    };
    lost.into_iter().filter(|(at, _)| !at.is_empty()).map(finding).collect()
}

/// How a robot among them is exempted. Root names it: a person who is exempted would come in by a key alone.
fn exemption(people: &[&Person], host: &Host) -> String {
    let Some(first) = people.iter().find(|person| person.must_bind()) else { return String::new() };
    let decides = host.policy().rule_of(&first.asked("sshd", host));
    let group =
        decides.filter(|rule| rule.origin.starts_with(BY_COMMAND)).and_then(|rule| rule.groups.as_ref()?.first());
    match group {
        Some(group) => {
            let group = quoted(group);
            format!("; a robot: mfa-enroll require --group {group} --except NAME, with the other options of that rule")
        }
        None => String::from("; a robot: a rule before it, with users = [\"NAME\"] and require = \"off\""),
    }
}

/// Once somebody's sudo asks for a code, root's own secret is the way round it.
fn root_by_su(people: &[Person], rules: &ways::Rules, facts: &ways::Facts) -> Vec<Finding> {
    let asks_somebody = people.iter().filter(|person| person.bound() || person.required);
    let asks_somebody = asks_somebody.filter_map(Person::on_the_way).any(|person| !person.is_root());
    let mut findings = Vec::new();
    for root in people.iter().filter_map(Person::on_the_way).filter(|person| person.is_root() && asks_somebody) {
        let open = |service: &&str| {
            let ways = ways::ways_in(&root, service, Place::Remote(None), rules, facts);
            ways.into_iter().find(ways::Way::passes_unasked)
        };
        let services: Vec<&str> = ["su", "su-l"].into_iter().filter(|service| facts.has_file(service)).collect();
        let open: Vec<(&str, ways::Way)> =
            services.into_iter().filter_map(|service| Some((service, open(&service)?))).collect();
        let Some((_, way)) = open.first() else { continue };
        let at: Vec<&str> = open.iter().map(|(service, _)| *service).collect();
        let what = format!("{} gives root to anybody who knows the secret of {}: {way}", at.join(", "), root.name());
        // For these services alone: without them, root's ssh by a key would end.
        let require = |service: &&str| format!("mfa-enroll require --user {} --service {service}", quoted(root.name()));
        let remedy = at.iter().map(require).collect::<Vec<_>>().join(" && ");
        findings.push(Finding::grave("root-without-code", root.name(), what, remedy));
    }
    findings
}

/// Who is asked for a code by a program that cannot ask is locked out of it.
pub fn cannot_be_asked(people: &[Person], services: &[String], files: &Files, host: &Host) -> Vec<Finding> {
    let once = |service: &&String| ASK_ONCE.contains(&service.as_str());
    let asks = |service: &str| Stack::read(service, Kind::Auth, files).is_ok_and(|stack| ours(&stack).is_some());
    let mut findings = Vec::new();
    for service in services.iter().filter(once).filter(|service| asks(service)) {
        let names: Vec<&str> =
            people.iter().filter(|person| person.is_asked(service, host)).map(Person::name).collect();
        if names.is_empty() {
            continue;
        }
        let what = format!("{service} cannot ask for a code, so these are locked out of it: {}", listed(&names));
        // The one way is an exemption, and root has to want it: so the rule is commented.
        let rule = format!(
            "# {service} cannot ask for a code: whoever has the first factor gets in.\\n[[rule]]\\nname = \"{service}\"\\n\
             services = [\"{service}\"]\\nrequire = \"off\"\\n"
        );
        let file = format!("/etc/mfa/mfa.d/10-{service}.toml");
        let remedy = match OPEN_SESSIONS.contains(&service.as_str()) {
            // Not to be typed without a thought: it would open a way round the code into a whole session.
            true => edit(
                &file,
                &format!(
                    "reach it through ssh; or, if the first factor alone may open it, a rule with \
                services = [\"{service}\"], require = \"off\""
                ),
            ),
            false => format!("printf '{rule}' >{file}"),
        };
        let place = format!("/etc/pam.d/{service}");
        findings.push(Finding::grave("service-asks-once", place, what, remedy).naming(&names));
    }
    findings
}

/// Names in a sentence.
pub fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert_eq!(listed(&["x"; 12]), format!("{} and 2 more", ["x"; 10].join(", ")));
    }
}
