//! What the shards of a node share: which processes live, who has which name, and one inbox for each shard.

use crate::error::Error;
use crate::groups::Groups;
use crate::host::{HostId, Hosts};
use crate::limits;
use crate::mailbox::Class;
use crate::message::{Event, Exit, Message};
use crate::names::Names;
use crate::pid::Pid;
use crate::probe::Gauges;
use smallvec::SmallVec;
use smol_str::SmolStr;
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The shared part of a node. One for all its shards.
pub struct Node {
    pub(crate) boot: u32,
    /// The node's hosts.
    pub hosts: Hosts,
    pub(crate) names: Names,
    pub(crate) groups: Groups,
    shards: Vec<Shared>,
    next_shard: AtomicU32,
}

/// What other shards may touch of one shard.
struct Shared {
    slots: SharedSlots,
    /// Signals for the shard. Pushed to by all, emptied by the shard.
    inbox: Mutex<Vec<Signal>>,
    /// Whether the inbox may hold something; set before the lock is let go, cleared by the shard under it.
    waiting: AtomicBool,
    /// Wakes the shard's driver. Set once, when the driver is ready.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Figures that the shard publishes at the end of each turn.
    gauges: Gauges,
}

/// From one shard to another.
pub(crate) enum Signal {
    Deliver { to: Pid, message: Message, class: Class },
    Broadcast { to: Vec<Pid>, message: Message },
    Spawn { pid: Pid, seed: Box<dyn Any + Send>, birth: Birth },
    Event { to: Pid, event: Event },
    Monitor { from: Pid, to: Pid },
    Unmonitor { from: Pid, to: Pid },
    Link { from: Pid, to: Pid },
    Unlink { from: Pid, to: Pid },
    LinkFired { from: Pid, to: Pid, exit: Arc<Exit> },
    Terminate { to: Pid, exit: Exit },
    TerminateChild { of: Pid, to: Pid, exit: Exit },
    Named { name: SmolStr, pid: Pid },
    Groups { to: Pid },
    Outdate,
    Receipts { to: Pid, messages: u32, bytes: u64 },
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
                inbox: Mutex::default(),
                waiting: AtomicBool::new(false),
                waker: OnceLock::new(),
                gauges: Gauges::default(),
            })
            .collect();
        let groups = Groups::new(shards.len());
        Arc::new(Node { boot, hosts, names: Names::default(), groups, shards, next_shard: AtomicU32::new(0) })
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
        if pid.boot() != self.boot {
            return None;
        }
        let state = self.place(pid)?;
        (state.word.load(Ordering::Acquire) & IDENTITY == alive_word(pid.host(), pid.generation())).then_some(state)
    }

    /// The shared word of a PID's slot, whoever lives there now. What is counted by place is given back by place.
    fn place(&self, pid: Pid) -> Option<&SlotState> {
        self.shards.get(pid.shard())?.slots.get(pid.slot())
    }

    /// Marks a process as one that another shard has ordered to end: whether this is the first such order. `None` if
    /// it is dead. Further orders would change nothing, so they need no signal.
    pub(crate) fn order_end(&self, pid: Pid) -> Option<bool> {
        let state = self.state(pid)?;
        let marked = state.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let lives = word & IDENTITY == alive_word(pid.host(), pid.generation());
            (lives && word & ORDERED == 0).then_some(word | ORDERED)
        });
        match marked {
            Ok(_) => Some(true),
            Err(word) => (word & IDENTITY == alive_word(pid.host(), pid.generation())).then_some(false),
        }
    }

    /// A process heeds its host's last topic from now on.
    pub(crate) fn heed_last(&self, pid: Pid) {
        if let Some(state) = self.state(pid) {
            state.word.fetch_or(HEEDS_LAST, Ordering::Release);
        }
    }

    /// A process that heeds it has been sent its last message.
    pub(crate) fn seal(&self, pid: Pid) {
        if let Some(state) = self.state(pid) {
            // It may end meanwhile, so the word is changed only as it was found.
            let lives = |word: u64| word & IDENTITY == alive_word(pid.host(), pid.generation());
            let seal = |word| (lives(word) && word & HEEDS_LAST != 0).then_some(word | SEALED);
            let _dead_or_deaf = state.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, seal);
        }
    }

    /// Whether a process that is dead is known to have returned. Its slot forgets it with the next process.
    pub(crate) fn has_returned(&self, pid: Pid) -> bool {
        self.place(pid).is_some_and(|state| state.word.load(Ordering::Acquire) == dead_word(pid.generation(), false))
    }

    /// A CANCEL from another shard has arrived.
    pub(crate) fn cancel_arrived(&self, to: Pid) {
        if let Some(state) = self.place(to) {
            state.cancels.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes a name for a process: why not, if it cannot.
    pub(crate) fn take_name(&self, name: &SmolStr, pid: Pid) -> Result<(), NameRefused> {
        let Some(state) = self.state(pid) else { return Err(NameRefused::Dead) };
        if usize::from(state.names.fetch_add(1, Ordering::Relaxed)) >= limits::NAMES_PER_PROCESS {
            state.names.fetch_sub(1, Ordering::Relaxed);
            return Err(NameRefused::TooMany);
        }
        self.names.register(name, pid).map_err(|holder| {
            state.names.fetch_sub(1, Ordering::Relaxed);
            NameRefused::HeldBy(holder)
        })
    }

    /// Frees a name if `pid` holds it.
    pub(crate) fn release_name(&self, name: &str, pid: Pid) -> bool {
        let released = self.names.release(name, pid);
        if released && let Some(state) = self.place(pid) {
            state.names.fetch_sub(1, Ordering::Relaxed);
        }
        released
    }

    /// A message from another shard has arrived, or was dropped: its reservation ends.
    pub(crate) fn arrived(&self, to: Pid, bytes: u64) {
        if let Some(state) = self.place(to) {
            state.arrived(bytes);
        }
    }

    /// Called by the owning shard when the process has ended.
    pub(crate) fn retire(&self, pid: Pid, failed: bool) {
        self.hosts[pid.host()].leave();
        self.shards[pid.shard()].slots.retire(pid.slot(), pid.generation(), failed);
    }

    /// Hands a new process to its shard together with its name: whoever finds the name finds the process there.
    pub(crate) fn push_birth(&self, pid: Pid, seed: Box<dyn Any + Send>, birth: Birth) -> Result<(), NameRefused> {
        let shared = &self.shards[pid.shard()];
        let was_waiting = {
            // Under the lock nobody can send to the name before the process is in place.
            let mut inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(name) = &birth.name {
                self.take_name(name, pid)?;
            }
            inbox.push(Signal::Spawn { pid, seed, birth });
            shared.waiting.swap(true, Ordering::Release)
        };
        if !was_waiting {
            self.wake(pid.shard());
        }
        Ok(())
    }

    /// Appends signals to a shard's inbox in order and wakes it if it may be waiting.
    pub(crate) fn push(&self, shard: usize, signals: impl Iterator<Item = Signal>) {
        let shared = &self.shards[shard];
        let was_waiting = {
            let mut inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.extend(signals);
            shared.waiting.swap(true, Ordering::Release)
        };
        if !was_waiting {
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
            let shared = &self.shards[shard];
            let mut inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.append(signals);
            held.push(inbox);
            if !shared.waiting.swap(true, Ordering::Release) {
                asleep.push(shard);
            }
        }
        drop(held);
        for shard in asleep {
            self.wake(shard);
        }
    }

    fn wake(&self, shard: usize) {
        if let Some(waker) = self.shards[shard].waker.get() {
            waker();
        }
    }

    /// Whether something came for a shard. Costs one read.
    pub fn has_signals(&self, shard: usize) -> bool {
        self.shards[shard].waiting.load(Ordering::Acquire)
    }

    /// Swaps all that came for a shard with an empty list.
    pub(crate) fn take(&self, shard: usize, into: &mut Vec<Signal>) {
        let shared = &self.shards[shard];
        let mut inbox = shared.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        shared.waiting.store(false, Ordering::Release);
        std::mem::swap(&mut *inbox, into);
    }
}

/// Why a name cannot be taken.
pub(crate) enum NameRefused {
    Dead,
    TooMany,
    HeldBy(Pid),
}

/// What every shard may read of a slot.
#[derive(Default)]
pub(crate) struct SlotState {
    /// Generation (upper 32 bits), host (16 bits from bit 8) and the flags below. Written by whoever owns the slot:
    /// the allocating thread until the PID is handed out, then the slot's shard; only [`ORDERED`] and [`SEALED`] by any shard.
    word: AtomicU64,
    /// Messages and bytes from other shards that are accepted but not yet in the mailbox. Raised by senders, lowered
    /// by the shard; so senders elsewhere cannot fill memory between two turns of a shard.
    in_flight_bytes: AtomicU64,
    in_flight: AtomicU32,
    /// CANCEL events from other shards that have not arrived.
    cancels: AtomicU16,
    /// Names that the process holds. Raised by whoever registers one, lowered by whoever releases it; any shard.
    names: AtomicU16,
}

const ALIVE: u64 = 1;
/// The mailbox takes no message but reserved ones.
const FULL: u64 = 2;
/// Senders wait for room: others that can wait have to, too.
const AWAITED: u64 = 4;
/// Another shard has sent the order to end it.
const ORDERED: u64 = 8;
/// Dead, and it failed.
const FAILED: u64 = 16;
/// A message on its host's last topic is the last.
const HEEDS_LAST: u64 = 32;
/// The last message has been taken: to all others it is dead. Part of what tells the living apart.
const SEALED: u64 = 64;
/// Who lives there.
const IDENTITY: u64 = !(FULL | AWAITED | ORDERED | HEEDS_LAST);

fn alive_word(host: HostId, generation: u32) -> u64 {
    u64::from(generation) << 32 | (host.index() as u64) << 8 | ALIVE
}

fn dead_word(generation: u32, failed: bool) -> u64 {
    u64::from(generation) << 32 | if failed { FAILED } else { 0 }
}

impl SlotState {
    /// Says whether the mailbox is full, and whether senders wait for room in it.
    pub(crate) fn set_room(&self, full: bool, awaited: bool) {
        let set = if full { FULL } else { 0 } | if awaited { AWAITED } else { 0 };
        self.word.fetch_or(set, Ordering::Release);
        self.word.fetch_and(!((FULL | AWAITED) & !set), Ordering::Release);
    }

    /// Reserves room for a message from another shard. Between two turns at most one mailbox more can arrive.
    /// `patient`: the sender can wait, so it does not pass those that wait already.
    pub(crate) fn reserve(&self, bytes: u64, limit: u32, limit_bytes: u64, patient: bool) -> bool {
        let refusing = if patient { FULL | AWAITED } else { FULL };
        if self.word.load(Ordering::Acquire) & refusing != 0 {
            return false;
        }
        let messages_before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        if messages_before >= limit || bytes_before >= limit_bytes {
            self.arrived(bytes);
            return false;
        }
        true
    }

    /// Counts a message whose room was granted.
    pub(crate) fn reserve_granted(&self, bytes: u64) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether one more CANCEL may be on its way; beyond the bound it would change nothing.
    pub(crate) fn reserve_cancel(&self) -> bool {
        if self.cancels.fetch_add(1, Ordering::Relaxed) >= u16::from(limits::PENDING_CANCELS) {
            self.cancels.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn arrived(&self, bytes: u64) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

const CHUNK: usize = 1024;
const CHUNKS: usize = limits::SLOTS as usize / CHUNK;

/// The slot words of one shard: a list that grows and never moves.
struct SharedSlots {
    chunks: Box<[OnceLock<Box<[SlotState]>>]>,
    /// Slots that were ever used.
    used: AtomicU32,
    /// Slots whose process has ended.
    free: Mutex<Vec<u32>>,
}

impl Default for SharedSlots {
    fn default() -> SharedSlots {
        SharedSlots {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            used: AtomicU32::new(0),
            free: Mutex::default(),
        }
    }
}

impl SharedSlots {
    fn get(&self, slot: u32) -> Option<&SlotState> {
        self.chunks[slot as usize / CHUNK].get()?.get(slot as usize % CHUNK)
    }

    /// A slot that is alive in a generation it never had.
    fn allocate(&self, host: HostId) -> Option<(u32, u32)> {
        let freed = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = match freed {
            Some(slot) => slot,
            None => {
                let slot = self.used.fetch_add(1, Ordering::Relaxed);
                if slot >= limits::SLOTS {
                    self.used.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                slot
            }
        };
        let chunk =
            self.chunks[slot as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| SlotState::default()).collect());
        let state = &chunk[slot as usize % CHUNK];
        let generation = (state.word.load(Ordering::Acquire) >> 32) as u32 + 1;
        state.word.store(alive_word(host, generation), Ordering::Release);
        Some((slot, generation))
    }

    fn retire(&self, slot: u32, generation: u32, failed: bool) {
        if let Some(state) = self.get(slot) {
            state.word.store(dead_word(generation, failed), Ordering::Release);
            // The last generation is the last process of the slot: no PID is used twice.
            if generation < u32::MAX {
                self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
            }
        }
    }
}
