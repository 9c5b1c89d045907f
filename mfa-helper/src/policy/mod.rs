//! Who must prove what, and where: rules from files that root wrote.
//!
//! Pure: facts of a login in, a requirement out, with the rule that decided. Reading the files is
//! [`files`]' business.

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

/// What a rule asks for, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Nothing, even of who has a device.
    Off,
    /// The device, of who has one.
    IfBound,
    /// The device, of everybody.
    Mfa,
}

impl Require {
    /// As mfa.toml says it.
    pub fn word(self) -> &'static str {
        match self {
            Require::Off => "off",
            Require::IfBound => "if-bound",
            Require::Mfa => "mfa",
        }
    }
}

/// What an ssh key (or GSSAPI, or a trusted host) alone is worth, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshKey {
    /// Enough.
    Allow,
    /// Not enough.
    Deny,
}

/// How who is required and has no device comes to one, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enroll {
    /// Led through it inside the login.
    AtLogin,
    /// The same, by who has an invitation code.
    Invited,
    /// By root.
    ByAdmin,
}

/// Whether a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It only says in the log what it would have asked.
    Observe,
}

/// What a bound `sk` key is worth that sshd has accepted before, the weaker first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkKey {
    /// The second factor, while sshd demands a touch.
    Counts,
    /// A key like any other.
    #[default]
    Ignored,
}

/// The table `[u2f]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U2f {
    /// For new bindings; absent: `pam://` and the host's name.
    pub rp_id: Option<String>,
    /// Whether a key asks for its PIN.
    pub pin: Pin,
    /// How long a key is waited for, in seconds.
    pub timeout: u64,
    /// Terminals without a seat at which a person sits in front of this host's own USB ports, as `/dev` names them.
    pub consoles: Vec<String>,
    /// The models that may be bound; empty: all.
    pub aaguids: Vec<[u8; 16]>,
}

impl Default for U2f {
    fn default() -> U2f {
        U2f { rp_id: None, pin: Pin::IfSet, timeout: 30, consoles: Vec::new(), aaguids: Vec::new() }
    }
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// File, line and name, for logs.
    pub origin: String,
    /// Whom it concerns: listed here or in a listed group. Both absent: everybody.
    pub users: Option<Vec<String>>,
    /// See `users`.
    pub groups: Option<Vec<String>>,
    /// The PAM services it concerns; absent: all.
    pub services: Option<Vec<String>>,
    /// From where; absent: from everywhere.
    pub from: Option<Vec<From>>,
    /// What it asks for.
    pub require: Require,
    /// Whether it decides.
    pub mode: Mode,
    /// With which kinds of device.
    pub kinds: Vec<Kind>,
    /// How a device is come by.
    pub enroll: Enroll,
    /// Until then who has no device is reminded only, in seconds since 1970.
    pub deadline: Option<u64>,
    /// From then on it is not there, in seconds since 1970.
    pub expires: Option<u64>,
    /// What a key alone is worth; absent: not enough where MFA is required, otherwise enough.
    pub ssh_key: Option<SshKey>,
    /// For so many seconds the device is not asked again after a code; absent: it always is.
    pub remember: Option<u64>,
    /// What a bound `sk` key is worth that sshd has accepted before.
    pub sk_key: SkKey,
}

/// Everything that `mfa.toml` and its drop-ins say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name that the app shows; absent: the short host name.
    pub issuer: Option<String>,
    /// Of prompts and of what stands beside them.
    pub lang: Lang,
    /// For new authenticator apps.
    pub totp: Parameters,
    /// Steps accepted before and after the present one.
    pub window: u64,
    /// For security keys.
    pub u2f: U2f,
    /// Whether users may change their own devices.
    pub self_service: bool,
    /// How many recovery codes a set has; 0 for none.
    pub recovery_codes: u64,
    /// What wrong codes cost.
    pub lockout: Lockout,
    /// Services that can hold the dialogue of binding, and have an account phase.
    pub enroll_services: Vec<String>,
    /// Programs, by the names of their files, that are believed to hold all phases of a login beside those that are known
    /// to.
    pub enroll_programs: Vec<String>,
    /// Where the store is.
    pub store: String,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// A login, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The user, as the name service spells it.
    pub user: &'a str,
    /// The PAM service.
    pub service: &'a str,
    /// From where.
    pub place: Place<'a>,
    /// Seconds since 1970.
    pub now: u64,
}

/// What policy asks of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The second factor.
    pub require: Require,
    /// What a key alone is worth.
    pub ssh_key: SshKey,
    /// How a device is come by.
    pub enroll: Enroll,
    /// With which kinds of device.
    pub kinds: Vec<Kind>,
    /// Not required yet, but from then on, in seconds since 1970.
    pub deadline: Option<u64>,
    /// For so many seconds the device is not asked again after a code.
    pub remember: Option<u64>,
    /// What a bound `sk` key is worth that sshd has accepted before.
    pub sk_key: SkKey,
    /// The rule that decided, for logs.
    pub rule: String,
    /// The first rule that would have decided, were it not for observing only, and what it would have asked.
    pub observed: Option<(String, Require)>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Cannot be told: the name service failed, or knows no such group; the host has a name and no address.
    Unknown,
}

/// What was found out about one rule, in the order in which rules are tried.
pub struct Considered<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its conditions by their keys, as far as they are there.
    pub conditions: Vec<(&'static str, Answer)>,
    /// All of them together.
    pub concerns: Answer,
}

impl Policy {
    /// What is asked of a login: the first rule that matches decides. A rule whose match cannot be decided
    /// might be the first, so the strictest of all that might be decides.
    pub fn decide(&self, facts: &Facts, member: &mut dyn FnMut(&str) -> Answer) -> Requirement {
        self.decide_aloud(facts, member, &mut |_| {})
    }

    /// The same, and says what was found out about each rule up to the one that decides.
    pub fn decide_aloud(
        &self,
        facts: &Facts,
        member: &mut dyn FnMut(&str) -> Answer,
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

    /// The strictest that is asked of `user` in any service, from anywhere.
    pub fn strictest_of(&self, user: &str, now: u64, member: &mut dyn FnMut(&str) -> Answer) -> Requirement {
        let asked = |service| self.decide(&Facts { user, service, place: Place::Unknown, now }, member);
        strictest(self.services().map(asked).collect())
    }

    /// The services that rules name, and the empty name: no service has it, so it stands for all others.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let named = self.rules.iter().filter_map(|rule| rule.services.as_ref()).flatten().map(String::as_str);
        named.chain([""])
    }
}

/// No where one does not hold; else unknown where one is.
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
    /// Those that are there. The name service is asked last, and only where all others could hold.
    fn conditions(&self, facts: &Facts, member: &mut dyn FnMut(&str) -> Answer) -> Vec<(&'static str, Answer)> {
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
        let listed = self.users.iter().flatten().any(|name| name == facts.user);
        match (&self.users, &self.groups) {
            (None, None) => {}
            (Some(_), _) if listed => conditions.push(("users", Answer::Yes)),
            (Some(_), None) => conditions.push(("users", Answer::No)),
            (_, Some(groups)) => conditions.push(("groups", any_group(groups, member))),
        }
        conditions
    }

    /// Whether it has no condition at all.
    pub fn is_for_all(&self) -> bool {
        self.users.is_none() && self.groups.is_none() && self.services.is_none() && self.from.is_none()
    }

    fn requirement(&self, now: u64, remark: &str) -> Requirement {
        let deadline = self.deadline.filter(|deadline| now < *deadline && self.require == Require::Mfa);
        // Until its deadline a rule asks who has a device, as no rule does.
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

fn any_group(groups: &[String], member: &mut dyn FnMut(&str) -> Answer) -> Answer {
    let mut answer = Answer::No;
    for group in groups {
        match member(group) {
            Answer::Yes => return Answer::Yes,
            Answer::Unknown => answer = Answer::Unknown,
            Answer::No => {}
        }
    }
    answer
}

/// Without a rule: who has a device is asked for it.
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

/// Attribute by attribute. `possible` is never empty.
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
            // What is required already has no deadline any more.
            deadline: earliest.filter(|_| require != Require::Mfa),
            remember: so_far.remember.zip(next.remember).map(|(one, other)| one.min(other)),
            sk_key: so_far.sk_key.max(next.sk_key),
            // The first of the strictest is the one to name.
            rule: if next.require > so_far.require { next.rule } else { so_far.rule },
            observed: None,
        }
    })
}

/// The rule that holds then.
pub const NO_POLICY: &str = "no readable policy";

/// What holds when no policy can be had at all, neither the one in place nor an earlier one: a second
/// factor of everybody, everywhere, and nobody comes to a device but by root.
pub fn without_files() -> Policy {
    let rule = Rule { enroll: Enroll::ByAdmin, ..Rule::for_everybody(NO_POLICY, Require::Mfa) };
    // Who may change their devices is not known either.
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

    fn nobody(_: &str) -> Answer {
        Answer::No
    }

    fn require(policy: &Policy, user: &str, service: &str, member: impl Fn(&str) -> Answer) -> Require {
        policy.decide(&facts(user, service), &mut |group| member(group)).require
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
        let wheel = |group: &str| if group == "wheel" { Answer::Yes } else { Answer::No };
        assert_eq!(require(&policy, "robot", "sshd", wheel), Require::Off);
        assert_eq!(require(&policy, "alice", "sshd", wheel), Require::Mfa);
        assert_eq!(require(&policy, "alice", "su", wheel), Require::IfBound);
        assert_eq!(require(&policy, "bob", "sshd", nobody), Require::IfBound);
        let named = policy.decide(&facts("alice", "sshd"), &mut |g| wheel(g));
        assert_eq!(named.rule, "mfa.toml:5 admins");
        assert_eq!(named.ssh_key, SshKey::Deny, "where MFA is required a key alone does not do");
    }

    #[test]
    fn a_group_that_cannot_be_resolved_counts_as_strictest() {
        let policy = policy(RULES);
        let dead = |_: &str| Answer::Unknown;
        assert_eq!(require(&policy, "alice", "sshd", dead), Require::Mfa);
        assert_eq!(require(&policy, "robot", "sshd", dead), Require::Off, "an earlier certain rule decides");
        let both = |group: &str| if group == "sudo" { Answer::Yes } else { Answer::Unknown };
        assert_eq!(require(&policy, "alice", "sshd", both), Require::Mfa);
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
        let required = |user, member: &mut dyn FnMut(&str) -> Answer| {
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
        let wheel = &mut |group: &str| if group == "wheel" { Answer::Yes } else { Answer::No };
        policy.decide_aloud(&facts("alice", "sudo"), wheel, &mut |rule| {
            told.push((rule.rule.origin.clone(), rule.conditions, rule.concerns));
        });
        let expected = [
            (String::from("mfa.toml:2"), vec![("users", Answer::No)], Answer::No),
            (String::from("mfa.toml:5 admins"), vec![("services", Answer::Yes), ("groups", Answer::Yes)], Answer::Yes),
        ];
        assert_eq!(told, expected);
    }
}
