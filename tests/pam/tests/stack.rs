//! The helper's reader of stacks against the real libpam: random stacks whose modules say what they are told to, read
//! and run by both.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use mfa_helper::stack::{Code, IGNORE, INCOMPLETE, Kind, NEW_AUTHTOK_REQD, SUCCESS, Stack, system_file};
use pam_tests::{Host, require_sandbox, run};

/// A module that notes that it was called, and says what its arguments want: the code of auth, that of account, its
/// number, and the file for the notes. libpam's pam_debug says neither which line it is in nor what is no code.
const SCRIPTED: &str = r#"
#include <stdio.h>
#include <stdlib.h>

static int note(const char *hook, const char **argv, int code)
{
    FILE *notes = fopen(argv[3], "a");
    fprintf(notes, "%s %s\n", hook, argv[2]);
    fclose(notes);
    return atoi(argv[code]);
}

int pam_sm_authenticate(void *pamh, int flags, int argc, const char **argv) { return note("auth", argv, 0); }
int pam_sm_acct_mgmt(void *pamh, int flags, int argc, const char **argv) { return note("account", argv, 1); }
int pam_sm_setcred(void *pamh, int flags, int argc, const char **argv) { return 0; }
"#;

/// What libpam says for a module that is not there.
const MODULE_UNKNOWN: Code = 28;

const FOLDER: &str = "/etc/pam.d";

/// What one stack is made of: one at a time, since `other` belongs to all.
struct Bench {
    _one: MutexGuard<'static, ()>,
    folder: PathBuf,
    other: String,
}

impl Bench {
    fn new() -> Bench {
        static ONE: Mutex<()> = Mutex::new(());
        require_sandbox();
        let one = ONE.lock().unwrap_or_else(|failed| failed.into_inner());
        let folder = PathBuf::from(format!("/tmp/stack-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let source = folder.join("scripted.c");
        fs::write(&source, SCRIPTED).unwrap();
        for name in ["pam_mfa.so", "pam_scripted.so"] {
            let module = folder.join(name);
            run("cc", &["-shared", "-fPIC", "-o", module.to_str().unwrap(), source.to_str().unwrap()]);
        }
        Bench { _one: one, folder, other: fs::read_to_string(Path::new(FOLDER).join("other")).unwrap() }
    }

    /// A module and its arguments.
    fn module(&self, name: &str, auth: Code, account: Code, number: usize) -> String {
        let notes = self.folder.join("notes");
        format!("{} {auth} {account} {number} {}", self.folder.join(name).display(), notes.display())
    }

    /// What libpam makes of a service: for each phase its result, and the numbers of the lines that were called.
    fn libpam(&self, service: &str) -> [(Code, Vec<usize>); 2] {
        let notes = self.folder.join("notes");
        fs::write(&notes, "").unwrap();
        let report = Host::new(Path::new(FOLDER), service).user("root").steps(&["auth", "account"]).run();
        let notes = fs::read_to_string(&notes).unwrap();
        ["auth", "account"].map(|phase| {
            let lines = notes.lines().filter_map(|line| line.strip_prefix(phase)?.strip_prefix(' '));
            (report.code(phase), lines.map(|number| number.parse().unwrap()).collect())
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(FOLDER).join("other"), &self.other);
    }
}

/// What the reader makes of it; `None` when it cannot tell.
fn reader(service: &str) -> [Option<(Code, Vec<usize>)>; 2] {
    [(Kind::Auth, 0), (Kind::Account, 1)].map(|(kind, argument)| {
        let stack = Stack::read(service, kind, &system_file).ok()?;
        let outcome = stack.run(&mut |module| match module.arguments.get(argument) {
            Some(code) => code.parse().unwrap(),
            None => MODULE_UNKNOWN,
        });
        let numbers = outcome.called.iter().filter_map(|module| Some(module.arguments.get(2)?.parse().unwrap()));
        Some((outcome.result, numbers.collect()))
    })
}

/// Fails unless both agree where the reader can tell. Says in how many phases it could.
fn compare(bench: &Bench, service: &str, what: &str) -> usize {
    let real = bench.libpam(service);
    let read = reader(service);
    for (phase, (real, read)) in ["auth", "account"].iter().zip(real.iter().zip(&read)) {
        if let Some(read) = read {
            assert_eq!(read, real, "{phase}: the reader (left) and libpam (right) differ on\n{what}");
        }
    }
    read.iter().flatten().count()
}

#[test]
fn random_stacks_go_as_in_libpam() {
    let bench = Bench::new();
    let (mut told, mut lets_in, mut all) = (0, 0, 0);
    for seed in 1..=1000 {
        let service = format!("stack-{seed}");
        let mut random = Random(seed);
        let mut writer = Writer { bench: &bench, random: &mut random, service: &service, number: 0, files: Vec::new() };
        let main = writer.file(0, seed % 4 == 0);
        writer.files.push((service.clone(), main));
        let other = writer.file(2, false);
        writer.files.push((String::from("other"), other));
        let mut files = writer.files;
        // A service without a file of its own.
        if seed % 20 == 0 {
            files.retain(|(name, _)| *name != service);
        }
        let mut what = format!("seed {seed}\n");
        for (name, text) in &files {
            fs::write(Path::new(FOLDER).join(name), text).unwrap();
            let _ = writeln!(what, "== {name}\n{text}");
        }
        told += compare(&bench, &service, &what);
        all += 2;
        lets_in += reader(&service).iter().flatten().filter(|(code, _)| *code == SUCCESS).count();
        for (name, _) in files.iter().filter(|(name, _)| name != "other") {
            fs::remove_file(Path::new(FOLDER).join(name)).unwrap();
        }
    }
    println!("{told} of {all} told, {lets_in} let in");
    assert!(told > all / 2, "the reader could tell {told} of {all} only");
    assert!(lets_in > told / 10, "{lets_in} of {told} let in");
}

/// What the reader is strict about where it need not be is not asked here; what it takes, libpam takes likewise.
#[test]
fn odd_spellings_are_read_as_in_libpam() {
    let bench = Bench::new();
    let service = "stack-odd";
    let no = bench.module("pam_scripted.so", 7, 7, 2);
    let yes = bench.module("pam_mfa.so", 0, 0, 1);
    fs::write(Path::new(FOLDER).join("stack-empty"), "\n# nothing\n").unwrap();
    fs::write(Path::new(FOLDER).join("stack-no"), format!("auth required {no}\naccount required {no}\n")).unwrap();
    let reset = format!("auth [default=reset] {no}\naccount [default=reset] {no}\n");
    fs::write(Path::new(FOLDER).join("stack-reset"), reset).unwrap();
    fs::write(Path::new(FOLDER).join("other"), format!("auth required {no}\naccount required {no}\n")).unwrap();
    let texts = [
        "KIND required YES",
        "  KIND\t Required YES # a comment",
        "-KIND required YES",
        "KIND required \\\n  YES",
        "KIND required\\ \t\nYES",
        "KIND \\\nrequired \\\nYES\nKIND optional NO",
        "KIND [success=ok new_authtok_reqd=ok ignore=ignore default=bad] YES",
        "KIND [ success = ok  ignore=ignore\\\n default=bad ]YES",
        "KIND [default=bad success=okignore=ignore] YES",
        "KIND success=ok YES",
        "KIND [auth_err=ok success=1 success=ok default=die auth_err=ignore] NO\nKIND required YES",
        "[KIND] [required] YES",
        "KIND required YES [a b\\] c] [] d[e]",
        "KIND required YES \\ # the backslash is a word\nKIND required NO",
        "# a comment \\\nKIND required YES",
        "\\\nKIND required YES",
        "@include stack-empty\nKIND required YES",
        "-@INCLUDE stack-no\nKIND sufficient YES",
        "KIND include stack-no behind\nKIND sufficient YES",
        "KIND substack stack-no\nKIND sufficient YES",
        "KIND substack /etc/pam.d/stack-empty\nKIND [default=1] YES\nKIND substack stack-no\nKIND required YES",
        "KIND [default=2] YES\nKIND include stack-no\nKIND required NO",
        "KIND required YES\nKIND substack stack-reset",
        "KIND required NO\nKIND substack stack-reset\nKIND required YES",
        "KIND required NO\nKIND include stack-reset\nKIND required YES",
        "KIND include stack-empty",
        "KIND substack stack-empty",
        "KIND [default=9] YES",
        "KIND required YES\nsession nonsense\nsession [",
        "session required nothing",
        "",
    ];
    // Only Debian's libpam knows `@include`.
    let debian = Path::new("/etc/debian_version").exists();
    for text in texts.iter().filter(|text| debian || !text.to_lowercase().contains("@include")) {
        let both = ["auth", "account"].map(|kind| text.replace("KIND", kind)).join("\n");
        let text = both.replace("YES", &yes).replace("NO", &no);
        fs::write(Path::new(FOLDER).join(service), &text).unwrap();
        assert_eq!(compare(&bench, service, &text), 2, "the reader could not tell\n{text}");
    }
    // Capitals are the service's own file's.
    fs::write(Path::new(FOLDER).join(service), format!("auth required {yes}\naccount required {yes}")).unwrap();
    assert_eq!(compare(&bench, "Stack-ODD", "the service in capitals"), 2);
    assert_eq!(reader("Stack-ODD")[0], Some((SUCCESS, vec![1])));
}

/// Writes the files of one service.
struct Writer<'a> {
    bench: &'a Bench,
    random: &'a mut Random,
    service: &'a str,
    number: usize,
    files: Vec<(String, String)>,
}

impl Writer<'_> {
    fn file(&mut self, depth: usize, odd: bool) -> String {
        let lines = self.random.below(7);
        (0..lines).map(|_| self.line(depth, odd) + "\n").collect()
    }

    fn line(&mut self, depth: usize, odd: bool) -> String {
        if odd && self.random.below(6) == 0 {
            return self.odd_line();
        }
        let kind = self.random.of(&["auth", "auth", "account", "account", "-auth", "-account", "Account", "session"]);
        if depth < 3 && self.random.below(5) == 0 {
            let name = format!("{}-{}", self.service, self.files.len());
            // The name is taken before the files in it take theirs.
            self.files.push((name.clone(), String::new()));
            let place = self.files.len() - 1;
            self.files[place].1 = self.file(depth + 1, odd);
            let name = if self.random.below(3) == 0 { format!("{FOLDER}/{name}") } else { name };
            return match self.random.below(3) {
                0 => format!("@include {name}"),
                1 => format!("{kind} include {name}"),
                _ => format!("{kind} substack {name}"),
            };
        }
        self.number += 1;
        let module = self.random.of(&["pam_mfa.so", "pam_scripted.so", "pam_scripted.so"]);
        // Only the last phase may be left unfinished.
        let auth = Some(self.code()).filter(|code| *code != INCOMPLETE).unwrap_or(SUCCESS);
        let account = self.code();
        let module = self.bench.module(module, auth, account, self.number);
        let control = self.control();
        let between = self.random.of(&[" ", " ", " ", "\t", "  ", " \\\n ", "\\ \n"]);
        let behind = self.random.of(&["", "", "", " # so", " ", "\n", "\n# so \\"]);
        format!("{kind} {control}{between}{module}{behind}")
    }

    fn code(&mut self) -> Code {
        match self.random.below(20) {
            0..8 => SUCCESS,
            8..10 => IGNORE,
            10..12 => NEW_AUTHTOK_REQD,
            12..15 => 7,
            15..19 => self.random.below(32) as Code,
            _ => self.random.of(&[-1, 32, 99, INCOMPLETE]),
        }
    }

    fn control(&mut self) -> String {
        if self.random.below(2) == 0 {
            let words = ["required", "requisite", "sufficient", "optional", "Required", "OPTIONAL", "[sufficient]"];
            return self.random.of(&words).to_owned();
        }
        let mut control = String::from("[");
        for _ in 0..self.random.below(5) {
            let codes =
                ["success", "success", "new_authtok_reqd", "ignore", "auth_err", "default", "conv_err", "bad_item"];
            let (code, action) = (self.random.of(&codes), self.action());
            let _ = write!(control, "{code}={action} ");
        }
        let action = self.action();
        let _ = write!(control, "default={action}]");
        control
    }

    fn action(&mut self) -> &'static str {
        self.random.of(&["ignore", "ok", "ok", "done", "bad", "die", "reset", "reset", "1", "1", "2", "3"])
    }

    /// Lines that libpam makes something of, or not. None of them may crash it, as an `include` without a name does.
    fn odd_line(&mut self) -> String {
        let kind = self.random.of(&["auth", "account"]);
        let module = self.bench.module("pam_scripted.so", 0, 0, 1000);
        let lines = [
            "KIND required",
            "KIND",
            "KIND nonsense MODULE",
            "KIND [success=ok MODULE",
            "KIND [success=0] MODULE",
            "KIND [success=ok,default=bad] MODULE",
            "KIND [success=okay] MODULE",
            "KIND [SUCCESS=ok] MODULE",
            "KIND [] MODULE",
            "kin required MODULE",
            "KIND include stack-nowhere",
            "KIND required \\\n\nMODULE",
            "KIND required \\\n# so\nMODULE",
            "KIND required MODULE\r",
            "KIND required\u{b}MODULE",
            "KIND required /nowhere/pam_nothing.so",
            "-KIND [module_unknown=ignore default=die] pam_nothing.so",
        ];
        self.random.of(&lines).replace("KIND", kind).replace("MODULE", &module)
    }
}

/// Marsaglia's xorshift: the same stacks at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        for shift in [13_i32, -7, 17] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}
