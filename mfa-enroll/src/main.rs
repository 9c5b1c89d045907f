//! `mfa-enroll`: binds and manages the devices of the multi-factor login.
//!
//! A front end of `mfa-helper`, like `pam_mfa`, with a terminal instead of a PAM conversation. It
//! decides nothing and reads no file of ours (but for the findings that `doctor` is not to tell): it
//! sends one request, shows what the helper sends, passes on what the person types, and turns the
//! verdict into a sentence and an exit code.

#![forbid(unsafe_code)]

mod agent;
mod caller;
mod cli;
mod codes;
mod dialogue;
mod doctor;
mod elsewhere;
mod exit;
mod files;
mod finding;
mod front;
mod helper;
mod ignored;
mod import;
mod line;
mod output;
mod picture;
mod progress;
#[cfg(test)]
#[path = "../../mfa-qr/src/reader.rs"]
mod reader;
mod screen;
mod signals;
mod sshkey;
mod terminal;
mod texts;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::caller::Caller;
use crate::cli::{Cli, First, Import, Status, Verb};
use crate::dialogue::Dialogue;
use crate::exit::Exit;
use crate::front::Front;
use crate::texts::Text;

fn main() -> ExitCode {
    // No core dump: it would hold a new key.
    let _ = nix::sys::prctl::set_dumpable(false);
    match Cli::try_parse() {
        Ok(cli) => run(&cli, &Caller::of_this_process()).into(),
        Err(error) => output::of_the_command_line(&error),
    }
}

fn run(cli: &Cli, caller: &Caller) -> Exit {
    if cli.config.is_some() && !caller.is_root() {
        return output::complain("--config is for root only", Exit::Usage);
    }
    match &cli.verb {
        Some(Verb::Doctor(asked)) => doctor::run(cli, asked, caller),
        Some(Verb::Import(asked)) => import_all(cli, asked, caller),
        Some(verb) => carry_out(cli, verb, caller).0,
        None => where_i_stand(cli, caller),
    }
}

/// One conversation with the helper: how it ended, and whether it has shown that nothing is bound.
fn carry_out(cli: &Cli, verb: &Verb, caller: &Caller) -> (Exit, bool) {
    if let Some(name) = verb.changes_nobody_named().filter(|_| caller.is_root()) {
        let text = format!("whose? root has to name the user: mfa-enroll {name} --user NAME");
        return (output::complain(&text, Exit::Usage), false);
    }
    if let Err((why, exit)) = verb.ssh_key() {
        return (output::complain(why, *exit), false);
    }
    let mut front = match Front::new(verb.clone(), caller, now) {
        Ok(front) => front,
        Err(e) => return (output::complain(&e, Exit::Usage), false),
    };
    let verdict = helper::converse(cli, caller, verb, &mut front);
    let unbound = front.has_shown_nothing_bound();
    (front.finish(verdict), unbound)
}

/// A conversation for each user in the file. A failure for one user does not stop the import of the next.
fn import_all(cli: &Cli, asked: &Import, caller: &Caller) -> Exit {
    if !caller.is_root() {
        return output::complain("Only root may do this.", Exit::Refused);
    }
    match import::by_user(asked) {
        Err((why, exit)) => output::complain(&why, exit),
        Ok(each) => {
            each.into_iter().fold(Exit::Done, |worst, one| worst.worse(carry_out(cli, &Verb::Import(one), caller).0))
        }
    }
}

/// Without a verb: the caller's status. If nothing is bound and there is a person to ask, the offer to bind a device.
fn where_i_stand(cli: &Cli, caller: &Caller) -> Exit {
    let (exit, unbound) = carry_out(cli, &Verb::Status(Status::default()), caller);
    let lang = terminal::language();
    let question = format!("{}\n{}", lang.say(Text::OrAKey), lang.say(Text::BindNow));
    if unbound && exit == Exit::Done && !caller.is_root() && Dialogue::agrees(&question, now) {
        return carry_out(cli, &Verb::Totp(First::default()), caller).0;
    }
    exit
}

/// The time since 1970.
#[allow(clippy::disallowed_methods, reason = "the one place where time is read; everybody else is given this function")]
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
