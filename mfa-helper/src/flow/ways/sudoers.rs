//! What sudoers(5) grants to a user, as sudo's own parser prints it (cvtsudoers(1), with aliases resolved).

use serde_json::Value;

use super::user::User;
use crate::policy::Answer;

/// What a user may run as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Nothing.
    Nothing,
    /// Some commands.
    Some,
    /// Every command. Without `asked`, sudo asks for nothing (`NOPASSWD`).
    All {
        /// Whether sudo asks for a password.
        asked: bool,
    },
    /// That cannot be told.
    NotKnown(String),
}

/// What sudoers grants. The last entry that concerns a command decides, as in sudo.
pub fn granted(sudoers: &Value, user: &User, host: &str) -> Grant {
    let mut last_one = Last { grant: Grant::Nothing, tag: None };
    for spec in list(sudoers, "User_Specs") {
        let users = last(list(spec, "User_List"), &|entry| is_user(entry, user));
        let hosts = last(list(spec, "Host_List"), &|entry| is_host(entry, host));
        let with_it = || list(spec, "Cmnd_Specs").fold(last_one.clone(), after);
        match (users, hosts) {
            (Answer::No, _) | (_, Answer::No) => {}
            (Answer::Yes, Answer::Yes) => last_one = with_it(),
            // It adds nothing to everything.
            _ if matches!(last_one.grant, Grant::All { .. }) && with_it() == last_one => {}
            _ => {
                let why = String::from("sudoers names users or hosts that cannot be told");
                last_one = Last { grant: Grant::NotKnown(why), tag: None };
            }
        }
    }
    let asked = !is_exempt(sudoers, user) && last_one.tag.unwrap_or(asks(sudoers, user));
    match (last_one.grant, who_is_asked(sudoers), bound_elsewhere(sudoers, user)) {
        (Grant::Nothing, ..) => Grant::Nothing,
        // Account is that user's as well, even where nothing is asked.
        (_, Some(why), _) => Grant::NotKnown(why),
        (Grant::All { .. }, ..) if !asked => Grant::All { asked },
        (_, None, Some(why)) => Grant::NotKnown(why),
        (grant, None, None) => grant,
    }
}

/// What the entries so far say.
#[derive(Clone, PartialEq, Eq)]
struct Last {
    grant: Grant,
    /// `PASSWD` or `NOPASSWD`, if one stands there: it decides before all settings but `exempt_group`.
    tag: Option<bool>,
}

fn list<'a>(value: &'a Value, name: &str) -> impl DoubleEndedIterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

/// Whether a list names somebody: its last entry that does decides, and `!` turns that round.
fn last<'a>(entries: impl DoubleEndedIterator<Item = &'a Value>, is: &dyn Fn(&Value) -> Answer) -> Answer {
    for entry in entries.rev() {
        let negated = entry.get("negated") == Some(&Value::Bool(true));
        match is(entry) {
            Answer::No => {}
            Answer::Yes if negated => return Answer::No,
            other => return other,
        }
    }
    Answer::No
}

fn is_user(entry: &Value, user: &User) -> Answer {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let number = |name: &str| entry.get(name).and_then(Value::as_u64);
    if let Some(name) = text("username") {
        return Answer::known(name == "ALL" || name == user.name);
    }
    if let Some(group) = text("usergroup") {
        return (user.member)(group);
    }
    match (number("userid"), number("usergid")) {
        (Some(uid), _) => Answer::known(uid == u64::from(user.uid)),
        (None, Some(wanted)) => user.in_group(|gid, _| u64::from(gid) == wanted),
        (None, None) => Answer::Unknown,
    }
}

fn is_host(entry: &Value, host: &str) -> Answer {
    let short = host.split('.').next().unwrap_or_default();
    match entry.get("hostname").and_then(Value::as_str) {
        Some("ALL") => Answer::Yes,
        Some(name) if name == host || name == short => Answer::Yes,
        // Names of other hosts, networks, netgroups: sudo would ask the resolver.
        _ => Answer::Unknown,
    }
}

fn negated(command: &Value) -> bool {
    command.get("negated") == Some(&Value::Bool(true))
}

/// What holds after one group of commands.
fn after(before: Last, commands: &Value) -> Last {
    let as_root = |entry: &&Value| match entry.get("username").and_then(Value::as_str) {
        Some(name) => name == "ALL" || name == "root",
        None => entry.get("userid") == Some(&Value::from(0)),
    };
    let mut users = list(commands, "runasusers").peekable();
    // Without a list it is root.
    if users.peek().is_some() && !users.any(|user| as_root(&user)) {
        return before;
    }
    let tag = list(commands, "Options").find_map(|option| option.get("authenticate")?.as_bool());
    let all = |command: &Value| command.get("command").and_then(Value::as_str) == Some("ALL");
    let mut now = before;
    for command in list(commands, "Commands") {
        now = match (all(command), negated(command)) {
            (true, true) => Last { grant: Grant::Nothing, tag: None },
            (true, false) => Last { grant: Grant::All { asked: true }, tag },
            (false, false) if now.grant == Grant::Nothing => Last { grant: Grant::Some, tag },
            // One command more or less leaves the others as they are.
            (false, _) => now,
        };
    }
    now
}

/// Settings by which sudo asks another user's password, or nothing of PAM.
fn who_is_asked(sudoers: &Value) -> Option<String> {
    for option in list(sudoers, "Defaults").flat_map(|defaults| list(defaults, "Options")) {
        for word in ["rootpw", "targetpw", "runaspw"] {
            if option.get(word) == Some(&Value::Bool(true)) {
                return Some(format!("sudo asks for another user's password ({word})"));
            }
        }
        if option.get("use_pam") == Some(&Value::Bool(false)) {
            return Some(String::from("sudo does not use PAM (!use_pam)"));
        }
    }
    None
}

/// The settings that hold for this user, in their order.
fn settings<'a>(sudoers: &'a Value, user: &User) -> Vec<&'a Value> {
    let holds = |defaults: &&Value| {
        let bound = last(list(defaults, "Binding"), &|entry| is_user(entry, user)) == Answer::Yes;
        defaults.get("Binding").is_none() || bound
    };
    list(sudoers, "Defaults").filter(holds).flat_map(|defaults| list(defaults, "Options")).collect()
}

/// Settings for a host (`Defaults@web1`) or for the user that commands run as (`Defaults>root`), which cvtsudoers prints
/// like those for users.
fn bound_elsewhere(sudoers: &Value, user: &User) -> Option<String> {
    let unasked = |option: &Value| option.get("authenticate").is_some() || option.get("exempt_group").is_some();
    let may_hold = |entry: &Value| {
        let name = entry.get("username").and_then(Value::as_str);
        is_user(entry, user) != Answer::Yes && (entry.get("hostname").is_some() || matches!(name, Some("root" | "ALL")))
    };
    let defaults = list(sudoers, "Defaults")
        .find(|defaults| list(defaults, "Binding").any(may_hold) && list(defaults, "Options").any(unasked));
    defaults.map(|_| String::from("sudoers has a setting for a host or for root that may ask for nothing"))
}

/// Whether sudo asks this user where no tag says so. The last setting decides.
fn asks(sudoers: &Value, user: &User) -> bool {
    let mut said = settings(sudoers, user).into_iter().filter_map(|option| option.get("authenticate")?.as_bool());
    said.next_back().unwrap_or(true)
}

/// Whether this user belongs to the group that sudo never asks.
fn is_exempt(sudoers: &Value, user: &User) -> bool {
    let mut named = settings(sudoers, user).into_iter().filter_map(|option| option.get("exempt_group")?.as_str());
    named.next_back().is_some_and(|group| (user.member)(group) == Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `users` gets `commands`, in sudoers' form of JSON.
    fn spec(users: &str, commands: &str) -> String {
        format!(
            r#"{{"User_List": [{users}], "Host_List": [{{"hostname": "ALL"}}], "Cmnd_Specs": [{{"runasusers":
            [{{"username": "ALL"}}], {commands}}}]}}"#
        )
    }

    const ALL: &str = r#""Commands": [{"command": "ALL"}]"#;
    const NOPASSWD: &str = r#""Options": [{"authenticate": false}], "Commands": [{"command": "ALL"}]"#;

    fn granted_to_kim(specs: &[String], defaults: &str) -> Grant {
        let text = format!(r#"{{"Defaults": [{defaults}], "User_Specs": [{}]}}"#, specs.join(","));
        let member = |group: &str| Answer::known(group == "sudo");
        granted(
            &serde_json::from_str(&text).unwrap(),
            &User { name: "kim", uid: 1000, member: &member, groups: &|| Some(vec![(27, String::from("sudo"))]) },
            "web1.example",
        )
    }

    #[test]
    fn rights_by_name_by_group_and_by_uid() {
        let all = Grant::All { asked: true };
        for (users, expected) in [
            (r#"{"username": "kim"}"#, all.clone()),
            (r#"{"usergroup": "sudo"}"#, all.clone()),
            (r#"{"userid": 1000}"#, all.clone()),
            (r#"{"usergid": 27}"#, all.clone()),
            (r#"{"usergid": 3001}"#, Grant::Nothing),
            (r#"{"username": "ALL"}"#, all),
            (r#"{"username": "ann"}"#, Grant::Nothing),
            (r#"{"usergroup": "wheel"}"#, Grant::Nothing),
            (r#"{"username": "ALL"}, {"username": "kim", "negated": true}"#, Grant::Nothing),
        ] {
            assert_eq!(granted_to_kim(&[spec(users, ALL)], ""), expected, "{users}");
        }
        assert!(matches!(granted_to_kim(&[spec(r#"{"netgroup": "x"}"#, ALL)], ""), Grant::NotKnown(_)));
    }

    #[test]
    fn the_last_entry_decides() {
        let (asked, unasked) = (spec(r#"{"username": "kim"}"#, ALL), spec(r#"{"usergroup": "sudo"}"#, NOPASSWD));
        assert_eq!(granted_to_kim(&[asked.clone(), unasked.clone()], ""), Grant::All { asked: false });
        assert_eq!(granted_to_kim(&[unasked, asked.clone()], ""), Grant::All { asked: true });
        let other_host =
            spec(r#"{"username": "kim"}"#, ALL).replace(r#"[{"hostname": "ALL"}]"#, r#"[{"hostname": "db1"}]"#);
        assert_eq!(granted_to_kim(&[asked.clone(), other_host], ""), Grant::All { asked: true });
        let here = spec(r#"{"username": "kim"}"#, ALL);
        for host in ["web1", "web1.example"] {
            let here = here.replace(r#""hostname": "ALL""#, &format!(r#""hostname": "{host}""#));
            assert_eq!(granted_to_kim(&[here], ""), Grant::All { asked: true }, "{host}");
        }
        let taken = spec(r#"{"username": "kim"}"#, r#""Commands": [{"command": "ALL", "negated": true}]"#);
        assert_eq!(granted_to_kim(&[asked, taken], ""), Grant::Nothing);
    }

    #[test]
    fn commands_for_another_user_give_no_root() {
        let text =
            spec(r#"{"username": "kim"}"#, ALL).replace(r#"[{"username": "ALL"}], "#, r#"[{"username": "www"}], "#);
        assert_eq!(granted_to_kim(&[text], ""), Grant::Nothing);
        let some = spec(r#"{"username": "kim"}"#, r#""Commands": [{"command": "/usr/bin/id"}]"#);
        assert_eq!(granted_to_kim(&[some], ""), Grant::Some);
    }

    #[test]
    fn an_entry_of_somebody_who_cannot_be_told_counts_if_it_changes_anything() {
        let with = |commands: &str| {
            granted_to_kim(&[spec(r#"{"username": "kim"}"#, ALL), spec(r#"{"netgroup": "x"}"#, commands)], "")
        };
        assert_eq!(with(ALL), Grant::All { asked: true });
        assert_eq!(with(r#""Commands": [{"command": "/usr/bin/id"}]"#), Grant::All { asked: true });
        for other in [NOPASSWD, r#""Commands": [{"command": "ALL", "negated": true}]"#] {
            assert!(matches!(with(other), Grant::NotKnown(_)), "{other}");
        }
    }

    #[test]
    fn settings_that_ask_nobody_or_somebody_else() {
        let kim = [spec(r#"{"username": "kim"}"#, ALL)];
        let with = |defaults: &str| granted_to_kim(&kim, defaults);
        assert_eq!(with(r#"{"Options": [{"authenticate": false}]}"#), Grant::All { asked: false });
        assert_eq!(with(r#"{"Options": [{"exempt_group": "sudo"}]}"#), Grant::All { asked: false });
        assert_eq!(with(r#"{"Options": [{"exempt_group": "wheel"}]}"#), Grant::All { asked: true });
        let of_ann = r#"{"Binding": [{"username": "ann"}], "Options": [{"authenticate": false}]}"#;
        assert_eq!(with(of_ann), Grant::All { asked: true });
        assert_eq!(with(&of_ann.replace("ann", "kim")), Grant::All { asked: false });
        assert!(matches!(with(r#"{"Options": [{"targetpw": true}]}"#), Grant::NotKnown(_)));
        for elsewhere in [r#"{"username": "root"}"#, r#"{"hostname": "web1"}"#] {
            let bound = of_ann.replace(r#"{"username": "ann"}"#, elsewhere);
            assert!(matches!(with(&bound), Grant::NotKnown(_)), "{elsewhere}");
        }
        assert!(matches!(with(r#"{"Options": [{"use_pam": false}]}"#), Grant::NotKnown(_)));
        let unasked = [spec(r#"{"username": "kim"}"#, NOPASSWD)];
        assert!(matches!(granted_to_kim(&unasked, r#"{"Options": [{"targetpw": true}]}"#), Grant::NotKnown(_)));
        // A tag decides before the setting, and not before the group.
        let tagged = [spec(r#"{"username": "kim"}"#, &NOPASSWD.replace("false", "true"))];
        assert_eq!(granted_to_kim(&tagged, r#"{"Options": [{"authenticate": false}]}"#), Grant::All { asked: true });
        assert_eq!(granted_to_kim(&tagged, r#"{"Options": [{"exempt_group": "sudo"}]}"#), Grant::All { asked: false });
    }
}
