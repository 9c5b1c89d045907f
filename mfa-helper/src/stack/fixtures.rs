//! Stacks as distributions and administrators write them, with our lines: in which of them `stack=complete` is true,
//! which allow a hand-over, and which neither.

use super::tests::folder;
use super::*;

const UNTRUE: &str = "is reached without a first factor that succeeded: ";
const OPEN: &str = "auth lets in without a first factor: ";
const NOBODY: &str = "auth lets in nobody whom pam_mfa.so leaves to account";

const ACCOUNT: &str = "account required pam_mfa.so\naccount required pam_unix.so\n";
const SESSION: &str = "session required pam_unix.so\nsession optional pam_mfa.so\n";

type Texts<'a> = &'a [(&'a str, &'a str)];

/// Both are true: on every path to our line a first factor has succeeded.
#[track_caller]
fn complete(service: &str, files: Texts) {
    assert_eq!(truth(service, &folder(files)), Ok(()));
    assert_eq!(hand_over(service, &folder(files)), Ok(()));
}

/// Our line is also called after a wrong password, so `stack=complete` is not true. But after a wrong password, such
/// a stack lets nobody in, whatever we return, and account is never entered.
#[track_caller]
fn hands_over_alone(service: &str, files: Texts) {
    let why = truth(service, &folder(files)).unwrap_err();
    assert!(why.contains(UNTRUE), "{why}");
    assert_eq!(hand_over(service, &folder(files)), Ok(()));
}

/// The verdicts on a service with this `auth`, and with right account and session lines.
#[track_caller]
fn verdicts(service: &str, auth: &str) -> (Result<(), String>, Result<(), String>) {
    let text = format!("{auth}\n{ACCOUNT}{SESSION}");
    let files = [(service, text.as_str())];
    (truth(service, &folder(&files)), hand_over(service, &folder(&files)))
}

/// Neither is true; the reasons begin like this.
#[track_caller]
fn bad(service: &str, auth: &str, untrue: &str, no_hand_over: &str) {
    let (truth, hand_over) = verdicts(service, auth);
    for (said, wanted) in [(truth, untrue), (hand_over, no_hand_over)] {
        let why = said.expect_err(auth);
        assert!(why.contains(wanted), "{auth}\n{why}\n{wanted}");
    }
}

const DEBIAN_ACCOUNT: &str = "\
account	required	pam_mfa.so
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
account	sufficient			pam_localuser.so
account	[default=bad success=ok user_unknown=ignore]	pam_sss.so
account	required			pam_krb5.so minimum_uid=1000
";

const DEBIAN_SESSION: &str = "\
session	[default=1]			pam_permit.so
session	requisite			pam_deny.so
session	required			pam_permit.so
session	optional	pam_mfa.so
session	optional			pam_krb5.so minimum_uid=1000
session	required	pam_unix.so
session	optional			pam_sss.so
session	optional	pam_systemd.so
";

const DEBIAN_SSHD: &str = "\
@include common-auth
account    required     pam_nologin.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    required     pam_loginuid.so
session    optional     pam_keyinit.so force revoke
@include common-session
session    optional     pam_motd.so  motd=/run/motd.dynamic
session    optional     pam_mail.so standard noenv
session    required     pam_limits.so
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so open
@include common-password
";

const DEBIAN_LOGIN: &str = "\
auth       optional   pam_faildelay.so  delay=3000000
auth       requisite  pam_nologin.so
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
session    required     pam_loginuid.so
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so open
session       required   pam_env.so readenv=1
@include common-auth
auth       optional   pam_group.so
session    required   pam_limits.so
session    optional   pam_lastlog.so
@include common-account
@include common-session
@include common-password
";

const DEBIAN_SU: &str = "\
auth       sufficient pam_rootok.so
session       required   pam_env.so readenv=1
session    optional   pam_mail.so nopen
session    required   pam_limits.so
@include common-auth
@include common-account
@include common-session
";

const DEBIAN_SUDO: &str = "\
session    required   pam_limits.so
@include common-auth
@include common-account
@include common-session-noninteractive
";

/// Checks with the auth block that pam-auth-update writes around these primary lines.
fn on_debian(primary: &str, check: fn(&str, Texts)) {
    let auth = format!(
        "{primary}auth	requisite			pam_deny.so\nauth	required			pam_permit.so\n\
         auth	required	pam_mfa.so stack=complete\nauth	optional			pam_cap.so\n"
    );
    for (service, text) in [("sshd", DEBIAN_SSHD), ("login", DEBIAN_LOGIN), ("su", DEBIAN_SU), ("sudo", DEBIAN_SUDO)] {
        let files = [
            (service, text),
            ("common-auth", &auth),
            ("common-account", DEBIAN_ACCOUNT),
            ("common-session", DEBIAN_SESSION),
            ("common-session-noninteractive", DEBIAN_SESSION),
            ("common-password", ""),
        ];
        check(service, &files);
    }
}

#[test]
fn what_pam_auth_update_writes_is_complete() {
    let unix = "auth	[success=1 default=ignore]	pam_unix.so nullok\n";
    let sss = "auth	[success=2 default=ignore]	pam_unix.so nullok\nauth	[success=1 default=ignore]	pam_sss.so use_first_pass\n";
    let krb5 = "auth	[success=2 default=ignore]	pam_krb5.so minimum_uid=1000\n\
                auth	[success=1 default=ignore]	pam_unix.so nullok try_first_pass\n";
    let homed = "auth	[success=2 default=ignore]	pam_systemd_home.so\n\
                 auth	[success=1 default=ignore]	pam_unix.so nullok try_first_pass\n";
    let faillock = "auth	requisite	pam_faillock.so preauth\n\
                    auth	[success=2 default=ignore]	pam_unix.so nullok\n\
                    auth	[default=die]	pam_faillock.so authfail\n";
    for primary in [unix, sss, krb5, homed, faillock] {
        on_debian(primary, complete);
    }
}

/// pam_faillock(8) puts `authsucc` after the password. If it is `required`, our line comes after it; if it is
/// `sufficient`, it ends the stack, so our line must come before it.
#[test]
fn faillock_with_authsucc_is_complete() {
    let unix = "auth required pam_faillock.so preauth\nauth [success=1 default=bad] pam_unix.so\n\
                auth [default=die] pam_faillock.so authfail\n";
    for behind in [
        "auth required pam_faillock.so authsucc\nauth required pam_mfa.so",
        "auth required pam_mfa.so\nauth sufficient pam_faillock.so authsucc\nauth required pam_deny.so",
    ] {
        assert_eq!(verdicts("sshd", &format!("{unix}{behind}")), (Ok(()), Ok(())), "{behind}");
    }
    let behind = "auth sufficient pam_faillock.so authsucc\nauth required pam_deny.so\nauth required pam_mfa.so";
    assert!(verdicts("sshd", &format!("{unix}{behind}")).1.unwrap_err().contains(NOBODY));
    // pam-auth-update's block with the same line, which ends all of common-auth.
    let primary = "auth	[success=1 default=ignore]	pam_unix.so nullok\n\
                   auth	[default=die]	pam_faillock.so authfail\n\
                   auth	sufficient	pam_faillock.so authsucc\n";
    on_debian(primary, |service, files| {
        assert!(hand_over(service, &folder(files)).unwrap_err().contains(NOBODY));
    });
}

/// The first factors of authselect's profiles, each as a `sufficient` line, with and without faillock.
fn authselect() -> Vec<String> {
    let local = "auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
                 auth [default=1 ignore=ignore success=ok] pam_localuser.so\n";
    let sssd = format!(
        "{local}auth sufficient pam_unix.so nullok\n\
         auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\nauth sufficient pam_sss.so forward_pass\n"
    );
    let winbind = format!(
        "{local}auth sufficient pam_unix.so nullok\n\
         auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
         auth sufficient pam_winbind.so krb5_auth krb5_ccache_type=KEYRING use_first_pass\n"
    );
    let fprintd = format!("auth sufficient pam_fprintd.so\n{sssd}");
    let local_only = String::from("auth sufficient pam_unix.so nullok\n");
    [sssd, winbind, fprintd, local_only].into_iter().collect()
}

fn in_front(faillock: bool) -> String {
    let preauth = if faillock { "auth required pam_faillock.so preauth silent\n" } else { "" };
    format!("auth required pam_env.so\nauth required pam_faildelay.so delay=2000000\n{preauth}")
}

pub(super) const AUTHSELECT_ACCOUNT: &str = "\
account     required                                     pam_unix.so
account     sufficient                                   pam_localuser.so
account     sufficient                                   pam_usertype.so issystem
account     [default=bad success=ok user_unknown=ignore] pam_sss.so
account     required                                     pam_permit.so
";

const AUTHSELECT_SESSION: &str = "\
session     optional                                     pam_keyinit.so revoke
session     required                                     pam_limits.so
-session    optional                                     pam_systemd.so
session     optional                                     pam_oddjob_mkhomedir.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
session     required                                     pam_unix.so
session     optional                                     pam_sss.so
";

const POSTLOGIN: &str = "\
session optional                   pam_umask.so silent
session [success=1 default=ignore] pam_succeed_if.so service !~ gdm* service !~ su* quiet
session [default=1]                pam_lastlog.so nowtmp showfailed
session optional                   pam_lastlog.so silent noupdate showfailed
";

/// Our line after `auth substack password-auth`: that file ends with a required pam_deny, which ends only the
/// substack, and libpam goes on to our line after a wrong password too (measured). By then the stack has already
/// failed.
#[test]
fn authselects_own_files_hand_over_with_our_lines_in_sshds() {
    let sshd = "auth substack password-auth\nauth include postlogin\nauth required pam_mfa.so stack=complete\n\
                account required pam_mfa.so\naccount required pam_sepermit.so\naccount required pam_nologin.so\n\
                account include password-auth\npassword include password-auth\n\
                session required pam_selinux.so close\nsession required pam_loginuid.so\n\
                session required pam_selinux.so open env_params\nsession required pam_namespace.so\n\
                session optional pam_keyinit.so force revoke\nsession optional pam_motd.so\n\
                session include password-auth\nsession include postlogin\nsession optional pam_mfa.so\n";
    for factors in authselect() {
        for faillock in [true, false] {
            let authfail = if faillock { "auth required pam_faillock.so authfail\n" } else { "" };
            let shared = format!(
                "{}{factors}{authfail}auth required pam_deny.so\n{AUTHSELECT_ACCOUNT}{AUTHSELECT_SESSION}",
                in_front(faillock)
            );
            hands_over_alone("sshd", &[("sshd", sshd), ("password-auth", &shared), ("postlogin", POSTLOGIN)]);
            // sudo uses include: there, the first factor that succeeds ends the whole stack.
            let sudo = "auth include system-auth\nauth required pam_mfa.so stack=complete\n\
                        account required pam_mfa.so\naccount include system-auth\n\
                        session include system-auth\nsession optional pam_mfa.so\n";
            let files = [("sudo", sudo), ("system-auth", &shared)];
            assert!(truth("sudo", &folder(&files)).is_err());
            assert!(hand_over("sudo", &folder(&files)).unwrap_err().contains(NOBODY));
        }
    }
}

/// A custom profile in which each `sufficient` is a jump over a requisite pam_deny, and our line comes after that.
/// Then our line is called only after a first factor, with substack and with include.
#[test]
fn a_custom_profile_of_authselect_is_complete() {
    for factors in authselect() {
        for faillock in [true, false] {
            let before = format!("{}{factors}", in_front(faillock));
            let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
            lines.extend(faillock.then(|| String::from("auth required pam_faillock.so authfail")));
            lines.push(String::from("auth requisite pam_deny.so"));
            let end = lines.len();
            for (at, line) in lines.iter_mut().enumerate() {
                let jump = format!("[success={} default=ignore]", end - at - 1);
                *line = line.replace("sufficient", &jump);
            }
            let shared = format!(
                "{}\nauth required pam_mfa.so stack=complete\n\
                 account required pam_mfa.so\n{AUTHSELECT_ACCOUNT}{AUTHSELECT_SESSION}session optional pam_mfa.so\n",
                lines.join("\n")
            );
            for word in ["substack", "include"] {
                let service = format!(
                    "auth {word} password-auth\nauth include postlogin\naccount required pam_nologin.so\n\
                     account include password-auth\nsession required pam_loginuid.so\nsession include password-auth\n\
                     session include postlogin\n"
                );
                complete("sshd", &[("sshd", &service), ("password-auth", &shared), ("postlogin", POSTLOGIN)]);
            }
        }
    }
}

/// The system-auth of Arch Linux (pambase), with our lines.
pub(super) const ARCH_SYSTEM_AUTH: &str = "\
auth       required                    pam_faillock.so      preauth
-auth      [success=2 default=ignore]  pam_systemd_home.so
auth       [success=1 default=bad]     pam_unix.so          try_first_pass nullok
auth       [default=die]               pam_faillock.so      authfail
auth       optional                    pam_permit.so
auth       required                    pam_env.so
auth       required                    pam_faillock.so      authsucc
auth       required                    pam_mfa.so           stack=complete
account    required                    pam_mfa.so
-account   [success=1 default=ignore]  pam_systemd_home.so
account    required                    pam_unix.so
account    optional                    pam_permit.so
account    required                    pam_time.so
-session   optional                    pam_systemd_home.so
session    required                    pam_limits.so
session    required                    pam_unix.so
session    optional                    pam_permit.so
session    optional                    pam_mfa.so
";

pub(super) const ARCH_SYSTEM_LOGIN: &str = "\
auth       required   pam_shells.so
auth       requisite  pam_nologin.so
auth       include    system-auth
account    required   pam_access.so
account    required   pam_nologin.so
account    include    system-auth
session    optional   pam_loginuid.so
session    optional   pam_keyinit.so       force revoke
session    include    system-auth
session    optional   pam_motd.so
session    optional   pam_mail.so          dir=/var/spool/mail standard quiet
session    optional   pam_umask.so
-session   optional   pam_systemd.so
session    required   pam_env.so
";

pub(super) const ARCH_REMOTE: &str =
    "auth include system-login\naccount include system-login\nsession include system-login";

#[test]
fn arch_with_our_lines_in_system_auth_is_complete() {
    let su = "auth sufficient pam_rootok.so\nauth required pam_unix.so\nauth required pam_mfa.so\n\
              account required pam_mfa.so\naccount required pam_unix.so\nsession required pam_unix.so\n\
              session optional pam_mfa.so\n";
    let files = [("system-login", ARCH_SYSTEM_LOGIN), ("system-auth", ARCH_SYSTEM_AUTH)];
    for service in ["sshd", "login"] {
        complete(service, &[&files[..], &[(service, ARCH_REMOTE)]].concat());
    }
    complete("sudo", &[("sudo", &ARCH_REMOTE.replace("login", "auth")), files[1]]);
    hands_over_alone("su", &[("su", su)]);
}

/// A first factor that fails before another one succeeds does no harm.
#[test]
fn a_required_password_hands_over_and_is_not_complete() {
    for auth in [
        "auth required pam_unix.so\nauth required pam_mfa.so",
        "auth required pam_unix.so\nauth required pam_sss.so\nauth required pam_mfa.so",
        "auth required pam_mfa.so\nauth required pam_unix.so",
        "auth required pam_mfa.so\nauth requisite pam_unix.so",
        // The code instead of the password; a user without a device is asked for the password in any case.
        "auth sufficient pam_mfa.so\nauth required pam_unix.so",
    ] {
        let (truth, hand_over) = verdicts("sshd", auth);
        assert!(truth.unwrap_err().contains(UNTRUE), "{auth}");
        assert_eq!(hand_over, Ok(()), "{auth}");
    }
    for auth in [
        "auth [success=1 default=bad] pam_unix.so\nauth requisite pam_sss.so ignore_unknown_user=no\n",
        "auth [success=2 default=ignore] pam_unix.so\nauth [success=1 default=die] pam_sss.so\nauth requisite pam_deny.so\n",
        // The right password, which must be changed.
        "auth [success=2 new_authtok_reqd=2 default=ignore] pam_krb5.so\n\
         auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n",
    ] {
        let auth = format!("{auth}auth required pam_mfa.so\nauth required pam_permit.so");
        // `requisite pam_sss` lets an ignored user continue; that is a path of its own.
        let (truth, hand_over) =
            verdicts("sshd", &auth.replace("requisite pam_sss", "[success=ok default=die] pam_sss"));
        assert_eq!((truth, hand_over), (Ok(()), Ok(())), "{auth}");
    }
}

#[test]
fn the_path_is_in_words() {
    let said = |auth: &str| verdicts("sshd", auth).0.unwrap_err();
    assert_eq!(
        said("auth required pam_mfa.so\nauth required pam_unix.so"),
        "sshd: pam_mfa.so is reached without a first factor that succeeded: it is the first line"
    );
    assert_eq!(
        said("auth required pam_unix.so\nauth required pam_mfa.so"),
        "sshd: pam_mfa.so is reached without a first factor that succeeded: pam_unix.so (/etc/pam.d/sshd:1) says auth_err"
    );
    assert_eq!(said("auth required pam_unix.so"), "sshd: no auth line of pam_mfa.so is reached");
    assert!(truth("sshd", &folder(&[])).unwrap_err().contains("neither"));
    assert!(hand_over("sshd", &folder(&[])).unwrap_err().contains("neither"));
}

#[test]
fn our_line_in_the_wrong_place_is_neither() {
    // Between the password and pam_deny, as the last alternative: reached after a wrong password.
    bad(
        "sshd",
        "auth [success=1 default=ignore] pam_unix.so\nauth required pam_mfa.so\nauth requisite pam_deny.so\nauth required pam_permit.so",
        UNTRUE,
        NOBODY,
    );
    bad(
        "sshd",
        "auth [success=2 default=ignore] pam_unix.so\nauth required pam_mfa.so\nauth requisite pam_deny.so\nauth required pam_permit.so",
        UNTRUE,
        NOBODY,
    );
    bad(
        "sshd",
        "auth [success=2 default=ignore] pam_unix.so\nauth [success=1 default=ignore] pam_mfa.so\nauth requisite pam_deny.so\nauth required pam_permit.so",
        UNTRUE,
        NOBODY,
    );
    // After a line that ends the stack.
    bad("sshd", "auth sufficient pam_unix.so\nauth required pam_mfa.so", UNTRUE, NOBODY);
    bad("sshd", "auth sufficient pam_unix.so\nauth sufficient pam_mfa.so\nauth required pam_deny.so", UNTRUE, NOBODY);
    bad(
        "sshd",
        "auth sufficient pam_unix.so\nauth sufficient pam_sss.so\nauth required pam_mfa.so\nauth required pam_permit.so",
        UNTRUE,
        OPEN,
    );
    bad("sshd", "auth sufficient pam_unix.so\nauth required pam_deny.so\nauth required pam_mfa.so", UNTRUE, NOBODY);
    // Without other modules.
    bad("sshd", "auth required pam_mfa.so", UNTRUE, NOBODY);
    bad("sshd", "auth required pam_mfa.so\nauth required pam_permit.so", UNTRUE, OPEN);
    bad("sshd", "auth required pam_permit.so\nauth required pam_mfa.so", UNTRUE, OPEN);
    bad("sshd", "auth optional pam_unix.so\nauth required pam_mfa.so\nauth required pam_permit.so", UNTRUE, OPEN);
    bad(
        "sshd",
        "auth optional pam_unix.so\nauth optional pam_sss.so\nauth required pam_mfa.so\nauth optional pam_permit.so",
        UNTRUE,
        OPEN,
    );
    // A failure that a later line takes back.
    bad(
        "sshd",
        "auth required pam_unix.so\nauth [default=reset] pam_echo.so\nauth required pam_mfa.so\nauth required pam_permit.so",
        UNTRUE,
        OPEN,
    );
    // Two lines of ours, one of them too early.
    bad(
        "sshd",
        "auth required pam_mfa.so\nauth optional pam_unix.so\nauth required pam_mfa.so\nauth required pam_permit.so",
        UNTRUE,
        OPEN,
    );
}

/// Modules whose success is no proof, in place of a first factor, and as a way around it.
#[test]
fn no_module_that_proves_nothing_is_a_first_factor() {
    for module in [
        "pam_rootok.so",
        "pam_succeed_if.so user ingroup wheel",
        "pam_localuser.so",
        "pam_timestamp.so",
        "pam_exec.so /usr/local/sbin/ask",
        "pam_permit.so",
        "pam_wheel.so trust use_uid",
        "pam_listfile.so item=user sense=allow file=/etc/nopass",
        "pam_rhosts.so",
        "pam_access.so",
        "pam_faillock.so authsucc",
        "pam_env.so",
        "pam_gdm.so",
        "pam_systemd_loadkey.so",
        "pam_fscrypt.so",
        "pam_abl.so",
        "pam_alreadyloggedin.so no_root",
        "pam_captcha.so",
        "pam_chroot.so",
        "pam_console.so",
        "pam_geoip.so",
        "pam_gnupg.so",
        "pam_krb5_migrate_heimdal.so",
        "pam_krb5_migrate_mit.so",
        "pam_lua.so /etc/security/ask.lua",
        "pam_mktemp.so",
        "pam_perl.so /etc/security/ask.pl",
        "pam_postgresok.so",
        "pam_rhosts_auth.so",
        "pam_shield.so",
        "pam_ssh_add.so",
        "pam_stack.so service=system-auth",
        "pam_tmpdir.so",
        "pam_vbox.so",
        "pam_zfs_key.so",
        "pam_u2f.so nouserok cue",
        "pam_u2f.so alwaysok",
        "pam_yubico.so id=1 alwaysok",
        "./pam_mfa.so",
    ] {
        let instead = format!("auth requisite {module}\nauth required pam_mfa.so\nauth required pam_permit.so");
        bad("sshd", &instead, UNTRUE, OPEN);
        let jump = format!(
            "auth [success=1 default=ignore] {module}\nauth requisite pam_unix.so\n\
             auth required pam_mfa.so\nauth required pam_permit.so"
        );
        bad("sshd", &jump, UNTRUE, OPEN);
        // Past our line as well: a user who must bind a device would bind it without a first factor.
        let sufficient = format!("auth sufficient {module}\nauth requisite pam_unix.so\nauth required pam_mfa.so");
        let (truth, hand_over) = verdicts("sshd", &sufficient);
        assert_eq!(truth, Ok(()), "{sufficient}");
        assert!(hand_over.unwrap_err().contains(OPEN), "{sufficient}");
        for word in ["include", "substack"] {
            let files = [
                (
                    "sshd",
                    format!(
                        "auth {word} in\nauth required pam_mfa.so\nauth required pam_permit.so\n{ACCOUNT}{SESSION}"
                    ),
                ),
                ("in", format!("auth sufficient {module}\nauth requisite pam_unix.so")),
            ];
            let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            assert!(hand_over_of(&files).contains(OPEN), "{word} {module}");
            assert_eq!(super::truth("sshd", &folder(&files)).is_err(), word == "substack", "{module}");
        }
    }
}

fn hand_over_of(files: Texts) -> String {
    hand_over("sshd", &folder(files)).unwrap_err()
}

/// su keeps the real uid of its caller, so pam_rootok lets in only root, who could become any user without it. In
/// sshd, login and sudo the real uid is always root's.
#[test]
fn pam_rootok_is_for_root_where_the_program_has_the_uid_of_its_caller() {
    let auth = "auth sufficient pam_rootok.so\nauth requisite pam_unix.so\nauth required pam_mfa.so";
    for service in ["su", "su-l", "SU"] {
        let text = format!("{auth}\n{ACCOUNT}{SESSION}");
        complete(service, &[("su", &text), ("su-l", &text)]);
    }
    for service in ["sshd", "login", "sudo", "sudo-i", "polkit-1", "cockpit"] {
        assert!(verdicts(service, auth).1.unwrap_err().contains(OPEN), "{service}");
    }
    // A second way in is a way in for everybody.
    let auth = "auth sufficient pam_rootok.so\nauth sufficient pam_wheel.so trust\nauth requisite pam_unix.so\nauth required pam_mfa.so";
    assert!(verdicts("su", auth).1.unwrap_err().contains(OPEN));
}

/// config/pam.d/mfa-sshd-key: a login with key and code.
#[test]
fn a_key_that_sshd_has_accepted_is_a_first_factor_of_sshd() {
    let key = r#"auth requisite pam_exec.so quiet /bin/sh -c [case "$SSH_AUTH_INFO_0" in "publickey "*) exit 0;; esac; exit 1]"#;
    let auth = format!("{key}\nauth required pam_mfa.so stack=complete\nauth required pam_permit.so");
    assert_eq!(verdicts("sshd", &auth), (Ok(()), Ok(())));
    bad("login", &auth, UNTRUE, OPEN);
}

#[test]
fn a_hand_over_takes_our_account_line_and_our_session_line() {
    let auth = "auth requisite pam_unix.so\nauth required pam_mfa.so\n";
    let said = |account: &str, session: &str| {
        let text = format!("{auth}{account}{session}");
        hand_over("sshd", &folder(&[("sshd", &text), ("other", "")]))
    };
    assert_eq!(said(ACCOUNT, SESSION), Ok(()));
    assert!(said("account required pam_unix.so\n", SESSION).unwrap_err().contains("no account line"));
    assert!(
        said("account optional pam_mfa.so\naccount required pam_unix.so\n", SESSION).unwrap_err().contains("although")
    );
    for session in ["session required pam_unix.so", "session optional pam_mfa.so\nsession requisite pam_deny.so", ""] {
        let why = said(ACCOUNT, session).unwrap_err();
        assert!(why.contains("no session line of pam_mfa.so is on a path that opens a session"), "{why}");
    }
    for (before, module) in [
        ("sufficient", "pam_systemd.so"),
        ("[success=1 default=ignore]", "pam_succeed_if.so service in crond quiet use_uid"),
    ] {
        let session = format!("session {before} {module}\nsession optional pam_mfa.so\nsession required pam_unix.so");
        let why = said(ACCOUNT, &session).unwrap_err();
        assert!(why.contains(&format!("sshd: a session opens without pam_mfa.so: {}", &module[..8])), "{why}");
    }
    // The result of our session line does not matter.
    for control in ["required", "requisite", "sufficient", "optional", "[default=ignore]"] {
        let session = format!("session {control} pam_mfa.so\nsession required pam_unix.so");
        assert_eq!(said(ACCOUNT, &session), Ok(()), "{control}");
    }
    // An error in any of the three types makes the verdict "no".
    for kind in ["auth", "account", "session"] {
        let why = said(ACCOUNT, &format!("{SESSION}{kind} nonsense pam_x.so")).unwrap_err();
        assert!(why.contains("not understood"), "{why}");
    }
}

#[test]
fn an_empty_password_is_taken_where_a_line_that_is_reached_may_take_it() {
    let takes = |auth: &str| takes_empty("sshd", &folder(&[("sshd", auth)]));
    for unix in ["pam_unix.so", "pam_unix.so try_first_pass", "/lib/security/pam_unix.so nodelay"] {
        for around in [
            "auth requisite UNIX",
            "auth requisite pam_env.so\nauth sufficient UNIX\nauth required pam_sss.so\nauth required pam_mfa.so",
        ] {
            assert!(!takes(&around.replace("UNIX", unix)), "{unix} {around}");
            for word in ["nullok", "nullok_secure", "nullokay", "[nullok]", "NULLOK"] {
                assert!(takes(&around.replace("UNIX", &format!("{unix} {word}"))), "{unix} {word} {around}");
            }
        }
    }
    assert!(takes("auth required pam_sss.so permit_empty_passwords"));
    assert!(takes("auth required pam_unheard_of.so"));
    assert!(takes("auth required pam_unix.so\nauth optional pam_unix2.so"));
    // These words on our line do not count. On a module that proves nothing they do: a wrong yes is the safe error.
    assert!(!takes("auth required pam_mfa.so nullok\nauth required pam_unix.so"));
    // It cannot be reached.
    assert!(!takes("auth requisite pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so"));
    // In an included file, behind a jump, in a substack.
    let files = [
        ("sshd", "auth [success=1 default=ignore] pam_env.so\nauth substack in\nauth required pam_mfa.so"),
        ("in", "auth sufficient pam_unix.so nullok"),
    ];
    assert!(takes_empty("sshd", &folder(&files)));
    // If it cannot be read, the answer is yes.
    assert!(takes_empty("sshd", &folder(&[])));
    assert!(takes_empty("sshd", &folder(&[("sshd", "auth nonsense pam_unix.so")])));
    assert!(takes_empty("sshd", &folder(&[("sshd", "!it belongs to uid 7")])));
}
