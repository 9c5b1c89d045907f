//! `mfa-enroll doctor`: silent on a sound machine; each fault that is planted is found, and is gone when what it printed
//! has been typed.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;
#[path = "doctor/sound.rs"]
mod sound;

use std::collections::BTreeSet;

use e2e::{Machine, oath::Codes};
use serde_json::Value;

/// Set up as README.md says, with one user who has a device (alice) and one who has none (bob).
fn sound() -> Machine {
    let machine = Machine::build().package().sshd("PasswordAuthentication no").boot();
    let machine = common::enabled(machine);
    for name in ["alice", "bob"] {
        machine.user(name, &format!("Geheim-{name}-9!"));
    }
    bind(&machine, "alice");
    machine.sh_ok("cp -p /etc/ssh/sshd_config.d/00-test.conf /root");
    machine
}

fn bind(machine: &Machine, user: &str) -> Codes {
    let json = machine.sh_ok(&format!("mfa-enroll totp --user {user} --json"));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let codes = Codes::now(json["secret"].as_str().expect("a key"));
    machine.sh_ok(&format!("mfa-enroll confirm --user {user} {} {}", codes.previous, codes.present));
    codes
}

/// Whoever has a device comes in by ssh with the password and a code, and not with the password and a wrong one.
fn a_code_decides(machine: &Machine, after: &str) {
    machine.sh_ok("mfa-enroll disable --user alice");
    let codes = bind(machine, "alice");
    let ssh = "exec ssh -o PreferredAuthentications=keyboard-interactive alice@localhost";
    let mut t = machine.terminal().user("visitor").run(ssh);
    let wrong = if codes.next == "123456" { "123457" } else { "123456" };
    for code in [wrong, &codes.next] {
        t.wait_for("(alice@localhost) Password: ");
        t.type_line("Geheim-alice-9!");
        t.wait_for(common::CODE);
        t.type_line(code);
    }
    t.wait_for("$ ");
    assert_eq!(t.text().matches(common::CODE).count(), 2, "after `{after}`:\n{}", t.screen());
    t.type_line("exit");
    assert_eq!(t.exit_code(), 0, "after `{after}`");
}

/// Exit code and findings.
fn doctor(machine: &Machine) -> (i32, Vec<Value>) {
    let told = machine.sh("mfa-enroll doctor --json");
    let findings = serde_json::from_str(&told.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {told}"));
    (told.code, findings)
}

#[test]
fn nothing_is_found_on_a_sound_machine() {
    let machine = sound();
    let told = machine.sh("mfa-enroll doctor");
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (0, "", "Nothing found.\n"), "{told}");
    assert_eq!(doctor(&machine), (0, vec![]));
    // A robot that a rule exempts needs no password in sudo.
    common::rule(&machine, "10-robot", "users = [\"bob\"]\nrequire = \"off\"\n");
    machine.sh_ok("echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob");
    // Its unit makes that folder, and has not run since the boot.
    machine.sh_ok("systemctl stop ssh; rm -rf /run/sshd");
    assert_eq!(doctor(&machine), (0, vec![]));
    // It is root's.
    let told = machine.sh("runuser --user alice -- mfa-enroll doctor");
    assert_eq!((told.code, told.stdout.as_str()), (1, ""), "{told}");
}

/// Whom sshd locks out is known only while the folder of its unit is there.
#[test]
fn a_user_who_is_locked_out_is_found_before_sshd_was_started() {
    let machine = sound();
    common::rule(&machine, "10-bob", "users = [\"bob\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n");
    machine.sh_ok("systemctl stop ssh; rm -rf /run/sshd");
    let first = doctor(&machine);
    let locked_out = found(&first.1, "locked-out").unwrap_or_else(|| panic!("{first:?}"));
    let remedy = locked_out["remedy"].as_str().expect("a remedy");
    assert!(remedy.ends_with("; a robot: a rule before it, with users = [\"NAME\"] and require = \"off\""), "{remedy}");
    assert_eq!(doctor(&machine), first, "by the second run nothing more is known");
}

/// The documented way to a key and a code, without a password.
#[test]
fn nothing_is_found_where_sshd_asks_for_a_key_and_a_code() {
    let machine = sound();
    machine.sh_ok(
        "cd /usr/share/doc/libpam-mfa/examples
         cp 10-mfa-key.conf /etc/ssh/sshd_config.d/
         cp mfa-sshd-key /etc/pam.d/
         sed -i 's/^@include common-auth$/@include mfa-sshd-key/' /etc/pam.d/sshd
         sshd -t && systemctl reload ssh",
    );
    assert_eq!(doctor(&machine), (0, vec![]));
    machine.sh_ok("sed -i 's/requisite/required/' /etc/pam.d/mfa-sshd-key");
    let (code, findings) = doctor(&machine);
    assert_eq!((code, findings.len(), findings[0]["id"].as_str()), (7, 1, Some("pam-stack-complete-untrue")));
}

/// By its id alone, the second would be hidden with the first.
#[test]
fn what_is_ignored_is_counted_and_a_second_one_is_told() {
    let machine = sound();
    machine.sh_ok("echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/robot");
    let told = machine.sh("mfa-enroll doctor --ignore sudoers-nopaswd");
    assert!(told.code == 3 && told.stderr.contains("The nearest is sudoers-nopasswd."), "{told}");
    assert_eq!(machine.sh("mfa-enroll doctor").code, 6, "nothing was written");
    let told = machine.sh("mfa-enroll doctor --ignore sudoers-nopasswd");
    let said = (told.code, told.stdout.as_str(), told.stderr.as_str());
    assert_eq!(said, (0, "ignored: sudoers-nopasswd (1)\n", "Nothing else found.\n"), "{told}");
    let (code, findings) = doctor(&machine);
    assert_eq!((code, findings.len(), findings[0]["ignored"].as_bool()), (0, 1, Some(true)), "{findings:?}");
    machine.sh_ok("echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/second");
    let told = machine.sh("mfa-enroll doctor");
    assert!(told.code == 6 && told.stdout.contains("/etc/sudoers.d/second:1"), "{told}");
    assert!(told.stdout.ends_with("ignored: sudoers-nopasswd (1)\n"), "{told}");
    // Whoever else could write it could hide a way in.
    machine.sh_ok("chmod 666 /etc/mfa/doctor.ignore");
    let told = machine.sh("mfa-enroll doctor");
    let both = ["ignore-file-unusable", "/etc/sudoers.d/robot:1"].iter().all(|text| told.stdout.contains(text));
    assert!(told.code == 6 && both, "{told}");
}

/// How the remedy is brought about.
#[derive(Clone, Copy)]
enum Remedy {
    /// The line is typed as it was printed.
    Typed,
    /// It opens an editor, asks a person, or needs the network: this does what it says.
    ByHand(&'static str),
    /// It binds a device of this user.
    Binds(&'static str),
}
use Remedy::{Binds, ByHand, Typed};

struct Fault {
    id: &'static str,
    /// The exit code.
    code: i32,
    plant: &'static str,
    remedy: Remedy,
    /// What takes back what was planted beside the fault, or what the remedy has left.
    undo: &'static str,
}

const fn fault(id: &'static str, code: i32, plant: &'static str, remedy: Remedy) -> Fault {
    Fault { id, code, plant, remedy, undo: "" }
}

impl Fault {
    const fn undo(self, undo: &'static str) -> Fault {
        Fault { undo, ..self }
    }
}

const STACKS: &[Fault] = &[
    fault("pam-not-in-use", 7, "pam-auth-update --disable mfa", Typed),
    fault(
        "pam-auth-line-missing",
        7,
        "sed -i 's/^@include common-auth/auth required pam_unix.so/' /etc/pam.d/sshd",
        ByHand("sed -i 's/^auth required pam_unix.so/@include common-auth/' /etc/pam.d/sshd"),
    ),
    fault(
        "pam-auth-line-passed-by",
        7,
        "sed -i '1iauth sufficient pam_unix.so' /etc/pam.d/sudo",
        ByHand("sed -i 1d /etc/pam.d/sudo"),
    ),
    // pam-auth-update writes its own blocks only.
    fault(
        "pam-auth-line-passed-by",
        7,
        "sed -i '1iauth sufficient pam_unix.so' /etc/pam.d/common-auth",
        ByHand("sed -i 1d /etc/pam.d/common-auth"),
    ),
    fault(
        "pam-auth-line-passed-by",
        7,
        "sed -i '/pam_mfa/iauth sufficient pam_localuser.so' /etc/pam.d/common-auth",
        Typed,
    ),
    fault(
        "pam-auth-line-unreached",
        7,
        "cd /etc/pam.d; line=$(grep pam_mfa common-auth); sed -i /pam_mfa/d common-auth
         sed -i \"/^auth.*pam_deny/i$line\" common-auth",
        ByHand("sed -i /pam_mfa/d /etc/pam.d/common-auth; pam-auth-update --force --enable mfa"),
    ),
    fault("pam-auth-refusal-ignored", 7, "sed -i '/pam_mfa/s/required/sufficient/' /etc/pam.d/common-auth", Typed),
    fault("pam-auth-refusal-ignored", 7, "sed -i '/pam_mfa/s/required/optional/' /etc/pam.d/common-auth", Typed),
    fault("pam-auth-refusal-ignored", 7, "sed -i '/pam_mfa/s/required/[default=ignore]/' /etc/pam.d/common-auth", Typed),
    fault(
        "pam-auth-nothing-else",
        7,
        "echo 'auth required pam_mfa.so stack=complete' >/etc/pam.d/cockpit",
        ByHand("rm /etc/pam.d/cockpit"),
    ),
    fault(
        "pam-auth-no-first-factor",
        7,
        "cp /etc/pam.d/sshd /root
         sed -i 's/^@include common-auth/auth required pam_mfa.so\\nauth required pam_permit.so/' /etc/pam.d/sshd",
        ByHand("cp /root/sshd /etc/pam.d"),
    ),
    // As roles leave it that take common-auth out.
    fault(
        "pam-auth-nothing-else",
        7,
        "sed -i 's/^@include common-auth/auth required pam_mfa.so stack=complete/' /etc/pam.d/sshd",
        ByHand("sed -i 's/^auth required pam_mfa.so.*/@include common-auth/' /etc/pam.d/sshd"),
    ),
    fault(
        "pam-auth-no-first-factor",
        7,
        "sed -i 's/^@include common-auth/auth required pam_permit.so/' /etc/pam.d/sshd",
        ByHand("sed -i 's/^auth required pam_permit.so/@include common-auth/' /etc/pam.d/sshd"),
    ),
    fault(
        "pam-auth-line-twice",
        7,
        "sed -i '/^@include common-auth/aauth required pam_mfa.so stack=complete' /etc/pam.d/sshd",
        Typed,
    )
    .undo("sed -i '/^# auth required pam_mfa.so/d' /etc/pam.d/sshd"),
    fault(
        "pam-another-factor",
        7,
        "sed -i '/^@include common-auth/aauth required pam_oath.so' /etc/pam.d/sshd",
        ByHand("sed -i /pam_oath/d /etc/pam.d/sshd"),
    ),
    fault(
        "pam-another-factor",
        7,
        "sed -i '/^@include common-auth/iauth requisite pam_google_authenticator.so' /etc/pam.d/sshd",
        ByHand("sed -i /pam_google/d /etc/pam.d/sshd"),
    ),
    fault(
        "pam-auth-line-too-early",
        7,
        "sed -i 's/^@include common-auth/auth required pam_mfa.so\\nauth requisite pam_unix.so/' /etc/pam.d/sshd",
        ByHand("sed -i '/^auth required pam_mfa.so/d; s/^auth requisite pam_unix.so/@include common-auth/' /etc/pam.d/sshd"),
    ),
    fault(
        "pam-config-differs",
        7,
        "sed -i '/pam_mfa/s/$/ config=\\/etc\\/mfa-other\\/mfa.toml/' /etc/pam.d/common-account",
        ByHand("sed -i '/pam_mfa/s/ config=.*//' /etc/pam.d/common-account"),
    ),
    fault("pam-argument-unknown", 6, "sed -i '/pam_mfa/s/pam_mfa.so/& nullok/' /etc/pam.d/common-auth", Typed),
    fault("pam-argument-unknown", 6, "sed -i '/pam_mfa/s/$/ nullok/' /etc/pam.d/common-account", Typed),
    fault("pam-argument-unknown", 6, "sed -i s/stack=complete/stack=compleet/ /etc/pam.d/common-auth", Typed)
        .undo("sed -i 's/pam_mfa.so/& stack=complete/' /etc/pam.d/common-auth"),
    // Of sshd the uid is root's, whoever comes.
    fault(
        "pam-auth-line-passed-by",
        7,
        "sed -i '1iauth sufficient pam_rootok.so' /etc/pam.d/sshd",
        ByHand("sed -i 1d /etc/pam.d/sshd"),
    ),
    // As on RHEL: whoever fails in a substack comes to the line behind it.
    fault(
        "pam-stack-complete-untrue",
        7,
        "cp /etc/pam.d/sshd /root; printf 'auth sufficient pam_unix.so\\nauth required pam_deny.so\\n' >/etc/pam.d/password-auth
         sed -i 's/^@include common-auth/auth substack password-auth\\nauth required pam_mfa.so stack=complete/' /etc/pam.d/sshd",
        ByHand("cp /root/sshd /etc/pam.d; rm /etc/pam.d/password-auth"),
    ),
    fault("pam-stack-complete-missing", 6, "sed -i '/pam_mfa/s/stack=complete//' /etc/pam.d/common-auth", Typed),
    fault("pam-account-line-missing", 7, "sed -i /pam_mfa/d /etc/pam.d/common-account", Typed),
    fault(
        "pam-account-line-missing",
        7,
        "sed -i 's/^@include common-account/account required pam_unix.so/' /etc/pam.d/sshd",
        ByHand("sed -i 's/^account required pam_unix.so/@include common-account/' /etc/pam.d/sshd"),
    ),
    // Who has an expired password comes in by pam_unix alone.
    fault(
        "pam-account-line-passed-by",
        7,
        "cd /etc/pam.d; line=$(grep pam_mfa common-account); sed -i /pam_mfa/d common-account; echo \"$line\" >>common-account
         sed -i 's/success=[0-9] new_authtok_reqd/success=1 new_authtok_reqd/' common-account",
        Typed,
    )
    // pam-auth-update leaves alone what stands behind its blocks.
    .undo("sed -i '$d' /etc/pam.d/common-account"),
    fault(
        "pam-account-line-passed-by",
        7,
        "sed -i '1iaccount sufficient pam_localuser.so' /etc/pam.d/sshd",
        ByHand("sed -i 1d /etc/pam.d/sshd"),
    ),
    fault(
        "pam-account-refusal-ignored",
        7,
        "sed -i '/pam_mfa/s/.*/account optional pam_mfa.so/' /etc/pam.d/common-account
         sed -i 's/success=2 new_authtok_reqd/success=1 new_authtok_reqd/' /etc/pam.d/common-account",
        Typed,
    ),
    fault(
        "pam-account-nothing-else",
        7,
        "sed -i 's/^@include common-account/account required pam_mfa.so/' /etc/pam.d/su",
        ByHand("sed -i 's/^account required pam_mfa.so/@include common-account/' /etc/pam.d/su"),
    ),
    fault("pam-session-line-missing", 6, "sed -i /pam_mfa/d /etc/pam.d/common-session", Typed),
    fault(
        "pam-session-line-passed-by",
        6,
        "sed -i '1isession sufficient pam_permit.so' /etc/pam.d/su",
        ByHand("sed -i 1d /etc/pam.d/su"),
    ),
    fault(
        "pam-line-unknown",
        7,
        "sed -i '1iauth frequently pam_unix.so' /etc/pam.d/sshd",
        ByHand("sed -i 1d /etc/pam.d/sshd"),
    ),
    fault("pam-file-unsafe", 7, "chmod 666 /etc/pam.d/sudo", Typed),
    fault("pam-file-unsafe", 7, "chown daemon /etc/pam.d/common-auth", Typed),
    fault(
        "first-factor-rootok",
        7,
        "sed -i '1iauth sufficient pam_rootok.so' /etc/pam.d/mfa-enroll",
        ByHand("sed -i 1d /etc/pam.d/mfa-enroll"),
    ),
    fault(
        "first-factor-unknown",
        6,
        "echo 'auth frequently pam_unix.so' >>/etc/pam.d/mfa-enroll",
        ByHand("sed -i '$d' /etc/pam.d/mfa-enroll"),
    ),
    fault("first-factor-missing", 6, "mv /etc/pam.d/mfa-enroll /root", ByHand("mv /root/mfa-enroll /etc/pam.d")),
];

const PROGRAMS: &[Fault] = &[
    fault(
        "module-missing",
        7,
        "mv /usr/lib/*/security/pam_mfa.so /root",
        ByHand("mv /root/pam_mfa.so /usr/lib/*-linux-gnu/security"),
    ),
    fault("program-unsafe", 7, "chmod 777 /usr/lib/*/security/pam_mfa.so", Typed),
    fault("program-unsafe", 7, "chown daemon /usr/libexec/mfa-helper", Typed),
    fault("program-unsafe", 7, "chmod g+w /usr/libexec", Typed),
    fault("helper-unusable", 7, "chmod 644 /usr/libexec/mfa-helper", Typed),
    fault("helper-unusable", 7, "mv /usr/libexec/mfa-helper /root", ByHand("mv /root/mfa-helper /usr/libexec")),
    fault(
        "program-changed",
        7,
        "cd /usr/libexec; cp mfa-helper /root; cp mfa-helper new; echo >>new; mv new mfa-helper",
        ByHand("mv /root/mfa-helper /usr/libexec"),
    ),
    fault("unit-masked", 6, "systemctl mask --now mfa-helper.socket", Typed),
    fault("unit-masked", 6, "systemctl mask --now mfa-helper.service", Typed),
    fault("socket-not-listening", 6, "systemctl stop mfa-helper.socket", Typed),
    fault("socket-not-enabled", 6, "systemctl disable mfa-helper.socket", Typed),
    fault("socket-unreachable", 6, "chmod 600 /run/mfa/helper.sock", Typed),
    fault("socket-unreachable", 6, "chmod 666 /run/mfa/root.sock", Typed),
    fault("socket-not-listening", 6, "systemctl stop mfa-helper-root.socket", Typed),
    fault("unit-masked", 6, "systemctl mask --now mfa-helper-root.socket", Typed),
    fault(
        "unit-failed",
        6,
        "systemctl start mfa-helper; systemctl kill --signal=KILL mfa-helper; \
         while systemctl is-active mfa-helper; do :; done",
        Typed,
    ),
    fault(
        "unit-missing",
        6,
        "mv /usr/lib/systemd/system/mfa-helper.service /root; systemctl stop mfa-helper.socket mfa-helper; systemctl daemon-reload",
        ByHand(
            "mv /root/mfa-helper.service /usr/lib/systemd/system; systemctl daemon-reload; systemctl start mfa-helper.socket",
        ),
    ),
    fault(
        "access-denied",
        6,
        "mkdir -p /var/log/audit; echo 'type=AVC msg=audit(1.2:3): avc:  denied  { write } scontext=u:r:mfa_helper_t:s0' >/var/log/audit/audit.log",
        ByHand("rm /var/log/audit/audit.log"),
    ),
];

/// A setting of an administrator's by which the service does not see this any more.
macro_rules! shut_off {
    ($id:literal, $paths:literal) => {
        fault(
            $id,
            6,
            concat!(
                "mkdir /etc/systemd/system/mfa-helper.service.d; printf '[Service]\\nInaccessiblePaths=",
                $paths,
                "\\n' >/etc/systemd/system/mfa-helper.service.d/10-less.conf; systemctl daemon-reload; \
                 systemctl restart mfa-helper"
            ),
            ByHand(
                "rm -r /etc/systemd/system/mfa-helper.service.d; systemctl daemon-reload; systemctl restart mfa-helper",
            ),
        )
    };
}

/// What its sandbox keeps from the service: nobody but the service can know.
const SERVICE: &[Fault] = &[
    fault(
        "service-store",
        6,
        "cp -a /var/lib/mfa /srv/mfa; cp -p /etc/mfa/mfa.toml /root; printf '[store]\\npath = \"/srv/mfa\"\\n' >>/etc/mfa/mfa.toml; \
         touch --date='1 hour ago' /etc/mfa/mfa.toml",
        Typed,
    )
    .undo("cp -p /root/mfa.toml /etc/mfa; rm -r /srv/mfa /etc/systemd/system/mfa-helper.service.d; systemctl daemon-reload; \
           systemctl restart mfa-helper"),
    fault(
        "service-shadow",
        6,
        "mkdir -p /etc/systemd/system/mfa-helper.service.d; chmod 000 /etc/shadow; \
         printf '[Service]\\nCapabilityBoundingSet=~CAP_DAC_READ_SEARCH\\n' >/etc/systemd/system/mfa-helper.service.d/10-less.conf; \
         systemctl daemon-reload; systemctl restart mfa-helper",
        Typed,
    )
    .undo("chmod 640 /etc/shadow; rm -r /etc/systemd/system/mfa-helper.service.d; systemctl daemon-reload; \
           systemctl restart mfa-helper"),
    shut_off!("service-policy", "/etc/mfa/mfa.toml"),
    shut_off!("service-names", "/etc/passwd"),
    shut_off!("service-log", "/run/systemd/journal /dev/log"),
];

const POLICY: &[Fault] = &[
    fault("policy-unknown-key", 7, "echo 'requires = 1' >>/etc/mfa/mfa.toml", ByHand("sed -i '$d' /etc/mfa/mfa.toml")),
    fault("policy-not-loaded", 7, "echo '[[rule' >/etc/mfa/mfa.d/10-typo.toml", ByHand("rm /etc/mfa/mfa.d/10-typo.toml")),
    fault(
        "policy-no-program",
        6,
        "cp -p /etc/mfa/mfa.toml /root; cp /etc/pam.d/sshd /etc/pam.d/cockpit; printf '[enroll]\\nservices = [\"sshd\", \"cockpit\"]\\n' >>/etc/mfa/mfa.toml",
        ByHand("echo 'programs = [\"sshd\"]' >>/etc/mfa/mfa.toml"),
    )
    .undo("cp -p /root/mfa.toml /etc/mfa"),
    fault(
        "policy-program-missing",
        6,
        "cp -p /etc/mfa/mfa.toml /root; printf '[enroll]\\nprograms = [\"sshdd\"]\\n' >>/etc/mfa/mfa.toml",
        ByHand("sed -i 's/sshdd/sshd/' /etc/mfa/mfa.toml"),
    )
    .undo("cp -p /root/mfa.toml /etc/mfa"),
    fault(
        "totp-unusual",
        6,
        "cp -p /etc/mfa/mfa.toml /root; printf '[totp]\\nalgorithm = \"SHA256\"\\nperiod = \"60s\"\\n' >>/etc/mfa/mfa.toml",
        ByHand("sed -i '/^algorithm/d; /^period/d' /etc/mfa/mfa.toml"),
    )
    .undo("cp -p /root/mfa.toml /etc/mfa"),
    fault(
        "policy-file-missing",
        7,
        "mfa-enroll require --user alice; until mfa-enroll policy explain --user alice --service sshd | grep require-user; do :; done
         mv /etc/mfa/mfa.d /root",
        ByHand("mv /root/mfa.d /etc/mfa"),
    )
    .undo("mfa-enroll unrequire --user alice"),
    fault("policy-file-missing", 7, "rm /etc/mfa/mfa.toml", Typed),
    fault("policy-file-missing", 7, "rmdir /etc/mfa/mfa.d", Typed),
    fault("policy-file-unsafe", 7, "chmod 666 /etc/mfa/mfa.toml", Typed),
    fault("policy-file-unsafe", 7, "chown daemon /etc/mfa", Typed),
    fault(
        "rule-group-unknown",
        7,
        "printf '[[rule]]\\ngroups = [\"wheeel\"]\\nrequire = \"if-bound\"\\n' >/etc/mfa/mfa.d/10-group.toml",
        ByHand("rm /etc/mfa/mfa.d/10-group.toml"),
    ),
    fault(
        "rule-exempts-all",
        7,
        "printf '[[rule]]\\nrequire = \"off\"\\n' >/etc/mfa/mfa.d/10-all.toml",
        ByHand("rm /etc/mfa/mfa.d/10-all.toml"),
    ),
    fault(
        "rule-never",
        6,
        "printf '[[rule]]\\nrequire = \"if-bound\"\\n[[rule]]\\nrequire = \"off\"\\n' >/etc/mfa/mfa.d/10-two.toml",
        ByHand("rm /etc/mfa/mfa.d/10-two.toml"),
    ),
    fault(
        "rule-remembers-nothing",
        6,
        "printf '[[rule]]\\nusers = [\"bob\"]\\nservices = [\"sshd\"]\\nrequire = \"off\"\\nremember = \"8h\"\\n' >/etc/mfa/mfa.d/10-off.toml",
        ByHand("rm /etc/mfa/mfa.d/10-off.toml"),
    ),
    fault(
        "rule-counts-nothing",
        6,
        "printf '[[rule]]\\nusers = [\"alice\"]\\nrequire = \"mfa\"\\nkinds = [\"totp\"]\\nsk_key = \"counts\"\\n' >/etc/mfa/mfa.d/10-kinds.toml
         echo 'PubkeyAuthOptions touch-required' >/etc/ssh/sshd_config.d/10-touch.conf",
        ByHand("rm /etc/mfa/mfa.d/10-kinds.toml"),
    )
    .undo("rm /etc/ssh/sshd_config.d/10-touch.conf"),
    fault(
        "rule-user-unknown",
        6,
        "printf '[[rule]]\\nusers = [\"alicia\"]\\nrequire = \"mfa\"\\n' >/etc/mfa/mfa.d/10-user.toml",
        ByHand("rm /etc/mfa/mfa.d/10-user.toml"),
    ),
    fault(
        "rule-expired",
        6,
        "mfa-enroll require --user alice --try 1s; while mfa-enroll status --user alice | grep 'required *yes'; do :; done; \
         until [ $(date +%s) -gt $(($(stat -c %Y /etc/mfa/mfa.d/50-require-user-alice.toml) + 1)) ]; do :; done",
        Typed,
    ),
    fault("rule-on-trial", 6, "mfa-enroll require --user alice --try 10m", Typed)
        .undo("mfa-enroll unrequire --user alice"),
    fault(
        "rule-service-unknown",
        7,
        "printf '[[rule]]\\nservices = [\"ssh\"]\\nrequire = \"mfa\"\\n' >/etc/mfa/mfa.d/10-ssh.toml",
        ByHand("rm /etc/mfa/mfa.d/10-ssh.toml"),
    ),
    fault(
        "rule-service-not-asked",
        7,
        "echo 'auth required pam_unix.so' >/etc/pam.d/rstudio
         printf '[[rule]]\\nservices = [\"rstudio\"]\\nrequire = \"mfa\"\\n' >/etc/mfa/mfa.d/10-rstudio.toml",
        ByHand("rm /etc/mfa/mfa.d/10-rstudio.toml"),
    )
    .undo("rm /etc/pam.d/rstudio"),
    fault(
        "rule-from-half",
        6,
        "printf '[[rule]]\\nfrom = [\"0.0.0.0/0\"]\\nrequire = \"if-bound\"\\n' >/etc/mfa/mfa.d/10-half.toml",
        ByHand("rm /etc/mfa/mfa.d/10-half.toml"),
    ),
    fault(
        "policy-file-ignored",
        7,
        "printf '[[rule]]\\nrequire = \"if-bound\"\\n' >/etc/mfa/mfa.d/10-admins.conf",
        ByHand("mv -n /etc/mfa/mfa.d/10-admins.conf /etc/mfa/mfa.d/10-admins.toml"),
    )
    .undo("rm /etc/mfa/mfa.d/10-admins.toml"),
    fault(
        "enroll-service-unknown",
        6,
        "printf '[enroll]\\nservices = [\"sshd\", \"cockpitt\"]\\nprograms = [\"cockpit-session\"]\\n' >>/etc/mfa/mfa.toml",
        ByHand("sed -i 's/, \"cockpitt\"//' /etc/mfa/mfa.toml"),
    )
    .undo("echo '# nothing but the defaults' >/etc/mfa/mfa.toml"),
    fault(
        "rule-exempts",
        6,
        "printf '[[rule]]\\nusers = [\"alice\"]\\nrequire = \"off\"\\n' >/etc/mfa/mfa.d/10-free.toml
         mfa-enroll require --user alice || :",
        ByHand("rm /etc/mfa/mfa.d/10-free.toml"),
    )
    .undo("mfa-enroll unrequire --user alice"),
    fault("required-without-device", 6, "mfa-enroll require --user bob", Binds("bob"))
        .undo("mfa-enroll disable --user bob; mfa-enroll unrequire --user bob"),
    fault(
        "bind-from-anywhere",
        6,
        "mfa-enroll require --user bob",
        ByHand("echo 'enroll = \"invited\"' >>/etc/mfa/mfa.d/50-require-user-bob.toml"),
    )
    .undo("mfa-enroll unrequire --user bob"),
    fault(
        "admins-locked-out",
        7,
        "usermod --append --groups sudo bob
         printf '[[rule]]\\nusers = [\"bob\"]\\nrequire = \"mfa\"\\nenroll = \"by-admin\"\\n' >/etc/mfa/mfa.d/10-bob.toml",
        Binds("bob"),
    )
    .undo("mfa-enroll disable --user bob; rm /etc/mfa/mfa.d/10-bob.toml; gpasswd --delete bob sudo"),
    // A robot, of a group that is required: a key, no password, and nobody to hold a device.
    fault(
        "locked-out",
        7,
        "groupadd staff2; useradd --create-home --groups staff2 --password '*' robot; usermod --append --groups staff2 alice
         mfa-enroll require --group staff2",
        ByHand("mfa-enroll require --group staff2 --except robot"),
    )
    .undo("mfa-enroll unrequire --group staff2; userdel --remove robot; groupdel staff2"),
    fault("root-without-code", 7, "echo 'root:Geheim-root-9!' | chpasswd", Typed)
        .undo("mfa-enroll unrequire --user root --service su; mfa-enroll unrequire --user root --service su-l; usermod --password '*' root"),
    fault("service-asks-once", 7, "echo '@include common-auth' >/etc/pam.d/vsftpd", Typed)
        .undo("rm /etc/pam.d/vsftpd /etc/mfa/mfa.d/10-vsftpd.toml"),
    fault(
        "service-asks-once",
        7,
        "echo '@include common-auth' >/etc/pam.d/xrdp-sesman",
        ByHand(
            "printf '[[rule]]\\nservices = [\"xrdp-sesman\"]\\nrequire = \"off\"\\n' >/etc/mfa/mfa.d/10-xrdp-sesman.toml",
        ),
    )
    .undo("rm /etc/pam.d/xrdp-sesman /etc/mfa/mfa.d/10-xrdp-sesman.toml"),
    fault(
        "service-asks-once",
        7,
        "mkdir /etc/jupyterhub; echo '# c = get_config()' >/etc/jupyterhub/jupyterhub_config.py",
        ByHand("echo 'c.PAMAuthenticator.service = \"jupyterhub\"' >>/etc/jupyterhub/jupyterhub_config.py"),
    )
    .undo("rm -r /etc/jupyterhub"),
    fault("empty-password", 7, "mfa-enroll require --user bob; passwd --delete bob", ByHand("echo 'bob:Geheim-bob-9!' | chpasswd"))
        .undo("mfa-enroll unrequire --user bob"),
    fault("service-asks-once", 7, "echo 'auth include common-auth' >/etc/pam.d/swaylock", Typed)
        .undo("rm /etc/pam.d/swaylock /etc/mfa/mfa.d/10-swaylock.toml"),
];

const STORE: &[Fault] = &[
    fault("store-missing", 7, "rm /var/lib/mfa/FORMAT", Typed),
    fault("store-missing", 7, "mv /var/lib/mfa /root", ByHand("mv /root/mfa /var/lib")),
    fault("store-unsafe", 7, "chmod 777 /var/lib/mfa", Typed),
    fault("store-unsafe", 7, "chown daemon /var/lib/mfa/users", Typed),
    fault(
        "store-format",
        7,
        "echo 'mfa-store 2' >/var/lib/mfa/FORMAT",
        ByHand("echo 'mfa-store 1' >/var/lib/mfa/FORMAT"),
    ),
    fault(
        "record-damaged",
        7,
        "umask 077; mkdir /var/lib/mfa/users/bob; echo nonsense >/var/lib/mfa/users/bob/credentials",
        Typed,
    ),
    fault(
        "record-version",
        7,
        "umask 077; mkdir -p /var/lib/mfa/users/bob; cd /var/lib/mfa/users/bob; printf 'mfa-credentials 9\\n' >c; \
         { cat c; echo \"sha256 $(sha256sum c | cut -d' ' -f1)\"; } >credentials; rm c",
        ByHand("rm -r /var/lib/mfa/users/bob"),
    ),
    fault("record-unsafe", 7, "chmod 644 /var/lib/mfa/users/alice/credentials", Typed),
    // The last one: her device goes.
    fault(
        "account-gone",
        6,
        "cp -p /etc/passwd /etc/shadow /root; sed -i /^alice:/d /etc/passwd /etc/shadow",
        ByHand("mfa-enroll disable --user alice"),
    )
    .undo("cp -p /root/passwd /root/shadow /etc; rm /root/passwd /root/shadow"),
];

/// Takes back a fault of sshd's, and the files of its remedy.
const SSHD: &str =
    "rm -f /etc/ssh/sshd_config.d/00-mfa-*; cp -p /root/00-test.conf /etc/ssh/sshd_config.d; systemctl reload ssh";

const OTHERS: &[Fault] = &[
    fault(
        "sudoers-nopasswd",
        6,
        "echo 'bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-no-account",
        7,
        "echo 'Defaults !pam_acct_mgmt' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-no-auth",
        7,
        "echo 'Defaults:bob !authenticate' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-no-auth",
        7,
        "echo 'Defaults exempt_group = mfa' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-no-auth",
        7,
        "echo 'Defaults:bob ! authenticate' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-nopasswd",
        6,
        "echo '#1000 ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-asks-once",
        6,
        "echo 'Defaults timestamp_timeout=-1' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-no-session",
        7,
        "echo 'Defaults:bob !pam_session' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    fault(
        "sudoers-other-service",
        7,
        "echo 'Defaults pam_login_service=mysudo' >/etc/sudoers.d/bob",
        ByHand("rm /etc/sudoers.d/bob"),
    ),
    // Where it stands nobody has to know.
    fault(
        "sudoers-no-account",
        7,
        "cp -p /etc/sudoers /root; mkdir /etc/sudoers.d-site; echo 'Defaults !pam_acct_mgmt' >/etc/sudoers.d-site/a
         echo '@includedir /etc/sudoers.d-site' >>/etc/sudoers",
        ByHand("rm /etc/sudoers.d-site/a"),
    )
    .undo("cp -p /root/sudoers /etc; rmdir /etc/sudoers.d-site"),
    fault(
        "sudoers-other-policy",
        7,
        "echo 'Plugin sudoers_policy sudoers.so sudoers_file=/etc/sudoers.alt' >>/etc/sudo.conf",
        ByHand("sed -i '$d' /etc/sudo.conf"),
    ),
    fault(
        "sudoers-elsewhere",
        6,
        "echo 'sudoers: files sss' >>/etc/nsswitch.conf",
        ByHand("sed -i '$d' /etc/nsswitch.conf"),
    ),
    fault("sudoers-unreadable", 7, "chmod 666 /etc/sudoers", Typed).undo("chmod 440 /etc/sudoers"),
    fault("login-timeout", 6, "sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 20/' /etc/login.defs", Typed),
    fault("sshd-no-pam", 7, "sed -i 's/^UsePAM.*/UsePAM no/' /etc/ssh/sshd_config.d/00-test.conf", Typed).undo(SSHD),
    fault(
        "sshd-no-keyboard-interactive",
        7,
        "sed -i 's/^Kbd.*/KbdInteractiveAuthentication no/; /^Password/d' /etc/ssh/sshd_config.d/00-test.conf",
        Typed,
    )
    .undo(SSHD),
    fault("sshd-password-method", 6, "sed -i /^Password/d /etc/ssh/sshd_config.d/00-test.conf", Typed).undo(SSHD),
    fault(
        "sshd-methods-without-code",
        7,
        "sed -i 's/^Password.*/AuthenticationMethods password/' /etc/ssh/sshd_config.d/00-test.conf",
        Typed,
    )
    .undo(SSHD),
    // Typed, it would lock out those who have a key and no password.
    fault(
        "sshd-methods-without-code",
        7,
        "sed -i 's/^Password.*/AuthenticationMethods publickey/' /etc/ssh/sshd_config.d/00-test.conf",
        ByHand("cp -p /root/00-test.conf /etc/ssh/sshd_config.d"),
    ),
    // Without the password method this list would be of nothing that is on, and sshd would not start.
    fault(
        "sshd-methods-without-code",
        7,
        "sed -i 's/^Password.*/AuthenticationMethods password,keyboard-interactive/' /etc/ssh/sshd_config.d/00-test.conf",
        Typed,
    )
    .undo(SSHD),
    fault(
        "sshd-empty-passwords",
        7,
        "echo 'PermitEmptyPasswords yes' >>/etc/ssh/sshd_config.d/00-test.conf",
        Typed,
    )
    .undo(SSHD),
    fault("sshd-grace-time", 6, "echo 'LoginGraceTime 20' >>/etc/ssh/sshd_config.d/00-test.conf", Typed).undo(SSHD),
    // This file is read before one of ours.
    fault(
        "sshd-no-pam",
        7,
        "echo 'UsePAM no' >/etc/ssh/sshd_config.d/00-a.conf",
        ByHand("rm /etc/ssh/sshd_config.d/00-a.conf"),
    ),
    fault(
        "sshd-another",
        6,
        "cp /etc/ssh/sshd_config /root/another; mkdir -p /run/sshd
         systemd-run --quiet --unit=another --property=Type=notify /usr/sbin/sshd -D -p 2222 -o PidFile=none -f /root/another",
        ByHand("systemctl stop another"),
    ),
    fault(
        "sshd-no-keyboard-interactive",
        7,
        "cp /etc/ssh/sshd_config /root; printf 'Match User alice\\nKbdInteractiveAuthentication no\\n' >>/etc/ssh/sshd_config",
        ByHand("cp /root/sshd_config /etc/ssh"),
    ),
    fault(
        "sshd-config-broken",
        7,
        "cp /etc/ssh/sshd_config /root; echo 'Nonsense yes' >>/etc/ssh/sshd_config",
        ByHand("cp /root/sshd_config /etc/ssh"),
    ),
];

/// Binds a security key of bob that is plugged in somewhere, and prepares one of ssh.
const KEYS: &str = "
    install --directory --owner=bob /home/bob/.ssh
    echo bob:AAAA,axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==,es256,+presence >/root/u2f_keys
    echo sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmAAAABHNzaDo= \
        >/home/bob/.ssh/authorized_keys
    mfa-enroll import pam-u2f --user bob /root/u2f_keys";
/// The other one is bound, in its place.
const OF_SSH: &str = "
    mfa-enroll disable --user bob
    mfa-enroll import authorized-keys --user bob /home/bob/.ssh/authorized_keys";
/// Whoever has one of ssh gets in by it.
const COUNTS: &str = r#"
    printf '[[rule]]\nusers = ["bob"]\nrequire = "if-bound"\nsk_key = "counts"\n' >/etc/mfa/mfa.d/10-sk.toml"#;
const TOUCH: &str = "
    echo 'PubkeyAuthOptions touch-required' >/etc/ssh/sshd_config.d/10-touch.conf";
const UNDO: &str = "mfa-enroll disable --user bob
    cd /etc/ssh/sshd_config.d; rm -f /etc/mfa/mfa.d/10-sk.toml 10-touch.conf 00-mfa-PubkeyAuthOptions.conf";

/// Their scripts are made of pieces.
fn security_keys() -> Vec<Fault> {
    let script = |pieces: &[&str]| -> &'static str { pieces.concat().leak() };
    let counting = script(&[KEYS, OF_SSH, COUNTS]);
    let but_in = |block: &str| {
        let save = "\ncp /etc/ssh/sshd_config /root";
        script(&[counting, TOUCH, save, &format!("; printf '{block}\n' >>/etc/ssh/sshd_config")])
    };
    let restored = ByHand("cp /root/sshd_config /etc/ssh");
    vec![
        fault(
            "no-libfido2",
            7,
            script(&[KEYS, COUNTS, "\nmkdir /root/fido; mv /usr/lib/*/libfido2.so.1* /root/fido"]),
            ByHand("mv /root/fido/* /usr/lib/*-linux-gnu/; rmdir /root/fido"),
        )
        .undo(UNDO),
        fault("keys-not-over-ssh", 6, script(&[KEYS, COUNTS, TOUCH]), Typed).undo(UNDO),
        fault("keys-not-over-ssh", 6, script(&[KEYS, OF_SSH]), ByHand(script(&[COUNTS, TOUCH]))).undo(UNDO),
        fault("sk-key-does-not-count", 6, counting, Typed).undo(UNDO),
        fault("sk-key-does-not-count", 6, but_in("Match User bob\nPubkeyAuthOptions none"), restored).undo(UNDO),
        // Only sshd itself can tell what that means.
        fault("sk-key-does-not-count", 6, but_in("Match User \"carol\"\nX11Forwarding no"), restored).undo(UNDO),
    ]
}

fn found(findings: &[Value], id: &str) -> Option<Value> {
    findings.iter().find(|finding| finding["id"] == id).cloned()
}

/// Plants each, on one machine that is sound before and after.
fn each_is_found_and_mended(faults: &[Fault]) {
    let machine = sound();
    for Fault { id, code, plant, remedy, undo } in faults {
        machine.sh_ok(plant);
        let (exit, findings) = doctor(&machine);
        let finding = found(&findings, id).unwrap_or_else(|| panic!("`{plant}`: no {id} in {findings:#?}"));
        assert_eq!(exit, *code, "`{plant}`: {findings:#?}");
        assert_eq!(finding["severity"], if *code == 7 { "error" } else { "warning" }, "`{plant}`: {finding}");
        let line = finding["remedy"].as_str().expect("a remedy");
        // What people read holds it too, to be copied.
        let told = machine.sh("mfa-enroll doctor");
        assert_eq!(told.code, exit, "{told}");
        assert!(told.stdout.lines().any(|printed| printed.trim_start() == line), "`{line}` is not in {told}");
        let asks_a_person = [
            "editor ",
            "visudo ",
            "apt-get ",
            "mfa-enroll totp ",
            "mfa-enroll policy explain ",
            "ls ",
            "ausearch ",
            "passwd ",
            "getent ",
        ];
        assert_eq!(matches!(remedy, Typed), !asks_a_person.iter().any(|begin| line.starts_with(begin)), "{line}");
        match remedy {
            Typed => drop(machine.sh_ok(line)),
            ByHand(script) => drop(machine.sh_ok(script)),
            Binds(user) => drop(bind(&machine, user)),
        }
        let (_, left) = doctor(&machine);
        assert_eq!(found(&left, id), None, "`{plant}`, and then `{line}`");
        if ["pam-", "sshd-"].iter().any(|begin| id.starts_with(begin)) {
            machine.sh_ok("sshd -t && systemctl reload ssh");
            a_code_decides(&machine, line);
        }
        machine.sh_ok(undo);
        assert_eq!(doctor(&machine), (0, vec![]), "`{plant}`, `{line}`, and then `{undo}`");
    }
}

/// Different findings, and not ways to plant the same one. Errors let somebody past or lock somebody out at once; what most
/// warnings tell of does so later, or to some.
#[test]
fn many_different_findings_are_planted() {
    let keys = security_keys();
    let tables = [STACKS, PROGRAMS, SERVICE, POLICY, STORE, OTHERS, &keys];
    let ids = |codes: &[i32]| -> BTreeSet<&str> {
        tables.into_iter().flatten().filter(|fault| codes.contains(&fault.code)).map(|fault| fault.id).collect()
    };
    let (all, errors) = (ids(&[6, 7]), ids(&[7]));
    assert!(all.len() >= 70 && errors.len() >= 55, "{} findings, {} of them errors: {all:?}", all.len(), errors.len());
}

#[test]
fn faults_of_the_stacks_are_found_and_mended() {
    each_is_found_and_mended(STACKS);
}

#[test]
fn faults_of_programs_and_units_are_found_and_mended() {
    each_is_found_and_mended(PROGRAMS);
}

#[test]
fn faults_of_the_policy_and_for_people_are_found_and_mended() {
    each_is_found_and_mended(POLICY);
}

#[test]
fn what_the_service_is_shut_off_from_is_found_and_mended() {
    each_is_found_and_mended(SERVICE);
}

#[test]
fn faults_of_the_store_are_found_and_mended() {
    each_is_found_and_mended(STORE);
}

#[test]
fn faults_about_security_keys_are_found_and_mended() {
    each_is_found_and_mended(&security_keys());
}

/// He is led through binding a key there, and nowhere else.
#[test]
fn an_administrator_who_can_bind_a_key_at_the_console_is_not_locked_out() {
    let machine = sound();
    machine.sh_ok("usermod --append --groups sudo bob");
    let rule =
        |lines: &str| common::rule(&machine, "10-bob", &format!("users = [\"bob\"]\nrequire = \"mfa\"\n{lines}"));
    let locked_out = || found(&doctor(&machine).1, "admins-locked-out").is_some();
    rule("kinds = [\"u2f\"]");
    assert!(!locked_out());
    rule("kinds = [\"u2f\"]\nenroll = \"invited\"");
    assert!(locked_out(), "and nobody has invited him");
    rule("kinds = [\"u2f\"]");
    machine.sh_ok("printf '[enroll]\\nservices = [\"sshd\"]\\n' >>/etc/mfa/mfa.toml");
    assert!(locked_out(), "login leads nobody through it");
}

/// sshd that does not start locks everybody out.
#[test]
fn a_remedy_for_sshd_is_taken_back_if_sshd_would_not_start_with_it() {
    let machine = sound();
    machine.sh_ok("echo 'PermitEmptyPasswords yes' >>/etc/ssh/sshd_config.d/00-test.conf");
    let finding = found(&doctor(&machine).1, "sshd-empty-passwords").expect("it is found");
    machine.sh_ok("echo 'Nonsense yes' >/etc/ssh/sshd_config.d/99-nonsense.conf");
    let typed = machine.sh(finding["remedy"].as_str().expect("a remedy"));
    assert_ne!(typed.code, 0, "{typed}");
    assert_eq!(machine.sh_ok("ls /etc/ssh/sshd_config.d/").trim(), "00-test.conf\n99-nonsense.conf");
    a_code_decides(&machine, "a remedy that was taken back");
}

/// Since OpenSSH 9.8.
#[test]
fn another_pam_service_of_sshd_is_found_and_mended() {
    if e2e::suite() == "bookworm" {
        return;
    }
    let plant = "echo 'PAMServiceName login' >>/etc/ssh/sshd_config.d/00-test.conf";
    each_is_found_and_mended(&[fault("sshd-other-service", 7, plant, Typed).undo(SSHD)]);
}

#[test]
fn faults_of_sshd_sudo_and_login_are_found_and_mended() {
    each_is_found_and_mended(OTHERS);
}
