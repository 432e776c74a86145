//! Links and monitors, on one shard and between two.

use super::core::Core;
use super::slot::Relations;
use crate::error::{Error, Kind};
use crate::message::{Event, Exit};
use crate::node::Signal;
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
        let Some(slot) = self.slot_mut(from) else { return Ok(()) };
        if !slot.relations().watching.insert(to) {
            let text = format!("{} is monitored already", to.text(&self.node.hosts));
            return Err(Error::new(Kind::AlreadyExists, text));
        }
        self.counts.monitors += 1;
        match self.slot_mut(to) {
            Some(slot) => {
                slot.relations().watchers.insert(from);
            }
            None => self.signal(to.shard(), Signal::Monitor { from, to }),
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
        if from == to || !self.add_link(from, to) {
            return Ok(());
        }
        if self.is_local(to) {
            self.add_link(to, from);
        } else {
            self.signal(to.shard(), Signal::Link { from, to });
        }
        Ok(())
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
            self.signal(to.shard(), Signal::Unlink { from, to });
        }
        known
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
        let mut error = Error::new(Kind::Canceled, text);
        error.retryable = false;
        // Dead already: then it has told its own links.
        let _dead = self.terminate(to, Exit::failed(error));
    }
}
