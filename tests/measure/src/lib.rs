//! The house in figures: how long its files and functions are, how many parameters travel, and where rooms go round in
//! a circle. Read from the syntax, without the compiler, so that other projects and old commits can be measured too.

mod circles;
mod source;

use std::path::Path;

pub use circles::{Circle, circles};
pub use source::{File, Function, product};

/// A function that is longer tells more than one story.
const LINES: usize = 90;

/// What travels together is a noun.
const PARAMETERS: usize = 6;

/// What one tree comes to.
pub struct Figures {
    /// A heading for the column.
    pub name: String,
    /// Its files, without tests.
    pub files: Vec<File>,
    /// Its circles.
    pub circles: Vec<Circle>,
}

impl Figures {
    /// Measures the product files below `root`.
    pub fn of(name: &str, root: &Path) -> Result<Figures, String> {
        let files = product(root)?;
        let circles = circles(&files);
        Ok(Figures { name: name.to_owned(), files, circles })
    }

    /// The functions of more than 90 lines, or six parameters.
    pub fn outliers(&self) -> Vec<(&File, &Function)> {
        let all = self.files.iter().flat_map(|file| file.functions.iter().map(move |function| (file, function)));
        all.filter(|(_, function)| function.lines > LINES || function.parameters > PARAMETERS).collect()
    }

    /// The rows of the table: what is measured, and the figure.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let functions: Vec<&Function> = self.files.iter().flat_map(|file| &file.functions).collect();
        let count = |most: usize, figure: fn(&Function) -> usize| {
            functions.iter().filter(|function| figure(function) > most).count().to_string()
        };
        let sum = |figure: fn(&File) -> usize| self.files.iter().map(figure).sum::<usize>().to_string();
        vec![
            ("files", self.files.len().to_string()),
            ("lines", sum(|file| file.lines)),
            ("file: median, p90, max", spread(self.files.iter().map(|file| file.lines).collect())),
            ("functions", functions.len().to_string()),
            ("function: median, p90, max", spread(functions.iter().map(|function| function.lines).collect())),
            ("functions over 60 lines", count(60, |function| function.lines)),
            ("functions over 90 lines", count(LINES, |function| function.lines)),
            ("parameters: most", functions.iter().map(|f| f.parameters).max().unwrap_or(0).to_string()),
            ("functions with over 6", count(PARAMETERS, |function| function.parameters)),
            ("unsafe blocks, fns, impls", sum(|file| file.unsafes)),
            ("files with unsafe", self.files.iter().filter(|file| file.unsafes > 0).count().to_string()),
            ("unwrap and expect", sum(|file| file.unwraps)),
            ("circles", self.circles.len().to_string()),
            ("files in circles", self.circles.iter().map(|circle| circle.files).sum::<usize>().to_string()),
        ]
    }
}

/// The median, the ninetieth percentile and the maximum.
fn spread(mut lengths: Vec<usize>) -> String {
    lengths.sort_unstable();
    let at = |percent: usize| lengths.get((lengths.len() * percent / 100).min(lengths.len().saturating_sub(1)));
    let [median, p90, max] = [50, 90, 100].map(|percent| at(percent).copied().unwrap_or(0));
    format!("{median} · {p90} · {max}")
}
