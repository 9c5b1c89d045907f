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
