//! Reaching the helper.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mfa_wire::{Broken, Channel, Prompter, Request, SPAWN_TIMEOUT, Verdict, greet};

use crate::cli::Cli;
use crate::exit::Exit;

/// Where the helper is installed. Never taken from the environment.
const HELPER: &str = "/usr/libexec/mfa-helper";

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum NoVerdict {
    /// The caller is not root.
    NotRoot,
    /// The helper cannot be started.
    Start(io::Error),
    /// It was started, and is no helper that we understand.
    Greeting(Broken),
    /// It stopped talking sense half-way.
    Half(Broken),
}

impl fmt::Display for NoVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoVerdict::NotRoot => f.write_str("only root may do this; try again with sudo"),
            NoVerdict::Start(e) => write!(f, "cannot start mfa-helper: {e}; is the package installed completely?"),
            NoVerdict::Greeting(e) => write!(f, "mfa-helper is of no use: {e}; the system log may say more"),
            NoVerdict::Half(e) => write!(
                f,
                "mfa-helper broke off: {e}; whether anything was changed is not known, mfa-enroll status tells"
            ),
        }
    }
}

impl From<&NoVerdict> for Exit {
    fn from(why: &NoVerdict) -> Self {
        match why {
            NoVerdict::NotRoot => Exit::Refused,
            NoVerdict::Start(_) | NoVerdict::Greeting(_) | NoVerdict::Half(_) => Exit::Unavailable,
        }
    }
}

/// Starts a helper, makes the request and relays until the verdict. The one seam between the command
/// line and the ways to the helper: today root starts it; a socket for everybody else comes here.
pub(crate) fn converse(cli: &Cli, request: Request, prompter: &mut dyn Prompter) -> Result<Verdict, NoVerdict> {
    if !nix::unistd::geteuid().is_root() {
        return Err(NoVerdict::NotRoot);
    }
    let (mut channel, mut process) = spawn(cli).map_err(NoVerdict::Start)?;
    let verdict = greet(&mut channel, SPAWN_TIMEOUT)
        .map_err(NoVerdict::Greeting)
        .and_then(|()| mfa_wire::converse(&mut channel, request, prompter).map_err(NoVerdict::Half));
    // After its verdict the helper ends by itself; one that makes no sense is ended.
    if verdict.is_err() {
        let _ = process.kill();
    }
    drop(channel);
    let _ = process.wait();
    verdict
}

/// Starts the helper with one end of a socket pair as its stdin: the convention of the product. It takes
/// itself out of our session and resets its signals, so that a Ctrl-C at the terminal is for us alone;
/// one that comes before finds a helper that has done nothing yet.
fn spawn(cli: &Cli) -> io::Result<(Channel, Child)> {
    #[cfg(debug_assertions)]
    let program = cli.helper.as_deref().unwrap_or(Path::new(HELPER));
    #[cfg(not(debug_assertions))]
    let program = Path::new(HELPER);
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    if let Some(config) = &cli.config {
        let mut argument = OsString::from("--config=");
        argument.push(std::path::absolute(config)?);
        command.arg(argument);
    }
    let process = command
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((Channel::new(ours), process))
}
