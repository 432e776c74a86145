//! One shard: the processes of one core, their scheduler and everything that is local to it.
//!
//! A driver owns the shard and calls, in every turn: [`Shard::begin`] (what other shards sent, timers), its own
//! sockets through [`Shard::enter`], [`Shard::run`] until it has had enough, and [`Shard::flush`] before it lets the
//! outside see anything. So a message sent before an effect is in its receiver's shard before the effect is visible.

mod core;
mod groups;
pub(crate) mod load;
mod outdated;
mod relations;
mod rooms;
mod signals;
mod slot;
mod subscriptions;

pub(crate) use self::core::Core;
use self::slot::{Content, Run};
use crate::host::HostId;
use crate::message::Exit;
use crate::node::Node;
use crate::pid::Pid;
use crate::probe::Probe;
use crate::process::{Cx, Factory, Next, Spawn};
use crate::timers::Time;
use std::sync::Arc;

/// A shard; see the module's text for how to drive it.
pub struct Shard {
    core: Core,
    factory: Box<dyn Factory>,
}

impl Shard {
    /// Shard number `index` of a node. `factory` makes processes of seeds that come to this shard.
    pub fn new(node: Arc<Node>, index: usize, factory: Box<dyn Factory>) -> Shard {
        Shard { core: Core::new(node, index), factory }
    }

    /// Begins a turn: takes what other shards sent and lets timers go off.
    pub fn begin(&mut self, now: Time) {
        self.core.now = now;
        self.core.node.count_turn(self.core.index);
        self.take_signals();
        self.core.fire_timers();
        self.bury();
    }

    /// Takes what other shards sent. To be called between reading a socket and acting on what was read.
    pub fn take_signals(&mut self) {
        if self.core.node.has_signals(self.core.index) {
            self.core.take_signals();
            self.bury();
        }
    }

    /// Runs at most `steps` processes that are ready, and one that used up its last slice. Whether more are ready.
    pub fn run(&mut self, steps: usize) -> bool {
        self.core.tell_outdated();
        for _ in 0..steps {
            let Some(pid) = self.core.ready.pop_front() else { break };
            self.step(pid);
        }
        if let Some(pid) = self.core.spun.pop_front() {
            self.step(pid);
        }
        self.has_ready()
    }

    /// Whether a process is ready to run, or may be once it was looked at.
    pub fn has_ready(&self) -> bool {
        !self.core.ready.is_empty() || !self.core.spun.is_empty() || self.core.is_outdating()
    }

    /// Hands all signals for other shards over, and publishes the figures.
    pub fn flush(&mut self) {
        self.core.flush();
    }

    /// When [`Shard::begin`] has to be called again although nothing comes.
    pub fn next_due(&self) -> Option<Time> {
        self.core.wheel.next_due()
    }

    /// Acts as a process that the driver feeds, such as the session of a socket that can be read. `None` if it is dead.
    pub fn enter<R>(&mut self, pid: Pid, act: impl FnOnce(&mut Cx<'_>) -> (Next, R)) -> Option<R> {
        let slot = self.core.slot_mut(pid)?;
        let was = std::mem::replace(&mut slot.run, Run::Running);
        slot.fresh = false;
        let (next, result) = act(&mut Cx { core: &mut self.core, pid });
        self.settle(pid, next, was);
        self.bury();
        Some(result)
    }

    /// Spawns a process that has no parent, such as the session of an accepted connection.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<Pid, crate::Error> {
        self.core.spawn(None, spawn, None, None)
    }

    /// Ends a process with an exit of the driver's choice.
    pub fn end(&mut self, pid: Pid, exit: Exit) {
        let _dead_already = self.core.terminate(pid, exit);
        self.bury();
    }

    /// Ends a process, wherever it lives, if `of` spawned it: what a program that failed was about to hand over.
    pub fn end_child(&mut self, of: Pid, pid: Pid, exit: Exit) {
        self.core.terminate_child(of, pid, exit);
        self.bury();
    }

    /// Asks all of the shard's processes to end, except those on the hosts that `spares` names.
    pub fn cancel_all(&mut self, reason: &str, spares: impl Fn(HostId) -> bool) {
        for index in 0..self.core.slots.len() {
            if let Some(pid) = self.core.slots.get(index).and_then(|slot| slot.pid)
                && !spares(pid.host())
            {
                self.core.node.cancel_from_outside(pid, reason);
            }
        }
    }

    /// The node that the shard is part of.
    pub fn node(&self) -> &Arc<Node> {
        &self.core.node
    }

    /// The time of the present turn.
    pub fn now(&self) -> Time {
        self.core.now
    }

    fn step(&mut self, pid: Pid) {
        let Some(slot) = self.core.slot_mut(pid) else { return };
        slot.run = Run::Running;
        slot.fresh = false;
        let mut process = match std::mem::take(&mut slot.content) {
            Content::Process(process) => process,
            Content::Seed(seed) => match self.factory.create(seed, pid) {
                Ok(process) => process,
                Err(error) => {
                    self.settle(pid, Next::End(Exit::failed(error)), Run::Idle);
                    return self.bury();
                }
            },
            Content::Away => return,
        };
        let next = process.step(&mut Cx { core: &mut self.core, pid });
        if let Some(slot) = self.core.slot_mut(pid) {
            slot.content = Content::Process(process);
        }
        self.settle(pid, next, Run::Idle);
        self.bury();
    }

    /// Puts a process that has run where it belongs.
    fn settle(&mut self, pid: Pid, next: Next, was: Run) {
        let core = &mut self.core;
        core.return_grants(pid);
        let Some(slot) = core.slot_mut(pid) else { return };
        if slot.doomed.is_some() {
            return;
        }
        let (run, fresh) = match next {
            // It keeps its place: nobody is in the queues twice.
            Next::Wait | Next::Again if was == Run::Queued => (Run::Queued, false),
            Next::Wait => (Run::Idle, slot.fresh),
            Next::Again => (Run::Idle, true),
            Next::Preempted => {
                slot.run = Run::Queued;
                if was != Run::Queued {
                    core.spun.push_back(pid);
                }
                return core.counts.count(Probe::Preempted);
            }
            Next::End(exit) => {
                slot.run = Run::Idle;
                slot.doomed = Some(Arc::new(exit));
                return core.doomed.push_back(pid);
            }
        };
        slot.run = if fresh { Run::Queued } else { run };
        if fresh {
            core.ready.push_back(pid);
        }
    }

    /// Ends every process that is doomed, and those that they take with them. The one way out for all of them.
    fn bury(&mut self) {
        while let Some(pid) = self.core.doomed.pop_front() {
            let Some((exit, content)) = self.core.end(pid) else { continue };
            let Content::Process(mut process) = content else { continue };
            process.ended(&exit, &mut Cx { core: &mut self.core, pid });
            drop(process);
        }
    }
}
