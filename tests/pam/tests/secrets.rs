//! Nothing of what was typed or shown stays in the host's memory, freed or not.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::code::SUCCESS;
use pam_tests::{Host, Report, Stage, masked, run};

const STACK: &str = "auth required pam_permit.so\nauth required {mfa}";

fn login(script: &str, how: impl FnOnce(Host) -> Host) -> Report {
    let stage = Stage::new(STACK);
    stage.script(script);
    let report = how(stage.host().answer("492039")).steps(&["auth"]).run();
    assert_eq!(report.code("auth"), SUCCESS);
    report
}

/// As long as an answer may be, and nowhere the same: memory that is freed is partly overwritten.
fn answer() -> String {
    (0..60).map(|n| format!("{:04x}", (n * 40_503 + 977) % 65_536)).collect()
}

#[test]
fn answer_is_wiped_wherever_it_was() {
    let script = "hello\nrequest\nask Code: \nverdict Accepted";
    let report = login(script, |host| host.word("masked-answer", masked(answer())));
    assert_eq!(report.fact("copies"), "0", "the answer is still in the host's memory");
    // And the search does find what is there.
    let report = login(script, |host| host.word("masked-answer", masked(answer())).conv("keep-copy"));
    assert_ne!(report.fact("copies"), "0", "the search finds nothing");
}

/// At binding the prompt holds the new key.
#[test]
fn prompt_is_wiped_wherever_it_was() {
    let key = answer();
    let prompt = format!("Your new key: {key}. Code: ");
    let script = format!("hello\nrequest\nask-masked {}\nverdict Accepted", masked(prompt));
    let report = login(&script, |host| host.word("masked-prompt", masked(&key)));
    assert_eq!(report.fact("copies"), "0", "the new key is still in the host's memory");
}

#[test]
fn valgrind_finds_no_fault_and_no_leak() {
    let stage = Stage::new(STACK);
    let log = stage.path("valgrind");
    run("valgrind", &["--version"]);
    for (conv, script) in [
        ("", "hello\nrequest\ntell text\nask Code: \nverdict Accepted text"),
        ("null-answer", "hello\nrequest\nask Code: \nverdict Accepted"),
        ("long-5000", "hello\nrequest\nask Code: \nverdict Accepted"),
    ] {
        stage.script(script);
        let file = format!("--log-file={}", log.display());
        let kinds = "--errors-for-leak-kinds=definite,indirect";
        let valgrind = ["valgrind", "--leak-check=full", kinds, "--error-exitcode=99", &file];
        let report = stage.host().under(&valgrind).answer("492039").conv(conv).steps(&["auth"]).run();
        assert_eq!(report.code("auth"), SUCCESS, "{conv}");
    }
}
