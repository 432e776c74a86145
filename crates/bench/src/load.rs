//! The loads: what is asked of a server, and what one round of it found.
//!
//! Every load checks every byte that comes back and gives up at the first wrong one. Each warms
//! the server up first and measures only between two readings of its processor time.

mod broadcast;
mod connect;
mod echo;
mod idle;
mod open;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use crate::connection::Connection;
use crate::poller::Poller;
use crate::server::Kind;
use crate::usage;

/// One load with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// Closed loop: `in_flight` messages of each connection are always on their way.
    Echo { connections: usize, in_flight: usize },
    /// Open loop: a message each `1 / rate` seconds, whatever the server does.
    Open { connections: usize, rate: Option<f64> },
    /// One connection speaks, all of them hear it, then the next message.
    Broadcast { receivers: usize },
    /// Connect, one echo, close; `at_once` of them side by side.
    Connect { at_once: usize },
    /// Connections that do nothing.
    Idle { connections: usize },
    /// As [`Load::Echo`] with one in flight, for our own server with one shard and with two.
    Shards { connections: usize },
}

/// Where a server listens and which process it is.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
}

/// How long and how large.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Bytes of a message.
    pub(crate) payload: usize,
    /// Whether a run fails whose own lateness says that its latencies are not the server's.
    pub(crate) judges: bool,
}

/// What one round found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// The figure that counts, in [`Load::unit`]; less is better.
    pub(crate) figure: f64,
    /// Messages, deliveries or connections a second.
    pub(crate) per_second: f64,
    /// Median and 99th percentile in microseconds, of loads that measure latency.
    pub(crate) latency: Option<[f64; 2]>,
}

impl Load {
    /// What [`Sample::figure`] is.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Load::Echo { .. } | Load::Shards { .. } => "µs CPU per message",
            Load::Open { .. } => "µs at p99.9",
            Load::Broadcast { .. } => "µs CPU per delivery",
            Load::Connect { .. } => "µs CPU per connection",
            Load::Idle { .. } => "KB per connection",
        }
    }

    /// A figure with its unit, briefly.
    pub(crate) fn shown(self, figure: f64) -> String {
        match self {
            Load::Idle { .. } => format!("{figure:.2} KB"),
            Load::Open { .. } => format!("{figure:.0} µs"),
            _ => format!("{figure:.2} µs"),
        }
    }

    /// What [`Sample::figure`] measures, in words.
    pub(crate) fn measure(self) -> &'static str {
        match self {
            Load::Echo { .. } | Load::Shards { .. } => "CPU per message",
            Load::Open { .. } => "p99.9",
            Load::Broadcast { .. } => "CPU per delivery",
            Load::Connect { .. } => "CPU per connection",
            Load::Idle { .. } => "resident memory per connection",
        }
    }

    /// What `server` is to be beside [`Load::base`] at most.
    pub(crate) fn goal(self, server: Kind) -> Option<f64> {
        match (self, server) {
            (Load::Broadcast { .. }, Kind::Group) => Some(1.0),
            (Load::Echo { in_flight: 1, .. } | Load::Broadcast { .. } | Load::Shards { .. }, _) => Some(1.1),
            (Load::Echo { .. }, _) => Some(1.7),
            (Load::Open { .. } | Load::Connect { .. }, _) => Some(1.2),
            // Nothing that has to do with Bun's.
            (Load::Idle { .. }, _) => None,
        }
    }

    /// Whether a server has something to show under this load.
    pub(crate) fn suits(self, server: Kind) -> bool {
        match server {
            Kind::TwoShards => matches!(self, Load::Shards { .. }),
            Kind::Group => matches!(self, Load::Broadcast { .. }),
            Kind::Moonwire => true,
            // It does not keep half of Bun's rate.
            Kind::Ws if matches!(self, Load::Open { rate: None, .. }) => false,
            Kind::Bun | Kind::Ws | Kind::Floor => !matches!(self, Load::Shards { .. }),
        }
    }

    /// Beside whom the others are shown.
    pub(crate) fn base(self) -> Kind {
        if matches!(self, Load::Shards { .. }) { Kind::Moonwire } else { Kind::Bun }
    }

    /// The command that puts it on all servers.
    pub(crate) fn command(self) -> String {
        let words = match self {
            Load::Echo { connections, in_flight } => format!("echo -c {connections} -k {in_flight}"),
            Load::Open { connections, .. } => format!("open -c {connections}"),
            Load::Broadcast { receivers } => format!("broadcast -r {receivers}"),
            Load::Connect { at_once } => format!("connect --at-once {at_once}"),
            Load::Idle { connections } => format!("idle -c {connections}"),
            Load::Shards { connections } => format!("shards -c {connections}"),
        };
        format!("cargo xtask bench {words}")
    }

    /// Puts one round of this load on `target`.
    pub(crate) fn run(self, target: Target, span: Span) -> Result<Sample> {
        match self {
            Load::Echo { connections, in_flight } => echo::run(target, span, connections, in_flight),
            Load::Open { rate: Some(rate), connections } => open::run(target, span, connections, rate),
            Load::Open { rate: None, .. } => bail!("an open loop needs a rate"),
            Load::Broadcast { receivers } => broadcast::run(target, span, receivers),
            Load::Connect { at_once } => connect::run(target, span, at_once),
            Load::Idle { connections } => idle::run(target, connections),
            Load::Shards { connections } => echo::run(target, span, connections, 1),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Echo { connections, in_flight } => {
                write!(f, "echo, {connections} connections, {in_flight} in flight")
            }
            Load::Open { connections, rate: Some(rate) } => {
                write!(f, "open loop, {connections} connections, {rate:.0}/s")
            }
            Load::Open { connections, .. } => {
                write!(f, "open loop, {connections} connections, half of Bun's rate")
            }
            Load::Broadcast { receivers } => write!(f, "broadcast to {receivers}"),
            Load::Connect { at_once } => {
                write!(f, "connect, one echo, close; {at_once} at once")
            }
            Load::Idle { connections } => write!(f, "{connections} idle connections"),
            Load::Shards { connections } => write!(f, "echo, {connections} connections, two shards against one"),
        }
    }
}

/// Latencies in microseconds, up to an hour. Bounds are given because what lies beyond them is recorded as the highest
/// trackable value, and a histogram that grows by itself begins with 2.
pub(crate) fn latencies() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000, 3)?)
}

/// Opens `count` connections and watches each under its index.
fn open_all(target: Target, count: usize, poller: &Poller) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let connection = Connection::open(target.address, index)?;
        poller.add(connection.socket(), index)?;
        connections.push(connection);
    }
    Ok(connections)
}

/// The two readings between which a load is measured.
struct Window {
    target: Target,
    opens: Instant,
    closes: Instant,
    start: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    count: u64,
}

impl Window {
    fn new(target: Target, span: Span) -> Window {
        let opens = Instant::now() + span.warm_up;
        Window { target, opens, closes: opens + span.measured, start: None }
    }

    /// To be told often how much is done; gives the sample once the window has closed.
    fn note(&mut self, count: u64) -> Result<Option<Sample>> {
        let now = Instant::now();
        let Some(start) = self.start else {
            if now >= self.opens {
                self.start = Some(self.read(count)?);
            }
            return Ok(None);
        };
        if now < self.closes {
            return Ok(None);
        }
        let end = self.read(count)?;
        sample(start, end).map(Some)
    }

    /// Whether the window has opened, which is when latencies begin to count.
    fn is_open(&self) -> bool {
        self.start.is_some()
    }

    fn read(&self, count: u64) -> Result<Reading> {
        Ok(Reading { at: Instant::now(), cpu: usage::cpu(self.target.pid)?, count })
    }
}

fn sample(start: Reading, end: Reading) -> Result<Sample> {
    let done = (end.count - start.count) as f64;
    if done == 0.0 {
        bail!("the server did nothing while it was measured");
    }
    Ok(Sample {
        figure: (end.cpu - start.cpu).as_secs_f64() * 1e6 / done,
        per_second: done / (end.at - start.at).as_secs_f64(),
        latency: None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::handshake;

    #[test]
    fn processor_time_is_divided_by_what_was_done_meanwhile() {
        let at = Instant::now();
        let start = Reading { at, cpu: Duration::from_secs(1), count: 1_000 };
        let end = Reading { at: at + Duration::from_secs(2), cpu: Duration::from_secs(2), count: 101_000 };
        let found = sample(start, end).unwrap();
        assert!((found.figure - 10.0).abs() < 1e-9, "{found:?}");
        assert!((found.per_second - 50_000.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_latency_of_seconds_counts_as_such() {
        let mut latencies = latencies().unwrap();
        latencies.saturating_record(3_000_000);
        assert!(latencies.value_at_quantile(0.5).abs_diff(3_000_000) < 3_000);
    }

    /// A server of one connection that answers every message with `frame`.
    fn server_that_always_says(frame: &'static [u8]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            let head = std::str::from_utf8(&buffer[..count]).unwrap();
            let answer = handshake::answer(head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                stream.write_all(frame).unwrap();
            }
        });
        let pid = std::process::id();
        Target { address, pid }
    }

    #[test]
    fn a_wrong_echo_ends_every_load_loudly() {
        let span =
            Span { warm_up: Duration::from_secs(60), measured: Duration::from_secs(60), payload: 32, judges: true };
        for load in [
            Load::Echo { connections: 1, in_flight: 1 },
            Load::Open { connections: 1, rate: Some(10.0) },
            Load::Broadcast { receivers: 1 },
            Load::Connect { at_once: 1 },
        ] {
            let wrong = load.run(server_that_always_says(b"\x81\x02no"), span);
            let fault = format!("{:#}", wrong.unwrap_err());
            assert!(fault.contains("wrong message"), "{load}: {fault}");
            // A message of another kind, or one that is closed instead of answered.
            for frame in [b"\x82\x02no", b"\x88\x02\x03\xe8"] {
                assert!(load.run(server_that_always_says(frame), span).is_err(), "{load}");
            }
        }
    }

    #[test]
    fn a_server_that_does_nothing_is_an_error_and_not_infinitely_fast() {
        let reading = Reading { at: Instant::now(), cpu: Duration::ZERO, count: 5 };
        assert!(sample(reading, reading).is_err());
    }
}
