//! What is proved before a change, and whether it still holds when the change is made.

use mfa_core::Id;
use mfa_core::lockout::Way;
use mfa_core::record::Credentials;
use mfa_wire::Outcome;

use super::code::Audience;
use super::{Decision, ask_for_device};
use crate::conversation::Conversation;
use crate::host::Host;
use crate::store::{CommitError, Record, Store};

/// What has been proved before a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, and nothing is asked: the caller is root.
    Root,
    /// The first factor.
    FirstFactor,
    /// Nothing yet: an invitation code is asked in place of the first factor, of who has nothing bound.
    Invitation,
}

impl Proof {
    /// From where a change comes that was proved so: root, or the user.
    pub fn from(self, user: &str) -> &str {
        if self == Proof::Root { ROOT } else { user }
    }

    /// Loads the record of `user`, and asks for the device that is bound, unless the caller is root. Also says by what it
    /// was proved, for the log.
    pub fn record_of(
        self,
        user: &str,
        store: &Store,
        host: &Host,
        conversation: &mut Conversation,
    ) -> Result<(Record, &'static str), Decision> {
        let record = store.load(user)?;
        let Some(proved) = Proved::by(&record).filter(|_| self != Proof::Root) else {
            return Ok((record, "none"));
        };
        let lang = host.loaded.policy.lang;
        let audience = Audience {
            way: Way::OwnProcess,
            first_factor_known: true,
            own_command: true,
            bypass: false,
            login: None,
            lang,
            remember: None,
        };
        let decision = ask_for_device(None, audience, record, store, host, conversation)?;
        if decision.outcome != Outcome::Accepted {
            return Err(decision);
        }
        if !decision.text.is_empty() {
            conversation.tell(&decision.text)?;
        }
        let record = store.load(user)?;
        // What was proved is the possession of this device and of no other.
        if proved.holds(&record) {
            Ok((record, decision.factor))
        } else {
            Err(Decision { factor: decision.factor, ..CommitError::Conflict.into() })
        }
    }
}

/// What was proved: the possession of this binding, by one of its recovery codes or one of its keys. It holds no longer
/// than all of them do.
pub struct Proved {
    binding: Id,
    recovery: Id,
    keys: Vec<Id>,
}

impl Proved {
    /// By the record as it was.
    pub fn by(record: &Record) -> Option<Proved> {
        record.credentials.as_ref().map(Proved::of)
    }

    /// Whether the record still has all that was there. A key more takes nothing back.
    pub fn holds(&self, record: &Record) -> bool {
        record.credentials.as_ref().is_some_and(|bound| self.holds_of(bound))
    }

    fn of(bound: &Credentials) -> Proved {
        let keys = bound.keys().iter().map(|key| key.id).collect();
        Proved { binding: bound.id, recovery: bound.recovery.id, keys }
    }

    fn holds_of(&self, bound: &Credentials) -> bool {
        let has = |id: &Id| bound.keys().iter().any(|key| key.id == *id);
        (bound.id, bound.recovery.id) == (self.binding, self.recovery) && self.keys.iter().all(has)
    }
}

/// Who has bound, or begun to, at the command line of root's.
pub const ROOT: &str = "root";

#[cfg(test)]
mod tests {
    use mfa_core::key::{Key, PublicKey};
    use mfa_core::record::{Device, Latest};
    use mfa_core::recovery::Set;

    use super::*;

    fn key(id: u8) -> Key {
        Key {
            id: Id([id; 16]),
            label: String::new(),
            created: 0,
            created_from: String::new(),
            rp_id: String::from("pam://web1"),
            credential: vec![id],
            public: PublicKey::Ed25519([id; 32]),
            verified: false,
            counter: 0,
        }
    }

    /// Who has a key in hand that the owner takes away meanwhile has proved nothing any more.
    #[test]
    fn a_proof_holds_as_long_as_all_keys_are_there_that_were() {
        let bound = |id: u8, set: u8, keys: &[u8]| Credentials {
            id: Id([id; 16]),
            created: 0,
            created_from: String::new(),
            device: Device::Keys(keys.iter().map(|id| key(*id)).collect()),
            recovery: Set { id: Id([set; 16]), hashes: Vec::new() },
            latest: Latest::Bound,
        };
        let proved = Proved::of(&bound(1, 5, &[1, 2]));
        let holds = |now: Credentials| proved.holds_of(&now);
        assert!(holds(bound(1, 5, &[1, 2])) && holds(bound(1, 5, &[2, 1, 3])), "one more takes nothing back");
        assert!(!holds(bound(1, 5, &[1])) && !holds(bound(1, 5, &[2, 3])), "a key is gone");
        assert!(!holds(bound(2, 5, &[1, 2])) && !holds(bound(1, 6, &[1, 2])), "another binding, other recovery codes");
    }
}
