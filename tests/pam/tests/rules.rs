//! Rules written by command, and the policy looked at.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Output;

use pam_tests::{System, add_user, run};

const DROP_INS: &str = "/etc/mfa/mfa.d";

fn fresh(users: &[&str]) -> System {
    users.iter().for_each(|user| add_user(user));
    System::fresh()
}

/// Exit code, data and messages.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// As if two seconds had gone by since.
fn settle() {
    for entry in fs::read_dir(DROP_INS).unwrap() {
        run("touch", &["--date=2026-01-01", entry.unwrap().path().to_str().unwrap()]);
    }
}

/// Services with all lines of ours.
fn services(system: &System, names: &[&str]) {
    let stack = "{first}\nauth required {module} stack=complete\naccount required {module}\nsession optional {module}";
    names.iter().for_each(|name| system.service(name, stack));
}

fn member(group: &str, user: &str) {
    run("groupadd", &["--force", group]);
    run("usermod", &["--append", "--groups", group, user]);
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(DROP_INS).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.collect()
}

#[test]
fn a_rule_is_written_holds_and_is_removed() {
    let system = fresh(&["ruled"]);
    member("ruledgroup", "ruled");
    services(&system, &["sshd"]);
    let required = |user: &str| {
        let status = system.enroll(&["status", "--user", user, "--json"], "");
        String::from_utf8(status.stdout).unwrap().contains("\"required\":true")
    };
    assert!(!required("ruled"));
    let (code, data, said) = told(&system.enroll(&["require", "--group", "ruledgroup", "--service", "sshd"], ""));
    assert_eq!((code, data.as_str()), (0, ""), "{said}");
    assert_eq!(names(), ["50-require-group-ruledgroup@sshd.toml"]);
    let text = fs::read_to_string(format!("{DROP_INS}/50-require-group-ruledgroup@sshd.toml")).unwrap();
    assert!(text.contains("groups = [\"ruledgroup\"]\nservices = [\"sshd\"]\nrequire = \"mfa\"\n"), "{text}");
    assert!(said.contains("is written, and that is in force.\nIt reaches 1: ruled.\nWith a device: 0."), "{said}");
    assert!(required("ruled") && !required("root"), "at once");
    let again = told(&system.enroll(&["require", "--group", "ruledgroup", "--service", "sshd"], ""));
    assert_eq!((again.0, names().len()), (0, 1), "the same rule is the same file");
    assert_eq!(told(&system.enroll(&["unrequire", "--group", "ruledgroup"], "")).0, 3, "another rule");
    assert_eq!(told(&system.enroll(&["unrequire", "--group", "ruledgroup", "--service", "sshd"], "")).0, 0);
    assert!(names().is_empty() && !required("ruled"), "at once");
}

/// What `require` writes counts at once. What somebody else is writing at that moment does not, whatever it is.
#[test]
fn a_file_that_is_being_written_is_not_let_in_by_a_rule_that_counts_at_once() {
    let system = fresh(&["ruled", "foreign"]);
    let half = format!("{DROP_INS}/10-half.toml");
    let young = || run("touch", &[&half]);
    let explained = |user: &str| {
        young();
        let (_, data, said) = told(&system.enroll(&["policy", "explain", "--user", user, "--service", "login"], ""));
        (data.contains("require     mfa\n"), said)
    };
    // Makes the copy.
    assert_eq!(told(&system.enroll(&["list"], "")).0, 0);
    fs::write(&half, "[[rule]]\nusers = [\"foreign\"]\nrequire = \"mfa\"\n").unwrap();
    young();
    let (code, _, said) = told(&system.enroll(&["require", "--user", "ruled"], ""));
    assert!(code == 0 && said.contains("that is in force"), "{said}");
    assert!(explained("ruled").0);
    let (required, said) = explained("foreign");
    assert!(!required && said.contains("10-half.toml was changed a moment ago. It counts when"), "{said}");
    for verb in [&["list"][..], &["status", "--user", "ruled"], &["policy", "check"], &["doctor"]] {
        young();
        let said = told(&system.enroll(verb, "")).2;
        assert!(said.contains("10-half.toml was changed a moment ago"), "{verb:?}: {said}");
    }
    young();
    assert_eq!(told(&system.enroll(&["unrequire", "--user", "ruled"], "")).0, 0);
    assert!(!explained("ruled").0 && !explained("foreign").0);
    settle();
    let foreign = told(&system.enroll(&["policy", "explain", "--user", "foreign", "--service", "login"], ""));
    assert!(foreign.1.contains("require     mfa\n") && foreign.2.is_empty(), "{foreign:?}");
}

/// With a typo in the main file, logins go by the copy. What is done to a rule by command then must not cost the copy:
/// without it, everybody would need a device, and only root could give one out.
#[test]
fn a_typo_in_another_file_costs_nobody_the_copy() {
    let system = fresh(&["ruled", "kept", "stranger"]);
    let main = "[[rule]]\nusers = [\"kept\"]\nrequire = \"mfa\"\n";
    let explained = |user: &str| {
        let (_, data, _) = told(&system.enroll(&["policy", "explain", "--user", user, "--service", "login"], ""));
        data.contains("require     mfa\n")
    };
    let required = || ["ruled", "kept", "stranger"].map(&explained);
    let enroll = |arguments: &[&str]| told(&system.enroll(arguments, ""));
    system.config(main);
    assert_eq!(enroll(&["require", "--user", "ruled", "--try", "1h"]).0, 0);
    settle();
    assert_eq!(required(), [true, true, false]);
    system.config(&format!("{main}requier = \"off\"\n"));
    assert_eq!(required(), [true, true, false], "by the copy");
    let (code, _, said) = enroll(&["require", "--confirm"]);
    assert!(code == 0 && said.contains("The policy in place is not in force"), "{said}");
    settle();
    assert_eq!(required(), [true, true, false]);
    let (code, _, said) = enroll(&["unrequire", "--user", "ruled"]);
    assert!(code == 0 && said.contains("is removed, and that is in force."), "{said}");
    assert_eq!(required(), [false, true, false]);
    // The file that is removed may be the one with the typo, and others may have been changed since.
    system.drop_in("50-require-user-ruled.toml", "[[rule]\n");
    system.config("# nobody\n");
    assert_eq!(required(), [false, true, false], "by the copy");
    let (code, _, said) = enroll(&["unrequire", "--user", "ruled"]);
    assert!(code == 0 && said.contains("is removed, and that is in force."), "{said}");
    assert_eq!(required(), [false; 3]);
    // Without a copy nothing can be in force before the typo is mended.
    system.config(main);
    assert_eq!(enroll(&["require", "--user", "ruled"]).0, 0);
    settle();
    system.config(&format!("{main}requier = \"off\"\n"));
    fs::remove_dir_all("/var/lib/mfa/policy").unwrap();
    let (code, _, said) = enroll(&["unrequire", "--user", "ruled"]);
    assert!(code == 0 && said.contains("is removed. It counts once the policy in place is mended.\n"), "{said}");
    assert_eq!(required(), [true; 3]);
    system.config(main);
    assert_eq!(required(), [false, true, false]);
}

#[test]
fn whom_a_rule_excepts_is_not_required_and_that_is_no_fault() {
    let system = fresh(&["ruled", "excepted", "stranger"]);
    member("exceptgroup", "ruled");
    member("exceptgroup", "excepted");
    let enroll = |arguments: &[&str]| told(&system.enroll(arguments, ""));
    let required = |user: &str| enroll(&["status", "--user", user, "--json"]).1.contains("\"required\":true");
    let except = ["require", "--group", "exceptgroup", "--except", "excepted"];
    assert_eq!(enroll(&["require", "--group", "exceptgroup"]).0, 0);
    assert!(required("excepted"));
    // In place of the rule of before, which asked more of them.
    let (code, _, said) = enroll(&except);
    assert!(code == 0 && said.contains("It reaches 1: ruled."), "{said}");
    assert!(required("ruled") && !required("excepted"));
    let text = fs::read_to_string(format!("{DROP_INS}/50-require-group-exceptgroup.toml")).unwrap();
    assert!(text.contains("users = [\"excepted\"]\nrequire = \"if-bound\"\n[[rule]]"), "{text}");
    assert_eq!(enroll(&["policy", "check"]), (0, String::new(), "Nothing is wrong with the policy.\n".into()));

    // Nor where a rule by hand comes first.
    system.drop_in("10-robots.toml", "[[rule]]\nusers = [\"excepted\"]\nrequire = \"off\"\n");
    assert_eq!(enroll(&except).0, 0);
    assert_eq!(enroll(&["policy", "check"]).0, 0);
    fs::remove_file(format!("{DROP_INS}/10-robots.toml")).unwrap();
    // A later rule by hand is not relaxed.
    system.drop_in("60-hand.toml", "[[rule]]\nusers = [\"excepted\"]\nrequire = \"mfa\"\n");
    let (code, _, said) = enroll(&except);
    assert!(code == 1 && said.contains("60-hand.toml:1 asks more of excepted"), "{said}");
    fs::remove_file(format!("{DROP_INS}/60-hand.toml")).unwrap();

    assert_eq!(enroll(&["require", "--group", "exceptgroup", "--except", "nobody-here"]).0, 3);
    let (code, _, said) = enroll(&["require", "--group", "exceptgroup", "--except", "stranger"]);
    assert!(code == 3 && said.contains("does not belong"), "{said}");
    assert_eq!(enroll(&["unrequire", "--group", "exceptgroup"]).0, 0);
    assert!(names().is_empty() && !required("ruled"));
    let trial = [&except[..], &["--try", "10m"]].concat();
    assert_eq!(enroll(&trial).0, 0);
    assert_eq!(enroll(&["require", "--confirm"]).0, 0);
    let text = fs::read_to_string(format!("{DROP_INS}/50-require-group-exceptgroup.toml")).unwrap();
    assert!(!text.contains("expires"), "{text}");
}

/// A rule for a service that asks nobody would look as if it held, while everybody gets in by the first factor alone.
#[test]
fn a_rule_for_a_service_that_asks_nobody_is_refused_or_found() {
    let system = fresh(&["ruled"]);
    services(&system, &["sshd"]);
    system.service("rstudio", "auth required pam_unix.so\naccount required pam_unix.so");
    let said = |arguments: &[&str]| {
        let (code, data, said) = told(&system.enroll(arguments, ""));
        (code, data + &said)
    };
    for (service, why) in [
        ("ssh", "No service is called ssh; did you mean sshd?"),
        ("SSHD", "No service is called SSHD; did you mean sshd?"),
        ("no-such-service", "No service is called no-such-service.\n"),
        ("rstudio", "The service rstudio asks for no second factor: pam_mfa.so is not in its auth lines."),
    ] {
        let (code, told) = said(&["require", "--user", "ruled", "--service", service]);
        assert!(code == 3 && told.contains(why) && names().is_empty(), "{told}");
        if service != "rstudio" {
            let (code, told) = said(&["policy", "explain", "--user", "ruled", "--service", service]);
            assert!(code == 3 && told.contains(why), "{told}");
            let (code, told) = said(&["test", "--service", service]);
            assert!(code == 3 && told.contains(why), "{told}");
        }
    }
    let rule = |services: &str, require: &str| {
        system.config(&format!("[[rule]]\nusers = [\"ruled\"]\nservices = [{services}]\nrequire = \"{require}\"\n"));
        said(&["policy", "check"])
    };
    let nothing = (0, String::from("Nothing is wrong with the policy.\n"));
    assert_eq!(rule("\"ssh\"", "mfa"), (7, "error: mfa.toml:1: no service is called ssh; did you mean sshd?\n".into()));
    assert_eq!(rule("\"ssh\"", "if-bound").0, 6);
    // One policy for many hosts.
    assert_eq!(rule("\"sshd\", \"ssh\"", "mfa").0, 6);
    assert_eq!(rule("\"gdm-password\"", "mfa"), (6, "warning: mfa.toml:1: no service is called gdm-password\n".into()));
    let (code, told) = rule("\"rstudio\"", "mfa");
    assert!(
        code == 7 && told.starts_with("error: mfa.toml:1: the service rstudio asks for no second factor"),
        "{told}"
    );
    assert_eq!(rule("\"rstudio\"", "off"), nothing);
    assert_eq!(rule("\"sshd\"", "mfa"), nothing);
    system.config("[enroll]\nservices = [\"sshd\", \"cockpitt\", \"su-l\"]\n");
    let (code, told) = said(&["policy", "check"]);
    assert!(code == 6 && told == "warning: [enroll] services: no service is called cockpitt\n", "{told}");
    let (_, found) = said(&["doctor", "--json"]);
    assert!(found.contains("enroll-service-unknown") && found.contains("editor /etc/mfa/mfa.toml"), "{found}");
}

#[test]
fn a_file_with_rules_that_is_not_read_is_found() {
    let system = fresh(&["ruled"]);
    let rule = "[[rule]]\nusers = [\"ruled\"]\nrequire = \"mfa\"\n";
    for name in ["10-a.toml.dpkg-new", "10-a.toml~", "10-a.toml.rpmsave", "README", ".10-a.toml.swp", "10-a.toml.off"] {
        system.drop_in(name, rule);
    }
    let check = || {
        let (code, data, said) = told(&system.enroll(&["policy", "check"], ""));
        (code, data + &said)
    };
    assert_eq!(check(), (0, String::from("Nothing is wrong with the policy.\n")));
    for name in ["10-admins.conf", "20-x.TOML", "rules.tml"] {
        system.drop_in(name, rule);
        let (code, told) = check();
        assert!(code == 7, "{told}");
        assert_eq!(told, format!("error: {DROP_INS}/{name} is not read: its name does not end in .toml\n"));
        let (_, found, _) = told_json(&system);
        let meant = name.split('.').next().unwrap();
        let remedy = format!("mv -n {DROP_INS}/{name} {DROP_INS}/{meant}.toml");
        assert!(found.contains("policy-file-ignored") && found.contains(&remedy), "{found}");
        run("sh", &["-c", &remedy]);
        assert_eq!(check().0, 0);
        fs::remove_file(format!("{DROP_INS}/{meant}.toml")).unwrap();
    }
    system.drop_in("notes.md", "why robots are excepted\n");
    assert_eq!(check().0, 6);
}

fn told_json(system: &System) -> (i32, String, String) {
    told(&system.enroll(&["doctor", "--json"], ""))
}

#[test]
fn a_rule_for_nobody_or_with_nonsense_is_not_written() {
    let system = fresh(&["ruled"]);
    let code = |arguments: &[&str]| told(&system.enroll(&[&["require"], arguments].concat(), "")).0;
    assert_eq!(code(&["--group", "no-such-group"]), 3);
    assert_eq!(code(&["--user", "no-such-user"]), 3);
    assert_eq!(code(&["--user", "ruled", "--deadline", "tomorrow"]), 2);
    assert_eq!(code(&["--user", "ruled", "--deadline", "31.12.2027"]), 2);
    assert_eq!(code(&["--user", "ruled", "--service", "SSHD"]), 3);
    assert_eq!(code(&["--user", "ruled", "--try", "soon"]), 2);
    assert_eq!(code(&["--user", "ruled", "--try", "1d"]), 2);
    assert_eq!(code(&["--user", "ruled", "--group", "root"]), 2);
    assert_eq!(code(&[]), 2);
    assert!(names().is_empty());
    system.config("requir = 1\n");
    assert_eq!(code(&["--user", "ruled"]), 1, "onto a policy that is broken nothing is built");
    assert!(names().is_empty());
}

#[test]
fn a_deadline_that_has_begun_is_refused_unless_it_is_there_already() {
    let system = fresh(&["ruled"]);
    let require = || told(&system.enroll(&["require", "--user", "ruled", "--deadline", "2020-01-01"], ""));
    let (code, _, said) = require();
    assert!(code == 1 && said.contains("2020-01-01 has begun already. To require it at once"), "{said}");
    assert!(names().is_empty());
    // A script that goes on saying the same.
    system.drop_in(
        "50-require-user-ruled.toml",
        "# Written by \"mfa-enroll require\"; \"mfa-enroll unrequire\" removes it.\n[[rule]]\nname = \"required\"\n\
         users = [\"ruled\"]\nrequire = \"mfa\"\ndeadline = \"2020-01-01\"\n",
    );
    assert_eq!(require().0, 0);
}

#[test]
fn a_trial_ends_by_itself_unless_it_is_confirmed() {
    let system = fresh(&["tried"]);
    assert_eq!(told(&system.enroll(&["require", "--confirm"], "")).0, 3);
    let (code, _, said) = told(&system.enroll(&["require", "--user", "tried", "--try", "10m"], ""));
    assert_eq!(code, 0);
    assert!(said.contains("It reaches 1: tried.\nWith a device: 0.\nOn trial until 20"), "{said}");
    assert!(said.contains(" UTC. To keep it: mfa-enroll require --confirm\n"), "{said}");
    let explained = told(&system.enroll(&["policy", "explain", "--user", "tried", "--service", "login"], "")).1;
    let keep = "Z, on trial; to keep it: mfa-enroll require --confirm\n";
    assert!(explained.contains("\nexpires     20") && explained.contains(keep), "{explained}");
    let listed = told(&system.enroll(&["list"], "")).2;
    assert!(listed.contains("50-require-user-tried.toml:2 required is on trial until 20"), "{listed}");
    assert!(told(&system.enroll(&["doctor", "--json"], "")).1.contains("\"rule-on-trial\""));
    let path = format!("{DROP_INS}/50-require-user-tried.toml");
    let trial = fs::read_to_string(&path).unwrap();
    assert!(trial.contains("\nexpires = \"20"), "{trial}");
    assert_eq!(told(&system.enroll(&["require", "--confirm"], "")).0, 0);
    let permanent = fs::read_to_string(&path).unwrap();
    assert!(!permanent.contains("expires") && permanent.contains("users = [\"tried\"]"), "{permanent}");
    let (code, _, said) = told(&system.enroll(&["require", "--user", "tried", "--try", "10m"], ""));
    assert_eq!((code, said.contains("already")), (1, true), "a trial would end what is required for good: {said}");
    // A trial that is over is not made permanent.
    let over = permanent + "expires = \"2026-01-01T00:00:00Z\"\n";
    fs::write(&path, &over).unwrap();
    settle();
    let (code, _, said) = told(&system.enroll(&["require", "--confirm"], ""));
    assert_eq!((code, said.contains("The trial is over")), (3, true), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), over);
}

#[test]
fn whom_an_earlier_rule_exempts_is_named() {
    let system = fresh(&["ruled", "exempted"]);
    member("ruledgroup", "ruled");
    member("ruledgroup", "exempted");
    system.drop_in("10-robots.toml", "[[rule]]\nname = \"robots\"\nusers = [\"exempted\"]\nrequire = \"off\"\n");
    let (code, _, said) = told(&system.enroll(&["require", "--group", "ruledgroup"], ""));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("exempted is kept from being required by 10-robots.toml:1 robots"), "{said}");
    assert!(!said.contains("ruled is kept") && names().len() == 2, "{said}");
    system.drop_in("20-sudo.toml", "[[rule]]\nusers = [\"ruled\"]\nservices = [\"sudo\"]\nrequire = \"off\"\n");
    let (code, _, said) = told(&system.enroll(&["require", "--group", "ruledgroup"], ""));
    assert_eq!(
        (code, said.contains("ruled is kept from being required at sudo by 20-sudo.toml:1")),
        (1, true),
        "{said}"
    );
    let (code, data, said) = told(&system.enroll(&["policy", "check"], ""));
    assert_eq!(code, 6, "{said}");
    assert!(data.contains("warning: exempted is kept from being required by 10-robots.toml:1 robots"), "{data}");
}

#[test]
fn what_a_later_rule_asks_more_is_not_relaxed() {
    let system = fresh(&["ruled", "guarded"]);
    services(&system, &["su", "login", "sshd"]);
    member("ruledgroup", "ruled");
    member("ruledgroup", "guarded");
    let refused = |arguments: &[&str], rule: &str, more: &str| {
        let (code, _, said) = told(&system.enroll(&[&["require", "--group", "ruledgroup"], arguments].concat(), ""));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("{rule} asks more of guarded")) && said.contains(more), "{said}");
        assert!(!names().iter().any(|name| name.starts_with("50-require")), "written all the same");
    };
    let hand = "60-hand.toml";
    let by_hand = |rule: &str| system.drop_in(hand, &format!("[[rule]]\nusers = [\"guarded\"]\n{rule}\n"));
    let mfa = "require = \"mfa\"";
    for (more, said) in [
        ("enroll = \"by-admin\"", "enroll = \"by-admin\""),
        ("enroll = \"invited\"", "enroll = \"invited\""),
        ("kinds = [\"totp\"]", "kinds = [\"totp\"]"),
    ] {
        by_hand(&format!("{mfa}\n{more}"));
        refused(&[], "60-hand.toml:1", said);
    }
    by_hand(mfa);
    refused(&["--deadline", "2027-01-31"], "60-hand.toml:1", "it is required already");
    by_hand(&format!("{mfa}\ndeadline = \"2027-01-30\""));
    refused(&["--deadline", "2027-01-31"], "60-hand.toml:1", "it is required earlier");
    by_hand("require = \"if-bound\"\nssh_key = \"deny\"");
    refused(&["--deadline", "2027-01-31"], "60-hand.toml:1", "ssh_key = \"deny\"");
    // The main file comes last, and what holds at one service is relaxed there.
    fs::remove_file(format!("{DROP_INS}/{hand}")).unwrap();
    system.config("[[rule]]\nusers = [\"guarded\"]\nservices = [\"sshd\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n");
    refused(&["--try", "10m"], "mfa.toml:1", " at sshd: ");

    // Elsewhere, or where an earlier rule decides, or where nothing is relaxed, it is written.
    let require = |arguments: &[&str]| told(&system.enroll(&[&["require"], arguments].concat(), ""));
    assert_eq!(require(&["--group", "ruledgroup", "--service", "su"]).0, 0);
    assert_eq!(require(&["--user", "ruled"]).0, 0);
    // Its own rule of before included.
    let (code, _, said) = require(&["--user", "ruled", "--deadline", "2099-01-01"]);
    assert_eq!((code, said.contains("it is required already")), (1, true), "{said}");
    assert_eq!(require(&["--user", "ruled"]).0, 0, "the same once more");
    by_hand(mfa);
    assert_eq!(require(&["--group", "ruledgroup", "--service", "login"]).0, 0, "as strict as that one");
    system.drop_in("40-first.toml", "[[rule]]\nusers = [\"guarded\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n");
    by_hand(&format!("{mfa}\nenroll = \"by-admin\""));
    assert_eq!(require(&["--group", "ruledgroup"]).0, 0, "that one decides");
}

#[test]
fn the_check_finds_what_the_parser_cannot_see() {
    let system = fresh(&["ruled"]);
    let (code, data, said) = told(&system.enroll(&["policy", "check"], ""));
    assert_eq!((code, data.as_str(), said.as_str()), (0, "", "Nothing is wrong with the policy.\n"));
    for (policy, code, finding) in [
        ("[[rule]]\nrequire = \"off\"\n", 7, "error: mfa.toml:1 exempts everybody everywhere"),
        ("[[rule]]\ngroups = [\"wheeel\"]\nrequire = \"mfa\"\n", 7, "error: mfa.toml:1: no group is called wheeel"),
        (
            "[[rule]]\nrequire = \"mfa\"\nkinds = [\"totp\"]\nsk_key = \"counts\"\n",
            6,
            "warning: mfa.toml:1: sk_key counts, and no security key may be bound",
        ),
        (
            "[[rule]]\nrequire = \"mfa\"\n[[rule]]\nusers = [\"ruled\"]\nrequire = \"off\"\n",
            6,
            "warning: mfa.toml:3 can never decide",
        ),
        (
            "[[rule]]\nusers = [\"nobody-here\"]\nrequire = \"mfa\"\n",
            6,
            "warning: mfa.toml:1: no user is called nobody-here",
        ),
        (
            "[[rule]]\nfrom = [\"0.0.0.0/0\"]\nrequire = \"mfa\"\n",
            7,
            "error: mfa.toml:1: from 0.0.0.0/0 leaves out IPv6: add \"::/0\"",
        ),
        (
            "[[rule]]\nfrom = [\"::/0\", \"local\"]\nrequire = \"off\"\n",
            6,
            "warning: mfa.toml:1: from ::/0 leaves out IPv4: add \"0.0.0.0/0\"",
        ),
        (
            "[[rule]]\nusers = [\"ruled\"]\nrequire = \"mfa\"\nexpires = \"2026-01-01\"\n",
            6,
            "warning: mfa.toml:1 has expired",
        ),
    ] {
        system.config(policy);
        let (found, data, said) = told(&system.enroll(&["policy", "check"], ""));
        assert_eq!(found, code, "{policy}: {data} {said}");
        assert!(data.contains(finding), "{policy}: {data}");
    }
    system.config("[[rule]]\nrequire = \"maybe\"\n");
    let (code, data, said) = told(&system.enroll(&["policy", "check"], ""));
    assert_eq!(code, 7, "{said}");
    assert!(data.contains("mfa.toml:2") && data.contains('^'), "{data}");
}

/// What whoever wrote a file put there reaches the terminal of whoever checks it, root, as text and nothing else.
#[test]
fn a_policy_that_is_a_mistake_steers_no_terminal() {
    let system = fresh(&["ruled"]);
    for hostile in ["\x1b[2J", "\u{9b}31m", "\u{202e}", "\u{200b}", "\u{e0041}", "\u{ad}", "\u{3164}", "\x07", "\x7f"] {
        for text in [
            format!("[u2f]#{hostile}\n"),
            format!("[[rule]]\nname = \"{hostile}\"\nrequire = \"off\"\n"),
            format!("[[rule]]\ngroups = [\"a{hostile}b\"]\nrequire = \"mfa\"\n"),
            format!("[[rule]]\nusers = [\"a{hostile}b\"]\nrequire = \"mfa\"\n"),
            format!("\"{hostile}\" = 1\n"),
            format!("[\"{hostile}\"]\n[[rule]]\n\"{hostile}\" = \"{hostile}\"\n"),
            hostile.to_owned(),
        ] {
            system.config(&text);
            for verb in
                ["policy check", "policy explain --user ruled --service sshd", "doctor", "list", "require --user ruled"]
            {
                let words: Vec<&str> = verb.split(' ').collect();
                let (_, data, said) = told(&system.enroll(&words, ""));
                let raw = (data.clone() + &said).contains(hostile);
                assert!(!raw, "{verb} of {text:?}: {data:?} {said:?}");
            }
        }
    }
}

/// Of nine letters each, more than fit the buffer that a look-up usually has.
#[test]
fn a_group_of_fifty_thousand_is_a_group() {
    let system = fresh(&["ruled", "outsider"]);
    services(&system, &["sshd"]);
    let letters = |n: usize| (0..9).map(|at| char::from(b'a' + (n / 5_usize.pow(at) % 5) as u8)).collect::<String>();
    let members: Vec<String> = (0..50_000).map(letters).collect();
    let before = fs::read_to_string("/etc/group").unwrap();
    fs::write("/etc/group", format!("{before}staffall:x:47110:{},ruled\n", members.join(","))).unwrap();
    system.config("[[rule]]\nname = \"staff\"\ngroups = [\"staffall\"]\nrequire = \"mfa\"\n");
    let explained =
        |user: &str| told(&system.enroll(&["policy", "explain", "--user", user, "--service", "sshd"], "")).1;
    let (in_it, out_of_it) = (explained("ruled"), explained("outsider"));
    let checked = told(&system.enroll(&["policy", "check"], ""));
    let required = told(&system.enroll(&["require", "--group", "staffall", "--service", "sshd"], ""));
    let listed = told(&system.enroll(&["list", "--group", "staffall", "--json"], ""));
    fs::write("/etc/group", before).unwrap();
    assert!(in_it.contains("groups    true") && in_it.contains("require     mfa"), "{in_it}");
    assert!(out_of_it.contains("groups    false") && out_of_it.contains("require     if-bound"), "{out_of_it}");
    assert_eq!(checked, (0, String::new(), "Nothing is wrong with the policy.\n".into()));
    assert_eq!(required.0, 0, "{required:?}");
    assert!(listed.0 == 0 && listed.1.contains("\"ruled\"") && !listed.1.contains("outsider"), "{listed:?}");
}

#[test]
fn it_is_explained_which_rule_decides_and_what_happens() {
    let system = fresh(&["ruled"]);
    services(&system, &["sshd", "sudo", "cron"]);
    member("ruledgroup", "ruled");
    let ours =
        "{first}\nauth required {module} stack=complete\naccount required {module}\naccount required pam_permit.so\n";
    system.service("sshd", &format!("{ours}session optional {{module}}"));
    system.config(
        "[[rule]]\nname = \"home\"\nfrom = [\"10.0.0.0/8\"]\nrequire = \"off\"\n\
         [[rule]]\nname = \"admins\"\ngroups = [\"ruledgroup\"]\nservices = [\"sshd\", \"sudo\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n",
    );
    let explain = |arguments: &[&str]| {
        let (code, data, said) =
            told(&system.enroll(&[&["policy", "explain", "--user", "ruled"], arguments].concat(), ""));
        assert_eq!((code, said.as_str()), (0, ""));
        data
    };
    let home = explain(&["--service", "sshd", "--rhost", "10.1.2.3"]);
    assert!(home.contains("decides     mfa.toml:1 home\n") && home.contains("let in after the first factor"), "{home}");
    let away = explain(&["--service", "sshd", "--rhost", "192.0.2.7"]);
    assert!(away.contains("  from      false\n") && away.contains("  groups    true\n"), "{away}");
    // Behind a doubt where no sshd of the sandbox tells its settings.
    assert!(away.ends_with("refused: an administrator has to bind a device first\n"), "{away}");
    let named = explain(&["--service", "sshd", "--rhost", "host.example"]);
    assert!(named.contains("  from      unknown\n") && named.contains("require     mfa\n"), "{named}");
    let key = explain(&["--service", "sshd", "--rhost", "192.0.2.7", "--ssh-key", "ssh-ed25519"]);
    assert!(key.ends_with("refused: a key alone is not enough\n"), "{key}");
    let cron = explain(&["--service", "cron", "--rhost", "local"]);
    assert!(cron.contains("decides     none\n"), "{cron}");
    assert!(!away.contains("sk_key"), "{away}");
    system.config("[[rule]]\nrequire = \"mfa\"\nsk_key = \"counts\"\n");
    let counts = explain(&["--service", "sshd", "--rhost", "192.0.2.7"]);
    assert!(counts.contains("sk_key      counts\n"), "{counts}");
    let unknown = told(&system.enroll(&["policy", "explain", "--user", "nobody-here", "--service", "sshd"], ""));
    assert_eq!(unknown.0, 3);
}
