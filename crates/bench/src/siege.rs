//! The siege: what clients, programs and the machine may do to the server, done to it in numbers, and what was lost.
//!
//! Each part starts its own server on `crates/bench/apps/siege`, does its harm while others are served, and gives rows:
//! what was tried, how often, what was lost, and whether a promise was broken. Nothing here knows the server from
//! within; it reads sockets, the admin page and `/proc`.

mod crowd;
mod node;
mod room;

mod clock;
mod crashes;
mod flood;
mod killed;
mod senders;
mod stalled;
mod transfers;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;

use crate::machine::{self, Given};
use crate::report::median;
use crate::server::Places;
use crate::usage;
use node::{Node, Start};

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Of 2,000 clients 1 %, 10 % and 50 % do not read, under each slow-client policy.
    Stalled,
    /// 10,000 clients begin a message and do not end it.
    Senders,
    /// One of 1,000 clients of a process says as much as it can.
    Flood,
    /// 10,000 targets fail under traffic.
    Crashes,
    /// 100,000 transfers between targets under traffic.
    Transfers,
    /// `kill -9` in the middle of writes, and a start on the same port.
    Killed,
    /// The clock of the wall jumps, and the whole server is stopped for a while.
    Clock,
}

const ALL: [Part; 7] =
    [Part::Stalled, Part::Senders, Part::Flood, Part::Crashes, Part::Transfers, Part::Killed, Part::Clock];

/// The parts that run, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// What is done [default: everything]
    parts: Vec<Part>,
    /// The server [default: target/release/moonwire, quick: target/debug/moonwire]
    #[arg(long, env = "MOONWIRE_BIN")]
    server: Option<PathBuf>,
}

/// What the parts have in common.
pub(crate) struct Siege {
    binary: PathBuf,
    app: PathBuf,
    work: PathBuf,
    root: PathBuf,
    quick: bool,
    rounds: usize,
}

/// One row of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    /// How often.
    pub(crate) times: String,
    /// What was lost; "nothing" is what it should be.
    pub(crate) lost: String,
    pub(crate) figures: String,
    /// The promise that was broken.
    pub(crate) broken: Option<String>,
}

/// Runs the parts and prints a row for each thing tried; says whether all promises were kept. A `quick` run has small
/// numbers and judges no times.
pub(crate) fn run(options: &Options, quick: bool, rounds: Option<usize>) -> Result<bool> {
    let Places { root, work, .. } = Places::find(None)?;
    let build = if quick { "debug" } else { "release" };
    let binary = options.server.clone().unwrap_or_else(|| root.join("target").join(build).join("moonwire"));
    let binary = fs::canonicalize(&binary).with_context(|| format!("{} is not built", binary.display()))?;
    let app = root.join("crates/bench/apps/siege");
    let rounds = rounds.unwrap_or(if quick { 1 } else { 5 }).max(1);
    let siege = Siege { binary, app, work, root, quick, rounds };
    println!("{}; {} open files a process", machine::describe(), machine::raise_open_files()?);
    println!("| what | how often | lost | measured | verdict |\n|---|---|---|---|---|");
    let parts = if options.parts.is_empty() { &ALL[..] } else { &options.parts };
    let mut kept = true;
    let mut given = Given::now();
    for part in parts {
        let show = &mut |row: Row| {
            kept &= row.broken.is_none();
            let verdict = row.broken.map_or_else(|| "kept".to_owned(), |broken| format!("BROKEN: {broken}"));
            let stolen = given.stolen_since();
            given = Given::now();
            let figures = format!("{}; {stolen:.0} % of the time stolen by the host", row.figures);
            println!("| {} | {} | {} | {figures} | {verdict} |", row.what, row.times, row.lost);
        };
        part.run(&siege, show).with_context(|| format!("{part:?}"))?;
    }
    Ok(kept)
}

impl Part {
    fn run(self, siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
        match self {
            Part::Stalled => stalled::run(siege, show),
            Part::Senders => senders::run(siege, show),
            Part::Flood => flood::run(siege, show),
            Part::Crashes => crashes::run(siege, show),
            Part::Transfers => transfers::run(siege, show),
            Part::Killed => killed::run(siege, show),
            Part::Clock => clock::run(siege, show),
        }
    }
}

impl Siege {
    /// A server of its own for the part `name`.
    fn node(&self, name: &str, shards: usize) -> Result<Node> {
        Node::start(&self.start(name, shards))
    }

    fn start(&self, name: &str, shards: usize) -> Start<'_> {
        let log = self.work.join(format!("siege-{name}.log"));
        Start {
            binary: &self.binary,
            app: &self.app,
            shards,
            port: 0,
            log,
            folder: &self.root,
            max_queued: None,
            environment: Vec::new(),
        }
    }

    /// A number for a full run, and one for a quick one.
    fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// The medians of several rounds' 50th and 99th percentiles, in milliseconds.
#[derive(Default)]
struct Percentiles {
    middle: Vec<f64>,
    high: Vec<f64>,
}

impl Percentiles {
    fn add(&mut self, latencies: &Histogram<u64>) {
        self.middle.push(latencies.value_at_quantile(0.5) as f64 / 1e3);
        self.high.push(latencies.value_at_quantile(0.99) as f64 / 1e3);
    }

    fn p50(&self) -> f64 {
        median(&self.middle).unwrap_or(f64::NAN)
    }

    fn p99(&self) -> f64 {
        median(&self.high).unwrap_or(f64::NAN)
    }
}

/// How much slower others may get, at the 99th percentile.
const SLOWER: f64 = 1.3;
/// Percent of the time wanted that the host may take in a round that counts.
const QUIET: f64 = 3.0;
/// How many times as many pairs of rounds are done until enough of them count.
const TRIES: usize = 4;

/// Rounds without harm beside rounds under it.
#[derive(Default)]
struct Comparison {
    without: Vec<Measured>,
    with: Vec<Measured>,
}

/// What others saw in one round: percentiles in milliseconds.
#[derive(Clone, Copy)]
struct Measured {
    p50: f64,
    p99: f64,
    /// Percent of the time wanted meanwhile that the host took.
    stolen: f64,
    /// Percent of the round in which the client wanted a core that somebody else had: what it says and hears late then
    /// is no slowness of the server's.
    waited: f64,
}

impl Comparison {
    /// Whether each of the next two rounds is one under harm; none when there were enough.
    ///
    /// Every second pair is the other way around: what a virtual machine gets depends on what it asked for just before.
    fn next_pair(&self, siege: &Siege) -> Option<[bool; 2]> {
        let pairs = self.with.len();
        let most = if siege.quick { siege.rounds } else { siege.rounds * TRIES };
        if pairs >= most || self.counting(siege).is_some() {
            return None;
        }
        Some(if pairs.is_multiple_of(2) { [false, true] } else { [true, false] })
    }

    /// Does a round.
    fn measure(&mut self, harmed: bool, round: impl FnOnce() -> Result<Histogram<u64>>) -> Result<()> {
        let (given, start, before) = (Given::now(), Instant::now(), usage::waited()?);
        let latencies = round()?;
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        let waited = (usage::waited()? - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
        let measured = Measured { p50: at(0.5), p99: at(0.99), stolen: given.stolen_since(), waited };
        if harmed { &mut self.with } else { &mut self.without }.push(measured);
        Ok(())
    }

    /// The rounds in which the host let this machine be, if they are enough.
    fn counting(&self, siege: &Siege) -> Option<[Vec<Measured>; 2]> {
        let quiet = [&self.without, &self.with]
            .map(|rounds| rounds.iter().copied().filter(|one| one.stolen < QUIET).collect::<Vec<_>>());
        quiet.iter().all(|rounds| rounds.len() >= siege.rounds).then_some(quiet)
    }

    /// What was measured, and what is broken. A quick run judges no times.
    fn judge(&self, siege: &Siege) -> (String, Option<String>) {
        let (rounds, which) = match self.counting(siege) {
            Some(quiet) => {
                let which =
                    format!("{} and {} of {} quiet rounds each", quiet[0].len(), quiet[1].len(), self.with.len());
                (quiet, which)
            }
            None => ([self.without.clone(), self.with.clone()], format!("{} rounds each", self.with.len())),
        };
        let of = |percentile: fn(&Measured) -> f64| {
            rounds
                .each_ref()
                .map(|rounds| median(&rounds.iter().map(percentile).collect::<Vec<f64>>()).unwrap_or(f64::NAN))
        };
        let ([p50, p50_with], [p99, p99_with]) = (of(|one| one.p50), of(|one| one.p99));
        let [waited, waited_with] = of(|one| one.waited);
        let ratio = p99_with / p99;
        let figures = format!(
            "p50 {p50:.2} → {p50_with:.2} ms, p99 {p99:.2} → {p99_with:.2} ms, ratio {ratio:.2} ({which}; the client \
             waited for a core {waited:.0} → {waited_with:.0} % of the time)"
        );
        let slower = !siege.quick && ratio > SLOWER;
        (figures, slower.then(|| format!("the others' p99 is {ratio:.2} of what it was")))
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
