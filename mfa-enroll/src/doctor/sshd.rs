//! The settings of sshd, judged together: whether it has a way to ask for a code, and none that refuses everybody who
//! must give one.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use mfa_wire::{shell_word, sshd_remedy};

use super::{Users, output};
use crate::finding::Finding;

const SSHD: &str = "/usr/sbin/sshd";
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

/// The place of a finding about some users. One about everybody is at another place, so that `--ignore` tells them apart.
const IN_MATCH: &str = "/etc/ssh/sshd_config (Match)";

/// The folder that Debian's unit makes when ssh starts. Without it, `sshd -T` and `sshd -t` print nothing but an error.
const RUN_SSHD: &str = "/run/sshd";

/// The most users who are checked one by one.
pub(super) const MOST: usize = 200;

/// The time for binding a device in a login, and the time for a code, in seconds.
const TO_BIND: u64 = 180;
const TO_TYPE: u64 = 40;

/// Makes that folder, as the unit makes it, where ssh has not been started since the boot. If it cannot, sshd's own
/// error is the finding.
pub(super) fn make_folder() {
    if output(SSHD, &["-T"]).is_err_and(|why| why.contains(RUN_SSHD)) {
        let _ = fs::DirBuilder::new().mode(0o755).create(RUN_SSHD);
    }
}

/// Whether sshd can be asked about a user of this name.
pub(super) fn can_be_asked_about(name: &str) -> bool {
    !name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
}

/// Checks them for everybody, and for each of these users.
pub(super) fn check(users: &Users) -> Vec<Finding> {
    if !Path::new(SSHD).exists() {
        return Vec::new();
    }
    let everybody = match settings(None) {
        Ok(settings) => judged(&settings, users.must_bind),
        Err(why) => {
            let remedy = format!("editor {SSHD_CONFIG}  # then: sshd -t");
            return vec![Finding::grave("sshd-config-broken", SSHD_CONFIG, why.trim(), remedy)];
        }
    };
    let mut found: Vec<Finding> = everybody.iter().map(for_everybody).collect();
    // Settings that a Match block changes for some users.
    let mut some: Vec<(Wrong, Vec<&str>)> = Vec::new();
    for user in &users.names {
        let Ok(settings) = settings(Some(user)) else { continue };
        for wrong in judged(&settings, users.must_bind).into_iter().filter(|wrong| !everybody.contains(wrong)) {
            match some.iter_mut().find(|(known, _)| *known == wrong) {
                Some((_, names)) => names.push(user),
                None => some.push((wrong, vec![user])),
            }
        }
    }
    found.extend(some.into_iter().map(|(wrong, names)| for_some(&wrong, &names)));
    if users.count > MOST {
        let what = format!("only the first {MOST} of {} users were looked at one by one", users.count);
        found.push(Finding::warning(
            "sshd-not-all-users",
            SSHD_CONFIG,
            what,
            "sshd -T -C user=NAME,host=h,addr=192.0.2.1",
        ));
    }
    found.extend(others());
    found
}

/// The output of `sshd -T`, by keyword.
type Settings = HashMap<String, String>;

/// The settings for every user, or for a user who comes from an address that no `Match` names.
fn settings(user: Option<&str>) -> Result<Settings, String> {
    let spec = user.map(|user| format!("user={user},host=host.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22"));
    let mut arguments = vec!["-T"];
    arguments.extend(spec.iter().flat_map(|spec| ["-C", spec]));
    Ok(parsed(&output(SSHD, &arguments)?))
}

fn parsed(text: &str) -> Settings {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// A fault in the settings, and the settings that mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    id: &'static str,
    grave: bool,
    what: String,
    right: Vec<(&'static str, String)>,
    /// Whether these settings could lock out others: then they are shown, and not for the shell.
    by_hand: bool,
}

impl Wrong {
    fn settings(&self) -> String {
        let right: Vec<String> = self.right.iter().map(|(keyword, value)| format!("{keyword} {value}")).collect();
        let so = if self.by_hand { "; people without a password then come in nowhere" } else { "" };
        format!("{}{so}", right.join("; "))
    }
}

fn judged(settings: &Settings, must_bind: bool) -> Vec<Wrong> {
    let value = |keyword: &str| settings.get(keyword).map(String::as_str);
    let mut wrong = ways_to_ask(settings);
    let mut found = |id, grave, what: String, keyword, right: &str| {
        wrong.push(Wrong { id, grave, what, right: vec![(keyword, right.to_owned())], by_hand: false });
    };
    if value("permitemptypasswords") == Some("yes") {
        let what = "sshd lets in everybody whose password is empty, without a question";
        found("sshd-empty-passwords", true, what.into(), "PermitEmptyPasswords", "no");
    }
    // Since OpenSSH 9.8.
    if let Some(service) = value("pamservicename").filter(|service| *service != "sshd") {
        let what =
            format!("sshd goes by another PAM service, {service}: no rule for sshd holds, and nothing is checked");
        found("sshd-other-service", true, what, "PAMServiceName", "sshd");
    }
    let grace = value("logingracetime").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    if grace > 0 && grace < if must_bind { TO_BIND } else { TO_TYPE } {
        let what = match must_bind {
            true => format!("sshd gives {grace} s, and somebody will have to bind a device in that time"),
            false => format!("sshd gives {grace} s to find a device and type its code"),
        };
        found("sshd-grace-time", false, what, "LoginGraceTime", "300");
    }
    wrong
}

/// Whether there is a way in on which PAM can ask. Each setting alone may be right or wrong by the others: without
/// keyboard-interactive, `PasswordAuthentication no` locks out everybody without a key; and sshd does not start if
/// `AuthenticationMethods` names nothing but methods that are off. So each fault has all of the remedy.
fn ways_to_ask(settings: &Settings) -> Vec<Wrong> {
    let value = |keyword: &str| settings.get(keyword).map(String::as_str);
    let is_on = |method: &str| match method.split(':').next() {
        Some("publickey") => value("pubkeyauthentication") != Some("no"),
        Some("password") => value("passwordauthentication") == Some("yes"),
        Some("keyboard-interactive") => value("kbdinteractiveauthentication") != Some("no"),
        _ => true,
    };
    let any = value("authenticationmethods").unwrap_or("any") == "any";
    let methods = if any { "publickey password keyboard-interactive" } else { &settings["authenticationmethods"] };
    let lists: Vec<Vec<&str>> = methods.split_whitespace().map(|list| list.split(',').collect()).collect();
    let asks = |list: &&Vec<&str>| list.iter().any(|method| is_interactive(method)) && !list.contains(&"password");
    let open = |list: &&Vec<&str>| list.iter().all(|method| is_on(method));
    let by_password = lists.iter().filter(open).any(|list| list.contains(&"password"));

    let mut right = Vec::new();
    let pam = value("usepam") != Some("no");
    if !pam {
        right.push(("UsePAM", String::from("yes")));
    }
    let interactive = is_on("keyboard-interactive");
    if !interactive {
        right.push(("KbdInteractiveAuthentication", String::from("yes")));
    }
    let none_asks = !lists.iter().any(|list| asks(&list));
    if none_asks {
        right.push(("AuthenticationMethods", that_ask(&lists)));
    }
    // By such a list somebody comes in without a password now, as with `ssh_key = "allow"`.
    let needs_none =
        |list: &Vec<&str>| !list.contains(&"password") && !list.iter().any(|method| is_interactive(method));
    let by_hand = none_asks && lists.iter().any(needs_none);
    if by_password {
        right.push(("PasswordAuthentication", String::from("no")));
    }
    let mut wrong = Vec::new();
    let mut found = |id, grave, what: String| wrong.push(Wrong { id, grave, what, right: right.clone(), by_hand });
    if !pam {
        found("sshd-no-pam", true, String::from("sshd asks PAM nothing, so nobody for a code"));
    }
    if !interactive {
        let what = "sshd has no way to ask for a code: users who must give a code are locked out";
        found("sshd-no-keyboard-interactive", true, what.into());
    }
    if none_asks {
        let what = format!("no way in asks for a code, so users who must give one are locked out: {methods}");
        found("sshd-methods-without-code", true, what);
    } else if by_password {
        // libpam remembers the refused try, and pam_setcred fails because of it.
        let what = "by the method \"password\" sshd answers each question itself: users who must give a code are refused \
                    there, and clients that try it first come in by no other method on that connection either";
        found("sshd-password-method", false, what.into());
    }
    wrong
}

fn is_interactive(method: &str) -> bool {
    method.split(':').next() == Some("keyboard-interactive")
}

/// The same lists, with keyboard-interactive in place of `password`, or behind what stands there. The rest that
/// somebody demands, such as a key, is demanded as before.
fn that_ask(lists: &[Vec<&str>]) -> String {
    let mut right: Vec<String> = Vec::new();
    for list in lists {
        let mut methods: Vec<&str> = list.iter().filter(|method| **method != "password").copied().collect();
        if !methods.iter().any(|method| is_interactive(method)) {
            methods.push("keyboard-interactive:pam");
        }
        let list = methods.join(",");
        if !right.contains(&list) {
            right.push(list);
        }
    }
    right.join(" ")
}

fn for_everybody(wrong: &Wrong) -> Finding {
    let right: Vec<(&str, &str)> = wrong.right.iter().map(|(keyword, value)| (*keyword, value.as_str())).collect();
    let remedy = match wrong.by_hand {
        true => format!("editor {SSHD_CONFIG}  # {}; then: sshd -t, and reload it", wrong.settings()),
        false => sshd_remedy(&right),
    };
    Finding { grave: wrong.grave, ..Finding::grave(wrong.id, SSHD_CONFIG, wrong.what.as_str(), remedy) }
}

fn for_some(wrong: &Wrong, names: &[&str]) -> Finding {
    let remedy = format!(
        "editor {SSHD_CONFIG}  # in the Match block that holds for them: {}; then: sshd -t, and reload it",
        wrong.settings()
    );
    let what = format!("{}: {}", names.join(", "), wrong.what);
    let names = names.iter().map(|name| String::from(*name)).collect();
    Finding { grave: wrong.grave, names, ..Finding::grave(wrong.id, IN_MATCH, what, remedy) }
}

/// Each sshd that listens with settings of its own: neither this check nor the helper reads those.
fn others() -> Vec<Finding> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        // One of a container is the container's.
        if fs::read_link(path.join("ns/pid")).ok() != own {
            continue;
        }
        found.extend(roots_title(&path).as_deref().and_then(with_settings_of_its_own));
    }
    found.sort_by(|a, b| a.what.cmp(&b.what));
    found.dedup();
    found
}

/// The title of a process whose real and effective uid are root's (proc(5), `Uid:`). Every user may give a process any
/// title, and this one ends in a line for root's shell.
fn roots_title(process: &Path) -> Option<String> {
    let status = fs::read(process.join("status")).ok()?;
    // The name of the process, which stands before, may hold any byte but a newline, which is escaped.
    let is_roots = status.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"Uid:\t0\t0\t"));
    if !is_roots {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(process.join("cmdline")).ok()?).into_owned())
}

/// A listener sets its title: `sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 10-100 startups`.
fn with_settings_of_its_own(command_line: &str) -> Option<Finding> {
    let title = command_line.replace('\0', " ");
    let (command, _) = title.strip_prefix("sshd: ")?.split_once(" [listener]")?;
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let file = words.iter().enumerate().find_map(|(at, word)| {
        let rest = word.strip_prefix("-f")?;
        if rest.is_empty() { words.get(at + 1).copied() } else { Some(rest) }
    });
    let set = words.iter().any(|word| word.starts_with("-o")) || file.is_some_and(|file| file != SSHD_CONFIG);
    let file = file.unwrap_or(SSHD_CONFIG);
    let what = format!("an sshd listens with settings of its own, which nothing here looks at: {command}");
    let remedy = format!(
        "editor {}  # see that it says UsePAM yes, KbdInteractiveAuthentication yes, PasswordAuthentication no",
        shell_word(file)
    );
    set.then(|| Finding::warning("sshd-another", file, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `sshd -T` on a host that is set up like the example.
    const SOUND: &str = "port 22\nusepam yes\nlogingracetime 300\npubkeyauthentication yes\n\
        kbdinteractiveauthentication yes\npasswordauthentication no\npermitemptypasswords no\npamservicename sshd\n\
        authenticationmethods publickey,keyboard-interactive:pam keyboard-interactive:pam\n";

    fn wrong(text: &str) -> Vec<Wrong> {
        judged(&parsed(text), false)
    }

    fn ids(text: &str, must_bind: bool) -> Vec<(&'static str, bool)> {
        judged(&parsed(text), must_bind).into_iter().map(|wrong| (wrong.id, wrong.grave)).collect()
    }

    #[test]
    fn each_wrong_setting_of_sshd_is_found() {
        assert_eq!(ids(SOUND, true), []);
        let with = |from: &str, to: &str| ids(&SOUND.replace(from, to), false);
        assert_eq!(with("usepam yes", "usepam no"), [("sshd-no-pam", true)]);
        let keyboard = with("kbdinteractiveauthentication yes", "kbdinteractiveauthentication no");
        assert_eq!(keyboard, [("sshd-no-keyboard-interactive", true)]);
        assert_eq!(with("emptypasswords no", "emptypasswords yes"), [("sshd-empty-passwords", true)]);
        assert_eq!(with("pamservicename sshd", "pamservicename ssh2"), [("sshd-other-service", true)]);
        assert_eq!(with("pamservicename sshd\n", ""), [], "before OpenSSH 9.8");
        assert_eq!(with("logingracetime 300", "logingracetime 30"), [("sshd-grace-time", false)]);
        assert_eq!(with("logingracetime 300", "logingracetime 0"), [], "no limit at all");
        assert_eq!(ids(&SOUND.replace("time 300", "time 120"), true), [("sshd-grace-time", false)]);
        assert_eq!(ids(&SOUND.replace("time 300", "time 120"), false), []);
    }

    /// With these methods, and the `password` method on.
    fn by_methods(list: &str) -> Vec<Wrong> {
        let lines = SOUND.lines().filter(|line| !line.starts_with("authenticationmethods"));
        let rest: String = lines.map(|line| format!("{line}\n")).collect();
        let rest = rest.replace("passwordauthentication no", "passwordauthentication yes");
        wrong(&format!("{rest}authenticationmethods {list}\n"))
    }

    #[test]
    fn methods_that_never_ask_lock_out() {
        for (list, right) in [
            ("publickey", "publickey,keyboard-interactive:pam"),
            ("password", "keyboard-interactive:pam"),
            ("password,keyboard-interactive", "keyboard-interactive"),
            (
                "keyboard-interactive:pam,password publickey,password",
                "keyboard-interactive:pam publickey,keyboard-interactive:pam",
            ),
        ] {
            let found = by_methods(list);
            assert_eq!(found.len(), 1, "{list}: {found:?}");
            assert_eq!((found[0].id, found[0].grave), ("sshd-methods-without-code", true), "{list}");
            assert_eq!(found[0].right[0], ("AuthenticationMethods", right.to_owned()), "{list}");
        }
    }

    /// A key alone is enough for some where a rule says `ssh_key = "allow"`, and they may have no password.
    #[test]
    fn a_list_of_a_key_alone_is_not_changed_by_a_line_for_the_shell() {
        for list in ["publickey", "publickey password", "gssapi-with-mic"] {
            let wrong = &by_methods(list)[0];
            assert_eq!(wrong.id, "sshd-methods-without-code");
            for finding in [for_everybody(wrong), for_some(wrong, &["kim"])] {
                let remedy = finding.remedy;
                let told = "; people without a password then come in nowhere; then: sshd -t, and reload it";
                assert!(remedy.starts_with("editor /etc/ssh/sshd_config  # ") && remedy.ends_with(told), "{remedy}");
                assert!(remedy.contains("AuthenticationMethods "), "{remedy}");
            }
        }
        for list in ["password", "publickey,password"] {
            assert!(!by_methods(list)[0].by_hand, "{list}");
        }
    }

    #[test]
    fn the_password_method_matters_where_it_is_a_way_in() {
        for (list, warned) in [
            ("any", true),
            ("password keyboard-interactive", true),
            ("publickey,password keyboard-interactive", true),
            ("publickey,keyboard-interactive", false),
            ("publickey keyboard-interactive:pam", false),
        ] {
            let ids: Vec<_> = by_methods(list).iter().map(|wrong| (wrong.id, wrong.right.clone())).collect();
            let mended = ("sshd-password-method", vec![("PasswordAuthentication", String::from("no"))]);
            assert_eq!(ids, if warned { vec![mended] } else { vec![] }, "{list}");
        }
    }

    /// By each remedy alone, somebody who has to give a code comes in.
    #[test]
    fn the_settings_are_mended_together() {
        let old = "usepam no\npubkeyauthentication yes\nkbdinteractiveauthentication no\npasswordauthentication yes\n\
                   authenticationmethods publickey,password password\n";
        let found = wrong(old);
        assert_eq!(found.len(), 3, "{found:?}");
        for Wrong { right, .. } in found {
            let mut settings = parsed(old);
            settings.extend(right.into_iter().map(|(keyword, value)| (keyword.to_ascii_lowercase(), value)));
            assert_eq!(judged(&settings, false), []);
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a place for the files of the test")]
    fn the_title_of_a_process_counts_only_if_it_is_roots() {
        let process = Path::new("/tmp").join(format!("mfa-enroll-process-{}", std::process::id()));
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("cmdline"), "sshd: x -f y [listener]\0").unwrap();
        let title = |uids: &str| {
            // The name, which every user chooses, comes first.
            let status = [b"Name:\tUid:\t0\t0\t\\nUid:\t0\t0\t\xff\nUmask:\t0022\nUid:\t", uids.as_bytes()].concat();
            fs::write(process.join("status"), status).unwrap();
            roots_title(&process)
        };
        assert_eq!(title("0\t0\t0\t0\nGid:\t0\n").as_deref(), Some("sshd: x -f y [listener]\0"));
        for uids in ["1000\t1000\t1000\t1000", "1000\t0\t0\t0", "0\t1000\t0\t0"] {
            assert_eq!(title(&format!("{uids}\nGid:\t0\n")), None, "{uids}");
        }
        fs::remove_dir_all(&process).unwrap();
        assert_eq!(roots_title(&process), None);
    }

    #[test]
    fn the_file_of_another_sshd_is_one_word_of_the_remedy() {
        let found = with_settings_of_its_own("sshd: /usr/sbin/sshd -f x;y [listener] 0 of 10-100 startups").unwrap();
        assert!(found.remedy.starts_with("editor 'x;y'  # "), "{}", found.remedy);
    }

    #[test]
    fn a_fault_for_some_is_at_another_place_than_the_same_for_everybody() {
        let wrong = &wrong(&SOUND.replace("usepam yes", "usepam no"))[0];
        let (everybody, some) = (for_everybody(wrong), for_some(wrong, &["kim"]));
        assert_eq!(
            (&everybody.id, everybody.names.len(), &some.id, &*some.names),
            (&some.id, 0, &some.id, &["kim".into()][..])
        );
        assert_ne!(everybody.place, some.place);
    }

    #[test]
    fn a_second_sshd_is_named() {
        let found = |line: &str| with_settings_of_its_own(line).map(|finding| finding.place);
        for own in [
            "sshd: /usr/sbin/sshd -D -f /etc/ssh/other [listener] 0 of 10-100 startups\0\0",
            "sshd: /usr/sbin/sshd -f/etc/ssh/other -D [listener] 0 of 10-100 startups",
        ] {
            assert_eq!(found(own).as_deref(), Some("/etc/ssh/other"));
        }
        let by_option = found("sshd: /usr/sbin/sshd -D -oUsePAM=no [listener] 0 of 10-100 startups");
        assert_eq!(by_option.as_deref(), Some(SSHD_CONFIG));
        for usual in [
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
            "sshd: /usr/sbin/sshd -D -f /etc/ssh/sshd_config [listener] 0 of 10-100 startups",
            "sshd: alice [priv]",
            "/bin/echo\0-f\0x [listener]\0",
            "",
        ] {
            assert_eq!(found(usual), None, "{usual}");
        }
    }
}
