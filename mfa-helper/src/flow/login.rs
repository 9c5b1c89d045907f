//! A login: its auth phase and its account phase.

use mfa_wire::{AuthHook, Login, Outcome, Secret, printable};

use super::code::{Audience, NEUTRAL};
use super::{Decision, RACES, ask_for_device, enroll, find, first_factor, keys, lost_races, remember};
use crate::conversation::Conversation;
use crate::factor::key::Key;
use crate::factor::totp::{Code, Parameters, Spent, Totp};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::lockout::Way;
use crate::policy::place::Place;
use crate::policy::{Enroll, Facts, Require, Requirement, SshKey};
use crate::store::{Amendment, Change, CommitError, Credentials, Latest, Owes, Record, State, Store};
use crate::{session, stack, sudo};

/// What the auth phase does about one login.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// Lets past.
    Pass(&'static str),
    /// Asks for the code.
    Ask,
    /// Leaves it to the account phase, in which a device is bound.
    HandOver,
    /// Refuses: a device is required, none is bound, and here is no way to one.
    Refuse(NoWay),
}

/// Why who is required and has no device cannot bind one here.
#[derive(Debug, PartialEq, Eq)]
pub enum NoWay {
    /// Nothing says that the first factor succeeded.
    UnknownStack,
    /// The policy leaves it to root, or allows no kind of device that there is.
    ByAdmin,
    /// Only a security key is allowed, and none can be bound from here.
    NoKeyHere,
    /// An invitation is needed, and there is none.
    NotInvited,
    /// The service is not one of those that can hold the dialogue, or its caller is not root.
    NoDialogue,
    /// The account phase, in which it would happen, may be passed by without us.
    Account(String),
}

/// Decides the auth phase, by what policy asks and what is bound. `policy explain` says the same.
pub fn auth(
    asked: &Requirement,
    record: &Record,
    login: &Login,
    way: Way,
    host: &Host,
    account_line: &dyn Fn(&str) -> Result<(), String>,
) -> Auth {
    match (asked.require, &record.credentials) {
        (Require::Off, _) => Auth::Pass("off by rule"),
        (_, Some(_)) => Auth::Ask,
        (Require::IfBound, None) if asked.deadline.is_some() => Auth::Pass("not bound, before the deadline"),
        (Require::IfBound, None) => Auth::Pass("not required and not bound"),
        (Require::Mfa, None) if !login.stack_complete => Auth::Refuse(NoWay::UnknownStack),
        (Require::Mfa, None) => {
            match way_to_a_device(asked, record, login, way, host)
                .and_then(|()| account_line(&login.service).map_err(NoWay::Account))
            {
                Ok(()) => Auth::HandOver,
                Err(no_way) => Auth::Refuse(no_way),
            }
        }
    }
}

/// Whether the account phase of this service is ours to refuse, by the stack that libpam would read.
pub fn account_line_decides(service: &str) -> Result<(), String> {
    if is_sudo(service) {
        sudo::runs_account_and_session()?;
    }
    stack::account_line_decides(service, &stack::system_file)
}

fn is_sudo(service: &str) -> bool {
    matches!(service, "sudo" | "sudo-i")
}

fn way_to_a_device(asked: &Requirement, record: &Record, login: &Login, way: Way, host: &Host) -> Result<(), NoWay> {
    if asked.enroll == Enroll::ByAdmin || asked.kinds.is_empty() {
        Err(NoWay::ByAdmin)
    } else if enroll::offers(asked, login, host).is_empty() {
        Err(NoWay::NoKeyHere)
    } else if asked.enroll == Enroll::Invited && !enroll::is_invited(&record.state, (host.now)()) {
        Err(NoWay::NotInvited)
    } else if asked.enroll == Enroll::Invited && is_sudo(&login.service) {
        // sudo-rs keeps its ticket before the account phase: who has the first factor alone could wait with it until the
        // owner of the invitation has bound.
        Err(NoWay::NoDialogue)
    } else if way != Way::Login || !host.loaded.policy.enroll_services.contains(&login.service) {
        Err(NoWay::NoDialogue)
    } else {
        Ok(())
    }
}

impl NoWay {
    fn decision(&self, user: &str, self_service: bool) -> Decision {
        let user = printable(user, 64);
        let remedy = match self {
            NoWay::NotInvited => format!("Ask an administrator to run: mfa-enroll invite --user {user}"),
            NoWay::NoKeyHere => String::from("Only a security key may be bound: log in at this machine's own console."),
            NoWay::NoDialogue | NoWay::Account(_) if self_service => {
                format!("Bind one by mfa-enroll totp, or ask root to: mfa-enroll totp --user {user}")
            }
            _ => format!("Ask an administrator to run: mfa-enroll totp --user {user}"),
        };
        let reason = match self {
            NoWay::UnknownStack | NoWay::ByAdmin => String::from("required and not bound"),
            NoWay::NoKeyHere => String::from("required and not bound, and no key can be bound from here"),
            NoWay::NotInvited => String::from("required, not bound and not invited"),
            NoWay::NoDialogue => String::from("required and not bound, and not to be bound here"),
            NoWay::Account(why) => format!("required and not bound, and the account phase is not ours: {why}"),
        };
        let text = format!("MFA is required of {user} and no device is bound.\n{remedy}");
        Decision::new(Outcome::Refused, text, reason)
    }
}

/// The auth phase: asks for the code of who has a device.
pub fn verify(login: &Login, way: Way, host: &Host, conversation: &mut Conversation) -> Decision {
    judge(login, way, false, host, conversation)
}

/// The same, tried out. It is judged and counted as a login is, and uses up the code; but nobody is let in by it, so
/// nobody is led through binding, and what is owed stays as it is.
pub fn test(login: &Login, way: Way, host: &Host, conversation: &mut Conversation) -> Decision {
    judge(login, way, true, host, conversation)
}

fn judge(login: &Login, way: Way, test: bool, host: &Host, conversation: &mut Conversation) -> Decision {
    if login.service == first_factor::SERVICE {
        return Decision::new(Outcome::Ignored, "", "the first factor alone is asked here");
    }
    let user = match find(&login.user) {
        Ok(Some(user)) => user,
        Ok(None) => return ask_in_vain(login, host, conversation, "unknown to the name service"),
        Err(failed) => return failed,
    };
    let asked = requirement(login, &user, host);
    let decision = if asked.require == Require::Off {
        // Not even the store is looked at.
        Decision::new(Outcome::Ignored, "", "off by rule")
    } else {
        second_factor(login, way, test, &user.name, &asked, host, conversation).unwrap_or_else(|failed| failed)
    };
    decision.by(asked)
}

fn second_factor(
    login: &Login,
    way: Way,
    test: bool,
    user: &str,
    asked: &Requirement,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let store = host.store()?;
    let record = store.load(user)?;
    let lang = host.loaded.policy.lang.everywhere(login);
    let login_way = if test { Way::Login } else { way };
    Ok(match auth(asked, &record, login, login_way, host, &account_line_decides) {
        Auth::Pass(reason) => Decision::new(Outcome::Ignored, reminder(lang, asked, (host.now)()), reason),
        Auth::Ask => {
            let now = (host.now)();
            let first = first_login_since(lang, &record, now);
            let memory = if test { None } else { remember::memory(asked, login, way, host) };
            // A clock that was set back would make old tickets young.
            let set_back = record.state.last_used > now;
            let ticket =
                memory.as_ref().filter(|_| !set_back).and_then(|memory| memory.find(&record.state.remembered, now));
            // Whoever has to be told something is asked: the prompt tells it.
            if let (Some(ticket), None) = (ticket, &first) {
                let reason = format!("remembered login {}", ticket.id());
                return Ok(Decision { factor: "remembered", ..Decision::new(Outcome::Accepted, "", reason) });
            }
            let news = first.as_deref();
            let not_counted = match keys::counted(news, asked, user, login, &store, host)? {
                Ok(accepted) if !test => return Ok(accepted),
                Ok(_) => String::new(),
                Err(why) => why,
            };
            let bypass = way == Way::Login && !test;
            let (truth, remember) = (login.stack_complete, memory.as_ref());
            let audience = Audience { way, truth, own_command: test, bypass, lang, remember };
            // In the prompt every program shows it, once. What is said at a success sudo keeps back, and sshd says twice.
            // A screen locker has room for the prompt alone.
            let (notice, first) = match (way, audience.truth) {
                (Way::OwnProcess, _) if !test => (None, None),
                (_, true) => (first, None),
                (_, false) => (None, first),
            };
            let owes = &record.state.owes;
            let here =
                if test || owes.nothing() { None } else { place(login, host).filter(|here| owes.at(Some(here))) };
            let decision = ask_for_device(notice.as_deref(), audience, Some(login), record, &store, host, conversation)
                .unwrap_or_else(|failed| failed);
            if decision.outcome == Outcome::Accepted && here.is_some() {
                settle(user, here.as_deref(), &store)?;
            }
            let text = match (decision.outcome, first) {
                (Outcome::Accepted, Some(first)) => format!("{first} {}", decision.text).trim_end().to_owned(),
                _ => decision.text,
            };
            let reason = match not_counted.as_str() {
                "" => decision.reason,
                why => format!("{} ({why})", decision.reason),
            };
            Decision { text, reason, ..decision }
        }
        Auth::HandOver if !test => {
            owe(record, place(login, host).as_deref(), &store)?;
            Decision::new(Outcome::HandedOver, "", "required and not bound: to be bound in the account phase")
        }
        Auth::HandOver => would_lead_through_it(user, login, way, host),
        Auth::Refuse(NoWay::UnknownStack) => ask_in_vain(login, host, conversation, "required and not bound"),
        Auth::Refuse(no_way) => no_way.decision(user, host.loaded.policy.self_service),
    })
}

fn would_lead_through_it(user: &str, login: &Login, way: Way, host: &Host) -> Decision {
    let (name, service) = (printable(user, 64), printable(&login.service, 64));
    let now = match way {
        // Root has to name whose device it is.
        Way::Login => format!(" Do it now: mfa-enroll totp --user {name}"),
        Way::OwnProcess if host.loaded.policy.self_service => String::from(" Do it now: mfa-enroll totp"),
        Way::OwnProcess => String::new(),
    };
    let text = format!(
        "MFA is required of {name} and no device is bound.\n{service} would lead you through binding one.{now}"
    );
    Decision::new(Outcome::Refused, text, "required and not bound: a login would lead through binding")
}

/// Writes down that this user has been let past the auth phase on the condition that a device is bound. It holds where
/// a program remembers that phase and goes straight to the next one (sudo-rs keeps its ticket before the account phase).
fn owe(mut record: Record, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    for _ in 0..RACES {
        if record.credentials.is_some() {
            return Err(Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"));
        }
        let owes = record.state.owes.with(here);
        if record.state.owes == owes {
            return Ok(());
        }
        let state = State { owes, ..record.state.clone() };
        match store.commit(&record, Change::State(&state)) {
            Ok(()) => return Ok(()),
            Err(CommitError::Conflict) => record = store.load(record.user())?,
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(lost_races())
}

/// Writes down that a code was given where a device was owed. Until that is durable nobody is let in by it, so that what
/// is remembered there is asked for again and not less.
fn settle(user: &str, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    for _ in 0..RACES {
        let record = store.load(user)?;
        let owes = record.state.owes.without(here);
        if record.state.owes == owes {
            return Ok(());
        }
        match store.commit(&record, Change::State(&State { owes, ..record.state.clone() })) {
            Ok(()) => return Ok(()),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(lost_races())
}

/// What is said where two logins bind at once.
const BOUND_MEANWHILE: &str = "A device was bound meanwhile: log in again, and its code is asked.";

/// What who has no device reads while there is still time.
fn reminder(lang: Lang, asked: &Requirement, now: u64) -> String {
    let Some(deadline) = asked.deadline else { return String::new() };
    lang.say(Text::Deadline(deadline.saturating_sub(now).div_ceil(86_400)))
}

/// The first login after a change of the binding is told of it: whoever had not made it would learn it so.
fn first_login_since(lang: Lang, record: &Record, now: u64) -> Option<String> {
    let bound = record.credentials.as_ref()?;
    let age = now.saturating_sub(bound.created);
    let device = (record.state.last_used == 0).then(|| match bound.latest {
        Latest::Replaced => Text::TookThePlace(age, &bound.created_from),
        _ => Text::WasBound(age, &bound.created_from),
    });
    let change = match &bound.latest {
        Latest::Changed { what, when, from } if record.state.last_used <= *when => {
            let ago = now.saturating_sub(*when);
            Some(match what {
                Amendment::RecoveryCodes => Text::CodesWereMade(ago, from),
                Amendment::KeyRemoved => Text::KeyWasRemoved(ago, from),
            })
        }
        _ => None,
    };
    let added = added_key(bound, &record.state, now)
        .map(|key| Text::KeyWasAdded(now.saturating_sub(key.created), &key.created_from));
    let news: Vec<String> = device.into_iter().chain(change).chain(added).map(|text| lang.say(text)).collect();
    (!news.is_empty()).then(|| news.join("\n"))
}

/// The latest key that was added, until one that was there before has been used since: whoever has added it behind the
/// owner's back may be the first to come. But for a week at most, since an owner may use the new one alone.
fn added_key<'a>(bound: &'a Credentials, state: &State, now: u64) -> Option<&'a Key> {
    const TOLD_FOR: u64 = 7 * 86_400;
    let before = |new: &Key| {
        let created = new.created;
        bound.keys().iter().filter(move |old| old.created < created)
    };
    // Not in the same second: a key that is bound is touched as the proof, just before.
    let used_since = |new: &Key| before(new).any(|old| state.keys_used.last(old).is_some_and(|at| at > new.created));
    let is_news =
        |new: &&Key| now.saturating_sub(new.created) < TOLD_FOR && before(new).next().is_some() && !used_since(new);
    bound.keys().iter().filter(is_news).max_by_key(|key| key.created)
}

fn requirement(login: &Login, user: &Identity, host: &Host) -> Requirement {
    host.loaded.policy.decide(&facts(login, &user.name, host), &mut |group| user.member(group))
}

/// What rules look at. A host that is no literal address, and a place that nobody can tell, are taken strictly there.
fn facts<'a>(login: &'a Login, user: &'a str, host: &Host) -> Facts<'a> {
    let place = if host.is_local(login) { Place::Local } else { Place::Remote(login.rhost.as_deref()) };
    Facts { user, service: &login.service, place, now: (host.now)() }
}

/// Asks whoever cannot be right, as if they could be: the same prompt, the same work.
fn ask_in_vain(login: &Login, host: &Host, conversation: &mut Conversation, reason: &str) -> Decision {
    let prompt = host.loaded.policy.lang.everywhere(login).say(Text::Code);
    let answer = match conversation.ask(&prompt) {
        Ok(answer) => answer,
        Err(none) => return none.into(),
    };
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&answer, Parameters::DEFAULT.digits)) {
        std::hint::black_box(nobody.find(&code, 1, 3, Spent::NOTHING));
    }
    Decision::new(Outcome::Refused, NEUTRAL, reason)
}

/// The account phase. It binds what auth has left to it, and decides where the auth phase was not ours: sshd skips it
/// for a key, sudo while it remembers.
pub fn account(login: &Login, hook: AuthHook, way: Way, host: &Host, conversation: &mut Conversation) -> Decision {
    let ignored = |reason| Decision::new(Outcome::Ignored, "", reason);
    if login.service == first_factor::SERVICE {
        return ignored("the first factor alone is asked here");
    }
    // sudo remembers, whether devices are bound there now or not.
    let listed = host.loaded.policy.enroll_services.contains(&login.service);
    let may_owe = (listed || is_sudo(&login.service)) && !by_root(login);
    match hook {
        AuthHook::Ignored => return ignored("decided in auth"),
        AuthHook::HandedOver => {}
        AuthHook::NotRun if came_by_sshd(login) => return key_alone(login, host).unwrap_or_else(|failed| failed),
        AuthHook::NotRun if may_owe && way == Way::Login => {}
        // cron, at, systemd-user, su from root: nobody is there to ask.
        AuthHook::NotRun => return ignored("no auth phase"),
    }
    let user = match known(login) {
        Ok(user) => user,
        Err(failed) => return failed,
    };
    let asked = requirement(login, &user, host);
    let decision = bind_what_is_owed(login, hook, way, &user.name, &asked, host, conversation);
    decision.unwrap_or_else(|failed| failed).by(asked)
}

fn bind_what_is_owed(
    login: &Login,
    hook: AuthHook,
    way: Way,
    user: &str,
    asked: &Requirement,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let unasked = || {
        let reason = if hook == AuthHook::NotRun { "no auth phase" } else { "not required any more" };
        Ok(Decision::new(Outcome::Ignored, "", reason))
    };
    if asked.require == Require::Off {
        return unasked();
    }
    let store = host.store()?;
    let record = store.load(user)?;
    let here = place(login, host);
    let owes = record.state.owes.only(|place| !place.strip_prefix(Owes::REMEMBERS).is_some_and(session::is_over));
    match (&record.credentials, hook) {
        // A sudo that remembers a login in which nothing was owed.
        (Some(_), AuthHook::NotRun) if !owes.at(here.as_deref()) => return unasked(),
        // It remembers one that was let past when there was no device to ask for.
        (Some(_), AuthHook::NotRun) => {
            return code_that_is_owed(login, here.as_deref(), record, &store, host, conversation);
        }
        (Some(_), _) => {
            return Ok(Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"));
        }
        (None, _) if asked.require != Require::Mfa => return unasked(),
        (None, AuthHook::NotRun) if owes.nothing() => return unasked(),
        (None, _) => {}
    }
    if let Err(no_way) = way_to_a_device(asked, &record, login, way, host) {
        return Ok(no_way.decision(user, host.loaded.policy.self_service));
    }
    enroll::at_login(login, user, asked, record, &store, host, conversation)
}

/// Whoever began to bind here and left has passed the first factor, and nothing else. Meanwhile the owner has bound at
/// another place: here its code is due, as in the auth phase.
fn code_that_is_owed(
    login: &Login,
    here: Option<&str>,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = record.user().to_owned();
    // The first factor may have been nobody's this time (NOPASSWD), so it is counted as what a user's own process asks,
    // and locks no login.
    let lang = host.loaded.policy.lang.everywhere(login);
    let audience =
        Audience { way: Way::OwnProcess, truth: false, own_command: false, bypass: true, lang, remember: None };
    let decision = ask_for_device(None, audience, Some(login), record, store, host, conversation)?;
    if decision.outcome == Outcome::Accepted {
        settle(&user, here, store)?;
    }
    Ok(decision)
}

/// Who has passed the auth phase is somebody.
fn known(login: &Login) -> Result<Identity, Decision> {
    find(&login.user)?.ok_or_else(|| Decision::unavailable("unknown to the name service"))
}

/// su and sudo by root skip the auth phase, because root could become anybody anyhow.
fn by_root(login: &Login) -> bool {
    matches!(login.service.as_str(), "su" | "su-l" | "sudo" | "sudo-i")
        && login.ruser.as_deref().is_some_and(|ruser| ruser == "root")
}

/// sshd is recognised by what it does, since its service name can be chosen.
pub fn came_by_sshd(login: &Login) -> bool {
    login.tty.as_deref() == Some("ssh") || login.ssh_auth_info.is_some() || login.service == "sshd"
}

/// Where a login is, so that a program which remembers it is known again. That is sudo, by the session: not by `PAM_TTY`,
/// which sudo-rs takes from its standard input, and so from its caller.
pub fn place(login: &Login, host: &Host) -> Option<String> {
    match login.service.as_str() {
        _ if came_by_sshd(login) => Some(String::from("sshd")),
        // A ticket of the one is good for the other.
        "sudo" | "sudo-i" => {
            session::on_a_terminal(host.caller_pid).map(|session| format!("{}{session}", Owes::REMEMBERS))
        }
        other => Some(other.to_owned()),
    }
}

/// What a key alone is worth.
pub enum Account {
    /// It lets in.
    Enough,
    /// It does not.
    NotEnough,
}

/// Decides the account phase of a login by key alone.
pub fn key_alone_is(asked: &Requirement, record: &Record) -> Account {
    match (asked.require, asked.ssh_key) {
        (Require::Off, _) | (_, SshKey::Allow) => Account::Enough,
        (Require::IfBound, SshKey::Deny) if record.credentials.is_none() => Account::Enough,
        (Require::IfBound | Require::Mfa, SshKey::Deny) => Account::NotEnough,
    }
}

fn key_alone(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = known(login)?;
    let asked = requirement(login, &user, host);
    let enough = match (asked.require, asked.ssh_key) {
        // Not even the store is looked at.
        (Require::Off, _) | (_, SshKey::Allow) => Account::Enough,
        _ => key_alone_is(&asked, &host.store()?.load(&user.name)?),
    };
    let decision = match enough {
        Account::Enough => Decision::new(Outcome::Ignored, "", "a key alone is enough by rule"),
        Account::NotEnough => Decision::new(
            Outcome::Refused,
            "MFA is required: a key alone is not enough. Try: ssh -o PreferredAuthentications=keyboard-interactive",
            "a key alone",
        ),
    };
    Ok(decision.by(asked))
}
