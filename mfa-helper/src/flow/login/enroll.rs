//! Binding inside a login, in its account phase: the first factor has succeeded, and nothing else
//! happens until the device is bound.

use mfa_core::Kind;
use mfa_core::bindings::Begin;
use mfa_core::change::{New, NewApp, Refusal};
use mfa_core::judge::Proved;
use mfa_core::pair::PairError;
use mfa_core::view::{View, Waiting};
use mfa_wire::{Login, Outcome};

use super::enroll_key::{self, Touched};
use super::openers;
use super::page::{self, Look};
use crate::flow::door::origin;
use crate::flow::permission::ask_for_invitation;
use crate::flow::{Decision, Desk, TRIES, new_app};
use crate::host::Host;
use crate::lang::{Lang, Text};
use crate::policy::{Enroll, Requirement};

/// The most pages that are shown, as each wish for another picture costs one.
const PAGES: usize = 20;

/// Leads this user through binding a device. If that ends before a device is bound, the login ends too.
pub fn at_login(login: &Login, asked: &Requirement, view: &View, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    // Fail now, before the person fetches a phone.
    openers::openers(login, desk.host)?;
    let everywhere = desk.lang().everywhere(login);
    if let Some(lapsed) = &view.provisional {
        let ago = desk.now().saturating_sub(lapsed.begun);
        desk.conversation.tell(&everywhere.say(Text::Lapsed(ago, &lapsed.from)))?;
    }
    let proved = match asked.enroll {
        Enroll::Invited => ask_for_invitation(&view.user, everywhere, desk)?,
        _ => Proved::nothing_bound(view.seen()),
    };
    match choose(&offers(asked, login, desk.host), everywhere, desk)? {
        Offer::App => app_at_login(login, view, &proved, desk),
        Offer::Plugged => enroll_key::at_login(login, None, &view.user, &proved, desk),
        Offer::Ssh(touched) => enroll_key::at_login(login, Some(&touched), &view.user, &proved, desk),
    }
}

/// A device that can be bound inside this login: allowed by the policy, and possible from its place.
#[derive(Clone)]
pub enum Offer {
    /// An authenticator app.
    App,
    /// A security key that is plugged in here.
    Plugged,
    /// The security key by which sshd has just let in.
    Ssh(Touched),
}

/// Every device kind that this login could bind.
pub fn offers(asked: &Requirement, login: &Login, host: &Host) -> Vec<Offer> {
    let mut offers = Vec::new();
    if asked.kinds.contains(&Kind::Totp) {
        offers.push(Offer::App);
    }
    if asked.kinds.contains(&Kind::U2f) {
        if host.is_local(login) {
            offers.push(Offer::Plugged);
        }
        offers.extend(enroll_key::offered(asked, login, host).map(Offer::Ssh));
    }
    offers
}

/// Asks what to bind, unless there is one thing only.
fn choose(offers: &[Offer], lang: Lang, desk: &mut Desk) -> Result<Offer, Decision> {
    if let [only] = offers {
        return Ok(only.clone());
    }
    let plugged = offers.iter().any(|offer| matches!(offer, Offer::Plugged));
    let ssh = offers.iter().find_map(|offer| match offer {
        Offer::Ssh(touched) => Some(touched.key.fingerprint()),
        _ => None,
    });
    let question = lang.say(Text::WhichKind(plugged, ssh.as_deref()));
    for _ in 0..TRIES {
        let answer = desk.conversation.ask(&question)?;
        let word = answer.text().unwrap_or_default().trim().to_ascii_lowercase();
        let named = |offer: &&Offer| {
            matches!((offer, word.as_str()), (Offer::App, "app") | (Offer::Plugged, "key") | (Offer::Ssh(_), "ssh"))
        };
        if let Some(offer) = offers.iter().find(named) {
            return Ok(offer.clone());
        }
    }
    Err(Decision::new(Outcome::Refused, "Nothing was bound: log in again to go on.", "not bound: no kind was chosen"))
}

fn app_at_login(login: &Login, view: &View, proved: &Proved, desk: &mut Desk) -> Result<Decision, Decision> {
    let (everywhere, beside_a_picture) = (desk.lang().everywhere(login), desk.lang().beside_a_picture(login));
    let (user, issuer, contact) = (view.user.as_str(), desk.host.issuer(), desk.host.policy().contact.as_deref());
    let names = page::Names { issuer: &issuer, contact };
    let begun = view.pending.as_ref().filter(|pending| shown_again(pending, login, desk.host));
    let (mut app, mut look, mut notice) = match begun {
        // As text, because the client may have failed to draw the picture the last time.
        Some(begun) => {
            let app = desk.bindings.begin(user, proved, Begin::Again(begun.id)).map_err(begun_elsewhere)?;
            let ago = desk.now().saturating_sub(begun.begun);
            (app, Look::Key, everywhere.say(Text::Begun(ago, &begun.from)))
        }
        None => (begin(login, user, proved, desk)?, Look::Light, String::new()),
    };
    let mut tries = TRIES;
    for _ in 0..PAGES {
        // A client that can show half blocks can show more than ASCII. For other clients there is the key alone.
        let lang = if look.is_ascii() { everywhere } else { beside_a_picture };
        let page = page::binding(user, &app, look, &notice, names, lang);
        let first = desk.conversation.ask_with(true, page)?;
        notice.clear();
        match page::wish(&first) {
            Some(page::Wish::Look(other)) => look = other,
            Some(page::Wish::New) => app = begin(login, user, proved, desk)?,
            None => {
                let second = desk.conversation.ask(&lang.say(Text::SecondNext))?;
                let new = New::App(&app, [&first, &second]);
                match desk.bindings.bind(user, proved, new, &openers::terms(login, desk.host)?) {
                    Ok(bound) => {
                        if let Some(remark) = new_app::remark(bound.offset.unwrap_or(0), app.parameters(), lang) {
                            desk.conversation.tell(&remark)?;
                        }
                        let text =
                            page::show_codes(login, &bound.codes, Text::BoundInLogin(user), lang, desk.conversation);
                        let bound = Decision::new(Outcome::Accepted, text, "bound inside the login");
                        return Ok(bound.by_factor("totp"));
                    }
                    Err(Refusal::Pair(error)) => {
                        tries -= 1;
                        if tries == 0 {
                            return Err(not_bound(&error, desk.host));
                        }
                        notice = lang.say(Text::Pair(&error));
                    }
                    Err(other) => return Err(other.into()),
                }
            }
        }
    }
    Err(Decision::new(Outcome::Refused, "Nothing was bound.", "not bound: no codes"))
}

fn not_bound(error: &PairError, host: &Host) -> Decision {
    let why = Lang::En.say(Text::Pair(error));
    let help = host.policy().contact.as_deref().map_or(String::new(), |contact| format!("\nFor help ask {contact}."));
    let text = format!("{why} Nothing was bound: log in again to go on.{help}");
    Decision::new(Outcome::Refused, text, format!("not bound: {why}"))
}

/// A new app is kept before it is shown, in place of any other that waits.
fn begin(login: &Login, user: &str, proved: &Proved, desk: &Desk) -> Result<NewApp, Decision> {
    let from = origin(login).unwrap_or_default().to_owned();
    Ok(desk.bindings.begin(user, proved, Begin::Waiting { label: String::new(), from })?)
}

fn begun_elsewhere(refusal: Refusal) -> Decision {
    match refusal {
        Refusal::Changed => {
            let text = "Another login of this account has begun to bind a device: log in again.";
            Decision::new(Outcome::Refused, text, "begun elsewhere")
        }
        other => other.into(),
    }
}

/// Only from where it was shown before, for a quarter of an hour: with this key anybody could bind.
fn shown_again(pending: &Waiting, login: &Login, host: &Host) -> bool {
    origin(login).is_some_and(|from| from == pending.from) && pending.expires > (host.now)()
}
