//! Prints the figures of trees side by side, and the circles of the first.
//!
//!     cargo run -p measure -- . ../another
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;

use measure::Figures;

fn main() -> ExitCode {
    let roots: Vec<String> = std::env::args().skip(1).collect();
    let measured =
        roots.iter().map(|root| Figures::of(root, Path::new(root))).collect::<Result<Vec<Figures>, String>>();
    match measured {
        Ok(columns) if !columns.is_empty() => {
            print(&columns);
            ExitCode::SUCCESS
        }
        Ok(_) => {
            eprintln!("measure: name one folder or more");
            ExitCode::from(2)
        }
        Err(why) => {
            eprintln!("measure: {why}");
            ExitCode::FAILURE
        }
    }
}

fn print(columns: &[Figures]) {
    let names: String = columns.iter().map(|column| format!("{:>20}", tail(&column.name))).collect();
    println!("{:<28}{names}", "");
    let rows: Vec<_> = columns.iter().map(Figures::rows).collect();
    for (at, (what, _)) in rows[0].iter().enumerate() {
        let figures: String = rows.iter().map(|row| format!("{:>20}", row[at].1)).collect();
        println!("{what:<28}{figures}");
    }
    for column in columns {
        for (file, function) in column.outliers() {
            let (path, line) = (file.path.display(), function.line);
            println!(
                "\n{path}:{line}: {}: {} lines, {} parameters",
                function.name, function.lines, function.parameters
            );
        }
        for circle in &column.circles {
            let rooms: Vec<String> = circle.rooms.iter().map(|room| room.display().to_string()).collect();
            println!("\ncircle of {} files: {}", circle.files, rooms.join(" "));
            for (from, to) in &circle.arrows {
                println!("  {} -> {}", from.display(), to.display());
            }
        }
    }
}

fn tail(name: &str) -> &str {
    name.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(name)
}
