//! Reaches the helper: root starts its own, other users connect to the service's socket.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mfa_wire::{Broken, Channel, HELLO_TIMEOUT, Prompter, QUEUE_TIMEOUT, SPAWN_TIMEOUT, Verdict, greet};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::caller::Caller;
use crate::cli::{Cli, Verb};

/// The path of the helper. Never taken from the environment.
const HELPER: &str = "/usr/libexec/mfa-helper";

/// The socket of the service. Never taken from the environment.
const SOCKET: &str = "/run/mfa/helper.sock";

/// The socket of the service for root.
const SOCKET_OF_ROOT: &str = "/run/mfa/root.sock";

/// Why there is no verdict.
#[derive(Debug)]
pub(crate) enum NoVerdict {
    /// The helper cannot be started.
    Start(io::Error),
    /// It was started, but its greeting was not valid.
    Greeting(Broken),
    /// Nothing listens at the socket.
    NoService,
    /// The socket cannot be used.
    Socket(Errno),
    /// The listener is not root.
    Stranger,
    /// The service closed the connection before its greeting.
    TurnedAway,
    /// The greeting did not come in time.
    Silent,
    /// The caller's uid has no name; such callers are not served.
    Nameless,
    /// The conversation broke off half-way.
    Half(Broken),
}

impl fmt::Display for NoVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoVerdict::Start(e) => write!(f, "cannot start mfa-helper: {e}; is the package installed completely?"),
            NoVerdict::Greeting(e) => write!(f, "mfa-helper is of no use: {e}; the system log may say more"),
            NoVerdict::NoService => {
                f.write_str("the helper's service is not running; as root:\nsystemctl start mfa-helper.socket")
            }
            NoVerdict::Socket(Errno::EAGAIN) => f.write_str("the helper's service is busy: try again in a minute"),
            NoVerdict::Socket(e) => write!(f, "the helper's socket {SOCKET} cannot be used: {}", e.desc()),
            NoVerdict::Stranger => {
                write!(f, "no program of root's listens at {SOCKET}: nothing was sent;\ntell an administrator")
            }
            NoVerdict::TurnedAway => f.write_str("too many conversations at once: try again in a minute"),
            NoVerdict::Silent => f.write_str("the helper's service does not answer: try again in a minute"),
            NoVerdict::Nameless => f.write_str("the name service does not know who you are: ask an administrator"),
            NoVerdict::Half(e) => {
                write!(f, "mfa-helper broke off: {e}\nmfa-enroll status tells whether anything was changed")
            }
        }
    }
}

/// Finds a helper, makes the request and relays until the verdict.
pub(crate) fn converse(
    cli: &Cli,
    caller: &Caller,
    verb: &Verb,
    prompter: &mut dyn Prompter,
) -> Result<Verdict, NoVerdict> {
    let name = caller.name.as_deref().ok_or(NoVerdict::Nameless)?;
    // Root does not depend on a running service, and may use another policy.
    let (mut channel, process) = if caller.is_root() { start(cli)? } else { (knock(cli)?, None) };
    let verdict = mfa_wire::converse(&mut channel, verb.request(name), prompter).map_err(NoVerdict::Half);
    drop(channel);
    if let Some(process) = process {
        end(process, verdict.is_ok());
    }
    verdict
}

/// Asks the service itself, as root, at root's socket. A helper that is started here could not answer for the
/// service.
pub(crate) fn ask_service(verb: mfa_wire::Verb, prompter: &mut dyn Prompter) -> Result<Verdict, NoVerdict> {
    let mut channel = knock_at(Path::new(SOCKET_OF_ROOT))?;
    mfa_wire::converse(&mut channel, mfa_wire::Request::Verb(verb), prompter).map_err(NoVerdict::Half)
}

/// Connects to the service, and waits for its greeting, which comes at once.
fn knock(cli: &Cli) -> Result<Channel, NoVerdict> {
    #[cfg(debug_assertions)]
    let path = cli.socket.as_deref().unwrap_or(Path::new(SOCKET));
    #[cfg(not(debug_assertions))]
    let (path, _) = (Path::new(SOCKET), cli);
    knock_at(path)
}

fn knock_at(path: &Path) -> Result<Channel, NoVerdict> {
    let stream = connected(path).map_err(|e| match e {
        Errno::ENOENT | Errno::ECONNREFUSED => NoVerdict::NoService,
        e => NoVerdict::Socket(e),
    })?;
    // Any other process that put a socket there would be told the login secret.
    match getsockopt(&stream, PeerCredentials) {
        Ok(listener) if listener.uid() == 0 => {}
        _ => return Err(NoVerdict::Stranger),
    }
    let mut channel = Channel::new(stream);
    match greet(&mut channel, HELLO_TIMEOUT) {
        Ok(()) => Ok(channel),
        Err(Broken::Closed) => Err(NoVerdict::TurnedAway),
        Err(Broken::TimedOut) => Err(NoVerdict::Silent),
        Err(e) => Err(NoVerdict::Greeting(e)),
    }
}

/// Connects, and waits for a while if the queue is full.
pub(crate) fn connected(path: &Path) -> nix::Result<UnixStream> {
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // It also limits the wait for room in the queue, which then ends with EAGAIN (unix(7), socket(7)).
    setsockopt(&socket, SendTimeout, &TimeVal::milliseconds(QUEUE_TIMEOUT.as_millis() as i64))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    setsockopt(&socket, SendTimeout, &TimeVal::new(0, 0))?;
    Ok(UnixStream::from(socket))
}

/// Starts a helper with one end of a socket pair as its stdin. It leaves our session and resets its signals, so that
/// a Ctrl-C at the terminal is for us alone. A Ctrl-C before that reaches a helper that has done nothing yet.
fn start(cli: &Cli) -> Result<(Channel, Option<Child>), NoVerdict> {
    let (mut channel, process) = spawn(cli).map_err(NoVerdict::Start)?;
    match greet(&mut channel, SPAWN_TIMEOUT) {
        Ok(()) => Ok((channel, Some(process))),
        Err(e) => {
            end(process, false);
            Err(NoVerdict::Greeting(e))
        }
    }
}

fn spawn(cli: &Cli) -> io::Result<(Channel, Child)> {
    #[cfg(debug_assertions)]
    let program = cli.helper.as_deref().unwrap_or(Path::new(HELPER));
    #[cfg(not(debug_assertions))]
    let program = Path::new(HELPER);
    let (ours, theirs) = UnixStream::pair()?;
    #[allow(clippy::disallowed_methods, reason = "the helper, by its absolute path")]
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

/// After its verdict a helper ends by itself; a helper with a fault is killed.
fn end(mut process: Child, by_itself: bool) {
    if !by_itself {
        let _ = process.kill();
    }
    let _ = process.wait();
}
