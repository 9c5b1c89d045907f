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
    /// A file that was changed so recently that it does not count yet. Only root may see it.
    pub young: Option<String>,
}

/// How long a file must be unchanged before it is used, in seconds. A program that writes it in place (an editor,
/// `cp`) first makes it empty, and an empty policy would ask nothing of anybody. [`put`] does not write in place.
pub const SETTLED: u64 = 2;

/// Loads the main file at `path` and the drop-ins in the folder `mfa.d` beside it, at the time `now`.
///
/// If a file cannot be read or parsed, or is just being written, the last policy that loaded well is used instead.
/// Without such a copy, everybody must have a second factor if a file cannot be read or parsed, and a file that is
/// just being written is used as it is. So a typo neither opens the host nor locks users out.
pub fn load(path: &Path, now: u64) -> Loaded {
    let read = read(path, now);
    if let Ok(Files { sources, young }) = &read
        && !young.is_empty()
        && let Some((copy, policy)) = last_good(path)
    {
        // What `put` has written is in the copy already. What differs without being young was moved or removed.
        let differs = |path: &&String| sources.iter().any(|source| source.0 == **path && !copy.contains(source));
        let young = (copy != *sources).then(|| young.iter().find(differs).or(young.first()).cloned()).flatten();
        return Loaded { policy, error: None, young };
    }
    match read.and_then(|files| Ok((parse(&files.sources)?, files))) {
        Ok((policy, files)) => {
            if files.young.is_empty() {
                keep_copy(path, &files.sources, now);
            }
            Loaded { policy, error: None, young: None }
        }
        Err(error) => {
            let policy = last_good(path).map_or_else(without_files, |(_, policy)| policy);
            Loaded { policy, error: Some(error), young: None }
        }
    }
}

/// Writes a drop-in, or removes it if there is no `text`; says whether that is in force when this returns.
///
/// A rename puts the whole file in place, so there is no half of it to wait for: it goes into the copy at once, which
/// logins use for as long as it is young. Of the other files, the copy gets what is in force. So neither a foreign file
/// that is being written at this moment nor one with a typo is let in by this, and the copy stays a policy that loads:
/// without one, a typo locks everybody out who has no device.
pub fn put(path: &Path, folder: &Dir, name: &str, text: Option<&str>, now: u64) -> Result<bool, Fault> {
    let copies = copies().ok();
    // Logins that have read the files of before must not put them into the copy afterwards.
    let lock = copies.as_ref().and_then(|dir| dir.lock().ok());
    let in_force = match read(path, now) {
        Ok(Files { sources, young }) if young.is_empty() && parse(&sources).is_ok() => Some(sources),
        _ => last_good(path).map(|(sources, _)| sources),
    };
    match text {
        Some(text) => folder.replace(name, text.as_bytes())?,
        None => folder.remove(name)?,
    }
    let sources = match in_force {
        Some(before) => with(before, &folder.path_of(name), text),
        // Nothing to begin a copy with. So there is none, and logins use the files as they are.
        None => return Ok(last_good(path).is_none() && load(path, now).error.is_none()),
    };
    let bytes = encode(&sources);
    let policy = parse(&sources);
    if let (Some(dir), Some(_), Some(copy)) = (&copies, &lock, copy_name(path))
        && bytes.len() <= LIMIT
        && policy.is_ok()
    {
        let _ = dir.replace(&copy, &bytes);
    }
    drop(lock);
    let loaded = load(path, now);
    let by_the_files = loaded.error.is_none() && loaded.young.is_none();
    Ok(by_the_files || policy.is_ok_and(|policy| loaded.policy == policy))
}

/// The sources with `text` as the drop-in at `path`, in their order; without it if there is no text.
pub fn with(mut sources: Vec<Source>, path: &str, text: Option<&str>) -> Vec<Source> {
    let main = sources.pop();
    sources.retain(|(known, _)| known != path);
    sources.extend(text.map(|text| (path.to_owned(), text.to_owned())));
    sources.sort_unstable();
    sources.extend(main);
    sources
}

/// A file in the folder of drop-ins that is not read because of its name.
pub struct Ignored {
    /// Its path.
    pub path: String,
    /// The path at which it would be read.
    pub meant: String,
    /// Whether it has rules.
    pub rules: bool,
}

/// The files beside the drop-ins whose names look as if they were meant to be read. Others are left over by package
/// managers and editors, or were set aside by somebody: they have more behind `.toml`, or a common ending.
pub fn ignored(path: &Path) -> Result<Vec<Ignored>, Fault> {
    let dir = Dir::open(path.parent().unwrap_or(path))?.subdir("mfa.d")?;
    let mut names = dir.names()?;
    names.retain(|name| !is_drop_in(name) && !is_set_aside(name));
    names.sort_unstable();
    let file = |name: String| {
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let content = dir.read_public(&name, LIMIT).ok().flatten();
        let rules = content.is_some_and(|file| file.bytes.text().is_some_and(|text| text.contains("[[rule]]")));
        Ignored { path: dir.path_of(&name), meant: dir.path_of(&format!("{stem}.toml")), rules }
    };
    Ok(names.into_iter().map(file).collect())
}

fn is_drop_in(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.')
}

fn is_set_aside(name: &str) -> bool {
    const ENDINGS: [&str; 16] = [
        "~",
        ".bak",
        ".disabled",
        ".example",
        ".new",
        ".off",
        ".old",
        ".orig",
        ".pacnew",
        ".pacsave",
        ".rpmnew",
        ".rpmsave",
        ".sample",
        ".save",
        ".swp",
        ".txt",
    ];
    name.starts_with(['.', '#'])
        || name.starts_with("README")
        || name.contains(".toml.")
        || [".dpkg-", ".ucf-"].iter().any(|part| name.contains(part))
        || ENDINGS.iter().any(|end| name.ends_with(end))
}

/// The files at `path` as they are now, settled or not.
pub fn in_place(path: &Path) -> Result<Vec<Source>, PolicyError> {
    read(path, 0).map(|files| files.sources)
}

/// The files in place.
struct Files {
    sources: Vec<Source>,
    /// The paths of the files that were changed in the last seconds.
    young: Vec<String>,
}

/// Whether a file was changed so recently that it may not be whole. Its time may be ahead of ours by a moment: `now` is
/// read before the file, and a clock may be set back by a little. One that is far ahead is not waited for.
fn is_young(modified: u64, now: u64) -> bool {
    now.abs_diff(modified) < SETTLED
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
    names.retain(|name| is_drop_in(name));
    names.sort_unstable();
    let mut files = Files { sources: Vec::new(), young: Vec::new() };
    for (dir, name) in names.iter().map(|name| (&drop_ins, name.as_str())).chain([(&dir, name)]) {
        let path = dir.path_of(name);
        let content = dir.read_public(name, LIMIT).map_err(unreadable)?;
        let Some(Content { bytes, modified }) = content else {
            return Err(PolicyError(format!("{path} is missing")));
        };
        if is_young(modified, now) {
            files.young.push(path.clone());
        }
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
fn keep_copy(path: &Path, sources: &[Source], now: u64) {
    let Some(name) = copy_name(path) else { return };
    let bytes = encode(sources);
    let Ok(dir) = copies() else { return };
    if dir.read_private(&name, LIMIT).ok().flatten().is_some_and(|kept| kept.bytes() == bytes) {
        return;
    }
    if let Ok(_lock) = dir.lock()
        // If they were changed meanwhile, `put` may have made a newer copy.
        && read(path, now).is_ok_and(|again| again.young.is_empty() && again.sources == sources)
    {
        let _ = dir.replace(&name, &bytes);
    }
}

fn copies() -> Result<Dir, Fault> {
    Dir::open(Path::new(COPIES_IN)).and_then(|dir| dir.make_subdir(COPIES))
}

/// The copy, and the policy that it is.
fn last_good(path: &Path) -> Option<(Vec<Source>, Policy)> {
    let dir = Dir::open(Path::new(COPIES_IN)).and_then(|dir| dir.subdir(COPIES)).ok()?;
    let copy = dir.read_private(&copy_name(path)?, LIMIT).ok()??;
    let sources = decode(&copy)?;
    let policy = parse(&sources).ok()?;
    Some((sources, policy))
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

    #[test]
    fn a_drop_in_takes_its_place_in_the_order() {
        let source = |path: &str| (path.to_owned(), path.to_uppercase());
        let before = vec![source("d/10"), source("d/60"), source("c/mfa")];
        let put = |path, text| with(before.clone(), path, text).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(put("d/50", Some("x")), ["d/10", "d/50", "d/60", "c/mfa"]);
        assert_eq!(put("d/60", Some("x")), ["d/10", "d/60", "c/mfa"]);
        assert_eq!(put("d/10", None), ["d/60", "c/mfa"]);
    }

    #[test]
    fn a_file_is_young_shortly_before_and_after_its_time() {
        let young = |modified| is_young(modified, 1_000);
        assert_eq!(
            [997, 998, 999, 1_000, 1_001, 1_002, 9_000].map(young),
            [false, false, true, true, true, false, false]
        );
    }

    #[test]
    fn what_is_meant_to_be_ignored_is_told_from_what_is_not() {
        for name in ["10-a.conf", "20-x.TOML", "rules.tml", "rules", "10-a.toml1"] {
            assert!(!is_drop_in(name) && !is_set_aside(name), "{name}");
        }
        for name in [
            ".10-a.toml.swp",
            "#10-a.toml#",
            "10-a.toml~",
            "10-a.toml.dpkg-new",
            "10-a.conf.dpkg-dist",
            "10-a.toml.rpmsave",
            "10-a.toml.off",
            "10-a.toml.new",
            "10-a.conf.bak",
            "10-a.old",
            "10-a.save",
            "10-a.off",
            "notes.txt",
            "10-a.example",
            "10-a.sample",
            "README",
        ] {
            assert!(!is_drop_in(name) && is_set_aside(name), "{name}");
        }
        assert!(is_drop_in("10-a.toml"));
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
