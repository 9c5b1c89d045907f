//! A helper that does what a script says: every way in which a helper can be wrong, and every outcome.
//!
//! The script is the file named by `--config=FILE` (so `config=` of pam.d is tested on the way); standard input is the
//! conversation. Sections are separated by a line `---`: the first run takes the first, the next the next, and the last
//! one stays. One word of command a line, see `run`. What is received is written to FILE.log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mfa_wire::{Channel, FromHelper, Hello, Outcome, Secret, ToHelper, VERSION, Verdict};

const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    // First of all, while the process is as the module made it.
    let birth = birth();
    let argument = std::env::args().nth(1).expect("needs --config=SCRIPT");
    let script = argument.strip_prefix("--config=").expect("needs --config=SCRIPT").to_owned();
    let log_path = format!("{script}.log");
    let mut log = OpenOptions::new().create(true).append(true).open(&log_path).unwrap();
    let runs = fs::read_to_string(&log_path).unwrap().lines().filter(|line| *line == "run").count();
    log.write_all(b"run\n").unwrap();

    let text = fs::read_to_string(&script).unwrap();
    let sections: Vec<&str> = text.split("---\n").collect();
    // SAFETY: standard input is the conversation and belongs to nobody else in here.
    let stream = unsafe { UnixStream::from_raw_fd(0) };
    let mut helper = BadHelper { channel: Channel::new(stream), log, birth };
    for line in sections[runs.min(sections.len() - 1)].lines() {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        helper.run(command, rest);
    }
}

struct BadHelper {
    channel: Channel,
    log: fs::File,
    birth: String,
}

impl BadHelper {
    fn run(&mut self, command: &str, rest: &str) {
        match command {
            "hello" => self.send(&FromHelper::Hello(Hello { oldest: VERSION, newest: VERSION })),
            "hello-of-the-future" => self.send(&FromHelper::Hello(Hello { oldest: 200, newest: 201 })),
            "request" | "reply" => self.receive(),
            "ask" => {
                let text = Secret::copy_of(unescape(rest).as_bytes());
                self.send(&FromHelper::Ask { echo: true, text });
                self.receive();
            }
            "ask-hidden" => {
                self.send(&FromHelper::Ask { echo: false, text: Secret::copy_of(rest.as_bytes()) });
                self.receive();
            }
            // The prompt, XORed: the host looks for copies of it in its memory, so it must not stand in the script.
            "ask-masked" => {
                let text: Vec<u8> = hex(rest).into_iter().map(|byte| byte ^ 0x55).collect();
                self.send(&FromHelper::Ask { echo: true, text: Secret::copy_of(&text) });
                self.receive();
            }
            "ask-500-times" => (0..500).for_each(|_| self.run("ask", "Again: ")),
            "notice" => self.send(&FromHelper::Notice(rest.to_owned())),
            "tell" => self.send(&FromHelper::Tell(unescape(rest))),
            "tell-much" => (0..200).for_each(|_| self.send(&FromHelper::Tell("x".repeat(1000)))),
            "verdict" => {
                let (outcome, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let outcome = outcome_of(outcome);
                self.send(&FromHelper::Verdict(Verdict { outcome, text: unescape(text) }));
            }
            "raw" => {
                let bytes = hex(rest);
                let _ = self.channel.stream().write_all(&bytes);
            }
            "big-frame" => {
                let mut bytes = vec![0x22; 4 + mfa_wire::MAX_FRAME + 1];
                bytes[..4].copy_from_slice(&(mfa_wire::MAX_FRAME as u32 + 1).to_be_bytes());
                let _ = self.channel.stream().write_all(&bytes);
            }
            "birth" => {
                let birth = self.birth.clone();
                self.note(&birth);
            }
            // Until the host closes: no sleep, and the end is seen.
            "wait-for-close" => {
                let fd = self.channel.stream().as_fd().try_clone_to_owned().unwrap();
                let _ = UnixStream::from(fd).read_to_end(&mut Vec::new());
                self.note("closed");
            }
            "close" => self.channel.stream().shutdown(std::net::Shutdown::Both).unwrap(),
            "exit" => std::process::exit(rest.parse().unwrap_or(0)),
            "panic" => panic!("as the script says"),
            "abort" => std::process::abort(),
            // SAFETY: no preconditions.
            "kill" => unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
            },
            "" => {}
            other => panic!("unknown command {other}"),
        }
    }

    fn send(&mut self, message: &FromHelper) {
        assert!(self.try_send(message), "the host is gone");
    }

    fn try_send(&mut self, message: &FromHelper) -> bool {
        self.channel.send(&message.encode().unwrap(), PATIENCE).is_ok()
    }

    fn receive(&mut self) {
        let line = match self.channel.receive(PATIENCE) {
            Err(why) => format!("nothing: {why}"),
            Ok(frame) => match ToHelper::decode(&frame) {
                Ok(ToHelper::Request(request)) => format!("{request:?}"),
                Ok(ToHelper::Answer(answer)) => format!("answer {:?}", answer.text()),
                Ok(ToHelper::Cancel(why)) => format!("cancel {why:?}"),
                Err(why) => format!("malformed: {why}"),
            },
        };
        self.note(&line);
    }

    fn note(&mut self, line: &str) {
        self.log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn outcome_of(word: &str) -> Outcome {
    match word {
        "Accepted" => Outcome::Accepted,
        "Ignored" => Outcome::Ignored,
        "Refused" => Outcome::Refused,
        "Locked" => Outcome::Locked,
        "NoInteraction" => Outcome::NoInteraction,
        "Unavailable" => Outcome::Unavailable,
        "NotFound" => Outcome::NotFound,
        "Already" => Outcome::Already,
        "HandedOver" => Outcome::HandedOver,
        "Warnings" => Outcome::Warnings,
        "Faults" => Outcome::Faults,
        other => panic!("no outcome {other}"),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\0", "\0")
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What the process was born with, one fact a line.
fn birth() -> String {
    let mut fds: Vec<(i32, String)> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().parse().unwrap(), fs::read_link(&path)))
        .filter_map(|(fd, link)| link.ok().map(|link| (fd, link.display().to_string())))
        .filter(|(_, link)| !link.starts_with("/proc/"))
        .collect();
    fds.sort();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit('\t').next().unwrap().to_owned()
    };
    let arguments: Vec<String> = std::env::args().collect();
    // SAFETY: no preconditions.
    let (sid, pid) = unsafe { (libc::getsid(0), libc::getpid()) };
    let kinds: Vec<String> = fds.iter().map(|(fd, link)| format!("{fd}={}", link.split(':').next().unwrap())).collect();
    // Rust's start-up ignores SIGPIPE itself: bit 13 says nothing.
    let ignored = u64::from_str_radix(&field("SigIgn"), 16).unwrap() & !(1 << 12);
    format!(
        "birth fds {}\nbirth blocked {}\nbirth ignored {ignored:x}\nbirth environment {}\nbirth argv0 {}\nbirth argc {}\nbirth session-leader {}",
        kinds.join(" "),
        field("SigBlk"),
        std::env::vars_os().count(),
        arguments[0],
        arguments.len(),
        sid == pid,
    )
}
