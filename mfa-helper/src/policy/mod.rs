//! Who must prove what, and where: rules from files that root wrote.
//!
//! Pure: facts of a login in, a requirement out, with the rule that decided. Reading the files is
//! [`files`]' business.

pub mod files;
mod parse;

use serde::Deserialize;

use crate::factor::totp::Parameters;
use crate::lockout::Lockout;

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

/// What an ssh key (or GSSAPI, or a trusted host) alone is worth, the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshKey {
    /// Enough.
    Allow,
    /// Not enough.
    Deny,
}

impl SshKey {
    /// What a rule that does not say means: where MFA is required, a key alone does not do.
    fn default_for(require: Require) -> SshKey {
        if require == Require::Mfa { SshKey::Deny } else { SshKey::Allow }
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
    /// What it asks for.
    pub require: Require,
    /// What a key alone is worth.
    pub ssh_key: SshKey,
}

/// Everything that `mfa.toml` and its drop-ins say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name that the app shows; absent: the short host name.
    pub issuer: Option<String>,
    /// For new authenticator apps.
    pub totp: Parameters,
    /// Steps accepted before and after the present one.
    pub window: u64,
    /// Whether users may change their own devices.
    pub self_service: bool,
    /// How many recovery codes a set has; 0 for none.
    pub recovery_codes: u64,
    /// What wrong codes cost.
    pub lockout: Lockout,
    /// Where the store is.
    pub store: String,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
}

/// What policy asks of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The second factor.
    pub require: Require,
    /// What a key alone is worth.
    pub ssh_key: SshKey,
    /// The rule that decided, for logs.
    pub rule: String,
}

/// Whether a user belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Belongs.
    Yes,
    /// Does not.
    No,
    /// Cannot be told: the name service failed, or knows no such group.
    Unknown,
}

impl Policy {
    /// What is asked of `user` in `service`: the first rule that matches decides. A rule whose match
    /// cannot be decided might be the first, so the strictest of all that might be decides.
    pub fn decide(&self, user: &str, service: &str, member: &mut dyn FnMut(&str) -> Member) -> Requirement {
        let mut possible = Vec::new();
        let mut certain = false;
        for rule in &self.rules {
            match rule.concerns(user, service, member) {
                Member::No => continue,
                Member::Unknown => possible.push(rule.requirement(" (undecided)")),
                Member::Yes => {
                    possible.push(rule.requirement(""));
                    certain = true;
                    break;
                }
            }
        }
        if !certain {
            possible.push(no_rule());
        }
        strictest(possible)
    }

    /// Whether some service asks a second factor of `user` even without a device.
    pub fn requires_of(&self, user: &str, member: &mut dyn FnMut(&str) -> Member) -> bool {
        let named = self.rules.iter().filter_map(|rule| rule.services.as_ref()).flatten().map(String::as_str);
        // No service has an empty name, so it stands for all that no rule names.
        named.chain([""]).any(|service| self.decide(user, service, member).require == Require::Mfa)
    }
}

impl Rule {
    fn concerns(&self, user: &str, service: &str, member: &mut dyn FnMut(&str) -> Member) -> Member {
        if self.services.as_ref().is_some_and(|services| !services.iter().any(|s| s == service)) {
            return Member::No;
        }
        if self.users.is_none() && self.groups.is_none() {
            return Member::Yes;
        }
        if self.users.iter().flatten().any(|name| name == user) {
            return Member::Yes;
        }
        let mut answer = Member::No;
        for group in self.groups.iter().flatten() {
            match member(group) {
                Member::Yes => return Member::Yes,
                Member::Unknown => answer = Member::Unknown,
                Member::No => {}
            }
        }
        answer
    }

    fn requirement(&self, remark: &str) -> Requirement {
        Requirement { require: self.require, ssh_key: self.ssh_key, rule: format!("{}{remark}", self.origin) }
    }
}

/// Without a rule: who has a device is asked for it.
fn no_rule() -> Requirement {
    Requirement { require: Require::IfBound, ssh_key: SshKey::Allow, rule: String::from("none") }
}

/// Attribute by attribute. `possible` is never empty.
fn strictest(possible: Vec<Requirement>) -> Requirement {
    let mut all = possible.into_iter();
    let first = all.next().unwrap_or_else(no_rule);
    all.fold(first, |so_far, next| Requirement {
        ssh_key: so_far.ssh_key.max(next.ssh_key),
        // The first of the strictest is the one to name.
        rule: if next.require > so_far.require { next.rule } else { so_far.rule },
        require: so_far.require.max(next.require),
    })
}

/// What holds when no policy can be had at all, neither the one in place nor an earlier one: a second
/// factor of everybody, everywhere.
pub fn without_files() -> Policy {
    let rule = Rule {
        origin: String::from("no readable policy"),
        users: None,
        groups: None,
        services: None,
        require: Require::Mfa,
        ssh_key: SshKey::Deny,
    };
    // Who may change their devices is not known either.
    Policy { rules: vec![rule], self_service: false, ..Policy::default() }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            issuer: None,
            totp: Parameters::DEFAULT,
            window: 1,
            self_service: true,
            recovery_codes: 10,
            lockout: Lockout::default(),
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

    fn nobody(_: &str) -> Member {
        Member::No
    }

    fn require(policy: &Policy, user: &str, service: &str, member: impl Fn(&str) -> Member) -> Require {
        policy.decide(user, service, &mut |group| member(group)).require
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
        let wheel = |group: &str| if group == "wheel" { Member::Yes } else { Member::No };
        assert_eq!(require(&policy, "robot", "sshd", wheel), Require::Off);
        assert_eq!(require(&policy, "alice", "sshd", wheel), Require::Mfa);
        assert_eq!(require(&policy, "alice", "su", wheel), Require::IfBound);
        assert_eq!(require(&policy, "bob", "sshd", nobody), Require::IfBound);
        let named = policy.decide("alice", "sshd", &mut |g| wheel(g));
        assert_eq!(named.rule, "mfa.toml:5 admins");
        assert_eq!(named.ssh_key, SshKey::Deny, "where MFA is required a key alone does not do");
    }

    #[test]
    fn a_group_that_cannot_be_resolved_counts_as_strictest() {
        let policy = policy(RULES);
        let dead = |_: &str| Member::Unknown;
        assert_eq!(require(&policy, "alice", "sshd", dead), Require::Mfa);
        assert_eq!(require(&policy, "robot", "sshd", dead), Require::Off, "an earlier certain rule decides");
        let both = |group: &str| if group == "sudo" { Member::Yes } else { Member::Unknown };
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
        assert_eq!(require(&policy, "alice", "sshd", |_| Member::Unknown), Require::Mfa);
        assert_eq!(require(&policy, "alice", "sshd", |_| Member::Yes), Require::Off);
    }

    #[test]
    fn an_undecided_exemption_before_no_other_rule_exempts_nobody() {
        let policy = policy("[[rule]]\ngroups = [\"robots\"]\nrequire = \"off\"\n");
        assert_eq!(require(&policy, "alice", "sshd", |_| Member::Unknown), Require::IfBound);
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
        let asked = policy.decide("alice", "sshd", &mut |_| Member::Unknown);
        assert_eq!((asked.require, asked.ssh_key), (Require::Mfa, SshKey::Deny));
    }

    #[test]
    fn required_somewhere_is_required() {
        let policy = policy(RULES);
        assert!(policy.requires_of("alice", &mut |_| Member::Yes));
        assert!(!policy.requires_of("robot", &mut |_| Member::Yes));
        assert!(!policy.requires_of("bob", &mut nobody));
    }

    #[test]
    fn without_any_policy_everybody_is_required() {
        assert_eq!(require(&without_files(), "root", "login", nobody), Require::Mfa);
    }
}
