//! What a connection's bytes come through: a socket, or memory for a client inside the program.

use super::tls::TlsStream;
use crate::tls::certificate::ClientCertificate;
use crate::websocket::socket::Wire;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// The server's end of a connection.
pub(crate) enum Stream {
    /// To a client somewhere.
    Tcp(TcpStream),
    /// The same, encrypted.
    Tls(TlsStream),
    /// To a client in this program.
    Memory(Memory),
}

/// What is spoken on a connection that was just accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, as TLS has agreed on (RFC 7301).
    Http2,
}

/// A connection without a network, for a client in the same thread: nothing happens on it that the two did not do.
///
/// HTTP goes through memory, which wakes who waits for it without asking the system. A WebSocket then goes on over one
/// end of a pair of sockets, because sessions are driven by descriptors; both ends see at once what the other wrote.
pub struct Memory {
    /// The server's end while it speaks HTTP.
    pub http: DuplexStream,
    /// The server's end once it speaks WebSocket. It must not block.
    pub socket: OwnedFd,
}

impl Stream {
    /// What TLS has agreed on, or a client in this program speaks. None: the first bytes say it.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match self {
            Stream::Tls(stream) if stream.agreed().alpn_protocol() == Some(b"h2") => Some(Protocol::Http2),
            Stream::Tls(_) | Stream::Memory(_) => Some(Protocol::Http1),
            Stream::Tcp(_) => None,
        }
    }

    /// The scheme of the URLs that lead here.
    pub(crate) fn scheme(&self) -> &'static str {
        if matches!(self, Stream::Tls(_)) { "https" } else { "http" }
    }

    /// The client's certificate, if it has shown one that was accepted.
    pub(crate) fn certificate(&self) -> Option<ClientCertificate> {
        let Stream::Tls(stream) = self else { return None };
        ClientCertificate::of(stream.agreed().peer_certificates()?.first()?)
    }

    /// The socket on which a WebSocket goes on, and what has been read of it already.
    pub(crate) fn into_wire(self) -> io::Result<(Wire, Vec<u8>)> {
        match self {
            Stream::Tcp(stream) => Ok((Wire::from(OwnedFd::from(stream.into_std()?)), Vec::new())),
            Stream::Memory(memory) => Ok((Wire::from(memory.socket), Vec::new())),
            Stream::Tls(stream) => {
                let (socket, engine, early) = stream.into_parts()?;
                Ok((Wire::tls(socket, engine), early))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            // One record for all pieces is better than one for each.
            Stream::Tls(_) => false,
            Stream::Memory(memory) => memory.http.is_write_vectored(),
        }
    }
}
