//! What an administrator waits for where there are many users: `make bench-lists`. All of them are local and have a group of
//! their own, as useradd(8) makes them.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Instant, UNIX_EPOCH};

use mfa_helper::store::FORMAT;

use crate::sys::ended;
use crate::users::{User, Users};
use crate::{now, numbers};

/// Of these, every second user is in the group that the rule names, and nobody else.
const REQUIRED: &str = "[[rule]]\ngroups = [\"required\"]\nrequire = \"mfa\"\n";

/// A policy's folder, and what it says.
const POLICIES: [(&str, &str); 3] = [
    ("/etc/mfa", "# no rules\n"),
    ("/etc/mfa-required", REQUIRED),
    (
        "/etc/mfa-unbound",
        "[store]\npath = \"/var/lib/mfa-unbound\"\n\n[[rule]]\ngroups = [\"required\"]\nrequire = \"mfa\"\n",
    ),
];

/// What is measured: a title, the policy, and the words behind mfa-enroll.
const COMMANDS: [(&str, usize, &[&str]); 6] = [
    ("list, no rule names a group", 0, &["list"]),
    ("list, a rule names a group", 1, &["list"]),
    ("list --missing, all bound", 1, &["list", "--missing"]),
    ("list --missing, nobody bound", 2, &["list", "--missing"]),
    ("doctor, all bound", 1, &["doctor"]),
    ("doctor, nobody bound", 2, &["doctor"]),
];

/// As it is shipped, but for the module: without the package it is put in here.
const STACKS: &str = "
    for service in sshd login su sudo; do
        sed -i -e '/^@include common-auth/a auth required pam_mfa.so stack=complete' \
            -e '/^@include common-account/a account required pam_mfa.so' /etc/pam.d/$service
    done
    mkdir -p /run/sshd
";

/// `bench lists inside`.
pub fn inside() -> ExitCode {
    let counts = numbers(&std::env::var("USERS").expect("set outside"));
    assert!(Command::new("sh").args(["-euc", STACKS]).status().expect("sh").success(), "the stacks");
    for (folder, text) in POLICIES {
        fs::create_dir_all(format!("{folder}/mfa.d")).expect(folder);
        let file = format!("{folder}/mfa.toml");
        fs::write(&file, text).expect("mfa.toml");
        fs::File::open(&file).and_then(|file| file.set_modified(UNIX_EPOCH)).expect("mfa.toml");
    }
    fs::create_dir_all("/var/lib/mfa-unbound/users").expect("another store");
    fs::write("/var/lib/mfa-unbound/FORMAT", FORMAT).expect("its format");
    let files = ["/etc/passwd", "/etc/shadow", "/etc/group"].map(|file| (file, fs::read_to_string(file).expect(file)));
    let mut users = Users::none(now());
    println!("{:9}{:32}{:>9}{:>9}{:>9}{:>9}{:>9}", "users", "", "first, s", "all, s", "CPU, s", "KiB", "lines");
    for count in counts {
        users.grow(count);
        for ((file, before), more) in files.iter().zip(entries(count)) {
            fs::write(file, [before.as_str(), &more].concat()).expect(file);
        }
        for (title, policy, words) in COMMANDS {
            print!("{count:<9}{title:32}");
            std::io::stdout().flush().expect("standard output");
            // Started from here, with all that was written in its memory, a program would have used as much.
            let measure = ["lists", "measure", POLICIES[policy].0];
            let status = Command::new("/proc/self/exe").args(measure).args(words).status().expect("myself");
            assert!(status.success(), "{title}");
        }
    }
    ExitCode::SUCCESS
}

/// Lines of passwd, shadow and group.
fn entries(count: usize) -> [String; 3] {
    let names: Vec<String> = (0..count).map(|n| User::number(n).name().into_string().expect("ASCII")).collect();
    let each = |line: &dyn Fn(usize, &str) -> String| names.iter().enumerate().map(|(n, name)| line(n, name)).collect();
    // As long as one of yescrypt.
    let hash = format!("$y$j9T${}${}", "s".repeat(22), "h".repeat(43));
    let passwd = each(&|n, name| format!("{name}:x:{0}:{0}:Some Body,,,:/home/{name}:/bin/bash\n", 20_000 + n));
    let shadow = each(&|_, name| format!("{name}:{hash}:20000:0:99999:7:::\n"));
    let mut group: String = each(&|n, name| format!("{name}:x:{}:\n", 20_000 + n));
    let members: Vec<&str> = names.iter().step_by(2).map(String::as_str).collect();
    group.push_str(&format!("required:x:19999:{}\n", members.join(",")));
    [passwd, shadow, group]
}

/// `bench lists measure POLICY WORD...`: prints the seconds to the first byte, to the end and on a CPU, the KiB of the
/// largest process, and the lines.
#[expect(clippy::zombie_processes, reason = "`ended` waits")]
pub fn measure(policy: &str, words: &[&str]) -> ExitCode {
    let begun = Instant::now();
    let mut child = Command::new("/usr/bin/mfa-enroll")
        .arg(format!("--config={policy}/mfa.toml"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("mfa-enroll");
    let mut output = child.stdout.take().expect("a pipe");
    let (mut first, mut lines, mut buffer) = (None, 0, vec![0; 1 << 16]);
    loop {
        let read = output.read(&mut buffer).expect("a pipe");
        first.get_or_insert_with(|| begun.elapsed().as_secs_f64());
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
    }
    let (cpu, memory) = ended(child.id());
    let (first, all) = (first.unwrap_or_default(), begun.elapsed().as_secs_f64());
    println!("{first:9.2}{all:9.2}{cpu:9.2}{memory:9}{lines:9}");
    ExitCode::SUCCESS
}
