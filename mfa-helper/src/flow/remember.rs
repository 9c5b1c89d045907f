//! Remembered logins: after a code, and where the rule says so, the device is not asked again for a while.

use std::net::IpAddr;

use data_encoding::BASE64;
use mfa_core::remembered::{Memory, Origin};
use mfa_core::view::View;
use mfa_wire::{Login, Outcome};
use sha2::{Digest, Sha256};

use super::{Decision, news};
use crate::host::Host;
use crate::lang::{Lang, duration};
use crate::policy::{Require, Requirement, place};

/// In place of the device, as the log says it.
pub const REMEMBERED: &str = "remembered";

/// What is remembered of this login. A later login has to be equal in all of it.
///
/// `None` if the caller is the user's own process: it can claim anything about the login. `None` also if the first
/// factor may still be wrong: a login that is not asked for a code would tell a stranger that there is a device.
pub fn memory(asked: &Requirement, login: &Login, host: &Host) -> Option<Memory> {
    let seconds = asked.remember.filter(|_| host.caller_is_root && login.stack_complete)?;
    let source = match source_of(login) {
        Source::Address(address) => address,
        // A code given to su in another user's session is not remembered there.
        Source::AuditSession if login.ruser.as_ref().is_some_and(|ruser| *ruser != login.user) => return None,
        Source::AuditSession => format!("session:{}", host.caller_audit_session.as_ref()?),
        Source::Nowhere => return None,
    };
    let key = key(login.ssh_auth_info.as_deref()).ok()?;
    Some(Memory { origin: Origin::new(&login.service, &source, key.as_ref())?, seconds })
}

/// The decision of a remembered login that covers this one, if there is one that lets in without a question.
pub fn lets_in(memory: &Memory, view: &View, now: u64) -> Option<Decision> {
    // A clock that was set back would make old remembered logins young.
    if view.last_used > now {
        return None;
    }
    // A user who has to be told something is asked even so, because the prompt tells it.
    if news::since_the_last_login(view, now, Lang::En).is_some() {
        return None;
    }
    let remembered = memory.find(&view.remembered, now)?;
    let reason = format!("remembered login {}", remembered.id());
    Some(Decision::new(Outcome::Accepted, "", reason).by_factor(REMEMBERED))
}

/// Where a login comes from, as far as it can be remembered.
enum Source {
    Address(String),
    AuditSession,
    Nowhere,
}

fn source_of(login: &Login) -> Source {
    match login.rhost.as_deref().filter(|host| !host.is_empty()) {
        // A link-local address is another host's on another link.
        Some(host) if host.contains('%') => Source::Nowhere,
        // An attacker can choose a name by reverse lookup. Anybody may come from a loopback address, by a tunnel or a
        // proxy on this host.
        Some(host) => match place::address(host).filter(|address| !is_of_no_client(address)) {
            Some(address) => Source::Address(address.to_string()),
            None => Source::Nowhere,
        },
        // A login over the network is in the session of the user that has started the server.
        None if login.came_by_sshd() => Source::Nowhere,
        None => Source::AuditSession,
    }
}

fn is_of_no_client(address: &IpAddr) -> bool {
    let of_a_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    of_a_link || address.is_loopback() || address.is_unspecified()
}

/// It is unknown by which methods this login has come so far.
struct Unknown;

/// The fingerprint of the ssh key that sshd has accepted before it asks us, if it has accepted one and nothing else.
fn key(ssh_auth_info: Option<&str>) -> Result<Option<[u8; 32]>, Unknown> {
    let info = ssh_auth_info.unwrap_or_default();
    if info.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = info.trim_end_matches('\n').split(' ').collect();
    let ["publickey", _, blob] = words[..] else { return Err(Unknown) };
    let blob = BASE64.decode(blob.as_bytes()).map_err(|_| Unknown)?;
    Ok(Some(Sha256::digest(blob).into()))
}

/// What `policy explain` says of it.
pub fn explained(asked: &Requirement, login: &Login) -> String {
    let Some(seconds) = asked.remember.filter(|_| asked.require != Require::Off) else { return String::from("no") };
    let time = duration(seconds);
    match source_of(login) {
        Source::Address(address) => format!("for {time} after a code, from {address} again"),
        Source::AuditSession => format!("for {time} after a code, in the same session of a terminal"),
        Source::Nowhere if login.rhost.is_none() => format!("for {time} after a code, from the same address"),
        Source::Nowhere => String::from("no: this is no literal address of a client"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::files::Loaded;
    use crate::policy::place::Place as From;
    use crate::policy::{Answer, Facts, Policy, parse};
    use mfa_core::remembered::RememberedLogins;

    const NOW: u64 = 1_800_000_000;

    /// The blob is "key".
    const KEY: &str = "publickey ssh-ed25519 a2V5\n";

    fn host(session: Option<&str>) -> Host {
        Host {
            now: || NOW,
            random: crate::host::random,
            synchronised: || true,
            caller_is_root: true,
            caller_is_at: crate::session::Whereabouts::Elsewhere,
            caller_pid: 0,
            caller_audit_session: session.map(str::to_owned),
            in_service: false,
            loaded: Loaded { policy: Policy::default(), error: None, young: None },
        }
    }

    fn asked(remember: &str) -> Requirement {
        let text = format!("[[rule]]\nrequire = \"mfa\"\n{remember}\n");
        let policy = parse::parse(&[("mfa.toml".into(), text)]).unwrap();
        let facts = Facts { user: "alice", service: "sshd", place: From::Unknown, now: NOW };
        policy.decide(&facts, &mut |_| Answer::No)
    }

    fn login(service: &str, rhost: Option<&str>, info: Option<&str>) -> Login {
        Login {
            rhost: rhost.map(str::to_owned),
            ssh_auth_info: info.map(str::to_owned),
            stack_complete: true,
            ..Login::at("alice", service)
        }
    }

    fn origin(login: &Login, host: &Host) -> Option<Origin> {
        memory(&asked("remember = \"8h\""), login, host).map(|memory| memory.origin)
    }

    fn from(rhost: &str) -> Option<String> {
        origin(&login("vsftpd", Some(rhost), None), &host(Some("3:boot"))).map(|origin| origin.source().to_owned())
    }

    #[test]
    fn an_address_is_bound_to_in_one_spelling_and_no_name_and_no_link_ever() {
        assert_eq!(from("192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(from("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(from("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        for named in
            ["trusted.example", "localhost", "192.0.2.7.example", "fe80::1%eth0", "session:3:boot", "UNKNOWN", "0"]
        {
            assert_eq!(from(named), None, "{named}");
        }
        for nobodys in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.7.7", "fe80::1"]
        {
            assert_eq!(from(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn without_an_address_it_is_the_audit_session_and_never_that_of_a_server() {
        let source = |login: &Login, session| origin(login, &host(session)).map(|origin| origin.source().to_owned());
        for rhost in [None, Some("")] {
            let sudo = login("sudo", rhost, None);
            assert_eq!(source(&sudo, Some("3:boot")).as_deref(), Some("session:3:boot"));
            assert_eq!(source(&sudo, None), None);
            assert!(source(&Login { ruser: Some("alice".into()), ..sudo.clone() }, Some("3:boot")).is_some());
            assert_eq!(source(&Login { ruser: Some("bob".into()), ..sudo }, Some("3:boot")), None, "su");
            assert_eq!(source(&login("sshd", rhost, None), Some("3:boot")), None);
            assert_eq!(source(&login("doorway", rhost, Some("")), Some("3:boot")), None, "sshd by another name");
        }
    }

    #[test]
    fn a_key_is_bound_to_and_other_methods_are_not_remembered() {
        let key = |info| origin(&login("sshd", Some("192.0.2.7"), info), &host(None)).map(|origin| origin.key());
        assert_eq!((key(None), key(Some(""))), (Some(None), Some(None)));
        let fingerprint = "SHA256:LHDhK3oGRvkiefQnx7OOczTY5Tic/xZ6HcMOc/gmtoM";
        assert_eq!(key(Some(KEY)), Some(Some(fingerprint.to_owned())));
        for other in [
            "publickey",
            "publickey ssh-ed25519",
            "publickey ssh-ed25519 a2V",
            "publickey ssh-ed25519 a2V5 more",
            "publickey ssh-ed25519 a2V5\npublickey ssh-ed25519 a2V5\n",
            "gssapi-with-mic\n",
            "hostbased ssh-ed25519 a2V5\n",
            "password\n",
            "\n",
            "?",
        ] {
            assert_eq!(key(Some(other)), None, "{other:?}");
        }
    }

    #[test]
    fn it_takes_a_rule_a_login_and_a_first_factor_that_was_right() {
        let (rule, here) = (asked("remember = \"8h\""), login("sshd", Some("192.0.2.7"), None));
        assert!(memory(&rule, &here, &host(None)).is_some());
        assert!(memory(&asked(""), &here, &host(None)).is_none());
        assert!(memory(&rule, &here, &Host { caller_is_root: false, ..host(None) }).is_none());
        let unproved = Login { stack_complete: false, ..here };
        assert!(memory(&rule, &unproved, &host(None)).is_none());
        let long = login(&"x".repeat(97), Some("192.0.2.7"), None);
        assert!(memory(&rule, &long, &host(None)).is_none());
    }

    #[test]
    fn all_of_it_has_to_be_the_same_again() {
        let of = |service, rhost, info| {
            memory(&asked("remember = \"8h\""), &login(service, Some(rhost), info), &host(None)).unwrap()
        };
        let logins = [
            of("sshd", "192.0.2.7", None),
            of("sshd", "192.0.2.8", None),
            of("su", "192.0.2.7", None),
            of("sshd", "192.0.2.7", Some(KEY)),
            of("sshd", "192.0.2.7", Some("publickey ssh-ed25519 a2V6\n")),
        ];
        for (n, given) in logins.iter().enumerate() {
            let kept = RememberedLogins::default().with(given.remembered(NOW));
            for (m, tried) in logins.iter().enumerate() {
                assert_eq!(tried.find(&kept, NOW).is_some(), n == m, "{n} {m}");
            }
        }
    }

    #[test]
    fn it_ends_by_the_rule_of_then_and_by_the_rule_of_now() {
        let of = |remember: &str| {
            let asked = asked(&format!("remember = \"{remember}\""));
            memory(&asked, &login("sshd", Some("192.0.2.7"), None), &host(None)).unwrap()
        };
        let logins = RememberedLogins::default().with(of("8h").remembered(NOW));
        let good = |remember, now| of(remember).find(&logins, now).is_some();
        assert_eq!([NOW, NOW + 28_799, NOW + 28_800].map(|now| good("8h", now)), [true, true, false]);
        assert_eq!([NOW + 3599, NOW + 3600].map(|now| good("1h", now)), [true, false], "shortened");
        assert!(!good("720h", NOW + 28_800), "lengthened");
        assert!(!good("8h", NOW - 1), "the clock was set back");
    }
}
