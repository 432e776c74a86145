//! The whole path of a message, without a network: `cargo xtask instructions` counts its instructions and allocations.
//!
//! Each part is an application as users write it, served by a node of one shard in this thread; its clients hold the
//! other ends of pairs of sockets. tokio's clock is paused and turns are cut by count, so that a run repeats.
//!
//! `path PART` does a part's work within [`measured`], which is what callgrind counts, and says how often it did it.
//! `path --allocations` does all parts and fails if one allocates more than [`PARTS`] allows. Luau's heap stays below
//! the size at which a collection begins: what that costs goes by the bytes of garbage, which are counted as well.

mod allocations;
mod client;
mod stage;

use std::process::ExitCode;

use stage::{Stage, Work};

/// Rounds before those that are measured: buffers, caches and tables have their sizes then.
const WARM_UP: usize = 3;

/// What is counted.
struct Part {
    name: &'static str,
    /// The folder of its application, in the repository.
    app: &'static str,
    work: Work,
    /// Rounds that are measured.
    rounds: usize,
    /// What may be allocated for each, on the average: the same with all compilers.
    allowed: Allowed,
}

/// What one message, delivery or connection may allocate.
struct Allowed {
    /// Blocks that Rust asks for.
    blocks: f64,
    /// Bytes by which Luau's heap may grow.
    garbage: f64,
    /// What they are for.
    why: &'static str,
}

const PARTS: [Part; 5] = [
    Part {
        name: "echo, 1 in flight",
        app: "examples/echo",
        work: Work::Echo { clients: 100, in_flight: 1 },
        rounds: 20,
        allowed: Allowed {
            blocks: 3.1,
            garbage: 500.0,
            why: "the bytes that came, its metadata and text in Luau, and an outbox with its queue, which an idle session has not",
        },
    },
    Part {
        name: "echo, 16 in flight",
        app: "examples/echo",
        work: Work::Echo { clients: 20, in_flight: 16 },
        rounds: 6,
        allowed: Allowed {
            blocks: 1.4,
            garbage: 510.0,
            why: "the bytes that came, its metadata and text in Luau; sixteen share an outbox",
        },
    },
    Part {
        name: "delivery by the documents' loop",
        app: "crates/bench/apps/broadcast",
        work: Work::Broadcast { clients: 100 },
        rounds: 20,
        allowed: Allowed {
            blocks: 2.1,
            garbage: 130.0,
            why: "the payload's table in Luau, and an outbox with its queue, which an idle session has not",
        },
    },
    Part {
        name: "delivery by pg.broadcast",
        app: "crates/bench/apps/group",
        work: Work::Broadcast { clients: 100 },
        rounds: 20,
        allowed: Allowed {
            blocks: 2.1,
            // Luau takes whole pages: one of 16 KiB within these 2,000 deliveries, or none.
            garbage: 9.0,
            why: "an outbox with its queue, which an idle session has not; the room's own message, one for all",
        },
    },
    Part {
        name: "connect, echo, close",
        app: "examples/echo",
        work: Work::Lives { clients: 16 },
        rounds: 10,
        allowed: Allowed {
            blocks: 92.0,
            garbage: 2_000.0,
            why: "a request, a handler's process, a session, a process of its own, an echo, and what all of them leave",
        },
    },
];

fn main() -> ExitCode {
    // What `cargo bench` itself adds says nothing.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut held = true;
    match words[..] {
        ["--list"] => PARTS.iter().for_each(|part| println!("{}", part.name)),
        ["--allocations"] => PARTS.iter().for_each(|part| held &= part.allocates_what_it_may()),
        [name] if PARTS.iter().any(|part| part.name == name) => {
            PARTS.iter().filter(|part| part.name == name).for_each(Part::play);
        }
        _ => {
            eprintln!("expected --list, --allocations or a part's name");
            held = false;
        }
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is counted: callgrind knows it by its name.
#[inline(never)]
fn measured(stage: &mut Stage, work: Work, rounds: usize) {
    stage.play(work, rounds);
}

impl Part {
    fn count(&self) -> f64 {
        (self.rounds * self.work.in_a_round()) as f64
    }

    fn warm(&self) -> Stage {
        let mut stage = Stage::new(self.app, self.work);
        stage.play(self.work, WARM_UP);
        stage
    }

    /// For callgrind.
    fn play(&self) {
        measured(&mut self.warm(), self.work, self.rounds);
        println!("done\t{}", self.count());
    }

    /// Prints what each message allocates, and says whether it may.
    fn allocates_what_it_may(&self) -> bool {
        let mut stage = self.warm();
        let (blocks, heap) = (allocations::count(), luau::collected());
        measured(&mut stage, self.work, self.rounds);
        let (now, grown) = (allocations::count(), luau::collected());
        assert_eq!(grown.cycles, heap.cycles, "{}: a collection has taken garbage away", self.name);
        let blocks = (now - blocks) as f64 / self.count();
        let garbage = (grown.heap as f64 - heap.heap as f64) / self.count();
        let Allowed { blocks: most, garbage: most_garbage, why } = self.allowed;
        println!(
            "{}: {blocks:.2} allocations, {most} allowed; {garbage:.0} bytes of Luau, {most_garbage} allowed",
            self.name
        );
        let held = blocks <= most && garbage <= most_garbage;
        if !held {
            println!("too many: they were for {why} (crates/gateway/benches/path/main.rs)");
        }
        held
    }
}
