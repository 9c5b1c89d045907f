//! A login: its auth phase and its account phase.

use mfa_core::Process;
use mfa_core::key::Key;
use mfa_core::lockout::Way;
use mfa_core::record::{Amendment, Credentials, Latest, Owes, State};
use mfa_core::totp::{Code, Parameters, Spent, Totp};
use mfa_wire::{AuthHook, Login, Outcome, REFUSED, Secret, printable};

use super::code::Audience;
use super::no_way::NoWay;
use super::place::place;
use super::revise::{RACES, Revision, lost_races, revise};
use super::user::find;
use super::{Decision, ask_for_device, enroll, first_factor, hand_over, key_asked, permission, remember};
use crate::conversation::{Conversation, NoAnswer};
use crate::host::Host;
use crate::identity::Identity;
use crate::lang::{Lang, Text};
use crate::policy::place::Place;
use crate::policy::{Enroll, Facts, Require, Requirement, SshKey};
use crate::process;
use crate::program::{is_service_of_sudo, is_sudo};
use crate::store::{Change, CommitError, Record, Store};

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

/// Decides the auth phase, by what policy asks and what is bound. `policy explain` says the same. `hand_over` says whether
/// it is safe to leave this login to its account phase.
pub fn auth(
    asked: &Requirement,
    record: &Record,
    login: &Login,
    way: Way,
    host: &Host,
    hand_over: &dyn Fn() -> Result<(), NoWay>,
) -> Auth {
    match (asked.require, &record.credentials) {
        (Require::Off, _) => Auth::Pass("off by rule"),
        (_, Some(_)) => Auth::Ask,
        (Require::IfBound, None) if asked.deadline.is_some() => Auth::Pass("not bound, before the deadline"),
        (Require::IfBound, None) => Auth::Pass("not required and not bound"),
        (Require::Mfa, None) if !login.stack_complete => Auth::Refuse(NoWay::UnknownStack),
        (Require::Mfa, None) => match way_to_a_device(asked, record, login, way, host).and_then(|()| hand_over()) {
            Ok(()) => Auth::HandOver,
            Err(no_way) => Auth::Refuse(no_way),
        },
    }
}

fn way_to_a_device(asked: &Requirement, record: &Record, login: &Login, way: Way, host: &Host) -> Result<(), NoWay> {
    if asked.enroll == Enroll::ByAdmin || asked.kinds.is_empty() {
        Err(NoWay::ByAdmin)
    } else if enroll::offers(asked, login, host).is_empty() {
        Err(NoWay::NoKeyHere)
    } else if asked.enroll == Enroll::Invited && !permission::is_invited(&record.state, (host.now)()) {
        Err(NoWay::NotInvited)
    } else if asked.enroll == Enroll::Invited && is_sudo(login) {
        // sudo-rs keeps its ticket before the account phase: who has the first factor alone could wait with it until the
        // owner of the invitation has bound.
        Err(NoWay::NoDialogue)
    } else if way != Way::Login || !host.loaded.policy.enroll_services.contains(&login.service) {
        Err(NoWay::NoDialogue)
    } else {
        Ok(())
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

fn judge(login: &Login, way: Way, trial: bool, host: &Host, conversation: &mut Conversation) -> Decision {
    if login.service == first_factor::SERVICE {
        return Decision::new(Outcome::Ignored, "", "the first factor alone is asked here");
    }
    let known = match find(&login.user) {
        Ok(Some(user)) => {
            let asked = requirement(login, &user, host);
            if asked.require == Require::Off {
                // Neither the stack nor the store is looked at.
                return Decision::new(Outcome::Ignored, "", "off by rule").by(asked);
            }
            Ok(Some((user, asked)))
        }
        Ok(None) => Ok(None),
        Err(failed) => Err(failed),
    };
    // Before anything is asked, and for a name that nobody has as well: a door that is silent to some would tell them apart.
    // Who tries it out sits at the command line, and no stack lies before.
    let untrue = if login.stack_complete && !trial { hand_over::is_true(&login.service).err() } else { None };
    let first_factor_known = login.stack_complete && untrue.is_none();
    let attempt = Attempt { login, way, trial, first_factor_known, host };
    let decision = match known {
        Ok(Some((user, asked))) => {
            second_factor(attempt, &user, &asked, conversation).unwrap_or_else(|failed| failed).by(asked)
        }
        Ok(None) => ask_in_vain(login, host, conversation, "unknown to the name service"),
        Err(failed) => attempt.cannot_be_judged(failed, conversation),
    };
    match untrue {
        Some(why) => silent(decision, &why),
        None => decision,
    }
}

/// What a stranger reads, who may reach our line with a wrong first factor although it says otherwise: nothing, whoever it
/// is about. Some are let past it there to bind a device, and no word may tell them from those who have one.
fn silent(decision: Decision, why: &str) -> Decision {
    if !matches!(decision.outcome, Outcome::Refused | Outcome::NoInteraction) {
        return decision;
    }
    let reason = format!("{} (stack=complete is untrue: {why})", decision.reason);
    Decision { text: String::new(), reason, ..decision }
}

/// What the auth phase goes by.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    login: &'a Login,
    way: Way,
    /// It is tried out by mfa-enroll, and lets nobody in.
    trial: bool,
    /// The first factor is known to have succeeded.
    first_factor_known: bool,
    host: &'a Host,
}

impl Attempt<'_> {
    /// Ends an attempt that cannot be judged, and of which nothing was asked yet. Where the first factor may be wrong the
    /// person is asked as ever: "unavailable" would tell a stranger which names there are.
    fn cannot_be_judged(self, failed: Decision, conversation: &mut Conversation) -> Decision {
        match self.first_factor_known {
            true => failed,
            false => ask_in_vain(self.login, self.host, conversation, &failed.reason),
        }
    }
}

fn load(user: &str, host: &Host) -> Result<(Store, Record), Decision> {
    let store = host.store()?;
    let record = store.load(user)?;
    Ok((store, record))
}

fn second_factor(
    attempt: Attempt,
    identity: &Identity,
    asked: &Requirement,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let Attempt { login, way, trial, first_factor_known, host } = attempt;
    let user = identity.name.as_str();
    let (store, record) = match load(user, host) {
        Ok(loaded) => loaded,
        Err(failed) => return Ok(attempt.cannot_be_judged(failed, conversation)),
    };
    let lang = host.loaded.policy.lang.everywhere(login);
    let login_way = if trial { Way::Login } else { way };
    // What it takes to tell is out of the service's reach.
    let hand_over = || match host.in_service {
        true => Ok(()),
        false if trial => hand_over::is_safe_at(login),
        false => hand_over::is_safe(login, identity, host),
    };
    Ok(match auth(asked, &record, login, login_way, host, &hand_over) {
        Auth::Pass(reason) => Decision::new(Outcome::Ignored, reminder(lang, asked, (host.now)()), reason),
        Auth::Ask => {
            let now = (host.now)();
            let first = first_login_since(lang, &record, now);
            let memory = if trial || !first_factor_known { None } else { remember::memory(asked, login, way, host) };
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
            let not_counted = match key_asked::counted(news, asked, user, login, &store, host)? {
                Ok(accepted) if !trial => return Ok(accepted),
                Ok(_) => String::new(),
                Err(why) => why,
            };
            let bypass = way == Way::Login && !trial;
            let remember = memory.as_ref();
            let audience = Audience { way, first_factor_known, own_command: trial, bypass, lang, remember };
            // In the prompt every program shows it, once. What is said at a success sudo keeps back, and sshd says twice.
            // A screen locker has room for the prompt alone.
            let (notice, first) = match (way, audience.first_factor_known) {
                (Way::OwnProcess, _) if !trial => (None, None),
                (_, true) => (first, None),
                (_, false) => (None, first),
            };
            let owes = &record.state.owes;
            let here =
                if trial || owes.nothing() { None } else { place(login, host).filter(|here| owes.at(Some(here))) };
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
        Auth::HandOver if host.in_service && !trial => Decision::start_your_own(),
        Auth::HandOver if !trial => {
            if !first_factor_known {
                question_for_nobody(login, host, conversation).or_else(NoAnswer::or_gone)?;
            }
            // Only sudo remembers auth. Elsewhere nothing need be written down of who may be a stranger: what is owed closes
            // a sudo without a first factor to its user.
            if first_factor_known || is_sudo(login) {
                owe(record, place(login, host).as_deref(), &store)?;
            }
            Decision::new(Outcome::HandedOver, "", "required and not bound: to be bound in the account phase")
        }
        Auth::HandOver => would_lead_through_it(user, login, way, host),
        Auth::Refuse(no_way) => {
            let refused = no_way.decision(user, host.loaded.policy.self_service);
            match first_factor_known {
                true => refused,
                false => ask_in_vain(login, host, conversation, &refused.reason),
            }
        }
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
fn owe(record: Record, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    revise(record, store, |record| {
        if record.credentials.is_some() {
            return Err(Decision::new(Outcome::Refused, BOUND_MEANWHILE, "bound meanwhile"));
        }
        Ok(owing(record, record.state.owes.with(here)))
    })
}

/// Writes down that a code was given where a device was owed. Until that is durable nobody is let in by it, so that what
/// is remembered there is asked for again and not less.
fn settle(user: &str, here: Option<&str>, store: &Store) -> Result<(), Decision> {
    revise(store.load(user)?, store, |record| Ok(owing(record, record.state.owes.without(here))))
}

fn owing(record: &Record, owes: Owes) -> Revision<()> {
    match record.state.owes == owes {
        true => Revision::AsIs(()),
        false => Revision::Keep(State { owes, ..record.state.clone() }, ()),
    }
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
    match question_for_nobody(login, host, conversation) {
        Ok(()) => Decision::new(Outcome::Refused, REFUSED, reason),
        Err(none) => none.into(),
    }
}

fn question_for_nobody(login: &Login, host: &Host, conversation: &mut Conversation) -> Result<(), NoAnswer> {
    let prompt = host.loaded.policy.lang.everywhere(login).say(Text::Code);
    let answer = conversation.ask(&prompt)?;
    let nobody = Totp::new(Parameters::DEFAULT, Secret::zeroed(20));
    if let (Some(nobody), Some(code)) = (nobody, Code::parse(&answer, Parameters::DEFAULT.digits)) {
        std::hint::black_box(nobody.find(&code, 1, 3, Spent::NOTHING));
    }
    Ok(())
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
    let may_owe = (listed || is_service_of_sudo(&login.service)) && !by_root(login);
    match hook {
        AuthHook::Ignored => return ignored("decided in auth"),
        // A device is bound now, from which the session phase is to be reached.
        AuthHook::HandedOver if host.in_service => return Decision::start_your_own(),
        AuthHook::HandedOver => {}
        AuthHook::NotRun if login.came_by_sshd() => return key_alone(login, host).unwrap_or_else(|failed| failed),
        AuthHook::NotRun if may_owe && way == Way::Login => {}
        // cron, at, systemd-user, su from root: nobody is there to ask.
        AuthHook::NotRun => return ignored("no auth phase"),
    }
    let user = match known(login) {
        Ok(user) => user,
        Err(failed) => return failed,
    };
    let asked = requirement(login, &user, host);
    let decision = bind_what_is_owed(login, hook, way, &user, &asked, host, conversation);
    decision.unwrap_or_else(|failed| failed).by(asked)
}

fn bind_what_is_owed(
    login: &Login,
    hook: AuthHook,
    way: Way,
    identity: &Identity,
    asked: &Requirement,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let user = identity.name.as_str();
    // Auth has let past on the condition that a device is bound. Whatever the policy says by now, or that of another line:
    // it ends as bound or refused.
    if hook == AuthHook::HandedOver && asked.require != Require::Mfa {
        let text = "The policy was changed meanwhile: log in again.";
        return Ok(Decision::new(
            Outcome::Refused,
            text,
            "handed over by auth, and not required by the policy of account",
        ));
    }
    let unasked = || Ok(Decision::new(Outcome::Ignored, "", "no auth phase"));
    if asked.require == Require::Off {
        return unasked();
    }
    let store = host.store()?;
    let record = store.load(user)?;
    let here = place(login, host);
    let is_over = |session: &str| Process::parse(session).is_some_and(process::is_gone);
    let owes = record.state.owes.only(|place| !place.strip_prefix(Owes::REMEMBERS).is_some_and(is_over));
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
        (None, AuthHook::NotRun) if !is_remembered(login, &owes, here.as_deref()) => {
            return Ok(NoWay::NotAsked.decision(user, host.loaded.policy.self_service));
        }
        (None, _) => {}
    }
    if let Err(no_way) = way_to_a_device(asked, &record, login, way, host) {
        return Ok(no_way.decision(user, host.loaded.policy.self_service));
    }
    if host.in_service {
        return Ok(Decision::start_your_own());
    }
    if let Err(no_way) = hand_over::proves_something(login, identity) {
        return Ok(no_way.decision(user, host.loaded.policy.self_service));
    }
    enroll::at_login(login, user, asked, record, &store, host, conversation)
}

/// Whether a login without an auth phase may be one that sudo remembers, in which a first factor was proved. Otherwise
/// nobody was asked for one (NOPASSWD, `login -f`, pam_wheel's `trust`), and whoever it is would bind a device of theirs:
/// that one is owed says nothing about who is here, but in the very session of a terminal in which sudo has asked. Where
/// sudo's line is untrue, it was perhaps noted for a stranger.
fn is_remembered(login: &Login, owes: &Owes, here: Option<&str>) -> bool {
    is_service_of_sudo(&login.service) && owes.names(here) && hand_over::is_true(&login.service).is_ok()
}

/// The session phase of a login whose account phase has bound a device: from here on it holds.
///
/// By the process, whatever the login says of itself: the one that has bound, or of sshd, which holds the account phase in a
/// process of its own, the one that has started that.
pub fn session(login: &Login, host: &Host) -> Decision {
    confirm(login, host).unwrap_or_else(|failed| failed)
}

fn confirm(login: &Login, host: &Host) -> Result<Decision, Decision> {
    let user = known(login)?;
    let store = host.store()?;
    let here = place(login, host);
    let opener = process::now(host.caller_pid);
    for _ in 0..RACES {
        let mut record = store.load(&user.name)?;
        let Some((bound, waits)) = record.provisional.take() else {
            return Ok(Decision::new(Outcome::Ignored, "", "no device waits for this session"));
        };
        if waits.expires <= (host.now)() {
            return Ok(Decision::new(Outcome::Refused, "", "the provisional device has expired"));
        }
        if !opener.is_some_and(|opener| waits.openers.contains(&opener)) {
            return Ok(Decision::new(Outcome::Refused, "", "another login has bound the provisional device"));
        }
        // Nothing is owed here any more; whoever was let past elsewhere gives its code there.
        let owes = record.state.owes.without(here.as_deref());
        match store.commit(&record, Change::Bind(&bound, &owes)) {
            Ok(()) => {
                return Ok(Decision { factor: bound.kind().word(), ..Decision::new(Outcome::Accepted, "", "bound") });
            }
            Err(CommitError::Conflict) => {}
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
    }
    Err(lost_races())
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
    let audience = Audience {
        way: Way::OwnProcess,
        first_factor_known: false,
        own_command: false,
        bypass: true,
        lang,
        remember: None,
    };
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
