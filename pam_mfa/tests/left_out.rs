//! Says after the tests of `cargo test` which ones were left out, and which command runs those. It is a program of its
//! own (`harness = false`), because libtest hides the output of a test that passes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;

fn main() {
    // There is a filter, or --include-ignored: the caller has chosen the tests.
    if std::env::args().len() > 1 {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (all, here) = (list(&manifest, "members"), list(&manifest, "default-members"));
    println!("\n`cargo test` alone leaves out:");
    let ignored: usize = here.iter().map(|folder| count(&root.join(folder), "#[ignore = \"needs root")).sum();
    println!("{ignored:6} tests that are ignored above, as they need root: make unit");
    for folder in all.into_iter().filter(|folder| !here.contains(folder)) {
        let command = match folder {
            "tests/pam" => "make pam",
            "tests/e2e" => "make e2e",
            "tests/vm" => "make test-vm",
            _ => "make unit",
        };
        // Tests that are ignored in these packages belong to no stage of make test: CONTRIBUTING.md has their commands.
        let tests = count(&root.join(folder), "#[test]") - count(&root.join(folder), "#[ignore");
        if tests > 0 {
            println!("{tests:6} tests of {folder}: {command}");
        }
    }
    println!("make test runs all of them.\n");
}

/// The names in a list of Cargo.toml.
fn list<'a>(manifest: &'a str, name: &str) -> Vec<&'a str> {
    let (_, behind) = manifest.split_once(&format!("\n{name} = [")).unwrap();
    let (names, _) = behind.split_once(']').unwrap();
    names.split('"').skip(1).step_by(2).collect()
}

/// How many lines of a package begin so.
fn count(folder: &Path, begin: &str) -> usize {
    let of = |path: &Path| match path.extension() {
        // Another package.
        _ if path.join("Cargo.toml").exists() => 0,
        _ if path.is_dir() => count(path, begin),
        Some(extension) if extension == "rs" => {
            fs::read_to_string(path).unwrap().lines().filter(|line| line.trim_start().starts_with(begin)).count()
        }
        _ => 0,
    };
    fs::read_dir(folder).unwrap().map(|entry| of(&entry.unwrap().path())).sum()
}
