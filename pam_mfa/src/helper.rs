//! How the module reaches `mfa-helper`.

use std::fmt;
use std::io::ErrorKind;

use mfa_wire::{
    Broken, Channel, HELLO_TIMEOUT, Login, Outcome, Prompter, QUEUE_TIMEOUT, Request, SPAWN_TIMEOUT, Verdict,
    greet_with, relay,
};

use crate::arguments::Arguments;
use crate::sys::socket::connect;
use crate::sys::spawn::{self, Orphan};

/// A helper that has the request and has said Hello. After that, another helper is tried only if this one says
/// `StartYourOwn`.
pub(crate) struct Helper {
    // In this order: dropping the channel ends the helper, and only then can its process be collected.
    channel: Channel,
    /// Only if we started the helper.
    orphan: Option<Orphan>,
}

/// Why there is no helper to talk to.
pub(crate) enum Unreachable {
    /// Nobody answers at the socket, and only root can start a helper.
    NotRoot(NoListener),
    /// The helper could not be started.
    Spawn(std::io::Error),
    /// Its Hello was absent, late, not valid or in another version.
    Hello(Broken),
}

/// Why the socket cannot be used.
pub(crate) enum NoListener {
    /// It does not exist, refuses, has a full queue, or does not belong to root.
    Connect(std::io::Error),
    /// The Hello of the listener was absent, late, not valid or in another version.
    Hello(Broken),
}

/// Finds a helper: the listening one or, for root, one that is started for this conversation. So root's logins do not
/// depend on the service: the socket may be flooded, or the service dead or absent.
///
/// The request does not wait for the Hello. A helper says Hello before it reads, and one that comes late finds the socket
/// shut down. In the moment between, two could have the request: the first then loses its front end before it has asked
/// anything, and a device that a session has confirmed is found confirmed.
pub(crate) fn reach(arguments: &Arguments, login: &Login, request: &Request) -> Result<Helper, Unreachable> {
    // An ssh agent is reachable only for a helper that sees its owner's files. The service's sandbox hides them.
    if login.ssh_auth_sock.is_some()
        && let Ok(helper) = start(arguments, request)
    {
        return Ok(helper);
    }
    // The listening helper has read the default policy, so it cannot answer for another.
    let listener = match arguments.config {
        None => knock(arguments, request),
        Some(_) => Err(NoListener::Connect(ErrorKind::Unsupported.into())),
    };
    match listener {
        Ok(channel) => Ok(Helper { channel, orphan: None }),
        Err(why) if !spawn::are_we_root() => Err(Unreachable::NotRoot(why)),
        Err(_) => start(arguments, request),
    }
}

fn knock(arguments: &Arguments, request: &Request) -> Result<Channel, NoListener> {
    let root = spawn::are_we_root();
    // Root can start a helper, so root does not wait if the queue is full. Other callers must.
    let patience = if root { None } else { Some(QUEUE_TIMEOUT) };
    let mut channel = Channel::new(connect(arguments.socket(root), patience).map_err(NoListener::Connect)?);
    greet_with(&mut channel, request.clone(), HELLO_TIMEOUT).map_err(NoListener::Hello)?;
    Ok(channel)
}

fn start(arguments: &Arguments, request: &Request) -> Result<Helper, Unreachable> {
    let (stream, orphan) = spawn::start(&arguments.helper, arguments.config.as_deref()).map_err(Unreachable::Spawn)?;
    let mut helper = Helper { channel: Channel::new(stream), orphan: Some(orphan) };
    greet_with(&mut helper.channel, request.clone(), SPAWN_TIMEOUT).map_err(Unreachable::Hello)?;
    Ok(helper)
}

impl Helper {
    /// The one conversation. A listening helper's sandbox may keep it from doing what the request needs. It then says
    /// so before it has asked, judged or written anything, and the request goes to a helper that we start.
    pub(crate) fn converse(
        mut self,
        arguments: &Arguments,
        request: &Request,
        prompter: &mut dyn Prompter,
    ) -> Result<Verdict, NoVerdict> {
        let verdict = relay(&mut self.channel, prompter)?;
        if verdict.outcome != Outcome::StartYourOwn {
            return Ok(verdict);
        }
        if self.orphan.is_some() || !spawn::are_we_root() {
            return Err(NoVerdict::Broken(Broken::OutOfTurn));
        }
        drop(self);
        let mut own = start(arguments, request)?;
        match relay(&mut own.channel, prompter)? {
            Verdict { outcome: Outcome::StartYourOwn, .. } => Err(NoVerdict::Broken(Broken::OutOfTurn)),
            verdict => Ok(verdict),
        }
    }
}

/// Why a helper gave no verdict after its Hello.
pub(crate) enum NoVerdict {
    /// It broke off, or its messages were not valid.
    Broken(Broken),
    /// It told us to start our own, and that failed.
    Unreachable(Unreachable),
}

impl From<Broken> for NoVerdict {
    fn from(broken: Broken) -> NoVerdict {
        NoVerdict::Broken(broken)
    }
}

impl From<Unreachable> for NoVerdict {
    fn from(why: Unreachable) -> NoVerdict {
        NoVerdict::Unreachable(why)
    }
}

impl fmt::Display for NoVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoVerdict::Broken(why) => write!(f, "{why}"),
            NoVerdict::Unreachable(why) => write!(f, "the service cannot serve this, and {why}"),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreachable::NotRoot(NoListener::Connect(why)) => {
                write!(f, "its socket cannot be used ({why}), and this process is not root and cannot start it")
            }
            Unreachable::NotRoot(NoListener::Hello(why)) => {
                write!(f, "no greeting at its socket ({why}), and this process is not root and cannot start it")
            }
            Unreachable::Spawn(why) => write!(f, "it could not be started: {why}"),
            Unreachable::Hello(Broken::Closed) => {
                f.write_str("it ended before its first word (is it installed and executable?)")
            }
            Unreachable::Hello(why) => write!(f, "no greeting: {why}"),
        }
    }
}
