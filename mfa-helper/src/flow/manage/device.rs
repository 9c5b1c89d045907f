//! Binding and replacing an authenticator app, learning the offset of its clock, and ending a lock.

use mfa_core::Kind;
use mfa_core::bindings::{Begin, NowBound};
use mfa_core::change::{Clock, New, NewApp, Note, Refusal, Terms};
use mfa_core::judge::Proved;
use mfa_core::pair::PairError;
use mfa_core::totp::Parameters;
use mfa_core::view::View;
use mfa_wire::{FromHelper, Outcome, Secret, printable, shell_word};

use super::asked;
use crate::conversation::NoAnswer;
use crate::flow::proof::{Proof, ROOT};
use crate::flow::user::{already, known, known_or_kept, not_bound};
use crate::flow::{Decision, Desk, TRIES, codes, new_app, permission};
use crate::host::Host;
use crate::lang::{Lang, Text, apart, duration};

/// Binds an app in this conversation. Until the two codes are right nothing is kept anywhere.
pub fn totp(user: &str, label: Option<&str>, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let label = checked_label(label)?;
    let identity = known(user)?;
    let user = &identity.name;
    let view = desk.bindings.look(user)?;
    if view.bound.is_some() {
        return Ok(already(user));
    }
    let proved = permission::may_bind(&identity, Kind::Totp, proof, &view, desk)?;
    // The log says what was proved, however it ends.
    let factor = if proof == Proof::Invitation { permission::INVITATION } else { "none" };
    let with_factor = |decision: Decision| decision.by_factor(factor);
    let asked = asked::somewhere(user, desk.host);
    let bound = begin_and_bind(user, label, proof, &proved, desk).map_err(with_factor)?;
    let text = lines([Some(Text::Bound(user, asked)), codes::hand_out(bound.codes, user, desk)], desk.host);
    Ok(with_factor(bound_with(text, user, desk.host)))
}

/// Replaces the bound device by an app. The old device works until the two codes are right, and never after that.
pub fn replace(user: &str, label: Option<&str>, proof: Proof, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let label = checked_label(label)?;
    let identity = known(user)?;
    let user = &identity.name;
    permission::may_replace(&identity, Kind::Totp, proof, desk.host)?;
    let proven = proof.of_device(user, desk)?;
    if proven.view.bound.is_none() {
        return Ok(not_bound(user));
    }
    // The log says what was proved, however it ends.
    let with_factor = |decision: Decision| decision.by_factor(proven.factor);
    let bound = begin_and_bind(user, label, proof, &proven.proved, desk).map_err(with_factor)?;
    Ok(with_factor(replaced(user, codes::hand_out(bound.codes, user, desk), desk.host)))
}

/// Shows a new app, and binds it by two codes, in place of any other.
fn begin_and_bind(
    user: &str,
    label: String,
    proof: Proof,
    proved: &Proved,
    desk: &mut Desk,
) -> Result<NowBound, Decision> {
    let app = desk.bindings.begin(user, proved, Begin::Unkept { label })?;
    desk.conversation.send(&shown(user, &app, desk.host))?;
    let terms = Terms { from: proof.from(user).to_owned(), codes: desk.policy().recovery_codes, provisional: None };
    by_two_codes(user, proved, &app, &terms, TRIES, desk)
}

/// Makes a pending device, in place of any other that waits, and shows it.
pub fn totp_pending(user: &str, label: Option<&str>, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known(user)?.name;
    let view = desk.bindings.look(&user)?;
    if view.bound.is_some() { Ok(already(&user)) } else { pend(&view, label, desk) }
}

/// Makes a pending device that will replace the one that is bound.
pub fn replace_pending(user: &str, label: Option<&str>, desk: &mut Desk) -> Result<Decision, Decision> {
    let user = known(user)?.name;
    let view = desk.bindings.look(&user)?;
    if view.bound.is_none() { Ok(not_bound(&user)) } else { pend(&view, label, desk) }
}

fn pend(view: &View, label: Option<&str>, desk: &mut Desk) -> Result<Decision, Decision> {
    let begin = Begin::Waiting { label: checked_label(label)?, from: ROOT.into() };
    // Kept before it is shown, so that every device that was shown can be confirmed.
    let app = desk.bindings.begin(&view.user, &Proved::by_root(view.seen()), begin)?;
    desk.conversation.send(&shown(&view.user, &app, desk.host))?;
    Ok(Decision::new(Outcome::Accepted, "", "pending device made"))
}

/// Binds the pending device by two codes.
pub fn confirm(user: &str, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let user = known_or_kept(user, desk)?;
    let view = desk.bindings.look(&user)?;
    let Some(pending) = &view.pending else {
        return Ok(if view.bound.is_some() { already(&user) } else { nothing_pending(&user) });
    };
    if pending.from != ROOT {
        // Root does not know who has seen that key, and the binding would be written down as root's.
        let text = format!(
            "The device that is pending for {} was begun at a login, which confirms it itself.",
            printable(&user, 64)
        );
        return Ok(Decision::new(Outcome::NotFound, text, "begun at a login"));
    }
    if pending.expires <= desk.now() {
        desk.bindings.note(&user, Note::DropPending(Some(pending.id)))?;
        let how = if pending.replaces { "replace totp" } else { "totp" };
        let text = format!("The pending device of {0} has expired. {1}", printable(&user, 64), make_one(how, &user));
        return Ok(Decision::new(Outcome::NotFound, text, "the pending device has expired"));
    }
    let proved = Proved::by_root(view.seen());
    let app = desk.bindings.begin(&user, &proved, Begin::Again(pending.id))?;
    let asked = asked::somewhere(&user, desk.host);
    // Nobody is there to read recovery codes.
    let terms = Terms { from: ROOT.to_owned(), codes: 0, provisional: None };
    by_two_codes(&user, &proved, &app, &terms, 1, desk)?;
    let codes = (desk.policy().recovery_codes > 0).then_some(Text::MakeCodesFor(&user));
    Ok(if pending.replaces { replaced(&user, codes, desk.host) } else { done(&user, asked, codes, desk.host) })
}

/// Drops the pending device, and voids the invitation.
pub fn cancel(user: &str, desk: &Desk) -> Result<Decision, Decision> {
    let user = known_or_kept(user, desk)?;
    let view = desk.bindings.look(&user)?;
    // A device that a login has bound, and that has not been confirmed, waits as well.
    let pending = view.pending.is_some() || view.provisional.is_some();
    let invited = view.invited_until.is_some();
    if !pending && !invited {
        let text = format!("{} has no pending device and no invitation.", printable(&user, 64));
        return Ok(Decision::new(Outcome::NotFound, text, "nothing pending"));
    }
    if invited {
        desk.bindings.note(&user, Note::VoidInvitation)?;
    }
    // Also what a login has begun by that invitation since it was looked for.
    desk.bindings.note(&user, Note::DropPending(None))?;
    let (text, reason) = match (pending, invited) {
        (true, true) => {
            ("The pending device is dropped and the invitation void.", "pending device and invitation dropped")
        }
        (true, false) => ("The pending device is dropped.", "pending device dropped"),
        (false, _) => ("The invitation is void.", "invitation dropped"),
    };
    Ok(Decision::new(Outcome::Accepted, text, reason))
}

/// Learns by two codes in a row how far the device's clock is off.
pub fn resync(user: &str, desk: &mut Desk) -> Result<Decision, Decision> {
    desk.conversation.allow_for_binding();
    let user = known_or_kept(user, desk)?;
    match desk.bindings.look(&user)?.kind() {
        None => return Ok(not_bound(&user)),
        Some(Kind::U2f) => return Ok(no_clock(&user)),
        Some(Kind::Totp) => {}
    }
    let [first, second] = ask_two(desk)?;
    Ok(match desk.bindings.learn_clock(&user, [&first, &second]) {
        Ok(clock) => learned(clock),
        Err(Refusal::NotBound) => not_bound(&user),
        Err(Refusal::NoClock) => no_clock(&user),
        Err(Refusal::Pair(PairError::Wrong)) => {
            nothing_learned(String::from("Neither code is this device's within a day of now: replace it."))
        }
        Err(Refusal::Pair(error)) => nothing_learned(Lang::En.say(Text::Pair(&error))),
        Err(Refusal::UsedAsLate(seconds, clock)) => {
            let wait = duration(seconds);
            // A code that is one step old may have been typed slowly.
            let right = if matches!(clock.steps, -1..=0) { "The device's clock is right now. But a" } else { "A" };
            let why = format!("{right} code as late as these was used already:\nwait {wait}, or replace the device.");
            nothing_learned(why)
        }
        Err(other) => return Err(other.into()),
    })
}

fn learned(Clock { steps, period }: Clock) -> Decision {
    let text = match steps.saturating_mul(period.cast_signed()) {
        0 => String::from("The device's clock agrees with this host's."),
        off => format!("The device's clock is {}.\nIts codes are accepted as they are from now on.", apart(off)),
    };
    Decision::new(Outcome::Accepted, text, format!("clock offset learned: {steps} steps"))
}

fn nothing_learned(why: String) -> Decision {
    Decision::new(Outcome::Refused, format!("{why} Nothing was learned."), why)
}

/// Forgets the wrong codes, and so ends a lock.
pub fn unlock(user: &str, desk: &Desk) -> Result<Decision, Decision> {
    let user = known_or_kept(user, desk)?;
    match desk.bindings.note(&user, Note::Unlock) {
        Ok(()) => {
            let text = format!("{} is not locked; all wrong codes are forgotten.", printable(&user, 64));
            Ok(Decision::new(Outcome::Accepted, text, "unlocked"))
        }
        Err(Refusal::NotBound) => Ok(not_bound(&user)),
        Err(other) => Err(other.into()),
    }
}

fn no_clock(user: &str) -> Decision {
    let text = format!("{} has security keys, which have no clock.", printable(user, 64));
    Decision::new(Outcome::Refused, text, "no app is bound")
}

fn nothing_pending(user: &str) -> Decision {
    let text = format!("No device is pending for {}. {}", printable(user, 64), make_one("totp", user));
    Decision::new(Outcome::NotFound, text, "nothing pending")
}

fn make_one(how: &str, user: &str) -> String {
    format!("Make one: mfa-enroll {how} --json --user {}", shell_word(user))
}

fn done(user: &str, asked: bool, more: Option<Text>, host: &Host) -> Decision {
    Decision::new(Outcome::Accepted, lines([Some(Text::Bound(user, asked)), more], host), "bound")
}

/// The end of a first binding in a dialogue. Root is told of each way in that does not ask for it.
pub(super) fn bound_with(text: String, user: &str, host: &Host) -> Decision {
    let told: Vec<String> = [text].into_iter().chain(asked::not_at(user, host)).collect();
    Decision::new(Outcome::Accepted, told.join("\n"), "bound")
}

fn replaced(user: &str, more: Option<Text>, host: &Host) -> Decision {
    Decision::new(Outcome::Accepted, lines([Some(Text::Replaced(user)), more], host), "replaced")
}

pub(super) fn lines(texts: [Option<Text>; 2], host: &Host) -> String {
    let lines: Vec<String> = texts.into_iter().flatten().map(|text| host.policy().lang.say(text)).collect();
    lines.join("\n")
}

/// A label is kept as it is given, so it must be fit to be a line of the record and of a terminal.
pub(super) fn checked_label(label: Option<&str>) -> Result<String, Decision> {
    let label = label.unwrap_or_default();
    if label.chars().count() > 64 || label.chars().any(char::is_control) {
        let text = "A label has at most 64 characters, and no control characters.";
        return Err(Decision::new(Outcome::Refused, text, "label not accepted"));
    }
    Ok(label.to_owned())
}

fn shown(user: &str, app: &NewApp, host: &Host) -> FromHelper {
    let Parameters { algorithm, digits, period } = app.parameters();
    let issuer = host.issuer();
    FromHelper::Device(mfa_wire::Device {
        user: user.to_owned(),
        key: app.key_base32(),
        uri: app.uri(&issuer, user),
        issuer,
        algorithm: algorithm.to_string(),
        digits,
        period: period as u32,
        expires: app.expires(),
    })
}

/// Binds by two consecutive codes, and says which rule a wrong pair broke.
fn by_two_codes(
    user: &str,
    proved: &Proved,
    app: &NewApp,
    terms: &Terms,
    tries: usize,
    desk: &mut Desk,
) -> Result<NowBound, Decision> {
    let mut last = PairError::Wrong;
    for attempt in 0..tries {
        if attempt > 0 {
            desk.conversation.tell(&desk.lang().say(Text::Pair(&last)))?;
        }
        let [first, second] = ask_two(desk)?;
        match desk.bindings.bind(user, proved, New::App(app, [&first, &second]), terms) {
            Ok(bound) => {
                if let Some(remark) = new_app::remark(bound.offset.unwrap_or(0), app.parameters(), desk.lang()) {
                    // If the person is gone, the device stays bound.
                    let _ = desk.conversation.tell(&remark);
                }
                return Ok(bound);
            }
            Err(Refusal::Pair(error)) => last = error,
            Err(other) => return Err(other.into()),
        }
    }
    let for_root = desk.host.caller_is_root && matches!(last, PairError::Ignored { .. });
    let refused = Decision::from(Refusal::Pair(last));
    Err(match for_root {
        true => Decision { text: format!("{}\n{EVERY_APP}", refused.text), ..refused },
        false => refused,
    })
}

/// For root, whose settings an app may ignore.
const EVERY_APP: &str = "Every app obeys the defaults: take digits, period and algorithm out of [totp] in mfa.toml.";

fn ask_two(desk: &mut Desk) -> Result<[Secret; 2], NoAnswer> {
    let lang = desk.lang();
    Ok([desk.conversation.ask(&lang.say(Text::First))?, desk.conversation.ask(&lang.say(Text::Second))?])
}
