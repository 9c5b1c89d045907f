//! What sshd demands of a security key before it accepts it: a touch, a PIN or fingerprint.
//!
//! `SSH_AUTH_INFO_0` says which key was accepted, but not whether it was touched: `no-touch-required` in a file of
//! the user's waives the touch, unless sshd's settings demand it. So we ask sshd for its settings for this
//! connection. If anything is unclear, nothing counts as demanded.

use std::ffi::{CStr, CString};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::run::output_of;

const SSHD: &CStr = c"/usr/sbin/sshd";
const RUN: &str = "/run/sshd";
const FOLDER: &str = "/etc/ssh";
const CONFIG: &str = "sshd_config";

/// Long, because sshd may ask a directory service for groups.
const WITHIN: Duration = Duration::from_secs(5);
/// The settings have about 5 KiB.
const MOST: usize = 256 * 1024;
/// The most configuration files that are read.
const FILES: usize = 256;
/// The most processes of sshd from the listener to the one that runs PAM: OpenSSH 9.8 has three.
const GENERATIONS: usize = 6;

/// What sshd demands of every security key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// A touch, whatever the user's own files allow.
    pub touch: bool,
    /// A PIN or a fingerprint.
    pub verify: bool,
}

/// Asks sshd what it demands in the connection that its process `pid` serves, for `user` (the name in PAM), from
/// `rhost`. The error says why that is not known.
///
/// The answer is from the files as they are now; sshd uses a changed file only after it has read it again.
pub fn what_sshd_demands(pid: i32, user: &str, rhost: Option<&str>) -> Result<Demands, String> {
    let settings = settings(user, rhost)?;
    usual_sshd(&command_line_of_listener(pid)?)?;
    said_of(&[c"-T", c"-C", &settings])
}

/// The demands in its files alone: for every user, or for a user from an address that no `Match` names.
pub fn what_its_files_demand(user: Option<&str>) -> Result<Demands, String> {
    match user {
        Some(user) => said_of(&[c"-T", c"-C", &settings(user, Some("192.0.2.1"))?]),
        None => said_of(&[c"-T"]),
    }
}

fn said_of(arguments: &[&CStr]) -> Result<Demands, String> {
    demands(&said(arguments)?)
}

fn said(arguments: &[&CStr]) -> Result<String, String> {
    for condition in conditions(Path::new(FOLDER))? {
        known(&condition.words).map_err(|what| format!("sshd: {}: {what}", condition.place))?;
    }
    let said = output_of(SSHD, arguments, MOST, WITHIN);
    // Its unit makes this folder, and takes it away again.
    if said.is_err() && !Path::new(RUN).exists() {
        return Err(format!("sshd: it tells its settings only while {RUN} is there: start it once"));
    }
    Ok(String::from_utf8_lossy(&said?).into_owned())
}

/// All settings in its files, in the form of `sshd -T`, for a user from this address.
pub fn effective(user: &str, rhost: &str) -> Result<String, String> {
    said(&[c"-T", c"-C", &settings(user, Some(rhost))?])
}

/// The conditions of all its `Match` blocks.
pub fn match_blocks() -> Result<Vec<String>, String> {
    Ok(conditions(Path::new(FOLDER))?.into_iter().map(|condition| condition.words).collect())
}

/// The connection in the form for `sshd -T -C`. PAM_RHOST is what `Match Host` compares; it is also the address,
/// unless sshd looks up names.
fn settings(user: &str, rhost: Option<&str>) -> Result<CString, String> {
    let rhost = rhost.unwrap_or_default();
    if rhost.parse::<IpAddr>().is_err() {
        return Err(String::from("sshd: the address of the client is not known (UseDNS no tells it)"));
    }
    // The list is separated by commas and has no quoting.
    if user.is_empty() || user.chars().any(|c| c == ',' || c == '"' || c.is_whitespace() || c.is_control()) {
        return Err(String::from("sshd: it cannot be asked about a user of this name"));
    }
    CString::new(format!("user={user},host={rhost},addr={rhost}")).map_err(|e| e.to_string())
}

/// The demands from one line of `sshd -T`. OpenSSH 10.6 writes the keyword in mixed case, and omits it if it is not
/// set.
fn demands(said: &str) -> Result<Demands, String> {
    let options = |line: &str| {
        let (keyword, options) = line.split_once(' ')?;
        keyword.eq_ignore_ascii_case("PubkeyAuthOptions").then(|| options.to_owned())
    };
    let mut lines = said.lines().filter_map(options);
    let line = lines.next().unwrap_or(String::from("none"));
    let mut demands = Demands { touch: false, verify: false };
    for word in line.split(' ') {
        match word {
            "none" => {}
            "touch-required" => demands.touch = true,
            "verify-required" => demands.verify = true,
            _ => return Err(String::from("sshd: it has PubkeyAuthOptions that are not known")),
        }
    }
    if lines.next().is_some() { Err(String::from("sshd: it says its PubkeyAuthOptions twice")) } else { Ok(demands) }
}

/// The command line of the oldest sshd that is an ancestor of process `pid`. All processes between must be sshd and
/// root's.
fn command_line_of_listener(pid: i32) -> Result<String, String> {
    let unclear = || String::from("sshd: the process that listens cannot be told");
    let (mut oldest, mut pid) = (None, pid);
    for _ in 0..GENERATIONS {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| unclear())?;
        let Some(parent) = parent_of_sshd(&status) else { break };
        oldest = Some(pid);
        pid = parent;
        if pid <= 0 {
            break;
        }
    }
    let line = fs::read(format!("/proc/{}/cmdline", oldest.ok_or_else(unclear)?)).map_err(|_| unclear())?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The parent of a process, from its status, if it runs as root and is sshd (since 9.8 also sshd-session, sshd-auth).
fn parent_of_sshd(status: &str) -> Option<i32> {
    let value = |field: &str| status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    let sshd = ["sshd", "sshd-session", "sshd-auth"].contains(&value("Name")?);
    let root = value("Uid")?.split('\t').all(|uid| uid == "0");
    if sshd && root { value("PPid")?.parse().ok() } else { None }
}

/// Fails if a listening sshd was started with settings on its command line, which `sshd -T` would not know. An sshd
/// that serves one connection (inetd, sshd@.service) no longer shows its command line.
fn usual_sshd(command_line: &str) -> Result<(), String> {
    let words = command_line.replace('\0', " ");
    // A listener sets its title: its command line, then how busy it is.
    let words = match words.strip_prefix("sshd: ") {
        Some(title) => title.split_once(" [listener]").map(|(words, _)| words),
        None => Some(words.as_str()),
    };
    let mut words = words.unwrap_or_default().split_ascii_whitespace();
    let plain =
        |word: &str| word.strip_prefix('-').is_some_and(|flags| flags.bytes().all(|flag| b"De46q".contains(&flag)));
    if words.next().map(str::as_bytes) == Some(SSHD.to_bytes()) && words.all(plain) {
        return Ok(());
    }
    Err(String::from("sshd: it was not started as a service that listens with the settings of its files alone"))
}

/// The condition of a `Match`.
struct Condition {
    /// File and line.
    place: String,
    words: String,
}

/// The conditions in all files that sshd reads.
fn conditions(folder: &Path) -> Result<Vec<Condition>, String> {
    let mut found = Vec::new();
    let mut files = vec![folder.join(CONFIG)];
    let mut next = 0;
    while let Some(path) = files.get(next).cloned() {
        next += 1;
        if files.len() > FILES {
            return Err(format!("sshd: {} includes too much", folder.join(CONFIG).display()));
        }
        let text = fs::read(&path).map_err(|e| format!("sshd: {}: {e}", path.display()))?;
        for (line, number) in String::from_utf8_lossy(&text).split('\n').zip(1..) {
            let unclear = |what: &str| format!("sshd: {}:{number}: {what}", path.display());
            match keyword(line) {
                ("match", words) => {
                    found.push(Condition { place: format!("{}:{number}", path.display()), words: words.to_owned() });
                }
                ("include", patterns) => {
                    for pattern in words(patterns).map_err(|what| unclear(&what))? {
                        for path in included(folder, pattern).map_err(|what| unclear(&what))? {
                            // Each file is read once, so that a file that includes itself ends.
                            if !files.contains(&path) {
                                files.push(path);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The first word of a line, in small letters if it matters here, and the rest.
fn keyword(line: &str) -> (&'static str, &str) {
    let blank = |c: char| c.is_whitespace() || c == '=' || c == '"';
    let line = line.trim_start_matches(blank);
    let (word, rest) = line.split_at(line.find(blank).unwrap_or(line.len()));
    let known = ["match", "include"].into_iter().find(|known| word.eq_ignore_ascii_case(known));
    (
        known.unwrap_or_default(),
        rest.strip_prefix('"').unwrap_or(rest).trim_start_matches(|c: char| c.is_whitespace() || c == '='),
    )
}

/// The words of a line, if it has no quotes or comments.
fn words(line: &str) -> Result<impl Iterator<Item = &str>, String> {
    if line.contains(['"', '\'', '\\', '#']) {
        return Err(String::from("it has quotes or a comment in its line"));
    }
    Ok(line.split_whitespace())
}

/// Whether a `Match` depends only on facts that we pass on. For some others (`LocalAddress`, `RDomain`), sshd silently
/// takes the condition as not met.
fn known(conditions: &str) -> Result<(), String> {
    let mut words = words(conditions)?;
    while let Some(word) = words.next() {
        match word.to_ascii_lowercase().as_str() {
            "all" => {}
            "user" | "group" | "host" | "address" => {
                words.next();
            }
            _ => return Err(String::from("Match depends on what is not known at a login")),
        }
    }
    Ok(())
}

/// The files that a pattern may mean: if its file name has a wildcard, all files of the folder.
fn included(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = folder.join(pattern);
    let wild = |text: &str| text.contains(['*', '?', '[', '{']);
    let (Some(folder), Some(name)) = (path.parent().and_then(Path::to_str), path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(String::from("Include names no file"));
    };
    if wild(folder) {
        return Err(String::from("Include has a pattern for a folder"));
    }
    if !wild(name) {
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.to_string()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_says_is_taken_word_by_word() {
        let says = |line: &str| demands(&format!("port 22\npubkeyauthoptions{line}\nusepam yes\n"));
        assert_eq!(says(" none"), Ok(Demands { touch: false, verify: false }));
        assert_eq!(says(" touch-required"), Ok(Demands { touch: true, verify: false }));
        assert_eq!(says(" verify-required"), Ok(Demands { touch: false, verify: true }));
        assert_eq!(says(" touch-required verify-required"), Ok(Demands { touch: true, verify: true }));
        for unclear in [" touch-required,x", " ", " touch-required\npubkeyauthoptions none"] {
            assert!(says(unclear).is_err(), "{unclear:?}");
        }
        let of_10_6 = "Port 22\nPubkeyAuthOptions touch-required\nUsePAM yes\n";
        assert_eq!(demands(of_10_6), Ok(Demands { touch: true, verify: false }));
        assert_eq!(demands("Port 22\n"), Ok(Demands { touch: false, verify: false }));
    }

    #[test]
    fn only_an_address_and_a_plain_name_are_handed_to_sshd() {
        let asked = settings("alice", Some("192.0.2.7"));
        assert_eq!(asked, Ok(c"user=alice,host=192.0.2.7,addr=192.0.2.7".to_owned()));
        assert!(settings("dom\\alice@x.example", Some("2001:db8::7")).is_ok());
        for rhost in [None, Some(""), Some("laptop.example"), Some("192.0.2.7,user=root"), Some("192.0.2.7/24")] {
            assert!(settings("alice", rhost).is_err(), "{rhost:?}");
        }
        for user in ["", "alice,addr=192.0.2.8", "a b", "a\nb", "a\"b"] {
            assert!(settings(user, Some("192.0.2.7")).is_err(), "{user:?}");
        }
    }

    #[test]
    fn only_an_sshd_without_settings_on_its_command_line_counts() {
        for usual in [
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups\0\0\0",
            "sshd: /usr/sbin/sshd [listener] 1 of 10-100 startups",
            "/usr/sbin/sshd\0-D\0",
            "/usr/sbin/sshd\0-De46q\0",
        ] {
            assert_eq!(usual_sshd(usual), Ok(()), "{usual:?}");
        }
        for other in [
            "",
            "sshd: alice [priv]",
            "sshd: alice@pts/0",
            "sshd: [accepted]",
            "sshd: /usr/sbin/sshd -D -f /etc/ssh/other [listener] 0 of 10-100 startups",
            "sshd: /usr/sbin/sshd -D -oPubkeyAuthOptions=none [listener] 0 of 10-100 startups",
            "sshd: /usr/local/sbin/sshd -D [listener] 0 of 10-100 startups",
            "sshd: sshd -D [listener] 0 of 10-100 startups",
            "/usr/sbin/sshd\0-i\0",
            "/usr/sbin/sshd\0-D\0-p\x00222\0",
            "/usr/sbin/sshd\0-D\0--\0",
            "/usr/sbin/sshd\0other\0",
        ] {
            assert!(usual_sshd(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn the_line_of_processes_ends_at_what_is_not_roots_sshd() {
        let status = |name: &str, uid: &str| format!("Name:\t{name}\nPPid:\t7\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n");
        for name in ["sshd", "sshd-session", "sshd-auth"] {
            assert_eq!(parent_of_sshd(&status(name, "0")), Some(7));
        }
        assert_eq!(parent_of_sshd(&status("sshd", "1000")), None);
        assert_eq!(parent_of_sshd(&status("bash", "0")), None);
        assert_eq!(parent_of_sshd(&status("sshd", "0").replace("0\t0\n", "0\t1000\n")), None);
        assert_eq!(parent_of_sshd(""), None);
        for pid in [0, -1, std::process::id() as i32] {
            assert!(command_line_of_listener(pid).is_err(), "{pid}");
        }
    }

    /// Whether all conditions in a folder with these files are known.
    fn all_known(files: &[(&str, &str)]) -> Result<(), String> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = Path::new("/tmp").join(format!("mfa-sshd-{}-{number}", std::process::id()));
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let all = conditions(&folder);
        let known = all.and_then(|all| {
            let unclear = |condition: &Condition, what| format!("sshd: {}: {what}", condition.place);
            all.iter().try_for_each(|condition| known(&condition.words).map_err(|what| unclear(condition, what)))
        });
        let _ = fs::remove_dir_all(&folder);
        known.map_err(|why| why.replace(folder.to_str().unwrap(), ""))
    }

    #[test]
    fn a_condition_that_nobody_can_tell_makes_it_unclear() {
        let text = "# Match LocalPort 1\nPort 22\nmatch User alice,bob Group wheel\n x\nMatch Host * Address 10.0.0.0/8\n\
            Match all\nInclude /no/such/file\nInclude *.none sub/x.conf\n";
        assert_eq!(all_known(&[("sshd_config", text)]), Ok(()));
        for line in [
            "Match LocalAddress 192.0.2.1",
            "Match LocalPort 22",
            "\tMATCH User alice RDomain x",
            "Match=LocalPort 22",
            "\"Match\" LocalPort 22",
            "= Match LocalPort 22",
            "\u{c}Match Version x",
            "Match invalid-user",
            "Match User=alice",
            "Match User \"alice\" LocalPort 22",
            "Match all # x",
            "Include sub*/x.conf",
            "Include \"a b\"",
        ] {
            assert!(all_known(&[("sshd_config", &format!("Port 22\n{line}\n"))]).is_err(), "{line}");
        }
        assert!(all_known(&[]).is_err(), "no settings that could be read");
    }

    #[test]
    fn included_files_count_wherever_they_include_from() {
        let unknown = "PubkeyAuthOptions none\nMatch LocalPort 22\n";
        let why = "sshd: /sub/x.conf:2: Match depends on what is not known at a login";
        let direct = all_known(&[("sshd_config", "Match User bob\ninclude sub/*.conf\n"), ("sub/x.conf", unknown)]);
        assert_eq!(direct, Err(String::from(why)));
        let deep = [("sshd_config", "Include=a sub/y\n"), ("sub/y", "Include sub/?.conf"), ("sub/x.conf", unknown)];
        assert_eq!(all_known(&deep), Err(String::from(why)));
        assert_eq!(all_known(&[("sshd_config", "Include sshd_config *\n")]), Ok(()), "sshd itself refuses that");
        assert_eq!(all_known(&[("sshd_config", "Include sub/*\n"), ("sub/x", "Match all\n")]), Ok(()));
    }
}
