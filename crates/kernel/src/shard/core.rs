//! A shard without its factory: what a running process acts on.

use super::load::Load;
use super::outdated::Outdating;
use super::slot::{Content, Run, Slot, Slots};
use crate::error::{Error, Kind};
use crate::host::Placement;
use crate::limits;
use crate::mailbox::{Claim, Class, Pool};
use crate::message::{Event, Exit, Mail, Message};
use crate::node::{Birth, NameRefused, Node, Signal, SlotState};
use crate::pid::Pid;
use crate::probe::{Counts, Probe};
use crate::process::{Body, Refused, Spawn};
use crate::timers::{Due, Time, TimerId, Wheel};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) struct Core {
    pub(crate) node: Arc<Node>,
    pub(crate) index: usize,
    pub(crate) now: Time,
    pub(super) slots: Slots,
    pub(crate) ready: VecDeque<Pid>,
    /// Those that used up their last slice.
    pub(crate) spun: VecDeque<Pid>,
    /// Those that are to be ended before anything else happens.
    pub(crate) doomed: VecDeque<Pid>,
    pub(crate) wheel: Wheel,
    due: Vec<Due>,
    pool: Pool,
    /// Signals for each shard, since the last flush.
    pub(super) outgoing: Vec<Vec<Signal>>,
    /// The list that is swapped with the inbox.
    pub(super) incoming: Vec<Signal>,
    /// How those ended to whom a monitor or a link was on its way when they did, until it has arrived.
    pub(super) kept: FxHashMap<Pid, Arc<Exit>>,
    /// The number of the last `Unlink`.
    pub(super) unlinks: u32,
    pub(crate) counts: Counts,
    /// The messages of the deepest mailbox that one was put into since the last flush.
    deepest: u32,
    pub(super) outdating: Outdating,
    pub(super) load: Load,
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
            due: Vec::new(),
            pool: Pool::default(),
            outgoing,
            incoming: Vec::new(),
            kept: FxHashMap::default(),
            unlinks: 0,
            counts: Counts::default(),
            deepest: 0,
            outdating: Outdating::default(),
            load: Load::default(),
        }
    }

    pub(crate) fn is_local(&self, pid: Pid) -> bool {
        pid.shard() == self.index
    }

    #[inline]
    pub(crate) fn slot(&self, pid: Pid) -> Option<&Slot> {
        self.slots.get(pid.slot()).filter(|slot| slot.pid == Some(pid))
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, pid: Pid) -> Option<&mut Slot> {
        self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid))
    }

    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        self.slot(pid).is_none_or(|slot| slot.doomed.is_none()) && self.node.is_alive(pid)
    }

    /// A signal for another shard; it leaves with the next flush.
    pub(crate) fn signal(&mut self, shard: usize, signal: Signal) {
        self.outgoing[shard].push(signal);
    }

    pub(crate) fn flush(&mut self) {
        self.node.push_all(&mut self.outgoing);
        self.publish_load();
        self.counts.timers = u64::from(self.wheel.live);
        let gauges = self.node.gauges_of(self.index);
        gauges.deepest_mailbox.note(self.now.0, u64::from(std::mem::take(&mut self.deepest)));
        self.counts.publish(gauges);
    }

    /// Makes sure that a living process of this shard has its slot. Its name is known to all as soon as it has one,
    /// which may be before this shard took the signal that brings the process.
    pub(crate) fn meet(&mut self, pid: Pid) {
        if self.is_local(pid) && self.slot(pid).is_none() && self.node.is_alive(pid) {
            self.take_signals();
        }
    }

    // Mail

    pub(crate) fn next_mail(&mut self, pid: Pid) -> Option<(Mail, Claim)> {
        let slot = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid))?;
        // Handed on as it lies there: it is large.
        let taken = slot.mailbox.pop(&mut self.pool);
        match taken.as_ref().map(|(mail, _)| mail) {
            Some(Mail::Event(Event::Cancel { .. })) => slot.mailbox.cancels -= 1,
            Some(Mail::Event(Event::Exit { exit, .. } | Event::LinkDown { exit, .. })) => self.end_read(pid, exit),
            Some(Mail::Timer(_)) => slot.mailbox.timers -= 1,
            Some(&Mail::Room(of)) => self.turn_came(pid, of),
            Some(Mail::Outdated) => slot.outdated = false,
            _ => {}
        }
        taken
    }

    pub(crate) fn send(&mut self, to: Pid, message: Message, class: Class) -> Result<(), (Refused, Message)> {
        if !self.is_local(to) {
            return self.send_far(to, message, class);
        }
        if self.slot(to).is_none() {
            self.meet(to);
        }
        let limits = &self.node.hosts[to.host()];
        let Some(slot) = self.slot(to).filter(|slot| slot.doomed.is_none() && !slot.sealed) else {
            return Err((Refused::NotFound, message));
        };
        let last = slot.heeds_last && self.is_last(to, &message);
        let full = match class {
            Class::Reserved => false,
            // Who can wait does not overtake those who do. Whoever was granted room is awaited, too.
            Class::Credited { .. } if slot.mailbox.is_awaited() => !self.use_grant(message.from, to),
            _ => slot.mailbox.is_full(limits.mailbox_messages, limits.mailbox_bytes),
        };
        if full {
            self.counts.count(Probe::Refused);
            return Err((Refused::Full, message));
        }
        self.deliver(to, message, class);
        if last && let Some(slot) = self.slot_mut(to) {
            slot.sealed = true;
            self.node.seal(to);
        }
        Ok(())
    }

    /// Sends to a process of another shard.
    fn send_far(&mut self, to: Pid, message: Message, class: Class) -> Result<(), (Refused, Message)> {
        if !self.node.is_alive(to) {
            return Err((Refused::NotFound, message));
        }
        let limits = &self.node.hosts[to.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        let patient = class.period().is_some();
        let granted = patient && self.use_grant(message.from, to);
        let reserved = match self.node.state(to) {
            _ if class == Class::Reserved => true,
            Some(state) if granted => {
                state.reserve_granted(message.size());
                true
            }
            Some(state) => state.reserve(message.size(), messages, bytes, patient),
            None => return Err((Refused::NotFound, message)),
        };
        if !reserved {
            self.counts.count(Probe::Refused);
            return Err((Refused::Full, message));
        }
        let last = self.is_last(to, &message);
        self.signal(to.shard(), Signal::Deliver { to, message, class });
        if last {
            self.node.seal(to);
        }
        Ok(())
    }

    /// Whether nothing follows a message, for a process that heeds that.
    pub(super) fn is_last(&self, to: Pid, message: &Message) -> bool {
        self.node.hosts[to.host()].last_topic.as_ref() == Some(&message.topic)
    }

    /// See [`crate::Cx::heed_last_topic`].
    pub(crate) fn heed_last(&mut self, pid: Pid) {
        if let Some(slot) = self.slot_mut(pid) {
            slot.heeds_last = true;
            if let Some(state) = self.node.state(pid) {
                state.heed_last();
            }
        }
    }

    /// Puts a message that was accepted into a local mailbox; one for a dead process is dropped.
    #[inline]
    pub(crate) fn deliver(&mut self, to: Pid, message: Message, class: Class) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else { return };
        let from = message.from;
        let bytes = slot.mailbox.push_message(message, class, &mut self.pool);
        let (depth, _) = slot.mailbox.waiting();
        wake(slot, to, &mut self.ready);
        let limits = &self.node.hosts[to.host()];
        let is_roomy = slot.is_roomy() && !slot.mailbox.is_full(limits.mailbox_messages, limits.mailbox_bytes);
        self.counts.count(Probe::Delivered);
        self.counts.took(bytes);
        self.deepest = self.deepest.max(depth);
        if !is_roomy {
            self.took_message(to, from, class);
        }
    }

    /// Dooms a process if `of` spawned it.
    pub(crate) fn terminate_child(&mut self, of: Pid, to: Pid, exit: Exit) {
        if !self.is_local(to) {
            if self.node.is_alive(to) {
                self.signal(to.shard(), Signal::TerminateChild { of, to, exit });
            }
            return;
        }
        if self.slot(to).is_some_and(|slot| slot.parent == Some(of)) {
            let _dead_already = self.terminate(to, exit);
        }
    }

    /// Puts something that is never refused into a local mailbox.
    pub(crate) fn notify(&mut self, to: Pid, mut mail: Mail) {
        let Some(slot) = self.slots.get_mut(to.slot()).filter(|slot| slot.pid == Some(to)) else { return };
        if let Mail::Event(Event::Cancel { .. }) = mail {
            if slot.mailbox.cancels >= limits::PENDING_CANCELS {
                return;
            }
            slot.mailbox.cancels += 1;
        }
        if let Mail::Event(Event::Exit { exit, .. } | Event::LinkDown { exit, .. }) = &mut mail {
            let limit = self.node.hosts[to.host()].mailbox_bytes;
            if slot.has_unread_ends(limit) && exit.is_large() {
                *exit = Arc::new(exit.in_short(limit));
            }
            slot.end_waits(exit);
        }
        slot.mailbox.timers += u16::from(matches!(mail, Mail::Timer(_)));
        slot.mailbox.push_other(mail, &mut self.pool);
        wake(slot, to, &mut self.ready);
    }

    // Beginning and end

    /// Spawns a process; with a name, it holds that before it runs. `ALREADY_EXISTS` if a living process holds it.
    pub(crate) fn spawn(
        &mut self,
        parent: Option<Pid>,
        spawn: Spawn,
        name: Option<SmolStr>,
        first: Option<Message>,
    ) -> Result<Pid, Error> {
        let spread = self.node.hosts[spawn.host].placement == Placement::Spread;
        let shard = match &spawn.body {
            Body::Here(_) => self.index,
            Body::Seed(_) if spread => self.node.next_shard(),
            // The answer of one that begins here must not be seen before what it sent: it stays with its connection.
            Body::Seed(_) if parent.is_none() => self.index,
            Body::Seed(_) => self.place_child(),
        };
        if shard != self.index && !spread {
            self.counts.passed_on += 1;
        }
        if let Some(parent) = parent.filter(|_| spawn.monitored || spawn.linked) {
            self.has_room_for_relations(parent, usize::from(spawn.monitored) + usize::from(spawn.linked))?;
        }
        if let Some(name) = &name {
            self.free_from_dead(name);
        }
        let pid = self.node.allocate(shard, spawn.host)?;
        let Spawn { body, monitored, linked, .. } = spawn;
        let (monitor, link) = (parent.filter(|_| monitored), parent.filter(|_| linked));
        let birth = Birth { parent, monitor, link, name: name.clone(), first };
        let content = match body {
            Body::Seed(seed) if shard != self.index => {
                // At once: from now on anybody may send to the PID, and nothing may arrive before its process. With all
                // that was sent before, so that nothing which the process causes can overtake it.
                self.node.push_all(&mut self.outgoing);
                match self.node.push_birth(pid, seed, birth) {
                    Ok(()) => None,
                    Err(refused) => return Err(self.unborn(pid, name.as_deref(), refused)),
                }
            }
            body => {
                if let Some(name) = &birth.name
                    && let Err(refused) = self.node.take_name(name, pid)
                {
                    return Err(self.unborn(pid, Some(name), refused));
                }
                let content = match body {
                    Body::Seed(seed) => Content::Seed(seed),
                    Body::Here(process) => Content::Process(process),
                };
                Some((content, birth))
            }
        };
        // What becomes of a process elsewhere is not heard of here before this turn is over.
        if let Some(parent) = parent {
            self.relate_child(parent, pid, monitored, linked);
        }
        if let Some((content, birth)) = content {
            self.admit(pid, content, birth);
        }
        Ok(pid)
    }

    /// Takes back the PID of a process that could not have its name: nobody has seen it.
    fn unborn(&mut self, pid: Pid, name: Option<&str>, refused: NameRefused) -> Error {
        self.node.retire(pid);
        self.name_refused(name.unwrap_or_default(), pid, &refused)
    }

    /// A process that is about to be ended here keeps no name from its successor.
    fn free_from_dead(&self, name: &str) {
        if let Some(holder) = self.node.lookup(name)
            && !self.is_alive(holder)
        {
            self.node.release_name(name, holder);
        }
    }

    /// Gives a new process its slot.
    pub(crate) fn admit(&mut self, pid: Pid, content: Content, birth: Birth) {
        self.counts.count(Probe::Spawned);
        let Birth { parent, monitor, link, name, first } = birth;
        let slot = self.slots.grow(pid.slot());
        *slot = Slot { content, pid: Some(pid), parent, run: Run::Queued, ..Slot::default() };
        if let Some(watcher) = monitor {
            slot.relations().watchers.insert(watcher);
        }
        if let Some(partner) = link {
            slot.relations().links.insert(partner);
            self.counts.links += 1;
        }
        if let Some(name) = name {
            slot.rare().names.push(name);
        }
        self.ready.push_back(pid);
        if let Some(first) = first {
            self.deliver(pid, first, Class::Reserved);
        }
    }

    /// Dooms a process with an exit; the first exit counts.
    pub(crate) fn terminate(&mut self, to: Pid, exit: Exit) -> Result<(), Refused> {
        if !self.is_local(to) {
            match self.node.order_end(to) {
                None => return Err(Refused::NotFound),
                Some(true) => self.signal(to.shard(), Signal::Terminate { to, exit }),
                Some(false) => {}
            }
            return Ok(());
        }
        self.meet(to);
        let Some(slot) = self.slot_mut(to) else { return Err(Refused::NotFound) };
        if slot.doomed.is_some() {
            return Err(Refused::NotFound);
        }
        slot.doomed = Some(Arc::new(exit));
        self.doomed.push_back(to);
        Ok(())
    }

    /// Ends a doomed process: frees its slot, releases all it held, tells all who are related.
    /// The exit and the process, for its last call.
    pub(crate) fn end(&mut self, pid: Pid) -> Option<(Arc<Exit>, Content)> {
        let slot = self.slot_mut(pid)?;
        if slot.run == Run::Running && matches!(slot.content, Content::Away) {
            return None;
        }
        let exit = slot.doomed.take()?;
        let mut slot = std::mem::take(slot);
        let expected = self.node.retire(pid);
        self.counts.count(if exit.is_failure() { Probe::Failed } else { Probe::Returned });
        self.node.gauges_of(self.index).ended(&exit);
        let (messages, bytes) = slot.mailbox.waiting();
        self.counts.gave(messages, bytes);
        self.wheel.cancel_all(&mut slot.timers);
        let mut relations = slot.take_relations();
        let rare = relations.take_rare();
        for name in &rare.names {
            self.node.release_name(name, pid);
        }
        self.leave_all(pid);
        self.node.subscriptions.remove(pid, &rare.subscriptions);
        // Senders with credit get it back: what they sent is received by nobody, and waits no longer.
        while let Some((mail, claim)) = slot.mailbox.pop(&mut self.pool) {
            if let Mail::Message(message) = mail
                && let Some(period) = claim.receipt
            {
                self.return_credit(message.from, period, claim.bytes());
            }
        }
        for waiting in slot.mailbox.take_waiting() {
            self.tell_room(waiting, pid);
        }
        for &(of, _) in &rare.turns {
            self.leave_room(pid, of);
        }
        if expected {
            self.kept.insert(pid, exit.clone());
        }
        self.tell_relations(pid, relations, &exit);
        Some((exit, slot.content))
    }

    pub(crate) fn cancel(&mut self, from: Pid, to: Pid, reason: Option<&str>) -> Result<(), Refused> {
        self.meet(to);
        if !self.is_alive(to) {
            return Err(Refused::NotFound);
        }
        if self.is_local(to) || self.node.state(to).is_some_and(SlotState::reserve_cancel) {
            self.tell(to, Event::Cancel { from, reason: reason.map(Into::into), at: self.now });
        }
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
        self.meet(pid);
        let taken = if self.is_alive(pid) { self.node.take_name(name, pid) } else { Err(NameRefused::Dead) };
        match taken {
            Err(refused) => Err(self.name_refused(name, pid, &refused)),
            Ok(()) => {
                if self.is_local(pid) {
                    self.named(name.clone(), pid);
                } else {
                    self.signal(pid.shard(), Signal::Named { name: name.clone(), pid });
                }
                Ok(())
            }
        }
    }

    fn name_refused(&self, name: &str, pid: Pid, refused: &NameRefused) -> Error {
        let text = |pid: Pid| pid.text(&self.node.hosts);
        match *refused {
            NameRefused::Dead => Error::new(Kind::NotFound, format!("{} does not live", text(pid))),
            NameRefused::TooMany => {
                Error::new(Kind::Unavailable, format!("a process holds at most {} names", limits::NAMES_PER_PROCESS))
            }
            NameRefused::HeldBy(holder) => {
                Error::new(Kind::AlreadyExists, format!("the name \"{name}\" is held by {}", text(holder)))
            }
        }
    }

    /// A process of this shard was given a name, which it takes with it when it ends.
    pub(crate) fn named(&mut self, name: SmolStr, pid: Pid) {
        // It may have given the name up before it learned here that it has it.
        let holds = self.node.lookup(&name) == Some(pid);
        match self.slot_mut(pid) {
            Some(slot) => {
                let names = &mut slot.rare().names;
                if holds && !names.contains(&name) {
                    names.push(name);
                }
            }
            None => {
                self.node.release_name(&name, pid);
            }
        }
    }

    pub(crate) fn unregister(&mut self, pid: Pid, name: &str) -> bool {
        let released = self.node.release_name(name, pid);
        if released && let Some(slot) = self.slot_mut(pid) {
            slot.rare().names.retain(|held| held != name);
        }
        released
    }

    pub(crate) fn set_timer(&mut self, pid: Pid, at: Time, token: u64) -> Result<TimerId, Error> {
        let dead = || Error::new(Kind::NotFound, "the process has ended");
        let slot = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid)).ok_or_else(dead)?;
        // Those that went off and were not read count too: they are a queue like any other.
        if slot.timers.count + u32::from(slot.mailbox.timers) >= limits::TIMERS_PER_PROCESS {
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

    pub(crate) fn cancel_timers(&mut self, pid: Pid) {
        if let Some(slot) = self.slots.get_mut(pid.slot()).filter(|slot| slot.pid == Some(pid)) {
            self.wheel.cancel_all(&mut slot.timers);
        }
    }

    pub(crate) fn fire_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_due(self.now, &mut due);
        for Due { entry, pid, token } in due.drain(..) {
            // A process takes its timers with it, so a timer's owner lives.
            let Some(slot) = self.slots.get_mut(pid.slot()) else { continue };
            self.wheel.fired(entry, &mut slot.timers);
            self.notify(pid, Mail::Timer(token));
        }
        self.due = due;
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
