//! Reaching the helper.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mfa_wire::{Broken, Channel, Prompter, Request, Verdict, converse, greet};

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

/// A helper that has greeted us.
pub(crate) struct Helper {
    channel: Channel,
    process: Child,
}

/// Finds a helper. The one seam between the command line and the ways to the helper: today root
/// starts it; a socket for everybody else comes here.
pub(crate) fn reach(cli: &Cli) -> Result<Helper, NoVerdict> {
    if !nix::unistd::geteuid().is_root() {
        return Err(NoVerdict::NotRoot);
    }
    let mut helper =
        spawn(cli.helper.as_deref().unwrap_or(Path::new(HELPER)), cli.config.as_deref()).map_err(NoVerdict::Start)?;
    match greet(&mut helper.channel) {
        Ok(()) => Ok(helper),
        Err(e) => {
            helper.end();
            Err(NoVerdict::Greeting(e))
        }
    }
}

/// Starts the helper with one end of a socket pair as its stdin: the convention of the product.
fn spawn(program: &Path, config: Option<&Path>) -> io::Result<Helper> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    if let Some(config) = config {
        let mut argument = std::ffi::OsString::from("--config=");
        argument.push(std::path::absolute(config)?);
        command.arg(argument);
    }
    let process = command
        .env_clear()
        .current_dir("/")
        // A Ctrl-C at the terminal is for us: the helper sees our end close and tidies up.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Helper { channel: Channel::new(ours), process })
}

impl Helper {
    /// Makes the request and relays until the verdict.
    pub(crate) fn converse(&mut self, request: Request, prompter: &mut dyn Prompter) -> Result<Verdict, NoVerdict> {
        let verdict = converse(&mut self.channel, request, prompter).map_err(NoVerdict::Half);
        if verdict.is_err() {
            self.end();
        }
        verdict
    }

    /// Gives up on a helper that makes no sense.
    fn end(&mut self) {
        let _ = self.process.kill();
    }
}

impl Drop for Helper {
    /// After its verdict the helper exits by itself; otherwise it was ended.
    fn drop(&mut self) {
        let _ = self.channel.stream().shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}
