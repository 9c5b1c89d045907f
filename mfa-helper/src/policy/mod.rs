//! Who must prove what, and where: rules from files that root wrote.
//!
//! No I/O: facts of a login in, a requirement out, with the rule that decided. [`files`] reads the files.

pub mod files;
pub mod parse;
pub mod place;

use mfa_core::Kind;
use mfa_core::key::Pin;
use mfa_core::lockout::Lockout;
use mfa_core::totp::Parameters;
use serde::Deserialize;

use crate::lang::Lang;
use place::{From, Place};

/// What a rule asks for, from the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Nothing, even if the user has a device.
    Off,
    /// The device, if the user has one.
    IfBound,
    /// A device, of every user.
    Mfa,
}

impl Require {
    /// The word in mfa.toml.
    pub fn word(self) -> &'static str {
        match self {
            Require::Off => "off",
            Require::IfBound => "if-bound",
            Require::Mfa => "mfa",
        }
    }
}

/// Whether an ssh key (or GSSAPI, or a trusted host) alone is enough, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshKey {
    /// It is enough.
    Allow,
    /// It is not enough.
    Deny,
}

/// How a user who must have a device and has none gets one, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enroll {
    /// In the login itself.
    AtLogin,
    /// In the login itself, with an invitation code.
    Invited,
    /// From root.
    ByAdmin,
}

/// Whether a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It decides nothing; the log says what it would have asked.
    Observe,
}

/// What a bound `sk` key counts for if sshd has already accepted it, the weaker first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkKey {
    /// As the second factor, if sshd demands a touch.
    Counts,
    /// As an ssh key like any other.
    #[default]
    Ignored,
}

/// The table `[u2f]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U2f {
    /// The relying party of new bindings; absent: `pam://` and the host's name.
    pub rp_id: Option<String>,
    /// Whether a key asks for its PIN.
    pub pin: Pin,
    /// How long to wait for a key, in seconds.
    pub timeout: u64,
    /// Terminals, by their names in `/dev`, that belong to no seat but stand beside this host's own USB ports.
    pub consoles: Vec<String>,
    /// The models that may be bound; empty: every model.
    pub aaguids: Vec<[u8; 16]>,
    /// Whether each exchange with a key that is plugged in is logged, without its content.
    pub debug: bool,
}

impl Default for U2f {
    fn default() -> U2f {
        U2f { rp_id: None, pin: Pin::IfSet, timeout: 30, consoles: Vec::new(), aaguids: Vec::new(), debug: false }
    }
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// File, line and name, for logs.
    pub origin: String,
    /// The users that it applies to, by name or by group. Both absent: everybody.
    pub users: Option<Vec<String>>,
    /// See `users`.
    pub groups: Option<Vec<String>>,
    /// The PAM services that it applies to; absent: all.
    pub services: Option<Vec<String>>,
    /// The places that it applies to; absent: all.
    pub from: Option<Vec<From>>,
    /// What it asks for.
    pub require: Require,
    /// Whether it decides.
    pub mode: Mode,
    /// The kinds of device that are accepted.
    pub kinds: Vec<Kind>,
    /// How a user gets a device.
    pub enroll: Enroll,
    /// Until this time, a user without a device is only reminded, in seconds since 1970.
    pub deadline: Option<u64>,
    /// From this time on, the rule does not exist, in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether an ssh key alone is enough; absent: no if MFA is required, otherwise yes.
    pub ssh_key: Option<SshKey>,
    /// For this many seconds after a code the device is not asked again; absent: it is always asked.
    pub remember: Option<u64>,
    /// What a bound `sk` key counts for if sshd has already accepted it.
    pub sk_key: SkKey,
}

/// All settings of `mfa.toml` and its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name that the app shows; absent: the short host name.
    pub issuer: Option<String>,
    /// The person or place to ask for help; absent: an administrator.
    pub contact: Option<String>,
    /// The language of prompts and of the texts beside them.
    pub lang: Lang,
    /// The parameters of new authenticator apps.
    pub totp: Parameters,
    /// Steps accepted before and after the present one.
    pub window: u64,
    /// The settings for security keys.
    pub u2f: U2f,
    /// Whether users may change their own devices.
    pub self_service: bool,
    /// The number of recovery codes in a set; 0 for none.
    pub recovery_codes: u64,
    /// The locks after wrong codes.
    pub lockout: Lockout,
    /// Services that can show the dialogue of a binding, and have an account phase.
    pub enroll_services: Vec<String>,
    /// Programs, by file name, that are trusted to run all phases of a login, in addition to the known ones.
    pub enroll_programs: Vec<String>,
    /// The path of the store.
    pub store: String,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// The beginning of the name of each file that `require` writes.
pub const BY_COMMAND: &str = "50-require-";

/// The facts of a login that rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The user, as the name service spells it.
    pub user: &'a str,
    /// The PAM service.
    pub service: &'a str,
    /// Where the user is.
    pub place: Place<'a>,
    /// Seconds since 1970.
    pub now: u64,
}

/// What the policy asks of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Whether the second factor is required.
    pub require: Require,
    /// Whether an ssh key alone is enough.
    pub ssh_key: SshKey,
    /// How a user gets a device.
    pub enroll: Enroll,
    /// The kinds of device that are accepted.
    pub kinds: Vec<Kind>,
    /// Required only from this time on, in seconds since 1970.
    pub deadline: Option<u64>,
    /// For this many seconds after a code the device is not asked again.
    pub remember: Option<u64>,
    /// What a bound `sk` key counts for if sshd has already accepted it.
    pub sk_key: SkKey,
    /// The rule that decided, for logs.
    pub rule: String,
    /// The first rule that would have decided if it did not only observe, and what it would have asked.
    pub observed: Option<(String, Require)>,
}

impl Requirement {
    /// The verb of mfa-enroll that binds a device of an accepted kind.
    pub fn binding_verb(&self) -> &'static str {
        match self.kinds.as_slice() {
            [Kind::U2f] => "u2f",
            _ => "totp",
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Not known: the name service failed or knows no such group, or the host is a name and not an address.
    Unknown,
}

impl Answer {
    /// What is known to hold, or not to.
    pub fn known(holds: bool) -> Answer {
        if holds { Answer::Yes } else { Answer::No }
    }
}

/// A name of a rule that the name service is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// Is the user of this login called so, too?
    User(&'a str),
    /// Does the user belong to this group?
    Group(&'a str),
}

/// A bare name is a group's.
impl<'a> std::convert::From<&'a str> for Named<'a> {
    fn from(group: &'a str) -> Named<'a> {
        Named::Group(group)
    }
}

/// The evaluation of one rule.
pub struct Considered<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its conditions with their keys, as far as it has them.
    pub conditions: Vec<(&'static str, Answer)>,
    /// All conditions together.
    pub concerns: Answer,
}

impl Policy {
    /// This policy with a rule in place of all others that asks nobody for a second factor.
    pub fn with_nothing_asked(&self) -> Policy {
        Policy { rules: vec![Rule::for_everybody("nothing asked", Require::Off)], ..self.clone() }
    }

    /// The rule that has decided for certain.
    pub fn rule_of(&self, requirement: &Requirement) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.origin == requirement.rule)
    }

    /// The requirement for a login: the first rule that matches decides. If it is unknown whether a rule matches, it
    /// might be the first, so the strictest of all candidates decides.
    pub fn decide(&self, facts: &Facts, member: &mut dyn FnMut(Named) -> Answer) -> Requirement {
        self.decide_aloud(facts, member, &mut |_| {})
    }

    /// [`Policy::decide`], which also reports the evaluation of each rule up to the one that decides.
    pub fn decide_aloud(
        &self,
        facts: &Facts,
        member: &mut dyn FnMut(Named) -> Answer,
        say: &mut dyn FnMut(Considered),
    ) -> Requirement {
        let mut possible = Vec::new();
        let mut certain = false;
        let mut observed = None;
        for rule in &self.rules {
            if rule.expires.is_some_and(|end| facts.now >= end) {
                continue;
            }
            let conditions = rule.conditions(facts, member);
            let concerns = all(&conditions);
            say(Considered { rule, conditions, concerns });
            match (concerns, rule.mode) {
                (Answer::No, _) => {}
                (_, Mode::Observe) => {
                    let asked = rule.requirement(facts.now, "");
                    observed = observed.or(Some((asked.rule, asked.require)));
                }
                (Answer::Unknown, _) => possible.push(rule.requirement(facts.now, " (undecided)")),
                (Answer::Yes, _) => {
                    possible.push(rule.requirement(facts.now, ""));
                    certain = true;
                    break;
                }
            }
        }
        if !certain {
            possible.push(no_rule());
        }
        Requirement { observed, ..strictest(possible) }
    }

    /// The person or place to ask for help, as a refusal names it.
    pub fn contact(&self) -> &str {
        self.contact.as_deref().unwrap_or("an administrator")
    }

    /// The strictest requirement for `user` in any service, from any place.
    pub fn strictest_of(&self, user: &str, now: u64, member: &mut dyn FnMut(Named) -> Answer) -> Requirement {
        let asked = |service| self.decide(&Facts { user, service, place: Place::Unknown, now }, member);
        strictest(self.services().map(asked).collect())
    }

    /// The services that rules name, and the empty name, which no service has and so stands for all others.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let named = self.rules.iter().filter_map(|rule| rule.services.as_ref()).flatten().map(String::as_str);
        named.chain([""])
    }
}

/// No if one condition does not hold; otherwise unknown if one is unknown.
fn all(conditions: &[(&'static str, Answer)]) -> Answer {
    let is = |answer| conditions.iter().any(|(_, found)| *found == answer);
    if is(Answer::No) {
        Answer::No
    } else if is(Answer::Unknown) {
        Answer::Unknown
    } else {
        Answer::Yes
    }
}

impl Rule {
    /// The conditions that the rule has. The name service is asked last, and only if all others may hold.
    fn conditions(&self, facts: &Facts, member: &mut dyn FnMut(Named) -> Answer) -> Vec<(&'static str, Answer)> {
        let mut conditions = Vec::new();
        if let Some(services) = &self.services {
            let listed = services.iter().any(|service| service == facts.service);
            conditions.push(("services", if listed { Answer::Yes } else { Answer::No }));
        }
        if let Some(from) = &self.from {
            conditions.push(("from", facts.place.is_in(from)));
        }
        if all(&conditions) == Answer::No {
            return conditions;
        }
        let users = self.users.as_ref().map(|names| match names.iter().any(|name| name == facts.user) {
            true => Answer::Yes,
            false => self.other_spelling(any_spelling(names, facts.user, member), facts.now),
        });
        match (users, &self.groups) {
            (None, None) => {}
            (Some(answer @ Answer::Yes), _) | (Some(answer), None) => conditions.push(("users", answer)),
            (users, Some(groups)) => conditions.push(match (users, any_group(groups, member)) {
                (Some(Answer::Unknown), Answer::No) => ("users", Answer::Unknown),
                (_, answer) => ("groups", answer),
            }),
        }
        conditions
    }

    /// What it is worth that a name of this rule leads to the user without being the user's. A requirement follows it. An
    /// exemption does not: the name may have been a local account's that is gone, and lead to whom a directory calls so.
    fn other_spelling(&self, answer: Answer, now: u64) -> Answer {
        match answer {
            Answer::Yes if self.requirement(now, "").require != Require::Mfa => Answer::Unknown,
            answer => answer,
        }
    }

    /// Whether it has no condition at all.
    pub fn is_for_all(&self) -> bool {
        self.users.is_none() && self.groups.is_none() && self.services.is_none() && self.from.is_none()
    }

    /// The name of its file.
    pub fn file(&self) -> &str {
        self.origin.split(':').next().unwrap_or_default()
    }

    /// Whether `require --try` has written it, and nobody has confirmed it.
    pub fn is_on_trial(&self) -> bool {
        self.expires.is_some() && self.origin.starts_with(BY_COMMAND)
    }

    fn requirement(&self, now: u64, remark: &str) -> Requirement {
        let deadline = self.deadline.filter(|deadline| now < *deadline && self.require == Require::Mfa);
        // Until its deadline, a rule asks only users who have a device, as the default does.
        let require = if deadline.is_some() { Require::IfBound } else { self.require };
        let default = if require == Require::Mfa { SshKey::Deny } else { SshKey::Allow };
        Requirement {
            require,
            ssh_key: self.ssh_key.unwrap_or(default),
            enroll: self.enroll,
            kinds: self.kinds.clone(),
            deadline,
            remember: self.remember,
            sk_key: self.sk_key,
            rule: format!("{}{remark}", self.origin),
            observed: None,
        }
    }
}

fn any_group(groups: &[String], member: &mut dyn FnMut(Named) -> Answer) -> Answer {
    any(groups.iter().map(|group| Named::Group(group)), member)
}

/// A rule may have a thousand names, so the name service is asked only about those that could be another spelling of the
/// user's.
fn any_spelling(names: &[String], user: &str, member: &mut dyn FnMut(Named) -> Answer) -> Answer {
    any(names.iter().filter(|name| alike(name, user)).map(|name| Named::User(name)), member)
}

fn any<'a>(names: impl Iterator<Item = Named<'a>>, member: &mut dyn FnMut(Named) -> Answer) -> Answer {
    let mut answer = Answer::No;
    for name in names {
        match member(name) {
            Answer::Yes => return Answer::Yes,
            Answer::Unknown => answer = Answer::Unknown,
            Answer::No => {}
        }
    }
    answer
}

/// Whether two names differ at most in capital letters and in a domain (`DOM\alice`, `DOM+alice`, `alice@dom.example`).
/// Whether they are those of one user, only the name service can say.
pub fn alike(one: &str, other: &str) -> bool {
    let plain = |name| bare(name).chars().flat_map(char::to_lowercase);
    plain(one).eq(plain(other))
}

/// A name without its domain.
fn bare(name: &str) -> &str {
    let name = name.rsplit(['\\', '+']).next().unwrap_or_default();
    name.split('@').next().unwrap_or_default()
}

/// The default if no rule matches: users who have a device are asked for it.
fn no_rule() -> Requirement {
    Requirement {
        require: Require::IfBound,
        ssh_key: SshKey::Allow,
        enroll: Enroll::AtLogin,
        kinds: Kind::ALL.to_vec(),
        deadline: None,
        remember: None,
        sk_key: SkKey::Ignored,
        rule: String::from("none"),
        observed: None,
    }
}

/// The strictest of each attribute. `possible` is never empty.
fn strictest(possible: Vec<Requirement>) -> Requirement {
    let mut all = possible.into_iter();
    let first = all.next().unwrap_or_else(no_rule);
    all.fold(first, |so_far, next| {
        let require = so_far.require.max(next.require);
        let earliest = [so_far.deadline, next.deadline].into_iter().flatten().min();
        Requirement {
            require,
            ssh_key: so_far.ssh_key.max(next.ssh_key),
            enroll: so_far.enroll.max(next.enroll),
            kinds: so_far.kinds.into_iter().filter(|kind| next.kinds.contains(kind)).collect(),
            // A requirement that is already in force has no deadline.
            deadline: earliest.filter(|_| require != Require::Mfa),
            remember: so_far.remember.zip(next.remember).map(|(one, other)| one.min(other)),
            sk_key: so_far.sk_key.max(next.sk_key),
            // If several are equally strict, the first one is named.
            rule: if next.require > so_far.require { next.rule } else { so_far.rule },
            observed: None,
        }
    })
}

/// The name of the only rule of [`without_files`].
pub const NO_POLICY: &str = "no readable policy";

/// The policy if none can be read, neither the files in place nor a copy: a second factor for everybody, everywhere,
/// and only root gives out devices.
pub fn without_files() -> Policy {
    let rule = Rule { enroll: Enroll::ByAdmin, ..Rule::for_everybody(NO_POLICY, Require::Mfa) };
    // It is also not known who may change their own devices, so nobody may.
    Policy { rules: vec![rule], self_service: false, ..Policy::default() }
}

impl Rule {
    /// A rule without conditions.
    fn for_everybody(origin: &str, require: Require) -> Rule {
        Rule {
            origin: origin.to_owned(),
            users: None,
            groups: None,
            services: None,
            from: None,
            require,
            mode: Mode::Enforce,
            kinds: Kind::ALL.to_vec(),
            enroll: Enroll::AtLogin,
            deadline: None,
            expires: None,
            ssh_key: None,
            remember: None,
            sk_key: SkKey::Ignored,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            issuer: None,
            contact: None,
            lang: Lang::default(),
            totp: Parameters::DEFAULT,
            window: 1,
            u2f: U2f::default(),
            self_service: true,
            recovery_codes: 10,
            lockout: Lockout::default(),
            enroll_services: ["sshd", "login", "su", "su-l", "sudo", "sudo-i"].map(String::from).to_vec(),
            enroll_programs: Vec::new(),
            store: String::from("/var/lib/mfa"),
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(toml: &str) -> Policy {
        parse::parse(&[("mfa.toml".into(), toml.into())]).unwrap()
    }

    fn nobody(_: Named) -> Answer {
        Answer::No
    }

    fn require(policy: &Policy, user: &str, service: &str, member: impl Fn(Named) -> Answer) -> Require {
        policy.decide(&facts(user, service), &mut |name| member(name)).require
    }

    /// A member of this group and of no other.
    fn in_group(group: &'static str) -> impl Fn(Named) -> Answer {
        move |name| if name == Named::Group(group) { Answer::Yes } else { Answer::No }
    }

    const NOW: u64 = 1_800_000_000;

    fn facts<'a>(user: &'a str, service: &'a str) -> Facts<'a> {
        Facts { user, service, place: Place::Remote(Some("192.0.2.7")), now: NOW }
    }

    const RULES: &str = r#"
        [[rule]]
        users = ["robot"]
        require = "off"
        [[rule]]
        name = "admins"
        groups = ["wheel", "sudo"]
        services = ["sshd", "sudo"]
        require = "mfa"
    "#;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(RULES);
        let wheel = in_group("wheel");
        assert_eq!(require(&policy, "robot", "sshd", &wheel), Require::Off);
        assert_eq!(require(&policy, "alice", "sshd", &wheel), Require::Mfa);
        assert_eq!(require(&policy, "alice", "su", &wheel), Require::IfBound);
        assert_eq!(require(&policy, "bob", "sshd", nobody), Require::IfBound);
        let named = policy.decide(&facts("alice", "sshd"), &mut |g| wheel(g));
        assert_eq!(named.rule, "mfa.toml:5 admins");
        assert_eq!(named.ssh_key, SshKey::Deny, "where MFA is required a key alone does not do");
    }

    #[test]
    fn a_group_that_cannot_be_resolved_counts_as_strictest() {
        let policy = policy(RULES);
        let dead = |_: Named| Answer::Unknown;
        assert_eq!(require(&policy, "alice", "sshd", dead), Require::Mfa);
        assert_eq!(require(&policy, "robot", "sshd", dead), Require::Off, "an earlier certain rule decides");
        let both = |name: Named| if name == Named::Group("sudo") { Answer::Yes } else { Answer::Unknown };
        assert_eq!(require(&policy, "alice", "sshd", both), Require::Mfa);
    }

    #[test]
    fn another_spelling_of_a_user_is_asked_of_the_name_service_and_no_other_name() {
        let mut names: Vec<String> = (0..1000).map(|n| format!("\"user{n}\"")).collect();
        names.extend([r#""ADALICE", "CORP\\adalice", "CORP+AdAlice", "adalice@corp.example", "ÄDALICE""#.into()]);
        let policy = policy(&format!("[[rule]]\nusers = [{}]\nrequire = \"mfa\"\n", names.join(", ")));
        let asked = |user: &str, answer| {
            let mut asked = Vec::new();
            let require = policy.decide(&facts(user, "sshd"), &mut |name| {
                asked.push(format!("{name:?}"));
                answer
            });
            (require.require, asked.len())
        };
        assert_eq!(asked("adalice", Answer::Yes), (Require::Mfa, 1));
        assert_eq!(asked("adalice", Answer::No), (Require::IfBound, 4));
        assert_eq!(asked("adalice", Answer::Unknown), (Require::Mfa, 4), "the strictest");
        assert_eq!(asked("ADALICE", Answer::No), (Require::Mfa, 0), "as it is written");
        assert_eq!(asked("ädalice", Answer::Yes), (Require::Mfa, 1));
        assert_eq!(asked("user7", Answer::No), (Require::Mfa, 0));
        assert_eq!(asked("bob", Answer::Yes), (Require::IfBound, 0));
    }

    /// A local robot is gone, and a directory with a default domain calls another account so.
    #[test]
    fn another_spelling_of_a_user_exempts_nobody() {
        let decided = |rule: &str, user: &str| {
            let everybody = "[[rule]]\nrequire = \"mfa\"\nremember = \"1h\"\n";
            let policy = policy(&format!("[[rule]]\nusers = [\"robot\"]\n{rule}\n{everybody}"));
            let decided = policy.decide(&facts(user, "sshd"), &mut |_| Answer::Yes);
            (decided.require, decided.rule)
        };
        let deadline = "require = \"mfa\"\ndeadline = \"2037-01-31\"";
        for (rule, expected) in [
            ("require = \"off\"", Require::Off),
            ("require = \"if-bound\"", Require::IfBound),
            (deadline, Require::IfBound),
        ] {
            assert_eq!(decided(rule, "robot"), (expected, "mfa.toml:1".into()), "{rule}");
            assert_eq!(decided(rule, "robot@dom.example").0, Require::Mfa, "{rule}");
        }
        let required = decided("require = \"mfa\"", "robot@dom.example");
        assert_eq!(required, (Require::Mfa, "mfa.toml:1".into()), "a rule that requires holds for certain");
        let policy = policy("[[rule]]\nusers = [\"robot\"]\nrequire = \"off\"\n");
        let decided = policy.decide(&facts("ROBOT", "sshd"), &mut |_| Answer::Yes);
        assert_eq!(decided.require, Require::IfBound, "as without a rule");
    }

    #[test]
    fn a_user_who_may_be_named_and_a_group_are_one_condition() {
        let policy = policy("[[rule]]\nusers = [\"BOB\"]\ngroups = [\"staff\"]\nrequire = \"mfa\"\n");
        let told = |named, group| {
            let mut told = Vec::new();
            let answers = &mut |name: Named| if matches!(name, Named::User(_)) { named } else { group };
            policy.decide_aloud(&facts("bob", "sshd"), answers, &mut |rule| told.extend(rule.conditions));
            told
        };
        assert_eq!(told(Answer::Yes, Answer::No), [("users", Answer::Yes)]);
        assert_eq!(told(Answer::Unknown, Answer::No), [("users", Answer::Unknown)]);
        assert_eq!(told(Answer::Unknown, Answer::Yes), [("groups", Answer::Yes)]);
        assert_eq!(told(Answer::No, Answer::Unknown), [("groups", Answer::Unknown)]);
    }

    #[test]
    fn an_undecided_exemption_exempts_nobody() {
        let policy = policy(
            r#"
            [[rule]]
            groups = ["robots"]
            require = "off"
            [[rule]]
            require = "mfa"
            ssh_key = "allow"
            "#,
        );
        assert_eq!(require(&policy, "alice", "sshd", |_| Answer::Unknown), Require::Mfa);
        assert_eq!(require(&policy, "alice", "sshd", |_| Answer::Yes), Require::Off);
    }

    #[test]
    fn an_undecided_exemption_before_no_other_rule_exempts_nobody() {
        let policy = policy("[[rule]]\ngroups = [\"robots\"]\nrequire = \"off\"\n");
        assert_eq!(require(&policy, "alice", "sshd", |_| Answer::Unknown), Require::IfBound);
    }

    #[test]
    fn an_undecided_rule_is_strict_attribute_by_attribute() {
        let policy = policy(
            r#"
            [[rule]]
            groups = ["dead"]
            require = "if-bound"
            ssh_key = "deny"
            [[rule]]
            require = "mfa"
            ssh_key = "allow"
            "#,
        );
        let asked = policy.decide(&facts("alice", "sshd"), &mut |_| Answer::Unknown);
        assert_eq!((asked.require, asked.ssh_key), (Require::Mfa, SshKey::Deny));
    }

    #[test]
    fn required_somewhere_is_required() {
        let policy = policy(RULES);
        let required = |user, member: &mut dyn FnMut(Named) -> Answer| {
            policy.strictest_of(user, NOW, member).require == Require::Mfa
        };
        assert!(required("alice", &mut |_| Answer::Yes));
        assert!(!required("robot", &mut |_| Answer::Yes));
        assert!(!required("bob", &mut nobody));
    }

    #[test]
    fn without_any_policy_everybody_is_required() {
        assert_eq!(require(&without_files(), "root", "login", nobody), Require::Mfa);
    }

    #[test]
    fn a_rule_for_a_network_concerns_who_comes_from_there() {
        let policy = policy("[[rule]]\nfrom = [\"10.0.0.0/8\"]\nrequire = \"off\"\n[[rule]]\nrequire = \"mfa\"\n");
        let from = |place| policy.decide(&Facts { place, ..facts("alice", "sshd") }, &mut nobody).require;
        assert_eq!(from(Place::Remote(Some("10.1.2.3"))), Require::Off);
        assert_eq!(from(Place::Remote(Some("192.0.2.7"))), Require::Mfa);
        assert_eq!(from(Place::Remote(Some("trusted.example"))), Require::Mfa, "a name is no address");
        assert_eq!(from(Place::Remote(None)), Require::Mfa, "sudo inside ssh");
        assert_eq!(from(Place::Unknown), Require::Mfa);
    }

    #[test]
    fn a_rule_that_observes_decides_nothing_and_is_named() {
        let policy =
            policy("[[rule]]\nname = \"trial\"\nmode = \"observe\"\nrequire = \"mfa\"\n[[rule]]\nrequire = \"off\"\n");
        let asked = policy.decide(&facts("alice", "sshd"), &mut nobody);
        assert_eq!(asked.require, Require::Off);
        assert_eq!(asked.observed, Some((String::from("mfa.toml:1 trial"), Require::Mfa)));
    }

    #[test]
    fn until_its_deadline_a_rule_reminds_and_from_then_on_it_requires() {
        let policy = policy("[[rule]]\nrequire = \"mfa\"\ndeadline = \"2027-01-31\"\n");
        let at = |now| {
            let asked = policy.decide(&Facts { now, ..facts("alice", "sshd") }, &mut nobody);
            (asked.require, asked.ssh_key, asked.deadline)
        };
        const DEADLINE: u64 = 1_801_353_600;
        assert_eq!(at(DEADLINE - 1), (Require::IfBound, SshKey::Allow, Some(DEADLINE)));
        assert_eq!(at(DEADLINE), (Require::Mfa, SshKey::Deny, None));
    }

    #[test]
    fn a_rule_that_has_expired_is_not_there() {
        let policy = policy("[[rule]]\nrequire = \"mfa\"\nexpires = \"2027-01-31T10:00:00Z\"\n");
        let at = |now| policy.decide(&Facts { now, ..facts("alice", "sshd") }, &mut nobody).require;
        const END: u64 = 1_801_389_600;
        assert_eq!(at(END - 1), Require::Mfa);
        assert_eq!(at(END), Require::IfBound);
    }

    #[test]
    fn the_strictest_way_to_a_device_and_the_kinds_that_all_allow() {
        let policy = policy(
            "[[rule]]\ngroups = [\"dead\"]\nrequire = \"mfa\"\nenroll = \"invited\"\nkinds = [\"totp\"]\n\
             [[rule]]\nrequire = \"mfa\"\ndeadline = \"2030-01-01\"\n",
        );
        let asked = policy.decide(&facts("alice", "sshd"), &mut |_| Answer::Unknown);
        assert_eq!((asked.require, asked.enroll, asked.deadline), (Require::Mfa, Enroll::Invited, None));
        assert_eq!(asked.kinds, [Kind::Totp]);
        let asked = policy.decide(&facts("alice", "sshd"), &mut nobody);
        assert_eq!(asked.require, Require::IfBound);
    }

    #[test]
    fn it_is_remembered_only_where_all_rules_say_so_and_for_the_shortest_time() {
        let first = |line: &str| format!("[[rule]]\ngroups = [\"dead\"]\nrequire = \"mfa\"\n{line}\n");
        let remember = |first: String, second: &str| {
            let text = format!("{first}[[rule]]\nrequire = \"if-bound\"\n{second}");
            let policy = policy(&text);
            let of = |answer| policy.decide(&facts("alice", "sshd"), &mut |_| answer).remember;
            [of(Answer::Yes), of(Answer::No), of(Answer::Unknown)]
        };
        let hours = |n: u64| Some(n * 3600);
        assert_eq!(remember(first("remember = \"8h\""), "remember = \"2h\""), [hours(8), hours(2), hours(2)]);
        assert_eq!(remember(first("remember = \"8h\""), ""), [hours(8), None, None]);
        assert_eq!(remember(first(""), "remember = \"2h\""), [None, hours(2), None]);
        let alone = policy(&first("remember = \"8h\""));
        assert_eq!(alone.decide(&facts("alice", "sshd"), &mut |_| Answer::Unknown).remember, None, "no rule says so");
    }

    #[test]
    fn each_rule_is_told_with_its_conditions_up_to_the_one_that_decides() {
        let policy = policy(RULES);
        let mut told = Vec::new();
        policy.decide_aloud(&facts("alice", "sudo"), &mut in_group("wheel"), &mut |rule| {
            told.push((rule.rule.origin.clone(), rule.conditions, rule.concerns));
        });
        let expected = [
            (String::from("mfa.toml:2"), vec![("users", Answer::No)], Answer::No),
            (String::from("mfa.toml:5 admins"), vec![("services", Answer::Yes), ("groups", Answer::Yes)], Answer::Yes),
        ];
        assert_eq!(told, expected);
    }
}
