//! The stack reader: on which paths through a service's PAM stack our lines are reached, whether a first factor has
//! succeeded there, and whether a refusal of ours is the stack's.
//!
//! It reads the files as libpam does (`libpam/pam_handlers.c`, pam.conf(5)), in `parse`, and walks them as libpam does
//! (`libpam/pam_dispatch.c`), in `walk`, over every answer that every other module may give. Whatever it cannot tell
//! for sure is an error, and whoever asks takes an error for "no": what libpam makes of a malformed line, a missing file
//! or a service without a file differs from version to version and from distribution to distribution.
//!
//! An application may read its stack from another folder (`pam_start_confdir`). Nobody but that application can know.

mod files;
#[cfg(test)]
mod fixtures;
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

/// Services whose programs keep the real uid of whoever calls them.
const OF_USERS: [&str; 4] = ["chfn", "chsh", "su", "su-l"];

/// The file name of our module.
pub const OURS: &str = "pam_mfa.so";

/// A type of lines on which it depends whether somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// pam_authenticate.
    Auth,
    /// pam_acct_mgmt.
    Account,
    /// pam_open_session.
    Session,
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
            Kind::Session => "session",
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

    /// The same for callers that are not root: pam_rootok fails, where it looks at whoever calls. It goes by the real uid,
    /// and sshd, login, sudo and whatever else is started by root, or makes itself root, has that of root for everybody.
    pub fn not_by_root(mut self, service: &str) -> Stack {
        let of_users = OF_USERS.contains(&service.to_ascii_lowercase().as_str());
        for module in self.entries.iter_mut().filter_map(|entry| entry.module.as_mut()).filter(|_| of_users) {
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

/// Whether `stack=complete` is true: on every path to each of our auth lines a first factor has succeeded. The error says
/// on which it has not. Root, whom su asks for nothing, does not count.
pub fn truth(service: &str, files: &Files) -> Result<(), String> {
    let auth = judged_for_users(service, files)?;
    match auth.unproved {
        Some(path) => Err(format!("{service}: {OURS} is reached without a first factor that succeeded: {path}")),
        // Whoever was called all the same was called by a stack that is not this one.
        None if !auth.called => Err(format!("{service}: no auth line of {OURS} is reached")),
        None => Ok(()),
    }
}

/// Whether auth may leave somebody to the account phase, by saying `PAM_IGNORE`. The error says why not.
///
/// Auth lets in nobody without a first factor: also past our line, because account binds whoever owes a device. That our
/// line is called before a first factor has succeeded, or where one has failed, does no harm: libpam enters account
/// when all of auth has let in. Our account line decides, and our session line is called in every session that opens.
pub fn hand_over(service: &str, files: &Files) -> Result<(), String> {
    let auth = judged_for_users(service, files)?;
    if let Some(path) = auth.open {
        return Err(format!("{service}: auth lets in without a first factor: {path}"));
    }
    if !auth.ignorable {
        return Err(format!("{service}: auth lets in nobody whom {OURS} leaves to account"));
    }
    account_line_decides(service, files)?;
    session_line_is_called(service, files)
}

fn judged_for_users(service: &str, files: &Files) -> Result<Findings, String> {
    let stack = Stack::read(service, Kind::Auth, files).map(|stack| stack.not_by_root(service));
    stack.and_then(|stack| stack.judge()).map_err(|error| error.to_string())
}

/// Whether our account line is reached on every path on which the account stack of this service lets the user in, and on
/// no such path has it refused. The error says why not.
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

/// Whether our session line is called on every path on which the session opens. What it says does not matter.
fn session_line_is_called(service: &str, files: &Files) -> Result<(), String> {
    let findings = Stack::read(service, Kind::Session, files).and_then(|stack| stack.judge());
    match findings.map_err(|error| error.to_string())?.reached {
        Reached::Always => Ok(()),
        Reached::Sometimes(path) => Err(format!("{service}: a session opens without {OURS}: {path}")),
        Reached::Never => Err(format!("{service}: no session line of {OURS} is on a path that opens a session")),
    }
}

/// Whether auth may take an empty password: a module that does can be called. What cannot be told is yes.
pub fn takes_empty(service: &str, files: &Files) -> bool {
    let Ok(stack) = Stack::read(service, Kind::Auth, files) else { return true };
    stack.reachable().map_or(true, |modules| modules.iter().any(|module| module.may_take_empty()))
}
