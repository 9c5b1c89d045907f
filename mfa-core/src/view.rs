//! What may be known of a user without judging anything: no secret of a device, and no hash of a code.

use crate::key::Key;
use crate::lockout::{Failures, Lockout, Way};
use crate::record::{Credentials, Device, KeysUsed, Latest, Owes, Record};
use crate::remembered::RememberedLogins;
use crate::{Id, Kind, Process};

/// What is kept of one user, without its secrets.
pub struct View {
    /// The user.
    pub user: String,
    /// What is bound.
    pub bound: Option<Bound>,
    /// A device bound by a login whose session has not opened yet. It does not count as bound.
    pub provisional: Option<Waiting>,
    /// A device that waits for its two codes.
    pub pending: Option<Waiting>,
    /// Where a device is owed.
    pub owes: Owes,
    /// Logins that are remembered.
    pub remembered: RememberedLogins,
    /// When the device was last accepted at a login, in seconds since 1970; 0 for never.
    pub last_used: u64,
    /// Until when the invitation is valid, in seconds since 1970. `None`: there is none.
    pub invited_until: Option<u64>,
    /// Until when the bypass code is valid, in seconds since 1970. `None`: there is none.
    pub bypass_until: Option<u64>,
    failures: [Failures; 2],
    seen: Seen,
}

/// What is bound.
pub struct Bound {
    /// The binding's identity.
    pub id: Id,
    /// Of which kind it is.
    pub kind: Kind,
    /// What the user calls an app; keys have a label each.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From where it was made.
    pub created_from: String,
    /// What was changed last.
    pub latest: Latest,
    /// The security keys, with public keys and handles only. Empty if an app is bound.
    pub keys: Vec<Key>,
    /// When they were used, and what they have counted to.
    pub keys_used: KeysUsed,
    /// How many recovery codes were made, and how many of them are left.
    pub codes: Codes,
}

/// How many recovery codes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// So many were made.
    pub made: u32,
    /// So many are left.
    pub left: u32,
}

/// A device that does not count yet.
pub struct Waiting {
    /// What will be its binding's identity.
    pub id: Id,
    /// Of which kind it is.
    pub kind: Kind,
    /// When it was begun or bound, in seconds since 1970.
    pub begun: u64,
    /// From where.
    pub from: String,
    /// From then on it is void, in seconds since 1970.
    pub expires: u64,
    /// It will replace the device that is bound.
    pub replaces: bool,
    /// One of these processes opens the session of its login. Empty for a device that waits for its codes.
    pub openers: Vec<Process>,
}

/// The part of a record that a change is based on. The change is made only if all of it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The binding; nil for none.
    pub(crate) binding: Id,
    /// Its set of recovery codes.
    recovery: Id,
    /// Its security keys.
    keys: Vec<Id>,
    /// If nothing is bound: the set of the invitation, and the device that a login has bound. Another login may use
    /// them up or replace them meanwhile.
    waits: [Id; 2],
}

impl Seen {
    /// In this record.
    pub fn of(record: &Record) -> Seen {
        let bound = record.credentials.as_ref();
        let provisional = record.provisional.as_ref().map_or(Id::default(), |(credentials, _)| credentials.id);
        Seen {
            binding: bound.map_or(Id::default(), |bound| bound.id),
            recovery: bound.map_or(Id::default(), |bound| bound.recovery.id),
            keys: bound.map_or(&[][..], Credentials::keys).iter().map(|key| key.id).collect(),
            waits: if bound.is_some() { Default::default() } else { [record.state.invitation.set.id, provisional] },
        }
    }

    /// Whether all of this is still there `now`. A key that was added since does no harm.
    pub fn is_in(&self, now: &Seen) -> bool {
        (self.binding, self.recovery, self.waits) == (now.binding, now.recovery, now.waits)
            && self.keys.iter().all(|key| now.keys.contains(key))
    }
}

impl View {
    /// Of this record.
    pub fn of(record: Record) -> View {
        let seen = Seen::of(&record);
        let Record { user, credentials, provisional, state, pending } = record;
        let codes = credentials.as_ref().map(|bound| Codes::of(bound, &state.recovery));
        View {
            user,
            bound: credentials.zip(codes).map(|(bound, codes)| Bound::of(bound, codes, &state.keys_used)),
            provisional: provisional.map(|(bound, waits)| Waiting {
                id: bound.id,
                kind: bound.kind(),
                begun: bound.created,
                from: bound.created_from,
                expires: waits.expires,
                replaces: false,
                openers: waits.openers,
            }),
            pending: pending.map(|pending| Waiting {
                id: pending.id,
                kind: Kind::Totp,
                begun: pending.begun(),
                replaces: pending.replaces != Id::default(),
                from: pending.from,
                expires: pending.expires,
                openers: Vec::new(),
            }),
            invited_until: (!state.invitation.set.hashes.is_empty()).then_some(state.invitation.expires),
            bypass_until: (!state.bypass.set.hashes.is_empty()).then_some(state.bypass.expires),
            failures: [state.failures, state.own_failures],
            owes: state.owes,
            remembered: state.remembered,
            last_used: state.last_used,
            seen,
        }
    }

    /// Whether there is an invitation that is still good.
    pub fn is_invited(&self, now: u64) -> bool {
        self.invited_until.is_some_and(|until| until > now)
    }

    /// The security keys; none where an app is bound, or nothing.
    pub fn keys(&self) -> &[Key] {
        self.bound.as_ref().map_or(&[], |bound| &bound.keys)
    }

    /// The kind of what is bound.
    pub fn kind(&self) -> Option<Kind> {
        self.bound.as_ref().map(|bound| bound.kind)
    }

    /// When the longer lock of the two ways ends, in seconds since 1970. `None`: neither is locked.
    pub fn locked_until(&self, lockout: Lockout, now: u64) -> Option<u64> {
        let [login, own] = self.failures;
        let until = |way: Way, failures| way.rule(lockout).on_clock(failures, now).locked_until;
        Some(until(Way::Login, login).max(until(Way::OwnProcess, own))).filter(|until| *until > now)
    }

    /// What a change would go by.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Bound {
    fn of(bound: Credentials, codes: Codes, keys_used: &KeysUsed) -> Bound {
        let kind = bound.kind();
        let (label, keys) = match bound.device {
            Device::App(app) => (app.label, Vec::new()),
            Device::Keys(keys) => (String::new(), keys),
        };
        Bound {
            id: bound.id,
            kind,
            label,
            created: bound.created,
            created_from: bound.created_from,
            latest: bound.latest,
            keys,
            keys_used: keys_used.clone(),
            codes,
        }
    }
}

impl Codes {
    /// Those of a binding, of which these are used.
    pub(crate) fn of(bound: &Credentials, used: &crate::recovery::Used) -> Codes {
        Codes { made: bound.recovery.hashes.len() as u32, left: bound.recovery.left(*used) }
    }
}
