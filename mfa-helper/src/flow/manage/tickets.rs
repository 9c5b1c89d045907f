//! Logins that are remembered: shown, and forgotten.

use mfa_core::change::{Note, Refusal};
use mfa_core::remembered::RememberedLogin;
use mfa_wire::{FromHelper, Outcome, Remembered, printable};

use crate::flow::user::known_or_kept;
use crate::flow::{Decision, Desk};

/// Says which logins of `user` are remembered; or forgets one, or all.
pub fn tickets(user: &str, revoke: Option<&str>, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known_or_kept(user, desk)?;
    let name = printable(&user, 64);
    let none = || format!("No login of {name} is remembered.");
    let Some(id) = revoke else {
        let view = desk.bindings.look(&user)?;
        let good: Vec<&RememberedLogin> = view.remembered.good(desk.now()).collect();
        for login in &good {
            desk.conversation.send(&FromHelper::Remembered(shown(login)))?;
        }
        return Ok(Decision::new(Outcome::Accepted, if good.is_empty() { none() } else { String::new() }, "shown"));
    };
    match desk.bindings.note(&user, Note::Forget((id != ALL).then(|| id.to_owned()))) {
        Ok(()) => {
            let text = format!("Forgotten: {name} is asked for the code there again.");
            Ok(Decision::new(Outcome::Accepted, text, format!("revoked {id}")))
        }
        Err(Refusal::NothingThere) => {
            let text = match id {
                ALL => none(),
                _ => format!("No login of {name} is remembered under the id {}.", printable(id, 64)),
            };
            Err(Decision::new(Outcome::NotFound, text, "no such ticket"))
        }
        Err(other) => Err(other.into()),
    }
}

/// Instead of an id: all of them.
const ALL: &str = "all";

fn shown(login: &RememberedLogin) -> Remembered {
    let RememberedLogin { origin, made, expires } = login;
    Remembered {
        id: login.id(),
        service: origin.service().to_owned(),
        place: origin.source().to_owned(),
        key: origin.key(),
        made: *made,
        expires: *expires,
    }
}
