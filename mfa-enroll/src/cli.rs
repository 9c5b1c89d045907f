//! The command line. What it accepts is documented in mfa-enroll(1).

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use mfa_wire::{Login, MAX_ANSWER, MAX_NAME, NewKey, Request, Required};

use crate::exit::Exit;
use crate::sshkey::SshKey;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: wrong code, not allowed, cancelled
  2  usage
  3  nothing such: no user, no binding, nothing pending
  4  already so
  5  unavailable: helper, its service, or store
  6  doctor, policy check: something should be mended
  7  doctor, policy check: something lets past or locks out

Data goes to stdout, messages go to stderr. Times are UTC.";

/// Bind and manage devices for multi-factor login.
#[derive(Parser)]
#[command(name = "mfa-enroll", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Use this configuration file (root only)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    // In debug builds only: a user whom sudo allows this program must not be able to run another one through it.
    /// Start this helper instead of the installed one
    #[cfg(debug_assertions)]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) helper: Option<PathBuf>,

    // In debug builds only, for the same reason. Not used as root.
    /// Knock at this socket instead of the service's
    #[cfg(debug_assertions)]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) socket: Option<PathBuf>,

    /// What to do. Without: say where the caller stands.
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// What can be done.
#[derive(Subcommand, Clone)]
pub(crate) enum Verb {
    /// Bind an authenticator app by a QR code and two codes in a row
    Totp(First),
    /// Bind a security key, the first one or one more, by a touch
    U2f(FirstKey),
    /// Bind the pending device of a user by two consecutive codes
    Confirm(Confirm),
    /// Drop the pending device of a user, and void an invitation
    Cancel(Whose),
    /// Bind another device, in place of the one that is bound
    #[command(subcommand)]
    Replace(Replace),
    /// Disable the binding and destroy its key
    Disable(Disable),
    /// Make new recovery codes in place of the old ones
    RecoveryCodes(RecoveryCodes),
    /// Say what is bound and required; never a key
    Status(Status),
    /// Ask me for the device as a login would, and say the outcome
    Test(Test),
    /// Forget the wrong codes of a user, and so end a lock
    Unlock(Whose),
    /// Print a code that lets a user in once, without the device
    Bypass(Bypass),
    /// Learn by two codes how far the clock of a device is off
    Resync(Confirm),
    /// Show who has a device, or the members of a group
    List(List),
    /// Look for what on this host lets past or locks out
    Doctor(Doctor),
    /// Say which logins are remembered, or have them forgotten
    Tickets(Tickets),
    /// Require a device of a user or a group: writes a rule
    Require(Require),
    /// Remove such a rule again
    Unrequire(Unrequire),
    /// Print a ticket by which a user may bind a device
    Invite(Whose),
    /// Make the device of a renamed account follow its new name
    Rename(Rename),
    /// Take over the security keys that another program knows
    #[command(subcommand)]
    Import(Import),
    /// Look into the policy
    #[command(subcommand)]
    Policy(Policy),
}

/// What a device can be replaced by.
#[derive(Subcommand, Clone)]
pub(crate) enum Replace {
    /// By an authenticator app; the old device works until then
    Totp(Totp),
    /// By a security key; what is bound works until then
    U2f(SecurityKey),
}

#[derive(Args, Clone, Default)]
pub(crate) struct FirstKey {
    #[command(flatten)]
    pub(crate) key: SecurityKey,

    /// Prove yourself by the ticket of an invitation
    #[arg(long)]
    invitation: bool,
}

#[derive(Args, Clone, Default)]
pub(crate) struct SecurityKey {
    /// Whose key it will be; root has to say [default: yours]
    #[arg(long, value_parser = name)]
    user: Option<String>,

    /// What to call the key
    #[arg(long, value_parser = name)]
    label: Option<String>,

    /// Bind the key by this public key of ssh's, as in
    /// ~/.ssh/id_ed25519_sk.pub, and by your ssh agent: for a
    /// key that is plugged in elsewhere
    #[arg(long, verbatim_doc_comment, value_name = "FILE", value_hint = ValueHint::FilePath,
          value_parser = PathBufValueParser::new().map(SshKey::read))]
    ssh_key: Option<FromFile>,
}

/// The key, or why there is none of use, which is no fault of the command line.
type FromFile = Result<SshKey, (String, Exit)>;

impl SecurityKey {
    fn new_key(self) -> NewKey {
        let ssh_key = self.ssh_key.and_then(Result::ok).map(|key| key.line);
        NewKey { user: self.user, label: self.label, ssh_key }
    }
}

/// What another program has written.
#[derive(Subcommand, Clone)]
pub(crate) enum Import {
    /// From a mapping of pam_u2f: u2f_mappings, u2f_keys
    PamU2f {
        #[command(flatten)]
        source: Source,

        /// Whose keys only [default: those of all in the file]
        #[arg(long, value_parser = name)]
        user: Option<String>,

        /// What pam_u2f was told as origin (of old keys: appid)
        /// [default: pam://HOSTNAME]
        #[arg(long, verbatim_doc_comment, value_parser = name)]
        origin: Option<String>,
    },
    /// From a file of sshd: those keys that are security keys
    AuthorizedKeys {
        #[command(flatten)]
        source: Source,

        /// Whose keys they are
        #[arg(long, value_parser = name)]
        user: String,
    },
}

/// A file, and what is in it for one user.
#[derive(Args, Clone, Default)]
pub(crate) struct Source {
    /// The file
    #[arg(value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,

    #[arg(skip)]
    lines: String,
}

impl Import {
    pub(crate) fn source(&self) -> &Source {
        let (Import::PamU2f { source, .. } | Import::AuthorizedKeys { source, .. }) = self;
        source
    }

    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Import::PamU2f { user, .. } => user.as_deref(),
            Import::AuthorizedKeys { user, .. } => Some(user),
        }
    }

    /// The import of only these `lines` of the file, which are about `user`.
    pub(crate) fn of(&self, user: String, lines: String) -> Import {
        let source = Source { lines, ..self.source().clone() };
        match self.clone() {
            Import::PamU2f { origin, .. } => Import::PamU2f { source, user: Some(user), origin },
            Import::AuthorizedKeys { .. } => Import::AuthorizedKeys { source, user },
        }
    }

    fn verb(self) -> mfa_wire::Verb {
        let user = self.user().unwrap_or_default().to_owned();
        let (format, source, origin) = match self {
            Import::PamU2f { source, origin, .. } => ("pam-u2f", source, origin),
            Import::AuthorizedKeys { source, .. } => ("authorized-keys", source, None),
        };
        mfa_wire::Verb::Import { user, format: format.into(), origin, lines: source.lines }
    }
}

#[derive(Args, Clone, Default)]
pub(crate) struct First {
    #[command(flatten)]
    pub(crate) totp: Totp,

    /// Prove yourself by the ticket of an invitation
    #[arg(long, conflicts_with = "json")]
    pub(crate) invitation: bool,
}

#[derive(Args, Clone, Default)]
pub(crate) struct Totp {
    /// Whose device it will be; root has to say [default: yours]
    #[arg(long, value_parser = name)]
    pub(crate) user: Option<String>,

    /// What to call the device
    #[arg(long, value_parser = name)]
    pub(crate) label: Option<String>,

    /// Also write the QR code to a new file for your eyes only
    #[arg(long, value_name = "FILE")]
    pub(crate) qr_svg: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) drawing: Drawing,

    /// Ask nothing: make a pending device and print it as JSON
    /// with "user", "secret", "uri" and "expires", a time like
    /// "2026-11-21T22:40:00Z"; confirm binds it, cancel drops it
    #[arg(long, verbatim_doc_comment, requires = "user", conflicts_with_all = ["ascii", "invert", "key_only"])]
    pub(crate) json: bool,
}

/// How the QR code is drawn on the terminal.
#[derive(Args, Clone, Default)]
pub(crate) struct Drawing {
    /// Draw the QR code with plain characters
    #[arg(long)]
    pub(crate) ascii: bool,

    /// Draw the QR code without colours, for a light terminal
    #[arg(long)]
    pub(crate) invert: bool,

    /// Draw no QR code
    #[arg(long, conflicts_with_all = ["ascii", "invert"])]
    pub(crate) key_only: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Confirm {
    /// Whose device it is
    #[arg(long, value_parser = name)]
    pub(crate) user: String,

    /// The code that the app shows now [default: prompt for both]
    #[arg(value_name = "CODE1", value_parser = code, requires = "second")]
    first: Option<String>,

    /// The next one
    #[arg(value_name = "CODE2", value_parser = code)]
    second: Option<String>,
}

impl Confirm {
    /// The two codes, if they were given. The parser demands both or none.
    pub(crate) fn codes(&self) -> Option<[&str; 2]> {
        Some([self.first.as_deref()?, self.second.as_deref()?])
    }
}

#[derive(Args, Clone)]
pub(crate) struct Whose {
    /// Whose device it is
    #[arg(long, value_parser = name)]
    pub(crate) user: String,
}

#[derive(Args, Clone)]
pub(crate) struct Rename {
    /// The name that the account had
    #[arg(value_parser = name)]
    old: String,

    /// The name that it has now
    #[arg(value_parser = name)]
    new: String,
}

#[derive(Args, Clone)]
pub(crate) struct Disable {
    /// Whose device it is; root has to say [default: yours]
    #[arg(long, value_parser = name)]
    pub(crate) user: Option<String>,

    /// Only the device with this id (see status) [default: all]
    #[arg(long, value_name = "ID", value_parser = name)]
    device: Option<String>,
}

#[derive(Args, Clone)]
pub(crate) struct Bypass {
    /// Whom it lets in
    #[arg(long, value_parser = name)]
    user: String,

    /// For so long, as in 90s, 10m or 8h; a week (168h) at most;
    /// 0 makes none, and voids the one there is
    #[arg(long = "for", value_name = "TIME", verbatim_doc_comment, value_parser = duration_or_none, default_value = "1h")]
    seconds: u64,
}

#[derive(Args, Clone)]
pub(crate) struct RecoveryCodes {
    /// Whose codes; root has to say [default: yours]
    #[arg(long, value_parser = name)]
    pub(crate) user: Option<String>,

    /// Print them as JSON, with "user" and "recovery_codes"
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Test {
    /// The service whose rules to go by
    #[arg(long, value_parser = name, default_value = "login")]
    pub(crate) service: String,
}

#[derive(Args, Clone, Default)]
pub(crate) struct Status {
    /// Whose standing to tell [default: yours]
    #[arg(long, value_parser = name)]
    pub(crate) user: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Tickets {
    /// Whose logins they are [default: yours]
    #[arg(long, value_parser = name)]
    user: Option<String>,

    /// Forget the one with this id, or "all"
    #[arg(long, value_name = "ID", value_parser = name)]
    revoke: Option<String>,

    /// Print a JSON array
    #[arg(long, conflicts_with = "revoke")]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
pub(crate) struct List {
    /// The members of this group, with a record or without
    #[arg(long, value_parser = name)]
    pub(crate) group: Option<String>,

    /// Only who is required to have a device and has none
    #[arg(long)]
    pub(crate) missing: bool,

    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Doctor {
    /// Do not tell what is found under this id any more, or, as
    /// ID:WHERE, only of what is found there
    #[arg(long, verbatim_doc_comment, value_name = "ID", value_parser = name)]
    pub(crate) ignore: Vec<String>,

    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
#[command(group(ArgGroup::new("which").args(["user", "group", "confirm"]).required(true)))]
pub(crate) struct Require {
    #[command(flatten)]
    whom: Whom,

    /// With these kinds only
    #[arg(long, value_delimiter = ',', value_parser = ["totp", "u2f"], conflicts_with = "confirm")]
    kinds: Vec<String>,

    /// From this day on, as in 2027-01-31
    #[arg(long, value_name = "DATE", value_parser = day, conflicts_with = "confirm")]
    deadline: Option<String>,

    /// Not of this member of the group; may be given again
    #[arg(long, value_name = "USER", value_parser = name, conflicts_with_all = ["user", "confirm"])]
    except: Vec<String>,

    /// For so long only, as in 10m, unless it is confirmed
    #[arg(long = "try", value_name = "TIME", value_parser = duration, conflicts_with = "confirm")]
    on_trial: Option<u64>,

    /// Make what is on trial permanent
    #[arg(long, conflicts_with = "service")]
    confirm: bool,
}

#[derive(Args, Clone)]
#[command(group(ArgGroup::new("who").args(["user", "group"]).required(true)))]
pub(crate) struct Unrequire {
    #[command(flatten)]
    whom: Whom,
}

#[derive(Args, Clone)]
pub(crate) struct Whom {
    /// This user
    #[arg(long, value_parser = name)]
    user: Option<String>,

    /// The members of this group
    #[arg(long, value_parser = name)]
    group: Option<String>,

    /// At this PAM service only [default: all]
    #[arg(long, value_parser = name)]
    service: Option<String>,
}

impl Whom {
    fn required(self) -> Required {
        let Whom { user, group, service } = self;
        Required { user, group, service, ..Required::default() }
    }
}

/// What can be asked of the policy.
#[derive(Subcommand, Clone)]
pub(crate) enum Policy {
    /// Look for mistakes, with file, line and remedy
    Check,
    /// Say which rule decides about a login and what would happen
    Explain(Explain),
}

#[derive(Args, Clone)]
pub(crate) struct Explain {
    /// Who logs in
    #[arg(long, value_parser = name)]
    user: String,

    /// By which PAM service
    #[arg(long, value_parser = name)]
    service: String,

    /// From this address, or "local"
    #[arg(long, value_name = "IP", value_parser = name)]
    rhost: Option<String>,

    /// By an ssh key of this type alone
    #[arg(long, value_name = "TYPE", value_parser = name)]
    ssh_key: Option<String>,
}

impl Verb {
    /// The request to the helper, if the caller has this name.
    pub(crate) fn request(&self, name: &str) -> Request {
        let name = || name.to_owned();
        Request::Verb(match self.clone() {
            Verb::Totp(First { totp: Totp { user, label, json: true, .. }, .. }) => {
                mfa_wire::Verb::TotpPending { user: user.unwrap_or_else(name), label }
            }
            Verb::Totp(First { totp: Totp { user, label, .. }, invitation: invited }) => {
                mfa_wire::Verb::Totp { user, label, invited }
            }
            Verb::U2f(FirstKey { key, invitation: invited }) => mfa_wire::Verb::U2f { key: key.new_key(), invited },
            Verb::Confirm(Confirm { user, .. }) => mfa_wire::Verb::Confirm { user },
            Verb::Cancel(Whose { user }) => mfa_wire::Verb::CancelPending { user },
            Verb::Replace(Replace::Totp(Totp { user, label, json: true, .. })) => {
                mfa_wire::Verb::ReplacePending { user: user.unwrap_or_else(name), label }
            }
            Verb::Replace(Replace::Totp(Totp { user, label, .. })) => mfa_wire::Verb::Replace { user, label },
            Verb::Replace(Replace::U2f(key)) => mfa_wire::Verb::ReplaceU2f(key.new_key()),
            Verb::Disable(Disable { user, device }) => mfa_wire::Verb::Disable { user, device },
            Verb::RecoveryCodes(RecoveryCodes { user, .. }) => mfa_wire::Verb::RecoveryCodes { user },
            Verb::Status(Status { user, .. }) => mfa_wire::Verb::Status { user },
            Verb::Unlock(Whose { user }) => mfa_wire::Verb::Unlock { user },
            Verb::Bypass(Bypass { user, seconds }) => mfa_wire::Verb::Bypass { user, seconds },
            Verb::Resync(Confirm { user, .. }) => mfa_wire::Verb::Resync { user },
            Verb::List(List { group: None, missing: false, .. }) => mfa_wire::Verb::List,
            Verb::List(List { group, missing, .. }) => mfa_wire::Verb::ListOf { group, missing },
            Verb::Doctor(_) => mfa_wire::Verb::Doctor,
            Verb::Tickets(Tickets { user, revoke, .. }) => mfa_wire::Verb::Tickets { user, revoke },
            Verb::Invite(Whose { user }) => mfa_wire::Verb::Invite { user },
            Verb::Rename(Rename { old, new }) => mfa_wire::Verb::Rename { old, new },
            Verb::Import(import) => import.verb(),
            Verb::Require(Require { confirm: true, .. }) => mfa_wire::Verb::ConfirmRequired,
            Verb::Require(Require { whom, kinds, deadline, except, on_trial, .. }) => {
                let kinds = (!kinds.is_empty()).then(|| kinds.join(","));
                mfa_wire::Verb::Require(Required { kinds, deadline, except, on_trial, ..whom.required() })
            }
            Verb::Unrequire(Unrequire { whom }) => mfa_wire::Verb::Unrequire(whom.required()),
            Verb::Policy(Policy::Check) => mfa_wire::Verb::PolicyCheck,
            Verb::Policy(Policy::Explain(Explain { user, service, rhost, ssh_key })) => {
                mfa_wire::Verb::PolicyExplain { user, service, rhost, ssh_key }
            }
            Verb::Test(Test { service }) => return Request::Test(as_at_a_login(&name(), &service)),
        })
    }

    /// The app that this command binds, if any.
    pub(crate) fn totp(&self) -> Option<&Totp> {
        match self {
            Verb::Totp(First { totp, .. }) | Verb::Replace(Replace::Totp(totp)) => Some(totp),
            _ => None,
        }
    }

    /// The ssh key that this command binds, if any.
    pub(crate) fn ssh_key(&self) -> Result<Option<&SshKey>, &(String, Exit)> {
        match self {
            Verb::U2f(FirstKey { key, .. }) | Verb::Replace(Replace::U2f(key)) => {
                key.ssh_key.as_ref().map(Result::as_ref).transpose()
            }
            _ => Ok(None),
        }
    }

    /// The name of this command if it changes a device and no user is given. That means the caller's device, except
    /// for root: behind sudo it would be root's own, which is almost never meant.
    pub(crate) fn changes_nobody_named(&self) -> Option<&'static str> {
        match self {
            Verb::Totp(First { totp: Totp { user: None, .. }, .. }) => Some("totp"),
            Verb::Replace(Replace::Totp(Totp { user: None, .. })) => Some("replace totp"),
            Verb::U2f(FirstKey { key: SecurityKey { user: None, .. }, .. }) => Some("u2f"),
            Verb::Replace(Replace::U2f(SecurityKey { user: None, .. })) => Some("replace u2f"),
            Verb::Disable(Disable { user: None, .. }) => Some("disable"),
            Verb::RecoveryCodes(RecoveryCodes { user: None, .. }) => Some("recovery-codes"),
            Verb::Tickets(Tickets { user: None, revoke: Some(_), .. }) => Some("tickets"),
            _ => None,
        }
    }
}

/// What a login program would say after a successful first factor. The helper treats it as a claim.
fn as_at_a_login(user: &str, service: &str) -> Login {
    let tty = nix::unistd::ttyname(std::io::stdin()).ok().and_then(|tty| tty.into_os_string().into_string().ok());
    Login { tty, stack_complete: true, ..Login::at(user, service) }
}

fn name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty".into()),
        n if n > MAX_NAME => Err(format!("it is longer than {MAX_NAME} bytes")),
        _ => Ok(text.into()),
    }
}

/// A day of the calendar, `2027-01-31`.
fn day(text: &str) -> Result<String, String> {
    let number = |at: std::ops::Range<usize>| {
        text.get(at).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse::<u32>().ok()
    };
    let date = (text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-"))
        .then(|| Some((number(0..4)?, number(5..7)?, number(8..10)?)))
        .flatten();
    let last = |year: u32, month| match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    match date {
        Some((year, month, day)) if (1..=last(year, month)).contains(&day) => Ok(text.into()),
        _ => Err("a deadline is a day, as in 2027-01-31".into()),
    }
}

/// Reads `90s`, `10m`, `8h` as seconds.
fn duration(text: &str) -> Result<u64, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse::<u64>().ok());
    match number.and_then(|n| n.checked_mul(unit)) {
        Some(seconds @ 1..) => Ok(seconds),
        _ => Err("a time is like 90s, 10m or 8h".into()),
    }
}

/// Reads a duration, or `0`.
fn duration_or_none(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { duration(text) }
}

/// A code is passed on unchanged; the helper checks it, spaces included.
fn code(text: &str) -> Result<String, String> {
    if text.len() > MAX_ANSWER { Err("it is too long for a code".into()) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.kind())
    }

    #[test]
    fn is_consistent_in_itself() {
        Cli::command().debug_assert();
    }

    /// The command line without the options of debug builds.
    fn shipped() -> clap::Command {
        let cli = Cli::command();
        clap::Command::new("mfa-enroll")
            .version(env!("CARGO_PKG_VERSION"))
            .disable_help_subcommand(true)
            .args(cli.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
            .subcommands(cli.get_subcommands().cloned())
    }

    /// With UPDATE_GOLDEN=1 this writes them.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a switch of the test")]
    fn the_completions_that_are_shipped_are_those_of_this_command_line() {
        use clap_complete::{Generator, Shell};
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let name = shell.file_name("mfa-enroll");
            let mut made = Vec::new();
            clap_complete::generate(shell, &mut shipped(), "mfa-enroll", &mut made);
            let made = String::from_utf8(made).unwrap();
            let path = format!("{}/../packaging/completions/{name}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(made == kept, "{name} is not of this command line: UPDATE_GOLDEN=1 cargo test -p mfa-enroll");
        }
    }

    /// The request for this command line, by a caller named "me".
    fn asked(line: &str) -> Request {
        parse(line).unwrap().verb.unwrap().request("me")
    }

    #[test]
    fn json_makes_a_pending_device_and_needs_a_user() {
        let pending = mfa_wire::Verb::TotpPending { user: "alice".into(), label: None };
        assert_eq!(asked("mfa-enroll totp --user alice --json"), Request::Verb(pending));
        assert!(parse("mfa-enroll totp --json").is_err());
        assert!(parse("mfa-enroll totp --user alice --json --ascii").is_err());
        assert!(parse("mfa-enroll totp --user alice --json --invitation").is_err());
    }

    #[test]
    fn a_bypass_code_is_good_for_an_hour_unless_something_else_is_said() {
        let asks = |seconds| Request::Verb(mfa_wire::Verb::Bypass { user: "alice".into(), seconds });
        assert_eq!(asked("mfa-enroll bypass --user alice"), asks(3600));
        assert_eq!(asked("mfa-enroll bypass --user alice --for 8h"), asks(8 * 3600));
        assert_eq!(asked("mfa-enroll bypass --user alice --for 0"), asks(0));
        assert!(parse("mfa-enroll bypass --user alice --for 10").is_err(), "of what?");
        assert!(parse("mfa-enroll bypass").is_err());
    }

    #[test]
    fn a_deadline_is_a_day_of_the_calendar() {
        for right in ["2027-01-31", "2028-02-29", "2100-02-28", "2000-02-29", "2027-12-01"] {
            assert_eq!(day(right).as_deref(), Ok(right));
        }
        for wrong in [
            "31.12.2027",
            "2027-02-29",
            "2100-02-29",
            "2027-04-31",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027-1-1",
            "2027/01/31",
            "+027-01-31",
            "2027-01-31T00:00:00Z",
            "tomorrow",
            "2027-é-311",
            "",
        ] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_not_meant_is_named_beside_a_group() {
        let Request::Verb(mfa_wire::Verb::Require(required)) =
            asked("mfa-enroll require --group staff --except robot --except deploy")
        else {
            panic!("no rule")
        };
        assert_eq!(required.except, ["robot", "deploy"]);
        assert!(parse("mfa-enroll require --user alice --except alice").is_err());
        assert!(parse("mfa-enroll require --confirm --except alice").is_err());
    }

    #[test]
    fn who_is_not_named_is_the_caller_and_the_helper_knows_who_that_is() {
        let verbs = [
            ("totp", mfa_wire::Verb::Totp { user: None, label: None, invited: false }),
            ("totp --invitation", mfa_wire::Verb::Totp { user: None, label: None, invited: true }),
            ("replace totp", mfa_wire::Verb::Replace { user: None, label: None }),
            ("u2f", mfa_wire::Verb::U2f { key: NewKey::default(), invited: false }),
            ("u2f --invitation", mfa_wire::Verb::U2f { key: NewKey::default(), invited: true }),
            ("replace u2f", mfa_wire::Verb::ReplaceU2f(NewKey::default())),
            ("disable", mfa_wire::Verb::Disable { user: None, device: None }),
            ("recovery-codes", mfa_wire::Verb::RecoveryCodes { user: None }),
            ("status", mfa_wire::Verb::Status { user: None }),
        ];
        for (name, verb) in verbs {
            let line = format!("mfa-enroll {name}");
            assert_eq!(asked(&line), Request::Verb(verb));
            let changes = parse(&line).unwrap().verb.unwrap().changes_nobody_named();
            assert_eq!(changes, name.strip_suffix(" --invitation").or(Some(name).filter(|name| *name != "status")));
            assert_eq!(parse(&(line + " --user alice")).unwrap().verb.unwrap().changes_nobody_named(), None);
        }
    }

    #[test]
    fn the_keys_of_a_file_are_asked_for_user_by_user() {
        let import = |line| match parse(line).unwrap().verb.unwrap() {
            Verb::Import(import) => import,
            _ => panic!("not an import"),
        };
        let asked =
            |import: Import, user: &str, lines: &str| Verb::Import(import.of(user.into(), lines.into())).request("me");
        let asks = |format: &str, origin: Option<&str>| {
            let (origin, lines) = (origin.map(Into::into), "alice:...".into());
            Request::Verb(mfa_wire::Verb::Import { user: "alice".into(), format: format.into(), origin, lines })
        };
        let all = import("mfa-enroll import pam-u2f /etc/u2f_mappings --origin pam://old");
        assert_eq!((all.user(), all.source().path.to_str()), (None, Some("/etc/u2f_mappings")));
        assert_eq!(asked(all, "alice", "alice:..."), asks("pam-u2f", Some("pam://old")));
        let of_one = import("mfa-enroll import authorized-keys keys --user alice");
        assert_eq!(of_one.user(), Some("alice"));
        assert_eq!(asked(of_one, "alice", "alice:..."), asks("authorized-keys", None));
        for wrong in [
            "import",
            "import pam-u2f",
            "import authorized-keys keys",
            "import authorized-keys keys --user a --origin o",
        ] {
            assert!(parse(&format!("mfa-enroll {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse("mfa-enroll replace u2f --invitation").is_err(), "a device proves more than a ticket");
    }

    #[test]
    fn remembered_logins_are_listed_or_one_is_revoked() {
        let asks = |user: Option<&str>, revoke: Option<&str>| {
            Request::Verb(mfa_wire::Verb::Tickets { user: user.map(Into::into), revoke: revoke.map(Into::into) })
        };
        assert_eq!(asked("mfa-enroll tickets --json"), asks(None, None));
        assert_eq!(asked("mfa-enroll tickets --user alice --revoke 3f2a9c01"), asks(Some("alice"), Some("3f2a9c01")));
        assert!(parse("mfa-enroll tickets --revoke all --json").is_err());
        let changes = |line| parse(line).unwrap().verb.unwrap().changes_nobody_named();
        assert_eq!(changes("mfa-enroll tickets"), None);
        assert_eq!(changes("mfa-enroll tickets --revoke all"), Some("tickets"), "root's own, behind sudo");
    }

    #[test]
    fn a_test_is_a_login_of_the_caller() {
        let Request::Test(login) = asked("mfa-enroll test --service sudo") else { panic!("not a login") };
        assert_eq!((login.user.as_str(), login.service.as_str(), login.stack_complete), ("me", "sudo", true));
        assert_eq!((login.rhost, login.ruser, login.ssh_auth_info), (None, None, None));
        let Request::Test(login) = asked("mfa-enroll test") else { panic!("not a login") };
        assert_eq!(login.service, "login");
    }

    #[test]
    fn takes_both_codes_or_none_and_strips_nothing() {
        let both = Cli::try_parse_from(["mfa-enroll", "confirm", "--user", "alice", "492 039", " 123456"]).unwrap();
        let Some(Verb::Confirm(confirm)) = both.verb else { panic!("not a confirm") };
        assert_eq!(confirm.codes(), Some(["492 039", " 123456"]));
        assert!(parse("mfa-enroll confirm --user alice").is_ok());
        assert!(parse("mfa-enroll confirm --user alice 492039").is_err(), "one code");
        assert!(parse("mfa-enroll confirm --user alice 1 2 3").is_err(), "three codes");
    }

    #[test]
    fn refuses_names_that_no_request_could_carry() {
        assert!(parse("mfa-enroll status --user=").is_err(), "an empty name");
        assert!(parse(&format!("mfa-enroll status --user {}", "a".repeat(257))).is_err(), "a long name");
    }

    #[test]
    fn an_option_of_the_program_may_stand_behind_the_verb() {
        let cli = parse("mfa-enroll list --config /tmp/mfa.toml").unwrap();
        assert_eq!(cli.config, Some("/tmp/mfa.toml".into()));
    }
}
