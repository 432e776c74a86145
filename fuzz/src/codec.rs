//! `codec`: any bytes from a client, in any pieces.
//!
//! - The events do not depend on how the bytes were cut, and are those of a decoder that is slow and simple
//!   (`reference`).
//! - All input is used, memory held for an unfinished message is bounded by what came and by the limit, and nothing is
//!   held between messages or after the end.
//! - tokio-websockets sees the same messages, and a fault where we see one; tungstenite the same where nobody is at
//!   fault (it is lenient). Differences that are meant stand in `peers`.
//!
//! Input: the limit and whether compression was agreed, how to cut, and then the stream.

mod peers;
mod reference;

use crate::pieces::pieces;
use gateway::websocket::codec::{Decoder, Event, Fault};
use gateway::websocket::deflate::limits::compressed;

/// An event that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A whole text.
    Text(String),
    /// Whole bytes.
    Binary(Vec<u8>),
    /// A compressed message: whether it is binary, and its bytes as they came.
    Deflated(bool, Vec<u8>),
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
            Event::Deflated { binary, data } => Seen::Deflated(binary, data.to_vec()),
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
    let [terms, seed, stream @ ..] = data else { return };
    let limit = LIMITS[usize::from(*terms) % LIMITS.len()];
    let deflate = terms & 4 != 0;
    let decode = |pieces: Vec<&[u8]>| self::decode(pieces, limit, deflate);
    let seen = decode(vec![stream]);
    let (expected, inside) = reference::decode(stream, limit, deflate);
    assert_eq!(seen, expected, "the slow decoder sees other events");
    assert_eq!(decode(pieces(stream, *seed)), seen, "in other pieces, other events");
    if stream.len() < 4096 {
        assert_eq!(decode(stream.chunks(1).collect()), seen, "byte by byte, other events");
    }
    // Both know no compression.
    if !deflate {
        peers::agree(stream, limit, &seen, inside);
    }
}

/// What the decoder says to bytes that arrive in these pieces.
pub fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize, deflate: bool) -> Vec<Seen> {
    let decoder = Decoder::new(limit);
    let mut decoder = if deflate { decoder.with_deflate() } else { decoder };
    let most = if deflate { compressed(limit) } else { limit };
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
        assert!(held <= 2 * (most + 125), "{held} bytes held under a limit of {most}");
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
