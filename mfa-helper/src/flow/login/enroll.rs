//! Binding inside a login, in its account phase: the first factor has succeeded, and nothing else
//! happens until the device is bound.

use mfa_core::pair::Pair;
use mfa_core::record::{Credentials, PENDING_LIFE, Pending};
use mfa_core::{Id, Kind};
use mfa_wire::{Login, Outcome, Secret};

use super::enroll_key::{self, Touched};
use super::openers;
use super::page::{self, Look};
use crate::conversation::Conversation;
use crate::flow::permission::ask_for_invitation;
use crate::flow::place::origin;
use crate::flow::{Decision, TRIES, codes, new_app};
use crate::host::Host;
use crate::lang::{Lang, Text};
use crate::policy::{Enroll, Requirement};
use crate::store::{Change, Record, Store};

/// How often a picture is drawn in another way before it is enough.
const PAGES: usize = 20;

/// Leads the user of this record through binding a device. Whatever ends before it is bound ends the login.
pub fn at_login(
    login: &Login,
    asked: &Requirement,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    conversation.allow_for_binding();
    // Before anybody gets their phone out.
    openers::openers(login, host)?;
    let everywhere = host.loaded.policy.lang.everywhere(login);
    if let Some((lapsed, _)) = &record.provisional {
        let ago = (host.now)().saturating_sub(lapsed.created);
        conversation.tell(&everywhere.say(Text::Lapsed(ago, &lapsed.created_from)))?;
    }
    if asked.enroll == Enroll::Invited {
        ask_for_invitation(&record.state, everywhere, host, conversation)?;
    }
    match choose(&offers(asked, login, host), everywhere, conversation)? {
        Offer::App => app_at_login(login, record, store, host, conversation),
        Offer::Plugged => enroll_key::at_login(login, None, record, store, host, conversation),
        Offer::Ssh(touched) => enroll_key::at_login(login, Some(&touched), record, store, host, conversation),
    }
}

/// What can be bound inside a login, among what policy allows, from the place where it is.
#[derive(Clone)]
pub enum Offer {
    /// An authenticator app.
    App,
    /// A security key that is plugged in here.
    Plugged,
    /// The security key by which sshd has just let in.
    Ssh(Touched),
}

/// All of it.
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

/// Whoever can bind one thing only is not asked.
fn choose(offers: &[Offer], lang: Lang, conversation: &mut Conversation) -> Result<Offer, Decision> {
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
        let answer = conversation.ask(&question)?;
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

fn app_at_login(
    login: &Login,
    record: Record,
    store: &Store,
    host: &Host,
    conversation: &mut Conversation,
) -> Result<Decision, Decision> {
    let lang = host.loaded.policy.lang;
    let (everywhere, beside_a_picture) = (lang.everywhere(login), lang.beside_a_picture(login));
    let (user, from) = (record.user().to_owned(), origin(login));
    let begun = record
        .pending
        .as_ref()
        .filter(|pending| shown_again(pending, from, host))
        .map(|pending| everywhere.say(Text::Begun((host.now)().saturating_sub(pending.begun()), &pending.from)));
    let (mut record, mut look, mut notice) = match begun {
        // The last client may have been unable to draw.
        Some(begun) => (record, Look::Key, begun),
        None => (begin(record, from, store, host)?, Look::Light, String::new()),
    };
    let mut tries = TRIES;
    for _ in 0..PAGES {
        let Some(pending) = &record.pending else { return Err(begun_elsewhere()) };
        // Whoever answers a page of half blocks can take more than ASCII, and who could not is offered the key alone.
        let lang = if look.is_ascii() { everywhere } else { beside_a_picture };
        let first = conversation.ask_with(true, page::binding(&user, pending, look, &notice, &host.issuer(), lang))?;
        notice.clear();
        match page::wish(&first) {
            Some(page::Wish::Look(other)) => look = other,
            Some(page::Wish::New) => record = begin(record, from, store, host)?,
            None => {
                let second = conversation.ask(&lang.say(Text::SecondNext))?;
                let window = host.loaded.policy.window;
                match Pair::find(&pending.totp, &first, &second, (host.now)(), window) {
                    Ok(pair) => {
                        let remark = new_app::remark(&pair, &pending.totp, lang);
                        let codes = bind(login, record, pair, store, host)?;
                        if let Some(remark) = remark {
                            conversation.tell(&remark)?;
                        }
                        let text = page::show_codes(login, &codes, Text::BoundInLogin(&user), lang, conversation);
                        let bound = Decision::new(Outcome::Accepted, text, "bound inside the login");
                        return Ok(Decision { factor: "totp", ..bound });
                    }
                    Err(error) => {
                        tries -= 1;
                        if tries == 0 {
                            let why = Lang::En.say(Text::Pair(&error));
                            let text = format!("{why} Nothing was bound: log in again to go on.");
                            return Err(Decision::new(Outcome::Refused, text, format!("not bound: {why}")));
                        }
                        notice = lang.say(Text::Pair(&error));
                    }
                }
            }
        }
    }
    Err(Decision::new(Outcome::Refused, "Nothing was bound.", "not bound: no codes"))
}

/// Keeps a new device before it is shown, in place of any other that waits.
fn begin(record: Record, from: Option<&str>, store: &Store, host: &Host) -> Result<Record, Decision> {
    let pending = Pending {
        id: new_app::new_id(host)?,
        label: String::new(),
        expires: (host.now)() + PENDING_LIFE,
        from: from.unwrap_or_default().to_owned(),
        replaces: Id::default(),
        totp: new_app::new_totp(host)?,
    };
    store.commit(&record, Change::Pend(&pending))?;
    let record = store.load(record.user())?;
    // Somebody else may have begun meanwhile: what is shown is what is kept.
    if record.pending.as_ref().is_some_and(|kept| kept.id == pending.id) { Ok(record) } else { Err(begun_elsewhere()) }
}

fn begun_elsewhere() -> Decision {
    let text = "Another login of this account has begun to bind a device: log in again.";
    Decision::new(Outcome::Refused, text, "begun elsewhere")
}

/// Only to the very place that has seen it, for a quarter of an hour: the key would let anybody bind.
fn shown_again(pending: &Pending, from: Option<&str>, host: &Host) -> bool {
    from.is_some_and(|from| from == pending.from) && pending.expires > (host.now)()
}

/// Binds what is pending, on the condition that the login goes on. Gives the recovery codes that belong to it.
fn bind(login: &Login, mut record: Record, pair: Pair, store: &Store, host: &Host) -> Result<Vec<Secret>, Decision> {
    let Some(Pending { id, label, totp, .. }) = record.pending.take() else { return Err(begun_elsewhere()) };
    let (recovery, codes) = codes::new_set(host)?;
    let from = origin(login).unwrap_or("an unknown place");
    let credentials = Credentials { recovery, ..new_app::bound(id, label, from, totp, pair, host) };
    store.commit(&record, Change::BindProvisionally(&credentials, &openers::provisional(login, host)?))?;
    Ok(codes)
}
