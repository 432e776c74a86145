//! Many clients at once, over two shards.

use std::time::Instant;
use testkit::{Client, Closed, Peer, Start};
use tokio::task::JoinSet;

const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/echo");
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
