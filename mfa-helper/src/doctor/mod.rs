//! `mfa-enroll doctor`: what lets people past the second factor on this host, or will lock them out, and the remedy.
//!
//! Checked here: everything that needs the policy, the store, the stack reader or files of root's, and everything that
//! a login itself asks sshd. The front end makes the checks that need other programs (systemd, dpkg): the helper holds
//! keys, so it starts no program here that a login does not start (decision 17).
//!
//! A check is a function that returns findings; [`doctor`] is the list of them. Where possible, a check gets its
//! inputs as parameters, so that a test can supply faults.

mod installed;
mod keys;
mod people;
mod policy;
mod service;
mod stacks;
mod store;
mod system;
#[cfg(test)]
mod tests;

use std::path::Path;

use mfa_wire::{Broken, FromHelper, MAX_NAME, MAX_TEXT, Outcome, shell_word as quoted};

use crate::audit::{self, Level};
use crate::conversation::Conversation;
use crate::factor::usb;
use crate::flow::Decision;
use crate::flow::ways::{self, Rules};
use crate::host::Host;
use crate::rootfile::MOVE_IT;
use crate::stack::{services, system_file};
use crate::sys::names;

/// The longest field of a finding, in characters.
const LONGEST: usize = 2000;

/// So many names fit into one message, however long they are.
const NAMES_AT_ONCE: usize = MAX_TEXT / (MAX_NAME + 1) - 1;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind of fault, which scripts compare.
    pub id: &'static str,
    /// Whether it lets people past or locks them out; otherwise it should be corrected.
    pub grave: bool,
    /// A file with a line, or a user.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// A command for root's shell. If only an edit by hand helps, it opens the editor, and a comment says what to do.
    pub remedy: String,
    /// All whom it is about, where the sentence names only the first of them.
    pub names: Vec<String>,
}

impl Finding {
    fn grave(
        id: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let (place, what, remedy) = (place.into(), what.into(), remedy.into());
        Finding { id, grave: true, place, what, remedy, names: Vec::new() }
    }

    fn warning(
        id: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { grave: false, ..Finding::grave(id, place, what, remedy) }
    }

    /// With the names of all whom it is about.
    fn naming(self, names: &[&str]) -> Finding {
        Finding { names: names.iter().map(|name| String::from(*name)).collect(), ..self }
    }

    /// The form on the wire: a line for each field; and then the names, in as many messages as they need.
    fn reports(&self) -> Vec<String> {
        let severity = if self.grave { "error" } else { "warning" };
        let one_line = |text: &str| text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let fields: [String; 5] = [severity, self.id, &self.place, &self.what, &self.remedy].map(one_line);
        let mut reports = vec![fields.join("\n") + "\n"];
        for names in self.names.chunks(NAMES_AT_ONCE) {
            let names: Vec<String> = names.iter().map(|name| one_line(name)).collect();
            reports.push(format!("names\n{}\n", names.join("\n")));
        }
        reports
    }
}

/// What the service finds about itself at its start. It goes to the log, because nobody has asked yet.
pub fn log_of_service(host: &Host) {
    for finding in service::look(host, service::loads_as_nobody) {
        let reason = format!("{}: {}; remedy: {}", finding.id, finding.what, finding.remedy);
        audit::log(Level::Warning, &[("event", "listener"), ("reason", &reason)]);
    }
}

/// Checks the host. The service itself, when `doctor` asks it, checks only itself.
pub fn doctor(config: &Path, host: &Host, conversation: &mut Conversation) -> Result<Decision, Decision> {
    if host.in_service {
        return told(&service::look(host, usb::library_loads), conversation);
    }
    names::know_everybody();
    // With the policy as it is now: a remedy counts at once, two seconds before it is in force.
    let (host, mut findings) = policy::in_place(config, host);
    let host = &host;
    findings.extend(policy::rules(config, host));
    findings.extend(policy::without_programs(config, host));
    findings.extend(policy::programs_that_are_gone(config, host.policy(), &policy::is_installed));
    findings.extend(policy::unusual_codes(config, host.policy()));
    findings.extend(policy::on_trial(config, host));
    findings.extend(policy::ignored(config));
    findings.extend(store::check(host));
    findings.extend(installed::check());
    let people = people::all(host);
    let (rules, facts) = (&Rules::of(host.policy(), host), &ways::Facts::of_this_machine());
    findings.extend(people::check(&people, config, host, rules, facts));
    findings.extend(keys::check(&people, config, host));
    let services = services();
    findings.extend(stacks::check(&services, &system_file, &host.policy().enroll_services));
    findings.extend(people::cannot_be_asked(&people, &services, &system_file, host));
    findings.extend(system::check(&people, &services, host, rules, facts));
    report(&service::if_it_turns_away(host), conversation)?;
    told(&findings, conversation)
}

fn told(findings: &[Finding], conversation: &mut Conversation) -> Result<Decision, Decision> {
    for finding in findings {
        report(finding, conversation)?;
    }
    Ok(if findings.iter().any(|finding| finding.grave) {
        Decision::new(Outcome::Faults, "", "faults found")
    } else if findings.is_empty() {
        Decision::new(Outcome::Accepted, "", "nothing found")
    } else {
        Decision::new(Outcome::Warnings, "", "warnings")
    })
}

fn report(finding: &Finding, conversation: &mut Conversation) -> Result<(), Broken> {
    finding.reports().into_iter().try_for_each(|report| conversation.send(&FromHelper::Report(report)))
}

/// The remedy for a file that cannot be used: the command at the end of the fault's sentence, or `otherwise`. A folder
/// that others need as it is stays as it is.
fn remedy_in(sentence: &str, otherwise: impl FnOnce() -> String) -> String {
    let line = sentence.lines().next().unwrap_or_default();
    if line.ends_with(MOVE_IT) {
        let folder = line.split(" may be changed").next().unwrap_or_default();
        return format!("ls -ld {}  # {MOVE_IT}", quoted(folder));
    }
    let command =
        ["chmod ", "chown "].iter().find_map(|command| Some(&line[line.find(&format!(": {command}"))? + 2..]));
    command.map_or_else(otherwise, str::to_owned)
}

/// The file of the rule at `place`, which is a file name and a line.
fn rule_file(config: &Path, place: &str) -> String {
    let file = place.split(':').next().unwrap_or_default();
    let beside = config.parent().unwrap_or(config);
    let path = if beside.join(file) == config { config.to_owned() } else { beside.join("mfa.d").join(file) };
    path.to_string_lossy().into_owned()
}

/// The user as an option of mfa-enroll, which takes a word that begins with "-" for another option.
fn of_user(name: &str) -> String {
    let between = if name.starts_with('-') { '=' } else { ' ' };
    format!("--user{between}{}", quoted(name))
}

/// A command that opens the editor.
fn edit(file: &str, what_to_do: &str) -> String {
    format!("editor {}  # {what_to_do}", quoted(file))
}
