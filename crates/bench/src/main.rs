//! The load program: our server and its rivals under the same load, in one interleaved run.
//!
//! It knows no server from within, not even our own: it starts processes, speaks WebSocket to
//! them, compares every byte and reads their processor time and memory from the kernel.
//!
//! Read [`suite`] for how a run goes, [`load`] for what is asked, [`server`] for who is asked,
//! [`report`] for what is printed; the rest are parts of the generator. [`siege`] does harm to our
//! own server instead and counts what is lost; [`flame`] looks where its time goes.

mod flame;
mod siege;
mod suite;

mod code;
mod load;
mod rate;
mod server;

mod floor;
mod report;

mod connection;
mod poller;

mod frame;
mod handshake;
mod machine;
mod payload;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use floor::Answer;
use load::{Load, Span};
use machine::{Cores, Given};
use report::page;
use server::{Kind, Places};
use suite::Plan;

/// All that can be measured; each load takes those that suit it.
const EVERYBODY: &str = "moonwire,group,two-shards,bun,ws,floor";

/// Moonwire beside its rivals: processor time per message, latency and memory.
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Mode {
    /// Every load, into docs/performance.md and its pictures (the default; with --quick nothing is written).
    All,
    /// Closed loop: some messages of each connection are always on their way.
    Echo {
        #[arg(short, long, default_value_t = 100)]
        connections: usize,
        #[arg(short = 'k', long, default_value_t = 1)]
        in_flight: usize,
    },
    /// Open loop at a fixed rate; latency counts from when a message was due.
    Open {
        #[arg(short, long, default_value_t = 100)]
        connections: usize,
        /// Messages a second, all connections together [default: half of Bun's highest rate]
        #[arg(short, long)]
        rate: Option<f64>,
    },
    /// One connection speaks, all hear it.
    Broadcast {
        #[arg(short, long, default_value_t = 1_000)]
        receivers: usize,
    },
    /// Connect, one echo, close.
    Connect {
        #[arg(long, default_value_t = 16)]
        at_once: usize,
    },
    /// Memory of connections that do nothing.
    Idle {
        #[arg(short, long, default_value_t = 15_000)]
        connections: usize,
    },
    /// Our own server with two shards beside one: what a message costs both.
    Shards {
        #[arg(short, long, default_value_t = 100)]
        connections: usize,
    },
    /// Write docs/flame.svg: where the time of an echo goes. Needs perf.
    Flame(flame::Options),
    /// Do harm to our own server, and count what is lost (docs/reliability.md).
    Siege(siege::Options),
    /// Be the floor: a bare epoll echo server.
    #[command(hide = true)]
    Floor { answer: Answer },
}

#[derive(Args)]
struct Common {
    /// Small loads, one round of one second: shows that all of it works, judges nothing.
    #[arg(long, global = true)]
    quick: bool,
    /// Who is measured.
    #[arg(long, global = true, value_delimiter = ',', default_value = EVERYBODY)]
    servers: Vec<Kind>,
    /// Rounds, of which the median counts [default: 5, quick: 1]
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Seconds that are measured in each round [default: 1.5, quick: 1]
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// Seconds of load before that [default: 0.5]
    #[arg(long, global = true)]
    warm_up: Option<f64>,
    /// Bytes of a message.
    #[arg(long, global = true, default_value_t = 32)]
    payload: usize,
    /// Moonwire's shards; more than one needs --no-pin.
    #[arg(long, global = true, default_value_t = 1)]
    shards: usize,
    /// The core of the servers [default: the first]
    #[arg(long, global = true)]
    server_core: Option<usize>,
    /// The core of the load [default: the second]
    #[arg(long, global = true)]
    load_core: Option<usize>,
    /// Let the system choose the cores.
    #[arg(long, global = true)]
    no_pin: bool,
    /// Our own server [default: the one that was built with this program]
    #[arg(long, global = true, env = "MOONWIRE_BIN")]
    binary: Option<PathBuf>,
    /// The bench of processes, whose part `code` belongs to everything.
    #[arg(long, global = true, hide = true)]
    processes: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let common = cli.common;
    let mut whole = false;
    let loads = match cli.mode.unwrap_or(Mode::All) {
        Mode::Floor { answer } => {
            floor::serve(answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Siege(options) => {
            let kept = siege::run(&options, common.quick, common.rounds)?;
            return Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Mode::Flame(options) => {
            flame::run(&options, &Places::find(common.binary)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Mode::All => {
            whole = true;
            suite::all(common.quick)
        }
        Mode::Echo { connections, in_flight } => vec![Load::Echo { connections, in_flight }],
        Mode::Open { connections, rate } => vec![Load::Open { connections, rate }],
        Mode::Broadcast { receivers } => vec![Load::Broadcast { receivers }],
        Mode::Connect { at_once } => vec![Load::Connect { at_once }],
        Mode::Idle { connections } => vec![Load::Idle { connections }],
        Mode::Shards { connections } => vec![Load::Shards { connections }],
    };
    let places = Places::find(common.binary.clone())?;
    let plan = common.plan()?;
    machine::raise_open_files()?;
    server::prepare(&plan.servers, &places)?;
    let mut circumstances = circumstances(&plan, &places);
    circumstances.iter().for_each(|sentence| println!("{sentence}"));
    let given = Given::now();

    let mut outcomes = Vec::new();
    for load in loads {
        outcomes.extend(suite::run(load, &plan, &places)?);
    }
    let code = match &common.processes {
        Some(program) if whole => code::run(program, plan.rounds)?,
        _ => Vec::new(),
    };
    println!("\n{}", report::table(&outcomes));
    let stolen =
        format!("The host took {:.0} % of the processor time that was wanted meanwhile.", given.stolen_since());
    println!("{stolen}\n");
    circumstances.push(stolen);
    for one in &code {
        let ratio = one.ratio().map_or(f64::NAN, |ratio| ratio.median);
        println!("Luau code, {}: {ratio:.2} of the plain interpreter's time", one.workload);
    }
    if whole && !common.quick {
        page::write(&places.root, &page::Found { outcomes: &outcomes, code: &code, circumstances })?;
        // The figures are there by now: a machine without perf keeps the picture that it has.
        flame::run(&flame::Options::default(), &places).unwrap_or_else(|error| eprintln!("no flame graph: {error:#}"));
    }
    let failed = outcomes.iter().filter(|one| one.samples.is_err()).count();
    if failed > 0 {
        eprintln!("error: {failed} of {} measurements FAILED", outcomes.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the figures depend on.
fn circumstances(plan: &Plan, places: &Places) -> Vec<String> {
    let mut versions: Vec<String> = plan.servers.iter().map(|one| one.version(places)).collect();
    versions.dedup();
    let Span { warm_up, measured, payload, .. } = plan.span;
    let pinned = match plan.cores {
        Some(Cores { server, load }) => format!("servers on core {server}, load on core {load}"),
        None => "not bound to cores".to_owned(),
    };
    vec![
        format!("Machine: {}, its load before {}; {pinned}.", machine::describe(), machine::load_average()),
        format!("Versions: {}.", versions.join("; ")),
        format!(
            "{} rounds, every server in each; {} s each, after {} s of warming up; messages of {payload} bytes.",
            plan.rounds,
            measured.as_secs_f64(),
            warm_up.as_secs_f64()
        ),
    ]
}

impl Common {
    fn plan(&self) -> Result<Plan> {
        let (rounds, seconds, warm_up) = if self.quick { (1, 1.0, 0.5) } else { (5, 1.5, 0.5) };
        let cores = if self.no_pin {
            None
        } else {
            machine::two_cores()?.map(|found| Cores {
                server: self.server_core.unwrap_or(found.server),
                load: self.load_core.unwrap_or(found.load),
            })
        };
        ensure!(self.shards == 1 || cores.is_none(), "--shards {} would share one core: add --no-pin", self.shards);
        Ok(Plan {
            servers: self.servers.clone(),
            rounds: self.rounds.unwrap_or(rounds).max(1),
            span: Span {
                warm_up: Duration::try_from_secs_f64(self.warm_up.unwrap_or(warm_up))?,
                measured: Duration::try_from_secs_f64(self.seconds.unwrap_or(seconds))?,
                payload: self.payload,
                judges: !self.quick,
            },
            shards: self.shards,
            cores,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_mode() {
        let cli = Cli::parse_from(["bench", "--quick", "echo", "-k", "16", "--servers", "bun,ws"]);
        assert!(cli.common.quick);
        assert_eq!(cli.common.servers, [Kind::Bun, Kind::Ws]);
        assert!(matches!(cli.mode, Some(Mode::Echo { in_flight: 16, .. })));
    }
}
