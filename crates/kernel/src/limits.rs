//! Every bound of the kernel, in one place. A host can lower or raise those that [`crate::Host`] carries.

use std::time::Duration;

/// Messages that may wait in one mailbox unless the host says otherwise.
pub const MAILBOX_MESSAGES: u32 = 10_000;
/// Bytes that may wait in one mailbox unless the host says otherwise.
pub const MAILBOX_BYTES: u64 = 8 << 20;
/// Processes that may live on one host unless it says otherwise: at some 2.5 KB each, what a small machine survives.
pub const PROCESSES_PER_HOST: u32 = 1_000_000;
/// How long a process computes before it is preempted, unless the host says otherwise.
pub const SLICE: Duration = Duration::from_millis(1);
/// A shard whose turns have left work over for so long is overloaded: new processes start elsewhere.
pub const OVERLOADED_AFTER: Duration = Duration::from_millis(20);
/// It stays so for this long after the last such turn.
pub const OVERLOADED_FOR: Duration = Duration::from_millis(50);
/// Timers that one process may have running.
pub const TIMERS_PER_PROCESS: u32 = 10_000;
/// Names that one process may hold.
pub const NAMES_PER_PROCESS: usize = 1_000;
/// Groups that one process may be in, and that it may monitor.
pub const GROUPS_PER_PROCESS: usize = 1_000;
/// Links and monitors that one process may have, together with the ends of others that it has not read: each of
/// them brings one, and that is never refused.
pub const RELATIONS_PER_PROCESS: usize = 250_000;
/// Subscriptions that one process may have.
pub const SUBSCRIPTIONS_PER_PROCESS: usize = 1_000;
/// Segments of a topic that is published, and of a pattern: it bounds what finding the subscribers costs.
pub const SEGMENTS: usize = 10;
/// CANCEL events that wait unread in one mailbox; a further one changes nothing, so it is dropped.
pub const PENDING_CANCELS: u8 = 16;
/// Nesting of a term; deeper values are refused where they are built.
pub const TERM_DEPTH: usize = 100;
/// Longest topic, name and name of a group, in bytes.
pub const LABEL_BYTES: usize = 255;
/// Children of one supervisor.
pub const CHILDREN_PER_SUPERVISOR: usize = 10_000;
/// Requests that wait for one supervisor to be done with what it does.
pub const SUPERVISOR_BACKLOG: usize = 1_000;
/// Shards of one node: a PID has eight bits for its shard.
pub const SHARDS: usize = 256;
/// Slots of one shard: a PID has 24 bits for its slot.
pub const SLOTS: u32 = 1 << 24;
/// An emptied mailbox of at most this capacity goes back to the shard's pool.
pub(crate) const POOLED_QUEUE: usize = 64;
/// Queues that the pool keeps.
pub(crate) const POOL: usize = 256;
