//! Targets that fail under traffic: 1011 each time, their last words before it, and nothing of them stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::crowd::{Crowd, Round};
use super::node::{Held, Node};
use super::{Percentiles, Row, Siege, mib};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;

/// The ways in which a target ends, and whether it has last words; see `src/mortal.luau` of the application.
const WAYS: [(&str, bool); 5] = [("fail", true), ("terminate", true), ("link", true), ("busy", true), ("join", false)];

/// Crashes side by side.
const BATCH: usize = 50;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What resident memory may grow by between the first fifth of the crashes and the end.
const GROWTH: f64 = (8 << 20) as f64;

/// What the server's log says of programs that fail because they were told to.
const EXPECTED: [&str; 2] = ["told to", "link"];

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    let crashes = siege.size(10_000, 500);
    let node = siege.node("crashes", 2)?;
    let before = Held::settled(&node)?;
    let beside = siege.size(200, 50);
    let dial = Dial { address: node.address, path: "/ws/echo", receive_buffer: None };
    let mut crowd = Crowd::open(beside, |_| dial)?;
    let mut buffer = vec![0; 64 << 10];
    let mut latencies = Percentiles::default();
    let (mut done, mut early) = (0, None);
    while done < crashes {
        let mut batch = Vec::new();
        for index in 0..BATCH.min(crashes - done) {
            let (way, speaks) = WAYS[(done + index) % WAYS.len()];
            batch.push(Mortal::open(&node, way, speaks, beside + done + index)?);
        }
        for mortal in &mut batch {
            mortal.order()?;
        }
        // Others speak while these die.
        let round = Round {
            rate: 2_000.0,
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(20),
            deaf: 0..0,
            filling: 0..0,
            big: 0,
        };
        latencies.add(&crowd.round(&round, || Ok(()))?);
        for mortal in batch {
            mortal.expect_end(&mut buffer)?;
            done += 1;
        }
        if early.is_none() && done * 5 >= crashes {
            early = Some(node.resident()? as f64);
        }
    }
    crowd.cut();
    node.wait_until_back(&before)?;
    let (early, late) = (early.unwrap_or_default(), node.resident()? as f64);
    let complaints = node.complaints(&EXPECTED)?;
    node.stop()?;
    let grown = late - early > GROWTH;
    show(Row {
        what: format!("targets that fail in {} ways, {beside} other clients speaking", WAYS.len()),
        times: format!("{done} crashes, {done} closed with 1011"),
        lost: "no last words, none of the others' messages, no process, socket, monitor, link, timer or name left"
            .to_owned(),
        figures: format!(
            "others' p50 {:.2} ms, p99 {:.2} ms; {:.1} MiB resident after a fifth, {:.1} MiB at the end",
            latencies.p50(),
            latencies.p99(),
            mib(early),
            mib(late)
        ),
        broken: complaints
            .first()
            .map(|line| format!("the log says {line}"))
            .or_else(|| grown.then(|| "resident memory grows".to_owned())),
    });
    Ok(())
}

/// A client whose target will fail.
struct Mortal {
    connection: Connection,
    way: &'static str,
    speaks: bool,
}

impl Mortal {
    fn open(node: &Node, way: &'static str, speaks: bool, index: usize) -> Result<Mortal> {
        let path = format!("/ws/mortal/{way}");
        let connection = Connection::dial(Dial { address: node.address, path: &path, receive_buffer: None }, index)?;
        Ok(Mortal { connection, way, speaks })
    }

    /// Some words, the order to die, and more words that nobody will read.
    fn order(&mut self) -> Result<()> {
        let mut out = Vec::new();
        for text in ["one", "two", "die", "three", "four"] {
            self.connection.frame(&mut out, Opcode::Text, text.as_bytes());
        }
        // Who dies of a join may be gone before.
        let sent = self.connection.send(&out);
        if self.speaks { sent } else { Ok(()) }
    }

    fn expect_end(mut self, buffer: &mut [u8]) -> Result<()> {
        let mut said = Vec::new();
        let start = Instant::now();
        loop {
            let peer = self.connection.receive(buffer, |message| {
                said.push(String::from_utf8_lossy(message).into_owned());
                Ok(())
            });
            match peer.with_context(|| self.way)? {
                Peer::Closed => break,
                Peer::Open if start.elapsed() > PATIENCE => bail!("{}: the target did not die", self.way),
                Peer::Open => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        let code = self.connection.close_code();
        ensure!(code == Some(1011), "{}: closed with {code:?} after {said:?}", self.way);
        let expected: &[&str] = if self.speaks { &["one", "two", "last words"] } else { &[] };
        ensure!(said == expected, "{}: heard {said:?}", self.way);
        self.connection.cut();
        Ok(())
    }
}
