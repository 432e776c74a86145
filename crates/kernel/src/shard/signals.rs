//! What other shards sent, carried out in the order of its arrival.

use super::core::Core;
use super::slot::Content;
use crate::error::{Error, Kind};
use crate::mailbox::Class;
use crate::message::{Event, Exit, Mail};
use crate::node::Signal;
use std::sync::Arc;

impl Core {
    pub(crate) fn take_signals(&mut self) {
        let mut signals = std::mem::take(&mut self.incoming);
        self.node.take(self.index, &mut signals);
        for signal in signals.drain(..) {
            self.handle(signal);
        }
        self.incoming = signals;
    }

    pub(super) fn handle(&mut self, signal: Signal) {
        match signal {
            Signal::Deliver { to, message, class } => {
                // The slot's word knows the reservation by its place, whoever lives there now.
                if class != Class::Reserved {
                    self.node.arrived(to, message.size());
                }
                let credited = (class == Class::Credited).then(|| (message.from, message.size()));
                if self.slot(to).is_some_and(|slot| slot.doomed.is_none()) {
                    self.deliver(to, message, class);
                } else if let Some((from, bytes)) = credited {
                    self.return_credit(from, bytes);
                }
            }
            Signal::Broadcast { to, message } => self.take_broadcast(to, &message),
            Signal::Spawn { pid, seed, birth } => self.admit(pid, Content::Seed(seed), birth),
            Signal::Event { to, event: Event::Exit { from, exit, .. } } => self.monitor_fired(from, to, exit),
            Signal::Event { to, event } => {
                if let Event::Cancel { .. } = event {
                    self.node.cancel_arrived(to);
                }
                self.notify(to, Mail::Event(event));
            }
            Signal::Monitor { from, to } => match self.slot_mut(to) {
                Some(slot) => {
                    slot.relations().watchers.insert(from);
                }
                None => self.monitor_fired(to, from, gone()),
            },
            Signal::Unmonitor { from, to } => self.remove_watcher(to, from),
            Signal::Link { from, to } => {
                if self.slot(to).is_some() {
                    self.add_link(to, from);
                } else {
                    let exit = if self.node.has_returned(to) { Arc::default() } else { gone() };
                    self.link_fired(to, from, exit);
                }
            }
            Signal::Unlink { from, to } => {
                self.remove_link(to, from);
            }
            Signal::LinkFired { from, to, exit } => self.link_fired(from, to, exit),
            Signal::Terminate { to, exit } => {
                let _dead_already = self.terminate(to, exit);
            }
            Signal::TerminateChild { of, to, exit } => self.terminate_child(of, to, exit),
            Signal::Named { name, pid } => self.named(name, pid),
            Signal::Receipts { to, messages, bytes } => self.take_receipts(to, messages, bytes),
            Signal::AwaitRoom { from, to } => self.queue_for_room(from, to),
            Signal::LeaveRoom { from, to } => self.leave_room(from, to),
            Signal::Outdate => self.outdate(),
            Signal::Groups { to } => self.notify(to, Mail::Groups),
            Signal::Room { to, of } => self.notify(to, Mail::Room(of)),
        }
    }
}

/// The exit of a process that had ended before the wish to be told of it arrived.
fn gone() -> Arc<Exit> {
    Arc::new(Exit::failed(Error::new(Kind::NotFound, "the process had ended")))
}
