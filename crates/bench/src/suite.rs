//! Rounds: every server in turn, again and again, so that a slow minute of the machine hits all.

use anyhow::Result;

use crate::floor::Answer;
use crate::load::{Load, Sample, Span};
use crate::machine::{self, Cores};
use crate::rate;
use crate::server::{Kind, Places, Server};

/// How often an open loop is put before it counts as failed.
const TRIES: usize = 4;

/// How a run is done, whatever its loads.
pub(crate) struct Plan {
    pub(crate) servers: Vec<Kind>,
    pub(crate) rounds: usize,
    pub(crate) span: Span,
    /// Moonwire's shards; the rivals have one thread that serves.
    pub(crate) shards: usize,
    pub(crate) cores: Option<Cores>,
}

/// What one server did with one load, a sample for each round, or why it failed.
pub(crate) struct Outcome {
    pub(crate) load: Load,
    pub(crate) server: Kind,
    pub(crate) samples: Result<Vec<Sample>>,
}

/// Runs the loads of `bench all`, from one table.
pub(crate) fn all(quick: bool) -> Vec<Load> {
    let echo = |connections, in_flight| Load::Echo { connections, in_flight };
    if quick {
        return vec![
            echo(100, 1),
            echo(100, 16),
            Load::Broadcast { receivers: 200 },
            Load::Connect { at_once: 16 },
            Load::Open { connections: 100, rate: Some(1_000.0) },
            Load::Idle { connections: 1_000 },
            Load::Shards { connections: 100 },
        ];
    }
    vec![
        echo(100, 1),
        echo(1_000, 1),
        echo(100, 16),
        Load::Broadcast { receivers: 1_000 },
        Load::Broadcast { receivers: 10_000 },
        Load::Connect { at_once: 16 },
        Load::Open { connections: 100, rate: None },
        Load::Idle { connections: 15_000 },
        Load::Shards { connections: 100 },
    ]
}

/// Puts `load` on every server of the plan; a server that fails leaves the others their rounds.
pub(crate) fn run(load: Load, plan: &Plan, places: &Places) -> Result<Vec<Outcome>> {
    // Two shards and the load that is put on them go where the system puts them.
    let cores = plan.cores.filter(|_| !matches!(load, Load::Shards { .. }));
    eprintln!("{load}");
    let entering: Vec<Kind> = plan.servers.iter().copied().filter(|server| load.suits(*server)).collect();
    let load = match load {
        Load::Open { connections, rate: None } => {
            let highest = start(Kind::Bun, Answer::Echo, plan.shards, cores, places)
                .and_then(|bun| rate::highest(bun.target(), plan.span, connections));
            match highest {
                Ok(highest) => Load::Open { connections, rate: Some((highest / 2.0).round()) },
                // The other loads are still worth their time.
                Err(error) => return Ok(vec![Outcome { load, server: Kind::Bun, samples: Err(error) }]),
            }
        }
        known => known,
    };
    let answer = match load {
        Load::Broadcast { .. } => Answer::Publish,
        _ => Answer::Echo,
    };
    // Idle memory is counted from a fresh process; the others keep what they learned.
    let fresh = matches!(load, Load::Idle { .. });
    let mut entrants = Vec::new();
    for server in entering {
        let running = if fresh { None } else { Some(start(server, answer, plan.shards, cores, places)?) };
        entrants.push((server, running, Ok(Vec::new())));
    }
    // Memory differs little from round to round, and takes long.
    let rounds = if fresh { plan.rounds.min(3) } else { plan.rounds };
    for round in 0..rounds {
        for position in 0..entrants.len() {
            // Each round begins with another server, so that none is always the first.
            let position = (position + round) % entrants.len();
            let (server, running, samples) = &mut entrants[position];
            let Ok(found) = samples else { continue };
            let outcome = match running {
                Some(running) => patiently(load, running, plan.span),
                None => start(*server, answer, plan.shards, cores, places)
                    .and_then(|running| load.run(running.target(), plan.span)),
            };
            let name = server.name();
            match outcome {
                Ok(sample) => {
                    eprintln!("  round {} {name}: {:.2} {}", round + 1, sample.figure, load.unit());
                    found.push(sample);
                }
                Err(error) => {
                    eprintln!("  round {} {name}: FAILED: {error:#}", round + 1);
                    *samples = Err(error);
                }
            }
        }
    }
    Ok(entrants.into_iter().map(|(server, _, samples)| Outcome { load, server, samples }).collect())
}

/// One round. An open loop that was late itself says nothing of the server, so it is put again.
fn patiently(load: Load, server: &Server, span: Span) -> Result<Sample> {
    let tries = if matches!(load, Load::Open { .. }) { TRIES } else { 1 };
    let mut outcome = load.run(server.target(), span);
    for _ in 1..tries {
        if outcome.is_err() {
            outcome = load.run(server.target(), span);
        }
    }
    outcome
}

/// Starts a server on its core, and leaves this thread on the core of the load; on any, where there are no such cores.
pub(crate) fn start(
    server: Kind,
    answer: Answer,
    shards: usize,
    cores: Option<Cores>,
    places: &Places,
) -> Result<Server> {
    match cores {
        Some(cores) => machine::pin(cores.server)?,
        None => machine::unpin()?,
    }
    let running = Server::start(server, answer, places, shards);
    if let Some(cores) = cores {
        machine::pin(cores.load)?;
    }
    running
}
