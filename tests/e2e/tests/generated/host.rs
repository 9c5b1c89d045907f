//! Hosts by chance, from the grammars of pam.d, sshd_config, sudoers, shadow and our policy. Nothing in here knows how the
//! product reads any of them.

use std::{collections::BTreeMap, fmt};

use crate::{chance::Chance, pam};

/// Accounts that each machine has. Each host makes of them what it likes.
pub const PEOPLE: [&str; 5] = ["p1", "p2", "p3", "p4", "p5"];
/// Of the password "right", with few rounds: what is tried are not hashes.
const HASH: &str = "$6$rounds=1000$generated$hI633s2Qwyy\
    j4ZnR0wCFPWIATTgGRsnK4yRJxk5QPwHrLgiT5ZEyo42DlYBHeNynM4tIOorS8ipEAsj8SxmYh/";

#[derive(Clone)]
pub struct Host {
    /// Text by path. A file that this host does not have is empty.
    pub files: BTreeMap<&'static str, String>,
    /// Lines that stand at the end of the file in every machine.
    pub accounts: BTreeMap<&'static str, String>,
    pub bound: Vec<&'static str>,
}

impl Host {
    pub fn by(chance: &mut Chance) -> Self {
        let mut host = Self { files: BTreeMap::new(), accounts: BTreeMap::new(), bound: Vec::new() };
        host.accounts(chance);
        let mut put = |path, text| drop(host.files.insert(path, text));
        for (path, text) in pam::files(chance) {
            put(path, text);
        }
        put("/etc/listfile", lines(&chance.some(&["p1", "p2", "p3", "p4", "p5", "root"], 60)));
        put("/etc/security/access.conf", access(chance));
        put("/etc/nologin", if chance.odd(3) { "closed today\n".into() } else { String::new() });
        put("/etc/ssh/sshd_config.d/50-site.conf", sshd_settings(chance, 1));
        put("/etc/ssh/sshd_config", sshd_config(chance));
        put("/etc/sudoers", sudoers(chance));
        put("/etc/mfa/mfa.toml", policy(chance, 3));
        put("/etc/mfa/mfa.d/10-site.toml", policy(chance, 1));
        host
    }

    fn accounts(&mut self, chance: &mut Chance) {
        let [mut passwd, mut shadow] = [String::new(), String::new()];
        for (n, name) in PEOPLE.iter().enumerate() {
            let field = if chance.odd(6) { hash(chance) } else { "x".into() };
            passwd += &format!("{name}:{field}:{id}:{id}::/home/{name}:{}\n", shell(chance), id = 2001 + n);
            if !chance.odd(4) {
                shadow += &format!("{name}:{}:20000:0:{}:\n", hash(chance), expiry(chance));
            }
            if chance.is(40) {
                self.bound.push(name);
            }
        }
        let root = chance.one(&["*", "!", HASH, HASH]);
        shadow += &format!("root:{root}:20000:0:99999:7:::\n");
        if chance.is(50) {
            self.bound.push("root");
        }
        let mut group = String::new();
        for (n, name) in ["admins", "ops", "guests", "required"].iter().enumerate() {
            group += &format!("{name}:x:{}:{}\n", 3001 + n, chance.some(&PEOPLE, 40).join(","));
        }
        group += &format!("sudo:x:27:{}\n", chance.some(&PEOPLE, 40).join(","));
        self.accounts = [("/etc/passwd", passwd), ("/etc/shadow", shadow), ("/etc/group", group)].into();
    }

    /// The same without its line of this number. No file loses its last line, and none of the policy what it cannot be read
    /// without: that is not a smaller host but another.
    pub fn without(&self, number: usize) -> Option<Self> {
        let may_go = |line: &str| !["[[rule]]", "require = "].iter().any(|begin| line.starts_with(begin));
        let mut smaller = self.clone();
        let mut before = 0;
        for text in smaller.files.values_mut().filter(|text| text.lines().count() > 1) {
            let lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
            let all: Vec<_> = (0..lines.len()).filter(|at| may_go(&lines[*at])).collect();
            if let Some(goes) = all.get(number - before) {
                *text = [&lines[..*goes], &lines[goes + 1..]].concat().concat();
                return Some(smaller);
            }
            before += all.len();
        }
        None
    }

    /// The shell script that makes a machine this host.
    pub fn script(&self) -> String {
        let mut script = String::from("umask 022\n");
        for (path, text) in &self.accounts {
            script += &format!("{{ cat {path}.base; cat <<'END'\n{text}END\n}} >{path}.new; cat {path}.new >{path}\n");
        }
        for (path, text) in &self.files {
            // The policy is believed when nobody has written to it for a while.
            script += &match text.as_str() {
                "" => format!("rm -f {path}\n"),
                text => format!(
                    "rm -f {path}; cat >{path}.new <<'END'\n{text}END\ntouch -d @1700000000 {path}.new; mv {path}.new {path}\n"
                ),
            };
        }
        script +=
            "chmod 440 /etc/sudoers\nrm -rf /usr/local/lib/tries/users; mkdir -m 700 /usr/local/lib/tries/users\n";
        for name in &self.bound {
            script += &format!("cp -a /usr/local/lib/tries/all/{name} /usr/local/lib/tries/users/\n");
        }
        script
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, text) in self.accounts.iter().chain(&self.files).filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "--- {path}\n{}", text.replace(HASH, "HASH").trim_end())?;
        }
        writeln!(f, "--- bound\n{}", self.bound.join(" "))
    }
}

fn lines(of: &[&str]) -> String {
    of.iter().map(|line| format!("{line}\n")).collect()
}

// shadow(5)

fn hash(chance: &mut Chance) -> String {
    match chance.below(16) {
        0 => "*".into(),
        1 => "!".into(),
        2 => format!("!{HASH}"),
        3 => chance.one(&["!!", "*LK*", "x", "!*", "*NP*"]).into(),
        4..6 => String::new(),
        _ => HASH.into(),
    }
}

/// The longest time of the password, the warning, the time after that, and the end.
fn expiry(chance: &mut Chance) -> String {
    match chance.below(16) {
        0 | 1 => format!("99999:7::{}", chance.one(&["0", "1", "20000"])),
        2 => "99999:7::99999".into(),
        3 => chance.one(&["9:7:5:", "99999:7:5:", "99998:7:0:"]).into(),
        _ => "99999:7::".into(),
    }
}

/// passwd(5)
fn shell(chance: &mut Chance) -> &'static str {
    match chance.below(50) {
        0..4 => "/usr/sbin/nologin",
        4..6 => "",
        6..8 => "/bin/sh",
        8 => "/usr/bin/fish",
        _ => "/bin/bash",
    }
}

/// access.conf(5)
fn access(chance: &mut Chance) -> String {
    let rules = [
        "+:root:ALL",
        "-:p2:ALL",
        "-:p1:127.0.0.1",
        "-:ALL EXCEPT (ops) root:ALL",
        "-:(guests):ALL",
        "-:p4:10.0.0.0/8",
    ];
    match chance.is(40) {
        true => "# no rule\n\n".into(),
        false => lines(&chance.some(&rules, 30)) + "+:ALL:ALL\n",
    }
}

// sshd_config(5)

fn sshd_settings(chance: &mut Chance, at_most: usize) -> String {
    let mut text = String::new();
    for _ in 0..=at_most {
        if !chance.odd(80) {
            continue;
        }
        text += &match chance.below(14) {
            0..2 => format!("PasswordAuthentication {}\n", chance.one(&["yes", "no", "no"])),
            2..4 => format!("KbdInteractiveAuthentication {}\n", chance.one(&["yes", "no"])),
            4 => format!("PubkeyAuthentication {}\n", chance.one(&["yes", "yes", "no"])),
            5..8 => {
                let root = ["yes", "yes", "yes", "no", "prohibit-password", "without-password", "forced-commands-only"];
                format!("PermitRootLogin {}\n", chance.one(&root))
            }
            8 => "PermitEmptyPasswords yes\n".into(),
            9..11 => format!("AuthenticationMethods {}\n", chance.one(METHODS)),
            11 => {
                let (word, of) = [
                    ("AllowUsers", &PEOPLE[..]),
                    ("DenyUsers", &PEOPLE),
                    ("AllowGroups", GROUPS),
                    ("DenyGroups", GROUPS),
                ][chance.below(4)];
                format!("{word} {}\n", some_or_all(of, word.starts_with("Allow"), chance))
            }
            12 => {
                let (word, of) =
                    [("AllowUsers", PATTERNS), ("DenyUsers", PATTERNS), ("DenyGroups", &["ad*", "gues??"])]
                        [chance.below(3)];
                format!("{word} {}\n", some_or_all(of, word.starts_with("Allow"), chance))
            }
            13 => {
                let files = [
                    "/home/%u/.ssh/authorized_keys",
                    "/home/%u/.ssh/authorized_keys",
                    "%h/.ssh/authorized_keys",
                    ".ssh/authorized_keys2 .ssh/authorized_keys",
                ];
                format!("AuthorizedKeysFile {}\n", chance.one(&files))
            }
            n => unreachable!("{n} is not below 14"),
        };
    }
    text
}

const GROUPS: &[&str] = &["root", "admins", "ops", "guests", "p1", "p2", "p3", "p4"];

const PATTERNS: &[&str] = &["p*", "p?", "p1@127.0.0.1", "p2@10.*", "x*@127.0.0.1", "root"];

const METHODS: &[&str] = &[
    "any",
    "publickey",
    "password",
    "keyboard-interactive",
    "publickey,password",
    "publickey,keyboard-interactive",
    "publickey,keyboard-interactive:pam",
    "keyboard-interactive,publickey",
    "password,publickey",
    "publickey password",
    "publickey,password publickey,keyboard-interactive",
    "publickey,password keyboard-interactive",
    "password,keyboard-interactive",
];

fn some_or_all(of: &[&str], allow: bool, chance: &mut Chance) -> String {
    match chance.some(of, if allow { 75 } else { 20 }) {
        none if none.is_empty() => if allow { "*" } else { "nobody" }.into(),
        some => some.join(" "),
    }
}

fn sshd_config(chance: &mut Chance) -> String {
    let mut text = String::new();
    if chance.is(40) {
        text += "Include /etc/ssh/sshd_config.d/*.conf\n";
    }
    text += &format!("UsePAM {}\n", if chance.odd(16) { "no" } else { "yes" });
    text += if chance.odd(25) { "PermitEmptyPasswords yes\n" } else { "" };
    text += &sshd_settings(chance, 3);
    for _ in 0..chance.below(3) {
        let whom = [
            "User p1,p2",
            "User p*,!p3",
            "User root",
            "Group admins",
            "Group ops,!guests",
            "Group ad*",
            "Address 127.0.0.0/8,::1",
            "Address 10.0.0.0/8",
            "Group admins Address 10.0.0.0/8",
            "all",
        ];
        let settings = sshd_settings(chance, 2);
        text += &format!("Match {}\n{settings}", chance.one(&whom));
    }
    text
}

// sudoers(5)

fn sudoers(chance: &mut Chance) -> String {
    let mut text = String::from("Defaults passwd_tries=1\nroot ALL=(ALL:ALL) ALL\n");
    if chance.odd(30) {
        let defaults = [
            "!pam_acct_mgmt",
            "!pam_session",
            "!pam_session",
            "exempt_group=ops",
            "exempt_group=ops",
            "rootpw",
            "targetpw",
            "!authenticate",
            "!authenticate",
            "pam_service=su",
            "!use_pam",
        ];
        let whom = chance.one(&["", "", ":p1,p2", ":%admins"]);
        text += &format!("Defaults{whom} {}\n", chance.one(&defaults));
    }
    for _ in 0..1 + chance.below(4) {
        let usual = ["p1", "p2", "p3, p4", "%sudo", "%sudo", "%admins", "%ops", "ALL", "!p5, %guests"];
        let whom = if chance.odd(20) { &["#2001", "#2002, p3", "%#3001", "+net, p4"][..] } else { &usual };
        let hosts = if chance.odd(6) { &["other", "other, ALL", "10.0.0.0/8"][..] } else { &["ALL"] };
        let usual = ["ALL:ALL", "ALL", "root"];
        let as_whom = if chance.odd(12) { &["#0", "www-data", "www-data, root"][..] } else { &usual };
        let usual = ["ALL", "ALL", "ALL", "NOPASSWD: ALL", "NOPASSWD: /usr/bin/true, PASSWD: ALL", "/usr/bin/true"];
        let what = if chance.odd(12) { &["!ALL", "ALL, !/usr/bin/true", "/usr/bin/id, ALL"][..] } else { &usual };
        let [whom, hosts, as_whom, what] = [whom, hosts, as_whom, what].map(|of| chance.one(of));
        text += &format!("{whom} {hosts}=({as_whom}) {what}\n");
    }
    text
}

// mfa.toml(5)

fn policy(chance: &mut Chance, at_most: usize) -> String {
    let mut text = String::new();
    for _ in 0..chance.below(at_most + 1) {
        let require = chance.one(&["off", "if-bound", "mfa", "mfa", "mfa"]);
        text += &format!("[[rule]]\nrequire = \"{require}\"\n");
        for (percent, key, values) in [
            (20, "users", &["[\"p1\", \"p2\"]", "[\"p4\"]", "[\"root\"]"][..]),
            (30, "groups", &["[\"required\"]", "[\"admins\", \"ops\"]", "[\"sudo\"]"]),
            (20, "services", &["[\"sshd\"]", "[\"sudo\", \"su\"]", "[\"su\"]"]),
        ] {
            if chance.is(percent) {
                text += &format!("{key} = {}\n", chance.one(values));
            }
        }
        for (percent, key, values) in [
            (15, "from", &["[\"10.0.0.0/8\"]", "[\"127.0.0.0/8\"]", "[\"local\"]", "[\"remote\"]"][..]),
            (8, "mode", &["\"observe\"", "\"enforce\""]),
            (25, "enroll", &["\"at-login\"", "\"invited\"", "\"by-admin\""]),
            (15, "kinds", &["[\"totp\"]", "[\"u2f\"]"]),
            (8, "deadline", &["\"2020-01-01\"", "\"2099-01-01\""]),
            (8, "expires", &["\"2020-01-01\"", "\"2099-01-01\""]),
            (25, "ssh_key", &["\"allow\"", "\"deny\""]),
        ] {
            if chance.odd(percent) {
                text += &format!("{key} = {}\n", chance.one(values));
            }
        }
    }
    if text.is_empty() { "# no rule\n".into() } else { text }
}
