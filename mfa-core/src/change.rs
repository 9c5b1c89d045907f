//! Changes of a record. Each is made only if the record still holds what the change was based on.

use mfa_wire::Secret;

use crate::engine::{Unavailable, Write};
use crate::judge::Proved;
use crate::key::{self, Key};
use crate::lockout::Failures;
use crate::pair::{self, Pair, PairError};
use crate::record::{
    Amendment, App, Credentials, Device, Latest, OneTime, PENDING_LIFE, Pending, Provisional, Record, State,
};
use crate::remembered::RememberedLogins;
use crate::totp::{Parameters, Totp};
use crate::view::Seen;
use crate::{Id, Process, recovery};

/// A change of what is bound. It takes a proof.
pub enum Change {
    /// These recovery codes replace the ones before. The text says from where they were made.
    RecoveryCodes(recovery::Set, String),
    /// These security keys are bound as well: those that are not bound yet.
    AddKeys(Vec<Key>),
    /// This security key is unbound; if it is the last one, the whole binding goes. The text says from where that was
    /// asked.
    RemoveKey(Id, String),
    /// Nothing is bound any more.
    Unbind,
}

/// What is written down beside the binding, by root or by a login in its course. It takes no proof of the device.
pub enum Note {
    /// A login was let past its auth phase at this door on condition that a device is bound. `None`: the door is
    /// unknown.
    Owe(Option<String>),
    /// A code was given at this door, where a device was owed.
    Settle(Option<String>),
    /// This process opens a session at this door: from now on the device that its login has bound is valid.
    Confirm(Option<Process>, Option<String>),
    /// There is this invitation, in place of any other.
    Invite(OneTime),
    /// There is no invitation any more.
    VoidInvitation,
    /// There is this bypass code, in place of any other.
    Bypass(OneTime),
    /// All wrong codes are forgotten.
    Unlock,
    /// The remembered login of this id is forgotten, or all of them.
    Forget(Option<String>),
    /// The app with this identity no longer waits for its two codes. `None`: no device waits any more, neither for its
    /// codes nor for its session.
    DropPending(Option<Id>),
}

/// A device that is to be bound.
pub enum New<'a> {
    /// An app, by two codes in a row.
    App(&'a NewApp, [&'a Secret; 2]),
    /// Security keys. They were asked for an answer when they were made, or root says whose they are.
    Keys(Vec<Key>),
}

/// On which terms a device is bound.
pub struct Terms {
    /// From where it is made.
    pub from: String,
    /// So many recovery codes belong to it.
    pub codes: u64,
    /// It holds only once the session of its login opens.
    pub provisional: Option<Provisional>,
}

/// Made for a binding before the record is read, and used again if the commit lost a race.
pub struct Made {
    /// The identity of a binding of keys; an app has its own.
    pub id: Id,
    /// The recovery codes.
    pub recovery: recovery::Set,
    /// The present time, in seconds since 1970.
    pub now: u64,
    /// So many steps around the present one are accepted.
    pub window: u64,
}

/// A new app, whose key is to be shown. It is not bound yet, so its key is no secret of a bound device. Once it is
/// bound, the key never leaves again.
pub struct NewApp {
    id: Id,
    label: String,
    totp: Totp,
    waits: Option<u64>,
}

impl NewApp {
    /// An app that is kept nowhere until it is bound.
    pub fn new(id: Id, label: String, totp: Totp) -> NewApp {
        NewApp { id, label, totp, waits: None }
    }

    /// The app that waits in this record for its two codes, if it has this identity.
    pub fn waiting(record: Record, proved: &Proved, id: Id) -> Result<NewApp, Refusal> {
        let holds = proved.holds_for_waiting(&Seen::of(&record));
        let pending = record.pending.filter(|pending| holds && pending.id == id);
        let Pending { id, label, expires, totp, .. } = pending.ok_or(Refusal::Changed)?;
        Ok(NewApp { id, label, totp, waits: Some(expires) })
    }

    /// The identity that its binding will have.
    pub fn id(&self) -> Id {
        self.id
    }

    /// How its codes are made.
    pub fn parameters(&self) -> Parameters {
        self.totp.parameters
    }

    /// The key as it is typed by hand.
    pub fn key_base32(&self) -> Secret {
        self.totp.key_base32()
    }

    /// The address that an app scans.
    pub fn uri(&self, issuer: &str, account: &str) -> Secret {
        self.totp.uri(issuer, account)
    }

    /// Until when it waits, in seconds since 1970, if it is kept.
    pub fn expires(&self) -> Option<u64> {
        self.waits
    }

    /// A copy of an app that is kept, and waits from `begun` on.
    pub fn waiting_until(self, begun: u64) -> NewApp {
        NewApp { waits: Some(begun.saturating_add(PENDING_LIFE)), ..self }
    }

    /// The pending device of a record: begun from `from`, to replace the binding `replaces`.
    fn pending(&self, from: String, replaces: Id, expires: u64) -> Pending {
        let totp = self.totp.copy();
        Pending { id: self.id, label: self.label.clone(), expires, from, replaces, totp }
    }
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The store gives no answer.
    Unavailable(Unavailable),
    /// The record no longer holds what the change was based on.
    Changed,
    /// The two codes are not what they should be.
    Pair(PairError),
    /// A device is bound.
    Bound,
    /// No device is bound.
    NotBound,
    /// There is nothing to confirm, or nothing to forget.
    NothingThere,
    /// Security keys are bound, which have no clock.
    NoClock,
    /// A code of such a late step was used already: for so many seconds, used codes would become valid again. And the
    /// clock that the codes show.
    UsedAsLate(u64, Clock),
    /// Another login has bound the device that waits.
    AnotherLogin,
    /// It has waited for too long.
    Expired,
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Refusal {
        Refusal::Unavailable(unavailable)
    }
}

/// Keeps an app that waits for its two codes, begun from `from`. It replaces any other app that waits.
pub fn pend(record: &Record, proved: &Proved, app: &NewApp, from: &str, now: u64) -> Result<Write, Refusal> {
    let seen = Seen::of(record);
    if !proved.holds(&seen) {
        return Err(Refusal::Changed);
    }
    Ok(Write::Pend(app.pending(from.to_owned(), seen.binding, now.saturating_add(PENDING_LIFE))))
}

/// Binds a device in place of any other. Says how far the clock of an app is off, in seconds.
pub fn bind(
    record: Record,
    proved: &Proved,
    new: &New,
    terms: &Terms,
    made: &Made,
) -> Result<(Option<i64>, Write), Refusal> {
    let (id, device, offset) = match new {
        New::App(app, [first, second]) => {
            let pair = Pair::find(&app.totp, first, second, made.now, made.window).map_err(Refusal::Pair)?;
            let burnt = [pair.first, pair.first + 1];
            let device = Device::App(App { label: app.label.clone(), totp: app.totp.copy(), burnt });
            (app.id, device, Some(pair.offset))
        }
        New::Keys(keys) => (made.id, Device::Keys(keys.clone()), None),
    };
    let seen = Seen::of(&record);
    let holds = match new {
        New::App(NewApp { id, waits: Some(_), .. }, _) => {
            record.pending.as_ref().is_some_and(|pending| pending.id == *id) && proved.holds_for_waiting(&seen)
        }
        _ => proved.holds(&seen),
    };
    if !holds {
        return Err(Refusal::Changed);
    }
    let credentials = Credentials {
        id,
        created: made.now,
        created_from: terms.from.clone(),
        device,
        recovery: made.recovery.clone(),
        latest: if record.credentials.is_some() { Latest::Replaced } else { Latest::Bound },
    };
    let write = match &terms.provisional {
        // A device that is bound would be gone before the session of this login has opened.
        Some(_) if record.credentials.is_some() => return Err(Refusal::Bound),
        Some(waits) => Write::BindProvisionally(credentials, waits.clone()),
        None => Write::bind(&record.state, credentials),
    };
    Ok((offset, write))
}

impl Write {
    /// Binds a device. `before` is the state before it.
    pub fn bind(before: &State, credentials: Credentials) -> Write {
        let state = before.succeeded_by(credentials.id, credentials.burnt());
        Write::Bind(credentials, state)
    }
}

/// What a change makes of the record.
pub fn change(record: Record, proved: &Proved, change: &Change, now: u64) -> Result<Write, Refusal> {
    if !proved.holds(&Seen::of(&record)) {
        return Err(Refusal::Changed);
    }
    match change {
        Change::RecoveryCodes(set, from) => amend(record, |bound| {
            let latest = Latest::Changed { what: Amendment::RecoveryCodes, when: now, from: from.clone() };
            Some(Credentials { recovery: set.clone(), latest, ..bound })
        }),
        Change::AddKeys(new) => amend(record, |bound| {
            let all = with_new_keys(bound.keys(), new);
            let room = !bound.keys().is_empty() && bound.keys().len() < all.len() && all.len() <= key::MOST;
            room.then_some(Credentials { device: Device::Keys(all), ..bound })
        }),
        Change::RemoveKey(id, _) if record.credentials.as_ref().is_some_and(|bound| is_only(*id, bound.keys())) => {
            Ok(Write::Unbind)
        }
        Change::RemoveKey(id, from) => amend(record, |bound| {
            let rest: Vec<Key> = bound.keys().iter().filter(|key| key.id != *id).cloned().collect();
            let latest = Latest::Changed { what: Amendment::KeyRemoved, when: now, from: from.clone() };
            let gone = rest.len() < bound.keys().len();
            gone.then_some(Credentials { device: Device::Keys(rest), latest, ..bound })
        }),
        Change::Unbind => Ok(Write::Unbind),
    }
}

/// How far a device's clock is ahead, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// So many steps.
    pub steps: i64,
    /// The length of a step, in seconds.
    pub period: u64,
}

/// The largest clock offset that two codes in a row can teach, in seconds: a wrong time zone, a wrong date. Two guessed
/// codes match two such steps by chance once in a hundred million times.
const RESYNC: u64 = 86_400;

/// What two codes in a row say of the device's clock. From then on its codes are expected by that, and both are used up.
pub fn learn_clock(record: &Record, codes: [&Secret; 2], now: u64) -> Result<(Clock, Write), Refusal> {
    let bound = record.credentials.as_ref().ok_or(Refusal::NotBound)?;
    let app = bound.app().ok_or(Refusal::NoClock)?;
    let (state, period) = (&record.state, app.totp.parameters.period);
    let present = app.totp.parameters.step(now);
    let first = pair::consecutive(&app.totp, codes[0], codes[1], present, RESYNC).map_err(Refusal::Pair)?;
    let last_step = first + 1;
    let steps = last_step.cast_signed().saturating_sub(present.cast_signed());
    if first <= state.last_step {
        // Going back would make used codes valid again.
        let wait = (state.last_step - first + 1).saturating_mul(period);
        return Err(Refusal::UsedAsLate(wait, Clock { steps, period }));
    }
    let after = State { last_step, clock_offset: steps, ..state.clone() };
    Ok((Clock { steps, period }, Write::State(after)))
}

/// What a note makes of the record; `None` if the record says so already.
pub fn note(record: Record, note: &Note, now: u64) -> Result<Option<Write>, Refusal> {
    let (state, is_bound) = (&record.state, record.credentials.is_some());
    let state = match note {
        Note::Owe(_) | Note::Invite(_) if is_bound => return Err(Refusal::Bound),
        Note::Bypass(_) | Note::Unlock if !is_bound => return Err(Refusal::NotBound),
        Note::Owe(here) => State { owes: state.owes.with(here.as_deref()), ..state.clone() },
        Note::Settle(here) => State { owes: state.owes.without(here.as_deref()), ..state.clone() },
        Note::Invite(code) => State { invitation: code.clone(), ..state.clone() },
        Note::VoidInvitation => State { invitation: OneTime::default(), ..state.clone() },
        Note::Bypass(code) => State { bypass: code.clone(), ..state.clone() },
        Note::Unlock => {
            let (failures, own_failures) = (Failures::default(), Failures::default());
            State { failures, own_failures, ..state.clone() }
        }
        Note::Forget(Some(id)) => forgetting(state, state.remembered.without(id))?,
        Note::Forget(None) => forgetting(state, RememberedLogins::default())?,
        Note::DropPending(None) => return Ok(Some(Write::Unpend { provisional: record.provisional.is_some() })),
        Note::DropPending(Some(id)) => {
            let waits = record.pending.as_ref().is_some_and(|pending| pending.id == *id);
            return Ok(waits.then_some(Write::Unpend { provisional: false }));
        }
        Note::Confirm(opener, here) => return confirm(record, *opener, here.as_deref(), now).map(Some),
    };
    Ok((state != record.state).then_some(Write::State(state)))
}

fn is_only(id: Id, keys: &[Key]) -> bool {
    matches!(keys, [key] if key.id == id)
}

fn forgetting(state: &State, remembered: RememberedLogins) -> Result<State, Refusal> {
    match remembered == state.remembered {
        true => Err(Refusal::NothingThere),
        false => Ok(State { remembered, ..state.clone() }),
    }
}

/// The keys in `bound`, and after them each key in `new` whose public key is not there yet.
pub fn with_new_keys(bound: &[Key], new: &[Key]) -> Vec<Key> {
    let mut all = bound.to_vec();
    for key in new {
        if !all.iter().any(|other| other.public == key.public) {
            all.push(key.clone());
        }
    }
    all
}

fn confirm(record: Record, opener: Option<Process>, here: Option<&str>, now: u64) -> Result<Write, Refusal> {
    let Some((bound, waits)) = record.provisional else { return Err(Refusal::NothingThere) };
    if waits.expires <= now {
        return Err(Refusal::Expired);
    }
    if !opener.is_some_and(|opener| waits.openers.contains(&opener)) {
        return Err(Refusal::AnotherLogin);
    }
    // Nothing is owed here any more; a login that was let past elsewhere gives its code there.
    let owes = record.state.owes.without(here);
    Ok(Write::bind(&State { owes, ..record.state }, bound))
}

/// The binding of an account that has a new name now, and its state. So no used code becomes valid again, and no lock
/// ends. What stands for a device goes: the remembered logins and a bypass code were given to the old name. `None`: a
/// rename that was cut has bound it under the new name already.
pub fn renamed(old: Record, new: &Record) -> Result<Option<(Credentials, State)>, Refusal> {
    let bound = old.credentials.ok_or(Refusal::NotBound)?;
    match &new.credentials {
        Some(there) if there.id == bound.id => return Ok(None),
        Some(_) => return Err(Refusal::Bound),
        None => {}
    }
    let state = State {
        remembered: RememberedLogins::default(),
        bypass: OneTime::default(),
        invitation: OneTime::default(),
        owes: old.state.owes.and(&new.state.owes.remembered()),
        ..old.state
    };
    Ok(Some((bound, state)))
}

/// Changes what is bound. `amended` returns `None` if the change is impossible.
fn amend(record: Record, amended: impl FnOnce(Credentials) -> Option<Credentials>) -> Result<Write, Refusal> {
    let Some(credentials) = record.credentials.and_then(amended) else { return Err(Refusal::Changed) };
    // The rest of the state may stay: it names the set of recovery codes, and each key, that it is about. But a
    // remembered login does not name its key, which may be the one that is removed: so all remembered logins go.
    let remembers = record.state.remembered != RememberedLogins::default();
    let forgetful = State { remembered: RememberedLogins::default(), ..record.state };
    Ok(Write::Amend(credentials, remembers.then_some(forgetful)))
}

/// Records for the tests of this crate.
#[cfg(test)]
pub(crate) mod test_records {
    use super::*;
    use crate::key::PublicKey;

    pub const SECRET: &[u8] = b"12345678901234567890";

    fn record(device: Device) -> Record {
        let credentials = Credentials {
            id: Id([1; 16]),
            created: 0,
            created_from: String::new(),
            device,
            recovery: recovery::Set { id: Id([5; 16]), hashes: Vec::new() },
            latest: Latest::Bound,
        };
        let state = State::fresh(credentials.id, credentials.burnt());
        let user = String::from("alice");
        Record { user, credentials: Some(credentials), provisional: None, state, pending: None }
    }

    pub fn app_record() -> Record {
        let totp = Totp::new(Parameters::DEFAULT, Secret::copy_of(SECRET)).unwrap();
        record(Device::App(App { label: String::new(), totp, burnt: [0, 1] }))
    }

    pub fn key(id: u8) -> Key {
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

    pub fn keys_record(ids: &[u8]) -> Record {
        record(Device::Keys(ids.iter().map(|id| key(*id)).collect()))
    }

    pub fn empty_record() -> Record {
        let state = State::fresh(Id::default(), [0, 0]);
        Record { credentials: None, state, ..app_record() }
    }
}

#[cfg(test)]
mod tests {
    use super::test_records::{app_record, empty_record, key, keys_record};
    use super::*;
    use crate::record::Owes;
    use crate::remembered::{Origin, RememberedLogin};

    const NOW: u64 = 1000;

    fn root(record: &Record) -> Proved {
        Proved::by_root(&Seen::of(record))
    }

    fn with_memory(mut record: Record) -> Record {
        let origin = Origin::new("sshd", "192.0.2.7", None).unwrap();
        record.state.remembered =
            RememberedLogins::default().with(RememberedLogin { origin, made: 1, expires: u64::MAX });
        record
    }

    #[test]
    fn no_change_of_a_bound_device_without_a_proof_of_it() {
        let changes = || {
            [
                Change::RecoveryCodes(recovery::Set::default(), String::new()),
                Change::AddKeys(vec![key(3)]),
                Change::RemoveKey(Id([1; 16]), String::new()),
                Change::Unbind,
            ]
        };
        // What was proved where nothing was bound, and what was proved of another binding.
        let mut other = keys_record(&[1, 2]);
        other.credentials.iter_mut().for_each(|bound| bound.id = Id([9; 16]));
        for proved in [Proved::nothing_bound(&Seen::of(&keys_record(&[1, 2]))), root(&other), root(&empty_record())] {
            for wanted in changes() {
                let refused = change(keys_record(&[1, 2]), &proved, &wanted, NOW).err();
                assert_eq!(refused, Some(Refusal::Changed));
            }
            let made = Made { id: Id([3; 16]), recovery: recovery::Set::default(), now: NOW, window: 1 };
            let terms = Terms { from: String::new(), codes: 0, provisional: None };
            let new = New::Keys(vec![key(3)]);
            assert_eq!(bind(keys_record(&[1, 2]), &proved, &new, &terms, &made).err(), Some(Refusal::Changed));
        }
        for wanted in changes() {
            assert!(change(keys_record(&[1, 2]), &root(&keys_record(&[1, 2])), &wanted, NOW).is_ok());
        }
    }

    #[test]
    fn a_change_of_the_keys_forgets_every_remembered_login() {
        let record = with_memory(keys_record(&[1, 2]));
        let proved = root(&record);
        let wanted = Change::RemoveKey(Id([2; 16]), String::from("root"));
        let Ok(Write::Amend(credentials, Some(state))) = change(record, &proved, &wanted, NOW) else {
            panic!("not amended, or remembered");
        };
        assert_eq!((credentials.keys(), &state.remembered), (&[key(1)][..], &RememberedLogins::default()));
        let removed = Latest::Changed { what: Amendment::KeyRemoved, when: NOW, from: String::from("root") };
        assert_eq!(credentials.latest, removed);
    }

    #[test]
    fn the_last_key_goes_with_the_binding_and_one_too_many_does_not_come() {
        let refused = |ids: &[u8], wanted| change(keys_record(ids), &root(&keys_record(ids)), &wanted, NOW).is_err();
        let last =
            change(keys_record(&[1]), &root(&keys_record(&[1])), &Change::RemoveKey(Id([1; 16]), String::new()), NOW);
        assert!(matches!(last, Ok(Write::Unbind)));
        // A key that was added since the one that goes was seen alone.
        let more = change(
            keys_record(&[1, 2]),
            &root(&keys_record(&[1])),
            &Change::RemoveKey(Id([1; 16]), String::new()),
            NOW,
        );
        assert!(matches!(more, Ok(Write::Amend(bound, _)) if bound.keys() == [key(2)]));
        assert!(
            change(app_record(), &root(&app_record()), &Change::AddKeys(vec![key(1)]), NOW).is_err(),
            "an app is bound"
        );
        assert!(refused(&[1, 2], Change::RemoveKey(Id([3; 16]), String::new())), "no such key");
        let ten: Vec<u8> = (1..=10).collect();
        assert!(refused(&ten, Change::AddKeys(vec![key(11)])));
        assert!(refused(&[1, 2], Change::AddKeys(vec![key(2)])), "bound already");
    }

    #[test]
    fn a_session_confirms_its_own_device_in_time_and_pays_what_is_owed_there_alone() {
        let opener = Process { pid: 7, started: 1 };
        let waiting = || {
            let bound = app_record().credentials.unwrap();
            let waits = Provisional { expires: NOW + 1, openers: vec![opener] };
            let mut record = Record { provisional: Some((bound, waits)), ..empty_record() };
            record.state.owes = Owes::default().with(Some("sudo:7:1")).with(Some("sudo:8:1"));
            record
        };
        let confirmed = |opener, now| note(waiting(), &Note::Confirm(opener, Some(String::from("sudo:7:1"))), now);
        let Ok(Some(Write::Bind(bound, state))) = confirmed(Some(opener), NOW) else { panic!("not bound") };
        assert_eq!((bound.id, state.id), (Id([1; 16]), Id([1; 16])));
        assert!(!state.owes.at(Some("sudo:7:1")) && state.owes.at(Some("sudo:8:1")));
        assert_eq!(confirmed(Some(opener), NOW + 1).err(), Some(Refusal::Expired));
        for stranger in [None, Some(Process { pid: 7, started: 2 })] {
            assert_eq!(confirmed(stranger, NOW).err(), Some(Refusal::AnotherLogin));
        }
        assert_eq!(note(empty_record(), &Note::Confirm(None, None), NOW).err(), Some(Refusal::NothingThere));
    }

    #[test]
    fn a_pending_app_is_bound_only_while_it_is_the_one_that_waits() {
        let app =
            || NewApp::new(Id([3; 16]), String::new(), app_record().credentials.unwrap().app().unwrap().totp.copy());
        let record = empty_record();
        let Ok(Write::Pend(pending)) = pend(&record, &root(&record), &app(), "root", NOW) else { panic!("not kept") };
        assert_eq!((pending.id, pending.expires), (Id([3; 16]), NOW + PENDING_LIFE));
        let made = Made { id: Id([4; 16]), recovery: recovery::Set::default(), now: 165, window: 1 };
        let terms = Terms { from: String::from("root"), codes: 0, provisional: None };
        // RFC 4226, appendix D: steps 4 and 5.
        let codes = [Secret::copy_of(b"338314"), Secret::copy_of(b"254676")];
        let waiting = app().waiting_until(NOW);
        let new = New::App(&waiting, [&codes[0], &codes[1]]);
        let bound = |record| bind(record, &root(&empty_record()), &new, &terms, &made);
        let Ok((offset, Write::Bind(credentials, state))) = bound(Record { pending: Some(pending), ..empty_record() })
        else {
            panic!("not bound");
        };
        assert_eq!((offset, credentials.id, state.last_step), (Some(0), Id([3; 16]), 5));
        assert_eq!(bound(empty_record()).err(), Some(Refusal::Changed), "displaced, or dropped");
        let wrong = New::App(&waiting, [&codes[1], &codes[0]]);
        let refused = bind(empty_record(), &root(&empty_record()), &wrong, &terms, &made).err();
        assert_eq!(refused, Some(Refusal::Pair(PairError::Order)));
    }

    /// A login that typed an invitation code waits at its page for a quarter of an hour. Root withdraws the invitation
    /// meanwhile, or makes another.
    #[test]
    fn an_app_that_waits_at_a_login_is_bound_only_while_its_invitation_is_there() {
        let invited = |set: u8, waits: Option<Pending>| {
            let mut record = Record { pending: waits, ..empty_record() };
            let set = recovery::Set { id: Id([set; 16]), hashes: vec![[1; 32]] };
            record.state.invitation = OneTime { set, expires: NOW };
            record
        };
        let proved = Proved::nothing_bound(&Seen::of(&invited(8, None)));
        let totp = app_record().credentials.unwrap().app().unwrap().totp.copy();
        let app = NewApp::new(Id([3; 16]), String::new(), totp);
        let waits = || match pend(&invited(8, None), &proved, &app, "192.0.2.7", NOW) {
            Ok(Write::Pend(pending)) => Some(pending),
            _ => panic!("not kept"),
        };
        let again = |record| NewApp::waiting(record, &proved, app.id()).is_ok();
        let waiting = NewApp::new(app.id(), String::new(), app.totp.copy()).waiting_until(NOW);
        let codes = [Secret::copy_of(b"338314"), Secret::copy_of(b"254676")];
        let made = Made { id: Id([4; 16]), recovery: recovery::Set::default(), now: 165, window: 1 };
        let terms = Terms { from: String::new(), codes: 0, provisional: None };
        let new = New::App(&waiting, [&codes[0], &codes[1]]);
        let bound = |record| bind(record, &proved, &new, &terms, &made).is_ok();
        assert!(bound(invited(8, waits())) && again(invited(8, waits())));
        for other in [invited(9, waits()), Record { pending: waits(), ..empty_record() }] {
            assert!(!again(other));
        }
        for other in [invited(9, waits()), Record { pending: waits(), ..empty_record() }] {
            assert!(!bound(other));
        }
    }

    /// RFC 4226, appendix D: the codes of this key at steps 0 to 9.
    const CODES: [&str; 10] =
        ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];

    /// What these codes teach at the step `present`, where `last` was the last that was accepted.
    fn learnt(codes: [&str; 2], present: u64, last: u64) -> Result<(u64, i64), Refusal> {
        let mut record = app_record();
        record.state.last_step = last;
        let codes = codes.map(|code| Secret::copy_of(code.as_bytes()));
        let (clock, write) = learn_clock(&record, [&codes[0], &codes[1]], present * 30)?;
        let Write::State(after) = write else { panic!("more than a state") };
        assert_eq!(clock, Clock { steps: after.clock_offset, period: 30 });
        Ok((after.last_step, after.clock_offset))
    }

    #[test]
    fn two_codes_in_a_row_tell_the_offset_up_to_a_day_and_are_used_up() {
        const DAY: u64 = 86_400 / 30;
        assert_eq!(learnt([CODES[4], CODES[5]], 5, 3), Ok((5, 0)));
        assert_eq!(learnt([CODES[4], CODES[5]], 125, 3), Ok((5, -120)));
        assert_eq!(learnt([CODES[8], CODES[9]], 1, 3), Ok((9, 8)));
        assert_eq!(learnt([CODES[4], CODES[5]], 4 + DAY, 3), Ok((5, 1 - DAY as i64)));
        assert_eq!(learnt([CODES[4], CODES[5]], 6 + DAY, 3), Err(Refusal::Pair(PairError::Wrong)), "too far");
        for codes in [[CODES[4], CODES[4]], [CODES[5], CODES[4]], [CODES[3], CODES[5]], [CODES[4], "000000"]] {
            assert!(matches!(learnt(codes, 5, 0), Err(Refusal::Pair(_))), "{codes:?}");
        }
    }

    #[test]
    fn no_code_comes_back_by_an_offset() {
        for last in [4, 5, 6, 125] {
            let why = learnt([CODES[4], CODES[5]], 5, last).unwrap_err();
            assert_eq!(why, Refusal::UsedAsLate((last - 4 + 1) * 30, Clock { steps: 0, period: 30 }), "{last}");
        }
    }

    #[test]
    fn no_login_displaces_a_bound_device_on_a_condition() {
        let made = Made { id: Id([3; 16]), recovery: recovery::Set::default(), now: NOW, window: 1 };
        let terms = || Terms {
            from: String::new(),
            codes: 0,
            provisional: Some(Provisional { expires: NOW + 1, openers: Vec::new() }),
        };
        let bound = |record: Record| {
            let proved = root(&record);
            bind(record, &proved, &New::Keys(vec![key(3)]), &terms(), &made)
        };
        assert_eq!(bound(app_record()).err(), Some(Refusal::Bound));
        assert!(matches!(bound(empty_record()), Ok((None, Write::BindProvisionally(..)))));
    }

    #[test]
    fn a_renamed_account_keeps_what_its_device_has_used_up_and_loses_what_stands_for_a_device() {
        let owing = |owes: &[&str]| Owes::At(owes.iter().map(|door| String::from(*door)).collect());
        let code = || OneTime { set: recovery::Set { id: Id([8; 16]), hashes: vec![[8; 32]] }, expires: 2000 };
        let mut old = with_memory(app_record());
        let failures = Failures { forgotten: 900, locked_until: 800 };
        old.state = State { last_step: 77, failures, bypass: code(), owes: owing(&["sudo:1:2"]), ..old.state };
        let mut new = empty_record();
        new.state = State { owes: owing(&["sshd", "sudo:3:4"]), invitation: code(), ..new.state };
        let (bound, state) = renamed(old, &new).unwrap().unwrap();
        let kept = State { last_step: 77, failures, ..State::fresh(bound.id, bound.burnt()) };
        assert_eq!(state, State { owes: owing(&["sudo:1:2", "sudo:3:4"]), ..kept });
    }

    #[test]
    fn a_rename_takes_no_device_away_and_can_be_finished() {
        assert_eq!(renamed(empty_record(), &empty_record()).err(), Some(Refusal::NotBound));
        assert_eq!(renamed(app_record(), &with_other_id(app_record())).err(), Some(Refusal::Bound));
        assert!(matches!(renamed(app_record(), &app_record()), Ok(None)), "it was cut");
    }

    fn with_other_id(record: Record) -> Record {
        let credentials = record.credentials.map(|bound| Credentials { id: Id([9; 16]), ..bound });
        Record { credentials, ..record }
    }

    #[test]
    fn notes_keep_to_what_they_are_about() {
        let code = || OneTime { set: recovery::Set { id: Id([8; 16]), hashes: vec![[8; 32]] }, expires: 2000 };
        assert_eq!(note(app_record(), &Note::Owe(None), NOW).err(), Some(Refusal::Bound));
        assert_eq!(note(app_record(), &Note::Invite(code()), NOW).err(), Some(Refusal::Bound));
        assert_eq!(note(empty_record(), &Note::Bypass(code()), NOW).err(), Some(Refusal::NotBound));
        assert_eq!(note(empty_record(), &Note::Unlock, NOW).err(), Some(Refusal::NotBound));
        assert_eq!(note(app_record(), &Note::Forget(None), NOW).err(), Some(Refusal::NothingThere));
        assert!(matches!(note(with_memory(app_record()), &Note::Forget(None), NOW), Ok(Some(Write::State(_)))));
        assert!(matches!(note(app_record(), &Note::Settle(None), NOW), Ok(None)), "nothing is owed: nothing to write");
        assert!(matches!(note(empty_record(), &Note::DropPending(Some(Id([3; 16]))), NOW), Ok(None)), "another one");
    }
}
