//! The part of docs/performance.md that is measured: between two marks, the rest is written by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Ratio, figure, plot, ratio};
use crate::code::Compared;
use crate::load::Load;
use crate::server::Kind;
use crate::suite::Outcome;

const BEGIN: &str = "<!-- measured: cargo xtask bench writes from here -->";
const END: &str = "<!-- measured: to here -->";

/// What an idle connection may take, in KB: a goal of its own, whatever Bun takes.
const IDLE: f64 = 4.0;

/// Everything that one run of `cargo xtask bench` found.
pub(crate) struct Found<'a> {
    pub(crate) outcomes: &'a [Outcome],
    pub(crate) code: &'a [Compared],
    /// Machine, versions and how it was done: one sentence each.
    pub(crate) circumstances: Vec<String>,
}

/// A line of the table and of the plot: a figure of ours, those of others, and what it is to be beside its base.
pub(crate) struct Line {
    pub(crate) what: String,
    /// Ours first, then Bun, ws and the floor; none where there is none, or it has failed.
    pub(crate) figures: Vec<Option<String>>,
    pub(crate) ratio: Option<Ratio>,
    /// The others' medians beside the base.
    pub(crate) others: Vec<(Kind, f64)>,
    pub(crate) goal: Option<f64>,
    goal_shown: String,
    pub(crate) command: String,
}

/// What our own server is compared in, in the order in which it was measured.
pub(crate) fn lines(outcomes: &[Outcome]) -> Vec<Line> {
    let ours = |outcome: &&Outcome| match outcome.load {
        Load::Shards { .. } => outcome.server == Kind::TwoShards,
        _ => matches!(outcome.server, Kind::Moonwire | Kind::Group),
    };
    outcomes.iter().filter(ours).map(|outcome| line(outcome, outcomes)).collect()
}

fn line(outcome: &Outcome, outcomes: &[Outcome]) -> Line {
    let load = outcome.load;
    let of = |kind: Kind| outcomes.iter().find(|other| other.load == load && other.server == kind);
    let rivals = [Kind::Bun, Kind::Ws, Kind::Floor];
    let shown = |outcome: &Outcome| figure(outcome).map(|figure| load.shown(figure));
    let mut figures = vec![shown(outcome)];
    figures.extend(rivals.map(|kind| of(kind).and_then(shown)));
    let others =
        [Kind::Ws, Kind::Floor].into_iter().filter_map(|kind| Some((kind, ratio(of(kind)?, outcomes)?.median)));
    let manner = if outcome.server == Kind::Group { ", by `pg.broadcast`" } else { "" };
    Line {
        what: format!("{load}{manner}: {}", load.measure()),
        figures,
        ratio: ratio(outcome, outcomes),
        others: others.collect(),
        goal: match load {
            Load::Idle { .. } => of(Kind::Bun).and_then(figure).map(|bun| IDLE / bun),
            _ => load.goal(outcome.server),
        },
        goal_shown: match load {
            Load::Idle { .. } => format!("{IDLE} KB"),
            _ => goal_cell(load.goal(outcome.server)),
        },
        command: load.command(),
    }
}

/// What stands between the marks.
pub(crate) fn measured(found: &Found<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for sentence in &found.circumstances {
        let _ = writeln!(text, "- {sentence}");
    }
    text.push_str("\n| what | Moonwire | Bun | ws | floor | beside Bun: median (rounds) | goal | command |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    let (among, beside): (Vec<Line>, Vec<Line>) = lines(found.outcomes).into_iter().partition(|line| !line.is_own());
    for line in &among {
        let figures = line.figures.iter().map(|figure| figure.clone().unwrap_or_default());
        let cells: Vec<String> = figures.chain([ratio_cell(line.ratio), line.goal_shown.clone()]).collect();
        let _ = writeln!(text, "| {} | {} | `{}` |", line.what, cells.join(" | "), line.command);
    }
    text.push_str(
        "\n| what | Moonwire | compared with | ratio: median (rounds) | goal | command |\n|---|---|---|---|---|---|\n",
    );
    for line in &beside {
        let own = line.figures[0].clone().unwrap_or_default();
        let base =
            found.outcomes.iter().find(|one| matches!(one.load, Load::Shards { .. }) && one.server == Kind::Moonwire);
        let base = base.and_then(|one| Some(one.load.shown(figure(one)?))).unwrap_or_default();
        let (ratio, goal) = (ratio_cell(line.ratio), &line.goal_shown);
        let _ = writeln!(text, "| {} | {own} | one shard: {base} | {ratio} | {goal} | `{}` |", line.what, line.command);
    }
    for one in found.code {
        let (ratio, goal) = (ratio_cell(one.ratio()), goal_cell(Some(Compared::GOAL)));
        let (ours, plain) = one.medians();
        let _ = writeln!(
            text,
            "| Luau code as a process, {}: time computed | {ours:.0} ms | plain interpreter: {plain:.0} ms | {ratio} | {goal} | `cargo xtask bench process code` |",
            one.workload
        );
    }
    text
}

/// Puts all of it into docs/performance.md, and draws docs/performance.svg.
pub(crate) fn write(root: &Path, found: &Found<'_>) -> Result<()> {
    let page = root.join("docs/performance.md");
    let text = fs::read_to_string(&page).with_context(|| format!("{} is missing", page.display()))?;
    fs::write(&page, put(&text, &measured(found))?)?;
    let code = found.code.iter().filter_map(|one| {
        Some((format!("Luau code, {}, beside plain Luau", one.workload), one.ratio()?.median, Compared::GOAL))
    });
    fs::write(root.join("docs/performance.svg"), plot::svg(&lines(found.outcomes), &code.collect::<Vec<_>>()))?;
    eprintln!("written: docs/performance.md and docs/performance.svg");
    Ok(())
}

/// `page` with `text` between its marks.
pub(crate) fn put(page: &str, text: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("the page has no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the page has no {END}"))?;
    ensure!(!after.contains(BEGIN), "the page has two places for what is measured");
    Ok(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

fn ratio_cell(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(
        || "failed".to_owned(),
        |Ratio { median, lowest, highest }| format!("**{median:.2}** ({lowest:.2} to {highest:.2})"),
    )
}

fn goal_cell(goal: Option<f64>) -> String {
    goal.map_or_else(String::new, |goal| format!("{goal}"))
}

impl Line {
    /// Whether it is compared with ourselves.
    fn is_own(&self) -> bool {
        self.figures[1..].iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::outcome;

    #[test]
    fn what_is_measured_takes_its_place_and_nothing_elses() {
        let page = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nBy hand.\n");
        let new = put(&page, "new\n").unwrap();
        assert_eq!(new, format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nBy hand.\n"));
        assert_eq!(put(&new, "new\n").unwrap(), new);
        assert!(put("# Title\n", "new\n").is_err());
    }

    #[test]
    fn a_line_has_ours_the_rivals_the_ratio_and_the_goal() {
        let outcomes = [outcome(Kind::Bun, &[8.0, 8.0, 10.0]), outcome(Kind::Moonwire, &[8.0, 12.0, 12.0])];
        let found = Found { outcomes: &outcomes, code: &[], circumstances: vec!["A machine.".to_owned()] };
        let text = measured(&found);
        assert!(text.contains("| 12.00 µs | 8.00 µs |  |  | **1.20** (1.00 to 1.50) | 1.1 |"), "{text}");
        assert!(text.starts_with("- A machine.\n"), "{text}");
    }
}
