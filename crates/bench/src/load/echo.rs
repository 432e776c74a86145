//! Closed loop: each echo that comes back sends the next message of its connection.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Sample, Span, Target, Window, open_all};
use crate::connection::{Connection, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// A connection with the numbers of its next message and of the echo that it waits for.
struct Client {
    connection: Connection,
    sent: u32,
    echoed: u32,
}

pub(super) fn run(target: Target, span: Span, connections: usize, in_flight: usize) -> Result<Sample> {
    let mut poller = Poller::new()?;
    let mut clients: Vec<Client> = open_all(target, connections, &poller)?
        .into_iter()
        .map(|connection| Client { connection, sent: 0, echoed: 0 })
        .collect();
    let mut payload = Payload::new(span.payload);
    let mut buffer = vec![0; 256 * 1024];
    let mut out = Vec::new();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(index, in_flight, &mut payload, &mut out)?;
    }

    let mut window = Window::new(target, span);
    let mut echoes = 0;
    let found = loop {
        poller.wait(Some(Duration::from_secs(5)))?;
        ensure!(poller.token(0).is_some(), "no echo came for 5 seconds");
        let mut event = 0;
        while let Some(index) = poller.token(event) {
            event += 1;
            let client = &mut clients[index];
            client.connection.flush()?;
            let mut came = 0;
            let expected = client.echoed;
            let peer = client.connection.receive(&mut buffer, |message| {
                let number = expected.wrapping_add(came as u32);
                payload.check(index as u32, number, message).map_err(anyhow::Error::msg)?;
                came += 1;
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "the server closed connection {index}");
            client.echoed = expected.wrapping_add(came as u32);
            echoes += came as u64;
            client.send(index, came, &mut payload, &mut out)?;
        }
        if let Some(found) = window.note(echoes)? {
            break found;
        }
    };
    for client in clients {
        client.connection.cut();
    }
    Ok(found)
}

impl Client {
    /// Sends the next `count` messages with one write.
    fn send(&mut self, index: usize, count: usize, payload: &mut Payload, out: &mut Vec<u8>) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        out.clear();
        for _ in 0..count {
            let message = payload.of(index as u32, self.sent);
            self.connection.frame(out, Opcode::Text, message);
            self.sent = self.sent.wrapping_add(1);
        }
        self.connection.send(out)
    }
}
