//! The effect of sudo's settings on a login.
//!
//! Auth may leave a user to the account phase only if sudo enters that phase and opens a session, for every user, and
//! with the service whose stack was read. sudoers(5) can turn both off, for some users or for all, and can name other
//! services. We do not parse its grammar: sudo's own parser, cvtsudoers(1), follows includes, aliases and
//! continuation lines, and prints what is in force. sudo-rs has no such program, so its files are searched for words,
//! which finds too much rather than too little.
//!
//! Settings that only keep sudo from asking for a first factor (`!authenticate`, NOPASSWD, `exempt_group`,
//! `timestamp_timeout`, `verifypw`) do not affect a hand-over: if auth is skipped, nothing is handed over. They are
//! here because `doctor` warns about them.

use std::ffi::CStr;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use mfa_wire::printable;
use serde_json::Value;

use crate::stack::{Files, system_file};
use crate::sys::run::output_of;

/// sudo's own parser. `-c`: its own settings could hide parts of sudoers (`suppress = defaults`). `-e` resolves
/// aliases. Without a file name it would read standard input, print nothing and succeed.
const CVTSUDOERS: &CStr = c"/usr/bin/cvtsudoers";
const ARGUMENTS: [&CStr; 6] = [c"-c", c"/dev/null", c"-f", c"json", c"-e", c"/etc/sudoers"];
const CVTSUDOERS_PATH: &str = "/usr/bin/cvtsudoers";

/// Long, because cvtsudoers may look up a host name that sudoers mentions, and find none.
const WITHIN: Duration = Duration::from_secs(5);
/// The output for some thousand lines of sudoers.
const MOST: usize = 8 << 20;

const SUDOERS: &str = "/etc/sudoers";
/// Only for sudo-rs, which reads /etc/sudoers if this does not exist.
const SUDOERS_RS: &str = "/etc/sudoers-rs";
const FOLDER: &str = "/etc/sudoers.d";
const SUDO_CONF: &str = "/etc/sudo.conf";
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// If sudo-rs is installed or set up, one of these exists.
const SUDO_RS: [&str; 3] = ["/usr/bin/sudo-rs", "/usr/lib/cargo/bin/sudo", SUDOERS_RS];

/// Whether sudo, as set up here, enters the account phase and opens a session, for every user, with the service names
/// `sudo` and `sudo-i`. The error says why not, or why that is not known.
pub fn runs_account_and_session() -> Result<(), String> {
    runs_both(&settings()?)
}

/// [`runs_account_and_session`], by settings that have been read already.
pub fn runs_both(settings: &[Setting]) -> Result<(), String> {
    match settings.iter().find(|setting| setting.waives.breaks_a_hand_over()) {
        Some(setting) => Err(setting.to_string()),
        None => Ok(()),
    }
}

/// A setting that removes a step of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The step that it removes.
    pub waives: Waives,
    /// Its name.
    pub word: &'static str,
    /// The setting as the reader will find it: part of a line, or the setting as sudo's parser prints it.
    pub said: String,
    /// The file and the line in it, from 1. `None` if the file is not known.
    pub at: Option<(String, usize)>,
    /// The one user that it is about, if it names a plain user.
    pub user: Option<String>,
}

/// The step that a setting removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waives {
    /// sudo does not enter the account phase.
    Account,
    /// It opens no session, or not for every user.
    Session,
    /// It uses another service's stack.
    Service,
    /// Another plugin decides for sudo.
    Policy,
    /// There may be settings that we cannot see.
    Sight,
    /// Users are asked neither for the first factor nor for the second.
    Auth,
    /// Some users are not asked, for some commands.
    SomeAuth,
    /// A user who was asked once is not asked again.
    SecondAuth,
    /// Another user's password is asked.
    Owner,
}

impl Waives {
    /// Whether, because of it, no device can be bound in sudo.
    pub fn breaks_a_hand_over(self) -> bool {
        match self {
            Waives::Account | Waives::Session | Waives::Service | Waives::Policy | Waives::Sight => true,
            Waives::Auth | Waives::SomeAuth | Waives::SecondAuth | Waives::Owner => false,
        }
    }
}

impl fmt::Display for Waives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waives::Account => "sudo skips the account phase",
            Waives::Session => "sudo opens no session, or not for everybody",
            Waives::Service => "sudo goes by another PAM service",
            Waives::Policy => "another plugin may decide what sudo does",
            Waives::Sight => "there may be sudoers that cannot be seen",
            Waives::Auth => "sudo asks for nothing",
            Waives::SomeAuth => "sudo asks for nothing here, and for no code either",
            Waives::SecondAuth => "sudo asks each user only once, and never again",
            Waives::Owner => "sudo asks for another user's password",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line) = self.at.as_ref().map_or((SUDOERS, None), |(file, line)| (file.as_str(), Some(line)));
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        write!(f, "{file}{line}: {}: {}", self.waives, printable(&self.said, 100))
    }
}

/// All such settings. The error says what cannot be read, trusted or understood.
pub fn settings() -> Result<Vec<Setting>, String> {
    settings_of(&Machine {
        files: &system_file,
        names: &names_in,
        there: &|path| !matches!(std::fs::metadata(path), Err(e) if e.kind() == ErrorKind::NotFound),
        cvtsudoers: &|| output_of(CVTSUDOERS, &ARGUMENTS, MOST, WITHIN),
    })
}

/// All of sudoers in the form of cvtsudoers(1), `None` if that program is not there.
pub fn parsed() -> Result<Option<Value>, String> {
    if std::fs::metadata(CVTSUDOERS_PATH).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    json(&output_of(CVTSUDOERS, &ARGUMENTS, MOST, WITHIN)?).map(Some)
}

/// The inputs, which tests replace.
struct Machine<'a> {
    files: &'a Files<'a>,
    names: &'a dyn Fn(&str) -> Result<Vec<String>, String>,
    /// Whether a path exists, or may exist because that is not known.
    there: &'a dyn Fn(&str) -> bool,
    cvtsudoers: &'a dyn Fn() -> Result<Vec<u8>, String>,
}

fn settings_of(machine: &Machine) -> Result<Vec<Setting>, String> {
    let mut settings = plugins(machine.files)?;
    settings.extend(sources(machine.files)?);
    // Checked before the parser reads them too: if others can write a file, it may be different a moment later.
    let texts = texts(machine)?;
    let words: Vec<Setting> = texts.iter().flat_map(|(path, text)| of_words(path, text)).collect();
    let parser = (machine.there)(CVTSUDOERS_PATH);
    if parser {
        settings.extend(of_parser(&(machine.cvtsudoers)()?, &words)?);
    }
    if !parser || SUDO_RS.iter().any(|path| (machine.there)(path)) {
        settings.extend(words);
    }
    let mut once: Vec<Setting> = Vec::new();
    for setting in settings {
        if !once.contains(&setting) {
            once.push(setting);
        }
    }
    Ok(once)
}

/// sudo.conf(5). By default, and with any of these lines, the plugin is sudoers.so and reads /etc/sudoers; an
/// argument can name another file (`sudoers_file=`).
fn plugins(files: &Files) -> Result<Vec<Setting>, String> {
    let text = files(SUDO_CONF)?.unwrap_or_default();
    let not_ours = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = match words.as_slice() {
            [] => true,
            // A comment with a continuation could hide a line from us that sudo reads, or the reverse.
            [first, ..] if first.starts_with('#') => !line.trim_end().ends_with('\\'),
            _ if line.contains('\\') => false,
            [word, symbol, "sudoers.so"] if word.eq_ignore_ascii_case("plugin") => {
                ["sudoers_policy", "sudoers_io", "sudoers_audit"].contains(symbol)
            }
            [word, name, ..] if word.eq_ignore_ascii_case("path") => !name.eq_ignore_ascii_case("plugin_dir"),
            [word, ..] => ["set", "debug"].iter().any(|known| word.eq_ignore_ascii_case(known)),
        };
        !known
    };
    Ok(lines_that(SUDO_CONF, &text, Waives::Policy, "plugin", not_ours))
}

/// nsswitch.conf(5). If it has no entry for sudoers, sudo reads files.
fn sources(files: &Files) -> Result<Vec<Setting>, String> {
    let text = files(NSSWITCH)?.unwrap_or_default();
    let elsewhere = |line: &str| {
        let content = line.split('#').next().unwrap_or_default();
        let of_sudoers = content.split_once(':').filter(|(name, _)| name.trim().eq_ignore_ascii_case("sudoers"));
        let files_alone = |sources: &str| sources.split_whitespace().eq(["files"]);
        // sudo joins a line that ends in a backslash with the next one.
        line.trim_end().ends_with('\\') || of_sudoers.is_some_and(|(_, sources)| !files_alone(sources))
    };
    Ok(lines_that(NSSWITCH, &text, Waives::Sight, "sudoers", elsewhere))
}

fn lines_that(
    path: &str,
    text: &str,
    waives: Waives,
    word: &'static str,
    matches: impl Fn(&str) -> bool,
) -> Vec<Setting> {
    let lines = text.lines().zip(1..).filter(|(line, _)| matches(line));
    let setting = |(line, number): (&str, usize)| Setting {
        waives,
        word,
        said: line.trim().to_owned(),
        at: Some((path.to_owned(), number)),
        user: None,
    };
    lines.map(setting).collect()
}

/// Settings whose presence or absence matters. These words occur nowhere else in the grammar of sudoers.
const WORDS: [(&str, Waives); 13] = [
    ("pam_acct_mgmt", Waives::Account),
    ("pam_session", Waives::Session),
    // For a uid without an account it cannot open a session, and lets the caller in.
    ("runas_allow_unknown_id", Waives::Session),
    ("pam_service", Waives::Service),
    ("pam_login_service", Waives::Service),
    ("pam_askpass_service", Waives::Service),
    ("use_pam", Waives::Auth),
    ("authenticate", Waives::Auth),
    ("exempt_group", Waives::Auth),
    ("timestamp_timeout", Waives::SecondAuth),
    ("rootpw", Waives::Owner),
    ("targetpw", Waives::Owner),
    ("runaspw", Waives::Owner),
];

/// The settings that sudo's parser says are in force, for any users, each with the lines that mention it for the same
/// user. If there are fewer lines, another file has the rest: that is told without a place and without a user.
fn of_parser(answer: &[u8], words: &[Setting]) -> Result<Vec<Setting>, String> {
    let mut found = Vec::new();
    collect(&json(answer)?, None, &mut found);
    let mut placed = Vec::new();
    for setting in &found {
        let alike = |other: &&Setting| other.word == setting.word && other.waives == setting.waives;
        let same = |other: &&Setting| alike(other) && other.user == setting.user;
        let mut lines: Vec<Setting> = words.iter().filter(same).cloned().collect();
        if lines.is_empty() && setting.user.is_some() {
            // An alias, for instance.
            lines = words.iter().filter(|line| alike(line) && line.user.is_none()).cloned().collect();
        }
        if lines.len() < found.iter().filter(same).count() {
            lines.push(Setting { user: None, ..setting.clone() });
        }
        placed.extend(lines);
    }
    Ok(placed)
}

fn json(answer: &[u8]) -> Result<Value, String> {
    let not_understood = |why: &dyn fmt::Display| format!("{CVTSUDOERS_PATH}: its answer is not understood: {why}");
    let parsed: Value = serde_json::from_slice(answer).map_err(|e| not_understood(&e))?;
    if parsed.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(not_understood(&"there is nothing in it"));
    }
    Ok(parsed)
}

/// `spec` is the entry of `Defaults` or `User_Specs` around the value.
fn collect(value: &Value, spec: Option<(&str, &Value)>, found: &mut Vec<Setting>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, spec, found)),
        Value::Object(members) => {
            for (name, value) in members {
                if let Some((word, waives)) = WORDS.iter().find(|(word, _)| word == name)
                    && waives_by_value(word, value)
                {
                    let user = spec.and_then(|(_, spec)| only_user(spec));
                    found.push(match (*word, spec) {
                        ("authenticate", Some(("User_Specs", _))) => Setting {
                            waives: Waives::SomeAuth,
                            word: "NOPASSWD",
                            said: String::from("NOPASSWD"),
                            at: None,
                            user,
                        },
                        _ => Setting { waives: *waives, word, said: said(word, value), at: None, user },
                    });
                }
                match (name.as_str(), value) {
                    ("Defaults" | "User_Specs", Value::Array(specs)) if spec.is_none() => {
                        for spec in specs {
                            // One line may say it of several commands.
                            let mut of_one = Vec::new();
                            collect(spec, Some((name, spec)), &mut of_one);
                            of_one.dedup();
                            found.append(&mut of_one);
                        }
                    }
                    _ => collect(value, spec, found),
                }
            }
        }
        _ => {}
    }
}

/// The one plain user whom an entry of the parser's answer is about.
fn only_user(spec: &Value) -> Option<String> {
    let users = spec.get("User_List").or(spec.get("Binding"))?.as_array()?;
    let [user] = users.as_slice() else { return None };
    let name = user.get("username")?.as_str()?;
    (user.get("negated").is_none() && is_plain(name)).then(|| name.to_owned())
}

/// The one user whom a line of sudoers is about, if it names a plain user: `robot ALL=(ALL) NOPASSWD: ALL` or
/// `Defaults:robot !authenticate`.
fn sole_user(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    let name = match first.starts_with("Defaults") {
        true => first.strip_prefix("Defaults:")?,
        // The next word names the hosts, up to `=`.
        false => Some(first).filter(|_| second != "=")?,
    };
    (!second.starts_with(',') && is_plain(name)).then_some(name)
}

/// Aliases are in capital letters, groups begin with `%`, uids with `#`.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain)
}

/// The setting as sudoers writes it.
fn said(word: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => word.to_owned(),
        Value::Bool(false) => format!("!{word}"),
        Value::String(text) => format!("{word}={text}"),
        other => format!("{word}={other}"),
    }
}

fn waives_by_value(word: &str, value: &Value) -> bool {
    match word {
        "pam_acct_mgmt" | "pam_session" | "use_pam" | "authenticate" => *value != Value::Bool(true),
        "runas_allow_unknown_id" | "exempt_group" | "rootpw" | "targetpw" | "runaspw" => *value != Value::Bool(false),
        "timestamp_timeout" => {
            value.as_str().is_none_or(|minutes| minutes.trim_start().starts_with('-')) && *value != Value::Bool(false)
        }
        // `!pam_service` means no service at all.
        _ => true,
    }
}

/// The settings that the words of a file may mean. A setting that breaks a hand-over counts wherever its word occurs.
pub fn of_words(path: &str, text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (line, number) in whole_lines(text) {
        let line = line.trim();
        let mut add = |waives, word| {
            let (at, user) = (Some((path.to_owned(), number)), sole_user(line).map(str::to_owned));
            settings.push(Setting { waives, word, said: line.to_owned(), at, user });
        };
        let include = ["@include", "#include"].iter().any(|word| line.starts_with(word));
        let of_the_folder = |word| line.split_whitespace().eq([word, FOLDER]);
        if include && !["@includedir", "#includedir"].into_iter().any(of_the_folder) {
            add(Waives::Sight, "include");
        }
        // `#1000` is a user, not a comment.
        let comment = line.strip_prefix('#').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        for (word, waives) in WORDS {
            if waives.breaks_a_hand_over() && line.contains(word) || !comment && waives_by_words(word, line) {
                add(waives, word);
            }
        }
        if !comment && words(line).any(|word| word == "NOPASSWD") {
            add(Waives::SomeAuth, "NOPASSWD");
        }
    }
    // A word that is broken over two lines, the first of which seems to have a comment.
    let whole = text.replace("\\\r\n", "").replace("\\\n", "");
    for (word, waives) in WORDS.into_iter().filter(|(_, waives)| waives.breaks_a_hand_over()) {
        if whole.contains(word) && settings.iter().all(|setting| setting.word != word) {
            let at = Some((path.to_owned(), 1));
            settings.push(Setting { waives, word, said: word.to_owned(), at, user: None });
        }
    }
    settings
}

/// The lines as sudo joins them, each with the number of its first one. A backslash at the end continues a line, but no
/// comment.
fn whole_lines(text: &str) -> Vec<(String, usize)> {
    let mut whole: Vec<(String, usize)> = Vec::new();
    let mut goes_on = false;
    for (line, number) in text.lines().zip(1..) {
        let comment = line.split('#').skip(1).any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        let continued = line.trim_end().strip_suffix('\\').filter(|_| !comment);
        let content = continued.unwrap_or(line);
        match whole.last_mut().filter(|_| goes_on) {
            Some((before, _)) => before.push_str(content),
            None => whole.push((content.to_owned(), number)),
        }
        goes_on = continued.is_some();
    }
    whole
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Whether a line says `!authenticate` (with any blanks), `exempt_group=` or a negative timeout.
fn waives_by_words(word: &str, line: &str) -> bool {
    let whole = |at: usize| {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part)
    };
    line.match_indices(word).filter(|(at, _)| whole(*at)).any(|(at, _)| {
        let before = line[..at].trim_end_matches(|c: char| c == '!' || c.is_whitespace());
        let negated = line[before.len()..at].matches('!').count() % 2 == 1;
        let value = line[at + word.len()..]
            .trim_start()
            .strip_prefix('=')
            .map(|value| value.trim_start_matches([' ', '\t', '"']));
        match word {
            "exempt_group" => value.is_some() && !negated,
            "timestamp_timeout" => value.is_some_and(|minutes| minutes.starts_with('-')),
            "rootpw" | "targetpw" | "runaspw" => !negated,
            _ => negated,
        }
    })
}

/// The files of sudoers(5) in the usual places.
fn texts(machine: &Machine) -> Result<Vec<(String, String)>, String> {
    let names = (machine.names)(FOLDER)?;
    let usual = [SUDOERS, SUDOERS_RS].map(str::to_owned);
    let paths = usual.into_iter().chain(names.iter().map(|name| format!("{FOLDER}/{name}")));
    let mut texts = Vec::new();
    for path in paths {
        texts.extend((machine.files)(&path)?.map(|text| (path, text)));
    }
    Ok(texts)
}

/// The names in a folder, which may not exist; a folder that exists and cannot be read may hold anything.
fn names_in(folder: &str) -> Result<Vec<String>, String> {
    let unreadable = |e: std::io::Error| format!("{folder}: {e}");
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.map_err(unreadable)?.file_name();
        name.into_string().map_err(|name| format!("{folder}/{} has no name in UTF-8", name.to_string_lossy()))
    };
    entries.map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Debian's own sudoers.
    const DEBIAN: &str = "\
# This file MUST be edited with the 'visudo' command as root.
Defaults	env_reset
Defaults	mail_badpass
Defaults	secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
#Defaults:%sudo env_keep += \"http_proxy https_proxy ftp_proxy all_proxy no_proxy\"
root	ALL=(ALL:ALL) ALL
%sudo	ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
";

    /// The output of cvtsudoers for it, with more options.
    fn json_with(options: &str) -> String {
        format!(
            r#"{{"Defaults": [ {{"Options": [ {{"env_reset": true}} ]}}, {{"Options": [ {{"operation": "list_add",
            "env_keep": ["A", "B"]}} ]}}{options} ], "User_Specs": [ {{"User_List": [ {{"username": "root"}} ],
            "Cmnd_Specs": [ {{"Options": [ {{"setenv": true}} ], "Commands": [ {{"command": "ALL"}} ]}} ]}} ]}}"#
        )
    }

    const PARSER: [&str; 1] = [CVTSUDOERS_PATH];

    /// The settings found on a machine with these programs and files, where cvtsudoers prints this. A file whose text
    /// begins with `!` cannot be read.
    fn on(there: &[&str], files: &[(&str, &str)], answer: Result<&str, &str>) -> Result<Vec<Setting>, String> {
        let all: HashMap<&str, &str> = files.iter().copied().collect();
        let names = files.iter().filter_map(|(path, _)| path.strip_prefix("/etc/sudoers.d/")).map(str::to_owned);
        let names: Vec<String> = names.collect();
        settings_of(&Machine {
            files: &|path| match all.get(path) {
                Some(why) if why.starts_with('!') => Err(why[1..].to_owned()),
                text => Ok(text.map(|text| (*text).to_owned())),
            },
            names: &|_| Ok(names.clone()),
            there: &|path| there.contains(&path) || all.contains_key(path),
            cvtsudoers: &|| answer.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned),
        })
    }

    fn judged(settings: Result<Vec<Setting>, String>) -> Result<(), String> {
        runs_both(&settings?)
    }

    /// With sudo's own parser.
    fn by_parser(answer: &str) -> Result<(), String> {
        judged(on(&PARSER, &[("/etc/sudoers", DEBIAN)], Ok(answer)))
    }

    /// By words, in each file that may exist.
    #[track_caller]
    fn by_words(line: &str) -> Result<(), String> {
        let with = format!("{DEBIAN}{line}\n");
        let verdicts = [
            judged(on(&[], &[("/etc/sudoers", &with)], Err("not run"))),
            judged(on(&[], &[("/etc/sudoers", DEBIAN), ("/etc/sudoers.d/x", line)], Err("not run"))),
            judged(on(&[], &[("/etc/sudoers-rs", &with)], Err("not run"))),
            // Beside a sudo whose settings are right.
            judged(on(&[PARSER[0], "/usr/bin/sudo-rs"], &[("/etc/sudoers", &with)], Ok(&json_with("")))),
            judged(on(&[PARSER[0], "/usr/lib/cargo/bin/sudo"], &[("/etc/sudoers", &with)], Ok(&json_with("")))),
        ];
        assert!(verdicts.iter().all(|verdict| verdict.is_ok() == verdicts[0].is_ok()), "{line}: {verdicts:?}");
        verdicts.into_iter().next().unwrap()
    }

    #[test]
    fn debians_own_settings_run_both() {
        assert_eq!(by_parser(&json_with("")), Ok(()));
        assert_eq!(by_words(""), Ok(()));
        assert_eq!(by_words("Defaults use_pty\nbob ALL=(ALL) NOPASSWD: ALL"), Ok(()));
        let files = [
            (
                "/etc/sudo.conf",
                "# Plugin x y\n\nPlugin sudoers_policy sudoers.so\nPath askpass /bin/x\nSet disable_coredump false\nDebug sudo /var/log/x all@warn\n",
            ),
            ("/etc/nsswitch.conf", "passwd: files systemd sss\nsudoers: files # here\n"),
            ("/etc/sudoers", DEBIAN),
        ];
        assert_eq!(on(&PARSER, &files, Ok(&json_with(""))), Ok(vec![]));
        assert_eq!(on(&[], &[], Err("not run")), Ok(vec![]), "there is no sudo");
    }

    #[test]
    fn what_the_parser_says_of_anybody_counts() {
        for (option, said) in [
            (r#"{"pam_acct_mgmt": false}"#, "sudo skips the account phase: !pam_acct_mgmt"),
            (r#"{"pam_session": false}"#, "sudo opens no session, or not for everybody: !pam_session"),
            (r#"{"runas_allow_unknown_id": true}"#, "runas_allow_unknown_id"),
            (r#"{"pam_service": "mine"}"#, "sudo goes by another PAM service: pam_service=mine"),
            (r#"{"pam_service": false}"#, "!pam_service"),
            (r#"{"pam_login_service": "mine"}"#, "pam_login_service=mine"),
            (r#"{"pam_askpass_service": "mine"}"#, "pam_askpass_service=mine"),
            (r#"{"operation": "list_add", "pam_service": ["a"]}"#, "pam_service"),
        ] {
            for binding in [
                "",
                r#""Binding": [ {"username": "bob"} ], "#,
                r#""Binding": [ {"hostname": "web1"}, {"hostname": "ALL"} ], "#,
                r#""Binding": [ {"command": "/bin/ls"} ], "#,
            ] {
                for around in
                    ["OPTION", r#"{"use_pty": true}, OPTION, {"lecture": false}"#, r#"OPTION, {"pam_acct_mgmt": true}"#]
                {
                    let options = around.replace("OPTION", option);
                    let answer = json_with(&format!(r#", {{{binding}"Options": [ {options} ]}}"#));
                    let why = by_parser(&answer).expect_err(&answer);
                    assert!(why.starts_with("/etc/sudoers: ") && why.contains(said), "{why}");
                }
            }
        }
        // Settings that only keep sudo from asking do not break a hand-over.
        for option in [
            r#"{"authenticate": false}"#,
            r#"{"exempt_group": "mfa"}"#,
            r#"{"timestamp_timeout": "-1"}"#,
            r#"{"pam_acct_mgmt": true}"#,
            r#"{"pam_session": true}"#,
            r#"{"runas_allow_unknown_id": false}"#,
        ] {
            assert_eq!(by_parser(&json_with(&format!(r#", {{"Options": [ {option} ]}}"#))), Ok(()), "{option}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_a_no() {
        for answer in ["", "\n", "{}", "[]", "null", "true", "{\"Defaults\": [", "# sudoers\nDefaults env_reset\n"] {
            assert!(by_parser(answer).unwrap_err().contains("not understood"), "{answer}");
        }
        let sudoers = [("/etc/sudoers", DEBIAN)];
        let failed = on(&PARSER, &sudoers, Err("/usr/bin/cvtsudoers: exit status: 1"));
        assert_eq!(failed, Err(String::from("/usr/bin/cvtsudoers: exit status: 1")));
        let open = on(&PARSER, &[("/etc/sudoers", "!it is open to others")], Ok(&json_with("")));
        assert_eq!(open, Err(String::from("it is open to others")));
    }

    #[test]
    fn any_mention_counts_where_there_is_no_parser() {
        for word in [
            "pam_acct_mgmt",
            "pam_session",
            "pam_service",
            "pam_login_service",
            "pam_askpass_service",
            "runas_allow_unknown_id",
        ] {
            for line in [
                "Defaults !WORD",
                "Defaults ! WORD",
                "Defaults\t!\tWORD",
                "Defaults:bob !WORD",
                "Defaults:%wheel,ALL !WORD",
                "Defaults@web1 WORD = mine",
                "Defaults>root WORD=mine",
                "Defaults!/bin/ls env_reset,!WORD",
                "Defaults env_reset, \\\n   !WORD",
                "Defaults \\\n!WORD",
                "  Defaults WORD",
                "Defaults !!WORD",
                "# WORD",
            ] {
                let line = line.replace("WORD", word);
                by_words(&line).expect_err(&line);
            }
            // Broken over two lines.
            let (begin, end) = word.split_at(5);
            by_words(&format!("Defaults !{begin}\\\n{end}")).expect_err(word);
        }
    }

    /// L3: a path that only begins alike is another folder.
    #[test]
    fn an_include_from_anywhere_else_is_a_no_where_there_is_no_parser() {
        for word in ["@includedir", "#includedir", "@include", "#include"] {
            for path in [
                "/etc/sudoers.d-site",
                "/etc/sudoers.d-site/a",
                "/etc/sudoers.d/../sudoers.d-site/a",
                "/etc/sudoers.d/",
                "/etc/sudoers.d/x",
                "/etc/sudoers.d /etc/y",
                "sudoers.d",
                "\"/etc/sudoers.d\"",
                "/etc/sudoers.d\\ x",
                "/etc/sudoers.%h",
                "",
            ] {
                for blank in [" ", "\t", "  "] {
                    let line = format!("{word}{blank}{path}");
                    assert!(by_words(&line).expect_err(&line).contains("cannot be seen"), "{line}");
                    by_words(&format!("  {line}  ")).expect_err(&line);
                }
            }
        }
        for line in ["@includedir /etc/sudoers.d", "#includedir /etc/sudoers.d", "  @includedir\t/etc/sudoers.d  "] {
            assert_eq!(by_words(line), Ok(()), "{line}");
        }
        by_words("@include /etc/sudoers.d").unwrap_err();
    }

    #[test]
    fn another_plugin_or_its_arguments_are_a_no() {
        for line in [
            "Plugin sudoers_policy sudoers.so sudoers_file=/etc/sudoers.alt",
            "Plugin sudoers_policy sudoers.so sudoers_mode=0666",
            "Plugin sudoers_policy /opt/sudoers.so",
            "Plugin sample_policy sample_plugin.so",
            "Plugin python_policy python_plugin.so ModulePath=/x",
            "plugin sudoers_audit sudoers.so sudoers_file=/x",
            "PLUGIN sudoers_io other.so",
            "  Plugin  sudoers_policy\tsudoers.so\tx",
            "Plugin sudoers_policy sudoers.so # sudoers_file=/x",
            "Plugin sudoers_policy \\\nsudoers.so sudoers_file=/x",
            "# Plugin \\\nPlugin sudoers_policy sudoers.so",
            "Path plugin_dir /opt",
            "path PLUGIN_DIR /opt",
            "Plugin",
            "Plug in",
        ] {
            let files = [("/etc/sudo.conf", line), ("/etc/sudoers", DEBIAN)];
            let why = judged(on(&PARSER, &files, Ok(&json_with("")))).expect_err(line);
            assert!(why.starts_with("/etc/sudo.conf:"), "{why}");
        }
        let files = [("/etc/sudo.conf", "!it belongs to uid 7"), ("/etc/sudoers", DEBIAN)];
        assert_eq!(on(&PARSER, &files, Ok(&json_with(""))), Err(String::from("it belongs to uid 7")));
    }

    #[test]
    fn sudoers_of_a_directory_are_a_no() {
        for line in [
            "sudoers: files sss",
            "sudoers: sss",
            "sudoers:ldap files",
            "SUDOERS: files ldap",
            "  sudoers : files [SUCCESS=return] sss",
            "sudoers:",
            "sudoers: files \\\nsss",
            "sud\\\noers: sss",
        ] {
            let files = [("/etc/nsswitch.conf", line), ("/etc/sudoers", DEBIAN)];
            let why = judged(on(&PARSER, &files, Ok(&json_with("")))).expect_err(line);
            assert!(why.starts_with("/etc/nsswitch.conf:") && why.contains("cannot be seen"), "{why}");
        }
        for line in ["", "passwd: files sss", "# sudoers: sss", "sudoers: files", "sudoers:\tfiles\t# sss"] {
            let files = [("/etc/nsswitch.conf", line), ("/etc/sudoers", DEBIAN)];
            assert_eq!(judged(on(&PARSER, &files, Ok(&json_with("")))), Ok(()), "{line}");
        }
        let files = [("/etc/nsswitch.conf", "!it is open to others"), ("/etc/sudoers", DEBIAN)];
        assert!(on(&PARSER, &files, Ok(&json_with(""))).is_err());
    }

    /// The parser knows what is in force; the files show where it is set.
    #[test]
    fn a_setting_is_found_with_its_lines() {
        let lines = "Defaults:bob !pam_acct_mgmt\n# pam_session\n#1000 ALL=(ALL) NOPASSWD: ALL\n";
        let files = [("/etc/sudoers", DEBIAN), ("/etc/sudoers.d/x", lines)];
        let options = r#", {"Binding": [ {"username": "bob"} ], "Options": [ {"pam_acct_mgmt": false} ]},
            {"Options": [ {"pam_service": "mine"} ]}"#;
        let found = on(&PARSER, &files, Ok(&json_with(options))).unwrap();
        let line_of = |setting: &Setting| setting.at.as_ref().map(|(file, line)| format!("{file}:{line}"));
        let found: Vec<_> = found.iter().map(|setting| (setting.word, line_of(setting))).collect();
        // That setting is in another file; the comment and the user are not in force.
        assert_eq!(found, [("pam_acct_mgmt", Some(String::from("/etc/sudoers.d/x:1"))), ("pam_service", None)]);
        let passwordless = r#"{"User_Specs": [ {"Cmnd_Specs": [ {"Options": [ {"authenticate": false} ]} ]} ]}"#;
        let found = on(&PARSER, &files, Ok(passwordless)).unwrap();
        assert_eq!(
            (found.len(), found[0].waives, line_of(&found[0])),
            (1, Waives::SomeAuth, Some(String::from("/etc/sudoers.d/x:3")))
        );
    }

    /// A line that is known must not stand for one that is not.
    #[test]
    fn a_setting_of_others_is_told_beside_that_of_one_user() {
        let spec = |users: &str| {
            format!(r#"{{"User_List": [ {users} ], "Cmnd_Specs": [ {{"Options": [ {{"authenticate": false}} ]}} ]}}"#)
        };
        let told = |lines: &str, specs: &[&str]| {
            let specs: Vec<String> = specs.iter().map(|users| spec(users)).collect();
            let answer = format!(r#"{{"User_Specs": [ {} ]}}"#, specs.join(", "));
            let files = [("/etc/sudoers", DEBIAN), ("/etc/sudoers.d/x", lines)];
            let found = on(&PARSER, &files, Ok(&answer)).unwrap();
            let told = |setting: Setting| (setting.user, setting.at.map(|(_, line)| line));
            found.into_iter().map(told).collect::<Vec<_>>()
        };
        let (ubuntu, devs) = (r#"{"username": "ubuntu"}"#, r#"{"usergroup": "devs"}"#);
        let of_ubuntu = || Some(String::from("ubuntu"));
        let line = "ubuntu ALL=(ALL) NOPASSWD: ALL\n";
        assert_eq!(told(line, &[ubuntu]), [(of_ubuntu(), Some(1))]);
        assert_eq!(told(line, &[devs, ubuntu]), [(None, None), (of_ubuntu(), Some(1))], "included from elsewhere");
        let of_ops = "%ops ALL=NOPASSWD: ALL\n";
        let ops = r#"{"usergroup": "ops"}"#;
        assert_eq!(told(of_ops, &[ops, devs]), [(None, Some(1)), (None, None)]);
        assert_eq!(told(&format!("%devs, \\\n{line}"), &[&format!("{devs}, {ubuntu}")]), [(None, Some(1))]);
        let alias = "ADMINS ALL=NOPASSWD: ALL\n";
        assert_eq!(told(alias, &[ubuntu]), [(None, Some(1))], "the line is told, and is not that of a plain user");
        assert_eq!(told("", &[ubuntu]), [(None, None)], "what has no place excuses nobody");
        let negated = r#"{"username": "ubuntu", "negated": true}"#;
        assert_eq!(told(line, &[negated, ubuntu]), [(None, None), (of_ubuntu(), Some(1))]);
    }

    #[test]
    fn a_continued_line_is_one_line() {
        let found = |text: &str| {
            let found = of_words("/etc/sudoers", text).into_iter();
            found.map(|setting| (setting.user, setting.at.unwrap().1)).collect::<Vec<_>>()
        };
        let robot = || Some(String::from("robot"));
        assert_eq!(found("\n%devs, \\\nrobot ALL=(ALL) NOPASSWD: ALL"), [(None, 2)]);
        assert_eq!(found("#1000, \\ \r\nrobot ALL=(ALL) NOPASSWD: ALL"), [(None, 1)]);
        assert_eq!(found("robot \\\n, %devs ALL=(ALL) NOPASSWD: ALL"), [(None, 1)]);
        assert_eq!(found("robot ALL=(ALL) \\\n  NOPASSWD: ALL"), [(robot(), 1)]);
        assert_eq!(found("# x \\\nrobot ALL=(ALL) NOPASSWD: ALL"), [(robot(), 2)], "sudo continues no comment");
        assert_eq!(found("robot ALL=ALL # x \\\n%devs ALL=(ALL) NOPASSWD: ALL"), [(None, 2)]);
        assert_eq!(found("Defaults:robot , devs !authenticate"), [(None, 1)]);
    }

    #[test]
    fn words_that_keep_sudo_from_asking() {
        let waives =
            |line: &str| of_words("/etc/sudoers", line).into_iter().map(|setting| setting.waives).collect::<Vec<_>>();
        for line in [
            "Defaults !authenticate",
            "Defaults:bob ! authenticate",
            "Defaults env_reset,!\tauthenticate",
            "Defaults !!!authenticate",
            "Defaults !use_pam",
            "Defaults exempt_group=mfa",
            "Defaults exempt_group = \"mfa\"",
        ] {
            assert_eq!(waives(line), [Waives::Auth], "{line}");
        }
        for line in ["Defaults rootpw", "Defaults:bob env_reset, targetpw", "Defaults !!runaspw"] {
            assert_eq!(waives(line), [Waives::Owner], "{line}");
        }
        for line in ["Defaults timestamp_timeout=-1", "Defaults timestamp_timeout = \"-0.5\""] {
            assert_eq!(waives(line), [Waives::SecondAuth], "{line}");
        }
        for line in [
            "bob ALL=(ALL) NOPASSWD: ALL",
            "%wheel ALL=NOPASSWD:/bin/ls, SETENV: /bin/cat",
            "#1000 ALL=(ALL) NOPASSWD:ALL",
        ] {
            assert_eq!(waives(line), [Waives::SomeAuth], "{line}");
        }
        for line in [
            "Defaults authenticate",
            "Defaults !!authenticate",
            "Defaults !exempt_group",
            "Defaults !rootpw",
            "# Defaults targetpw",
            "Defaults timestamp_timeout=15",
            "Defaults !timestamp_timeout",
            "# Defaults !authenticate, exempt_group=mfa, timestamp_timeout=-1",
            "# bob ALL=(ALL) NOPASSWD: ALL",
            "Cmnd_Alias NOPASSWDX = /bin/x",
        ] {
            assert_eq!(waives(line), [], "{line}");
        }
    }
}
