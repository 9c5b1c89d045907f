//! What other modules have had to learn, and no other file here asks: the helper as it is born and lives, a name service
//! that dies or spells names its own way, every place in a stack, threads, and what is opened on the way.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mfa_wire::{Channel, FromHelper, Login, Outcome, Request, SPAWN_TIMEOUT, Secret, ToHelper, greet};

use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, MAXTRIES, PERM_DENIED, SUCCESS};
use pam_tests::{Bound, Directory, Gate, Helper, Log, Stage, System, add_user, artifact, run};

const TRACE: &str = "/tmp/lessons-trace";

const DOOR: &str = "{first}\nauth required {module} stack=complete\n\
                    account required pam_permit.so\naccount required {module}";

// ---- Privilege: docs/privsep.md, "What the helper does first"

/// A process, as the kernel describes it.
struct Process(PathBuf);

impl Process {
    /// The one that runs this program.
    fn running(program: &Path) -> Process {
        let runs_it = |path: &PathBuf| fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program);
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = all.filter(runs_it).collect();
        assert_eq!(found.len(), 1, "{} runs: {found:?}", program.display());
        Process(found.remove(0))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// A field of `status`, its words divided by one space.
    fn status(&self, name: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name}: {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Soft and hard limit.
    fn limit(&self, name: &str) -> String {
        let limits = self.read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A field of `stat`, numbered as in proc(5).
    fn stat(&self, number: usize) -> String {
        let stat = self.read("stat");
        let after_the_name = stat.rsplit_once(')').unwrap().1;
        after_the_name.split_whitespace().nth(number - 3).unwrap().to_owned()
    }

    fn descriptors(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir(self.0.join("fd")).unwrap().map(|entry| entry.unwrap().path());
        let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let mut all: Vec<_> =
            entries.map(|path| (number(&path), fs::read_link(&path).unwrap().display().to_string())).collect();
        all.sort();
        all
    }
}

/// CVE-2024-47191 and what its fix forgot: after a change of identity, look at all of it. The host is what su or sudo
/// could be in front of a hostile user, and worse.
#[test]
fn a_live_helper_is_as_documented_whatever_started_it() {
    let mut bound = Bound::fresh("reborn");
    bound.advance(1);
    bound.system.install(&Helper::real());
    let gate = Gate::closed();
    // The host works on files as nobody.
    fs::set_permissions(gate.path().with_extension("arrivals"), PermissionsExt::from_mode(0o666)).unwrap();
    let hostile = "ulimit -S -f 8; ulimit -S -t 300; ulimit -S -v 4000000; ulimit -S -d 2000000; ulimit -S -s 1024; \
                   ulimit -c unlimited; ulimit -n 512; umask 000; cd /tmp; \
                   exec nice -n 10 chrt --batch 0 taskset --cpu-list 0 ionice --class 3 choom -n 500 -- \
                   setpriv --ruid 65534 --euid 0 --rgid 65534 --egid 65534 --groups 24,27,65534 \"$@\"";
    let mut host = bound.system.host("door").user("reborn").answer("000000").gate(&gate).steps(&["auth"]);
    for mode in ["odd-fsuid", "blocked-signals", "sigchld-ignored", "careless"] {
        host = host.mode(mode);
    }
    host = host.env("LD_LIBRARY_PATH", "/tmp").env("MALLOC_CHECK_", "3").env("TZ", "/tmp/zone");
    let host = host.under(&["/bin/sh", "-c", hostile, "sh"]).start();
    gate.await_hosts(1);
    let helper = Process::running(Path::new("/usr/libexec/mfa-helper"));
    let before = Process(format!("/proc/{}", host.pid()).into());
    // It is hostile indeed, or all that follows shows nothing.
    assert_eq!(before.status("Uid"), "65534 0 0 65534");
    assert_eq!(before.status("Gid"), "65534 65534 65534 65534");
    assert_eq!((before.status("Groups"), before.status("Umask")), ("24 27 65534".into(), "0000".into()));
    assert_eq!((before.status("Cpus_allowed_list"), before.stat(41)), ("0".into(), "3".into()));
    // nice(1) adds to what this test is run with.
    assert_ne!(before.stat(19), "0", "it is nice");
    assert_eq!(before.read("oom_score_adj").trim(), "500");

    assert_as_documented(&helper);
    assert_eq!(helper.read("environ"), "", "nor is it given any of the environment");
    gate.open();
    assert_eq!(host.report().code("auth"), AUTH_ERR);
}

/// The same of one that nobody prepares, as the module does: what is left is what it puts off itself.
#[test]
fn a_helper_that_is_started_carelessly_is_as_documented() {
    let _system = System::fresh();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(artifact("mfa-helper"));
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/tmp");
    command.env("LD_LIBRARY_PATH", "/tmp").env("PATH", "/tmp");
    // SAFETY: system calls only, on plain data.
    unsafe {
        command.pre_exec(|| {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            [libc::SIGCHLD, libc::SIGHUP, libc::SIGRTMAX()].iter().for_each(|n| _ = libc::signal(*n, libc::SIG_IGN));
            // Not CLOEXEC, both of them.
            assert!(libc::dup2(libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY), 99) == 99);
            libc::umask(0);
            libc::setgroups(2, [24, 27].as_ptr());
            // A second, which would be added to each time-out; and what uname says.
            libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_000_000, 0, 0, 0);
            libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
            libc::personality(libc::STICKY_TIMEOUTS as libc::c_ulong);
            libc::setresgid(65534, 65534, 65534);
            libc::setresuid(65534, 0, 65534);
            Ok(())
        });
    }
    let mut helper = command.spawn().unwrap();
    let mut channel = Channel::new(ours);
    greet(&mut channel, SPAWN_TIMEOUT).unwrap();
    assert_as_documented(&Process(format!("/proc/{}", helper.id()).into()));
    drop(channel);
    helper.wait().unwrap();
}

fn assert_as_documented(helper: &Process) {
    let status = |name: &str| helper.status(name);
    assert_eq!(status("Uid"), "0 0 0 0", "real, effective, saved, file system");
    assert_eq!(status("Gid"), "0 0 0 0");
    assert_eq!(status("Groups"), "0");
    assert_eq!(status("Umask"), "0077");
    assert_eq!(status("Threads"), "1");
    assert_eq!(status("TracerPid"), "0");
    for (signals, set) in [("SigBlk", 0), ("SigPnd", 0), ("ShdPnd", 0), ("SigCgt", 0)] {
        assert_eq!(u64::from_str_radix(&status(signals), 16).unwrap(), set, "{signals}");
    }
    let bits = |signals: [i32; 2]| signals.iter().fold(0u64, |bits, signal| bits | 1 << (signal - 1));
    // 32 and 33 are libc's own, and nobody's to set.
    let ignored = u64::from_str_radix(&status("SigIgn"), 16).unwrap() & !bits([32, 33]);
    assert_eq!(ignored, bits([libc::SIGPIPE, libc::SIGXFSZ]), "{ignored:x}");
    let own = Process("/proc/self".into());
    assert_eq!(status("Cpus_allowed_list"), own.status("Cpus_allowed_list"));
    assert_eq!((helper.stat(19), helper.stat(41)), ("0".into(), "0".into()), "nice, and the usual scheduler");
    let pid: libc::pid_t = helper.0.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: plain numbers. 1: IOPRIO_WHO_PROCESS.
    assert_eq!(unsafe { libc::syscall(libc::SYS_ioprio_get, 1, pid) }, 0, "the usual I/O priority");
    assert_eq!(helper.read("oom_score_adj").trim(), "0");
    assert_eq!((helper.stat(6), helper.stat(7)), (pid.to_string(), "0".into()), "its own session, no terminal");

    for name in ["Max address space", "Max cpu time", "Max data size", "Max file size"] {
        assert_eq!(helper.limit(name), "unlimited unlimited", "{name}");
    }
    assert_eq!(helper.limit("Max stack size"), "8388608 8388608");
    assert_eq!((helper.read("timerslack_ns").trim(), status("THP_enabled").as_str()), ("50000", "1"));
    assert_eq!(helper.read("personality").trim(), "00000000");
    assert_eq!(helper.limit("Max open files"), "256 256");
    assert_eq!(helper.limit("Max core file size"), "0 0");
    if helper.limit("Max locked memory") == "unlimited unlimited" {
        assert_ne!(status("VmLck"), "0 kB", "memory is locked where it may be");
    }
    assert_eq!(fs::read_link(helper.0.join("cwd")).unwrap(), Path::new("/"));
    let descriptors = helper.descriptors();
    let conversation = descriptors[0].1.clone();
    assert!(conversation.starts_with("socket:"), "{descriptors:?}");
    assert_eq!(&descriptors[1..3], [(1, "/dev/null".into()), (2, "/dev/null".into())]);
    let its_own = |target: &str| target == conversation || target.starts_with("/var/lib/mfa/");
    assert!(descriptors[3..].iter().all(|(_, target)| its_own(target)), "nothing of the host's: {descriptors:?}");
}

/// Whoever calls su sets limits before, hard ones too, and in some containers root may not raise them. A wrong code that is
/// not counted is a guess more; so there is no question where no answer could be kept. The pages and descriptors of a few
/// limits are what the loader needs: below, there is no helper at all, which is as good.
#[test]
fn whatever_limit_is_inherited_no_wrong_code_goes_uncounted() {
    let bound = Bound::fresh("limited");
    let saved = bound.saved();
    let values =
        [0, 1, 3, 5, 7, 9, 12, 64, 512, 4096, 5120, 8191, 65_536, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 160 << 20];
    let (mut asked, mut lifted) = (0, 0);
    // As linux/resource.h numbers them: CPU, FSIZE, DATA, STACK, CORE, RSS, NPROC, NOFILE, MEMLOCK, AS, LOCKS, SIGPENDING,
    // MSGQUEUE, NICE, RTPRIO, RTTIME.
    for (limit, value, hard) in (0..16)
        .flat_map(|limit| values.map(|value| (limit, value)))
        .flat_map(|(limit, value)| [(limit, value, false), (limit, value, true)])
    {
        bound.put_back(&saved);
        let before = fs::read(bound.file("state")).unwrap();
        let verdict = answered_under(limit, value, hard, "limited");
        let counted = fs::read(bound.file("state")).unwrap() != before;
        let what = format!("limit {limit} at {value}{}: {verdict:?}", if hard { ", hard" } else { "" });
        match verdict {
            None => assert!(!counted, "{what}"),
            Some(outcome) => assert!(outcome == Some(Outcome::Refused) && counted, "{what}: counted: {counted}"),
        }
        asked += u32::from(verdict.is_some());
        lifted += u32::from(verdict.is_some() && limit == 1 && value < 8192);
    }
    assert!(asked > 200 && lifted >= 12, "{asked} were asked, {lifted} of them in spite of a limit on files");
}

/// What becomes of a wrong code at a helper that is started under this limit: `None` where none is asked for, or else the
/// outcome, if there is one.
fn answered_under(limit: u32, value: u64, hard: bool, user: &str) -> Option<Option<Outcome>> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(artifact("mfa-helper"));
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null()).env_clear();
    // SAFETY: system calls only, on plain data.
    unsafe {
        command.pre_exec(move || {
            let mut limits = std::mem::zeroed::<libc::rlimit>();
            libc::getrlimit(limit, &raw mut limits);
            limits.rlim_cur = value.min(limits.rlim_max);
            limits.rlim_max = if hard { limits.rlim_cur } else { limits.rlim_max };
            libc::setrlimit(limit, &raw const limits);
            Ok(())
        });
    }
    let mut helper = command.spawn().ok()?;
    drop(command);
    let verdict = wrong_code(Channel::new(ours), user);
    let _ = helper.kill();
    helper.wait().unwrap();
    verdict
}

fn wrong_code(mut channel: Channel, user: &str) -> Option<Option<Outcome>> {
    greet(&mut channel, SPAWN_TIMEOUT).ok()?;
    let login = Login { stack_complete: true, ..Login::at(user, "door") };
    channel.send(&ToHelper::Request(Request::Verify(login)).encode().unwrap(), SPAWN_TIMEOUT).ok()?;
    let FromHelper::Ask { .. } = FromHelper::decode(&channel.receive(SPAWN_TIMEOUT).ok()?).unwrap() else {
        return None;
    };
    let answer = ToHelper::Answer(Secret::copy_of(b"000000")).encode().unwrap();
    let sent = channel.send(&answer, SPAWN_TIMEOUT);
    let Ok(verdict) = sent.and_then(|()| channel.receive(SPAWN_TIMEOUT)) else { return Some(None) };
    match FromHelper::decode(&verdict).unwrap() {
        FromHelper::Verdict(verdict) => Some(Some(verdict.outcome)),
        _ => Some(None),
    }
}

/// CVE-2025-54882: what is kept is nobody else's to read, whatever mask the caller has.
#[test]
fn what_is_written_under_an_open_mask_is_roots_alone() {
    add_user("masked");
    let system = System::fresh();
    system.service("door", DOOR);
    let helper = artifact("mfa-enroll").display().to_string();
    let script = format!(
        "umask 000; {helper} totp --user masked --json >/dev/null && {helper} require --user masked && \
         {helper} invite --user root"
    );
    run("sh", &["-c", &script]);
    let open = ["/bin/sh", "-c", "umask 000; exec \"$@\"", "sh"];
    let _ = system.host("door").user("masked").answer("000000").under(&open).steps(&["auth"]).run();
    let mut seen = Vec::new();
    walk(system.store(), &mut |path, file| {
        // The package's own, which hold no secret.
        let expected = if file.is_dir() { 0o700 } else { 0o600 };
        assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (expected, 0, 0), "{}", path.display());
        seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    });
    for name in ["masked", "pending", "state", "policy", "%2Fetc%2Fmfa%2Fmfa%2Etoml"] {
        assert!(seen.iter().any(|path| path == name), "{name} was made: {seen:?}");
    }
    walk(Path::new("/etc/mfa"), &mut |path, file| {
        assert_eq!((file.mode() & 0o022, file.uid()), (0, 0), "{}", path.display());
    });
    assert!(Path::new("/etc/mfa/mfa.d/50-require-user-masked.toml").exists());
}

/// Calls `look` for everything below `folder`.
fn walk(folder: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = fs::symlink_metadata(&path).unwrap();
        look(&path, &file);
        if file.is_dir() {
            walk(&path, look);
        }
    }
}

// ---- What is opened

/// Whatever root opens below a folder of the user's, the user can replace by a link (CVE-2019-12209, CVE-2024-47191).
/// Host, module, helper and mfa-enroll, with every variable that could lead there, in the user's folder.
#[test]
fn nothing_below_a_users_folder_is_touched() {
    let mut bound = Bound::fresh("homely");
    bound.advance(1);
    let home = "/home/homely";
    let trace = |name: &str| format!("/tmp/lessons-trace-{name}");
    // -y names the folder that a relative path starts from.
    let under = |trace: &str| {
        let strace = format!("cd {home}; exec strace -f -y -s 4096 -e trace=%file -o {trace} \"$@\"");
        ["/bin/sh".to_owned(), "-c".to_owned(), strace, "sh".to_owned()]
    };
    let variables = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "TMPDIR", "PWD"];

    let login = trace("login");
    let mut host = bound.system.host("door").user("homely").answer(&bound.code(0)).steps(&["auth", "account"]);
    for name in variables {
        host = host.env(name, home);
    }
    let words = under(&login);
    let report = host.under(&words.each_ref().map(String::as_str)).run();
    assert_eq!(report.code("auth"), SUCCESS);
    assert_touched_nothing_below(home, &login, "users/homely/state");

    let yes = trace("yes");
    fs::write(&yes, "ok\n").unwrap();
    for verb in [
        &["status", "--user", "homely", "--json"][..],
        &["totp", "--user", "homely", "--json", "--label", "x"],
        &["recovery-codes", "--user", "homely"],
        &["policy", "check"],
        &["policy", "explain", "--user", "homely", "--service", "door"],
        &["disable", "--user", "homely"],
        &["require", "--user", "homely"],
    ] {
        let file = trace(verb[0]);
        let mut command = Command::new("/bin/sh");
        command.args(&under(&file)[1..]).arg(artifact("mfa-enroll")).args(verb);
        let output = command.envs(variables.map(|name| (name, home))).stdin(fs::File::open(&yes).unwrap()).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // One is bound already.
        assert_eq!(output.status.code(), Some(if verb[0] == "totp" { 4 } else { 0 }), "{verb:?}: {said}");
        assert_touched_nothing_below(home, &file, "mfa.toml");
    }
}

/// By a trace of strace -y; `witness` is part of a path that must be in it.
fn assert_touched_nothing_below(home: &str, trace: &str, witness: &str) {
    let text = fs::read_to_string(trace).unwrap();
    let mut calls = 0;
    let mut witnessed = false;
    for line in text.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        calls += 1;
        // A shell that starts the helper, for its clock. It asks where it is, and opens nothing.
        if call.ends_with("getcwd") {
            continue;
        }
        // "12 openat(AT_FDCWD</home/x>, "name", ...) = 3</path>"
        let Some((before, path)) = rest.split_once('"') else { continue };
        let path = path.split('"').next().unwrap();
        let from = before.split_once('<').and_then(|(_, folder)| Some(folder.split_once('>')?.0));
        let touched = match (path.starts_with('/'), from) {
            (true, _) => path.to_owned(),
            (false, Some(folder)) => format!("{folder}/{path}"),
            (false, None) => panic!("{call} of a path without a folder: {line}"),
        };
        witnessed |= touched.contains(witness);
        assert!(!touched.starts_with(home), "{line}");
    }
    assert!(calls > 50 && witnessed, "a trace of all of it: {witness} is not in\n{text}");
    let _ = fs::remove_file(trace);
}

// ---- The name service

/// A system of one bound user, dirlocal, whom only the directory puts into dirgroup; dirother, whom it does not; and
/// the directory.
fn with_a_directory() -> (Bound, Directory) {
    add_user("dirother");
    let mut bound = Bound::fresh("dirlocal");
    bound.advance(1);
    bound.system.service("door", DOOR);
    (bound, Directory::behind_the_files())
}

/// duo c06ab97, CVE-2025-59044: a group that cannot be resolved was dropped, and with it the requirement.
#[test]
fn a_directory_that_dies_exempts_nobody() {
    let (bound, directory) = with_a_directory();
    let auth = |user: &str, answer: &str| {
        let host = bound.system.host("door").user(user).answer(answer).steps(&["auth"]);
        host.under(&["timeout", "--signal=KILL", "60"]).run().code("auth")
    };
    // Whoever is in the group is let off, all others are required; and the other way round.
    let off =
        "[[rule]]\ngroups = [\"dirgroup\"]\nrequire = \"off\"\n[[rule]]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n";
    let on = "[[rule]]\ngroups = [\"dirgroup\"]\nrequire = \"mfa\"\nenroll = \"by-admin\"\n";
    bound.system.config(off);
    assert_eq!((auth("dirlocal", "000000"), auth("dirother", "000000")), (SUCCESS, AUTH_ERR), "it is up");
    bound.system.config(on);
    assert_eq!((auth("dirlocal", "000000"), auth("dirother", "000000")), (AUTH_ERR, SUCCESS), "it is up");
    let dead: [(&str, &dyn Fn()); 6] = [
        ("refused", &|| directory.is("refused")),
        ("io", &|| directory.is("io")),
        ("again", &|| directory.is("again")),
        ("gone", &|| directory.is("gone")),
        ("unknown", &|| directory.is("unknown")),
        ("not installed", &|| directory.is_not_installed()),
    ];
    let by_key = |user: &str| {
        let host = bound.system.host("door").user(user).word("item", "3:ssh").steps(&["account"]);
        host.run().code("account")
    };
    assert_eq!(
        (by_key("dirlocal"), by_key("dirother"), by_key("DIROTHER")),
        (PERM_DENIED, SUCCESS, SUCCESS),
        "it is up"
    );
    let saved = bound.saved();
    for (how, die) in dead {
        die();
        // Whom only the directory knows is nobody, and nobody gets in.
        for code in [auth("DIRLOCAL", &bound.code(0)), by_key("DIRLOCAL"), by_key("DIROTHER")] {
            assert!([AUTH_ERR, AUTHINFO_UNAVAIL].contains(&code), "{how}: {code}");
        }
        assert_eq!((by_key("dirlocal"), by_key("dirother")), (PERM_DENIED, PERM_DENIED), "{how}");
        for policy in [off, on] {
            bound.put_back(&saved);
            bound.system.config(policy);
            assert_eq!(auth("dirlocal", "000000"), AUTH_ERR, "{how} under {policy}");
            assert_eq!(auth("dirother", "000000"), AUTH_ERR, "{how} under {policy}");
        }
    }
    assert_eq!(auth("dirlocal", &bound.code(0)), SUCCESS, "who has a device gets in");
}

/// yubico-pam#233, SSSD#7818: a rule had the name of a directory's user in other letters, and concerned nobody.
#[test]
fn a_rule_may_spell_a_user_as_only_the_directory_does() {
    let (bound, directory) = with_a_directory();
    let auth = || {
        let host = bound.system.host("door").user("dirother").answer("000000").steps(&["auth"]);
        host.run().code("auth")
    };
    let rule = |users: &str, require: &str| format!("[[rule]]\nusers = [\"{users}\"]\nrequire = \"{require}\"\n");
    let by_admin = "enroll = \"by-admin\"\n";
    bound.system.config(&(rule("DIROTHER", "mfa") + by_admin));
    assert_eq!(auth(), AUTH_ERR, "the directory knows who that is");
    let explained = bound.system.enroll(&["policy", "explain", "--user", "dirother", "--service", "door"], "");
    assert!(String::from_utf8_lossy(&explained.stdout).contains("  users     true\n"), "{explained:?}");
    bound.system.config(&(rule("DIRLOCAL", "mfa") + by_admin));
    assert_eq!(auth(), SUCCESS, "somebody else");
    // Who that is cannot be told: the strictest holds, whatever the rule says.
    directory.is("refused");
    bound.system.config(&(rule("DIROTHER", "mfa") + by_admin));
    assert_eq!(auth(), AUTH_ERR);
    bound.system.config(&(rule("DIROTHER", "off") + &rule("dirother", "mfa") + by_admin));
    assert_eq!(auth(), AUTH_ERR);
    directory.is("up");
    assert_eq!(auth(), AUTH_ERR, "the name may lead to somebody else tomorrow");
    bound.system.config(&(rule("dirother", "off") + &rule("DIROTHER", "mfa") + by_admin));
    assert_eq!(auth(), SUCCESS, "exempt as it is written");
}

/// Whoever may be a stranger cannot tell by it which names the host's own files have.
#[test]
fn a_directory_that_dies_tells_no_names_apart() {
    let (bound, directory) = with_a_directory();
    bound.system.service("blind", "auth required {module}\naccount required {module}");
    for how in ["refused", "io", "gone"] {
        directory.is(how);
        let asked = |user: &str| {
            let report = bound.system.host("blind").user(user).answer("000000").steps(&["auth"]).run();
            (report.code("auth"), report.said().iter().map(|said| said.text.clone()).collect::<Vec<_>>())
        };
        let told = asked("dirlocal");
        assert_eq!(told.0, AUTH_ERR, "{how}");
        assert_eq!(asked("DIROTHER"), told, "{how}");
    }
}

/// Nor by a store that is not there: who has a record, or could have one, is asked as nobody is.
#[test]
fn a_store_that_is_gone_tells_no_names_apart() {
    let bound = Bound::fresh("stored");
    bound.system.service("blind", "auth required {module}\naccount required {module}");
    fs::remove_file(bound.system.store().join("FORMAT")).unwrap();
    let asked = |user: &str| {
        let report = bound.system.host("blind").user(user).answer("000000").steps(&["auth"]).run();
        (report.code("auth"), report.said().iter().map(|said| said.text.clone()).collect::<Vec<_>>())
    };
    let told = asked("nobodysname");
    assert_eq!(told.0, AUTH_ERR);
    assert_eq!(asked("stored"), told);
    bound.system.service("door", DOOR);
    let report = bound.system.host("door").user("stored").answer("000000").steps(&["auth"]).run();
    assert_eq!(report.code("auth"), AUTHINFO_UNAVAIL, "whose password was right hears it");
}

/// One that hangs decides nothing meanwhile, and nothing in anybody's favour when it fails at last.
#[test]
fn a_directory_that_hangs_and_then_fails_exempts_nobody() {
    let (bound, directory) = with_a_directory();
    bound.system.config("[[rule]]\ngroups = [\"dirgroup\"]\nrequire = \"off\"\n[[rule]]\nrequire = \"mfa\"\n");
    for (word, expected) in [("up", SUCCESS), ("refused", AUTH_ERR), ("again", AUTH_ERR), ("unknown", AUTH_ERR)] {
        directory.hangs();
        let host = bound.system.host("door").user("dirlocal").answer("000000").steps(&["auth"]);
        let host = host.under(&["timeout", "--signal=KILL", "60"]).start();
        directory.was_asked_and_is(word);
        assert_eq!(host.report().code("auth"), expected, "{word}");
    }
}

/// duo#394: the record belongs to the name that the name service gives, however the name was typed.
#[test]
fn another_spelling_of_a_name_is_the_same_user() {
    let (mut bound, _directory) = with_a_directory();
    let login = |bound: &Bound, user: &str, answer: &str| {
        let report = bound.system.host("door").user(user).answer(answer).steps(&["auth", "account"]).run();
        (report.code("auth"), report.code("account"))
    };
    let log = Log::listen();
    assert_eq!(login(&bound, "DIRLOCAL", &bound.code(0)), (SUCCESS, SUCCESS));
    let lines = log.lines_with("event=verify ");
    assert!(lines.iter().any(|line| line.contains("event=verify user=dirlocal ")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("DIRLOCAL")), "{lines:?}");
    assert_eq!(login(&bound, "dirlocal", &bound.code(0)).0, AUTH_ERR, "one code, one login");
    assert_eq!(login(&bound, "DIRLOCAL", &bound.code(0)).0, AUTH_ERR);
    bound.system.config("[[rule]]\nusers = [\"dirlocal\"]\nrequire = \"off\"\n");
    assert_eq!(login(&bound, "DIRLOCAL", "000000").0, SUCCESS, "the rules go by it too");
    bound.system.config("[[rule]]\nusers = [\"DIRLOCAL\"]\nrequire = \"off\"\n");
    assert_eq!(login(&bound, "dirlocal", "000000").0, AUTH_ERR, "who is exempt by another spelling is not known");
    let checked = bound.system.enroll(&["policy", "check"], "");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("DIRLOCAL is dirlocal, and does not match: write dirlocal"), "{checked:?}");
    bound.system.config("[[rule]]\nusers = [\"DIRLOCAL\"]\nrequire = \"mfa\"\n[[rule]]\nrequire = \"off\"\n");
    assert_eq!(login(&bound, "dirlocal", "000000").0, AUTH_ERR, "but a rule that requires may spell it otherwise");
    bound.system.config("[[rule]]\nrequire = \"off\"\n");
    assert_eq!(login(&bound, "dirlocal", "000000").0, SUCCESS, "the rule behind it");
    bound.system.config("# no rule\n");
    // After eight hours these two wrong codes are forgotten.
    bound.advance(2 * 4 * 120);
    let guesses: Vec<i32> =
        ["dirlocal", "DIRLOCAL"].iter().cycle().take(6).map(|user| login(&bound, user, "000000").0).collect();
    assert_eq!(guesses, [AUTH_ERR, AUTH_ERR, AUTH_ERR, AUTH_ERR, AUTH_ERR, MAXTRIES], "no guesses by another name");
    let names: Vec<_> = fs::read_dir(bound.file("..")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["dirlocal"]);
    assert!(bound.system.enroll(&["disable", "--user", "DIRLOCAL"], "").status.success());
    assert!(!bound.file("credentials").exists());
}

// ---- Stacks

/// CVE-2011-4120: in one position nothing was taken for something. With the real helper and the real first factor.
#[test]
fn no_answer_is_no_success_in_any_position() {
    let mut bound = Bound::fresh("placed");
    bound.advance(1);
    let unix = "auth required pam_unix.so nodelay";
    let stacks = [
        "auth required {mfa}".to_owned(),
        format!("{unix}\nauth required {{mfa}}"),
        format!("auth required {{mfa}}\n{unix}"),
        // What we were answered must not be the login secret of who comes after us.
        format!("auth required {{mfa}}\n{unix} try_first_pass nullok"),
        format!("auth requisite {{mfa}}\n{unix}"),
        format!("{unix}\nauth requisite {{mfa}}\nauth required pam_permit.so"),
        "auth sufficient {mfa}\nauth required pam_deny.so".to_owned(),
        format!(
            "{unix}\nauth [success=1 default=ignore] {{mfa}}\nauth requisite pam_deny.so\nauth required pam_permit.so"
        ),
        "auth [success=1 default=ignore] pam_unix.so nodelay\nauth requisite pam_deny.so\nauth required {mfa}"
            .to_owned(),
        format!("{unix}\nauth include placed-inner"),
        format!("{unix}\nauth substack placed-inner\nauth required pam_permit.so"),
        format!("auth [success=ok new_authtok_reqd=ok ignore=ignore default=bad] {{mfa}}\n{unix}"),
        format!("{unix}\nauth [success=done default=die] {{mfa}}\nauth required pam_permit.so"),
    ];
    bound.system.service("placed-inner", "auth required {module} stack=complete");
    for stack in &stacks {
        bound.system.service("placed", &stack.replace("{mfa}", "{module} stack=complete"));
        for conv in ["empty", "null-answer", "null-array", "null-function", "error", "unknown-code"] {
            let host = bound.system.host("placed").user("placed").password(pam_tests::PASSWORD).conv(conv);
            let code = host.steps(&["auth"]).run().code("auth");
            assert_ne!(code, SUCCESS, "{conv} in\n{stack}");
        }
        let host = bound.system.host("placed").user("placed").password(pam_tests::PASSWORD).answer(&bound.code(0));
        assert_eq!(host.steps(&["auth"]).run().code("auth"), SUCCESS, "the right code in\n{stack}");
        bound.advance(1);
    }
}

// ---- Threads

/// CVE-2026-48066: a pointer that all transactions of a process shared. Each thread has a handle, as in a display manager
/// or a mail server, and helgrind watches what they share.
#[test]
fn handles_in_threads_share_nothing() {
    let stage = Stage::new(
        "auth required pam_permit.so\nauth required {mfa}\naccount required pam_permit.so\naccount required {mfa}",
    );
    stage.script("hello\nrequest\ntell text\nask Code: \nverdict Accepted welcome");
    let report = stage.host().threads(32).loops(20).answer("492039").steps(&["auth", "account"]).run();
    assert_eq!((report.code("auth"), report.code("account")), (SUCCESS, SUCCESS));
    report.assert_undisturbed();
    assert_eq!(report.fact("sigchld"), "0");

    let log = stage.path("races");
    let file = format!("--log-file={}", log.display());
    let helgrind = ["valgrind", "--tool=helgrind", "--history-level=full", &file];
    let report = stage.host().threads(8).loops(3).under(&helgrind).answer("492039").steps(&["auth", "account"]).run();
    assert_eq!((report.code("auth"), report.code("account")), (SUCCESS, SUCCESS));
    assert_eq!(report.all("round ").count(), 0, "{report:#?}");
    let races = fs::read_to_string(&log).unwrap();
    assert!(races.contains("ERROR SUMMARY"), "{races}");
    // libc's, libpam's and the application's own are theirs; all are named by paths, in which any folder may be called
    // pam_mfa. `7pam_mfa` is our crate in a name that this valgrind cannot demangle.
    let names_ours = |race: &&str| ["pam_mfa.so", "pam_mfa::", "7pam_mfa"].iter().any(|name| race.contains(name));
    let ours: Vec<&str> = races.split("----------------").filter(names_ours).collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}

// ---- Who does not exist

/// What the helper does once it has the answer: the names of its system calls, in order; and what the person is shown.
fn work(bound: &Bound, user: &str) -> (Vec<String>, Vec<String>) {
    let _ = fs::remove_file(TRACE);
    run("mkfifo", &[TRACE]);
    // To its end, which comes after that of the login.
    let trace = std::thread::spawn(|| fs::read_to_string(TRACE).unwrap());
    bound.install_traced(&format!("-o {TRACE}"));
    let report = bound.system.host("door").user(user).answer("000000").steps(&["auth"]).run();
    assert_eq!(report.code("auth"), AUTH_ERR, "{user}");
    let trace = trace.join().unwrap();
    let names = trace.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned()));
    let calls: Vec<String> = names.collect();
    let answered = calls.iter().rposition(|name| name == "recvfrom").unwrap();
    // Who has no record has fewer descriptors to close; a debug build looks at each with fcntl.
    let told_apart_by = |name: &&String| !["close", "fcntl"].contains(&name.as_str());
    let after = calls[answered + 1..].iter().filter(told_apart_by).cloned().collect();
    (after, report.said().into_iter().map(|said| said.text).collect())
}

/// CVE-2020-27780. A wrong code of a bound user costs a durable write, which nobody else has: what belongs to it is here
/// by name, so that nothing joins it unnoticed.
#[test]
fn who_does_not_exist_is_asked_and_costs_as_who_has_no_device() {
    let mut bound = Bound::fresh("worked");
    add_user("workless");
    bound.advance(100);
    bound.system.config("[[rule]]\nrequire = \"mfa\"\n");
    bound.system.service("door", "auth required {module}");
    let (unbound, unknown, wrong) = (work(&bound, "workless"), work(&bound, "no-such-user"), work(&bound, "worked"));
    assert_eq!(unbound, unknown);
    assert_eq!(unbound.1, wrong.1, "the same is said");
    let more: BTreeSet<&String> = wrong.0.iter().filter(|name| !unbound.0.contains(name)).collect();
    let durable = ["clock_adjtime", "fdatasync", "flock", "newfstatat", "openat", "pread64", "pwrite64"];
    assert!(more.iter().all(|name| durable.contains(&name.as_str())), "{more:?}");
    // And in the end the same again: the log, the verdict, the end.
    assert!(wrong.0.ends_with(&unbound.0), "{:?}", wrong.0);
}
