//! Rounds: every server in turn, again and again, so that a slow minute of the machine hits all.

use anyhow::{Context as _, Result};

use crate::floor::Answer;
use crate::load::{Load, Sample, Span};
use crate::machine::{self, Cores};
use crate::server::{Kind, Places, Server};

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
            Load::Idle { connections: 1_000 },
        ];
    }
    vec![
        echo(100, 1),
        echo(1_000, 1),
        echo(100, 16),
        Load::Broadcast { receivers: 1_000 },
        Load::Broadcast { receivers: 9_000 },
        Load::Connect { at_once: 16 },
        Load::Open { connections: 100, rate: None },
        Load::Idle { connections: 15_000 },
    ]
}

/// Puts `load` on every server of the plan; a server that fails leaves the others their rounds.
pub(crate) fn run(load: Load, plan: &Plan, places: &Places) -> Result<Vec<Outcome>> {
    let load = with_rate(load, plan, places)?;
    eprintln!("{load}");
    let answer = match load {
        Load::Broadcast { .. } => Answer::Publish,
        _ => Answer::Echo,
    };
    // Idle memory is counted from a fresh process; the others keep what they learned.
    let fresh = matches!(load, Load::Idle { .. });
    let mut entrants = Vec::new();
    for &server in &plan.servers {
        let running = if fresh { None } else { Some(start(server, answer, plan, places)?) };
        entrants.push((server, running, Ok(Vec::new())));
    }
    for round in 0..plan.rounds {
        for position in 0..entrants.len() {
            // Each round begins with another server, so that none is always the first.
            let position = (position + round) % entrants.len();
            let (server, running, samples) = &mut entrants[position];
            let Ok(found) = samples else { continue };
            let outcome = match running {
                Some(running) => load.run(running.target(), plan.span),
                None => start(*server, answer, plan, places).and_then(|running| load.run(running.target(), plan.span)),
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

/// Starts a server on its core, and leaves this thread on the core of the load.
fn start(server: Kind, answer: Answer, plan: &Plan, places: &Places) -> Result<Server> {
    if let Some(cores) = plan.cores {
        machine::pin(cores.server)?;
    }
    let running = Server::start(server, answer, places, plan.shards);
    if let Some(cores) = plan.cores {
        machine::pin(cores.load)?;
    }
    running
}

/// An open loop without a rate gets half of what Bun does when it is asked as fast as it can.
fn with_rate(load: Load, plan: &Plan, places: &Places) -> Result<Load> {
    let Load::Open { connections, rate: None } = load else {
        return Ok(load);
    };
    eprintln!("half of Bun's highest rate: measuring it");
    let bun = start(Kind::Bun, Answer::Echo, plan, places)
        .context("an open loop without --rate asks Bun for its highest rate")?;
    let closed = Load::Echo { connections, in_flight: 1 };
    let highest = closed.run(bun.target(), plan.span)?.per_second;
    Ok(Load::Open { connections, rate: Some((highest / 2.0).round()) })
}
