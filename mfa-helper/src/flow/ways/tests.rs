use std::collections::HashMap;

use mfa_core::Id;
use mfa_core::record::{App, Credentials, Device as Bound, Latest, Record, State};
use mfa_core::totp::{Parameters, Totp};
use mfa_core::{recovery, view::View};
use mfa_wire::Secret;

use super::shadow::Shadow;
use super::*;
use crate::host::random;
use crate::identity;
use crate::policy::parse::parse;

const HASH: &str = "$y$j9T$abc$def";
const AUTH: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n\
    auth required pam_permit.so\nauth required pam_mfa.so stack=complete\n";
const ACCOUNT: &str = "account required pam_mfa.so\n\
    account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\n\
    account required pam_permit.so\n";
const SESSION: &str = "session required pam_unix.so\nsession optional pam_mfa.so\n";
const SSHD: &str = "usepam yes\npasswordauthentication no\nkbdinteractiveauthentication yes\npubkeyauthentication yes\n\
    permitrootlogin prohibit-password\nauthenticationmethods any\npermitemptypasswords no\n";
const SUDOERS: &str = r#"{"User_Specs": [{"User_List": [{"username": "daemon"}], "Host_List": [{"hostname": "ALL"}],
    "Cmnd_Specs": [{"Commands": [{"command": "ALL"}]}]}]}"#;

/// A host, and one person of it.
struct Case {
    passwd: &'static str,
    hash: &'static str,
    uid: u32,
    shell: &'static str,
    bound: bool,
    auth: String,
    account: String,
    sshd: String,
    /// Those of its `Match` blocks.
    conditions: Vec<String>,
    sudoers: String,
    rules: &'static str,
    /// Whether there is /etc/nologin.
    closed: bool,
}

impl Case {
    fn new() -> Case {
        Case {
            passwd: "daemon:x:1:1::/:/bin/sh\n",
            hash: HASH,
            uid: 1000,
            shell: "/bin/sh",
            bound: true,
            auth: AUTH.into(),
            account: ACCOUNT.into(),
            sshd: SSHD.into(),
            conditions: Vec::new(),
            sudoers: SUDOERS.into(),
            rules: "[[rule]]\nrequire = \"mfa\"\n",
            closed: false,
        }
    }

    fn at(&self, service: &str) -> Vec<String> {
        self.from(Place::Remote(None), service)
    }

    fn from(&self, place: Place, service: &str) -> Vec<String> {
        self.with(|person, rules, facts| {
            let ways = ways_in(person, service, place, rules, facts);
            ways.iter().map(|way| format!("{}: {}", way.first, way.outcome())).collect()
        })
    }

    fn with<T>(&self, question: impl FnOnce(&Person, &Rules, &Facts) -> T) -> T {
        let stack = format!("{}{}{SESSION}", self.auth, self.account);
        let services = ["sshd", "sudo", "su", "login", "rstudio"];
        let texts: HashMap<String, String> = services.map(|name| (format!("/etc/pam.d/{name}"), stack.clone())).into();
        let facts = Facts {
            files: Box::new(move |path| Ok(texts.get(path).cloned())),
            shadow: match self.hash {
                "unreadable" => Shadow::of(self.passwd, Err("shadow is torn")),
                hash => Shadow::of(self.passwd, Ok(&format!("daemon:{hash}:19990:0:99999:7:::\n"))),
            },
            exists: Box::new(|path| match path {
                "/etc/nologin" => self.closed,
                path => matches!(path, "/bin/sh" | "/usr/sbin/nologin"),
            }),
            installed: Box::new(|_| true),
            sudoers: Ok(serde_json::from_str(&self.sudoers).ok()),
            sudo_settings: Ok(Vec::new()),
            conditions: Ok(self.conditions.clone()),
            sshd: Box::new(|_, _| match self.sshd.as_str() {
                "" => Err(String::from("no answer of sshd")),
                said => Ok(said.to_owned()),
            }),
            ..Facts::of_nothing()
        };
        let policy = parse(&[(String::from("mfa.toml"), self.rules.to_owned())]).unwrap();
        let loaded = Loaded { policy: policy.clone(), error: None, young: None };
        let host = Host {
            now: || 20_000 * 86_400,
            random,
            synchronised: || true,
            caller_pid: 0,
            caller_is_root: true,
            caller_is_at: Whereabouts::Elsewhere,
            caller_audit_session: None,
            in_service: false,
            loaded,
        };
        let (identity, view) = (identity::find("daemon").unwrap().unwrap(), view(self.bound));
        let (home, shell) = (String::from("/home/daemon"), self.shell.to_owned());
        let person = Person { identity: &identity, view: &view, uid: self.uid, home, shell };
        question(&person, &Rules::of(&policy, &host), &facts)
    }
}

fn view(bound: bool) -> View {
    let app = || {
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        let device = Bound::App(App { label: String::new(), totp, burnt: [0, 1] });
        let recovery = recovery::Set::make(10, getrandom::fill).unwrap().0;
        Credentials {
            id: Id([1; 16]),
            created: 0,
            created_from: String::new(),
            device,
            recovery,
            latest: Latest::Bound,
        }
    };
    let credentials = bound.then(app);
    View::of(Record {
        user: "daemon".into(),
        credentials,
        provisional: None,
        state: State::fresh(Id([1; 16]), [0, 1]),
        pending: None,
    })
}

const ASKED: &str = "asked for the code of the device, or a recovery code";
const LED: &str = "led through binding a device, and let in when it is bound";
const NO_PASSWORD: &str = "refused: no password that could be typed (/etc/pam.d/SERVICE:1 pam_unix.so)";
const NO_KEY_ALONE: &str = "a key alone: refused: a key alone is not enough";

#[test]
fn a_usual_host_asks_for_a_code_or_leads_through_binding() {
    let asked = format!("a password: {ASKED}");
    let led = format!("a password: {LED}");
    for service in ["su", "sudo", "login"] {
        assert_eq!(Case::new().at(service), [asked.as_str()], "{service}");
        assert_eq!(Case { bound: false, ..Case::new() }.at(service), [led.as_str()], "{service}");
    }
    assert_eq!(Case::new().at("sshd"), [NO_KEY_ALONE, asked.as_str()]);
    assert_eq!(Case { bound: false, ..Case::new() }.at("sshd"), [NO_KEY_ALONE, led.as_str()]);
}

/// The account of a cloud image, whose only way is a key.
#[test]
fn without_a_password_only_a_key_could_let_in() {
    for hash in ["*", "!", "!$y$j9T$abc$def"] {
        let case = Case { hash, ..Case::new() };
        let none = format!("a password: {}", NO_PASSWORD.replace("SERVICE", "sshd"));
        assert_eq!(case.at("sshd"), [NO_KEY_ALONE, none.as_str()], "{hash}");
        assert_eq!(case.at("su"), [format!("a password: {}", NO_PASSWORD.replace("SERVICE", "su"))]);
        let allowed = Case { hash, rules: "[[rule]]\nrequire = \"mfa\"\nssh_key = \"allow\"\n", ..Case::new() };
        assert_eq!(allowed.at("sshd")[0], "a key alone: let in by the key alone");
    }
}

#[test]
fn a_directory_may_keep_the_password() {
    let unsure = "a password: not known: a directory keeps the password; perhaps: ";
    let sss =
        AUTH.replace("auth requisite", "auth sufficient pam_sss.so\nauth requisite").replace("success=1", "success=2");
    let past = format!("{unsure}let in after the first factor: auth passes our line by: asked for nothing");
    assert_eq!(Case { hash: "*", auth: sss, ..Case::new() }.at("su"), [past]);
    let jumps = AUTH.replace("success=1", "success=2");
    let jumps = jumps.replace("auth requisite", "auth [success=1 default=ignore] pam_sss.so\nauth requisite");
    // Of a local account with a locked hash, and of one that this host's files do not have.
    for passwd in ["daemon:x:1:1::/:/bin/sh\n", ""] {
        let account = String::from("account required pam_permit.so\naccount required pam_mfa.so\n");
        let case = Case { hash: "*", passwd, auth: jumps.clone(), account, ..Case::new() };
        assert_eq!(case.at("su"), [format!("{unsure}{ASKED}")], "{passwd:?}");
    }
    let unix_alone = Case { passwd: "", ..Case::new() }.at("su");
    assert_eq!(unix_alone, ["a password: not known: it depends on /etc/pam.d/su:1 pam_unix.so"], "a hash of NIS");
}

#[test]
fn an_empty_password_is_no_first_factor() {
    let case = Case { hash: "", bound: false, ..Case::new() };
    assert!(case.at("su")[0].contains("refused: "), "{:?}", case.at("su"));
    let off = Case { rules: "[[rule]]\nrequire = \"off\"\n", ..case };
    assert_eq!(off.at("su"), ["nothing: let in without anything: off by rule"]);
    assert!(off.at("sshd").iter().all(|way| !way.starts_with("nothing")), "PermitEmptyPasswords no");
    let sshd = SSHD.replace("methods any", "methods publickey,keyboard-interactive").replace("no\n", "yes\n");
    let with_key = Case { sshd, ..off };
    assert_eq!(
        with_key.at("sshd"),
        ["a key and a password: not known: the password is empty; perhaps: let in without anything: off by rule"]
    );
    let open = SSHD.replace("words no\n", "words yes\n").replace("dauthentication no", "dauthentication yes");
    let with_any = Case { sshd: open.clone(), ..with_key };
    let any = with_any.at("sshd");
    let first = "nothing: not known: PermitEmptyPasswords: sshd tries one first, and what PAM says to that may stay; \
         perhaps: let in without anything: off by rule";
    assert!(any.contains(&first.to_owned()), "{any:?}");
    let listed = open.replace("methods any", "methods password").replace("usepam yes", "usepam no");
    let with_list = Case { sshd: listed, ..with_any };
    let ways = with_list.at("sshd");
    assert!(
        ways[0].starts_with("nothing: not known: sshd takes a first empty password for its method none"),
        "{ways:?}"
    );
    let sshd = open.replace("methods any", "methods publickey,password");
    let auth = format!("auth required pam_permit.so\n{}", AUTH.split_once("pam_permit.so\n").unwrap().1);
    let no_question = Case { sshd, auth, hash: "*", ..with_list };
    let ways = no_question.at("sshd");
    assert!(ways[0].starts_with("a key alone: not known: sshd takes a first empty password"), "{ways:?}");
    let strict = Case { auth: AUTH.replace(" nullok", ""), hash: "", ..no_question };
    assert_eq!(strict.at("su"), [format!("a password: {}", NO_PASSWORD.replace("SERVICE", "su"))]);
}

#[test]
fn what_the_stack_leaves_out_is_said() {
    let without = Case { auth: AUTH.replace("auth required pam_mfa.so stack=complete\n", ""), ..Case::new() };
    assert_eq!(
        without.at("rstudio"),
        ["a password: let in after the first factor: our line is not in its auth: asked for nothing"]
    );
    let open = Case {
        auth: "auth required pam_mfa.so\nauth required pam_permit.so\n".into(),
        bound: false,
        rules: "",
        ..Case::new()
    };
    assert_eq!(open.at("su"), ["nothing: let in without anything: not required and not bound"]);
    let ignored = Case {
        auth: AUTH.replace("required pam_mfa", "optional pam_mfa"),
        account: "account required pam_unix.so\n".into(),
        ..Case::new()
    };
    assert_eq!(ignored.at("su"), ["a password: let in although our line refuses"]);
    let unsure = Case { auth: format!("auth requisite pam_wheel.so\n{AUTH}"), ..Case::new() };
    assert_eq!(unsure.at("su"), ["a password: not known: it depends on /etc/pam.d/su:1 pam_wheel.so"]);
    let other = Case { auth: AUTH.replace("stack=complete", "stack=complete config=/etc/other.toml"), ..Case::new() };
    assert!(
        other.at("su")[0].contains("not known: the line /etc/pam.d/su:4 names another policy"),
        "{:?}",
        other.at("su")
    );
    // pam_setcred does not know that our line said nothing in auth, and jumps behind the end.
    let jump = AUTH.replace("required pam_mfa", "[success=1 default=ignore] pam_mfa");
    let too_far = Case { auth: jump, rules: "[[rule]]\nrequire = \"off\"\n", ..Case::new() };
    assert_eq!(too_far.at("su"), ["a password: let in after the first factor: off by rule"]);
    assert!(too_far.at("sshd")[1].contains("not known: no module of auth may establish"), "{:?}", too_far.at("sshd"));
    // Nor do conditions say anything there.
    for condition in [
        "[success=1 default=ignore] pam_succeed_if.so uid >= 1",
        "[auth_err=1 default=ignore] pam_succeed_if.so uid = 0",
    ] {
        let auth = format!("auth {condition}\nauth requisite pam_deny.so\n{AUTH}");
        let ways = Case { auth, ..Case::new() }.at("sshd");
        assert!(ways[1].contains("not known: no module of auth may establish"), "{ways:?}");
    }
    let unknown = Case { auth: "auth nonsense pam_unix.so\n".into(), ..Case::new() };
    assert!(unknown.at("su")[0].contains("not known: "));
}

#[test]
fn account_has_the_last_word() {
    let expired = Case { hash: "$y$j9T$abc$def:0", ..Case::new() };
    assert_eq!(expired.at("su"), [format!("a password: {ASKED}")], "it has to be changed, and that is possible");
    let denied = Case { account: "account required pam_deny.so\n".into(), ..Case::new() };
    assert_eq!(denied.at("su"), ["a password: refused: account refuses: /etc/pam.d/su:5 pam_deny.so"]);
    let denied_at_last = format!("{ACCOUNT}account required pam_deny.so\n");
    let unbound = |account: &str| Case { bound: false, account: account.into(), ..Case::new() }.at("su");
    let in_vain = "a password: refused: account refuses after a device was bound in vain: /etc/pam.d/su:9 pam_deny.so";
    assert_eq!(unbound(&denied_at_last), [in_vain]);
    let denied_at_once = format!("account requisite pam_succeed_if.so user ingroup no-such-group-here-0\n{ACCOUNT}");
    assert_eq!(unbound(&denied_at_once), ["a password: refused: account refuses: /etc/pam.d/su:5 pam_succeed_if.so"]);
    let by_group = Case {
        account: format!("account required pam_succeed_if.so user ingroup no-such-group-here-0\n{ACCOUNT}"),
        ..Case::new()
    };
    assert_eq!(by_group.at("su"), ["a password: refused: account refuses: /etc/pam.d/su:5 pam_succeed_if.so"]);
    let by_hour = Case { account: format!("account required pam_time.so\n{ACCOUNT}"), ..Case::new() };
    assert_eq!(by_hour.at("su"), ["a password: not known: it depends on /etc/pam.d/su:5 pam_time.so of account"]);
}

#[test]
fn sshd_has_settings_of_its_own() {
    let with = |from: &str, to: &str, uid| Case { sshd: SSHD.replace(from, to), uid, ..Case::new() }.at("sshd");
    let asked = format!("a password: {ASKED}");
    assert_eq!(with("", "", 0), ["a key alone: refused: root has no key"], "nor may root type a password");
    assert_eq!(with("prohibit-password", "yes", 0), ["a key alone: refused: root has no key", asked.as_str()]);
    let elsewhere = with("usepam", "authorizedkeyscommand /usr/bin/keys\nusepam", 0);
    assert_eq!(elsewhere, [NO_KEY_ALONE]);
    assert_eq!(
        with("prohibit-password", "no", 0),
        ["none: refused: sshd takes nothing from this user (PermitRootLogin no, PasswordAuthentication no)"]
    );
    assert_eq!(
        with("methods any", "methods publickey,keyboard-interactive:pam", 1000),
        [format!("a key and a password: {ASKED}")]
    );
    let either = SSHD
        .replace("passwordauthentication no", "passwordauthentication yes")
        .replace("methods any", "methods password keyboard-interactive");
    let ways = Case { sshd: either, ..Case::new() }.at("sshd");
    assert_eq!(ways, [asked.as_str()], "the second list lets in");
    let two = SSHD
        .replace("passwordauthentication no", "passwordauthentication yes")
        .replace("methods any", "methods password,keyboard-interactive");
    let mute = "a password: refused: sshd cannot show a question by its method password";
    assert_eq!(Case { sshd: two, ..Case::new() }.at("sshd"), [mute]);
    let silent = SSHD
        .replace("passwordauthentication no", "passwordauthentication yes")
        .replace("interactiveauthentication yes", "interactiveauthentication no");
    assert_eq!(Case { sshd: silent.clone(), ..Case::new() }.at("sshd"), [NO_KEY_ALONE, mute]);
    assert_eq!(
        Case { sshd: silent, bound: false, ..Case::new() }.at("sshd"),
        [NO_KEY_ALONE, mute],
        "nor lead through binding"
    );
    let past = "let in after the first factor: sshd asks PAM nothing (UsePAM no)";
    let no_pam =
        SSHD.replace("usepam yes", "usepam no").replace("passwordauthentication no", "passwordauthentication yes");
    let ways = Case { sshd: no_pam.clone(), ..Case::new() }.at("sshd");
    assert_eq!(
        ways,
        ["a key alone: let in by the key alone: sshd asks PAM nothing (UsePAM no)", &format!("a password: {past}")]
    );
    assert_eq!(
        Case { sshd: no_pam.clone(), closed: true, ..Case::new() }.at("sshd"),
        ["none: refused: an sshd without PAM lets nobody in while /etc/nologin is there"]
    );
    let old = "*:1:0:9:7:::\nann:*";
    let ways = Case { sshd: no_pam.clone(), hash: old, ..Case::new() }.at("sshd");
    assert_eq!(ways[0], "a key alone: let in by the key alone: sshd asks PAM nothing (UsePAM no)");
    let sshd = no_pam.replace("permitemptypasswords no", "permitemptypasswords yes");
    let ways = Case { sshd, hash: old, ..Case::new() }.at("sshd");
    assert!(ways[0].starts_with("a key alone: not known: sshd has the password changed first"), "{ways:?}");
    assert_eq!(
        Case { sshd: no_pam, hash: "!", ..Case::new() }.at("sshd"),
        ["none: refused: the account is locked, for an sshd without PAM"]
    );
    assert_eq!(
        with("usepam", "allowusers ann\nusepam", 1000),
        ["none: refused: sshd turns this user away (AllowUsers)"]
    );
    let ended = Case { shell: "/usr/sbin/nologin", ..Case::new() }.at("sshd");
    assert!(ended[1].starts_with("a password: not known: the shell /usr/sbin/nologin runs no command"), "{ended:?}");
    assert_eq!(
        Case { shell: "/usr/bin/fish", ..Case::new() }.at("sshd"),
        ["none: refused: sshd turns this user away: there is no /usr/bin/fish"]
    );
    let forced = with("prohibit-password", "forced-commands-only", 0);
    assert!(forced[0].starts_with("a key alone: not known: PermitRootLogin forced-commands-only"), "{forced:?}");
}

/// Where our question alone is in the way of sshd's method, the password is not what is missing.
#[test]
fn a_method_that_cannot_ask_is_told_from_a_password_that_is_missing() {
    let both = SSHD.replace("passwordauthentication no", "passwordauthentication yes");
    let silent = both.replace("interactiveauthentication yes", "interactiveauthentication no");
    let unlocked = "auth [success=1 default=ignore] pam_permit.so\nauth required pam_unix.so\n\
        auth required pam_mfa.so stack=complete\n";
    let ways = Case { sshd: both, auth: unlocked.into(), ..Case::new() }.at("sshd");
    assert_eq!(ways, [NO_KEY_ALONE, &format!("nothing: {ASKED}")]);
    let auth = String::from("auth sufficient pam_unix.so\nauth optional pam_mfa.so stack=complete\n");
    let account = String::from("account required pam_unix.so\n");
    let ways = Case { sshd: silent, auth, account, ..Case::new() }.at("sshd");
    assert_eq!(ways[1], "a password: let in after the first factor: auth passes our line by: asked for nothing");
}

#[test]
fn sudo_goes_by_sudoers() {
    let with = |sudoers: &str| Case { sudoers: sudoers.into(), ..Case::new() }.at("sudo");
    let nothing = SUDOERS.replace("daemon", "ann");
    assert_eq!(with(&nothing), ["none: refused: sudoers grants nothing to this user"]);
    let led_in_vain = format!("sudoers grants nothing to this user, whatever is asked before; perhaps: {LED}");
    let unbound = Case { bound: false, sudoers: nothing, ..Case::new() };
    assert_eq!(unbound.at("sudo"), [format!("a password: not known: {led_in_vain}")]);
    let unasked = SUDOERS.replace(r#""Commands""#, r#""Options": [{"authenticate": false}], "Commands""#);
    assert_eq!(with(&unasked), ["nothing: let in: sudo asks for nothing (NOPASSWD or a setting like it)"]);
    let strict = String::from("account required pam_unix.so\n");
    let old = |sudoers: &str| {
        let hash = "$6$x$y:1:0:9:7:5::\nann:x";
        Case { sudoers: sudoers.into(), hash, account: strict.clone(), ..Case::new() }.at("sudo")
    };
    assert!(old(&unasked)[0].starts_with("nothing: let in: "), "sudo ignores the age then: {:?}", old(&unasked));
    assert!(old(SUDOERS)[0].contains("account refuses"), "{:?}", old(SUDOERS));
    assert_eq!(Case { uid: 0, ..Case::new() }.at("sudo"), ["nothing: let in: sudo asks root for nothing"]);
    let not_even_root = Case { uid: 0, sudoers: SUDOERS.replace("daemon", "ann"), ..Case::new() };
    assert_eq!(not_even_root.at("sudo"), ["none: refused: sudoers grants nothing to this user"]);
}

/// Debian's sshd as it is shipped cannot ask: its users have the console, which is nothing on a host far away.
#[test]
fn a_way_in_from_elsewhere_is_not_made_up_for_by_the_console() {
    let silent = SSHD.replace("passwordauthentication no", "passwordauthentication yes");
    let silent = silent.replace("interactiveauthentication yes", "interactiveauthentication no");
    let lost =
        |case: Case| case.with(|person, rules, facts| left::loses(person, &rules.asking_nothing(), rules, facts));
    assert_eq!(lost(Case { sshd: silent.clone(), ..Case::new() }), "by ssh");
    assert_eq!(lost(Case { sshd: silent.clone(), uid: 33, ..Case::new() }), "", "not of people");
    assert_eq!(lost(Case::new()), "");
    assert_eq!(lost(Case { hash: "*", ..Case::new() }), "by ssh");
    assert_eq!(lost(Case { hash: "*", rules: "", ..Case::new() }), "", "asked if bound, and a key alone is enough");
    let mend = |case: Case| {
        case.with(|person, rules, facts| {
            let people = std::slice::from_ref(person);
            left::administrators_lost(people, &rules.asking_nothing(), rules, facts).len()
        })
    };
    assert_eq!(mend(Case { sshd: silent, ..Case::new() }), 0, "the console is left, to mend the host");
    let key_only = || Case { hash: "*", ..Case::new() };
    assert_eq!(mend(key_only()), 1);
    assert_eq!(mend(Case { sudoers: SUDOERS.replace("daemon", "ann"), ..key_only() }), 0);
    // Whether the person is an administrator at all is not known.
    let netgroup = SUDOERS.replace("\"username\": \"daemon\"", "\"netgroup\": \"x\"");
    assert_eq!(mend(Case { sudoers: netgroup, ..key_only() }), 0);
}

/// At the next login; behind one only where none does it.
#[test]
fn the_next_login_that_leads_through_binding_is_told_or_why_that_is_not_known() {
    let led = |case: &Case| {
        let led = case.with(|person, rules, facts| led::led(person, rules.elsewhere.policy(), rules, facts));
        (led.at.join(" "), led.not_known)
    };
    let unbound = || Case { bound: false, ..Case::new() };
    assert_eq!(led(&unbound()), ("sshd login".into(), None));
    let in_sudo = "[[rule]]\nservices = [\"sudo\"]\nrequire = \"mfa\"\n";
    assert_eq!(led(&Case { rules: in_sudo, ..unbound() }), ("sudo".into(), None));
    assert_eq!(led(&Case { hash: "*", ..unbound() }), (String::new(), None), "a key, and no password");
    let by_admin = "[[rule]]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n";
    assert_eq!(led(&Case { rules: by_admin, ..unbound() }), (String::new(), None));
    let (at, why) = led(&Case { passwd: "", ..unbound() });
    assert!(at.is_empty() && why.is_some_and(|why| why.contains("pam_unix.so")), "a directory keeps the password");
}

/// What a line of auth or account says, of a person of uid 1000 who types the right password.
fn codes(line: &str, change: impl FnOnce(&mut Scene)) -> Vec<Code> {
    let kind = if line.starts_with("account") { Kind::Account } else { Kind::Auth };
    let text = format!("{line}\n");
    let stack = Stack::read("su", kind, &|path: &str| Ok((path == "/etc/pam.d/su").then(|| text.clone()))).unwrap();
    let member = |group: &str| match group {
        "mine" => Answer::Yes,
        "torn" => Answer::Unknown,
        _ => Answer::No,
    };
    let files = |path: &str| match path {
        "/etc/list" => Ok(Some(String::from("ann\n kim\nkim\n"))),
        "/etc/shells" => Ok(Some(String::from("# shells\n/bin/sh\n"))),
        "/etc/security/time.conf" | "/etc/security/access.conf" => Ok(Some(String::from("# no rule\n\n"))),
        "/etc/torn" => Err(String::from("torn")),
        _ => Ok(None),
    };
    let mut scene = Scene {
        user: &User { name: "kim", uid: 1000, member: &member, groups: &|| None },
        service: "login",
        home: "/home/kim",
        shell: "/bin/sh",
        password: &Password::Typed,
        age: Some(Age::Good),
        types: true,
        empty: true,
        key: false,
        files: &files,
        asks_unix: true,
        installed: &|module| module != "pam_gone.so",
        exists: &|_| false,
    };
    change(&mut scene);
    scene.says(stack.modules().next().unwrap(), kind)
}

#[test]
fn each_module_says_what_it_looks_at() {
    const BOTH: &[Code] = &[SUCCESS, AUTH_ERR];
    const YES: &[Code] = &[SUCCESS];
    const NO: &[Code] = &[AUTH_ERR];
    const SERVICE_ERR: Code = 3;
    const NOT_THERE: Code = 28;
    let plain = |line: &str| codes(line, |_| {});
    for (module, expected) in [
        ("pam_gone.so", &[NOT_THERE][..]),
        ("pam_succeed_if.so uid ne 1000", NO),
        ("pam_succeed_if.so uid ne 1001", YES),
        ("pam_succeed_if.so uid < 1000", NO),
        ("pam_succeed_if.so uid lt 1001", YES),
        ("pam_succeed_if.so uid <= 999", NO),
        ("pam_succeed_if.so uid le 1000", YES),
        ("pam_succeed_if.so uid > 1000", NO),
        ("pam_succeed_if.so uid gt 999", YES),
        ("pam_succeed_if.so uid >= 1001", NO),
        ("pam_succeed_if.so uid ge 1000 user = ann", NO),
        ("pam_succeed_if.so uid eq kim", BOTH),
        ("pam_succeed_if.so quiet user in ann:kim", YES),
        ("pam_succeed_if.so user in ann:ki", NO),
        ("pam_succeed_if.so user notin ann:kim", NO),
        ("pam_succeed_if.so home = /home/kim shell != /bin/bash", YES),
        ("pam_succeed_if.so shell = /bin/bash home = /home/kim", NO),
        ("pam_succeed_if.so user ingroup other:mine", YES),
        ("pam_succeed_if.so user ingroup other", NO),
        ("pam_succeed_if.so user ingroup torn", BOTH),
        ("pam_succeed_if.so user notingroup torn", BOTH),
        ("pam_succeed_if.so user notingroup mine:torn", NO),
        ("pam_succeed_if.so tty = ssh", BOTH),
        ("pam_succeed_if.so tty = ssh user = ann", NO),
        ("pam_succeed_if.so user like kim", BOTH),
        ("pam_succeed_if.so use_uid user = ann", BOTH),
        ("pam_succeed_if.so user = ann use_uid", BOTH),
        ("pam_usertype.so isregular", YES),
        ("pam_usertype.so debug issystem", NO),
        ("pam_usertype.so", BOTH),
        ("pam_usertype.so isloginuser", BOTH),
        ("pam_listfile.so item=user sense=allow file=/etc/list", YES),
        ("pam_listfile.so item=user sense=deny file=/etc/list", NO),
        ("pam_listfile.so item=user sense=deny file=/etc/gone", &[SERVICE_ERR]),
        ("pam_listfile.so item=user sense=allow file=/etc/gone onerr=succeed", YES),
        ("pam_listfile.so item=user sense=allow file=/etc/torn", &[SUCCESS, AUTH_ERR, SERVICE_ERR]),
        ("pam_listfile.so item=user sense=often file=/etc/list", &[SUCCESS, AUTH_ERR, SERVICE_ERR]),
        ("pam_listfile.so item=user sense=allow file=/etc/list apply=ann", &[SUCCESS, AUTH_ERR, SERVICE_ERR]),
        ("pam_shells.so", YES),
        ("pam_access.so", YES),
        ("pam_access.so accessfile=/etc/list", &[SUCCESS, PERM_DENIED]),
    ] {
        for kind in ["auth", "account"] {
            assert_eq!(plain(&format!("{kind} required {module}")), expected, "{module}");
        }
    }
    for (line, expected) in [
        ("auth required pam_unix.so nullok_secure", YES),
        ("auth required pam_faillock.so authfail", &[IGNORE]),
        ("auth required pam_faillock.so preauth", YES),
        ("account required pam_faillock.so", YES),
        ("auth required pam_keyinit.so", &[IGNORE]),
        ("auth required pam_rootok.so", YES),
        ("auth required pam_tally_of_others.so", &[10, 9, SUCCESS]),
        ("auth required pam_exec.so quiet /bin/true", &[SUCCESS, AUTH_ERR, IGNORE]),
        ("auth required pam_nologin.so", &[IGNORE]),
        ("auth required pam_nologin.so successok", YES),
        ("account required pam_time.so", YES),
    ] {
        assert_eq!(plain(line), expected, "{line}");
    }
}

#[test]
fn a_module_says_more_or_less_by_what_is_known_of_the_person() {
    const KEY: &str = r#"auth required pam_exec.so quiet /bin/sh -c [case "$SSH_AUTH_INFO_0" in "publickey "*) exit 0;; esac; exit 1]"#;
    let unix = |password, types| codes("auth required pam_unix.so nullok", by(password, types));
    fn by(password: Password, types: bool) -> impl FnOnce(&mut Scene) {
        move |scene| (scene.password, scene.types) = (Box::leak(Box::new(password)), types)
    }
    let not_known = || Password::NotKnown(String::from("torn"));
    assert_eq!(unix(Password::Typed, false), [AUTH_ERR]);
    assert_eq!(unix(Password::Empty, false), [SUCCESS]);
    assert_eq!(codes("auth required pam_unix.so nullok_secure", by(Password::Empty, false)), [SUCCESS, AUTH_ERR]);
    assert_eq!(unix(Password::Elsewhere, true), [SUCCESS, 10, AUTH_ERR, 9]);
    assert_eq!(unix(Password::Elsewhere, false), [10, AUTH_ERR, 9]);
    assert_eq!(unix(not_known(), true), [SUCCESS, AUTH_ERR]);
    assert_eq!(unix(not_known(), false), [AUTH_ERR]);
    let directory = |change: fn(&mut Scene)| codes("auth required pam_sss.so", change);
    assert_eq!(directory(|scene| scene.types = false), [AUTH_ERR]);
    assert_eq!(directory(|scene| scene.asks_unix = false), [SUCCESS]);
    assert_eq!(directory(|scene| scene.password = &Password::Locked), [SUCCESS]);
    let account = |change: fn(&mut Scene)| codes("account required pam_unix.so", change);
    assert_eq!(account(|scene| scene.password = &Password::Elsewhere), [SUCCESS, 10, 9]);
    assert_eq!(account(|scene| scene.age = Some(Age::Expired)), [13]);
    assert_eq!(account(|scene| scene.age = Some(Age::ToBeChanged)), [12]);
    assert_eq!(account(|scene| scene.age = Some(Age::NotThere)), [9]);
    assert_eq!(account(|scene| scene.age = None), [SUCCESS, 13]);
    let local = |change: fn(&mut Scene)| codes("account required pam_localuser.so", change);
    assert_eq!(local(|_| ()), [SUCCESS]);
    assert_eq!(local(|scene| scene.password = &Password::Elsewhere), [PERM_DENIED]);
    assert_eq!(codes(KEY, |_| ()), [AUTH_ERR]);
    assert_eq!(codes(KEY, |scene| scene.key = true), [SUCCESS]);
    let closed = |scene: &mut Scene| scene.exists = &|path| path == "/etc/nologin";
    assert_eq!(codes("auth required pam_nologin.so successok", closed), [AUTH_ERR]);
    let roots = |scene: &mut Scene| {
        closed(scene);
        scene.user = &User { name: "root", uid: 0, member: &|_| Answer::No, groups: &|| None };
    };
    assert_eq!(codes("auth required pam_nologin.so", roots), [IGNORE]);
    assert_eq!(codes("auth required pam_nologin.so successok", roots), [SUCCESS]);
    assert_eq!(codes("auth required pam_usertype.so issystem", roots), [SUCCESS]);
    let rootok = |service| codes("auth required pam_rootok.so", move |scene| scene.service = service);
    assert_eq!(rootok("sudo"), [SUCCESS, AUTH_ERR]);
    assert_eq!(rootok("chsh"), [AUTH_ERR]);
    let shells = |change: fn(&mut Scene)| codes("auth required pam_shells.so", change);
    assert_eq!(shells(|scene| scene.shell = ""), [SUCCESS]);
    assert_eq!(shells(|scene| scene.shell = "/bin/fish"), [AUTH_ERR]);
    assert_eq!(shells(|scene| scene.files = &|_| Ok(None)), [SUCCESS, AUTH_ERR]);
    let rules = |scene: &mut Scene| scene.files = &|_| Ok(Some(String::from("-:ALL:ALL\n")));
    assert_eq!(codes("account required pam_access.so", rules), [SUCCESS, PERM_DENIED]);
    assert!(codes("account required pam_time.so", rules).len() > 1);
    assert!(codes("account required pam_exec.so quiet /bin/true", |_| ()).contains(&12));
    let more = |scene: &mut Scene| scene.exists = &|path| path == "/etc/security/access.d";
    assert_eq!(codes("account required pam_access.so", more), [SUCCESS, PERM_DENIED]);
}

#[test]
fn what_is_not_known_of_a_person_is_said() {
    let torn = Case { hash: "unreadable", ..Case::new() };
    assert_eq!(torn.at("su"), ["a password: not known: it depends on /etc/pam.d/su:1 pam_unix.so"]);
    let both = "auth optional pam_unix.so nullok\nauth required pam_sss.so\nauth required pam_mfa.so stack=complete\n";
    let account = String::from("account required pam_permit.so\naccount required pam_mfa.so\n");
    let torn = Case { auth: both.into(), account, ..torn };
    assert_eq!(torn.at("su"), ["a password: not known: shadow is torn; perhaps: ".to_owned() + ASKED]);
    let unbound = Case { bound: false, ..torn };
    let empty = "refused: the first factor proves nothing: it may be empty, which cannot be told";
    assert_eq!(unbound.at("su"), [format!("a password: {empty}")]);
    let strict = Case { auth: both.replace(" nullok", ""), ..unbound };
    assert_eq!(strict.at("su"), ["a password: not known: shadow is torn; perhaps: ".to_owned() + LED]);
    let no_pam = SSHD.replace("usepam yes", "usepam no").replace("dauthentication no", "dauthentication yes");
    let no_pam = Case { sshd: no_pam, ..strict };
    assert_eq!(no_pam.at("sshd")[1], "a password: not known: shadow is torn");
    let of_a_directory = Case { passwd: "", ..no_pam };
    assert_eq!(of_a_directory.at("sshd")[1], "a password: refused: sshd asks no directory without PAM");
    let auth = String::from("auth required pam_sss.so\nauth required pam_mfa.so stack=complete\n");
    let another = "a password: not known: a module other than pam_unix keeps the password";
    assert_eq!(Case { auth, ..Case::new() }.at("su"), [format!("{another}; perhaps: {ASKED}")]);
    let silent = Case { sshd: String::new(), ..Case::new() };
    assert_eq!(silent.at("sshd")[1], format!("a password: not known: no answer of sshd; perhaps: {ASKED}"));
    let account = Case { account: "account nonsense pam_unix.so\n".into(), ..Case::new() };
    assert!(account.at("su")[0].starts_with("a password: not known: "), "{:?}", account.at("su"));
}

#[test]
fn ways_differ_by_the_place() {
    let rules = "[[rule]]\nrequire = \"mfa\"\nkinds = [\"u2f\"]\n";
    let keys = Case { bound: false, rules, ..Case::new() };
    assert_eq!(keys.from(Place::Local, "login"), [format!("a password: {LED}")]);
    let elsewhere = "a password: refused: a security key has to be bound where it is plugged in";
    assert_eq!(keys.at("login"), [elsewhere]);
    let by_address = Case { conditions: vec![String::from("Address 10.0.0.0/8")], ..Case::new() };
    let asked = format!("a password: {ASKED}");
    assert_eq!(by_address.from(Place::Remote(Some("10.0.0.1")), "sshd")[1], asked);
    for place in [Place::Remote(None), Place::Remote(Some("web1"))] {
        let unsure = "a password: not known: a Match of sshd goes by the address of the client";
        assert!(by_address.from(place, "sshd")[1].starts_with(unsure), "{place:?}");
    }
    let sshd = SSHD.replace("no\n", "yes\n") + "denyusers daemon@10.*\n";
    let by_pattern = Case { sshd, hash: "", rules: "[[rule]]\nrequire = \"off\"\n", ..Case::new() };
    let away = "none: refused: sshd turns this user away (DenyUsers)";
    assert_eq!(by_pattern.from(Place::Remote(Some("10.0.0.1")), "sshd"), [away]);
    let ways = by_pattern.from(Place::Remote(None), "sshd");
    assert!(ways.iter().any(|way| way.starts_with("nothing: not known: ")), "{ways:?}");
    let ways = Case { sshd: by_pattern.sshd.replace("permitempty", "x"), hash: "x", ..by_pattern }.at("sshd");
    assert!(ways[0].contains("DenyUsers has a pattern that cannot be told"), "{ways:?}");
}

#[test]
fn a_password_may_lead_another_way_than_none() {
    let auth = "auth [success=ignore default=1] pam_unix.so\nauth requisite pam_mfa.so stack=complete\n\
        auth required pam_permit.so\n";
    let past = "nothing: let in without anything: auth passes our line by: asked for nothing";
    assert_eq!(Case { auth: auth.into(), ..Case::new() }.at("su"), [&format!("a password: {ASKED}"), past]);
}
