//! Subscriptions, as a shard acts on them.

use super::core::Core;
use crate::error::{Error, Kind};
use crate::limits;
use crate::mailbox::Class;
use crate::message::Message;
use crate::pid::Pid;
use crate::subscriptions::{Subscription, check_pattern, check_topic};
use std::num::NonZeroU32;

impl Core {
    pub(crate) fn subscribe(&mut self, pid: Pid, pattern: &str) -> Result<Subscription, Error> {
        check_pattern(pattern)?;
        let Some(slot) = self.slot_mut(pid) else {
            return Err(Error::new(Kind::NotFound, "the process has ended"));
        };
        let rare = slot.rare();
        let most = limits::SUBSCRIPTIONS_PER_PROCESS;
        if rare.subscriptions.len() >= most {
            return Err(Error::new(Kind::Unavailable, format!("a process has at most {most} subscriptions")));
        }
        let subscription = loop {
            // From the beginning again after four thousand million, past those that are still held.
            rare.last_subscription = rare.last_subscription.wrapping_add(1);
            let Some(number) = NonZeroU32::new(rare.last_subscription) else { continue };
            if rare.subscriptions.iter().all(|(held, _)| held.0 != number) {
                break Subscription(number);
            }
        };
        rare.subscriptions.push((subscription, pattern.into()));
        self.node.subscriptions.add(pattern, (pid, subscription));
        Ok(subscription)
    }

    pub(crate) fn unsubscribe(&mut self, pid: Pid, subscription: Subscription) -> bool {
        let Some(slot) = self.slot_mut(pid) else { return false };
        let held = &mut slot.rare().subscriptions;
        let Some(index) = held.iter().position(|(held, _)| *held == subscription) else { return false };
        let ended = held.swap_remove(index);
        self.node.subscriptions.remove(pid, &[ended]);
        true
    }

    pub(crate) fn publish(&mut self, message: &Message) -> Result<usize, Error> {
        check_topic(&message.topic)?;
        let subscribers = self.node.subscriptions.of_topic(&message.topic);
        let to = subscribers.into_iter().map(|(pid, subscription)| (pid, Class::Published(subscription)));
        Ok(self.fan_out(to, message))
    }
}
