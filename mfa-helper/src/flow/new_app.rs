//! An authenticator app that is to be bound.

use mfa_core::totp::Parameters;

use crate::lang::{Lang, Text};

/// What is to be said about the app's clock, which is so many seconds ahead. A code that is one step old may simply have
/// been typed slowly.
pub fn remark(offset: i64, parameters: Parameters, lang: Lang) -> Option<String> {
    let typed_slowly = (-parameters.period.cast_signed()..=0).contains(&offset);
    (!typed_slowly).then(|| lang.say(Text::SetClock(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_spoken_of_unless_the_code_was_typed_slowly() {
        let remark = |offset| remark(offset, Parameters::DEFAULT, Lang::En);
        assert_eq!((remark(0), remark(-30)), (None, None));
        let behind = "The device's clock is about 1 min behind this host's: use automatic time.";
        assert_eq!(remark(-60).as_deref(), Some(behind));
        let ahead = "The device's clock is about 30 s ahead of this host's: use automatic time.";
        assert_eq!(remark(30).as_deref(), Some(ahead));
    }
}
