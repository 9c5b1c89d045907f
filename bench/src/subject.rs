//! What is measured.

use std::ffi::CString;

use crate::{People, UNBOUND};

/// One row of the table.
pub struct Subject {
    pub title: &'static str,
    pub service: &'static str,
    /// What follows `auth required` in its file.
    pub line: &'static str,
    who: Who,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    BySocket,
    BySpawn,
    Unbound,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Right,
    Wrong,
    /// There is no question.
    None,
}

const SUCCESS: i32 = 0;
const AUTH_ERR: i32 = 7;

const GA: &str = "pam_google_authenticator.so secret=/var/lib/ga/${USER} user=root";
const BY_SOCKET: &str = "pam_mfa.so stack=complete helper=/nowhere";
const BY_SPAWN: &str = "pam_mfa.so stack=complete socket=/nowhere";

/// The line before each of them: a first factor that succeeds and costs nothing. Without one `stack=complete` would be
/// untrue, which is another and a slower way.
pub const FIRST: &str = "auth [success=ok default=die] pam_first.so";

/// Makes that module. The stack reader knows pam_permit to prove nothing, so it has another name.
pub const MAKE_FIRST: &str =
    "for permit in /usr/lib/*/security/pam_permit.so; do cp $permit ${permit%pam_permit.so}pam_first.so; done";

/// The floor of all others.
pub const PERMIT: usize = 0;
/// The peer that is closest in what it does: it asks for a code, and makes durable that it is used.
pub const PEER: usize = 2;

pub const SUBJECTS: &[Subject] = &[
    subject("pam_permit", "permit", "pam_permit.so", Who::Unbound, Answer::None),
    subject(
        "google-authenticator, reuse allowed, right code",
        "ga-reuse",
        "pam_google_authenticator.so secret=/var/lib/ga-reuse/${USER} user=root",
        Who::BySocket,
        Answer::Right,
    ),
    subject("google-authenticator, right code", "ga", GA, Who::BySocket, Answer::Right),
    subject("google-authenticator, wrong code", "ga-wrong", GA, Who::BySpawn, Answer::Wrong),
    subject(
        "google-authenticator, noskewadj, wrong code",
        "ga-wrong-noskewadj",
        "pam_google_authenticator.so secret=/var/lib/ga/${USER} user=root noskewadj",
        Who::BySpawn,
        Answer::Wrong,
    ),
    subject(
        "pam_oath, right code",
        "oath",
        "pam_oath.so usersfile=/etc/oath/users window=1 digits=6",
        Who::BySocket,
        Answer::Right,
    ),
    subject("pam_mfa, socket, right code", "socket", BY_SOCKET, Who::BySocket, Answer::Right),
    subject("pam_mfa, socket, wrong code", "socket-wrong", BY_SOCKET, Who::BySocket, Answer::Wrong),
    subject("pam_mfa, socket, not bound, not required", "socket-ignored", BY_SOCKET, Who::Unbound, Answer::None),
    subject("pam_mfa, spawn, right code", "spawn", BY_SPAWN, Who::BySpawn, Answer::Right),
    subject("pam_mfa, spawn, wrong code", "spawn-wrong", BY_SPAWN, Who::BySpawn, Answer::Wrong),
    subject("pam_mfa, spawn, not bound, not required", "spawn-ignored", BY_SPAWN, Who::Unbound, Answer::None),
];

const fn subject(title: &'static str, service: &'static str, line: &'static str, who: Who, answer: Answer) -> Subject {
    Subject { title, service, line, who, answer }
}

impl Subject {
    /// The `n`th user of a round, and what that user answers.
    pub fn user_and_answer(&self, n: usize, who: &People, now: u64) -> (CString, CString) {
        let user = match self.who {
            Who::BySocket => &who.by_socket[n],
            Who::BySpawn => &who.by_spawn[n],
            Who::Unbound => return (CString::new(UNBOUND).expect("letters"), CString::default()),
        };
        let answer = if self.answer == Answer::Right { user.code(now) } else { user.wrong_code(now) };
        (user.name(), answer)
    }

    /// What `pam_authenticate` has to say.
    pub fn expected(&self) -> i32 {
        match self.answer {
            // Who is asked nothing comes in by the first factor alone.
            Answer::Right | Answer::None => SUCCESS,
            Answer::Wrong => AUTH_ERR,
        }
    }
}
