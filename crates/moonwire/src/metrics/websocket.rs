//! WebSockets: handshakes by service, all else over all of them.

use super::http::by;
use super::{Kind, Labels, Metric, Shards, Unit, counter, gauge, label};
use gateway::figures::{CAUSES, CODES, Figures, Flow, Kind as Frames};
use gateway::server::site::Site;
use gateway::websocket::ceiling::{Ceiling, Side};
use std::sync::Arc;

/// The policies that drop messages, as `Figures::dropped` counts them.
const POLICIES: [&str; 2] = ["drop_oldest", "drop_newest"];

pub(super) fn of(sites: &[Arc<Site>], shards: &Shards, ceiling: &Ceiling, now: u64) -> Vec<Metric> {
    let frames = |flow: &dyn Fn(&Figures) -> &Flow| {
        Frames::ALL.map(|(kind, name)| (label("kind", name), shards.sum(|figures| flow(figures).read(kind).0)))
    };
    let bytes = |flow: &dyn Fn(&Figures) -> &Flow| {
        Frames::ALL.map(|(kind, name)| (label("kind", name), shards.sum(|figures| flow(figures).read(kind).1)))
    };
    let two =
        |key: &'static str, words: [&'static str; 2], of: &dyn Fn(&Figures, usize) -> u64| -> Vec<(Labels, u64)> {
            let value = |(place, word)| (label(key, word), shards.sum(|figures| of(figures, place)));
            words.into_iter().enumerate().map(value).collect()
        };
    let listed = |key: &'static str, words: &'static [&'static str], of: &dyn Fn(&Figures) -> Vec<u64>| {
        let all: Vec<Vec<u64>> = shards.0.iter().map(|shard| of(shard)).collect();
        let value = |(place, word): (usize, &&str)| (label(key, *word), all.iter().map(|one| one[place]).sum::<u64>());
        words.iter().enumerate().map(value).collect::<Vec<_>>()
    };
    let queued = ceiling.held();
    let held = shards.0.iter().map(|shard| shard.longest_queue.read(now)).max().unwrap_or_default();
    vec![
        Metric::many(
            "moonwire_websocket_handshakes",
            Kind::Counter,
            "WebSocket handshakes by what became of them; gone: the client went before the answer, full: there was no \
             process for it, draining: the server stops.",
            by(sites, "result", |site| site.tally.handshakes().collect::<Vec<_>>().into_iter()),
        ),
        Metric::many(
            "moonwire_websocket_received_messages",
            Kind::Counter,
            "Messages from clients.",
            two("kind", ["text", "binary"], &|figures, place| figures.messages[place].get()),
        ),
        Metric::many(
            "moonwire_websocket_received_frames",
            Kind::Counter,
            "Frames from clients; a fragment is of its message's kind.",
            frames(&|figures| &figures.received),
        ),
        Metric::many(
            "moonwire_websocket_received_bytes",
            Kind::Counter,
            "Payloads from clients; of messages, as targets get them.",
            bytes(&|figures| &figures.received),
        ),
        Metric::many(
            "moonwire_websocket_sent_frames",
            Kind::Counter,
            "Frames to clients that the system has taken; each message is one.",
            frames(&|figures| &figures.sent),
        ),
        Metric::many(
            "moonwire_websocket_sent_bytes",
            Kind::Counter,
            "Payloads of the frames to clients, as they were sent.",
            bytes(&|figures| &figures.sent),
        ),
        Metric::many(
            "moonwire_websocket_compressed_plain_bytes",
            Kind::Counter,
            "Messages that were sent or received compressed, as programs see them.",
            two("direction", ["received", "sent"], &|figures, place| {
                [&figures.inflated, &figures.deflated][place].plain.get()
            }),
        ),
        Metric::many(
            "moonwire_websocket_compressed_bytes",
            Kind::Counter,
            "The same messages as they are on the connection.",
            two("direction", ["received", "sent"], &|figures, place| {
                [&figures.inflated, &figures.deflated][place].compressed.get()
            }),
        ),
        Metric::many(
            "moonwire_websocket_dropped_messages",
            Kind::Counter,
            "Messages that wsrelay.slow.policy gave up.",
            two("policy", POLICIES, &|figures, place| figures.dropped[place].get()),
        ),
        gauge(
            "moonwire_queued_bytes",
            queued.bytes,
            "What connections hold: what clients do not take, what they have not finished, and what waits for targets or \
             handlers.",
        ),
        gauge(
            "moonwire_websocket_queue_peak_bytes",
            held,
            "What waited for one client that took no more, at most, in the last 15 to 30 seconds.",
        ),
        gauge(
            "moonwire_websocket_blocked_connections",
            shards.sum(|figures| figures.blocked.get()),
            "Connections whose clients do not take what is sent to them.",
        ),
        gauge(
            "moonwire_websocket_paused_connections",
            shards.sum(|figures| figures.paused.get()),
            "Connections that are not read: their target or their rate has to catch up.",
        ),
        counter(
            "moonwire_connections_evicted",
            queued.evicted,
            "WebSockets that were closed because all queues together held too much.",
        ),
        counter(
            "moonwire_answers_cut",
            ceiling.side_cut(Side::Answer),
            "Answers that were cut because their clients took nothing and others needed the room.",
        ),
        counter(
            "moonwire_bodies_cut",
            ceiling.side_cut(Side::Body),
            "Bodies of requests that were cut because they did not go on and others needed the room.",
        ),
        Metric::many(
            "moonwire_websocket_closes",
            Kind::Counter,
            "Connections that ended, by close code; 1005: a close frame without a code, 1006: none.",
            listed("code", &CODES, &|figures| figures.codes().map(|(_, count)| count).collect()),
        ),
        Metric::many(
            "moonwire_websocket_ends",
            Kind::Counter,
            "Connections that ended, by the cause that ws.leave tells.",
            listed("cause", &CAUSES, &|figures| figures.causes().map(|(_, count)| count).collect()),
        ),
        Metric::histograms(
            "moonwire_websocket_duration_seconds",
            Unit::Seconds,
            "How long the connections lasted that ended.",
            [(Vec::new(), shards.histogram(|figures| figures.lives.read()))],
        ),
        Metric::many(
            "moonwire_websocket_transfers",
            Kind::Counter,
            "Transfers by ws.control; failed: the connection stayed with its target.",
            two("result", ["done", "failed"], &|figures, place| figures.transfers[place].get()),
        ),
        counter(
            "moonwire_websocket_heartbeats",
            shards.sum(|figures| figures.heartbeats.get()),
            "Heartbeats to targets.",
        ),
        counter("moonwire_websocket_pings", shards.sum(|figures| figures.pings.get()), "Pings to clients."),
        Metric::histograms(
            "moonwire_websocket_round_trip_seconds",
            Unit::Seconds,
            "From a Ping to the Pong that answers it; a Pong that answers none is not counted.",
            [(Vec::new(), shards.histogram(|figures| figures.round_trips.read()))],
        ),
    ]
}
