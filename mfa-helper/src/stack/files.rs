//! Reads the files of PAM's configuration.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::rootfile::{Dir, check_folder};

/// A longer file is not one of PAM's.
const LIMIT: usize = 1 << 18;

/// The kernel follows this many links in one path.
const LINKS: usize = 40;

/// The folders in which libpam looks for modules in various distributions; `*` stands for an architecture.
const FOLDERS: [&str; 5] =
    ["/usr/lib/*/security", "/lib/*/security", "/usr/lib64/security", "/usr/lib/security", "/lib64/security"];

/// Those of them that exist here.
pub fn module_folders() -> Vec<PathBuf> {
    FOLDERS.iter().flat_map(|folder| expanded(folder)).filter(|path| path.is_dir()).collect()
}

fn expanded(folder: &str) -> Vec<PathBuf> {
    let Some((before, behind)) = folder.split_once("/*/") else { return vec![PathBuf::from(folder)] };
    let entries = fs::read_dir(before).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path().join(behind)).collect();
    folders.sort_unstable();
    folders
}

/// Reads a file of the system's PAM configuration.
///
/// libpam follows symbolic links, and authselect makes files of /etc/pam.d links. So this follows them too, one by
/// one: each must be in a folder that only root can write, so that nobody else can make or change it, and the file at
/// the end is read under the rules for all files of root's. A link to a path that does not exist is an error, not a
/// missing file.
pub fn system_file(path: &str) -> Result<Option<String>, String> {
    let Some((folder, name)) = resolve(Path::new(path))? else { return Ok(None) };
    let folder = Dir::open(&folder).map_err(|fault| fault.to_string())?;
    match folder.read_public(&name, LIMIT).map_err(|fault| fault.to_string())? {
        Some(content) => match std::str::from_utf8(content.bytes.bytes()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(format!("{path} is not UTF-8")),
        },
        None => Err(format!("{path} is gone")),
    }
}

/// The folder, without links, and the file name at which a path ends; `None` if nothing exists there.
fn resolve(path: &Path) -> Result<Option<(PathBuf, String)>, String> {
    let mut left: VecDeque<OsString> = steps(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        if step == ".." {
            at.pop();
            continue;
        }
        // The folders above were checked in turns before this one.
        check_folder(&at).map_err(|fault| fault.to_string())?;
        let next = at.join(&step);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > LINKS {
                    return Err(format!("{} leads through too many symbolic links", path.display()));
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for step in steps(&target).into_iter().rev() {
                    left.push_front(step);
                }
            }
            // It is not a link.
            Err(e) if e.kind() == ErrorKind::InvalidInput => at = next,
            Err(e) if e.kind() == ErrorKind::NotFound && links == 0 => return Ok(None),
            Err(e) => return Err(format!("{} (at {}): {e}", path.display(), next.display())),
        }
    }
    match (at.parent(), at.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => Ok(Some((folder.to_owned(), name.to_owned()))),
        _ => Err(format!("{} is no file", path.display())),
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    steps.map(|step| step.as_os_str().to_owned()).collect()
}
