//! The audit line of a command of root's says who gave it, and what was changed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use pam_tests::{Log, System, add_user, artifact, run};

/// Runs mfa-enroll in a login of this uid (`None`: in no login), with this environment; its line in the log from
/// `event=` on.
fn line(arguments: &str, login_uid: Option<u32>, environment: &[(&str, &str)]) -> String {
    let log = Log::listen();
    let login = login_uid.unwrap_or(u32::MAX);
    let script = format!("echo {login} >/proc/self/loginuid && exec {} {arguments}", artifact("mfa-enroll").display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env_remove("SUDO_USER").envs(environment.iter().copied());
    let output = command.output().unwrap();
    let lines = log.lines_with("event=");
    let [line] = lines.as_slice() else { panic!("{lines:?} {output:?}") };
    line[line.find("event=").unwrap()..].to_owned()
}

#[test]
fn a_change_by_root_is_logged_with_the_person_behind_it_and_all_that_was_changed() {
    let system = System::fresh();
    system.service("sshd", "{first}\nauth required {module} stack=complete\naccount required {module}");
    add_user("auditee");
    run("groupadd", &["--force", "auditgroup"]);
    let by_sudo = &[("SUDO_USER", "ann"), ("NO_SUDO_USER", "eve")];

    let required = line("require --user auditee --service sshd --try 10m", Some(4711), by_sudo);
    let (before, after) = required.split_once(" until=").unwrap();
    let file = "/etc/mfa/mfa.d/50-require-user-auditee@sshd.toml";
    assert_eq!(before, format!("event=require user=auditee service=sshd file={file}"));
    let (until, after) = after.split_once(' ').unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains(&format!("expires = \"{until}\"")), "{required}");
    assert_eq!(after, "caller=0 auid=4711 claimed-sudo-user=ann verdict=accepted reason=\"rule written\"");

    assert_eq!(
        line("require --confirm", Some(4711), by_sudo),
        format!(
            "event=require-confirm user=root file={file} caller=0 auid=4711 claimed-sudo-user=ann verdict=accepted \
             reason=\"trial confirmed\""
        )
    );
    assert_eq!(
        line("unrequire --user auditee --service sshd", None, &[]),
        format!(
            "event=unrequire user=auditee service=sshd file={file} caller=0 verdict=accepted reason=\"rule removed\""
        )
    );
    let refused = line("unrequire --group auditgroup", Some(4711), &[]);
    assert_eq!(
        refused,
        "event=unrequire group=auditgroup caller=0 auid=4711 verdict=not-found reason=\"no such rule\""
    );

    // All that decides whom the rule concerns and what it asks.
    run("usermod", &["--append", "--groups", "auditgroup", "auditee"]);
    add_user("auditmember");
    run("usermod", &["--append", "--groups", "auditgroup", "auditmember"]);
    let group = "require --group auditgroup --kinds u2f --deadline 2037-01-31";
    assert_eq!(
        line(&format!("{group} --except auditee --except auditmember"), None, &[]),
        "event=require group=auditgroup file=/etc/mfa/mfa.d/50-require-group-auditgroup.toml kinds=u2f \
         deadline=2037-01-31 except=\"auditee,auditmember\" caller=0 verdict=accepted reason=\"rule written\""
    );

    // What somebody claims forges no field.
    let forged = line("invite --user auditee", None, &[("SUDO_USER", "ann verdict=refused\nauid=1")]);
    let (before, after) = forged.split_once(" until=").unwrap();
    assert_eq!(before, "event=invite user=auditee");
    let (_, after) = after.split_once(' ').unwrap();
    assert_eq!(after, "caller=0 claimed-sudo-user=\"ann verdict=refused\\u{a}auid=1\" verdict=accepted reason=invited");
    let void = line("bypass --user auditee --for 1h", Some(4711), &[]);
    assert_eq!(void, "event=bypass user=auditee caller=0 auid=4711 verdict=not-found reason=\"not bound\"");
}
