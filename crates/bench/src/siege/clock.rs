//! Clocks that jump: the clock of the wall is set while the server runs, and the whole server is stopped for a while.
//!
//! Clients have a target that tells them its heartbeats (each 100 ms), the ticks of a ticker (each 100 ms) and when a
//! pause of a second is over. The router asks for life each second and waits a second for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::node::{Held, Node};
use super::{Row, Siege};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::poller::Poller;

/// Seconds by which the clock of the wall is off, one after the other.
const JUMPS: [i64; 8] = [3_600, -3_600, 86_400 * 365 * 10, 0, -86_400 * 365 * 5, 59, -1, 0];

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    show(wall(siege)?);
    show(stopped(siege)?);
    Ok(())
}

/// How long a pulse may fail to come. A machine may be very busy; a timer that waits for the clock of the wall waits for an
/// hour at least.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the targets told in a stretch of time.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Told {
    beats: u64,
    ticks: u64,
    pauses: u64,
}

struct Pulses {
    poller: Poller,
    clients: Vec<Connection>,
    /// What each has heard in all, and what its target says that it told.
    heard: Vec<Told>,
    totals: Vec<Option<Told>>,
    buffer: Vec<u8>,
}

impl Pulses {
    fn open(node: &Node, count: usize) -> Result<Pulses> {
        let poller = Poller::new()?;
        let dial = Dial { address: node.address, path: "/asked/pulse", receive_buffer: None };
        let mut clients = Vec::new();
        for index in 0..count {
            let client = Connection::dial(dial, index)?;
            poller.add(client.socket(), index)?;
            clients.push(client);
        }
        let (heard, totals) = (vec![Told::default(); count], vec![None; count]);
        Ok(Pulses { poller, clients, heard, totals, buffer: vec![0; 64 << 10] })
    }

    /// Listens so long; nobody may be closed. Pings are answered.
    fn listen(&mut self, time: Duration) -> Result<Told> {
        let before = self.told();
        let start = Instant::now();
        while start.elapsed() < time {
            self.attend()?;
        }
        Ok(self.told().since(before))
    }

    /// Listens until each client has heard two more heartbeats and ticks than it had: nobody's pulse has stopped.
    fn listen_to_each(&mut self) -> Result<()> {
        let before = self.heard.clone();
        let start = Instant::now();
        loop {
            let silent = |(now, before): (&Told, &Told)| {
                let told = now.since(*before);
                told.beats < 2 || told.ticks < 2
            };
            let waiting = self.heard.iter().zip(&before).filter(|pair| silent(*pair)).count();
            if waiting == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "the pulse of {waiting} of {} clients has stopped", before.len());
            self.attend()?;
        }
    }

    /// Asks each target how much it told: each client has heard just that.
    fn compare(&mut self) -> Result<()> {
        let mut out = Vec::new();
        for client in &mut self.clients {
            out.clear();
            client.frame(&mut out, Opcode::Text, b"totals");
            client.send(&out)?;
        }
        let start = Instant::now();
        while self.totals.iter().any(Option::is_none) {
            ensure!(start.elapsed() < PATIENCE, "a target does not say what it told");
            self.attend()?;
        }
        Ok(())
    }

    /// What all have heard so far.
    fn told(&self) -> Told {
        let add = |sum: Told, one: &Told| Told {
            beats: sum.beats + one.beats,
            ticks: sum.ticks + one.ticks,
            pauses: sum.pauses + one.pauses,
        };
        self.heard.iter().fold(Told::default(), add)
    }

    fn attend(&mut self) -> Result<()> {
        self.poller.wait(Some(Duration::from_millis(20)))?;
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            let Pulses { clients, heard, totals, buffer, .. } = self;
            let (client, heard) = (&mut clients[index], &mut heard[index]);
            client.flush()?;
            let peer = client.receive(buffer, |message| {
                match message {
                    b"beat" => heard.beats += 1,
                    b"tick" => heard.ticks += 1,
                    b"pause" => heard.pauses += 1,
                    _ => {
                        let total = Told::of(message).context("nobody says this")?;
                        ensure!(total == *heard, "client {index} was told {total:?} and heard {heard:?}");
                        totals[index] = Some(total);
                    }
                }
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "client {index} was closed: {:?}", client.close_code());
        }
        Ok(())
    }
}

impl Told {
    /// What a target says that it told.
    fn of(message: &[u8]) -> Option<Told> {
        let text = std::str::from_utf8(message).ok()?.strip_prefix("totals ")?;
        let numbers: Vec<u64> = text.split(' ').map_while(|one| one.parse().ok()).collect();
        let [beats, ticks, pauses] = numbers[..] else { return None };
        Some(Told { beats, ticks, pauses })
    }

    fn since(self, before: Told) -> Told {
        Told { beats: self.beats - before.beats, ticks: self.ticks - before.ticks, pauses: self.pauses - before.pauses }
    }

    /// What so many clients hear in a second, at most; late is no fault on a busy machine, early or doubled is one.
    fn is_storm(self, clients: usize, time: Duration) -> bool {
        // Some more of each: they may have been due when the time began, and both ends may be late.
        let most = |each: Duration| clients as u64 * (time.as_millis() / each.as_millis() + 6) as u64;
        let (often, seldom) = (most(Duration::from_millis(100)), most(Duration::from_secs(1)));
        self.beats > often || self.ticks > often || self.pauses > seldom
    }

    fn is_silence(self, clients: usize) -> bool {
        [self.beats, self.ticks].iter().any(|&told| told < clients as u64)
    }
}

fn wall(siege: &Siege) -> Result<Row> {
    let clients = siege.size(200, 40);
    let rounds = siege.size(5, 1);
    let offset = siege.work.join("siege-wall-clock");
    fs::write(&offset, "0")?;
    let mut start = siege.start("clock", 2);
    start.environment =
        vec![("LD_PRELOAD", shim(siege)?.into()), ("WALL_CLOCK_OFFSET", offset.clone().into_os_string())];
    let node = Node::start(&start)?;
    let before = Held::settled(&node)?;
    let mut pulses = Pulses::open(&node, clients)?;
    let calm = pulses.listen(Duration::from_secs(1))?;
    ensure!(!calm.is_silence(clients), "there is no pulse: {calm:?}");
    let (_, calm_date) = node.date()?;
    let (began, first, mut jumps) = (Instant::now(), pulses.told(), 0);
    for _ in 0..rounds {
        for jump in JUMPS {
            // At once and whole, as a program that reads it may do so at any time.
            let next = offset.with_extension("next");
            fs::write(&next, jump.to_string())?;
            fs::rename(&next, &offset)?;
            jumps += 1;
            let time = Duration::from_millis(400);
            let told = pulses.listen(time)?;
            ensure!(!told.is_storm(clients, time), "after a jump by {jump} s: {told:?}");
            pulses.listen_to_each().with_context(|| format!("after a jump by {jump} s"))?;
            // It has been felt: the server says what the time is. After a jump back hyper keeps the date that it has
            // until the clock is there again.
            let (status, date) = node.date()?;
            ensure!(status == 200, "HTTP is not answered after a jump of the clock: {status}");
            let years = jump / (86_400 * 360);
            ensure!(years <= 0 || date != calm_date, "the clock has not jumped: {date}");
        }
    }
    pulses.listen_to_each()?;
    let (all, time) = (pulses.told().since(first), began.elapsed());
    ensure!(!all.is_storm(clients, time), "in {time:?} of jumps: {all:?}");
    // What is late is left out, so a busy machine has fewer of them: most are there all the same.
    let due = clients as u64 * time.as_millis() as u64 / 100;
    ensure!(siege.quick || all.beats.min(all.ticks) > due / 2, "in {time:?} of jumps only {all:?} of {due}");
    pulses.compare()?;
    let heard = pulses.told().beats;
    let sent = node.figures()?.get("websocket_heartbeats_total").copied().context("no such figure")?;
    ensure!(sent >= heard as f64, "the server counts {sent} heartbeats, and {heard} were heard");
    drop(pulses);
    node.wait_until_back(&before)?;
    node.stop()?;
    Ok(Row {
        what: format!("the clock of the wall is set between ten years ahead and five back, {clients} clients"),
        times: format!("{jumps} jumps"),
        lost: "nobody closed, no heartbeat or timer stopped, early or made up".to_owned(),
        figures: format!(
            "{} heartbeats and {} ticks of {due} due between the jumps; each client heard what its target told it",
            all.beats, all.ticks
        ),
        broken: None,
    })
}

fn stopped(siege: &Siege) -> Result<Row> {
    let clients = siege.size(500, 40);
    let times = siege.size(5, 1);
    let stop = Duration::from_millis(siege.size(5_000, 3_000) as u64);
    let node = siege.node("clock", 2)?;
    let before = Held::settled(&node)?;
    let mut pulses = Pulses::open(&node, clients)?;
    pulses.listen(Duration::from_millis(1_200))?;
    let mut most = 0.0_f64;
    for _ in 0..times {
        node.signal(Signal::STOP)?;
        // Pings that were sent before are answered, and the answers lie in the server's sockets.
        pulses.listen(stop)?;
        node.signal(Signal::CONT)?;
        let time = Duration::from_millis(200);
        let began = Instant::now();
        let told = pulses.listen(time)?;
        ensure!(!told.is_storm(clients, began.elapsed()), "what was missed is made up: {told:?} of {clients} clients");
        most = most.max(told.beats as f64 / clients as f64);
        // Longer than a Ping's interval and time-out together.
        let told = pulses.listen(Duration::from_millis(2_500))?;
        ensure!(!told.is_silence(clients), "the pulse has stopped: {told:?}");
        pulses.listen_to_each()?;
    }
    pulses.compare()?;
    drop(pulses);
    node.wait_until_back(&before)?;
    node.stop()?;
    Ok(Row {
        what: format!(
            "the whole server is stopped (SIGSTOP) for {} s, pings each second with a time-out of one",
            stop.as_secs()
        ),
        times: format!("{times} stops, {clients} clients"),
        lost: "nobody closed, no missed heartbeat or tick made up".to_owned(),
        figures: format!("at most {most:.1} heartbeats a client in the first 200 ms (2 are due)"),
        broken: None,
    })
}

/// Compiles what stands before the C library.
fn shim(siege: &Siege) -> Result<PathBuf> {
    let library = siege.work.join("wall_clock.so");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(siege.root.join("crates/bench/shims/wall_clock.c"))
        .arg("-ldl")
        .status()
        .context("a C compiler is needed for the clock")?;
    ensure!(status.success(), "wall_clock.c does not compile");
    Ok(library)
}
