//! One client of many says as much as it can: nobody is refused or closed, no message is lost, and the others are
//! answered as before.
//!
//! At a desk the process answers only the one that spoke, and all of the flood's messages are answered in the end. In a
//! room it tells all of them, so that each message of the flood is a thousand to send; twenty others speak there
//! meanwhile, with `wsrelay.rate.messages` and without. What of a flood came into the room before it was cut is heard by
//! each, from its first message on, in order and without a gap, up to the same one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::crowd::{Crowd, Round};
use super::node::{Held, Node};
use super::{Comparison, Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// Messages in one write of the flood, and bytes in one of them.
const BURST: usize = 1_024;
const WORDS: usize = 32;

/// Who speaks in a room beside the flood, and how often they do, together.
const SPEAKERS: usize = 20;
const EVERY: Duration = Duration::from_millis(25);
/// `wsrelay.rate.messages` of the application, where it has one.
const RATE: f64 = 20.0;

/// How long at most until the flood has its turn again.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    show(desk(siege)?);
    show(room(siege, "/rated/room", Some(RATE))?);
    show(room(siege, "/ws/room", None)?);
    Ok(())
}

/// A client that writes whenever it may. It numbers what it says, and what it hears of that has to be in order.
struct Flooder {
    connection: Connection,
    /// The number under which it speaks.
    voice: u32,
    said: u32,
    heard: u32,
    payload: Payload,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Flooder {
    fn open(dial: Dial<'_>, index: usize, voice: usize) -> Result<Flooder> {
        Ok(Flooder {
            connection: Connection::dial(dial, index)?,
            voice: voice as u32,
            said: 0,
            heard: 0,
            payload: Payload::new(WORDS),
            out: Vec::new(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Reads what there is, and writes if it `floods` or has not finished. Called in turn with the others' load, it
    /// writes faster than any server answers.
    fn go_on(&mut self, floods: bool) -> Result<()> {
        let Flooder { connection, voice, said, heard, payload, out, buffer } = self;
        let peer = connection.receive(buffer, |message| {
            match Payload::names(message) {
                Some((whose, _)) if whose != *voice => return Ok(()),
                _ => payload.check(*voice, *heard, message).map_err(anyhow::Error::msg)?,
            }
            *heard += 1;
            Ok(())
        });
        let peer = peer.context("the flood")?;
        ensure!(peer == Peer::Open, "the flood was closed: {:?}", connection.close_code());
        connection.flush().context("the flood was cut")?;
        if floods && connection.is_flushed() {
            out.clear();
            for _ in 0..BURST {
                connection.frame(out, Opcode::Text, payload.of(*voice, *said));
                *said += 1;
            }
            connection.send(out).context("the flood was cut")?;
        }
        Ok(())
    }

    /// Waits until everything that it said was answered: nothing of a flood is lost either.
    fn drain(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.heard < self.said {
            self.go_on(false)?;
            ensure!(start.elapsed() < PATIENCE, "{} answers to the flood were lost", self.said - self.heard);
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn desk(siege: &Siege) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let node = siege.node("flood", 1)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path: "/ws/desk", receive_buffer: None };
    let mut crowd = Crowd::open(clients - 1, |_| dial)?;
    let mut flooder = Flooder::open(dial, clients, clients)?;
    let round = Round {
        rate: siege.size(4_000, 1_000) as f64,
        warm_up: Duration::from_millis(siege.size(500, 200) as u64),
        measured: Duration::from_millis(siege.size(3_000, 500) as u64),
        deaf: 0..0,
    };
    let mut comparison = Comparison::default();
    while let Some(pair) = comparison.next_pair(siege) {
        for floods in pair {
            let meanwhile = || if floods { flooder.go_on(true) } else { Ok(()) };
            comparison.measure(floods, || crowd.round(&round, meanwhile))?;
            flooder.drain()?;
        }
    }
    let messages = flooder.said;
    flooder.connection.cut();
    crowd.cut();
    node.wait_until_back(&before)?;
    node.stop()?;
    let (figures, broken) = comparison.judge(siege);
    Ok(Row {
        what: format!("one of {clients} clients of one process, which answers each, says as much as it can"),
        times: format!("{} rounds, {messages} messages of the flood, each answered", comparison.with.len()),
        lost: "nobody refused or closed, no message lost, the flood's neither".to_owned(),
        figures,
        broken,
    })
}

/// The clients of a room, some of whom speak at a fixed rate; all hear them.
struct Room {
    poller: Poller,
    clients: Vec<Connection>,
    /// What each has heard of each speaker and, behind those, of the flood.
    heard: Vec<[u32; SPEAKERS + 1]>,
    /// What all speakers have said, one after the other.
    said: u32,
    /// What not all have heard.
    due: VecDeque<Due>,
    plan: Option<Plan>,
    payload: Payload,
    buffer: Vec<u8>,
}

/// One message: when it had to be said, whether it counts, and how many have heard it.
struct Due {
    at: Instant,
    counts: bool,
    heard: usize,
}

/// When the next message is to be said, from when on they count, and when it is enough.
struct Plan {
    next: Instant,
    opens: Instant,
    closes: Instant,
}

fn room(siege: &Siege, path: &str, rate: Option<f64>) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let node = siege.node("flood", 1)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path, receive_buffer: None };
    let mut room = Room::open(dial, clients - 1)?;
    let alone = Held::settled(&node)?;
    let (mut comparison, mut written, mut accepted) = (Comparison::default(), 0, 0);
    let time = Duration::from_millis(siege.size(4_000, 1_000) as u64);
    while let Some(pair) = comparison.next_pair(siege) {
        for floods in pair {
            let start = Instant::now();
            // Another client each time: what a flood has written may take long to be heard.
            let mut flooder = Flooder::open(dial, clients, SPEAKERS)?;
            comparison.measure(floods, || room.round(time, &mut flooder, floods))?;
            let heard = room.after(&node, &alone, flooder)?;
            ensure!(!floods || heard.accepted > 0, "nothing of the flood came into the room");
            // A second's worth at once, and then so many each second.
            let most = rate.map_or(f64::INFINITY, |rate| rate * (1.0 + start.elapsed().as_secs_f64()) + 1.0);
            ensure!(f64::from(heard.accepted) <= most, "{} messages of the flood, at most {most}", heard.accepted);
            written += heard.written;
            accepted += heard.accepted;
        }
    }
    for client in room.clients {
        client.cut();
    }
    node.wait_until_back(&before)?;
    node.stop()?;
    let (figures, broken) = comparison.judge(siege);
    let what = rate.map_or_else(|| "no rate".to_owned(), |rate| format!("wsrelay.rate.messages {rate}"));
    Ok(Row {
        what: format!("the same in a room that tells all {clients} what one says, {SPEAKERS} others speak, {what}"),
        times: format!(
            "{} rounds, {written} messages of the flood written, {accepted} accepted and heard by each",
            comparison.with.len()
        ),
        lost: "nobody refused or closed, no message lost, doubled or out of order, the flood's neither".to_owned(),
        figures,
        broken,
    })
}

/// What came of a flood.
struct Flooded {
    written: u32,
    accepted: u32,
}

impl Room {
    fn open(dial: Dial<'_>, count: usize) -> Result<Room> {
        let mut room = Room {
            poller: Poller::new()?,
            clients: Vec::with_capacity(count),
            heard: vec![[0; SPEAKERS + 1]; count],
            said: 0,
            due: VecDeque::new(),
            plan: None,
            payload: Payload::new(WORDS),
            buffer: vec![0; 256 << 10],
        };
        for index in 0..count {
            let client = Connection::dial(dial, index)?;
            room.poller.add(client.socket(), index)?;
            room.clients.push(client);
        }
        Ok(room)
    }

    /// The speakers speak in turn, and everybody has to hear it: how long that took.
    fn round(&mut self, time: Duration, flooder: &mut Flooder, floods: bool) -> Result<Histogram<u64>> {
        let mut latencies = crate::load::latencies()?;
        let start = Instant::now();
        // What this flood may say at once has been said before it counts.
        let opens = start + Duration::from_secs(1);
        let closes = opens + time;
        self.plan = Some(Plan { next: start, opens, closes });
        while Instant::now() < closes {
            self.attend(&mut latencies)?;
            flooder.go_on(floods)?;
        }
        self.speak()?;
        self.plan = None;
        while !self.due.is_empty() {
            self.attend(&mut latencies)?;
            flooder.go_on(floods)?;
            ensure!(closes.elapsed() < PATIENCE, "{} messages were not heard by all", self.due.len());
        }
        Ok(latencies)
    }

    /// Cuts the flood. What the server has accepted of it comes to its end, and each has to have heard the same.
    fn after(&mut self, node: &Node, alone: &Held, flooder: Flooder) -> Result<Flooded> {
        let Flooder { connection, said: written, heard: echoed, .. } = flooder;
        connection.cut();
        let mut aside = crate::load::latencies()?;
        let start = Instant::now();
        while !node.is_back(alone)? {
            self.attend(&mut aside)?;
            ensure!(start.elapsed() < PATIENCE, "the flood was cut and is not gone");
        }
        // The room receives this behind everything of the flood's, and tells it in that order.
        self.say(Instant::now(), false)?;
        while !self.due.is_empty() {
            self.attend(&mut aside)?;
            ensure!(start.elapsed() < PATIENCE, "what was said after the flood was not heard by all");
        }
        let counts = || self.heard.iter().map(|heard| heard[SPEAKERS]);
        let (least, accepted) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        ensure!(least == accepted, "some heard {accepted} messages of the flood, others {least}");
        ensure!((echoed..=written).contains(&accepted), "of {written} {accepted} were heard, by the flood {echoed}");
        self.heard.iter_mut().for_each(|heard| heard[SPEAKERS] = 0);
        Ok(Flooded { written, accepted })
    }

    /// Says what is due. Called between any two reads: a message that is said late is no slowness of the server's.
    fn speak(&mut self) -> Result<()> {
        while let Some(Plan { next, opens, closes }) = &mut self.plan {
            let at = *next;
            if at > Instant::now() || at >= *closes {
                break;
            }
            *next += EVERY;
            let counts = at >= *opens;
            self.say(at, counts)?;
        }
        Ok(())
    }

    /// The next in turn says something.
    fn say(&mut self, at: Instant, counts: bool) -> Result<()> {
        let speaker = self.said as usize % SPEAKERS;
        let mut out = Vec::new();
        let number = self.said / SPEAKERS as u32;
        self.clients[speaker].frame(&mut out, Opcode::Text, self.payload.of(speaker as u32, number));
        self.said += 1;
        self.due.push_back(Due { at, counts, heard: 0 });
        self.clients[speaker].send(&out)
    }

    /// Waits for what there is to hear, not longer than until the next message is due, and hears it.
    fn attend(&mut self, latencies: &mut Histogram<u64>) -> Result<()> {
        self.speak()?;
        let next = self.plan.as_ref().map(|plan| plan.next.saturating_duration_since(Instant::now()));
        self.poller.wait(Some(next.unwrap_or(LOOK).min(LOOK)))?;
        let everybody = self.clients.len();
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            self.speak()?;
            let Room { clients, heard, said, due, payload, buffer, .. } = self;
            let (client, heard) = (&mut clients[index], &mut heard[index]);
            client.flush()?;
            let peer = client.receive(buffer, |message| {
                let voice = Payload::names(message).map_or(u32::MAX, |(voice, _)| voice);
                let Some(number) = heard.get_mut(voice as usize) else { bail!("client {index}: nobody's message") };
                payload.check(voice, *number, message).map_err(anyhow::Error::msg)?;
                *number += 1;
                if voice as usize == SPEAKERS {
                    return Ok(());
                }
                let which = (*number - 1) * SPEAKERS as u32 + voice;
                let behind = said.checked_sub(which).context("a message that was not said")? as usize;
                let place = due.len().checked_sub(behind).context("a message that all had heard")?;
                due[place].heard += 1;
                if due[place].counts {
                    latencies.saturating_record(due[place].at.elapsed().as_micros() as u64);
                }
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "client {index} was closed: {:?}", client.close_code());
            while self.due.front().is_some_and(|due| due.heard == everybody) {
                self.due.pop_front();
            }
        }
        Ok(())
    }
}
