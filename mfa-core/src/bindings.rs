//! The interface between the flows and the store of devices. No secret of a bound device leaves it.

use mfa_wire::Secret;

use crate::change::{self, Change, Clock, Made, New, NewApp, Note, Refusal, Terms};
use crate::engine::{self, Engine, Trouble, Unavailable, Write, revise};
use crate::judge::{Answer, By, Judged, Proved, Rules, invited, judge};
use crate::totp::{Parameters, Totp};
use crate::view::View;
use crate::{Id, recovery};

/// Keeps devices, and judges what answers are worth.
pub trait Bindings {
    /// What is kept of `user`, without its secrets.
    fn look(&self, user: &str) -> Result<View, Unavailable>;

    /// Judges an answer at the present time. The change that follows from it is on disk before this returns; otherwise
    /// a code could be used twice.
    fn judge(&self, user: &str, by: By, answer: &Answer) -> Result<Judged, Unavailable>;

    /// What an invitation proves, if this is its code and it is still good.
    fn invited(&self, user: &str, typed: &Secret) -> Result<Option<Proved>, Unavailable>;

    /// The challenge for a key to sign: 32 random bytes. They stand for the client data hash of WebAuthn, because there
    /// is no browser.
    fn challenge(&self, user: &str) -> Result<[u8; 32], Unavailable>;

    /// Begins to bind an app. This is the one time that its key is seen.
    fn begin(&self, user: &str, proved: &Proved, begin: Begin) -> Result<NewApp, Refusal>;

    /// Binds a device in place of any other.
    fn bind(&self, user: &str, proved: &Proved, new: New, terms: &Terms) -> Result<NowBound, Refusal>;

    /// Changes what is bound.
    fn change(&self, user: &str, proved: &Proved, change: Change) -> Result<(), Refusal>;

    /// Learns how far the device's clock is ahead, by two codes in a row.
    fn learn_clock(&self, user: &str, codes: [&Secret; 2]) -> Result<Clock, Refusal>;

    /// Writes down what is kept beside it.
    fn note(&self, user: &str, note: Note) -> Result<(), Refusal>;

    /// Makes the device of `old` that of `new`, who has none. Nothing is kept of `old` then.
    fn rename(&self, old: &str, new: &str) -> Result<(), Refusal>;

    /// Destroys the record of `user`, readable or not.
    fn destroy(&self, user: &str) -> Result<(), Unavailable>;

    /// Whether anything is kept of `user`.
    fn has(&self, user: &str) -> Result<bool, Unavailable>;

    /// The names of the users that have a record, sorted: at most `most` of them, all after `after`. Only names, so
    /// that a record that cannot be read hides no other.
    fn list(&self, after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable>;
}

/// How an app is begun.
pub enum Begin {
    /// It is kept nowhere until it is bound.
    Unkept {
        /// What the user calls it.
        label: String,
    },
    /// It is kept, and waits for its two codes. It replaces any other app that waits.
    Waiting {
        /// What the user calls it.
        label: String,
        /// Where it is begun: a literal address, a terminal, or "root"; empty where nobody can tell.
        from: String,
    },
    /// The app with this identity waits already, and is shown again.
    Again(Id),
}

/// A device that was bound.
pub struct NowBound {
    /// How far the clock of an app is ahead, in seconds.
    pub offset: Option<i64>,
    /// The recovery codes that belong to it, to be shown once.
    pub codes: Vec<Secret>,
}

/// Judges here, over an engine that keeps the records.
pub struct Local<E> {
    /// The engine.
    pub engine: E,
    /// What the policy says of judging.
    pub rules: Rules,
    /// How the codes of new apps are made.
    pub totp: Parameters,
    /// Seconds since 1970.
    pub now: fn() -> u64,
    /// Fills a buffer with random bytes.
    pub random: fn(&mut [u8]) -> Result<(), Unavailable>,
}

impl<E: Engine> Local<E> {
    fn new_app(&self, label: String) -> Result<NewApp, Unavailable> {
        let mut key = Secret::zeroed(self.totp.algorithm.key_length());
        (self.random)(key.bytes_mut())?;
        let impossible =
            || Unavailable { kind: Trouble::NotDone, text: String::from("the TOTP parameters of the policy") };
        Ok(NewApp::new(Id::new(self.random)?, label, Totp::new(self.totp, key).ok_or_else(impossible)?))
    }
}

impl<E: Engine> Bindings for Local<E> {
    fn look(&self, user: &str) -> Result<View, Unavailable> {
        Ok(View::of(self.engine.look(user)?))
    }

    fn judge(&self, user: &str, by: By, answer: &Answer) -> Result<Judged, Unavailable> {
        revise(&self.engine, user, |record| {
            let (judged, after) = judge(&record, by, &self.rules, (self.now)(), answer);
            Ok((judged, after.map(Write::State)))
        })
    }

    fn invited(&self, user: &str, typed: &Secret) -> Result<Option<Proved>, Unavailable> {
        Ok(invited(&self.engine.look(user)?, typed, (self.now)()))
    }

    fn challenge(&self, _user: &str) -> Result<[u8; 32], Unavailable> {
        let mut bytes = [0; 32];
        (self.random)(&mut bytes)?;
        Ok(bytes)
    }

    fn begin(&self, user: &str, proved: &Proved, begin: Begin) -> Result<NewApp, Refusal> {
        match begin {
            Begin::Unkept { label } => Ok(self.new_app(label)?),
            Begin::Again(id) => NewApp::waiting(self.engine.load(user)?.0, proved, id),
            Begin::Waiting { label, from } => {
                let (app, now) = (self.new_app(label)?, (self.now)());
                let pend = |record| change::pend(&record, proved, &app, &from, now).map(|write| ((), Some(write)));
                revise(&self.engine, user, pend)?;
                Ok(app.waiting_until(now))
            }
        }
    }

    fn bind(&self, user: &str, proved: &Proved, new: New, terms: &Terms) -> Result<NowBound, Refusal> {
        let (recovery, codes) = recovery::Set::make(terms.codes, self.random)?;
        let made = Made { id: Id::new(self.random)?, recovery, now: (self.now)(), window: self.rules.window };
        let offset = revise(&self.engine, user, |record| {
            change::bind(record, proved, &new, terms, &made).map(|(offset, write)| (offset, Some(write)))
        })?;
        Ok(NowBound { offset, codes })
    }

    fn change(&self, user: &str, proved: &Proved, change: Change) -> Result<(), Refusal> {
        revise(&self.engine, user, |record| {
            change::change(record, proved, &change, (self.now)()).map(|write| ((), Some(write)))
        })
    }

    fn learn_clock(&self, user: &str, codes: [&Secret; 2]) -> Result<Clock, Refusal> {
        revise(&self.engine, user, |record| {
            change::learn_clock(&record, codes, (self.now)()).map(|(clock, write)| (clock, Some(write)))
        })
    }

    fn note(&self, user: &str, note: Note) -> Result<(), Refusal> {
        revise(&self.engine, user, |record| change::note(record, &note, (self.now)()).map(|write| ((), write)))
    }

    fn rename(&self, old: &str, new: &str) -> Result<(), Refusal> {
        engine::rename(&self.engine, old, new, change::renamed)
    }

    fn destroy(&self, user: &str) -> Result<(), Unavailable> {
        self.engine.destroy(user)
    }

    fn has(&self, user: &str) -> Result<bool, Unavailable> {
        self.engine.has(user)
    }

    fn list(&self, after: Option<&str>, most: usize) -> Result<Vec<String>, Unavailable> {
        self.engine.list(after, most)
    }
}
