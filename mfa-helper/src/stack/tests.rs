use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::sample::select;

use super::fixtures::{ARCH_REMOTE, ARCH_SYSTEM_AUTH, ARCH_SYSTEM_LOGIN, AUTHSELECT_ACCOUNT};
use super::*;

/// Files by path, on a Debian; a name without a slash is in /etc/pam.d. A file whose text begins with `!` cannot be
/// read.
pub(super) fn folder(files: &[(&str, &str)]) -> impl Fn(&str) -> Result<Option<String>, String> {
    let path = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("/etc/pam.d/{name}") };
    let mut files: HashMap<String, String> =
        files.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect();
    files.insert(String::from("/etc/debian_version"), String::from("13.0"));
    move |path| match files.get(path) {
        Some(why) if why.starts_with('!') => Err(why[1..].to_owned()),
        text => Ok(text.cloned()),
    }
}

/// The findings of an auth stack without faults.
const SOUND: Findings =
    Findings { reached: Reached::Always, overridden: None, called: true, unproved: None, open: None, ignorable: true };

fn findings_of(kind: Kind, files: &[(&str, &str)]) -> Findings {
    Stack::read("sshd", kind, &folder(files)).unwrap().judge_runs().unwrap()
}

/// The findings of an account stack that is one file.
fn account(text: &str) -> Findings {
    findings_of(Kind::Account, &[("sshd", text)])
}

fn auth(text: &str) -> Findings {
    findings_of(Kind::Auth, &[("sshd", text)])
}

fn decides(files: &[(&str, &str)]) -> Result<(), String> {
    account_line_decides("sshd", &folder(files))
}

/// The error in the account lines of a file.
fn fault(text: &str) -> String {
    Stack::read("sshd", Kind::Account, &folder(&[("sshd", text)])).unwrap_err().to_string()
}

/// The modules of the account lines, with their arguments.
fn modules(files: &[(&str, &str)]) -> Vec<String> {
    let stack = Stack::read("sshd", Kind::Account, &folder(files)).unwrap();
    stack
        .modules()
        .map(|module| format!("{} {}", module.path, module.arguments.join(" ")).trim_end().to_owned())
        .collect()
}

/// The files that pam-auth-update writes on Debian with unix and sss, with our profile and without it.
const DEBIAN_SSHD: &str = "\
# PAM configuration for the Secure Shell service
@include common-auth
account    required     pam_nologin.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
@include common-session
@include common-password
";
const DEBIAN_AUTH: &str = "\
auth	[success=2 default=ignore]	pam_unix.so nullok
auth	[success=1 default=ignore]	pam_sss.so use_first_pass
auth	requisite			pam_deny.so
# prime the stack
auth	required			pam_permit.so
auth	required	pam_mfa.so stack=complete
auth	optional			pam_cap.so
";
const DEBIAN_ACCOUNT: &str = "\
account	required	pam_mfa.so
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
account	sufficient			pam_localuser.so
account	[default=bad success=ok user_unknown=ignore]	pam_sss.so
";
const DEBIAN_ACCOUNT_LINES: [&str; 6] = [
    "account required pam_mfa.so",
    "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so",
    "account requisite pam_deny.so",
    "account required pam_permit.so",
    "account sufficient pam_localuser.so",
    "account [default=bad success=ok user_unknown=ignore] pam_sss.so",
];

/// `other` has no account line here.
fn debian<'a>(auth: &'a str, account: &'a str) -> Vec<(&'a str, &'a str)> {
    let session = ("common-session", "session required pam_unix.so");
    let password = ("common-password", "password [success=1 default=ignore] pam_unix.so obscure");
    vec![("sshd", DEBIAN_SSHD), ("common-auth", auth), ("common-account", account), session, password]
}

#[test]
fn debian_with_our_profile_is_safe() {
    assert_eq!(decides(&debian(DEBIAN_AUTH, DEBIAN_ACCOUNT)), Ok(()));
    let auth = findings_of(Kind::Auth, &debian(DEBIAN_AUTH, DEBIAN_ACCOUNT));
    assert_eq!(auth, SOUND);
}

#[test]
fn debian_with_our_account_line_behind_pam_unix_is_not() {
    let lines = DEBIAN_ACCOUNT_LINES;
    // Decision 0010: an expired password ends the stack at pam_unix.
    let behind = [lines[1], lines[2], lines[3], lines[0], lines[4], lines[5]].join("\n");
    let why = decides(&debian(DEBIAN_AUTH, &behind)).unwrap_err();
    assert!(why.starts_with("sshd: account lets in without pam_mfa.so: "), "{why}");
    assert!(why.ends_with("pam_unix.so (/etc/pam.d/common-account:1) says new_authtok_reqd"), "{why}");
    // Without `done`, every path reaches it.
    let behind = behind.replace("new_authtok_reqd=done ", "");
    assert_eq!(decides(&debian(DEBIAN_AUTH, &behind)), Ok(()));
    // Local users never get past pam_localuser.
    let last =
        [lines[1], lines[2], lines[3], lines[4], lines[5], lines[0]].join("\n").replace("new_authtok_reqd=done ", "");
    let why = decides(&debian(DEBIAN_AUTH, &last)).unwrap_err();
    assert!(why.ends_with("pam_localuser.so (/etc/pam.d/common-account:4) says success"), "{why}");
}

#[test]
fn an_account_line_that_is_missing_or_elsewhere_is_not_there() {
    let without = DEBIAN_ACCOUNT_LINES[1..].join("\n");
    assert!(decides(&debian(DEBIAN_AUTH, &without)).unwrap_err().contains("no account line of pam_mfa.so"));
    // It is in another file, which is not included.
    let sshd = DEBIAN_SSHD.replace("@include common-account\n", "");
    let mut files = debian(DEBIAN_AUTH, DEBIAN_ACCOUNT);
    files[0].1 = &sshd;
    assert!(decides(&files).unwrap_err().contains("no account line of pam_mfa.so"));
    // It is in a comment.
    let commented = DEBIAN_ACCOUNT.replace("account	required	pam_mfa.so", "#account required pam_mfa.so");
    assert!(decides(&debian(DEBIAN_AUTH, &commented)).is_err());
    // The module is not ours.
    for path in ["pam_mfa", "libpam_mfa.so", "PAM_MFA.SO", "./pam_mfa.so", "$ISA/pam_mfa.so", "/lib/../pam_mfa.so"] {
        assert!(decides(&[("sshd", &format!("account required {path}"))]).is_err(), "{path}");
    }
    for path in ["pam_mfa.so", "/lib/security/pam_mfa.so"] {
        assert_eq!(decides(&[("sshd", &format!("account required {path}"))]), Ok(()), "{path}");
    }
}

#[test]
fn two_account_lines_are_as_good_as_one() {
    assert_eq!(decides(&debian(DEBIAN_AUTH, &format!("{}\n{DEBIAN_ACCOUNT}", DEBIAN_ACCOUNT_LINES[0]))), Ok(()));
    // But none may be weak.
    let weak = format!("{DEBIAN_ACCOUNT}account optional pam_mfa.so");
    assert!(decides(&debian(DEBIAN_AUTH, &weak)).is_err());
}

#[test]
fn a_line_whose_refusal_is_not_the_stacks_decides_nothing() {
    for (control, why) in [
        ("sufficient", "lets in although"),
        ("optional", "lets in although"),
        ("[success=ok ignore=ignore default=ignore]", "lets in although"),
        ("[success=ok ignore=ignore maxtries=ignore default=bad]", "pam_mfa.so (/etc/pam.d/sshd:1) says maxtries"),
        ("[success=1 default=ignore]", "lets in although"),
        ("[default=1]", "lets in although"),
        ("[success=ok ignore=ignore default=reset]", "lets in although"),
        ("[success=ok ignore=ignore conv_err=reset default=bad]", "says conv_err"),
    ] {
        let text =
            format!("account {control} pam_mfa.so\naccount required pam_unix.so\naccount required pam_permit.so");
        let said = decides(&[("sshd", &text)]).unwrap_err();
        assert!(said.contains(why), "{control}: {said}");
    }
    for control in
        ["required", "requisite", "REQUIRED", "[success=ok default=die]", "[success=ok ignore=ignore default=bad]"]
    {
        let text =
            format!("account {control} pam_mfa.so\naccount required pam_unix.so\naccount required pam_permit.so");
        assert_eq!(decides(&[("sshd", &text)]), Ok(()), "{control}");
    }
}

/// The first failure is the result, and applications do not treat `new_authtok_reqd` as a failure.
#[test]
fn a_refusal_behind_an_expired_password_that_is_bad_is_lost() {
    let text = "account [default=bad success=ok user_unknown=ignore] pam_sss.so\naccount required pam_mfa.so";
    let why = decides(&[("sshd", text)]).unwrap_err();
    assert!(
        why.contains("lets in although pam_mfa.so refused: pam_sss.so (/etc/pam.d/sshd:1) says new_authtok_reqd"),
        "{why}"
    );
    // `required` treats the same code as a success, which a refusal overrides.
    assert_eq!(decides(&[("sshd", "account required pam_sss.so\naccount required pam_mfa.so")]), Ok(()));
}

#[test]
fn a_later_reset_or_jump_takes_a_refusal_back() {
    let why = decides(&[(
        "sshd",
        "account required pam_mfa.so\naccount [success=reset default=ignore] pam_x.so\naccount required pam_y.so",
    )]);
    assert!(why.unwrap_err().contains("although"));
    // A reset goes back to the beginning of its substack, not further.
    let files = [
        ("sshd", "account required pam_mfa.so\naccount substack in\naccount required pam_y.so"),
        ("in", "account [success=reset default=ignore] pam_x.so"),
    ];
    assert_eq!(decides(&files), Ok(()));
    // `sufficient` does not help after a failure either.
    assert_eq!(decides(&[("sshd", "account required pam_mfa.so\naccount sufficient pam_x.so")]), Ok(()));
}

#[test]
fn a_jump_over_our_line_or_an_end_before_it_is_found() {
    for (before, module) in [
        ("[success=1 default=ignore]", "pam_x.so"),
        ("[auth_err=1 default=ignore]", "pam_x.so"),
        ("sufficient", "pam_rootok.so"),
        ("[user_unknown=done default=ignore]", "pam_x.so"),
    ] {
        let text = format!("account {before} {module}\naccount required pam_mfa.so\naccount required pam_permit.so");
        let found = account(&text).reached;
        let user_unknown = before.contains("user_unknown");
        // `done` with a code that is neither success nor new_authtok_reqd fails.
        assert_eq!(matches!(found, Reached::Sometimes(_)), !user_unknown, "{before}: {found:?}");
    }
    // A jump past the end of a stack or of a substack fails, whatever was before.
    let text = "account required pam_unix.so\naccount [success=5 default=ignore] pam_x.so\naccount required pam_mfa.so";
    assert_eq!(account(text).reached, Reached::Always);
    let files = [
        (
            "sshd",
            "account required pam_unix.so\naccount substack in\naccount required pam_mfa.so\naccount required pam_y.so",
        ),
        ("in", "account [success=1 default=ignore] pam_x.so"),
    ];
    assert_eq!(findings_of(Kind::Account, &files).reached, Reached::Always);
    assert_eq!(
        account("account [success=5 default=ignore] pam_x.so\naccount required pam_mfa.so").reached,
        Reached::Always
    );
    // For a jump, a substack is one line, and an include has as many lines as its file.
    let inner = "account required pam_mfa.so\naccount required pam_permit.so";
    for (word, always) in [("substack", false), ("include", true)] {
        let sshd =
            format!("account [success=1 default=ignore] pam_x.so\naccount {word} in\naccount required pam_mfa.so");
        let first = [
            ("sshd", sshd.replace("\naccount required pam_mfa.so", "\naccount required pam_permit.so")),
            ("in", inner.to_owned()),
        ];
        let files: Vec<(&str, &str)> = first.iter().map(|(name, text)| (*name, text.as_str())).collect();
        // With include, the jump also passes over our line, but not over the one after it.
        assert!(matches!(findings_of(Kind::Account, &files).reached, Reached::Sometimes(_)), "{word}");
        let files = [("sshd", sshd.as_str()), ("in", "account required pam_permit.so\naccount sufficient pam_y.so")];
        assert_eq!(matches!(findings_of(Kind::Account, &files).reached, Reached::Always), !always, "{word}");
    }
}

#[test]
fn no_path_that_lets_in_is_not_every_path() {
    assert_eq!(account("account required pam_mfa.so\naccount requisite pam_deny.so").reached, Reached::Never);
    assert_eq!(account("account [default=bad] pam_mfa.so").reached, Reached::Never);
    assert!(decides(&[("sshd", "auth required pam_mfa.so")]).is_err());
    assert!(decides(&[("sshd", "")]).is_err());
}

/// Fedora's password-auth with sssd, as authselect writes it, and as sshd and sudo use it.
const RHEL_AUTH: &str = "\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_deny.so
";

#[test]
fn rhel_with_lines_behind_the_shared_file_is_not_safe() {
    let shared = format!("{RHEL_AUTH}{AUTHSELECT_ACCOUNT}");
    for (word, reached) in [("substack", true), ("include", false)] {
        let sshd = format!(
            "auth {word} password-auth\nauth required pam_mfa.so\n\
             account required pam_nologin.so\naccount include password-auth\naccount required pam_mfa.so"
        );
        let files = [("sshd", sshd.as_str()), ("password-auth", shared.as_str())];
        let auth = findings_of(Kind::Auth, &files);
        assert!(auth.unproved.is_some(), "{word}: reached after a wrong password");
        // With include, the sufficient pam_unix ends the whole stack.
        assert_eq!(auth.reached == Reached::Always, reached, "{word}");
        assert!(matches!(findings_of(Kind::Account, &files).reached, Reached::Sometimes(_)));
    }
    // A substack ends alone, so our line after it is reached; but pam_sss hides a refusal behind an expired password.
    let sshd = "account substack password-auth\naccount required pam_mfa.so";
    let found = findings_of(Kind::Account, &[("sshd", sshd), ("password-auth", AUTHSELECT_ACCOUNT)]);
    assert_eq!(found.reached, Reached::Always);
    assert!(found.overridden.is_some());
}

#[test]
fn rhel_with_lines_in_the_shared_file_is_safe() {
    let shared = "\
auth required pam_env.so
auth [success=2 default=ignore] pam_unix.so nullok
auth [success=1 default=ignore] pam_sss.so forward_pass
auth requisite pam_deny.so
auth required pam_mfa.so stack=complete
account required pam_mfa.so
";
    let shared = format!("{shared}{AUTHSELECT_ACCOUNT}");
    for word in ["substack", "include"] {
        let sshd = format!("auth {word} password-auth\naccount required pam_nologin.so\naccount {word} password-auth");
        let files = [("sshd", sshd.as_str()), ("password-auth", shared.as_str())];
        assert_eq!(decides(&files), Ok(()), "{word}");
        let auth = findings_of(Kind::Auth, &files);
        assert_eq!(auth, SOUND);
    }
    // A line that is reached after a failed substack must not make the result a success.
    let sshd = "auth substack password-auth\nauth sufficient pam_x.so";
    assert_eq!(findings_of(Kind::Auth, &[("sshd", sshd), ("password-auth", &shared)]).overridden, None);
}

#[test]
fn arch_with_our_lines_at_the_ends_is_safe() {
    let ours = "account    required                    pam_mfa.so\n";
    let system_auth = format!("{}{ours}", ARCH_SYSTEM_AUTH.replace(ours, ""));
    let files = [("sshd", ARCH_REMOTE), ("system-login", ARCH_SYSTEM_LOGIN), ("system-auth", &system_auth)];
    assert_eq!(decides(&files), Ok(()));
    assert_eq!(findings_of(Kind::Auth, &files), SOUND);
}

#[test]
fn an_auth_line_without_a_first_factor_before_it_is_found() {
    for before in [
        "",
        "auth required pam_permit.so",
        "auth required pam_env.so\nauth required pam_faillock.so preauth",
        "auth required pam_unix.so",
        "auth optional pam_unix.so",
        "auth required pam_unix.so\nauth optional pam_other.so",
        "auth sufficient /lib/security/pam_permit.so",
        "auth [success=1 default=ignore] pam_rootok.so\nauth requisite pam_unix.so",
        "auth requisite /opt/pam_mfa.so",
    ] {
        let found = auth(&format!("{before}\nauth required pam_mfa.so\nauth required pam_permit.so"));
        assert!(found.unproved.is_some(), "{before}");
    }
    for before in [
        "auth requisite pam_unix.so",
        "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so",
        "auth [success=ok default=die] pam_unix.so",
        "auth requisite pam_unix.so\nauth required pam_faillock.so authsucc",
    ] {
        assert_eq!(auth(&format!("{before}\nauth required pam_mfa.so")).unproved, None, "{before}");
    }
    // Other modules may return ignore, and `requisite` then goes on.
    let found = auth("auth requisite pam_sss.so ignore_unknown_user\nauth required pam_mfa.so");
    assert!(found.unproved.unwrap().to_string().ends_with("says ignore"));
    let before_the_password = auth("auth required pam_mfa.so\nauth required pam_unix.so");
    assert_eq!(before_the_password.unproved, Some(Path(vec![])));
}

#[test]
fn an_auth_line_among_the_alternatives_is_an_alternative() {
    let text = "\
auth [success=3 default=ignore] pam_unix.so
auth [success=2 default=ignore] pam_sss.so
auth [success=1 default=ignore] pam_mfa.so
auth requisite pam_deny.so
auth required pam_permit.so";
    assert!(matches!(auth(text).reached, Reached::Sometimes(_)));
    let text = "\
auth [success=1 default=ignore] pam_unix.so
auth required pam_mfa.so
auth requisite pam_deny.so
auth required pam_permit.so";
    // The jump leads to pam_deny, so nobody gets in.
    assert_eq!(auth(text).reached, Reached::Never);
    // In auth, a password that must be changed is no success.
    let text = "auth [success=ok new_authtok_reqd=done default=die] pam_unix.so\nauth required pam_mfa.so";
    assert_eq!(auth(text).reached, Reached::Always);
}

#[test]
fn a_stack_that_only_we_are_in_cannot_be_ignored() {
    assert!(!account("account required pam_mfa.so").ignorable);
    assert!(account("account required pam_mfa.so\naccount required pam_permit.so").ignorable);
    assert!(!account("account [success=1 default=ignore] pam_mfa.so\naccount requisite pam_deny.so\naccount required pam_permit.so").ignorable);
}

#[test]
fn other_counts_where_the_service_has_no_line_of_the_type() {
    let other = "auth required pam_unix.so\naccount required pam_mfa.so\naccount required pam_unix.so";
    assert_eq!(decides(&[("other", other)]), Ok(()));
    assert_eq!(decides(&[("sshd", "auth required pam_unix.so"), ("other", other)]), Ok(()));
    assert_eq!(decides(&[("sshd", "account include nothing"), ("nothing", "# nothing\n"), ("other", other)]), Ok(()));
    // A substack without lines counts as a line.
    assert!(decides(&[("sshd", "account substack nothing"), ("nothing", ""), ("other", other)]).is_err());
    assert!(decides(&[("sshd", "account required pam_unix.so"), ("other", other)]).is_err());
    assert!(decides(&[]).unwrap_err().contains("neither /etc/pam.d/sshd nor /etc/pam.d/other"));
}

#[test]
fn the_vendors_folder_comes_second() {
    let ours = "account required pam_mfa.so";
    assert_eq!(decides(&[("/usr/lib/pam.d/sshd", ours)]), Ok(()));
    assert!(decides(&[("/usr/lib/pam.d/sshd", ours), ("sshd", "account required pam_unix.so")]).is_err());
    // Not every libpam looks in these folders.
    for place in ["/usr/etc/pam.d/sshd", "/usr/share/pam.d/sshd", "/etc/pam.conf"] {
        let files = [(place, ours), ("other", ours)];
        assert!(decides(&files).unwrap_err().contains("may be read or not"), "{place}");
    }
    assert_eq!(decides(&[("/etc/pam.conf", "# nothing here\n"), ("other", ours)]), Ok(()));
}

/// Debian's libpam differs from upstream in how it includes files.
#[test]
fn what_is_included_depends_on_the_distribution() {
    let ours = "account required pam_mfa.so";
    let decides = |debian: bool, files: &[(&str, &str)]| {
        let files = folder(files);
        let upstream = |path: &str| if path == "/etc/debian_version" { Ok(None) } else { files(path) };
        if debian { account_line_decides("sshd", &files) } else { account_line_decides("sshd", &upstream) }
    };
    for debian in [true, false] {
        assert_eq!(decides(debian, &[("sshd", "account include in"), ("in", ours)]), Ok(()));
        assert_eq!(decides(debian, &[("sshd", "account substack /opt/in"), ("/opt/in", ours)]), Ok(()));
        assert_eq!(decides(debian, &[("sshd", "@include in"), ("in", ours)]).is_ok(), debian);
        let found = decides(debian, &[("sshd", "account include in"), ("/usr/lib/pam.d/in", ours)]);
        assert_eq!(found.is_ok(), !debian, "{found:?}");
        let found = decides(debian, &[("sshd", "account include in"), ("/usr/share/pam.d/in", ours)]);
        assert!(found.unwrap_err().contains(if debian { "is missing" } else { "may be read or not" }));
    }
}

#[test]
fn names_of_services() {
    let ours = "account required pam_mfa.so";
    assert_eq!(account_line_decides("SSHD", &folder(&[("sshd", ours)])), Ok(()));
    for name in ["", "other", "Other", ".", "..", "../sshd", "/etc/pam.d/sshd", "ss hd", "ssh\u{e9}", "a\nb", "a\0"] {
        let files = |path: &str| panic!("{path} was read");
        let error = Stack::read(name, Kind::Account, &files).unwrap_err();
        assert!(matches!(error, StackError::Service(_)), "{name:?}: {error}");
    }
}

#[test]
fn words_and_lines_are_libpams() {
    for text in [
        "account required pam_mfa.so debug",
        "  ACCOUNT\t Required pam_mfa.so debug # as root",
        "-account required pam_mfa.so debug",
        "account required \\\n  pam_mfa.so\\\n debug",
        "account required \\ \t\n  pam_mfa.so debug",
        "account [success=ok new_authtok_reqd=ok ignore=ignore default=bad] pam_mfa.so debug",
        "account [ success = ok  ignore=ignore\\\n default=bad ]pam_mfa.so debug",
        "account [default=bad success=okignore=ignore] pam_mfa.so [debug]",
        "[account] [required] [pam_mfa.so] debug",
        "account required pam_mfa.so debug\nauth nonsense\nsession [",
        "# a comment \\\naccount required pam_mfa.so debug",
        "@include in\naccount required pam_mfa.so debug",
        "-@INCLUDE in\naccount required pam_mfa.so debug",
        "account include in behind\naccount required pam_mfa.so debug",
        "\\\naccount required pam_mfa.so debug",
    ] {
        let files = [("sshd", text), ("in", "\n\n \t\n")];
        assert_eq!(modules(&files), ["pam_mfa.so debug"], "{text}");
        assert_eq!(decides(&files), Ok(()), "{text}");
    }
    assert_eq!(modules(&[("sshd", "account required pam_x.so [a b\\] c] [] d[e]")]), ["pam_x.so a b] c  d[e]"]);
    // A backslash before a comment is a word, and the next line is a separate one.
    let text = "account required pam_x.so \\ # so\naccount required pam_y.so";
    assert_eq!(modules(&[("sshd", text)]), ["pam_x.so \\", "pam_y.so"]);
    // Each line has the number at which it begins.
    let stack = Stack::read(
        "sshd",
        Kind::Account,
        &folder(&[("sshd", "\n#\naccount \\\nrequired pam_x.so\naccount required pam_y.so")]),
    );
    assert_eq!(stack.unwrap().modules().map(|m| m.number).collect::<Vec<_>>(), [3, 5]);
}

#[test]
fn what_is_not_understood_is_an_error() {
    for (text, why) in [
        ("acount required pam_mfa.so", "\"acount\" is no type"),
        ("--account required pam_mfa.so", "is no type"),
        ("[] required pam_mfa.so", "\"\" is no type"),
        ("-", "\"\" is no type"),
        ("\u{feff}account required pam_mfa.so", "is no type"),
        ("account", "no control"),
        ("account required", "no module"),
        ("account mandatory pam_mfa.so", "the control \"mandatory\" is not understood"),
        ("account [] pam_mfa.so", "not understood"),
        ("account [Success=ok] pam_mfa.so", "not understood"),
        ("account [success] pam_mfa.so", "not understood"),
        ("account [success=fine] pam_mfa.so", "not understood"),
        ("account [successful=ok] pam_mfa.so", "not understood"),
        ("account [success=0] pam_mfa.so", "not understood"),
        ("account [success=-1] pam_mfa.so", "not understood"),
        ("account [success=99999999999999999999] pam_mfa.so", "not understood"),
        ("account [success=1x] pam_mfa.so", "not understood"),
        ("account [success=ok, default=bad] pam_mfa.so", "not understood"),
        ("account [success=ok default=bad pam_mfa.so", "a bracket is not closed"),
        ("account required pam_mfa.so [a", "a bracket is not closed"),
        ("account required pam_mfa.so\r", "carriage return"),
        ("account required pam_mfa.so\r\n", "carriage return"),
        ("session optional pam_x.so \u{b}", "control character"),
        ("account required \\\n\n pam_mfa.so", "/etc/pam.d/sshd:2: an empty line or a comment continues"),
        ("account required \\\n# so\n pam_mfa.so", "continues a line"),
        ("account required pam_mfa.so \\", "ends in the middle"),
        ("account required pam_mfa.so \\\n", "ends in the middle"),
        ("@include", "names no file"),
        ("account include", "names no file"),
        ("account substack", "names no file"),
        ("\naccount include nowhere", "/etc/pam.d/sshd:2: nowhere, which it includes, is missing"),
        ("@include nowhere", "/etc/pam.d/sshd:1: nowhere, which it includes, is missing"),
        ("account include sshd", "too deeply, or in a circle"),
        ("account substack sshd", "in a circle"),
        ("@include sshd", "in a circle"),
        ("@include /etc/pam.d/sshd", "in a circle"),
    ] {
        assert!(fault(text).contains(why), "{text}: {}", fault(text));
    }
    let long = format!("#{}\naccount required pam_mfa.so", "x".repeat(1000));
    assert!(fault(&long).contains("too long"));
    let continued =
        format!("account required pam_mfa.so {}\\\n{} # {}", "x ".repeat(200), "y ".repeat(100), "z".repeat(400));
    assert!(fault(&continued).contains("too long"));
    assert!(fault(&"account required pam_unix.so\n".repeat(501)).contains("too many"));
}

#[test]
fn a_file_that_cannot_be_read_or_that_circles_is_an_error() {
    assert_eq!(decides(&[("sshd", "!it belongs to uid 7")]), Err(String::from("it belongs to uid 7")));
    let why = decides(&[("sshd", "account required pam_mfa.so\n@include in"), ("in", "!it is a folder")]);
    assert_eq!(why, Err(String::from("it is a folder")));
    let circle = [("sshd", "account required pam_mfa.so\n@include a"), ("a", "@include b"), ("b", "\n@include a")];
    assert!(decides(&circle).unwrap_err().contains("in a circle"));
    // Files that double with each level, with and without modules in them.
    let names: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
    let texts: Vec<String> =
        (1..31).map(|n| format!("@include f{n}\n@include f{n}\naccount required pam_x.so")).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.extend([("sshd", "@include f0"), ("f30", "account required pam_x.so")]);
    assert!(decides(&files).unwrap_err().contains("too many"));
    let empty: Vec<String> = texts.iter().map(|text| text.replace("account required", "session required")).collect();
    for (file, text) in files.iter_mut().zip(&empty) {
        file.1 = text;
    }
    assert!(decides(&files).unwrap_err().contains("too many"));
}

/// 31 files below the service's own, as in libpam.
#[test]
fn files_may_be_as_deep_as_in_libpam() {
    let chain = |depth: usize| {
        let files: Vec<(String, String)> = (0..=depth)
            .map(|n| match n {
                0 => (String::from("sshd"), String::from("account substack f1")),
                _ if n == depth => (format!("f{n}"), String::from("account required pam_mfa.so")),
                _ => (format!("f{n}"), format!("account substack f{}", n + 1)),
            })
            .collect();
        decides(&files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
    };
    assert_eq!(chain(31), Ok(()));
    assert!(chain(32).unwrap_err().contains("too deeply"));
}

/// The longest stack that is followed, with everything that multiplies situations.
#[test]
fn long_stacks_are_followed_or_given_up_soon() {
    let lines =
        "account [success=ok new_authtok_reqd=bad ignore=reset auth_err=2 user_unknown=done default=ignore] pam_x.so\n";
    let text = format!("{}account required pam_mfa.so\naccount required pam_permit.so", lines.repeat(400));
    assert!(matches!(account(&text).reached, Reached::Sometimes(_)));
    // Each level remembers its impression at entry.
    let names: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
    let texts: Vec<String> = (1..31).map(|n| format!("{}account substack f{n}", lines.repeat(15))).collect();
    let mut files: Vec<(&str, &str)> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.extend([("sshd", "@include f0"), ("f30", "account required pam_mfa.so")]);
    assert!(decides(&files).is_err());
}

#[test]
fn a_run_is_libpams() {
    let stack = Stack::read("sshd", Kind::Account, &folder(&[("sshd", DEBIAN_ACCOUNT)])).unwrap();
    let run = |codes: [Code; 6]| {
        let lines = DEBIAN_ACCOUNT.lines().count();
        assert_eq!(lines, codes.len());
        let outcome = stack.run(&mut |module| codes[module.number - 1]);
        (outcome.result, outcome.called.iter().map(|module| module.number).collect::<Vec<_>>())
    };
    assert_eq!(run([25, 0, 7, 0, 0, 9]), (0, vec![1, 2, 4, 5]));
    assert_eq!(run([25, 12, 7, 0, 0, 9]), (12, vec![1, 2]));
    assert_eq!(run([6, 12, 7, 0, 0, 9]), (6, vec![1, 2, 3]));
    assert_eq!(run([25, 0, 7, 0, 7, 9]), (9, vec![1, 2, 4, 5, 6]));
    assert_eq!(run([25, 99, 7, 0, 7, 9]), (6, vec![1, 2, 3]));
    assert_eq!(run([31, 0, 7, 0, 7, 9]), (31, vec![1]));
    // A result that is not quite a success does not become one by a later success.
    let text = "account required pam_x.so\naccount required pam_y.so";
    let stack = Stack::read("sshd", Kind::Account, &folder(&[("sshd", text)])).unwrap();
    let run = |codes: [Code; 2]| stack.run(&mut |module| codes[module.number - 1]).result;
    assert_eq!((run([12, 0]), run([0, 12]), run([12, 7]), run([25, 25])), (12, 12, 7, 6));
}

/// Random small stacks, in which every control can occur.
fn control() -> impl Strategy<Value = String> {
    let action = select(vec!["ignore", "ok", "done", "bad", "die", "reset", "1", "2"]);
    let code = select(vec!["success", "ignore", "new_authtok_reqd", "auth_err", "user_unknown"]);
    let pairs = proptest::collection::vec((code, action.clone()), 0..3);
    let bracket = (pairs, action).prop_map(|(pairs, default)| {
        let pairs: String = pairs.iter().map(|(code, action)| format!("{code}={action} ")).collect();
        format!("[{pairs}default={default}]")
    });
    let word = select(vec!["required", "requisite", "sufficient", "optional"]).prop_map(str::to_owned);
    prop_oneof![word, bracket]
}

fn lines(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    let module = select(vec!["pam_sss.so", "pam_krb5.so", "pam_env.so", "pam_deny.so", "pam_mfa.so", "pam_mfa.so"]);
    let line = (control(), module).prop_map(|(control, module)| format!("KIND {control} {module}"));
    proptest::collection::vec(line, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The files are root's, but a faulty one must not crash a login.
    #[test]
    fn any_text_is_a_stack_or_is_not_understood(pieces in proptest::collection::vec(select(vec![
        "auth", "-auth", "account", "AUTH", "required", "sufficient", "include other", "substack other", "@include other", "include sshd",
        "[success=1 default=ignore]", "[success=99999999999999999999]", "[", "]", "[]", "[a=]", "=", "pam_mfa.so", "pam_unix.so",
        " ", "\t", "\n", "\\\n", "\\", "#", "\0", "é", "/lib/security/pam_mfa.so", "stack=complete", "\r\n",
    ]), 0..40)) {
        let text = pieces.concat();
        let files = [("sshd", text.as_str()), ("other", text.as_str())];
        for kind in [Kind::Auth, Kind::Account] {
            if let Ok(stack) = Stack::read("sshd", kind, &folder(&files)) {
                let _ = stack.judge_runs();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// All combinations of return codes, one by one.
    #[test]
    fn what_is_found_is_what_all_runs_show(before in lines(0..3), inner in lines(0..3), after in lines(0..2), substack: bool, kind in select(vec![Kind::Auth, Kind::Auth, Kind::Account, Kind::Session])) {
        let word = if substack { "substack" } else { "include" };
        let text = |lines: &[String]| lines.join("\n").replace("KIND", &kind.to_string());
        let sshd = format!("{}\n{kind} {word} in\n{}", text(&before), text(&after));
        let inner = text(&inner);
        let stack = Stack::read("sshd", kind, &folder(&[("sshd", &sshd), ("in", &inner), ("other", "")])).unwrap();
        let found = stack.judge_runs().unwrap();

        let modules: Vec<&Module> = stack.modules().collect();
        let answers: Vec<Vec<Code>> = modules.iter().map(|module| possible(module)).collect();
        let index_of = |module: &Module| modules.iter().position(|other| std::ptr::eq(*other, module)).unwrap();
        let (mut all, mut some, mut overridden, mut unproved, mut ignorable) = (true, false, false, false, false);
        let (mut any_of_ours, mut open) = (false, false);
        let mut done = HashSet::new();
        for mut n in 0..answers.iter().map(Vec::len).product() {
            let codes: Vec<Code> = answers.iter().map(|codes| { let code = codes[n % codes.len()]; n /= codes.len(); code }).collect();
            let outcome = stack.run(&mut |module| codes[index_of(module)]);
            let called: Vec<usize> = outcome.called.iter().map(|module| index_of(module)).collect();
            if !done.insert(called.iter().map(|at| (*at, codes[*at])).collect::<Vec<_>>()) {
                continue;
            }
            let ours: Vec<Code> = called.iter().filter(|at| modules[**at].is_ours()).map(|at| codes[*at]).collect();
            let (mut proved, mut nonsense) = (false, false);
            for at in &called {
                any_of_ours |= modules[*at].is_ours();
                unproved |= modules[*at].is_ours() && !proved && !nonsense;
                let first_factor = matches!(modules[*at].path.as_str(), "pam_sss.so" | "pam_krb5.so");
                proved |= first_factor && matches!(codes[*at], SUCCESS | NEW_AUTHTOK_REQD);
                nonsense |= codes[*at] < 0;
            }
            if kind.lets_in(outcome.result) {
                all &= !ours.is_empty();
                some |= !ours.is_empty();
                overridden |= ours.iter().any(|code| !matches!(*code, SUCCESS | IGNORE));
                ignorable |= !ours.is_empty() && ours.iter().all(|code| *code == IGNORE);
                open |= ours.iter().all(|code| *code == IGNORE) && !proved;
            }
        }
        prop_assert_eq!(found.reached == Reached::Always, all && some, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.reached == Reached::Never, !some, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.overridden.is_some(), overridden, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.unproved.is_some(), unproved && kind == Kind::Auth, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.ignorable, ignorable, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.called, any_of_ours, "{}\n--\n{}", sshd, inner);
        prop_assert_eq!(found.open.is_some(), open && kind == Kind::Auth, "{}\n--\n{}", sshd, inner);

        // And the verdicts from it, if account and session are right.
        if kind == Kind::Auth {
            let texts = [("sshd", format!("{sshd}\naccount required pam_mfa.so\nsession required pam_mfa.so")), ("in", inner.clone()), ("other", String::new())];
            let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
            prop_assert_eq!(truth("sshd", &folder(&files)).is_ok(), any_of_ours && !unproved, "{}\n--\n{}", sshd, inner);
            prop_assert_eq!(hand_over("sshd", &folder(&files)).is_ok(), ignorable && !open, "{}\n--\n{}", sshd, inner);
        }

        // The example paths are real.
        let replay = |path: &Path| {
            let mut steps = path.0.iter();
            let outcome = stack.run(&mut |module| {
                let step = steps.next().unwrap();
                assert_eq!((&step.file, step.number), (&module.file, module.number));
                step.code
            });
            assert!(kind.lets_in(outcome.result));
            outcome.called.iter().any(|module| module.is_ours())
        };
        if let Reached::Sometimes(path) = &found.reached {
            prop_assert!(!replay(path));
        }
        if let Some(path) = &found.overridden {
            prop_assert!(replay(path));
        }
        if let Some(path) = &found.open {
            replay(path);
        }
        if let Some(path) = &found.unproved {
            let mut steps = path.0.iter();
            let outcome = stack.run(&mut |_| steps.next().map_or(INCOMPLETE, |step| step.code));
            prop_assert_eq!(outcome.called.len(), path.0.len() + 1);
            prop_assert!(outcome.called.last().unwrap().is_ours());
        }
    }
}

/// Some of the codes of each sort that a module may return.
fn possible(module: &Module) -> Vec<Code> {
    const USER_UNKNOWN: Code = 10;
    const AUTH_ERR: Code = 7;
    match module.path.as_str() {
        "pam_deny.so" => vec![AUTH_ERR, USER_UNKNOWN, 3, -1],
        "pam_mfa.so" => vec![SUCCESS, IGNORE, AUTH_ERR, USER_UNKNOWN, 3, -1],
        _ => vec![SUCCESS, IGNORE, NEW_AUTHTOK_REQD, AUTH_ERR, USER_UNKNOWN, 3, -1],
    }
}
