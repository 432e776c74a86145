//! Clients that begin a message, a little at a time, and do not end it: what is unfinished has a bound, the others are
//! served, and whoever ends its message after all is answered.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::crowd::{Crowd, Round};
use super::node::{Held, Node};
use super::{Comparison, Row, Siege, mib};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// What the cap of all queues allows for each of them.
const SHARE: usize = 12 << 10;
/// What each has said when it stops, within the cap and beyond it.
const BEGUN: [usize; 2] = [6 << 10, 24 << 10];
/// What is missing then.
const REST: usize = 1 << 10;
/// What each says at a time.
const PIECE: usize = 1 << 10;
/// The server's memory beyond what is asked for: allocators round up and keep what is freed.
const SLACK: f64 = 1.25;
const SPARE: f64 = (24 << 20) as f64;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    for begun in BEGUN {
        show(senders(siege, begun)?);
    }
    Ok(())
}

fn senders(siege: &Siege, begun: usize) -> Result<Row> {
    let clients = siege.size(10_000, 500);
    let cap = clients * SHARE;
    let mut start = siege.start("senders", 2);
    start.max_queued = Some(cap);
    let node = Node::start(&start)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path: "/ws/desk", receive_buffer: None };
    let mut slow = Slow::open(dial, clients, begun + REST)?;
    let mut others = Crowd::open(siege.size(200, 20), |_| dial)?;
    let round = Round {
        rate: siege.size(2_000, 200) as f64,
        warm_up: Duration::from_millis(200),
        measured: Duration::from_millis(siege.size(3_000, 500) as u64),
        deaf: 0..0,
        filling: 0..0,
        big: 0,
    };
    let mut comparison = Comparison::default();
    comparison.measure(false, || others.round(&round, || Ok(())))?;
    let base = node.resident()? as f64;
    let mut highest = base;
    for from in (0..begun).step_by(PIECE) {
        slow.say(from..from + PIECE)?;
        highest = highest.max(node.resident()? as f64);
    }
    comparison.measure(true, || others.round(&round, || slow.look(Duration::ZERO)))?;
    highest = highest.max(node.resident()? as f64);
    let evicted = node.figures()?.get("connections_evicted_total").copied().context("no such figure")?;
    let start = Instant::now();
    while slow.gone() < evicted as usize {
        slow.look(Duration::from_millis(5))?;
        ensure!(start.elapsed() < PATIENCE, "a client that had to go was not closed");
    }
    let gone = slow.gone();
    if begun < SHARE {
        ensure!(gone == 0, "{gone} clients were closed although there was room");
    } else {
        let fit = cap / begun;
        ensure!(clients - gone <= fit, "{} stayed where {fit} fit", clients - gone);
        ensure!(clients - gone >= fit / 2, "only {} stayed where {fit} fit", clients - gone);
    }
    slow.finish(begun)?;
    slow.cut();
    others.cut();
    node.wait_until_back(&before)?;
    node.stop()?;
    let (latency, slower) = comparison.judge(siege);
    let bound = base + SPARE + cap as f64 * SLACK;
    let larger = highest > bound;
    Ok(Row {
        what: format!(
            "{clients} clients say {} KiB of a message, bit by bit, under a cap of {:.0} MiB",
            begun >> 10,
            mib(cap as f64)
        ),
        times: format!("once; {gone} closed with 1013, the others ended their messages and were answered"),
        lost: "nothing of theirs, nor of the others'".to_owned(),
        figures: format!("{latency}; {:.0} → {:.0} MiB resident, bound {:.0}", mib(base), mib(highest), mib(bound)),
        broken: slower.or_else(|| larger.then(|| "more memory than the cap allows".to_owned())),
    })
}

/// The slow clients; `None` where one was closed.
struct Slow {
    poller: Poller,
    clients: Vec<Option<Connection>>,
    answered: Vec<bool>,
    payload: Payload,
    frame: Vec<u8>,
    buffer: Vec<u8>,
}

impl Slow {
    fn open(dial: Dial<'_>, clients: usize, size: usize) -> Result<Slow> {
        let mut slow = Slow {
            poller: Poller::new()?,
            clients: Vec::with_capacity(clients),
            answered: vec![false; clients],
            payload: Payload::new(size),
            frame: Vec::new(),
            buffer: vec![0; 256 << 10],
        };
        for index in 0..clients {
            let client = Connection::dial(dial, index)?;
            slow.poller.add(client.socket(), index)?;
            slow.clients.push(Some(client));
        }
        Ok(slow)
    }

    /// Each says that part of its frame.
    fn say(&mut self, part: std::ops::Range<usize>) -> Result<()> {
        let Slow { clients, payload, frame, .. } = self;
        for (index, place) in clients.iter_mut().enumerate() {
            let Some(client) = place else { continue };
            frame.clear();
            client.frame(frame, Opcode::Text, payload.of(index as u32, 0));
            let part = &frame[part.start..part.end.min(frame.len())];
            // If it was closed, its close frame is still to be read.
            let _closed = client.flush().and_then(|()| client.send(part));
        }
        self.look(Duration::ZERO)
    }

    /// Reads what came: answers, and the end of those that have to go.
    fn look(&mut self, pause: Duration) -> Result<()> {
        self.poller.wait(Some(pause))?;
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            let Slow { clients, payload, buffer, answered, .. } = self;
            let Some(client) = &mut clients[index] else { continue };
            let peer = client.receive(buffer, |message| {
                answered[index] = true;
                payload.check(index as u32, 0, message).map_err(anyhow::Error::msg)
            })?;
            if peer == Peer::Closed {
                let code = client.close_code();
                ensure!(code.is_none_or(|code| code == 1013), "client {index} was closed with {code:?}");
                clients[index] = None;
            }
        }
        Ok(())
    }

    fn gone(&self) -> usize {
        self.clients.iter().filter(|client| client.is_none()).count()
    }

    /// Those that are left end their messages, and hear them.
    fn finish(&mut self, begun: usize) -> Result<()> {
        let gone = self.gone();
        self.say(begun..usize::MAX)?;
        let start = Instant::now();
        loop {
            let waiting = self.clients.iter().zip(&self.answered).filter(|(client, done)| client.is_some() && !**done);
            if waiting.count() == 0 {
                break;
            }
            for client in self.clients.iter_mut().flatten() {
                client.flush().context("a client that ended its message")?;
            }
            self.look(Duration::from_millis(5))?;
            ensure!(start.elapsed() < PATIENCE, "a message that was ended was not answered");
        }
        ensure!(self.gone() == gone, "clients were closed that ended their messages");
        Ok(())
    }

    fn cut(self) {
        self.clients.into_iter().flatten().for_each(Connection::cut);
    }
}
