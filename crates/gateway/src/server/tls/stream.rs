//! A TLS connection as hyper reads and writes it.

use crate::tls::engine::Engine;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is read at once.
const READ: usize = 16 << 10;
/// What is encrypted at once, and held as ciphertext if the client takes nothing.
const WRITE: usize = 32 << 10;

/// See the module's text.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    engine: Box<Engine>,
    /// What was decrypted and not read yet.
    plain: Vec<u8>,
    /// How much of it was.
    taken: usize,
}

impl TlsStream {
    /// A stream whose handshake is done; `plain` came with the end of it.
    pub(crate) fn new(tcp: TcpStream, engine: Box<Engine>, plain: Vec<u8>) -> TlsStream {
        TlsStream { tcp, engine, plain, taken: 0 }
    }

    /// What was agreed on.
    pub(crate) fn agreed(&self) -> &rustls::CommonState {
        self.engine.agreed()
    }

    /// The socket and its engine, and what was decrypted and not read.
    pub(crate) fn into_parts(mut self) -> io::Result<(OwnedFd, Box<Engine>, Vec<u8>)> {
        self.plain.drain(..self.taken);
        Ok((self.tcp.into_std()?.into(), self.engine, self.plain))
    }

    /// Waits for something to be decrypted, or for the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let TlsStream { tcp, engine, plain, taken } = self;
        while *taken == plain.len() && !engine.has_ended() {
            ready!(tcp.poll_read_ready(cx))?;
            (*plain, *taken) = (Vec::new(), 0);
            let held = engine.held();
            let mut buffer = vec![0; held + READ];
            let came = match tcp.try_read(&mut buffer[held..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                came => came?,
            };
            if came == 0 {
                // Somebody on the way may have cut it off.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            engine.restore(&mut buffer);
            let took = engine.take(&mut buffer[..held + came], plain);
            // What the protocol says by itself: if it does not go out now, it does with what is written next.
            let _later_or_never = engine.flush(|bytes| tcp.try_write(bytes));
            took.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let TlsStream { tcp, engine, .. } = self;
        while engine.flush(|bytes| tcp.try_write(bytes))?.1 {
            ready!(tcp.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        let rest = &this.plain[this.taken..];
        let some = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(some);
        this.taken += some.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let some = &buf[..buf.len().min(WRITE)];
        this.engine.seal(some).map_err(io::Error::other)?;
        // What does not go out now does so before the next write, or when it is flushed.
        this.engine.flush(|bytes| this.tcp.try_write(bytes))?;
        Poll::Ready(Ok(some.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.engine.close().map_err(io::Error::other)?;
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
