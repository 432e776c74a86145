//! `moonwire run`: from the start to the exit.
//!
//! Addresses are bound first, so that a port in use ends the start before anything runs. Then the shards start, then
//! the services, and when they are there the doors open. The stop is the way back: doors, connections, services.

use crate::admin;
use crate::certificates::Certificates;
use crate::cli::{FAILURE, MISTAKE, RunOptions};
use crate::load::{self, App};
use crate::logging::Log;
use crate::metrics::{self, Sources};
use crate::node::{self, Shards, Watched};
use crate::probes::Probes;
use crate::reload::{Hangups, Reloads};
use crate::services::Services;
use crate::watch::Watch;
use anyhow::{Context, Result};
use gateway::server::site::Site;
use gateway::server::tally::Loads;
use gateway::server::{Door, doors, listen, most_connections};
use gateway::websocket::ceiling::Ceiling;
use kernel::Node;
use luau::{Live, Registry};
use manifest::{HttpTimeouts, Manifest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

/// Beyond the drain time, for a shard that is slow to answer.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// For what processes do when they hear that the server stops, once services have stopped.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// For the shards to come to rest before the program exits.
const HALT: Duration = Duration::from_secs(1);

/// Runs a folder until a signal ends it.
pub(crate) fn run(options: &RunOptions) -> ExitCode {
    // Before the first reading, so that no change falls between the two.
    let watch = options.watch.then(|| Watch::new(&options.folder.dir));
    let app = match load::load(&options.folder.dir, &options.folder.set) {
        Ok(app) => app,
        Err(mistakes) => {
            // Where a disk is full the exit code says enough.
            let _written_or_not = writeln!(std::io::stderr(), "{mistakes}");
            return ExitCode::from(MISTAKE);
        }
    };
    let log = Log::start(options.log_format, options.log_level.clone());
    for warning in &app.manifest.warnings {
        tracing::warn!("{warning}");
    }
    raise_descriptors();
    start(app, options, watch, &log).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(FAILURE)
    })
}

/// An `http.service` that is bound.
struct Bound {
    site: Arc<Site>,
    addr: SocketAddr,
}

fn start(app: App, options: &RunOptions, watch: Option<Watch>, log: &Log) -> Result<ExitCode> {
    let App { manifest, registry } = app;
    let shards = options.shards.map_or_else(cores, usize::from);
    let boot = getrandom::u32().context("the system gives no random numbers")?;
    let node = Node::new(boot, shards, node::hosts(&manifest));
    let registry = Arc::new(registry);
    let live = Live::from(registry.clone());
    let loads = Loads::new(node.shards());
    let ceiling = Ceiling::new(options.max_queued, node.shards());
    let watched = Watched::new(node.shards());
    let (bound, doors) = bind(&manifest, &registry, &node, &loads, options)?;
    let probes = Probes::new(node.clone());
    let admin = match &options.admin {
        Some(addr) => {
            let figures = figures(&node, &loads, &ceiling, &bound, &watched, log);
            Some(admin::serve(addr, figures, probes.clone())?)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("cannot wait for signals")?;
        let hangups = Hangups::new().context("cannot wait for signals")?;
        let mut shards = Shards::start(&node, &live, &ceiling, &watched)?;
        let services = async {
            let services = Services::start(node.clone(), &live, &manifest).await?;
            shards.open(doors).await?;
            Ok(services)
        };
        let started = tokio::select! {
            services = services => services.map(Some),
            _code = signals.next() => Ok(None),
        };
        let code = match started {
            Ok(Some(services)) => {
                probes.open(services.lost());
                announce(&bound, admin);
                let max_queued = ceiling.limit();
                tracing::info!(shards = node.shards(), connections = most_connections(), max_queued, "ready");
                let longest = |of: fn(&HttpTimeouts) -> Duration| {
                    bound.iter().map(|bound| of(&bound.site.timeouts)).max().unwrap_or_default()
                };
                let times = Times { unready: longest(|of| of.unready), drain: longest(|of| of.drain) };
                let changes = watch.map(Watch::start).transpose()?;
                let certificates = Certificates::of(bound.iter().map(|bound| &bound.site));
                let reloads =
                    Reloads::new(&options.folder, manifest, live, node.clone(), hangups, changes, certificates);
                Ok(until_stopped(&mut shards, services, times, &probes, &mut signals, reloads).await)
            }
            Ok(None) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error),
        };
        // A shard that does not come to rest is cut by the exit.
        let _rested_or_not = timeout(HALT, shards.halt()).await;
        code
    })
}

/// Waits for a signal and stops, or for a second one and leaves it.
async fn until_stopped(
    shards: &mut Shards,
    services: Services,
    times: Times,
    probes: &Probes,
    signals: &mut Signals,
    mut reloads: Reloads,
) -> ExitCode {
    tokio::select! {
        _code = signals.next() => {}
        () = reloads.serve() => tracing::info!("the terminal is gone"),
        shard = shards.failed() => {
            tracing::error!(shard, "a shard has ended; nothing goes on without it");
            return ExitCode::from(FAILURE);
        }
    }
    probes.stop();
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (unready_ms, drain_ms) = (milliseconds(times.unready), milliseconds(times.drain));
    tracing::info!(unready_ms, drain_ms, "shutting down; a second signal cuts");
    tokio::select! {
        () = stop(shards, services, times) => ExitCode::SUCCESS,
        code = signals.next() => {
            tracing::warn!("cut by a second signal");
            ExitCode::from(code)
        }
    }
}

/// What a stop takes at most, of all services the longest.
#[derive(Clone, Copy)]
struct Times {
    /// Before connections are refused.
    unready: Duration,
    /// For those that are there.
    drain: Duration,
}

async fn stop(shards: &Shards, services: Services, Times { unready, drain }: Times) {
    sleep(unready).await;
    if timeout(drain + DRAIN_GRACE, shards.drain(drain)).await.is_err() {
        tracing::warn!("a shard did not drain in time");
    }
    services.stop().await;
    if timeout(LAST_WORDS + HALT, shards.settle(LAST_WORDS)).await.is_err() {
        tracing::warn!("a shard did not come to rest in time");
    }
    tracing::info!("stopped");
}

/// Binds the addresses of all services that start with the folder; the doors are sorted by shard.
fn bind(
    manifest: &Manifest,
    registry: &Registry,
    node: &Node,
    loads: &Arc<Loads>,
    options: &RunOptions,
) -> Result<(Vec<Bound>, Vec<Vec<Door>>)> {
    let mut bound = Vec::new();
    let mut by_shard: Vec<Vec<Door>> = (0..node.shards()).map(|_| Vec::new()).collect();
    for service in manifest.services.iter().filter(|service| service.lifecycle.auto_start) {
        let mut site = Site::new(manifest, service, &node.hosts, |id| registry.find(id)).map_err(anyhow::Error::msg)?;
        site.access = options.access_log.into();
        let site = Arc::new(site);
        let (addr, listeners) = listen::listen(&service.addr, node.shards())
            .with_context(|| format!("{}: cannot listen on {}", service.id, service.addr))?;
        for (shard, door) in doors(&site, listeners, loads).into_iter().enumerate() {
            by_shard[shard].push(door);
        }
        bound.push(Bound { site, addr });
    }
    Ok((bound, by_shard))
}

/// Says on standard output where to go.
fn announce(bound: &[Bound], admin: Option<SocketAddr>) {
    let mut text = String::new();
    for Bound { site, addr } in bound {
        let scheme = if site.identity.is_some() { "https" } else { "http" };
        text += &format!("{} listening on {scheme}://{addr}\n", site.entry);
    }
    if let Some(addr) = admin {
        text += &format!("admin listening on http://{addr}\n");
    }
    text += "ready\n";
    let mut out = std::io::stdout().lock();
    // Whoever closed the output does not want to know.
    let _wanted_or_not = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What `/metrics` answers.
fn figures(
    node: &Arc<Node>,
    loads: &Arc<Loads>,
    ceiling: &Arc<Ceiling>,
    bound: &[Bound],
    watched: &Arc<Watched>,
    log: &Log,
) -> admin::Render {
    metrics::started();
    let sources = Sources {
        node: node.clone(),
        loads: loads.clone(),
        ceiling: ceiling.clone(),
        sites: bound.iter().map(|bound| bound.site.clone()).collect(),
        shards: watched.clone(),
        dropped: Box::new(log.dropped()),
    };
    Arc::new(move || sources.render())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one: the exit code of a program that it cuts, 128 and its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}

/// Each connection takes a descriptor, and the system's soft limit is made for other programs.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(before = ?current, now = ?maximum, "limit of file descriptors raised"),
        Err(error) => tracing::debug!(limit = ?current, %error, "limit of file descriptors stays"),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
