//! What the modules of a PAM stack say in one login: the well-known ones by what they look at, all others anything.

use super::shadow::{Age, Password};
use super::user::User;
use crate::policy::Answer;
use crate::stack::{AUTH_ERR, Code, Files, IGNORE, Kind, Module, NEW_AUTHTOK_REQD, PERM_DENIED, SUCCESS};

/// `PAM_SERVICE_ERR`
const SERVICE_ERR: Code = 3;
/// `PAM_AUTHINFO_UNAVAIL`
const AUTHINFO_UNAVAIL: Code = 9;
/// `PAM_USER_UNKNOWN`
const USER_UNKNOWN: Code = 10;
/// `PAM_ACCT_EXPIRED`
const ACCT_EXPIRED: Code = 13;
/// `PAM_AUTHTOK_EXPIRED`
pub const AUTHTOK_EXPIRED: Code = 27;
/// `PAM_MODULE_UNKNOWN`
const MODULE_UNKNOWN: Code = 28;

/// The first uid of people, as distributions have it (UID_MIN of login.defs).
pub const PEOPLE: u32 = 1000;

/// A login, as modules look at it.
pub struct Scene<'a> {
    pub user: &'a User<'a>,
    pub service: &'a str,
    pub home: &'a str,
    pub shell: &'a str,
    pub password: &'a Password,
    pub age: Option<Age>,
    /// The person types the right password, if there is one that can be typed; otherwise nothing.
    pub types: bool,
    /// An empty password is taken, by what the program says.
    pub empty: bool,
    /// sshd has accepted a key.
    pub key: bool,
    pub files: &'a Files<'a>,
    /// The stack asks pam_unix, which has this host's passwords.
    pub asks_unix: bool,
    /// Whether a module of this name is installed.
    pub installed: &'a dyn Fn(&str) -> bool,
    /// Whether a file exists.
    pub exists: &'a dyn Fn(&str) -> bool,
}

impl Scene<'_> {
    /// The codes that a module other than ours may return.
    pub fn says(&self, module: &Module, kind: Kind) -> Vec<Code> {
        let name = module.name();
        if !(self.installed)(&module.path) {
            return vec![MODULE_UNKNOWN];
        }
        match (name, kind) {
            ("pam_permit.so", _) => vec![SUCCESS],
            ("pam_deny.so", _) => vec![AUTH_ERR],
            ("pam_unix.so", Kind::Auth) => self.unix(module),
            ("pam_unix.so", Kind::Account) => self.unix_account(),
            ("pam_exec.so", Kind::Auth) if module.asks_for_a_key() => vec![if self.key { SUCCESS } else { AUTH_ERR }],
            ("pam_nologin.so", _) => self.nologin(module),
            // In auth they only prepare.
            (
                "pam_env.so" | "pam_group.so" | "pam_warn.so" | "pam_faildelay.so" | "pam_mail.so" | "pam_motd.so",
                Kind::Auth,
            ) => {
                vec![IGNORE]
            }
            ("pam_echo.so" | "pam_keyinit.so" | "pam_issue.so", Kind::Auth) => vec![IGNORE],
            ("pam_faillock.so", Kind::Auth) if module.arguments.iter().any(|word| word == "authfail") => vec![IGNORE],
            // Unless it has locked somebody out.
            ("pam_faillock.so", _) => vec![SUCCESS],
            ("pam_rootok.so", Kind::Auth) => self.rootok(),
            ("pam_localuser.so", _) => vec![if *self.password == Password::Elsewhere { PERM_DENIED } else { SUCCESS }],
            ("pam_succeed_if.so", _) => match self.succeeds_if(&module.arguments) {
                Some(true) => vec![SUCCESS],
                Some(false) => vec![AUTH_ERR],
                None => vec![SUCCESS, AUTH_ERR],
            },
            ("pam_usertype.so", _) => self.usertype(&module.arguments),
            ("pam_listfile.so", _) => self.listed(&module.arguments),
            ("pam_access.so", _) => self.access(module),
            ("pam_time.so", Kind::Account)
                if module.arguments.is_empty() && self.has_no_rules("/etc/security/time.conf") =>
            {
                vec![SUCCESS]
            }
            ("pam_shells.so", _) => self.shells(),
            _ if kind == Kind::Auth && module.may_prove() => self.directory(),
            // Modules that are known to prove nothing: what they check is not known here, but they say nothing odd.
            _ if kind == Kind::Auth => vec![SUCCESS, AUTH_ERR, IGNORE],
            _ => module.anything(kind),
        }
    }

    fn unix(&self, module: &Module) -> Vec<Code> {
        let says = |word: &str| module.arguments.iter().any(|argument| argument == word);
        match self.password {
            Password::Typed if self.types => vec![SUCCESS],
            Password::Typed | Password::Locked => vec![AUTH_ERR],
            Password::Empty if says("nullok_secure") => vec![SUCCESS, AUTH_ERR],
            Password::Empty if says("nullok") && self.empty => vec![SUCCESS],
            Password::Empty => vec![AUTH_ERR],
            // The name service may have the hash: then it is pam_unix that compares.
            Password::Elsewhere if self.types => vec![SUCCESS, USER_UNKNOWN, AUTH_ERR, AUTHINFO_UNAVAIL],
            Password::Elsewhere => vec![USER_UNKNOWN, AUTH_ERR, AUTHINFO_UNAVAIL],
            Password::NotKnown(_) if self.types => vec![SUCCESS, AUTH_ERR],
            Password::NotKnown(_) => vec![AUTH_ERR],
        }
    }

    fn unix_account(&self) -> Vec<Code> {
        match (self.password, self.age) {
            (Password::Elsewhere, _) => vec![SUCCESS, USER_UNKNOWN, AUTHINFO_UNAVAIL],
            (_, Some(Age::Good)) => vec![SUCCESS],
            (_, Some(Age::Expired)) => vec![ACCT_EXPIRED],
            (_, Some(Age::TooOld)) => vec![AUTHTOK_EXPIRED],
            (_, Some(Age::ToBeChanged)) => vec![NEW_AUTHTOK_REQD],
            (_, Some(Age::NotThere)) => vec![AUTHINFO_UNAVAIL],
            (_, None) => vec![SUCCESS, ACCT_EXPIRED],
        }
    }

    /// Another module that asks for a password of its own. It may know nothing of users whose password is in this host's
    /// files; all others have a password there, if they have any.
    fn directory(&self) -> Vec<Code> {
        match self.password {
            _ if !self.types => vec![AUTH_ERR],
            Password::Typed if self.asks_unix => vec![USER_UNKNOWN, AUTHINFO_UNAVAIL, SUCCESS],
            _ => vec![SUCCESS],
        }
    }

    fn nologin(&self, module: &Module) -> Vec<Code> {
        let closed = ["/run/nologin", "/etc/nologin"].iter().any(|path| (self.exists)(path));
        match closed {
            true if self.user.uid != 0 => vec![AUTH_ERR],
            _ if module.arguments.iter().any(|word| word == "successok") => vec![SUCCESS],
            _ => vec![IGNORE],
        }
    }

    /// By the real uid. Which one sudo has while it asks differs between its versions.
    fn rootok(&self) -> Vec<Code> {
        match self.service {
            "sudo" | "sudo-i" => vec![SUCCESS, AUTH_ERR],
            service if crate::stack::keeps_callers_uid(service) => vec![AUTH_ERR],
            _ => vec![SUCCESS],
        }
    }

    /// Conditions of pam_succeed_if(8), which succeeds if there is none; `None` if one of them cannot be told.
    fn succeeds_if(&self, arguments: &[String]) -> Option<bool> {
        let flags = ["debug", "quiet", "quiet_fail", "quiet_success", "audit"];
        let mut words = arguments.iter().map(String::as_str).filter(|word| !flags.contains(word));
        let mut all = Some(true);
        // It is about the caller then, wherever that stands.
        if arguments.iter().any(|word| word == "use_uid") {
            return None;
        }
        while let Some(left) = words.next() {
            let (operator, right) = (words.next()?, words.next()?);
            match self.holds(left, operator, right) {
                Some(true) => {}
                // Nothing behind it matters, whatever it is.
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }

    fn holds(&self, left: &str, operator: &str, right: &str) -> Option<bool> {
        let uid = self.user.uid.to_string();
        let left = match left {
            "user" => self.user.name,
            "uid" => &uid,
            "service" => self.service,
            "home" => self.home,
            "shell" => self.shell,
            _ => return None,
        };
        let numbers = || Some((left.parse::<i64>().ok()?, right.parse::<i64>().ok()?));
        let one_of = || right.split(':').any(|word| word == left);
        let in_group = || {
            let answers: Vec<Answer> = right.split(':').map(|group| (self.user.member)(group)).collect();
            match (answers.contains(&Answer::Yes), answers.contains(&Answer::Unknown)) {
                (true, _) => Some(true),
                (false, true) => None,
                (false, false) => Some(false),
            }
        };
        match operator {
            "=" => Some(left == right),
            "!=" => Some(left != right),
            "eq" => numbers().map(|(a, b)| a == b),
            "ne" => numbers().map(|(a, b)| a != b),
            "<" | "lt" => numbers().map(|(a, b)| a < b),
            "<=" | "le" => numbers().map(|(a, b)| a <= b),
            ">" | "gt" => numbers().map(|(a, b)| a > b),
            ">=" | "ge" => numbers().map(|(a, b)| a >= b),
            "in" => Some(one_of()),
            "notin" => Some(!one_of()),
            "ingroup" => in_group(),
            "notingroup" => in_group().map(|is| !is),
            _ => None,
        }
    }

    fn usertype(&self, arguments: &[String]) -> Vec<Code> {
        let system = self.user.uid < PEOPLE || self.user.uid == 65_534;
        let holds = |word: &str| match word {
            "issystem" => Some(system),
            "isregular" => Some(!system),
            _ => None,
        };
        let wanted =
            arguments.iter().filter(|word| !matches!(word.as_str(), "debug" | "audit")).map(|word| holds(word));
        match wanted.collect::<Option<Vec<bool>>>().as_deref() {
            Some([holds]) => vec![if *holds { SUCCESS } else { AUTH_ERR }],
            _ => vec![SUCCESS, AUTH_ERR],
        }
    }

    /// pam_listfile(8), for lists of users.
    fn listed(&self, arguments: &[String]) -> Vec<Code> {
        let value = |key: &str| arguments.iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let unclear = vec![SUCCESS, AUTH_ERR, SERVICE_ERR];
        let (Some("user"), Some(file), Some(sense)) = (value("item"), value("file"), value("sense")) else {
            return unclear;
        };
        let on_error = if value("onerr") == Some("succeed") { SUCCESS } else { SERVICE_ERR };
        if value("apply").is_some() {
            return unclear;
        }
        match ((self.files)(file), sense) {
            (Ok(None), _) => vec![on_error],
            (Ok(Some(text)), "allow" | "deny") => {
                let is_listed = text.lines().any(|line| line == self.user.name);
                vec![if is_listed == (sense == "allow") { SUCCESS } else { AUTH_ERR }]
            }
            _ => unclear,
        }
    }

    /// pam_access(8) without rules lets in.
    fn access(&self, module: &Module) -> Vec<Code> {
        let more = (self.exists)("/etc/security/access.d");
        match module.arguments.is_empty() && !more && self.has_no_rules("/etc/security/access.conf") {
            true => vec![SUCCESS],
            false => vec![SUCCESS, PERM_DENIED],
        }
    }

    fn has_no_rules(&self, path: &str) -> bool {
        let rules = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
        matches!((self.files)(path), Ok(Some(text)) if !rules(&text))
    }

    fn shells(&self) -> Vec<Code> {
        match (self.files)("/etc/shells") {
            Ok(Some(text)) => {
                let shell = if self.shell.is_empty() { "/bin/sh" } else { self.shell };
                vec![if text.lines().any(|line| line.trim() == shell) { SUCCESS } else { AUTH_ERR }]
            }
            _ => vec![SUCCESS, AUTH_ERR],
        }
    }
}
