use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::{require_sandbox, run};

const STATE: &str = "/run/mfa-test-directory";
const SWITCH: &str = "/etc/nsswitch.conf";

/// A name service behind the local files, until it is dropped: see `directory.c`. Only names that begin with `dir` are
/// its business, so that other tests' users stay what they are. Hold a [`System`](crate::System) meanwhile.
pub struct Directory {
    before: String,
}

impl Directory {
    /// Builds it and puts it behind the local files; it is up.
    pub fn behind_the_files() -> Directory {
        require_sandbox();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/directory.c");
        let library = "/usr/lib/libnss_mfatest.so.2";
        run("cc", &["-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source.to_str().unwrap()]);
        let before = fs::read_to_string(SWITCH).unwrap();
        let directory = Directory { before };
        directory.is("up");
        directory.switch("mfatest");
        directory
    }

    /// What it answers from now on: `up`; or `refused`, `gone`, `io`, `again` as a dead one; or `unknown` to everything.
    pub fn is(&self, word: &str) {
        let _ = fs::remove_file(STATE);
        fs::write(STATE, word).unwrap();
    }

    /// Its library is not installed.
    pub fn is_not_installed(&self) {
        self.switch("mfaabsent");
    }

    /// Makes whoever asks wait.
    pub fn hangs(&self) {
        let _ = fs::remove_file(STATE);
        run("mkfifo", &[STATE]);
    }

    /// Waits until somebody asks, and is this from then on.
    pub fn was_asked_and_is(&self, word: &str) {
        let mut waiting = OpenOptions::new().write(true).open(STATE).unwrap();
        self.is(word);
        waiting.write_all(word.as_bytes()).unwrap();
    }

    fn switch(&self, name: &str) {
        let line = |line: &str| match line.split_once(':') {
            Some((database @ ("passwd" | "group"), _)) => format!("{database}: files {name}\n"),
            // Else these groups would come from elsewhere.
            Some(("initgroups", _)) => String::new(),
            _ => format!("{line}\n"),
        };
        let text: String = self.before.lines().map(line).collect();
        assert_eq!(text.matches(name).count(), 2, "{text}");
        let draft = format!("{SWITCH}.new");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, SWITCH).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
        let _ = fs::remove_file(STATE);
    }
}
