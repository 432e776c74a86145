//! What other shards sent, carried out in the order of its arrival.

use super::core::Core;
use super::slot::Content;
use crate::mailbox::Class;
use crate::message::{Event, Mail};
use crate::node::Signal;

impl Core {
    pub(crate) fn take_signals(&mut self) {
        let mut signals = std::mem::take(&mut self.incoming);
        self.node.take(self.index, &mut signals);
        for signal in signals.drain(..) {
            self.handle(signal);
        }
        self.incoming = signals;
        self.forget_kept();
    }

    pub(super) fn handle(&mut self, signal: Signal) {
        match signal {
            Signal::Deliver { to, message, class } => {
                // The slot's word knows the reservation by its place, whoever lives there now.
                if class != Class::Reserved
                    && let Some(state) = self.node.place(to)
                {
                    state.arrived(message.size());
                }
                let credited = class.period().map(|period| (message.from, period, message.size()));
                if self.slot(to).is_some_and(|slot| slot.doomed.is_none()) {
                    self.deliver(to, message, class);
                } else if let Some((from, period, bytes)) = credited {
                    self.return_credit(from, period, bytes);
                }
            }
            Signal::Broadcast { to, message } => self.take_broadcast(to, &message),
            Signal::Spawn { pid, seed, birth } => self.admit(pid, Content::Seed(seed), birth),
            Signal::Event { to, event: Event::Exit { from, exit, .. } } => self.monitor_fired(from, to, exit),
            Signal::Event { to, event } => {
                if let Event::Cancel { .. } = event
                    && let Some(state) = self.node.place(to)
                {
                    state.cancel_arrived();
                }
                self.notify(to, Mail::Event(event));
            }
            Signal::Monitor { from, to } => {
                match self.slot_mut(to) {
                    Some(slot) => {
                        slot.relations().watchers.insert(from);
                    }
                    None => self.monitor_fired(to, from, self.exit_of(to)),
                }
                self.expected_arrived(to);
            }
            Signal::Unmonitor { from, to } => self.remove_watcher(to, from),
            Signal::Link { from, to } => {
                self.link_arrived(from, to);
                self.expected_arrived(to);
            }
            Signal::Unlink { from, to, number } => {
                self.remove_link(to, from);
                self.signal(from.shard(), Signal::Unlinked { from: to, to: from, number });
            }
            Signal::Unlinked { from, to, number } => self.unlinked(to, from, number),
            Signal::LinkFired { from, to, exit } => self.link_fired(from, to, exit),
            Signal::Terminate { to, exit } => {
                let _dead_already = self.terminate(to, exit);
            }
            Signal::TerminateChild { of, to, exit } => self.terminate_child(of, to, exit),
            Signal::Named { name, pid } => self.named(name, pid),
            Signal::Receipts { to, period, messages, bytes } => self.take_receipts(to, period, messages, bytes),
            Signal::AwaitRoom { from, to } => self.queue_for_room(from, to),
            Signal::LeaveRoom { from, to } => self.leave_room(from, to),
            Signal::Outdate => self.outdate(),
            Signal::Groups { to } => self.notify(to, Mail::Groups),
            Signal::Room { to, of } => self.notify(to, Mail::Room(of)),
        }
    }
}
