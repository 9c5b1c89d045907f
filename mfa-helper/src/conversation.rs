//! The helper's side of a conversation: ask, tell, show.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mfa_wire::{Broken, Cancelled, Channel, FromHelper, Hello, Request, Secret, ToHelper, VERSION, Verdict};

/// How long a front end may take to hear our Hello and to state its request.
const MACHINE: Duration = Duration::from_secs(10);

/// How long a conversation may last when it binds a device: two codes take a minute, fetching the
/// phone takes the rest.
pub const BINDING: Duration = Duration::from_secs(15 * 60);
/// How long any other may last.
pub const LOGIN: Duration = Duration::from_secs(10 * 60);

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The front end says so.
    Cancelled(Cancelled),
    /// The front end is gone, late, or talks nonsense.
    Gone(Broken),
}

impl NoAnswer {
    /// Nothing, where only a front end that is still there matters.
    pub fn or_gone(self) -> Result<(), NoAnswer> {
        match self {
            NoAnswer::Cancelled(_) => Ok(()),
            NoAnswer::Gone(_) => Err(self),
        }
    }
}

impl From<Broken> for NoAnswer {
    fn from(broken: Broken) -> Self {
        NoAnswer::Gone(broken)
    }
}

/// A conversation with one front end.
pub struct Conversation {
    channel: Channel,
    begun: Instant,
    end: Instant,
}

impl Conversation {
    /// Greets, at once, and takes the one request.
    pub fn open(mut channel: Channel) -> Result<(Conversation, Request), Broken> {
        let hello = FromHelper::Hello(Hello { oldest: VERSION, newest: VERSION });
        channel.send(&hello.encode()?, MACHINE)?;
        let ToHelper::Request(request) = ToHelper::decode(&channel.receive(MACHINE)?)? else {
            return Err(Broken::OutOfTurn);
        };
        let begun = Instant::now();
        Ok((Conversation { channel, begun, end: begun + LOGIN }, request))
    }

    /// Gives the person the time that binding a device takes.
    pub fn allow_for_binding(&mut self) {
        self.end = self.begun + BINDING;
    }

    /// Asks, and waits for the answer until the conversation's end. It is always shown while it is typed: sshd answers
    /// every hidden prompt with the login secret.
    pub fn ask(&mut self, text: &str) -> Result<Secret, NoAnswer> {
        self.ask_with(true, Secret::copy_of(text.as_bytes()))
    }

    /// The same, shown or not.
    pub fn ask_with(&mut self, echo: bool, text: Secret) -> Result<Secret, NoAnswer> {
        self.send(&FromHelper::Ask { echo, text })?;
        self.answer()
    }

    /// Has the person's ssh agent sign `message` by `key`. Only mfa-enroll can.
    pub fn sign(&mut self, key: Vec<u8>, message: Vec<u8>) -> Result<Secret, NoAnswer> {
        self.send(&FromHelper::Sign { key, message })?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Secret, NoAnswer> {
        let frame = self.channel.receive(self.left())?;
        match ToHelper::decode(&frame).map_err(Broken::from)? {
            ToHelper::Answer(answer) => Ok(answer),
            ToHelper::Cancel(why) => Err(NoAnswer::Cancelled(why)),
            ToHelper::Request(_) => Err(NoAnswer::Gone(Broken::OutOfTurn)),
        }
    }

    /// Shows a line, at the latest with the next prompt.
    pub fn tell(&mut self, text: &str) -> Result<(), Broken> {
        self.send(&FromHelper::Tell(text.to_owned()))
    }

    /// Shows what is to be done, at once.
    pub fn notice(&mut self, text: &str) -> Result<(), Broken> {
        self.send(&FromHelper::Notice(text.to_owned()))
    }

    /// Readable when the front end is gone, or talks out of turn.
    pub fn gone(&self) -> BorrowedFd<'_> {
        self.channel.stream().as_fd()
    }

    /// Sends anything else that is shown. A list may be read through a pager, page by page.
    pub fn send(&mut self, message: &FromHelper) -> Result<(), Broken> {
        self.channel.send(&message.encode()?, self.left())
    }

    /// How long it may still last.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Ends the conversation.
    pub fn close(mut self, verdict: Verdict) -> Result<(), Broken> {
        self.send(&FromHelper::Verdict(verdict))
    }
}
