//! The house itself: what must be true of it, whoever builds on it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use measure::Figures;

fn house() -> Figures {
    Figures::of("", &Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

#[test]
fn no_rooms_need_one_another_in_a_circle() {
    let house = house();
    assert!(house.files.len() > 100, "found in {} files", house.files.len());
    assert!(house.circles.is_empty(), "{:#?}", house.circles);
}

#[test]
fn no_function_has_more_than_ninety_lines_or_six_parameters() {
    let house = house();
    let outliers: Vec<String> = house
        .outliers()
        .iter()
        .map(|(file, function)| {
            let (path, lines, parameters) = (file.path.display(), function.lines, function.parameters);
            format!("{path}:{}: {}: {lines} lines, {parameters} parameters", function.line, function.name)
        })
        .collect();
    assert!(outliers.is_empty(), "{outliers:#?}");
}

/// Secrets of bound devices are in a `Record` and its parts. What speaks to people, or to the network, gets a `View`.
#[test]
fn only_the_store_names_what_holds_a_secret_of_a_bound_device() {
    let house = house();
    let secrets =
        ["Record", "Credentials", "App", "Device", "State", "Pending"].map(|name| vec!["mfa_core", "record", name]);
    let names_one =
        |file: &measure::File| file.paths.iter().any(|path| secrets.iter().any(|secret| ends_with(path, secret)));
    let inside = |file: &&measure::File| file.path.to_string_lossy().contains("mfa-helper/src");
    let by: Vec<_> = house.files.iter().filter(inside).filter(|file| names_one(file)).map(|file| &file.path).collect();
    assert!(matches!(&by[..], [store] if store.ends_with("mfa-helper/src/store.rs")), "{by:#?}");
}

fn ends_with(path: &[String], names: &[&str]) -> bool {
    path.len() >= names.len() && path[path.len() - names.len()..].iter().zip(names).all(|(a, b)| a == b)
}
