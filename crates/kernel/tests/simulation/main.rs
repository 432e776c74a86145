//! Anything in any order: random acts of random processes on shards that take their turns at random, and after every
//! step all that must hold. `cargo xtask sim --seeds 100000` looks far; a seed that fails is printed with the command
//! that replays it.
//!
//! [`model`] is what a seed is and what its steps are, [`acts`] what processes do and what they must be answered,
//! [`checks`] what must hold at any time, at rest and in the end.

mod acts;
mod checks;
mod model;
#[path = "../promises/patient.rs"]
mod patient;
#[allow(dead_code, reason = "the promises use all of it")]
#[path = "../promises/world.rs"]
mod world;

use model::Simulation;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Steps of one seed.
const STEPS: usize = 400;

/// Prints the seed if the simulation does not come to its end.
struct Seed<'a> {
    seed: u64,
    stop: &'a AtomicBool,
}

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.stop.swap(true, Ordering::SeqCst) {
            eprintln!("seed {} fails; replay it: cargo xtask sim --first {} --seeds 1", self.seed, self.seed);
        }
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..STEPS {
        simulation.step();
        simulation.check();
    }
    simulation.finish();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Without settings it is short; `cargo xtask sim` sets how many seeds, from which on, and on how many threads.
#[test]
fn whatever_happens_in_whatever_order_the_promises_hold() {
    let (first, seeds) = (number("MOONWIRE_SIM_FIRST").unwrap_or(1), number("MOONWIRE_SIM_SEEDS").unwrap_or(300));
    let threads = number("MOONWIRE_SIM_THREADS");
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads.unwrap_or(1) {
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                let mut shown = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    if thread == 0 && threads.is_some() && shown.elapsed() > Duration::from_secs(10) {
                        shown = Instant::now();
                        let done = seed - first;
                        let rate = done as f64 / began.elapsed().as_secs_f64();
                        eprintln!("{done} of {seeds} seeds, {rate:.0} a second, none failed");
                    }
                    let _printed = Seed { seed, stop };
                    run(seed);
                }
            });
        }
    });
    if threads.is_some() {
        let rate = seeds as f64 / began.elapsed().as_secs_f64();
        eprintln!("seeds {first} to {}: none failed ({rate:.0} a second)", first + seeds - 1);
    }
}
