//! The PAM stacks. Is our auth line reached only after a successful first factor, and on every path that succeeds?
//! Does the stack refuse when we refuse? Is there an account line?

mod lines;

use std::collections::BTreeSet;

use super::{Finding, edit, quoted};
use crate::stack::{self, Files, Findings, Kind, Module, Reached, Stack, StackError, Step};

/// Services that give a shell, a session or the rights of another user.
const SHELLS: &[&str] = &[
    "cockpit",
    "doas",
    "dropbear",
    "gdm-fingerprint",
    "gdm-password",
    "gdm-smartcard",
    "greetd",
    "kde",
    "lightdm",
    "login",
    "lxdm",
    "polkit-1",
    "remote",
    "sddm",
    "sshd",
    "su",
    "su-l",
    "sudo",
    "sudo-i",
    "xdm",
    "xrdp-sesman",
];

/// Files for inclusion, and the service of the first factor alone, which has no second one.
const NO_SERVICES: &[&str] = &[
    "config-util",
    "fingerprint-auth",
    "mfa-enroll",
    "mfa-sshd-key",
    "other",
    "password-auth",
    "postlogin",
    "smartcard-auth",
    "system-auth",
    "system-local-login",
    "system-login",
    "system-remote-login",
    "system-services",
];

/// Endings of files that package managers, pam-auth-update and editors leave behind.
const LEFT_OVER: &[&str] = &["~", ".pam-old", ".orig", ".bak", ".rpmnew", ".rpmsave", ".pacnew", ".pacsave", ".swp"];

/// Debian's file of auth lines.
const COMMON_AUTH: &str = "/etc/pam.d/common-auth";

/// Our profile for pam-auth-update.
const PROFILE: &str = "/usr/share/pam-configs/mfa";

/// The services that have a file.
pub fn services() -> Vec<String> {
    let mut names = BTreeSet::new();
    for folder in ["/etc/pam.d", "/usr/lib/pam.d"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    let is_service = |name: &String| {
        let left_over = name.contains(".dpkg-") || LEFT_OVER.iter().any(|end| name.ends_with(end));
        !left_over && !name.starts_with('.') && !name.starts_with("common-") && !NO_SERVICES.contains(&name.as_str())
    };
    names.into_iter().filter(is_service).collect()
}

/// Checks all of them. `enroll` are the services in which a device may be bound.
pub fn check(services: &[String], files: &Files, enroll: &[String]) -> Vec<Finding> {
    let mut faults = Vec::new();
    let stacks: Vec<_> = services.iter().map(|name| (name.as_str(), auth_stack(name, files))).collect();
    // A stack that cannot be read may contain our module.
    if stacks.iter().all(|(_, stack)| stack.as_ref().is_ok_and(|stack| ours(stack).is_none())) {
        return vec![not_in_use(files)];
    }
    for (name, stack) in &stacks {
        match stack {
            Err(error) => faults.extend(unreadable(name, error)),
            Ok(stack) if ours(stack).is_some() => {
                faults.extend(auth(name, stack, enroll.iter().any(|listed| listed == name), files));
                faults.extend(lines::check(name, stack, files));
                let enrolls = enroll.iter().any(|listed| listed == name);
                if *name == "sshd" || enrolls {
                    faults.extend(account(name, files));
                }
                if enrolls {
                    faults.extend(session(name, files));
                }
            }
            Ok(_) if SHELLS.contains(name) => faults.push(without_us(name, files)),
            Ok(_) => {}
        }
    }
    together(faults)
}

/// The stack for callers that are not root: su looks at its caller, and root could become any user without it.
fn auth_stack(service: &str, files: &Files) -> Result<Stack, StackError> {
    Stack::read(service, Kind::Auth, files).map(|stack| stack.not_by_root(service))
}

/// Our first line.
pub fn ours(stack: &Stack) -> Option<&Module> {
    stack.modules().find(|module| module.is_ours())
}

/// A finding about one service. A fault in an included file appears in many services.
struct Fault {
    service: String,
    finding: Finding,
}

/// Joins findings with the same remedy into one, for all their services. It is as grave as the gravest, and shows the
/// path of the first.
fn together(faults: Vec<Fault>) -> Vec<Finding> {
    let mut kinds: Vec<(Finding, Vec<String>)> = Vec::new();
    for Fault { service, finding } in faults {
        let key = |finding: &Finding| (finding.id, finding.place.clone(), finding.remedy.clone());
        match kinds.iter_mut().find(|(known, _)| key(known) == key(&finding)) {
            Some((known, services)) => {
                known.grave |= finding.grave;
                services.push(service);
            }
            None => kinds.push((finding, vec![service])),
        }
    }
    let named = |(finding, services): (Finding, Vec<String>)| {
        let what = format!("{}: {}", services.join(", "), finding.what);
        Finding { what, ..finding }
    };
    kinds.into_iter().map(named).collect()
}

fn not_in_use(files: &Files) -> Finding {
    let remedy = match there(PROFILE, files) {
        true => String::from("pam-auth-update --enable mfa"),
        false => edit("/etc/pam.d/sshd", "see pam_mfa(8) for the lines"),
    };
    let what = "no PAM stack names pam_mfa.so: nobody is asked for a second factor";
    Finding::grave("pam-not-in-use", "/etc/pam.d", what, remedy)
}

/// The stack cannot be read. That matters if the service gives a shell or uses our module.
fn unreadable(service: &str, error: &StackError) -> Option<Fault> {
    let (id, place, remedy) = match error {
        StackError::Service(_) => return None,
        StackError::File(why) => (
            "pam-file-unsafe",
            String::from("/etc/pam.d"),
            super::remedy_in(why, || format!("ls -lL /etc/pam.d/{service}")),
        ),
        StackError::Line { file, number, .. } => {
            ("pam-line-unknown", format!("{file}:{number}"), edit(file, &format!("mend line {number}")))
        }
        StackError::NoFile(_) | StackError::TooMany => {
            let file = format!("/etc/pam.d/{service}");
            ("pam-stack-unknown", file.clone(), edit(&file, "make it simpler"))
        }
    };
    // The service is named before this text.
    let what = match error {
        StackError::Line { what, .. } => what.clone(),
        other => other.to_string(),
    };
    let what = format!("nobody can tell what this stack does: {what}");
    let finding = Finding { grave: SHELLS.contains(&service), ..Finding::grave(id, place, what, remedy) };
    Some(Fault { service: service.to_owned(), finding })
}

fn without_us(service: &str, files: &Files) -> Fault {
    let file = format!("/etc/pam.d/{service}");
    let include = match files(COMMON_AUTH) {
        Ok(Some(text)) if text.contains("pam_mfa.so") => "@include common-auth",
        _ => "auth required pam_mfa.so stack=complete",
    };
    let remedy = edit(&file, &format!("let its auth lines end in: {include}"));
    let what = "lets in without a second factor: pam_mfa.so is not in its auth lines";
    Fault { service: service.to_owned(), finding: Finding::grave("pam-auth-line-missing", file, what, remedy) }
}

/// The remedy for a line that is in the wrong position or has the wrong content.
fn put_right(file: &str, number: usize, files: &Files, by_hand: &str) -> String {
    if is_written_by_pam_auth_update(file, number, files) {
        String::from("pam-auth-update --force --enable mfa")
    } else {
        edit(file, &format!("line {number}: {by_hand}"))
    }
}

/// It rewrites two blocks of some files, and leaves the lines before, between and after them unchanged.
fn is_written_by_pam_auth_update(file: &str, number: usize, files: &Files) -> bool {
    let text = files(file).ok().flatten().unwrap_or_default();
    let mut lines = text.lines().zip(1..).filter(|(line, _)| line.starts_with('#'));
    let mut mark = |mark: &str| lines.find(|(line, _)| line.contains(mark)).map_or(0, |(_, number)| number);
    let primary = mark("here are the per-package modules")..mark("here's the fallback");
    let additional = mark("and here are more per-package modules")..mark("end of pam-auth-update config");
    (primary.contains(&number) || additional.contains(&number)) && there(PROFILE, files)
}

/// Whether a file exists, readable or not.
fn there(path: &str, files: &Files) -> bool {
    !matches!(files(path), Ok(None))
}

fn auth(service: &str, stack: &Stack, dialogue: bool, files: &Files) -> Vec<Fault> {
    let Some(line) = ours(stack) else { return Vec::new() };
    let place = format!("{}:{}", line.file, line.number);
    let judged = match stack.judge_runs() {
        Ok(judged) => judged,
        Err(error) => return unreadable(service, &error).into_iter().collect(),
    };
    let Findings { reached, overridden, unproved, open, ignorable, .. } = &judged;
    let mut faults = Vec::new();
    if let Reached::Sometimes(path) = reached {
        faults.push(passed_by(service, "pam-auth-line-passed-by", line, path, files));
    }
    let mut found = |id: &'static str, what: String, by_hand: &str| {
        let remedy = put_right(&line.file, line.number, files, by_hand);
        let finding = Finding::grave(id, place.clone(), what, remedy);
        faults.push(Fault { service: service.to_owned(), finding });
    };
    let behind = "put it behind the line that ends the first factor: auth required pam_mfa.so stack=complete";
    if *reached == Reached::Never {
        found("pam-auth-line-unreached", String::from("our line is on no path that lets in"), behind);
    }
    if let Some(path) = overridden {
        let what = format!("lets in although our line refused: {path}");
        found("pam-auth-refusal-ignored", what, "begin it with: auth required");
    } else if *reached == Reached::Always && !ignorable {
        let what = String::from("refuses who is not asked for a code: no other module says yes");
        // After a first factor, any module that succeeds will do; without one, it would let in everybody.
        let by_hand = match unproved {
            None => "put a line behind it: auth required pam_permit.so",
            Some(_) => "put the lines of a first factor before it",
        };
        found("pam-auth-nothing-else", what, by_hand);
    }
    let complete = stack.modules().filter(|module| module.is_ours()).any(is_complete);
    match unproved {
        Some(path) if complete => {
            let what = format!(
                "says stack=complete, but our line is called without a first factor that has succeeded: {path}"
            );
            found("pam-stack-complete-untrue", what, behind);
        }
        None if !complete && dialogue => {
            let what = String::from("does not say stack=complete: who is required and has no device is locked out");
            // pam-auth-update treats a missing argument as the administrator's own choice and does not restore it.
            let sed = format!("sed -i '{}s/pam_mfa\\.so/& stack=complete/' {}", line.number, quoted(&line.file));
            let finding = Finding::warning("pam-stack-complete-missing", place.clone(), what, sed);
            faults.push(Fault { service: service.to_owned(), finding });
        }
        _ => {}
    }
    if let (Some(path), true) = (open, faults.is_empty()) {
        let what = format!("lets in without a first factor whoever has no device: {path}");
        let remedy = edit(&line.file, &format!("line {}: {behind}", line.number));
        let finding = Finding::grave("pam-auth-no-first-factor", place, what, remedy);
        faults.push(Fault { service: service.to_owned(), finding });
    }
    faults
}

/// The line to correct is the one that ends the stack or jumps; it may be in another file than ours.
fn passed_by(service: &str, id: &'static str, line: &Module, path: &stack::Path, files: &Files) -> Fault {
    let last = path.0.last();
    let (file, number) = last.map_or((&line.file, line.number), |Step { file, number, .. }| (file, *number));
    let remedy = put_right(file, number, files, "put it behind the lines that lead to pam_mfa.so, or take it out");
    let what = format!("lets in without reaching our line: {path}");
    Fault { service: service.to_owned(), finding: Finding::grave(id, format!("{file}:{number}"), what, remedy) }
}

fn is_complete(module: &Module) -> bool {
    module.arguments.iter().any(|argument| argument == "stack=complete")
}

/// The account line decides if an ssh key alone was used, and is where a device is bound.
fn account(service: &str, files: &Files) -> Vec<Fault> {
    let file = format!("/etc/pam.d/{service}");
    let stack = match Stack::read(service, Kind::Account, files) {
        Ok(stack) => stack,
        Err(error) => return unreadable(service, &error).into_iter().collect(),
    };
    let judged = match stack.judge_runs() {
        Ok(judged) => judged,
        Err(error) => return unreadable(service, &error).into_iter().collect(),
    };
    let line = ours(&stack);
    let first = "let the account lines begin with: account required pam_mfa.so";
    let (place, remedy) = match line {
        Some(Module { file, number, .. }) => (format!("{file}:{number}"), put_right(file, *number, files, first)),
        None if includes("common-account", service, files) => {
            (String::from("/etc/pam.d/common-account"), String::from("pam-auth-update --force --enable mfa"))
        }
        None => (file.clone(), edit(&file, first)),
    };
    let fault = |id, what: String| {
        vec![Fault { service: service.to_owned(), finding: Finding::grave(id, place.clone(), what, remedy.clone()) }]
    };
    match (judged.reached, judged.overridden) {
        (Reached::Always, None) if !judged.ignorable => {
            let what = String::from("account refuses whom we have nothing to say about: no other module says yes");
            fault("pam-account-nothing-else", what)
        }
        (Reached::Always, None) => Vec::new(),
        (Reached::Always, Some(path)) => {
            fault("pam-account-refusal-ignored", format!("account lets in although our line refused: {path}"))
        }
        (Reached::Sometimes(path), _) => {
            line.map(|line| passed_by(service, "pam-account-line-passed-by", line, &path, files)).into_iter().collect()
        }
        (Reached::Never, _) => {
            let ours = if line.is_some() { "is on no path that lets in" } else { "is not there" };
            let what = format!("our account line {ours}: a key alone is not looked at, and no device can be bound");
            fault("pam-account-line-missing", what)
        }
    }
}

/// The session line confirms a new binding. If a session may open without it, no binding in the login is offered.
fn session(service: &str, files: &Files) -> Option<Fault> {
    let stack = Stack::read(service, Kind::Session, files);
    let (stack, judged) = match stack.and_then(|stack| stack.judge_runs().map(|judged| (stack, judged))) {
        Ok(both) => both,
        Err(error) => return unreadable(service, &error),
    };
    let by_hand = "let the session lines end in: session optional pam_mfa.so";
    let finding = match (judged.reached, ours(&stack)) {
        (Reached::Always, _) => return None,
        (Reached::Sometimes(path), Some(line)) => {
            let fault = passed_by(service, "pam-session-line-passed-by", line, &path, files);
            let what = format!("a session opens without our line, so no device can be bound: {path}");
            Finding { grave: false, what, ..fault.finding }
        }
        (_, line) => {
            let ours = if line.is_some() { "is on no path that opens a session" } else { "is not there" };
            let what = format!("our session line {ours}: no device can be bound");
            let common = ["common-session", "common-session-noninteractive"];
            match common.into_iter().find(|name| line.is_none() && includes(name, service, files)) {
                Some(name) => {
                    let remedy = "pam-auth-update --force --enable mfa";
                    Finding::warning("pam-session-line-missing", format!("/etc/pam.d/{name}"), what, remedy)
                }
                None => {
                    let file = format!("/etc/pam.d/{service}");
                    Finding::warning("pam-session-line-missing", file.clone(), what, edit(&file, by_hand))
                }
            }
        }
    };
    Some(Fault { service: service.to_owned(), finding })
}

fn includes(name: &str, service: &str, files: &Files) -> bool {
    let text = files(&format!("/etc/pam.d/{service}")).ok().flatten().unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().eq(["@include", name])) && there(PROFILE, files)
}
