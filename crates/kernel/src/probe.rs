//! What a shard counts, for the metrics and for tests that look for leaks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that happened to a process; each passes through one function of the shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A process was spawned.
    Spawned,
    /// A process returned.
    Returned,
    /// A process failed.
    Failed,
    /// A process was stopped at the end of its slice.
    Preempted,
    /// A message was put into a mailbox.
    Delivered,
    /// A message was refused by a full mailbox.
    Refused,
}

macro_rules! gauges {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Figures of one shard. Written by the shard once a turn, read by anybody.
        #[derive(Default, Debug)]
        pub struct Gauges { $($(#[$doc])* pub $name: AtomicU64),* }

        /// The same as plain numbers, which the shard counts with.
        #[derive(Default, Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64),* }

        impl Counts {
            pub(crate) fn publish(&self, gauges: &Gauges) {
                $(gauges.$name.store(self.$name, Ordering::Relaxed);)*
            }

            /// The figures that a shard published last.
            pub fn read(gauges: &Gauges) -> Counts {
                Counts { $($name: gauges.$name.load(Ordering::Relaxed)),* }
            }

            /// The sum of two shards.
            pub fn plus(self, other: Counts) -> Counts {
                Counts { $($name: self.$name + other.$name),* }
            }
        }
    };
}

gauges! {
    /// Living processes.
    processes,
    /// Monitors that have not fired.
    monitors,
    /// Links; a link between two shards counts on each.
    links,
    /// Running timers.
    timers,
    /// Processes spawned so far.
    spawned,
    /// Processes that an overloaded shard let begin on another one.
    passed_on,
    /// Processes that returned.
    returned,
    /// Processes that failed.
    failed,
    /// Slices that ended in preemption.
    preempted,
    /// Messages put into mailboxes.
    delivered,
    /// Messages refused by full mailboxes.
    refused,
}

impl Counts {
    pub(crate) fn count(&mut self, probe: Probe) {
        match probe {
            Probe::Spawned => {
                self.spawned += 1;
                self.processes += 1;
            }
            Probe::Returned => {
                self.returned += 1;
                self.processes -= 1;
            }
            Probe::Failed => {
                self.failed += 1;
                self.processes -= 1;
            }
            Probe::Preempted => self.preempted += 1,
            Probe::Delivered => self.delivered += 1,
            Probe::Refused => self.refused += 1,
        }
    }
}
