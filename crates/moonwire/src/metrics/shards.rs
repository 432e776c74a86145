//! What each shard does: its turns and its collector.

use super::{Kind, Labels, Metric, Shards, Unit, label};
use gateway::figures::Figures;
use kernel::{Counts, Node};

pub(super) fn of(node: &Node, shards: &Shards, now: u64) -> Vec<Metric> {
    let each = |of: &dyn Fn(&Figures) -> u64| -> Vec<(Labels, u64)> {
        shards.0.iter().enumerate().map(|(shard, figures)| (label("shard", shard.to_string()), of(figures))).collect()
    };
    let processes = node.gauges().map(Counts::read).map(|counts| counts.processes).enumerate();
    let turns = shards.0.iter().enumerate();
    vec![
        Metric::many(
            "moonwire_shard_processes",
            Kind::Gauge,
            "Living processes of a shard.",
            processes.map(|(shard, count)| (label("shard", shard.to_string()), count)),
        ),
        Metric::histograms(
            "moonwire_shard_turn_seconds",
            Unit::Seconds,
            "Turns of a shard: what it takes until the next one can begin. What is ready waits for so long.",
            turns.map(|(shard, figures)| (label("shard", shard.to_string()), figures.turns.read())),
        ),
        Metric::many(
            "moonwire_shard_turn_peak_seconds",
            Kind::Gauge,
            "The longest turn of a shard in the last 15 to 30 seconds.",
            each(&|figures| figures.longest_turn.read(now)),
        )
        .in_seconds(),
        Metric::many(
            "moonwire_shard_lag_peak_seconds",
            Kind::Gauge,
            "How much too late a shard without other work looked at a timer, at most, in the last 15 to 30 seconds.",
            each(&|figures| figures.lag.read(now)),
        )
        .in_seconds(),
        Metric::many(
            "moonwire_collector_seconds",
            Kind::Counter,
            "What the garbage collector of a shard has computed.",
            each(&|figures| figures.collector.0.get()),
        )
        .in_seconds(),
        Metric::many(
            "moonwire_collector_cycles",
            Kind::Counter,
            "Cycles that the garbage collector of a shard has finished.",
            each(&|figures| figures.collector.1.get()),
        ),
        Metric::many(
            "moonwire_collector_step_peak_seconds",
            Kind::Gauge,
            "What the garbage collector computed after one slice, at most, in the last 15 to 30 seconds.",
            each(&|figures| figures.longest_collection.read(now)),
        )
        .in_seconds(),
        Metric::many(
            "moonwire_heap_bytes",
            Kind::Gauge,
            "Heaps of a shard's Luau VMs, garbage included.",
            each(&|figures| figures.heap.get()),
        ),
    ]
}
