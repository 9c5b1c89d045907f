//! The helper's side of a conversation: ask, tell, show.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mfa_wire::{
    Broken, Cancelled, Channel, FromHelper, Hello, MAX_TEXT, Request, Secret, ToHelper, VERSION, Verdict, readable,
};

/// The longest time for a front end to read our Hello and to send its request.
const MACHINE: Duration = Duration::from_secs(10);

/// The longest time of a conversation that binds a device: two codes take a minute, and fetching the phone takes the
/// rest.
pub const BINDING: Duration = Duration::from_secs(15 * 60);
/// The longest time of any other conversation.
pub const LOGIN: Duration = Duration::from_secs(10 * 60);

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The front end reports why.
    Cancelled(Cancelled),
    /// The front end is gone, late, or sends invalid messages.
    Gone(Broken),
}

impl NoAnswer {
    /// Ok if the front end is still there, for callers to whom the answer does not matter.
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
    /// Sends the Hello at once, and receives the one request.
    pub fn open(mut channel: Channel) -> Result<(Conversation, Request), Broken> {
        let hello = FromHelper::Hello(Hello { oldest: VERSION, newest: VERSION });
        channel.send(&hello.encode()?, MACHINE)?;
        let ToHelper::Request(request) = ToHelper::decode(&receive(&mut channel, MACHINE)?)? else {
            return Err(Broken::OutOfTurn);
        };
        let begun = Instant::now();
        Ok((Conversation { channel, begun, end: begun + LOGIN }, request))
    }

    /// Allows the time that a binding needs.
    pub fn allow_for_binding(&mut self) {
        self.end = self.begun + BINDING;
    }

    /// Asks, and waits for the answer until the conversation's end. The answer is shown while it is typed: sshd
    /// answers every hidden prompt with the login secret.
    pub fn ask(&mut self, text: &str) -> Result<Secret, NoAnswer> {
        self.ask_with(true, Secret::copy_of(text.as_bytes()))
    }

    /// As [`Conversation::ask`], but `echo` decides whether the answer is shown.
    pub fn ask_with(&mut self, echo: bool, text: Secret) -> Result<Secret, NoAnswer> {
        self.send(&FromHelper::Ask { echo, text })?;
        self.answer()
    }

    /// Has the person's ssh agent sign `message` with `key`. Only mfa-enroll can do this.
    pub fn sign(&mut self, key: Vec<u8>, message: Vec<u8>) -> Result<Secret, NoAnswer> {
        self.send(&FromHelper::Sign { key, message })?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Secret, NoAnswer> {
        let within = self.left();
        let frame = receive(&mut self.channel, within)?;
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

    /// Shows at once what the person must do.
    pub fn notice(&mut self, text: &str) -> Result<(), Broken> {
        self.send(&FromHelper::Notice(text.to_owned()))
    }

    /// Readable when the front end is gone, or sends something out of turn.
    pub fn gone(&self) -> BorrowedFd<'_> {
        self.channel.stream().as_fd()
    }

    /// Sends any other message that is shown. A list may be read slowly, through a pager.
    ///
    /// Every text for a person passes through here, and may hold parts of files and the names of users, hosts and PAM
    /// modules. They are made harmless here, so that they cannot steer the reader's terminal, above all root's.
    pub fn send(&mut self, message: &FromHelper) -> Result<(), Broken> {
        let frame = match message {
            FromHelper::Tell(text) => FromHelper::Tell(told(text)).encode()?,
            FromHelper::Notice(text) => FromHelper::Notice(told(text)).encode()?,
            FromHelper::Report(text) => FromHelper::Report(told(text)).encode()?,
            FromHelper::Ask { echo, text } => FromHelper::Ask { echo: *echo, text: question(text) }.encode()?,
            FromHelper::Verdict(Verdict { outcome, text }) => {
                FromHelper::Verdict(Verdict { outcome: *outcome, text: told(text) }).encode()?
            }
            // Data, which the front end itself escapes.
            message => message.encode()?,
        };
        self.channel.send(&frame, self.left())
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Ends the conversation.
    pub fn close(mut self, verdict: Verdict) -> Result<(), Broken> {
        self.send(&FromHelper::Verdict(verdict))
    }
}

/// A front end speaks once, and then waits. So nothing may stand behind its frame, and [`Conversation::gone`] sees all that
/// comes later.
fn receive(channel: &mut Channel, timeout: Duration) -> Result<Secret, Broken> {
    let frame = channel.receive(timeout)?;
    if channel.is_ahead() { Err(Broken::OutOfTurn) } else { Ok(frame) }
}

/// `text` made safe to show. Escapes make it longer, so it may have to be cut.
fn told(text: &str) -> String {
    let mut text = readable(text).into_owned();
    if text.len() > MAX_TEXT {
        const CUT: &str = "...";
        text.truncate(text.floor_char_boundary(MAX_TEXT - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// A question may hold a new key, so the result is wiped too. Without valid UTF-8 it becomes empty.
fn question(text: &Secret) -> Secret {
    text.text().map_or_else(Secret::default, |text| Secret::copy_of(readable(text).as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use mfa_wire::Outcome;

    use super::*;

    /// Every kind of message with text, and every character, some at a time.
    #[test]
    fn nothing_that_is_told_steers_a_terminal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let begun = Instant::now();
        let mut conversation = Conversation { channel: Channel::new(ours), begun, end: begun + LOGIN };
        let mut front_end = Channel::new(theirs);
        let all: Vec<char> = ('\0'..='\u{fffff}').filter(|c| !c.is_alphanumeric()).take(30_000).collect();
        for chars in all.chunks(3000) {
            let text: String = chars.iter().collect();
            let verdict = Verdict { outcome: Outcome::Refused, text: text.clone() };
            let messages = [
                FromHelper::Tell(text.clone()),
                FromHelper::Notice(text.clone()),
                FromHelper::Report(text.clone()),
                FromHelper::Ask { echo: true, text: Secret::copy_of(text.as_bytes()) },
                FromHelper::Verdict(verdict),
            ];
            for message in messages {
                conversation.send(&message).unwrap();
                let said = match FromHelper::decode(&front_end.receive(MACHINE).unwrap()).unwrap() {
                    FromHelper::Tell(text) | FromHelper::Notice(text) | FromHelper::Report(text) => text,
                    FromHelper::Ask { text, .. } => text.text().unwrap().to_owned(),
                    FromHelper::Verdict(verdict) => verdict.text,
                    _ => panic!("another message"),
                };
                assert!(said.len() > 1000 && said == readable(&said), "{said:?}");
            }
        }
    }

    /// What is already read can not be seen at the socket, so a front end that speaks out of turn must not get so far.
    #[test]
    fn nothing_may_stand_behind_the_frame_of_a_front_end() {
        let request = ToHelper::Request(Request::Verify(mfa_wire::Login::at("alice", "su"))).encode().unwrap();
        let whole = [&u32::try_from(request.bytes().len()).unwrap().to_be_bytes()[..], request.bytes()].concat();
        for behind in [&[][..], &[0], &[0, 0, 0, 1, 2]] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            std::io::Write::write_all(&mut theirs, &[&whole, behind].concat()).unwrap();
            let opened = Conversation::open(Channel::new(ours));
            assert_eq!(opened.err(), (!behind.is_empty()).then_some(Broken::OutOfTurn));
        }
    }

    #[test]
    fn what_becomes_too_long_is_cut_and_told() {
        for c in ["\x1b", "\u{e0041}", "é", "a"] {
            let said = told(&c.repeat(MAX_TEXT / c.len()));
            assert!(said.len() <= MAX_TEXT && said.len() > MAX_TEXT - 20, "{}", said.len());
        }
    }
}
