//! "Transfer".

use super::stage::{Puppet, Stage, frame, open, spawn, term};
use crate::relay::values::term_of;
use kernel::{Exit, Next, Topic};
use manifest::RelayOptions;
use serde_json::{Value, json};
use std::time::Duration;

fn text_of(stage: &Stage, puppet: &Puppet) -> String {
    puppet.pid().text(&stage.shard.node().hosts).to_string()
}

fn with_metadata() -> Stage {
    let stage = Stage::new(RelayOptions::default(), |wanted| {
        wanted.metadata = json!({ "stage": "lobby" }).as_object().map(term_of);
        wanted.topic = Topic::from("chat");
    });
    assert_eq!(stage.target.topics(), ["ws.join"]);
    stage
}

/// Sends `ws.control` from a third process; the answer's `ok` and `error`.
fn control(stage: &mut Stage, mut fields: Value) -> (bool, Option<String>) {
    let asker = spawn(&mut stage.shard, "app:processes");
    fields["ack"] = json!("moved");
    stage.send_from(asker.pid(), "ws.control", term(&fields));
    stage.turn();
    let (topic, answer) = asker.seen().pop().expect("an answer");
    assert_eq!(topic, "moved");
    assert!(answer["client_pid"].is_string());
    (answer["ok"].as_bool().expect("ok"), answer["error"].as_str().map(str::to_owned))
}

#[test]
fn the_old_target_gets_leave_the_new_one_join_and_only_then_messages() {
    let mut stage = with_metadata();
    let game = spawn(&mut stage.shard, "app:processes");
    let to = text_of(&stage, &game);
    let moved = json!({ "target_pid": to, "message_topic": "play", "metadata": { "stage": "game" } });
    assert_eq!(control(&mut stage, moved), (true, None));
    stage.text("after");
    let (topic, leave) = stage.target.seen().pop().expect("a leave");
    assert_eq!(
        (topic.as_str(), &leave["cause"], &leave["metadata"]),
        ("ws.leave", &json!("transferred"), &json!({ "stage": "lobby" }))
    );
    let seen = game.seen();
    assert_eq!(seen[0], ("ws.join".to_owned(), json!({ "metadata": { "stage": "game" } })));
    assert_eq!(
        (&*seen[1].0, &seen[1].1["data"], &seen[1].1["metadata"]),
        ("play", &json!("after"), &json!({ "stage": "game" }))
    );
    // From now on it lives and dies with the new one.
    stage.shard.enter(stage.target.pid(), |_| (Next::End(Exit::normal(None)), ()));
    stage.turn();
    assert!(stage.is_alive());
    stage.shard.enter(game.pid(), |_| (Next::End(Exit::normal(None)), ()));
    assert_eq!(stage.got_close(), Some((1000, String::new())));
}

#[test]
fn what_cannot_be_changes_nothing() {
    let mut stage = with_metadata();
    let dead = spawn(&mut stage.shard, "app:processes");
    stage.shard.end(dead.pid(), Exit::terminated(None));
    let living = spawn(&mut stage.shard, "app:processes");
    let (dead, living_text) = (text_of(&stage, &dead), text_of(&stage, &living));
    let client = stage.client.text(&stage.shard.node().hosts).to_string();
    for wrong in [
        json!({ "target_pid": dead }),
        json!({ "target_pid": client }),
        json!({ "target_pid": "nobody" }),
        json!({ "target_pid": "nil" }),
        json!({ "target_pid": "" }),
        json!({ "target_pid": "{not a pid" }),
        json!({ "target_pid": 7 }),
        json!({ "target_pid": living_text, "message_topic": "" }),
        json!({ "target_pid": living_text, "message_topic": "@x" }),
        json!({ "target_pid": living_text, "message_topic": "ws.join" }),
        json!({ "target_pid": living_text, "heartbeat_interval": "soon" }),
        json!({ "target_pid": living_text, "heartbeat_interval": 30 }),
        json!({ "target_pid": living_text, "metadata": "text" }),
    ] {
        let (ok, error) = control(&mut stage, wrong.clone());
        assert!(!ok && error.is_some_and(|error| !error.is_empty()), "{wrong}");
    }
    stage.text("still here");
    let (topic, data) = stage.target.seen().pop().expect("a message");
    assert_eq!((topic.as_str(), &data["metadata"]), ("chat", &json!({ "stage": "lobby" })));
    assert!(living.seen().is_empty());
}

#[test]
fn fields_change_without_leave_and_join_for_the_same_target() {
    let mut stage = with_metadata();
    let same = text_of(&stage, &stage.target.clone());
    assert_eq!(control(&mut stage, json!({ "target_pid": same, "message_topic": "play" })), (true, None));
    assert_eq!(control(&mut stage, json!({ "metadata": {} })), (true, None));
    stage.text("x");
    let (topic, data) = stage.target.seen().pop().expect("a message");
    assert_eq!((topic.as_str(), data.get("metadata")), ("play", None));
    assert!(stage.target.seen().is_empty());
    assert_eq!(control(&mut stage, json!({ "heartbeat_interval": "1s" })), (true, None));
    stage.pass(Duration::from_millis(2_500));
    assert_eq!(stage.target.topics(), ["ws.heartbeat", "ws.heartbeat"]);
}

#[test]
fn absent_fields_keep_their_value() {
    let mut stage = with_metadata();
    let game = spawn(&mut stage.shard, "app:processes");
    let to = text_of(&stage, &game);
    assert_eq!(control(&mut stage, json!({ "target_pid": to })), (true, None));
    stage.text("x");
    let seen = game.seen();
    assert_eq!(seen[0].1["metadata"], json!({ "stage": "lobby" }));
    assert_eq!((&*seen[1].0, &seen[1].1["metadata"]), ("chat", &json!({ "stage": "lobby" })));
}

#[test]
fn frames_that_waited_for_the_old_target_reach_the_new_one_in_order() {
    let mut stage = open();
    stage.target.deaf.set(true);
    let mut bytes: Vec<u8> = (0..100).flat_map(|n| frame(1, format!("{n}").as_bytes())).collect();
    stage.bytes(&mut bytes);
    let game = spawn(&mut stage.shard, "app:processes");
    let to = text_of(&stage, &game);
    assert_eq!(control(&mut stage, json!({ "target_pid": to })), (true, None));
    stage.pass(Duration::from_millis(10));
    stage.target.deaf.set(false);
    stage.shard.enter(stage.target.pid(), |_| (Next::Again, ()));
    stage.turn();
    let old: Vec<_> = stage.target.seen();
    let new: Vec<_> = game.seen();
    assert_eq!(old.last().map(|(topic, _)| topic.as_str()), Some("ws.leave"));
    assert_eq!(new.first().map(|(topic, _)| topic.as_str()), Some("ws.join"));
    let said = old.iter().chain(&new).filter(|(topic, _)| topic == "ws.message");
    let said: Vec<String> = said.map(|(_, data)| data["data"].as_str().expect("text").to_owned()).collect();
    assert_eq!(said, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(stage.want(), super::super::Want::Read);
}

#[test]
fn without_ack_nobody_is_answered() {
    let mut stage = open();
    let game = spawn(&mut stage.shard, "app:processes");
    let asker = spawn(&mut stage.shard, "app:processes");
    let to = text_of(&stage, &game);
    stage.send_from(asker.pid(), "ws.control", term(&json!({ "target_pid": to })));
    stage.turn();
    assert!(asker.seen().is_empty());
    assert_eq!(game.topics(), ["ws.join"]);
}
