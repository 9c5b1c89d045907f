//! The ssh agent of whoever calls this program. It is asked only for what the helper wants to see signed, and nothing that
//! it says is believed: the helper checks.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mfa_ssh::agent::{NoAnswer, Until, list, sign};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::helper::connected;

/// How long an agent may think about what it holds.
const LIST: Duration = Duration::from_secs(10);
/// How long it may wait for a PIN and a touch.
const SIGN: Duration = Duration::from_secs(90);

/// Why there is no signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoSignature {
    /// Nobody said where an agent is, or nobody is there.
    NoAgent,
    /// It holds other keys only.
    NotHeld,
    /// It says no, and never says why.
    Refused,
    /// It took too long.
    Late,
    /// It has hung up, or says what is no answer.
    Nonsense(String),
}

impl fmt::Display for NoSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSignature::NoAgent => f.write_str("There is no ssh agent here: by ssh, ssh -A takes yours along."),
            NoSignature::NotHeld => {
                f.write_str("The ssh agent does not hold this key: ssh-add -l lists what it holds.")
            }
            NoSignature::Refused => f.write_str("The ssh agent refused: no touch, or nothing to ask for the PIN with."),
            NoSignature::Late => f.write_str("The ssh agent took too long."),
            NoSignature::Nonsense(what) => write!(f, "The ssh agent is of no use: {what}."),
        }
    }
}

impl From<NoAnswer<NoSignature>> for NoSignature {
    fn from(none: NoAnswer<NoSignature>) -> NoSignature {
        match none {
            NoAnswer::Refused => NoSignature::Refused,
            NoAnswer::Stopped(why) => why,
            other => NoSignature::Nonsense(other.to_string()),
        }
    }
}

/// Where the agent is, by the environment: the word of whoever calls this program, for whom it signs.
#[allow(clippy::disallowed_methods, reason = "that is how an agent is found, and the helper checks what it signs")]
pub(crate) fn socket() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Has the agent at `socket` sign `data` by the key with this blob.
pub(crate) fn signature(socket: &Path, key: &[u8], data: &[u8]) -> Result<Vec<u8>, NoSignature> {
    let mut stream = connected(socket).map_err(|_| NoSignature::NoAgent)?;
    stream.set_nonblocking(true).map_err(|_| NoSignature::NoAgent)?;
    let for_so_long = |patience| {
        let (end, stream) = (Instant::now() + patience, stream.try_clone());
        move |until| match &stream {
            Ok(stream) => ready(stream, until, end),
            Err(e) => Err(NoSignature::Nonsense(e.to_string())),
        }
    };
    let (listing, signing) = (for_so_long(LIST), for_so_long(SIGN));
    // Otherwise a refusal could mean anything.
    if !list(&mut stream, listing)?.iter().any(|held| held == key) {
        return Err(NoSignature::NotHeld);
    }
    Ok(sign(&mut stream, key, data, signing)?)
}

fn ready(stream: &UnixStream, until: Until, end: Instant) -> Result<(), NoSignature> {
    let flags = match until {
        Until::Readable => PollFlags::POLLIN,
        Until::Writable => PollFlags::POLLOUT,
    };
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(NoSignature::Late);
    }
    // A signal in between only has it asked once more; so has a timeout, which is then seen above.
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(stream.as_fd(), flags)], timeout);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_fits_a_terminal() {
        let broken = || NoSignature::Nonsense(NoAnswer::<NoSignature>::Closed.to_string());
        for none in [NoSignature::NoAgent, NoSignature::NotHeld, NoSignature::Refused, NoSignature::Late, broken()] {
            let text = none.to_string();
            assert!(text.len() <= 80 && text.is_ascii(), "{text}");
        }
    }

    #[test]
    fn nobody_is_waited_for_beyond_the_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(ready(&here, Until::Readable, Instant::now()), Err(NoSignature::Late));
        assert_eq!(ready(&here, Until::Writable, Instant::now() + SIGN), Ok(()));
    }
}
