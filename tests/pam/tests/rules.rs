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
    settle();
    assert!(required("ruled") && !required("root"));
    let again = told(&system.enroll(&["require", "--group", "ruledgroup", "--service", "sshd"], ""));
    assert_eq!((again.0, names().len()), (0, 1), "the same rule is the same file");
    assert_eq!(told(&system.enroll(&["unrequire", "--group", "ruledgroup"], "")).0, 3, "another rule");
    assert_eq!(told(&system.enroll(&["unrequire", "--group", "ruledgroup", "--service", "sshd"], "")).0, 0);
    settle();
    assert!(names().is_empty() && !required("ruled"));
}

#[test]
fn a_rule_for_nobody_or_with_nonsense_is_not_written() {
    let system = fresh(&["ruled"]);
    let code = |arguments: &[&str]| told(&system.enroll(&[&["require"], arguments].concat(), "")).0;
    assert_eq!(code(&["--group", "no-such-group"]), 3);
    assert_eq!(code(&["--user", "no-such-user"]), 3);
    assert_eq!(code(&["--user", "ruled", "--deadline", "tomorrow"]), 1);
    assert_eq!(code(&["--user", "ruled", "--service", "SSHD"]), 1);
    assert_eq!(code(&["--user", "ruled", "--try", "soon"]), 2);
    assert_eq!(code(&["--user", "ruled", "--group", "root"]), 2);
    assert_eq!(code(&[]), 2);
    assert!(names().is_empty());
    system.config("requir = 1\n");
    assert_eq!(code(&["--user", "ruled"]), 1, "onto a policy that is broken nothing is built");
    assert!(names().is_empty());
}

#[test]
fn a_trial_ends_by_itself_unless_it_is_confirmed() {
    let system = fresh(&["tried"]);
    assert_eq!(told(&system.enroll(&["require", "--confirm"], "")).0, 3);
    assert_eq!(told(&system.enroll(&["require", "--user", "tried", "--try", "10m"], "")).0, 0);
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
    assert!(away.contains("outcome     refused: an administrator has to bind a device first\n"), "{away}");
    let named = explain(&["--service", "sshd", "--rhost", "host.example"]);
    assert!(named.contains("  from      unknown\n") && named.contains("require     mfa\n"), "{named}");
    let key = explain(&["--service", "sshd", "--rhost", "192.0.2.7", "--ssh-key", "ssh-ed25519"]);
    assert!(key.contains("outcome     refused: a key alone is not enough\n"), "{key}");
    let cron = explain(&["--service", "cron", "--rhost", "local"]);
    assert!(cron.contains("decides     none\n"), "{cron}");
    assert!(!away.contains("sk_key"), "{away}");
    system.config("[[rule]]\nrequire = \"mfa\"\nsk_key = \"counts\"\n");
    let counts = explain(&["--service", "sshd", "--rhost", "192.0.2.7"]);
    assert!(counts.contains("sk_key      counts\n"), "{counts}");
    let unknown = told(&system.enroll(&["policy", "explain", "--user", "nobody-here", "--service", "sshd"], ""));
    assert_eq!(unknown.0, 3);
}
