//! The PAM stacks. Is our auth line reached only after a successful first factor, and on every path that succeeds?
//! Does the stack refuse when we refuse? Is there an account line?

mod lines;

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

/// Debian's file of auth lines.
const COMMON_AUTH: &str = "/etc/pam.d/common-auth";

/// Our profile for pam-auth-update.
const PROFILE: &str = "/usr/share/pam-configs/mfa";

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
            Ok(stack) if SHELLS.contains(name) => faults.extend(without_us(name, stack, files)),
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

impl Fault {
    fn grave(service: &str, id: &'static str, place: String, what: String, remedy: String) -> Fault {
        Fault { service: service.to_owned(), finding: Finding::grave(id, place, what, remedy) }
    }
}

/// Joins findings with the same remedy into one, which names all their services: by `--ignore` a service that joins
/// later is told. It is as grave as the gravest, and shows the path of the first.
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
        Finding { what, names: services, ..finding }
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

/// A service that gives a shell, and never calls our module. If it asks for nothing at all, that is another fault.
fn without_us(service: &str, stack: &Stack, files: &Files) -> Vec<Fault> {
    let file = format!("/etc/pam.d/{service}");
    let text = files(&file).ok().flatten().unwrap_or_default();
    let substack = text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), ["auth", "substack", _]).then(|| words[2].to_owned())
    });
    let by_hand = match (first_factor(files), substack) {
        (include @ "@include common-auth", _) if has_our_line(files) => {
            format!("put in place of its auth lines that ask for the first factor: {include}")
        }
        // Behind a substack it would be called after a wrong password too.
        (_, Some(name)) => {
            format!("put our line into the file {name}, behind the block that ends the first factor: see pam_mfa(8)")
        }
        _ => String::from("put behind the end of its first factor: auth required pam_mfa.so stack=complete"),
    };
    let what = "lets in without a second factor: pam_mfa.so is not in its auth lines";
    let missing = Finding::grave("pam-auth-line-missing", file.clone(), what, edit(&file, &by_hand));
    let open = stack.judge_runs().ok().and_then(|judged| judged.open);
    let nothing = open.map(|path| {
        let what = format!("lets in everybody, and asks for nothing at all: {path}");
        let remedy = edit(&file, &format!("put in place of its auth lines: {}", first_factor(files)));
        Finding::grave("pam-auth-no-first-factor", file.clone(), what, remedy)
    });
    let fault = |finding| Fault { service: service.to_owned(), finding };
    [Some(missing), nothing].into_iter().flatten().map(fault).collect()
}

/// The line that asks for the first factor here.
fn first_factor(files: &Files) -> &'static str {
    if there(COMMON_AUTH, files) { "@include common-auth" } else { "auth requisite pam_unix.so" }
}

/// Whether our line is in Debian's file of auth lines.
fn has_our_line(files: &Files) -> bool {
    files(COMMON_AUTH).is_ok_and(|text| text.is_some_and(|text| text.contains("pam_mfa.so")))
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
        let what = String::from("refuses users who are not asked for a code: no other module says yes");
        // Never a module that says yes to everybody: behind our line alone it would let in strangers.
        let place =
            if has_our_line(files) { "in place of its auth lines" } else { "before it, in place of what is there" };
        let by_hand = format!("put {place}, for a first factor: {}", first_factor(files));
        found("pam-auth-nothing-else", what, &by_hand);
    }
    let complete = stack.modules().filter(|module| module.is_ours()).any(is_complete);
    match unproved {
        Some(path) if complete => {
            let what = format!(
                "says stack=complete, but our line is called without a first factor that has succeeded: {path}"
            );
            let remedy = reached_too_early(line, path, behind, files);
            faults.push(Fault::grave(service, "pam-stack-complete-untrue", place.clone(), what, remedy));
        }
        Some(path) if faults.is_empty() && open.is_none() => {
            let remedy = reached_too_early(line, path, behind, files);
            let finding = too_early(stack, place.clone(), path, remedy);
            faults.push(Fault { service: service.to_owned(), finding });
        }
        None if !complete && dialogue => {
            let what = String::from("does not say stack=complete: required users without a device are locked out");
            // pam-auth-update treats a missing argument as the administrator's own choice and does not restore it.
            let sed = format!("sed -i '{}s/pam_mfa\\.so/& stack=complete/' {}", line.number, quoted(&line.file));
            let finding = Finding::warning("pam-stack-complete-missing", place.clone(), what, sed);
            faults.push(Fault { service: service.to_owned(), finding });
        }
        _ => {}
    }
    // Unless that path has been named.
    let passed_by = matches!(reached, Reached::Sometimes(path) if Some(path) == open.as_ref());
    if let (Some(path), false) = (open, passed_by) {
        let what = format!("lets in whoever has no device, and asks for nothing at all: {path}");
        let remedy = edit(&line.file, &format!("line {}: {behind}", line.number));
        faults.push(Fault::grave(service, "pam-auth-no-first-factor", place, what, remedy));
    }
    faults
}

/// Before a first factor has succeeded. A stranger's wrong codes count there, and the answers tell who has a device.
fn too_early(stack: &Stack, place: String, path: &stack::Path, remedy: String) -> Finding {
    let is_factor = |step: &Step| {
        let here = |module: &&Module| module.file == step.file && module.number == step.number;
        stack.modules().find(here).is_some_and(|module| module.may_prove() || module.asks_for_a_key())
    };
    let after_a_wrong_one = path.0.iter().any(is_factor);
    let when = if after_a_wrong_one { "after a wrong first factor too" } else { "before any first factor" };
    let what = format!("a code is asked {when}, so strangers can lock people out by wrong codes: {path}");
    Finding { grave: !after_a_wrong_one, ..Finding::grave("pam-auth-line-too-early", place, what, remedy) }
}

/// If our line stands as pam-auth-update writes it, it is another line that leads there, and that line is named.
fn reached_too_early(line: &Module, path: &stack::Path, by_hand: &str, files: &Files) -> String {
    let Some(Step { file, number, .. }) = path.0.last() else {
        return put_right(&line.file, line.number, files, by_hand);
    };
    let written = |file: &str, number| is_written_by_pam_auth_update(file, number, files);
    if !written(&line.file, line.number) {
        let wrong_one = format!("line {}: {by_hand}; and see that a wrong one ends there (requisite)", line.number);
        edit(&line.file, &wrong_one)
    } else if written(file, *number) && !lines::is_of_another_profile(path) {
        String::from("pam-auth-update --force --enable mfa")
    } else {
        edit(file, &format!("line {number}: take it out, or begin it with: auth requisite"))
    }
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
    let fault = |id, what: String| vec![Fault::grave(service, id, place.clone(), what, remedy.clone())];
    let in_line = |by_hand: &str| match line {
        Some(Module { file, number, .. }) => put_right(file, *number, files, by_hand),
        None => remedy.clone(),
    };
    match (judged.reached, judged.overridden) {
        (Reached::Always, None) if !judged.ignorable => {
            let what = String::from("account refuses whom we have nothing to say about: no other module says yes");
            let remedy = in_line("put behind it: account required pam_unix.so");
            vec![Fault::grave(service, "pam-account-nothing-else", place, what, remedy)]
        }
        (Reached::Always, None) => Vec::new(),
        (Reached::Always, Some(path)) => {
            let what = format!("account lets in although our line refused: {path}");
            vec![Fault::grave(
                service,
                "pam-account-refusal-ignored",
                place,
                what,
                in_line("begin it with: account required"),
            )]
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
