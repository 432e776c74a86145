//! What a connection's parts know of each other, all on one thread, and the stream that keeps it up to date.

use super::super::limits;
use super::super::stream::Stream;
use super::meter::{Meter, Offence};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How a connection is. Written by its stream and its streams' tasks, read by the connection's own task.
pub(crate) struct Vitals {
    pub(super) meter: RefCell<Meter>,
    /// When something came last.
    pub(super) heard: Cell<Instant>,
    /// Since when nothing that is to be written has been taken.
    pub(super) blocked: Cell<Option<Instant>>,
    /// The client sent too much that carries nothing.
    pub(super) flooded: Cell<bool>,
    /// Streams that are being answered, those that are WebSockets included.
    pub(super) streams: Cell<usize>,
    /// Since when there are none.
    pub(super) idle: Cell<Instant>,
    /// Wakes the connection's task.
    pub(super) waker: RefCell<Option<Waker>>,
}

impl Vitals {
    pub(crate) fn new(now: Instant) -> Vitals {
        Vitals {
            meter: RefCell::new(Meter::new(now)),
            heard: Cell::new(now),
            blocked: Cell::new(None),
            flooded: Cell::new(false),
            streams: Cell::new(0),
            idle: Cell::new(now),
            waker: RefCell::default(),
        }
    }
}

/// A stream that is being answered, while this lives.
pub(crate) struct Answering(Rc<Vitals>);

impl Answering {
    pub(crate) fn new(vitals: &Rc<Vitals>) -> Answering {
        vitals.streams.set(vitals.streams.get() + 1);
        Answering(vitals.clone())
    }

    /// A frame with data goes out.
    pub(crate) fn sent(&self) {
        self.0.meter.borrow_mut().earn();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.idle.set(Instant::now());
            if let Some(waker) = self.0.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

/// A client's connection, shared so that it outlives the protocol by the last words.
#[derive(Clone)]
pub(crate) struct Metered {
    stream: Rc<RefCell<Stream>>,
    /// What was read before.
    early: Rc<RefCell<Vec<u8>>>,
    vitals: Rc<Vitals>,
    reads: u8,
}

impl Metered {
    pub(crate) fn new(stream: Stream, early: &[u8], vitals: Rc<Vitals>) -> Metered {
        let (stream, early) = (Rc::new(RefCell::new(stream)), Rc::new(RefCell::new(early.to_vec())));
        Metered { stream, early, vitals, reads: 0 }
    }

    /// The connection, once nobody else has it.
    pub(crate) fn into_stream(self) -> Option<Stream> {
        Rc::try_unwrap(self.stream).ok().map(RefCell::into_inner)
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(_) => self.vitals.blocked.set(None),
            Poll::Pending if self.vitals.blocked.get().is_none() => self.vitals.blocked.set(Some(Instant::now())),
            Poll::Pending => {}
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.vitals.flooded.get() {
            return Poll::Pending;
        }
        if self.reads >= limits::READS {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let mut early = std::mem::take(&mut *self.early.borrow_mut());
        if early.is_empty() {
            let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf);
            if !matches!(read, Poll::Ready(Ok(()))) {
                self.reads = 0;
                return read;
            }
        } else {
            let count = early.len().min(buf.remaining());
            buf.put_slice(&early[..count]);
            early.drain(..count);
            *self.early.borrow_mut() = early;
        }
        self.reads += 1;
        let now = Instant::now();
        self.vitals.heard.set(now);
        let taken = self.vitals.meter.borrow_mut().take(&buf.filled()[before..], now);
        match taken {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Offence::NoSettings) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Err(Offence::Flood) => {
                self.vitals.flooded.set(true);
                cx.waker().wake_by_ref();
                buf.set_filled(before);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, buf);
        self.wrote(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }
}
