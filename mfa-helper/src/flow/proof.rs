//! What is proved before a change, and whether it still holds when the change is made.

use mfa_core::change::Refusal;
use mfa_core::judge::Proved;
use mfa_core::view::View;

use super::code::Audience;
use super::{Decision, Desk, ask_for_device};

/// What has been proved before a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, and nothing is asked: the caller is root.
    Root,
    /// The first factor.
    FirstFactor,
    /// Nothing yet: a user without a device is asked for an invitation code instead of the first factor.
    Invitation,
}

/// What is bound, and the proof by which it may be changed.
pub struct Proven {
    /// What is bound.
    pub view: View,
    /// The proof.
    pub proved: Proved,
    /// The factor that was asked, for the log.
    pub factor: &'static str,
}

impl Proof {
    /// Where the change comes from, as it is written down: root, or the user.
    pub fn from(self, user: &str) -> &str {
        if self == Proof::Root { ROOT } else { user }
    }

    /// Asks for the device that is bound, unless the caller is root.
    pub fn of_device(self, user: &str, desk: &mut Desk) -> Result<Proven, Decision> {
        let view = desk.bindings.look(user)?;
        if self == Proof::Root || view.bound.is_none() {
            let proved = match self {
                Proof::Root => Proved::by_root(view.seen()),
                _ => Proved::nothing_bound(view.seen()),
            };
            return Ok(Proven { view, proved, factor: "none" });
        }
        let passed = ask_for_device(None, Audience::of_a_change(desk.lang()), &view, desk)?;
        let factor = passed.decision.factor;
        if !passed.decision.text.is_empty() {
            desk.conversation.tell(&passed.decision.text)?;
        }
        let view = desk.bindings.look(user)?;
        // The proof is about the device that was asked, so it is void if the record changed since.
        match passed.proved.holds(view.seen()) {
            true => Ok(Proven { view, proved: passed.proved, factor }),
            false => Err(Decision::from(Refusal::Changed).by_factor(factor)),
        }
    }
}

/// From where a device is bound, or begun, at root's command line.
pub const ROOT: &str = "root";
