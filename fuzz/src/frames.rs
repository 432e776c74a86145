//! `frames`: what is sent arrives.
//!
//! - Messages that a client encodes, with any mask, in any fragments, with control frames between them, are what our
//!   decoder gives, in any pieces. The client is tungstenite, or the RFC's picture of a frame where fragments are wanted.
//! - Frames that our encoder writes are what tungstenite reads, and a frame is as long as it was announced to be.

use crate::codec::{Seen, decode};
use crate::pieces::pieces;
use crate::wire::Wire;
use arbitrary::{Arbitrary, Unstructured};
use gateway::websocket::codec::{Opcode, close_code_may_be_sent, encoder, mask};
use std::borrow::Cow;
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

#[derive(Arbitrary, Debug)]
enum Sent<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// Many bytes, for the longer forms of a length.
    Long(u8, u32),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// A text in fragments, cut at these places, with a Ping after each.
    Fragments(&'a str, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    seed: u8,
    key: [u8; 4],
    sent: Vec<Sent<'a>>,
    close: Option<(u16, &'a str)>,
}

const LIMIT: usize = 1 << 18;

/// The target.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    to_us(&input);
    from_us(&input);
}

/// A client's frame as RFC 6455 section 5.2 draws it.
fn frame(out: &mut Vec<u8>, first: u8, key: [u8; 4], payload: &[u8]) {
    out.push(first);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key);
    let at = out.len();
    out.extend(payload);
    mask::apply(&mut out[at..], key);
}

fn short(data: &[u8]) -> &[u8] {
    &data[..data.len().min(encoder::CONTROL_MAX)]
}

fn long(byte: u8, len: u32) -> Vec<u8> {
    vec![byte; len as usize % LIMIT]
}

fn to_us(input: &Input<'_>) {
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for sent in &input.sent {
        if let Sent::Fragments(text, cuts) = sent {
            let mut rest = text.as_bytes();
            let mut opcode = 1;
            for cut in cuts {
                let (part, behind) = rest.split_at(rest.len().min(usize::from(*cut)));
                frame(&mut wire, opcode, input.key, part);
                frame(&mut wire, 0x89, input.key, &[*cut]);
                expected.push(Seen::Ping(vec![*cut]));
                (rest, opcode) = (behind, 0);
            }
            frame(&mut wire, 0x80 | opcode, input.key, rest);
            expected.push(Seen::Text((*text).to_owned()));
            continue;
        }
        let (message, seen) = match *sent {
            Sent::Text(text) => (Message::text(text), Seen::Text(text.to_owned())),
            Sent::Binary(data) => (Message::binary(data.to_vec()), Seen::Binary(data.to_vec())),
            Sent::Long(byte, len) => (Message::binary(long(byte, len)), Seen::Binary(long(byte, len))),
            Sent::Ping(data) => (Message::Ping(short(data).to_vec().into()), Seen::Ping(short(data).to_vec())),
            Sent::Pong(data) => (Message::Pong(short(data).to_vec().into()), Seen::Pong(short(data).to_vec())),
            Sent::Fragments(..) => continue,
        };
        let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
        client.send(message).expect("a client may send this");
        wire.extend(&client.get_ref().written);
        expected.push(seen);
    }
    if let Some((code, reason)) = input.close.filter(|(code, _)| close_code_may_be_sent(*code)) {
        let reason = encoder::cut_reason(reason);
        frame(&mut wire, 0x88, input.key, &[&code.to_be_bytes(), reason.as_bytes()].concat());
        expected.push(Seen::Close(Some(code), reason.to_owned()));
    }
    assert_eq!(decode([&wire[..]], LIMIT, false), expected);
    assert_eq!(decode(pieces(&wire, input.seed), LIMIT, false), expected, "in pieces");
}

fn from_us(input: &Input<'_>) {
    let mut wire = Vec::new();
    let mut expected = Vec::new();
    for sent in &input.sent {
        let (opcode, data): (_, Cow<'_, [u8]>) = match *sent {
            Sent::Text(text) | Sent::Fragments(text, _) => (Opcode::Text, text.as_bytes().into()),
            Sent::Binary(data) => (Opcode::Binary, data.into()),
            Sent::Long(byte, len) => (Opcode::Binary, long(byte, len).into()),
            Sent::Ping(data) => (Opcode::Ping, short(data).into()),
            Sent::Pong(data) => (Opcode::Pong, short(data).into()),
        };
        let before = wire.len();
        encoder::encode_into(&mut wire, opcode, &data);
        assert_eq!(wire.len() - before, encoder::frame_len(data.len()));
        assert_eq!(encoder::shared(opcode, &data), wire[before..], "a shared frame is the same frame");
        expected.push(match opcode {
            Opcode::Text => Message::text(String::from_utf8(data.into_owned()).expect("it was a text")),
            Opcode::Ping => Message::Ping(data.into_owned().into()),
            Opcode::Pong => Message::Pong(data.into_owned().into()),
            _ => Message::binary(data.into_owned()),
        });
    }
    if let Some((code, reason)) = input.close.filter(|(code, _)| close_code_may_be_sent(*code)) {
        encoder::close_into(&mut wire, Some(code), reason);
        let reason = encoder::cut_reason(reason);
        assert!(reason.len() <= encoder::REASON_MAX);
        expected.push(Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() })));
    }
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut client = WebSocket::from_raw_socket(Wire::of(&wire), Role::Client, Some(config));
    for message in expected {
        assert_eq!(client.read().expect("a client reads it"), message);
    }
    assert!(client.read().is_err(), "and nothing else");
}
