//! The floor of this machine: an epoll loop that echoes frames and checks nothing.
//!
//! One read, one write, no UTF-8, no limits, no timers: what it costs is nearly all the kernel's,
//! and no server that calls read and write for each message can cost less.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Result, bail};

use crate::frame::{self, Opcode};
use crate::handshake;
use crate::poller::Poller;

/// The listener's token; clients count from zero.
const LISTENER: usize = usize::MAX;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Answer {
    /// Back to its sender.
    Echo,
    /// To every client.
    Publish,
}

struct Client {
    stream: TcpStream,
    open: bool,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

struct Floor {
    answer: Answer,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// The frame that `publish` writes to all.
    frame: Vec<u8>,
    /// The frames that one read brought, to go back with one write.
    out: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn serve(answer: Answer) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER)?;
    println!("floor listening on http://{}", listener.local_addr()?);
    println!("ready");

    let mut floor = Floor { answer, clients: Vec::new(), free: Vec::new(), frame: Vec::new(), out: Vec::new() };
    let mut buffer = vec![0; 256 * 1024];
    loop {
        poller.wait(None)?;
        let mut event = 0;
        while let Some(token) = poller.token(event) {
            event += 1;
            if token == LISTENER {
                floor.accept(&listener, &poller)?;
            } else if floor.serve(token, &mut buffer).is_err() {
                // A client that breaks the protocol or its connection loses the connection.
                floor.clients[token] = None;
                floor.free.push(token);
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poller: &Poller) -> Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let token = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            poller.add(&stream, token)?;
            self.clients[token] = Some(Client { stream, open: false, partial: Vec::new(), unsent: Vec::new() });
        }
    }

    /// Goes on with one client; an error ends it.
    fn serve(&mut self, token: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(client) = &mut self.clients[token] else {
            return Ok(());
        };
        client.flush()?;
        loop {
            let Some(client) = &mut self.clients[token] else {
                return Ok(());
            };
            let held = client.partial.len();
            if held == buffer.len() {
                bail!("a frame larger than the buffer");
            }
            buffer[..held].copy_from_slice(&client.partial);
            let count = match client.stream.read(&mut buffer[held..]) {
                Ok(0) => bail!("closed"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let filled = held + count;
            client.partial.clear();
            let used = if client.open {
                self.frames(token, &mut buffer[..filled])?
            } else {
                client.handshake(&buffer[..filled])?
            };
            if let Some(client) = &mut self.clients[token] {
                client.partial.extend_from_slice(&buffer[used..filled]);
            }
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Answers the whole frames in `bytes` and says how many bytes they took.
    fn frames(&mut self, token: usize, bytes: &mut [u8]) -> Result<usize> {
        let mut used = 0;
        self.out.clear();
        while let Some(header) = frame::parse_header(&bytes[used..]).map_err(anyhow::Error::msg)? {
            let start = used + header.size;
            let end = start + header.payload;
            let Some(payload) = bytes.get_mut(start..end) else {
                break;
            };
            frame::apply_mask(payload, header.mask.unwrap_or_default());
            used = end;
            if self.answer == Answer::Publish && header.opcode == Opcode::Text {
                self.frame.clear();
                frame::push_plain(&mut self.frame, header.opcode, payload);
                for client in self.clients.iter_mut().flatten().filter(|one| one.open) {
                    client.send(&self.frame)?;
                }
            } else {
                frame::push_plain(&mut self.out, header.opcode, payload);
            }
            if header.opcode == Opcode::Close {
                if let Some(client) = &mut self.clients[token] {
                    client.send(&self.out)?;
                }
                bail!("closed by the client");
            }
        }
        if let Some(client) = &mut self.clients[token]
            && !self.out.is_empty()
        {
            client.send(&self.out)?;
        }
        Ok(used)
    }
}

impl Client {
    /// Answers the handshake once it is whole and says how many bytes it took.
    fn handshake(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(end) = handshake::end_of_head(bytes) else {
            return Ok(0);
        };
        let Some(answer) = handshake::answer(std::str::from_utf8(&bytes[..end])?) else {
            bail!("not a WebSocket handshake");
        };
        self.send(answer.as_bytes())?;
        self.open = true;
        Ok(end)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let written = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.unsent);
        self.send(&waiting)
    }
}
