//! RFC 7692 section 7.2.2 and 7.2.3: its examples, other senders' ways, and those of enemies.

use super::super::window::Window;
use super::*;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

const MAX: usize = 1 << 20;

fn unpack_within(input: &[u8], window: &[u8], binary: bool, max: usize) -> Result<Vec<u8>, Fault> {
    let mut inflaters = Inflaters::default();
    match inflaters.unpack(binary, input, window, max) {
        Unpacked::Whole(bytes) => Ok(bytes.to_vec()),
        Unpacked::Fault(fault) => Err(fault),
        Unpacked::Begun(mut unpacking) => loop {
            if let Some(done) = unpacking.step(&mut inflaters, window, max) {
                break done.map(|(_, bytes)| bytes.to_vec());
            }
        },
    }
}

fn unpack(input: &[u8]) -> Result<Vec<u8>, Fault> {
    unpack_within(input, &[], true, MAX)
}

/// A sender that keeps its context, by flate2 alone.
struct Sender(Compress);

impl Sender {
    fn new(bits: u8) -> Sender {
        Sender(Compress::new_with_window_bits(Compression::new(6), false, bits))
    }

    fn flush(&mut self, message: &[u8], flush: FlushCompress) -> Vec<u8> {
        let (mut rest, mut out) = (message, Vec::with_capacity(message.len() + 100));
        loop {
            let before = self.0.total_in();
            self.0.compress_vec(rest, &mut out, flush).expect("it compresses");
            rest = &rest[(self.0.total_in() - before) as usize..];
            if rest.is_empty() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(1000);
        }
    }

    fn message(&mut self, message: &[u8]) -> Vec<u8> {
        if message.is_empty() {
            return vec![0x00];
        }
        let mut out = self.flush(message, FlushCompress::Sync);
        out.truncate(out.len() - 4);
        out
    }

    /// A deflate stream with a final block, as section 7.2.3.4 shows it.
    fn last(message: &[u8]) -> Vec<u8> {
        Sender::new(15).flush(message, FlushCompress::Finish)
    }
}

#[test]
fn the_examples_of_section_7_2_3_are_understood() {
    let hello = Ok(b"Hello".to_vec());
    assert_eq!(unpack(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello, "7.2.3.1");
    let window = b"Hello";
    assert_eq!(unpack_within(&[0xf2, 0x00, 0x11, 0x00, 0x00], window, false, MAX), hello, "7.2.3.2");
    assert_eq!(unpack(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]), hello, "7.2.3.3");
    assert_eq!(unpack(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), hello, "7.2.3.4, BFINAL");
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(unpack(&two), hello, "7.2.3.5, two blocks");
    assert_eq!(unpack(&[0x00]), Ok(vec![]), "7.2.3.6, nothing");
    assert_eq!(unpack(&[]), Ok(vec![]), "nothing, without its byte");
}

#[test]
fn final_blocks_may_stand_anywhere_and_what_follows_may_refer_to_what_came_before() {
    let whole = Sender::last(b"one ");
    assert_eq!(unpack(&whole), Ok(b"one ".to_vec()), "at the end, without the byte that should follow");
    let row = [Sender::last(b"one "), Sender::last(b"two "), Sender::new(15).message(b"three")].concat();
    assert_eq!(unpack(&row), Ok(b"one two three".to_vec()));
    // The example of a message that refers to the one before it, behind a final block that holds that.
    let row = [&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x00, 0x11, 0x00, 0x00]].concat();
    assert_eq!(unpack(&row), Ok(b"HelloHello".to_vec()));
    let row = [&[0xf2, 0x00, 0x11, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff][..], &[3, 0], &[0xf2, 0x00, 0x11, 0x00, 0x00]]
        .concat();
    assert_eq!(unpack_within(&row, b"Hello", true, MAX), Ok(b"HelloHello".to_vec()), "across the window");
}

#[test]
fn no_more_comes_out_than_a_message_may_have() {
    for size in [1000, 100_000, MAX, MAX + 1, 40 * MAX] {
        let bomb = Sender::new(15).message(&vec![0; size]);
        assert!(bomb.len() <= 40 + size / 1000);
        let expected = if size <= MAX { Ok(vec![0; size]) } else { Err(Fault::TooBig) };
        assert!(unpack(&bomb) == expected, "{size} bytes from {}", bomb.len());
        assert_eq!(unpack_within(&bomb, &[], true, size - 1), Err(Fault::TooBig), "{size} bytes, one too many");
        assert!(unpack_within(&bomb, &[], true, size).is_ok_and(|out| out.len() == size), "{size} bytes, just right");
    }
}

#[test]
fn a_bomb_takes_no_more_memory_than_a_message_may_have() {
    let bomb = Sender::new(15).message(&vec![0; 64 * MAX]);
    let mut inflaters = Inflaters::default();
    let Unpacked::Begun(mut unpacking) = inflaters.unpack(true, &bomb, &[], MAX) else { panic!("it is large") };
    let mut steps = 0;
    let fault = loop {
        assert!(unpacking.out.capacity() <= MAX + CHUNK, "{}", unpacking.out.capacity());
        steps += 1;
        if let Some(done) = unpacking.step(&mut inflaters, &[], MAX) {
            break done;
        }
    };
    assert_eq!(fault.map(drop), Err(Fault::TooBig));
    assert!((3..50).contains(&steps), "{steps} steps");
}

#[test]
fn a_message_that_is_cut_or_is_no_deflate_breaks_the_protocol() {
    let good =
        Sender::new(15).message(b"a message of some length, which is compressed, and of which the end may be missing");
    for cut in 1..good.len() {
        assert_eq!(unpack(&good[..cut]), Err(BROKEN), "{cut} of {} bytes", good.len());
    }
    let reserved = [0x06, 0x00];
    let too_far_back = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let not_stripped = Sender::new(15).flush(b"a message", FlushCompress::Sync);
    for broken in [&reserved[..], &too_far_back, b"Hello", &[0xff; 40], &not_stripped, &[&good[..], b"x"].concat()] {
        assert_eq!(unpack(broken), Err(BROKEN), "{broken:x?}");
    }
}

#[test]
fn text_is_checked_as_it_comes_out() {
    let text = |bytes: &[u8], max| unpack_within(&Sender::new(15).message(bytes), &[], false, max).map(drop);
    let mut long = "Grüße, κόσμε ".repeat(20_000).into_bytes();
    assert_eq!(text(&long, MAX), Ok(()));
    long[1000] = 0xff;
    assert_eq!(text(&long, MAX), Err(Fault::InvalidUtf8));
    assert_eq!(text(&long, 100_000), Err(Fault::InvalidUtf8), "before its size is known");
    assert_eq!(text(b"cut \xe2\x82", MAX), Err(Fault::InvalidUtf8));
}

#[test]
fn slow_streams_are_taken_in_steps_and_too_many_of_them_refused() {
    let mut inflaters = Inflaters::default();
    // Empty final blocks: each begins another stream, and nothing ever comes out.
    let streams = [3u8, 0].repeat(100_000);
    let Unpacked::Begun(mut unpacking) = inflaters.unpack(true, &streams, &[7; 4096], MAX) else {
        panic!("it is large")
    };
    let mut steps = 1;
    let done = loop {
        match unpacking.step(&mut inflaters, &[7; 4096], MAX) {
            Some(done) => break done,
            None => steps += 1,
        }
    };
    assert_eq!(done.map(drop), Err(BROKEN));
    assert!(steps > 10, "{steps} steps");
    // Empty stored blocks: much goes in, and nothing ever comes out.
    let stored = [0, 0, 0, 0xff, 0xff].repeat(100_000);
    let Unpacked::Begun(mut unpacking) = inflaters.unpack(true, &[&stored[..], &[0]].concat(), &[], MAX) else {
        panic!("it is large")
    };
    let mut steps = 1;
    while unpacking.step(&mut inflaters, &[], MAX).is_none() {
        steps += 1;
    }
    assert!(steps > 20, "{steps} steps");
}

#[test]
fn large_messages_wait_for_a_decompressor_and_all_get_done() {
    let mut inflaters = Inflaters::default();
    let packed = Sender::new(15).message(&b"0123456789abcdef".repeat(20_000));
    let mut waiting: Vec<Box<Unpacking>> = (0..40)
        .map(|_| match inflaters.unpack(true, &packed, &[], MAX) {
            Unpacked::Begun(unpacking) => unpacking,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut rounds = 0;
    while !waiting.is_empty() {
        waiting.retain_mut(|unpacking| unpacking.step(&mut inflaters, &[], MAX).is_none());
        assert!(waiting.iter().filter(|unpacking| unpacking.engine.is_some()).count() <= limits::ENGINES);
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert_eq!(Rc::strong_count(&inflaters.lent), 1);
}

#[test]
fn a_turn_inflates_no_more_than_its_share_at_once() {
    let mut inflaters = Inflaters::default();
    let packed = Sender::new(15).message(&[b'x'; 30_000]);
    let mut at_once = 0;
    while matches!(inflaters.unpack(true, &packed, &[], MAX), Unpacked::Whole(_)) {
        at_once += 1;
        assert!(at_once < 100);
    }
    assert!(at_once > 5, "{at_once}");
    inflaters.end_turn();
    assert!(matches!(inflaters.unpack(true, &packed, &[], MAX), Unpacked::Whole(_)));
}

proptest! {
    #[test]
    fn what_any_sender_compressed_comes_back(
        messages in prop::collection::vec(prop_oneof![
            "[a-e]{0,300}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..600),
            (any::<u8>(), 0..120_000usize).prop_map(|(byte, len)| vec![byte; len]),
        ], 1..8),
        bits in 9..=15u8,
    ) {
        let (mut sender, mut window) = (Sender::new(bits), Window::new(bits));
        for message in messages {
            let packed = sender.message(&message);
            prop_assert_eq!(unpack_within(&packed, window.bytes(), true, MAX), Ok(message.clone()));
            window.push(&message);
        }
    }

    #[test]
    fn any_bytes_give_a_message_within_the_limit_or_a_fault(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        window in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        if let Ok(message) = unpack_within(&bytes, &window, true, 1000) {
            prop_assert!(message.len() <= 1000);
        }
    }
}
