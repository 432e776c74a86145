//! "To the target" and "Pressure".

use super::stage::{Stage, frame, open, open_with, spawn, term};
use crate::relay::values::term_of;
use kernel::{Message, Next, Topic};
use manifest::RelayOptions;
use serde_json::json;
use std::time::Duration;

fn with_metadata() -> Stage {
    Stage::new(RelayOptions::default(), |wanted| {
        wanted.metadata = json!({ "user": "ann" }).as_object().map(term_of);
        wanted.topic = Topic::from("chat");
        wanted.heartbeat = Some(Duration::from_secs(5));
    })
}

#[test]
fn join_is_first_and_leave_is_last_and_all_have_the_metadata() {
    let mut stage = with_metadata();
    stage.text("hello");
    stage.frame(2, b"\x00\x01");
    stage.close_frame(4001, "going home");
    assert_eq!(
        stage.target.seen(),
        [
            ("ws.join".to_owned(), json!({ "metadata": { "user": "ann" } })),
            (
                "chat".to_owned(),
                json!({ "client_pid": client(&stage), "type": "text", "data": "hello", "metadata": { "user": "ann" } })
            ),
            (
                "chat".to_owned(),
                json!({ "client_pid": client(&stage), "type": "binary", "data": "\u{0}\u{1}", "metadata": { "user": "ann" } })
            ),
            (
                "ws.leave".to_owned(),
                json!({ "reason": "going home", "cause": "client", "code": 4001, "metadata": { "user": "ann" } })
            ),
        ]
    );
}

fn client(stage: &Stage) -> String {
    stage.client.text(&stage.shard.node().hosts).to_string()
}

#[test]
fn heartbeats_say_how_long_and_how_many_messages() {
    let mut stage = with_metadata();
    assert_eq!(stage.target.topics(), ["ws.join"]);
    stage.text("one");
    stage.text("two");
    stage.pass(Duration::from_secs(11));
    let seen = stage.target.seen();
    let beats: Vec<_> = seen.iter().filter(|(topic, _)| topic == "ws.heartbeat").map(|(_, data)| data).collect();
    assert_eq!(beats.len(), 2);
    assert_eq!(beats[1]["message_count"], 2);
    assert_eq!(beats[1]["metadata"], json!({ "user": "ann" }));
    let uptime = beats[1]["uptime"].as_f64().expect("seconds");
    assert!((10.0..11.2).contains(&uptime), "{uptime}");
}

#[test]
fn without_an_interval_there_is_no_heartbeat() {
    let mut stage = open();
    stage.pass(Duration::from_secs(40));
    assert!(stage.target.topics().is_empty());
}

#[test]
fn a_client_has_credit_for_64_messages_and_then_is_not_read() {
    let mut stage = open();
    stage.target.deaf.set(true);
    let mut bytes: Vec<u8> = (0..200).flat_map(|n| frame(1, format!("{n}").as_bytes())).collect();
    stage.bytes(&mut bytes);
    assert_eq!(stage.want(), super::super::Want::Pause);
    stage.target.deaf.set(false);
    wake(&mut stage);
    let data: Vec<String> =
        stage.target.seen().into_iter().map(|(_, data)| data["data"].as_str().expect("text").to_owned()).collect();
    assert_eq!(data, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(stage.want(), super::super::Want::Read);
}

#[test]
fn a_client_has_credit_for_256_kib() {
    let mut stage = open();
    stage.target.deaf.set(true);
    for _ in 0..3 {
        stage.frame(2, &[0; 100 << 10]);
    }
    assert_eq!(stage.want(), super::super::Want::Read, "nothing was kept back yet");
    stage.frame(2, b"one too many");
    assert_eq!(stage.want(), super::super::Want::Pause);
    stage.target.deaf.set(false);
    wake(&mut stage);
    assert_eq!(stage.target.seen().len(), 4);
    assert_eq!(stage.want(), super::super::Want::Read);
}

/// Lets a target that was deaf take its mail.
fn wake(stage: &mut Stage) {
    let (target, from) = (stage.target.pid(), stage.client);
    stage.shard.enter(target, |_| (Next::Again, ()));
    let _ = from;
    stage.turn();
}

#[test]
fn a_full_mailbox_loses_no_message_and_neither_join_nor_leave() {
    let mut stage = open();
    let room = spawn(&mut stage.shard, "app:small");
    room.deaf.set(true);
    let noisy = stage.target.pid();
    for _ in 0..3 {
        let message = Message { topic: Topic::from("noise"), from: noisy, body: kernel::Body::None };
        stage.shard.enter(noisy, |cx| (Next::Wait, cx.send(room.pid(), message).expect("room for three")));
    }
    let to = room.pid().text(&stage.shard.node().hosts).to_string();
    stage.send_json("ws.control", &json!({ "target_pid": to }));
    stage.text("kept");
    stage.text("and in order");
    assert_eq!(stage.want(), super::super::Want::Pause);
    room.deaf.set(false);
    stage.shard.enter(room.pid(), |_| (Next::Again, ()));
    stage.turn();
    stage.lose();
    assert_eq!(room.topics(), ["noise", "noise", "noise", "ws.join", "ws.message", "ws.message", "ws.leave"]);
}

#[test]
fn rates_delay_messages_and_close_nothing() {
    let mut stage = open_with(|options| options.rate_messages = Some(20));
    let mut bytes: Vec<u8> = (0..50).flat_map(|n| frame(1, format!("{n}").as_bytes())).collect();
    stage.bytes(&mut bytes);
    assert_eq!(stage.target.seen().len(), 20);
    assert_eq!(stage.want(), super::super::Want::Pause);
    stage.pass(Duration::from_secs(1));
    let second = stage.target.seen().len();
    assert!((19..=21).contains(&second), "{second}");
    stage.pass(Duration::from_secs(1));
    assert_eq!(second + stage.target.seen().len(), 30);
    assert_eq!(stage.want(), super::super::Want::Read);
}

#[test]
fn a_rate_of_bytes_delays_what_follows_a_big_message() {
    let mut stage = open_with(|options| options.rate_bytes = Some(1000));
    stage.frame(2, &[0; 3000]);
    stage.frame(2, b"later");
    assert_eq!(stage.target.seen().len(), 1);
    stage.pass(Duration::from_millis(1_800));
    assert_eq!(stage.target.seen().len(), 0);
    stage.pass(Duration::from_millis(400));
    assert_eq!(stage.target.seen().len(), 1);
}

#[test]
fn a_session_is_small_and_idle_it_holds_no_buffer() {
    let mut stage = open();
    stage.text("hello");
    stage.send_json("ws.send", &json!({ "data": "hello" }));
    stage.got();
    let session = stage.session.borrow();
    assert!(session.outbox.is_none() && session.rare.is_none() && !session.is_midway());
    assert!(std::mem::size_of::<super::super::Session>() <= 320, "{}", std::mem::size_of::<super::super::Session>());
}

#[test]
fn mail_that_came_before_bytes_is_acted_on_before_them() {
    let mut stage = open();
    let other = spawn(&mut stage.shard, "app:processes");
    let to = other.pid().text(&stage.shard.node().hosts).to_string();
    let from = stage.target.pid();
    stage.send_from(from, "ws.control", term(&json!({ "target_pid": to })));
    stage.text("for the new one");
    assert_eq!(stage.target.topics(), ["ws.leave"]);
    assert_eq!(other.topics(), ["ws.join", "ws.message"]);
}
