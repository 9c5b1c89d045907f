//! How the module reaches `mfa-helper`.

use std::fmt;
use std::io::ErrorKind;

use mfa_wire::{
    Broken, Channel, HELLO_TIMEOUT, Login, Outcome, Prompter, QUEUE_TIMEOUT, Request, SPAWN_TIMEOUT, Verdict, converse,
    greet,
};

use crate::arguments::Arguments;
use crate::sys::socket::connect;
use crate::sys::spawn::{self, Orphan};

/// A helper that has said Hello. From here on there is no second one.
pub(crate) struct Helper {
    // In this order: the helper ends when its conversation is closed, and only then can it be collected.
    channel: Channel,
    /// Only of a helper that we have started.
    orphan: Option<Orphan>,
}

/// Why there is no helper to talk to.
pub(crate) enum Unreachable {
    /// Nobody answers at the socket, and only root can start a helper.
    NotRoot(NoListener),
    /// It could not be started.
    Spawn(std::io::Error),
    /// It did not say Hello, or not in time, or not in our language.
    Hello(Broken),
}

/// Why the socket is of no use.
pub(crate) enum NoListener {
    /// There is none, it refuses, its queue is full, or it is not root's.
    Connect(std::io::Error),
    /// Whoever is behind it did not say Hello, or not in time, or not in our language.
    Hello(Broken),
}

/// Finds a helper: the one that listens, or, for root, one that is started for this conversation. So neither a flooded
/// socket nor a dead service nor a system without one keeps root's logins out.
pub(crate) fn reach(arguments: &Arguments, login: &Login) -> Result<Helper, Unreachable> {
    // An ssh agent can be reached by who sees the files of its owner, which the service does not.
    if login.ssh_auth_sock.is_some()
        && let Ok(helper) = start(arguments)
    {
        return Ok(helper);
    }
    // A policy of one's own cannot be asked of somebody who has read another.
    let listener = match arguments.config {
        None => knock(arguments),
        Some(_) => Err(NoListener::Connect(ErrorKind::Unsupported.into())),
    };
    match listener {
        Ok(channel) => Ok(Helper { channel, orphan: None }),
        Err(why) if !spawn::are_we_root() => Err(Unreachable::NotRoot(why)),
        Err(_) => start(arguments),
    }
}

fn knock(arguments: &Arguments) -> Result<Channel, NoListener> {
    let root = spawn::are_we_root();
    // Root has another way, so a queue that is full is one that cannot be used; nobody else has.
    let patience = if root { None } else { Some(QUEUE_TIMEOUT) };
    let mut channel = Channel::new(connect(arguments.socket(root), patience).map_err(NoListener::Connect)?);
    greet(&mut channel, HELLO_TIMEOUT).map_err(NoListener::Hello)?;
    Ok(channel)
}

fn start(arguments: &Arguments) -> Result<Helper, Unreachable> {
    let (stream, orphan) = spawn::start(&arguments.helper, arguments.config.as_deref()).map_err(Unreachable::Spawn)?;
    let mut helper = Helper { channel: Channel::new(stream), orphan: Some(orphan) };
    greet(&mut helper.channel, SPAWN_TIMEOUT).map_err(Unreachable::Hello)?;
    Ok(helper)
}

impl Helper {
    /// The one conversation. A helper that listens may be shut off from what the request needs, and says so before it has
    /// asked, judged or written anything: then one that is started is asked the same.
    pub(crate) fn converse(
        mut self,
        arguments: &Arguments,
        request: &Request,
        prompter: &mut dyn Prompter,
    ) -> Result<Verdict, NoVerdict> {
        let verdict = converse(&mut self.channel, request.clone(), prompter)?;
        if verdict.outcome != Outcome::StartYourOwn {
            return Ok(verdict);
        }
        if self.orphan.is_some() || !spawn::are_we_root() {
            return Err(NoVerdict::Broken(Broken::OutOfTurn));
        }
        drop(self);
        let mut own = start(arguments)?;
        match converse(&mut own.channel, request.clone(), prompter)? {
            Verdict { outcome: Outcome::StartYourOwn, .. } => Err(NoVerdict::Broken(Broken::OutOfTurn)),
            verdict => Ok(verdict),
        }
    }
}

/// Why a helper that has said Hello has given no verdict.
pub(crate) enum NoVerdict {
    /// It broke off, or talked nonsense.
    Broken(Broken),
    /// It wants one that is started, and that could not be.
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
