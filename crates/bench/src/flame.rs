//! Where the time of our own server goes under echo: perf's samples of it as one picture.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;

use crate::floor::Answer;
use crate::load::{Load, Span};
use crate::machine;
use crate::server::{Kind, Places};
use crate::suite;

/// Samples a second, no divisor of anything that happens regularly.
const FREQUENCY: &str = "997";
/// Bytes of the stack that each sample keeps: the interpreter and what it calls have small frames.
const CALLS: &str = "dwarf,8192";
/// Load before the first sample and after the last one, beside what is sampled.
const AROUND: Duration = Duration::from_secs(1);
/// Frames narrower than this part of the whole, in percent, are left out.
const NARROWEST: f64 = 0.15;

/// What is looked at.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds of samples.
    #[arg(long, default_value_t = 3.0)]
    samples: f64,
    #[arg(long, default_value_t = 100)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { samples: 3.0, clients: 100, in_flight: 1 }
    }
}

/// Puts the echo load on our server, samples it meanwhile, and writes docs/flame.svg.
pub(crate) fn run(options: &Options, places: &Places) -> Result<()> {
    machine::raise_open_files()?;
    let sampled = Duration::try_from_secs_f64(options.samples)?;
    let server = suite::start(Kind::Moonwire, Answer::Echo, 1, machine::two_cores()?, places)?;
    let target = server.target();
    let data = places.work.join("flame.data");
    let load = Load::Echo { connections: options.clients, in_flight: options.in_flight };
    let span = Span { warm_up: AROUND, measured: sampled + AROUND, payload: 32, judges: false };
    thread::scope(|scope| {
        let loading = scope.spawn(|| load.run(target, span));
        thread::sleep(AROUND);
        let perf = Command::new("perf")
            .args(["record", "-q", "-F", FREQUENCY, "--call-graph", CALLS, "-p", &target.pid.to_string(), "-o"])
            .arg(&data)
            .args(["--", "sleep", &options.samples.to_string()])
            .status()
            .context("perf is needed")?;
        ensure!(perf.success(), "perf record failed");
        loading.join().expect("the load does not panic")
    })?;
    let picture = places.root.join("docs/flame.svg");
    draw(&data, &picture, &format!("{load}: the server's time"))?;
    fs::remove_file(data)?;
    println!("written: docs/flame.svg, {} KB", fs::metadata(picture)?.len() / 1024);
    Ok(())
}

fn draw(data: &Path, picture: &Path, title: &str) -> Result<()> {
    let script = Command::new("perf").args(["script", "--no-inline", "-i"]).arg(data).stderr(Stdio::null()).output()?;
    ensure!(script.status.success(), "perf script failed");
    let mut folded = Vec::new();
    Folder::default().collapse(&*script.stdout, &mut folded)?;
    let folded = String::from_utf8(folded)?;
    let mut options = flamegraph::Options::default();
    options.title = title.to_owned();
    options.min_width = NARROWEST;
    options.deterministic = true;
    flamegraph::from_lines(&mut options, folded.lines(), fs::File::create(picture)?)?;
    Ok(())
}
