//! The same stream, read by two libraries.

use super::Seen;
use crate::wire::Wire;
use futures_core::Stream as _;
use gateway::websocket::codec::Fault;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio_websockets::{Limits, ServerBuilder};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Compares what they see with what we see. `inside`: the stream ends in the middle of a frame.
pub(super) fn agree(stream: &[u8], limit: usize, seen: &[Seen], inside: bool) {
    let fault = match seen.last() {
        Some(Seen::Fault(fault)) => Some(*fault),
        _ => None,
    };
    let good = &seen[..seen.len() - usize::from(fault.is_some())];

    let (theirs, they_object) = tokio_websockets(stream, limit);
    // It never asks whether a text is complete when the last fragment of it is empty.
    if fault != Some(Fault::InvalidUtf8) {
        assert_eq!(theirs, good, "tokio-websockets sees other messages");
    }
    // Where the stream ends inside a frame one may know already what the other would have found in its rest: it judges
    // the length of a close frame by its head, we a head byte by byte.
    if !inside {
        assert_eq!(they_object, fault.is_some(), "who is at fault? {fault:?}");
    }

    if fault.is_none() {
        let mut theirs = tungstenite(stream, limit);
        // It does not know 1014 (bad gateway), which was registered later, and says 1002 in its place.
        if let (Some(Seen::Close(Some(1014), _)), Some(Seen::Close(Some(1002), _))) = (good.last(), theirs.last()) {
            theirs.pop();
            theirs.extend(good.last().cloned());
        }
        assert_eq!(theirs, good, "tungstenite sees other messages");
    }
}

/// What tokio-websockets reads, and whether it finds the client at fault.
fn tokio_websockets(stream: &[u8], limit: usize) -> (Vec<Seen>, bool) {
    let limits = Limits::default().max_payload_len(Some(limit));
    let mut socket = ServerBuilder::new().limits(limits).serve(Wire::of(stream));
    let mut seen = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let Poll::Ready(next) = Pin::new(&mut socket).poll_next(&mut context) else {
            panic!("there is always something to read, if only the end")
        };
        match next {
            Some(Ok(message)) if message.is_close() => {
                let payload = message.into_payload();
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                let reason = payload.get(2..).unwrap_or_default();
                seen.push(Seen::Close(code, String::from_utf8_lossy(reason).into_owned()));
                return (seen, false);
            }
            Some(Ok(message)) if message.is_text() => {
                // Not as_text, which would believe it.
                let text = String::from_utf8_lossy(message.as_payload()).into_owned();
                seen.push(Seen::Text(text));
            }
            Some(Ok(message)) if message.is_ping() => seen.push(Seen::Ping(message.as_payload().to_vec())),
            Some(Ok(message)) if message.is_pong() => seen.push(Seen::Pong(message.as_payload().to_vec())),
            Some(Ok(message)) => seen.push(Seen::Binary(message.as_payload().to_vec())),
            Some(Err(tokio_websockets::Error::Io(_))) | None => return (seen, false),
            Some(Err(_)) => return (seen, true),
        }
    }
}

/// What tungstenite reads before it objects or the stream ends.
fn tungstenite(stream: &[u8], limit: usize) -> Vec<Seen> {
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(None);
    let mut socket = WebSocket::from_raw_socket(Wire::of(stream), Role::Server, Some(config));
    let mut seen = Vec::new();
    while let Ok(message) = socket.read() {
        seen.push(match message {
            Message::Text(text) => Seen::Text(text.to_string()),
            Message::Binary(data) => Seen::Binary(data.to_vec()),
            Message::Ping(data) => Seen::Ping(data.to_vec()),
            Message::Pong(data) => Seen::Pong(data.to_vec()),
            Message::Close(None) => Seen::Close(None, String::new()),
            Message::Close(Some(frame)) => Seen::Close(Some(frame.code.into()), frame.reason.to_string()),
            Message::Frame(_) => panic!("only a socket that was asked for frames gives them"),
        });
    }
    seen
}
