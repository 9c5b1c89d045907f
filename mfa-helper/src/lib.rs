//! The only code of the multi-factor login that runs with privilege. One process serves one
//! conversation: it takes a request, asks what it must, decides, and ends. `docs/privsep.md` draws
//! the whole.
//!
//! Its conversation is its standard input, a connected socket, as inetd and systemd hand it over. A socket
//! that listens makes it the listener, which starts such a process for each connection.

#![deny(unsafe_code)]

mod audit;
mod caller;
mod conversation;
mod doctor;
pub mod factor;
mod flow;
mod host;
mod identity;
mod lang;
mod listener;
mod payer;
mod policy;
mod process;
mod program;
#[cfg(test)]
#[path = "../../mfa-qr/src/reader.rs"]
mod reader;
mod rootfile;
mod session;
pub mod stack;
pub mod store;
mod sudo;
mod sys;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};

use mfa_wire::{Channel, Login, Outcome, Request, Verb};

use crate::audit::Level;
use crate::caller::{Caller, Held, Person, Right, right};
use crate::conversation::{BINDING, Conversation};
use crate::flow::manage::{device, import, keys, recovery, rename, require, standing, tickets, unbind};
use crate::flow::proof::Proof;
use crate::flow::{Decision, Desk, first_factor, login};
use crate::host::Host;
use crate::policy::files;

/// Serves one conversation. The exit status means nothing; only the verdict on the socket does.
pub fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1).unwrap_or_default();
    // A helper has started this process to talk to one security key. It does nothing else.
    if argument.as_bytes() == factor::usb::ARGUMENT.to_bytes() {
        return factor::usb::child::main().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let listen_fds = sys::listen_fds();
    // First of all, before anything inherited can matter.
    if sys::reset_process(listen_fds).is_err() {
        return ExitCode::FAILURE;
    }
    std::panic::set_hook(Box::new(|panic| {
        // Only the location: the message could quote a secret.
        let place = panic.location().map_or(String::new(), ToString::to_string);
        audit::log(Level::Error, &[("event", "panic"), ("at", &place)]);
    }));
    if let Err(reason) = sys::lift_limits() {
        audit::log(Level::Error, &[("event", "conversation"), ("verdict", "none"), ("reason", &reason)]);
        return ExitCode::FAILURE;
    }
    // A helper has started this process to connect to an ssh agent as that user.
    if argument.as_bytes() == factor::agent::ARGUMENT.to_bytes() {
        return factor::agent::connect();
    }
    match converse(listen_fds) {
        Ok(exit) => exit,
        Err(reason) => {
            audit::log(Level::Error, &[("event", "conversation"), ("verdict", "none"), ("reason", &reason)]);
            ExitCode::FAILURE
        }
    }
}

fn converse(listen_fds: u32) -> Result<ExitCode, String> {
    let sockets = sys::take_listen_fds(listen_fds);
    let config = config()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    let listens = |socket: &OwnedFd| getsockopt(socket, AcceptConn) == Ok(true);
    // Handed over as standard input, or by systemd, which can give several.
    let doors: Vec<UnixListener> = match listens(&socket) {
        true => vec![UnixListener::from(socket.try_clone().map_err(|e| e.to_string())?)],
        false => sockets.into_iter().filter(listens).map(UnixListener::from).collect(),
    };
    let listening = !doors.is_empty();
    let stream = if listening {
        sys::caps::set_aside().map_err(|e| e.desc().to_owned())?;
        drop(socket);
        let trial = match sys::fork() {
            Ok(None) => {
                drop(doors);
                try_itself(&config);
            }
            // If the fork failed, go on: logins will fail in the same way and say so.
            started => started.ok().flatten(),
        };
        match listener::accept(doors, trial).map_err(|e| e.desc().to_owned())? {
            Some(stream) => stream,
            None => return Ok(ExitCode::SUCCESS),
        }
    } else {
        UnixStream::from(socket)
    };
    // The kernel ends the conversation if our own time limit fails to.
    nix::unistd::alarm::set(BINDING.as_secs() as u32 + 60);
    let caller = caller::of(&stream).map_err(|e| format!("standard input is no conversation: {}", e.desc()))?;
    let held = Held::of(&stream, caller);
    let Some(name) = caller.name().map_err(|e| format!("uid {}: the name service failed: {}", caller.uid, e.desc()))?
    else {
        // A uid without a name has no record, and a user with thousands of such uids must not hold a prompt with each.
        // A failure, because the listener takes a success to mean that the uid has a name.
        return Ok(ExitCode::FAILURE);
    };
    // Find out where the caller sits before it gets a message: after that it may exit, and its pid may be reused.
    let person = Person::of(caller, &held);
    let host = Host::real(&config, caller, held, listening);
    // The service may be shut off from files that a helper started by the login can reach, such as a store at another
    // path. The login starts one only if we fail before Hello.
    if listening && caller.is_root() {
        host.reaches_its_store()?;
    }
    let opened = Conversation::open(Channel::new(stream));
    let (mut conversation, request) = opened.map_err(|e| format!("uid {}: {e}", caller.uid))?;
    let person = person.with_claim(&request);
    let tries_itself = caller.is_root() && matches!(request, Request::Verb(Verb::Doctor));
    if listening && !tries_itself && (caller.is_root() || right(&request) != Right::Proved) {
        sys::caps::give_up().map_err(|e| format!("uid {}: {}", caller.uid, e.desc()))?;
    }
    let subject = caller.subject(&name, &request, host.policy().self_service);
    let decision = match &subject {
        Ok(subject) => serve(caller, &request, subject, &config, &host, &mut conversation),
        Err(why) => Decision::no_right(*why, host.policy().contact()),
    };
    // A login that has to start its own helper is not decided yet.
    if decision.outcome != Outcome::StartYourOwn {
        let user = subject.ok().or_else(|| caller::named(&request).map(str::to_owned));
        record(caller, &person, &request, user.map(|user| as_known(user, &request, &decision)).as_deref(), &decision);
    }
    match conversation.close(decision.verdict()) {
        // A front end that left without an answer cannot take the verdict either; that is in the log already.
        Err(e) if decision.outcome != Outcome::NoInteraction => Err(format!("uid {}: {e}", caller.uid)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Tries, in a process of its own, what the conversations of the service will have to do: the listener must not wait
/// for a name service. This process does not listen: if the listener is gone, connecting must fail.
fn try_itself(config: &Path) -> ! {
    nix::unistd::alarm::set(60);
    if sys::null_input().is_ok() {
        let root = Caller { uid: 0, pid: std::process::id().cast_signed() };
        doctor::log_of_service(&Host::real(config, root, Held::nobody(), true));
    }
    std::process::exit(0);
}

/// The one argument. It comes from the root process that has started this one, never from a front end.
fn config() -> Result<PathBuf, String> {
    let mut arguments = std::env::args_os().skip(1);
    let config = match arguments.next() {
        None => return Ok(PathBuf::from(policy::files::DEFAULT)),
        Some(argument) => argument.to_str().and_then(|a| a.strip_prefix("--config=")).map(PathBuf::from),
    };
    match (config, arguments.next()) {
        (Some(path), None) if path.is_absolute() => Ok(path),
        _ => Err(String::from("usage: mfa-helper [--config=/FILE], with a conversation on standard input")),
    }
}

fn serve(
    caller: Caller,
    request: &Request,
    subject: &str,
    config: &Path,
    host: &Host,
    conversation: &mut Conversation,
) -> Decision {
    if let Some(error) = &host.loaded.error {
        audit::log(Level::Error, &[("event", "policy"), ("verdict", "not loaded"), ("reason", &error.0)]);
    }
    match request {
        Request::Verify(login) => login::verify(login, host, conversation),
        Request::Account(login, auth) => login::account(login, *auth, host, conversation),
        Request::Test(login) => login::test(login, host, conversation),
        Request::Session(login) => login::session(login, host),
        Request::Verb(verb) => {
            let served = serve_verb(verb, right(request), subject, config, host, conversation);
            let mut decision = served.unwrap_or_else(|failed| failed);
            // Root at the command line reads the reason here; others only learn that it is in the log.
            if decision.outcome == Outcome::Unavailable && caller.is_root() {
                decision.text.clone_from(&decision.reason);
            }
            decision
        }
    }
}

fn serve_verb(
    verb: &Verb,
    right: Right,
    user: &str,
    config: &Path,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    if host.caller_is_root
        && !matches!(verb, Verb::PolicyCheck | Verb::Doctor)
        && let Some(error) = &host.loaded.error
    {
        conversation.tell(&format!("The policy in place is not in force:\n{}", error.0))?;
    }
    if host.caller_is_root
        && let Some(file) = &host.loaded.young
    {
        conversation.tell(&format!(
            "{file} was changed a moment ago. It counts when it has been left alone for {} seconds.",
            files::SETTLED
        ))?;
    }
    let mut proof = || match right {
        _ if host.caller_is_root => Ok(Proof::Root),
        Right::Invited => Ok(Proof::Invitation),
        _ => first_factor::ask_secret(user, conversation),
    };
    // After the first factor was asked.
    let desk = Desk::open;
    match verb {
        Verb::Totp { label, .. } => device::totp(user, label.as_deref(), proof()?, &mut desk(host, conversation)?),
        Verb::TotpPending { label, .. } => device::totp_pending(user, label.as_deref(), &mut desk(host, conversation)?),
        Verb::Confirm { .. } => device::confirm(user, &mut desk(host, conversation)?),
        Verb::CancelPending { .. } => device::cancel(user, &desk(host, conversation)?),
        Verb::Replace { label, .. } => {
            device::replace(user, label.as_deref(), proof()?, &mut desk(host, conversation)?)
        }
        Verb::ReplacePending { label, .. } => {
            device::replace_pending(user, label.as_deref(), &mut desk(host, conversation)?)
        }
        Verb::Resync { .. } => device::resync(user, &mut desk(host, conversation)?),
        Verb::Disable { device, .. } => {
            unbind::disable(user, device.as_deref(), proof()?, &mut desk(host, conversation)?)
        }
        Verb::U2f { key, .. } => keys::bind(key, user, proof()?, &mut desk(host, conversation)?),
        Verb::ReplaceU2f(new) => keys::replace(new, user, proof()?, &mut desk(host, conversation)?),
        Verb::Import { format, origin, lines, .. } => {
            import::import(user, format, origin.as_deref(), lines, &desk(host, conversation)?)
        }
        Verb::Rename { old, .. } => rename::rename(old, user, &desk(host, conversation)?),
        Verb::Bypass { seconds, .. } => recovery::bypass(user, *seconds, &mut desk(host, conversation)?),
        Verb::RecoveryCodes { .. } => recovery::renew(user, proof()?, &mut desk(host, conversation)?),
        Verb::Unlock { .. } => device::unlock(user, &desk(host, conversation)?),
        Verb::Tickets { revoke, .. } => tickets::tickets(user, revoke.as_deref(), &mut desk(host, conversation)?),
        Verb::Status { .. } => standing::status(user, &mut desk(host, conversation)?),
        Verb::List => standing::list(&mut desk(host, conversation)?),
        Verb::ListOf { group, missing } => {
            standing::list_of(group.as_deref(), *missing, &mut desk(host, conversation)?)
        }
        Verb::Invite { .. } => recovery::invite(user, &mut desk(host, conversation)?),
        Verb::Doctor => doctor::doctor(config, host, conversation),
        Verb::Require(required) => require::require(required, config, host, conversation),
        Verb::Unrequire(required) => require::unrequire(required, config, host),
        Verb::ConfirmRequired => require::confirm(config, host),
        Verb::PolicyCheck => flow::manage::policy::check(config, host, conversation),
        Verb::PolicyExplain { service, rhost, ssh_key, .. } => {
            flow::manage::policy::explain(user, service, rhost.as_deref(), ssh_key.as_deref(), host, conversation)
        }
    }
}

/// The user of a verb by the name that the name service has. Where nobody is called so, or nobody answers, it is what was
/// typed. A login has its own look-up noted: one more would tell a stranger by its time which names there are.
fn as_known(user: String, request: &Request, decision: &Decision) -> String {
    match (request, decision.outcome) {
        // A name service that has just failed is not waited for once more.
        (_, Outcome::Unavailable) => user,
        (Request::Verb(_), _) => identity::find(&user).ok().flatten().map_or(user, |known| known.name),
        _ => decision.noted.iter().find(|(name, _)| *name == "user").map_or(user, |(_, known)| known.clone()),
    }
}

/// The audit line.
fn record(caller: Caller, person: &Person, request: &Request, subject: Option<&str>, decision: &Decision) {
    let uid = caller.uid.to_string();
    let mut fields = vec![("event", event(request))];
    match request {
        Request::Verify(login) | Request::Account(login, _) | Request::Test(login) | Request::Session(login) => {
            let Login { service, rhost, tty, ruser, .. } = login;
            // A program that reads the log, such as one that bans hosts, must not take a user's word for root's.
            let names = if caller.is_root() {
                ["service", "rhost", "tty", "ruser"]
            } else {
                ["claimed-service", "claimed-rhost", "claimed-tty", "claimed-ruser"]
            };
            fields.extend([("user", subject.unwrap_or(&login.user)), (names[0], service)]);
            let claims = [(names[1], rhost), (names[2], tty), (names[3], ruser)];
            fields.extend(claims.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        }
        // Of no single user, although root asks.
        Request::Verb(Verb::Require(rule) | Verb::Unrequire(rule)) => {
            let parts = [("user", &rule.user), ("group", &rule.group), ("service", &rule.service)];
            fields.extend(parts.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        }
        Request::Verb(_) => fields.extend(subject.map(|user| ("user", user))),
    }
    let noted = decision.noted.iter().filter(|(name, _)| *name != "user");
    fields.extend(noted.map(|(name, value)| (*name, value.as_str())));
    if decision.factor != "none" || !matches!(request, Request::Verb(_)) {
        fields.push(("factor", decision.factor));
    }
    fields.push(("caller", uid.as_str()));
    if matches!(request, Request::Verb(_)) {
        fields.extend(person.login_uid.as_deref().map(|uid| ("auid", uid)));
        fields.extend(person.claimed_sudo_user.as_deref().map(|user| ("claimed-sudo-user", user)));
    }
    fields.extend([("verdict", decision.word()), ("reason", &decision.reason)]);
    audit::log(level(request, decision), &fields);
}

fn level(request: &Request, decision: &Decision) -> Level {
    match (request, decision.outcome) {
        _ if decision.noted.iter().any(|(name, _)| *name == "alarm") => Level::Warning,
        (
            Request::Verb(
                Verb::Status { .. }
                | Verb::List
                | Verb::ListOf { .. }
                | Verb::PolicyExplain { .. }
                | Verb::Tickets { revoke: None, .. },
            ),
            Outcome::Accepted,
        ) => Level::Info,
        (Request::Verb(Verb::PolicyCheck | Verb::Doctor), _) => Level::Info,
        // A change: in the account phase it is a binding, which the session phase confirms.
        (Request::Verb(_) | Request::Account(..) | Request::Session(_), Outcome::Accepted) => Level::Notice,
        (_, Outcome::Accepted | Outcome::Ignored | Outcome::HandedOver | Outcome::StartYourOwn) => Level::Info,
        (_, Outcome::NotFound | Outcome::Already | Outcome::Warnings | Outcome::Faults) => Level::Info,
        (_, Outcome::Refused | Outcome::Locked | Outcome::NoInteraction) => Level::Warning,
        (_, Outcome::Unavailable) => Level::Error,
    }
}

fn event(request: &Request) -> &'static str {
    match request {
        Request::Verify(_) => "verify",
        Request::Account(..) => "account",
        Request::Test(_) => "test",
        Request::Session(_) => "session",
        Request::Verb(Verb::Totp { .. }) => "totp",
        Request::Verb(Verb::TotpPending { .. }) => "totp-pending",
        Request::Verb(Verb::Confirm { .. }) => "confirm",
        Request::Verb(Verb::CancelPending { .. }) => "cancel",
        Request::Verb(Verb::Disable { .. }) => "disable",
        Request::Verb(Verb::Status { .. }) => "status",
        Request::Verb(Verb::List) => "list",
        Request::Verb(Verb::RecoveryCodes { .. }) => "recovery-codes",
        Request::Verb(Verb::Unlock { .. }) => "unlock",
        Request::Verb(Verb::Require(_)) => "require",
        Request::Verb(Verb::Unrequire(_)) => "unrequire",
        Request::Verb(Verb::ConfirmRequired) => "require-confirm",
        Request::Verb(Verb::Invite { .. }) => "invite",
        Request::Verb(Verb::PolicyCheck) => "policy-check",
        Request::Verb(Verb::PolicyExplain { .. }) => "policy-explain",
        Request::Verb(Verb::Replace { .. }) => "replace",
        Request::Verb(Verb::ReplacePending { .. }) => "replace-pending",
        Request::Verb(Verb::Bypass { .. }) => "bypass",
        Request::Verb(Verb::Resync { .. }) => "resync",
        Request::Verb(Verb::Doctor) => "doctor",
        Request::Verb(Verb::ListOf { .. }) => "list",
        Request::Verb(Verb::Tickets { .. }) => "tickets",
        Request::Verb(Verb::U2f { .. }) => "u2f",
        Request::Verb(Verb::ReplaceU2f(_)) => "replace-u2f",
        Request::Verb(Verb::Import { .. }) => "import",
        Request::Verb(Verb::Rename { .. }) => "rename",
    }
}

#[cfg(test)]
mod tests {
    /// The words in quotes of the function that begins so.
    fn words(source: &'static str, function: &str) -> Vec<&'static str> {
        let (_, body) = source.split_once(function).unwrap();
        let (body, _) = body.split_once("\n    }\n").unwrap();
        body.split('"').skip(1).step_by(2).collect()
    }

    #[test]
    fn every_event_and_every_verdict_is_in_the_man_page() {
        let page = include_str!("../../packaging/man/mfa-helper.8");
        let (_, log) = page.split_once(".Ss The log").unwrap();
        let (log, _) = log.split_once(".Sh FILES").unwrap();
        let documented: Vec<&str> = log.split([' ', '\n', ',']).collect();
        let events = words(include_str!("lib.rs"), "\nfn event(");
        let verdicts = words(include_str!("flow/mod.rs"), "pub fn word(");
        assert!(events.len() > 15 && verdicts.len() > 10, "{events:?} {verdicts:?}");
        for word in events.into_iter().chain(verdicts) {
            assert!(documented.contains(&word), "{word} is not in mfa-helper(8)");
        }
    }
}
