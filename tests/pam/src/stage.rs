use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Host, artifact, require_sandbox};

/// A folder with one PAM service and one script for the helper.
///
/// ```no_run
/// let stage = pam_tests::Stage::new("auth required {mfa}");
/// stage.script("hello\nrequest\nverdict Accepted");
/// let report = stage.host().steps(&["auth"]).run();
/// assert_eq!(report.code("auth"), pam_tests::code::SUCCESS);
/// ```
pub struct Stage {
    folder: PathBuf,
    /// The service's name, which no other stage has: log lines can be told apart by it.
    pub service: String,
}

impl Stage {
    /// A stage whose service file is `stack`. In it, `{mfa}` stands for the module with the scripted helper, `{module}`
    /// for the module alone.
    pub fn new(stack: &str) -> Stage {
        require_sandbox();
        crate::log::be_there();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let service = format!("stage-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from("/tmp").join(&service);
        fs::create_dir_all(folder.join("pam.d")).unwrap();
        let stage = Stage { folder, service };
        stage.stack(stack);
        stage
    }

    /// Replaces the service file.
    pub fn stack(&self, stack: &str) {
        let module = artifact("libpam_mfa.so").display().to_string();
        let helper = artifact("bad-helper");
        let mfa = format!("{module} helper={} config={}", helper.display(), self.script_path().display());
        let text = stack.replace("{mfa}", &mfa).replace("{module}", &module);
        fs::write(self.folder.join("pam.d").join(&self.service), text + "\n").unwrap();
    }

    /// What the helper does: see `bad-helper.rs`.
    pub fn script(&self, commands: &str) {
        let _ = fs::remove_file(self.folder.join("script.log"));
        fs::write(self.script_path(), commands).unwrap();
    }

    /// What the helper noted: a line `run` at each start, then what it received.
    pub fn noted(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("script.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often the helper was started.
    pub fn runs(&self) -> usize {
        self.noted().iter().filter(|line| *line == "run").count()
    }

    /// A file in the stage's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The PAM application on this stage, with the user alice.
    pub fn host(&self) -> Host {
        Host::new(&self.folder.join("pam.d"), &self.service).user("alice")
    }

    fn script_path(&self) -> PathBuf {
        self.folder.join("script")
    }
}
