//! What processes cost, without sockets: `cargo xtask bench process [PART ...] [--rounds N] [--count N]`.
//!
//! Each part runs in a program of its own, several rounds of it, and prints a row of `docs/performance.md` for each
//! figure: the best and the median round, and the worst. Times are what the thread computed (another program on the
//! machine lengthens no figure but the caches' part of it); memory is what is resident.

mod parts;
mod plain;
mod world;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

/// A figure: what it is, its unit and the goal.
type Row = (String, String, String);

fn main() -> ExitCode {
    let mut parts = Vec::new();
    let (mut rounds, mut count, mut child) = (3usize, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        match word.as_str() {
            "--rounds" => rounds = number().unwrap_or(rounds).max(1),
            "--count" => count = number(),
            "--child" => child = true,
            // What `cargo bench` itself adds.
            "--bench" => {}
            name if parts::PARTS.iter().any(|part| part.name == name) => parts.push(word),
            _ => {
                let names: Vec<&str> = parts::PARTS.iter().map(|part| part.name).collect();
                eprintln!("unknown: {word}; there are --rounds N, --count N and the parts {}", names.join(", "));
                return ExitCode::FAILURE;
            }
        }
    }
    let chosen = |part: &&parts::Part| {
        if parts.is_empty() { part.listed } else { parts.iter().any(|name| name == part.name) }
    };
    let parts = parts::PARTS.iter().filter(chosen);
    if child {
        for part in parts {
            (part.run)(count.unwrap_or(part.count));
        }
        return ExitCode::SUCCESS;
    }
    println!("| figure | best | median | worst | goal |\n|---|---|---|---|---|");
    for part in parts {
        if !run(part, rounds, count.unwrap_or(part.count)) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs a part's rounds, each in a program of its own, and prints its rows.
fn run(part: &parts::Part, rounds: usize, count: usize) -> bool {
    let mut order: Vec<Row> = Vec::new();
    let mut values: BTreeMap<Row, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds.min(part.rounds) {
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program).args(["--child", part.name, "--count", &count.to_string()]).output();
        let output = output.expect("this program can be run");
        if !output.status.success() {
            eprintln!("part {} failed:\n{}", part.name, String::from_utf8_lossy(&output.stderr));
            return false;
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [what, value, unit, goal] = fields[..] else { continue };
            let row = (what.to_owned(), unit.to_owned(), goal.to_owned());
            if !order.contains(&row) {
                order.push(row.clone());
            }
            values.entry(row).or_default().push(value.parse().unwrap_or(f64::NAN));
        }
    }
    for row in order {
        let mut found = values.remove(&row).unwrap_or_default();
        found.sort_by(f64::total_cmp);
        let (what, unit, goal) = row;
        let (best, median, worst) = (found[0], found[found.len() / 2], found[found.len() - 1]);
        println!("| {what} | {best:.2} {unit} | {median:.2} {unit} | {worst:.2} {unit} | {goal} |");
    }
    true
}
