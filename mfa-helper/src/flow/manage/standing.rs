//! Which users have which devices, and which of them are required to have one.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use mfa_core::Kind;
use mfa_core::bindings::Bindings;
use mfa_core::engine::Unavailable;
use mfa_core::key::Key;
use mfa_core::view::{Bound, View};
use mfa_wire::{Account, Broken, DeviceStatus, FromHelper, Outcome, SERVICES, Status, printable};
use nix::errno::Errno;

use crate::conversation::Conversation;
use crate::flow::permission::is_required_of;
use crate::flow::user::known_or_kept;
use crate::flow::ways::led::{Led, led};
use crate::flow::ways::{self, Person, Rules};
use crate::flow::{Decision, Desk};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::policy::place::Place;
use crate::policy::{Answer, Facts, Named, Policy, Require};
use crate::sys::{self, names};

/// Shows one user's standing.
pub fn status(user: &str, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known_or_kept(user, desk)?;
    let status = standing(&desk.bindings.look(&user)?, desk.host);
    desk.conversation.send(&FromHelper::Status(status))?;
    Ok(Decision::new(Outcome::Accepted, "", "shown"))
}

/// Shows it for each user with a bound or pending device, sorted by name.
pub fn list(desk: &mut Desk) -> Result<Decision, Decision> {
    let users = all_kept(desk.bindings.as_ref())?;
    if users.len() > FEW {
        names::know_everybody();
    }
    tell_of_trials(desk)?;
    show(users, desk, |view, host, conversation| match view.bound.is_some() || view.pending.is_some() {
        true => conversation.send(&FromHelper::Status(standing(view, host))),
        false => Ok(()),
    })
}

/// Shows it for the members of a group, or for all users; if `missing`, only for those that are required to have a
/// device and have none. Sorted by name.
pub fn list_of(group: Option<&str>, missing: bool, desk: &mut Desk) -> Result<Decision, Decision> {
    let users = match group {
        Some(group) => members(group, desk)?,
        None => everybody(desk.bindings.as_ref(), desk.policy())?.into_iter().collect(),
    };
    tell_of_trials(desk)?;
    if missing {
        return show_missing(users, desk);
    }
    show(users, desk, |view, host, conversation| conversation.send(&FromHelper::Status(standing(view, host))))
}

/// Those who are required to have a device and have none, with what becomes of that at their next login.
fn show_missing(users: Vec<String>, desk: &mut Desk) -> Result<Decision, Decision> {
    // Read for the first of them, and for all others.
    let known = OnceCell::new();
    show(users, desk, |view, host, conversation| {
        let status = standing(view, host);
        if !status.required || view.bound.is_some() {
            return Ok(());
        }
        let (facts, rules) = known.get_or_init(|| (ways::Facts::of_this_machine(), Rules::of(host.policy(), host)));
        let required = Required::of(&view.user, host);
        let led = next_binding(view, host, rules, facts);
        let (at, led_to) = (printable(&required.sentence(), 500), printable(&in_words(&led), 500));
        let line = format!("{}: required at {at}; {led_to}\n", printable(&view.user, 64));
        let Led { mut at, not_known } = led;
        at.truncate(SERVICES);
        let not_known = not_known.map(|why| printable(&why, 500));
        let status = Status { required_at: required.list(), binds_at: at, not_known, ..status };
        conversation.send(&FromHelper::Status(status))?;
        conversation.send(&FromHelper::Report(line))
    })
}

/// Where the next login of the user binds a device.
fn next_binding(view: &View, host: &Host, rules: &Rules, facts: &ways::Facts) -> Led {
    let unknown = |why: &str| Led { at: Vec::new(), not_known: Some(why.to_owned()) };
    if host.in_service {
        return unknown("the service reads neither shadow nor the settings of sshd");
    }
    let identity = identity::find(&view.user).ok().flatten();
    match identity.as_ref().and_then(|identity| Person::of(identity, view)) {
        Some(person) => led(&person, host.policy(), rules, facts),
        None => unknown("the name service does not find this user"),
    }
}

fn in_words(led: &Led) -> String {
    match (led.at.as_slice(), &led.not_known) {
        ([], None) => String::from("no login binds: mfa-enroll invite, or totp"),
        ([], Some(why)) => format!("not known: {why}"),
        (at, _) => format!("binds at {}", at.join(", ")),
    }
}

/// Who is required now may not be any more when a trial is over.
fn tell_of_trials(desk: &mut Desk) -> Result<(), Broken> {
    let now = (desk.host.now)();
    let rules = desk.host.policy().rules.iter();
    for rule in rules.filter(|rule| rule.is_on_trial() && rule.require == Require::Mfa) {
        if let Some(end) = rule.expires.filter(|end| *end > now) {
            let end = sys::local_time(end);
            let text = format!("{} is on trial until {end}. To keep it: mfa-enroll require --confirm", rule.origin);
            desk.conversation.tell(&text)?;
        }
    }
    Ok(())
}

/// Calls `one` for each record. Records that cannot be read are named, not left out.
fn show(
    users: Vec<String>,
    desk: &mut Desk,
    mut one: impl FnMut(&View, &Host, &mut Conversation) -> Result<(), Broken>,
) -> Result<Decision, Decision> {
    let mut unreadable = 0;
    for user in users {
        match desk.bindings.look(&user) {
            Ok(view) => one(&view, desk.host, desk.conversation)?,
            Err(error) => {
                unreadable += 1;
                desk.conversation.tell(&error.to_string())?;
            }
        }
    }
    if unreadable > 0 {
        let text = format!("Records that cannot be read: {unreadable}.");
        return Err(Decision::new(Outcome::Unavailable, text.clone(), text));
    }
    Ok(Decision::new(Outcome::Accepted, "", "shown"))
}

/// So many users are looked up in a moment, where a directory may have many more to list.
const FEW: usize = 100;

/// So many names are asked for at once: the store reads its whole folder each time.
const PAGE: usize = 1_000_000;

/// The names of all users that have a record, sorted.
fn all_kept(bindings: &dyn Bindings) -> Result<Vec<String>, Unavailable> {
    let mut users: Vec<String> = Vec::new();
    loop {
        let page = bindings.list(users.last().map(String::as_str), PAGE)?;
        let is_last = page.len() < PAGE;
        users.extend(page);
        if is_last {
            return Ok(users);
        }
    }
}

/// Every user that a rule may concern: users with a record, users that can log in and that the name service lists (a
/// directory may list none), and users named in a rule or in a group of a rule.
pub fn everybody(bindings: &dyn Bindings, policy: &Policy) -> Result<BTreeSet<String>, Decision> {
    let mut names: BTreeSet<String> = all_kept(bindings)?.into_iter().collect();
    names::know_everybody();
    names.extend(names::users(|user| can_log_in(&user.shell)));
    for rule in &policy.rules {
        names.extend(rule.users.iter().flatten().map(|name| spelled(name)));
        for group in rule.groups.iter().flatten() {
            names.extend(members_of(group).map_err(Decision::name_service_failed)?);
        }
    }
    // If the name service fails, keep the name: the user may still exist.
    names.retain(|name| identity::find(name).map_or(true, |found| found.is_some_and(|user| user.name == *name)));
    Ok(names)
}

/// The name as the name service writes it. If it does not know it, or fails, as it is.
pub fn spelled(name: &str) -> String {
    identity::find(name).ok().flatten().map_or_else(|| name.to_owned(), |user| user.name)
}

/// What stands in the place of a shell for accounts that nobody logs in to. An empty one is /bin/sh.
fn can_log_in(shell: &str) -> bool {
    let program = shell.rsplit('/').next().unwrap_or_default();
    !matches!(program, "nologin" | "false" | "true" | "sync" | "halt" | "shutdown")
}

/// The members of a group, by the question that the policy asks at a login.
fn members(group: &str, desk: &Desk) -> Result<Vec<String>, Decision> {
    if identity::group(group).map_err(Decision::name_service_failed)?.is_none() {
        let text = format!("No group is called {}.", printable(group, 64));
        return Err(Decision::new(Outcome::NotFound, text, "no such group"));
    }
    let mut names = everybody(desk.bindings.as_ref(), desk.policy())?;
    names.extend(members_of(group).map_err(Decision::name_service_failed)?);
    // A user whose membership is unknown counts as a member, as for a rule.
    let is_member = |name: &String| {
        identity::find(name)
            .map_or(true, |found| found.is_some_and(|user| user.name == *name && user.member(group) != Answer::No))
    };
    Ok(names.into_iter().filter(is_member).collect())
}

/// The users that the group lists, and the users whose primary group it is. None if there is no such group.
pub fn members_of(group: &str) -> Result<Vec<String>, Errno> {
    let Some(group) = identity::group(group)? else { return Ok(Vec::new()) };
    let mut names = group.members;
    names.extend(names::users_of_primary_group(group.gid));
    Ok(names)
}

/// The services at which a device is required of a user, from some place at least.
struct Required<'a> {
    /// Those that rules name: where it is, and where it is not.
    at: Vec<&'a str>,
    not_at: Vec<&'a str>,
    /// Whether it is at all others.
    others: bool,
}

impl<'a> Required<'a> {
    fn of(user: &str, host: &'a Host) -> Required<'a> {
        let identity = identity::find(user).ok().flatten();
        let mut member = |name: Named| identity.as_ref().map_or(Answer::Unknown, |identity| identity.member(name));
        let policy = host.policy();
        let mut required = |service: &str| {
            let facts = Facts { user, service, place: Place::Unknown, now: (host.now)() };
            policy.decide(&facts, &mut member).require == Require::Mfa
        };
        // The empty name stands for all that no rule names.
        let others = required("");
        let named: BTreeSet<&str> = policy.services().filter(|service| !service.is_empty()).collect();
        let (at, not_at) = named.into_iter().partition(|service| required(service));
        Required { at, not_at, others }
    }

    fn sentence(&self) -> String {
        match (self.others, self.not_at.as_slice()) {
            (false, _) => self.at.join(", "),
            (true, []) => String::from("every service"),
            (true, but) => format!("every service but {}", but.join(", ")),
        }
    }

    fn list(&self) -> Vec<String> {
        let all = self.others.then_some("*").into_iter().chain(self.at.iter().copied());
        all.take(SERVICES).map(str::to_owned).collect()
    }
}

/// Whether there is an account of this name, by what the name service has said. If it has failed, nobody is gone. A
/// directory may know an account by another spelling, under which no record is looked for.
pub fn account(user: &str, found: &Result<Option<Identity>, Errno>) -> Account {
    match found {
        Ok(Some(found)) if found.name == user => Account::There,
        Ok(_) => Account::Gone,
        Err(_) => Account::Unknown,
    }
}

pub fn standing(view: &View, host: &Host) -> Status {
    let user = view.user.as_str();
    let now = (host.now)();
    let found = identity::find(user);
    let account = account(user, &found);
    Status {
        user: user.to_owned(),
        kind: view.kind().map(|kind| kind.word().to_owned()),
        pending: view.pending.as_ref().is_some_and(|pending| pending.expires > now),
        required: account != Account::Gone && is_required_of(user, found.ok().flatten().as_ref(), host),
        devices: view.bound.as_ref().map_or(Vec::new(), |bound| devices(bound, view.last_used)),
        recovery_codes_left: view.bound.as_ref().map_or(0, |bound| bound.codes.left),
        locked_until: view.locked_until(host.policy().lockout, now),
        bypass_until: view.bypass_until.filter(|until| *until > now),
        account,
        required_at: Vec::new(),
        binds_at: Vec::new(),
        not_known: None,
    }
}

fn devices(bound: &Bound, last_used: u64) -> Vec<DeviceStatus> {
    let of_key = |key: &Key| DeviceStatus {
        id: key.id.to_string(),
        label: key.label.clone(),
        created: key.created,
        created_from: key.created_from.clone(),
        last_used: bound.keys_used.last(key),
    };
    match bound.kind {
        Kind::U2f => bound.keys.iter().map(of_key).collect(),
        Kind::Totp => vec![DeviceStatus {
            id: bound.id.to_string(),
            label: bound.label.clone(),
            created: bound.created,
            created_from: bound.created_from.clone(),
            last_used: (last_used > 0).then_some(last_used),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_gone_only_if_the_name_service_says_so() {
        assert_eq!(account("root", &identity::find("root")), Account::There);
        assert_eq!(account("ROOT", &identity::find("root")), Account::Gone, "no record is looked for by that spelling");
        assert_eq!(account("no-such-user", &identity::find("no-such-user")), Account::Gone);
        for error in [Errno::EIO, Errno::ENOENT, Errno::ETIMEDOUT] {
            assert_eq!(account("bob", &Err(error)), Account::Unknown);
        }
    }
}
