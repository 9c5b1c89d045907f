//! The helper's reader of stacks against the real libpam: random stacks whose modules say what they are told to, read
//! and run by both.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use mfa_helper::stack::{
    self, Code, IGNORE, INCOMPLETE, Kind, NEW_AUTHTOK_REQD, Path as Way, Reached, SUCCESS, Stack, system_file,
};
use pam_tests::{Host, require_sandbox, run};

/// A module that notes that it was called, and says what its arguments want: the code of auth, that of account and
/// session, its number, and the file for the notes; or what a file beside the notes wants of that number. libpam's
/// pam_debug says neither which line it is in nor what is no code.
const SCRIPTED: &str = r#"
#include <stdio.h>
#include <stdlib.h>

static int note(const char *hook, const char **argv, int code)
{
    FILE *notes = fopen(argv[3], "a");
    fprintf(notes, "%s %s\n", hook, argv[2]);
    fclose(notes);

    char path[4096];
    snprintf(path, sizeof path, "%s.codes", argv[3]);
    FILE *codes = fopen(path, "r");
    int number, other, said = atoi(argv[code]);
    while (codes && fscanf(codes, "%d %d", &number, &other) == 2)
        if (number == atoi(argv[2]))
            said = other;
    if (codes)
        fclose(codes);
    return said;
}

int pam_sm_authenticate(void *pamh, int flags, int argc, const char **argv) { return note("auth", argv, 0); }
int pam_sm_acct_mgmt(void *pamh, int flags, int argc, const char **argv) { return note("account", argv, 1); }
int pam_sm_open_session(void *pamh, int flags, int argc, const char **argv) { return note("session", argv, 1); }
int pam_sm_close_session(void *pamh, int flags, int argc, const char **argv) { return 0; }
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
        // Of the last one the reader knows that its success proves nothing.
        for name in ["pam_mfa.so", "pam_scripted.so", "pam_env.so"] {
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
    fn libpam(&self, service: &str) -> [(Code, Vec<usize>); 3] {
        let [auth, account] = self.phases(service, [("auth", "auth"), ("account", "account")]);
        // Alone: account may have been left unfinished.
        let [session] = self.phases(service, [("open", "session")]);
        [auth, account, session]
    }

    fn phases<const N: usize>(&self, service: &str, phases: [(&str, &str); N]) -> [(Code, Vec<usize>); N] {
        let notes = self.folder.join("notes");
        fs::write(&notes, "").unwrap();
        let steps = phases.map(|(step, _)| step);
        let report = Host::new(Path::new(FOLDER), service).user("root").steps(&steps).run();
        let notes = fs::read_to_string(&notes).unwrap();
        phases.map(|(step, hook)| {
            let lines = notes.lines().filter_map(|line| line.strip_prefix(hook)?.strip_prefix(' '));
            (report.code(step), lines.map(|number| number.parse().unwrap()).collect())
        })
    }

    /// The same of one phase, in which modules say something else than their arguments want.
    fn libpam_with(&self, service: &str, phase: (&str, &str), codes: &[(usize, Code)]) -> (Code, Vec<usize>) {
        let file = self.folder.join("notes.codes");
        fs::write(&file, codes.iter().map(|(number, code)| format!("{number} {code}\n")).collect::<String>()).unwrap();
        let [outcome] = self.phases(service, [phase]);
        fs::remove_file(&file).unwrap();
        outcome
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(FOLDER).join("other"), &self.other);
    }
}

/// What the reader makes of it; `None` when it cannot tell.
fn reader(service: &str) -> [Option<(Code, Vec<usize>)>; 3] {
    [(Kind::Auth, 0), (Kind::Account, 1), (Kind::Session, 1)].map(|(kind, argument)| {
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
    for (phase, (real, read)) in ["auth", "account", "session"].iter().zip(real.iter().zip(&read)) {
        if let Some(read) = read {
            assert_eq!(read, real, "{phase}: the reader (left) and libpam (right) differ on\n{what}");
        }
    }
    read.iter().flatten().count()
}

#[test]
fn random_stacks_go_as_in_libpam() {
    let bench = Bench::new();
    let (mut told, mut lets_in, mut all, mut checked) = (0, 0, 0, Checked::default());
    for seed in 1..=rounds() {
        let service = format!("stack-{seed}");
        let mut random = Random(seed);
        let mut writer = Writer { bench: &bench, random: &mut random, service: &service, number: 0, files: Vec::new() };
        // Hardly any is true by chance.
        let first = if seed % 2 == 0 { writer.first_factor() } else { String::new() };
        let main = first + &writer.file(0, seed % 4 == 0);
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
        all += 3;
        checked.check(&bench, &service, &what, &mut random);
        lets_in += reader(&service).iter().flatten().filter(|(code, _)| *code == SUCCESS).count();
        for (name, _) in files.iter().filter(|(name, _)| name != "other") {
            fs::remove_file(Path::new(FOLDER).join(name)).unwrap();
        }
    }
    println!("{told} of {all} told, {lets_in} let in; {checked:?}");
    assert!(told > all / 2, "the reader could tell {told} of {all} only");
    assert!(lets_in > told / 10, "{lets_in} of {told} let in");
    let Checked { kept, hand_overs, untrue, open, passed } = checked;
    assert!([kept, hand_overs, untrue, open, passed].iter().all(|n| *n > 10), "{checked:?}");
}

/// Stacks, unless MFA_TEST_ROUNDS says otherwise.
fn rounds() -> u64 {
    std::env::var("MFA_TEST_ROUNDS").map_or(1000, |rounds| rounds.parse().unwrap())
}

/// How often what the reader says of all runs was tried on libpam.
#[derive(Debug, Default, Clone, Copy)]
struct Checked {
    /// Runs of stacks that were said to be true, in which our line was called behind a first factor.
    kept: usize,
    /// Runs that let in and left somebody to account, of stacks that may.
    hand_overs: usize,
    /// Paths on which a stack was said to be untrue, and went in libpam as they were told.
    untrue: usize,
    /// Paths on which it was said to let in without a first factor.
    open: usize,
    /// Paths on which a session was said to open without our line.
    passed: usize,
}

/// A line that says what it is told to.
struct Line {
    number: usize,
    ours: bool,
    /// Its success is a first factor's.
    proves: bool,
}

impl Checked {
    /// `truth` and `hand_over` speak of all runs, so none that libpam makes may be otherwise; and where they say no, libpam
    /// goes the way that they name.
    fn check(&mut self, bench: &Bench, service: &str, what: &str, random: &mut Random) {
        let Ok(auth) = Stack::read(service, Kind::Auth, &system_file) else { return };
        let lines: Vec<Line> = auth.modules().filter_map(numbered).collect();
        let findings = auth.judge_runs().unwrap();
        let truth = stack::truth(service, &system_file).is_ok();
        assert_eq!(truth, findings.called && findings.unproved.is_none(), "{what}");
        let phase = ("auth", "auth");
        let of = |number: usize| lines.iter().find(|line| line.number == number);

        for _ in 0..if truth || findings.open.is_none() { 4 } else { 0 } {
            let codes: Vec<(usize, Code)> = lines.iter().map(|line| (line.number, an_answer(line, random))).collect();
            let (result, called) = bench.libpam_with(service, phase, &codes);
            let said = |number: usize| codes.iter().find(|(other, _)| *other == number).unwrap().1;
            let (mut proved, mut nonsense, mut left_to_account) = (false, false, false);
            let mut decided = false;
            for number in called {
                let line = of(number).unwrap();
                if line.ours {
                    assert!(
                        !truth || proved || nonsense,
                        "our line is called without a first factor: {codes:?}\n{what}"
                    );
                    self.kept += usize::from(truth && proved);
                    left_to_account |= said(number) == IGNORE;
                    decided |= said(number) != IGNORE;
                } else if line.proves {
                    proved |= [SUCCESS, NEW_AUTHTOK_REQD].contains(&said(number));
                }
                nonsense |= said(number) < 0;
            }
            if findings.open.is_none() && result == SUCCESS && !decided {
                assert!(proved, "libpam lets in without a first factor: {codes:?}\n{what}");
                self.hand_overs += usize::from(left_to_account);
            }
        }
        if let Some(codes) = findings.unproved.as_ref().and_then(|way| codes_on(way, &auth)) {
            let (_, called) = bench.libpam_with(service, phase, &codes);
            assert!(
                called.starts_with(&codes.iter().map(|(number, _)| *number).collect::<Vec<_>>()),
                "{codes:?}\n{what}"
            );
            assert!(called.get(codes.len()).is_some_and(|number| of(*number).unwrap().ours), "{codes:?}\n{what}");
            self.untrue += 1;
        }
        if let Some(codes) = findings.open.as_ref().and_then(|way| codes_on(way, &auth)) {
            let (result, called) = bench.libpam_with(service, phase, &codes);
            assert_eq!((result, called.len()), (SUCCESS, codes.len()), "{codes:?}\n{what}");
            self.open += 1;
        }
        let Ok(session) = Stack::read(service, Kind::Session, &system_file) else { return };
        if let Reached::Sometimes(way) = session.judge_runs().unwrap().reached
            && let Some(codes) = codes_on(&way, &session)
        {
            let (result, called) = bench.libpam_with(service, ("open", "session"), &codes);
            assert_eq!((result, called.len()), (SUCCESS, codes.len()), "{codes:?}\n{what}");
            let ours: Vec<usize> =
                session.modules().filter_map(numbered).filter(|l| l.ours).map(|l| l.number).collect();
            assert!(!called.iter().any(|number| ours.contains(number)), "{codes:?}\n{what}");
            self.passed += 1;
        }
    }
}

fn numbered(module: &stack::Module) -> Option<Line> {
    let number = module.arguments.get(2)?.parse().ok()?;
    Some(Line { number, ours: module.is_ours(), proves: module.path.ends_with("pam_scripted.so") })
}

/// Ours never asks for a new password.
fn an_answer(line: &Line, random: &mut Random) -> Code {
    random.of(if line.ours {
        &[IGNORE, IGNORE, SUCCESS, 7, -1]
    } else {
        &[SUCCESS, SUCCESS, NEW_AUTHTOK_REQD, IGNORE, 7, 9, -1]
    })
}

/// What the lines have to say for libpam to go this way; `None` where one of them is missing, and says what it likes.
fn codes_on(way: &Way, stack: &Stack) -> Option<Vec<(usize, Code)>> {
    let code = |step: &stack::Step| {
        let line = stack.modules().find(|module| (&module.file, module.number) == (&step.file, step.number))?;
        Some((numbered(line)?.number, step.code))
    };
    way.0.iter().map(code).collect()
}

/// What the reader is strict about where it need not be is not asked here; what it takes, libpam takes likewise.
#[test]
fn odd_spellings_are_read_as_in_libpam() {
    let bench = Bench::new();
    let service = "stack-odd";
    let required =
        |module: &str| ["auth", "account", "session"].map(|kind| format!("{kind} required {module}\n")).concat();
    let no = bench.module("pam_scripted.so", 7, 7, 2);
    let yes = bench.module("pam_mfa.so", 0, 0, 1);
    fs::write(Path::new(FOLDER).join("stack-empty"), "\n# nothing\n").unwrap();
    fs::write(Path::new(FOLDER).join("stack-no"), required(&no)).unwrap();
    let reset = required(&no).replace("required", "[default=reset]");
    fs::write(Path::new(FOLDER).join("stack-reset"), reset).unwrap();
    fs::write(Path::new(FOLDER).join("other"), required(&no)).unwrap();
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
        "KIND required YES\npassword nonsense\npassword [",
        "password required nothing",
        "",
    ];
    // Only Debian's libpam knows `@include`.
    let debian = Path::new("/etc/debian_version").exists();
    for text in texts.iter().filter(|text| debian || !text.to_lowercase().contains("@include")) {
        let both = ["auth", "account", "session"].map(|kind| text.replace("KIND", kind)).join("\n");
        let text = both.replace("YES", &yes).replace("NO", &no);
        fs::write(Path::new(FOLDER).join(service), &text).unwrap();
        assert_eq!(compare(&bench, service, &text), 3, "the reader could not tell\n{text}");
    }
    // Capitals are the service's own file's.
    fs::write(Path::new(FOLDER).join(service), required(&yes)).unwrap();
    assert_eq!(compare(&bench, "Stack-ODD", "the service in capitals"), 3);
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

    fn first_factor(&mut self) -> String {
        self.number += 1;
        let module = self.bench.module("pam_scripted.so", SUCCESS, SUCCESS, self.number);
        format!("auth [success=ok new_authtok_reqd=ok default=die] {module}\nsession required {module}\n")
    }

    fn line(&mut self, depth: usize, odd: bool) -> String {
        if odd && self.random.below(6) == 0 {
            return self.odd_line();
        }
        let kind = self.random.of(&[
            "auth", "auth", "account", "account", "-auth", "-account", "Account", "session", "session", "session",
        ]);
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
        let module = self.random.of(&["pam_mfa.so", "pam_scripted.so", "pam_scripted.so", "pam_env.so"]);
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
