//! A node in one thread. Its processes are puppets: a test acts in their name and reads what they got.

use kernel::{
    Body, Claim, Counts, Cx, Error, Event, Exit, Factory, Host, HostId, Hosts, Kind, Mail, Message, Next, Node, Pid,
    Placement, Process, Shard, Spawn, SpawnBody, Subscription, Term, Time, Topic,
};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a puppet got, and last of all how it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    Message(Pid, String),
    /// A message for a subscription.
    Published(Pid, String, Subscription),
    Exit(Pid, Option<Kind>),
    LinkDown(Pid, Option<Kind>),
    Cancel(Pid, Option<String>),
    Timer(u64),
    Room(Pid),
    Receipts,
    Outdated,
    Joined(Pid, String),
    Left(Pid, String),
    Ended(Option<Kind>),
}

/// What a puppet does with its mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Manner {
    /// Receives it at once.
    #[default]
    Reads,
    /// Leaves it in the mailbox.
    Deaf,
    /// Takes it, but receives no message until its manner changes or it ends.
    Hoards,
    /// Never waits: uses up each of its slices, and reads nothing.
    Spins,
}

/// What all puppets of a world share with its test.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) got: HashMap<Pid, Vec<Got>>,
    pub(crate) manners: HashMap<Pid, Manner>,
    /// Who says that it is outdated.
    pub(crate) outdated: Vec<Pid>,
}

pub(crate) type Shared = Arc<Mutex<Stage>>;

pub(crate) struct Puppet {
    me: Pid,
    stage: Shared,
    held: Vec<(Pid, Claim)>,
}

impl Puppet {
    pub(crate) fn new(me: Pid, stage: Shared) -> Puppet {
        Puppet { me, stage, held: Vec::new() }
    }

    fn note(&self, got: Got) {
        self.stage.lock().unwrap().got.entry(self.me).or_default().push(got);
    }

    fn receive_held(&mut self, cx: &mut Cx<'_>) {
        for (from, claim) in self.held.drain(..) {
            cx.received(from, claim);
        }
    }
}

impl Process for Puppet {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        self.me = cx.pid();
        let manner = self.stage.lock().unwrap().manners.get(&self.me).copied().unwrap_or_default();
        match manner {
            Manner::Deaf => return Next::Wait,
            Manner::Spins => return Next::Preempted,
            Manner::Reads | Manner::Hoards => {}
        }
        if manner == Manner::Reads {
            self.receive_held(cx);
        }
        while let Some((mail, claim)) = cx.next_mail() {
            if let Mail::Message(message) = &mail {
                if manner == Manner::Hoards {
                    self.held.push((message.from, claim));
                } else {
                    cx.received(message.from, claim);
                }
            }
            if let Mail::Groups = mail {
                while let Some(change) = cx.next_change() {
                    let group = change.group.to_string();
                    let got = if change.joined { Got::Joined(change.pid, group) } else { Got::Left(change.pid, group) };
                    self.note(got);
                }
            } else {
                let got = match (Got::from(mail), claim.subscription()) {
                    (Got::Message(from, topic), Some(subscription)) => Got::Published(from, topic, subscription),
                    (got, _) => got,
                };
                self.note(got);
            }
        }
        Next::Wait
    }

    fn is_outdated(&self) -> bool {
        self.stage.lock().unwrap().outdated.contains(&self.me)
    }

    fn ended(&mut self, exit: &Exit, cx: &mut Cx<'_>) {
        self.me = cx.pid();
        self.receive_held(cx);
        self.note(Got::Ended(exit.error.as_ref().map(|error| error.kind)));
    }
}

impl From<Mail> for Got {
    fn from(mail: Mail) -> Got {
        let kind = |exit: &Exit| exit.error.as_ref().map(|error| error.kind);
        match mail {
            Mail::Message(message) => Got::Message(message.from, message.topic.to_string()),
            Mail::Event(Event::Exit { from, exit, .. }) => Got::Exit(from, kind(&exit)),
            Mail::Event(Event::LinkDown { from, exit, .. }) => Got::LinkDown(from, kind(&exit)),
            Mail::Event(Event::Cancel { from, reason, .. }) => Got::Cancel(from, reason.map(String::from)),
            Mail::Timer(token) => Got::Timer(token),
            Mail::Room(of) => Got::Room(of),
            Mail::Receipts => Got::Receipts,
            Mail::Outdated => Got::Outdated,
            Mail::Groups => unreachable!("a change has its own call"),
        }
    }
}

/// The exit of a puppet that failed.
pub(crate) fn failure() -> Exit {
    Exit::failed(Error::new(Kind::Internal, "it broke"))
}

/// A message without a payload.
pub(crate) fn message(from: Pid, topic: &str) -> Message {
    Message { topic: Topic::from(topic), from, body: Body::None }
}

/// A message whose payload has so many bytes and a few more.
pub(crate) fn big(from: Pid, bytes: usize) -> Message {
    Message { topic: Topic::from("big"), from, body: Body::Term(Term::string(vec![b'x'; bytes])) }
}

/// Makes what a seed says: a puppet, another process, or nothing.
pub(crate) struct Puppets(pub(crate) Shared);

/// A seed that is no puppet.
pub(crate) type Make = Box<dyn FnOnce(Pid) -> Result<Box<dyn Process>, Error> + Send>;

impl Factory for Puppets {
    fn create(&mut self, seed: Box<dyn Any + Send>, pid: Pid) -> Result<Box<dyn Process>, Error> {
        match seed.downcast::<Make>() {
            Ok(make) => make(pid),
            Err(_) => Ok(Box::new(Puppet::new(pid, self.0.clone()))),
        }
    }
}

/// A puppet that is spawned by another one.
pub(crate) fn child() -> Spawn {
    Spawn { host: HostId::SYSTEM, body: SpawnBody::Seed(Box::new(())), monitored: false, linked: false }
}

pub(crate) fn monitored() -> Spawn {
    Spawn { monitored: true, ..child() }
}

pub(crate) fn linked() -> Spawn {
    Spawn { linked: true, ..child() }
}

/// A host whose children go to the shards in turn.
pub(crate) fn spread() -> Host {
    let mut host = Host::new("app:spread");
    host.placement = Placement::Spread;
    host
}

pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) now: Time,
    pub(crate) stage: Shared,
}

impl World {
    pub(crate) fn new(shards: usize) -> World {
        World::with_hosts(shards, Vec::new())
    }

    pub(crate) fn with_hosts(shards: usize, hosts: Vec<Host>) -> World {
        let node = Node::new(0xb007, shards, Hosts::new(hosts));
        let stage = Shared::default();
        let shards = (0..shards).map(|index| Shard::new(node.clone(), index, Box::new(Puppets(stage.clone()))));
        World { shards: shards.collect(), node, now: Time::default(), stage }
    }

    pub(crate) fn host(&self, name: &str) -> HostId {
        self.node.hosts.find(name).unwrap()
    }

    /// A puppet without a parent.
    pub(crate) fn puppet(&mut self, shard: usize) -> Pid {
        self.puppet_on(shard, HostId::SYSTEM)
    }

    pub(crate) fn puppet_on(&mut self, shard: usize, host: HostId) -> Pid {
        self.shards[shard].spawn(Spawn { host, ..child() }).unwrap()
    }

    pub(crate) fn manner(&mut self, pid: Pid, manner: Manner) {
        self.stage.lock().unwrap().manners.insert(pid, manner);
    }

    /// A puppet with a manner.
    pub(crate) fn mannered(&mut self, shard: usize, host: HostId, manner: Manner) -> Pid {
        let pid = self.puppet_on(shard, host);
        self.manner(pid, manner);
        pid
    }

    /// Acts in the name of a process; `None` if it is dead or its shard does not have it yet.
    pub(crate) fn try_act<R>(&mut self, pid: Pid, act: impl FnOnce(&mut Cx<'_>) -> (Next, R)) -> Option<R> {
        self.shards[pid.shard()].enter(pid, act)
    }

    /// Acts in the name of a living process.
    #[track_caller]
    pub(crate) fn act<R>(&mut self, pid: Pid, act: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        self.shards[pid.shard()].enter(pid, |cx| (Next::Wait, act(cx))).expect("a puppet that acts lives")
    }

    /// Ends a process as if it had returned.
    #[track_caller]
    pub(crate) fn returns(&mut self, pid: Pid) {
        self.ends(pid, Exit::normal(None));
    }

    /// Ends a process as if it had failed.
    #[track_caller]
    pub(crate) fn fails(&mut self, pid: Pid) {
        self.ends(pid, failure());
    }

    #[track_caller]
    fn ends(&mut self, pid: Pid, exit: Exit) {
        self.shards[pid.shard()].enter(pid, |_| (Next::End(exit), ())).expect("a puppet that ends lived");
    }

    /// Lets a process run although nothing came for it.
    pub(crate) fn nudge(&mut self, pid: Pid) {
        self.shards[pid.shard()].enter(pid, |_| (Next::Again, ()));
    }

    /// Sends a message without a payload.
    #[track_caller]
    pub(crate) fn send(&mut self, from: Pid, to: Pid, topic: &str) {
        self.act(from, |cx| cx.send(to, message(from, topic))).unwrap();
    }

    /// One whole turn of a shard.
    pub(crate) fn turn(&mut self, shard: usize) {
        let now = self.now;
        let shard = &mut self.shards[shard];
        shard.begin(now);
        shard.run(1_000);
        shard.flush();
    }

    /// Whether a shard would have nothing to do in a turn.
    pub(crate) fn is_idle(&self, shard: usize) -> bool {
        !self.shards[shard].has_ready() && !self.node.has_signals(shard)
    }

    /// Gives all shards turns until nothing moves. A world with spinners never comes to rest; it gets fifty turns.
    pub(crate) fn settle(&mut self) {
        for _ in 0..50 {
            for shard in 0..self.shards.len() {
                self.turn(shard);
            }
            if (0..self.shards.len()).all(|shard| self.is_idle(shard)) {
                return;
            }
        }
    }

    /// Moves the clock and lets the world come to rest.
    pub(crate) fn advance(&mut self, span: Duration) {
        self.now = self.now.after(span);
        self.settle();
    }

    /// What a puppet got so far.
    pub(crate) fn got(&self, pid: Pid) -> Vec<Got> {
        self.stage.lock().unwrap().got.get(&pid).cloned().unwrap_or_default()
    }

    /// The topics of the messages that a puppet got from another one.
    pub(crate) fn topics(&self, pid: Pid, from: Pid) -> Vec<String> {
        let of_sender = |got| match got {
            Got::Message(sender, topic) | Got::Published(sender, topic, _) if sender == from => Some(topic),
            _ => None,
        };
        self.got(pid).into_iter().filter_map(of_sender).collect()
    }

    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        self.node.is_alive(pid)
    }

    /// How a puppet ended: `None` while it lives.
    pub(crate) fn end_of(&self, pid: Pid) -> Option<Option<Kind>> {
        self.got(pid).into_iter().find_map(|got| if let Got::Ended(kind) = got { Some(kind) } else { None })
    }

    /// The figures of the whole node.
    pub(crate) fn counts(&mut self) -> Counts {
        for shard in &mut self.shards {
            shard.flush();
        }
        self.node.gauges().map(Counts::read).fold(Counts::default(), Counts::plus)
    }

    /// Every figure that must be back at zero when nobody lives: processes, monitors, links, timers, names, places,
    /// groups, who is in them or monitors them, subscriptions, and messages that wait and their bytes.
    pub(crate) fn leftovers(&mut self) -> [u64; 11] {
        let counts = self.counts();
        let living = self.node.hosts.names().filter_map(|name| self.node.hosts.find(name));
        let places = living.map(|host| u64::from(self.node.hosts[host].living())).sum();
        let (groups, memberships) = self.node.groups();
        let names = self.node.names() as u64;
        let [groups, memberships, subscriptions] =
            [groups, memberships, self.node.subscriptions()].map(|count| count as u64);
        let Counts { processes, monitors, links, timers, waiting, waiting_bytes, .. } = counts;
        [processes, monitors, links, timers, names, places, groups, memberships, subscriptions, waiting, waiting_bytes]
    }
}

/// For tests that a place on one shard and one on two must not tell apart: the shard of the other process.
pub(crate) const NEAR_AND_FAR: [usize; 2] = [0, 1];
