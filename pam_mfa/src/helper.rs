//! How the module reaches `mfa-helper`.

use std::fmt;

use mfa_wire::{Broken, Channel, Prompter, Request, SPAWN_TIMEOUT, Verdict, converse, greet};

use crate::arguments::Arguments;
use crate::sys::spawn::{self, Orphan};

/// A helper that has said Hello. From here on there is no second one.
pub(crate) struct Helper {
    // In this order: the helper ends when its conversation is closed, and only then can it be collected.
    channel: Channel,
    _orphan: Orphan,
}

/// Why there is no helper to talk to.
pub(crate) enum Unreachable {
    /// Only root can start one.
    NotRoot,
    /// It could not be started.
    Spawn(std::io::Error),
    /// It did not say Hello, or not in time, or not in our language.
    Hello(Broken),
}

/// Finds a helper. Today by starting one; a listening one (`socket=FILE`) will be tried here first.
pub(crate) fn reach(arguments: &Arguments) -> Result<Helper, Unreachable> {
    if !spawn::are_we_root() {
        return Err(Unreachable::NotRoot);
    }
    let (stream, orphan) = spawn::start(&arguments.helper, arguments.config.as_deref()).map_err(Unreachable::Spawn)?;
    let mut helper = Helper { channel: Channel::new(stream), _orphan: orphan };
    greet(&mut helper.channel, SPAWN_TIMEOUT).map_err(Unreachable::Hello)?;
    Ok(helper)
}

impl Helper {
    /// The one conversation.
    pub(crate) fn converse(&mut self, request: Request, prompter: &mut dyn Prompter) -> Result<Verdict, Broken> {
        converse(&mut self.channel, request, prompter)
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreachable::NotRoot => f.write_str("this process is not root and cannot start it"),
            Unreachable::Spawn(why) => write!(f, "it could not be started: {why}"),
            Unreachable::Hello(Broken::Closed) => {
                f.write_str("it ended before its first word (is it installed and executable?)")
            }
            Unreachable::Hello(why) => write!(f, "no greeting: {why}"),
        }
    }
}
