//! "Ends".

use super::super::Want;
use super::stage::{Stage, open, open_with, spawn};
use kernel::term::View;
use kernel::{Exit, Next};
use serde_json::json;
use std::time::Duration;

type Act = fn(&mut Stage);

fn target_returns(stage: &mut Stage) {
    let target = stage.target.pid();
    stage.shard.enter(target, |_| (Next::End(Exit::normal(None)), ()));
}

fn target_fails(stage: &mut Stage) {
    let error = kernel::Error::new(kernel::Kind::Internal, "secret");
    stage.shard.end(stage.target.pid(), Exit::failed(error));
}

fn cancel(stage: &mut Stage) {
    let (target, client) = (stage.target.pid(), stage.client);
    stage.shard.enter(target, |cx| (Next::Wait, cx.cancel(client, None).expect("alive")));
}

fn shutdown(stage: &mut Stage) {
    let session = stage.session.clone();
    stage.shard.enter(stage.client, |cx| (session.borrow_mut().on_shutdown(cx), ()));
}

/// Each end: what the target is told, the close frame, the exit's code and whether it is a failure.
#[test]
fn every_end_has_its_cause_code_and_close_frame() {
    type Row = (Act, Option<(&'static str, &'static str)>, u64, Option<(u16, &'static str)>, bool);
    let table: &[(&str, Row)] = &[
        ("target returned", (target_returns, None, 1000, Some((1000, "")), false)),
        ("target failed", (target_fails, None, 1011, Some((1011, "internal error")), true)),
        (
            "ws.close",
            (
                |stage| stage.send_json("ws.close", &json!({ "code": 4002, "reason": "enough" })),
                Some(("server", "closed by server")),
                4002,
                Some((4002, "enough")),
                false,
            ),
        ),
        ("cancel", (cancel, Some(("server", "closed by server")), 1001, Some((1001, "closed by server")), false)),
        (
            "shutdown",
            (shutdown, Some(("shutdown", "server shutting down")), 1012, Some((1012, "server shutting down")), true),
        ),
        (
            "client 1000",
            (|stage| stage.close_frame(1000, "own text"), Some(("client", "own text")), 1000, Some((1000, "")), false),
        ),
        (
            "client 4000",
            (|stage| stage.close_frame(4000, "shutdown"), Some(("client", "shutdown")), 4000, Some((4000, "")), true),
        ),
        ("client without a code", (|stage| stage.frame(8, b""), Some(("client", "")), 1005, None, false)),
        ("lost", (Stage::lose, Some(("lost", "connection lost")), 1006, None, true)),
        (
            "protocol",
            (
                |stage| stage.frame(3, b"x"),
                Some(("protocol", "protocol error")),
                1002,
                Some((1002, "protocol error")),
                true,
            ),
        ),
        (
            "bad UTF-8",
            (
                |stage| stage.frame(1, b"\xff"),
                Some(("protocol", "protocol error")),
                1007,
                Some((1007, "invalid UTF-8")),
                true,
            ),
        ),
        (
            "too big",
            (
                |stage| stage.frame(2, &[0; 1025]),
                Some(("too_big", "message too big")),
                1009,
                Some((1009, "message too big")),
                true,
            ),
        ),
    ];
    for (name, (act, leave, code, frame, fails)) in table {
        let mut stage = open_with(|options| options.max_message = 1024);
        let watcher = stage.monitor();
        act(&mut stage);
        stage.turn();
        if let Some((cause, reason)) = leave {
            assert_eq!(stage.leave(), (cause.to_string(), reason.to_string(), *code), "{name}");
        }
        assert_eq!(stage.got_close(), frame.map(|(code, reason)| (code, reason.to_owned())), "{name}");
        assert!(!stage.is_alive(), "{name}");
        let exit = watcher.exit();
        let value = exit.value.expect("a value");
        let View::Table(value) = value.view() else { panic!("a table") };
        assert_eq!(value.get("code"), Some(View::Number(*code as f64)), "{name}");
        assert_eq!(exit.error.is_some(), *fails, "{name}");
    }
}

#[test]
fn a_terminated_connection_is_cut_and_its_target_told() {
    let mut stage = open();
    let watcher = stage.monitor();
    stage.send_json("ws.send", &json!({ "data": "unwritten" }));
    stage.got();
    let (target, client) = (stage.target.pid(), stage.client);
    stage.shard.enter(target, |cx| (Next::Wait, cx.terminate(client, None).expect("alive")));
    stage.turn();
    assert_eq!(stage.leave(), ("server".to_owned(), "closed by server".to_owned(), 1006));
    assert_eq!(stage.want(), Want::Cut);
    assert!(stage.got().is_empty());
    assert_eq!(watcher.exit().error.expect("an error").kind, kernel::Kind::Canceled);
}

#[test]
fn what_a_target_sent_before_it_ended_comes_before_the_close_frame() {
    let mut stage = open();
    let from = stage.target.pid();
    for n in 0..100 {
        stage.send_from(from, "ws.send", super::stage::term(&json!({ "data": n })));
    }
    target_returns(&mut stage);
    let frames = stage.got();
    assert_eq!(frames.len(), 101);
    assert_eq!(frames[99], (1, b"99".to_vec()));
    assert_eq!(frames[100].0, 8);
}

#[test]
fn a_linked_processes_failure_closes_the_connection() {
    let mut stage = open();
    let bound = spawn(&mut stage.shard, "app:processes");
    let client = stage.client;
    stage.shard.enter(bound.pid(), |cx| (Next::Wait, cx.link(client).expect("alive")));
    stage.shard.end(bound.pid(), Exit::terminated(None));
    stage.turn();
    assert_eq!(stage.leave(), ("server".to_owned(), "closed by server".to_owned(), 1011));
    assert_eq!(stage.got_close(), Some((1011, "internal error".to_owned())));
}

#[test]
fn the_clients_answer_completes_the_close_handshake() {
    let mut stage = open();
    stage.send_json("ws.close", &json!({ "code": 4000 }));
    assert_eq!(stage.got_close(), Some((4000, String::new())));
    assert_eq!(stage.want(), Want::Linger);
    stage.text("last words disturb nothing");
    assert_eq!(stage.want(), Want::Linger);
    stage.close_frame(4000, "");
    assert_eq!(stage.want(), Want::Done);
    assert_eq!(stage.target.topics(), ["ws.leave"]);
}

#[test]
fn after_a_fault_input_is_discarded() {
    let mut stage = open();
    let mut bytes =
        [super::stage::frame(1, b"good"), super::stage::frame(3, b"bad"), super::stage::frame(1, b"late")].concat();
    stage.bytes(&mut bytes);
    stage.text("later still");
    assert_eq!(stage.target.topics(), ["ws.message", "ws.leave"]);
    assert_eq!(stage.got_close(), Some((1002, "protocol error".to_owned())));
    assert_eq!(stage.want(), Want::Finish);
}

/// What the target answers in the slice in which it receives goes out before the close frame; Autobahn asks for it
/// (3.2, 4.1.3, 5.15).
#[test]
fn what_came_before_a_fault_is_answered_before_the_close_frame() {
    let mut stage = open();
    stage.target.answers.set(true);
    let bytes = [super::stage::frame(1, b"one"), super::stage::frame(1, b"two"), super::stage::frame(3, b"bad")];
    stage.bytes(&mut bytes.concat());
    let frames = stage.got();
    assert_eq!(frames[..2], [(1, b"one".to_vec()), (1, b"two".to_vec())]);
    assert_eq!((frames[2].0, frames.len()), (8, 3));
    assert_eq!(stage.figures().paused.get(), 0);
    assert_eq!(stage.leave(), ("protocol".to_owned(), "protocol error".to_owned(), 1002));
    assert_eq!(stage.want(), Want::Finish);
}

#[test]
fn a_target_that_does_not_receive_holds_a_close_for_a_fault_up_for_a_second() {
    let mut stage = open();
    stage.target.deaf.set(true);
    stage.bytes(&mut [super::stage::frame(1, b"good"), super::stage::frame(3, b"bad")].concat());
    assert_eq!(stage.want(), Want::Pause);
    stage.pass(Duration::from_millis(900));
    assert!(stage.is_alive());
    assert_eq!(stage.figures().paused.get(), 1);
    stage.pass(Duration::from_millis(200));
    assert_eq!(stage.got_close(), Some((1002, "protocol error".to_owned())));
    assert!(!stage.is_alive());
    assert_eq!(stage.want(), Want::Finish);
    assert_eq!(stage.figures().paused.get(), 0);
}

#[test]
fn a_close_frame_waits_for_what_the_socket_has_not_taken() {
    let mut stage = open();
    stage.takes = Some(1);
    stage.send_json("ws.send", &json!({ "data": "first" }));
    stage.close_frame(1000, "");
    assert_eq!(stage.want(), Want::Linger);
    stage.takes = None;
    assert_eq!(stage.got().len(), 2);
    assert_eq!(stage.want(), Want::Done);
}

#[test]
fn a_connection_leaves_no_monitor_and_no_timer_behind() {
    let mut stage = open();
    stage.close_frame(1000, "");
    stage.shard.flush();
    let counts = kernel::Counts::read(stage.shard.node().gauges().next().expect("a shard"));
    assert_eq!((counts.processes, counts.monitors, counts.links, counts.timers), (1, 0, 0, 0));
}
