//! What sshd lets a user try, by its own settings (`sshd -T -C`).

use std::collections::HashMap;

use super::user::User;
use crate::policy::Answer;
use crate::policy::place::{self, Network};

/// A method of sshd, as far as ways in differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A key (or GSSAPI, or a trusted host).
    Key,
    /// Questions, asked by PAM.
    Interactive,
    /// One password, sent by the client: sshd answers PAM's hidden questions with it, and no others.
    Password,
}

/// The settings that are in force for one user.
#[derive(Debug, Clone)]
pub struct Settings(HashMap<String, Vec<String>>);

impl Settings {
    /// From the text of `sshd -T`. OpenSSH 10.6 writes keywords in mixed case.
    pub fn read(said: &str) -> Settings {
        let mut settings: HashMap<String, Vec<String>> = HashMap::new();
        for line in said.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            settings.entry(keyword.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
        }
        Settings(settings)
    }

    /// sshd's defaults, as far as they matter here, with the questions that we need.
    pub fn usual() -> Settings {
        Settings::read(
            "usepam yes\npasswordauthentication yes\nkbdinteractiveauthentication yes\npubkeyauthentication yes",
        )
    }

    fn value(&self, keyword: &str) -> &str {
        self.0.get(keyword).and_then(|values| values.first()).map_or("", String::as_str)
    }

    fn is_on(&self, keyword: &str) -> bool {
        self.value(keyword) == "yes"
    }

    /// Whether PAM is asked at all.
    pub fn uses_pam(&self) -> bool {
        self.is_on("usepam")
    }

    /// Whether an empty password is one.
    pub fn takes_empty(&self) -> bool {
        self.is_on("permitemptypasswords")
    }

    /// Whether sshd tries an empty password before any other method (`userauth_none`). A list of methods leaves that one out.
    pub fn tries_empty(&self) -> bool {
        self.takes_empty() && self.is_on("passwordauthentication") && !self.lists_methods()
    }

    /// Whether methods are listed, so that others are not enough.
    pub fn lists_methods(&self) -> bool {
        !matches!(self.value("authenticationmethods"), "" | "any")
    }

    /// The files of keys of a user with this home; `None` if keys may come from elsewhere.
    pub fn key_files(&self, user: &User, home: &str) -> Option<Vec<String>> {
        let set = |keyword: &str| !matches!(self.value(keyword), "" | "none");
        if set("authorizedkeyscommand") || set("trustedusercakeys") {
            return None;
        }
        let named = self.0.get("authorizedkeysfile").map(|values| values.join(" "));
        let named = named.unwrap_or_else(|| String::from(".ssh/authorized_keys .ssh/authorized_keys2"));
        let path = |file: &str| {
            let uid = user.uid.to_string();
            let file = file.replace("%h", home).replace("%u", user.name).replace("%U", &uid).replace("%%", "%");
            if file.starts_with('/') { file } else { format!("{home}/{file}") }
        };
        Some(named.split_whitespace().filter(|file| *file != "none").map(path).collect())
    }

    /// The lists of methods of which one has to be passed whole.
    pub fn lists(&self, uid: u32) -> Vec<Vec<Method>> {
        let named = self.0.get("authenticationmethods").map(|values| values.join(" ")).unwrap_or_default();
        let lists: Vec<Vec<Method>> = match named.as_str() {
            "" | "any" => [Method::Key, Method::Interactive, Method::Password].map(|method| vec![method]).into(),
            lists => lists.split_whitespace().filter_map(list).collect(),
        };
        let usable = |method: &Method| self.has(*method) && (uid != 0 || self.lets_root_by(*method));
        let mut lists: Vec<_> = lists.into_iter().filter(|list| list.iter().all(usable)).collect();
        // In the order of ssh, and of most clients: questions before the method password.
        lists.sort_by_key(|list| list.contains(&Method::Password));
        lists
    }

    fn has(&self, method: Method) -> bool {
        match method {
            Method::Key => self.is_on("pubkeyauthentication"),
            // sshd itself has no questions.
            Method::Interactive => self.is_on("kbdinteractiveauthentication") && self.uses_pam(),
            Method::Password => self.is_on("passwordauthentication"),
        }
    }

    /// sshd looks at the uid, so other names of it are root too. Each method of a list counts.
    fn lets_root_by(&self, method: Method) -> bool {
        match self.value("permitrootlogin") {
            "yes" | "" => true,
            "prohibit-password" | "without-password" => method == Method::Key,
            _ => false,
        }
    }

    /// Whether root comes in only where the key's own line names a command.
    pub fn only_forced_commands(&self) -> bool {
        self.value("permitrootlogin") == "forced-commands-only"
    }

    /// Whether users may find no shell below another root folder.
    pub fn changes_root(&self) -> bool {
        !matches!(self.value("chrootdirectory"), "" | "none")
    }

    /// Why no list of methods is left.
    pub fn why_none(&self, uid: u32) -> String {
        let mut words: Vec<String> = Vec::new();
        if uid == 0 && self.value("permitrootlogin") != "yes" {
            words.push(format!("PermitRootLogin {}", self.value("permitrootlogin")));
        }
        for (keyword, name) in [
            ("passwordauthentication", "PasswordAuthentication"),
            ("kbdinteractiveauthentication", "KbdInteractiveAuthentication"),
            ("pubkeyauthentication", "PubkeyAuthentication"),
            ("usepam", "UsePAM"),
        ] {
            if !self.is_on(keyword) {
                words.push(format!("{name} no"));
            }
        }
        if let Some(methods) = self.0.get("authenticationmethods").filter(|methods| methods.as_slice() != ["any"]) {
            words.push(format!("AuthenticationMethods {}", methods.join(" ")));
        }
        words.join(", ")
    }

    /// Whether the client at this address matches the part of a pattern that stands behind `@`.
    fn by_host(&self, pattern: &str, address: Option<&str>) -> Answer {
        let network = Network::parse(pattern).ok();
        match (address, address.and_then(place::address), network) {
            (Some(_), Some(address), Some(network)) => Answer::known(network.holds(address)),
            // sshd knows a name of the client only where it asks for one.
            (Some(address), Some(_), None) if !self.is_on("usedns") && !pattern.contains(['/', '!', ',']) => {
                Answer::known(matches(address, pattern))
            }
            _ => Answer::Unknown,
        }
    }

    /// The setting by which sshd turns this user away, whatever is proved. The error says why that is not known.
    pub fn turns_away(&self, user: &User, address: Option<&str>) -> Result<Option<String>, String> {
        let by_name = |pattern: &str| match pattern.rsplit_once('@') {
            None => Answer::known(matches(user.name, pattern)),
            Some((name, host)) if matches(user.name, name) => self.by_host(host, address),
            Some(_) => Answer::No,
        };
        for (keyword, name, allows) in [
            ("denyusers", "DenyUsers", false),
            ("allowusers", "AllowUsers", true),
            ("denygroups", "DenyGroups", false),
            ("allowgroups", "AllowGroups", true),
        ] {
            let Some(patterns) = self.0.get(keyword) else { continue };
            let patterns = patterns.iter().flat_map(|line| line.split_whitespace());
            let is =
                |pattern: &str| if keyword.ends_with("users") { by_name(pattern) } else { by_group(user, pattern) };
            let answers: Vec<Answer> = patterns.map(is).collect();
            match (answers.contains(&Answer::Yes), answers.contains(&Answer::Unknown), allows) {
                (true, _, false) | (false, false, true) => return Ok(Some(String::from(name))),
                (false, true, _) => return Err(format!("{name} has a pattern that cannot be told")),
                (true, _, true) | (false, false, false) => {}
            }
        }
        Ok(None)
    }
}

/// A list of AuthenticationMethods; `None` if it has a method that is not known.
fn list(list: &str) -> Option<Vec<Method>> {
    let method = |word: &str| match word.split(':').next() {
        Some("publickey" | "hostbased" | "gssapi-with-mic") => Some(Method::Key),
        Some("keyboard-interactive") => Some(Method::Interactive),
        Some("password") => Some(Method::Password),
        _ => None,
    };
    list.split(',').map(method).collect()
}

/// match_pattern() of OpenSSH: `*` and `?`.
pub fn matches(text: &str, pattern: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = chars.as_str();
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(&text[at..], rest))
        }
        Some(c) => {
            let mut text = text.chars();
            text.next().is_some_and(|first| c == '?' || c == first) && matches(text.as_str(), chars.as_str())
        }
    }
}

/// Whether some `Match` goes by the address of the client.
pub fn goes_by_address(conditions: &[String]) -> bool {
    let mut words = conditions.iter().flat_map(|condition| condition.split_whitespace());
    words.any(|word| ["address", "host"].iter().any(|known| word.eq_ignore_ascii_case(known)))
}

/// What distinguishes this user from others in the conditions of `Match` blocks: sshd has to be asked once for each class.
pub fn class(conditions: &[String], user: &User) -> String {
    let mut class = String::new();
    for condition in conditions {
        let words: Vec<&str> = condition.split_whitespace().collect();
        for pair in words.windows(2) {
            for pattern in pair[1].split(',').map(|pattern| pattern.trim_start_matches('!')) {
                let word = pair[0].to_ascii_lowercase();
                let in_group = if word == "group" { by_group(user, pattern) } else { Answer::No };
                if word == "user" && matches(user.name, pattern) || wild(pattern) && in_group == Answer::Unknown {
                    return format!("user {}", user.name);
                }
                if in_group != Answer::No {
                    class.push_str(&format!(" {pattern}"));
                }
            }
        }
    }
    class
}

fn by_group(user: &User, pattern: &str) -> Answer {
    match wild(pattern) {
        true => user.in_group(|_, name| matches(name, pattern)),
        false => (user.member)(pattern),
    }
}

fn wild(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "usepam yes\npasswordauthentication yes\nkbdinteractiveauthentication no\n\
        pubkeyauthentication yes\npermitrootlogin without-password\nauthenticationmethods any\npermitemptypasswords no\n";

    fn with(line: &str) -> Settings {
        let keyword = line.split(' ').next().unwrap();
        let rest: String = DEBIAN.lines().filter(|l| !l.starts_with(keyword)).map(|l| format!("{l}\n")).collect();
        Settings::read(&(rest + line + "\n"))
    }

    #[test]
    fn methods_are_those_that_are_on_and_allowed_to_root() {
        use Method::{Interactive, Key, Password};
        assert_eq!(Settings::read(DEBIAN).lists(1000), [[Key], [Password]]);
        assert_eq!(Settings::read(DEBIAN).lists(0), [[Key]]);
        assert_eq!(with("permitrootlogin yes").lists(0), [[Key], [Password]]);
        assert!(with("permitrootlogin no").lists(0).is_empty());
        let two = with("authenticationmethods publickey,password keyboard-interactive:pam");
        assert_eq!(two.lists(1000), [[Key, Password]], "the other one is off");
        assert!(two.lists(0).is_empty(), "the second step is not root's");
        let both = DEBIAN
            .replace("interactiveauthentication no", "interactiveauthentication yes")
            .replace("methods any", "methods publickey,password publickey,keyboard-interactive");
        assert_eq!(Settings::read(&both).lists(1000), [[Key, Interactive], [Key, Password]], "as ssh takes them");
        assert_eq!(with("kbdinteractiveauthentication yes").lists(1000), [[Key], [Interactive], [Password]]);
        let without_pam = Settings::read(
            &DEBIAN
                .replace("interactiveauthentication no", "interactiveauthentication yes")
                .replace("usepam yes", "usepam no"),
        );
        assert_eq!(without_pam.lists(1000), [[Key], [Password]]);
        assert!(with("authenticationmethods none").lists(1000).is_empty());
    }

    #[test]
    fn users_are_turned_away_by_name_and_by_group() {
        let member = |group: &str| if group == "staff" { Answer::Yes } else { Answer::No };
        let groups = || Some(vec![(50, String::from("staff"))]);
        let kim = User { name: "kim", uid: 1000, member: &member, groups: &groups };
        let away = |line: &str| with(line).turns_away(&kim, None);
        for line in [
            "allowusers ann\nallowusers bob",
            "denyusers k*",
            "allowgroups wheel",
            "denygroups staff",
            "denyusers k?m",
            "denygroups st*",
            "allowgroups w*l",
        ] {
            assert!(matches!(away(line), Ok(Some(_))), "{line}");
        }
        for line in [
            "allowusers ann\nallowusers kim",
            "denyusers ki",
            "allowgroups wheel\nallowgroups staff",
            "usepam yes",
            "allowusers x@h kim",
            "denygroups w*",
            "allowgroups s????",
        ] {
            assert_eq!(away(line), Ok(None), "{line}");
        }
        assert!(away("allowusers kim@10.0.0.0/8").is_err());
        let unknown = User { groups: &|| None, ..kim };
        assert!(with("denygroups st*").turns_away(&unknown, None).is_err());
        let from = |line: &str| with(line).turns_away(&kim, Some("10.0.0.7"));
        for line in ["denyusers k*@10.0.0.0/8", "denyusers kim@10.0.*", "allowusers kim@10.0.0.8 kim@*.example"] {
            assert!(matches!(from(line), Ok(Some(_))), "{line}");
        }
        for line in ["allowusers ann@10.* kim@10.0.0.7", "denyusers kim@127.0.0.0/8", "denyusers kim@*.example"] {
            assert_eq!(from(line), Ok(None), "{line}");
        }
        for line in ["usedns yes\ndenyusers kim@*.example", "denyusers kim@!10.0.0.7", "allowusers kim@10.0.0.7/8"] {
            assert!(from(line).is_err(), "{line}");
        }
    }

    #[test]
    fn one_question_for_each_class_of_users() {
        let conditions = [String::from("User ann,b* Address 10.0.0.0/8"), String::from("Group staff")];
        let class = |name: &str, member: bool| {
            let member = move |_: &str| if member { Answer::Yes } else { Answer::No };
            class(&conditions, &User { name, uid: 1000, member: &member, groups: &|| None })
        };
        assert_eq!(class("kim", false), class("eve", false));
        assert_eq!(class("kim", true), class("eve", true));
        for (one, other) in
            [(("kim", false), ("kim", true)), (("ann", false), ("kim", false)), (("bob", true), ("ben", true))]
        {
            assert_ne!(class(one.0, one.1), class(other.0, other.1));
        }
    }
}
