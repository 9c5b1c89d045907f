//! The stack reader. It says on which paths through a service's PAM stack our lines are reached, whether a first
//! factor has succeeded there, and whether the stack refuses when we refuse.
//!
//! `parse` reads the files as libpam does (`libpam/pam_handlers.c`, pam.conf(5)), and `walk` follows all paths as
//! libpam does (`libpam/pam_dispatch.c`), with every result that every other module may return. If something is not
//! certain, it is an error, and callers take an error for "no": libpam's treatment of a malformed line, a missing
//! file or a service without a file differs between versions and distributions.
//!
//! An application may read its stack from another folder (`pam_start_confdir`). That cannot be seen from outside.

mod files;
#[cfg(test)]
mod fixtures;
mod parse;
mod services;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

pub use files::{module_folders, system_file};
pub use services::{Unasked, asks, is_there, services};
pub use walk::{End, Findings, Outcome, Path, Reached, Step};

/// PAM's return codes, by the numbers of `security/_pam_types.h`.
pub type Code = i32;

/// `PAM_SUCCESS`.
pub const SUCCESS: Code = 0;
/// `PAM_PERM_DENIED`, also libpam's own result if no module decided.
pub const PERM_DENIED: Code = 6;
/// `PAM_AUTH_ERR`.
pub const AUTH_ERR: Code = 7;
/// `PAM_NEW_AUTHTOK_REQD`: with this result of account, applications let the user in after a change of the password.
pub const NEW_AUTHTOK_REQD: Code = 12;
/// `PAM_IGNORE`.
pub const IGNORE: Code = 25;
/// `PAM_INCOMPLETE`: the application must call again, and libpam continues with the same module.
pub const INCOMPLETE: Code = 31;

/// The names of the codes in a control, in the order of `libpam/pam_tokens.h`.
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

/// Services whose programs keep the real uid of their caller.
const OF_USERS: [&str; 4] = ["chfn", "chsh", "su", "su-l"];

/// The file name of our module.
pub const OURS: &str = "pam_mfa.so";

/// A type of lines that decides whether a user gets in.
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
    /// Whether applications let the user in with this result.
    ///
    /// For account, `PAM_NEW_AUTHTOK_REQD` is no failure: sshd, login, su and sudo have the password changed and go
    /// on.
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

/// The text of the file at an absolute path; `None` if it does not exist. The error says why it cannot be read or
/// trusted.
pub type Files<'a> = dyn Fn(&str) -> Result<Option<String>, String> + 'a;

/// Why a stack cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackError {
    /// No file can have the name of this service.
    Service(String),
    /// Neither the service nor `other` has a file.
    NoFile(String),
    /// A file cannot be read or trusted.
    File(String),
    /// A line is not understood, or not by every version of libpam in the same way.
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

/// The lines of one type that libpam would run for a service, in order.
#[derive(Debug)]
pub struct Stack {
    kind: Kind,
    /// Whether the service is sshd, which tells the modules which methods it has accepted.
    sshd: bool,
    entries: Vec<Entry>,
}

/// A "handler" of libpam.
#[derive(Debug)]
struct Entry {
    /// How many substacks it is inside.
    level: usize,
    /// `None` marks the beginning of a substack, one level deeper; a jump counts the mark and everything in the
    /// substack as one.
    module: Option<Module>,
}

/// A line that calls a module.
#[derive(Debug)]
pub struct Module {
    /// The file of the line.
    pub file: String,
    /// The number of the line, from 1.
    pub number: usize,
    /// The module, as the line names it.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    control: [Action; CODES.len()],
}

/// What a control does with a return code.
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
    /// Reads the lines of one type for a service. Lines of other types are not checked.
    pub fn read(service: &str, kind: Kind, files: &Files) -> Result<Stack, StackError> {
        Ok(Stack { kind, sshd: service == "sshd", entries: parse::entries(service, kind, files)? })
    }

    /// The stack for callers that are not root. pam_rootok fails in programs that keep their caller's real uid,
    /// because it looks at that. In sshd, login, sudo and other programs that run as root, the real uid is root's for
    /// every user.
    pub fn not_by_root(mut self, service: &str) -> Stack {
        let of_users = keeps_callers_uid(service);
        for module in self.entries.iter_mut().filter_map(|entry| entry.module.as_mut()).filter(|_| of_users) {
            if module.name() == "pam_rootok.so" {
                module.control[SUCCESS as usize] = module.control[AUTH_ERR as usize];
            }
        }
        self
    }

    /// The modules that lines call, in the order of the files.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.entries.iter().filter_map(|entry| entry.module.as_ref())
    }

    /// Whether a jump may pass over this line. If the line is taken out, such a jump goes one line further.
    pub fn may_jump_over(&self, line: &Module) -> bool {
        let is_here = |entry: &Entry| entry.module.as_ref().is_some_and(|module| std::ptr::eq(module, line));
        let here = self.entries.iter().position(is_here).unwrap_or(self.entries.len());
        self.entries[..here].iter().enumerate().any(|(from, entry)| {
            let jumps = |lines: usize| {
                // A jump counts a substack as one.
                lines > 0 && (from + lines >= here || self.entries[from..here].iter().any(|e| e.module.is_none()))
            };
            let control = entry.module.iter().flat_map(|module| module.control);
            control.into_iter().any(|action| matches!(action, Action::Jump(lines) if jumps(lines)))
        })
    }
}

impl Module {
    /// Whether this is our module. Only by its plain name, or by an absolute path without special steps; any other
    /// spelling may lead elsewhere, so it counts as a foreign module.
    pub fn is_ours(&self) -> bool {
        let plain = |step: &str| !matches!(step, "" | "." | "..") && !step.contains('$');
        match self.path.strip_prefix('/') {
            Some(path) => self.name() == OURS && path.split('/').all(plain),
            None => self.path == OURS,
        }
    }

    /// The file name of the module.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }
}

/// Whether the program of a service keeps the real uid of its caller.
pub fn keeps_callers_uid(service: &str) -> bool {
    OF_USERS.contains(&service.to_ascii_lowercase().as_str())
}

/// Whether the stack's own first factor has succeeded on every path to our auth line. A key that sshd accepted does
/// not count here, because it may be the second factor.
pub fn asks_a_first_factor(service: &str, files: &Files) -> bool {
    let findings =
        Stack::read(service, Kind::Auth, files).and_then(|stack| Stack { sshd: false, ..stack }.judge_runs());
    findings.is_ok_and(|findings| findings.reached == Reached::Always && findings.unproved.is_none())
}

/// Whether `stack=complete` is true: on every path to each of our auth lines a first factor has succeeded. The error
/// names a path where none has. Root in su, who is asked for nothing, does not count.
pub fn truth(service: &str, files: &Files) -> Result<(), String> {
    let auth = judged_for_users(service, files)?;
    match auth.unproved {
        Some(path) => Err(format!("{service}: {OURS} is reached without a first factor that succeeded: {path}")),
        // If our module was called all the same, the program uses another stack than this one.
        None if !auth.called => Err(format!("{service}: no auth line of {OURS} is reached")),
        None => Ok(()),
    }
}

/// Whether auth may leave a user to the account phase, by returning `PAM_IGNORE`. The error says why not.
///
/// Three conditions. First, auth lets in nobody without a first factor, also on paths past our line, because account
/// binds a device for every user who must have one. (It does no harm if our line is called before a first factor
/// succeeds, or after one fails: libpam enters account only after all of auth has let in.) Second, our account line
/// decides. Third, our session line is called in every session that opens.
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
    stack.and_then(|stack| stack.judge_runs()).map_err(|error| error.to_string())
}

/// Whether our account line is reached on every path on which this service's account stack lets the user in, and its
/// refusal is never overridden. The error says why not.
pub fn account_line_decides(service: &str, files: &Files) -> Result<(), String> {
    let findings = Stack::read(service, Kind::Account, files).and_then(|stack| stack.judge_runs());
    let findings = findings.map_err(|error| error.to_string())?;
    match (findings.reached, findings.overridden) {
        (Reached::Always, None) => Ok(()),
        (Reached::Always, Some(path)) => Err(format!("{service}: account lets in although {OURS} refused: {path}")),
        (Reached::Sometimes(path), _) => Err(format!("{service}: account lets in without {OURS}: {path}")),
        (Reached::Never, _) => Err(format!("{service}: no account line of {OURS} is on a path that lets in")),
    }
}

/// Whether our session line is called on every path on which a session opens. Its result does not matter.
fn session_line_is_called(service: &str, files: &Files) -> Result<(), String> {
    let findings = Stack::read(service, Kind::Session, files).and_then(|stack| stack.judge_runs());
    match findings.map_err(|error| error.to_string())?.reached {
        Reached::Always => Ok(()),
        Reached::Sometimes(path) => Err(format!("{service}: a session opens without {OURS}: {path}")),
        Reached::Never => Err(format!("{service}: no session line of {OURS} is on a path that opens a session")),
    }
}

/// Whether a module beside pam_unix may ask for a password that it keeps elsewhere, as in a directory. Yes if that is not
/// certain.
pub fn asks_elsewhere(service: &str, files: &Files) -> bool {
    let another = |module: &Module| module.may_prove() && !module.asks_for_a_key() && module.name() != "pam_unix.so";
    Stack::read(service, Kind::Auth, files).map_or(true, |stack| stack.modules().any(another))
}

/// Whether auth may accept an empty password, because a module that does can be called. Yes if that is not certain.
pub fn takes_empty(service: &str, files: &Files) -> bool {
    let Ok(stack) = Stack::read(service, Kind::Auth, files) else { return true };
    stack.reachable().map_or(true, |modules| modules.iter().any(|module| module.may_take_empty()))
}
