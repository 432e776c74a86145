//! What a connection holds, the end of one that has to go because all of them hold too much, and rates.

use super::super::Want;
use super::stage::{Stage, frame, open, open_with};
use bytes::Bytes;
use kernel::{Body, Frame};
use manifest::SlowPolicy;
use std::time::Duration;

fn message(length: usize) -> Body {
    Body::Frame(Frame { binary: true, bytes: Bytes::from(vec![0; length]), relayed: None })
}

fn evict(stage: &mut Stage) {
    let session = stage.session.clone();
    stage.shard.enter(stage.client, |cx| (session.borrow_mut().on_evicted(cx), ()));
    stage.turn();
}

fn held(stage: &Stage) -> usize {
    stage.session.borrow().held()
}

#[test]
fn what_was_not_offered_to_the_socket_yet_is_not_held() {
    let mut stage = open();
    assert_eq!(held(&stage), 0);
    let from = stage.target.pid();
    stage.send_from(from, "ws.send", message(100_000));
    while stage.shard.run(64) {}
    assert_eq!(held(&stage), 0);
    stage.takes = Some(10_000);
    stage.turn();
    assert!(held(&stage) >= 90_000, "{}", held(&stage));
    stage.takes = None;
    stage.session.borrow_mut().wrote(0, false, false, stage.now);
    stage.turn();
    assert_eq!(held(&stage), 0);
}

#[test]
fn an_unfinished_message_is_held_and_so_is_what_waits_for_the_target() {
    let mut stage = open();
    let whole = frame(2, &[0; 50_000]);
    stage.bytes(&mut whole[..40_000].to_vec());
    assert!(held(&stage) >= 39_000, "{}", held(&stage));
    stage.bytes(&mut whole[40_000..].to_vec());
    assert_eq!(held(&stage), 0);
    stage.target.deaf.set(true);
    stage.bytes(&mut (0..100).flat_map(|_| frame(1, &[b'x'; 100])).collect::<Vec<u8>>());
    assert!(held(&stage) > 3_000, "{}", held(&stage));
}

#[test]
fn a_client_that_has_to_go_is_told_with_1013_if_no_big_frame_was_begun() {
    let mut stage = open();
    stage.takes = Some(0);
    for _ in 0..10 {
        stage.send("ws.send", message(50_000));
    }
    evict(&mut stage);
    assert!(held(&stage) < 1_000, "only the close frame");
    stage.takes = None;
    stage.session.borrow_mut().wrote(0, false, false, stage.now);
    assert_eq!(stage.got_close(), Some((1013, "slow client".to_owned())));
    assert_eq!(stage.leave(), ("slow".to_owned(), "slow client".to_owned(), 1013));
    assert_eq!((held(&stage), stage.want()), (0, Want::Finish));
}

#[test]
fn a_client_that_has_to_go_is_cut_in_the_middle_of_a_big_frame() {
    let mut stage = open();
    stage.takes = Some(10_000);
    stage.send("ws.send", message(500_000));
    stage.send("ws.send", message(500_000));
    evict(&mut stage);
    assert_eq!((held(&stage), stage.want()), (0, Want::Cut));
    assert_eq!(stage.leave(), ("slow".to_owned(), "slow client".to_owned(), 1013));
}

#[test]
fn a_slow_sender_that_has_to_go_gives_its_unfinished_message_back() {
    let mut stage = open();
    let mut unfinished = frame(2, &[0; 500_000]);
    stage.bytes(&mut unfinished[..400_000]);
    evict(&mut stage);
    assert_eq!(held(&stage), 0);
    stage.bytes(&mut unfinished[400_000..]);
    assert_eq!(stage.got_close(), Some((1013, "slow client".to_owned())));
    assert_eq!((held(&stage), stage.want()), (0, Want::Finish));
}

#[test]
fn control_frames_count_against_a_rate_of_messages() {
    let mut stage = open_with(|options| options.rate_messages = Some(20));
    stage.bytes(&mut (0..30).flat_map(|_| frame(9, b"ping")).collect::<Vec<u8>>());
    assert_eq!(stage.want(), Want::Pause, "a second's worth at once, and no more");
    stage.pass(Duration::from_millis(600));
    assert_eq!(stage.want(), Want::Read);
}

#[test]
fn every_byte_counts_against_a_rate_of_bytes_also_those_of_a_message_that_never_ends() {
    let mut stage = open_with(|options| options.rate_bytes = Some(1_000));
    let mut fragments = frame(1, b"x");
    fragments[0] = 1;
    for _ in 0..500 {
        // Empty fragments: 6 bytes each, and no message.
        fragments.extend_from_slice(&[0, 0x80, 0, 0, 0, 0]);
    }
    for piece in fragments.chunks_mut(600) {
        stage.bytes(piece);
    }
    assert_eq!(stage.want(), Want::Pause);
    stage.pass(Duration::from_secs(3));
    assert_eq!(stage.want(), Want::Read);
}

#[test]
fn over_ten_seconds_a_rate_lets_through_what_it_says_and_a_seconds_worth() {
    let mut stage = open_with(|options| options.rate_messages = Some(50));
    stage.bytes(&mut (0..2_000).flat_map(|_| frame(1, b"x")).collect::<Vec<u8>>());
    stage.pass(Duration::from_secs(10));
    let came = stage.target.seen().len();
    assert!((540..=555).contains(&came), "{came}");
}

#[test]
fn what_a_slow_client_misses_is_counted() {
    let mut stage = open_with(|options| {
        options.slow_policy = SlowPolicy::DropNewest;
        options.send_buffer = 1_000;
    });
    stage.takes = Some(0);
    for _ in 0..10 {
        stage.send("ws.send", message(600));
    }
    assert_eq!(stage.session.borrow().dropped(), 8);
}
