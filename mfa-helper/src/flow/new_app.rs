//! An authenticator app that is to be bound.

use mfa_core::Id;
use mfa_core::pair::Pair;
use mfa_core::record::{App, Credentials, Device, Latest};
use mfa_core::recovery::Set;
use mfa_core::totp::Totp;
use mfa_wire::Secret;

use super::Decision;
use crate::host::Host;
use crate::lang::{Lang, Text};

pub fn new_id(host: &Host) -> Result<Id, Decision> {
    let mut id = Id::default();
    (host.random)(&mut id.0)?;
    Ok(id)
}

pub fn new_totp(host: &Host) -> Result<Totp, Decision> {
    let parameters = host.loaded.policy.totp;
    let mut key = Secret::zeroed(parameters.algorithm.key_length());
    (host.random)(key.bytes_mut())?;
    Totp::new(parameters, key).ok_or_else(|| Decision::unavailable("the TOTP parameters of the policy"))
}

pub fn bound(id: Id, label: String, from: &str, totp: Totp, pair: Pair, host: &Host) -> Credentials {
    let (created, created_from) = ((host.now)(), from.to_owned());
    Credentials {
        id,
        created,
        created_from,
        device: Device::App(App { label, totp, burnt: [pair.first, pair.first + 1] }),
        recovery: Set::default(),
        latest: Latest::Bound,
    }
}

/// What is to be said about the app's clock. A code that is one step old may simply have been typed slowly.
pub fn remark(pair: &Pair, totp: &Totp, lang: Lang) -> Option<String> {
    let typed_slowly = (-totp.parameters.period.cast_signed()..=0).contains(&pair.offset);
    (!typed_slowly).then(|| lang.say(Text::SetClock(pair.offset)))
}

#[cfg(test)]
mod tests {
    use mfa_core::totp::Parameters;

    use super::*;

    #[test]
    fn a_clock_that_is_off_is_spoken_of_unless_the_code_was_typed_slowly() {
        let app = Totp::new(Parameters::DEFAULT, Secret::copy_of(b"12345678901234567890")).unwrap();
        let remark = |offset| remark(&Pair { first: 1, offset }, &app, Lang::En);
        assert_eq!((remark(0), remark(-30)), (None, None));
        let behind = "The device's clock is about 1 min behind this host's: use automatic time.";
        assert_eq!(remark(-60).as_deref(), Some(behind));
        let ahead = "The device's clock is about 30 s ahead of this host's: use automatic time.";
        assert_eq!(remark(30).as_deref(), Some(ahead));
    }
}
