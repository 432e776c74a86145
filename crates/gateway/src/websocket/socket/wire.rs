//! Bytes from and to one socket, in the clear or through TLS.
//!
//! Encrypted is only what one record takes, and only when the record before it has left: what waits for a slow client
//! waits as frames, which its policy sees, and not as ciphertext.

use super::super::session::Outbox;
use crate::tls::engine::Engine;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use smallvec::SmallVec;
use std::io;
use std::ops::Range;

/// Pieces up to this size are copied together; larger ones are written from where they are.
const COPIED: usize = 2 << 10;
/// What is copied together for one write.
const CORK: usize = 64 << 10;
/// Pieces of one write.
const PIECES: usize = 64;
/// What is encrypted together: a record (RFC 8446, section 5.1).
const RECORD: usize = 16 << 10;

/// A connection that speaks WebSocket: its socket, and what encrypts it.
pub struct Wire {
    socket: OwnedFd,
    tls: Option<Box<Engine>>,
    /// Whether the client has more to say after its close frame: with TLS its alert, in HTTP/2 the end of the stream.
    pub(crate) says_farewell: bool,
}

/// Memory that all sockets of a shard use in turn.
pub(crate) struct Scratch {
    /// What was read.
    pub(crate) input: Box<[u8]>,
    /// What was decrypted of it; as large as that once there was something.
    pub(crate) plain: Vec<u8>,
    /// What is to be written.
    cork: Vec<u8>,
}

/// Where in [`Scratch`] lies what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In `input`, so many bytes.
    Input(usize),
    /// In `plain`, all of it.
    Plain,
}

/// The outcome of reading once.
pub(crate) enum Read {
    /// Something came, though it may be nothing for the session. There is more if `more`, or else if a FIN or an error
    /// stands behind it.
    Some { place: Place, more: bool },
    /// Nothing is there.
    Nothing,
    /// The peer's FIN.
    Fin,
    /// The connection is broken.
    Broken,
}

/// The outcome of writing once.
pub(crate) enum Written {
    /// So many bytes of the queue were taken; if `blocked`, no more are now. `moved`: the client took something.
    Some { bytes: usize, blocked: bool, moved: bool },
    /// The connection is broken.
    Broken,
}

enum Part<'a> {
    Copied(Range<usize>),
    Direct(&'a [u8]),
}

impl Part<'_> {
    fn bytes<'a>(&'a self, cork: &'a [u8]) -> &'a [u8] {
        match self {
            Part::Copied(range) => &cork[range.clone()],
            Part::Direct(piece) => piece,
        }
    }
}

impl From<OwnedFd> for Wire {
    /// A connection in the clear.
    fn from(socket: OwnedFd) -> Wire {
        Wire { socket, tls: None, says_farewell: false }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Scratch {
    pub(crate) fn new(input: usize) -> Scratch {
        Scratch { input: vec![0; input].into_boxed_slice(), plain: Vec::new(), cork: Vec::new() }
    }
}

impl Wire {
    /// An encrypted connection whose handshake is done.
    pub(crate) fn tls(socket: OwnedFd, engine: Box<Engine>) -> Wire {
        Wire { socket, tls: Some(engine), says_farewell: true }
    }

    /// A stream of an HTTP/2 connection, whose other end this program holds.
    pub(crate) fn tunnel(socket: OwnedFd) -> Wire {
        Wire { socket, tls: None, says_farewell: true }
    }

    /// Reads once, at most `limit` bytes.
    pub(crate) fn read(&mut self, scratch: &mut Scratch, limit: usize) -> Read {
        let Some(engine) = &mut self.tls else {
            return match receive(self.socket.as_fd(), &mut scratch.input[..limit]) {
                Received::Some(bytes) => Read::Some { place: Place::Input(bytes), more: bytes == limit },
                Received::Nothing => Read::Nothing,
                Received::Fin => Read::Fin,
                Received::Broken => Read::Broken,
            };
        };
        if engine.has_ended() {
            return Read::Fin;
        }
        let held = engine.held();
        let end = (held + limit).min(scratch.input.len());
        let came = match receive(self.socket.as_fd(), &mut scratch.input[held..end]) {
            Received::Some(came) => came,
            Received::Nothing => return Read::Nothing,
            // Without a word of farewell: somebody on the way may have cut it off. That, too, is a connection lost.
            Received::Fin => return Read::Fin,
            Received::Broken => return Read::Broken,
        };
        engine.restore(&mut scratch.input);
        scratch.plain.clear();
        if engine.take(&mut scratch.input[..held + came], &mut scratch.plain).is_err() {
            let _alert_or_not = flush(self.socket.as_fd(), engine);
            return Read::Broken;
        }
        Read::Some { place: Place::Plain, more: held + came == end || engine.has_ended() }
    }

    /// Writes once: as much as one call takes of what waits.
    pub(crate) fn write(&mut self, outbox: Option<&mut Outbox>, scratch: &mut Scratch) -> Written {
        let Some(engine) = &mut self.tls else {
            return match outbox {
                Some(outbox) => write_clear(self.socket.as_fd(), outbox, &mut scratch.cork),
                None => Written::Some { bytes: 0, blocked: false, moved: false },
            };
        };
        let cork = &mut scratch.cork;
        cork.clear();
        let earlier = match flush(self.socket.as_fd(), engine) {
            Ok((sent, false)) => sent > 0,
            Ok((sent, true)) => return Written::Some { bytes: 0, blocked: true, moved: sent > 0 },
            Err(_) => return Written::Broken,
        };
        if let Some(outbox) = outbox {
            outbox.gather(|piece| {
                cork.extend_from_slice(&piece[..piece.len().min(RECORD - cork.len())]);
                cork.len() < RECORD
            });
        }
        if engine.seal(cork).is_err() {
            return Written::Broken;
        }
        match flush(self.socket.as_fd(), engine) {
            Ok((sent, blocked)) => Written::Some { bytes: cork.len(), blocked, moved: earlier || sent > 0 },
            Err(_) => Written::Broken,
        }
    }

    /// Bytes of ciphertext that it holds: not taken by the client, or the beginning of a record.
    pub(crate) fn held(&self) -> usize {
        self.tls.as_ref().map_or(0, |engine| engine.held() + engine.unsent().len())
    }

    /// Whether something waits to be written that is in no queue.
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|engine| !engine.unsent().is_empty())
    }

    /// Says that nothing more is sent; whether that is said now, or has to be tried again when there is room.
    pub(crate) fn finish(&mut self) -> bool {
        if let Some(engine) = &mut self.tls {
            let _nobody_to_tell = engine.close();
            if flush(self.socket.as_fd(), engine).is_ok_and(|(_, blocked)| blocked) {
                return false;
            }
        }
        let _reset_meanwhile = shutdown(&self.socket, Shutdown::Write);
        true
    }
}

enum Received {
    Some(usize),
    Nothing,
    Fin,
    Broken,
}

fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Received {
    loop {
        return match recv(socket, &mut *into, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Received::Fin,
            Ok((bytes, _)) => Received::Some(bytes),
            Err(Errno::AGAIN) => Received::Nothing,
            Err(Errno::INTR) => continue,
            Err(_) => Received::Broken,
        };
    }
}

/// Sends ciphertext until there is none or no more is taken: how much, and whether the socket is full.
fn flush(socket: BorrowedFd<'_>, engine: &mut Engine) -> io::Result<(usize, bool)> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    engine.flush(|bytes| send(socket, bytes, flags).map_err(io::Error::from))
}

/// Writes once. `cork` is scratch memory, the same for all sockets.
fn write_clear(socket: BorrowedFd<'_>, outbox: &Outbox, cork: &mut Vec<u8>) -> Written {
    cork.clear();
    let mut parts = SmallVec::<[Part<'_>; PIECES]>::new();
    let mut total = 0;
    outbox.gather(|piece| {
        if piece.len() > COPIED {
            parts.push(Part::Direct(piece));
        } else if cork.len() + piece.len() > CORK {
            return false;
        } else {
            let start = cork.len();
            cork.extend_from_slice(piece);
            match parts.last_mut() {
                Some(Part::Copied(range)) => range.end = cork.len(),
                _ => parts.push(Part::Copied(start..cork.len())),
            }
        }
        total += piece.len();
        parts.len() < PIECES
    });
    loop {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = match &parts[..] {
            // Nearly always, and the shorter way through the kernel.
            [part] => send(socket, part.bytes(cork), flags),
            parts => {
                let slices: SmallVec<[IoSlice<'_>; PIECES]> =
                    parts.iter().map(|part| IoSlice::new(part.bytes(cork))).collect();
                sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), flags)
            }
        };
        return match sent {
            Ok(bytes) => Written::Some { bytes, blocked: bytes < total, moved: bytes > 0 },
            Err(Errno::AGAIN) => Written::Some { bytes: 0, blocked: true, moved: false },
            Err(Errno::INTR) => continue,
            Err(_) => Written::Broken,
        };
    }
}
