//! The HTTP part of a WebSocket, for both ends.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The key of RFC 6455's example: a benchmark needs no secret, and this answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The request that opens a WebSocket on `host`.
pub(crate) fn request(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads the server's answer: its length once it is whole and says 101, `None` while it is not.
pub(crate) fn check_answer(received: &[u8]) -> Result<Option<usize>> {
    let Some(end) = end_of_head(received) else {
        ensure!(received.len() < 16 * 1024, "an answer without end to the handshake");
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end]).context("an answer that is not text")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        bail!("the handshake was refused: {status}");
    }
    let accept = header(head, "sec-websocket-accept");
    ensure!(accept == Some(&accept_of(KEY)), "a wrong Sec-WebSocket-Accept: {accept:?}");
    Ok(Some(end))
}

/// The server's side: the answer to a whole request, `None` if that was no handshake.
pub(crate) fn answer(head: &str) -> Option<String> {
    let accept = accept_of(header(head, "sec-websocket-key")?);
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

/// How many bytes the head of a request or an answer takes, if all of it is there.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let blank = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(blank + 4)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn accept_of(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_key_gets_the_rfcs_answer() {
        assert_eq!(accept_of(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn our_own_answer_to_our_own_request_is_accepted() {
        let answer = answer(&request("127.0.0.1:1", "/ws")).unwrap();
        assert_eq!(check_answer(answer.as_bytes()).unwrap(), Some(answer.len()));
        assert_eq!(check_answer(&answer.as_bytes()[..40]).unwrap(), None);
    }

    #[test]
    fn a_refusal_and_a_wrong_accept_are_reported() {
        let refused = check_answer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert!(refused.to_string().contains("503"), "{refused}");
        let wrong = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: nonsense\r\n\r\n";
        assert!(check_answer(wrong).is_err());
    }
}
