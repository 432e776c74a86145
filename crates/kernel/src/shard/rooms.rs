//! Senders with patience: receipts for what they sent, and turns at a full mailbox.
//!
//! A sender that meets a full mailbox waits in its queue, is granted room for one message when its turn comes
//! ([`Mail::Room`]) and uses the grant in the step in which it takes that mail. A grant that is not used by the end
//! of that step goes to the next in the queue, and so does that of a sender that ends: nobody waits for somebody who
//! has nothing to send.

use super::core::Core;
use super::slot::Turn;
use crate::mailbox::{Claim, Class};
use crate::message::Mail;
use crate::node::Signal;
use crate::pid::Pid;

impl Core {
    pub(crate) fn received(&mut self, pid: Pid, from: Pid, claim: Claim) {
        if let Some(slot) = self.slot_mut(pid) {
            slot.mailbox.release(claim);
            if !slot.is_roomy() {
                self.grant_room(pid);
                self.publish_room(pid);
            }
            self.counts.gave(u32::from(claim.bytes() > 0), claim.bytes());
        }
        // Also when the receiver has ended: nobody but its last call knows what it held unread.
        if let Some(period) = claim.receipt {
            self.return_credit(from, period, claim.bytes());
        }
    }

    /// Tells a sender that one of its messages no longer waits.
    pub(crate) fn return_credit(&mut self, to: Pid, period: u16, bytes: u64) {
        if self.is_local(to) {
            self.take_receipts(to, period, 1, bytes);
            return;
        }
        let outgoing = &mut self.outgoing[to.shard()];
        // Receipts of one turn for one sender are one signal as long as nothing comes between them.
        if let Some(Signal::Receipts { to: last, period: of, messages, bytes: sum }) = outgoing.last_mut()
            && (*last, *of) == (to, period)
        {
            *messages += 1;
            *sum += bytes;
            return;
        }
        outgoing.push(Signal::Receipts { to, period, messages: 1, bytes });
    }

    pub(crate) fn take_receipts(&mut self, to: Pid, period: u16, messages: u32, bytes: u64) {
        let Some(slot) = self.slot_mut(to).filter(|slot| slot.period == period) else { return };
        slot.receipts.0 += messages;
        slot.receipts.1 += bytes;
        if std::mem::take(&mut slot.wake_on_receipts) {
            self.notify(to, Mail::Receipts);
        }
    }

    /// `from` wants room in the mailbox of `to`.
    pub(crate) fn await_room(&mut self, from: Pid, to: Pid) {
        let Some(slot) = self.slot_mut(from) else { return };
        let turns = &mut slot.rare().turns;
        match turns.iter().position(|&(of, _)| of == to) {
            Some(index) if turns[index].1 == Turn::Waiting => return,
            // It has a grant and asks for one again: it goes behind the others.
            Some(index) => {
                turns[index].1 = Turn::Waiting;
                self.leave_room(from, to);
            }
            None => turns.push((to, Turn::Waiting)),
        }
        if self.is_local(to) {
            self.queue_for_room(from, to);
        } else if self.node.is_alive(to) {
            self.signal(to.shard(), Signal::AwaitRoom { from, to });
        } else {
            self.notify(from, Mail::Room(to));
        }
    }

    /// The half of [`Core::await_room`] on the shard of the mailbox.
    pub(crate) fn queue_for_room(&mut self, from: Pid, to: Pid) {
        let Some(slot) = self.slot_mut(to) else { return self.tell_room(from, to) };
        slot.mailbox.wait_for_room(from);
        self.grant_room(to);
        self.publish_room(to);
    }

    /// `from` neither waits for room in the mailbox of `to` any more nor uses what it was granted.
    pub(crate) fn leave_room(&mut self, from: Pid, to: Pid) {
        if self.is_local(to) {
            if let Some(slot) = self.slot_mut(to) {
                slot.mailbox.leave_room(from);
                self.grant_room(to);
                self.publish_room(to);
            }
        } else if self.node.is_alive(to) {
            self.signal(to.shard(), Signal::LeaveRoom { from, to });
        }
    }

    /// Tells the next who waits for room in a local mailbox, if there is some.
    pub(super) fn grant_room(&mut self, of: Pid) {
        let limits = &self.node.hosts[of.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        if let Some(next) = self.slot_mut(of).and_then(|slot| slot.mailbox.grant(messages, bytes)) {
            self.tell_room(next, of);
        }
    }

    /// Lets the other shards know whether a local mailbox takes messages.
    pub(super) fn publish_room(&mut self, of: Pid) {
        let limits = &self.node.hosts[of.host()];
        let (messages, bytes) = (limits.mailbox_messages, limits.mailbox_bytes);
        let Some(slot) = self.slot_mut(of) else { return };
        let room = (slot.mailbox.is_full(messages, bytes), slot.mailbox.is_awaited());
        if slot.room != room {
            slot.room = room;
            if let Some(state) = self.node.state(of) {
                state.set_room(room.0, room.1);
            }
        }
    }

    pub(super) fn tell_room(&mut self, to: Pid, of: Pid) {
        if self.is_local(to) {
            self.notify(to, Mail::Room(of));
        } else {
            self.signal(to.shard(), Signal::Room { to, of });
        }
    }

    /// A process takes the mail that its turn has come.
    pub(super) fn turn_came(&mut self, pid: Pid, of: Pid) {
        let Some(slot) = self.slot_mut(pid) else { return };
        if let Some(turn) = slot.rare().turns.iter_mut().find(|turn| turn.0 == of) {
            turn.1 = Turn::Granted;
            slot.has_grant = true;
        }
    }

    /// Whether a local sender has been granted room; it uses it now.
    pub(super) fn use_grant(&mut self, from: Pid, of: Pid) -> bool {
        let Some(slot) = self.slot_mut(from).filter(|slot| slot.has_grant) else { return false };
        let turns = &mut slot.rare().turns;
        let Some(index) = turns.iter().position(|&turn| turn == (of, Turn::Granted)) else { return false };
        turns.remove(index);
        true
    }

    /// The step of a process is over: what it was granted and did not use goes on.
    pub(crate) fn return_grants(&mut self, pid: Pid) {
        while let Some(slot) = self.slot_mut(pid).filter(|slot| slot.has_grant) {
            let turns = &mut slot.rare().turns;
            match turns.iter().position(|&(_, turn)| turn == Turn::Granted) {
                Some(index) => {
                    let (of, _) = turns.remove(index);
                    self.leave_room(pid, of);
                }
                None => slot.has_grant = false,
            }
        }
    }

    /// A message has been put into a local mailbox.
    pub(super) fn took_message(&mut self, of: Pid, from: Pid, class: Class) {
        if class.period().is_some()
            && let Some(slot) = self.slot_mut(of)
            && slot.mailbox.grant_used(from)
        {
            self.grant_room(of);
        }
        self.publish_room(of);
    }
}
