//! The front end's side of a conversation, the same for a login program and for the command line.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::channel::{Broken, Channel};
use crate::codec::Malformed;
use crate::message::{Cancelled, Device, FromHelper, Outcome, Remembered, Request, Status, ToHelper, VERSION, Verdict};
use crate::secret::Secret;

/// How long a front end waits if the queue of a listening helper's socket is full. The module does not wait as root:
/// root can start a helper instead.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a front end waits for the Hello of a listening helper before it starts its own.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a front end waits for the Hello of a helper that it started itself. There is no further fallback, so this
/// allows for a slow disk.
pub const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a front end waits for the helper's next message. No person types during this time, so it covers a slow
/// disk, a slow name service and a touch (at most 90 s), but not a person at a prompt.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(120);

/// The way from the helper to the person: a PAM conversation or a terminal.
pub trait Prompter {
    /// Shows `text` and returns what the person enters.
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled>;
    /// Shows `text`, at the latest with the next prompt.
    fn tell(&mut self, text: &str);
    /// Shows a new device to be bound. Only `mfa-enroll` receives this.
    fn device(&mut self, device: &Device);
    /// Shows what one user has bound. Only `mfa-enroll` receives this.
    fn status(&mut self, status: &Status);
    /// Shows data that was asked for. Only `mfa-enroll` receives this.
    fn report(&mut self, text: &str);
    /// Shows recovery codes. Only `mfa-enroll` receives this.
    fn recovery_codes(&mut self, codes: &[Secret]);
    /// Shows a remembered login. Only `mfa-enroll` receives this.
    fn remembered(&mut self, login: &Remembered);
    /// Shows `text` at once, after everything that was told before.
    fn notice(&mut self, text: &str);
    /// Waits after a notice until the helper sends something. True if the person gave up first.
    fn is_left(&mut self, _helper: &UnixStream) -> bool {
        false
    }
    /// Has the person's ssh agent sign `message` with `key`. Only `mfa-enroll` receives this.
    fn sign(&mut self, key: &[u8], message: &[u8]) -> Result<Secret, Cancelled>;
}

/// Waits for the helper's Hello. Until it has arrived, the caller may still try another helper.
pub fn greet(channel: &mut Channel, patience: Duration) -> Result<(), Broken> {
    match FromHelper::decode(&channel.receive(patience)?)? {
        FromHelper::Hello(hello) if hello.oldest <= VERSION && VERSION <= hello.newest => Ok(()),
        FromHelper::Hello(_) => Err(Broken::Version),
        _ => Err(Broken::OutOfTurn),
    }
}

/// Sends `request` ahead of the Hello and then waits for that, which saves the helper one wait. A helper says Hello before
/// it reads, so one whose Hello does not come in time finds the socket shut down and reads no request.
pub fn greet_with(channel: &mut Channel, request: Request, patience: Duration) -> Result<(), Broken> {
    // A helper of another version says so in its Hello, and may be gone before it is sent the request.
    let sent = channel.send(&ToHelper::Request(request).encode()?, patience);
    greet(channel, patience).inspect_err(|_| {
        // A copy of this process may hold the socket open, and that helper must not begin when another has been started.
        let _ = channel.stream().shutdown(Shutdown::Both);
    })?;
    match sent {
        // It has said Hello and is gone: that is an end of the conversation, and no reason for another.
        Err(Broken::Closed) => Ok(()),
        sent => sent,
    }
}

/// Sends `request` and relays until the verdict.
pub fn converse(channel: &mut Channel, request: Request, prompter: &mut dyn Prompter) -> Result<Verdict, Broken> {
    channel.send(&ToHelper::Request(request).encode()?, FRAME_TIMEOUT)?;
    relay(channel, prompter)
}

/// Relays until the verdict. Without a verdict there is no success: the caller must treat every error as "unavailable".
pub fn relay(channel: &mut Channel, prompter: &mut dyn Prompter) -> Result<Verdict, Broken> {
    loop {
        match FromHelper::decode(&channel.receive(FRAME_TIMEOUT)?)? {
            FromHelper::Ask { echo, text } => {
                let text = text.text().ok_or(Malformed::NotUtf8)?;
                reply(channel, prompter.ask(echo, text))?;
            }
            FromHelper::Tell(text) => prompter.tell(&text),
            FromHelper::Device(device) => prompter.device(&device),
            FromHelper::Status(status) => prompter.status(&status),
            FromHelper::Report(text) => prompter.report(&text),
            FromHelper::RecoveryCodes(codes) => prompter.recovery_codes(&codes),
            FromHelper::Remembered(login) => prompter.remembered(&login),
            FromHelper::Notice(text) => {
                prompter.notice(&text);
                if !channel.is_ahead() && prompter.is_left(channel.stream()) {
                    // The helper notices that the channel is closed.
                    return Ok(Verdict { outcome: Outcome::NoInteraction, text: String::new() });
                }
            }
            FromHelper::Sign { key, message } => reply(channel, prompter.sign(&key, &message))?,
            FromHelper::Verdict(verdict) => return Ok(verdict),
            FromHelper::Hello(_) => return Err(Broken::OutOfTurn),
        }
    }
}

fn reply(channel: &mut Channel, answer: Result<Secret, Cancelled>) -> Result<(), Broken> {
    let reply = match answer {
        Ok(answer) => ToHelper::Answer(answer),
        Err(why) => ToHelper::Cancel(why),
    };
    channel.send(&reply.encode()?, FRAME_TIMEOUT)
}
