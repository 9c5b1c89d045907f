//! The stack reader: on which paths through a service's PAM stack our lines are reached, and whether a refusal of ours
//! is the stack's.
//!
//! It reads the files as libpam does (`libpam/pam_handlers.c`, pam.conf(5)), in `parse`, and walks them as libpam does
//! (`libpam/pam_dispatch.c`), in `walk`, over every answer that every other module may give. Whatever it cannot tell
//! for sure is an error, and whoever asks takes an error for "no": what libpam makes of a malformed line, a missing file
//! or a service without a file differs from version to version and from distribution to distribution.
//!
//! An application may read its stack from another folder (`pam_start_confdir`). Nobody but that application can know.

mod files;
mod parse;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

pub use files::system_file;
pub use walk::{Findings, Outcome, Path, Reached, Step};

/// PAM's return codes, by the numbers of `security/_pam_types.h`.
pub type Code = i32;

/// `PAM_SUCCESS`.
pub const SUCCESS: Code = 0;
/// `PAM_PERM_DENIED`, also what libpam says itself when no module has said anything.
pub const PERM_DENIED: Code = 6;
/// `PAM_AUTH_ERR`.
const AUTH_ERR: Code = 7;
/// `PAM_NEW_AUTHTOK_REQD`: as the result of account, applications let the user in once the password is changed.
pub const NEW_AUTHTOK_REQD: Code = 12;
/// `PAM_IGNORE`.
pub const IGNORE: Code = 25;
/// `PAM_INCOMPLETE`: the application shall call again, and libpam goes on with the same module.
pub const INCOMPLETE: Code = 31;

/// The names of the codes in a control, as `libpam/pam_tokens.h` has them.
const CODES: [&str; 32] = [
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
];

/// The file name of our module.
pub const OURS: &str = "pam_mfa.so";

/// A type of lines that can let somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// pam_authenticate.
    Auth,
    /// pam_acct_mgmt.
    Account,
}

impl Kind {
    /// Whether applications let the user in when the stack ends so.
    ///
    /// `PAM_NEW_AUTHTOK_REQD` is no failure of account: sshd, login, su and sudo have the password changed and go on.
    pub fn lets_in(self, result: Code) -> bool {
        result == SUCCESS || (self == Kind::Account && result == NEW_AUTHTOK_REQD)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Auth => "auth",
            Kind::Account => "account",
        })
    }
}

/// The text of the file at an absolute path; `None` when there is none, and why not when it cannot be read or trusted.
pub type Files<'a> = dyn Fn(&str) -> Result<Option<String>, String> + 'a;

/// Why a stack cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackError {
    /// The service's name is none that names a file.
    Service(String),
    /// Neither the service nor `other` has a file.
    NoFile(String),
    /// A file cannot be read or trusted.
    File(String),
    /// A line is not understood, or not understood by every libpam in the same way.
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There are too many lines or paths to follow.
    TooMany,
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StackError::Service(name) => write!(f, "\"{}\" is not the name of a PAM service", name.escape_debug()),
            StackError::NoFile(name) => write!(f, "there is neither /etc/pam.d/{name} nor /etc/pam.d/other"),
            StackError::File(why) => f.write_str(why),
            StackError::Line { file, number, what } => write!(f, "{file}:{number}: {what}"),
            StackError::TooMany => f.write_str("the PAM stack has too many lines or paths to be followed"),
        }
    }
}

/// The lines of one type that libpam would run for a service, in their order.
#[derive(Debug)]
pub struct Stack {
    kind: Kind,
    /// It is that of sshd, which tells the modules what it has accepted.
    sshd: bool,
    entries: Vec<Entry>,
}

/// What libpam calls a handler.
#[derive(Debug)]
struct Entry {
    /// How many substacks it is in.
    level: usize,
    /// `None` marks where a substack begins, one level deeper; a jump counts the mark and all that is in it as one.
    module: Option<Module>,
}

/// A line that calls a module.
#[derive(Debug)]
pub struct Module {
    /// The file that the line is in.
    pub file: String,
    /// Where in it, from 1.
    pub number: usize,
    /// The module, as the line names it.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    control: [Action; CODES.len()],
}

/// What a control does with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Ignore,
    Ok,
    Done,
    Bad,
    Die,
    Reset,
    Jump(usize),
}

impl Stack {
    /// Reads the lines of one type of a service. Lines of other types are not looked at.
    pub fn read(service: &str, kind: Kind, files: &Files) -> Result<Stack, StackError> {
        Ok(Stack { kind, sshd: service == "sshd", entries: parse::entries(service, kind, files)? })
    }

    /// The same for callers that are not root: pam_rootok fails.
    pub fn not_by_root(mut self) -> Stack {
        for module in self.entries.iter_mut().filter_map(|entry| entry.module.as_mut()) {
            if module.name() == "pam_rootok.so" {
                module.control[SUCCESS as usize] = module.control[AUTH_ERR as usize];
            }
        }
        self
    }

    /// The lines that call modules, in the order of the files.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.entries.iter().filter_map(|entry| entry.module.as_ref())
    }
}

impl Module {
    /// Whether this is our module. By its plain name, or by a path that leaves no doubt; any other spelling may lead
    /// anywhere, so it counts as a foreign module.
    pub fn is_ours(&self) -> bool {
        let plain = |step: &str| !matches!(step, "" | "." | "..") && !step.contains('$');
        match self.path.strip_prefix('/') {
            Some(path) => self.name() == OURS && path.split('/').all(plain),
            None => self.path == OURS,
        }
    }

    /// The file name of the module.
    fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }
}

/// Whether a first factor of its own has succeeded on every path to our auth line: none of sshd's, whose key may be what is
/// to be the second.
pub fn asks_a_first_factor(service: &str, files: &Files) -> bool {
    let findings = Stack::read(service, Kind::Auth, files).and_then(|stack| Stack { sshd: false, ..stack }.judge());
    findings.is_ok_and(|findings| findings.reached == Reached::Always && findings.unproved.is_none())
}

/// Whether a hand-over to the account phase is safe: our account line is reached on every path on which the account
/// stack of this service lets the user in, and on no such path has it refused. The error says why not.
pub fn account_line_decides(service: &str, files: &Files) -> Result<(), String> {
    let findings = Stack::read(service, Kind::Account, files).and_then(|stack| stack.judge());
    let findings = findings.map_err(|error| error.to_string())?;
    match (findings.reached, findings.overridden) {
        (Reached::Always, None) => Ok(()),
        (Reached::Always, Some(path)) => Err(format!("{service}: account lets in although {OURS} refused: {path}")),
        (Reached::Sometimes(path), _) => Err(format!("{service}: account lets in without {OURS}: {path}")),
        (Reached::Never, _) => Err(format!("{service}: no account line of {OURS} is on a path that lets in")),
    }
}
