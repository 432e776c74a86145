//! The time limits of an HTTP connection, where hyper has only one: between two requests, and for a request's headers.
//!
//! A connection *idles* until a byte of a request comes, is *asked* until its headers are complete, and is *busy*
//! until it is answered. Only the service knows when the last two change, so it says so. While the client takes nothing
//! of what is written, that has the time of an idle connection, and what is taken begins it anew: a slow line is served
//! to the end, and a client that does not read is not waited for. It is waited for less where others need the room
//! ([`super::holds`]).

use super::holds::Hold;
use super::stream::Stream;
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

const IDLE: u8 = 0;
const ASKED: u8 = 1;
const BUSY: u8 = 2;
/// No stage: the alarm is for a client that takes nothing.
const WRITING: u8 = 3;

const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Where a connection stands. Written by the service and by the connection's reads, on one thread.
#[derive(Clone, Default)]
pub(crate) struct Stage(Arc<Standing>);

#[derive(Default)]
struct Standing {
    stage: AtomicU8,
    /// What the answer holds that is being sent.
    sends: Mutex<Weak<Hold>>,
}

impl Stage {
    /// A request's headers are complete; it is being answered while the value lives.
    pub(crate) fn busy(&self) -> Busy {
        self.0.stage.store(BUSY, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Whether no request is being answered or read.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == IDLE
    }

    /// An answer is sent from now on: if it is cut while the client takes nothing, the connection ends.
    pub(crate) fn sends(&self, hold: &Arc<Hold>) {
        *self.0.sends.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(hold);
    }

    /// Ready if what is sent was cut.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        let sends = self.0.sends.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        sends.map_or(Poll::Pending, |hold| hold.poll_cut(cx))
    }
}

/// A request is being answered.
pub(crate) struct Busy(Stage);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.stage.store(IDLE, Ordering::Relaxed);
    }
}

/// A stream with its time limits.
pub(crate) struct Watched {
    stream: Stream,
    /// What was read to find out which protocol is spoken, to be read again.
    unread: SmallVec<[u8; 24]>,
    stage: Stage,
    idle: Duration,
    header: Duration,
    /// The stage that the alarm is for.
    armed: u8,
    alarm: Pin<Box<Sleep>>,
}

impl Watched {
    /// Watches a stream that has just been accepted: it is given the time for headers at once.
    pub(crate) fn new(stream: Stream, stage: Stage, idle: Duration, header: Duration) -> Watched {
        let alarm = Box::pin(sleep_until(Instant::now() + idle));
        Watched { stream, unread: SmallVec::new(), stage, idle, header, armed: BUSY, alarm }
    }

    /// Gives back what was read: it is read again before anything else.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.unread.insert_from_slice(0, bytes);
    }

    /// The stream, without limits. Nothing is left to be read again: every request is longer.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread[..count]);
            this.unread.drain(..count);
            if this.unread.is_empty() && buf.remaining() > 0 {
                // With what stands behind it, so that a request is parsed once. What has not come yet, or never will,
                // is found out by the next read.
                let _next_read = Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            if buf.filled().len() > before && this.stage.is_idle() {
                this.stage.0.stage.store(ASKED, Ordering::Relaxed);
            }
            return Poll::Ready(read);
        }
        if this.armed == WRITING {
            return Poll::Pending;
        }
        let stage = this.stage.0.stage.load(Ordering::Relaxed);
        if stage != this.armed {
            this.armed = stage;
            let limit = if stage == ASKED { this.header } else { this.idle };
            this.alarm.as_mut().reset(Instant::now() + limit);
        }
        if stage == BUSY || this.alarm.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if stage == ASKED {
            // The connection ends whether this is taken or not.
            let _best_effort = Pin::new(&mut this.stream).poll_write(cx, TIMEOUT);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Watched {
    /// Watches over a write: what it came to, that it took too long, or that somebody else needs the room.
    fn written(&mut self, cx: &mut Context<'_>, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if taken.is_ready() {
            if self.armed == WRITING {
                self.armed = BUSY;
            }
            return taken;
        }
        if self.armed != WRITING {
            self.armed = WRITING;
            self.alarm.as_mut().reset(Instant::now() + self.idle);
        }
        if self.stage.poll_cut(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(self.alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
