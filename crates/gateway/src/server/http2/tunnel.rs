//! A stream that is a WebSocket (RFC 8441).
//!
//! Sessions are driven by descriptors, so each has one end of a pair of sockets, and a task carries bytes between the
//! other end and the stream. It holds little: what waits, waits in the client's window, or in the pair, which the
//! session sees as a socket that takes nothing. END_STREAM is a FIN, and RST_STREAM is a lost connection.

use super::super::limits;
use super::super::tally::Open;
use super::vitals::Answering;
use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair, sockopt};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rounds of carrying before other tasks get their turn.
const ROUNDS: usize = 8;

/// An extended CONNECT that may become a WebSocket: the place where the stream's task finds its end.
#[derive(Clone, Default)]
pub(crate) struct Tunnel(Rc<Cell<Option<Near>>>);

/// The end of the stream's task.
pub(crate) struct Near {
    socket: UnixStream,
    /// To be told that the answer is on its way.
    answered: oneshot::Sender<()>,
    /// The session is over when this is.
    session: oneshot::Receiver<Infallible>,
    _open: Open,
}

/// The end of the session.
pub(crate) struct Far {
    /// Its socket.
    pub(crate) socket: OwnedFd,
    /// The session begins when the answer is on its way.
    pub(crate) answered: oneshot::Receiver<()>,
    /// Dropped when the session is over.
    pub(crate) held: Held,
}

/// What a session over HTTP/2 holds.
pub(crate) struct Held {
    _session: oneshot::Sender<Infallible>,
    _open: Open,
}

impl Tunnel {
    /// Connects the two ends. Each takes a descriptor, as a connection does.
    pub(crate) fn open(&self, connection: &Open) -> io::Result<Far> {
        let (near_open, far_open) = (connection.another(), connection.another());
        if connection.is_one_too_many() {
            return Err(io::Error::other("too many connections"));
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        for end in [&near, &far] {
            sockopt::set_socket_send_buffer_size(end, limits::STREAM_PIECE)?;
        }
        let socket = UnixStream::from_std(near.into())?;
        let (answer, answered) = oneshot::channel();
        let (sender, session) = oneshot::channel();
        self.0.set(Some(Near { socket, answered: answer, session, _open: near_open }));
        Ok(Far { socket: far, answered, held: Held { _session: sender, _open: far_open } })
    }

    /// Whether it was opened.
    pub(crate) fn is_open(&self) -> bool {
        let near = self.0.take();
        let is_open = near.is_some();
        self.0.set(near);
        is_open
    }

    /// The end of the stream's task, if it was opened.
    pub(crate) fn take(&self) -> Option<Near> {
        self.0.take()
    }
}

/// Carries bytes between a stream that was answered and its session, until both have ended.
pub(crate) async fn pump(near: Near, send: SendStream<Bytes>, recv: RecvStream, answering: &Answering) {
    let Near { socket, answered, session, _open } = near;
    // The session has ended already, which is seen below.
    let _gone = answered.send(());
    let mut pump = Pump {
        socket,
        send,
        recv,
        to_session: BytesMut::new(),
        client_ended: false,
        fin_passed: false,
        to_client: Bytes::new(),
        session_ended: false,
        session: Some(session),
        deadline: None,
    };
    poll_fn(|cx| pump.poll(cx, answering)).await;
}

struct Pump {
    socket: UnixStream,
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// What the session has not taken, at most a stream's window: what is here has not been given back to it.
    to_session: BytesMut,
    /// The client's END_STREAM has come ...
    client_ended: bool,
    /// ... and the session was told.
    fin_passed: bool,
    /// What the client has not taken.
    to_client: Bytes,
    /// Our END_STREAM was sent.
    session_ended: bool,
    session: Option<oneshot::Receiver<Infallible>>,
    /// The session is over, and what it said last has so much time.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The stream is broken: nothing can be carried any more.
struct Broken;

impl Pump {
    /// Ready when there is nothing more to carry.
    fn poll(&mut self, cx: &mut Context<'_>, answering: &Answering) -> Poll<()> {
        if self.session.as_mut().is_some_and(|session| Pin::new(session).poll(cx).is_ready()) {
            self.session = None;
            self.deadline = Some(Box::pin(sleep_until(Instant::now() + limits::GOODBYE)));
        }
        // The client broke off the stream, or the connection. Dropping the socket is what a session sees of it.
        if self.send.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..ROUNDS {
            let (Ok(inward), Ok(outward)) = (self.carry_inward(cx), self.carry_outward(cx, answering)) else {
                return Poll::Ready(());
            };
            let is_over = self.session.is_none() || self.client_ended && self.fin_passed;
            if self.session_ended && is_over {
                return Poll::Ready(());
            }
            if !inward && !outward {
                if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                    self.send.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// From the client to the session. Whether something moved.
    fn carry_inward(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let mut moved = false;
        // Taken at once, so that small frames cost what they carry; the window opens when the session has them.
        while !self.client_ended {
            match self.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    moved = true;
                    if self.session.is_none() {
                        self.give_back(data.len());
                    } else {
                        self.to_session.extend_from_slice(&data);
                    }
                }
                Poll::Ready(Some(Err(_))) => return Err(Broken),
                Poll::Ready(None) => {
                    self.client_ended = true;
                    moved = true;
                    if let Poll::Ready(Ok(Some(_))) = self.recv.poll_trailers(cx) {
                        // RFC 9113 section 8.5: nothing but DATA belongs here.
                        self.send.send_reset(Reason::PROTOCOL_ERROR);
                        return Err(Broken);
                    }
                }
                Poll::Pending => break,
            }
        }
        while !self.to_session.is_empty() {
            if self.socket.poll_write_ready(cx).is_pending() {
                return Ok(moved);
            }
            match self.socket.try_write(&self.to_session) {
                Ok(count) => {
                    moved = true;
                    self.to_session.advance(count);
                    self.give_back(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The session has closed its end: nobody reads this any more.
                Err(_) => {
                    let count = self.to_session.len();
                    self.to_session.clear();
                    self.give_back(count);
                }
            }
        }
        if self.to_session.capacity() > 0 {
            // An idle stream holds no buffer.
            self.to_session = BytesMut::new();
        }
        if self.client_ended && !self.fin_passed {
            self.fin_passed = true;
            moved = true;
            let _closed_meanwhile = shutdown(&self.socket, Shutdown::Write);
        }
        Ok(moved)
    }

    /// From the session to the client. Whether something moved.
    fn carry_outward(&mut self, cx: &mut Context<'_>, answering: &Answering) -> Result<bool, Broken> {
        thread_local! {
            static PIECE: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::STREAM_PIECE].into_boxed_slice());
        }
        if self.session_ended {
            return Ok(false);
        }
        while self.to_client.is_empty() {
            if self.socket.poll_read_ready(cx).is_pending() {
                return Ok(false);
            }
            let read = PIECE.with_borrow_mut(|piece| {
                let count = self.socket.try_read(piece)?;
                io::Result::Ok(Bytes::copy_from_slice(&piece[..count]))
            });
            match read {
                Ok(data) if !data.is_empty() => self.to_client = data,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The session's FIN, or it was closed with something unread in it.
                Ok(_) | Err(_) => {
                    self.session_ended = true;
                    self.send.send_data(Bytes::new(), true).map_err(|_| Broken)?;
                    return Ok(true);
                }
            }
        }
        // Reserved only while there is something to send: it is taken from what the connection has for all streams.
        self.send.reserve_capacity(self.to_client.len());
        while self.send.capacity() == 0 {
            match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Err(Broken),
                Poll::Pending => return Ok(false),
            }
        }
        let count = self.send.capacity().min(self.to_client.len());
        answering.sent();
        self.send.send_data(self.to_client.split_to(count), false).map_err(|_| Broken)?;
        Ok(true)
    }

    fn give_back(&mut self, count: usize) {
        // Only a stream that is gone cannot give it back, and then nobody waits for it.
        let _gone = self.recv.flow_control().release_capacity(count);
    }
}
