//! RFC 7692 in a session: what it takes in, what it sends, and what a slow-client policy may drop.

use super::super::super::deflate::{Agreement, offer};
use super::stage::{Stage, frame, term};
use bytes::Bytes;
use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use kernel::{Body, Frame};
use manifest::{Compression, RelayOptions, SlowPolicy};
use serde_json::json;

fn agreed(wanted: Compression, offer: &'static str) -> Agreement {
    let headers = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer))]);
    offer::agree(&headers, wanted).expect("agreed")
}

fn on() -> Stage {
    let options = RelayOptions { compression: Compression::On, ..RelayOptions::default() };
    Stage::compressed(options, agreed(Compression::On, "permessage-deflate"))
}

fn takeover(change: impl FnOnce(&mut RelayOptions)) -> Stage {
    let mut options = RelayOptions { compression: Compression::Takeover, ..RelayOptions::default() };
    change(&mut options);
    Stage::compressed(options, agreed(Compression::Takeover, "permessage-deflate; client_max_window_bits"))
}

/// A client's two contexts, by flate2 alone.
struct Client {
    sends: Compress,
    receives: Decompress,
    takeover: bool,
}

impl Client {
    fn new(takeover: bool) -> Client {
        let bits = if takeover { 12 } else { 15 };
        let sends = Compress::new_with_window_bits(Level::default(), false, bits);
        Client { sends, receives: Decompress::new_with_window_bits(false, 15), takeover }
    }

    fn message(&mut self, opcode: u8, message: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.sends.reset();
        }
        let mut packed = Vec::with_capacity(message.len() + 1000);
        self.sends.compress_vec(message, &mut packed, FlushCompress::Sync).expect("it compresses");
        packed.truncate(packed.len() - 4);
        let mut bytes = frame(opcode, &packed);
        bytes[0] |= 0x40;
        bytes
    }

    fn inflate(&mut self, packed: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.receives.reset(false);
        }
        let input = [packed, &[0, 0, 0xff, 0xff]].concat();
        let mut out = Vec::with_capacity(16 << 20);
        self.receives.decompress_vec(&input, &mut out, FlushDecompress::None).expect("a deflate stream");
        out
    }

    /// The messages among what it got, and how many of them were compressed.
    fn texts(&mut self, got: Vec<(bool, u8, Vec<u8>)>) -> (Vec<String>, usize) {
        let mut compressed = 0;
        let data = got.into_iter().filter(|(_, opcode, _)| *opcode < 8);
        let texts = data.map(|(rsv1, _, payload)| {
            compressed += usize::from(rsv1);
            let payload = if rsv1 { self.inflate(&payload) } else { payload };
            String::from_utf8(payload).expect("UTF-8")
        });
        (texts.collect(), compressed)
    }
}

fn send(stage: &mut Stage, text: &str) {
    let bytes = Bytes::from(text.to_owned());
    stage.send("ws.send", Body::Frame(Frame { binary: false, bytes, relayed: None }));
}

fn numbered(n: usize, len: usize) -> String {
    let padding = "the same words in every message ".repeat(len / 32);
    format!("{n} {padding}{}", n * n)
}

#[test]
fn a_compressed_message_reaches_the_target_as_it_was() {
    for (mut stage, mut client) in [(on(), Client::new(false)), (takeover(|_| {}), Client::new(true))] {
        for n in 0..50 {
            let text = numbered(n, 400);
            let mut bytes = if n % 5 == 4 { frame(1, text.as_bytes()) } else { client.message(1, text.as_bytes()) };
            stage.bytes(&mut bytes);
            let (topic, data) = stage.target.seen().pop().expect("a message");
            assert_eq!((&*topic, data["data"].as_str()), ("ws.message", Some(&*text)), "message {n}");
        }
    }
}

#[test]
fn a_large_message_is_inflated_in_steps_and_what_follows_stays_behind_it() {
    for (mut stage, mut client) in [(on(), Client::new(false)), (takeover(|_| {}), Client::new(true))] {
        let large = numbered(7, 900_000);
        let mut bytes = [client.message(1, large.as_bytes()), client.message(1, b"after"), frame(9, b"?")].concat();
        stage.bytes(&mut bytes);
        let texts = || -> Vec<String> {
            let seen = stage.target.seen();
            seen.into_iter().filter_map(|(_, data)| data["data"].as_str().map(str::to_owned)).collect()
        };
        assert!(texts() == [large, "after".to_owned()]);
        assert_eq!(stage.got(), [(10, b"?".to_vec())]);
    }
}

#[test]
fn broken_compressed_messages_end_the_connection_with_their_code() {
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes[1] -= 1;
        bytes
    };
    let table: [(Vec<u8>, u16, &str); 5] = [
        (frame(0x41, b"no deflate"), 1002, "protocol"),
        (cut(Client::new(false).message(1, b"a message that is cut")), 1002, "protocol"),
        (Client::new(false).message(1, b"no text \xff"), 1007, "protocol"),
        (Client::new(false).message(2, &vec![0; (1 << 20) + 1]), 1009, "too_big"),
        (frame(0x49, b""), 1002, "protocol"),
    ];
    for (mut bytes, code, cause) in table {
        let mut stage = on();
        stage.bytes(&mut bytes);
        assert_eq!(stage.got_close().map(|(code, _)| code), Some(code));
        assert_eq!(stage.leave().0, cause);
    }
}

#[test]
fn without_agreement_rsv1_breaks_the_protocol() {
    let mut stage = super::stage::open();
    stage.bytes(&mut Client::new(false).message(1, b"compressed"));
    assert_eq!(stage.got_close().map(|(code, _)| code), Some(1002));
}

#[test]
fn messages_go_out_compressed_if_they_are_worth_it() {
    for (mut stage, mut client, worth) in [(on(), Client::new(false), 512), (takeover(|_| {}), Client::new(true), 128)]
    {
        let (mut sent, mut expected) = (Vec::new(), 0);
        for (n, len) in [10, 100, 200, 600, 2_000, 100, 40_000, 700_000, 50, 600].into_iter().enumerate() {
            let text = numbered(n, len);
            expected += usize::from(text.len() >= worth);
            send(&mut stage, &text);
            sent.push(text);
        }
        let got = stage.got_raw();
        let bytes: usize = got.iter().map(|(_, _, payload)| payload.len()).sum();
        let (texts, compressed) = client.texts(got);
        assert!(texts == sent);
        assert_eq!(compressed, expected);
        assert!(bytes < 20_000, "{bytes} bytes of {}", sent.concat().len());
    }
}

#[test]
fn what_was_sent_before_a_close_goes_out_however_long_it_takes_to_compress() {
    let (mut stage, mut client) = (takeover(|_| {}), Client::new(true));
    let large = numbered(1, 3_000_000);
    send(&mut stage, &large);
    stage.send("ws.close", term(&json!({ "code": 4000, "reason": "done" })));
    let mut got = stage.got_raw();
    assert_eq!(got.pop().map(|(_, opcode, payload)| (opcode, payload)), Some((8, b"\x0f\xa0done".to_vec())));
    assert!(client.texts(got).0 == [large]);
}

#[test]
fn control_frames_are_never_compressed_and_pass_a_message_that_is() {
    let mut stage = takeover(|_| {});
    send(&mut stage, &numbered(1, 1000));
    stage.frame(9, &[b'p'; 125]);
    let got = stage.got_raw();
    assert!(got.iter().all(|(rsv1, opcode, _)| *rsv1 == (*opcode == 1)), "{got:?}");
    assert_eq!(got.len(), 2);
}

/// A client that reads nothing, then everything: the numbers that it got.
fn slow(policy: SlowPolicy, mut stage: Stage, mut client: Client) -> Vec<usize> {
    // The first ones are on their way when the socket takes no more.
    stage.takes = Some(200);
    for n in 0..1000 {
        send(&mut stage, &numbered(n, 3_000));
    }
    stage.takes = None;
    let (mut texts, compressed) = client.texts(stage.got_raw());
    assert!(compressed > 0);
    // And it goes on.
    for n in 1000..1010 {
        send(&mut stage, &numbered(n, 3_000));
    }
    texts.extend(client.texts(stage.got_raw()).0);
    let numbers: Vec<usize> =
        texts.iter().map(|text| text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")).collect();
    assert!(texts.iter().zip(&numbers).all(|(text, n)| *text == numbered(*n, 3_000)), "{policy:?}: whole messages");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{policy:?}: {numbers:?}");
    assert_eq!(numbers[0], 0, "{policy:?}: what is on its way is not taken back");
    assert!(numbers.len() < 900, "{policy:?}: some were dropped");
    assert!(numbers.ends_with(&(1000..1010).collect::<Vec<_>>()), "{policy:?}: {numbers:?}");
    numbers
}

#[test]
fn what_a_policy_drops_does_not_break_the_context_of_what_is_kept() {
    let options = |policy| {
        move |options: &mut RelayOptions| {
            options.slow_policy = policy;
            options.send_buffer = 32 << 10;
        }
    };
    for policy in [SlowPolicy::DropOldest, SlowPolicy::DropNewest] {
        let numbers = slow(policy, takeover(options(policy)), Client::new(true));
        assert_eq!(numbers.contains(&999), policy == SlowPolicy::DropOldest, "{numbers:?}");
        let mut relay = RelayOptions { compression: Compression::On, ..RelayOptions::default() };
        options(policy)(&mut relay);
        relay.send_buffer = 2 << 10;
        let stage = Stage::compressed(relay, agreed(Compression::On, "permessage-deflate"));
        let numbers = slow(policy, stage, Client::new(false));
        assert_eq!(numbers.contains(&999), policy == SlowPolicy::DropOldest, "{numbers:?}");
    }
}

#[test]
fn a_slow_client_with_takeover_is_closed_by_the_default_policy() {
    let mut stage = takeover(|options| options.send_buffer = 16 << 10);
    stage.takes = Some(200);
    for n in 0..100 {
        send(&mut stage, &numbered(n, 3_000));
    }
    assert_eq!(stage.leave().0, "slow");
    assert!(!stage.is_alive());
}

#[test]
fn without_takeover_the_compressed_size_is_what_counts_for_the_send_buffer() {
    let options = RelayOptions { compression: Compression::On, send_buffer: 64 << 10, ..RelayOptions::default() };
    let mut stage = Stage::compressed(options, agreed(Compression::On, "permessage-deflate"));
    stage.takes = Some(0);
    for n in 0..100 {
        send(&mut stage, &numbered(n, 20_000));
    }
    assert!(stage.is_alive(), "2 MB that wait as less than 64 KiB");
}

#[test]
fn mail_that_waited_for_room_is_acted_on_when_compression_made_it() {
    let mut stage = takeover(|options| options.send_buffer = 1000);
    let from = stage.target.pid();
    let texts: Vec<String> = (0..200).map(|n| numbered(n, 3_000)).collect();
    for text in &texts {
        let bytes = Bytes::from(text.clone());
        stage.send_from(from, "ws.send", Body::Frame(Frame { binary: false, bytes, relayed: None }));
    }
    stage.turn();
    assert!(Client::new(true).texts(stage.got_raw()).0 == texts);
}
