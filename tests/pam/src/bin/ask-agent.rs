//! What the helper does where an ssh key is bound, without the login around it:
//!
//!     ask-agent USER SOCKET MILLISECONDS PUBLIC-KEY-FILE...
//!
//! The front end is gone when its standard input ends. It prints `signed N`, by the Nth of the keys, or why not: the line
//! for the person, then that for the log.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mfa_core::Id;
use mfa_core::key::{self, Key, PublicKey};
use mfa_helper::factor::agent::{ARGUMENT, Agent, Failure};
use mfa_ssh::{Line, Point};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == [ARGUMENT.to_str().unwrap()] {
        return mfa_helper::main();
    }
    let [user, socket, within, files @ ..] = &arguments[..] else { return ExitCode::FAILURE };
    let keys: Vec<Key> = files.iter().map(|file| bound(&std::fs::read_to_string(file).unwrap())).collect();
    match ask(user, Path::new(socket), Duration::from_millis(within.parse().unwrap()), &keys) {
        Ok((index, Ok(_))) => println!("signed {index}"),
        Ok((index, Err(refused))) => println!("refused {index}: {refused}"),
        Err(failure) => println!("{failure}\n{}", failure.reason()),
    }
    ExitCode::SUCCESS
}

type Judged = (usize, Result<u32, key::Refused>);

fn ask(user: &str, socket: &Path, within: Duration, keys: &[Key]) -> Result<Judged, Failure> {
    let stdin = std::io::stdin();
    let agent = Agent::find(user, socket, keys, stdin.as_fd())?;
    let (index, signed, hash) = agent.sign(&[7; 32], within)?;
    Ok((index, key::check(&keys[index], &signed, &hash, false)))
}

fn bound(line: &str) -> Key {
    let key = Line::parse(line).unwrap().unwrap().key;
    let public = match &key.point {
        Point::Ed25519(point) => PublicKey::ed25519(point),
        Point::Ecdsa(point) => PublicKey::es256(point),
    };
    Key {
        id: Id([1; 16]),
        label: String::new(),
        created: 0,
        created_from: String::new(),
        rp_id: key.application,
        credential: Vec::new(),
        public: public.unwrap(),
        verified: false,
        counter: 0,
    }
}
