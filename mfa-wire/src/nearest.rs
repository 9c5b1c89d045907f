//! The known name that was probably meant.

/// The name of `known` nearest to the unknown one, whatever its capital letters. Only a name that differs in at most
/// one letter more than a quarter of them is proposed.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let near = known.map(|name| (distance(&unknown, &name.to_lowercase()), name)).min()?;
    (near.0 <= 1 + unknown.len() / 4).then_some(near.1)
}

/// How many bytes have to be put in, taken out or changed to make one of the other (Levenshtein).
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_name_that_was_probably_meant_is_found() {
        let services = ["cron", "login", "sshd", "su", "su-l", "sudo"];
        let meant = |typed| nearest(typed, services.into_iter());
        assert_eq!([meant("ssh"), meant("SSHD"), meant("sudoo")], [Some("sshd"), Some("sshd"), Some("sudo")]);
        assert_eq!([meant("rstudio"), meant("vsftpd"), nearest("sshd", [].into_iter())], [None; 3]);
    }

    #[test]
    fn each_letter_that_differs_counts() {
        let distances = [distance("abc", "abc"), distance("abc", "axc"), distance("", "abc"), distance("ab", "b")];
        assert_eq!(distances, [0, 1, 3, 1]);
    }
}
