//! The store on a real file system: what is kept, what is refused, what a race or a cut leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod base;

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use mfa_core::engine::{CommitError, Engine, Trouble, Write};
use mfa_core::key::{Key, PublicKey};
use mfa_core::record::{App, Credentials, Device, Latest, OneTime, Owes, Pending, Provisional, Record, State};
use mfa_core::remembered::{Origin, RememberedLogin, RememberedLogins};
use mfa_core::totp::{Parameters, Totp};
use mfa_core::{Id, Process, recovery};
use mfa_helper::store::{FORMAT, Revision, Store, StoreError};
use mfa_wire::Secret;
use nix::fcntl::{Flock, FlockArg};

/// A record and the revision at which it was read.
struct Loaded {
    record: Record,
    revision: Revision,
}

impl std::ops::Deref for Loaded {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

fn load(store: &Store) -> Loaded {
    let (record, revision) = store.load("alice").unwrap();
    Loaded { record, revision }
}

fn commit(store: &Store, at: &Loaded, write: Write) -> Result<(), CommitError> {
    store.commit("alice", &at.revision, &write)
}

/// Binds over whatever was loaded; this is still owed.
fn bind(store: &Store, at: &Loaded, credentials: Credentials, owes: &Owes) -> Result<(), CommitError> {
    commit(store, at, Write::bind(&State { owes: owes.clone(), ..at.state.clone() }, credentials))
}

/// A store of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = base::folder().join(format!("mfa-test-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("users")).unwrap();
        for dir in [&path, &path.join("users")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let place = Place(path);
        place.write("FORMAT", FORMAT.as_bytes());
        place
    }

    fn store(&self) -> Store {
        Store::open(&self.0).expect("the build folder, and all above it, must be writable by its owner only")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn of_alice(&self, name: &str) -> PathBuf {
        self.path("users/alice").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Binds alice, and says so in the state once.
    fn bound(&self) -> Store {
        let store = self.store();
        bind(&store, &load(&store), credentials(1), &Owes::default()).unwrap();
        let record = load(&store);
        let state = State { last_step: 200, ..record.state.clone() };
        commit(&store, &record, Write::State(state.clone())).unwrap();
        store
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn app() -> Totp {
    Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap()
}

fn credentials(id: u8) -> Credentials {
    Credentials {
        id: Id([id; 16]),
        created: 1_700_000_000,
        created_from: "root".into(),
        device: Device::App(App { label: "old phone".into(), totp: app(), burnt: [100, 101] }),
        recovery: recovery::Set { id: Id([id; 16]), hashes: vec![[7; 32]; 2] },
        latest: Latest::Bound,
    }
}

fn pending(id: u8) -> Pending {
    let (id, from, replaces) = (Id([id; 16]), "root".into(), Id::default());
    Pending { id, label: String::new(), expires: 1_700_000_900, from, replaces, totp: app() }
}

/// What a login's account phase leaves.
fn bind_provisionally(store: &Store, at: &Loaded, id: u8) -> Result<(), CommitError> {
    let waits = Provisional { expires: 1_700_000_900, openers: vec![Process { pid: 4711, started: 361_877 }] };
    commit(store, at, Write::BindProvisionally(credentials(id), waits))
}

fn error(store: &Store) -> StoreError {
    store.read("alice").err().expect("must be refused")
}

fn key(record: &Record) -> Option<String> {
    let bound = record.credentials.as_ref()?;
    bound.app()?.totp.key_base32().text().map(str::to_owned)
}

#[test]
fn who_has_no_record_has_an_empty_one() {
    let place = Place::new("empty");
    let record = load(&place.store());
    assert!(record.credentials.is_none() && record.pending.is_none());
    assert!(!place.path("users/alice").exists(), "asking leaves no trace");
}

#[test]
fn what_was_bound_is_what_is_loaded() {
    let place = Place::new("roundtrip");
    let store = place.store();
    bind(&store, &load(&store), credentials(1), &Owes::default()).unwrap();
    let record = load(&store);
    let bound = record.credentials.as_ref().unwrap();
    let app = bound.app().unwrap();
    assert_eq!((bound.id, app.label.as_str(), app.burnt), (Id([1; 16]), "old phone", [100, 101]));
    assert_eq!((bound.created, bound.created_from.as_str()), (1_700_000_000, "root"));
    assert_eq!(app.totp.parameters, Parameters::DEFAULT);
    assert_eq!(key(&record).as_deref(), Some("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
    assert_eq!(record.state.last_step, 101, "both codes of the binding are burnt");
    assert_eq!(store.users().unwrap(), ["alice"]);
}

#[test]
fn what_is_owed_elsewhere_outlives_a_binding_whole_or_cut() {
    let place = Place::new("owed");
    let store = place.store();
    let nothing = load(&store);
    let (here, elsewhere) = (Some("sudo:7:1"), Some("sudo:8:1"));
    let owes = nothing.state.owes.with(here).with(elsewhere);
    commit(&store, &nothing, Write::State(State { owes: owes.clone(), ..nothing.state.clone() })).unwrap();
    let before = fs::read(place.of_alice("state")).unwrap();
    bind(&store, &load(&store), credentials(1), &owes.without(here)).unwrap();
    let bound = load(&store);
    assert!(!bound.state.owes.at(here) && bound.state.owes.at(elsewhere));

    // Cut after the credentials were there, and before the state of the new binding was.
    place.write("users/alice/state", &before);
    let cut = load(&store);
    assert!(cut.credentials.is_some());
    assert_eq!((&cut.state.owes, cut.state.last_step), (&owes, 101));
}

#[test]
fn a_commit_over_a_record_that_changed_is_a_conflict() {
    let place = Place::new("conflict");
    let store = place.bound();
    let stale = load(&store);
    let state = State { last_used: 1, ..stale.state.clone() };
    commit(&store, &load(&store), Write::State(state.clone())).unwrap();
    for change in [
        Write::State(state.clone()),
        Write::bind(&stale.state, credentials(9)),
        Write::Pend(pending(9)),
        Write::Unpend { provisional: false },
    ] {
        assert_eq!(commit(&store, &stale, change), Err(CommitError::Conflict));
    }
    assert_eq!(load(&store).state.last_used, 1);
}

#[test]
fn a_pending_device_that_came_or_went_is_a_conflict_too() {
    let place = Place::new("pending-conflict");
    let store = place.store();
    let none = load(&store);
    commit(&store, &none, Write::Pend(pending(1))).unwrap();
    assert_eq!(commit(&store, &none, Write::Pend(pending(2))), Err(CommitError::Conflict));
    let one = load(&store);
    commit(&store, &one, Write::Unpend { provisional: false }).unwrap();
    assert_eq!(bind(&store, &one, credentials(1), &Owes::default()), Err(CommitError::Conflict));
}

#[test]
fn binding_drops_the_pending_device_and_leaves_a_state_that_names_it() {
    let place = Place::new("bind");
    let store = place.store();
    commit(&store, &load(&store), Write::Pend(pending(1))).unwrap();
    bind(&store, &load(&store), credentials(1), &Owes::default()).unwrap();
    assert!(!place.of_alice("pending").exists());
    fs::remove_file(place.of_alice("credentials")).unwrap();
    assert!(matches!(error(&store), StoreError::Orphan(_)), "lost before anybody logged in");
}

/// Until its session opens it leaves what is owed, an invitation and attempts as they were.
#[test]
fn a_provisional_device_counts_as_none_and_changes_nothing_else() {
    let place = Place::new("provisional");
    let store = place.store();
    let nobody = load(&store);
    let (owes, expires) = (Owes::default().with(Some("sshd")), 1_700_600_000);
    let invitation = OneTime { set: recovery::Set { id: Id([5; 16]), hashes: vec![[5; 32]] }, expires };
    let state = State { owes: owes.clone(), invitation: invitation.clone(), ..nobody.state.clone() };
    commit(&store, &nobody, Write::State(state.clone())).unwrap();
    commit(&store, &load(&store), Write::Pend(pending(1))).unwrap();
    for id in [1, 2] {
        // The second one takes the place of the first.
        let before = load(&store);
        bind_provisionally(&store, &before, id).unwrap();
        assert_eq!(bind_provisionally(&store, &before, 9), Err(CommitError::Conflict));
        let record = load(&store);
        assert!(record.credentials.is_none() && record.pending.is_none());
        assert!(record.provisional.as_ref().is_some_and(|(waits, _)| waits.id == Id([id; 16])));
        assert_eq!((&record.state.owes, &record.state.invitation), (&owes, &invitation));
    }
    // Attempts and a pending device go on beside it.
    commit(&store, &load(&store), Write::State(state.clone())).unwrap();
    commit(&store, &load(&store), Write::Pend(pending(3))).unwrap();
    let record = load(&store);
    assert!(record.provisional.is_some() && record.pending.is_some());

    let (confirmed, _) = record.record.provisional.unwrap();
    bind(&store, &load(&store), confirmed, &Owes::default()).unwrap();
    let record = load(&store);
    assert_eq!(record.credentials.as_ref().map(|bound| bound.id), Some(Id([2; 16])));
    assert!(record.provisional.is_none() && record.state.owes.nothing());
    assert_eq!((record.state.id, &record.state.invitation), (Id([2; 16]), &OneTime::default()));
}

#[test]
fn a_provisional_device_can_be_dropped_and_its_key_with_it() {
    let place = Place::new("dropped");
    let store = place.store();
    bind_provisionally(&store, &load(&store), 1).unwrap();
    let mut file = fs::File::open(place.of_alice("credentials")).unwrap();
    commit(&store, &load(&store), Write::Unpend { provisional: true }).unwrap();
    let record = load(&store);
    assert!(record.provisional.is_none() && record.credentials.is_none());
    assert!(!place.of_alice("credentials").exists());
    let mut left = Vec::new();
    file.read_to_end(&mut left).unwrap();
    assert!(left.iter().all(|byte| *byte == 0), "the key is overwritten");
}

#[test]
fn provisional_words_of_no_meaning_are_damage_and_not_a_device() {
    let place = Place::new("nonsense");
    let store = place.store();
    bind_provisionally(&store, &load(&store), 1).unwrap();
    let whole = fs::read_to_string(place.of_alice("credentials")).unwrap();
    let good = "latest provisional 1700000900 4711:361877\n";
    assert!(whole.contains(good));
    for line in [
        "latest provisional",
        "latest provisional 1700000900",
        "latest provisional 1700000900 ",
        "latest provisional 1700000900 4711",
        "latest provisional 1700000900 0:361877",
        "latest provisional 1700000900 1:1 2:2 3:3",
        "latest provisional x 4711:361877",
    ] {
        let body = whole.split("sha256 ").next().unwrap().replace(good, &format!("{line}\n"));
        let sealed = format!("{body}sha256 {}\n", sha256(body.as_bytes()));
        place.write("users/alice/credentials", sealed.as_bytes());
        assert!(matches!(error(&store), StoreError::Damaged(..)), "{line}");
    }
}

/// One spelling only: who could write another could write what the checksum is of.
#[test]
fn a_record_in_other_words_is_damaged_though_its_checksum_is_right() {
    let place = Place::new("words");
    let store = place.bound();
    let sealed = fs::read_to_string(place.of_alice("credentials")).unwrap();
    let (body, _) = sealed.split_once("sha256 ").unwrap();
    for (from, to) in [
        ("created 1700000000", "created 01700000000"),
        ("created 1700000000", "created +1700000000"),
        ("totp SHA1 6 30", "totp SHA1 6 30 more"),
        ("totp SHA1 6 30", "totp SHA1 9 30"),
        ("totp SHA1 6 30", "totp SHA1 6 0"),
        ("burnt 100 101\n", "burnt 100 101\nmore 1\n"),
        ("kind totp\n", "kind totp\nkind totp\n"),
        ("label old phone\n", ""),
        ("key GEZDGNBV", "key gezdgnbv"),
    ] {
        assert!(body.contains(from), "{from}");
        let body = body.replacen(from, to, 1);
        let forged = format!("{body}sha256 {}\n", sha256(body.as_bytes()));
        fs::write(place.of_alice("credentials"), forged).unwrap();
        assert!(matches!(error(&store), StoreError::Damaged(_, mfa_core::record::Damage::Line)), "{to}");
    }
}

#[test]
fn a_login_that_loaded_the_old_binding_cannot_commit_to_the_new_one() {
    let place = Place::new("rebound");
    let store = place.bound();
    let old = load(&store);
    store.destroy("alice").unwrap();
    bind(&store, &load(&store), credentials(2), &Owes::default()).unwrap();
    assert_eq!(commit(&store, &old, Write::State(old.state.clone())), Err(CommitError::Conflict));
}

fn replacement(id: u8) -> Credentials {
    let key = Secret::copy_of(b"abcdefghijklmnopqrst");
    Credentials {
        device: Device::App(App {
            label: String::new(),
            totp: Totp::new(Parameters::DEFAULT, key).unwrap(),
            burnt: [150, 151],
        }),
        latest: Latest::Replaced,
        ..credentials(id)
    }
}

#[test]
fn a_login_that_loaded_the_old_device_cannot_commit_once_it_is_replaced() {
    let place = Place::new("replaced");
    let store = place.bound();
    let old = load(&store);
    bind(&store, &load(&store), replacement(2), &Owes::default()).unwrap();
    let state = State { last_step: 201, ..old.state.clone() };
    assert_eq!(commit(&store, &old, Write::State(state.clone())), Err(CommitError::Conflict));
    // Nor a second replacement that was begun beside the first, nor a change by who had proved the old device.
    for change in [Write::bind(&old.state, replacement(3)), Write::Amend(credentials(1), None), Write::Unbind] {
        assert_eq!(commit(&store, &old, change), Err(CommitError::Conflict));
    }
    let new = load(&store);
    let bound = new.credentials.as_ref().unwrap();
    assert_eq!((bound.id, &bound.latest, new.state.last_step), (Id([2; 16]), &Latest::Replaced, 151));
    assert_eq!(key(&new).as_deref(), Some("MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U"));
}

fn security_key(id: u8) -> Key {
    Key {
        id: Id([id; 16]),
        label: String::from("blue"),
        created: 1_700_000_000 + u64::from(id),
        created_from: String::from("tty1"),
        rp_id: String::from("pam://web1"),
        credential: vec![id; 48],
        public: PublicKey::Ed25519([id; 32]),
        verified: false,
        counter: 7,
    }
}

fn keys(ids: &[u8]) -> Credentials {
    Credentials { device: Device::Keys(ids.iter().map(|id| security_key(*id)).collect()), ..credentials(1) }
}

#[test]
fn a_key_that_goes_takes_what_is_remembered_along_and_leaves_what_the_others_have_counted_to() {
    let place = Place::new("amended");
    let store = place.store();
    bind(&store, &load(&store), keys(&[1, 2]), &Owes::default()).unwrap();
    let record = load(&store);
    let bound = record.credentials.as_ref().unwrap();
    assert_eq!(bound.keys(), [security_key(1), security_key(2)]);
    assert_eq!(record.state.keys_used.counter(&security_key(1)), 7, "that of its binding");
    let origin = Origin::new("sshd", "192.0.2.7", None).unwrap();
    let remembered = RememberedLogins::default().with(RememberedLogin { origin, made: 1000, expires: u64::MAX });
    let used = record.state.keys_used.with(&security_key(1), 9, 1000, bound.keys());
    let keys_used = used.with(&security_key(2), 12, 1001, bound.keys());
    let state = State { remembered, keys_used, last_used: 1001, ..record.state.clone() };
    commit(&store, &record, Write::State(state.clone())).unwrap();

    let record = load(&store);
    let forgetful = State { remembered: RememberedLogins::default(), ..record.state.clone() };
    commit(&store, &record, Write::Amend(keys(&[1]), Some(forgetful))).unwrap();
    let after = load(&store);
    assert_eq!(after.credentials.as_ref().unwrap().keys(), [security_key(1)]);
    assert_eq!(after.state.remembered, RememberedLogins::default(), "one of them may be by the key that is gone");
    assert_eq!(after.state, State { remembered: RememberedLogins::default(), ..state });
    assert_eq!(after.state.keys_used.counter(&security_key(1)), 9);
    assert_eq!(commit(&store, &record, Write::Amend(keys(&[1, 2]), None)), Err(CommitError::Conflict));
}

#[test]
fn a_new_device_ends_no_lock_and_inherits_nothing_else_of_the_old_one() {
    let place = Place::new("heir");
    let store = place.bound();
    let record = load(&store);
    let set = recovery::Set { id: Id([9; 16]), hashes: vec![[9; 32]] };
    let bypass = OneTime { set, expires: u64::MAX };
    let origin = Origin::new("sshd", "192.0.2.7", None).unwrap();
    let remembered = RememberedLogins::default().with(RememberedLogin { origin, made: 1000, expires: u64::MAX });
    let mut state = State { clock_offset: -120, bypass, remembered, ..record.state.clone() };
    state.failures.locked_until = 1000;
    state.own_failures.forgotten = 2000;
    commit(&store, &record, Write::State(state.clone())).unwrap();
    let record = load(&store);
    assert_eq!(record.state, state, "what was kept is what is loaded");
    let before = fs::read(place.of_alice("state")).unwrap();
    bind(&store, &record, replacement(2), &Owes::default()).unwrap();
    let fresh = State::fresh(Id([2; 16]), [150, 151]);
    let expected = State { failures: state.failures, own_failures: state.own_failures, ..fresh };
    assert_eq!(load(&store).state, expected);
    // As a cut right behind the rename leaves it.
    place.write("users/alice/state", &before);
    assert_eq!(load(&store).state, expected);
}

#[test]
fn a_pending_device_waits_for_the_binding_that_it_was_begun_over() {
    let place = Place::new("waiting");
    let store = place.bound();
    let pend = |pending: Pending| commit(&store, &load(&store), Write::Pend(pending)).unwrap();
    let waits = || load(&store).record.pending.map(|pending| pending.id);
    pend(Pending { replaces: Id([1; 16]), ..pending(2) });
    assert_eq!(waits(), Some(Id([2; 16])));
    for replaces in [Id::default(), Id([2; 16]), Id([3; 16])] {
        pend(Pending { replaces, ..pending(2) });
        assert_eq!(waits(), None, "{replaces}");
    }
    // As a cut leaves it, with nothing bound any more.
    pend(Pending { replaces: Id([1; 16]), ..pending(2) });
    let file = fs::read(place.of_alice("pending")).unwrap();
    commit(&store, &load(&store), Write::Unbind).unwrap();
    place.write("users/alice/pending", &file);
    assert_eq!(waits(), None);
}

#[test]
fn replacing_overwrites_the_old_key_and_the_pending_file() {
    let place = Place::new("overwritten");
    let store = place.bound();
    let record = load(&store);
    commit(&store, &record, Write::Pend(Pending { replaces: Id([1; 16]), ..pending(2) })).unwrap();
    let mut old = ["credentials", "pending"].map(|name| fs::File::open(place.of_alice(name)).unwrap());
    bind(&store, &load(&store), replacement(2), &Owes::default()).unwrap();
    for file in &mut old {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() > 100 && bytes.iter().all(|b| *b == 0), "{}", String::from_utf8_lossy(&bytes));
    }
    assert!(!place.of_alice("pending").exists());
}

#[test]
fn two_hundred_attempts_alternate_slots_in_a_file_that_never_grows() {
    let place = Place::new("slots");
    let store = place.bound();
    for n in 0..200 {
        let record = load(&store);
        let state = State { last_step: 1000 + n, ..record.state.clone() };
        commit(&store, &record, Write::State(state.clone())).unwrap();
        assert_eq!(load(&store).state, state);
    }
    assert_eq!(fs::metadata(place.of_alice("state")).unwrap().len(), 8192);
}

#[test]
fn one_torn_slot_leaves_the_other() {
    let place = Place::new("torn");
    let store = place.bound();
    let intact = fs::read(place.of_alice("state")).unwrap();
    let mut seen = Vec::new();
    for slot in [0, 1] {
        let mut torn = intact.clone();
        torn[slot * 4096 + 20] ^= 1;
        fs::write(place.of_alice("state"), &torn).unwrap();
        seen.push(load(&store).state.last_step);
    }
    seen.sort_unstable();
    assert_eq!(seen, [101, 200], "the old state or the new one; the burnt codes hold in both");
}

/// What another version wrote is whole: the slot before it would make its codes good once more.
#[test]
fn a_slot_in_other_words_is_not_a_torn_one() {
    let place = Place::new("other-version");
    let store = place.bound();
    let intact = fs::read(place.of_alice("state")).unwrap();
    for (old, new) in [("mfa-state 1\n", "mfa-state 2\n"), ("\nowes none\n", "\nowes none\nmore 1\n")] {
        for slot in [0, 1] {
            let mut bytes = intact.clone();
            let text = std::str::from_utf8(&intact[slot * 4096..][..4096]).unwrap().trim_end_matches('\0');
            let (body, _) = text.split_at(text.len() - 72);
            let body = body.replacen(old, new, 1);
            let sealed = format!("{body}sha256 {}\n", sha256(body.as_bytes()));
            bytes[slot * 4096..][..4096].fill(0);
            bytes[slot * 4096..][..sealed.len()].copy_from_slice(sealed.as_bytes());
            fs::write(place.of_alice("state"), &bytes).unwrap();
            assert!(matches!(error(&store), StoreError::Damaged(..)), "{new} in slot {slot}");
        }
    }
}

#[test]
fn a_damaged_state_is_never_taken_for_an_unused_one() {
    let place = Place::new("state-damage");
    let store = place.bound();
    let intact = fs::read(place.of_alice("state")).unwrap();
    let both_torn: Vec<u8> = intact.iter().enumerate().map(|(i, b)| if i % 4096 == 20 { b ^ 1 } else { *b }).collect();
    let damages: [(&str, &[u8]); 5] = [
        ("both slots torn", &both_torn),
        ("cut off", &intact[..4096]),
        ("empty", b""),
        ("zeros", &[0; 8192]),
        ("garbage", &[0xa5; 8192]),
    ];
    for (name, bytes) in damages {
        fs::write(place.of_alice("state"), bytes).unwrap();
        assert!(matches!(error(&store), StoreError::Damaged(..)), "{name}");
    }
}

#[test]
fn damaged_credentials_are_never_taken_for_none() {
    let place = Place::new("credentials-damage");
    let store = place.bound();
    let intact = fs::read(place.of_alice("credentials")).unwrap();
    for cut in [0, 1, 60, intact.len() - 1] {
        fs::write(place.of_alice("credentials"), &intact[..cut]).unwrap();
        assert!(matches!(error(&store), StoreError::Damaged(..)), "cut at {cut}");
    }
    for at in (0..intact.len()).step_by(7) {
        let mut flipped = intact.clone();
        flipped[at] ^= 4;
        fs::write(place.of_alice("credentials"), &flipped).unwrap();
        assert!(matches!(error(&store), StoreError::Damaged(..)), "flipped at {at}");
    }
    fs::write(place.of_alice("credentials"), vec![b'x'; 100_000]).unwrap();
    assert!(matches!(error(&store), StoreError::Fault(_)), "too long");
}

/// What is to be written under the name bob of what alice has.
fn renamed(store: &Store) -> (Loaded, Revision, Credentials, State) {
    let (_, bob) = store.load("bob").unwrap();
    let alice = load(store);
    let state = alice.state.clone();
    (alice, bob, credentials(1), state)
}

#[test]
fn a_renamed_record_is_whole_under_the_new_name_and_gone_under_the_old_one() {
    let place = Place::new("rename");
    let store = place.bound();
    // What bob has: a device that waits, and something owed.
    let owes = Owes::default().with(Some("sshd"));
    let (record, at) = store.load("bob").unwrap();
    store.commit("bob", &at, &Write::State(State { owes, ..record.state })).unwrap();
    let (_, at) = store.load("bob").unwrap();
    store.commit("bob", &at, &Write::Pend(pending(5))).unwrap();
    // What a rename has left that was cut.
    fs::create_dir(place.path("users/rename.new")).unwrap();
    fs::set_permissions(place.path("users/rename.new"), fs::Permissions::from_mode(0o700)).unwrap();
    place.write("users/rename.new/pending", b"a key");

    let (alice, bob, binding, state) = renamed(&store);
    store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state).unwrap();
    let (record, _) = store.load("bob").unwrap();
    assert_eq!((record.credentials.unwrap().id, record.state, record.pending.is_none()), (binding.id, state, true));
    assert!(load(&store).credentials.is_none() && !store.has("alice").unwrap());
    assert_eq!(store.list(None, 9).unwrap(), ["alice", "bob"], "an empty folder stays, as after unbinding");
    assert!(!place.path("users/rename.new").exists());
}

#[test]
fn a_rename_loses_the_race_against_any_change_of_either_record() {
    let place = Place::new("rename-race");
    let store = place.bound();
    let (alice, bob, binding, state) = renamed(&store);
    let later = State { last_step: 900, ..alice.state.clone() };
    commit(&store, &alice, Write::State(later)).unwrap();
    let lost = store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state);
    assert_eq!(lost, Err(CommitError::Conflict), "a code was used meanwhile");
    let (alice, bob, binding, state) = renamed(&store);
    store.commit("bob", &bob, &Write::bind(&State::fresh(Id::default(), [0, 0]), credentials(7))).unwrap();
    let lost = store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state);
    assert_eq!(lost, Err(CommitError::Conflict), "a device was bound meanwhile");
    assert_eq!(load(&store).state.last_step, 900);
    assert_eq!(store.load("bob").unwrap().0.credentials.unwrap().id, Id([7; 16]));
}

/// What is cut before the rename of the folder is found as it was, and what is cut after it is under both names.
#[test]
fn a_rename_that_was_cut_leaves_a_device_that_works() {
    let place = Place::new("rename-cut");
    let store = place.bound();
    let (alice, bob, binding, state) = renamed(&store);
    // No disk is so full that a folder cannot be in the way.
    fs::create_dir(place.path("users/bob")).unwrap();
    fs::set_permissions(place.path("users/bob"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(place.path("users/bob/in-the-way")).unwrap();
    assert!(store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state).is_err());
    assert_eq!(load(&store).state, state, "alice's is untouched");
    assert!(store.load("bob").unwrap().0.credentials.is_none(), "nobody else has it");
    assert_eq!(fs::read_dir(place.path("users/rename.new")).unwrap().count(), 0, "no key is left");
    fs::remove_dir(place.path("users/bob/in-the-way")).unwrap();
    let (alice, bob, binding, state) = renamed(&store);
    store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state).unwrap();
    assert_eq!(store.load("bob").unwrap().0.state, state);
}

/// Two would make their records in the same folder.
#[test]
fn renames_wait_for_each_other() {
    let place = Place::new("rename-twice");
    let store = place.bound();
    let (alice, bob, binding, state) = renamed(&store);
    let rename = || store.rename(("alice", &alice.revision), ("bob", &bob), &binding, &state);
    let users = fs::File::open(place.path("users")).unwrap();
    let another = Flock::lock(users, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
    assert!(matches!(rename(), Err(CommitError::Failed(why)) if why.kind == Trouble::NotDone));
    assert!(!place.path("users/rename.new").exists());
    drop(another);
    rename().unwrap();
}

#[test]
fn unbinding_destroys_what_a_cut_rename_has_left() {
    let place = Place::new("rename-left");
    let store = place.bound();
    let left = place.path("users/rename.new/credentials");
    let leave = || {
        let _ = fs::create_dir(place.path("users/rename.new"));
        fs::set_permissions(place.path("users/rename.new"), fs::Permissions::from_mode(0o700)).unwrap();
        place.write("users/rename.new/credentials", b"a key");
        fs::File::open(&left).unwrap()
    };
    let is_destroyed = |mut opened: fs::File| {
        let mut rest = Vec::new();
        opened.read_to_end(&mut rest).unwrap();
        !left.exists() && rest.iter().all(|byte| *byte == 0)
    };
    let opened = leave();
    commit(&store, &load(&store), Write::Unbind).unwrap();
    assert!(is_destroyed(opened));
    for user in ["alice", "nobody-is-kept"] {
        let opened = leave();
        store.destroy(user).unwrap();
        assert!(is_destroyed(opened), "{user}");
    }
}

#[test]
fn another_users_credentials_are_refused() {
    let place = Place::new("other-user");
    let store = place.bound();
    fs::rename(place.path("users/alice"), place.path("users/bob")).unwrap();
    assert!(store.load("bob").err().unwrap().to_string().contains("belongs to another user"));
}

#[test]
fn state_without_credentials_is_damage_not_freedom() {
    let place = Place::new("orphan");
    let store = place.bound();
    fs::remove_file(place.of_alice("credentials")).unwrap();
    assert!(matches!(error(&store), StoreError::Orphan(_)));
}

#[test]
fn credentials_without_state_still_refuse_the_codes_of_the_binding() {
    let place = Place::new("no-state");
    let store = place.bound();
    fs::remove_file(place.of_alice("state")).unwrap();
    let record = load(&store);
    assert_eq!(record.state.last_step, 101);
    let state = State { last_step: 300, ..record.state.clone() };
    commit(&store, &record, Write::State(state.clone())).unwrap();
    assert_eq!(load(&store).state.last_step, 300);
}

#[test]
fn whatever_stands_in_a_files_place_is_refused_at_once() {
    for name in ["credentials", "state", "pending"] {
        let place = Place::new(&format!("in-place-of-{name}"));
        let store = place.bound();
        commit(&store, &load(&store), Write::Pend(pending(5))).unwrap();
        let path = place.of_alice(name);
        let original = place.of_alice("original");
        fs::rename(&path, &original).unwrap();
        let refused = |what: &str| {
            assert!(matches!(error(&store), StoreError::Fault(_)), "{what} in place of {name}");
        };

        symlink(&original, &path).unwrap();
        refused("a symbolic link");
        fs::remove_file(&path).unwrap();

        fs::hard_link(&original, &path).unwrap();
        refused("a second name");
        fs::remove_file(&path).unwrap();

        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        refused("a FIFO");
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        refused("a folder");
        fs::remove_dir(&path).unwrap();

        fs::rename(&original, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        refused("a file that others may read");
    }
}

#[test]
#[ignore = "needs root: make unit"]
fn a_file_of_somebody_else_is_refused() {
    for name in ["credentials", "state", "pending"] {
        let place = Place::new(&format!("others-{name}"));
        let store = place.bound();
        commit(&store, &load(&store), Write::Pend(pending(5))).unwrap();
        assert!(store.load("alice").is_ok());
        std::os::unix::fs::chown(place.of_alice(name), Some(65534), None).unwrap();
        assert!(matches!(error(&store), StoreError::Fault(_)), "{name}");
    }
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let place = Place::new("open-folder");
    let store = place.bound();
    fs::set_permissions(place.path("users/alice"), fs::Permissions::from_mode(0o720)).unwrap();
    assert!(matches!(error(&store), StoreError::Fault(_)));
    fs::set_permissions(place.path("users"), fs::Permissions::from_mode(0o702)).unwrap();
    assert!(Store::open(&place.0).is_err());
    fs::set_permissions(place.path("users"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Store::open(&place.0).is_err());
}

#[test]
fn a_link_on_the_way_is_refused() {
    let place = Place::new("linked");
    let link = place.path("link");
    symlink(&place.0, &link).unwrap();
    assert!(Store::open(&link).is_err());
}

#[test]
fn without_its_format_a_store_says_nothing_about_anybody() {
    let place = Place::new("format");
    place.bound();
    fs::write(place.path("FORMAT"), "mfa-store 2\n").unwrap();
    assert!(matches!(Store::open(&place.0).err(), Some(StoreError::Format(_))));
    fs::remove_file(place.path("FORMAT")).unwrap();
    assert!(matches!(Store::open(&place.0).err(), Some(StoreError::Fault(fault)) if fault.is_missing()));
    fs::remove_dir_all(&place.0).unwrap();
    assert!(matches!(Store::open(&place.0).err(), Some(StoreError::Fault(fault)) if fault.is_missing()));
}

/// One spelling only, as for records.
#[test]
fn a_format_in_other_words_is_none() {
    let place = Place::new("format-words");
    let mut spellings =
        vec![vec![], b"mfa-store 1\r\n".to_vec(), b"mfa-store 1\n\n".to_vec(), b" mfa-store 1\n".to_vec()];
    for (at, byte) in FORMAT.bytes().enumerate() {
        let mut without = FORMAT.as_bytes().to_vec();
        without.remove(at);
        let doubled = [&FORMAT.as_bytes()[..at], &[byte], &FORMAT.as_bytes()[at..]].concat();
        let flipped = (0..8).map(|bit| {
            let mut other = FORMAT.as_bytes().to_vec();
            other[at] ^= 1 << bit;
            other
        });
        spellings.extend([without, doubled].into_iter().chain(flipped));
    }
    for spelling in spellings {
        place.write("FORMAT", &spelling);
        assert!(matches!(Store::open(&place.0).err(), Some(StoreError::Format(_))), "{spelling:?}");
    }
    place.write("FORMAT", FORMAT.as_bytes());
    assert!(Store::open(&place.0).is_ok());
}

#[test]
fn unbinding_leaves_nothing_and_overwrites_the_key() {
    let place = Place::new("unbind");
    let store = place.bound();
    commit(&store, &load(&store), Write::Pend(pending(5))).unwrap();
    place.write("users/alice/pending.new", b"half a key");
    let mut old: Vec<fs::File> =
        ["credentials", "pending"].iter().map(|name| fs::File::open(place.of_alice(name)).unwrap()).collect();
    store.destroy("alice").unwrap();
    assert_eq!(fs::read_dir(place.path("users/alice")).unwrap().count(), 0);
    assert!(load(&store).credentials.is_none());
    for file in &mut old {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert!(!bytes.is_empty() && bytes.iter().all(|b| *b == 0), "the key's bytes are gone from the disk");
    }
}

#[test]
fn an_unbinding_cut_after_its_rename_is_an_unbinding() {
    let place = Place::new("unbind-cut");
    let store = place.bound();
    let (state, before) =
        (fs::read(place.of_alice("state")).unwrap(), fs::read(place.of_alice("credentials")).unwrap());
    // What the rename leaves: a file that says "none", and the state of the binding that was.
    let none = b"mfa-credentials 1\nuser alice\nkind none\n";
    store.destroy("alice").unwrap();
    let sealed = [none.as_slice(), format!("sha256 {}\n", sha256(none)).as_bytes()].concat();
    place.write("users/alice/credentials", &sealed);
    place.write("users/alice/state", &state);
    assert!(load(&store).credentials.is_none());
    // What is written from there on is there, as where nothing was cut.
    let cut = load(&store);
    let invitation = OneTime { set: credentials(1).recovery, expires: 7 };
    commit(&store, &cut, Write::State(State { invitation: invitation.clone(), ..cut.state.clone() })).unwrap();
    assert_eq!(load(&store).state.invitation, invitation);
    assert!(!place.of_alice("credentials").exists());
    place.write("users/alice/credentials", &sealed);
    place.write("users/alice/state", &state);
    // And binding again from there works.
    bind(&store, &load(&store), credentials(2), &Owes::default()).unwrap();
    assert_eq!(load(&store).state.last_step, 101);
    assert_ne!(before, fs::read(place.of_alice("credentials")).unwrap());
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

#[test]
fn a_binding_cut_before_tidying_up_leaves_no_pending_device() {
    let place = Place::new("bind-cut");
    let store = place.store();
    commit(&store, &load(&store), Write::Pend(pending(1))).unwrap();
    let kept = fs::read(place.of_alice("pending")).unwrap();
    bind(&store, &load(&store), credentials(1), &Owes::default()).unwrap();
    place.write("users/alice/pending", &kept);
    let record = load(&store);
    assert!(record.credentials.is_some() && record.pending.is_none());
}

#[test]
fn a_leftover_of_a_write_that_was_cut_is_in_nobodys_way() {
    let place = Place::new("leftover");
    let store = place.store();
    fs::create_dir(place.path("users/alice")).unwrap();
    fs::set_permissions(place.path("users/alice"), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["credentials.new", "state.new", "pending.new"] {
        place.write(&format!("users/alice/{name}"), b"half a fi");
    }
    assert!(load(&store).credentials.is_none());
    commit(&store, &load(&store), Write::Pend(pending(1))).unwrap();
    bind(&store, &load(&store), credentials(1), &Owes::default()).unwrap();
    assert!(load(&store).credentials.is_some());
}

#[test]
fn unbinding_clears_what_cannot_be_read() {
    let place = Place::new("discard");
    let store = place.bound();
    place.write("users/alice/credentials", b"garbage");
    assert!(store.load("alice").is_err());
    store.destroy("alice").unwrap();
    assert!(load(&store).credentials.is_none());
    store.destroy("alice").unwrap();
    assert_eq!(store.destroy("nobody"), Ok(()));
}

#[test]
fn a_new_binding_does_not_inherit_the_old_ones_state() {
    let place = Place::new("inherit");
    let store = place.bound();
    let state = fs::read(place.of_alice("state")).unwrap();
    store.destroy("alice").unwrap();
    bind(&store, &load(&store), credentials(2), &Owes::default()).unwrap();
    place.write("users/alice/state", &state);
    assert_eq!(load(&store).state, State::fresh(Id([2; 16]), [100, 101]));
}

#[test]
fn a_writer_that_holds_the_record_for_too_long_is_not_waited_for() {
    let place = Place::new("busy");
    let store = place.bound();
    let record = load(&store);
    let holder = fs::File::open(place.path("users/alice")).unwrap();
    holder.lock().unwrap();
    let refused = commit(&store, &record, Write::State(record.state.clone())).unwrap_err();
    assert!(matches!(&refused, CommitError::Failed(why) if why.text.contains("locked")));
    drop(holder);
    assert_eq!(commit(&store, &record, Write::State(record.state.clone())), Ok(()));
}

#[test]
fn of_sixty_four_writers_at_once_none_overwrites_another() {
    let place = Place::new("race");
    place.bound();
    let path = &place.0;
    let wins: u64 = std::thread::scope(|scope| {
        let writer = |_| {
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                let mut wins = 0;
                for _ in 0..4 {
                    let record = load(&store);
                    let state = State { last_used: record.state.last_used + 1, ..record.state.clone() };
                    wins += u64::from(commit(&store, &record, Write::State(state.clone())).is_ok());
                }
                wins
            })
        };
        let threads: Vec<_> = (0..64).map(writer).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(wins > 0);
    assert_eq!(load(&place.store()).state.last_used, wins, "every commit that won is counted");
}
