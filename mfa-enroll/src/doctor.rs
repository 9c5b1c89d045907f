//! `mfa-enroll doctor`: what lets people past the second factor on this host, or will lock them out.
//!
//! The helper checks everything that only root may read (policy, store, PAM stacks), and what a login itself uses.
//! The checks here need other programs (decision 17): sshd for its settings, systemd for its units, dpkg for
//! its files. Each is called by its full path, without an environment.

mod sshd;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mfa_wire::{Cancelled, Device, Outcome, Prompter, Remembered, Secret, Status};

use crate::caller::Caller;
use crate::cli::{Cli, Doctor, List, Verb};
use crate::exit::Exit;
use crate::finding::Finding;
use crate::helper::{self, NoVerdict};
use crate::ignored::{Ignored, meant};
use crate::output::{complain, findings, say};
use crate::progress::Progress;

/// Checks the host and reports the faults, the grave ones first.
pub(crate) fn run(cli: &Cli, doctor: &Doctor, caller: &Caller) -> Exit {
    if !caller.is_root() {
        return complain("Only root may do this.", Exit::Refused);
    }
    let mut found = match look(cli, doctor, caller) {
        Ok(found) => found,
        Err((why, exit)) => return complain(&why, exit),
    };
    found.sort_by_key(|finding| !finding.grave);
    let (told, ignored) = match without_ignored(found, cli, doctor) {
        Ok(split) => split,
        Err(exit) => return exit,
    };
    if let Err(e) = findings(std::io::stdout(), &told, &ignored, doctor.json) {
        return complain(&format!("cannot write the answer: {e}"), Exit::Unavailable);
    }
    match told.first() {
        None => {
            say(if ignored.is_empty() { "Nothing found." } else { "Nothing else found." });
            Exit::Done
        }
        Some(Finding { grave: true, .. }) => Exit::Faults,
        Some(_) => Exit::Warnings,
    }
}

/// All that is found, or why nothing can be. It may take a while.
fn look(cli: &Cli, doctor: &Doctor, caller: &Caller) -> Result<Vec<Finding>, (String, Exit)> {
    let progress = Progress::of("doctor");
    let mut found = Vec::new();
    // Before the helper is asked, which asks sshd whom it would lock out.
    sshd::make_folder();
    match helpers(cli, caller, &Verb::Doctor(doctor.clone())) {
        Ok((gathered, Outcome::Accepted | Outcome::Warnings | Outcome::Faults, _)) => {
            progress.make_way();
            gathered.told.iter().for_each(|text| say(text));
            match Finding::read_all(&gathered.reports) {
                Some(findings) => found.extend(findings),
                None => return Err(("the helper reports what nobody understands".into(), Exit::Unavailable)),
            }
        }
        Ok((_, outcome, text)) => return Err((text, outcome.into())),
        Err(e) => found.push(no_helper(&e)),
    }
    found.extend(sshd::check(&users(cli, caller)));
    // This finding applies only if the service turns root away.
    let turned_away = found.iter().position(|finding| finding.id == "service-store").map(|n| found.remove(n));
    found.extend(match units() {
        // The units are right, so the service is asked. A failed service is not asked: that would start it.
        none if none.is_empty() => service(&found, turned_away),
        units => units,
    });
    found.extend(changed_files());
    found.extend(denials());
    Ok(found)
}

/// The findings to be told, and those that root does not want to be told, the ones that are asked for now included.
fn without_ignored(found: Vec<Finding>, cli: &Cli, doctor: &Doctor) -> Result<(Vec<Finding>, Vec<Finding>), Exit> {
    let (mut ignored, unusable) = Ignored::beside(cli.config.as_deref());
    if !doctor.ignore.is_empty() {
        if let Some(Finding { place, what, .. }) = unusable {
            return Err(complain(&format!("{place}: {what}"), Exit::Unavailable));
        }
        let meant: Result<Vec<_>, _> = doctor.ignore.iter().map(|asked| meant(asked, &found)).collect();
        let meant = meant.map_err(|why| complain(&why, Exit::NotFound))?.concat();
        if let Err(e) = ignored.add(&meant) {
            return Err(complain(&format!("cannot write what is to be ignored: {e}"), Exit::Unavailable));
        }
    }
    let (of_no_interest, mut told): (Vec<_>, Vec<_>) = found.into_iter().partition(|finding| ignored.holds(finding));
    told.extend(unusable);
    Ok((told, of_no_interest))
}

/// The messages of the helper.
#[derive(Default)]
struct Gathered {
    reports: Vec<String>,
    told: Vec<String>,
    users: Users,
}

impl Prompter for Gathered {
    fn ask(&mut self, _: bool, _: &str) -> Result<Secret, Cancelled> {
        Err(Cancelled::NoConversation)
    }
    fn tell(&mut self, text: &str) {
        self.told.push(text.to_owned());
    }
    fn device(&mut self, _: &Device) {}
    fn status(&mut self, status: &Status) {
        self.users.add(status);
    }
    fn report(&mut self, text: &str) {
        self.reports.push(text.to_owned());
    }
    fn recovery_codes(&mut self, _: &[Secret]) {}
    fn remembered(&mut self, _: &Remembered) {}
    fn notice(&mut self, _: &str) {}
    fn sign(&mut self, _: &[u8], _: &[u8]) -> Result<Secret, Cancelled> {
        Err(Cancelled::NoConversation)
    }
}

fn helpers(cli: &Cli, caller: &Caller, verb: &Verb) -> Result<(Gathered, Outcome, String), NoVerdict> {
    let mut gathered = Gathered::default();
    let verdict = helper::converse(cli, caller, verb, &mut gathered)?;
    Ok((gathered, verdict.outcome, verdict.text))
}

fn no_helper(why: &NoVerdict) -> Finding {
    const HELPER: &str = "/usr/libexec/mfa-helper";
    let remedy = match fs::metadata(HELPER) {
        Ok(file) if file.mode() & 0o111 != 0o111 => format!("chmod 0755 {HELPER}"),
        _ => reinstall().to_owned(),
    };
    let what = format!("every login that would ask for a code is refused: {why}");
    Finding::grave("helper-unusable", HELPER, what, remedy)
}

/// The users whom a login will ask: the first by name of those about whom sshd can be asked, how many there are, and
/// whether one of them still has to bind
/// a device.
#[derive(Default)]
struct Users {
    names: BTreeSet<String>,
    count: usize,
    must_bind: bool,
    /// They are listed because a device is missing. A user who has only begun to bind one is in both lists.
    missing: bool,
}

impl Users {
    fn add(&mut self, status: &Status) {
        if status.kind.is_none() != self.missing {
            return;
        }
        self.must_bind |= self.missing;
        self.count += 1;
        if sshd::can_be_asked_about(&status.user) {
            self.names.insert(status.user.clone());
        }
        if self.names.len() > sshd::MOST {
            self.names.pop_last();
        }
    }
}

fn users(cli: &Cli, caller: &Caller) -> Users {
    let mut gathered = Gathered::default();
    for missing in [false, true] {
        gathered.users.missing = missing;
        let list = Verb::List(List { group: None, missing, json: true });
        // Faults of the helper or of a record have been reported already, and so has what is told.
        let _ = helper::converse(cli, caller, &list, &mut gathered);
    }
    gathered.users
}

const SYSTEMCTL: &str = "/usr/bin/systemctl";
const DPKG: &str = "/usr/bin/dpkg";
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// Runs a program without the caller's environment, input or folder.
fn ran(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    #[allow(clippy::disallowed_methods, reason = "four programs of the system, by their absolute paths")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null()).output()
}

/// The standard output of a program that succeeded, or its error message.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = ran(program, arguments).map_err(|e| format!("{program}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

/// Checks the socket and its service. Logins work without them; screen lockers and users' own `mfa-enroll` do not.
fn units() -> Vec<Finding> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for unit in ["mfa-helper.socket", "mfa-helper.service", ROOT_SOCKET] {
        // It starts and stops with the users' socket, so the same fault is reported once.
        if unit == ROOT_SOCKET && !found.is_empty() {
            continue;
        }
        match output(SYSTEMCTL, &["show", "--property=LoadState,ActiveState,UnitFileState", unit]) {
            Ok(text) => found.extend(unit_state(unit, &text)),
            Err(why) => {
                found.push(Finding::warning("unit-unknown", unit, why.trim(), format!("systemctl status {unit}")))
            }
        }
    }
    if found.is_empty() {
        found.extend(socket_file("/run/mfa/helper.sock", 0o666, "users do not reach the helper"));
        found.extend(socket_file("/run/mfa/root.sock", 0o600, WITHOUT_ROOTS));
    }
    found
}

/// The unit of the socket for root's logins.
const ROOT_SOCKET: &str = "mfa-helper-root.socket";

/// The effect if it is missing: see docs/gaps.md, on control groups.
const WITHOUT_ROOTS: &str = "each login starts a helper of its own, which whoever logs in by su or sudo can freeze";

fn unit_state(unit: &str, shown: &str) -> Option<Finding> {
    let property = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let socket = unit.ends_with(".socket");
    let idle = match unit {
        ROOT_SOCKET => WITHOUT_ROOTS,
        _ => "screen lockers and users' own mfa-enroll do not reach the helper",
    };
    match (property("LoadState"), property("ActiveState"), property("UnitFileState")) {
        ("not-found", ..) => {
            Some(Finding::warning("unit-missing", unit, format!("the unit is missing: {idle}"), reinstall()))
        }
        ("masked", ..) => {
            let on = "systemctl enable mfa-helper.socket && systemctl restart mfa-helper.socket";
            let remedy = format!("systemctl unmask {unit} && {on}");
            Some(Finding::warning("unit-masked", unit, format!("the unit is masked: {idle}"), remedy))
        }
        (_, "failed", _) => {
            let remedy = format!("systemctl reset-failed {unit} && systemctl restart mfa-helper.socket");
            Some(Finding::warning("unit-failed", unit, format!("the unit has failed: {idle}"), remedy))
        }
        (_, "inactive", _) if socket => {
            let remedy = "systemctl enable mfa-helper.socket && systemctl restart mfa-helper.socket";
            Some(Finding::warning("socket-not-listening", unit, format!("nobody listens: {idle}"), remedy))
        }
        (_, _, "disabled") if socket => {
            let what = format!("the socket is not switched on, and will be gone at the next boot: {idle}");
            Some(Finding::warning("socket-not-enabled", unit, what, "systemctl enable mfa-helper.socket"))
        }
        _ => None,
    }
}

/// Checks the file of a socket. Every user may connect to the users' socket, because the kernel tells the helper who
/// calls; only root may connect to root's.
fn socket_file(path: &str, mode: u32, so: &str) -> Option<Finding> {
    let wrong = match fs::symlink_metadata(path) {
        Err(e) => e.to_string(),
        Ok(file) if !file.file_type().is_socket() || file.uid() != 0 => String::from("it is no socket of root's"),
        Ok(file) if file.mode() & 0o777 != mode => format!("its mode is {:04o}", file.mode() & 0o777),
        Ok(_) => return None,
    };
    let what = format!("{so}: {wrong}");
    Some(Finding::warning("socket-unreachable", path, what, "systemctl restart mfa-helper.socket"))
}

/// The findings of the service when it tests itself in its sandbox, without those that were found outside of it.
fn service(found: &[Finding], turned_away: Option<Finding>) -> Vec<Finding> {
    const UNIT: &str = "mfa-helper.service";
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let is_found = |begin: &str| found.iter().any(|finding| finding.id.starts_with(begin));
    let mut gathered = Gathered::default();
    let mut own = match helper::ask_service(mfa_wire::Verb::Doctor, &mut gathered) {
        Ok(_) => Finding::read_all(&gathered.reports).unwrap_or_default(),
        // Root's logins then start their own helpers. The service cannot say why, but the helper has found the
        // reason.
        Err(NoVerdict::TurnedAway) => turned_away.into_iter().collect(),
        Err(why) => {
            vec![Finding::warning("service-silent", UNIT, why.to_string(), format!("systemctl restart {UNIT}"))]
        }
    };
    own.retain(|finding| match finding.id.as_str() {
        "service-store" => !is_found("store-"),
        "service-policy" => !is_found("policy-"),
        _ => true,
    });
    own
}

/// Programs that differ from the package's. dpkg compares the content only.
fn changed_files() -> Vec<Finding> {
    if !Path::new(DPKG).exists() {
        return Vec::new();
    }
    // dpkg fails if it finds a difference.
    ran(DPKG, &["--verify", "libpam-mfa"]).map_or(Vec::new(), |ran| changed(&String::from_utf8_lossy(&ran.stdout)))
}

/// Reads lines such as `??5??????   /usr/libexec/mfa-helper`; a `c` in between marks a file for the administrator to
/// change.
fn changed(verified: &str) -> Vec<Finding> {
    let runs = |path: &&str| ["/usr/lib/", "/usr/libexec/", "/usr/bin/"].iter().any(|folder| path.starts_with(folder));
    let lines = verified.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let paths = lines.filter_map(|words| match words.as_slice() {
        [flags, path] if flags.contains('5') => Some(*path),
        _ => None,
    });
    let remedy = reinstall();
    let finding = |path| Finding::grave("program-changed", path, "this is not the program of the package", remedy);
    paths.filter(runs).map(finding).collect()
}

fn reinstall() -> &'static str {
    match Path::new(DPKG).exists() {
        true => "apt-get install --reinstall libpam-mfa",
        false => "make install  # in the source folder",
    }
}

/// Accesses that SELinux or AppArmor denied us, as far back as the logs go.
fn denials() -> Vec<Finding> {
    let kernel =
        output(JOURNALCTL, &["--boot", "--dmesg", "--quiet", "--no-pager", "--output=cat"]).unwrap_or_default();
    let audit = fs::read("/var/log/audit/audit.log").unwrap_or_default();
    let audit = String::from_utf8_lossy(&audit);
    denied(kernel.lines().chain(audit.lines())).into_iter().collect()
}

fn denied<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Finding> {
    let refuses =
        |line: &&str| line.contains("apparmor=\"DENIED\"") || (line.contains("avc:") && line.contains("denied"));
    // By the denied path or the profile. Never by `comm`, which any program can set to our name.
    let ours = |line: &&str| {
        ["name=\"/run/mfa", "name=\"/var/lib/mfa", "name=\"/etc/mfa", "profile=\"/usr/libexec/mfa-helper", ":mfa_"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    let denied: Vec<&str> = lines.filter(refuses).filter(ours).collect();
    let last = *denied.last()?;
    let what = format!("something of ours was denied ({} times), the last time: {last}", denied.len());
    // Root has to look: to allow every denied access is no remedy.
    let remedy = if last.contains("apparmor") { "journalctl -b -k -g DENIED" } else { "ausearch -m avc" };
    Some(Finding::warning("access-denied", "kernel", what, remedy))
}

#[cfg(test)]
mod tests {
    use mfa_wire::Account;

    use super::*;

    #[test]
    fn users_are_counted_and_the_first_of_them_named_however_many_there_are() {
        let mut users = Users::default();
        let status = |user: String, bound: bool| Status {
            user,
            kind: bound.then(|| "totp".into()),
            pending: false,
            required: true,
            devices: Vec::new(),
            recovery_codes_left: 0,
            locked_until: None,
            bypass_until: None,
            account: Account::There,
            required_at: Vec::new(),
            binds_at: Vec::new(),
            not_known: None,
        };
        for missing in [false, true] {
            users.missing = missing;
            (0..1000).rev().for_each(|n| users.add(&status(format!("bound{n:04}"), true)));
            // It has begun to bind, so it is in both lists.
            users.add(&status("aaa".into(), false));
        }
        assert_eq!((users.count, users.names.len(), users.must_bind), (1001, sshd::MOST, true));
        assert_eq!(users.names.iter().take(2).collect::<Vec<_>>(), ["aaa", "bound0000"]);
    }

    #[test]
    fn each_state_of_a_unit_is_told_apart() {
        let state = |unit, load, active, file| {
            let shown = format!("LoadState={load}\nActiveState={active}\nUnitFileState={file}\n");
            unit_state(unit, &shown).map(|finding| finding.id)
        };
        let socket = |load, active, file| state("mfa-helper.socket", load, active, file);
        assert_eq!(socket("loaded", "active", "enabled"), None);
        assert_eq!(state("mfa-helper.service", "loaded", "inactive", "static"), None, "until it is needed");
        assert_eq!(socket("masked", "inactive", "masked").as_deref(), Some("unit-masked"));
        assert_eq!(socket("not-found", "inactive", "").as_deref(), Some("unit-missing"));
        assert_eq!(socket("loaded", "inactive", "enabled").as_deref(), Some("socket-not-listening"));
        assert_eq!(socket("loaded", "active", "disabled").as_deref(), Some("socket-not-enabled"));
        assert_eq!(state("mfa-helper.service", "loaded", "failed", "static").as_deref(), Some("unit-failed"));
    }

    #[test]
    fn changed_programs_are_found_and_changed_settings_are_not() {
        let verified = "??5?????? c /etc/mfa/mfa.toml\n??5??????   /usr/libexec/mfa-helper\nmissing     /usr/bin/mfa-enroll\n\
            ??5??????   /usr/share/man/man1/mfa-enroll.1.gz\n";
        let found = changed(verified);
        assert_eq!(found.iter().map(|f| f.place.as_str()).collect::<Vec<_>>(), ["/usr/libexec/mfa-helper"]);
    }

    #[test]
    fn denials_of_ours_are_found_and_no_others() {
        let apparmor =
            "audit: type=1400 apparmor=\"DENIED\" operation=\"connect\" name=\"/run/mfa/helper.sock\" comm=\"sshd\"";
        let selinux =
            "type=AVC msg=audit(1.2:3): avc:  denied  { write } for  name=\"state\" scontext=u:r:mfa_helper_t:s0";
        let pretender = "audit: type=1400 apparmor=\"DENIED\" profile=\"unprivileged_userns\" comm=\"mfa-helper\"";
        let other = "audit: type=1400 apparmor=\"DENIED\" name=\"/etc/passwd\" comm=\"cups\"";
        assert_eq!(denied([other, pretender, "mfa-helper: denied nothing"].into_iter()), None);
        assert!(denied([other, apparmor].into_iter()).unwrap().what.contains("(1 times)"));
        assert_eq!(denied([apparmor, selinux].into_iter()).unwrap().remedy, "ausearch -m avc");
    }

    #[test]
    fn a_report_of_the_helper_is_five_lines_or_more_names_for_the_one_before() {
        let finding = Finding::warning("an-id", "/etc/x:1", "what", "sed -i s/a/b/ /etc/x");
        let report = String::from("warning\nan-id\n/etc/x:1\nwhat\nsed -i s/a/b/ /etc/x\n");
        let names = |names: &str| format!("names\n{names}\n");
        let named = |names: &[&str]| Finding { names: names.iter().map(|n| (*n).into()).collect(), ..finding.clone() };
        let reports = [report.clone(), names("al\nbo"), names("cy"), report];
        assert_eq!(Finding::read_all(&reports), Some(vec![named(&["al", "bo", "cy"]), named(&[])]));
        assert_eq!(Finding::read_all(&["error\nid\n".into()]), None);
        assert_eq!(Finding::read_all(&[names("al")]), None);
    }
}
