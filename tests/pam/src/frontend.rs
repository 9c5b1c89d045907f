use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use mfa_wire::{
    Cancelled, Channel, Device, Prompter, Remembered, Request, SPAWN_TIMEOUT, Secret, Status, Verdict, converse, greet,
};

/// One conversation with a helper that is started for it, as the module holds it.
pub struct FrontEnd {
    pub verdict: Verdict,
    /// What was asked.
    pub asked: Vec<String>,
    /// What was told beside that.
    pub told: Vec<String>,
    /// What was reported as data.
    pub reported: String,
}

/// Answers questions from the text that comes with them; `None` gives up.
struct Person<'a> {
    answer: &'a mut dyn FnMut(&str) -> Option<String>,
    asked: Vec<String>,
    told: Vec<String>,
    reported: String,
}

impl Prompter for Person<'_> {
    fn ask(&mut self, _: bool, text: &str) -> Result<Secret, Cancelled> {
        self.asked.push(text.to_owned());
        (self.answer)(text).map(|answer| Secret::copy_of(answer.as_bytes())).ok_or(Cancelled::ByUser)
    }
    fn tell(&mut self, text: &str) {
        self.told.push(text.to_owned());
    }
    fn device(&mut self, _: &Device) {
        panic!("a login is shown a text, not a device");
    }
    fn status(&mut self, _: &Status) {}
    fn report(&mut self, text: &str) {
        self.reported.push_str(text);
    }
    fn recovery_codes(&mut self, _: &[Secret]) {}
    fn remembered(&mut self, _: &Remembered) {}
    fn notice(&mut self, _: &str) {}
    fn sign(&mut self, _: &[u8], _: &[u8]) -> Result<Secret, Cancelled> {
        Err(Cancelled::NoConversation)
    }
}

impl FrontEnd {
    /// Makes this request of that helper.
    pub fn request(helper: &Path, request: Request, answer: &mut dyn FnMut(&str) -> Option<String>) -> FrontEnd {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut process = Command::new(helper).env_clear().stdin(OwnedFd::from(theirs)).spawn().unwrap();
        let mut channel = Channel::new(ours);
        greet(&mut channel, SPAWN_TIMEOUT).unwrap();
        let mut person = Person { answer, asked: Vec::new(), told: Vec::new(), reported: String::new() };
        let verdict = converse(&mut channel, request, &mut person).unwrap();
        process.wait().unwrap();
        FrontEnd { verdict, asked: person.asked, told: person.told, reported: person.reported }
    }
}
