//! The examples, played through by two WebSocket crates at once: each scene has one client of each.

use serde_json::{Value, json};
use testkit::{Client, Closed, Counters, Frame, Peer, Record, Server, Start};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

fn example(name: &str) -> Start {
    Start::new(env!("CARGO_BIN_EXE_moonwire"), format!("{EXAMPLES}/{name}")).shards(2)
}

/// Its room does not listen when it is told to stop.
fn documents(language: &str) -> Start {
    example("documents").variable("DOCUMENT", language).set("app.ws:room_service:lifecycle.stop_timeout=100ms")
}

/// Whoever is first, and the other one: a scene is played in both ways.
const CASTS: [[Peer; 2]; 2] = [[Peer::Tungstenite, Peer::Websockets], [Peer::Websockets, Peer::Tungstenite]];

/// An example leaves nothing behind, and nothing in the log that anybody should look into.
async fn finish(server: Server, before: Counters) {
    server.settles_at(before).await;
    stop(server).await;
}

async fn stop(server: Server) {
    let faults: Vec<_> = server.records().into_iter().filter(Record::is_fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    server.stop().await;
}

/// Starts a folder whose one service registers a name, and waits for that.
async fn with_its_service(start: Start) -> (Server, Counters) {
    let server = start.run().await;
    let before = server.wait_counters("the service has its name", |now| now.names == 1).await;
    (server, before)
}

async fn enter(server: &Server, peer: Peer, room: &str, name: &str) -> Client {
    let mut client = peer.dial(server.gateway(), format!("/ws/{room}?name={name}")).open().await;
    client.hear_until(json!({ "type": "welcome", "room": room, "you": name })).await;
    client
}

#[tokio::test]
async fn chat_two_people_talk_and_each_sees_the_other_leave() {
    let (server, before) = with_its_service(example("chat").variable("CHAT_LINGER", "100ms")).await;
    for (room, cast) in ["tea", "coffee"].into_iter().zip(CASTS) {
        let mut ann = enter(&server, cast[0], room, "Ann").await;
        let mut bob = enter(&server, cast[1], room, "Bob").await;
        ann.hear_until(json!({ "type": "joined", "name": "Bob" })).await;

        ann.say_json(&json!({ "type": "say", "text": "hello" })).await;
        bob.hear_until(json!({ "type": "message", "name": "Ann", "text": "hello" })).await;
        bob.say_json(&json!({ "type": "say", "text": "grüße ☃" })).await;
        ann.hear_until(json!({ "type": "message", "name": "Bob", "text": "grüße ☃" })).await;

        // One closes, the next one is simply gone; who stays sees the same.
        bob.close(Closed::with(1000, "")).await;
        ann.hear_until(json!({ "type": "left", "name": "Bob" })).await;
        let bob = enter(&server, cast[1], room, "Bob").await;
        ann.hear_until(json!({ "type": "joined", "name": "Bob" })).await;
        bob.reset();
        ann.hear_until(json!({ "type": "left", "name": "Bob" })).await;
        ann.close(Closed::with(1000, "")).await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn chat_a_late_guest_reads_what_was_said_and_a_taken_name_is_4009() {
    let (server, _before) = with_its_service(example("chat")).await;
    for (room, cast) in ["tea", "coffee"].into_iter().zip(CASTS) {
        let mut ann = enter(&server, cast[0], room, "Ann").await;
        ann.say_json(&json!({ "type": "say", "text": "first" })).await;
        ann.hear_until(json!({ "type": "message", "text": "first" })).await;

        let path = format!("/ws/{room}?name=");
        let mut bob = cast[1].dial(server.gateway(), format!("{path}Bob")).open().await;
        let welcome = bob.hear_until(json!({ "type": "welcome" })).await;
        assert_eq!(welcome["people"], json!(["Ann", "Bob"]));
        assert_eq!(welcome["history"][0]["text"], "first");

        let rival = cast[1].dial(server.gateway(), format!("{path}ann")).open().await;
        assert_eq!(rival.ended().await, Closed::with(4009, "name taken"));
        let nameless = cast[1].dial(server.gateway(), path).attempt().await;
        assert_eq!(nameless.err(), Some(400));

        let rooms: Value = serde_json::from_str(&server.get("/api/rooms").await.body).expect("JSON");
        let here = rooms["rooms"].as_array().expect("a list").iter().find(|one| one["room"] == room);
        assert_eq!(here.map(|one| &one["people"]), Some(&json!(2)), "{rooms}");
        ann.close(Closed::with(1000, "")).await;
        bob.close(Closed::with(1000, "")).await;
    }
    stop(server).await;
}

#[tokio::test]
async fn chat_serves_its_page() {
    let server = example("chat").run().await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.to_ascii_lowercase().contains("content-type: text/html"), "{}", page.head);
    assert!(page.body.contains("chat.js"), "{}", page.body);
    assert_eq!(server.get("/chat.js").await.status, 200);
    assert_eq!(server.get("/nothing.js").await.status, 404);
    stop(server).await;
}

async fn play(server: &Server, peer: Peer, name: &str) -> Client {
    let mut client = peer.dial(server.gateway(), format!("/ws?name={name}")).open().await;
    client.hear_until(json!({ "type": "lobby", "name": name })).await;
    client.say_json(&json!({ "type": "play" })).await;
    client.hear_until(json!({ "type": "waiting" })).await;
    client
}

#[tokio::test]
async fn lobby_two_connections_go_to_a_game_and_come_back_with_its_result() {
    let (server, before) = with_its_service(example("lobby")).await;
    for cast in CASTS {
        let mut ann = play(&server, cast[0], "Ann").await;
        let mut bob = play(&server, cast[1], "Bob").await;
        ann.hear_until(json!({ "type": "game", "you": "X", "against": "Bob", "turn": "X", "over": false })).await;
        bob.hear_until(json!({ "type": "game", "you": "O", "against": "Ann", "turn": "X", "over": false })).await;

        // Ann takes the first row; Bob takes whatever is free below it.
        for (mine, theirs) in [(1, Some(4)), (2, Some(5)), (3, None)] {
            ann.say_json(&json!({ "type": "put", "cell": mine })).await;
            if let Some(theirs) = theirs {
                bob.hear_until(json!({ "type": "game", "turn": "O" })).await;
                bob.say_json(&json!({ "type": "put", "cell": theirs })).await;
                ann.hear_until(json!({ "type": "game", "turn": "X" })).await;
            }
        }
        ann.hear_until(json!({ "type": "game", "over": true, "line": [1, 2, 3] })).await;
        ann.hear_until(json!({ "type": "lobby", "name": "Ann", "result": "won" })).await;
        bob.hear_until(json!({ "type": "lobby", "name": "Bob", "result": "lost" })).await;

        // The same two connections play again; now one goes away in the middle.
        for client in [&mut ann, &mut bob] {
            client.say_json(&json!({ "type": "play" })).await;
        }
        ann.hear_until(json!({ "type": "game", "against": "Bob" })).await;
        bob.reset();
        ann.hear_until(json!({ "type": "lobby", "name": "Ann", "result": "gone" })).await;
        ann.close(Closed::with(1000, "")).await;
    }
    finish(server, before).await;
}

async fn steered(client: &mut Client, content: Value) -> Value {
    client.say_json(&content).await;
    client.hear_until(json!({ "event": "received" })).await
}

#[tokio::test]
async fn documents_their_code_runs_as_printed_in_both_languages() {
    for language in ["ko", "ru"] {
        let (server, before) = with_its_service(documents(language)).await;
        for peer in Peer::BOTH {
            let mut client = peer.dial(server.gateway(), "/ws/handler?user_id=7").open().await;

            // Receiving, then the transfer to a second handler.
            let answer = steered(&mut client, json!({ "x": 1 })).await;
            assert_eq!((&answer["by"], &answer["content"]), (&json!("first"), &json!({ "x": 1 })), "{language}");
            client.say_json(&json!({ "run": "transfer" })).await;
            // What follows at once may reach the first one still; its answer comes after its transfer.
            steered(&mut client, json!("in between")).await;
            let answer = steered(&mut client, json!([1, 2])).await;
            assert_eq!((&answer["by"], &answer["content"]), (&json!("second"), &json!([1, 2])), "{language}");

            // Sending text, binary, and the end of the session.
            client.say_json(&json!({ "run": "send" })).await;
            assert_eq!(client.hear_json().await, json!({ "event": "update", "value": 42 }));
            assert_eq!(client.hear().await, Frame::Binary(vec![0, 1, 2, 253, 254, 255]));
            assert_eq!(client.ended().await, Closed::with(1000, "Session ended"));
        }
        finish(server, before).await;
    }
}

#[tokio::test]
async fn documents_a_connection_is_monitored_like_any_process() {
    let (server, before) = with_its_service(documents("ko")).await;
    for cast in CASTS {
        let mut watched = cast[0].dial(server.gateway(), "/ws/handler").open().await;
        let mut observer = cast[1].dial(server.gateway(), "/ws/handler").open().await;
        let pid = steered(&mut watched, json!({})).await["client_pid"].clone();
        observer.say_json(&json!({ "run": "monitor", "pid": pid })).await;
        assert_eq!(watched.hear_text().await, "hello");
        watched.close(Closed::with(3001, "done")).await;
        observer.hear_until(json!({ "event": "exit", "from": pid, "code": 3001, "reason": "done" })).await;
        observer.close(Closed::with(1000, "")).await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn documents_what_one_says_in_the_room_everyone_gets() {
    let (server, before) = with_its_service(documents("ko")).await;
    for cast in CASTS {
        let mut ann = cast[0].dial(server.gateway(), "/ws/room").open().await;
        ann.say("alone").await;
        ann.hear_until(json!({ "event": "said", "content": "alone" })).await;
        let mut bob = cast[1].dial(server.gateway(), "/ws/room").open().await;
        bob.say("hello").await;
        for client in [&mut ann, &mut bob] {
            client.hear_until(json!({ "event": "said", "content": "hello" })).await;
        }
        bob.close(Closed::with(1000, "")).await;
        ann.hear_until(json!({ "event": "left" })).await;
        ann.close(Closed::with(1000, "")).await;
        // The next scene begins in an empty room.
        server.settles_at(before).await;
    }
    stop(server).await;
}
