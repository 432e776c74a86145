//! What leaves the press is read by a decompressor that keeps its context as a client does, in a window no larger than
//! was agreed.

use super::*;
use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

/// A client's decompressor. It gets its output in small pieces, so that it can reach back no further than its window.
struct Client(Decompress);

impl Client {
    fn new(bits: u8) -> Client {
        Client(Decompress::new_with_window_bits(false, bits))
    }

    fn read(&mut self, message: &[u8]) -> Vec<u8> {
        let input = [message, &TAIL].concat();
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let mut piece = [0; 64];
            let (came, went) = (self.0.total_in(), self.0.total_out());
            self.0.decompress(&input[at..], &mut piece, FlushDecompress::None).expect("a deflate stream");
            at += (self.0.total_in() - came) as usize;
            let made = (self.0.total_out() - went) as usize;
            out.extend_from_slice(&piece[..made]);
            if made == 0 && at == input.len() {
                return out;
            }
        }
    }
}

fn alone(press: &mut Press, raw: &Bytes, bits: u8) -> (Option<Bytes>, usize) {
    for turns in 1.. {
        match press.alone(raw, bits) {
            Pressed::Smaller(bytes) => return (Some(bytes), turns),
            Pressed::AsItIs => return (None, turns),
            Pressed::Later { .. } => press.end_turn(false),
        }
    }
    unreachable!("it ends")
}

fn chained(press: &mut Press, raw: &Bytes, bits: u8, window: &mut Window, job: &mut Option<Box<Job>>) -> Option<Bytes> {
    loop {
        match press.chained(raw, bits, window, job) {
            Pressed::Smaller(bytes) => return Some(bytes),
            Pressed::AsItIs => return None,
            Pressed::Later { .. } => press.end_turn(false),
        }
    }
}

/// Text that repeats itself near and far.
fn prose(len: usize, seed: usize) -> Bytes {
    let word = |n: usize| format!("{{\"n\":{},\"who\":\"user-{}\"}},", n * n + seed, n % 97);
    Bytes::from((0..).flat_map(|n| word(n).into_bytes()).take(len).collect::<Vec<u8>>())
}

fn noise(len: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    Bytes::from((0..len).map(|_| next()).collect::<Vec<u8>>())
}

#[test]
fn a_message_of_any_size_comes_back_at_every_window() {
    let mut press = Press::default();
    for bits in 9..=15 {
        for len in [1, 100, 512, 513, 4096, 32767, 32768, 32769, 65536, 300_000, 1 << 20] {
            let raw = prose(len, 7);
            if let (Some(pressed), _) = alone(&mut press, &raw, bits) {
                assert!(pressed.len() < len);
                assert!(!pressed.ends_with(&TAIL));
                assert!(Client::new(bits).read(&pressed) == raw, "{len} bytes, window of 2^{bits}");
            } else {
                assert!(len < 200, "{len} bytes of text shrink");
            }
        }
    }
}

#[test]
fn what_does_not_shrink_goes_out_as_it_is() {
    let mut press = Press::default();
    for len in [600, 40_000, 1 << 20] {
        let (pressed, turns) = alone(&mut press, &noise(len), 15);
        assert_eq!((pressed, turns), (None, 1), "{len} bytes, noticed by the first piece");
    }
}

#[test]
fn with_takeover_a_message_refers_to_those_before_it() {
    let (mut press, mut window, mut job) = (Press::default(), Window::new(12), None);
    let mut client = Client::new(12);
    let raw = prose(400, 3);
    let first = chained(&mut press, &raw, 12, &mut window, &mut job).expect("it shrinks");
    let again = chained(&mut press, &raw, 12, &mut window, &mut job).expect("it shrinks");
    assert!(again.len() < 20 && again.len() * 4 < first.len(), "{} then {} bytes", first.len(), again.len());
    assert_eq!(client.read(&first), raw);
    assert_eq!(client.read(&again), raw);
}

#[test]
fn a_message_to_many_is_compressed_once() {
    let mut press = Press::default();
    let (small, large) = (prose(2000, 1), prose(200_000, 2));
    let mut turns = 0;
    let mut waiting: Vec<(Bytes, u8)> =
        (0..1000).flat_map(|_| [(small.clone(), 15), (large.clone(), 15), (small.clone(), 10)]).collect();
    while !waiting.is_empty() {
        waiting.retain(|(raw, bits)| matches!(press.alone(raw, *bits), Pressed::Later { .. }));
        press.end_turn(false);
        turns += 1;
        assert!(turns < 100);
    }
    assert_eq!(press.runs, 3);
}

#[test]
fn nothing_is_remembered_of_a_shard_at_rest_or_a_turn_without_it() {
    let mut press = Press::default();
    let raw = prose(2000, 1);
    let _another = raw.clone();
    press.alone(&raw, 15);
    press.end_turn(false);
    assert_eq!(press.remembered.len(), 1);
    press.end_turn(false);
    assert_eq!(press.remembered.len(), 0);
    press.alone(&raw, 15);
    press.end_turn(true);
    assert_eq!(press.remembered.len(), 0);
    assert_eq!(press.runs, 2);
}

#[test]
fn messages_that_nobody_else_gets_are_not_remembered() {
    let mut press = Press::default();
    for seed in 0..50 {
        alone(&mut press, &prose(2000, seed), 15);
    }
    assert_eq!(press.remembered.len(), 0);
}

#[test]
fn many_large_messages_at_once_all_get_done() {
    let mut press = Press::default();
    let mut waiting: Vec<Bytes> = (0..1500).map(|seed| prose(40_000 + seed, seed)).collect();
    let mut turns = 0;
    while !waiting.is_empty() {
        waiting.retain(|raw| matches!(press.alone(raw, 15), Pressed::Later { .. }));
        press.end_turn(false);
        turns += 1;
        assert!(turns < 5000, "{} left", waiting.len());
        assert!(press.remembered.len() <= limits::REMEMBERED);
    }
}

#[test]
fn a_turn_compresses_no_more_than_its_share() {
    let mut press = Press::default();
    let raw = prose(8 << 20, 5);
    let (_, turns) = alone(&mut press, &raw, 15);
    assert!(turns >= raw.len() / limits::PIECE, "one piece a call: {turns} turns");
    let messages: Vec<Bytes> = (0..1000).map(|seed| prose(1000, seed)).collect();
    press.end_turn(false);
    let done = messages.iter().filter(|raw| !matches!(press.alone(raw, 15), Pressed::Later { .. })).count();
    assert!((20..100).contains(&done), "{done} messages in a turn");
}

#[test]
fn another_message_in_place_of_one_that_was_dropped_begins_anew() {
    let (mut press, mut window, mut job) = (Press::default(), Window::new(12), None);
    let (dropped, sent) = (prose(100_000, 1), prose(100_000, 2));
    assert_eq!(press.chained(&dropped, 12, &mut window, &mut job), Pressed::Later { worked: true });
    assert!(job.is_some());
    let pressed = chained(&mut press, &sent, 12, &mut window, &mut job).expect("it shrinks");
    assert!(Client::new(12).read(&pressed) == sent);
}

/// Messages that resemble each other, as those of one connection do.
fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        3 => Just(b"{\"type\":\"move\",\"x\":".to_vec()),
        2 => "[a-z0-9]{1,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..300),
        1 => (any::<u8>(), 1..5000usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::vec(prop::collection::vec(piece, 1..30).prop_map(|pieces| pieces.concat()), 1..8)
}

proptest! {
    #[test]
    fn any_messages_come_back_in_one_context_at_any_window(messages in messages(), bits in 9..=15u8) {
        let (mut press, mut window, mut job) = (Press::default(), Window::new(bits), None);
        let mut client = Client::new(bits);
        for message in messages {
            let raw = Bytes::from(message);
            // What was not compressed is no part of the context.
            if let Some(pressed) = chained(&mut press, &raw, bits, &mut window, &mut job) {
                prop_assert_eq!(client.read(&pressed), raw.clone());
            }
            if let (Some(pressed), _) = alone(&mut press, &raw, bits) {
                prop_assert_eq!(Client::new(bits).read(&pressed), raw);
            }
        }
    }
}
