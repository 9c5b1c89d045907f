//! A shadow of mode 0000, as Fedora and RHEL have it: the service proves a first factor by it, or counts nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use pam_tests::{Bound, Helper, Listener, PASSWORD, artifact, run};

const DAC_READ_SEARCH: u64 = 1 << 2;

/// The service with the capabilities of its unit but for `without`, and a shadow that nobody's mode lets read.
struct Service {
    listener: Listener,
}

impl Service {
    fn start(bound: &Bound, without: &str) -> Service {
        let stack = "auth required pam_faillock.so preauth deny=3
auth [success=1 default=bad] pam_unix.so try_first_pass nodelay
auth [default=die] pam_faillock.so authfail deny=3
auth required pam_faillock.so authsucc deny=3
account required pam_faillock.so
account required pam_unix.so
";
        fs::write("/etc/pam.d/mfa-enroll", stack).unwrap();
        run("install", &["-m", "755", artifact("mfa-enroll").to_str().unwrap(), "/usr/bin/mfa-enroll"]);
        fs::set_permissions("/etc/shadow", fs::Permissions::from_mode(0o000)).unwrap();
        let unit = include_str!("../../../packaging/systemd/mfa-helper.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        let names = line.split(' ').map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase());
        let kept: String = names.filter(|name| name != without).map(|name| format!(",+{name}")).collect();
        let command = ["setpriv", "--no-new-privs", "--inh-caps=-all", &format!("--bounding-set=-all{kept}"), "--"];
        let listener = Listener::start_under(&command, &Helper::real().clock(&bound.clock));
        listener.await_its_trial();
        Service { listener }
    }

    /// Of the processes of the service, which are the listener first, whether each has the capability in force, and
    /// whether it is permitted.
    fn rights(&self) -> Vec<(bool, bool)> {
        let mut pids = vec![self.listener.pid()];
        let mut n = 0;
        while n < pids.len() {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", pids[n])).unwrap();
            pids.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
            n += 1;
        }
        let rights = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let [effective, permitted] = ["CapEff:\t", "CapPrm:\t"].map(|field| {
                let word = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
                u64::from_str_radix(word, 16).unwrap() & DAC_READ_SEARCH != 0
            });
            (effective, permitted)
        };
        pids.iter().map(rights).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::set_permissions("/etc/shadow", fs::Permissions::from_mode(0o640));
    }
}

/// A user at `mfa-enroll`, on pipes.
struct Talk {
    child: Child,
    said: String,
}

impl Talk {
    fn begin(user: &str, verb: &str) -> Talk {
        let uid = run("id", &["-u", user]).trim().to_owned();
        let mut command = Command::new("setsid");
        command.args(["--wait", "timeout", "--signal=KILL", "60", "setpriv", "--clear-groups", "--inh-caps=-all"]);
        command.args([format!("--reuid={uid}"), format!("--regid={uid}")]).env_clear().env("PATH", "/usr/bin:/bin");
        command.args(["/usr/bin/mfa-enroll", verb]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Talk { child, said: String::new() }
    }

    fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let mut bytes = [0; 4096];
            let n = self.child.stderr.as_mut().unwrap().read(&mut bytes).unwrap();
            assert!(n > 0, "it ended before it said {text:?}:\n{}", self.said);
            self.said += &String::from_utf8_lossy(&bytes[..n]);
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Types nothing more: the exit code, and all that was said.
    fn end(mut self) -> (i32, String) {
        drop(self.child.stdin.take());
        self.child.stderr.take().unwrap().read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), self.said)
    }
}

/// How many wrong answers pam_faillock has counted.
fn tally(user: &str) -> usize {
    fs::read(format!("/run/faillock/{user}")).map_or(0, |tally| tally.len() / 64)
}

fn fresh(user: &str) -> Bound {
    let bound = Bound::fresh(user);
    let _ = fs::remove_file(format!("/run/faillock/{user}"));
    bound
}

#[test]
fn the_right_answer_proves_by_a_shadow_of_mode_0000_and_a_wrong_one_counts() {
    let bound = fresh("shadowa");
    let _service = Service::start(&bound, "");
    let mut talk = Talk::begin("shadowa", "disable");
    talk.wait_for("Password: ");
    talk.type_line("not the right one");
    let (code, said) = talk.end();
    assert!(code == 1 && said.contains("That does not prove who you are."), "{code} {said}");
    assert_eq!(tally("shadowa"), 1);
    let mut talk = Talk::begin("shadowa", "disable");
    talk.wait_for("Password: ");
    talk.type_line(PASSWORD);
    // Proved: the device is next.
    talk.wait_for("Verification code: ");
}

#[test]
fn where_shadow_cannot_be_read_nothing_is_asked_and_nothing_is_counted() {
    let bound = fresh("shadowb");
    let _service = Service::start(&bound, "dac_read_search");
    for _ in 0..4 {
        let (code, said) = Talk::begin("shadowb", "disable").end();
        assert_eq!((code, said.as_str()), (5, "mfa-enroll: MFA is unavailable; the system log says why.\n"));
    }
    assert_eq!(tally("shadowb"), 0);
    // Whom passwd does not send to shadow, as a directory's users, is asked all the same.
    run("sed", &["-i", "s/^shadowb:x:/shadowb:*:/", "/etc/passwd"]);
    Talk::begin("shadowb", "disable").wait_for("Password: ");
}

/// One process has it in force, for as long as it lasts; what serves a login has it not at all.
#[test]
fn only_the_process_that_runs_libpam_may_read_what_no_mode_lets_read() {
    let bound = fresh("shadowc");
    let service = Service::start(&bound, "");
    let listener = (false, true);
    let mut talk = Talk::begin("shadowc", "disable");
    talk.wait_for("Password: ");
    assert_eq!(service.rights(), [listener, (false, false), (true, true)]);
    talk.type_line(PASSWORD);
    talk.wait_for("Verification code: ");
    assert_eq!(service.rights(), [listener, (false, false)]);
    // What serves a login goes by the same code as this.
    let mut test = Talk::begin("shadowc", "test");
    test.wait_for("Verification code: ");
    assert_eq!(service.rights(), [listener, (false, false), (false, false)]);
}
