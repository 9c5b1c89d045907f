//! The command line. What it accepts is documented in mfa-enroll(1).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mfa_wire::{MAX_ANSWER, MAX_NAME};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: wrong code, not allowed, cancelled
  2  usage
  3  nothing such: no user, no binding, nothing pending
  4  already so
  5  unavailable: helper or store

Data goes to stdout, messages go to stderr. Times are UTC.";

/// Bind and manage devices for multi-factor login.
#[derive(Parser)]
#[command(name = "mfa-enroll", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Use this configuration file (root only)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    // In debug builds only: who may run a verb by sudo must not be able to run a program of theirs.
    /// Start this helper instead of the installed one
    #[cfg(debug_assertions)]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) helper: Option<PathBuf>,

    #[command(subcommand)]
    verb: Option<Verb>,
}

impl Cli {
    /// What to do. Without a verb: say where root stands.
    pub(crate) fn verb(&self) -> Verb {
        self.verb.clone().unwrap_or(Verb::Status(Status { user: None, json: false }))
    }
}

/// What can be done.
#[derive(Subcommand, Clone)]
pub(crate) enum Verb {
    /// Bind an authenticator app by a QR code and two consecutive codes
    Totp(Totp),
    /// Bind the pending device of a user by two consecutive codes
    Confirm(Confirm),
    /// Drop the pending device of a user
    Cancel(Whose),
    /// Disable the binding of a user and destroy its key
    Disable(Whose),
    /// Say what is bound and required; never a key
    Status(Status),
    /// Say it for everybody who has a record
    List(List),
    /// Print a ticket by which a user may bind a device inside a login, where a rule asks for one
    Invite(Whose),
}

#[derive(Args, Clone)]
pub(crate) struct Totp {
    /// Whose device it will be
    #[arg(long, value_parser = name)]
    pub(crate) user: String,

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
    #[arg(long, verbatim_doc_comment, conflicts_with_all = ["ascii", "invert", "key_only"])]
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
    /// The codes, if they were given: both or none.
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
pub(crate) struct Status {
    /// Whose standing to tell [default: root]
    #[arg(long, value_parser = name)]
    pub(crate) user: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone)]
pub(crate) struct List {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

impl Verb {
    /// The same, as the helper is told.
    pub(crate) fn on_the_wire(&self) -> mfa_wire::Verb {
        match self.clone() {
            Verb::Totp(Totp { user, label, json: true, .. }) => mfa_wire::Verb::TotpPending { user, label },
            Verb::Totp(Totp { user, label, .. }) => mfa_wire::Verb::Totp { user: Some(user), label },
            Verb::Confirm(Confirm { user, .. }) => mfa_wire::Verb::Confirm { user },
            Verb::Cancel(Whose { user }) => mfa_wire::Verb::CancelPending { user },
            Verb::Disable(Whose { user }) => mfa_wire::Verb::Disable { user: Some(user) },
            Verb::Status(Status { user, .. }) => mfa_wire::Verb::Status { user },
            Verb::List(_) => mfa_wire::Verb::List,
            Verb::Invite(Whose { user }) => mfa_wire::Verb::Invite { user },
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty".into()),
        n if n > MAX_NAME => Err(format!("it is longer than {MAX_NAME} bytes")),
        _ => Ok(text.into()),
    }
}

/// A code is passed on as it is: the helper judges it, spaces included.
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

    #[test]
    fn without_a_verb_tells_the_status_of_root() {
        assert_eq!(parse("mfa-enroll").unwrap().verb().on_the_wire(), mfa_wire::Verb::Status { user: None });
    }

    #[test]
    fn json_makes_a_pending_device_and_needs_a_user() {
        let verb = parse("mfa-enroll totp --user alice --json").unwrap().verb().on_the_wire();
        assert_eq!(verb, mfa_wire::Verb::TotpPending { user: "alice".into(), label: None });
        assert!(parse("mfa-enroll totp --json").is_err());
        assert!(parse("mfa-enroll totp --user alice --json --ascii").is_err());
    }

    #[test]
    fn takes_both_codes_or_none_and_strips_nothing() {
        let both = Cli::try_parse_from(["mfa-enroll", "confirm", "--user", "alice", "492 039", " 123456"]).unwrap();
        let Verb::Confirm(confirm) = both.verb() else { panic!("not a confirm") };
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
