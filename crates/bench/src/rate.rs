//! The highest rate at which a server answers everything in time: what the open loop asks half of.
//!
//! It is asked by open loops, since a closed one waits for a slow server and so measures what both do together. A rate
//! is kept if its messages came back at that rate, none late and none missing; the generator, which has a core of its
//! own, must have kept it, too.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::{Load, Span, Target};

/// What the search begins with, in messages a second, and by what it grows until a rate is not kept.
const FIRST: f64 = 5_000.0;
const GROWTH: f64 = 1.5;
/// Steps between the last rate that was kept and the first that was not: each halves the distance.
const HALVINGS: usize = 4;
/// A rate is kept if this much of it came back within the window, 99 % of it within this time.
const PART: f64 = 0.98;
const LATEST: f64 = 50_000.0;
/// Tries of a rate, of which one must succeed: another program on the machine may have spoilt the others.
const TRIES: usize = 2;

/// Messages a second that `target` answers, over so many connections.
pub(crate) fn highest(target: Target, span: Span, connections: usize) -> Result<f64> {
    let warm_up = Duration::from_millis(200);
    let measured = Duration::from_millis(800);
    let span = Span { warm_up, measured, judges: true, ..span };
    let keeps_once = |rate: f64| {
        let found = Load::Open { connections, rate: Some(rate) }.run(target, span);
        // A server that is asked for too much may leave answers out, or so late that the run gives up.
        found.is_ok_and(|found| {
            let late = found.latency.is_none_or(|[_, p99]| p99 > LATEST);
            found.per_second >= PART * rate && !late
        })
    };
    let keeps = |rate: f64| {
        let kept = (0..TRIES).any(|_| keeps_once(rate));
        eprintln!("  {rate:.0} messages a second: {}", if kept { "kept" } else { "not kept" });
        kept
    };
    let highest = search(keeps);
    ensure!(highest > 0.0, "the server does not even keep {FIRST} messages a second");
    Ok(highest)
}

/// The highest rate that is kept, within a few percent; zero if not even the first one is.
fn search(mut keeps: impl FnMut(f64) -> bool) -> f64 {
    let (mut kept, mut missed) = (0.0, FIRST);
    while keeps(missed) {
        (kept, missed) = (missed, missed * GROWTH);
    }
    if kept == 0.0 {
        return 0.0;
    }
    for _ in 0..HALVINGS {
        let middle = (kept + missed) / 2.0;
        if keeps(middle) {
            kept = middle;
        } else {
            missed = middle;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_within_a_few_percent() {
        for limit in [6_000.0, 77_777.0, 450_000.0] {
            let mut tries = 0;
            let found = search(|rate| {
                tries += 1;
                rate <= limit
            });
            assert!(found <= limit && found > limit * 0.96, "{found} for {limit}");
            assert!(tries < 20, "{tries} for {limit}");
        }
        assert_eq!(search(|_| false), 0.0);
    }
}
