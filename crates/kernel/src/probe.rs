//! What a shard counts, for the metrics and for tests that look for leaks.

use crate::error::{Kind, Stopped};
use crate::message::Exit;
use std::sync::atomic::{AtomicU64, Ordering};
use units::figures::{Count, Peak};

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

/// Why a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It returned.
    Returned,
    /// It failed by itself.
    Failed,
    /// It was terminated.
    Terminated,
    /// A process failed that it was linked with.
    Link,
    /// It held more memory than its host allows.
    Memory,
    /// It ran for too long where it cannot be suspended.
    Time,
}

impl Reason {
    /// Each with its name in metrics.
    pub const ALL: [(Reason, &'static str); 6] = [
        (Reason::Returned, "returned"),
        (Reason::Failed, "failed"),
        (Reason::Terminated, "terminated"),
        (Reason::Link, "link"),
        (Reason::Memory, "memory"),
        (Reason::Time, "time"),
    ];

    fn of(exit: &Exit) -> Reason {
        match exit.error.as_ref().map(|error| error.stopped) {
            None => Reason::Returned,
            Some(None) => Reason::Failed,
            Some(Some(Stopped::Terminated)) => Reason::Terminated,
            Some(Some(Stopped::Link)) => Reason::Link,
            Some(Some(Stopped::Memory)) => Reason::Memory,
            Some(Some(Stopped::Time)) => Reason::Time,
        }
    }
}

macro_rules! gauges {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Figures of one shard. Written by the shard once a turn, read by anybody.
        #[derive(Default, Debug)]
        pub struct Gauges {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// Messages in the deepest mailbox lately.
            pub deepest_mailbox: Peak,
            exits: [Count; Reason::ALL.len()],
            failures: [Count; Kind::ALL.len()],
        }

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
    /// Messages that wait in mailboxes, or were taken by programs that have not received them.
    waiting,
    /// What they hold.
    waiting_bytes,
}

impl Gauges {
    /// Processes that ended for a reason.
    pub fn exits(&self, reason: Reason) -> u64 {
        self.exits[reason as usize].get()
    }

    /// Processes that failed, by whatever, with an error of a kind.
    pub fn failures(&self, kind: Kind) -> u64 {
        self.failures[kind as usize].get()
    }

    pub(crate) fn ended(&self, exit: &Exit) {
        self.exits[Reason::of(exit) as usize].add(1);
        if let Some(error) = &exit.error {
            self.failures[error.kind as usize].add(1);
        }
    }
}

impl Counts {
    /// A message was put into a mailbox, in which it counts so many bytes; 0 if it does not count.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.waiting += u64::from(bytes > 0);
        self.waiting_bytes += bytes;
    }

    /// So many messages wait no longer.
    pub(crate) fn gave(&mut self, messages: u32, bytes: u64) {
        self.waiting -= u64::from(messages);
        self.waiting_bytes -= bytes;
    }

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
