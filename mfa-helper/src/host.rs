//! What a conversation takes from the machine: the clock, randomness, the policy in force.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use mfa_core::bindings::{Bindings, Local};
use mfa_core::engine::{Trouble, Unavailable};
use mfa_core::judge::Rules;
use mfa_core::lockout::Way;
use mfa_wire::Login;

use crate::caller::{Caller, Held};
use crate::policy::Policy;
use crate::policy::files::{self, Loaded};
use crate::session::{self, Whereabouts};
use crate::store::{self, Store};
use crate::sys;

/// The machine, as far as a decision depends on it.
#[derive(Clone)]
pub struct Host {
    /// Seconds since 1970. A clock before that is taken for 1970, where no code is good.
    pub now: fn() -> u64,
    /// Fills a buffer with random bytes from the kernel.
    pub random: fn(&mut [u8]) -> Result<(), Unavailable>,
    /// Whether the kernel says that something keeps its clock right.
    pub synchronised: fn() -> bool,
    /// The calling process.
    pub caller_pid: i32,
    /// Whether it is root's.
    pub caller_is_root: bool,
    /// Where the person who uses it sits. Found out at once, because its pid may be reused later.
    pub caller_is_at: Whereabouts,
    /// The audit session of the calling process and that of its terminal, if it is in both and some rule remembers logins.
    pub caller_audit_session: Option<String>,
    /// Whether this is the service, which is shut off from a part of the machine.
    pub in_service: bool,
    /// The policy, and what is wrong with the one in place.
    pub loaded: Loaded,
}

impl Host {
    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.loaded.policy
    }

    /// Which of the user's two failure counts wrong codes go to.
    pub fn way(&self) -> Way {
        if self.caller_is_root { Way::Login } else { Way::OwnProcess }
    }

    /// The real clock, the kernel's randomness, the policy at `path`, and where `caller` sits if it still runs.
    pub fn real(path: &Path, caller: Caller, held: Held, in_service: bool) -> Host {
        let loaded = files::load(path, clock());
        // Most policies do not ask.
        let remembers = loaded.policy.rules.iter().any(|rule| rule.remember.is_some());
        let at = session::whereabouts(caller.pid, &loaded.policy.u2f.consoles);
        let audit_session = if remembers { session::audited(caller.pid) } else { None };
        // Checked last: if the caller still runs, all of this was read about it and not about a reused pid.
        let there = held.is_there();
        drop(held);
        Host {
            now: clock,
            random,
            synchronised: sys::clock_is_synchronised,
            caller_pid: caller.pid,
            caller_is_root: caller.is_root(),
            caller_is_at: if there { at } else { Whereabouts::Elsewhere },
            caller_audit_session: audit_session.filter(|_| there),
            in_service,
            loaded,
        }
    }

    /// Whether the calling process is used by somebody who sits at this host.
    pub fn caller_is_here(&self) -> bool {
        self.caller_is_at == Whereabouts::Here
    }

    /// Whether a login is that of somebody who sits at this host. `docs/place.md` has the cases.
    pub fn is_local(&self, login: &Login) -> bool {
        // A login with a remote host is never local: somebody at the seat may have started the server.
        login.rhost.as_deref().is_none_or(str::is_empty)
            && match self.caller_is_at {
                Whereabouts::Here => true,
                Whereabouts::AtAConsole => self.caller_is_root && login.service == "login",
                Whereabouts::ByPolkit => self.caller_is_root && login.service == "polkit-1",
                Whereabouts::Elsewhere => false,
            }
    }

    /// The relying party of new security keys.
    pub fn rp_id(&self) -> String {
        self.policy().u2f.rp_id.clone().unwrap_or_else(|| format!("pam://{}", host_name()))
    }

    /// What keeps the devices of this host: files below the path that the policy names.
    pub fn bindings(&self) -> Result<Box<dyn Bindings>, Unavailable> {
        let policy = self.policy();
        Ok(Box::new(Local {
            engine: Store::open(Path::new(&policy.store))?,
            rules: Rules { window: policy.window, lockout: policy.lockout, pin: policy.u2f.pin },
            totp: policy.totp,
            now: self.now,
            random: self.random,
        }))
    }

    /// Whether this process could keep anything in the store; if not, why.
    pub fn reaches_its_store(&self) -> Result<(), String> {
        store::can_be_written(Path::new(&self.policy().store))
    }

    /// The name that the app shows.
    pub fn issuer(&self) -> String {
        let configured = self.policy().issuer.clone();
        configured.unwrap_or_else(|| {
            // A colon would split the label of the otpauth address. A host name should have none, but may.
            let short = host_name().split('.').next().unwrap_or_default().replace(':', "-");
            if short.is_empty() { String::from("linux") } else { short }
        })
    }
}

/// The name of this host, as the kernel has it.
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Fills a buffer with random bytes from the kernel.
pub fn random(bytes: &mut [u8]) -> Result<(), Unavailable> {
    let failed = |e| Unavailable { kind: Trouble::NotDone, text: format!("no randomness: {e}") };
    getrandom::fill(bytes).map_err(failed)
}

#[allow(clippy::disallowed_methods, reason = "the one place where the helper's clock is read")]
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
