//! What the built module shows to the dynamic linker: a login program loads it into its own name space.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pam_tests::{artifact, release_artifact, run};

#[test]
fn exports_the_six_hooks_and_nothing_else() {
    for module in [release_artifact("libpam_mfa.so"), artifact("libpam_mfa.so")] {
        let table = run("nm", &["--dynamic", "--defined-only", "--format=posix", module.to_str().unwrap()]);
        let mut names: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
        names.sort_unstable();
        let hooks = ["acct_mgmt", "authenticate", "chauthtok", "close_session", "open_session", "setcred"];
        let expected: Vec<String> = hooks.iter().map(|hook| format!("pam_sm_{hook}")).collect();
        assert_eq!(names, expected, "{}", module.display());
    }
}

/// libpam.so.0 must be among them: where only libpam.a is installed the linker takes that in silence, and the module
/// would carry a second libpam into the host.
#[test]
fn needs_libpam_libc_and_the_loader_only() {
    let module = release_artifact("libpam_mfa.so");
    let table = run("readelf", &["--dynamic", "--wide", module.to_str().unwrap()]);
    let mut needed: Vec<&str> = table
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.rsplit('[').next().unwrap().trim_end_matches(']'))
        .map(|name| if name.starts_with("ld-linux") { "the loader" } else { name })
        .collect();
    needed.sort_unstable();
    let mut expected = vec!["libc.so.6", "libpam.so.0", "the loader"];
    // Where nothing of the loader itself is used, it need not be named.
    if !needed.contains(&"the loader") {
        expected.pop();
    }
    assert_eq!(needed, expected);
    assert!(!table.contains("TEXTREL"), "the module writes to its own code when loaded");
    assert!(
        table.contains("BIND_NOW") || table.contains("NOW"),
        "symbols would be bound in a clone that shares memory"
    );
}

/// What the linker was asked for cannot lie, whatever the source calls it: nothing that runs a shell or searches for a
/// program. The helper executes itself once more, and sshd for its settings. (mfa-enroll starts programs in two places, which clippy.toml guards.)
#[test]
fn the_module_and_the_helper_start_no_shell_and_search_for_nothing() {
    let starters = ["system", "popen", "dlopen", "dlmopen", "wordexp"];
    for (name, allowed) in [("libpam_mfa.so", &["execve"][..]), ("mfa-helper", &["dlopen", "execve"])] {
        let table = run("nm", &["--dynamic", "--undefined-only", release_artifact(name).to_str().unwrap()]);
        let symbols = table.lines().map(|line| line.split_whitespace().nth(1).unwrap().split('@').next().unwrap());
        let starts = |symbol: &&str| symbol.contains("exec") || symbol.contains("spawn") || starters.contains(symbol);
        assert_eq!(symbols.filter(starts).collect::<Vec<_>>(), allowed, "{name}");
    }
}
