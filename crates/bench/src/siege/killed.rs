//! `kill -9` in the middle of writes: the port is free at once, clients come back, and nothing of the earlier run stays.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::node::{Node, Start};
use super::{Percentiles, Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;

/// What each client keeps on its way when the server is killed.
const MESSAGE: usize = 64 << 10;
const IN_FLIGHT: u32 = 8;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    let times = siege.size(50, 5);
    let count = siege.size(200, 40);
    let folder = siege.work.join("siege-killed");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut start = siege.start("killed", 2);
    start.folder = &folder;
    start.environment = vec![("TMPDIR", folder.clone().into())];
    let mut node = Node::start(&start)?;
    // The port that the system gave the first run is the one of all.
    start.port = node.address.port();
    let mut pids: Vec<String> = Vec::new();
    let mut restarts = crate::load::latencies()?;
    for round in 0..times {
        let mut clients = open(&node, count)?;
        for pid in &pids {
            let answer = node.json(&format!("/api/alive?pid={}", encoded(pid)))?;
            ensure!(answer["alive"] == false, "{pid} of an earlier run is somebody: {answer}");
        }
        pids = who(&mut clients[0])?;
        for (index, client) in clients.iter_mut().enumerate() {
            flood(client, index as u32)?;
        }
        // Some answers are on their way, many are not.
        expect_answer(&mut clients[round % count])?;
        node.signal(Signal::KILL)?;
        node.wait()?;
        let began = Instant::now();
        node = restart(&start).with_context(|| format!("after kill {}", round + 1))?;
        restarts.record(began.elapsed().as_micros() as u64)?;
        ensure!(node.address.port() == start.port, "another port");
        for client in clients {
            expect_broken(client)?;
        }
    }
    for client in open(&node, count)? {
        client.cut();
    }
    node.stop()?;
    let left: Vec<_> = fs::read_dir(&folder)?.collect();
    ensure!(left.is_empty(), "files are left: {left:?}");
    let mut percentiles = Percentiles::default();
    percentiles.add(&restarts);
    show(Row {
        what: format!("kill -9 while {count} clients have {IN_FLIGHT} messages of 64 KiB each on their way"),
        times: format!("{times} kills and starts on the same port, {} reconnections", times * count),
        lost: "no port, no file, no descriptor; PIDs of the run before are nobody".to_owned(),
        figures: format!(
            "from the kill to ready again: median {:.0} ms, longest {:.0} ms",
            percentiles.p50(),
            restarts.max() as f64 / 1e3
        ),
        broken: None,
    });
    Ok(())
}

fn restart(start: &Start<'_>) -> Result<Node> {
    Node::start(start)
}

fn open(node: &Node, count: usize) -> Result<Vec<Connection>> {
    let dial = Dial { address: node.address, path: "/ws/echo", receive_buffer: None };
    (0..count).map(|index| Connection::dial(dial, index)).collect()
}

/// The PIDs of a client and of its target.
fn who(client: &mut Connection) -> Result<Vec<String>> {
    let mut out = Vec::new();
    client.frame(&mut out, Opcode::Text, b"who");
    client.send(&out)?;
    let answer = expect_answer(client)?;
    let pids: Vec<String> = answer.split(' ').map(str::to_owned).collect();
    ensure!(pids.len() == 2 && pids.iter().all(|pid| pid.starts_with('{')), "no PIDs: {answer}");
    Ok(pids)
}

fn flood(client: &mut Connection, index: u32) -> Result<()> {
    let mut payload = Payload::new(MESSAGE);
    let mut out = Vec::new();
    for number in 0..IN_FLIGHT {
        client.frame(&mut out, Opcode::Text, payload.of(index, number));
    }
    client.send(&out)
}

fn expect_answer(client: &mut Connection) -> Result<String> {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    let mut answer = None;
    while answer.is_none() {
        client.flush()?;
        let peer = client.receive(&mut buffer, |message| {
            answer.get_or_insert_with(|| String::from_utf8_lossy(message).into_owned());
            Ok(())
        })?;
        ensure!(answer.is_some() || peer == Peer::Open, "closed instead of an answer");
        ensure!(start.elapsed() < PATIENCE, "no answer");
        std::thread::yield_now();
    }
    answer.context("no answer")
}

/// The system has closed what the killed server left: a client reads its end, and no close frame.
fn expect_broken(mut client: Connection) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    loop {
        match client.receive(&mut buffer, |_| Ok(())) {
            Ok(Peer::Closed) => break,
            Ok(Peer::Open) if start.elapsed() < PATIENCE => std::thread::yield_now(),
            Ok(Peer::Open) => bail!("a client of a killed server is still connected"),
            Err(error) => return Err(error),
        }
    }
    ensure!(client.close_code().is_none(), "a close frame of a killed server");
    client.cut();
    Ok(())
}

/// A PID as a parameter of a query.
fn encoded(pid: &str) -> String {
    pid.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
