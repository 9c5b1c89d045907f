//! What counts as a circle, on trees that are made for it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use measure::Figures;

/// A crate of these files, and the rooms of its circles.
fn circles(name: &str, files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    for (path, text) in files {
        let path = root.join("src").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let name = |room: &PathBuf| room.strip_prefix(root.join("src")).unwrap().to_str().unwrap().to_owned();
    let figures = Figures::of("", &root).unwrap();
    figures.circles.iter().map(|circle| circle.rooms.iter().map(name).collect()).collect()
}

#[test]
fn files_that_need_each_other_are_a_circle() {
    let found = circles(
        "files",
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B(Box<super::c::C>);"),
            ("c.rs", "pub fn f() { crate::a::g() } pub struct C;"),
        ],
    );
    assert_eq!(found, [["a", "b", "c"]]);
}

#[test]
fn a_folder_is_one_room_seen_from_beside_it() {
    let found = circles(
        "folder",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "use crate::a::y::Y; pub struct B(Y);"),
        ],
    );
    assert_eq!(found, [["a", "b"]]);
}

#[test]
fn files_inside_a_folder_can_be_a_circle_of_their_own() {
    let found = circles(
        "inside",
        &[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod x; mod y;"),
            ("a/x.rs", "use super::y::Y; pub struct X(Y);"),
            ("a/y.rs", "pub fn f(_: super::x::X) {} pub struct Y;"),
        ],
    );
    assert_eq!(found, [["a/x", "a/y"]]);
}

#[test]
fn a_parent_may_know_its_own_children() {
    let found = circles(
        "parent",
        &[
            ("lib.rs", "mod a; pub struct Root;"),
            ("a.rs", "mod x; use x::X; pub struct A(X);"),
            ("a/x.rs", "use super::A; use crate::Root; pub struct X(Box<A>, Root);"),
        ],
    );
    assert_eq!(found, Vec::<Vec<String>>::new());
}

#[test]
fn what_tests_need_is_no_arrow() {
    let found = circles(
        "tests",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B); #[cfg(test)] mod tests;"),
            ("a/tests.rs", "use crate::b::g;"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a::A;"),
        ],
    );
    assert_eq!(found, Vec::<Vec<String>>::new());
}
