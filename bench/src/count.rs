//! What is the same each time: system calls, bytes, syncs and memory, by strace.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::measure::{Listener, processes_at_rest, wait_for_calm, words};
use crate::subject::{SUBJECTS, Subject};
use crate::sys::transaction;
use crate::users::Users;
use crate::{People, now};

/// What one transaction of a subject does, in all its processes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// System calls.
    pub calls: usize,
    /// Bytes written to files on a disk.
    pub bytes: usize,
    /// fsync and fdatasync.
    pub syncs: usize,
    /// KiB mapped into the login program when `pam_authenticate` returns, of which resident.
    pub mapped: usize,
    pub resident: usize,
}

/// The counts of every subject: from traces of one transaction and of several, so that what comes once, such as the
/// start of the program, drops out.
pub fn all(users: &Users, who: &People) -> Vec<Counts> {
    let several = who.by_socket.len();
    let calm = processes_at_rest();
    let count = |subject: &Subject| {
        let (one, memory) = traced(subject, 1, users, who, calm);
        let (all, _) = traced(subject, several, users, who, calm);
        let each = |one: usize, all: usize| (all.saturating_sub(one) as f64 / (several - 1) as f64).round() as usize;
        Counts {
            calls: each(one.calls, all.calls),
            bytes: each(one.bytes, all.bytes),
            syncs: each(one.syncs, all.syncs),
            mapped: memory[0],
            resident: memory[1],
        }
    };
    let mut counts: Vec<Counts> = SUBJECTS.iter().map(count).collect();
    let floor = counts[crate::subject::PERMIT];
    for counts in &mut counts {
        counts.mapped = counts.mapped.saturating_sub(floor.mapped);
        counts.resident = counts.resident.saturating_sub(floor.resident);
    }
    counts
}

/// `n` transactions in a process of their own, and the memory of the first. Ends when there are `calm` processes again.
fn traced(subject: &Subject, n: usize, users: &Users, who: &People, calm: usize) -> (Counts, [usize; 2]) {
    let folder = PathBuf::from("/run/trace");
    fs::create_dir(&folder).expect("a folder for traces");
    users.rewind(&who.by_socket);
    users.rewind(&who.by_spawn);
    let listener = Listener::start(Some(&folder.join("listener")));
    // Only a login shows that it has come up. This one is in both traces, and drops out.
    transaction(c"socket-ignored", c"unbound", c"", || {});
    let listening = processes_at_rest();
    let me = ["/usr/bin/bench", "login", subject.service];
    let output = strace(&folder.join("login"), &me).args(words(subject, n, who, now())).output().expect("strace");
    assert!(output.status.success(), "{}: {}", subject.title, String::from_utf8_lossy(&output.stderr));
    wait_for_calm(listening);
    drop(listener);
    wait_for_calm(calm);
    let mut counts = Counts::default();
    for trace in fs::read_dir(&folder).expect("the traces") {
        count(&fs::read_to_string(trace.expect("a trace").path()).expect("a trace"), &mut counts);
    }
    fs::remove_dir_all(&folder).expect("the traces");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let memory: Vec<usize> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    (counts, [memory[0], memory[1]])
}

/// Runs a program under strace, which is its grandchild (`-D`), so that the program is ours to end.
pub fn strace(trace: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-ff", "-qq", "-y", "-s0", "-o"]).arg(trace).args(program);
    command
}

fn count(trace: &str, counts: &mut Counts) {
    for line in trace.lines() {
        let Some((name, arguments)) = line.split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        counts.calls += 1;
        match name {
            "fsync" | "fdatasync" => counts.syncs += 1,
            "write" | "writev" | "pwrite64" if is_file(arguments) => {
                let result = line.rsplit_once(" = ").and_then(|(_, result)| result.parse::<usize>().ok());
                counts.bytes += result.unwrap_or(0);
            }
            _ => {}
        }
    }
}

/// Whether the first of these arguments, such as `5</var/lib/mfa/users/alice/state>`, is on a disk.
fn is_file(arguments: &str) -> bool {
    let path = arguments.split_once('<').map_or("", |(_, rest)| rest);
    path.starts_with('/') && !["/dev/", "/proc/", "/run/"].iter().any(|memory| path.starts_with(memory))
}

/// `bench login SERVICE USER ANSWER...`: the transactions that are traced. Prints the KiB that the first one maps.
pub fn login(service: &str, words: &[&str]) -> ExitCode {
    let c = |word: &str| CString::new(word).expect("an argument");
    let subject = SUBJECTS.iter().find(|subject| subject.service == service).expect("a subject");
    memory();
    let before = memory();
    let during = Cell::new(before);
    for (n, pair) in words.chunks(2).enumerate() {
        let look = || {
            if n == 0 {
                during.set(memory())
            }
        };
        let code = transaction(&c(service), &c(pair[0]), &c(pair[1]), look);
        assert_eq!(code, subject.expected(), "{} of {}", subject.title, pair[0]);
    }
    println!("{} {}", during.get()[0].saturating_sub(before[0]), during.get()[1].saturating_sub(before[1]));
    ExitCode::SUCCESS
}

/// KiB mapped, of which resident.
pub fn memory() -> [usize; 2] {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let length = |line: &str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(to, 16).ok()? - usize::from_str_radix(from, 16).ok()?)
    };
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("Rss");
    let rss = rss.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    [maps.lines().filter_map(length).sum::<usize>() / 1024, rss]
}
