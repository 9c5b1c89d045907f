use std::collections::HashMap;

use super::*;
use crate::doctor::stacks::check;

/// Files by path, on a Debian with our profile; a name without a slash is in /etc/pam.d. A file whose text begins
/// with `!` cannot be trusted.
fn folder(files: &[(&str, &str)]) -> impl Fn(&str) -> Result<Option<String>, String> {
    let path = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("/etc/pam.d/{name}") };
    let mut files: HashMap<String, String> =
        files.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect();
    for there in ["/etc/debian_version", "/usr/share/pam-configs/mfa"] {
        files.insert(there.to_owned(), String::from("12"));
    }
    files.entry(path("common-session")).or_insert_with(|| SESSION.to_owned());
    move |path| match files.get(path) {
        Some(why) if why.starts_with('!') => Err(why[1..].to_owned()),
        text => Ok(text.cloned()),
    }
}

const SSHD: &str = "@include common-auth\n@include common-account\n@include common-session\n";
const SU: &str =
    "auth sufficient pam_rootok.so\n@include common-auth\n@include common-account\n@include common-session\n";

/// The file that pam-auth-update writes on Debian 12.
const AUTH: &str = "\
# here are the per-package modules (the \"Primary\" block)
auth	[success=1 default=ignore]	pam_unix.so nullok
# here's the fallback if no module succeeds
auth	requisite			pam_deny.so
auth	required			pam_permit.so
# and here are more per-package modules (the \"Additional\" block)
auth	required	pam_mfa.so stack=complete
# end of pam-auth-update config
";
const ACCOUNT: &str = "\
# here are the per-package modules (the \"Primary\" block)
account	required	pam_mfa.so
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
# here's the fallback if no module succeeds
account	requisite			pam_deny.so
account	required			pam_permit.so
# and here are more per-package modules (the \"Additional\" block)
# end of pam-auth-update config
";

const SESSION: &str = "\
session	[default=1]			pam_permit.so
session	requisite			pam_deny.so
session	required			pam_permit.so
session	required	pam_unix.so
session	optional	pam_mfa.so
";

/// The findings about sshd and su with these files on Debian.
fn debian(auth: &str, account: &str) -> Vec<Finding> {
    let files = [("sshd", SSHD), ("su", SU), ("common-auth", auth), ("common-account", account)];
    look(&files, &["sshd", "su"])
}

fn look(files: &[(&str, &str)], services: &[&str]) -> Vec<Finding> {
    let names: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
    check(&names, &folder(files), &["sshd", "su"].map(String::from))
}

/// The one finding.
#[track_caller]
fn only(findings: Vec<Finding>) -> (&'static str, String, String) {
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    (finding.id, finding.place.clone(), finding.remedy.clone())
}

const FORCE: &str = "pam-auth-update --force --enable mfa";

#[test]
fn debian_as_it_is_shipped_is_sound() {
    assert_eq!(debian(AUTH, ACCOUNT), []);
}

#[test]
fn our_auth_line_is_missing_ignored_or_passed_by() {
    let auth = |from: &str, to: &str| debian(&AUTH.replace(from, to), ACCOUNT);
    let (id, place, remedy) = only(auth("auth	required	pam_mfa.so stack=complete\n", ""));
    assert_eq!((id, place.as_str(), remedy.as_str()), ("pam-not-in-use", "/etc/pam.d", "pam-auth-update --enable mfa"));
    for control in ["sufficient", "optional", "[default=ignore]"] {
        let (id, place, remedy) = only(auth("auth	required	pam_mfa", &format!("auth {control} pam_mfa")));
        let place_and_remedy = (place.as_str(), remedy.as_str());
        assert_eq!(id, "pam-auth-refusal-ignored", "{control}");
        assert_eq!(place_and_remedy, ("/etc/pam.d/common-auth:7", FORCE), "{control}");
    }
    // A line that the administrator added, which pam-auth-update does not change.
    let (id, place, remedy) = only(debian(&format!("auth sufficient pam_unix.so\n{AUTH}"), ACCOUNT));
    assert_eq!((id, place.as_str()), ("pam-auth-line-passed-by", "/etc/pam.d/common-auth:1"));
    assert!(remedy.starts_with("editor /etc/pam.d/common-auth  # line 1: "), "{remedy}");
    // A service without our module.
    let files =
        [("sshd", "auth required pam_unix.so\n"), ("su", SU), ("common-auth", AUTH), ("common-account", ACCOUNT)];
    let (id, place, remedy) = only(look(&files, &["sshd", "su"]));
    assert_eq!((id, place.as_str()), ("pam-auth-line-missing", "/etc/pam.d/sshd"));
    assert!(remedy.contains("@include common-auth"), "{remedy}");
}

#[test]
fn stack_complete_is_true_and_is_said() {
    let (id, place, remedy) = only(debian(&AUTH.replace(" stack=complete", ""), ACCOUNT));
    assert_eq!((id, place.as_str()), ("pam-stack-complete-missing", "/etc/pam.d/common-auth:7"));
    assert_eq!(remedy, r"sed -i '7s/pam_mfa\.so/& stack=complete/' /etc/pam.d/common-auth");
    // RHEL: the end of a substack does not end the stack.
    let sshd = "auth substack password-auth\nauth required pam_mfa.so stack=complete\n@include common-account\n@include common-session\n";
    let substack = "auth sufficient pam_unix.so\nauth required pam_deny.so\n";
    let files = [("sshd", sshd), ("password-auth", substack), ("common-account", ACCOUNT)];
    let (id, place, _) = only(look(&files, &["sshd"]));
    assert_eq!((id, place.as_str()), ("pam-stack-complete-untrue", "/etc/pam.d/sshd:2"));
}

/// The findings for sshd with these auth lines, and with right account lines.
fn of_sshd(auth: &str) -> Vec<Finding> {
    let sshd = format!("{auth}\n@include common-account\n@include common-session\n");
    look(&[("sshd", &sshd), ("common-account", ACCOUNT)], &["sshd"])
}

#[test]
fn what_is_untrue_of_a_stack_is_said_with_the_path() {
    let what = |auth: &str| {
        let findings = of_sshd(auth);
        let untrue = findings.iter().find(|finding| finding.id == "pam-stack-complete-untrue");
        untrue.map(|finding| finding.what.clone())
    };
    let first = what("auth required pam_mfa.so stack=complete\nauth required pam_unix.so").unwrap();
    assert!(first.ends_with("without a first factor that has succeeded: it is the first line"), "{first}");
    let failed = what("auth required pam_unix.so\nauth required pam_mfa.so stack=complete").unwrap();
    assert!(failed.ends_with("succeeded: pam_unix.so (/etc/pam.d/sshd:1) says auth_err"), "{failed}");
    // pam_unix fails for users that only pam_sss knows; that does no harm.
    let both = "auth required pam_unix.so\nauth [success=ok default=die] pam_sss.so\n\
                auth required pam_mfa.so stack=complete";
    assert_eq!(of_sshd(both), []);
}

#[test]
fn a_stack_without_a_first_factor_is_found() {
    for auth in [
        "auth required pam_mfa.so\nauth required pam_permit.so",
        "auth required pam_env.so\nauth required pam_mfa.so",
        "auth optional pam_unix.so\nauth required pam_mfa.so\nauth required pam_permit.so",
    ] {
        let (id, place, remedy) = only(of_sshd(auth));
        assert_eq!(id, "pam-auth-no-first-factor", "{auth}");
        assert!(place.starts_with("/etc/pam.d/sshd:") && remedy.contains("behind the line that ends the first factor"));
    }
    // The only line of a stack: another module that succeeds after it would let in everybody.
    let (id, _, remedy) = only(of_sshd("auth required pam_mfa.so"));
    assert_eq!(id, "pam-auth-nothing-else");
    assert!(!remedy.contains("pam_permit") && remedy.contains("first factor"), "{remedy}");
    let (id, _, remedy) = only(of_sshd(
        "auth [success=1 default=die] pam_unix.so\nauth required pam_deny.so\nauth required pam_mfa.so stack=complete",
    ));
    assert_eq!(id, "pam-auth-nothing-else");
    assert!(!remedy.contains("pam_permit") && remedy.contains("auth requisite pam_unix.so"), "{remedy}");
}

/// A role that leaves our line alone in sshd's file, which is done by taking common-auth out.
#[test]
fn the_remedy_for_our_line_alone_is_a_first_factor() {
    let sshd = "auth required pam_mfa.so\n@include common-account\n@include common-session\n";
    let files = |auth| [("sshd", sshd), ("common-account", ACCOUNT), ("common-auth", auth)];
    let unix = "auth requisite pam_unix.so\n";
    for (auth, wanted) in [
        (AUTH, "line 1: put in place of its auth lines, for a first factor: @include common-auth"),
        (unix, "line 1: put before it, in place of what is there, for a first factor: @include common-auth"),
    ] {
        let (id, _, remedy) = only(look(&files(auth), &["sshd"]));
        assert_eq!((id, remedy), ("pam-auth-nothing-else", format!("editor /etc/pam.d/sshd  # {wanted}")));
    }
}

#[test]
fn a_stack_that_asks_for_nothing_is_found_with_our_line_and_without() {
    let ids = |auth: &str| {
        let files = [("sshd", auth), ("su", SU), ("common-auth", AUTH), ("common-account", ACCOUNT)];
        look(&files, &["sshd", "su"]).into_iter().map(|finding| (finding.id, finding.grave)).collect::<Vec<_>>()
    };
    let rest = "@include common-account\n@include common-session\n";
    let nothing = ("pam-auth-no-first-factor", true);
    assert_eq!(ids(&format!("auth required pam_permit.so\n{rest}")), [("pam-auth-line-missing", true), nothing]);
    assert_eq!(ids(&format!("auth required pam_unix.so\n{rest}")), [("pam-auth-line-missing", true)]);
    let with_ours = format!("auth required pam_permit.so\nauth required pam_mfa.so stack=complete\n{rest}");
    assert_eq!(ids(&with_ours), [("pam-stack-complete-untrue", true), nothing]);
}

/// With Debian's common-auth beside these auth lines of sshd.
fn beside_common_auth(auth: &str) -> Vec<Finding> {
    let sshd = format!("{auth}@include common-account\n@include common-session\n");
    look(&[("sshd", &sshd), ("common-auth", AUTH), ("common-account", ACCOUNT)], &["sshd"])
}

#[test]
fn our_line_twice_in_one_stack_is_found() {
    for auth in [
        "@include common-auth\nauth required pam_mfa.so\n",
        "@include common-auth\nauth required pam_mfa.so stack=complete\n",
    ] {
        let (id, place, remedy) = only(beside_common_auth(auth));
        assert_eq!((id, place.as_str()), ("pam-auth-line-twice", "/etc/pam.d/sshd:2"));
        assert_eq!(remedy, r"sed -i '2s/^.*pam_mfa\.so/# &/' /etc/pam.d/sshd");
    }
    let (id, _, remedy) = only(beside_common_auth("@include common-auth\n@include common-auth\n"));
    assert_eq!(id, "pam-auth-line-twice");
    assert_eq!(remedy, "editor /etc/pam.d/sshd  # let it include /etc/pam.d/common-auth once only");
    // Over the line to take out there is a jump, which would then pass by the other one.
    let jump = "auth requisite pam_unix.so\nauth [success=1 default=ignore] pam_localuser.so\n\
                auth required pam_mfa.so stack=complete\n@include common-auth\n";
    let found = beside_common_auth(jump);
    let twice = found.iter().find(|finding| finding.id == "pam-auth-line-twice").unwrap();
    assert_eq!(twice.remedy, "editor /etc/pam.d/sshd  # take out line 3, and count the jumps over it again");
    // Some logins call the service's own line alone: without it they would not be asked.
    for auth in [
        "auth [success=4 default=ignore] pam_sss.so\n@include common-auth\nauth required pam_mfa.so stack=complete\n",
        // Only if two others say no.
        "auth [success=1 default=ignore] pam_a.so\nauth [success=ignore default=4] pam_b.so\n\
         @include common-auth\nauth required pam_mfa.so stack=complete\nauth required pam_permit.so\n",
    ] {
        let found = beside_common_auth(auth);
        let twice = found.iter().find(|finding| finding.id == "pam-auth-line-twice").unwrap();
        assert!(twice.remedy.starts_with("editor /etc/pam.d/sshd  # some logins may call line "), "{}", twice.remedy);
    }
    // su may include that file alone.
    let sshd = "@include common-auth\n@include site\n@include common-account\n@include common-session\n";
    let site = ("site", "auth required pam_mfa.so stack=complete\n");
    let files = [("sshd", sshd), site, ("common-auth", AUTH), ("common-account", ACCOUNT)];
    let (_, _, remedy) = only(look(&files, &["sshd"]));
    assert!(remedy.starts_with("editor /etc/pam.d/site  # some logins may call line 1 alone: "), "{remedy}");
    // pam-auth-update has written neither.
    let both = "auth requisite pam_unix.so\nauth required pam_mfa.so stack=complete\nauth required pam_mfa.so stack=complete\n";
    let (id, _, remedy) = only(beside_common_auth(both));
    assert_eq!(id, "pam-auth-line-twice");
    assert!(remedy.starts_with("editor /etc/pam.d/sshd  # take out line "), "{remedy}");
    // By two policies: nobody but root can tell which is meant.
    let findings = beside_common_auth("@include common-auth\nauth required pam_mfa.so stack=complete config=/etc/x\n");
    let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["pam-auth-line-twice", "pam-config-differs"]);
    assert!(findings[0].remedy.starts_with("editor "), "{findings:#?}");
    // Of alternatives one is run.
    let either = "auth requisite pam_unix.so\nauth [success=1 default=ignore] pam_succeed_if.so user ingroup a\n\
                  auth [success=1 default=bad ignore=1] pam_mfa.so stack=complete\n\
                  auth required pam_mfa.so stack=complete\nauth required pam_permit.so\n";
    assert!(beside_common_auth(either).iter().all(|finding| finding.id != "pam-auth-line-twice"));
}

#[test]
fn another_module_that_asks_is_found_before_our_line_and_behind() {
    for (auth, place, grave) in [
        ("@include common-auth\nauth required pam_oath.so\n", "/etc/pam.d/sshd:2", true),
        ("@include common-auth\nauth optional pam_google_authenticator.so\n", "/etc/pam.d/sshd:2", false),
        ("auth requisite pam_google_authenticator.so\n@include common-auth\n", "/etc/pam.d/sshd:1", true),
        ("auth required /lib/security/pam_duo.so\n@include common-auth\n", "/etc/pam.d/sshd:1", true),
    ] {
        let findings = beside_common_auth(auth);
        assert_eq!((findings.len(), findings[0].id), (1, "pam-another-factor"), "{auth}: {findings:#?}");
        assert_eq!((findings[0].place.as_str(), findings[0].grave), (place, grave), "{auth}");
        let number = place.rsplit(':').next().unwrap();
        let begin = format!("editor /etc/pam.d/sshd  # take out line {number}, once everybody");
        assert!(findings[0].remedy.starts_with(&begin), "{findings:#?}");
    }
    // It is the first factor itself.
    let radius = "auth [success=ok default=die] pam_radius_auth.so\nauth required pam_mfa.so stack=complete\n";
    assert_eq!(beside_common_auth(radius), []);
}

/// Another module's line that leads past the first factor is named: pam-auth-update would write ours as it is.
#[test]
fn the_line_that_leads_to_ours_too_early_is_named() {
    let jump = format!("auth [success=ok default=3] pam_oath.so\n{AUTH}");
    let found = debian(&jump, ACCOUNT);
    let untrue = found.iter().find(|finding| finding.id == "pam-stack-complete-untrue").unwrap();
    let by_hand = "editor /etc/pam.d/common-auth  # line 1: take it out, or begin it with: auth requisite";
    assert_eq!(untrue.remedy, by_hand, "{found:#?}");
}

#[test]
fn our_line_before_the_first_factor_is_found_without_a_promise_too() {
    for (auth, grave) in [
        ("auth required pam_mfa.so\nauth requisite pam_unix.so\n", true),
        ("auth required pam_env.so\nauth required pam_mfa.so\nauth requisite pam_unix.so\n", true),
        ("auth required pam_unix.so\nauth required pam_mfa.so\n", false),
    ] {
        let findings = beside_common_auth(auth);
        let found: Vec<_> = findings.iter().map(|finding| (finding.id, finding.grave)).collect();
        assert_eq!(found, [("pam-auth-line-too-early", grave)], "{auth}");
    }
    let missing = beside_common_auth("auth requisite pam_unix.so\nauth required pam_mfa.so\n");
    assert_eq!(only(missing).0, "pam-stack-complete-missing");
}

/// As cockpit's on RHEL: a line of ours at its end would be reached after a wrong password.
#[test]
fn the_remedy_for_a_substack_is_not_a_line_behind_it() {
    let cockpit = "auth required pam_sepermit.so\nauth substack password-auth\n";
    let files = [
        ("cockpit", cockpit),
        ("password-auth", "auth required pam_unix.so\n"),
        (
            "sshd",
            "auth requisite pam_unix.so\nauth required pam_mfa.so stack=complete\n@include common-account\n@include common-session\n",
        ),
        ("common-account", ACCOUNT),
    ];
    let (id, _, remedy) = only(look(&files, &["cockpit", "sshd"]));
    assert_eq!(id, "pam-auth-line-missing");
    assert!(remedy.contains("into the file password-auth, behind the block"), "{remedy}");
}

#[test]
fn our_lines_go_by_one_policy() {
    let account = ACCOUNT.replace("pam_mfa.so", "pam_mfa.so config=/etc/mfa-strict/mfa.toml");
    let (id, place, remedy) = only(debian(AUTH, &account));
    assert_eq!((id, place.as_str()), ("pam-config-differs", "/etc/pam.d/common-account:2"));
    assert!(remedy.contains("line 2: let it name the policy of /etc/pam.d/common-auth:7"), "{remedy}");
}

#[test]
fn arguments_that_the_module_ignores_are_found() {
    let with = |argument: &str| debian(&AUTH.replace("pam_mfa.so", &format!("pam_mfa.so {argument}")), ACCOUNT);
    for argument in ["nullok", "stack=compleet", "stack", "config=mfa.toml"] {
        let (id, place, remedy) = only(with(argument));
        assert_eq!((id, place.as_str()), ("pam-argument-unknown", "/etc/pam.d/common-auth:7"), "{argument}");
        let typed = argument != "config=mfa.toml";
        assert_eq!(remedy.starts_with("sed -Ei '7s/(pam_mfa"), typed, "{remedy}");
    }
    for argument in ["debug", "helper=/usr/libexec/mfa-helper", "socket=/run/mfa/helper.sock"] {
        assert_eq!(with(argument), [], "{argument}");
    }
}

/// sshd always runs as root, so pam_rootok would let in every user.
#[test]
fn pam_rootok_lets_in_everybody_but_in_su() {
    let (id, place, _) = only(of_sshd(
        "auth sufficient pam_rootok.so\nauth requisite pam_unix.so\nauth required pam_mfa.so stack=complete",
    ));
    assert_eq!((id, place.as_str()), ("pam-auth-line-passed-by", "/etc/pam.d/sshd:1"));
}

/// The shipped auth lines of a login with key and code.
const KEY_AND_CODE: &str = include_str!("../../../config/pam.d/mfa-sshd-key");

#[test]
fn a_key_that_sshd_has_accepted_is_a_first_factor_and_nothing_like_it_is() {
    let look = |service: &str, auth: &str| {
        let stack = "@include mfa-sshd-key\n@include common-account\n@include common-session\n";
        look(&[(service, stack), ("mfa-sshd-key", auth), ("common-account", ACCOUNT)], &[service])
    };
    assert_eq!(look("sshd", KEY_AND_CODE), []);
    let untrue = |what: &str, service: &str, auth: &str| {
        let found = look(service, auth);
        let ids: Vec<_> = found.iter().map(|finding| finding.id).collect();
        assert_eq!(ids[0], "pam-stack-complete-untrue", "{what}");
        // Where it says yes to everybody, nothing is asked of whoever has no device.
        assert!(ids[1..].iter().all(|id| *id == "pam-auth-no-first-factor"), "{what}: {found:#?}");
        assert!(found[0].place.starts_with("/etc/pam.d/mfa-sshd-key:"), "{what}: {found:#?}");
    };
    let line = KEY_AND_CODE.lines().find(|line| line.contains("pam_exec.so")).unwrap();
    for (from, to) in [
        ("requisite", "required"),
        ("requisite", "optional"),
        ("publickey ", ""),
        ("exit 1", "exit 0"),
        ("quiet ", ""),
        ("/bin/sh", "/tmp/sh"),
        ("pam_exec.so", "/tmp/pam_exec.so"),
        ("SSH_AUTH_INFO_0", "PAM_USER"),
    ] {
        assert!(line.contains(from));
        untrue(to, "sshd", &KEY_AND_CODE.replace(line, &line.replace(from, to)));
    }
    untrue("no first factor", "sshd", &KEY_AND_CODE.replace(line, "auth required pam_permit.so"));
    // In su, only the user can have set that variable, in a file of the user's.
    untrue("another service", "su", KEY_AND_CODE);
}

#[test]
fn our_account_line_is_missing_ignored_or_passed_by() {
    let account = |from: &str, to: &str| only(debian(AUTH, &ACCOUNT.replace(from, to)));
    let (id, place, remedy) = account("account	required	pam_mfa.so\n", "");
    assert_eq!((id, remedy.as_str()), ("pam-account-line-missing", FORCE), "{place}");
    let (id, place, _) = account("account	required	pam_mfa.so", "account optional pam_mfa.so");
    assert_eq!((id, place.as_str()), ("pam-account-refusal-ignored", "/etc/pam.d/common-account:2"));
    // Decision 0010: an expired first factor ends the stack at pam_unix.
    let behind = ACCOUNT.replace("account	required	pam_mfa.so\n", "") + "account required pam_mfa.so\n";
    let findings = debian(AUTH, &behind);
    assert_eq!(findings[0].id, "pam-account-line-passed-by", "{findings:#?}");
}

#[test]
fn our_session_line_is_missing_or_passed_by() {
    let session = |text: &str| {
        let files =
            [("sshd", SSHD), ("su", SU), ("common-auth", AUTH), ("common-account", ACCOUNT), ("common-session", text)];
        look(&files, &["sshd", "su"])
    };
    assert_eq!(session(SESSION), []);
    let findings = session("session required pam_unix.so\n");
    assert!(findings.iter().all(|finding| !finding.grave), "{findings:#?}");
    let (id, place, remedy) = only(findings);
    assert_eq!((id, place.as_str(), remedy.as_str()), ("pam-session-line-missing", "/etc/pam.d/common-session", FORCE));
    let findings = session(&format!("session sufficient pam_systemd.so\n{SESSION}"));
    let (id, place, remedy) = only(findings);
    assert_eq!((id, place.as_str()), ("pam-session-line-passed-by", "/etc/pam.d/common-session:1"));
    assert!(remedy.starts_with("editor "), "{remedy}");
    // If no device can be bound there, none has to be confirmed.
    let files = [("sshd", SSHD), ("atd", "@include common-auth\n"), ("common-auth", AUTH), ("common-account", ACCOUNT)];
    assert_eq!(look(&files, &["sshd", "atd"]), []);
}

#[test]
fn one_finding_names_all_services_that_have_it() {
    let findings = debian(&AUTH.replace("auth	required	pam_mfa", "auth optional pam_mfa"), ACCOUNT);
    assert!(findings[0].what.starts_with("sshd, su: "), "{findings:#?}");
    assert_eq!(findings[0].names, ["sshd", "su"]);
}

#[test]
fn a_stack_that_nobody_understands_is_no_sound_one() {
    let files = |sshd: &'static str| [("sshd", sshd), ("su", SU), ("common-auth", AUTH), ("common-account", ACCOUNT)];
    let (id, place, _) = only(look(&files("auth frequently pam_unix.so\n"), &["sshd", "su"]));
    assert_eq!((id, place.as_str()), ("pam-line-unknown", "/etc/pam.d/sshd:1"));
    // As grave as the gravest of its services, and without a claim that our module is not in use.
    let shared = [
        ("atd", "@include common-auth\n"),
        ("sshd", SSHD),
        ("common-auth", "!/etc/pam.d/common-auth belongs to uid 1: chown root /etc/pam.d/common-auth"),
    ];
    let found = look(&shared, &["atd", "sshd"]);
    assert_eq!(
        found.iter().map(|finding| (finding.id, finding.grave)).collect::<Vec<_>>()[0],
        ("pam-file-unsafe", true)
    );
    assert!(found.iter().all(|finding| finding.id != "pam-not-in-use"), "{found:#?}");
    let open = "!/etc/pam.d/sshd has mode 0666 and is open to others: chmod go-w /etc/pam.d/sshd";
    let (id, _, remedy) = only(look(&files(open), &["sshd", "su"]));
    assert_eq!((id, remedy.as_str()), ("pam-file-unsafe", "chmod go-w /etc/pam.d/sshd"));
}

#[test]
fn the_remedy_of_a_fault_is_its_command_or_to_keep_the_file_elsewhere() {
    let other = || String::from("editor x");
    assert_eq!(remedy_in("/etc/x has mode 0666 and is open: chmod go-w /etc/x", other), "chmod go-w /etc/x");
    let move_it = format!("ls -ld '/srv/a b'  # {MOVE_IT}");
    assert_eq!(remedy_in(&format!("/srv/a b may be changed by others: {MOVE_IT}"), other), move_it);
    assert_eq!(remedy_in("/etc/x is missing", other), "editor x");
}

#[test]
fn a_finding_is_five_lines_whatever_is_in_it() {
    let finding = Finding::warning("an-id", "/etc/x", "two\nlines\x1b[2J", "rm /etc/x");
    assert_eq!(finding.reports(), ["warning\nan-id\n/etc/x\ntwo lines [2J\nrm /etc/x\n"]);
    let long = Finding::grave("an-id", "/", "x".repeat(99_999), "").reports().concat();
    assert!(long.len() < mfa_wire::MAX_TEXT && long.lines().count() == 5);
}

#[test]
fn a_finding_names_all_whom_it_is_about_however_many() {
    let all: Vec<String> = (0..300).map(|n| format!("{n:0>width$}", width = MAX_NAME)).collect();
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let reports = Finding::warning("an-id", "/etc/x", "what", "rm /etc/x").naming(&names).reports();
    assert!(reports.iter().all(|report| FromHelper::Report(report.clone()).encode().is_ok()));
    let told = reports[1..].iter().flat_map(|report| report.strip_prefix("names\n").unwrap().lines());
    assert_eq!(told.collect::<Vec<_>>(), names);
}
