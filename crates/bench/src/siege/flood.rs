//! One client of many says as much as it can: nobody is refused or closed, and no message is lost.
//!
//! At a desk the process answers only the one that spoke, and credit alone bounds how far ahead of it a client may be:
//! the flood takes what the core has. In a room it tells all of them, so that each message of the flood is a thousand to
//! send. There the others have to be answered as before, with `wsrelay.rate.messages` and without.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::crowd::{Crowd, Round};
use super::node::Held;
use super::{Comparison, Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::{self, Opcode};
use crate::payload::Payload;
use crate::poller::Poller;

/// What one write of the flood carries.
const BURST: usize = 64 << 10;
/// What one message of the flood says.
const WORDS: &[u8] = b"flood flood flood flood flood fl";

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    show(desk(siege)?);
    show(room(siege, "/rated/room", "wsrelay.rate.messages 20")?);
    show(room(siege, "/ws/room", "no rate")?);
    Ok(())
}

/// A client that writes whenever it may, and reads what comes without looking at it.
struct Flooder {
    stream: TcpStream,
    burst: Vec<u8>,
    /// Bytes of the burst that were written.
    written: usize,
    received: u64,
    sent: u64,
    /// Its own connection is closed: a broken promise.
    closed: bool,
}

impl Flooder {
    fn open(dial: Dial<'_>, index: usize) -> Result<Flooder> {
        let stream = Connection::dial(dial, index)?.into_socket();
        let mut burst = Vec::new();
        while burst.len() < BURST {
            frame::push_masked(&mut burst, Opcode::Text, WORDS, [1, 2, 3, 4]);
        }
        Ok(Flooder { stream, burst, written: 0, received: 0, sent: 0, closed: false })
    }

    /// One read, and one write if it `floods` or has not finished a frame. Called in turn with the others' load, it
    /// writes faster than any server answers.
    fn go_on(&mut self, floods: bool, buffer: &mut [u8]) -> Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.received += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the flood was cut"),
        }
        let frame = frame::masked_length(WORDS.len());
        let rest = (frame - self.written % frame) % frame;
        let next = if floods { self.burst.len() - self.written } else { rest };
        if next > 0 {
            match self.stream.write(&self.burst[self.written..self.written + next]) {
                Ok(count) => {
                    self.sent += count as u64;
                    self.written = (self.written + count) % self.burst.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the flood was cut"),
            }
        }
        Ok(())
    }

    /// Waits until everything that it said was answered: nothing of a flood is lost either.
    fn drain(&mut self, buffer: &mut [u8]) -> Result<()> {
        let start = Instant::now();
        loop {
            self.go_on(false, buffer)?;
            if self.is_answered() {
                return Ok(());
            }
            ensure!(!self.closed && start.elapsed() < PATIENCE, "answers to the flood were lost");
            std::thread::yield_now();
        }
    }

    /// Whether all that it said came back, to it alone.
    fn is_answered(&self) -> bool {
        let frame = frame::masked_length(WORDS.len());
        // Masks are four bytes longer.
        self.written.is_multiple_of(frame) && self.received == self.messages() * (frame as u64 - 4)
    }

    fn messages(&self) -> u64 {
        self.sent / frame::masked_length(WORDS.len()) as u64
    }
}

fn desk(siege: &Siege) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let node = siege.node("flood", 1)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path: "/ws/desk", receive_buffer: None };
    let mut crowd = Crowd::open(clients - 1, |_| dial)?;
    let mut flooder = Flooder::open(dial, clients)?;
    let round = Round {
        rate: siege.size(4_000, 1_000) as f64,
        warm_up: Duration::from_millis(siege.size(500, 200) as u64),
        measured: Duration::from_millis(siege.size(3_000, 500) as u64),
        deaf: 0..0,
    };
    let mut buffer = vec![0; 256 << 10];
    let mut comparison = Comparison::default();
    while let Some(pair) = comparison.next_pair(siege) {
        for floods in pair {
            let meanwhile = || if floods { flooder.go_on(true, &mut buffer) } else { Ok(()) };
            comparison.measure(floods, || crowd.round(&round, meanwhile))?;
            flooder.drain(&mut buffer)?;
        }
    }
    let messages = flooder.messages();
    drop(flooder);
    crowd.cut();
    node.wait_until_back(&before)?;
    node.stop()?;
    // Shown and not judged: the core has nothing left, which shows as soon as other programs want some of it.
    let (figures, _not_promised) = comparison.judge(siege);
    Ok(Row {
        what: format!("one of {clients} clients of one process, which answers each, says as much as it can"),
        times: format!("{} rounds, {messages} messages of the flood", comparison.with.len()),
        lost: "nobody refused or closed, no message lost, the flood's neither".to_owned(),
        figures,
        broken: None,
    })
}

/// The clients of a room, one of whom speaks at a fixed rate; all hear it.
struct Room {
    poller: Poller,
    clients: Vec<Connection>,
    /// What each has heard of the speaker.
    heard: Vec<u32>,
    buffer: Vec<u8>,
    said: u32,
}

fn room(siege: &Siege, path: &str, what: &str) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let node = siege.node("flood", 1)?;
    let before = Held::settled(&node)?;
    let dial = Dial { address: node.address, path, receive_buffer: None };
    let poller = Poller::new()?;
    let mut members = Vec::new();
    for index in 0..clients - 1 {
        let client = Connection::dial(dial, index)?;
        poller.add(client.socket(), index)?;
        members.push(client);
    }
    let mut room =
        Room { poller, heard: vec![0; members.len()], clients: members, buffer: vec![0; 256 << 10], said: 0 };
    let (mut comparison, mut messages) = (Comparison::default(), 0);
    let time = Duration::from_millis(siege.size(4_000, 1_000) as u64);
    while let Some(pair) = comparison.next_pair(siege) {
        for floods in pair {
            // Another client each time: what a flood has written may take long to be heard.
            let mut flooder = Flooder::open(dial, clients)?;
            comparison.measure(floods, || room.round(time, &mut flooder, floods))?;
            messages += flooder.messages();
        }
    }
    for client in room.clients {
        client.cut();
    }
    node.wait_until_back(&before)?;
    node.stop()?;
    let (figures, broken) = comparison.judge(siege);
    Ok(Row {
        what: format!("the same in a room that tells all {clients} what one says, {what}"),
        times: format!("{} rounds, {messages} messages of the flood written", comparison.with.len()),
        lost: "nobody refused or closed, no message lost".to_owned(),
        figures,
        broken,
    })
}

impl Room {
    /// The first client says something ten times a second, and everybody has to hear it.
    fn round(&mut self, time: Duration, flooder: &mut Flooder, floods: bool) -> Result<Histogram<u64>> {
        const EVERY: Duration = Duration::from_millis(100);
        let mut latencies = crate::load::latencies()?;
        let mut payload = Payload::new(WORDS.len());
        let mut out = Vec::new();
        let mut buffer = vec![0; 256 << 10];
        // What the last one has left behind comes to its end, and what this one may say at once has been said.
        let start = Instant::now() + EVERY * 10;
        let count = (time.as_millis() / EVERY.as_millis()) as u32;
        for number in 0..count {
            let due = start + EVERY * number;
            while Instant::now() < due {
                self.attend(due, None, &mut latencies)?;
                flooder.go_on(floods, &mut buffer)?;
            }
            out.clear();
            self.clients[0].frame(&mut out, Opcode::Text, payload.of(0, self.said));
            self.said += 1;
            self.clients[0].send(&out)?;
            while self.heard.iter().any(|&heard| heard < self.said) {
                self.attend(Instant::now() + Duration::from_millis(5), Some(due), &mut latencies)?;
                flooder.go_on(floods, &mut buffer)?;
                ensure!(due.elapsed() < PATIENCE, "a message was not heard by all");
            }
        }
        ensure!(!flooder.closed, "the flood was closed");
        Ok(latencies)
    }

    fn attend(&mut self, until: Instant, due: Option<Instant>, latencies: &mut Histogram<u64>) -> Result<()> {
        let pause = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(5));
        self.poller.wait(Some(pause))?;
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            let heard = &mut self.heard[index];
            let said = self.said;
            self.clients[index].flush()?;
            let peer = self.clients[index].receive(&mut self.buffer, |message| {
                if message == WORDS {
                    return Ok(());
                }
                ensure!(
                    Payload::names(message) == Some((0, *heard)) && *heard < said,
                    "client {index}: a wrong message"
                );
                *heard += 1;
                if let Some(due) = due {
                    latencies.saturating_record(due.elapsed().as_micros() as u64);
                }
                Ok(())
            })?;
            if peer == Peer::Closed {
                bail!("client {index} was closed: {:?}", self.clients[index].close_code());
            }
        }
        Ok(())
    }
}
