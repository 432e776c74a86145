//! The figures of the node as Prometheus text (exposition format 0.0.4).
//!
//! One table for each family: `node` (processes), `shards` (turns, the collector), `http`, `websocket`, `process` (what
//! the system says of this program). A label's values are entries, shards and words from closed lists, so the number
//! of series does not grow with what clients or programs do. `docs/metrics.md` lists them all; a test compares.

mod http;
mod node;
mod process;
mod shards;
#[cfg(test)]
mod tests;
mod websocket;

pub(crate) use self::process::started;

use crate::node::Watched;
use gateway::figures::Figures;
use gateway::server::site::Site;
use gateway::server::tally::Loads;
use gateway::websocket::ceiling::Ceiling;
use kernel::Node;
use std::fmt::Write as _;
use std::sync::Arc;
use units::figures::Distribution;

/// Where the figures are.
pub(crate) struct Sources {
    pub(crate) node: Arc<Node>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) ceiling: Arc<Ceiling>,
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) shards: Arc<Watched>,
    /// Lines of the log that were dropped.
    pub(crate) dropped: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// One figure, or one for each of several things.
struct Metric {
    /// Its name, without the `_total` behind a counter.
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// One sentence, without a line break or backslash.
    help: &'static str,
    values: Vec<(Labels, Value)>,
}

/// Keys and values. The values are ids of entries and fixed words: nothing in them needs an escape.
type Labels = Vec<(&'static str, String)>;

/// What a figure does with time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// How many values there were up to each bound.
    Histogram,
}

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Things, or bytes.
    Whole,
    /// Nanoseconds, shown as seconds.
    Seconds,
}

enum Value {
    Number(u64),
    Histogram(Distribution),
}

impl Metric {
    fn many(
        name: &'static str,
        kind: Kind,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Metric {
        let values = values.into_iter().map(|(labels, value)| (labels, Value::Number(value))).collect();
        Metric { name, kind, unit: Unit::Whole, help, values }
    }

    fn histograms(
        name: &'static str,
        unit: Unit,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, Distribution)>,
    ) -> Metric {
        let values = values.into_iter().map(|(labels, value)| (labels, Value::Histogram(value))).collect();
        Metric { name, kind: Kind::Histogram, unit, help, values }
    }

    /// The same, of nanoseconds.
    fn in_seconds(mut self) -> Metric {
        self.unit = Unit::Seconds;
        self
    }
}

fn gauge(name: &'static str, value: u64, help: &'static str) -> Metric {
    Metric::many(name, Kind::Gauge, help, [(Vec::new(), value)])
}

fn counter(name: &'static str, value: u64, help: &'static str) -> Metric {
    Metric::many(name, Kind::Counter, help, [(Vec::new(), value)])
}

/// One label.
fn label(key: &'static str, value: impl Into<String>) -> Labels {
    vec![(key, value.into())]
}

/// The figures of each shard, and a sum over them.
struct Shards(Vec<Arc<Figures>>);

impl Shards {
    fn sum(&self, of: impl Fn(&Figures) -> u64) -> u64 {
        // Wrapping: of two threads' figures that are read one after the other one may not have its part yet.
        self.0.iter().map(|shard| of(shard)).fold(0, u64::wrapping_add)
    }

    fn histogram(&self, of: impl Fn(&Figures) -> Distribution) -> Distribution {
        let empty = of(&Figures::default());
        self.0.iter().map(|shard| of(shard)).fold(empty, |sum, one| sum.plus(&one))
    }
}

impl Sources {
    /// All figures as text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for metric in self.all() {
            // Writing into a string cannot fail.
            let _infallible = metric.write(&mut text);
        }
        text
    }

    fn all(&self) -> Vec<Metric> {
        let shards = Shards(self.shards.figures());
        let now = self.shards.now();
        let mut all = node::of(&self.node, now);
        all.extend(shards::of(&self.node, &shards, now));
        all.extend(http::of(&self.sites, self.loads.sum()));
        all.extend(websocket::of(&self.sites, &shards, &self.ceiling, now));
        all.push(counter("moonwire_log_lines_dropped", (self.dropped)(), "Log lines that found the queue full."));
        all.extend(process::of());
        all
    }
}

impl Metric {
    /// The name of the family.
    fn family(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let name = self.family();
        write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", self.help)?;
        for (labels, value) in &self.values {
            match value {
                Value::Number(number) => {
                    writeln!(text, "{name}{} {}", written(labels, None), self.unit.shown(*number))?;
                }
                Value::Histogram(values) => {
                    let mut so_far = 0;
                    for (bound, within) in values.bounds.iter().zip(&values.within) {
                        so_far += within;
                        let labels = written(labels, Some(&self.unit.shown(*bound)));
                        writeln!(text, "{name}_bucket{labels} {so_far}")?;
                    }
                    so_far += values.beyond;
                    writeln!(text, "{name}_bucket{} {so_far}", written(labels, Some("+Inf")))?;
                    let labels = written(labels, None);
                    writeln!(text, "{name}_sum{labels} {}", self.unit.shown(values.sum))?;
                    writeln!(text, "{name}_count{labels} {so_far}")?;
                }
            }
        }
        Ok(())
    }
}

impl Unit {
    fn shown(self, value: u64) -> String {
        match self {
            Unit::Whole => value.to_string(),
            Unit::Seconds => (value as f64 / 1e9).to_string(),
        }
    }
}

fn written(labels: &Labels, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| format!("le=\"{bound}\""));
    let labels = labels.iter().map(|(key, value)| format!("{key}=\"{value}\""));
    let labels: Vec<String> = labels.chain(bound).collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}
