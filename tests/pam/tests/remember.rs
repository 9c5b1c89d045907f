//! Remembered logins, through the real helper: when the code is not asked again, and all that makes it asked again.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use pam_tests::code::{AUTH_ERR, CONV_ERR, SUCCESS};
use pam_tests::{Bound, Gate, Host, Log, add_user, run};

const RULE: &str = "[[rule]]\nrequire = \"mfa\"\nremember = \"8h\"\n";
const HOURS: i64 = 3600 / 30;
const HOME: &str = "192.0.2.7";

/// A user with a device who is remembered for eight hours, and has read that the device was bound.
fn fresh(user: &str) -> Bound {
    let mut bound = Bound::fresh(user);
    let complete = "{first}\nauth required {module} stack=complete\naccount required {module}";
    for service in ["door", "gate", "sudo"] {
        bound.system.service(service, complete);
    }
    assert_eq!(bound.auth(&bound.code(1)), SUCCESS);
    bound.advance(10);
    bound.system.config(RULE);
    bound
}

/// What a login consists of.
#[derive(Clone, Copy)]
struct Way<'a> {
    user: &'a str,
    service: &'a str,
    rhost: Option<&'a str>,
    key: Option<&'a str>,
    /// Whether it begins an audit session of its own.
    session: bool,
}

impl<'a> Way<'a> {
    fn home(user: &'a str) -> Way<'a> {
        Way { user, service: "door", rhost: Some(HOME), key: None, session: false }
    }

    fn host(&self, bound: &Bound) -> Host {
        let mut host = bound.system.host(self.service).user(self.user);
        if let Some(rhost) = self.rhost {
            host = host.word("item", format!("4:{rhost}"));
        }
        if let Some(key) = self.key {
            host = host.word("pamenv", format!("SSH_AUTH_INFO_0=publickey ssh-ed25519 {key}\n"));
        }
        host = host.steps(&["auth"]);
        // As pam_loginuid does it.
        let in_a_session = ["sh", "-c", "echo 0 >/proc/self/loginuid && exec \"$@\"", "sh"];
        if self.session { host.under(&in_a_session) } else { host }
    }

    /// Whether it is let in unasked; if it is asked, nobody answers.
    #[track_caller]
    fn is_remembered(&self, bound: &Bound) -> bool {
        let report = self.host(bound).answer("").run();
        match (report.code("auth"), report.said().is_empty()) {
            (SUCCESS, true) => true,
            (CONV_ERR, false) => false,
            other => panic!("{other:?}: {report:#?}"),
        }
    }

    /// Gives the present code, which must be good, and lets two steps go by.
    #[track_caller]
    fn gives_the_code(&self, bound: &mut Bound) {
        assert!(!self.is_remembered(bound), "it is asked before");
        assert_eq!(self.host(bound).answer(&bound.code(0)).run().code("auth"), SUCCESS);
        bound.advance(2);
    }
}

/// What is listed: id, and the rest of the line.
fn tickets(bound: &Bound, user: &str) -> Vec<(String, String)> {
    let listed = bound.system.enroll(&["tickets", "--user", user], "");
    assert!(listed.status.success(), "{listed:?}");
    let text = String::from_utf8(listed.stdout).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.map(|words| (words[0].to_owned(), words[3..].join(" "))).collect()
}

fn revoke(bound: &Bound, user: &str, id: &str) -> i32 {
    bound.system.enroll(&["tickets", "--user", user, "--revoke", id], "").status.code().unwrap()
}

#[test]
fn the_same_login_is_not_asked_again_until_the_time_is_over_and_the_log_says_so() {
    let mut bound = fresh("again");
    let (home, log) = (Way::home("again"), Log::listen());
    home.gives_the_code(&mut bound);
    let before = fs::read(bound.file("state")).unwrap();
    assert!(home.is_remembered(&bound) && home.is_remembered(&bound), "as often as one likes");
    assert!(Way { rhost: Some("::ffff:192.0.2.7"), ..home }.is_remembered(&bound), "the same address");
    assert_eq!(fs::read(bound.file("state")).unwrap(), before, "nothing is written");
    let line = log.lines_with("event=verify user=again").pop().unwrap();
    assert!(line.contains(" factor=remembered ") && line.contains(" verdict=accepted "), "{line}");
    let id = &tickets(&bound, "again")[0].0;
    assert!(line.contains(&format!("reason=\"remembered login {id}\"")), "{line}");
    bound.advance(8 * HOURS - 3);
    assert!(home.is_remembered(&bound));
    bound.advance(1);
    assert!(!home.is_remembered(&bound), "expired");
    assert!(tickets(&bound, "again").is_empty());
    home.gives_the_code(&mut bound);
    bound.advance(-10);
    assert!(!home.is_remembered(&bound), "from the future: the clock was set back");
}

/// A file manager opens several sessions at once: all are asked before the first of them is answered, and the person gives
/// the same code to each.
#[test]
fn a_login_that_was_asked_is_let_in_by_what_another_has_won_meanwhile() {
    let mut bound = fresh("beside");
    let log = Log::listen();
    let home = Way::home("beside");
    let elsewhere = Way { rhost: Some("192.0.2.8"), ..home };
    let code = bound.code(0);
    let gate = Gate::closed();
    let start = |way: &Way| way.host(&bound).answer(&code).gate(&gate).start();
    let (at_home, away) = ([start(&home), start(&home), start(&home)], start(&elsewhere));
    gate.await_hosts(4);
    // The first wins before the others answer.
    assert_eq!(home.host(&bound).answer(&code).run().code("auth"), SUCCESS);
    let after = fs::read(bound.file("state")).unwrap();
    gate.open();
    for host in at_home {
        let report = host.report();
        assert_eq!((report.code("auth"), report.said().len()), (SUCCESS, 1), "{report:#?}");
    }
    assert_eq!(away.report().code("auth"), AUTH_ERR, "it has another address");
    assert_eq!(fs::read(bound.file("state")).unwrap(), after, "one code was used, and nothing else was written");
    let id = &tickets(&bound, "beside")[0].0;
    let reason = format!("reason=\"remembered login {id}\"");
    let lines = log.lines_with("event=verify user=beside");
    assert_eq!(lines.iter().filter(|line| line.contains(&reason)).count(), 3, "{lines:?}");

    // A wrong code is a guess, whatever is remembered.
    bound.advance(2);
    assert_eq!(revoke(&bound, "beside", "all"), 0);
    let gate = Gate::closed();
    let guess = home.host(&bound).answer("000000").gate(&gate).start();
    let revoked = home.host(&bound).answer(&bound.code(0)).gate(&gate).start();
    gate.await_hosts(2);
    assert_eq!(home.host(&bound).answer(&bound.code(0)).run().code("auth"), SUCCESS);
    assert_eq!(revoke(&bound, "beside", "all"), 0);
    gate.open();
    assert_eq!(guess.report().code("auth"), AUTH_ERR);
    assert_eq!(revoked.report().code("auth"), AUTH_ERR, "what was revoked lets nobody in");
}

/// A change of the binding has to be told at the prompt before a remembered login lets in again.
#[test]
fn a_login_that_was_asked_is_not_let_in_past_a_change_of_the_binding() {
    let bound = fresh("behind");
    let home = Way::home("behind");
    let code = bound.code(0);
    let gate = Gate::closed();
    let asked = home.host(&bound).answer(&code).gate(&gate).start();
    gate.await_hosts(1);
    assert_eq!(home.host(&bound).answer(&code).run().code("auth"), SUCCESS);
    let made = bound.system.enroll(&["recovery-codes", "--user", "behind"], "ok\n");
    assert!(made.status.success(), "{made:?}");
    gate.open();
    assert_eq!(asked.report().code("auth"), AUTH_ERR);
}

#[test]
fn another_address_key_service_or_user_is_asked() {
    let mut bound = fresh("bound-to");
    let home = Way::home("bound-to");
    home.gives_the_code(&mut bound);
    let (key, other_key) = (Some("a2V5"), Some("a2V6"));
    let others = [
        ("address", Way { rhost: Some("192.0.2.8"), ..home }),
        ("no address", Way { rhost: None, ..home }),
        ("a name that a reverse lookup gives", Way { rhost: Some("trusted.example"), ..home }),
        ("a name that begins like it", Way { rhost: Some("192.0.2.7.example"), ..home }),
        ("service", Way { service: "gate", ..home }),
        ("key", Way { key, ..home }),
    ];
    for (what, other) in others {
        assert!(!other.is_remembered(&bound), "{what}");
    }
    let keyed = Way { key, ..home };
    keyed.gives_the_code(&mut bound);
    assert!(keyed.is_remembered(&bound) && home.is_remembered(&bound), "each for itself");
    assert!(!Way { key: other_key, ..home }.is_remembered(&bound), "another key");
    assert!(revoke(&bound, "bound-to", "all") == 0);
    keyed.gives_the_code(&mut bound);
    assert!(!home.is_remembered(&bound), "without the key");

    add_user("somebody");
    bound.bind_other("somebody");
    assert!(!Way::home("somebody").is_remembered(&bound), "another user");
}

/// PTR spoofed: whoever holds an address also says what its name is.
#[test]
fn where_the_client_has_a_name_nothing_is_remembered() {
    let mut bound = fresh("named");
    for rhost in ["trusted.example", "localhost", "fe80::1%eth0"] {
        let named = Way { rhost: Some(rhost), ..Way::home("named") };
        named.gives_the_code(&mut bound);
        assert!(!named.is_remembered(&bound), "{rhost}");
    }
    assert!(tickets(&bound, "named").is_empty());
}

#[test]
fn without_an_address_it_is_the_audit_session_and_the_boot() {
    let mut bound = fresh("sitting");
    let sudo = Way { service: "sudo", rhost: None, ..Way::home("sitting") };
    sudo.gives_the_code(&mut bound);
    assert!(!sudo.is_remembered(&bound) && tickets(&bound, "sitting").is_empty(), "in no session");

    let session = Session::begin(&bound, "sitting");
    assert_eq!(session.sudo(&bound.code(0)), (SUCCESS, true), "asked");
    bound.advance(2);
    assert_eq!(session.sudo(""), (SUCCESS, false));
    let listed = tickets(&bound, "sitting");
    assert!(listed.len() == 1 && listed[0].1.starts_with("no sudo audit session "), "{listed:?}");
    assert!(!Way { session: true, ..sudo }.is_remembered(&bound), "another session");
    assert!(!sudo.is_remembered(&bound), "no session");

    // After a reboot the kernel counts from the start, and another boot has another id.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let state = String::from_utf8_lossy(&fs::read(bound.file("state")).unwrap()).into_owned();
    assert!(state.contains(&format!(":{}:", boot.trim())), "{state}");
    fs::write("/tmp/mfa-test-boot", "00000000-0000-4000-8000-000000000000\n").unwrap();
    run("mount", &["--bind", "/tmp/mfa-test-boot", "/proc/sys/kernel/random/boot_id"]);
    let after_reboot = session.sudo("");
    run("umount", &["/proc/sys/kernel/random/boot_id"]);
    assert_eq!(after_reboot, (CONV_ERR, true));
    assert_eq!(session.sudo(""), (SUCCESS, false));
}

/// A process in an audit session of its own, from which logins are started.
struct Session {
    shell: std::cell::RefCell<std::process::Child>,
    service: std::path::PathBuf,
}

impl Session {
    fn begin(bound: &Bound, user: &str) -> Session {
        use std::io::Read;
        use std::process::{Command, Stdio};
        let service = bound.system.store().with_file_name("mfa-session");
        let _ = fs::remove_dir_all(&service);
        fs::create_dir_all(&service).unwrap();
        let host = pam_tests::artifact("pam-host");
        let script = format!(
            "stty -echo -onlcr\n\
             echo 0 >/proc/self/loginuid || exit\n\
             echo\n\
             while read -r code; do\n\
             {} --report={}/report --confdir=/etc/pam.d --service=sudo --user={user} --answer=\"$code\" auth\n\
             echo\n\
             done",
            host.display(),
            service.display()
        );
        // On a terminal of its own.
        let mut shell = Command::new("script");
        let shell = shell.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Session { shell: shell.into(), service }
    }

    /// The code of one auth phase, and whether something was asked.
    fn sudo(&self, answer: &str) -> (i32, bool) {
        use std::io::{Read, Write};
        let mut shell = self.shell.borrow_mut();
        writeln!(shell.stdin.as_mut().unwrap(), "{answer}").unwrap();
        shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let report = fs::read_to_string(self.service.join("report")).unwrap();
        let code = report.lines().find_map(|line| line.strip_prefix("code auth ")).unwrap();
        (code.parse().unwrap(), report.contains("said ask"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let shell = self.shell.get_mut();
        drop(shell.stdin.take());
        let _ = shell.wait();
    }
}

#[test]
fn what_is_revoked_is_asked_again() {
    let mut bound = fresh("revoked");
    let (home, gate) = (Way::home("revoked"), Way { service: "gate", ..Way::home("revoked") });
    home.gives_the_code(&mut bound);
    gate.gives_the_code(&mut bound);
    let listed = tickets(&bound, "revoked");
    assert_eq!([&listed[0].1, &listed[1].1], ["no door 192.0.2.7", "no gate 192.0.2.7"]);
    assert_eq!(revoke(&bound, "revoked", "00000000"), 3);
    assert_eq!(revoke(&bound, "nobody-here", "all"), 3);
    assert!(home.is_remembered(&bound) && gate.is_remembered(&bound));
    assert_eq!(revoke(&bound, "revoked", &listed[0].0), 0);
    assert!(!home.is_remembered(&bound) && gate.is_remembered(&bound));
    assert_eq!(revoke(&bound, "revoked", &listed[0].0), 3, "it is gone");
    home.gives_the_code(&mut bound);
    assert_eq!(revoke(&bound, "revoked", "all"), 0);
    assert!(!home.is_remembered(&bound) && !gate.is_remembered(&bound));
    assert_eq!(revoke(&bound, "revoked", "all"), 3);
    let json = bound.system.enroll(&["tickets", "--user", "revoked", "--json"], "");
    assert_eq!(String::from_utf8_lossy(&json.stdout), "[]\n");
    assert_eq!(String::from_utf8_lossy(&json.stderr), "No login of revoked is remembered.\n");
}

#[test]
fn it_dies_with_the_binding() {
    let mut bound = fresh("mortal");
    let home = Way::home("mortal");
    home.gives_the_code(&mut bound);
    let disabled = bound.system.enroll(&["disable", "--user", "mortal"], "");
    assert!(disabled.status.success());
    bound.bind();
    assert!(!home.is_remembered(&bound), "disabled, and another device bound");
    bound.advance(2);
    home.gives_the_code(&mut bound);
    assert!(home.is_remembered(&bound));
    let saved = bound.saved();

    let key = bound.pend_replacement();
    assert!(home.is_remembered(&bound), "the old device is bound still");
    let codes = [bound.code_of(&key, -1), bound.code_of(&key, 0)];
    let confirmed = bound.system.enroll(&["confirm", "--user", "mortal", &codes[0], &codes[1]], "");
    assert!(confirmed.status.success(), "{confirmed:?}");
    assert!(!home.is_remembered(&bound), "replaced");
    assert!(tickets(&bound, "mortal").is_empty());
    // As a cut right behind the rename of the new credentials leaves it.
    let (path, state) = saved.iter().find(|(path, _)| path.ends_with("state")).unwrap();
    fs::write(path, state).unwrap();
    assert!(!home.is_remembered(&bound), "a ticket of the device before");
}

fn words(bound: &Bound, verb: &[&str]) -> Vec<String> {
    let made = bound.system.enroll(verb, "");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let is_code = |word: &&str| word.len() == 19 && word.matches('-').count() == 3;
    text.split(|c: char| c.is_whitespace() || "\",[]".contains(c)).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn a_recovery_code_and_a_bypass_code_are_not_remembered() {
    let mut bound = fresh("spare");
    let home = Way::home("spare");
    let recovery = words(&bound, &["recovery-codes", "--user", "spare", "--json"]);
    let bypass = words(&bound, &["bypass", "--user", "spare"]);
    bound.advance(2);
    for code in [&recovery[0], &bypass[0]] {
        assert_eq!(home.host(&bound).answer(code).run().code("auth"), SUCCESS);
        assert!(!home.is_remembered(&bound), "{code}");
    }
    assert_eq!(home.host(&bound).answer("000000").run().code("auth"), AUTH_ERR);
    assert!(tickets(&bound, "spare").is_empty());
    home.gives_the_code(&mut bound);
    assert!(home.is_remembered(&bound));
}

#[test]
fn the_rule_of_now_decides() {
    let mut bound = fresh("ruled");
    let home = Way::home("ruled");
    home.gives_the_code(&mut bound);
    for (rule, remembered) in [
        ("[[rule]]\nrequire = \"mfa\"\n", false),
        ("# none\n", false),
        ("[[rule]]\nrequire = \"if-bound\"\nremember = \"1m\"\n", false),
        ("[[rule]]\nrequire = \"if-bound\"\nremember = \"1h\"\n", true),
        ("[[rule]]\nservices = [\"gate\"]\nrequire = \"mfa\"\nremember = \"8h\"\n", false),
        (
            "[[rule]]\ngroups = [\"no-such-group\"]\nrequire = \"mfa\"\n[[rule]]\nrequire = \"mfa\"\nremember = \"8h\"\n",
            false,
        ),
        ("[[rule]]\nmode = \"observe\"\nrequire = \"mfa\"\nremember = \"8h\"\n", false),
        (RULE, true),
    ] {
        bound.advance(1);
        bound.system.config(rule);
        assert_eq!(home.is_remembered(&bound), remembered, "{rule}");
    }
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    home.gives_the_code(&mut bound);
    assert_eq!(revoke(&bound, "ruled", "all"), 0, "the one from before");
    home.gives_the_code(&mut bound);
    bound.system.config(RULE);
    assert!(!home.is_remembered(&bound), "where no rule said so nothing was remembered");
}

#[test]
fn where_the_first_factor_is_not_known_to_be_right_nothing_is_remembered() {
    let mut bound = fresh("unproved");
    let home = Way::home("unproved");
    let unknown = "auth required {module}\naccount required {module}";
    bound.system.service("door", unknown);
    home.gives_the_code(&mut bound);
    assert!(tickets(&bound, "unproved").is_empty());
    bound.system.service("door", "{first}\nauth required {module} stack=complete\naccount required {module}");
    home.gives_the_code(&mut bound);
    assert!(home.is_remembered(&bound));
    bound.system.service("door", unknown);
    assert!(!home.is_remembered(&bound), "nobody learns here that there is a device");
}

#[test]
fn a_lock_does_not_shut_out_who_is_remembered_and_a_change_behind_the_back_is_told() {
    let mut bound = fresh("quiet");
    let home = Way::home("quiet");
    home.gives_the_code(&mut bound);
    let away = Way { rhost: Some("203.0.113.9"), ..home };
    for _ in 0..5 {
        assert_ne!(away.host(&bound).answer("000000").run().code("auth"), SUCCESS);
    }
    assert!(home.is_remembered(&bound));
    bound.advance(4);
    words(&bound, &["recovery-codes", "--user", "quiet", "--json"]);
    bound.advance(1);
    let report = home.host(&bound).answer(&bound.code(0)).run();
    assert_eq!(report.code("auth"), SUCCESS);
    assert!(report.said()[0].text.contains("New recovery codes were made"), "{:?}", report.said());
    bound.advance(1);
    assert!(home.is_remembered(&bound), "told");
}

#[test]
fn no_more_are_kept_than_eight_and_the_oldest_goes() {
    let mut bound = fresh("many");
    let from = |n: usize| format!("192.0.2.{n}");
    for n in 0..9 {
        Way { rhost: Some(&from(n)), ..Way::home("many") }.gives_the_code(&mut bound);
    }
    assert_eq!(tickets(&bound, "many").len(), 8);
    for n in 0..9 {
        let remembered = Way { rhost: Some(&from(n)), ..Way::home("many") }.is_remembered(&bound);
        assert_eq!(remembered, n > 0, "{n}");
    }
}

#[test]
fn it_is_explained_and_checked() {
    let bound = fresh("explained");
    ["sshd", "sudo"].iter().for_each(|name| bound.system.service(name, "{first}\nauth required {module}"));
    let explain = |arguments: &[&str]| {
        let verb = ["policy", "explain", "--user", "explained"];
        let told = bound.system.enroll(&[&verb, arguments].concat(), "");
        let text = String::from_utf8(told.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("remembered  ")).map(str::to_owned)
    };
    let said = |arguments: &[&str]| explain(arguments).unwrap();
    assert_eq!(said(&["--service", "sshd", "--rhost", HOME]), "for 8 h after a code, from 192.0.2.7 again");
    assert_eq!(said(&["--service", "sshd", "--rhost", "host.example"]), "no: this is no literal address of a client");
    assert_eq!(said(&["--service", "sshd"]), "for 8 h after a code, from the same address");
    assert_eq!(
        said(&["--service", "sudo", "--rhost", "local"]),
        "for 8 h after a code, in the same session of a terminal"
    );
    assert_eq!(explain(&["--service", "sshd", "--ssh-key", "ssh-ed25519"]), None, "a key alone is another question");
    bound.system.config("[[rule]]\nrequire = \"off\"\nusers = [\"explained\"]\nremember = \"8h\"\n");
    assert_eq!(said(&["--service", "door", "--rhost", HOME]), "no");
    let checked = bound.system.enroll(&["policy", "check"], "");
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(6), "{text}");
    assert!(text.contains("warning: mfa.toml:1 asks nothing, so there is nothing to remember"), "{text}");
}
