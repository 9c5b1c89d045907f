//! Our lines beside each other and beside those of other modules: each may be right alone, and the login be wrong.

use std::iter::once;

use super::{Fault, auth_stack, is_written_by_pam_auth_update, there};
use crate::doctor::{Finding, edit, quoted};
use crate::stack::{Files, Kind, Module, PERM_DENIED, Path, Reached, SUCCESS, Stack};

/// Modules that ask for a second factor of their own, and the profile of Debian's package, if it has one.
const OTHERS: &[(&str, &str)] = &[
    ("pam_authy.so", ""),
    ("pam_barada.so", ""),
    ("pam_duo.so", ""),
    ("pam_google_authenticator.so", "google-authenticator"),
    ("pam_linotp.so", ""),
    ("pam_oath.so", "oath"),
    ("pam_okta.so", ""),
    ("pam_otpw.so", "otpw"),
    ("pam_privacyidea.so", ""),
    ("pam_radius_auth.so", "radius"),
    ("pam_securid.so", ""),
    ("pam_totp.so", ""),
    ("pam_u2f.so", "u2f"),
    ("pam_yubico.so", "yubico"),
];

/// What these lines of ours, in any of the three types, say wrongly.
pub fn check(service: &str, auth: &Stack, files: &Files) -> Vec<Fault> {
    let mut findings = Vec::new();
    findings.extend(twice(service, auth, files));
    findings.extend(another_factor(auth, files));
    let later = [Kind::Account, Kind::Session].map(|kind| Stack::read(service, kind, files).ok());
    let ours: Vec<&Module> = once(auth)
        .chain(later.iter().flatten())
        .flat_map(|stack| stack.modules().filter(|module| module.is_ours()))
        .collect();
    findings.extend(other_policy(&ours));
    for line in &ours {
        findings.extend(arguments(line));
    }
    findings.into_iter().map(|finding| Fault { service: service.to_owned(), finding }).collect()
}

fn place(line: &Module) -> String {
    format!("{}:{}", line.file, line.number)
}

/// The modules that are called in logins that let in: one in which each module says yes, and those in which one of
/// the other modules says no, as pam_unix does for users of a directory.
fn logins(stack: &Stack) -> Vec<Vec<&Module>> {
    let others = stack.modules().filter(|module| !module.is_ours()).map(Some);
    let login = |failing: Option<&Module>| {
        let says_no = |module: &Module| failing.is_some_and(|failing| std::ptr::eq(failing, module));
        let run = stack.run(&mut |module| if says_no(module) { PERM_DENIED } else { SUCCESS });
        Kind::Auth.lets_in(run.result).then_some(run.called)
    };
    once(None).chain(others).filter_map(login).collect()
}

/// Each line of ours asks for a code of its own, and a code is good once: the second is asked for the next one.
fn twice(service: &str, stack: &Stack, files: &Files) -> Option<Finding> {
    let lines = logins(stack).into_iter().find_map(|called| {
        let ours: Vec<&Module> = called.into_iter().filter(|module| module.is_ours()).collect();
        (ours.len() > 1).then_some(ours)
    })?;
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let what = format!("a code is asked twice, and each code is good once: by {} and {}", place(first), place(last));
    let own = format!("/etc/pam.d/{service}");
    let written = |line: &Module| is_written_by_pam_auth_update(&line.file, line.number, files);
    // The line to take out is one that somebody has added; of two such lines, the service's own; of two of those, the
    // first, which fewer factors precede.
    let added = lines.iter().filter(|line| !written(line)).min_by_key(|line| line.file != own);
    let line = added.copied().unwrap_or(first);
    let stays = |other: &&Module| place(other) != place(line) && written(other);
    // Another service may include that file, and none of the lines that stay.
    let is_shared = line.file != own && !lines.iter().any(|other| stays(other) && other.file == line.file);
    let remedy = if place(first) == place(last) {
        edit(&own, &format!("let it include {} once only", first.file))
    } else if first.arguments != last.arguments && policy_of(first) != policy_of(last) {
        edit(&line.file, &format!("take out line {} or {}: they name two policies", place(first), place(last)))
    } else if !lines.iter().any(stays) {
        edit(
            &line.file,
            &format!("take out line {} or {}, and leave the one that every login calls", place(first), place(last)),
        )
    } else if is_shared || is_called_alone(line, stack) || !is_sound_without(line, service, files) {
        let by_hand =
            format!("some logins may call line {} alone: let each login call one line, then take it out", line.number);
        edit(&line.file, &by_hand)
    } else if !stack.may_jump_over(line) {
        // As a comment: the numbers of the other lines stay what they are.
        format!(r"sed -i '{}s/^.*pam_mfa\.so/# &/' {}", line.number, quoted(&line.file))
    } else {
        edit(&line.file, &format!("take out line {}, and count the jumps over it again", line.number))
    };
    Some(Finding::grave("pam-auth-line-twice", place(line), what, remedy))
}

/// Whether a login calls this line of ours and no other one.
fn is_called_alone(line: &Module, stack: &Stack) -> bool {
    logins(stack).into_iter().any(|called| {
        let mut ours = called.into_iter().filter(|module| module.is_ours()).peekable();
        ours.peek().is_some() && ours.all(|module| place(module) == place(line))
    })
}

/// Whether one of ours is on every path that lets in, also once this line is a comment.
fn is_sound_without(line: &Module, service: &str, files: &Files) -> bool {
    let commented = |path: &str| {
        let text = files(path)?;
        let comment =
            |(text, number): (&str, usize)| format!("{}{text}\n", if number == line.number { "# " } else { "" });
        Ok(text.map(|text| match path == line.file {
            true => text.lines().zip(1..).map(comment).collect(),
            false => text,
        }))
    };
    let judged = auth_stack(service, &commented).and_then(|stack| stack.judge_runs());
    judged.is_ok_and(|judged| judged.reached == Reached::Always && judged.overridden.is_none())
}

/// A module that asks beside us, and beside the first factor. One that is itself the first factor is none.
fn another_factor(stack: &Stack, files: &Files) -> Vec<Finding> {
    let of_others = |module: &Module| OTHERS.iter().find(|(name, _)| module.path.ends_with(name));
    let run = stack.run(&mut |_| SUCCESS);
    let position = run.called.iter().position(|module| module.is_ours());
    let first_factor = |module: &&&Module| {
        !module.is_ours() && of_others(module).is_none() && (module.may_prove() || module.asks_for_a_key())
    };
    let (Some(ours), true, Some(_)) = (position, Kind::Auth.lets_in(run.result), run.called.iter().find(first_factor))
    else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (at, module) in run.called.iter().enumerate() {
        let Some((name, profile)) = of_others(module) else { continue };
        let says_no = |other: &Module| std::ptr::eq(*module, other);
        let without = stack.run(&mut |module| if says_no(module) { PERM_DENIED } else { SUCCESS });
        let needed = !Kind::Auth.lets_in(without.result);
        let side = if at < ours { "before" } else { "behind" };
        let so = if needed { ", and whoever has none of it is locked out" } else { "" };
        let what = format!("{name} asks for a second factor too, {side} our line{so}");
        // To take it out now would leave those with one factor who have theirs there alone.
        let when = "once everybody who has a factor there has a device here (mfa-enroll list)";
        let by_profile = !profile.is_empty() && there(&format!("/usr/share/pam-configs/{profile}"), files);
        let remedy = match by_profile && is_written_by_pam_auth_update(&module.file, module.number, files) {
            true => edit(&module.file, &format!("line {}: {when}: pam-auth-update --disable {profile}", module.number)),
            false => edit(&module.file, &format!("take out line {}, {when}", module.number)),
        };
        findings.push(Finding { grave: needed, ..Finding::warning("pam-another-factor", place(module), what, remedy) });
    }
    findings
}

/// Whether the last module of a path is one of those: pam-auth-update writes their lines too, and would again.
pub fn is_of_another_profile(path: &Path) -> bool {
    path.0.last().is_some_and(|step| OTHERS.iter().any(|(name, _)| step.module.ends_with(name)))
}

fn policy_of(line: &Module) -> Option<&str> {
    // The module uses the last one, and ignores relative paths.
    let named = line.arguments.iter().rev().find(|argument| argument.starts_with("config=/"))?;
    named.strip_prefix("config=")
}

/// By one policy somebody is required, by the other account lets them in.
fn other_policy(ours: &[&Module]) -> Option<Finding> {
    let first = ours.first()?;
    let other = ours.iter().find(|line| policy_of(line) != policy_of(first))?;
    let shown = |line: &Module| policy_of(line).unwrap_or("/etc/mfa/mfa.toml").to_owned();
    let what = format!(
        "our lines go by two policies, {} by {} and {} by {}: one may let in whom the other requires",
        place(first),
        shown(first),
        place(other),
        shown(other)
    );
    let remedy = edit(&other.file, &format!("line {}: let it name the policy of {}", other.number, place(first)));
    Some(Finding::grave("pam-config-differs", place(other), what, remedy))
}

/// The module ignores an argument that it does not know, and says so in the log only.
fn arguments(line: &Module) -> Vec<Finding> {
    let path = |argument: &str| {
        let value = ["config=", "helper=", "socket="].iter().find_map(|name| argument.strip_prefix(name));
        value.is_some_and(|path| path.starts_with('/'))
    };
    let known = |argument: &&String| ["debug", "stack=complete"].contains(&argument.as_str()) || path(argument);
    let finding = |argument: &String| {
        let what = format!("pam_mfa.so does not know this argument, and ignores it: {argument}");
        let plain = argument.bytes().all(|b| b.is_ascii_alphanumeric() || b"_=-".contains(&b));
        let remedy = match plain && !argument.is_empty() {
            true => format!(
                r"sed -Ei '{}s/(pam_mfa\.so.*)[[:blank:]]{argument}([[:blank:]]|$)/\1\2/' {}",
                line.number,
                quoted(&line.file)
            ),
            false => edit(&line.file, &format!("line {}: take out that argument", line.number)),
        };
        Finding::warning("pam-argument-unknown", place(line), what, remedy)
    };
    line.arguments.iter().filter(|argument| !known(argument)).map(finding).collect()
}
