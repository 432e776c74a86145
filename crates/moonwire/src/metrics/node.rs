//! What processes do, over all shards.

use super::{Kind, Metric, counter, gauge, label};
use kernel::probe::Reason;
use kernel::{Counts, Node};

pub(super) fn of(node: &Node, now: u64) -> Vec<Metric> {
    let counts = node.gauges().map(Counts::read).fold(Counts::default(), Counts::plus);
    let (groups, members) = node.groups();
    let deepest = node.gauges().map(|shard| shard.deepest_mailbox.read(now)).max().unwrap_or_default();
    let exits =
        Reason::ALL.map(|(reason, name)| (label("reason", name), node.gauges().map(|shard| shard.exits(reason)).sum()));
    let failures = kernel::Kind::ALL
        .map(|kind| (label("kind", kind.name()), node.gauges().map(|shard| shard.failures(kind)).sum()));
    vec![
        gauge("moonwire_processes", counts.processes, "Living processes."),
        gauge("moonwire_monitors", counts.monitors, "Monitors that have not fired."),
        gauge("moonwire_links", counts.links, "Links; one between two shards counts on each."),
        gauge("moonwire_timers", counts.timers, "Running timers."),
        gauge("moonwire_names", node.names() as u64, "Names that processes hold."),
        gauge("moonwire_groups", groups as u64, "Process groups that somebody is in or monitors."),
        gauge("moonwire_group_members", members as u64, "Members and monitors of all process groups."),
        gauge("moonwire_subscriptions", node.subscriptions() as u64, "Subscriptions to published topics."),
        counter("moonwire_processes_spawned", counts.spawned, "Processes spawned."),
        counter(
            "moonwire_processes_passed_on",
            counts.passed_on,
            "Processes that began elsewhere because their core was overloaded.",
        ),
        counter("moonwire_processes_returned", counts.returned, "Processes that returned."),
        counter("moonwire_processes_failed", counts.failed, "Processes that failed or were terminated."),
        Metric::many(
            "moonwire_process_exits",
            Kind::Counter,
            "Processes that ended: returned, failed by themselves, were terminated, or were ended by a link, at their memory limit, or for computing where they cannot be suspended.",
            exits,
        ),
        Metric::many(
            "moonwire_process_failures",
            Kind::Counter,
            "Processes that failed, by whatever, by the kind of their error.",
            failures,
        ),
        counter("moonwire_slices_preempted", counts.preempted, "Slices that ended in preemption."),
        counter("moonwire_messages_delivered", counts.delivered, "Messages put into mailboxes."),
        counter("moonwire_messages_refused", counts.refused, "Messages refused by full mailboxes."),
        gauge(
            "moonwire_mailbox_messages",
            counts.waiting,
            "Messages in all mailboxes: those that were not received, read or not.",
        ),
        gauge("moonwire_mailbox_bytes", counts.waiting_bytes, "Bytes of the messages in all mailboxes."),
        gauge(
            "moonwire_mailbox_peak_messages",
            deepest,
            "Messages in the deepest mailbox, at most, in the last 15 to 30 seconds.",
        ),
    ]
}
