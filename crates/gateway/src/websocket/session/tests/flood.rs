//! A client that says as much as it can: how much of it stands before what others say.

use super::stage::{Stage, frame, open};
use std::time::Duration;

const SLOW: Duration = Duration::from_micros(150);
const QUICK: Duration = Duration::from_micros(10);

/// A client has said so much that most of it waits, and its target is about to look.
fn flooded(stage: &mut Stage, messages: usize) {
    stage.target.deaf.set(true);
    stage.bytes(&mut (0..messages).flat_map(|n| frame(1, n.to_string().as_bytes())).collect::<Vec<u8>>());
    stage.target.deaf.set(false);
    stage.prod();
}

/// What the target receives in each of some turns that take so long.
fn received(stage: &mut Stage, turns: usize, each: Duration) -> Vec<usize> {
    let count = |_| {
        stage.one_turn(each);
        stage.target.seen().len()
    };
    (0..turns).map(count).collect()
}

#[test]
fn a_flood_gets_a_portion_in_each_turn_so_that_others_come_in_between() {
    let mut stage = open();
    flooded(&mut stage, 200);
    assert_eq!(received(&mut stage, 5, QUICK), [64, 64, 64, 8, 0]);
}

#[test]
fn the_portion_of_a_flood_is_what_a_target_of_many_receives_promptly() {
    let mut stage = open();
    stage.share();
    flooded(&mut stage, 500);
    // It was late: every second turn is left to the others. The first portion was waited for in two turns.
    assert_eq!(received(&mut stage, 8, SLOW), [64, 0, 21, 0, 14, 0, 9, 0]);
    assert_eq!(received(&mut stage, 4, Duration::from_millis(5)), [6, 0, 1, 0]);
    assert_eq!(received(&mut stage, 8, QUICK), [1, 2, 4, 8, 16, 32, 64, 64]);
}

#[test]
fn between_slow_and_quick_a_portion_stays_as_it_is() {
    let mut stage = open();
    stage.share();
    flooded(&mut stage, 500);
    assert_eq!(received(&mut stage, 4, SLOW), [64, 0, 21, 0]);
    assert_eq!(received(&mut stage, 4, Duration::from_micros(75)), [14, 14, 14, 14]);
}

#[test]
fn a_target_of_ones_own_may_be_as_slow_as_it_likes() {
    let mut stage = open();
    flooded(&mut stage, 250);
    assert_eq!(received(&mut stage, 4, Duration::from_millis(20)), [64, 64, 64, 58]);
}

#[test]
fn what_others_say_waits_for_no_more_than_one_message_of_a_flood_that_a_slow_target_gets() {
    let mut stage = open();
    let (other, target) = (stage.share(), stage.target.pid());
    flooded(&mut stage, 300);
    received(&mut stage, 4, Duration::from_millis(5));
    for _ in 0..10 {
        stage.tell(other, target, "mine");
        stage.one_turn(Duration::from_millis(5));
        let topics = stage.target.topics();
        assert!(topics.iter().any(|topic| topic == "mine") && topics.len() <= 2, "{topics:?}");
    }
}

#[test]
fn nothing_of_a_flood_is_lost_or_out_of_order() {
    let mut stage = open();
    stage.share();
    stage.target.deaf.set(true);
    let mut bytes: Vec<u8> = (0..1_000).flat_map(|n| frame(1, n.to_string().as_bytes())).collect();
    for piece in bytes.chunks_mut(777) {
        stage.bytes(piece);
    }
    stage.target.deaf.set(false);
    stage.prod();
    let mut heard = Vec::new();
    for turn in 0..2_000 {
        stage.one_turn(if turn % 20 < 10 { SLOW } else { QUICK });
        heard.extend(stage.target.seen().into_iter().map(|(_, data)| data["data"].as_str().expect("text").to_owned()));
    }
    assert_eq!(heard, (0..1_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((stage.want(), stage.session.borrow().held()), (super::super::Want::Read, 0));
}
