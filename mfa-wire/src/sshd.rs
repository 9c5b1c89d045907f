//! The remedy for settings of sshd, which both halves of `doctor` print.

use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/etc/ssh";
const CONFIG: &str = "sshd_config";
const DROP_INS: &str = "sshd_config.d";

/// A line for root's shell that gives each keyword its value, for everybody.
///
/// sshd tests the files before it reads them. If it would not start with them, they are taken back: an sshd that does
/// not start locks everybody out, and nobody sees it before the next boot. If an earlier line has another value, which
/// sshd would go on to use, only an edit by hand helps.
pub fn sshd_remedy(settings: &[(&str, &str)]) -> String {
    let unit = if Path::new("/usr/lib/systemd/system/ssh.service").exists() { "ssh" } else { "sshd" };
    remedy(Path::new(FOLDER), unit, settings)
}

fn remedy(folder: &Path, unit: &str, settings: &[(&str, &str)]) -> String {
    let places: Vec<Place> = settings.iter().map(|(keyword, _)| place(folder, keyword)).collect();
    let drop_ins = folder.join(DROP_INS);
    if places.iter().all(|place| *place == Place::DropIn) {
        let name = |keyword: &str| drop_in(keyword);
        let writes: Vec<String> =
            settings.iter().map(|(keyword, value)| format!("echo '{keyword} {value}' >{}", name(keyword))).collect();
        let names: Vec<String> = settings.iter().map(|(keyword, _)| name(keyword)).collect();
        return format!(
            "(cd {} && if {} && /usr/sbin/sshd -t; then systemctl try-reload-or-restart {unit}; \
             else rm -f {}; false; fi)",
            drop_ins.display(),
            writes.join(" && "),
            names.join(" ")
        );
    }
    let config = folder.join(CONFIG);
    let first = places.iter().find_map(|place| match place {
        Place::Line(file, _) => Some(file),
        _ => None,
    });
    let edit = |((keyword, value), place): (&(&str, &str), &Place)| match place {
        Place::Line(file, number) => format!("{}:{number}: {keyword} {value}", file.display()),
        _ => format!("{}, as its first line: {keyword} {value}", config.display()),
    };
    let edits: Vec<String> = settings.iter().zip(&places).map(edit).collect();
    let file = first.unwrap_or(&config).display();
    format!("editor {file}  # {}; then: sshd -t && systemctl reload {unit}", edits.join("; "))
}

/// Our file for one keyword. It sorts before the usual names.
fn drop_in(keyword: &str) -> String {
    format!("00-mfa-{keyword}.conf")
}

/// Where a value has to stand so that it is the first one that sshd reads.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In a file of ours.
    DropIn,
    /// In this line, which comes before a file of ours.
    Line(PathBuf, usize),
    /// In the main file, which does not include the folder.
    Beginning,
}

fn place(folder: &Path, keyword: &str) -> Place {
    let config = folder.join(CONFIG);
    let text = fs::read_to_string(&config).unwrap_or_default();
    for (number, word, rest) in lines_for_everybody(&text) {
        if word.eq_ignore_ascii_case(keyword) {
            return Place::Line(config, number);
        }
        if word.eq_ignore_ascii_case("include") && rest.contains("sshd_config.d/*.conf") {
            let earlier = before_ours(&folder.join(DROP_INS), keyword);
            return earlier.map_or(Place::DropIn, |(file, number)| Place::Line(file, number));
        }
    }
    Place::Beginning
}

/// The lines before the first `Match`, with their numbers and their first words.
fn lines_for_everybody(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let blank = |c: char| c.is_whitespace() || c == '=' || c == '"';
    let lines = text.lines().zip(1..).map(move |(line, number)| {
        let line = line.trim_matches(blank);
        let (word, rest) = line.split_at(line.find(blank).unwrap_or(line.len()));
        (number, word, rest)
    });
    lines.take_while(|(_, word, _)| !word.eq_ignore_ascii_case("match"))
}

/// The first line for a keyword in files that sort before ours. A file of our name that is already there counts too,
/// whatever it says: the remedy would write over it, and remove it if sshd would not start.
fn before_ours(folder: &Path, keyword: &str) -> Option<(PathBuf, usize)> {
    let ours = folder.join(drop_in(keyword));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".conf") && !name.starts_with('.') && *name <= drop_in(keyword));
    names.sort();
    names.into_iter().find_map(|name| {
        let file = folder.join(name);
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = lines_for_everybody(&text).find(|(_, word, _)| word.eq_ignore_ascii_case(keyword));
        let number = line.map(|(number, ..)| number).or((file == ours).then_some(1))?;
        Some((file, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The remedy for `UsePAM yes` on a host with these files, without the path of the folder.
    fn on(test: &str, files: &[(&str, &str)]) -> String {
        let folder = Path::new("/tmp").join(format!("mfa-wire-{test}-{}", std::process::id()));
        fs::create_dir_all(folder.join(DROP_INS)).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let remedy = remedy(&folder, "ssh", &[("UsePAM", "yes")]);
        let remedy = remedy.replace(folder.to_str().unwrap(), "");
        fs::remove_dir_all(folder).unwrap();
        remedy
    }

    const DEBIAN: (&str, &str) = ("sshd_config", "# x\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n");

    #[test]
    fn a_file_of_ours_is_written_tested_and_taken_back() {
        let typed = "(cd /sshd_config.d && if echo 'UsePAM yes' >00-mfa-UsePAM.conf && /usr/sbin/sshd -t; \
                     then systemctl try-reload-or-restart ssh; else rm -f 00-mfa-UsePAM.conf; false; fi)";
        let later = ("sshd_config.d/10-x.conf", "UsePAM no\n");
        let of_some = ("sshd_config.d/00-a.conf", "Match User bob\n  UsePAM no\n");
        assert_eq!(on("typed", &[DEBIAN, later, of_some]), typed);
    }

    #[test]
    fn a_line_that_sshd_reads_before_is_named() {
        let edit = |place: &str| {
            let file = place.split(':').next().unwrap();
            format!("editor {file}  # {place}: UsePAM yes; then: sshd -t && systemctl reload ssh")
        };
        let main = ("sshd_config", "\n usepam=no\nInclude /etc/ssh/sshd_config.d/*.conf\n");
        assert_eq!(on("main", &[main]), edit("/sshd_config:2"));
        let earlier = ("sshd_config.d/00-a.conf", "Port 22\n\"UsePAM\" no\n");
        assert_eq!(on("earlier", &[DEBIAN, earlier]), edit("/sshd_config.d/00-a.conf:2"));
        // Our own file with another value is somebody's decision.
        let own = ("sshd_config.d/00-mfa-UsePAM.conf", "UsePAM no\n");
        assert_eq!(on("own", &[DEBIAN, own]), edit("/sshd_config.d/00-mfa-UsePAM.conf:1"));
        let own_of_some = ("sshd_config.d/00-mfa-UsePAM.conf", "Match User bob\n  UsePAM no\n");
        assert_eq!(on("own-of-some", &[DEBIAN, own_of_some]), edit("/sshd_config.d/00-mfa-UsePAM.conf:1"));
        let without = on("without", &[("sshd_config", "Match all\nUsePAM no\n")]);
        assert_eq!(
            without,
            "editor /sshd_config  # /sshd_config, as its first line: UsePAM yes; then: sshd -t && systemctl reload ssh"
        );
    }
}
