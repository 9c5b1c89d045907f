//! Stacks by the grammar of pam.d(5).

use crate::chance::Chance;

/// The files of a host, by their paths.
pub fn files(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("/etc/pam.d/common-auth", common_auth(chance)),
        ("/etc/pam.d/common-account", common_account(chance)),
        ("/etc/pam.d/common-session", common_session(chance)),
        ("/etc/pam.d/sshd", stack("sshd", chance)),
        ("/etc/pam.d/sudo", stack("sudo", chance)),
        ("/etc/pam.d/su", stack("su", chance)),
    ];
    for (_, text) in &mut files {
        *text = text.lines().map(|line| spelled(line, chance)).collect();
    }
    files
}

/// A line as somebody else would write it, who means the same.
fn spelled(line: &str, chance: &mut Chance) -> String {
    let [tabs, comment, capitals] = [5; 3].map(|percent| chance.odd(percent));
    let mut line = line.to_owned();
    if tabs {
        line = line.replacen(' ', "\t\t", 2);
    }
    if comment {
        line += " # as before";
    }
    if capitals && let Some(rest) = line.strip_prefix("auth") {
        line = format!("AUTH{rest}");
    }
    format!("{line}\n")
}

fn stack(service: &str, chance: &mut Chance) -> String {
    let mut text = String::new();
    if service == "su" {
        text += if chance.odd(30) { "" } else { "auth sufficient pam_rootok.so\n" };
        if chance.odd(10) {
            let which = chance.one(&["", " group=ops", " deny group=guests"]);
            text += &format!("auth {} pam_wheel.so use_uid{which}\n", chance.one(&["required", "requisite"]));
        }
    }
    text += &tests("auth", 16, chance);
    text += &if chance.odd(12) { unix(chance) } else { common("auth", chance) };
    text += &tests("auth", 10, chance);
    if chance.odd(12) {
        text += &ours("auth", chance);
    }
    text += &tests("account", 10, chance);
    text += &common("account", chance);
    if chance.odd(10) {
        text += &ours("account", chance);
    }
    text + "@include common-session\npassword required pam_deny.so\n"
}

fn common_auth(chance: &mut Chance) -> String {
    let text = tests("auth", 10, chance) + &unix(chance) + &tests("auth", 10, chance);
    with_ours("auth", text, chance)
}

/// At the end mostly, else at the begin, or nowhere.
fn with_ours(kind: &str, text: String, chance: &mut Chance) -> String {
    match chance.odd(30) {
        true if chance.is(40) => ours(kind, chance) + &text,
        true => text,
        false => text + &ours(kind, chance),
    }
}

fn common_account(chance: &mut Chance) -> String {
    let unix = match chance.odd(40) {
        false => {
            "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\n\
             account required pam_permit.so\n"
        }
        true => chance.one(&["account required pam_unix.so\n", "account required pam_permit.so\n"]),
    };
    let mut text = tests("account", 5, chance) + unix;
    if chance.odd(10) {
        text += "account sufficient pam_localuser.so\n";
    }
    with_ours("account", text, chance) + &tests("account", 5, chance)
}

fn common_session(chance: &mut Chance) -> String {
    let ours = if chance.odd(20) { String::new() } else { ours("session", chance) };
    format!("session required pam_permit.so\nsession required pam_unix.so\n{ours}")
}

fn common(kind: &str, chance: &mut Chance) -> String {
    match chance.odd(30) {
        false => format!("@include common-{kind}\n"),
        true => format!("{kind} {} common-{kind}\n", chance.one(&["substack", "include"])),
    }
}

const CONTROLS: &[&str] = &[
    "required",
    "required",
    "requisite",
    "sufficient",
    "optional",
    "[success=1 default=ignore]",
    "[success=ok default=bad]",
    "[success=ok new_authtok_reqd=ok ignore=ignore default=die]",
    "[success=done default=ignore]",
];

/// More conditions of the same modules, and modules that few have.
const RARE: &[&str] = &[
    "pam_succeed_if.so quiet uid < 2003",
    "pam_succeed_if.so quiet uid <= 2002 uid ne 2001",
    "pam_succeed_if.so quiet uid > 2002",
    "pam_succeed_if.so quiet_success user in p1:p2:root",
    "pam_succeed_if.so user notin p4:p5",
    "pam_succeed_if.so quiet user ingroup admins:ops:nobody-has-it",
    "pam_succeed_if.so quiet home = /home/p2",
    "pam_succeed_if.so quiet shell = /bin/bash",
    "pam_succeed_if.so quiet tty = ssh user = p1",
    "pam_succeed_if.so use_uid quiet uid = 0",
    "pam_succeed_if.so quiet uid eq p1",
    "pam_listfile.so onerr=succeed item=user sense=allow file=/etc/no-such-list",
    "pam_listfile.so onerr=fail item=user sense=deny file=/etc/no-such-list",
    "pam_listfile.so onerr=succeed item=user sense=allow apply=@ops file=/etc/listfile",
    "pam_listfile.so onerr=fail item=group sense=deny file=/etc/listfile",
    "pam_listfile.so onerr=succeed item=user sense=may file=/etc/listfile",
    "pam_usertype.so isregular",
    "pam_usertype.so issystem",
    "pam_usertype.so",
    "pam_nologin.so successok",
    "pam_not_there.so",
];

/// Modules that do something else in auth.
const OF_AUTH: &[&str] = &[
    "pam_env.so",
    "pam_faildelay.so delay=0",
    "pam_rootok.so",
    "pam_rootok.so",
    "pam_deny.so",
    "pam_echo.so welcome",
    "pam_keyinit.so",
    "pam_issue.so",
    "pam_warn.so",
    "pam_group.so",
    "pam_mail.so nopen",
    "pam_faillock.so preauth silent deny=1000",
    "pam_faillock.so authfail deny=1000",
    "pam_faillock.so authsucc deny=1000",
    "pam_exec.so quiet /usr/bin/env",
];

/// Modules that let through or stop some, and say nothing.
fn test(kind: &str, chance: &mut Chance) -> String {
    let modules: &[&str] = &[
        "pam_permit.so",
        "pam_permit.so",
        "pam_nologin.so",
        "pam_nologin.so",
        "pam_succeed_if.so quiet uid >= 1000",
        "pam_succeed_if.so quiet user ingroup ops",
        "pam_succeed_if.so quiet user notingroup guests",
        "pam_succeed_if.so quiet user != p3",
        "pam_succeed_if.so quiet uid eq 0",
        "pam_succeed_if.so quiet service = sshd",
        "pam_listfile.so onerr=fail item=user sense=allow file=/etc/listfile",
        "pam_listfile.so onerr=succeed item=user sense=deny file=/etc/listfile",
        "pam_localuser.so",
        "pam_access.so",
        "pam_shells.so",
    ];
    let mut module = chance.one(modules);
    if chance.is(35) {
        module = chance.one(RARE);
    }
    if kind == "auth" && chance.is(25) {
        module = chance.one(OF_AUTH);
    }
    if kind == "account" && chance.is(10) {
        module = chance.one(&["pam_time.so", "pam_faillock.so"]);
    }
    let controls = if chance.is(60) { &["required", "requisite"] } else { CONTROLS };
    let control = chance.one(controls);
    format!("{kind} {control} {module}\n")
}

fn tests(kind: &str, percent: usize, chance: &mut Chance) -> String {
    let mut text = String::new();
    while chance.odd(percent) && text.lines().count() < 3 {
        text += &test(kind, chance);
    }
    text
}

fn ours(kind: &str, chance: &mut Chance) -> String {
    let control = match (kind, chance.odd(20)) {
        ("session", _) => "optional",
        (_, true) => chance.one(CONTROLS),
        _ => "required",
    };
    let argument = if kind == "auth" && !chance.odd(35) { " stack=complete" } else { "" };
    format!("{kind} {control} pam_mfa.so{argument}\n")
}

/// A key that sshd has accepted.
const KEY: &str = r#"[case "$SSH_AUTH_INFO_0" in "publickey "*) exit 0;; esac; exit 1]"#;

/// The lines that ask for the password.
fn unix(chance: &mut Chance) -> String {
    let unix = format!("pam_unix.so nodelay{}", chance.one(&["", " nullok", " nullok", " nullok try_first_pass"]));
    let form = if chance.odd(60) { 1 + chance.below(6) } else { 0 };
    match form {
        0 => {
            format!("auth [success=1 default=ignore] {unix}\nauth requisite pam_deny.so\nauth required pam_permit.so\n")
        }
        1 => format!("auth {} {unix}\n", chance.one(&["required", "requisite"])),
        2 => format!("auth sufficient {unix}\nauth required pam_deny.so\n"),
        3 => format!(
            "auth [success=2 default=ignore] {unix}\nauth [default=die] pam_deny.so\nauth optional pam_env.so\n"
        ),
        4 => format!(
            "auth [success=2 default=ignore] pam_exec.so quiet /bin/sh -c {KEY}\n\
             auth [success=1 default=ignore] {unix}\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
        ),
        _ => (0..1 + chance.below(3)).fold(format!("auth {} {unix}\n", chance.one(CONTROLS)), |text, _| {
            let line = test("auth", chance);
            if chance.is(50) { line + &text } else { text + &line }
        }),
    }
}
