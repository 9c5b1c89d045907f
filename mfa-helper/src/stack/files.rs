//! The files themselves.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::rootfile::Dir;

/// Longer is no file of PAM's.
const LIMIT: usize = 1 << 18;

/// As many as the kernel follows in one path.
const LINKS: usize = 40;

/// Reads a file of the system's PAM configuration.
///
/// libpam follows symbolic links, and authselect makes /etc/pam.d of them. So do we, link by link: each must be in a
/// folder that only root can write, so nobody else can have made it or can turn it, and what it leads to is read as all
/// files of root's are. A link to nowhere is an error, not a missing file.
pub fn system_file(path: &str) -> Result<Option<String>, String> {
    let Some((folder, name)) = real_place(Path::new(path))? else { return Ok(None) };
    let folder = Dir::open(&folder).map_err(|fault| fault.to_string())?;
    match folder.read_public(&name, LIMIT).map_err(|fault| fault.to_string())? {
        Some(content) => match std::str::from_utf8(content.bytes.bytes()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(format!("{path} is not UTF-8")),
        },
        None => Err(format!("{path} is gone")),
    }
}

/// The folder, without links, and the name in it at which a path ends; `None` when there is nothing.
fn real_place(path: &Path) -> Result<Option<(PathBuf, String)>, String> {
    let mut left: VecDeque<OsString> = steps(path);
    let mut place = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        if step == ".." {
            place.pop();
            continue;
        }
        Dir::open(&place).map_err(|fault| fault.to_string())?;
        let next = place.join(&step);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > LINKS {
                    return Err(format!("{} leads through too many symbolic links", path.display()));
                }
                if target.is_absolute() {
                    place = PathBuf::from("/");
                }
                for step in steps(&target).into_iter().rev() {
                    left.push_front(step);
                }
            }
            // It is no link.
            Err(e) if e.kind() == ErrorKind::InvalidInput => place = next,
            Err(e) if e.kind() == ErrorKind::NotFound && links == 0 => return Ok(None),
            Err(e) => return Err(format!("{} (at {}): {e}", path.display(), next.display())),
        }
    }
    match (place.parent(), place.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => Ok(Some((folder.to_owned(), name.to_owned()))),
        _ => Err(format!("{} is no file", path.display())),
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    steps.map(|step| step.as_os_str().to_owned()).collect()
}
