//! Who has a device, and who is required to have one and has none.

#![allow(clippy::unwrap_used)]

use pam_tests::{Bound, Directory, Helper, System, add_user, run};

/// Exit code, data and messages.
fn list(system: &System, arguments: &[&str]) -> (i32, String, String) {
    let output = system.enroll(&[&["list"], arguments].concat(), "");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The names in the JSON, in their order.
fn names(system: &System, arguments: &[&str]) -> Vec<String> {
    let (code, json, said) = list(system, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(json.starts_with('[') && json.ends_with("]\n"), "{json}");
    json.split("{\"user\":\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// Somebody whose group is the primary one, somebody who is named in it, somebody else.
fn people() -> System {
    run("groupadd", &["--force", "listgroup"]);
    for user in ["lista", "listb", "listc"] {
        add_user(user);
    }
    run("usermod", &["--gid", "listgroup", "listb"]);
    run("usermod", &["--append", "--groups", "listgroup", "lista"]);
    System::fresh()
}

/// Nowhere else, so that nothing depends on this machine's sshd and sudo.
const BINDS_AT_LOGIN: &str = "[enroll]\nservices = [\"login\"]\n";

/// Its stack leads users with a password through binding.
fn binds_at_login(system: &System) {
    system.service(
        "login",
        "auth requisite pam_unix.so\nauth required {module} stack=complete\n\
         account required {module}\naccount required pam_unix.so\n\
         session required pam_unix.so\nsession optional {module}",
    );
}

fn make_pending(system: &System, user: &str) {
    assert_eq!(system.enroll(&["totp", "--user", user, "--json"], "").status.code(), Some(0));
}

#[test]
fn members_of_a_group_are_listed_with_a_record_or_without() {
    let system = people();
    make_pending(&system, "listc");
    assert_eq!(names(&system, &[]), ["listc"], "as before: who has a record");
    assert_eq!(names(&system, &["--group", "listgroup"]), ["lista", "listb"]);
    let (code, table, _) = list(&system, &["--group", "listgroup"]);
    let begins: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((code, begins), (0, vec!["USER", "lista", "listb"]));
    let (code, data, said) = list(&system, &["--group", "no-such-group"]);
    assert_eq!((code, data.as_str()), (3, ""));
    assert!(said.contains("No group is called no-such-group."), "{said}");
    run("groupadd", &["--force", "emptygroup"]);
    let (code, data, said) = list(&system, &["--group", "emptygroup"]);
    assert_eq!((code, data.as_str(), said.as_str()), (0, "", "The group has no members.\n"));
    assert_eq!(names(&system, &["--group", "emptygroup"]), [""; 0]);
}

#[test]
fn who_is_required_and_has_no_device_is_listed_with_the_services() {
    let system = people();
    binds_at_login(&system);
    let (code, data, said) = list(&system, &["--missing"]);
    assert_eq!((code, data.as_str(), said.as_str()), (0, "", "Nobody is required and without a device.\n"));
    system.config(&format!(
        "{BINDS_AT_LOGIN}[[rule]]\nusers = [\"lista\"]\nservices = [\"cron\"]\nrequire = \"off\"\n\
         [[rule]]\ngroups = [\"listgroup\"]\nrequire = \"mfa\"\n\
         [[rule]]\nusers = [\"listc\", \"daemon\"]\nservices = [\"sudo\", \"sshd\"]\nrequire = \"mfa\"\n",
    ));
    // Named in a rule is whoever it is; nobody else of those whom nobody can log in to.
    assert_eq!(names(&system, &["--missing"]), ["daemon", "lista", "listb", "listc"]);
    assert_eq!(names(&system, &["--missing", "--group", "listgroup"]), ["lista", "listb"]);
    let (code, lines, said) = list(&system, &["--missing"]);
    assert_eq!(
        (code, lines.as_str(), said.as_str()),
        (
            0,
            "daemon: required at sshd, sudo; no login binds: mfa-enroll invite, or totp\n\
             lista: required at every service but cron; binds at login\n\
             listb: required at every service; binds at login\n\
             listc: required at sshd, sudo; no login binds: mfa-enroll invite, or totp\n",
            ""
        )
    );
    // A device that waits for its codes is none yet.
    make_pending(&system, "listb");
    assert_eq!(names(&system, &["--missing", "--group", "listgroup"]), ["lista", "listb"]);
    system.config("[[rule]]\nrequire = \"mfa\"\n");
    let everybody = names(&system, &["--missing"]);
    assert!(everybody.contains(&String::from("root")) && everybody.contains(&String::from("listc")), "{everybody:?}");
    assert!(!everybody.contains(&String::from("daemon")), "nobody logs in to it: {everybody:?}");
    assert!(everybody.is_sorted(), "{everybody:?}");
}

#[test]
fn a_record_that_cannot_be_read_is_not_left_out() {
    let system = people();
    system.config("[[rule]]\nusers = [\"listc\"]\nrequire = \"mfa\"\n");
    make_pending(&system, "listc");
    std::fs::write(system.store().join("users/listc/pending"), "nonsense").unwrap();
    let (code, data, said) = list(&system, &["--missing", "--json"]);
    assert_eq!((code, data.as_str()), (5, ""), "{said}");
    assert!(said.contains("/var/lib/mfa/users/listc/"), "{said}");
}

#[test]
fn an_account_that_is_gone_is_said_to_be() {
    let bound = Bound::fresh("listgone");
    assert!(list(&bound.system, &["--json"]).1.contains("\"account\":\"there\""));
    run("userdel", &["listgone"]);
    let (_, json, _) = list(&bound.system, &["--json"]);
    assert!(json.contains("{\"user\":\"listgone\",\"account\":\"gone\","), "{json}");
    let (_, table, said) = list(&bound.system, &[]);
    assert!(table.contains("listgone         totp     gone "), "{table}");
    assert!(said.contains("gone: no account has this name any more"), "{said}");
    let status = bound.system.enroll(&["status", "--user", "listgone"], "");
    assert!(
        String::from_utf8_lossy(&status.stdout)
            .starts_with("user            listgone: no account has this name any more\n")
    );
}

/// Whoever comes from a directory that is down is not gone.
#[test]
fn a_directory_that_fails_makes_nobody_gone() {
    let bound = Bound::fresh("dirlisted");
    let directory = Directory::behind_the_files();
    run("userdel", &["dirlisted"]);
    for (word, account) in [("refused", "unknown"), ("io", "unknown"), ("gone", "unknown"), ("unknown", "gone")] {
        directory.is(word);
        let (_, json, _) = list(&bound.system, &["--json"]);
        assert!(json.contains(&format!("{{\"user\":\"dirlisted\",\"account\":\"{account}\",")), "{word}: {json}");
    }
}

/// As the lines for people say it, for scripts.
#[test]
fn the_json_of_who_is_missing_says_where() {
    let system = people();
    binds_at_login(&system);
    system.config(&format!(
        "{BINDS_AT_LOGIN}[[rule]]\nusers = [\"lista\"]\nservices = [\"cron\"]\nrequire = \"off\"\n\
         [[rule]]\nusers = [\"lista\"]\nrequire = \"mfa\"\n\
         [[rule]]\nusers = [\"listc\"]\nservices = [\"sudo\", \"sshd\"]\nrequire = \"mfa\"\n",
    ));
    let (_, json, _) = list(&system, &["--missing", "--json"]);
    let at: Vec<&str> = json.split("\"required_at\":").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    let (bound, nowhere) = (",\"binds_at\":[\"login\"],\"not_known\":null", ",\"binds_at\":[],\"not_known\":null");
    assert_eq!(at, [format!("[\"*\",\"sshd\",\"sudo\"]{bound}"), format!("[\"sshd\",\"sudo\"]{nowhere}")], "{json}");
    assert!(!list(&system, &["--group", "listgroup", "--json"]).1.contains("required_at"), "nobody has asked");
}

/// A directory may name the groups of a user without naming the members of a group, as sssd does with
/// `ignore_group_members`.
#[test]
fn members_whom_a_directory_does_not_list_are_not_left_out() {
    for user in ["dirmember", "diroutsideother"] {
        add_user(user);
    }
    let system = System::fresh();
    let _directory = Directory::behind_the_files();
    system.config("[[rule]]\ngroups = [\"dirgroup\"]\nrequire = \"mfa\"\n");
    let missing = names(&system, &["--missing"]);
    assert!(missing.contains(&String::from("dirmember")), "{missing:?}");
    assert!(!missing.contains(&String::from("diroutsideother")), "{missing:?}");
}

/// How often the files of users are opened does not depend on how many users there are.
#[test]
fn the_files_of_users_are_not_read_for_each_of_them() {
    let system = people();
    binds_at_login(&system);
    system.config(&format!("{BINDS_AT_LOGIN}[[rule]]\ngroups = [\"listmore\"]\nrequire = \"mfa\"\n"));
    let (passwd, group) = ("/etc/passwd", "/etc/group");
    let before = [passwd, group].map(|file| (file, std::fs::read_to_string(file).unwrap()));
    let opened = |users: usize, arguments: &[&str]| {
        let names: Vec<String> = (0..users).map(|n| format!("listmany{n}")).collect();
        let entries: String =
            names.iter().enumerate().map(|(n, name)| format!("{name}:x:{0}:{0}::/:/bin/sh\n", 30_000 + n)).collect();
        std::fs::write(passwd, before[0].1.clone() + &entries).unwrap();
        std::fs::write(group, format!("{}listmore:x:39999:{}\n", before[1].1, names.join(","))).unwrap();
        let trace = std::env::temp_dir().join("mfa-test-list-trace");
        system.install(&Helper::real().strace(&format!("-f -e trace=openat -o {}", trace.display())));
        let (code, json, said) = list(&system, &[arguments, &["--json"]].concat());
        system.install(&Helper::real());
        for (file, text) in &before {
            std::fs::write(file, text).unwrap();
        }
        assert_eq!(code, 0, "{said}");
        let trace = std::fs::read_to_string(trace).unwrap();
        let count = |file: &str| trace.matches(&format!("\"{file}\"")).count();
        (json.matches("\"user\"").count(), [passwd, group].map(count))
    };
    for arguments in [["--missing"].as_slice(), &["--missing", "--group", "listmore"]] {
        let ((few, by_few), (many, by_many)) = (opened(5, arguments), opened(105, arguments));
        assert_eq!((few, many, by_few), (5, 105, by_many), "{arguments:?}");
    }
}
