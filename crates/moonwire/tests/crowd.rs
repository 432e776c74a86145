//! Many clients at once, over two shards.

use serde_json::json;
use std::time::Instant;
use testkit::{Client, Closed, Peer, Start};
use tokio::task::JoinSet;

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/echo");
const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/documents");
const CLIENTS: usize = 500;
const MESSAGES: usize = 20;

#[tokio::test]
async fn five_hundred_clients_get_every_message_back_in_order_and_leave_nothing_behind() {
    let server = Start::new(env!("CARGO_BIN_EXE_moonwire"), ECHO).shards(2).run().await;
    let before = server.counters().await;
    let began = Instant::now();

    let mut opening = JoinSet::new();
    for number in 0..CLIENTS {
        let dial = Peer::BOTH[number % 2].dial(server.gateway(), "/ws");
        opening.spawn(async move { (number, dial.open().await) });
    }
    let clients = opening.join_all().await;
    let full = server.counters().await;
    assert_eq!(full.sockets, before.sockets + CLIENTS as u64);
    let opened = began.elapsed();

    let mut talking = JoinSet::new();
    for (number, client) in clients {
        talking.spawn(talk(number, client));
    }
    talking.join_all().await;
    println!("opened after {opened:?}, all said and closed after {:?}", began.elapsed());

    server.settles_at(before).await;
    let faults: Vec<_> = server.records().into_iter().filter(|record| record.is_fault()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    server.stop().await;
}

#[tokio::test]
async fn everybody_in_a_room_hears_everything_in_the_same_order() {
    const PEOPLE: usize = 60;
    const SAYINGS: usize = 5;
    // The documents' broadcast. Its room does not listen when it is told to stop.
    let server = Start::new(env!("CARGO_BIN_EXE_moonwire"), DOCUMENTS)
        .shards(2)
        .set("app.ws:room_service:lifecycle.stop_timeout=100ms")
        .run()
        .await;
    let before = server.wait_counters("the room has its name", |now| now.names == 1).await;

    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let mut client = Peer::BOTH[number % 2].dial(server.gateway(), "/ws/room").open().await;
        // Whoever hears the own words is in the room.
        client.say(format!("here is {number}")).await;
        client.hear_until(json!({ "content": format!("here is {number}") })).await;
        people.push(client);
    }
    let mut talking = JoinSet::new();
    for (number, mut client) in people.into_iter().enumerate() {
        talking.spawn(async move {
            for saying in 0..SAYINGS {
                client.say(format!("{number}: {saying}")).await;
            }
            let mut heard = Vec::new();
            while heard.len() < PEOPLE * SAYINGS {
                let content = client.hear_json().await["content"].as_str().expect("text").to_owned();
                if !content.starts_with("here is") {
                    heard.push(content);
                }
            }
            (client, heard)
        });
    }
    let all = talking.join_all().await;
    for (client, heard) in &all {
        assert!(*heard == all[0].1, "{client:?} heard another order than the first one");
    }
    for (client, _) in all {
        client.close(Closed::with(1000, "")).await;
    }
    server.settles_at(before).await;
    server.stop().await;
}

/// Sends all messages before it reads the first answer.
async fn talk(number: usize, mut client: Client) {
    for message in 0..MESSAGES {
        client.say(format!("{number}: {message}")).await;
    }
    for message in 0..MESSAGES {
        assert_eq!(client.hear_text().await, format!("{number}: {message}"));
    }
    assert_eq!(client.close(Closed::with(1000, "done")).await.code, 1000);
}
