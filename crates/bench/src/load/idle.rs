//! Connections that do nothing, and what the server's memory grows by for each.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Sample, Target};
use crate::connection::Connection;
use crate::usage;

/// Connections opened and closed before, so that what a first connection loads is not counted.
const WARM_UP: usize = 100;

pub(super) fn run(target: Target, connections: usize) -> Result<Sample> {
    for _ in 0..WARM_UP {
        Connection::open(target.address, 0)?.cut();
    }
    let before = settled(target)?;
    let start = Instant::now();
    let mut held = Vec::with_capacity(connections);
    for index in 0..connections {
        held.push(Connection::open(target.address, index)?);
    }
    let opened_in = start.elapsed();
    let after = settled(target)?;
    for connection in held {
        connection.cut();
    }
    Ok(Sample {
        figure: (after as f64 - before as f64) / 1024.0 / connections as f64,
        per_second: connections as f64 / opened_in.as_secs_f64(),
        latency: None,
    })
}

/// The server's resident memory once three readings in a row, 200 ms apart, agree within 0.5 %.
fn settled(target: Target) -> Result<u64> {
    let mut last = [0; 2];
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(200));
        let now = usage::resident(target.pid)?;
        if last.iter().all(|&earlier| now.abs_diff(earlier) < now / 200) {
            return Ok(now);
        }
        last = [last[1], now];
    }
    bail!("the server's memory did not settle within 10 seconds")
}
