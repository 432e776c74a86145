//! `codec`: any bytes from a client, in any pieces.
//!
//! - The events do not depend on how the bytes were cut, and are those of a decoder that is slow and simple
//!   (`reference`).
//! - All input is used, memory held for an unfinished message is bounded by what came and by the limit, and nothing is
//!   held between messages or after the end.
//! - tokio-websockets sees the same messages, and a fault where we see one; tungstenite the same where nobody is at
//!   fault (it is lenient). Differences that are meant stand in `peers`.
//!
//! Input: the limit, how to cut, and then the stream.

mod peers;
mod reference;

use crate::pieces::pieces;
use gateway::websocket::codec::{Decoder, Event, Fault};

/// An event that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A whole text.
    Text(String),
    /// Whole bytes.
    Binary(Vec<u8>),
    /// A Ping.
    Ping(Vec<u8>),
    /// A Pong.
    Pong(Vec<u8>),
    /// The client's close frame.
    Close(Option<u16>, String),
    /// The client's fault.
    Fault(Fault),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        match event {
            Event::Message { binary: true, data } => Seen::Binary(data.to_vec()),
            Event::Message { binary: false, data } => {
                Seen::Text(String::from_utf8(data.to_vec()).expect("the decoder promised UTF-8"))
            }
            Event::Ping(data) => Seen::Ping(data.to_vec()),
            Event::Pong(data) => Seen::Pong(data.to_vec()),
            Event::Close { code, reason } => Seen::Close(code, reason.to_owned()),
            Event::Fault(fault) => Seen::Fault(fault),
        }
    }
}

/// Limits of a message. Control frames do not count, but the second implementations would count them.
const LIMITS: [usize; 4] = [125, 1000, 70_000, 1 << 20];

/// The target.
pub fn run(data: &[u8]) {
    let [limit, seed, stream @ ..] = data else { return };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let seen = decode([stream], limit);
    let (expected, inside) = reference::decode(stream, limit);
    assert_eq!(seen, expected, "the slow decoder sees other events");
    assert_eq!(decode(pieces(stream, *seed), limit), seen, "in other pieces, other events");
    if stream.len() < 4096 {
        assert_eq!(decode(stream.chunks(1), limit), seen, "byte by byte, other events");
    }
    peers::agree(stream, limit, &seen, inside);
}

/// What the decoder says to bytes that arrive in these pieces.
pub fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Vec<Seen> {
    let mut decoder = Decoder::new(limit);
    let mut seen = Vec::new();
    let mut came = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        came += piece.len();
        let mut rest = &mut piece[..];
        while let Some(event) = decoder.next(&mut rest) {
            seen.push(Seen::from(event));
        }
        assert!(rest.is_empty(), "a decoder that wants more has used everything");
        let held = decoder.held();
        // A Ping between the fragments of a message waits behind them.
        assert!(held <= 2 * came, "{held} bytes held of {came} that came");
        assert!(held <= 2 * (limit + 125), "{held} bytes held under a limit of {limit}");
        if decoder.is_ended() {
            assert_eq!(held, 0, "{held} bytes held after the end");
        }
    }
    let ends = seen.iter().filter(|event| matches!(event, Seen::Close(..) | Seen::Fault(_))).count();
    assert_eq!(ends > 0, decoder.is_ended());
    assert!(
        ends == 0 || ends == 1 && matches!(seen.last(), Some(Seen::Close(..) | Seen::Fault(_))),
        "one end, the last"
    );
    seen
}
