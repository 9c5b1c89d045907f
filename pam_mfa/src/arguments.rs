//! The words after `pam_mfa.so` on a line of pam.d. They come from root's files; nothing comes from the environment.

use std::ffi::{CStr, CString};

use mfa_wire::printable;
use pam::module::PamHandle;

use crate::sys::pam::log;

const HELPER: &CStr = c"/usr/libexec/mfa-helper";
/// Where a helper listens for everybody, and where for root alone: users cannot fill that queue.
const SOCKET: &CStr = c"/run/mfa/helper.sock";
const SOCKET_OF_ROOT: &CStr = c"/run/mfa/root.sock";

/// The arguments on the line of pam.d.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// `stack=complete`: our auth line is reached only after a successful first factor, and the stack has our account
    /// line.
    pub(crate) stack_complete: bool,
    /// `config=FILE`, passed on to a helper that we start.
    pub(crate) config: Option<CString>,
    /// `helper=FILE`.
    pub(crate) helper: CString,
    /// `socket=FILE`: the socket of a listening helper, for all callers.
    pub(crate) socket: Option<CString>,
    /// `debug`: log phases and verdicts.
    pub(crate) debug: bool,
}

impl Arguments {
    /// The socket of a listening helper, for a caller that is root or not.
    pub(crate) fn socket(&self, root: bool) -> &CStr {
        self.socket.as_deref().unwrap_or(if root { SOCKET_OF_ROOT } else { SOCKET })
    }

    /// Reads the line, and logs arguments that it does not know. To fail the login instead would turn a typo into a
    /// lock-out.
    pub(crate) fn read(pam: &PamHandle, words: &[&CStr]) -> Arguments {
        let (arguments, complaints) = parse(words);
        for complaint in complaints {
            log(pam, libc::LOG_ERR, &complaint);
        }
        arguments
    }
}

fn parse(words: &[&CStr]) -> (Arguments, Vec<String>) {
    let mut arguments =
        Arguments { stack_complete: false, config: None, helper: HELPER.into(), socket: None, debug: false };
    let mut complaints = Vec::new();
    for &word in words {
        let bytes = word.to_bytes();
        let shown = || printable(&word.to_string_lossy(), 100);
        let file = |value: &[u8]| CString::new(value).ok().filter(|_| value.starts_with(b"/"));
        match bytes.iter().position(|b| *b == b'=').map(|n| (&bytes[..n], &bytes[n + 1..])) {
            Some((b"stack", b"complete")) => arguments.stack_complete = true,
            Some((name @ (b"config" | b"helper" | b"socket"), value)) => match (file(value), name) {
                (None, _) => complaints.push(format!("argument \"{}\" ignored: the path must be absolute", shown())),
                (Some(file), b"config") => arguments.config = Some(file),
                (Some(file), b"helper") => arguments.helper = file,
                (Some(file), _) => arguments.socket = Some(file),
            },
            None if bytes == b"debug" => arguments.debug = true,
            _ => complaints.push(format!("unknown argument \"{}\" ignored", shown())),
        }
    }
    (arguments, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_understood() {
        let words = [c"stack=complete", c"config=/etc/x.toml", c"helper=/opt/h", c"socket=/run/s", c"debug"];
        let expected = Arguments {
            stack_complete: true,
            config: Some(c"/etc/x.toml".into()),
            helper: c"/opt/h".into(),
            socket: Some(c"/run/s".into()),
            debug: true,
        };
        assert_eq!(parse(&words), (expected, vec![]));
    }

    #[test]
    fn no_arguments_mean_the_installed_helper_and_no_promise_about_the_stack() {
        let (arguments, complaints) = parse(&[]);
        assert_eq!(arguments.helper.as_c_str(), HELPER);
        assert!(!arguments.stack_complete && arguments.config.is_none() && complaints.is_empty());
    }

    #[test]
    fn root_has_a_socket_of_its_own_unless_the_line_names_one() {
        let (usual, _) = parse(&[]);
        assert_eq!((usual.socket(true), usual.socket(false)), (SOCKET_OF_ROOT, SOCKET));
        let (named, _) = parse(&[c"socket=/run/s"]);
        assert_eq!((named.socket(true), named.socket(false)), (c"/run/s", c"/run/s"));
    }

    #[test]
    fn relative_path_is_ignored_with_a_complaint() {
        for word in [c"helper=mfa-helper", c"helper=", c"config=../x", c"socket=s"] {
            let (arguments, complaints) = parse(&[word]);
            assert_eq!(arguments, parse(&[]).0, "{word:?} was taken");
            assert_eq!(complaints.len(), 1, "{word:?} passed in silence");
        }
    }

    #[test]
    fn unknown_word_is_ignored_with_one_complaint() {
        for word in [c"nullok", c"stack=incomplete", c"stack", c"debug=1", c"Debug", c"=", c"", c"\xff\x1b[31m"] {
            let (arguments, complaints) = parse(&[word]);
            assert_eq!(arguments, parse(&[]).0, "{word:?} was taken");
            assert_eq!(complaints.len(), 1, "{word:?} passed in silence");
            assert!(!complaints[0].contains('\x1b'), "an escape sequence reached the log");
        }
    }
}
