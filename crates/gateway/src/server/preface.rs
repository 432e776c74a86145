//! HTTP/1 or HTTP/2? A client that knows that HTTP/2 is spoken here says so with its first 24 bytes (RFC 9113 section
//! 3.4), and no request of HTTP/1 begins like that.

use super::watched::Watched;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncRead, ReadBuf};

/// What every client of HTTP/2 sends first.
pub(crate) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the client begins with the preface. It is given the time of a request's headers, and what was read is read
/// again by whoever goes on. An error: it said nothing that could be either.
pub(crate) async fn is_http2(watched: &mut Watched) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let mut have = 0;
    while have < first.len() {
        let mut into = ReadBuf::new(&mut first[have..]);
        poll_fn(|cx| Pin::new(&mut *watched).poll_read(cx, &mut into)).await?;
        let read = into.filled().len();
        if read == 0 && have == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        have += read;
        if read == 0 || first[..have] != PREFACE[..have] {
            watched.unread(&first[..have]);
            return Ok(false);
        }
    }
    watched.unread(&first);
    Ok(true)
}
