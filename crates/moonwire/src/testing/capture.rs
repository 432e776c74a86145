//! The log while tests run: each test's lines apart, to be shown if it fails.

use crate::logging::{Lines, Text};
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::time::Instant;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::Layer;
use tracing_subscriber::prelude::*;

/// Bytes of a test's log that are kept, from its beginning.
const MOST: usize = 256 << 10;

thread_local! {
    /// What the test of this thread has logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// When its node began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sends the log to the tests. To be called once.
pub(crate) fn start(levels: Targets) {
    let layer = Layer::default().with_writer(|| Buffer).with_ansi(false).event_format(Lines::new(Arc::new(Text), time));
    tracing_subscriber::registry().with(layer).with(levels).init();
}

/// A test begins on this thread.
pub(crate) fn begin(epoch: Instant) {
    LOG.with_borrow_mut(Vec::clear);
    BEGAN.set(Some(epoch));
}

/// What was logged on this thread since then.
pub(crate) fn end() -> String {
    BEGAN.set(None);
    String::from_utf8_lossy(&LOG.take()).into_owned()
}

/// The time on the node's clock.
fn time() -> String {
    BEGAN.get().map_or_else(String::new, |began| format!("{:8.3}s", began.elapsed().as_secs_f64()))
}

struct Buffer;

impl Write for Buffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| {
            if log.len() < MOST {
                log.extend_from_slice(line);
            }
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
