//! `deflate`: any bytes as a compressed message, and any messages compressed and back.
//!
//! - A message is inflated to what a slow inflater (`reference`, RFC 1951) makes of it, or is refused where that refuses:
//!   broken, cut, larger than the limit, text that is not UTF-8. At once and step by step are the same.
//! - What we compress, in pieces and with the window of the messages before, the slow inflater and our own read back,
//!   never looking back further than the window that was agreed, and it is smaller than the message.
//! - What miniz_oxide compresses we read, and it reads what we compress.
//!
//! Input: what to do; then a limit, the length of a window and a message, or messages.

mod reference;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use gateway::websocket::codec::Fault;
use gateway::websocket::deflate::limits::{QUICK_IN, QUICK_OUT};
use gateway::websocket::deflate::{Inflaters, Press, Pressed, Unpacked, Window};
use std::cell::RefCell;

thread_local! {
    /// One that has time, and one whose turn is used up, so that it goes step by step.
    static INFLATERS: RefCell<(Inflaters, Inflaters)> = RefCell::new((Inflaters::default(), busy()));
    static PRESS: RefCell<Press> = RefCell::new(Press::default());
}

/// Limits of a message.
const LIMITS: [usize; 4] = [0, 100, 70_000, 200_000];
/// What was left off, and an empty final block, so that the message has an end (RFC 7692 section 7.2.2).
const TAIL: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// More turns than any message here may take.
const TURNS: usize = 10_000;

/// The target.
pub fn run(data: &[u8]) {
    let [what, data @ ..] = data else { return };
    if what & 1 == 0 {
        let [limit, length, message @ ..] = data else { return };
        inflate(what & 2 != 0, message, &window(*length), LIMITS[usize::from(*limit) % LIMITS.len()]);
    } else if let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) {
        round(&input);
    }
}

/// Something to refer to.
fn window(length: u8) -> Vec<u8> {
    (0..usize::from(length) * 16).map(|at| b"{\"user\":\"moonwire\",\"n\":0}"[at * at / 7 % 25]).collect()
}

fn busy() -> Inflaters {
    let mut inflaters = Inflaters::default();
    // A stored block, again and again, until the turn is over.
    let stored = [&[0, 0, 32, 255, 223][..], &[b'x'; 8192]].concat();
    for _ in 0..TURNS {
        if let Unpacked::Begun(_) = inflaters.unpack(true, &stored, &[], 1 << 20) {
            return inflaters;
        }
    }
    panic!("a turn without an end");
}

/// What we make of a message; both ways must be one.
fn ours(binary: bool, message: &[u8], window: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
    let finish = |inflaters: &mut Inflaters, unpacked| match unpacked {
        Unpacked::Whole(data) => Ok(data.to_vec()),
        Unpacked::Fault(fault) => Err(fault),
        Unpacked::Begun(mut unpacking) => {
            let mut steps = (0..TURNS).filter_map(|_| unpacking.step(inflaters, window, max));
            let done = steps.next().expect("it comes to an end");
            done.map(|(is_binary, data)| {
                assert_eq!(is_binary, binary);
                data.to_vec()
            })
        }
    };
    INFLATERS.with_borrow_mut(|(idle, busy)| {
        let unpacked = idle.unpack(binary, message, window, max);
        if let Unpacked::Begun(_) = &unpacked {
            assert!(message.len() > QUICK_IN || max > QUICK_OUT, "it was small enough to be done at once");
        }
        let at_once = finish(idle, unpacked);
        idle.end_turn();
        let unpacked = busy.unpack(binary, message, window, max);
        assert!(matches!(unpacked, Unpacked::Begun(_)), "the turn is over");
        let slowly = finish(busy, unpacked);
        assert_eq!(at_once, slowly, "at once, and step by step");
        at_once
    })
}

fn inflate(binary: bool, message: &[u8], window: &[u8], max: usize) {
    let theirs = reference::message(message, &TAIL, window, max, 1 << 15);
    let theirs = theirs.filter(|data| binary || std::str::from_utf8(data).is_ok());
    let ours = ours(binary, message, window, max);
    match (&ours, &theirs) {
        (Ok(ours), Some(theirs)) => assert!(ours == theirs, "{message:x?}"),
        (Err(_), None) => {}
        _ => panic!("{ours:?}, the slow inflater {:?}: {message:x?}", theirs.map(|data| data.len())),
    }
}

#[derive(Arbitrary, Debug)]
enum Message<'a> {
    Bytes(&'a [u8]),
    /// The same again and again, for what is compressed in pieces.
    Repeated(&'a [u8], u16),
    /// A message that was there before, by its number, and more.
    Again(u8, &'a [u8]),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    bits: u8,
    takeover: bool,
    messages: Vec<Message<'a>>,
}

fn round(input: &Input<'_>) {
    let bits = 9 + input.bits % 7;
    let (mut sent, mut received) = (Window::new(bits), Window::new(bits));
    let mut before: Vec<Bytes> = Vec::new();
    for message in input.messages.iter().take(8) {
        let raw: Vec<u8> = match *message {
            Message::Bytes(bytes) => bytes.to_vec(),
            Message::Repeated(bytes, times) => bytes.repeat(usize::from(times).min(80_000 / bytes.len().max(1))),
            Message::Again(number, more) => {
                let old = before.get(usize::from(number) % before.len().max(1));
                [old.map_or(&[][..], |old| old), more].concat()
            }
        };
        let raw = Bytes::from(raw);
        if raw.len() > 160_000 {
            continue;
        }
        if let Some(small) = press(&raw, bits, input.takeover, &mut sent) {
            assert!(small.len() < raw.len(), "{} bytes become {}", raw.len(), small.len());
            let past = if input.takeover { received.bytes() } else { &[] };
            let slow = reference::message(&small, &TAIL, past, raw.len(), 1 << bits);
            assert!(slow.is_some_and(|data| data == raw), "the slow inflater reads something else");
            assert!(ours(true, &small, past, raw.len()).is_ok_and(|data| data == raw), "we read something else");
            if !input.takeover {
                let whole = miniz_oxide::inflate::decompress_to_vec(&[&small[..], &TAIL].concat());
                assert!(whole.is_ok_and(|data| data == raw), "miniz_oxide reads something else");
            }
            if input.takeover {
                received.push(&raw);
            }
        }
        let theirs = miniz_oxide::deflate::compress_to_vec(&raw, input.bits % 11);
        assert!(ours(true, &theirs, &[], raw.len()).is_ok_and(|data| data == raw), "miniz_oxide's is something else");
        before.push(raw);
    }
    assert_eq!(sent.bytes(), received.bytes());
}

/// What we send for a message; `None` if it does not shrink.
fn press(raw: &Bytes, bits: u8, takeover: bool, window: &mut Window) -> Option<Bytes> {
    PRESS.with_borrow_mut(|press| {
        let mut job = None;
        for _ in 0..TURNS {
            let pressed = if takeover { press.chained(raw, bits, window, &mut job) } else { press.alone(raw, bits) };
            match pressed {
                Pressed::Smaller(small) => return Some(small),
                Pressed::AsItIs => return None,
                Pressed::Later { .. } => press.end_turn(false),
            }
        }
        panic!("a message without an end");
    })
}
