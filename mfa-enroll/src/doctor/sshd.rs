//! The settings of sshd, for everybody and for each user whom a login will ask.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Users, output};
use crate::finding::Finding;

const SSHD: &str = "/usr/sbin/sshd";
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const SSHD_FOLDER: &str = "/etc/ssh/sshd_config.d";

/// The most users who are checked one by one.
const MOST: usize = 200;

/// The time for binding a device in a login, and the time for a code, in seconds.
const TO_BIND: u64 = 180;
const TO_TYPE: u64 = 40;

/// Checks them.
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
    let tellable = |name: &&String| !name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control());
    for user in users.names.iter().filter(tellable).take(MOST) {
        let Ok(settings) = settings(Some(user)) else { continue };
        for wrong in judged(&settings, users.must_bind).into_iter().filter(|wrong| !everybody.contains(wrong)) {
            match some.iter_mut().find(|(known, _)| *known == wrong) {
                Some((_, names)) => names.push(user),
                None => some.push((wrong, vec![user])),
            }
        }
    }
    found.extend(some.into_iter().map(|(wrong, names)| for_some(&wrong, &names)));
    if users.names.len() > MOST {
        let what = format!("only the first {MOST} of {} users were looked at one by one", users.names.len());
        found.push(Finding::warning(
            "sshd-not-all-users",
            SSHD_CONFIG,
            what,
            "sshd -T -C user=NAME,host=h,addr=192.0.2.1",
        ));
    }
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

/// A wrong setting, and the right one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wrong {
    id: &'static str,
    grave: bool,
    what: String,
    keyword: &'static str,
    right: &'static str,
}

fn judged(settings: &Settings, must_bind: bool) -> Vec<Wrong> {
    let value = |keyword: &str| settings.get(keyword).map(String::as_str);
    let mut wrong = Vec::new();
    let mut found = |id, grave, what: String, keyword, right| wrong.push(Wrong { id, grave, what, keyword, right });
    if value("usepam") == Some("no") {
        found("sshd-no-pam", true, "sshd asks PAM nothing, so nobody for a code".into(), "UsePAM", "yes");
    }
    if value("kbdinteractiveauthentication") == Some("no") {
        let what = "sshd has no way to ask for a code: whoever has to give one is locked out";
        let keyword = "KbdInteractiveAuthentication";
        found("sshd-no-keyboard-interactive", true, what.into(), keyword, "yes");
    }
    if value("passwordauthentication") == Some("yes") {
        let what =
            "by the method \"password\" sshd answers each question itself: who has to give a code is refused there";
        found("sshd-password-method", false, what.into(), "PasswordAuthentication", "no");
    }
    let methods = value("authenticationmethods").unwrap_or("any");
    let asks = |list: &str| list.split(',').any(|method| method.starts_with("keyboard-interactive"));
    if methods != "any" && !methods.split_whitespace().any(asks) {
        let what = format!("no way in asks for a code, so who has to give one is locked out: {methods}");
        let right = "publickey,keyboard-interactive:pam keyboard-interactive:pam";
        found("sshd-methods-without-code", true, what, "AuthenticationMethods", right);
    }
    let grace = value("logingracetime").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    if grace > 0 && grace < if must_bind { TO_BIND } else { TO_TYPE } {
        let what = match must_bind {
            true => format!("sshd gives {grace} s, and somebody will have to bind a device in that time"),
            false => format!("sshd gives {grace} s to find the phone and type a code"),
        };
        found("sshd-grace-time", false, what, "LoginGraceTime", "300");
    }
    wrong
}

fn for_everybody(wrong: &Wrong) -> Finding {
    let Wrong { id, grave, what, keyword, right } = wrong;
    let unit = if Path::new("/usr/lib/systemd/system/ssh.service").exists() { "ssh" } else { "sshd" };
    let includes = fs::read_to_string(SSHD_CONFIG).is_ok_and(|text| text.contains(SSHD_FOLDER));
    // sshd uses the first value that it reads.
    let remedy = if includes {
        format!(
            "echo '{keyword} {right}' >{SSHD_FOLDER}/00-mfa-{keyword}.conf && systemctl try-reload-or-restart {unit}"
        )
    } else {
        format!("editor {SSHD_CONFIG}  # let it begin with: {keyword} {right}")
    };
    Finding { grave: *grave, ..Finding::grave(id, SSHD_CONFIG, what.as_str(), remedy) }
}

fn for_some(wrong: &Wrong, names: &[&str]) -> Finding {
    let Wrong { id, grave, what, keyword, right } = wrong;
    let remedy = format!("editor {SSHD_CONFIG}  # in the Match block that holds for them: {keyword} {right}");
    Finding { grave: *grave, ..Finding::grave(id, SSHD_CONFIG, format!("{}: {what}", names.join(", ")), remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `sshd -T` on a host that is set up like the example.
    const SOUND: &str = "port 22\nusepam yes\nlogingracetime 300\nkbdinteractiveauthentication yes\n\
        passwordauthentication no\nauthenticationmethods publickey,keyboard-interactive:pam keyboard-interactive:pam\n";

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
        let password = with("passwordauthentication no", "passwordauthentication yes");
        assert_eq!(password, [("sshd-password-method", false)]);
        assert_eq!(with("logingracetime 300", "logingracetime 30"), [("sshd-grace-time", false)]);
        assert_eq!(with("logingracetime 300", "logingracetime 0"), [], "no limit at all");
        assert_eq!(ids(&SOUND.replace("time 300", "time 120"), true), [("sshd-grace-time", false)]);
        assert_eq!(ids(&SOUND.replace("time 300", "time 120"), false), []);
    }

    #[test]
    fn methods_that_never_ask_lock_out() {
        let methods = |list: &str| {
            let lines = SOUND.lines().filter(|line| !line.starts_with("authenticationmethods"));
            let rest: String = lines.map(|line| format!("{line}\n")).collect();
            !ids(&format!("{rest}authenticationmethods {list}\n"), false).is_empty()
        };
        assert!(methods("publickey") && methods("publickey,password password"));
        assert!(
            !methods("any")
                && !methods("publickey,keyboard-interactive")
                && !methods("publickey keyboard-interactive:pam")
        );
    }
}
