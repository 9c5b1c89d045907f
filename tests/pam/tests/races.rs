//! Sixty-four logins at the same moment: one code lets one in, and nobody stands in another's way.
//!
//! Each is a process of its own. All are at their prompt before the first of them answers, so all helpers have loaded the
//! same record by then, and judge at once.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::Rootfs;
use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, MAXTRIES, SUCCESS};
use pam_tests::{Bound, Gate, Helper, Host, Listener, Report, Running, add_user, artifact, require_sandbox, run};

const MANY: usize = 64;

/// `make race` asks for more.
fn rounds() -> usize {
    std::env::var("MFA_TEST_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap())
}

/// How the helper is reached.
#[derive(Clone, Copy, Debug)]
enum Way {
    Socket,
    Spawn,
}

impl Way {
    /// Makes it the only way to log in at the service `door`, as long as what is given back lives.
    fn only(self, bound: &Bound) -> Option<Listener> {
        let (other, listener) = match self {
            Way::Socket => ("helper=/nowhere", Some(Listener::start(&Helper::real().clock(&bound.clock)))),
            Way::Spawn => ("socket=/nowhere", None),
        };
        bound.system.service("door", &format!("{{first}}\nauth required {{module}} stack=complete {other}"));
        listener
    }
}

/// Logs all of these in, who answer at the same moment.
fn at_once(hosts: impl IntoIterator<Item = Host>) -> Vec<Report> {
    let gate = Gate::closed();
    let hosts: Vec<Running> = hosts.into_iter().map(|host| host.gate(&gate).start()).collect();
    gate.await_hosts(hosts.len());
    gate.open();
    hosts.into_iter().map(Running::report).collect()
}

fn login(bound: &Bound, user: &str, answer: &str) -> Host {
    bound.system.host("door").user(user).answer(answer).steps(&["auth"])
}

/// Moves the clock to where every app has a new code. By two steps, because two neighbours may be the same code.
fn next(bound: &mut Bound) {
    bound.advance(2);
}

/// How many got which code.
fn tally(reports: &[Report]) -> BTreeMap<i32, usize> {
    let mut tally = BTreeMap::new();
    for report in reports {
        *tally.entry(report.code("auth")).or_default() += 1;
    }
    tally
}

#[test]
fn one_code_lets_one_in_by_the_socket() {
    one_code_lets_one_in(Way::Socket);
}

#[test]
fn one_code_lets_one_in_by_spawn() {
    one_code_lets_one_in(Way::Spawn);
}

fn one_code_lets_one_in(way: Way) {
    let mut bound = Bound::fresh("raced");
    let _listener = way.only(&bound);
    let mut sum = BTreeMap::new();
    for round in 0..rounds() {
        next(&mut bound);
        let code = bound.code(0);
        let tally = tally(&at_once((0..MANY).map(|_| login(&bound, "raced", &code))));
        assert_eq!(tally.get(&SUCCESS), Some(&1), "{way:?}, round {round}: {tally:?}");
        for (code, count) in tally {
            *sum.entry(code).or_insert(0) += count;
        }
    }
    println!("{way:?}: in {} rounds of {MANY}, code and how often: {sum:?}", rounds());
    sum.remove(&SUCCESS);
    // The lock of a record is given up after a second, which a slow machine may take.
    sum.remove(&AUTHINFO_UNAVAIL);
    assert_eq!(sum.keys().collect::<Vec<_>>(), [&AUTH_ERR], "{way:?}");
}

#[test]
fn one_bypass_code_lets_one_in() {
    let bound = Bound::fresh("raced");
    for way in [Way::Socket, Way::Spawn] {
        let _listener = way.only(&bound);
        for round in 0..rounds().div_ceil(10) {
            let made = bound.system.enroll(&["bypass", "--user", "raced"], "");
            assert!(made.status.success());
            let code = String::from_utf8(made.stdout).unwrap();
            let mut tally = tally(&at_once((0..MANY).map(|_| login(&bound, "raced", code.trim()))));
            tally.remove(&AUTHINFO_UNAVAIL);
            assert_eq!(tally.remove(&SUCCESS), Some(1), "{way:?}, round {round}: {tally:?}");
            assert_eq!(tally.keys().collect::<Vec<_>>(), [&AUTH_ERR], "{way:?}, round {round}");
        }
    }
}

/// All of them have loaded the record of the old device when it is replaced.
#[test]
fn who_is_at_the_prompt_when_the_device_is_replaced_gets_in_by_the_new_one_only() {
    for way in [Way::Socket, Way::Spawn] {
        let bound = Bound::fresh("overtaken");
        let _listener = way.only(&bound);
        let new = bound.pend_replacement();
        let (old_code, new_code) = (bound.code(1), bound.code_of(&new, 1));
        // Fewer than lock.
        let answers = [&old_code, &old_code, &new_code, &new_code];
        let gate = Gate::closed();
        let hosts: Vec<Running> =
            answers.iter().map(|code| login(&bound, "overtaken", code).gate(&gate).start()).collect();
        gate.await_hosts(hosts.len());
        let (first, second) = (bound.code_of(&new, -1), bound.code_of(&new, 0));
        let done = bound.system.enroll(&["confirm", "--user", "overtaken", &first, &second], "");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        gate.open();
        let codes: Vec<i32> = hosts.into_iter().map(|host| host.report().code("auth")).collect();
        assert_eq!(codes[..2], [AUTH_ERR, AUTH_ERR], "{way:?}: the old device never again");
        let by_new = codes[2..].iter().filter(|code| **code == SUCCESS).count();
        assert_eq!(by_new, 1, "{way:?}: {codes:?}");
    }
}

#[test]
fn sixty_four_users_are_all_let_in_by_the_socket() {
    sixty_four_users_are_all_let_in(Way::Socket);
}

#[test]
fn sixty_four_users_are_all_let_in_by_spawn() {
    sixty_four_users_are_all_let_in(Way::Spawn);
}

fn sixty_four_users_are_all_let_in(way: Way) {
    let mut crowd = Crowd::fresh();
    let _listener = way.only(&crowd.bound);
    // A round costs as much as one of the other race, and what can go wrong shows in few.
    for round in 0..rounds().div_ceil(10) {
        let tally = tally(&crowd.log_in());
        assert_eq!(tally, [(SUCCESS, MANY)].into(), "{way:?}, round {round}");
    }
}

/// A system with 64 bound users.
struct Crowd {
    bound: Bound,
    /// Names and keys.
    users: Vec<(String, String)>,
}

impl Crowd {
    fn fresh() -> Crowd {
        let bound = Bound::fresh("crowd");
        let bind = |user: String| {
            add_user(&user);
            let key = bound.bind_other(&user);
            (user, key)
        };
        let users = (0..MANY).map(|n| bind(format!("crowd-{n}"))).collect();
        Crowd { bound, users }
    }

    /// All of them, each with the code of a new step.
    fn log_in(&mut self) -> Vec<Report> {
        next(&mut self.bound);
        at_once(self.users.iter().map(|(user, key)| login(&self.bound, user, &self.bound.code_of(key, 0))))
    }
}

/// Each of them has loaded a record that knows of no wrong code yet: who counts by what was loaded counts to one.
#[test]
fn of_many_wrong_codes_at_once_no_more_are_judged_than_are_allowed() {
    for way in [Way::Socket, Way::Spawn] {
        let bound = Bound::fresh("guessed");
        let _listener = way.only(&bound);
        let wrong = wrong(&bound.code(1));
        let reports = at_once((0..MANY).map(|_| login(&bound, "guessed", &wrong)));
        let mut sum = tally(&reports);
        // The lock of a record is given up after a second.
        let late = sum.remove(&AUTHINFO_UNAVAIL).unwrap_or(0);
        assert_eq!(sum, [(AUTH_ERR, ALLOWED), (MAXTRIES, MANY - ALLOWED - late)].into(), "{way:?}");
        assert_all_told_the_same(reports.iter().filter(|report| report.code("auth") == MAXTRIES));
    }
}

/// Who is at the prompt already when the last guess is counted gains nothing by it.
#[test]
fn the_right_code_among_many_is_not_told_apart_once_the_guesses_are_used_up() {
    for way in [Way::Socket, Way::Spawn] {
        let bound = Bound::fresh("sifted");
        let _listener = way.only(&bound);
        let (right, wrong) = (bound.code(1), wrong(&bound.code(1)));
        let gate = Gate::closed();
        let answers = (0..MANY).map(|n| if n == MANY / 2 { &right } else { &wrong });
        let hosts: Vec<Running> = answers.map(|code| login(&bound, "sifted", code).gate(&gate).start()).collect();
        gate.await_hosts(MANY);
        for _ in 0..ALLOWED {
            assert_eq!(bound.auth(&wrong), AUTH_ERR, "{way:?}");
        }
        gate.open();
        let reports: Vec<Report> = hosts.into_iter().map(Running::report).collect();
        assert_eq!(tally(&reports), [(MAXTRIES, MANY)].into(), "{way:?}");
        assert_all_told_the_same(&reports);
    }
}

/// How many wrong codes are judged before nothing is, by default.
const ALLOWED: usize = 5;

/// Another code of the same form.
fn wrong(code: &str) -> String {
    code.chars().map(|c| if c == '9' { '0' } else { char::from(c as u8 + 1) }).collect()
}

fn assert_all_told_the_same<'a>(reports: impl IntoIterator<Item = &'a Report>) {
    let mut said: Vec<_> = reports.into_iter().map(Report::said).collect();
    said.dedup();
    assert_eq!(said.len(), 1, "{said:#?}");
}

/// No test of ours: the same races, run by other modules and by us, in one table. Nothing is asserted of anybody.
#[test]
#[ignore = "about other modules: make race"]
fn beside_the_peers() {
    println!("{:<40}{:>8}{:>22}{:>14}", "64 processes at once", "rounds", "accepted in each", "rounds wrong");
    let disk = Disk::empty();
    disk.holds_our_store();
    {
        let mut bound = Bound::fresh("raced");
        for way in [Way::Socket, Way::Spawn] {
            let _listener = way.only(&bound);
            row(&format!("one code, pam_mfa by {way:?}"), 1, || {
                next(&mut bound);
                let code = bound.code(0);
                at_once((0..MANY).map(|_| login(&bound, "raced", &code)))
            });
        }
    }
    let peers = Peers::on(&disk);
    row("one code, pam_google_authenticator", 1, || peers.one_code_at_google_authenticator());
    {
        let mut crowd = Crowd::fresh();
        for way in [Way::Socket, Way::Spawn] {
            let _listener = way.only(&crowd.bound);
            row(&format!("64 users, pam_mfa by {way:?}"), MANY, || crowd.log_in());
        }
    }
    row("64 users, pam_oath", MANY, || peers.many_users_at_oath());
}

/// Prints how many were let in where `right` many should have been.
fn row(name: &str, right: usize, mut race: impl FnMut() -> Vec<Report>) {
    let counts: Vec<usize> = (0..40).map(|_| tally(&race()).get(&SUCCESS).copied().unwrap_or(0)).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    let wrong = counts.iter().filter(|count| **count != right).count();
    println!("{name:<40}{:>8}{:>22}{wrong:>14}", counts.len(), format!("{least} to {most}"));
}

/// A folder on the disk that holds the build: in the sandbox's own memory a write takes no time, and a race is short.
struct Disk(PathBuf);

impl Disk {
    fn empty() -> Disk {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("races");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("store")).unwrap();
        Disk(folder)
    }

    fn holds_our_store(&self) {
        require_sandbox();
        fs::create_dir_all("/var/lib/mfa").unwrap();
        run("mount", &["--bind", self.0.join("store").to_str().unwrap(), "/var/lib/mfa"]);
    }
}

/// Other modules, in a root file system that has this disk, the built programs and /tmp as they are here.
struct Peers<'a> {
    disk: &'a Disk,
    _rootfs: Rootfs,
}

impl Peers<'_> {
    const ROOT: &'static str = "/run/peers/root";
    const KEY: &'static str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    const KEY_IN_HEX: &'static str = "48656c6c6f21deadbeef48656c6c6f21deadbeef";

    fn on(disk: &Disk) -> Peers<'_> {
        let rootfs = Rootfs::made_of("bookworm", "libpam-google-authenticator,libpam-oath", "");
        let script = r#"
            mkdir -p /run/peers
            cd /run/peers
            mkdir upper work root
            mount -t overlay overlay -o "lowerdir=$1,upperdir=upper,workdir=work" root
            shift
            for folder in /tmp /dev /proc "$@"; do
                mkdir -p "root$folder"
                mount --bind "$folder" "root$folder"
            done"#;
        let program = artifact("pam-host");
        let (programs, folder) = (program.parent().unwrap().to_str().unwrap(), disk.0.to_str().unwrap());
        run("sh", &["-euc", script, "sh", &rootfs.lowerdir(), programs, folder]);
        let google = format!("pam_google_authenticator.so user=root secret={folder}/key echo_verification_code");
        fs::write(disk.0.join("google"), format!("auth required {google}\n")).unwrap();
        let oath = format!("pam_oath.so usersfile={folder}/users window=10");
        fs::write(disk.0.join("oath"), format!("auth required {oath}\n")).unwrap();
        Peers { disk, _rootfs: rootfs }
    }

    fn login(&self, service: &str, user: &str, code: &str) -> Host {
        let host = Host::new(&self.disk.0, service).user(user).answer(code).password(code);
        host.steps(&["auth"]).under(&["chroot", Self::ROOT])
    }

    /// They have no clock that a test could set.
    fn code() -> String {
        run("oathtool", &["--totp", "--base32", Self::KEY]).trim().to_owned()
    }

    fn one_code_at_google_authenticator(&self) -> Vec<Report> {
        // As google-authenticator(1) makes it. It knows of no used code, so the present one is good once more.
        self.private("key", &format!("{}\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n", Self::KEY));
        let code = Self::code();
        at_once((0..MANY).map(|_| self.login("google", "root", &code)))
    }

    fn many_users_at_oath(&self) -> Vec<Report> {
        let line = |n| format!("HOTP/T30 crowd-{n} - {}\n", Self::KEY_IN_HEX);
        self.private("users", &(0..MANY).map(line).collect::<String>());
        let code = Self::code();
        at_once((0..MANY).map(|n| self.login("oath", &format!("crowd-{n}"), &code)))
    }

    fn private(&self, name: &str, text: &str) {
        let path = self.disk.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
}
