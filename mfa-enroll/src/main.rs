//! `mfa-enroll`: binds and manages the devices of the multi-factor login.
//!
//! A front end of `mfa-helper`, like `pam_mfa`, with a terminal instead of a PAM conversation. It
//! decides nothing and reads no file of ours: it sends one request, shows what the helper sends,
//! passes on what the person types, and turns the verdict into a sentence and an exit code.

#![forbid(unsafe_code)]

mod cli;
mod dialogue;
mod exit;
mod front;
mod helper;
mod line;
mod output;
mod picture;
mod screen;
mod signals;
mod terminal;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mfa_wire::Request;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::front::Front;

fn main() -> ExitCode {
    // A new key passes through this process: no core file of it, whoever crashes it.
    let _ = nix::sys::prctl::set_dumpable(false);
    run(&Cli::parse()).into()
}

fn run(cli: &Cli) -> Exit {
    let verb = cli.verb();
    let request = Request::Verb(verb.on_the_wire());
    let mut front = match Front::new(verb, now) {
        Ok(front) => front,
        Err(e) => return output::complain(&e, Exit::Usage),
    };
    let verdict = helper::converse(cli, request, &mut front);
    front.finish(verdict)
}

/// The time since 1970.
#[allow(clippy::disallowed_methods, reason = "the one place where time is read; everybody else is given this function")]
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
