//! Transfers under traffic: clients number what they say and are handed from hall to hall, on both shards.
//!
//! Each client must be answered to every number once. Each hall checks that what it gets lies between a join and its
//! leave, in order and without a gap; a ledger puts the stays of one client in a row (`src/hall.luau`, `src/ledger.luau`).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::node::{Held, Node};
use super::{Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::poller::Poller;

/// Messages of one client that may be on their way.
const WINDOW: u64 = 24;
/// Every so many messages a client asks to be handed on, and now and then to nobody.
const MOVE: u64 = 4;
const NOWHERE: u64 = 50;
const HALLS: usize = 8;

const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// How long the next answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    connection: Connection,
    sent: u64,
    /// All numbers below were answered.
    answered: u64,
    /// Of those above, which: halls answer by themselves, so the new one's answer may overtake the old one's.
    ahead: u64,
    /// Messages that asked for a transfer to nobody, and were answered.
    refused: u64,
}

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    let transfers = siege.size(100_000, 2_000) as u64;
    let count = siege.size(200, 40);
    let node = siege.node("transfers", 2)?;
    let before = Held::settled(&node)?;
    let mut poller = Poller::new()?;
    let mut clients = Vec::new();
    for index in 0..count {
        let path = format!("/ws/hall/hall_{}", index % HALLS);
        let dial = Dial { address: node.address, path: &path, receive_buffer: None };
        let connection = Connection::dial(dial, index)?;
        poller.add(connection.socket(), index)?;
        clients.push(Client { connection, sent: 0, answered: 0, ahead: 0, refused: 0 });
    }
    let began = Instant::now();
    let mut out = Vec::new();
    for client in &mut clients {
        client.say(&mut out)?;
    }
    let mut goes_on = true;
    let mut asked = Instant::now();
    let mut last = Instant::now();
    while goes_on || clients.iter().any(|client| client.answered < client.sent) {
        poller.wait(Some(Duration::from_millis(100)))?;
        let mut event = 0;
        while let Some(index) = poller.token(event) {
            event += 1;
            last = Instant::now();
            clients[index].hear().with_context(|| format!("client {index}"))?;
            if goes_on {
                clients[index].say(&mut out)?;
            }
        }
        ensure!(last.elapsed() < PATIENCE, "answers were lost: {:?}", stuck(&clients));
        if goes_on && asked.elapsed() > Duration::from_millis(500) {
            asked = Instant::now();
            goes_on = number(&node.json("/api/ledger")?, "stays")? < transfers + count as u64;
        }
    }
    let took = began.elapsed();
    for client in &mut clients {
        out.clear();
        client.connection.frame(&mut out, Opcode::Close, &NORMAL);
        client.connection.send(&out)?;
    }
    let said: u64 = clients.iter().map(|client| client.sent).sum();
    let refused: u64 = clients.iter().map(|client| client.refused).sum();
    let ledger = settled_ledger(&node, count as u64)?;
    for client in clients {
        client.connection.cut();
    }
    node.wait_until_back(&before)?;
    let complaints = node.complaints(&["no process has the name"])?;
    node.stop()?;
    let stays = number(&ledger, "stays")?;
    let faults = number(&ledger, "faults")?;
    let counted = number(&ledger, "messages")?;
    let broken = if faults > 0 {
        Some(format!("{faults} faults: {}", ledger["broken"]))
    } else if counted != said {
        Some(format!("{said} messages were sent, {counted} were received"))
    } else if number(&ledger, "refused")? > refused {
        Some("more transfers to nobody than were asked for".to_owned())
    } else {
        complaints.first().map(|line| format!("the log says {line}"))
    };
    show(Row {
        what: format!("{count} clients that speak are handed between {HALLS} targets on 2 shards"),
        times: format!(
            "{} transfers, {} to nobody, {said} messages",
            stays - count as u64,
            number(&ledger, "refused")?
        ),
        lost: "no message lost, doubled, out of order or outside join and leave; one leave for each join".to_owned(),
        figures: format!(
            "{:.0} transfers a second beside {:.0} messages",
            (stays as f64) / took.as_secs_f64(),
            said as f64 / took.as_secs_f64()
        ),
        broken,
    });
    Ok(())
}

impl Client {
    /// Says what fits into the window.
    fn say(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        while self.sent < self.answered + WINDOW {
            let number = self.sent;
            self.connection.frame(out, Opcode::Text, text(number).as_bytes());
            self.sent += 1;
        }
        if out.is_empty() { Ok(()) } else { self.connection.send(out) }
    }

    fn hear(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        let Client { connection, answered, ahead, sent, refused } = self;
        connection.flush()?;
        let peer = connection.receive(&mut buffer, |message| {
            let heard = std::str::from_utf8(message)?;
            let number: u64 = heard.split(' ').next().unwrap_or_default().parse()?;
            ensure!(heard == text(number), "a damaged answer: {heard:?}");
            ensure!(number < *sent && number >= *answered, "answer {number} twice");
            let bit = 1 << (number - *answered);
            ensure!(*ahead & bit == 0, "answer {number} twice");
            *ahead |= bit;
            *refused += u64::from(heard.ends_with("nowhere"));
            while *ahead & 1 == 1 {
                *ahead >>= 1;
                *answered += 1;
            }
            Ok(())
        })?;
        ensure!(peer == Peer::Open, "closed with {:?}", connection.close_code());
        Ok(())
    }
}

/// What message `number` says.
fn text(number: u64) -> String {
    match number {
        _ if number % NOWHERE == NOWHERE - 1 => format!("{number} nowhere"),
        _ if number % MOVE == MOVE - 1 => format!("{number} move"),
        _ => number.to_string(),
    }
}

/// What the ledger says once it knows the last stay of each client.
fn settled_ledger(node: &Node, clients: u64) -> Result<Value> {
    let start = Instant::now();
    loop {
        let ledger = node.json("/api/ledger")?;
        if number(&ledger, "gone")? == clients && number(&ledger, "waiting")? == 0 {
            return Ok(ledger);
        }
        ensure!(start.elapsed() < PATIENCE, "leaves are missing: {ledger}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(ledger: &Value, name: &str) -> Result<u64> {
    let found = ledger[name].as_f64().with_context(|| format!("no {name} in {ledger}"))?;
    Ok(found as u64)
}

fn stuck(clients: &[Client]) -> Vec<(usize, u64, u64)> {
    let waits = clients.iter().enumerate().filter(|(_, client)| client.answered < client.sent);
    waits.map(|(index, client)| (index, client.answered, client.sent)).take(5).collect()
}
