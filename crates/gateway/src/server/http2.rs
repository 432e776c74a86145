//! HTTP/2 (RFC 9113), and WebSockets over it (RFC 8441).
//!
//! ```text
//! Metered ─▶ h2 ─▶ Connection ─▶ one task for each stream ─▶ request::answer ─▶ answer, or Tunnel ─▶ pump
//! ```
//!
//! The crate `h2` speaks the protocol and keeps its rules; here are the promises that HTTP/1 gives as well: what a
//! client may make the server hold and do ([`limits`](super::limits)), the time that it has for each thing, and the way
//! down. hyper's own server is left out, because a WebSocket has to see resets and windows as they are.
//!
//! Read on: [`vitals`] and [`meter`] (what a connection does), [`stream`] (a request and its answer), [`tunnel`] (a
//! stream that is a WebSocket).

mod meter;
mod stream;
pub(crate) mod tunnel;
mod vitals;

use self::vitals::{Answering, Metered, Vitals};
use super::preface::PREFACE;
use super::stream::Stream;
use super::{Desk, Peer, limits};
use bytes::Bytes;
use h2::server::Connection as H2;
use h2::{Ping, PingPong, Reason};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Serves a connection until it ends. `greeted`: the client's preface was read already.
pub(crate) async fn serve(
    desk: Rc<Desk>,
    peer: Rc<Peer>,
    stream: Stream,
    greeted: bool,
    mut drained: watch::Receiver<bool>,
) {
    let now = Instant::now();
    let vitals = Rc::new(Vitals::new(now));
    let metered = Metered::new(stream, if greeted { &PREFACE } else { &[] }, vitals.clone());
    let shake = h2::server::Builder::new()
        .enable_connect_protocol()
        .max_concurrent_streams(limits::STREAMS)
        .initial_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::HEAD as u32)
        .max_send_buffer_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS)
        .max_local_error_reset_streams(Some(limits::ERROR_RESETS))
        .max_concurrent_reset_streams(limits::RESET_STREAMS)
        .reset_stream_duration(limits::RESET_MEMORY)
        .handshake(metered.clone());
    let Ok(Ok(mut h2)) = timeout(desk.site.timeouts.header, shake).await else { return };
    desk.site.tally.http2.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let Some(pings) = h2.ping_pong() else { return };
    let alarm = Box::pin(sleep_until(now + desk.site.timeouts.idle));
    let mut connection =
        Connection { desk, peer, h2, vitals, pings, asked: None, alarm, draining: false, going: None, cut: false };
    let mut drain = pin!(drained.wait_for(|draining| *draining));
    let mut may_drain = true;
    poll_fn(|cx| {
        if may_drain && drain.as_mut().poll(cx).is_ready() {
            may_drain = false;
            connection.draining = true;
            connection.h2.graceful_shutdown();
        }
        connection.poll(cx)
    })
    .await;
    drop(connection);
    // What the client still sends must not turn the last words into a reset.
    let Some(mut stream) = metered.into_stream() else { return };
    let linger = async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _best_effort = timeout(limits::LINGER, linger).await;
}

/// A connection and its time limits.
struct Connection {
    desk: Rc<Desk>,
    peer: Rc<Peer>,
    h2: H2<Metered, Bytes>,
    vitals: Rc<Vitals>,
    pings: PingPong,
    /// When the client was asked whether it lives.
    asked: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    /// The server stops.
    draining: bool,
    /// Since when only the end of a connection without streams is waited for.
    going: Option<Instant>,
    /// It was broken off: streams that are left do not matter.
    cut: bool,
}

/// What to do when its time has come.
#[derive(Clone, Copy)]
enum Due {
    /// Close the connection as it is.
    End,
    /// Tell the client that it does not behave.
    Cut,
    /// Say that no more requests are taken.
    Leave,
    /// Ask whether the client lives.
    Ask,
}

impl Connection {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.vitals.waker.borrow_mut() = Some(cx.waker().clone());
        loop {
            loop {
                match self.h2.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let answering = Answering::new(&self.vitals);
                        let (desk, peer) = (self.desk.clone(), self.peer.clone());
                        tokio::task::spawn_local(stream::serve(desk, peer, request, respond, answering));
                    }
                    // How a client breaks off a connection is its business, and h2 has told it of its mistakes.
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if self.vitals.flooded.get() && !self.cut {
                if let Some(left_out) = self.desk.floods.may(Instant::now()) {
                    let (entry, client) = (&self.desk.site.entry, self.peer.addr);
                    let fault = "too many control frames";
                    tracing::warn!(entry = %entry, %client, fault, left_out, "an HTTP/2 connection was cut");
                }
                self.cut();
                continue;
            }
            if self.asked.is_some() && self.pings.poll_pong(cx).is_ready() {
                self.asked = None;
            }
            let now = Instant::now();
            let Some((at, due)) = self.next_due(now) else { return Poll::Pending };
            if self.alarm.deadline() != at {
                self.alarm.as_mut().reset(at);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match due {
                Due::End => return Poll::Ready(()),
                Due::Cut => self.cut(),
                Due::Leave => {
                    self.going = Some(now);
                    self.h2.graceful_shutdown();
                }
                Due::Ask => {
                    self.asked = Some(now);
                    if self.pings.send_ping(Ping::opaque()).is_err() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    fn cut(&mut self) {
        self.cut = true;
        self.going = Some(Instant::now());
        self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }

    /// What has to be done next, and when.
    fn next_due(&mut self, now: Instant) -> Option<(Instant, Due)> {
        let timeouts = &self.desk.site.timeouts;
        let vitals = &self.vitals;
        let is_idle = vitals.streams.get() == 0;
        if self.draining && is_idle {
            self.going.get_or_insert(now);
        }
        if !is_idle && !self.cut {
            // A last request came in time.
            self.going = None;
        }
        let blocked = vitals.blocked.get().map(|since| (since + limits::STALLED, Due::End));
        let ends = self.going.map(|since| (since + limits::GOODBYE, Due::End));
        let midway = vitals.meter.borrow().midway().filter(|_| !self.cut);
        let midway = midway.map(|since| (since + timeouts.header, Due::Cut));
        let leaves = (is_idle && self.going.is_none()).then(|| (vitals.idle.get() + timeouts.idle, Due::Leave));
        let asks = match self.asked {
            Some(at) => Some((at + limits::PING_TIMEOUT, Due::End)),
            None if is_idle || self.cut => None,
            None => Some((vitals.heard.get() + limits::PING_INTERVAL, Due::Ask)),
        };
        [blocked, ends, midway, leaves, asks].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
