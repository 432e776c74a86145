//! A process's queue of mail, bounded in messages and bytes.
//!
//! A message counts from its arrival until the process *receives* it, which may be long after it was taken from
//! the queue: a program may hold unread messages in channels of its own, and those fill the mailbox too.
//! Events, timers and reserved messages do not count: the relation that brings them was bounded when it was made.

use crate::limits;
use crate::message::{Mail, Message};
use crate::pid::Pid;
use std::collections::VecDeque;

#[derive(Default)]
pub(crate) struct Mailbox {
    queue: VecDeque<Entry>,
    /// Counted messages that have not been received.
    messages: u32,
    /// CANCEL events in the queue.
    pub(crate) cancels: u8,
    /// Their bytes.
    bytes: u64,
    waiting: Option<Box<Waiting>>,
}

/// Senders that wait for room, first come first served.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Pid>,
    /// Told that there is room for one message, and not yet back with it.
    granted: Vec<Pid>,
}

struct Entry {
    mail: Mail,
    claim: Claim,
}

/// What a message holds of its mailbox until it is received; give it to [`crate::Cx::received`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use = "a message that is never received keeps its room in the mailbox"]
pub struct Claim {
    bytes: u64,
    counted: bool,
    /// Whether its sender is told when it is received.
    pub(crate) receipt: bool,
}

/// How a message is to be queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Refused by a full mailbox.
    Ordinary,
    /// Refused by a full mailbox; its sender gets a receipt.
    Credited,
    /// Never refused: its room was reserved by a relation.
    Reserved,
}

/// The queues of emptied mailboxes, so that an idle process holds none.
#[derive(Default)]
pub(crate) struct Pool(Vec<VecDeque<Entry>>);

impl Mailbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn is_full(&self, messages: u32, bytes: u64) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }

    pub(crate) fn push_message(&mut self, message: Message, class: Class, pool: &mut Pool) {
        let counted = class != Class::Reserved;
        let claim =
            Claim { bytes: if counted { message.size() } else { 0 }, counted, receipt: class == Class::Credited };
        self.messages += u32::from(counted);
        self.bytes += claim.bytes;
        self.push(Entry { mail: Mail::Message(message), claim }, pool);
    }

    pub(crate) fn push_other(&mut self, mail: Mail, pool: &mut Pool) {
        self.push(Entry { mail, claim: Claim::default() }, pool);
    }

    fn push(&mut self, entry: Entry, pool: &mut Pool) {
        if self.queue.capacity() == 0
            && let Some(queue) = pool.0.pop()
        {
            self.queue = queue;
        }
        self.queue.push_back(entry);
    }

    pub(crate) fn pop(&mut self, pool: &mut Pool) -> Option<(Mail, Claim)> {
        let entry = self.queue.pop_front()?;
        if self.queue.is_empty() {
            let queue = std::mem::take(&mut self.queue);
            if queue.capacity() <= limits::POOLED_QUEUE && pool.0.len() < limits::POOL {
                pool.0.push(queue);
            }
        }
        Some((entry.mail, entry.claim))
    }

    /// Frees the room of a message that was received.
    pub(crate) fn release(&mut self, claim: Claim) {
        if claim.counted {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(claim.bytes);
        }
    }

    pub(crate) fn wait_for_room(&mut self, sender: Pid) {
        let waiting = self.waiting.get_or_insert_default();
        if !waiting.queue.contains(&sender) && !waiting.granted.contains(&sender) {
            waiting.queue.push_back(sender);
        }
    }

    /// Whether a sender that can wait has to: the mailbox is full, or others were there before it.
    pub(crate) fn must_wait(&mut self, sender: Pid, messages: u32, bytes: u64) -> bool {
        let Some(waiting) = &mut self.waiting else { return self.is_full(messages, bytes) };
        match waiting.granted.iter().position(|&pid| pid == sender) {
            Some(index) => {
                waiting.granted.swap_remove(index);
                if waiting.granted.is_empty() && waiting.queue.is_empty() {
                    self.waiting = None;
                }
                false
            }
            None => true,
        }
    }

    /// The next sender to be told that there is room for one message of it.
    pub(crate) fn grant(&mut self, messages: u32, bytes: u64, is_alive: impl Fn(Pid) -> bool) -> Option<Pid> {
        let waiting = self.waiting.as_mut()?;
        waiting.granted.retain(|&pid| is_alive(pid));
        let full = self.messages as usize + waiting.granted.len() >= messages as usize || self.bytes >= bytes;
        let next =
            if full { None } else { std::iter::from_fn(|| waiting.queue.pop_front()).find(|&pid| is_alive(pid)) };
        waiting.granted.extend(next);
        if waiting.granted.is_empty() && waiting.queue.is_empty() {
            self.waiting = None;
        }
        next
    }

    /// Everybody who waits, when the mailbox ends.
    pub(crate) fn take_waiting(&mut self) -> Vec<Pid> {
        self.waiting.take().map_or_else(Vec::new, |waiting| waiting.queue.into_iter().chain(waiting.granted).collect())
    }
}

impl Claim {
    /// Bytes that the message counts, 0 for mail that does not count.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}
