//! Rules that root writes by command: one file for each, in the folder of drop-ins.

use std::path::{Path, PathBuf};

use mfa_wire::{Outcome, Required, printable, utc};

use super::policy;
use crate::conversation::Conversation;
use crate::flow::Decision;
use crate::host::Host;
use crate::identity;
use crate::policy::files;
use crate::policy::parse::{Source, moment, parse};
use crate::rootfile::{Dir, Fault, encode_name};

/// The beginning of the name of each such file.
pub const PREFIX: &str = "50-require-";

/// The line that makes a rule go away by itself.
const TRIAL: &str = "expires = ";

/// Writes the rule, if the policy is valid with it, and names the users that it does not reach.
pub fn require(
    required: &Required,
    config: &Path,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let required = &as_the_name_service_says(required)?;
    let name = file_name(required)?;
    if host.loaded.error.is_some() {
        // Said already, with file, line and caret.
        return Err(refused(String::from("Mend it first.")));
    }
    if required.deadline.as_deref().is_some_and(|day| moment(day).is_none()) {
        return Err(refused("A deadline is a day, 2027-01-31, which begins at 00:00 UTC.".into()));
    }
    let text = rule(required, (host.now)());
    let folder = folder(config)?;
    let before = folder.read_public(&name, files::LIMIT).map_err(failed)?;
    // The rule that this one takes the place of, unless that is on trial.
    let before = before.and_then(|before| before.bytes.text().map(str::to_owned)).filter(|text| !text.contains(TRIAL));
    if required.on_trial.is_some() && before.is_some() {
        // When the trial is over nobody would be required.
        return Err(refused(format!("{} requires it already, for good.", folder.path_of(&name))));
    }
    // Parse the policy with the new rule before the file is written.
    let mut sources = files::in_place(config).map_err(|e| refused(e.0))?;
    let new: Source = (folder.path_of(&name), text.clone());
    sources.retain(|(path, _)| *path != new.0);
    let main = sources.pop();
    let old: Option<Source> = before.map(|before| (format!("{} as it is", new.0), before));
    sources.push(new);
    sources.sort_unstable();
    sources.extend(main);
    let policy = parse(&sources).map_err(|e| refused(e.0))?;
    // Parse it again with the old rule behind the new one, to see what the new rule would relax.
    let at = sources.iter().position(|(path, _)| *path == folder.path_of(&name)).map_or(0, |at| at + 1);
    sources.splice(at..at, old);
    let relaxed = policy::relaxed(&parse(&sources).map_err(|e| refused(e.0))?, &name, (host.now)());
    if let Some(relaxed) = relaxed.map_err(Decision::name_service_failed)? {
        return Err(refused(relaxed));
    }
    folder.replace(&name, text.as_bytes()).map_err(failed)?;
    let exempt = policy::not_reached(&policy, required, (host.now)());
    let text = format!("{} is written.\nIt is in force in 2 seconds.", folder.path_of(&name));
    if exempt.is_empty() {
        return Ok(Decision::new(Outcome::Accepted, text, "rule written"));
    }
    for line in &exempt {
        conversation.tell(line)?;
    }
    Err(Decision::new(Outcome::Refused, format!("{text} It does not reach those named."), "written, but others decide"))
}

/// Removes the rule.
pub fn unrequire(required: &Required, config: &Path) -> Result<Decision, Decision> {
    // If the user is gone by now, take the name as it was typed.
    let known = as_the_name_service_says(required).ok();
    let name = file_name(known.as_ref().unwrap_or(required))?;
    let folder = folder(config)?;
    if !folder.names().map_err(failed)?.contains(&name) {
        let text = format!("There is no {}; rules written by hand are yours to remove.", folder.path_of(&name));
        return Err(Decision::new(Outcome::NotFound, text, "no such rule"));
    }
    folder.remove(&name).map_err(failed)?;
    let text = format!("{} is removed.\nWhat remains is in force in 2 seconds.", folder.path_of(&name));
    Ok(Decision::new(Outcome::Accepted, text, "rule removed"))
}

/// Makes the rules permanent that are on trial.
pub fn confirm(config: &Path, host: &Host) -> Result<Decision, Decision> {
    let folder = folder(config)?;
    let mut confirmed = Vec::new();
    let mut too_late = Vec::new();
    for name in folder.names().map_err(failed)?.into_iter().filter(|name| name.starts_with(PREFIX)) {
        let Some(content) = folder.read_public(&name, files::LIMIT).map_err(failed)? else { continue };
        let text = content.bytes.text().unwrap_or_default();
        let Some(trial) = text.lines().find_map(|line| line.strip_prefix(TRIAL)) else { continue };
        if moment(trial.trim_matches('"')).is_none_or(|end| end <= (host.now)()) {
            too_late.push(folder.path_of(&name));
            continue;
        }
        let lines = text.lines().filter(|line| !line.starts_with(TRIAL));
        let permanent = lines.map(|line| format!("{line}\n")).collect::<String>();
        folder.replace(&name, permanent.as_bytes()).map_err(failed)?;
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
            Ok(Decision::new(Outcome::Accepted, text, "trial confirmed"))
        }
    }
}

/// The rule as a file.
fn rule(required: &Required, now: u64) -> String {
    let mut text =
        String::from("# Written by \"mfa-enroll require\"; \"mfa-enroll unrequire\" removes it.\n[[rule]]\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("{key} = {value}\n"));
    let list = |value: &str| format!("[{}]", value.split(',').map(quoted).collect::<Vec<_>>().join(", "));
    line("name", quoted("required"));
    for (key, name) in [("users", &required.user), ("groups", &required.group), ("services", &required.service)] {
        if let Some(name) = name {
            line(key, format!("[{}]", quoted(name)));
        }
    }
    line("require", quoted("mfa"));
    if let Some(kinds) = &required.kinds {
        line("kinds", list(kinds));
    }
    if let Some(day) = &required.deadline {
        line("deadline", quoted(day));
    }
    if let Some(seconds) = required.on_trial {
        line("expires", quoted(&utc(now.saturating_add(seconds))));
    }
    text
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
    let mut file = format!("{PREFIX}{kind}-{}", encoded(name)?);
    if let Some(service) = &required.service {
        file.push_str(&format!("@{}", encoded(service)?));
    }
    Ok(file + ".toml")
}

fn encoded(name: &str) -> Result<String, Decision> {
    encode_name(name).ok_or_else(|| refused(format!("{} cannot be a part of a file's name.", printable(name, 64))))
}

/// A copy with the name by which rules will know the user or group. A rule for a name that does not exist would concern
/// nobody, or everybody.
fn as_the_name_service_says(required: &Required) -> Result<Required, Decision> {
    let (what, typed, found) = match (&required.user, &required.group) {
        (Some(user), None) => ("user", user, identity::find(user).map(|user| user.map(|user| user.name))),
        (None, Some(group)) => ("group", group, identity::group(group).map(|group| group.map(|group| group.name))),
        _ => return Err(refused("Name a user or a group, one of the two.".into())),
    };
    match found {
        Ok(Some(name)) if what == "user" => Ok(Required { user: Some(name), ..required.clone() }),
        Ok(Some(name)) => Ok(Required { group: Some(name), ..required.clone() }),
        Ok(None) => {
            let text = format!("No {what} is called {}.", printable(typed, 64));
            Err(Decision::new(Outcome::NotFound, text, "unknown to the name service"))
        }
        Err(e) => Err(Decision::name_service_failed(e)),
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
