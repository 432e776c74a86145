//! Links and monitors, on one shard and between two.

use super::core::Core;
use super::slot::Relations;
use crate::error::{Error, Kind, Stopped};
use crate::limits;
use crate::message::{Event, Exit};
use crate::node::{Signal, SlotState};
use crate::pid::Pid;
use std::sync::Arc;

impl Core {
    fn not_found(&self, pid: Pid) -> Error {
        Error::new(Kind::NotFound, format!("{} does not live", pid.text(&self.node.hosts)))
    }

    pub(crate) fn monitor(&mut self, from: Pid, to: Pid) -> Result<(), Error> {
        self.meet(to);
        if !self.is_alive(to) {
            return Err(self.not_found(to));
        }
        self.has_room_for_relations(from, 1)?;
        let Some(slot) = self.slot_mut(from) else { return Ok(()) };
        if !slot.relations().watching.insert(to) {
            let text = format!("{} is monitored already", to.text(&self.node.hosts));
            return Err(Error::new(Kind::AlreadyExists, text));
        }
        self.counts.monitors += 1;
        if let Some(slot) = self.slot_mut(to) {
            slot.relations().watchers.insert(from);
        } else if self.expect(to) {
            self.signal(to.shard(), Signal::Monitor { from, to });
        } else {
            self.forget_watched(from, to);
            return Err(self.not_found(to));
        }
        Ok(())
    }

    pub(crate) fn unmonitor(&mut self, from: Pid, to: Pid) -> bool {
        if !self.forget_watched(from, to) {
            return false;
        }
        self.remove_watcher(to, from);
        true
    }

    /// Whether more than one process monitors a local one; said of all others.
    pub(crate) fn is_shared(&self, pid: Pid) -> bool {
        let watched_by_many = |relations: &Relations| relations.watchers.len() > 1;
        self.slot(pid).is_none_or(|slot| slot.relations.as_deref().is_some_and(watched_by_many))
    }

    /// `watched` forgets that `watcher` monitors it.
    pub(crate) fn remove_watcher(&mut self, watched: Pid, watcher: Pid) {
        if !self.is_local(watched) {
            return self.signal(watched.shard(), Signal::Unmonitor { from: watcher, to: watched });
        }
        if let Some(slot) = self.slot_mut(watched) {
            slot.relations().watchers.remove(watcher);
        }
    }

    /// Whether `from` monitored `to`; it no longer does.
    fn forget_watched(&mut self, from: Pid, to: Pid) -> bool {
        let known = self.slot_mut(from).is_some_and(|slot| slot.relations().watching.remove(to));
        self.counts.monitors -= u64::from(known);
        known
    }

    pub(crate) fn link(&mut self, from: Pid, to: Pid) -> Result<(), Error> {
        self.meet(to);
        if !self.is_alive(to) {
            return Err(self.not_found(to));
        }
        self.has_room_for_relations(from, 1)?;
        if self.is_local(to) {
            self.has_room_for_relations(to, 1)?;
        }
        if from == to || !self.add_link(from, to) {
            return Ok(());
        }
        if self.is_local(to) {
            self.add_link(to, from);
        } else if self.expect(to) {
            if let Some(slot) = self.slot_mut(from) {
                slot.rare_mut().map(|rare| rare.unlinking.remove(&to));
            }
            self.signal(to.shard(), Signal::Link { from, to });
        } else {
            self.remove_link(from, to);
            return Err(self.not_found(to));
        }
        Ok(())
    }

    /// A process elsewhere has linked itself with one of this shard.
    pub(super) fn link_arrived(&mut self, from: Pid, to: Pid) {
        let Some(slot) = self.slot_mut(to) else { return self.link_fired(to, from, self.exit_of(to)) };
        // It was sent before its sender knew that the link was ended here, so it is ended.
        if slot.rare_mut().is_some_and(|rare| rare.unlinking.contains_key(&from)) {
            return;
        }
        match self.has_room_for_relations(to, 1) {
            Ok(()) => _ = self.add_link(to, from),
            Err(error) => self.link_fired(to, from, Arc::new(Exit::failed(error))),
        }
    }

    /// Whether the local half of a link is new.
    pub(crate) fn add_link(&mut self, on: Pid, with: Pid) -> bool {
        let new = self.slot_mut(on).is_some_and(|slot| slot.relations().links.insert(with));
        self.counts.links += u64::from(new);
        new
    }

    pub(crate) fn remove_link(&mut self, on: Pid, with: Pid) -> bool {
        let known = self.slot_mut(on).is_some_and(|slot| slot.relations().links.remove(with));
        self.counts.links -= u64::from(known);
        known
    }

    pub(crate) fn unlink(&mut self, from: Pid, to: Pid) -> bool {
        let known = self.remove_link(from, to);
        if known && self.is_local(to) {
            self.remove_link(to, from);
        } else if known {
            self.unlinks = self.unlinks.wrapping_add(1);
            let number = self.unlinks;
            if let Some(slot) = self.slot_mut(from) {
                slot.rare().unlinking.insert(to, number);
            }
            self.signal(to.shard(), Signal::Unlink { from, to, number });
        }
        known
    }

    /// `with` has heard that `on` ended their link: what comes from it now counts again.
    pub(super) fn unlinked(&mut self, on: Pid, with: Pid, number: u32) {
        if let Some(rare) = self.slot_mut(on).and_then(|slot| slot.rare_mut())
            && rare.unlinking.get(&with) == Some(&number)
        {
            rare.unlinking.remove(&with);
        }
    }

    // Between two shards: a monitor or a link may arrive when its process has ended

    fn expect(&self, to: Pid) -> bool {
        self.node.place(to).is_some_and(|state| state.expect(to))
    }

    pub(super) fn expected_arrived(&self, to: Pid) {
        if let Some(state) = self.node.place(to) {
            state.expected_arrived();
        }
    }

    /// How a process ended that was told to expect this question.
    pub(super) fn exit_of(&self, pid: Pid) -> Arc<Exit> {
        self.kept.get(&pid).cloned().unwrap_or_default()
    }

    /// Forgets the ends of those about whom no question is on its way.
    pub(super) fn forget_kept(&mut self) {
        let node = &self.node;
        self.kept.retain(|&pid, _| node.place(pid).is_some_and(SlotState::is_expecting));
    }

    // Their number

    /// An error that names the limit if a process can have no further links and monitors.
    pub(super) fn has_room_for_relations(&self, pid: Pid, more: usize) -> Result<(), Error> {
        let Some(relations) = self.slot(pid).and_then(|slot| slot.relations.as_ref()) else { return Ok(()) };
        let most = limits::RELATIONS_PER_PROCESS;
        let most_bytes = self.node.hosts[pid.host()].mailbox_bytes;
        let text = if relations.count() + more > most {
            format!("a process has at most {most} links, monitors and unread EXITs together")
        } else if relations.unread_bytes >= most_bytes {
            format!("its unread EXITs hold {} bytes: mailbox_bytes is {most_bytes}", relations.unread_bytes)
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Unavailable, text))
    }

    /// A process has the end of another one to read.
    pub(crate) fn end_waits(&mut self, pid: Pid, exit: &Exit) {
        if let Some(slot) = self.slot_mut(pid) {
            slot.end_waits(exit);
        }
    }

    /// It has read it.
    pub(crate) fn end_read(&mut self, pid: Pid, exit: &Exit) {
        if let Some(relations) = self.slot_mut(pid).and_then(|slot| slot.relations.as_mut()) {
            relations.unread = relations.unread.saturating_sub(1);
            relations.unread_bytes = relations.unread_bytes.saturating_sub(exit.size());
        }
    }

    /// The parent's half of the relations that a child is born with.
    pub(crate) fn relate_child(&mut self, parent: Pid, child: Pid, monitored: bool, linked: bool) {
        if monitored && let Some(slot) = self.slot_mut(parent) {
            slot.relations().watching.insert(child);
            self.counts.monitors += 1;
        }
        if linked {
            self.add_link(parent, child);
        }
    }

    /// A process has ended: monitors fire, links fire if it failed, and nobody remembers it.
    pub(crate) fn tell_relations(&mut self, pid: Pid, relations: Relations, exit: &Arc<Exit>) {
        self.counts.links -= relations.links.len() as u64;
        self.counts.monitors -= relations.watching.len() as u64;
        for watcher in relations.watchers.into_sorted() {
            self.monitor_fired(pid, watcher, exit.clone());
        }
        for partner in relations.links.into_sorted() {
            self.link_fired(pid, partner, exit.clone());
        }
        for watched in relations.watching.into_sorted() {
            self.remove_watcher(watched, pid);
        }
    }

    /// The end of `from` reaches one of its monitors.
    pub(crate) fn monitor_fired(&mut self, from: Pid, watcher: Pid, exit: Arc<Exit>) {
        let event = Event::Exit { from, exit, at: self.now };
        if !self.is_local(watcher) {
            return self.signal(watcher.shard(), Signal::Event { to: watcher, event });
        }
        if self.forget_watched(watcher, from) {
            self.tell(watcher, event);
        }
    }

    /// The end of `from` reaches one of its links.
    pub(crate) fn link_fired(&mut self, from: Pid, to: Pid, exit: Arc<Exit>) {
        if !self.is_local(to) {
            return self.signal(to.shard(), Signal::LinkFired { from, to, exit });
        }
        if !self.remove_link(to, from) || !exit.is_failure() {
            return;
        }
        if self.slot_mut(to).is_some_and(|slot| slot.trap_links) {
            return self.tell(to, Event::LinkDown { from, exit, at: self.now });
        }
        let why = exit.error.as_ref().map_or("", |error| &*error.message);
        let text = format!("linked process {} failed: {why}", from.text(&self.node.hosts));
        let mut error = Error::new(Kind::Canceled, text).stopped(Stopped::Link);
        error.retryable = false;
        // Dead already: then it has told its own links.
        let _dead = self.terminate(to, Exit::failed(error));
    }
}
