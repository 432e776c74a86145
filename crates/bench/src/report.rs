//! Medians, ratios within a round, and the table that shows them.
//!
//! [`page`] puts them into docs/performance.md, [`plot`] draws them.

pub(crate) mod page;
pub(crate) mod plot;

use std::fmt::Write as _;

use crate::load::Sample;
use crate::suite::Outcome;

/// The columns; all but the first two hold numbers.
const COLUMNS: [&str; 8] =
    ["load", "server", "median", "ratio", "lowest to highest", "per second", "core used", "p50, p99 (µs)"];

/// The table of a run, in Markdown that also reads well in a terminal.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for outcome in outcomes {
        rows.push(row(outcome, outcomes));
    }
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        line(&mut text, row, &widths);
        if number == 0 {
            line(&mut text, &widths.map(|width| "-".repeat(width)), &widths);
        }
    }
    text
}

/// A figure beside that of another server, in the same rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    /// The median of the rounds.
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// `outcome` beside the server that its load is compared with; none where one of the two has failed.
pub(crate) fn ratio(outcome: &Outcome, outcomes: &[Outcome]) -> Option<Ratio> {
    let base = |other: &&Outcome| other.load == outcome.load && other.server == outcome.load.base();
    let base = outcomes.iter().find(base)?.samples.as_ref().ok()?;
    let pairs = outcome.samples.as_ref().ok()?.iter().zip(base);
    ratio_of(&pairs.map(|(ours, theirs)| ours.figure / theirs.figure).collect::<Vec<f64>>())
}

/// The median of some ratios, and between which they lie.
pub(crate) fn ratio_of(rounds: &[f64]) -> Option<Ratio> {
    let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(Ratio { median: median(rounds)?, lowest, highest })
}

/// The median of an outcome's figures.
pub(crate) fn figure(outcome: &Outcome) -> Option<f64> {
    median(&outcome.samples.as_ref().ok()?.iter().map(|sample| sample.figure).collect::<Vec<f64>>())
}

/// The middle of `values`, the mean of the two middle ones if they are even in number.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

fn row(outcome: &Outcome, outcomes: &[Outcome]) -> [String; COLUMNS.len()] {
    let load = outcome.load.to_string();
    let server = outcome.server.name().to_owned();
    let samples = match &outcome.samples {
        Ok(samples) => samples,
        Err(error) => {
            let failed = format!("FAILED: {error:#}").replace(['|', '\n'], " ");
            let mut cells = [const { String::new() }; COLUMNS.len()];
            [cells[0], cells[1], cells[2]] = [load, server, failed];
            return cells;
        }
    };
    let all = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
    let figures = all(|sample| sample.figure);
    let figure = median(&figures).unwrap_or(f64::NAN);
    let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let per_second = median(&all(|sample| sample.per_second)).unwrap_or(f64::NAN);
    // Well below 100 % it was the load that was slow, or the machine was busy elsewhere.
    let core_used = format!("{:.0} %", figure * per_second / 1e4);
    let latency = samples.iter().any(|sample| sample.latency.is_some());
    let percentile = |index: usize| {
        let values: Vec<f64> = samples.iter().filter_map(|sample| Some(sample.latency?[index])).collect();
        median(&values).unwrap_or(f64::NAN)
    };
    [
        load,
        server,
        format!("{figure:.2} {}", outcome.load.unit()),
        ratio(outcome, outcomes).map_or_else(String::new, |ratio| format!("{:.2}", ratio.median)),
        format!("{lowest:.2} to {highest:.2}"),
        format!("{per_second:.0}"),
        if outcome.load.unit().starts_with("µs CPU") { core_used } else { String::new() },
        if latency { format!("{:.0}, {:.0}", percentile(0), percentile(1)) } else { String::new() },
    ]
}

fn line(text: &mut String, cells: &[String; COLUMNS.len()], widths: &[usize; COLUMNS.len()]) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width - cell.chars().count());
        // Writing to a String cannot fail.
        let _ = match column {
            0 | 1 => write!(text, "| {cell}{padding} "),
            _ => write!(text, "| {padding}{cell} "),
        };
    }
    text.push_str("|\n");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Load;
    use crate::server::Kind;

    pub(crate) fn outcome(server: Kind, figures: &[f64]) -> Outcome {
        let samples = figures.iter().map(|&figure| Sample { figure, per_second: 1000.0, latency: None }).collect();
        Outcome { load: Load::Echo { connections: 100, in_flight: 1 }, server, samples: Ok(samples) }
    }

    #[test]
    fn the_median_is_the_middle_and_not_the_mean() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_table_shows_medians_and_ratios_to_bun_in_the_same_round() {
        let text = table(&[outcome(Kind::Bun, &[8.0, 7.0, 100.0]), outcome(Kind::Moonwire, &[9.0, 8.0, 10.0])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].contains("8.00 µs CPU per message"), "{text}");
        assert!(lines[2].contains(" 1.00 "), "{text}");
        assert!(lines[3].contains(" 1.12 "), "{text}");
        assert!(lines[3].contains("8.00 to 10.00"), "{text}");
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{text}");
    }

    #[test]
    fn a_failure_stands_in_the_table() {
        let mut failed = outcome(Kind::Ws, &[]);
        failed.samples = Err(anyhow::anyhow!("wrong message on connection 3"));
        let text = table(&[failed]);
        assert!(text.contains("FAILED: wrong message on connection 3"), "{text}");
    }
}
