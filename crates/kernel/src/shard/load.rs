//! Whether a shard is overloaded, and where its processes' children start then.
//!
//! A shard whose turns leave work over for a while is overloaded, and stays it for a while after the last such turn.
//! The two spans make it slow to change its mind: work that comes in bursts stays where it is. An idle shard has no
//! turns, so what it published expires by itself.

use super::core::Core;
use crate::limits::{OVERLOADED_AFTER, OVERLOADED_FOR};
use crate::timers::Time;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one shard knows of its load.
#[derive(Default)]
pub(crate) struct Load {
    /// Since when every turn has left work over.
    behind_since: Option<Time>,
    /// It is overloaded until then.
    until: Time,
}

/// What the others may know of it. Written by the shard at the end of each turn, read by all before they pass work on.
#[derive(Default)]
pub(crate) struct SharedLoad {
    until: AtomicU64,
    behind: AtomicBool,
}

impl SharedLoad {
    /// Whether the shard takes work that others pass on.
    fn is_clear(&self, now: Time) -> bool {
        !self.behind.load(Ordering::Relaxed) && self.until.load(Ordering::Relaxed) <= now.0
    }
}

impl Load {
    /// A turn that began at `now` is over; whether it left work over.
    fn turned(&mut self, now: Time, behind: bool) {
        if !behind {
            self.behind_since = None;
            return;
        }
        let since = *self.behind_since.get_or_insert(now);
        if now < self.until || now >= since.after(OVERLOADED_AFTER) {
            self.until = now.after(OVERLOADED_FOR);
        }
    }
}

impl Core {
    /// Publishes what this turn was like.
    pub(super) fn publish_load(&mut self) {
        let behind = !self.ready.is_empty() || !self.spun.is_empty();
        self.load.turned(self.now, behind);
        let shared = self.node.load_of(self.index);
        shared.behind.store(behind, Ordering::Relaxed);
        shared.until.store(self.load.until.0, Ordering::Relaxed);
    }

    /// Where a child starts that may start anywhere: here, unless this shard is overloaded and another one is not.
    pub(super) fn place_child(&self) -> usize {
        if self.now >= self.load.until {
            return self.index;
        }
        let (first, shards) = (self.node.next_shard(), self.node.shards());
        let others = (first..first + shards).map(|shard| shard % shards).filter(|&shard| shard != self.index);
        others.into_iter().find(|&shard| self.node.load_of(shard).is_clear(self.now)).unwrap_or(self.index)
    }
}
