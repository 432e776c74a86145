//! Anything in any order: random acts of random processes on shards that take their turns at random, and after every
//! step all that must hold. A failure prints its seed; `MOONWIRE_SIM_SEEDS=100000` looks further, and
//! `MOONWIRE_SIM_FIRST=7 MOONWIRE_SIM_SEEDS=1` replays seed 7.

use crate::patient::Patient;
use crate::world::*;
use kernel::{Body, Exit, Host, HostId, Kind, Next, Pid, Refused, Spawn, SpawnBody, TimerId, Topic};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Xorshift (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Messages that wait for a process of the small host.
const SMALL: u32 = 4;
const GROUPS: [&str; 2] = ["players", "guests"];
const NAMES: [&str; 4] = ["kitchen", "cellar", "attic", "garden"];

/// What one process knows of another one.
#[derive(Default)]
struct Pair {
    /// Topics of the messages that were accepted, in their order.
    sent: Vec<String>,
    /// How many of them have been read.
    read: usize,
    /// Topics of broadcasts that may come between them.
    broadcasts: BTreeSet<String>,
    monitors: usize,
    unmonitors: usize,
    exits: usize,
    /// A link that both have heard of, that none has taken back.
    firm_link: bool,
    fresh_link: bool,
    /// One of the two has taken the link back since the last rest: what both did since then may have crossed.
    contested: bool,
}

struct Simulation {
    world: World,
    random: Random,
    hosts: [HostId; 3],
    /// Every puppet that ever was, and whether it is known to have ended.
    all: Vec<Pid>,
    /// By actor and other.
    pairs: BTreeMap<(Pid, Pid), Pair>,
    /// How much of what each got has been judged.
    judged: HashMap<Pid, usize>,
    names: BTreeMap<&'static str, Pid>,
    /// Running timers by owner: when they are due.
    timers: BTreeMap<Pid, Vec<(u64, TimerId)>>,
    trapping: BTreeSet<Pid>,
    groups: BTreeMap<&'static str, BTreeSet<Pid>>,
    /// Monitors of groups.
    group_monitors: BTreeSet<(Pid, &'static str)>,
    /// Who is a member as far as a monitor was told: monitor, group, member.
    told: BTreeSet<(Pid, String, Pid)>,
    /// Credited messages that were accepted and not yet returned.
    credit: HashMap<Pid, u32>,
    patients: Vec<(Pid, Pid, Arc<AtomicUsize>)>,
    last_topic: usize,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = random.below(2));
        let mut small = Host::new("app:small");
        small.mailbox_messages = SMALL;
        let world = World::with_hosts(1 + random.below(4), vec![small, spread()]);
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
            credit: HashMap::new(),
            patients: Vec::new(),
            last_topic: 0,
        };
        for n in 0..6 {
            let shard = n % simulation.world.shards.len();
            let pid = simulation.world.puppet_on(shard, hosts[n % 2]);
            simulation.born(pid);
        }
        simulation
    }

    fn born(&mut self, pid: Pid) {
        assert!(!self.all.contains(&pid), "{pid:?} was used twice");
        assert!(self.world.is_alive(pid), "a process lives from its spawn on");
        self.all.push(pid);
    }

    /// Any process, dead or alive; the later ones more often, as they are more likely to live.
    fn anybody(&mut self) -> Pid {
        let recent = self.all.len().min(8);
        let all = if self.random.one_in(3) { self.all.len() } else { recent };
        self.all[self.all.len() - 1 - self.random.below(all)]
    }

    fn pair(&mut self, a: Pid, b: Pid) -> &mut Pair {
        self.pairs.entry((a, b)).or_default()
    }

    fn topic(&mut self) -> String {
        self.last_topic += 1;
        self.last_topic.to_string()
    }

    fn step(&mut self) {
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

    /// One act of a process that lives and has arrived on its shard.
    fn act(&mut self) {
        let (a, b) = (self.anybody(), self.anybody());
        let b_lives = self.world.is_alive(b);
        if self.world.try_act(a, |_| (Next::Wait, ())).is_none() {
            let shard = a.shard();
            assert!(!self.world.is_alive(a) || self.world.node.has_signals(shard), "{a:?} lives nowhere");
            return;
        }
        match self.random.below(34) {
            0..10 => self.send(a, b, b_lives),
            10..13 => {
                let known = self.pairs.get(&(a, b)).is_some_and(Pair::may_watch);
                match self.world.act(a, |cx| cx.monitor(b)) {
                    Ok(()) => self.pair(a, b).monitors += 1,
                    Err(error) if error.kind == Kind::AlreadyExists => assert!(known, "{a:?} does not watch {b:?}"),
                    Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
                }
            }
            13 => {
                if self.world.act(a, |cx| cx.unmonitor(b)) {
                    self.pair(a, b).unmonitors += 1;
                }
            }
            14..17 => match self.world.act(a, |cx| cx.link(b)) {
                Ok(()) => self.pair(a, b).fresh_link = a != b,
                Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
            },
            17 => {
                self.world.act(a, |cx| cx.unlink(b));
                for (one, other) in [(a, b), (b, a)] {
                    let pair = self.pair(one, other);
                    (pair.firm_link, pair.contested) = (false, true);
                }
            }
            18 => {
                let traps = self.random.one_in(2);
                self.world.act(a, |cx| cx.set_trap_links(traps));
                if traps {
                    self.trapping.insert(a)
                } else {
                    self.trapping.remove(&a)
                };
                // What was firm may fire either way while this changes.
                self.pairs.values_mut().for_each(|pair| pair.fresh_link |= pair.firm_link);
            }
            19..22 => self.spawn(a),
            22 => {
                let fails = self.random.one_in(2);
                let exit = if fails { failure() } else { Exit::normal(None) };
                self.world.try_act(a, |_| (Next::End(exit), ()));
                assert!(!self.world.is_alive(a));
            }
            23 => {
                let result = self.world.act(a, |cx| cx.terminate(b, None));
                assert!(if result.is_ok() { b_lives } else { !self.world.is_alive(b) });
            }
            24 => {
                let result = self.world.act(a, |cx| cx.cancel(b, None));
                assert!(if result.is_ok() { b_lives } else { !self.world.is_alive(b) });
            }
            25..27 => self.name(a, b, b_lives),
            27 => {
                let at = self.world.now.after(Duration::from_micros(self.random.below(40_000) as u64));
                let id = self.world.act(a, |cx| cx.set_timer(at, at.0)).unwrap();
                self.timers.entry(a).or_default().push((at.0, id));
            }
            28 => {
                let timers = self.timers.entry(a).or_default();
                if let Some((at, id)) = timers.pop()
                    && !self.world.act(a, |cx| cx.cancel_timer(id))
                {
                    assert!(at <= self.world.now.0, "a timer that was not due was gone");
                }
            }
            29 => self.world.act(a, |cx| cx.await_room(b)),
            30..32 => self.group(a, b, b_lives),
            32 => self.broadcast(a),
            _ => self.monitor_group(a),
        }
    }

    fn send(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let topic = self.topic();
        let credited = self.random.one_in(3);
        let result = self.world.act(a, |cx| match credited {
            true => cx.send_credited(b, message(a, &topic)).map_err(|(refused, _)| refused),
            false => cx.send(b, message(a, &topic)),
        });
        match result {
            Ok(()) => {
                assert!(b_lives, "a message to the dead was accepted");
                self.pair(a, b).sent.push(topic);
                *self.credit.entry(a).or_default() += u32::from(credited);
            }
            Err(Refused::NotFound) => assert!(!self.world.is_alive(b), "a living process was not found"),
            Err(Refused::Full) => assert!(b_lives),
        }
    }

    fn group(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        let members = self.groups.entry(group).or_default();
        if self.random.one_in(3) {
            let was = self.world.act(a, |cx| cx.leave(group, b));
            let known = members.remove(&b);
            assert!(was == known || !self.world.is_alive(b), "{b:?} left {group}: {was}, but {known} was known");
            return;
        }
        match self.world.act(a, |cx| cx.join(group, b)) {
            Ok(()) => {
                assert!(b_lives, "the dead joined");
                members.insert(b);
            }
            Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
        }
    }

    /// Every member gets it or has a full mailbox, and it keeps its place among what `a` sends.
    fn broadcast(&mut self, a: Pid) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        let topic = self.topic();
        let members = self.world.act(a, |cx| cx.members(group));
        // Who gets it is seen by what happens to one that has room for all: those of the small host may be full.
        let sent = self.world.act(a, |cx| cx.broadcast(group, Topic::from(&*topic), Body::None));
        assert!(sent <= members.len());
        let roomy = members.iter().filter(|pid| pid.host() != self.hosts[1]).count();
        assert!(sent >= roomy, "{sent} got the broadcast, but {roomy} have room for it");
        for pid in members {
            self.pair(a, pid).broadcasts.insert(topic.clone());
        }
    }

    fn monitor_group(&mut self, a: Pid) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        if self.random.one_in(3) {
            assert_eq!(self.world.act(a, |cx| cx.unmonitor_group(group)), self.group_monitors.remove(&(a, group)));
            self.told.retain(|(pid, of, _)| (*pid, &**of) != (a, group));
            return;
        }
        match self.world.act(a, |cx| cx.monitor_group(group)) {
            Ok(members) => {
                assert!(self.group_monitors.insert((a, group)));
                self.told.extend(members.into_iter().map(|pid| (a, group.to_owned(), pid)));
            }
            Err(error) => assert!(error.kind == Kind::AlreadyExists && self.group_monitors.contains(&(a, group))),
        }
    }

    fn spawn(&mut self, a: Pid) {
        if self.all.iter().filter(|&&pid| self.world.is_alive(pid)).count() > 15 {
            return;
        }
        let host = self.hosts[self.random.below(3)];
        let (monitored, linked) = (self.random.one_in(2), self.random.one_in(3));
        let spawn = Spawn { host, monitored, linked, ..child() };
        let pid = self.world.act(a, |cx| cx.spawn(spawn)).unwrap();
        self.born(pid);
        let pair = self.pair(a, pid);
        pair.monitors += usize::from(monitored);
        pair.fresh_link = linked;
    }

    fn name(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let name = NAMES[self.random.below(NAMES.len())];
        if self.random.one_in(2) {
            let held = self.world.act(a, |cx| cx.unregister(name));
            assert_eq!(held, self.names.get(name) == Some(&a));
            if held {
                self.names.remove(name);
            }
            return;
        }
        match self.world.act(a, |cx| cx.register(name, b)) {
            Ok(()) => {
                let before = self.names.insert(name, b);
                assert!(b_lives && before.is_none_or(|pid| !self.world.is_alive(pid)));
            }
            Err(error) if error.kind == Kind::AlreadyExists => assert!(self.names.contains_key(name)),
            Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
        }
    }

    /// All that must hold at any time.
    fn check(&mut self) {
        let stage = self.world.stage.clone();
        let stage = stage.lock().unwrap();
        for (&pid, got) in &stage.got {
            let from = std::mem::replace(self.judged.entry(pid).or_default(), got.len());
            for got in &got[from..] {
                self.judge(pid, got);
            }
        }
        for (&name, &pid) in &self.names {
            if self.world.is_alive(pid) {
                assert_eq!(self.world.node.lookup(name), Some(pid));
            }
        }
        for &to in self.all.iter().filter(|pid| pid.host() == self.hosts[1]) {
            let unread: usize =
                self.pairs.iter().filter(|((_, b), _)| *b == to).map(|(_, pair)| pair.sent.len() - pair.read).sum();
            if self.world.is_alive(to) {
                assert!(unread <= 2 * SMALL as usize, "{unread} messages wait for {to:?}");
            }
        }
    }

    fn judge(&mut self, pid: Pid, got: &Got) {
        match got {
            Got::Message(from, topic) => {
                let pair = self.pairs.entry((*from, pid)).or_default();
                if pair.broadcasts.remove(topic) {
                    // Topics are numbered, so order shows: it comes after what was sent before it.
                    let number = |topic: &String| topic.parse::<usize>().unwrap();
                    let next = pair.sent.get(pair.read).map(number);
                    assert!(next.is_none_or(|next| next > number(topic)), "a broadcast overtook a message");
                    let late = pair.read.checked_sub(1).map(|read| number(&pair.sent[read]));
                    assert!(late.is_none_or(|late| late < number(topic)), "a message overtook a broadcast");
                } else if !pair.sent.is_empty() {
                    assert_eq!(pair.sent.get(pair.read), Some(topic), "{pid:?} read another message than came next");
                    pair.read += 1;
                }
            }
            Got::Exit(from, _) => {
                assert!(!self.world.is_alive(*from), "the EXIT of a living process");
                let came = self.pairs.get(&(*from, pid)).map_or((0, 0), |pair| (pair.read, pair.sent.len()));
                assert_eq!(came.0, came.1, "an EXIT overtook messages");
                let pair = self.pairs.entry((pid, *from)).or_default();
                pair.exits += 1;
                assert!(pair.exits + pair.unmonitors <= pair.monitors, "a monitor fired twice");
            }
            Got::LinkDown(from, kind) => {
                assert!(!self.world.is_alive(*from) && kind.is_some());
            }
            Got::Timer(due) => assert!(*due <= self.world.now.0, "a timer went off early"),
            Got::Ended(_) => assert!(!self.world.is_alive(pid)),
            Got::Joined(other, group) => {
                assert!(self.told.insert((pid, group.clone(), *other)), "{pid:?} was told twice that {other:?} joined");
            }
            Got::Left(other, group) => {
                assert!(self.told.remove(&(pid, group.clone(), *other)), "{other:?} left and had not joined");
            }
            Got::Cancel(..) | Got::Room(_) | Got::Receipts | Got::Outdated => {}
        }
    }

    /// Comes to rest and checks what must hold then.
    fn rest(&mut self) {
        for manner in self.world.stage.lock().unwrap().manners.values_mut() {
            if *manner == Manner::Spins {
                *manner = Manner::Reads;
            }
        }
        self.world.settle();
        assert!((0..self.world.shards.len()).all(|shard| self.world.is_idle(shard)), "the world does not come to rest");
        self.check();
        let living: Vec<Pid> = self.all.iter().copied().filter(|&pid| self.world.is_alive(pid)).collect();
        let patients = self.patients.iter().filter(|(pid, ..)| self.world.is_alive(*pid)).count();
        let counts = self.world.counts();
        assert_eq!(counts.processes as usize, living.len() + patients);
        assert_eq!(self.world.leftovers()[5] as usize, living.len() + patients);
        let watched = |((a, b), pair): &(&(Pid, Pid), &Pair)| {
            pair.monitors > pair.unmonitors + pair.exits && living.contains(a) && living.contains(b)
        };
        assert_eq!(counts.monitors as usize, self.pairs.iter().filter(watched).count());
        self.names.retain(|_, pid| self.world.is_alive(*pid));
        for name in NAMES {
            assert_eq!(self.world.node.lookup(name), self.names.get(name).copied());
        }
        for (group, members) in &mut self.groups {
            members.retain(|pid| living.contains(pid));
            let known: BTreeSet<Pid> = living
                .first()
                .map_or_else(BTreeSet::new, |&pid| self.world.act(pid, |cx| cx.members(group)).into_iter().collect());
            assert!(living.is_empty() || known == *members, "{group} has other members than joined it");
        }
        let entries = self.groups.values().map(BTreeSet::len).sum::<usize>()
            + self.group_monitors.iter().filter(|(pid, _)| living.contains(pid)).count();
        assert_eq!(self.world.node.groups().1, entries, "the dead are in a group");
        self.check_links(&living);
    }

    fn check_links(&mut self, living: &[Pid]) {
        let stage = self.world.stage.clone();
        let stage = stage.lock().unwrap();
        let failed = |pid: Pid| {
            let got = stage.got.get(&pid).and_then(|got| got.last());
            matches!(got, Some(Got::Ended(Some(_))))
        };
        for (&(a, b), pair) in &mut self.pairs {
            for (dead, other) in [(a, b), (b, a)] {
                if pair.firm_link && !pair.fresh_link && failed(dead) && living.contains(&other) {
                    assert!(self.trapping.contains(&other), "{other:?} outlived {dead:?}, to which it was linked");
                }
            }
            pair.firm_link |= pair.fresh_link && !pair.contested;
            pair.firm_link &= living.contains(&a) && living.contains(&b);
            (pair.fresh_link, pair.contested) = (false, false);
        }
    }

    /// Lets everybody read everything, and then end.
    fn finish(&mut self) {
        let all = self.all.clone();
        all.iter().for_each(|&pid| self.world.manner(pid, Manner::Reads));
        for _ in 0..3 {
            all.iter().for_each(|&pid| self.world.nudge(pid));
            self.world.advance(Duration::from_millis(100));
        }
        self.rest();
        for (&(a, b), pair) in &self.pairs {
            if self.world.is_alive(b) {
                assert_eq!(pair.read, pair.sent.len(), "messages from {a:?} to {b:?} were lost");
            }
            if self.world.is_alive(a) {
                let open = usize::from(self.world.is_alive(b)) * (pair.monitors - pair.unmonitors);
                assert_eq!(pair.exits, pair.monitors - pair.unmonitors - open, "an EXIT of {b:?} was lost");
            }
        }
        for &(pid, group) in &self.group_monitors {
            if self.world.is_alive(pid) {
                let told = self.told.iter().filter(|(monitor, of, _)| (*monitor, &**of) == (pid, group));
                let told: BTreeSet<Pid> = told.map(|&(.., member)| member).collect();
                assert_eq!(
                    Some(&told),
                    self.groups.get(group).or(Some(&BTreeSet::new())),
                    "{pid:?} knows {group} wrong"
                );
            }
        }
        for (pid, to, left) in std::mem::take(&mut self.patients) {
            assert_eq!(left.load(Ordering::Relaxed), 0, "{pid:?} waits for {to:?} for ever");
            self.world.returns(pid);
        }
        for &pid in &all {
            let credit = self.credit.get(&pid).copied().unwrap_or_default();
            let returned = self.world.try_act(pid, |cx| (Next::Wait, cx.take_receipts().0));
            assert!(returned.is_none_or(|returned| returned == credit), "{pid:?} has lost credit");
        }
        for &pid in &all {
            self.world.node.terminate_from_outside(pid, "the end");
        }
        self.world.settle();
        assert_eq!(self.world.leftovers(), [0; 8]);
    }
}

impl Pair {
    /// Whether a monitor may still be open; one that fired may not have been read.
    fn may_watch(&self) -> bool {
        self.monitors > self.unmonitors + self.exits
    }
}

/// Prints the seed if the simulation does not come to its end.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it: MOONWIRE_SIM_FIRST={} MOONWIRE_SIM_SEEDS=1", self.0);
        }
    }
}

#[test]
fn whatever_happens_in_whatever_order_the_promises_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("MOONWIRE_SIM_FIRST").unwrap_or(1);
    for seed in first..first + number("MOONWIRE_SIM_SEEDS").unwrap_or(500) {
        let _printed = Seed(seed);
        let mut simulation = Simulation::new(seed);
        for _ in 0..400 {
            simulation.step();
            simulation.check();
        }
        simulation.finish();
    }
}
