//! A node of one shard that serves an application, and its clients.

use crate::client::{Client, Opening, Script};
use gateway::driver::Local;
use gateway::server::Inlet;
use gateway::server::site::{self, Site};
use gateway::server::tally::Loads;
use gateway::websocket::ceiling::{Ceiling, MAX_QUEUED};
use kernel::{Host, Hosts, Node, Shard};
use luau::{Registry, Role, Runtime, Seed, Source};
use manifest::{Code, LoadOptions, Manifest};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{self, LocalOptions, LocalRuntime};

/// How long a slice of a process may last: none is cut, however slow callgrind makes it.
const SLICE: Duration = Duration::from_millis(250);
/// Turns until a room that was just begun has its name.
const SETTLE: usize = 10;

/// What a round does.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Each of so many clients says something, and hears it again.
    Echo { clients: usize, in_flight: usize },
    /// One of so many clients says something, and all hear it.
    Broadcast { clients: usize },
    /// So many clients connect, say something, hear it, and close.
    Lives { clients: usize },
}

impl Work {
    /// How many messages, deliveries or connections a round has.
    pub(crate) fn in_a_round(self) -> usize {
        match self {
            Work::Echo { clients, in_flight } => clients * in_flight,
            Work::Broadcast { clients } | Work::Lives { clients } => clients,
        }
    }
}

pub(crate) struct Stage {
    tokio: LocalRuntime,
    inlet: Inlet,
    clients: Vec<Client>,
}

impl Stage {
    /// Starts an application, and connects those who stay for all rounds.
    pub(crate) fn new(app: &str, work: Work) -> Stage {
        let mut tokio = runtime::Builder::new_current_thread();
        let tokio = tokio.enable_time().start_paused(true).build_local(LocalOptions::default()).expect("a runtime");
        let inlet = tokio.block_on(async { start(app) });
        let mut stage = Stage { tokio, inlet, clients: Vec::new() };
        let staying = match work {
            Work::Echo { clients, .. } | Work::Broadcast { clients } => clients,
            Work::Lives { .. } => 0,
        };
        stage.clients = stage.tokio.block_on(async {
            for _ in 0..SETTLE {
                tokio::task::yield_now().await;
            }
            let mut clients = Vec::new();
            for _ in 0..staying {
                clients.push(Opening::begin(&stage.inlet).await.finish().await);
            }
            clients
        });
        stage
    }

    /// Does the work, so many times.
    pub(crate) fn play(&mut self, work: Work, rounds: usize) {
        let Stage { tokio, inlet, clients } = self;
        tokio.block_on(async {
            match work {
                Work::Echo { in_flight, .. } => echo(clients, &Script::text(in_flight), rounds).await,
                Work::Broadcast { .. } => broadcast(clients, &Script::text(1), rounds).await,
                Work::Lives { clients } => lives(inlet, clients, rounds).await,
            }
        });
    }
}

async fn echo(clients: &mut [Client], script: &Script, rounds: usize) {
    for _ in 0..rounds {
        for client in &mut *clients {
            client.say(script);
        }
        for client in &mut *clients {
            client.hear(script).await;
        }
    }
}

async fn broadcast(clients: &mut [Client], script: &Script, rounds: usize) {
    for _ in 0..rounds {
        clients[0].say(script);
        for client in &mut *clients {
            client.hear(script).await;
        }
    }
}

async fn lives(inlet: &Inlet, count: usize, rounds: usize) {
    let (text, close) = (Script::text(1), Script::close());
    for _ in 0..rounds {
        let mut opening = Vec::with_capacity(count);
        for _ in 0..count {
            opening.push(Opening::begin(inlet).await);
        }
        let mut clients = Vec::with_capacity(count);
        for one in opening {
            clients.push(one.finish().await);
        }
        for script in [&text, &close] {
            for client in &mut clients {
                client.say(script);
            }
            for client in &mut clients {
                client.hear(script).await;
            }
        }
    }
}

/// The service of an application, whose shard runs as a task from now on.
fn start(app: &str) -> Inlet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(app);
    let manifest = load(&folder);
    let registry = Arc::new(compile(&manifest));
    let mut hosts: Vec<Host> = manifest.hosts.iter().map(|host| Host::new(host.id.as_str())).collect();
    hosts.extend(manifest.services.iter().map(site::host));
    hosts.iter_mut().for_each(|host| host.slice = SLICE);
    let node = Node::new(1, 1, Hosts::new(hosts));

    let epoch = tokio::time::Instant::now();
    let clock = move || kernel::Time::default().after(epoch.elapsed());
    let runtime = Runtime::new(registry.clone(), gateway::modules::ALL.to_vec(), 0.0, Box::new(clock)).repeatable();
    let shard = Shard::new(node.clone(), 0, Box::new(runtime));
    let local = Local::new(shard, 0, epoch, Ceiling::new(MAX_QUEUED, 1)).expect("a shard");
    let find = |id: &str| registry.find(id);
    let site = Site::new(&manifest, &manifest.services[0], &node.hosts, find).expect("a service");
    let inlet = Inlet::new(&Arc::new(site), &local, &Loads::new(1));
    let turns = Rc::clone(&local);
    // It never rests: turns go on as long as somebody waits for what they bring.
    tokio::task::spawn_local(async move { turns.run_paused(|_| true).await });

    for service in &manifest.process_services {
        let entry = find(service.process.as_str()).expect("a process");
        let host = node.hosts.find(service.host.as_str()).expect("a host");
        let seed = Seed { entry, args: Vec::new(), context: None, extension: None };
        node.spawn_from_outside(0, host, Box::new(seed)).expect("there is room");
    }
    inlet
}

fn load(folder: &Path) -> Manifest {
    let own = gateway::modules::ALL.iter().map(|module| module.name);
    let known_modules: Vec<&str> = luau::modules::BUILT_IN.into_iter().chain(own).collect();
    let options = LoadOptions { overrides: &[], env: &|_| None, known_modules: &known_modules };
    match manifest::load(folder, &options) {
        Ok(manifest) => manifest,
        Err(mistakes) => panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn compile(manifest: &Manifest) -> Registry {
    let functions = manifest.functions.iter().map(|code| (Role::Function, code));
    let codes: Vec<(Role, &Code)> =
        functions.chain(manifest.processes.iter().map(|code| (Role::Process, code))).collect();
    let sources: Vec<Source<'_>> = codes
        .iter()
        .map(|(role, code)| Source {
            id: code.id.as_str(),
            role: *role,
            path: &code.chunk_name,
            text: &code.text,
            method: code.method.as_deref(),
            modules: &code.modules,
            imports: &[],
        })
        .collect();
    match Registry::compile(&sources) {
        Ok(registry) => registry,
        Err(errors) => panic!("{}", errors[0]),
    }
}
