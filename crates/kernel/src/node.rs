//! What the shards of a node share: which processes live, who has which name, and one inbox for each shard.

mod inbox;
#[cfg(all(test, loom))]
mod loom;
mod slots;

use self::inbox::Inbox;
use self::slots::SharedSlots;
pub(crate) use self::slots::SlotState;
use crate::error::Error;
use crate::groups::Groups;
use crate::host::{HostId, Hosts};
use crate::limits;
use crate::mailbox::Class;
use crate::message::{Event, Exit, Message};
use crate::names::Names;
use crate::pid::Pid;
use crate::probe::Gauges;
use crate::shard::load::SharedLoad;
use crate::subscriptions::Subscriptions;
use crate::sync::{AtomicU32, MutexGuard, Ordering};
use smallvec::SmallVec;
use smol_str::SmolStr;
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// The shared part of a node. One for all its shards.
pub struct Node {
    pub(crate) boot: u32,
    /// The node's hosts.
    pub hosts: Hosts,
    pub(crate) names: Names,
    pub(crate) groups: Groups,
    pub(crate) subscriptions: Subscriptions,
    shards: Vec<Shared>,
    next_shard: AtomicU32,
}

/// What other shards may touch of one shard.
struct Shared {
    slots: SharedSlots,
    /// Signals for the shard. Pushed to by all, emptied by the shard.
    inbox: Inbox<Signal>,
    /// Wakes the shard's driver. Set once, when the driver is ready.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Figures that the shard publishes at the end of each turn.
    gauges: Gauges,
    /// Whether it has more to do than it can.
    load: SharedLoad,
    /// Turns that it has begun. Written by the shard; it wraps.
    turns: AtomicU32,
}

/// From one shard to another. `Monitor` and `Link` were announced by `SlotState::expect`; `Unlink` is answered by
/// `Unlinked` with the same number.
pub(crate) enum Signal {
    Deliver { to: Pid, message: Message, class: Class },
    Broadcast { to: Vec<(Pid, Class)>, message: Message },
    Spawn { pid: Pid, seed: Box<dyn Any + Send>, birth: Birth },
    Event { to: Pid, event: Event },
    Monitor { from: Pid, to: Pid },
    Unmonitor { from: Pid, to: Pid },
    Link { from: Pid, to: Pid },
    Unlink { from: Pid, to: Pid, number: u32 },
    Unlinked { from: Pid, to: Pid, number: u32 },
    LinkFired { from: Pid, to: Pid, exit: Arc<Exit> },
    Terminate { to: Pid, exit: Exit },
    TerminateChild { of: Pid, to: Pid, exit: Exit },
    Named { name: SmolStr, pid: Pid },
    Groups { to: Pid },
    Outdate,
    Receipts { to: Pid, period: u16, messages: u32, bytes: u64 },
    AwaitRoom { from: Pid, to: Pid },
    Room { to: Pid, of: Pid },
    LeaveRoom { from: Pid, to: Pid },
}

/// What a process is born with.
#[derive(Default)]
pub(crate) struct Birth {
    /// Who spawned it.
    pub(crate) parent: Option<Pid>,
    /// Who monitors it.
    pub(crate) monitor: Option<Pid>,
    /// With whom it is linked.
    pub(crate) link: Option<Pid>,
    /// The name that it holds already.
    pub(crate) name: Option<SmolStr>,
    /// The first message of its mailbox, which counts against no limit.
    pub(crate) first: Option<Message>,
}

impl Node {
    /// A node of `shards` shards. `boot` is a random number, different for each start.
    pub fn new(boot: u32, shards: usize, hosts: Hosts) -> Arc<Node> {
        let shards: Vec<Shared> = (0..shards.clamp(1, limits::SHARDS))
            .map(|_| Shared {
                slots: SharedSlots::default(),
                inbox: Inbox::default(),
                waker: OnceLock::new(),
                gauges: Gauges::default(),
                load: SharedLoad::default(),
                turns: AtomicU32::new(0),
            })
            .collect();
        let groups = Groups::new(shards.len());
        let (names, subscriptions) = (Names::default(), Subscriptions::default());
        Arc::new(Node { boot, hosts, names, groups, subscriptions, shards, next_shard: AtomicU32::new(0) })
    }

    /// How many shards the node has.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Sets how a shard is woken when something comes for it while it waits. The first call counts.
    pub fn set_waker(&self, shard: usize, waker: Box<dyn Fn() + Send + Sync>) {
        let _first_counts = self.shards[shard].waker.set(waker);
        if self.has_signals(shard) {
            self.wake(shard);
        }
    }

    /// How many turns a shard has begun; the number wraps. Any thread may ask.
    pub fn turns(&self, shard: usize) -> u32 {
        self.shards[shard].turns.load(Ordering::Relaxed)
    }

    /// Whether a process lives. Any thread may ask.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.state(pid).is_some()
    }

    /// Who has a name. Any thread may ask.
    pub fn lookup(&self, name: &str) -> Option<Pid> {
        self.names.lookup(name)
    }

    /// The figures of each shard, as of its last turn.
    pub fn gauges(&self) -> impl Iterator<Item = &Gauges> {
        self.shards.iter().map(|shard| &shard.gauges)
    }

    /// Names that are held.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Groups that have members or monitors, and how many members and monitors they have in all.
    pub fn groups(&self) -> (usize, usize) {
        self.groups.len()
    }

    /// Subscriptions of all processes.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Spawns a process from outside of all shards.
    pub fn spawn_from_outside(&self, shard: usize, host: HostId, seed: Box<dyn Any + Send>) -> Result<Pid, Error> {
        let pid = self.allocate(shard, host)?;
        self.push(shard, std::iter::once(Signal::Spawn { pid, seed, birth: Birth::default() }));
        Ok(pid)
    }

    /// Asks a process to end, from outside of all shards.
    pub fn cancel_from_outside(&self, pid: Pid, reason: &str) {
        let at = crate::Time::default();
        let event = Event::Cancel { from: pid, reason: Some(reason.into()), at };
        if self.state(pid).is_some_and(SlotState::reserve_cancel) {
            self.push(pid.shard(), std::iter::once(Signal::Event { to: pid, event }));
        }
    }

    /// Ends a process, from outside of all shards.
    pub fn terminate_from_outside(&self, pid: Pid, reason: &str) {
        if self.order_end(pid) == Some(true) {
            let exit = Exit::terminated(Some(reason));
            self.push(pid.shard(), std::iter::once(Signal::Terminate { to: pid, exit }));
        }
    }

    /// Asks all processes of the node whether they are outdated, those of each shard little by little, and tells those
    /// that are.
    pub fn outdate(&self) {
        for shard in 0..self.shards() {
            self.push(shard, std::iter::once(Signal::Outdate));
        }
    }

    /// The next shard in turn, for what is spread.
    pub fn next_shard(&self) -> usize {
        self.next_shard.fetch_add(1, Ordering::Relaxed) as usize % self.shards.len()
    }

    pub(crate) fn load_of(&self, shard: usize) -> &SharedLoad {
        &self.shards[shard].load
    }

    pub(crate) fn count_turn(&self, shard: usize) {
        let turns = &self.shards[shard].turns;
        turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn gauges_of(&self, shard: usize) -> &Gauges {
        &self.shards[shard].gauges
    }

    /// A new PID on a shard, alive from now on. Any thread may call it.
    pub(crate) fn allocate(&self, shard: usize, host: HostId) -> Result<Pid, Error> {
        let limits = &self.hosts[host];
        if !limits.enter() {
            let text = format!("host \"{}\" is full: max_processes is {}", limits.name, limits.max_processes);
            return Err(Error::new(crate::error::Kind::Unavailable, text));
        }
        match self.shards[shard].slots.allocate(host) {
            Some((slot, generation)) => Ok(Pid::new(self.boot, host, shard, slot, generation)),
            None => {
                limits.leave();
                let text = format!("shard {shard} is full: it has {} processes", limits::SLOTS);
                Err(Error::new(crate::error::Kind::Unavailable, text))
            }
        }
    }

    /// The shared word of a living process.
    pub(crate) fn state(&self, pid: Pid) -> Option<&SlotState> {
        self.place(pid).filter(|state| state.lives(pid))
    }

    /// The shared word of a PID's slot, whoever lives there now. What is counted by place is given back by place.
    pub(crate) fn place(&self, pid: Pid) -> Option<&SlotState> {
        if pid.boot() != self.boot {
            return None;
        }
        self.shards.get(pid.shard())?.slots.get(pid.slot())
    }

    /// See [`SlotState::order_end`].
    pub(crate) fn order_end(&self, pid: Pid) -> Option<bool> {
        self.place(pid)?.order_end(pid)
    }

    /// See [`SlotState::seal`].
    pub(crate) fn seal(&self, pid: Pid) {
        if let Some(state) = self.place(pid) {
            state.seal(pid);
        }
    }

    /// Takes a name for a process: why not, if it cannot.
    pub(crate) fn take_name(&self, name: &SmolStr, pid: Pid) -> Result<(), NameRefused> {
        let Some(state) = self.state(pid) else { return Err(NameRefused::Dead) };
        if !state.count_name() {
            return Err(NameRefused::TooMany);
        }
        self.names.register(name, pid).map_err(|holder| {
            state.uncount_name();
            NameRefused::HeldBy(holder)
        })
    }

    /// Frees a name if `pid` holds it.
    pub(crate) fn release_name(&self, name: &str, pid: Pid) -> bool {
        let released = self.names.release(name, pid);
        if released && let Some(state) = self.place(pid) {
            state.uncount_name();
        }
        released
    }

    /// Called by the owning shard when the process has ended: whether monitors or links are on their way to it.
    pub(crate) fn retire(&self, pid: Pid) -> bool {
        self.hosts[pid.host()].leave();
        self.shards[pid.shard()].slots.retire(pid.slot(), pid.generation())
    }

    /// Hands a new process to its shard together with its name: whoever finds the name finds the process there.
    pub(crate) fn push_birth(&self, pid: Pid, seed: Box<dyn Any + Send>, birth: Birth) -> Result<(), NameRefused> {
        let shared = &self.shards[pid.shard()];
        let wakes = {
            // Under the lock nobody can send to the name before the process is in place.
            let mut inbox = shared.inbox.lock();
            if let Some(name) = &birth.name {
                self.take_name(name, pid)?;
            }
            inbox.push(Signal::Spawn { pid, seed, birth });
            shared.inbox.filled()
        };
        if wakes {
            self.wake(pid.shard());
        }
        Ok(())
    }

    /// Appends signals to a shard's inbox in order and wakes it if it may be waiting.
    pub(crate) fn push(&self, shard: usize, signals: impl Iterator<Item = Signal>) {
        if self.shards[shard].inbox.push(signals) {
            self.wake(shard);
        }
    }

    /// Hands signals over to all shards at once: nobody can act on one of them before all are in place. Otherwise a
    /// receiver could cause something on a third shard that arrives before what was sent there earlier.
    pub(crate) fn push_all(&self, outgoing: &mut [Vec<Signal>]) {
        let mut held: SmallVec<[MutexGuard<'_, Vec<Signal>>; 4]> = SmallVec::new();
        let mut asleep: SmallVec<[usize; 4]> = SmallVec::new();
        // In the order of the shards, and nobody else holds two: so nobody waits in a circle.
        for (shard, signals) in outgoing.iter_mut().enumerate().filter(|(_, signals)| !signals.is_empty()) {
            let inbox = &self.shards[shard].inbox;
            let mut list = inbox.lock();
            list.append(signals);
            held.push(list);
            if inbox.filled() {
                asleep.push(shard);
            }
        }
        drop(held);
        for shard in asleep {
            self.wake(shard);
        }
    }

    /// Wakes a shard that waits: it takes a turn.
    pub fn wake(&self, shard: usize) {
        if let Some(waker) = self.shards[shard].waker.get() {
            waker();
        }
    }

    /// Whether something came for a shard. Costs one read.
    pub fn has_signals(&self, shard: usize) -> bool {
        self.shards[shard].inbox.has_some()
    }

    /// Swaps all that came for a shard with an empty list.
    pub(crate) fn take(&self, shard: usize, into: &mut Vec<Signal>) {
        self.shards[shard].inbox.take(into);
    }
}

/// Why a name cannot be taken.
pub(crate) enum NameRefused {
    Dead,
    TooMany,
    HeldBy(Pid),
}
