//! RFC 6455, the server's half, as bytes in and events out.

use gateway::websocket::codec::{Decoder, Event, Fault, Opcode, Violation, encoder, mask};
use proptest::prelude::*;

/// An event that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Deflated(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
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
            Event::Deflated { binary, data } => Seen::Deflated(binary, data.to_vec()),
            Event::Fault(fault) => Seen::Fault(fault),
        }
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMIT: usize = 100_000;

/// A client's frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    let at = bytes.len();
    bytes.extend(payload);
    mask::apply(&mut bytes[at..], KEY);
    bytes
}

/// What a decoder says to bytes that arrive in these pieces.
fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Vec<Seen> {
    let mut decoder = Decoder::new(limit);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while let Some(event) = decoder.next(&mut rest) {
            seen.push(event.into());
        }
        assert!(rest.is_empty(), "a decoder that wants more has used everything");
    }
    seen
}

/// What a decoder says to these bytes, having made sure that it does not depend on how they arrive.
fn decode(bytes: &[u8]) -> Vec<Seen> {
    let whole = decode_pieces([bytes], LIMIT);
    assert_eq!(decode_pieces(bytes.chunks(1), LIMIT), whole, "one byte at a time: {bytes:x?}");
    if bytes.len() < 2_000 {
        for cut in 0..=bytes.len() {
            assert_eq!(decode_pieces([&bytes[..cut], &bytes[cut..]], LIMIT), whole, "cut at {cut}: {bytes:x?}");
        }
    }
    whole
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

#[test]
fn the_examples_of_section_5_7_are_understood() {
    assert_eq!(decode(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [text("Hello")]);
    assert_eq!(decode(&[frame(0x01, b"Hel"), frame(0x80, b"lo")].concat()), [text("Hello")]);
    assert_eq!(decode(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [Seen::Ping(b"Hello".to_vec())]);
    assert_eq!(decode(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [Seen::Pong(b"Hello".to_vec())]);
    assert_eq!(decode(&frame(0x82, &[7; 256])), [Seen::Binary(vec![7; 256])]);
    assert_eq!(decode(&frame(0x82, &[7; 65536])), [Seen::Binary(vec![7; 65536])]);
}

/// The same for a connection that agreed on permessage-deflate.
fn decode_deflate(bytes: &[u8]) -> Vec<Seen> {
    let pieces = |size: usize| {
        let mut decoder = Decoder::new(LIMIT).with_deflate();
        let mut seen = Vec::new();
        for piece in bytes.chunks(size.max(1)) {
            let mut piece = piece.to_vec();
            let mut rest = &mut piece[..];
            while let Some(event) = decoder.next(&mut rest) {
                seen.push(event.into());
            }
        }
        seen
    };
    let whole = pieces(bytes.len());
    for size in [1, 2, 3, 7] {
        assert_eq!(pieces(size), whole, "{size} bytes at a time: {bytes:x?}");
    }
    whole
}

#[test]
fn rsv1_marks_a_compressed_message_on_its_first_frame_and_nowhere_else() {
    let reserved = Seen::Fault(Fault::Protocol(Violation::ReservedBits));
    assert_eq!(decode_deflate(&frame(0xc1, b"\xff")), [Seen::Deflated(false, vec![0xff])], "its text is not text yet");
    assert_eq!(decode_deflate(&frame(0xc2, b"")), [Seen::Deflated(true, vec![])]);
    assert_eq!(decode_deflate(&frame(0x81, b"plain")), [text("plain")]);
    let fragments =
        [frame(0x41, b"\xf2"), frame(0x89, b"!"), frame(0x00, b""), frame(0x80, b"\x00"), frame(0x81, b"x")];
    let expected = [Seen::Ping(b"!".to_vec()), Seen::Deflated(false, b"\xf2\x00".to_vec()), text("x")];
    assert_eq!(decode_deflate(&fragments.concat()), expected);
    let after = [frame(0x41, b"a"), frame(0x80, b"b"), frame(0x01, b"c"), frame(0x80, b"\xff")].concat();
    let expected = [Seen::Deflated(false, b"ab".to_vec()), Seen::Fault(Fault::InvalidUtf8)];
    assert_eq!(decode_deflate(&after), expected, "the next message is a plain one again");
    for first in [0xc0, 0xc8, 0xc9, 0xca, 0x40, 0xe1, 0xd1, 0xa1, 0x91, 0xc3] {
        assert_eq!(decode_deflate(&frame(first, b"")), std::slice::from_ref(&reserved), "first byte {first:x}");
    }
    for first in [0xc0, 0x40] {
        let bytes = [frame(0x41, b"a"), frame(first, b"b")].concat();
        assert_eq!(decode_deflate(&bytes), std::slice::from_ref(&reserved), "a continuation with RSV1");
    }
}

#[test]
fn a_compressed_message_may_be_a_little_larger_than_the_limit_and_no_more() {
    let head = |first: u8, len: u64| [&[first, 0xff][..], &len.to_be_bytes(), &KEY].concat();
    let most = (LIMIT + LIMIT / 8 + 1024) as u64;
    assert_eq!(decode_deflate(&head(0xc2, most)), []);
    assert_eq!(decode_deflate(&head(0xc2, most + 1)), [Seen::Fault(Fault::TooBig)]);
    assert_eq!(decode_deflate(&head(0x82, LIMIT as u64 + 1)), [Seen::Fault(Fault::TooBig)]);
    let fragments = [frame(0x42, &[0; 30_000]), head(0x80, most - 30_000 + 1)].concat();
    assert_eq!(decode_deflate(&fragments), [Seen::Fault(Fault::TooBig)]);
}

#[test]
fn every_length_form_carries_its_first_and_last_length() {
    for len in [0, 1, 7, 8, 125, 126, 127, 65_535, 65_536, LIMIT] {
        assert_eq!(decode(&frame(0x82, &vec![9; len])), [Seen::Binary(vec![9; len])], "{len} bytes");
    }
}

#[test]
fn control_frames_between_fragments_do_not_disturb_the_message() {
    let bytes = [
        frame(0x01, "Grüß".as_bytes()),
        frame(0x89, &[1; 125]),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x00, b" Go"),
        frame(0x89, b"last"),
        frame(0x80, b"tt"),
        frame(0x81, b""),
    ];
    let pings = [Seen::Ping(vec![1; 125]), Seen::Pong(vec![]), Seen::Ping(b"last".to_vec())];
    assert_eq!(decode(&bytes.concat()), [&pings[..], &[text("Grüß Gott"), text("")]].concat());
}

#[test]
fn every_violation_has_its_close_code_and_ends_the_stream() {
    use Violation::*;
    let head = |bytes: &[u8]| [bytes, &KEY, &[0; 200]].concat();
    let close = |payload: &[u8]| frame(0x88, payload);
    let table: Vec<(&str, Vec<u8>, Fault)> = vec![
        ("RSV1 on a text", frame(0xc1, b"x"), Fault::Protocol(ReservedBits)),
        ("RSV1 on a continuation", frame(0xc0, b"x"), Fault::Protocol(ReservedBits)),
        ("RSV1 on a control frame", frame(0xc9, b"x"), Fault::Protocol(ReservedBits)),
        ("RSV2", frame(0xa1, b"x"), Fault::Protocol(ReservedBits)),
        ("RSV3", frame(0x92, b"x"), Fault::Protocol(ReservedBits)),
        ("opcode 3", frame(0x83, b"x"), Fault::Protocol(UnknownOpcode)),
        ("opcode 7", frame(0x87, b"x"), Fault::Protocol(UnknownOpcode)),
        ("opcode 11", frame(0x8b, b"x"), Fault::Protocol(UnknownOpcode)),
        ("opcode 15", frame(0x8f, b"x"), Fault::Protocol(UnknownOpcode)),
        ("no mask", b"\x81\x05Hello".to_vec(), Fault::Protocol(Unmasked)),
        ("no mask on an empty ping", b"\x89\x00".to_vec(), Fault::Protocol(Unmasked)),
        ("125 in 16 bits", head(b"\x82\xfe\x00\x7d"), Fault::Protocol(LengthNotMinimal)),
        ("65535 in 64 bits", head(b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff"), Fault::Protocol(LengthNotMinimal)),
        ("top bit of a length", head(b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01"), Fault::Protocol(LengthTopBit)),
        ("a ping in fragments", frame(0x09, b"x"), Fault::Protocol(ControlFragmented)),
        ("a close in fragments", frame(0x08, b""), Fault::Protocol(ControlFragmented)),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), Fault::Protocol(ControlTooLong)),
        ("a close of 64 bits", head(b"\x88\xff\x00\x00\x00\x00\x00\x01\x00\x00"), Fault::Protocol(ControlTooLong)),
        ("a continuation of nothing", frame(0x80, b"x"), Fault::Protocol(ContinuationOfNothing)),
        ("an open continuation of nothing", frame(0x00, b""), Fault::Protocol(ContinuationOfNothing)),
        ("half a close code", close(&[3]), Fault::Protocol(CloseCodeCut)),
        ("a close reason that is not UTF-8", close(b"\x03\xe8\xff"), Fault::InvalidUtf8),
        ("a close reason with a cut character", close(b"\x03\xe8\xc3"), Fault::InvalidUtf8),
        ("a text that is not UTF-8", frame(0x81, b"ok\xff"), Fault::InvalidUtf8),
        ("a text with a surrogate", frame(0x81, b"\xed\xa0\x80"), Fault::InvalidUtf8),
        ("a text with a cut character", frame(0x81, b"ok\xe2\x82"), Fault::InvalidUtf8),
        ("a message beyond the limit", frame(0x82, &[0; LIMIT + 1]), Fault::TooBig),
        ("any length beyond the limit", head(b"\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00"), Fault::TooBig),
    ];
    for (what, bytes, fault) in table {
        let after = [bytes, frame(0x81, b"too late")].concat();
        assert_eq!(decode(&after), [Seen::Fault(fault)], "{what}");
        let code = match fault {
            Fault::Protocol(_) => 1002,
            Fault::InvalidUtf8 => 1007,
            Fault::TooBig => 1009,
        };
        assert_eq!(fault.code(), code, "{what}");
    }
}

#[test]
fn a_new_message_inside_a_message_is_a_violation() {
    for first in [0x81, 0x01, 0x82, 0x02] {
        let bytes = [frame(0x01, b"begin"), frame(first, b"again")].concat();
        assert_eq!(decode(&bytes), [Seen::Fault(Fault::Protocol(Violation::MessageInsideMessage))]);
    }
}

#[test]
fn a_fault_comes_after_the_messages_before_it() {
    let bytes = [frame(0x81, b"one"), frame(0x82, b"two"), frame(0x83, b""), frame(0x81, b"never")].concat();
    let fault = Seen::Fault(Fault::Protocol(Violation::UnknownOpcode));
    assert_eq!(decode(&bytes), [text("one"), Seen::Binary(b"two".to_vec()), fault]);
}

#[test]
fn only_codes_that_may_be_sent_are_accepted_in_a_close_frame() {
    let forbidden = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
    for code in forbidden {
        let seen = decode(&frame(0x88, &u16::to_be_bytes(code)));
        assert_eq!(seen, [Seen::Fault(Fault::Protocol(Violation::CloseCodeForbidden))], "{code}");
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let bytes = [frame(0x88, &[&u16::to_be_bytes(code)[..], "tschüß".as_bytes()].concat()), frame(0x81, b"late")];
        assert_eq!(decode(&bytes.concat()), [Seen::Close(Some(code), "tschüß".to_owned())], "{code}");
    }
    assert_eq!(decode(&frame(0x88, b"")), [Seen::Close(None, String::new())]);
}

#[test]
fn a_message_may_be_as_big_as_the_limit_and_no_bigger_however_it_is_cut() {
    let parts = |sizes: &[usize]| -> Vec<u8> {
        let last = sizes.len() - 1;
        let frames = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| frame(if i == 0 { 2 } else { 0 } | if i == last { 0x80 } else { 0 }, &vec![1; *size]));
        frames.collect::<Vec<_>>().concat()
    };
    let decode = |bytes: &[u8]| decode_pieces(bytes.chunks(7), 1000);
    assert_eq!(decode(&parts(&[1000])), [Seen::Binary(vec![1; 1000])]);
    assert_eq!(decode(&parts(&[400, 300, 300])), [Seen::Binary(vec![1; 1000])]);
    assert_eq!(decode(&parts(&[400, 300, 301])), [Seen::Fault(Fault::TooBig)]);
    let only_heads = [parts(&[400, 300, 1])[..716].to_vec(), vec![0x80, 0xfe, 0x03, 0xe8], KEY.to_vec()].concat();
    assert_eq!(decode(&only_heads), [Seen::Fault(Fault::TooBig)], "refused before its payload arrives");
}

#[test]
fn bad_text_is_refused_before_its_frame_or_message_is_complete() {
    let mut decoder = Decoder::new(LIMIT);
    let mut bytes = frame(0x01, "half a char\u{20ac}".as_bytes());
    bytes.extend(&frame(0x80, b"\xe2\x82then a thousand bytes that never come")[..8]);
    let (begin, bad) = bytes.split_at_mut(22);
    assert_eq!(decoder.next(&mut &mut *begin), None);
    assert_eq!(decoder.next(&mut &mut *bad), None, "so far it may become text");
    let mut wrong = [b't' ^ KEY[2]];
    assert_eq!(decoder.next(&mut &mut wrong[..]), Some(Event::Fault(Fault::InvalidUtf8)));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn a_whole_frame_is_handed_out_from_the_read_buffer_itself() {
    let mut bytes = [frame(0x81, b"first"), frame(0x81, b"second")].concat();
    let range = bytes.as_ptr_range();
    let mut decoder = Decoder::new(LIMIT);
    let mut rest = &mut bytes[..];
    for _ in 0..2 {
        let Some(Event::Message { data, .. }) = decoder.next(&mut rest) else { panic!("a message") };
        assert!(range.contains(&data.as_ptr()));
    }
    assert_eq!(decoder.next(&mut rest), None);
    assert_eq!(decoder.held(), 0);
}

#[test]
fn a_caller_without_credit_stops_between_messages_and_goes_on_later() {
    let mut bytes = [frame(0x81, b"first"), frame(0x81, b"second"), frame(0x81, b"third")[..4].to_vec()].concat();
    let mut decoder = Decoder::new(LIMIT);
    let mut rest = &mut bytes[..];
    assert_eq!(decoder.next(&mut rest).map(Seen::from), Some(text("first")));
    let mut kept = rest.to_vec();
    kept.extend(&frame(0x81, b"third")[4..]);
    let mut rest = &mut kept[..];
    assert_eq!(decoder.next(&mut rest).map(Seen::from), Some(text("second")));
    assert_eq!(decoder.next(&mut rest).map(Seen::from), Some(text("third")));
    assert_eq!(decoder.next(&mut rest), None);
}

#[test]
fn an_idle_decoder_is_a_few_dozen_bytes_and_owns_no_memory() {
    assert!(size_of::<Decoder>() <= 56, "{} bytes", size_of::<Decoder>());
    let mut decoder = Decoder::new(1 << 20);
    for bytes in [frame(0x82, &[1; 3000]), frame(0x89, b"ping")] {
        for piece in bytes.chunks(1000) {
            let mut piece = piece.to_vec();
            let mut rest = &mut piece[..];
            while decoder.next(&mut rest).is_some() {}
        }
        assert_eq!(decoder.held(), 0);
    }
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_was_announced() {
    let mut decoder = Decoder::new(usize::MAX);
    let mut head = [&b"\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00"[..], &KEY].concat();
    assert_eq!(decoder.next(&mut &mut head[..]), None);
    assert_eq!(decoder.held(), 0, "2^62 bytes announced");
    for received in (1..=100).map(|reads| reads * 1000) {
        assert_eq!(decoder.next(&mut &mut [0; 1000][..]), None);
        assert!(decoder.held() <= 2 * received, "{} held for {received}", decoder.held());
    }
}

#[test]
fn a_known_length_is_never_exceeded_by_the_memory_for_it() {
    let bytes = frame(0x82, &[1; 70_000]);
    let mut decoder = Decoder::new(LIMIT);
    for piece in bytes[..69_000].chunks(1000) {
        assert_eq!(decoder.next(&mut &mut piece.to_vec()[..]), None);
        assert!(decoder.held() <= 70_000);
    }
}

#[test]
fn tiny_fragments_cost_no_more_than_their_bytes() {
    // Quadratic work on a million fragments would not end within this test's lifetime.
    let mut bytes = frame(0x01, b"");
    let one = frame(0x00, b"x");
    let none = frame(0x00, b"");
    (0..500_000).for_each(|_| {
        bytes.extend(&one);
        bytes.extend(&none);
    });
    bytes.extend(frame(0x80, b""));
    let seen = decode_pieces(bytes.chunks(16 * 1024), 1 << 20);
    assert_eq!(seen, [Seen::Text("x".repeat(500_000))]);
}

/// Frames that make sense together more often than not.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        3 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 120..135),
        1 => "[aä€😀]{60,200}".prop_map(String::into_bytes),
    ];
    let first = prop_oneof![
        6 => Just(0x81u8),
        3 => Just(0x82),
        3 => Just(0x01),
        1 => Just(0x02),
        3 => Just(0x00),
        5 => Just(0x80),
        2 => Just(0x89),
        1 => Just(0x8a),
        1 => any::<u8>(),
    ];
    prop::collection::vec((first, payload), 1..8)
        .prop_map(|frames| frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn events_do_not_depend_on_how_the_bytes_arrive(bytes in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9)) {
        let whole = decode(&bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(decode_pieces(cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]), LIMIT), whole);
    }

    #[test]
    fn any_bytes_at_all_are_events_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes);
    }

    #[test]
    fn tungstenite_sees_the_same_messages(bytes in streams()) {
        let ours = decode(&bytes);
        let mut theirs = tungstenite_sees(bytes);
        let fault = matches!(theirs.last(), Some(None));
        theirs.retain(Option::is_some);
        let theirs: Vec<Seen> = theirs.into_iter().flatten().collect();
        let messages: Vec<Seen> = ours.iter().filter(|seen| !matches!(seen, Seen::Fault(_))).cloned().collect();
        let failed = ours.len() > messages.len();
        // A frame whose payload never comes: we refuse what is wrong in its beginning, tungstenite waits for it.
        prop_assert_eq!(messages, theirs);
        prop_assert_eq!(failed, fault);
    }

    #[test]
    fn what_we_encode_tungstenite_understands(payload in "\\PC{0,200}", times in 1usize..700) {
        let payload = payload.repeat(times);
        let mut out = Vec::new();
        encoder::encode_into(&mut out, Opcode::Text, payload.as_bytes());
        prop_assert_eq!(out.len(), encoder::frame_len(payload.len()));
        prop_assert_eq!(&encoder::shared(Opcode::Text, payload.as_bytes())[..], &out[..]);
        let role = tungstenite::protocol::Role::Client;
        let mut client = tungstenite::WebSocket::from_raw_socket(Tape(std::io::Cursor::new(out)), role, None);
        let text = client.read().expect("a message").into_text().expect("text");
        prop_assert_eq!(text.as_str(), payload.as_str());
    }
}

/// A peer that has said all it says, and does not care what it hears.
struct Tape(std::io::Cursor<Vec<u8>>);

impl std::io::Read for Tape {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into)? {
            0 if !into.is_empty() => Err(std::io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl std::io::Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The messages that tungstenite finds in these bytes, and `None` at the end for a violation.
fn tungstenite_sees(bytes: Vec<u8>) -> Vec<Option<Seen>> {
    use tungstenite::{Error, Message, WebSocket, protocol::Role};
    let mut server = WebSocket::from_raw_socket(Tape(std::io::Cursor::new(bytes)), Role::Server, None);
    let mut seen = Vec::new();
    loop {
        match server.read() {
            Ok(Message::Text(text)) => seen.push(Some(Seen::Text(text.to_string()))),
            Ok(Message::Binary(data)) => seen.push(Some(Seen::Binary(data.to_vec()))),
            Ok(Message::Ping(data)) => seen.push(Some(Seen::Ping(data.to_vec()))),
            Ok(Message::Pong(data)) => seen.push(Some(Seen::Pong(data.to_vec()))),
            Ok(Message::Close(close)) => {
                let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                let (code, reason): (Option<u16>, Option<String>) = close.unzip();
                // A code that nobody may send: it hands on the frame, where RFC 6455 (7.4) has us fail the connection.
                let allowed = code.is_none_or(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
                let replaced = code == Some(1002) && reason.as_deref() == Some("Protocol violation");
                let fine = allowed && !replaced;
                seen.push(fine.then(|| Seen::Close(code, reason.unwrap_or_default())));
                return seen;
            }
            Ok(Message::Frame(_)) => unreachable!("never given by read"),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return seen,
            Err(_) => {
                seen.push(None);
                return seen;
            }
        }
    }
}

#[test]
fn a_head_takes_the_shortest_form() {
    for (len, head) in [
        (0, &b"\x82\x00"[..]),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        assert_eq!(encoder::Head::new(Opcode::Binary, len).as_bytes(), head);
        assert_eq!(encoder::frame_len(len), len + head.len());
    }
}

#[test]
fn a_close_reason_is_cut_on_a_characters_edge() {
    let close = |code, reason: &str| {
        let mut out = Vec::new();
        encoder::close_into(&mut out, code, reason);
        out
    };
    assert_eq!(close(None, "never sent"), b"\x88\x00");
    assert_eq!(close(Some(1000), "bye"), b"\x88\x05\x03\xe8bye");
    assert_eq!(close(Some(1000), &"x".repeat(200)).len(), 2 + 125);
    let cut = close(Some(1000), &format!("{}{}", "x".repeat(121), "€€"));
    assert_eq!(cut.len(), 2 + 2 + 121, "no half of a euro");
    assert_eq!(encoder::cut_reason(&"€".repeat(60)), "€".repeat(41));
}
