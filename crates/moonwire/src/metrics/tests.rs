//! The text as a whole: what is in it, and that nothing makes it grow.

use super::*;
use gateway::router::Router;
use gateway::server::access::AccessLog;
use kernel::{Host, Hosts};
use manifest::HttpTimeouts;
use std::collections::BTreeMap;

/// The page that lists all figures.
const PAGE: &str = include_str!("../../../../docs/metrics.md");

/// A node of two shards with one service, at rest.
fn sources() -> Sources {
    let node = Node::new(7, 2, Hosts::new(vec![Host::new("app:gateway")]));
    let host = node.hosts.find("app:gateway").expect("the host");
    let site = Site {
        entry: "app:gateway".to_owned(),
        host,
        router: Router::new(),
        timeouts: HttpTimeouts::default(),
        max_body: 0,
        trusted: Vec::new(),
        tally: Arc::default(),
        access: AccessLog::Off,
        identity: None,
    };
    let (loads, ceiling, shards) = (Loads::new(2), Ceiling::new(1, 2), Watched::new(2));
    Sources { node, loads, ceiling, sites: vec![Arc::new(site)], shards, dropped: Box::new(|| 0) }
}

#[test]
fn figures_are_written_as_prometheus_reads_them() {
    let text = sources().render();
    assert!(text.starts_with("# HELP moonwire_processes Living processes.\n# TYPE moonwire_processes gauge\n"));
    for line in [
        "moonwire_processes 0",
        "moonwire_processes_spawned_total 0",
        "moonwire_shard_processes{shard=\"1\"} 0",
        "moonwire_websocket_handshakes_total{service=\"app:gateway\",result=\"accepted\"} 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_histogram_counts_up_to_each_bound_and_ends_with_all() {
    let values = Distribution { bounds: &[500_000, 1_000_000_000], within: vec![2, 3], beyond: 1, sum: 7_250_000_000 };
    let mut text = String::new();
    let labels = label("service", "app:gateway");
    Metric::histograms("a_seconds", Unit::Seconds, "A.", [(labels, values)]).write(&mut text).expect("written");
    assert_eq!(
        text,
        "# HELP a_seconds A.\n# TYPE a_seconds histogram\n\
         a_seconds_bucket{service=\"app:gateway\",le=\"0.0005\"} 2\n\
         a_seconds_bucket{service=\"app:gateway\",le=\"1\"} 5\n\
         a_seconds_bucket{service=\"app:gateway\",le=\"+Inf\"} 6\n\
         a_seconds_sum{service=\"app:gateway\"} 7.25\n\
         a_seconds_count{service=\"app:gateway\"} 6\n"
    );
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut seen = BTreeMap::new();
    for metric in sources().all() {
        let name = metric.family();
        assert!(name.starts_with("moonwire_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        let seconds = name.trim_end_matches("_total").ends_with("_seconds");
        assert_eq!(seconds, metric.unit == Unit::Seconds, "{name}");
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{name}: {}", metric.help);
        assert!(!metric.values.is_empty(), "{name} has no value before something happens");
        assert_eq!(seen.insert(name.clone(), ()), None, "{name} is there twice");
    }
}

/// The table of the page, as it should be.
fn table() -> String {
    let mut rows = String::from("| figure | kind | labels | |\n|---|---|---|---|\n");
    for metric in sources().all() {
        let kind = match metric.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        let keys = metric.values.first().map(|(labels, _)| labels.iter().map(|(key, _)| format!("`{key}`")).collect());
        let keys: Vec<String> = keys.unwrap_or_default();
        rows += &format!("| `{}` | {kind} | {} | {} |\n", metric.family(), keys.join(", "), metric.help);
    }
    rows
}

#[test]
fn the_page_of_metrics_lists_what_the_server_renders() {
    let table = table();
    assert!(PAGE.contains(&table), "docs/metrics.md should have this table:\n{table}");
}
