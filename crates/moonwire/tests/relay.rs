//! The relay seen by two WebSocket crates that nobody here wrote: what a client sends, receives
//! and ends with, and what its target sees of it. The server runs `tests/e2e/apps/relay`.

use serde_json::json;
use testkit::{Client, Closed, Counters, Frame, Peer, Puppet, Report, Server, Start};

const MIB: usize = 1 << 20;
const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/echo");
const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/apps/relay");

fn on(folder: &str) -> Start {
    Start::new(env!("CARGO_BIN_EXE_moonwire"), folder).shards(2)
}

async fn start_echo() -> (Server, Counters) {
    let server = on(ECHO).run().await;
    let before = server.counters().await;
    (server, before)
}

/// Once the folder's two services hold their names. They do not listen when they are told to stop.
async fn start_relay() -> (Server, Counters) {
    let server = on(RELAY)
        .set("app:service_a:lifecycle.stop_timeout=100ms")
        .set("app:service_b:lifecycle.stop_timeout=100ms")
        .run()
        .await;
    let before = server.wait_counters("two services registered", |now| now.names == 2).await;
    (server, before)
}

async fn finish(server: Server, before: Counters) {
    server.settles_at(before).await;
    server.stop().await;
}

/// Sends a message and expects it back.
async fn echoes(client: &mut Client, frame: Frame) {
    client.send(frame.clone()).await;
    let back = client.hear().await;
    assert!(back == frame, "{client:?}: what came back is not what was sent");
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn every_message_comes_back_as_it_came() {
    let (server, before) = start_echo().await;
    for peer in Peer::BOTH {
        let mut client = peer.dial(server.gateway(), "/ws").open().await;
        for text in ["text", "", "grüße ☃ 🌙", "\0"] {
            echoes(&mut client, Frame::Text(text.to_owned())).await;
        }
        for data in [&b"\x00\xff\xfe"[..], b"", b"text"] {
            echoes(&mut client, Frame::Binary(data.to_vec())).await;
        }
        // Around the lengths at which a frame's header grows.
        for count in [125, 126, 127, 65_535, 65_536] {
            echoes(&mut client, Frame::Binary(bytes(count))).await;
            echoes(&mut client, Frame::Text("x".repeat(count))).await;
        }
        client.close(Closed::with(1000, "")).await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_message_in_many_frames_arrives_as_one() {
    let (server, before) = start_echo().await;
    for peer in Peer::BOTH {
        for piece in [1, 2, 1000] {
            let mut client = peer.dial(server.gateway(), "/ws").in_pieces_of(piece).open().await;
            // Most of these cuts fall inside a character.
            echoes(&mut client, Frame::Text("☃ünd🌙".repeat(150))).await;
            echoes(&mut client, Frame::Binary(bytes(3001))).await;
            echoes(&mut client, Frame::Text(String::new())).await;
            client.close(Closed::with(1000, "")).await;
        }
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_message_of_one_mebibyte_passes_and_one_byte_more_is_1009() {
    let (server, before) = start_echo().await;
    for peer in Peer::BOTH {
        for piece in [MIB + 1, 100_000] {
            let dial = peer.dial(server.gateway(), "/ws").in_pieces_of(piece);
            let mut client = dial.clone().open().await;
            echoes(&mut client, Frame::Binary(bytes(MIB))).await;
            client.send_what_it_takes(Frame::Binary(bytes(MIB + 1))).await;
            assert_eq!(client.ended().await.code, 1009, "{peer:?}, in pieces of {piece}");

            let mut client = dial.open().await;
            echoes(&mut client, Frame::Text("x".repeat(MIB))).await;
            client.close(Closed::with(1000, "")).await;
        }
    }
    finish(server, before).await;
}

#[tokio::test]
async fn the_target_of_a_message_that_is_too_big_hears_of_a_leave_and_not_of_the_message() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        let mut client = puppet.dial(peer, "/small").open().await;
        client.say("x".repeat(1024)).await;
        client.say("x".repeat(1025)).await;
        let pid = puppet.joined().await;
        assert_eq!(client.ended().await.code, 1009);
        let leave = puppet.report("ws.leave").await;
        assert_eq!(leave.from, pid);
        assert_eq!(leave.data["cause"], "too_big");
        assert_eq!(leave.data["reason"], "message too big");
        assert_eq!(leave.data["code"], 1009);
        assert_eq!(puppet.report("ws.message").await.data["data"], "x".repeat(1024));
        assert!(puppet.unread().is_empty(), "{:?}", puppet.unread());
        puppet.end().await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_client_that_sends_far_ahead_of_its_target_is_paused_and_not_forgotten() {
    let (server, before) = start_echo().await;
    for peer in Peer::BOTH {
        // Beyond the credit of 64, beyond what the server reads at once, and less than what waits for a slow client.
        for count in [65, 4000, 20_000] {
            let mut client = peer.dial(server.gateway(), "/ws").open().await;
            let texts: Vec<Frame> = (0..count).map(|number: u32| Frame::Text(number.to_string())).collect();
            client.send_together(texts.clone()).await;
            for text in texts {
                assert_eq!(client.hear().await, text, "{peer:?}, {count} at once");
            }
            client.close(Closed::with(1000, "")).await;
        }
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_bytes_between_the_frames_of_a_message() {
    let (server, before) = start_echo().await;
    for peer in Peer::BOTH {
        let mut client = peer.dial(server.gateway(), "/ws").open().await;
        for data in [bytes(0), b"are you there?".to_vec(), bytes(125)] {
            client.send(Frame::Ping(data.clone())).await;
            assert_eq!(client.hear().await, Frame::Pong(data));
        }
        // A pong that nobody asked for is no reason to say anything.
        client.send(Frame::Pong(b"unasked".to_vec())).await;
        echoes(&mut client, Frame::Text("after it".to_owned())).await;
        client.close(Closed::with(1000, "")).await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn the_server_pings_and_a_client_that_answers_stays() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        // Pings each 200 ms there, and silence for 600 ms is the end.
        let mut client = puppet.dial(peer, "/pings").open().await;
        for _ in 0..5 {
            let ping = client.next().await;
            assert!(matches!(ping, Ok(Frame::Ping(_))), "{peer:?}: {ping:?}");
        }
        client.say("still here").await;
        assert_eq!(puppet.report("ws.message").await.data["data"], "still here");
        client.close(Closed::with(1000, "")).await;
        assert_eq!(puppet.report("ws.leave").await.data["cause"], "client");
        puppet.end().await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_close_of_the_client_is_confirmed_and_reaches_the_target_with_code_and_reason() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        for closed in [
            Closed::with(1000, ""),
            Closed::with(1001, "going away"),
            Closed::with(3000, "bis bald ☃"),
            Closed::with(4999, &"x".repeat(123)),
            Closed::empty(),
        ] {
            let mut client = puppet.dial(peer, "/ws").open().await;
            client.say("last words").await;
            let confirmed = client.close(closed.clone()).await;
            assert_eq!(confirmed.code, closed.code, "{peer:?}");

            let pid = puppet.joined().await;
            assert_eq!(puppet.report("ws.message").await.data["data"], "last words");
            let leave = puppet.report("ws.leave").await;
            assert_eq!(leave.from, pid);
            assert_eq!(leave.data["client_pid"], pid);
            assert_eq!(leave.data["cause"], "client");
            assert_eq!(leave.data["code"], closed.code);
            assert_eq!(leave.data["reason"], closed.reason);
        }
        puppet.end().await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_close_of_the_server_comes_after_everything_sent_before_it() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        for (payload, expected) in [
            (json!({ "code": 1000, "reason": "Session ended" }), Closed::with(1000, "Session ended")),
            (json!({ "code": 4321, "reason": "bis bald ☃" }), Closed::with(4321, "bis bald ☃")),
            (json!({ "code": 1008 }), Closed::with(1008, "")),
            (json!("enough"), Closed::with(1000, "enough")),
            (json!({ "code": 1005, "reason": "may not be sent" }), Closed::with(1000, "may not be sent")),
        ] {
            let mut client = puppet.dial(peer, "/ws").open().await;
            let pid = puppet.joined().await;
            for number in 1..=20 {
                puppet.send(&pid, "ws.send", json!({ "data": number.to_string() })).await;
            }
            puppet.send(&pid, "ws.close", payload).await;
            let (frames, closed) = client.rest().await;
            let numbers: Vec<Frame> = (1..=20).map(|number: u32| Frame::Text(number.to_string())).collect();
            assert_eq!(frames, numbers, "{peer:?}");
            assert_eq!(closed, expected, "{peer:?}");

            let leave = puppet.report("ws.leave").await;
            assert_eq!(leave.data["cause"], "server");
            assert_eq!(leave.data["reason"], "closed by server");
            assert_eq!(leave.data["code"], expected.code);
        }
        puppet.end().await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn what_a_client_sends_during_transfers_over_shards_arrives_once_and_in_order() {
    const TRANSFERS: usize = 30;
    const MESSAGES: usize = 200;
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        // The services are on different shards, so one of them is on another than the connection.
        let mut targets = vec![puppet.pid().to_owned()];
        for name in ["puppet_a", "puppet_b"] {
            targets.push(puppet.adopt(name).await);
        }
        let mut client = puppet.dial(peer, "/ws").open().await;
        let first = puppet.report("ws.join").await;
        let mut said: u32 = 0;
        for stint in 1..=TRANSFERS {
            // They are on their way to one target when the connection is told to go to the next.
            for _ in 0..MESSAGES {
                client.say(said.to_string()).await;
                said += 1;
            }
            let payload = json!({ "target_pid": targets[stint % 3], "metadata": { "stint": stint }, "ack": "moved" });
            puppet.send(&first.from, "ws.control", payload).await;
        }
        for _ in 1..=TRANSFERS {
            let moved = puppet.report("moved").await;
            assert_eq!(moved.data["ok"], true, "{peer:?}: {moved:?}");
        }
        assert_eq!(client.close(Closed::with(1000, "")).await.code, 1000);

        let mut leaves = 0;
        let mut reports = vec![first];
        let rest = puppet.reports_until(|report| {
            leaves += usize::from(report.topic == "ws.leave");
            leaves == TRANSFERS + 1
        });
        reports.extend(rest.await);
        assert_eq!(numbers_by_stint(&reports, &targets), (0..said).collect::<Vec<_>>(), "{peer:?}");
        puppet.end().await;
    }
    finish(server, before).await;
}

/// What the targets got, one stint after the other. A stint is a join, its messages and its leave.
fn numbers_by_stint(reports: &[Report], targets: &[String]) -> Vec<u32> {
    let mut stints: Vec<(u64, Vec<u32>)> = Vec::new();
    for target in targets {
        let mut current = None;
        for report in reports.iter().filter(|report| report.by == *target) {
            let stint = report.data["metadata"]["stint"].as_u64().unwrap_or(0);
            match report.topic.as_str() {
                "ws.join" => assert_eq!(current.replace((stint, Vec::new())), None, "two joins without a leave"),
                "ws.message" => {
                    let (expected, numbers) = current.as_mut().expect("no message before the join");
                    assert_eq!(stint, *expected, "a message with the metadata of its stint");
                    numbers.push(report.data["data"].as_str().expect("text").parse().expect("a number"));
                }
                "ws.leave" => {
                    let stint_over = current.take().expect("no leave without a join");
                    assert_eq!(stint, stint_over.0, "a leave with the metadata of its stint");
                    stints.push(stint_over);
                }
                other => panic!("an unexpected topic: {other}"),
            }
        }
        assert_eq!(current, None, "a join without a leave");
    }
    stints.sort_unstable_by_key(|(stint, _)| *stint);
    stints.into_iter().flat_map(|(_, numbers)| numbers).collect()
}

#[tokio::test]
async fn a_connection_that_is_reset_leaves_its_target_once_and_nothing_behind() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let mut puppet = Puppet::on(&server).await;
        let mut client = puppet.dial(peer, "/ws").open().await;
        client.say("here").await;
        let pid = puppet.joined().await;
        assert_eq!(puppet.report("ws.message").await.data["data"], "here");

        client.reset();
        let leave = puppet.report("ws.leave").await;
        assert_eq!(leave.from, pid);
        assert_eq!(leave.data["cause"], "lost");
        assert_eq!(leave.data["reason"], "connection lost");
        assert_eq!(leave.data["code"], 1006);
        puppet.is_gone(&pid).await;
        assert!(puppet.unread().is_empty(), "{:?}", puppet.unread());
        puppet.end().await;
    }
    finish(server, before).await;
}

#[tokio::test]
async fn processes_of_clients_that_are_reset_in_the_middle_of_their_traffic_all_end() {
    let (server, before) = start_echo().await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let mut client = Peer::BOTH[number % 2].dial(server.gateway(), "/ws").open().await;
        echoes(&mut client, Frame::Text("hello".to_owned())).await;
        clients.push(client);
    }
    let full = server.counters().await;
    assert_eq!(full.sockets, before.sockets + 40);
    assert!(full.processes >= before.processes + 80, "{full:?}: a connection and its own process for each");
    for mut client in clients {
        for _ in 0..5 {
            client.say("you need not answer").await;
        }
        client.reset();
    }
    finish(server, before).await;
}

#[tokio::test]
async fn a_target_that_is_not_alive_is_503_and_no_connection() {
    let (server, before) = start_relay().await;
    for peer in Peer::BOTH {
        let puppet = Puppet::on(&server).await;
        let gone = puppet.dial_with(peer, "/ws", json!({ "target_pid": "nobody has this name" }));
        assert_eq!(gone.attempt().await.err(), Some(503), "{peer:?}");
        let bad = puppet.dial_with(peer, "/ws", json!({ "target_pid": "nil" }));
        assert_eq!(bad.attempt().await.err(), Some(500), "{peer:?}");
        puppet.end().await;
    }
    server.wait_log("did the spawn fail?", |record| record.is_fault() && record.says(&["spawn"])).await;
    finish(server, before).await;
}

#[tokio::test]
async fn a_shutdown_closes_with_1012_and_the_program_ends_with_0() {
    let (server, _before) = start_echo().await;
    let mut clients = Vec::new();
    for peer in Peer::BOTH {
        let mut client = peer.dial(server.gateway(), "/ws").open().await;
        echoes(&mut client, Frame::Text("hello".to_owned())).await;
        clients.push(client);
    }
    server.terminate();
    for client in clients {
        assert_eq!(client.ended().await.code, 1012);
    }
    server.exited().await;
}
