use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Clock, Gate, artifact, masked, run};

/// One run of `pam-host`, to be described and then [run](Host::run).
#[must_use]
pub struct Host {
    words: Vec<OsString>,
    under: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    report: PathBuf,
}

impl Host {
    /// A host that uses the service files in `confdir` (`/etc/pam.d` is one).
    pub fn new(confdir: &Path, service: &str) -> Host {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("report-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let report = PathBuf::from("/tmp").join(name);
        let host = Host { words: vec![], under: vec![], environment: vec![], report: report.clone() };
        host.word("report", report.display()).word("confdir", confdir.display()).word("service", service)
    }

    /// Any option of `pam-host`.
    pub fn word(mut self, key: &str, value: impl Display) -> Host {
        self.words.push(format!("--{key}={value}").into());
        self
    }

    /// An option that need not be text.
    pub fn raw_word(mut self, key: &str, value: &OsStr) -> Host {
        let mut word = OsString::from(format!("--{key}="));
        word.push(value);
        self.words.push(word);
        self
    }

    /// What the memory is searched for, at every step `scan` and after pam_end.
    pub fn canary(self, name: &str, secret: impl AsRef<[u8]>) -> Host {
        self.word("canary", format!("{name}:{}", masked(secret)))
    }

    /// `PAM_USER`. The last one given counts.
    pub fn user(self, name: &str) -> Host {
        self.word("user", name)
    }

    /// What ECHO_OFF prompts are answered: pam_unix stores it as `PAM_AUTHTOK`.
    pub fn password(self, password: &str) -> Host {
        self.word("password", password)
    }

    /// What the next ECHO_ON prompt is answered; the last one answers all further ones.
    pub fn answer(self, answer: &str) -> Host {
        self.word("answer", answer)
    }

    /// How ECHO_ON prompts are treated: see `Options::conv` in `pam-host.rs`.
    pub fn conv(self, how: &str) -> Host {
        self.word("conv", how)
    }

    /// What kind of process it is: see `Options::modes` in `pam-host.rs`.
    pub fn mode(self, mode: &str) -> Host {
        self.word("mode", mode)
    }

    /// The PAM flags of every call.
    pub fn flags(self, flags: i32) -> Host {
        self.word("flags", flags)
    }

    /// A file with a line `SECONDS USER ANSWER CODE` for each transaction: what this clock is set to, who logs in, by
    /// what, and what auth must come to.
    pub fn plan(self, plan: &Path, clock: &Clock) -> Host {
        self.word("plan", plan.display()).word("clock", clock.path().display())
    }

    /// How many transactions, each from pam_start to pam_end.
    pub fn loops(self, count: u32) -> Host {
        self.word("loops", count)
    }

    /// How many threads make each transaction at once, with a handle each.
    pub fn threads(self, count: u32) -> Host {
        self.word("threads", count)
    }

    /// Makes it wait at its first prompt until the gate is opened.
    pub fn gate(self, gate: &Gate) -> Host {
        self.word("gate", gate.path().display())
    }

    /// The calls of a transaction: auth, account, setcred, open, close, chauthtok, user=NAME; and scan, a search of the
    /// host's memory for its canaries.
    pub fn steps(mut self, steps: &[&str]) -> Host {
        self.words.extend(steps.iter().map(OsString::from));
        self
    }

    /// Runs it as the last words of another command: valgrind, strace, setpriv.
    pub fn under(mut self, command: &[&str]) -> Host {
        self.under = command.iter().map(OsString::from).collect();
        self
    }

    /// A variable of the process's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Host {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets a module that asks libfido2 for keys find those of a [`Desk`](crate::Desk): see `manifest.c`.
    pub fn finds_keys(self) -> Host {
        static BUILT: OnceLock<()> = OnceLock::new();
        let library = "/usr/lib/libmfa-test-manifest.so";
        BUILT.get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest.c");
            let words = ["-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source.to_str().unwrap()];
            run("cc", &[&words[..], &["-l:libfido2.so.1"]].concat());
        });
        self.env("LD_PRELOAD", library)
    }

    /// Runs it to its end: see [`Running::report`].
    pub fn run(self) -> Report {
        self.start().report()
    }

    /// Starts it, and leaves it running.
    pub fn start(self) -> Running {
        let mut words = self.under.clone();
        words.push(artifact("pam-host").into());
        words.extend(self.words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|why| panic!("{:?}: {why} (is it installed?)", words[0]));
        Running { child, report: self.report }
    }
}

/// A host that was started.
#[must_use]
pub struct Running {
    child: Child,
    report: PathBuf,
}

impl Running {
    /// The process that was started: the host itself, unless it runs under a command that stays.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The same, or none if `timeout` has ended it before (see `Host::under`).
    pub fn report_in_time(mut self) -> Option<Report> {
        // A host prints nothing, so no pipe is full before it ends.
        let killed = self.child.wait().unwrap().code() == Some(128 + libc::SIGKILL);
        (!killed).then(|| self.report())
    }

    /// Awaits its end. It must have lived until then and printed nothing: whatever a test is about, no login may kill its
    /// host or write to the host's stdout or stderr.
    pub fn report(self) -> Report {
        let output = self.child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "the host did not live: {}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "", "something was written to the host's stdout");
        assert_eq!(text(&output.stderr), "", "something was written to the host's stderr");
        let lines = fs::read_to_string(&self.report).unwrap();
        let _ = fs::remove_file(&self.report);
        Report { lines: lines.lines().map(str::to_owned).collect() }
    }
}

/// What the host saw.
#[derive(Debug)]
pub struct Report {
    lines: Vec<String>,
}

/// A message that the host was given: its style (`ask`, `ask-hidden`, `error`, `info`) and text (escaped, in quotes).
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub style: String,
    pub text: String,
}

impl Report {
    /// The codes of a step, in order.
    pub fn codes(&self, step: &str) -> Vec<i32> {
        let prefix = format!("code {step} ");
        self.all(&prefix).map(|code| code.parse().unwrap()).collect()
    }

    /// The code of a step that was done once.
    pub fn code(&self, step: &str) -> i32 {
        let codes = self.codes(step);
        assert_eq!(codes.len(), 1, "{step} was not done once: {self:#?}");
        codes[0]
    }

    /// Everything that was said to the person.
    pub fn said(&self) -> Vec<Said> {
        let split = |line: &str| line.split_once(' ').map(|(a, b)| Said { style: a.into(), text: b.into() });
        self.all("said ").filter_map(split).collect()
    }

    /// One fact: `sigchld`, `stolen`, `children`, `rss`, `mapped`, `copies`, `exec`.
    pub fn fact(&self, name: &str) -> String {
        let prefix = format!("{name} ");
        let facts: Vec<&str> = self.all(&prefix).collect();
        assert_eq!(facts.len(), 1, "{name} is not reported once: {self:#?}");
        facts[0].to_owned()
    }

    /// All lines of one kind, without the prefix.
    pub fn all<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(prefix))
    }

    /// Fails if the host is not what it was before: descriptors, signal mask and actions, threads, umask, working
    /// folder, environment, children; or if a round went otherwise than the first.
    pub fn assert_undisturbed(&self) {
        let changed: Vec<&str> = self.all("changed ").chain(self.all("round ")).collect();
        assert!(changed.is_empty(), "the host was changed: {changed:#?}");
        assert_eq!(self.fact("stolen"), "0", "the host's wait() found children that are not its own");
        assert_eq!(self.fact("children"), "none", "a child was left to the host");
        assert_eq!(self.fact("mapped"), "false", "the module stayed in memory after pam_end");
    }
}
