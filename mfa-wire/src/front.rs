//! The front end's side of a conversation, the same for a login program and for the command line.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::channel::{Broken, Channel};
use crate::codec::Malformed;
use crate::message::{Cancelled, Device, FromHelper, Outcome, Remembered, Request, Status, ToHelper, VERSION, Verdict};
use crate::secret::Secret;

/// How long a front end stands in a queue that is full, at the socket of a helper that listens. Root's module does not: it
/// has another way.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a front end waits for the Hello of a helper that listens, before it starts one of its own.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a front end waits for the Hello of a helper that it has started itself. There is no other
/// way to fall back to, so a cold disk gets its time.
pub const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a front end waits for the helper's next message. Nobody is asked meanwhile, so this
/// covers a slow disk and a slow name service, and a touch (90 s at the longest), not a human at a prompt.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(120);

/// Who stands between the helper and the person: a PAM conversation or a terminal.
pub trait Prompter {
    /// Shows `text` and returns what the person enters.
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled>;
    /// Shows `text`, at the latest together with the next prompt.
    fn tell(&mut self, text: &str);
    /// Shows a new device to be bound. Only `mfa-enroll` is sent one.
    fn device(&mut self, device: &Device);
    /// Shows one user's standing. Only `mfa-enroll` is sent one.
    fn status(&mut self, status: &Status);
    /// Shows data that was asked for. Only `mfa-enroll` is sent any.
    fn report(&mut self, text: &str);
    /// Shows recovery codes. Only `mfa-enroll` is sent any.
    fn recovery_codes(&mut self, codes: &[Secret]);
    /// Shows a login that is remembered. Only `mfa-enroll` is sent any.
    fn remembered(&mut self, login: &Remembered);
    /// Shows `text` at once, with all that was told before.
    fn notice(&mut self, text: &str);
    /// Waits after a notice until the helper has something to say. True: the person has given up instead.
    fn is_left(&mut self, _helper: &UnixStream) -> bool {
        false
    }
    /// Has the person's ssh agent sign `message` by `key`. Only `mfa-enroll` is asked to.
    fn sign(&mut self, key: &[u8], message: &[u8]) -> Result<Secret, Cancelled>;
}

/// Waits for the helper's Hello. After it there is a helper; before it another way may be tried.
pub fn greet(channel: &mut Channel, patience: Duration) -> Result<(), Broken> {
    match FromHelper::decode(&channel.receive(patience)?)? {
        FromHelper::Hello(hello) if hello.oldest <= VERSION && VERSION <= hello.newest => Ok(()),
        FromHelper::Hello(_) => Err(Broken::Version),
        _ => Err(Broken::OutOfTurn),
    }
}

/// Sends `request` and relays until the verdict. Without a verdict there is no success: whoever
/// calls this must treat every error as "unavailable".
pub fn converse(channel: &mut Channel, request: Request, prompter: &mut dyn Prompter) -> Result<Verdict, Broken> {
    channel.send(&ToHelper::Request(request).encode()?, FRAME_TIMEOUT)?;
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
                if prompter.is_left(channel.stream()) {
                    // The helper learns it by the end of the channel.
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
