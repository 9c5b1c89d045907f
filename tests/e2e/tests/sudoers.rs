//! sudo can be told to skip the account phase, in which devices are bound, to open no session, or to go by another
//! service. Wherever it is told so, nobody is led through binding there, and nobody gets by with the first factor alone.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{BIND_NOW, FIRST, Person, enabled, shipped};
use e2e::{Machine, suite};

static MACHINE: LazyLock<Machine> = LazyLock::new(|| hasty(shipped()));

/// sudo and sudo-rs beside each other. bookworm has no sudo-rs.
static WITH_SUDO_RS: LazyLock<Machine> = LazyLock::new(|| {
    let machine = Machine::build().debian_packages("sudo-rs").package();
    hasty(enabled(if suite() == "bookworm" { machine.suite("trixie") } else { machine }.boot()))
});

/// After a refusal pam_unix has sudo wait for two seconds, and sudo asks twice more: neither is what is looked at here.
fn hasty(machine: Machine) -> Machine {
    machine.sh_ok(
        "sed -i 's/^auth.*pam_unix.so nullok/& nodelay/' /etc/pam.d/common-auth
         grep -q nodelay /etc/pam.d/common-auth
         echo 'Defaults passwd_tries=1' >/etc/sudoers.d/once; chmod 440 /etc/sudoers.d/once",
    );
    machine
}

/// What a file of sudoers may say.
const SETTINGS: &[&str] = &[
    "Defaults !pam_acct_mgmt",
    "Defaults\t! pam_acct_mgmt",
    "Defaults env_reset, \\\n  !pam_acct_mgmt",
    "Defaults:%sudo !pam_acct_mgmt",
    "User_Alias PEOPLE = NAME, visitor\nDefaults:PEOPLE !pam_acct_mgmt",
    "Defaults!/usr/bin/id !pam_acct_mgmt",
    "Defaults>root !pam_acct_mgmt",
    "Defaults !pam_session",
    "Defaults:NAME !pam_session",
    "Defaults runas_allow_unknown_id",
    "Defaults pam_service=mysudo",
    "Defaults:NAME pam_service = \"mysudo\"",
    "Defaults pam_login_service=mysudo",
    "Defaults pam_askpass_service=mysudo",
];

/// Files that are elsewhere, and what names them.
const PLACES: &[&str] = &[
    "echo '@includedir /etc/sudoers.d-site' >>/etc/sudoers",
    "echo '@include /etc/sudoers.d/../sudoers.d-site/a' >>/etc/sudoers",
    "echo '#include /etc/sudoers.d-site/a' >/etc/sudoers.d/zz",
];

/// Other ways: none of them is a word of sudoers.
const OTHER_WAYS: &[&str] = &[
    "{ cat /etc/sudoers; echo 'Defaults !pam_acct_mgmt'; } >/etc/sudoers.alt; chmod 440 /etc/sudoers.alt
     echo 'Plugin sudoers_policy sudoers.so sudoers_file=/etc/sudoers.alt' >>/etc/sudo.conf",
    "echo 'sudoers: files sss' >>/etc/nsswitch.conf",
    // It would hide the setting from the parser.
    "echo 'suppress = defaults' >/etc/cvtsudoers.conf; echo 'Defaults !pam_acct_mgmt' >/etc/sudoers.d/zz",
];

/// Sets up what `mended` takes back.
fn spoil(machine: &Machine, how: &str) {
    machine.sh_ok("for file in sudoers sudo.conf nsswitch.conf; do cp --preserve /etc/$file /root/$file; done");
    machine.sh_ok(how);
    machine.sh_ok("chmod --quiet 440 /etc/sudoers.d/zz /etc/sudoers.d-site/a || true; visudo -c");
}

fn mend(machine: &Machine) {
    machine.sh_ok(
        "for file in sudoers sudo.conf nsswitch.conf; do cp --preserve /root/$file /etc/$file; done
         rm -rf /etc/sudoers.d/zz /etc/sudoers.d-site /etc/sudoers.alt /etc/cvtsudoers.conf",
    );
}

/// With the right first factor.
#[track_caller]
fn is_led_through_binding(who: &Person, sudo: &str) {
    assert!(who.outcome_explained("sudo").starts_with("led through binding"), "{}", who.outcome_explained("sudo"));
    let mut t = who.machine.terminal().user(&who.name).run(&format!("{sudo} -k; exec {sudo} id -un"));
    t.wait_for("assword");
    t.type_line(&who.password);
    t.wait_for(BIND_NOW);
    t.wait_for(FIRST);
    // Enter, where the Ctrl-C came before it read.
    t.send("\x03\r");
    assert_ne!(t.exit_code(), 0, "{}", t.screen());
    assert!(!t.text().contains("root\n"), "{}", t.screen());
}

/// With the right first factor as well; it ends before any dialogue.
#[track_caller]
fn gets_nowhere(who: &Person, sudo: &str, how: &str) {
    let mut t = who.machine.terminal().user(&who.name).run(&format!("{sudo} -k; exec {sudo} id -un"));
    t.wait_for("assword");
    t.type_line(&who.password);
    t.wait_for("no device is bound");
    assert_ne!(t.exit_code(), 0, "{how}\n{}", t.screen());
    assert!(!t.text().contains("root\n"), "{how}\n{}", t.screen());
    assert!(!t.text().contains(BIND_NOW), "{how}\n{}", t.screen());
    assert!(!who.got_in(), "{how}");
    assert_eq!(who.devices(), 0, "{how}");
}

fn tried(who: &Person, sudo: &str, how: &str) {
    spoil(who.machine, how);
    gets_nowhere(who, sudo, how);
    mend(who.machine);
}

#[test]
fn what_sudoers_turn_off_is_seen_wherever_it_stands() {
    let who = Person::required(&MACHINE, "nora", "");
    is_led_through_binding(&who, "sudo");
    for setting in SETTINGS {
        let setting = setting.replace("NAME", &who.name);
        tried(&who, "sudo", &format!("cat >/etc/sudoers.d/zz <<'EOF'\n{setting}\nEOF"));
    }
    for place in PLACES {
        let how = format!("mkdir /etc/sudoers.d-site; echo 'Defaults !pam_acct_mgmt' >/etc/sudoers.d-site/a\n{place}");
        tried(&who, "sudo", &how);
    }
    for how in OTHER_WAYS {
        tried(&who, "sudo", how);
    }
    is_led_through_binding(&who, "sudo");
    // What is included from elsewhere and says nothing of the kind does no harm: the parser has read it.
    spoil(
        &MACHINE,
        "mkdir /etc/sudoers.d-site; echo 'Defaults lecture=never' >/etc/sudoers.d-site/a\necho '@includedir /etc/sudoers.d-site' >>/etc/sudoers",
    );
    is_led_through_binding(&who, "sudo");
    mend(&MACHINE);
}

/// Of sudo-rs only the words are read, so it takes less to be a no; and a no is one for both.
#[test]
fn beside_sudo_rs_words_and_includes_count() {
    let who = Person::required(&WITH_SUDO_RS, "olga", "");
    for sudo in ["sudo", "sudo-rs"] {
        is_led_through_binding(&who, sudo);
        for setting in
            ["Defaults !pam_acct_mgmt", "Defaults:NAME !pam_session", "Defaults pam_service=mysudo", "# pam_acct_mgmt"]
        {
            let setting = setting.replace("NAME", &who.name);
            tried(&who, sudo, &format!("cat >/etc/sudoers.d/zz <<'EOF'\n{setting}\nEOF"));
        }
        for place in PLACES {
            tried(&who, sudo, &format!("mkdir /etc/sudoers.d-site; echo '# nothing' >/etc/sudoers.d-site/a\n{place}"));
        }
        let how = "cp --preserve /etc/sudoers /etc/sudoers-rs; echo 'Defaults !pam_session' >>/etc/sudoers-rs";
        spoil(&WITH_SUDO_RS, how);
        gets_nowhere(&who, sudo, how);
        WITH_SUDO_RS.sh_ok("rm /etc/sudoers-rs");
        mend(&WITH_SUDO_RS);
        is_led_through_binding(&who, sudo);
    }
}
