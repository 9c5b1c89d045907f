//! The keys in other programs' files, sorted by user. The keys of each user are imported in their own conversation.

use std::io;
use std::path::Path;

use mfa_wire::{MAX_NAME, MAX_TEXT};

use crate::cli::{Import, Source};
use crate::exit::Exit;
use crate::files;

/// The most that is read of a file: mappings of ten thousand users.
const LONGEST: u64 = 16 * 1024 * 1024;

/// One import for each user in the file, in the order of the file.
pub(crate) fn by_user(asked: &Import) -> Result<Vec<Import>, (String, Exit)> {
    let Source { path, .. } = asked.source();
    let usage = |what: String| (format!("{}: {what}", path.display()), Exit::Usage);
    let (text, is_roots) = read(path).map_err(|e| usage(e.to_string()))?;
    let users = match (asked, asked.user()) {
        (Import::AuthorizedKeys { .. }, Some(user)) => vec![(user.to_owned(), text)],
        (_, user) => {
            // Others who can write to the file could name any user in it, even root.
            if user.is_none() && !is_roots {
                return Err(usage("others than root can write to it: say whose keys to take, --user NAME".into()));
            }
            mapped(&text, user).map_err(usage)?
        }
    };
    if users.is_empty() {
        let whose = asked.user().map_or(String::from("of anybody"), |user| format!("of {user}"));
        return Err((format!("{}: there are no keys {whose} in it", path.display()), Exit::NotFound));
    }
    if let Some((user, _)) = users.iter().find(|(_, lines)| lines.len() > MAX_TEXT) {
        return Err(usage(format!("the lines of {user} are longer than {MAX_TEXT} bytes: take out other keys")));
    }
    Ok(users.into_iter().map(|(user, lines)| asked.of(user, lines)).collect())
}

/// The text, and whether only root can have written it.
fn read(path: &Path) -> io::Result<(String, bool)> {
    let files::Content { bytes, is_roots } = files::read(path, LONGEST)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text"))?;
    Ok((text, is_roots))
}

/// The lines `user:...`, by user.
fn mapped(text: &str, only: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let mut users: Vec<(String, String)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, _) = line.split_once(':').ok_or(format!("line {}: \"user:keys\" was expected", n + 1))?;
        if user.is_empty() || user.len() > MAX_NAME {
            return Err(format!("line {}: nobody is called so", n + 1));
        }
        if only.is_some_and(|only| only != user) {
            continue;
        }
        let place = *places.entry(user).or_insert_with(|| {
            users.push((user.to_owned(), String::new()));
            users.len() - 1
        });
        let lines = &mut users[place].1;
        lines.push_str(line);
        lines.push('\n');
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_user_in_their_order() {
        let text = "# keys\nbob:1\n\nalice:2:3\nbob:4\n";
        let pairs = |only| mapped(text, only).unwrap();
        let pair = |user: &str, lines: &str| (user.to_owned(), lines.to_owned());
        assert_eq!(pairs(None), [pair("bob", "bob:1\nbob:4\n"), pair("alice", "alice:2:3\n")]);
        assert_eq!(pairs(Some("alice")), [pair("alice", "alice:2:3\n")]);
        assert_eq!(pairs(Some("nobody")), []);
        for (wrong, said) in
            [("alice:1\nhello\n", "line 2"), (":1", "line 1"), (&format!("{}:1", "x".repeat(257)), "line 1")]
        {
            assert!(mapped(wrong, None).unwrap_err().starts_with(said), "{wrong}");
        }
    }
}
