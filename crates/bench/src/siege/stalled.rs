//! Clients that do not read: the others must not notice, and the server's memory has a bound.
//!
//! Rounds in which all read are interleaved with rounds in which a share of them is deaf; in both all say the same. Each
//! round has two phases, and both are measured: that share says so much that the answers are more than the kernel's
//! buffers and a queue at the server hold, which is when queues fill and the policy acts (with `close` all of them are
//! closed then); and then, when the server has worked that off, everybody says a little at a time.
//!
//! First each client has a process of its own, then half of a room is deaf to what the room tells all. Memory is judged
//! at its peak in both phases.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::crowd::{BIG, Crowd, Round, Woken};
use super::node::Held;
use super::room::{Room, SPEAKERS, Speeches};
use super::{Comparison, Row, Siege, mib};
use crate::connection::Dial;

/// `wsrelay.send.buffer` of the application.
const SEND_BUFFER: usize = 64 << 10;
/// What a connection may have with its target that was not received.
const CREDIT: usize = 256 << 10;
/// The server's memory beyond what is asked for: allocators round up and keep what is freed.
const SLACK: f64 = 1.25;
const SPARE: f64 = (24 << 20) as f64;
/// The receive buffer of those that will be deaf.
const SMALL_WINDOW: usize = 4096;
/// Big messages that fill what the kernel keeps for one of them, and its queue: 512 KiB.
const FILL: usize = 32;
/// How many of them are said in a second, all clients together: so few that reading the answers, where all read, is no load
/// that hides what the deaf do.
const FILLING: usize = 2_000;

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    for policy in ["close", "oldest", "newest"] {
        let shares = if siege.quick { &[0.5][..] } else { &[0.01, 0.1, 0.5] };
        for &share in shares {
            show(stalled(siege, policy, share)?);
        }
        show(room(siege, policy)?);
    }
    Ok(())
}

/// What the deaf rounds of a row had in common.
#[derive(Default)]
struct Deaf {
    woken: Woken,
    /// Resident bytes at rest, and at most.
    base: f64,
    highest: f64,
}

impl Deaf {
    /// Counts what came of `deaf` of them in a round; all have to have been acted on.
    fn count(&mut self, now: Woken, policy: &str, deaf: usize) -> Result<()> {
        if policy == "close" {
            ensure!(now.closed + now.cut == deaf, "of {deaf} clients that did not read some stayed: {now:?}");
        } else {
            ensure!(now.cut_short == deaf, "the queues of {deaf} clients were not filled: {now:?}");
            ensure!(now.closed + now.cut == 0, "clients were closed whose messages are to be dropped: {now:?}");
        }
        self.woken.dropped += now.dropped;
        self.woken.closed += now.closed;
        self.woken.cut += now.cut;
        Ok(())
    }

    /// The row of both phases.
    fn row(&self, siege: &Siege, what: String, policy: &str, deaf: usize, phases: [&Comparison; 2]) -> Row {
        let [(filling, first), (full, second)] = phases.map(|phase| phase.judge(siege));
        // For each of them one message more than the buffer may wait, and what its target has not received.
        let bound = self.base + SPARE + deaf as f64 * (SEND_BUFFER + BIG + CREDIT) as f64 * SLACK;
        let larger = (self.highest > bound).then(|| "more memory than the queues may hold".to_owned());
        let fate = match policy {
            "close" => format!("{} closed with 1013, {} cut", self.woken.closed, self.woken.cut),
            _ => format!("{} of their messages dropped", self.woken.dropped),
        };
        let rounds = phases[0].with.len();
        let (base, highest) = (mib(self.base), mib(self.highest));
        Row {
            what,
            times: format!("{rounds} rounds, {} deaf; {fate}", rounds * deaf),
            lost: "nothing of the others'".to_owned(),
            figures: format!(
                "while queues fill {filling}; then {full}; {base:.0} → {highest:.0} MiB resident at the peak, bound {:.0}",
                mib(bound)
            ),
            broken: first.map(|slower| format!("while queues fill {slower}")).or(second).or(larger),
        }
    }
}

fn stalled(siege: &Siege, policy: &str, share: f64) -> Result<Row> {
    let clients = siege.size(2_000, 200);
    let deaf = ((clients as f64 * share) as usize).max(1);
    let node = siege.node("stalled", 2)?;
    let before = Held::settled(&node)?;
    let path = format!("/{policy}/echo");
    let dial =
        |index| Dial { address: node.address, path: &path, receive_buffer: (index < deaf).then_some(SMALL_WINDOW) };
    let mut crowd = Crowd::open(clients, dial)?;
    let second = Duration::from_secs(1);
    let filling = |silent| Round {
        rate: siege.size(8_000, 1_000) as f64,
        warm_up: Duration::from_millis(siege.size(500, 200) as u64),
        measured: second.max(second * (deaf * FILL) as u32 / FILLING as u32),
        deaf: silent,
        filling: 0..deaf,
        big: FILL,
    };
    let full = |silent| Round {
        measured: Duration::from_millis(siege.size(3_000, 500) as u64),
        filling: 0..0,
        ..filling(silent)
    };
    let (mut fills, mut fulls, mut sum) = (Comparison::default(), Comparison::default(), Deaf::default());
    while let Some(pair) = fills.next_pair(siege).or_else(|| fulls.next_pair(siege)) {
        for harmed in pair {
            let silent = if harmed { 0..deaf } else { 0..0 };
            if harmed {
                node.forget_peak()?;
            }
            fills.measure(harmed, || crowd.round(&filling(silent.clone()), || Ok(())))?;
            node.wait_until_idle()?;
            fulls.measure(harmed, || crowd.round(&full(silent.clone()), || Ok(())))?;
            if harmed {
                sum.highest = sum.highest.max(node.peak()? as f64);
                sum.count(crowd.wake(0..deaf)?, policy, deaf)?;
                crowd.reopen(dial)?;
            } else {
                sum.base = sum.base.max(node.resident()? as f64);
            }
        }
    }
    crowd.cut();
    node.wait_until_back(&before)?;
    node.stop()?;
    let what = format!("{:.0} % of {clients} clients do not read, policy {policy}", share * 100.0);
    Ok(sum.row(siege, what, policy, deaf, [&fills, &fulls]))
}

/// Half of a room is deaf to what the room tells all; the others hear all of it, in order.
fn room(siege: &Siege, policy: &str) -> Result<Row> {
    let clients = siege.size(1_000, 100);
    let deaf = clients / 2..clients;
    let node = siege.node("stalled", 2)?;
    let before = Held::settled(&node)?;
    let path = format!("/{policy}/room");
    let small = |index| deaf.contains(&index).then_some(SMALL_WINDOW);
    let dial = |index| Dial { address: node.address, path: &path, receive_buffer: small(index) };
    let mut room = Room::open(clients, dial)?;
    node.wait_until_idle()?;
    let filling = Speeches {
        every: Duration::from_millis(100),
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(siege.size(12_000, 1_500) as u64),
    };
    let full = Speeches { measured: Duration::from_millis(siege.size(3_000, 1_000) as u64), ..filling };
    let (mut fills, mut fulls, mut sum) = (Comparison::default(), Comparison::default(), Deaf::default());
    while let Some(pair) = fills.next_pair(siege).or_else(|| fulls.next_pair(siege)) {
        for harmed in pair {
            let silent = if harmed { deaf.clone() } else { 0..0 };
            if harmed {
                node.forget_peak()?;
            }
            fills.measure(harmed, || room.fill(&filling, FILL as u32, silent))?;
            node.wait_until_idle()?;
            fulls.measure(harmed, || room.round(&full, || Ok(())))?;
            if harmed {
                sum.highest = sum.highest.max(node.peak()? as f64);
                sum.count(room.wake(dial)?, policy, deaf.len())?;
                // Those that were opened anew are in the room.
                node.wait_until_idle()?;
            } else {
                sum.base = sum.base.max(node.resident()? as f64);
            }
        }
    }
    room.cut();
    node.wait_until_back(&before)?;
    node.stop()?;
    let what =
        format!("half of a room of {clients} does not read what {SPEAKERS} say and one says much, policy {policy}");
    Ok(sum.row(siege, what, policy, deaf.len(), [&fills, &fulls]))
}
