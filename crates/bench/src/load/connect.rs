//! A whole life of a connection: connect, handshake, one echo, the close handshake.
//!
//! Each step is done for `at_once` connections before the next, with blocking reads: so many are
//! always on their way at the server, and no poller is needed here.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Sample, Span, Target, Window};
use crate::connection::{Connection, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;

/// How long one step of one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// 1000, a normal closure.
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

pub(super) fn run(target: Target, span: Span, at_once: usize) -> Result<Sample> {
    let mut payload = Payload::new(span.payload);
    let mut buffer = vec![0; 16 * 1024];
    let mut out = Vec::new();
    let mut window = Window::new(target, span);
    let mut done = 0;
    loop {
        let mut batch = Vec::with_capacity(at_once);
        for index in 0..at_once {
            // The source addresses are taken in turn, so that a port has long been free.
            let index = done as usize + index;
            batch.push(Connection::begin(target.address, index)?);
        }
        for connection in &mut batch {
            connection.finish_handshake()?;
        }
        for (index, connection) in batch.iter_mut().enumerate() {
            out.clear();
            connection.frame(&mut out, Opcode::Text, payload.of(index as u32, 0));
            connection.send(&out)?;
        }
        for (index, connection) in batch.iter_mut().enumerate() {
            expect_echo(connection, index as u32, &mut payload, &mut buffer)?;
            out.clear();
            connection.frame(&mut out, Opcode::Close, &NORMAL);
            connection.send(&out)?;
        }
        for mut connection in batch {
            expect_close(&mut connection, &mut buffer)?;
            connection.cut();
        }
        done += at_once as u64;
        if let Some(found) = window.note(done)? {
            return Ok(found);
        }
    }
}

fn expect_echo(connection: &mut Connection, index: u32, payload: &mut Payload, buffer: &mut [u8]) -> Result<()> {
    let start = Instant::now();
    let mut came = false;
    while !came {
        let peer = connection.receive(buffer, |message| {
            came = true;
            payload.check(index, 0, message).map_err(anyhow::Error::msg)
        })?;
        ensure!(came || peer == Peer::Open, "closed instead of an echo on connection {index}");
        ensure!(start.elapsed() < PATIENCE, "no echo on connection {index}");
    }
    Ok(())
}

fn expect_close(connection: &mut Connection, buffer: &mut [u8]) -> Result<()> {
    let start = Instant::now();
    let unexpected = |_: &[u8]| -> Result<()> { anyhow::bail!("a second echo for one message") };
    while connection.receive(buffer, unexpected)? == Peer::Open {
        ensure!(start.elapsed() < PATIENCE, "no answer to a close frame");
    }
    Ok(())
}
