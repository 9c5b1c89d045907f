//! The exit codes, which scripts rely on.

use std::process::ExitCode;

use mfa_wire::Outcome;

/// How `mfa-enroll` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[repr(u8)]
pub(crate) enum Exit {
    /// It is done.
    Done = 0,
    /// A wrong code, a lock, a missing permission, or the person cancelled.
    Refused = 1,
    /// The command line is wrong, or names a file that cannot be made.
    Usage = 2,
    /// No such user, no binding, nothing pending.
    NotFound = 3,
    /// Nothing to do: the requested state exists already.
    Already = 4,
    /// The helper or its store cannot be reached, or the answer cannot be written.
    Unavailable = 5,
    /// The check is complete: something should be corrected.
    Warnings = 6,
    /// The check is complete: something lets people past the second factor, or locks them out.
    Faults = 7,
}

impl Exit {
    /// The worse of two results, to report one: "already" is less bad than "refused".
    pub(crate) fn worse(self, other: Exit) -> Exit {
        let badness = |exit| match exit {
            Exit::Done => 0,
            Exit::Already => 1,
            Exit::NotFound => 2,
            Exit::Refused | Exit::Warnings => 3,
            Exit::Usage | Exit::Faults => 4,
            Exit::Unavailable => 5,
        };
        if badness(self) < badness(other) { other } else { self }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accepted => Exit::Done,
            Outcome::Refused | Outcome::Locked | Outcome::NoInteraction => Exit::Refused,
            Outcome::NotFound => Exit::NotFound,
            Outcome::Already => Exit::Already,
            Outcome::Warnings => Exit::Warnings,
            Outcome::Faults => Exit::Faults,
            // These are answers to a login. As the answer to a verb they mean nothing.
            Outcome::Unavailable | Outcome::Ignored | Outcome::HandedOver | Outcome::StartYourOwn => Exit::Unavailable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_ends_the_worst_is_told() {
        let all = [Exit::Already, Exit::Done, Exit::Refused, Exit::NotFound, Exit::Unavailable];
        let worst = |ends: &[Exit]| ends.iter().copied().fold(Exit::Done, Exit::worse);
        assert_eq!(
            (worst(&all), worst(&all[..4]), worst(&all[..2])),
            (Exit::Unavailable, Exit::Refused, Exit::Already)
        );
        assert_eq!(worst(&[]), Exit::Done);
    }

    #[test]
    fn every_outcome_has_its_documented_code() {
        for (outcome, code) in [
            (Outcome::Accepted, 0),
            (Outcome::Refused, 1),
            (Outcome::Locked, 1),
            (Outcome::NoInteraction, 1),
            (Outcome::NotFound, 3),
            (Outcome::Already, 4),
            (Outcome::Unavailable, 5),
            (Outcome::Ignored, 5),
        ] {
            assert_eq!(Exit::from(outcome) as u8, code, "{outcome:?}");
        }
    }
}
