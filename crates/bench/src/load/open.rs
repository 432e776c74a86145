//! Open loop: messages leave at fixed times, and a latency begins when its message was due.
//!
//! A closed loop waits for a slow server and so asks it less just when it is slow (coordinated
//! omission). Here the plan is made before: a stall of 10 ms shows in every message that was due
//! within it. The generator spins on its own core, so its own lateness is small; it is measured
//! too, and a run in which it was not small fails rather than blame the server.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Sample, Span, Target, Window, open_all};
use crate::connection::{Connection, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// The generator's own lateness at p99.9 beyond which a run says nothing about the server.
const LATEST: Duration = Duration::from_millis(5);

/// How long answers may take after the last message.
const PATIENCE: Duration = Duration::from_secs(5);

struct Client {
    connection: Connection,
    sent: u32,
    /// When the messages that are on their way were due, and whether they count.
    due: VecDeque<(Instant, bool)>,
}

pub(super) fn run(target: Target, span: Span, connections: usize, rate: f64) -> Result<Sample> {
    let mut poller = Poller::new()?;
    let mut clients: Vec<Client> = open_all(target, connections, &poller)?
        .into_iter()
        .map(|connection| Client { connection, sent: 0, due: VecDeque::new() })
        .collect();
    let mut payload = Payload::new(span.payload);
    let mut buffer = vec![0; 256 * 1024];
    let mut out = Vec::new();
    let mut latencies = super::latencies()?;
    let mut lateness = super::latencies()?;

    let start = Instant::now();
    let mut window = Window::new(target, span);
    let (mut sent, mut echoes) = (0_u64, 0_u64);
    let mut found = None;
    let mut stopped = start;
    loop {
        let now = Instant::now();
        while found.is_none() && due(start, sent, rate) <= now {
            let index = (sent % clients.len() as u64) as usize;
            let client = &mut clients[index];
            let due = due(start, sent, rate);
            if window.is_open() {
                lateness.saturating_record(microseconds(due, now));
            }
            out.clear();
            let message = payload.of(index as u32, client.sent);
            client.connection.frame(&mut out, Opcode::Text, message);
            client.connection.send(&out)?;
            client.due.push_back((due, window.is_open()));
            client.sent = client.sent.wrapping_add(1);
            sent += 1;
        }
        poller.wait(Some(Duration::ZERO))?;
        let mut event = 0;
        while let Some(index) = poller.token(event) {
            event += 1;
            let Client { connection, sent, due } = &mut clients[index];
            connection.flush()?;
            let peer = connection.receive(&mut buffer, |message| {
                let number = sent.wrapping_sub(due.len() as u32);
                payload.check(index as u32, number, message).map_err(anyhow::Error::msg)?;
                // A message is due exactly once, and the check has just refused any other.
                if let Some((due, true)) = due.pop_front() {
                    latencies.saturating_record(microseconds(due, Instant::now()));
                }
                echoes += 1;
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "the server closed connection {index}");
        }
        if found.is_none() {
            found = window.note(echoes)?;
            stopped = Instant::now();
        } else if echoes == sent {
            break;
        } else {
            ensure!(stopped.elapsed() < PATIENCE, "{} of {sent} messages never came back", sent - echoes);
        }
    }
    let late = Duration::from_micros(lateness.value_at_quantile(0.999));
    ensure!(
        !span.judges || late < LATEST,
        "the generator itself was {late:?} late at p99.9: the figures would not be the server's"
    );
    for client in clients {
        client.connection.cut();
    }
    let at = |quantile| latencies.value_at_quantile(quantile) as f64;
    Ok(Sample { figure: at(0.999), latency: Some([at(0.5), at(0.99)]), ..found.unwrap_or_default() })
}

/// When message `number` of the whole run is due.
fn due(start: Instant, number: u64, rate: f64) -> Instant {
    start + Duration::from_secs_f64(number as f64 / rate)
}

fn microseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_does_not_drift_with_the_number_of_messages() {
        let start = Instant::now();
        assert_eq!(due(start, 0, 30_000.0), start);
        assert_eq!(due(start, 30_000, 30_000.0), start + Duration::from_secs(1));
        let late = due(start, 3_000_001, 30_000.0) - start;
        assert!((late.as_secs_f64() - 100.000_033).abs() < 1e-5, "{late:?}");
    }
}
