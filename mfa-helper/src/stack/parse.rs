//! From the files to the lines of one type: `libpam/pam_handlers.c` (and `pam_misc.c` for words and controls), of
//! Linux-PAM 1.5 to 1.7 with Debian's `@include`.
//!
//! libpam turns a line that it does not understand into one that fails; here it is an error.

use super::{Action, CODES, Entry, Files, IGNORE, Kind, Module, NEW_AUTHTOK_REQD, SUCCESS, StackError};

/// `PAM_SUBSTACK_MAX_LEVEL`. Linux-PAM 1.5 counts only substacks; includes in a circle make it crash.
const DEPTH: usize = 32;

/// The most modules. More are taken for an accident.
const ENTRIES: usize = 500;

/// The most lines: files that each include the next one twice double the number at every level.
const LINES: usize = 10_000;

/// Linux-PAM 1.5 reads a line, with its continuation lines, into 1024 bytes, breaks longer comments into lines, and
/// fails at longer lines.
const LINE: usize = 1000;

/// Where libpam looks, in this order.
const FOLDERS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];

/// Where the libpam of some distributions (`--enable-vendordir`) looks after that.
const VENDOR_FOLDERS: [&str; 2] = ["/usr/etc/pam.d", "/usr/share/pam.d"];

/// Marks Debian and its derivatives. Their libpam knows `@include`, and looks for included files in the first folder
/// only. Upstream's libpam turns `@include` into an auth line that fails, and looks in all folders.
const DEBIAN: &str = "/etc/debian_version";

/// All services in one file. libpam reads it if no folder exists, and some builds (`--enable-read-both-confs`) read
/// it for services without their own file.
const ONE_FILE: &str = "/etc/pam.conf";

/// The service whose lines apply if a service has none of a type.
const OTHER: &str = "other";

/// The lines of one type that libpam would run for a service: `_pam_init_handlers` and what `_pam_dispatch` chooses.
pub fn entries(service: &str, kind: Kind, files: &Files) -> Result<Vec<Entry>, StackError> {
    // pam_start and pam_set_item do this too, in the locale of the application.
    let service = service.to_ascii_lowercase();
    let named = (1..=255).contains(&service.len()) && service.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    // The file `other` would be read twice, with its lines one after the other.
    if !named || service.starts_with('.') || service == OTHER {
        return Err(StackError::Service(service));
    }
    let mut reader = Reader { kind, files, entries: Vec::new(), lines: 0 };
    let found = find(&service, files)?;
    if let Some((file, text)) = &found {
        reader.file(file, text, 0, 0)?;
    }
    if reader.entries.is_empty() {
        match find(OTHER, files)? {
            Some((file, text)) => reader.file(&file, &text, 0, 0)?,
            None if found.is_none() => return Err(StackError::NoFile(service)),
            // Without any line, pam_acct_mgmt and pam_authenticate return PAM_PERM_DENIED.
            None => {}
        }
    }
    Ok(reader.entries)
}

/// A service's own file.
fn find(service: &str, files: &Files) -> Result<Option<(String, String)>, StackError> {
    if let Some(found) = search(service, files)? {
        return Ok(Some(found));
    }
    match read(ONE_FILE, files)? {
        Some(text) if !logical_lines(ONE_FILE, &text)?.is_empty() => {
            Err(StackError::File(format!("{ONE_FILE} may be read or not: move its lines to {}", FOLDERS[0])))
        }
        _ => Ok(None),
    }
}

/// `_pam_open_config_file`.
fn search(name: &str, files: &Files) -> Result<Option<(String, String)>, StackError> {
    for folder in FOLDERS {
        let file = format!("{folder}/{name}");
        if let Some(text) = read(&file, files)? {
            return Ok(Some((file, text)));
        }
    }
    for folder in VENDOR_FOLDERS {
        let file = format!("{folder}/{name}");
        if read(&file, files)?.is_some() {
            return Err(StackError::File(format!("{file} may be read or not: put a copy into {}", FOLDERS[0])));
        }
    }
    Ok(None)
}

fn read(file: &str, files: &Files) -> Result<Option<String>, StackError> {
    files(file).map_err(StackError::File)
}

struct Reader<'a> {
    kind: Kind,
    files: &'a Files<'a>,
    entries: Vec<Entry>,
    lines: usize,
}

impl Reader<'_> {
    /// `_pam_parse_conf_file`. `depth` counts files in files, `level` only substacks.
    fn file(&mut self, file: &str, text: &str, depth: usize, level: usize) -> Result<(), StackError> {
        for (number, line) in logical_lines(file, text)? {
            self.line(file, number, &line, depth, level)?;
            self.lines += 1;
            if self.entries.len() > ENTRIES || self.lines > LINES {
                return Err(StackError::TooMany);
            }
        }
        Ok(())
    }

    fn line(&mut self, file: &str, number: usize, line: &str, depth: usize, level: usize) -> Result<(), StackError> {
        let wrong = |what: String| StackError::Line { file: file.to_owned(), number, what };
        let mut rest = line;
        let mut word = |missing: &str| word(&mut rest).map_err(wrong)?.ok_or_else(|| wrong(missing.to_owned()));

        let kind = word("the line has no type")?;
        // The dash only keeps a missing module out of the log.
        let kind = kind.strip_prefix('-').unwrap_or(&kind).to_ascii_lowercase();
        if kind == "@include" {
            if !self.debian()? {
                return Err(wrong(format!("@include is Debian's, and there is no {DEBIAN}")));
            }
            let name = word("@include names no file")?;
            return self.include(&name, depth + 1, level, &wrong);
        }
        let known = ["auth", "account", "session", "password"];
        if !known.contains(&kind.as_str()) {
            return Err(wrong(format!("\"{kind}\" is no type: auth, account, password or session")));
        }
        if kind != self.kind.to_string() {
            return Ok(());
        }

        let control = word("the line has no control")?;
        let word_of_control = control.to_ascii_lowercase();
        if matches!(word_of_control.as_str(), "include" | "substack") {
            let name = word("the line names no file")?;
            let inner = level + usize::from(word_of_control == "substack");
            if inner > level {
                self.entries.push(Entry { level, module: None });
            }
            return self.include(&name, depth + 1, inner, &wrong);
        }
        let control = parse_control(&control).map_err(wrong)?;
        let path = word("the line names no module")?;
        let arguments = words(rest).map_err(wrong)?;
        let module = Module { file: file.to_owned(), number, path, arguments, control };
        self.entries.push(Entry { level, module: Some(module) });
        Ok(())
    }

    /// `_pam_load_conf_file`; `wrong` makes the error for the including line.
    fn include(
        &mut self,
        name: &str,
        depth: usize,
        level: usize,
        wrong: &dyn Fn(String) -> StackError,
    ) -> Result<(), StackError> {
        if depth >= DEPTH {
            return Err(wrong(format!("{name} is included too deeply, or in a circle")));
        }
        let alone = if name.starts_with('/') {
            Some(name.to_owned())
        } else {
            self.debian()?.then(|| format!("{}/{name}", FOLDERS[0]))
        };
        let found = match alone {
            Some(file) => read(&file, self.files)?.map(|text| (file, text)),
            None => search(name, self.files)?,
        };
        let (file, text) = found.ok_or_else(|| wrong(format!("{name}, which it includes, is missing")))?;
        self.file(&file, &text, depth, level)
    }

    fn debian(&self) -> Result<bool, StackError> {
        Ok(read(DEBIAN, self.files)?.is_some())
    }
}

/// The lines without comments, with continuation lines joined, and the number at which each begins:
/// `_pam_assemble_line` of Linux-PAM 1.5, `_pam_line_assemble` of 1.7. If the two differ, it is an error.
fn logical_lines(file: &str, text: &str) -> Result<Vec<(usize, String)>, StackError> {
    let mut lines = Vec::new();
    let mut continued: Option<(usize, String)> = None;
    let wrong =
        |number: usize, what: &str| Err(StackError::Line { file: file.to_owned(), number, what: what.to_owned() });
    for (line, number) in text.strip_suffix('\n').unwrap_or(text).split('\n').zip(1..) {
        // A carriage return would be part of the last word; a control would accept other white space as blanks.
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return wrong(number, "the line has a control character, such as the carriage return of Windows");
        }
        let content = line.split('#').next().unwrap_or_default();
        let blank = content.trim_matches(BLANKS).is_empty();
        if blank && continued.is_some() {
            return wrong(number, "an empty line or a comment continues a line");
        }
        // A comment ends the line; a backslash before it does not continue the line.
        let backslash = line.trim_end_matches(BLANKS).strip_suffix('\\').filter(|_| content.len() == line.len());
        let (begin, mut whole) = continued.take().unwrap_or((number, String::new()));
        if whole.len() + line.len() > LINE {
            return wrong(number, "the line is too long for some versions of libpam");
        }
        whole.push_str(backslash.unwrap_or(content));
        if backslash.is_some() {
            whole.push(' ');
            continued = Some((begin, whole));
        } else if !blank {
            lines.push((begin, whole));
        }
    }
    match continued {
        Some((number, _)) => wrong(number, "the file ends in the middle of the line"),
        None => Ok(lines),
    }
}

/// The characters between words, besides the newline.
const BLANKS: [char; 2] = [' ', '\t'];

/// The next word, as `_pam_tokenize`: text in brackets is one word without the brackets, and `\]` in it is a bracket.
fn word(rest: &mut &str) -> Result<Option<String>, String> {
    let from = rest.trim_start_matches(BLANKS);
    let Some(inner) = from.strip_prefix('[') else {
        let end = from.find(BLANKS).unwrap_or(from.len());
        *rest = &from[end..];
        return Ok(Some(from[..end].to_owned()).filter(|word| !word.is_empty()));
    };
    let mut word = String::new();
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == ']' {
            *rest = &inner[at + 1..];
            return Ok(Some(word));
        }
        if c == '\\'
            && let Some((_, bracket)) = chars.next_if(|(_, next)| *next == ']')
        {
            word.push(bracket);
        } else {
            word.push(c);
        }
    }
    Err(String::from("a bracket is not closed"))
}

fn words(mut rest: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    while let Some(word) = word(&mut rest)? {
        words.push(word);
    }
    Ok(words)
}

/// The four old words are abbreviations of controls in brackets (pam.conf(5)). Their case does not matter; the case
/// inside brackets does. libpam does not check whether the brackets are there.
fn parse_control(control: &str) -> Result<[Action; CODES.len()], String> {
    let (success, other) = match control.to_ascii_lowercase().as_str() {
        "required" => (Action::Ok, Action::Bad),
        "requisite" => (Action::Ok, Action::Die),
        "sufficient" => (Action::Done, Action::Ignore),
        "optional" => (Action::Ok, Action::Ignore),
        _ => return parse_pairs(control),
    };
    let mut actions = [other; CODES.len()];
    actions[SUCCESS as usize] = success;
    actions[NEW_AUTHTOK_REQD as usize] = success;
    actions[IGNORE as usize] = Action::Ignore;
    Ok(actions)
}

/// `_pam_parse_control`: pairs `code=action`. `default` sets the codes that are not set yet; a later code overrides.
fn parse_pairs(control: &str) -> Result<[Action; CODES.len()], String> {
    let wrong = || format!("the control \"{control}\" is not understood");
    let mut actions = [None; CODES.len()];
    let mut rest = control.trim_start_matches(BLANKS);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (name, pair) = rest.split_once('=').ok_or_else(wrong)?;
        let (action, behind) = parse_action(pair.trim_start_matches(BLANKS)).ok_or_else(wrong)?;
        let name = name.trim_end_matches(BLANKS);
        if name == "default" {
            actions = actions.map(|set| set.or(Some(action)));
        } else {
            let code = CODES.iter().position(|code| *code == name).ok_or_else(wrong)?;
            actions[code] = Some(action);
        }
        rest = behind.trim_start_matches(BLANKS);
    }
    Ok(actions.map(|set| set.unwrap_or(Action::Bad)))
}

/// An action, and the text after it: libpam allows no blank between an action and the next code.
fn parse_action(text: &str) -> Option<(Action, &str)> {
    let words = [
        ("ignore", Action::Ignore),
        ("ok", Action::Ok),
        ("done", Action::Done),
        ("bad", Action::Bad),
        ("die", Action::Die),
        ("reset", Action::Reset),
    ];
    if let Some(found) = words.iter().find_map(|(word, action)| Some((*action, text.strip_prefix(word)?))) {
        return Some(found);
    }
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let jump = text[..text.len() - behind.len()].parse().ok()?;
    // libpam demands `ignore` instead of 0, and no stack has more lines than ENTRIES.
    (1..=ENTRIES).contains(&jump).then_some((Action::Jump(jump), behind))
}
