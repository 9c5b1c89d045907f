//! The policy's files, and the copy of the last one that loaded well.

use std::path::Path;

use mfa_wire::Secret;

use super::parse::{PolicyError, Source, parse};
use super::{Policy, without_files};
use crate::rootfile::{Content, Dir, Fault, encode_name};

/// The path of the policy unless root gives another.
pub const DEFAULT: &str = "/etc/mfa/mfa.toml";

/// The parent of the folder of copies. It does not depend on the policy, which may be unreadable.
const COPIES_IN: &str = "/var/lib/mfa";
/// The folder of copies.
const COPIES: &str = "policy";

/// The longest policy in bytes: all files together, as in the copy.
pub const LIMIT: usize = 256 * 1024;

/// A policy, and if it is not the one in place, why.
#[derive(Clone)]
pub struct Loaded {
    /// The policy in force.
    pub policy: Policy,
    /// What is wrong with the files in place. Only root may see it; it must not be overlooked.
    pub error: Option<PolicyError>,
}

/// How long a file must be unchanged before it is used, in seconds. A program that writes it in place (an editor,
/// `cp`) first makes it empty, and an empty policy would ask nothing of anybody.
const SETTLED: u64 = 2;

/// Loads the main file at `path` and the drop-ins in the folder `mfa.d` beside it, at the time `now`.
///
/// If a file cannot be read or parsed, or is just being written, the last policy that loaded well is used instead.
/// Without such a copy, everybody must have a second factor if a file cannot be read or parsed, and a file that is
/// just being written is used as it is. So a typo neither opens the host nor locks users out.
pub fn load(path: &Path, now: u64) -> Loaded {
    let read = read(path, now);
    if let Ok(Files { settled: false, .. }) = read
        && let Some(policy) = last_good(path)
    {
        return Loaded { policy, error: None };
    }
    match read.and_then(|files| Ok((parse(&files.sources)?, files))) {
        Ok((policy, files)) => {
            if files.settled {
                keep_copy(path, &files.sources);
            }
            Loaded { policy, error: None }
        }
        Err(error) => Loaded { policy: last_good(path).unwrap_or_else(without_files), error: Some(error) },
    }
}

/// The files at `path` as they are now, settled or not.
pub fn in_place(path: &Path) -> Result<Vec<Source>, PolicyError> {
    read(path, 0).map(|files| files.sources)
}

/// The files in place.
struct Files {
    sources: Vec<Source>,
    /// Whether no file was changed in the last seconds.
    settled: bool,
}

fn read(path: &Path, now: u64) -> Result<Files, PolicyError> {
    let unreadable = |fault: Fault| PolicyError(fault.to_string());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(PolicyError(format!("{} is no path of a file", path.display())));
    };
    let dir = Dir::open(parent).map_err(unreadable)?;
    // Not optional: if the folder is gone, rules may be gone with it.
    let drop_ins = dir.subdir("mfa.d").map_err(unreadable)?;
    let mut names = drop_ins.names().map_err(unreadable)?;
    names.retain(|name| name.ends_with(".toml") && !name.starts_with('.'));
    names.sort_unstable();
    let mut files = Files { sources: Vec::new(), settled: true };
    for (dir, name) in names.iter().map(|name| (&drop_ins, name.as_str())).chain([(&dir, name)]) {
        let path = dir.path_of(name);
        let content = dir.read_public(name, LIMIT).map_err(unreadable)?;
        let Some(Content { bytes, modified }) = content else {
            return Err(PolicyError(format!("{path} is missing")));
        };
        files.settled &= modified > now || now - modified >= SETTLED;
        match bytes.text() {
            Some("") => return Err(PolicyError(format!("{path} is empty: if that is meant, let it hold a comment"))),
            Some(text) => files.sources.push((path, text.to_owned())),
            None => return Err(PolicyError(format!("{path} is not UTF-8"))),
        }
    }
    if encode(&files.sources).len() > LIMIT {
        return Err(PolicyError(format!("the policy at {} has more than {LIMIT} bytes", path.display())));
    }
    Ok(files)
}

/// Keeps a copy of a policy that loaded well. A failure to write it must not fail a login here: a login that itself
/// needs to write will report it.
fn keep_copy(path: &Path, sources: &[Source]) {
    let Some(name) = copy_name(path) else { return };
    let bytes = encode(sources);
    let Ok(dir) = Dir::open(Path::new(COPIES_IN)).and_then(|dir| dir.make_subdir(COPIES)) else { return };
    if dir.read_private(&name, LIMIT).ok().flatten().is_some_and(|kept| kept.bytes() == bytes) {
        return;
    }
    if let Ok(_lock) = dir.lock() {
        let _ = dir.replace(&name, &bytes);
    }
}

fn last_good(path: &Path) -> Option<Policy> {
    let dir = Dir::open(Path::new(COPIES_IN)).and_then(|dir| dir.subdir(COPIES)).ok()?;
    let copy = dir.read_private(&copy_name(path)?, LIMIT).ok()??;
    parse(&decode(&copy)?).ok()
}

/// The name of the copy that belongs to the policy at `path`.
fn copy_name(path: &Path) -> Option<String> {
    encode_name(path.to_str().unwrap_or_default())
}

/// For each file: one line with the lengths of its path and text, then both.
fn encode(sources: &[Source]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, text) in sources {
        bytes.extend_from_slice(format!("{} {}\n{path}{text}", path.len(), text.len()).as_bytes());
    }
    bytes
}

fn decode(bytes: &Secret) -> Option<Vec<Source>> {
    let mut rest = bytes.text()?;
    let mut sources = Vec::new();
    while !rest.is_empty() {
        let (lengths, tail) = rest.split_once('\n')?;
        let (path, text) = lengths.split_once(' ')?;
        let (path, tail) = tail.split_at_checked(path.parse().ok()?)?;
        let (text, tail) = tail.split_at_checked(text.parse().ok()?)?;
        sources.push((path.to_owned(), text.to_owned()));
        rest = tail;
    }
    Some(sources)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_copy_gives_back_what_was_kept() {
        let sources = vec![("a b".to_owned(), "x\ny".to_owned()), ("é".to_owned(), String::new())];
        assert_eq!(decode(&Secret::copy_of(&encode(&sources))), Some(sources.clone()));
        let bytes = encode(&sources);
        assert_eq!(decode(&Secret::copy_of(&bytes[..bytes.len() - 1])), None, "cut off");
    }

    proptest! {
        #[test]
        fn any_sources_come_back_as_they_were(sources in vec(("\\PC{0,20}", any::<String>()), 0..4)) {
            prop_assert_eq!(decode(&Secret::copy_of(&encode(&sources))), Some(sources));
        }

        #[test]
        fn any_bytes_are_a_copy_or_none(text in "([0-9]{0,3} [0-9]{0,20}\n?\\PC{0,9}){0,4}") {
            if let Some(sources) = decode(&Secret::copy_of(text.as_bytes())) {
                // A number can be written in several ways, so this compares what is read, not the bytes.
                prop_assert_eq!(decode(&Secret::copy_of(&encode(&sources))), Some(sources));
            }
        }
    }
}
