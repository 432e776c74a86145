//! Luau code itself: what it takes as a process, beside the same code in a plain interpreter.
//!
//! Both run in a program of their own, `crates/luau/benches/process` with the part `code`, which measures them in turn
//! and prints lines of a name, a value, a unit and a goal with tabs between. This reads them, round after round.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::report::{Ratio, median, ratio_of};

/// How its lines begin, and how they end for the two.
const PREFIX: &str = "Luau code, ";
const OURS: &str = ": as a process";
const PLAIN: &str = ": in the plain interpreter";

/// One workload, a value of each for every round.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Compared {
    pub(crate) workload: String,
    pub(crate) ours: Vec<f64>,
    pub(crate) plain: Vec<f64>,
}

impl Compared {
    pub(crate) const GOAL: f64 = 1.05;

    pub(crate) fn ratio(&self) -> Option<Ratio> {
        ratio_of(&self.ours.iter().zip(&self.plain).map(|(ours, plain)| ours / plain).collect::<Vec<f64>>())
    }

    /// Milliseconds of ours and of the plain interpreter.
    pub(crate) fn medians(&self) -> (f64, f64) {
        (median(&self.ours).unwrap_or(f64::NAN), median(&self.plain).unwrap_or(f64::NAN))
    }
}

/// Runs `program` so many times.
pub(crate) fn run(program: &Path, rounds: usize) -> Result<Vec<Compared>> {
    eprintln!("Luau code as a process and in the plain interpreter");
    let mut found = Vec::new();
    for _ in 0..rounds {
        let output = Command::new(program).args(["--child", "code"]).output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&String::from_utf8_lossy(&output.stdout), &mut found);
    }
    ensure!(!found.is_empty(), "{} has not said what code takes", program.display());
    Ok(found)
}

/// Adds the lines of one round.
fn read(text: &str, found: &mut Vec<Compared>) {
    for line in text.lines() {
        let mut fields = line.split('\t');
        let name = fields.next().and_then(|name| name.strip_prefix(PREFIX));
        let value = fields.next().and_then(|value| value.parse::<f64>().ok());
        let (Some(name), Some(value)) = (name, value) else { continue };
        let (workload, is_ours) = match (name.strip_suffix(OURS), name.strip_suffix(PLAIN)) {
            (Some(workload), _) => (workload, true),
            (_, Some(workload)) => (workload, false),
            _ => continue,
        };
        let known = found.iter().position(|one| one.workload == workload).unwrap_or_else(|| {
            found.push(Compared { workload: workload.to_owned(), ..Compared::default() });
            found.len() - 1
        });
        let values = if is_ours { &mut found[known].ours } else { &mut found[known].plain };
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_each_workload_are_put_together() {
        let text = "Luau code, calls: as a process\t10.5\tms\t\nLuau code, calls: in the plain interpreter\t10\tms\t\n\
                    Luau code, calls: of the plain interpreter's time\t1.05\t\t1.05\nsomething else\n";
        let mut found = Vec::new();
        read(text, &mut found);
        read(text, &mut found);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ours, [10.5, 10.5]);
        assert_eq!(found[0].ratio().map(|ratio| ratio.median), Some(1.05));
    }
}
