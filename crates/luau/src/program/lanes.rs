//! Lanes: the channels of a program that mail arrives on, and its timers.
//!
//! Lane 0 is the inbox, lane 1 the events; each `process.listen` has one more. A message on a lane that the program
//! has not received still counts in the process's mailbox.

use super::tasks::TaskId;
use crate::state::State;
use kernel::{Change, Claim, Cx, Event, Message, TimerId, Topic};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::os::raw::c_int;

pub(crate) const INBOX: u32 = 0;
pub(crate) const EVENTS: u32 = 1;

/// Joins and leaves that may wait before they are looked through.
const MANY_CHANGES: usize = 1024;

/// What a lane carries.
pub(crate) enum Item {
    Message(Message, Claim),
    Event(Event),
    Change(Change),
}

#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) items: VecDeque<Item>,
    /// Tasks that wait for the lane, with the turn in which they began to.
    pub(crate) waiters: VecDeque<(TaskId, u32)>,
    pub(crate) closed: bool,
}

impl Lane {
    /// Puts a join or leave behind the others. When many wait, those that cancel out go: a program that does not
    /// receive its events holds no more of them than there are members.
    pub(crate) fn push_change(&mut self, change: Change) {
        self.items.push_back(Item::Change(change));
        if self.items.len() >= MANY_CHANGES && self.items.len().is_power_of_two() {
            self.cancel_out();
        }
    }

    fn cancel_out(&mut self) {
        // Of one process's joins and leaves, which take turns, an even number is none and an odd one is the last.
        let mut odd = FxHashSet::default();
        for item in &self.items {
            if let Item::Change(change) = item {
                let key = (change.group.clone(), change.pid);
                if !odd.remove(&key) {
                    odd.insert(key);
                }
            }
        }
        let mut kept: VecDeque<Item> = VecDeque::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_back() {
            if let Item::Change(change) = &item
                && !odd.remove(&(change.group.clone(), change.pid))
            {
                continue;
            }
            kept.push_front(item);
        }
        self.items = kept;
    }

    /// Drops the joins and leaves of a group.
    pub(crate) fn forget_group(&mut self, group: &str) {
        self.items.retain(|item| !matches!(item, Item::Change(change) if change.group == group));
    }
}

/// A timer that puts ticks into a channel.
pub(crate) struct ChannelTimer {
    /// The channel, as a registry reference.
    pub(crate) channel: c_int,
    /// Nanoseconds between ticks; `None` for a single one.
    pub(crate) every: Option<u64>,
    pub(crate) due: u64,
    pub(crate) id: Option<TimerId>,
}

pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    topics: FxHashMap<Topic, u32>,
    timers: FxHashMap<u64, ChannelTimer>,
    next_timer: u64,
}

impl Default for Lanes {
    fn default() -> Lanes {
        let lanes = vec![Lane::default(), Lane::default()];
        Lanes { lanes, topics: FxHashMap::default(), timers: FxHashMap::default(), next_timer: 1 }
    }
}

impl Lanes {
    pub(crate) fn get(&mut self, lane: u32) -> &mut Lane {
        let index = (lane as usize).min(self.lanes.len() - 1);
        &mut self.lanes[index]
    }

    /// The lane that a message belongs on.
    pub(crate) fn of_topic(&self, topic: &Topic) -> u32 {
        if self.topics.is_empty() { INBOX } else { self.topics.get(topic).copied().unwrap_or(INBOX) }
    }

    /// The lane of a topic, made if there is none; and whether it is new.
    pub(crate) fn listen(&mut self, topic: Topic) -> (u32, bool) {
        if let Some(&lane) = self.topics.get(&topic) {
            return (lane, false);
        }
        let lane = self.lanes.len() as u32;
        self.lanes.push(Lane::default());
        self.topics.insert(topic, lane);
        (lane, true)
    }

    /// Ends a topic's lane: what waits on it, and what comes, goes to the inbox.
    pub(crate) fn unlisten(&mut self, lane: u32) -> Vec<(TaskId, u32)> {
        self.topics.retain(|_, other| *other != lane);
        let lane = self.get(lane);
        lane.closed = true;
        let waiters = lane.waiters.drain(..).collect();
        let items = std::mem::take(&mut lane.items);
        self.get(INBOX).items.extend(items);
        waiters
    }

    pub(crate) fn add_timer(&mut self, timer: ChannelTimer) -> u64 {
        let key = self.next_timer;
        self.next_timer += 1;
        self.timers.insert(key, timer);
        key
    }

    pub(crate) fn timer(&mut self, key: u64) -> Option<&mut ChannelTimer> {
        self.timers.get_mut(&key)
    }

    pub(crate) fn remove_timer(&mut self, key: u64) -> Option<ChannelTimer> {
        self.timers.remove(&key)
    }

    /// Returns the credit of messages that will not be received.
    pub(crate) fn give_back(&mut self, cx: &mut Cx<'_>) {
        for lane in &mut self.lanes {
            for item in lane.items.drain(..) {
                if let Item::Message(message, claim) = item {
                    cx.received(message.from, claim);
                }
            }
        }
    }

    pub(crate) fn release(self, main: State) {
        for timer in self.timers.into_values() {
            main.release(timer.channel);
        }
    }
}
