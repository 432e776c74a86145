//! A process's queue of mail, bounded in messages and bytes.
//!
//! A message counts from its arrival until the process *receives* it, which may be long after it was taken from
//! the queue: a program may hold unread messages in channels of its own, and those fill the mailbox too.
//! Events, timers and reserved messages do not count: the relation that brings them was bounded when it was made.

use crate::limits;
use crate::message::{Mail, Message};
use crate::pid::Pid;
use crate::pidset::PidSet;
use crate::subscriptions::Subscription;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub(crate) struct Mailbox {
    queue: VecDeque<(Mail, Claim)>,
    /// Counted messages that have not been received.
    messages: u32,
    /// CANCEL events in the queue.
    pub(crate) cancels: u8,
    /// Timers that went off, in the queue.
    pub(crate) timers: u16,
    /// Bytes of the counted messages.
    bytes: u64,
    waiting: Option<Box<Waiting>>,
}

/// Senders that wait for room, first come first served.
#[derive(Default)]
struct Waiting {
    /// By the order of their coming. A hub may have a hundred thousand, so nothing here walks through them.
    queue: BTreeMap<u64, Pid>,
    places: FxHashMap<Pid, u64>,
    last: u64,
    /// Told that there is room for one message, and not yet back with it.
    granted: PidSet,
}

/// What a message holds of its mailbox until it is received; give it to [`crate::Cx::received`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use = "a message that is never received keeps its room in the mailbox"]
pub struct Claim {
    /// 0 for mail that does not count.
    bytes: u64,
    /// Whether its sender is told when it is received, and in which period of its credit it was sent.
    pub(crate) receipt: Option<u16>,
    subscription: Option<Subscription>,
}

/// How a message is to be queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Refused by a full mailbox.
    Ordinary,
    /// Refused by a full mailbox; its sender gets a receipt, if it is then still in the same period.
    Credited { period: u16 },
    /// Never refused: its room was reserved by a relation.
    Reserved,
    /// Refused by a full mailbox; for a subscription of the receiver.
    Published(Subscription),
}

impl Class {
    /// Of a message whose sender gets a receipt: see [`crate::Cx::forget_receipts`].
    pub(crate) fn period(self) -> Option<u16> {
        if let Class::Credited { period } = self { Some(period) } else { None }
    }
}

/// The queues of emptied mailboxes, so that an idle process holds none.
#[derive(Default)]
pub(crate) struct Pool(Vec<VecDeque<(Mail, Claim)>>);

impl Mailbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn is_full(&self, messages: u32, bytes: u64) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }

    /// Counted messages that have not been received, and their bytes.
    pub(crate) fn waiting(&self) -> (u32, u64) {
        (self.messages, self.bytes)
    }

    /// The bytes that the message counts; 0 if it does not count.
    #[inline]
    pub(crate) fn push_message(&mut self, message: Message, class: Class, pool: &mut Pool) -> u64 {
        let counted = class != Class::Reserved;
        let subscription = if let Class::Published(subscription) = class { Some(subscription) } else { None };
        let bytes = if counted { message.size() } else { 0 };
        let claim = Claim { bytes, receipt: class.period(), subscription };
        self.messages += u32::from(counted);
        self.bytes += claim.bytes;
        self.push((Mail::Message(message), claim), pool);
        bytes
    }

    pub(crate) fn push_other(&mut self, mail: Mail, pool: &mut Pool) {
        self.push((mail, Claim::default()), pool);
    }

    #[inline]
    fn push(&mut self, item: (Mail, Claim), pool: &mut Pool) {
        if self.queue.capacity() == 0
            && let Some(queue) = pool.0.pop()
        {
            self.queue = queue;
        }
        self.queue.push_back(item);
    }

    pub(crate) fn pop(&mut self, pool: &mut Pool) -> Option<(Mail, Claim)> {
        let taken = self.queue.pop_front();
        if taken.is_some() && self.queue.is_empty() {
            let queue = std::mem::take(&mut self.queue);
            if queue.capacity() <= limits::POOLED_QUEUE && pool.0.len() < limits::POOL {
                pool.0.push(queue);
            }
        }
        taken
    }

    /// Frees the room of a message that was received.
    pub(crate) fn release(&mut self, claim: Claim) {
        if claim.bytes > 0 {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(claim.bytes);
        }
    }

    pub(crate) fn wait_for_room(&mut self, sender: Pid) {
        let waiting = self.waiting.get_or_insert_default();
        if let Entry::Vacant(place) = waiting.places.entry(sender) {
            waiting.last += 1;
            waiting.queue.insert(*place.insert(waiting.last), sender);
        }
    }

    /// Whether senders wait for room, or are expected with what they were granted room for.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.is_some()
    }

    /// The next sender to be told that there is room for one message of it.
    pub(crate) fn grant(&mut self, messages: u32, bytes: u64) -> Option<Pid> {
        let waiting = self.waiting.as_mut()?;
        if self.messages as usize + waiting.granted.len() >= messages as usize || self.bytes >= bytes {
            return None;
        }
        let (_, next) = waiting.queue.pop_first()?;
        waiting.places.remove(&next);
        waiting.granted.insert(next);
        Some(next)
    }

    /// A sender came with a message: whether it had been granted room and others still wait.
    pub(crate) fn grant_used(&mut self, sender: Pid) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let used = waiting.granted.remove(sender);
        // While others are expected it is they who bring the next one's turn.
        let nobody_expected = used && waiting.granted.len() == 0;
        self.forget_empty_waiting();
        nobody_expected && self.waiting.is_some()
    }

    /// A sender neither waits nor comes.
    pub(crate) fn leave_room(&mut self, sender: Pid) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.granted.remove(sender);
        if let Some(place) = waiting.places.remove(&sender) {
            waiting.queue.remove(&place);
        }
        self.forget_empty_waiting();
    }

    fn forget_empty_waiting(&mut self) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.queue.is_empty() && waiting.granted.len() == 0) {
            self.waiting = None;
        }
    }

    /// Everybody who waits, when the mailbox ends.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = Pid> + use<> {
        self.waiting.take().into_iter().flat_map(|waiting| waiting.queue.into_values())
    }
}

impl Claim {
    /// The subscription that the message was published for, if it was.
    pub fn subscription(self) -> Option<Subscription> {
        self.subscription
    }

    /// Bytes that the message counts, 0 for mail that does not count.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}
