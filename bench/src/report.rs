//! The tables.

use crate::count::Counts;
use crate::measure::Times;
use crate::subject::{PEER, PERMIT, SUBJECTS};

/// What was measured with so many users bound.
pub struct Table {
    pub users: usize,
    pub times: Vec<Times>,
    pub counts: Vec<Counts>,
}

impl Table {
    pub fn print(&self) {
        println!("\n{} users have a device", self.users);
        println!(
            "{:48}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>7}{:>9}{:>6}{:>8}{:>8}",
            "transaction",
            "median",
            "min",
            "x perm",
            "x GA",
            "CPU",
            "k instr",
            "calls",
            "bytes",
            "sync",
            "mapped",
            "resid"
        );
        let (floor, peer) = (median(&self.times[PERMIT].elapsed), median(&self.times[PEER].elapsed));
        for (subject, (times, counts)) in SUBJECTS.iter().zip(self.times.iter().zip(&self.counts)) {
            let time = median(&times.elapsed);
            let told = |numbers: &[f64], unit: f64| match numbers {
                [] => "n/a".to_owned(),
                some => format!("{:.0}", median(some) / unit),
            };
            let (cpu, instructions) = (told(&times.cpu, 1.0), told(&times.instructions, 1e3));
            println!(
                "{:48}{time:8.0}{:8.0}{:8.1}{:8.2}{cpu:>8}{instructions:>9}{:7}{:9}{:6}{:8}{:8}",
                subject.title,
                times.elapsed.iter().copied().fold(f64::INFINITY, f64::min),
                time / floor,
                time / peer,
                counts.calls,
                counts.bytes,
                counts.syncs,
                counts.mapped,
                counts.resident
            );
        }
    }
}

/// What becomes of a right code's cost as users grow.
pub fn print_growth(tables: &[Table]) {
    println!("\nas users grow: median us / system calls / bytes written");
    print!("{:48}", "users");
    tables.iter().for_each(|table| print!("{:>26}", table.users));
    println!();
    for (n, subject) in SUBJECTS.iter().enumerate() {
        print!("{:48}", subject.title);
        for table in tables {
            let Counts { calls, bytes, .. } = table.counts[n];
            print!("{:>26}", format!("{:.0} / {calls} / {bytes}", median(&table.times[n].elapsed)));
        }
        println!();
    }
}

pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
