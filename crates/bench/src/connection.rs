//! One client connection: opened with a blocking handshake, then driven without blocking.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::frame::{self, Opcode};
use crate::handshake;

/// Connections that share one source address: below the 28,000 ephemeral ports of Linux.
const PER_SOURCE: usize = 20_000;

/// A connected WebSocket. It owns a buffer only while a frame is cut in two.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The start of a frame whose rest has not come.
    partial: Vec<u8>,
    /// Bytes that the socket did not take.
    unsent: Vec<u8>,
    key: [u8; 4],
    /// Frames may lie in `partial`: they came with the answer to the handshake.
    early: bool,
    /// What the server's close frame said.
    close_code: Option<u16>,
}

/// Where a connection goes, and how.
#[derive(Clone, Copy)]
pub(crate) struct Dial<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'a str,
    /// The kernel's buffer for what the server sends; none: as the system has it.
    pub(crate) receive_buffer: Option<usize>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Open,
    Closed,
}

impl Connection {
    /// Opens connection `index` of a run, ready to be driven by a poller.
    pub(crate) fn open(address: SocketAddr, index: usize) -> Result<Connection> {
        let mut connection = Connection::begin(address, index)?;
        connection.finish_handshake()?;
        connection.stream.set_nonblocking(true)?;
        Ok(connection)
    }

    /// The same on another path than the one that all servers here have.
    pub(crate) fn dial(dial: Dial<'_>, index: usize) -> Result<Connection> {
        let mut connection = Connection::begin_with(dial, index)?;
        connection.finish_handshake()?;
        connection.stream.set_nonblocking(true)?;
        Ok(connection)
    }

    /// Connects and sends the handshake, whose answer is still to come.
    pub(crate) fn begin(address: SocketAddr, index: usize) -> Result<Connection> {
        Connection::begin_with(Dial { address, path: "/ws", receive_buffer: None }, index)
    }

    fn begin_with(dial: Dial<'_>, index: usize) -> Result<Connection> {
        let address = dial.address;
        let stream = connect(dial, source(index)).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        (&stream).write_all(handshake::request(&address.to_string(), dial.path).as_bytes())?;
        Ok(Connection {
            stream,
            partial: Vec::new(),
            unsent: Vec::new(),
            key: (index as u32).wrapping_mul(0x9e37_79b1).to_ne_bytes(),
            early: false,
            close_code: None,
        })
    }

    /// Waits for the answer to the handshake.
    pub(crate) fn finish_handshake(&mut self) -> Result<()> {
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            let count = self.stream.read(&mut buffer).context("no answer to the handshake")?;
            ensure!(count > 0, "closed instead of an answer to the handshake");
            received.extend_from_slice(&buffer[..count]);
            if let Some(end) = handshake::check_answer(&received)? {
                break end;
            }
        };
        self.partial = received.split_off(end);
        self.early = !self.partial.is_empty();
        Ok(())
    }

    /// What the server's close frame said: 1005 if nothing, none if there was no close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        self.close_code
    }

    /// Whether the socket has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// The socket, to be watched.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Appends a frame to `out`, masked with this connection's key.
    pub(crate) fn frame(&self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
        frame::push_masked(out, opcode, payload, self.key);
    }

    /// Writes `bytes`, or keeps what the socket does not take until [`Connection::flush`].
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let written = match (&self.stream).write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("the server cut a connection"),
        };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Goes on with what an earlier send left.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.unsent);
        self.send(&waiting)
    }

    /// Reads until dry and hands each message to `on_message`; pings are answered here.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut on_message: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Peer> {
        loop {
            let held = self.partial.len();
            ensure!(held < buffer.len(), "a frame larger than the read buffer");
            buffer[..held].copy_from_slice(&self.partial);
            let early = std::mem::take(&mut self.early);
            let count = match (&self.stream).read(&mut buffer[held..]) {
                Ok(0) | Err(_) if early => 0,
                Ok(0) => return Ok(Peer::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Peer::Open),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(Peer::Closed);
                }
                Err(error) => return Err(error.into()),
            };
            let dry = held + count < buffer.len();
            let mut rest = &buffer[..held + count];
            loop {
                let Some(header) = frame::parse_header(rest).map_err(anyhow::Error::msg)? else {
                    break;
                };
                ensure!(header.mask.is_none(), "the server masked a frame");
                let Some(payload) = rest.get(header.size..header.size + header.payload) else {
                    break;
                };
                match header.opcode {
                    Opcode::Text => on_message(payload)?,
                    Opcode::Ping => {
                        let mut pong = Vec::new();
                        self.frame(&mut pong, Opcode::Pong, payload);
                        self.send(&pong)?;
                    }
                    Opcode::Close => {
                        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                        self.close_code = Some(code);
                        return Ok(Peer::Closed);
                    }
                    Opcode::Pong => {}
                    Opcode::Binary => bail!("a binary frame came back for a text frame"),
                }
                rest = &rest[header.size + header.payload..];
            }
            self.partial.clear();
            self.partial.extend_from_slice(rest);
            if dry {
                return Ok(Peer::Open);
            }
        }
    }

    /// Cuts the connection with a reset, so that no port is left in TIME_WAIT.
    pub(crate) fn cut(self) {
        // A socket that the server reset first cannot be told to linger, and need not be.
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap_or_default();
    }
}

/// Source addresses 127.0.0.2, 127.0.0.3 … so that ports do not run out.
fn source(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + (index / PER_SOURCE % 200) as u8)
}

fn connect(dial: Dial<'_>, source: Ipv4Addr) -> io::Result<TcpStream> {
    let address = dial.address;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.ip().is_loopback() {
        rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    }
    if let Some(bytes) = dial.receive_buffer {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    rustix::net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_ports_get_further_source_addresses() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(PER_SOURCE - 1), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(PER_SOURCE), Ipv4Addr::new(127, 0, 0, 3));
        assert_ne!(source(1_000_000), source(0));
    }
}
