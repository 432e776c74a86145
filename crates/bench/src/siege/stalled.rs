//! Clients that do not read: the others must not notice, and the server's memory has a bound.
//!
//! Rounds in which all read are interleaved with rounds in which a share of them is deaf; in both all say the same: that
//! share first so much that the answers are more than the kernel's buffers and a queue at the server hold, and then,
//! when the server has worked that off, everybody a little at a time, which is what is measured.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::crowd::{BIG, Crowd, Round, Woken};
use super::node::Held;
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
/// Big messages that fill what the kernel keeps for one of them, and its queue.
const FILL: usize = 64;

pub(super) fn run(siege: &Siege, show: &mut dyn FnMut(Row)) -> Result<()> {
    for policy in ["close", "oldest", "newest"] {
        let shares = if siege.quick { &[0.5][..] } else { &[0.01, 0.1, 0.5] };
        for &share in shares {
            show(stalled(siege, policy, share)?);
        }
    }
    Ok(())
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
    let round = |deaf| Round {
        rate: siege.size(8_000, 1_000) as f64,
        warm_up: Duration::from_millis(siege.size(500, 200) as u64),
        measured: Duration::from_millis(siege.size(3_000, 500) as u64),
        deaf,
    };
    let mut comparison = Comparison::default();
    let mut woken = Woken::default();
    let (mut base, mut highest) = (0.0_f64, 0.0_f64);
    while let Some(pair) = comparison.next_pair(siege) {
        for harmed in pair {
            if !harmed {
                for _ in 0..FILL {
                    crowd.fill(0..deaf, 0..0, 1)?;
                }
                node.wait_until_idle()?;
                comparison.measure(false, || crowd.round(&round(0..0), || Ok(())))?;
                base = base.max(node.resident()? as f64);
            } else {
                crowd.fill(0..deaf, 0..deaf, FILL)?;
                node.wait_until_idle()?;
                comparison.measure(true, || crowd.round(&round(0..deaf), || Ok(())))?;
                highest = highest.max(node.resident()? as f64);
                let now = crowd.wake(0..deaf)?;
                if policy == "close" {
                    ensure!(now.closed + now.cut == deaf, "of {deaf} clients that did not read some stayed: {now:?}");
                } else {
                    ensure!(now.cut_short == deaf, "the queues of {deaf} clients were not filled: {now:?}");
                }
                woken.dropped += now.dropped;
                woken.closed += now.closed;
                woken.cut += now.cut;
                crowd.reopen(dial)?;
            }
        }
    }
    crowd.cut();
    node.wait_until_back(&before)?;
    let (latency, slower) = comparison.judge(siege);
    // For each of them one message more than the buffer may wait, and what its target has not received.
    let bound = base + SPARE + deaf as f64 * (SEND_BUFFER + BIG + CREDIT) as f64 * SLACK;
    let larger = highest > bound;
    let fate = match policy {
        "close" => format!("{} closed with 1013, {} cut", woken.closed, woken.cut),
        _ => format!("{} of their answers dropped", woken.dropped),
    };
    Ok(Row {
        what: format!("{:.0} % of {clients} clients do not read, policy {policy}", share * 100.0),
        times: format!("{} rounds, {} deaf; {fate}", comparison.with.len(), comparison.with.len() * deaf),
        lost: "nothing of the others'".to_owned(),
        figures: format!("{latency}; {:.0} → {:.0} MiB resident, bound {:.0}", mib(base), mib(highest), mib(bound)),
        broken: slower.or_else(|| larger.then(|| "more memory than the queues may hold".to_owned())),
    })
}
