//! Who is asking, and what they may ask.

use std::os::unix::net::UnixStream;

use mfa_wire::{Request, Verb};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};

use crate::lockout::Way;

/// The process at the other end, as the kernel says; nothing that it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its effective uid when the connection was made.
    pub uid: u32,
    /// Its pid then.
    pub pid: i32,
}

/// Asks the kernel who is at the other end.
pub fn of(stream: &UnixStream) -> nix::Result<Caller> {
    getsockopt(stream, PeerCredentials).map(|peer| Caller { uid: peer.uid(), pid: peer.pid() })
}

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// Only root may ask this at all.
    RootOnly,
    /// Only root may ask this of another user, or of one who does not exist: both look the same.
    NotYours,
    /// The policy leaves devices to administrators.
    NoSelfService,
    /// Who the caller is cannot be told.
    Nameless,
}

impl NotAllowed {
    /// What the caller reads.
    pub fn text(&self) -> &'static str {
        match self {
            NotAllowed::RootOnly => "Only root may do this.",
            NotAllowed::NotYours => "Only root may do this for another user.",
            NotAllowed::NoSelfService => "Devices are managed by the administrators here: ask one of them.",
            NotAllowed::Nameless => "The name service does not know who you are.",
        }
    }
}

/// What others than root may ask, each of their own user only.
enum Right {
    /// Of oneself, at any time.
    Own,
    /// Of oneself, after a proof, unless the policy forbids it.
    Change,
    /// Nothing.
    None,
}

/// The permission table. Root may ask anything for anyone.
fn right(request: &Request) -> Right {
    match request {
        Request::Verify(_) | Request::Account(..) | Request::Verb(Verb::Status { .. }) => Right::Own,
        Request::Verb(Verb::Totp { .. } | Verb::Disable { .. } | Verb::RecoveryCodes { .. }) => Right::Change,
        Request::Verb(
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
            | Verb::Unlock { .. },
        ) => Right::None,
    }
}

impl Caller {
    /// Root, and so whoever root's programs speak for.
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// The name of this caller, if it has one.
    pub fn name(self) -> Option<String> {
        User::from_uid(Uid::from_raw(self.uid)).ok().flatten().map(|user| user.name)
    }

    /// Whose failures this caller's wrong codes are.
    pub fn way(self) -> Way {
        if self.is_root() { Way::Login } else { Way::OwnProcess }
    }

    /// Whom `request` concerns, if this caller may ask it; an empty name where it concerns nobody.
    pub fn subject(self, request: &Request, self_service: bool) -> Result<String, NotAllowed> {
        let named = named(request);
        if self.is_root() {
            return Ok(named.unwrap_or("root").to_owned());
        }
        let own = self.name().ok_or(NotAllowed::Nameless)?;
        match right(request) {
            Right::None => return Err(NotAllowed::RootOnly),
            Right::Change if !self_service => return Err(NotAllowed::NoSelfService),
            Right::Own | Right::Change => {}
        }
        match named {
            None => Ok(own),
            Some(name) if name == own => Ok(own),
            // A name may have several spellings, and a uid several names.
            Some(name) => match User::from_name(name) {
                Ok(Some(user)) if user.uid.as_raw() == self.uid => Ok(user.name),
                _ => Err(NotAllowed::NotYours),
            },
        }
    }
}

/// Whom a request names. A verb that names nobody means the caller.
fn named(request: &Request) -> Option<&str> {
    match request {
        Request::Verify(login) | Request::Account(login, _) => Some(&login.user),
        Request::Verb(verb) => match verb {
            Verb::Totp { user, .. } | Verb::Disable { user } | Verb::Status { user } | Verb::RecoveryCodes { user } => {
                user.as_deref()
            }
            Verb::TotpPending { user, .. }
            | Verb::Confirm { user }
            | Verb::CancelPending { user }
            | Verb::Invite { user }
            | Verb::PolicyExplain { user, .. }
            | Verb::Unlock { user } => Some(user),
            Verb::Require(required) | Verb::Unrequire(required) => Some(required.user.as_deref().unwrap_or_default()),
            Verb::List | Verb::ConfirmRequired | Verb::PolicyCheck => Some(""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfa_wire::{AuthHook, Login, Required};

    fn login(user: &str) -> Login {
        let (user, service) = (user.to_owned(), String::from("sshd"));
        Login { user, service, rhost: None, tty: None, ruser: None, ssh_auth_info: None, stack_complete: true }
    }

    /// Every request there is, of `user`, and the right that it takes.
    fn requests(user: &str) -> Vec<(Request, &'static str)> {
        let (some, name) = (Some(user.to_owned()), user.to_owned());
        let verb = |verb, whose| (Request::Verb(verb), whose);
        vec![
            (Request::Verify(login(user)), "own"),
            (Request::Account(login(user), AuthHook::NotRun), "own"),
            verb(Verb::Status { user: some.clone() }, "own"),
            verb(Verb::Totp { user: some.clone(), label: None }, "change"),
            verb(Verb::Disable { user: some.clone() }, "change"),
            verb(Verb::RecoveryCodes { user: some }, "change"),
            verb(Verb::TotpPending { user: name.clone(), label: None }, "root"),
            verb(Verb::Confirm { user: name.clone() }, "root"),
            verb(Verb::CancelPending { user: name.clone() }, "root"),
            verb(Verb::Unlock { user: name }, "root"),
            verb(Verb::List, "root"),
            verb(Verb::Require(Required::default()), "root"),
            verb(Verb::Unrequire(Required::default()), "root"),
            verb(Verb::ConfirmRequired, "root"),
            verb(Verb::Invite { user: user.to_owned() }, "root"),
            verb(Verb::PolicyCheck, "root"),
            verb(
                Verb::PolicyExplain { user: user.to_owned(), service: "sshd".into(), rhost: None, ssh_key: None },
                "root",
            ),
        ]
    }

    const NOBODY: Caller = Caller { uid: 65534, pid: 0 };

    #[test]
    fn root_may_ask_anything_for_anyone() {
        for (request, _) in requests("nobody").into_iter().chain(requests("no-such-user")) {
            assert!(Caller { uid: 0, pid: 0 }.subject(&request, false).is_ok(), "{request:?}");
        }
    }

    #[test]
    fn everybody_else_may_ask_for_themselves_what_the_table_says() {
        for (request, right) in requests("nobody") {
            let expected = if right == "root" { Err(NotAllowed::RootOnly) } else { Ok(String::from("nobody")) };
            assert_eq!(NOBODY.subject(&request, true), expected, "{request:?}");
            let managed = match right {
                "root" => Err(NotAllowed::RootOnly),
                "change" => Err(NotAllowed::NoSelfService),
                _ => Ok(String::from("nobody")),
            };
            assert_eq!(NOBODY.subject(&request, false), managed, "{request:?} without self-service");
        }
    }

    #[test]
    fn nobody_may_ask_anything_for_another_nor_learn_who_exists() {
        for ((another, right), (missing, _)) in requests("root").into_iter().zip(requests("no-such-user")) {
            let expected = if right == "root" { NotAllowed::RootOnly } else { NotAllowed::NotYours };
            assert_eq!(NOBODY.subject(&another, true), Err(expected), "{another:?}");
            assert_eq!(NOBODY.subject(&another, true), NOBODY.subject(&missing, true), "{another:?}");
        }
    }

    #[test]
    fn a_verb_that_names_nobody_means_the_caller() {
        let status = Request::Verb(Verb::Status { user: None });
        assert_eq!(NOBODY.subject(&status, true), Ok(String::from("nobody")));
        assert_eq!(Caller { uid: 0, pid: 0 }.subject(&status, true), Ok(String::from("root")));
    }

    #[test]
    fn a_uid_without_a_name_may_ask_nothing() {
        for (request, _) in requests("nobody") {
            assert_eq!(Caller { uid: 3_999_999_999, pid: 0 }.subject(&request, true), Err(NotAllowed::Nameless));
        }
    }
}
