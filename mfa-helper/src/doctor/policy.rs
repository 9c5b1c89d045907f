//! The policy's files: whether they load, and whether their rules make sense.

use std::path::Path;

use super::{Finding, edit, remedy_in, rule_file};
use crate::flow::manage::policy::findings;
use crate::flow::manage::require;
use crate::host::Host;
use crate::policy::Policy;
use crate::policy::files::{Loaded, in_place as read};
use crate::policy::parse::{PolicyError, parse};
use crate::rootfile::MOVE_IT;

/// The host with the policy in place, even if it was changed just now. If that cannot be loaded, the error, and the
/// host with the policy in force.
pub fn in_place(config: &Path, host: &Host) -> (Host, Vec<Finding>) {
    let loaded = |policy| Host { loaded: Loaded { policy, error: None }, ..host.clone() };
    match read(config).and_then(|sources| parse(&sources)) {
        Ok(policy) => (loaded(policy), Vec::new()),
        Err(error) => (loaded(host.policy().clone()), vec![not_loaded(&error, host.policy())]),
    }
}

/// The error begins with the path, or with the path and the line.
fn not_loaded(error: &PolicyError, in_force: &Policy) -> Finding {
    let what = &error.0;
    let place = what.split([' ', '\t']).next().unwrap_or_default().trim_end_matches(':');
    let file = place.split(':').next().unwrap_or_default();
    let id = match what {
        _ if what.contains("unknown field") => "policy-unknown-key",
        _ if [": chmod ", ": chown ", MOVE_IT].iter().any(|remedy| what.contains(remedy)) => "policy-file-unsafe",
        _ if what.ends_with(" is missing") => "policy-file-missing",
        _ => "policy-not-loaded",
    };
    let remedy = match id {
        "policy-file-missing" if file.ends_with("mfa.d") => format!("install -d -m 0755 {}", super::quoted(file)),
        "policy-file-missing" => format!("echo '# nothing but the defaults' >{}", super::quoted(file)),
        _ => remedy_in(what, || edit(file, "then: mfa-enroll policy check")),
    };
    let none = in_force.rules.iter().any(|rule| rule.origin == crate::policy::NO_POLICY);
    let instead = if none {
        "there is no earlier one: everybody is required, and nobody can bind by themselves"
    } else {
        "the last one that loaded well is in force"
    };
    Finding::grave(id, place, format!("the policy in place does not load ({instead}): {what}"), remedy)
}

/// Services in which no device can be bound any more, because their programs now have to be named too.
pub fn without_programs(config: &Path, host: &Host) -> Option<Finding> {
    let policy = host.policy();
    let shipped = Policy::default().enroll_services;
    let added: Vec<&str> =
        policy.enroll_services.iter().filter(|service| !shipped.contains(service)).map(String::as_str).collect();
    if added.is_empty() || !policy.enroll_programs.is_empty() {
        return None;
    }
    let place = "[enroll] programs";
    let what = format!("added to [enroll] services, with no program named that holds them: {}", added.join(", "));
    let remedy = edit(&config.to_string_lossy(), "add to [enroll]: programs = [\"NAME OF THE PROGRAM'S FILE\"]");
    Some(Finding::warning("policy-no-program", place, what, remedy))
}

/// Mistakes that the parser cannot find.
pub fn rules(config: &Path, host: &Host) -> Vec<Finding> {
    let policy = host.policy();
    let found = findings(policy, (host.now)());
    let finding = |found: crate::flow::manage::policy::Finding| {
        // Its text begins with the rule's file and line; or it is about a user, and ends with the exempting rule.
        let from_rule = if found.id == "rule-exempts" { found.text.rsplit(" by ").next() } else { Some(&*found.text) };
        let place = from_rule.unwrap_or_default().split([' ', ',']).next().unwrap_or_default().trim_end_matches(':');
        let path = rule_file(config, place);
        let remedy = match found.id {
            "rule-expired" if place.starts_with(require::PREFIX) => format!("rm {}", super::quoted(&path)),
            _ => edit(&path, "mend the rule"),
        };
        Finding { grave: found.grave, ..Finding::grave(found.id, place, found.text.clone(), remedy) }
    };
    found.into_iter().map(finding).collect()
}
