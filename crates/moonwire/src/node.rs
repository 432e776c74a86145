//! The node as it runs: its hosts, and one thread for each shard.
//!
//! A shard's thread owns everything on it: the kernel's shard with its Luau VMs, its sockets, and a tokio runtime that
//! serves HTTP. The main thread talks to it through a few orders.

use crate::factory::Processes;
use anyhow::{Context, Result};
use gateway::driver::Local;
use gateway::figures::Figures;
use gateway::server::{Door, Server, drain};
use gateway::websocket::ceiling::Ceiling;
use kernel::{Host, Hosts, Node, Shard};
use luau::{Live, Runtime};
use manifest::{Manifest, Placement, ProcessHost};
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};

/// The stack of a shard's thread: what the system gives a main thread.
const STACK: usize = 8 << 20;
/// From one look at a shard that comes to rest to the next one.
const LOOK: Duration = Duration::from_millis(10);
/// Looks in a row that found nothing to do, before a shard is at rest.
const QUIET: u32 = 5;

/// What the main thread wants of a shard. Each is answered when it is done.
enum Order {
    /// Accept connections at these doors.
    Open(Vec<Door>, oneshot::Sender<io::Result<()>>),
    /// Accept no more, and end what is connected within this time.
    Drain(Duration, oneshot::Sender<()>),
    /// Ask what runs to end, and let it do so, for this long at most.
    Settle(Duration, oneshot::Sender<()>),
    /// Do nothing any more.
    Halt(oneshot::Sender<()>),
}

/// The figures of all shards. Each shard puts its own here when it starts; anybody reads them.
pub(crate) struct Watched {
    /// The zero of the node's time.
    epoch: Instant,
    shards: Box<[OnceLock<Arc<Figures>>]>,
}

impl Watched {
    /// Of so many shards, none of which has started.
    pub(crate) fn new(shards: usize) -> Arc<Watched> {
        Arc::new(Watched { epoch: Instant::now(), shards: (0..shards).map(|_| OnceLock::new()).collect() })
    }

    /// The node's time in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The figures of each shard; nothing was counted by those that have not started.
    pub(crate) fn figures(&self) -> Vec<Arc<Figures>> {
        self.shards.iter().map(|shard| shard.get().cloned().unwrap_or_default()).collect()
    }
}

/// The threads of all shards.
pub(crate) struct Shards {
    /// At most one order is under way for each shard.
    orders: Vec<mpsc::Sender<Order>>,
    /// A shard that ended although nobody asked it to.
    ended: mpsc::Receiver<usize>,
}

/// The hosts of a folder: its `process.host` entries, and each `http.service` for its connections and handlers.
pub(crate) fn hosts(manifest: &Manifest) -> Hosts {
    Hosts::new(list(manifest))
}

/// The same as a list.
pub(crate) fn list(manifest: &Manifest) -> Vec<Host> {
    let servers = manifest.services.iter().map(gateway::server::site::host);
    manifest.hosts.iter().map(host).chain(servers).collect()
}

fn host(entry: &ProcessHost) -> Host {
    let mut host = Host::new(entry.id.as_str());
    if let Some(most) = entry.max_processes {
        host.max_processes = u32::try_from(most).unwrap_or(u32::MAX);
    }
    host.memory_limit = entry.memory_limit;
    host.mailbox_messages = u32::try_from(entry.mailbox_limit).unwrap_or(u32::MAX);
    host.mailbox_bytes = entry.mailbox_bytes;
    host.slice = entry.slice;
    host.placement = match entry.placement {
        Placement::Parent => kernel::Placement::Parent,
        Placement::Spread => kernel::Placement::Spread,
    };
    host
}

impl Shards {
    /// Starts the threads of a node. Nothing listens yet.
    pub(crate) fn start(
        node: &Arc<Node>,
        code: &Live,
        ceiling: &Arc<Ceiling>,
        watched: &Arc<Watched>,
    ) -> Result<Shards> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (alarm, ended) = mpsc::channel(node.shards());
        let mut orders = Vec::new();
        for index in 0..node.shards() {
            let (order, taken) = mpsc::channel(1);
            orders.push(order);
            let (node, code, alarm) = (node.clone(), code.clone(), Alarm(index, alarm.clone()));
            let (ceiling, watched) = (ceiling.clone(), watched.clone());
            let live = move || {
                // Dropped last, whatever ends the shard.
                let _alarm = alarm;
                if let Err(error) = live(node, index, code, &watched, unix, ceiling, taken) {
                    tracing::error!(shard = index, %error, "shard failed");
                }
            };
            let thread = thread::Builder::new().name(format!("shard-{index}")).stack_size(STACK);
            thread.spawn(live).with_context(|| format!("shard {index} cannot be started"))?;
        }
        Ok(Shards { orders, ended })
    }

    /// Opens the doors, one list for each shard; returns when all accept.
    pub(crate) async fn open(&self, doors: Vec<Vec<Door>>) -> Result<()> {
        let mut answers = Vec::new();
        for (order, doors) in self.orders.iter().zip(doors) {
            let (answer, opened) = oneshot::channel();
            order.send(Order::Open(doors, answer)).await.ok().context("a shard has ended")?;
            answers.push(opened);
        }
        for answer in answers {
            answer.await.context("a shard has ended")?.context("cannot accept connections")?;
        }
        Ok(())
    }

    /// Drains all shards at once.
    pub(crate) async fn drain(&self, over: Duration) {
        self.tell_all(|answer| Order::Drain(over, answer)).await;
    }

    /// Asks all processes that are left to end, and waits until nothing is being done any more, or so long.
    pub(crate) async fn settle(&self, over: Duration) {
        self.tell_all(|answer| Order::Settle(over, answer)).await;
    }

    /// Lets all shards come to rest: nothing runs on them while the program exits.
    pub(crate) async fn halt(&self) {
        self.tell_all(Order::Halt).await;
    }

    /// Waits for a shard that ends unasked: its number.
    pub(crate) async fn failed(&mut self) -> usize {
        // Each shard holds a sender, so there is always an answer once one has ended.
        self.ended.recv().await.unwrap_or_default()
    }

    async fn tell_all(&self, order: impl Fn(oneshot::Sender<()>) -> Order) {
        let mut answers = Vec::new();
        for shard in &self.orders {
            let (answer, done) = oneshot::channel();
            if shard.send(order(answer)).await.is_ok() {
                answers.push(done);
            }
        }
        for answer in answers {
            // A shard that has ended has nothing left to do.
            let _done_or_ended = answer.await;
        }
    }
}

/// Says that a shard has ended, also when it panicked.
struct Alarm(usize, mpsc::Sender<usize>);

impl Drop for Alarm {
    fn drop(&mut self) {
        // There is room for each shard once; nobody listens while the program exits.
        let _heard_or_exiting = self.1.try_send(self.0);
    }
}

/// The life of a shard, on its thread.
fn live(
    node: Arc<Node>,
    index: usize,
    code: Live,
    watched: &Watched,
    unix: f64,
    ceiling: Arc<Ceiling>,
    orders: mpsc::Receiver<Order>,
) -> io::Result<()> {
    let epoch = watched.epoch;
    let clock = move || kernel::Time::default().after(epoch.elapsed());
    let programs = Runtime::new(code, gateway::modules::ALL.to_vec(), unix, Box::new(clock));
    let shard = Shard::new(node.clone(), index, Box::new(Processes::new(programs, node)));
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    tokio.block_on(async {
        let local = Local::new(shard, index, epoch, ceiling)?;
        // Once: each shard starts once.
        let _first = watched.shards[index].set(local.figures().clone());
        let turns = local.clone();
        let turns = tokio::task::spawn_local(async move { turns.run().await });
        tokio::select! {
            ended = turns => ended.unwrap_or_else(|panic| Err(io::Error::other(panic))),
            () = obey(local, orders) => Ok(()),
        }
    })
}

async fn obey(local: std::rc::Rc<Local>, mut orders: mpsc::Receiver<Order>) {
    let mut servers = Vec::new();
    while let Some(order) = orders.recv().await {
        // Who gave the order may have lost patience.
        match order {
            Order::Open(doors, answer) => {
                let opened: io::Result<Vec<_>> = doors.into_iter().map(|door| door.open(&local)).collect();
                let _heard = answer.send(opened.map(|opened| servers.extend(opened)));
            }
            Order::Drain(over, answer) => {
                drain(&local, &servers, over).await;
                let _heard = answer.send(());
            }
            Order::Settle(over, answer) => {
                settle(&local, &servers, over).await;
                let _heard = answer.send(());
            }
            Order::Halt(answer) => {
                let _heard = answer.send(());
                // The system takes back the memory faster than thousands of destructors would.
                loop {
                    thread::park();
                }
            }
        }
    }
}

/// Last words: whoever hears that the server stops may still act on it, as long as it does not wait.
async fn settle(local: &Local, servers: &[std::rc::Rc<Server>], over: Duration) {
    local.with(|shard, _| {
        // Connections and handlers had their time.
        let spares = |host| servers.iter().any(|server| server.site().host == host);
        shard.cancel_all("the server shuts down", spares);
    });
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET && began.elapsed() < over {
        tokio::time::sleep(LOOK).await;
        let is_busy = local.with(|shard, _| shard.has_ready() || shard.node().has_signals(local.index()));
        quiet = if is_busy { 0 } else { quiet + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::{EntryId, Place};

    #[test]
    fn a_host_has_the_limits_of_its_entry() {
        let entry = ProcessHost {
            id: EntryId::new("app", "rooms").expect("an id"),
            max_processes: Some(1_000),
            memory_limit: 16 << 20,
            mailbox_limit: 7,
            mailbox_bytes: 70,
            slice: Duration::from_micros(250),
            placement: Placement::Spread,
            place: Place { file: "_index.yaml".into(), line: 1, column: 1 },
        };
        let hosts = hosts(&Manifest { hosts: vec![entry], ..Manifest::default() });
        let host = &hosts[hosts.find("app:rooms").expect("the host")];
        assert_eq!((host.max_processes, host.memory_limit), (1_000, 16 << 20));
        assert_eq!((host.mailbox_messages, host.mailbox_bytes), (7, 70));
        assert_eq!((host.slice, host.placement), (Duration::from_micros(250), kernel::Placement::Spread));
    }
}
