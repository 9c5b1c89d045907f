//! Rules that root writes by command: one file for each, in the folder of drop-ins.

use std::path::{Path, PathBuf};

use mfa_wire::{Outcome, Required, printable, shell_word, utc};

use super::policy;
use super::standing::everybody;
use crate::conversation::Conversation;
use crate::flow::Decision;
use crate::flow::user::{known, no_such_service};
use crate::flow::ways::left::{Known, administrators_lost, loses};
use crate::flow::ways::{Facts, Person, Rules};
use crate::host::Host;
use crate::identity;
use crate::policy::parse::{Source, moment, parse};
use crate::policy::{Answer, BY_COMMAND, Policy, files};
use crate::rootfile::{Dir, Fault, encode_name};
use crate::{stack, sys};

/// The most names in one sentence.
const NAMES: usize = 10;

/// The line that makes a rule go away by itself.
const TRIAL: &str = "expires = ";

/// Writes the rule, if the policy is valid with it, and names the users that it does not reach.
pub fn require(
    required: &Required,
    config: &Path,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    sys::names::know_everybody();
    let required = &as_the_name_service_says(required)?;
    let name = file_name(required)?;
    let now = (host.now)();
    if host.loaded.error.is_some() {
        // Said already, with file, line and caret.
        return Err(refused(String::from("Mend it first.")));
    }
    // A rule for a service that asks nobody would be taken for one that holds.
    if let Some(Err(unasked)) = required.service.as_deref().map(stack::asks) {
        return Err(no_such_service(&unasked));
    }
    let text = rules(required, now);
    let folder = folder(config)?;
    let before = folder.read_public(&name, files::LIMIT).map_err(failed)?;
    let before = before.and_then(|before| before.bytes.text().map(str::to_owned));
    // A script may say the same again after that day.
    if before.as_ref() != Some(&text) {
        is_to_come(required.deadline.as_deref(), now)?;
    }
    // The rule that this one takes the place of, unless that is on trial.
    let before = before.filter(|text| !text.contains(TRIAL));
    if required.on_trial.is_some() && before.is_some() {
        // When the trial is over nobody would be required.
        return Err(refused(format!("{} requires it already, for good.", folder.path_of(&name))));
    }
    // Parse the policy with the new rule before the file is written.
    let path = folder.path_of(&name);
    let sources = files::with(files::in_place(config).map_err(|e| refused(e.0))?, &path, Some(&text));
    let policy = parse(&sources).map_err(|e| refused(e.0))?;
    // Parse it again with the old rule behind the new one, to see what the new rule would relax.
    let old = before.map(|before| (format!("{path}{}", policy::AS_IT_IS), before));
    let mut with_old: Vec<Source> = sources;
    let at = with_old.iter().position(|(known, _)| *known == path).map_or(0, |at| at + 1);
    with_old.splice(at..at, old);
    let relaxed = policy::relaxed(&parse(&with_old).map_err(|e| refused(e.0))?, &name, &required.except, now);
    if let Some(relaxed) = relaxed.map_err(Decision::name_service_failed)? {
        return Err(refused(relaxed));
    }
    let left = who_is_left(&policy, required, host)?;
    if let (Some(first), None) = (left.administrators.first(), required.on_trial) {
        let text = format!(
            "Nobody could mend this host any more: none of {} would log in and become root.\n\
             To see why, run it with --try 10m, then: mfa-enroll policy explain --service sshd --user {}",
            counted(&left.administrators),
            shell_word(first)
        );
        return Err(refused(text));
    }
    // Not `now`: to see who is left has taken a while, and a file that was written meanwhile is young.
    let at_once = files::put(config, &folder, &name, Some(&text), (host.now)()).map_err(failed)?;
    for (name, at) in left.out.iter().take(NAMES) {
        let why = format!("mfa-enroll policy explain --service sshd --user {}", shell_word(name));
        conversation.tell(&format!("{} cannot log in {at} any more. To see why: {why}", printable(name, 64)))?;
    }
    let text = [format!("{path} is written"), in_force(at_once, host), reached(&policy, required, host)].concat();
    let exempt = policy::not_reached(&policy, required, now);
    let decision = match exempt.is_empty() {
        true => Decision::new(Outcome::Accepted, text, "rule written"),
        false => {
            let remedy = "Where that is meant, say so: --except NAME.";
            let text = format!("{text}\nIt does not reach those named. {remedy}");
            Decision::new(Outcome::Refused, text, "written, but others decide")
        }
    };
    for line in &exempt {
        conversation.tell(line)?;
    }
    let parts = [
        ("file", Some(folder.path_of(&name))),
        ("kinds", required.kinds.clone()),
        ("deadline", required.deadline.clone()),
        ("except", Some(required.except.join(",")).filter(|names| !names.is_empty())),
        ("until", end_of_trial(required, now)),
    ];
    let noted = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(noted.fold(decision, |decision, (name, value)| decision.noting(name, value)))
}

/// Removes the rule.
pub fn unrequire(required: &Required, config: &Path, host: &Host) -> Result<Decision, Decision> {
    // If the user is gone by now, take the name as it was typed.
    let known = as_the_name_service_says(required).ok();
    let name = file_name(known.as_ref().unwrap_or(required))?;
    let folder = folder(config)?;
    if !folder.names().map_err(failed)?.contains(&name) {
        let text = format!("There is no {}; rules written by hand are yours to remove.", folder.path_of(&name));
        return Err(Decision::new(Outcome::NotFound, text, "no such rule"));
    }
    let at_once = files::put(config, &folder, &name, None, (host.now)()).map_err(failed)?;
    let text = format!("{} is removed{}", folder.path_of(&name), in_force(at_once, host));
    Ok(Decision::new(Outcome::Accepted, text, "rule removed").noting("file", folder.path_of(&name)))
}

/// Makes the rules permanent that are on trial.
pub fn confirm(config: &Path, host: &Host) -> Result<Decision, Decision> {
    let folder = folder(config)?;
    let mut confirmed = Vec::new();
    let mut too_late = Vec::new();
    for name in folder.names().map_err(failed)?.into_iter().filter(|name| name.starts_with(BY_COMMAND)) {
        let Some(content) = folder.read_public(&name, files::LIMIT).map_err(failed)? else { continue };
        let text = content.bytes.text().unwrap_or_default();
        let Some(trial) = text.lines().find_map(|line| line.strip_prefix(TRIAL)) else { continue };
        if moment(trial.trim_matches('"')).is_none_or(|end| end <= (host.now)()) {
            too_late.push(folder.path_of(&name));
            continue;
        }
        let lines = text.lines().filter(|line| !line.starts_with(TRIAL));
        let permanent = lines.map(|line| format!("{line}\n")).collect::<String>();
        // Until it counts, the rule on trial holds.
        let _ = files::put(config, &folder, &name, Some(&permanent), (host.now)()).map_err(failed)?;
        confirmed.push(folder.path_of(&name));
    }
    match (confirmed.as_slice(), too_late.as_slice()) {
        ([], []) => Err(Decision::new(Outcome::NotFound, "No rule is on trial.", "no rule on trial")),
        ([], late) => {
            let text = format!("The trial is over: {}. Require it again.", late.join(", "));
            Err(Decision::new(Outcome::NotFound, text, "the trial is over"))
        }
        (done, late) => {
            let over = if late.is_empty() { String::new() } else { format!("\nOver: {}", late.join(", ")) };
            let text = format!("Permanent: {}{over}", done.join(", "));
            Ok(Decision::new(Outcome::Accepted, text, "trial confirmed").noting("file", done.join(", ")))
        }
    }
}

/// How a sentence about the policy goes on.
fn in_force(at_once: bool, host: &Host) -> String {
    match at_once {
        true => String::from(", and that is in force.\n"),
        false if host.loaded.error.is_some() => String::from(". It counts once the policy in place is mended.\n"),
        false => format!(".\nThat is in force in {} seconds.\n", files::SETTLED),
    }
}

/// Who is left once the rule requires the device.
struct Left {
    /// The users that cannot log in any more, and where.
    out: Vec<(String, &'static str)>,
    /// The administrators, if none of them can.
    administrators: Vec<String>,
}

/// By the rule as it is from its deadline on, if it has one.
fn who_is_left(policy: &Policy, required: &Required, host: &Host) -> Result<Left, Decision> {
    let bindings = host.bindings()?;
    let names = everybody(bindings.as_ref(), policy)?;
    let known: Vec<Known> = names.iter().filter_map(|name| Known::of(name, bindings.as_ref())).collect();
    let people: Vec<Person> = known.iter().filter_map(Known::person).collect();
    let mut due = policy.clone();
    due.rules.iter_mut().filter(|rule| rule.origin.starts_with(BY_COMMAND)).for_each(|rule| rule.deadline = None);
    let (before, after) = (Rules::of(host.policy(), host), Rules::of(&due, host));
    let facts = &Facts::of_this_machine();
    let reached = policy::reached(policy, required, (host.now)());
    let concerned = people.iter().filter(|person| reached.iter().any(|name| name == person.name()));
    let lost = concerned.map(|person| (person.name().to_owned(), loses(person, &before, &after, facts)));
    let administrators = administrators_lost(&people, &before, &after, facts);
    Ok(Left {
        out: lost.filter(|(_, at)| !at.is_empty()).collect(),
        administrators: administrators.into_iter().map(|person| person.name().to_owned()).collect(),
    })
}

/// Whom the rule reaches, who of them has a device, and until when.
fn reached(policy: &Policy, required: &Required, host: &Host) -> String {
    let now = (host.now)();
    let names = policy::reached(policy, required, now);
    let bindings = host.bindings().ok();
    let is_bound = |name: &str| {
        let view = bindings.as_ref().and_then(|bindings| bindings.look(name).ok());
        view.is_some_and(|view| view.bound.is_some())
    };
    let bound: Vec<String> = names.iter().filter(|name| is_bound(name)).cloned().collect();
    let mut text = match names.is_empty() {
        true => String::from("It reaches nobody whom the name service lists."),
        false => format!("It reaches {}.\nWith a device: {}.", counted(&names), counted(&bound)),
    };
    if let Some(seconds) = required.on_trial {
        let until = sys::local_time(now.saturating_add(seconds));
        text.push_str(&format!("\nOn trial until {until}. To keep it: mfa-enroll require --confirm"));
    }
    text
}

/// How many they are, and the first of them.
fn counted(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(NAMES).map(|name| printable(name, 64)).collect();
    match names.len() {
        0 => String::from("0"),
        all if all > NAMES => format!("{all}: {} and {} more", first.join(", "), all - NAMES),
        all => format!("{all}: {}", first.join(", ")),
    }
}

/// A deadline is a day to come: one that has begun would require the device at once.
fn is_to_come(day: Option<&str>, now: u64) -> Result<(), Decision> {
    let Some(day) = day else { return Ok(()) };
    match moment(day) {
        Some(begin) if begin > now => Ok(()),
        Some(_) => {
            let text = format!("{day} has begun already. To require it at once, leave --deadline out.");
            Err(refused(text))
        }
        None => Err(refused("A deadline is a day, 2027-01-31, which begins at 00:00 UTC.".into())),
    }
}

/// The file: the rule, and before it the one that keeps the excepted users from it.
fn rules(required: &Required, now: u64) -> String {
    let mut text = String::from("# Written by \"mfa-enroll require\"; \"mfa-enroll unrequire\" removes it.\n");
    if !required.except.is_empty() {
        // Not "off": who has a device all the same is asked for it.
        let except = Required { kinds: None, deadline: None, ..required.clone() };
        text.push_str(&rule("excepted", &[("users", &required.except)], "if-bound", &except, now));
    }
    let named = |name: &Option<String>| name.iter().cloned().collect::<Vec<_>>();
    let whom = [("users", &named(&required.user)), ("groups", &named(&required.group))];
    text + &rule("required", &whom, "mfa", required, now)
}

/// One rule, for those lists of names and for the services and times of `required`.
fn rule(name: &str, whom: &[(&str, &Vec<String>)], require: &str, required: &Required, now: u64) -> String {
    let mut text = String::from("[[rule]]\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    let list =
        |names: &mut dyn Iterator<Item = &str>| format!("[{}]", names.map(quoted).collect::<Vec<_>>().join(", "));
    line("name", quoted(name));
    for (key, names) in whom.iter().filter(|(_, names)| !names.is_empty()) {
        line(key, list(&mut names.iter().map(String::as_str)));
    }
    if let Some(service) = &required.service {
        line("services", list(&mut [service.as_str()].into_iter()));
    }
    line("require", quoted(require));
    if let Some(kinds) = &required.kinds {
        line("kinds", list(&mut kinds.split(',')));
    }
    if let Some(day) = &required.deadline {
        line("deadline", quoted(day));
    }
    if let Some(end) = end_of_trial(required, now) {
        line("expires", quoted(&end));
    }
    text
}

fn end_of_trial(required: &Required, now: u64) -> Option<String> {
    required.on_trial.map(|seconds| utc(now.saturating_add(seconds)))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The file's name holds the user or group and the service, so that the same command finds it again.
fn file_name(required: &Required) -> Result<String, Decision> {
    let (kind, name) = match (&required.user, &required.group) {
        (Some(user), None) => ("user", user),
        (None, Some(group)) => ("group", group),
        _ => return Err(refused("Name a user or a group, one of the two.".into())),
    };
    let mut file = format!("{BY_COMMAND}{kind}-{}", encoded(name)?);
    if let Some(service) = &required.service {
        file.push_str(&format!("@{}", encoded(service)?));
    }
    Ok(file + ".toml")
}

fn encoded(name: &str) -> Result<String, Decision> {
    encode_name(name).ok_or_else(|| refused(format!("{} cannot be a part of a file's name.", printable(name, 64))))
}

/// A copy with the names by which rules will know the user or group. A rule for a name that does not exist would concern
/// nobody, or everybody.
fn as_the_name_service_says(required: &Required) -> Result<Required, Decision> {
    let required = match (&required.user, &required.group) {
        (Some(user), None) => Required { user: Some(known(user)?.name), ..required.clone() },
        (None, Some(group)) => Required { group: Some(known_group(group)?), ..required.clone() },
        _ => return Err(refused("Name a user or a group, one of the two.".into())),
    };
    let except = |name: &String| {
        let user = known(name)?;
        if required.group.as_deref().is_some_and(|group| user.member(group) == Answer::No) {
            let text = format!("{} is excepted, and does not belong to the group.", printable(name, 64));
            return Err(Decision::new(Outcome::NotFound, text, "no such member"));
        }
        Ok(user.name)
    };
    let except = required.except.iter().map(except).collect::<Result<_, _>>()?;
    Ok(Required { except, ..required })
}

fn known_group(group: &str) -> Result<String, Decision> {
    match identity::group(group).map_err(Decision::name_service_failed)? {
        Some(group) => Ok(group.name),
        None => {
            let text = format!("No group is called {}.", printable(group, 64));
            Err(Decision::new(Outcome::NotFound, text, "unknown to the name service"))
        }
    }
}

fn folder(config: &Path) -> Result<Dir, Decision> {
    let beside: PathBuf = config.parent().unwrap_or(Path::new("/")).into();
    Dir::open(&beside).and_then(|dir| dir.subdir("mfa.d")).map_err(failed)
}

fn refused(text: String) -> Decision {
    Decision::new(Outcome::Refused, text, "not written")
}

fn failed(fault: Fault) -> Decision {
    Decision::unavailable(fault)
}
