//! What a simulation knows of its node, and its steps: who takes a turn, what the clock does, who changes its manner.

use crate::patient::Patient;
use crate::world::*;
use kernel::{Host, HostId, Pid, Spawn, SpawnBody, Subscription, TimerId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Xorshift (Marsaglia, 2003).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Messages that wait for a process of the small host, and of the one that is spread.
pub(crate) const SMALL: u32 = 4;
const SPREAD: u32 = 40;
pub(crate) const GROUPS: [&str; 2] = ["players", "guests"];
/// What topics that are published begin with; their number follows.
pub(crate) const PLACES: [&str; 2] = ["order", "order.eu"];
pub(crate) const PATTERNS: [&str; 5] = ["order.*", "order.eu.*", "order.*.*", "order.**", "order.eu.**"];
pub(crate) const NAMES: [&str; 4] = ["kitchen", "cellar", "attic", "garden"];

/// Whether one of [`PATTERNS`] is meant by what is published at a place.
pub(crate) fn matches(pattern: &str, place: &str) -> bool {
    match pattern {
        "order.*" => place == "order",
        "order.**" => true,
        _ => place == "order.eu",
    }
}

/// What one process knows of another one.
#[derive(Default)]
pub(crate) struct Pair {
    /// Topics of the messages that were accepted, in their order.
    pub(crate) sent: Vec<u32>,
    /// How many of them have been read.
    pub(crate) read: usize,
    /// Topics of broadcasts that may come between them.
    pub(crate) broadcasts: BTreeSet<u32>,
    /// Topics that were published, each with a subscription that it is for.
    pub(crate) published: BTreeSet<(u32, Subscription)>,
    /// The last topic that was read, of all kinds.
    pub(crate) last_read: u32,
    pub(crate) monitors: usize,
    pub(crate) unmonitors: usize,
    pub(crate) exits: usize,
    /// A link that both have heard of, that none has taken back.
    pub(crate) firm_link: bool,
    pub(crate) fresh_link: bool,
    /// One of the two has taken the link back since the last rest: what both did since then may have crossed.
    pub(crate) contested: bool,
}

impl Pair {
    /// Whether a monitor may still be open; one that fired may not have been read.
    pub(crate) fn may_watch(&self) -> bool {
        self.monitors > self.unmonitors + self.exits
    }
}

/// A running timer; its token is its number, so its order among those of its time shows.
pub(crate) struct Timer {
    pub(crate) at: u64,
    pub(crate) token: u64,
    pub(crate) id: TimerId,
}

pub(crate) struct Simulation {
    pub(crate) world: World,
    pub(crate) random: Random,
    pub(crate) hosts: [HostId; 3],
    /// Every puppet that ever was.
    pub(crate) all: Vec<Pid>,
    /// By actor and other.
    pub(crate) pairs: BTreeMap<(Pid, Pid), Pair>,
    /// How much of what each got has been judged.
    pub(crate) judged: HashMap<Pid, usize>,
    pub(crate) names: BTreeMap<&'static str, Pid>,
    /// Timers that have not gone off, by owner.
    pub(crate) timers: BTreeMap<Pid, Vec<Timer>>,
    pub(crate) trapping: BTreeSet<Pid>,
    pub(crate) groups: BTreeMap<&'static str, BTreeSet<Pid>>,
    /// Monitors of groups.
    pub(crate) group_monitors: BTreeSet<(Pid, &'static str)>,
    /// Who is a member as far as a monitor was told: monitor, group, member.
    pub(crate) told: BTreeSet<(Pid, String, Pid)>,
    /// Every subscription that ever was, with its pattern while it lasts.
    pub(crate) subscriptions: BTreeMap<(Pid, Subscription), Option<&'static str>>,
    /// Credited messages that were accepted since a process began anew.
    pub(crate) credit: HashMap<Pid, u32>,
    /// Requests to end that each was sent, and has read.
    pub(crate) cancels: HashMap<Pid, (u32, u32)>,
    pub(crate) patients: Vec<(Pid, Pid, Arc<AtomicUsize>)>,
    last_topic: u32,
    last_token: u64,
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Simulation {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = random.below(2));
        let (mut small, mut spread) = (Host::new("app:small"), spread());
        (small.mailbox_messages, spread.mailbox_messages) = (SMALL, SPREAD);
        let world = World::with_hosts(1 + random.below(4), vec![small, spread]);
        let hosts = [HostId::SYSTEM, world.host("app:small"), world.host("app:spread")];
        let mut simulation = Simulation {
            world,
            random,
            hosts,
            all: Vec::new(),
            pairs: BTreeMap::new(),
            judged: HashMap::new(),
            names: BTreeMap::new(),
            timers: BTreeMap::new(),
            trapping: BTreeSet::new(),
            groups: BTreeMap::new(),
            group_monitors: BTreeSet::new(),
            told: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            credit: HashMap::new(),
            cancels: HashMap::new(),
            patients: Vec::new(),
            last_topic: 0,
            last_token: 0,
        };
        for n in 0..6 {
            let shard = n % simulation.world.shards.len();
            let pid = simulation.world.puppet_on(shard, hosts[n % 2]);
            simulation.born(pid);
        }
        simulation
    }

    pub(crate) fn born(&mut self, pid: Pid) {
        assert!(!self.all.contains(&pid), "{pid:?} was used twice");
        assert!(self.world.is_alive(pid), "a process lives from its spawn on");
        self.all.push(pid);
    }

    /// Any process, dead or alive; the later ones more often, as they are more likely to live.
    pub(crate) fn anybody(&mut self) -> Pid {
        let recent = self.all.len().min(8);
        let all = if self.random.one_in(3) { self.all.len() } else { recent };
        self.all[self.all.len() - 1 - self.random.below(all)]
    }

    pub(crate) fn pair(&mut self, a: Pid, b: Pid) -> &mut Pair {
        self.pairs.entry((a, b)).or_default()
    }

    pub(crate) fn topic(&mut self) -> u32 {
        self.last_topic += 1;
        self.last_topic
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// One thing that happens.
    pub(crate) fn step(&mut self) {
        let shard = self.random.below(self.world.shards.len());
        match self.random.below(100) {
            0..8 => {
                let now = self.world.now;
                self.world.shards[shard].begin(now);
            }
            8..20 => {
                let steps = self.random.below(4);
                self.world.shards[shard].run(steps);
            }
            20..27 => self.world.shards[shard].flush(),
            27..35 => self.world.turn(shard),
            35..38 => self.world.now = self.world.now.after(Duration::from_micros(self.random.below(20_000) as u64)),
            38..40 => self.rest(),
            40..43 => self.change_manner(),
            43..45 => self.spawn_patient(shard),
            _ => self.act(),
        }
    }

    fn change_manner(&mut self) {
        let pid = self.anybody();
        let manners = [Manner::Reads, Manner::Reads, Manner::Deaf, Manner::Hoards, Manner::Spins];
        let manner = manners[self.random.below(manners.len())];
        self.world.manner(pid, manner);
        self.world.nudge(pid);
    }

    fn spawn_patient(&mut self, shard: usize) {
        // More often one whose mailbox fills soon.
        let mut to = self.anybody();
        for _ in 0..4 {
            to = if to.host() == self.hosts[1] { to } else { self.anybody() };
        }
        let patient = Patient::new(to, 1 + self.random.below(12), self.random.one_in(4));
        let left = if patient.is_fickle() { Arc::default() } else { patient.seen_left.clone() };
        let body = SpawnBody::Here(Box::new(patient));
        let pid = self.world.shards[shard].spawn(Spawn { body, ..child() }).unwrap();
        self.patients.push((pid, to, left));
    }
}
