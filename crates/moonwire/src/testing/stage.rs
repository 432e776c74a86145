//! One test on a node of its own: hosts, services and servers as under `moonwire run`, in one thread, under a clock that
//! stands still while anything is ready and jumps to the next timer when all is idle.
//!
//! tokio's clock is paused, so the time limits of the HTTP server keep the same time as the processes.

use super::capture;
use super::clients::{Clients, Service};
use super::suite::{Suite, TestFile};
use super::test::{self, Orders, Seat};
use crate::factory::Processes;
use crate::node;
use crate::services::Services;
use gateway::driver::Local;
use gateway::server::Inlet;
use gateway::server::site::Site;
use gateway::server::tally::Loads;
use gateway::websocket::ceiling::{Ceiling, MAX_QUEUED};
use kernel::term::View;
use kernel::{Error, Exit, Host, Hosts, Node, Shard, Term};
use luau::{Runtime, Seed};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, oneshot};

/// The host of the process that runs a test.
const HOST: &str = "moonwire:test";
/// How long a slice lasts: as good as for ever, so that no run is cut where another one is not.
const SLICE: Duration = Duration::from_millis(250);
/// The Unix time at which every node begins: 2026-01-01.
const EPOCH: f64 = 1_767_225_600.0;
/// What makes PIDs different from start to start; here they repeat.
const BOOT: u32 = 1;

/// How a test is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Shards of its node.
    pub(crate) shards: usize,
    /// What may pass on the node's clock.
    pub(crate) virtual_time: Duration,
    /// What may pass on the wall.
    pub(crate) real_time: Duration,
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The list of its tests.
    List,
    /// The test with that number, from 1.
    Test(u32),
}

/// Why a test failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is wrong.
    pub(crate) message: String,
    /// Where, as `file:line`, if it is known.
    pub(crate) place: Option<String>,
    /// The calls that led there.
    pub(crate) stack: Option<String>,
}

/// What became of a part.
pub(crate) struct Played {
    /// What the test's process returned, or why it could not.
    pub(crate) result: Result<Term, Failure>,
    /// What was logged.
    pub(crate) log: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Plays a part of a file.
pub(crate) fn play(suite: &Suite, file: &TestFile, part: Part, limits: Limits) -> Played {
    let began = Instant::now();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .map_err(|error| Failure::of(format!("no runtime: {error}")))
        .and_then(|runtime| runtime.block_on(on_stage(suite, file, part, limits)));
    Played { result, log: capture::end(), took: began.elapsed() }
}

async fn on_stage(suite: &Suite, file: &TestFile, part: Part, limits: Limits) -> Result<Term, Failure> {
    let epoch = tokio::time::Instant::now();
    capture::begin(epoch);
    let node = Node::new(BOOT, limits.shards, hosts(suite));
    let ceiling = Ceiling::new(MAX_QUEUED, node.shards());
    let mut locals = Vec::new();
    for index in 0..node.shards() {
        let clock = move || kernel::Time::default().after(epoch.elapsed());
        let mut modules = gateway::modules::ALL.to_vec();
        modules.extend(test::MODULES);
        let programs = Runtime::new(suite.registry.clone(), modules, EPOCH, Box::new(clock)).repeatable();
        let shard = Shard::new(node.clone(), index, Box::new(Processes::new(programs, node.clone())));
        let local = Local::new(shard, index, epoch, ceiling.clone());
        locals.push(local.map_err(|error| Failure::of(format!("no shard: {error}")))?);
    }
    let orders = Orders::default();
    let services = services(suite, &node, &locals).map_err(Failure::of)?;
    let clients = Clients::new(orders.clone(), services, locals.clone()).map_err(Failure::of)?;
    let overdue = Rc::new(Notify::new());
    let deadline = Instant::now() + limits.real_time;
    for local in &locals {
        let (local, clients, overdue) = (local.clone(), clients.clone(), overdue.clone());
        tokio::task::spawn_local(async move {
            let after = |_: &Local| {
                if Instant::now() > deadline {
                    overdue.notify_one();
                }
                clients.pump()
            };
            let broken = local.run_paused(after).await;
            tracing::error!(?broken, "a shard has ended");
        });
    }
    let play = async {
        let kept = Services::start(node.clone(), &luau::Live::from(suite.registry.clone()), &suite.manifest).await;
        let _kept = kept.map_err(|error| Failure::of(format!("{error:#}")))?;
        let (end, ended) = oneshot::channel();
        let number = match part {
            Part::List => 0,
            Part::Test(number) => number,
        };
        let entry = suite.registry.find(&file.id).ok_or_else(|| Failure::of("the file is not in the registry"))?;
        let host = node.hosts.find(HOST).ok_or_else(|| Failure::of("there is no host for tests"))?;
        let mut number_term = kernel::term::Writer::default();
        number_term.number(f64::from(number));
        let extension: Option<Box<dyn luau::Extension>> = Some(Box::new(Seat::new(orders, end)));
        let seed = Seed { entry, args: vec![number_term.finish()], context: None, extension };
        let pid = node.spawn_from_outside(0, host, Box::new(seed)).map_err(|error| Failure::of_error(&error))?;
        clients.serve(pid);
        ended.await.map_err(|_| Failure::of("the test's process could not begin"))
    };
    let exit = tokio::select! {
        biased;
        exit = play => exit?,
        () = tokio::time::sleep(limits.virtual_time) => {
            let limit = units::duration::format(limits.virtual_time);
            return Err(Failure::of(format!(
                "it still waits after {limit} on the node's clock: what it waits for does not come (--time-limit)"
            )));
        }
        () = overdue.notified() => {
            let limit = units::duration::format(limits.real_time);
            return Err(Failure::of(format!("it still runs after {limit}: a loop without an end? (--real-limit)")));
        }
    };
    match exit {
        Exit { error: Some(error), .. } => Err(Failure::of_error(&error)),
        Exit { value: Some(value), .. } => Ok(value),
        Exit { value: None, .. } => Err(Failure::of("the file must not end with a `return`")),
    }
}

fn hosts(suite: &Suite) -> Hosts {
    let mut hosts = node::list(&suite.manifest);
    let mut own = Host::new(HOST);
    own.memory_limit = 1 << 30;
    own.mailbox_messages = u32::MAX;
    own.mailbox_bytes = 1 << 30;
    hosts.push(own);
    for host in &mut hosts {
        host.slice = SLICE;
    }
    Hosts::new(hosts)
}

fn services(suite: &Suite, node: &Arc<Node>, locals: &[Rc<Local>]) -> Result<Vec<Service>, String> {
    let loads = Loads::new(node.shards());
    let started = suite.manifest.services.iter().filter(|service| service.lifecycle.auto_start);
    started
        .map(|service| {
            let site = Site::new(&suite.manifest, service, &node.hosts, |id| suite.registry.find(id))?;
            let site = Arc::new(site);
            let inlets = locals.iter().map(|local| Inlet::new(&site, local, &loads)).collect();
            Ok(Service { id: service.id.to_string(), inlets })
        })
        .collect()
}

impl Failure {
    /// A failure that is nobody's line.
    pub(crate) fn of(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), place: None, stack: None }
    }

    fn of_error(error: &Error) -> Failure {
        let stack = error.stack.as_deref().map(str::to_owned).filter(|stack| !stack.is_empty());
        let place = stack.as_deref().and_then(place_in);
        Failure { message: error.message.to_string(), place, stack }
    }

    /// What a test returned: nothing in it if it passed.
    pub(crate) fn of_test(value: &Term) -> Option<Failure> {
        let View::Table(table) = value.view() else {
            return Some(Failure::of("the file must not end with a `return`"));
        };
        let text = |key: &str| table.get(key).and_then(View::as_bytes).map(|text| String::from_utf8_lossy(text).into());
        let stack = text("stack").filter(|stack: &String| !stack.is_empty());
        Some(Failure { message: text("message")?, place: text("place"), stack })
    }
}

/// The first `file:line` of a traceback.
fn place_in(stack: &str) -> Option<String> {
    let first = stack.lines().find(|line| !line.starts_with('['))?;
    let (file, rest) = first.split_once(':')?;
    let line: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!line.is_empty()).then(|| format!("{}:{line}", file.trim()))
}
