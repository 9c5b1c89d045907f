//! The process that asks, and what it may ask.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use mfa_core::Process;
use mfa_wire::{Request, Verb};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::process;
use crate::sys;
use crate::sys::names;

/// The process at the other end, as the kernel identifies it. Nothing in it comes from the process itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its effective uid when the connection was made.
    pub uid: u32,
    /// Its pid at that time.
    pub pid: i32,
}

/// Asks the kernel who is at the other end.
pub fn of(stream: &UnixStream) -> nix::Result<Caller> {
    getsockopt(stream, PeerCredentials).map(|peer| Caller { uid: peer.uid(), pid: peer.pid() })
}

/// Holds the process at the other end by a pidfd. Without that, data read by its pid could be another process's: an
/// attacker can have a pid reused within seconds.
pub struct Held(Option<OwnedFd>);

impl Held {
    /// Holds no process: for a user who is not at this host.
    pub fn nobody() -> Held {
        Held(None)
    }

    /// Holds the process at the other end of this connection, which by the kernel's word is `caller`.
    pub fn of(stream: &UnixStream, caller: Caller) -> Held {
        match sys::process_of_peer(stream) {
            Err(Errno::ENOPROTOOPT) => Held::by_number(caller.pid, process::own()),
            held => Held(held.ok()),
        }
    }

    /// For Linux before 6.5. `ours` was started for this connection, so a process that started later is not the peer.
    fn by_number(pid: i32, ours: Option<Process>) -> Held {
        let process = sys::process(pid);
        // Read after the process is held.
        let came_before = process::now(pid).zip(ours).is_some_and(|(peer, ours)| peer.started <= ours.started);
        Held(process.filter(|_| came_before))
    }

    /// Whether it still runs. If so, everything read by its pid until now was about this process.
    pub fn is_there(&self) -> bool {
        let Some(process) = &self.0 else { return false };
        // A pidfd becomes readable when its process has ended (pidfd_open(2)).
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
    }
}

/// The person behind a command of root's, for the log. uid 0 is often several people.
#[derive(Default)]
pub struct Person {
    /// By which the kernel says that the login was made.
    pub login_uid: Option<String>,
    /// By whom the caller says that sudo was called. Root may claim anyone; where no login uid is kept, as in
    /// containers, it is all that there is.
    pub claimed_sudo_user: Option<String>,
    /// The caller, if it is root.
    process: Option<Process>,
}

impl Person {
    /// By the kernel's word, if the caller is root and still runs. Asked before the caller gets a message: somebody who may
    /// only run `mfa-enroll` by sudo must not stay unnamed by interrupting it.
    pub fn of(caller: Caller, held: &Held) -> Person {
        if !caller.is_root() {
            return Person::default();
        }
        let login_uid = process::login_uid(caller.pid).map(|uid| uid.to_string());
        let person = Person { login_uid, claimed_sudo_user: None, process: process::now(caller.pid) };
        if held.is_there() { person } else { Person::default() }
    }

    /// With what the caller claims, if it still runs. Only a command is asked: a login claims nothing, and the program that
    /// asks for it may have a long environment.
    pub fn with_claim(self, request: &Request) -> Person {
        let Some(process) = self.process.filter(|_| matches!(request, Request::Verb(_))) else { return self };
        let claimed = process::variable(process.pid, "SUDO_USER");
        Person { claimed_sudo_user: claimed.filter(|_| process::now(process.pid) == Some(process)), ..self }
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// Only root may request this at all.
    RootOnly,
    /// Only root may request this for another user. A user that does not exist gives the same answer.
    NotYours,
    /// The policy leaves devices to administrators.
    NoSelfService,
    /// The user is not known, because the name service has failed.
    NotKnown(Errno),
}

/// What callers other than root may request, each for their own user only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Their own, at any time.
    Own,
    /// Their own, after the first factor, unless the policy forbids it.
    Proved,
    /// Their own, with an invitation in place of the first factor, unless the policy forbids it.
    Invited,
    /// Nothing.
    None,
}

/// The permission table. Root may request anything for any user, without a proof.
pub fn right(request: &Request) -> Right {
    match request {
        // To have a login forgotten only tightens.
        Request::Verify(_)
        | Request::Account(..)
        | Request::Test(_)
        | Request::Verb(Verb::Status { .. } | Verb::Tickets { .. }) => Right::Own,
        Request::Verb(
            Verb::Totp { invited: false, .. }
            | Verb::Replace { .. }
            | Verb::U2f { invited: false, .. }
            | Verb::ReplaceU2f(_)
            | Verb::Disable { .. }
            | Verb::RecoveryCodes { .. },
        ) => Right::Proved,
        Request::Verb(Verb::Totp { invited: true, .. } | Verb::U2f { invited: true, .. }) => Right::Invited,
        // A session is opened by root.
        Request::Session(_)
        | Request::Verb(
            Verb::TotpPending { .. }
            | Verb::Confirm { .. }
            | Verb::CancelPending { .. }
            | Verb::List
            | Verb::Require(_)
            | Verb::Unrequire(_)
            | Verb::ConfirmRequired
            | Verb::Invite { .. }
            | Verb::PolicyCheck
            | Verb::PolicyExplain { .. }
            | Verb::Unlock { .. }
            | Verb::ReplacePending { .. }
            | Verb::Bypass { .. }
            | Verb::Resync { .. }
            | Verb::Doctor
            | Verb::ListOf { .. }
            | Verb::Import { .. }
            | Verb::Rename { .. },
        ) => Right::None,
    }
}

impl Caller {
    /// Whether the caller is root. Root's programs speak for other users.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// The name of this caller, if it has one. Root has its name even if the name service fails.
    pub fn name(self) -> nix::Result<Option<String>> {
        if self.is_root() {
            return Ok(Some(String::from("root")));
        }
        Ok(names::user_of(self.uid)?.map(|user| user.name))
    }

    /// The user that `request` concerns. Fails if this caller, whose name is `own`, may not make it.
    pub fn subject(self, own: &str, request: &Request, self_service: bool) -> Result<String, NotAllowed> {
        let named = named(request);
        if self.is_root() {
            return Ok(named.unwrap_or(own).to_owned());
        }
        match right(request) {
            Right::None => return Err(NotAllowed::RootOnly),
            Right::Proved | Right::Invited if !self_service => return Err(NotAllowed::NoSelfService),
            Right::Own | Right::Proved | Right::Invited => {}
        }
        // Records are kept by name, so the name must lead back to the uid: a name may have several spellings, a uid
        // may have several names, and two sources of the name service may give one name to two uids.
        match names::user(named.unwrap_or(own)).map_err(NotAllowed::NotKnown)? {
            Some(user) if user.uid.as_raw() == self.uid => Ok(user.name),
            _ => Err(NotAllowed::NotYours),
        }
    }
}

/// The user that a request names. `None` means the caller, or that the request is about no single user.
pub fn named(request: &Request) -> Option<&str> {
    match request {
        Request::Verify(login) | Request::Account(login, _) | Request::Test(login) | Request::Session(login) => {
            Some(&login.user)
        }
        Request::Verb(verb) => match verb {
            Verb::Totp { user, .. }
            | Verb::Replace { user, .. }
            | Verb::Disable { user, .. }
            | Verb::Status { user }
            | Verb::Tickets { user, .. }
            | Verb::RecoveryCodes { user } => user.as_deref(),
            Verb::U2f { key, .. } | Verb::ReplaceU2f(key) => key.user.as_deref(),
            Verb::TotpPending { user, .. }
            | Verb::Confirm { user }
            | Verb::CancelPending { user }
            | Verb::Invite { user }
            | Verb::PolicyExplain { user, .. }
            | Verb::Unlock { user }
            | Verb::ReplacePending { user, .. }
            | Verb::Bypass { user, .. }
            | Verb::Resync { user }
            | Verb::Import { user, .. }
            | Verb::Rename { new: user, .. } => Some(user),
            Verb::Require(required) | Verb::Unrequire(required) => required.user.as_deref(),
            Verb::List | Verb::ConfirmRequired | Verb::PolicyCheck | Verb::Doctor | Verb::ListOf { .. } => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::names::world::in_a_world;
    use mfa_wire::{AuthHook, Login, NewKey, Required};
    use std::collections::BTreeSet;

    fn login(user: &str) -> Login {
        Login { stack_complete: true, ..Login::at(user, "sshd") }
    }

    /// The compiler asks for no row of the list below, and a verb that is not in it is not tried.
    #[test]
    fn every_verb_is_in_the_list_of_requests() {
        let table = include_str!("../../mfa-wire/src/message.rs").split_once("choice! { Verb,").unwrap().1;
        let rows = table.lines().take_while(|line| *line != "}").filter_map(|row| row.split_once("=> "));
        let verbs: BTreeSet<&str> = rows.filter_map(|(_, row)| row.split([' ', '(']).next()).collect();
        assert!(verbs.len() > 20, "{verbs:?}");
        let listed: Vec<String> = requests("alice")
            .into_iter()
            .filter_map(|(request, _)| match request {
                Request::Verb(verb) => Some(format!("{verb:?}")),
                _ => None,
            })
            .collect();
        let listed: BTreeSet<&str> = listed.iter().filter_map(|verb| verb.split([' ', '(']).next()).collect();
        assert_eq!(listed, verbs);
    }

    /// Every kind of request for `user`, and the right that it needs.
    fn requests(user: &str) -> Vec<(Request, &'static str)> {
        let (some, name) = (Some(user.to_owned()), user.to_owned());
        let verb = |verb, whose| (Request::Verb(verb), whose);
        let key = NewKey { user: some.clone(), ..NewKey::default() };
        vec![
            (Request::Verify(login(user)), "own"),
            (Request::Account(login(user), AuthHook::NotRun), "own"),
            (Request::Test(login(user)), "own"),
            (Request::Session(login(user)), "root"),
            verb(Verb::Status { user: some.clone() }, "own"),
            verb(Verb::Tickets { user: some.clone(), revoke: None }, "own"),
            verb(Verb::Tickets { user: some.clone(), revoke: Some("all".into()) }, "own"),
            verb(Verb::Totp { user: some.clone(), label: None, invited: false }, "proved"),
            verb(Verb::Totp { user: some.clone(), label: None, invited: true }, "invited"),
            verb(Verb::Replace { user: some.clone(), label: None }, "proved"),
            verb(Verb::Disable { user: some.clone(), device: None }, "proved"),
            verb(Verb::U2f { key: key.clone(), invited: false }, "proved"),
            verb(Verb::U2f { key: key.clone(), invited: true }, "invited"),
            verb(Verb::ReplaceU2f(key), "proved"),
            verb(
                Verb::Import { user: name.clone(), format: "pam-u2f".into(), origin: None, lines: String::new() },
                "root",
            ),
            verb(Verb::RecoveryCodes { user: some }, "proved"),
            verb(Verb::TotpPending { user: name.clone(), label: None }, "root"),
            verb(Verb::Confirm { user: name.clone() }, "root"),
            verb(Verb::CancelPending { user: name.clone() }, "root"),
            verb(Verb::ReplacePending { user: name.clone(), label: None }, "root"),
            verb(Verb::Bypass { user: name.clone(), seconds: 1 }, "root"),
            verb(Verb::Resync { user: name.clone() }, "root"),
            verb(Verb::Unlock { user: name }, "root"),
            verb(Verb::Rename { old: user.to_owned(), new: user.to_owned() }, "root"),
            verb(Verb::List, "root"),
            verb(Verb::Require(Required::default()), "root"),
            verb(Verb::Unrequire(Required::default()), "root"),
            verb(Verb::ConfirmRequired, "root"),
            verb(Verb::Invite { user: user.to_owned() }, "root"),
            verb(Verb::PolicyCheck, "root"),
            verb(Verb::Doctor, "root"),
            verb(Verb::ListOf { group: None, missing: true }, "root"),
            verb(
                Verb::PolicyExplain { user: user.to_owned(), service: "sshd".into(), rhost: None, ssh_key: None },
                "root",
            ),
        ]
    }

    /// A process that has connected and waits to be killed, and the other end of its connection.
    fn connected() -> (nix::unistd::Pid, UnixStream) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = format!("/tmp/mfa-caller-{}-{number}", std::process::id());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let Some(child) = sys::fork().unwrap() else {
            let _connection = UnixStream::connect(&path);
            loop {
                nix::unistd::pause();
            }
        };
        let (stream, _) = listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        (child, stream)
    }

    #[test]
    fn a_caller_that_is_gone_is_not_there_whoever_has_its_number() {
        let (child, stream) = connected();
        let caller = of(&stream).unwrap();
        assert_eq!(caller.pid, child.as_raw());
        let (held, other) = (Held::of(&stream, caller), Held(sys::process(caller.pid)));
        assert!(held.is_there() && other.is_there());
        let by_number = |pid| Held::by_number(pid, process::now(pid));
        assert!(by_number(std::process::id().cast_signed()).is_there() && by_number(caller.pid).is_there());
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
        assert!(!held.is_there() && !other.is_there());
        assert!(!Held::of(&stream, caller).is_there() && !by_number(caller.pid).is_there());
    }

    #[test]
    fn a_process_that_was_started_after_this_one_has_not_called_it() {
        let (child, _stream) = connected();
        let peer = process::now(child.as_raw()).unwrap();
        let is_there = |pid, started| Held::by_number(pid, Some(Process { started, ..peer })).is_there();
        assert!(is_there(peer.pid, peer.started) && is_there(peer.pid, peer.started + 1));
        assert!(!is_there(peer.pid, peer.started - 1), "it came after us");
        assert!(!Held::by_number(peer.pid, None).is_there(), "who cannot see itself knows nobody");
        assert!(!is_there(0, u64::MAX) && !is_there(-1, u64::MAX));
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
    }

    const NOBODY: Caller = Caller { uid: 65534, pid: 0 };

    /// From the table, a conversation decides whether to keep the capability that a proof needs, or to give it up
    /// before it reads further.
    #[test]
    fn what_is_served_after_a_proof_is_what_the_table_says() {
        let (_, body) = include_str!("lib.rs").split_once("\nfn serve_verb(").unwrap();
        let (body, _) = body.split_once("\n}\n").unwrap();
        let arms = body.split("\n        Verb::").skip(1).filter(|arm| arm.contains("proof()?"));
        let verbs = arms.flat_map(|arm| arm.split_once("=>").unwrap().0.split("Verb::"));
        let name = |text: &str| text.split([' ', '(']).next().unwrap().to_owned();
        let served: BTreeSet<String> = verbs.map(name).collect();
        let mut asked = BTreeSet::new();
        for (request, word) in requests("nobody") {
            let right = match word {
                "own" => Right::Own,
                "proved" => Right::Proved,
                "invited" => Right::Invited,
                _ => Right::None,
            };
            assert!(super::right(&request) == right, "{request:?}");
            let Request::Verb(verb) = &request else { continue };
            let proves = matches!(right, Right::Proved | Right::Invited);
            let verb = name(&format!("{verb:?}"));
            assert_eq!(served.contains(&verb), proves, "{request:?}");
            asked.extend(proves.then_some(verb));
        }
        assert_eq!(served, asked);
    }

    #[test]
    fn root_may_ask_anything_for_anyone() {
        for (request, _) in requests("nobody").into_iter().chain(requests("no-such-user")) {
            assert!(Caller { uid: 0, pid: 0 }.subject("root", &request, false).is_ok(), "{request:?}");
        }
    }

    #[test]
    fn everybody_else_may_ask_for_themselves_what_the_table_says() {
        for (request, right) in requests("nobody") {
            let expected = if right == "root" { Err(NotAllowed::RootOnly) } else { Ok(String::from("nobody")) };
            assert_eq!(NOBODY.subject("nobody", &request, true), expected, "{request:?}");
            let managed = match right {
                "root" => Err(NotAllowed::RootOnly),
                "proved" | "invited" => Err(NotAllowed::NoSelfService),
                _ => Ok(String::from("nobody")),
            };
            assert_eq!(NOBODY.subject("nobody", &request, false), managed, "{request:?} without self-service");
        }
    }

    #[test]
    fn nobody_may_ask_anything_for_another_nor_learn_who_exists() {
        for ((another, right), (missing, _)) in requests("root").into_iter().zip(requests("no-such-user")) {
            let expected = if right == "root" { NotAllowed::RootOnly } else { NotAllowed::NotYours };
            assert_eq!(NOBODY.subject("nobody", &another, true), Err(expected), "{another:?}");
            assert_eq!(
                NOBODY.subject("nobody", &another, true),
                NOBODY.subject("nobody", &missing, true),
                "{another:?}"
            );
        }
    }

    #[test]
    fn a_verb_that_names_nobody_means_the_caller() {
        let status = Request::Verb(Verb::Status { user: None });
        assert_eq!(NOBODY.subject("nobody", &status, true), Ok(String::from("nobody")));
        assert_eq!(Caller { uid: 0, pid: 0 }.subject("root", &status, true), Ok(String::from("root")));
    }

    /// An entry of any size is read. If it cannot be read, the owner of the name is not known.
    #[test]
    #[ignore = "needs root: make unit"]
    fn whose_a_name_is_is_told_of_any_entry_and_a_failure_is_no_answer() {
        let status = Request::Verb(Verb::Status { user: Some(String::from("eve")) });
        let eve = Caller { uid: 4000, pid: 0 };
        let passwd = |length| format!("root:x:0:0:::\neve:x:4000:4000:{}:/:/bin/sh\n", "x".repeat(length));
        in_a_world(&[("/etc/passwd", &passwd(2 << 20))], || {
            assert_eq!(eve.name(), Ok(Some(String::from("eve"))));
            assert_eq!(eve.subject("eve", &status, true), Ok(String::from("eve")));
            assert_eq!(NOBODY.subject("nobody", &status, true), Err(NotAllowed::NotYours));
        });
        in_a_world(&[("/etc/passwd", &passwd(65 << 20))], || {
            assert_eq!(eve.name(), Err(Errno::ERANGE));
            assert_eq!(eve.subject("eve", &status, true), Err(NotAllowed::NotKnown(Errno::ERANGE)));
            let decision = crate::flow::Decision::no_right(NotAllowed::NotKnown(Errno::ERANGE), "");
            assert_eq!(decision.outcome, mfa_wire::Outcome::Unavailable);
        });
    }

    #[test]
    fn a_uid_without_a_name_has_none_and_root_is_root() {
        assert_eq!(Caller { uid: 3_999_999_999, pid: 0 }.name(), Ok(None));
        assert_eq!(Caller { uid: 0, pid: 0 }.name(), Ok(Some(String::from("root"))));
    }
}
