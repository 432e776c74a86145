//! A shard without its factory: what a running process acts on.

use super::slot::{Content, Run, Slot, Slots};
use crate::error::{Error, Kind};
use crate::host::Placement;
use crate::limits;
use crate::mailbox::{Claim, Class, Pool};
use crate::message::{Event, Exit, Mail, Message};
use crate::node::{Node, Signal};
use crate::pid::Pid;
use crate::probe::{Counts, Probe};
use crate::process::{Body, Refused, Spawn};
use crate::timers::{Time, TimerId, Wheel};
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) struct Core {
    pub(crate) node: Arc<Node>,
    pub(crate) index: usize,
    pub(crate) now: Time,
    slots: Slots,
    pub(crate) ready: VecDeque<Pid>,
    /// Those that used up their last slice.
    pub(crate) spun: VecDeque<Pid>,
    /// Those that are to be ended before anything else happens.
    pub(crate) doomed: VecDeque<Pid>,
    pub(crate) wheel: Wheel,
    pool: Pool,
    /// Signals for each shard, since the last flush.
    outgoing: Vec<Vec<Signal>>,
    /// The list that is swapped with the inbox.
    pub(super) incoming: Vec<Signal>,
    pub(crate) counts: Counts,
}

impl Core {
    pub(crate) fn new(node: Arc<Node>, index: usize) -> Core {
        let outgoing = (0..node.shards()).map(|_| Vec::new()).collect();
        Core {
            node,
            index,
            now: Time::default(),
            slots: Slots::default(),
            ready: VecDeque::new(),
            spun: VecDeque::new(),
            doomed: VecDeque::new(),
            wheel: Wheel::default(),
            pool: Pool::default(),
            outgoing,
            incoming: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn is_local(&self, pid: Pid) -> bool {
        pid.shard() == self.index
    }

    pub(crate) fn slot(&self, pid: Pid) -> Option<&Slot> {
        self.slots.get(pid.slot()).filter(|slot| slot.pid == Some(pid))
    }

    pub(crate) fn slot_mut(&mut self, pid: Pid) -> Option<&mut Slot> {
        self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid))
    }

    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        if self.is_local(pid) {
            return self.slot(pid).is_some_and(|slot| slot.doomed.is_none());
        }
        self.node.is_alive(pid)
    }

    /// A signal for another shard; it leaves with the next flush.
    pub(crate) fn signal(&mut self, shard: usize, signal: Signal) {
        self.outgoing[shard].push(signal);
    }

    pub(crate) fn flush(&mut self) {
        for shard in 0..self.outgoing.len() {
            self.flush_to(shard);
        }
        self.counts.timers = u64::from(self.wheel.live);
        self.counts.publish(self.node.gauges_of(self.index));
    }

    fn flush_to(&mut self, shard: usize) {
        if !self.outgoing[shard].is_empty() {
            self.node.push(shard, self.outgoing[shard].drain(..));
        }
    }

    // Mail

    pub(crate) fn next_mail(&mut self, pid: Pid) -> Option<(Mail, Claim)> {
        let slot = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid))?;
        let (mail, claim) = slot.mailbox.pop(&mut self.pool)?;
        if let Mail::Event(Event::Cancel { .. }) = mail {
            slot.mailbox.cancels -= 1;
        }
        Some((mail, claim))
    }

    pub(crate) fn send(&mut self, to: Pid, message: Message, class: Class) -> Result<(), (Refused, Message)> {
        let limits = &self.node.hosts[to.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        if self.is_local(to) {
            let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to) && slot.doomed.is_none())
            else {
                return Err((Refused::NotFound, message));
            };
            let full = match class {
                Class::Ordinary => slot.mailbox.is_full(messages, bytes),
                Class::Credited => slot.mailbox.must_wait(message.from, messages, bytes),
                Class::Reserved => false,
            };
            if full {
                self.counts.count(Probe::Refused);
                return Err((Refused::Full, message));
            }
            self.deliver(to, message, class);
            return Ok(());
        }
        let Some(state) = self.node.state(to) else { return Err((Refused::NotFound, message)) };
        if class != Class::Reserved && !state.reserve(message.size(), messages, bytes) {
            self.counts.count(Probe::Refused);
            return Err((Refused::Full, message));
        }
        self.signal(to.shard(), Signal::Deliver { to, message, class });
        Ok(())
    }

    /// Puts a message that was accepted into a local mailbox; one for a dead process is dropped.
    pub(crate) fn deliver(&mut self, to: Pid, message: Message, class: Class) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else { return };
        slot.mailbox.push_message(message, class, &mut self.pool);
        self.counts.count(Probe::Delivered);
        let limits = &self.node.hosts[to.host()];
        if !slot.full && slot.mailbox.is_full(limits.mailbox_messages, limits.mailbox_bytes) {
            slot.full = true;
            if let Some(state) = self.node.state(to) {
                state.set_full(true);
            }
        }
        wake(slot, to, &mut self.ready);
    }

    /// Puts something that is never refused into a local mailbox.
    pub(crate) fn notify(&mut self, to: Pid, mail: Mail) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else { return };
        if let Mail::Event(Event::Cancel { .. }) = mail {
            if slot.mailbox.cancels >= limits::PENDING_CANCELS {
                return;
            }
            slot.mailbox.cancels += 1;
        }
        slot.mailbox.push_other(mail, &mut self.pool);
        wake(slot, to, &mut self.ready);
    }

    pub(crate) fn received(&mut self, pid: Pid, from: Pid, claim: Claim) {
        let Some(slot) = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid)) else { return };
        slot.mailbox.release(claim);
        let limits = &self.node.hosts[pid.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        if slot.full && !slot.mailbox.is_full(messages, bytes) {
            slot.full = false;
            if let Some(state) = self.node.state(pid) {
                state.set_full(false);
            }
        }
        let node = &self.node;
        let granted = slot.mailbox.grant(messages, bytes, |waiting| node.is_alive(waiting));
        if claim.receipt {
            self.return_credit(from, claim.bytes());
        }
        if let Some(waiting) = granted {
            self.tell_room(waiting, pid);
        }
    }

    /// Tells a sender that one of its messages no longer waits.
    pub(crate) fn return_credit(&mut self, to: Pid, bytes: u64) {
        if self.is_local(to) {
            self.take_receipts(to, 1, bytes);
            return;
        }
        let outgoing = &mut self.outgoing[to.shard()];
        // Receipts of one turn for one sender are one signal as long as nothing comes between them.
        if let Some(Signal::Receipts { to: last, messages, bytes: sum }) = outgoing.last_mut()
            && *last == to
        {
            *messages += 1;
            *sum += bytes;
            return;
        }
        outgoing.push(Signal::Receipts { to, messages: 1, bytes });
    }

    pub(crate) fn take_receipts(&mut self, to: Pid, messages: u32, bytes: u64) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else { return };
        slot.receipts.0 += messages;
        slot.receipts.1 += bytes;
        if std::mem::take(&mut slot.wake_on_receipts) {
            self.notify(to, Mail::Receipts);
        }
    }

    pub(crate) fn await_room(&mut self, from: Pid, to: Pid) {
        if !self.is_local(to) {
            return self.signal(to.shard(), Signal::AwaitRoom { from, to });
        }
        let limits = &self.node.hosts[to.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else {
            return self.tell_room(from, to);
        };
        slot.mailbox.wait_for_room(from);
        let node = &self.node;
        if let Some(waiting) = slot.mailbox.grant(messages, bytes, |waiting| node.is_alive(waiting)) {
            self.tell_room(waiting, to);
        }
    }

    fn tell_room(&mut self, to: Pid, of: Pid) {
        if self.is_local(to) {
            self.notify(to, Mail::Room(of));
        } else {
            self.signal(to.shard(), Signal::Room { to, of });
        }
    }

    // Beginning and end

    pub(crate) fn spawn(&mut self, parent: Option<Pid>, spawn: Spawn) -> Result<Pid, Error> {
        let spread = self.node.hosts[spawn.host].placement == Placement::Spread;
        let shard = if spread && matches!(spawn.body, Body::Seed(_)) { self.node.next_shard() } else { self.index };
        let pid = self.node.allocate(shard, spawn.host)?;
        if let Some(parent) = parent {
            self.relate_child(parent, pid, spawn.monitored, spawn.linked);
        }
        let monitor = parent.filter(|_| spawn.monitored);
        let link = parent.filter(|_| spawn.linked);
        match spawn.body {
            Body::Seed(seed) if shard != self.index => {
                // At once: from now on anybody may send to the PID, and nothing may arrive before its process.
                self.signal(shard, Signal::Spawn { pid, parent, seed, monitor, link });
                self.flush_to(shard);
            }
            Body::Seed(seed) => self.admit(pid, parent, Content::Seed(seed), monitor, link),
            Body::Here(process) => self.admit(pid, parent, Content::Process(process), monitor, link),
        }
        Ok(pid)
    }

    /// Gives a new process its slot.
    pub(crate) fn admit(
        &mut self,
        pid: Pid,
        parent: Option<Pid>,
        content: Content,
        monitor: Option<Pid>,
        link: Option<Pid>,
    ) {
        self.counts.count(Probe::Spawned);
        let slot = self.slots.grow(pid.slot());
        *slot = Slot { content, pid: Some(pid), parent, run: Run::Queued, ..Slot::default() };
        if let Some(watcher) = monitor {
            slot.relations().watchers.insert(watcher);
        }
        if let Some(partner) = link {
            slot.relations().links.insert(partner);
            self.counts.links += 1;
        }
        self.ready.push_back(pid);
    }

    /// Dooms a process with an exit; the first exit counts.
    pub(crate) fn terminate(&mut self, to: Pid, exit: Exit) -> Result<(), Refused> {
        if !self.is_local(to) {
            if !self.node.is_alive(to) {
                return Err(Refused::NotFound);
            }
            self.signal(to.shard(), Signal::Terminate { to, exit });
            return Ok(());
        }
        let Some(slot) = self.slot_mut(to) else { return Err(Refused::NotFound) };
        if slot.doomed.is_some() {
            return Err(Refused::NotFound);
        }
        slot.doomed = Some(exit);
        self.doomed.push_back(to);
        Ok(())
    }

    /// Ends a doomed process: frees its slot, releases all it held, tells all who are related.
    /// The exit and the process, for its last call.
    pub(crate) fn end(&mut self, pid: Pid) -> Option<(Exit, Content)> {
        let slot = self.slot_mut(pid)?;
        if slot.run == Run::Running && matches!(slot.content, Content::Away) {
            return None;
        }
        let exit = slot.doomed.take()?;
        let mut slot = std::mem::take(slot);
        self.node.retire(pid);
        self.counts.count(if exit.is_failure() { Probe::Failed } else { Probe::Returned });
        self.wheel.cancel_all(&mut slot.timers);
        let relations = slot.take_relations();
        for name in &relations.names {
            self.node.names.release(name, pid);
        }
        // Senders with credit get it back: what they sent is received by nobody, and waits no longer.
        while let Some((mail, claim)) = slot.mailbox.pop(&mut self.pool) {
            if let Mail::Message(message) = mail
                && claim.receipt
            {
                self.return_credit(message.from, claim.bytes());
            }
        }
        for waiting in slot.mailbox.take_waiting() {
            self.tell_room(waiting, pid);
        }
        self.tell_relations(pid, relations, &Arc::new(exit.clone()));
        Some((exit, slot.content))
    }

    pub(crate) fn cancel(&mut self, from: Pid, to: Pid, reason: Option<&str>) -> Result<(), Refused> {
        if !self.is_alive(to) {
            return Err(Refused::NotFound);
        }
        let event = Event::Cancel { from, reason: reason.map(Into::into), at: self.now };
        self.tell(to, event);
        Ok(())
    }

    pub(crate) fn tell(&mut self, to: Pid, event: Event) {
        if self.is_local(to) {
            self.notify(to, Mail::Event(event));
        } else {
            self.signal(to.shard(), Signal::Event { to, event });
        }
    }

    // Names and timers

    pub(crate) fn register(&mut self, name: &SmolStr, pid: Pid) -> Result<(), Error> {
        if !self.is_alive(pid) {
            return Err(Error::new(Kind::NotFound, format!("{} does not live", pid.text(&self.node.hosts))));
        }
        if let Some(slot) = self.slot_mut(pid)
            && slot.relations().names.len() >= limits::NAMES_PER_PROCESS
        {
            return Err(Error::new(
                Kind::Unavailable,
                format!("a process holds at most {} names", limits::NAMES_PER_PROCESS),
            ));
        }
        if let Err(holder) = self.node.names.register(name, pid) {
            let text = format!("the name \"{name}\" is held by {}", holder.text(&self.node.hosts));
            return Err(Error::new(Kind::AlreadyExists, text));
        }
        match self.slot_mut(pid) {
            Some(slot) => slot.relations().names.push(name.clone()),
            None => self.signal(pid.shard(), Signal::Named { name: name.clone(), pid }),
        }
        Ok(())
    }

    pub(crate) fn unregister(&mut self, pid: Pid, name: &str) -> bool {
        let released = self.node.names.release(name, pid);
        if released && let Some(slot) = self.slot_mut(pid) {
            slot.relations().names.retain(|held| held != name);
        }
        released
    }

    pub(crate) fn set_timer(&mut self, pid: Pid, at: Time, token: u64) -> Result<TimerId, Error> {
        let dead = || Error::new(Kind::NotFound, "the process has ended");
        let slot = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid)).ok_or_else(dead)?;
        if slot.timers.count >= limits::TIMERS_PER_PROCESS {
            let text = format!("a process has at most {} timers running", limits::TIMERS_PER_PROCESS);
            return Err(Error::new(Kind::Unavailable, text));
        }
        Ok(self.wheel.set(at, pid, token, &mut slot.timers))
    }

    pub(crate) fn cancel_timer(&mut self, pid: Pid, id: TimerId) -> bool {
        match self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid)) {
            Some(slot) => self.wheel.cancel(id, pid, &mut slot.timers),
            None => false,
        }
    }

    pub(crate) fn fire_timers(&mut self) {
        while let Some((entry, pid, token)) = self.wheel.pop_due(self.now) {
            // A process takes its timers with it, so a timer's owner lives.
            let Some(slot) = self.slots.get_mut(pid.slot()) else { continue };
            self.wheel.fired(entry, &mut slot.timers);
            self.notify(pid, Mail::Timer(token));
        }
    }
}

fn wake(slot: &mut Slot, pid: Pid, ready: &mut VecDeque<Pid>) {
    match slot.run {
        Run::Idle => {
            slot.run = Run::Queued;
            ready.push_back(pid);
        }
        Run::Running => slot.fresh = true,
        Run::Queued => {}
    }
}
