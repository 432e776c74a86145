//! One client of many says as much as it can: nobody is refused or closed, no message is lost, and the others are
//! answered as before.
//!
//! At a desk the process answers only the one that spoke, and all of the flood's messages are answered in the end. In a
//! room it tells all of them, so that each message of the flood is a thousand to send; twenty others speak there
//! meanwhile, with `wsrelay.rate.messages` and without. What of a flood came into the room before it was cut is heard by
//! each, from its first message on, in order and without a gap, up to the same one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::crowd::{Crowd, Round};
use super::node::{Held, Node};
use super::room::{Room, SPEAKERS, Speeches};
use super::{Comparison, Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;

/// Messages in one write of the flood, and bytes in one of them.
const BURST: usize = 256;
const WORDS: usize = 32;

/// How often somebody speaks in a room beside the flood.
const EVERY: Duration = Duration::from_millis(50);
/// `wsrelay.rate.messages` of the application, where it has one.
const RATE: f64 = 20.0;

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
        filling: 0..0,
        big: 0,
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

fn room(siege: &Siege, path: &str, rate: Option<f64>) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let node = siege.node("flood", 1)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path, receive_buffer: None };
    let mut room = Room::open(clients - 1, |_| dial)?;
    let alone = Held::settled(&node)?;
    let (mut comparison, mut written, mut accepted) = (Comparison::default(), 0, 0);
    let time = Duration::from_millis(siege.size(4_000, 1_000) as u64);
    while let Some(pair) = comparison.next_pair(siege) {
        for floods in pair {
            let start = Instant::now();
            // Another client each time: what a flood has written may take long to be heard.
            let mut flooder = Flooder::open(dial, clients, SPEAKERS)?;
            // What this flood may say at once has been said before it counts.
            let round = Speeches { every: EVERY, warm_up: Duration::from_secs(1), measured: time };
            comparison.measure(floods, || room.round(&round, || flooder.go_on(floods)))?;
            let heard = after(&mut room, &node, &alone, flooder)?;
            ensure!(!floods || heard.accepted > 0, "nothing of the flood came into the room");
            // A second's worth at once, and then so many each second.
            let most = rate.map_or(f64::INFINITY, |rate| rate * (1.0 + start.elapsed().as_secs_f64()) + 1.0);
            ensure!(f64::from(heard.accepted) <= most, "{} messages of the flood, at most {most}", heard.accepted);
            written += heard.written;
            accepted += heard.accepted;
        }
    }
    room.cut();
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

/// Cuts the flood. What the server has accepted of it comes to its end, and each has to have heard the same.
fn after(room: &mut Room, node: &Node, alone: &Held, flooder: Flooder) -> Result<Flooded> {
    let Flooder { connection, said: written, heard: echoed, .. } = flooder;
    connection.cut();
    let start = Instant::now();
    while !node.is_back(alone)? {
        room.attend()?;
        ensure!(start.elapsed() < PATIENCE, "the flood was cut and is not gone");
    }
    // The room receives this behind everything of the flood's, and tells it in that order.
    room.say_aside()?;
    room.finish(|| Ok(()))?;
    let (least, accepted) = room.heard_of_other();
    ensure!(least == accepted, "some heard {accepted} messages of the flood, others {least}");
    ensure!((echoed..=written).contains(&accepted), "of {written} {accepted} were heard, by the flood {echoed}");
    room.forget_other();
    Ok(Flooded { written, accepted })
}
