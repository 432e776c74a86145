//! The figures of the node as Prometheus text (exposition format 0.0.4).

use gateway::server::site::Site;
use gateway::websocket::ceiling::Held as Queued;
use kernel::{Counts, Node};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One figure, or one for each of several things.
pub(crate) struct Metric {
    /// Its name, without the `moonwire_` before it and the `_total` behind a counter.
    name: &'static str,
    kind: Kind,
    /// One sentence, without a line break or backslash.
    help: &'static str,
    /// Labels and value.
    values: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// What a figure does with time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
}

/// What processes hold of the node's tables.
#[derive(Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) names: usize,
    /// Groups, and their members and monitors.
    pub(crate) groups: (usize, usize),
    pub(crate) subscriptions: usize,
}

impl Held {
    pub(crate) fn of(node: &Node) -> Held {
        Held { names: node.names(), groups: node.groups(), subscriptions: node.subscriptions() }
    }
}

/// All figures: those of the shards summed, those of the servers one by one.
pub(crate) fn of_node(
    counts: &Counts,
    shared: Held,
    sockets: usize,
    queued: Queued,
    dropped: u64,
    sites: &[Arc<Site>],
) -> Vec<Metric> {
    let gauge = |name, value, help| Metric { name, kind: Kind::Gauge, help, values: vec![(Vec::new(), value)] };
    let counter = |name, value, help| Metric { name, kind: Kind::Counter, help, values: vec![(Vec::new(), value)] };
    let requests =
        sites.iter().map(|site| (vec![("service", site.entry.clone())], site.tally.requests.load(Ordering::Relaxed)));
    let of_sites = |value: fn(&Site) -> u64| -> Vec<_> {
        sites.iter().map(|site| (vec![("service", site.entry.clone())], value(site))).collect()
    };
    let handshakes = sites.iter().flat_map(|site| {
        let label = |result: &str| vec![("service", site.entry.clone()), ("result", result.to_owned())];
        site.tally.handshakes().map(move |(result, count)| (label(result), count))
    });
    vec![
        gauge("processes", counts.processes, "Living processes."),
        gauge("sockets", sockets as u64, "Open connections of clients, HTTP and WebSocket."),
        gauge("monitors", counts.monitors, "Monitors that have not fired."),
        gauge("links", counts.links, "Links; one between two shards counts on each."),
        gauge("timers", counts.timers, "Running timers."),
        gauge("names", shared.names as u64, "Names that processes hold."),
        gauge("groups", shared.groups.0 as u64, "Process groups that somebody is in or monitors."),
        gauge("group_members", shared.groups.1 as u64, "Members and monitors of all process groups."),
        gauge("subscriptions", shared.subscriptions as u64, "Subscriptions to published topics."),
        counter("processes_spawned", counts.spawned, "Processes spawned."),
        counter(
            "processes_passed_on",
            counts.passed_on,
            "Processes that began elsewhere because their core was overloaded.",
        ),
        counter("processes_returned", counts.returned, "Processes that returned."),
        counter("processes_failed", counts.failed, "Processes that failed or were terminated."),
        counter("slices_preempted", counts.preempted, "Slices that ended in preemption."),
        counter("messages_delivered", counts.delivered, "Messages put into mailboxes."),
        counter("messages_refused", counts.refused, "Messages refused by full mailboxes."),
        gauge(
            "queued_bytes",
            queued.bytes,
            "Bytes that connections hold: not taken by clients, or not finished by them.",
        ),
        counter("connections_evicted", queued.evicted, "Connections closed because all of them held too much."),
        counter("log_lines_dropped", dropped, "Log lines that found the queue full."),
        Metric {
            name: "http_requests",
            kind: Kind::Counter,
            help: "Requests whose headers were complete.",
            values: requests.collect(),
        },
        Metric {
            name: "http2_connections",
            kind: Kind::Counter,
            help: "Connections that spoke HTTP/2.",
            values: of_sites(|site| site.tally.http2.load(Ordering::Relaxed)),
        },
        Metric {
            name: "http2_websockets",
            kind: Kind::Counter,
            help: "WebSockets that were opened over HTTP/2.",
            values: of_sites(|site| site.tally.tunnels.load(Ordering::Relaxed)),
        },
        Metric {
            name: "websocket_handshakes",
            kind: Kind::Counter,
            help: "WebSocket handshakes by what became of them.",
            values: handshakes.collect(),
        },
    ]
}

/// The figures as text.
pub(crate) fn render(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics {
        // Writing into a string cannot fail.
        let _infallible = write(metric, &mut text);
    }
    text
}

fn write(metric: &Metric, text: &mut String) -> std::fmt::Result {
    let (kind, suffix) = match metric.kind {
        Kind::Gauge => ("gauge", ""),
        Kind::Counter => ("counter", "_total"),
    };
    let name = format!("moonwire_{}{suffix}", metric.name);
    write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", metric.help)?;
    for (labels, value) in &metric.values {
        // The values are ids of entries and fixed words: nothing in them needs an escape.
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(text, "{name}{labels} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let counts = Counts { processes: 3, spawned: 7, ..Counts::default() };
        let text = render(&of_node(&counts, Held::default(), 2, Queued::default(), 0, &[]));
        assert!(text.starts_with("# HELP moonwire_processes Living processes.\n# TYPE moonwire_processes gauge\n"));
        for line in ["moonwire_processes 3", "moonwire_sockets 2", "moonwire_processes_spawned_total 7"] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_figure_of_several_things_has_labels() {
        let values = vec![(vec![("service", "app:gateway".to_owned()), ("result", "accepted".to_owned())], 5)];
        let metric = Metric { name: "websocket_handshakes", kind: Kind::Counter, help: "Handshakes.", values };
        let line = "moonwire_websocket_handshakes_total{service=\"app:gateway\",result=\"accepted\"} 5\n";
        assert!(render(&[metric]).ends_with(line));
    }
}
