//! What a person has to be told about changes of the binding.

use mfa_core::key::Key;
use mfa_core::record::{Amendment, Latest};
use mfa_core::view::{Bound, View};

use crate::lang::{Lang, News, Text};

/// What the first login after a change of the binding is told, so that an owner notices a change by somebody else.
pub fn since_the_last_login(view: &View, now: u64, lang: Lang) -> Option<String> {
    let bound = view.bound.as_ref()?;
    let age = now.saturating_sub(bound.created);
    let device = (view.last_used == 0).then(|| match bound.latest {
        Latest::Replaced => Text::News(News::TookThePlace, age, &bound.created_from),
        _ => Text::News(News::Bound, age, &bound.created_from),
    });
    let change = match &bound.latest {
        Latest::Changed { what, when, from } if view.last_used <= *when => {
            let ago = now.saturating_sub(*when);
            Some(match what {
                Amendment::RecoveryCodes => Text::News(News::CodesMade, ago, from),
                Amendment::KeyRemoved => Text::News(News::KeyRemoved, ago, from),
            })
        }
        _ => None,
    };
    let added =
        added_key(bound, now).map(|key| Text::News(News::KeyAdded, now.saturating_sub(key.created), &key.created_from));
    let news: Vec<String> = device.into_iter().chain(change).chain(added).map(|text| lang.say(text)).collect();
    (!news.is_empty()).then(|| news.join("\n"))
}

/// The latest key that was added, until an older key has been used since: a thief who has added it may log in first,
/// and must not end the news for the owner. But for a week at most, since an owner may use the new key alone.
fn added_key(bound: &Bound, now: u64) -> Option<&Key> {
    const TOLD_FOR: u64 = 7 * 86_400;
    let before = |new: &Key| {
        let created = new.created;
        bound.keys.iter().filter(move |old| old.created < created)
    };
    // Not in the same second: a key that is bound is touched as the proof, just before.
    let used_since = |new: &Key| before(new).any(|old| bound.keys_used.last(old).is_some_and(|at| at > new.created));
    let is_news =
        |new: &&Key| now.saturating_sub(new.created) < TOLD_FOR && before(new).next().is_some() && !used_since(new);
    bound.keys.iter().filter(is_news).max_by_key(|key| key.created)
}
