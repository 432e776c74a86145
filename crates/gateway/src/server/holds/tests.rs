//! Who goes, who stays, and that all is given back, on a clock that is moved by hand.

use super::*;
use http_body_util::BodyExt;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::advance;

const KIB: usize = 1 << 10;

/// So many shards under a cap of 2 MiB, so that each side has 1 MiB.
fn shards(count: usize) -> Vec<Arc<Holds>> {
    let ceiling = Ceiling::new(2 << 20, count);
    (0..count).map(|shard| Holds::new(ceiling.clone(), shard, Instant::now(), |_| ())).collect()
}

fn begin(holds: &Arc<Holds>, side: Side, bytes: usize) -> Option<Arc<Hold>> {
    let hold = holds.begin(side);
    hold.wait();
    hold.grow(bytes).then_some(hold)
}

fn answer(holds: &Arc<Holds>, bytes: usize) -> Option<Counted> {
    let hold = holds.begin(Side::Answer);
    hold.grow(bytes).then(|| Counted::new(vec![b'x'; bytes], hold))
}

async fn half_a_second() {
    advance(limits::NO_PROGRESS).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_whole_until_its_last_piece_was_taken() {
    let holds = &shards(1)[0];
    let mut body = answer(holds, 40 * KIB).expect("room");
    let held = || holds.ceiling.held().bytes as usize;
    for left in [24 * KIB, 8 * KIB, 0] {
        assert_eq!(held(), 40 * KIB);
        let piece = body.frame().await.expect("a piece").expect("not cut").into_data().expect("data");
        assert!(piece.len() <= limits::STREAM_PIECE && body.left == left);
    }
    assert_eq!((held(), body.frame().await.is_none()), (0, true), "and nothing although the body still lives");
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_midway_gives_back_all_that_it_took() {
    let holds = &shards(1)[0];
    let mut body = answer(holds, 100 * KIB).expect("room");
    body.frame().await.expect("a piece").expect("not cut");
    drop(body);
    drop(begin(holds, Side::Body, 100 * KIB));
    assert_eq!(holds.ceiling.held().bytes, 0);
    assert!(holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_makes_no_progress_for_the_longest_goes_first_and_no_more_than_have_to() {
    for side in Side::ALL {
        let holds = &shards(1)[0];
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(begin(holds, side, 256 * KIB).expect("room"));
            advance(Duration::from_millis(100)).await;
        }
        all[0].moved(limits::STREAM_PIECE);
        half_a_second().await;
        let new = begin(holds, side, 100 * KIB).expect("room is made");
        let cut: Vec<bool> = all.iter().map(|hold| hold.is_cut()).collect();
        assert_eq!(cut, [false, true, false, false]);
        assert_eq!(holds.ceiling.side_held(side) as usize, (3 * 256 + 100) * KIB);
        assert_eq!(holds.ceiling.side_cut(side), 1);
        drop((all, new));
        assert_eq!(holds.ceiling.held().bytes, 0, "what was cut is not given back twice");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_is_left_alone_and_what_is_new_is_refused() {
    let holds = &shards(1)[0];
    let all: Vec<_> = (0..4).map(|_| begin(holds, Side::Answer, 256 * KIB).expect("room")).collect();
    for _ in 0..3 {
        advance(limits::NO_PROGRESS - Duration::from_millis(1)).await;
        assert!(begin(holds, Side::Answer, 5 * KIB).is_none());
        all.iter().for_each(|hold| hold.moved(limits::STREAM_PIECE));
    }
    assert!(begin(holds, Side::Body, 5 * KIB).is_some(), "the other side has its own half");
    half_a_second().await;
    assert!(begin(holds, Side::Answer, 5 * KIB).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_no_progress() {
    let holds = &shards(1)[0];
    let slow = begin(holds, Side::Body, 1 << 20).expect("room");
    for _ in 0..10 {
        advance(Duration::from_millis(60)).await;
        slow.moved(1);
    }
    assert!(begin(holds, Side::Body, 5 * KIB).is_some() && slow.is_cut());
    assert!(!slow.grow(1), "it gets no room any more");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_no_client_is_not_cut() {
    let holds = &shards(1)[0];
    let written = holds.begin(Side::Answer);
    assert!(written.grow(1 << 20));
    half_a_second().await;
    assert!(begin(holds, Side::Answer, 5 * KIB).is_none() && !written.is_cut());
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_for_what_would_not_fit_if_all_were_gone() {
    let holds = &shards(1)[0];
    let one = begin(holds, Side::Answer, 5 * KIB).expect("room");
    half_a_second().await;
    assert!(begin(holds, Side::Answer, (1 << 20) + 1).is_none() && !one.is_cut());
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_slow_clients_asks_the_others() {
    let shards = shards(2);
    let slow = begin(&shards[1], Side::Answer, 1 << 20).expect("room");
    half_a_second().await;
    assert!(begin(&shards[0], Side::Answer, 5 * KIB).is_none());
    shards[1].oblige();
    assert!(slow.is_cut());
    assert!(begin(&shards[0], Side::Answer, 5 * KIB).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_client_hears_of_the_cut_and_the_body_says_the_length_that_was_promised() {
    let holds = &shards(1)[0];
    let mut body = answer(holds, 40 * KIB).expect("room");
    let hold = body.hold().clone();
    let waiting = tokio::spawn(async move { poll_fn(|cx| hold.poll_cut(cx)).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    body.hold().cut();
    waiting.await.expect("it was woken");
    use hyper::body::Body;
    assert_eq!(body.size_hint().exact(), Some(40 << 10));
    assert!(!body.is_end_stream());
    assert!(body.frame().await.expect("a frame").is_err());
}
