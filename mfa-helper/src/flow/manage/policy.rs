//! The policy, looked at: its mistakes, and what it says about one login.

use std::fmt::Write;
use std::path::Path;

use mfa_core::Kind;
use mfa_wire::{FromHelper, Login, Outcome, Required, printable, utc};
use nix::errno::Errno;

use super::standing::{members_of, spelled};
use crate::conversation::Conversation;
use crate::flow::user::{known, no_such_service};
use crate::flow::ways::{self, First};
use crate::flow::{Decision, remember};
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::policy::files;
use crate::policy::parse::parse;
use crate::policy::place::{From, Place};
use crate::policy::{Answer, Enroll, Facts, Mode, Policy, Require, Requirement, Rule, SkKey, alike};
use crate::stack::{self, Unasked};

/// Behind the path of a file, for its rule that is there before a new one.
pub const AS_IT_IS: &str = " as it is";

/// The most names that one finding lists.
const NAMES: usize = 10;

/// Says which rule decides about a login and what would happen, by the functions that decide at login.
pub fn explain(
    user: &str,
    service: &str,
    rhost: Option<&str>,
    ssh_key: Option<&str>,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let identity = known(user)?;
    stack::is_there(service).map_err(|unasked| no_such_service(&unasked))?;
    let place = if rhost == Some("local") { Place::Local } else { Place::Remote(rhost) };
    let facts = Facts { user: &identity.name, service, place, now: (host.now)() };
    let mut text = String::new();
    let asked = said_aloud(host.policy(), &facts, &identity, &mut text);
    let view = host.bindings()?.look(&identity.name)?;
    let _ = writeln!(text, "decides     {}", asked.rule);
    let _ = writeln!(text, "require     {}", asked.require.word());
    if let Some((rule, require)) = &asked.observed {
        let _ = writeln!(text, "observed    {rule}: {}", require.word());
    }
    if let Some(deadline) = asked.deadline {
        let _ = writeln!(text, "required    in {} days", deadline.saturating_sub(facts.now).div_ceil(86_400));
    }
    if let Some(end) = ends(host.policy(), &asked.rule) {
        let _ = writeln!(text, "expires     {end}");
    }
    if asked.sk_key == SkKey::Counts {
        let _ = writeln!(text, "sk_key      counts");
    }
    let _ = writeln!(text, "bound       {}", if view.bound.is_some() { "yes" } else { "no" });
    let login =
        Login { rhost: rhost.filter(|host| *host != "local").map(str::to_owned), ..Login::at(&identity.name, service) };
    if ssh_key.is_none() {
        let _ = writeln!(text, "remembered  {}", remember::explained(&asked, &login));
    }
    let seen = ways::Facts::of_this_machine();
    let Some(person) = ways::Person::of(&identity, &view) else {
        return Err(Decision::unavailable("the name service does not find this user any more"));
    };
    let ways = ways::ways_in(&person, service, place, &ways::Rules::of(host.policy(), host), &seen);
    for way in &ways {
        let _ = writeln!(text, "way         {way}");
    }
    let meant = match ssh_key {
        Some(_) => ways.iter().find(|way| matches!(way.first, First::Key | First::None)),
        None => ways::usual(&ways),
    };
    let outcome = match meant {
        Some(way) => way.outcome(),
        None => format!("refused: no key alone lets in at {service}"),
    };
    let _ = writeln!(text, "outcome     {outcome}");
    conversation.send(&FromHelper::Report(text))?;
    Ok(Decision::new(Outcome::Accepted, "", "explained"))
}

/// When the rule of this name ends, if it does, and how to keep it.
fn ends(policy: &Policy, name: &str) -> Option<String> {
    let rule = policy.rules.iter().find(|rule| name.starts_with(&rule.origin))?;
    let keep = if rule.is_on_trial() { ", on trial; to keep it: mfa-enroll require --confirm" } else { "" };
    Some(format!("{}{keep}", utc(rule.expires?)))
}

/// Decides, and writes down what was found out about each rule.
fn said_aloud(policy: &Policy, facts: &Facts, identity: &Identity, text: &mut String) -> Requirement {
    policy.decide_aloud(facts, &mut |name| identity.member(name), &mut |considered| {
        let observes = if considered.rule.mode == Mode::Observe { ", observes only" } else { "" };
        let _ = writeln!(text, "rule        {}{observes}", considered.rule.origin);
        for (key, answer) in &considered.conditions {
            let _ = writeln!(text, "  {key:<9} {}", word(*answer));
        }
        let _ = writeln!(text, "  concerns  {}", word(considered.concerns));
    })
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "true",
        Answer::No => "false",
        Answer::Unknown => "unknown",
    }
}

/// One thing that is wrong, and whether it lets past or locks out.
pub struct Finding {
    /// What kind of thing, for scripts.
    pub id: &'static str,
    /// It lets past or locks out.
    pub grave: bool,
    /// The rule, and what is wrong with it.
    pub text: String,
}

/// Looks for mistakes that the parser cannot see.
pub fn check(config: &Path, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    // Read the files as they are now: a change of the last seconds is not in force yet, but has to be checked.
    let policy = match files::in_place(config).and_then(|sources| parse(&sources)) {
        Ok(policy) => policy,
        Err(error) => {
            conversation.send(&FromHelper::Report(format!("error: {error}\n")))?;
            return Ok(Decision::new(Outcome::Faults, "The last policy that loaded well is in force.", "not loaded"));
        }
    };
    let mut findings = findings(&policy, (host.now)());
    let ignored = files::ignored(config).map_err(Decision::unavailable)?;
    findings.extend(ignored.iter().map(|file| Finding {
        id: "policy-file-ignored",
        grave: file.rules,
        text: format!("{} is not read: its name does not end in .toml", file.path),
    }));
    for finding in &findings {
        let severity = if finding.grave { "error" } else { "warning" };
        conversation.send(&FromHelper::Report(format!("{severity}: {}\n", finding.text)))?;
    }
    Ok(if findings.iter().any(|finding| finding.grave) {
        Decision::new(Outcome::Faults, "", "faults found")
    } else if findings.is_empty() {
        Decision::new(Outcome::Accepted, "Nothing is wrong with the policy.", "checked")
    } else {
        Decision::new(Outcome::Warnings, "", "warnings")
    })
}

/// Mistakes that the parser cannot see, in the order of the rules.
pub fn findings(policy: &Policy, now: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |grave, id, text: String| findings.push(Finding { id, grave, text });
    let mut decided_by: Option<&Rule> = None;
    for rule in &policy.rules {
        let name = &rule.origin;
        if rule.expires.is_some_and(|end| end <= now) {
            find(false, "rule-expired", format!("{name} has expired: remove it"));
            continue;
        }
        if let Some(before) = decided_by {
            find(
                false,
                "rule-never",
                format!("{name} can never decide: {} comes first and concerns everybody", before.origin),
            );
            continue;
        }
        for group in rule.groups.iter().flatten() {
            let why = match identity::group(group) {
                Ok(Some(_)) => continue,
                Ok(None) => format!("no group is called {group}"),
                Err(e) => format!("the name service fails on the group {group} ({})", e.desc()),
            };
            let text = format!("{name}: {why}, so the rule is taken to concern everybody");
            find(true, "rule-group-unknown", text);
        }
        let exempts = rule.require != Require::Mfa || rule.deadline.is_some();
        for user in rule.users.iter().flatten() {
            match identity::find(user) {
                Ok(None) => find(false, "rule-user-unknown", format!("{name}: no user is called {user}")),
                // Where a rule requires nothing, only the very name exempts.
                Ok(Some(found)) if !alike(user, &found.name) || exempts && *user != found.name => {
                    let text = format!("{name}: {user} is {0}, and does not match: write {0}", found.name);
                    find(true, "rule-user-other-name", text);
                }
                _ => {}
            }
        }
        places_left_out(rule, &mut find);
        services_not_asked(rule, &mut find);
        if rule.sk_key == SkKey::Counts && !rule.kinds.contains(&Kind::U2f) {
            find(false, "rule-counts-nothing", format!("{name}: sk_key counts, and no security key may be bound"));
        }
        if rule.require == Require::Off && rule.remember.is_some() {
            find(false, "rule-remembers-nothing", format!("{name} asks nothing, so there is nothing to remember"));
        }
        if rule.is_for_all() && rule.mode == Mode::Enforce {
            if rule.require == Require::Off {
                find(true, "rule-exempts-all", format!("{name} exempts everybody everywhere"));
            }
            decided_by = Some(rule);
        }
        if rule.require == Require::Mfa && rule.mode == Mode::Enforce {
            for line in exempt(policy, rule, now) {
                find(false, "rule-exempts", line);
            }
        }
    }
    services_not_led(policy, &mut find);
    findings
}

/// Takes a finding: whether it is grave, its kind, its text.
type Find<'a> = dyn FnMut(bool, &'static str, String) + 'a;

/// All of IPv4 without any of IPv6, or the reverse: half of everywhere.
fn places_left_out(rule: &Rule, find: &mut Find) {
    let from = rule.from.as_deref().unwrap_or_default();
    let all_of = |ipv6| from.iter().any(|entry| matches!(entry, From::Network(network) if network.is_all_of(ipv6)));
    let missing = match (all_of(false), all_of(true)) {
        (true, false) => ("0.0.0.0/0", "IPv6", "::/0"),
        (false, true) => ("::/0", "IPv4", "0.0.0.0/0"),
        _ => return,
    };
    if from.contains(&From::Remote) {
        return;
    }
    let (all, family, other) = missing;
    let text = format!("{}: from {all} leaves out {family}: add \"{other}\", or write \"remote\"", rule.origin);
    find(rule.require == Require::Mfa && rule.mode == Mode::Enforce, "rule-from-half", text);
}

/// Services for which the rule asks nobody. One policy may be for many hosts, so a service that is not there is grave
/// only if its name looks like a mistake.
fn services_not_asked(rule: &Rule, find: &mut Find) {
    let requires = rule.require == Require::Mfa && rule.mode == Mode::Enforce;
    let services = rule.services.as_deref().unwrap_or_default();
    for service in services {
        let Err(unasked) = stack::asks(service) else { continue };
        let text = format!("{}: {unasked}", rule.origin);
        match &unasked {
            Unasked::NoSuch { nearest, .. } => {
                let mistaken = nearest.as_ref().is_some_and(|near| !services.contains(near));
                find(requires && mistaken, "rule-service-unknown", text);
            }
            // It asks nobody, which is what the rule says.
            _ if rule.require == Require::Off => {}
            Unasked::NoLine(_) => find(requires, "rule-service-not-asked", text),
            Unasked::NotKnown(..) => find(false, "rule-service-not-known", text),
        }
    }
}

/// Services of `[enroll] services` in which nobody can bind a device. Those of the default need not be there.
fn services_not_led(policy: &Policy, find: &mut Find) {
    let shipped = Policy::default().enroll_services;
    for service in policy.enroll_services.iter().filter(|service| !shipped.contains(service)) {
        if let Err(unasked) = stack::asks(service) {
            find(false, "enroll-service-unknown", format!("[enroll] services: {unasked}"));
        }
    }
}

/// The users that the rule just written does not reach, and why.
pub fn not_reached(policy: &Policy, required: &Required, now: u64) -> Vec<String> {
    written(policy, required).map(|rule| exempt(policy, rule, now)).unwrap_or_default()
}

/// The users for whom the rule just written decides, somewhere at least.
pub fn reached(policy: &Policy, required: &Required, now: u64) -> Vec<String> {
    let Some(rule) = written(policy, required) else { return Vec::new() };
    let services = services_of(rule, policy);
    let is_reached = |name: &String| {
        let Ok(Some(identity)) = identity::find(name) else { return false };
        services.iter().any(|service| {
            let facts = Facts { user: &identity.name, service, place: Place::Unknown, now };
            policy.decide(&facts, &mut |name| identity.member(name)).rule == rule.origin
        })
    };
    members(rule).unwrap_or_default().into_iter().filter(is_reached).collect()
}

/// The rule that `require` has written.
fn written<'a>(policy: &'a Policy, required: &Required) -> Option<&'a Rule> {
    let list = |name: &Option<String>| name.as_ref().map(|name| vec![name.clone()]);
    policy.rules.iter().find(|rule| {
        rule.users == list(&required.user)
            && rule.groups == list(&required.group)
            && rule.services == list(&required.service)
            && rule.require == Require::Mfa
    })
}

/// The services that the rule may concern; the empty name stands for all that no rule names.
fn services_of<'a>(rule: &'a Rule, policy: &'a Policy) -> Vec<&'a str> {
    match &rule.services {
        Some(services) => services.iter().map(String::as_str).collect(),
        None => policy.services().collect(),
    }
}

/// What a later rule asks of somebody that the rules in `file`, which come first, would not ask any more. Of those who
/// are excepted, the file may ask less than it does `AS_IT_IS`.
///
/// If the name service fails, that is an error: the answer is unknown, and not "nothing".
pub fn relaxed(policy: &Policy, file: &str, except: &[String], now: u64) -> Result<Option<String>, Errno> {
    let (new, before) = (format!("{file}:"), format!("{file}{AS_IT_IS}:"));
    let Some(at) = policy.rules.iter().position(|rule| rule.origin.starts_with(&new)) else { return Ok(None) };
    let behind = at + policy.rules.iter().filter(|rule| rule.origin.starts_with(&new)).count();
    let with = |rules: &[Rule]| Policy { rules: rules.to_vec(), ..policy.clone() };
    let (earlier, written) = (with(&policy.rules[..at]), &policy.rules[at..behind]);
    let mut names = Vec::new();
    for rule in written {
        names.extend(members(rule)?);
    }
    let services = services_of(&written[0], policy);
    for name in names {
        let Some(identity) = identity::find(&name)? else { continue };
        let mut later = with(&policy.rules[behind..]);
        if except.contains(&identity.name) {
            later.rules.retain(|rule| !rule.origin.starts_with(&before));
        }
        for service in services.iter().copied() {
            let facts = Facts { user: &identity.name, service, place: Place::Unknown, now };
            let asked_by = |rules: &Policy| rules.decide(&facts, &mut |name| identity.member(name));
            // An earlier rule that certainly concerns the user decides before both.
            let mut decided = false;
            earlier.decide_aloud(&facts, &mut |name| identity.member(name), &mut |considered| {
                decided |= considered.concerns == Answer::Yes && considered.rule.mode == Mode::Enforce;
            });
            let later = asked_by(&later);
            if let Some(more) = asks_more(&later, &asked_by(&with(written))).filter(|_| !decided) {
                let at = if service.is_empty() { String::new() } else { format!(" at {service}") };
                let who = printable(&name, 64);
                let text = format!("{} asks more of {who}{at}: {more}.\nThis rule would come before it.", later.rule);
                return Ok(Some(text));
            }
        }
    }
    Ok(None)
}

/// What of `before` is stricter than it is in `after`.
fn asks_more(before: &Requirement, after: &Requirement) -> Option<String> {
    // A requirement with a deadline counts as one that begins on that day.
    let due = |asked: &Requirement| match asked.require {
        Require::Mfa => 0,
        _ => asked.deadline.unwrap_or(u64::MAX),
    };
    if due(before) < due(after) {
        let when = if before.require == Require::Mfa { "already" } else { "earlier" };
        Some(format!("it is required {when}"))
    } else if before.ssh_key > after.ssh_key {
        Some(String::from("ssh_key = \"deny\""))
    } else if before.enroll > after.enroll {
        let word = if before.enroll == Enroll::ByAdmin { "by-admin" } else { "invited" };
        Some(format!("enroll = \"{word}\""))
    } else if after.kinds.iter().any(|kind| !before.kinds.contains(kind)) {
        let words: Vec<String> = before.kinds.iter().map(|kind| format!("\"{}\"", kind.word())).collect();
        Some(format!("kinds = [{}]", words.join(", ")))
    } else {
        None
    }
}

/// Members for whom another rule decides that they need no device, unless that is meant.
fn exempt(policy: &Policy, rule: &Rule, now: u64) -> Vec<String> {
    let services = services_of(rule, policy);
    let mut lines = Vec::new();
    let members = members(rule).unwrap_or_else(|e| {
        lines.push(format!("whom it concerns cannot be told: the name service failed: {}", e.desc()));
        Vec::new()
    });
    for name in members {
        let Ok(Some(identity)) = identity::find(&name) else { continue };
        if is_meant(policy, rule, &identity.name) {
            continue;
        }
        for service in services.iter().copied() {
            let facts = Facts { user: &identity.name, service, place: Place::Unknown, now };
            let asked = policy.decide(&facts, &mut |name| identity.member(name));
            if asked.require != Require::Mfa && asked.deadline.is_none() && asked.rule != rule.origin {
                let at = if service.is_empty() { String::new() } else { format!(" at {service}") };
                lines.push(format!("{} is kept from being required{at} by {}", printable(&name, 64), asked.rule));
            }
        }
        if lines.len() >= NAMES {
            lines.push(String::from("and perhaps others"));
            break;
        }
    }
    lines
}

/// Whether the file of the rule itself says so before it, by name and for the same services: `require --except`.
fn is_meant(policy: &Policy, rule: &Rule, name: &String) -> bool {
    let before = policy.rules.iter().take_while(|earlier| *earlier != rule).filter(|earlier| {
        earlier.file() == rule.file() && earlier.services == rule.services && earlier.require != Require::Mfa
    });
    before.filter_map(|earlier| earlier.users.as_ref()).any(|users| users.contains(name))
}

fn members(rule: &Rule) -> Result<Vec<String>, Errno> {
    let mut names: Vec<String> = rule.users.iter().flatten().map(|name| spelled(name)).collect();
    for group in rule.groups.iter().flatten() {
        names.extend(members_of(group)?);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
