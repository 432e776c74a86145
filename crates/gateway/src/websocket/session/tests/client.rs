//! "To the client", slow clients, Pings.

use super::super::Want;
use super::stage::{Stage, frame, open, open_with};
use bytes::Bytes;
use kernel::{Body, Frame, Message, Next, Refused, Term, Topic};
use manifest::{RelayOptions, SlowPolicy};
use serde_json::{Value, json};
use std::time::Duration;

fn binary_frame(bytes: &'static [u8], binary: bool) -> Body {
    Body::Frame(Frame { binary, bytes: Bytes::from_static(bytes), relayed: None })
}

#[test]
fn ws_send_is_one_frame_as_it_is() {
    let mut stage = open();
    stage.send_json("ws.send", &json!({ "type": "text", "data": "grüße" }));
    stage.send_json("ws.send", &json!({ "data": "no type" }));
    stage.send_json("ws.send", &json!({ "type": "binary", "data": "bytes" }));
    stage.send("ws.send", binary_frame(b"\x00\xff", true));
    stage.send("ws.send", binary_frame(b"text", false));
    stage.send_json("ws.send", &json!({ "data": "" }));
    assert_eq!(
        stage.got(),
        [
            (1, "grüße".as_bytes().to_vec()),
            (1, b"no type".to_vec()),
            (2, b"bytes".to_vec()),
            (2, b"\x00\xff".to_vec()),
            (1, b"text".to_vec()),
            (1, vec![]),
        ]
    );
}

#[test]
fn ws_send_of_a_table_is_its_json_and_of_a_number_or_boolean_its_text() {
    let mut stage = open();
    for value in [json!({ "b": 1, "a": [true, "x"] }), json!(42), json!(1.5), json!(false)] {
        stage.send_json("ws.send", &json!({ "data": value }));
    }
    assert_eq!(stage.got_texts(), [r#"{"a":[true,"x"],"b":1}"#, "42", "1.5", "false"]);
}

#[test]
fn ws_send_without_data_of_an_unknown_type_or_not_utf8_is_no_frame() {
    let mut stage = open();
    for wrong in [json!({}), json!({ "type": "picture", "data": "x" }), json!({ "type": 7, "data": "x" }), json!("x")] {
        stage.send_json("ws.send", &wrong);
    }
    stage.send("ws.send", Body::None);
    stage.send("ws.send", binary_frame(b"\xff\xfe", false));
    stage.send_json("ws.send", &json!({ "data": "the end" }));
    assert_eq!(stage.got_texts(), ["the end"]);
}

#[test]
fn ws_close_sends_what_was_sent_before_and_then_code_and_reason() {
    let cases: [(Value, u16, &str); 6] = [
        (json!({ "code": 4000, "reason": "bye" }), 4000, "bye"),
        (json!({ "reason": "no code" }), 1000, "no code"),
        (json!("a text"), 1000, "a text"),
        (json!({ "code": 1005, "reason": "odd" }), 1000, "odd"),
        (json!({ "code": 70000 }), 1000, ""),
        (json!({ "code": 1000.5 }), 1000, ""),
    ];
    for (payload, code, reason) in cases {
        let mut stage = open();
        stage.send_json("ws.send", &json!({ "data": "before" }));
        stage.send_json("ws.close", &payload);
        let frames = stage.got();
        assert_eq!(frames[0], (1, b"before".to_vec()));
        assert_eq!(frames[1].1, [&code.to_be_bytes()[..], reason.as_bytes()].concat());
        assert!(!stage.is_alive(), "later sends get NOT_FOUND");
    }
    let mut stage = open();
    stage.send("ws.close", Body::None);
    assert_eq!(stage.got_close(), Some((1000, String::new())));
}

#[test]
fn after_ws_close_a_send_finds_nobody_even_in_the_same_slice() {
    let mut stage = open();
    let (target, client) = (stage.target.pid(), stage.client);
    let sent = stage.shard.enter(target, |cx| {
        let message = |topic| Message { topic: Topic::fixed(topic), from: target, body: Body::None };
        (Next::Wait, (cx.send(client, message("ws.close")), cx.send(client, message("ws.send"))))
    });
    assert_eq!(sent, Some((Ok(()), Err(Refused::NotFound))));
    assert_eq!(stage.got_close(), Some((1000, String::new())));
}

#[test]
fn ws_close_cuts_the_reason_on_a_characters_edge() {
    for (reason, expected) in [("x".repeat(200), "x".repeat(123)), ("ü".repeat(100), "ü".repeat(61))] {
        let mut stage = open();
        stage.send_json("ws.close", &json!({ "reason": reason }));
        assert_eq!(stage.got_close(), Some((1000, expected)));
    }
}

#[test]
fn any_other_topic_is_wrapped() {
    let mut stage = open();
    for value in [json!({ "value": 42 }), json!([1, "two"]), json!("text"), json!(7), json!(true)] {
        stage.send_json("news", &value);
        let text = stage.got_texts().pop().expect("a frame");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json!({ "topic": "news", "data": value }));
    }
    stage.send("news", Body::None);
    stage.send("ws.message", Body::Term(Term::string(b"\xff\x00\xfe")));
    stage.send("news", binary_frame(b"x", false));
    assert_eq!(
        stage.got_texts(),
        [
            r#"{"data":null,"topic":"news"}"#,
            r#"{"data":"/wD+","topic":"ws.message"}"#,
            r#"{"data":{"data":"x","type":"text"},"topic":"news"}"#
        ]
    );
}

#[test]
fn topics_that_start_with_an_at_sign_never_reach_a_client() {
    let mut stage = open();
    stage.send_json("@internal", &json!("x"));
    assert!(stage.got().is_empty());
}

#[test]
fn each_ping_is_answered_and_of_a_flood_the_latest() {
    let mut stage = open();
    stage.frame(9, b"data");
    assert_eq!(stage.got(), [(10, b"data".to_vec())]);
    stage.bytes(&mut [frame(9, b"1"), frame(9, b"2")].concat());
    assert_eq!(stage.got(), [(10, b"1".to_vec()), (10, b"2".to_vec())]);
    stage.takes = Some(0);
    for n in 0..1_000 {
        stage.frame(9, format!("{n}").as_bytes());
    }
    stage.takes = None;
    let pongs = stage.got();
    assert!(pongs.len() <= 17, "{}", pongs.len());
    assert_eq!(pongs.last(), Some(&(10, b"999".to_vec())));
}

fn silent() -> Stage {
    open_with(|options| {
        options.ping_interval = Duration::from_secs(10);
        options.ping_timeout = Duration::from_secs(5);
    })
}

#[test]
fn the_server_pings_and_no_frame_at_all_within_interval_and_timeout_is_the_end() {
    let mut stage = silent();
    stage.pass(Duration::from_secs(11));
    let pings = stage.got();
    assert_eq!((pings.len(), pings[0].0, pings[0].1.len()), (1, 9, 4));
    stage.pass(Duration::from_millis(3_500));
    assert!(stage.is_alive());
    stage.pass(Duration::from_millis(1_000));
    assert_eq!(stage.leave(), ("idle".to_owned(), "idle timeout".to_owned(), 1006));
    assert_eq!(stage.want(), Want::Cut);
}

#[test]
fn only_the_pong_that_answers_a_ping_is_a_round_trip_and_only_once() {
    let mut stage = silent();
    for stranger in [&b""[..], b"\0\0\0\0", b"abcd", b"longer"] {
        stage.frame(10, stranger);
    }
    stage.pass(Duration::from_secs(10));
    let (_, number) = stage.got().pop().expect("a Ping");
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.figures().round_trips.read().sum, 0);
    stage.frame(10, &number);
    stage.frame(10, &number);
    let trips = stage.figures().round_trips.read();
    assert_eq!((trips.within.iter().sum::<u64>() + trips.beyond, trips.sum), (1, 2_000_000_000));
}

#[test]
fn any_frame_counts_as_life() {
    let mut stage = silent();
    for _ in 0..10 {
        stage.pass(Duration::from_secs(9));
        stage.text("alive");
    }
    assert!(stage.is_alive());
    let pings = stage.got().into_iter().filter(|(opcode, _)| *opcode == 9).count();
    assert!((8..=9).contains(&pings), "{pings}");
}

#[test]
fn frames_that_are_never_whole_in_one_read_count_as_life() {
    let message = frame(1, b"alive");
    // Each read ends a message within the next one: in its head, behind it, in its payload.
    for cut in 1..message.len() {
        let mut stage = silent();
        stage.bytes(&mut message[..cut].to_vec());
        for _ in 0..10 {
            stage.pass(Duration::from_secs(4));
            stage.bytes(&mut [&message[cut..], &message[..cut]].concat());
        }
        assert!(stage.is_alive(), "cut at {cut}");
    }
}

/// Slow-loris: of a head, of a payload, of a large one.
#[test]
fn bytes_of_a_frame_that_never_ends_count_as_no_life_and_progress_does() {
    let drip = |head: &[u8], piece: usize| {
        let mut stage = silent();
        let mut bytes = head.to_vec();
        for _ in 0..9 {
            stage.bytes(&mut bytes);
            stage.pass(Duration::from_secs(4));
            bytes = vec![0; piece];
        }
        stage.is_alive()
    };
    let head = &frame(2, &[0; 1 << 19])[..];
    assert!(!drip(&[0x81], 0), "a head that never ends");
    assert!(!drip(&head[..14], 1), "a payload that never ends");
    assert!(!drip(&frame(9, &[0; 125])[..6], 1), "a Ping that never ends");
    assert!(drip(&head[..14], 8 << 10), "a large message on a slow line");
}

/// The machine sleeps, or the process is stopped: all clocks jump at once.
fn sleep(stage: &mut Stage, time: Duration) {
    stage.now = stage.now.after(time);
}

#[test]
fn a_server_that_was_stopped_reads_what_came_meanwhile_before_it_gives_a_client_up() {
    let mut stage = silent();
    stage.pass(Duration::from_secs(11));
    sleep(&mut stage, Duration::from_secs(60));
    // The answer lay in the socket, which is read first here ...
    stage.frame(10, b"");
    assert!(stage.is_alive());
    sleep(&mut stage, Duration::from_secs(60));
    // ... and here after other processes have had their turn.
    stage.turn();
    assert!(stage.is_alive());
    stage.frame(10, b"");
    stage.pass(Duration::from_secs(9));
    assert!(stage.is_alive());
}

#[test]
fn a_client_that_is_silent_after_the_server_was_stopped_is_given_up_soon() {
    let mut stage = silent();
    stage.pass(Duration::from_secs(5));
    sleep(&mut stage, Duration::from_secs(60));
    stage.turn();
    let asked = stage.got();
    assert!(matches!(asked[..], [(9, _)]), "it is asked once more: {asked:?}");
    stage.pass(Duration::from_secs(6));
    assert_eq!(stage.leave(), ("idle".to_owned(), "idle timeout".to_owned(), 1006));
}

#[test]
fn a_server_that_was_stopped_offers_what_waits_before_it_gives_a_slow_client_up() {
    let mut stage = open_with(|options| options.write_timeout = Duration::from_secs(3));
    stage.takes = Some(0);
    stage.send_json("ws.send", &json!({ "data": "unread" }));
    sleep(&mut stage, Duration::from_secs(60));
    // The client reads again, but timers come before the socket says so.
    stage.turn();
    assert!(stage.is_alive());
    stage.takes = Some(1);
    stage.pass(Duration::from_secs(2));
    assert!(stage.is_alive(), "one byte is progress");
    stage.pass(Duration::from_secs(4));
    assert_eq!(stage.leave(), ("lost".to_owned(), "connection lost".to_owned(), 1006));
}

#[test]
fn heartbeats_that_a_stopped_server_missed_are_not_made_up_and_the_beat_is_kept() {
    let mut stage = Stage::new(RelayOptions::default(), |wanted| wanted.heartbeat = Some(Duration::from_secs(1)));
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.target.topics(), ["ws.join", "ws.heartbeat", "ws.heartbeat"]);
    sleep(&mut stage, Duration::from_millis(20_500));
    stage.turn();
    stage.turn();
    assert_eq!(stage.target.topics(), ["ws.heartbeat"]);
    stage.pass(Duration::from_millis(400));
    assert!(stage.target.topics().is_empty());
    stage.pass(Duration::from_millis(200));
    assert_eq!(stage.target.topics(), ["ws.heartbeat"]);
}

fn flooded(policy: SlowPolicy) -> Stage {
    let mut stage = open_with(|options| {
        options.send_buffer = 1000;
        options.slow_policy = policy;
    });
    stage.takes = Some(350);
    for n in 0..100 {
        let text = format!("{n:03}{}", ".".repeat(97));
        stage.send_json("ws.send", &json!({ "data": text }));
    }
    stage
}

fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| text[..3].parse().expect("a number")).collect()
}

#[test]
fn slow_policy_close_is_1013() {
    let mut stage = flooded(SlowPolicy::Close);
    assert_eq!(stage.leave(), ("slow".to_owned(), "slow client".to_owned(), 1013));
    stage.takes = None;
    assert_eq!(stage.got_close(), Some((1013, "slow client".to_owned())));
}

#[test]
fn slow_policy_drop_oldest_keeps_what_is_on_its_way_and_the_newest() {
    let mut stage = flooded(SlowPolicy::DropOldest);
    stage.frame(9, b"never dropped");
    stage.takes = None;
    let frames = stage.got();
    assert!(frames.contains(&(10, b"never dropped".to_vec())));
    let texts: Vec<_> = frames.into_iter().filter(|(opcode, _)| *opcode == 1).collect();
    let texts: Vec<_> = texts.into_iter().map(|(_, payload)| String::from_utf8(payload).expect("UTF-8")).collect();
    let kept = numbers(&texts);
    assert_eq!(kept[..4], [0, 1, 2, 3], "written, or begun");
    assert_eq!(kept[4..], (104 - kept.len()..100).collect::<Vec<_>>(), "and the newest, without a gap");
    assert!((12..16).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn slow_policy_drop_newest_keeps_the_oldest() {
    let mut stage = flooded(SlowPolicy::DropNewest);
    stage.takes = None;
    let kept = numbers(&stage.got_texts());
    assert_eq!(kept, (0..kept.len()).collect::<Vec<_>>());
    assert!((10..20).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn one_message_of_any_size_fits_an_empty_queue_and_a_client_that_reads_is_not_slow() {
    for policy in [SlowPolicy::Close, SlowPolicy::DropOldest, SlowPolicy::DropNewest] {
        let mut stage = open_with(|options| {
            options.send_buffer = 1000;
            options.slow_policy = policy;
        });
        // A burst within one turn, far beyond the buffer, to a socket that takes everything.
        for _ in 0..50 {
            let from = stage.target.pid();
            let body = Body::Frame(Frame { binary: true, bytes: Bytes::from(vec![0; 5000]), relayed: None });
            stage.send_from(from, "ws.send", body);
        }
        assert_eq!(stage.got().len(), 50);
        assert!(stage.is_alive());
    }
}

#[test]
fn no_progress_writing_for_the_write_timeout_is_a_lost_connection() {
    let mut stage = open_with(|options| options.write_timeout = Duration::from_secs(3));
    stage.takes = Some(0);
    stage.send_json("ws.send", &json!({ "data": "unread" }));
    stage.pass(Duration::from_secs(2));
    stage.takes = Some(1);
    stage.pass(Duration::from_secs(2));
    assert!(stage.is_alive(), "one byte is progress");
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.leave(), ("lost".to_owned(), "connection lost".to_owned(), 1006));
}
