//! The ways in: by what first factor a person comes in at a service, what is asked then, and where it ends.
//!
//! One model, for everything that speaks about logins beforehand: `policy explain`, `doctor`, `require`. It runs the
//! stacks as libpam would ([`Stack::ends`]), with what the well-known modules say of this person (`modules`), and with
//! what a login itself would decide ([`auth`], [`key_alone_is`]). What cannot be told is said.
//!
//! Not modelled: an sshd with another file of settings, GSSAPI and trusted hosts as a single method of sshd, and what
//! somebody may type besides the right answers.

mod facts;
pub mod led;
pub mod left;
mod modules;
mod shadow;
mod sshd;
mod sudoers;
#[cfg(test)]
mod tests;
mod user;

use std::fmt;
use std::mem::discriminant;

use mfa_core::Kind as Device;
use mfa_core::lockout::Way as Counter;
use mfa_core::view::View;
use mfa_wire::Login;
use nix::unistd::Gid;

pub use facts::Facts;
pub use sudoers::Grant;

use crate::flow::login::account::{Account, key_alone_is};
use crate::flow::login::auth::{Auth, auth};
use crate::flow::login::no_way::NoWay;
use crate::host::Host;
use crate::identity::Identity;
use crate::policy::files::Loaded;
use crate::policy::place::Place;
use crate::policy::{Answer, Facts as PolicyFacts, Policy, Require, Requirement};
use crate::program::is_service_of_sudo;
use crate::session::Whereabouts;
use crate::stack::{self, AUTH_ERR, Code, IGNORE, Kind, Module, PERM_DENIED, SUCCESS, Stack};
use crate::sys::names;
use modules::{AUTHTOK_EXPIRED, Scene};
use shadow::{Age, Password};
use sshd::{Method, Settings};
use user::User;

/// That takes a terminal, which sftp and commands do not have.
const TO_BE_CHANGED: &str = "sshd has the password changed first";
/// `PAM_CONV_ERR`
const CONV_ERR: Code = 19;

/// The first factor of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// A password that is typed.
    Password,
    /// A key that sshd accepts, and nothing else. Whether there is one is looked at for root alone: nothing below a user's
    /// home is touched.
    Key,
    /// Both, one after the other.
    KeyAndPassword,
    /// Nothing at all.
    Nothing,
    /// Whatever it is: this person is turned away.
    None,
}

/// One way in, or the refusal at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub first: First,
    /// The lines that prove the first factor: file, number and module.
    pub lines: Vec<String>,
    /// What is not known about the first factor.
    pub unsure: Option<String>,
    pub end: End,
}

/// What happens on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It lets in without a question of ours. In words, with the reason.
    In(String),
    /// It lets in after a code or a touch.
    Asked(&'static str),
    /// It leads through binding a device, and lets in then.
    Led,
    /// It lets nobody in, for this reason.
    Refused(String),
    /// That cannot be told, for this reason.
    NotKnown(String),
}

impl End {
    /// Whether it lets in, at last.
    pub fn lets_in(&self) -> bool {
        matches!(self, End::In(_) | End::Asked(_) | End::Led)
    }
}

impl Way {
    /// Its end, with what is not known of it.
    pub fn outcome(&self) -> String {
        match (&self.unsure, &self.end) {
            (Some(unknown), End::NotKnown(why)) => format!("not known: {unknown}; and {why}"),
            (Some(unknown), end) => format!("not known: {unknown}; perhaps: {end}"),
            (None, end) => end.to_string(),
        }
    }

    /// Whether it is certain to let in without a question of ours.
    pub fn passes_unasked(&self) -> bool {
        matches!(self.end, End::In(_)) && self.unsure.is_none()
    }
}

/// The way that is meant if only a login is named: by a password if there is one.
pub fn usual(ways: &[Way]) -> Option<&Way> {
    let by = |first| ways.iter().find(|way| way.first == first);
    by(First::Password).or_else(|| ways.iter().find(|way| way.first != First::Key)).or(ways.first())
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            First::Password => "a password",
            First::Key => "a key alone",
            First::KeyAndPassword => "a key and a password",
            First::Nothing => "nothing",
            First::None => "none",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::In(text) => f.write_str(text),
            End::Asked(text) => f.write_str(text),
            End::Led => f.write_str("led through binding a device, and let in when it is bound"),
            End::Refused(why) => write!(f, "refused: {why}"),
            End::NotKnown(why) => write!(f, "not known: {why}"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if !self.lines.is_empty() {
            write!(f, " ({})", self.lines.join(", "))?;
        }
        write!(f, ": {}", self.outcome())
    }
}

/// Somebody, as far as ways in differ by it.
pub struct Person<'a> {
    pub identity: &'a Identity,
    pub view: &'a View,
    uid: u32,
    home: String,
    shell: String,
}

impl<'a> Person<'a> {
    /// `None` if the name service does not find the user any more.
    pub fn of(identity: &'a Identity, view: &'a View) -> Option<Person<'a>> {
        let user = names::user(&identity.name).ok()??;
        Some(Person { identity, view, uid: user.uid.as_raw(), home: user.home, shell: user.shell })
    }

    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// As sshd, sudo and PAM's modules see it: nobody belongs to a group that does not exist. For a rule it is unknown then.
    fn belongs_to(&self, group: &str) -> Answer {
        match names::group_lists(group, self.name()) {
            Ok(None) => Answer::No,
            _ => self.identity.member(group),
        }
    }

    fn as_user<T>(&self, question: impl FnOnce(&User) -> T) -> T {
        let (member, groups) = (|group: &str| self.belongs_to(group), || self.groups());
        question(&User { name: self.name(), uid: self.uid, member: &member, groups: &groups })
    }

    fn groups(&self) -> Option<Vec<(u32, String)>> {
        let named = |gid: &Gid| Some((gid.as_raw(), names::group_name(*gid).ok()?.unwrap_or_default()));
        self.identity.gids()?.iter().map(named).collect()
    }

    /// Whether the device that is missing could help: nothing is bound, and there is a password that can be typed.
    pub fn could_use_a_device(&self, facts: &Facts) -> bool {
        self.view.bound.is_none() && facts.shadow.password(self.name()) == Password::Typed
    }

    /// Whether this is root, by any name.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// A policy, for people at this host and for people elsewhere.
pub struct Rules {
    here: Host,
    elsewhere: Host,
}

impl Rules {
    /// `policy` on this host.
    pub fn of(policy: &Policy, host: &Host) -> Rules {
        let loaded = Loaded { policy: policy.clone(), error: None, young: None };
        // The person sits where the question says, and not where root does.
        let at = |caller_is_at| Host { caller_is_at, caller_is_root: true, loaded: loaded.clone(), ..host.clone() };
        Rules { here: at(Whereabouts::Here), elsewhere: at(Whereabouts::Elsewhere) }
    }

    /// Whether the rule that decides at sshd names this person or a group, and not everybody.
    fn names(&self, person: &Person) -> bool {
        let policy = self.elsewhere.policy();
        let (place, now) = (Place::Remote(None), (self.elsewhere.now)());
        let facts = PolicyFacts { user: person.name(), service: "sshd", place, now };
        let decided = policy.decide(&facts, &mut |name| person.identity.member(name));
        policy.rule_of(&decided).is_some_and(|rule| rule.users.is_some() || rule.groups.is_some())
    }

    /// The same host without a second factor.
    pub fn asking_nothing(&self) -> Rules {
        Rules::of(&self.elsewhere.policy().with_nothing_asked(), &self.elsewhere)
    }
}

/// A login that is looked at.
#[derive(Clone, Copy)]
struct Try<'a> {
    facts: &'a Facts<'a>,
    host: &'a Host,
    person: &'a Person<'a>,
    service: &'a str,
    place: Place<'a>,
    /// Why the program cannot show a question of ours.
    mute: Option<&'static str>,
    /// An empty password is taken, by what the program says.
    empty: bool,
    /// sshd has accepted a key.
    key: bool,
    /// sudo asks this user for nothing (NOPASSWD), and then lets in also after the time to change a password.
    exempt: bool,
}

/// All ways of a person at a service, from a place.
pub fn ways_in(person: &Person, service: &str, place: Place, rules: &Rules, facts: &Facts) -> Vec<Way> {
    let host = if place == Place::Local { &rules.here } else { &rules.elsewhere };
    let login = Try { facts, host, person, service, place, mute: None, empty: true, key: false, exempt: false };
    person.as_user(|user| match service {
        "sshd" => login.by_sshd(user),
        "sudo" | "sudo-i" => login.by_sudo(user),
        _ => login.by_password_or_nothing(user),
    })
}

/// What sudoers grants to a person.
pub fn granted(person: &Person, facts: &Facts) -> Grant {
    person.as_user(|user| facts.granted(user))
}

fn refused(first: First, why: impl Into<String>) -> Way {
    Way { first, lines: Vec::new(), unsure: None, end: End::Refused(why.into()) }
}

fn unknown(first: First, why: impl Into<String>) -> Way {
    Way { first, lines: Vec::new(), unsure: None, end: End::NotKnown(why.into()) }
}

/// The sentence for a way that lets in unasked.
fn let_in(first: First, why: &str) -> String {
    match first {
        First::Nothing => format!("let in without anything: {why}"),
        _ => format!("let in after the first factor: {why}"),
    }
}

/// Programs that stand in the place of a shell and end at once.
fn is_no_shell(shell: &str) -> bool {
    matches!(shell.rsplit('/').next(), Some("nologin" | "false" | "true"))
}

impl Try<'_> {
    fn by_sshd(self, user: &User) -> Vec<Way> {
        let address = match self.place {
            Place::Remote(Some(address)) if address.parse::<std::net::IpAddr>().is_ok() => Some(address),
            _ => None,
        };
        let by_address = self.facts.conditions.as_ref().is_ok_and(|conditions| sshd::goes_by_address(conditions));
        let (settings, unsure) = match self.facts.sshd_for(user, address) {
            Ok(settings) if by_address && address.is_none() => {
                (settings, Some(String::from("a Match of sshd goes by the address of the client")))
            }
            Ok(settings) => (settings, None),
            Err(why) => (Settings::usual(), Some(why)),
        };
        let no_shell = is_no_shell(&self.person.shell)
            .then(|| format!("the shell {} runs no command, but sshd lets in", self.person.shell));
        let mut ways = self.by_sshd_with(&settings, user, address);
        for way in &mut ways {
            let shell = no_shell.clone().filter(|_| way.end.lets_in());
            way.unsure = way.unsure.take().or(unsure.clone()).or(shell);
        }
        ways
    }

    fn by_sshd_with(self, settings: &Settings, user: &User, address: Option<&str>) -> Vec<Way> {
        let shell = &self.person.shell;
        if !shell.is_empty() && !settings.changes_root() && !(self.facts.exists)(shell) {
            return vec![refused(First::None, format!("sshd turns this user away: there is no {shell}"))];
        }
        if user.uid == 0 && settings.only_forced_commands() {
            return vec![unknown(
                First::Key,
                "PermitRootLogin forced-commands-only: it depends on the line of the key",
            )];
        }
        let unsure = match settings.turns_away(user, address) {
            Ok(None) => None,
            Ok(Some(setting)) => return vec![refused(First::None, format!("sshd turns this user away ({setting})"))],
            Err(why) => Some(why),
        };
        if !settings.uses_pam() && self.facts.shadow.is_barred(user.name) {
            return vec![refused(First::None, "the account is locked, for an sshd without PAM")];
        }
        if !settings.uses_pam() && user.uid != 0 && (self.facts.exists)("/etc/nologin") {
            return vec![refused(First::None, "an sshd without PAM lets nobody in while /etc/nologin is there")];
        }
        let lists = settings.lists(user.uid);
        if lists.is_empty() {
            return vec![refused(
                First::None,
                format!("sshd takes nothing from this user ({})", settings.why_none(user.uid)),
            )];
        }
        let mut ways: Vec<Way> = Vec::new();
        for list in &lists {
            for way in self.by_methods(list, settings, user) {
                add(&mut ways, way);
            }
        }
        // With a key and a password, the password alone may be enough.
        let password = ways.iter().find(|way| way.first == First::Password && way.end.lets_in()).cloned();
        if let Some(password) = password
            && let Some(both) = ways.iter_mut().find(|way| way.first == First::KeyAndPassword && !way.end.lets_in())
        {
            *both = Way { first: First::KeyAndPassword, ..password };
        }
        for way in ways.iter_mut().filter(|way| way.end.lets_in()) {
            way.unsure = way.unsure.take().or(unsure.clone());
        }
        ways
    }

    /// The ways by one list of methods, which all have to be passed.
    fn by_methods(self, list: &[Method], settings: &Settings, user: &User) -> Vec<Way> {
        let (has_key, asks) = (list.contains(&Method::Key), list.iter().any(|method| *method != Method::Key));
        // Where the questions come first, PAM hears of no key.
        let login = Try { key: list.first() == Some(&Method::Key), empty: settings.takes_empty(), ..self };
        let mut ways = match (has_key, list.contains(&Method::Password), list.contains(&Method::Interactive)) {
            (true, false, false) => vec![login.by_key_alone(settings)],
            (_, true, _) if !settings.uses_pam() => login.without_pam(),
            (_, true, _) => Try { mute: Some("sshd cannot show a question by its method password"), ..login }
                .by_password_or_nothing(user),
            (_, false, _) => login.by_password_or_nothing(user),
        };
        if list.contains(&Method::Password) && settings.lists_methods() {
            for way in ways.iter_mut().filter(|way| way.first == First::Nothing) {
                way.unsure = Some(String::from(
                    "sshd takes a first empty password for its method none, which its AuthenticationMethods leave out",
                ));
            }
        }
        if has_key && asks {
            for way in &mut ways {
                match way.first {
                    First::Password => way.first = First::KeyAndPassword,
                    First::Nothing if self.facts.shadow.password(user.name) == Password::Empty => {
                        way.first = First::KeyAndPassword;
                        way.unsure = Some(String::from("the password is empty"));
                    }
                    // A line of the stack takes the key that sshd has accepted.
                    First::Nothing => way.first = First::Key,
                    First::Key | First::KeyAndPassword | First::None => {}
                }
            }
        }
        if user.uid == 0 && has_key && !self.root_has_keys(settings, user) {
            for way in ways.iter_mut().filter(|way| matches!(way.first, First::Key | First::KeyAndPassword)) {
                way.end = End::Refused(String::from("root has no key"));
            }
        }
        // pam_setcred goes by what each module said to the empty one: sshd may let in, and end the session at once.
        if settings.uses_pam() && settings.tries_empty() {
            for way in ways.iter_mut().filter(|way| way.end.lets_in()) {
                way.unsure = Some(String::from(
                    "PermitEmptyPasswords: sshd tries one first, and what PAM says to that may stay",
                ));
            }
        }
        ways
    }

    /// Root's own files may be looked at; what cannot be read or trusted may be a key.
    fn root_has_keys(self, settings: &Settings, user: &User) -> bool {
        let none =
            |path: &String| (self.facts.files)(path).is_ok_and(|text| text.is_none_or(|text| text.trim().is_empty()));
        settings.key_files(user, &self.person.home).is_none_or(|files| !files.iter().all(none))
    }

    /// sshd looks into shadow itself.
    fn without_pam(self) -> Vec<Way> {
        let text = || String::from("let in after the first factor: sshd asks PAM nothing (UsePAM no)");
        let password = self.facts.shadow.password_without_pam(self.person.name());
        let age = self.age_without_pam();
        if age == Some(Age::Expired) {
            return vec![refused(First::Password, "the account has expired")];
        }
        let unsure = || (age == Some(Age::ToBeChanged)).then(|| String::from(TO_BE_CHANGED));
        let way = |first| Way { first, lines: Vec::new(), unsure: unsure(), end: End::In(text()) };
        match password {
            Password::Typed => vec![way(First::Password)],
            Password::Empty if self.empty => vec![way(First::Nothing)],
            Password::Empty | Password::Locked => {
                vec![refused(First::Password, "this user has no password that could be typed")]
            }
            Password::Elsewhere => vec![refused(First::Password, "sshd asks no directory without PAM")],
            Password::NotKnown(why) => vec![unknown(First::Password, why)],
        }
    }

    fn age_without_pam(self) -> Option<Age> {
        self.facts.shadow.age_without_pam(self.person.name(), (self.host.now)())
    }

    fn by_key_alone(self, settings: &Settings) -> Way {
        let way = |end| Way { first: First::Key, lines: Vec::new(), unsure: None, end };
        if !settings.uses_pam() {
            let age = self.age_without_pam();
            // sshd looks at the age with the first password of a connection, and the empty one that it tries itself is one.
            let to_be_changed = age == Some(Age::ToBeChanged) && settings.tries_empty();
            let way = way(match age == Some(Age::Expired) {
                true => End::Refused(String::from("the account has expired")),
                false => End::In(String::from("let in by the key alone: sshd asks PAM nothing (UsePAM no)")),
            });
            return Way { unsure: to_be_changed.then(|| String::from(TO_BE_CHANGED)), ..way };
        }
        let asked = self.asked();
        let (code, end) = match key_alone_is(&asked, self.person.view) {
            Account::Enough => (IGNORE, End::In(String::from("let in by the key alone"))),
            Account::NotEnough => (PERM_DENIED, End::Refused(String::from("a key alone is not enough"))),
        };
        way(self.account(code, end, "let in by the key alone"))
    }

    fn by_sudo(self, user: &User) -> Vec<Way> {
        // Another plugin, other sources of sudoers, or a stack of another name.
        let grant = self.facts.sudo_goes_elsewhere().map_or_else(|| self.facts.granted(user), Grant::NotKnown);
        let why = match grant {
            Grant::Nothing if user.uid == 0 => {
                return vec![refused(First::None, "sudoers grants nothing to this user")];
            }
            _ if user.uid == 0 => {
                let unsure = self.facts.sudo_goes_elsewhere();
                return vec![Way { unsure, ..self.unasked("sudo asks root for nothing") }];
            }
            Grant::Nothing => return self.for_nothing(user),
            Grant::All { asked: false } => {
                let exempt = Try { exempt: true, ..self };
                return vec![exempt.unasked("sudo asks for nothing (NOPASSWD or a setting like it)")];
            }
            Grant::All { asked: true } => None,
            Grant::Some => Some(String::from("sudoers grants some commands, and may not ask for them")),
            Grant::NotKnown(why) => Some(why),
        };
        let mut ways = self.by_password_or_nothing(user);
        for way in &mut ways {
            way.unsure = way.unsure.take().or(why.clone());
        }
        // It may be that nothing is asked.
        if let Some(why) = why.filter(|_| ways.iter().all(|way| way.first != First::Nothing)) {
            ways.push(unknown(First::Nothing, why));
        }
        ways
    }

    /// sudo asks before it looks whether anything is granted, so somebody may be led through binding there.
    fn for_nothing(self, user: &User) -> Vec<Way> {
        let why = "sudoers grants nothing to this user";
        let mut ways = self.by_password_or_nothing(user);
        ways.retain(|way| matches!(way.end, End::Led | End::NotKnown(_)));
        for way in &mut ways {
            way.unsure = Some(format!("{why}, whatever is asked before"));
        }
        if ways.is_empty() { vec![refused(First::None, why)] } else { ways }
    }

    /// The program skips auth.
    fn unasked(self, why: &str) -> Way {
        let may_owe = self.host.policy().enroll_services.iter().any(|listed| listed == self.service)
            || is_service_of_sudo(self.service);
        let owes = may_owe && !self.person.view.owes.nothing() && self.person.view.bound.is_none();
        let (code, end) = match self.asked().require {
            Require::Mfa if owes => {
                (PERM_DENIED, End::Refused(String::from("a device is owed, and nothing was asked")))
            }
            _ => (IGNORE, End::In(format!("let in: {why}"))),
        };
        Way {
            first: First::Nothing,
            lines: Vec::new(),
            unsure: None,
            end: self.account(code, end, &format!("let in: {why}")),
        }
    }

    /// By what PAM's auth asks: with the right password, and with nothing.
    fn by_password_or_nothing(self, user: &User) -> Vec<Way> {
        let password = self.facts.shadow.password(self.person.name());
        let nothing = self.by_pam(user, &password, false);
        let typed = self.by_pam(user, &password, true);
        let mut ways = Vec::new();
        match (nothing.end.lets_in(), matches!(nothing.end, End::NotKnown(_))) {
            // Where nothing is needed, a password makes a difference only if the stack goes another way with it.
            (true, _) if discriminant(&typed.end) != discriminant(&nothing.end) => ways.extend([typed, nothing]),
            (true, _) => ways.push(nothing),
            (false, true) => ways.extend([typed, nothing]),
            // Our question alone is in the way, whatever was typed before.
            (false, false) if typed.end == nothing.end && self.is_our_question_alone(&nothing.end) => {
                ways.push(nothing)
            }
            (false, false) => ways.push(typed),
        }
        ways
    }

    fn is_our_question_alone(self, end: &End) -> bool {
        matches!((self.mute, end), (Some(mute), End::Refused(why)) if why == mute)
    }

    /// One pass of auth and account.
    fn by_pam(self, user: &User, password: &Password, types: bool) -> Way {
        let first = if types { First::Password } else { First::Nothing };
        let stack = self.facts.stack(self.service, Kind::Auth);
        let stack = match stack.as_ref() {
            Ok(stack) => stack,
            Err(why) => return unknown(first, why.clone()),
        };
        if let Some(module) = stack.modules().find(|module| module.is_ours() && has_other_policy(module)) {
            let why = format!("the line {}:{} names another policy", module.file, module.number);
            return unknown(first, why);
        }
        let asks_unix = stack.modules().any(|module| module.name() == "pam_unix.so");
        let scene = Scene { types, asks_unix, ..self.scene(user, password) };
        self.pass(stack, &scene, first)
    }

    fn scene<'b>(&'b self, user: &'b User<'b>, password: &'b Password) -> Scene<'b> {
        Scene {
            user,
            service: self.service,
            home: &self.person.home,
            shell: &self.person.shell,
            password,
            age: self.facts.shadow.age(user.name, (self.host.now)()),
            types: true,
            empty: self.empty,
            key: self.key,
            asks_unix: true,
            files: &*self.facts.files,
            installed: &*self.facts.installed,
            exists: &*self.facts.exists,
        }
    }

    fn pass(self, stack: &Stack, scene: &Scene, first: First) -> Way {
        let way = |lines, end| Way { first, lines, unsure: None, end };
        let complete = |module: &Module| module.arguments.iter().any(|word| word == "stack=complete");
        let decided = |module: &Module| self.decided(complete(module), scene);
        let code = |module: &Module| match decided(module) {
            Auth::Pass(_) => IGNORE,
            Auth::Ask if self.mute.is_some() => CONV_ERR,
            Auth::Ask => SUCCESS,
            Auth::HandOver => IGNORE,
            Auth::Refuse(_) => AUTH_ERR,
        };
        let says = |module: &Module| match module.is_ours() {
            true => vec![code(module)],
            false => scene.says(module, Kind::Auth),
        };
        let ends = match stack.ends(&says) {
            Ok(ends) => ends,
            Err(error) => return way(Vec::new(), End::NotKnown(error.to_string())),
        };
        let (ins, outs): (Vec<_>, Vec<_>) = ends.iter().partition(|end| Kind::Auth.lets_in(end.result));
        let Some(sure) = ins.first() else {
            let end = outs.first().map_or(End::Refused(String::from("auth has no lines")), |out| {
                End::Refused(self.why_refused(&out.steps, &decided))
            });
            return way(Vec::new(), end);
        };
        let lines: Vec<String> = sure
            .steps
            .iter()
            .filter(|(module, code)| *code == SUCCESS && module.may_prove())
            .map(|(module, _)| placed(module))
            .collect();
        if !outs.is_empty() || ins.iter().any(|end| end.reached != sure.reached) {
            let why = format!("it depends on {}", doubtful(&ins, &outs, &says));
            return way(lines, End::NotKnown(why));
        }
        let ours = sure.steps.iter().map(|(module, _)| *module).find(|module| module.is_ours());
        let end = match ours.map(&decided) {
            None => self.not_called(stack, first),
            Some(Auth::Pass(why)) => {
                let text = let_in(first, why);
                self.account(IGNORE, End::In(text.clone()), &text)
            }
            Some(Auth::Ask) if self.mute.is_some() => {
                let refusal = End::Refused(String::from(self.mute.unwrap_or_default()));
                self.account(PERM_DENIED, refusal, "let in although our line refuses")
            }
            Some(Auth::Ask) if self.is_overridden(stack, scene) => {
                End::In(String::from("let in although our line refuses"))
            }
            Some(Auth::Ask) => self.account(SUCCESS, End::Asked(self.question()), "let in after a code"),
            Some(Auth::HandOver) if self.mute.is_some() => End::Refused(String::from(self.mute.unwrap_or_default())),
            Some(Auth::HandOver) => self.account(SUCCESS, End::Led, "let in without a device"),
            Some(Auth::Refuse(no_way)) => {
                let refusal = End::Refused(why_no_way(&no_way, self.service));
                self.account(PERM_DENIED, refusal, "let in although our line refuses")
            }
        };
        let directory = match (scene.password, first) {
            (Password::NotKnown(why), First::Password) => Some(why.clone()),
            (Password::Typed, _) if scene.asks_unix => None,
            (Password::Typed, First::Password) if !lines.is_empty() => {
                Some(String::from("a module other than pam_unix keeps the password"))
            }
            (_, First::Password) if !lines.is_empty() => Some(String::from("a directory keeps the password")),
            _ => None,
        };
        // pam_setcred goes by what the modules said in auth, and many of them say nothing there.
        let establishes = |module: &Module| {
            module.is_ours() || module.may_prove() || module.asks_for_a_key() || module.name() == "pam_permit.so"
        };
        let has_credentials =
            |(module, code): &(&Module, Code)| *code == SUCCESS && module.counts(SUCCESS) && establishes(module);
        let has_none = !sure.steps.iter().any(has_credentials) || self.asks_elsewhere() && self.may_refuse(stack);
        let no_credentials = (end.lets_in() && has_none)
            .then(|| String::from("no module of auth may establish credentials, and the program may refuse for that"));
        Way { first, lines, unsure: directory.or(no_credentials), end }
    }

    /// sshd puts PAM's questions in a process of its own. In the other one pam_setcred knows nothing of auth.
    fn asks_elsewhere(self) -> bool {
        self.service == "sshd" && self.mute.is_none()
    }

    /// Whether pam_setcred may fail by what modules say to itself: a line that was passed by in auth may then jump too far.
    fn may_refuse(self, stack: &Stack) -> bool {
        let says = |module: &Module| match module.name() {
            "pam_deny.so" => vec![AUTH_ERR],
            // It fails where a process may have no keyring, as in a container.
            "pam_keyinit.so" => vec![SUCCESS, IGNORE, AUTH_ERR],
            name if module.is_ours() || module.may_prove() || name == "pam_permit.so" => vec![SUCCESS],
            _ => vec![SUCCESS, IGNORE],
        };
        !stack.ends(&says).is_ok_and(|ends| ends.iter().all(|end| Kind::Auth.lets_in(end.result)))
    }

    /// Auth lets in although our refusal was the answer, and so does account.
    fn is_overridden(self, stack: &Stack, scene: &Scene) -> bool {
        let says = |module: &Module| match module.is_ours() {
            true => vec![AUTH_ERR],
            false => scene.says(module, Kind::Auth),
        };
        let overridden = stack.ends(&says).is_ok_and(|ends| ends.iter().any(|end| Kind::Auth.lets_in(end.result)));
        overridden && self.account(PERM_DENIED, End::Refused(String::new()), "").lets_in()
    }

    /// Auth lets in without our line.
    fn not_called(self, stack: &Stack, first: First) -> End {
        let there = stack.modules().any(Module::is_ours);
        let why = match (self.facts.has_file(self.service), there) {
            (false, _) => format!("no such service: /etc/pam.d/{} is missing, and other stands for it", self.service),
            (true, false) => String::from("our line is not in its auth: asked for nothing"),
            (true, true) => String::from("auth passes our line by: asked for nothing"),
        };
        let text = let_in(first, &why);
        // Without auth, our account line takes a login by sshd for one by key.
        match self.service {
            "sshd" => match key_alone_is(&self.asked(), self.person.view) {
                Account::Enough => self.account(IGNORE, End::In(text.clone()), &text),
                Account::NotEnough => self.account(
                    PERM_DENIED,
                    End::Refused(String::from("account takes it for a key alone, which is not enough")),
                    &text,
                ),
            },
            _ => match self.unasked(&why).end {
                End::In(_) => End::In(text),
                other => other,
            },
        }
    }

    /// The end of account, in which our line says `code`, and `end` is what that leads to. `past` is what happens if no line
    /// of ours is called there.
    fn account(self, code: Code, end: End, past: &str) -> End {
        self.person.as_user(|user| self.account_of(user, code, end, past))
    }

    fn account_of(self, user: &User, code: Code, end: End, past: &str) -> End {
        let password = self.facts.shadow.password(user.name);
        let scene = self.scene(user, &password);
        let stack = self.facts.stack(self.service, Kind::Account);
        let stack = match stack.as_ref() {
            Ok(stack) => stack,
            Err(why) => return End::NotKnown(why.clone()),
        };
        let says = |module: &Module| match module.is_ours() {
            true => vec![code],
            false => scene.says(module, Kind::Account),
        };
        let ends = match stack.ends(&says) {
            Ok(ends) => ends,
            Err(error) => return End::NotKnown(error.to_string()),
        };
        let (ins, outs): (Vec<_>, Vec<_>) = ends
            .iter()
            .partition(|end| Kind::Account.lets_in(end.result) || self.exempt && end.result == AUTHTOK_EXPIRED);
        match (ins.as_slice(), outs.as_slice()) {
            ([], outs) => match outs.iter().all(|out| out.reached && code == PERM_DENIED) {
                true => end,
                false => {
                    // What is bound where no session follows lapses.
                    let in_vain = end == End::Led && outs.iter().all(|out| out.reached);
                    let when = if in_vain { " after a device was bound in vain" } else { "" };
                    let by = outs.first().map_or_else(String::new, |out| blamed(&out.steps));
                    End::Refused(format!("account refuses{when}: {by}"))
                }
            },
            ([first, ..], []) if ins.iter().all(|end| end.reached == first.reached) => match (first.reached, &end) {
                (true, End::Refused(_)) | (false, _) if !matches!(end, End::Asked(_) | End::In(_)) => {
                    End::In(past.to_owned())
                }
                _ => end,
            },
            _ => End::NotKnown(format!("it depends on {} of account", doubtful(&ins, &outs, &says))),
        }
    }

    fn asked(self) -> Requirement {
        let facts =
            PolicyFacts { user: self.person.name(), service: self.service, place: self.place, now: (self.host.now)() };
        self.host.policy().decide(&facts, &mut |group| self.person.identity.member(group))
    }

    /// What auth of a login decides, by the function that decides it there.
    fn decided(self, complete: bool, scene: &Scene) -> Auth {
        let rhost = match self.place {
            Place::Remote(Some(host)) => Some(host.to_owned()),
            _ => None,
        };
        let login = Login {
            rhost,
            tty: (self.service == "sshd").then(|| String::from("ssh")),
            stack_complete: complete,
            ..Login::at(self.person.name(), self.service)
        };
        let hand_over = || {
            self.facts.hand_over(self.service).map_err(NoWay::Account)?;
            match scene.password {
                Password::Empty => Err(NoWay::NoSecret("it is empty")),
                Password::NotKnown(_) if stack::takes_empty(self.service, &*self.facts.files) => {
                    Err(NoWay::NoSecret("it may be empty, which cannot be told"))
                }
                _ => Ok(()),
            }
        };
        auth(&self.asked(), self.person.view, &login, Counter::Login, self.host, &hand_over)
    }

    fn question(self) -> &'static str {
        match self.person.view.kind() {
            Some(Device::U2f) => "asked for a security key, or a recovery code",
            _ => "asked for the code of the device, or a recovery code",
        }
    }

    fn why_refused(self, steps: &[(&Module, Code)], decided: &dyn Fn(&Module) -> Auth) -> String {
        // A line that may fail (sufficient) is not to blame; the last that said no is, and ours before all.
        let no =
            |(module, code): &&(&Module, Code)| *code != SUCCESS && *code != IGNORE && module.name() != "pam_deny.so";
        let refusing = steps.iter().filter(no).find(|(module, _)| module.is_ours());
        match refusing.or(steps.iter().rfind(no)).or(steps.last()) {
            Some((module, _)) if module.is_ours() => match decided(module) {
                Auth::Refuse(no_way) => why_no_way(&no_way, self.service),
                _ => String::from(self.mute.unwrap_or("our line refuses")),
            },
            Some((module, _)) if matches!(module.name(), "pam_unix.so") => {
                format!("no password that could be typed ({})", placed(module))
            }
            Some((module, _)) => placed(module),
            None => String::from("auth has no lines"),
        }
    }
}

/// Adds a way, unless one that begins alike lets in already. One that lets in takes the place of a refusal.
fn add(ways: &mut Vec<Way>, way: Way) {
    match ways.iter_mut().find(|known| known.first == way.first) {
        Some(known) if !known.end.lets_in() && (way.end.lets_in() || matches!(way.end, End::NotKnown(_))) => {
            *known = way
        }
        Some(_) => {}
        None => ways.push(way),
    }
}

fn has_other_policy(module: &Module) -> bool {
    module.arguments.iter().any(|word| word.starts_with("config=") && word != "config=/etc/mfa/mfa.toml")
}

fn placed(module: &Module) -> String {
    format!("{}:{} {}", module.file, module.number, module.name())
}

fn blamed(steps: &[(&Module, Code)]) -> String {
    let refusing = steps.iter().find(|(_, code)| *code != SUCCESS && *code != IGNORE);
    refusing.or(steps.last()).map_or_else(|| String::from("it has no lines"), |(module, _)| placed(module))
}

/// The modules by which the ends differ.
fn doubtful(ins: &[&crate::stack::End], outs: &[&crate::stack::End], says: &dyn Fn(&Module) -> Vec<Code>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (module, _) in ins.iter().chain(outs).flat_map(|end| &end.steps).filter(|(module, _)| says(module).len() > 1) {
        let line = placed(module);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.truncate(3);
    lines.join(", ")
}

/// Why there is no way to a device, for root.
fn why_no_way(no_way: &NoWay, service: &str) -> String {
    match no_way {
        NoWay::ByAdmin => String::from("an administrator has to bind a device first"),
        NoWay::NoKeyHere => String::from("a security key has to be bound where it is plugged in"),
        NoWay::NotInvited => String::from("an invitation is needed (mfa-enroll invite)"),
        NoWay::NoDialogue | NoWay::NotAsked => {
            format!("{service} is not in [enroll] services (jobs, as of cron, ask nothing and go on)")
        }
        NoWay::UnknownStack => String::from("the stack is not known to be complete"),
        NoWay::Program(why) => why.clone(),
        NoWay::NoSecret(why) => format!("the first factor proves nothing: {why}"),
        NoWay::Account(why) => format!("binding inside {service} is not safe: {why}"),
    }
}
