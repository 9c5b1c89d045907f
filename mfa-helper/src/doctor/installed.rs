//! Our own installed programs. They run as root, so only root may be able to change them.

use std::path::{Path, PathBuf};

use super::{Finding, remedy_in};
use crate::rootfile::{Dir, Fault};
use crate::stack::{OURS, module_folders};

/// The programs that the package installs, besides the module.
const PROGRAMS: [&str; 2] = ["/usr/libexec/mfa-helper", "/usr/bin/mfa-enroll"];

/// No program of ours is longer.
const LIMIT: usize = 1 << 28;

/// Checks them.
pub fn check() -> Vec<Finding> {
    let modules = module_folders().into_iter().map(|folder| folder.join(OURS));
    look(&modules.filter(|path| path.exists()).collect::<Vec<_>>(), &PROGRAMS.map(PathBuf::from))
}

fn look(modules: &[PathBuf], programs: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if modules.is_empty() {
        let what = "the module is not installed: every login whose stack names it is refused";
        findings.push(Finding::grave("module-missing", OURS, what, reinstall()));
    }
    for path in modules.iter().chain(programs) {
        if let Err(fault) = only_roots(path) {
            let (id, what) = match fault.is_missing() {
                true => ("program-missing", fault.to_string()),
                false => ("program-unsafe", format!("others than root can replace what runs as root: {fault}")),
            };
            let remedy = remedy_in(&fault.to_string(), reinstall);
            findings.push(Finding::grave(id, path.to_string_lossy(), what, remedy));
        }
    }
    findings.dedup_by(|a, b| a.remedy == b.remedy && a.id == b.id);
    findings
}

fn reinstall() -> String {
    match Path::new("/usr/bin/dpkg").exists() {
        true => String::from("apt-get install --reinstall libpam-mfa"),
        false => String::from("make install  # in the source folder"),
    }
}

/// Whether only root could have written a program, including links to it and the folders on the way.
fn only_roots(path: &Path) -> Result<(), Fault> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (folder, name) = (real.parent().unwrap_or(&real), real.file_name().and_then(|name| name.to_str()));
    let folder = Dir::open(folder)?;
    match folder.read_public(name.unwrap_or_default(), LIMIT)? {
        Some(_) => Ok(()),
        None => Err(folder.failed(name.unwrap_or_default(), nix::errno::Errno::ENOENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_others_can_change_or_that_is_gone_is_found() {
        let helper = || vec![PathBuf::from("/bin/sh")];
        assert_eq!(look(&helper(), &helper()), [], "the shell of this machine is root's alone");
        let found = look(&[], &[PathBuf::from("/usr/no-such-folder/mfa-helper")]);
        assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), ["module-missing", "program-missing"]);
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("no-such");
        assert!(only_roots(&place).is_err());
    }
}
