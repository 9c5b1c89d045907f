//! Logins that are remembered: shown, and forgotten.

use mfa_core::record::State;
use mfa_core::remembered::{RememberedLogin, RememberedLogins};
use mfa_wire::{FromHelper, Outcome, Remembered, printable};

use crate::conversation::Conversation;
use crate::flow::Decision;
use crate::flow::revise::{Revision, revise};
use crate::flow::user::known_or_kept;
use crate::host::Host;

/// Says which logins of `user` are remembered; or forgets one, or all.
pub fn tickets(
    user: &str,
    revoke: Option<&str>,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let store = host.store()?;
    let user = known_or_kept(user, &store)?;
    let name = printable(&user, 64);
    let record = store.load(&user)?;
    let Some(id) = revoke else {
        let good: Vec<&RememberedLogin> = record.state.remembered.good((host.now)()).collect();
        for login in &good {
            conversation.send(&FromHelper::Remembered(shown(login)))?;
        }
        let text = if good.is_empty() { format!("No login of {name} is remembered.") } else { String::new() };
        return Ok(Decision::new(Outcome::Accepted, text, "shown"));
    };
    revise(record, &store, |record| {
        let logins = &record.state.remembered;
        let remembered = if id == ALL { RememberedLogins::default() } else { logins.without(id) };
        if remembered == *logins {
            let text = match id {
                ALL => format!("No login of {name} is remembered."),
                _ => format!("No login of {name} is remembered under the id {}.", printable(id, 64)),
            };
            return Err(Decision::new(Outcome::NotFound, text, "no such ticket"));
        }
        let text = format!("Forgotten: {name} is asked for the code there again.");
        let forgotten = Decision::new(Outcome::Accepted, text, format!("revoked {id}"));
        Ok(Revision::Keep(State { remembered, ..record.state.clone() }, forgotten))
    })
}

/// In place of an id: every one.
const ALL: &str = "all";

fn shown(login: &RememberedLogin) -> Remembered {
    let RememberedLogin { origin, made, expires } = login;
    Remembered {
        id: login.id(),
        service: origin.service().to_owned(),
        place: origin.place().to_owned(),
        key: origin.key(),
        made: *made,
        expires: *expires,
    }
}
