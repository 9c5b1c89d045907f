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
