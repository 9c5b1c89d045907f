//! The PAM conversation as a [`Prompter`].

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use mfa_wire::{
    Cancelled, Device, FRAME_TIMEOUT, Login, MAX_ANSWER, MAX_FRAME, Outcome, Prompter, Remembered, Secret, Status,
    Verdict,
};
use pam::constants::{
    PAM_ERROR_MSG, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_SILENT, PAM_TEXT_INFO, PamFlag, PamMessageStyle,
};
use pam::items::AuthTok;
use pam::module::PamHandle;

use crate::sys::pam::{Response, send};
use crate::sys::signals;
use crate::sys::spawn::are_we_root;

/// The conversation of one PAM transaction.
///
/// Everything except a notice goes into the prompt: sshd would hold back a separate PAM_TEXT_INFO, and su writes
/// PAM_TEXT_INFO to stdout, which may be a file.
pub(crate) struct Conversation<'a> {
    pam: &'a PamHandle,
    user: &'a str,
    silent: bool,
    /// There is a terminal, and standard output may be a file: su writes PAM_TEXT_INFO there.
    on_a_terminal: bool,
    /// The host is a screen locker, which has room for one line of question or message.
    one_line: bool,
    /// What was told and waits for the next prompt. During a binding it may hold the new key.
    pending: Secret,
    asked: bool,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(pam: &'a PamHandle, login: &'a Login, flags: PamFlag) -> Self {
        let silent = flags & PAM_SILENT != 0;
        // A caller that is not root is a screen locker or the like, never a login program.
        let one_line = !are_we_root();
        let on_a_terminal = login.tty.is_some() && !one_line;
        let pending = Secret::with_capacity(MAX_FRAME);
        Conversation { pam, user: &login.user, silent, on_a_terminal, one_line, pending, asked: false }
    }

    /// Whether the person was asked for an answer or for a touch.
    pub(crate) fn has_asked(&self) -> bool {
        self.asked
    }

    /// Sends the remaining messages as one. A failure to show it changes nothing.
    ///
    /// PAM_SILENT does not suppress a refusal: sudo always sets it, and the refusal names the remedy.
    pub(crate) fn farewell(mut self, verdict: &Verdict) {
        let past = matches!(verdict.outcome, Outcome::Accepted | Outcome::Ignored | Outcome::HandedOver);
        if past && self.silent {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let told = pending.bytes();
        // The host itself ends the last line of a message.
        let told = if verdict.text.is_empty() { told.trim_ascii_end() } else { told };
        let text = if self.one_line { verdict.text.lines().next().unwrap_or_default() } else { &verdict.text };
        if !told.is_empty() || !text.is_empty() {
            let _ = self.say(PAM_ERROR_MSG, &[told, text.as_bytes()]);
        }
    }

    /// Sends the parts as one message. `None` if the host cannot show it, reports a failure or gives no reply.
    fn say(&self, style: PamMessageStyle, parts: &[&[u8]]) -> Option<Response> {
        let mut message = Secret::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 1);
        let whole = parts.iter().all(|part| message.append(part)) && message.append(b"\0");
        if whole { send(self.pam, style, &message) } else { None }
    }

    /// Takes the host's answer to a prompt, unless it is empty (the person gave up), too long, or the login secret or
    /// the user's name (no person was asked). Checked before it is copied.
    fn check_answer(&self, answer: &[u8]) -> Result<Secret, Cancelled> {
        let secret = self.pam.get_item::<AuthTok>().ok().flatten();
        if answer.is_empty() {
            Err(Cancelled::ByUser)
        } else if secret.is_some_and(|secret| same(answer, secret.as_bytes())) {
            Err(Cancelled::LoginSecret)
        } else if same(answer, self.user.as_bytes()) {
            Err(Cancelled::UserName)
        } else if answer.len() > MAX_ANSWER {
            Err(Cancelled::NoConversation)
        } else {
            Ok(Secret::copy_of(answer))
        }
    }
}

impl Prompter for Conversation<'_> {
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        self.asked = true;
        let pending = std::mem::replace(&mut self.pending, Secret::with_capacity(MAX_FRAME));
        let style = if echo { PAM_PROMPT_ECHO_ON } else { PAM_PROMPT_ECHO_OFF };
        let response = self.say(style, &[pending.bytes(), text.as_bytes()]).ok_or(Cancelled::NoConversation)?;
        self.check_answer(response.answer().ok_or(Cancelled::NoConversation)?)
    }

    /// Text that does not fit into the buffer is dropped: the helper must not choose how much memory we use.
    fn tell(&mut self, text: &str) {
        if self.one_line {
            return;
        }
        let _ = self.pending.append(text.as_bytes()) && self.pending.append(b"\n");
    }

    fn device(&mut self, _: &Device) {}

    fn status(&mut self, _: &Status) {}

    fn report(&mut self, _: &str) {}

    fn recovery_codes(&mut self, _: &[Secret]) {}

    fn remembered(&mut self, _: &Remembered) {}

    /// PAM_SILENT does not suppress a notice: sudo always sets it, and the person must do something.
    fn notice(&mut self, text: &str) {
        self.asked = true;
        let pending = std::mem::replace(&mut self.pending, Secret::with_capacity(MAX_FRAME));
        let style = if self.on_a_terminal { PAM_ERROR_MSG } else { PAM_TEXT_INFO };
        let _ = self.say(style, &[pending.bytes(), text.as_bytes()]);
    }

    /// sudo blocks Ctrl-C while PAM works, and during a notice nothing is read at a prompt that Ctrl-C could end.
    fn is_left(&mut self, helper: &UnixStream) -> bool {
        signals::interrupt_comes_before(helper.as_fd(), FRAME_TIMEOUT)
    }

    fn sign(&mut self, _: &[u8], _: &[u8]) -> Result<Secret, Cancelled> {
        Err(Cancelled::NoConversation)
    }
}

/// Programs that do not ask the person answer every prompt with the secret or the name that they hold, some with a
/// newline after it.
fn same(answer: &[u8], held: &[u8]) -> bool {
    answer == held || answer.trim_ascii() == held.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn blind_answer_is_recognised_through_white_space() {
        assert!(same(b"hunter2", b"hunter2"));
        assert!(same(b"hunter2\r\n", b"hunter2"));
        assert!(same(b"hunter2", b" hunter2 "));
        assert!(!same(b"492039", b"hunter2"));
        assert!(!same(b"hunter", b"hunter2"), "a prefix is another answer");
    }
}
