//! The trait that everything with a PID implements, and what a process may ask of the kernel.

use crate::error::{Error, Kind};
use crate::groups::Change;
use crate::host::{HostId, Hosts};
use crate::limits;
use crate::mailbox::{Claim, Class};
use crate::message::{self, Exit, Mail, Message};
use crate::pid::Pid;
use crate::shard::Core;
use crate::subscriptions::Subscription;
use crate::timers::{Time, TimerId};
use crate::topic::Topic;
use smol_str::SmolStr;
use std::any::Any;

/// A process: events in, commands out. It never waits and does no I/O of its own.
///
/// Luau programs, WebSocket sessions, keepers of services and supervisors are implementations of it.
pub trait Process {
    /// Runs the process for one slice. It takes mail with [`Cx::next_mail`] and says how it goes on.
    fn step(&mut self, cx: &mut Cx<'_>) -> Next;

    /// Whether there is news that it wants to be told with [`Mail::Outdated`]: asked of all processes after
    /// [`crate::Node::outdate`].
    fn is_outdated(&self) -> bool {
        false
    }

    /// The process has ended: its PID is dead, its relations are gone and have been told. The last call it gets.
    fn ended(&mut self, _exit: &Exit, _cx: &mut Cx<'_>) {}
}

/// How a process goes on after a step.
#[derive(Debug)]
pub enum Next {
    /// It waits for mail.
    Wait,
    /// It has more to do and goes behind the others that are ready.
    Again,
    /// It was stopped because its slice was over; it shares half of the time with others of its kind.
    Preempted,
    /// It ends.
    End(Exit),
}

/// What a new process is made of.
pub enum Body {
    /// The process itself; it lives on the shard of its spawner.
    Here(Box<dyn Process>),
    /// What the shard that gets it makes a process of; see [`Factory`].
    Seed(Box<dyn Any + Send>),
}

/// Makes processes of seeds, on the shard where they are to live.
pub trait Factory {
    /// The process of a seed. An error is the failure that the new process ends with at once.
    fn create(&mut self, seed: Box<dyn Any + Send>, pid: Pid) -> Result<Box<dyn Process>, Error>;
}

/// A process to be spawned.
pub struct Spawn {
    /// Whose limits it has.
    pub host: HostId,
    /// What it is made of.
    pub body: Body,
    /// Whether its spawner monitors it, from before it runs.
    pub monitored: bool,
    /// Whether it is linked with its spawner, from before it runs.
    pub linked: bool,
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Nobody has that PID (any more).
    NotFound,
    /// The mailbox is full.
    Full,
}

/// What a process can see and do while it runs. Everything is answered at once.
pub struct Cx<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) pid: Pid,
}

impl Cx<'_> {
    /// The PID of the process that runs.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The time at which this turn began.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// The node's hosts.
    pub fn hosts(&self) -> &Hosts {
        &self.core.node.hosts
    }

    /// Whether a process of this node lives.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.core.is_alive(pid)
    }

    /// Who spawned a living process of this shard.
    pub fn parent_of(&self, pid: Pid) -> Option<Pid> {
        self.core.slot(pid).and_then(|slot| slot.parent)
    }

    // Mail

    /// The next mail, in order of arrival. A message keeps its room until [`Cx::received`].
    pub fn next_mail(&mut self) -> Option<(Mail, Claim)> {
        self.core.next_mail(self.pid)
    }

    /// The program of this process has not read an EXIT or a LINK_DOWN that was taken with [`Cx::next_mail`]: it
    /// counts as unread until [`Cx::read_end`], see [`limits::RELATIONS_PER_PROCESS`].
    pub fn keep_end(&mut self, exit: &Exit) {
        self.core.end_waits(self.pid, exit);
    }

    /// An end that was kept unread is read now.
    pub fn read_end(&mut self, exit: &Exit) {
        self.core.end_read(self.pid, exit);
    }

    /// Whether mail waits.
    pub fn has_mail(&self) -> bool {
        self.core.slot(self.pid).is_some_and(|slot| !slot.mailbox.is_empty())
    }

    /// A message has reached the program: frees its room, and tells its sender if that asked for it.
    pub fn received(&mut self, from: Pid, claim: Claim) {
        self.core.received(self.pid, from, claim);
    }

    /// Sends a message.
    pub fn send(&mut self, to: Pid, message: Message) -> Result<(), Refused> {
        self.core.send(to, message, Class::Ordinary).map_err(|(refused, _)| refused)
    }

    /// Sends a message whose receipt comes back ([`Cx::take_receipts`]). It is given back if it is refused.
    pub fn send_credited(&mut self, to: Pid, message: Message) -> Result<(), (Refused, Box<Message>)> {
        let period = self.core.slot(self.pid).map_or(0, |slot| slot.period);
        let sent = self.core.send(to, message, Class::Credited { period });
        sent.map_err(|(refused, message)| (refused, Box::new(message)))
    }

    /// Sends a message for which room was reserved; only a dead process refuses it.
    pub fn send_reserved(&mut self, to: Pid, message: Message) -> Result<(), Refused> {
        self.core.send(to, message, Class::Reserved).map_err(|(refused, _)| refused)
    }

    /// Messages and bytes of this process that were received since the last call.
    pub fn take_receipts(&mut self) -> (u32, u64) {
        self.core.slot_mut(self.pid).map_or((0, 0), |slot| std::mem::take(&mut slot.receipts))
    }

    /// From now on only messages that this process sends after this call bring it receipts: its credit begins anew, as
    /// with another receiver.
    pub fn forget_receipts(&mut self) {
        if let Some(slot) = self.core.slot_mut(self.pid) {
            slot.period = slot.period.wrapping_add(1);
            slot.receipts = (0, 0);
        }
    }

    /// Whether the next receipt wakes this process with [`Mail::Receipts`]. Off until asked for, and off again
    /// after each such mail.
    pub fn wake_on_receipts(&mut self, wake: bool) {
        if let Some(slot) = self.core.slot_mut(self.pid) {
            slot.wake_on_receipts = wake;
        }
    }

    /// Whether others than this process monitor `to`, and so probably send to it. Not known of another shard's process, so
    /// it is said of each.
    pub fn is_shared(&self, to: Pid) -> bool {
        self.core.is_shared(to)
    }

    /// Queues this process for room in `to`'s full mailbox: [`Mail::Room`] comes when it is its turn, and also when
    /// `to` ends. Then [`Cx::send_credited`] takes one message, as long as the step lasts that took this mail;
    /// afterwards it is the turn of the next.
    pub fn await_room(&mut self, to: Pid) {
        self.core.await_room(self.pid, to);
    }

    /// From now on a message on the last topic of this process's host is the last one that it takes: whoever sends
    /// another one, even in the same slice, is told that nobody is there.
    pub fn heed_last_topic(&mut self) {
        self.core.heed_last(self.pid);
    }

    // Other processes

    /// Spawns a process. An error says which limit refused it.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<Pid, Error> {
        self.core.spawn(Some(self.pid), spawn, None, None)
    }

    /// Spawns a process that holds a name before it runs, and whose mailbox begins with a message. An error of kind
    /// [`Kind::AlreadyExists`] says that a living process holds the name.
    pub fn spawn_as(&mut self, spawn: Spawn, name: Option<&str>, first: Option<Message>) -> Result<Pid, Error> {
        let name = name.map(valid_name).transpose()?;
        self.core.spawn(Some(self.pid), spawn, name, first)
    }

    /// Monitors a process: one [`crate::Event::Exit`] when it ends. One that has ended is `NOT_FOUND`; one that ends
    /// on another shard before it hears of the monitor sends its EXIT all the same, and that says how it ended.
    pub fn monitor(&mut self, to: Pid) -> Result<(), Error> {
        self.core.monitor(self.pid, to)
    }

    /// Ends a monitor; whether there was one.
    pub fn unmonitor(&mut self, to: Pid) -> bool {
        self.core.unmonitor(self.pid, to)
    }

    /// Links this process and another one, both ways. When both act on their link at the same time on two shards, each
    /// has it in the end or none has.
    pub fn link(&mut self, to: Pid) -> Result<(), Error> {
        self.core.link(self.pid, to)
    }

    /// Ends a link; whether there was one.
    pub fn unlink(&mut self, to: Pid) -> bool {
        self.core.unlink(self.pid, to)
    }

    /// Whether the failure of a linked process arrives as an event instead of ending this one.
    pub fn set_trap_links(&mut self, trap: bool) {
        if let Some(slot) = self.core.slot_mut(self.pid) {
            slot.trap_links = trap;
        }
    }

    /// See [`Cx::set_trap_links`].
    pub fn trap_links(&self) -> bool {
        self.core.slot(self.pid).is_some_and(|slot| slot.trap_links)
    }

    /// Asks a process to end.
    pub fn cancel(&mut self, to: Pid, reason: Option<&str>) -> Result<(), Refused> {
        self.core.cancel(self.pid, to, reason)
    }

    /// Ends a process, whatever it does, also one that took its last message. Itself: as soon as this step returns.
    pub fn terminate(&mut self, to: Pid, reason: Option<&str>) -> Result<(), Refused> {
        self.end_other(to, Exit::terminated(reason))
    }

    /// Ends a process with an exit of the caller's choice.
    pub fn end_other(&mut self, to: Pid, exit: Exit) -> Result<(), Refused> {
        self.core.terminate(to, exit)
    }

    /// Whether this process was ended while it runs, by itself or by a link: it should return at once.
    pub fn is_doomed(&self) -> bool {
        self.core.slot(self.pid).is_none_or(|slot| slot.doomed.is_some())
    }

    // Names

    /// Takes a name for a process of this node.
    pub fn register(&mut self, name: &str, pid: Pid) -> Result<(), Error> {
        self.core.register(&valid_name(name)?, pid)
    }

    /// Who has a name.
    pub fn lookup(&self, name: &str) -> Option<Pid> {
        self.core.node.lookup(name)
    }

    /// Gives up a name that this process holds; whether it held it.
    pub fn unregister(&mut self, name: &str) -> bool {
        self.core.unregister(self.pid, name)
    }

    // Groups

    /// Puts a process of this node into a group. To be in it already is no error and changes nothing.
    pub fn join(&mut self, group: &str, pid: Pid) -> Result<(), Error> {
        self.core.join(&group_name(group)?, pid)
    }

    /// Takes a process out of a group; whether it was in it.
    pub fn leave(&mut self, group: &str, pid: Pid) -> bool {
        self.core.leave(group, pid)
    }

    /// Who is in a group, in no particular order. One call and one list, however many there are.
    pub fn members(&self, group: &str) -> Vec<Pid> {
        let mut members = self.core.node.groups.members(group);
        members.retain(|&pid| self.core.is_alive(pid));
        members
    }

    /// Sends a message to all who are in a group now, this process among them if it is. To how many: those whose
    /// mailbox is full do not get it. That is one call, so that nothing else of the sender comes between: some 0.1
    /// microseconds for each member, in which its shard does nothing else.
    pub fn broadcast(&mut self, group: &str, topic: Topic, body: message::Body) -> usize {
        let members = self.core.node.groups.members(group);
        self.core.broadcast(members, &Message { topic, from: self.pid, body })
    }

    /// Who is in a group, and from now on [`Mail::Groups`] when somebody joins or leaves it.
    pub fn monitor_group(&mut self, group: &str) -> Result<Vec<Pid>, Error> {
        self.core.monitor_group(&group_name(group)?, self.pid)
    }

    /// Ends [`Cx::monitor_group`], also for what has not been told; whether there was one.
    pub fn unmonitor_group(&mut self, group: &str) -> bool {
        self.core.node.groups.unmonitor(group, self.pid)
    }

    /// The next join or leave that this process has not been told. To be called until it is `None`: only then comes
    /// [`Mail::Groups`] again. A leave that follows an untold join of the same process undoes it, and the other way
    /// round, so a process that does not ask lets nothing pile up.
    pub fn next_change(&mut self) -> Option<Change> {
        self.core.node.groups.next_change(self.pid)
    }

    // Subscriptions

    /// From now on this process gets what is published under the topics that a pattern matches: messages that count
    /// as any others, with a [`Claim`] that names the subscription. One that several of its patterns match comes once
    /// for each.
    pub fn subscribe(&mut self, pattern: &str) -> Result<Subscription, Error> {
        self.core.subscribe(self.pid, pattern)
    }

    /// Ends a subscription; whether it was there. What has come for it stays in the mailbox.
    pub fn unsubscribe(&mut self, subscription: Subscription) -> bool {
        self.core.unsubscribe(self.pid, subscription)
    }

    /// Sends a message to all who subscribe to its topic now, this process among them if it does. For how many
    /// subscriptions: those of processes whose mailbox is full do not get it.
    pub fn publish(&mut self, topic: Topic, body: message::Body) -> Result<usize, Error> {
        self.core.publish(&Message { topic, from: self.pid, body })
    }

    // Time

    /// [`Mail::Timer`] with `token` at a time; refused when the process has too many timers.
    pub fn set_timer(&mut self, at: Time, token: u64) -> Result<TimerId, Error> {
        self.core.set_timer(self.pid, at, token)
    }

    /// Stops a timer of this process; whether it was running. Mail that it has already sent stays.
    pub fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.core.cancel_timer(self.pid, id)
    }

    /// Stops all timers of this process. Mail that they have already sent stays.
    pub fn cancel_timers(&mut self) {
        self.core.cancel_timers(self.pid);
    }
}

fn group_name(group: &str) -> Result<SmolStr, Error> {
    if group.is_empty() || group.len() > limits::LABEL_BYTES || group.starts_with('@') {
        let most = limits::LABEL_BYTES;
        let text = format!("\"{group}\" cannot be a group: not empty, at most {most} bytes, not beginning with \"@\"");
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(SmolStr::new(group))
}

fn valid_name(name: &str) -> Result<SmolStr, Error> {
    if name.is_empty() || name.len() > limits::LABEL_BYTES || name.starts_with(['{', '@']) || name == "nil" {
        let text = format!(
            "\"{name}\" cannot be a name: not empty, at most {} bytes, not \"nil\", not beginning with \"{{\" or \"@\"",
            limits::LABEL_BYTES
        );
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(SmolStr::new(name))
}
