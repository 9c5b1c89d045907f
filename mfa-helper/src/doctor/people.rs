//! Who is required and has no device, who would be locked out by that, and who gets past.

use std::path::Path;

use mfa_core::key::Key;
use mfa_core::lockout::Way;
use mfa_core::view::View;
use mfa_wire::Login;

use super::stacks::ours;
use super::{Finding, edit, quoted, rule_file};
use crate::flow::login::auth::{Auth, auth};
use crate::flow::login::hand_over;
use crate::flow::manage::standing::{everybody, standing};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::policy::place::Place;
use crate::policy::{Answer, Enroll, Facts, Require, Requirement};
use crate::rootfile::Dir;
use crate::stack::{Files, Kind, Stack};

/// Whoever may become root by them, as distributions have it.
const ADMIN_GROUPS: &[&str] = &["sudo", "wheel", "admin"];

/// The longest shadow(5) that is looked at, in bytes.
const SHADOW_LIMIT: usize = 16 * 1024 * 1024;

/// Where an administrator could come in.
const ADMIN_DOORS: &[&str] = &["sshd", "login", "su", "gdm-password", "sddm", "lightdm"];

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

/// Looks at them.
pub fn check(people: &[Person], config: &Path, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(without_device(people));
    findings.extend(bound_by_whoever_comes_first(people, config, host));
    findings.extend(admins_locked_out(people, host));
    findings.extend(root_by_su(people, host));
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
fn bound_by_whoever_comes_first(people: &[Person], config: &Path, host: &Host) -> Vec<Finding> {
    if !host.policy().enroll_services.iter().any(|service| service == "sshd") {
        return Vec::new();
    }
    let mut rules: Vec<(String, Vec<&str>)> = Vec::new();
    for person in people.iter().filter(|person| person.must_bind()) {
        let asked = person.asked("sshd", host);
        if asked.require != Require::Mfa || asked.enroll != Enroll::AtLogin {
            continue;
        }
        match rules.iter_mut().find(|(rule, _)| *rule == asked.rule) {
            Some((_, names)) => names.push(person.name()),
            None => rules.push((asked.rule, vec![person.name()])),
        }
    }
    let finding = |(rule, names): (String, Vec<&str>)| {
        let place = rule.split(' ').next().unwrap_or_default().to_owned();
        let path = rule_file(config, &place);
        let what = format!("from any network, whoever comes first by ssh binds the device of: {}", listed(&names));
        let remedy = edit(&path, "add to the rule: enroll = \"invited\"");
        Finding::warning("bind-from-anywhere", place, what, remedy).naming(&names)
    };
    rules.into_iter().map(finding).collect()
}

/// None of those who could mend it would come in anywhere.
fn admins_locked_out(people: &[Person], host: &Host) -> Option<Finding> {
    let is_admin = |person: &&Person| ADMIN_GROUPS.iter().any(|group| person.identity.member(group) == Answer::Yes);
    let admins: Vec<&Person> = people.iter().filter(is_admin).collect();
    let stays_out = |person: &&Person| ADMIN_DOORS.iter().all(|door| is_refused(person, door, host));
    if admins.is_empty() || !admins.iter().all(stays_out) {
        return None;
    }
    let names: Vec<&str> = admins.iter().map(|person| person.name()).collect();
    let what = format!(
        "no administrator can log in: required, without a device, and without a way to one: {}",
        listed(&names)
    );
    let remedy = format!("mfa-enroll totp --user {}", quoted(names[0]));
    Some(Finding::grave("admins-locked-out", names[0], what, remedy).naming(&names))
}

/// Whether a login with the right first factor is refused, by the function that decides it.
fn is_refused(person: &Person, service: &str, host: &Host) -> bool {
    let login = Login { stack_complete: true, ..Login::at(person.name(), service) };
    let mut asked = person.asked(service, host);
    if service == "login" && !asked.kinds.is_empty() {
        // This process is nowhere; at the console a key can be bound as well as an app.
        asked.kinds = mfa_core::Kind::ALL.to_vec();
    }
    matches!(auth(&asked, &person.view, &login, Way::Login, host, &|| hand_over::is_safe_at(&login)), Auth::Refuse(_))
}

/// Once somebody's sudo asks for a code, root's own secret is the way round it.
fn root_by_su(people: &[Person], host: &Host) -> Option<Finding> {
    let root = people.iter().find(|person| person.name() == "root")?;
    let asks_somebody = people.iter().any(|person| person.name() != "root" && (person.bound() || person.required));
    let asked = root.asked("su", host);
    let asks_root = match asked.require {
        Require::Off => false,
        Require::IfBound => root.bound(),
        Require::Mfa => true,
    };
    if !asks_somebody || asks_root || !root_has_a_first_factor() {
        return None;
    }
    let what = format!("su gives root to whoever knows root's secret, without a code (rule: {})", asked.rule);
    Some(Finding::grave("root-without-code", "root", what, "mfa-enroll require --user root"))
}

/// Whether shadow(5) holds anything of root's that could be typed. What else it holds stays where it is wiped.
fn root_has_a_first_factor() -> bool {
    let shadow = Dir::open(Path::new("/etc")).and_then(|etc| etc.read_public("shadow", SHADOW_LIMIT));
    shadow.is_ok_and(|shadow| shadow.is_some_and(|shadow| lets_root_type(shadow.bytes.text().unwrap_or_default())))
}

fn lets_root_type(shadow: &str) -> bool {
    let entry = shadow.lines().find_map(|line| line.strip_prefix("root:"));
    entry.is_some_and(|entry| !entry.starts_with(['!', '*']))
}

/// Who is asked for a code by a program that cannot ask is locked out of it.
pub fn cannot_be_asked(people: &[Person], services: &[String], files: &Files, host: &Host) -> Vec<Finding> {
    let once = |service: &&String| ASK_ONCE.contains(&service.as_str());
    let asks = |service: &str| Stack::read(service, Kind::Auth, files).is_ok_and(|stack| ours(&stack).is_some());
    let mut findings = Vec::new();
    for service in services.iter().filter(once).filter(|service| asks(service)) {
        let asked = |person: &&Person| match person.asked(service, host).require {
            Require::Off => false,
            Require::IfBound => person.bound(),
            Require::Mfa => true,
        };
        let names: Vec<&str> = people.iter().filter(asked).map(Person::name).collect();
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
    fn a_locked_account_has_no_first_factor() {
        assert!(!lets_root_type("root:*:1:0:99999:7:::\n"));
        assert!(!lets_root_type("root:!$6$x:1:0:99999:7:::\n"));
        assert!(!lets_root_type("rooty:$6$x:1:0:99999:7:::\n"));
        assert!(lets_root_type("daemon:*:1::::::\nroot:$6$x:1:0:99999:7:::\n"));
        assert!(lets_root_type("root::1:0:99999:7:::\n"), "an empty one is the worst");
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert_eq!(listed(&["x"; 12]), format!("{} and 2 more", ["x"; 10].join(", ")));
    }
}
