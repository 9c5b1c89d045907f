//! Every row of the code table, under the stacks that administrators write.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::Stage;
use pam_tests::code::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, MAXTRIES, PERM_DENIED, SUCCESS};

/// What the helper says, and what the module makes of it in auth and in account. `None` is PAM_IGNORE, which libpam
/// never hands to an application.
const TABLE: [(&str, Option<i32>, Option<i32>); 12] = [
    ("verdict Accepted", Some(SUCCESS), Some(SUCCESS)),
    ("verdict Ignored", None, None),
    // Only auth hands over.
    ("verdict HandedOver", None, Some(AUTHINFO_UNAVAIL)),
    ("verdict Warnings", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
    ("verdict Faults", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
    ("verdict Refused", Some(AUTH_ERR), Some(PERM_DENIED)),
    ("verdict Locked", Some(MAXTRIES), Some(MAXTRIES)),
    ("verdict NoInteraction", Some(CONV_ERR), Some(CONV_ERR)),
    ("verdict Unavailable", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
    ("verdict NotFound", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
    ("verdict Already", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
    ("exit", Some(AUTHINFO_UNAVAIL), Some(AUTHINFO_UNAVAIL)),
];

/// What libpam makes of the module's code.
enum Stack {
    /// The module's failures are the stack's; IGNORE leaves it to the others, who said yes.
    Firm,
    /// The module stands alone: IGNORE from everybody is a refusal of libpam's own.
    Alone,
    /// Only an explicit success gets past the pam_deny behind it; all else is pam_deny's code.
    OnlySuccess,
    /// Everybody is let past, whatever the module says. These stacks are wrong, and no code of ours can mend them: a
    /// failure under them is not the stack's failure. They are here so that this is known, and that nobody takes
    /// `sufficient` or `default=ignore` for a second factor: `doctor` warns of them.
    LetsPast,
}

/// pam_permit stands for a first factor that succeeded.
const STACKS: [(&str, Stack); 8] = [
    ("P required {mfa}", Stack::Alone),
    ("P required pam_permit.so\nP required {mfa}", Stack::Firm),
    ("P required pam_permit.so\nP requisite {mfa}\nP required pam_permit.so", Stack::Firm),
    ("P sufficient {mfa}\nP required pam_deny.so", Stack::OnlySuccess),
    (
        "P required pam_permit.so\nP [success=1 default=ignore] {mfa}\nP requisite pam_deny.so\nP required pam_permit.so",
        Stack::OnlySuccess,
    ),
    ("P sufficient {mfa}\nP required pam_permit.so", Stack::LetsPast),
    ("P required pam_permit.so\nP sufficient {mfa}", Stack::LetsPast),
    ("P required pam_permit.so\nP [success=1 default=ignore] {mfa}\nP required pam_permit.so", Stack::LetsPast),
];

#[test]
fn every_outcome_in_auth_under_every_stack() {
    table("auth", |row| row.1);
}

#[test]
fn every_outcome_in_account_under_every_stack() {
    table("account", |row| row.2);
}

fn table(phase: &str, of_the_module: impl Fn(&(&str, Option<i32>, Option<i32>)) -> Option<i32>) {
    let stage = Stage::new("");
    for (stack, kind) in &STACKS {
        stage.stack(&stack.replace("P ", &format!("{phase} ")));
        for row in &TABLE {
            stage.script(&format!("hello\nrequest\n{}", row.0));
            let expected = match (kind, of_the_module(row)) {
                (Stack::Firm, None) => SUCCESS,
                (Stack::Alone, None) => PERM_DENIED,
                (Stack::Firm | Stack::Alone, Some(code)) => code,
                (Stack::OnlySuccess, Some(SUCCESS)) => SUCCESS,
                // pam_deny's code in both phases.
                (Stack::OnlySuccess, _) => AUTH_ERR,
                (Stack::LetsPast, _) => SUCCESS,
            };
            let report = stage.host().steps(&[phase]).run();
            assert_eq!(report.code(phase), expected, "\"{}\" in {phase} under\n{stack}", row.0);
            assert_eq!(stage.runs(), 1, "the module was not asked once under\n{stack}");
        }
    }
}

/// The numbers of the outcomes lie far apart: a bit that falls over on the way makes no success of anything.
#[test]
fn no_single_flipped_bit_is_a_success() {
    let stage = Stage::new("auth required pam_permit.so\nauth required {mfa}");
    for outcome in [0xa13c_62e8_u32, 0xd16b_9e07, 0x866a_f735, 0x71d5_0a4b, 0x3b08_c5d6, 0xe857_3aa9] {
        for bit in 0..32 {
            let number = outcome ^ (1 << bit);
            stage.script(&format!("hello\nrequest\nraw 00000007 25 {number:08x} 0000"));
            assert_eq!(stage.host().steps(&["auth"]).run().code("auth"), AUTHINFO_UNAVAIL, "verdict {number:#x}");
        }
    }
}

/// pam_setcred fails where the only module says PAM_IGNORE, and a login with it.
#[test]
fn setcred_succeeds_alone_after_auth_and_without_it() {
    let stage = Stage::new("auth required {mfa}");
    stage.script("hello\nrequest\nverdict Accepted");
    let report = stage.host().steps(&["setcred", "auth", "setcred"]).run();
    assert_eq!(report.codes("setcred"), [SUCCESS, SUCCESS]);
    assert_eq!(stage.runs(), 1, "setcred asked the helper");
}

#[test]
fn setcred_succeeds_after_an_ignored_auth() {
    let stage = Stage::new("auth required pam_permit.so\nauth required {mfa}");
    stage.script("hello\nrequest\nverdict Ignored");
    assert_eq!(stage.host().steps(&["auth", "setcred"]).run().code("setcred"), SUCCESS);
}
