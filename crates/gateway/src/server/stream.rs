//! What a connection's bytes come through: a socket, or memory for a client inside the program.

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
    /// To a client in this program.
    Memory(Memory),
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
    /// The socket on which a WebSocket goes on.
    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Stream::Memory(memory) => Ok(memory.socket),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
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
            Stream::Memory(memory) => Pin::new(&mut memory.http).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Memory(memory) => memory.http.is_write_vectored(),
        }
    }
}
