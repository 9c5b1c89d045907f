//! What a flow works with: the devices, the machine and the person.

use mfa_core::bindings::Bindings;
use mfa_core::engine::Unavailable;

use crate::conversation::Conversation;
use crate::host::Host;
use crate::lang::Lang;
use crate::policy::Policy;

/// What a flow works with. Made after the first factor was asked: its PAM modules run in a fork of this process, which
/// must not hold anything of a device.
pub struct Desk<'a> {
    /// What keeps the devices.
    pub bindings: Box<dyn Bindings>,
    /// The machine.
    pub host: &'a Host,
    /// The conversation with the person.
    pub conversation: &'a mut Conversation,
}

impl<'a> Desk<'a> {
    /// Opens what keeps the devices.
    pub fn open(host: &'a Host, conversation: &'a mut Conversation) -> Result<Desk<'a>, Unavailable> {
        Ok(Desk { bindings: host.bindings()?, host, conversation })
    }

    /// The policy in force.
    pub fn policy(&self) -> &'a Policy {
        self.host.policy()
    }

    /// The language of `mfa-enroll`.
    pub fn lang(&self) -> Lang {
        self.policy().lang
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        (self.host.now)()
    }
}
