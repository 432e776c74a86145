//! What the gateway counts, and the places that connections take.

use crate::figures::ANSWERS;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use units::figures::{Count, Distribution, Histogram};

/// Open connections of each shard, whatever they speak. Written by whoever accepts and closes, read by all who accept.
#[derive(Debug)]
pub struct Loads {
    open: Box<[AtomicUsize]>,
    /// How many there may be; found out before the first one.
    most: OnceLock<usize>,
}

/// One open connection, counted while this lives.
#[derive(Debug)]
pub struct Open {
    loads: Arc<Loads>,
    shard: usize,
}

impl Loads {
    /// No connections on so many shards.
    pub fn new(shards: usize) -> Arc<Loads> {
        let open = (0..shards.max(1)).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Loads { open, most: OnceLock::new() })
    }

    /// How many open connections there may be ([`super::most_connections`]).
    pub fn most(&self) -> usize {
        *self.most.get_or_init(super::most_connections)
    }

    /// All open connections.
    pub fn sum(&self) -> usize {
        self.open.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Where a connection that `accepting` has accepted should live: there, unless another shard has so many fewer.
    pub fn place(&self, accepting: usize, imbalance: usize) -> usize {
        let count = |shard: usize| self.open[shard].load(Ordering::Relaxed);
        let least = (0..self.open.len()).min_by_key(|&shard| count(shard)).unwrap_or(accepting);
        if count(accepting) > count(least) + imbalance { least } else { accepting }
    }

    /// Counts a connection.
    pub fn open(self: &Arc<Self>, shard: usize) -> Open {
        self.open[shard].fetch_add(1, Ordering::Relaxed);
        Open { loads: self.clone(), shard }
    }
}

impl Open {
    /// Counts one more beside this one, which needs a descriptor as well.
    pub fn another(&self) -> Open {
        self.loads.open(self.shard)
    }

    /// Whether there are more open connections than descriptors for them.
    pub fn is_one_too_many(&self) -> bool {
        self.loads.sum() > self.loads.most()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.loads.open[self.shard].fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a WebSocket handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// 101.
    Accepted,
    /// 400, 403 or 426 before the handler.
    Refused,
    /// 503 before the handler: `wsrelay.max.connections`.
    Limited,
    /// The handler answered with something else.
    Answered,
    /// 500: the handler failed, or asked for what cannot be.
    Faulty,
    /// 503: the target does not live.
    TargetGone,
    /// 504: the handler took too long.
    TimedOut,
    /// The client went before the handshake was answered.
    Gone,
    /// 503: there was no process for the handler or the connection.
    Full,
    /// 503: the server stops.
    Draining,
}

impl Handshake {
    /// Each result with its name in metrics.
    pub const ALL: [(Handshake, &'static str); 10] = [
        (Handshake::Accepted, "accepted"),
        (Handshake::Refused, "refused"),
        (Handshake::Limited, "limited"),
        (Handshake::Answered, "answered"),
        (Handshake::Faulty, "faulty"),
        (Handshake::TargetGone, "target_gone"),
        (Handshake::TimedOut, "timed_out"),
        (Handshake::Gone, "gone"),
        (Handshake::Full, "full"),
        (Handshake::Draining, "draining"),
    ];
}

/// A handshake that was found right, to be counted once. If it is dropped before anything came of it, its client went.
pub(crate) struct Attempt(Cell<Option<Arc<Tally>>>);

impl Attempt {
    pub(crate) fn new(tally: &Arc<Tally>) -> Attempt {
        Attempt(Cell::new(Some(tally.clone())))
    }

    /// What came of it. Only the first time counts.
    pub(crate) fn ends(&self, result: Handshake) {
        if let Some(tally) = self.0.take() {
            tally.handshake(result);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.ends(Handshake::Gone);
    }
}

/// What became of a handshake of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsResult {
    /// It was done.
    Done,
    /// The client spoke plain HTTP, and was told so.
    PlainHttp,
    /// The client has no version, cipher or protocol in common with us.
    Incompatible,
    /// The client has no certificate, or none that is accepted.
    ClientCertificate,
    /// The client does not trust our certificate.
    Distrusted,
    /// What came is not TLS, or breaks its rules.
    Garbage,
    /// The client went, or broke it off.
    Gone,
    /// It took longer than `timeouts.header`.
    TimedOut,
    /// Too many waited already.
    Crowded,
}

impl TlsResult {
    /// Each result with its name in metrics.
    pub const ALL: [(TlsResult, &'static str); 9] = [
        (TlsResult::Done, "done"),
        (TlsResult::PlainHttp, "plain_http"),
        (TlsResult::Incompatible, "incompatible"),
        (TlsResult::ClientCertificate, "client_certificate"),
        (TlsResult::Distrusted, "distrusted"),
        (TlsResult::Garbage, "garbage"),
        (TlsResult::Gone, "gone"),
        (TlsResult::TimedOut, "timed_out"),
        (TlsResult::Crowded, "crowded"),
    ];
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spoken {
    /// HTTP/1.0 or 1.1, or nothing yet.
    Http1,
    /// HTTP/2.
    Http2,
    /// WebSocket, over whatever: each is one, however many share a connection.
    WebSocket,
}

impl Spoken {
    /// Each with its name in metrics.
    pub const ALL: [(Spoken, &'static str); 3] =
        [(Spoken::Http1, "http1"), (Spoken::Http2, "http2"), (Spoken::WebSocket, "websocket")];
}

/// The classes of a status, and what has no answer because its client was gone.
pub const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone"];

/// Counts of one `http.service`, over all shards.
#[derive(Debug)]
pub struct Tally {
    requests: Count,
    /// Connections that spoke HTTP/2.
    pub http2: AtomicU64,
    /// WebSockets that were opened over HTTP/2.
    pub tunnels: AtomicU64,
    tls: [Count; TlsResult::ALL.len()],
    handshakes: [Count; Handshake::ALL.len()],
    connections: [Count; Spoken::ALL.len()],
    answers: [Count; STATUSES.len()],
    seconds: Histogram<15>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            requests: Count::new(),
            http2: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            tls: Default::default(),
            handshakes: Default::default(),
            connections: Default::default(),
            answers: Default::default(),
            seconds: Histogram::new(&ANSWERS),
        }
    }
}

/// One connection of a service, counted while this lives.
#[derive(Debug)]
pub struct Connected {
    tally: Arc<Tally>,
    protocol: Cell<Spoken>,
}

impl Connected {
    /// It turned out to speak another protocol.
    pub fn speaks(&self, protocol: Spoken) {
        let before = self.protocol.replace(protocol);
        self.tally.connections[before as usize].sub_shared(1);
        self.tally.connections[protocol as usize].add_shared(1);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.tally.connections[self.protocol.get() as usize].sub_shared(1);
    }
}

impl Tally {
    /// Counts a request.
    pub fn request(&self) {
        self.requests.add_shared(1);
    }

    /// Counts a handshake.
    pub fn handshake(&self, result: Handshake) {
        self.handshakes[result as usize].add_shared(1);
    }

    /// Handshakes by result.
    pub fn handshakes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Handshake::ALL.iter().map(|(result, name)| (*name, self.handshakes[*result as usize].get()))
    }

    /// Requests whose headers were complete.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Counts a connection while the result lives.
    pub fn connect(self: &Arc<Self>, protocol: Spoken) -> Connected {
        self.connections[protocol as usize].add_shared(1);
        Connected { tally: self.clone(), protocol: Cell::new(protocol) }
    }

    /// Open connections by what they speak.
    pub fn connections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Spoken::ALL.iter().map(|(protocol, name)| (*name, self.connections[*protocol as usize].get()))
    }

    /// Counts what became of a request: the status of its answer, unless its client was gone before.
    pub fn answer(&self, status: Option<u16>, after: Duration) {
        let class = status.map_or(5, |status| usize::from(status / 100).clamp(1, 5) - 1);
        self.answers[class].add_shared(1);
        self.seconds.observe_shared(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Requests by the class of their answer's status.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STATUSES.iter().zip(&self.answers).map(|(class, count)| (*class, count.get()))
    }

    /// How long requests took, from their headers to their answers, in nanoseconds.
    pub fn seconds(&self) -> Distribution {
        self.seconds.read()
    }
}

impl Tally {
    /// Counts a handshake of TLS.
    pub fn tls(&self, result: TlsResult) {
        self.tls[result as usize].add_shared(1);
    }

    /// Handshakes of TLS by result.
    pub fn tls_handshakes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TlsResult::ALL.iter().map(|(result, name)| (*name, self.tls[*result as usize].get()))
    }
}

/// The places of one router's connections.
#[derive(Debug)]
pub struct Places {
    most: Option<u64>,
    most_of_one: Option<u64>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by_ip: HashMap<IpAddr, u64>,
}

/// A place, taken while this lives.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    ip: IpAddr,
}

impl Places {
    /// So many places in all, and so many for one address.
    pub fn new(most: Option<u64>, most_of_one: Option<u64>) -> Arc<Places> {
        Arc::new(Places { most, most_of_one, taken: Mutex::default() })
    }

    /// Takes a place, if there is one.
    pub fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = of_one_client(ip);
        if self.most.is_some() || self.most_of_one.is_some() {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let of_one = taken.by_ip.get(&ip).copied().unwrap_or(0);
            if self.most.is_some_and(|most| taken.all >= most) || self.most_of_one.is_some_and(|most| of_one >= most) {
                return None;
            }
            taken.all += 1;
            taken.by_ip.insert(ip, of_one + 1);
        }
        Some(Place { places: self.clone(), ip })
    }
}

/// What tells clients apart: an IPv6 address by its network, of whose addresses (2^64) a client has all (RFC 6177).
fn of_one_client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.places;
        if places.most.is_none() && places.most_of_one.is_none() {
            return;
        }
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                taken.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let ip = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let places = Places::new(Some(2), Some(1));
        let first = places.take(ip(1)).expect("a place");
        assert!(places.take(ip(1)).is_none(), "one for each address");
        let _second = places.take(ip(2)).expect("a place");
        assert!(places.take(ip(3)).is_none(), "two in all");
        drop(first);
        assert!(places.take(ip(1)).is_some());
        assert_eq!(places.taken.lock().unwrap().by_ip.len(), 1, "nothing is kept of those that left");
    }

    #[test]
    fn a_client_has_all_addresses_of_its_ipv6_network() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let places = Places::new(None, Some(1));
        let _first = places.take(ip("2001:db8:1:2::1")).expect("a place");
        assert!(places.take(ip("2001:db8:1:2:ffff::2")).is_none(), "the same network");
        assert!(places.take(ip("2001:db8:1:3::1")).is_some(), "another one");
        let _fourth = places.take(ip("192.0.2.1")).expect("a place");
        assert!(places.take(ip("::ffff:192.0.2.1")).is_none(), "the same address, written otherwise");
        assert!(places.take(ip("192.0.2.2")).is_some());
    }

    #[test]
    fn a_handshake_is_counted_once_and_as_gone_if_nothing_came_of_it() {
        let tally = Arc::new(Tally::default());
        let accepted = Attempt::new(&tally);
        accepted.ends(Handshake::Accepted);
        accepted.ends(Handshake::Faulty);
        drop(accepted);
        drop(Attempt::new(&tally));
        let counted: Vec<_> = tally.handshakes().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("accepted", 1), ("gone", 1)]);
    }

    #[test]
    fn connections_go_where_the_fewest_are() {
        let loads = Loads::new(2);
        let mut open = Vec::new();
        for _ in 0..100 {
            // All accepted by the first shard.
            open.push(loads.open(loads.place(0, 1)));
        }
        let counts: Vec<usize> = loads.open.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
        drop(open);
        assert_eq!(loads.sum(), 0);
    }
}
