//! Rooms that need one another in a circle: then none of them can be read, tested or moved without the rest.
//!
//! At each folder its files and folders are looked at side by side, a folder as one. A folder's own `mod.rs` (or the file of
//! its name) belongs to it and is not beside its children: a parent may know its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::File;

/// Rooms of one folder, each of which reaches each other one.
#[derive(Debug)]
pub struct Circle {
    /// The folder, and the rooms in it.
    pub rooms: Vec<PathBuf>,
    /// How many files they hold.
    pub files: usize,
    /// The arrows between them: from which file to which.
    pub arrows: Vec<(PathBuf, PathBuf)>,
}

/// All circles.
pub fn circles(files: &[File]) -> Vec<Circle> {
    let arrows = arrows(files);
    let folders: BTreeSet<PathBuf> = files.iter().filter_map(|file| file.path.parent().map(Path::to_owned)).collect();
    let whole = folders.iter().flat_map(|folder| folder.ancestors().map(Path::to_owned)).collect::<BTreeSet<_>>();
    whole.iter().flat_map(|folder| circles_in(folder, files, &arrows)).collect()
}

type Arrows = BTreeSet<(PathBuf, PathBuf)>;

fn circles_in(folder: &Path, files: &[File], arrows: &Arrows) -> Vec<Circle> {
    // The room of a file as seen from this folder. The file that is the folder's own has none.
    let room = |file: &Path| {
        let inside = file.strip_prefix(folder).ok()?;
        let first = inside.components().next()?;
        let stem = Path::new(first.as_os_str()).with_extension("");
        let own = inside.components().count() == 1 && ["mod", "lib", "main"].iter().any(|own| stem.as_os_str() == *own);
        (!own).then(|| folder.join(stem))
    };
    let mut between: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for (from, to) in arrows {
        if let (Some(from), Some(to)) = (room(from), room(to))
            && from != to
        {
            between.entry(from).or_default().insert(to);
        }
    }
    let mut found: Vec<Vec<PathBuf>> = Vec::new();
    for start in between.keys() {
        if found.iter().flatten().any(|room| room == start) {
            continue;
        }
        let circle: Vec<PathBuf> =
            reached(start, &between).into_iter().filter(|room| reached(room, &between).contains(start)).collect();
        if !circle.is_empty() {
            found.push(circle);
        }
    }
    let circle = |rooms: Vec<PathBuf>| {
        let within = |file: &Path| room(file).is_some_and(|room| rooms.contains(&room));
        let files = files.iter().filter(|file| within(&file.path)).count();
        let crosses = |(from, to): &&(PathBuf, PathBuf)| within(from) && within(to) && room(from) != room(to);
        let arrows = arrows.iter().filter(crosses).cloned().collect();
        Circle { rooms, files, arrows }
    };
    found.into_iter().map(circle).collect()
}

/// All rooms that can be reached from one, by one arrow or more.
fn reached(start: &Path, between: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(room) = open.pop() {
        for next in between.get(&room).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

fn arrows(files: &[File]) -> Arrows {
    let known: BTreeMap<PathBuf, &File> = files.iter().map(|file| (file.children().join("\0"), file)).collect();
    let by_module = |folder: &Path| known.get(&folder.join("\0")).copied();
    let mut arrows = Arrows::new();
    for file in files {
        for path in &file.paths {
            if let Some(to) = target(file, path, &by_module)
                && to.path != file.path
            {
                arrows.insert((file.path.clone(), to.path.clone()));
            }
        }
    }
    arrows
}

/// The file that a path leads to: the deepest module of this crate that it names.
fn target<'a>(file: &File, path: &[String], by_module: &dyn Fn(&Path) -> Option<&'a File>) -> Option<&'a File> {
    let (first, mut rest) = path.split_first()?;
    let mut module = match first.as_str() {
        "crate" => source_folder(&file.path)?,
        "self" => file.children(),
        "super" => file.children().parent()?.to_owned(),
        // A name that is a module beside or below, or another crate's.
        _ => {
            rest = path;
            file.children()
        }
    };
    let mut reached = None;
    if matches!(first.as_str(), "crate" | "super") {
        reached = by_module(&module);
    }
    for name in rest {
        module = match name.as_str() {
            "self" => continue,
            "super" => module.parent()?.to_owned(),
            name => module.join(name),
        };
        match by_module(&module) {
            Some(file) => reached = Some(file),
            // An inline module or an item: no file is below it.
            None if name != "super" => break,
            None => {}
        }
    }
    reached
}

/// The crate's `src`.
fn source_folder(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "src")).map(Path::to_owned)
}
