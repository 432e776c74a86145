//! One TLS connection: ciphertext in, plaintext out, and the other way round.
//!
//! rustls is used through its unbuffered interface, so that an idle connection owns its keys and no buffer: records
//! are decrypted where they were read, in a buffer that all connections share. Kept are only a record that has not
//! come to its end ([`HELD_MAX`]) and ciphertext that the socket has not taken.
//!
//! Whatever came is decrypted at once and handed out at once: no plaintext stays in here, for nothing would tell that
//! it is there once the socket has been read dry.

#[cfg(test)]
mod tests;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, ServerConfig};
use std::io;
use std::sync::Arc;

/// The most that is held of what came and is not whole: one handshake message of the largest size in its records.
/// A record itself is at most 18 KiB.
const HELD_MAX: usize = 80 << 10;
/// The most that is held of answers that the protocol gives by itself and the client does not take.
const UNSENT_MAX: usize = 64 << 10;
/// What records add to a piece of plaintext, generously.
const OVERHEAD: usize = 512;

/// See the module's text.
pub(crate) struct Engine {
    connection: UnbufferedServerConnection,
    /// What came and is not whole.
    held: Vec<u8>,
    /// Ciphertext for the socket.
    unsent: Vec<u8>,
    /// How much of it the socket has taken.
    sent: usize,
    /// The client has said that it sends no more.
    ended: bool,
    /// So have we.
    closed: bool,
    /// A rule was broken. rustls must not be asked again after that: it would panic.
    broken: bool,
}

impl Engine {
    /// A connection whose client has not said anything yet.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Engine, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Engine {
            connection,
            held: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            ended: false,
            closed: false,
            broken: false,
        })
    }

    /// What was agreed on.
    pub(crate) fn agreed(&self) -> &CommonState {
        &self.connection
    }

    /// Whether the handshake goes on. What it has to say next is in [`Engine::unsent`].
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the client has said that it sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// How much of what came earlier belongs before what comes next.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Puts what came earlier to the front of `input`, behind which the caller reads on. [`Engine::take`] has to follow.
    pub(crate) fn restore(&mut self, input: &mut [u8]) -> usize {
        let held = std::mem::take(&mut self.held);
        input[..held.len()].copy_from_slice(&held);
        held.len()
    }

    /// Decrypts what came, all of it that is whole; `input` begins with what [`Engine::restore`] put there. After an
    /// error the connection can do no more than send what is in [`Engine::unsent`]: an alert that says so.
    pub(crate) fn take(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        if self.broken {
            return Err(Error::HandshakeNotComplete);
        }
        let taken = self.advance_to(input, plain);
        self.broken = taken.is_err();
        let at = taken?;
        // What comes after the client's last word is nothing.
        if !self.ended {
            self.held = input[at..].to_vec();
        }
        if self.held.len() > HELD_MAX || self.unsent().len() > UNSENT_MAX {
            self.broken = true;
            return Err(Error::General("more is held than one message may take".into()));
        }
        Ok(())
    }

    /// Lets rustls act on what came: how much of it is done with.
    fn advance_to(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[at..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, &mut data)?;
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                // Early data is not offered, so none comes.
                Ok(_) => false,
                Err(error) => {
                    at += discard;
                    // The alert, and what was to be said before it. While there is such a thing nothing else is done.
                    while self.connection.wants_write() {
                        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut input[at..]);
                        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
                        encode(&mut self.unsent, &mut data)?;
                    }
                    return Err(error);
                }
            };
            at += discard;
            if !goes_on {
                return Ok(at);
            }
        }
    }

    /// Encrypts, in records of their own. To be called when nothing is unsent, with no more than should be held if the
    /// socket takes nothing.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<(), Error> {
        self.traffic(|traffic, out| {
            grow(out, plain.len() + OVERHEAD, |room| match traffic.encrypt(plain, room) {
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
                other => other.map_err(|_| None),
            })
        })
    }

    /// Says that we send no more. Only once.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        self.traffic(|traffic, out| {
            grow(out, OVERHEAD, |room| match traffic.queue_close_notify(room) {
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
                other => other.map_err(|_| None),
            })
        })
    }

    /// Ciphertext for the socket.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.unsent[self.sent..]
    }

    /// The socket has taken so much of it. An idle connection keeps no memory for more.
    pub(crate) fn advance(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= self.unsent.len() {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
    }

    /// Writes what is unsent with `send` until all is gone or nothing more is taken: how much was, and whether it is
    /// the socket that stopped.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<(usize, bool)> {
        let mut total = 0;
        while !self.unsent().is_empty() {
            match send(self.unsent()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    total += sent;
                    self.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((total, true)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((total, false))
    }

    /// Acts when the connection may write. rustls wants to see at each call what it has seen of an unfinished message,
    /// so that is what it is shown.
    fn traffic(
        &mut self,
        act: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.held);
            match state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    grow(&mut self.unsent, 0, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
                        other => other.map_err(|_| None),
                    })?
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(mut traffic) => return act(&mut traffic, &mut self.unsent),
                _ => return Err(Error::HandshakeNotComplete),
            }
            self.held.drain(..discard);
        }
    }
}

fn encode(out: &mut Vec<u8>, data: &mut EncodeTlsData<'_, ServerConnectionData>) -> Result<(), Error> {
    grow(out, 0, |room| match data.encode(room) {
        Err(EncodeError::InsufficientSize(size)) => Err(Some(size)),
        other => other.map_err(|_| None),
    })
}

/// Appends what `write` writes, with `room` at first and then with as much as it asks for.
fn grow(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + room, 0);
    loop {
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(size)) => out.resize(start + size.required_size, 0),
            Err(None) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}
