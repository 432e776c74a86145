//! One connection speaks and every connection, itself too, must hear it before the next message.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Sample, Span, Target, Window, open_all};
use crate::connection::Peer;
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

pub(super) fn run(target: Target, span: Span, receivers: usize) -> Result<Sample> {
    let mut poller = Poller::new()?;
    let mut connections = open_all(target, receivers, &poller)?;
    let mut payload = Payload::new(span.payload);
    let mut buffer = vec![0; 256 * 1024];
    let mut heard = vec![0_u32; receivers];
    let mut out = Vec::new();
    let mut window = Window::new(target, span);
    let mut deliveries = 0;
    let mut number = 0;
    // The one that joined last: what it says is behind the joins of all, and another's first message may not be.
    let last = receivers - 1;
    let found = loop {
        out.clear();
        let speaker = &mut connections[last];
        speaker.frame(&mut out, Opcode::Text, payload.of(last as u32, number));
        speaker.send(&out)?;
        let mut missing = receivers;
        while missing > 0 {
            poller.wait(Some(Duration::from_secs(5)))?;
            ensure!(poller.token(0).is_some(), "{missing} of {receivers} receivers did not get message {number}");
            let mut event = 0;
            while let Some(index) = poller.token(event) {
                event += 1;
                connections[index].flush()?;
                let heard = &mut heard[index];
                let peer = connections[index].receive(&mut buffer, |message| {
                    ensure!(*heard == number, "receiver {index} got message {number} twice");
                    payload.check(last as u32, number, message).map_err(anyhow::Error::msg)?;
                    *heard = number.wrapping_add(1);
                    missing -= 1;
                    Ok(())
                })?;
                ensure!(peer == Peer::Open, "the server closed connection {index}");
            }
        }
        number = number.wrapping_add(1);
        deliveries += receivers as u64;
        if let Some(found) = window.note(deliveries)? {
            break found;
        }
    };
    for connection in connections {
        connection.cut();
    }
    Ok(found)
}
