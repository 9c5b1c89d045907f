//! The findings of `doctor` that root has looked at and accepts: a file beside mfa.toml, a line for each.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfa_wire::{distance, shell_word};
use nix::fcntl::OFlag;

use crate::finding::Finding;

/// The longest file, in bytes: a line for each of some thousand people.
const LIMIT: u64 = 1 << 20;

/// What a new file begins with.
const HEAD: &str = "# Findings of \"mfa-enroll doctor\" that are not to be told again: the id, and where or whom.\n\
                    # To be told again, take the line out.\n";

/// The file, and what it says.
pub(crate) struct Ignored {
    path: PathBuf,
    text: String,
    lines: BTreeSet<(String, String)>,
}

impl Ignored {
    /// Reads the file beside this configuration file. If it cannot be believed, nothing is ignored, and that is the
    /// finding: a user who could write to it could hide a way in.
    pub(crate) fn beside(config: Option<&Path>) -> (Ignored, Option<Finding>) {
        let folder = config.map_or(Some(Path::new("/etc/mfa")), Path::parent).unwrap_or(Path::new("/"));
        let path = folder.join("doctor.ignore");
        let nothing = |path: PathBuf| Ignored { path, text: String::new(), lines: BTreeSet::new() };
        match read(&path) {
            Ok(text) => match parsed(&text) {
                Ok(lines) => (Ignored { path, text, lines }, None),
                Err(number) => {
                    let remedy =
                        format!("editor {}  # line {number}: an id, a blank, a place", shell_word(&named(&path)));
                    let found = unusable(&path, &format!("line {number} names no place"), remedy);
                    (nothing(path), Some(found))
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => (nothing(path), None),
            Err(e) => {
                let found = unusable(&path, &e.to_string(), format!("rm {}", shell_word(&named(&path))));
                (nothing(path), Some(found))
            }
        }
    }

    /// Whether root accepts all of this finding: where it is, and each person whom it names. Somebody who comes to be
    /// named in it later has not been looked at, so it is told again.
    pub(crate) fn holds(&self, finding: &Finding) -> bool {
        wheres(finding).iter().all(|place| self.lines.contains(&(finding.id.clone(), place.clone())))
    }

    /// Adds these findings to the file.
    pub(crate) fn add(&mut self, findings: &[&Finding]) -> io::Result<()> {
        let mut text = if self.text.is_empty() { HEAD.to_owned() } else { self.text.clone() };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for finding in findings {
            for place in wheres(finding) {
                if self.lines.insert((finding.id.clone(), place.clone())) {
                    text.push_str(&format!("{} {place}\n", finding.id));
                }
            }
        }
        replace(&self.path, &text)?;
        self.text = text;
        Ok(())
    }
}

/// Where the finding is, and whom it names. A warning that has become an error since has not been looked at.
fn wheres(finding: &Finding) -> BTreeSet<String> {
    let place = finding.place.trim();
    let place = if finding.grave { format!("{place} (error)") } else { place.to_owned() };
    finding.names.iter().map(|name| name.trim().to_owned()).chain([place]).collect()
}

/// The findings that `asked` means: an id, or an id, a colon and a place. If there is none, the nearest id that is
/// found.
pub(crate) fn meant<'a>(asked: &str, found: &'a [Finding]) -> Result<Vec<&'a Finding>, String> {
    let (id, place) = asked.split_once(':').map_or((asked, None), |(id, place)| (id, Some(place)));
    let is_meant = |finding: &&Finding| finding.id == id && place.is_none_or(|place| place == finding.place);
    let meant: Vec<&Finding> = found.iter().filter(is_meant).collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let as_typed = |finding: &Finding| match place {
        Some(_) => format!("{}:{}", finding.id, finding.place),
        None => finding.id.clone(),
    };
    let nearest = found.iter().map(as_typed).min_by_key(|known| distance(known, asked));
    let nearest = nearest.map_or(String::new(), |nearest| format!(" The nearest is {nearest}."));
    Err(format!("nothing is found here under {asked}: only what is found can be ignored.{nearest}"))
}

fn parsed(text: &str) -> Result<BTreeSet<(String, String)>, usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let pair = |(number, line): (usize, &str)| {
        let (id, place) = line.trim().split_once(' ').ok_or(number + 1)?;
        Ok((id.to_owned(), place.trim().to_owned()))
    };
    lines.map(pair).collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut file =
        OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)?;
    let stat = file.metadata()?;
    let is_roots = stat.is_file() && stat.uid() == 0 && stat.mode() & 0o022 == 0;
    if !is_roots || stat.len() > LIMIT {
        return Err(io::Error::other("it is no file that only root may write, of 1 MiB at most"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces the file whole, so that a full disk leaves the one before.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("ignore.new");
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn named(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn unusable(path: &Path, why: &str, remedy: String) -> Finding {
    Finding::warning("ignore-file-unusable", &named(path), format!("nothing is ignored: {why}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, place: &str, names: &[&str]) -> Finding {
        let names = names.iter().map(|name| String::from(*name)).collect();
        Finding { names, ..Finding::warning(id, place, "what", "remedy") }
    }

    fn ignored(text: &str) -> Ignored {
        Ignored { path: PathBuf::new(), text: text.to_owned(), lines: parsed(text).unwrap() }
    }

    #[test]
    fn a_second_fault_of_the_same_kind_is_told() {
        let ignored = ignored(
            "# robots\n\nsudoers-nopasswd /etc/sudoers.d/a b:1\nbind-from-anywhere x.toml:1\nmissing al\nmissing bo\n",
        );
        assert!(ignored.holds(&finding("sudoers-nopasswd", "/etc/sudoers.d/a b:1", &[])));
        assert!(!ignored.holds(&finding("sudoers-nopasswd", "/etc/sudoers.d/a b:2", &[])));
        assert!(!ignored.holds(&finding("sudoers-no-auth", "/etc/sudoers.d/a b:1", &[])));
        assert!(
            ignored.holds(&finding("missing", "al", &["al", "bo"]))
                && ignored.holds(&finding("missing", "bo", &["bo"]))
        );
        assert!(!ignored.holds(&finding("missing", "al", &["al", "bo", "cy"])), "one more person");
        assert!(!ignored.holds(&finding("bind-from-anywhere", "x.toml:1", &["al"])), "whom it names counts too");
    }

    #[test]
    fn a_warning_that_has_become_an_error_is_told() {
        let error = |id, place| Finding { grave: true, ..finding(id, place, &["al"]) };
        let (as_warning, as_error) = (ignored("id a\nid al\n"), ignored("id a (error)\nid al\n"));
        assert!(as_warning.holds(&finding("id", "a", &["al"])) && !as_warning.holds(&error("id", "a")));
        assert!(as_error.holds(&error("id", "a")) && !as_error.holds(&finding("id", "a", &["al"])));
    }

    #[test]
    fn a_line_without_a_place_would_hide_too_much() {
        assert_eq!(parsed("# one\nlogin-timeout\n"), Err(2));
        assert!(parsed("").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_found_cannot_be_ignored_and_the_nearest_is_named() {
        let found = [
            finding("login-timeout", "/etc/login.defs", &[]),
            finding("missing", "al", &[]),
            finding("missing", "bo", &[]),
        ];
        assert_eq!(meant("missing", &found).unwrap().len(), 2);
        assert_eq!(meant("missing:bo", &found).unwrap(), [&found[2]]);
        assert!(meant("login-timout", &found).unwrap_err().ends_with("The nearest is login-timeout."));
        assert!(meant("missing:cy", &found).unwrap_err().contains("The nearest is missing:"));
        assert!(meant("x", &[]).unwrap_err().ends_with("can be ignored."));
    }

    #[test]
    #[ignore = "needs root: make unit"]
    #[allow(clippy::disallowed_methods, reason = "a place for the files of the test")]
    fn only_a_file_of_roots_is_believed_and_comments_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = PathBuf::from(format!("/run/mfa-test-ignored-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let config = folder.join("mfa.toml");
        let (mut ignored, none) = Ignored::beside(Some(&config));
        assert_eq!(none, None);
        let (one, two) = (finding("one", "a", &["x", "y"]), finding("two", "b", &[]));
        ignored.add(&[&one]).unwrap();
        let file = folder.join("doctor.ignore");
        fs::write(&file, fs::read_to_string(&file).unwrap() + "# mine").unwrap();
        let (mut ignored, _) = Ignored::beside(Some(&config));
        ignored.add(&[&one, &two]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{HEAD}one a\none x\none y\n# mine\ntwo b\n"));
        let holds = || {
            let (ignored, found) = Ignored::beside(Some(&config));
            (ignored.holds(&two), found.map(|finding| finding.id))
        };
        assert_eq!(holds(), (true, None));
        let unusable = (false, Some(String::from("ignore-file-unusable")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(holds(), unusable);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert_eq!(holds(), unusable);
        fs::rename(&file, folder.join("other")).unwrap();
        std::os::unix::fs::chown(folder.join("other"), Some(0), None).unwrap();
        symlink(folder.join("other"), &file).unwrap();
        assert_eq!(holds(), unusable);
        fs::remove_dir_all(&folder).unwrap();
    }
}
