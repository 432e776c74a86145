//! Connections and requests, by service.

use super::{Kind, Labels, Metric, Unit, gauge, label};
use gateway::server::site::Site;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One value for each service and word of a closed list.
pub(super) fn by<I: Iterator<Item = (&'static str, u64)>>(
    sites: &[Arc<Site>],
    key: &'static str,
    of: impl Fn(&Site) -> I,
) -> Vec<(Labels, u64)> {
    let mut values = Vec::new();
    for site in sites {
        for (word, count) in of(site) {
            values.push((vec![("service", site.entry.clone()), (key, word.to_owned())], count));
        }
    }
    values
}

pub(super) fn of(sites: &[Arc<Site>], sockets: usize) -> Vec<Metric> {
    let service = |site: &Arc<Site>| label("service", site.entry.clone());
    vec![
        gauge("moonwire_sockets", sockets as u64, "Open connections of clients, HTTP and WebSocket."),
        Metric::many(
            "moonwire_connections",
            Kind::Gauge,
            "Open connections by what they speak: http1, http2 or websocket.",
            by(sites, "protocol", |site| site.tally.connections().collect::<Vec<_>>().into_iter()),
        ),
        Metric::many(
            "moonwire_http_requests",
            Kind::Counter,
            "Requests whose headers were complete.",
            sites.iter().map(|site| (service(site), site.tally.requests())),
        ),
        Metric::many(
            "moonwire_http2_connections",
            Kind::Counter,
            "Connections that spoke HTTP/2.",
            sites.iter().map(|site| (service(site), site.tally.http2.load(Ordering::Relaxed))),
        ),
        Metric::many(
            "moonwire_http2_websockets",
            Kind::Counter,
            "WebSockets that were opened over HTTP/2.",
            sites.iter().map(|site| (service(site), site.tally.tunnels.load(Ordering::Relaxed))),
        ),
        Metric::many(
            "moonwire_tls_handshakes",
            Kind::Counter,
            "Handshakes of TLS by what became of them.",
            by(sites, "result", |site| site.tally.tls_handshakes().collect::<Vec<_>>().into_iter()),
        ),
        Metric::many(
            "moonwire_http_responses",
            Kind::Counter,
            "Requests by the class of their answer's status; gone: the client went before the answer was there.",
            by(sites, "status", |site| site.tally.answers().collect::<Vec<_>>().into_iter()),
        ),
        Metric::histograms(
            "moonwire_http_request_duration_seconds",
            Unit::Seconds,
            "From a request's headers to its answer.",
            sites.iter().map(|site| (service(site), site.tally.seconds())),
        ),
    ]
}
