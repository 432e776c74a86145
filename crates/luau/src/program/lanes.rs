//! Lanes: the channels of a program that mail arrives on, and its timers.
//!
//! Lane 0 is the inbox, lane 1 the events; each `process.listen` and `events.subscribe` has one more. A message on a
//! lane that the program has not received still counts in the process's mailbox. What lies on lanes has the number of
//! its arrival, so that what moves from one to another keeps its place among the rest.

use super::tasks::TaskId;
use crate::state::State;
use kernel::{Change, Claim, Cx, Event, Message, Subscription, TimerId, Topic};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::os::raw::c_int;

pub(crate) const INBOX: u32 = 0;
pub(crate) const EVENTS: u32 = 1;

/// Joins and leaves that may wait before they are looked through.
const MANY_CHANGES: usize = 1024;

/// Waiters of one lane before those are looked for that wait no longer.
const MANY_WAITERS: usize = 64;

/// What a lane carries.
pub(crate) enum Item {
    Message(Message, Claim),
    Event(Event),
    Change(Change),
    /// Code that the program uses has changed. One at a time.
    Outdated,
}

#[derive(Default)]
pub(crate) struct Lane {
    /// Each with the number of its arrival, in that order.
    items: VecDeque<(u64, Item)>,
    /// Tasks that wait for the lane, with the turn in which they began to.
    pub(crate) waiters: VecDeque<(TaskId, u32)>,
}

impl Lane {
    /// Puts an item behind the others. When many joins and leaves wait, those that cancel out go: a program that does
    /// not receive its events holds no more of them than there are members.
    fn push(&mut self, number: u64, item: Item) {
        let is_change = matches!(item, Item::Change(_));
        self.items.push_back((number, item));
        if is_change && self.items.len() >= MANY_CHANGES && self.items.len().is_power_of_two() {
            self.cancel_out();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        Some(self.items.pop_front()?.1)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether so many tasks wait that some may have stopped to: time to look.
    pub(crate) fn has_many_waiters(&self) -> bool {
        self.waiters.len() >= MANY_WAITERS && self.waiters.len().is_power_of_two()
    }

    fn cancel_out(&mut self) {
        // Of one process's joins and leaves, which take turns, an even number is none and an odd one is the last.
        let mut odd = FxHashSet::default();
        for (_, item) in &self.items {
            if let Item::Change(change) = item {
                let key = (change.group.clone(), change.pid);
                if !odd.remove(&key) {
                    odd.insert(key);
                }
            }
        }
        let mut kept = VecDeque::with_capacity(self.items.len());
        while let Some((number, item)) = self.items.pop_back() {
            if let Item::Change(change) = &item
                && !odd.remove(&(change.group.clone(), change.pid))
            {
                continue;
            }
            kept.push_front((number, item));
        }
        self.items = kept;
    }

    /// Drops the joins and leaves of a group.
    pub(crate) fn forget_group(&mut self, group: &str) {
        self.items.retain(|(_, item)| !matches!(item, Item::Change(change) if change.group == group));
    }
}

/// A ticker: a timer that puts ticks into a channel, again and again.
pub(crate) struct ChannelTimer {
    /// The channel, as a registry reference.
    pub(crate) channel: c_int,
    /// Nanoseconds between ticks.
    pub(crate) every: u64,
    pub(crate) due: u64,
    pub(crate) id: Option<TimerId>,
}

pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    topics: FxHashMap<Topic, u32>,
    subscriptions: FxHashMap<Subscription, u32>,
    /// Lanes of topics and subscriptions that nobody listens to any more.
    free: Vec<u32>,
    /// The number of the next item.
    arrivals: u64,
    timers: FxHashMap<u64, ChannelTimer>,
    next_timer: u64,
}

impl Default for Lanes {
    fn default() -> Lanes {
        let lanes = vec![Lane::default(), Lane::default()];
        Lanes {
            lanes,
            topics: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            free: Vec::new(),
            arrivals: 0,
            timers: FxHashMap::default(),
            next_timer: 1,
        }
    }
}

impl Lanes {
    pub(crate) fn get(&mut self, lane: u32) -> &mut Lane {
        let index = (lane as usize).min(self.lanes.len() - 1);
        &mut self.lanes[index]
    }

    /// Puts what has just come on a lane.
    pub(crate) fn push(&mut self, lane: u32, item: Item) {
        let number = self.arrivals;
        self.arrivals += 1;
        self.get(lane).push(number, item);
    }

    /// The lane that a message belongs on.
    pub(crate) fn of_topic(&self, topic: &Topic) -> u32 {
        if self.topics.is_empty() { INBOX } else { self.topics.get(topic).copied().unwrap_or(INBOX) }
    }

    /// Topics that are listened to.
    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// The lane of a topic, made if there is none; and whether it is new. What waits in the inbox under the topic moves
    /// to a new one.
    pub(crate) fn listen(&mut self, topic: Topic) -> (u32, bool) {
        if let Some(&lane) = self.topics.get(&topic) {
            return (lane, false);
        }
        let lane = self.add();
        for (number, item) in std::mem::take(&mut self.get(INBOX).items) {
            let moves = matches!(&item, Item::Message(message, _) if message.topic == topic);
            self.get(if moves { lane } else { INBOX }).push(number, item);
        }
        self.topics.insert(topic, lane);
        (lane, true)
    }

    fn add(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            self.lanes.len() as u32 - 1
        })
    }

    /// A lane for a subscription.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) -> u32 {
        let lane = self.add();
        self.subscriptions.insert(subscription, lane);
        lane
    }

    /// The lane of a subscription, if it has not ended.
    pub(crate) fn of_subscription(&self, subscription: Subscription) -> Option<u32> {
        self.subscriptions.get(&subscription).copied()
    }

    /// The lanes of all subscriptions.
    pub(crate) fn subscribed(&self) -> Vec<u32> {
        self.subscriptions.values().copied().collect()
    }

    /// The subscription of a lane.
    pub(crate) fn subscription(&self, lane: u32) -> Option<Subscription> {
        self.subscriptions.iter().find_map(|(&subscription, &other)| (other == lane).then_some(subscription))
    }

    /// Ends the lane of a subscription: what waits on it, which nobody will receive.
    pub(crate) fn unsubscribe(&mut self, subscription: Subscription) -> Vec<Item> {
        let Some(lane) = self.subscriptions.remove(&subscription) else { return Vec::new() };
        self.free.push(lane);
        std::mem::take(self.get(lane)).items.into_iter().map(|(_, item)| item).collect()
    }

    /// Whether it is the lane of a topic.
    pub(crate) fn is_listened(&self, lane: u32) -> bool {
        self.topics.values().any(|&listened| listened == lane)
    }

    /// Ends a topic's lane: what waits on it, and what comes, goes to the inbox.
    pub(crate) fn unlisten(&mut self, lane: u32) {
        self.topics.retain(|_, other| *other != lane);
        self.free.push(lane);
        let ended = std::mem::take(self.get(lane));
        self.back_to_inbox(ended.items);
    }

    /// Ends the lanes of all topics.
    pub(crate) fn end_topics(&mut self) {
        self.topics.clear();
        self.free.clear();
        for ended in self.lanes.split_off(EVENTS as usize + 1) {
            self.back_to_inbox(ended.items);
        }
    }

    /// Nobody waits for anything.
    pub(crate) fn forget_waiters(&mut self) {
        for lane in &mut self.lanes {
            lane.waiters.clear();
        }
    }

    /// Whether nothing lies on any lane.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }

    fn back_to_inbox(&mut self, items: VecDeque<(u64, Item)>) {
        if items.is_empty() {
            return;
        }
        let inbox = &mut self.get(INBOX).items;
        inbox.extend(items);
        inbox.make_contiguous().sort_by_key(|&(number, _)| number);
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
            for (_, item) in lane.items.drain(..) {
                if let Item::Message(message, claim) = item {
                    cx.received(message.from, claim);
                }
            }
        }
    }

    /// Forgets all timers.
    pub(crate) fn release_timers(&mut self, main: State) {
        for (_, timer) in self.timers.drain() {
            main.release(timer.channel);
        }
    }
}
